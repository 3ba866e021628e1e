"""Every layout as tiny trees: the right label of every image, and one sentence for every wrong tree."""

import io
import json
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from freqkit.data import Preprocessing, class_list, load_images, open_sets
from freqkit.data.test_set import Reader
from freqkit.data.test_sets.corrupted import BENCHMARK, alexnet_errors
from freqkit.data.test_sets.known import known_set, place_of
from freqkit.errors import BadImageError, UsageError

WNIDS = class_list("imagenet")


def image(path, value=0, side=6):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((side, side, 3), value, np.uint8)).save(path, format="PNG")


def named(test_set):
    """class name -> file names."""
    found = {}
    for i, label in enumerate(test_set.labels.tolist()):
        found.setdefault(test_set.classes[label], []).append(test_set.source.name(i))
    return found


def test_lists():
    assert (len(WNIDS), len(set(WNIDS)), sorted(WNIDS) == WNIDS) == (1000, 1000, True)
    for name in ("imagenet-r", "imagenet-a"):
        own = class_list(name)
        assert len(set(own)) == 200
        assert set(own) <= set(WNIDS)
    assert list(alexnet_errors()) == list(BENCHMARK)
    timm = pytest.importorskip("timm.data", reason="timm is not installed")
    assert timm.ImageNetInfo("imagenet-1k").label_names() == WNIDS


def test_v2_folders_are_numbers(tmp_path):
    """As text 10 comes before 2: the published loaders then give almost every image another class."""
    root = tmp_path / "imagenet-v2" / "imagenetv2-matched-frequency-format-val"
    for label in (0, 1, 2, 10, 100, 999):
        image(root / str(label) / "a.jpeg")
    [found] = open_sets(["v2"], tmp_path, relaxed=True)
    assert found.title == "imagenet-v2 matched-frequency"
    assert named(found) == {WNIDS[label]: [f"{label}/a.jpeg"] for label in (0, 1, 2, 10, 100, 999)}
    with pytest.raises(UsageError, match=r"v2: the parts threshold-0.7, top-images are missing \(relaxed accepts"):
        open_sets(["v2"], tmp_path)
    image(root / "01" / "a.jpeg")
    with pytest.raises(UsageError, match=r"class n01443537 stands twice in .* as '01' and '1'"):
        open_sets(["v2"], tmp_path, relaxed=True)


def test_a_whole_v2_part_needs_no_leave(tmp_path):
    for label in range(1000):
        (tmp_path / str(label)).mkdir()
        for i in range(10):
            (tmp_path / str(label) / f"{i}.jpeg").touch()
    [found] = open_sets([f"v2={tmp_path}"])
    assert (len(found), found.notes, found.counts.tolist()) == (10_000, [], [10] * 1000)
    (tmp_path / "7" / "3.jpeg").unlink()
    (tmp_path / "thumbs").mkdir()
    with pytest.raises(UsageError, match="1 folders are no class of the set: thumbs"):
        open_sets([f"v2={tmp_path}"])
    (tmp_path / "thumbs").rmdir()
    with pytest.raises(UsageError, match=r"1 classes do not have 10 images: n01514668 \(9\)"):
        open_sets([f"v2={tmp_path}"])


def test_doctor_names_every_class_at_fault_and_what_is_expected(tmp_path):
    from freqkit.measures.evaluation.doctor import check_sets

    part = tmp_path / "imagenetv2-matched-frequency-format-val"
    for label in range(1000):
        (part / str(label)).mkdir(parents=True)
        for i in range({7: 9, 12: 11, 500: 0}.get(label, 10)):
            (part / str(label) / f"{i}.jpeg").touch()
    (part / "900" / "0.jpeg").unlink()
    (part / "thumbs").mkdir()
    [found], opened = check_sets(["v2/matched-frequency"], tmp_path)
    assert (found.verdict, found.what, opened) == ("wrong", "v2/matched-frequency", [])
    assert found.found == (
        "matched-frequency: 1 folders are no class of the set: thumbs; "
        f"matched-frequency: 1 classes have no image: {WNIDS[500]}; "
        "matched-frequency: 3 classes do not have 10 images: "
        f"{WNIDS[7]} (9), {WNIDS[12]} (11), {WNIDS[900]} (9); "
        "the whole has 1000 classes of 10, 10000 images, in each of 3 parts"
    )
    for name, whole in {
        "imagenet": "1000 classes of 50, 50000 images", "a": "200 classes, 7500 images",
        "r": "200 classes, 30000 images",
        "sketch": "1000 classes, 50889 images",
        "c": "1000 classes of 50, 50000 images, in each of 15 parts (and 4)",
        "c-bar": "1000 classes of 50, 50000 images, in each of 10 parts",
    }.items():  # fmt: skip
        assert known_set(name).whole == whole


