"""spectral_filter against its float64 twin, over sizes, dtypes, layouts, strides, pairings and mask forms."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import freqkit
from freqkit.ops.extension import build_info
from freqkit.reference import spectral_filter as reference
from tests.tolerances import RELATIVE, relative

SIZES = [(n, n) for n in (1, 2, 7, 8, 28, 31, 32, 33, 48, 64, 96, 97, 128, 224, 225, 256, 288, 299, 320, 384)]
SIZES += [(32, 48), (97, 64), (1, 16), (16, 1), (3, 500), (131, 40), (2, 9), (227, 5), (1009, 2), (6, 257)]


def ident(size):
    return f"{size[0]}x{size[1]}"


def sample(h, w, *, images=2, masks=2, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(images, 3, h, w, generator=generator, dtype=dtype)
    return x, torch.randn(masks, h, w, generator=generator, dtype=dtype)


@pytest.mark.parametrize("size", SIZES, ids=ident)
def test_agrees_with_the_reference_and_is_no_worse_than_torch(size):
    h, w = size
    x, m = sample(h, w)
    y = freqkit.spectral_filter(x, m)
    expected = reference.spectral_filter(x, m)
    error = relative(y, expected)
    half = m[..., : w // 2 + 1].clone()
    half_expected = reference.spectral_filter(x, half)
    half_error = relative(freqkit.spectral_filter(x, half), half_expected)
    symmetric = reference.full_plane(half, w)
    symmetric = (symmetric + torch.roll(symmetric.flip(1, 2), (1, 1), (1, 2))) / 2
    by_torch = torch.fft.irfft2(torch.fft.rfft2(x) * symmetric[:, None, None, :, : w // 2 + 1], s=(h, w))
    torch_error = relative(by_torch, half_expected)
    assert error <= RELATIVE[torch.float32]
    assert half_error <= RELATIVE[torch.float32]
    assert half_error <= 1.2 * torch_error + 2e-8  # single bins of tiny images round either way
    if h <= 384 and w <= 384:
        assert (y - expected).abs().max() <= 2e-6 * expected.abs().max()


@pytest.mark.parametrize("size", SIZES, ids=ident)
def test_float64_and_dense_spectrum(size):
    h, w = size
    x, m = sample(h, w, images=1, masks=1, dtype=torch.float64)
    assert relative(freqkit.spectral_filter(x, m), reference.spectral_filter(x, m)) <= RELATIVE[torch.float64]
    spectrum = freqkit.spectrum(x)
    assert spectrum.shape == x.shape and spectrum.dtype == torch.float64
    assert relative(torch.view_as_real(spectrum.dense()), torch.view_as_real(torch.fft.rfft2(x))) <= 1e-14


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64], ids=str)
@pytest.mark.parametrize("size", [(7, 7), (32, 32), (48, 80), (33, 65)], ids=ident)
@pytest.mark.parametrize("pairing", ["all", "each"])
def test_output_dtypes_and_layouts(size, dtype, layout, pairing):
    x, m = sample(*size)
    y = freqkit.spectral_filter(x, m, pairing=pairing, dtype=dtype, memory_format=layout)
    expected = reference.spectral_filter(x, m, pairing)
    assert y.dtype == dtype and y.shape == expected.shape
    images = y if pairing == "each" else y.flatten(0, 1)
    assert images.is_contiguous(memory_format=layout)
    assert relative(y, expected) <= RELATIVE[dtype if dtype != torch.float64 else torch.float32]
    if dtype == torch.bfloat16:  # the very rounding of torch
        assert torch.equal(y, freqkit.spectral_filter(x, m, pairing=pairing).to(dtype))
    if dtype == torch.float16:
        assert torch.equal(y, freqkit.spectral_filter(x, m, pairing=pairing).half())
    out = torch.full_like(y, float("nan"))
    assert freqkit.spectral_filter(x, m, pairing=pairing, out=out) is out
    assert torch.equal(out, y)


def test_half_rounds_like_torch_over_its_whole_range():
    values = torch.cat([2.0 ** torch.arange(-30, 18, 0.0131), torch.tensor([65519.0, 65520.0, 6e-8, 2.98e-8, 1e-9])])
    x = torch.cat([values, -values])[:, None, None, None]
    one = torch.ones(1, 1, 1)
    assert torch.equal(freqkit.spectral_filter(x, one, dtype=torch.float16)[0], x.half())
    assert torch.equal(freqkit.spectral_filter(x, one, dtype=torch.bfloat16)[0], x.bfloat16())
    for dtype in (torch.float16, torch.bfloat16):
        low = x.to(dtype)
        low = low[low.isfinite().flatten()]
        assert torch.equal(freqkit.spectral_filter(low, one)[0], low.float())


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x.transpose(2, 3),
        lambda x: x.to(memory_format=torch.channels_last),
        lambda x: x[:, :, ::2, 1::3],
        lambda x: x[::2, 1:2].expand(-1, 3, -1, -1),
        lambda x: torch.cat([x, x], 3)[..., 5 : 5 + x.shape[3]],
    ],
    ids=["transposed", "channels_last", "strided", "expanded", "offset"],
)
def test_strided_images_masks_and_outputs(view):
    x = view(torch.randn(4, 3, 30, 42, generator=torch.Generator().manual_seed(3)))
    h, w = x.shape[2:]
    m = torch.rand(2, w, h).transpose(1, 2)
    assert relative(freqkit.spectral_filter(x, m), reference.spectral_filter(x, m)) <= 3e-7
    guard = torch.full((2 * x.numel() + 32,), 7.0)
    out = guard[16:-16].view(2, *x.shape)
    freqkit.spectral_filter(x, m, out=out)
    assert relative(out, reference.spectral_filter(x, m)) <= 3e-7
    assert (guard[:16] == 7).all() and (guard[-16:] == 7).all()


@pytest.mark.parametrize("symmetry", ["average", "hermitian"])
@pytest.mark.parametrize(
    "size,cell",
    [
        ((8, 8), (2, 2)),
        ((32, 32), (1, 1)),
        ((16, 24), (4, 3)),
        ((9, 15), (3, 5)),
        ((7, 10), (1, 1)),
        ((40, 36), (2, 1)),
    ],
    ids=str,
)
def test_bit_masks_are_their_effective_masks(size, cell, symmetry):
    rng = np.random.default_rng(5)
    rows, columns = size[0] // cell[0], size[1] // cell[1]
    drawn = rng.integers(0, 2, (4, rows, columns), dtype=np.uint8)
    drawn[2], drawn[3] = 0, 1
    bits = torch.from_numpy(np.packbits(drawn, axis=2, bitorder="little"))
    masks = freqkit.BitMasks(bits, cell, size, symmetry)
    effective = reference.bit_masks(masks)
    mirrored = torch.roll(effective.flip(1, 2), (1, 1), (1, 2))
    assert torch.equal(effective, mirrored)
    if symmetry == "hermitian":
        assert set(effective.unique().tolist()) <= {0.0, 1.0}
    x = torch.randn(2, 3, *size)
    y = freqkit.spectral_filter(x, masks)
    assert relative(y, reference.spectral_filter(x, effective)) <= 3e-7
    assert torch.equal(y[2], torch.zeros_like(y[2]))
    assert relative(y[3], x) <= 3e-7
    assert (
        relative(
            freqkit.spectral_filter(x, freqkit.BitMasks(bits[:2], *masks[1:]), pairing="each"),
            y[[0, 1], [0, 1]],
        )
        <= 1e-7
    )


def test_normalisation_is_folded_into_the_spectrum():
    x, m = sample(24, 20)
    mean, std = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.25, 0.3])
    normalised = (x.double() - mean[:, None, None].double()) / std[:, None, None].double()
    y = freqkit.spectral_filter(freqkit.spectrum(x, mean=mean, std=std), m)
    assert relative(y, reference.spectral_filter(normalised, m)) <= 3e-7
    assert torch.equal(
        freqkit.spectrum(x, mean=(0.4,), std=0.25).packed,
        freqkit.spectrum(x, mean=[0.4] * 3, std=[0.25] * 3).packed,
    )


def test_a_spectrum_can_be_indexed():
    x, m = sample(16, 12, images=5)
    spectrum = freqkit.spectrum(x)
    whole = freqkit.spectral_filter(spectrum, m)
    assert len(spectrum) == 5 and spectrum.nbytes >= x.numel() * 4
    assert torch.equal(freqkit.spectral_filter(spectrum[1:3], m), whole[:, 1:3])
    assert torch.equal(freqkit.spectral_filter(spectrum[torch.tensor([4, 0])], m), whole[:, [4, 0]])
    assert torch.equal(freqkit.spectral_filter(spectrum[-1], m), whole[:, 4:])


@pytest.mark.parametrize("threads", [2, 3])
def test_the_bits_do_not_depend_on_threads_or_batch(threads):
    x, m = sample(32, 36, images=7, masks=9)
    before = torch.get_num_threads()
    gradient = torch.randn(9, 7, 3, 32, 36)

    def everything():
        a, b = x.clone().requires_grad_(), m.clone().requires_grad_()
        y = freqkit.spectral_filter(a, b)
        return [y.detach(), *torch.autograd.grad(y, (a, b), gradient)]

    try:
        torch.set_num_threads(1)
        alone = everything()
        torch.set_num_threads(threads)
        shared = everything()
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(alone, shared, strict=True))
    assert torch.equal(freqkit.spectral_filter(x[3:4], m[5:6])[0, 0], alone[0][5, 3])


def test_many_masks_and_many_images():
    x = torch.randn(1, 1, 8, 8)
    m = torch.rand(20011, 8, 8)
    y = freqkit.spectral_filter(x, m)
    assert relative(y[-3:], reference.spectral_filter(x, m[-3:])) <= 3e-7
    x = torch.randn(20011, 1, 8, 8)
    assert relative(freqkit.spectral_filter(x, m[:1])[:, -3:], reference.spectral_filter(x[-3:], m[:1])) <= 3e-7


@pytest.mark.parametrize("level", build_info()["simd_built"])
def test_every_instruction_set(level):
    flags = open("/proc/cpuinfo").read() if os.path.exists("/proc/cpuinfo") else ""
    needs = {"avx2": "avx2", "avx512": "avx512bw"}.get(level)
    if needs and needs not in flags:
        pytest.skip(f"this processor has no {level}")
    code = (
        "import torch, freqkit\n"
        "from freqkit.ops.extension import build_info\n"
        "from freqkit.reference import spectral_filter as reference\n"
        f"assert build_info()['simd'] == {level!r}\n"
        "for h, w in ((1, 1), (31, 33), (32, 32), (37, 41), (96, 224), (64, 299)):\n"
        "    x, m = torch.randn(2, 2, h, w), torch.randn(2, h, w)\n"
        "    e = reference.spectral_filter(x, m)\n"
        "    assert (freqkit.spectral_filter(x, m) - e).norm() <= 3e-7 * e.norm(), (h, w)\n"
        "    a, b = x.double().requires_grad_(), m.double().requires_grad_()\n"
        "    g = torch.randn_like(e)\n"
        "    ours = torch.autograd.grad(freqkit.spectral_filter(a, b), (a, b), g)\n"
        "    theirs = torch.autograd.grad(torch.fft.ifft2(torch.fft.fft2(a) * b[:, None, None]).real, (a, b), g)\n"
        "    assert all(torch.allclose(p, q, atol=1e-9) for p, q in zip(ours, theirs)), (h, w)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "FREQKIT_SIMD": level},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr


def test_the_kernels_compile_for_aarch64():
    compiler = next((c for c in ("aarch64-linux-gnu-g++", "aarch64-linux-gnu-g++-12") if shutil.which(c)), None)
    if compiler is None:
        pytest.skip("no aarch64 cross compiler (g++-aarch64-linux-gnu)")
    root = Path(__file__).resolve().parents[2]
    flags = ["-std=gnu++20", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-Wno-psabi", "-Wno-unused-parameter"]
    defines = ["-DFREQKIT_SIMD_NAMESPACE=baseline", "-DFREQKIT_LANE_BYTES=16"]  # as CMakeLists.txt has them there
    for source in ("spectral_filter/spectral_filter_kernels.cpp", "fft/plan.cpp"):
        command = [compiler, *flags, *defines, str(root / "csrc" / source)]
        run = subprocess.run(command, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr


# ---- identities -----------------------------------------------------------------------------------------------------

sides = st.integers(1, 40)


def drawn(h, w, seed, masks=1):
    return sample(h, w, images=1, masks=masks, seed=seed, dtype=torch.float64)


@settings(max_examples=40, deadline=None)
@given(h=sides, w=sides, seed=st.integers(0, 2**31))
def test_properties(h, w, seed):
    x, m = drawn(h, w, seed, masks=2)
    keep = (m > 0).double()
    f = freqkit.spectral_filter
    assert torch.allclose(f(x, torch.ones(1, h, w))[0], x, atol=1e-12)  # all ones: the identity
    assert torch.allclose(f(x, keep) + f(x, 1 - keep), x.expand(2, -1, -1, -1, -1), atol=1e-12)  # mask + complement
    assert torch.allclose(f(2 * x - 3, m), 2 * f(x, m) - 3 * f(torch.ones_like(x), m), atol=1e-11)  # linear in x
    assert torch.allclose(f(x, (m[:1] + m[1:])), f(x, m[:1]) + f(x, m[1:]), atol=1e-11)  # and in the mask
    mirrored = torch.roll(m.flip(1, 2), (1, 1), (1, 2))
    effective = (m + mirrored) / 2
    assert torch.allclose(f(x, m), f(x, effective), atol=1e-12)  # any mask equals its effective mask
    power = (effective**2 * torch.fft.fft2(x[0]).abs().square().sum(0)).sum((1, 2)) / (h * w)
    assert torch.allclose(f(x, m).square().sum((1, 2, 3, 4)), power, rtol=1e-9, atol=1e-12)  # Parseval
    z = torch.randn(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(seed))
    assert torch.allclose((f(x, m) * z).sum(), (x * f(z, m)).sum(), rtol=1e-9, atol=1e-9)  # self-adjoint
    binary = ((effective != 0) & (mirrored + m != 0)).double()
    assert torch.allclose(f(f(x, binary[:1])[0], binary[:1]), f(x, binary[:1]), atol=1e-12)  # a projection


def test_one_frequency_is_a_cosine():
    h, w = 12, 18
    m = torch.zeros(1, h, w, dtype=torch.float64)
    m[0, 3, 16] = 1  # vertical frequency 3, horizontal -2; asymmetric: half of the pair survives
    x = torch.zeros(1, 1, h, w, dtype=torch.float64)
    x[0, 0, 0, 0] = 1
    y = freqkit.spectral_filter(x, m)[0, 0, 0]
    row, column = torch.arange(h).double()[:, None] / h, torch.arange(w).double() / w
    assert torch.allclose(y, torch.cos(2 * torch.pi * (3 * row - 2 * column)) / (h * w), atol=1e-15)


# ---- what a call skips, and what it does not ------------------------------------------------------------------------


@pytest.mark.parametrize("symmetry", ["average", "hermitian"])
@pytest.mark.parametrize("size,cell", [((40, 36), (2, 1)), ((9, 15), (3, 5)), ((64, 96), (4, 4))], ids=str)
def test_equal_and_constant_masks_give_the_bits_of_ordinary_ones(size, cell, symmetry):
    rng = np.random.default_rng(3)
    rows, columns = size[0] // cell[0], size[1] // cell[1]
    drawn = rng.integers(0, 2, (8, rows, columns), dtype=np.uint8)
    drawn[1], drawn[2], drawn[6] = 1, 0, 1
    drawn[3] = drawn[5] = drawn[0]
    bits = torch.from_numpy(np.packbits(drawn, axis=2, bitorder="little"))
    if columns % 8:
        bits[6, :, -1] |= 0x80  # beyond the last cell: not part of the mask
    masks = freqkit.BitMasks(bits, cell, size, symmetry)
    dense = reference.bit_masks(masks).float()  # dense masks are taken as they come
    x = torch.randn(8, 3, *size)
    for options in ({}, {"memory_format": torch.channels_last, "dtype": torch.bfloat16}, {"pairing": "each"}):
        y, expected = freqkit.spectral_filter(x, masks, **options), freqkit.spectral_filter(x, dense, **options)
        assert torch.equal(y, expected)
        assert not y[2].any() and not y[2].signbit().any()
    assert freqkit.spectral_filter(x, masks).stride() == freqkit.spectral_filter(x, dense).stride()


@pytest.mark.parametrize("size", [(64, 32), (130, 48), (37, 20), (33, 65)], ids=ident)
def test_rows_that_are_off_leave_the_bits_of_what_is_on(size):
    h, w = size
    x, m = sample(h, w, masks=3)
    ky = torch.arange(h).minimum(h - torch.arange(h))
    m[0, ky >= 5] = 0  # low rows alone
    m[1, ky < h // 4] = 0  # and their opposite
    m[2, :, w // 4 : w - w // 4 + 1] = 0
    assert relative(freqkit.spectral_filter(x, m), reference.spectral_filter(x, m)) <= 3e-7
    tiny = m.clone()
    tiny[:, ky >= 5] += 1e-38 * (tiny[:, ky >= 5] == 0)  # on, but beyond float32's resolution
    assert relative(freqkit.spectral_filter(x, tiny), freqkit.spectral_filter(x, m)) <= 1e-7


@pytest.mark.parametrize("options", [{}, {"dtype": torch.bfloat16, "memory_format": torch.channels_last}], ids=str)
def test_results_beyond_the_caches_have_the_same_bits(options):
    x, m = sample(96, 96, images=70 if not options else 140, masks=1)
    spectrum = freqkit.spectrum(x)
    y = freqkit.spectral_filter(spectrum, m, **options)
    assert y.numel() * y.element_size() > 6 << 20
    for start in range(0, len(x), 35):
        part = freqkit.spectral_filter(spectrum[start : start + 35], m, **options)
        assert torch.equal(y[:, start : start + 35], part)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")], ids=str)
@pytest.mark.parametrize("size", [(16, 16), (33, 35), (7, 9), (225, 33), (1, 5), (48, 80)], ids=ident)
def test_what_is_not_finite_stays_in_its_plane(size, value):
    h, w = size
    x, m = sample(h, w, images=3, masks=3)
    m[1] = 0
    m[2] = 0
    m[2, 0, 0] = 1
    clean = freqkit.spectral_filter(x, m)
    dirty = x.clone()
    dirty[1, 1, h // 2, w // 3] = value
    for options in ({}, {"memory_format": torch.channels_last}, {"pairing": "each"}):
        expected = clean[torch.arange(3), torch.arange(3)] if "pairing" in options else clean
        y = freqkit.spectral_filter(dirty, m, **options)
        touched = torch.zeros(expected.shape, dtype=torch.bool)
        if "pairing" not in options:
            touched[[0, 2], 1, 1] = True  # a mask that is all off gives zeros of anything
        assert not y[touched].isfinite().any()
        assert torch.equal(y[~touched], expected[~touched])
        assert torch.equal(freqkit.spectral_filter(x, m, **options), expected)  # nothing is left behind


@pytest.mark.measured
def test_memory_of_a_call_is_bounded():
    """The least of three calls: pages of code, and what else a process touches by chance, count as well."""
    if not os.path.exists("/proc/self/clear_refs"):
        pytest.skip("needs /proc/self/clear_refs to reset the peak")
    code = """
