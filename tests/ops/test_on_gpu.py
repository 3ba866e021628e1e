"""The operators on a GPU against the same on the CPU and float64; `make gpu-check` runs these. Names with "small" are
also run under compute-sanitizer.
"""

import itertools

import pytest
import torch

import freqkit
from freqkit.masks import pack
from freqkit.ops.extension import build_info
from freqkit.reference import spectral_filter as reference
from tests.tolerances import RELATIVE, relative

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU on this machine"),
    pytest.mark.skipif(not build_info()["cuda"], reason="freqkit was built without CUDA kernels"),
]
SMALL = [(1, 1), (7, 10), (16, 24), (32, 32), (33, 48), (64, 64)]
LARGE = [(n, n) for n in (96, 128, 224, 225, 256, 288, 299, 320, 384)] + [(1009, 2), (3, 4096)]


def draw(size, images=2, masks=3, dtype=torch.float32):
    generator = torch.Generator().manual_seed(sum(size))
    x = torch.randn(images, 3, *size, generator=generator, dtype=dtype)
    return x, torch.randn(masks, *size, generator=generator, dtype=dtype)


def bits(size, grid, symmetry, masks=3):
    rows, columns = grid
    drawn = torch.randint(0, 2, (masks, rows, columns), generator=torch.Generator().manual_seed(rows * columns))
    return pack(drawn, cell=(size[0] // rows, size[1] // columns), size=size, symmetry=symmetry)


def on_gpu(masks):
    return masks._replace(bits=masks.bits.cuda()) if isinstance(masks, freqkit.BitMasks) else masks.cuda()


def agrees(size, pairing="all", dtype=torch.float32):
    x, m = draw(size, masks=2 if pairing == "each" else 3, dtype=dtype)
    half = m[..., : size[1] // 2 + 1].contiguous()
    for masks in (m, half):
        y = freqkit.spectral_filter(x.cuda(), masks.cuda(), pairing=pairing)
        assert relative(y.cpu(), reference.spectral_filter(x, masks, pairing)) <= RELATIVE[dtype]
    assert relative(torch.view_as_real(freqkit.spectrum(x.cuda()).dense()).cpu(),
                    torch.view_as_real(torch.fft.rfft2(x.double()))) <= RELATIVE[dtype]  # fmt: skip


@pytest.mark.parametrize("size", SMALL, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("pairing", ["all", "each"])
def test_small_sizes(size, dtype, pairing):
    agrees(size, pairing, dtype)


@pytest.mark.parametrize("size", LARGE, ids=str)
def test_large_sizes(size):
    agrees(size)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64], ids=str)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("method", ["fft", "bank"])
def test_small_outputs_and_methods(dtype, layout, method):
    for size, grid, symmetry in itertools.product(((32, 32), (25, 15)), ((1, 5), (4, 4)), ("average", "hermitian")):
        if size[0] % grid[0] or size[1] % grid[1]:
            continue
        x, masks = draw(size)[0], bits(size, grid, symmetry, masks=37)
        y = freqkit.spectral_filter(x.cuda(), on_gpu(masks), dtype=dtype, memory_format=layout, method=method)
        expected = freqkit.spectral_filter(x.double(), masks, method="fft")
        assert y.dtype == dtype and y.flatten(0, 1).is_contiguous(memory_format=layout)
        assert relative(y.cpu(), expected) <= RELATIVE[torch.float32 if dtype == torch.float64 else dtype]


@pytest.mark.parametrize("symmetry", ["average", "hermitian"])
def test_the_bank_at_224(symmetry):
    for grid in ((2, 4), (4, 4), (8, 8)):
        x, masks = draw((224, 224))[0], bits((224, 224), grid, symmetry, masks=60)
        y = freqkit.spectral_filter(x.cuda(), on_gpu(masks), method="bank")
        assert relative(y.cpu(), freqkit.spectral_filter(x, masks, method="fft")) <= 2 * RELATIVE[torch.float32]


@pytest.mark.parametrize("size", [(7, 10), (32, 32)], ids=str)
@pytest.mark.parametrize("pairing", ["all", "each"])
def test_small_gradients(size, pairing):
    x, m = draw(size, masks=2, dtype=torch.float64)
    gradients = []
    for device in ("cpu", "cuda"):
        a, b = x.to(device).requires_grad_(), m.to(device).requires_grad_()
        y = freqkit.spectral_filter(freqkit.spectrum(a, mean=0.3, std=0.7), b, pairing=pairing)
        gradients.append([g.cpu() for g in torch.autograd.grad(y.square().sum(), (a, b))])
    for ours, theirs in zip(*gradients, strict=True):
        assert relative(ours, theirs) <= 1e-12


def test_the_same_call_gives_the_same_bits():
    x, m = draw((224, 224), images=8, masks=16)
    a, b = x.cuda().requires_grad_(), m.cuda().requires_grad_()
    g = torch.randn(16, 8, 3, 224, 224, device="cuda")
    results = []
    for _ in range(3):
        y = freqkit.spectral_filter(a, b)
        results.append([y.detach(), *torch.autograd.grad(y, (a, b), g)])
    for other in results[1:]:
        assert all(torch.equal(p, q) for p, q in zip(results[0], other, strict=True))


def test_it_runs_on_the_current_stream():
    x, m = draw((224, 224), images=8, masks=16)
    expected = freqkit.spectral_filter(x.cuda(), m.cuda())
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        spectrum = freqkit.spectrum(x.cuda())
        y = freqkit.spectral_filter(spectrum, m.cuda())
    stream.synchronize()
    assert torch.equal(y, expected)


def test_more_planes_than_a_launch_holds():
    x = torch.randn(1, 1, 8, 8)
    m = torch.rand(70000, 8, 8)
    y = freqkit.spectral_filter(x.cuda(), m.cuda())
    assert relative(y[-5:].cpu(), reference.spectral_filter(x, m[-5:])) <= RELATIVE[torch.float32]
