"""What a search found: per class the best mask and its rates, and every stage's candidates and scores."""

import math
from dataclasses import dataclass, field
from pathlib import Path

import torch

from freqkit.errors import UsageError
from freqkit.files.reading import COUNT, in_range
from freqkit.files.whole import read_run, write_csv, write_json
from freqkit.results import rows
from freqkit.results.clean import CLEAN_COLUMNS, clean_columns
from freqkit.results.result import Result, TensorFile
from freqkit.results.scores import Scores
from freqkit.results.searched import Searched
from freqkit.results.tested import Tested

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
class StageResult(Result):
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

    FILE = TensorFile(
        STAGE, "a stage file of a search",
        {
            "loss": "float64 K C", "correct": "int64 K C", "predicted": "int64 K C", "counts": "int64 C",
            "bits": "uint8 K rows bytes", "ranks": "int64 C n", "born": "int64 K",
        },
        {
            "stage": range(1, 100), "classes": [str], "reduction": str, "record": dict, "images": COUNT,
            "cell": [range(1, 1 << 13)], "size": [range(1, 1 << 13)], "symmetry": str,
        },
        packed="within",
    )  # fmt: skip
    CSV = False
    COLUMNS = ("class", "candidate", "loss", "TPR", "FPR", "TPR-FPR", "images")
    MAIN = ("highest", "TPR-FPR")

    def about(self):
        return [f"stage {self.number}", f"{len(self.ranks)} classes", f"{self.scores.images:,} images"]

    @property
    def curve(self):
        """float64 [K, C]: lowest loss among the candidates so far, in the order in which they were drawn."""
        return torch.cummin(self.scores.loss, dim=0).values

    def plot(self, ax=None):
        """The best loss of each class as the stage's candidates are tried; see `freqkit.report.plot_scores`."""
        from freqkit.report import plot_scores

        return plot_scores(self.scores, ax, stage=self.number)

    def cells(self):
        """One line per class: its candidate of lowest loss, and what that came to on the search images."""
        best, own, scores = self.ranks[:, 0], torch.arange(len(self.ranks)), self.scores
        columns = [values[best, own] for values in (scores.loss, scores.tpr, scores.fpr, scores.tpr_minus_fpr)]
        return [scores.classes, best, *columns, scores.counts]

    def rows(self):
        best, own, scores = self.ranks[:, 0], torch.arange(len(self.ranks)), self.scores
        about = {"condition": "all", "filter": "map", "step": self.number, "definition": "best candidate of the stage"}
        found = rows.values(scores.classes, "loss", scores.loss[best, own], scores.counts, **about)
        others = scores.images - scores.counts
        found += rows.shares(scores.classes, "TPR", scores.correct[best, own], scores.counts, **about)
        if (scores.predicted < 0).any():  # not asked
            return found
        wrong = (scores.predicted - scores.correct)[best, own]
        return found + rows.shares(scores.classes, "FPR", wrong, others, **about)

    def values(self):
        scores, (bits, cell, size, symmetry) = vars(self.scores), self.candidates
        about = {"stage": self.number, "cell": list(cell), "size": list(size), "symmetry": symmetry}
        return {**scores, **about, "bits": bits, "ranks": self.ranks, "born": self.born}

    @classmethod
    def checked(cls, values, path):
        from freqkit.masks.bits import check_bits
        from freqkit.ops import BitMasks

        in_range(values["counts"], 0, values["images"], path, "counts")
        in_range(values["ranks"], 0, len(values["loss"]) - 1, path, "ranks")
        others = torch.where(values["predicted"] < 0, 0, values["predicted"] - values["correct"])
        in_range(values["counts"] - values["correct"], 0, values["images"], path, "correct")
        in_range(values["correct"], 0, values["images"], path, "correct")
        in_range((values["images"] - values["counts"]) - others, 0, values["images"], path, "predicted")
        in_range(others, 0, values["images"], path, "predicted")
        if not values["ranks"].numel():
            raise UsageError(f"{path}: the tensor ranks must name a candidate for each class.")
        if len(values["size"]) != 2 or len(values["cell"]) != 2:
            raise UsageError(f"{path}: size and cell must have two numbers each.")
        if len(values["classes"]) * math.prod(values["size"]) > 1 << 30:
            raise UsageError(f"{path}: {len(values['classes'])} masks of size {values['size']} are more than 4 GiB.")
        scores = Scores(
            *(values[name] for name in "loss correct predicted counts classes reduction record images".split())
        )
        try:
            candidates = BitMasks(values["bits"], tuple(values["cell"]), tuple(values["size"]), values["symmetry"])
            check_bits(candidates, f"{path}: bits")
        except (TypeError, ValueError) as error:
            raise UsageError(str(error)) from error
        named = {"number": values["stage"], "candidates": candidates, "scores": scores}
        return {**named, "ranks": values["ranks"], "born": values["born"]}


@dataclass
class SearchResult(Searched):
    """Per class the best mask of the last stage, and how it was reached.

    Attributes:
        classes: C names, those that have images.
        masks: float32 [C, H, W], centred effective masks, values 0, 1/2, 1 (the dominant frequency maps).
        bits: `BitMasks` of the C masks as drawn.
        loss, tpr, fpr: float64 [C] of each class's mask on the search images, those that selected.
        tested: `freqkit.results.tested.Tested`, what held-out images say, and random masks; None without a test.
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
    tested: Tested | None = None

    COLUMNS = COLUMNS
    FIGURE = "plot_search"

    @property
    def selection_loss(self):
        return self.loss

    @property
    def curves(self):
        """Best loss so far, per stage float64 [K, C]."""
        return [stage.curve for stage in self.stages]

    @classmethod
    def from_stages(cls, stages, record, tested=None):
        """The result of a finished search: rank 0 of the last stage for each class."""
        from freqkit.masks import coverage, effective, select

        last = stages[-1]
        best, classes = last.ranks[:, 0], torch.arange(len(last.ranks))
        bits = select(last.candidates, best)
        share = coverage(bits)
        scores = last.scores
        return cls(
            list(scores.classes), effective(bits).cpu(), bits,
            scores.loss[best, classes], scores.tpr[best, classes], scores.fpr[best, classes],
            share.touched, share.full, share.power, share.dc, last.born[best], scores.counts, list(stages), record,
            tested,
        )  # fmt: skip

    def cells(self):
        """One line per class: class, loss, TPR, FPR, TPR-FPR, coverage, full, power, DC, stage, images; of whole images
        clean TPR, clean FPR, and of those recognised whole how many there are and the share still recognised. All of
        held-out images where there are such; with a test also TPR-FPR where the map was selected, the highest of the
        class's random masks, and p."""
        *rates, counts = self.rated(self.loss)
        return [
            self.classes, *rates, self.coverage, self.full, self.power, self.dc, self.stage, counts,
            *clean_columns(self.clean, len(self.classes)), *self.of_test(),
        ]  # fmt: skip

    def save(self, directory):
        """Write run.json, stage-*.safetensors, tested.safetensors, dfm.safetensors and classes.csv, each atomically."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        for stage in self.stages:
            stage.save(directory / f"stage-{stage.number}.safetensors")
        self.save_test(directory)
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
        write_csv(directory / "classes.csv", self.columns, self.table())

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
        stages = load_stages(directory, numbers)
        return cls.from_stages(stages, record, cls.load_test(directory, record, stages[-1].scores.classes))


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
