"""Relative confusion matrices of the band-stop test."""

import math

from freqkit.report import figures
from freqkit.report.planes import colours, index_of
from freqkit.text import shorten


def plot_band_stop(result, ax=None, *, of=None, title=None, limit=12):
    """One relative confusion matrix for each choice of removed bands; with more than `limit` classes the change of
    each class's own images, the `limit` * 3 largest.

    Args:
        result: a `freqkit.measures.BandStopResult`.
        ax: a matplotlib axis for one choice of bands; None: a figure of all.
        of: with `ax`, the removed bands, a name of `result.names` or its number; default those that cost most accuracy.
        title: a line above.
        limit: largest number of classes drawn as matrices.

    Returns:
        A matplotlib Figure, or `ax`; blue: more often than without a filter, orange: less often.
    """
    import numpy as np

    change = result.relative_confusion[:, :, result.class_index].numpy()
    names = [shorten(name, 14) for name in result.classes]
    many = len(names) > limit
    own = np.diagonal(change, axis1=1, axis2=2)
    order = np.argsort(np.nanmin(own, 0), kind="stable")[: 3 * limit] if many else None
    if ax is not None:
        chosen = index_of(result.names, of, (-result.accuracy[1:]).tolist())
        if many:
            picture = _changes(ax, own[[chosen]], order, names, [result.names[chosen]])
        else:
            picture = _one(ax, change[chosen], names)
            ax.set_xlabel("called", fontsize=8.5)
            ax.set_ylabel("true", fontsize=8.5)
            accuracy = 100 * float(result.accuracy[chosen + 1])
            ax.set_title(f"without {result.names[chosen]}: accuracy {accuracy:.0f}%", fontsize=9, loc="left")
        _bar(ax.figure, picture, [ax], many)
        return figures.literal(ax)
    if many:
        figure = figures.new_figure(1.8 + 0.62 * len(own), 1.3 + 0.22 * len(order))
        axes = [figure.subplots()]
        picture = _changes(axes[0], own, order, names, result.names)
    else:
        columns = min(3, len(change))
        rows = math.ceil(len(change) / columns)
        side = 1.1 + 0.24 * len(names)
        figure = figures.new_figure(columns * side + 1.9, rows * (side + 0.05) + 0.6)
        axes = list(figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat)
        for place, axis in enumerate(axes):
            if place >= len(change):
                axis.set_visible(False)
                continue
            picture = _one(axis, change[place], names)
            accuracy = 100 * float(result.accuracy[place + 1])
            axis.set_title(f"without {result.names[place]}: {accuracy:.0f}%", fontsize=8.5)
        figure.supxlabel("called", fontsize=8.5)
        figure.supylabel("true", fontsize=8.5)
    _bar(figure, picture, axes, many)
    edges = ", ".join(f"{edge:g}" for edge in result.edges)
    figure.suptitle(
        f"{title or 'Band-stop test: what classes are taken for when bands are removed'}\n"
        f"accuracy without a filter {100 * float(result.accuracy[0]):.0f}%; bands begin at 0, {edges} cycles/image",
        fontsize=9.5,
    )
    return figure


def _shaded(axis, values):
    """Values in percent points, orange below nought and blue above."""
    for side in axis.spines.values():
        side.set_color("#B0B0B0")
    return axis.imshow(values, cmap=colours(True), vmin=-100, vmax=100, aspect="auto")


def _one(axis, change, names):
    """A relative confusion matrix."""
    import numpy as np

    picture = _shaded(axis, change)
    axis.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    axis.set_yticks(range(len(names)), names, fontsize=7)
    axis.tick_params(length=0)
    if len(names) <= 6:
        for (i, j), value in np.ndenumerate(change):
            if math.isfinite(value) and abs(value) >= 0.5:
                colour = "white" if abs(value) > 60 else figures.INK
                axis.text(j, i, f"{value:+.0f}", ha="center", va="center", fontsize=7.5, color=colour)
    return picture


def _changes(axis, own, order, names, removed):
    """The change of each class's own images, a column for each choice of bands."""
    picture = _shaded(axis, own[:, order].T)
    axis.set_yticks(range(len(order)), [names[i] for i in order], fontsize=7.5)
    axis.set_xticks(range(len(own)), [f"-{name}" for name in removed], fontsize=8, rotation=30, ha="right")
    return picture


def _bar(figure, picture, axes, many):
    bar = figure.colorbar(picture, ax=axes, shrink=0.75, aspect=28)
    words = "change of TPR (percent points)" if many else "change (percent of the true class's images)"
    bar.set_label(words, fontsize=8)
    bar.ax.tick_params(labelsize=7.5)
