"""Decoded images in files, which the ranks of a machine and later runs map into memory instead of decoding again.

A file holds the pixels [n, 3, H, W], their digests [n, 32], JSON, and a tail that tells how long that is. It is written
under another name and renamed when it is whole and on the disk, so that what a killed process leaves is never read.
Whoever maps a file holds a lock on it, and what is locked is not removed. It is found by a hash of everything that its
pixels depend on: names, sizes and times of the image files, how they are brought to one size, and what decodes them.
"""

import contextlib
import fcntl
import functools
import hashlib
import json
import mmap
import os
import re
import shutil
import struct
import sys
import time
import warnings
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from freqkit.errors import UsageError
from freqkit.files.reading import COUNT, fit
from freqkit.files.whole import atomic_write, remove_leftovers
from freqkit.text import plain_line

MAGIC = b"freqkit images 1"
TAIL = struct.Struct("<Q32s16s")  # bytes of the JSON before it, their SHA-256, MAGIC
NAME = re.compile(r"[0-9a-f]{40}\.images")
DIGEST = 32
BUDGET = 20 << 30
LEAST = 8 << 20  # a smaller set is decoded in seconds, and kept only where a folder is named
LARGE = 32 << 20  # bytes of a file from which on what was read of it is let go
AROUND = 1 << 16  # what the system maps with a page that is read
FRESH = 2.0  # seconds for which the times of a file may hide that it was written again
_HEAD = {"about": str, "count": COUNT, "size": [COUNT], "facts": dict}


class CacheWarning(UserWarning):
    """Decoded images cannot be kept, and are decoded into the memory of the process."""


@dataclass
class Kept:
    """Decoded images.

    Attributes:
        images: uint8 [n, 3, H, W]. digests: `pixel_digest` of each. facts: what their maker told of them, plain JSON.
        cache, key: where they are kept, or None: they are in the memory of this process alone.
    """

    images: torch.Tensor
    digests: list
    facts: dict
    cache: "Cache | None" = None
    key: str | None = None

    def take(self, positions):
        """The images at some positions: a part of a file in a file of its own, which is shared as well."""
        if self.cache is None or self.key is None:
            return Kept(self.images[positions], [self.digests[i] for i in positions], self.facts)
        if positions and positions == list(range(positions[0], positions[-1] + 1)):
            part = slice(positions[0], positions[-1] + 1)
            return Kept(self.images[part], self.digests[part], self.facts, self.cache, _hash([self.key, positions]))

        def copy(sink):
            for place, i in enumerate(positions):
                sink.put(place, self.images[i].numpy())
                has_read(self.images[i : i + 1])
            return [self.digests[i] for i in positions], self.facts

        size, about = tuple(self.images.shape[2:]), f"{len(positions)} of {len(self.images)} images"
        cache = Cache(self.cache.folder, self.cache.budget, LEAST)
        return cache.kept(_hash([self.key, positions]), about, lambda: (len(positions), size, copy))


class Sink:
    """Where decoded images go: an array in memory, or a file.

    Args:
        count, size: how many there may be, and their (height, width). file: an open binary file; None: memory.
    """

    def __init__(self, count, size, file=None):
        self.size, self.count, self._file = tuple(size), count, file
        self._row = 3 * self.size[0] * self.size[1]
        self._array = np.empty((count, 3, *self.size), np.uint8) if file is None else None

    def put(self, i, image):
        """Image i, uint8 [3, H, W]; from any thread."""
        if self._file is None:
            self._array[i] = image
        else:
            _write_at(self._file.fileno(), memoryview(np.ascontiguousarray(image)).cast("B"), i * self._row)

    def keep(self, good):
        """Only the images at the positions `good`, ascending, without a second buffer."""
        for place, i in enumerate(good):
            if place == i:
                continue
            if self._file is None:
                self._array[place] = self._array[i]
            else:
                _write_at(
                    self._file.fileno(), os.pread(self._file.fileno(), self._row, i * self._row), place * self._row
                )
        self.count = len(good)

    @property
    def images(self):
        return torch.from_numpy(self._array[: self.count])

    def close(self, about, digests, facts):
        """Write what stands behind the pixels."""
        head = {"about": about, "count": self.count, "size": list(self.size), "facts": facts}
        text = json.dumps(head).encode()
        self._file.truncate(self.count * self._row)
        self._file.seek(0, os.SEEK_END)
        self._file.write(b"".join(digests))
        self._file.write(text)
        self._file.write(TAIL.pack(len(text), hashlib.sha256(text).digest(), MAGIC))


