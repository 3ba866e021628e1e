"""Fourier heat map of a ResNet-20 on CIFAR images: ours against a loop over frequencies with a loader for each.

    python benchmarks/fourier_heatmap.py [--images 200] [--bins 64]

Needs ../shared/data. The loop is written as public code does it: every frequency of the plane, a torch DataLoader over
the images for each, the vector made by an inverse FFT and added to images in a transform. It is given the vectors of
our own half plane, and so counted once for both of a pair: `twice` is what it takes for the whole plane. Prints JSON.
"""

import argparse
import functools
import json
import time
from pathlib import Path

import numpy as np
import torch

from freqkit.data import load_images
from freqkit.measures import fourier_heatmap
from freqkit.models import load_model
from freqkit.statistics import rank_correlations

DATA = Path(__file__).parents[1] / ".." / "shared" / "data"


class Perturbed(torch.utils.data.Dataset):
    """Images with one vector added, a sign for each channel."""

    def __init__(self, images, vector):
        self.images, self.vector, self.chance = images, vector, np.random.default_rng(0)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        x = self.images.images[i].float() / 255
        signs = torch.from_numpy(self.chance.choice([-1.0, 1.0], 3)).float()
        return (x + signs[:, None, None] * self.vector).clamp(0, 1), int(self.images.labels[i])


@torch.inference_mode()
def loop(model, images, bins, norm):
    height, width = images.images.shape[-2:]
    errors = []
    for i, j in bins.tolist():
        spectrum = torch.zeros(height, width, dtype=torch.complex64)
        spectrum[i, j] = spectrum[-i, -j] = 1
        vector = torch.fft.ifft2(spectrum).real
        loader = torch.utils.data.DataLoader(Perturbed(images, norm * vector / vector.norm()), batch_size=128)
        wrong = sum(int((model(x).argmax(1) != label).sum()) for x, label in loader)
        errors.append(wrong / len(images))
    return torch.tensor(errors, dtype=torch.float64)


def clocked(work):
    begin = time.process_time()
    return work(), time.process_time() - begin


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--bins", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-gradients", action="store_true", help="leave the first-order maps out")
    given = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model("cifar_resnet20", weights=DATA / "weights" / "cifar10-resnet20.safetensors")
    images = load_images(DATA / "cifar10-mini" / "test", limit_per_class=given.images // 10)
    found, facts = {}, {"images": len(images), "bins": given.bins}
    for _ in range(given.rounds):
        ours, took = clocked(lambda: fourier_heatmap(model, images, bins=given.bins, batch_size=128, form="folded"))
        found.setdefault("ours", []).append(took)
        theirs, took = clocked(functools.partial(loop, model, images, ours.bins, 4.0))
        found.setdefault("loop", []).append(took)
        raced, took = clocked(
            lambda: fourier_heatmap(model, images, bins=given.bins, race=0.1, batch_size=128, form="folded")
        )
        found.setdefault("raced", []).append(took)
        _, took = clocked(lambda: model(images.images[:128].float() / 255))
        found.setdefault("a batch of 128", []).append(took)
    facts["seconds of the processor"] = {name: float(np.median(values)) for name, values in found.items()}
    ratios = [b / a for a, b in zip(found["ours"], found["loop"], strict=True)]
    facts["loop over ours"] = {"half plane": float(np.median(ratios)), "twice": 2 * float(np.median(ratios))}
    facts["loop over raced"] = 2 * float(np.median([b / a for a, b in zip(found["raced"], found["loop"], strict=True)]))
    facts["mean difference of errors"] = float((ours.rates - theirs).abs().mean())
    facts["raced: images of a vector"] = float(raced.shown.sum(1).double().mean())
    for norm in () if given.no_gradients else (4.0, 0.4):
        exact = fourier_heatmap(model, images, bins=given.bins, norm=norm, batch_size=128, form="folded")
        first = fourier_heatmap(model, images, method="gradient", norm=norm, batch_size=128)
        place = {tuple(one): k for k, one in enumerate(first.bins.tolist())}
        told = first.rates[[place[tuple(one)] for one in exact.bins.tolist()]]
        rho = rank_correlations(torch.stack([told, exact.rates]).numpy(), [(0, 1)])[0, 0]
        facts[f"first order, norm {norm:g}: Spearman"] = float(rho)
    print(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
