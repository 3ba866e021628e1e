"""How images are brought to the size of a model: as it was published, and what is done where it does not say."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from freqkit import wrap
from freqkit.data import as_images, load_images
from freqkit.data.preprocessing import of_model
from freqkit.errors import UsageError

SIZES = (300, 200), (199, 333), (90, 91), (224, 224)


def folder(root, *sizes):
    """One image of each (width, height), in two classes."""
    noise = np.random.default_rng(0)
    for i, (width, height) in enumerate(sizes):
        place = root / "ab"[i % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(place / f"{i}.png")
    return root


def model(side=None, **transform):
    size = None if side is None else (side, side)
    return SimpleNamespace(name="net", input_size=size, transform=transform or None, network=None)


def shorter_side_and_middle(path, side, size, method=Image.BILINEAR):
    """The plain way, for images that are no smaller than the crop."""
    image = Image.open(path)
    width, height = image.size
    short = min(width, height)
    image = image.resize((side * width // short, side * height // short), method)
    left, top = (round((each - size) / 2) for each in image.size)
    return np.asarray(image.crop((left, top, left + size, top + size))).transpose(2, 0, 1)


@pytest.mark.parametrize("mode", [None, "center", "squash"])
@pytest.mark.parametrize("crop_pct, interpolation", [(0.875, "bilinear"), (0.9, "bicubic"), (1.0, "bicubic")])
def test_own_is_what_timm_does(tmp_path, mode, crop_pct, interpolation):
    data = pytest.importorskip("timm.data", reason="timm is the reference here")
    says = {"crop_pct": crop_pct, "interpolation": interpolation, "crop_mode": mode}
    made = data.create_transform((3, 96, 96), mean=(0, 0, 0), std=(1, 1, 1), **says)
    root = folder(tmp_path, *SIZES)
    images = load_images(root, model=model(96, **says))
    for path, image in zip(images.paths, images.images, strict=True):
        wanted = made(Image.open(root / path)).mul(255).round().to(torch.uint8)
        assert torch.equal(image, wanted), path
    side = int(96 / crop_pct)
    assert images.record["resized_side"] == side and images.record["interpolation"] == f"{interpolation}, antialiased"
    assert images.record["preprocessing"].endswith("as net was published")


def test_own_is_what_torchvision_does(tmp_path):
    models = pytest.importorskip("torchvision.models", reason="torchvision is the reference here")
    entry = models.ResNet50_Weights.IMAGENET1K_V2
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 1000))
    known = wrap(net, weights=entry)
    assert of_model(known, 224).resized_side == 232
    root = folder(tmp_path, *SIZES)
    made = entry.transforms()
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (made.mean, made.std))
    for path, image in zip((images := as_images(root, model=known)).paths, images.images, strict=True):
        wanted = (made(Image.open(root / path).convert("RGB")) * std + mean).mul(255).round().to(torch.uint8)
        assert torch.equal(image, wanted), path


def test_where_the_model_does_not_say(tmp_path):
    """Images of one size are taken as they are; of others the middle is cut out, which is said."""
    mixed = folder(tmp_path / "mixed", (300, 200), (199, 333))
    images = load_images(mixed, model=model(96))
    for path, image in zip(images.paths, images.images, strict=True):
        assert np.array_equal(image.numpy(), shorter_side_and_middle(mixed / path, 109, 96))
    words = "shorter side to 109 (bilinear), then the middle 96x96, as is usual for ImageNet"
    assert (images.record["resize"], images.record["preprocessing"]) == ("center-crop", words)
    [note] = images.record["notes"]
    assert note == f"net does not say which transform it was published with, so images get their {words}"

    same = folder(tmp_path / "same", (40, 24), (40, 24))
    as_stored = load_images(same, model=model())
    assert as_stored.images.shape == (2, 3, 24, 40) and "resize" not in as_stored.record
    assert np.array_equal(as_stored.images[0].numpy().transpose(1, 2, 0), np.asarray(Image.open(same / "a/0.png")))
    assert as_stored.record["preprocessing"] == "as stored, 24x40" and "notes" not in as_stored.record
    square = folder(tmp_path / "square", (48, 48), (48, 48))
    whole = load_images(square, image_size=32)
    wanted = Image.open(square / "a/0.png").resize((32, 32), Image.BILINEAR)
    assert np.array_equal(whole.images[0].numpy().transpose(1, 2, 0), np.asarray(wanted))
    with pytest.raises(UsageError, match="image_size must be given for images of several sizes, such as 200x300 and"):
        load_images(mixed)


def test_enlarging_is_noted(tmp_path):
    root = folder(tmp_path, (32, 32), (32, 32))
    [note] = load_images(root, model=model(224, crop_pct=0.875, interpolation="bicubic")).record["notes"]
    assert note == "2 of 2 images are smaller than 224 pixels (as 32x32) and are enlarged"
