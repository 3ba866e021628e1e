"""Which kinds of result there are, and how each is found in a directory.

A new kind of result is one function with the decorator `part` in one of `freqkit.registry.PAGES`: it gets the path
where its kind was found and the directory's run.json, and returns a `Part` (or None).
"""

from pathlib import Path

from freqkit.files.reading import TEXT, fit, parse_json, reading, refuse, regular
from freqkit.registry import PAGES

MAKERS = []


def part(find):
    """Register a maker of parts: `find(path)` gives the files of its kind in a directory (or the file itself)."""

    def wrap(make):
        MAKERS.append((find, make))
        return make

    return wrap


def parts_of(path):
    """(parts, run.json or None) of a run directory or a result file."""
    import importlib

    for module in PAGES:
        importlib.import_module(module)
    path = Path(path)
    record = None
    if path.is_dir() and (path / "run.json").is_file():
        from freqkit.files.whole import read_run

        record = read_run(path)
    parts = []
    for find, make in MAKERS:
        for place in find(path):
            made = make(place, record)
            if made is not None:
                parts.append(made)
    return parts, record


def file_format(path):
    """The format name in a safetensors file's header; None for a file of another program.

    Raises:
        UsageError: it has no readable header.
    """
    expected = "a result of freqkit (safetensors)"
    regular(path, expected)
    with reading(path, expected, ValueError), open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= min(Path(path).stat().st_size - 8, TEXT):
            refuse(path, expected, "it is not a safetensors file, or is cut off")
        text = file.read(length).decode()
    about = fit(parse_json(text, path, finite=False), {"__metadata__?": {str: str}}, path).get("__metadata__", {})
    if "format" not in about and "freqkit" in about:
        about = fit(parse_json(about["freqkit"], path, finite=False), {"format?": str}, path)
    return about.get("format")


def files_of(name):
    """A finder of safetensors files of one format, in a directory or given by themselves."""

    def find(path):
        # Weights and checkpoints are no results, and of any program.
        inside = (file for file in path.glob("*.safetensors") if not file.name.startswith(("weights", "checkpoint")))
        files = sorted(inside) if path.is_dir() else [path] if path.suffix == ".safetensors" else []
        return [file for file in files if file_format(file) == name]

    return find


def named(name):
    """A finder of a directory that holds the file `name`."""
    return lambda path: [path] if path.is_dir() and (path / name).is_file() else []
