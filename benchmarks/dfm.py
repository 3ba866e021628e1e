"""Exact removal of one frequency against a stand-in of the published loops, on the same machine and images.

    python benchmarks/dfm.py [--per-class 50] [--masks 12] [--rounds 3] [--json FILE]

The stand-in does what the released code does for one mask: for every class it decodes the whole folder, and filters
(full complex transform, image batch by image batch) and asks those batches of 100 that hold the class. Ours asks one
pass for all classes. Both give the class losses; they are compared before anything is timed.

With the images sorted by class and 50 of each, a batch of 100 holds two classes, so that the published way forwards
every image twice per mask and decodes it as often as there are classes. What cannot be saved is one forward per mask
and image: `floor` is their time, and `bound` the ratio that anything exact can reach with this network.
"""

import argparse
import math
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import harness  # noqa: E402
from freqkit.data import load_images  # noqa: E402
from freqkit.engine import Scorer  # noqa: E402
from freqkit.masks import effective, select  # noqa: E402
from freqkit.models import load_model  # noqa: E402
from freqkit.search import removal_masks  # noqa: E402

DATA = Path(os.environ.get("FREQKIT_DATA", ROOT.parent / "shared" / "data"))
BATCH = 100


@torch.no_grad()
def published(model, images, folder, mask, classes):
    """Losses of some classes for one centred mask [H, W], decoding anew for each."""
    from PIL import Image

    mean, std = (np.array(v, np.float32)[:, None, None] for v in (model.mean, model.std))
    losses = []
    for c in classes:
        total = 0.0
        for start in range(0, len(images), BATCH):
            pixels = [
                np.asarray(Image.open(folder / path).convert("RGB").resize(images.images.shape[-2:]))
                for path in images.paths[start : start + BATCH]
            ]
            labels = images.labels[start : start + BATCH]
            own = labels == c
            if not own.any():
                total += math.log(model.num_classes)
                continue
            x = (np.stack(pixels).transpose(0, 3, 1, 2).astype(np.float32) / 255 - mean) / std
            spectrum = torch.fft.fftshift(torch.fft.fft2(torch.from_numpy(x)), dim=(-2, -1)) * mask
            y = torch.fft.ifft2(torch.fft.ifftshift(spectrum, dim=(-2, -1))).real
            logits = model.network(y)
            logits[~own] = 0
            total += float(F.cross_entropy(logits, torch.where(own, labels, 0)))
        losses.append(total)
    return losses


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--per-class", type=int, default=50)
    parser.add_argument("--masks", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", help="write the row here")
    args = parser.parse_args(argv)
    folder = DATA / "cifar10-mini" / "test"
    if not folder.is_dir():
        parser.exit(0, f"no data at {DATA}: set FREQKIT_DATA\n")
    torch.set_num_threads(1)
    model = load_model("cifar_resnet20", weights=DATA / "weights" / "cifar10-resnet20.safetensors")
    images = load_images(folder, image_size=32, limit_per_class=args.per_class)
    masks = removal_masks((32, 32), 1, "iccv2023", torch.arange(100, 100 + args.masks))
    dense = effective(masks)
    scorer = Scorer(model, images)
    how = {"reduction": "published-batches", "published_batch_size": BATCH}
    scores = scorer.score(select(masks, [0]), **how)
    theirs = published(model, images, folder, dense[0], range(2))
    assert np.allclose(scores.loss[0, :2], theirs, atol=1e-4), (scores.loss[0, :2], theirs)
    ours_s, theirs_s, ratios = [], [], []
    for _ in range(args.rounds):
        began = time.thread_time()
        scorer.score(masks, **how)
        ours_s.append((time.thread_time() - began) / args.masks)
        began = time.thread_time()
        published(model, images, folder, dense[0], range(2))
        theirs_s.append((time.thread_time() - began) / 2 * len(images.classes))
        ratios.append(theirs_s[-1] / ours_s[-1])
    sample = torch.randn(BATCH, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    floors = []
    for _ in range(5):
        began = time.thread_time()
        scorer.forward(sample)
        floors.append((time.thread_time() - began) * len(images) / BATCH)
    floor = min(floors)
    row = {
        "floor_s_per_mask": floor, "bound": float(np.median(theirs_s)) / floor,
        "images": len(images), "classes": len(images.classes), "ours_s_per_mask": float(np.median(ours_s)),
        "published_s_per_mask": float(np.median(theirs_s)), "ratio": float(np.median(ratios)),
        "ratio_low": min(ratios), "ratio_high": max(ratios), "batch_size": scorer.batch_size,
    }  # fmt: skip
    for key, value in row.items():
        print(f"{key:<24}{value:.4g}")
    if args.json:
        from freqkit.results.files import write_json

        write_json(args.json, {"machine": harness.machine(), "rows": [row]})


if __name__ == "__main__":
    main()
