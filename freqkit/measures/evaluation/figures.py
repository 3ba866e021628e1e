"""Figures of an evaluation: groups of classes on every set, corruptions, classes one by one, those that are recognised
best through their maps."""

import math
from pathlib import Path

from freqkit.errors import UsageError
from freqkit.files.whole import slug
from freqkit.models import as_classifier
from freqkit.report import figures
from freqkit.results.rows import place_of, unspell
from freqkit.text import shorten

PANELS = 12
GROUPS = {  # (group, filtered) -> what it is
    ("shortcut", False): "high filtered TPR, whole images",
    ("other", False): "other classes, whole images",
    ("shortcut", True): "high filtered TPR, through their map",
    ("other", True): "other classes, through their map",
}


def _model(result, model):
    names = list(dict.fromkeys(row["model"] for row in result.rows))
    if model is None:
        if len(names) != 1:
            raise UsageError(f"plot: model must be one of {', '.join(names[:5])}.")
        return names[0]
    if model not in names:
        raise UsageError(f"plot: the result holds no model {model!r}; it holds {', '.join(names[:5])}.")
    return model


def _number(value):
    return math.nan if value is None else value


def plot_groups(result, ax=None, *, model=None, of=None):
    """AvgTPR of the classes of high filtered TPR (the paper's shortcut classes at t) and of the others against the
    threshold t, one panel per set and condition.

    The area of a marker is proportional to the number of classes in the group; an empty group has none.

    Args:
        result: a `freqkit.measures.EvaluationResult`.
        ax: a matplotlib axis for one panel; None: a figure of all.
        model: which of its models, when it has several.
        of: with `ax`, the name of the set; default the first.

    Returns:
        A matplotlib Figure, or `ax`.

    Raises:
        UsageError: the result has no groups (no maps, no in-distribution set), or none of that name.
    """
    model = _model(result, model)
    panels = {
        place: {key: [(t, _number(value), n) for t, value, n in points] for key, points in lines.items()}
        for place, lines in result.groups(model, others=False).items()
    }
    if not panels:
        raise UsageError(f"plot_groups: there are no groups of {model!r}: they need maps and an in-distribution set.")
    classes = max(p[2] for lines in panels.values() for points in lines.values() for p in points) or 1
    if ax is not None:
        place = next((place for place in panels if of in (None, place[0])), None)
        if place is None:
            raise UsageError(f"plot: of must be one of {', '.join(dict.fromkeys(n for n, _ in panels))}; got {of!r}.")
        plot_panel(ax, panels[place], classes, place)
        ax.set_ylabel("mean TPR of the group (share of the images)", fontsize=8.5)
        figures.legend(ax, keys())
        return figures.literal(ax)
    shown = list(panels.items())[:PANELS]
    columns = min(4, len(shown))
    height = -(-len(shown) // columns)
    figure = figures.new_figure(max(6.6, 2.7 * columns + 0.6), 2.35 * height + 1.0)
    axes = figure.subplots(height, columns, squeeze=False, sharex=True, sharey=True)
    for axis in axes.flat[len(shown) :]:
        axis.set_visible(False)
    for axis, (place, lines) in zip(axes.flat, shown, strict=False):
        plot_panel(axis, lines, classes, place)
    figure.supylabel("mean TPR of the group (share of the images)", fontsize=8.5)
    figure.legend(handles=keys(), loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    more = f" (the first {PANELS} of {len(panels)})" if len(panels) > PANELS else ""
    words = "high filtered TPR at t: in distribution, through its map, above t; marker area: classes in the group"
    figure.suptitle(f"{model}: how classes of high filtered TPR fare{more}\n{words}", fontsize=9.5)
    return figure


def plot_panel(axis, lines, classes, place=None):
    """The groups of one set and condition on a matplotlib axis.

    Args:
        lines: (group, filtered) -> list of (t, mean TPR or NaN, classes in the group).
        classes: of all.
        place: (set, condition), for a heading.
    """
    for group, colour in (("shortcut", figures.VERMILION), ("other", figures.BLUE)):
        for filtered in (False, True):
            points = sorted(lines.get((group, filtered), []))
            if not points:
                continue
            t, value, size = zip(*points, strict=True)
            (line,) = axis.plot(t, value, color=colour, linewidth=1.4, linestyle="--" if filtered else "-")
            figures.note(line, GROUPS[group, filtered])
            areas = [max(4.0, 90 * n / classes) if n else 0 for n in size]
            face = "white" if filtered else colour
            axis.scatter(t, value, s=areas, color=face, edgecolors=colour, linewidths=1, zorder=3)
    if place is not None:
        name, condition = place
        where = "" if condition == "all" else f"\n{shorten(condition, 34)}"
        axis.set_title(f"{name}{where}", fontsize=8.5)
    axis.set_ylim(-0.06, 1.06)
    axis.set_xticks([0.1, 0.3, 0.5, 0.7, 0.9])
    axis.set_xlabel("threshold t", fontsize=8.5)
    figures.plain_axes(axis)


def keys():
    """Lines that stand for the groups, for a legend."""
    return [
        figures.key(words, color=colour, linestyle="--" if filtered else "-", marker="o", markersize=5,
                    markerfacecolor="white" if filtered else colour)
        for (group, filtered), words in GROUPS.items()
        for colour in (figures.VERMILION if group == "shortcut" else figures.BLUE,)
    ]  # fmt: skip


def plot_corruptions(result, model=None):
    """Mean top-1 error per corruption, a bar each, with that through the maps beside it; dots are the severities.

    Args, returns, raises: see `plot_groups`; UsageError when the result has no corruptions.
    """
    model = _model(result, model)
    errors = {}
    for row in map(unspell, result.table()):
        if row["severity"] and row["part"] is None and row["model"] == model and row["metric"] == "top-1":
            own = errors.setdefault(row["set"], {}).setdefault(row["condition"], {})
            own.setdefault("filtered top-1" if row["filter"] else "top-1", []).append(1 - _number(row["value"]))
    if not errors:
        raise UsageError(f"plot_corruptions: the result of {model!r} holds no corrupted set.")
    bars = sum(map(len, errors.values()))
    figure = figures.new_figure(6.6, 1.2 + 0.34 * bars + 0.3 * len(errors))
    axes = figure.subplots(len(errors), 1, squeeze=False, height_ratios=[len(each) for each in errors.values()])
    for axis, (name, each) in zip(axes.flat, errors.items(), strict=True):
        for metric, colour, shift, label in (
            ("top-1", figures.BLUE, -0.19, "whole images"),
            ("filtered top-1", figures.ORANGE, 0.19, "through the class's map"),
        ):
            rows = [(i, own[metric]) for i, own in enumerate(each.values()) if metric in own]
            if rows:
                middle = [sum(values) / len(values) for _, values in rows]
                axis.barh([i + shift for i, _ in rows], middle, 0.36, color=colour, label=label, alpha=0.85)
            for i, values in rows:
                axis.plot(values, [i + shift] * len(values), ".", color=figures.INK, markersize=2.6)
        axis.set_yticks(range(len(each)), [corruption.replace("_", " ") for corruption in each], fontsize=8)
        axis.set_ylim(len(each) - 0.5, -0.5)
        axis.set_xlim(0, 1)
        axis.set_title(name, fontsize=9, loc="left")
        figures.plain_axes(axis, grid="x")
    axes[-1, 0].set_xlabel("top-1 error; bar: mean over severities, dots: severities", fontsize=8.5)
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8, frameon=False
    )
    figure.suptitle(f"{model}: corrupted images", fontsize=10)
    return figure


def plot_scatter(result, model=None, *, named=5):
    """One dot per class: on the left TPR of whole images against TPR through the map, in distribution; on the right
    in-distribution TPR against the mean over the other sets. The `named` classes of the highest filtered TPR above 0
    have their names beside them.

    Args, returns, raises: see `plot_groups`; UsageError when there is nothing to compare.
    """
    model = _model(result, model)
    base = result.base if result.base[0] else _first(result, model)
    rates = {
        metric: result.rates(metric, model=model, set=base[0], condition=base[1]) for metric in ("TPR", "filtered TPR")
    }
    others = {}
    for row in result.rows:
        if row["model"] == model and row["class"] and row["metric"] == "TPR" and (row["set"], row["condition"]) != base:
            if place_of(row["condition"])["part"] is None:
                others.setdefault(row["class"], []).append(_number(row["value"]))
    pairs = []
    if rates["filtered TPR"]:
        both = [name for name in rates["TPR"] if name in rates["filtered TPR"]]
        pairs.append(
            (both, rates["TPR"], rates["filtered TPR"], "TPR, whole images", "TPR through the class's map", base[0])
        )
    shared = [name for name in rates["TPR"] if name in others]
    if shared:
        means = {name: sum(others[name]) / len(others[name]) for name in shared}
        pairs.append(
            (
                shared,
                rates["TPR"],
                means,
                f"TPR on {base[0]}",
                "mean TPR on all other sets",
                "in and out of distribution",
            )
        )
    if not pairs:
        raise UsageError("plot_scatter: there is nothing to compare: no maps and one set only.")
    through = {name: value for name, value in rates["filtered TPR"].items() if value}
    top = sorted(through, key=lambda name: -through[name])[:named]
    figure = figures.new_figure(4.1 * len(pairs) + 0.4, 4.4)
    axes = figure.subplots(1, len(pairs), squeeze=False)
    for axis, (names, across, up, x_label, y_label, title) in zip(axes.flat, pairs, strict=True):
        x, y = [across[name] for name in names], [up[name] for name in names]
        strong = [figures.VERMILION if name in top else figures.BLUE for name in names]
        size = 26 if len(names) <= 50 else 8
        axis.plot([0, 1], [0, 1], color="#C8C8C8", linewidth=0.8)
        axis.scatter(x, y, s=size, c=strong, alpha=0.75, linewidths=0)
        axis.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.06))
        labelled = sorted((name for name in names if name in top), key=lambda name: -up[name])
        rest = [name for name in names if name not in top]
        figures.name_points(axis, [(across[name], up[name], name if name in top else "") for name in labelled + rest])
        axis.set_aspect("equal")
        axis.set_xlabel(x_label, fontsize=8.5)
        axis.set_ylabel(y_label, fontsize=8.5)
        axis.set_title(title, fontsize=9)
        figures.plain_axes(axis, grid="both")
    words = f"; orange: the {len(top)} strongest through their maps" if top else ""
    figure.suptitle(f"{model}: classes one by one{words}", fontsize=10)
    return figure


