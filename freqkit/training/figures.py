"""How a training went, and in which order the classes were learned."""

import re

from freqkit.report import figures

WORDS = {"loss": "loss (nats)", "accuracy": "accuracy (share of the images)"}


def plot_history(history, *, title=None):
    """Loss and accuracy by epoch.

    Args:
        history: what `freqkit.training.train` returns.
        title: a line above.

    Returns:
        A matplotlib Figure.
    """
    figure = figures.new_figure(7.2, 3.1)
    for axis, name in zip(figure.subplots(1, 2), WORDS, strict=True):
        plot_course(axis, history["epochs"], name)
    figure.suptitle(title or "Training", fontsize=10.5)
    return figure


def components_of(columns):
    """Columns of a history that tell the accuracy on components, by images, side and radius: (part, side) -> {radius:
    column}.

    Example:
        >>> components_of(["epoch", "val_low_4", "val_low_8", "val_high_4"])
        {('val', 'low'): {4.0: 'val_low_4', 8.0: 'val_low_8'}, ('val', 'high'): {4.0: 'val_high_4'}}
    """
    found = {}
    for name in columns:
        if match := re.fullmatch(r"(train|val)_(low|high)_(\d+(?:\.\d+)?)", name):
            found.setdefault(match.group(1, 2), {})[float(match[3])] = name
    return found


def plot_components(axis, epochs, part):
    """Accuracy on the low (solid) and the high frequencies (dashed) of the "train" or "val" images, by epoch, on a
    matplotlib axis."""
    for (images, side), columns in components_of(epochs[0]).items():
        for place, (radius, column) in enumerate(columns.items() if images == part else ()):
            points = [(entry["epoch"], entry[column]) for entry in epochs if entry.get(column) is not None]
            if points:
                look = {**figures.series(place), "linestyle": "-" if side == "low" else "--"}
                label = f"{side} {radius:g}"
                (line,) = axis.plot(*zip(*points, strict=True), linewidth=1.6, label=label, **look,
                                    marker="o" if len(points) < 25 else None, markersize=3)  # fmt: skip
                figures.note(line, f"{'below' if side == 'low' else 'from'} {radius:g} cycles/image")
    axis.set_ylim(bottom=0, top=1.02)
    axis.set_xlabel("epoch", fontsize=8.5)
    axis.set_ylabel("accuracy (share of the images)", fontsize=8.5)
    axis.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    figures.percents(axis.yaxis)
    figures.plain_axes(axis)
    figures.name_lines(axis)


def plot_course(axis, epochs, name):
    """The "loss" or "accuracy" by epoch, on training and validation images, on a matplotlib axis; `epochs`: dicts."""
    place = [entry["epoch"] for entry in epochs]
    for index, (key, label) in enumerate(((name, "training, running"), (f"val_{name}", "validation"))):
        values = [entry.get(key) for entry in epochs]
        if values[0] is not None:
            (line,) = axis.plot(place, values, linewidth=1.6, marker="o" if len(place) < 25 else None, markersize=3,
                                label=label, **figures.series(index))  # fmt: skip
            figures.note(line, label)
    axis.set_ylim(bottom=0, top=1.02 if name == "accuracy" else None)
    axis.set_xlabel("epoch", fontsize=8.5)
    axis.set_ylabel(WORDS[name], fontsize=8.5)
    axis.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    if name == "accuracy":
        figures.percents(axis.yaxis)
    figures.plain_axes(axis)
    figures.name_lines(axis)
