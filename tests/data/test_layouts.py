"""Published layouts: CIFAR, idx, npy, divided folders; what is recognised, and what is refused."""

import gzip
import io
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from freqkit.data import load_images, parts_of, read_truth, synthetic, write_image_folder, write_npy, write_truth
from freqkit.data.class_lists import class_list
from freqkit.errors import UsageError

FASHION = Path(os.environ.get("FREQKIT_FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))
RNG = np.random.default_rng(0)


def cifar(root, kind, count=10, each=4):
    """A CIFAR folder as published, from random pixels; returns images [n, 3, 32, 32] and labels by part."""
    root.mkdir()
    names = [f"data_batch_{i}" for i in range(1, 6)] if count == 10 else ["train"]
    held = {}
    for name in [*names, "test_batch" if count == 10 else "test"]:
        pixels = RNG.integers(0, 256, (each, 3072), np.uint8)
        labels = RNG.integers(0, count, each)
        coarse = RNG.integers(0, 20, each)
        if kind == "binary":
            columns = [labels] if count == 10 else [coarse, labels]
            rows = np.concatenate([np.stack(columns, 1).astype(np.uint8), pixels], 1)
            (root / f"{name}.bin").write_bytes(rows.tobytes())
        else:
            key = "labels" if count == 10 else "fine_labels"
            content = {"batch_label": name, key: labels.tolist(), "data": pixels, "filenames": ["x.png"] * each}
            if count == 100:
                content["coarse_labels"] = coarse.tolist()
            if name == "data_batch_2":  # as Python 3 writes again what it read as bytes
                content = {key.encode(): value for key, value in content.items()}
            (root / name).write_bytes(pickle.dumps(content, protocol=2))
        part = "test" if "test" in name else "train"
        pixels = pixels.reshape(-1, 3, 32, 32)
        before = held.get(part, (pixels[:0], labels[:0]))
        held[part] = tuple(np.concatenate(pair) for pair in zip(before, (pixels, labels), strict=True))
    return held


@pytest.mark.parametrize("count", [10, 100])
@pytest.mark.parametrize("kind", ["binary", "python"])
def test_cifar(tmp_path, kind, count):
    held = cifar(tmp_path / "set", kind, count)
    assert parts_of(tmp_path / "set") == ["train", "test"]
    for part, (pixels, labels) in held.items():
        images = load_images(tmp_path / "set", part=part)
        where = [int(path.split("-")[-1].removesuffix(".png")) for path in images.paths]
        assert sorted(where) == list(range(len(pixels)))
        assert np.array_equal(images.images.numpy(), pixels[where])
        expected = [class_list(f"cifar{count}")[label] for label in labels[where]]
        assert [images.classes[label] for label in images.labels.tolist()] == expected
        assert images.record["dataset"] == f"CIFAR-{count}"
    with pytest.raises(UsageError, match="holds train and test; say which"):
        load_images(tmp_path / "set")


def test_cifar_names_and_order(tmp_path):
    cifar(tmp_path / "set", "python", 100)
    fine = [f"thing {i}" for i in range(100)]
    meta = {"fine_label_names": fine, "coarse_label_names": ["x"] * 20}
    (tmp_path / "set" / "meta").write_bytes(pickle.dumps(meta, protocol=2))
    images = load_images(tmp_path / "set", part="train")
    turned = load_images(tmp_path / "set", part="train", classes=fine[::-1])
    assert images.classes == fine and turned.classes == fine[::-1]
    by_path = dict(zip(turned.paths, turned.labels.tolist(), strict=True))
    assert [99 - by_path[path] for path in images.paths] == images.labels.tolist()
    with pytest.raises(UsageError, match="every class must be one of the 2 given"):
        load_images(tmp_path / "set", part="train", classes=["a", "b"])


def test_a_hostile_batch_is_refused_and_nothing_runs(tmp_path):
    cifar(tmp_path / "set", "python")
    marker = tmp_path / "ran"

    class Attack:
        def __reduce__(self):
            return (open, (str(marker), "w"))

    (tmp_path / "set" / "data_batch_3").write_bytes(pickle.dumps({"data": Attack(), "labels": [1]}))
    with pytest.raises(UsageError, match="is refused"):
        load_images(tmp_path / "set", part="train")
    assert not marker.exists()
    for content, sentence in (
        ({"data": np.zeros((2, 3072)), "labels": [0, 1]}, "uint8"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [0]}, "one for each of"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 11]}, "a name for every label"),
        ([1, 2], "must hold a dict"),
    ):
        for name in [f"data_batch_{i}" for i in range(1, 6)]:
            (tmp_path / "set" / name).write_bytes(pickle.dumps(content))
        with pytest.raises(UsageError, match=sentence):
            load_images(tmp_path / "set", part="train")
    (tmp_path / "set" / "data_batch_1.bin").write_bytes(b"123")
    with pytest.raises(UsageError, match="fits several layouts"):
        load_images(tmp_path / "set", part="train")
    with pytest.raises(UsageError, match="records of 3073 bytes"):
        load_images(tmp_path / "set", part="train", layout="cifar-binary")


