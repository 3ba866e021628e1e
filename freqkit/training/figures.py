"""How a training went, and in which order the classes were learned."""

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
