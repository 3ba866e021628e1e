"""Feature separation: how far apart classes lie in a network's features when low or high frequencies are left.

Source: Lin, Gao, Sang, IJCAI 2022 (arXiv 2205.03154), whose variances and definition are not public: the definition
here is ours.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from freqkit.data import Images
from freqkit.data.components import side_mask
from freqkit.engine.accumulators import Answers, FeatureSums
from freqkit.engine.entrance import enter
from freqkit.engine.features import Layer, penultimate
from freqkit.engine.stimuli import ENCODINGS, Filter
from freqkit.errors import UsageError
from freqkit.files.reading import in_range
from freqkit.files.whole import RECORD
from freqkit.masks.shapes import radius
from freqkit.measures.pass_curves import InPixels
from freqkit.measures.printed import Printed
from freqkit.measures.running import run
from freqkit.models import Network
from freqkit.options import Directory, Options, flat, option
from freqkit.report import figures
from freqkit.report.blocks import Cell, Panels, Part, Section, Table
from freqkit.report.inline import chart
from freqkit.report.pages import files_of, part
from freqkit.report.provenance import cost_rows, model_rows, provenance_rows
from freqkit.report.svg import percent
from freqkit.report.words import span, weights_cautions
from freqkit.results import rows
from freqkit.results.result import Result, TensorFile
from freqkit.statistics import drawn_anew, percentiles, rank_correlations, wilson

__all__ = ["FeatureSeparationResult", "feature_separation"]
FORMAT = "freqkit-feature-separation-1"
SHARED = True  # ranks share its work
RADII = (4.0, 8.0, 12.0, 16.0)
SIDES = ("whole", "low", "high")
QUANTITIES = {"between": "between-class variance", "Fisher ratio": "Fisher ratio"}


@dataclass
class FeatureSeparationResult(Result):
    """Features of whole images and of their components, K in all.

    Attributes:
        classes: C names. sides: K of "whole", "low" and "high"; the first is "whole".
        radii: float64 [K], cycles/image; 0 of "whole".
        right: int64 [K, C], images of each class that are recognised; counts: int64 [C].
        distances: float64 [K, C], squared distance of each class's mean feature from the mean of these means.
        spreads: float64 [K, C], mean squared distance of a class's features from their mean. NaN without images.
        correlations: quantity ("between" or "Fisher ratio") -> side ("all", "low" or "high") -> [rho, low, high], its
            rank correlation to accuracy over the components, with the interval of components that are drawn anew; None
            where it is not defined.
        definition, record: JSON-ready dicts.
    """

    classes: list
    sides: list
    radii: torch.Tensor
    right: torch.Tensor
    counts: torch.Tensor
    distances: torch.Tensor
    spreads: torch.Tensor
    correlations: dict = field(default_factory=dict)
    definition: dict = field(default_factory=dict)
    record: dict = field(default_factory=dict)

    FILE = TensorFile(
        FORMAT, "a file of `feature-separation`",
        {"radii": "float64 K", "right": "int64 K C", "counts": "int64 C", "distances": "float64 K C",
         "spreads": "float64 K C"},
        {"classes": [str], "sides": [str], "correlations": {str: {str: [(float, None)]}}, "record": RECORD,
         "definition": {"quantity": str, "confidence": float, "layer": str}},
        {"C": "classes", "K": "sides"},
    )  # fmt: skip
    COLUMNS = ("side", "radius", "images", "accuracy", "accuracy low", "accuracy high", "between", "within",
               "Fisher ratio")  # fmt: skip
    FIGURE = "plot_feature_separation"

    @property
    def between(self):
        """float64 [K], the between-class variance: the mean of `distances` over the classes with images."""
        return self.distances.nanmean(1)

    @property
    def within(self):
        """float64 [K], the within-class variance: the mean of `spreads`."""
        return self.spreads.nanmean(1)

    @property
    def fisher(self):
        """float64 [K], between over within; NaN where a network gives all images of a class the same features."""
        return torch.where(self.within > 0, self.between / self.within, torch.nan)

    @property
    def accuracy(self):
        """float64 [K], share of all images that are recognised."""
        return self.right.sum(1) / self.counts.sum()

    @property
    def names(self):
        """K strings, as "low 4"."""
        each = zip(self.sides, self.radii.tolist(), strict=True)
        return [side if side == "whole" else f"{side} {at:g}" for side, at in each]

    def limits(self):
        """float64 [K, 2], the intervals of `accuracy`."""
        n = self.counts.sum().expand(len(self.sides))
        return wilson(self.right.sum(1), n, self.definition["confidence"])

    def cells(self):
        """One line for each component."""
        n = int(self.counts.sum())
        return [self.sides, self.radii, [n] * len(self.sides), self.accuracy, *self.limits().unbind(1), self.between,
                self.within, self.fisher]  # fmt: skip

    def rows(self):
        """Accuracy, variances and Fisher ratio of every component, and the rank correlations."""
        confidence, n, found = self.definition["confidence"], int(self.counts.sum()), []
        about = rows.of_record(self.record, definition=self.definition["quantity"])
        for k, (side, at) in enumerate(zip(self.sides, self.radii.tolist(), strict=True)):
            where = {**about, **({} if side == "whole" else {"filter": side, "radius": at})}
            found += rows.shares([""], "top-1", self.right[k].sum()[None], self.counts.sum()[None], confidence, **where)
            found += rows.shares(self.classes, "TPR", self.right[k], self.counts, confidence, **where)
            for metric, values in (("between-class variance", self.between), ("within-class variance", self.within),
                                   ("Fisher ratio", self.fisher)):  # fmt: skip
                found += rows.values([""], metric, [float(values[k])], [n], **where)
            found += rows.values(self.classes, "between-class variance", self.distances[k], self.counts, **where)
            found += rows.values(self.classes, "within-class variance", self.spreads[k], self.counts, **where)
        for quantity, sides in self.correlations.items():
            for side, (value, low, high) in sides.items():
                found.append(
                    rows.tidy(
                        metric=f"rank correlation of {QUANTITIES[quantity]} to accuracy", value=value, low=low,
                        high=high, n=self.components(side), **about, **({} if side == "all" else {"filter": side}),
                    )
                )  # fmt: skip
        return found

    def components(self, side):
        """How many components a side has; of "all": those of both."""
        return sum(one != "whole" for one in self.sides) if side == "all" else self.sides.count(side)

    @classmethod
    def checked(cls, values, path):
        sides, counts = values["sides"], values["counts"]
        if not sides or sides[0] != "whole" or not {*sides[1:]} <= {"low", "high"}:
            raise UsageError(f"{path}: sides must be whole, and then low and high.")
        in_range(values["radii"], 0, 2**20, path, "radii")
        in_range(counts, 0, 2**53, path, "counts")
        in_range(values["right"], 0, 2**53, path, "right")
        if not int(counts.sum()) or (values["right"] > counts).any():
            raise UsageError(f"{path}: there must be images, and no more of them recognised than there are.")
        known = {quantity: {*sides} for quantity, sides in values["correlations"].items()}
        if not {*known} <= {*QUANTITIES} or any(not one <= {"all", "low", "high"} for one in known.values()):
            raise UsageError(f"{path}: correlations must be of {', '.join(QUANTITIES)}, by side.")
        if any(len(one) != 3 for sides in values["correlations"].values() for one in sides.values()):
            raise UsageError(f"{path}: correlations must have a value and its interval.")
        return values


@dataclass(frozen=True, kw_only=True)
class Separating(Options):
    """What `feature_separation` is asked."""

    radii: Sequence[float] | None = option(
        None, "rising radii of the splits, cycles/image; None: those of 4, 8, 12 and 16 that part the frequencies",
        metavar="R,R,...", kind="numbers", help="of the splits, cycles/image.  [default: 4,8,12,16]",
    )  # fmt: skip
    boundary: str = option(
        "strict", "strict: the low part keeps d < r; inclusive: d <= r", choices=("strict", "inclusive")
    )
    encoding: str = option(
        "raw", "what becomes of a part's pixels: raw: nothing; clip: cut to [0, 1]; maxnorm: over the image's largest; "
        "minmax: each channel to [0, 1]; uint8wrap: whole grey levels modulo 256", choices=tuple(ENCODINGS),
        help="of a part's pixels, see `freqkit explain encoding`",
    )  # fmt: skip
    layer: str | None = option(
        None, "module of the network whose outputs are the features; None: what goes into its last linear layer",
        metavar="NAME", help="module whose outputs are the features.  [default: what goes into the last linear one]",
    )  # fmt: skip
    confidence: float = option(0.95, "how sure the intervals are", above=0, below=1)
    resamples: int = option(1000, "redrawings of the components for the intervals of correlations", least=100)
    seed: int = option(0, "of the redrawings", least=0)

    def radii_at(self, size):
        """The radii for images of a size.

        Raises:
            UsageError: they do not rise, or leave a side empty.
        """
        corner = float(radius(size).max())
        if self.radii is None:
            found = [r for r in RADII if r < corner] or [corner / 2]
        else:
            given = list(self.radii) if isinstance(self.radii, (list, tuple)) else []
            if not given or not all(isinstance(r, (int, float)) and not isinstance(r, bool) for r in given):
                raise UsageError(f"feature_separation: radii must be numbers; got {self.radii!r}.")
            found = [float(r) for r in given]
            if any(b <= a for a, b in itertools.pairwise(found)):
                raise UsageError(f"feature_separation: radii must rise; got {given}.")
        return found


@flat
def feature_separation(
    model: Network, images: Images, own: Separating, scoring: InPixels, running: Directory
) -> FeatureSeparationResult:
    """How far apart classes lie in the features of whole images, of their low parts and of their high parts.

    With m_c the mean feature of class c and m the mean of these, the between-class variance is the mean over c of
    |m_c - m|^2, the within-class variance the mean over c of the mean |f - m_c|^2, and the Fisher ratio the first over
    the second. (Of n_c images a class the first is too large by about (1 - 1/C) within / n_c.)

    Args:
        model: a `Classifier`. images: those of the test, as `freqkit.data.as_images` takes them.

    Returns:
        `FeatureSeparationResult`; (1 + 2 R) n forwards at R radii.

    Raises:
        UsageError: an argument does not fit; a side without a frequency; no such layer.

    Example:
        >>> from freqkit.data import synthetic
        >>> from freqkit.models import load_model
        >>> model, images = load_model("small_convnet"), synthetic(images_per_class=3)
        >>> result = feature_separation(model, images, radii=[4, 8], batch_size=8)
        >>> result.names
        ['whole', 'low 4', 'low 8', 'high 4', 'high 8']
    """
    model, images = enter("feature_separation", model, images, scoring.class_index)
    size = tuple(images.images.shape[-2:])
    radii = own.radii_at(size)
    if scoring.form not in ("auto", "eager"):
        raise UsageError(f"feature_separation: form must be auto or eager, which has the layers; got {scoring.form}.")
    layer = penultimate(model.network) if own.layer is None else Layer(own.layer)
    parts = [(side, r) for side in ("low", "high") for r in radii]
    masks = [torch.ones(size), *(side_mask(size, r, side, own.boundary, layout="torch") for side, r in parts)]
    stimulus = Filter(torch.stack(masks), after=["raw", *[own.encoding] * len(parts)])
    definition = {
        "quantity": f"{'into' if layer.side == 'input' else 'out of'} {layer.name}, {own.boundary}, {own.encoding}",
        "layer": layer.name, "layer_side": layer.side, "radii": radii, "boundary": own.boundary,
        "encoding": own.encoding, "domain": scoring.domain, "confidence": own.confidence, "resamples": own.resamples,
        "seed": own.seed,
    }  # fmt: skip

    def work(scorer, how, record):
        answers, sums = Answers(), FeatureSums(layer)
        scorer.show(stimulus, [answers, sums], **how)
        hits = answers.value == torch.as_tensor(scorer.class_index).cpu()[scorer.labels]
        right = torch.zeros(len(masks), len(scorer.classes), dtype=torch.int64)
        right.index_add_(1, scorer.labels, hits.long())
        distances, spreads = _apart(sums.value, scorer.counts)
        if not (distances.nan_to_num(0).isfinite().all() and spreads.nan_to_num(0).isfinite().all()):
            raise FloatingPointError(f"feature_separation: layer {layer.name!r} gave an infinite feature.")
        result = FeatureSeparationResult(
            list(scorer.classes), ["whole", *(side for side, _ in parts)],
            torch.tensor([0.0, *(r for _, r in parts)], dtype=torch.float64), right, scorer.counts.clone(), distances,
            spreads, {}, definition, record,
        )  # fmt: skip
        result.correlations = _correlations(result, own)
        return result

    asked = dataclasses.replace(scoring, form="eager")
    return run("feature-separation", model, images, stimulus, own, asked, running, work)


def _apart(sums, counts):
    """Squared distances of the classes' means from their mean, and spreads around each: float64 [K, C] each."""
    there, n = counts > 0, counts.double().clamp_min(1)[None, :, None]
    means, lengths = sums[..., :-1] / n, sums[..., -1] / n[..., 0]
    middle = means[:, there].mean(1, keepdim=True)
    distances = (means - middle).square().sum(2)
    spreads = (lengths - means.square().sum(2)).clamp_min(0)  # rounding may leave less than nothing
    return torch.where(there, distances, torch.nan), torch.where(there, spreads, torch.nan)


