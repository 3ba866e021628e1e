"""Pass curves: how many images are recognised when only low, only high frequencies or only a band of them are left.

Sources: Gavrikov and Keuper, CVPR 2024 (square filters at 22 cut-offs, their ratios to clean accuracy and the means of
these); Wang, Wu, Huang and Xing, CVPR 2020, arXiv 1905.13545 (low and high component of an image at a radius).
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from freqkit.data import Images
from freqkit.engine.accumulators import Answers
from freqkit.engine.entrance import enter
from freqkit.engine.stimuli import ENCODINGS, Filter
from freqkit.errors import UsageError
from freqkit.files.reading import in_range
from freqkit.files.whole import RECORD
from freqkit.masks.shapes import radius
from freqkit.measures.pass_curves.filters import conditions_of, distinct_of, square_filter
from freqkit.measures.printed import Printed
from freqkit.measures.running import run
from freqkit.models import Network
from freqkit.options import Directory, Options, Scoring, flat, option
from freqkit.results import rows
from freqkit.results.clean import CleanRates
from freqkit.results.confusion import Confusion
from freqkit.results.result import Result, TensorFile
from freqkit.statistics import paired_ratio, percentiles, redrawn_sums, wilson

__all__ = ["PassCurvesResult", "pass_curves", "square_filter"]
FORMAT = "freqkit-pass-curves-1"
CUTOFFS = (0.01, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99)
FILTERS = ("low", "high", "band")
PRESETS = {
    "default": {"shape": "disc", "filters": FILTERS, "cutoffs": CUTOFFS, "radii": None, "encoding": "raw",
                "boundary": "strict", "dc": "keep"},
    "cvpr2024": {"shape": "square", "filters": ("low", "high"), "cutoffs": CUTOFFS, "radii": None, "encoding": "clip",
                 "boundary": "strict", "dc": "remove"},
    "cvpr2020": {"shape": "disc", "filters": ("low", "high"), "cutoffs": None, "radii": (4.0, 8.0, 12.0, 16.0),
                 "encoding": "maxnorm", "boundary": "strict", "dc": "remove"},
}  # fmt: skip
MEANS = (0.1, 0.2, 0.3, 0.4, 0.5)  # shares whose ratios are averaged
SHARED = True  # ranks share its work
OF_IMAGES = {"cvpr2024": {"resize": "center-crop"}}  # flags that a preset sets
SHOWN = 3  # conditions of each filter that are printed


@dataclass
class PassCurvesResult(Result):
    """Answers to whole images and through K filters.

    Attributes:
        classes: C names, as the images have them.
        filters: K of "low", "high" and "band".
        cutoffs: float64 [K], shares of half the shorter side: where low and high frequencies part (under "cvpr2024" of
            a high-pass filter the share that it keeps, as published), or where a band begins.
        edges: float64 [K, 2], cycles/image of the shorter side: what is kept; infinite where nothing bounds it.
        answers: int32 [K + 1, n], the logit that won for each image; the first without a filter.
        labels: int64 [n], the class of each image. class_index: int64 [C], the logit of each class.
        means: "LPP", "HPP" and "HPP/(LPP+HPP)" -> [value, low, high], see `pass_curves`; empty where their cut-offs
            were not asked.
        definition, record: JSON-ready dicts.
    """

    classes: list
    filters: list
    cutoffs: torch.Tensor
    edges: torch.Tensor
    answers: torch.Tensor
    labels: torch.Tensor
    class_index: torch.Tensor
    means: dict = field(default_factory=dict)
    definition: dict = field(default_factory=dict)
    record: dict = field(default_factory=dict)

    FILE = TensorFile(
        FORMAT, "a pass-curves file",
        {"cutoffs": "float64 K", "edges": "float64 K 2", "answers": "int32 all n", "labels": "int64 n",
         "class_index": "int64 C"},
        {"classes": [str], "filters": [str], "means": {str: [(float, None)]}, "record": RECORD,
         "definition": {"quantity": str, "confidence": float}},
        {"C": "classes", "K": "filters"},
    )  # fmt: skip
    COLUMNS = ("filter", "cutoff", "from", "to", "class", "images", "accuracy", "accuracy low", "accuracy high",
               "ratio", "ratio low", "ratio high")  # fmt: skip
    FIGURE = "plot_pass_curves"

    @property
    def right(self):
        """bool [K + 1, n], whether each answer is the image's class."""
        return self.answers == self.class_index[self.labels]

    @property
    def counts(self):
        """int64 [C], images of each class."""
        return torch.bincount(self.labels, minlength=len(self.classes))

    @property
    def accuracy(self):
        """float64 [K + 1], share of all images that are recognised; the first without a filter."""
        return self.right.double().mean(1)

    @property
    def ratio(self):
        """float64 [K], accuracy through each filter over that without one; NaN where that is 0."""
        return self.accuracy[1:] / self.accuracy[0]

    @property
    def clean(self):
        """`CleanRates` of the images without a filter."""
        counts = Confusion.count(self.labels, self.answers[0].long(), len(self.classes), self.record["logits"])
        return CleanRates.of_confusion(self.classes, counts, self.class_index)

    @property
    def names(self):
        """K strings, as "low 0.1"."""
        return [f"{kind} {cutoff:g}" for kind, cutoff in zip(self.filters, self.cutoffs.tolist(), strict=True)]

    def tallies(self):
        """int64 [4, K, C + 1] of all images and of each class: recognised both whole and through a filter, through it
        alone, whole alone, and neither."""
        right, groups = self.right, len(self.classes) + 1
        whole, seen = right[:1].expand(len(right) - 1, -1), right[1:]
        found = torch.stack([whole & seen, ~whole & seen, whole & ~seen, ~whole & ~seen]).long()
        sums = torch.zeros(*found.shape[:2], groups, dtype=torch.int64)
        sums.index_add_(2, self.labels + 1, found)
        sums[..., 0] = found.sum(2)
        return sums

    def shares(self):
        """Accuracy [K, C + 1] of all images and of each class with its interval [K, C + 1, 2], and the same of the
        ratio to what is recognised whole: Wilson's, and the score interval of paired shares."""
        both, alone, lost, neither = self.tallies()
        confidence, shape = self.definition["confidence"], (*both.shape, 2)
        trials, hits, before = both + alone + lost + neither, both + alone, both + lost
        accuracy = wilson(hits.flatten(), trials.flatten(), confidence).view(shape)
        ratio = paired_ratio(*(one.flatten() for one in (both, alone, lost, neither)), confidence).view(shape)
        return hits / trials, accuracy, hits / before, ratio

    def cells(self):
        """One line for each filter, of all images and then of each class."""
        groups, filters = ["", *self.classes], len(self.filters)
        each = len(groups)
        accuracy, accuracy_limits, ratio, ratio_limits = self.shares()
        counts = torch.cat([self.counts.sum()[None], self.counts])
        values = [accuracy, *accuracy_limits.unbind(-1), ratio, *ratio_limits.unbind(-1)]
        return [
            [kind for kind in self.filters for _ in groups], self.cutoffs.repeat_interleave(each),
            self.edges[:, 0].repeat_interleave(each), [None if to == math.inf else to for to in
                                                       self.edges[:, 1].repeat_interleave(each).tolist()],
            groups * filters, counts.repeat(filters),
            *([number if math.isfinite(number) else None for number in one.flatten().tolist()] for one in values),
        ]  # fmt: skip

    def rows(self):
        confidence, about = self.definition["confidence"], rows.of_record(self.record)
        found = (
            rows.rates(self.classes, self.clean, confidence, **about)
            if len(self.clean.classes) == len(self.classes)
            else []
        )
        groups = ["", *self.classes]
        counts = [len(self.labels), *self.counts.tolist()]
        accuracy, accuracy_limits, ratio, ratio_limits = self.shares()
        words = self.definition["quantity"]
        for k, (kind, cutoff) in enumerate(zip(self.filters, self.cutoffs.tolist(), strict=True)):
            low, high = self.edges[k].tolist()
            where = {**about, "filter": kind, "cutoff": cutoff, "radius": high if kind == "low" else low}
            where["definition"] = words + (f", to {high:g} cycles/image" if kind == "band" else "")
            for metric, values, limits in (
                ("accuracy", accuracy[k], accuracy_limits[k]), ("ratio to clean", ratio[k], ratio_limits[k])
            ):  # fmt: skip
                found += rows.values(groups, metric, values, counts, limits, **where)
        for name, (value, low, high) in self.means.items():
            found.append(rows.tidy(metric=name, value=value, low=low, high=high, n=len(self.labels), **about,
                                   definition=words))  # fmt: skip
        return found

    @classmethod
    def checked(cls, values, path):
        answers, labels, filters = values["answers"], values["labels"], values["filters"]
        in_range(answers, 0, 2**31 - 1, path, "answers")
        in_range(labels, 0, len(values["classes"]) - 1, path, "labels")
        in_range(values["class_index"], 0, 2**31 - 1, path, "class_index")
        in_range(values["cutoffs"], 0, 2**20, path, "cutoffs")
        if len(answers) != len(filters) + 1 or not {*filters} <= {*FILTERS} or not len(labels):
            raise UsageError(f"{path}: the tensor answers must hold a row for each of the filters low, high and band.")
        logits = values["record"].get("logits")
        if not isinstance(logits, int) or max(int(answers.max()), int(values["class_index"].max())) >= logits:
            raise UsageError(f"{path}: the record must say how many logits there are, and answers must be some.")
        if any(len(one) != 3 for one in values["means"].values()):
            raise UsageError(f"{path}: means must have a value and its interval.")
        return values


