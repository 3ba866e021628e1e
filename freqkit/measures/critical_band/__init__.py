"""The critical band of recognition: at which frequencies noise hides what is in an image, and how wide that band is.

Sources: Solomon and Pelli, Nature 369 (1994) 395; Subramanian et al., NeurIPS 2023 (arXiv 2309.13190), for networks;
Gavrikov and Keuper, CVPR 2024, for the sizes and numbers of 48 of them.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from freqkit.data import Images
from freqkit.data.sixteen import CATEGORIES, MEMBERS, category_of, sixteen_way
from freqkit.engine.accumulators import Answers
from freqkit.engine.entrance import enter
from freqkit.engine.stimuli import BandNoise, band_power, pyramid_height
from freqkit.errors import UsageError
from freqkit.files.reading import in_range
from freqkit.files.whole import RECORD
from freqkit.masks import uncentred
from freqkit.masks.shapes import radius
from freqkit.measures.critical_band.fit import critical_band_fit, noise_thresholds
from freqkit.measures.printed import Printed
from freqkit.measures.running import run
from freqkit.models import Network
from freqkit.options import Directory, Options, Scoring, flat, option
from freqkit.report.svg import number, percent
from freqkit.results import rows
from freqkit.results.result import Result, TensorFile
from freqkit.statistics import percentiles, redrawn_sums, wilson

__all__ = ["CriticalBandResult", "critical_band", "critical_band_fit"]
FORMAT = "freqkit-critical-band-1"
SHARED = True  # ranks share its work
DEVIATIONS = (0.02, 0.04, 0.08, 0.16)
LEAST = 16  # pixels of a side: three bands
# Of 14 observers, mean and standard deviation; and of all their answers together.
HUMAN = {"bw": (1.43, 0.54, 1.00), "cf": (39.1, 3.0, 39.6), "pns": (0.80, 0.28, 1.00)}
MEASURED = ("bw", "cf", "pns")
WORDS = {"bw": ("bandwidth", "octaves"), "cf": ("centre", "cycles/image"), "pns": ("peak noise sensitivity", "")}
ENDS = ("", "_norm")  # of names of numbers: by a fixed threshold, and by half of the reference


@dataclass
class CriticalBandResult(Result):
    """Answers to images of low contrast without noise and in noise of B bands at D standard deviations.

    Attributes:
        classes: C names: of the images, or the sixteen categories.
        deviations: float64 [D], of the white noise, rising, without 0.
        centres: float64 [B], nominal centres of the bands in cycles/image, the coarsest first.
        medians: float64 [B], cycles/image (of the shorter side) below which half of the noise's power lies.
        answers: int32 [1 + B D (+ 1), n]: without noise, then band by band with rising noise, and, where clean
            images are the reference, these.
        labels: int64 [n], of each image the place of its class. class_index: int64 [C], each one's right answer.
        intervals: "bw", "bw_norm" ... -> [low, high, share of the redrawings in which it is defined].
        definition, record: JSON-ready dicts.
    """

    classes: list
    deviations: torch.Tensor
    centres: torch.Tensor
    medians: torch.Tensor
    answers: torch.Tensor
    labels: torch.Tensor
    class_index: torch.Tensor
    intervals: dict = field(default_factory=dict)
    definition: dict = field(default_factory=dict)
    record: dict = field(default_factory=dict)

    FILE = TensorFile(
        FORMAT, "a critical-band file",
        {"deviations": "float64 D", "centres": "float64 B", "medians": "float64 B", "answers": "int32 all n",
         "labels": "int64 n", "class_index": "int64 C"},
        {"classes": [str], "intervals": {str: [(float, None)]}, "record": RECORD,
         "definition": {"quantity": str, "confidence": float, "reference": str, "threshold": float}},
    )  # fmt: skip
    COLUMNS = ("band", "centre", "deviation", "class", "images", "accuracy", "accuracy low", "accuracy high")
    FIGURE = "plot_critical_band"

    @property
    def right(self):
        """bool [K, n], whether each answer is the image's class."""
        return self.answers == self.class_index[self.labels]

    @property
    def counts(self):
        """int64 [C], images of each class."""
        return torch.bincount(self.labels, minlength=len(self.classes))

    @property
    def conditions(self):
        """[(band, standard deviation), ...] of the rows of `answers`; band None: no noise."""
        noisy = [(band, sd) for band in range(len(self.centres)) for sd in self.deviations.tolist()]
        return [(None, 0.0), *noisy, *[("clean", 0.0)] * (len(self.answers) - 1 - len(noisy))]

    @property
    def accuracy(self):
        """float64 [D + 1, B], share of images that are recognised: without noise (the same for all bands), then with
        rising noise."""
        return self._matrix(self.right.double().mean(1))

    def _matrix(self, each):
        """Of numbers [K] of the conditions."""
        bands, deviations = len(self.centres), len(self.deviations)
        noisy = each[1 : 1 + bands * deviations].view(bands, deviations).T
        return torch.cat([each[:1].expand(1, bands), noisy])

    @property
    def reference(self):
        """The accuracy whose half is the threshold of the normalised numbers."""
        each = self.right.double().mean(1)
        return float(each[-1] if self.definition["reference"] == "clean" else each[0])

    def thresholds(self, normalised=False):
        """How many of the strongest noises are too much in each band, see `noise_thresholds`."""
        limit = 0.5 * self.reference if normalised else self.definition["threshold"]
        return noise_thresholds(self.accuracy, limit)

    @property
    def values_found(self):
        """ "bw", "cf", "pns" and the same with "_norm": numbers, or None where there is no fit."""
        found = {}
        for end in ENDS:
            fit = self._fit(self.thresholds(bool(end)))
            found.update({f"{name}{end}": None if fit is None else fit[i] for i, name in enumerate(MEASURED)})
        return found

    def _fit(self, thresholds):
        return critical_band_fit(thresholds, levels=len(self.deviations), base=float(self.centres[0]))

    def cells(self):
        """One line for each condition, of all images and then of each class."""
        groups = ["", *self.classes]
        hits, trials = self._by_class()
        limits = wilson(hits.flatten(), trials.flatten(), self.definition["confidence"])
        names = [("clean" if band == "clean" else band, sd) for band, sd in self.conditions for _ in groups]
        centres = [None if not isinstance(band, int) else float(self.centres[band]) for band, _ in names]
        shares = (hits.double() / trials).flatten()
        return [
            ["none" if band is None else str(band) for band, _ in names], centres, [sd for _, sd in names],
            groups * len(self.conditions), trials.flatten(),
            *([value if math.isfinite(value) else None for value in one.tolist()] for one in (shares, *limits.T)),
        ]  # fmt: skip

    def _by_class(self):
        """Hits and trials, int64 [K, C + 1]: of all images and of each class."""
        right = self.right.long()
        hits = torch.zeros(len(right), len(self.classes) + 1, dtype=torch.int64)
        hits.index_add_(1, self.labels + 1, right)
        hits[:, 0] = right.sum(1)
        trials = torch.cat([self.counts.sum()[None], self.counts]).expand_as(hits)
        return hits, trials

    def rows(self):
        confidence, about = self.definition["confidence"], rows.of_record(self.record)
        hits, trials, found = *self._by_class(), []
        for k, (band, sd) in enumerate(self.conditions):
            where = {**about, "definition": self.definition["quantity"]}
            if isinstance(band, int):
                where.update(condition=f"noise of sd {sd:g}", radius=float(self.centres[band]))
            elif band is None:
                where["condition"] = "no noise, low contrast"
            found += rows.shares(["", *self.classes], "accuracy", hits[k], trials[k], confidence, **where)
        for name, value in self.values_found.items():
            low, high, _ = self.intervals.get(name, (None, None, None))
            words = f"{self.definition['quantity']}; threshold {units_of(self)['_norm' if '_norm' in name else '']}"
            found.append(rows.tidy(metric=name, value=value, low=low, high=high, n=len(self.labels), **about,
                                   definition=words))  # fmt: skip
        return found

    @classmethod
    def checked(cls, values, path):
        answers, labels = values["answers"], values["labels"]
        in_range(answers, 0, 2**31 - 1, path, "answers")
        in_range(labels, 0, len(values["classes"]) - 1, path, "labels")
        for name in ("deviations", "centres", "medians"):
            in_range(values[name], 0, 2**20, path, name)
        more = len(answers) - 1 - len(values["deviations"]) * len(values["centres"])
        if more != (values["definition"]["reference"] == "clean") or not len(labels) or len(values["centres"]) < 3:
            raise UsageError(f"{path}: the tensor answers must hold a row for each band and standard deviation.")
        if any(len(one) != 3 for one in values["intervals"].values()):
            raise UsageError(f"{path}: intervals must have two ends and a share.")
        return values


