"""Generated corruptions against plain per-image code, and against the package where it is installed."""

import math

import numpy as np
import pytest
import torch

from freqkit.data.corruptions import _OURS, available, corrupt
from freqkit.data.test_sets.corrupted import BENCHMARK, EXTRA
from freqkit.errors import UsageError

NOISE = ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise")


@pytest.fixture(scope="module")
def images():
    generator = torch.Generator().manual_seed(0)
    small = torch.rand(3, 3, 6, 6, generator=generator)
    return (torch.nn.functional.interpolate(small, 48, mode="bilinear").clamp(0, 1) * 255).to(torch.uint8)


@pytest.mark.parametrize("name", [name for name in _OURS if name not in NOISE])
def test_as_the_package_does_it(images, name):
    package = pytest.importorskip("imagecorruptions", reason="imagecorruptions is not installed")
    for severity in (1, 3, 5):
        ours = corrupt(images, name, severity, ["a", "b", "c"])
        for one, image in zip(ours, images, strict=True):
            theirs = package.corrupt(image.permute(1, 2, 0).numpy().copy(), severity=severity, corruption_name=name)
            difference = np.abs(one.permute(1, 2, 0).numpy().astype(int) - theirs.astype(int))
            # the package enlarges pixelated images with another filter; equal but for sides that do not divide
            assert difference.max() <= (60 if name == "pixelate" else 0)


def test_brightness_and_saturate_by_colorsys(images):
    import colorsys

    for name, severity, change in (
        ("brightness", 2, lambda h, s, v: (h, s, min(v + 0.2, 1))),
        ("saturate", 3, lambda h, s, v: (h, min(2 * s, 1), v)),
    ):
        ours = corrupt(images[:1], name, severity, ["a"])[0]
        for y, x in ((0, 0), (7, 31), (40, 12)):
            rgb = [value / 255 for value in images[0, :, y, x].tolist()]
            want = [255 * value for value in colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*rgb)))]
            assert all(
                abs(math.floor(w + 1e-6) - got) <= 1 for w, got in zip(want, ours[:, y, x].tolist(), strict=True)
            )


def test_contrast_and_blur_by_hand(images):
    ours = corrupt(images, "contrast", 3, ["a", "b", "c"]).double()
    x = images.double() / 255
    want = ((x - x.mean((2, 3), keepdim=True)) * 0.2 + x.mean((2, 3), keepdim=True)) * 255
    assert (ours - want).abs().max() <= 1
    scipy = pytest.importorskip("scipy.ndimage")
    blurred = corrupt(images, "gaussian_blur", 2, ["a", "b", "c"])
    want = scipy.gaussian_filter(x[1, 2].numpy(), 2, mode="nearest", truncate=4)
    assert np.abs(np.floor(want * 255) - blurred[1, 2].numpy()).max() <= 1


@pytest.mark.parametrize("name", NOISE)
def test_noise_has_the_published_size_and_is_each_images_own(images, name):
    flat = torch.full((2, 3, 96, 96), 128, dtype=torch.uint8)
    x = 128 / 255
    for severity in (1, 4):
        drawn = corrupt(flat, name, severity, ["a", "b"]).double() / 255
        level = severity - 1
        if name == "impulse_noise":
            share = (0.03, 0.06, 0.09, 0.17)[level]
            changed = (drawn - x).abs() > 0.1
            assert abs(changed.double().mean() - share) < 0.01
            assert set(drawn[changed].unique().tolist()) == {0.0, 1.0}
            continue
        size = {
            "gaussian_noise": (0.08, 0.12, 0.18, 0.26)[level],
            "speckle_noise": x * (0.15, 0.2, 0.35, 0.45)[level],
            "shot_noise": math.sqrt(x / (60, 25, 12, 5)[level]),
        }[name]
        assert abs(drawn.std() - size) < 0.12 * size  # clipping takes a little
    alone = corrupt(flat[:1], name, 2, ["b"])
    both = corrupt(flat, name, 2, ["a", "b"])
    assert torch.equal(alone[0], both[1])
    assert not torch.equal(both[0], both[1])
    assert not torch.equal(alone, corrupt(flat[:1], name, 2, ["b"], seed=1))


def test_what_needs_the_package(images, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "imagecorruptions", None)
    assert available() == list(_OURS)
    with pytest.raises(UsageError, match="generated fog needs the package imagecorruptions"):
        corrupt(images, "fog", 1, ["a", "b", "c"])
    with pytest.raises(UsageError, match="severity must be 1, 2, 3, 4 or 5; got 6"):
        corrupt(images, "contrast", 6, ["a", "b", "c"])
    with pytest.raises(UsageError, match="name must be one of gaussian_noise"):
        corrupt(images, "rain", 1, ["a", "b", "c"])


def test_the_package_repeats_itself(images):
    pytest.importorskip("imagecorruptions", reason="imagecorruptions is not installed")
    assert set(available()) == {*BENCHMARK, *EXTRA}
    for name in ("fog", "glass_blur", "elastic_transform"):
        state = np.random.get_state()[1].copy()  # noqa: NPY002
        first = corrupt(images[:2], name, 2, ["a", "b"])
        assert torch.equal(first[1:], corrupt(images[1:2], name, 2, ["b"])) or name == "glass_blur"
        assert np.array_equal(state, np.random.get_state()[1])  # noqa: NPY002
