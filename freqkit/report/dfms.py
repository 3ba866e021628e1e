"""Dominant frequency maps (DFMs) on the frequency plane."""

import math

from freqkit.report import figures, planes
from freqkit.text import shorten


def dfm_maps(maps, classes, *, rates=None, planted=None, title=None, limit=40):
    """Draw one map per class: which frequencies are kept, with what weight.

    Args:
        maps: effective masks, `[C, H, W]`, real in [0, 1], centred (DC at `[H//2, W//2]`), tensor or array.
        classes: C class names.
        rates: optional list of C dicts with any of `loss`, `tpr`, `fpr` (fractions), shown under the name.
        planted: optional dict class name -> bool `[H, W]`, centred: bins to outline (known ground truth).
        title: a line above the maps.
        limit: at most this many maps; when there are more classes, those with the largest TPR - FPR.

    Returns:
        A matplotlib Figure. Axes are in cycles/image, DC in the middle, positive vertical frequency
        downwards as rows are stored.

    Raises:
        ValueError: when shapes do not fit.

    Example:
        >>> import numpy
        >>> figure = dfm_maps(numpy.ones((2, 8, 8)), ["cat", "dog"])
        >>> len([axis for axis in figure.axes if axis.get_title(loc="left")])
        2
    """
    import numpy as np

    maps = np.asarray(maps, dtype=np.float64)
    if maps.ndim != 3 or len(maps) != len(classes):
        raise ValueError(
            f"dfm_maps: maps must have shape [C, H, W] with C={len(classes)} classes; got {list(maps.shape)}."
        )
    if rates is not None and len(rates) != len(classes):
        raise ValueError(f"dfm_maps: rates must have one entry per class ({len(classes)}); got {len(rates)}.")
    chosen = _choose(len(classes), rates, limit)
    names = [_heading(classes[i], rates[i] if rates else None) for i in chosen]
    outlined = [_planted(planted, classes[i], maps[i].shape) for i in chosen]
    which = f"{len(chosen)} of {len(classes)} classes, by TPR - FPR" if rates else f"first {limit}"
    return planes.grid(
        maps[chosen], names, limits=(0, 1), label="weight of the frequency", signed=False, ticks=[0, 0.5, 1],
        lines=[title, which if len(chosen) < len(classes) else None],
        mark=lambda axis, place: _mark(axis, outlined[place], maps.shape[1:]),
    )  # fmt: skip


def _choose(count, rates, limit):
    if count <= limit:
        return list(range(count))
    if not rates:
        return list(range(limit))

    def gap(index):
        value = rates[index].get("tpr", 0) - rates[index].get("fpr", 0)
        return -value if math.isfinite(value) else math.inf

    return sorted(sorted(range(count), key=gap)[:limit])


def _heading(name, rate):
    if not rate:
        return shorten(name)
    parts = [f"loss {rate['loss']:.2f}"] if _is_number(rate.get("loss")) else []
    parts += [f"{key.upper()} {100 * rate[key]:.0f}%" for key in ("tpr", "fpr") if _is_number(rate.get(key))]
    return f"{shorten(name)}\n" + "  ".join(parts)


def _is_number(value):
    return value is not None and math.isfinite(value)


def _planted(planted, name, shape):
    import numpy as np

    if not planted or name not in planted:
        return None
    bins = np.asarray(planted[name], dtype=bool)
    if bins.shape != shape:
        raise ValueError(f"dfm_maps: planted[{name!r}] must have shape {list(shape)}; got {list(bins.shape)}.")
    return bins


def one_dfm(axis, values, name, *, planted=None):
    """The map of one class on an axis of the caller's, with units; the axis."""
    import numpy as np

    values = np.asarray(values, dtype=np.float64)
    planes.on_axis(axis, values, name, limits=(0, 1), label="weight of the frequency", signed=False)
    _mark(axis, _planted(planted, name, values.shape), values.shape)
    return axis


def _mark(axis, bins, size):
    """Outline known bins, and mark DC."""
    if bins is not None:
        _outline(axis, bins, size[0] // 2, size[1] // 2)
    axis.plot(0, 0, marker="+", color=figures.VERMILION, markersize=6, markeredgewidth=1.2)


def _outline(axis, bins, top, left):
    import numpy as np
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    squares = [Rectangle((column - left - 0.5, row - top - 0.5), 1, 1) for row, column in np.argwhere(bins).tolist()]
    axis.add_collection(PatchCollection(squares, facecolor="none", edgecolor=figures.ORANGE, linewidth=1.1, zorder=3))
