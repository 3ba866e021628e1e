"""Entries for `freqkit.spectral_filter`: what is timed, against what, and the reference each is checked with first."""

from dataclasses import dataclass

import numpy as np
import torch

import freqkit
from freqkit.reference import spectral_filter as reference


@dataclass
class Entry:
    name: str
    size: tuple
    images: int = 2
    masks: int = 2
    dtype: torch.dtype = torch.float32
    channels_last: bool = False
    pairing: str = "all"
    kind: str = "random"  # or "rows-off": the upper half of the rows; "equal": bit masks of which every fourth is new
    backward: bool = False
    baselines: tuple = ("fair",)
    threads: int = 1


def entries(sizes=None, threads=1):
    squares = sizes or [32, 64, 96, 128, 224, 256, 288, 320, 384, 225, 299]
    for n in squares:
        # about six planes in flight at 224, as many numbers at the other sizes (at least one image)
        images = max(1, round(2 * 224 * 224 / (n * n) / 4))
        everything = ("fair", "ducc0", "fftw-patient", "irfft2", "naive-cached", "naive")
        yield Entry("filter", (n, n), images=images, baselines=everything, threads=threads)
    for n in squares:
        if n in (32, 224):
            yield Entry(
                "filter-each",
                (n, n),
                images=64 if n == 32 else 8,
                masks=64 if n == 32 else 8,
                pairing="each",
                threads=threads,
            )
        if n == 224:
            yield Entry("filter", (n, n), images=2, dtype=torch.bfloat16, channels_last=True, threads=threads)
            yield Entry("filter-large", (n, n), images=8, masks=64, threads=threads)
            yield Entry("filter-rows-off", (n, n), images=1, masks=2, kind="rows-off", threads=threads)
            yield Entry("filter-equal", (n, n), images=1, masks=8, kind="equal", threads=threads)
            yield Entry("filter-backward", (n, n), images=2, masks=2, backward=True, threads=threads)


