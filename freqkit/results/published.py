"""The table of a published study of 70 networks, as tidy rows, and which rows of ours are its columns.

Source: Gavrikov and Keuper, "Can Biases in ImageNet Models Explain Generalization?", CVPR 2024. Its `benchmark.csv` has
a line for each model and a column for each value: accuracies in percent, ratios and biases as they are.
"""

import functools
import re
from pathlib import Path

from freqkit.data.test_sets.corrupted import BAR, BENCHMARK, EXTRA, SEVERITIES
from freqkit.errors import UsageError
from freqkit.files.reading import number_in, read_csv, read_head, shown
from freqkit.files.whole import of_cell
from freqkit.results.rows import spell, unspell
from freqkit.results.store import published

ACCURACY, RATIO, AS = "top1_acc/", "ratio to clean", " as published"
PUBLISHED = "as published"  # begins the definition of a row of such a table
CUTOFFS = (0.01, *(round(k / 10, 1) for k in range(1, 10)), 0.99)
SETS = {  # end of a column -> set, condition, metric
    "imagenet": ("imagenet", "all", "top-1"),
    "imagenet-v2": ("imagenet-v2", "matched-frequency", "top-1"),
    "imagenet-a": ("imagenet-a", "all, 200 logits", "top-1"),
    "imagenet-r": ("imagenet-r", "all, 200 logits", "top-1"),
    "imagenet-sketch": ("imagenet-sketch", "all", "top-1"),
    "imagenet-real": ("imagenet", "all", "ReaL top-1 as published"),
    "imagenet-c": ("imagenet-c", "mean of 95 conditions", "mean top-1"),
    "imagenet-cbar": ("imagenet-c-bar", "mean of 50 conditions", "mean top-1"),
    "ood_mean": ("model-vs-human", "mean of 17 sets", "ood_mean"),
    "PGD-40/low": ("imagenet", "pgd linf 0.5/255, 40 steps of 2, restarts 1, last iterate", "top-1 as published"),
}
HUMAN = (
    "edge", "silhouette", "cue-conflict", "colour", "contrast", "high-pass", "low-pass", "phase-scrambling",
    "power-equalisation", "false-colour", "rotation", "eidolonI", "eidolonII", "eidolonIII", "uniform-noise", "sketch",
    "stylized",
)  # fmt: skip
SIXTEEN = "all, 16 categories"
BIASES = ("shape-bias", "LPP", "HPP", "bw", "cf", "pns", "bw_norm", "cf_norm", "pns_norm")  # metrics that are columns
LEAVES = {
    title: {
        f"{name}_{severity}": (name, severity)
        for name in kinds for severity in SEVERITIES
    }
    for title, kinds in (("imagenet-c", (*BENCHMARK, *EXTRA)), ("imagenet-c-bar", BAR))
}  # fmt: skip


def ratio_column(side, cutoff):
    """The short name of a ratio: `side` "LFC" or "HFC", a cut-off of `CUTOFFS`."""
    return f"{side}/{cutoff:g}"


@functools.cache
def place_of_column(column):
    """(short name, set, condition, metric) of a column; an unknown one is a metric by its own name.

    Example:
        >>> place_of_column("metric/bandpass/LFC/0.30000000000000004")
        ('LFC/0.3', '', 'all; cutoff=0.3; filter=low', 'ratio to clean')
        >>> place_of_column("top1_acc/fog_3")
        ('fog_3', 'imagenet-c', 'fog/3', 'top-1')
    """
    if column.startswith(ACCURACY):
        name = column.removeprefix(ACCURACY)
        for title, leaves in LEAVES.items():
            if name in leaves:
                return name, title, "{}/{}".format(*leaves[name]), "top-1"
        if name in SETS:
            return name, *SETS[name]
        if name in HUMAN:
            return name, name, SIXTEEN, "top-1"
    band = re.fullmatch(r"metric/bandpass/([LH])FC/(\d\.\d+)", column)
    if band:
        name = ratio_column(f"{band[1]}FC", float(band[2]))
        kind = "low" if band[1] == "L" else "high"
        return name, "", f"all; cutoff={float(band[2]):g}; filter={kind}", RATIO
    name = column.removeprefix("metric/criticalband/")
    if name in BIASES:
        return name, "cue-conflict" if name == "shape-bias" else "", "all", name
    return column, "", "all", column


