"""Slices: band energies, groups, errors and drift against plain loops, and planted groups."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from freqkit.data import ImageSet
from freqkit.errors import UsageError
from freqkit.measures import SlicesResult, slices
from freqkit.measures.slices.clusters import band_energies, band_of, edges_of, k_means, scaled
from freqkit.models import Classifier
from freqkit.statistics import fisher_exact

PLAIN = {"mean": (0.4,) * 3, "std": (0.25,) * 3}


def some_images(size, count, classes=3, seed=0):
    pixels = torch.randint(0, 256, (count, 3, *size), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return ImageSet(pixels, torch.arange(count) % classes, list("abcd")[:classes], [f"{i}.png" for i in range(count)])


def some_network(size, classes=3):
    torch.manual_seed(1)
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten())
    width = body(torch.zeros(1, 3, *size)).shape[1]
    network = nn.Sequential(*body, nn.Linear(width, 7), nn.Tanh(), nn.Linear(7, classes))
    return Classifier(network, num_classes=classes, **PLAIN)


def plain_frequency(size, u, v):
    """The distance of a bin from DC in cycles/image of the shorter side."""
    u, v = (k - n if k > n - k else k for k, n in zip((u, v), size, strict=True))
    return math.hypot(u * min(size) / size[0], v * min(size) / size[1])


def plain_transform(x):
    rows, columns = (np.exp(-2j * np.pi * np.outer(np.arange(n), np.arange(n)) / n) for n in x.shape[-2:])
    return rows @ x @ columns


@pytest.mark.parametrize("size", [(16, 16), (13, 13), (12, 17)])
def test_energies_are_those_of_a_plain_loop(size):
    images = some_images(size, 3).images
    edges = edges_of(size, 3).tolist()
    found = band_energies(images, torch.tensor(edges, dtype=torch.float64), block=2)
    for i, image in enumerate(images.double().numpy() / 255):
        power, area = abs(plain_transform(image)) ** 2, size[0] * size[1]
        total = np.zeros(3)
        for u in range(size[0]):
            for v in range(size[1]):
                distance = plain_frequency(size, u, v)
                if distance == 0:
                    continue
                band = sum(distance >= edge for edge in edges[1:-1])
                total[band] += power[:, u, v].mean() / area**2 + 1 / (12 * 255**2 * area)
        assert np.allclose(found[i], np.log10(total), atol=1e-10)
    bands = band_of(size, torch.tensor(edges, dtype=torch.float64))
    assert int((bands == -1).sum()) == 1 and bands[size[0] // 2, size[1] // 2] == -1 and int(bands.max()) == 2
    # white noise of a variance v has the power v in all bands together
    flat = torch.full((1, 3, *size), 9, dtype=torch.uint8)
    assert float((10 ** band_energies(flat, torch.tensor(edges, dtype=torch.float64))).sum()) == pytest.approx(
        (size[0] * size[1] - 1) / (size[0] * size[1]) / (12 * 255**2)
    )


def test_groups_that_are_apart_are_found_and_nothing_can_be_moved():
    chance = np.random.default_rng(0)
    planted = np.repeat([0, 1, 2, 3], (5, 9, 1, 12))
    points = torch.from_numpy(chance.normal(size=(27, 4)) * 0.1 + np.eye(4)[planted] * 3)
    found = k_means(points, 4, seed=3)
    assert all(len(set(found[planted == k].tolist())) == 1 for k in range(4)) and len(set(found.tolist())) == 4
    assert torch.equal(found, k_means(points, 4, seed=3))
    x = torch.from_numpy(chance.normal(size=(40, 3)))
    found = k_means(x, 5, seed=0)
    means = torch.stack([x[found == k].mean(0) for k in range(5)])
    assert torch.equal(((x[:, None] - means) ** 2).sum(2).argmin(1), found)
    alike = k_means(torch.zeros(6, 2, dtype=torch.float64), 3, seed=0)
    assert alike.shape == (6,) and int(alike.max()) <= 2
    assert scaled(torch.tensor([[1.0, 2.0], [3.0, 2.0]], dtype=torch.float64)).tolist() == [[-1, 0], [1, 0]]


def test_fishers_test_is_scipys():
    stats = pytest.importorskip("scipy.stats")
    chance = np.random.default_rng(1)
    for _ in range(30):
        n, m = (int(one) for one in chance.integers(1, 25, 2))
        a, b = int(chance.integers(0, n + 1)), int(chance.integers(0, m + 1))
        assert fisher_exact(a, n, b, m) == pytest.approx(stats.fisher_exact([[a, n - a], [b, m - b]])[1], abs=1e-9)


def test_errors_and_drift_are_those_of_a_plain_loop():
    size = (9, 12)
    images, model = some_images(size, 11), some_network(size)
    found = slices(model, images, clusters=3, bands=2, radii=[1.5, 3.0], dtype="float64", batch_size=4)
    assert found.names == ["low, below 1.5", "low, below 3", "high, from 1.5", "high, from 3", "band, 1.5 to 3"]
    model = model.double().eval()
    x = (images.images.double() / 255 - 0.4) / 0.25
    with torch.no_grad():
        right = model.network(x).argmax(1) == images.labels
        whole = model.network[:-1](x).numpy()
    errors = found.errors()
    for s in range(3):
        members = [i for i in range(11) if int(found.slice_of[i]) == s]
        wrong = [not bool(right[i]) for i in members]
        others = [not bool(right[i]) for i in range(11) if i not in members]
        assert float(errors["error"][s]) == pytest.approx(np.mean(wrong))
        assert float(errors["difference"][s]) == pytest.approx(np.mean(wrong) - np.mean(others))
        expected = [np.mean([not bool(right[j]) for j in range(11) if images.labels[j] == images.labels[i]])
                    for i in members]  # fmt: skip
        assert float(errors["expected"][s]) == pytest.approx(np.mean(expected))
    assert (found.frequency[:-1] <= found.frequency[1:]).all()
    rows, columns = (np.exp(-2j * np.pi * np.outer(np.arange(n), np.arange(n)) / n) for n in size)
    for k, (low, high) in enumerate(found.limits.tolist()):
        for i in range(11):
            spectrum = plain_transform(x[i].numpy())
            for u in range(size[0]):
                for v in range(size[1]):
                    distance = plain_frequency(size, u, v)
                    if distance > 0 and not low <= distance < high:
                        spectrum[:, u, v] = 0
            y = torch.from_numpy((rows.conj() @ spectrum @ columns.conj()).real / (size[0] * size[1]))[None]
            with torch.no_grad():
                seen = model.network[:-1](y).numpy()[0]
                assert int(found.seen[k, i]) == int(model.network(y).argmax())
            cosine = (seen * whole[i]).sum() / math.sqrt((seen**2).sum() * (whole[i] ** 2).sum())
            assert float(found.cosine[k, i]) == pytest.approx(cosine, abs=1e-9)
    means, limits = found.drift()
    assert means[0] == pytest.approx(float(found.cosine[0].mean())) and limits[0][0] <= means[0] <= limits[0][1]


class HighEnergy(nn.Module):
    """Logits by the power above 5 cycles/image: class 1 where there is much."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(1, 2)
        with torch.no_grad():
            self.last.weight.copy_(torch.tensor([[-1.0], [1.0]]))
            self.last.bias.copy_(torch.tensor([5.0, -5.0]))

    def forward(self, x):
        power = torch.fft.fft2(x.mean(1)).abs().square()
        return self.last(power[:, 6:11].sum((1, 2))[:, None] / 250)


