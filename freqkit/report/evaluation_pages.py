"""What an evaluation puts on the page: models on test sets, and AvgTPR of shortcut classes and of the others."""

import re

from freqkit.report.html import Cell, Panels, Part, Section, Table
from freqkit.report.pages import named, part
from freqkit.report.sections import cost_rows, listed, model_rows, provenance_rows
from freqkit.report.svg import Axes, line_mark, percent

PANELS = 24  # AvgTPR figures on a page
GROUPS = {  # (group, filtered) -> colour and dashes
    ("shortcut", False): (3, ""),
    ("other", False): (0, ""),
    ("shortcut", True): (3, " d1"),
    ("other", True): (0, " d1"),
}


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
    groups = _groups(result, models[0]) if models else {}
    pairs = []
    for place, lines in groups.items():
        two = [dict((t, (value, n)) for t, value, n in lines.get((kind, False), [])).get(0.5, (None, 0))
               for kind in ("shortcut", "other")]  # fmt: skip
        if two[0][0] is not None and two[1][0] is not None:
            pairs.append((place, *two))
    if pairs:
        _, (_, count), (_, others) = pairs[0]
        sentences.append(
            f"Of {_brief(models[0])}'s classes {count} {'has' if count == 1 else 'have'} a shortcut: more than half of"
            f" the images are recognised through the class's map alone. Mean TPR on whole images, shortcut classes"
            f" against the {others} others: "
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
    if groups:
        legend = [
            (line_mark(*GROUPS[key]), words) for key, words in {
                ("shortcut", False): "shortcut classes, whole images", ("other", False): "other classes, whole images",
                ("shortcut", True): "shortcut classes, through their map",
                ("other", True): "other classes, through their map"}.items()
        ]  # fmt: skip
        drawings = [(_where(place), _panel(place, lines)) for place, lines in list(groups.items())[:PANELS]]
        sections.append(
            Section(f"AvgTPR of {_brief(models[0])}", [Panels(drawings, legend)],
                    "A class counts as having a shortcut at threshold t when it is recognised through its map"
                    " alone in more than a share t of its original images. Where the line of"
                    " those classes stays above that of the others on changed images, the shortcuts still work there;"
                    " where it falls below, they have become a weakness.", key="avgtpr")
        )  # fmt: skip
    failures = [f"{_brief(model)}: {text}" for model, clean in cleans.items() for text in clean.cautions()]
    failures += [
        f"The maps were selected on {count} of the images of {title}: its filtered rates, and the groups made of them,"
        " are too good." for title, count in record.get("selected_on", {}).items() if count
    ]  # fmt: skip
    for one in result.failures:
        what = ", ".join(filter(None, (_brief(one["model"]), one["set"], one["condition"])))
        failures.append(f"{what} could not be evaluated: {one['error']}")
    return Part(
        "Models on test sets", sentences or ["Nothing could be evaluated."],
        [(str(len(models)), "model" if len(models) == 1 else "models"), (str(len(rows)), "sets and conditions")],
        _asked(record), sections,
        cost_rows(record) or [("Values", f"{len(result.rows):,}")],
        provenance_rows({"versions": _versions(record)}), failures[:10], order=35, subtitle="Evaluation",
    )  # fmt: skip


def _asked(record):
    """Models, sets and settings, from run.json."""
    identity = record["identity"]
    rows = []
    for name, about in (record.get("models") or {}).items():
        rows += [(f"{words} of {_brief(name)}" if words != "Model" else _brief(name), value)
                 for words, value in model_rows({"model": about.get("record") or {}})]  # fmt: skip
    for one in identity.get("sets", []):
        where = " ".join(filter(None, (one["set"], one["condition"])))
        rows.append((where, f"{one['images']:,} images of {one['classes']} classes" + "".join(
            f"; {note}" for note in one.get("notes", []))))  # fmt: skip
    attacks = [
        f"{a['kind']} (eps {a['eps']:g}{', ' + a['band'] if a['band'] else ''})" for a in identity.get("attacks", [])
    ]
    generated = list(dict.fromkeys(name for name, _ in identity.get("generated", [])))
    more = {
        "Maps": "those of a file" if identity.get("dfm") else None,
        "In-distribution set": identity.get("base"),
        "Attacks": listed(attacks, 9) if attacks else None,
        "Corruptions made on the fly": listed(generated, 9) if generated else None,
        "Image side": f"{identity['image_size']} px, {identity['resize']}" if identity.get("image_size") else None,
        "Preset": identity.get("preset"),
    }
    return rows + [(name, value) for name, value in more.items() if value]


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


def _groups(result, model):
    """(set, condition) -> (group, filtered) -> sorted list of (t, mean TPR, classes)."""
    found = {}
    for row in result.rows:
        match = re.fullmatch(r"(filtered )?AvgTPR (shortcut|other)@([\d.]+)", row["metric"])
        if match and row["model"] == model:
            lines = found.setdefault((row["set"], row["condition"]), {})
            lines.setdefault((match[2], bool(match[1])), []).append((float(match[3]), row["value"], row["n"]))
    return {place: {key: sorted(points, key=lambda p: p[0]) for key, points in lines.items()}
            for place, lines in found.items()}  # fmt: skip


def _panel(place, lines):
    alt = f"Mean TPR of shortcut classes and of the others on {_where(place)}, by threshold t."
    axes = Axes((0, 1), (0, 1), x_label="threshold t", y_label="mean TPR of the group", alt=alt, width=360,
                height=250, shares="y")  # fmt: skip
    for key, points in lines.items():
        known = [(t, value) for t, value, _ in points if value is not None]
        if known:
            colour, dash = GROUPS[key]
            axes.line(known, colour, name=" ".join([key[0], "filtered" if key[1] else ""]).strip(), kind=f"line{dash}")
    return axes.svg()
