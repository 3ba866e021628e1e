"""How a training went, and in which order the classes were learned."""

from freqkit.report import figures


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
