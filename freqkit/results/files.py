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


@contextmanager
def atomic_write(path, mode="wb"):
    """Open a temporary file beside `path`, and put it in place of `path` only when the block ends well.

    What a killed process left of such a file is removed by the next that writes it.

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
    handle, temporary = _temporary(path, path.parent, tempfile.mkstemp)
    try:
        with os.fdopen(handle, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
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
    prefix, suffix = f".{path.name}.", ".part"
    for entry in os.scandir(parent):
        if entry.name.startswith(prefix) and entry.name.endswith(suffix):
            _remove_leftover(entry)
    while True:
        handle, temporary = make(dir=parent, prefix=prefix, suffix=suffix)
        _locked(handle)
        if os.fstat(handle).st_nlink:  # or another took it for a leftover before it was locked
            return handle, temporary
        os.close(handle)


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
    """Write rows (dicts) as CSV with a header, atomically."""
    with atomic_write(path, "w") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


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
