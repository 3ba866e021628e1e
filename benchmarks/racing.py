"""What racing saves and loses: python -m benchmarks.racing --data DIR [--masks 120] [--stage 1] [--json FILE]

DIR holds Fashion-MNIST's idx files (Debian's dataset-fashion-mnist). Trains a small network on them, scores candidates
on the 10,000 test images (1,000 of each class) one by one, and races over these scores in many random orders: the share
of forwards needed, how often a member of a class's true top is lost, and whether the best mask is kept.
"""

import argparse
import gzip
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import harness

NAMES = ["T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"]


def read(folder, part):
    """An `ImageSet` of 32 x 32 RGB images, the grey 28 x 28 ones with a black border."""
    from freqkit.data import ImageSet

    def values(name, skip):
        with gzip.open(Path(folder) / f"{part}-{name}.gz") as file:
            return np.frombuffer(file.read(), np.uint8, offset=skip)

    grey = torch.from_numpy(values("images-idx3-ubyte", 16).copy()).view(-1, 1, 28, 28)
    labels = torch.from_numpy(values("labels-idx1-ubyte", 8).astype(np.int64))
    images = torch.nn.functional.pad(grey, (2, 2, 2, 2)).expand(-1, 3, -1, -1).contiguous()
    return ImageSet(images, labels, list(NAMES), [str(i) for i in range(len(labels))])


def trained(folder, seed=0, examples=8_000):
    """A small network after an epoch of the training set's first images, and its accuracy."""
    from freqkit.models import load_model
    from freqkit.training import evaluate, train

    model = load_model("small_convnet", num_classes=10, seed=seed)
    part = read(folder, "train").subset(torch.arange(examples))
    train(model, part, epochs=2, batch_size=64, lr=0.05, seed=seed)
    test = read(folder, "t10k")
    return model.eval(), test, evaluate(model, test)["accuracy"]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--masks", type=int, default=120)
    parser.add_argument("--stage", type=int, default=1)
    parser.add_argument("--top", type=int, default=10)
    parser.add_argument("--risk", type=float, default=0.01)
    parser.add_argument("--per-class", type=int, nargs="+", default=(100, 300, 1000))
    parser.add_argument("--orders", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--keep", help="file for the losses, read again when it is there")
    parser.add_argument("--json")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)

    losses, labels = scored(args)
    rows = []
    chance = np.random.default_rng(0)
    for number in args.per_class:
        asked = total = lost = members = 0
        first = []
        for _ in range(args.orders):
            for label in range(10):
                own = losses[:, labels == label]
                own = own[:, chance.permutation(own.shape[1])[:number]]
                truth = np.argsort(own.astype(np.float64).mean(1), kind="stable")[: args.top]
                kept, seen = racing_race(own, args.top, args.risk)
                asked, total = asked + seen, total + own.size
                lost, members = lost + int((~kept[truth]).sum()), members + args.top
                first.append(bool(kept[truth[0]]))
        row = {
            "masks": len(losses), "stage": args.stage, "per_class": number, "risk": args.risk,
            "forwards": asked / total, "lost": lost / members, "best_kept": float(np.mean(first)),
        }  # fmt: skip
        rows.append(row)
        print(
            f"{number} images per class: {row['forwards']:.3f} of the forwards; top {args.top}: {1 - row['lost']:.4f} "
            f"kept, best mask kept in {row['best_kept']:.1%} of {len(first)} races"
        )
    if args.json:
        harness.save(args.json, rows)
    return 0


def racing_race(losses, top, risk):
    from freqkit.engine import racing

    return racing.race(losses, top, risk)


def scored(args):
    """float32 losses [K, n] of the candidates, and labels [n]."""
    if args.keep and Path(args.keep).exists():
        found = np.load(args.keep)
        return found["losses"], found["labels"]
    from freqkit.engine import Scorer
    from freqkit.masks import candidates, select

    began = time.perf_counter()
    model, test, accuracy = trained(args.data)
    print(f"accuracy {accuracy:.3f} ({time.perf_counter() - began:.0f} s of training)", flush=True)
    scorer = Scorer(model, test)
    parents, masks = None, None
    for stage in range(1, args.stage + 1):
        masks = candidates(stage, args.masks, size=32, parents=parents).masks
        if stage < args.stage:
            few = Scorer(model, test.subset(torch.arange(0, len(test), 10)))
            ranks = few.score(masks).rank(args.top)
            parents = [select(masks, row) for row in ranks]
    losses = scorer.score(masks, per_sample=True).samples["loss"].numpy()
    print(f"scored after {time.perf_counter() - began:.0f} s", flush=True)
    labels = test.labels.numpy()
    if args.keep:
        np.savez(args.keep, losses=losses, labels=labels)
    return losses, labels


if __name__ == "__main__":
    sys.exit(main())
