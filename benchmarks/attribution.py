"""How few frequencies keep a network's answer: `freqkit.attribute` against Fast Fourier Correlation and gradient x
spectrum, on the same images and under one rule.

    python -m benchmarks.attribution [--images 100] [--json FILE]
    python -m benchmarks.attribution --lite0 [--images 20]

Without --lite0: the ResNet-20 and CIFAR-10 photographs of FREQKIT_DATA; with it EfficientNet-Lite0
(examples/efficientnet_lite0.py) and imagenet-mini. For every image each method gives its smallest set at which the
network's answer is that of the whole image; of a ranking, the least of some shares of its first coefficients, all of
them tried. What is told is the share that suffices for 80 % of the images. Rankings are tried by coefficient of each
channel, as published, and by pair of frequencies in all channels, as ours are. A backward counts two forwards; Fast
Fourier Correlation is given one step, twenty, and as many as make it cost what attribute costs.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.baselines.fourier_correlation import (
    fast_fourier_correlation,
    gradient_times_spectrum,
    least_that_keep,
    of_pairs,
)
from freqkit.data import load_images
from freqkit.measures import attribute
from freqkit.models import load_model
from freqkit.statistics import drawn_anew

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("FREQKIT_DATA", ROOT.parent / "shared" / "data"))
GRID, LEVEL, BATCH = 48, 0.8, 20


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lite0", action="store_true")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--skip", type=int, default=0, help="images left out, for other draws")
    parser.add_argument("--grid", type=int, default=GRID, help="shares of a ranking that are tried")
    parser.add_argument("--steps", default="1,20", help="of Fast Fourier Correlation; as many as attribute costs, too")
    parser.add_argument("--json", help="write the rows here")
    args = parser.parse_args(argv)
    if args.lite0:
        model = load_model(f"{ROOT / 'examples' / 'efficientnet_lite0.py'}:make")
        images = load_images(DATA / "imagenet-mini" / "val", image_size=224, resize="center-crop",
                             classes=DATA / "imagenet-mini" / "synsets.txt")  # fmt: skip
    else:
        model = load_model("cifar_resnet20", weights=DATA / "weights" / "cifar10-resnet20.safetensors")
        images = load_images(DATA / "cifar10-mini" / "test")
    # one of each class in turn
    order = torch.arange(len(images)).view(-1) if args.lite0 else torch.arange(len(images)).view(10, -1).T.flatten()
    images = images.subset(order[args.skip : args.skip + args.images])
    rows = []
    for row in compared(model, images, args.grid, [int(one) for one in args.steps.split(",")]):
        rows.append(row)
        print(*(f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()),
              flush=True)  # fmt: skip
    if args.json:
        Path(args.json).write_text(json.dumps(rows, indent=1))


def compared(model, images, grid, some_steps):
    """A row for each method."""
    began = time.process_time()
    found = attribute(model, images, shown=0)
    cost = (found.record["forwards"] + 2 * found.record["backwards"]) / len(images)
    yield row("attribute", found.share[:, 0], cost, began)
    yield row("attribute, without rounds", found.ranked[:, 0], 3 * found.definition["steps"], began)
    network = model.eval().network
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (model.mean, model.std))
    x = (images.images.float() / 255 - mean) / std
    every = x[0, 0].numel()
    shares = [0.0, *(every ** (i / (grid - 1) - 1) for i in range(grid))]
    equal = max(1, round((cost - grid) / 3))
    methods = {"gradient x spectrum": (lambda some: gradient_times_spectrum(network, some), 3)}
    for steps in dict.fromkeys((*some_steps, equal)):
        methods[f"Fast Fourier Correlation, {steps} steps"] = (
            lambda some, steps=steps: fast_fourier_correlation(network, some, steps), 3 * steps + 1
        )  # fmt: skip
    for name, (ranking, asked) in methods.items():
        began, single, paired = time.process_time(), [], []
        for some in x.split(BATCH):
            scores = ranking(some)
            single.append(least_that_keep(network, some, scores, shares))
            paired.append(least_that_keep(network, some, of_pairs(scores), shares))
        yield row(f"{name}, by coefficient", torch.cat(single), asked + grid, began)
        yield row(f"{name}, by pair", torch.cat(paired), asked + grid, began)


def row(name, least, cost, began):
    """The shares that suffice for some of the images, with the interval of the one that is told."""
    least = least.nan_to_num(1.0)
    drawn = drawn_anew(range(len(least)), 2000, 0)
    at = torch.from_numpy(drawn).double()[:, least.argsort()].cumsum(1) >= LEVEL * len(least) - 1e-9
    redrawn = least.sort().values[at.int().argmax(1)]
    level = least.sort().values[int(torch.ceil(torch.tensor(LEVEL * len(least) - 1e-9))) - 1]
    low, high = redrawn.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return {
        "method": name, "images": len(least), "needed": float(level), "low": low, "high": high,
        "half": float(least.median()), "mean": float(least.mean()), "forward_equivalents": float(cost),
        "seconds": time.process_time() - began,
    }  # fmt: skip


if __name__ == "__main__":
    main()
