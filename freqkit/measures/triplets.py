"""Triplets: images that a model recognises whole and by their high frequencies alone, but not by the low ones.

Source: Wang, Wu, Huang, Xing, CVPR 2020 (arXiv 1905.13545), figure 2, and the singular values of section 8.
"""

import itertools
from dataclasses import dataclass, field

import numpy as np
import torch

from freqkit.data import Images
from freqkit.data.components import side_mask
from freqkit.engine.accumulators import Accumulator, Answers
from freqkit.engine.entrance import enter
from freqkit.engine.low_rank import Joined, SingularValues
from freqkit.engine.stimuli import ENCODINGS, Filter
from freqkit.errors import UsageError
from freqkit.files.reading import in_range
from freqkit.files.whole import RECORD
from freqkit.measures.pass_curves import InPixels
from freqkit.measures.printed import Printed
from freqkit.measures.running import run
from freqkit.models import Network
from freqkit.options import Directory, Options, flat, option
from freqkit.report import figures
from freqkit.report.blocks import Cell, Part, Section, Table
from freqkit.report.inline import drawing
from freqkit.report.pages import files_of, part
from freqkit.report.provenance import cost_rows, model_rows, provenance_rows
from freqkit.report.svg import escape, percent, photo_uri
from freqkit.report.words import clean_cautions, clean_rows, span, weights_cautions
from freqkit.results import rows
from freqkit.results.clean import CleanRates
from freqkit.results.confusion import Confusion
from freqkit.results.result import Result, TensorFile
from freqkit.statistics import paired_ratio, wilson
from freqkit.text import shorten

__all__ = ["TripletsResult", "triplets"]
FORMAT = "freqkit-triplets-1"
SHARED = True  # ranks share its work
SPLITS = ("frequency", "singular values")
PARTS = ("whole", "low", "high", "leading", "rest")
COMBINATIONS = tuple(itertools.product((True, False), repeat=3))  # whole, low, high recognised
TRIPLET = COMBINATIONS.index((True, False, True))
TOP = 10  # confidences that are kept of an image


