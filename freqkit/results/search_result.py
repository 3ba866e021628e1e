"""What a search found: per class the best mask and its rates, and every stage's candidates and scores."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import torch

from freqkit.errors import UsageError
from freqkit.files.reading import COUNT, in_range, read_tensors
from freqkit.files.whole import read_run, write_csv, write_json, write_safetensors
from freqkit.results.clean import CLEAN_COLUMNS, CleanRates, clean_columns
from freqkit.results.scores import Scores

STAGE = "freqkit-stage-1"
COLUMNS = (
    "class", "loss", "TPR", "FPR", "TPR-FPR", "coverage", "full", "power", "DC", "stage", "images", *CLEAN_COLUMNS,
)  # fmt: skip


def unlike_published(differs):
    """Settings other than those of the released code, in words, from the "differs_from_published" of a record.

    Example:
        >>> unlike_published({"keep": {"here": 0.6, "published": 0.8}})
        'keep 0.6 (there: 0.8)'
    """
    return "; ".join(f"{name} {value['here']} (there: {value['published']})" for name, value in differs.items())


@dataclass
class StageResult:
    """One stage of a search.

    Attributes:
        number: the stage, counted from 1.
        candidates: `BitMasks` of its K candidates.
        scores: `Scores` of the K candidates over the C searched classes.
        ranks: int64 [C, n], for each class the candidates of lowest loss, best first: parents of the next
            stage.
        born: int64 [K], the stage in which each candidate was drawn (differs from `number` only under
            elitism).
    """

    number: int
    candidates: tuple
    scores: Scores
    ranks: torch.Tensor
    born: torch.Tensor

    @property
    def curve(self):
        """float64 [K, C]: lowest loss among the candidates so far, in the order in which they were drawn."""
        return torch.cummin(self.scores.loss, dim=0).values

    def plot(self, ax=None):
        """The best loss of each class as the stage's candidates are tried; see `freqkit.report.plot_scores`."""
        from freqkit.report import plot_scores

        return plot_scores(self.scores, ax, stage=self.number)

    def save(self, path):
        """Write the stage as a safetensors file, atomically."""
        bits, cell, size, symmetry = self.candidates
        scores = self.scores
        about = {
            "format": STAGE,
            "stage": self.number,
            "classes": scores.classes,
            "reduction": scores.reduction,
            "record": scores.record,
            "images": scores.images,
            "cell": list(cell),
            "size": list(size),
            "symmetry": symmetry,
        }
        tensors = {
            "loss": scores.loss,
            "correct": scores.correct,
            "predicted": scores.predicted,
            "counts": scores.counts,
            "bits": bits.cpu(),
            "ranks": self.ranks,
            "born": self.born,
        }
        write_safetensors(path, tensors, {"freqkit": json.dumps(about, sort_keys=True)})

    @classmethod
    def load(cls, path):
        """Read what `save` wrote.

        Raises:
            UsageError: the file is no stage of a search, or is damaged.
        """
        from freqkit.masks.bits import check_bits
        from freqkit.ops import BitMasks

        facts = {
            "stage": range(1, 100), "classes": [str], "reduction": str, "record": dict, "images": COUNT,
            "cell": [range(1, 1 << 13)], "size": [range(1, 1 << 13)], "symmetry": str,
        }  # fmt: skip
        tensors = {
            "loss": "float64 K C", "correct": "int64 K C", "predicted": "int64 K C", "counts": "int64 C",
            "bits": "uint8 K rows bytes", "ranks": "int64 C n", "born": "int64 K",
        }  # fmt: skip
        t, about = read_tensors(
            path,
            "a stage file of a search",
            format=STAGE,
            tensors=tensors,
            facts=facts,
            sizes={"C": "classes"},
        )
        in_range(t["counts"], 0, about["images"], path, "counts")
        in_range(t["ranks"], 0, len(t["loss"]) - 1, path, "ranks")
        others = torch.where(t["predicted"] < 0, 0, t["predicted"] - t["correct"])
        in_range(t["counts"] - t["correct"], 0, about["images"], path, "correct")
        in_range(t["correct"], 0, about["images"], path, "correct")
        in_range((about["images"] - t["counts"]) - others, 0, about["images"], path, "predicted")
        in_range(others, 0, about["images"], path, "predicted")
        if not t["ranks"].numel():
            raise UsageError(f"{path}: the tensor ranks must name a candidate for each class.")
        if len(about["size"]) != 2 or len(about["cell"]) != 2:
            raise UsageError(f"{path}: size and cell must have two numbers each.")
        if len(about["classes"]) * math.prod(about["size"]) > 1 << 30:
            raise UsageError(f"{path}: {len(about['classes'])} masks of size {about['size']} are more than 4 GiB.")
        scores = Scores(
            *(t[name] for name in ("loss", "correct", "predicted", "counts")),
            *(about[name] for name in ("classes", "reduction", "record", "images")),
        )
        try:
            candidates = BitMasks(t["bits"], tuple(about["cell"]), tuple(about["size"]), about["symmetry"])
            check_bits(candidates, f"{path}: bits")
        except (TypeError, ValueError) as error:
            raise UsageError(str(error)) from error
        return cls(about["stage"], candidates, scores, t["ranks"], t["born"])


