"""What a comparison of searchers looks like: quality on held-out images against cost."""

import itertools
from pathlib import Path

from freqkit.engine.examples import examples_of
from freqkit.report import figures
from freqkit.report.examples import filtered_examples, save_examples
from freqkit.report.figures import save_figure
from freqkit.report.planes import index_of
from freqkit.report.svg import number, percent
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
        figures.legend(ax)
        return figures.literal(ax)
    figure = figures.new_figure(9.0, 3.8)
    axes = figure.subplots(1, 2)
    for axis, name in zip(axes, QUANTITIES, strict=True):
        _draw(axis, comparison.table(), name)
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=8, frameon=False, loc="outside lower center", ncols=7)
    return figure


def _draw(axis, rows, what):
    every = [max(row["forward equivalents"], 1) for row in rows]
    low, high = min(every) / 1.5, max(every) * 1.5
    axis.set(xscale="log", xlim=(low, high))
    figures.log_ticks(axis.xaxis, low, high)
    named, crossed = [], []
    for place, name in enumerate(dict.fromkeys(row["searcher"] for row in rows)):
        own = sorted((row for row in rows if row["searcher"] == name), key=lambda row: row["forward equivalents"])
        costs, values = [row["forward equivalents"] for row in own], [row[what] for row in own]
        look = {"color": figures.CYCLE[place % len(figures.CYCLE)], "linewidth": 1.4}
        axis.plot(costs, values, **look)
        if any(row["seeds"] > 1 for row in own):
            spread = [row[f"{what} sd"] if row["seeds"] > 1 else 0.0 for row in own]
            axis.errorbar(costs, values, yerr=spread, fmt="none", capsize=2.5, **look)
        (marks,) = axis.plot(costs, values, "osD^vPX"[place % 7], color=look["color"], markersize=5, label=name)
        calls = [f"{name} {row['effort']}" for row in own]
        figures.note(marks, [f"{call}: {_value(row[what], what)}" for call, row in zip(calls, own, strict=True)],
                     [""] * len(own))  # fmt: skip
        named += zip(costs, values, calls, strict=True)
        for (x, y), (u, v) in itertools.pairwise(zip(costs, values, strict=True)):
            crossed += [(x * (u / x) ** (i / 12), y + (v - y) * i / 12) for i in range(13)]
    axis.set_ylim(bottom=min(0.0, axis.get_ylim()[0]))
    axis.set_xlabel("forward-equivalents (a backward counts two)", fontsize=8.5)
    axis.set_ylabel(QUANTITIES[what], fontsize=8.5)
    axis.set_title("held-out images, mean over classes", fontsize=9, loc="left", color=figures.INK)
    figures.plain_axes(axis, grid="both")
    if what == "TPR-FPR":
        figures.percents(axis.yaxis)
    best = (max if what == "TPR-FPR" else min)(named, key=lambda one: one[1])
    figures.name_points(axis, sorted(named, key=lambda one: one is not best), blocked=crossed)


def _value(value, what):
    return percent(value, 1) if what == "TPR-FPR" else number(value)


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
