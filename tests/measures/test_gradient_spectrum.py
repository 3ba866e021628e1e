"""Gradient spectra, against a plain loop in numpy and against networks whose gradient is known."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from freqkit.data import ImageSet, synthetic
from freqkit.errors import Interrupted, UsageError
from freqkit.masks.radial import rings_of
from freqkit.measures import gradient_spectrum
from freqkit.measures.gradient_spectrum import Folded
from freqkit.models import Classifier, load_model, save_weights
from tests.engine.small_world import Watcher


def plain_rings(plane, kind):
    """Means over rings of one centred plane, bin by bin."""
    height, width = plane.shape
    middle = (height // 2, width // 2) if kind == "centred" else ((height - 1) / 2, (width - 1) / 2)
    short, found = min(height, width), {}
    for i in range(height):
        for j in range(width):
            u, v = i - middle[0], j - middle[1]
            if kind == "centred":
                u, v = u * short / height, v * short / width
            found.setdefault(math.floor(math.sqrt(u * u + v * v)), []).append(plane[i, j])
    rings = [np.mean(found[k]) for k in sorted(found)]
    return np.array(rings if kind == "centred" else rings[1:-1])


def plain(model, images, kind):
    """(mean, std) [R] and the plane of M8, an image at a time, the DFT as a product of matrices."""
    spectra, planes = [], []
    for image, label in zip(images.images, images.labels, strict=True):
        x = (image[None].double() / 255).requires_grad_()
        nn.functional.cross_entropy(model.double().eval()(x), label[None]).backward()
        g = x.grad[0].sum(0).numpy()
        rows, columns = (np.exp(-2j * np.pi * np.outer(np.arange(n), np.arange(n)) / n) for n in g.shape)
        magnitude = np.fft.fftshift(abs(rows @ g @ columns))
        ring = plain_rings(magnitude, kind)
        spectra.append((ring - ring.min()) / (ring.max() - ring.min()))
        planes.append(magnitude / magnitude.mean())
    return np.mean(spectra, 0), np.std(spectra, 0), np.mean(planes, 0)


@pytest.mark.parametrize("kind", ["centred", "legacy"])
@pytest.mark.parametrize("size", [(16, 16), (15, 15), (12, 18)])
def test_spectra_are_those_of_a_plain_loop(kind, size):
    chance = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (6, 3, *size), generator=chance, dtype=torch.uint8)
    images = ImageSet(pixels, torch.arange(6) % 3, ["a", "b", "c"], [f"{i}" for i in range(6)])
    network = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Tanh(), nn.Flatten(), nn.LazyLinear(3))
    network(torch.zeros(1, 3, *size))
    model = Classifier(network, mean=(0.4, 0.4, 0.4), std=(0.2, 0.3, 0.2), num_classes=3)
    found = gradient_spectrum(model, images, rings=kind, dtype="float64", batch_size=4)
    mean, std, plane = plain(model, images, kind)
    assert np.allclose(found.mean, mean, atol=1e-9) and np.allclose(found.std, std, atol=1e-7)
    assert np.allclose(found.plane, plane, rtol=1e-5, atol=1e-6)
    single = gradient_spectrum(model.float(), images, rings=kind, batch_size=6)
    assert np.allclose(single.mean, mean, atol=1e-4)


def test_rings_have_the_published_numbers_and_leave_dc_out():
    assert [len(rings_of((n, n), "legacy").inner) for n in (8, 16, 28, 32, 64, 224)] == [3, 9, 18, 20, 43, 156]
    for kind in ("legacy", "centred"):
        rings = rings_of((32, 32), kind)
        assert rings.mean(torch.full((32, 32), 2.5)).eq(2.5).all()
        dc = torch.zeros(32, 32)
        dc[16, 16] = 9.0
        assert rings.mean(dc).eq(0).all() == (kind == "legacy")
    assert int(rings_of((9, 14)).counts.sum()) == 9 * 14
    with pytest.raises(UsageError, match="must be wider"):
        rings_of((2, 2), "legacy")


class Waves(nn.Module):
    """Two logits that are the inner products with two waves, at 3 and at 6 cycles/image."""

    def __init__(self, size=16):
        super().__init__()
        at = torch.arange(size) / size
        both = torch.stack([torch.cos(2 * torch.pi * f * at) for f in (3, 6)])
        self.waves = nn.Parameter(both[:, None, :].expand(2, size, size).clone())

    def forward(self, x):
        return torch.einsum("bchw,khw->bk", x, self.waves)


def test_a_network_that_reads_two_waves_reacts_there_alone():
    pixels = torch.full((4, 3, 16, 16), 128, dtype=torch.uint8)
    images = ImageSet(pixels, torch.tensor([0, 1, 0, 1]), ["a", "b"], list("wxyz"))
    model = Classifier(Waves(), mean=(0, 0, 0), std=(1, 1, 1), num_classes=2)
    found = gradient_spectrum(model, images)
    strong = (found.plane > 1e-3).nonzero() - 8
    assert sorted(map(tuple, strong.tolist())) == [(0, -6), (0, -3), (0, 3), (0, 6)]
    assert found.peak.tolist() == [3.0, 3.0]  # the smaller ring has fewer bins, so the higher mean
    scaled = gradient_spectrum(
        Classifier(nn.Sequential(Waves(), Times(0.001)), mean=(0, 0, 0), std=(1, 1, 1), num_classes=2), images
    )
    assert torch.allclose(scaled.mean, found.mean, atol=1e-5)  # the loss's scale does not matter


class Times(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return self.factor * x


def test_images_without_a_gradient_are_left_out_and_counted():
    class Dead(Waves):
        def forward(self, x):
            alive = (x.mean((1, 2, 3)) > 0.5).float()[:, None]
            return super().forward(x) * alive

    pixels = torch.randint(0, 100, (4, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    pixels[:2] += 150
    images = ImageSet(pixels, torch.tensor([0, 1, 0, 2]), ["a", "b", "c"], list("wxyz"))

    class Three(Dead):
        def forward(self, x):
            return nn.functional.pad(super().forward(x), (0, 1))

    found = gradient_spectrum(Classifier(Three(), mean=(0, 0, 0), std=(1, 1, 1), num_classes=3), images)
    assert found.counts.tolist() == [[1, 1, 0]] and found.means[0, 2].isnan().all()
    assert torch.isfinite(found.mean).all() and math.isnan(found.peak[2])
    alone = gradient_spectrum(Classifier(Three(), mean=(0, 0, 0), std=(1, 1, 1), num_classes=3), images.subset([0, 1]))
    assert torch.allclose(alone.mean, found.mean, atol=1e-5) and torch.allclose(alone.plane, found.plane, atol=1e-4)


def test_kept_weights_give_the_evolution(tmp_path):
    images, models = (
        synthetic(1, images_per_class=3),
        [load_model("small_convnet", num_classes=4, seed=s) for s in (1, 2)],
    )
    for epoch, model in enumerate(models, 1):
        save_weights(model, tmp_path / f"weights-{epoch:04d}.safetensors")
    found = gradient_spectrum(load_model("small_convnet", num_classes=4), images, checkpoints=tmp_path)
    assert found.moments == ["weights-0001", "weights-0002"] and found.evolution[0].shape == (2, 23)
    for e, model in enumerate(models):
        assert torch.equal(found.means[e], gradient_spectrum(model, images).means[0])
    steps = {row["condition"] for row in found.rows()}
    assert steps == {"weights-0001", "weights-0002"}
    with pytest.raises(UsageError, match="checkpoints must be a folder with weights"):
        gradient_spectrum(models[0], images, checkpoints=tmp_path / "none")
    save_weights(load_model("small_convnet", num_classes=7), tmp_path / "weights-0003.safetensors")
    with pytest.raises(UsageError, match=r"weights-0003\.safetensors must hold the weights of small_convnet"):
        gradient_spectrum(models[0], images, checkpoints=tmp_path)


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(tmp_path):
    images = synthetic(1, images_per_class=40)
    for epoch in (1, 2):
        save_weights(
            load_model("small_convnet", num_classes=4, seed=epoch), tmp_path / f"weights-{epoch:04d}.safetensors"
        )

    class Stops(Watcher):
        def advance(self, amount, **facts):
            super().advance(amount, **facts)
            if self.done > 200:
                raise Interrupted(2)

    model, asked = load_model("small_convnet", num_classes=4), {"checkpoints": tmp_path, "batch_size": 8}
    gradient_spectrum(model, images, **asked, out=tmp_path / "whole")
    with pytest.raises(Interrupted):
        gradient_spectrum(model, images, **asked, out=tmp_path / "run", progress=Stops())
    gradient_spectrum(model, images, **asked, out=tmp_path / "run", resume=True)
    one, other = (tmp_path / name / "gradient-spectrum.safetensors" for name in ("whole", "run"))
    assert one.read_bytes() == other.read_bytes()
    save_weights(load_model("small_convnet", num_classes=4, seed=9), tmp_path / "weights-0002.safetensors")
    with pytest.raises(UsageError, match="weights"):
        gradient_spectrum(model, images, **asked, out=tmp_path / "run", resume=True)


@pytest.mark.parametrize("kind", ["centred", "legacy"])
@pytest.mark.parametrize("size", [(8, 8), (9, 9), (10, 13), (7, 12)])
def test_half_of_a_plane_tells_the_whole(kind, size):
    planes = torch.rand(3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    magnitude, rings = torch.fft.fft2(planes).abs(), rings_of(size, kind)
    folded, half = Folded(rings, size), torch.fft.rfft2(planes).abs()
    assert torch.allclose(folded.whole(half), torch.fft.fftshift(magnitude, (-2, -1)))
    assert torch.allclose(folded.rings(half), rings.mean(torch.fft.fftshift(magnitude, (-2, -1))))
    assert torch.allclose(folded.mean(half)[:, 0, 0], magnitude.mean((1, 2)))


def test_bad_gradients_and_names_are_refused():
    images = synthetic(1, images_per_class=1)
    with pytest.raises(UsageError, match="rings must be"):
        gradient_spectrum(load_model("small_convnet", num_classes=4), images, rings="square")
    model = load_model("small_convnet", num_classes=4)
    with torch.no_grad():
        next(model.network.parameters()).fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="gradient_spectrum: the gradient of image C0"):
        gradient_spectrum(model, images)


def test_classes_that_are_not_the_logits_need_an_index():
    """Else the loss would be that of the first logits, whatever these are."""
    images, model = synthetic(1, images_per_class=2), load_model("small_convnet", num_classes=7, seed=1)
    with pytest.raises(UsageError, match="gradient_spectrum: the model has 7 logits but the images have 4 classes"):
        gradient_spectrum(model, images)
    with pytest.raises(UsageError, match="class_index must not name a logit twice"):
        gradient_spectrum(model, images, class_index=[0, 1, 1, 2])
    found = gradient_spectrum(model, images, class_index=[6, 0, 3, 2])
    order = torch.tensor([6, 0, 3, 2, 1, 4, 5])
    whole = ImageSet(images.images, order[images.labels], [f"l{k}" for k in range(7)], images.paths)
    assert torch.allclose(gradient_spectrum(model, whole).mean, found.mean)