def test_the_slice_that_fails_is_found():
    """Three kinds of images by their spectra, of one kind every image is called wrong."""
    count, size = 45, (17, 16)
    kinds = torch.arange(count) % 3
    noise = torch.randn(count, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    spectra = torch.fft.fft2(noise)
    rows = torch.fft.fftfreq(size[0], 1 / size[0]).abs()
    columns = torch.fft.fftfreq(size[1], 1 / size[1]).abs()
    distance = torch.maximum(rows[:, None], columns)
    keep = torch.stack([distance <= 2, (distance > 2) & (distance <= 4), distance > 4])[kinds]
    x = torch.fft.ifft2(spectra * keep).real
    x = 0.5 + 0.12 * x / x.std((1, 2), keepdim=True)
    pixels = (x.clamp(0, 1) * 255).round().to(torch.uint8)[:, None].expand(-1, 3, -1, -1).contiguous()
    labels = torch.zeros(count, dtype=torch.int64)  # and the network calls images of the third kind 1
    images = ImageSet(pixels, labels, ["a", "b"], [f"{i}.png" for i in range(count)])
    model = Classifier(HighEnergy(), mean=(0.5,) * 3, std=(0.2,) * 3, num_classes=2)
    found = slices(model, images, clusters=3, bands=3)
    for k in range(3):
        assert len(set(found.slice_of[kinds == k].tolist())) == 1
    assert found.slice_of[kinds == 2].unique().tolist() == [2]  # the highest mean frequency
    errors = found.errors()
    assert errors["error"].tolist() == [0, 0, 1] and float(errors["p"][2]) < 1e-9
    assert found.table()[2]["slice"] == "C" and found.examples.shape == (3, 4)
    rows = {(row["metric"], row["group"], row["filter"], row["radius"]) for row in found.rows()}
    assert ("error", "C", None, None) in rows and ("cosine", None, "low", 4.0) in rows


def test_bad_questions_are_refused_in_a_sentence(tmp_path):
    model, images = some_network((8, 8)), some_images((8, 8), 5)
    with pytest.raises(UsageError, match="slices: clusters must be at most the number of images, 5; got 6"):
        slices(model, images)
    with pytest.raises(UsageError, match="slices: radii must be rising numbers above 0"):
        slices(model, images, clusters=2, bands=2, radii=[3, 2])
    with pytest.raises(UsageError, match="slices: bands must hold frequencies; 40 are too many"):
        slices(model, images, clusters=2, bands=40)
    with pytest.raises(UsageError, match="layers must be names of modules"):
        slices(model, images, clusters=2, bands=2, layer="nowhere")
    unlinear = Classifier(nn.Sequential(nn.Conv2d(3, 3, 8), nn.Flatten()), num_classes=3, **PLAIN)
    with pytest.raises(UsageError, match="must have a linear layer"):
        slices(unlinear, images, clusters=2, bands=2)
    plain = slices(unlinear, images, clusters=2, bands=2, drift=False)
    assert plain.filters == [] and plain.drift() == ([], []) and plain.record["forwards"] == 5
    plain.plot()
    plain.save(tmp_path / "a.safetensors")
    assert torch.equal(SlicesResult.load(tmp_path / "a.safetensors").slice_of, plain.slice_of)
    plain.slice_of[0] = 9
    with pytest.raises(UsageError, match="slice_of must hold values in"):
        SlicesResult.checked(vars(plain), "a.safetensors")
