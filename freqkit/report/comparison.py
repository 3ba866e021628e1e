"""What a comparison of searchers looks like: quality on held-out images against cost."""

from freqkit.report import figures

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
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for place, name in enumerate(dict.fromkeys(row["searcher"] for row in rows)):
        own = sorted((row for row in rows if row["searcher"] == name), key=lambda row: row["forward equivalents"])
        spread = [row[f"{what} sd"] if row["seeds"] > 1 else 0.0 for row in own]
        axis.errorbar(
            [row["forward equivalents"] for row in own], [row[what] for row in own], yerr=spread,
            color=figures.CYCLE[place % len(figures.CYCLE)], marker="osD^vPX"[place % 7], markersize=5,
            linewidth=1.4, capsize=2.5, label=name,
        )  # fmt: skip
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_xlabel("forward-equivalents (a backward counts two)", fontsize=9)
    axis.set_ylabel(QUANTITIES[what], fontsize=9)
    axis.set_title("held-out images, mean over classes", fontsize=9.5, loc="left", color=figures.INK)
    figures.plain_axes(axis, x_grid=True)
