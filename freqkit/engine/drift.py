"""How far versions of images move in the space of a layer: accumulators."""

import numpy as np
import torch

from freqkit.engine.accumulators import Accumulator
from freqkit.engine.features import Layer, Tap


class FeatureRows(Accumulator):
    """A layer's features of each image under each version, flattened: [K, n, D], float32 or (of a float64 network)
    float64."""

    name = "rows"

    def __init__(self, layer: Layer):
        self.taps = (Tap(layer, lambda features: features.flatten(1).double()),)

    @property
    def kind(self):
        return np.float64 if self.scorer.forward.compute is torch.float64 else np.float32

    def shape(self, versions, classes, logits):
        (found,) = self.scorer.tapped_shapes(self.taps)
        return versions, len(self.labels), found[0]

    def layout(self, versions, images):
        return "f", (versions, len(images), self.sums.shape[2])

    def keep(self, outputs, images):
        return outputs.features[0].astype(self.kind)

    def add(self, found, versions, images):
        self.sums[versions, images.start : images.stop] = found


class Cosine(Accumulator):
    """The cosine between a layer's features of each image under each version and those of a reference: float64 [K, n];
    NaN where one of them is 0 everywhere.

    Args:
        layer: whose features. reference: real [n, D].
    """

    name, kind = "cosine", np.float64

    def __init__(self, layer: Layer, reference: torch.Tensor):
        self.taps = (Tap(layer, lambda features: features.flatten(1).double()),)
        self.reference = reference.double().numpy()

    def shape(self, versions, classes, logits):
        return versions, len(self.labels)

    def layout(self, versions, images):
        return "f", (versions, len(images))

    def keep(self, outputs, images):
        seen, whole = outputs.features[0], self.reference[images.start : images.stop]
        with np.errstate(invalid="ignore", divide="ignore"):
            lengths = np.sqrt(np.square(seen).sum(-1) * np.square(whole).sum(-1))
            return ((seen * whole).sum(-1) / lengths).clip(-1, 1)

    def add(self, found, versions, images):
        self.sums[versions, images.start : images.stop] = found
