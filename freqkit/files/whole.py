"""Files that are either whole or absent."""

import csv
import fcntl
import json
import os
import re
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

from freqkit.errors import UsageError
from freqkit.files.reading import COUNT, SECONDS, Number, Row, fit, read_json


@contextmanager
def atomic_write(path, mode="wb"):
    """Open a temporary file beside `path`, and put it in place of `path` only when the block ends well.

    What a killed process left of such a file is removed by the next that writes it.

    Args:
        path: where the file shall stand; its folder must exist.
        mode: "wb" or "w" (UTF-8).

    Raises:
        UsageError: `path` is a folder, a device or the like.
        OSError: it cannot be written, or the disk is full; names `path`.

    Example:
        >>> import tempfile, pathlib
        >>> target = pathlib.Path(tempfile.mkdtemp()) / "a.txt"
        >>> with atomic_write(target, "w") as file:
        ...     _ = file.write("whole")
        >>> target.read_text()
        'whole'
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is there and is no ordinary file; nothing was written.")
    try:
        handle, temporary = _temporary(path, path.parent, tempfile.mkstemp)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    try:
        with os.fdopen(handle, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
    except BaseException as error:
        if os.path.exists(temporary):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.filename in (None, temporary) and error.errno is not None:
            # A full disk names no file.
            kept = "what was there before is kept" if path.exists() else "nothing was left there"
            raise OSError(error.errno, f"{error.strerror}; {kept}", str(path)) from error
        raise


@contextmanager
def atomic_folder(path):
    """A temporary folder, which takes the place of `path` only when the block ends well.

    What a killed process left of such a folder is removed by the next that writes it. A mount point and the working
    directory stay the folders that they are: there the entries are moved in, one after the other.

    Args:
        path: absent, or an empty folder; its parents are made.

    Example:
        >>> import tempfile, pathlib
        >>> target = pathlib.Path(tempfile.mkdtemp()) / "images"
        >>> with atomic_folder(target) as folder:
        ...     _ = (folder / "a.txt").write_text("whole")
        ...     target.exists()
        False
        >>> [entry.name for entry in target.iterdir()]
        ['a.txt']
    """
    path = Path(path).resolve()
    stays = path.is_dir() and (os.path.ismount(path) or path == Path.cwd())
    parent = path if stays else path.parent
    parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = _temporary(path, parent, _new_folder)
    try:
        yield Path(temporary)
        os.chmod(temporary, 0o777 & ~_umask())
        if stays:
            for entry in sorted(os.listdir(temporary)):
                os.rename(os.path.join(temporary, entry), path / entry)
            os.rmdir(temporary)
        else:
            os.rename(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    finally:
        os.close(handle)


def _temporary(path, parent, make):
    """(descriptor, name) of what is to become `path`, locked while its process lives; leftovers of others go."""
    prefix, suffix = f".{path.name[:80]}.", ".part"
    for entry in os.scandir(parent):
        if entry.name.startswith(prefix) and entry.name.endswith(suffix):
            _remove_leftover(entry)
    while True:
        handle, temporary = make(dir=parent, prefix=prefix, suffix=suffix)
        _locked(handle)
        if os.fstat(handle).st_nlink:  # or another took it for a leftover before it was locked
            return handle, temporary
        os.close(handle)


def remove_leftovers(folder, part):
    """Remove what killed processes left of files in a folder whose names hold `part`."""
    for entry in os.scandir(folder):
        if entry.name.startswith(".") and entry.name.endswith(".part") and part in entry.name:
            _remove_leftover(entry)


def _new_folder(**where):
    folder = tempfile.mkdtemp(**where)
    return os.open(folder, os.O_RDONLY), folder


def _locked(handle):
    """Lock; whether it could be. Where a file system has no locks nothing is locked, and no leftover is removed."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove_leftover(entry):
    try:
        handle = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:  # done meanwhile, or another user's
        return
    try:
        if _locked(handle):
            shutil.rmtree(entry.path) if entry.is_dir(follow_symlinks=False) else os.unlink(entry.path)
    except FileNotFoundError:  # removed by another process that writes the same
        pass
    finally:
        os.close(handle)


def _umask():
    umask = os.umask(0)
    os.umask(umask)
    return umask


def write_json(path, value):
    """Write `value` as indented JSON, atomically; NaN and infinity are written as null."""
    with atomic_write(path, "w") as file:
        json.dump(finite(value), file, indent=2, sort_keys=False, allow_nan=False)
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


def finite(value):
    """A JSON-ready value with null in place of NaN and infinity, which JSON has not."""
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
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


