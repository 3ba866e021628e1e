"""Fourier heat maps, against a plain loop in numpy and against networks whose frequencies are known."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from freqkit.data import ImageSet
from freqkit.errors import UsageError
from freqkit.measures import fourier_heatmap
from freqkit.measures.fourier_heatmap import looks
from freqkit.models import Classifier

SIZES = [(8, 8), (7, 7), (6, 9), (5, 12)]


def noise(count, size, seed=0):
    chance = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 3, *size), generator=chance, dtype=torch.uint8)
    return ImageSet(pixels, torch.arange(count) % 3, ["a", "b", "c"], [f"{i}.png" for i in range(count)])


def small(size):
    torch.manual_seed(1)
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Tanh(), nn.Flatten(), nn.LazyLinear(3))
    network(torch.zeros(1, 3, *size))
    return Classifier(network.double(), mean=(0.4, 0.5, 0.4), std=(0.2, 0.3, 0.2), num_classes=3).eval()


def wave(i, j, size):
    """The basis vector as the inverse transform of a plane that is 1 at a frequency and its mirror image."""
    spectrum = np.zeros(size, complex)
    spectrum[i % size[0], j % size[1]] = spectrum[-i % size[0], -j % size[1]] = 1
    made = np.fft.ifft2(spectrum).real
    return made / np.linalg.norm(made)


def signs(i, j, size, images, seed):
    generator = np.random.Philox(key=np.array([seed, i % size[0] * size[1] + j % size[1]], np.uint64))
    words = generator.random_raw(images)
    return np.array([[1.0 if int(word) >> c & 1 else -1.0 for c in range(3)] for word in words])


def plain(model, images, norm, clip, seed):
    """error [H, W], centred: an image, a frequency of the whole plane and a forward at a time."""
    size = images.images.shape[-2:]
    found = np.zeros(size)
    bins = {(i, j): (i, j) for i, j in itertools.product(range(size[0]), range(size[1]))}
    for (i, j), (k, m) in itertools.product(sorted(bins), repeat=2):
        if (k, m) < (i, j) and (k, m) == (-i % size[0], -j % size[1]):
            bins[i, j] = (k, m)  # the mirror image has the vector, and the signs, of the first of the two
    for i, j in bins:
        k, m = bins[i, j]
        drawn, added = signs(k, m, size, len(images), seed), norm * wave(k, m, size)
        wrong = 0
        for image, label, sign in zip(images.images, images.labels, drawn, strict=True):
            x = image.double().numpy() / 255 + sign[:, None, None] * added
            x = x.clip(0, 1) if clip else x
            wrong += int(model(torch.from_numpy(x)[None]).argmax()) != int(label)
        found[(i + size[0] // 2) % size[0], (j + size[1] // 2) % size[1]] = wrong / len(images)
    return found


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_errors_are_those_of_a_plain_loop(size, clip):
    images, model = noise(7, size), small(size)
    found = fourier_heatmap(model, images, norm=2.5, clip=clip, seed=3, dtype="float64", batch_size=4)
    assert np.allclose(found.error, plain(model, images, 2.5, clip, 3), rtol=0, atol=1e-12)
    one_by_one = fourier_heatmap(model, images, norm=2.5, clip=clip, seed=3, dtype="float64", batch_size=1)
    assert torch.equal(found.correct, one_by_one.correct)
    assert found.record["forwards"] == 7 * (len(found.bins) + 1)


class Reads(nn.Module):
    """Says "b" where the images' part at one frequency is positive on the whole, "a" else; never "c"."""

    def __init__(self, i, j, size):
        super().__init__()
        self.register_buffer("wave", torch.from_numpy(wave(i, j, size)))

    def forward(self, x):
        part = (x * self.wave).sum((1, 2, 3)) + 1e-3
        return torch.stack([-part, part, torch.full_like(part, -9.0)], 1)