@dataclass(frozen=True, kw_only=True)
class Passing(Options):
    """What `pass_curves` is asked."""

    preset: str = option("default", "whose filters; what is asked beside it stands", choices=tuple(PRESETS))
    filters: Sequence[str] | None = option(
        None, "some of low, high and band; None: those of the preset", kind="names", metavar="NAME[,NAME...]",
        help="some of low, high and band.  [default: all; low,high under a published preset]",
    )  # fmt: skip
    cutoffs: Sequence[float] | None = option(
        None, "rising shares of half the shorter side, where filters begin and end; None: those of the preset",
        metavar="C,C,...", kind="numbers", help="where filters begin and end, shares of N/2.  [default: .01, .1 ... .9,"
        " .99]",
    )  # fmt: skip
    radii: Sequence[float] | None = option(
        None, "rising radii in cycles/image, instead of `cutoffs`; None: those of the preset", metavar="R,R,...",
        kind="numbers", help="the same in cycles/image.  [default: 4,8,12,16 under cvpr2020]",
    )  # fmt: skip
    shape: str | None = option(
        None, "disc: by the distance from DC; square: the half-open block of rows and columns of the CVPR 2024 code; "
        "None: that of the preset", choices=("disc", "square"), help="of the filters.  [default: disc]",
    )  # fmt: skip
    boundary: str | None = option(
        None, "strict: low-pass keeps r < radius; inclusive: r <= radius; high-pass the rest; None: that of the preset",
        choices=("strict", "inclusive"), help="whether low-pass keeps the rim itself.  [default: strict]",
    )  # fmt: skip
    dc: str | None = option(
        None, "keep: the mean of each channel stays, whatever the filter; remove: it goes with the low frequencies; "
        "None: that of the preset", choices=("keep", "remove"), help="the mean of each channel.  [default: keep]",
    )  # fmt: skip
    encoding: str | None = option(
        None, "what becomes of filtered pixels: raw: nothing; clip: cut to [0, 1]; maxnorm: over the image's largest; "
        "minmax: each channel to [0, 1]; uint8wrap: whole grey levels modulo 256; None: that of the preset",
        choices=tuple(ENCODINGS), help="of filtered pixels, see `freqkit explain encoding`.  [default: raw]",
    )  # fmt: skip
    confidence: float = option(0.95, "how sure the intervals are", above=0, below=1)
    resamples: int = option(1000, "redrawings of the images for the intervals of the means", least=100)
    seed: int = option(0, "of the redrawings", least=0)

    def settled(self, size):
        """Everything that was asked, the rest as the preset has it: dict.

        Raises:
            UsageError: it does not fit images of `size`.
        """
        preset = PRESETS[self.preset]
        found = {name: value if (value := getattr(self, name)) is not None else preset[name] for name in preset}
        if self.radii is not None and self.cutoffs is not None:
            raise UsageError("pass_curves: give cutoffs or radii, not both.")
        if self.radii is not None or self.cutoffs is not None:  # one replaces the other
            found["cutoffs" if self.cutoffs is None else "radii"] = None
        names = found["filters"] = list(found["filters"])
        if not names or not {*names} <= {*FILTERS} or len({*names}) < len(names):
            raise UsageError(f"pass_curves: filters must be some of {', '.join(FILTERS)}; got {names}.")
        if found["radii"] is None:
            found["cutoffs"] = _rising("cutoffs", found["cutoffs"], 1, "numbers with 0 < cutoff < 1")
        else:
            corner = float(radius(size).max())
            if found["shape"] == "square":
                raise UsageError("pass_curves: radii are of discs; squares take cutoffs.")
            words = f"radii above 0 and below {corner:.4g}, that of the corner of {size} images"
            found["radii"] = _rising("radii", found["radii"], corner, words)
        if names == ["band"] and len(found["radii"] or found["cutoffs"]) < 2:
            raise UsageError("pass_curves: a band lies between two cut-offs; only one is given.")
        return {"preset": self.preset, **found}