def _correlations(result, own):
    """Rank correlations to accuracy over the components, of all and of each side; see the result."""
    found = {}
    for quantity, values in (("between", result.between), ("Fisher ratio", result.fisher)):
        found[quantity] = {}
        for side in ("all", "low", "high"):
            at = [k for k, one in enumerate(result.sides) if one != "whole" and side in ("all", one)]
            table = torch.stack([values[at], result.accuracy[at]]).numpy()
            if len(at) < 3 or not torch.isfinite(values[at]).all():
                found[quantity][side] = [None, None, None]
                continue
            value = float(rank_correlations(table, [(0, 1)])[0, 0])
            drawn = drawn_anew(list(range(len(at))), own.resamples, own.seed)
            again = torch.from_numpy(rank_correlations(table, [(0, 1)], drawn)[:, 0])
            known = math.isfinite(value)
            found[quantity][side] = [value, *percentiles(again, own.confidence, value)] if known else [None] * 3
    return found


TERMS = {
    "feature-separation": {
        "short": "How far apart classes lie in a network's features when low or high frequencies are left.",
        "formula": "between = mean over classes of |m_c - m|^2; within = mean of |f - m_c|^2; Fisher ratio = between / "
        "within; f: what goes into the last linear layer",
        "more": "Correlations are Spearman's, over the components (sides and radii), to the accuracy on each. Of n "
        "images a class, between is too large by about within / n.",
        "source": "after Lin, Gao, Sang, IJCAI 2022 (arXiv 2205.03154)",
        "aliases": ["Fisher ratio", "between", "within", "between-class variance", "within-class variance"],
        "see": ["pass-curves", "encoding"],
    },
}  # fmt: skip
HELP = """How far apart classes lie in a network's features, of whole images and of their low and high parts.

\b
freqkit feature-separation --model cifar_resnet20 --weights resnet20.safetensors \\
                           --data cifar10/test --radii 4,8,12,16 --out runs/separation
"""


