"""DFM-filtered evaluation: how well a class is told apart, seen only through its dominant frequencies.

Source: Wang, Veldhuis, Brune, Strisciuglio, ICCV 2023 (arXiv 2307.09829). With the mask of class c on all
test images, and M the confusion matrix [true, predicted] that comes of it:

    TPR = TP_f / P = M[c, c] / P        FPR = FP_f / N = (sum_i M[i, c] - M[c, c]) / N

P images of class c, N of the others. A high TPR alone says little: a model that calls everything c has it
too. The difference TPR - FPR is 0 for it, and for any answer that does not depend on the image.
"""

import math
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import torch

from freqkit.data import Images
from freqkit.engine import Progress, Scorer
from freqkit.engine.entrance import enter
from freqkit.errors import UsageError
from freqkit.files.reading import in_range
from freqkit.files.whole import RECORD
from freqkit.masks import DfmFile, random_alike, uncentred
from freqkit.measures.printed import Printed
from freqkit.measures.selection import SelectedOnTestSet, selected_places
from freqkit.models import Network
from freqkit.options import Options, Scoring, flat, option
from freqkit.report import figures
from freqkit.report.blocks import Drawing, Part, Section
from freqkit.report.inline import chart
from freqkit.report.pages import files_of, part
from freqkit.report.planes import matrix, side_of
from freqkit.report.provenance import cost_rows, model_rows, provenance_rows
from freqkit.report.rates import dots, rates_figure
from freqkit.report.readings import CONFIDENCE, READINGS, enough, readings, shortcuts_sentence
from freqkit.report.sections import against_section, class_table
from freqkit.report.words import clean_cautions, clean_rows, headline, random_cautions, verdict, weights_cautions
from freqkit.results import RemovalResult, SearchResult, rows
from freqkit.results.clean import CleanRates
from freqkit.results.confusion import Confusion
from freqkit.results.result import Result, TensorFile, versions
from freqkit.statistics import _bootstrap, newcombe, wilson
from freqkit.text import shorten

__all__ = ["RatesResult", "rates"]
INTERVALS = ("wilson", "bootstrap")
CONFUSIONS_UP_TO = 64  # classes up to which "auto" keeps a whole confusion matrix for every mask
FORMAT = "freqkit-rates-1"
COLUMNS = (
    "class", "images", "others", "TPR", "TPR low", "TPR high", "FPR", "FPR low", "FPR high", "TPR-FPR",
    "TPR-FPR low", "TPR-FPR high", "clean TPR", "clean FPR", "coverage", "power",
    "recognised whole", "still recognised", "random masks", "p",
)  # fmt: skip


