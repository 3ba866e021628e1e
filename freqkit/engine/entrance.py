"""What a model and images are made of when they enter a function."""

import os
from typing import Any

import torch

from freqkit.data import Images, ImageSet
from freqkit.data.any_images import gathered, named
from freqkit.engine import ranks
from freqkit.engine.forward import model_device
from freqkit.errors import UsageError
from freqkit.models import Classifier, Network, as_classifier
from freqkit.options import Scoring
from freqkit.results.result import versions


def enter(
    owner: str, model: Network, images: Images, class_index: Any = None, name: str = "images"
) -> tuple[Classifier, ImageSet]:
    """`as_classifier` of the model and `as_images` of the images; each helps the other: the size of the images on which
    the model is tried, the names and number of the logits. Begins every function that takes both."""
    if isinstance(images, (str, os.PathLike)):
        model = as_classifier(model, owner)
    found = gathered(images, owner, name, model)
    model = as_classifier(model, owner, found)
    made = named(found, model, class_index)
    if made is not images and len(set(ranks.current().facts(made.fingerprint))) > 1:
        raise UsageError(f"{owner}: {name} must be the same on every rank; a loader that draws gives each its own.")
    return model, made


def asked_of(model: Classifier, images: ImageSet, scoring: Scoring) -> dict:
    """What the answers depend on, for the identity of a run: who is asked how about what, and not where files lay."""
    return {
        "domain": scoring.domain,
        "class_index": None if scoring.class_index is None else [int(i) for i in scoring.class_index],
        "batch_size": scoring.batch_size,
        "dtype": None if scoring.dtype is None else str(scoring.dtype).removeprefix("torch."),
        "device": (model_device(model) if scoring.device is None else torch.device(scoring.device)).type,
        "memory": scoring.memory,
        "form": scoring.form,
        "spectra": scoring.spectra,
        "model": {key: model.record.get(key) for key in ("name", "state_sha256", "mean", "std", "num_classes")},
        "data": {"fingerprint": images.fingerprint, "images": len(images)},
        "versions": versions(),
    }


def logit_of_class(owner: str, given: Any, classes: int, logits: int) -> torch.Tensor:
    """The logit of each class, int64 [classes]: those given, or in their order where there are as many.

    Raises:
        UsageError: none are given and the numbers differ; one is none of the model's, or is there twice.
    """
    if given is None:
        if classes != logits:
            raise UsageError(
                f"{owner}: the model has {logits} logits but the images have {classes} "
                "classes; give class_index, the logit of each class."
            )
        return torch.arange(logits)
    index = torch.as_tensor(given, dtype=torch.int64)
    if index.shape != (classes,) or index.min() < 0 or index.max() >= logits:
        raise UsageError(
            f"{owner}: class_index must give one logit in 0...{logits - 1} for each of the "
            f"{classes} classes; got {index.tolist()[:8]}{'...' if index.numel() > 8 else ''}."
        )
    if len(index.unique()) != len(index):
        raise UsageError(f"{owner}: class_index must not name a logit twice.")
    return index
