"""Fourier heat map: how often a model errs when one vector of the Fourier basis is added to its images.

Source: Yin, Gontijo Lopes, Shlens, Cubuk, Gilmer, "A Fourier Perspective on Model Robustness in Computer Vision",
NeurIPS 2019 (arXiv 1906.08988).
"""

import itertools
import math
from dataclasses import dataclass, field

import torch

from freqkit.data import Images
from freqkit.engine.accumulators import Correct, TakenFor
from freqkit.engine.entrance import enter
from freqkit.engine.gradients import input_gradients, margins
from freqkit.engine.stimuli import Perturbation, counter_words
from freqkit.errors import UsageError
from freqkit.files.reading import in_range
from freqkit.files.whole import RECORD
from freqkit.masks.radial import rings_of
from freqkit.masks.shapes import radius
from freqkit.measures.printed import Printed
from freqkit.measures.running import run
from freqkit.models import Network
from freqkit.options import Directory, Options, Scoring, flat, option
from freqkit.report import figures
from freqkit.report.blocks import Cell, Part, Section, Table
from freqkit.report.inline import drawing
from freqkit.report.pages import files_of, part
from freqkit.report.planes import on_axis
from freqkit.report.provenance import cost_rows, model_rows, provenance_rows
from freqkit.report.sections import gallery
from freqkit.report.svg import percent
from freqkit.report.words import clean_cautions, clean_rows, span, weights_cautions
from freqkit.results import rows
from freqkit.results.clean import CleanRates
from freqkit.results.confusion import Confusion
from freqkit.results.result import Result, TensorFile
from freqkit.statistics import rank_correlations, wilson

__all__ = ["FourierHeatmapResult", "fourier_heatmap"]
FORMAT = "freqkit-fourier-heatmap-1"
METHODS = ("exact", "gradient")
SHARED = True  # ranks share its work
FIRST = 32  # images that every bin is shown on before a race decides
LEVEL = 0.05  # of all looks of a race together
CHECKED = 64  # bins on which a map by gradients is compared with the exact one
SHARE = 0.5  # of the side: frequencies from here on are called high


