"""Entries for `freqkit.spectral_filter`: what is timed, against what, and the reference each is checked with first."""

from dataclasses import dataclass

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
    backward: bool = False
    baselines: tuple = ("fair",)
    threads: int = 1


def entries(sizes=None, threads=1):
    squares = sizes or [32, 64, 96, 128, 224, 256, 288, 320, 384, 225, 299]
    for n in squares:
        # about six planes in flight at 224, as many numbers at the other sizes (at least one image)
        images = max(1, round(2 * 224 * 224 / (n * n) / 4))
        everything = ("fair", "irfft2", "naive-cached", "naive")
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
            yield Entry("filter-large", (n, n), images=8, masks=16, threads=threads)
            yield Entry("filter-backward", (n, n), images=2, masks=2, backward=True, threads=threads)


def prepare(entry, device="cpu"):
    """(ours, {baseline: function}, check) with warm, preallocated outputs on both sides where torch has `out=`."""
    h, w = entry.size
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(entry.images, 3, h, w, generator=generator)
    half = (torch.rand(entry.masks, h, w // 2 + 1, generator=generator) < 0.5).float()
    half[:, (-torch.arange(h)) % h, 0] = half[
        :, :, 0
    ].clone()  # a Hermitian mask, so that irfft2 computes the same thing
    if w % 2 == 0:
        half[:, (-torch.arange(h)) % h, -1] = half[:, :, -1].clone()
    half[:, :, 0] = torch.maximum(half[:, :, 0], half[:, (-torch.arange(h)) % h, 0])
    if w % 2 == 0:
        half[:, :, -1] = torch.maximum(half[:, :, -1], half[:, (-torch.arange(h)) % h, -1])
    full = reference.full_plane(half.double(), w).float().to(device)
    x, half = x.to(device), half.to(device)
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
    out = freqkit.spectral_filter(transformed, half, pairing=entry.pairing, dtype=entry.dtype, memory_format=layout)

    def ours():
        return freqkit.spectral_filter(transformed, half, pairing=entry.pairing, out=out)

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
        expected = reference.spectral_filter(x.cpu(), half.cpu(), entry.pairing)
        tolerance = 3e-7 if entry.dtype == torch.float32 else 2e-3
        return _relative(ours(), expected) <= tolerance

    every = {"fair": fair, "irfft2": irfft2, "naive-cached": naive_cached, "naive": naive}
    return ours, {name: every[name] for name in entry.baselines}, check


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
