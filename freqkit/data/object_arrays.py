"""npy files of objects (dtype O), such as torch tensors saved by numpy: read without running anything in them.

After its head such a file is a pickle. Only its shape is followed: an array of objects, each a number, an array of
numbers or a torch tensor on the CPU, whose storage is what torch.save wrote before 1.6. The machine of
`freqkit.files.pickles` follows it: each of the few names that numpy and torch write there has a stand-in, and
everything else is refused.
"""

import pickletools
from pathlib import Path

import numpy as np

from freqkit.data.npy_files import read_head
from freqkit.errors import UsageError
from freqkit.files.pickles import Call, Inert, read_stream
from freqkit.files.reading import shown

_OPCODES = {
    "PROTO", "FRAME", "STOP", "MARK", "MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT", "BINGET", "LONG_BINGET", "GET", "POP",
    "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD", "NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2",
    "LONG", "LONG1", "BINFLOAT", "BINBYTES", "BINBYTES8", "SHORT_BINBYTES", "BINUNICODE", "SHORT_BINUNICODE",
    "EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "BINPERSID",
}  # fmt: skip
# torch's name of a storage -> numbers in it; bfloat16 has no numpy type.
_STORAGES = {
    "FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "ByteStorage": "u1", "CharStorage": "i1",
    "ShortStorage": "<i2", "IntStorage": "<i4", "LongStorage": "<i8", "BoolStorage": "?",
}  # fmt: skip
_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001
_LEAST = "numbers, arrays of numbers and torch tensors are read from an array of objects"


def load_object_array(path):
    """An npy file of objects as one array of numbers: the objects, which have one shape and type, stacked.

    Args:
        path: a file that numpy.save wrote of an array of objects [n]: numbers, arrays or tensors.

    Returns:
        Array [n, ...] of numbers.

    Raises:
        UsageError: the file holds anything else, or is damaged. Nothing in it is executed.

    Example:
        >>> import os, tempfile, numpy as np, torch
        >>> file, tensors = os.path.join(tempfile.mkdtemp(), "train_data.npy"), np.empty(2, object)
        >>> tensors[:] = [torch.zeros(3, 4, 4), torch.ones(3, 4, 4)]
        >>> np.save(file, tensors)
        >>> load_object_array(file).shape
        (2, 3, 4, 4)
    """
    path = Path(path)
    dtype, shape, _, begin = read_head(path, "an npy array of objects")
    if dtype is not None:
        raise UsageError(f"load_images: {path.name} must hold an array of objects; got {dtype}.")
    with open(path, "rb") as file:
        file.seek(begin)
        raw = file.read()
    try:
        objects, _ = _read(raw, _NAMES)
        items = [np.asarray(_numbers(item)) for item in _items(objects)]
    except UsageError as error:
        raise UsageError(f"load_images: {path.name} is not a plain npy array of numbers: {error}") from error
    except Exception as error:  # a damaged stream can fail anywhere in the pickle machine
        raise UsageError(f"load_images: {path.name} is damaged: no array of objects can be read.") from error
    if len(shape) != 1 or len(items) != shape[0] or not items:
        raise UsageError(f"load_images: {path.name} must hold objects [n], n > 0; got {list(shape)}.")
    kinds = sorted({(item.dtype.str, item.shape) for item in items})
    if len(kinds) > 1:
        shown = ", ".join(f"{kind} {list(of)}" for kind, of in kinds[:3])
        raise UsageError(f"load_images: {path.name} must hold objects of one type and shape; got {shown}.")
    if sum(item.nbytes for item in items) > 4 * len(raw) + (1 << 20):  # one storage seen from many sides
        raise UsageError(f"load_images: {path.name} must hold objects of their own; they share their numbers.")
    return np.stack(items)


def _read(raw, names, persistent=None):
    """The first pickle in some bytes and how long it is; its opcodes are looked at before any is followed."""
    for count, (opcode, argument, _) in enumerate(pickletools.genops(raw), 1):
        if opcode.name not in _OPCODES:
            raise UsageError(f"it holds {opcode.name}; only {_LEAST}.")
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and argument > count:
            raise UsageError("its memo is numbered as no pickle is.")
        if opcode.name == "STOP":
            break
    return read_stream(raw, names, persistent)


class _Kind(Inert):
    """A dtype while it is described."""

    __slots__ = ("code", "order")

    def __init__(self, code, align=False, copy=False):
        if not isinstance(code, str) or code not in ("O8", "b1", *(f"{k}{n}" for k in "iuf" for n in (1, 2, 4, 8))):
            raise UsageError(f"it holds an array of type {shown(code, 20)}; only {_LEAST}.")
        self.code, self.order = code, "<"

    def __setstate__(self, state):
        if not isinstance(state, tuple) or len(state) < 5 or state[2:5] != (None, None, None):
            raise UsageError("it holds an array of a structured type.")
        self.order = ">" if state[1] == ">" else "<"


