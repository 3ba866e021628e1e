import math

import numpy as np
import pytest
import torch

from freqkit.measures import recovery


def test_counts_and_ratios_against_sets():
    rng = np.random.default_rng(0)
    kept, planted = rng.random((16, 12)) * (rng.random((16, 12)) < 0.4), rng.random((16, 12)) < 0.2
    found = recovery(torch.tensor(kept), torch.tensor(planted))
    a, b = set(zip(*np.nonzero(kept), strict=True)), set(zip(*np.nonzero(planted), strict=True))
    assert (found.kept, found.planted, found.found, found.bins) == (len(a), len(b), len(a & b), 192)
    assert found.precision == len(a & b) / len(a)
    assert found.recall == len(a & b) / len(b)
    assert found.enrichment == pytest.approx(found.precision / found.chance_precision)


def test_threshold_is_strict():
    kept = torch.tensor([[0.0, 0.5, 1.0]])
    planted = torch.ones(1, 3, dtype=torch.bool)
    assert recovery(kept, planted).kept == 2
    assert recovery(kept, planted, threshold=0.5).kept == 1


def test_nothing_kept_or_planted_is_undefined_not_zero():
    empty, full = torch.zeros(4, 4), torch.ones(4, 4)
    assert math.isnan(recovery(empty, full).precision)
    assert math.isnan(recovery(empty, full).enrichment)
    assert recovery(empty, full).recall == 0
    assert math.isnan(recovery(full, empty).recall)


def test_shapes_must_fit():
    with pytest.raises(ValueError, match=r"\[4, 4\] and \[4, 5\]"):
        recovery(torch.ones(4, 4), torch.ones(4, 5))
