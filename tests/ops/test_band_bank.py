"""Filtering by a bank of band images: numbers, free cells, the choice of method, gradients."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

import freqkit
from freqkit.ops import band_bank
from freqkit.ops.extension import build_info
from freqkit.reference import band_bank as reference
from freqkit.reference import spectral_filter as slow
from tests.tolerances import RELATIVE, relative


def grid_masks(size, grid, count, symmetry, seed=0):
    rows, columns = grid
    drawn = np.random.default_rng(seed).integers(0, 2, (count, rows, columns), dtype=np.uint8)
    drawn[0], drawn[-1] = 0, 1
    bits = torch.from_numpy(np.packbits(drawn, axis=2, bitorder="little"))
    return freqkit.BitMasks(bits, (size[0] // rows, size[1] // columns), size, symmetry)


def images(size, count=2, dtype=torch.float32, seed=0):
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(seed), dtype=dtype)


GRIDS = [
    ((8, 8), (2, 2)),
    ((8, 8), (1, 1)),
    ((8, 8), (8, 8)),
    ((16, 24), (4, 3)),
    ((9, 15), (3, 5)),  # odd: cells map onto cells
    ((7, 10), (7, 10)),
    ((15, 12), (5, 4)),
    ((32, 32), (2, 4)),
    ((28, 28), (7, 7)),
    ((1, 12), (1, 6)),
    ((25, 15), (5, 5)),
]


@pytest.mark.parametrize("symmetry", ["average", "hermitian"])
@pytest.mark.parametrize("size,grid", GRIDS, ids=str)
def test_agrees_with_both_references(size, grid, symmetry):
    x, masks = images(size), grid_masks(size, grid, 5, symmetry)
    assert band_bank.cell_count(size, masks.cell, symmetry) == len(reference.free_cells(masks))
    y = freqkit.spectral_filter(x, masks, method="bank")
    assert relative(y, reference.band_bank(x, masks)) <= RELATIVE[torch.float32]
    assert relative(y, slow.spectral_filter(x, slow.bit_masks(masks))) <= RELATIVE[torch.float32]
    assert torch.equal(y[0], torch.zeros_like(y[0])) and relative(y[-1], x) <= RELATIVE[torch.float32]
    double = freqkit.spectral_filter(x.double(), masks, method="bank")
    assert relative(double, slow.spectral_filter(x, slow.bit_masks(masks))) <= RELATIVE[torch.float64]


@pytest.mark.parametrize("symmetry", ["average", "hermitian"])
def test_a_large_image(symmetry):
    masks = grid_masks((224, 224), (4, 4), 40, symmetry)
    x = images((224, 224), count=1)
    expected = slow.spectral_filter(x, slow.bit_masks(masks._replace(bits=masks.bits[:2])))
    y = freqkit.spectral_filter(x, masks)
    assert torch.equal(y, freqkit.spectral_filter(x, masks, method="bank"))
    assert relative(y[1], expected[1]) <= RELATIVE[torch.float32]
    assert relative(y, freqkit.spectral_filter(x.double(), masks, method="fft")) <= RELATIVE[torch.float32]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64], ids=str)
@pytest.mark.parametrize("size", [(32, 32), (21, 27)], ids=str)
def test_output_dtypes_layouts_and_out(size, dtype, layout):
    x, masks = images(size, count=3), grid_masks(size, (1, 3) if size[0] % 2 else (4, 4), 9, "average")
    y = freqkit.spectral_filter(x, masks, dtype=dtype, memory_format=layout, method="bank")
    assert y.dtype == dtype and y.flatten(0, 1).is_contiguous(memory_format=layout)
    assert torch.equal(y, freqkit.spectral_filter(x, masks, method="bank").to(dtype))
    out = torch.full_like(y, float("nan"))
    assert freqkit.spectral_filter(x, masks, out=out, method="bank") is out
    assert torch.equal(out, y)
    guard = torch.full((2 * y.numel(),), 7.0, dtype=dtype)
    inside = guard[5 : 5 + y.numel()].view(y.shape)  # an unaligned result
    freqkit.spectral_filter(x, masks, out=inside, method="bank")
    assert torch.equal(inside, y) and (guard[:5] == 7).all() and (guard[5 + y.numel() :] == 7).all()


def test_the_bits_do_not_depend_on_company_threads_or_blocks(monkeypatch):
    x, masks = images((32, 32), count=7), grid_masks((32, 32), (4, 4), 1500, "average")  # two blocks of masks
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        whole = freqkit.spectral_filter(x, masks, method="bank")
        torch.set_num_threads(3)
        assert torch.equal(freqkit.spectral_filter(x, masks, method="bank"), whole)
    finally:
        torch.set_num_threads(before)
    some = freqkit.spectral_filter(x[3:4], masks._replace(bits=masks.bits[1200:1201]), method="bank")
    assert torch.equal(some[0, 0], whole[1200, 3])
    monkeypatch.setattr(band_bank, "BANK_BYTES", 3 * 16 * 3 * 32 * 32 * 4)  # three images at a time, then one
    assert torch.equal(freqkit.spectral_filter(x, masks, method="bank"), whole)
    assert relative(whole, freqkit.spectral_filter(x, masks, method="fft")) <= 3e-7


def test_the_choice_is_that_of_the_table():
    x = images((32, 32), count=1)
    for count in (39, 40):
        masks = grid_masks((32, 32), (4, 4), count, "average")
        expected = "bank" if count == 40 else "fft"
        assert band_bank.choose(16, count, "cpu") == expected
        assert torch.equal(freqkit.spectral_filter(x, masks), freqkit.spectral_filter(x, masks, method=expected))
        other = {"bank": "fft", "fft": "bank"}[expected]
        assert not torch.equal(freqkit.spectral_filter(x, masks), freqkit.spectral_filter(x, masks, method=other))
    assert band_bank.choose(16, 10**6, "meta") == "fft"
    for device in ("cpu", "cuda"):  # more masks never speak against the bank, more cells never for it
        table = [[band_bank.choose(p, k, device) == "bank" for k in (1, 10, 100, 10**4)] for p in (4, 16, 50, 64, 65)]
        assert all(row == sorted(row) for row in table)
        assert all(list(column) == sorted(column, reverse=True) for column in zip(*table, strict=True))
        assert table[1][-1] and not table[-1][-1]


def test_the_bank_needs_a_grid_and_every_pair():
    x, masks = images((8, 8)), grid_masks((8, 8), (2, 2), 2, "average")
    with pytest.raises(ValueError, match="method='bank' needs BitMasks and pairing='all'; got Tensor"):
        freqkit.spectral_filter(x, torch.ones(1, 8, 8), method="bank")
    with pytest.raises(ValueError, match="pairing='each'"):
        freqkit.spectral_filter(x, masks, pairing="each", method="bank")
    with pytest.raises(ValueError, match="method must be 'auto', 'fft' or 'bank'; got 'gemm'"):
        freqkit.spectral_filter(x, masks, method="gemm")


def test_gradients_compiling_and_modes():
    masks = grid_masks((8, 6), (2, 3), 4, "average")
    x = images((8, 6), count=2, dtype=torch.float64).requires_grad_()
    layout = {"memory_format": torch.channels_last, "method": "bank"}
    assert torch.autograd.gradcheck(lambda x: freqkit.spectral_filter(x[:, :2], masks, **layout), (x,))
    with torch.inference_mode():
        assert not freqkit.spectral_filter(x, masks, method="bank").requires_grad
    freqkit.spectral_filter(x, masks, method="bank").sum().backward()  # after inference mode: nothing kept from it
    packed = freqkit.spectrum(x.detach()).packed
    arguments = (8, 6, masks.bits, 2, [4, 2])
    torch.library.opcheck(
        torch.ops.freqkit.band_bank.default, (packed.requires_grad_(), *arguments, torch.float32, True)
    )
    out = torch.empty(4, 2, 3, 8, 6)
    torch.library.opcheck(torch.ops.freqkit.band_bank_out.default, (packed.detach(), *arguments, False, out))
    many = masks._replace(bits=masks.bits.repeat(20, 1, 1))
    compiled = torch.compile(lambda x: freqkit.spectral_filter(x, many).sin(), fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x.detach()), freqkit.spectral_filter(x.detach(), many, method="bank").sin())


def test_nan_in_an_image_stays_in_its_channel():
    x, masks = images((16, 16)), grid_masks((16, 16), (2, 2), 3, "average")
    x[0, 1, 3, 3] = float("nan")
    y = freqkit.spectral_filter(x, masks, method="bank")
    assert y[-1, 0, 1].isnan().all() and y[:, 0, [0, 2]].isfinite().all() and y[:, 1].isfinite().all()


@pytest.mark.parametrize("level", build_info()["simd_built"])
def test_every_instruction_set(level):
    flags = open("/proc/cpuinfo").read() if os.path.exists("/proc/cpuinfo") else ""
    needs = {"avx2": "avx2", "avx512": "avx512bw"}.get(level)
    if needs and needs not in flags:
        pytest.skip(f"this processor has no {level}")
    code = (
        "import torch, freqkit\n"
        "for h, rows, columns in ((32, 4, 8), (35, 5, 7), (16, 8, 8)):\n"
        "    bits = torch.randint(0, 256, (40, rows, 1), dtype=torch.uint8) & (2**columns - 1)\n"
        "    masks = freqkit.BitMasks(bits, (h // rows, h // columns), (h, h), 'hermitian')\n"
        "    x = torch.randn(2, 3, h, h)\n"
        "    e = freqkit.spectral_filter(x.double(), masks, method='fft')\n"
        "    for dtype, bound in ((torch.float32, 3e-7), (torch.bfloat16, 1.8e-3)):\n"
        "        y = freqkit.spectral_filter(x, masks, dtype=dtype, method='bank')\n"
        "        assert (y - e).norm() <= bound * e.norm(), (h, dtype)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "FREQKIT_SIMD": level}, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