def idx(path, array):
    head = b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    (gzip.open if path.suffix == ".gz" else open)(path, "wb").write(head + array.tobytes())


def test_idx(tmp_path):
    pixels, labels = RNG.integers(0, 256, (6, 28, 28), np.uint8), np.array([3, 1, 4, 1, 5, 9], np.uint8)
    idx(tmp_path / "t10k-images-idx3-ubyte.gz", pixels)
    idx(tmp_path / "t10k-labels-idx1-ubyte", labels)
    images = load_images(tmp_path)
    assert images.classes == list("0123456789") and images.labels.tolist() == [1, 1, 3, 4, 5, 9]
    order = np.argsort(labels, kind="stable")
    assert np.array_equal(images.images.numpy(), pixels[order][:, None].repeat(3, 1))
    assert load_images(tmp_path, image_size=32).images.shape[2:] == (32, 32)
    named = load_images(tmp_path, classes=[f"n{i}" for i in range(10)])
    assert named.paths[0] == "n1/test-000001.png"
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes((tmp_path / "t10k-images-idx3-ubyte.gz").read_bytes()[:-40])
    with pytest.raises(UsageError, match="damaged"):
        load_images(tmp_path)
    (tmp_path / "t10k-images-idx3-ubyte.gz").unlink()
    with pytest.raises(UsageError, match="one is missing"):
        load_images(tmp_path)


def test_fashion_mnist_itself():
    if not FASHION.is_dir():
        pytest.skip(f"Debian's dataset-fashion-mnist is not there: {FASHION}")
    images = load_images(FASHION, part="test", limit_per_class=20)
    assert images.counts.tolist() == [20] * 10 and images.images.shape == (200, 3, 28, 28)
    assert images.classes[1] == "Trouser" and images.classes[9] == "Ankle boot"
    # Bags are large, sandals small: the labels belong to the pixels.
    ink = [float(images.images[images.labels == c].double().mean()) for c in range(10)]
    assert min(ink) == ink[5] and ink[8] > 2 * ink[5] and ink[4] > 2 * ink[1] * 0.8
    assert len(load_images(FASHION, part="train")) == 60_000


def objects(items):
    array = np.empty(len(items), object)
    array[:] = items
    return array


def test_npy_floats_as_published(tmp_path):
    """clip, times 255 in float32, down."""
    values = np.random.default_rng(0).normal(0.5, 0.4, (6, 3, 8, 8)).astype(np.float32)
    values[0] = np.arange(192).reshape(3, 8, 8) / np.float32(255)
    np.save(tmp_path / "train_data.npy", values)
    np.save(tmp_path / "train_label.npy", np.arange(6))
    with pytest.raises(UsageError, match=r"floats in \[0, 1\]; image 1 .*npy_floats='published' clips"):
        load_images(tmp_path)
    got = load_images(tmp_path, npy_floats="published")
    for image, want in zip(got.images.numpy(), values, strict=True):
        for byte, value in zip(image.ravel(), want.ravel(), strict=True):
            assert byte == int(np.float32(min(max(value, 0), 1)) * np.float32(255))
    assert got.record["npy_floats"] == "published"
    np.save(tmp_path / "train_data.npy", values.clip(0, 1))
    rounded = load_images(tmp_path)
    assert np.array_equal(rounded.images.numpy(), np.rint(255 * values.clip(0, 1).astype(np.float64)))
    assert np.array_equal(rounded.images[0].numpy().ravel(), np.arange(192)) and "npy_floats" not in rounded.record
    values[2, 0, 0, 0] = np.nan
    np.save(tmp_path / "train_data.npy", values)
    with pytest.raises(UsageError, match="floats in"):
        load_images(tmp_path, npy_floats="published")
    with pytest.raises(UsageError, match="npy_floats must be one of round, published; got 'floor'"):
        load_images(tmp_path, npy_floats="floor")


def test_npy_of_objects(tmp_path):
    """Tensors of a list, views of one tensor, arrays; labels as numbers or tensors."""
    images = synthetic(1, images_per_class=2)
    x = images.images.float() / 255
    np.save(tmp_path / "train_label.npy", objects(images.labels.tolist()))
    layouts = (
        [image.clone() for image in x],
        list(x),
        [image.permute(1, 2, 0).contiguous().permute(2, 0, 1) for image in x],
        [image.double() for image in x],
        [image.numpy() for image in x],
        list(images.images),
    )
    for items in layouts:
        np.save(tmp_path / "train_data.npy", objects(items))
        got = load_images(tmp_path)
        assert torch.equal(got.images, images.images) and torch.equal(got.labels, images.labels)
    np.save(tmp_path / "train_label.npy", objects([torch.tensor(label) for label in images.labels.tolist()]))
    assert torch.equal(load_images(tmp_path).labels, images.labels)


class Runs:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (self.mark,)


