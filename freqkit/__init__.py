"""freqkit: find, measure and understand frequency shortcuts in image classifiers."""

import importlib

__version__ = "0.1.0"

# Public names and where they live. Resolved on first use, so that `import freqkit` stays light and a broken
# optional package (torchvision, timm) is noticed only by the function that needs it.
_PUBLIC = {
    "spectrum": "freqkit.ops",
    "spectral_filter": "freqkit.ops",
    "Spectrum": "freqkit.ops",
    "BitMasks": "freqkit.ops",
    "load_model": "freqkit.models",
    "wrap": "freqkit.models",
    "load_images": "freqkit.data",
    "score": "freqkit.engine",
    "attribute": "freqkit.measures",
    "learned": "freqkit.search",
    "hfss": "freqkit.search",
    "profile": "freqkit.measures.profile",
}
_MODULES = (
    "ops",
    "masks",
    "models",
    "data",
    "engine",
    "search",
    "measures",
    "training",
    "results",
    "report",
    "errors",
)

__all__ = ["__version__", *_PUBLIC, *_MODULES]


def __getattr__(name):
    if name in _PUBLIC:
        value = getattr(importlib.import_module(_PUBLIC[name]), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return importlib.import_module(f"freqkit.{name}")
    raise AttributeError(f"module 'freqkit' has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
