"""Band-stop test: which classes survive when bands of frequencies are removed, and what they are taken for.

Source: Wang, Veldhuis, Brune, Strisciuglio, ICCV 2023 (arXiv 2307.09829). Two of four bands are removed from every
test image, and

    Delta(i, j) = 100 (Pred_bandstop(i, j) - Pred_original(i, j)) / n_i

is the relative confusion matrix: the change, in percent of the n_i images of class i, of how many are called j.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from freqkit.data import Images
from freqkit.engine import Progress, Scorer, accumulators
from freqkit.engine.entrance import enter
from freqkit.engine.stimuli import Filter
from freqkit.errors import UsageError
from freqkit.files.reading import COUNT, in_range
from freqkit.files.whole import RECORD
from freqkit.masks import uncentred
from freqkit.measures.printed import Printed
from freqkit.models import Network
from freqkit.options import Options, Scoring, flat, option
from freqkit.report import figures
from freqkit.report.blocks import Cell, Panels, Part, Section, Table
from freqkit.report.inline import DPI, chart
from freqkit.report.pages import files_of, part
from freqkit.report.planes import colours, index_of, matrix, side_of
from freqkit.report.provenance import cost_rows, model_rows, provenance_rows
from freqkit.report.svg import percent, signed
from freqkit.report.words import clean_cautions, clean_rows, steps_of, weights_cautions
from freqkit.results import rows
from freqkit.results.clean import CleanRates
from freqkit.results.confusion import Confusion
from freqkit.results.result import Result, TensorFile, versions
from freqkit.text import shorten

__all__ = ["BandStopResult", "band_stop"]
FORMAT = "freqkit-band-stop-1"
LETTERS = 14  # of a name beside a matrix
COLUMNS = ("removed", "class", "images", "clean TPR", "TPR", "change", "clean FPR", "FPR")


@dataclass
class BandStopResult(Result):
    """Confusion matrices without a filter and with each choice of bands removed.

    Attributes:
        classes: C names, as the images have them.
        removed: P tuples of band numbers, from 1 (the lowest).
        edges: radii in cycles/image (of the shorter side) where bands 2, 3, ... begin.
        confusion: int64 [P + 1, C, L], counts [true, logit]; the first without a filter.
        class_index: int64 [C], the logit of each class.
        masks: float32 [P, H, W], centred: what was kept.
        definition, record: JSON-ready dicts.
    """

    classes: list
    removed: list
    edges: list
    confusion: torch.Tensor
    class_index: torch.Tensor
    masks: torch.Tensor
    definition: dict = field(default_factory=dict)
    record: dict = field(default_factory=dict)

    FILE = TensorFile(
        FORMAT, "a band-stop file", {"confusion": "int64 all C L", "class_index": "int64 C", "masks": "any P H W"},
        {"classes": [str], "removed": [[COUNT]], "edges": [float], "definition": {"quantity?": str}, "record": RECORD},
        {"C": "classes", "P": "removed"},
    )  # fmt: skip
    COLUMNS = COLUMNS
    FIGURE = "plot_band_stop"
    MAIN = ("lowest", "change")

    @property
    def counts(self):
        """int64 [C], images of each class."""
        return self.confusion[0].sum(1)

    @property
    def relative_confusion(self):
        """float64 [P, C, L], `100 (M_bandstop - M) / n_i`; NaN for a class without images."""
        return Confusion(self.confusion[0]).change(self.confusion[1:])

    @property
    def tpr(self):
        """float64 [P + 1, C], share of each class's images that are recognised; the first without a filter."""
        return self._answers.tpr

    @property
    def fpr(self):
        """float64 [P + 1, C], share of the other images that are taken for the class."""
        return self._answers.fpr

    @property
    def accuracy(self):
        """float64 [P + 1]."""
        return self._answers.accuracy

    @property
    def clean(self):
        """`CleanRates` of the images without a filter."""
        return CleanRates.of_confusion(self.classes, self.confusion[0], self.class_index)

    @property
    def _answers(self):
        return Confusion(self.confusion, self.class_index)

    @property
    def names(self):
        """P strings, as "B1+B2"."""
        return ["+".join(f"B{band}" for band in bands) for bands in self.removed]

    def cells(self):
        """One line for each choice of bands and class: removed, class, images, clean TPR, TPR, change (percent points
        of TPR, the diagonal of the relative confusion matrix), clean FPR, FPR."""
        choices, (tpr, fpr) = len(self.names), (self.tpr, self.fpr)
        whole, left, other = tpr[0].repeat(choices), tpr[1:].flatten(), fpr[0].repeat(choices)
        names = [name for name in self.names for _ in self.classes]
        counts = self.counts.repeat(choices)
        return [names, self.classes * choices, counts, whole, left, 100 * (left - whole), other, fpr[1:].flatten()]

    def rows(self):
        conditions = ["all", *(f"without {name}" for name in self.names)]
        return [
            row
            for condition, counts in zip(conditions, self.confusion, strict=True)
            for row in rows.rates(
                self.classes, Confusion(counts, self.class_index),
                **rows.of_record(self.record, condition=condition, definition=self.definition.get("quantity", "")),
            )
        ]  # fmt: skip

    @classmethod
    def checked(cls, values, path):
        confusion = values["confusion"]
        in_range(confusion, 0, 2**53, path, "confusion")
        in_range(values["class_index"], 0, confusion.shape[2] - 1, path, "class_index")
        images = confusion.sum(2)
        if len(confusion) != len(values["removed"]) + 1 or not (images == images[0]).all():
            raise UsageError(f"{path}: the tensor confusion must count the same images for each choice of bands.")
        return {**values, "removed": [tuple(bands) for bands in values["removed"]]}


