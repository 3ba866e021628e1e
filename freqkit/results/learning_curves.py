"""In which order the classes are learned."""

from dataclasses import dataclass, field

import torch

from freqkit.errors import UsageError
from freqkit.files.reading import in_range
from freqkit.results import rows
from freqkit.results.confusion import Confusion, Counts
from freqkit.results.result import Result, TensorFile

FORMAT = "freqkit-learning-1"


@dataclass
class LearningCurves(Result):
    """Confusion matrices at T moments of a training.

    Source of the idea: Wang, Veldhuis, Brune, Strisciuglio, ICCV 2023 (arXiv 2307.09829): F1 of each class over
    the first iterations tells what a network picks up first.

    Attributes:
        classes: C names.
        steps: int64 [T], iterations done; 0: before training.
        confusion: int64 [T, C, L], counts [true, predicted]; class i is logit i.
        definition, record: JSON-ready dicts.
    """

    classes: list
    steps: torch.Tensor
    confusion: torch.Tensor
    definition: dict = field(default_factory=dict)
    record: dict = field(default_factory=dict)

    FILE = TensorFile(
        FORMAT, "a file of learning curves", {"steps": "int64 T", "confusion": "int64 T C L"},
        {"classes": [str], "definition": dict, "record": dict},
    )  # fmt: skip
    FIGURE = "learning_curves"
    MAIN = ("highest", "accuracy")

    @property
    def f1(self):
        """float64 [T, C], `2 TP / (P + predicted)`; 0 for a class that is never predicted, NaN without images."""
        return Confusion(self.confusion).f1

    @property
    def accuracy(self):
        """float64 [T]."""
        return Confusion(self.confusion).accuracy

    def learned_at(self, level=0.8):
        """Iteration from which on a class's F1 is at least `level` at every later moment; None: it never is.

        Example:
            >>> import torch
            >>> confusion = torch.tensor([[[2, 0], [2, 0]], [[2, 0], [0, 2]]])
            >>> LearningCurves(["a", "b"], torch.tensor([0, 10]), confusion).learned_at(0.9)
            {'a': 10, 'b': 10}
        """
        there = self.f1 >= level
        stays = there.flip(0).cumprod(0).flip(0).bool()
        first = [column.nonzero()[0] if column.any() else None for column in stays.T]
        return {name: None if i is None else int(self.steps[i]) for name, i in zip(self.classes, first, strict=True)}

    @property
    def columns(self):
        return ("step", "accuracy", *self.classes)

    def cells(self):
        """One line per moment: step, accuracy, and F1 by class name."""
        return [self.steps, self.accuracy, *self.f1.T]

    def rows(self):
        found, whole = [], Confusion(self.confusion)
        for step, f1, *counts in zip(
            self.steps.tolist(), self.f1, whole.counts, whole.correct, whole.called, strict=True
        ):
            where = rows.of_record(self.record, step=step)
            found += rows.rates(self.classes, Counts(*counts), **where)
            found += rows.values(self.classes, "F1", f1, counts[0], **where)
        return found

    @classmethod
    def checked(cls, values, path):
        in_range(values["confusion"], 0, 2**53, path, "confusion")
        in_range(values["steps"], 0, 2**53, path, "steps")
        if values["confusion"].shape[2] < len(values["classes"]):
            raise UsageError(f"{path}: the tensor confusion must have a column for every class.")
        return values