@dataclass
class FourierHeatmapResult(Result):
    """Errors under K vectors of the Fourier basis, each that of a frequency and its mirror image.

    Attributes:
        classes: C names, as the images have them. size: [H, W].
        bins: int64 [K, 2], cycles/image (vertical, horizontal), of which the mirror image is the same vector.
        correct: int64 [K, C], images recognised with the vector added; shown: int64 [K, C], those it was added to.
        first_order: float64 [K] of the error rates that gradients foretell; NaN where the method was "exact".
        confusion: int64 [C, L], images of each class taken for each logit without anything added.
        class_index: int64 [C], the logit of each class.
        agreement: "spearman", "bins": of first_order with the exact rates, on bins where both are known; empty else.
        definition, record: JSON-ready dicts.
    """

    classes: list
    size: list
    bins: torch.Tensor
    correct: torch.Tensor
    shown: torch.Tensor
    first_order: torch.Tensor
    confusion: torch.Tensor
    class_index: torch.Tensor
    agreement: dict = field(default_factory=dict)
    definition: dict = field(default_factory=dict)
    record: dict = field(default_factory=dict)

    FILE = TensorFile(
        FORMAT, "a file of `fourier-heatmap`",
        {"bins": "int64 K 2", "correct": "int64 K C", "shown": "int64 K C", "first_order": "float64 K",
         "confusion": "int64 C L", "class_index": "int64 C"},
        {"classes": [str], "size": [int], "agreement": {"spearman?": (float, None), "bins?": int}, "record": RECORD,
         "definition": {"quantity": str, "method": str, "norm": float, "confidence": float}},
        {"C": "classes"},
    )  # fmt: skip
    COLUMNS = ("vertical", "horizontal", "radius", "images", "error", "error low", "error high")
    FIGURE = "plot_fourier_heatmap"

    @property
    def rates(self) -> torch.Tensor:
        """float64 [K], share of the images that are not recognised; by gradients what these foretell."""
        exact = 1 - self.correct.sum(1).double() / self.shown.sum(1)
        return torch.where(self.first_order.isnan(), exact, self.first_order)

    @property
    def limits(self) -> torch.Tensor:
        """float64 [K, 2], Wilson's intervals of what was counted; NaN for what gradients foretell."""
        wrong = self.shown.sum(1) - self.correct.sum(1)
        found = wilson(wrong, self.shown.sum(1), self.definition["confidence"])
        return torch.where(self.first_order.isnan()[:, None], found, torch.nan)

    @property
    def error(self) -> torch.Tensor:
        """float64 [H, W], centred (DC at `[H//2, W//2]`): `rates` at each frequency; NaN where none was asked."""
        return self._plane(self.rates)

    @property
    def rings(self) -> torch.Tensor:
        """float64 [R], the mean of `error` over the asked frequencies of each ring of one cycle/image."""
        index, values = rings_of(tuple(self.size)).index, self.error
        there = ~values.isnan()
        sums = torch.bincount(index[there], values[there], int(index.max()) + 1)
        return sums / torch.bincount(index[there], minlength=len(sums))

    @property
    def radii(self) -> torch.Tensor:
        """float64 [K], cycles/image of the shorter side."""
        height, width = self.size
        middle = torch.tensor([height // 2, width // 2])
        row, column = ((self.bins + middle) % torch.tensor([height, width])).unbind(1)
        return radius((height, width)).double()[row, column]

    @property
    def clean(self):
        """`CleanRates` of the images as they are."""
        return CleanRates.of_confusion(self.classes, self.confusion, self.class_index)

    def _plane(self, values):
        height, width = self.size
        found = torch.full((height, width), torch.nan, dtype=torch.float64)
        for sign in (1, -1):
            row, column = (sign * self.bins[:, 0] + height // 2) % height, (sign * self.bins[:, 1] + width // 2) % width
            found[row, column] = values
        return found

    def cells(self):
        return [
            *self.bins.unbind(1), self.radii, self.shown.sum(1), self.rates,
            *([value if value == value else None for value in one.tolist()] for one in self.limits.unbind(1)),
        ]  # fmt: skip

    def rows(self):
        about = rows.of_record(self.record)
        found = rows.rates(self.classes, self.clean, 0.95, **about) if len(self.clean.classes) else []
        words, counts = self.definition["quantity"], self.shown.sum(1).tolist()
        for k, (row, column) in enumerate(self.bins.tolist()):
            found += rows.values([""], "error", self.rates[k][None], [counts[k]], self.limits[k][None],
                                 **about, definition=f"{words}, frequency ({row}, {column})",
                                 radius=float(self.radii[k]))  # fmt: skip
        return found

    @classmethod
    def checked(cls, values, path):
        size, bins = values["size"], values["bins"]
        if len(size) != 2 or not all(1 <= side <= 1 << 16 for side in size) or not len(bins):
            raise UsageError(f"{path}: size must be two sides of at least one pixel, and bins at least one.")
        in_range(bins, -(max(size) // 2), max(size) // 2, path, "bins")
        in_range(values["shown"], 0, 2**53, path, "shown")
        if bool((values["shown"].sum(1) < 1).any()) or int(values["confusion"].clamp_min(0).sum()) < 1:
            raise UsageError(f"{path}: shown must count images for every vector, and confusion some.")
        in_range(values["confusion"], 0, 2**53, path, "confusion")
        in_range(values["class_index"], 0, values["confusion"].shape[1] - 1, path, "class_index")
        if bool((values["correct"] < 0).any() | (values["correct"] > values["shown"]).any()):
            raise UsageError(f"{path}: correct must lie between 0 and shown.")
        return values


@dataclass(frozen=True, kw_only=True)
class Heating(Options):
    """What `fourier_heatmap` is asked."""

    norm: float = option(
        4.0, "L2 norm of what is added to each channel of an image in [0, 1]; published: 4.0 at 32 pixels, 15.7 at 224",
        above=0,
    )  # fmt: skip
    bins: int | None = option(
        None, "so many vectors, spread evenly over the rings and within each; None: every one", least=1,
        metavar="N", help="so many vectors, spread over the rings.  [default: every one]",
    )  # fmt: skip
    race: float | None = option(
        None, "half the width that an interval may have: a vector is shown on more images, in an order drawn by the "
        "seed, until its interval (95 %, Bonferroni over the looks of the race) is as narrow; None: on all images",
        above=0, below=0.5, metavar="WIDTH", help="stop a vector once its interval is +-WIDTH.  [default: all images]",
    )  # fmt: skip
    method: str = option(
        "exact", "exact: every vector is shown; gradient: the margin's gradient, one backward for an image, foretells "
        f"all, and {CHECKED} vectors are shown to see how well", choices=METHODS,
    )  # fmt: skip
    clip: bool = option(
        True, "cut altered images to [0, 1], as the published code does", switch=("unclipped", False),
        help="leave altered images as they come out; the published code cuts them to [0, 1]",
    )  # fmt: skip
    seed: int = option(0, "of the signs, and of the order of a race", least=0)

    def check(self, owner):
        if self.race is not None and self.method != "exact":
            raise UsageError(f'{owner}: race needs method="exact"; got method={self.method!r}.')
        return self


@dataclass(frozen=True, kw_only=True)
class OfPixels(Scoring):
    """How a model is asked about images that are altered as pixels."""

    domain: str = option("pixels", "what is altered: pixels in [0, 1]", choices=("pixels",))


@flat
def fourier_heatmap(
    model: Network,
    images: Images,
    own: Heating,
    scoring: OfPixels,
    running: Directory,
) -> FourierHeatmapResult:
    """Ask the model about all images with one vector of the real Fourier basis added, for every vector.

    x' = clip(x + s v U), with U(h, w) = cos(2 pi (i h/H + j w/W)) over its L2 norm, v = `norm`, x in [0, 1], and a sign
    s = +-1 that is drawn for each image, vector and channel from a counter. (i, j) and (-i, -j) have one vector, which
    is shown once. The error is the share of all images that are not recognised. Vectors are made batch by batch.

    With `race` a vector is shown on images in an order drawn by the seed, on 32, 64, 128, ... of them, until Wilson's
    interval at 1 - .05/L, L the number of looks, is within `race` of its middle: all intervals of a vector hold
    together with 95 %. With `method="gradient"` m + v sum over channels of s_c <dm/dx_c, U> < 0, m the margin, is asked
    in place of the network, with the same signs; what is cut is left out of account.

    Args:
        model: a `Classifier`. images: those of the test, as `freqkit.data.as_images` takes them.

    Returns:
        `FourierHeatmapResult`: `.error` [H, W] centred, `.rings`, intervals. n (K + 1) forwards at most; K is
        (H W + 4)/2 for even sides.

    Raises:
        UsageError, TypeError, ValueError: an argument does not fit. FloatingPointError: a logit or gradient is NaN.

    Source: Yin et al., NeurIPS 2019 (arXiv 1906.08988).

    Example:
        >>> from freqkit.data import synthetic
        >>> from freqkit.models import load_model
        >>> result = fourier_heatmap(load_model("small_convnet"), synthetic(images_per_class=2), bins=8, batch_size=8)
        >>> result.error.shape, len(result.bins), bool(result.error.isnan().any())
        (torch.Size([32, 32]), 8, True)
    """
    model, images = enter("fourier_heatmap", model, images, scoring.class_index)
    if not len(images):
        raise UsageError("fourier_heatmap: images must hold at least one image; got none.")
    size = tuple(images.images.shape[-2:])
    bins = _spread(_half_plane(size), size, own.bins)
    if own.race is not None:
        order = counter_words(own.seed, (1 << 63) + 1, 0, len(images)).argsort(kind="stable")
        images = images.subset(torch.from_numpy(order))
    asked = bins if own.method == "exact" else _spread(bins, size, min(CHECKED, len(bins)))
    stimulus = Perturbation(torch.cat([asked, torch.zeros(1, 2, dtype=torch.int64)]), own.norm, seed=own.seed)
    cut, how_wide = ", cut to [0, 1]" if own.clip else "", "" if own.race is None else f", raced to +-{own.race:g}"
    definition = {
        "quantity": f"error with a Fourier basis vector of norm {own.norm:g} added{cut}"
        f"{how_wide}{', to first order' * (own.method == 'gradient')}",
        **own.identity(), "confidence": 0.95 if own.race is None else 1 - LEVEL / len(looks(len(images))),
    }  # fmt: skip

    def work(scorer, how, record):
        confusion = TakenFor()
        scorer.show(_vectors([(0, 0)], 0.0, own), [confusion], key="clean", **how)
        correct, shown = _counted(scorer, asked, own, how)
        record["forwards"] = len(images) + int(shown.sum())
        first, agreement = torch.full((len(bins),), torch.nan, dtype=torch.float64), {}
        if own.method == "gradient":
            first = _foretold(model, images, bins, own, scoring)
            record["backwards"] = len(images)
            exact = 1 - correct.sum(1).double() / shown.sum(1)
            place = {tuple(one): k for k, one in enumerate(bins.tolist())}
            known = [place[tuple(one)] for one in asked.tolist()]
            rho = float(rank_correlations(torch.stack([first[known], exact]).numpy(), [(0, 1)])[0, 0])
            agreement = {"spearman": rho if math.isfinite(rho) else None, "bins": len(known)}
            correct, shown = torch.zeros(2, len(bins), len(images.classes), dtype=torch.int64)
            shown += torch.bincount(images.labels, minlength=len(images.classes))
        return FourierHeatmapResult(
            list(scorer.classes), list(size), bins, correct, shown, first, confusion.value[0],
            torch.as_tensor(scorer.class_index).cpu().clone(), agreement, definition, record,
        )  # fmt: skip

    return run("fourier-heatmap", model, images, stimulus, own, scoring, running, work)


def _half_plane(size):
    """int64 [K, 2], one frequency of each pair that shares a vector, DC among them: row by row of the half plane."""
    found, seen = [], set()
    height, width = size
    for i, j in itertools.product(range(height), range(width)):
        if (i, j) not in seen:
            seen |= {(i, j), (-i % height, -j % width)}
            found.append((i if i <= height // 2 else i - height, j if j <= width // 2 else j - width))
    return torch.tensor(found, dtype=torch.int64)


def _spread(bins, size, count):
    """`count` of the bins, as evenly over rings of one cycle/image as their numbers allow, and within each by angle."""
    if count is None or count >= len(bins):
        return bins
    height, width = size
    row, column = (bins[:, 0] + height // 2) % height, (bins[:, 1] + width // 2) % width
    ring = rings_of(size).index[row, column]
    angle = torch.atan2(bins[:, 0].double() / height, bins[:, 1].double() / width) % math.pi
    ranked = []
    for k in ring.unique().tolist():
        inside = (ring == k).nonzero().flatten()
        inside = inside[angle[inside].argsort(stable=True)]
        # The m-th of a ring comes m-th: so every ring is served before one is served again; halves of halves by angle.
        turns = sorted(range(len(inside)), key=lambda place: int(f"{place:016b}"[::-1], 2))
        ranked += [(turn, k, int(inside[place])) for turn, place in enumerate(turns)]
    chosen = sorted(place for _, _, place in sorted(ranked)[:count])
    return bins[chosen]


def _vectors(bins, norm, own):
    return Perturbation(torch.as_tensor(bins), norm, seed=own.seed, clip=own.clip)


def _counted(scorer, bins, own, how):
    """Images recognised with each vector added, and shown: int64 [K, C] each."""
    labels, classes = scorer.labels, len(scorer.classes)
    correct, shown = torch.zeros(2, len(bins), classes, dtype=torch.int64)
    ends = [len(labels)] if own.race is None else looks(len(labels))
    left, begin = torch.arange(len(bins)), 0
    for end in ends:
        if not len(left):
            break
        found = Correct()
        scorer.show(_vectors(bins[left], own.norm, own), [found], key=f"to-{end}", images=range(begin, end), **how)
        correct[left] += found.value
        shown[left] += torch.bincount(labels[begin:end], minlength=classes)
        if own.race is not None:
            low, high = wilson((shown - correct)[left].sum(1), shown[left].sum(1), 1 - LEVEL / len(ends)).unbind(1)
            left = left[(high - low) / 2 > own.race]
        begin = end
    return correct, shown


def looks(images: int) -> list[int]:
    """After how many images a race looks.

    Example:
        >>> looks(200)
        [32, 64, 128, 200]
    """
    ends = [FIRST << k for k in range(64) if FIRST << k < images]
    return [*ends, images]


def _foretold(model, images, bins, own, scoring):
    """Error of each vector to first order in what is added: float64 [K]."""
    height, width = size = tuple(images.images.shape[-2:])
    # <g, U> is the real part of the DFT of g over the norm of the cosine, which is sqrt(HW/2), or sqrt(HW) alone.
    alone = ((2 * bins) % torch.tensor(size) == 0).all(1)
    over = torch.where(alone, 1.0, 0.5).double().mul(height * width).sqrt()
    row, column = bins[:, 0] % height, bins[:, 1] % width
    wrong, vectors = torch.zeros(len(bins), dtype=torch.float64), _vectors(bins, own.norm, own)
    for some, gradient, margin in input_gradients("fourier_heatmap", model, images, scoring, of=margins):
        slopes = torch.fft.fft2(gradient.double()).real.cpu()[..., row, column] / over  # [b, 3, K]
        signs = vectors.signs(size, range(some.start, some.stop))
        moved = own.norm * torch.einsum("kbc,bck->kb", signs, slopes)
        wrong += (margin.cpu() + moved <= 0).sum(1)
    return wrong / len(images)


HELP = """How often the model errs when one vector of the Fourier basis is added to its images, for every frequency.

DIR gets fourier-heatmap.safetensors, .csv, .png, a page. --race and --method gradient are cheaper forms, --bins a
coarser one.

\b
freqkit fourier-heatmap --model cifar_resnet20 --weights resnet20.safetensors --data cifar10/test --out runs/heatmap
"""
TERMS = {
    "Fourier heat map": {
        "short": "Error of a model when one vector of the Fourier basis is added to every image.",
        "formula": "x + s v U, U(h, w) = cos(2 pi (i h/H + j w/W)) of L2 norm 1, s = +-1 for each image and channel",
        "more": "The norm v is of each channel of images in [0, 1]; published values: 4.0 at 32, 15.7 at 224 pixels.",
        "source": "Yin et al., NeurIPS 2019 (arXiv 1906.08988)",
        "aliases": ["fourier-heatmap", "norm", "bins", "race", "unclipped", "vertical", "horizontal", "error",
                    "first-order", "clean error", "error low", "error high"],
        "see": ["gradient spectrum"],
    },
}  # fmt: skip


def _halves(result):
    """Mean error of the asked frequencies below half of the shorter side's band, and from there on; DC apart."""
    plane, where = result.error, radius(tuple(result.size)).double()
    there = ~plane.isnan() & (where > 0)
    edge = SHARE * min(result.size) / 2
    return [float(plane[there & side].mean()) for side in (where < edge, where >= edge)]


def _by_class(result):
    """[clean error, low, high] of each class, by its counts; NaN where there are none."""
    clean = Confusion(result.confusion, result.class_index).tpr.tolist()
    counted, radii, found = result.first_order.isnan(), result.radii, []
    low = (radii > 0) & (radii < SHARE * min(result.size) / 2)
    for c in range(len(result.classes)):
        error = 1 - result.correct[:, c].double() / result.shown[:, c]
        found.append([1 - clean[c], *(float(error[counted & side].mean()) for side in (low, (radii > 0) & ~low))])
    return found


def _worst(result):
    k = int(result.rates.nan_to_num(-1).argmax())
    row, column = result.bins[k].tolist()
    return k, f"({row}, {column}) cycles/image"


def printed(result: FourierHeatmapResult) -> Printed:
    """What `freqkit fourier-heatmap` prints: the mean of each ring."""
    rings, clean = result.rings, result.clean
    low, high = _halves(result)
    _, name = _worst(result)
    told, half = f"; {_agreement(result)}" if result.agreement else "", SHARE * min(result.size) / 2
    return Printed(
        {"clean error": 1 - clean.accuracy, "rings": [_known(value) for value in rings.tolist()],
         "low": _known(low), "high": _known(high), "agreement": result.agreement,
         "error": [[_known(value) for value in line] for line in result.error.tolist()],
         "definition": result.definition, "forwards": result.record["forwards"]},
        [("class", "text"), ("clean error", "0%"), ("low", "0%"), ("high", "0%")],
        [[label, *map(_known, each)] for label, each in zip(result.classes, _by_class(result), strict=True)],
        f"Error with a vector added, on the mean below {half:g} cycles/image (low) and from there on (high)",
        last=["all", 1 - clean.accuracy, _known(low), _known(high)],
        verdict=f"The worst vector is {name}{told}.",
    )  # fmt: skip


def _agreement(result):
    rho, count = result.agreement["spearman"], result.agreement["bins"]
    words = "undefined" if rho is None else f"{rho:.2f}"
    return f"their rank correlation with counts, on {count} vectors that were shown, is {words}"


def _known(value):
    return value if math.isfinite(value) else None


def plot_fourier_heatmap(result, ax=None, *, of=None, title=None):
    """The heat map, and the mean of each ring.

    Args:
        result: a `freqkit.measures.FourierHeatmapResult`.
        ax: a matplotlib axis; None: a figure of its own.
        of: with `ax`, "map" (default) or "rings".
        title: a line above.

    Returns:
        A matplotlib Figure, or `ax`.
    """
    kinds = {"map": _heat, "rings": _rings}
    if ax is not None:
        if (of or "map") not in kinds:
            raise UsageError(f"plot_fourier_heatmap: of must be one of {', '.join(kinds)}; got {of!r}.")
        kinds[of or "map"](ax, result)
        return figures.literal(ax)
    figure = figures.new_figure(8.6, 3.6)
    for axis, draw in zip(figure.subplots(1, 2), (_heat, _rings), strict=True):
        draw(axis, result)
    figure.suptitle(title or "Fourier heat map", fontsize=9.5)
    return figure


def _heat(axis, result):
    on_axis(axis, result.error, "", limits=(0, 1), label="error", signed=False)


def _rings(axis, result):
    rings = result.rings
    there = (~rings.isnan()).nonzero().flatten()
    axis.axhline(1 - result.clean.accuracy, color=figures.RULE, linewidth=1, label="nothing added")
    line = axis.plot(there + 0.5, rings[there], marker="o", markersize=3, linewidth=1.4, label="mean of the ring",
                     **figures.series(0))[0]  # fmt: skip
    figures.note(line, [f"{k} to {k + 1} cycles/image: {percent(rings[k], 1)}" for k in there.tolist()])
    axis.set_ylim(0, 1.02)
    axis.set_xlim(0, None)
    figures.percents(axis.yaxis)
    axis.set_xlabel("radius of the frequency (cycles/image)", fontsize=8.5)
    axis.set_ylabel("error", fontsize=8.5)
    figures.plain_axes(axis)
    figures.legend(axis)


@part(files_of(FORMAT))
def fourier_heatmap_part(path, record):
    """How often the model errs with one vector of the Fourier basis added."""
    result = FourierHeatmapResult.load(path)
    about = result.record if record is None else {**result.record, **record}
    clean, rings, (low, high) = result.clean, result.rings, _halves(result)
    k, name = _worst(result)
    half = SHARE * min(result.size) / 2
    limits = result.limits[k].tolist()
    interval = f" (95% interval {span(limits)})" if limits[0] == limits[0] else ""
    sentences = [
        f"As they are, {percent(1 - clean.accuracy, 1)} of the images are not recognised.",
        f"With vectors of the Fourier basis of norm {result.definition['norm']:g} added it is {percent(low)} on the"
        f" mean below {half:g} cycles/image, and {percent(high)} from there on.",
        f"The worst asked is {name}: {percent(float(result.rates[k]))}{interval}.",
    ]
    if result.agreement:
        sentences.append(f"These errors are foretold by gradients, not counted: {_agreement(result)}.")
    counts = result.shown.sum(1)
    if int(counts.min()) < int(counts.max()) or result.definition.get("race"):
        sentences.append(
            f"A vector was shown on {int(counts.min()):,} to {int(counts.max()):,} images, until its interval was"
            " narrow."
        )
    if bool(result.error.isnan().any()):
        sentences.append(f"{len(result.bins):,} of {len(_half_plane(tuple(result.size))):,} vectors were asked.")
    size = tuple(result.size)
    plane = [("all images", "", f"Error at every frequency; the worst is {name}.", result.error.nan_to_num(0).numpy())]
    each = [
        [Cell.of(float(ring), f"{ring}–{ring + 1}"), Cell.of(float(value), percent(value, 1))]
        for ring, value in enumerate(rings.tolist()) if value == value
    ]  # fmt: skip
    sections = [
        Section("Every frequency", [gallery(plane, size, "heatmap")],
                "How many images are not recognised when the vector of this frequency is added, from none (pale) to all"
                " (dark); DC is in the middle. A frequency and its mirror image have one vector; what was not asked is"
                " pale.", key="fourier-heatmap-plane"),
        Section("Rings", [Table([("cycles/image", "left", None), ("error", "right", "error")], each)],
                "Mean over the asked frequencies of each ring.", key="fourier-heatmap-rings"),
    ]  # fmt: skip
    alt = f"Error by radius: {percent(low)} on the mean below {half:g} cycles/image, {percent(high)} above."
    draw = drawing(lambda axis: _rings(axis, result), 7.2, 3.4, alt, narrow=3.4)
    return Part(
        "Which frequencies make the model err", sentences,
        [(percent(1 - clean.accuracy, 1), "error, nothing added"), (percent(low), f"below {half:g} cycles/image"),
         (percent(high), "above")],
        [*model_rows(about), *clean_rows(clean), ("Added", result.definition["quantity"])],
        sections, cost_rows(about), provenance_rows(about), weights_cautions(about) + clean_cautions(clean),
        hero=[draw], hero_how="Share of the images that are not recognised when a vector of the Fourier basis of a"
        " radius is added; the line is without one.", order=33, subtitle="Fourier heat map", clean=clean,
    )  # fmt: skip
