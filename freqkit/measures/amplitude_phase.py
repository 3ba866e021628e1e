"""Amplitude against phase: what images are called when one of the two is another image's, flat, or at random.

The amplitude |X| and the phase X/|X| of every Fourier coefficient are taken from two images and put together. An image
with its own phase and the amplitude of an image of another class is called by the class of the one, of the other, or of
neither. People go by the phase (Oppenheim and Lim, Proc. IEEE 69 (1981) 529); networks by either (Chen et al., ICCV
2021, arXiv 2108.08487).
"""

from dataclasses import dataclass, field

import torch

from freqkit.data import Images
from freqkit.engine.accumulators import Answers
from freqkit.engine.entrance import enter
from freqkit.engine.phases import VERSIONS, Recombination, donors
from freqkit.errors import UsageError
from freqkit.files.reading import in_range
from freqkit.files.whole import RECORD
from freqkit.measures.printed import Printed
from freqkit.measures.running import run
from freqkit.models import Network
from freqkit.options import Directory, Options, Scoring, flat, option
from freqkit.report import figures
from freqkit.report.blocks import Cell, Part, Section, Table
from freqkit.report.inline import drawing
from freqkit.report.pages import files_of, part
from freqkit.report.provenance import cost_rows, model_rows, provenance_rows
from freqkit.report.svg import percent
from freqkit.report.words import clean_cautions, clean_rows, span, weights_cautions
from freqkit.results import rows
from freqkit.results.clean import CleanRates
from freqkit.results.confusion import Confusion
from freqkit.results.result import Result, TensorFile
from freqkit.statistics import wilson

__all__ = ["AmplitudePhaseResult", "amplitude_phase"]
FORMAT = "freqkit-amplitude-phase-1"
SHARED = True  # ranks share its work
KINDS = list(VERSIONS)
FOLLOWED = ("phase", "amplitude")