class _Array(Inert):
    """An array while it is described."""

    __slots__ = ("value",)

    def __init__(self, *_):
        self.value = None

    def __setstate__(self, state):
        if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[2], _Kind):
            raise UsageError("it holds an array in a form that numpy does not write.")
        _, shape, kind, fortran, raw = state
        if kind.code == "O8":
            if not isinstance(raw, list) or len(shape) != 1 or len(raw) != shape[0]:
                raise UsageError("it must hold objects in one row; got another shape.")
            self.value = raw
        else:
            self.value = _shaped(raw, kind.order + kind.code, shape, fortran)


def _shaped(raw, code, shape, fortran):
    sizes = isinstance(shape, tuple) and all(type(n) is int and 0 <= n < 2**31 for n in shape)
    if not isinstance(raw, bytes) or not sizes or len(shape) > 4:
        raise UsageError("it holds an array in a form that numpy does not write.")
    count = 1
    for n in shape:
        count *= n
    if len(raw) != count * np.dtype(code).itemsize:
        raise UsageError(f"it holds an array whose bytes do not fit its shape {list(shape)}.")
    return np.frombuffer(raw, code).reshape(shape, order="F" if fortran else "C")


def _frombuffer(raw, kind, shape, order, *_):
    if not isinstance(kind, _Kind) or kind.code == "O8" or order not in ("C", "F"):
        raise UsageError("it holds an array in a form that numpy does not write.")
    result = _Array()
    result.value = _shaped(bytes(raw), kind.order + kind.code, shape, order == "F")
    return result


def _scalar(kind, raw=None):
    if not isinstance(kind, _Kind) or kind.code == "O8":
        raise UsageError("it holds a number in a form that numpy does not write.")
    return _shaped(raw, kind.order + kind.code, (), False)


def _storage(raw):
    """The numbers of a storage that torch.save wrote: five pickles (a mark, a version, facts of the machine, what kind
    of storage, its key), a count of 8 bytes and the numbers."""
    if not isinstance(raw, bytes):
        raise UsageError("it holds a torch storage that is not in bytes.")
    if raw[:2] == b"PK":
        raise UsageError("it holds a torch storage in the form of a zip archive, which numpy.save does not write.")
    magic, at = _read(raw, {})
    version, length = _read(raw[at:], {})
    at += length
    for opcode, _, place in pickletools.genops(raw[at:]):  # facts of the machine: passed over
        if opcode.name == "STOP":
            at += place + 1
            break
    names = {("torch", name): name for name in _STORAGES}
    found, length = _read(raw[at:], names, lambda pid: pid)
    at += length
    _, length = _read(raw[at:], {})
    at += length
    plain = isinstance(found, tuple) and len(found) in (5, 6) and found[0] == "storage" and found[1] in list(_STORAGES)
    if magic != _MAGIC or version != _VERSION or not plain or found[3] != "cpu" or (len(found) == 6 and found[5]):
        raise UsageError("it holds a torch storage that is no plain one on the CPU.")
    count, numbers = int.from_bytes(raw[at : at + 8], "little"), raw[at + 8 :]
    if count != found[4]:
        raise UsageError("it holds a torch storage that is cut off.")
    return _shaped(numbers, _STORAGES[found[1]], (count,), False)


def _tensor(storage, offset, size, stride, *_):
    """A view of a storage, whose every number lies inside."""
    whole = (offset, *size, *stride) if isinstance(size, tuple) and isinstance(stride, tuple) else (None,)
    if not isinstance(storage, np.ndarray) or len(size) != len(stride) or len(size) > 4:
        raise UsageError("it holds a tensor in a form that torch does not write.")
    if any(type(n) is not int or not 0 <= n < 2**31 for n in whole):
        raise UsageError("it holds a tensor in a form that torch does not write.")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if 0 not in size and last >= len(storage):
        raise UsageError("it holds a tensor that is larger than its storage.")
    bytes_each = storage.dtype.itemsize
    return np.lib.stride_tricks.as_strided(
        storage[offset:], size, [step * bytes_each for step in stride], writeable=False
    )


class _Nothing(Inert):
    """The empty dict of a tensor's hooks."""

    __slots__ = ()


_NAMES = {
    ("numpy", "ndarray"): Inert(),
    ("numpy", "dtype"): Call(_Kind),
    ("torch._utils", "_rebuild_tensor_v2"): Call(_tensor),
    ("torch.storage", "_load_from_bytes"): Call(_storage),
    ("collections", "OrderedDict"): Call(_Nothing),
}
for _module in ("numpy.core", "numpy._core"):
    _NAMES[f"{_module}.multiarray", "_reconstruct"] = Call(_Array)
    _NAMES[f"{_module}.multiarray", "scalar"] = Call(_scalar)
    _NAMES[f"{_module}.numeric", "_frombuffer"] = Call(_frombuffer)


def _items(objects):
    if not isinstance(objects, _Array) or not isinstance(objects.value, list):
        raise UsageError(f"it holds no array of objects; only {_LEAST}.")
    return objects.value


def _numbers(item):
    value = item.value if isinstance(item, _Array) else item
    if isinstance(value, bool) or not isinstance(value, (int, float, np.ndarray)):
        raise UsageError(f"it holds a {type(value).__name__.strip('_').lower()}; only {_LEAST}.")
    return value
