"""One look for all figures, and how a figure becomes a file."""

import io
from pathlib import Path

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
    """An empty figure of `width` x `height` inches that draws with Agg and belongs to no window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure, path, *, dpi=150):
    """Write `figure` as PNG or SVG, by the name's ending, whole or not at all.

    Args:
        figure: a matplotlib Figure.
        path: where the file shall stand, `.png` or `.svg`; its folder must exist.
        dpi: pixels per inch of a PNG.

    Raises:
        ValueError: another ending.
    """
    from freqkit.results.files import atomic_write

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


def shorten(name, limit=22):
    """`name`, cut in the middle when it is longer than `limit` characters."""
    name = str(name)
    if len(name) <= limit:
        return name
    half = (limit - 1) // 2
    return f"{name[: limit - 1 - half]}…{name[-half:]}"


def plain_axes(axis, *, x_grid=False):
    """Light grid lines behind the data, no frame above and to the right."""
    axis.tick_params(labelsize=8)
    axis.grid(axis="both" if x_grid else "y", color="#E4E4E4", linewidth=0.7)
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