@dataclass
class RatesResult(Result):
    """Rates of M masks, each of one class, on a test set.

    Attributes:
        classes: M names.
        positives, negatives: int64 [M], images of the class, and of the others.
        tp, fp: int64 [M], those of each that are recognised as the class when its mask is on.
        clean_tp, clean_fp: the same without a mask.
        still: int64 [M], of the class's images that are recognised without a mask those that are with it, too; None in
            files of before that was counted.
        class_index: int64 [C], the logit of each class of the set; None in such files.
        clean_confusion: int64 [C, L], all C classes of the set by all L logits, without a mask.
        confusion: int64 [M, C, L], with each mask, or None (see `rates`).
        own_row: int64 [M, L], what the images of the mask's class are taken for.
        own_column: int64 [M, C], how many of every class are taken for the mask's.
        coverage, power: float64 [M] of the masks, see `freqkit.masks.coverage`.
        tpr_interval, fpr_interval, difference_interval: float64 [M, 2], see `rates`.
        null_tp, null_fp: int64 [N, M], `tp` and `fp` through N random masks of each class
            (`freqkit.masks.random_alike`), independent in every line; None where none were asked.
        definition, record: dicts: what was computed, and from what.
    """

    classes: list
    positives: torch.Tensor
    negatives: torch.Tensor
    tp: torch.Tensor
    fp: torch.Tensor
    clean_tp: torch.Tensor
    clean_fp: torch.Tensor
    clean_confusion: torch.Tensor
    own_row: torch.Tensor
    own_column: torch.Tensor
    coverage: torch.Tensor
    power: torch.Tensor
    tpr_interval: torch.Tensor
    fpr_interval: torch.Tensor
    difference_interval: torch.Tensor
    confusion: torch.Tensor | None = None
    still: torch.Tensor | None = None
    class_index: torch.Tensor | None = None
    definition: dict = field(default_factory=dict)
    record: dict = field(default_factory=dict)
    null_tp: torch.Tensor | None = None
    null_fp: torch.Tensor | None = None

    FILE = TensorFile(
        FORMAT, "a rates file",
        {
            **dict.fromkeys("positives negatives tp fp clean_tp clean_fp".split(), "int64 M"),
            "clean_confusion": "int64 C L", "own_row": "int64 M L", "own_column": "int64 M C",
            **dict.fromkeys(("coverage", "power"), "float64 M"),
            **dict.fromkeys(("tpr_interval", "fpr_interval", "difference_interval"), "float64 M 2"),
            "confusion?": "int64 M C L", "still?": "int64 M", "class_index?": "int64 C",
            **dict.fromkeys(("null_tp?", "null_fp?"), "int64 N M"),
        },
        {
            "classes": [str], "record": RECORD,
            "definition": {"interval": str, "confidence": float},
        },
        {"M": "classes"},
    )  # fmt: skip
    COLUMNS = COLUMNS
    FIGURE = "plot_rates"
    MAIN = ("highest", "TPR-FPR")

    @property
    def tpr(self):
        """float64 [M], TP_f / P; NaN for a class without images."""
        return self.tp.double() / self.positives

    @property
    def fpr(self):
        """float64 [M], FP_f / N."""
        return self.fp.double() / self.negatives

    @property
    def tpr_minus_fpr(self):
        """float64 [M]."""
        return self.tpr - self.fpr

    @property
    def null(self):
        """float64 [N, M], TPR - FPR through random masks; None where none were asked."""
        if self.null_tp is None or self.null_fp is None:
            return None
        return self.null_tp.double() / self.positives - self.null_fp.double() / self.negatives

    @property
    def clean(self):
        """`CleanRates` of all classes of the set, before anything is filtered; None where logits are not known."""
        names = self.record.get("classes")
        if names is None or self.class_index is None:
            return None
        return CleanRates.of_confusion(names, self.clean_confusion, self.class_index)

    @property
    def still_recognised(self):
        """float64 [M], of the images that are recognised without a mask the share that is with it; NaN of none."""
        if self.still is None:
            return torch.full_like(self.tpr, math.nan)
        return self.still.double() / self.clean_tp

    @property
    def selected_on_test_set(self):
        """True: the masks were selected on these images or some of them; False: on others; None: not known."""
        return self.record.get("selected_on_test_set")

    def relative_confusion(self):
        """float64 [M, C, L]: `100 (M_f - M_clean) / n_i`, in percent of each true class's images, of the kept
        confusion matrices."""
        if self.confusion is None:
            raise UsageError("relative_confusion: the confusion matrices were not kept; give rates confusion=True.")
        return Confusion(self.clean_confusion).change(self.confusion)

    def cells(self):
        """One line per mask: class, images, others, TPR, FPR, TPR-FPR each with low and high, clean TPR and
        FPR, coverage, power; of those recognised whole how many there are, and the share still recognised; the highest
        TPR-FPR of the class's random masks, and p (None where none were asked)."""
        found = readings_of(self)
        return [
            self.classes, self.positives, self.negatives,
            self.tpr, *self.tpr_interval.T, self.fpr, *self.fpr_interval.T,
            self.tpr_minus_fpr, *self.difference_interval.T,
            self.clean_tp.double() / self.positives, self.clean_fp.double() / self.negatives,
            self.coverage, self.power, self.clean_tp,
            [None if value != value else value for value in self.still_recognised.tolist()],
            [one.random for one in found], [one.p for one in found],
        ]  # fmt: skip

    def rows(self):
        names, confidence, about = self.classes, self.definition.get("confidence", 0.95), rows.of_record(self.record)
        words = f"{self.definition.get('interval', 'wilson')} interval, {100 * confidence:g}%"
        through = {**about, "filter": "map", "definition": f"images filtered by the class's map; {words}"}
        found = rows.values(names, "TPR", self.tpr, self.positives, self.tpr_interval, **through)
        found += rows.values(names, "FPR", self.fpr, self.negatives, self.fpr_interval, **through)
        found += rows.values(names, "TPR-FPR", self.tpr_minus_fpr, self.positives, self.difference_interval, **through)
        if self.still is not None:
            found += rows.shares(names, "TPR of recognised", self.still, self.clean_tp, confidence, **through)
        for metric, share in (("coverage", self.coverage), ("power", self.power)):
            found += rows.values(names, metric, share, **about)
        if self.null is not None:
            words = f"highest of {len(self.null)} random masks of as many bins as the map"
            about_them, read = {**through, "definition": words}, readings_of(self)
            highest, p = [one.random for one in read], [one.p for one in read]
            found += rows.values(names, "TPR-FPR of random masks", highest, self.positives, **about_them)
            found += rows.values(names, "p", p, self.positives, **about_them)
        if (clean := self.clean) is not None:
            return found + rows.rates(clean.classes, clean, confidence, **about)
        found += rows.shares(names, "TPR", self.clean_tp, self.positives, confidence, **about)
        return found + rows.shares(names, "FPR", self.clean_fp, self.negatives, confidence, **about)

    @classmethod
    def checked(cls, values, path):
        for name, value in values.items():
            if getattr(value, "dtype", None) == torch.int64:
                in_range(value, 0, 2**53, path, name)
        for name, whole in (("tp", "positives"), ("fp", "negatives"), ("clean_tp", "positives"),
                            ("clean_fp", "negatives"), ("still", "clean_tp")):  # fmt: skip
            if name in values:
                in_range(values[whole] - values[name], 0, 2**53, path, name)
        for name, whole in (("null_tp", "positives"), ("null_fp", "negatives")):
            if name in values:
                in_range(values[whole] - values[name], 0, 2**53, path, name)
        if ("null_tp" in values) != ("null_fp" in values):
            raise UsageError(f"{path}: null_tp and null_fp must be there both, or neither.")
        if "class_index" in values:
            in_range(values["class_index"], 0, values["clean_confusion"].shape[1] - 1, path, "class_index")
        for name in ("coverage", "power"):
            in_range(values[name], 0, 1, path, name)
        for name in ("tpr_interval", "fpr_interval", "difference_interval"):
            in_range(values[name][~values[name].isnan()], -1, 1, path, name)
        return values


