"""AvgTPR curves and corruption errors from numbers whose answers are known."""

import math

import pytest
import torch

from freqkit.errors import UsageError
from freqkit.measures import curves, mean_corruption_error

REFERENCE = torch.tensor([0.95, 0.5, 0.3, 0.0, math.nan], dtype=torch.float64)
CLEAN = torch.tensor([0.9, 0.8, 0.6, math.nan, 0.1], dtype=torch.float64)
FILTERED = torch.tensor([0.7, 0.5, math.nan, 0.2, 0.9], dtype=torch.float64)


def test_curves_by_hand():
    found = curves(REFERENCE, CLEAN, FILTERED, thresholds=(0.2, 0.5, 0.9, 0.99))
    # Class 3 has no images here and class 4 no map: neither is in a group. 0.5 > 0.5 is false.
    assert found.shortcut_size.tolist() == [3, 1, 1, 0]
    assert found.other_size.tolist() == [0, 2, 2, 3]
    assert found.shortcut[:3].tolist() == pytest.approx([2.3 / 3, 0.9, 0.9])
    assert found.other[1:].tolist() == pytest.approx([0.7, 0.7, 2.3 / 3])
    assert found.shortcut_filtered[:2].tolist() == pytest.approx(
        [0.6, 0.7]
    )  # a class without a filtered rate is left out
    assert math.isnan(found.shortcut[3])
    assert math.isnan(found.other[0])
    published = curves(REFERENCE, CLEAN, FILTERED, thresholds=(0.2, 0.99), empty=0.0)
    assert (published.other[0], published.shortcut[1]) == (0, 0)
    with pytest.raises(UsageError, match="of the same classes; got 5, 2, 2"):
        curves(REFERENCE, CLEAN[:2])


def test_mce():
    reference = {"fog": 0.8, "snow": 0.5}
    errors = {("fog", s): 0.1 * s for s in range(1, 6)}
    assert mean_corruption_error(errors, reference)[0] is None
    errors |= {("snow", s): 0.25 for s in range(1, 6)}
    whole, each, mean = mean_corruption_error(errors, reference)
    assert each == pytest.approx({"fog": 37.5, "snow": 50})
    assert (whole, mean) == pytest.approx((43.75, 0.275))
    del errors["snow", 3]
    whole, each, mean = mean_corruption_error(errors, reference)
    assert (whole, list(each)) == (None, ["fog"])
    with pytest.raises(UsageError, match="at least one"):
        mean_corruption_error({}, reference)


def test_resnet50_mce_from_its_published_errors():
    """ResNet-50 (torchvision): published CE 79.77 on gaussian noise from 29.29 % accuracy."""
    from freqkit.data.test_sets.corrupted import alexnet_errors

    own = {("gaussian_noise", s): 1 - 0.2929 for s in range(1, 6)}
    assert mean_corruption_error(own, alexnet_errors())[1]["gaussian_noise"] == pytest.approx(79.77, abs=0.01)
