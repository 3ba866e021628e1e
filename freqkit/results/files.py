"""Files that are either whole or absent."""

import csv
import json
import os
import re
import tempfile
from contextlib import contextmanager
from pathlib import Path

from freqkit.errors import UsageError


@contextmanager
def atomic_write(path, mode="wb"):
    """Open a temporary file beside `path`, and put it in place of `path` only when the block ends well.

    Args:
        path: where the file shall stand; its folder must exist.
        mode: "wb" or "w" (UTF-8).

    Example:
        >>> import tempfile, pathlib
        >>> target = pathlib.Path(tempfile.mkdtemp()) / "a.txt"
        >>> with atomic_write(target, "w") as file:
        ...     _ = file.write("whole")
        >>> target.read_text()
        'whole'
    """
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def write_json(path, value):
    """Write `value` as indented JSON, atomically; NaN and infinity are written as null."""
    with atomic_write(path, "w") as file:
        json.dump(_finite(value), file, indent=2, sort_keys=False, allow_nan=False)
        file.write("\n")


def write_safetensors(path, tensors, metadata):
    """Write tensors and a dict of strings as a safetensors file, atomically; equal content gives equal bytes.

    safetensors itself writes the metadata in an order that changes from one process to the next.

    Example:
        >>> import tempfile, torch
        >>> target = tempfile.mkdtemp() + "/a.safetensors"
        >>> write_safetensors(target, {"x": torch.ones(2)}, {"b": "2", "a": "1"})
        >>> open(target, "rb").read()[8:44]
        b'{"__metadata__":{"a":"1","b":"2"},"x'
    """
    from safetensors.torch import save

    data = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, metadata)
    length = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with atomic_write(path) as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        file.write(memoryview(data)[length:])


def _finite(value):
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value


def write_csv(path, columns, rows):
    """Write rows (dicts) as CSV with a header, atomically; see `write_rows`."""
    with atomic_write(path, "w") as file:
        write_rows(file, columns, rows)


def write_rows(file, columns, rows):
    """Rows (dicts) as CSV with a header into an open file; text through `as_cell`, numbers as they are."""
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    writer.writerow({name: as_cell(name) for name in columns})
    writer.writerows({name: as_cell(value) for name, value in row.items()} for row in rows)


FORMULA = re.compile("'*[=+@\t\r-]")


def as_cell(value):
    """A cell of a CSV file that no spreadsheet takes for a formula: such text gets an apostrophe before it.

    Example:
        >>> as_cell("=1+1"), as_cell("cat"), as_cell(-0.5), as_cell("'=1")
        ("'=1+1", 'cat', -0.5, "''=1")
    """
    return f"'{value}" if isinstance(value, str) and FORMULA.match(value) else value


def of_cell(text):
    """The text of a cell of `as_cell`, without its apostrophe.

    Example:
        >>> of_cell("'=1+1"), of_cell("'s Hertogenbosch")
        ('=1+1', "'s Hertogenbosch")
    """
    return text[1:] if text.startswith("'") and FORMULA.match(text) else text


def slug(name):
    """A name as part of a file's name.

    Example:
        >>> slug("my/nets.py:make")
        'my_nets.py_make'
    """
    return re.sub(r"[^\w.-]+", "_", name)


def read_run(directory):
    """`run.json` of a run directory; a `UsageError` when it holds none."""
    try:
        return json.loads((Path(directory) / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{directory}: holds no readable run.json.") from error