import torch, freqkit
from freqkit.ops.extension import build_info
torch.set_num_threads(1)
h = w = 64
spectrum = freqkit.spectrum(torch.randn(2, 3, h, w))
masks = freqkit.BitMasks(torch.randint(0, 256, (1000, h, w // 8), dtype=torch.uint8), (1, 1), (h, w), "average")
out = torch.zeros(1000, 2, 3, h, w).fill_(1)
freqkit.spectral_filter(freqkit.spectrum(torch.randn(1, 3, 8, 8)), torch.ones(1, 8, 8))  # what a first call loads
def status(key):
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith(key))
grown = []
for _ in range(3):
    open("/proc/self/clear_refs", "w").write("5")
    before = status("VmRSS")
    freqkit.spectral_filter(spectrum, masks, out=out)
    grown.append(status("VmHWM") - before)
lanes, most = build_info()["lanes"]["float32"], max(h, w)
scratch = 4 * ((h + 2 * lanes + 1) * (w + 2 * lanes + 4) + 10 * lanes * (most + 2 * lanes + 64))
print(min(grown), (4 << 20) + 48 * 1000 + scratch)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    grown, bound = map(int, run.stdout.split())
    assert grown <= bound + (1 << 20), (grown, bound)  # a page or two of everything else


# ---- autograd, compile, modes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(6, 6), (5, 7), (8, 5), (1, 4)], ids=ident)
@pytest.mark.parametrize("pairing", ["all", "each"])
@pytest.mark.parametrize("half", [False, True], ids=["full", "half-plane"])
def test_gradcheck(size, pairing, half):
    h, w = size
    x, m = sample(h, w, dtype=torch.float64)
    m = m[..., : w // 2 + 1] if half else m
    x, m = x[:, :2].clone().requires_grad_(), m.clone().requires_grad_()

    def call(x, m):
        spectrum = freqkit.spectrum(x, mean=[0.1, 0.2], std=[0.5, 2.0])
        return freqkit.spectral_filter(spectrum, m, pairing=pairing, memory_format=torch.channels_last)

    assert torch.autograd.gradcheck(call, (x, m))


def test_gradients_only_where_asked():
    x, m = sample(8, 6)
    y = freqkit.spectral_filter(x.requires_grad_(), m)
    y.sum().backward()
    assert x.grad is not None and m.grad is None
    with torch.inference_mode():
        assert not freqkit.spectral_filter(x, m).requires_grad
    bits = freqkit.BitMasks(torch.full((1, 8, 1), 21, dtype=torch.uint8), (1, 1), (8, 6), "average")
    (g,) = torch.autograd.grad(freqkit.spectral_filter(x, bits).square().sum(), x)
    dense = reference.bit_masks(bits).float()
    (expected,) = torch.autograd.grad(freqkit.spectral_filter(x, dense).square().sum(), x)
    assert torch.allclose(g, expected, atol=1e-5)


def test_opcheck():
    ops = torch.ops.freqkit
    x, m = sample(8, 6)
    packed = freqkit.spectrum(x).packed
    tracked = packed.clone().requires_grad_()
    grad = torch.randn(2, 2, 3, 8, 6)
    check = torch.library.opcheck
    check(ops.spectrum.default, (x.clone().requires_grad_(), None, None))
    check(ops.spectrum.default, (x.transpose(2, 3), torch.zeros(3), torch.ones(3)))
    check(
        ops.spectral_filter.default,
        (tracked, 8, 6, m.clone().requires_grad_(), 0, [1, 1], False, torch.float32, False),
    )
    check(ops.spectral_filter.default, (tracked, 8, 6, m[..., :4], 1, [1, 1], True, torch.bfloat16, True))
    check(
        ops.spectral_filter_out.default,
        (packed, 8, 6, m, 0, [1, 1], False, False, torch.empty(2, 2, 3, 8, 6)),
    )
    check(ops.spectrum_backward.default, (packed, 8, 6, None))
    check(ops.spectral_filter_backward_spectrum.default, (grad, 8, 6, m, 0, [1, 1], False, torch.float32))
    check(ops.spectral_filter_backward_mask.default, (grad, packed, 8, 6, 0, False))
    check(ops.spectral_filter_backward_mask.default, (grad[0], packed, 8, 6, 1, True))


def test_compiles_whole():
    x, m = sample(8, 6)
    x.requires_grad_()

    def call(x, m):
        return freqkit.spectral_filter(x * 2, m, memory_format=torch.channels_last).sin().sum()

    (expected,) = torch.autograd.grad(call(x, m), x)
    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    (got,) = torch.autograd.grad(compiled(x, m), x)
    assert torch.allclose(got, expected, atol=1e-6)


def test_autocast_computes_in_float32():
    x, m = sample(8, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = freqkit.spectral_filter(x.bfloat16(), m)
    assert y.dtype == torch.float32
    assert relative(y, reference.spectral_filter(x.bfloat16(), m)) <= 3e-7


# ---- bad and empty input --------------------------------------------------------------------------------------------

X = torch.zeros(2, 3, 8, 6)
M = torch.ones(2, 8, 6)
BITS = freqkit.BitMasks(torch.zeros(2, 4, 1, dtype=torch.uint8), (2, 2), (8, 6), "average")
BYTES = torch.zeros(2, 5, 1, dtype=torch.uint8)


@pytest.mark.parametrize(
    "error,words,arguments,options",
    [
        (ValueError, r"\[B, C, H, W\].*\[3, 8, 6\]", (X[0], M), {}),
        (ValueError, r"H, W >= 1.*\[2, 3, 0, 6\]", (X[:, :, :0], M), {}),
        (TypeError, "floating-point.*int16", (X.short(), M), {}),
        (TypeError, "real.*complex64", (X.to(torch.complex64), M), {}),
        (TypeError, "tensor.*ndarray", (X.numpy(), M), {}),
        (ValueError, r"masks must have shape.*H=8, W=6; got \[2, 6, 8\]", (X, M.transpose(1, 2)), {}),
        (ValueError, r"masks must have shape.*got \[8, 6\]", (X, M[0]), {}),
        (TypeError, "masks must be real.*complex", (X, M.to(torch.complex64)), {}),
        (TypeError, "real tensor or BitMasks; got list", (X, [1]), {}),
        (ValueError, "device cpu; got meta", (X, M.to("meta")), {}),
        (ValueError, "masks must be finite; mask 1 holds NaN", (X, torch.stack([M[0], M[1] * float("nan")])), {}),
        (ValueError, "'all' or 'each'; got 'both'", (X, M), {"pairing": "both"}),
        (ValueError, "as many masks as images; got 1 masks and 2", (X, M[:1]), {"pairing": "each"}),
        (TypeError, "float32, float64, bfloat16 or float16; got torch.int32", (X, M), {"dtype": torch.int32}),
        (ValueError, "contiguous_format or torch.channels_last", (X, M), {"memory_format": torch.channels_last_3d}),
        (ValueError, r"out must have shape \[2, 2, 3, 8, 6\]; got \[1\]", (X, M), {"out": torch.zeros(1)}),
        (TypeError, "output dtype.*int32", (X, M), {"out": torch.zeros(2, 2, 3, 8, 6, dtype=torch.int32)}),
        (ValueError, "contiguous or channels_last", (X, M), {"out": torch.zeros(2, 2, 3, 6, 8).transpose(3, 4)}),
        (ValueError, "does not record gradients", (X, M), {"out": torch.zeros(2, 2, 3, 8, 6, requires_grad=True)}),
        (ValueError, r"BitMasks.size must be the images' \(8, 6\)", (X, BITS._replace(size=(8, 8))), {}),
        (ValueError, "cell must divide", (X, BITS._replace(cell=(3, 2))), {}),
        (ValueError, r"bits must have shape \[K, 4, 1\]; got \[2, 5, 1\]", (X, BITS._replace(bits=BYTES)), {}),
        (TypeError, "bits must be a uint8 tensor; got torch.float32", (X, BITS._replace(bits=M)), {}),
        (ValueError, "'average' or 'hermitian'; got 'none'", (X, BITS._replace(symmetry="none")), {}),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_sentence(error, words, arguments, options):
    with pytest.raises(error, match=words) as caught:
        freqkit.spectral_filter(*arguments, **options)
    assert "\n" not in str(caught.value)


def test_bad_normalisation():
    with pytest.raises(ValueError, match="mean must hold 1 or C=3 numbers; got 2"):
        freqkit.spectrum(X, mean=[0.1, 0.2])
    with pytest.raises(ValueError, match="std must be positive"):
        freqkit.spectrum(X, std=[0.1, 0.0, 1.0])


@pytest.mark.parametrize("empty", ["masks", "images", "channels"])
def test_nothing_in_gives_nothing_out(empty):
    x = X[:0] if empty == "images" else X[:, :0] if empty == "channels" else X
    m = M[:0] if empty == "masks" else M
    x = x.clone().requires_grad_()
    y = freqkit.spectral_filter(x, m)
    assert y.shape == (m.shape[0], x.shape[0], x.shape[1], 8, 6)
    assert (
        freqkit.spectral_filter(x.detach(), m, dtype=torch.float16, memory_format=torch.channels_last).dtype
        == torch.float16
    )
    if y.requires_grad:
        y.sum().backward()
        assert x.grad.shape == x.shape