def printed(result: FeatureSeparationResult) -> Printed:
    """What `freqkit feature-separation` prints: each class's distance from the others in some components."""
    at = _few(result)
    n = int(result.counts.sum())
    lines = [[name, int(result.counts[c]), *result.distances[at, c].tolist()] for c, name in enumerate(result.classes)]
    words = [f"{QUANTITIES[quantity]} {_with_limits(sides['all'])}" for quantity, sides in result.correlations.items()]
    return Printed(
        {"components": result.table(), "correlations": result.correlations, "definition": result.definition,
         "forwards": result.record["forwards"]},
        [("class", "text"), ("images", "count"), *((result.names[k], "number") for k in at)], lines,
        "Squared distance of each class's mean feature from the mean of all classes",
        "columns: components, radii in cycles/image; --json has all", last=["all", n, *result.between[at].tolist()],
        verdict=f"Rank correlation to accuracy over components: {', '.join(words)}",
    )  # fmt: skip


def _few(result):
    """The places of whole images and of the first and last component of either side."""
    found = [0]
    for side in ("low", "high"):
        at = [k for k, one in enumerate(result.sides) if one == side]
        found += [at[0], *at[-1:]] if len(at) > 1 else at
    return found


def _with_limits(values):
    value, low, high = values
    if value is None:
        return "undefined"
    return f"{value:.2f}" + ("" if low is None else f" ({low:.2f} … {high:.2f})")


