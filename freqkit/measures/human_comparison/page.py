"""What a comparison with people puts on the page."""

import numpy as np
import torch

from freqkit.measures.human_comparison.kappa import mean_of
from freqkit.measures.human_comparison.result import FORMAT, HumanComparisonResult
from freqkit.report import figures
from freqkit.report.blocks import Cell, Part, Section, Table
from freqkit.report.inline import drawing
from freqkit.report.pages import files_of, part
from freqkit.report.provenance import cost_rows, provenance_rows
from freqkit.report.svg import percent
from freqkit.report.words import listed, span
from freqkit.statistics import wilson
from freqkit.text import shorten

MOST = 7  # networks that have a colour of their own


def sentences(result: HumanComparisonResult) -> list[str]:
    """What was found, in words."""
    found, people = [], result.people
    count = f"{len(result.names):,} images of {len(result.sets)} set{'s' * (len(result.sets) != 1)}"
    for r in result.networks[:3]:
        hits, n = result.counts(r, torch.ones_like(result.labels, dtype=torch.bool))
        if n:
            value = result.ood_mean(r)
            mean = (
                f"; ood_mean, over the 17 sets without control and hardest conditions, is {percent(value, 1)}"
                f" ({span(result.ood_interval(r))})" if value is not None else
                f"; ood_mean needs all 17 sets, of which {len(result.sets)} are there"
            )  # fmt: skip
            found.append(f"{result.makers[r]} names {percent(hits / n, 1)} of {count} rightly{mean}.")
    kappas, among = _with_people(result), _among_people(result)
    for r, values in list(kappas.items())[:3]:
        known = {name: value for name, (value, *_) in values.items() if value is not None}
        if known:
            mean = sum(known.values()) / len(known)
            found.append(
                f"{result.makers[r]} and people err on the same images with a kappa of {_kappa(mean)}, the mean over"
                f" {len(known)} set{'s' * (len(known) != 1)}; people among each other with {_kappa(among)}."
            )
    if not people:
        found.append("No answers of people were given, so networks are compared with each other alone.")
    return found


def _kappa(value):
    return "–" if value is None or value != value else f"{value:.2f}".replace("-", "−")


def _with_people(result):
    """place of a network -> set -> (kappa, low, high, images)."""
    found = {r: {} for r in result.networks if result.people}
    for name in result.sets if result.people else ():
        for r, one in result.consistency(name, list(found), result.people).items():
            if one[3]:
                found[r][name] = one
    return found


def _among_people(result):
    """Mean over sets and people of their error consistency with the others; None where it is not known."""
    people = result.people
    values = [one[0] for name in result.sets for one in result.consistency(name, people, people).values() if one[3]]
    values = [value for value in values if value is not None]
    return sum(values) / len(values) if values else None


def plot_human_comparison(result, ax=None, *, title=None, kind="accuracy"):
    """Accuracy without control and hardest conditions, set by set, of each network; people as a grey band.

    Args:
        result: a `freqkit.measures.HumanComparisonResult`.
        ax: a matplotlib axis to draw on; None: a new figure.
        title: a line above.
        kind: "accuracy", or "consistency" for error consistency with people.

    Returns:
        A matplotlib Figure, or `ax`; lines are intervals.
    """
    names = result.sets
    axis = figures.new_figure(6.8, 1.6 + 0.3 * len(names)).subplots() if ax is None else ax
    shown = result.networks[:MOST]
    kappas = _with_people(result) if kind == "consistency" else {}
    if kind == "accuracy" and result.people:
        _people(axis, result, names)
    for place, r in enumerate(shown):
        points = []
        for y, name in enumerate(names):
            if kind == "consistency":
                value, low, high, n = kappas.get(r, {}).get(name, (None, None, None, 0))
            else:
                hits, n = result.counts(r, result.among(name, kept=True))
                value = hits / n if n else None
                low, high = wilson(torch.tensor([hits]), torch.tensor([n]), result.confidence)[0].tolist()
            if value is not None and n:
                points.append((value, y + 0.5 * (place + 0.5) / len(shown) - 0.25, low, high, name))
        if not points:
            continue
        x, y, low, high, own = zip(*points, strict=True)
        colour = figures.CYCLE[place % len(figures.CYCLE)]
        known = [k for k, value in enumerate(low) if value is not None]
        axis.hlines(
            [y[k] for k in known], [low[k] for k in known], [high[k] for k in known], color=colour, linewidth=1.3
        )
        (marks,) = axis.plot(x, y, "o", color=colour, markersize=4, label=shorten(result.makers[r]))
        words = [_kappa(v) if kind == "consistency" else percent(v, 1) for v in x]
        figures.note(marks, [f"{result.makers[r]}, {name}: {word}" for name, word in zip(own, words, strict=True)])
    figures.plain_axes(axis, grid="x")
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.set_ylim(len(names) - 0.4, -0.6)
    if kind == "accuracy":
        axis.set_xlim(-0.02, 1.02)
        axis.set_xlabel("share of the images named rightly", fontsize=8.5)
        figures.percents(axis.xaxis)
    else:
        axis.axvline(0, color=figures.FAINT, linewidth=0.8)
        axis.set_xlabel("error consistency with people", fontsize=8.5)
    figures.legend(axis)
    if ax is not None:
        return figures.literal(axis)
    axis.figure.suptitle(title or "Networks and people on the same images", fontsize=10)
    return axis.figure


