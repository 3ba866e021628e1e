"""TPR and FPR as figures: classes against each other, class by class, and for the page beside the verdict."""

from freqkit.report import figures
from freqkit.report.inline import drawing
from freqkit.report.readings import READINGS
from freqkit.report.svg import percent
from freqkit.report.words import known
from freqkit.text import shorten

NAMED = 60  # marks up to which some have names
BARRED = 20  # classes up to which intervals are drawn
LOOKS = {  # of a reading: its mark, colour and whether the mark is full
    "shortcut": ("o", figures.BLUE, True), "default": ("s", figures.VERMILION, False),
    "random": ("P", figures.VERMILION, False), "untested": (".", figures.FAINT, False),
    "weak": ("^", figures.GREEN, False), "unsure": ("D", figures.PURPLE, False), "none": ("x", figures.FAINT, False),
}  # fmt: skip
ALWAYS = "same answer whatever the image: TPR = FPR"


def by_reading(found: list, href: str = "") -> list:
    """Groups for `scatter`, one for each reading that occurs; `href` with {} is where the mark of class i leads."""
    groups = []
    for word, words in READINGS.items():
        own = [(one, one.name, href.format(i)) for i, one in enumerate(found) if one.word == word]
        if own:
            groups.append((f"{words} ({len(own)})", LOOKS[word], own))
    return groups


def scatter(axis, groups: list, *, bars: bool = False) -> None:
    """True against false positive rates, a mark per class.

    Args:
        axis: a matplotlib axis.
        groups: list of (what they are called, (mark, colour, full), list of (`Reading`, title, href)).
        bars: draw the intervals. Names stand where there is room.
    """
    groups = [
        (label, look, [one for one in own if known(one[0].difference) is not None]) for label, look, own in groups
    ]
    points = sorted((one for _, _, own in groups for one, _, _ in own), key=lambda one: -one.difference)
    axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axis.set_box_aspect(1)
    figures.plain_axes(axis, grid="both")
    axis.plot([0, 1], [0, 1], color=figures.FAINT, linewidth=0.9, linestyle="--", zorder=1)

    def hidden(share, half):
        on_words = (abs(one.fpr + one.tpr - 2 * share) < 2 * half + 0.06 for one in points
                    if -0.02 < one.fpr - one.tpr < 0.12)  # fmt: skip
        return sum(on_words), abs(share - 0.5)

    def best(half):
        return min((n / 20 for n in range(20) if half <= n / 20 <= 1 - half), key=lambda share: hidden(share, half))

    words = ALWAYS
    half = 0.38 if len(axis.figure.axes) > 1 else min(1.15 / min(axis.figure.get_size_inches()), 0.45)  # of their way
    if hidden(best(half), half)[0]:
        words, half = "TPR = FPR", half / 4
    share = best(half)
    axis.text(
        share + 0.01, share - 0.01, words, rotation=45, rotation_mode="anchor", ha="center", va="top", fontsize=7.5,
        color=figures.FAINT,
    )  # fmt: skip
    for label, (mark, colour, full), own in groups:
        fpr, tpr = [one.fpr for one, _, _ in own], [one.tpr for one, _, _ in own]
        if bars and own:
            line = {"colors": colour, "linewidth": 0.9, "alpha": 0.45}
            axis.hlines(tpr, *zip(*(one.fpr_interval for one, _, _ in own), strict=True), **line)
            axis.vlines(fpr, *zip(*(one.tpr_interval for one, _, _ in own), strict=True), **line)
        (marks,) = axis.plot(
            fpr, tpr, mark, color=colour, markerfacecolor=colour if full else "white", markersize=5,
            markeredgewidth=1.3, label=label,
        )  # fmt: skip
        titles = [f"{title}: TPR {percent(one.tpr)}, FPR {percent(one.fpr)}" for one, title, _ in own]
        figures.note(marks, titles, [href for *_, href in own])
    axis.set_xlabel("FPR: other classes' images given the class's name", fontsize=8.5)
    axis.set_ylabel("TPR: the class's images recognised", fontsize=8.5)
    figures.percents(axis.xaxis, axis.yaxis)
    figures.legend(axis)
    if len(points) <= NAMED:
        along = [(share + half * i / 10 + 0.03, share + half * i / 10 - 0.03) for i in range(-10, 11)]
        figures.name_points(axis, [(one.fpr, one.tpr, one.name) for one in points], blocked=along, most=16)


