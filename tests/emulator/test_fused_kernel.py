"""The one-kernel inverse: numbers, memory traffic and bank conflicts, for every size with a plan."""

import numpy as np
import pytest

from tests.emulator.test_spectral_filter_kernels import (
    AVERAGE,
    DENSE,
    HALF,
    HERMITIAN,
    effective,
    from_bits,
    full_of_cells,
    full_of_half,
    pack_cells,
    packed_spectrum,
    relative,
)

SIZES = (32, 64, 96, 128, 224, 256, 288, 320, 384)
SHARED = {"sm_75": 64 * 1024, "sm_86": 99 * 1024, "sm_90": 227 * 1024}


def draw(rng, kind, count, n, cells=16):
    if kind == DENSE:
        mask = rng.normal(size=(count, n, n)).astype(np.float32)
        return mask, (1, 1), effective(mask.astype(np.float64))
    if kind == HALF:
        mask = rng.normal(size=(count, n, n // 2 + 1)).astype(np.float32)
        return mask, (1, 1), effective(full_of_half(mask.astype(np.float64), n))
    bits = rng.random((count, cells, cells)) < 0.5
    cell = (n // cells, n // cells)
    return pack_cells(bits), cell, full_of_cells(bits, cell, kind)


def run(emulator, x, mask, kind, cell, *, paired=False, out="float32", channels_last=False, shared=SHARED["sm_90"]):
    b, c, n, _ = x.shape
    spectrum = packed_spectrum(x, np.complex64).reshape(b * c, n // 2 + 1, n)
    flat = emulator.fused_inverse(spectrum, n, n, c, mask, kind, cell, paired, out, channels_last, {"shared": shared})
    assert flat is not None
    flat = from_bits(flat, out) if out != "float32" else flat.astype(np.float64)
    y = flat.reshape(-1, n, n, c).transpose(0, 3, 1, 2) if channels_last else flat.reshape(-1, c, n, n)
    return y if paired else y.reshape(-1, b, c, n, n)


@pytest.mark.parametrize("order", ["forward", "reverse", "shuffled"])
@pytest.mark.parametrize("n", SIZES)
def test_every_size_against_float64(emulator, n, order):
    emulator.configure(order=order, seed=n)
    rng = np.random.default_rng(n)
    x = rng.normal(size=(1, 3 if n < 100 else 1, n, n))
    for shared in {
        emulator.fused_plan(n, s)["folds"]: s for s in SHARED.values() if emulator.fused_plan(n, s)
    }.values():
        for kind in (DENSE, HERMITIAN) if order == "forward" else (AVERAGE,):
            mask, cell, m_eff = draw(rng, kind, 2 if n < 100 else 1, n)
            got = run(emulator, x, mask, kind, cell, shared=shared)
            expected = np.fft.ifft2(m_eff[:, None, None] * np.fft.fft2(x)).real
            assert relative(got, expected) <= 2e-7


@pytest.mark.parametrize("out", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_types_layouts_pairing_and_partial_blocks(emulator, out, channels_last):
    emulator.configure(order="shuffled", seed=5)
    rng = np.random.default_rng(9)
    step = {"float32": 2e-7, "float16": 4e-4, "bfloat16": 3e-3}[out]
    for n, b in ((32, 3), (64, 1)):  # 9 and 3 planes: the last block of a group is not full
        x = rng.normal(size=(b, 3, n, n))
        mask, cell, m_eff = draw(rng, HALF, 3, n)
        every = np.fft.ifft2(m_eff[:, None, None] * np.fft.fft2(x)).real
        got = run(emulator, x, mask, HALF, cell, out=out, channels_last=channels_last)
        assert relative(got, every) <= step
        mask, cell, m_eff = draw(rng, AVERAGE, b, n, cells=8)
        each = np.fft.ifft2(m_eff[:, None] * np.fft.fft2(x)).real
        got = run(emulator, x, mask, AVERAGE, cell, paired=True, out=out, channels_last=channels_last)
        assert relative(got, each) <= step


def test_bits_of_any_cell_size(emulator):
    emulator.configure()
    rng = np.random.default_rng(3)
    x = rng.normal(size=(1, 1, 32, 32))
    for cells in (1, 2, 4, 8, 16, 32):
        for kind in (AVERAGE, HERMITIAN):
            mask, cell, m_eff = draw(rng, kind, 2, 32, cells)
            expected = np.fft.ifft2(m_eff[:, None, None] * np.fft.fft2(x)).real
            assert np.abs(run(emulator, x, mask, kind, cell) - expected).max() <= 2e-6


def test_sizes_without_a_plan(emulator):
    for n in (31, 48, 33, 225, 512):
        assert emulator.fused_plan(n, SHARED["sm_90"]) == {}


@pytest.mark.parametrize("n", SIZES)
def test_plans_fit_the_device(emulator, n):
    for limit in SHARED.values():
        plan = emulator.fused_plan(n, limit)
        assert plan == {} or (plan["shared_bytes"] <= limit and plan["threads"] <= 1024 and plan["threads"] % 32 == 0)
    assert emulator.fused_plan(n, SHARED["sm_90"])


def floor_bytes(n, plan, out_bytes, planes):
    """Outputs once; per fold the spectrum rows it reads and their mask words; nothing else."""
    rows = n // 2 + plan["folds"]  # over all folds' q, rows 0 and R come twice
    spectrum = plan["folds"] * rows * n * 8
    words = plan["folds"] * rows * (n // 16) * 4
    return planes * (n * n * out_bytes + spectrum + words)


@pytest.mark.parametrize("out", ["float32", "bfloat16"])
@pytest.mark.parametrize("n", SIZES)
def test_no_bank_conflicts_and_traffic_at_the_floor(emulator, n, out):
    """With all cells on. Reads are counted per block (an ideal L1 cache), writes per warp access."""
    plan = emulator.fused_plan(n, SHARED["sm_90"])
    planes = plan["planes"]
    x = np.random.default_rng(0).normal(size=(1, planes, n, n))
    bits = pack_cells(np.ones((1, 16, 16), dtype=bool))
    emulator.configure(count=True)
    run(emulator, x, bits, AVERAGE, (n // 16, n // 16), out=out)
    counts = emulator.launch_counts()[-1]
    emulator.configure()
    assert counts["shared_conflicts"] == 0, counts["conflict_sites"]
    assert counts["shared_bytes"] == plan["shared_bytes"] == counts["shared_touched"]
    assert counts["barriers"] == 3 * counts["blocks"]
    written = planes * n * n * (4 if out == "float32" else 2)
    assert counts["global_written_bytes"] == written == 32 * counts["global_written_sectors"]
    traffic = 32 * (counts["global_read_unique_sectors"] + counts["global_written_sectors"])
    assert traffic <= 1.15 * floor_bytes(n, plan, 4 if out == "float32" else 2, planes)


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize(("masks", "images"), [(1, 3), (5000, 30000), (2**31, 3), (1, 3 * 2**31), (2**20, 3 * 2**20)])
@pytest.mark.parametrize("n", [32, 224, 384])
def test_launches_of_extreme_calls(emulator, n, masks, images, paired):
    for bits in (False, True):
        plan = emulator.fused_plan(n, SHARED["sm_90"])
        g = emulator.fused_geometry(n, plan["folds"], 1 if paired else masks, images, 3, paired, bits)
        slots = g["images_per_launch"] // 3 if paired else g["masks_per_launch"]
        assert 1 <= g["masks_per_launch"] <= masks and 1 <= g["images_per_launch"] <= images
        assert not paired or g["images_per_launch"] % 3 == 0
        assert g["masks_per_launch"] * g["images_per_launch"] * plan["folds"] < 2**31, "blocks of a launch"
        assert g["bytes"] <= (16 << 20) + n * n * 4 + 16 * n + 512, "work memory does not grow with the call"
        assert slots * (n // 2 + 1) * (n // 16 if bits else n) * 4 <= g["bytes"]
