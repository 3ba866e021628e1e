"""Does training use frequencies as two papers say? Their directions, five seeds each, on small networks and few images.

    python benchmarks/what_data_teach.py --data ../shared/data/cifar10-mini --out runs/what-data-teach --only E1,E12

Directions E1 to E12 are of Lin, Gao, Sang (IJCAI 2022) and Wang, Wu, Huang, Xing (CVPR 2020). Each network is trained
once a seed and kept under OUT; a number that was measured stands in OUT/found.json and is not measured again, so that
a run that was stopped goes on. At the end a table says mean and spread over seeds, and in how many of them the
direction came out; nothing rests on one seed. --only takes some of them; --dry-run lists what would be trained.
"""

import argparse
import json
from pathlib import Path

import torch
from torch import nn

from freqkit.data import ImageSet, components, hars, load_images
from freqkit.files.whole import write_json
from freqkit.measures import feature_separation, gradient_spectrum, pass_curves, smoothness
from freqkit.models import Classifier
from freqkit.training import train

RADII = (4.0, 8.0, 12.0)
BASE = {"epochs": 15, "batch_size": 100, "optimizer": "adam", "lr": 1e-3, "weight_decay": 0.0, "schedule": "none"}


def small(classes, seed, norm=False):
    """Three convolutions and a linear layer, with or without batch norms."""
    torch.manual_seed(seed)
    layers = []
    for before, width, stride in ((3, 16, 1), (16, 24, 2), (24, 32, 2)):
        layers += [nn.Conv2d(before, width, 3, stride, 1), *([nn.BatchNorm2d(width)] if norm else []), nn.ReLU()]
    network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 8 * 8, classes))
    return Classifier(network, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), num_classes=classes)


class World:
    """Images, and the networks trained on them, each once a seed."""

    def __init__(self, train_set, test_set, out, epochs):
        self.train_set, self.test_set, self.out = train_set, test_set, Path(out)
        self.base = {**BASE, "epochs": epochs}

    def network(self, name, seed, images=None, norm=False, **changes):
        """A trained network; `name` is its folder."""
        network = small(len(self.train_set.classes), seed, norm)
        folder = self.out / "runs" / name / f"seed-{seed}"
        settings = {**self.base, **changes}
        train(network, images or self.train_set, seed=seed, out=folder, resume=folder.is_dir(), **settings)
        return network


def parts_of(found):
    """low/high at a radius -> accuracy."""
    names = [f"{kind} {radius:g}" for kind in ("low", "high") for radius in RADII]
    return dict(zip(["clean", *names], found.accuracy.tolist(), strict=True))


def seen(world, network, images=None):
    asked = {"preset": "cvpr2020", "radii": list(RADII), "batch_size": 100}
    return parts_of(pass_curves(network, images or world.test_set, **asked))


def as_set(pixels, of):
    """Components as bytes, for training."""
    return ImageSet((pixels * 255).round().clamp(0, 255).to(torch.uint8), of.labels, of.classes, of.paths)


# Each gives the numbers of one seed; its claim says of them whether the direction came out. --------------------------
def e1(world, seed):
    return seen(world, world.network("base", seed))


def e2(world, seed):
    found = {}
    for side in ("low", "high"):
        for r in RADII:
            images = as_set(components(world.train_set, r, side, encoding="minmax"), world.train_set)
            found[f"{side} {r:g}"] = seen(world, world.network(f"only-{side}-{r:g}", seed, images))["clean"]
    return found


def e3(world, seed):
    plain = seen(world, world.network("base", seed))
    normed = seen(world, world.network("bn", seed, norm=True))
    return {"plain high 4": plain["high 4"], "BN high 4": normed["high 4"], "plain high 8": plain["high 8"],
            "BN high 8": normed["high 8"]}  # fmt: skip


def e4(world, seed):
    plain, mixed = seen(world, world.network("base", seed)), seen(world, world.network("mixup", seed, mixup=1.0))
    both = (("plain", plain), ("Mix-up", mixed))
    return {f"{name} {at}": one[at] for name, one in both for at in ("clean", "high 4")}


def e5(world, seed):
    plain = world.network("base", seed)
    hard = world.network("pgd", seed, adversarial="pgd:eps=8:steps=5")
    found = {}
    for name, network in (("plain", plain), ("PGD", hard)):
        spectrum = gradient_spectrum(network, world.test_set).mean
        kernels = smoothness(network, world.test_set.subset([0]), rho=[0.0], attacks=[])
        found |= {f"{name} high 8": seen(world, network)["high 8"], f"{name} variation": float(kernels.variation[0]),
                  f"{name} low bands": float(spectrum[:4].sum() / spectrum.sum())}  # fmt: skip
    return found


def e6(world, seed):
    network = world.network("base", seed)
    found = smoothness(network, world.test_set, rho=[0, 0.25, 1], attacks=["pgd:eps=7.65:steps=10"])
    names = [f"{scale} {rho:g}" for scale, rho in zip(found.scales, found.rho.tolist(), strict=True)]
    clean = {f"clean {name}": float(value) for name, value in zip(names, found.accuracy[:, 0], strict=True)}
    return clean | {f"PGD {name}": float(value) for name, value in zip(names, found.accuracy[:, 1], strict=True)}


def e7(world, seed):
    some, long = world.train_set.subset(torch.arange(0, len(world.train_set), 2)), {"epochs": 3 * world.base["epochs"]}
    shuffled = some.shuffled(seed=seed)
    one, other = world.network("half", seed, some, **long), world.network("shuffled", seed, shuffled, **long)
    own, theirs = seen(world, one, some), seen(world, other, shuffled)
    return {"train": own["clean"], "train, shuffled": theirs["clean"], "low 4": own["low 4"],
            "low 4, shuffled": theirs["low 4"]}  # fmt: skip


