"""Gradient spectrum: at which frequencies a small change of the image changes a model's loss.

Source: Lin, Gao, Sang, IJCAI 2022 (arXiv 2205.03154). One backward gives g = d loss/d pixels of an image; the
magnitude of the DFT of g, summed over the channels with its signs, is up to 1/(HW) the derivative of the loss with
respect to each Fourier coefficient. Its means over rings, from 0 to 1 within each image, are averaged over the images.
"""

import copy
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from freqkit.data import Images
from freqkit.engine.entrance import enter, logit_of_class
from freqkit.engine.forward import Forward
from freqkit.engine.gradients import batch_of, input_gradients
from freqkit.errors import UsageError
from freqkit.files.reading import file_sha256, in_range
from freqkit.files.whole import RECORD
from freqkit.masks.radial import RINGS, rings_of
from freqkit.measures.printed import Printed
from freqkit.measures.running import run_tiles
from freqkit.models import Classifier, Network, read_state_dict
from freqkit.models.weights import load_state
from freqkit.options import Directory, Options, Scoring, flat, option
from freqkit.report import figures
from freqkit.report.blocks import Cell, Part, Section, Table
from freqkit.report.inline import drawing
from freqkit.report.pages import files_of, part
from freqkit.report.planes import matrix, on_axis, side_of
from freqkit.report.provenance import cost_rows, model_rows, provenance_rows
from freqkit.report.sections import gallery
from freqkit.report.words import weights_cautions
from freqkit.results import rows
from freqkit.results.result import Result, TensorFile
from freqkit.text import shorten

__all__ = ["GradientSpectrumResult", "gradient_spectrum"]
COLUMNS = ("class", "images", "peak", "centre", "high")
SHARED = True  # ranks share its work
TILE = 8  # batches of a record of the journal


