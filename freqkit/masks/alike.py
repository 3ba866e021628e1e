"""Random masks that are like given ones in all but which frequencies they keep: what maps are measured against."""

from typing import NamedTuple

import numpy as np
import torch

from freqkit.masks.bits import pack
from freqkit.masks.draws import CounterDraws
from freqkit.masks.symmetry import canonical, hermitian, partner
from freqkit.ops import BitMasks

NEAR = 0.02  # maps that keep as many bins, but for this share of them or a pair, have their draws in common


class Alike(NamedTuple):
    """Random masks, and which of them are whose.

    Attributes:
        masks: `BitMasks` of K masks, or None for K = 0.
        index: int64 [draws, C]: the mask that is a class's draw. Draws of one line are independent of each other, while
            there are as many draws as classes that share them.
    """

    masks: BitMasks | None
    index: torch.Tensor


def random_alike(masks: torch.Tensor, draws: int, seed: int = 0) -> Alike:
    """Random masks for each of C maps: as many bins with m_eff > 0, of the same cells and the same symmetry.

    Cells are kept in a random order, up to the number of bins that comes nearest to that of the map. Maps that keep
    as many bins, up to 2% or a pair, share draws, of the largest of them: a draw says as much of one class as of
    another. What is drawn depends on the seed, the number of bins and the number of the draw alone (`CounterDraws`).

    Args:
        masks: float [C, H, W], effective masks, centred. Binary ones are taken for drawn by the canonical half of their
            bins and copied ("hermitian"), others for averages of a mask and its partner ("average").
        draws: how many for each map.
        seed: of the draws.

    Example:
        >>> from freqkit.masks import coverage, low_pass
        >>> maps = torch.stack([low_pass(16, 3), low_pass(16, 3)]).float()
        >>> found = random_alike(maps, 3)
        >>> found.index.tolist()
        [[0, 1], [1, 2], [2, 0]]
        >>> bool(((coverage(found.masks).touched - maps[0].mean()).abs() <= 1 / 256).all())    # to a bin
        True
    """
    count, height, width = masks.shape
    index = torch.zeros(draws, count, dtype=torch.int64)
    if not draws or not count:
        return Alike(None, index)
    symmetry = "hermitian" if bool(((masks == 0) | (masks == 1)).all()) else "average"
    cell = _cell(masks) if symmetry == "hermitian" else (1, 1)
    rows, columns = height // cell[0], width // cell[1]
    of_bin = (torch.arange(height)[:, None] // cell[0]) * columns + torch.arange(width) // cell[1]
    own = hermitian(of_bin.double()).long() if symmetry == "hermitian" else of_bin
    kept = (masks > 0).flatten(1).sum(1)
    made, begun = [], 0
    for members, bins in _groups(kept.tolist()):
        made.append(_draw(own, rows * columns, bins, draws, seed).view(draws, rows, columns))
        line = torch.arange(draws)[:, None]
        index[:, members] = begun + (line + torch.arange(len(members))) % draws
        begun += draws
    return Alike(pack(torch.cat(made), cell=cell, size=(height, width), symmetry=symmetry), index)


def _groups(kept):
    """[(places of maps, bins), ...] of maps that keep about as many bins; most bins first."""
    groups = []
    for place in sorted(range(len(kept)), key=lambda i: -kept[i]):
        if not groups or kept[place] < min((1 - NEAR) * groups[-1][1], groups[-1][1] - 2):
            groups.append(([], kept[place]))
        groups[-1][0].append(place)
    return groups


def _draw(own, cells, bins, draws, seed):
    """bool [draws, cells]: of each draw the cells in a random order, up to about so many bins."""
    keys = CounterDraws(seed, bins, 2 * cells).rows(np.arange(draws), 0).astype(np.uint64)
    keys = keys[:, 0::2] | keys[:, 1::2] << np.uint64(32)
    order = np.argsort(keys, axis=1, kind="stable")
    rank = torch.from_numpy(np.argsort(order, axis=1, kind="stable"))
    kept = torch.zeros(draws, cells, dtype=torch.bool)
    for draw in range(draws):
        of_bin = rank[draw][own]
        came = torch.minimum(of_bin, partner(of_bin.double()).long()).flatten()
        touched = torch.bincount(came, minlength=cells).cumsum(0)  # bins kept with the first 1, 2, ... cells
        touched = torch.cat([torch.zeros(1, dtype=torch.int64), touched])
        kept[draw] = rank[draw] < int((touched - bins).abs().argmin())
    return kept


def _cell(masks):
    """(height, width) of the largest cells of which all binary symmetric masks are made."""
    height, width = masks.shape[1:]
    half = canonical(height, width)
    sides = [n for n in range(1, min(height, width) + 1) if height % n == 0 and width % n == 0]
    found = {(n, n) for n in sides} | {(height // n, width // n) for n in sides}
    for cell in sorted(found, key=lambda sides: -sides[0] * sides[1]):
        if cell[0] * cell[1] == height * width:
            continue  # such a mask keeps all or nothing, of whatever cells
        of_bin = (torch.arange(height)[:, None] // cell[0]) * width + torch.arange(width) // cell[1]
        number = of_bin[half].unique(return_inverse=True)[1]
        area = torch.bincount(number)
        values = masks[:, half].double()
        sums = torch.zeros(len(masks), len(area), dtype=torch.float64).index_add_(1, number, values)
        if bool(((sums == 0) | (sums == area)).all()):
            return cell
    return 1, 1
