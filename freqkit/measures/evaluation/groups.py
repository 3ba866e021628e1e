"""Classes of high filtered TPR against the others, and errors on corrupted images.

Source: Wang, Veldhuis, Strisciuglio, CVPR 2025 (arXiv 2503.03519): the paper calls a class a *shortcut class at t*
when, in distribution, more than a share t of its images are recognised through its dominant frequency map. The grouping
always comes from the in-distribution rates, also on other sets. It asks for no FPR: a class that the model names
whatever it sees is in the group as well, so pages call it "high filtered TPR", and `freqkit.report.readings` says what
a shortcut is. Fields and metrics keep the paper's word.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

import torch

from freqkit.errors import UsageError

THRESHOLDS = tuple(round(0.1 * k, 1) for k in range(1, 10))


@dataclass
class Curves:
    """Mean rates of both groups at T thresholds; NaN where a group is empty: a mean of nothing is not 0.

    Attributes:
        thresholds: T numbers.
        shortcut, other: float64 [T], mean clean TPR of the classes above the threshold and of the rest.
        shortcut_filtered, other_filtered: the same of the TPR through the maps, NaN without one.
        shortcut_size, other_size: int64 [T], classes of each group that have images.
    """

    thresholds: tuple
    shortcut: torch.Tensor
    other: torch.Tensor
    shortcut_filtered: torch.Tensor
    other_filtered: torch.Tensor
    shortcut_size: torch.Tensor
    other_size: torch.Tensor


def curves(reference, tpr, filtered=None, *, thresholds=THRESHOLDS, empty=math.nan):
    """AvgTPR-t curves: unweighted means over the classes of a group, strictly `reference > t` against the rest.

    A class exactly at t belongs to the rest. Whole numbers of images tell it without rounding; rates do, too, when each
    is one division of such numbers. The published notebook averages copies of the in-distribution rates (one for each
    corrupted set) before it compares, and the rounding of these sums makes some classes exactly at t pass.

    Args:
        reference: in-distribution TPR through the maps, as (images recognised, images), two int64 [C], or as rates,
            float [C]; no images or NaN: the class has no map and is in no group.
        tpr, filtered: float64 [C] on the set at hand, NaN for classes without images (they are left out).
        thresholds: numbers; each is taken for the simplest fraction that it is a rounding of (0.1 * 3 is 3/10).
        empty: what an empty group gives: NaN, or 0 as the published plots show.

    Returns:
        `Curves`.

    Raises:
        UsageError: the lengths differ, or there are more images recognised than images.

    Example:
        >>> import torch
        >>> rates = torch.tensor([[0.9, 0.1], [0.75, 0.25]], dtype=torch.float64)
        >>> found = curves(*rates, thresholds=(0.1, 0.5, 0.95))
        >>> found.shortcut.tolist(), found.other.tolist()
        ([0.75, 0.75, nan], [0.25, 0.25, 0.5])
        >>> counts = torch.tensor([[3, 4], [10, 10]])  # 3 of 10 is not more than 0.3
        >>> curves(counts, rates[1], thresholds=(0.3,)).shortcut.tolist()
        [0.25]
    """
    tpr = torch.as_tensor(tpr, dtype=torch.float64).flatten()
    known, above = _reference(reference)
    filtered = torch.full_like(tpr, math.nan) if filtered is None else torch.as_tensor(filtered, dtype=torch.float64)
    if not len(known) == len(tpr) == len(filtered):
        raise UsageError(
            f"curves: all rates must be of the same classes; got {len(known)}, {len(tpr)}, {len(filtered)}."
        )
    there = known & ~tpr.isnan()
    columns = {name: [] for name in ("shortcut", "other", "shortcut_filtered", "other_filtered")}
    sizes = {name: [] for name in ("shortcut_size", "other_size")}
    for t in thresholds:
        high = above(t)
        for name, group in (("shortcut", there & high), ("other", there & ~high)):
            sizes[f"{name}_size"].append(int(group.sum()))
            for suffix, values in (("", tpr), ("_filtered", filtered)):
                known = values[group & ~values.isnan()]
                columns[name + suffix].append(known.mean().item() if len(known) else empty)
    values = {name: torch.tensor(column, dtype=torch.float64) for name, column in columns.items()}
    return Curves(tuple(thresholds), **values, **{name: torch.tensor(column) for name, column in sizes.items()})


def _reference(reference):
    """(bool [C], whether a class has a reference; function of a threshold: bool [C], whether it is above)."""
    if isinstance(reference, (tuple, list)) and len(reference) == 2 and not isinstance(reference[0], (int, float)):
        counts = [torch.as_tensor(v).flatten() for v in reference]
    elif torch.as_tensor(reference).ndim == 2:
        counts = list(torch.as_tensor(reference))
    else:
        rates = torch.as_tensor(reference)
        rates = (rates if rates.is_floating_point() else rates.double()).flatten()
        # In their own type: the float32 nearest to 3/10 is above the float64 nearest to it.
        return ~rates.isnan(), lambda t: rates > torch.tensor(float(simplest(t)), dtype=rates.dtype)
    if len(counts) != 2 or any(v.is_floating_point() or v.dtype == torch.bool for v in counts):
        raise UsageError("curves: reference must be rates [C], or two int tensors [C], images recognised and images.")
    hits, images = (v.long() for v in counts)
    if len(hits) != len(images) or (hits > images).any() or (hits < 0).any():
        raise UsageError("curves: of every class 0 <= images recognised <= images must hold in reference.")

    def above(t):
        fraction = simplest(t)
        return hits * fraction.denominator > images * fraction.numerator

    return images > 0, above


def simplest(t):
    """The fraction that a threshold stands for: 0.1 * 3 = 0.30000000000000004 is 3/10.

    Example:
        >>> simplest(0.1 * 3), simplest(0.25)
        (Fraction(3, 10), Fraction(1, 4))
    """
    return Fraction(float(t)).limit_denominator(1_000_000)


def mean_corruption_error(errors, reference):
    """mCE (percent) and the mean error of a model on corrupted images.

    `CE_c = sum_s error(c, s) / sum_s error_ref(c, s)`; mCE is 100 times the mean of CE over the corruptions of the
    reference, each with severities 1...5.

    Args:
        errors: dict (corruption, severity) -> top-1 error in 0...1.
        reference: dict corruption -> mean top-1 error of the reference over the severities (AlexNet).

    Returns:
        (mCE or None when a corruption or severity is missing, dict corruption -> CE in percent of the complete ones,
        mean error over what is there).

    Source: Hendrycks and Dietterich, ICLR 2019.

    Example:
        >>> errors = {("fog", s): 0.4 for s in range(1, 6)}
        >>> mean_corruption_error(errors, {"fog": 0.8})
        (50.0, {'fog': 50.0}, 0.4)
    """
    if not errors:
        raise UsageError("mean_corruption_error: errors must hold at least one (corruption, severity).")
    each = {}
    for corruption, below in reference.items():
        own = [errors[corruption, s] for s in range(1, 6) if (corruption, s) in errors]
        if len(own) == 5:
            each[corruption] = 100 * math.fsum(own) / 5 / below
    whole = math.fsum(each.values()) / len(each) if len(each) == len(reference) else None
    return whole, each, math.fsum(errors.values()) / len(errors)
