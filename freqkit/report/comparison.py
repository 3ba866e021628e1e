"""What a comparison of searchers looks like: quality on held-out images against cost."""

from freqkit.report import figures


def plot_comparison(comparison):
    """Held-out TPR - FPR and class loss of every searcher against its cost in forward-equivalents.

    Args:
        comparison: a `freqkit.search.Comparison`. A line joins the efforts of a searcher; bars are the standard
            deviation over seeds.

    Returns:
        A matplotlib Figure.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    rows = comparison.table()
    names = list(dict.fromkeys(row["searcher"] for row in rows))
    figure = figures.new_figure(9.0, 3.8)
    axes = figure.subplots(1, 2)
    for axis, what, title in zip(axes, ("TPR-FPR", "loss"), ("TPR − FPR", "class loss (nats)"), strict=True):
        for place, name in enumerate(names):
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
        axis.set_title(f"{title}, held-out images, mean over classes", fontsize=9.5, loc="left", color=figures.INK)
        axis.tick_params(labelsize=8)
        axis.grid(color="#E4E4E4", linewidth=0.7)
        axis.set_axisbelow(True)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=8, frameon=False, loc="outside lower center", ncols=7)
    return figure
