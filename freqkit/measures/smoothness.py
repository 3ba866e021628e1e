"""Smoothness: the kernels of a network's first layer, and what smoothing them does to clean and attacked images.

Source: Wang, Wu, Huang, Xing, CVPR 2020 (arXiv 1905.13545), section 6, table 2 and figure 7; the two numbers are ours.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from freqkit.data import Images
from freqkit.engine.attacks import Attack, attack
from freqkit.engine.entrance import enter, logit_of_class
from freqkit.engine.forward import Forward
from freqkit.errors import UsageError
from freqkit.files.reading import in_range
from freqkit.files.whole import RECORD
from freqkit.measures.pass_curves import InPixels
from freqkit.measures.printed import Printed
from freqkit.measures.running import run_tiles
from freqkit.models import Network, smooth_kernels
from freqkit.models.smoothing import first_convolution, smoothed
from freqkit.options import Directory, Options, flat, option
from freqkit.report import figures
from freqkit.report.blocks import Cell, Panels, Part, Section, Table
from freqkit.report.inline import drawing
from freqkit.report.pages import files_of, part
from freqkit.report.planes import colours
from freqkit.report.provenance import cost_rows, model_rows, provenance_rows
from freqkit.report.svg import data_uri, escape, percent, plane_png
from freqkit.report.words import span, weights_cautions
from freqkit.results import rows
from freqkit.results.result import Result, TensorFile
from freqkit.statistics import wilson

__all__ = ["SmoothnessResult", "kernel_roughness", "smoothness"]
FORMAT = "freqkit-smoothness-1"
SHARED = True  # ranks share its work
RHO = (0.0, 0.1, 0.25, 0.5, 1.0)
ATTACKS = ("fgsm:eps=8", "pgd:eps=8:steps=10")
SCALES = ("published", "normalised")
BATCH = 64  # images at once, where that is left open
FILTERS = 16  # in a row of the picture


def kernel_roughness(kernels: torch.Tensor) -> tuple[float, float]:
    """How rough convolution kernels are.

    Args:
        kernels: real [out, in, h, w].

    Returns:
        (variation, outside): the mean |difference| of neighbouring weights (to the right and below) over the mean
        |weight|; and the share of the kernels' DFT energy outside of 1 cycle/kernel. NaN of kernels that are 0
        everywhere; of kernels of one weight the variation is NaN and the share 0.

    Example:
        >>> kernel_roughness(torch.ones(1, 1, 3, 3))
        (0.0, 0.0)
        >>> [round(value, 2) for value in kernel_roughness(torch.tensor([[[[1.0, -1], [-1, 1]]]]))]
        [2.0, 1.0]
    """
    if kernels.ndim != 4:
        raise UsageError(f"kernel_roughness: kernels must have shape [out, in, h, w]; got {list(kernels.shape)}.")
    w = kernels.detach().double()
    steps = torch.cat([w.diff(dim=2).flatten(), w.diff(dim=3).flatten()]).abs()
    energy = torch.fft.fft2(w).abs().square().sum((0, 1))
    # of a kernel that is not square 1 cycle along either side
    rows, columns = (torch.fft.fftfreq(n, 1 / n, dtype=torch.float64) for n in w.shape[-2:])
    outside = torch.hypot(rows[:, None], columns[None]) > 1 + 1e-9
    return float(steps.mean() / w.abs().mean()), float(energy[outside].sum() / energy.sum())


@dataclass
class SmoothnessResult(Result):
    """A network with its first layer smoothed in V ways, and what each recognises, attacked and not.

    Attributes:
        classes: C names. attacks: A titles.
        scales: V of "published" and "normalised"; rho: float64 [V]. The first is the network as it is.
        kernels: float32 [F, I, h, w], of the network as it is.
        variation, outside: float64 [V], see `kernel_roughness`.
        right: uint8 [V, A + 1, n], whether each image is recognised, first without an attack.
        labels: int64 [n].
        definition, record: JSON-ready dicts.
    """

    classes: list
    attacks: list
    scales: list
    rho: torch.Tensor
    kernels: torch.Tensor
    variation: torch.Tensor
    outside: torch.Tensor
    right: torch.Tensor
    labels: torch.Tensor
    definition: dict = field(default_factory=dict)
    record: dict = field(default_factory=dict)

    FILE = TensorFile(
        FORMAT, "a file of `smoothness`",
        {"rho": "float64 V", "kernels": "float32 F I h w", "variation": "float64 V", "outside": "float64 V",
         "right": "uint8 V any n", "labels": "int64 n"},
        {"classes": [str], "attacks": [str], "scales": [str], "record": RECORD,
         "definition": {"quantity": str, "layer": str, "confidence": float}},
        {"C": "classes", "V": "scales"},
    )  # fmt: skip
    COLUMNS = (
        "kernels",
        "rho",
        "attack",
        "images",
        "accuracy",
        "accuracy low",
        "accuracy high",
        "variation",
        "outside",
    )
    FIGURE = "plot_smoothness"
    MAIN = ("highest", "accuracy")

    @property
    def layer(self):
        """The name of the layer of the kernels."""
        return self.definition["layer"]

    @property
    def counts(self):
        """int64 [C], images of each class."""
        return torch.bincount(self.labels, minlength=len(self.classes))

    @property
    def tallies(self):
        """int64 [V, A + 1, C + 1], images that are recognised: all, and of each class."""
        found = torch.zeros(*self.right.shape[:2], len(self.classes) + 1, dtype=torch.int64)
        found.index_add_(2, self.labels + 1, self.right.long())
        found[..., 0] = self.right.long().sum(2)
        return found

    @property
    def accuracy(self):
        """float64 [V, A + 1], share of all images that are recognised: clean, and under each attack."""
        return self.right.double().mean(2)

    @property
    def conditions(self):
        """A + 1 names, "" without an attack."""
        return ["", *self.attacks]

    def limits(self):
        """float64 [V, A + 1, 2], the intervals of `accuracy`."""
        hits = self.right.long().sum(2)
        n = torch.full_like(hits, len(self.labels))
        return wilson(hits.flatten(), n.flatten(), self.definition["confidence"]).view(*hits.shape, 2)

    def cells(self):
        """One line for each way of smoothing and attack."""
        each, n = len(self.conditions), len(self.labels)
        return [
            [one for one in self.scales for _ in range(each)], self.rho.repeat_interleave(each),
            self.conditions * len(self.scales), [n] * (each * len(self.scales)), self.accuracy.flatten(),
            *self.limits().flatten(0, 1).unbind(1), self.variation.repeat_interleave(each),
            self.outside.repeat_interleave(each),
        ]  # fmt: skip

    def rows(self):
        """top-1 of every way of smoothing and attack, of all images and of each class; and the kernels' numbers."""
        found, confidence = [], self.definition["confidence"]
        about = rows.of_record(self.record)
        counts = torch.cat([torch.tensor([len(self.labels)]), self.counts])
        for v, (scale, rho) in enumerate(zip(self.scales, self.rho.tolist(), strict=True)):
            words = f"{self.definition['quantity']}, {scale}, rho {rho:g}"
            for a, name in enumerate(self.conditions):
                where = {**about, "condition": name or "all", "definition": words}
                found += rows.shares(["", *self.classes], "top-1", self.tallies[v, a], counts, confidence, **where)
            for metric, value in (("kernel variation", self.variation[v]), ("kernel energy outside", self.outside[v])):
                found += rows.values([""], metric, [float(value)], **{**about, "definition": words})
        return found

    @classmethod
    def checked(cls, values, path):
        labels, right, scales = values["labels"], values["right"], values["scales"]
        if not len(labels) or not scales or not {*scales} <= {*SCALES}:
            raise UsageError(f"{path}: there must be images, and scales that are published or normalised.")
        if right.shape[1] != len(values["attacks"]) + 1:
            raise UsageError(f"{path}: the tensor right must hold a row without an attack and one for each.")
        in_range(labels, 0, len(values["classes"]) - 1, path, "labels")
        in_range(right, 0, 1, path, "right")
        in_range(values["rho"], 0, 2**20, path, "rho")
        if not values["kernels"].isfinite().all() or not values["kernels"].numel():
            raise UsageError(f"{path}: the tensor kernels must hold finite numbers.")
        return values