@dataclass
class GradientSpectrumResult(Result):
    """Spectra of loss gradients, of one model or of the same one at E moments of its training.

    Attributes:
        classes: C names. moments: E names, "" for the model itself.
        inner: float64 [R], where each ring begins, cycles/image; a ring is one cycle wide.
        means: float64 [E, C, R], mean of each ring over a class's images, each image from 0 to 1 over its rings; NaN
            for a class without an image that has a gradient.
        squares: float64 [E, C, R], mean of the squares.
        counts: int64 [E, C], images whose gradient is not 0 everywhere; only these are averaged.
        planes: float32 [E, H, W], centred: magnitude of every frequency, of each image over its mean, averaged over
            the images; DC is `[H//2, W//2]`.
        definition, record: JSON-ready dicts.
    """

    classes: list
    moments: list
    inner: torch.Tensor
    means: torch.Tensor
    squares: torch.Tensor
    counts: torch.Tensor
    planes: torch.Tensor
    definition: dict = field(default_factory=dict)
    record: dict = field(default_factory=dict)

    FILE = TensorFile(
        "freqkit-gradient-spectrum-1", "a file of `gradient-spectrum`",
        {"inner": "float64 R", "means": "float64 E C R", "squares": "float64 E C R", "counts": "int64 E C",
         "planes": "float32 E H W"},
        {"classes": [str], "moments": [str], "definition": dict, "record": RECORD},
        {"C": "classes", "E": "moments"},
    )  # fmt: skip
    COLUMNS, FIGURE = COLUMNS, "plot_gradient_spectrum"

    @property
    def evolution(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(mean, std), float64 [E, R] each: over all images with a gradient, the population's standard deviation."""
        share = self.counts.double()[..., None] / self.counts.sum(1).clamp_min(1)[:, None, None]
        mean, square = ((share * values.nan_to_num()).sum(1) for values in (self.means, self.squares))
        return mean, (square - mean.square()).clamp_min(0).sqrt()

    @property
    def mean(self) -> torch.Tensor:
        """float64 [R], of the last moment."""
        return self.evolution[0][-1]

    @property
    def std(self) -> torch.Tensor:
        """float64 [R], over the images, of the last moment."""
        return self.evolution[1][-1]

    @property
    def plane(self) -> torch.Tensor:
        """float32 [H, W], centred, of the last moment."""
        return self.planes[-1]

    @property
    def peak(self) -> torch.Tensor:
        """float64 [C], where each class's highest ring begins, of the last moment."""
        found = self.inner[self.means[-1].nan_to_num(-1).argmax(1)]
        return torch.where(self.means[-1].isnan().any(1), torch.nan, found)

    def cells(self):
        """class, images with a gradient, and of the last moment: the highest ring, the mean radius weighted by the
        rings' means, and the share of their sum that lies from half of the rings on."""
        return [self.classes, self.counts[-1], self.peak, *_facts(self.means[-1], self.inner)]

    def rows(self):
        """ "gradient" of every ring (field radius) and class, and of all images (class ""), at every moment."""
        found = []
        for e, moment in enumerate(self.moments):
            about = rows.of_record(self.record, definition=self.definition.get("quantity", ""))
            about["condition"] = moment or "all"
            for k, radius in enumerate(self.inner.tolist()):
                where = {**about, "radius": radius}
                found += rows.values(
                    [""], "gradient", self.evolution[0][e, k][None], [int(self.counts[e].sum())], **where
                )
                found += rows.values(self.classes, "gradient", self.means[e, :, k], self.counts[e], **where)
        return found

    @classmethod
    def checked(cls, values, path):
        in_range(values["counts"], 0, 2**53, path, "counts")
        return values


@dataclass(frozen=True, kw_only=True)
class Rising(Options):
    """What `gradient_spectrum` is asked."""

    rings: str = option(
        "centred", "rings around DC, all of them; or those of the published code, half a bin off it, without the first "
        "and the last", choices=RINGS,
    )  # fmt: skip
    checkpoints: str | os.PathLike | None = option(
        None, "folder of weights that a training kept (weights-0005.safetensors, ...): the spectrum of each, in the "
        "order of their names", metavar="DIR", kind="folder", help="weights that a training kept, each a moment",
        identity=False,
    )  # fmt: skip


@flat
def gradient_spectrum(
    model: Network, images: Images, own: Rising, scoring: Scoring, running: Directory
) -> GradientSpectrumResult:
    """The spectrum of the gradient of a model's loss with respect to its images.

    For every image g = d cross-entropy/d pixels in [0, 1], before normalisation, of the model in evaluation mode;
    |DFT2(sum of g over the channels)|, averaged over each ring, minus the least ring, over the range of the rings.

    Args:
        model: a `Classifier`, or what `freqkit.models.as_classifier` takes.
        images: what `freqkit.data.as_images` takes; their labels are those of the loss.

    Returns:
        `GradientSpectrumResult`: `.mean` and `.std` [R], `.plane` [H, W].

    Raises:
        UsageError: an argument does not fit; a folder without weights, or with those of another network.
        FloatingPointError: a gradient is NaN or infinite.

    Example:
        >>> from freqkit.data import synthetic
        >>> from freqkit.models import load_model
        >>> model = load_model("small_convnet", num_classes=4)
        >>> found = gradient_spectrum(model, synthetic(1, images_per_class=2), rings="legacy")
        >>> found.mean.shape, found.std.shape, found.plane.shape
        (torch.Size([20]), torch.Size([20]), torch.Size([32, 32]))
    """
    model, images = enter("gradient_spectrum", model, images, scoring.class_index)
    if not len(images):
        raise UsageError("gradient_spectrum: images must hold at least one image; got none.")
    size = tuple(images.images.shape[-2:])
    rings = rings_of(size, own.rings)
    logit_of_class("gradient_spectrum", scoring.class_index, len(images.classes), model.num_classes)
    files = [] if own.checkpoints is None else _kept(own.checkpoints)
    classes, step = len(images.classes), TILE * batch_of(scoring)
    moments = [file.stem for file in files] or [""]
    tiles = [
        (f"gradients/{e}/images-{first}", last - first, (e, slice(first, last)))
        for e in range(len(moments))
        for first in range(0, len(images), step) for last in [min(first + step, len(images))]
    ]  # fmt: skip
    folded, made = Folded(rings, size), {}

    def compute(tile):
        e, within = tile
        if e not in made:  # tiles come in order: one network is held
            made.clear()
            network = _with(model, files[e]) if files else model
            made[e] = Forward(network, device=scoring.device, dtype=scoring.dtype, domain="pixels")
        return _of_tile(model, images, folded, scoring, within, made[e])

    def layout(tile):
        present = len(images.labels[tile[1]].unique())
        return {"sums": ("f", (2, present, len(rings.inner))), "counts": ("i", (present,)),
                "plane": ("f", folded.half)}  # fmt: skip

    def work(share, record):
        sums = np.zeros((len(moments), 2, classes, len(rings.inner)))
        counts, half = np.zeros((len(moments), classes), np.int64), np.zeros((len(moments), *folded.half))
        for (e, within), found in share(tiles, compute, layout, {"sums": sums, "counts": counts, "half": half}):
            present = images.labels[within].unique().numpy()
            sums[e][:, present] += found["sums"]
            counts[e, present] += found["counts"]
            half[e] += found["plane"]
        sums, counts, half = (torch.from_numpy(each) for each in (sums, counts, half))
        each = counts[:, None, :, None]
        means, squares = torch.where(each > 0, sums / each.clamp_min(1), torch.nan).unbind(1)
        planes = (folded.whole(half) / counts.sum(1).clamp_min(1)[:, None, None]).float()
        where = None if own.checkpoints is None else str(own.checkpoints)
        record.update(forwards=passes, backwards=passes, checkpoints=where)
        return GradientSpectrumResult(
            list(images.classes), moments, rings.inner, means.contiguous(), squares.contiguous(), counts, planes,
            definition, record,
        )  # fmt: skip

    definition = {
        "quantity": "gradient spectrum",
        "rings": own.rings,
        "scale": "each image's rings from 0 to 1",
        "channels": "sum with signs",
    }
    passes = len(images) * len(moments)
    more = {"weights": [file_sha256(file) for file in files]}
    return run_tiles("gradient-spectrum", model, images, (passes, "backwards"), own, scoring, running, work, **more)


def joined(results: Sequence[GradientSpectrumResult], record: dict) -> GradientSpectrumResult:
    """One result of several of disjoint images that were asked alike, on the given record."""
    counts = torch.stack([one.counts for one in results])  # [P, E, C]
    total = counts.sum(0)
    shares = (counts / total.clamp_min(1))[..., None]

    def mean(values):
        found = (torch.stack(values).nan_to_num() * shares).sum(0)
        return torch.where(total[..., None] > 0, found, torch.nan)

    of_all = (counts.sum(2) / total.sum(1).clamp_min(1))[..., None, None]
    planes = (torch.stack([one.planes for one in results]).double() * of_all).sum(0).float()
    return replace(
        results[0], means=mean([one.means for one in results]), squares=mean([one.squares for one in results]),
        counts=total, planes=planes, record=record,
    )  # fmt: skip


class Folded:
    """Means over rings from half of a plane: |DFT| of a real plane is the same at f and -f.

    Attributes:
        half: (H, W//2 + 1), the shape of the half, in torch's layout.
    """

    def __init__(self, rings, size):
        height, width = size
        self.size, self.half = size, (height, width // 2 + 1)
        index = torch.fft.ifftshift(rings.index)
        rows, columns = torch.arange(height), torch.arange(self.half[1])
        mirrored = index[(-rows) % height][:, (-columns) % width]
        own = index[:, : self.half[1]]
        alone = (columns == 0) | (2 * columns == width)  # whose mirror images stand in the half themselves
        self.often = torch.where(alone, 1.0, 2.0).double().expand(self.half)
        matrix = torch.zeros(own.numel(), len(rings.counts), dtype=torch.float64)
        for place, counted in ((own, torch.ones(self.half, dtype=torch.bool)), (mirrored, ~alone.expand(self.half))):
            there = (counted & (place >= 0)).flatten()
            matrix[there.nonzero().flatten(), place.flatten()[there]] += 1
        self.matrix = matrix / rings.counts

    def rings(self, half):
        """float64 [b, R] of float64 [b, H, W//2 + 1]."""
        return half.flatten(1) @ self.matrix

    def mean(self, half):
        """float64 [b, 1, 1], of the whole planes."""
        return ((half * self.often).sum((1, 2)) / (self.size[0] * self.size[1]))[:, None, None]

    def whole(self, half):
        """Centred planes [..., H, W] of halves."""
        height, width = self.size
        rows, columns = torch.arange(height), torch.arange(self.half[1], width)
        rest = half[..., (-rows) % height, :][..., width - columns]
        return torch.fft.fftshift(torch.cat([half, rest], -1), (-2, -1))


def _of_tile(model, images, folded, scoring, within, forward):
    """Of some images: sums of rings and of their squares [2, present, R], counts, and the sum of half planes."""
    present, place = images.labels[within].unique(return_inverse=True)
    sums = torch.zeros(2, len(present), folded.matrix.shape[1], dtype=torch.float64)
    counts, plane = torch.zeros(len(present), dtype=torch.int64), torch.zeros(folded.half, dtype=torch.float64)
    how = {"within": within, "forward": forward}
    for some, gradient, _ in input_gradients("gradient_spectrum", model, images, scoring, **how):
        magnitude = torch.fft.rfft2(gradient.sum(1).double()).abs().cpu()
        label = place[some.start - within.start : some.stop - within.start]
        there = magnitude.amax((1, 2)) > 0
        if not there.all():
            magnitude, label = magnitude[there], label[there]
        ring = folded.rings(magnitude)
        low, high = ring.amin(1, keepdim=True), ring.amax(1, keepdim=True)
        ring = (ring - low) / torch.where(high > low, high - low, 1)
        for total, values in zip(sums, (ring, ring.square()), strict=True):
            total.index_add_(0, label, values)
        counts += torch.bincount(label, minlength=len(present))
        plane += (magnitude / folded.mean(magnitude)).sum(0)
    return {"sums": sums.numpy(), "counts": counts.numpy(), "plane": plane.numpy()}


def _kept(folder):
    files = sorted(Path(folder).glob("weights-*.safetensors"))
    if not files:
        raise UsageError(
            f"gradient_spectrum: checkpoints must be a folder with weights-*.safetensors, which `train` keeps when "
            f"asked (keep_every); {str(folder)!r} has none."
        )
    return files


def _with(model: Classifier, file):
    """A copy with a file's weights."""
    model = copy.deepcopy(model)
    state, _ = read_state_dict(file)
    load_state(model.network, state, what=f"gradient_spectrum: {file} must hold the weights of {model.name}")
    return model


def _facts(means, inner):
    """Of spectra [..., R]: the mean radius weighted by them, and the share from half of the rings on."""
    total = means.sum(-1)
    middle = inner + 0.5
    return (means * middle).sum(-1) / total, means[..., len(inner) // 2 :].sum(-1) / total


TERMS = {
    "gradient spectrum": {
        "short": "At which frequencies a small change of the image changes the model's loss.",
        "formula": "|DFT2(sum over channels of d loss/d pixels)|, ring means, 0 to 1 in each image, averaged",
        "source": "Lin, Gao, Sang, IJCAI 2022 (arXiv 2205.03154)",
        "aliases": ["gradient-spectrum", "rings", "checkpoints", "peak", "centre", "high"],
    }
}
HELP = """At which frequencies the loss reacts to small changes of the images: rings, and the whole plane.

\b
freqkit gradient-spectrum --model cifar_resnet20 --weights resnet20.safetensors \\
                          --data cifar10/test --out runs/gradients
"""


def printed(result: GradientSpectrumResult) -> Printed:
    """What `freqkit gradient-spectrum` prints: where each class's spectrum lies."""
    mean, std = result.evolution
    centre, high = _facts(mean[-1], result.inner)
    everything = int(result.counts[-1].sum())
    return Printed(
        {"rings": result.inner.tolist(), "moments": result.moments, "mean": mean.tolist(), "std": std.tolist(),
         "classes": result.table(), "definition": result.definition},
        [("class", "text"), ("images", "count"), ("peak", "number"), ("centre", "number"), ("high", "0%")],
        [list(row.values()) for row in result.table()],
        "Where the loss reacts: highest ring and mean radius (cycles/image), share from half of the rings on",
        last=["all", everything, float(result.inner[mean[-1].argmax()]), float(centre), float(high)],
    )  # fmt: skip


def plot_gradient_spectrum(result, ax=None, *, of=None, title=None):
    """The spectrum by radius with its spread, and the plane; of several moments a heat map of all.

    Args:
        result: a `GradientSpectrumResult`.
        ax: a matplotlib axis; None: a figure of its own.
        of: with `ax`, "spectrum", "evolution" or "plane"; default the spectrum, of several moments the evolution.
        title: a line above.

    Returns:
        A matplotlib Figure, or `ax`.
    """
    several = len(result.moments) > 1
    kinds = {"spectrum": _lines, "evolution": _heat, "plane": _plane}
    if ax is not None:
        of = of or ("evolution" if several else "spectrum")
        if of not in kinds:
            raise UsageError(f"plot_gradient_spectrum: of must be one of {', '.join(kinds)}; got {of!r}.")
        kinds[of](ax, result)
        return figures.literal(ax)
    shown = ["spectrum", "evolution", "plane"] if several else ["spectrum", "plane"]
    figure = figures.new_figure(4.2 * len(shown), 3.6)
    for axis, name in zip(figure.subplots(1, len(shown)), shown, strict=True):
        kinds[name](axis, result)
    figure.suptitle(title or "Gradient spectrum", fontsize=9.5)
    return figure


def _lines(axis, result):
    """The last moment: the mean of all images, a band of one standard deviation, and each of few classes."""
    middle, (mean, std) = (result.inner + 0.5).numpy(), (values[-1].numpy() for values in result.evolution)
    axis.fill_between(middle, np.maximum(mean - std, 0), mean + std, alpha=0.2, linewidth=0)
    axis.plot(middle, mean, linewidth=2.5, label="all images", color=figures.INK)
    for place, name in enumerate(result.classes[: figures.NAMED_LINES - 1]):
        (line,) = axis.plot(middle, result.means[-1, place], linewidth=1.2, label=shorten(name, 14),
                            **figures.series(place))  # fmt: skip
        figures.note(line, name)
    axis.set_ylim(0, None)
    figures.plain_axes(axis)
    axis.set_xlabel("radius of the frequency (cycles/image)", fontsize=8.5)
    axis.set_ylabel("gradient (0 to 1)", fontsize=8.5)
    figures.name_lines(axis)


def _heat(axis, result):
    """All moments, the whole matrix from 0 to 1."""
    mean = result.evolution[0].numpy()
    low, high = mean.min(), mean.max()
    scaled = (mean - low) / (high - low if high > low else 1)
    radii = [f"{radius:g}" for radius in result.inner.tolist()]
    matrix(
        axis, scaled, result.moments, radii, reach=1, shown=None, letters=14,
        words=lambda e, k: f"{result.moments[e]}, from {radii[k]} cycles/image: {mean[e, k]:.3f}",
    )  # fmt: skip
    axis.set_xlabel("radius of the frequency (cycles/image)", fontsize=8.5)


def _plane(axis, result):
    limits = (0, float(result.plane.max()))
    on_axis(axis, result.plane, "all images", limits=limits, label="gradient over the image's mean", signed=False)


@part(files_of("freqkit-gradient-spectrum-1"))
def gradient_spectrum_part(path, record):
    """At which frequencies the loss reacts to small changes."""
    result = GradientSpectrumResult.load(path)
    mean, about = result.evolution[0], result.record
    centre, high = _facts(mean, result.inner)
    peak, whole = float(result.inner[mean[-1].argmax()]), int(result.counts[-1].sum())
    images = about["data"].get("images", whole) if isinstance(about.get("data"), dict) else whole
    sentences = [
        f"A small change of an image changes the loss most at {peak:g}–{peak + 1:g} cycles/image; the mean radius is "
        f"{float(centre[-1]):.1f}, and {float(high[-1]):.0%} of the spectrum lies in the upper half of the rings."
    ]
    if len(result.moments) > 1:
        sentences.append(
            f"From {result.moments[0]} to {result.moments[-1]} the mean radius went from {float(centre[0]):.1f} to "
            f"{float(centre[-1]):.1f} cycles/image."
        )
    if images != whole:
        sentences.append(f"{images - whole} of {images} images have no gradient at all and are left out.")
    lines = [
        [Cell(row["class"]), Cell.of(row["images"], str(row["images"])), Cell.of(row["peak"], f"{row['peak']:g}"),
         Cell.of(row["centre"], f"{row['centre']:.1f}"), Cell.of(row["high"], f"{row['high']:.0%}")]
        for row in result.table()
    ]  # fmt: skip
    table = Table(
        [("class", "left", None), ("images", "right", None), ("peak", "right", "peak"), ("centre", "right", "centre"),
         ("high", "right", "high")], lines, search=True,
    )  # fmt: skip
    strongest = result.plane.max().clamp_min(1e-30)
    planes = [("all images", "", "Mean gradient of every frequency.", (result.plane / strongest).numpy())]
    sections = [
        Section("Spectrum", [drawing(lambda axis: _lines(axis, result), 8.2, 3.6, "Mean gradient by radius.")],
                "How strongly the loss reacts at each radius; the band is one standard deviation over images.",
                key="gradient-spectrum-lines"),
        Section("Plane", [gallery(planes, tuple(result.plane.shape), "gradient")],
                "The same for every frequency; DC is in the middle.", key="gradient-spectrum-plane"),
        Section("Classes", [table], "Peak: the highest ring; centre: the mean radius; high: the share from half of the "
                "rings on.", key="gradient-spectrum-classes"),
    ]  # fmt: skip
    if len(result.moments) > 1:
        alt = "Mean gradient by radius and moment of the training."
        size = side_of(result.moments, ["20"] * len(result.inner), 14)
        heat = [drawing(lambda axis: _heat(axis, result), *size, alt)]
        words = "A row for each moment; the whole picture from 0 to 1."
        sections.insert(1, Section("As the training went on", heat, words, key="gradient-spectrum-evolution"))
    return Part(
        "Where the loss reacts", sentences, [(f"{peak:g}", "cycles/image, the highest ring"),
        (f"{float(centre[-1]):.1f}", "cycles/image, mean radius")],
        [*model_rows(about), ("Rings", result.definition.get("rings", ""))], sections, cost_rows(about),
        provenance_rows(about), weights_cautions(about), order=34, subtitle="Gradient spectrum",
    )  # fmt: skip
