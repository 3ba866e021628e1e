"""Spectra of layers: how much high frequency the maps inside a network hold, block by block.

Source: Park and Kim, "How Do Vision Transformers Work?", ICLR 2022 (arXiv 2202.06709): the mean log amplitude of
feature maps along the diagonal of their DFT, relative to frequency 0.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from freqkit.data import Images
from freqkit.engine import Progress
from freqkit.engine.entrance import enter
from freqkit.engine.features import features
from freqkit.errors import UsageError
from freqkit.files.reading import in_range
from freqkit.files.whole import RECORD
from freqkit.masks.radial import rings_of
from freqkit.measures.printed import Printed
from freqkit.models import Network
from freqkit.options import Options, Scoring, flat, option
from freqkit.report import figures
from freqkit.report.blocks import Cell, Part, Section, Table
from freqkit.report.inline import drawing
from freqkit.report.pages import files_of, part
from freqkit.report.provenance import cost_rows, model_rows, provenance_rows
from freqkit.report.words import weights_cautions
from freqkit.results import rows
from freqkit.results.result import Result, TensorFile, versions
from freqkit.text import shorten

__all__ = ["LayerSpectraResult", "layer_spectra"]
FORMAT = "freqkit-layer-spectra-1"
LINES = ("ring", "diagonal")
WINDOWS = ("none", "hann")
NAMED = ("Block", "Bottleneck", "Residual")  # classes of modules that are blocks, where a network does not say
MOST = 24  # blocks that are taken unasked
LEAST = 3  # bins of a map's shorter side
LAST = ("NHWC", "Format.NHWC")  # what timm's networks say whose maps have their channels last
FLOOR = 1e-12  # added to amplitudes, for maps that are 0


@dataclass
class LayerSpectraResult(Result):
    """Mean log amplitudes of L layers by frequency, relative to the lowest.

    Attributes:
        layers: L names. sizes: int64 [L, 2], rows and columns of a map. channels: int64 [L].
        trained: float64 [L, R], mean over images and channels of ln |DFT2(map)| at each frequency, less the same at the
            lowest; NaN beyond a layer's own. R is the number of the largest map; a layer's frequencies lie evenly from
            0 to its highest, `highest[l]` (1 is half a cycle for each element of the map).
        spread: float64 [L, R], standard deviation over images of the same.
        untrained: of the network with weights drawn anew; noise: of white noise of the same size.
        counts: int64 [L], frequencies of each layer. images: how many were asked.
        definition, record: JSON-ready dicts.
    """

    layers: list
    sizes: torch.Tensor
    channels: torch.Tensor
    trained: torch.Tensor
    spread: torch.Tensor
    untrained: torch.Tensor
    noise: torch.Tensor
    counts: torch.Tensor
    images: int
    definition: dict = field(default_factory=dict)
    record: dict = field(default_factory=dict)

    FILE = TensorFile(
        FORMAT, "a file of `layer-spectra`",
        {"sizes": "int64 L 2", "channels": "int64 L", "trained": "float64 L R", "spread": "float64 L R",
         "untrained": "float64 L R", "noise": "float64 L R", "counts": "int64 L"},
        {"layers": [str], "images": int, "definition": {"quantity": str, "line": str}, "record": RECORD},
        {"L": "layers"},
    )  # fmt: skip
    COLUMNS = ("layer", "rows", "columns", "channels", "high", "untrained high", "noise high")
    FIGURE = "plot_layer_spectra"

    @property
    def classes(self) -> list:
        """The layers: what a table has a line for."""
        return self.layers

    def frequencies(self, layer: int) -> torch.Tensor:
        """float64 [counts[layer]], of a layer's values: shares of its highest straight frequency, 1 is half a cycle
        for each element."""
        short = int(self.sizes[layer].min())
        return torch.arange(int(self.counts[layer]), dtype=torch.float64) / (short / 2)

    def kinds(self) -> dict:
        """What was measured: name -> float64 [L, R]."""
        return {"trained": self.trained, "untrained": self.untrained, "white noise": self.noise}

    def high(self, values: torch.Tensor) -> torch.Tensor:
        """float64 [L], the mean of `trained` (or another) over the upper half of each layer's frequencies to 1."""
        found = []
        for layer, row in enumerate(values):
            at = self.frequencies(layer)
            found.append(row[: len(at)][(at >= 0.5) & (at <= 1)].mean())
        return torch.stack(found)

    def cells(self):
        return [
            self.layers, *self.sizes.unbind(1), self.channels,
            *(_known(self.high(values)) for values in (self.trained, self.untrained, self.noise)),
        ]  # fmt: skip

    def rows(self):
        about = rows.of_record(self.record, definition=self.definition["quantity"])
        found = []
        for layer, name in enumerate(self.layers):
            half = 1.96 * self.spread[layer] / math.sqrt(max(self.images, 1))
            for k, place in enumerate(self.frequencies(layer).tolist()):
                where = {**about, "condition": name, "radius": place}
                for kind, values in self.kinds().items():
                    value = values[layer, k][None]
                    limits = torch.stack([value - half[k], value + half[k]], 1) if kind == "trained" else None
                    metric = "log amplitude" if kind == "trained" else f"log amplitude, {kind}"
                    found += rows.values([""], metric, value, [self.images], limits, **where)
        return found

    @classmethod
    def checked(cls, values, path):
        in_range(values["sizes"], 1, 1 << 20, path, "sizes")
        in_range(values["counts"], 1, values["trained"].shape[1], path, "counts")
        if values["images"] < 1 or not values["layers"]:
            raise UsageError(f"{path}: images must be at least 1, and layers must name one.")
        return values


