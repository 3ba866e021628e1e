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


def paired_ratio(both, first, second, neither, confidence=0.95):
    """Score interval of the ratio of two shares of the same things: those with the first property over those with the
    second.

    Where the ratio is r, (first's number - r second's number)^2 <= z^2 times its variance, whose unknown share is the
    likeliest one at that ratio.

    Args:
        both, first, second, neither: int tensors [M], how many have both properties, one alone, and none.
        confidence: 0 < confidence < 1.

    Returns:
        float64 [M, 2], low and high; NaN where nothing has the second property.

    Source: Nam and Blackwelder, Stat. Med. 21 (2002) 689; Tang, Tang and Chan, Stat. Med. 22 (2003) 1217.

    Example:
        >>> one = [torch.tensor([v]) for v in (43, 1, 7, 9)]
        >>> [round(v, 3) for v in paired_ratio(*one)[0].tolist()]
        [0.754, 0.987]
    """
    from statistics import NormalDist

    z = NormalDist().inv_cdf((1 + confidence) / 2)
    a, b, c, d = (torch.as_tensor(n).double() for n in (both, first, second, neither))
    n, some = a + b + c + d, a + b + c

    def above(ratio):
        """Whether a ratio is too high, or too low, to be believed: the signed square of the score, over its bound."""
        square, line = n * (1 + ratio), (a + c) * ratio**2 - (a + b + 2 * c)
        alone = (-line + (line**2 - 4 * square * c * (1 - ratio) * some / n).clamp(min=0).sqrt()) / (2 * square)
        variance = n * ((1 + ratio) * alone + (ratio - 1) * some / n).clamp(min=0)
        away = ratio * (a + c) - (a + b)
        return away * away.abs() - torch.sign(away) * z * z * variance

    found = (a + b) / (a + c)
    limits = []
    for side in (-1, 1):
        # Of r / (1 + r), which lies between 0 and 1; a limit is where `above` changes its sign.
        near, far = found / (1 + found), torch.full_like(found, float(side > 0))
        for _ in range(60):
            middle = (near + far) / 2
            outside = side * above(middle / (1 - middle)) > 0
            near, far = torch.where(outside, near, middle), torch.where(outside, middle, far)
        limits.append(far / (1 - far))
    low, high = torch.where(a + b == 0, limits[0] * 0, limits[0]), limits[1]
    return torch.where((a + c > 0)[:, None], torch.stack([low, high], 1), torch.nan)


def redrawn(values, resamples, seed=0, block=1 << 22):
    """Sums over things that are drawn anew, as many as there are, each as often as chance has it.

    Args:
        values: real [M, n], M whole numbers of each of n things.
        resamples: B. seed: of the draws, which depend on nothing else.
        block: numbers that are held at once.

    Returns:
        float64 [B, M].

    Example:
        >>> redrawn(torch.ones(1, 5), 3).tolist()
        [[5.0], [5.0], [5.0]]
    """
    values, n = torch.as_tensor(values).double().T.contiguous().numpy(), torch.as_tensor(values).shape[1]
    generator = np.random.Generator(np.random.Philox(key=np.array([seed, 1], np.uint64)))
    sums, step = [], max(1, block // max(1, n))
    for first in range(0, resamples, step):
        count = min(step, resamples - first)
        drawn = generator.integers(n, size=(count, n)) + n * np.arange(count)[:, None]
        sums.append(np.bincount(drawn.ravel(), minlength=count * n).reshape(count, n).astype(float) @ values)
    return torch.from_numpy(np.concatenate(sums))


def percentiles(values, confidence=0.95, estimate=None):
    """The middle of redrawn numbers, as [low, high], those that are no numbers left out; [None, None] of none.

    Args:
        values: real [B]. confidence: the share inside. estimate: the number that is redrawn, which they are to hold.

    Example:
        >>> percentiles(torch.arange(101.0), 0.9), percentiles(torch.tensor([math.nan]))
        ([5.0, 95.0], [None, None])
    """
    values = torch.as_tensor(values, dtype=torch.float64)
    values = values[values.isfinite()]
    if not len(values):
        return [None, None]
    tails = torch.tensor([(1 - confidence) / 2, (1 + confidence) / 2], dtype=torch.float64)
    low, high = values.quantile(tails).tolist()
    if estimate is None or not math.isfinite(estimate):
        return [low, high]
    return [min(low, estimate), max(high, estimate)]


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
