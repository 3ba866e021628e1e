"""Figures of a study: correlations as heat maps, models as points, accuracy below filters as curves."""

import re
from pathlib import Path

import numpy as np

from freqkit.errors import UsageError
from freqkit.measures.correlation.quantities import BIASES, SCORES
from freqkit.report import figures
from freqkit.report.planes import matrix
from freqkit.report.svg import number, signed
from freqkit.results.published import CUTOFFS
from freqkit.text import shorten

AMONG = "biases"  # `of` the matrix of biases
BASELINE = "baseline"  # the category that is drawn black
SCATTER = ("HPP", "LPP", "shape-bias", "bw_norm", "cf_norm", "pns_norm")  # rows, as published
MARKERS = "osD^vPXph<>d"
AREA = 22  # square points of a mark
ADDED = {"marker": "*", "markersize": 11, "color": figures.BLACK, "markerfacecolor": "none", "markeredgewidth": 1.2}
AXES = {
    "shape-bias": "shape bias (share of decisions)", "LPP": "LPP (share of clean accuracy)",
    "HPP": "HPP (share of clean accuracy)", "bw_norm": "bandwidth (octaves)", "cf_norm": "centre (cycles/image)",
    "pns_norm": "peak noise sensitivity",
}  # fmt: skip
SIDES = ("low-pass", "high-pass")


def plot_study(result, ax=None, *, of=None):
    """Correlations of biases and scores, a heat map for each bias, and those among the biases.

    Blue: they rise together; orange: one rises where the other falls. What is not significant by itself is white and in
    brackets; pairs with too few models or no variation are blank.

    Args:
        result: a `freqkit.measures.StudyResult`.
        ax: a matplotlib axis for one heat map; None: a figure of all.
        of: with `ax`, a bias, or "biases"; default the first bias.

    Returns:
        A matplotlib Figure, or `ax`.

    Raises:
        UsageError: there is no such bias.
    """
    known = (*BIASES, AMONG)
    if of is not None and of not in known:
        raise UsageError(f"plot: of must be one of {', '.join(known)}; got {of!r}.")
    if ax is not None:
        _bar(ax.figure, heat_map(ax, result, of or BIASES[0]), ax)
        ax.set_title(of or BIASES[0], fontsize=9, loc="left")
        return figures.literal(ax)
    figure = figures.new_figure(12, 6.4)
    axes = figure.subplots(2, 4).flat
    for axis, name in zip(axes, known, strict=False):
        picture = heat_map(axis, result, name)
        axis.set_title(name if name != AMONG else "bias by bias", fontsize=9, loc="left")
    for axis in axes:
        axis.set_visible(False)
    _bar(figure, picture, figure.axes[: len(known)])
    figure.suptitle(f"Biases and scores of {result.record['models']} models; in brackets: not significant", fontsize=10)
    return figure


def _bar(figure, picture, axes):
    bar = figure.colorbar(picture, ax=axes, shrink=0.75, aspect=28)
    bar.set_label("Spearman's rho (−1 to 1)", fontsize=8)
    bar.ax.tick_params(labelsize=7.5)


def heat_map(axis, result, name):
    """Scores by groups of one bias, or bias by bias; the picture."""
    level = result.definition["alpha"]
    if name == AMONG:
        rows = columns = BIASES
        found = {(a, b): one for one in result.biases for a, b in _both(one["bias"], one["score"])}
        found |= {(bias, bias): None for bias in BIASES}
    else:
        rows, columns = tuple(SCORES), tuple(result.groups)
        found = {(one["score"], one["group"]): one for one in result.correlations if one["bias"] == name}
    values, shown = np.zeros((len(rows), len(columns))), [[""] * len(columns) for _ in rows]
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            one = found[row, column]
            if one is None or one["rho"] is None:
                continue
            sure = one["p"] is not None and one["p"] < level
            values[i, j] = one["rho"] if sure else 0
            shown[i][j] = signed(one["rho"]) if sure else f"({signed(one['rho'])})"
    return matrix(axis, values, list(rows), list(columns), reach=1, shown=shown,
                  words=lambda i, j: told(found[rows[i], columns[j]]))  # fmt: skip


def _both(one, other):
    return (one, other), (other, one)


def told(one):
    """A relation in one line."""
    if one is None:
        return "the same"
    words = f"{one['bias']} and {one['score']}, {one['group']}: "
    if one["rho"] is None:
        return f"{words}undefined, {one['n']} models"
    interval = "" if one["low"] is None else f", interval {signed(one['low'])} to {signed(one['high'])}"
    return f"{words}rho {signed(one['rho'])}{interval}, p {number(one['p'], 2)}, {one['n']} models"


