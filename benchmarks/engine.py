"""What the engine saves: python -m benchmarks.engine --data DIR --model NAME --weights FILE [--json FILE]

Times, in turns and in one process, the published evaluation of candidate masks (benchmarks/baselines/published_hfss.py)
and freqkit's on the same folder, model and candidates; checks first that both give the same losses and the same top
masks. Then finds the top with certain stopping and by racing: their time, the forwards that they need, the top masks
that racing loses, and whether certain stopping gives the bits of scoring everything. Ratios above 1 mean that freqkit
is faster. With --clock cpu the process's own processor time is compared: for a busy machine. With --overhead freqkit
alone scores a few masks, and only the share of its time outside the model's forwards is printed.
"""

import argparse
import itertools
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
    parser.add_argument("--classes", help="file with the name of each logit's class")
    parser.add_argument("--batch-size", type=int, help="pairs per forward; calibrated when not given")
    parser.add_argument("--overhead", action="store_true")
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
    images = load_images(args.data, image_size=args.size, classes=args.classes)
    masks = candidates(1, args.masks, size=args.size).masks
    dense = effective(masks)
    total = len(images) * args.masks
    print(f"{len(images)} images of {len(images.classes)} classes, {args.masks} masks, {args.threads} threads")

    scorer = Scorer(model, images, form=args.form, batch_size=args.batch_size or "auto")
    how = "given" if args.batch_size else "calibrated"
    print(f"batch size {scorer.batch_size} ({how}), network {scorer.form['form']}", flush=True)

    bounds = [round(turn * args.masks / args.rounds) for turn in range(args.rounds + 1)]
    turns = [(select(masks, slice(a, b)), (b - a) * len(images)) for a, b in itertools.pairwise(bounds)]

    def timed(part):
        """Scores of masks, seconds by the clock, share of the wall time outside the forwards."""
        scorer.forward.seconds, began, wall = 0.0, clock(), time.perf_counter()
        scores = scorer.score(part)
        return scores, clock() - began, 1 - scorer.forward.seconds / (time.perf_counter() - wall)

    if args.overhead:
        scorer.score(select(masks, slice(0, 1)))  # the transforms of the images, once
        taken = [(*timed(part)[1:], pairs) for part, pairs in turns]
        shares = [outside for _, outside, _ in taken]
        each = statistics.median(seconds / pairs for seconds, _, pairs in taken)
        print(f"{each * 1e3:.3f} ms per image and mask ({args.clock})")
        print(f"outside the model's forwards: {', '.join(f'{share:.2%}' for share in shares)} of the wall time")
        return 0

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
    whole, exhaustive = None, 0.0
    for turn, (part, pairs) in enumerate(turns):
        scores, seconds, outside = timed(part)
        whole = scores if whole is None else whole.join(scores)
        exhaustive += seconds / total
        ours.append(seconds / pairs)
        shares.append(outside)
        began = clock()
        published(dense[turn : turn + 1])
        theirs.append((clock() - began) / len(images))
    ratio = statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
    overhead = statistics.median(shares)
    print(f"published   {statistics.median(theirs) * 1e3:8.3f} ms per image and mask")
    print(f"freqkit     {statistics.median(ours) * 1e3:8.3f} ms per image and mask: {ratio:.2f}x")
    print(f"outside the model's forwards: {overhead:.1%} of the wall time")

    truth, rows = whole.rank(args.top), []
    for name, find in (
        ("exhaustive answer, certain stopping", lambda: scorer.certain(masks, top=args.top)),
        (f"racing at risk {args.risk}", lambda: scorer.race(masks, top=args.top, risk=args.risk)),
    ):
        began = clock()
        found = find()
        took = (clock() - began) / total
        ranks = found.rank(args.top)
        recall = sum(
            len(set(a) & set(b)) for a, b in zip(truth.tolist(), ranks.tolist(), strict=True)
        ) / truth.numel()  # fmt: skip
        labels = torch.arange(len(truth))[:, None]
        row = {
            "stopping": name, "forwards": found.record["forwards"] / total,
            "ratio": statistics.median(theirs) / took, "to_exhaustive": exhaustive / took,
            "first": (truth[:, 0] == ranks[:, 0]).double().mean().item(), "recall": recall,
            "same_bits": torch.equal(truth, ranks)
            and torch.equal(whole.loss[truth, labels], found.loss[ranks, labels]),
        }  # fmt: skip
        rows.append(row)
        print(
            f"{name}: {row['forwards']:.3f} of the forwards, {row['ratio']:.2f}x the published way, "
            f"{row['to_exhaustive']:.2f}x scoring everything; same best mask in {row['first']:.0%} of the classes, "
            f"{recall:.3f} of the top {args.top} found; losses of the top the same bit for bit: {row['same_bits']}",
            flush=True,
        )
    if args.json:
        row = {
            "images": len(images), "masks": args.masks, "threads": args.threads, "form": scorer.form["form"],
            "batch_size": scorer.batch_size, "clock": args.clock, "ms_published": statistics.median(theirs) * 1e3,
            "ms_freqkit": statistics.median(ours) * 1e3, "ratio": ratio, "overhead": overhead,
            "risk": args.risk, "stopped": rows,
        }  # fmt: skip
        harness.save(args.json, [row])
    return 0


if __name__ == "__main__":
    sys.exit(main())
