"""An append-only, checksummed record of finished tiles: what a killed run had computed is not computed again.

File: one JSON header line, then records of `length, crc32` (two little-endian uint32) and a payload, which is
a JSON line (key, array names, dtypes, shapes) followed by the arrays' bytes. A record counts only when it is
whole and its checksum fits; reading stops at the first that is not, and the file is cut there before anything
is appended.
"""

import fcntl
import json
import math
import os
import re
import signal
import struct
import threading
import time
import zlib
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from freqkit.errors import Interrupted, UsageError
from freqkit.files.reading import Row, fit, parse_json, regular, shown

_HEADER = b'{"format": "freqkit-journal-1"}\n'
_FRAME = struct.Struct("<II")
_LINE = 4096  # more bytes than the JSON line of a tile has
# Spares reading JSON a million times.
_QUICK = re.compile(rb'\{"key":"([A-Za-z0-9_/.-]+)",(?:"forwards":(\d{1,15}),)?"arrays"')
_RANGES = re.compile(r"/(\d+)-(\d+)/(\d+)-(\d+)$")


class Journal:
    """Finished tiles of one run, by key, kept in a file.

    Args:
        path: the journal file; created when absent, continued when present.
        group_seconds: records are flushed and fsynced together, at most this many seconds apart. A killed
            process loses nothing that was appended (the system has it); a crashed machine loses at most this
            much.

    Raises:
        UsageError: the file is no freqkit journal, or another process holds it.

    Example:
        >>> import tempfile, numpy
        >>> path = tempfile.mkdtemp() + "/journal"
        >>> with Journal(path) as journal:
        ...     journal.put("stage-1/0", loss=numpy.array([1.5, 2.5]))
        >>> with Journal(path) as journal:
        ...     journal.get("stage-1/0")["loss"].tolist()
        [1.5, 2.5]
    """

    def __init__(self, path, *, group_seconds=1.0):
        self.path = Path(path)
        self.group_seconds = group_seconds
        self.dropped = 0  # bytes cut from a damaged or unfinished tail
        self._index = {}  # key -> (offset, length) of the payload, forwards
        regular(self.path, "a journal")
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        except IsADirectoryError as error:
            raise UsageError(f"{self.path}: a journal was expected; it is a folder.") from error
        self._file = os.fdopen(descriptor, "r+b", buffering=0)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise UsageError(
                f"{self.path.parent}: another process is writing to this directory; wait for it or choose another one."
            ) from None
        try:
            self._open()
        except BaseException:
            self._file.close()
            raise
        self._synced = time.monotonic()

    @classmethod
    def peek(cls, path):
        """({key of each whole record: its forwards}, whether a process holds the journal), without touching it."""
        with open(path, "rb", buffering=0) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                held = False
            except OSError:
                held = True
            journal = cls.__new__(cls)
            journal.path, journal._file, journal._index = Path(path), file, {}
            if file.readline() != _HEADER:
                return {}, held
            journal._read(len(_HEADER), os.fstat(file.fileno()).st_size)
            return journal.forwards(), held

    @staticmethod
    def is_one(path):
        """Whether a journal, or its beginning, is there."""
        try:
            with open(path, "rb") as file:
                return _HEADER.startswith(file.read(len(_HEADER)))
        except FileNotFoundError:
            return False

    def _open(self):
        """Read what is there, cut what is damaged, and stand at the end."""
        size = os.fstat(self._file.fileno()).st_size
        start = self._file.read(len(_HEADER))
        if start != _HEADER:
            if start and not _HEADER.startswith(start):
                raise UsageError(f"{self.path}: this is no freqkit journal.")
            self._file.seek(0)
            self._file.truncate()
            self._write(_HEADER)
            self._end = len(_HEADER)
            return
        self._end = self._read(len(_HEADER), size)
        self.dropped = size - self._end
        self._file.seek(self._end)
        self._file.truncate()

    def _read(self, offset, size):
        """Index the whole records from `offset` on; where they end."""
        while True:
            frame = self._file.read(_FRAME.size)
            if len(frame) < _FRAME.size:
                return offset
            length, checksum = _FRAME.unpack(frame)
            # A length of nought is what a file system may leave behind a crash; its checksum would fit.
            if length == 0 or length > size - offset - _FRAME.size:
                return offset
            payload = self._file.read(length)
            if len(payload) < length or zlib.crc32(payload) != checksum:
                return offset
            key, forwards = _key(payload, self.path)
            self._index[key] = (offset + _FRAME.size, length, forwards)
            offset += _FRAME.size + length

    def _write(self, data):
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]

    def __contains__(self, key):
        return key in self._index

    def __len__(self):
        return len(self._index)

    def keys(self):
        return self._index.keys()

    def forwards(self):
        """Forwards whose results each record holds: as it was told, or (of searches, whose records do not tell) from
        the two ranges that end its key; 0 for what is no tile."""
        return {key: _forwards(key) if told is None else told for key, (_, _, told) in self._index.items()}

    def get(self, key, layout=None):
        """The arrays put under `key` as a dict of numpy arrays, or None.

        Args:
            layout: dict of name -> (kind, shape), what must be there: "f" for floats, "i" for integers and booleans.

        Raises:
            UsageError: the record is damaged, or not of this layout.
        """
        if key not in self._index:
            return None
        offset, length, _ = self._index[key]
        payload = os.pread(self._file.fileno(), length, offset)
        line, _, body = payload.partition(b"\n")
        arrays, at = {}, 0
        for name, dtype, shape in _head(line, self.path)["arrays"]:
            # A checksum tells that a record is as it was written, not that freqkit wrote it.
            size = np.dtype(dtype).itemsize * math.prod(shape)
            if size > len(body) - at:
                raise UsageError(f"{self.path}: the record {shown(key, 60)} claims more than it holds.")
            arrays[name] = np.frombuffer(body[at : at + size], dtype).reshape(shape) if size else np.empty(shape, dtype)
            at += size
        if at != len(body):
            raise UsageError(f"{self.path}: the record {shown(key, 60)} holds more than it tells of.")
        for name, (kind, shape) in (layout or {}).items():
            value = arrays.get(name)
            if value is None or value.shape != tuple(shape) or (value.dtype.kind == "f") != (kind == "f"):
                numbers = "real numbers" if kind == "f" else "whole numbers"
                raise UsageError(
                    f"{self.path}: the record {shown(key, 60)} was not written by this run: it must hold {name}, "
                    f"{numbers} of shape {list(shape)}."
                )
        return arrays

    def put(self, key, /, *, forwards=None, **arrays):
        """Append a record. An array may be anything that `numpy.ascontiguousarray` takes.

        `forwards`: how many it took to make; None: its key tells, see `forwards()`.
        """
        arrays = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
        told = {} if forwards is None else {"forwards": forwards}
        line = {"key": key, **told, "arrays": [[n, a.dtype.str, list(a.shape)] for n, a in arrays.items()]}
        payload = (
            json.dumps(line, separators=(",", ":")).encode() + b"\n" + b"".join(a.tobytes() for a in arrays.values())
        )
        self._append(key, payload, forwards)

    def _append(self, key, payload, forwards):
        end = self._end
        self._extend(_FRAME.pack(len(payload), zlib.crc32(payload)) + payload)
        self._index[key] = (end + _FRAME.size, len(payload), forwards)

    def _extend(self, data):
        try:
            self._write(data)
        except OSError as error:
            # A half-written record would hide every later one.
            self._file.seek(self._end)
            self._file.truncate()
            kept = f"{error.strerror}; the {len(self)} finished tiles are kept, resume continues"
            raise OSError(error.errno, kept, str(self.path)) from error
        self._end += len(data)
        if time.monotonic() - self._synced > self.group_seconds:
            self.flush()

    def records(self):
        """The bytes of all records, for another journal to `append`."""
        start = len(_HEADER)
        data = bytearray(self._end - start)
        view, at = memoryview(data), 0
        while at < len(data):  # one read gives two gigabytes at most
            at += os.preadv(self._file.fileno(), [view[at:]], start + at)
        return data

    def append(self, records, source):
        """Append what another journal's `records` gave; tiles that are here already are left out.

        Raises:
            OSError: the bytes are no whole records (`source` says whose), or the disk is full.
        """
        view, at, new = memoryview(records), 0, []
        while at < len(records):
            length, checksum = _FRAME.unpack_from(records, at)
            payload = view[at + _FRAME.size : at + _FRAME.size + length]
            if len(payload) < length or zlib.crc32(payload) != checksum:
                raise OSError(f"{source} arrived damaged; what was scored is kept, resume continues.")
            key, forwards = _key(bytes(payload[:_LINE]), self.path)
            if key not in self._index:
                new.append((key, at, length, forwards))
            at += _FRAME.size + length
        # Neighbours are written as one.
        while new:
            run = 1
            while run < len(new) and new[run][1] == new[run - 1][1] + _FRAME.size + new[run - 1][2]:
                run += 1
            first, last = new[0][1], new[run - 1][1] + _FRAME.size + new[run - 1][2]
            end = self._end
            self._extend(view[first:last])
            for key, start, length, forwards in new[:run]:
                self._index[key] = (end + start - first + _FRAME.size, length, forwards)
            del new[:run]

    def absorb(self, path):
        """Append the whole records of the journal file `path`, which no process writes to any more."""
        with open(path, "rb", buffering=0) as file:
            other = type(self).__new__(type(self))
            other.path, other._file, other._index = Path(path), file, {}
            if file.read(len(_HEADER)) != _HEADER:
                return  # killed before it wrote anything
            other._end = other._read(len(_HEADER), os.fstat(file.fileno()).st_size)
            self.append(other.records(), f"the records of {path}")

    def flush(self):
        """Wait until everything appended is on the disk."""
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def clear(self):
        """Forget everything that was appended."""
        self._file.seek(0)
        self._file.truncate()
        self._index = {}
        self._open()

    def close(self):
        if not self._file.closed:
            self.flush()
            self._file.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _key(payload, path):
    """(key, forwards or None) of a payload, or of its beginning."""
    found = _QUICK.match(payload)
    if found:
        return found[1].decode(), None if found[2] is None else int(found[2])
    head = _head(payload.partition(b"\n")[0], path)
    return head["key"], head.get("forwards")