def looks(result):
    """The look of each model's mark: keywords of `matplotlib.lines.Line2D`, colour by category, marker by model."""
    colours, seen, found = category_colours(result), {}, []
    for model, kind in zip(result.models, result.categories, strict=True):
        place = seen[kind] = seen.get(kind, -1) + 1
        attacked = re.search(r"_(l2|linf)_eps(\d+(?:\.\d+)?)$", model)
        marker, area = MARKERS[place % len(MARKERS)], AREA
        if attacked:  # trained so: circles within L2 and squares within L-infinity, larger the wider
            marker, area = "o" if attacked[1] == "l2" else "s", AREA * max(0.5, (float(attacked[2]) + 1) / 5)
        found.append({"marker": marker, "markersize": area**0.5, "color": colours[kind], "markeredgewidth": 0})
    return found[: len(found) - len(result.added)] + [ADDED] * len(result.added)


def category_colours(result):
    """Category -> colour, the baseline black."""
    kinds = dict.fromkeys(result.categories[: len(result.models) - len(result.added)])
    others = [kind for kind in kinds if kind != BASELINE]
    colours = {kind: figures.CYCLE[place % 6] for place, kind in enumerate(others)}
    return {kind: colours.get(kind, figures.BLACK) for kind in (*kinds, *result.categories)}


def scatter(axis, result, bias, score):
    """Models by a bias and a score; those that were added are stars with their names."""
    points = zip(result.models, result.categories, looks(result), *(result.values_of(one).tolist()
                                                                    for one in (bias, score)), strict=True)  # fmt: skip
    alike, named, added = {}, [], set(result.added)  # marks of one look are one artist
    for model, kind, look, x, y in points:
        if x == x and y == y:
            alike.setdefault(tuple(look.items()), []).append((x, y, f"{model} ({kind})"))
            if model in added:
                named.append((x, y, model))
    for look, marks in alike.items():
        x, y, titles = zip(*marks, strict=True)
        (line,) = axis.plot(x, y, linestyle="none", **dict(look))
        figures.note(line, list(titles), [""] * len(titles))
    axis.margins(0.08)
    figures.plain_axes(axis, grid="both")
    axis.set_xlabel(AXES[bias], fontsize=8.5)
    axis.set_ylabel("average accuracy (%)", fontsize=8.5)
    if named:
        others = [(x, y) for marks in alike.values() for x, y, _ in marks]
        figures.name_points(axis, named, blocked=others)


def curves(axis, result, side):
    """Ratio to clean accuracy against the cut-off, a line for each model; side: 0 low-pass, 1 high-pass."""
    colours, extra = category_colours(result), set(result.added)
    x = 100 * np.array(CUTOFFS)
    for model, kind, ratios in zip(result.models, result.categories, result.ratios[:, side].numpy(), strict=True):
        if np.isnan(ratios).all():
            continue
        added = model in extra
        (line,) = axis.plot(x, ratios, color=colours[kind], linewidth=2.4 if added else 1, alpha=1 if added else 0.7)
        if added:
            line.set_linestyle("--")
        figures.note(line, f"{model} ({kind})")
    figures.plain_axes(axis, grid="both")
    figures.percents(axis.yaxis)
    axis.set_xlabel(f"{SIDES[side]} cut-off (% of the highest frequency)", fontsize=8.5)
    axis.set_ylabel("share of clean accuracy", fontsize=8.5)


def keys(result):
    """Entries of a key: categories, and added models."""
    colours = category_colours(result)
    kinds = dict.fromkeys(result.categories[: len(result.models) - len(result.added)])
    plain = {"linestyle": "none", "marker": "o", "markeredgewidth": 0, "markersize": AREA**0.5}
    found = [figures.key(shorten(kind.replace("_", " "), 30), color=colours[kind], **plain) for kind in kinds]
    return found + [figures.key("added", linestyle="none", **ADDED)] * bool(result.added)


def plot_scatter_rows(result):
    """A row of scatter plots for each bias, one for each score; a matplotlib Figure."""
    figure = figures.new_figure(10.5, 2.4 * len(SCATTER) + 0.6)
    axes = figure.subplots(len(SCATTER), len(SCORES), sharey="col", sharex="row")
    for i, bias in enumerate(SCATTER):
        for j, score in enumerate(SCORES):
            scatter(axes[i, j], result, bias, score)
            axes[i, j].set_title(score if i == 0 else "", fontsize=9, loc="left")
            axes[i, j].set_ylabel("average accuracy (%)" if j == 0 else "", fontsize=8.5)
    figure.legend(handles=keys(result), fontsize=8, frameon=False, loc="outside lower center", ncols=4)
    return figure


def plot_curves(result):
    """Accuracy below low-pass and high-pass filters; a matplotlib Figure."""
    figure = figures.new_figure(9, 3.6)
    for side, axis in enumerate(figure.subplots(1, 2, sharey=True)):
        curves(axis, result, side)
    figure.legend(handles=keys(result), fontsize=8, frameon=False, loc="outside lower center", ncols=4)
    return figure


def write_study(result, directory):
    """Write correlations.png, scatter.png and curves.png; the paths of those that have something to show."""
    directory, found = (
        Path(directory),
        {"correlations.png": plot_study(result), "scatter.png": plot_scatter_rows(result)},
    )
    if not np.isnan(result.ratios.numpy()).all():
        found["curves.png"] = plot_curves(result)
    for name, figure in found.items():
        figures.save_figure(figure, directory / name)
    return [directory / name for name in found]
