"""One way to open a picture, and one rule of what is one, for every reader."""

import gzip
import io
import os
import tarfile
import types

import numpy as np
import pytest
from PIL import Image

from freqkit.data import Preprocessing, load_images, open_sets, synthetic, write_image_folder
from freqkit.data.check import find_image_folders
from freqkit.data.pictures import MOST_PIXELS, is_image, named_image, open_image
from freqkit.data.test_set import Reader
from freqkit.errors import BadImageError

SIDE = 8
RAMP = np.add.outer(np.arange(SIDE), SIDE * np.arange(SIDE))


def stored(image, kind="png", **flags):
    file = io.BytesIO()
    image.save(file, kind, **flags)
    return file.getvalue()


def rotated():
    image = Image.fromarray((3 * RAMP).astype(np.uint8)).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    return stored(image, "png", exif=exif)


def animated():
    frames = [Image.fromarray(np.full((SIDE, SIDE), value, np.uint8)) for value in (10, 200)]
    return stored(frames[0], "gif", save_all=True, append_images=frames[1:])


def alpha():
    pixels = np.zeros((SIDE, SIDE, 4), np.uint8)
    pixels[..., 0] = 77
    return stored(Image.fromarray(pixels, "RGBA"))


GREY16 = (RAMP * 1000).astype(np.uint16)
# name -> (bytes, what every reader must make of its first channel)
PICTURES = {
    "16-bit grey": (stored(Image.fromarray(GREY16)), GREY16 >> 8),
    "16-bit tiff": (stored(Image.fromarray(GREY16), "tiff"), GREY16 >> 8),
    "grey": (stored(Image.fromarray(RAMP.astype(np.uint8))), RAMP),
    "palette": (stored(Image.fromarray(RAMP.astype(np.uint8)).convert("P")), RAMP),
    "black and white": (stored(Image.fromarray(RAMP > 30)), np.where(RAMP > 30, 255, 0)),
    "alpha": (alpha(), np.full((SIDE, SIDE), 77)),
    "cmyk": (stored(Image.new("CMYK", (SIDE, SIDE), (255, 0, 0, 0)), "tiff"), np.zeros((SIDE, SIDE))),
    "turned by EXIF": (rotated(), 3 * RAMP),
    "animated": (animated(), np.full((SIDE, SIDE), 10)),
}
BAD = {
    "empty": (b"", "the file is empty"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n", "Git LFS pointer"),
    "cut": (PICTURES["grey"][0][:-30], "truncated|end of file|broken|chunk"),
    "text": (b"nothing", "not an image"),
    "floats": (stored(Image.fromarray(np.ones((SIDE, SIDE), np.float32)), "tiff"), "mode F has no defined white"),
    "bomb": (stored(Image.new("L", (20_000, 20_000))), "million that are read|decompression bomb"),
}


def from_folder(root, data):
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        (root / name / "x.png").write_bytes(data)
    return load_images(root, image_size=SIDE).images[0].numpy()


def first_of(name):
    [found] = open_sets([name])
    with Reader(Preprocessing(SIDE)) as reader:
        pixels, bad = reader.finish(reader.start(found, 0, 1))
    if bad:
        raise BadImageError(bad[0][1])
    return pixels[0].numpy()


def from_test_set(root, data):
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        (root / name / "x.png").write_bytes(data)
    return first_of(f"mine={root}")


def from_shard(root, data):
    root.mkdir()
    with tarfile.open(root / "a.tar", "w") as archive:
        for name, content in (("x.png", data), ("x.cls", b"cat")):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return first_of(f"mine={root}")


def hub(monkeypatch, row):
    class Rows:
        def __init__(self):
            self.features = {
                "image": type("Image", (list,), {})(), "label": type("ClassLabel", (), {"names": ["cat", "owl"]})(),
            }  # fmt: skip

        def __len__(self):
            return 1

        def __getitem__(self, key):
            return [0] if key == "label" else {"image": row(), "label": 0}

    fake = types.SimpleNamespace(load_dataset=lambda path, split: Rows())
    monkeypatch.setitem(__import__("sys").modules, "datasets", fake)
    return first_of("mine=hf:some/thing")


READERS = {
    "folder": lambda root, data, patch: from_folder(root, data),
    "test set": lambda root, data, patch: from_test_set(root, data),
    "shard": lambda root, data, patch: from_shard(root, data),
    "hub, bytes": lambda root, data, patch: hub(patch, lambda: {"bytes": data, "path": "x.png"}),
    "hub, decoded": lambda root, data, patch: hub(patch, lambda: Image.open(io.BytesIO(data))),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", PICTURES)
def test_every_reader_sees_the_same(tmp_path, monkeypatch, kind, reader):
    data, wanted = PICTURES[kind]
    assert READERS[reader](tmp_path / "set", data, monkeypatch)[0].tolist() == np.asarray(wanted).tolist()


@pytest.mark.parametrize("reader", [name for name in READERS if name != "hub, decoded"])
@pytest.mark.parametrize("kind", BAD)
def test_every_reader_refuses_the_same(tmp_path, monkeypatch, kind, reader):
    data, words = BAD[kind]
    with pytest.raises(BadImageError, match=words) as caught:
        READERS[reader](tmp_path / "set", data, monkeypatch)
    assert str(caught.value).isprintable() and "Error" not in str(caught.value)


def test_a_device_is_no_image(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(ValueError, match="not a regular file"):
        open_image(tmp_path / "a.png")
    assert not is_image(tmp_path / "a")


NAMES = [
    "a.jpg",
    "b.JPEG",
    "c.jfif",
    "d.JFIF",
    "e.jpe",
    "f.png",
    "g.tiff",
    "h.webp",
    "i.avif",
    "without_suffix",
    "j.ppm",
]


def test_one_rule_of_what_is_an_image(tmp_path, capsys):
    """`evaluate` and `data list` count what `search` reads."""
    picture = Image.fromarray(RAMP.astype(np.uint8)).convert("RGB")
    for name in ("cat", "owl"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for file in NAMES:
            (tmp_path / "set" / name / file).write_bytes(stored(picture, "jpeg"))
    read = load_images(tmp_path / "set", image_size=SIDE)
    [found] = open_sets([f"mine={tmp_path / 'set'}"])
    assert len(read) == len(found) == 2 * len(NAMES) and found.notes == []
    assert sorted(read.paths) == sorted(found.source.name(i) for i in range(len(found)))
    [listed] = find_image_folders(tmp_path)
    assert listed["images"] == 2 * sum(map(named_image, NAMES)) == 2 * (len(NAMES) - 1)


def test_shards_hold_the_same_images(tmp_path):
    data = stored(Image.fromarray(RAMP.astype(np.uint8)).convert("RGB"), "jpeg")
    names = [name for name in NAMES if named_image(name)]
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name in names:
            for member, content in ((name, data), (name.partition(".")[0] + ".cls", b"cat")):
                entry = tarfile.TarInfo(member)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    [found] = open_sets([f"mine={tmp_path}"])
    assert len(found) == len(names) and found.notes == []


def test_what_is_left_out_is_said(tmp_path):
    write_image_folder(synthetic(1, images_per_class=2, size=16), tmp_path / "set")
    root = tmp_path / "set"
    picture = next((root / "C0").iterdir()).read_bytes()
    (root / "C0" / "deeper").mkdir()
    (root / "C0" / "deeper" / "a.png").write_bytes(picture)
    (root / "beside.jfif").write_bytes(picture)
    (root / "readme.md").write_text("words")
    (root / "C1" / ".hidden.png").write_bytes(picture)
    notes = load_images(root, image_size=16).record["notes"]
    assert notes == [
        "1 folders inside class folders are left out",
        "1 images beside the class folders are left out: beside.jfif",
    ]
    (root / "C1" / "notes.txt").write_text("words")
    found = load_images(root, image_size=16, on_bad_image="skip")
    assert len(found) == 8 and "1 files cannot be decoded and are left out: C1/notes.txt" in found.record["notes"]
    [opened] = open_sets([f"mine={root}"])
    assert len(opened) == 8
    assert opened.notes == [*notes, "1 files in class folders are no images and are left out: C1/notes.txt"]


def test_bombs_are_refused_before_they_are_unpacked(tmp_path):
    side = int(MOST_PIXELS**0.5)
    ok = stored(Image.new("L", (side // 4, side // 4)))
    assert open_image(ok)[0].size == (side // 4, side // 4)
    with pytest.raises(Exception, match=r"million that are read|decompression bomb"):
        open_image(stored(Image.new("1", (side + 1, side + 1))))
    thin = stored(Image.new("L", (60_000, 1)))
    with pytest.raises(ValueError, match="million that are read"):
        Preprocessing(SIDE * 20, "center-crop").decode(thin)


def test_an_svg_or_postscript_starts_nothing(tmp_path):
    for data in (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"<svg/>", gzip.compress(b"x")):
        (tmp_path / "a.eps").write_bytes(data)
        assert not named_image("a.eps") and not is_image(tmp_path / "a.eps")
        with pytest.raises(Exception, match="cannot identify"):
            open_image(tmp_path / "a.eps")
