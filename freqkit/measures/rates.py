"""DFM-filtered evaluation: how well a class is told apart, seen only through its dominant frequencies.

Source: Wang, Veldhuis, Brune, Strisciuglio, ICCV 2023 (arXiv 2307.09829). With the mask of class c on all
test images, and M the confusion matrix [true, predicted] that comes of it:

    TPR = TP_f / P = M[c, c] / P        FPR = FP_f / N = (sum_i M[i, c] - M[c, c]) / N

P images of class c, N of the others. A high TPR alone says little: a model that calls everything c has it
too. The difference TPR - FPR is 0 for it, and for any answer that does not depend on the image.
"""

import json
import math
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import torch

from freqkit.engine import Scorer
from freqkit.errors import UsageError
from freqkit.files.reading import Number, in_range, read_tensors
from freqkit.files.whole import RECORD
from freqkit.measures.selection import SelectedOnTestSet, selected_places
from freqkit.report import figures
from freqkit.report.blocks import Drawing, Part, Section
from freqkit.report.inline import chart
from freqkit.report.pages import files_of, part
from freqkit.report.planes import matrix, side_of
from freqkit.report.provenance import cost_rows, model_rows, provenance_rows
from freqkit.report.rates import dots, rates_figure
from freqkit.report.readings import CONFIDENCE, readings
from freqkit.report.sections import class_table
from freqkit.report.words import clean_cautions, clean_rows, headline, verdict, weights_cautions
from freqkit.results.clean import CleanRates
from freqkit.statistics import _bootstrap, newcombe, wilson
from freqkit.text import shorten

INTERVALS = ("wilson", "bootstrap")
CONFUSIONS_UP_TO = 64  # classes up to which "auto" keeps a whole confusion matrix for every mask
FORMAT = "freqkit-rates-1"
COLUMNS = (
    "class", "images", "others", "TPR", "TPR low", "TPR high", "FPR", "FPR low", "FPR high", "TPR-FPR",
    "TPR-FPR low", "TPR-FPR high", "clean TPR", "clean FPR", "coverage", "power",
    "recognised whole", "still recognised",
)  # fmt: skip


@dataclass
class RatesResult:
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
        counts = self.clean_confusion.sum(1)[:, None].double()
        return 100 * (self.confusion - self.clean_confusion).double() / counts

    def table(self):
        """One dict per mask: class, images, others, TPR, FPR, TPR-FPR each with low and high, clean TPR and
        FPR, coverage, power; of those recognised whole how many there are, and the share still recognised."""
        columns = [self.classes, self.positives.tolist(), self.negatives.tolist()]
        for value, interval in (
            (self.tpr, self.tpr_interval),
            (self.fpr, self.fpr_interval),
            (self.tpr_minus_fpr, self.difference_interval),
        ):
            columns += [value.tolist(), *interval.T.tolist()]
        columns += [(self.clean_tp.double() / self.positives).tolist()]
        columns += [(self.clean_fp.double() / self.negatives).tolist()]
        columns += [self.coverage.tolist(), self.power.tolist(), self.clean_tp.tolist()]
        columns += [[None if value != value else value for value in self.still_recognised.tolist()]]
        return [dict(zip(COLUMNS, row, strict=True)) for row in zip(*columns, strict=True)]

    def plot(self, *args, **kwargs):
        """TPR and FPR with their intervals; see `freqkit.report.plot_rates`."""
        from freqkit.report import plot_rates

        return plot_rates(self, *args, **kwargs)

    def save(self, path):
        """Write one safetensors file, atomically, and beside it the table as .csv."""
        from freqkit.files.whole import write_csv, write_safetensors

        path = Path(path)
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, torch.Tensor)}
        about = {"classes": self.classes, "definition": self.definition, "record": self.record}
        header = {"format": FORMAT, **{name: json.dumps(value) for name, value in about.items()}}
        write_safetensors(path, tensors, header)
        write_csv(path.with_suffix(".csv"), COLUMNS, self.table())

    @classmethod
    def load(cls, path):
        """Read what `save` wrote.

        Raises:
            UsageError: the file is no rates file.
        """
        counts = "positives negatives tp fp clean_tp clean_fp".split()
        tensors = {
            **dict.fromkeys(counts, "int64 M"), "clean_confusion": "int64 C L", "own_row": "int64 M L",
            "own_column": "int64 M C", "coverage": "float64 M", "power": "float64 M", "tpr_interval": "float64 M 2",
            "fpr_interval": "float64 M 2", "difference_interval": "float64 M 2", "confusion?": "int64 M C L",
            "still?": "int64 M", "class_index?": "int64 C",
        }  # fmt: skip
        definition = {"interval": str, "confidence": Number(0, 1)}
        facts = {"classes": [str], "definition": definition, "record": RECORD}
        tensors, about = read_tensors(
            path, "a rates file", format=FORMAT, tensors=tensors, facts=facts, sizes={"M": "classes"}
        )
        for name in [name for name, value in tensors.items() if value.dtype == torch.int64]:
            in_range(tensors[name], 0, 2**53, path, name)
        for name, most in zip(counts[2:], (counts[:2] * 2), strict=True):
            in_range(tensors[most] - tensors[name], 0, 2**53, path, name)
        if "still" in tensors:
            in_range(tensors["clean_tp"] - tensors["still"], 0, 2**53, path, "still")
        if "class_index" in tensors:
            in_range(tensors["class_index"], 0, tensors["clean_confusion"].shape[1] - 1, path, "class_index")
        for name in ("coverage", "power"):
            in_range(tensors[name], 0, 1, path, name)
        for name in ("tpr_interval", "fpr_interval", "difference_interval"):
            known = tensors[name][~tensors[name].isnan()]
            in_range(known, -1, 1, path, name)
        return cls(**tensors, **about)