@dataclass(frozen=True, kw_only=True)
class InPixels(Scoring):
    """How a model is asked about images that are filtered as pixels."""

    domain: str = option(
        "pixels", "where filters act: pixels in [0, 1], or (with the encoding raw) the normalised tensor",
        choices=("pixels", "normalised"),
    )  # fmt: skip


def _rising(name, values, limit, words):
    numbers = list(values) if isinstance(values, (list, tuple)) else []
    good = all(isinstance(one, (int, float)) and not isinstance(one, bool) and 0 < one < limit for one in numbers)
    if not numbers or not good or any(b <= a for a, b in itertools.pairwise(numbers)):
        raise UsageError(f"pass_curves: {name} must be rising {words}; got {values!r}.")
    return [float(one) for one in numbers]


@flat
def pass_curves(
    model: Network,
    images: Images,
    own: Passing,
    scoring: InPixels,
    running: Directory,
) -> PassCurvesResult:
    """Ask the model about all images whole, and through low-pass, high-pass and band-pass filters.

    With r the distance from DC in cycles/image (of the shorter side, S pixels) and R = cutoff S/2: low-pass keeps r <
    R, high-pass r >= R, a band what lies between two neighbouring cut-offs. Every version of an image comes from one
    decode and one transform, and versions that are provably the same are shown once.

    LPP is the mean of the ratios to clean accuracy of low-pass at the cut-offs .1, .2, .3, .4 and .5, HPP that of
    high-pass filters that keep these shares of the band (.9 ... .5 up), and HPP/(LPP+HPP) the bias between the two.

    Presets: "default": discs, DC kept, pixels as they come out. "cvpr2024": the half-open squares [-int(q S/2), int(q
    S/2)) of the released code (q the cutoff of low-pass, 1 - cutoff of high-pass), DC lost in high-pass, cut to [0, 1];
    published on a centre crop of 224 pixels of images whose shorter side is 256. "cvpr2020": low and high component at
    four radii, over the largest value of each image.

    Args:
        model: a `Classifier`. images: those of the test, as `freqkit.data.as_images` takes them.

    Returns:
        `PassCurvesResult`; at most (K + 1) n forwards.

    Raises:
        UsageError, TypeError, ValueError: an argument does not fit.

    Source: Gavrikov and Keuper, CVPR 2024; Wang, Wu, Huang and Xing, CVPR 2020 (arXiv 1905.13545).

    Example:
        >>> from freqkit.data import synthetic
        >>> from freqkit.models import load_model
        >>> model, images = load_model("small_convnet"), synthetic(images_per_class=2)
        >>> result = pass_curves(model, images, cutoffs=[0.25, 0.5], batch_size=8)
        >>> result.names
        ['low 0.25', 'low 0.5', 'high 0.25', 'high 0.5', 'band 0.25']
        >>> result.edges.tolist()
        [[0.0, 4.0], [0.0, 8.0], [4.0, inf], [8.0, inf], [4.0, 8.0]]
    """
    model, images = enter("pass_curves", model, images, scoring.class_index)
    size = tuple(images.images.shape[-2:])
    asked = own.settled(size)
    filters, cutoffs, edges, masks = conditions_of(asked, size)
    distinct, place = distinct_of(masks, asked["encoding"])
    stimulus = Filter(masks[distinct], after=["raw", *[asked["encoding"]] * (len(distinct) - 1)])
    kept = "DC kept" if asked["dc"] == "keep" else "DC as the filter has it"
    definition = {
        "quantity": f"{asked['shape']}, {asked['boundary']}, {kept}, {asked['encoding']}", **asked,
        "domain": scoring.domain, "confidence": own.confidence, "resamples": own.resamples, "seed": own.seed,
    }  # fmt: skip

    def work(scorer, how, record):
        answers = Answers()
        scorer.show(stimulus, [answers], **how)
        result = PassCurvesResult(
            list(scorer.classes), filters, torch.tensor(cutoffs, dtype=torch.float64),
            torch.tensor(edges, dtype=torch.float64), answers.value[place].int(), scorer.labels.clone(),
            torch.as_tensor(scorer.class_index).cpu().clone(), {}, definition, {**record, "logits": scorer.logits},
        )  # fmt: skip
        result.means = _means(result, own)
        return result

    return run("pass-curves", model, images, stimulus, own, scoring, running, work)


