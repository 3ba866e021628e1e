"""One look for all figures, and how a figure becomes a file."""

import functools
import io
from pathlib import Path

from freqkit.text import printable

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

    Characters that are not seen are spelled out (`freqkit.text.printable`); lines stay lines. Numbers on an
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
            text.set_text(printable(text.get_text(), keep="\n"))
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


def plain_axes(axis, *, x_grid=False):
    """Light grid lines behind the data, no frame above and to the right."""
    axis.tick_params(labelsize=8)
    axis.grid(axis="both" if x_grid else "y", color="#E4E4E4", linewidth=0.7)
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def log_counts(axis):
    """A logarithmic x axis whose ticks, 1, 2 and 5 of each power of ten, are whole numbers in full."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axis.xaxis.set_minor_formatter(NullFormatter())


def key(label, **line):
    """A line for a legend that stands for no data; `line`: keywords of `matplotlib.lines.Line2D`."""
    from matplotlib.lines import Line2D

    return Line2D([], [], label=label, **line)