def _first(result, model):
    row = next(row for row in result.rows if row["model"] == model and row["class"])
    return row["set"], row["condition"]


def plot_gallery(result, model, test_set, dfm, *, preprocessing, name=None, count=6, per_class=3):
    """The first images of the classes of highest filtered TPR on a set, before and after the filter.

    Args:
        result: an `EvaluationResult`. model: the `Classifier`; `name`: what it is called in the result.
        test_set: a `TestSet`, the one whose images are shown.
        dfm: `DfmFile`. preprocessing: a `Preprocessing`.
        count, per_class: classes, and images of each: the first ones, never the best ones.

    Returns:
        A matplotlib Figure.
    """
    from freqkit.data import ImageSet
    from freqkit.data.class_lists import class_list
    from freqkit.data.test_set import Reader
    from freqkit.engine.examples import examples_of
    from freqkit.report.examples import filtered_examples

    model = as_classifier(model, "plot_gallery")
    rates = result.rates(
        "filtered TPR", model=_model(result, name), set=test_set.name, condition=test_set.condition or "all"
    )
    strongest = sorted(
        (each for each in rates if rates[each] and each in dfm.classes), key=lambda each: -_number(rates[each])
    )[:count]
    if not strongest:
        raise UsageError(f"plot_gallery: no class of {test_set.title} is recognised through its map.")
    places = []
    for each in strongest:
        own = (test_set.labels == test_set.classes.index(each)).nonzero().flatten().tolist()
        places += own[:per_class]
    some = test_set.take(places)
    with Reader(preprocessing) as reader:
        pixels, bad = reader.finish(reader.start(some, 0, len(some)))
    left_out = {place for place, _ in bad}
    good = [i for i in range(len(some)) if i not in left_out]
    names = class_list("imagenet") if model.num_classes == 1000 else list(some.classes)
    paths = [f"{some.source.name(i)}" for i in good]
    labels = [names.index(some.classes[int(some.labels[i])]) for i in good]
    images = ImageSet(pixels[good], labels, names, paths)
    maps = dfm.masks[[dfm.classes.index(each) for each in strongest]]
    examples = examples_of(model, images, maps, strongest, per_class=per_class, limit=count)
    words = ", ".join(f"{shorten(each, 12)} {100 * _number(rates[each]):.0f}%" for each in strongest[:4])
    return filtered_examples(
        examples, title=f"Classes of highest filtered TPR on {test_set.title}\nTPR through the map: {words}"
    )


def write_evaluation(result, directory):
    """Write groups-, corruptions- and scatter-MODEL.png of every model, those that the result has data for.

    Returns:
        list of the paths written.
    """
    written = []
    for model in dict.fromkeys(row["model"] for row in result.rows):
        for kind, draw in (("groups", plot_groups), ("corruptions", plot_corruptions), ("scatter", plot_scatter)):
            try:
                figure = draw(result, model=model)
            except UsageError:
                continue  # the sentence says that this result holds nothing of the kind
            path = Path(directory) / f"{kind}-{slug(model)}.png"
            figures.save_figure(figure, path)
            written.append(path)
    return written
