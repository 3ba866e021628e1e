"""`freqkit info`: versions, what was built, what will run here."""

import os
import platform

import click

from freqkit.cli.app import app, command
from freqkit.cli.voice import say_json, tell

PACKAGES = "torch torchvision timm numpy scipy safetensors pillow matplotlib click rich jinja2".split()


@command(app, "info")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def info(as_json):
    """Versions, what was built (CUDA architectures, SIMD level), what will run here, thread counts.

    \b
    freqkit info
    """
    facts = gather()
    if as_json:
        say_json(facts)
        return
    for title, part in facts.items():
        tell(f"{title}:")
        width = max(len(key) for key in part)
        for key, value in part.items():
            tell(f"  {key.ljust(width)}  {_words(value)}")


def gather():
    """All that `freqkit info` prints, as plain JSON values."""
    import torch

    from freqkit import __version__

    built = _built()
    return {
        "versions": {"freqkit": __version__, "python": platform.python_version(), **_installed()},
        "built": built,
        "here": _here(torch, built),
        "threads": {
            "torch": torch.get_num_threads(),
            "torch interop": torch.get_num_interop_threads(),
            "processors": os.cpu_count(),
            "processors for this process": _affinity(),
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
        },
    }


def _installed():
    """Versions from the packages' own records: a broken package is listed, not imported."""
    from importlib import metadata

    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def _built():
    try:
        from freqkit.ops.extension import build_info

        built = build_info()
        return {"library": built["operator"] == "native", **built}
    except ImportError as error:
        return {"library": False, "why": " ".join(str(error).split())}


def _here(torch, built):
    here = {"machine": platform.machine(), "system": platform.system()}
    if "why" in built:
        here["spectral_filter"] = f"cannot run: {built['why']}"
        return here
    how = built.get("simd") or built.get("operator")
    here["spectral_filter on cpu"] = f"yes ({how})" if how else "yes"
    if not torch.cuda.is_available():
        why = "torch sees no GPU" if torch.backends.cuda.is_built() else "this torch is built without CUDA"
        here["spectral_filter on cuda"] = f"no: {why}"
        return here
    names = [
        f"{torch.cuda.get_device_name(i)} (sm_{''.join(map(str, torch.cuda.get_device_capability(i)))})"
        for i in range(torch.cuda.device_count())
    ]
    here["gpus"] = names
    plain = "yes (plain torch)" if not built["library"] else "no: built without CUDA kernels"
    here["spectral_filter on cuda"] = "yes" if built.get("cuda") else plain
    return here


def _affinity():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def _words(value):
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(str(item) for item in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items()) or "none"
    return str(value)
