"""Every measure of the registry, small: its function called, and its command line."""

import functools
import inspect
import tempfile

import torch

from freqkit.data import ImageSet, write_image_folder
from freqkit.models import load_model
from freqkit.options import Directory
from freqkit.registry import MEASURES, module_of, stem_of


def measure_of(name):
    return getattr(module_of(MEASURES, name), stem_of(MEASURES, name))


def takes(name):
    """The names of what a measure is called with."""
    return inspect.signature(measure_of(name)).parameters.keys()


def asks_of_images(name):
    """Whether a measure asks a model about images of any classes."""
    return {"model", "images"} <= takes(name)


def cues():
    """Grey cue-conflict images of two categories."""
    paths = ["cat/cat1-dog1.png", "cat/cat2-cat1.png", "dog/dog1-cat1.png"]
    shades = torch.arange(3, dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 3, 32, 32) * 60
    return ImageSet(shades.contiguous(), [0, 0, 1], ["cat", "dog"], paths)


@functools.cache
def cues_folder():
    """The same on disk, for as long as the tests run."""
    folder = tempfile.TemporaryDirectory()
    write_image_folder(cues(), folder.name)
    return folder


def small_result(name, model, images, dfm):
    """What a measure finds; it gets what it takes."""
    more = {"batch_size": 8} if "model" in takes(name) else {}
    if "r" in takes(name):  # as published it is that of images of 32 pixels
        more["r"] = min(images.images.shape[-2:]) / 4
    if "cues" in takes(name):  # which must be of ImageNet's classes
        return measure_of(name)(load_model("small_convnet", num_classes=1000), cues(), **more)
    given = {"model": model, "images": images, "dfm": dfm}
    return measure_of(name)(*[each for word, each in given.items() if word in takes(name)], **more)


def line_of(name, model):
    """The flags of a measure's command but --out, with the places {images} and {dfm}; `model`: those of a model."""
    if "cues" in takes(name):
        return f"--model small_convnet --num-classes 1000 --batch-size 8 --data {cues_folder().name}"
    asks = model if "model" in takes(name) else "--image-size 32"
    return f"{asks} --data {{images}}{' --dfm {dfm}' if 'dfm' in takes(name) else ''}"


def place_of(name):
    """Where its command writes, {out} (the directory of a run that can go on) or {file}."""
    return "{out}" if Directory in measure_of(name).groups else "{file}"