@dataclass(frozen=True, kw_only=True)
class Masking(Options):
    """What `critical_band` is asked."""

    answers: str = option(
        "classes", "which answers are compared: classes: the model's own; sixteen: the categories of the comparison "
        "with people, of a model of ImageNet's 1,000 classes", choices=("classes", "sixteen"),
    )  # fmt: skip
    reference: str = option(
        "no-noise", "half of what is the normalised threshold: the accuracy on images of low contrast without noise, "
        "or on clean images (a forward more of each)", choices=("no-noise", "clean"),
    )  # fmt: skip
    threshold: float = option(
        0.5, "accuracy that must be exceeded, of the numbers that are not normalised", above=0, below=1
    )
    seed: int = option(0, "of the noise and the redrawings", least=0)
    confidence: float = option(0.95, "how sure the intervals are", above=0, below=1)
    resamples: int = option(1000, "redrawings of the images for the intervals of the fit", least=100)


@flat
def critical_band(
    model: Network,
    images: Images,
    own: Masking,
    scoring: Scoring,
    running: Directory,
) -> CriticalBandResult:
    """Ask the model about all images, grey and at a contrast of 20 %, without noise and in noise of octave bands.

    White noise of standard deviations .02, .04, .08 and .16 is split into the bands of a Laplacian pyramid (7 at 224
    pixels), of which one is kept at the strength of the finest (.943 of the nominal deviation); see
    `freqkit.engine.stimuli.BandNoise`. Noise is drawn from a counter (image, band, deviation, seed). Per band the
    threshold is how many of the strongest deviations are too much; `critical_band_fit` makes of them the width and the
    centre of the band that matters. Bands have their nominal centres, S/2 / 2^(B - 1 - f), and measured medians of
    their power, which lie about an octave lower.

    Args:
        model: a `Classifier`. images: those of the test, as `freqkit.data.as_images` takes them; 16 pixels at least.

    Returns:
        `CriticalBandResult`; 1 + B D forwards of each image, at 224 pixels 29.

    Raises:
        UsageError, TypeError, ValueError: an argument does not fit.

    Source: Solomon and Pelli, Nature 369 (1994) 395; Subramanian et al., NeurIPS 2023 (arXiv 2309.13190); Gavrikov and
    Keuper, CVPR 2024.

    Example:
        >>> from freqkit.data import synthetic
        >>> from freqkit.models import load_model
        >>> result = critical_band(load_model("small_convnet"), synthetic(images_per_class=2), batch_size=8)
        >>> result.accuracy.shape, result.centres.tolist(), result.record["forwards"]
        (torch.Size([5, 4]), [2.0, 4.0, 8.0, 16.0], 136)
    """
    index = scoring.class_index
    if own.answers == "sixteen" and index is None and (names := _categories_of(images)):
        index = [MEMBERS[name][0] for name in names]
    model, images = enter("critical_band", model, images, index)
    size = tuple(images.images.shape[-2:])
    if min(size) < LEAST:
        raise UsageError(
            f"critical_band: images must have sides of {LEAST} pixels at least, for three bands; got {size}."
        )
    classes, labels, right = list(images.classes), images.labels, None
    if own.answers == "sixteen":
        images, labels = _sixteen(model, images, index)
        classes, right = list(CATEGORIES), torch.arange(len(CATEGORIES))
    more = [(None, 0.0)] if own.reference == "clean" else []
    stimulus = BandNoise([*BandNoise.levels_of(size, DEVIATIONS), *more], seed=own.seed)
    bands = pyramid_height(size)
    definition = {
        "quantity": f"{'16-way' if right is not None else 'top-1'}, low contrast in noise of octave bands",
        **own.identity(), "deviations": list(DEVIATIONS), "contrast": stimulus.contrast, "mean": stimulus.mean,
        **stimulus.about,
    }  # fmt: skip
    scoring = dataclasses.replace(scoring, class_index=index)

    def work(scorer, how, record):
        answers = Answers(None if right is None else _category)
        scorer.show(stimulus, [answers], **how)
        of_classes = torch.as_tensor(scorer.class_index).cpu().clone() if right is None else right
        centres = torch.tensor([min(size) / 2 / 2 ** (bands - 1 - band) for band in range(bands)], dtype=torch.float64)
        result = CriticalBandResult(
            classes, torch.tensor(DEVIATIONS, dtype=torch.float64), centres, medians_of(size),
            answers.value.int(), labels.clone(), of_classes, {}, definition, record,
        )  # fmt: skip
        result.intervals = _intervals(result, own)
        return result

    return run("critical-band", model, images, stimulus, own, scoring, running, work)