def _forwards(key):
    found = _RANGES.search(key)
    if found is None:
        return 0
    a, b, c, d = map(int, found.groups())
    return (b - a) * (d - c)


_ARRAY = re.compile(r"[<>|=][biuf][1248]")


def _head(line, path):
    """What the JSON line of a record says: a key, and arrays of numbers."""
    where = f"{path}: a record"
    try:
        head = parse_json(line.decode(), where)
    except UnicodeDecodeError:
        raise UsageError(f"{where} must begin with a line of JSON; it does not.") from None
    fit(head, {"key": str, "arrays": [Row(str, str, [range(2**48)])]}, where)
    for _, kind, shape in head["arrays"]:
        if not _ARRAY.fullmatch(kind) or len(shape) > 8:
            raise UsageError(f"{where} must tell of each array its name, its dtype, and its shape.")
    return head


@contextmanager
def finish_tile_on_signal():
    """Turn SIGINT and SIGTERM into a flag that a run reads between tiles; a second SIGINT stops at once.

    Yields a function that raises `Interrupted` when a signal has come. Outside the main thread, where Python
    allows no handlers, signals keep their usual meaning.
    """
    received = []

    def check():
        if received:
            raise Interrupted(received[0])

    if threading.current_thread() is not threading.main_thread():
        yield check
        return

    def handler(number, frame):
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)

    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield check
    finally:
        for number, old in before.items():
            signal.signal(number, old)
