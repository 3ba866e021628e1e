"""What an evaluation puts on the page: models on test sets, which classes have a shortcut, and AvgTPR of the classes of
high filtered TPR and of the others."""

import math
import re

from freqkit.engine.attacks import Attack
from freqkit.measures.evaluation.figures import keys, plot_panel
from freqkit.measures.evaluation.readings import readings_of_evaluation
from freqkit.report import figures
from freqkit.report.blocks import Cell, Panels, Part, Section, Table
from freqkit.report.inline import chart, drawing
from freqkit.report.pages import named, part
from freqkit.report.provenance import cost_rows, model_rows, provenance_rows
from freqkit.report.rates import rates_figure
from freqkit.report.sections import class_table
from freqkit.report.svg import percent
from freqkit.report.words import clean_cautions, listed, random_cautions, verdict, weights_cautions

PANELS = 24  # AvgTPR figures on a page
TABLES = 3  # models whose classes have a table
FAILURES = 10  # that are named on a page
PUBLISHED = " as published"  # ends the names of numbers that have a right one beside them
PAIRS = 20  # images of other classes below which a class's FPR through its map is called unsure


@part(named("results.csv"))
def evaluation_part(path, record):
    """A finished `freqkit evaluate`."""
    if (record or {}).get("status") != "finished" or "evaluation" not in record.get("identity", {}):
        return None
    from freqkit.measures.evaluation import EvaluationResult

    result = EvaluationResult.load(path)
    whole = [row for row in result.table() if row["metric"] == "top-1"]
    models = list(dict.fromkeys(row["model"] for row in result.rows))
    sets = list(dict.fromkeys((row["set"], row["condition"]) for row in result.rows))
    values = {(row["model"], row["set"], row["condition"]): row for row in whole}
    cleans = {model: clean for model in models if (clean := result.clean(model)) is not None}
    sentences = [f"{_brief(model)}. {clean.sentence()}" for model, clean in list(cleans.items())[:3]]
    for model in models[:3]:
        known = [row for row in whole if row["model"] == model and row["value"] is not None]
        if known:
            best, worst = max(known, key=lambda row: row["value"]), min(known, key=lambda row: row["value"])
            sentences.append(f"{_brief(model)} names {_share(best)} of the images rightly on {_where(_place(best))}"
                             + (f", {_share(worst)} on {_where(_place(worst))}, its worst."
                                if worst is not best else "."))  # fmt: skip
    groups = result.groups(models[0]) if models else {}
    pairs = []
    for place, lines in groups.items():
        two = [dict((t, (value, n)) for t, value, n in lines.get((kind, False), [])).get(0.5, (None, 0))
               for kind in ("shortcut", "other")]  # fmt: skip
        if two[0][0] is not None and two[1][0] is not None:
            pairs.append((place, *two))
    rated = {model: readings_of_evaluation(result, model) for model in models[:TABLES]}
    rated = {model: found for model, found in rated.items() if found}
    for model, found in rated.items():
        sentences += _shortcuts(model, found, result.base, len(rated) > 1)
    if pairs:
        _, (_, count), (_, others) = pairs[0]
        sentences.append(
            f"Of {_brief(models[0])}'s classes {count} {'has' if count == 1 else 'have'} a high filtered TPR: more than"
            f" half of the images are recognised through the class's map alone. The paper groups by that; without FPR"
            f" it is no shortcut yet. Mean TPR on whole images, classes of high filtered TPR against the"
            f" {others} others: "
            + "; ".join(f"{percent(one[0], 1)} against {percent(two[0], 1)} on {_where(place)}"
                        for place, one, two in pairs[:4]) + "."
        )  # fmt: skip

    def cell(model, place):
        found = values.get((model, *place))
        if found is None:
            return Cell.of(None, "–")
        return Cell.of(found["value"], _share(found))

    columns = [("set and condition", "left", None), *((_brief(model), "right", "accuracy") for model in models)]
    rows = [[Cell(_where(place)), *(cell(model, place) for model in models)] for place in sets
            if any((model, *place) in values for model in models)]  # fmt: skip
    sections = [Section("Top-1 accuracy", [Table(columns, rows, search=True)],
                        "One line per test set and condition, one column per model; in brackets 95% intervals.",
                        key="accuracy")]  # fmt: skip
    sections += as_published(result)
    for model, found in rated.items():
        sections.append(_classes(result, model, found, result.base, "classes" if not len(rated) > 1 else
                                 f"classes-{list(rated).index(model)}"))  # fmt: skip
    if groups:
        count = max(n for lines in groups.values() for points in lines.values() for *_, n in points) or 1
        drawings = [(_where(place), _panel(place, lines, count)) for place, lines in list(groups.items())[:PANELS]]
        key = drawing(_key, 7, 0.75, "What the lines and marks stand for.", narrow=1.1)
        sections.append(
            Section(f"AvgTPR of {_brief(models[0])}", [Panels(drawings), key],
                    "A class is of high filtered TPR at threshold t when more than a share t of its original images are"
                    " recognised through its map alone (the paper's shortcut class at t; FPR is not asked). Where the"
                    " line of those classes stays above that of the others on changed images, these frequencies still"
                    " work there; where it falls below, they have become a weakness. The area of a mark is that of its"
                    " group: how many classes it has.", key="avgtpr")
        )  # fmt: skip
    failures = []
    for model in models:
        about = (record.get("models") or {}).get(model, {}).get("record") or {}
        failures += weights_cautions({"model": {**about, "name": _brief(model)}})
        failures += [f"{_brief(model)}: {text}" for text in clean_cautions(cleans.get(model))]
    failures += _selection(record, rated or groups)
    failures += random_cautions([one for found in rated.values() for one in found])
    few = min((one.negatives for found in rated.values() for one in found), default=PAIRS)
    if few < PAIRS:
        failures.append(
            f"The FPR of a class stands on as few as {few} images of other classes: read its interval, or evaluate with"
            " --cross 1."
        )
    if groups and not rated:
        failures.append(
            "No image of another class was asked through a map, so there is no FPR and nothing is said of shortcuts;"
            " evaluate with --cross 0.2 or more."
        )
    for one in result.failures[:FAILURES]:
        what = ", ".join(filter(None, (_brief(one["model"]), one["set"], one["condition"])))
        failures.append(f"{what} could not be evaluated: {one['error']}")
    if len(result.failures) > FAILURES:
        failures.append(f"{len(result.failures) - FAILURES} more could not be evaluated; run.json names them.")
    return Part(
        "Models on test sets", sentences or ["Nothing could be evaluated."],
        [(str(len(models)), "model" if len(models) == 1 else "models"), (str(len(rows)), "sets and conditions")],
        _asked(record), sections,
        _cost(record) or [("Values", f"{len(result.rows):,}")],
        provenance_rows({"versions": _versions(record)}), failures, order=35, subtitle="Evaluation",
        **(rates_figure(rated[models[0]], maps="") if list(rated) == models[:1] == models else {}),
    )  # fmt: skip


