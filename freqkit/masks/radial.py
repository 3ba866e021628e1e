"""Means over rings of a frequency plane: rings around DC, and the ones that published code takes."""

from typing import NamedTuple

import torch

from freqkit.errors import UsageError
from freqkit.masks.shapes import radius

RINGS = ("centred", "legacy")


class Rings(NamedTuple):
    """Rings of a centred plane.

    Attributes:
        index: int64 [H, W], the ring of each bin; -1: none.
        inner: float64 [R], where each begins, cycles/image; each is one cycle wide.
        counts: int64 [R], bins of each.
    """

    index: torch.Tensor
    inner: torch.Tensor
    counts: torch.Tensor

    def mean(self, planes: torch.Tensor) -> torch.Tensor:
        """Means of centred planes [..., H, W] over the rings, float64 [..., R].

        Example:
            >>> rings_of((32, 32), "legacy").mean(torch.ones(2, 32, 32)).shape
            torch.Size([2, 20])
        """
        inside = self.index.flatten() >= 0
        values = planes.flatten(-2)[..., inside].double()
        sums = values.new_zeros(*values.shape[:-1], len(self.counts))
        sums.index_add_(-1, self.index.flatten()[inside].to(values.device), values)
        return sums / self.counts.to(values.device)


def rings_of(size: tuple[int, int], kind: str = "centred") -> Rings:
    """Rings that are one cycle/image wide.

    Args:
        size: (H, W).
        kind: "centred": ring k holds the bins with k <= d < k + 1, d the distance from DC
            (`freqkit.masks.radius`): all of them. "legacy": d is the distance from ((H - 1)/2, (W - 1)/2), on even
            sides half a bin off DC, and the first ring (with DC) and the last are left out, as published code does.

    Raises:
        UsageError: no such kind; a plane so small that no ring is left.

    Example:
        >>> [len(rings_of((n, n), "legacy").inner) for n in (8, 16, 28, 32, 64, 224)]
        [3, 9, 18, 20, 43, 156]
        >>> rings_of((4, 4)).counts.tolist()
        [1, 8, 7]
    """
    if kind not in RINGS:
        raise UsageError(f"rings_of: kind must be one of {', '.join(RINGS)}; got {kind!r}.")
    if kind == "centred":
        index = radius(size).floor().long()
        return Rings(index, torch.arange(int(index.max()) + 1).double(), torch.bincount(index.flatten()))
    rows, columns = (torch.arange(n, dtype=torch.float64) - (n - 1) / 2 for n in size)
    index = torch.hypot(rows[:, None], columns[None]).floor().long()
    last = int(index.max())
    if last < 2:
        raise UsageError(f"rings_of: a plane must be wider for rings without the first and last; got {tuple(size)}.")
    index = torch.where((index > 0) & (index < last), index - 1, -1)
    return Rings(index, torch.arange(1, last).double(), torch.bincount(index[index >= 0]))
