"""Counts of answers, and every rate that follows from them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from freqkit.statistics import newcombe, wilson


class Tally:
    """The rates of what has `counts`, `correct` and `called`.

    Attributes:
        counts: int64 [.., C], images of each class.
        correct: int64 [.., C], those of them that are recognised.
        called: int64 [.., C], images of any class that are called this one.
    """

    counts: Tensor
    correct: Tensor
    called: Tensor

    @property
    def others(self) -> Tensor:
        """int64 [.., C], images of the other classes."""
        return self.counts.sum(-1, keepdim=True) - self.counts

    @property
    def tpr(self) -> Tensor:
        """float64 [.., C], share of the class's images that are recognised; NaN without images."""
        return self.correct.double() / self.counts

    @property
    def fpr(self) -> Tensor:
        """float64 [.., C], share of the other classes' images that are called this class."""
        return (self.called - self.correct).double() / self.others

    @property
    def precision(self) -> Tensor:
        """float64 [.., C], `correct / called`; NaN for a class that is never called."""
        return self.correct.double() / self.called

    @property
    def f1(self) -> Tensor:
        """float64 [.., C], `2 correct / (counts + called)`; NaN without images."""
        return torch.where(self.counts > 0, 2 * self.correct.double() / (self.counts + self.called), torch.nan)

    @property
    def accuracy(self):
        """float64 [..], share of all images that are recognised."""
        return self.correct.sum(-1).double() / self.counts.sum(-1)

    def intervals(self, confidence: float = 0.95) -> tuple[Tensor, Tensor, Tensor]:
        """Of TPR, FPR (Wilson's) and TPR - FPR (Newcombe's) of C classes: float64 [C, 2], low and high."""
        one, other = (self.correct, self.counts), (self.called - self.correct, self.others)
        return wilson(*one, confidence), wilson(*other, confidence), newcombe(*one, *other, confidence)


@dataclass
class Counts(Tally):
    """Three tensors, see `Tally`."""

    counts: Tensor
    correct: Tensor
    called: Tensor


@dataclass
class Confusion(Tally):
    """Counts of images by true class and by the logit that won.

    Attributes:
        matrix: int64 [.., C, L].
        class_index: int64 [C], the logit of each class; None: class i is logit i.

    Example:
        >>> import torch
        >>> found = Confusion(torch.tensor([[3, 1, 0], [1, 1, 2]]))
        >>> found.tpr.tolist(), found.fpr.tolist(), found.accuracy.item()
        ([0.75, 0.25], [0.25, 0.25], 0.5)
    """

    matrix: Tensor
    class_index: Tensor | None = None

    @staticmethod
    def count(labels: Tensor, answers: Tensor, classes: int, logits: int) -> Tensor:
        """int64 [C, L] of the classes int64 [n] of images, and of the logits that won."""
        return torch.bincount(labels * logits + answers, minlength=classes * logits).view(classes, logits)

    @property
    def _own(self):
        return torch.arange(self.matrix.shape[-2]) if self.class_index is None else self.class_index

    @property
    def counts(self) -> Tensor:  # type: ignore[override]
        return self.matrix.sum(-1)

    @property
    def correct(self) -> Tensor:  # type: ignore[override]
        return self.matrix[..., torch.arange(self.matrix.shape[-2]), self._own]

    @property
    def called(self) -> Tensor:  # type: ignore[override]
        return self.matrix.sum(-2)[..., self._own]

    def change(self, matrix: Tensor) -> Tensor:
        """float64 [.., C, L]: by how many percent of each class's images other counts differ from these."""
        return 100 * (matrix - self.matrix).double() / self.counts[..., None]
