"""One picture of a run, small enough for an e-mail."""

import textwrap
from pathlib import Path

from freqkit.errors import UsageError
from freqkit.report import figures, planes
from freqkit.report.pages import parts_of
from freqkit.report.rates import by_reading, dots, scatter
from freqkit.report.svg import percent
from freqkit.report.words import or_last
from freqkit.text import shorten

MAPS, NAMES, LINES = 8, 14, 19  # maps, classes with a name, and lines of words on the page


def write_summary(path, *, out=None, content=None):
    """Write a one-page PNG of a run: verdict, rates, maps of the strongest classes.

    Args:
        path: a run directory (or a file of `freqkit rates`).
        out: the PNG to write; default `summary.png` in the directory.
        content: what `parts_of(path)` gave, when it was read already.

    Returns:
        Path of the picture, or None when the run holds no rates of classes (class spectra, a training).

    Raises:
        UsageError: there is nothing that freqkit knows.
    """
    path = Path(path)
    parts, _ = content or parts_of(path)
    if not parts:
        raise UsageError(f"{path}: holds no result that a summary could show.")
    if out is None:
        out = path / "summary.png" if path.is_dir() else path.with_name(f"{path.stem}-summary.png")
    parts = sorted(parts, key=lambda part: part.order)
    rated = [part for part in parts if part.found]
    if not rated:
        return None
    masks = next((part.masks for part in rated if part.masks is not None), None)
    figures.save_figure(_draw(parts, rated[0], masks, path.resolve().name), out, dpi=110)
    return Path(out)


def _draw(parts, rated, masks, where):
    order = sorted(range(len(rated.found)), key=lambda i: -or_last(rated.found[i].difference))
    shown = order[:MAPS] if masks is not None else []
    columns = min(4, len(shown)) or 4
    rows = -(-len(shown) // columns)
    text = _text(parts[0])
    words = 0.75 + 0.165 * (1 + text.count("\n"))  # inches
    figure = figures.new_figure(8.6, words + 4.7 + (0.25 + 2.25 * rows if rows else 0))
    heights = [words, 4.3, *([0.25] if rows else []), *[2.25] * rows]
    figure.get_layout_engine().set(w_pad=0.09, h_pad=0.09)
    grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    axis = figure.add_subplot(grid[0])
    axis.set_axis_off()
    for inches, line, look in (
        (0, parts[0].title, {"fontsize": 14 * min(1, 62 / len(parts[0].title)), "fontweight": "bold"}),
        (0.32, f"freqkit, run {where}", {"fontsize": 8.5, "color": figures.FAINT}),
        (0.6, text, {"fontsize": 8.6, "linespacing": 1.35}),
    ):
        axis.text(0, 1 - inches / words, line, va="top", transform=axis.transAxes, **look)
    middle = grid[1].subgridspec(1, 2, width_ratios=[1, 1.1])
    scatter(figure.add_subplot(middle[0]), by_reading(rated.found))
    if len(parts) > 1:
        figure.axes[-1].set_title(rated.subtitle or rated.title, fontsize=9, loc="left")
    _bars(figure.add_subplot(middle[1]), [rated.found[i] for i in order[:NAMES]], len(order))
    if rows:
        axis = figure.add_subplot(grid[2])
        axis.set_axis_off()
        axis.text(0, 0, maps_line(len(shown), len(order)), va="bottom", transform=axis.transAxes, fontsize=9)
    for row in range(rows):
        line = grid[3 + row].subgridspec(1, columns)
        for column, i in enumerate(shown[row * columns : (row + 1) * columns]):
            axis = figure.add_subplot(line[column])
            one = rated.found[i]
            planes.draw_plane(axis, masks[i].numpy(), planes.colours(False), (0, 1))
            axis.plot(0, 0, marker="+", color=figures.VERMILION, markersize=5)
            axis.set_title(f"{shorten(one.name)}\nkeeps {percent(one.kept, 1)}", fontsize=8, loc="left")
            if row == rows - 1:
                axis.set_xlabel("cycles/image", fontsize=7.5, color=figures.FAINT)
            if column == 0:
                axis.set_ylabel("cycles/image", fontsize=7.5, color=figures.FAINT)
    return figure


def maps_line(shown, total):
    """What the maps on the picture are.

    Example:
        >>> maps_line(8, 10)
        'Frequencies that are kept (blue): the 8 of 10 classes of largest TPR − FPR'
    """
    which = f"the {shown} of {total} classes of largest TPR − FPR" if shown < total else "all classes, by TPR − FPR"
    return f"Frequencies that are kept (blue): {which}"


def _text(part):
    """Verdict and cautions; a long verdict is cut, what the reader must know is not."""
    lines, cautions = (
        [line for sentence in map(_spaced, sentences) for line in (*textwrap.wrap(sentence, 132), "")]
        for sentences in (part.verdict, [f"Caution: {text}" for text in part.cautions])
    )
    return "\n".join(lines[: max(LINES - len(cautions), 3)] + cautions).rstrip()


def _spaced(sentence):
    """A sentence whose words all fit into a line."""
    return " ".join(shorten(word, 60) for word in sentence.split(" "))


def _bars(axis, ones, total):
    """TPR and FPR with intervals of the strongest classes."""
    lines = [
        ("TPR", figures.BLUE, [one.tpr for one in ones], [one.tpr_interval for one in ones]),
        ("FPR", figures.VERMILION, [one.fpr for one in ones], [one.fpr_interval for one in ones]),
    ]
    dots(axis, [shorten(one.name, 16) for one in ones], lines)
    words = "through the class's own map; lines: 95% intervals"
    more = f"\n{len(ones)} of {total} classes, by TPR − FPR" if total > len(ones) else ""
    axis.set_xlabel(words + more, fontsize=8)
    axis.legend(fontsize=7, frameon=False, loc="lower right", ncols=2, bbox_to_anchor=(1, 1))
