"""Pass curves as a chart."""

import math

from freqkit.measures.pass_curves import FILTERS
from freqkit.report import figures
from freqkit.report.svg import percent


def plot_pass_curves(result, ax=None, *, of=None, title=None):
    """Accuracy over the cut-off, a line for each kind of filter, with 95 % intervals.

    Args:
        result: a `freqkit.measures.PassCurvesResult`.
        ax: a matplotlib axis; None: a figure of its own.
        of: a class; None: all images.
        title: a line above.

    Returns:
        A matplotlib Figure, or `ax`.
    """
    from freqkit.report.planes import index_of

    group = 0 if of is None else 1 + index_of(result.classes, of, [0.0] * len(result.classes))
    axis = figures.new_figure(6.4, 3.6).subplots() if ax is None else ax
    accuracy, limits, _, _ = (one[:, group] for one in result.shares())
    whole = result.right[0] if group == 0 else result.right[0][result.labels == group - 1]
    clean = float(whole.double().mean())
    axis.axhline(clean, color=figures.RULE, linewidth=1, label=f"whole images: {percent(clean, 1)}")
    for number, kind in enumerate(kind for kind in FILTERS if kind in result.filters):
        at = [k for k, one in enumerate(result.filters) if one == kind]
        x, look = [place_of(result, k) for k in at], figures.series(number)
        words = [f"{result.names[k]}: {span_of(result.edges[k].tolist())}, {percent(accuracy[k], 1)}" for k in at]
        axis.fill_between(x, *limits[at].T.numpy(), color=look["color"], alpha=0.12, linewidth=0)
        line = axis.plot(x, accuracy[at], marker="o", markersize=3.5, linewidth=1.4, label=f"{kind}-pass", **look)[0]
        figures.note(line, words)
    axis.set_xlim(0, 1.02 * max(place_of(result, k) for k in range(len(result.filters))))
    axis.set_ylim(0, 1.02 * max(clean, float(limits.nan_to_num(0).max()), 0.05))
    figures.percents(axis.yaxis)
    axis.set_xlabel("cut-off (cycles/image)" + "; of a band its middle" * ("band" in result.filters))
    axis.set_ylabel("recognised")
    figures.plain_axes(axis)
    figures.legend(axis)
    if title:
        axis.set_title(title, fontsize=9.5, loc="left")
    return figures.literal(axis.figure if ax is None else axis)


def place_of(result, k):
    low, high = result.edges[k].tolist()
    return {"low": high, "high": low, "band": (low + high) / 2}[result.filters[k]]


def span_of(edges):
    low, high = edges
    return f"from {low:g} cycles/image" if math.isinf(high) else f"{low:g} to {high:g} cycles/image"