def joined(results: Sequence[PassCurvesResult], record: dict) -> PassCurvesResult:
    """One result of several of disjoint images that were asked alike, on the given record."""
    first, known = results[0], results[0].definition
    whole = PassCurvesResult(
        first.classes, first.filters, first.cutoffs, first.edges, torch.cat([one.answers for one in results], 1),
        torch.cat([one.labels for one in results]), first.class_index, {}, known, record,
    )  # fmt: skip
    own = Passing(**{name: known[name] for name in ("confidence", "resamples", "seed")})
    whole.means = _means(whole, own)
    return whole


HELP = """Ask about every image through low-pass, high-pass and band-pass filters; draw accuracy over the cut-off.

Everything of an image comes from one decode and one transform. DIR gets pass-curves.safetensors, .csv, .png, a page.

\b
freqkit pass-curves --model resnet50.a1_in1k --weights resnet50.safetensors --data imagenet/val \\
                    --classes synsets.txt --preset cvpr2024 --out runs/curves
"""
TERMS = {
    "pass-curves": {
        "short": "Accuracy when only low, only high or only a band of frequencies is left, over the cut-off.",
        "formula": "ratio = accuracy through the filter / accuracy on whole images, of the same images",
        "more": "Intervals: Wilson's of accuracy; of the ratio the score interval of two shares of the same images.",
        "source": "Gavrikov and Keuper, CVPR 2024; Wang, Wu, Huang and Xing, CVPR 2020 (arXiv 1905.13545)",
        "aliases": ["filters", "filter", "cutoffs", "cutoff", "radii", "boundary", "shape", "ratio", "low-pass",
                    "high-pass", "band-pass"],
    },
    "LPP": {
        "short": "Low-frequency bias: the mean ratio to clean accuracy of low-pass filters that keep 10 to 50%.",
        "formula": "LPP = mean of accuracy(low-pass c) / clean accuracy, c = .1 ... .5; HPP: of high-pass filters",
        "more": "HPP/(LPP+HPP) is 0 for a model that lives on low frequencies alone and 1 for one of high ones. "
        "There is no interval where no redrawing of the images changes the number, as where none is recognised.",
        "source": "Gavrikov and Keuper, CVPR 2024",
        "aliases": ["HPP", "HPP/(LPP+HPP)", "spectral bias"],
        "see": ["pass-curves"],
    },
    "encoding": {
        "short": "What becomes of the pixels of a filtered image, whose range is no longer [0, 1].",
        "more": "raw: they stay. clip: cut to [0, 1], which loses the negative half of a high-pass image. maxnorm: "
        "over the largest of the image. minmax: each channel from 0 to 1. uint8wrap: cut to whole grey levels, modulo "
        "256, an accident of published code. High-pass accuracy depends on it much.",
        "see": ["pass-curves"],
    },
}  # fmt: skip