@dataclass(frozen=True, kw_only=True)
class Layered(Options):
    """What `layer_spectra` is asked."""

    layers: Sequence[str] | None = option(
        None, "names of modules, as named_modules has them; None: all blocks", kind="names", metavar="NAME[,NAME...]",
        help="names of modules.  [default: all blocks]",
    )  # fmt: skip
    line: str = option(
        "ring", "ring: means over rings one bin wide; diagonal: the bins (k, k), as published", choices=LINES,
    )  # fmt: skip
    window: str = option(
        "none", "hann: maps times a Hann window of each side, so that their edges do not count as high frequencies; "
        "published: none", choices=WINDOWS,
    )  # fmt: skip
    tokens: int | None = option(
        None, "tokens before the patches (class token, registers) of layers that give tokens; None: as the network "
        "says, or what is left of the largest square", least=0, metavar="N",
        help="tokens that are no patches, left out.  [default: as the network says]",
    )  # fmt: skip
    channels: str = option(
        "auto", "where the channels of maps are: first, [b, C, h, w], or last, [b, h, w, C]; auto: as the network "
        "says, else first, refused where only last has the images' shape", choices=("auto", "first", "last"),
    )  # fmt: skip
    seed: int = option(0, "of the weights that are drawn anew, and of the noise", least=0)


