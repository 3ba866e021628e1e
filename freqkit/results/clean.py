"""What a network makes of whole images, before anything is filtered: whether it is the network that was meant."""

from dataclasses import dataclass

import torch

from freqkit.errors import UsageError
from freqkit.results.confusion import Confusion, Tally
from freqkit.statistics import wilson

NAMED = 4  # classes named in a caution
CLEAN_COLUMNS = ("clean TPR", "clean FPR", "recognised whole", "still recognised")
ABOVE_CHANCE = 1 / 8  # of the way from chance to all right: what is not surely above it is near chance


@dataclass
class CleanRates(Tally):
    """Answers to whole images, of C classes that have images.

    A network whose weights, normalisation, channels or order of classes are not those it was trained with gives
    answers like any other; only its clean accuracy tells.

    Attributes:
        classes: C names.
        counts: int64 [C], images of each class.
        correct: int64 [C], those of them that are recognised.
        called: int64 [C], images of any class that are called this one.
        mostly: C pairs (name, count): what the class's images are called most often.
        logits: how many names the network can give.
        still: int64 [C], of the `correct` images those that are recognised through the class's map, too; None where
            that is not known.

    Example:
        >>> import torch
        >>> clean = CleanRates.of_confusion(["a", "b"], torch.tensor([[1, 9], [8, 2]]), torch.tensor([0, 1]))
        >>> clean.accuracy, clean.tpr.tolist(), clean.near_chance
        (0.15, [0.1, 0.2], True)
        >>> print(clean.cautions()[1])
        Most images of a are called b, most of b are called a: the order of the classes may not be the network's.
    """

    classes: list
    counts: torch.Tensor
    correct: torch.Tensor
    called: torch.Tensor
    mostly: list
    logits: int
    still: torch.Tensor | None = None

    @classmethod
    def of_confusion(cls, classes, confusion, class_index, still=None, *, kept=None):
        """From counts int64 [C, L], true class by logit; classes without images are left out.

        Args:
            class_index: int64 [C], the logit of each class.
            kept: int64, the classes that it shall be of; None: those that have images.
        """
        found = Confusion(confusion, torch.as_tensor(class_index).cpu())
        name = {int(logit): label for label, logit in zip(classes, found.class_index.tolist(), strict=True)}
        there = found.counts.nonzero().flatten() if kept is None else kept
        most, at = confusion[there].max(1)
        return cls(
            [classes[c] for c in there.tolist()], found.counts[there], found.correct[there], found.called[there],
            [(name.get(k, f"logit {k}"), n) for k, n in zip(at.tolist(), most.tolist(), strict=True)],
            confusion.shape[1], still,
        )  # fmt: skip

    @property
    def record(self):
        """JSON-ready, for run.json; `of_record` reads it."""
        return {
            "correct": self.correct.tolist(),
            "called": self.called.tolist(),
            "mostly": [list(pair) for pair in self.mostly],
            "logits": self.logits,
            "still": None if self.still is None else self.still.tolist(),
        }

    @classmethod
    def of_record(cls, record, classes, counts):
        """What a run's record says of `classes` with `counts` images; None of a run that was not asked.

        Raises:
            UsageError: it does not say one number of each class, or more images are recognised than there are.
        """
        known = (record or {}).get("clean")
        if not known:
            return None
        for name in ("correct", "called", "mostly", "still"):
            if known.get(name) is not None and len(known[name]) != len(classes):
                raise UsageError(
                    f"run.json: clean.{name} must hold one of each of the {len(classes)} classes; got"
                    f" {len(known[name])}."
                )
        given = torch.as_tensor(counts).tolist()
        for least, most in ((known.get("still"), known["correct"]), (known["correct"], given)):
            if least is not None and any(low > high for low, high in zip(least, most, strict=True)):
                raise UsageError("run.json: clean counts more images as recognised than there are of a class.")
        whole = {name: torch.tensor(known[name], dtype=torch.int64) for name in ("correct", "called")}
        still = known.get("still")
        return cls(
            list(classes), torch.as_tensor(counts), **whole, mostly=[tuple(pair) for pair in known["mostly"]],
            logits=known["logits"], still=None if still is None else torch.tensor(still, dtype=torch.int64),
        )  # fmt: skip

    def take(self, names):
        """Of some of the classes, in this order; `fpr` and what is said of all images belong to all classes."""
        at = [self.classes.index(name) for name in names]
        still = None if self.still is None else self.still[at]
        mostly = [self.mostly[i] for i in at]
        return CleanRates(list(names), self.counts[at], self.correct[at], self.called[at], mostly, self.logits, still)

    @property
    def images(self):
        return int(self.counts.sum())

    @property
    def accuracy(self):
        """Share of all images that are recognised."""
        return int(self.correct.sum()) / self.images

    @property
    def interval(self):
        """(low, high) of `accuracy`: Wilson's, 95%."""
        return tuple(wilson(self.correct.sum()[None], self.counts.sum()[None])[0].tolist())

    @property
    def still_recognised(self):
        """float64 [C], of the images that are recognised whole the share that is recognised through the class's map;
        NaN where none is, or where it is not known."""
        if self.still is None:
            return torch.full_like(self.tpr, torch.nan)
        return self.still.double() / self.correct

    @property
    def chance(self):
        """Accuracy of an answer drawn among all names."""
        return 1 / self.logits

    @property
    def near_chance(self):
        """Whether accuracy, or the mean over the classes, is not surely above chance: whether the lower end of the
        interval, or the mean itself, lies within an eighth of the way from chance to all right."""
        limit = self.chance + ABOVE_CHANCE * (1 - self.chance)
        return self.logits > 1 and (self.interval[0] <= limit or float(self.tpr.nanmean()) <= limit)

    def sentence(self):
        """How many whole images are recognised."""
        low, high = self.interval
        return (
            f"Whole images, before anything is filtered: {100 * self.accuracy:.1f}% of {self.images:,} are recognised"
            f" (95% interval {100 * low:.1f}–{100 * high:.1f}%); guessing among {self.logits:,} names would give"
            f" {_two_digits(100 * self.chance)}%"
            + (
                "; that is not surely more, so nothing below need be the network's as it was trained."
                * self.near_chance
            )
            + "." * (not self.near_chance)
        )

    def cautions(self):
        """What speaks against the network being the one that was meant: a list of sentences."""
        found = []
        if self.near_chance:
            low, high = self.interval
            found.append(
                f"Whole images are recognised in {100 * self.accuracy:.1f}% only ({int(self.correct.sum()):,} of"
                f" {self.images:,}, 95% interval {100 * low:.1f}–{100 * high:.1f}%), not surely more than guessing"
                f" among {self.logits:,} names ({_two_digits(100 * self.chance)}%): check weights, normalisation (mean,"
                " std), the order of channels and of classes before reading anything else."
            )
        if swapped := self.swapped():
            (first, other), *rest = swapped
            words = [f"Most images of {first} are called {other}", *(f"most of {a} are called {b}" for a, b in rest)]
            more = [f"and so on for {len(rest) - NAMED} more"] if len(rest) > NAMED else []
            words = ", ".join([*words[: 1 + NAMED], *more])
            found.append(f"{words}: the order of the classes may not be the network's.")
        seen = zip(self.classes, self.correct.tolist(), self.counts.tolist(), strict=True)
        none = [name for name, hits, count in seen if hits == 0 < count]
        if none and len(none) < len(self.classes):
            words = ", ".join(none[:NAMED]) + (f" and {len(none) - NAMED} more" if len(none) > NAMED else "")
            found.append(f"Not one whole image is recognised of {words} (clean TPR 0): nothing can be said of"
                         f" {'it' if len(none) == 1 else 'them'} through a map.")  # fmt: skip
        return found

    def swapped(self):
        """[(class, other name), ...] of the classes most of whose images (two at least) get one other name each, no
        name twice: two at least, or none."""
        taken = [
            (name, other)
            for name, count, (other, most) in zip(self.classes, self.counts.tolist(), self.mostly, strict=True)
            if other != name and 2 * most > count and most > 1  # one image says nothing of an order
        ]
        distinct = {other for _, other in taken}
        return taken if len(distinct) == len(taken) >= 2 else []


def _two_digits(value):
    """0.1234 -> '0.12', 33.3 -> '33', 100 -> '100'."""
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def clean_columns(clean, classes):
    """The values of `CLEAN_COLUMNS`, a list of so many `classes` each; None where they are not known, or of nothing."""
    if clean is None:
        return [[None] * classes for _ in CLEAN_COLUMNS]
    columns = (clean.tpr, clean.fpr, clean.correct, clean.still_recognised)
    return [[None if value != value else value for value in values.tolist()] for values in columns]
