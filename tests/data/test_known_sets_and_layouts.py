"""What holds of every test set that the registry names, and of every layout."""

import importlib
import json
import pkgutil

import pytest
import torch

from freqkit.data import (
    Preprocessing,
    load_images,
    open_sets,
    parts_of,
    synthetic,
    test_sets,
    write_image_folder,
    write_npy,
)
from freqkit.data.layouts import LAYOUTS
from freqkit.data.test_set import Reader
from freqkit.data.test_sets.known import known_set, place_of
from freqkit.errors import UsageError
from freqkit.registry import TEST_SETS
from tests.fuzz import data_formats as formats


def test_the_registry_names_every_known_set():
    for found in pkgutil.iter_modules(test_sets.__path__):
        module = f"{test_sets.__name__}.{found.name}"
        known = [each.name for each in getattr(importlib.import_module(module), "KNOWN", ())]
        assert sorted(known) == sorted(name for name in TEST_SETS if TEST_SETS[name] == module)


@pytest.mark.parametrize("name", TEST_SETS)
def test_every_known_set(tmp_path, name):
    known = known_set(name)
    assert known.title and known.source and known.tree and known.whole
    for k, place in enumerate(known.places):
        root = tmp_path / str(k)
        formats.write_example(known, root / place)
        assert place_of(name, root) == root / place
    assert place_of(name, tmp_path) is None
    sets = open_sets([name], root, relaxed=True)
    assert sets and [each.record for each in open_sets([f"{name}={root / place}"], relaxed=True)] == [
        each.record for each in sets
    ]
    for each in sets:
        assert each.name == known.title and len(each) > 0
        assert (each.condition == "") == (known.parts == ())
        assert each.condition.split("/")[0] in (*known.parts, *known.extras, "")
        assert each.subset == (known.names if known.subset else None)
        assert len({each.source.name(i) for i in range(len(each))}) == len(each) == each.record["images"]
        assert each.labels.dtype == torch.int64 and 0 <= int(each.labels.min()) <= int(each.labels.max())
        assert int(each.labels.max()) < len(each.classes) == len(set(each.classes))
        assert json.loads(json.dumps(each.record)) == each.record
        with Reader(Preprocessing(8)) as reader:
            pixels, bad = reader.finish(reader.start(each, 0, len(each)))
        assert bad == [] and pixels.any()
        last = each.take([len(each) - 1])
        assert (last.title, last.source.name(0)) == (each.title, each.source.name(len(each) - 1))
    with pytest.raises(UsageError, match=rf"^{name}: .*\(relaxed accepts that, and says so on record\)"):
        open_sets([name], root)
    if known.parts:
        part = sets[0].condition
        assert [each.condition for each in open_sets([f"{name}/{part}"], root, relaxed=True)] == [part]


PLANTED = synthetic(1, images_per_class=2, size=16)
SMALL = {
    "folder": lambda root: write_image_folder(PLANTED, root / "train"),
    "cifar-binary": formats._cifar_binary,
    "cifar-python": formats._cifar_python,
    "idx": formats._idx(True),
    "npy": lambda root: write_npy(PLANTED, root),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout(tmp_path, name):
    root = tmp_path / "set"
    root.mkdir()
    SMALL[name](root)
    assert [other for other in LAYOUTS if LAYOUTS[other].find(root)] == [name]
    [part] = parts_of(root)
    images = load_images(root, image_size=16)
    record = images.record
    assert (record["source"], record["images"]) == (name, len(images)) and json.loads(json.dumps(record)) == record
    named = load_images(root, image_size=16, layout=name, part=part)
    assert named.fingerprint == images.fingerprint and named.record == record
    if name in ("folder", "npy"):
        assert torch.equal(images.images, PLANTED.images) and torch.equal(images.labels, PLANTED.labels)
    write_npy(images, tmp_path / "npy")
    write_image_folder(images, tmp_path / "folder")
    for copy in ("npy", "folder"):
        back = load_images(tmp_path / copy, image_size=16, classes=images.classes)
        assert torch.equal(back.images, images.images) and torch.equal(back.labels, images.labels)