def test_npy_of_objects_runs_nothing(tmp_path):
    np.save(tmp_path / "train_label.npy", np.arange(2))
    tensor, mark = torch.zeros(3, 8, 8), tmp_path / "ran"
    whole = io.BytesIO()
    np.save(whole, objects([tensor, tensor.clone()]))
    whole = whole.getvalue()
    count = (192).to_bytes(8, "little")
    cases = [
        (objects([tensor, Runs(str(mark))]), "asks for"),
        (objects([tensor, {"a": tensor}]), "EMPTY_DICT"),
        (objects([tensor, torch.zeros(3, 8, 4)]), "objects of one type and shape"),
        (objects([tensor, "text"]), "it holds a str"),
        (objects([Runs(str(mark))] * 2), "asks for"),
        (whole[:-60], "is damaged"),
        (whole.replace(count, (2**40).to_bytes(8, "little")), "cut off"),
        (whole.replace(b"FloatStorage", b"EvilStorages"), "asks for"),
    ]
    for content, message in cases:
        if isinstance(content, bytes):
            (tmp_path / "train_data.npy").write_bytes(content)
        else:
            np.save(tmp_path / "train_data.npy", content)
        with pytest.raises(UsageError, match=message):
            load_images(tmp_path)
        assert not mark.exists()
    for cut in range(130, len(whole), 37):
        (tmp_path / "train_data.npy").write_bytes(whole[:cut])
        with pytest.raises(UsageError, match=r"train_data\.npy"):
            load_images(tmp_path)


def test_npy(tmp_path):
    train, test = synthetic(2, images_per_class=4), synthetic(2, images_per_class=2, seed=1)
    for images, part in ((train, "train"), (test, "test")):
        write_npy(images, tmp_path, part=part, name="_complex_special_2_par")
    written = np.load(tmp_path / "train_data_complex_special_2_par.npy")
    assert written.shape == (16, 3, 32, 32) and written.dtype == np.float32 and 0 <= written.min() <= written.max() <= 1
    for images, part in ((train, "train"), (test, "test")):
        back = load_images(tmp_path, part=part)
        assert torch.equal(back.images, images.images) and torch.equal(back.labels, images.labels)
        assert back.classes == images.classes
    with pytest.raises(UsageError, match=r"must not hold a train_data\*.npy yet"):
        write_npy(train, tmp_path)


@pytest.mark.parametrize(
    ("data", "label", "sentence"),
    [
        (np.zeros((4, 3, 8, 8)) + 2, np.arange(4), "image 0 has values 2..2"),
        (np.full((4, 3, 8, 8), np.nan), np.arange(4), "image 0 has values nan"),
        (np.zeros((4, 3, 8, 3)), np.arange(4), "with one reading"),
        (np.zeros((4, 4, 8, 8)), np.arange(4), "with one reading"),
        (np.zeros((4, 3, 8, 8), np.int64), np.arange(4), "must hold uint8, or floats"),
        (np.zeros((4, 3, 8, 8)), np.arange(3), "one for each of 4 images"),
        (np.zeros((4, 3, 8, 8)), np.arange(4) - 1, "must not be negative"),
        (np.zeros((4, 3, 8, 8)), np.array([{}] * 4), "not a plain npy array"),
        (np.zeros((0, 3, 8, 8)), np.arange(0), "it is empty"),
    ],
    ids=str,
)
def test_npy_refused(tmp_path, data, label, sentence):
    np.save(tmp_path / "train_data.npy", data)
    np.save(tmp_path / "train_label.npy", label, allow_pickle=True)
    with pytest.raises(UsageError, match=sentence):
        load_images(tmp_path)


def test_divided_folders(tmp_path):
    train, test = synthetic(1, images_per_class=2, size=16), synthetic(1, images_per_class=1, size=16, seed=1)
    write_image_folder(train, tmp_path / "set" / "train")
    write_image_folder(test, tmp_path / "set" / "test")
    write_truth(train, tmp_path / "set")
    assert parts_of(tmp_path / "set") == ["train", "test"] and parts_of(tmp_path / "set" / "train") == []
    back = load_images(tmp_path / "set", image_size=16, part="test")
    assert torch.equal(back.images, test.images)
    assert all(torch.equal(bins, train.truth[name]) for name, bins in read_truth(tmp_path / "set").items())
    with pytest.raises(UsageError, match="has no part 'val'; it holds train and test"):
        load_images(tmp_path / "set", image_size=16, part="val")
    assert torch.equal(load_images(tmp_path / "set", part="test").images, test.images)
    with pytest.raises(UsageError, match="layout must be auto or one of folder"):
        load_images(tmp_path / "set", layout="zip")


def test_nothing_fits(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UsageError, match=r"holds notes.txt, which fits no layout .*idx3.*train_data"):
        load_images(tmp_path)
    with pytest.raises(UsageError, match="needs its labels beside it, train_label"):
        np.save(tmp_path / "train_data.npy", np.zeros((1, 3, 8, 8)))
        load_images(tmp_path)


def test_python_batches_whose_labels_would_shift_the_next_are_refused(tmp_path):
    for name, labels in (("data_batch_1", [0, 1, 2]), ("data_batch_2", [0])):
        content = {"labels": labels, "data": np.zeros((2, 3072), np.uint8)}
        (tmp_path / name).write_bytes(pickle.dumps(content))
    with pytest.raises(UsageError, match="data_batch_1 must hold labels, one for each of 2 images; got 3"):
        load_images(tmp_path)
