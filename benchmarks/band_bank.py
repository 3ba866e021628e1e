"""Entries for filtering by a bank of band images, `freqkit.spectral_filter(..., method="bank")`, on coarse grids.

The bank is made anew in every call, as it is in use.
"""

from dataclasses import dataclass

import numpy as np
import torch

import freqkit
from freqkit.masks import pack, to_dense
from freqkit.ops import band_bank
from freqkit.reference import spectral_filter as reference


@dataclass
class Entry:
    size: tuple
    grid: tuple
    images: int = 1
    masks: int = 64
    dtype: torch.dtype = torch.float32
    channels_last: bool = False
    symmetry: str = "average"
    baselines: tuple = ("own fft", "fair", "torch.mm")

    @property
    def name(self):
        cell = (self.size[0] // self.grid[0], self.size[1] // self.grid[1])
        return f"bank of {band_bank.cell_count(self.size, cell, self.symmetry)} x{self.masks}"


def entries(sizes=None, threads=1):
    for n in sizes or [224, 32]:
        images = max(1, 224 * 224 // (n * n) // 3)
        for grid in ((2, 4), (4, 4), (4, 7), (7, 7)) if n % 28 == 0 else ((2, 4), (4, 4), (4, 8), (8, 8)):
            if n % grid[0] == 0 and n % grid[1] == 0:
                yield Entry((n, n), grid, images=images)
        if n % 4 == 0:
            yield Entry((n, n), (4, 4), images=images, masks=256)
            yield Entry((n, n), (4, 4), images=images, dtype=torch.bfloat16, channels_last=True)
            yield Entry((n, n), (4, 4), images=images, symmetry="hermitian")


def prepare(entry, device="cpu"):
    """(ours, {baseline: function}, check), with preallocated results on both sides where torch has `out=`."""
    h, w = entry.size
    rows, columns = entry.grid
    x = torch.randn(entry.images, 3, h, w, generator=torch.Generator().manual_seed(0))
    cells = np.random.default_rng(0).integers(0, 2, (entry.masks, rows, columns))
    masks = pack(cells, cell=(h // rows, w // columns), size=entry.size, symmetry=entry.symmetry)
    half = to_dense(masks, layout="torch")[..., : w // 2 + 1].contiguous()
    masks = masks._replace(bits=masks.bits.to(device))
    transformed, cached = freqkit.spectrum(x.to(device)), torch.fft.rfft2(x.to(device))
    scaled = (half / (h * w))[:, None, None].to(device)
    layout = torch.channels_last if entry.channels_last else torch.contiguous_format
    out = freqkit.spectral_filter(transformed, masks, dtype=entry.dtype, memory_format=layout)
    product = torch.empty(entry.masks, entry.images, 3, h, w // 2 + 1, dtype=torch.complex64, device=device)
    real = torch.empty(entry.masks, entry.images, 3, h, w, device=device)

    def finish(y):
        if entry.dtype == torch.float32 and not entry.channels_last:
            return y
        return y.flatten(0, -4).to(dtype=entry.dtype, memory_format=layout)

    def ours():
        return freqkit.spectral_filter(transformed, masks, out=out, method="bank")

    def own_fft():
        return freqkit.spectral_filter(transformed, masks, out=out, method="fft")

    def fair():
        torch.mul(cached, scaled, out=product)
        return finish(torch.fft.irfft2(product, s=(h, w), norm="forward", out=real))

    alone, numbers = band_bank._grid(entry.size, masks.cell, entry.symmetry == "hermitian", torch.device(device))
    flat = masks.bits.flatten(1)[:, numbers.long() // 8] >> (numbers % 8) & 1
    coefficients, alone = flat.float(), masks._replace(bits=alone)

    def torch_mm():
        bank = freqkit.spectral_filter(transformed, alone, method="fft", memory_format=layout)
        return finish(torch.mm(coefficients, bank.flatten(1), out=real.view(entry.masks, -1)).view(real.shape))

    def check():
        expected = reference.spectral_filter(x, half)
        error = (ours().cpu().double() - expected).norm() / expected.norm()
        return error <= (3e-7 if entry.dtype == torch.float32 else 2e-3)

    every = {"own fft": own_fft, "fair": fair, "torch.mm": torch_mm}
    if entry.channels_last:
        del every["torch.mm"]
    return ours, {name: every[name] for name in entry.baselines if name in every}, check