# What run.json must be where it is read. Whatever else it holds is shown as it is, or not at all.
_TEXT, _COUNTED = (str, None), (COUNT, None)
MODEL = {
    "name?": str, "source?": _TEXT, "num_classes?": _COUNTED, "weights?": ({"file?": _TEXT}, None),
    "trained?": ({"epochs?": _COUNTED}, None), "state_sha256?": _TEXT, "pretrained?": (bool, str, None),
    "mean?": ([float], None), "std?": ([float], None), "doubts?": [str],
}  # fmt: skip
CLEAN = {
    "correct": [COUNT], "called": [COUNT], "mostly": [Row(str, COUNT)], "logits": _COUNTED, "still?": ([COUNT], None),
    "classes?": [str], "counts?": [COUNT],
}  # fmt: skip
DATA = {
    "fingerprint?": _TEXT, "size?": ([range(1, 1 << 16)], None), "source?": _TEXT, "root?": _TEXT, "images?": COUNT,
    "variant?": range(1, 5), "limit_per_class?": _COUNTED, "split_fraction?": (Number(0, 1), None),
    "subset?": (dict, str, None), "seed?": _COUNTED, "resize?": _TEXT, "resized_side?": _COUNTED,
    "preprocessing?": _TEXT,
}  # fmt: skip
_IDENTITY = {
    "search?": _TEXT, "preset?": _TEXT, "seed?": _COUNTED, "model?": MODEL, "data?": DATA, "stages?": ([COUNT], None),
    "versions?": {str: _TEXT}, "recipe?": {"epochs?": _COUNTED}, "evaluation?": _TEXT, "base?": _TEXT,
}  # fmt: skip
_RANK = {"host?": _TEXT, "pid?": COUNT, "device?": _TEXT, "threads?": COUNT}
_BEST = {
    "class": str, "stage": COUNT, "tpr": (Number(0, 1), None), "fpr": (Number(0, 1), None), "loss?": (float, None),
}  # fmt: skip
_RUN = {
    "format?": _TEXT, "status?": _TEXT, "kind?": _TEXT, "identity?": _IDENTITY, "model?": MODEL, "data?": DATA,
    "versions?": {str: _TEXT}, "launchers?": [str], "stage?": _COUNTED, "stages_done?": [range(1, 100)],
    "forwards?": COUNT, "backwards?": COUNT, "forwards_total?": _COUNTED, "forwards_saved?": _COUNTED,
    "forwards_before?": COUNT, "seconds?": SECONDS, "seconds_in_model?": SECONDS, "session_began?": SECONDS,
    "sessions?": COUNT, "device?": _TEXT, "threads?": _COUNTED, "batch_size?": _COUNTED,
    "batch_size_timings?": ({str: SECONDS}, None), "best?": (_BEST, None), "ranks?": ([_RANK], None),
    "epochs_done?": COUNT, "clean?": (CLEAN, None), "notes?": ([str], None),
    "differs_from_published?": {str: {"here": object, "published": object}},
}  # fmt: skip
_CLASS = {"images?": COUNT, **{f"{name}?": (Number(0, 1), None) for name in ("accuracy", "precision", "f1")}}
_REPORT = ({"classes?": {str: _CLASS}}, None)
_TRAINING = {
    **_RUN, "data?": {"train?": DATA, "val?": (DATA, None)}, "result?": {"train?": _REPORT, "val?": _REPORT},
}  # fmt: skip
_EVALUATION = {
    **_RUN,
    "model?": _TEXT,
    "models?": {str: {"record?": (MODEL, None), "preprocessing?": ([str], None)}},
    "of_all_sessions?": {str: COUNT},
    "failures?": [{str: str}],
    "coverage?": {str: Number(0, 1)},
    "selected_on?": {str: COUNT},
    "identity?": {
        **_IDENTITY, "data?": object, "model?": object, "dfm?": object, "image_size?": (COUNT, [COUNT], None),
        "resize?": _TEXT,
        "sets?": [{"set": str, "condition": str, "images": COUNT, "classes": COUNT, "notes?": [str]}],
        "attacks?": [{"kind": str, "eps": float, "band": _TEXT}],
        "generated?": [Row(str, COUNT)],
    },
}  # fmt: skip
# What a single file of a measure says of where it comes from
RECORD = {
    "selected_on_test_set?": (bool, None), "model?": MODEL, "data?": DATA, "versions?": {str: _TEXT},
    "forwards?": COUNT, "backwards?": COUNT, "seconds?": SECONDS, "device?": _TEXT, "threads?": _COUNTED,
    "images?": COUNT,
}  # fmt: skip


def read_run(directory):
    """`run.json` of a run directory, whose entries are of the kinds that freqkit writes.

    Raises:
        UsageError: there is none, or it is damaged.
    """
    path = Path(directory) / "run.json"
    record = read_json(path, dict, "run.json of a run of freqkit")
    identity = record.get("identity")
    kind = _TRAINING if record.get("kind") == "training" else _RUN
    if isinstance(identity, dict) and "evaluation" in identity:
        kind = _EVALUATION
    return fit(record, kind, path)
