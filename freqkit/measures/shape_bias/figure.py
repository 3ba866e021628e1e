"""Shape bias as charts."""

import torch

from freqkit.measures.shape_bias import suppressed_of, taken
from freqkit.report import figures
from freqkit.report.svg import percent
from freqkit.statistics import wilson

LOOKS = (("shape", figures.BLUE), ("texture", figures.ORANGE), ("neither", figures.GRID))


def plot_shape_bias(result, ax=None, *, title=None):
    """What the conflicting images of each category's shape are called: shape, texture, neither.

    Args:
        result: a `freqkit.measures.ShapeBiasResult`.
        ax: a matplotlib axis to draw on; None: a new figure.
        title: a line above.

    Returns:
        A matplotlib Figure, or `ax`.
    """
    axis = figures.new_figure(6.4, 5.2).subplots() if ax is None else ax
    images, shape, texture, _ = result.by_category()
    left, names = torch.zeros(len(images), dtype=torch.float64), result.classes
    for (name, colour), count in zip(LOOKS, (shape, texture, images - shape - texture), strict=True):
        share = count.double() / images.clamp_min(1)
        bars = axis.barh(range(len(names)), share.tolist(), left=left.tolist(), color=colour, height=0.72,
                         label=f"called {'neither' if name == 'neither' else f'by {name}'}")  # fmt: skip
        for bar, word, n, of in zip(bars, names, count.tolist(), images.tolist(), strict=True):
            figures.note(bar, f"{word}: {n} of {of} called {name}")
        left += share
    figures.plain_axes(axis, grid="x")
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.set(xlim=(0, 1), ylim=(len(names) - 0.4, -0.6))
    axis.set_xlabel("share of the images of the category's shape, another's texture", fontsize=8.5)
    figures.percents(axis.xaxis)
    figures.legend(axis)
    if ax is not None:
        return figures.literal(axis)
    bias = "undefined" if result.value is None else percent(result.value, 1)
    axis.figure.suptitle(title or f"Called by shape or by texture: shape bias {bias}", fontsize=10)
    return axis.figure


def plot_suppressed(result, axis):
    """Accuracy on ordinary images without their shape, texture or colour, with intervals, on a matplotlib axis."""
    found = suppressed_of(result)
    hits, total = (torch.tensor(column) for column in list(zip(*found, strict=True))[1:])
    low, high = wilson(hits, total, result.confidence).T.tolist()
    share = (hits / total).tolist()
    axis.hlines(range(len(found)), low, high, color=figures.BLUE, linewidth=1.5)
    (marks,) = axis.plot(share, range(len(found)), "o", color=figures.BLUE, markersize=5)
    figures.note(marks, [f"{taken(kind)}: {right} of {n} recognised" for kind, right, n in found])
    axis.axvline(share[0], color=figures.FAINT, linewidth=0.8, linestyle="--")
    figures.plain_axes(axis, grid="x")
    axis.set_yticks(range(len(found)), [kind for kind, *_ in found], fontsize=8)
    axis.set(xlim=(-0.02, 1.02), ylim=(len(found) - 0.5, -0.5))
    axis.set_xlabel("share of the images recognised", fontsize=8.5)
    figures.percents(axis.xaxis)