def _people(axis, result, names):
    """From the worst to the best of the people, and their mean."""
    drawn = False
    for y, name in enumerate(names):
        found = [result.counts(r, result.among(name, kept=True)) for r in result.people]
        shares = [hits / n for hits, n in found if n]
        if shares:
            label = None if drawn else f"people ({len(result.people)}): from worst to best, and the mean"
            axis.barh(y, max(shares) - min(shares), left=min(shares), height=0.7, color=figures.GRID, label=label)
            mean = sum(shares) / len(shares)
            axis.plot([mean, mean], [y - 0.35, y + 0.35], color=figures.FAINT, linewidth=1.2)
            drawn = True


@part(files_of(FORMAT))
def human_comparison_part(path, record):
    """Networks and people on the same images."""
    result, record = HumanComparisonResult.load(path), record or {}
    height = 1.4 + 0.32 * len(result.sets)
    alt = "Accuracy of each network on each set, without control and hardest conditions; people as a band."
    sections = [
        Section("Accuracy",
                [drawing(lambda axis: plot_human_comparison(result, axis), 6.8, height, alt, narrow=height + 0.8)],
                "Images named rightly among the sixteen categories, without the control condition and the hardest ones;"
                " lines are intervals.", key="accuracy"),
        _everyone(result),
    ]  # fmt: skip
    kappas = _with_people(result)
    if any(kappas.values()):
        alt = "Error consistency of each network with people, set by set."
        sections.append(
            Section("Errors on the same images as people",
                    [drawing(lambda axis: plot_human_comparison(result, axis, kind="consistency"), 6.8, height, alt,
                             narrow=height + 0.8)],
                    "Cohen's kappa within each condition, the mean over conditions and people. 0: the errors of both"
                    " meet as often as chance has it; 1: both err on the same images. Intervals: images and people"
                    " redrawn.",
                    key="consistency")
        )  # fmt: skip
    if len(result.networks) > 1:
        sections.append(_between(result))
    means = [(r, value) for r in result.networks if (value := result.ood_mean(r)) is not None]
    large = [(percent(value, 1), f"ood_mean of {result.makers[r]}") for r, value in means[:3]]
    asked = [("Networks", listed([result.makers[r] for r in result.networks]) if result.networks else "none"),
             ("People", f"{len(result.people)}"), ("Sets", listed(result.sets, 17)),
             ("Images", f"{len(result.names):,}")]  # fmt: skip
    cautions = [f"{one['model']} could not be asked: {one['error']}" for one in result.record.get("failures", [])]
    cautions += [f"{note}." for note in result.record.get("notes", [])[:6]]
    about = {**result.record, **{k: record[k] for k in ("seconds", "device", "sessions") if record.get(k)}}
    return Part(
        "Networks and people on the same images", sentences(result), large, asked, sections, cost_rows(about),
        provenance_rows(about), cautions, order=34, subtitle="Networks and people",
    )  # fmt: skip


def _everyone(result):
    """Each that answered on each set, and its ood_mean."""
    columns = [("model", "left", None), ("set", "left", None), ("images", "right", None),
               ("accuracy", "right", "accuracy"), ("OOD accuracy", "right", "ood_mean"),
               ("kappa with people", "right", "error consistency")]  # fmt: skip
    lines = []
    for r, maker in enumerate(result.makers):
        if (value := result.ood_mean(r)) is not None:
            words = f"{percent(value, 1)} ({span(result.ood_interval(r))})"
            lines.append([Cell(maker), Cell("all 17 (ood_mean)"), *(Cell.of(None, "") for _ in range(2)),
                          Cell.of(value, words), Cell.of(None, "")])  # fmt: skip
    for row in result.table():
        value, low, high = (row[f"error consistency{end}"] for end in ("", " low", " high"))
        words = _kappa(value) if low is None else f"{_kappa(value)} ({_kappa(low)} to {_kappa(high)})"
        share = f"{percent(row['accuracy'], 1)} ({span((row['accuracy low'], row['accuracy high']))})"
        lines.append([Cell(row["model"]), Cell(row["set"]), Cell.of(row["images"], f"{row['images']:,}"),
                      Cell.of(row["accuracy"], share), Cell.of(row["OOD accuracy"], percent(row["OOD accuracy"], 1)),
                      Cell.of(value, words)])  # fmt: skip
    return Section("Sets", [Table(columns, lines, search=True)],
                   "Everyone on every set, in brackets the interval. OOD: without control and hardest conditions.",
                   key="sets")  # fmt: skip


def _between(result):
    """Error consistency of every two networks, the mean over sets."""
    some = result.networks[:MOST]
    pairs, lines = [(one, other) for one in some for other in some], []
    mean = mean_of(np.stack([result.pairs(name, pairs, draws=False)[0] for name in result.sets]), 0)
    for one in some:
        values = [
            value if own != one else None for (row, own), value in zip(pairs, mean.tolist(), strict=True) if row == one
        ]
        lines.append([Cell(result.makers[one]), *(Cell.of(value, _kappa(value)) for value in values)])
    columns = [("model", "left", None), *((shorten(result.makers[r], 14), "right", "error consistency") for r in some)]
    return Section("Networks among each other", [Table(columns, lines, search=True)],
                   "Error consistency of every two"
                   f"{f' of the first {MOST}' if len(result.networks) > MOST else ''}, the mean over sets.",
                   key="between")  # fmt: skip
