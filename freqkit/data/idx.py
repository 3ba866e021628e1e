"""MNIST's idx files, also gzipped: MNIST, Fashion-MNIST and their like."""

import gzip
import math
import zlib

import numpy as np

from freqkit.data.arrays import Packed
from freqkit.errors import UsageError

FASHION = [
    "T-shirt or top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
]  # fmt: skip
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


def read(root, source):
    images, labels = read_idx(source[0]), read_idx(source[1])
    if images.ndim != 3 or labels.ndim != 1:
        raise UsageError(
            f"load_images: {source[0].name} must hold [n, H, W] and {source[1].name} [n]; "
            f"got {list(images.shape)} and {list(labels.shape)}."
        )
    # The files do not say what their classes are called; the folder of Fashion-MNIST does.
    fashion = "fashion" in root.resolve().name.lower() and labels.max(initial=0) < 10
    facts = {"files": [path.name for path in source], "class_names": "Fashion-MNIST" if fashion else "numbers"}
    return Packed(images, labels.astype(np.int64), FASHION if fashion else None, facts)


def read_idx(path):
    """uint8 array of an idx file: two zero bytes, 0x08 (unsigned bytes), number of dimensions, the dimensions
    as big-endian 32-bit integers, the bytes."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            head = file.read(4)
            if len(head) < 4 or head[:3] != b"\0\0\x08" or not 1 <= head[3] <= 3:
                raise UsageError(f"load_images: {path.name} must be an idx file of bytes; it begins with {head!r}.")
            raw = file.read(4 * head[3])
            shape = [int(n) for n in np.frombuffer(raw[: len(raw) // 4 * 4], ">u4")]
            count = math.prod(shape)
            data = file.read(count + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UsageError(f"load_images: {path.name} is damaged ({error}).") from error
    if len(shape) != head[3] or len(data) != count:
        raise UsageError(f"load_images: {path.name} must hold {count} bytes, as its head says; it does not.")
    return np.frombuffer(data, np.uint8).reshape(shape)
