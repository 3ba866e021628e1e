"""Every command that resumes refuses other images, weights, maps or classes than it began with."""

import os
import shutil

import pytest
import torch
from PIL import Image

from freqkit.data import synthetic, write_image_folder
from freqkit.masks import DfmFile, save_dfm
from freqkit.models import load_model, save_weights
from tests.cli.conftest import sentence

COMMANDS = {
    "search": ["search", "--searcher", "hfss", "--candidates", 6, "--top", 2],
    "learned": ["search", "--steps", 2],
    "dfm": ["dfm", "--patch", 16],
    "train": ["train", "--epochs", 1, "--batch-size", 8],
}


@pytest.fixture
def world(tmp_path):
    write_image_folder(synthetic(1, images_per_class=4), tmp_path / "mine")
    save_weights(load_model("small_convnet", num_classes=4, seed=0), tmp_path / "w.safetensors")
    save_dfm(tmp_path / "dfm.safetensors", DfmFile(torch.ones(4, 32, 32), ["C0", "C1", "C2", "C3"]))
    return tmp_path


def flags(name, world):
    args = [*COMMANDS[name], "--model", "small_convnet", "--num-classes", 4, "--data", world / "mine"]
    args += ["--out", world / "run"]
    if name == "train":
        return [*args, "--remove-shortcuts", world / "dfm.safetensors"]
    return [*args, "--weights", world / "w.safetensors"]


def swap(folder):
    """Another picture under one name, with the size in bytes made equal and the dates kept."""
    file = sorted(folder.glob("*/*.png"))[0]
    before = os.stat(file)
    Image.new("RGB", (32, 32), (10, 200, 30)).save(file)
    with open(file, "ab") as more:
        more.write(bytes(before.st_size - os.stat(file).st_size))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (os.stat(file).st_size, os.stat(file).st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def replaced(what, world):
    if what == "images":
        swap(world / "mine")
    elif what == "classes":
        (world / "mine" / "C3").rename(world / "mine" / "C4")
    elif what == "weights":
        save_weights(load_model("small_convnet", num_classes=4, seed=1), world / "w.safetensors")
    else:
        save_dfm(world / "dfm.safetensors", DfmFile(torch.ones(4, 32, 32) / 2, ["C0", "C1", "C2", "C3"]))


@pytest.mark.parametrize("name", COMMANDS)
def test_what_was_replaced_is_noticed(run, world, name):
    first = run(*flags(name, world))
    assert first.exit_code == 0, first.stderr
    shutil.copytree(world, kept := world.parent / f"{world.name}-kept")
    again = run(*flags(name, world), "--resume")
    assert again.exit_code == 0, again.stderr
    for what in ("images", "classes", "dfm" if name == "train" else "weights"):
        shutil.rmtree(world)
        shutil.copytree(kept, world)
        replaced(what, world)
        result = run(*flags(name, world), "--resume")
        assert result.exit_code == 2, (what, result.stderr, result.stdout)
        said = "every map's class must be" if (name, what) == ("train", "classes") else "cannot resume"
        assert said in sentence(result), (what, sentence(result))