def test_imagenet_in_folders_and_flat(tmp_path):
    for number, label in ((1, 65), (2, 970), (3, 65)):
        image(tmp_path / "folders/val" / WNIDS[label] / f"ILSVRC2012_val_{number:08d}.JPEG")
        image(tmp_path / "flat/val" / f"ILSVRC2012_val_{number:08d}.JPEG")
    lines = [f"ILSVRC2012_val_{n:08d},{WNIDS[label]} 1 2 3 4" for n, label in ((1, 65), (2, 970), (3, 65))]
    maps = {
        "LOC_val_solution.csv": "ImageId,PredictionString\n" + "\n".join(lines),
        "val.txt": "\n".join(f"ILSVRC2012_val_{n:08d}.JPEG {label}" for n, label in ((1, 65), (2, 970), (3, 65))),
        "imagenet_2012_validation_synset_labels.txt": "\n".join(WNIDS[label] for label in (65, 970, 65)),
    }
    [folders] = open_sets(["imagenet"], tmp_path / "folders", relaxed=True)
    with pytest.raises(UsageError, match=r"a map is needed beside it: one of LOC_val_solution.csv"):
        open_sets(["imagenet"], tmp_path / "flat", relaxed=True)
    for name, text in maps.items():
        (tmp_path / "flat" / name).write_text(text)
        [flat] = open_sets(["imagenet"], tmp_path / "flat", relaxed=True)
        assert flat.labels.tolist() == folders.labels.tolist() == [65, 65, 970]
        assert [flat.source.name(i)[-6:] for i in range(3)] == ["1.JPEG", "3.JPEG", "2.JPEG"]
        (tmp_path / "flat" / name).unlink()
    # The development kit numbers the classes 1...1000 in an order of its own.
    (tmp_path / "flat" / "imagenet_2012_validation_synset_labels.txt").write_text("490\n361\n171\n")
    with pytest.raises(UsageError, match="the development kit's own numbers are in another order"):
        open_sets(["imagenet"], tmp_path / "flat", relaxed=True)
    (tmp_path / "folders" / "real.json").write_text(json.dumps([[65], [], [3, 65]]))
    [real] = open_sets(["imagenet"], tmp_path / "folders", relaxed=True)
    assert real.real == [(65,), (3, 65), ()]
    (tmp_path / "folders" / "real.json").write_text('{"a": 1}')
    with pytest.raises(UsageError, match=r"real.json must be a list with a list of class numbers"):
        open_sets(["imagenet"], tmp_path / "folders", relaxed=True)


def test_corruptions(tmp_path):
    for place in ("imagenet-c/gaussian_noise", "imagenet-c/blur/defocus_blur"):
        for severity in (1, 5):
            image(tmp_path / place / str(severity) / WNIDS[3] / "a.JPEG")
    found = open_sets(["c"], tmp_path, relaxed=True)
    assert [each.condition for each in found] == [
        "gaussian_noise/1", "gaussian_noise/5", "defocus_blur/1", "defocus_blur/5",
    ]  # fmt: skip
    assert all(each.labels.tolist() == [3] for each in found)
    assert "gaussian_noise: severities 2, 3, 4 are missing" not in found[1].notes
    with pytest.raises(UsageError, match="c: 13 of 15 corruptions are missing: shot_noise, impulse_noise"):
        open_sets(["c"], tmp_path)
    assert [each.condition for each in open_sets(["c/defocus_blur/5"], tmp_path, relaxed=True)] == ["defocus_blur/5"]
    with pytest.raises(UsageError, match="c: has no part 'fog'"):
        open_sets(["c/fog"], tmp_path, relaxed=True)
    image(tmp_path / "imagenet-c/noise/gaussian_noise/1" / WNIDS[3] / "a.JPEG")
    with pytest.raises(UsageError, match="c: gaussian_noise stands twice"):
        open_sets(["c"], tmp_path, relaxed=True)
    image(tmp_path / "imagenet-c-bar/sparkles/2" / WNIDS[3] / "a.JPEG")
    [bar] = open_sets(["c-bar"], tmp_path, relaxed=True)
    assert (bar.name, bar.condition) == ("imagenet-c-bar", "sparkles/2")


