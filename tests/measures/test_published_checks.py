"""What must hold exactly of the two papers on what data teach (IJCAI 2022; CVPR 2020), in one place.

Each has its own tests beside its code, too; the density filters of CDES are not here.
"""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from freqkit.data import ImageSet, components, hars, synthetic
from freqkit.data.components import encode, side_mask
from freqkit.engine.attacks import Attack, attack
from freqkit.errors import UsageError
from freqkit.masks.radial import rings_of
from freqkit.measures import gradient_spectrum
from freqkit.models import Classifier, load_model, smooth_kernels
from freqkit.models.smoothing import first_convolution, smoothed

COUNTS = {4: (45, 49), 6: (109, 113), 8: (193, 197), 10: (305, 317), 12: (437, 441), 14: (609, 613), 16: (793, 795),
          18: (927, 927), 20: (995, 999), 23: (1024, 1024)}  # fmt: skip


def noise(n, size, seed=0):
    return torch.rand(n, 3, *size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [(8, 8), (14, 14), (32, 32), (9, 12)])
def test_1_low_and_high_are_the_image(size):
    x = noise(3, size)
    corner = math.hypot(*size) / 2 * min(size) / max(size)
    for r in (0.5, 1, 2.5, corner / 2):
        low, high = (components(x, r, side) for side in ("low", "high"))
        assert (low + high - x).abs().max() < 1e-5
        mask = torch.fft.ifftshift(side_mask(size, r, "low"), (-2, -1)).double()
        assert torch.fft.ifft2(torch.fft.fft2(x.double()) * mask).imag.abs().max() < 1e-4


def test_1_sides_have_the_published_numbers_of_frequencies():
    for r, both in COUNTS.items():
        found = tuple(int(side_mask((32, 32), r, "low", boundary).sum()) for boundary in ("strict", "inclusive"))
        assert found == both
    assert [int(side_mask((28, 28), r, "low").sum()) for r in (4, 8, 12, 14, 16, 20)] == [45, 193, 437, 609, 719, 784]
    assert int(side_mask((28, 28), 14, "low", "inclusive").sum()) == 611


def test_2_the_high_part_has_no_mean_and_empty_sides_are_refused():
    x = noise(2, (32, 32))
    assert all(components(x, r, "high").mean((2, 3)).abs().max() < 1e-6 for r in (0.5, 4, 16, 22))
    for r, side in ((0, "low"), (23, "high")):  # of which the published code makes an image that is 0 everywhere
        assert not side_mask((32, 32), r, side, empty=True).any()
        with pytest.raises(UsageError, match=f"must be a frequency on the {side} side"):
            components(x, r, side)


def test_3_means_over_rings():
    sizes = {32: 20, 28: 18, 16: 9, 8: 3, 64: 43, 224: 156}
    assert {n: len(rings_of((n, n), "legacy").inner) for n in sizes} == sizes
    rings, plane = rings_of((32, 32), "legacy"), torch.full((32, 32), 1.5)
    assert rings.mean(plane).eq(1.5).all()
    plane[16, 16] += 100
    assert rings.mean(plane).eq(1.5).all()  # DC is in the ring that is left out


class Scaled(nn.Module):
    def __init__(self, network, factor):
        super().__init__()
        self.network, self.factor = network, factor

    def forward(self, x):
        return self.network(x) * self.factor


@pytest.mark.parametrize("kind", ["legacy", "centred"])
def test_4_gradient_spectra_go_from_0_to_1_and_know_no_scale(kind):
    images, model = synthetic(1, images_per_class=1), load_model("small_convnet", num_classes=4, seed=1)
    for i in range(4):  # one image: its mean is its own spectrum
        found = gradient_spectrum(model, images.subset([i]), rings=kind)
        assert float(found.mean.min()) == 0 and float(found.mean.max()) == 1
    dead = Classifier(Scaled(model.network, 0.0), mean=model.mean, std=model.std, num_classes=4)
    found = gradient_spectrum(dead, images, rings=kind)
    assert found.counts.sum() == 0 and not found.mean.isnan().any() and not found.plane.isnan().any()

    class Times(torch.autograd.Function):
        """The identity, whose gradient is three times as large: a loss times a constant."""

        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return 3 * gradient

    class Thrice(nn.Module):
        def __init__(self, network):
            super().__init__()
            self.network = network

        def forward(self, x):
            return Times.apply(self.network(x))

    thrice = Classifier(Thrice(model.network), mean=model.mean, std=model.std, num_classes=4)
    one, other = (gradient_spectrum(each, images, rings=kind, dtype="float64").mean for each in (model, thrice))
    assert torch.allclose(one, other, atol=1e-12)


