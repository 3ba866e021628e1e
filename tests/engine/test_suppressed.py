"""Images without shape, texture or colour, against plain references, at odd and unequal sides."""

import math

import numpy as np
import pytest
import torch

from freqkit.engine import Scorer
from freqkit.engine.accumulators import Logits
from freqkit.engine.suppressed import Suppressed, suppression
from freqkit.errors import UsageError
from tests.engine.small_world import Images, Small

KINDS = ["whole", "patches:3", "gaussian:1.5", "bilateral:1:0.3", "grey"]


def world(height=13, width=10, n=5):
    images = Images(n, side=max(height, width))
    images.images = images.images[:, :, :height, :width].contiguous()
    return images


def shown(images, kinds, batch_size=4, seed=0):
    """What the network is shown, float64 [K, n, 3, H, W]."""

    class Sees(Small):
        def __init__(self):
            super().__init__()
            self.num_classes = images.images[0].numel()
            self.network = torch.nn.Flatten()

    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (Small.mean, Small.std))
    scorer = Scorer(Sees(), images, batch_size=batch_size, class_index=range(3), dtype="float64", form="eager")
    into = Logits()
    scorer.show(Suppressed(kinds, seed=seed), [into])
    return into.value.view(len(kinds), len(images.images), *images.images.shape[1:]) * std + mean


def plain_bilateral(image, deviation, distance):
    found, (_, height, width) = np.zeros_like(image), image.shape
    reach = max(1, round(2 * deviation))

    def mirrored(place, side):
        while not 0 <= place < side:
            place = -1 - place if place < 0 else 2 * side - 1 - place
        return place

    for i in range(height):
        for j in range(width):
            total = np.zeros(4)
            for y in range(i - reach, i + reach + 1):
                for x in range(j - reach, j + reach + 1):
                    other = image[:, mirrored(y, height), mirrored(x, width)]
                    colours = sum((a - b) ** 2 for a, b in zip(other, image[:, i, j], strict=True))
                    away = ((y - i) ** 2 + (x - j) ** 2) / deviation**2 + colours / distance**2
                    total += math.exp(-away / 2) * np.array([*other, 1])
            found[:, i, j] = total[:3] / total[3]
    return found


def test_each_kind_is_that_of_a_plain_reference():
    from PIL import Image
    from scipy.ndimage import gaussian_filter

    images = world()
    whole, _, smooth, edges, grey = shown(images, KINDS).numpy()
    for i, image in enumerate(images.images.numpy()):
        assert np.abs(whole[i] - image / 255).max() < 1e-6
        reference = gaussian_filter(image / 255, (0, 1.5, 1.5), mode="reflect", truncate=4)
        assert np.abs(smooth[i] - reference).max() < 1e-6
        assert np.abs(edges[i] - plain_bilateral(image / 255, 1, 0.3)).max() < 1e-6
        luma = np.asarray(Image.fromarray(image.transpose(1, 2, 0)).convert("L")) / 255
        assert np.abs(grey[i] - luma).max() < 1e-6


def test_patches_are_moved_and_nothing_else_each_image_in_its_own_order():
    images = world()
    images.images[:] = images.images[0]
    moved = shown(images, ["patches:3"]).mul(255).round().to(torch.uint8)[0]
    size = (4, 3)  # of 13 and 10 by 3; the last row and column stay
    boxes = [(slice(4 * r, 4 * r + 4), slice(3 * c, 3 * c + 3)) for r in range(3) for c in range(3)]
    orders = set()
    for image, whole in zip(moved, images.images, strict=True):
        assert torch.equal(image[:, 12:], whole[:, 12:]) and torch.equal(image[:, :, 9:], whole[:, :, 9:])
        pieces = [whole[:, y, x] for y, x in boxes]
        assert all(piece.shape[1:] == size for piece in pieces)
        orders.add(
            tuple(next(k for k, piece in enumerate(pieces) if torch.equal(piece, image[:, y, x])) for y, x in boxes)
        )
    assert all(sorted(order) == list(range(9)) for order in orders) and len(orders) == len(images.images)


def test_an_image_is_changed_alike_in_any_company_and_by_its_seed():
    images = world()
    first = shown(images, KINDS, batch_size=1)
    assert torch.equal(first, shown(images, KINDS, batch_size=64))
    assert torch.equal(first[1:2], shown(images, KINDS[1:2], batch_size=3))
    other = shown(images, KINDS, seed=7)
    assert [torch.equal(a, b) for a, b in zip(first, other, strict=True)] == [True, False, True, True, True]


@pytest.mark.parametrize("kind", ["", "blur:2", "patches", "patches:1", "patches:2.5", "gaussian:0", "gaussian:nan",
                                  "bilateral:2", "grey:1", 3])  # fmt: skip
def test_what_is_no_kind_is_refused(kind):
    with pytest.raises(UsageError, match=r"^Suppressed: a kind must be whole, patches:G"):
        suppression(kind)


def test_more_patches_than_pixels_are_refused():
    with pytest.raises(UsageError, match=r"images of 10 pixels: a grid of at most 10; got \[11\]"):
        shown(world(), ["patches:11"])