def plot_feature_separation(result, ax=None, *, of=None, title=None):
    """Between-class variance and Fisher ratio over the radius, and over accuracy.

    Args:
        result: a `FeatureSeparationResult`.
        ax: a matplotlib axis; None: a figure of its own.
        of: with `ax`, "between" (default) or "fisher" over the radius, "accuracy" for variance over accuracy.
        title: a line above.

    Returns:
        A matplotlib Figure, or `ax`.
    """
    kinds = {"between": _over_radius, "fisher": _over_radius, "accuracy": _over_accuracy}
    if ax is not None:
        of = of or "between"
        if of not in kinds:
            raise UsageError(f"plot_feature_separation: of must be one of {', '.join(kinds)}; got {of!r}.")
        kinds[of](ax, result, of)
        return figures.literal(ax)
    figure = figures.new_figure(11, 3.4)
    for axis, (name, draw) in zip(figure.subplots(1, 3), kinds.items(), strict=True):
        draw(axis, result, name)
    figure.suptitle(title or f"Classes apart in the features ({result.definition['quantity']})", fontsize=9.5)
    return figures.literal(figure)


def _over_radius(axis, result, of):
    values = result.between if of == "between" else result.fisher
    words = "between-class variance" if of == "between" else "Fisher ratio"
    axis.axhline(float(values[0]), color=figures.RULE, linewidth=1, label="whole images")
    for number, side in enumerate(("low", "high")):
        at = [k for k, one in enumerate(result.sides) if one == side]
        said = [f"{result.names[k]}: {float(values[k]):.3g}, recognised {percent(result.accuracy[k], 1)}" for k in at]
        line = axis.plot(result.radii[at], values[at], marker="o", markersize=3.5, label=side, **figures.series(number))
        figures.note(line[0], said)
    axis.set_ylim(0, None)
    axis.set_xlabel("radius of the split (cycles/image)")
    axis.set_ylabel(words)
    figures.plain_axes(axis)
    figures.legend(axis)


