"""Scores of masks: losses and counts per mask and class."""

from dataclasses import dataclass, field, replace

import torch


@dataclass
class Scores:
    """Scores of K masks over C classes; every tensor on the CPU.

    Attributes:
        loss: float64 [K, C]. "class-mean": mean cross-entropy of the class's images. "published-batches" and
            "published-batches-of-class": the losses of the released HFSS and DFM code, see
            `freqkit.engine.score`. Infinity for a mask that was stopped.
        correct: int64 [K, C], images of class c recognised as c.
        predicted: int64 [K, C], images of any class recognised as c; -1 where not asked (where masks are stopped).
        counts: int64 [C], images of class c.
        classes: C names.
        reduction: which loss this is.
        record: how it was computed (batch size, forwards), plain JSON values.
        images: number of images scored, of all classes; the sum of `counts` when not given.
        samples: when asked for, "loss" float32 [K, n] and "answer" int32 [K, n] (the logit of largest value), in
            the order of the images.
        still: when asked for, int64 [K, C]: of `correct`, those images that are recognised whole, too.
    """

    loss: torch.Tensor
    correct: torch.Tensor
    predicted: torch.Tensor
    counts: torch.Tensor
    classes: list
    reduction: str = "class-mean"
    record: dict = field(default_factory=dict)
    images: int | None = None
    samples: dict | None = None
    still: torch.Tensor | None = None

    def __post_init__(self):
        if self.images is None:
            self.images = int(self.counts.sum())

    def __repr__(self):
        masks, classes = self.loss.shape
        least = self.loss[self.loss.isfinite()]
        found = f", lowest loss {least.min():.3g}" if len(least) else ""
        return f"Scores({masks:,} masks, {classes:,} classes, {self.images:,} images{found})"

    @property
    def tpr(self):
        """float64 [K, C]: correct / counts; NaN for a class without images, or a mask that was stopped."""
        return (self.correct.double() / self.counts.double()).masked_fill(self.loss.isinf(), torch.nan)

    @property
    def fpr(self):
        """float64 [K, C]: share of the other classes' images recognised as c; NaN where there are none."""
        wrong = (self.predicted - self.correct).double() / (self.images - self.counts).double()
        return wrong.masked_fill(self.predicted < 0, torch.nan)

    @property
    def tpr_minus_fpr(self):
        """float64 [K, C]."""
        return self.tpr - self.fpr

    def plot(self, *args, **kwargs):
        """The best loss of each class as masks are tried; see `freqkit.report.plot_scores`."""
        from freqkit.report import plot_scores

        return plot_scores(self, *args, **kwargs)

    def rank(self, top):
        """int64 [C, min(top, K)]: for each class the masks of lowest loss, best first; ties go to the lower
        index.

        Example:
            >>> import torch
            >>> loss = torch.tensor([[2.0, 1.0], [1.0, 1.0], [3.0, 0.5]], dtype=torch.float64)
            >>> ones = torch.ones(3, 2, dtype=torch.int64)
            >>> Scores(loss, ones, ones, ones[0], ["a", "b"]).rank(2).tolist()
            [[1, 0], [2, 0]]
        """
        if top < 1:
            raise ValueError(f"rank: top must be at least 1; got {top}.")
        return torch.sort(self.loss, dim=0, stable=True).indices[:top].T.contiguous()

    def __len__(self):
        return len(self.loss)

    def take(self, indices):
        """The scores of some masks, in the order of `indices`."""
        return self._each(lambda values: values[indices])

    def join(self, other):
        """These scores and then `other`'s, over the same classes and images."""
        both = self.still is not None and other.still is not None
        joined = {
            name: torch.cat([getattr(self, name), getattr(other, name)]) for name in ("loss", "correct", "predicted")
        }
        return replace(self, **joined, still=torch.cat([self.still, other.still]) if both else None, samples=None)

    def take_classes(self, indices):
        """The scores of some classes. `fpr` still counts the images of all classes."""
        chosen = {"counts": self.counts[indices], "classes": [self.classes[i] for i in indices]}
        return replace(self._each(lambda values: values[:, indices]), **chosen)

    def _each(self, pick):
        """With a part of every tensor [K, C]."""
        parts = {name: pick(getattr(self, name)) for name in ("loss", "correct", "predicted")}
        return replace(self, **parts, still=None if self.still is None else pick(self.still), samples=None)
