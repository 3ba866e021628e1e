"""The slow float64 twin of `freqkit.spectral_filter`, sharing no code with it."""

import torch


def spectral_filter(x, masks, pairing="all"):
    """Real part of the inverse complex DFT of mask times DFT, in complex128.

    Args:
        x: real `[B, C, H, W]`; uint8 is read as x/255.
        masks: real `[K, H, W]`, DC at [0, 0], or the half plane `[K, H, W//2+1]`.
        pairing: "all" -> `[K, B, C, H, W]`, "each" -> `[B, C, H, W]`.
    """
    x = x.detach().double() / (255 if x.dtype == torch.uint8 else 1)
    masks = masks.double()
    if masks.shape[-1] != x.shape[-1]:
        masks = full_plane(masks, x.shape[-1])
    transform = torch.fft.fft2(x)
    if pairing == "each":
        return torch.fft.ifft2(transform * masks[:, None]).real
    return torch.stack([torch.fft.ifft2(transform * mask).real for mask in masks])


def full_plane(half, width):
    """Complete a half-plane mask by m(-f) = m(f) in the columns that the half plane leaves out."""
    k, height, _ = half.shape
    full = half.new_zeros(k, height, width)
    for u in range(height):
        for v in range(width):
            full[:, u, v] = half[:, u, v] if v <= width // 2 else half[:, -u % height, width - v]
    return full


def bit_masks(masks):
    """The effective masks of `BitMasks`, dense float64 `[K, H, W]`, DC at [0, 0], bin by bin from the definition."""
    h, w = masks.size
    ch, cw = masks.cell

    def drawn(k, row, column):
        cell_row, cell = row // ch, column // cw
        return (int(masks.bits[k, cell_row, cell // 8]) >> (cell % 8)) & 1

    def canonical(row, column):
        self_paired = row == h // 2 or (h % 2 == 0 and row == 0)
        return column <= w // 2 if self_paired else row < h // 2

    result = torch.zeros(masks.bits.shape[0], h, w, dtype=torch.float64)
    for k in range(result.shape[0]):
        for row in range(h):
            for column in range(w):
                partner = ((2 * (h // 2) - row) % h, (2 * (w // 2) - column) % w)
                here, there = drawn(k, row, column), drawn(k, *partner)
                value = (here + there) / 2
                if masks.symmetry == "hermitian":
                    value = here if canonical(row, column) else there
                result[k, (row - h // 2) % h, (column - w // 2) % w] = value
    return result