@dataclass(frozen=True, kw_only=True)
class Rating(Options):
    """What `rates` is asked."""

    interval: str = option("wilson", "which interval, see above", choices=INTERVALS, help="which")
    confidence: float = option(0.95, "how sure it is", above=0, below=1)
    resamples: int = option(2000, "redrawings of the bootstrap", least=100, help="of the bootstrap")
    seed: int = option(0, "of the bootstrap, and of the random masks", least=0)
    null: int = option(
        20, "random masks beside each class's map (`freqkit.masks.random_alike`), 19 at least, or 0", least=0,
        help="random masks beside each class's map, 19 or more, or 0",
    )  # fmt: skip
    confusion: bool | str = option(
        "auto", "whether the confusion matrix [C, L] of every mask is kept; auto: up to 64 classes",
        choices=("auto", True, False), must="'auto', True or False", flag=False,
    )  # fmt: skip

    def check(self, owner):
        enough(owner, self.null)
        return self


@flat
def rates(
    model: Network,
    images: Images,
    dfm: DfmFile | SearchResult | RemovalResult | str | Path,
    own: Rating,
    scoring: Scoring,
    *,
    progress: Progress | None = None,
) -> RatesResult:
    """Ask the model about all test images, clean and through every class's mask.

    Masks that were selected on the very images they are tested on get rates that are too good. When the file
    names the images of its selection, that is noticed (`SelectedOnTestSet` warning, and on record); split the
    set first: `selection, test = images.split(0.5, seed=0)`.

    Intervals: "wilson": Wilson's score interval for TPR and FPR, and Newcombe's hybrid of the two for their
    difference; "bootstrap": percentiles over `resamples` redrawings of the images within each true class.

    Args:
        model: a `Classifier`. images: those of the test, as `freqkit.data.as_images` takes them.
        dfm: `DfmFile`, the path of one or of a run, or a search result with `.dfm()` or `.masks`; its classes must be
            among those of the images.
        progress: a `freqkit.engine.Progress`.

    Returns:
        `RatesResult`; (M + 1) n forwards are on record, and n for each random mask (`null` for all maps together that
        keep as many bins).

    Raises:
        UsageError, TypeError, ValueError: an argument does not fit.

    Example:
        >>> import torch
        >>> from freqkit.data import synthetic
        >>> from freqkit.masks import DfmFile
        >>> from freqkit.models import load_model
        >>> model, images = load_model("small_convnet", num_classes=4), synthetic(images_per_class=3)
        >>> result = rates(model, images, DfmFile(torch.ones(1, 32, 32), ["C2"]), batch_size=16)
        >>> result.clean_confusion.sum(1).tolist(), bool(result.tp == result.clean_tp)
        ([3, 3, 3, 3], True)
    """
    dfm = _dfm(dfm)
    model, images = enter("rates", model, images, scoring.class_index)
    size, classes = tuple(images.images.shape[-2:]), list(images.classes)
    if tuple(dfm.masks.shape[1:]) != size:
        raise UsageError(f"rates: the masks must be of the images' size {size}; got {tuple(dfm.masks.shape[1:])}.")
    strange = [name for name in dfm.classes if name not in classes]
    if strange:
        raise UsageError(f"rates: every mask's class must be one of the images'; got {', '.join(strange[:5])}.")
    same = selected_places(dfm, size, classes, images.paths, images.labels.tolist(), images.digests)
    if same:
        warnings.warn(
            f"rates: these masks were selected on {len(same)} of the very {len(images)} images they are tested on, so "
            "their rates are too good; search on one part and test on the other: selection, test = "
            "images.split(0.5, seed=0).",
            SelectedOnTestSet,
            stacklevel=3,
        )
    keep = len(classes) <= CONFUSIONS_UP_TO if own.confusion == "auto" else own.confusion
    scorer = Scorer(model, images, progress=progress, **vars(scoring))
    masks = torch.cat([torch.ones(1, *size), uncentred(dfm.masks).float()])
    place = torch.tensor([classes.index(name) for name in dfm.classes])
    matrices = _Matrices(scorer, place, keep)
    alike = random_alike(dfm.masks, own.null, own.seed)
    drawn = 0 if alike.masks is None else len(alike.masks.bits)
    random = None
    if progress is not None:
        progress.start("rates", scorer.forwards(len(masks) + drawn))
    try:
        scorer.predictions(masks, matrices.add, progress=progress)
        if alike.masks is not None:
            random = scorer.score(alike.masks, progress=progress)
    finally:
        if progress is not None:
            progress.finish()
    about = {"model": dict(model.record), "data": dict(images.record)}
    result = _result(dfm, place, matrices, same, own, scorer, about, drawn)
    if random is not None:
        result.null_tp = random.correct[alike.index, place]
        result.null_fp = random.predicted[alike.index, place] - result.null_tp
    return result


