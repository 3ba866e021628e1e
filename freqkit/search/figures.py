"""What a comparison of searchers looks like: quality on held-out images against cost."""

from pathlib import Path

from freqkit.engine.examples import examples_of
from freqkit.report import figures
from freqkit.report.examples import filtered_examples, save_examples
from freqkit.report.figures import save_figure
from freqkit.report.planes import index_of
from freqkit.results.figures import _increases, plot_search, search_curves

QUANTITIES = {
    "TPR-FPR": "TPR − FPR (share of the images)",
    "loss": "class loss (nats)",
}


def plot_comparison(comparison, ax=None, *, what="TPR-FPR"):
    """Held-out TPR - FPR and class loss of every searcher against its cost in forward-equivalents.

    Args:
        comparison: a `freqkit.search.Comparison`. A line joins the efforts of a searcher; bars are the standard
            deviation over seeds.
        ax: a matplotlib axis for one of the two; None: a figure of both.
        what: with `ax`, "TPR-FPR" or "loss".

    Returns:
        A matplotlib Figure, or `ax`.

    Raises:
        ValueError: another `what`.
    """
    if what not in QUANTITIES:
        raise ValueError(f"plot_comparison: what must be one of {', '.join(QUANTITIES)}; got {what!r}.")
    if ax is not None:
        _draw(ax, comparison.table(), what)
        ax.legend(fontsize=7.5, frameon=False, loc="best")
        return figures.literal(ax)
    figure = figures.new_figure(9.0, 3.8)
    axes = figure.subplots(1, 2)
    for axis, name in zip(axes, QUANTITIES, strict=True):
        _draw(axis, comparison.table(), name)
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=8, frameon=False, loc="outside lower center", ncols=7)
    return figure


def _draw(axis, rows, what):
    for place, name in enumerate(dict.fromkeys(row["searcher"] for row in rows)):
        own = sorted((row for row in rows if row["searcher"] == name), key=lambda row: row["forward equivalents"])
        spread = [row[f"{what} sd"] if row["seeds"] > 1 else 0.0 for row in own]
        axis.errorbar(
            [row["forward equivalents"] for row in own], [row[what] for row in own], yerr=spread,
            color=figures.CYCLE[place % len(figures.CYCLE)], marker="osD^vPX"[place % 7], markersize=5,
            linewidth=1.4, capsize=2.5, label=name,
        )  # fmt: skip
    figures.log_counts(axis)
    axis.set_xlabel("forward-equivalents (a backward counts two)", fontsize=9)
    axis.set_ylabel(QUANTITIES[what], fontsize=9)
    axis.set_title("held-out images, mean over classes", fontsize=9.5, loc="left", color=figures.INK)
    figures.plain_axes(axis, x_grid=True)


def plot_estimate(estimate, ax=None, *, of=None, title=None):
    """By how much each class's loss is estimated to grow when a frequency is removed.

    Args:
        estimate: a `freqkit.search.GradientEstimate`.
        ax: a matplotlib axis for the map of one class; None: a figure of all classes, each on a scale of its own.
        of: with `ax`, the class, by name or number; default the first.
        title: a line above the maps.

    Returns:
        A matplotlib Figure, or `ax`.
    """
    classes = estimate.classes or [f"class {i}" for i in range(estimate.total.shape[1])]
    return _increases(estimate.maps().numpy(), classes, ax, None if ax is None else index_of(classes, of),
                      title or "What removing a frequency would cost each class, estimated")  # fmt: skip


def write_pictures(result, model, images, folder, *, class_index=None, planted=None, title=None, per_class=4):
    """Write dfms.png, filtered.png and (of `hfss`) curves.png of a search into `folder`, each whole or not at all.

    Args:
        result: a `freqkit.results.SearchResult`.
        model, images: what was searched.
        folder: an existing directory.
        class_index: the logit of each class of `images`, as given to the search.
        planted, title: see `plot_search`.
        per_class: example images of each class.

    Returns:
        list of Path.
    """
    folder = Path(folder)
    examples = examples_of(model, images, result.masks, result.classes, class_index=class_index, per_class=per_class)
    save_examples(folder / "examples.safetensors", examples)
    losses = [stage.scores.loss for stage in result.stages]
    numbers = [stage.number for stage in result.stages]
    drawn = {
        "dfms.png": plot_search(result, planted=planted, title=title),
        "filtered.png": filtered_examples(examples),
    }
    # The other searchers try masks that are a single class's: there is no pool to draw a curve over.
    if result.record.get("identity", {}).get("search", "hfss") == "hfss":
        drawn["curves.png"] = search_curves(losses, result.classes, stages=numbers)
    for name, figure in drawn.items():
        save_figure(figure, folder / name)
    return [folder / name for name in drawn]
