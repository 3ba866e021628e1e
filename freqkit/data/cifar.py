"""CIFAR-10 and CIFAR-100 as published: binary batches and python batches.

Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009). An image is 3,072 bytes:
1,024 red, then green, then blue, row by row.
"""

from functools import partial

import numpy as np

from freqkit.data.arrays import Packed, of_arrays
from freqkit.data.class_lists import check_names, class_list, read_names
from freqkit.data.folder import few
from freqkit.errors import UsageError
from freqkit.files.pickles import PlainArray, load_plain
from freqkit.files.reading import reading, regular

_PIXELS = 3072


def _find(root, suffix):
    """part -> (files, number of classes)."""
    batches = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}
    parts = {}
    for part, names in batches.items():
        present = [path for name in names if (path := root / f"{name}{suffix}").is_file()]
        if present:
            parts[part] = (present, 10)
        elif (root / f"{part}{suffix}").is_file():
            parts[part] = ([root / f"{part}{suffix}"], 100)
    return parts


def _read_binary(asked, source):
    files, count = source
    head = 1 if count == 10 else 2  # CIFAR-100: coarse, then fine label
    rows = []
    for file in files:
        expected = f"a binary batch of CIFAR-{count}"
        regular(file, expected)
        with reading(file, expected):
            raw = np.fromfile(file, np.uint8)
        if not len(raw) or len(raw) % (head + _PIXELS):
            raise UsageError(
                f"load_images: {file.name} must hold records of {head + _PIXELS} bytes (CIFAR-{count}); "
                f"it has {len(raw)} bytes."
            )
        rows.append(raw.reshape(-1, head + _PIXELS))
    rows = np.concatenate(rows)
    names = asked.root / ("batches.meta.txt" if count == 10 else "fine_label_names.txt")
    classes = read_names(names) if names.is_file() else None
    return _packed(rows[:, head:], rows[:, head - 1], classes, count, files, names)


def _read_python(asked, source):
    files, count = source
    key = "labels" if count == 10 else "fine_labels"
    pixels, labels = [], []
    for file in files:
        batch = _dictionary(file)
        data = getattr(batch.get("data"), "array", None)
        if data is None or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != _PIXELS:
            raise UsageError(f"load_images: {file.name} must hold 'data', uint8 [n, {_PIXELS}] (CIFAR-{count}).")
        own = batch.get(key)
        if not isinstance(own, list) or not all(type(label) is int and abs(label) < 2**31 for label in own):
            raise UsageError(f"load_images: {file.name} must hold {key!r}, a list of integers (CIFAR-{count}).")
        if len(own) != len(data):  # a surplus would shift the labels of the next file
            raise UsageError(
                f"load_images: {file.name} must hold {key}, one for each of {len(data)} images; got {len(own)}."
            )
        pixels.append(data)
        labels += own
    meta = asked.root / ("batches.meta" if count == 10 else "meta")
    classes = None
    if meta.is_file():
        classes = _dictionary(meta).get("label_names" if count == 10 else "fine_label_names", [])
    return _packed(np.concatenate(pixels), np.array(labels, np.int64), classes, count, files, meta)


def _dictionary(file):
    content = load_plain(file)
    if not isinstance(content, dict):
        raise UsageError(f"load_images: {file.name} must hold a dict, as CIFAR's python batches do.")
    # Python 2 wrote strings, later copies bytes.
    plain = {key.decode("latin1") if isinstance(key, bytes) else key: value for key, value in content.items()}
    return {key: _text(value) for key, value in plain.items()}


def _text(value):
    if isinstance(value, list):
        return [item.decode("latin1") if isinstance(item, bytes) else item for item in value]
    return value if not isinstance(value, PlainArray) or value.array is not None else None


def _packed(pixels, labels, classes, count, files, names):
    """`names`: the file that the classes come from, if they come from one."""
    if classes is None:
        classes = class_list(f"cifar{count}")
    if not isinstance(classes, list) or len(classes) != count or not all(isinstance(name, str) for name in classes):
        came = len(classes) if isinstance(classes, list) else "none"
        raise UsageError(f"load_images: {names.name} must hold {count} names of classes; got {came}.")
    classes = check_names(classes, str(names))
    images = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    names = [file.name for file in files]
    return Packed(images, labels, classes, few(names), {"dataset": f"CIFAR-{count}", "files": names})


BINARY = of_arrays(
    "cifar-binary", "CIFAR data_batch_1.bin ... or train.bin, test.bin", partial(_find, suffix=".bin"), _read_binary
)
PYTHON = of_arrays(
    "cifar-python", "CIFAR pickles data_batch_1 ... or train, test", partial(_find, suffix=""), _read_python
)
