"""Brings the operators: from the native library, or in plain torch where the installation has none.

`FREQKIT_OPERATOR=native|plain` asks for one of them; unset, the native library is taken when it is there. Which one
runs is told by `build_info`, `freqkit info` and the first line of every run.
"""

import json
import os
from pathlib import Path

import torch

from freqkit.errors import UsageError

# FREQKIT_LIBRARY names another build of it, as the sanitized one; nothing else is taken in its place.
NAMED = os.environ.get("FREQKIT_LIBRARY")
LIBRARY = Path(NAMED or Path(__file__).resolve().parent.parent / "_C.abi3.so")
WAYS = ("native", "plain")
_way = None  # the one in use
_refusal = None  # what the library says of FREQKIT_SIMD, when it names what is not built or not of this processor


def load() -> bool:
    """Define the operators, once; False where `FREQKIT_OPERATOR` asks for what is not there (`require` says so).

    Errors of a library that is there but does not load are raised: nothing else is taken in its place.
    """
    global _way, _refusal
    if _way is not None:
        return True
    asked = os.environ.get("FREQKIT_OPERATOR") or ("native" if NAMED or LIBRARY.exists() else "plain")
    if asked == "native" and LIBRARY.exists():
        torch.ops.load_library(LIBRARY)
        try:
            torch.ops.freqkit.build_info()
        except RuntimeError as error:
            _refusal = f"{str(error).splitlines()[0].rstrip('.')}."
            return False
        _way = asked
    elif asked == "plain":
        from freqkit.ops import plain

        plain.register()
        _way = asked
    return _way is not None


def require() -> None:
    """Raise one clear sentence when the operators that were asked for are not there."""
    if _way is not None:
        return
    if _refusal is not None:
        raise UsageError(_refusal)
    asked = os.environ.get("FREQKIT_OPERATOR")
    if NAMED and not asked:
        raise UsageError(f"FREQKIT_LIBRARY must name a build of freqkit's native library; there is no {NAMED!r}.")
    if asked not in WAYS:
        raise UsageError(f"FREQKIT_OPERATOR must be native or plain (or unset); got {asked!r}.")
    raise ImportError(
        f"FREQKIT_OPERATOR=native, but freqkit's native library {LIBRARY.name} is not in this installation: run "
        "`make build` in a checkout, or install a wheel that has it."
    )


def notice() -> str | None:
    """What a run says first when the operator is not the native one; None otherwise."""
    require()
    if _way == "native":
        return None
    why = "FREQKIT_OPERATOR=plain" if LIBRARY.exists() else "this installation has no native library"
    return f"The operator runs in plain torch ({why}): the same results within rounding, several times slower."


def build_info() -> dict:
    """What was built and runs: `operator` ("native" or "plain torch"), `simd` (in use), `simd_built`, `lanes`, `cuda`
    (built), `cuda_archs`, `compiler`."""
    require()
    return {"operator": "native", **json.loads(torch.ops.freqkit.build_info())}