def test_7_donors_of_hars():
    chance = torch.Generator().manual_seed(2)
    pixels = torch.randint(0, 256, (30, 3, 16, 16), dtype=torch.uint8, generator=chance)
    images = ImageSet(pixels, torch.arange(30) % 3, ["a", "b", "c"], [str(i) for i in range(30)])
    made = hars(images, r=4, seed=5)
    assert made.donors.sort().values.tolist() == [*range(30)]
    assert (images.labels[made.donors] != images.labels).all() and torch.equal(made.labels, images.labels)
    x = pixels.double() / 255
    low, high = (components(x, 4, side) for side in ("low", "high"))
    mixed = low[made.donors] + high
    assert torch.allclose(mixed.mean((2, 3)), x[made.donors].mean((2, 3)), atol=1e-9)
    assert (encode(low + high, "minmax") - encode(x, "minmax")).abs().max() < 1e-6  # one that is its own donor
    two = ImageSet(pixels[:2], torch.tensor([0, 1]), ["a", "b"], ["0", "1"])
    assert hars(two, r=4).donors.tolist() == [1, 0]
    with pytest.raises(UsageError):
        hars(ImageSet(pixels[:3], torch.tensor([0, 0, 1]), ["a", "b"], list("012")), r=4)


def test_8_smoothing_acts_on_space_alone():
    w = torch.randn(5, 3, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.equal(smoothed(w, 0.0), w)
    assert torch.allclose(smoothed(torch.full_like(w, 0.3), 0.7), torch.full_like(w, 0.3 * (1 + 8 * 0.7)))
    stencil = torch.full((1, 1, 3, 3), 0.7, dtype=torch.float64)
    stencil[..., 1, 1] = 1
    padded = F.pad(w.flatten(0, 1)[:, None], (1, 1, 1, 1), mode="replicate")
    assert torch.allclose(smoothed(w, 0.7), F.conv2d(padded, stencil).view_as(w))
    order, channels = torch.tensor([4, 2, 0, 1, 3]), torch.tensor([2, 0, 1])
    assert torch.equal(smoothed(w[order][:, channels], 0.7), smoothed(w, 0.7)[order][:, channels])
    model = load_model("small_convnet", num_classes=4)
    name, layer = first_convolution(smooth_kernels(model, 0.7))
    assert torch.allclose(layer.weight, smoothed(first_convolution(model)[1].weight, 0.7))
    for other, weight in model.named_parameters():
        if not other.startswith(name):
            assert torch.equal(weight, dict(smooth_kernels(model, 0.7).named_parameters())[other])


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_9_attacks_stay_in_their_ball_and_eps_0_is_clean(norm):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Tanh(), nn.Flatten(), nn.Linear(6 * 36, 3)).eval()
    x, how = noise(12, (8, 8)), {"mean": (0.5,) * 3, "std": (0.25,) * 3, "keys": [str(i) for i in range(12)]}
    said = network((x - 0.5) / 0.25).argmax(1)
    for text in ("pgd:steps=5", "fgsm"):
        for eps in (0.0, 0.3, 3.0) if norm == "l2" else (0.0, 2.0, 40.0):
            spec = Attack.parse(f"{text}:norm={norm}:eps={eps:g}")
            found = attack(network, x, said, spec, answers=said, **how)
            change = (found.images - x).flatten(1)
            length = change.norm(dim=1) if norm == "l2" else change.abs().amax(1)
            assert length.max() <= spec.radius * (1 + 1e-5) + 1e-7
            assert found.images.min() >= 0 and found.images.max() <= 1
            assert eps or (torch.equal(found.images, x) and torch.equal(found.answers, said))


def test_9_both_ways_to_score_fgsm_agree_on_a_linear_network():
    """Of two logits that are linear the least eps that fools is the margin over the gradient's sum of moduli."""
    torch.manual_seed(3)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16, 2)).double()
    x = 0.3 + 0.4 * noise(40, (4, 4)).double()  # 0.3 from the border: no clipping
    logits = network(x)
    said = logits.argmax(1)
    apart = network[1].weight[1] - network[1].weight[0]
    least = (logits[:, 1] - logits[:, 0]).abs() / apart.abs().sum()
    how = {"mean": (0.0,) * 3, "std": (1.0,) * 3, "keys": [str(i) for i in range(40)], "answers": said}
    shares = []
    for eps in (5.0, 10.0, 20.0, 40.0):
        fooled = attack(network, x, said, Attack.parse(f"fgsm:eps={eps:g}"), **how).answers != said
        sure = (least - eps / 255).abs() > 1e-9
        assert torch.equal(fooled[sure], (least < eps / 255)[sure])
        shares.append(float((least > eps / 255).double().mean()))
    assert shares == sorted(shares, reverse=True)


def test_10_shuffled_labels():
    labels = torch.arange(2000) % 10
    images = ImageSet(
        torch.zeros(2000, 3, 2, 2, dtype=torch.uint8), labels, list("abcdefghij"), list(map(str, range(2000)))
    )
    shuffled = images.shuffled(seed=4)
    assert torch.equal(torch.bincount(shuffled.labels), torch.bincount(labels))
    agree = float((shuffled.labels == labels).double().mean())
    assert abs(agree - 0.1) < 4 * math.sqrt(0.1 * 0.9 / 2000)