@flat
def layer_spectra(
    model: Network, images: Images, own: Layered, scoring: Scoring, *, progress: Progress | None = None
) -> LayerSpectraResult:
    """Log amplitudes of the maps that layers give, by frequency, relative to the lowest.

    A map [h, w] is a channel of a layer: of [b, C, h, w] as it is; of tokens [b, N, D] the patches on their grid, the
    class token and registers left out. a = ln(|DFT2(map)| + 1e-12), averaged over channels and images; then over rings
    of one bin (`freqkit.masks.radial`), or the diagonal bins (k, k), k = 0 ... min(h, w)/2; minus the value at k = 0,
    which is DC. The same is done with weights drawn anew (every module that has `reset_parameters`), and with white
    noise of the layer's size: what a network has learned is the difference to the first; the second is flat but for
    k = 0.

    Args:
        model: a `Classifier`, or what `freqkit.models.as_classifier` takes.
        images: what `freqkit.data.as_images` takes; labels do not matter.
        progress: a `freqkit.engine.Progress`.

    Returns:
        `LayerSpectraResult`: `.trained`, `.untrained`, `.noise` [L, R]. 2 n forwards.

    Raises:
        UsageError: an argument does not fit; no such layer; a layer gives no maps of 3 x 3 at least.
        FloatingPointError: a map holds NaN or infinity.

    Source: Park and Kim, ICLR 2022 (arXiv 2202.06709).

    Example:
        >>> from freqkit.data import synthetic
        >>> from freqkit.models import load_model
        >>> model = load_model("cifar_resnet20", num_classes=4)
        >>> found = layer_spectra(model, synthetic(1, images_per_class=1))
        >>> len(found.layers), found.sizes[-1].tolist(), bool((found.trained[:, 0] == 0).all())
        (9, [8, 8], True)
    """
    model, images = enter("layer_spectra", model, images, scoring.class_index)
    if not len(images):
        raise UsageError("layer_spectra: images must hold at least one image; got none.")
    names = list(own.layers) if own.layers is not None else _blocks(model.network)
    if not names or len({*names}) < len(names):
        raise UsageError(f"layer_spectra: layers must be names of modules, each once; got {names}.")
    if progress is not None:
        progress.start("layers", 2 * len(images), "forwards")
    try:
        trained = _spectra(model, images, names, own, scoring, progress)
        anew, kept = _anew(model, own.seed)
        untrained = _spectra(anew, images, names, own, scoring, progress)
    finally:
        if progress is not None:
            progress.finish()
    noise = {name: _of_noise(each, own, place) for place, (name, each) in enumerate(trained.items())}
    width = max(len(each.mean) for each in trained.values())
    padded = [
        torch.stack([torch.cat([row, row.new_full((width - len(row),), torch.nan)]) for row in lines])
        for lines in (
            [each.mean for each in trained.values()], [each.spread for each in trained.values()],
            [untrained[name].mean for name in trained], [noise[name] for name in trained],
        )
    ]  # fmt: skip
    words = "rings one bin wide" if own.line == "ring" else "the diagonal"
    definition = {
        "quantity": f"ln |DFT2| over {words}, relative to DC, {'no' if own.window == 'none' else 'Hann'} window",
        **own.identity(), "layers": names,
    }  # fmt: skip
    record = {"model": dict(model.record), "data": dict(images.record), "forwards": 2 * len(images),
              "not_drawn_anew": kept, "versions": versions()}  # fmt: skip
    return LayerSpectraResult(
        names, torch.tensor([each.size for each in trained.values()]),
        torch.tensor([each.channels for each in trained.values()]), *padded,
        torch.tensor([len(each.mean) for each in trained.values()]), len(images), definition, record,
    )  # fmt: skip


@dataclass
class _Layer:
    """Of one layer: sums over images of its profile and of the squares."""

    size: tuple
    channels: int
    sums: torch.Tensor
    squares: torch.Tensor
    images: int = 0

    @property
    def mean(self):
        return self.sums / self.images

    @property
    def spread(self):
        return (self.squares / self.images - self.mean.square()).clamp_min(0).sqrt()


def _spectra(model, images, names, own, scoring, progress):
    """{name: `_Layer`}."""
    found = {}
    for _, seen in features("layer_spectra", model, images, names, scoring, progress):
        for name in names:
            maps = _maps(name, seen[name], model.network, own, tuple(images.images.shape[-2:]))
            profile = _profile(maps, own)
            if name not in found:
                zeros = torch.zeros(profile.shape[1], dtype=torch.float64)
                found[name] = _Layer(tuple(maps.shape[-2:]), maps.shape[1], zeros, zeros.clone())
            if found[name].size != tuple(maps.shape[-2:]):
                raise UsageError(f"layer_spectra: maps of a layer must be of one size; those of {name!r} are not.")
            found[name].sums += profile.sum(0)
            found[name].squares += profile.square().sum(0)
            found[name].images += len(profile)
    return {name: found[name] for name in names}


