"""MNIST's idx files, also gzipped: MNIST, Fashion-MNIST and their like."""

import gzip
import math
import struct
import zlib

import numpy as np

from freqkit.data.arrays import Packed, of_arrays
from freqkit.data.npy_files import what_begins
from freqkit.errors import UsageError
from freqkit.files.reading import reading, refuse, regular

FASHION = [
    "T-shirt or top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
]  # fmt: skip
_RATIO = 1032  # deflate packs no better
_PARTS = {"train": "train", "t10k": "test", "test": "test"}


def find(root):
    """part -> (image file, label file)."""
    parts = {}
    for stem, part in _PARTS.items():
        pair = [_either(root, f"{stem}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1")]
        if all(pair):
            parts.setdefault(part, tuple(pair))
        elif any(pair):
            raise UsageError(f"load_images: {str(root)!r} must hold images and labels of {stem}; one is missing.")
    return parts


def _either(root, name):
    return next((path for path in (root / name, root / f"{name}.gz") if path.is_file()), None)


def read(asked, source):
    images, labels = read_idx(source[0]), read_idx(source[1])
    if images.ndim != 3 or labels.ndim != 1:
        raise UsageError(
            f"load_images: {source[0].name} must hold [n, H, W] and {source[1].name} [n]; "
            f"got {list(images.shape)} and {list(labels.shape)}."
        )
    # The files do not say what their classes are called; the folder of Fashion-MNIST does.
    fashion = "fashion" in asked.root.resolve().name.lower() and labels.max(initial=0) < 10
    facts = {"files": [path.name for path in source], "class_names": "Fashion-MNIST" if fashion else "numbers"}
    return Packed(images, labels.astype(np.int64), FASHION if fashion else None, source[1].name, facts)


def read_idx(path):
    """uint8 array of an idx file: two zero bytes, 0x08 (unsigned bytes), number of dimensions, the dimensions
    as big-endian 32-bit integers, the bytes. What the head says is held against the file's size before it is read.

    Raises:
        UsageError: it is no such file, or damaged.
    """
    packed, expected = path.suffix == ".gz", "an idx file of bytes"
    regular(path, expected)
    errors = (EOFError, zlib.error, ValueError, struct.error)
    with reading(path, expected, *errors), gzip.open(path) if packed else open(path, "rb") as file:
        size = path.stat().st_size
        head = file.read(4)
        if len(head) < 4 or head[:3] != b"\0\0\x08" or not 1 <= head[3] <= 3:
            refuse(path, expected, what_begins(head))
        raw = file.read(4 * head[3])
        if len(raw) < 4 * head[3]:
            refuse(path, expected, "it is damaged: its head is cut short")
        shape = np.frombuffer(raw, ">u4").tolist()
        count = math.prod(shape)
        most = size * _RATIO + (1 << 20) if packed else size - 4 - len(raw)
        if count > most or (not packed and count < most):
            refuse(path, expected, f"it is damaged: its head says {count} bytes, and {size} are in the file")
        data = file.read(count + 1)  # one more, so that the end and its checksum are read
    if len(data) != count:
        refuse(
            path,
            expected,
            f"it is damaged: its head says {count} bytes, and it holds {'less' if len(data) < count else 'more'}",
        )
    return np.frombuffer(data, np.uint8).reshape(shape)


LAYOUT = of_arrays("idx", "train-images-idx3-ubyte(.gz) with its labels", find, read)
