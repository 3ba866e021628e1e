"""From rows to one line for each model: columns of the study, biases made of them, and composites."""

import math
from dataclasses import dataclass

import numpy as np

from freqkit.data.test_sets.corrupted import BENCHMARK, alexnet_errors
from freqkit.errors import UsageError
from freqkit.files.reading import shown
from freqkit.measures.evaluation.groups import mean_corruption_error
from freqkit.results.published import BIASES as MEASURED
from freqkit.results.published import CUTOFFS, LEAVES, PUBLISHED, columns_of, ratio_column

BIASES = ("shape-bias", "LPP", "HPP", "bw_norm", "cf_norm", "pns_norm")
SCORES = {
    "ID": ("imagenet", "imagenet-v2", "imagenet-real"),
    "Robustness": ("imagenet-a", "imagenet-c", "imagenet-cbar"),
    "Concepts": ("imagenet-sketch", "imagenet-r", "stylized"),
    "Adversarial": ("PGD-40/low",),
}
CLEAN = "imagenet"  # clean accuracy, which partial correlations hold fixed
FITS = ("bw_norm", "cf_norm", "pns_norm")
PANEL = tuple(cutoff for cutoff in CUTOFFS if 0.1 <= cutoff <= 0.5)  # of LPP and HPP
BANDS, CENTRE = 7, 1.75  # of the critical band at 224 pixels: how many, and the centre of the lowest, cycles/image
# Biases that several filters or answers give, and how the definition begins of what is as published.
ALIKE = ((("LPP", "HPP"), "square"), (FITS, "top-1"))
CORRECTIONS = {
    "pgd": "PGD-40 of whole sets: published accuracies are of 50,048 images where there are 50,000",
    "c15": "ImageNet-C: the 15 corruptions of the benchmark, without the four extra ones",
    "fits": "fits of the critical band that are degenerate count as undefined",
}


@dataclass
class Lines:
    """Models and what is known of them.

    Attributes:
        models: M names.
        values: name of a column -> float64 [M], accuracies in percent, NaN where unknown.
        unlike: (model, column) -> what a bias of our own measures is, where the published one is something else.
        twice: how many values came more than once and differ; the last counts.
    """

    models: list
    values: dict
    unlike: dict
    twice: int = 0

    def column(self, name):
        """float64 [M]; all unknown where no row told it."""
        return self.values.get(name, np.full(len(self.models), np.nan))


def lines_of(rows) -> Lines:
    """One line for each model of tidy rows, or rows as files spell them."""
    models, found, unlike, twice = {}, {}, {}, 0
    for name, row in columns_of(rows):
        if row["value"] is None:
            continue
        place = models.setdefault(row["model"], len(models))
        known = found.setdefault(name, {})
        value = row["value"] if name in MEASURED or "FC/" in name else 100 * row["value"]
        twice += known.get(place, value) != value
        known[place] = value
        about = row["definition"] or ""
        if any(about and name in names and not about.startswith((PUBLISHED, own)) for names, own in ALIKE):
            unlike[row["model"], name] = about
    values = {name: np.full(len(models), np.nan) for name in found}
    for name, known in found.items():
        values[name][list(known)] = list(known.values())
    return Lines(list(models), values, unlike, twice)


def quantities_of(lines: Lines, mend=()) -> tuple[dict, dict]:
    """Biases and composites of all models.

    Returns:
        (name -> float64 [M] of `BIASES`, `SCORES`, `CLEAN` and "mCE"; model -> columns that a composite lacks).
    """
    columns = dict(lines.values)
    for name, title in (("imagenet-c", "imagenet-c"), ("imagenet-cbar", "imagenet-c-bar")):
        columns[name] = _filled(lines.column(name), _mean_of(lines, LEAVES[title]))
    if "c15" in mend:
        benchmark = [leaf for leaf, (kind, _) in LEAVES["imagenet-c"].items() if kind in BENCHMARK]
        columns["imagenet-c"] = _mean_of(lines, benchmark)
    attacked = lines.column("PGD-40/low as published")
    if "pgd" in mend:
        columns["PGD-40/low"] = _filled(lines.column("PGD-40/low"), true_pgd(attacked))
    else:
        columns["PGD-40/low"] = _filled(attacked, lines.column("PGD-40/low"))
    columns["imagenet-real"] = _filled(lines.column("imagenet-real as published"), lines.column("imagenet-real"))
    found = {name: lines.column(name) for name in ("shape-bias", *FITS)}
    for name, side in (("LPP", "LFC"), ("HPP", "HFC")):
        found[name] = _filled(lines.column(name), _mean_of(lines, [ratio_column(side, cutoff) for cutoff in PANEL]))
    if "fits" in mend:
        defined = ~degenerate(*(found[name] for name in FITS))
        found.update({name: np.where(defined, found[name], np.nan) for name in FITS})
    lacking = {}
    for score, parts in SCORES.items():
        known = np.stack([columns.get(part, lines.column(part)) for part in parts])
        there = ~np.isnan(known)
        with np.errstate(invalid="ignore"):
            found[score] = np.where(there, known, 0).sum(0) / there.sum(0)
        for place in np.flatnonzero(there.any(0) & ~there.all(0)):
            without = [part for part, one in zip(parts, there[:, place], strict=True) if not one]
            lacking.setdefault(lines.models[place], {})[score] = without
    found[CLEAN] = lines.column(CLEAN)
    found["mCE"] = corruption_errors(lines)
    return {name: found[name] for name in (*BIASES, *SCORES, CLEAN, "mCE")}, lacking


