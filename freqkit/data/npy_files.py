"""npy files: the head is checked against the file before anything is made of it, and nothing in it is run."""

import ast
import os
import re
from pathlib import Path

import numpy as np

from freqkit.files.reading import reading, refuse, regular
from freqkit.text import plain_line

MAGIC = b"\x93NUMPY"
_HEAD = 1 << 16  # bytes of a head
_KINDS = "biufc"
_STARTS = (
    (b"PK\x03\x04", "a zip archive, such as numpy.savez and torch.save write"),
    (b"\x1f\x8b", "compressed (gzip)"),
    (b"\x80", "a pickle"),
    (b"<", "a page of HTML or XML, such as a failed download leaves"),
    (b"\x89HDF", "an HDF5 file"),
    (MAGIC, "an npy file"),
)


def what_begins(start):
    """What a file seems to be, by its first bytes, for a sentence."""
    for sign, words in _STARTS:
        if start.startswith(sign):
            return f"it is {words}"
    return f"it begins with the bytes {start[:8].hex(' ')}"


def read_head(path, expected="an npy array of numbers"):
    """(dtype, shape, whether in Fortran's order, offset of the numbers) of an npy file; dtype None: of objects.

    Raises:
        UsageError: it is no npy file, or holds other or fewer numbers than its head says; see `reading`.
    """
    path = Path(path)
    regular(path, expected)
    with reading(path, expected), open(path, "rb") as file:
        start = file.read(10)
        size = os.fstat(file.fileno()).st_size
        if start[:6] != MAGIC:
            refuse(path, expected, what_begins(start))
        version = tuple(start[6:8])
        if version not in ((1, 0), (2, 0), (3, 0)):
            refuse(path, expected, f"it is of npy version {'.'.join(map(str, version))}")
        start += file.read(2) if version[0] > 1 else b""
        begin = 10 if version[0] == 1 else 12
        length = int.from_bytes(start[8:begin], "little")
        if len(start) < begin or length > _HEAD or begin + length > size:
            refuse(path, expected, "its head is damaged or cut short")
        head = file.read(length)
    dtype, order, shape = _parsed(head, path, expected)
    if dtype is None:
        return None, shape, order, begin + length
    count = dtype.itemsize
    for n in shape:
        count *= n
    if count != size - begin - length:
        refuse(
            path, expected,
            f"its head says {dtype} {_short(shape)}, {count} bytes, and {size - begin - length} follow",
        )  # fmt: skip
    return dtype, shape, order, begin + length


def _parsed(head, path, expected):
    """(dtype or None, Fortran's order, shape) of the literal in a head."""
    text = head.decode("latin-1").strip()
    found = None
    # Brackets are few in heads of numbers; a literal nested deeply would exhaust the parser.
    if len(text) < 4096 and len(re.findall(r"[\[({~+-]", text)) < 64:
        try:
            found = ast.literal_eval(re.sub(r"(\d)L\b", r"\1", text))  # Python 2 wrote 3L
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            found = None
    if not isinstance(found, dict) or set(found) != {"descr", "fortran_order", "shape"}:
        refuse(path, expected, "its head is damaged or describes no array")
    kind, order, shape = found["descr"], found["fortran_order"], found["shape"]
    if not isinstance(order, bool) or not isinstance(shape, tuple) or len(shape) > 8:
        refuse(path, expected, "its head is damaged or describes no array")
    if not all(type(n) is int and 0 <= n < 2**48 for n in shape):
        refuse(path, expected, f"its head says shape {_short(shape)}")
    if isinstance(kind, str) and re.fullmatch(r"[|=<>]?O\d*", kind):
        return None, order, shape
    if not isinstance(kind, str) or not re.fullmatch(rf"[|=<>]?[{_KINDS}](1|2|4|8|16|32)", kind):
        what = "a table of several columns" if isinstance(kind, list) else f"{plain_line(kind, 40)!r}"
        refuse(path, expected, f"it holds {what}, no plain numbers")
    try:
        return np.dtype(kind), order, shape
    except TypeError:
        refuse(path, expected, f"it holds {kind!r}, no plain numbers")


def _short(shape):
    return plain_line(list(shape), 80)


def read_array(path, expected="an npy array of numbers", *, objects=None):
    """The array of an npy file, mapped and not read, in the order and byte order of the file.

    Args:
        path: the file. expected: what it should be, for errors.
        objects: called with the path when it holds objects; default: they are refused.

    Returns:
        numpy array that cannot be written.

    Raises:
        UsageError: the file is not there, not npy (npz, a pickle, a Git LFS pointer, empty), cut short or longer than
            its head says, or holds no plain numbers.

    Example:
        >>> import os, tempfile
        >>> file = os.path.join(tempfile.mkdtemp(), "a.npy")
        >>> np.save(file, np.arange(3))
        >>> read_array(file).tolist()
        [0, 1, 2]
    """
    dtype, shape, fortran, offset = read_head(path, expected)
    if dtype is None:
        if objects is None:
            refuse(path, expected, "it holds Python objects, which are not read; save it again as plain numbers")
        return objects(Path(path))
    if 0 in shape:
        return np.empty([min(n, 1 << 20) for n in shape], dtype)  # nothing follows, whatever the other sides are
    with reading(path, expected, ValueError):
        return np.memmap(path, dtype, "r", offset, shape, "F" if fortran else "C")