def joined(results: Sequence[CriticalBandResult], record: dict) -> CriticalBandResult:
    """One result of several of disjoint images that were asked alike (but for the seed of the noise), on the given
    record."""
    first, known = results[0], results[0].definition
    whole = dataclasses.replace(
        first, answers=torch.cat([one.answers for one in results], 1),
        labels=torch.cat([one.labels for one in results]), intervals={}, record=record,
    )  # fmt: skip
    names = ("reference", "threshold", "seed", "confidence", "resamples")
    whole.intervals = _intervals(whole, Masking(**{name: known[name] for name in names}))
    return whole


def medians_of(size: tuple[int, int]) -> torch.Tensor:
    """Of each band the distance from DC below which half of its noise's power lies: float64 [B], cycles/image."""
    r, order = uncentred(radius(size)).flatten().sort()
    found = []
    for band in range(pyramid_height(size)):
        power = torch.from_numpy(band_power(size, band)).flatten()[order].cumsum(0)
        found.append(r[int((power < power[-1] / 2).sum())])
    return torch.stack(found)


def _categories_of(images):
    """The names of images' classes where all are among the sixteen categories."""
    names = getattr(images, "classes", None)
    return names if isinstance(names, list) and {*names} <= {*CATEGORIES} else None


def _sixteen(model, images, index):
    """The images that are of one of the sixteen categories, and which."""
    if model.num_classes != 1000:
        raise UsageError(
            f"critical_band: answers='sixteen' needs a model of ImageNet's 1,000 classes; this one has"
            f" {model.num_classes} logits."
        )
    logits = range(len(images.classes)) if index is None else [int(i) for i in index]
    place = torch.tensor([-1 if (found := category_of(logit)) is None else found for logit in logits])
    inside = place[images.labels] >= 0
    if not inside.any():
        raise UsageError("critical_band: answers='sixteen' needs images of the sixteen categories; there are none.")
    images = images.subset(inside, note={"of": "the sixteen categories"})
    return images, place[images.labels]


