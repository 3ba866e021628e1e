"""Launch geometries of extreme sizes, checked without a device."""

import itertools
import math

import pytest

GRID_LIMIT = 2**31 - 1


@pytest.mark.parametrize("shared", [64 * 1024, 99 * 1024, 227 * 1024])
@pytest.mark.parametrize("complex_bytes", [8, 16])
def test_every_size_has_a_plan_within_limits(emulator, shared, complex_bytes):
    lengths = [*range(1, 400), 511, 512, 513, 997, 1000, 4096, 8191, 65536, 2**24, 2**24 - 3]
    for n in lengths:
        g = emulator.geometry(n, 7, 1, complex_bytes, shared, 24 << 20)
        line = g["columns"]
        assert math.prod(line["radix"]) == n
        assert 1 <= line["blocks"] <= GRID_LIMIT and line["threads"] == 256
        assert line["shared_bytes"] <= shared
        assert line["lanes"] in (1, 2, 4, 8, 16)
        if n <= 384:
            assert not line["wide"] and line["lanes"] >= (8 if complex_bytes == 8 else 4)


@pytest.mark.parametrize(("k", "b", "c"), [(1, 1, 1), (5000, 10000, 3), (2**31, 2, 3), (2**20, 2**20, 4)])
@pytest.mark.parametrize("size", [(1, 1), (32, 32), (224, 224), (1, 2**20), (2**20, 1), (4096, 4096)], ids=str)
def test_extreme_counts_of_planes(emulator, k, b, c, size):
    planes = k * b * c
    g = emulator.geometry(*size, planes, 8, 99 * 1024, 24 << 20)
    assert 1 <= g["chunk"] <= planes
    plane_bytes = g["half"] * size[1] * 8
    assert g["chunk"] == 1 or g["chunk"] * plane_bytes <= 24 << 20, "the scratch of a chunk must stay in the L2 cache"
    assert g["chunk"] * g["half"] < 2**31, "rows of a chunk are counted in 32 bits"
    for line in (g["rows"], g["columns"]):
        assert 1 <= line["blocks"] <= GRID_LIMIT
    if not (g["rows"]["wide"] or g["columns"]["wide"]):
        assert g["bytes"] <= max(24 << 20, plane_bytes) + 32 * size[1] * 8 + 32 * sum(size) + 4096


def test_planes_beyond_32_bits_are_addressed(emulator):
    first, outer, inner, outer_step, inner_step = 2**33, 5, 7, 3, 2**32
    seen = set()
    for s, (i, o) in enumerate(itertools.product(range(inner), range(outer))):
        plane = emulator.plane_map(first, outer, inner, outer_step, inner_step, s)
        assert plane == first + i * inner_step + o * outer_step
        seen.add(plane)
    assert len(seen) == outer * inner


@pytest.mark.parametrize("size", [(0, 4), (4, 0), (-1, 4), (2**24 + 1, 1)], ids=str)
def test_impossible_sizes_are_refused(emulator, size):
    with pytest.raises(ValueError, match="H and W must be between 1 and"):
        emulator.geometry(*size, 1, 8, 99 * 1024, 24 << 20)


def test_shares_of_the_mask_gradient(emulator):
    for masks, planes, height in itertools.product(
        (1, 2, 16, 5000, 2**31), (1, 3, 7, 96, 3 * 2**31), (1, 32, 224, 4096)
    ):
        shares = emulator.mask_gradient_shares(masks, planes, height)
        assert 1 <= shares <= 32 and planes % shares == 0
        assert shares == 1 or masks * shares <= 512, "the partial sums stay small"
    assert emulator.mask_gradient_shares(1, 96, 224) == 32
