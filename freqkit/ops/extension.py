"""Loads the native library once. Importing works without it, so that masks and data stay usable; calling does not."""

import json
import os
from pathlib import Path

import torch

LIBRARY = Path(__file__).resolve().parent.parent / "_C.abi3.so"
_loaded = False


def load_if_built() -> bool:
    """Load `freqkit/_C.abi3.so` when it is there; errors of a library that is there but does not load are raised."""
    global _loaded
    if not _loaded and os.environ.get("FREQKIT_OPERATOR") == "plain":
        from freqkit.ops import plain

        plain.register()
        _loaded = True
    if not _loaded and LIBRARY.exists():
        torch.ops.load_library(LIBRARY)
        _loaded = True
    return _loaded


def require() -> None:
    """Raise one clear sentence when the native library is missing."""
    if not _loaded:
        raise ImportError(
            f"freqkit's native library is not built: {LIBRARY.name} is missing beside the package; "
            "run `pip install --no-build-isolation -e .` (or `make build`) in the checkout."
        )


def build_info() -> dict:
    """What was built and runs: `simd` (in use), `simd_built`, `lanes`, `cuda` (built), `cuda_archs`, `compiler`."""
    require()
    return json.loads(torch.ops.freqkit.build_info())