def known_columns(head):
    """The names of a head that are columns of this study."""
    return [name for name in head if place_of_column(name)[0] != name or name == "shape-bias"]


def read_benchmark(path):
    """Rows of a table as published: a line for each model, a column for each value; empty cells give no row.

    Accuracies are shares of one, as in every row. Columns that the study has not are metrics by their own names.

    Raises:
        UsageError: there is no column `model`, a column or a model is there twice, or a value is no number.
    """
    path, expected = Path(path), "a table of models (CSV)"
    lines = read_csv(path, ("model",), expected)
    head = [name for name in read_head(path, expected) if name != "model"]
    if twice := next((name for name in head if head.count(name) > 1), None):
        raise UsageError(f"{path}: a column must be there once; {shown(twice)} is there twice.")
    rows, seen = [], {}
    for line, row in lines:
        model = of_cell(row["model"])
        if not model.strip():
            raise UsageError(f"{path}: line {line}, model, must be a name; got {shown(model)}.")
        if model in seen:
            raise UsageError(
                f"{path}: a model must be there once; {shown(model)} is in lines {seen[model]} and {line}."
            )
        seen[model] = line
        for column in head:
            if row[column] != "":
                _, title, condition, metric = place_of_column(column)
                value = number_in(row[column], path, f"line {line}, {column},")
                value = value / 100 if column.startswith(ACCURACY) else value
                rows.append(published(model, title, condition, metric, value, f"{PUBLISHED} ({path.name})"))
    return rows


def columns_of(rows):
    """(short name of the column, row) of the rows that are values of the study, whole sets without a map.

    Rows of an evaluation are taken where they measure the same: ImageNet-A and -R among 200 logits, ImageNet-V2
    matched-frequency, PGD of 40 steps within 0.5/255 judged by its last iterate, sets of sixteen categories so. What
    published scripts count otherwise ("top-1 as published") has a name of its own. Of biases the metric alone counts.
    """
    for row in rows:
        if row["class"] in ("", None) and row["metric"] in _METRICS:
            name = _column(row)
            if name is not None:
                yield name, row


def _column(row):
    metric, title, place = row["metric"], row["set"], spell(row)["condition"]
    if metric in (*BIASES, "ood_mean"):
        return metric
    if metric == RATIO:
        found = re.search(r"cutoff=([\d.]+); filter=(low|high)", place)
        return found and ratio_column("LFC" if found[2] == "low" else "HFC", float(found[1]))
    row = unspell(row)
    if row["filter"] or row["group"] or row["part"]:
        return None
    plain = metric.removesuffix(AS)
    end = AS if plain != metric else ""
    if title in LEAVES and row["severity"]:
        name = f"{row['condition']}_{row['severity']}"
        return name if name in LEAVES[title] and metric == "top-1" else None
    if title in HUMAN:
        if metric == "accuracy":  # of `freqkit human-comparison`
            return title if place == "all" and "16 categories" in (row["definition"] or "") else None
        whole = place == SIXTEEN or (title in ("sketch", "stylized") and place == "0, 16 categories")
        return title if whole and metric == "top-1" else None
    if title == "imagenet" and re.match("pgd linf 0.5/255, 40 steps.*last iterate", place):
        return "PGD-40/low" + end if plain == "top-1" else None
    subset = row["logits"] if title in ("imagenet-a", "imagenet-r") else None
    name = _ENDS.get((title, row["condition"] + (", 200 logits" if subset == 200 else ""), plain))
    return name and name + end


_ENDS = {(title, place, metric.removesuffix(AS)): name for name, (title, place, metric) in SETS.items()}
_METRICS = {*BIASES, RATIO, "ood_mean", "mean top-1", "accuracy", *(f"{name}{end}" for name in ("top-1", "ReaL top-1")
                                                        for end in ("", AS))}  # fmt: skip