def _maps(name, value, network, own, size):
    """[b, C, h, w] of what a layer gave."""
    if value.ndim == 3:
        count, grid = value.shape[1], _grid(value.shape[1], network, own.tokens)
        if grid is None:
            raise UsageError(
                f"layer_spectra: tokens must say how many of the {count} tokens of {name!r} are no patches; "
                f"got {own.tokens}, which leaves no square."
            )
        value = value[:, count - grid[0] * grid[1] :].transpose(1, 2).unflatten(2, grid)
    elif value.ndim == 4:
        last = own.channels == "last" or (own.channels == "auto" and str(getattr(network, "output_fmt", "")) in LAST)
        if own.channels == "auto" and not last and _alike(value.shape[1:3], size) and not _alike(value.shape[2:], size):
            raise UsageError(
                f"layer_spectra: channels must be first or last, for the maps of {name!r} are {list(value.shape)} and"
                " their network does not say which; got 'auto'."
            )
        value = value.permute(0, 3, 1, 2) if last else value
    if value.ndim != 4 or min(value.shape[-2:]) < LEAST:
        raise UsageError(
            f"layer_spectra: layers must give maps [b, C, h, w] or tokens [b, N, D], of {LEAST} x {LEAST} at least; "
            f"{name!r} gives {list(value.shape)}."
        )
    return value


def _alike(shape, size):
    """Whether maps of a shape may be those of images of a size: their sides are in one ratio, to an element."""
    return abs(shape[0] * size[1] - shape[1] * size[0]) <= max(size)


def _grid(count, network, tokens):
    """(rows, columns) of the patches among so many tokens, which stand last; None: no rectangle that is known."""
    embedded = getattr(getattr(network, "patch_embed", None), "grid_size", None)
    if embedded is not None and 0 <= (more := count - math.prod(embedded)) <= 16 and tokens in (None, more):
        return tuple(embedded)
    side = math.isqrt(count if tokens is None else max(count - tokens, 0))
    fits = side > 0 and (tokens is None or side * side == count - tokens)
    return (side, side) if fits else None