def _shortcuts(model, found, base, several):
    """What the readings of a model's classes say, as `freqkit rates` says it; of several models the counts alone."""
    if not several:
        return verdict(found, tested=True)
    own = [one.name for one in found if one.word == "shortcut"]
    names = f": {listed(own)}" if own else ""
    return [f"{_brief(model)}: {len(own):,} of {len(found):,} classes have a shortcut on {_where(base)}{names}."]


def as_published(result):
    """The numbers that a published script records as others than they are called, beside the right ones."""
    lines, known = [], {(r["model"], r["set"], r["condition"], r["metric"]): r for r in result.table()}
    for (model, name, condition, metric), row in known.items():
        right = known.get((model, name, condition, metric.removesuffix(PUBLISHED)))
        if metric.endswith(PUBLISHED) and right is not None:
            lines.append((model, f"{metric.removesuffix(PUBLISHED)} on {_where((name, condition))}", row, right))
    means = {}
    for (model, name, _, metric), row in known.items():
        if metric == "mean top-1":
            means.setdefault((model, name), []).append(row)
    for (model, name), rows in means.items():
        lines.append((model, f"mean top-1 on {name}, {rows[0]['n']} conditions as published", rows[0], rows[-1]))
    if not lines:
        return []
    columns = [
        ("model", "left", None),
        ("number", "left", None),
        ("as published", "right", None),
        ("right", "right", None),
    ]
    cells = [
        [Cell(_brief(model)), Cell(what), *(Cell.of(row["value"], _share(row)) for row in pair)]
        for model, what, *pair in lines
    ]
    how = "What each number is of stands in results.csv, as its definition."
    return [Section("Numbers as published", [Table(columns, cells, search=len(cells) > 20)], how, key="published")]


