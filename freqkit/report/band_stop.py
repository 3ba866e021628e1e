"""Relative confusion matrices of the band-stop test."""

import math

from freqkit.report import figures


def plot_band_stop(result, *, title=None, limit=12):
    """One relative confusion matrix for each choice of removed bands; with more than `limit` classes the change of
    each class's own images, the `limit` * 3 largest.

    Args:
        result: a `freqkit.measures.BandStopResult`.
        title: a line above.
        limit: largest number of classes drawn as matrices.

    Returns:
        A matplotlib Figure; blue: more often than without a filter, orange: less often.
    """
    import numpy as np
    from matplotlib.colors import LinearSegmentedColormap

    paint = LinearSegmentedColormap.from_list("change", ["#B2500A", "#F6C28B", "#FFFFFF", "#8FC1E3", "#08306B"])
    change = result.relative_confusion[:, :, result.class_index].numpy()
    names = [figures.shorten(name, 14) for name in result.classes]
    look = {"cmap": paint, "vmin": -100, "vmax": 100, "aspect": "auto"}
    if len(names) > limit:
        own = np.diagonal(change, axis1=1, axis2=2)
        order = np.argsort(np.nanmin(own, 0), kind="stable")[: 3 * limit]
        figure = figures.new_figure(1.8 + 0.62 * len(own), 1.3 + 0.22 * len(order))
        axis = figure.subplots()
        picture = axis.imshow(own[:, order].T, **look)
        axis.set_yticks(range(len(order)), [names[i] for i in order], fontsize=7.5)
        axis.set_xticks(range(len(own)), [f"-{name}" for name in result.names], fontsize=8, rotation=30, ha="right")
        axes, words = [axis], "change of TPR, percent points"
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
            picture = axis.imshow(change[place], **look)
            accuracy = 100 * float(result.accuracy[place + 1])
            axis.set_title(f"without {result.names[place]}: {accuracy:.0f}%", fontsize=8.5)
            axis.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
            axis.set_yticks(range(len(names)), names, fontsize=7)
            axis.tick_params(length=0)
            if len(names) <= 6:
                for (i, j), value in np.ndenumerate(change[place]):
                    if math.isfinite(value) and abs(value) >= 0.5:
                        colour = "white" if abs(value) > 60 else figures.INK
                        axis.text(j, i, f"{value:+.0f}", ha="center", va="center", fontsize=7.5, color=colour)
        figure.supxlabel("called", fontsize=8.5)
        figure.supylabel("true", fontsize=8.5)
        words = "change in percent of the true class's images"
    for axis in axes:
        for side in axis.spines.values():
            side.set_color("#B0B0B0")
    bar = figure.colorbar(picture, ax=axes, shrink=0.75, aspect=28)
    bar.set_label(words, fontsize=8)
    bar.ax.tick_params(labelsize=7.5)
    edges = ", ".join(f"{edge:g}" for edge in result.edges)
    figure.suptitle(
        f"{title or 'Band-stop test: what classes are taken for when bands are removed'}\n"
        f"accuracy without a filter {100 * float(result.accuracy[0]):.0f}%; bands begin at 0, {edges} cycles/image",
        fontsize=9.5,
    )
    return figure
