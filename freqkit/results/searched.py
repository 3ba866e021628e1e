"""What the results of all searchers share: a mask for each class, its rates on the search images, and the cost."""

from freqkit.results import rows
from freqkit.results.clean import CleanRates
from freqkit.results.confusion import Counts
from freqkit.results.result import Result


class Searched(Result):
    """Base of `SearchResult` and `RemovalResult`, which have classes, counts, tpr, fpr and record."""

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

    def rows(self):
        identity = self.record.get("identity", {})
        about = rows.of_record(self.record, searcher=identity.get("search"), seed=identity.get("seed"))
        found = [] if self.clean is None else rows.rates(self.classes, self.clean, **about)
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
