"""Folders of some of a model's classes: which logit each is, found unasked, and what ImageNet's are called."""

from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torch import nn

from freqkit import learned, score, wrap
from freqkit.data import as_images, class_list, load_images
from freqkit.data.class_lists import SHIPPED, shipped_lines
from freqkit.errors import UsageError
from freqkit.text import called

WNIDS = ["n01440764", "n02123045", "n04552348"]  # tench, tabby, warplane: logits 0, 281, 895


class OfColour(nn.Module):
    """The class of an image is what its colour says: five times its red, and its green."""

    def forward(self, x):
        red, green, _ = (255 * x.mean((2, 3))).T
        return -((5 * red + green)[:, None] - torch.arange(1000)).square()


def make(root, names):
    order = class_list("imagenet")
    for name in names:
        (root / name).mkdir(parents=True)
        logit = order.index(name) if name in order else 0
        for i in range(2):
            Image.new("RGB", (16, 16), (logit // 5, logit % 5, 0)).save(root / name / f"{i}.png")
    return root


@pytest.fixture
def model():
    return wrap(OfColour(), mean=(0, 0, 0), std=(1, 1, 1), num_classes=1000, input_size=(16, 16))


def test_some_of_imagenet(tmp_path, model):
    root = make(tmp_path / "set", WNIDS)
    images = load_images(root, model=model)
    assert images.classes == class_list("imagenet") and images.labels.tolist() == [0, 0, 281, 281, 895, 895]
    assert images.record["class_index"] == [0, 281, 895]
    [note] = images.record["notes"]
    assert note == "its 3 classes are some of ImageNet's 1000, so a label is the logit of that name"
    assert images.fingerprint == load_images(root, classes="imagenet").fingerprint
    known = SimpleNamespace(num_classes=1000, class_names=None)
    assert as_images(load_images(root), model=known).fingerprint == images.fingerprint  # a set that was read before
    assert as_images(root, model=model, class_index=[5, 6, 7]).classes == WNIDS  # what is told is not found out
    plain = load_images(root)
    assert plain.classes == WNIDS and plain.as_logits(SimpleNamespace(num_classes=999)) is plain
    with pytest.raises(UsageError, match="every folder must be one of the 10 given classes"):
        load_images(root, classes="cifar10")
    with pytest.raises(UsageError, match=r"a list of names, imagenet, .* or a text file; 'imagnet' is no file"):
        load_images(root, classes="imagnet")


def test_a_search_asks_the_right_logits(tmp_path, model):
    root = make(tmp_path / "set", WNIDS)
    found = score(model, load_images(root), torch.ones(1, 16, 16), batch_size=6)
    assert found.correct[0].nonzero().flatten().tolist() == [0, 281, 895]  # each is what its colour says
    assert learned(model, root, steps=1, batch_size=6).classes == WNIDS


def test_what_imagenets_classes_are_called():
    names = shipped_lines("imagenet-names")
    assert len(set(map(str.lower, names))) == len(class_list("imagenet")) == 1000
    assert [called(wnid) for wnid in WNIDS] == ["tench", "tabby", "warplane"]
    assert called("n02012849, n03126707.") == "crane (bird), crane (machine)."
    for text in ("n01440764/1.png", "val/n01440764", "n01440764_3.JPEG", "xn01440764", "n00000001", "n01440764.png"):
        assert called(text) == text
    assert all(len(class_list(name)) in (10, 100, 200, 1000) for name in SHIPPED)
