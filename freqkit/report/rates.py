"""True and false positive rates with their intervals."""

from freqkit.report import figures
from freqkit.text import shorten


def plot_rates(result, ax=None, *, title=None, limit=40):
    """TPR and FPR of each class seen through its own mask, largest difference first.

    Args:
        result: a `freqkit.measures.RatesResult`.
        ax: a matplotlib axis to draw on; None: a new figure.
        title: a line above.
        limit: at most this many classes.

    Returns:
        A matplotlib Figure, or `ax`: dots with their intervals, open dots without a mask.
    """
    order = result.tpr_minus_fpr.nan_to_num(-2).argsort(descending=True, stable=True)[:limit].tolist()
    axis = ax if ax is not None else figures.new_figure(6.4, 1.3 + 0.3 * len(order)).subplots()
    clean = (result.clean_tp.double() / result.positives, result.clean_fp.double() / result.negatives)
    sides = (
        ("TPR", figures.BLUE, -0.12, result.tpr, result.tpr_interval, clean[0]),
        ("FPR", figures.VERMILION, 0.12, result.fpr, result.fpr_interval, clean[1]),
    )
    for name, colour, shift, value, interval, before in sides:
        places = [row + shift for row in range(len(order))]
        axis.hlines(places, interval[order, 0], interval[order, 1], color=colour, linewidth=1.6)
        axis.plot(value[order], places, "o", color=colour, markersize=4.5, label=f"{name}, through the mask")
        axis.plot(
            before[order], places, "o", color=colour, markerfacecolor="white", markersize=3.5,
            label=f"{name}, whole images",
        )  # fmt: skip
    axis.set_yticks(range(len(order)), [shorten(result.classes[i]) for i in order], fontsize=8)
    axis.set_ylim(len(order) - 0.5, -0.5)
    axis.set_xlim(-0.02, 1.02)
    axis.set_xlabel(
        f"share of the images recognised as the class; bars: {100 * result.definition['confidence']:g}% intervals",
        fontsize=8.5,
    )
    axis.tick_params(labelsize=8)
    axis.grid(axis="x", color="#E4E4E4", linewidth=0.7)
    axis.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    if ax is not None:
        axis.legend(fontsize=7.5, frameon=False, loc="best")
        return figures.literal(axis)
    figure = axis.figure
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    lines = [title or "How well each class is told apart through its dominant frequencies"]
    if len(order) < len(result.classes):
        lines.append(f"{len(order)} of {len(result.classes)} classes, by TPR - FPR")
    figure.suptitle("\n".join(lines), fontsize=10.5)
    return figure
