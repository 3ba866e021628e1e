"""Pickles of plain values, read without running anything that is in them.

No function of numpy or of any other package is called on behalf of the file: its arrays are described to
inert stand-ins, which check each description and only then make a plain number array. Everything else is
refused.
"""

import pickle
import zipfile

import numpy as np

from freqkit.errors import UsageError

_CODES = {f"{kind}{size}" for kind, sizes in {"b": "1", "i": "1248", "u": "1248", "f": "248"}.items() for size in sizes}
_ALLOWED = "numpy arrays of numbers, numbers, strings, lists, tuples and dicts"


def load_plain(path):
    """What a pickle of arrays, numbers, strings, lists, tuples and dicts holds; arrays come as `PlainArray`.

    Args:
        path: a pickle file, any protocol, written by numpy 1 or 2, by Python 2 (strings read as latin1) or 3.

    Raises:
        UsageError: the file holds anything else. Nothing in it is executed.
        FileNotFoundError: there is no such file.

    Example:
        >>> import os, pickle, tempfile, numpy as np
        >>> file = os.path.join(tempfile.mkdtemp(), "batch")
        >>> with open(file, "wb") as f:
        ...     pickle.dump({"labels": [1, 0], "data": np.ones((2, 3), np.uint8)}, f)
        >>> content = load_plain(file)
        >>> content["labels"], content["data"].array.shape
        ([1, 0], (2, 3))
    """
    if zipfile.is_zipfile(path):
        raise UsageError(f"{path} is a zip archive (such as torch.save writes), not a plain pickle of arrays.")
    with open(path, "rb") as file:
        try:
            return _Reader(file).load()
        except UsageError as error:
            raise UsageError(f"{path} is refused: {error}") from error
        except Exception as error:  # a broken or hostile stream can fail anywhere in the pickle machine
            raise UsageError(f"{path} is not a readable pickle: {type(error).__name__}: {error}") from error


class _Reader(pickle.Unpickler):
    def __init__(self, file):
        super().__init__(file, encoding="latin1")
        self._names = {
            ("numpy", "ndarray"): _Inert(),
            ("numpy", "dtype"): _Call(_Dtype),
            ("_codecs", "encode"): _Call(_encode),
        }
        for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            self._names[module, "_reconstruct"] = _Call(PlainArray)
            self._names[module, "scalar"] = _Call(_scalar)
        for module in ("numpy.core.numeric", "numpy._core.numeric"):
            self._names[module, "_frombuffer"] = _Call(_frombuffer)

    def find_class(self, module, name):
        if (module, name) in self._names:
            return self._names[module, name]
        what = "it holds torch tensors" if module.split(".")[0] == "torch" else f"it asks for {module}.{name}"
        raise UsageError(f"{what}; only {_ALLOWED} are read.")

    def persistent_load(self, pid):
        raise UsageError(f"it refers to torch storages or the like; only {_ALLOWED} are read.")


class _Inert:
    """Stands for a name that is only mentioned. No slots, no state, no call."""

    __slots__ = ()

    def __setstate__(self, state):
        raise UsageError("it sets state on something that has none.")


class _Call(_Inert):
    """Stands for a function; the pickle machine can call it and nothing more."""

    __slots__ = ("_function",)

    def __init__(self, function):
        self._function = function

    def __call__(self, *arguments):
        return self._function(*arguments)


class _Dtype:
    """A plain number type; structured, object, string and dated ones are refused."""

    __slots__ = ("code", "order")

    def __init__(self, code, align=False, copy=False):
        if not isinstance(code, str) or code not in _CODES:
            raise UsageError(f"it holds an array of type {code!r}; only plain numbers are read, no objects.")
        self.code, self.order = code, "<"

    def __setstate__(self, state):
        plain = isinstance(state, tuple) and len(state) >= 5 and state[2:5] == (None, None, None)
        if not plain or state[1] not in ("<", ">", "=", "|"):
            raise UsageError("it holds an array of a structured type; only plain numbers are read.")
        self.order = ">" if state[1] == ">" else "<"

    def read(self, raw, count):
        dtype = np.dtype(self.order + self.code)
        raw = raw.encode("latin1") if isinstance(raw, str) else raw
        if not isinstance(raw, (bytes, bytearray)) or len(raw) != count * dtype.itemsize:
            raise UsageError(f"it holds an array whose bytes do not fit {count} numbers of type {self.code}.")
        return np.frombuffer(bytes(raw), dtype)


class PlainArray:
    """An array while it is described; `.array` is set once the description has been checked."""

    __slots__ = ("array",)

    def __init__(self, kind=None, shape=None, code=None):
        self.array = None

    def __setstate__(self, state):
        if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[2], _Dtype):
            raise UsageError("it holds an array in a form that numpy does not write.")
        _, shape, dtype, fortran, raw = state
        self.array = _shaped(dtype.read(raw, _count(shape)), shape, bool(fortran))


def _count(shape):
    if not isinstance(shape, tuple) or len(shape) > 3 or any(type(n) is not int or not 0 <= n < 2**31 for n in shape):
        raise UsageError(f"it holds an array of shape {shape!r}; at most 3 dimensions are read.")
    count = 1
    for n in shape:
        count *= n
    return count


def _shaped(flat, shape, fortran):
    return flat.reshape(shape, order="F" if fortran else "C")


def _frombuffer(raw, dtype, shape, order, axis_order=None):
    if not isinstance(dtype, _Dtype) or order not in ("C", "F"):
        raise UsageError("it holds an array in a form that numpy does not write.")
    result = PlainArray()
    result.array = _shaped(dtype.read(raw, _count(shape)), shape, order == "F")
    return result


def _scalar(dtype, raw=None):
    if not isinstance(dtype, _Dtype) or raw is None:
        raise UsageError("it holds a number in a form that numpy does not write.")
    return dtype.read(raw, 1)[0].item()


def _encode(text, encoding="latin1", errors="strict"):
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise UsageError(f"it encodes bytes as {encoding!r}; only latin1 is read.")
    return text.encode("latin1")