@pytest.mark.parametrize("method", ["exact", "gradient"])
@pytest.mark.parametrize(("size", "bin"), [((8, 8), (2, -3)), ((9, 9), (0, 4)), ((6, 10), (3, 5)), ((7, 5), (-1, 2))])
def test_the_frequencies_that_a_linear_network_reads_are_found_and_no_other(size, bin, method):
    pixels = torch.full((64, 3, *size), 128, dtype=torch.uint8)  # flat: nothing at any frequency but DC
    images = ImageSet(pixels, torch.ones(64, dtype=torch.int64), ["a", "b", "c"], [f"{i}.png" for i in range(64)])
    model = Classifier(Reads(*bin, size).double(), mean=(0, 0, 0), std=(1, 1, 1), num_classes=3)
    found = fourier_heatmap(model, images, norm=1.0, clip=False, method=method, dtype="float64", batch_size=16)
    read = torch.zeros(size, dtype=torch.bool)
    for sign in (1, -1):
        read[(sign * bin[0] + size[0] // 2) % size[0], (sign * bin[1] + size[1] // 2) % size[1]] = True
    assert bool((found.error[~read] == 0).all())
    assert bool((found.error[read] > 0.3).all()) and found.clean.accuracy == 1
    if method == "gradient":  # what is linear is foretold to the last image
        exact = fourier_heatmap(model, images, norm=1.0, clip=False, dtype="float64", batch_size=16)
        assert torch.equal(found.error, exact.error) and found.record["backwards"] == 64


@pytest.mark.parametrize("size", SIZES)
def test_to_first_order_errors_are_those_of_the_linear_part(size):
    images, model = noise(5, size), small(size)
    found = fourier_heatmap(model, images, norm=0.7, method="gradient", dtype="float64", batch_size=2)
    wrong, bins = np.zeros(len(found.bins)), found.bins.tolist()
    drawn = np.stack([signs(i, j, size, len(images), 0) for i, j in bins])
    for n, (image, label) in enumerate(zip(images.images, images.labels, strict=True)):
        x = (image[None].double() / 255).requires_grad_()
        logits = model(x)[0]
        margin = logits[label] - max(value for k, value in enumerate(logits) if k != label)
        margin.backward()
        slopes = np.array([[(x.grad[0, c].numpy() * wave(i, j, size)).sum() for c in range(3)] for i, j in bins])
        wrong += margin.item() + 0.7 * (slopes * drawn[:, n]).sum(1) <= 0
    assert np.allclose(found.rates, wrong / 5, atol=1e-12)
    assert found.limits.isnan().all() and set(found.agreement) == {"spearman", "bins"}


def test_a_race_stops_where_its_intervals_are_narrow():
    images, model = noise(150, (6, 6)), small((6, 6))
    whole = fourier_heatmap(model, images, batch_size=32)
    raced = fourier_heatmap(model, images, batch_size=32, race=0.15)
    assert looks(150) == [32, 64, 128, 150]
    shown = raced.shown.sum(1)
    assert {*shown.tolist()} <= {*looks(150)} and int(shown.min()) < 150
    low, high = raced.limits.unbind(1)
    assert bool((((high - low) / 2 <= 0.15) | (shown == 150)).all())
    assert raced.definition["confidence"] == 1 - 0.05 / 4
    inside = (raced.limits[:, 0] <= whole.rates) & (whole.rates <= raced.limits[:, 1])
    assert float(inside.double().mean()) > 0.9  # of other images, other signs
    assert raced.record["forwards"] == 150 + int(shown.sum()) < whole.record["forwards"]


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (32, 32)])
def test_fewer_vectors_lie_on_all_rings(size):
    model, images = small(size), noise(3, size)
    found = fourier_heatmap(model, images, bins=12, batch_size=64)
    assert len(found.bins) == 12 == len({tuple(one) for one in found.bins.tolist()})
    assert int((~found.rings.isnan()).sum()) >= min(12, len(found.rings)) - 1
    whole = fourier_heatmap(model, images, batch_size=64)
    there = ~found.error.isnan()
    assert torch.equal(found.error[there], whole.error[there]) and not whole.error.isnan().any()
    assert 2 * len(whole.bins) - math.prod(size) == [4, 1, 4][[(8, 8), (7, 9), (32, 32)].index(size)]


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(tmp_path):
    class Stops:
        def __init__(self, at):
            self.at = at

        def start(self, *words):
            self.left = self.at

        def advance(self, count, *more, **words):
            self.left -= count
            if self.left < 0:
                raise KeyboardInterrupt

        def __getattr__(self, name):
            return lambda *words, **more: None

    images, model = noise(40, (6, 6)), small((6, 6))
    asked = {"race": 0.2, "batch_size": 8, "form": "eager"}
    whole = fourier_heatmap(model, images, out=tmp_path / "whole", **asked)
    with pytest.raises(KeyboardInterrupt):
        fourier_heatmap(model, images, out=tmp_path / "cut", progress=Stops(300), **asked)
    again = fourier_heatmap(model, images, out=tmp_path / "cut", resume=True, **asked)
    assert torch.equal(again.correct, whole.correct) and torch.equal(again.shown, whole.shown)
    files = [(tmp_path / name / "fourier-heatmap.safetensors").read_bytes() for name in ("whole", "cut")]
    assert files[0] == files[1]


def test_what_does_not_fit_is_refused():
    images, model = noise(4, (6, 6)), small((6, 6))
    for asked, words in (
        ({"norm": 0.0}, "norm must be a number with 0 < norm"),
        ({"race": 0.7}, "race must be a number with 0 < race < 0.5"),
        ({"race": 0.1, "method": "gradient"}, 'race needs method="exact"'),
        ({"bins": 0}, "bins must be"),
        ({"method": "guess"}, "method must be one of exact, gradient"),
        ({"domain": "normalised"}, "domain must be one of pixels"),
    ):
        with pytest.raises(UsageError, match=words):
            fourier_heatmap(model, images, **asked)
