"""What the results of all searchers share: a mask for each class, its rates where it was selected and elsewhere, and
the cost."""

from pathlib import Path
from typing import Any

from torch import Tensor

from freqkit.errors import UsageError
from freqkit.results import rows
from freqkit.results.clean import CleanRates
from freqkit.results.confusion import Counts
from freqkit.results.result import Result
from freqkit.results.tested import FILE, Tested

OF_TEST = ("selection TPR-FPR", "random masks", "p")  # further columns of the table of a search that was tested


class Searched(Result):
    """Base of `SearchResult` and `RemovalResult`, which have these attributes."""

    classes: list
    counts: Tensor
    tpr: Any  # float64 [C]; None where masks were not asked
    fpr: Any
    record: dict
    tested: Any = None  # `Tested`; None of a search without a test

    @property
    def held_out(self) -> Tested | None:
        """What held-out images say, on which table, readings and page then stand; None when there are none."""
        return self.tested if self.tested is not None and self.tested.held_out else None

    @property
    def columns(self) -> tuple:
        return (*self.COLUMNS, *OF_TEST) if self.tested is not None else self.COLUMNS

    def rated(self, loss: Tensor) -> list:
        """Columns loss, TPR, FPR, TPR-FPR and images of the table, of held-out images where there are such; `loss`:
        of those that selected."""
        held = self.held_out
        if held is None:
            return [loss, self.tpr, self.fpr, self.tpr_minus_fpr, self.counts]
        return [held.loss, held.tpr, held.fpr, held.tpr_minus_fpr, held.counts]

    def of_test(self) -> list:
        """The columns `OF_TEST`."""
        if self.tested is None:
            return []
        found = (self.tpr_minus_fpr, self.tested.highest, self.tested.p)
        return [[None if value != value else value for value in column.tolist()] for column in found]

    def save_test(self, directory: Path) -> None:
        """Write tested.safetensors, where there is a test."""
        if self.tested is not None:
            self.tested.save(Path(directory) / FILE)

    @staticmethod
    def load_test(directory: Path, record: dict, classes: list) -> Tested | None:
        """The test of a finished search; None of one without.

        Raises:
            UsageError: it is missing, or of other classes.
        """
        if "test" not in record.get("identity", {}):
            return None
        path = Path(directory) / FILE
        tested = Tested.load(path)
        if tested.classes != list(classes):
            raise UsageError(f"{path}: must be of the classes of the search; it is of others.")
        return tested

    FOLDER = True
    MAIN = ("highest", "TPR-FPR")

    def about(self) -> list[str]:
        return [self.record.get("identity", {}).get("search", ""), *super().about()]

    @property
    def tpr_minus_fpr(self) -> Tensor:
        """float64 [C]."""
        return self.tpr - self.fpr

    @property
    def selection_loss(self) -> Any:
        """float64 [C], of the images that selected, each class through its map; None where they were not asked."""
        raise NotImplementedError

    @property
    def forwards(self) -> int:
        return self.record.get("forwards", 0)

    @property
    def backwards(self) -> int:
        return self.record.get("backwards", 0)

    @property
    def forward_equivalents(self) -> int:
        return self.forwards + 2 * self.backwards

    @property
    def seconds(self) -> float:
        return self.record.get("seconds", float("nan"))

    @property
    def clean(self) -> CleanRates | None:
        """`CleanRates` of the whole images, before anything is filtered, of held-out ones where there are such; None of
        a run of before they were asked."""
        if self.held_out is not None:
            return self.held_out.clean
        return CleanRates.of_record(self.record, self.classes, self.counts)

    def rows(self) -> list[dict]:
        identity, clean = self.record.get("identity", {}), self.clean
        about = rows.of_record(self.record, searcher=identity.get("search"), seed=identity.get("seed"))
        found = [] if clean is None else rows.rates(self.classes, clean, **about)
        if self.tpr is None:
            return found
        maps, about = about, {
            **about, "filter": "map", "definition": "images of the search, through the map that it found for the class",
        }  # fmt: skip
        if self.held_out is not None:
            about["condition"] = "images of the selection"
        hits = (self.tpr * self.counts).round().nan_to_num(0).long()
        others = (self.fpr * (self.counts.sum() - self.counts)).round().nan_to_num(0).long()
        tally = Counts(self.counts, hits, hits + others)
        found += [row for row in rows.rates(self.classes, tally, **about) if row["class"]]
        difference = tally.intervals()[2]
        found += rows.values(self.classes, "TPR-FPR", self.tpr_minus_fpr, self.counts, difference, **about)
        found += rows.values(self.classes, "loss", self.selection_loss, self.counts, **about)
        table = self.table()
        for metric in ("coverage", "full", "power", "DC"):
            found += rows.values(self.classes, metric, [row[metric] for row in table], **maps)
        same = ("searcher", "seed", "model", "set")
        told = [] if self.tested is None else self.tested.rows()
        return found + [{**row, **{name: maps[name] for name in same}} for row in told if self.told(row)]

    def told(self, row: dict) -> bool:
        """Whether a row of the test says what the others do not."""
        return self.held_out is not None or row["metric"] in ("TPR-FPR of random masks", "p")
