"""Exact removal of single frequencies against a stand-in of the published loops, on the same machine and images.

    python -m benchmarks.dfm [--per-class 50] [--masks 12] [--rounds 3] [--form folded] [--threads 1] [--json FILE]
    python -m benchmarks.dfm --fashion DIR ...

Without --fashion: ResNet-20 and the CIFAR-10 images of FREQKIT_DATA. With it: a small network trained here, and the
test images of Fashion-MNIST from its idx files (Debian's dataset-fashion-mnist), written as PNGs for both.

The stand-in (benchmarks/baselines/published_dfm.py) does what the released code does for one mask: for every class it
reads and decodes the whole folder, and filters and asks those batches of 100 that hold the class. Ours decodes once
for all masks (its share of that is in the time), and asks one pass for all classes. Both give the same class losses,
which is checked before anything is timed.

With the images sorted by class and 50 of each, a batch of 100 holds two classes, so that the published way forwards
every image twice per mask and decodes it as often as there are classes. What cannot be saved is one forward per mask
and image: `floor` is their time, and `bound` the ratio that anything exact can reach with this network.
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

from benchmarks import harness, racing
from benchmarks.baselines import published_dfm
from freqkit.data import load_images, write_image_folder
from freqkit.engine import Scorer
from freqkit.masks import effective, select
from freqkit.models import load_model
from freqkit.search import removal_cells, removal_masks

DATA = Path(os.environ.get("FREQKIT_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
CLASSES_TIMED = 2


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fashion", help="folder of Fashion-MNIST's idx files")
    parser.add_argument("--per-class", type=int, default=50)
    parser.add_argument("--masks", type=int, default=12, help="timed by freqkit; the published way is timed on one")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--form", default="folded", choices=("eager", "folded", "compiled"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="cpu")
    parser.add_argument("--json", help="write the row here")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    clock = time.perf_counter if args.clock == "wall" else time.process_time
    with tempfile.TemporaryDirectory() as scratch:
        if args.fashion:
            model, test, accuracy = racing.trained(args.fashion)
            print(f"accuracy {accuracy:.3f}")
        else:
            if not (DATA / "cifar10-mini").is_dir():
                parser.exit(0, f"no data at {DATA}: set FREQKIT_DATA\n")
            model = load_model("cifar_resnet20", weights=DATA / "weights" / "cifar10-resnet20.safetensors")
            test = load_images(DATA / "cifar10-mini" / "test", image_size=32)
        first = torch.cat([(test.labels == c).nonzero().flatten()[: args.per_class] for c in range(len(test.classes))])
        write_image_folder(test.subset(first), scratch)
        row = timed(model, scratch, args, clock)
    for key, value in row.items():
        print(f"{key:<24}{value:.4g}")
    if args.json:
        from freqkit.files.whole import write_json

        write_json(args.json, {"machine": harness.machine(), "settings": vars(args), "rows": [row]})


def timed(model, folder, args, clock):
    began = clock()
    images = load_images(folder, image_size=32)
    candidates = len(removal_cells((32, 32), 1)[0])
    decoding = (clock() - began) / candidates
    masks = removal_masks((32, 32), 1, "iccv2023", torch.arange(100, 100 + args.masks))
    scorer = Scorer(model, images, form=args.form)
    how = {"reduction": "published-batches-of-class", "published_batch_size": published_dfm.BATCH}

    def published(classes):
        return published_dfm.losses(
            model.network, folder, effective(select(masks, [0]))[0], size=32, mean=model.mean, std=model.std,
            classes=classes,
        )  # fmt: skip

    ours, theirs = scorer.score(select(masks, [0]), **how).loss[0], published(range(len(images.classes)))
    assert np.allclose(ours, theirs, atol=1e-4), (ours, theirs)
    ours_s, theirs_s, ratios = [], [], []
    for _ in range(args.rounds):
        began = clock()
        scorer.score(masks, **how)
        ours_s.append((clock() - began) / args.masks + decoding)
        began = clock()
        published(range(CLASSES_TIMED))
        theirs_s.append((clock() - began) / CLASSES_TIMED * len(images.classes))
        ratios.append(theirs_s[-1] / ours_s[-1])
    sample = torch.randn(published_dfm.BATCH, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    floors = []
    for _ in range(10):
        began = clock()
        scorer.forward(sample)
        floors.append((clock() - began) * len(images) / len(sample))
    floor = min(floors)
    return {
        "images": len(images), "classes": len(images.classes), "ours_s_per_mask": float(np.median(ours_s)),
        "decoding_s_per_mask": decoding, "published_s_per_mask": float(np.median(theirs_s)),
        "ratio": float(np.median(ratios)), "ratio_low": min(ratios), "ratio_high": max(ratios),
        "floor_s_per_mask": floor, "bound": float(np.median(theirs_s)) / floor, "batch_size": scorer.batch_size,
    }  # fmt: skip


if __name__ == "__main__":
    main()
