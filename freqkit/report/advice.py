"""Commands that a page advises: whole ones, which run as they stand."""

import shlex
from pathlib import Path

from freqkit.files.reading import fit, read_yaml

# Flags of a search that `freqkit rates` has, too: which model, which images, and how they are read.
SHARED = (
    "model", "weights", "weights-entry", "pretrained", "mean", "std", "num-classes", "allow-missing",
    "allow-unexpected", "data", "part", "layout", "image-size", "resize", "classes", "limit-per-class",
    "split-fraction", "data-seed", "published-order", "npy-floats", "on-bad-image",
)  # fmt: skip


def command(*words, **flags):
    """A command line: `freqkit`, words, and flags by name; None and False are left out, True stands alone.

    Example:
        >>> command("report", "my runs/a", out="b.html", json=True)
        "freqkit report 'my runs/a' --out b.html --json"
    """
    line = ["freqkit", *map(str, words)]
    for name, value in flags.items():
        if value is None or value is False:
            continue
        line.append(f"--{name.replace('_', '-')}")
        if isinstance(value, (list, tuple)):
            line.append(",".join(map(str, value)))
        elif value is not True:
            line.append(str(value))
    return shlex.join(line)


def again(path):
    """The command that does the run in a directory again, given in the folder that holds it, or None."""
    name = Path(path).resolve().name
    there = (Path(path) / "run.yaml").is_file()
    return command("rerun", name, out=f"{name}-again") if there else None


def test_of(path, maps):
    """How to test maps on images that did not select them: a list of (words, command), empty when it is not known.

    Args:
        path: the run directory, whose run.yaml says how the images were read.
        maps: name of the file of maps in it.
    """
    path = Path(path).resolve()
    if not (path / "run.yaml").is_file():
        return []
    file = path / "run.yaml"
    config = fit(read_yaml(file, "run.yaml of a command"), {"command": str, "flags?": (dict, None)}, file)
    flags = config.get("flags") or {}
    if not {"model", "data"} <= set(flags):
        return []
    known = {name: flags[name] for name in SHARED if name in flags}
    part = known.get("split-fraction")
    if part is not None and part < 1:
        test = command("rates", **known, dfm=path / maps, rest=True, out=path / "rates.safetensors")
        return [("Test them on the images that were set aside:", test)]
    half = path.with_name(f"{path.name}-half")
    known["split-fraction"] = 0.5
    search = command(config["command"], config=path / "run.yaml", split_fraction=0.5, out=half)
    return [
        ("Search on half of the images:", search),
        ("Then test on the other half:",
         command("rates", **known, dfm=half / maps, rest=True, out=half / "rates.safetensors")),
    ]  # fmt: skip
