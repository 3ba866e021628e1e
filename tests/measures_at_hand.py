"""Every measure of the registry, small: its function called, and its command line."""

import inspect

from freqkit.options import Directory
from freqkit.registry import MEASURES, module_of, stem_of


def measure_of(name):
    return getattr(module_of(MEASURES, name), stem_of(MEASURES, name))


def takes(name):
    """The names of what a measure is called with."""
    return inspect.signature(measure_of(name)).parameters.keys()


def small_result(name, model, images, dfm):
    """What a measure finds; it gets what it takes."""
    more = {"batch_size": 8} if "model" in takes(name) else {}
    given = {"model": model, "images": images, "dfm": dfm}
    return measure_of(name)(*[each for word, each in given.items() if word in takes(name)], **more)


def line_of(name, model):
    """The flags of a measure's command but --out, with the places {images} and {dfm}; `model`: those of a model."""
    asks = model if "model" in takes(name) else "--image-size 32"
    return f"{asks} --data {{images}}{' --dfm {dfm}' if 'dfm' in takes(name) else ''}"


def place_of(name):
    """Where its command writes, {out} (the directory of a run that can go on) or {file}."""
    return "{out}" if Directory in measure_of(name).groups else "{file}"