HELP = """Ask about every image through every class's map: TPR, FPR and their difference, with intervals.

A high TPR alone is no shortcut: a model that calls everything that class has it, too. TPR - FPR is 0 then.

\b
freqkit rates --model cifar_resnet20 --weights resnet20.safetensors --data cifar10/test \\
              --split-fraction 0.5 --rest --dfm runs/dfm/dfm-5.safetensors
"""


def printed(result: RatesResult) -> Printed:
    """What `freqkit rates` prints: the largest differences first."""
    found = readings_of(result)
    words = {one.name: READINGS[one.word] for one in found}
    rows = [{**row, "reading": words[row["class"]]} for row in result.table()]
    rows.sort(key=lambda row: -row["TPR-FPR"] if row["TPR-FPR"] == row["TPR-FPR"] else 2.0)
    shown, asked = ("clean TPR", "clean FPR", "TPR", "FPR", "TPR-FPR"), result.null is not None
    return Printed(
        {
            "classes": rows, "definition": result.definition, "selected_on_test_set": result.selected_on_test_set,
            "forwards": result.record["forwards"],
        },
        [
            ("class", "text"), ("reading", "text"), *((name, "%") for name in shown),
            (f"{100 * result.definition['confidence']:g}% interval", "%"), *[("random", "%"), ("p", "p")] * asked,
            ("still", "%"), ("kept", "%"),
        ],
        [
            [
                row["class"], row["reading"], *(row[name] for name in shown),
                (row["TPR-FPR low"], row["TPR-FPR high"]), *[row["random masks"], row["p"]] * asked,
                row["still recognised"], row["coverage"],
            ]
            for row in rows
        ],
        f"{int(result.clean_confusion.sum())} images, each class seen only through its map",
        "still: of the images that are recognised whole, those that are through the map, too"
        + "; random: the highest TPR-FPR of random masks of as many frequencies" * asked,
        verdict=shortcuts_sentence(found),
    )  # fmt: skip