def _category(logits):
    return sixteen_way(logits).argmax(-1)


def _intervals(result, own):
    """Percentile intervals of the fits' numbers over images that are drawn anew."""
    drawn, times = (redrawn_sums(result.right, own.resamples, own.seed) / len(result.labels)).unique(
        dim=0, return_counts=True
    )
    found = {f"{name}{end}": [] for end in ENDS for name in MEASURED}
    for each, count in zip(drawn, times.tolist(), strict=True):
        accuracy = result._matrix(each)
        reference = float(each[-1] if own.reference == "clean" else each[0])
        for end, limit in zip(ENDS, (own.threshold, reference / 2), strict=True):
            fit = result._fit(noise_thresholds(accuracy, limit))
            for name, value in zip(MEASURED, fit or (), strict=False):
                found[f"{name}{end}"] += [value] * count
    whole = result.values_found
    return {
        name: [*percentiles(values, own.confidence, whole[name]), len(values) / own.resamples]
        for name, values in found.items()
    }


HELP = """Ask about every image in noise of octave bands: which band hides objects, and how wide it is.

DIR gets critical-band.safetensors (.csv, .png) and a page.

\b
freqkit critical-band --model resnet50.a1_in1k --weights resnet50.safetensors --data imagenet/val \\
                      --classes synsets.txt --resize center-crop --out runs/band
"""
TERMS = {
    "critical-band": {
        "short": "The band of frequencies in which noise hides objects: its width (bw), centre (cf) and noise "
        "sensitivity (pns).",
        "formula": "A exp(-(f - mu)^2 / 2 s^2) fitted to the thresholds of bands f: bw = 2 sqrt(ln 4) s octaves, cf = "
        "c_0 2^mu cycles/image, pns = 2^(A - 4)",
        "more": "The threshold of a band: how many of the strongest of four noises (standard deviations .16, .08, .04, "
        ".02) must go until the accuracy exceeds 50%, or (_norm) half of the accuracy without noise. Where all bands "
        "have the same threshold there is no fit. People: bw 1.43 +- .54, cf 39.1 +- 3.0, pns .80 +- .28.",
        "source": "Solomon and Pelli, Nature 369 (1994) 395; Subramanian et al., NeurIPS 2023 (arXiv 2309.13190)",
        "aliases": ["critical band", "bw", "cf", "pns", "bw_norm", "cf_norm", "pns_norm", "bandwidth",
                    "reference", "deviation"],
    },
    "answers": {
        "short": "Which answers are compared: the model's own classes, or sixteen everyday categories.",
        "more": "Of the categories, the one of the largest mean probability of its classes.",
        "source": "Geirhos et al., NeurIPS 2021 (arXiv 2106.07411)",
        "aliases": ["sixteen", "16-way"],
        "see": ["critical-band"],
    },
}  # fmt: skip


