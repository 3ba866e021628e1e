"""Error consistency: Cohen's kappa of two that are right or wrong on the same images."""

import numpy as np
import torch

from freqkit.errors import UsageError


def error_consistency(first: torch.Tensor, second: torch.Tensor) -> float | None:
    """Cohen's kappa of two that are right or wrong on the same images.

    The released code of the comparison gives 1 where both are right (or both wrong) on all images; that is undefined
    here, for independent errors would look the same.

    Args:
        first, second: bool [n], whether each is right.

    Returns:
        float, or None where it is undefined.

    Raises:
        UsageError: they are no bool tensors of one length.

    Example:
        >>> a, b = torch.tensor([True, True, False, False]), torch.tensor([True, False, True, False])
        >>> error_consistency(a, a), error_consistency(a, b), error_consistency(a, ~a)
        (1.0, 0.0, -1.0)
        >>> error_consistency(a | ~a, a | ~a) is None
        True
    """
    both = [torch.as_tensor(each) for each in (first, second)]
    if any(each.dtype != torch.bool or each.ndim != 1 for each in both) or len(both[0]) != len(both[1]):
        raise UsageError("error_consistency: both must be bool tensors [n], right or wrong, of the same images.")
    if not len(both[0]):
        return None
    correct = torch.stack(both).numpy()
    [[value]] = kappas_of(correct, np.ones_like(correct), [(0, 1)], np.ones((1, correct.shape[1])))
    return None if np.isnan(value) else float(value)


def kappas_of(correct, seen, pairs, weights):
    """Kappa of pairs of rows of bool [R, n], over the images that both saw, each so often as weights float64 [B, n]
    say: float64 [B, pairs], NaN where it is undefined."""
    a, b = (np.array([pair[side] for pair in pairs], int) for side in (0, 1))
    both = (seen[a] & seen[b]).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        n = weights @ both.T
        same, p, q = ((weights @ (both * part).T) / n for part in (correct[a] == correct[b], correct[a], correct[b]))
        expected = p * q + (1 - p) * (1 - q)
        return np.where(expected < 1, (same - expected) / (1 - expected), np.nan)


def mean_of(values, axis):
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0).sum(axis) / known.sum(axis)