def _dfm(dfm):
    from freqkit.masks import dfm_of_run
    from freqkit.results.released import dfm_of

    if isinstance(dfm, (str, Path)):
        return dfm_of(dfm)
    if isinstance(dfm, DfmFile):
        return dfm
    if callable(getattr(dfm, "dfm", None)):
        return dfm.dfm()
    if not hasattr(dfm, "masks") or not hasattr(dfm, "classes"):
        raise TypeError(f"rates: dfm must be a DfmFile, the path of one, or a search result; got {type(dfm).__name__}.")
    return dfm_of_run(dfm.masks, dfm.classes, getattr(dfm, "record", {}))


class _Matrices:
    """Counts of answers, mask by mask: mask 0 is the clean one, mask m + 1 that of class own[m]."""

    def __init__(self, scorer, own, keep):
        self.labels, self.logit, self.own = scorer.labels, scorer.class_index, own
        classes, logits, masks = len(scorer.classes), scorer.logits, len(own)
        self.shape = classes, logits
        self.clean = torch.zeros(classes, logits, dtype=torch.int64)
        self.row = torch.zeros(masks, logits, dtype=torch.int64)
        self.column = torch.zeros(masks, classes, dtype=torch.int64)
        self.whole = torch.zeros(masks, classes, logits, dtype=torch.int64) if keep else None
        self.still, self.before = torch.zeros(masks, dtype=torch.int64), None

    def add(self, masks, images, answers):
        """Logits [k, b] that won, for a range of masks and one of images."""
        labels = self.labels[images.start : images.stop]
        for mask, won in zip(masks, answers, strict=True):
            if mask == 0:
                self.clean += Confusion.count(labels, won, *self.shape)
                self.before = won == self.logit[labels]  # of the block whose masks follow
                continue
            c = self.own[mask - 1]
            self.still[mask - 1] += (self.before & (labels == c) & (won == self.logit[c])).sum()
            self.row[mask - 1] += torch.bincount(won[labels == c], minlength=self.shape[1])
            self.column[mask - 1] += torch.bincount(labels[won == self.logit[c]], minlength=self.shape[0])
            if self.whole is not None:
                self.whole[mask - 1] += Confusion.count(labels, won, *self.shape)