def _write_at(handle, data, offset):
    data = memoryview(data)
    while data:
        done = os.pwrite(handle, data, offset)
        data, offset = data[done:], offset + done


class Cache:
    """A folder of decoded images.

    Args:
        folder: made when it is needed. budget: bytes that it may hold; never more than half of what the disk has free
            without it. least: bytes that a set must have to be kept.
    """

    def __init__(self, folder, budget=BUDGET, least=0):
        self.folder, self.budget, self.least = Path(folder), budget, least

    def kept(self, key, about, work: Callable) -> Kept:
        """The images of a key: found, or made and kept, or without room made in memory, with a `CacheWarning`.

        Args:
            about: what is kept, for a list. work: called when they are to be made; gives (count, (height, width),
                fill), and `fill` is called with a `Sink` and gives (digests of the images it kept, JSON-ready facts).
        """
        if (found := self.find(key)) is not None:
            return found
        count, size, fill = work()
        need = count * (3 * size[0] * size[1] + DIGEST)
        if need >= max(self.least, 1):
            try:
                with self._alone(f"{key}.lock"):
                    if (found := self.find(key)) is not None:  # another process made it meanwhile
                        return found
                    if self._make(key, about, count, size, fill, need):
                        return self.find(key) or in_memory(count, size, fill)
                    why = f"it has no room for {_mib(need)} (of {_mib(self.room())})"
            except OSError as error:
                why = f"it cannot be written ({error.strerror or error})"
            warnings.warn(
                f"decoded images are not kept in {self.folder}, for {why}; every process decodes them into its own"
                f" memory, {_mib(need)}.",
                CacheWarning,
                stacklevel=2,
            )
        return in_memory(count, size, fill)

    def find(self, key):
        """`Kept` images, or None; a file that is not whole is none."""
        path = self.folder / f"{key}.images"
        try:
            with open(path, "rb") as file:
                with contextlib.suppress(OSError):  # a file system without locks
                    fcntl.flock(file, fcntl.LOCK_SH)
                head, pixels = _head(file)
                if head is None:
                    return None
                with contextlib.suppress(OSError):  # another user's, which may be read alone
                    os.utime(path)
                length = pixels + head["count"] * DIGEST
                mapped = Mapped(file.fileno(), length) if length else b""
        except OSError:
            return None
        count, size = head["count"], head["size"]
        images = np.frombuffer(mapped, np.uint8, pixels).reshape(count, 3, *size)
        digests = bytes(memoryview(mapped)[pixels:])
        return Kept(
            torch.from_numpy(images), [digests[i : i + DIGEST] for i in range(0, len(digests), DIGEST)], head["facts"],
            self, key,
        )  # fmt: skip

    def _make(self, key, about, count, size, fill, need):
        """Make and keep images; False when there is no room for them."""
        with contextlib.ExitStack() as stack:
            with self._alone("room.lock"):  # two that look for room at once would both find it
                self.sweep(need)
                if need > self.room() - self.used():
                    return False
                file = stack.enter_context(atomic_write(self.folder / f"{key}.images"))
                _reserve(file.fileno(), need)
            sink = Sink(count, size, file)
            digests, facts = fill(sink)
            sink.close(about, digests, facts)
        return True

    def room(self):
        """Bytes that the folder may hold now."""
        return min(self.budget, (shutil.disk_usage(self.folder).free + self.used()) // 2)

    def used(self):
        """Bytes that it holds, with what is being written."""
        return sum(entry.stat().st_size for entry in self._entries())

    def sweep(self, need=0):
        """Remove what killed processes left and, until `need` bytes have room, what was used longest ago and is not in
        use; a need beyond the whole room removes nothing."""
        remove_leftovers(self.folder, ".images.")
        room = self.room()
        if need > room:
            return
        for path in sorted(self.files(), key=_used_at):
            if self.used() + need <= min(room, self.room()):
                return
            self.remove(path)

    def files(self):
        """Paths of what is kept."""
        return [Path(entry.path) for entry in self._entries() if NAME.fullmatch(entry.name)]

    def remove(self, path):
        """Whether a file was removed: not while a process has it mapped."""
        try:
            with open(path, "rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(path)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True

    def clear(self):
        """Remove all that is not in use: (how many were removed, how many stay)."""
        if not self.folder.is_dir():
            return 0, 0
        remove_leftovers(self.folder, ".images.")
        removed = [self.remove(path) for path in self.files()]
        for lock in self.folder.glob("*.lock"):
            lock.unlink(missing_ok=True)
        return sum(removed), removed.count(False)

    def table(self):
        """What is kept, last used first: list of dict with about, images, size, bytes, used (seconds since 1970)."""
        rows = []
        for path in sorted(self.files(), key=_used_at, reverse=True):
            with contextlib.suppress(OSError), open(path, "rb") as file:
                head, _ = _head(file)
                about = "damaged" if head is None else head["about"]
                count, size = (0, [0, 0]) if head is None else (head["count"], head["size"])
                facts = {"about": about, "images": count, "size": size, "bytes": os.fstat(file.fileno()).st_size}
                rows.append({**facts, "used": os.fstat(file.fileno()).st_mtime, "file": path.name})
        return rows

    def _entries(self):
        if not self.folder.is_dir():
            return []
        return [entry for entry in os.scandir(self.folder) if ".images" in entry.name and entry.is_file()]

    @contextlib.contextmanager
    def _alone(self, name):
        """Only one process at a time; a killed one lets go. Without locks in the file system, all at once."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / name
        with open(path, "w") as file:
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                if name != "room.lock":
                    path.unlink(missing_ok=True)  # whoever waits holds it open, and looks again


def in_memory(count, size, fill):
    """`Kept` images of this process alone; the arguments are what `work` gives."""
    sink = Sink(count, size)
    digests, facts = fill(sink)
    return Kept(sink.images, digests, facts)


def _head(file):
    """(the JSON of a file, bytes of its pixels), or (None, 0) when it is not whole."""
    length = os.fstat(file.fileno()).st_size
    if length < TAIL.size:
        return None, 0
    file.seek(length - TAIL.size)
    size, digest, magic = TAIL.unpack(file.read(TAIL.size))
    if magic != MAGIC or size > length - TAIL.size:
        return None, 0
    file.seek(length - TAIL.size - size)
    text = file.read(size)
    if hashlib.sha256(text).digest() != digest:
        return None, 0
    head = json.loads(text)
    try:
        fit(head, _HEAD, file.name)
    except UsageError:
        return None, 0
    pixels = head["count"] * 3 * int(np.prod(head["size"]))
    return (head, pixels) if pixels + head["count"] * DIGEST + size + TAIL.size == length else (None, 0)


class Mapped(mmap.mmap):
    """The first bytes of a file in memory; what is written there stays in the process. The file stays locked with it.

    Pages that were read stand among the memory of a process until the system wants them back, or they are let go.
    """

    def __new__(cls, handle, length):
        reserve = getattr(
            mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0
        )  # or a set must fit the memory
        made = super().__new__(
            cls, handle, length, flags=mmap.MAP_PRIVATE | reserve, prot=mmap.PROT_READ | mmap.PROT_WRITE
        )  # holds a copy of the handle, and so the lock
        made.address, made.length = np.frombuffer(made, np.uint8).ctypes.data, length
        _MAPPED.add(made)
        return made

    def let_go(self, first, count, pages):
        """Take some bytes out of this process; they stay in the system's memory, and come back when they are read.

        Not where some were written to, which would be lost: those are no pages of a file any more.

        Args:
            first, count: of the bytes. pages: /proc/self/pagemap, open.
        """
        start = first // AROUND * AROUND
        stop = min(-(-(first + count) // AROUND) * AROUND, -(-self.length // mmap.PAGESIZE) * mmap.PAGESIZE)
        place, number = (self.address + start) // mmap.PAGESIZE, (stop - start) // mmap.PAGESIZE
        entries = np.frombuffer(os.pread(pages, 8 * number, 8 * place), np.uint64)
        here, of_file = entries >> np.uint64(62) != 0, entries >> np.uint64(61) & np.uint64(1) != 0
        if of_file[here].all():
            self.madvise(mmap.MADV_DONTNEED, start, min(stop, self.length) - start)


_MAPPED = weakref.WeakSet()


def has_read(images: torch.Tensor, places: torch.Tensor | None = None) -> None:
    """Told by who reads through a whole set, so that what was read does not stand among the memory of the process.

    Args:
        images: a slice of the set, or with `places` all of it; where it lies in no kept file, nothing is done.
        places: which of them were read, int64 [n]; None: all.
    """
    address = images.data_ptr()
    for mapped in list(_MAPPED):
        first = address - mapped.address
        if not 0 <= first < mapped.length or mapped.length < LARGE:
            continue
        row = images[:1].numel()
        spans = [(0, len(images))] if places is None else [(i, 1) for i in torch.as_tensor(places).tolist()]
        with contextlib.suppress(OSError):  # a system that does not tell keeps them
            pages = os.open("/proc/self/pagemap", os.O_RDONLY)
            try:
                for place, count in spans:
                    mapped.let_go(first + place * row, count * row, pages)
            finally:
                os.close(pages)


def _reserve(handle, length):
    """Take the room on the disk at once, or an hour of decoding would be lost to a full one."""
    try:
        os.posix_fallocate(handle, 0, length)
    except OSError as error:
        import errno

        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise
        os.ftruncate(handle, length)


def _used_at(path):
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _mib(count):
    return f"{count / 2**30:.1f} GiB" if count >= 1 << 30 else f"{count / 2**20:.0f} MiB"


# ---- which folder, and what is in it --------------------------------------------------------------------------------


def default_folder():
    """Where decoded images are kept: $FREQKIT_CACHE, else freqkit/images in the user's cache folder; None: nowhere."""
    own = os.environ.get("FREQKIT_CACHE")
    if own:
        return None if own == "none" else Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base and os.path.isabs(base) else Path.home() / ".cache") / "freqkit" / "images"


def cache_of(folder, budget=None):
    """The `Cache` that is asked for, or None for none.

    Args:
        folder: "auto": see `default_folder`; "none" or None: none. budget: bytes; None: `BUDGET`.
    """
    if folder in (None, "none"):
        return None
    budget = BUDGET if budget is None else budget
    if folder != "auto":
        return Cache(folder, budget)
    found = default_folder()
    return None if found is None else Cache(found, budget, LEAST)


def key_of(facts, root, files):
    """The key of image files decoded in one way.

    A file that was changed or replaced under its name has another size or change time (ctime), which no program can
    set; of one changed in the last `FRESH` seconds, whose times may hide another writing, the content counts.

    Args:
        facts: JSON-ready, all else that the pixels depend on. root: folder. files: names below it, with "/".

    Raises:
        OSError: a file cannot be looked at.
    """
    now, marks = time.time(), []
    for name in files:
        path = os.path.join(root, name)
        about = os.stat(path)
        times = [about.st_mtime_ns, about.st_ctime_ns]
        if now - about.st_ctime < FRESH:
            with open(path, "rb") as file:
                times = hashlib.sha256(file.read()).hexdigest()
        marks.append([name, about.st_size, times])
    return _hash([MAGIC.decode(), _decoders(), facts, os.path.realpath(root), marks])


@functools.cache
def _decoders():
    """What decides how files become pixels: the decoders, and our own code around them."""
    import PIL
    from PIL import features

    code = hashlib.sha256()
    for name in ("pictures.py", "preprocessing.py"):
        code.update(Path(__file__).with_name(name).read_bytes())
    codecs = {name: features.version_codec(name) for name in ("jpg", "zlib", "libtiff")}
    return {"Pillow": PIL.__version__, **codecs, "webp": features.version_module("webp"), "code": code.hexdigest()}


def _hash(value):
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:40]


def of_root(root):
    """How a folder is called in a list of what is kept."""
    return plain_line(str(Path(root).resolve()), 200)
