"""How much of a planted shortcut a searcher finds: synthetic sets 1 to 4, a small network trained on each.

    python benchmarks/planted.py [--variants 1,2,3,4] [--seeds 1] [--searcher learned] [--coverage 0.05] [--json FILE]

Prints recall and precision of class C0's planted bins, TPR and FPR of its mask on fresh images, TPR without the bins of
the mask, and TPR, FPR of the planted bins themselves: where that FPR is high, no search for what suffices wants them.
"""

import argparse
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import harness
from freqkit import search as searchers
from freqkit.data import synthetic
from freqkit.engine import score
from freqkit.masks import uncentred
from freqkit.measures import recovery
from freqkit.models import load_model
from freqkit.training import evaluate, train


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", default="1,2,3,4")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--searcher", default="learned", choices=["learned", "evolve", "gradient", "removal"])
    parser.add_argument("--objective", default="tpr-fpr")
    parser.add_argument("--coverage", type=float, default=0.05)
    parser.add_argument("--per-class", type=int, default=30, help="images to select on")
    parser.add_argument("--json", help="write rows here")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    rows = []
    print(
        f"{'set':>3}{'seed':>5}{'accuracy':>10}{'recall':>8}{'precision':>11}{'TPR':>7}{'FPR':>7}{'without':>9}{'planted':>11}{'seconds':>9}"
    )
    for variant in map(int, args.variants.split(",")):
        for seed in range(args.seeds):
            sets = [
                synthetic(variant, images_per_class=n, seed=10 * seed + i)
                for i, n in enumerate((400, args.per_class, 250))
            ]
            model = load_model("small_convnet", num_classes=4, seed=seed)
            train(model, sets[0], epochs=12, batch_size=64, lr=0.05, seed=seed)
            began = time.thread_time()
            search = getattr(searchers, args.searcher)
            how = {"coverage": args.coverage, "objective": args.objective, "seed": seed}
            if args.searcher in ("gradient", "removal"):
                how = {"levels": (args.coverage,), "level": args.coverage}
            result = search(model, sets[1], batch_size=256, **how)
            seconds = time.thread_time() - began
            found = recovery(result.masks[0], sets[0].truth["C0"])
            planted = sets[0].truth["C0"].float()
            masks = torch.stack([result.masks[0], 1 - result.masks[0], planted])
            fresh = score(model, sets[2], uncentred(masks).contiguous(), batch_size=256)
            row = {
                "variant": variant, "seed": seed, "accuracy": evaluate(model, sets[2])["accuracy"],
                "recall": found.recall, "precision": found.precision, "tpr": float(fresh.tpr[0, 0]),
                "fpr": float(fresh.fpr[0, 0]), "tpr without": float(fresh.tpr[1, 0]),
                "planted tpr": float(fresh.tpr[2, 0]), "planted fpr": float(fresh.fpr[2, 0]),
                "seconds": seconds, "forward_equivalents": result.forward_equivalents,
            }  # fmt: skip
            rows.append(row)
            print(
                f"{variant:>3}{seed:>5}{row['accuracy']:>10.3f}{row['recall']:>8.3f}{row['precision']:>11.3f}"
                f"{row['tpr']:>7.3f}{row['fpr']:>7.3f}{row['tpr without']:>9.3f}"
                f"{row['planted tpr']:>6.2f}/{row['planted fpr']:.2f}{seconds:>9.1f}", flush=True,
            )  # fmt: skip
    if args.json:
        from freqkit.files.whole import write_json

        write_json(args.json, {"machine": harness.machine(), "settings": vars(args), "rows": rows})


if __name__ == "__main__":
    main()
