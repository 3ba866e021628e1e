"""Pass curves against a stand-in of the published scripts, and what both measures of the spectral bias cost beside the
model's forwards.

    python -m benchmarks.pass_curves [--photographs DIR] [--images 100] [--rounds 3] [--cut-offs 2] [--json FILE]
    PYTHONPATH=PLACE python -m benchmarks.pass_curves --lite0 ...

DIR holds folders of photographs, one for each class; by default imagenet-mini of FREQKIT_DATA. The stand-in
(benchmarks/baselines/published_pass_curves.py) reads, decodes and filters every image anew for each of the 22 cut-offs;
it is timed on some of them, ours on all, decoding included. Both give the same answers, which is checked first, but for
ties within rounding. The network is small, so that its forwards do not hide the rest.

With --lite0 EfficientNet-Lite0 (examples/efficientnet_lite0.py; its packages in PLACE) is asked, and what both measures
take beside its forwards while they show images is measured as a share of them, in processor time; and what they take
once (folding, hashing the weights, intervals).
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import harness
from benchmarks.baselines import published_pass_curves
from freqkit.data import load_images
from freqkit.engine import Scorer
from freqkit.engine.forward import Forward
from freqkit.measures import critical_band, pass_curves
from freqkit.models import Classifier, load_model

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("FREQKIT_DATA", ROOT.parent / "shared" / "data"))
SIZE, BATCH = 224, 16


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, default=DATA / "imagenet-mini" / "val")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cut-offs", type=int, default=2, help="of each kind on which the stand-in is timed")
    parser.add_argument("--lite0", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", help="write the rows here")
    args = parser.parse_args(argv)
    if not args.photographs.is_dir():
        parser.exit(0, f"no photographs at {args.photographs}: set FREQKIT_DATA\n")
    torch.set_num_threads(args.threads)
    harness.keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        classes = some_of(args.photographs, args.images, Path(folder))
        rows = beside_forwards(folder, args) if args.lite0 else [against_published(folder, classes, args)]
    for row in rows:
        print(*(f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()))
    if args.json:
        from freqkit.files.whole import write_json

        settings = {**vars(args), "photographs": str(args.photographs)}
        write_json(args.json, {"machine": harness.machine(), "settings": settings, "rows": rows})


def some_of(photographs, count, folder):
    """Links to photographs, an image of each class first; the number of classes."""
    files = sorted(photographs.glob("*/*"), key=lambda path: (sorted(path.parent.iterdir()).index(path), path))[:count]
    for file in files:
        (folder / file.parent.name).mkdir(exist_ok=True)
        (folder / file.parent.name / file.name).symlink_to(file)
    return len({file.parent for file in files})


def small(classes):
    """A network whose forward takes a fifth of a millisecond at 224 pixels."""
    torch.manual_seed(0)
    layers = [
        torch.nn.Conv2d(3, 16, 8, stride=8), torch.nn.ReLU(), torch.nn.Conv2d(16, 32, 3, stride=2), torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(512, classes),
    ]  # fmt: skip
    return Classifier(torch.nn.Sequential(*layers), mean=(0.5,) * 3, std=(0.25,) * 3, num_classes=classes).eval()


def against_published(folder, classes, args):
    model = small(classes)

    def ours():
        images = load_images(folder, image_size=SIZE, resize="center-crop", workers=1)
        return pass_curves(model, images, preset="cvpr2024", batch_size=BATCH, form="eager", resamples=100)

    def theirs(kind, cutoff):
        return published_pass_curves.answers(model, folder, kind, cutoff, batch_size=BATCH)

    chosen = published_pass_curves.CUTOFFS[1 :: max(1, 10 // args.cut_offs)][: args.cut_offs]
    settings = [(kind, cutoff) for kind in ("low", "high") for cutoff in chosen]
    found = ours()
    for kind, cutoff in settings:
        same = found.answers[1 + found.names.index(f"{kind} {cutoff:g}")] == theirs(kind, cutoff)
        assert same.double().mean() > 0.9, (kind, cutoff, same)
    took, baseline = [], []
    for _ in range(args.rounds):
        began = time.process_time()
        ours()
        took.append(time.process_time() - began)
        began = time.process_time()
        for one in settings:
            theirs(*one)
        baseline.append((time.process_time() - began) / len(settings) * len(found.names))
    ratios = np.array(baseline) / np.array(took)
    return {
        "images": len(found.labels), "cut-offs": len(found.names), "ours s": float(np.median(took)),
        "published s": float(np.median(baseline)), "ratio": float(np.median(ratios)), "low": float(ratios.min()),
        "high": float(ratios.max()),
    }  # fmt: skip


def beside_forwards(folder, args):
    """Processor time of both measures beside the model's forwards, as a share of these."""
    model = load_model(f"{ROOT / 'examples' / 'efficientnet_lite0.py'}:make")
    images = load_images(folder, image_size=SIZE, resize="center-crop")
    images.classes = list(images.classes)
    spent, originals = {}, (Forward.__call__, Scorer.show)

    def timed(name, function):
        def call(*given, **how):
            began = time.process_time()
            found = function(*given, **how)
            spent[name] = spent.get(name, 0.0) + time.process_time() - began
            return found

        return call

    def shown(self, *given, **how):
        spent.clear()  # of forwards that prepare
        return timed("shown", originals[1])(self, *given, **how)

    rows, index = [], list(range(len(images.classes)))
    Forward.__call__, Scorer.show = timed("forwards", originals[0]), shown
    for name, measure, how in (
        ("critical_band", critical_band, {}), ("pass_curves", pass_curves, {"preset": "cvpr2024"}),
        ("pass_curves, discs", pass_curves, {"cutoffs": [0.2, 0.5, 0.8]}),
    ):  # fmt: skip
        shares, once = [], []
        for _ in range(args.rounds):
            began = time.process_time()
            found = measure(model, images, batch_size=BATCH, form="folded", class_index=index, **how)
            once.append(time.process_time() - began - spent["shown"])
            shares.append(spent["shown"] / spent["forwards"] - 1)
        rows.append({
            "measure": name, "images": len(images), "forwards": found.record["forwards"],
            "ms a forward": 1000 * spent["forwards"] / found.record["forwards"],
            "beside them": float(np.median(shares)), "low": min(shares), "high": max(shares), "s once": min(once),
        })  # fmt: skip
    Forward.__call__, Scorer.show = originals
    return rows


if __name__ == "__main__":
    main()