def printed(result: CriticalBandResult) -> Printed:
    """What `freqkit critical-band` prints: accuracy in each band, and the fits beside people's."""
    hits, trials = result._by_class()
    share, bands, deviations = hits.double() / trials, len(result.centres), len(result.deviations)
    noisy = share[1 : 1 + bands * deviations].view(bands, deviations, -1).mean(1)
    found = result.values_found
    lines = [[name, int(trials[0, c]), float(share[0, c]), *noisy[:, c].tolist()]
             for c, name in enumerate(["all", *result.classes])]  # fmt: skip
    return Printed(
        {
            "accuracy": result.accuracy.tolist(), "deviations": [0.0, *result.deviations.tolist()],
            "centres": result.centres.tolist(), "medians": result.medians.tolist(), "reference": result.reference,
            "thresholds": result.thresholds(), "thresholds_norm": result.thresholds(True), **found,
            "intervals": result.intervals, "human": {name: list(value) for name, value in HUMAN.items()},
            "definition": result.definition, "forwards": result.record["forwards"],
        },
        [
            ("class", "text"), ("images", "count"), ("no noise", "0%"),
            *((f"{centre:g}", "0%") for centre in result.centres.tolist()),
        ],
        sorted(lines[1:], key=lambda line: line[1] == 0),  # classes without images last
        f"{len(result.labels)} images in noise: mean accuracy over its strengths",
        "columns: nominal centres of the bands, cycles/image",
        last=lines[0],
        verdict=" ".join(sentences_of(result, found)),
    )  # fmt: skip


def units_of(result):
    """The thresholds in words, by the ends of names."""
    clean = result.definition["reference"] == "clean"
    half = "of half the clean accuracy" if clean else "of half the accuracy without noise"
    return dict(zip(ENDS, (f"of {percent(result.definition['threshold'])}", half), strict=True))


def sentences_of(result, found):
    """What was found, of both thresholds."""
    said = []
    for end, unit in units_of(result).items():
        steps = ", ".join(map(str, result.thresholds(bool(end))))
        head = f"By the threshold {unit}"
        if found[f"bw{end}"] is None:
            said.append(f"{head} there is no band: the thresholds ({steps}) determine no fit.")
            continue
        parts = []
        for name in MEASURED:
            low, high, _ = result.intervals.get(f"{name}{end}", (None, None, None))
            limits = "" if low is None else f" ({number(low)} to {number(high)})"
            mean, spread, _ = HUMAN[name]
            word, unit_of = WORDS[name]
            parts.append(f"{word} {number(found[f'{name}{end}'])}{limits}{f' {unit_of}' if unit_of else ''}"
                         f" (people {mean:g} ± {spread:g})")  # fmt: skip
        said.append(f"{head}: {', '.join(parts)}.")
    return said
