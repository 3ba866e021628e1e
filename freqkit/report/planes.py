"""Signed or positive values on the frequency plane, one picture per class."""

import math

from freqkit.report import figures
from freqkit.text import shorten


def plane_maps(maps, classes, *, limits, label, headings=None, signed=True, title=None, limit=40):
    """Draw one map per class on a common scale.

    Args:
        maps: real `[C, H, W]`, centred (DC at `[H//2, W//2]`), tensor or array; NaN is left white.
        classes: C class names.
        limits: (low, high) of the colours.
        label: what the colours mean.
        headings: optional C lines under the names.
        signed: two colours from a white middle, else one.
        title: a line above the maps.
        limit: at most this many maps, the first.

    Returns:
        A matplotlib Figure; axes in cycles/image, rows downwards as stored.

    Raises:
        ValueError: when shapes do not fit.

    Example:
        >>> import numpy
        >>> figure = plane_maps(numpy.zeros((2, 8, 8)), ["cat", "dog"], limits=(-1, 1), label="value")
        >>> len([axis for axis in figure.axes if axis.get_title(loc="left")])
        2
    """
    import numpy as np

    maps = np.asarray(maps, dtype=np.float64)
    if maps.ndim != 3 or len(maps) != len(classes):
        raise ValueError(
            f"plane_maps: maps must have shape [C, H, W] with C={len(classes)} classes; got {list(maps.shape)}."
        )
    count = min(len(classes), limit)
    names = [shorten(name) + (f"\n{headings[i]}" if headings else "") for i, name in enumerate(classes[:count])]
    lines = [title, f"the first {count} of {len(classes)} classes" if count < len(classes) else None]
    return grid(maps[:count], names, limits=limits, label=label, signed=signed, lines=lines)


def grid(maps, headings, *, limits, label, signed, lines, ticks=None, mark=None):
    """A figure of maps [M, H, W] in rows, with one colour bar.

    Args:
        headings: M str. lines: str above all, or None.
        limits, label, ticks: of the colours.
        mark: called with (axis, number of the map), to draw more.
    """
    columns = 4 if len(maps) == 4 else min(5, len(maps))
    rows = math.ceil(len(maps) / columns)
    figure = figures.new_figure(2.55 * columns + 0.9, 2.62 * rows + 0.55 + (0.3 if lines[0] else 0))
    axes = figure.subplots(rows, columns, squeeze=False)
    for place, axis in enumerate(axes.flat):
        if place >= len(maps):
            axis.set_visible(False)
            continue
        picture = draw_plane(axis, maps[place], colours(signed), limits)
        if mark is not None:
            mark(axis, place)
        axis.set_title(headings[place], fontsize=8.5, loc="left")
        axis.tick_params(labelleft=place % columns == 0, labelbottom=place + columns >= len(maps))
    figure.supxlabel("horizontal frequency (cycles/image)", fontsize=9, color=figures.FAINT)
    figure.supylabel("vertical frequency (cycles/image)", fontsize=9, color=figures.FAINT)
    bar = figure.colorbar(picture, ax=axes, shrink=0.7, aspect=30, pad=0.01, ticks=ticks)
    bar.ax.tick_params(labelsize=8)
    bar.set_label(label, fontsize=8.5, color=figures.FAINT)
    if any(lines):
        figure.suptitle("\n".join(filter(None, lines)), fontsize=10.5)
    return figure


def colours(signed):
    """Blue on a pale ground, or blue and orange from a white middle."""
    from matplotlib.colors import LinearSegmentedColormap

    stops = ["#B2500A", "#F6C28B", "#FFFFFF", "#8FC1E3", "#08306B"] if signed else ["#F4F6F8", "#8FC1E3", "#08306B"]
    return LinearSegmentedColormap.from_list("signed" if signed else "kept", stops)


