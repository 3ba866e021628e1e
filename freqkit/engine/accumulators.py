"""What is kept of the outputs of a model that `freqkit.engine.Scorer.show` shows versions of images."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from freqkit.engine.batches import sums
from freqkit.engine.features import Layer, Tap


class Outputs(NamedTuple):
    """Of a tile: loss float64 [k, b], predicted logit int64 [k, b], the logits [k, b, L] if they were wanted, and what
    the taps of an accumulator made of its layers, [k, b, ...] each."""

    loss: np.ndarray
    predicted: np.ndarray
    logits: np.ndarray | None
    features: tuple = ()


class Accumulator:
    """Takes outputs tile by tile; each writes what it needs of a tile into the journal.

    Attributes:
        value: the result, once all is shown. wants_logits: whether it needs them. taps: `freqkit.engine.features.Tap`s,
            the layers that it needs (of a scorer of form "eager").
    """

    wants_logits = False
    taps: Sequence = ()
    value: Any = None

    def begin(self, scorer: Any, versions: int) -> None:
        """All that is to come: so many versions of the images of a `Scorer`."""
        self.scorer, self.labels = scorer, scorer.labels
        self.sums = np.zeros(self.shape(versions, len(scorer.classes), scorer.logits), self.kind)

    def end(self, sums: np.ndarray) -> None:
        """What all tiles came to."""
        self.value = torch.from_numpy(sums)


class TakenFor(Accumulator):
    """How many images of each class each version made the model take for each logit: int64 [K, C, L]."""

    name, kind = "predicted", np.int64

    def shape(self, versions, classes, logits):
        return versions, classes, logits

    def layout(self, versions, images):
        return "i", (versions, len(images))

    def keep(self, outputs, images):
        return outputs.predicted.astype(np.int32)

    def add(self, found, versions, images):
        logits = self.sums.shape[2]
        column = self.labels[images.start : images.stop].numpy() * logits + found
        counts = sums(column, None, self.sums.shape[1] * logits, np.int64)
        self.sums[versions] += counts.reshape(-1, *self.sums.shape[1:])


Confusion = TakenFor  # as it was called in 0.1.0, like `freqkit.results.confusion.Confusion`, which is made of it


class Correct(Accumulator):
    """How many images of each class each version leaves recognised: int64 [K, C]."""

    name, kind = "correct", np.int64

    def shape(self, versions, classes, logits):
        self.logit = torch.as_tensor(self.scorer.class_index).cpu().numpy()
        return versions, classes

    def layout(self, versions, images):
        return "i", (versions, self.sums.shape[1])

    def keep(self, outputs, images):
        labels = self.labels[images.start : images.stop]
        right = outputs.predicted == self.logit[labels.numpy()]
        return sums(labels, right, self.sums.shape[1], np.int64).astype(np.int32)

    def add(self, found, versions, images):
        self.sums[versions] += found


class Answers(Accumulator):
    """What each image is taken for under each version: int64 [K, n].

    Args:
        decide: None: the logit that won; or a function of logits, as a tensor [..., L], that gives the answers [...].
    """

    kind = np.int64

    def __init__(self, decide: Callable[[torch.Tensor], torch.Tensor] | None = None):
        self.decide, self.wants_logits = decide, decide is not None
        self.name = "answers" if self.wants_logits else "predicted"

    def shape(self, versions, classes, logits):
        return versions, len(self.labels)

    def layout(self, versions, images):
        return "i", (versions, len(images))

    def keep(self, outputs, images):
        found = outputs.predicted if self.decide is None else self.decide(torch.from_numpy(outputs.logits)).numpy()
        return found.astype(np.int32)

    def add(self, found, versions, images):
        self.sums[versions, images.start : images.stop] = found


class ClassLoss(Accumulator):
    """The mean cross-entropy of each class under each version: float64 [K, C]; NaN for a class without images."""

    name, kind = "loss", np.float64

    def shape(self, versions, classes, logits):
        return versions, classes

    def layout(self, versions, images):
        return "f", (versions, len(self._present(images)))

    def keep(self, outputs, images):
        labels = self.labels[images.start : images.stop]
        return sums(labels, outputs.loss, self.sums.shape[1], np.float64)[:, self._present(images)]

    def add(self, found, versions, images):
        self.sums[versions, self._present(images)] += found

    def end(self, sums):
        with np.errstate(invalid="ignore"):
            super().end(sums / self.scorer.counts.numpy())

    def _present(self, images):
        return self.labels[images.start : images.stop].unique().numpy()


class Logits(Accumulator):
    """All logits, as the network gives them: [K, n, L], float32 or (of a float64 network) float64."""

    name, wants_logits = "logits", True

    @property
    def kind(self):
        return np.float64 if self.scorer.forward.compute is torch.float64 else np.float32

    def shape(self, versions, classes, logits):
        return versions, len(self.labels), logits

    def layout(self, versions, images):
        return "f", (versions, len(images), self.sums.shape[2])

    def keep(self, outputs, images):
        return outputs.logits.astype(self.kind)

    def add(self, found, versions, images):
        self.sums[versions, images.start : images.stop] = found


class FeatureSums(Accumulator):
    """Sums over each class's images of a layer's features: float64 [K, C, D + 1], the last place the sums of their
    squared lengths.

    Args:
        layer: whose features, flattened to D numbers an image.
    """

    name, kind = "features", np.float64

    def __init__(self, layer: Layer):
        self.taps = (Tap(layer, lambda features: features.flatten(1).double()),)

    def shape(self, versions, classes, logits):
        (found,) = self.scorer.tapped_shapes(self.taps)
        return versions, classes, found[0] + 1

    def layout(self, versions, images):
        return "f", (versions, len(self._present(images)), self.sums.shape[2])

    def keep(self, outputs, images):
        labels = self.labels[images.start : images.stop]
        made, present = outputs.features[0], self._present(images)
        made = np.concatenate([made, np.square(made).sum(2, keepdims=True)], 2)
        return np.stack([made[:, labels.numpy() == c].sum(1) for c in present], 1)

    def add(self, found, versions, images):
        self.sums[versions, self._present(images)] += found

    def _present(self, images):
        return self.labels[images.start : images.stop].unique().numpy()
