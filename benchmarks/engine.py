"""What the engine saves: python -m benchmarks.engine --data DIR --model NAME --weights FILE [--json FILE]

Times, in turns and in one process, the published evaluation of candidate masks (benchmarks/baselines/published_hfss.py)
and freqkit's on the same folder, model and candidates; checks first that both give the same losses and the same top
masks. Then races, and counts the forwards that racing needs and the top masks that it loses. Ratios above 1 mean that
freqkit is faster. With --clock cpu the process's own processor time is compared: for a busy machine.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import harness
from benchmarks.baselines import published_hfss


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder class/file, every class of the model")
    parser.add_argument("--model", required=True)
    parser.add_argument("--weights")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--masks", type=int, default=30, help="candidates of stage 1 raced and timed by freqkit")
    parser.add_argument("--rounds", type=int, default=3, help="turns; each times one mask of the published way")
    parser.add_argument("--top", type=int, default=10)
    parser.add_argument("--risk", type=float, default=0.01)
    parser.add_argument("--workers", type=int, default=0, help="of the published loader (4 in its code)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--form", default="folded", choices=("eager", "folded", "compiled"))
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--json")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    clock = time.perf_counter if args.clock == "wall" else time.process_time

    from freqkit.data import load_images
    from freqkit.engine import Scorer
    from freqkit.masks import candidates, effective, select
    from freqkit.models import load_model

    model = load_model(args.model, weights=args.weights).eval()
    images = load_images(args.data, image_size=args.size)
    masks = candidates(1, args.masks, size=args.size).masks
    dense = effective(masks)
    total = len(images) * args.masks
    print(f"{len(images)} images of {len(images.classes)} classes, {args.masks} masks, {args.threads} threads")

    scorer = Scorer(model, images, form=args.form)
    print(f"batch size {scorer.batch_size} (calibrated), network {scorer.form['form']}")

    def published(few):
        return torch.tensor(
            published_hfss.losses(
                model.network, args.data, few, size=args.size, mean=model.mean, std=model.std,
                classes=len(images.classes), workers=args.workers,
            ),
            dtype=torch.float64,
        )  # fmt: skip

    few = select(masks, slice(0, args.rounds))
    want = published(dense[: args.rounds])
    got = scorer.score(few, reduction="published-batches", published_batch_size=100).loss
    difference = ((got - want).abs() / want).max().item()
    same = torch.equal(got.sort(dim=0, stable=True).indices, want.sort(dim=0, stable=True).indices)
    print(f"losses differ by at most {difference:.1e} of their value; same order per class: {same}")
    if difference > 1e-4:
        print("RED: disagrees with the published evaluation, not timed")
        return 1

    ours, theirs, shares = [], [], []
    each = max(1, args.masks // args.rounds)
    for turn in range(args.rounds):
        part = select(masks, slice(turn * each, (turn + 1) * each))
        scorer.forward.seconds, began, wall = 0.0, clock(), time.perf_counter()
        scorer.score(part)
        ours.append((clock() - began) / (each * len(images)))
        shares.append(1 - scorer.forward.seconds / (time.perf_counter() - wall))
        began = clock()
        published(dense[turn : turn + 1])
        theirs.append((clock() - began) / len(images))
    ratio = statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
    overhead = statistics.median(shares)
    print(f"published   {statistics.median(theirs) * 1e3:8.3f} ms per image and mask")
    print(f"freqkit     {statistics.median(ours) * 1e3:8.3f} ms per image and mask: {ratio:.2f}x")
    print(f"outside the model's forwards: {overhead:.1%} of the wall time")

    whole = scorer.score(masks)
    began = clock()
    raced = scorer.race(masks, top=args.top, risk=args.risk)
    took = (clock() - began) / total
    truth, found = whole.rank(args.top), raced.rank(args.top)
    recall = sum(
        len(set(a) & set(b)) for a, b in zip(truth.tolist(), found.tolist(), strict=True)
    ) / truth.numel()  # fmt: skip
    first = (truth[:, 0] == found[:, 0]).double().mean().item()
    asked = raced.record["forwards"] / total
    print(
        f"racing at risk {args.risk}: {asked:.3f} of the forwards, {statistics.median(theirs) / took:.2f}x "
        f"the published way; same best mask in {first:.0%} of the classes, {recall:.3f} of the top {args.top} found"
    )
    if args.json:
        row = {
            "images": len(images), "masks": args.masks, "threads": args.threads, "form": scorer.form["form"],
            "batch_size": scorer.batch_size, "clock": args.clock, "ms_published": statistics.median(theirs) * 1e3,
            "ms_freqkit": statistics.median(ours) * 1e3, "ratio": ratio, "overhead": overhead,
            "race_forwards": asked, "race_ratio": statistics.median(theirs) / took, "race_first": first,
            "race_recall": recall, "risk": args.risk,
        }  # fmt: skip
        harness.save(args.json, [row])
    return 0


if __name__ == "__main__":
    sys.exit(main())
