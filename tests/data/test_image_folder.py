"""Image folders: what is read, what is refused, and that nothing is silent."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from freqkit.data import load_images, synthetic, write_image_folder
from freqkit.data.preprocessing import Preprocessing
from freqkit.errors import BadImageError, UsageError


def picture(width=20, height=16, seed=0):
    """Smooth colours: survives JPEG well."""
    y, x = np.mgrid[:height, :width]
    phase = np.array([0.0, 1.0, 2.0]) + seed
    values = 127.5 + 100 * np.sin(x[..., None] / 5 + phase) * np.cos(y[..., None] / 4 + phase)
    return Image.fromarray(values.astype(np.uint8))


def tree(root, classes=("a", "b"), each=2):
    for c, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for i in range(each):
            picture(seed=10 * c + i).save(root / name / f"{i}.png")
    return root


def test_layout_labels_and_record(tmp_path):
    root = tree(tmp_path / "set", ("dog", "Cat", "ß é"))
    (root / "README.txt").write_text("beside")
    (root / ".hidden").mkdir()
    (root / "dog" / ".DS_Store").write_bytes(b"x")
    (root / "dog" / "deeper").mkdir()
    picture().save(root / "ß é" / "日本 语.png")
    images = load_images(root, image_size=8)
    assert images.classes == ["Cat", "dog", "ß é"]
    assert images.paths[0] == "Cat/0.png" and images.paths[-1] == "ß é/日本 语.png"
    assert images.labels.tolist() == [0, 0, 1, 1, 2, 2, 2]
    assert images.images.shape == (7, 3, 8, 8) and images.images.dtype == torch.uint8
    record = images.record
    assert (record["ignored_hidden"], record["ignored_folders"], record["ignored_beside"]) == (2, 1, 1)
    assert record["modes"] == {"RGB": 7} and record["images_per_class"] == {"Cat": 2, "dog": 2, "ß é": 3}
    assert str(tmp_path) not in json.dumps(record)


@pytest.mark.parametrize("shape", [(20, 16), (300, 200), (200, 301), (224, 224), (64, 1000)], ids=str)
@pytest.mark.parametrize("size", [32, 224])
def test_resizing_is_torchvisions(tmp_path, shape, size):
    transforms = pytest.importorskip("torchvision.transforms", reason="torchvision is the reference here")
    (tmp_path / "a").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (*shape[::-1], 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    image.save(tmp_path / "a" / "x.png")
    squash = np.asarray(transforms.Resize((size, size))(image)).transpose(2, 0, 1)
    got = load_images(tmp_path, image_size=size, resize="squash").images[0].numpy()
    assert np.array_equal(got, squash)
    side = size * 256 // 224
    crop = transforms.Compose([transforms.Resize(side), transforms.CenterCrop(size)])(image)
    images = load_images(tmp_path, image_size=size, resize="center-crop")
    assert np.array_equal(images.images[0].numpy(), np.asarray(crop).transpose(2, 0, 1))
    assert images.record["resize"] == "center-crop" and images.record["resized_side"] == side


@pytest.mark.parametrize("size", [64, 224, 299, 300])
@pytest.mark.parametrize("shape", [(300, 200), (257, 256), (90, 91)])
def test_the_published_crop_is_of_256(shape, size):
    """`Resize(256)`, `CenterCrop(size)` whatever the size, black around where that is more."""
    transforms = pytest.importorskip("torchvision.transforms", reason="torchvision is the reference here")
    noise = np.random.default_rng(0).integers(0, 256, (*shape[::-1], 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    want = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(size)])(image)
    published, own = Preprocessing(size, "center-crop", 256), Preprocessing(size, "center-crop")
    assert np.array_equal(published.fit(image), np.asarray(want).transpose(2, 0, 1))
    assert np.array_equal(published.fit(image), own.fit(image)) == (size == 224)
    assert (published.side, own.side) == (256, size * 256 // 224)
    with pytest.raises(UsageError, match="resized_side must be a positive integer"):
        Preprocessing(size, "center-crop", 0)


def test_native_size_is_untouched(tmp_path):
    (tmp_path / "a").mkdir()
    pixels = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a" / "x.png")
    assert np.array_equal(load_images(tmp_path, image_size=32).images[0].numpy().transpose(1, 2, 0), pixels)


def test_colour_modes(tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    base = picture(16, 16)
    ramp = (np.arange(256, dtype=np.uint16).reshape(16, 16) * 257).astype(np.uint16)
    base.convert("L").save(folder / "grey.png")
    base.convert("P", palette=Image.Palette.ADAPTIVE).save(folder / "palette.png")
    base.convert("CMYK").save(folder / "print.jpg", quality=98)
    Image.fromarray(ramp).save(folder / "sixteen.png")
    Image.fromarray(ramp).save(folder / "sixteen.tif")
    clear = base.copy()
    clear.putalpha(0)
    clear.save(folder / "transparent.png")
    frames = [picture(16, 16, seed).convert("P") for seed in (0, 5, 9)]
    frames[0].save(folder / "animated.gif", save_all=True, append_images=frames[1:])
    base.convert("1").save(folder / "two.png")
    images = load_images(tmp_path, image_size=16)
    got = {Path(path).name: image.numpy() for path, image in zip(images.paths, images.images, strict=True)}
    rgb = np.asarray(base).transpose(2, 0, 1).astype(int)

    grey = np.asarray(base.convert("L"))
    assert all(np.array_equal(plane, grey) for plane in got["grey.png"])
    assert np.abs(got["palette.png"] - rgb).mean() < 8
    assert np.abs(got["print.jpg"] - rgb).mean() < 8
    for name in ("sixteen.png", "sixteen.tif"):
        assert np.array_equal(got[name][0].ravel(), np.arange(256)), "16 bits keep their high byte"
    assert np.array_equal(got["transparent.png"], rgb), "transparency is dropped"
    assert np.abs(got["animated.gif"] - rgb).mean() < 25, "the first frame"
    assert set(np.unique(got["two.png"])) == {0, 255}
    modes = images.record["modes"]
    assert modes["L"] == 1 and modes["CMYK"] == 1 and modes["RGBA"] == 1 and modes["I;16"] == 2
    assert sum(modes.values()) == 8


def saved(format, **options):
    buffer = io.BytesIO()
    picture(120, 90).save(buffer, format=format, **options)
    return buffer.getvalue()


BAD = {
    "truncated.jpg": saved("JPEG")[:-300],
    "half.png": saved("PNG")[: len(saved("PNG")) // 2],
    "half.bmp": saved("BMP")[: len(saved("BMP")) // 2],
    "half.gif": saved("GIF")[: len(saved("GIF")) // 2],
    "half.webp": saved("WEBP")[: len(saved("WEBP")) // 2],
    "half.tif": saved("TIFF")[: len(saved("TIFF")) // 2],
    "text.jpg": b"this is not an image at all",
    "empty.jpg": b"",
    "header.png": saved("PNG")[:20],
    "zeros.jpeg": bytes(5000),
    "notes.txt": "Grüße".encode(),
}


@pytest.fixture
def spoilt(tmp_path):
    root = tree(tmp_path / "set", each=3)
    for name, content in BAD.items():
        (root / "b" / name).write_bytes(content)
    Image.fromarray(np.ones((4, 4), np.float32)).save(root / "b" / "float.tif")
    (root / "b" / "dangling.png").symlink_to(root / "nowhere.png")
    os.mkfifo(root / "b" / "pipe.png")
    return root


def test_bad_files_are_counted_and_named(spoilt):
    with pytest.raises(BadImageError) as caught:
        load_images(spoilt, image_size=8)
    message = str(caught.value)
    assert f"{len(BAD) + 3} of {len(BAD) + 9} files" in message
    assert "b/dangling.png" in message and "and 9 more" in message and "on_bad_image='skip'" in message
    assert isinstance(caught.value, UsageError)


def test_bad_files_are_skipped_on_request(spoilt):
    images = load_images(spoilt, image_size=8, on_bad_image="skip")
    clean = load_images(tree(spoilt.parent / "clean", each=3), image_size=8)
    assert torch.equal(images.images, clean.images) and images.paths == clean.paths
    assert images.fingerprint == clean.fingerprint
    record = images.record
    assert record["bad_images"] == len(BAD) + 3
    named = {Path(name).name for name in record["bad_image_names"]}
    assert named == {*BAD, "float.tif", "dangling.png", "pipe.png"}


def test_a_class_with_bad_files_only_is_an_error_even_when_skipping(tmp_path):
    root = tree(tmp_path / "set")
    (root / "c").mkdir()
    (root / "c" / "x.png").write_bytes(b"no")
    with pytest.raises(BadImageError, match="no image of class 'c' can be decoded"):
        load_images(root, image_size=8, on_bad_image="skip")


def test_a_tolerant_pillow_is_noticed(tmp_path, monkeypatch):
    root = tree(tmp_path / "set")
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(BadImageError, match="LOAD_TRUNCATED_IMAGES"):
        load_images(root, image_size=8)


def test_wrong_folders(tmp_path):
    with pytest.raises(UsageError, match="root must be a folder"):
        load_images(tmp_path / "absent", image_size=8)
    with pytest.raises(UsageError, match="one folder for each class"):
        load_images(tmp_path, image_size=8)
    root = tree(tmp_path / "set")
    (root / "empty").mkdir()
    (root / "nested" / "images").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"2 of 4 .*hold none \(empty, nested \(1 folders inside\)\)"):
        load_images(root, image_size=8)


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"image_size": 0}, "image_size must be a positive integer; got 0"),
        ({"image_size": 8.5}, "image_size must be a positive integer; got 8.5"),
        ({"resize": "stretch"}, "resize must be one of own, squash, center-crop; got 'stretch'"),
        ({"on_bad_image": "ignore"}, "on_bad_image must be"),
        ({"limit_per_class": 0}, "limit_per_class must be a positive integer"),
        ({"split_fraction": 1.0}, "fraction must be a number with 0 < fraction < 1; got 1.0"),
        ({"split_fraction": "half"}, "fraction must be a number"),
        ({"seed": 0.5, "limit_per_class": 1}, "seed must be an integer"),
        ({"workers": 0}, "workers must be a positive integer"),
        ({"classes": ["a"]}, r"1 are not \(b\)"),
        ({"classes": ["a", "a"]}, "classes must be distinct"),
        ({"classes": "nowhere.txt"}, "'nowhere.txt' is no file"),
    ],
    ids=str,
)
def test_wrong_arguments(tmp_path, change, sentence):
    root = tree(tmp_path / "set")
    with pytest.raises(UsageError, match=sentence):
        load_images(root, **{"image_size": 8, **change})


def test_given_classes_set_the_labels(tmp_path):
    root = tree(tmp_path / "set")
    images = load_images(root, image_size=8, classes=["z", "b", "y", "a"])
    assert images.classes == ["z", "b", "y", "a"] and images.labels.tolist() == [1, 1, 3, 3]
    assert images.paths == ["b/0.png", "b/1.png", "a/0.png", "a/1.png"]
    assert images.record["classes_absent"] == 2
    (tmp_path / "names.txt").write_text("z\nb\n\ny\na\n")
    again = load_images(root, image_size=8, classes=tmp_path / "names.txt")
    assert again.fingerprint == images.fingerprint


def test_limit_and_split_depend_on_names_alone(tmp_path):
    root = tree(tmp_path / "set", each=20)
    whole = load_images(root, image_size=8)
    few = load_images(root, image_size=8, limit_per_class=5)
    more = load_images(root, image_size=8, limit_per_class=9)
    assert few.counts.tolist() == [5, 5] and set(few.paths) < set(more.paths)
    assert few.paths != load_images(root, image_size=8, limit_per_class=5, seed=1).paths
    assert load_images(root, image_size=8, limit_per_class=99).fingerprint == whole.fingerprint
    part = load_images(root, image_size=8, split_fraction=0.3, seed=4)
    assert part.counts.tolist() == [6, 6]
    selection, rest = whole.split(0.3, seed=4)
    assert part.fingerprint == selection.fingerprint
    assert not set(part.paths) & set(rest.paths) and len(rest) == 28
    # Another class beside them changes nothing.
    (root / "0").mkdir()
    picture().save(root / "0" / "x.png")
    assert set(part.paths) < set(load_images(root, image_size=8, split_fraction=0.3, seed=4).paths)


def test_threads_and_progress(tmp_path):
    root = tree(tmp_path / "set", each=150)
    calls = []
    one = load_images(root, image_size=8, workers=1, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(i, 300) for i in range(1, 301)]
    assert load_images(root, image_size=8, workers=7).fingerprint == one.fingerprint


def test_an_interrupt_ends_the_load(tmp_path):
    root = tree(tmp_path / "set")

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_images(root, image_size=8, progress=stop)


def test_the_fingerprint_is_of_the_pixels(tmp_path):
    root = tree(tmp_path / "set")
    first = load_images(root, image_size=8)
    Image.open(root / "a" / "0.png").save(root / "a" / "0.png", compress_level=0)
    assert load_images(root, image_size=8).fingerprint == first.fingerprint
    assert load_images(root, image_size=9).fingerprint != first.fingerprint
    (root / "a" / "0.png").rename(root / "a" / "00.png")
    assert load_images(root, image_size=8).fingerprint != first.fingerprint
    (root / "a" / "00.png").rename(root / "a" / "0.png")
    pixels = np.asarray(Image.open(root / "a" / "0.png")).copy()
    pixels[:4, :4] += 9
    Image.fromarray(pixels).save(root / "a" / "0.png")
    assert load_images(root, image_size=8).fingerprint != first.fingerprint


def test_written_folders_come_back(tmp_path):
    images = synthetic(2, images_per_class=3, size=16)
    write_image_folder(images, tmp_path / "out")
    back = load_images(tmp_path / "out", image_size=16)
    assert torch.equal(back.images, images.images) and back.fingerprint == images.fingerprint
    with pytest.raises(UsageError, match="new or empty folder"):
        write_image_folder(images, tmp_path / "out")
    source = load_images(tree(tmp_path / "set"), image_size=8)
    source.paths = [path.replace(".png", ".JPEG") for path in source.paths]
    write_image_folder(source, tmp_path / "jpegs")
    assert load_images(tmp_path / "jpegs", image_size=8).paths[0] == "a/0.JPEG.png"
    source.paths[0] = "../../escape.png"
    with pytest.raises(UsageError, match="'class/file'"):
        write_image_folder(source, tmp_path / "refused")


def test_a_photograph_of_every_tenth_imagenet_class(shared_data):
    folder = shared_data("imagenet-mini")
    images = load_images(
        folder / "val", image_size=64, resize="center-crop", classes=folder / "synsets.txt", limit_per_class=1
    )
    assert images.labels.tolist() == list(range(0, 1000, 10))
    assert images.record["bad_images"] == 0 and images.record["images_per_class"] == {"least": 0, "most": 1}