def corruption_errors(lines: Lines) -> np.ndarray:
    """mCE of each model in percent of AlexNet's; NaN where one of the 75 accuracies is missing."""
    reference, found = alexnet_errors(), np.full(len(lines.models), np.nan)
    accuracies = {leaf: lines.column(name) for name, leaf in LEAVES["imagenet-c"].items()}
    for place in range(len(lines.models)):
        errors = {leaf: 1 - known[place] / 100 for leaf, known in accuracies.items() if not np.isnan(known[place])}
        whole = mean_corruption_error(errors, reference)[0] if errors else None
        found[place] = math.nan if whole is None else whole
    return found


def true_pgd(percent):
    """Accuracy of 50,000 images where the published one divides by 50,048, the images of whole batches.

    Args:
        percent: float64 [M].

    Example:
        >>> import numpy as np
        >>> true_pgd(np.array([18.390345])).round(6).tolist()
        [18.312]
    """
    return 100 - (100 - percent) * 50048 / 50000


def degenerate(bw, cf, pns):
    """Whether a fit tells no band: over the seven bands its curve moves by less than half a level of noise, because all
    thresholds are equal.

    Args:
        bw, cf, pns: float64 [M], octaves, cycles/image, and a share.

    Returns:
        bool [M]; False where a value is unknown.

    Example:
        >>> import numpy as np
        >>> degenerate(*np.array([[5.666261, 11295.35], [54.677255, 4247.37], [1, 0.999988]])).tolist()
        [False, True]
    """
    bands = np.arange(BANDS)[:, None]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        height, middle, width = 4 + np.log2(pns), np.log2(cf / CENTRE), bw / (2 * math.sqrt(math.log(4)))
        curve = height * np.exp(-((bands - middle) ** 2) / (2 * width**2))
        return curve.max(0) - curve.min(0) < 0.5


def ratios_of(lines: Lines) -> np.ndarray:
    """float64 [M, 2, cut-offs]: accuracy below low-pass and high-pass filters as shares of clean accuracy."""
    sides = [[lines.column(ratio_column(side, cutoff)) for cutoff in CUTOFFS] for side in ("LFC", "HFC")]
    return np.moveaxis(np.array(sides), 2, 0)


def for_ranks(name, values):
    """Values as they are ranked: fits of equal thresholds are equal to six digits, whichever optimiser made them.

    Example:
        >>> import numpy as np
        >>> for_ranks("cf_norm", np.array([54.677255, 54.67725512])).tolist()
        [54.6773, 54.6773]
    """
    if name not in FITS:
        return values
    return np.array([float(f"{value:.6g}") for value in values])


def members(groups, models, what):
    """(model that is there -> its group, names that no row is of).

    Raises:
        UsageError: a model is in two groups.
    """
    owner = {}
    for name, listed in groups.items():
        for model in listed:
            if model in owner:
                where = f"{shown(owner[model])} and {shown(name)}"
                raise UsageError(f"study: {what} must have every model once; {shown(model)} is in {where}.")
            owner[model] = name
    there = set(models)
    return {m: name for m, name in owner.items() if m in there}, [m for m in owner if m not in there]


def _mean_of(lines, names):
    """The mean over columns, NaN where one is unknown."""
    return np.mean([lines.column(name) for name in names], axis=0)


def _filled(values, others):
    return np.where(np.isnan(values), others, values)