@dataclass(frozen=True, kw_only=True)
class Stopping(Options):
    """What `band_stop` is asked."""

    edges: Sequence[float] | None = option(
        None, "rising radii where bands 2, 3, ... begin; None: S/8, S/4, 3S/8 with S the shorter side: four bands, as "
        "those of `freqkit.data.synthetic`", metavar="R,R,...", kind="numbers",
        help="where bands 2, 3, ... begin, cycles/image.  [default: N/8,N/4,3N/8]",
    )  # fmt: skip
    remove: int | Sequence[Sequence[int]] = option(
        2, "how many bands are removed at a time (all choices), or a list of tuples of band numbers from 1",
        kind="whole", help="bands removed at a time",
    )  # fmt: skip
    keep_dc: bool = option(
        True, "the mean of each channel stays, also when the first band goes", switch=("remove-dc", False),
        help="band 1 takes the mean of the image with it",
    )  # fmt: skip


@flat
def band_stop(
    model: Network,
    images: Images,
    own: Stopping,
    scoring: Scoring,
    *,
    progress: Progress | None = None,
) -> BandStopResult:
    """Ask the model about all images without a filter, and with every choice of bands removed.

    Band k holds the bins with edge_{k-1} <= r < edge_k, r the distance from DC in cycles/image (of the shorter side);
    the last reaches to the corner.

    Args:
        model: a `Classifier`. images: those of the test, as `freqkit.data.as_images` takes them.
        progress: a `freqkit.engine.Progress`.

    Returns:
        `BandStopResult`; (P + 1) n forwards are on record.

    Raises:
        UsageError, TypeError, ValueError: an argument does not fit.

    Example:
        >>> from freqkit.data import synthetic
        >>> from freqkit.models import load_model
        >>> result = band_stop(load_model("small_convnet"), synthetic(images_per_class=2), batch_size=8)
        >>> result.names
        ['B1+B2', 'B1+B3', 'B1+B4', 'B2+B3', 'B2+B4', 'B3+B4']
        >>> tuple(result.relative_confusion.shape), float(result.relative_confusion.sum().abs()) < 1e-9
        ((6, 4, 4), True)
    """
    model, images = enter("band_stop", model, images, scoring.class_index)
    size = tuple(images.images.shape[-2:])
    edges = _edges(own.edges, size)
    removed = _choices(own.remove, len(edges) + 1)
    masks = stop_masks(size, edges, removed, keep_dc=own.keep_dc)
    scorer = Scorer(model, images, progress=progress, **vars(scoring))
    everything, counts = torch.cat([torch.ones(1, *size), uncentred(masks)]), accumulators.TakenFor()
    if progress is not None:
        progress.start("band-stop", scorer.forwards(len(everything)))
    try:
        scorer.show(Filter(everything), [counts], progress=progress)
    finally:
        if progress is not None:
            progress.finish()
    definition = {
        "quantity": "relative confusion under band-stop filters",
        "edges": edges,
        "removed": [list(bands) for bands in removed],
        "keep_dc": own.keep_dc,
        "domain": scoring.domain,
    }
    record = {
        "model": dict(model.record),
        "data": dict(images.record),
        "forwards": scorer.forwards(len(everything)),
        "versions": versions(),
    }
    return BandStopResult(
        list(scorer.classes), removed, edges, counts.value, torch.as_tensor(scorer.class_index).cpu().clone(), masks,
        definition, record,
    )  # fmt: skip


