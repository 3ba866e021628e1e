"""Masks that leave bins out: what is skipped changes no more than the last bits, and never other masks' bits."""

import os
import subprocess
import sys

import pytest
import torch

import freqkit
from freqkit.ops.extension import build_info
from freqkit.reference import spectral_filter as reference
from tests.tolerances import RELATIVE, relative

SIZES = [(32, 32), (48, 48), (64, 64), (96, 224), (128, 128), (224, 96), (224, 224), (256, 288), (320, 384)]
SIZES += [(97, 64), (33, 65), (30, 50), (7, 224), (224, 9)]
OPTIONS = ({}, {"dtype": torch.bfloat16, "memory_format": torch.channels_last})
native = pytest.mark.skipif(build_info()["operator"] != "native", reason="plain torch skips nothing")


def masks_of(h, w):
    """Low-pass discs and squares, bands, single columns and rows, and random maps: `[K, H, W]`, DC at [0, 0]."""
    ky, kx = torch.fft.fftfreq(h)[:, None], torch.fft.fftfreq(w)[None]
    radius, square = (ky**2 + kx**2).sqrt(), torch.maximum(ky.abs() + 0 * kx, kx.abs() + 0 * ky)
    generator = torch.Generator().manual_seed(1)
    found = [radius <= limit for limit in (0.0, 0.05, 0.1262, 0.142, 0.25, 0.283, 0.45)]  # 5 % of all bins: 0.1262
    found += [square <= limit for limit in (0.06, 0.125, 0.2, 0.2855)]
    found += [(radius > 0.1) & (radius < 0.14), (radius > 0.3) & (radius < 0.35)]
    found += [kx.abs() + 0 * ky <= 0.1, ky.abs() + 0 * kx <= 0.1, (kx == -0.5) & (ky.abs() < 0.1)]
    found += [(radius <= 0.1) | ((ky.abs() == 0.5) & (kx.abs() < 0.1)), torch.rand(h, w, generator=generator) < 0.05]
    masks = torch.stack(found).float()
    return torch.cat([masks, masks[:8] * torch.rand(h, w, generator=generator)])


def results():
    found = []
    for h, w in SIZES:
        x = torch.randn(1, 3, h, w, generator=torch.Generator().manual_seed(0))
        masks = masks_of(h, w)
        found += [freqkit.spectral_filter(x, masks, **options) for options in OPTIONS]
        found.append(freqkit.spectral_filter(x.double(), masks))
        found.append(freqkit.spectral_filter(x, masks[..., : w // 2 + 1].contiguous()))
    return found


@native
@pytest.mark.parametrize("level", [None, *build_info()["simd_built"]])
def test_what_is_skipped_is_within_rounding(tmp_path, level):
    if level == build_info()["simd"]:
        pytest.skip("the one in use is compared without being named")
    flags = freqkit_flags()
    if level not in (None, "baseline") and level not in flags:
        pytest.skip(f"this processor has no {level}")
    code = "import sys, torch; from tests.ops.test_sparse_masks import results; torch.save(results(), sys.argv[1])"
    found = []
    for word in ("on", "off"):
        env = {**os.environ, "FREQKIT_SKIP_ZEROS": word, **({"FREQKIT_SIMD": level} if level else {})}
        path = tmp_path / word
        run = subprocess.run([sys.executable, "-c", code, str(path)], env=env, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        found.append(torch.load(path, weights_only=True))
    for i, (skipped, whole) in enumerate(zip(*found, strict=True)):
        error, size = (skipped - whole).double(), whole.double()
        most = {torch.float32: 2e-7, torch.float64: 4e-16, torch.bfloat16: 1e-4}[whole.dtype]
        norms = size.flatten(1).norm(dim=1)
        assert (error.flatten(1).norm(dim=1) <= most * norms).all(), (SIZES[i // 4], i % 4)
        if whole.dtype != torch.bfloat16:
            assert error.abs().max() <= 2 * most * size.abs().max(), (SIZES[i // 4], i % 4)


@pytest.mark.parametrize("size", [(32, 32), (128, 128), (224, 224), (97, 64)], ids=str)
def test_the_bits_of_a_sparse_mask_do_not_depend_on_company_or_form(size):
    x = torch.randn(3, 3, *size, generator=torch.Generator().manual_seed(5))
    masks = masks_of(*size)
    y = freqkit.spectral_filter(x, masks)
    for k in (1, 2, 5, 8, 11, 16):
        assert torch.equal(y[k, 1:2], freqkit.spectral_filter(x[1:2], masks[k : k + 1])[0])
    each = freqkit.spectral_filter(x, masks[[2, 8, 2]], pairing="each")
    assert torch.equal(each, torch.stack([y[2, 0], y[8, 1], y[2, 2]]))
    low = freqkit.spectral_filter(x, masks, dtype=torch.bfloat16, memory_format=torch.channels_last)
    assert torch.equal(low, y.bfloat16())
    half = freqkit.spectral_filter(x, masks[:11, :, : size[1] // 2 + 1].contiguous())
    assert torch.equal(half, y[:11])  # discs and squares are symmetric


def freqkit_flags():
    try:
        with open("/proc/cpuinfo") as lines:
            flags = next((line for line in lines if line.startswith("flags")), "")
    except OSError:
        return ()
    return [name for name, flag in (("avx2", "avx2"), ("avx512", "avx512f")) if f" {flag}" in flags]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_sparse_masks_agree_with_the_reference(size):
    x = torch.randn(2, 2, *size, generator=torch.Generator().manual_seed(3))
    masks = masks_of(*size)
    y, expected = freqkit.spectral_filter(x, masks), reference.spectral_filter(x, masks)
    for got, wanted in zip(y, expected, strict=True):
        # of what was transformed: a few bins are small beside the rounding of the whole image's spectrum
        assert (got - wanted).norm() <= RELATIVE[torch.float32] * x.norm()
    assert relative(y, expected) <= 2 * RELATIVE[torch.float32]


@pytest.mark.parametrize("value", [float("nan"), float("inf")], ids=str)
def test_what_is_not_finite_spreads_through_a_low_pass(value):
    x = torch.randn(1, 2, 224, 224, generator=torch.Generator().manual_seed(3))
    x[0, 0, 5, 9] = value
    masks = masks_of(224, 224)[1:4]
    y = freqkit.spectral_filter(x, masks)
    assert not y[:, :, 0].isfinite().any()
    assert torch.equal(y[:, :, 1], freqkit.spectral_filter(x[:, 1:], masks)[:, :, 0])


@native
def test_the_switch_knows_its_words():
    code = "import torch, freqkit; freqkit.spectral_filter(torch.ones(1, 1, 4, 4), torch.ones(1, 4, 4))"
    run = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "FREQKIT_SKIP_ZEROS": "no"}, capture_output=True, text=True
    )
    assert run.returncode != 0 and "FREQKIT_SKIP_ZEROS must be on or off; got no." in run.stderr
