"""Intervals of shares and of their differences; rank correlations, their resamples, and many tests at once."""

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


def redrawn_sums(values, resamples, seed=0, block=1 << 22):
    """Sums over things that are drawn anew, as many as there are, each as often as chance has it.

    Args:
        values: real [M, n], M whole numbers of each of n things.
        resamples: B. seed: of the draws, which depend on nothing else.
        block: numbers that are held at once.

    Returns:
        float64 [B, M].

    Example:
        >>> redrawn_sums(torch.ones(1, 5), 3).tolist()
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
        >>> percentiles(torch.arange(81.0), 0.75), percentiles(torch.tensor([math.nan]))
        ([10.0, 70.0], [None, None])
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
    """Percentile intervals [M, 2] of TPR, FPR and TPR - FPR, images drawn anew within each true class.

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


BLOCK = 1 << 20  # counts that are worked on at once


def rank_correlations(values, pairs, counts=None):
    """Spearman's rank correlations, also of resamples, in which a model counts several times or not at all.

    Ranks are averages over ties, those of each resample its own. They are sums of whole and half numbers, so that a
    resample has the same ranks, to the bit, as a table in which its models are written out.

    Args:
        values: float64 [V, n], V quantities of n models, all known.
        pairs: P pairs (a, b) of quantities.
        counts: whole numbers [D, n], how often each model is in each resample; None: once, D = 1.

    Returns:
        float64 [D, P]; NaN where a quantity does not vary.

    Example:
        >>> import numpy as np
        >>> values = np.array([[1.0, 2, 3, 4], [1, 3, 2, 4], [5, 5, 5, 5]])
        >>> rank_correlations(values, [(0, 1), (0, 2)]).tolist()
        [[0.8, nan]]
        >>> rank_correlations(values, [(0, 1)], np.array([[1, 1, 0, 1]])).tolist()
        [[1.0]]
    """
    values = np.asarray(values, dtype=np.float64)
    n = values.shape[1]
    counts = np.ones((1, n)) if counts is None else np.asarray(counts)
    used = sorted({one for pair in pairs for one in pair})
    # [n, n]: what a model adds to the rank of another: 1 below it, 1/2 beside it
    below = {v: (values[v][:, None] < values[v]) + 0.5 * (values[v][:, None] == values[v]) for v in used}
    found = np.empty((len(counts), len(pairs)))
    step = max(1, BLOCK // max(n, 1))
    for start in range(0, len(counts), step):
        part = counts[start : start + step].astype(np.float64)
        half = part.sum(1, keepdims=True) / 2  # the mean of ranks, less 1/2 as they are here
        ranks = {v: part @ below[v] - half for v in used}
        spread = {v: np.einsum("di,di,di->d", part, ranks[v], ranks[v]) for v in used}
        with np.errstate(invalid="ignore", divide="ignore"):
            for place, (a, b) in enumerate(pairs):
                together = np.einsum("di,di,di->d", part, ranks[a], ranks[b])
                found[start : start + step, place] = together / np.sqrt(spread[a] * spread[b])
    return found.clip(-1, 1)


def correlation_p(rho, n, given=0):
    """Two-sided p of correlations, by the t-approximation.

    Args:
        rho: float64 array. n: models, a number or an array. given: how many quantities were held fixed.

    Returns:
        float64 array; NaN where rho is, or where fewer than 3 + `given` models leave no degree of freedom.

    Example:
        >>> round(float(correlation_p(0.5, 20)), 6)
        0.02477
    """
    from scipy.special import stdtr

    rho, free = np.asarray(rho, dtype=np.float64), np.asarray(n, dtype=np.float64) - 2 - given
    with np.errstate(invalid="ignore", divide="ignore"):
        t = np.abs(rho) * np.sqrt(free / (1 - rho * rho))
        return np.where(free > 0, 2 * stdtr(np.maximum(free, 1), -t), np.nan)


def partial_correlation(both, one, other):
    """The correlation of x and y with z held fixed, from those of x and y, x and z, y and z; NaN where z tells x or y.

    Example:
        >>> round(float(partial_correlation(0.5, 0.4, 0.3)), 6)
        0.434634
    """
    both, one, other = (np.asarray(each, dtype=np.float64) for each in (both, one, other))
    left = (1 - one * one) * (1 - other * other)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (both - one * other) / np.sqrt(left)
    return np.where(left > 1e-12, found.clip(-1, 1), np.nan)


def fisher_exact(hits, trials, other_hits, other_trials):
    """Two-sided p of Fisher's exact test that two shares are one: the chance of all tables with the same sums that are
    no likelier than this one.

    Args:
        hits, trials, other_hits, other_trials: whole numbers, 0 <= hits <= trials.

    Returns:
        float; 1 where there are no trials on one side.

    Source: Fisher, J. R. Stat. Soc. 85 (1922) 87.

    Example:
        >>> round(fisher_exact(8, 10, 1, 6), 6)
        0.034965
    """
    from scipy.special import gammaln

    def chosen(n, k):
        return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)

    both = hits + other_hits
    k = np.arange(max(0, both - other_trials), min(both, trials) + 1)
    chance = chosen(trials, k) + chosen(other_trials, both - k)
    chance = np.exp(chance - chosen(trials + other_trials, both))
    own = chance[hits - k[0]]
    return float(min(1.0, chance[chance <= own * (1 + 1e-7)].sum()))


def benjamini_hochberg(p):
    """p-values corrected for the false discovery rate of all that are known; NaN stays NaN and counts for nothing.

    Source: Benjamini and Hochberg, J. R. Stat. Soc. B 57 (1995) 289.

    Example:
        >>> benjamini_hochberg([0.01, 0.04, 0.03, float("nan")]).round(6).tolist()
        [0.03, 0.04, 0.04, nan]
    """
    return _stepwise(p, lambda p, m: np.minimum.accumulate((p * m / np.arange(1, m + 1))[::-1])[::-1])


def holm(p):
    """p-values corrected for the chance of a single false finding among all that are known; NaN as above.

    Source: Holm, Scand. J. Stat. 6 (1979) 65.

    Example:
        >>> holm([0.01, 0.04, 0.03, float("nan")]).round(6).tolist()
        [0.03, 0.06, 0.06, nan]
    """
    return _stepwise(p, lambda p, m: np.maximum.accumulate(p * (m - np.arange(m))))


def _stepwise(p, rule):
    """`rule` of rising p-values and their number, put back where they were."""
    p = np.asarray(p, dtype=np.float64)
    found, known = np.full(p.shape, np.nan), np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    found[order] = np.minimum(rule(p[order], len(order)), 1) if len(order) else []
    return found


def drawn_anew(owners, draws, seed, stream=0):
    """How often each model is in resamples that draw its owners (families) with replacement, as many as there are.

    Args:
        owners: int [n], the number of the owner of each model, 0..F-1; all different: models are drawn themselves.
        draws: D. seed, stream: of the draws; other streams draw anew.

    Returns:
        int64 [D, n].

    Example:
        >>> drawn_anew([0, 0, 1], 3, seed=0)[:, 0].tolist() == drawn_anew([0, 0, 1], 3, seed=0)[:, 1].tolist()
        True
    """
    owners = np.asarray(owners)
    number = int(owners.max()) + 1
    generator = np.random.Generator(np.random.Philox(key=np.array([seed, stream], np.uint64)))
    return generator.multinomial(number, np.full(number, 1 / number), size=draws)[:, owners]