def matrix(axis, values, rows, columns, *, reach, shown, words, letters=22):
    """Numbers as a grid of shaded squares, orange below nought and blue above; the picture.

    Args:
        axis: a matplotlib axis.
        values: real `[R, C]`, the shades: full at `reach` and -`reach`.
        rows, columns: names.
        shown: R lists of C str, written into the squares; None: nothing is.
        words: function of (row, column) -> what a page shows when the square is pointed at.
        letters: of a name; the whole name is shown when it is pointed at.
    """
    import numpy as np

    picture = axis.imshow(values, cmap=colours(True), vmin=-reach, vmax=reach, aspect="auto")
    figures.note(picture, [[words(i, j) for j in range(len(columns))] for i in range(len(rows))])
    for side in axis.spines.values():
        side.set(color=figures.RULE, linewidth=0.7)
    for side, names in ((axis.xaxis, columns), (axis.yaxis, rows)):
        side.set_ticks(range(len(names)), [shorten(name, letters) for name in names], fontsize=7.5)
        for label, name in zip(side.get_ticklabels(), names, strict=False):
            figures.note(label, "" if label.get_text() == name else name)
    for label in axis.get_xticklabels():
        label.set(rotation=90, rotation_mode="anchor", ha="right", va="center")
    axis.tick_params(length=0)
    for (i, j), value in np.ndenumerate(values) if shown else ():
        if shown[i][j]:
            colour = "white" if abs(value) > 0.6 * reach else figures.INK
            axis.text(j, i, shown[i][j], ha="center", va="center_baseline", fontsize=7, color=colour, gid="count")
    return picture


def side_of(rows: list, columns: list, letters: int = 22) -> tuple[float, float]:
    """(width, height) in inches of a figure on which `matrix` has room for its names and, to 16 columns, numbers."""
    side = 0.33 if len(columns) <= 16 else max(0.17, 4.2 / len(columns))
    across, down = (0.45 + 0.075 * min(letters, max(map(len, names))) for names in (rows, columns))
    return across + side * len(columns), down + side * len(rows)


def draw_plane(axis, values, paint, limits):
    """Values `[H, W]`, centred, on the frequency plane of an axis, with ticks in cycles/image; the picture."""
    height, width = values.shape
    top, left = height // 2, width // 2
    picture = axis.imshow(
        values,
        cmap=paint,
        vmin=limits[0],
        vmax=limits[1],
        interpolation="nearest" if max(height, width) <= 512 else "antialiased",
        extent=(-left - 0.5, width - left - 0.5, height - top - 0.5, -top - 0.5),
    )
    axis.set_xticks(_ticks(width))
    axis.set_yticks(_ticks(height))
    axis.tick_params(labelsize=7.5, length=2.5, colors=figures.FAINT)
    for side in axis.spines.values():
        side.set_color(figures.RULE)
    return picture


def _ticks(size):
    quarter = size // 4
    return sorted({-2 * quarter, -quarter, 0, quarter, 2 * quarter}) if quarter else [0]


def on_axis(axis, values, name, *, limits, label, signed):
    """One class's plane on an axis of the caller's, with units, name and colour bar; the axis."""
    import numpy as np

    picture = draw_plane(axis, np.asarray(values, dtype=np.float64), colours(signed), limits)
    axis.set_xlabel("horizontal frequency (cycles/image)", fontsize=8.5)
    axis.set_ylabel("vertical frequency (cycles/image)", fontsize=8.5)
    axis.set_title(shorten(name), fontsize=9, loc="left")
    bar = axis.figure.colorbar(picture, ax=axis, shrink=0.8, pad=0.02)
    bar.ax.tick_params(labelsize=7.5)
    bar.set_label(label, fontsize=8, color=figures.FAINT)
    figures.literal(bar.ax)
    return figures.literal(axis)


def index_of(classes, of, strength=None):
    """The place of a class by name or number; by default that of the largest `strength`, else the first."""
    if of is None:
        import numpy as np

        return 0 if strength is None else int(np.nan_to_num(np.asarray(strength), nan=-2.0).argmax())
    if isinstance(of, str):
        if of not in classes:
            raise ValueError(f"plot: of must be one of the classes {', '.join(map(str, classes[:10]))}; got {of!r}.")
        return list(classes).index(of)
    if isinstance(of, bool) or not isinstance(of, int) or not 0 <= of < len(classes):
        raise ValueError(f"plot: of must be a class name or a number 0..{len(classes) - 1}; got {of!r}.")
    return of
