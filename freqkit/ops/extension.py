"""Loads the native library once. Importing works without it, so that masks and data stay usable; calling does not.

`FREQKIT_LIBRARY` in the environment names another build of it, such as one with sanitizers (`make fuzz-asan`).
"""

import functools
import json
import os
from pathlib import Path

import torch

from freqkit.errors import UsageError

ELSEWHERE = os.environ.get("FREQKIT_LIBRARY")
LIBRARY = Path(ELSEWHERE or Path(__file__).resolve().parent.parent / "_C.abi3.so")
_loaded = False


def load_if_built() -> bool:
    """Load `freqkit/_C.abi3.so` when it is there; errors of a library that is there but does not load are raised."""
    global _loaded
    if not _loaded and LIBRARY.exists():
        try:
            torch.ops.load_library(LIBRARY)
        except OSError as error:
            if not ELSEWHERE:
                raise
            raise UsageError(
                f"FREQKIT_LIBRARY in the environment must name a build of freqkit's native library: {error}."
            ) from error
        _loaded = True
    return _loaded


def require() -> None:
    """Raise one clear sentence when the native library is missing."""
    if _loaded:
        _check_level()
    elif ELSEWHERE:
        raise UsageError(f"FREQKIT_LIBRARY in the environment must name a file that is there; got {ELSEWHERE}.")
    else:
        raise ImportError(
            f"freqkit's native library is not built: {LIBRARY.name} is missing beside the package; "
            "run `pip install --no-build-isolation -e .` (or `make build`) in the checkout."
        )


@functools.cache
def _check_level() -> None:
    """Refuse, by the library's word, an instruction set in FREQKIT_SIMD that is not built or not of this processor."""
    try:
        torch.ops.freqkit.build_info()
    except RuntimeError as error:
        raise UsageError(f"{str(error).splitlines()[0].rstrip('.')}.") from error


def build_info() -> dict:
    """What was built and runs: `simd` (in use), `simd_built`, `lanes`, `cuda` (built), `cuda_archs`, `compiler`."""
    require()
    return json.loads(torch.ops.freqkit.build_info())
