"""What an evaluation puts on the page: models on test sets, and AvgTPR of shortcut classes and of the others."""

import re

from freqkit.report.html import Cell, Drawing, Part, Section, Table
from freqkit.report.pages import named, part
from freqkit.report.sections import cost_rows, provenance_rows
from freqkit.report.svg import Axes, percent

PANELS = 24  # AvgTPR figures on a page
MARK = '<svg viewBox="-7 -7 14 14" aria-hidden="true"><path class="line s{0}{1}" d="M-7 0H7"/></svg>'
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
    sentences = []
    for model in models[:3]:
        known = [(row["value"], row["set"], row["condition"]) for row in whole
                 if row["model"] == model and row["value"] is not None]  # fmt: skip
        if known:
            best, worst = max(known), min(known)
            text = f"{model}: top-1 {percent(best[0], 1)} on {_where(best[1:])}"
            sentences.append(text + (f", {percent(worst[0], 1)} on {_where(worst[1:])}." if worst != best else "."))
    groups = _groups(result, models[0]) if models else {}
    for place, lines in list(groups.items())[:4]:
        pair = [dict((t, (value, n)) for t, value, n in lines.get((kind, False), [])).get(0.5, (None, 0))
                for kind in ("shortcut", "other")]  # fmt: skip
        if pair[0][0] is not None and pair[1][0] is not None:
            sentences.append(
                f"On {_where(place)} the mean TPR of {_classes(pair[0][1])} with a shortcut (t = 0.5) is"
                f" {percent(pair[0][0], 1)}, that of the {pair[1][1]} others {percent(pair[1][0], 1)}."
            )

    def cell(model, place):
        found = values.get((model, *place))
        if found is None:
            return Cell.of(None, "–")
        span = ""
        if found.get("ci_low") is not None:
            span = f" ({percent(found['ci_low'], 1)}–{percent(found['ci_high'], 1)})"
        return Cell.of(found["value"], percent(found["value"], 1) + span)

    columns = [("set and condition", "left", None), *((model, "right", "accuracy") for model in models)]
    rows = [[Cell(_where(place)), *(cell(model, place) for model in models)] for place in sets]
    sections = [Section("Top-1 accuracy", [Table(columns, rows, search=True)],
                        "One line per test set and condition, one column per model; in brackets 95% intervals.",
                        key="accuracy")]  # fmt: skip
    if groups:
        legend = [
            (MARK.format(*GROUPS[key]), words) for key, words in {
                ("shortcut", False): "shortcut classes, whole images", ("other", False): "other classes, whole images",
                ("shortcut", True): "shortcut classes, through their map",
                ("other", True): "other classes, through their map"}.items()
        ]  # fmt: skip
        drawings = [Drawing(_panel(place, lines)) for place, lines in list(groups.items())[:PANELS]]
        drawings[-1].legend = legend
        sections.append(
            Section(f"AvgTPR of {models[0]}", drawings, "A class counts as having a shortcut at threshold t when it is"
                    " recognised through its map alone in more than a share t of its original images. Where the line of"
                    " those classes stays above that of the others on changed images, the shortcuts still work there;"
                    " where it falls below, they have become a weakness.", key="avgtpr")
        )  # fmt: skip
    failures = [
        f"The maps were selected on {count} of the images of {title}: its filtered rates, and the groups made of them,"
        " are too good." for title, count in record.get("selected_on", {}).items() if count
    ]  # fmt: skip
    for one in result.failures:
        what = ", ".join(filter(None, (one["model"], one["set"], one["condition"])))
        failures.append(f"{what} could not be evaluated: {one['error']}")
    return Part(
        "Models on test sets", sentences or ["Nothing could be evaluated."],
        [(str(len(models)), "models"), (str(len(sets)), "sets and conditions")], [], sections,
        cost_rows(record) or [("Values", f"{len(result.rows):,}")],
        provenance_rows({"versions": _versions(record)}), failures[:10], order=35, subtitle="Evaluation",
    )  # fmt: skip


def _classes(count):
    return "the class" if count == 1 else f"the {count} classes"


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
    axes = Axes((0, 1), (0, 1), x_label=f"t  ({_where(place)})", y_label="mean TPR of the group", alt=alt, width=420,
                height=270, shares="y")  # fmt: skip
    for key, points in lines.items():
        known = [(t, value) for t, value, _ in points if value is not None]
        if known:
            colour, dash = GROUPS[key]
            axes.line(known, colour, name=" ".join([key[0], "filtered" if key[1] else ""]).strip(), kind=f"line{dash}")
    return axes.svg()
