"""What is shown of the frequencies that carry answers: printed, drawn, and on a page."""

import math

import torch

from freqkit.errors import UsageError
from freqkit.measures.attribute.result import FORMAT, KINDS, AttributeResult
from freqkit.measures.printed import Printed
from freqkit.report import figures
from freqkit.report.blocks import Cell, Pairs, Part, Section, Table
from freqkit.report.examples import brighten
from freqkit.report.inline import drawing
from freqkit.report.pages import files_of, part
from freqkit.report.planes import colours, draw_plane, on_axis
from freqkit.report.provenance import cost_rows, model_rows, provenance_rows
from freqkit.report.sections import gallery
from freqkit.report.svg import percent, photo_uri
from freqkit.report.words import weights_cautions
from freqkit.text import shorten

LISTED = 300  # images in the table of the page


def printed(result: AttributeResult) -> Printed:
    """What `freqkit attribute` prints: of each answer the images, and the shares of frequencies that they need."""
    level, lines = percent(result.definition["quantile"]), []
    for place in [None, *range(len(result.classes))]:
        some = torch.ones_like(result.answers, dtype=torch.bool) if place is None else result.answers == place
        (keep, remove), _ = result.needed(of=place)
        areas = [float(result.areas[name][some].mean()) for name in ("insertion", "deletion")]
        lines.append(["all" if place is None else result.classes[place], int(some.sum()), keep, remove, *areas])
    found, limits = result.needed()
    facts = [
        {"image": row["image"], "answer": row["answer"], "keeps": row["keeps"], "removes": row["removes"]}
        for row in result.table()
    ]
    return Printed(
        {
            "needed": dict(zip(KINDS, found, strict=True)), "intervals": dict(zip(KINDS, limits, strict=True)),
            "images": facts, "areas": {name: float(area.mean()) for name, area in result.areas.items()},
            "definition": result.definition, "forwards": result.record["forwards"],
            "backwards": result.record["backwards"],
        },
        [("answer", "text"), ("images", "count"), ("keeps", "%"), ("removes", "%"), ("insertion", "0%"),
         ("deletion", "0%")],
        lines[1:],
        f"Frequencies that carry the answers to {len(result.names)} images",
        f"keeps, removes: share of the frequencies with which {level} of the images keep, or lose, their answer; "
        "insertion, deletion: mean areas below the curves",
        last=lines[0],
        verdict=" ".join(_sentences(result)),
    )  # fmt: skip


def _sentences(result):
    """What was found, in words."""
    (keep, remove), limits = result.needed()
    n, level = len(result.names), percent(result.definition["quantile"])
    share, free = result.share, int((result.keeps.flatten(1).sum(1) == 0).sum())
    if n == 1:
        said = [f"With {_few(float(share[0, 0]))} of the frequencies alone the answer, {result.classes[0]}, stays."]
        if int(result.removable[0]):
            said.append(f"Without {_few(float(share[0, 1]))} of them it is another.")
    else:
        middle = float(share[:, 0].quantile(0.5))
        said = [f"With {_few(keep)} of the frequencies, chosen for each image, {level} of {n:,} images keep their"
                f" answer{_limits(limits[0])}; half of them with {_few(middle)}."]  # fmt: skip
        if remove is not None:
            said.append(f"Without {_few(remove)}, {level} of them lose it{_limits(limits[1])}.")
    if free:
        said.append(f"The mean colour alone already gets the answer to {free} of {n} images.")
    stay = n - int(result.removable.sum())
    if stay:
        said.append(f"For {stay} of {n} images no set was found without which the answer is another.")
    return said


def _short(result, place):
    """The last part of an image's name."""
    return shorten(result.names[place].rpartition("/")[2] or result.names[place], 14)


def _few(share):
    """A share in percent, of small ones two digits; "none"."""
    return "none" if share == 0 else percent(share, max(0, min(3, 1 - math.floor(math.log10(100 * share)))))


def _limits(limits):
    low, high = limits
    return "" if low is None else f" (95% interval {_few(low)}–{_few(high)})"


def plot_attribute(result, ax=None, *, of=None, title=None):
    """How many images keep and lose their answer by how many frequencies; or everything of one image.

    Args:
        result: a `freqkit.measures.AttributeResult`.
        ax: a matplotlib axis; None: a figure of its own.
        of: an image, by its place or name: its curves (with `ax`), or its picture, contributions, sets and curves.
            None: all images.
        title: a line above.

    Returns:
        A matplotlib Figure, or `ax`.
    """
    place = _place(result, of)
    if ax is not None:
        _shares(ax, result) if place is None else _curves(ax, result, [place])
        if title:
            ax.set_title(title, fontsize=9.5, loc="left")
        return figures.literal(ax)
    if place is None and len(result.names) == 1:
        place = 0
    if place is not None:
        return _one(result, place, title)
    figure = figures.new_figure(8.4, 3.5)
    left, right = figure.subplots(1, 2)
    _shares(left, result)
    _curves(right, result, range(len(result.names)))
    figure.suptitle(title or "Frequencies that carry the answers", fontsize=9.5)
    return figures.literal(figure)


