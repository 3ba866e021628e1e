"""What the published experiments on synthetic data say, over several seeds: learning order, planted bins, HFSS and DFM.

    python benchmarks/shortcuts.py [--seeds 5] [--images 400] [--json FILE] [--figure FILE] [--only order|maps|budget]

Every seed draws its own images, weights and masks. Prints mean +- standard deviation over the seeds (range):

- order (Syn_B1 and Syn_B4): F1 of C3 and of the best other class after 5, 10, 20, 40 and 80 iterations, and how
  often C3 is the first to stay above 0.9;
- maps (Syn_B1, one model per seed, the same for all methods; maps are selected on one set, rates are of
  another): planted bins in the DFM of C0 at 5 %, share of C3's DFM in B1, TPR and FPR of each method's maps;
- budget: mean TPR through the maps of searches with ever more candidates per stage, on the same models.
"""

import argparse
import functools
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from freqkit.data import synthetic  # noqa: E402
from freqkit.masks import DfmFile, ring  # noqa: E402
from freqkit.measures import rates, recovery  # noqa: E402
from freqkit.models import load_model  # noqa: E402
from freqkit.results import LearningCurves  # noqa: E402
from freqkit.search import hfss, removal  # noqa: E402
from freqkit.training import train  # noqa: E402

MOMENTS = (5, 10, 20, 40, 80)
STAGES = [60, 90, 120, 150]
BUDGETS = (15, 45, 135)


@functools.cache
def trained(variant, seed, images, *, epochs, folder=None):
    model = load_model("small_convnet", seed=seed)
    sets = [synthetic(variant, images_per_class=n, seed=10 * seed + i) for i, n in enumerate((images, 50))]
    following = {"follow": 5, "follow_until": MOMENTS[-1], "out": folder} if folder else {}
    history = train(model, sets[0], val_set=sets[1], epochs=epochs, batch_size=64, lr=0.05, seed=seed, **following)
    return model, history