@dataclass(frozen=True, kw_only=True)
class Smoothing(Options):
    """What `smoothness` is asked."""

    rho: Sequence[float] = option(
        RHO, "rising weights of the eight neighbours, from 0", metavar="R,R,...", kind="numbers",
        usual="0,0.1,0.25,0.5,1", help="weights of the neighbours",
    )  # fmt: skip
    normalise: str = option(
        "both", "no: smoothed kernels as published, which grow by up to 1 + 8 rho; yes: divided by that; both",
        choices=("no", "yes", "both"), help="whether smoothed kernels are divided by 1 + 8 rho",
    )  # fmt: skip
    attacks: Sequence[str] = option(
        ATTACKS, "of every smoothed network (white box), as `freqkit.measures.Attack.parse` takes them", kind="names",
        metavar="ATTACK[,ATTACK...]", usual=",".join(ATTACKS), help="attacks, as `freqkit evaluate --on` takes them",
    )  # fmt: skip
    confidence: float = option(0.95, "how sure the intervals are", above=0, below=1)

    def check(self, owner):
        given = list(self.rho) if isinstance(self.rho, (list, tuple)) else []
        good = all(isinstance(one, (int, float)) and not isinstance(one, bool) and 0 <= one < 2**20 for one in given)
        if not given or not good or any(b <= a for a, b in itertools.pairwise(given)):
            raise UsageError(f"{owner}: rho must be rising numbers from 0 on; got {self.rho!r}.")
        if isinstance(self.attacks, str) or not all(isinstance(one, str) for one in self.attacks):
            raise UsageError(f"{owner}: attacks must be a list of attacks as pgd:eps=8; got {self.attacks!r}.")
        return self

    def specs(self):
        """The attacks.

        Raises:
            UsageError: one is none, is there twice, or needs masks.
        """
        found = [Attack.parse(text) for text in self.attacks]
        for one in found:
            if one.band == "own" or one.refilter:
                raise UsageError(f"smoothness: attacks must need no masks; got {one.title}.")
        if len({one.title for one in found}) < len(found):
            raise UsageError(f"smoothness: attacks must differ; got {', '.join(self.attacks)}.")
        return found

    def ways(self):
        """[(scale, rho), ...], the network as it is first."""
        some = [rho for rho in self.rho if rho > 0]
        return [
            (SCALES[0], 0.0),
            *((SCALES[0], float(rho)) for rho in some if self.normalise != "yes"),
            *((SCALES[1], float(rho)) for rho in some if self.normalise != "no"),
        ]