@dataclass
class TripletsResult(Result):
    """Answers to images, to their low and high part, and to those of the control.

    Attributes:
        classes: C names. parts: P names, "whole", "low", "high" and, with the control, "leading" and "rest".
        answers: int32 [P, n], the logit that won for each part of each image.
        labels: int64 [n]. class_index: int64 [C], the logit of each class.
        shown: int64 [m], the places of some triplets: the first of each class, then the second, ...
        pictures: float16 [m, P, 3, H, W], their parts as the model saw them.
        confidences: float32 [m, P, T], the highest softmax probabilities; leading: int64 [m, P, T], their logits.
        definition, record: JSON-ready dicts.
    """

    classes: list
    parts: list
    answers: torch.Tensor
    labels: torch.Tensor
    class_index: torch.Tensor
    shown: torch.Tensor
    pictures: torch.Tensor
    confidences: torch.Tensor
    leading: torch.Tensor
    definition: dict = field(default_factory=dict)
    record: dict = field(default_factory=dict)

    FILE = TensorFile(
        FORMAT, "a file of `triplets`",
        {"answers": "int32 P n", "labels": "int64 n", "class_index": "int64 C", "shown": "int64 m",
         "pictures": "float16 m P 3 H W", "confidences": "float32 m P T", "leading": "int64 m P T"},
        {"classes": [str], "parts": [str], "record": RECORD,
         "definition": {"quantity": str, "confidence": float, "r": float, "rank": int}},
        {"C": "classes", "P": "parts"},
    )  # fmt: skip
    COLUMNS = ("split", "class", "whole", "low", "high", "images", "count", "share", "share low", "share high")
    FIGURE = "plot_triplets"

    @property
    def splits(self):
        """ "frequency" and, with the control, "singular values"."""
        return SPLITS[: (len(self.parts) - 1) // 2]

    @property
    def right(self):
        """bool [P, n], whether each answer is the image's class."""
        return self.answers == self.class_index[self.labels]

    @property
    def combination(self):
        """int64 [S, n]: of each split, the place in `COMBINATIONS` of each image."""
        whole, *parts = self.right.long()
        return torch.stack([7 - 4 * whole - 2 * low - high for low, high in zip(parts[::2], parts[1::2], strict=True)])

    @property
    def tallies(self):
        """int64 [S, 8, C + 1]: images of each combination, of all classes and of each."""
        found = torch.zeros(len(self.splits), 8, len(self.classes) + 1, dtype=torch.int64)
        for split, where in zip(found, self.combination, strict=True):
            cells = torch.bincount(where * len(self.classes) + self.labels, minlength=8 * len(self.classes))
            split[:, 1:] = cells.view(8, -1)
            split[:, 0] = split[:, 1:].sum(1)
        return found

    @property
    def triplets(self):
        """int64 [t], the images that are triplets of the split by frequency."""
        return (self.combination[0] == TRIPLET).nonzero().flatten()

    @property
    def counts(self):
        """int64 [C + 1], all images and those of each class."""
        return self.tallies[0].sum(0)

    @property
    def clean(self):
        """`CleanRates` of the whole images."""
        counts = Confusion.count(self.labels, self.answers[0].long(), len(self.classes), self.record["logits"])
        return CleanRates.of_confusion(self.classes, counts, self.class_index)

    @property
    def ratio(self):
        """(value, low, high): triplets of the split by frequency over those of the control, with the score interval of
        two shares of the same images; None without the control or a triplet of it."""
        if len(self.splits) < 2:
            return None
        one, other = self.combination == TRIPLET
        four = [int(both.sum()) for both in (one & other, one & ~other, ~one & other, ~one & ~other)]
        if not four[0] + four[2]:
            return None
        limits = paired_ratio(*(torch.tensor([n]) for n in four), self.definition["confidence"])[0].tolist()
        return int(one.sum()) / int(other.sum()), *limits

    def cells(self):
        """One line for each split, class ("": all) and combination."""
        found, words = [], {True: "right", False: "wrong"}
        for split, tally in zip(self.splits, self.tallies, strict=True):
            for place, name in enumerate(["", *self.classes]):
                limits = wilson(tally[:, place], self.counts[place].expand(8), self.definition["confidence"]).tolist()
                for count, parts, limit in zip(tally[:, place].tolist(), COMBINATIONS, limits, strict=True):
                    n = int(self.counts[place])
                    numbers = [count / n, *limit] if n else [None] * 3
                    found.append([split, name, *(words[one] for one in parts), n, count, *numbers])
        return [list(column) for column in zip(*found, strict=True)]

    def rows(self):
        """The share of each combination, of all images (class "") and of each class's."""
        confidence, found = self.definition["confidence"], []
        about = rows.of_record(self.record, definition=self.definition["quantity"])
        for split, tally in zip(self.splits, self.tallies, strict=True):
            where = {**about, "condition": split}
            if split == "frequency":
                where["radius"] = self.definition["r"]
            for parts, hits in zip(COMBINATIONS, tally, strict=True):
                found += rows.shares(["", *self.classes], _words(parts), hits, self.counts, confidence, **where)
        return found

    @classmethod
    def checked(cls, values, path):
        parts, labels, answers = values["parts"], values["labels"], values["answers"]
        if parts not in (list(PARTS), list(PARTS[:3])) or not len(labels):
            raise UsageError(f"{path}: parts must be {', '.join(PARTS)} or the first three of them, of some images.")
        logits = values["record"].get("logits")
        if not isinstance(logits, int) or isinstance(logits, bool) or not 0 < logits < 2**31:
            raise UsageError(f"{path}: the record must say how many logits there are.")
        for name, most in (("answers", logits), ("labels", len(values["classes"])), ("class_index", logits),
                           ("shown", len(labels)), ("leading", logits)):  # fmt: skip
            in_range(values[name], 0, most - 1, path, name)
        if not all(values[name].isfinite().all() for name in ("pictures", "confidences")):
            raise UsageError(f"{path}: pictures and confidences must be finite.")
        in_range(values["confidences"], 0, 1, path, "confidences")
        if answers.shape[1] != len(labels):
            raise UsageError(f"{path}: the tensor answers must hold an answer for each label.")
        return values


@dataclass(frozen=True, kw_only=True)
class Splitting(Options):
    """What `triplets` is asked."""

    r: float = option(12.0, "radius of the split, cycles/image", above=0, metavar="R")
    boundary: str = option(
        "strict", "strict: the low part keeps d < r; inclusive: d <= r", choices=("strict", "inclusive"),
    )  # fmt: skip
    encoding: str = option(
        "raw", "what becomes of a part's pixels: raw: nothing; clip: cut to [0, 1]; maxnorm: over the image's largest; "
        "minmax: each channel to [0, 1]; uint8wrap: whole grey levels modulo 256", choices=tuple(ENCODINGS),
        help="of a part's pixels, see `freqkit explain encoding`",
    )  # fmt: skip
    rank: int | None = option(
        None, "singular values that the low part of the control keeps in every channel; 0: no control; None: as many "
        "as have k (H + W - k) nearest to the frequencies that the low part keeps", least=0, metavar="K",
        must="an integer of at least 0", help="singular values of the control; 0: none.  [default: those of as many "
        "free numbers]",
    )  # fmt: skip
    examples: int = option(6, "triplets whose pictures are kept", least=0, most=100)
    confidence: float = option(0.95, "how sure the intervals are", above=0, below=1)


class Confidences(Accumulator):
    """The highest probabilities of each version of each image and their logits: float64 [K, n, 2 T]."""

    name, kind, wants_logits = "confidences", np.float64, True

    def shape(self, versions, classes, logits):
        return versions, len(self.labels), 2 * min(TOP, logits)

    def layout(self, versions, images):
        return "f", (versions, len(images), self.sums.shape[2])

    def keep(self, outputs, images):
        top = torch.from_numpy(outputs.logits).softmax(2).topk(self.sums.shape[2] // 2)
        return torch.cat([top.values, top.indices.double()], 2).numpy()

    def add(self, found, versions, images):
        self.sums[versions, images.start : images.stop] = found


@flat
def triplets(model: Network, images: Images, own: Splitting, scoring: InPixels, running: Directory) -> TripletsResult:
    """Images that a model recognises whole and in their high part, but not in their low part.

    With d the distance of a frequency from DC, the low part of every channel is Re IDFT2(1[d < r] DFT2(x)), the high
    part the rest. Whole, low and high, each recognised or not, are eight combinations; a triplet is right, wrong,
    right. The control splits by singular values instead: the leading ones of every channel, and the rest.

    Args:
        model: a `Classifier`. images: those of the test, as `freqkit.data.as_images` takes them.

    Returns:
        `TripletsResult`; 5 n forwards, 3 n without the control.

    Raises:
        UsageError: an argument does not fit; a side of the split has no frequency.

    Source: Wang, Wu, Huang, Xing, CVPR 2020 (arXiv 1905.13545).

    Example:
        >>> from freqkit.data import synthetic
        >>> from freqkit.models import load_model
        >>> result = triplets(load_model("small_convnet"), synthetic(images_per_class=2), r=4, batch_size=8)
        >>> result.tallies.shape, int(result.tallies[0, :, 0].sum())
        (torch.Size([2, 8, 5]), 8)
    """
    model, images = enter("triplets", model, images, scoring.class_index)
    if scoring.domain != "pixels":
        raise UsageError(f'triplets: domain must be "pixels", where singular values are taken; got {scoring.domain!r}.')
    size = tuple(images.images.shape[-2:])
    low, high = (side_mask(size, own.r, side, own.boundary, layout="torch") for side in ("low", "high"))
    rank = _rank(own.rank, size, int(low.sum()))
    stimulus = Filter(torch.stack([torch.ones(size), low, high]), after=["raw", own.encoding, own.encoding])
    if rank:
        stimulus = Joined([stimulus, SingularValues(rank, after=own.encoding)])
    definition = {
        "quantity": f"low d {'<' if own.boundary == 'strict' else '<='} {own.r:g}, {own.encoding}", "r": float(own.r),
        "boundary": own.boundary, "encoding": own.encoding, "rank": rank, "frequencies": int(low.sum()),
        "confidence": own.confidence,
    }  # fmt: skip

    def work(scorer, how, record):
        answers, sure = Answers(), Confidences()
        scorer.show(stimulus, [answers, sure], **how)
        result = TripletsResult(
            list(scorer.classes), list(PARTS[: len(stimulus)]), answers.value.int(), scorer.labels.clone(),
            torch.as_tensor(scorer.class_index).cpu().clone(), torch.empty(0), torch.empty(0), torch.empty(0),
            torch.empty(0), definition, {**record, "logits": scorer.logits},
        )  # fmt: skip
        result.shown = _in_turn(result.triplets, result.labels)[: own.examples]
        seen = [stimulus.tile(scorer.spectra, slice(0, len(stimulus)), slice(i, i + 1)) for i in result.shown.tolist()]
        result.pictures = torch.stack(
            [one.make(slice(0, len(stimulus)), slice(0, 1)).cpu().half().contiguous() for one in seen]
        ) if seen else torch.empty(0, len(stimulus), 3, *size, dtype=torch.float16)  # fmt: skip
        kept = sure.value[:, result.shown].transpose(0, 1)
        values, logits = kept.chunk(2, 2)
        result.confidences, result.leading = values.float().contiguous(), logits.long().contiguous()
        return result

    return run("triplets", model, images, stimulus, own, scoring, running, work)


def _rank(asked, size, frequencies):
    """The singular values of the control; 0: no control."""
    height, width = size
    most = min(size) - 1
    if asked is None:
        return min(range(1, most + 1), key=lambda k: abs(k * (height + width - k) - frequencies)) if most > 0 else 0
    if asked > most:
        raise UsageError(
            f"triplets: rank must be an integer with 0 <= rank <= {most} at {height}x{width}; got {asked}."
        )
    return asked


def _in_turn(places, labels):
    """The first place of each class, then the second of each, ..."""
    seen, order = {}, []
    for place in places.tolist():
        label = int(labels[place])
        order.append((seen.setdefault(label, 0), label, place))
        seen[label] += 1
    return torch.tensor([place for *_, place in sorted(order)], dtype=torch.int64)


def _words(parts):
    """A combination: "right: whole, high"."""
    names = [name for name, right in zip(PARTS, parts, strict=False) if right]
    return f"right: {', '.join(names)}" if names else "right: none"


TERMS = {
    "triplets": {
        "short": "Images recognised whole and by their high frequencies alone, but not by their low ones.",
        "formula": "f(x) = y, f(x_high) = y, f(x_low) != y; x_low: frequencies with d < r, x_high = x - x_low",
        "more": "The control splits by singular values: the leading ones of every channel against the rest.",
        "source": "Wang, Wu, Huang, Xing, CVPR 2020 (arXiv 1905.13545)",
        "aliases": ["triplet", "split", "examples", "whole", "of singular values"],
        "see": ["pass-curves", "encoding"],
    },
}  # fmt: skip
HELP = """Which images are recognised whole and by their high frequencies, but not by their low ones.

\b
freqkit triplets --model cifar_resnet20 --weights resnet20.safetensors \\
                 --data cifar10/test --r 12 --out runs/triplets
"""


def printed(result: TripletsResult) -> Printed:
    """What `freqkit triplets` prints: what is recognised of each class, and its triplets."""
    tallies, counts = result.tallies, result.counts
    right = result.right
    lines = []
    for place, name in enumerate(["all", *result.classes]):
        mine = right if place == 0 else right[:, result.labels == place - 1]
        shares = mine[:3].double().mean(1).tolist()
        n = int(counts[place])
        lines.append([name, n, *shares, *(int(tally[TRIPLET, place]) for tally in tallies)])
    control = [("of singular values", "count")] * (len(result.splits) - 1)
    return Printed(
        {"combinations": [
            {"split": split, "whole": whole, "low": low, "high": high, "count": int(n)}
            for split, tally in zip(result.splits, tallies, strict=True)
            for (whole, low, high), n in zip(COMBINATIONS, tally[:, 0], strict=True)],
         "triplets": result.triplets.tolist(), "ratio": result.ratio, "definition": result.definition,
         "forwards": result.record["forwards"]},
        [("class", "text"), ("images", "count"), ("whole", "0%"), ("low", "0%"), ("high", "0%"),
         ("triplets", "count"), *control],
        lines[1:], f"Recognised whole, by frequencies below {result.definition['r']:g} cycles/image, and by the rest",
        "triplets: whole and high right, low wrong", last=lines[0], verdict=_against(result),
    )  # fmt: skip


def _against(result):
    """The triplets of both splits, in words; None without a control."""
    if len(result.splits) < 2:
        return None
    one, other = result.tallies[:, TRIPLET, 0].tolist()
    ratio = result.ratio
    more = "" if ratio is None else f", {ratio[0]:.2g} times ({ratio[1]:.2g} … {ratio[2]:.2g})"
    return f"{one} triplets; of a split by {result.definition['rank']} singular values {other}{more}"


def plot_triplets(result, ax=None, *, of=None, title=None):
    """How many images each combination has, with intervals, and some triplets with what the model says of them.

    Args:
        result: a `TripletsResult`.
        ax: a matplotlib axis for the combinations alone; None: a figure of its own with both.
        of: with `ax`, a class; None: all images.
        title: a line above.

    Returns:
        A matplotlib Figure, or `ax`.
    """
    from freqkit.report.planes import index_of

    group = 0 if of is None else 1 + index_of(result.classes, of, [0.0] * len(result.classes))
    if ax is not None:
        _bars(ax, result, group)
        return figures.literal(ax)
    some = range(min(3, len(result.shown)))
    figure = figures.new_figure(7.2, 3.2 + 2.4 * len(some))
    upper, *lower = figure.subfigures(1 + bool(some), 1, height_ratios=[3.2, 2.4 * len(some)][: 1 + bool(some)],
                                      squeeze=False)[:, 0]  # fmt: skip
    _bars(upper.subplots(), result, group)
    if some:
        axes = lower[0].subplots(2 * len(some), 3, squeeze=False)
        for row in some:
            for column in range(3):
                _picture(axes[2 * row, column], result, row, column)
                _sure(axes[2 * row + 1, column], result, row, column)
    figure.suptitle(title or "What whole images, their low and their high part are recognised as", fontsize=9.5)
    return figures.literal(figure)


def _bars(axis, result, group):
    names = [" ".join(f"{part} {'✓' if one else '✗'}" for part, one in zip(PARTS, parts, strict=False))
             for parts in COMBINATIONS]  # fmt: skip
    n, height = result.counts[group], 0.8 / len(result.splits)
    for number, (split, tally) in enumerate(zip(result.splits, result.tallies, strict=True)):
        limits = 100 * wilson(tally[:, group], n.expand(8), result.definition["confidence"]).nan_to_num(0)
        share = 100 * tally[:, group].double() / n.clamp_min(1)
        at = np.arange(8) + (number - (len(result.splits) - 1) / 2) * height
        axis.barh(at, share, height * 0.9, color=figures.CYCLE[number], label=f"split by {split}")
        axis.hlines(at, limits[:, 0], limits[:, 1], color=figures.INK, linewidth=1)
    axis.set_yticks(range(8), names, fontsize=7.5)
    axis.invert_yaxis()
    axis.set_xlabel("percent of the images, with intervals")
    figures.plain_axes(axis, grid="x")
    if len(result.splits) > 1:
        figures.legend(axis)


def _picture(axis, result, row, column):
    image = result.pictures[row, column].float().clamp(0, 1).permute(1, 2, 0).numpy()
    axis.imshow(image, interpolation="nearest")
    axis.set_axis_off()
    axis.set_title(PARTS[column], fontsize=8)


def _sure(axis, result, row, column):
    names = _logit_names(result)
    chosen, values = result.leading[row, column].tolist(), result.confidences[row, column].tolist()
    truth = int(result.class_index[result.labels[result.shown[row]]])
    colours = [figures.BLUE if one == truth else figures.VERMILION for one in chosen]
    axis.barh(range(len(values)), [100 * one for one in values], color=colours)
    axis.set_yticks(range(len(values)), [shorten(names(one), 10) for one in chosen], fontsize=5)
    axis.set_xlim(0, 100)
    axis.invert_yaxis()
    figures.plain_axes(axis, grid="x")
    axis.tick_params(labelsize=5)


def _logit_names(result):
    names = dict(zip(result.class_index.tolist(), result.classes, strict=True))
    return lambda logit: names.get(logit, f"logit {logit}")


@part(files_of(FORMAT))
def triplets_part(path, record):
    """Images that high frequencies alone tell, and low ones do not."""
    result = TripletsResult.load(path)
    about = result.record if record is None else {**result.record, **record}
    tallies, n, clean = result.tallies, int(result.counts[0]), result.clean
    confidence = result.definition["confidence"]
    count = int(tallies[0, TRIPLET, 0])
    limits = wilson(tallies[0, TRIPLET, :1], result.counts[:1], confidence)[0].tolist()
    sentences = [
        f"{count} of {n} images ({percent(count / n, 1)}, {span(limits)}) are recognised whole and by their high part,"
        f" but not by their low part (below {result.definition['r']:g} cycles/image)."
    ]
    against = _against(result)
    if against:
        sentences.append(f"{against}.")
    sections = []
    if len(result.shown):
        table = Table(
            [("class", "left", None), *((name, "left", None) for name in PARTS[:3])],
            [[Cell(result.classes[int(result.labels[place])]),
              *(Cell(svg=_shot(result, row, column)) for column in range(3))]
             for row, place in enumerate(result.shown.tolist())],
        )  # fmt: skip
        sections.append(
            Section("Triplets", [table], "The first of each class, not the clearest; pixels outside of [0, 1] are cut "
                    "for the eye. Under each image the model's highest probabilities; the true class is marked.",
                    key="triplets-shown")
        )  # fmt: skip
    lines = []
    for place, parts in enumerate(COMBINATIONS):
        cells = [Cell("✓" if one else "✗") for one in parts]
        for tally in tallies:
            hits = tally[place, :1]
            low, high = wilson(hits, result.counts[:1], confidence)[0].tolist()
            cells.append(Cell.of(float(hits), f"{int(hits)}, {percent(int(hits) / n, 1)} ({span([low, high])})"))
        lines.append(cells)
    sections += [
        Section("Combinations", [Table(
            [("whole", "left", None), ("low", "left", None), ("high", "left", None),
             *((f"split by {split}", "right", "triplets") for split in result.splits)], lines)],
            "Images of each combination of recognised (✓) and not (✗), with the interval of their share.",
            key="triplets-combinations"),
        Section("Classes", [Table(
            [("class", "left", None), ("images", "right", None),
             *((f"triplets, {split}", "right", "triplets") for split in result.splits)],
            [[Cell(name), Cell.of(float(result.counts[c + 1]), str(int(result.counts[c + 1]))),
              *(Cell.of(float(tally[TRIPLET, c + 1]), str(int(tally[TRIPLET, c + 1]))) for tally in tallies)]
             for c, name in enumerate(result.classes)], search=True)],
            "Triplets of each class.", key="triplets-classes"),
    ]  # fmt: skip
    alt = f"Share of images of each of eight combinations; triplets {percent(count / n, 1)}."
    draw = drawing(lambda axis: _bars(axis, result, 0), 7.2, 3.6, alt, narrow=3.6)
    return Part(
        "What high frequencies alone tell", sentences,
        [(str(count), "triplets"), (percent(count / n, 1), "of the images")],
        [*model_rows(about), *clean_rows(clean), ("Split", result.definition["quantity"]),
         ("Singular values of the control", str(result.definition["rank"] or "none"))],
        sections, cost_rows(about), provenance_rows(about), weights_cautions(about) + clean_cautions(clean),
        hero=[draw], hero_how="Images by what of them is recognised; thin lines: intervals.", order=32,
        subtitle="Triplets", clean=clean,
    )  # fmt: skip


def _shot(result, row, column):
    """A picture and the model's highest probabilities of it as one small SVG."""
    names = _logit_names(result)
    truth = int(result.class_index[result.labels[result.shown[row]]])
    image = photo_uri(result.pictures[row, column].float().numpy())
    alt = f"{PARTS[column]}: {names(int(result.leading[row, column, 0]))}"
    bars = []
    for place, (value, logit) in enumerate(
        zip(result.confidences[row, column].tolist(), result.leading[row, column].tolist(), strict=True)
    ):
        y, kind = 106 + 13 * place, "var(--c0)" if logit == truth else "var(--soft)"
        bars.append(
            f'<rect x="0" y="{y}" width="{max(0.5, 50 * value):.1f}" height="9" fill="{kind}"/>'
            f'<text x="54" y="{y + 8}" font-size="9.5" fill="var(--ink)">{escape(shorten(names(logit), 14))}</text>'
        )
    height = 108 + 13 * result.leading.shape[2]
    return (
        f'<svg width="130" height="{height}" viewBox="0 0 130 {height}" role="img" aria-label="{escape(alt)}">'
        f'<image href="{image}" width="96" height="96" style="image-rendering:pixelated"/>{"".join(bars)}</svg>'
    )
