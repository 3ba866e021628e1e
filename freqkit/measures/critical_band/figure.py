"""The critical band as charts."""

import torch

from freqkit.measures.critical_band import ENDS, HUMAN, units_of
from freqkit.measures.critical_band.fit import bell_of
from freqkit.report import figures
from freqkit.report.svg import percent
from freqkit.statistics import wilson


def plot_critical_band(result, ax=None, *, of=None, title=None):
    """Accuracy over the band of the noise, a line for each strength; half of the reference is the normalised threshold.

    Args:
        result: a `freqkit.measures.CriticalBandResult`.
        ax: a matplotlib axis; None: a figure of its own.
        of: a class; None: all images.
        title: a line above.

    Returns:
        A matplotlib Figure, or `ax`.
    """
    from freqkit.report.planes import index_of

    group = 0 if of is None else 1 + index_of(result.classes, of, [0.0] * len(result.classes))
    axis = figures.new_figure(6.4, 3.6).subplots() if ax is None else ax
    hits, trials = (one[:, group] for one in result._by_class())
    matrix, limits = result._matrix(hits.double() / trials), wilson(hits, trials, result.definition["confidence"])
    low, high = (result._matrix(one) for one in limits.T)
    centres, middle = result.centres.tolist(), float(matrix[0, 0])
    axis.axhline(middle, color=figures.RULE, linewidth=1, label="no noise")
    axis.axhline(
        result.reference / 2, color=figures.FAINT, linewidth=0.8, linestyle="--", label="half of the reference"
    )
    for place, (sd, line, one, other) in enumerate(
        zip(result.deviations.tolist(), matrix[1:], low[1:], high[1:], strict=True)
    ):
        look = figures.series(place)
        axis.fill_between(centres, one.numpy(), other.numpy(), color=look["color"], alpha=0.12, linewidth=0)
        drawn = axis.plot(centres, line, marker="o", markersize=3.5, linewidth=1.4, label=f"sd {sd:g}", **look)[0]
        figures.note(drawn, [f"noise of sd {sd:g} at {c:g} cycles/image: {percent(a, 1)}" for c, a in
                             zip(centres, line.tolist(), strict=True)])  # fmt: skip
    _octaves(axis, centres)
    axis.set_ylim(0, 1.05 * max(middle, float(high.nan_to_num(0).max()), 0.05))
    figures.percents(axis.yaxis)
    axis.set_xlabel("nominal centre of the noise's band (cycles/image)")
    axis.set_ylabel("recognised")
    figures.plain_axes(axis)
    figures.legend(axis)
    if title:
        axis.set_title(title, fontsize=9.5, loc="left")
    return figures.literal(axis.figure if ax is None else axis)


def _octaves(axis, centres):
    """Bands along the axis of a chart, each at its centre."""
    axis.set_xscale("log", base=2)
    axis.set_xticks(centres, [f"{centre:g}" for centre in centres])
    axis.set_xticks([], minor=True)


def fit_on(axis, result):
    """Thresholds of the bands, and the normalised fit beside the band of people."""
    centres = result.centres.tolist()
    f = torch.linspace(-0.5, len(centres) - 0.5, 200)
    for place, end in enumerate(reversed(ENDS)):
        steps, look = result.thresholds(bool(end)), figures.series(place)
        words = [f"{c:g} cycles/image: {t}" for c, t in zip(centres, steps, strict=True)]
        label = "normalised" if end else units_of(result)[end]
        points = axis.plot(centres, steps, marker="o" if end else "s", markersize=4.5, linestyle="", label=label,
                           color=look["color"])[0]  # fmt: skip
        figures.note(points, words)
        fit = bell_of(tuple(steps), len(result.deviations))
        if fit is not None:
            height, middle, width = fit
            axis.plot(
                centres[0] * 2**f, height * torch.exp(-((f - middle) ** 2) / (2 * width**2)), linewidth=1.3, **look
            )
    mean, wide = HUMAN["cf"][0], HUMAN["bw"][0]
    axis.axvspan(mean / 2 ** (wide / 2), mean * 2 ** (wide / 2), color=figures.RULE, alpha=0.3, linewidth=0)
    axis.text(mean, 0.05, "people", fontsize=7.5, color=figures.FAINT, ha="center")
    _octaves(axis, centres)
    axis.set_xlim(min(centres) / 1.4, max(centres) * 1.4)
    axis.set_yticks(range(len(result.deviations) + 1))
    axis.set_ylim(-0.1, len(result.deviations) + 0.2)
    axis.set_xlabel("nominal centre (cycles/image)")
    axis.set_ylabel("noises that are too much")
    figures.plain_axes(axis)
    figures.legend(axis)
