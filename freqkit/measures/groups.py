"""Shortcut classes against the others, and errors on corrupted images.

Source: Wang, Veldhuis, Strisciuglio, CVPR 2025 (arXiv 2503.03519): a class is a *shortcut class at t* when, in
distribution, more than a share t of its images are recognised through its dominant frequency map. The grouping always
comes from the in-distribution rates, also on other sets.
"""

import math
from dataclasses import dataclass

import torch

from freqkit.errors import UsageError

THRESHOLDS = tuple(round(0.1 * k, 1) for k in range(1, 10))


@dataclass
class Curves:
    """Mean rates of both groups at T thresholds; NaN where a group is empty: a mean of nothing is not 0.

    Attributes:
        thresholds: T numbers.
        shortcut, other: float64 [T], mean clean TPR of shortcut classes and of the rest.
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

    Args:
        reference: float64 [C], in-distribution TPR through the maps; NaN: the class has no map and is in no group.
        tpr, filtered: float64 [C] on the set at hand, NaN for classes without images (they are left out).
        thresholds: numbers.
        empty: what an empty group gives: NaN, or 0 as the published plots show.

    Returns:
        `Curves`.

    Raises:
        UsageError: the lengths differ.

    Example:
        >>> import torch
        >>> rates = torch.tensor([[0.9, 0.1], [0.75, 0.25]], dtype=torch.float64)
        >>> found = curves(*rates, thresholds=(0.1, 0.5, 0.95))
        >>> found.shortcut.tolist(), found.other.tolist()
        ([0.75, 0.75, nan], [0.25, 0.25, 0.5])
    """
    reference, tpr = (torch.as_tensor(v, dtype=torch.float64).flatten() for v in (reference, tpr))
    filtered = torch.full_like(tpr, math.nan) if filtered is None else torch.as_tensor(filtered, dtype=torch.float64)
    if not len(reference) == len(tpr) == len(filtered):
        raise UsageError(
            f"curves: all rates must be of the same classes; got {len(reference)}, {len(tpr)}, {len(filtered)}."
        )
    there = ~(reference.isnan() | tpr.isnan())
    columns = {name: [] for name in ("shortcut", "other", "shortcut_filtered", "other_filtered")}
    sizes = {name: [] for name in ("shortcut_size", "other_size")}
    for t in thresholds:
        for name, group in (("shortcut", there & (reference > t)), ("other", there & ~(reference > t))):
            sizes[f"{name}_size"].append(int(group.sum()))
            for suffix, values in (("", tpr), ("_filtered", filtered)):
                known = values[group & ~values.isnan()]
                columns[name + suffix].append(known.mean().item() if len(known) else empty)
    values = {name: torch.tensor(column, dtype=torch.float64) for name, column in columns.items()}
    return Curves(tuple(thresholds), **values, **{name: torch.tensor(column) for name, column in sizes.items()})


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
