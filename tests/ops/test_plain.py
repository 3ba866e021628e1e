"""The operators in plain torch against the native ones, and all of freqkit on them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from freqkit.ops import plain
from freqkit.ops.packed import pack, unpack

ROOT = Path(__file__).resolve().parents[2]
SIZES = [(1, 1), (1, 6), (5, 1), (2, 2), (7, 5), (8, 6), (9, 12), (16, 16), (23, 19), (32, 32)]
native = torch.ops.freqkit


def close(ours, theirs):
    return torch.allclose(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.fixture(params=SIZES, ids=lambda size: "x".join(map(str, size)))
def world(request):
    h, w = request.param
    g = torch.Generator().manual_seed(h * 100 + w)
    x = torch.randn(3, 2, h, w, generator=g, dtype=torch.float64)
    masks = {
        plain.FULL: torch.randn(3, h, w, generator=g, dtype=torch.float64),
        plain.HALF: torch.randn(3, h, w // 2 + 1, generator=g, dtype=torch.float64),
    }
    bits = torch.randint(0, 256, (3, h, -(-w // 8)), generator=g, dtype=torch.uint8)
    return x, {**masks, plain.AVERAGE: bits, plain.HERMITIAN: bits}


def there(packed, h, w):
    """A native packed spectrum in the layout of `plain`."""
    return plain._packed(torch.view_as_complex(unpack(packed, h, w).contiguous()))


def back(packed, h, w):
    """A plain packed spectrum in the native layout."""
    return pack(torch.view_as_real(plain._unpacked(packed, h, w)), h, w)


def test_every_operator_gives_what_the_native_one_gives(world):
    x, masks = world
    h, w = x.shape[2:]
    mean, std = torch.tensor([0.1, 0.2], dtype=x.dtype), torch.tensor([0.5, 2.0], dtype=x.dtype)
    packed = native.spectrum(x, mean, std)
    mine = plain.spectrum(x, mean, std)
    assert close(mine, there(packed, h, w))
    # The transpose: its pairing with any spectrum is the same.
    g = torch.randn_like(mine)
    assert torch.allclose(
        (plain.spectrum_backward(g, h, w, std) * x).sum(),
        (g * plain.spectrum(x, None, std)).sum(), rtol=1e-9, atol=1e-9,
    )  # fmt: skip
    assert close(plain.spectrum_backward(there(packed, h, w), h, w, std), native.spectrum_backward(packed, h, w, std))
    for kind, mask in masks.items():
        for paired in (False, True):
            for channels_last in (False, True):
                how = (h, w, mask, kind, [1, 1], paired)
                ours = plain.spectral_filter(mine, *how, torch.float64, channels_last)
                theirs = native.spectral_filter(packed, *how, torch.float64, channels_last)
                assert close(ours, theirs) and ours.stride() == theirs.stride()
            grad = torch.randn_like(ours)
            assert close(
                plain.backward_spectrum(grad, *how, torch.float64),
                there(native.spectral_filter_backward_spectrum(grad.contiguous(), *how, torch.float64), h, w),
            )
            if kind in (plain.FULL, plain.HALF):
                assert close(
                    plain.backward_mask(grad, mine, h, w, kind, paired),
                    native.spectral_filter_backward_mask(grad.contiguous(), packed, h, w, kind, paired),
                )


def test_the_schemas_are_the_native_ones():
    for text in plain.SCHEMAS:
        name = text.partition("(")[0]
        assert str(getattr(native, name).default._schema) == f"freqkit::{text}"


PLAIN_TESTS = ["tests/ops/test_spectral_filter.py", "tests/ops/test_band_bank.py"]
# What is said of the native library alone: its levels, its accuracy beside torch's, bits across threads of its own.
NATIVE_ALONE = "opcheck or no_worse_than_torch or level or aarch64 or memory or cpp or threads"


def run(*words, **environment):
    environment = {**os.environ, "FREQKIT_OPERATOR": "plain", "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment, cwd=ROOT)


def test_the_tests_of_the_operator_pass_in_plain_torch():
    done = run("-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *PLAIN_TESTS, "-k", f"not ({NATIVE_ALONE})")
    assert done.returncode == 0, done.stdout[-3000:]


def test_a_run_says_in_its_first_line_that_it_is_plain(tmp_path):
    search = ("-m", "freqkit", "search", "--searcher", "hfss", "--candidates", "4", "--stages", "1", "--model",
              "small_convnet", "--num-classes", "4", "--batch-size", "32")  # fmt: skip
    made = run("-m", "freqkit", "data", "synthetic", "--out", tmp_path / "images", "--images-per-class", "2")
    assert made.returncode == 0, made.stderr
    done = run(*search, "--data", tmp_path / "images", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    first = done.stderr.splitlines()[0]
    assert "plain torch (FREQKIT_OPERATOR=plain)" in first and "slower" in first
    facts = run("-m", "freqkit", "info").stdout
    assert "plain torch" in facts
    refused = run("-m", "freqkit", "info", FREQKIT_OPERATOR="fast")
    assert "FREQKIT_OPERATOR must be native or plain" in refused.stderr and refused.returncode == 2
