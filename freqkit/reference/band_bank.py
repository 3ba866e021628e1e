"""The slow float64 twin of the bank of band images, sharing no code with it."""

import torch

from freqkit.reference.spectral_filter import bit_masks


def free_cells(masks):
    """The cells `[(row, column), ...]` of a grid that change the effective mask when they are switched on alone."""
    rows, columns = masks.size[0] // masks.cell[0], masks.size[1] // masks.cell[1]
    return [(r, c) for r in range(rows) for c in range(columns) if bit_masks(_alone(masks, r, c)).any()]


def band_bank(x, masks):
    """`[K, B, C, H, W]`: for every mask the images of its free cells, added up one by one.

    Args:
        x: real `[B, C, H, W]`.
        masks: `freqkit.BitMasks`.
    """
    transform = torch.fft.fft2(x.detach().double())
    result = torch.zeros(len(masks.bits), *x.shape, dtype=torch.float64)
    for r, c in free_cells(masks):
        image = torch.fft.ifft2(transform * bit_masks(_alone(masks, r, c))[0]).real
        for k in range(len(masks.bits)):
            if int(masks.bits[k, r, c // 8]) >> (c % 8) & 1:
                result[k] += image
    return result


def _alone(masks, row, column):
    bits = torch.zeros_like(masks.bits[:1])
    bits[0, row, column // 8] = 1 << (column % 8)
    return masks._replace(bits=bits)
