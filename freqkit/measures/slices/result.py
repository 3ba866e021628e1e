"""What was found of images grouped by their spectra: errors of the groups, and how features drift under filters."""

import math
from dataclasses import dataclass, field

import numpy as np
import torch

from freqkit.errors import UsageError
from freqkit.files.reading import in_range
from freqkit.files.whole import RECORD
from freqkit.measures.slices.clusters import centroid
from freqkit.results import rows
from freqkit.results.clean import CleanRates
from freqkit.results.confusion import Confusion
from freqkit.results.result import Result, TensorFile
from freqkit.statistics import fisher_exact, holm, newcombe, percentiles, redrawn_sums, wilson

FORMAT = "freqkit-slices-1"
FILTERS = ("low", "high", "band")


@dataclass
class SlicesResult(Result):
    """n images in S slices, groups of like spectra.

    Attributes:
        classes: C names. slices: S names, "A", "B", ..., from the lowest to the highest mean frequency.
        edges: float64 [B + 1], where bands begin and end, cycles/image; the first reaches down to DC, without it.
        energies: float64 [n, B], log10 of the power of each band, see `clusters.band_energies`.
        slice_of: int64 [n], of each image.
        answers: int32 [n], the logit that won for each whole image.
        labels: int64 [n]. class_index: int64 [C], the logit of each class.
        filters: K of "low", "high" and "band". limits: float64 [K, 2], cycles/image, what is kept; infinite where
            nothing bounds it.
        cosine: float64 [K, n], between the features of each image through each filter and of the whole image; NaN where
            one of them is 0 everywhere. seen: int32 [K, n], the answers through the filters.
        examples: int64 [S, m], the images nearest to the middle of their slice; -1 where there are fewer.
        pictures: uint8 [S, m, 3, H, W], these.
        definition, record: JSON-ready dicts.
    """

    classes: list
    slices: list
    edges: torch.Tensor
    energies: torch.Tensor
    slice_of: torch.Tensor
    answers: torch.Tensor
    labels: torch.Tensor
    class_index: torch.Tensor
    filters: list
    limits: torch.Tensor
    cosine: torch.Tensor
    seen: torch.Tensor
    examples: torch.Tensor
    pictures: torch.Tensor
    definition: dict = field(default_factory=dict)
    record: dict = field(default_factory=dict)

    FILE = TensorFile(
        FORMAT, "a file of `slices`",
        {"edges": "float64 E", "energies": "float64 n B", "slice_of": "int64 n", "answers": "int32 n",
         "labels": "int64 n", "class_index": "int64 C", "limits": "float64 K 2", "cosine": "float64 K n",
         "seen": "int32 K n", "examples": "int64 S m", "pictures": "uint8 S m 3 H W"},
        {"classes": [str], "slices": [str], "filters": [str], "record": RECORD,
         "definition": {"quantity": str, "confidence": float, "resamples": int, "seed": int}},
        {"C": "classes", "S": "slices", "K": "filters"},
    )  # fmt: skip
    COLUMNS = ("slice", "images", "mean frequency", "error", "error low", "error high", "expected", "difference",
               "difference low", "difference high", "p")  # fmt: skip
    FIGURE, MAIN = "plot_slices", ("highest", "error")

    @property
    def wrong(self) -> torch.Tensor:
        """bool [n], whether each whole image is called otherwise than by its class."""
        return self.answers != self.class_index[self.labels]

    @property
    def clean(self) -> CleanRates:
        """`CleanRates` of the whole images."""
        counts = Confusion.count(self.labels, self.answers.long(), len(self.classes), self.record["logits"])
        return CleanRates.of_confusion(self.classes, counts, self.class_index)

    @property
    def counts(self) -> torch.Tensor:
        """int64 [S], images of each slice."""
        return torch.bincount(self.slice_of, minlength=len(self.slices))

    def errors(self) -> dict:
        """Of each slice, float64 [S] or [S, 2]: "error" (share of its images called wrong), its Wilson "interval";
        "expected" by its classes alone (the mean over its images of the error of their class); "difference" to the
        error of all other images, "difference interval" (Newcombe's); "p", of Fisher's exact test of the two, by Holm's
        rule for all slices."""
        wrong, counts, confidence = self.wrong.long(), self.counts, self.definition["confidence"]
        hits = torch.zeros_like(counts).index_add_(0, self.slice_of, wrong)
        others, all_hits = counts.sum() - counts, hits.sum()
        by_class = torch.zeros(len(self.classes), dtype=torch.float64).index_add_(0, self.labels, wrong.double())
        by_class /= torch.bincount(self.labels, minlength=len(self.classes)).clamp_min(1)
        expected = torch.zeros(len(counts), dtype=torch.float64).index_add_(0, self.slice_of, by_class[self.labels])
        tests = [
            fisher_exact(h, n, int(all_hits) - h, int(counts.sum()) - n) if n and n < len(wrong) else math.nan
            for h, n in zip(hits.tolist(), counts.tolist(), strict=True)
        ]
        return {
            "error": hits.double() / counts, "interval": wilson(hits, counts, confidence),
            "expected": expected / counts,
            "difference": hits.double() / counts - (all_hits - hits).double() / others,
            "difference interval": newcombe(hits, counts, all_hits - hits, others, confidence),
            "p": torch.from_numpy(np.asarray(holm(tests))),
        }  # fmt: skip

    @property
    def frequency(self) -> torch.Tensor:
        """float64 [S]: the mean over each slice's images of their mean frequency by power, cycles/image."""
        middle = centroid(self.energies, self.edges)
        return torch.zeros(len(self.slices), dtype=torch.float64).index_add_(0, self.slice_of, middle) / self.counts

    def drift(self) -> tuple[list, list]:
        """The mean cosine of each filter, and its interval [low, high] over images drawn anew; None where no image has
        one."""
        known = self.cosine.isfinite()
        sums = torch.cat([self.cosine.nan_to_num(), known.double()])
        if not len(self.filters):
            return [], []
        drawn = redrawn_sums(sums, self.definition["resamples"], self.definition["seed"])
        means, found, limits = self.cosine.nanmean(1).tolist(), [], []
        for k, mean in enumerate(means):
            values = drawn[:, k] / drawn[:, len(means) + k]
            found.append(mean if math.isfinite(mean) else None)
            limits.append(percentiles(values, self.definition["confidence"], mean))
        return found, limits

    @property
    def names(self) -> list:
        """K strings, as "low, below 8"."""
        return [f"{kind}, {words_of(limits)}" for kind, limits in zip(self.filters, self.limits.tolist(), strict=True)]

    def cells(self):
        found = self.errors()
        columns = [found["error"], *found["interval"].T, found["expected"], found["difference"],
                   *found["difference interval"].T, found["p"]]  # fmt: skip
        return [self.slices, self.counts, self.frequency, *(_none(one) for one in columns)]

    def rows(self):
        """ "error" of every slice (field group) and of all images, "error difference" to the others, and "cosine" and
        "top-1" of every filter (fields filter and radius: where a low-pass ends, others begin)."""
        about = rows.of_record(self.record, definition=self.definition["quantity"])
        confidence, found, wrong = self.definition["confidence"], self.errors(), self.wrong
        made = rows.shares([""], "error", [int(wrong.sum())], [len(wrong)], confidence, **about)
        for s, name in enumerate(self.slices):
            number, some = int(self.counts[s]), {**about, "group": name}
            made += rows.shares([""], "error", [int(wrong[self.slice_of == s].sum())], [number], confidence, **some)
            made += rows.values([""], "error difference", found["difference"][s, None], [number],
                                found["difference interval"][s, None], **some)  # fmt: skip
        index = self.class_index[self.labels]
        for k, (mean, (low, high)) in enumerate(zip(*self.drift(), strict=True)):
            inner, outer = self.limits[k].tolist()
            some = {**about, "filter": self.filters[k], "radius": outer if self.filters[k] == "low" else inner}
            made.append(rows.tidy(**some, metric="cosine", value=mean, low=low, high=high,
                                  n=int(self.cosine[k].isfinite().sum())))  # fmt: skip
            made += rows.shares([""], "top-1", [int((self.seen[k] == index).sum())], [len(index)], confidence, **some)
        return made

    @classmethod
    def checked(cls, values, path):
        n, slices = len(values["labels"]), len(values["slices"])
        in_range(values["labels"], 0, len(values["classes"]) - 1, path, "labels")
        in_range(values["slice_of"], 0, slices - 1, path, "slice_of")
        in_range(values["examples"], -1, n - 1, path, "examples")
        if not {*values["filters"]} <= {*FILTERS}:
            raise UsageError(f"{path}: filters must be some of {', '.join(FILTERS)}.")
        if len(values["edges"]) != values["energies"].shape[1] + 1:
            raise UsageError(f"{path}: the tensor edges must have one number more than energies has columns.")
        return values


def words_of(limits):
    """What a filter keeps, in words."""
    low, high = limits
    if math.isinf(high):
        return f"from {low:g}"
    return f"{low:g} to {high:g}" if low else f"below {high:g}"


def _none(values):
    return [value if math.isfinite(value) else None for value in values.tolist()]
