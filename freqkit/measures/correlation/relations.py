"""Which biases go with which scores: rank correlations, how sure they are, and on how few models they hang."""

import itertools
import math
from collections.abc import Sequence

import numpy as np

from freqkit.measures.correlation.quantities import BIASES, CLEAN, SCORES, for_ranks
from freqkit.statistics import (
    benjamini_hochberg,
    correlation_p,
    drawn_anew,
    holm,
    partial_correlation,
    rank_correlations,
)

FIELDS = (
    "bias", "score", "group", "rho", "p", "n", "low", "high", "families", "family_low", "family_high", "partial",
    "partial_p", "bh", "holm", "without_low", "without_high", "hangs_on",
)  # fmt: skip
SUBSETS = 100_000  # ways to leave models out that are tried, at most
AMONG_SCORES = tuple(itertools.product(BIASES, SCORES))
AMONG_BIASES = tuple(itertools.combinations(BIASES, 2))


def relations(
    quantities: dict, groups: dict, owners: Sequence[str], pairs: Sequence[tuple], *, resamples: int, confidence: float,
    alpha: float, seed: int, leave_out: int,
) -> list[dict]:  # fmt: skip
    """A dict of `FIELDS` for each pair and group; those of all groups are corrected together.

    Args:
        quantities: name -> float64 [M], NaN where unknown. groups: name -> places of its models.
        owners: M families. pairs: (bias, score or bias) names.
        resamples, confidence, alpha, seed, leave_out: see `Studying`.
    """
    names = list(dict.fromkeys([*(name for pair in pairs for name in pair), CLEAN]))
    values = np.stack([for_ranks(name, quantities[name]) for name in names])
    found = {}
    for stream, (group, places) in enumerate(groups.items()):
        places = np.asarray(places, dtype=np.int64)
        by_models = {}  # the models of which both are known -> pairs
        for bias, score in pairs:
            known = ~np.isnan(values[[names.index(bias), names.index(score)]][:, places]).any(0)
            by_models.setdefault(tuple(places[known].tolist()), []).append((bias, score))
        for own, some in by_models.items():
            lines = _group(
                values[:, list(own)], [tuple(map(names.index, pair)) for pair in some], names.index(CLEAN),
                [owners[place] for place in own], resamples, confidence, alpha, seed, stream, leave_out,
            )  # fmt: skip
            for (bias, score), line in zip(some, lines, strict=True):
                line["hangs_on"] = line["hangs_on"] and [own[place] for place in line["hangs_on"]]
                found[bias, score, group] = {"bias": bias, "score": score, "group": group, "n": len(own), **line}
    ordered = [found[bias, score, group] for bias, score in pairs for group in groups]
    for name, rule in (("bh", benjamini_hochberg), ("holm", holm)):
        for line, p in zip(ordered, rule([line["p"] for line in ordered]).tolist(), strict=True):
            line[name] = p
    return [{name: line[name] for name in FIELDS} for line in ordered]


def _group(values, pairs, clean, owners, resamples, confidence, alpha, seed, stream, leave_out):
    """Of the models of one group, of which both quantities of all pairs are known: a dict for each pair."""
    n, tails = values.shape[1], [50 * (1 - confidence), 50 * (1 + confidence)]
    if n == 0:
        return [_undefined() for _ in pairs]
    rho = rank_correlations(values, pairs)[0]
    p = correlation_p(rho, n)
    partial = _partials(values, pairs, clean, rho)
    partial_p = correlation_p(partial, n, given=1)
    by_models = _interval(values, pairs, np.arange(n), resamples, tails, seed, 2 * stream)
    families = {name: place for place, name in enumerate(dict.fromkeys(owners))}
    grouped = 1 < len(families) < n
    of_families = by_models
    if grouped or len(families) == 1:
        own = np.array([families[name] for name in owners])
        of_families = _interval(values, pairs, own, resamples if grouped else 0, tails, seed, 2 * stream + 1)
    without, hanging = _without(values, pairs, alpha, p, leave_out)
    return [
        {
            "rho": rho[k], "p": p[k], "low": by_models[0, k], "high": by_models[1, k], "families": len(families),
            "family_low": of_families[0, k], "family_high": of_families[1, k], "partial": partial[k],
            "partial_p": partial_p[k], "without_low": without[0, k], "without_high": without[1, k],
            "hangs_on": hanging[k],
        }
        for k in range(len(pairs))
    ]  # fmt: skip


def _undefined():
    numbers = {name: math.nan for name in FIELDS if name not in ("bias", "score", "group", "n", "bh", "holm")}
    return {**numbers, "families": 0, "hangs_on": None}


def _partials(values, pairs, clean, rho):
    """With clean accuracy held fixed; undefined where it is not known of all."""
    if np.isnan(values[clean]).any():
        return np.full(len(pairs), np.nan)
    with_clean = rank_correlations(values, [(one, clean) for pair in pairs for one in pair])[0]
    return partial_correlation(rho, with_clean[0::2], with_clean[1::2])


def _interval(values, pairs, owners, resamples, tails, seed, stream):
    """[2, P], percentiles over the resamples in which both quantities vary."""
    if not resamples or len(owners) < 3:
        return np.full((2, len(pairs)), np.nan)
    drawn = rank_correlations(values, pairs, drawn_anew(owners, resamples, seed, stream))
    drawn.sort(0)  # NaN comes last
    known = resamples - np.isnan(drawn).sum(0)
    found = np.full((2, len(pairs)), np.nan)
    for k, count in enumerate(known.tolist()):
        if count:
            found[:, k] = np.percentile(drawn[:count, k], tails)
    return found


def left_out_at_most(n: int, leave_out: int) -> int:
    """How many of n models are left out, so that every choice of them can be tried."""
    counts = range(min(leave_out, n - 3), 1, -1)
    return next((count for count in counts if math.comb(n, count) <= SUBSETS), min(1, leave_out))


def _without(values, pairs, alpha, p, leave_out):
    """([2, P] smallest and largest rho without one model, for each pair None where p >= `alpha` anyway, the fewest
    models, up to `leave_out`, without which it is, or [] when there are no such)."""
    n = values.shape[1]
    extremes = np.full((2, len(pairs)), np.nan)
    hanging = [[] if one < alpha else None for one in p]
    for count in range(1, min(max(1, left_out_at_most(n, leave_out)), n - 3) + 1):
        left_out = np.array(list(itertools.combinations(range(n), count)))
        counts = np.ones((len(left_out), n))
        np.put_along_axis(counts, left_out, 0, axis=1)
        rho = rank_correlations(values, pairs, counts)
        if count == 1:
            known = ~np.isnan(rho).all(0)
            extremes[:, known] = np.nanmin(rho[:, known], 0), np.nanmax(rho[:, known], 0)
        if count > leave_out:
            break
        without = np.nan_to_num(correlation_p(rho, n - count), nan=1.0)
        for k in range(len(pairs)):
            if hanging[k] == [] and (worst := int(without[:, k].argmax())) is not None:
                if without[worst, k] >= alpha:
                    hanging[k] = left_out[worst].tolist()
    return extremes, hanging
