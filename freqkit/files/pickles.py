"""Pickles of plain values, read without running anything that is in them.

The stream is read by the small machine below, never by Python's own: it knows the opcodes that plain values need and
nothing else, and what a stream claims (places in the memo, lengths, sizes of arrays, keys that would be hashed) is
checked against what it holds before anything is made. No function of numpy or of any other package is called on behalf
of the file: its arrays are described to inert stand-ins, which check each description and only then make a plain number
array. Everything else is refused.
"""

import struct
import zipfile
from pathlib import Path

import numpy as np

from freqkit.errors import UsageError
from freqkit.files.reading import reading, regular, shown

_CODES = {f"{kind}{size}" for kind, sizes in {"b": "1", "i": "1248", "u": "1248", "f": "248"}.items() for size in sizes}
_ALLOWED = "numpy arrays of numbers, numbers, strings, lists, tuples and dicts"
_PICKLE = "a pickle of arrays"
_LINE = 1 << 16  # bytes of a line of the oldest protocol that is no string
_WHOLE = 16  # bytes of a whole number


def load_plain(path, *, tensors=False):
    """What a pickle of arrays, numbers, strings, lists, tuples and dicts holds; arrays come as `PlainArray`.

    Args:
        path: a pickle file, any protocol, written by numpy 1 or 2, by Python 2 (strings read as latin1) or 3.
        tensors: whether torch tensors that `pickle` wrote (not torch.save) may be among them; they come as arrays.

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
    regular(path, _PICKLE)
    with reading(path, _PICKLE, *_ZIP_ERRORS):
        if zipfile.is_zipfile(path):
            raise UsageError(f"{path} is a zip archive (such as torch.save writes), not a plain pickle of arrays.")
        data = Path(path).read_bytes()
    return _run(_Machine(data, _names_with_tensors(path) if tensors else _plain_names), path)


def read_stream(data, names, persistent=None):
    """(the value of the pickle at the beginning of `data`, how many bytes it takes), for readers of other formats.

    Args:
        data: bytes. names: dict of (module, name) -> what stands for it, a `Call` or an `Inert`; others are refused.
        persistent: called with what refers to something outside the stream; None refuses it.

    Raises:
        UsageError: the stream asks for more. ValueError: it is damaged.
    """

    def stand(module, name):
        if (module, name) not in names:
            raise UsageError(f"it asks for {_dotted(module, name)}.")
        return names[module, name]

    machine = _Machine(data, stand, persistent)
    try:
        value = machine.run()
    except _Damaged as error:
        raise ValueError(f"byte {machine.began}: {error}") from error
    return value, machine.at


def _run(machine, path):
    """The next value of a machine, whose errors name the file."""
    try:
        return machine.run()
    except _Damaged as error:
        raise UsageError(f"{path} is not a readable pickle: byte {machine.began}: {error}.") from error
    except UsageError as error:
        raise UsageError(f"{path} is refused: {error}") from error


class _Damaged(Exception):
    """The stream breaks the rules of pickles."""


class _Machine:
    """Reads pickle streams, one after the other, from `data`.

    Args:
        names: called with module and name; gives what stands for it, or raises UsageError.
        persistent: called with what refers to something outside the stream; None refuses it.
    """

    def __init__(self, data, names, persistent=None):
        self.data, self.names, self.persistent = memoryview(data), names, persistent
        self.at = self.began = 0  # next byte; where the opcode at work begins
        # Functions may be given the same bytes again and again: together they get what the file can hold a few times.
        self.budget = 4 * len(data) + _LINE

    def run(self):
        self.stack, self.marks, self.memo = [], [], {}
        while True:
            self.began = self.at
            code = self.take(1)[0]
            if code == 0x2E:  # STOP
                return self.pop()
            step = _STEPS.get(code)
            if step is None:
                if code in _SETS:
                    raise UsageError(f"it holds a set or an extension; only {_ALLOWED} are read.")
                raise _Damaged(f"there is no opcode {code:#04x} for plain values")
            step(self)

    # ---- the stream

    def take(self, count):
        if count < 0 or count > len(self.data) - self.at:
            raise _Damaged("it is cut off there, or claims more than it holds")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self, most=_LINE):
        end, start = self.at, self.at
        chunk = bytes(self.data[start : start + min(most, 256)])
        found = chunk.find(b"\n")
        if found < 0:
            chunk = bytes(self.data[start : start + most])
            found = chunk.find(b"\n")
        if found < 0:
            raise _Damaged("a line does not end")
        self.at = end + found + 1
        return chunk[:found]

    # ---- the stack

    def push(self, value):
        self.stack.append(value)

    def pop(self):
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise _Damaged("the stack is empty")
        return self.stack.pop()

    def top(self):
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise _Damaged("the stack is empty")
        return self.stack[-1]

    def items(self):
        """What lies above the last mark."""
        if not self.marks:
            raise _Damaged("there is no mark on the stack")
        start = self.marks.pop()
        found = self.stack[start:]
        del self.stack[start:]
        return found

    def put(self, place):
        # A memo is filled one by one: a place beyond the bytes read so far is no pickler's.
        if not 0 <= place <= self.at:
            raise _Damaged(f"it puts a value at place {shown(place)} of its memo")
        self.memo[place] = self.top()

    def get(self, place):
        if place not in self.memo:
            raise _Damaged(f"place {shown(place)} of its memo is empty")
        self.push(self.memo[place])

    # ---- values

    def text(self, data, encoding, errors="strict"):
        try:
            self.push(str(data, encoding, errors))
        except UnicodeDecodeError:
            raise _Damaged("a string is no UTF-8") from None

    def whole(self, raw):
        if len(raw) > _WHOLE:
            raise UsageError(f"it holds a whole number of {len(raw)} bytes; at most {_WHOLE} are read.")
        self.push(int.from_bytes(raw, "little", signed=True))

    def written(self, kind, suffix=b""):
        """A number written as text."""
        text = self.line(64).removesuffix(suffix)
        if kind is int and text in (b"00", b"01"):
            self.push(text == b"01")
            return
        try:
            value = kind(text)
        except ValueError:
            raise _Damaged(f"{shown(text.decode('latin1'), 24)} is no number") from None
        self.push(value)

    def quoted(self):
        """A string of the oldest protocol, with backslashes, between quotation marks."""
        import codecs

        raw = self.line(len(self.data))
        if len(raw) < 2 or raw[:1] not in (b"'", b'"') or raw[-1:] != raw[:1]:
            raise _Damaged("a string has no quotation marks")
        try:
            self.push(codecs.escape_decode(raw[1:-1])[0].decode("latin1"))
        except ValueError:
            raise _Damaged("a string has a backslash too many") from None

    def pairs(self, items, target):
        if type(target) is not dict or len(items) % 2:
            raise _Damaged("it sets items of what is no dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            parts = key if type(key) is tuple and len(key) <= 8 else (key,)
            plain = (str, int, float, bytes, type(None), *(() if self.persistent is None else (Mentioned,)))
            if not all(isinstance(part, plain) for part in parts):
                raise UsageError("it holds a dict with a key that is no number and no string.")
            target[key] = value

    def extend(self, items, target):
        if type(target) is not list:
            raise _Damaged("it appends to what is no list")
        target.extend(items)

    # ---- names, calls and state

    def name(self, module, name):
        if not isinstance(module, str) or not isinstance(name, str):
            raise _Damaged("a name is no string")
        self.push(self.names(module, name))

    def call(self):
        arguments, function = self.pop(), self.pop()
        if type(arguments) is not tuple or not isinstance(function, Call):
            raise _Damaged("it calls what is no function")
        self.spend(arguments)
        try:
            self.push(function(*arguments))
        except (TypeError, ValueError) as error:
            if isinstance(error, UsageError):
                raise
            raise _Damaged("it calls a function with the wrong arguments") from None

    def build(self):
        state, target = self.pop(), self.top()
        if isinstance(target, dict) and self.persistent is not None:
            return  # attributes of an OrderedDict: torch keeps versions there
        if not isinstance(target, (Inert, _Dtype, PlainArray)):
            raise _Damaged("it sets state on what has none")
        self.spend(state if type(state) is tuple else ())
        target.__setstate__(state)

    def spend(self, arguments):
        for value in arguments:
            if isinstance(value, (str, bytes, bytearray)):
                self.budget -= len(value)
        if self.budget < 0:
            raise UsageError("it uses the same bytes again and again, and describes more than it holds.")

    def outside(self, which):
        if self.persistent is None:
            raise UsageError(f"it refers to torch storages or the like; only {_ALLOWED} are read.")
        self.push(self.persistent(which))


_SETS = frozenset(b"\x8f\x90\x91\x82\x83\x84\x97\x98")
_STEPS = {
    b"(": lambda m: m.marks.append(len(m.stack)),
    b"0": lambda m: m.marks.pop() if m.marks and m.marks[-1] == len(m.stack) else m.pop(),
    b"1": lambda m: m.items(),
    b"2": lambda m: m.push(m.top()),
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"F": lambda m: m.written(float),
    b"I": lambda m: m.written(int),
    b"L": lambda m: m.written(int, b"L"),
    b"G": lambda m: m.push(m.number(">d")),
    b"J": lambda m: m.push(m.number("<i")),
    b"K": lambda m: m.push(m.number("<B")),
    b"M": lambda m: m.push(m.number("<H")),
    b"\x8a": lambda m: m.whole(m.take(m.number("<B"))),
    b"\x8b": lambda m: m.whole(m.take(m.number("<i"))),
    b"S": lambda m: m.quoted(),
    b"V": lambda m: m.text(m.line(len(m.data)), "raw-unicode-escape"),
    b"T": lambda m: m.text(m.take(m.number("<i")), "latin1"),
    b"U": lambda m: m.text(m.take(m.number("<B")), "latin1"),
    b"X": lambda m: m.text(m.take(m.number("<I")), "utf-8", "surrogatepass"),
    b"\x8c": lambda m: m.text(m.take(m.number("<B")), "utf-8", "surrogatepass"),
    b"\x8d": lambda m: m.text(m.take(m.number("<Q")), "utf-8", "surrogatepass"),
    b"B": lambda m: m.push(bytes(m.take(m.number("<I")))),
    b"C": lambda m: m.push(bytes(m.take(m.number("<B")))),
    b"\x8e": lambda m: m.push(bytes(m.take(m.number("<Q")))),
    b"\x96": lambda m: m.push(bytearray(m.take(m.number("<Q")))),
    b"]": lambda m: m.push([]),
    b")": lambda m: m.push(()),
    b"}": lambda m: m.push({}),
    b"l": lambda m: m.push(m.items()),
    b"t": lambda m: m.push(tuple(m.items())),
    b"d": lambda m: (lambda items: (m.push({}), m.pairs(items, m.top())))(m.items()),
    b"\x85": lambda m: m.push((m.pop(),)),
    b"\x86": lambda m: m.push((m.pop(), m.pop())[::-1]),
    b"\x87": lambda m: m.push((m.pop(), m.pop(), m.pop())[::-1]),
    b"a": lambda m: m.extend([m.pop()], m.top()),
    b"e": lambda m: m.extend(m.items(), m.top()),
    b"s": lambda m: m.pairs([m.pop(), m.pop()][::-1], m.top()),
    b"u": lambda m: m.pairs(m.items(), m.top()),
    b"p": lambda m: (m.written(int), m.put(m.pop())),
    b"q": lambda m: m.put(m.number("<B")),
    b"r": lambda m: m.put(m.number("<I")),
    b"\x94": lambda m: m.put(len(m.memo)),
    b"g": lambda m: (m.written(int), m.get(m.pop())),
    b"h": lambda m: m.get(m.number("<B")),
    b"j": lambda m: m.get(m.number("<I")),
    b"c": lambda m: m.name(m.line().decode("latin1"), m.line().decode("latin1")),
    b"\x93": lambda m: m.name(*(m.pop(), m.pop())[::-1]),
    b"R": lambda m: m.call(),
    b"\x81": lambda m: m.call(),
    b"b": lambda m: m.build(),
    b"\x80": lambda m: m.take(1),
    b"\x95": lambda m: m.take(8),
    b"P": lambda m: m.outside(m.line().decode("latin1")),
    b"Q": lambda m: m.outside(m.pop()),
}
_STEPS = {code[0]: step for code, step in _STEPS.items()}


class Inert:
    """Stands for a name that is only mentioned. No slots, no state, no call."""

    __slots__ = ()

    def __setstate__(self, state):
        raise UsageError("it sets state on something that has none.")


class Call(Inert):
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
            raise UsageError(f"it holds an array of type {shown(code)}; only plain numbers are read, no objects.")
        self.code, self.order = code, "<"

    def __setstate__(self, state):
        plain = isinstance(state, tuple) and len(state) >= 5 and all(part is None for part in state[2:5])
        if not plain or not isinstance(state[1], str) or state[1] not in ("<", ">", "=", "|"):
            raise UsageError("it holds an array of a structured type; only plain numbers are read.")
        self.order = ">" if state[1] == ">" else "<"

    def read(self, raw, count):
        dtype = np.dtype(self.order + self.code)
        raw = raw.encode("latin1") if isinstance(raw, str) else raw
        if not isinstance(raw, (bytes, bytearray)) or len(raw) != count * dtype.itemsize:
            raise UsageError(f"it holds an array whose bytes do not fit {count} numbers of type {self.code}.")
        return np.frombuffer(raw, dtype) if count else np.empty(0, dtype)


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
        sizes = shape if isinstance(shape, tuple) and len(shape) <= 4 else [shape]
        sizes = ", ".join(map(shown, sizes))
        raise UsageError(f"it holds an array of shape ({sizes}); at most 3 dimensions are read.")
    count = 1
    for n in shape:
        count *= n
    return count


def _shaped(flat, shape, fortran):
    return flat.reshape(shape, order="F" if fortran else "C")


def _frombuffer(raw, dtype, shape, order, axis_order=None):
    if not isinstance(dtype, _Dtype) or not isinstance(order, str) or order not in ("C", "F"):
        raise UsageError("it holds an array in a form that numpy does not write.")
    result = PlainArray()
    result.array = _shaped(dtype.read(raw, _count(shape)), shape, order == "F")
    return result


def _scalar(dtype, raw=None):
    if not isinstance(dtype, _Dtype) or raw is None:
        raise UsageError("it holds a number in a form that numpy does not write.")
    return dtype.read(raw, 1)[0].item()


def _encode(text, encoding="latin1", errors="strict"):
    if not isinstance(text, str) or not isinstance(encoding, str) or encoding not in ("latin1", "latin-1"):
        raise UsageError(f"it encodes bytes as {shown(encoding)}; only latin1 is read.")
    return text.encode("latin1")


def _numpy_names():
    names = {("numpy", "ndarray"): Inert(), ("numpy", "dtype"): Call(_Dtype), ("_codecs", "encode"): Call(_encode)}
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        names[module, "_reconstruct"] = Call(PlainArray)
        names[module, "scalar"] = Call(_scalar)
    for module in ("numpy.core.numeric", "numpy._core.numeric"):
        names[module, "_frombuffer"] = Call(_frombuffer)
    return names


_NUMPY = _numpy_names()


def _plain_names(module, name):
    if (module, name) in _NUMPY:
        return _NUMPY[module, name]
    what = "it holds torch tensors" if module.split(".")[0] == "torch" else f"it asks for {_dotted(module, name)}"
    raise UsageError(f"{what}; only {_ALLOWED} are read.")


def _names_with_tensors(path):
    """The same with tensors, whose storages are streams of torch.save within the stream."""

    def storage(raw):
        stored = _Legacy(path, bytes(raw))
        torch = _Torch(stored)
        return stored.run(_Machine(stored.data, torch.name, torch.storage))

    def tensor(*arguments):
        import torch

        result, value = PlainArray(), _Torch.tensor(*arguments).read()
        result.array = (value.float() if value.dtype == torch.bfloat16 else value).numpy()  # numpy has none
        return result

    names = {
        ("torch.storage", "_load_from_bytes"): Call(storage), ("torch._utils", "_rebuild_tensor_v2"): Call(tensor),
        ("collections", "OrderedDict"): Call(lambda: {}),
    }  # fmt: skip
    return lambda module, name: names.get((module, name)) or _plain_names(module, name)


def _dotted(module, name):
    return shown(f"{module}.{name}", 60)[1:-1]


# ---- checkpoints of torch -------------------------------------------------------------------------------------------
#
# torch's own reader believes what a file claims, and makes what it names. So the stream goes through the machine above,
# tensors are described and read only when they are asked for, and whatever else a training script leaves there (its
# arguments, paths, callbacks) is stood for by something inert: no name of the file is ever imported or called.

_ZIP_ERRORS = (
    zipfile.BadZipFile, zipfile.LargeZipFile, struct.error, ValueError, NotImplementedError, RuntimeError, EOFError,
    OverflowError, KeyError,
)  # fmt: skip
_STORAGES = {  # dtype of an element
    "Double": "float64", "Float": "float32", "Half": "float16", "BFloat16": "bfloat16", "ComplexDouble": "complex128",
    "ComplexFloat": "complex64", "Long": "int64", "Int": "int32", "Short": "int16", "Char": "int8", "Byte": "uint8",
    "Bool": "bool", "Untyped": "uint8",
}  # fmt: skip
_MAGIC = 0x1950A86A20F9469CFC6C
_CHECKPOINT = "a checkpoint of torch"
# What may stand beside tensors, by module: arguments of scripts, paths, dates, containers, states of callbacks.
_PATHS = "Path PurePath PosixPath PurePosixPath WindowsPath PureWindowsPath"
_BUILTINS = (
    "set frozenset complex slice range xrange bytearray list dict tuple int long float str unicode bool bytes object"
    " type"
)
HARMLESS = {
    "argparse": "Namespace", "types": "SimpleNamespace", "functools": "partial", "copyreg": "_reconstructor",
    "copy_reg": "_reconstructor", "collections": "OrderedDict Counter defaultdict deque", "uuid": "UUID",
    "datetime": "date datetime time timedelta timezone", "decimal": "Decimal", "fractions": "Fraction",
    "pathlib": _PATHS, "pathlib._local": _PATHS, "builtins": _BUILTINS, "__builtin__": _BUILTINS,
    "typing": "Any Union Optional List Dict Tuple", "torch": "Size device Tensor Generator",
    "torch.nn.parameter": "Parameter Buffer", "torch.serialization": "_get_layout",
}  # fmt: skip
_HARMLESS_PACKAGES = (
    "lightning.", "lightning_fabric.", "lightning_utilities.", "omegaconf.", "pytorch_lightning.", "torch.nn.modules.",
    "torch.optim.",
)  # fmt: skip
_DICTS = {"OrderedDict", "Counter", "defaultdict", "dict", "AttributeDict"}
_LISTS = {"deque", "list"}


def read_checkpoint(path):
    """What a file of `torch.save` holds: plain values, a `StoredTensor` for each tensor, a `Mentioned` for what else is
    harmless. Nothing in it is run, and no tensor is read yet.

    Raises:
        UsageError: it names another type (`HARMLESS` are allowed), or claims what it has not, or is damaged.

    Example:
        >>> import argparse, os, tempfile, torch
        >>> file = os.path.join(tempfile.mkdtemp(), "checkpoint.pth")
        >>> torch.save({"args": argparse.Namespace(lr=0.1), "model": {"weight": torch.ones(2)}}, file)
        >>> found = read_checkpoint(file)
        >>> found["args"], found["model"]["weight"].read()
        (argparse.Namespace, tensor([1., 1.]))
    """
    with reading(path, _CHECKPOINT, *_ZIP_ERRORS):
        stored = _Archive(path) if zipfile.is_zipfile(path) else _Legacy(path)
    torch = _Torch(stored)
    return stored.run(_Machine(stored.data, torch.name, torch.storage))


class _Archive:
    """A checkpoint that is a zip archive: a stream and a record for each storage."""

    def __init__(self, path):
        self.path, self.claimed = path, {}
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
            names = [record.filename for record in records]
            streams = [record for record in records if record.filename.endswith("/data.pkl")]
            if any(name.endswith("/constants.pkl") for name in names):
                raise UsageError(
                    f"{path} is refused: it is a TorchScript program; torch.save(torch.jit.load({Path(path).name!r})"
                    ".state_dict(), 'weights.pth') writes its weights."
                )
            if len(set(names)) < len(names) or len(streams) != 1:
                raise UsageError(f"{path} is not a readable weights file: it must hold one data.pkl.")
            if any(record.compress_type for record in records):
                raise UsageError(f"{path} is refused: torch writes no compressed records.")
            if any(record.file_size > Path(path).stat().st_size for record in records):
                raise UsageError(f"{path} is not a readable weights file: it claims more than it holds.")
            self.data = archive.read(streams[0])
            prefix = streams[0].filename.removesuffix("data.pkl")
            if f"{prefix}byteorder" in names and archive.read(f"{prefix}byteorder") != b"little":
                raise UsageError(f"{path} is refused: its numbers begin with the highest byte.")
        prefix += "data/"
        self.records = {r.filename.removeprefix(prefix): r for r in records if r.filename.startswith(prefix)}

    def run(self, machine):
        return _run(machine, self.path)

    def size(self, key):
        return self.records[key].file_size if key in self.records else -1

    def read(self, key, count):
        raw = bytearray(count)
        with reading(self.path, _CHECKPOINT, *_ZIP_ERRORS), zipfile.ZipFile(self.path) as archive:
            with archive.open(self.records[key]) as file:
                if file.readinto(raw) < count:
                    raise EOFError("a storage is cut off")
        return raw


class _Legacy:
    """A checkpoint of torch before 1.6: one stream after the other, then the storages."""

    def __init__(self, path, data=None):
        self.path, self.claimed, self.places = path, {}, {}
        self.data = Path(path).read_bytes() if data is None else data

    def run(self, machine):
        if (magic := _run(machine, self.path)) != _MAGIC or type(magic) is not int:
            raise UsageError(f"{self.path} is not a readable weights file: it does not begin as one of torch.save.")
        _run(machine, self.path)
        system = _run(machine, self.path)
        if isinstance(system, dict) and system.get("little_endian") is False:
            raise UsageError(f"{self.path} is refused: its numbers begin with the highest byte.")
        value, keys = _run(machine, self.path), _run(machine, self.path)
        if type(keys) is not list or set(map(str, keys)) != set(self.claimed):
            raise UsageError(f"{self.path} is not a readable weights file: its list of storages is damaged.")
        at = machine.at
        for key in keys:
            self.places[key] = at + 8
            at += 8 + self.claimed[key]
        if at > len(self.data):
            raise UsageError(f"{self.path} is not a readable weights file: it is cut off.")
        return value

    def size(self, key):
        return len(self.data)

    def read(self, key, count):
        return bytearray(self.data[self.places[key] : self.places[key] + count])


class Mentioned(Call):
    """Stands for a type, a function or what it would make: it has a name and nothing else."""

    __slots__ = ("name",)

    def __init__(self, name):
        self.name = name

    def __call__(self, *arguments):
        short = self.name.rpartition(".")[2]
        return {} if short in _DICTS else [] if short in _LISTS else Mentioned(self.name)

    def __setstate__(self, state):
        pass

    def __repr__(self):
        return self.name


class _Kind(Mentioned):
    """A type of element or of storage."""

    __slots__ = ("dtype",)

    def __init__(self, name, dtype):
        super().__init__(name)
        self.dtype = dtype


class _Storage(Inert):
    """Numbers outside the stream, read once."""

    __slots__ = ("bytes", "dtype", "key", "stored", "untyped")

    def __init__(self, stored, key, dtype, size):
        self.stored, self.key, self.dtype, self.bytes, self.untyped = stored, key, dtype, size, None

    def read(self):
        import torch

        if self.untyped is None:
            raw = self.stored.read(self.key, self.bytes)
            self.untyped = torch.frombuffer(raw, dtype=torch.uint8).untyped_storage() if raw else torch.UntypedStorage()
        return self.untyped


class StoredTensor(Inert):
    """A tensor whose description has been checked; `.read()` reads its numbers."""

    __slots__ = ("dtype", "offset", "shape", "storage", "stride")

    def __init__(self, storage, dtype, offset, shape, stride):
        self.storage, self.dtype, self.offset, self.shape, self.stride = storage, dtype, offset, shape, stride

    def __setstate__(self, state):
        pass

    def read(self):
        import torch

        return torch.empty(0, dtype=self.dtype).set_(self.storage.read(), self.offset, self.shape, self.stride)


class _Torch:
    """What a checkpoint may name, and the storages that it has."""

    def __init__(self, stored):
        self.stored, self.storages = stored, {}

    def name(self, module, name):
        import torch

        whole = f"{module}.{name}"
        if (module, name) in _NUMPY:
            return _NUMPY[module, name]
        if module in ("numpy", "numpy.dtypes") and isinstance(getattr(np, name, None), type):
            return Mentioned(whole)
        if module in ("torch", "torch.storage") and name.removesuffix("Storage") in _STORAGES:
            return _Kind(whole, getattr(torch, _STORAGES[name.removesuffix("Storage")]))
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return _Kind(whole, getattr(torch, name))
        if module == "torch._utils" and name in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3"):
            return Call(self.tensor)
        if module == "torch._utils" and name in ("_rebuild_parameter", "_rebuild_parameter_with_state"):
            return Call(lambda data, *rest: data)
        if whole == "torch._tensor._rebuild_from_type_v2":
            return Call(self.of_type)
        if name in HARMLESS.get(module, "").split() or f"{module}.".startswith(_HARMLESS_PACKAGES):
            return Mentioned(whole)
        raise UsageError(f"it holds {_dotted(module, name)}, not only tensors and plain values.")

    def of_type(self, function, kind, arguments, state=None):
        if not isinstance(function, Call) or type(arguments) is not tuple:
            raise UsageError("it makes a tensor in a form that torch does not write.")
        return function(*arguments)

    def storage(self, which):
        parts = which if type(which) is tuple and len(which) >= 2 else (None,)
        if parts[0] == "module" and isinstance(parts[1], Mentioned):
            return parts[1]  # the older form keeps the source of whole modules beside their type
        if (
            parts[0] != "storage"
            or len(parts) < 5
            or not isinstance(parts[1], _Kind)
            or not isinstance(parts[2], str)
            or type(parts[4]) is not int
            or any(part is not None for part in parts[5:])
        ):
            raise UsageError("it refers to something outside that is no storage.")
        _, kind, key, _, count = parts[:5]
        size = count * kind.dtype.itemsize
        if not 0 <= size <= self.stored.size(key):
            raise UsageError("it claims a storage that the file does not hold (cut off or damaged).")
        if self.stored.claimed.setdefault(key, size) != size:
            raise UsageError("it describes a storage in two ways.")
        return self.storages.setdefault((key, kind.dtype), _Storage(self.stored, key, kind.dtype, size))

    @staticmethod
    def tensor(storage, offset, size, stride, *rest):
        whole = all(type(n) is int and 0 <= n < 2**48 for part in (size, stride) if type(part) is tuple for n in part)
        if (
            not isinstance(storage, _Storage) or type(size) is not tuple or type(stride) is not tuple or not whole
            or len(size) != len(stride) or len(size) > 16 or type(offset) is not int or offset < 0
        ):  # fmt: skip
            raise UsageError("it describes a tensor in a form that torch does not write.")
        dtype = rest[2].dtype if len(rest) > 2 and isinstance(rest[2], _Kind) else storage.dtype
        elements, last, held = 1, offset, storage.bytes // dtype.itemsize
        for count, step in zip(size, stride, strict=True):
            elements *= count
            last += (count - 1) * step
        outside = elements and last >= held
        if outside or elements > max(held, 1 << 28):
            raise UsageError("it describes a tensor that is larger than its storage.")
        return StoredTensor(storage, dtype, offset, size, stride)