def test_sets_of_200_classes(tmp_path):
    own = class_list("imagenet-a")
    for name in ("imagenet-a", "imagenet-r"):
        for wnid in (own[0], own[7]):
            image(tmp_path / name / wnid / "x.jpg")
    [found] = open_sets(["a"], tmp_path, relaxed=True)
    assert named(found) == {own[0]: [f"{own[0]}/x.jpg"], own[7]: [f"{own[7]}/x.jpg"]}
    assert (found.subset, found.labels.tolist()) == (own, [0, 7])  # places in the list, not among the 1000
    image(tmp_path / "imagenet-a" / WNIDS[0] / "x.jpg")
    with pytest.raises(UsageError, match=f"a: 1 folders are no class of the set: {WNIDS[0]}"):
        open_sets(["a"], tmp_path)


def test_other_trees(tmp_path):
    image(tmp_path / "imagenet-sketch/sketch" / WNIDS[9] / "s.JPEG")
    image(tmp_path / "stylized-imagenet/val" / WNIDS[9] / "s.png")
    sets = open_sets(["sketch", "stylized"], tmp_path, relaxed=True)
    assert [each.labels.tolist() for each in sets] == [[9], [9]]
    for style in ("cartoon", "sketch"):
        image(tmp_path / "imagenet-sct" / "fire_truck" / style / "1.jpg")
    image(tmp_path / "imagenet-sct" / "Tabby Cat" / "1.jpg")
    [sct] = open_sets(["sct"], tmp_path, relaxed=True)
    assert {name: len(files) for name, files in named(sct).items()} == {"siamese cat": 1, "truck": 2}
    assert sct.classes[:2] == ["airliner", "wagon"]
    (tmp_path / "map.txt").write_text("# mine\nfire truck = n04467665\nTabby Cat = n02123597\n")
    [own] = open_sets(["sct"], tmp_path, class_map=tmp_path / "map.txt")
    assert set(named(own)) == {"n04467665", "n02123597"}
    with pytest.raises(UsageError, match="every class must have one counterpart"):
        open_sets(["sct"], tmp_path, class_map={"a": "x", "b": "x"})
    with pytest.raises(UsageError, match="sct: 8 of 10 counterpart classes are missing: airliner"):
        open_sets(["sct"], tmp_path)


def test_cifar_arrays(tmp_path):
    folder = tmp_path / "CIFAR-10-C"
    folder.mkdir()
    pixels = np.arange(10 * 4 * 4 * 3, dtype=np.uint8).reshape(10, 4, 4, 3)
    np.save(folder / "fog.npy", pixels)
    np.save(folder / "labels.npy", np.array([3, 9] * 5))
    found = open_sets(["cifar10-c"], tmp_path, relaxed=True)
    assert [each.condition for each in found] == [f"fog/{s}" for s in range(1, 6)]
    assert [class_list("cifar10")[label] for label in found[2].labels] == ["cat", "truck"]
    with Reader(Preprocessing(4)) as reader:
        read, bad = reader.finish(reader.start(found[2], 0, 2))
    assert bad == []
    assert torch.equal(read.permute(0, 2, 3, 1), torch.from_numpy(pixels[4:6]))  # severity 3 is the third fifth
    (tmp_path / "CIFAR-100-C").mkdir()
    np.save(tmp_path / "CIFAR-100-C" / "fog.npy", pixels)
    np.save(tmp_path / "CIFAR-100-C" / "labels.npy", np.array([0, 99] * 5))
    hundred = open_sets(["cifar100-c"], tmp_path, relaxed=True)[0].classes  # folders of the classes sort so, too
    assert (len(set(hundred)), hundred == sorted(hundred), hundred[0], hundred[99]) == (100, True, "apple", "worm")
    np.save(folder / "snow.npy", pixels[:9])
    with pytest.raises(UsageError, match=r"snow.npy must be uint8 \[10, H, W, 3\], five severities"):
        open_sets(["cifar10-c"], tmp_path, relaxed=True)
    np.save(folder / "labels.npy", np.array([10] * 10))
    with pytest.raises(UsageError, match=r"labels.npy must hold integers 0...9"):
        open_sets(["cifar10-c"], tmp_path, relaxed=True)


def shard(path, samples):
    with tarfile.open(path, "w") as archive:
        for key, value, label in samples:
            file = io.BytesIO()
            Image.fromarray(np.full((6, 6, 3), value, np.uint8)).save(file, "PNG")
            for name, data in ((f"{key}.png", file.getvalue()), (f"{key}.cls", str(label).encode())):
                if label is None and name.endswith("cls"):
                    continue
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))