def rates(
    model,
    images,
    dfm,
    *,
    interval="wilson",
    confidence=0.95,
    resamples=2000,
    seed=0,
    confusion="auto",
    domain="normalised",
    class_index=None,
    batch_size="auto",
    device=None,
    dtype=None,
    memory=1 << 30,
    form="auto",
    spectra="float32",
    progress=None,
):
    """Ask the model about all test images, clean and through every class's mask.

    Masks that were selected on the very images they are tested on get rates that are too good. When the file
    names the images of its selection, that is noticed (`SelectedOnTestSet` warning, and on record); split the
    set first: `selection, test = images.split(0.5, seed=0)`.

    Intervals: "wilson": Wilson's score interval for TPR and FPR, and Newcombe's hybrid of the two for their
    difference; "bootstrap": percentiles over `resamples` redrawings of the images within each true class.

    Args:
        model: a `Classifier`. images: the test `ImageSet`.
        dfm: `DfmFile`, the path of one, or a search result with `.dfm()` or `.masks`; its classes must be
            among those of the images.
        interval, confidence: which interval, and how sure.
        resamples, seed: of the bootstrap.
        confusion: whether the confusion matrix [C, L] of every mask is kept; "auto": up to 64 classes.
        domain, class_index, batch_size, device, dtype, memory, form, spectra: see `freqkit.engine.score`.
        progress: a `freqkit.engine.Progress`.

    Returns:
        `RatesResult`; (M + 1) n forwards are on record.

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
    from freqkit import masks as mask_room

    if interval not in INTERVALS:
        raise UsageError(f"rates: interval must be one of {', '.join(INTERVALS)}; got {interval!r}.")
    if isinstance(confidence, bool) or not isinstance(confidence, (int, float)) or not 0 < confidence < 1:
        raise UsageError(f"rates: confidence must be a number with 0 < confidence < 1; got {confidence!r}.")
    if isinstance(resamples, bool) or not isinstance(resamples, int) or resamples < 100:
        raise UsageError(f"rates: resamples must be an integer of at least 100; got {resamples!r}.")
    if confusion not in ("auto", True, False):
        raise UsageError(f"rates: confusion must be 'auto', True or False; got {confusion!r}.")
    dfm = _dfm(dfm)
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
            stacklevel=2,
        )
    keep = len(classes) <= CONFUSIONS_UP_TO if confusion == "auto" else confusion
    scorer = Scorer(
        model, images, batch_size=batch_size, device=device, dtype=dtype, domain=domain,
        class_index=class_index, memory=memory, form=form, spectra=spectra, progress=progress,
    )  # fmt: skip
    masks = torch.cat([torch.ones(1, *size), mask_room.uncentred(dfm.masks).float()])
    own = torch.tensor([classes.index(name) for name in dfm.classes])
    matrices = _Matrices(scorer, own, keep)
    if progress is not None:
        progress.start("rates", scorer.forwards(len(masks)))
    try:
        scorer.answers(masks, matrices.add, progress=progress)
    finally:
        if progress is not None:
            progress.finish()
    about = {"model": dict(model.record), "data": dict(images.record)}
    return _result(dfm, own, matrices, same, interval, confidence, resamples, seed, scorer, about)


def _dfm(dfm):
    from freqkit.masks import DfmFile, dfm_of_run, load_dfm

    if isinstance(dfm, (str, Path)):
        return load_dfm(dfm)
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
                self.clean += self.count(labels, won)
                self.before = won == self.logit[labels]  # of the block whose masks follow
                continue
            c = self.own[mask - 1]
            self.still[mask - 1] += (self.before & (labels == c) & (won == self.logit[c])).sum()
            self.row[mask - 1] += torch.bincount(won[labels == c], minlength=self.shape[1])
            self.column[mask - 1] += torch.bincount(labels[won == self.logit[c]], minlength=self.shape[0])
            if self.whole is not None:
                self.whole[mask - 1] += self.count(labels, won)

    def count(self, labels, won):
        classes, logits = self.shape
        return torch.bincount(labels * logits + won, minlength=classes * logits).view(classes, logits)


def _result(dfm, own, matrices, same, interval, confidence, resamples, seed, scorer, about):
    import freqkit
    from freqkit.masks import coverage

    counts = scorer.counts
    positives, negatives = counts[own], counts.sum() - counts[own]
    masks = torch.arange(len(own))
    tp = matrices.column[masks, own]
    fp = matrices.column.sum(1) - tp
    clean_column = matrices.clean[:, scorer.class_index[own]]  # [C, M]
    clean_tp = clean_column[own, masks]
    if interval == "wilson":
        limits = [wilson(tp, positives, confidence), wilson(fp, negatives, confidence)]
        limits.append(newcombe(tp, positives, fp, negatives, confidence))
    else:
        limits = _bootstrap(matrices.column, own, counts, confidence, resamples, seed)
    share = coverage(dfm.masks)
    definition = {
        "quantity": "rates of DFM-filtered images",
        "TPR": "share of the class's images recognised as the class, seen through its mask",
        "FPR": "share of the other classes' images recognised as the class, seen through its mask",
        "interval": interval,
        "confidence": confidence,
        **({"resamples": resamples, "seed": seed} if interval == "bootstrap" else {}),
        "domain": scorer.forward.domain,
    }
    record = {
        "selected_on_test_set": None if same is None else bool(same),
        "selected_images": None if same is None else len(same),
        "forwards": scorer.forwards(len(own) + 1),
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
        "versions": {"freqkit": freqkit.__version__, "torch": torch.__version__},
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
    from freqkit.results.clean import CleanRates

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
    return readings(rates.classes, rates.tpr, rates.fpr, rates.positives, rates.negatives, rates.coverage)
