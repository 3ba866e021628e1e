"""Stage tables: how many cells per side the frequency plane has at each stage of the hierarchical search."""

import math

FAMILIES = ("aligned", "shifted", "union")

_PUBLISHED = {
    224: (4, 8, 16, 28, 56, 112),
    128: (4, 8, 16, 32, 64, 128),
    64: (4, 8, 16, 32, 64),
    32: (4, 8, 16, 32),
}


def stage_cells(size):
    """Cells per side, g, of every stage for square images; the cell side is s = size / g bins.

    224, 128, 64 and 32 are the published tables. Any other even size follows one rule, which gives those four
    tables too. Allowed are the even divisors g of the size (the top half must be whole rows of cells). A
    choice costs `|log2(g / wanted)|`, plus 1/4 when the cell side is odd and above 1 (half a cell is then no
    whole number of bins). Stage 1 wants 4 cells among those with g >= 4; each next stage wants twice the
    cells of the one before, among the larger ones; ties go to fewer cells. Single-bin cells (s = 1) end the
    table of sizes up to 128; above 128 they are left out unless nothing but g = 2 remains.

    Args:
        size: even image side, an int or a pair of equal ints.

    Returns:
        tuple of ints, cells per side of stage 1, 2, ...

    Raises:
        TypeError, ValueError: the size is no int, is odd, below 2, or not square.

    Source: Wang, Veldhuis, Strisciuglio, CVPR 2025 (cells of 56, 28, 14, 8, 4, 2 bins at 224).

    Example:
        >>> stage_cells(224)
        (4, 8, 16, 28, 56, 112)
        >>> stage_cells(96)
        (4, 8, 16, 32, 48, 96)
    """
    size = square_side(size)
    return _PUBLISHED.get(size) or rule_cells(size)


def rule_cells(size):
    """The general rule of `stage_cells`, for any even size."""
    allowed = [g for g in range(2, size + 1, 2) if size % g == 0]
    if size > 128 and any(4 <= g < size for g in allowed):
        allowed.remove(size)
    choices = [g for g in allowed if g >= 4] or allowed
    table, wanted = [], 4
    while choices:
        table.append(min(choices, key=lambda g: (_cost(size // g, g / wanted), g)))
        wanted = 2 * table[-1]
        choices = [g for g in allowed if g > table[-1]]
    return tuple(table)


def _cost(side, ratio):
    return abs(math.log2(ratio)) + (0.25 if side % 2 and side > 1 else 0.0)


def cells_of_stage(size, stage):
    """Cells per side and cell side, (g, s), of one stage (counted from 1).

    Example:
        >>> cells_of_stage(224, 4)
        (28, 8)
    """
    table = stage_cells(size)
    if isinstance(stage, bool) or not isinstance(stage, int):
        raise TypeError(f"stage must be an int, counted from 1; got {type(stage).__name__} {stage!r}.")
    if not 1 <= stage <= len(table):
        raise ValueError(f"stage must be in 1..{len(table)} for size {square_side(size)}; got {stage}.")
    return table[stage - 1], square_side(size) // table[stage - 1]


def families_of(cell_side):
    """Families that exist at a cell side: single-bin cells have no half-shifted grid."""
    return FAMILIES[:1] if cell_side == 1 else FAMILIES


def cells_drawn(g, keep):
    """Cells drawn per mask: {"aligned": n, "shifted": n, "union": (n of aligned, n of shifted)}.

    aligned: int(keep * g²/2) of the g²/2 cells of the top half; shifted: int(keep * (g/2 + 1)(g + 1)) of the
    cells in rows 0..g/2 of the (g+1) x (g+1) grid; union: both with keep/2. `int` of a product of doubles, as
    published.

    Example:
        >>> cells_drawn(4, 0.6)
        {'aligned': 4, 'shifted': 9, 'union': (2, 4)}
    """
    top, shifted = g // 2 * g, (g // 2 + 1) * (g + 1)
    return {
        "aligned": int(keep * top),
        "shifted": int(keep * shifted),
        "union": (int(keep / 2 * top), int(keep / 2 * shifted)),
    }


def square_side(size):
    """The side of a square even size given as N or (N, N)."""
    sides = tuple(size) if isinstance(size, (tuple, list)) else (size,)
    if len(sides) not in (1, 2) or any(isinstance(n, bool) or not isinstance(n, int) for n in sides):
        raise TypeError(f"size must be an int N or a pair (N, N); got {size!r}.")
    if len(set(sides)) != 1 or sides[0] < 2 or sides[0] % 2:
        raise ValueError(f"size must be square, even and at least 2 for cell-grid candidates; got {size!r}.")
    return sides[0]