def dots(axis, names: list, lines: list) -> None:
    """TPR and FPR class by class, as dots with their intervals on a line from 0 to 1, the first class on top.

    Args:
        axis: a matplotlib axis.
        names: C class names.
        lines: list of (label, colour, C values, C (low, high) or None); without intervals the dots are open.
    """
    for place, (label, colour, values, intervals) in enumerate(lines):
        shift = 0.12 if colour == figures.VERMILION else -0.12
        rows = [row + shift for row in range(len(names))]
        if intervals is not None:
            axis.hlines(rows, *zip(*intervals, strict=True), color=colour, linewidth=1.5)
        face, size = (colour, 4.5) if intervals is not None else ("white", 3.5)
        axis.plot(values, rows, "o", color=colour, markerfacecolor=face, markersize=size, label=label, zorder=3 + place)
    figures.plain_axes(axis, grid="x")
    axis.spines["left"].set_visible(False)
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.set(xlim=(-0.02, 1.02), ylim=(len(names) - 0.5, -0.5))


def beside_random(axis, found: list, random, permuted=None) -> None:
    """TPR - FPR of classes through their maps, among those of random masks; the first class on top.

    Args:
        axis: a matplotlib axis.
        found: list of C `Reading`s. random: float64 [N, C]. permuted: float64 [P, C] of searches with permuted labels.
    """
    rows = range(len(found))
    for draws, shift, mark, colour, label in (
        (random, 0.0, "|", figures.FAINT, f"{len(random)} random masks"),
        (permuted, 0.22, "|", figures.VERMILION, "permuted labels"),
    ):
        if draws is None or not len(draws):
            continue
        x, y = draws.T.flatten().tolist(), [row + shift for row in rows for _ in range(len(draws))]
        axis.plot(x, y, mark, color=colour, markersize=7, markeredgewidth=1.1, label=label, zorder=2)
    axis.hlines(rows, *zip(*(one.difference_interval for one in found), strict=True), color=figures.BLUE, linewidth=1.5)
    (marks,) = axis.plot(
        [one.difference for one in found],
        rows,
        "o",
        color=figures.BLUE,
        markersize=4.5,
        label="the class's map",
        zorder=4,
    )
    figures.note(marks, [f"{one.name}: TPR − FPR {percent(one.difference)}" for one in found], ["" for _ in found])
    highest = float(random.nan_to_num(-1).max())
    axis.axvline(highest, color=figures.FAINT, linewidth=0.9, linestyle="--", zorder=1)
    figures.plain_axes(axis, grid="x")
    axis.spines["left"].set_visible(False)
    axis.set_yticks(rows, [shorten(one.name) for one in found], fontsize=8)
    axis.set(ylim=(len(found) - 0.5, -0.5))
    axis.set_xlabel("TPR − FPR; lines: 95% intervals", fontsize=8.5)
    figures.percents(axis.xaxis)
    figures.legend(axis)


def rates_figure(found: list, *, maps: str = "map") -> dict:
    """The scatter of TPR against FPR, to stand beside the verdict: keywords of `Part`."""
    rated = [one for one in found if known(one.difference) is not None]
    if not rated:
        return {}
    best = max(rated, key=lambda one: one.difference)
    alt = (
        f"TPR against FPR of {len(rated)} classes; the largest difference has {best.name}:"
        f" TPR {percent(best.tpr)}, FPR {percent(best.fpr)}."
    )
    bars = len(rated) <= BARRED
    groups = by_reading(found, f"#{maps}-{{}}" if maps else "")
    how = (
        "One mark per class, seen through its own map. Top left: recognised, and only when it is there. On the dashed"
        " line the model's answer has nothing to do with the image, however high TPR is."
        + (" Lines are 95% intervals." if bars else "")
        + " Point at a mark for its name and rates."
    )
    narrow = 3.25 + 0.15 * len(groups)
    return {"hero": [drawing(lambda axis: scatter(axis, groups, bars=bars), 4.6, 4.9, alt, narrow=narrow)],
            "hero_how": how}  # fmt: skip
