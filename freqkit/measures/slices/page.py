"""What is shown of groups of images by their spectra: printed, drawn, and on a page."""

import math

import torch

from freqkit.measures.printed import Printed
from freqkit.measures.slices.result import FILTERS, FORMAT, SlicesResult
from freqkit.report import figures
from freqkit.report.blocks import Cell, Part, Section, Table
from freqkit.report.inline import drawing
from freqkit.report.pages import files_of, part
from freqkit.report.provenance import cost_rows, model_rows, provenance_rows
from freqkit.report.svg import escape, percent, photo_uri, signed
from freqkit.report.words import clean_cautions, clean_rows, p_words, span, weights_cautions

SURE = 0.05
BESIDE = 8  # slices that have columns of their own


def printed(result: SlicesResult) -> Printed:
    """What `freqkit slices` prints: of each slice its error beside what is expected."""
    found, wrong = result.errors(), result.wrong
    lines = [
        [name, int(result.counts[s]), float(result.frequency[s]), float(found["error"][s]),
         float(found["expected"][s]), float(found["difference"][s]), float(found["p"][s])]
        for s, name in enumerate(result.slices)
    ]  # fmt: skip
    drift, limits = result.drift()
    overall = float(wrong.double().mean())
    return Printed(
        {
            "slices": result.table(), "edges": result.edges.tolist(),
            "drift": [{"filter": kind, "from": low, "to": high if math.isfinite(high) else None, "cosine": mean,
                       "interval": interval}
                      for kind, (low, high), mean, interval in
                      zip(result.filters, result.limits.tolist(), drift, limits, strict=True)],
            "definition": result.definition, "forwards": result.record["forwards"],
        },
        [("slice", "text"), ("images", "count"), ("mean frequency", "number"), ("error", "%"), ("expected", "%"),
         ("difference", "%"), ("p", "p")],
        lines,
        f"{len(wrong)} images in groups of like spectra: which fail",
        "mean frequency: cycles/image; expected: by the slice's classes alone; difference: to all other images; p: "
        "Fisher's exact test, by Holm's rule",
        last=["all", len(wrong), _mean_frequency(result), overall, overall, None, None],
        verdict=" ".join(_sentences(result)),
    )  # fmt: skip


def _mean_frequency(result):
    return float((result.frequency * result.counts).nansum() / result.counts.sum())