def prepare(entry, device="cpu"):
    """(ours, {baseline: function}, check) with warm, preallocated outputs on both sides where torch has `out=`."""
    h, w = entry.size
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(entry.images, 3, h, w, generator=generator)
    half = _masks(entry, generator)
    if entry.kind == "equal":
        drawn = np.random.default_rng(0).integers(0, 256, (entry.masks // 4, h, -(-w // 8)), dtype=np.uint8)
        bits = torch.from_numpy(drawn).repeat(4, 1, 1)
        masks = freqkit.BitMasks(bits.to(device), (1, 1), (h, w), "hermitian")
        first = reference.bit_masks(masks._replace(bits=bits[: entry.masks // 4])).float()
        half = first[..., : w // 2 + 1].repeat(4, 1, 1)
    full = reference.full_plane(half.double(), w).float().to(device)
    x, half = x.to(device), half.to(device)
    masks = masks if entry.kind == "equal" else half
    each = entry.pairing == "each"
    transformed = freqkit.spectrum(x)
    cached, cached_full = torch.fft.rfft2(x), torch.fft.fft2(x)
    m = half[:, None] if each else half[:, None, None]
    scaled = m / (h * w)
    m_full = full[:, None] if each else full[:, None, None]
    lead = (entry.images,) if each else (entry.masks, entry.images)
    layout = torch.channels_last if entry.channels_last else torch.contiguous_format
    if entry.backward:
        return _prepare_backward(entry, x, half, h, w)
    out = freqkit.spectral_filter(transformed, masks, pairing=entry.pairing, dtype=entry.dtype, memory_format=layout)

    def ours():
        return freqkit.spectral_filter(transformed, masks, pairing=entry.pairing, out=out)

    product = torch.empty((*lead, 3, h, w // 2 + 1), dtype=torch.complex64, device=device)
    real = torch.empty(*lead, 3, h, w, device=device)

    def finish(y):
        if entry.dtype == torch.float32 and not entry.channels_last:
            return y
        return y.flatten(0, -4).to(dtype=entry.dtype, memory_format=layout)

    def fair():
        torch.mul(cached, scaled, out=product)
        return finish(torch.fft.irfft2(product, s=(h, w), norm="forward", out=real))

    def irfft2():
        return finish(torch.fft.irfft2(cached * m, s=(h, w)))

    def naive_cached():
        return finish(torch.fft.ifft2(cached_full * m_full).real)

    def naive():
        shifted = torch.fft.fftshift(torch.fft.fft2(x), dim=(-2, -1)) * torch.fft.fftshift(m_full, dim=(-2, -1))
        return finish(torch.fft.ifft2(torch.fft.ifftshift(shifted, dim=(-2, -1))).real)

    def check():
        tolerance = 3e-7 if entry.dtype == torch.float32 else 2e-3
        images, drawn = x.cpu(), half.cpu()
        if each:
            return _relative(ours(), reference.spectral_filter(images, drawn, "each")) <= tolerance
        pairs = zip(ours(), drawn, strict=True)  # a mask at a time: all of them in complex128 are gigabytes
        return all(_relative(y, reference.spectral_filter(images, m[None])[0]) <= tolerance for y, m in pairs)

    every = {"fair": fair, "irfft2": irfft2, "naive-cached": naive_cached, "naive": naive}
    if "ducc0" in entry.baselines and device == "cpu":
        every["ducc0"] = _ducc0(cached, scaled, product, real, entry.threads)
    if "fftw-patient" in entry.baselines and device == "cpu":
        every["fftw-patient"] = _fftw(cached, scaled, product, real, entry.threads)
    return ours, {name: every[name] for name in entry.baselines if name in every}, check


def _masks(entry, generator):
    """Hermitian half-plane masks, so that irfft2 computes the same thing."""
    h, w = entry.size
    half = (torch.rand(entry.masks, h, w // 2 + 1, generator=generator) < 0.5).float()
    if entry.kind == "rows-off":
        half[:, h // 4 : h - h // 4 + 1] = 0
    for column in (0, -1) if w % 2 == 0 else (0,):
        half[:, :, column] = torch.maximum(half[:, :, column], half[:, (-torch.arange(h)) % h, column])
    return half


def _ducc0(cached, scaled, product, real, threads):
    """The product by torch, the inverse by ducc0; None where it is not installed."""
    try:
        import ducc0
    except ImportError:
        return None
    source, target = product.numpy(), real.numpy()

    def call():
        torch.mul(cached, scaled, out=product)
        options = {"axes": (-2, -1), "lastsize": target.shape[-1], "forward": False, "out": target}
        return ducc0.fft.c2r(source, nthreads=threads, **options)

    return call


def _fftw(cached, scaled, product, real, threads):
    """The product by torch, the inverse by FFTW, planned with patience; None where pyfftw is not installed."""
    try:
        import pyfftw
    except ImportError:
        return None
    plan = pyfftw.FFTW(
        product.numpy(), real.numpy(), axes=(-2, -1), direction="FFTW_BACKWARD", threads=threads,
        flags=("FFTW_PATIENT", "FFTW_DESTROY_INPUT"), planning_timelimit=20,
    )  # fmt: skip

    def call():
        torch.mul(cached, scaled, out=product)
        return plan.execute()

    return call


def _prepare_backward(entry, x, half, h, w):
    x = x.requires_grad_()
    grad = torch.randn(entry.masks, entry.images, 3, h, w, generator=torch.Generator().manual_seed(1)).to(x.device)

    def ours():
        (g,) = torch.autograd.grad(freqkit.spectral_filter(x, half), x, grad)
        return g

    def fair():
        y = torch.fft.irfft2(torch.fft.rfft2(x) * half[:, None, None], s=(h, w))
        (g,) = torch.autograd.grad(y, x, grad)
        return g

    def check():
        expected = reference.spectral_filter(
            grad.flatten(0, 1).cpu(), half.repeat_interleave(entry.images, 0).cpu(), "each"
        )
        return _relative(ours(), expected.unflatten(0, grad.shape[:2]).sum(0)) <= 5e-7

    return ours, {"fair": fair}, check


def _relative(y, expected):
    return ((y.cpu().double() - expected).norm() / expected.norm()).item()
