"""The bank's CUDA kernels in the emulator: sums, memory traffic, bank conflicts, launches."""

import numpy as np
import pytest

ROUNDING = {"float32": 0, "float64": 0, "float16": 2.0**-11, "bfloat16": 2.0**-8}
BYTES = {"float32": 4, "float64": 8, "float16": 2, "bfloat16": 2}
SHARED = {"sm_75": 64 * 1024, "sm_86": 99 * 1024, "sm_90": 227 * 1024}


def widen(flat, out):
    if out == "bfloat16":
        return (flat.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return (flat.view(np.float16) if out == "float16" else flat).astype(np.float64)


def draw(rng, cells, masks, grid):
    """Masks of `grid` bits each, of which `cells` in any order are those of the bank."""
    on = rng.integers(0, 2, (masks, *grid), dtype=np.uint8)
    bits = np.packbits(on, axis=2, bitorder="little")
    row_bits = 8 * bits.shape[2]
    flat = rng.permutation(grid[0] * grid[1])[:cells]
    numbers = (flat // grid[1] * row_bits + flat % grid[1]).astype(np.int32)
    return bits, numbers, on.reshape(masks, -1)[:, flat].astype(np.float64)


def run(emulator, bank, bits, numbers, *, out="float32", shared=SHARED["sm_90"], gap=0):
    flat = emulator.bank_sum(bank, bits, numbers, out, gap, {"shared": shared})
    rows = flat.reshape(len(bits), -1)
    assert gap == 0 or (rows[:, bank.shape[1] :].view(np.uint8) == 0xFF).all(), "written beyond a mask's elements"
    return widen(np.ascontiguousarray(rows[:, : bank.shape[1]]), out)


@pytest.mark.parametrize("order", ["forward", "reverse", "shuffled"])
@pytest.mark.parametrize("shared", [SHARED["sm_75"], 0], ids=["shared", "global"])
def test_sums_against_float64(emulator, order, shared):
    emulator.configure(order=order, seed=3)
    rng = np.random.default_rng(1)
    for cells, masks, elements, grid in (
        (1, 1, 1, (1, 1)),
        (5, 3, 300, (3, 2)),
        (16, 37, 256, (4, 4)),
        (33, 9, 515, (5, 9)),
    ):
        bits, numbers, on = draw(rng, cells, masks, grid)
        for dtype, bound in ((np.float32, 3e-7), (np.float64, 1e-15)):
            bank = rng.normal(size=(cells, elements)).astype(dtype)
            expected = on @ bank.astype(np.float64)
            got = run(emulator, bank, bits, numbers, out=np.dtype(dtype).name, shared=shared)
            assert np.abs(got - expected).max() <= bound * np.abs(bank).sum(0).max()


@pytest.mark.parametrize("out", list(ROUNDING))
@pytest.mark.parametrize("elements,gap", [(260, 0), (261, 0), (256, 4), (256, 3)], ids=str)
def test_types_and_alignments(emulator, out, elements, gap):
    emulator.configure(order="shuffled", seed=7)
    rng = np.random.default_rng(2)
    bits, numbers, on = draw(rng, 6, 10, (2, 3))
    for dtype in (np.float32, np.float64):
        bank = rng.normal(size=(6, elements)).astype(dtype)
        expected = on @ bank.astype(np.float64)
        got = run(emulator, bank, bits, numbers, out=out, gap=gap)
        assert np.abs(got - expected).max() <= (ROUNDING[out] + 5e-7) * np.abs(bank).sum(0).max()


@pytest.mark.parametrize("cells", [8, 16, 28, 49, 64])
@pytest.mark.parametrize("out", ["float32", "bfloat16"])
def test_no_bank_conflicts_and_traffic_at_the_floor(emulator, cells, out):
    """A block reads its tile of the bank and its masks' words once, and writes its results once."""
    elements, masks = 512, 600  # two tiles, two blocks of masks
    rng = np.random.default_rng(0)
    bits, numbers, _ = draw(rng, cells, masks, (8, 8))
    emulator.configure(count=True)
    run(emulator, rng.normal(size=(cells, elements)).astype(np.float32), bits, numbers, out=out, shared=SHARED["sm_75"])
    counts = emulator.launch_counts()[-1]
    emulator.configure()
    assert counts["shared_conflicts"] == 0, counts["conflict_sites"]
    assert counts["shared_bytes"] == -(-cells // 4) * 4096 <= SHARED["sm_75"]
    assert counts["blocks"] == 4 and counts["barriers"] == 2 * counts["blocks"]
    written = masks * elements * BYTES[out]
    assert counts["global_written_bytes"] == written == 32 * counts["global_written_sectors"]
    floor = written + 2 * cells * elements * 4 + 2 * masks * -(-cells // 32) * 4
    assert 32 * (counts["global_read_unique_sectors"] + counts["global_written_sectors"]) <= 1.01 * floor
    # Shared memory serves eight masks a read: one wavefront per 128 bytes of it.
    assert counts["shared_accesses"] <= 1.05 * (-(-cells // 4) * 4 * masks / 8 + 2 * cells) * elements * 4 / 128


@pytest.mark.parametrize("cells", [1, 16, 64, 4096])
@pytest.mark.parametrize("masks", [1, 5000, 2**31, 2**40])
@pytest.mark.parametrize("elements", [1, 3 * 224 * 224, 2**31, 3 * 2**36])
def test_launches_of_extreme_calls(emulator, cells, masks, elements):
    for shared in SHARED.values():
        for item in (4, 8):
            g = emulator.bank_geometry(cells, masks, elements, item, shared)
            assert 1 <= g["masks_per_launch"] <= masks and g["masks_per_launch"] * g["words_per_mask"] < 2**31
            assert g["bytes"] <= 4 << 20, "work memory does not grow with the call"
            assert 1 <= g["blocks"] <= 2**20
            assert g["shared_bytes"] <= shared and (g["shared_bytes"] > 0) == (cells <= shared // 1024 // 4 * 4)
            assert g["blocks"] * g["masks_per_block"] * g["tile"] >= min(masks, g["masks_per_launch"]) * elements or (
                g["blocks"] == 2**20
            ), "blocks loop only where the grid is full"
