"""Figures of results that several rooms share: losses of a search, its maps, maps of removal, learning curves."""

import math

from freqkit.report import figures
from freqkit.report.dfms import dfm_maps, one_dfm
from freqkit.report.planes import index_of, on_axis, plane_maps
from freqkit.report.svg import number
from freqkit.text import shorten


def search_curves(losses, classes, ax=None, *, stages=None, limit=figures.NAMED_LINES):
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
    last = next((stage for stage in reversed(losses) if len(stage)), None)  # whose lines are named
    start, lowest = 0, math.inf
    for ordinal, stage in zip(stages, losses, strict=True):
        if not len(stage):
            continue
        best = np.minimum.accumulate(np.where(np.isnan(stage), np.inf, stage), axis=0)
        place = start + 1 + np.arange(len(stage))
        line, low = {"linewidth": 1.5, "drawstyle": "steps-post"}, best
        if len(classes) <= limit:
            for index, name in enumerate(classes):
                (drawn,) = axis.plot(place, best[:, index], **line, **figures.series(index))
                figures.note(drawn, name)
                if stage is last:
                    drawn.set_label(shorten(name))
        else:
            some = np.unique(np.linspace(0, len(stage) - 1, 200).astype(int))
            place, (low, middle, high) = place[some], np.quantile(best[some], [0.25, 0.5, 0.75], axis=1)
            axis.fill_between(place, low, high, step="post", color=figures.SKY, alpha=0.4, linewidth=0)
            (drawn,) = axis.plot(place, middle, **line, **figures.series(0))
            if stage is last:
                drawn.set_label(f"median of {len(classes)} classes,\nmiddle half shaded")
        lowest = min(lowest, float(low.min()))
        if start:
            axis.axvline(start + 0.5, color=figures.RULE, linewidth=0.8)
        axis.annotate(
            f"stage {ordinal}",
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
    lowest = lowest if math.isfinite(lowest) else 0.0
    axis.set_ylim(bottom=0 if lowest < 2e-3 else lowest / 2)
    axis.set_xlim(0.5, max(start, 1) + 0.5)
    axis.set_xlabel("masks tried", fontsize=8.5)
    axis.set_ylabel("best loss so far in the stage (nats)", fontsize=8.5)
    figures.plain_axes(axis)
    figures.log_ticks(axis.yaxis, max(lowest / 2, 1e-3), max(axis.get_ylim()[1], 2e-3))
    if len(classes) <= limit:
        figures.name_lines(axis)
    elif start:
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


def plot_removal(result, ax=None, *, of=None, which="masks", planted=None, title=None):
    """What a removal or gradient search found.

    Args:
        result: a `freqkit.results.RemovalResult`.
        ax: a matplotlib axis for the map of one class; None: a figure of all classes.
        of: with `ax`, the class, by name or number; default that of the largest TPR - FPR.
        which: "masks": the dominant frequency maps at the result's level; "increase": by how much each
            class's loss grows when a frequency is removed, each map scaled by its 99th percentile.
        planted: optional dict class name -> bool `[H, W]`, centred: known bins to outline on the masks.
        title: a line above the maps.

    Returns:
        A matplotlib Figure, or `ax`.
    """
    if which not in ("masks", "increase"):
        raise ValueError(f"plot_removal: which must be 'masks' or 'increase'; got {which!r}.")
    index = None if ax is None else index_of(result.classes, of, result.tpr_minus_fpr)
    if which == "masks":
        from freqkit.report.dfms import dfm_maps, one_dfm

        if ax is not None:
            return one_dfm(ax, result.masks[index], result.classes[index], planted=planted)
        rates = [{"loss": row["loss"], "tpr": row["TPR"], "fpr": row["FPR"]} for row in result.table()]
        title = title or f"Each class's dominant {100 * result.level:g}% of the frequencies"
        return dfm_maps(result.masks, result.classes, rates=rates, planted=planted, title=title)
    words = title or "What removing a frequency costs each class"
    return _increases(result.maps("increase").numpy(), result.classes, ax, index, words)


def _increases(maps, classes, ax, index, title):
    """Changes of the loss [C, H, W] in nats; one class on `ax`, or all, each scaled by its 99th percentile."""
    import numpy as np

    if ax is not None:
        reach = np.nanpercentile(np.abs(maps[index]), 99) or 1.0
        label = "increase of the loss (nats)"
        return on_axis(ax, maps[index], classes[index], limits=(-reach, reach), label=label, signed=True)
    scale = np.array([np.nanpercentile(np.abs(plane), 99) or 1.0 for plane in maps])
    return plane_maps(
        maps / scale[:, None, None],
        classes,
        limits=(-1, 1),
        label="increase of the loss, as a share of the class's scale",
        headings=[f"scale {number(value, 2)} nats" for value in scale],
        title=title,
    )


def plot_search(result, ax=None, *, of=None, planted=None, title=None):
    """The map of each class with its loss and rates; see `dfm_maps`.

    Args:
        result: a `freqkit.results.SearchResult`.
        ax: a matplotlib axis for the map of one class; None: a figure of all classes.
        of: with `ax`, the class, by name or number; default that of the largest TPR - FPR.
        planted: optional dict class name -> bool `[H, W]`, centred: known bins to outline.
        title: a line above the maps.

    Returns:
        A matplotlib Figure, or `ax`.
    """
    if ax is not None:
        index = index_of(result.classes, of, result.tpr_minus_fpr)
        return one_dfm(ax, result.masks[index], result.classes[index], planted=planted)
    rates = [{"loss": row["loss"], "tpr": row["TPR"], "fpr": row["FPR"]} for row in result.table()]
    title = title or "Frequencies by which each class is still recognised"
    return dfm_maps(result.masks, result.classes, rates=rates, planted=planted, title=title)


def learning_curves(curves, ax=None, *, title=None, limit=10):
    """F1 of each class against iterations.

    Args:
        curves: `freqkit.results.LearningCurves`, or a list of them from several seeds (same classes and steps):
            then the mean, with the range over seeds shaded.
        ax: a matplotlib axis to draw on; None: a new figure.
        title: a line above.
        limit: with more classes than this, the first and the last learned are drawn, half each.

    Returns:
        A matplotlib Figure, or `ax`.
    """
    import numpy as np

    several = curves if isinstance(curves, (list, tuple)) else [curves]
    classes, steps = several[0].classes, several[0].steps.tolist()
    f1 = np.stack([one.f1.numpy() for one in several])  # [S, T, C]
    axis = ax if ax is not None else figures.new_figure(7.2, 3.6).subplots()
    shown = learning_lines(axis, classes, steps, f1, limit)
    if ax is not None:
        return figures.literal(axis)
    note = f"{curves_of(several)} images"
    if len(several) > 1:
        note += f", mean and range of {len(several)} seeds"
    if shown < len(classes):
        note += f"; the {limit // 2} first and {shown - limit // 2} last learned of {len(classes)} classes"
    axis.figure.suptitle(f"{title or 'In which order the classes are learned'}\n{note}", fontsize=10)
    return axis.figure


def learning_lines(axis, classes, steps, f1, limit=figures.NAMED_LINES):
    """F1 [S, T, C] of each class at the T `steps`, mean and range over S seeds; the number of classes drawn."""
    import numpy as np

    mean = f1.mean(0)
    order = sorted(range(len(classes)), key=lambda c: -float(np.nansum(mean[:, c])))
    shown = order if len(order) <= limit else order[: limit // 2] + order[-(limit - limit // 2) :]
    for rank, c in enumerate(shown):
        (line,) = axis.plot(steps, mean[:, c], linewidth=1.6, label=shorten(classes[c]), **figures.series(rank))
        figures.note(line, classes[c])
        if len(f1) > 1:
            low, high = f1[:, :, c].min(0), f1[:, :, c].max(0)
            axis.fill_between(steps, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    axis.set_ylim(-0.02, 1.02)
    axis.set_xlim(steps[0], max(steps[-1], steps[0] + 1))
    axis.set_xlabel("iterations", fontsize=8.5)
    axis.set_ylabel("F1 (0 to 1)", fontsize=8.5)
    figures.plain_axes(axis)
    figures.name_lines(axis)
    return len(shown)


def curves_of(several):
    words = several[0].definition.get("images", "")
    count = several[0].confusion[0].sum().item() if len(several[0].confusion) else math.nan
    return f"{count:g} {words}".strip()
