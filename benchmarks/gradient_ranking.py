"""How well gradients rank removals, and what that costs, against exact removal: a ResNet-20 on CIFAR-10 images.

    python benchmarks/gradient_ranking.py [--images 8] [--patch 1] [--json FILE] [--cache FILE]

Prints, averaged over the classes: Spearman's correlation of estimated and exact increases of the loss, the share of the
exact top 5 % among the estimate's top fifth, processor time of both, and the ratio. The exact part takes minutes;
`--cache` keeps it.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import harness  # noqa: E402
from freqkit.data import load_images  # noqa: E402
from freqkit.models import load_model  # noqa: E402
from freqkit.results import RemovalResult  # noqa: E402
from freqkit.search import estimate_removal, removal  # noqa: E402

DATA = Path(os.environ.get("FREQKIT_DATA", ROOT.parent / "shared" / "data"))


def agreement(estimate, exact):
    """(mean, lowest) Spearman over classes, and the share of the exact top 5 % in the estimate's top fifth."""
    from scipy.stats import spearmanr

    rank = [spearmanr(a, b).statistic for a, b in zip(estimate.T, exact.T, strict=True)]
    few, fifth = round(0.05 * len(exact)), round(0.2 * len(exact))
    best = exact.topk(few, dim=0).indices.T.tolist()
    tried = estimate.topk(fifth, dim=0).indices.T.tolist()
    found = [len(set(a) & set(b)) / few for a, b in zip(best, tried, strict=True)]
    return sum(rank) / len(rank), min(rank), sum(found) / len(found)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=8, help="per class")
    parser.add_argument("--patch", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0, help="which images, and the random vectors")
    parser.add_argument("--json", help="write rows here")
    parser.add_argument("--cache", help="directory of the exact search, kept and resumed")
    args = parser.parse_args(argv)
    if not DATA.is_dir():
        parser.exit(0, f"no data at {DATA}: set FREQKIT_DATA\n")
    torch.set_num_threads(1)
    model = load_model("cifar_resnet20", weights=DATA / "weights" / "cifar10-resnet20.safetensors")
    images = load_images(DATA / "cifar10-mini" / "test", image_size=32, limit_per_class=args.images, seed=args.seed)
    estimate_removal(model, images.subset(range(8)), patch=args.patch, draws=1)  # warm
    rows = []
    for curvature, draws in (
        ("none", 0), ("sampled", 4), ("signs", 4), ("odds", 0), ("odds", 2), ("odds", 8),
    ):  # fmt: skip
        how = {"draws": draws, "seed": args.seed, "patch": args.patch}
        began = time.thread_time()
        estimate = estimate_removal(model, images, **how, curvature="signs" if curvature == "none" else curvature)
        seconds = time.thread_time() - began
        row = {"curvature": curvature, "draws": draws, "seconds": seconds, "equivalents": 3 + 2 * draws}
        rows.append((row, estimate.total))
    settings = {"patch": args.patch, "batch_size": 256}
    began = time.thread_time()
    if args.cache:
        exact = removal(model, images, out=args.cache, resume=True, split_fraction=1, **settings)
        known = exact.record["forwards_resumed"] > 0
        exact = RemovalResult.load(args.cache)
    else:
        exact, known = removal(model, images, split_fraction=1, **settings), False
    seconds = None if known else time.thread_time() - began
    candidates = len(exact.loss)
    print(f"{len(images)} images, {candidates} removals, exact: {'from the cache' if known else f'{seconds:.1f} s'}")
    print(f"{'curvature':<10}{'draws':>6}{'Spearman':>10}{'lowest':>8}{'top 5% found':>14}{'seconds':>9}{'ratio':>7}")
    for row, total in rows:
        row["spearman"], row["spearman_lowest"], row["top_found"] = agreement(total, exact.increase)
        row["exact_seconds"], row["forward_ratio"] = seconds, candidates / row["equivalents"]
        ratio = f"{seconds / row['seconds']:.0f}x" if seconds else "-"
        print(
            f"{row['curvature']:<10}{row['draws']:>6}{row['spearman']:>10.3f}{row['spearman_lowest']:>8.3f}"
            f"{row['top_found']:>14.3f}{row['seconds']:>9.2f}{ratio:>7}"
        )
    if args.json:
        from freqkit.files.whole import write_json

        facts = {"images": len(images), "patch": args.patch, "seed": args.seed, "candidates": candidates}
        write_json(args.json, {"machine": harness.machine(), "settings": facts, "rows": [row for row, _ in rows]})


if __name__ == "__main__":
    main()