TERMS = {
    "band-stop": {
        "short": "Bands of frequencies removed from all images, and what the classes are then taken for.",
        "formula": "relative confusion = 100 (M_without - M) / n_i, in percent points of a class's n_i images",
        "source": "Wang, Veldhuis, Brune, Strisciuglio, ICCV 2023 (arXiv 2307.09829)",
        "aliases": ["edges", "remove", "remove-dc", "relative confusion", "change"],
    }
}
HELP = """Remove every choice of two (of four) frequency bands from all images, and count what they are taken for.

\b
freqkit band-stop --model cifar_resnet20 --weights resnet20.safetensors \\
                  --data cifar10/test --out stop.safetensors
"""


def printed(result: BandStopResult) -> Printed:
    """What `freqkit band-stop` prints: the share recognised of every class."""
    return Printed(
        {
            "accuracy": dict(zip(["all", *result.names], result.accuracy.tolist(), strict=True)),
            "classes": result.classes,
            "relative_confusion": dict(zip(result.names, result.relative_confusion.tolist(), strict=True)),
            "definition": result.definition,
            "forwards": result.record["forwards"],
        },
        [("class", "text"), ("clean TPR", "0%"), *((f"-{name}", "0%") for name in result.names)],
        [[name, *tpr] for name, tpr in zip(result.classes, result.tpr.T.tolist(), strict=True)],
        f"{int(result.confusion[0].sum())} images: share recognised when bands are removed",
        last=["all", *result.accuracy.tolist()],
    )


