"""Some random calls of the operator; many more with `make fuzz`, and under AddressSanitizer with `make fuzz-asan`."""

import subprocess
import sys
from pathlib import Path

import torch

import freqkit
from freqkit import BitMasks
from freqkit.ops import arguments
from freqkit.reference import spectral_filter as reference
from tests.fuzz import operator_calls
from tests.tolerances import RELATIVE

ROOT = Path(__file__).resolve().parents[2]
GRIDS = ((1, 1, (1, 1)), (6, 9, (2, 3)), (8, 8, (2, 1)), (5, 12, (1, 2)), (9, 1, (3, 1)), (1, 18, (1, 2)))


def python(*words):
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=600, cwd=ROOT)


def test_calls_drawn_at_random():
    done = python("-m", "tests.fuzz.operator_calls", "--calls", "1500", "--seed", "5")
    assert done.returncode == 0 and "1500 calls of the operator, 0 wrong" in done.stdout, done.stdout + done.stderr


def test_a_call_is_drawn_from_its_seed_and_number():
    drawn = [operator_calls.make(5, number) for number in (3, 4, 3)]
    assert drawn[0] == drawn[2] and drawn[0] != drawn[1]


def test_masks_are_those_of_the_twin():
    numbers = torch.Generator().manual_seed(0)
    for h, w, cell in GRIDS:
        bits = torch.randint(0, 256, (3, h // cell[0], -(-(w // cell[1]) // 8)), generator=numbers, dtype=torch.uint8)
        for symmetry in ("average", "hermitian"):
            masks = BitMasks(bits, cell, (h, w), symmetry)
            assert torch.equal(operator_calls.weights_of_bits(masks), reference.bit_masks(masks))
        half = torch.rand(3, h, w // 2 + 1, generator=numbers, dtype=torch.float64)
        assert torch.equal(operator_calls.whole_plane(half, w), reference.full_plane(half, w))


def faults(calls):
    return [fault for fault in (operator_calls.make(5, number)[1] for number in range(calls)) if fault]


def test_checks_left_out_and_values_that_are_off_are_found(monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(arguments, "apart", lambda *_: None)
        assert any("out shares memory" in fault for fault in faults(600))
    with monkeypatch.context() as patched:
        normal = operator_calls.normal
        patched.setattr(operator_calls, "normal", lambda *given: (normal(*given)[0] * (1 + 1e-5), normal(*given)[1]))
        assert any("planes are wrong" in fault for fault in faults(30))


def test_many_cells_may_round_more_and_none_may_be_wrong(monkeypatch):
    """Masks on 1,568 cells at 224 by the bank, which rounds 392 sums for each: beyond what a transform may."""
    assert operator_calls.make(102, 43003)[1] is None
    with monkeypatch.context() as patched:
        patched.setattr(operator_calls, "rounding_of_sums", lambda *_: 0.0)
        assert "planes are wrong" in operator_calls.make(102, 43003)[1]
    sums = freqkit.ops.band_bank._into

    def one_cell_wrong(packed, h, w, mask, *more):
        mask = mask.clone()
        mask[1, 50, 0] ^= 1
        sums(packed, h, w, mask, *more)

    monkeypatch.setattr(freqkit.ops.band_bank, "_into", one_cell_wrong)
    assert "2 of 4 planes are wrong; [1, 0, 0]" in operator_calls.make(102, 43003)[1]


def test_sums_of_cells_round_with_the_root_of_their_number():
    """Between a quarter of what is allowed and all of it, from 64 cells to 4,096: neither too narrow nor vacuous."""
    x = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    for cell in ((8, 8), (4, 4), (2, 2), (1, 1)):
        bits = torch.full((1, 64 // cell[0], 64 // cell[1] // 8), 255, dtype=torch.uint8)
        masks = BitMasks(bits, cell, (64, 64), "average")
        y = freqkit.spectral_filter(x, masks, method="bank")[0].double()
        cells = operator_calls.cells_summed(masks, "bank", 1)
        allowed = operator_calls.rounding_of_sums(torch.float32, cells) + RELATIVE[torch.float32]
        share = float((y - x).norm() / x.norm())
        assert cells == 4096 // (cell[0] * cell[1]) and allowed / 8 < share < allowed, (cells, share, allowed)


def test_a_crash_costs_one_call_and_is_named():
    done = python(
        "-c",
        "import os, tests.fuzz.operator_calls as o; make = o.make;"
        "o.make = lambda seed, n: os.kill(os.getpid(), 11) if n == 7 else make(seed, n);"
        "counts, wrong = o.run(5, 0, 20); print(wrong, sum(counts.values()))",
    )
    assert done.stdout.splitlines()[-1] == "[(7, 'the process died (SIGSEGV)')] 20", done.stdout + done.stderr
