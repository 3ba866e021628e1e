"""What racing saves and loses: python -m benchmarks.racing --data DIR [--masks 120] [--stage 1] [--json FILE]

DIR holds Fashion-MNIST's idx files (Debian's dataset-fashion-mnist). Trains a small network on them, scores candidates
on the 10,000 test images (1,000 of each class) one by one, and races over these scores in many random orders: the share
of forwards needed, how often a member of a class's true top is lost, and whether the best mask is kept; beside it the
share that certain stopping needs. With --time everything is timed end to end instead: scoring all candidates, certain
stopping and racing, each from the decoded images on, against the published evaluation
(benchmarks/baselines/published_hfss.py) of a few of the candidates.
"""

import argparse
import gzip
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import harness
from benchmarks.baselines import published_hfss
from freqkit.engine import certain, racing

# Numbered, so that folders sort in the order of the labels.
NAMES = [
    "0-T-shirt", "1-trouser", "2-pullover", "3-dress", "4-coat",
    "5-sandal", "6-shirt", "7-sneaker", "8-bag", "9-boot",
]  # fmt: skip


def read(folder, part):
    """An `ImageSet` of 32 x 32 RGB images, the grey 28 x 28 ones with a black border."""
    from freqkit.data import ImageSet

    def values(name, skip):
        with gzip.open(Path(folder) / f"{part}-{name}.gz") as file:
            return np.frombuffer(file.read(), np.uint8, offset=skip)

    grey = torch.from_numpy(values("images-idx3-ubyte", 16).copy()).view(-1, 1, 28, 28)
    labels = torch.from_numpy(values("labels-idx1-ubyte", 8).astype(np.int64))
    images = torch.nn.functional.pad(grey, (2, 2, 2, 2)).expand(-1, 3, -1, -1).contiguous()
    return ImageSet(
        images, labels, list(NAMES), [f"{NAMES[label]}/{i:05d}.png" for i, label in enumerate(labels.tolist())]
    )


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
    parser.add_argument("--time", action="store_true")
    parser.add_argument("--published", type=int, default=3, help="--time: candidates the published way is timed on")
    parser.add_argument("--keep", help="file for the losses, read again when it is there")
    parser.add_argument("--json")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)

    if args.time:
        return timed(args)
    losses, labels = scored(args)
    rows = []
    chance = np.random.default_rng(0)
    for number in args.per_class:
        asked = total = lost = members = proved = 0
        first = []
        for _ in range(args.orders):
            for label in range(10):
                own = losses[:, labels == label]
                own = own[:, chance.permutation(own.shape[1])[:number]]
                truth = np.argsort(own.astype(np.float64).mean(1), kind="stable")[: args.top]
                kept, seen = racing.race(own, args.top, args.risk)
                asked, total = asked + seen, total + own.size
                proved += certain.prove(own, args.top)[1]
                lost, members = lost + int((~kept[truth]).sum()), members + args.top
                first.append(bool(kept[truth[0]]))
        row = {
            "masks": len(losses), "stage": args.stage, "per_class": number, "risk": args.risk,
            "forwards": asked / total, "forwards_certain": proved / total, "lost": lost / members,
            "best_kept": float(np.mean(first)),
        }  # fmt: skip
        rows.append(row)
        print(
            f"{number} images per class: {row['forwards']:.3f} of the forwards; top {args.top}: {1 - row['lost']:.4f} "
            f"kept, best mask kept in {row['best_kept']:.1%} of {len(first)} races; certain stopping: "
            f"{row['forwards_certain']:.3f}"
        )
    if args.json:
        harness.save(args.json, rows)
    return 0


def timed(args):
    """Everything end to end: seconds, ratios to the published way, what racing and certain stopping find of the top."""
    from freqkit.data import load_images, write_image_folder
    from freqkit.engine import Scorer
    from freqkit.masks import candidates, effective, select

    model, test, accuracy = trained(args.data)
    number = min(args.per_class)
    with tempfile.TemporaryDirectory() as folder:
        first = [(test.labels == label).nonzero().flatten()[:number] for label in range(10)]
        write_image_folder(test.subset(torch.cat(first)), folder)
        images = load_images(folder, image_size=32)
        masks = candidates(args.stage, args.masks, size=32).masks
        few = select(masks, torch.linspace(0, args.masks - 1, args.published).long())
        began = time.perf_counter()
        how = {"size": 32, "mean": model.mean, "std": model.std, "classes": 10}
        want = torch.tensor(published_hfss.losses(model.network, folder, effective(few), **how)).double()
        published = (time.perf_counter() - began) / args.published
    print(
        f"{len(images)} images, {args.masks} candidates of stage {args.stage}, network {accuracy:.1%} accurate, "
        f"{args.threads} threads; published way: {published:.2f} s per candidate, "
        f"{published * args.masks:.0f} s for all (computed)",
        flush=True,
    )
    rows, whole = [], None
    for name, find in (
        ("everything", lambda scorer: scorer.score(masks)),
        ("certain stopping", lambda scorer: scorer.certain(masks, top=args.top)),
        (f"racing at risk {args.risk}", lambda scorer: scorer.race(masks, top=args.top, risk=args.risk)),
    ):
        began = time.perf_counter()
        scorer = Scorer(model, images)
        found = find(scorer)
        seconds = time.perf_counter() - began
        ranks = found.rank(args.top)
        if whole is None:
            whole, truth = found, ranks
            got = scorer.score(few, reduction="published-batches", published_batch_size=100).loss
            difference = ((got - want).abs() / want).max().item()
            if difference > 1e-4:
                print(f"RED: losses differ from the published ones by {difference:.1e} of their value")
                return 1
        hits = sum(len(set(a) & set(b)) for a, b in zip(truth.tolist(), ranks.tolist(), strict=True))
        row = {
            "what": name, "seconds": seconds, "ratio": published * args.masks / seconds,
            "forwards": found.record["forwards"] / (args.masks * len(images)), "recall": hits / truth.numel(),
            "first": (truth[:, 0] == ranks[:, 0]).double().mean().item(), "batch_size": scorer.batch_size,
        }  # fmt: skip
        rows.append(row)
        print(
            f"{name}: {seconds:.1f} s, {row['ratio']:.1f}x the published way, {row['forwards']:.3f} of the forwards; "
            f"top {args.top}: {row['recall']:.3f} found, best mask the same in {row['first']:.0%} of the classes",
            flush=True,
        )
    if args.json:
        harness.save(args.json, rows)
    return 0


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
