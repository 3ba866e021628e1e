"""Intervals of shares, and of their differences."""

import math

import numpy as np
import torch


def wilson(hits, trials, confidence=0.95):
    """Wilson's score interval of a share.

    Args:
        hits, trials: int tensors [M], 0 <= hits <= trials.
        confidence: 0 < confidence < 1.

    Returns:
        float64 [M, 2], low and high; NaN where there are no trials.

    Source: Wilson, J. Am. Stat. Assoc. 22 (1927) 209.

    Example:
        >>> import torch
        >>> [round(v, 4) for v in wilson(torch.tensor([8]), torch.tensor([10]))[0].tolist()]
        [0.4902, 0.9433]
    """
    from statistics import NormalDist

    z = NormalDist().inv_cdf((1 + confidence) / 2)
    n = trials.double()
    share = hits.double() / n
    middle = share + z * z / (2 * n)
    width = z * torch.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    low, high = ((middle + sign * width) / (1 + z * z / n) for sign in (-1, 1))
    # Rounding must not put a bound on the wrong side of a share of 0 or 1.
    low, high = torch.where(hits == 0, low * 0, low), torch.where(hits == trials, high * 0 + 1, high)
    return torch.stack([low, high], 1)


def newcombe(hits, trials, other_hits, other_trials, confidence=0.95):
    """Interval of the difference of two independent shares, from their Wilson intervals (Newcombe's 10th).

    Returns:
        float64 [M, 2], low and high of hits/trials - other_hits/other_trials.

    Source: Newcombe, Stat. Med. 17 (1998) 873.

    Example:
        >>> import torch
        >>> one = [torch.tensor([v]) for v in (56, 70, 48, 80)]
        >>> [round(v, 4) for v in newcombe(*one)[0].tolist()]
        [0.0524, 0.3339]
    """
    p, q = hits.double() / trials, other_hits.double() / other_trials
    low, high = wilson(hits, trials, confidence).T
    other_low, other_high = wilson(other_hits, other_trials, confidence).T
    down = torch.sqrt((p - low) ** 2 + (other_high - q) ** 2)
    up = torch.sqrt((high - p) ** 2 + (q - other_low) ** 2)
    return torch.stack([p - q - down, p - q + up], 1)


def _bootstrap(column, own, counts, confidence, resamples, seed):
    """Percentile intervals [M, 2] of TPR, FPR and TPR - FPR, images redrawn within each true class.

    Redrawing n images of which k were taken for the class gives a binomial number: no image is needed again.
    """
    generator = np.random.Generator(np.random.Philox(key=np.array([seed, 0], np.uint64)))
    n = counts.numpy()
    tails = [100 * (1 - confidence) / 2, 100 * (1 + confidence) / 2]
    limits = []
    for taken, c in zip(column.numpy(), own.tolist(), strict=True):
        share = np.divide(taken, n, out=np.zeros(len(n)), where=n > 0)
        drawn = generator.binomial(n, share, (resamples, len(n)))
        others = n.sum() - n[c]
        tpr = drawn[:, c] / n[c] if n[c] else np.full(resamples, math.nan)
        fpr = (drawn.sum(1) - drawn[:, c]) / others if others else np.full(resamples, math.nan)
        limits.append([np.percentile(values, tails) for values in (tpr, fpr, tpr - fpr)])
    return list(torch.from_numpy(np.array(limits)).unbind(1))