def _means(result, own):
    """LPP, HPP and their bias, with percentile intervals over images that are drawn anew."""
    right, squares, places = result.right.long(), result.definition["shape"] == "square", {}
    for name, kind in (("LPP", "low"), ("HPP", "high")):
        wanted = [1 - share if kind == "high" and not squares else share for share in MEANS]
        at = [[k for k, (one, cutoff) in enumerate(zip(result.filters, result.cutoffs.tolist(), strict=True))
               if one == kind and abs(cutoff - share) < 1e-9] for share in wanted]  # fmt: skip
        if not all(at):
            return {}
        places[name] = [1 + one[0] for one in at]
    sums = torch.stack([right[0], right[places["LPP"]].sum(0), right[places["HPP"]].sum(0)])
    drawn = torch.cat([sums.double().sum(1)[None], redrawn_sums(sums, own.resamples, own.seed)])
    whole = len(MEANS) * drawn[:, 0]
    low, high = drawn[:, 1] / whole, drawn[:, 2] / whole
    found = {"LPP": low, "HPP": high, "HPP/(LPP+HPP)": drawn[:, 2] / (drawn[:, 1] + drawn[:, 2])}
    return {name: [known(float(values[0])), *_limits(values, own.confidence)] for name, values in found.items()}


def _limits(values, confidence):
    """Of a number and its redrawings; none where all are the same, as where no image is recognised, for redrawing what
    was seen cannot say how far that might be from the truth."""
    if bool((values[1:] == values[0]).all()):
        return [None, None]
    return percentiles(values[1:], confidence, float(values[0]))


