"""In which order the classes are learned."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch

from freqkit.errors import UsageError
from freqkit.files.reading import in_range, read_tensors
from freqkit.files.whole import write_csv, write_safetensors

FORMAT = "freqkit-learning-1"


@dataclass
class LearningCurves:
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

    @property
    def f1(self):
        """float64 [T, C], `2 TP / (P + predicted)`; 0 for a class that is never predicted, NaN without images."""
        hits = self.confusion.diagonal(dim1=1, dim2=2)[:, : len(self.classes)].double()
        actual = self.confusion.sum(2).double()
        predicted = self.confusion.sum(1)[:, : len(self.classes)].double()
        return torch.where(actual > 0, 2 * hits / (actual + predicted), float("nan"))

    @property
    def accuracy(self):
        """float64 [T]."""
        return self.confusion.diagonal(dim1=1, dim2=2).sum(1).double() / self.confusion.sum((1, 2))

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

    def table(self):
        """One dict per moment: step, accuracy, and F1 by class name."""
        rows = zip(self.steps.tolist(), self.accuracy.tolist(), self.f1.tolist(), strict=True)
        return [{"step": s, "accuracy": a, **dict(zip(self.classes, f1, strict=True))} for s, a, f1 in rows]

    def plot(self, *args, **kwargs):
        """F1 of each class; see `freqkit.report.learning_curves`."""
        from freqkit.report import learning_curves

        return learning_curves(self, *args, **kwargs)

    def save(self, path):
        """Write one safetensors file, atomically, and beside it the table as .csv."""
        path = Path(path)
        header = {name: json.dumps(getattr(self, name)) for name in ("classes", "definition", "record")}
        tensors = {"steps": self.steps, "confusion": self.confusion}
        write_safetensors(path, tensors, {"format": FORMAT, **header})
        write_csv(path.with_suffix(".csv"), ["step", "accuracy", *self.classes], self.table())

    @classmethod
    def load(cls, path):
        """Read what `save` wrote.

        Raises:
            UsageError: the file is no file of learning curves.
        """
        facts = {"classes": [str], "definition": dict, "record": dict}
        tensors = {"steps": "int64 T", "confusion": "int64 T C L"}
        tensors, about = read_tensors(
            path, "a file of learning curves", format=FORMAT, tensors=tensors, facts=facts, sizes={"C": "classes"}
        )
        in_range(tensors["confusion"], 0, 2**53, path, "confusion")
        in_range(tensors["steps"], 0, 2**53, path, "steps")
        if tensors["confusion"].shape[2] < len(about["classes"]):
            raise UsageError(f"{path}: the tensor confusion must have a column for every class.")
        return cls(**tensors, **about)
