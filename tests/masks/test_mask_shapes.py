"""Discs, rings, bands and wedges."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from freqkit.masks import (
    band,
    disc,
    effective,
    frequencies,
    high_pass,
    low_pass,
    partner,
    radius,
    ring,
    uncentred,
    wedge,
)
from tests.masks.slow_masks import few, partner_of

SIZES = st.tuples(st.integers(1, 20), st.integers(1, 20))


def slow_radius(h, w):
    shorter = min(h, w)
    return np.array(
        [[math.hypot((r - h // 2) * shorter / h, (c - w // 2) * shorter / w) for c in range(w)] for r in range(h)]
    )


@few
@given(SIZES, st.floats(0, 20), st.booleans())
def test_discs_and_rings(size, limit, inclusive):
    h, w = size
    r = radius(size)
    assert np.allclose(r, slow_radius(h, w), atol=1e-12)
    expected = r <= limit if inclusive else r < limit
    assert torch.equal(disc(size, limit, inclusive=inclusive), expected.float())
    assert torch.equal(low_pass(size, limit) + high_pass(size, limit), torch.ones(size))
    assert torch.equal(ring(size, limit / 2, limit) + disc(size, limit / 2), disc(size, limit))
    assert torch.equal(disc(size, limit, layout="torch"), uncentred(disc(size, limit)))


def test_rims_are_exact_in_cycles_per_image():
    r = radius(32)
    assert r[16, 16] == 0 and r[19, 20] == 5 and r[0, 16] == 16
    for limit in (
        5,
        math.sqrt(2),
        math.sqrt(13),
    ):  # on the rim there are bins: strict leaves them, inclusive takes them
        rim = int((disc(32, limit, inclusive=True) - disc(32, limit)).sum())
        on_it = sum(math.isclose(math.hypot(u, v), limit) for u in range(-16, 16) for v in range(-16, 16))
        assert rim == on_it > 0
    bands = [ring(32, *limits) for limits in ((0, 4), (4, 8), (8, 12), (12, math.inf))]
    assert torch.equal(sum(bands), torch.ones(32, 32))
    inside = ring(8, 1, 2, inner_inclusive=False, outer_inclusive=True)
    assert set(radius(8)[inside.bool()].tolist()) == {math.sqrt(2), 2.0}


@few
@given(SIZES, st.floats(0, 10), st.floats(0, 10), st.floats(-360, 360), st.floats(0, 180))
def test_every_shape_is_symmetric_and_binary(size, a, b, angle, width):
    low, high = min(a, b), max(a, b)
    shapes = [
        disc(size, high),
        ring(size, low, high),
        high_pass(size, low),
        band(size, low, high, axis="vertical"),
        band(size, low, high, axis="horizontal"),
        wedge(size, angle, width),
        wedge(size, angle, width, keep_dc=False),
    ]
    for mask in shapes:
        assert mask.shape == size and mask.dtype == torch.float32
        assert set(mask.unique().tolist()) <= {0.0, 1.0}
        assert torch.equal(mask, partner(mask)) and torch.equal(effective(mask), mask)


@few
@given(SIZES, st.integers(0, 5), st.integers(0, 5))
def test_bands(size, low, extra):
    h, w = size
    u, v = frequencies(size)
    for row in range(h):
        assert u[row] == row - h // 2
        kept = band(size, low, low + extra, axis="vertical")[row]
        assert (kept == float(low <= abs(row - h // 2) < low + extra)).all()
    for column in range(w):
        kept = band(size, low, low + extra, axis="horizontal")[:, column]
        assert (kept == float(low <= abs(v[0, column].item()) < low + extra)).all()


def test_wedges():
    size = (9, 9)
    u, v = (part.expand(size) for part in frequencies(size))
    assert torch.equal(wedge(size, 0, 0, keep_dc=False), ((u == 0) & (v != 0)).float())
    assert torch.equal(wedge(size, 90, 0, keep_dc=False), ((v == 0) & (u != 0)).float())
    assert torch.equal(wedge(size, 45, 0, keep_dc=False), ((u == v) & (u != 0)).float())
    assert torch.equal(wedge(size, -135, 0), wedge(size, 45, 0))
    assert torch.equal(wedge(size, 10, 180), torch.ones(size))
    # On the Nyquist row of an even size a bin stands for two directions.
    h, w = 8, 8
    kept = wedge((h, w), 45, 2, keep_dc=False)
    assert kept[0, 0] == 1 and kept[partner_of(1, 1, h, w)] == kept[1, 1] == 1


def test_bad_arguments_are_named():
    for call, error, words in (
        (lambda: disc((4,), 1), TypeError, "size"),
        (lambda: disc((0, 4), 1), ValueError, "at least 1"),
        (lambda: disc(4, -1), ValueError, "limit"),
        (lambda: disc(4, math.nan), ValueError, "limit"),
        (lambda: disc(4, "1"), TypeError, "limit"),
        (lambda: ring(4, 2, 1), ValueError, "outer"),
        (lambda: band(4, 0, 1, axis="x"), ValueError, "axis"),
        (lambda: band(4, 2, 1, axis="vertical"), ValueError, "high"),
        (lambda: wedge(4, 0, -1), ValueError, "width"),
        (lambda: disc(4, 1, layout="shifted"), ValueError, "layout"),
    ):
        with pytest.raises(error, match=words):
            call()