def printed(result: PassCurvesResult) -> Printed:
    """What `freqkit pass-curves` prints: some filters of each kind for every class; --json has all."""
    accuracy, _, ratio, _ = result.shares()
    shown = [k for kind in FILTERS for k in some_of([k for k, one in enumerate(result.filters) if one == kind])]
    whole = Confusion(
        Confusion.count(result.labels, result.answers[0].long(), len(result.classes), result.record["logits"]),
        result.class_index,
    ).tpr.tolist()
    lines = [[name, whole[c], *accuracy[shown, c + 1].tolist()] for c, name in enumerate(result.classes)]
    means = ", ".join(f"{name} {with_interval(*values, 3)}" for name, values in result.means.items())
    return Printed(
        {
            "accuracy": dict(zip(["all", *result.names], result.accuracy.tolist(), strict=True)),
            "ratio": {name: known(value) for name, value in zip(result.names, ratio[:, 0].tolist(), strict=True)},
            "edges": {name: [low, known(high)] for name, (low, high) in zip(
                result.names, result.edges.tolist(), strict=True)},
            "means": result.means, "definition": result.definition, "forwards": result.record["forwards"],
        },
        [("class", "text"), ("clean TPR", "0%"), *((result.names[k], "0%") for k in shown)],
        sorted(lines, key=lambda line: line[1] != line[1]),  # classes without images last
        f"{len(result.labels)} images: share recognised through filters",
        "numbers: cut-offs, as shares of half the shorter side",
        last=["all", float(result.accuracy[0]), *accuracy[shown, 0].tolist()],
        verdict=f"Ratios to clean accuracy: {means}" if means else None,
    )  # fmt: skip


def some_of(places):
    """A few of many, the first and the last among them."""
    steps = min(SHOWN, len(places))
    return [places[round(i * (len(places) - 1) / max(1, steps - 1))] for i in range(steps)]


def known(value):
    return value if value is not None and math.isfinite(value) else None


def with_interval(value, low, high, digits):
    if known(value) is None:
        return "undefined"
    return f"{value:.{digits}f}" + (f" ({low:.{digits}f}..{high:.{digits}f})" if known(low) is not None else "")
