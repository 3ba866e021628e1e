"""What the results of all searchers share: a mask for each class, its rates on the search images, and the cost."""

from typing import Any

from torch import Tensor

from freqkit.results import rows
from freqkit.results.clean import CleanRates
from freqkit.results.confusion import Counts
from freqkit.results.result import Result


class Searched(Result):
    """Base of `SearchResult` and `RemovalResult`, which have these attributes."""

    classes: list
    counts: Tensor
    tpr: Any  # float64 [C]; None where masks were not asked
    fpr: Any
    record: dict

    FOLDER = True
    MAIN = ("highest", "TPR-FPR")

    def about(self) -> list[str]:
        return [self.record.get("identity", {}).get("search", ""), *super().about()]

    @property
    def tpr_minus_fpr(self) -> Tensor:
        """float64 [C]."""
        return self.tpr - self.fpr

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
        """`CleanRates` of the whole images, before anything is filtered; None of a run of before they were asked."""
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
        hits = (self.tpr * self.counts).round().nan_to_num(0).long()
        others = (self.fpr * (self.counts.sum() - self.counts)).round().nan_to_num(0).long()
        tally = Counts(self.counts, hits, hits + others)
        found += [row for row in rows.rates(self.classes, tally, **about) if row["class"]]
        difference = tally.intervals()[2]
        found += rows.values(self.classes, "TPR-FPR", self.tpr_minus_fpr, self.counts, difference, **about)
        table = self.table()
        found += rows.values(self.classes, "loss", [row["loss"] for row in table], self.counts, **about)
        for metric in ("coverage", "full", "power", "DC"):
            found += rows.values(self.classes, metric, [row[metric] for row in table], **maps)
        return found
