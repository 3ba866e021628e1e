"""What held-out images say of the maps of a search, and of random masks beside them."""

from dataclasses import dataclass, field

import torch

from freqkit.files.reading import COUNT, Row, in_range
from freqkit.files.whole import RECORD
from freqkit.report.readings import against
from freqkit.results import rows
from freqkit.results.clean import CleanRates
from freqkit.results.confusion import Counts
from freqkit.results.result import Result, TensorFile

FILE = "tested.safetensors"


@dataclass
class Tested(Result):
    """Rates of C maps on images that did not select them.

    Attributes:
        classes: C names.
        counts: int64 [C], held-out images; 0 for a class that could not be split.
        loss: float64 [C], mean cross-entropy of the class's images through its map.
        correct, called: int64 [C], of the class's images, and of all, those that are called the class through its map.
        clean_correct, clean_called, still: int64 [C], the same of whole images; of `clean_correct` those that are
            recognised through the map, too.
        null_correct, null_called: int64 [N, C], `correct` and `called` of N random masks of each class
            (`freqkit.masks.random_alike`), independent in every line.
        permuted_correct, permuted_called: int64 [P, C], of the maps that P searches with permuted labels found, on
            held-out images whose labels are permuted, too.
        mostly, logits: see `CleanRates`.
        record: which images were held out, and which weights were asked. held_out in it is False of a search that held
            none out, where only random masks were asked, of the very images that selected.
    """

    classes: list
    counts: torch.Tensor
    loss: torch.Tensor
    correct: torch.Tensor
    called: torch.Tensor
    clean_correct: torch.Tensor
    clean_called: torch.Tensor
    still: torch.Tensor
    null_correct: torch.Tensor
    null_called: torch.Tensor
    permuted_correct: torch.Tensor
    permuted_called: torch.Tensor
    mostly: list
    logits: int
    record: dict = field(default_factory=dict)

    FILE = TensorFile(
        "freqkit-tested-1", "a file of a search's test",
        {
            "counts": "int64 C", "loss": "float64 C",
            **dict.fromkeys("correct called clean_correct clean_called still".split(), "int64 C"),
            **dict.fromkeys(("null_correct", "null_called"), "int64 N C"),
            **dict.fromkeys(("permuted_correct", "permuted_called"), "int64 P C"),
        },
        {"classes": [str], "mostly": [Row(str, COUNT)], "logits": range(1, 1 << 31), "record": RECORD},
    )  # fmt: skip
    CSV = False
    COLUMNS = ("class", "loss", "TPR", "FPR", "TPR-FPR", "random masks", "p", "images")

    @property
    def held_out(self) -> bool:
        """Whether these images did not select."""
        return bool(self.record.get("held_out", True))

    @property
    def tally(self) -> Counts:
        """Through each class's map."""
        return Counts(self.counts, self.correct, self.called)

    @property
    def clean(self) -> CleanRates:
        """Of whole held-out images."""
        return CleanRates(
            list(self.classes), self.counts, self.clean_correct, self.clean_called,
            [tuple(pair) for pair in self.mostly], self.logits, self.still,
        )  # fmt: skip

    @property
    def tpr(self):
        """float64 [C]; NaN for a class without held-out images."""
        return self.tally.tpr

    @property
    def fpr(self):
        """float64 [C]."""
        return self.tally.fpr

    @property
    def tpr_minus_fpr(self):
        """float64 [C]."""
        return self.tpr - self.fpr

    @property
    def null(self):
        """float64 [N, C], TPR - FPR through random masks."""
        return self._difference(self.null_correct, self.null_called)

    @property
    def permuted(self):
        """float64 [P, C], TPR - FPR of searches with permuted labels."""
        return self._difference(self.permuted_correct, self.permuted_called)

    @property
    def p(self):
        """float64 [C], of random masks, by counting, corrected over the classes (`freqkit.report.readings.against`);
        NaN where none were asked, or nothing is held out."""
        if not len(self.null):
            return torch.full_like(self.loss, torch.nan)
        return torch.where(self.counts > 0, against(self.tpr_minus_fpr, self.null).p, torch.nan)

    @property
    def highest(self):
        """float64 [C], the highest TPR - FPR of the class's own random masks; NaN where none were asked."""
        return self.null.amax(0) if len(self.null) else torch.full_like(self.loss, torch.nan)

    def _difference(self, correct, called):
        found = Counts(self.counts, correct, called)
        return found.tpr - found.fpr

    def cells(self):
        difference = self.tpr_minus_fpr
        return [self.classes, self.loss, self.tpr, self.fpr, difference, self.highest, self.p, self.counts]

    def rows(self):
        about = rows.of_record(self.record, filter="map")
        which = "held-out images" if self.held_out else "images of the search"
        about["definition"] = f"{which}, through the map that the search found for the class"
        found = [row for row in rows.rates(self.classes, self.tally, **about) if row["class"]]
        difference = self.tally.intervals()[2]
        found += rows.values(self.classes, "TPR-FPR", self.tpr_minus_fpr, self.counts, difference, **about)
        found += rows.values(self.classes, "loss", self.loss, self.counts, **about)
        if len(self.null):
            about["definition"] = f"highest of {len(self.null)} random masks of as many bins as the map"
            found += rows.values(self.classes, "TPR-FPR of random masks", self.highest, self.counts, **about)
            found += rows.values(self.classes, "p", self.p, self.counts, **about)
        return found

    @classmethod
    def checked(cls, values, path):
        counts, images = values["counts"], int(values["counts"].sum())
        for name in ("clean_correct", "correct", "null_correct", "permuted_correct"):
            in_range(values[name], 0, images, path, name)
            in_range(counts - values[name], 0, images, path, name)
        in_range(values["clean_correct"] - values["still"], 0, images, path, "still")
        for name in ("clean", "null", "permuted"):
            in_range(values[f"{name}_called"] - values[f"{name}_correct"], 0, images, path, f"{name}_called")
        in_range(values["called"] - values["correct"], 0, images, path, "called")
        return values
