"""Smoothed first layers, attacked, against a plain loop; and how rough kernels are, against plain sums."""

import numpy as np
import pytest
import torch
from torch import nn

from freqkit.data import ImageSet, synthetic
from freqkit.errors import Interrupted, UsageError
from freqkit.measures import kernel_roughness, smoothness
from freqkit.models import Classifier, load_model


def plain_smoothed(w, rho, divide):
    out = np.zeros_like(w)
    height, width = w.shape[2:]
    for i in range(height):
        for j in range(width):
            around = 0
            for di in (-1, 0, 1):
                for dj in (-1, 0, 1):
                    if (di, dj) != (0, 0):
                        around = around + w[:, :, min(max(i + di, 0), height - 1), min(max(j + dj, 0), width - 1)]
            out[:, :, i, j] = w[:, :, i, j] + rho * around
    return out / (1 + 8 * rho) if divide else out


def plain_pgd(network, x, y, eps, steps, mean, std):
    """Within L-inf, from the image itself, an image at a time; whether it is still recognised in all iterates."""
    with torch.no_grad():
        if int(network((x - mean) / std).argmax()) != y:
            return False
    delta = torch.zeros_like(x)
    for _ in range(steps):
        delta.requires_grad_()
        loss = nn.functional.cross_entropy(network((x + delta - mean) / std), torch.tensor([y]))
        (slope,) = torch.autograd.grad(loss, delta)
        moved = (delta.detach() + 2.5 * eps / steps * slope.sign()).clamp(-eps, eps)
        delta = (x + moved).clamp(0, 1) - x
        with torch.no_grad():
            if int(network((x + delta - mean) / std).argmax()) != y:
                return False
    return True


def small_world(size=(12, 9), n=11):
    chance = torch.Generator().manual_seed(3)
    pixels = torch.randint(0, 256, (n, 3, *size), generator=chance, dtype=torch.uint8)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 6, 5, 2), nn.Tanh(), nn.Flatten(), nn.LazyLinear(3))
    network(torch.zeros(1, 3, *size))
    model = Classifier(network, mean=(0.4, 0.4, 0.3), std=(0.2, 0.3, 0.2), num_classes=3)
    with torch.no_grad():
        labels = model.eval()(pixels.float() / 255).argmax(1)
    labels[::4] = (labels[::4] + 1) % 3
    return model, ImageSet(pixels, labels, ["a", "b", "c"], [str(i) for i in range(n)])


def test_accuracies_are_those_of_a_plain_loop():
    model, images = small_world()
    found = smoothness(model, images, rho=[0, 0.25, 1], attacks=["pgd:eps=2:steps=3:restarts=0", "pgd:eps=0"],
                       dtype="float64", batch_size=4)  # fmt: skip
    assert list(zip(found.scales, found.rho.tolist(), strict=True)) == [
        ("published", 0), ("published", 0.25), ("published", 1), ("normalised", 0.25), ("normalised", 1)
    ]  # fmt: skip
    mean, std = (torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in (model.mean, model.std))
    first = model.network[0].weight.detach().double().numpy()
    for v, (scale, rho) in enumerate(zip(found.scales, found.rho.tolist(), strict=True)):
        network = model.network.double().eval()
        with torch.no_grad():
            network[0].weight.copy_(torch.from_numpy(plain_smoothed(first, rho, scale == "normalised")))
        for i, (image, label) in enumerate(zip(images.images.double() / 255, images.labels.tolist(), strict=True)):
            clean = int(network((image[None] - mean) / std).argmax()) == label
            hardy = plain_pgd(network, image[None], label, 2 / 255, 3, mean, std)
            assert found.right[v, :, i].tolist() == [clean, hardy, clean], (v, i)
        with torch.no_grad():
            network[0].weight.copy_(torch.from_numpy(first))
    assert torch.equal(found.right[:, 0], found.right[:, 2])  # eps = 0
    assert found.record["backwards"] > 0 and found.record["forwards"] > 11 * 5


def test_roughness_is_that_of_plain_sums():
    w = torch.randn(4, 3, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    steps, energy, outside = [], 0.0, 0.0
    for kernel in w.flatten(0, 1).numpy():
        for i in range(5):
            for j in range(3):
                steps += [abs(kernel[i + 1, j] - kernel[i, j])] if i < 4 else []
                steps += [abs(kernel[i, j + 1] - kernel[i, j])] if j < 2 else []
                u, v = min(i, 5 - i), min(j, 3 - j)
                value = abs(sum(kernel[a, b] * np.exp(-2j * np.pi * (i * a / 5 + j * b / 3)) for a in range(5)
                                for b in range(3))) ** 2  # fmt: skip
                energy += value
                outside += value * (u * u + v * v > 1)
    variation, share = kernel_roughness(w)
    assert variation == pytest.approx(np.mean(steps) / float(w.abs().mean())) and share == pytest.approx(
        outside / energy
    )
    with pytest.raises(UsageError, match="kernels must have shape"):
        kernel_roughness(w[0])


def test_planted_kernels_are_told_apart_and_smoothing_smooths():
    """A chequered kernel is as rough as there is, and an even one not at all."""
    model, images = load_model("small_convnet", num_classes=4), synthetic(1, images_per_class=2)
    found = smoothness(model, images, rho=[0.25, 1], attacks=[], normalise="yes")
    assert found.attacks == [] and found.right.shape == (3, 1, 8)
    assert found.variation[0] > found.variation[1] > found.variation[2]
    assert found.outside[0] > found.outside[1] > found.outside[2]
    chequers = (-1.0) ** (torch.arange(4)[:, None] + torch.arange(4)[None])
    assert kernel_roughness(chequers.expand(2, 3, 4, 4)) == (2.0, 1.0)


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(tmp_path):
    from tests.engine.small_world import Watcher

    model, images = small_world(n=21)

    class Stops(Watcher):
        def advance(self, amount, **facts):
            super().advance(amount, **facts)
            if self.done > 30:
                raise Interrupted(2)

    asked = {"rho": [0, 0.5], "attacks": ["pgd:eps=2:steps=2"], "batch_size": 8}
    smoothness(model, images, **asked, out=tmp_path / "whole")
    with pytest.raises(Interrupted):
        smoothness(model, images, **asked, out=tmp_path / "run", progress=Stops())
    smoothness(model, images, **asked, out=tmp_path / "run", resume=True)
    one, other = (tmp_path / name / "smoothness.safetensors" for name in ("whole", "run"))
    assert one.read_bytes() == other.read_bytes()


def test_bad_arguments_are_refused():
    model, images = load_model("small_convnet", num_classes=4), synthetic(1, images_per_class=1)
    for asked, words in (
        ({"rho": [1, 0]}, "rho must be rising"), ({"rho": [-1.0]}, "rho must be rising"),
        ({"attacks": ["pgd:band=own"]}, "must need no masks"), ({"attacks": "fgsm"}, "must be a list of attacks"),
        ({"attacks": ["fgsm", "fgsm:eps=4"]}, "attacks must differ"), ({"attacks": ["sgd"]}, "kind must be one of"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=words):
            smoothness(model, images, **asked)
    dense = nn.Sequential(nn.Flatten(), nn.Linear(3072, 4))
    with pytest.raises(UsageError, match="must have a Conv2d"):
        smoothness(Classifier(dense, mean=(0, 0, 0), std=(1, 1, 1), num_classes=4), images)