def stop_masks(size, edges, removed, *, keep_dc=True):
    """float32 [P, H, W], centred: 1 outside the bands of each tuple.

    Example:
        >>> masks = stop_masks((32, 32), [4, 8, 12], [(1, 2), (3, 4)], keep_dc=False)
        >>> bool((masks.sum(0) == 1).all())
        True
    """
    from freqkit.masks.shapes import radius

    r = radius(size)
    band = sum((r >= edge).to(torch.int64) for edge in edges) + 1
    masks = torch.stack([(~torch.isin(band, torch.tensor(bands))).to(torch.float32) for bands in removed])
    if keep_dc:
        masks[:, size[0] // 2, size[1] // 2] = 1
    return masks


def _edges(edges, size):
    shorter = min(size)
    if edges is None:
        return [shorter / 8, shorter / 4, 3 * shorter / 8]
    values = [float(edge) for edge in edges] if isinstance(edges, (list, tuple)) else []
    if not values or values[0] <= 0 or any(b <= a for a, b in itertools.pairwise(values)):
        raise UsageError(f"band_stop: edges must be rising positive radii; got {edges!r}.")
    if values[-1] > (size[0] ** 2 + size[1] ** 2) ** 0.5 / 2:
        raise UsageError(f"band_stop: edges must lie inside the plane of {size} images; got {values[-1]:g}.")
    return values


def _choices(remove, bands):
    if isinstance(remove, int) and not isinstance(remove, bool):
        if not 1 <= remove <= bands:
            raise UsageError(f"band_stop: remove must be 1..{bands}, the number of bands; got {remove}.")
        return list(itertools.combinations(range(1, bands + 1), remove))
    chosen = [tuple(one) if isinstance(one, (list, tuple)) else (one,) for one in remove or ()]
    good = all(type(b) is int and 1 <= b <= bands for one in chosen for b in one) and all(chosen)
    if not chosen or not good or len(set(chosen)) < len(chosen):
        raise UsageError(f"band_stop: remove must list distinct tuples of bands 1..{bands}; got {remove!r}.")
    return chosen


def plot_band_stop(result, ax=None, *, of=None, title=None, limit=12):
    """One relative confusion matrix for each choice of removed bands; with more than `limit` classes the change of
    each class's own images, the `limit` * 3 largest.

    Args:
        result: a `freqkit.measures.BandStopResult`.
        ax: a matplotlib axis for one choice of bands; None: a figure of all.
        of: with `ax`, the removed bands, a name of `result.names` or its number; default those that cost most accuracy.
        title: a line above.
        limit: largest number of classes drawn as matrices.

    Returns:
        A matplotlib Figure, or `ax`; blue: more often than without a filter, orange: less often.
    """
    import numpy as np

    change = result.relative_confusion[:, :, result.class_index].numpy()
    names = [shorten(name, LETTERS) for name in result.classes]
    many = len(names) > limit
    own = np.diagonal(change, axis1=1, axis2=2)
    order = np.argsort(np.nanmin(own, 0), kind="stable")[: 3 * limit] if many else None
    if ax is not None:
        chosen = index_of(result.names, of, (-result.accuracy[1:]).tolist())
        if many:
            picture = _changes(ax, own[[chosen]], order, names, [result.names[chosen]])
        else:
            picture = _one(ax, change[chosen], result.classes)
            ax.set_xlabel("called", fontsize=8.5)
            ax.set_ylabel("true", fontsize=8.5)
            accuracy = 100 * float(result.accuracy[chosen + 1])
            ax.set_title(f"without {result.names[chosen]}: accuracy {accuracy:.0f}%", fontsize=9, loc="left")
        _bar(ax.figure, picture, [ax], many)
        return figures.literal(ax)
    if many:
        figure = figures.new_figure(1.8 + 0.62 * len(own), 1.3 + 0.22 * len(order))
        axes = [figure.subplots()]
        picture = _changes(axes[0], own, order, names, result.names)
    else:
        columns = min(3, len(change))
        rows = math.ceil(len(change) / columns)
        side = 1.1 + 0.24 * len(names)
        figure = figures.new_figure(columns * side + 1.9, rows * (side + 0.05) + 0.6)
        axes = list(figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat)
        for place, axis in enumerate(axes):
            if place >= len(change):
                axis.set_visible(False)
                continue
            picture = _one(axis, change[place], result.classes)
            accuracy = 100 * float(result.accuracy[place + 1])
            axis.set_title(f"without {result.names[place]}: {accuracy:.0f}%", fontsize=8.5)
        figure.supxlabel("called", fontsize=8.5)
        figure.supylabel("true", fontsize=8.5)
    _bar(figure, picture, axes, many)
    edges = ", ".join(f"{edge:g}" for edge in result.edges)
    figure.suptitle(
        f"{title or 'Band-stop test: what classes are taken for when bands are removed'}\n"
        f"accuracy without a filter {100 * float(result.accuracy[0]):.0f}%; bands begin at 0, {edges} cycles/image",
        fontsize=9.5,
    )
    return figure


def _shaded(axis, values):
    """Values in percent points, orange below nought and blue above."""
    for side in axis.spines.values():
        side.set_color(figures.RULE)
    return axis.imshow(values, cmap=colours(True), vmin=-100, vmax=100, aspect="auto")


def _one(axis, change, names, numbers=6):
    """A relative confusion matrix, with numbers in its squares up to `numbers` classes."""
    import numpy as np

    shown = [[signed(value, 0) if abs(np.nan_to_num(value)) >= 0.5 else "" for value in row] for row in change]
    return matrix(
        axis, change, names, names, reach=100, shown=shown if len(names) <= numbers else None, letters=LETTERS,
        words=lambda i, j: f"{names[i]} called {names[j]}: {signed(np.nan_to_num(change[i, j]), 0)}",
    )  # fmt: skip


def _changes(axis, own, order, names, removed):
    """The change of each class's own images, a column for each choice of bands."""
    picture = _shaded(axis, own[:, order].T)
    axis.set_yticks(range(len(order)), [names[i] for i in order], fontsize=7.5)
    axis.set_xticks(range(len(own)), [f"-{name}" for name in removed], fontsize=8, rotation=30, ha="right")
    return picture


def _bar(figure, picture, axes, many):
    bar = figure.colorbar(picture, ax=axes, shrink=0.75, aspect=28)
    words = "change of TPR (percent points)" if many else "change (percent of the true class's images)"
    bar.set_label(words, fontsize=8)
    bar.ax.tick_params(labelsize=7.5)


@part(files_of("freqkit-band-stop-1"))
def band_stop_part(path, record):
    """What classes are taken for when bands of frequencies are removed."""
    result = BandStopResult.load(path)
    names, accuracy = result.names, result.accuracy.tolist()
    tpr = result.tpr.tolist()
    worst = min(range(len(names)), key=lambda p: accuracy[p + 1])
    best = max(range(len(names)), key=lambda p: accuracy[p + 1])
    hurt = max(
        ((p, c) for p in range(len(names)) for c in range(len(result.classes))),
        key=lambda one: _number(tpr[0][one[1]]) - _number(tpr[one[0] + 1][one[1]]),
    )
    without = [f"{name} ({_ranges(bands, result.edges)})" for name, bands in zip(names, result.removed, strict=True)]
    sentences = [
        f"Whole, {percent(accuracy[0], 1)} of the images are recognised. Without {without[worst]} only"
        f" {percent(accuracy[worst + 1], 1)} are, the most costly of these choices; without {without[best]} still"
        f" {percent(accuracy[best + 1], 1)}.",
        f"{result.classes[hurt[1]]} loses most: without {without[hurt[0]]} its TPR falls from"
        f" {percent(tpr[0][hurt[1]])} to {percent(tpr[hurt[0] + 1][hurt[1]])}.",
    ]
    fewest = int(result.confusion[0].sum(1).min())
    cautions = weights_cautions(result.record) + clean_cautions(result.clean)
    cautions += [steps_of(fewest).strip()] if steps_of(fewest) else []
    columns = [("class", "left", None), ("whole images", "right", "TPR")]
    columns += [(f"− {name}", "right", "TPR") for name in names]
    rows = [
        [Cell(name), *(Cell.of(values[c], percent(values[c])) for values in tpr)]
        for c, name in enumerate(result.classes)
    ]
    rows.append([Cell("all"), *(Cell.of(value, percent(value, 1)) for value in accuracy)])
    edges = ", ".join(f"{edge:g}" for edge in result.edges)
    sections = [
        Section("Classes", [Table(columns, rows, search=True)], "TPR of each class, whole and without the named"
                f" bands. Bands begin at radii of {edges} cycles/image; B1 is the lowest.",
                key="band-stop-classes"),
    ]  # fmt: skip
    if result.confusion.shape[2] == len(result.classes) <= 20:
        size, drawings = side_of(result.classes, result.classes, LETTERS), []
        for name, change in zip(names, result.relative_confusion[:, :, result.class_index].numpy(), strict=True):
            alt = (
                f"Relative confusion without {name}: rows true classes, columns the model's answers, in percent points."
            )
            grid = chart(lambda axis, change=change: _one(axis, change, result.classes, 16), *size, alt, "chart whole")
            drawings.append((f"without {name}", grid))
        sections.append(
            Section("Relative confusion", [Panels(drawings, wide=round(size[0] * DPI))],
                    "Row: a class; column: the model's answer. How many percent points more (blue) or fewer (orange) of"
                    " a class's images get each name than without a filter. Blue off the diagonal is where a class goes"
                    " when its band is missing.", key="relative-confusion")
        )  # fmt: skip
    about = result.record
    return Part(
        "What classes are taken for when bands are removed", sentences,
        [(percent(accuracy[0]), "recognised, whole images"), (percent(accuracy[worst + 1]), f"without {names[worst]}")],
        [*model_rows(about), *clean_rows(result.clean), ("Bands begin at", f"{edges} cycles/image")],
        sections, cost_rows(about), provenance_rows(about), cautions, order=32, subtitle="Bands removed",
    )  # fmt: skip


def _ranges(bands, edges):
    """Radii of some bands in words, neighbours joined.

    Example:
        >>> _ranges((1, 2), [4, 8, 12]), _ranges((1, 3), [4, 8, 12]), _ranges((3, 4), [4, 8, 12])
        ('0–8 cycles/image', '0–4 and 8–12 cycles/image', 'from 8 cycles/image on')
    """
    limits = [0, *edges, None]
    joined = []
    for low, high in ((limits[band - 1], limits[band]) for band in sorted(bands)):
        if joined and joined[-1][1] == low:
            joined[-1][1] = high
        else:
            joined.append([low, high])
    words = [f"{low:g}–{high:g}" if high is not None else f"from {low:g}" for low, high in joined]
    return " and ".join(words) + " cycles/image" + (" on" if joined[-1][1] is None else "")


def _number(value):
    return 0.0 if value != value else value