def _place(result, of):
    if of is None:
        return None
    if isinstance(of, str) and of in result.names:
        return result.names.index(of)
    if isinstance(of, bool) or not isinstance(of, int) or not 0 <= of < len(result.names):
        most = len(result.names) - 1
        raise UsageError(f"plot_attribute: of must be the name of an image, or a number in 0...{most}; got {of!r}.")
    return of


def _shares(axis, result):
    """The share of the images over the share of frequencies, and the same of the first by attribution alone."""
    least = 1 / result.keeps[0].numel()
    shares = torch.logspace(math.log10(least), 0, 80, dtype=torch.float64).clamp_max(1)
    keep, remove, limits = result.kept_by(shares)
    for place, (values, name) in enumerate(((keep, "kept by these alone"), (remove, "lost without these"))):
        look = figures.series(place)
        axis.fill_between(shares, *limits[place].T.numpy(), color=look["color"], alpha=0.12, linewidth=0)
        line = axis.plot(shares, values, linewidth=1.6, label=name, **look)[0]
        figures.note(line, f"answer {name}")
        alone = (result.ranked[:, place].nan_to_num(math.inf)[None] <= shares[:, None]).double().mean(1)
        axis.plot(shares, alone, linewidth=1, label=f"{name}, by attribution", color=look["color"], linestyle=":")
    axis.set_xscale("log")
    axis.set_xlim(least, 1)
    axis.set_ylim(0, 1.02)
    _log_percents(axis, least)
    figures.percents(axis.yaxis)
    axis.set_xlabel("frequencies (share of the plane)", fontsize=8.5)
    axis.set_ylabel("images", fontsize=8.5)
    figures.plain_axes(axis)
    figures.legend(axis)


def _log_percents(axis, least):
    ticks = [tick for tick in (1e-5, 1e-4, 1e-3, 0.01, 0.1, 1) if tick >= least]
    axis.set_xticks(ticks, [f"{100 * tick:g}%" for tick in ticks])
    axis.set_xticks([], minor=True)


def _curves(axis, result, places):
    """The answer's probability as frequencies are inserted and deleted, by number and by power; of several images the
    mean."""
    places = list(places)
    count = result.numbers.double() / result.numbers[-1]
    for place, name in enumerate(("insertion", "deletion")):
        y = getattr(result, name)[places].mean(0)
        look = figures.series(place)
        line = axis.plot(count, y, linewidth=1.6, marker="o", markersize=3, label=name, **look)[0]
        figures.note(line, [f"{name}: {percent(float(x), 2)} of the pairs, {percent(float(p))}" for x, p in
                            zip(count, y, strict=True)])  # fmt: skip
        power = getattr(result, f"{name}_power")[places].mean(0)
        axis.plot(power, y, linewidth=1, linestyle=":", label=f"{name}, by power", color=look["color"])
    least = 1 / int(result.numbers[-1])
    axis.set_xscale("symlog", linthresh=least)
    axis.set_xlim(0, 1)
    axis.set_ylim(0, 1.02)
    ticks = [0, *(tick for tick in (1e-4, 1e-3, 0.01, 0.1, 1) if tick > 1.5 * least)]
    axis.set_xticks(ticks, [f"{100 * tick:g}%" for tick in ticks])
    axis.set_xticks([], minor=True)
    figures.percents(axis.yaxis)
    axis.set_xlabel("frequencies, or power (share)", fontsize=8.5)
    axis.set_ylabel("probability of the answer", fontsize=8.5)
    figures.plain_axes(axis)
    figures.legend(axis)


def _one(result, place, title):
    """Picture, what is left of it, what each frequency contributes, and the curves."""
    pictures = place < len(result.pictures)
    figure = figures.new_figure(11.4 if pictures else 8.2, 3.3)
    axes = list(figure.subplots(1, 5 if pictures else 3, width_ratios=[1, 1, 1, 1.5, 1.6][0 if pictures else 2 :]))
    if pictures:
        views = [("picture", result.pictures[place] / 255.0, 1.0)]
        views.append((f"{_few(float(result.share[place, 0]))} kept", *brighten(result.kept[place])))
        for axis, (name, view, gain) in zip(axes[:2], views, strict=True):
            axis.imshow(torch.as_tensor(view).permute(1, 2, 0).clamp(0, 1).numpy())
            axis.set(xticks=[], yticks=[])
            axis.set_title(name + (f" ×{gain:.1f}" if gain > 1.05 else ""), fontsize=8.5, loc="left")
    draw_plane(axes[-3], result.keeps[place].numpy(), colours(False), (0, 1))
    axes[-3].set_title("kept (cycles/image)", fontsize=8.5, loc="left")
    reach = float(result.attribution[place].abs().max()) or 1.0
    on_axis(axes[-2], result.attribution[place], "contributions", limits=(-reach, reach), label="log-odds", signed=True)
    _curves(axes[-1], result, [place])
    figure.suptitle(title or f"{shorten(result.names[place], 40)}: {result.classes[int(result.answers[place])]}",
                    fontsize=9.5)  # fmt: skip
    return figures.literal(figure)


