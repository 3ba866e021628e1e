"""What random calls of the operator found, each with the right value."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from freqkit.ops import plain
from freqkit.ops.packed import as_complex
from tests.fuzz import operator_calls

ROOT = Path(__file__).resolve().parents[2]


def test_a_spectrum_may_lie_at_any_place_in_memory():
    """Pairs at an odd offset were refused by torch ("storage_offset divisible by 2")."""
    x = torch.rand(2, 1, 5, 6)
    packed = plain.spectrum(x, None, None)
    moved = torch.cat([torch.zeros(1), packed.flatten()])[1:].view_as(packed)
    assert moved.storage_offset() == 1
    assert torch.equal(plain._unpacked(moved, 5, 6), plain._unpacked(packed, 5, 6))
    y = plain.spectral_filter(moved, 5, 6, torch.ones(1, 5, 6), plain.FULL, [1, 1], False, torch.float32, False)
    assert torch.allclose(y[0], x, atol=1e-6)
    pairs = torch.rand(7)[1:].view(3, 2)
    assert torch.equal(torch.view_as_real(as_complex(pairs)), pairs)


@pytest.mark.parametrize("shape", [(2, 1, 5, 3), (2, 1, 1, 1), (1, 3, 4, 4), (2, 3, 1, 4), (2, 2, 3, 1)], ids=str)
def test_the_plain_bank_writes_as_the_bank_lies(shape):
    """With one channel, channels-last was taken for contiguous: dimensions were mixed up."""
    batch, channels, h, w = shape
    mask = torch.tensor([[[1]], [[6]], [[0]]], dtype=torch.uint8)
    cells = torch.arange(3, dtype=torch.int32)
    for last in (False, True):
        bank = torch.rand(3, batch, h, w, channels) if last else torch.rand(3, batch, channels, h, w)
        room = torch.full((3, batch + 1, *bank.shape[2:]), 7.0)
        whole = room.movedim(-1, -3) if last else room
        plain.band_bank_sum_out(bank, mask, cells, whole[:, :batch])
        assert torch.equal(room[:, :batch], torch.stack([bank[0], bank[1] + bank[2], 0 * bank[0]]))
        assert (room[:, batch:] == 7).all()


def test_a_cell_that_is_off_gives_nothing_of_anything_in_the_plain_bank():
    """0 times NaN went into masks that are all off."""
    bank = torch.tensor([[[[float("nan")]]], [[[2.0]]]])[:, None]
    mask = torch.tensor([[[0]], [[2]]], dtype=torch.uint8)
    out = torch.empty(2, 1, 1, 1, 1)
    plain.band_bank_sum_out(bank, mask, torch.tensor([0, 1], dtype=torch.int32), out)
    assert out.flatten().tolist() == [0.0, 2.0]


def test_the_plain_operators_refuse_what_the_native_ones_refuse():
    """`out` in the memory of the spectrum gave wrong numbers; an empty bank divided by zero."""
    packed = plain.spectrum(torch.rand(1, 1, 8, 8), None, None)
    out = packed.view(-1)[:64].view(1, 1, 1, 8, 8)
    how = (8, 8, torch.ones(1, 8, 8), plain.FULL, [1, 1], False)
    with pytest.raises(ValueError, match="out must not share memory with the spectrum"):
        plain.spectral_filter_out(packed, *how, False, out)
    with pytest.raises(ValueError, match="out must be contiguous or channels_last"):
        plain.spectral_filter_out(packed, *how, False, torch.zeros(1, 1, 1, 1, 1).expand(1, 1, 1, 8, 8))
    mask, cells = torch.ones(2, 1, 1, dtype=torch.uint8), torch.arange(2, dtype=torch.int32)
    plain.band_bank_sum_out(torch.rand(2, 0, 1, 2, 2), mask, cells, torch.rand(2, 0, 1, 2, 2))
    bank = torch.rand(2, 1, 1, 2, 2)
    with pytest.raises(ValueError, match="each without gaps"):
        plain.band_bank_sum_out(bank, mask, cells, torch.rand(2, 1, 1, 2, 4)[..., ::2])
    with pytest.raises(ValueError, match="out must not share memory with the bank"):
        plain.band_bank_sum_out(bank, mask, cells, bank)


def test_a_library_that_is_named_is_the_one_that_runs(tmp_path):
    """A name without a file was answered by plain torch."""
    environment = {**os.environ, "FREQKIT_LIBRARY": str(tmp_path / "none.so")}
    code = "import torch, freqkit; freqkit.spectrum(torch.rand(1, 1, 2, 2))"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=ROOT)
    assert "FREQKIT_LIBRARY must name a build of freqkit's native library; there is no" in done.stderr


def test_calls_drawn_at_random_in_plain_torch():
    words = [sys.executable, operator_calls.__file__, "--calls", "300", "--seed", "31"]
    environment = {**os.environ, "FREQKIT_OPERATOR": "plain", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and "0 wrong" in done.stdout, done.stdout + done.stderr