@flat
def smoothness(
    model: Network, images: Images, own: Smoothing, scoring: InPixels, running: Directory
) -> SmoothnessResult:
    """The kernels of a network's first layer; and its accuracy, clean and attacked, with smoother ones.

    w' = w + rho (the sum of its eight neighbours), over 1 + 8 rho where it is normalised, in the first convolution
    (`freqkit.models.smooth_kernels`); nothing is trained again, and attacks see the smoothed network.

    Args:
        model: a `Classifier`. images: those of the test, as `freqkit.data.as_images` takes them.

    Returns:
        `SmoothnessResult`: V ways of smoothing, A attacks.

    Raises:
        UsageError: an argument does not fit; a network without a convolution.

    Source: Wang, Wu, Huang, Xing, CVPR 2020 (arXiv 1905.13545).

    Example:
        >>> from freqkit.data import synthetic
        >>> from freqkit.models import load_model
        >>> model, images = load_model("small_convnet"), synthetic(images_per_class=2)
        >>> result = smoothness(model, images, rho=[0, 1], attacks=["fgsm:eps=2"])
        >>> result.accuracy.shape, result.scales
        (torch.Size([3, 2]), ['published', 'published', 'normalised'])
    """
    model, images = enter("smoothness", model, images, scoring.class_index)
    if not len(images):
        raise UsageError("smoothness: images must hold at least one image; got none.")
    index = logit_of_class("smoothness", scoring.class_index, len(images.classes), model.num_classes)
    name, layer = first_convolution(model)
    specs, ways = own.specs(), own.ways()
    step = BATCH if scoring.batch_size == "auto" else int(scoring.batch_size)
    tiles = [
        (f"smoothed/{v}/images-{first}", min(step, len(images) - first), (v, first, min(first + step, len(images))))
        for v in range(len(ways)) for first in range(0, len(images), step)
    ]  # fmt: skip
    made = {}  # the network of the last way; tiles come in order

    def compute(tile):
        v, first, last = tile
        if v not in made:
            made.clear()
            scale, rho = ways[v]
            smooth = model if rho == 0 else smooth_kernels(model, rho, normalise=scale == SCALES[1])
            made[v] = Forward(smooth, device=scoring.device, dtype=scoring.dtype)
        right, passes = _recognised(made[v], images, slice(first, last), index, specs)
        return {"right": right, "passes": np.array(passes)}

    def layout(tile):
        return {"right": ("i", (len(specs) + 1, tile[2] - tile[1])), "passes": ("i", (2,))}

    def work(share, record):
        right = torch.zeros(len(ways), len(specs) + 1, len(images), dtype=torch.uint8)
        passes = np.zeros(2, np.int64)
        for (v, first, last), found in share(tiles, compute, layout, {"right": right.numpy(), "passes": passes}):
            right[v, :, first:last] = torch.from_numpy(found["right"].copy())
            passes += found["passes"]
        record.update(forwards=int(passes[0]), backwards=int(passes[1]))
        kernels = layer.weight.detach().float().cpu()
        rough = [kernel_roughness(smoothed(kernels, rho, scale == SCALES[1])) for scale, rho in ways]
        variation, outside = torch.tensor(rough, dtype=torch.float64).T.contiguous()
        definition = {
            "quantity": f"first layer {name.removeprefix('network.')} smoothed",
            "layer": name.removeprefix("network."),
            "attacks": [one.options for one in specs], "confidence": own.confidence,
        }  # fmt: skip
        return SmoothnessResult(
            list(images.classes), [one.title for one in specs],
            [scale for scale, _ in ways], torch.tensor([rho for _, rho in ways], dtype=torch.float64),
            kernels.contiguous(), variation.clone(), outside.clone(), right, images.labels.clone(), definition, record,
        )  # fmt: skip

    return run_tiles("smoothness", model, images, (len(images) * len(ways), "images"), own, scoring, running, work)


