"""What a model and images are made of when they enter a function."""

import os
from typing import Any

from freqkit.data import Images, ImageSet
from freqkit.data.any_images import gathered, named
from freqkit.engine import ranks
from freqkit.errors import UsageError
from freqkit.models import Classifier, Network, as_classifier


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
