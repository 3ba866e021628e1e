"""One look for all figures, and how a figure becomes a file."""

import functools
import io
import math
from collections.abc import Sequence
from pathlib import Path

from freqkit.text import called, shorten

# Okabe-Ito: distinct to readers with any common colour blindness.
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, YELLOW, BLACK = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#F0E442",
    "#000000",
)
CYCLE = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, BLACK)
INK, FAINT = "#222222", "#666666"
GRID, RULE = "#E4E4E4", "#B0B0B0"  # lines behind the data, and lines that lead to words or part things
NAMED_LINES = 10  # lines that get a name in a figure
BESIDE = 5.0  # inches from which a figure has room for names beside its lines
SPOTS = ((6, 2, "left"), (6, -8, "left"), (-6, 2, "right"), (-6, -8, "right"), (6, -3, "left"), (-6, -3, "right"),
         (0, 6, "center"), (0, -12, "center"))  # fmt: skip  # where a name may stand beside its point, in points


def new_figure(width, height):
    """An empty figure of `width` x `height` inches that draws with Agg and belongs to no window.

    No text in it is read as mathematics or TeX, whatever the user's settings say: see `literal`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = _literal_figure()(figsize=(width, height), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    return figure


@functools.cache
def _literal_figure():
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    class LiteralFigure(Figure):
        """A figure that shows all text as it is; artists may be added until it is drawn or measured."""

        def draw(self, renderer):
            with rc_context({"text.usetex": False}):  # for labels of ticks, which are made when they are drawn
                literal(self)
                super().draw(renderer)

        def get_tightbbox(self, *args, **kwargs):
            with rc_context({"text.usetex": False}):
                literal(self)
                return super().get_tightbbox(*args, **kwargs)

    return LiteralFigure


def literal(artist):
    """Have all text in an artist (a figure, an axis) drawn as it is: `$\\frac{$` is a name like any other; the artist.

    Characters that are not seen are spelled out (`freqkit.text.called`); lines stay lines. Numbers on an
    axis whose formatter writes them in mathematics of its own (powers of ten) are left to it.
    """
    from matplotlib.axis import Axis
    from matplotlib.text import Text
    from matplotlib.ticker import FixedFormatter, FuncFormatter, NullFormatter

    plain = (FixedFormatter, FuncFormatter, NullFormatter)
    numbers = set()
    for axis in artist.findobj(Axis):
        if not isinstance(axis.get_major_formatter(), plain):
            numbers.update(map(id, axis.get_ticklabels()))
        if not isinstance(axis.get_minor_formatter(), plain):
            numbers.update(map(id, axis.get_ticklabels(minor=True)))
    for text in artist.findobj(Text):
        text.set_usetex(False)
        if id(text) not in numbers:
            text.set_parse_math(False)
            text.set_text(called(text.get_text(), keep="\n"))
    return artist


def save_figure(figure, path, *, dpi=150):
    """Write `figure` as PNG or SVG, by the name's ending, whole or not at all.

    Args:
        figure: a matplotlib Figure.
        path: where the file shall stand, `.png` or `.svg`; its folder must exist.
        dpi: pixels per inch of a PNG.

    Raises:
        ValueError: another ending.
    """
    from freqkit.files.whole import atomic_write

    kind = Path(path).suffix.lower().lstrip(".")
    if kind not in ("png", "svg"):
        raise ValueError(f"save_figure: path must end in .png or .svg; got {str(path)!r}.")
    buffer = io.BytesIO()
    # Without stamps of version and time, and with fixed names inside, the same result gives the same file.
    if kind == "png":
        figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    else:
        import matplotlib

        with matplotlib.rc_context({"svg.hashsalt": "freqkit"}):
            figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    with atomic_write(Path(path)) as file:
        file.write(buffer.getvalue())


def plain_axes(axis, *, grid: str = "y") -> None:
    """Light grid lines behind the data, no frame above and to the right.

    Args:
        grid: "x", "y" or "both": which values have lines.
    """
    axis.tick_params(labelsize=8, color=FAINT, width=0.7)
    axis.grid(axis=grid, color=GRID, linewidth=0.7)
    axis.set_axisbelow(True)
    for side, line in axis.spines.items():
        line.set_visible(side not in ("top", "right"))
        line.set(color=FAINT, linewidth=0.7)


def percents(*axes) -> None:
    """Shares in percent on the ticks of these x or y axes."""
    from matplotlib.ticker import FuncFormatter

    for axis in axes:
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g}%"))


def series(place: int) -> dict:
    """Keywords of the look of the line number `place`: the colours in turn, dashed the second time."""
    return {"color": CYCLE[place % len(CYCLE)], "linestyle": ("-", "--", ":")[place // len(CYCLE) % 3]}


def note(artist, title: str | list = "", href: str | list = ""):
    """What a page shows when an artist is pointed at, and where a click on it leads; the artist.

    Args:
        artist: a line, its marks, a text or (`planes.matrix`) a picture.
        title, href: str, or a list of them, one for each of the line's marks.
    """
    artist.on_page = (title, href)
    return artist


def _alone(axis):
    """Whether an axis has a figure of ours for itself, whose margins are ours as well."""
    return isinstance(axis.figure, _literal_figure()) and axis.figure.axes == [axis]


def legend(axis, handles: list | None = None) -> None:
    """The key of an axis: below it on a figure of ours, else where the axis has room."""
    handles = axis.get_legend_handles_labels()[0] if handles is None else handles
    if not handles:
        return
    if not _alone(axis):
        ours = isinstance(axis.figure, _literal_figure())
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "borderaxespad": 4.2, "ncols": 2}
        axis.legend(handles=handles, fontsize=7.5, frameon=False, **(below if ours else {"loc": "best"}))
        return
    letters = max(len(handle.get_label()) for handle in handles)
    columns = int(72 * axis.figure.get_figwidth() / (4.9 * letters + 38))  # points, of letters and of marks
    axis.figure.legend(
        handles=handles, fontsize=8, frameon=False, loc="outside lower center", ncols=max(1, min(columns, len(handles)))
    )


def name_lines(axis) -> None:
    """Names behind the ends of the lines, moved apart where they would meet, on a figure of ours that has the room;
    else a key. For an axis whose limits are set and whose lines have labels."""
    from matplotlib.offsetbox import AnnotationBbox, TextArea

    to_axes = axis.transData + axis.transAxes.inverted()
    ends = [(to_axes.transform((line.get_xdata()[-1], line.get_ydata()[-1]))[1], line)
            for line in axis.get_legend_handles_labels()[0]]  # fmt: skip
    ends = sorted(((min(max(end, 0), 1), line) for end, line in ends if end == end), key=lambda one: one[0])
    if not _alone(axis) or axis.figure.get_figwidth() < BESIDE:
        legend(axis, [line for _, line in reversed(ends)])
        return
    gap, least = 0.155 / (axis.figure.get_figheight() - 0.65), 0.0
    places = []
    for end, _ in ends:
        places.append(max(end, least))
        least = places[-1] + gap
    most = 1.02
    for place in reversed(range(len(places))):
        places[place] = min(places[place], most)
        most = places[place] - gap
    for (end, line), place in zip(ends, places, strict=True):
        words = TextArea(shorten(line.get_label()), textprops={"fontsize": 8, "color": INK})
        lead = {"arrowstyle": "-", "color": line.get_color(), "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0,
                "relpos": (0, 0.5)}  # fmt: skip
        name = AnnotationBbox(
            words, (1.005, end), (1.03, place), xycoords=axis.transAxes, boxcoords=axis.transAxes, frameon=False,
            box_alignment=(0, 0.5), pad=0.1, arrowprops=lead, annotation_clip=False,
        )  # fmt: skip
        axis.add_artist(name).set_clip_on(False)


def name_points(axis, named: Sequence, *, blocked: Sequence = (), most: int | None = None) -> None:
    """Names beside their points, none where it would hit a point, a name, a place in `blocked` or the frame.

    Args:
        named: (x, y, name) of all points, the most important first; limits of the axis are set.
        blocked: (x, y) that no name may cover.
        most: at most so many names.
    """
    if _alone(axis):  # so that the axis stands where it will be drawn
        axis.figure.get_layout_engine().execute(axis.figure)
        axis.apply_aspect()
    points = axis.figure.dpi / 72
    frame = axis.get_window_extent()
    at = axis.transData.transform([point[:2] for point in (*named, *blocked)]) / points
    taken, count = [(x - 5, y - 5, x + 5, y + 5) for x, y in at], 0
    for (x, y), (*point, name) in zip(at, named, strict=False):
        words = shorten(name)
        wide = 5.2 * len(words)
        for dx, dy, side in SPOTS if words and count != most else ():
            left = x + dx - wide * {"left": 0, "center": 0.5, "right": 1}[side]
            box = (left, y + dy - 2, left + wide, y + dy + 8)
            inside = box[0] > frame.x0 / points and box[2] < frame.x1 / points
            inside = inside and frame.y0 / points < box[1] and box[3] < frame.y1 / points
            if inside and not any(a < box[2] and box[0] < c and b < box[3] and box[1] < d for a, b, c, d in taken):
                taken.append(box)
                count += 1
                axis.annotate(words, point, (dx, dy), textcoords="offset points", ha=side, fontsize=7.5, color=INK)
                break


def log_ticks(axis, low: float, high: float) -> None:
    """Powers of ten from `low` to `high` on the ticks of an x or y axis; some times them where there are few."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [10.0**power for power in powers if low <= 10.0**power <= high]
    if len(ticks) < 3:
        ticks = [times * 10.0**power for power in powers for times in ((1, 2, 5) if high < 50 * low else (1, 3))]
    axis.set_major_locator(FixedLocator([tick for tick in ticks if low <= tick <= high]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1000:g}k" if value >= 1e4 else f"{value:g}"))


def key(label, **line):
    """A line for a legend that stands for no data; `line`: keywords of `matplotlib.lines.Line2D`."""
    from matplotlib.lines import Line2D

    return Line2D([], [], label=label, **line)