def _recognised(forward, images, some, index, specs):
    """uint8 [A + 1, b]: whether images are recognised, without an attack and under each; and [forwards, backwards]."""
    pixels = images.images[some].to(forward.device).to(forward.compute).div_(255)
    mean, std = (torch.tensor(v, dtype=pixels.dtype, device=pixels.device).view(1, 3, 1, 1)
                 for v in (forward.mean, forward.std))  # fmt: skip
    target = index[images.labels[some]].to(forward.device)
    answers = forward(((pixels - mean) / std).contiguous(memory_format=torch.channels_last)).argmax(1)
    found, passes = [answers == target], [len(pixels), 0]
    keys = [str(path) for path in images.paths[some]]
    for spec in specs:
        attacked = attack(
            forward.module, pixels, target, spec, mean=forward.mean, std=forward.std, answers=answers, keys=keys,
            batch_size=len(pixels),
        )  # fmt: skip
        found.append(attacked.answers == target)
        passes = [passes[0] + attacked.forwards, passes[1] + attacked.backwards]
    return torch.stack(found).to(torch.uint8).cpu().numpy(), passes


TERMS = {
    "smoothness": {
        "short": "How rough the kernels of a network's first layer are, and what smoothing them changes.",
        "formula": "w' = w + rho (sum of the 8 neighbours); variation = mean |w - neighbour| / mean |w|; outside = "
        "share of the kernels' DFT energy beyond 1 cycle/kernel",
        "more": "As published w' is not normalised, so that a smooth kernel grows by up to 1 + 8 rho; normalised "
        "divides by that.",
        "source": "Wang, Wu, Huang, Xing, CVPR 2020 (arXiv 1905.13545), section 6",
        "aliases": ["variation", "outside", "kernels", "attacks", "attack", "eps", "clamp", "refilter"],
    },
}  # fmt: skip
HELP = """How rough the first layer's kernels are, and what smoothing them does to clean and attacked images.

\b
freqkit smoothness --model cifar_resnet20 --weights resnet20.safetensors --data cifar10/test \\
                   --rho 0,0.25,1 --attacks fgsm:eps=8,pgd:eps=8:steps=10 --out runs/smoothness
"""


def printed(result: SmoothnessResult) -> Printed:
    """What `freqkit smoothness` prints: each class, as it is and with the smoothest kernels."""
    last = max(range(len(result.scales)), key=lambda v: float(result.rho[v]))
    shown = [(v, a) for v in dict.fromkeys((0, last)) for a in dict.fromkeys((0, len(result.attacks)))]
    names = [f"rho {float(result.rho[v]):g}{', ' + result.attacks[a - 1].split()[0] if a else ''}" for v, a in shown]
    tallies = result.tallies
    lines = [
        [name, n, *(int(tallies[v, a, c + 1]) / n if n else float("nan") for v, a in shown)]
        for c, (name, n) in enumerate(zip(result.classes, result.counts.tolist(), strict=True))
    ]
    return Printed(
        {"layer": result.layer, "smoothed": result.table(), "definition": result.definition,
         "forwards": result.record["forwards"]},
        [("class", "text"), ("images", "count"), *((name, "0%") for name in names)], lines,
        f"Recognised with the kernels of {result.layer} as they are and smoothed",
        last=["all", len(result.labels), *(float(result.accuracy[v, a]) for v, a in shown)],
        verdict=f"Neighbouring weights differ by {float(result.variation[0]):.2f} of the mean weight; "
        f"{percent(float(result.outside[0]))} of the kernels' energy lies beyond 1 cycle/kernel",
    )  # fmt: skip


