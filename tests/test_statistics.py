"""Intervals against plain computations of what they stand for."""

import math
from statistics import NormalDist

import numpy as np
import pytest
import torch
from scipy.optimize import brentq, minimize_scalar

from freqkit.statistics import paired_ratio, redrawn_sums


def likeliest(a, b, c, d, ratio):
    """The variance of (a + b) - ratio (a + c) where the likelihood of four counts is highest under (p11 + p10) = ratio
    (p11 + p01), by search over p01 with p11 free."""
    n, some = a + b + c + d, a + b + c

    def cells(p01):
        p11 = (
            some / n - (1 + ratio) * p01
        ) / ratio  # the three add up to what was seen, where the likelihood is highest
        return p11, ratio * p01 + (ratio - 1) * p11, p01

    low = max(0.0, (1 - ratio) * some / n) + 1e-15
    high = some / n / (1 + ratio) - 1e-15

    def away(p01):
        return -sum(k * math.log(max(p, 1e-300)) for k, p in zip((a, b, c), cells(p01), strict=True) if k)

    p01 = minimize_scalar(away, bounds=(low, high), method="bounded", options={"xatol": 1e-14}).x
    p11, p10, p01 = cells(p01)
    return n * ((1 - ratio) ** 2 * p11 + p10 + ratio**2 * p01)


COUNTS = [(43, 1, 7, 9), (10, 5, 3, 2), (30, 4, 20, 6), (3, 9, 1, 0), (40, 0, 25, 35)]


@pytest.mark.parametrize("counts", COUNTS, ids=str)
def test_the_ratio_of_paired_shares(counts):
    """Where the squared difference is z^2 variances, with the variance found by search for the likeliest shares."""
    a, b, c, d = counts
    z = NormalDist().inv_cdf(0.975)
    low, high = paired_ratio(*(torch.tensor([k]) for k in counts))[0].tolist()

    def score(ratio):
        return ((a + b) - ratio * (a + c)) ** 2 - z * z * likeliest(a, b, c, d, ratio)

    found = (a + b) / (a + c)
    assert low < found < high
    assert low == pytest.approx(brentq(score, 1e-3, found * (1 - 1e-9)), abs=2e-5)
    assert high == pytest.approx(brentq(score, found * (1 + 1e-9), 50), abs=2e-4)


def test_ratios_at_the_ends():
    counts = torch.tensor([[0, 0, 8, 2], [0, 5, 0, 5], [10, 0, 0, 0], [0, 0, 0, 3]]).T
    low, high = paired_ratio(*counts).T
    assert low[0] == 0 and 0 < high[0] < 0.6  # nothing is left of eight
    assert low[1].isnan() and low[3].isnan()  # over nothing
    assert low[2] < 1 < high[2] and low[2] > 0.6  # ten of ten stay
    # of the same shares, unpaired ones would be told less surely
    narrow, wide = paired_ratio(
        torch.tensor([40, 16]), torch.tensor([0, 24]), torch.tensor([0, 24]), torch.tensor([60, 36])
    )
    assert narrow[1] - narrow[0] < wide[1] - wide[0]


def test_the_ratio_is_covered_as_often_as_it_says():
    generator = np.random.default_rng(0)
    chances = [0.35, 0.1, 0.25, 0.3]
    drawn = torch.from_numpy(generator.multinomial(60, chances, 2000))
    low, high = paired_ratio(*drawn.T).T
    assert 0.93 < float(((low <= 0.45 / 0.6) & (0.45 / 0.6 <= high)).double().mean()) < 0.97


def test_redrawn_things_keep_together():
    values = torch.tensor([[1, 0, 1, 1, 0], [0, 1, 0, 0, 1]])
    sums = redrawn_sums(values, 400, seed=3)
    assert sums.shape == (400, 2) and (sums.sum(1) == 5).all()
    assert float(sums[:, 0].mean()) == pytest.approx(3, abs=0.2) and float(sums[:, 0].var()) == pytest.approx(
        1.2, abs=0.25
    )
    assert torch.equal(redrawn_sums(values, 400, seed=3, block=7), sums), "in any blocks"
    assert not torch.equal(redrawn_sums(values, 400, seed=4), sums)