@dataclass
class SearchResult:
    """Per class the best mask of the last stage, and how it was reached.

    Attributes:
        classes: C names, those that have images.
        masks: float32 [C, H, W], centred effective masks, values 0, 1/2, 1 (the dominant frequency maps).
        bits: `BitMasks` of the C masks as drawn.
        loss, tpr, fpr: float64 [C] of each class's mask on the search images.
        coverage, full, power, dc: float64 [C]; share of bins touched (m_eff > 0), share at full weight, mean
            of m_eff², weight of DC.
        stage: int64 [C], the stage in which the mask was drawn.
        counts: int64 [C], search images of each class.
        stages: list of `StageResult`.
        record: what run.json holds: configuration, versions, fingerprints, counts, times.
        forwards: model forwards that the search amounts to, one per scored mask and image.
        backwards: images that went back through the model; forward_equivalents: forwards + 2 backwards.
        seconds: wall time, over all sessions of a resumed run.
    """

    classes: list
    masks: torch.Tensor
    bits: tuple
    loss: torch.Tensor
    tpr: torch.Tensor
    fpr: torch.Tensor
    coverage: torch.Tensor
    full: torch.Tensor
    power: torch.Tensor
    dc: torch.Tensor
    stage: torch.Tensor
    counts: torch.Tensor
    stages: list
    record: dict = field(default_factory=dict)

    @property
    def tpr_minus_fpr(self):
        """float64 [C]."""
        return self.tpr - self.fpr

    @property
    def forwards(self):
        return self.record.get("forwards", 0)

    @property
    def backwards(self):
        return self.record.get("backwards", 0)

    @property
    def forward_equivalents(self):
        return self.forwards + 2 * self.backwards

    @property
    def seconds(self):
        return self.record.get("seconds", float("nan"))

    @property
    def clean(self):
        """`CleanRates` of the whole images, before anything is filtered; None of a run of before they were asked."""
        return CleanRates.of_record(self.record, self.classes, self.counts)

    @property
    def curves(self):
        """Best loss so far, per stage float64 [K, C]."""
        return [stage.curve for stage in self.stages]

    @classmethod
    def from_stages(cls, stages, record):
        """The result of a finished search: rank 0 of the last stage for each class."""
        from freqkit.masks import coverage, effective, select

        last = stages[-1]
        best, classes = last.ranks[:, 0], torch.arange(len(last.ranks))
        bits = select(last.candidates, best)
        share = coverage(bits)
        return cls(
            list(last.scores.classes),
            effective(bits).cpu(),
            bits,
            last.scores.loss[best, classes],
            last.scores.tpr[best, classes],
            last.scores.fpr[best, classes],
            share.touched,
            share.full,
            share.power,
            share.dc,
            last.born[best],
            last.scores.counts,
            list(stages),
            record,
        )

    def table(self):
        """One dict per class: class, loss, TPR, FPR, TPR-FPR, coverage, full, power, DC, stage, images; of whole images
        clean TPR, clean FPR, and of those recognised whole how many there are and the share still recognised."""
        columns = (
            self.classes,
            *(
                value.tolist()
                for value in (
                    self.loss,
                    self.tpr,
                    self.fpr,
                    self.tpr_minus_fpr,
                    self.coverage,
                    self.full,
                    self.power,
                    self.dc,
                    self.stage,
                    self.counts,
                )
            ),
            *clean_columns(self.clean, len(self.classes)),
        )
        return [dict(zip(COLUMNS, row, strict=True)) for row in zip(*columns, strict=True)]

    def plot(self, *args, **kwargs):
        """The masks as pictures; see `freqkit.report`."""
        from freqkit.report import plot_search

        return plot_search(self, *args, **kwargs)

    def save(self, directory):
        """Write run.json, stage-*.safetensors, dfm.safetensors and classes.csv, each atomically."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        for stage in self.stages:
            stage.save(directory / f"stage-{stage.number}.safetensors")
        self.save_summary(directory)
        write_json(directory / "run.json", self.record)

    def dfm(self):
        """The masks as a `freqkit.masks.DfmFile`."""
        from freqkit.masks import dfm_of_run

        return dfm_of_run(self.masks, self.classes, self.record, stage=self.stages[-1].number)

    def save_summary(self, directory):
        """Write dfm.safetensors and classes.csv."""
        from freqkit.masks import save_dfm

        directory = Path(directory)
        save_dfm(directory / "dfm.safetensors", self.dfm())
        write_csv(directory / "classes.csv", COLUMNS, self.table())

    @classmethod
    def load(cls, directory):
        """Read the directory of a finished search.

        Raises:
            UsageError: it is none, or the search has not finished.
        """
        directory = Path(directory)
        record = read_run(directory)
        numbers = record.get("stages_done", [])
        if record.get("status") != "finished" or not numbers:
            raise UsageError(f"{directory}: the search there has not finished; continue it with resume.")
        return cls.from_stages(load_stages(directory, numbers), record)


def load_stages(directory, numbers):
    """The `StageResult`s of a run directory that bear these numbers.

    Raises:
        UsageError: one is missing or damaged, bears another number, or is of another search than the last.
    """
    stages = []
    for number in numbers:
        path = Path(directory) / f"stage-{number}.safetensors"
        stages.append(stage := StageResult.load(path))
        if stage.number != number:
            raise UsageError(f"{path}: must be stage {number}; it is stage {stage.number}.")
        same = (stage.scores.classes, stage.candidates.size) == (stages[0].scores.classes, stages[0].candidates.size)
        if not same:
            raise UsageError(f"{path}: must be of the classes and the size of stage {stages[0].number}; it is not.")
    return stages
