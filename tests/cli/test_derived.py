"""`freqkit data components` and `freqkit data hars`, as a user calls them."""

import json

import numpy as np
import torch

from freqkit.data import components, hars, load_images
from freqkit.files.reading import read_text


def test_components_are_written_in_the_published_names(run, images_folder, tmp_path):
    flags = ("--data", images_folder, "--image-size", "32", "--radius", "4,8")
    result = run("data", "components", *flags, "--out", tmp_path / "a", "--json")
    assert result.exit_code == 0, result.stderr
    images = load_images(images_folder, image_size=32)
    names = [one["name"] for one in json.loads(result.stdout)["components"]]
    assert names == ["low_4", "high_4", "low_8", "high_8"]
    for name in names:
        side, r = name.split("_")
        found = np.load(tmp_path / "a" / f"images_data_{name}.npy")
        expected = components(images, int(r), side).permute(0, 2, 3, 1)
        assert found.dtype == np.float32 and np.array_equal(found, expected)
    assert np.array_equal(np.load(tmp_path / "a" / "images_label.npy"), images.labels)
    assert read_text(tmp_path / "a" / "classes.txt").split() == images.classes


def test_components_as_pictures_are_read_again(run, images_folder, tmp_path):
    flags = ("--data", images_folder, "--image-size", "32", "--radius", "6", "--format", "folder")
    result = run("data", "components", *flags, "--side", "low", "--out", tmp_path / "a")
    assert result.exit_code == 0 and "pixels clipped" in result.stdout, result.stderr
    images = load_images(images_folder, image_size=32)
    expected = (components(images, 6) * 255).round().clamp(0, 255).to(torch.uint8)
    assert torch.equal(load_images(tmp_path / "a" / "low_6", image_size=32).images, expected)
    refused = run("data", "components", *flags, "--out", tmp_path / "b")
    assert refused.exit_code == 2 and "the high side need encoding minmax or uint8wrap" in refused.stderr
    assert not (tmp_path / "b").exists()
    refused = run("data", "components", *flags, "--side", "low", "--out", tmp_path / "a")
    assert refused.exit_code == 2 and "must be a new or empty folder" in refused.stderr


def test_hars_is_written_as_pictures_and_as_published(run, images_folder, tmp_path):
    flags = ("--data", images_folder, "--image-size", "32", "--radius", "8", "--seed", "3")
    result = run("data", "hars", *flags, "--out", tmp_path / "a")
    assert result.exit_code == 0 and "low frequencies of another class" in result.stderr, result.stderr
    made = hars(load_images(images_folder, image_size=32), 8, 3)
    assert torch.equal(load_images(tmp_path / "a", image_size=32).images, made.images)
    assert np.array_equal(np.load(tmp_path / "a" / "donors.npy"), made.donors)
    result = run("data", "hars", *flags, "--format", "npy", "--out", tmp_path / "b", "--json")
    assert json.loads(result.stdout)["donor_classes"] == made.donor_classes.tolist()
    assert np.array_equal(np.load(tmp_path / "b" / "hybrid_high_8.npy"), made.images.permute(0, 2, 3, 1))