@dataclass
class AmplitudePhaseResult(Result):
    """Answers to n images, whole and recombined in K - 1 ways.

    Attributes:
        classes: C names.
        kinds: K of `freqkit.engine.phases.VERSIONS`, the first "whole".
        answers: int32 [K, n], the logit that won.
        labels: int64 [n], the class of each image. class_index: int64 [C], the logit of each class.
        others, classmates: int64 [n], the donor of each image of another class and of its own; -1 for none.
        definition, record: JSON-ready dicts.
    """

    classes: list
    kinds: list
    answers: torch.Tensor
    labels: torch.Tensor
    class_index: torch.Tensor
    others: torch.Tensor
    classmates: torch.Tensor
    definition: dict = field(default_factory=dict)
    record: dict = field(default_factory=dict)

    FILE = TensorFile(
        FORMAT, "a file of `amplitude-phase`",
        {"answers": "int32 K n", "labels": "int64 n", "class_index": "int64 C", "others": "int64 n",
         "classmates": "int64 n"},
        {"classes": [str], "kinds": [str], "record": RECORD, "definition": {"quantity": str, "confidence": float}},
        {"C": "classes", "K": "kinds"},
    )  # fmt: skip
    COLUMNS = ("version", "class", "images", "follows phase", "phase low", "phase high", "follows amplitude",
               "amplitude low", "amplitude high")  # fmt: skip
    FIGURE, MAIN = "plot_amplitude_phase", ("highest", "follows amplitude")

    @property
    def clean(self) -> CleanRates:
        """`CleanRates` of the whole images."""
        counts = Confusion.count(self.labels, self.answers[0].long(), len(self.classes), self.record["logits"])
        return CleanRates.of_confusion(self.classes, counts, self.class_index)

    def followed(self) -> torch.Tensor:
        """int8 [2, K, n]: whether each answer is the class of the image whose phase, and whose amplitude, was seen; -1
        where none is, because it was no image's, or the image has no donor."""
        found = torch.full((2, *self.answers.shape), -1, dtype=torch.int8)
        for k, kind in enumerate(self.kinds):
            amplitude, phase = VERSIONS[kind]
            for place, whose in enumerate((phase, amplitude)):
                donor = {"own": torch.arange(len(self.labels)), "other": self.others, "classmate": self.classmates}
                if whose not in donor:
                    continue
                label = self.labels[donor[whose].clamp_min(0)]
                known = torch.ones_like(label, dtype=torch.bool)
                for one in {amplitude, phase} & {"other", "classmate"}:
                    known &= donor[one] >= 0
                right = (self.answers[k] == self.class_index[label]).to(torch.int8)
                found[place, k] = torch.where(known, right, -1).to(torch.int8)
        return found

    def tallies(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(hits, trials): int64 [2, K, C + 1], of all images and of those of each class, by the image itself; see
        `followed`."""
        found = self.followed()
        sums = torch.zeros(2, 2, len(self.kinds), len(self.classes) + 1, dtype=torch.int64)
        for place, values in enumerate(((found == 1), (found >= 0))):
            sums[place].index_add_(2, self.labels + 1, values.long())
            sums[place, ..., 0] = values.sum(2)
        return sums[0], sums[1]

    def shares(self) -> tuple[torch.Tensor, torch.Tensor]:
        """float64 [2, K, C + 1], and Wilson intervals [2, K, C + 1, 2]; NaN where nothing is known."""
        hits, trials = self.tallies()
        limits = wilson(hits.flatten(), trials.flatten(), self.definition["confidence"]).view(*hits.shape, 2)
        return hits.double() / trials, limits

    def by_phase(self) -> tuple[float, float, float, int]:
        """Of the answers to images with amplitude and phase of two classes that are either's, the share that is the
        phase's, its interval, and their number; NaN of none."""
        hits = self.tallies()[0][..., 0]
        both = torch.tensor([k for k, kind in enumerate(self.kinds) if kind.startswith("other")], dtype=torch.int64)
        phase, amplitude = hits[:, both].sum(1)
        ((low, high),) = wilson(phase[None], (phase + amplitude)[None], self.definition["confidence"]).tolist()
        return float(phase.double() / (phase + amplitude)), low, high, int(phase + amplitude)

    def cells(self):
        groups = ["all", *self.classes]
        shares, limits = self.shares()
        each = [_none(one) for place in range(2) for one in (shares[place], *limits[place].unbind(-1))]
        trials = self.tallies()[1].amax(0).flatten().tolist()
        return [[kind for kind in self.kinds for _ in groups], groups * len(self.kinds), trials, *each]

    def rows(self):
        """ "follows phase" and "follows amplitude" of every version (condition), of all images and each class; and of
        all "by phase"."""
        about = rows.of_record(self.record, definition=self.definition["quantity"])
        confidence, found = self.definition["confidence"], []
        hits, trials = self.tallies()
        for place, name in enumerate(FOLLOWED):
            for k, kind in enumerate(self.kinds):
                if not int(trials[place, k, 0]):
                    continue
                some = {**about, "condition": kind}
                found += rows.shares(["", *self.classes], f"follows {name}", hits[place, k], trials[place, k],
                                     confidence, **some)  # fmt: skip
        value, low, high, n = self.by_phase()
        return [*found, rows.tidy(**about, metric="by phase", value=value, low=low, high=high, n=n)]

    @classmethod
    def checked(cls, values, path):
        n, classes = len(values["labels"]), len(values["classes"])
        if not {*values["kinds"]} <= {*VERSIONS} or values["kinds"][:1] != ["whole"]:
            raise UsageError(f"{path}: kinds must be some of {', '.join(VERSIONS)}, whole first.")
        in_range(values["labels"], 0, classes - 1, path, "labels")
        logits = values["record"].get("logits")
        if not isinstance(logits, int) or not 0 < logits < 2**31 or not n:
            raise UsageError(f"{path}: the record must say how many logits there are, and labels must be some.")
        in_range(values["answers"], 0, logits - 1, path, "answers")
        in_range(values["class_index"], 0, logits - 1, path, "class_index")
        for name in ("others", "classmates"):
            in_range(values[name], -1, n - 1, path, name)
        return values


def _none(values):
    return [value if value == value else None for value in values.flatten().tolist()]


@dataclass(frozen=True, kw_only=True)
class Exchanging(Options):
    """What `amplitude_phase` is asked."""

    confidence: float = option(0.95, "how sure the intervals are", above=0, below=1)
    seed: int = option(0, "of the donors and of random phases", least=0)


@dataclass(frozen=True, kw_only=True)
class OfPixels(Scoring):
    """How a model is asked about images that are put together as pixels."""

    domain: str = option(
        "pixels", "where amplitude and phase are taken and put together: pixels in [0, 1], or the normalised tensor",
        choices=("pixels", "normalised"),
    )  # fmt: skip


@flat
def amplitude_phase(
    model: Network, images: Images, own: Exchanging, scoring: OfPixels, running: Directory
) -> AmplitudePhaseResult:
    """Ask the model about images whose amplitude, or phase, is another image's, flat, or at random.

    Versions of each image x, every channel by itself, DC a part of the amplitude: "other amplitude" and "other phase":
    that of an image of another class, by a permutation in which every image is the donor of one; "classmate's ...": of
    one of the same class; "mean amplitude": the mean amplitude of all images; "zero phase"; "random phase": those of
    white noise added, the same in all channels. Pixels stay as they come out, also outside of [0, 1].

    Args:
        model: a `Classifier`. images: of two classes at least, as `freqkit.data.as_images` takes them.

    Returns:
        `AmplitudePhaseResult`; 8 n forwards.

    Raises:
        UsageError, TypeError, ValueError: an argument does not fit; all images are of one class.

    Source: Oppenheim and Lim, Proc. IEEE 69 (1981) 529; Chen et al., ICCV 2021 (arXiv 2108.08487).

    Example:
        >>> from freqkit.data import synthetic
        >>> from freqkit.models import load_model
        >>> found = amplitude_phase(load_model("small_convnet", num_classes=4), synthetic(images_per_class=2))
        >>> found.answers.shape, found.shares()[0].shape
        (torch.Size([8, 8]), torch.Size([2, 8, 5]))
    """
    model, images = enter("amplitude_phase", model, images, scoring.class_index)
    if not len(images):
        raise UsageError("amplitude_phase: images must hold at least one image; got none.")
    others, classmates = donors(images.labels, own.seed)
    stimulus = Recombination(KINDS, others, classmates, seed=own.seed)
    definition = {"quantity": "amplitude and phase of two images, each channel by itself", "domain": scoring.domain,
                  **own.identity()}  # fmt: skip

    def work(scorer, how, record):
        answers = Answers()
        scorer.show(stimulus, [answers], **how)
        return AmplitudePhaseResult(
            list(scorer.classes), list(KINDS), answers.value.int(), scorer.labels.clone(),
            torch.as_tensor(scorer.class_index).cpu().clone(), others, classmates, definition,
            {**record, "logits": scorer.logits},
        )  # fmt: skip

    return run("amplitude-phase", model, images, stimulus, own, scoring, running, work)


HELP = """Ask about images with the amplitude or the phase of other images, flat, or at random: which one decides.

DIR gets amplitude-phase.safetensors, .csv, .png, a page.

\b
freqkit amplitude-phase --model cifar_resnet20 --weights resnet20.safetensors --data cifar10/test --out runs/phase
"""
TERMS = {
    "amplitude-phase": {
        "short": "What images are called whose amplitude is one image's and whose phase is another's.",
        "formula": "x = IDFT2(|A| P/|P|), A and P the spectra of the two images, each channel by itself",
        "more": "follows phase, follows amplitude: share of the answers that are the class of the image whose phase, "
        "or amplitude, was taken. By phase: of the answers that are either's, where the two are of different classes.",
        "source": "Oppenheim and Lim, Proc. IEEE 69 (1981) 529; Chen et al., ICCV 2021 (arXiv 2108.08487)",
        "aliases": ["follows phase", "follows amplitude", "by phase", "other amplitude", "other phase",
                    "mean amplitude", "zero phase", "random phase", "classmate's amplitude",
                    "classmate's phase"],
    }
}  # fmt: skip


def printed(result: AmplitudePhaseResult) -> Printed:
    """What `freqkit amplitude-phase` prints: how much of each class is recognised by each version."""
    shares, limits = result.shares()
    own = _own(result, shares)
    counts = torch.bincount(result.labels, minlength=len(result.classes)).tolist()
    lines = [[name, count, *own[:, c + 1].tolist()] for c, (name, count) in
             enumerate(zip(result.classes, counts, strict=True))]  # fmt: skip
    value, low, high, n = result.by_phase()
    return Printed(
        {
            "versions": {kind: {name: {"share": _none(shares[place, k, :1])[0], "interval": _none(limits[place, k, 0])}
                                for place, name in enumerate(FOLLOWED)} for k, kind in enumerate(result.kinds)},
            "by_phase": {"share": value if n else None, "interval": [low, high] if n else None, "n": n},
            "definition": result.definition, "forwards": result.record["forwards"],
        },
        [("class", "text"), ("images", "count"), *((kind, "0%") for kind in result.kinds)],
        sorted(lines, key=lambda line: line[1] == 0),
        f"{len(result.labels)} images called by their own class, as one part of them is replaced",
        last=["all", len(result.labels), *own[:, 0].tolist()],
        verdict=" ".join(_sentences(result)),
    )  # fmt: skip


def _own(result, shares):
    """Of each version the share that is called by the class of the image itself: [K, ...]."""
    phase = [VERSIONS[kind][1] == "own" for kind in result.kinds]
    return torch.stack([shares[0 if by else 1, k] for k, by in enumerate(phase)])


def _sentences(result):
    shares, limits = result.shares()
    said = []
    value, low, high, n = result.by_phase()
    if n:
        said.append(
            f"Where amplitude and phase are of two classes, {percent(value)} ({span((low, high))}) of the {n:,} answers"
            " that are either's are the phase's."
        )
    at = {kind: k for k, kind in enumerate(result.kinds)}
    told = [("other amplitude", 0, "with the amplitude of another class"),
            ("mean amplitude", 0, "with the set's mean amplitude"),
            ("random phase", 1, "with phases at random")]  # fmt: skip
    parts = [f"{percent(float(shares[place, at[kind], 0]))} ({span(limits[place, at[kind], 0].tolist())}) {words}"
             for kind, place, words in told]  # fmt: skip
    said.append(f"Whole, {percent(float(shares[0, 0, 0]))} of the images are recognised; {', '.join(parts)}.")
    return said


def plot_amplitude_phase(result, ax=None, *, of=None, title=None):
    """Of every version the shares that follow the phase's and the amplitude's class, with 95 % intervals.

    Args:
        result: an `AmplitudePhaseResult`.
        ax: a matplotlib axis; None: a figure of its own.
        of: a class; None: all images.
        title: a line above.

    Returns:
        A matplotlib Figure, or `ax`.
    """
    from freqkit.report.planes import index_of

    group = 0 if of is None else 1 + index_of(result.classes, of, [0.0] * len(result.classes))
    axis = figures.new_figure(6.4, 3.8).subplots() if ax is None else ax
    shares, limits = result.shares()
    for place, name in enumerate(FOLLOWED):
        look, step = figures.series(place), 0.16 * (2 * place - 1)
        known = [k for k in range(len(result.kinds)) if shares[place, k, group] == shares[place, k, group]]
        at = [k + step for k in known]
        low, high = limits[place, known, group].T.numpy()
        axis.hlines(at, low, high, color=look["color"], linewidth=1.4)
        marks = axis.plot(shares[place, known, group], at, marker="os"[place], markersize=5, linestyle="",
                          color=look["color"], label=f"class of the {name}")[0]  # fmt: skip
        figures.note(marks, [f"{result.kinds[k]}: {percent(float(shares[place, k, group]), 1)} follow the {name}"
                             for k in known])  # fmt: skip
    axis.set_yticks(range(len(result.kinds)), result.kinds)
    axis.set_ylim(len(result.kinds) - 0.5, -0.5)
    axis.set_xlim(0, 1.02)
    figures.percents(axis.xaxis)
    axis.set_xlabel("share of the images")
    figures.plain_axes(axis, grid="x")
    figures.legend(axis)
    if title:
        axis.set_title(title, fontsize=9.5, loc="left")
    return figures.literal(axis.figure if ax is None else axis)


@part(files_of(FORMAT))
def amplitude_phase_part(path, record):
    """Whether amplitude or phase decides what images are called."""
    result = AmplitudePhaseResult.load(path)
    about = result.record if record is None else {**result.record, **record}
    shares, limits = result.shares()
    trials, own, clean = result.tallies()[1], _own(result, shares), result.clean

    def cell(place, k, group=0):
        value = float(shares[place, k, group])
        if value != value:
            return Cell.of(None, "–")
        return Cell.of(value, f"{percent(value, 1)}, {span(limits[place, k, group].tolist())}")

    each = [
        [Cell(kind), *(Cell(word) for word in VERSIONS[kind]), Cell.of(count, f"{count:,}"), cell(0, k), cell(1, k)]
        for k, (kind, count) in enumerate(zip(result.kinds, trials[..., 0].amax(0).tolist(), strict=True))
    ]
    classes = [[Cell(name), *(Cell.of(value if value == value else None, percent(value) if value == value else "–")
                              for value in own[:, c + 1].tolist())] for c, name in enumerate(result.classes)
               if int(trials[0, 0, c + 1])]  # fmt: skip
    value, _, _, n = result.by_phase()
    alt = " ".join(_sentences(result))
    kinds = [*((name, "left", "amplitude-phase") for name in ("version", "amplitude", "phase")),
             ("images", "right", None), ("as the phase, 95%", "right", "follows phase"),
             ("as the amplitude, 95%", "right", "follows amplitude")]  # fmt: skip
    heads = [("class", "left", None), *((kind, "right", "amplitude-phase") for kind in result.kinds)]
    sections = [
        Section("Versions", [Table(kinds, each)],
                "Whose amplitude and whose phase each version has, and how often it is called as each; 95% intervals.",
                key="versions"),
        Section("Classes", [Table(heads, classes, search=True)],
                "Share of each class's images that are called by it, of every version.", key="classes-by-version"),
    ]  # fmt: skip
    return Part(
        "Whether amplitude or phase decides", _sentences(result),
        [(percent(clean.accuracy, 1), "recognised, whole images"), *[(percent(value), "by phase")] * bool(n)],
        [*model_rows(about), *clean_rows(clean), ("Put together in", result.definition.get("domain", "–"))],
        sections, cost_rows(about), provenance_rows(about), weights_cautions(about) + clean_cautions(clean),
        hero=[drawing(lambda axis: plot_amplitude_phase(result, axis), 7.2, 3.8, alt, narrow=4.2)],
        hero_how="Share of the answers that are the class of the image whose phase, or whose amplitude, was taken;"
        " lines: 95% intervals. Where both are of one class the two are the same.", order=37,
        subtitle="Amplitude and phase",
        clean=clean,
    )  # fmt: skip