def order(seeds, images, scratch):
    """F1 over the first iterations; one set of curves for each variant."""
    rows, curves = [], {}
    for variant in (1, 4):
        curves[variant] = []
        for seed in range(seeds):
            folder = scratch / f"order-{variant}-{seed}"
            trained(variant, seed, images, epochs=-(-MOMENTS[-1] * 64 // (4 * images)), folder=folder)
            curves[variant].append(LearningCurves.load(folder / "learning.safetensors"))
        row = {"variant": variant}
        for moment in MOMENTS:
            f1 = torch.stack([one.f1[one.steps.tolist().index(moment)] for one in curves[variant]])
            row[f"C3 at {moment}"] = f1[:, 3].tolist()
            row[f"best other at {moment}"] = f1[:, :3].max(1).values.tolist()
        learned = [one.learned_at(0.9) for one in curves[variant]]
        never = MOMENTS[-1] + 1
        row["C3 first to stay above 0.9"] = [
            float(at["C3"] is not None and at["C3"] < min(at[c] or never for c in ("C0", "C1", "C2"))) for at in learned
        ]
        rows.append(row)
    return rows, curves


def maps(seeds, images, search):
    """DFM and HFSS on the same models; a dict of lists over the seeds, given after each of them."""
    row = {}

    def note(name, value):
        row.setdefault(name, []).append(float(value))

    for seed in range(seeds):
        model, history = trained(1, seed, images, epochs=10)
        selection = synthetic(1, images_per_class=search, seed=10 * seed + 2)
        test = synthetic(1, images_per_class=100, seed=10 * seed + 3)
        note("accuracy", history["val"]["accuracy"])
        ranked = removal(model, selection, patch=1, split_fraction=1)
        dfm = ranked.dfm(0.05)
        found = {
            "DFM 5 %": dfm,
            "HFSS published": _dfm(hfss(model, selection, preset="cvpr2025", candidates=STAGES, keep=0.6, seed=seed)),
            "HFSS": _dfm(hfss(model, selection, candidates=STAGES, seed=seed, split_fraction=1)),
        }
        planted = recovery(dfm.masks[0], selection.truth["C0"])
        note("planted bins of C0 in its DFM, of 16", planted.found)
        note("bins of that DFM", planted.kept)
        inside = (dfm.masks[3] > 0) & (ring(32, 0, 4) > 0)
        note("share of C3's DFM in B1", inside.sum() / (dfm.masks[3] > 0).sum())
        for name, file in found.items():
            result = rates(model, test, file, null=0)
            for c in range(4):
                note(f"{name}: TPR C{c}", result.tpr[c])
                note(f"{name}: FPR C{c}", result.fpr[c])
            note(f"{name}: mean TPR", result.tpr.mean())
            note(f"{name}: mean TPR-FPR", result.tpr_minus_fpr.mean())
            note(f"{name}: coverage", file.coverage.touched.mean())
        for name in ("HFSS published", "HFSS"):
            for what in ("mean TPR", "mean TPR-FPR"):
                note(f"{name} - DFM: {what}", row[f"{name}: {what}"][-1] - row[f"DFM 5 %: {what}"][-1])
        yield row


def budget(seeds, images, search):
    row = {}
    for seed in range(seeds):
        model, _ = trained(1, seed, images, epochs=10)
        selection = synthetic(1, images_per_class=search, seed=10 * seed + 2)
        test = synthetic(1, images_per_class=100, seed=10 * seed + 3)
        for count in BUDGETS:
            result = hfss(model, selection, candidates=count, seed=seed, split_fraction=1)
            measured = rates(model, test, _dfm(result), null=0)
            row.setdefault(f"{count} per stage: mean TPR", []).append(float(measured.tpr.mean()))
            row.setdefault(f"{count} per stage: mean TPR-FPR", []).append(float(measured.tpr_minus_fpr.mean()))
            row.setdefault(f"{count} per stage: mean loss, stage 1", []).append(float(_best(result, 0)))
            row.setdefault(f"{count} per stage: mean loss, last stage", []).append(float(_best(result, -1)))
        yield row


def _dfm(result):
    return DfmFile(result.masks, list(result.classes))


def _best(result, stage):
    return result.stages[stage].scores.loss.min(0).values.mean()


def show(name, row):
    print(f"\n{name}")
    for key, values in row.items():
        if isinstance(values, list):
            spread = statistics.stdev(values) if len(values) > 1 else float("nan")
            print(
                f"  {key:<40} {statistics.mean(values):7.3f} +- {spread:.3f}   ({min(values):.3f} .. {max(values):.3f})"
            )
        else:
            print(f"  {key:<40} {values}")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--images", type=int, default=400, help="training images per class")
    parser.add_argument("--search", type=int, default=30, help="selection images per class")
    parser.add_argument("--only", choices=["order", "maps", "budget"])
    parser.add_argument("--json", help="write the numbers of every seed here")
    parser.add_argument("--figure", help="write the learning curves here (PNG, one for each variant)")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    found, began = {}, time.perf_counter()

    def keep(name, result):
        found[name] = result
        if args.json:  # after every seed: these take minutes
            Path(args.json).write_text(json.dumps(found, indent=1))

    if args.only in (None, "order"):
        with tempfile.TemporaryDirectory() as scratch:
            rows, curves = order(args.seeds, args.images, Path(scratch))
        keep("order", rows)
        for row in rows:
            show(f"learning order, Syn_B{row['variant']}", row)
        for variant, several in curves.items() if args.figure else ():
            from freqkit.report import learning_curves, save_figure

            path = Path(args.figure)
            figure = learning_curves(several, title=f"Syn_B{variant}: in which order the classes are learned")
            save_figure(figure, path.with_name(f"{path.stem}-{variant}{path.suffix or '.png'}"))
    for name, work in (("maps", maps), ("budget", budget)):
        if args.only in (None, name):
            for row in work(args.seeds, args.images, args.search):
                keep(name, row)
            show(name, row)
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