def _over_accuracy(axis, result, of):
    for number, side in enumerate(("low", "high")):
        at = [k for k, one in enumerate(result.sides) if one == side]
        line = axis.plot(100 * result.accuracy[at], result.between[at], "o", label=side, color=figures.CYCLE[number])
        figures.note(line[0], [result.names[k] for k in at])
    axis.plot(100 * result.accuracy[:1], result.between[:1], "s", label="whole", color=figures.INK)
    axis.set_ylim(0, None)
    axis.set_xlabel("recognised (percent)")
    axis.set_ylabel("between-class variance")
    figures.plain_axes(axis)
    figures.legend(axis)


@part(files_of(FORMAT))
def feature_separation_part(path, record):
    """How far apart classes lie in the features of low and of high parts."""
    result = FeatureSeparationResult.load(path)
    about = result.record if record is None else {**result.record, **record}
    sentences = [
        f"Over {result.components('all')} components the rank correlation of {QUANTITIES[quantity]} to accuracy is "
        f"{_with_limits(sides['all'])}."
        for quantity, sides in result.correlations.items()
    ]
    shares = [float(result.between[k] / result.between[0]) for k in _few(result)[1:]]
    if all(map(math.isfinite, shares)):
        words = ", ".join(
            f"{result.names[k]}: {percent(share)}" for k, share in zip(_few(result)[1:], shares, strict=True)
        )
        sentences.append(f"Of the between-class variance of whole images are left: {words}.")
    lines = [
        [Cell(side), Cell.of(at, "–" if side == "whole" else f"{at:g}"),
         Cell.of(right, f"{percent(right, 1)} ({span(limits)})"), Cell.of(between, f"{between:.3g}"),
         Cell.of(within, f"{within:.3g}"), Cell.of(fisher, f"{fisher:.3f}")]
        for side, at, right, limits, between, within, fisher in zip(
            result.sides, result.radii.tolist(), result.accuracy.tolist(), result.limits().tolist(),
            result.between.tolist(), result.within.tolist(), result.fisher.tolist(), strict=True)
    ]  # fmt: skip
    components = Table(
        [("part", "left", "side"), ("radius", "right", None), ("recognised, interval", "right", None),
         ("between", "right", "between"), ("within", "right", "within"), ("Fisher ratio", "right", "Fisher ratio")],
        lines,
    )  # fmt: skip
    correlations = Table(
        [("of", "left", "feature-separation"), *((side, "right", None) for side in ("all", "low", "high"))],
        [[Cell(QUANTITIES[quantity]), *(Cell.of(sides[side][0], _with_limits(sides[side])) for side in
                                        ("all", "low", "high"))]
         for quantity, sides in result.correlations.items()],
    )  # fmt: skip
    few = _few(result)
    classes = Table(
        [("class", "left", None), ("images", "right", None), *((result.names[k], "right", "between") for k in few)],
        [[Cell(name), Cell.of(float(result.counts[c]), str(int(result.counts[c]))),
          *(Cell.of(value, f"{value:.3g}") for value in result.distances[few, c].tolist())]
         for c, name in enumerate(result.classes)], search=True,
    )  # fmt: skip
    charts = [
        (words, chart(lambda axis, of=of, draw=draw: draw(axis, result, of), 3.9, 3.1, f"{words}."))
        for words, of, draw in (
            ("Between-class variance", "between", _over_radius), ("Fisher ratio", "fisher", _over_radius),
            ("Variance and accuracy", "accuracy", _over_accuracy))
    ]  # fmt: skip
    sections = [
        Section("Components", [Panels(charts), components], "Low: frequencies below the radius; high: the others.",
                key="separation-components"),
        Section("Correlation to accuracy", [correlations], "Spearman's, over the components of either side; in "
                "brackets the interval of components that are drawn anew. A few radii say little.",
                key="separation-correlations"),
        Section("Classes", [classes], "Squared distance of each class's mean feature from the mean of all classes.",
                key="separation-classes"),
    ]  # fmt: skip
    value = result.correlations.get("between", {}).get("all", [None])[0]
    shown = [] if value is None else [(f"{value:.2f}", "rank correlation of variance to accuracy")]
    return Part(
        "How far apart classes lie in the features", sentences, shown,
        [*model_rows(about), ("Features", result.definition["quantity"])], sections, cost_rows(about),
        provenance_rows(about), weights_cautions(about), order=33, subtitle="Feature separation",
    )  # fmt: skip