def _sentences(result):
    found, overall = result.errors(), float(result.wrong.double().mean())
    sure = [s for s in range(len(result.slices)) if float(found["p"][s]) < SURE]
    said = [f"{percent(overall, 1)} of the images are called wrong."]
    if sure:
        parts = [
            f"{result.slices[s]} ({int(result.counts[s])} images, mean frequency {float(result.frequency[s]):.1f}"
            f" cycles/image): {percent(float(found['error'][s]))} ({span(found['interval'][s].tolist())}), by its"
            f" classes {percent(float(found['expected'][s]))}"
            for s in sorted(sure, key=lambda s: -float(found["difference"][s]))
        ]
        said.append(f"Surely unlike the others (p below {SURE:g}): {'; '.join(parts)}.")
    else:
        said.append(f"No slice's error is surely unlike that of the others (p below {SURE:g}).")
    means, limits = result.drift()
    for kind, word in (("low", "last"), ("high", "first")):
        at = [k for k, one in enumerate(result.filters) if one == kind and means[k] is not None]
        if at:
            k = at[0] if word == "first" else at[len(at) // 2]
            said.append(f"{kind.capitalize()}-pass ({result.names[k].split(', ')[1]} cycles/image) leaves features at"
                        f" a cosine of {means[k]:.2f} ({limits[k][0]:.2f}–{limits[k][1]:.2f}).")  # fmt: skip
    return said


def plot_slices(result, ax=None, *, of=None, title=None):
    """The error of every slice with its interval, profiles, and the drift of features.

    Args:
        result: a `freqkit.measures.SlicesResult`.
        ax: a matplotlib axis; None: a figure of its own.
        of: with `ax`, "errors" (None), "profiles" or "drift".
        title: a line above.

    Returns:
        A matplotlib Figure, or `ax`.
    """
    from freqkit.errors import UsageError

    kinds = {"errors": _errors, "profiles": _profiles, "drift": _drift}
    if ax is not None:
        if (of or "errors") not in kinds:
            raise UsageError(f"plot_slices: of must be one of {', '.join(kinds)}; got {of!r}.")
        kinds[of or "errors"](ax, result)
        if title:
            ax.set_title(title, fontsize=9.5, loc="left")
        return figures.literal(ax)
    shown = list(kinds) if result.filters else ["errors", "profiles"]
    figure = figures.new_figure(4.2 * len(shown), 3.7)
    for axis, name in zip(figure.subplots(1, len(shown)), shown, strict=True):
        kinds[name](axis, result)
    figure.suptitle(title or "Images by their spectra", fontsize=9.5)
    return figures.literal(figure)


def _errors(axis, result):
    found, overall = result.errors(), float(result.wrong.double().mean())
    at = range(len(result.slices))
    low, high = found["interval"].T.numpy()
    look = figures.series(0)
    axis.axvline(overall, color=figures.RULE, linewidth=1, label=f"all images: {percent(overall, 1)}")
    axis.hlines(at, low, high, color=look["color"], linewidth=1.4)
    marks = axis.plot(found["error"], at, marker="o", markersize=5, linestyle="", color=look["color"], label="error")[0]
    figures.note(marks, [f"{result.slices[s]}: {percent(float(found['error'][s]), 1)} of {int(result.counts[s])}"
                         for s in at])  # fmt: skip
    axis.plot(found["expected"], at, marker="|", markersize=9, linestyle="", label="by its classes",
              color=figures.series(1)["color"])  # fmt: skip
    axis.set_yticks(list(at), [f"{name} ({int(n)})" for name, n in zip(result.slices, result.counts, strict=True)])
    axis.set_ylim(len(result.slices) - 0.5, -0.5)
    axis.set_xlim(0, min(1, 1.1 * max(0.05, float(found["interval"].nan_to_num(0).max()))))
    figures.percents(axis.xaxis)
    axis.set_xlabel("called wrong (share of the images)", fontsize=8.5)
    axis.set_ylabel("slice (images)", fontsize=8.5)
    figures.plain_axes(axis, grid="x")
    figures.legend(axis)


def _profiles(axis, result):
    """Mean log power of each slice beside the mean of all images."""
    middle = _middles(result)
    mean = result.energies.mean(0)
    for s, name in enumerate(result.slices):
        some = result.energies[result.slice_of == s]
        if len(some):
            (line,) = axis.plot(middle, 10 * (some.mean(0) - mean), marker="o", markersize=3, linewidth=1.4,
                                label=name, **figures.series(s))  # fmt: skip
            figures.note(line, f"slice {name}")
    axis.axhline(0, color=figures.RULE, linewidth=0.8)
    axis.set_xscale("log", base=2)
    axis.set_xticks(middle, [f"{one:.2g}" for one in middle])
    axis.set_xticks([], minor=True)
    axis.set_xlabel("middle of the band (cycles/image)", fontsize=8.5)
    axis.set_ylabel("power (dB)", fontsize=8.5)
    figures.plain_axes(axis)
    figures.legend(axis)


def _middles(result):
    low = torch.cat([torch.ones(1, dtype=torch.float64), result.edges[1:-1]])
    return (low * result.edges[1:]).sqrt().tolist()


def _drift(axis, result):
    means, limits = result.drift()
    for place, kind in enumerate(kind for kind in FILTERS if kind in result.filters):
        at = [k for k, one in enumerate(result.filters) if one == kind and means[k] is not None]
        x = [_x(kind, result.limits[k].tolist()) for k in at]
        look = figures.series(place)
        axis.fill_between(x, [limits[k][0] for k in at], [limits[k][1] for k in at], color=look["color"], alpha=0.15,
                          linewidth=0)  # fmt: skip
        line = axis.plot(x, [means[k] for k in at], marker="o", markersize=3.5, linewidth=1.4, label=f"{kind}-pass",
                         **look)[0]  # fmt: skip
        figures.note(line, [f"{result.names[k]} cycles/image: {means[k]:.3f}" for k in at])
    axis.set_ylim(min(0, *[low for low, _ in limits if low is not None], 0), 1.02)
    axis.set_xlabel("cut-off (cycles/image); of a band its middle", fontsize=8.5)
    axis.set_ylabel("cosine to the whole image's features", fontsize=8.5)
    figures.plain_axes(axis)
    figures.legend(axis)


def _x(kind, limits):
    low, high = limits
    return {"low": high, "high": low, "band": (low + high) / 2}[kind]


@part(files_of(FORMAT))
def slices_part(path, record):
    """Which images fail, by their spectrum."""
    result = SlicesResult.load(path)
    about = result.record if record is None else {**result.record, **record}
    found, clean = result.errors(), result.clean
    lines = [
        [Cell(name), Cell.of(int(result.counts[s]), f"{int(result.counts[s]):,}"),
         Cell.of(float(result.frequency[s]), f"{float(result.frequency[s]):.1f}"),
         _share(found["error"][s], found["interval"][s]), Cell.of(float(found["expected"][s]),
                                                                  percent(float(found["expected"][s]), 1)),
         Cell.of(float(found["difference"][s]), _difference(found, s)),
         Cell.of(float(found["p"][s]), p_words(float(found["p"][s]))), Cell(_mostly(result, s)),
         Cell("", svg=_photos(result, s))]
        for s, name in enumerate(result.slices)
    ]  # fmt: skip
    columns = [("slice", "left", "slice"), ("images", "right", None), ("mean frequency", "right", "mean frequency"),
               ("error, 95% interval", "right", "slices"), ("expected", "right", "expected"),
               ("difference, 95% interval", "right", "error difference"), ("p", "right", "slices"),
               ("mostly", "left", "slices"), ("nearest to its middle", "left", "slices")]  # fmt: skip
    sections = [
        Section("Slices", [Table(columns, lines)],
                "Groups of images with like band energies, found without the network. Mean frequency: cycles/image, by"
                " power. Expected: the error that the slice's classes alone would give. Difference: to all others;"
                " p: Fisher's exact test of that, by Holm's rule for all slices.", key="slices"),
        Section("Profiles", [drawing(lambda axis: _profiles(axis, result), 7.2, 3.5, "Band power of each slice.",
                                     narrow=3.5)],
                "Mean power of each band in the slices, over that of all images, in decibels.", key="profiles"),
    ]  # fmt: skip
    if result.filters:
        sections += _drift_sections(result)
    alt = " ".join(_sentences(result))
    worst = int(found["error"].nan_to_num(-1).argmax())
    return Part(
        "Which images fail, by their spectrum", _sentences(result),
        [(percent(float(result.wrong.double().mean()), 1), "called wrong, all images"),
         (percent(float(found["error"][worst]), 1), f"called wrong in slice {result.slices[worst]}")],
        [*model_rows(about), *clean_rows(clean), ("Grouped by", result.definition.get("profile", "–")),
         ("Features", result.definition.get("layer") or "not asked")],
        sections, cost_rows(about), provenance_rows(about), weights_cautions(about) + clean_cautions(clean),
        hero=[drawing(lambda axis: _errors(axis, result), 7.2, 0.9 + 0.34 * len(result.slices), alt)],
        hero_how="Share of each slice's images that are called wrong, with 95% intervals; bars: what its classes alone "
        "would give; the line: all images.", order=38, subtitle="Slices", clean=clean,
    )  # fmt: skip


def _drift_sections(result):
    means, limits = result.drift()
    index, few = result.class_index[result.labels], len(result.slices) <= BESIDE
    lines = [
        [Cell(kind), Cell(result.names[k].split(", ")[1]),
         Cell.of(means[k], "–" if means[k] is None else f"{means[k]:.3f}, {limits[k][0]:.3f} … {limits[k][1]:.3f}"),
         Cell.of(float((result.seen[k] == index).double().mean()),
                 percent(float((result.seen[k] == index).double().mean()), 1)),
         *(Cell.of(value, f"{value:.2f}") for value in _by_slice(result, k) if few)]
        for k, kind in enumerate(result.filters)
    ]  # fmt: skip
    columns = [("filter", "left", "drift"), ("kept, cycles/image", "left", "drift"),
               ("cosine, 95% interval", "right", "cosine"), ("recognised", "right", "drift"),
               *((f"in {name}", "right", "cosine") for name in result.slices if few)]  # fmt: skip
    return [
        Section("Drift of features", [drawing(lambda axis: _drift(axis, result), 7.2, 3.4, "Cosine by cut-off.",
                                              narrow=3.4), Table(columns, lines)],
                f"Cosine between features of the filtered and of the whole image ({result.definition.get('layer')}),"
                " mean over the images; the mean colour stays.", key="drift"),
    ]  # fmt: skip


def _by_slice(result, k):
    return [float(result.cosine[k][result.slice_of == s].nanmean()) for s in range(len(result.slices))]


def _share(value, interval):
    return Cell.of(float(value), f"{percent(float(value), 1)}, {span(interval.tolist())}")


def _difference(found, s):
    low, high = (100 * one for one in found["difference interval"][s].tolist())
    return f"{signed(100 * float(found['difference'][s]), 1)}, {signed(low, 1)} … {signed(high, 1)}"


def _mostly(result, s):
    """The classes of which a slice has most."""
    counts = torch.bincount(result.labels[result.slice_of == s], minlength=len(result.classes))
    top = counts.argsort(descending=True, stable=True)[:3].tolist()
    first = [(result.classes[c].split() or [""])[0][:10] for c in top]  # of a name: the column is narrow
    return ", ".join(f"{name} {int(counts[c])}" for name, c in zip(first, top, strict=True) if int(counts[c]))


def _photos(result, s):
    """Its pictures side by side."""
    side, parts = 48, []
    for place, at in enumerate(result.examples[s].tolist()):
        if at >= 0:
            uri = photo_uri(result.pictures[s, place].double() / 255)
            parts.append(f'<image x="{place * (side + 3)}" width="{side}" height="{side}" href="{uri}"/>')
    wide = len(parts) * (side + 3)
    words = escape(f"Images nearest to the middle of slice {result.slices[s]}.")
    return (f'<svg width="{wide}" height="{side}" viewBox="0 0 {wide} {side}" role="img" aria-label="{words}">'
            f"{''.join(parts)}</svg>")  # fmt: skip