@part(files_of(FORMAT))
def attribute_part(path, record):
    """Which frequencies carry the answer to each image."""
    result = AttributeResult.load(path)
    about = result.record if record is None else {**result.record, **record}
    (keep, remove), _ = result.needed()
    level, many = percent(result.definition["quantile"]), len(result.pictures)
    large = [(_few(keep), f"of the frequencies keep {level} of the answers")]
    if remove is not None:
        large.append((_few(remove), f"remove {level} of them"))
    lines = [
        [Cell(shorten(row["image"], 40)), Cell(row["answer"]), Cell.of(row["probability"], percent(row["probability"])),
         *(Cell.of(row[name], "none found" if row[name] is None else _few(row[name])) for name in ("keeps", "removes")),
         *(Cell.of(row[name], percent(row[name])) for name in result.COLUMNS[5:])]
        for row in result.table()[:LISTED]
    ]  # fmt: skip
    more = len(result.names) - LISTED
    rest = f" The first {LISTED} images; the table beside the file has all {len(result.names):,}." if more > 0 else ""
    kinds = [("image", "left", "attribute"), ("answer", "left", "answer"), ("probability", "right", "attribute"),
             *((name, "right", name) for name in result.COLUMNS[3:])]  # fmt: skip
    size = tuple(result.keeps.shape[1:])
    maps = [_entry(result, i) for i in range(many)]
    sets = [
        (_short(result, i), f"{_few(float(result.share[i, 0]))} kept",
         f"Frequencies that keep the answer to {result.names[i]}.", result.keeps[i].numpy())
        for i in range(many)
    ]  # fmt: skip
    everything = range(len(result.names))
    where = "" if many == len(result.names) else f" The first {many} of {len(result.names)} images."
    sections = [
        Section("Curves", [drawing(lambda axis: _curves(axis, result, everything), 7.2, 3.4,
                                   "Probability of the answer as frequencies are inserted and deleted.", narrow=3.4)],
                "Mean over the images. Insertion begins with nothing but the mean colour, deletion with the whole"
                " image; the frequencies of the smallest set come first. Dotted: over the share of the image's power.",
                key="attribute-curves"),
        Section("Images", [Table(kinds, lines, search=True)],
                "Keeps: the share of the frequencies in the smallest set found that alone keeps the answer; removes:"
                " in the smallest found without which it is another. Insertion and deletion: the area below the"
                " curve, the mean probability." + rest, key="attribute-images"),
    ]  # fmt: skip
    if many:
        sections[:0] = [
            Section("What is left", [Pairs([_views(result, i) for i in range(many)])],
                    "Each image, and what the smallest set leaves of it, at which the answer is the same; and each "
                    "image without the smallest set that removes it. ×n: the contrast is raised n times for the eye."
                    + where,
                    key="attribute-left"),
            Section("Frequencies that keep the answer", [gallery(sets, size, "attribute-kept")],
                    "DC is in the middle." + where, key="attribute-kept"),
            Section("Contributions", [gallery(maps, size, "attribution", signed=True)],
                    "What each frequency contributes to the log-odds of the answer, integrated from the empty to the"
                    " full spectrum: blue for, orange against; each image from its own largest." + where,
                    key="attribution"),
        ]  # fmt: skip
    hero = drawing(lambda axis: _shares(axis, result), 7.2, 3.6, " ".join(_sentences(result)), narrow=3.4)
    zero = "normalised tensor" if result.definition["domain"] == "normalised" else "pixels"
    return Part(
        "Which frequencies carry the answers", _sentences(result), large,
        [*model_rows(about), ("Removed means", f"0 in the {zero}")],
        sections, cost_rows(about), provenance_rows(about), weights_cautions(about), hero=[hero],
        hero_how="Share of the images whose answer is kept by no more than a share of the frequencies alone, and lost "
        "without no more than that; bands: 95% intervals; dotted: the first frequencies by contribution alone.",
        order=36, subtitle="Attribution",
    )  # fmt: skip


def _entry(result, place):
    values = result.attribution[place]
    reach = float(values.abs().max()) or 1.0
    alt = f"Contribution of every frequency to the answer to {result.names[place]}."
    return _short(result, place), result.classes[int(result.answers[place])], alt, (values / reach).numpy()


def _views(result, place):
    """A row of `Pairs`: the image and what is left of it, with and without."""
    answer = result.classes[int(result.answers[place])]
    before, found = photo_uri(result.pictures[place].double() / 255), []
    share, gone = result.share[place].tolist()
    views = [(result.kept[place], f"{_few(share)} kept", True)]
    if int(result.removable[place]):
        views.append((result.without[place], f"{_few(gone)} removed", False))
    for view, words, right in views:
        after, gain = brighten(view)
        found.append({
            "before": before, "after": photo_uri(after), "said_before": answer,
            "said_after": words + (f" ×{gain:.1f}" if gain > 1.05 else ""), "right_before": True, "right_after": right,
        })  # fmt: skip
    return _short(result, place), found