def _result(dfm, own, matrices, same, asked, scorer, about, drawn):
    from freqkit.masks import coverage

    counts = scorer.counts
    positives, negatives = counts[own], counts.sum() - counts[own]
    masks = torch.arange(len(own))
    tp = matrices.column[masks, own]
    fp = matrices.column.sum(1) - tp
    clean_column = matrices.clean[:, scorer.class_index[own]]  # [C, M]
    clean_tp = clean_column[own, masks]
    if asked.interval == "wilson":
        limits = [wilson(tp, positives, asked.confidence), wilson(fp, negatives, asked.confidence)]
        limits.append(newcombe(tp, positives, fp, negatives, asked.confidence))
    else:
        limits = _bootstrap(matrices.column, own, counts, asked.confidence, asked.resamples, asked.seed)
    share = coverage(dfm.masks)
    definition = {
        "quantity": "rates of DFM-filtered images",
        "TPR": "share of the class's images recognised as the class, seen through its mask",
        "FPR": "share of the other classes' images recognised as the class, seen through its mask",
        "interval": asked.interval,
        "confidence": asked.confidence,
        **({"resamples": asked.resamples, "seed": asked.seed} if asked.interval == "bootstrap" else {}),
        **({"null": asked.null, "seed": asked.seed} if asked.null else {}),
        "domain": scorer.forward.domain,
    }
    record = {
        "selected_on_test_set": None if same is None else bool(same),
        "selected_images": None if same is None else len(same),
        "forwards": scorer.forwards(len(own) + 1 + drawn),
        "batch_size": scorer.batch_size,
        "classes": list(scorer.classes),
        **about,
        "dfm": {
            "preset": dfm.preset,
            "stage": dfm.stage,
            "seed": dfm.seed,
            "model_hash": dfm.model_hash,
            "data_hash": dfm.data_hash,
            "extra": dfm.extra,
        },
        "versions": versions(),
    }
    return RatesResult(
        list(dfm.classes), positives, negatives, tp, fp, clean_tp, clean_column.sum(0) - clean_tp,
        matrices.clean,
        matrices.row, matrices.column, share.touched, share.power, *limits, matrices.whole,
        matrices.still, scorer.class_index.cpu().clone(), definition, record,
    )  # fmt: skip


def plot_rates(result, ax=None, *, title=None, limit=40):
    """TPR and FPR of each class seen through its own mask, largest difference first.

    Args:
        result: a `freqkit.measures.RatesResult`.
        ax: a matplotlib axis to draw on; None: a new figure.
        title: a line above.
        limit: at most this many classes.

    Returns:
        A matplotlib Figure, or `ax`: dots with their intervals, open dots without a mask.
    """
    order = result.tpr_minus_fpr.nan_to_num(-2).argsort(descending=True, stable=True)[:limit].tolist()
    axis = ax if ax is not None else figures.new_figure(6.4, 1.3 + 0.3 * len(order)).subplots()
    lines = []
    for name, colour, value, interval, before in (
        ("TPR", figures.BLUE, result.tpr, result.tpr_interval, result.clean_tp.double() / result.positives),
        ("FPR", figures.VERMILION, result.fpr, result.fpr_interval, result.clean_fp.double() / result.negatives),
    ):
        lines.append((f"{name}, through the mask", colour, value[order].tolist(), interval[order].tolist()))
        lines.append((f"{name}, whole images", colour, before[order].tolist(), None))
    dots(axis, [shorten(result.classes[i]) for i in order], lines)
    axis.set_xlabel(
        f"share of the images recognised as the class; bars: {100 * result.definition['confidence']:g}% intervals",
        fontsize=8.5,
    )
    if ax is not None:
        axis.legend(fontsize=7.5, frameon=False, loc="best")
        return figures.literal(axis)
    figure = axis.figure
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    lines = [title or "How well each class is told apart through its dominant frequencies"]
    if len(order) < len(result.classes):
        lines.append(f"{len(order)} of {len(result.classes)} classes, by TPR - FPR")
    figure.suptitle("\n".join(lines), fontsize=10.5)
    return figure


