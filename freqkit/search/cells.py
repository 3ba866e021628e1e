"""Cells of the frequency plane: what is removed at once, and what shares a score."""

import math

import numpy as np
import torch

from freqkit.errors import UsageError
from freqkit.masks import canonical as canonical_bins
from freqkit.masks import hermitian, pack

PRESETS = ("default", "iccv2023", "dfm_v2023")
LARGEST = 8  # cells per side of the largest of `cells_of_pairs`, at least


def removal_cells(size, patch=1, preset="default"):
    """What is removed: the candidates, and whose score each bin gets.

    "default": cells of `patch` x `patch` bins; a candidate is what a cell has of the canonical half of the
    plane (`freqkit.masks.canonical`), with the partners -f. Every pair belongs to exactly one candidate, and
    is removed wholly.

    "iccv2023": the published grid, int(H/patch) block rows by int(W/(2 patch)) + 1 block columns; candidate (r, c)
    is that block and, when r > 0 and c > 0, the one that begins at (H - patch r, W - patch c). For patch > 1 the
    second is one bin off the true mirror, so that most bins are removed at half amplitude only. The first
    block row right of the middle belongs to no candidate, nor does what is left over at the rim by a patch that
    does not divide the side; of blocks that overlap there the later candidate gives the score. "dfm_v2023": the
    same; int(W/2) + patch and what follows of the first block row is removed in every mask.

    Args:
        size: (H, W), multiples of `patch` (published: any).
        patch: bins per side of a cell.
        preset: "default", "iccv2023" or "dfm_v2023".

    Returns:
        (cells, owner): int64 [K, 2, 2], for every candidate the two places (row, column) where what is removed
        begins, in cells of `patch` bins (published, where patch does not divide the side: of the largest number of
        bins of which blocks are made, see `grid_cell`), the second a repeat
        of the first where there is but one; int64 [H, W], centred: the candidate of each bin, -1 for none.

    Example:
        >>> [len(removal_cells((n, n), patch, preset)[0]) for n, patch, preset in
        ...  ((32, 1, "default"), (32, 2, "default"), (32, 1, "iccv2023"), (224, 2, "iccv2023"))]
        [514, 137, 544, 6384]
    """
    height, width = size
    published = is_published(preset)
    if isinstance(patch, bool) or not isinstance(patch, int) or patch < 1:
        raise UsageError(f"removal: patch must be a positive integer; got {patch!r}.")
    if published:
        return _published_cells(size, patch, preset)
    if height % patch or width % patch:
        raise UsageError(f"removal: the size {height}x{width} must be a multiple of {patch} for patch {patch}.")
    rows, columns = height // patch, width // patch
    cell_of_bin = (torch.arange(height)[:, None] // patch) * columns + torch.arange(width) // patch
    canonical = canonical_bins(height, width)
    used = cell_of_bin[canonical].unique()
    number = torch.full((rows * columns,), -1)
    number[used] = torch.arange(len(used))
    own = torch.where(canonical, number[cell_of_bin], 0).double()
    owner = hermitian(own).long()
    cells = torch.stack([used // columns, used % columns], 1)
    return torch.stack([cells, cells], 1), owner


def _published_cells(size, patch, preset):
    """`removal_cells` of the published grid."""
    (height, width), (rows, columns) = size, (size[0] // patch, size[1] // (2 * patch) + 1)
    if patch > min(size):
        raise UsageError(f"removal: patch must be at most the side of {height}x{width} images; got {patch}.")
    r, c = (index.flatten() for index in np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"))
    own = patch * np.stack([r, c], 1)
    other = np.where(((r > 0) & (c > 0))[:, None], np.array(size) - own, own)
    owner = np.full(size, -1)
    writes = [(block, k) for k, both in enumerate(zip(own, other, strict=True)) for block in both]
    if height % patch == 0 and width % (2 * patch) == 0:
        # Only blocks of the middle column come twice, in two candidates with one mask: the block is its own one's.
        writes = writes[1::2] + writes[::2]
    for (row, column), k in writes:
        owner[row : row + patch, column : column + patch] = k
    cells = torch.from_numpy(np.stack([own, other], 1)) // torch.tensor(grid_cell(size, patch, preset))
    return cells, torch.from_numpy(owner)


def grid_cell(size, patch, preset):
    """(height, width) in bins of the cells in which `removal_cells` counts: the largest of which all that is removed
    can be made, `patch` where it divides the side.

    Example:
        >>> grid_cell((32, 32), 4, "iccv2023"), grid_cell((32, 32), 12, "iccv2023")
        ((4, 4), (4, 4))
    """
    if not is_published(preset):
        return patch, patch
    # The strip of 2023 begins int(W/2) + patch bins from the left.
    strip = size[1] // 2 if preset == "dfm_v2023" else 0
    return math.gcd(patch, size[0]), math.gcd(patch, size[1], strip)


def cells_of_pairs(owner):
    """For cells of 1, 2, 4, ... bins per side, as long as a side has `LARGEST` of them, the cell of each pair.

    Args:
        owner: int64 [H, W], the pair of each bin, as `removal_cells(size, 1)` gives it.

    Returns:
        list of int64 [K], K the number of pairs; cells are numbered as by `removal_cells`.

    Example:
        >>> _, owner = removal_cells((32, 32), 1)
        >>> [(len(cell), int(cell.max()) + 1) for cell in cells_of_pairs(owner)]
        [(514, 514), (514, 137), (514, 37)]
    """
    size, cells, side = tuple(owner.shape), [], 1
    while side == 1 or (min(size) >= LARGEST * side and not (size[0] % side or size[1] % side)):
        _, cell = removal_cells(size, side)
        of_pair = torch.zeros(int(owner.max()) + 1, dtype=torch.int64)
        of_pair[owner.flatten()] = cell.flatten()
        cells.append(of_pair)
        side *= 2
    return cells


def removal_masks(size, patch=1, preset="default", index=None):
    """The masks that keep all but one candidate, as `BitMasks`.

    Args:
        size, patch, preset: see `removal_cells`.
        index: numbers of some candidates; default all.

    Example:
        >>> from freqkit.masks import effective
        >>> masks = removal_masks((32, 32), 2, "iccv2023", [5 * 9 + 4])      # an interior block of 2 x 2 bins
        >>> values, counts = effective(masks).unique(return_counts=True)
        >>> dict(zip(values.tolist(), counts.tolist()))
        {0.0: 2, 0.5: 12, 1.0: 1010}
    """
    cells, _ = removal_cells(size, patch, preset)
    if index is not None:
        cells = cells[torch.as_tensor(index, dtype=torch.int64)]
    return masks_without(cells, size, patch, preset)


def masks_without(cells, size, patch, preset):
    """The masks that keep all but the given candidates int64 [K, 2, 2], one each."""
    cell = grid_cell(size, patch, preset)
    rows, columns = (torch.arange(patch // side) for side in cell)
    keep = torch.ones(len(cells), size[0] // cell[0], size[1] // cell[1], dtype=torch.bool)
    which = torch.arange(len(cells))[:, None, None]
    for row, column in (place.unbind(1) for place in cells.unbind(1)):
        keep[which, (row[:, None] + rows)[:, :, None], (column[:, None] + columns)[:, None]] = False
    if preset == "dfm_v2023":
        keep[:, : patch // cell[0], (size[1] // 2 + patch) // cell[1] :] = False
    return pack(keep, cell=cell, size=tuple(size), symmetry="average" if is_published(preset) else "hermitian")


def distinct(cells, size, patch, preset):
    """Which candidates have masks of their own, int64 [M], and for each candidate which of these is its, int64 [K]."""
    if not is_published(preset):
        return torch.arange(len(cells)), torch.arange(len(cells))
    names, first, inverse = {}, [], []
    for number, pair in enumerate(cells.tolist()):
        name = tuple(sorted(map(tuple, pair)))
        if patch == 1:
            # At single bins a mask is known by the set of bins it touches, partners included, and their
            # weights.
            partners = [tuple((2 * (n // 2) - i) % n for i, n in zip(bin, size, strict=True)) for bin in name]
            name = tuple(sorted({*name, *partners})), len(set(name))
        if name not in names:
            names[name] = len(first)
            first.append(number)
        inverse.append(names[name])
    return torch.tensor(first), torch.tensor(inverse)


def is_published(preset):
    """Whether a preset is the published grid; refuses what is no preset."""
    if preset not in PRESETS:
        raise UsageError(f"removal: preset must be one of {', '.join(PRESETS)}; got {preset!r}.")
    return preset != "default"
