"""Evaluations as the CSVs of the released scripts (Wang et al., CVPR 2025).

A line for each class, four accuracies of its images: whole and through its mask, of the images of the search and of
changed ones.
"""

import re
from pathlib import Path

from freqkit.errors import UsageError
from freqkit.files.reading import number_in, read_csv
from freqkit.files.whole import atomic_write, slug, write_rows
from freqkit.results.rows import COLUMNS, place_of

ACCURACIES = ("Org_acc", "Org_DFM_acc", "Corrupt_acc", "Corrupt_DFM_acc")
HEAD = ("Class_id", *ACCURACIES)
# Folder of the released scripts -> the set that its files are of.
SETS = {"IN_C": "imagenet-c", "INv2": "imagenet-v2", "sketch": "imagenet-sketch", "INr": "imagenet-r",
        "FGSM": "imagenet"}  # fmt: skip
_STEM = re.compile(
    r"(?P<model>.+)_s(?P<stage>\d+)(?P<trial>test\d+)?(?:severity(?P<severity>[1-5]))?(?P<what>.*)", re.S
)


def read_evaluation(path, *, classes=None):
    """Rows of a CSV of the released evaluation scripts.

    Model, stage, corruption and severity are those of the file's name, the set that of its folder (`SETS`). The
    released code takes the accuracies "Org" on the images of the training folder. Lines of zeros are classes that it
    has not come to or that the set has not, and are left out.

    Args:
        classes: names in the order of the numbers; default: ImageNet's identifiers where there are 1,000, else the
            numbers.

    Returns:
        Rows with the keys `freqkit.results.rows.COLUMNS`: "TPR" and "filtered TPR" of each class, and their means.

    Raises:
        UsageError: the file is none.
    """
    path = Path(path)
    lines = read_csv(path, HEAD, "an evaluation of the released code (CSV)")
    found = []
    for line, row in lines:
        number = number_in(row["Class_id"], path, f"line {line}, Class_id,", lambda text: int(float(text)))
        values = [number_in(row[name], path, f"line {line}, {name},") for name in ACCURACIES]
        if number < 0 or not all(0 <= value <= 1 for value in values):
            raise UsageError(f"{path}: line {line} must hold a number of a class and accuracies in [0, 1].")
        found.append((number, values))
    names = classes
    if names is None and len(found) == 1000:
        from freqkit.data.class_lists import class_list

        names = class_list("imagenet")
    if names is not None and any(number >= len(names) for number, _ in found):
        raise UsageError(f"{path}: classes must name {max(number for number, _ in found) + 1} classes.")
    found = [(number, values) for number, values in found if any(values)]
    known = _STEM.fullmatch(path.stem)
    part = {} if known is None else known.groupdict()
    changed = part.get("what") or path.stem
    severity = f"/{part['severity']}" if part.get("severity") else ""
    model = part.get("model", path.stem)
    about = f"published evaluation ({path.name}{', stage ' + part['stage'] if part.get('stage') else ''})"
    places = (("imagenet", "training images"), (SETS.get(path.parent.name, path.parent.name), f"{changed}{severity}"))
    rows = []
    for place, (title, condition) in enumerate(places):
        for metric, column in (("TPR", 2 * place), ("filtered TPR", 2 * place + 1)):
            each = [(str(number) if names is None else names[number], values[column]) for number, values in found]
            mean = sum(value for _, value in each) / len(each) if each else None
            for name, value in (("", mean), *each):
                said = {"model": model, "set": title, "condition": condition, "class": name, "value": value}
                said |= {"metric": metric if name else f"{'filtered ' * ('filtered' in metric)}mean TPR"}
                rows.append({**dict.fromkeys(COLUMNS), **said, "definition": about, "n": None if name else len(each)})
    return rows


def export_evaluation(result, folder, *, classes=None, stage=6, trial="test1"):
    """Write CSVs as the released evaluation scripts do, one for each model and changed set.

    Args:
        result: `freqkit.measures.EvaluationResult` with an in-distribution set, evaluated through maps.
        folder: where they go: IN_C/MODEL_s6test1severity3fog.csv and the like (`SETS`).
        classes: names in the order of the numbers; default the order of the in-distribution set.
        stage, trial: parts of the names.

    Returns:
        Paths.

    Raises:
        UsageError: there is no in-distribution set, or no other.
    """
    base, written = result.base, []
    for model in dict.fromkeys(row["model"] for row in result.rows):
        own = [row for row in result.rows if row["model"] == model and row["class"]]
        places = dict.fromkeys((row["set"], row["condition"]) for row in own)
        rates = {place: [result.rates(metric, model=model, set=place[0], condition=place[1])
                         for metric in ("TPR", "filtered TPR")] for place in places}  # fmt: skip
        names = list(rates.get(base, [{}])[0]) if classes is None else list(classes)
        for place, (clean, through) in rates.items():
            at = place_of(place[1])
            if place == base or base not in rates or at["part"] is not None or not set(clean) & set(names):
                continue
            lines = [
                dict(zip(("", *HEAD), [number, number, *(float(values.get(name) or 0)
                     for values in (*rates[base], clean, through))], strict=True))
                for number, name in enumerate(names)
            ]  # fmt: skip
            shelf = next((key for key, title in SETS.items() if title == place[0] and key != "FGSM"), place[0])
            shelf = "FGSM" if place[0] == base[0] else shelf
            severity = f"severity{at['severity']}" if at["severity"] else ""
            what = at["condition"] if at["severity"] else slug(place[1])
            path = Path(folder) / shelf / f"{slug(model)}_s{stage}{trial}{severity}{what}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path, "w") as file:
                write_rows(file, ["", *HEAD], lines)
            written.append(path)
    if not written:
        raise UsageError("export_evaluation: there must be an in-distribution set and another, through maps.")
    return written
