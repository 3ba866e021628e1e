"""How the search went: the best loss of each class as candidates are tried."""

from freqkit.report import figures
from freqkit.text import shorten


def search_curves(losses, classes, ax=None, *, stages=None, limit=7):
    """Draw the running best loss of each class against the number of masks tried.

    Args:
        losses: list with one array `[K_s, C]` per stage: the loss of each candidate on each class, in the
            order in which they were proposed.
        classes: C class names.
        ax: a matplotlib axis to draw on; None: a new figure.
        stages: the stage numbers, default 1, 2, ...
        limit: with more classes than this, the median and the middle half over classes are drawn instead.

    Returns:
        A matplotlib Figure, or `ax`; the best starts anew at each stage (a later stage only keeps fewer frequencies).

    Raises:
        ValueError: when an array does not have C columns.
    """
    import numpy as np

    losses = [np.asarray(stage, dtype=np.float64) for stage in losses]
    for stage in losses:
        if stage.ndim != 2 or stage.shape[1] != len(classes):
            raise ValueError(
                f"search_curves: losses must be arrays [K, C] with C={len(classes)}; got {list(stage.shape)}."
            )
    stages = list(stages) if stages is not None else list(range(1, len(losses) + 1))
    axis = ax if ax is not None else figures.new_figure(7.2, 3.8).subplots()
    start = 0
    for number, stage in zip(stages, losses, strict=True):
        if not len(stage):
            continue
        best = np.minimum.accumulate(np.where(np.isnan(stage), np.inf, stage), axis=0)
        place = start + 1 + np.arange(len(stage))
        if len(classes) <= limit:
            for index, name in enumerate(classes):
                axis.plot(
                    place,
                    best[:, index],
                    color=figures.CYCLE[index],
                    drawstyle="steps-post",
                    linewidth=1.6,
                    label=shorten(name) if start == 0 else None,
                )
        else:
            low, middle, high = np.quantile(best, [0.25, 0.5, 0.75], axis=1)
            axis.fill_between(place, low, high, step="post", color=figures.SKY, alpha=0.4, linewidth=0)
            axis.plot(
                place,
                middle,
                color=figures.BLUE,
                linewidth=1.6,
                drawstyle="steps-post",
                label=f"median of {len(classes)} classes, middle half shaded" if start == 0 else None,
            )
        if start:
            axis.axvline(start + 0.5, color="#B0B0B0", linewidth=0.8)
        axis.annotate(
            f"stage {number}",
            (start + 0.5, 1.01),
            xycoords=("data", "axes fraction"),
            fontsize=8.5,
            color=figures.FAINT,
            xytext=(3, 0),
            textcoords="offset points",
        )
        start += len(stage)
    # the losses of easy classes are far below 1; nothing below 0.001 is worth telling apart
    axis.set_yscale("symlog", linthresh=1e-3, linscale=0.3)
    lowest = min((float(np.nanmin(stage)) for stage in losses if np.isfinite(stage).any()), default=0)
    axis.set_ylim(bottom=0 if lowest < 2e-3 else lowest / 2)
    axis.set_xlim(0.5, max(start, 1) + 0.5)
    axis.set_xlabel("masks tried", fontsize=9)
    axis.set_ylabel("best loss so far in the stage (nats)", fontsize=9)
    axis.tick_params(labelsize=8)
    axis.grid(axis="y", color="#E4E4E4", linewidth=0.7)
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    if start:
        axis.legend(fontsize=8, frameon=False, loc="best")
    return figures.literal(axis) if ax is not None else axis.figure


def plot_scores(scores, ax=None, *, stage=1):
    """The best loss of each class against the number of masks tried.

    Args:
        scores: a `freqkit.results.Scores`, masks in the order in which they were tried.
        ax: a matplotlib axis to draw on; None: a new figure.
        stage: what to call them.

    Returns:
        A matplotlib Figure, or `ax`.
    """
    return search_curves([scores.loss], scores.classes, ax, stages=[stage])
