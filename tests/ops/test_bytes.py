"""uint8 images: read as x/255, without a float copy, by every way that images are taken."""

import numpy as np
import pytest
import torch

import freqkit
from freqkit.ops.extension import build_info
from freqkit.reference import spectral_filter as reference
from tests.tolerances import RELATIVE, relative

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def drawn(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


@pytest.mark.parametrize("size", [(1, 1), (7, 9), (32, 32), (48, 80), (33, 65), (224, 224), (299, 31)], ids=str)
def test_bytes_are_255ths(size):
    x, m = drawn(2, 3, *size), torch.rand(2, *size)
    assert relative(freqkit.spectral_filter(x, m), reference.spectral_filter(x, m)) <= RELATIVE[torch.float32]
    spectra = freqkit.spectrum(x, mean=MEAN, std=STD)
    assert spectra.dtype == torch.float32
    normalised = (x.double() / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    expected = reference.spectral_filter(normalised, m)
    assert relative(freqkit.spectral_filter(spectra, m), expected) <= RELATIVE[torch.float32]


@pytest.mark.parametrize("view", ["channels-last", "strided", "flipped", "expanded"])
def test_strides(view):
    x = {
        "channels-last": drawn(2, 16, 20, 3).permute(0, 3, 1, 2),
        "strided": drawn(4, 3, 32, 60)[::2, :, ::2, ::3],
        "flipped": drawn(2, 3, 20, 16).transpose(2, 3),
        "expanded": drawn(1, 1, 16, 20).expand(2, 3, 16, 20),
    }[view]
    m = torch.rand(2, 16, 20)
    assert torch.equal(freqkit.spectral_filter(x, m), freqkit.spectral_filter(x.contiguous(), m))
    assert relative(freqkit.spectral_filter(x, m), reference.spectral_filter(x, m)) <= RELATIVE[torch.float32]


def test_the_bits_do_not_depend_on_company():
    x, m = drawn(5, 3, 24, 40), torch.rand(1, 24, 40)
    assert torch.equal(freqkit.spectral_filter(x, m)[:, 3:4], freqkit.spectral_filter(x[3:4], m))


def test_options_and_out():
    x, m = drawn(2, 3, 32, 32), torch.rand(3, 32, 32)
    y = freqkit.spectral_filter(x, m)
    options = {"dtype": torch.bfloat16, "memory_format": torch.channels_last}
    assert torch.equal(freqkit.spectral_filter(x, m, **options), y.bfloat16())
    out = torch.empty_like(y)
    assert freqkit.spectral_filter(x, m, out=out) is out and torch.equal(out, y)
    with pytest.raises(TypeError, match=r"out must be of the output dtype float; got torch\.uint8"):
        freqkit.spectral_filter(x, m, out=torch.empty(y.shape, dtype=torch.uint8))
    assert freqkit.spectral_filter(x[:0], m).shape == (3, 0, 3, 32, 32)


def test_derivatives_are_those_of_masks_and_of_mean_and_std():
    x = drawn(2, 3, 12, 10)
    m = torch.rand(2, 12, 10, dtype=torch.float32, requires_grad=True)
    ours = torch.autograd.grad(freqkit.spectral_filter(x, m).square().sum(), m)[0]
    theirs = torch.autograd.grad(freqkit.spectral_filter(x / 255, m).square().sum(), m)[0]
    assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    mean = torch.tensor(MEAN, requires_grad=True)
    y = freqkit.spectral_filter(freqkit.spectrum(x, mean=mean, std=STD), m.detach())
    (got,) = torch.autograd.grad(y.square().sum(), mean)
    z = freqkit.spectral_filter(freqkit.spectrum(x / 255, mean=mean, std=STD), m.detach())
    assert torch.allclose(got, torch.autograd.grad(z.square().sum(), mean)[0], rtol=1e-4, atol=1e-3)


def test_func_transforms_and_shapes():
    x, m = drawn(3, 2, 3, 8, 6), torch.rand(2, 8, 6)
    y = torch.func.vmap(lambda one: freqkit.spectral_filter(one, m))(x)
    assert torch.allclose(y, torch.stack([freqkit.spectral_filter(one, m) for one in x]), atol=1e-6)
    op, mean = torch.ops.freqkit.spectrum, torch.rand(3, 3)
    each = torch.func.vmap(lambda one, its: op(one, its, None))(x, mean)
    assert torch.allclose(each, torch.stack([op(a, b, None) for a, b in zip(x, mean, strict=True)]), atol=1e-4)
    shape = op(x[0].to("meta"), None, None)
    assert shape.dtype == torch.float32
    torch.library.opcheck(op.default, (x[0], torch.rand(3), torch.ones(3)))


def test_exports():
    class Filter(torch.nn.Module):
        def forward(self, x, m):
            return freqkit.spectral_filter(freqkit.spectrum(x, mean=MEAN, std=STD), m)

    x, m = drawn(2, 3, 8, 6), torch.rand(2, 8, 6)
    program = torch.export.export(Filter(), (x, m))
    assert torch.allclose(program.module()(x, m), Filter()(x, m), atol=1e-6)


def test_other_integers_and_devices_are_refused():
    with pytest.raises(TypeError, match=r"or uint8 ones, which are read as x/255 .*; got torch.int16"):
        freqkit.spectrum(drawn(1, 1, 4, 4).short())
    with pytest.raises(TypeError, match=r"uint8 images are taken on the CPU alone; on cuda pass x.float\(\) / 255"):
        from freqkit.ops import arguments

        with torch._subclasses.FakeTensorMode():
            arguments.images(torch.empty(1, 1, 4, 4, dtype=torch.uint8, device="cuda"))


@pytest.mark.skipif(build_info()["operator"] != "native", reason="plain torch promotes")
def test_the_native_operator_takes_float32_values_for_bytes():
    with pytest.raises(ValueError, match="float32 for uint8 images"):
        torch.ops.freqkit.spectrum(drawn(1, 1, 4, 4), torch.zeros(1, dtype=torch.float64), None)
