"""Masks of simple shape: discs, rings, bands and wedges, for any H and W, symmetric by construction.

All return float32 `[H, W]` of 0 and 1, centred (DC at `[H//2, W//2]`) or, with `layout="torch"`, DC at
`[0, 0]`.
"""

import math

import numpy as np
import torch

from freqkit.masks.symmetry import LAYOUTS, partner, uncentred

AXES = ("vertical", "horizontal")


def frequencies(size):
    """Vertical and horizontal frequency of every bin, centred.

    Args:
        size: (H, W), or N for a square.

    Returns:
        (u, v): float64 `[H, 1]` and `[1, W]`, whole cycles per image height and per image width; u runs from
        `-(H//2)`.

    Example:
        >>> [t.flatten().tolist() for t in frequencies((4, 3))]
        [[-2.0, -1.0, 0.0, 1.0], [-1.0, 0.0, 1.0]]
    """
    h, w = _sides(size)
    return (
        torch.arange(h, dtype=torch.float64)[:, None] - h // 2,
        torch.arange(w, dtype=torch.float64)[None] - w // 2,
    )


def radius(size):
    """Distance of every bin from DC, float64 `[H, W]`, centred.

    Square images: `sqrt(u² + v²)` in cycles/image. Otherwise `sqrt((u S/H)² + (v S/W)²)` with S = min(H, W):
    cycles per shorter side, so that one radius is one spatial frequency in every direction of the picture.

    Example:
        >>> radius(3).tolist()[1]
        [1.0, 0.0, 1.0]
        >>> radius((4, 8))[2].tolist()      # horizontal: 8 pixels are two shorter sides
        [2.0, 1.5, 1.0, 0.5, 0.0, 0.5, 1.0, 1.5]
    """
    h, w = _sides(size)
    u, v = frequencies((h, w))
    shorter = min(h, w)
    square = (u * shorter / h) ** 2 + (v * shorter / w) ** 2
    # numpy's root is rounded rightly on every processor; torch's is not on some (MKL on Intel), and rims would differ.
    return torch.from_numpy(np.sqrt(square.numpy()))


def disc(size, limit, *, inclusive=False, layout="centred"):
    """Keep the bins within a radius of DC: `r < limit`, or `r <= limit` if `inclusive`.

    Args:
        size: (H, W) or N.
        limit: radius in cycles/image (see `radius` for sides that differ).
        inclusive: whether the rim itself is kept.
        layout: "centred" or "torch".

    Example:
        >>> int(disc(8, 1).sum()), int(disc(8, 1, inclusive=True).sum())
        (1, 5)
    """
    r, limit = radius(size), _number("disc", "limit", limit)
    return _finish(r <= limit if inclusive else r < limit, layout)


def low_pass(size, limit, *, inclusive=False, layout="centred"):
    """`disc` under its usual name.

    Example:
        >>> bool((low_pass(9, 3) == disc(9, 3)).all())
        True
    """
    return disc(size, limit, inclusive=inclusive, layout=layout)


def high_pass(size, limit, *, inclusive=True, layout="centred"):
    """Keep the bins from a radius outwards: `r >= limit`, or `r > limit` if not `inclusive`.

    The defaults of `low_pass` and `high_pass` complement each other.

    Example:
        >>> bool((low_pass(9, 3) + high_pass(9, 3) == 1).all())
        True
    """
    return 1 - disc(size, limit, inclusive=not inclusive, layout=layout)


def ring(size, inner, outer, *, inner_inclusive=True, outer_inclusive=False, layout="centred"):
    """Keep the bins between two radii; by default `inner <= r < outer`, so that adjacent rings share no bin.

    Example:
        >>> bool((ring(32, 0, 4) + ring(32, 4, 8) == disc(32, 8)).all())
        True
    """
    r = radius(size)
    inner, outer = _number("ring", "inner", inner), _number("ring", "outer", outer)
    if outer < inner:
        raise ValueError(f"ring: outer must not be below inner; got inner {inner} and outer {outer}.")
    inside = r <= outer if outer_inclusive else r < outer
    outside = r >= inner if inner_inclusive else r > inner
    return _finish(inside & outside, layout)


def band(size, low, high, *, axis, layout="centred"):
    """Keep the bins whose frequency along one axis is in `low <= |f| < high`, whatever it is along the other.

    Args:
        axis: "vertical": |u|, cycles per image height (changes from row to row); "horizontal": |v|, cycles
            per width.

    Example:
        >>> band((4, 4), 0, 1, axis="vertical").sum(1).tolist()
        [0.0, 0.0, 4.0, 0.0]
    """
    if axis not in AXES:
        raise ValueError(f"band: axis must be 'vertical' or 'horizontal'; got {axis!r}.")
    low, high = _number("band", "low", low), _number("band", "high", high)
    if high < low:
        raise ValueError(f"band: high must not be below low; got low {low} and high {high}.")
    along = frequencies(size)[AXES.index(axis)].abs()
    return _finish(((along >= low) & (along < high)).expand(_sides(size)), layout)


def wedge(size, angle, width, *, keep_dc=True, layout="centred"):
    """Keep the bins whose direction is within `width/2` degrees of `angle`, rim included.

    The direction is that of the wave vector, in degrees from the horizontal frequency axis towards rising u
    (downwards in the picture), modulo 180: 0 keeps vertical stripes, 90 horizontal ones. On the Nyquist row
    and column of even sizes, where a bin stands for two directions, either one counts.

    Example:
        >>> wedge(5, 0, 20, keep_dc=False).tolist()[2]
        [1.0, 1.0, 0.0, 1.0, 1.0]
    """
    h, w = _sides(size)
    angle, width = _number("wedge", "angle", angle, negative=True), _number("wedge", "width", width)
    u, v = frequencies((h, w))
    direction = torch.rad2deg(torch.atan2((u / h).expand(h, w), (v / w).expand(h, w)))
    away = (direction - angle).remainder(180)
    kept = (torch.minimum(away, 180 - away) <= width / 2 + 1e-9).float()
    kept[h // 2, w // 2] = float(keep_dc)
    return _finish(torch.maximum(kept, partner(kept)), layout)


def named_band(text, size, *, layout="centred"):
    """The band that a text names: "low-R", "high-R" or "A-B", as `low_pass`, `high_pass` or `ring` of these radii.

    Example:
        >>> bool((named_band("3-5.5", 32) == ring(32, 3, 5.5)).all())
        True
    """
    first, last = text.split("-")
    if first in ("low", "high"):
        return (low_pass if first == "low" else high_pass)(size, float(last), layout=layout)
    return ring(size, float(first), float(last), layout=layout)


def _finish(kept, layout):
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be 'centred' or 'torch'; got {layout!r}.")
    kept = kept.float()
    return uncentred(kept) if layout == "torch" else kept


def _sides(size):
    sides = tuple(size) if isinstance(size, (tuple, list, torch.Size)) else (size, size)
    if len(sides) != 2 or any(isinstance(n, bool) or not isinstance(n, int) for n in sides):
        raise TypeError(f"size must be an int N or a pair of ints (H, W); got {size!r}.")
    if min(sides) < 1:
        raise ValueError(f"size must be at least 1 in each direction; got {size!r}.")
    return sides


def _number(name, argument, value, negative=False):
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name}: {argument} must be a number; got {type(value).__name__} {value!r}.")
    if math.isnan(value) or (value < 0 and not negative):
        raise ValueError(f"{name}: {argument} must be {'a number' if negative else 'at least 0'}; got {value}.")
    return float(value)