def plot_taken_for(result, axis):
    """What the images of each class are taken for through its own map, a row of shares per class, on a matplotlib axis;
    of a result whose classes are all logits."""
    names, known = result.classes, result.record.get("classes") or result.classes
    logits = range(len(names)) if result.class_index is None else result.class_index.tolist()
    counts = result.own_row[:, [logits[known.index(name)] for name in names]]
    shares, counts = counts.double() / result.positives[:, None].clamp_min(1), counts.tolist()
    matrix(
        axis, shares.numpy(), names, names, reach=1,
        shown=[[f"{value or ''}" for value in row] for row in counts] if len(names) <= 16 else None,
        words=lambda i, j: f"{names[i]} called {names[j]}: {counts[i][j]}",
    )  # fmt: skip
    axis.set_xlabel("called", fontsize=8.5)
    axis.set_ylabel("true", fontsize=8.5)


@part(files_of("freqkit-rates-1"))
def rates_part(path, record):
    """Rates on a test set: intervals, and what is taken for what."""
    result = RatesResult.load(path)
    found = readings_of(result)
    clean = result.clean
    # Of the classes that have a map, in the order of the maps.
    mapped = CleanRates(result.classes, result.positives, result.clean_tp, result.clean_tp + result.clean_fp, [],
                        result.clean_confusion.shape[1], result.still)  # fmt: skip
    more = {}
    interval, confidence, how = result.definition["interval"], result.definition["confidence"], ""
    if (interval, confidence) != ("wilson", CONFIDENCE):  # asked for; the readings stand on those of every page
        low, high = result.difference_interval.T.tolist()
        words = f"{100 * confidence:g}% {interval}"
        more |= {f"{words}, from": low, f"{words}, to": high}
        how = f" {words}: the interval of TPR − FPR that was asked for."
    sections = [class_table(found, more, key="tested-classes", title="Rates on the test images", maps="", clean=mapped)]
    sections[0].how += how
    if result.null is not None:
        sections.append(against_section(found, result.null))
    logits = result.clean_confusion.shape[1]
    if len(result.classes) == logits and logits <= 40:
        sections.append(
            Section(
                "What each class is taken for, through its own map",
                [Drawing(chart(lambda axis: plot_taken_for(result, axis), *side_of(result.classes, result.classes),
                               "Rows: the images of a class seen through its map; columns: what the model calls them.",
                               "chart whole"))],
                "Row: the images of a class, each seen through the map of that class. Column: the model's answer."
                " A dark diagonal means that the class survives its own filter.",
                key="taken-for",
            )
        )  # fmt: skip
    cautions = weights_cautions(result.record) + clean_cautions(clean)
    if result.selected_on_test_set:
        cautions.append("These maps were selected on the very images they are tested on, so the rates are too good.")
    elif result.selected_on_test_set is None:
        cautions.append(
            "It is not known on which images these maps were selected; if on these, the rates are too good."
        )
    cautions += random_cautions(found)
    about = result.record
    return Part(
        "How well each class is told apart through its frequencies", verdict(found, tested=True, clean=clean),
        headline(found, clean), [*model_rows(about), *clean_rows(clean),
          ("Intervals", f"{result.definition['interval']},"
          f" {100 * result.definition['confidence']:g}%")],
        [s for s in sections if s], cost_rows(about), provenance_rows(about), cautions, order=15,
        subtitle="On the test images", found=found, clean=clean, **rates_figure(found, maps=""),
    )  # fmt: skip


def readings_of(rates):
    """`Reading`s of a `freqkit.measures.RatesResult`."""
    return readings(rates.classes, rates.tpr, rates.fpr, rates.positives, rates.negatives, rates.coverage, rates.null)