def test_tar_shards_are_read_in_place(tmp_path):
    shard(tmp_path / "a-000000.tar", [("x1", 10, 2), ("x2", 20, 0)])
    shard(tmp_path / "a-000001.tar", [("x1", 30, 1)])
    [found] = open_sets([f"mine={tmp_path}"])
    assert found.classes == ["0", "1", "2"]
    with Reader(Preprocessing(6)) as reader:
        read, _ = reader.finish(reader.start(found, 0, 3))
    assert dict(zip(found.labels.tolist(), read[:, 0, 0, 0].tolist(), strict=True)) == {0: 20, 1: 30, 2: 10}
    shard(tmp_path / "a-000002.tar", [("y", 30, None)])
    with pytest.raises(UsageError, match=r"1 images have no .cls beside them"):
        open_sets([f"mine={tmp_path}"])
    (tmp_path / "a-000002.tar").write_bytes(b"nothing")
    with pytest.raises(UsageError, match="is no readable tar shard"):
        open_sets([f"mine={tmp_path}"])


def test_a_hub_dataset_says_what_it_needs(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(UsageError, match="needs the package datasets: pip install datasets"):
        open_sets(["mine=hf:somebody/something"])


def test_a_hub_dataset(monkeypatch):
    """The reader asks `datasets` for nothing but features, rows and a split."""
    import types

    class Image_(list):
        pass

    Image_.__name__ = "Image"
    label = type("ClassLabel", (), {"names": ["cat", "dog"]})()

    class Rows:
        def __init__(self):
            self.features = {"picture": Image_(), "label": label}

        def __len__(self):
            return 3

        def __getitem__(self, key):
            if key == "label":
                return [1, 0, 1]
            return {"picture": Image.fromarray(np.full((5, 5), 10 * key, np.uint8)), "label": 0}

    asked = []
    fake = types.SimpleNamespace(load_dataset=lambda path, split: asked.append((path, split)) or Rows())
    monkeypatch.setitem(__import__("sys").modules, "datasets", fake)
    [found] = open_sets(["mine=hf:somebody/something:validation"])
    assert asked == [("somebody/something", "validation")]
    with Reader(Preprocessing(5)) as reader:
        read, bad = reader.finish(reader.start(found, 0, 3))
    assert bad == []
    assert (found.labels.tolist(), read[:, 0, 0, 0].tolist()) == ([0, 1, 1], [10, 0, 20])


def test_faults_are_sentences(tmp_path):
    with pytest.raises(UsageError, match="'imagent' is no known set"):
        open_sets(["imagent"], tmp_path)
    with pytest.raises(UsageError, match=r"r: not found in .*; looked for imagenet-r"):
        open_sets(["r"], tmp_path)
    with pytest.raises(UsageError, match="r: data_dir must be given"):
        open_sets(["r"])
    (tmp_path / "imagenet-r" / "cats").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"holds no folder of a class .* it holds cats"):
        open_sets(["r"], tmp_path, relaxed=True)
    faults = []
    image(tmp_path / "mine" / "a" / "1.png")
    found = open_sets(["r", f"mine={tmp_path / 'mine'}"], tmp_path, on_fault=lambda name, error: faults.append(name))
    assert (faults, [each.name for each in found]) == (["r"], ["mine"])
    assert place_of("r", tmp_path) == tmp_path / "imagenet-r"
    assert place_of("a", tmp_path) is None


def test_pixels_are_those_of_load_images(tmp_path):
    """One preprocessing for search and evaluation, byte by byte."""
    generator = np.random.default_rng(0)
    for i, size in enumerate(((20, 31), (40, 17), (12, 12))):
        path = tmp_path / "mine" / "a" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
    [found] = open_sets([f"mine={tmp_path / 'mine'}"])
    for resize in ("squash", "center-crop"):
        with Reader(Preprocessing(10, resize)) as reader:
            read, bad = reader.finish(reader.start(found, 0, 3))
        assert bad == []
        assert torch.equal(read, load_images(tmp_path / "mine", image_size=10, resize=resize).images)
    assert found.limited(2).counts.tolist() == [2]


def test_unreadable_images(tmp_path):
    image(tmp_path / "mine" / "a" / "1.png", 5)
    (tmp_path / "mine" / "a" / "2.png").write_bytes(b"no")
    [found] = open_sets([f"mine={tmp_path / 'mine'}"])
    with Reader(Preprocessing(4)) as reader:
        read, bad = reader.finish(reader.start(found, 0, 2))
    assert (read[:, 0, 0, 0].tolist(), bad) == ([5, 0], [(1, "not an image")])
    from freqkit.data.test_set import refuse_bad

    with pytest.raises(BadImageError, match=r"mine: a/2.png cannot be decoded"):
        refuse_bad(found, bad, 0)
