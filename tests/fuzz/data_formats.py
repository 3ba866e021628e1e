"""Formats of image sets and lists for the fuzzer: FORMATS is name -> (write, read).

`write(folder)` puts a small whole sample into an empty folder and returns the files in it that may be damaged;
`read(folder)` reads it as a user does.
"""

import csv
import gzip
import io
import json
import pickle
import struct
import tarfile
from functools import partial

import numpy as np
import torch
from PIL import Image

from freqkit.data import Preprocessing, load_images, open_sets, synthetic, write_image_folder, write_npy, write_truth
from freqkit.data.check import as_sums, checksums, find_image_folders, read_sums
from freqkit.data.class_lists import class_list, read_names
from freqkit.data.synthetic import read_truth
from freqkit.data.test_set import Reader
from freqkit.data.test_sets.counterparts import read_class_map
from freqkit.data.test_sets.known import known_set
from freqkit.registry import TEST_SETS

PLAIN = ("png", "jpeg", "gif", "bmp", "webp", "tiff", "ppm", "ico", "tga")


def _files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _picture(kind="png", shade=40, side=12):
    pixels = np.add.outer(np.arange(side), 3 * np.arange(side)).astype(np.uint8)[..., None] + np.uint8([shade, 0, 9])
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def _tree(folder, classes, kinds=("png", "jpeg")):
    for k, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i, kind in enumerate(kinds):
            (folder / name / f"{i}.{kind}").write_bytes(_picture(kind, 20 * k + i))


def _pixels(images):
    """Refused or read: what was read adds up."""
    assert images.images.shape[1] == 3 and len(images) == len(images.labels) == len(images.paths)
    assert int(images.labels.max()) < len(images.classes)
    images.fingerprint  # noqa: B018


def _loaded(**flags):
    def read(folder):
        _pixels(load_images(folder, **flags))

    return read


def _decoded(sets):
    with Reader(Preprocessing(8)) as reader:
        for each in sets:
            assert len(each) and int(each.labels.max()) < len(each.classes)
            json.dumps(each.record)
            pixels, bad = reader.finish(reader.start(each, 0, len(each)))
            assert len(pixels) == len(each) and all(reason.strip() for _, reason in bad)


def _opened(name, **flags):
    def read(folder):
        _decoded(open_sets([f"{name}={folder}"], relaxed=True, **flags))

    return read


# ---- folders --------------------------------------------------------------------------------------------------------


def _folders(folder):
    write_image_folder(synthetic(1, images_per_class=2, size=16), folder / "set")
    return _files(folder)


def _kinds(folder):
    _tree(folder / "set", ("cat", "owl"), PLAIN)
    return _files(folder)


def _divided(folder):
    for part in ("train", "test"):
        _tree(folder / part, ("cat", "owl"))
    return _files(folder)


def _below(read):
    return lambda folder: read(folder / "set")


def _looked_for(folder):
    find_image_folders(folder)
    _pixels(load_images(folder / "set", image_size=8, on_bad_image="skip"))


# ---- published files ------------------------------------------------------------------------------------------------


def _cifar_rows(count, head):
    rows = np.random.default_rng(0).integers(0, 256, (4, head + 3072), dtype=np.uint8)
    rows[:, :head] = np.arange(4)[:, None] % count
    return rows


def _cifar_binary(folder):
    for i in range(1, 6):
        (folder / f"data_batch_{i}.bin").write_bytes(_cifar_rows(10, 1).tobytes())
    (folder / "batches.meta.txt").write_text("".join(f"name {i}\n" for i in range(10)) + "\n")
    return _files(folder)


def _cifar100_binary(folder):
    (folder / "train.bin").write_bytes(_cifar_rows(100, 2).tobytes())
    (folder / "fine_label_names.txt").write_text("".join(f"name {i}\n" for i in range(100)))
    return _files(folder)