def plot_smoothness(result, ax=None, *, of=None, title=None):
    """The kernels, and accuracy over rho, clean and attacked.

    Args:
        result: a `SmoothnessResult`.
        ax: a matplotlib axis; None: a figure of its own.
        of: with `ax`, "accuracy" (default) or "kernels".
        title: a line above.

    Returns:
        A matplotlib Figure, or `ax`.
    """
    kinds = {"accuracy": _lines, "kernels": lambda axis, result: _tiles(axis, result.kernels)}
    if ax is not None:
        of = of or "accuracy"
        if of not in kinds:
            raise UsageError(f"plot_smoothness: of must be one of {', '.join(kinds)}; got {of!r}.")
        kinds[of](ax, result)
        return figures.literal(ax)
    figure = figures.new_figure(9.4, 3.6)
    left, right = figure.subplots(1, 2)
    kinds["kernels"](left, result)
    kinds["accuracy"](right, result)
    figure.suptitle(title or f"Kernels of {result.layer}, and what smoothing them changes", fontsize=9.5)
    return figures.literal(figure)


def _canvas(kernels):
    """Filters beside one another, a row for each input channel: [H, W] in [-1, 1], each tile from its least to its
    largest weight, NaN between them."""
    count, channels, height, width = kernels.shape
    channels, across = min(channels, 3), min(FILTERS, count)
    down = -(-min(count, 4 * FILTERS) // across)
    canvas = np.full((down * (channels * (height + 1) + 1) - 2, across * (width + 1) - 1), np.nan)
    for place in range(min(count, down * across)):
        row, column = divmod(place, across)
        for channel in range(channels):
            tile = kernels[place, channel].double().numpy()
            low, high = tile.min(), tile.max()
            top = row * (channels * (height + 1) + 1) + channel * (height + 1)
            scaled = 2 * (tile - low) / (high - low) - 1 if high > low else np.zeros_like(tile)
            canvas[top : top + height, column * (width + 1) : column * (width + 1) + width] = scaled
    return canvas


def _tiles(axis, kernels):
    axis.imshow(_canvas(kernels), cmap=colours(True), vmin=-1, vmax=1, interpolation="nearest")
    axis.set_axis_off()


def _picture(kernels, alt):
    """The same as SVG for a page."""
    canvas = _canvas(kernels)
    height, width = canvas.shape
    side = min(10.0, 380 / width)
    box = f"0 0 {side * width:.0f} {side * height:.0f}"
    return (
        f'<svg class="chart" width="{side * width:.0f}" viewBox="{box}" role="img" aria-label="{escape(alt)}">'
        f'<image href="{data_uri(plane_png(canvas, signed=True))}" width="{side * width:.0f}" '
        f'height="{side * height:.0f}" preserveAspectRatio="none" style="image-rendering:pixelated"/></svg>'
    )


def _lines(axis, result):
    """Accuracy over rho: a colour for each attack, dashed where kernels are normalised."""
    accuracy, limits = 100 * result.accuracy, 100 * result.limits()
    for scale, style in zip(SCALES, ("-", "--"), strict=True):
        at = [0, *(v for v, one in enumerate(result.scales) if v and one == scale)]
        if len(at) < 2 and scale == SCALES[1]:
            continue
        for a, name in enumerate(result.conditions):
            colour = figures.CYCLE[a % len(figures.CYCLE)]
            label = (name or "clean") + (", normalised" if scale == SCALES[1] else "")
            words = [f"{label}, rho {float(result.rho[v]):g}: {float(accuracy[v, a]):.1f} %" for v in at]
            line = axis.plot(
                result.rho[at], accuracy[at, a], style, color=colour, marker="o", markersize=3, label=label
            )
            axis.fill_between(result.rho[at], *limits[at, a].T, color=colour, alpha=0.1, linewidth=0)
            figures.note(line[0], words)
    axis.set_ylim(0, None)
    axis.set_xlabel("rho, weight of the neighbours")
    axis.set_ylabel("recognised (percent)")
    figures.plain_axes(axis)
    figures.legend(axis)


@part(files_of(FORMAT))
def smoothness_part(path, record):
    """How rough the first layer is, and what smoothing it changes."""
    result = SmoothnessResult.load(path)
    about = result.record if record is None else {**result.record, **record}
    accuracy, limits = result.accuracy, result.limits()
    sentences = [
        f"Neighbouring weights of {result.layer} differ by {float(result.variation[0]):.2f} of the mean weight, and "
        f"{percent(float(result.outside[0]))} of the kernels' energy lies beyond 1 cycle/kernel."
    ]
    for scale in SCALES:
        at = [v for v, one in enumerate(result.scales) if v and one == scale]
        if at:
            v, changes = at[-1], []
            for a, name in enumerate(result.conditions):
                changes.append(f"{name or 'clean'} {percent(accuracy[0, a], 1)} to {percent(accuracy[v, a], 1)}")
            sentences.append(f"Smoothed with rho {float(result.rho[v]):g} ({scale}): {'; '.join(changes)}.")
    lines = [
        [Cell(scale if rho else "as it is"), Cell.of(rho, f"{rho:g}"), Cell.of(variation, f"{variation:.3f}"),
         Cell.of(outside, percent(outside, 1)),
         *(Cell.of(value, f"{percent(value, 1)} ({span(limit)})")
           for value, limit in zip(accuracy[v].tolist(), limits[v].tolist(), strict=True))]
        for v, (scale, rho, variation, outside) in enumerate(zip(
            result.scales, result.rho.tolist(), result.variation.tolist(), result.outside.tolist(), strict=True))
    ]  # fmt: skip
    table = Table(
        [("kernels", "left", "kernels"), ("rho", "right", "smoothness"), ("variation", "right", "variation"),
         ("outside", "right", "outside"), *((name or "clean", "right", None) for name in result.conditions)], lines,
    )  # fmt: skip
    last = max(range(len(result.scales)), key=lambda v: float(result.rho[v]))
    smooth = result.kernels if last == 0 else _smoothed(result, last)
    panels = Panels(
        [(words, _picture(kernels, f"Kernels, {words}."))
         for words, kernels in (("as they are", result.kernels), (f"rho {float(result.rho[last]):g}", smooth))]
    )  # fmt: skip
    classes = Table(
        [("class", "left", None), ("images", "right", None), *((name or "clean", "right", None) for name in
                                                               result.conditions)],
        [[Cell(name), Cell.of(float(n), str(n)),
          *(Cell.of(float(hits) / n if n else None, percent(int(hits) / n) if n else "–")
            for hits in result.tallies[0, :, c + 1])]
         for c, (name, n) in enumerate(zip(result.classes, result.counts.tolist(), strict=True))], search=True,
    )  # fmt: skip
    sections = [
        Section("Kernels", [panels], "A column for each filter, a row for each colour; each tile has its own range.",
                key="smoothness-kernels"),
        Section("Smoothed", [table], "Share of images that are recognised, with intervals; attacks see the smoothed "
                "network. Normalised kernels are divided by 1 + 8 rho.", key="smoothness-smoothed"),
        Section("Classes", [classes], "Of the network as it is.", key="smoothness-classes"),
    ]  # fmt: skip
    alt = f"Accuracy over rho; clean {percent(accuracy[0, 0])} at 0."
    draw = drawing(lambda axis: _lines(axis, result), 7.2, 3.6, alt, narrow=3.6)
    return Part(
        "How smooth the first layer is", sentences,
        [(f"{float(result.variation[0]):.2f}", "relative variation of the kernels"),
         (percent(float(result.outside[0])), "of their energy beyond 1 cycle/kernel")],
        [*model_rows(about), ("Layer", result.layer), ("Attacks", "; ".join(result.attacks) or "none")], sections,
        cost_rows(about), provenance_rows(about), weights_cautions(about), hero=[draw],
        hero_how="Recognised over the weight of the neighbours, with intervals; dashed: normalised kernels.", order=35,
        subtitle="Smoothness",
    )  # fmt: skip


def _smoothed(result, v):
    return smoothed(result.kernels, float(result.rho[v]), result.scales[v] == SCALES[1])
