"""What was found of the frequencies that carry answers: sets, contributions and curves of every image."""

import math
from dataclasses import dataclass, field

import numpy as np
import torch

from freqkit.errors import UsageError
from freqkit.files.reading import in_range
from freqkit.files.whole import RECORD
from freqkit.measures.attribute.sets import KEEP, REMOVE
from freqkit.results import rows
from freqkit.results.result import Result, TensorFile
from freqkit.statistics import drawn_anew, percentiles, wilson

FORMAT = "freqkit-attribute-1"
SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)  # of the frequencies, at which rows say how many images keep their answer
KINDS = (KEEP, REMOVE)


@dataclass
class AttributeResult(Result):
    """Frequencies that carry the answers to n images of H x W.

    Attributes:
        classes: names of the C answers that came.
        names: of the images.
        answers: int64 [n], the place in `classes` of the answer to each whole image. logits: int64 [C], of `classes`.
        labels: int64 [n], the logit of each image's class; -1 where it has none.
        probability: float64 [n], of the answer, for the whole image.
        odds: float64 [n, 2], log-odds of the answer for the empty spectrum and for the full one.
        attribution: float32 [n, H, W], centred (DC at `[H//2, W//2]`): what each bin contributes to the log-odds;
            both bins of a pair have half of it.
        keeps: uint8 [n, H, W], centred: 1 on the smallest set found that alone keeps the answer; nowhere where the
            empty spectrum (the mean colour) keeps it.
        removes: uint8 [n, H, W], the same of the smallest set found without which the answer is another; nowhere where
            none was found.
        removable: uint8 [n], whether one was found.
        ranked: float64 [n, 2], the share of bins that suffices to keep and to remove it when they are taken by
            attribution alone; NaN where no share does.
        numbers: int64 [T], bins inserted or deleted at each point of the curves, less those of which only the pair
            counts.
        insertion, deletion: float32 [n, T], the answer's probability once so many pairs were inserted into the empty
            spectrum, or deleted from the full one; those of the set come first, by attribution, then the others.
        insertion_power, deletion_power: float32 [n, T], the share of the image's power in these pairs.
        pictures: uint8 [m, 3, H, W], the first images. kept, without: float32 [m, 3, H, W], what `keeps` leaves of
            them, and what is left without `removes`; in [0, 1] where nothing is removed.
        definition, record: JSON-ready dicts.
    """

    classes: list
    names: list
    answers: torch.Tensor
    logits: torch.Tensor
    labels: torch.Tensor
    probability: torch.Tensor
    odds: torch.Tensor
    attribution: torch.Tensor
    keeps: torch.Tensor
    removes: torch.Tensor
    removable: torch.Tensor
    ranked: torch.Tensor
    numbers: torch.Tensor
    insertion: torch.Tensor
    deletion: torch.Tensor
    insertion_power: torch.Tensor
    deletion_power: torch.Tensor
    pictures: torch.Tensor
    kept: torch.Tensor
    without: torch.Tensor
    definition: dict = field(default_factory=dict)
    record: dict = field(default_factory=dict)

    FILE = TensorFile(
        FORMAT, "a file of `attribute`",
        {"answers": "int64 n", "logits": "int64 C", "labels": "int64 n", "probability": "float64 n",
         "odds": "float64 n 2", "attribution": "float32 n H W", "keeps": "uint8 n H W", "removes": "uint8 n H W",
         "removable": "uint8 n", "ranked": "float64 n 2", "numbers": "int64 T", "insertion": "float32 n T",
         "deletion": "float32 n T", "insertion_power": "float32 n T", "deletion_power": "float32 n T",
         "pictures": "uint8 m 3 H W", "kept": "float32 m 3 H W", "without": "float32 m 3 H W"},
        {"classes": [str], "names": [str], "record": RECORD,
         "definition": {"quantity": str, "confidence": float, "quantile": float, "resamples": int, "seed": int}},
        {"C": "classes", "n": "names"},
    )  # fmt: skip
    COLUMNS = ("image", "answer", "probability", "keeps", "removes", "insertion", "deletion", "insertion by power",
               "deletion by power")  # fmt: skip
    FIGURE = "plot_attribute"
    MAIN = ("lowest", "keeps")

    @property
    def share(self) -> torch.Tensor:
        """float64 [n, 2]: share of the bins in the sets that keep and remove; NaN where none removes."""
        found = torch.stack([self.keeps, self.removes], 1).double().mean((2, 3))
        found[:, 1][self.removable == 0] = math.nan
        return found

    @property
    def areas(self) -> dict:
        """ "insertion", "deletion", and "... by power": float64 [n], the mean probability over the share of the pairs
        (or of the power) inserted or deleted, by trapezes."""
        count = (self.numbers.double() / self.numbers[-1]).expand(len(self.answers), -1)
        found = {}
        for name in ("insertion", "deletion"):
            y = getattr(self, name).double()
            for word, x in (("", count), (" by power", getattr(self, f"{name}_power").double())):
                found[f"{name}{word}"] = ((x[:, 1:] - x[:, :-1]) * (y[:, 1:] + y[:, :-1]) / 2).sum(1)
        return found

    def needed(self, level: float | None = None, of: int | None = None) -> tuple[list, list]:
        """The share of frequencies with which a share of the images keeps its answer, or loses it.

        Args:
            level: the share of the images; None: `definition["quantile"]`. of: an answer; None: all images.

        Returns:
            ([to keep, to remove], their intervals [low, high] over images drawn anew); None where too few lose it.
        """
        level = self.definition["quantile"] if level is None else level
        shares = self.share.nan_to_num(math.inf)
        shares = shares if of is None else shares[self.answers == of]
        if not len(shares):
            return [None, None], [[None, None]] * 2
        drawn = drawn_anew(range(len(shares)), self.definition["resamples"], self.definition["seed"])
        found, limits = [], []
        for values in shares.T.numpy():
            order = np.argsort(values, kind="stable")
            at = [_quantile(values[order], counts[:, order], level) for counts in (np.ones_like(drawn[:1]), drawn)]
            value = float(at[0][0])
            found.append(value if math.isfinite(value) else None)
            limits.append(percentiles(torch.from_numpy(at[1]), self.definition["confidence"], value)
                          if math.isfinite(value) else [None, None])  # fmt: skip
        return found, limits

    def cells(self):
        areas = self.areas
        return [self.names, [self.classes[i] for i in self.answers.tolist()], self.probability, self.share[:, 0],
                _none(self.share[:, 1]), *(areas[name] for name in self.COLUMNS[5:])]  # fmt: skip

    def rows(self):
        """Of all images and of each answer: "frequencies that keep" and "frequencies that remove" (of the share of the
        images in the field threshold), and the mean "insertion" and "deletion" areas; of all images "answer kept" by no
        more than a share of the frequencies (threshold)."""
        about = rows.of_record(self.record, definition=self.definition["quantity"])
        confidence, found = self.definition["confidence"], []
        for place, name in [(None, ""), *enumerate(self.classes)]:
            some = torch.ones_like(self.answers, dtype=torch.bool) if place is None else self.answers == place
            number = int(some.sum())
            for metric, value, (low, high) in zip(KINDS, *self.needed(of=place), strict=True):
                where = {**about, "class": name, "threshold": self.definition["quantile"]}
                found.append(rows.tidy(**where, metric=f"frequencies that {metric}", value=value, low=low, high=high,
                                       n=number))  # fmt: skip
            for metric, area in self.areas.items():
                low, high = self._mean_interval(area[some])
                found.append(rows.tidy(**{**about, "class": name}, metric=metric, value=float(area[some].mean()),
                                       low=low, high=high, n=number))  # fmt: skip
        for share in SHARES:
            hits = int((self.share[:, 0] <= share).sum())
            found += rows.shares([""], "answer kept", [hits], [len(self.names)], confidence,
                                 **{**about, "threshold": share})  # fmt: skip
        return found

    def kept_by(self, shares: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The share of the images whose answer no more than some shares of the frequencies keep [S], and remove [S],
        and the Wilson intervals of both [2, S, 2]."""
        n = len(self.names)
        hits = (self.share.T.nan_to_num(math.inf)[:, None] <= shares[:, None]).sum(2)
        limits = wilson(hits.flatten(), torch.full((hits.numel(),), n), self.definition["confidence"])
        return hits[0].double() / n, hits[1].double() / n, limits.view(2, len(shares), 2)

    def _mean_interval(self, values):
        drawn = drawn_anew(range(len(values)), self.definition["resamples"], self.definition["seed"])
        means = torch.from_numpy(drawn.astype(float)) @ values / len(values)
        return percentiles(means, self.definition["confidence"], float(values.mean()))

    @classmethod
    def checked(cls, values, path):
        n = len(values["names"])
        in_range(values["answers"], 0, max(0, len(values["classes"]) - 1), path, "answers")
        for name in ("keeps", "removes", "removable"):
            in_range(values[name], 0, 1, path, name)
        if len(values["pictures"]) > n:
            raise UsageError(f"{path}: there must be no more pictures than images, {n}.")
        if not len(values["numbers"]) or int(values["numbers"][-1]) < 1:
            raise UsageError(f"{path}: the tensor numbers must rise from 0 to the number of pairs.")
        return values


def _none(values):
    return [None if math.isnan(value) else value for value in values.tolist()]


def _quantile(values, counts, level):
    """The least of rising values that a share of all draws [B, n] does not exceed: float64 [B]."""
    reached = counts.cumsum(1) >= level * counts.sum(1, keepdims=True) - 1e-9
    return values[reached.argmax(1)]
