"""How a training went, and in which order the classes were learned."""

import math

from freqkit.report import figures
from freqkit.text import shorten


def plot_history(history, *, title=None):
    """Loss and accuracy by epoch.

    Args:
        history: what `freqkit.training.train` returns.
        title: a line above.

    Returns:
        A matplotlib Figure.
    """
    epochs = history["epochs"]
    figure = figures.new_figure(7.2, 2.9)
    axes = figure.subplots(1, 2)
    place = [entry["epoch"] for entry in epochs]
    for axis, name, words in zip(axes, ("loss", "accuracy"), ("loss (nats)", "accuracy"), strict=True):
        for key, label, colour in (
            (name, "training, running", figures.SKY),
            (f"val_{name}", "validation", figures.BLUE),
        ):
            values = [entry[key] for entry in epochs]
            if values[0] is not None:
                axis.plot(place, values, color=colour, linewidth=1.6, marker="o" if len(place) < 25 else None,
                          markersize=3, label=label)  # fmt: skip
        axis.set_xlabel("epoch", fontsize=9)
        axis.set_ylabel(words, fontsize=9)
        axis.xaxis.get_major_locator().set_params(integer=True)
        figures.plain_axes(axis)
    axes[0].set_ylim(bottom=0)
    axes[1].set_ylim(0, 1.02)
    axes[1].legend(fontsize=8, frameon=False, loc="lower right")
    figure.suptitle(title or "Training", fontsize=10.5)
    return figure


def learning_curves(curves, ax=None, *, title=None, limit=10):
    """F1 of each class against iterations.

    Args:
        curves: `freqkit.results.LearningCurves`, or a list of them from several seeds (same classes and steps):
            then the mean, with the range over seeds shaded.
        ax: a matplotlib axis to draw on; None: a new figure.
        title: a line above.
        limit: with more classes than this, the first and the last learned are drawn, half each.

    Returns:
        A matplotlib Figure, or `ax`.
    """
    import numpy as np

    several = curves if isinstance(curves, (list, tuple)) else [curves]
    classes, steps = several[0].classes, several[0].steps.tolist()
    f1 = np.stack([one.f1.numpy() for one in several])  # [S, T, C]
    mean = f1.mean(0)
    order = sorted(range(len(classes)), key=lambda c: -float(np.nansum(mean[:, c])))
    shown = order if len(order) <= limit else order[: limit // 2] + order[-(limit - limit // 2) :]
    axis = ax if ax is not None else figures.new_figure(7.2, 3.6).subplots()
    styles = ("-", "--")
    for rank, c in enumerate(shown):
        colour, style = figures.CYCLE[rank % len(figures.CYCLE)], styles[rank // len(figures.CYCLE) % 2]
        axis.plot(steps, mean[:, c], style, color=colour, linewidth=1.8, label=shorten(classes[c]))
        if len(several) > 1:
            axis.fill_between(steps, f1[:, :, c].min(0), f1[:, :, c].max(0), color=colour, alpha=0.15, linewidth=0)
    axis.set_ylim(-0.02, 1.02)
    axis.set_xlim(steps[0], max(steps[-1], steps[0] + 1))
    axis.set_xlabel("iterations", fontsize=9)
    axis.set_ylabel("F1 (0 to 1)", fontsize=9)
    figures.plain_axes(axis)
    if ax is not None:
        axis.legend(fontsize=7.5, frameon=False, loc="best")
        return figures.literal(axis)
    note = f"{curves_of(several)} images"
    if len(several) > 1:
        note += f", mean and range of {len(several)} seeds"
    if len(shown) < len(classes):
        note += f"; the {limit // 2} first and {len(shown) - limit // 2} last learned of {len(classes)} classes"
    axis.figure.suptitle(f"{title or 'In which order the classes are learned'}\n{note}", fontsize=10)
    axis.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return axis.figure


def curves_of(several):
    words = several[0].definition.get("images", "")
    count = several[0].confusion[0].sum().item() if len(several[0].confusion) else math.nan
    return f"{count:g} {words}".strip()