def _cifar_python(folder):
    for i in range(1, 6):
        batch = {b"data": _cifar_rows(10, 1)[:, 1:], b"labels": [0, 1, 2, 9], b"filenames": [b"a", b"b", b"c", b"d"]}
        (folder / f"data_batch_{i}").write_bytes(pickle.dumps(batch, 2))
    (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": [b"n%d" % i for i in range(10)]}, 2))
    return _files(folder)


def _cifar100_python(folder):
    batch = {b"data": _cifar_rows(100, 1)[:, 1:], b"fine_labels": [0, 1, 2, 99], b"coarse_labels": [0, 1, 2, 3]}
    (folder / "train").write_bytes(pickle.dumps(batch, 2))
    (folder / "meta").write_bytes(pickle.dumps({b"fine_label_names": [b"n%d" % i for i in range(100)]}, 2))
    return _files(folder)


def _idx(packed):
    def write(folder):
        images = np.random.default_rng(0).integers(0, 256, (6, 9, 9), dtype=np.uint8)
        for name, array in (("images-idx3", images), ("labels-idx1", np.arange(6, dtype=np.uint8) % 3)):
            data = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()
            (folder / f"train-{name}-ubyte{'.gz' if packed else ''}").write_bytes(
                gzip.compress(data, mtime=0) if packed else data
            )
        return _files(folder)

    return write


def _npy(folder):
    write_npy(synthetic(1, images_per_class=2, size=16), folder)
    return _files(folder)


def _npy_bytes(folder):
    np.save(folder / "train_data.npy", np.arange(4 * 8 * 8 * 3).reshape(4, 8, 8, 3).astype(np.uint8))
    np.save(folder / "train_label.npy", np.asfortranarray(np.array([0, 1, 2, 1], ">i4")))
    (folder / "classes.txt").write_text("cat\ndog\nowl\n")
    return _files(folder)


def _npy_objects(folder):
    images, labels = np.empty(3, object), np.empty(3, object)
    images[:] = [torch.rand(3, 6, 6) for _ in range(3)]
    labels[:] = [0, 1, 2]
    np.save(folder / "train_data_x.npy", images)
    np.save(folder / "train_labels_x.npy", labels)
    return _files(folder)


def _truth(folder):
    write_truth(synthetic(1, images_per_class=1, size=16), folder)
    return [folder / "truth.safetensors"]


# ---- lists ----------------------------------------------------------------------------------------------------------


def _names(folder):
    (folder / "classes.txt").write_text("cat\nnaïve owl\nzebra crossing\n", "utf-8")
    return _files(folder)


def _class_map(folder):
    (folder / "map.txt").write_text("# counterpart = class\nsedan = car\nferry boat = ship\n", "utf-8")
    return _files(folder)


def _sums(folder):
    _tree(folder / "set", ("cat", "owl"))
    (folder / "sums.txt").write_text(as_sums(checksums(folder / "set")))
    return [folder / "sums.txt"]


# ---- test sets ------------------------------------------------------------------------------------------------------


def _shards(numbers):
    def write(folder):
        for shard in range(2):
            kind = tarfile.GNU_FORMAT if shard else tarfile.PAX_FORMAT
            with tarfile.open(folder / f"a-{shard}.tar", "w", format=kind) as archive:
                for i, label in enumerate(("cat", "owl", "cat")):
                    key = f"{'long' * 40 if i == 1 else 'x'}{i}"
                    text = str(i % 2) if numbers else label
                    for name, data in ((f"{key}.png", _picture()), (f"{key}.cls", text.encode())):
                        entry = tarfile.TarInfo(name)
                        entry.size = len(data)
                        archive.addfile(entry, io.BytesIO(data))
        return _files(folder)

    return write


def _of_wnids(folder):
    _tree(folder, class_list("imagenet")[:3])
    return _files(folder)


def _flat(folder):
    wnids, rows = class_list("imagenet"), []
    for i in range(1, 5):
        (folder / f"ILSVRC2012_val_{i:08d}.JPEG").write_bytes(_picture("jpeg", i))
        rows.append([f"ILSVRC2012_val_{i:08d}", f"{wnids[i]} 1 2 3 4"])
    with open(folder / "LOC_val_solution.csv", "w", newline="") as file:
        csv.writer(file).writerows([["ImageId", "PredictionString"], *rows])
    (folder / "real.json").write_text(json.dumps([[i % 1000] for i in range(6)]))
    return _files(folder)


def _flat_map(folder):
    wnids = class_list("imagenet")
    for i in range(1, 5):
        (folder / f"ILSVRC2012_val_{i:08d}.JPEG").write_bytes(_picture("jpeg", i))
    (folder / "val.txt").write_text("".join(f"ILSVRC2012_val_{i:08d}.JPEG {wnids[i]}\n" for i in range(1, 5)))
    return _files(folder)


def write_example(known, folder):
    """The small part of a `KnownSet` that it describes."""
    for path in (folder / name for name in known.example):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".npy":
            pixels = np.random.default_rng(1).integers(0, 256, (10, 8, 8, 3), dtype=np.uint8)
            np.save(path, np.arange(10) if path.stem == "labels" else pixels)
        else:
            path.write_bytes(_picture("png" if path.suffix == ".png" else "jpeg"))
    return _files(folder)


class _Feature(list):
    """A column of a hub data set; `datasets` is asked for nothing but its name."""


class _Rows:
    """Rows as `datasets` gives them when images are not decoded."""

    def __init__(self, folder):
        self.files = _files(folder)
        picture = type("Image", (_Feature,), {})()
        self.features = {"image": picture, "label": type("ClassLabel", (), {"names": ["cat", "owl"]})()}

    def __len__(self):
        return len(self.files)

    def __getitem__(self, key):
        if key == "label":
            return [i % 2 for i in range(len(self.files))]
        return {"image": {"bytes": self.files[key].read_bytes(), "path": None}, "label": key % 2}


def _hub(folder):
    import sys
    import types

    before = sys.modules.get("datasets")
    sys.modules["datasets"] = types.SimpleNamespace(load_dataset=lambda path, split: _Rows(folder))
    try:
        _decoded(open_sets(["mine=hf:some/thing"]))
    finally:
        if before is None:
            del sys.modules["datasets"]
        else:
            sys.modules["datasets"] = before


FORMATS = {
    "class folders": (_folders, _below(_loaded(image_size=8))),
    "class folders, skip": (_folders, _looked_for),
    "kinds of images": (_kinds, _below(_loaded(image_size=8, resize="center-crop", on_bad_image="skip"))),
    "divided folders": (_divided, _loaded(part="train", image_size=8)),
    "CIFAR-10, binary": (_cifar_binary, _loaded(part="train")),
    "CIFAR-100, binary": (_cifar100_binary, _loaded(image_size=8)),
    "CIFAR-10, python": (_cifar_python, _loaded(part="train")),
    "CIFAR-100, python": (_cifar100_python, _loaded()),
    "idx": (_idx(False), _loaded()),
    "idx.gz": (_idx(True), _loaded(image_size=8)),
    "npy of floats": (_npy, _loaded()),
    "npy of floats, published": (_npy, _loaded(npy_floats="published", image_size=8)),
    "npy of bytes": (_npy_bytes, _loaded(image_size=8, resize="center-crop")),
    "npy of objects": (_npy_objects, _loaded()),
    "planted bins": (_truth, read_truth),
    "class list": (_names, lambda folder: read_names(folder / "classes.txt")),
    "class map": (_class_map, lambda folder: read_class_map(folder / "map.txt")),
    "sums": (_sums, lambda folder: read_sums(folder / "sums.txt")),
    "shards of names": (_shards(False), _opened("mine")),
    "shards of numbers": (_shards(True), _opened("mine")),
    "folders of a test set": (_kinds, _below(_opened("mine"))),
    "ImageNet, folders": (_of_wnids, _opened("imagenet")),
    "ImageNet, flat": (_flat, _opened("imagenet")),
    "ImageNet, flat by val.txt": (_flat_map, _opened("imagenet")),
    "hub data set": (_kinds, _hub),
    **{f"test set {name}": (partial(write_example, known_set(name)), _opened(name)) for name in TEST_SETS},
}