def e8(world, seed):
    epochs, folder = world.base["epochs"], world.out / "runs" / "kept" / f"seed-{seed}"
    network = world.network("kept", seed, keep_every=max(1, epochs // 3))
    found = gradient_spectrum(network, world.test_set, checkpoints=folder, rings="legacy")
    pairs = zip(found.moments, found.evolution[0], strict=True)
    return {moment: float(found.inner[mean.argmax()]) for moment, mean in pairs}


def e9(world, seed):
    mixed = hars(world.train_set, r=8, seed=seed)
    plain, network = world.network("base", seed), world.network("hars-8", seed, mixed)
    asked = {"radii": [8.0], "encoding": "minmax", "dc": "remove", "filters": ["low", "high"], "batch_size": 100}
    one, other = (pass_curves(each, world.test_set, **asked).accuracy.tolist() for each in (plain, network))
    return {"clean": one[0], "clean, HARS": other[0], "low 8, HARS": other[1], "high 8": one[2],
            "high 8, HARS": other[2]}  # fmt: skip


def e12(world, seed):
    found = feature_separation(world.network("base", seed), world.test_set, radii=[2, 4, 6, 8, 12], encoding="maxnorm")
    return {f"{quantity}, {side}": value for quantity, sides in found.correlations.items()
            for side, (value, *_) in sides.items() if value is not None}  # fmt: skip


def rises(v):
    return v["low 4"] <= v["low 8"] + 0.02 and all(v[f"high {r:g}"] < v[f"low {r:g}"] for r in RADII)


def mixes(v):
    return v["Mix-up high 4"] > v["plain high 4"] and abs(v["Mix-up clean"] - v["plain clean"]) < 0.05


def hardens(v):
    return v["PGD low bands"] > v["plain low bands"] and v["PGD variation"] < v["plain variation"]


def smooths(v):
    return v["clean published 1"] < min(v["clean published 0"], v["clean normalised 1"])


def moves(v):
    first, *_, last = v.values()
    return last >= first


def hybrid(v):
    return v["low 8, HARS"] < 0.1 and v["high 8, HARS"] > v["high 8"] and v["clean, HARS"] < v["clean"]


DIRECTIONS = {
    "E1": (e1, "low rises with r; high far below low at equal r", rises),
    "E2": (e2, "networks that learned low parts alone do better on whole images",
           lambda v: all(v[f"low {r:g}"] > v[f"high {r:g}"] for r in RADII)),
    "E3": (e3, "BN raises high-part accuracy", lambda v: v["BN high 4"] > v["plain high 4"]),
    "E4": (e4, "Mix-up: high a little higher, clean within 5 points", mixes),
    "E5": (e5, "PGD training: gradients in low bands, smoother kernels", hardens),
    "E6": (e6, "smoothing costs clean accuracy, normalised less", smooths),
    "E7": (e7, "shuffled labels: low parts tell less of the training images",
           lambda v: v["low 4, shuffled"] < v["low 4"]),
    "E8": (e8, "the gradient's peak does not move down", moves),
    "E9": (e9, "HARS: low below chance, high above the baseline, clean drops", hybrid),
    "E12": (e12, "between-class variance goes with accuracy more than the Fisher ratio",
            lambda v: v["between, all"] > v["Fisher ratio, all"]),
}  # fmt: skip
NOT_HERE = {"E10": "needs the density filters of CDES", "E11": "needs the density filters of CDES"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--only", default=",".join(DIRECTIONS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=BASE["epochs"])
    parser.add_argument("--limit-per-class", type=int)
    parser.add_argument("--dry-run", action="store_true")
    asked = parser.parse_args()
    names = asked.only.split(",")
    strange = [name for name in names if name not in DIRECTIONS]
    if strange:
        parser.error(f"--only takes {', '.join(DIRECTIONS)}; {strange[0]}: {NOT_HERE.get(strange[0], 'not known')}.")
    if asked.dry_run:
        for name in names:
            print(name, DIRECTIONS[name][1])
        return
    limits = {"image_size": 32, "limit_per_class": asked.limit_per_class}
    sets = [load_images(asked.data, part=part, **limits) for part in ("train", "test")]
    world, path = World(*sets, asked.out, asked.epochs), Path(asked.out) / "found.json"
    identity = {"train": sets[0].fingerprint, "test": sets[1].fingerprint, "epochs": asked.epochs}
    kept = json.loads(path.read_text()) if path.is_file() else {"of": identity, "found": {}}
    if kept["of"] != identity:
        parser.error(f"--out must be new, or of the same images and epochs; {path} is of others.")
    for name in names:
        for seed in range(asked.seeds):
            key = f"{name}/{seed}"
            if key not in kept["found"]:
                kept["found"][key] = DIRECTIONS[name][0](world, seed)
                write_json(path, kept)
    print("| direction | claim | numbers, mean ± spread over seeds | came out in |\n|---|---|---|---|")
    for name in names:
        found = [kept["found"][f"{name}/{seed}"] for seed in range(asked.seeds)]
        table = torch.tensor([[one.get(key, float("nan")) for key in found[0]] for one in found], dtype=torch.float64)
        spread = table.std(0) if len(found) > 1 else torch.zeros(table.shape[1])
        words = ", ".join(f"{key} {mean:.2f} ± {more:.2f}"
                          for key, mean, more in zip(found[0], table.mean(0), spread, strict=True))  # fmt: skip
        count = sum(bool(DIRECTIONS[name][2](one)) for one in found)
        print(f"| {name} | {DIRECTIONS[name][1]} | {words} | {count} of {len(found)} seeds |")


if __name__ == "__main__":
    main()