def _profile(maps, own):
    """float64 [b, R]: mean log amplitude over channels by frequency, relative to DC."""
    maps = maps.double()
    if own.window == "hann":
        down, across = (torch.hann_window(side, False, dtype=maps.dtype) for side in maps.shape[-2:])
        maps = maps * (down[:, None] * across).to(maps.device)
    plane = torch.fft.fft2(maps).abs().add(FLOOR).log().mean(1)
    short = min(plane.shape[-2:])
    if own.line == "diagonal":
        k = torch.arange(short // 2 + 1, device=plane.device)
        line = plane[:, k, k].cpu()
    else:
        line = rings_of(tuple(plane.shape[-2:])).mean(torch.fft.fftshift(plane, (-2, -1)).cpu())
    return line - line[:, :1]


def _of_noise(layer, own, place):
    """The profile of white noise of a layer's size, of 64 maps."""
    chance = torch.Generator().manual_seed(own.seed * 1_000_003 + place)
    return _profile(torch.randn(1, 64, *layer.size, generator=chance, dtype=torch.float64), own)[0]


def _anew(model, seed):
    """(A copy of a classifier with all weights that can be drawn anew, names of the parameters that cannot.)"""
    model = copy.deepcopy(model)
    before = {name: value.clone() for name, value in model.network.named_parameters()}
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        for module in model.network.modules():
            for name in ("reset_parameters", "_reset_parameters"):
                if callable(reset := getattr(module, name, None)):
                    reset()
    # What its module sets to a constant (a bias, a norm's scale) may be what it was.
    fixed = {
        f"{name}.{own}".lstrip(".")
        for name, module in model.network.named_modules()
        if callable(getattr(module, "reset_parameters", None)) or callable(getattr(module, "_reset_parameters", None))
        for own, _ in module.named_parameters(recurse=False)
    }
    kept = [
        name
        for name, value in model.network.named_parameters()
        if name not in fixed and torch.equal(value, before[name])
    ]
    return model.eval(), kept


def _blocks(network):
    """Names of a network's blocks, from the input on; evenly spread ones of many."""
    named = dict(network.named_modules())
    found = [name for name, one in named.items() if any(word in type(one).__name__ for word in NAMED)]
    found = [name for name in found if not any(name.startswith(f"{other}.") for other in found)]
    found = found or [name for name, one in named.items() if isinstance(one, nn.Conv2d)]
    if not found:
        near = ", ".join(name for name in list(named)[:6] if name)
        raise UsageError(
            f"layer_spectra: layers must be named, for blocks are not known of this network ({near}, ...)."
        )
    if len(found) <= MOST:
        return found
    return [found[round(i * (len(found) - 1) / (MOST - 1))] for i in range(MOST)]


def _known(values):
    return [value if math.isfinite(value) else None for value in values.tolist()]


TERMS = {
    "layer spectra": {
        "short": "How much high frequency the maps inside a network hold, relative to their means.",
        "formula": "ln |DFT2(map)|, mean over channels and images, over rings or the diagonal, less its value at DC",
        "more": "high: the mean from half of the highest straight frequency on; untrained: weights drawn anew.",
        "source": "Park and Kim, ICLR 2022 (arXiv 2202.06709)",
        "aliases": ["layer-spectra", "layers", "line", "window", "tokens", "channels", "untrained high", "noise high"],
        "see": ["gradient spectrum"],
    }
}
HELP = """How much high frequency the maps inside a network hold, block by block, beside the same network untrained.

\b
freqkit layer-spectra --model vit_tiny_patch16_224 --pretrained --data DIR --out layers.safetensors
"""


def printed(result: LayerSpectraResult) -> Printed:
    """What `freqkit layer-spectra` prints: a line for each layer."""
    return Printed(
        {"layers": result.table(), "trained": [_known(row) for row in result.trained],
         "untrained": [_known(row) for row in result.untrained], "definition": result.definition},
        [("layer", "text"), ("rows", "count"), ("columns", "count"), ("channels", "count"), ("high", "number"),
         ("untrained high", "number"), ("noise high", "number")],
        [[value if isinstance(value, str) or value is None else round(value, 2) for value in row.values()]
         for row in result.table()],
        "Log amplitude of the upper half of the frequencies, relative to DC (nats)", verdict=_furthest(result),
        cautions=_cautions(result),
    )  # fmt: skip


def plot_layer_spectra(result, ax=None, *, of=None, title=None):
    """Log amplitude by frequency of every layer, and that of the high half by depth.

    Args:
        result: a `LayerSpectraResult`.
        ax: a matplotlib axis; None: a figure of its own.
        of: with `ax`, "frequency" (default) or "depth".
        title: a line above.

    Returns:
        A matplotlib Figure, or `ax`.
    """
    kinds = {"frequency": _by_frequency, "depth": _by_depth}
    if ax is not None:
        if (of or "frequency") not in kinds:
            raise UsageError(f"plot_layer_spectra: of must be one of {', '.join(kinds)}; got {of!r}.")
        kinds[of or "frequency"](ax, result)
        return figures.literal(ax)
    figure = figures.new_figure(9, 3.6)
    for axis, draw in zip(figure.subplots(1, 2), (_by_frequency, _by_depth), strict=True):
        draw(axis, result)
    figure.suptitle(title or "Spectra of layers", fontsize=9.5)
    return figure


def _cautions(result):
    """What the control keeps of the training."""
    kept = result.record.get("not_drawn_anew") or []
    if not kept:
        return []
    some = ", ".join(map(str, kept[:3])) + (f" and {len(kept) - 3} more" if len(kept) > 3 else "")
    return [
        f"The untrained control keeps {len(kept)} parameters as they were trained ({some}): their modules cannot draw"
        " them anew, so differences to it are too small or mean something else."
    ]


def _furthest(result):
    """Where training has changed most, in a sentence."""
    high, anew = result.high(result.trained), result.high(result.untrained)
    most = int((high - anew).abs().nan_to_num(-1).argmax())
    return (
        f"The largest difference to untrained weights is at {result.layers[most]}: {float(high[most]):.2f} against"
        f" {float(anew[most]):.2f} (log amplitude of the high half, relative to DC)."
    )


def _by_frequency(axis, result):
    last = max(len(result.layers) - 1, 1)
    for layer, name in enumerate(result.layers):
        at = result.frequencies(layer)
        line = axis.plot(at, result.trained[layer, : len(at)], linewidth=1.3, color=figures.series(0)["color"],
                         alpha=0.25 + 0.75 * layer / last)[0]  # fmt: skip
        figures.note(line, name)
    axis.set_xlabel("frequency (1: half a cycle for each element of the map)", fontsize=8.5)
    axis.set_ylabel("log amplitude, relative to DC (nats)", fontsize=8.5)
    figures.plain_axes(axis)


def _by_depth(axis, result):
    depth = torch.arange(1, len(result.layers) + 1)
    for number, (words, values) in enumerate(
        (("trained", result.trained), ("untrained", result.untrained), ("white noise", result.noise))
    ):
        line = axis.plot(depth, result.high(values), marker="o", markersize=3, linewidth=1.3, label=words,
                         **figures.series(number))[0]  # fmt: skip
        figures.note(line, [f"{words}, {name}" for name in result.layers])
    axis.set_xlabel("layer, from the input on", fontsize=8.5)
    axis.set_ylabel("log amplitude of the high half (nats)", fontsize=8.5)
    figures.plain_axes(axis)
    figures.legend(axis)


@part(files_of(FORMAT))
def layer_spectra_part(path, record):
    """How much high frequency the maps inside a network hold."""
    result = LayerSpectraResult.load(path)
    about = result.record
    high = result.high(result.trained)
    first, last = (f"{float(high[k]):.2f}" for k in (0, -1))
    sentences = [
        f"From the first layer ({result.layers[0]}) to the last ({result.layers[-1]}) the log amplitude of the high"
        f" half of the frequencies goes from {first} to {last}, relative to DC.",
        _furthest(result),
    ]
    lines = [
        [Cell(row["layer"]), Cell.of(row["rows"], f"{row['rows']} × {row['columns']}"),
         Cell.of(row["channels"], str(row["channels"])),
         *(Cell.of(row[name], "–" if row[name] is None else f"{row[name]:.2f}")
           for name in ("high", "untrained high", "noise high"))]
        for row in result.table()
    ]  # fmt: skip
    table = Table(
        [("layer", "left", None), ("map", "right", None), ("channels", "right", None),
         ("high", "right", "layer spectra"), ("untrained high", "right", "layer spectra"),
         ("noise high", "right", "layer spectra")], lines, search=True,
    )  # fmt: skip
    by_depth = drawing(lambda axis: _by_depth(axis, result), 7.2, 3.6, "High half by depth.", narrow=3.4)
    by_frequency = drawing(
        lambda axis: _by_frequency(axis, result), 8.2, 3.6, "Log amplitude by frequency.", narrow=3.4
    )
    sections = [
        Section("By frequency", [by_frequency], "A line for each layer, the darker the deeper; DC is 0 by definition.",
                key="layer-spectra-lines"),
        Section("Layers", [table], "High: mean log amplitude from half of the highest straight frequency on, relative"
                " to DC; beside it the same network with weights drawn anew, and white noise.",
                key="layer-spectra-layers"),
    ]  # fmt: skip
    return Part(
        "Frequencies inside the network", sentences, [(first, shorten(result.layers[0], 20)),
        (last, shorten(result.layers[-1], 20))],
        [*model_rows(about), ("Images", f"{result.images:,}"), ("Quantity", result.definition["quantity"])], sections,
        cost_rows(about), provenance_rows(about), weights_cautions(about) + _cautions(result), hero=[by_depth],
        hero_how="Mean log amplitude of the high half of each layer's frequencies, relative to DC.", order=35,
        subtitle="Layer spectra",
    )  # fmt: skip