def _classes(result, model, found, base, key):
    """The table of classes, with the number of images that the FPR stands on."""
    clean, more = result.clean(model), {"pairs": [one.negatives for one in found]}
    clean = None if clean is None else clean.take([one.name for one in found])
    title = f"Classes of {_brief(model)} on {_where(base)}"
    section = class_table(found, more, key=key, title=title, maps="", clean=clean)
    section.how += " FPR is of the pairs: so many images of other classes were seen through the class's map."
    return section


def _selection(record, filtered):
    """The caution about images on which the maps were selected, as `freqkit rates` has it."""
    known = record.get("selected_on", {})
    if filtered and not known and record["identity"].get("dfm"):
        return ["It is not known on which images these maps were selected; if on these, the rates are too good."]
    return [
        f"The maps were selected on {count} of the images of {title}: its filtered rates, and the groups made of them,"
        " are too good." for title, count in known.items() if count
    ]  # fmt: skip


def _cost(record):
    """Work and seconds of all sessions; where older runs counted the work of the last one alone, no speed."""
    known = record.get("of_all_sessions") or {}
    if not known and record.get("sessions", 1) > 1:
        known = {"forwards": None, "backwards": None}
    return cost_rows({**record, **known})


def _asked(record):
    """Models, sets and settings, from run.json."""
    identity = record["identity"]
    rows = []
    for name, about in (record.get("models") or {}).items():
        rows += [(f"{words} of {_brief(name)}" if words != "Model" else _brief(name), value)
                 for words, value in model_rows({"model": about.get("record") or {}})]  # fmt: skip
        rows += [(f"Images for {_brief(name)}", "; ".join(about.get("preprocessing") or ()))] * (
            "preprocessing" in about
        )
    for one in identity.get("sets", []):
        where = " ".join(filter(None, (one["set"], one["condition"])))
        rows.append((where, f"{one['images']:,} images of {one['classes']} classes" + "".join(
            f"; {note}" for note in one.get("notes", []))))  # fmt: skip
    attacks = [_attack(options) for options in identity.get("attacks", [])]
    generated = list(dict.fromkeys(name for name, _ in identity.get("generated", [])))
    more = {
        "Maps": "those of a file" if identity.get("dfm") else None,
        "In-distribution set": identity.get("base"),
        "Attacks": listed(attacks, 9) if attacks else None,
        "Corruptions made on the fly": listed(generated, 9) if generated else None,
        "Image side": f"{identity['image_size']} px, {_resize(identity)}" if identity.get("image_size") else None,
        "Preset": identity.get("preset"),
        "Notes": "; ".join(record.get("notes") or []) or None,
    }
    return rows + [(name, value) for name, value in more.items() if value]


def _attack(options):
    """All that tells an attack from others, with its published name."""

    one = Attack(**options)
    return one.title if one.name == one.kind else f"{one.name}: {one.title}"


def _resize(identity):
    """How images were made square, in words."""
    if identity.get("preset") == "cvpr2025" and "resize" not in identity.get("asked", ()):
        return "squash on ImageNet-C, -v2 and -Sketch, else center-crop"
    return identity["resize"]


def _brief(model):
    """A model's name without the folders of its factory's file, which run.json has."""
    return re.sub(r"^.*/(?=[^/]+\.py:)", "", model)


def _share(row):
    """A value with its interval."""
    known = row.get("ci_low") is not None
    interval = f" ({percent(row['ci_low'], 1)}–{percent(row['ci_high'], 1)})" if known else ""
    return percent(row["value"], 1) + interval


def _place(row):
    return row["set"], row["condition"]


def _versions(record):
    return record["identity"].get("versions") or record.get("versions") or {}


def _where(place):
    name, condition = place
    return name if condition in ("all", "") else f"{name}, {condition}"


def _panel(place, lines, count):
    alt = f"Mean TPR of shortcut classes and of the others on {_where(place)}, by threshold t."
    known = {
        key: [(t, math.nan if value is None else value, n) for t, value, n in points] for key, points in lines.items()
    }

    def draw(axis):
        plot_panel(axis, known, count)
        axis.set_ylabel("mean TPR of the group", fontsize=8.5)
        figures.percents(axis.yaxis)

    return chart(draw, 3.6, 2.6, alt)


def _key(axis):
    axis.set_axis_off()
    figures.legend(axis, keys())
