"""Slow, plain twins of what the mask tests check: one bin at a time, from the definitions."""

import random

import numpy as np
from hypothesis import settings

few = settings(max_examples=40, deadline=None, derandomize=True)


def partner_of(h, w, height, width):
    return (2 * (height // 2) - h) % height, (2 * (width // 2) - w) % width


def effective(bins, symmetry="average"):
    """Centred m_eff, float64 [H, W], of a mask drawn on bins."""
    height, width = bins.shape
    result = np.zeros((height, width))
    for h in range(height):
        for w in range(width):
            ph, pw = partner_of(h, w, height, width)
            if symmetry == "average":
                result[h, w] = (float(bins[h, w]) + float(bins[ph, pw])) / 2
            else:
                self_paired = ph == h
                canonical = w <= width // 2 if self_paired else h < height // 2
                result[h, w] = bins[h, w] if canonical else bins[ph, pw]
    return result


def bins_of(masks, k):
    """Bins of mask k of BitMasks as drawn, read bit by bit."""
    (height, width), (ch, cw) = masks.size, masks.cell
    result = np.zeros((height, width), np.uint8)
    for h in range(height):
        for w in range(width):
            column = w // cw
            result[h, w] = int(masks.bits[k, h // ch, column // 8]) >> column % 8 & 1
    return result


def spread(cells, side, offset, size):
    """Cells of `side` bins on a plane of size x size, the first cell `offset` bins before the edge."""
    result = np.zeros((size, size), np.uint8)
    for h in range(size):
        for w in range(size):
            row, column = (h + offset) // side, (w + offset) // side
            if row < cells.shape[0]:
                result[h, w] = cells[row, column]
    return result


def turned(bins):
    """The bottom half from the top half, as published: one bin off the true partner in each direction."""
    size = len(bins)
    result = bins.copy()
    for h in range(size // 2):
        for w in range(size):
            result[size - 1 - h, size - 1 - w] = bins[h, w]
    return result


def published(size, g, keep, n, seed, parents=None, parent_seed=None):
    """The published generator, step by step; parents are nested lists [class][rank] of bin masks."""
    side = size // g
    random.seed(seed)
    if parents is not None:
        np.random.seed(parent_seed)  # noqa: NPY002 - the published code draws parents from this one

    def cells(rows, columns, share):
        chosen = np.zeros(rows * columns, np.uint8)
        for _ in range(int(share * (rows * columns))):
            place = random.randint(0, rows * columns - 1)
            while chosen[place]:
                place = random.randint(0, rows * columns - 1)
            chosen[place] = 1
        return chosen.reshape(rows, columns)

    def aligned(share):
        return spread(cells(g // 2, g, share), side, 0, size)

    def shifted(share):
        return spread(cells(g // 2 + 1, g + 1, share), side, side // 2, size)

    masks, origins = [], []
    for _ in range(int(n / 3)):
        triple = [aligned(keep)]
        if side > 1:
            triple.append(shifted(keep))
            a = aligned(keep / 2)
            triple.append(np.maximum(a, shifted(keep / 2)))
        if parents is not None:
            c = np.random.randint(0, len(parents))  # noqa: NPY002
            rank = np.random.randint(0, len(parents[c]))  # noqa: NPY002
            triple = [mask * parents[c][rank] for mask in triple]
            origins += [(c, rank)] * len(triple)
        masks += [turned(mask) for mask in triple]
    return masks, origins
