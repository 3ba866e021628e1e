"""A network together with everything needed to ask it about an image."""

import math
import warnings

import torch
from torch import nn

from freqkit.errors import UsageError
from freqkit.models.normalisation import (
    begins_with_statistics,
    doubts,
    normalised_before_layers,
    own_normalisation,
    scale_fault,
)
from freqkit.models.weights import ModelWarning, state_sha256


class NormalisationWarning(ModelWarning):
    """A network gets its images in a normalisation that may not be the one it was trained with."""


class Classifier(nn.Module):
    """[0, 1] RGB images in, logits out: `network((x - mean) / std)`.

    Args:
        network: module that takes normalised images [B, 3, H, W] and returns logits [B, num_classes].
        mean, std: three numbers each, of the [0, 1] RGB channels; `std` positive. A network that normalises its input
            itself wants mean 0 and std 1: else a `NormalisationWarning` says so, and `doubts`.
        num_classes: number of logits.
        input_size: (H, W) the network was made for, or None when it takes any size.
        name: what to call it in tables.
        class_names: what the logits are called, in order, or None.
        transform: how images were made of files where it was published: `crop_pct`, `interpolation` and, if it is not
            "center", `crop_mode` as timm has them, or None.
        record: JSON-ready facts of its origin; see `record`.

    Attributes:
        doubts: sentences about a normalisation that may be wrong (twice, variances for std, BGR), on record as well.

    Raises:
        UsageError: for a mean or std that is not three finite numbers, or not of pixels in [0, 1] (123.675 is of
            0...255), or a std that is not positive.

    Example:
        >>> import torch
        >>> from freqkit.models import Classifier
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 4))
        >>> model = Classifier(network, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), num_classes=4)
        >>> model(torch.rand(2, 3, 8, 8)).shape
        torch.Size([2, 4])
    """

    def __init__(
        self, network, *, mean, std, num_classes, input_size=None, name="classifier", class_names=None, transform=None,
        record=None,
    ):  # fmt: skip
        super().__init__()
        self.network = network
        self.mean = channel_triple(mean, "mean")
        self.std = channel_triple(std, "std")
        if min(self.std) <= 0:
            raise UsageError(f"Classifier: std must be positive in every channel; got {self.std}.")
        if (fault := scale_fault(self.mean, self.std)) is not None:
            raise UsageError(f"Classifier: {fault}.")
        self.num_classes = int(num_classes)
        self.input_size = None if input_size is None else (int(input_size[0]), int(input_size[1]))
        self.name, self.class_names, self.transform = name, class_names, transform
        self._record = dict(record or {})
        self.doubts = list(self._record.pop("doubts", ()))
        if (*self.mean, *self.std) != (0, 0, 0, 1, 1, 1):
            own = own_normalisation(network, self.input_size) or begins_with_statistics(network)
            if not own and self._record.get("source") not in ("built-in", "timm", "study"):
                own = normalised_before_layers(network, self.input_size)
            if own:
                what = own if isinstance(own, str) else f"what it keeps as {', '.join(own[:3])}"
                self.doubts.append(
                    f"{name} normalises its input itself (by {what}), and mean and std come before that: its images are"
                    " normalised twice; with mean 0,0,0 and std 1,1,1 they are not"
                )
            self.doubts += [text for text in doubts(self.mean, self.std) if text not in self.doubts]
        for text in self.doubts:
            warnings.warn(f"{text}.", NormalisationWarning, stacklevel=2)
        # Not persistent: a state dict of the network is the published one and says nothing of normalisation.
        device = next((parameter.device for parameter in network.parameters()), None)
        for key, values in (("_mean", self.mean), ("_std", self.std)):
            self.register_buffer(key, torch.tensor(values, device=device).view(1, 3, 1, 1), persistent=False)

    def normalise(self, x):
        """`(x - mean) / std` per channel, in the dtype of `x` [B, 3, H, W]."""
        return (x - self._mean.to(x.dtype)) / self._std.to(x.dtype)

    def forward(self, x):
        if not x.is_floating_point():
            raise TypeError(f"Classifier: images must be floating point in [0, 1]; got {x.dtype}.")
        if x.ndim != 4 or x.shape[1] != 3:
            raise ValueError(f"Classifier: images must have shape [B, 3, H, W]; got {list(x.shape)}.")
        kinds = (parameter.dtype for parameter in self.network.parameters() if parameter.is_floating_point())
        logits = self.network(self.normalise(x).to(next(kinds, x.dtype)))
        if not isinstance(logits, torch.Tensor) or logits.ndim != 2:
            came = list(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
            raise TypeError(f"Classifier: network {self.name!r} must return logits [B, classes]; got {came}.")
        return logits

    @property
    def record(self):
        """Facts for run.json: origin, weights file, normalisation, sizes, and SHA-256 of the state now."""
        return {
            "name": self.name,
            **self._record,
            "mean": list(self.mean),
            "std": list(self.std),
            "num_classes": self.num_classes,
            "input_size": None if self.input_size is None else list(self.input_size),
            **({"doubts": self.doubts} if self.doubts else {}),
            "parameters": sum(parameter.numel() for parameter in self.network.parameters()),
            "state_sha256": state_sha256(self.network),
        }

    def note(self, key, value):
        """Put one more JSON-ready fact on record (training does)."""
        self._record[key] = value


def channel_triple(values, name, who="Classifier"):
    """Three finite floats from a tuple, list or tensor, else one sentence."""
    if isinstance(values, torch.Tensor):
        values = values.flatten().tolist()
    if isinstance(values, str):
        raise UsageError(f"{who}: {name} must be three numbers (R, G, B); got {values!r}.")
    try:
        triple = tuple(float(value) for value in values)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{who}: {name} must be three numbers (R, G, B); got {values!r}.") from error
    if len(triple) != 3 or not all(math.isfinite(value) for value in triple):
        raise UsageError(f"{who}: {name} must be three finite numbers (R, G, B); got {values!r}.")
    return triple
