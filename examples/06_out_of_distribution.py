"""Shortcuts of an ImageNet network, and what they are worth on corrupted and attacked photographs.

    python examples/06_out_of_distribution.py OUT [--data ../shared/data/imagenet-mini] [--steps 40] [--views 4]

100 photographs, one for each of 100 classes, in eight coarse groups (`efficientnet_lite0.py`). Half of each group, in
random crops, goes to the search, which keeps 5 % of the frequencies. The other half, whole, is what everything is
reported on: as it is, corrupted, attacked, and each seen through its group's map. Needs the two packages that
`efficientnet_lite0.py` names; about 10 minutes of a core. OUT/evaluation/report.html shows it all.
"""

import argparse
import sys
from pathlib import Path

import torch

from freqkit import load_model
from freqkit.cli.app import main as freqkit
from freqkit.cli.progress import watcher
from freqkit.data import ImageSet, class_list, load_images, write_image_folder
from freqkit.search import learned

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
MODEL = f"{HERE / 'efficientnet_lite0.py'}:make_groups"
CHANGES = "fgsm:eps=1,generated/gaussian_noise/3,generated/contrast/4,generated/gaussian_blur/3"


def photographs(data):
    """ImageSet of 256 px, the groups as classes."""
    from efficientnet_lite0 import GROUPS

    wnids, names = class_list("imagenet"), sorted(GROUPS)
    group = {wnids[place]: names.index(name) for name, places in GROUPS.items() for place in places}
    images = load_images(data / "val", image_size=256, resize="squash")
    labels = torch.tensor([group[images.classes[label]] for label in images.labels.tolist()])
    paths = [f"{names[g]}/{path.replace('/', '-')}.png" for g, path in zip(labels.tolist(), images.paths, strict=True)]
    order = labels.argsort(stable=True)
    return ImageSet(images.images[order], labels[order], names, [paths[i] for i in order.tolist()])


def views_of(images, count, seed=0):
    """`count` crops of 224 of each image, every second one mirrored."""
    pick = torch.Generator().manual_seed(seed)
    corners = torch.randint(0, 33, (len(images), count, 2), generator=pick).tolist()
    crops = [
        image[:, y : y + 224, x : x + 224].flip(-1) if k % 2 else image[:, y : y + 224, x : x + 224]
        for image, own in zip(images.images, corners, strict=True)
        for k, (y, x) in enumerate(own)
    ]
    paths = [path.replace(".png", f"-{k}.png") for path in images.paths for k in range(count)]
    return ImageSet(torch.stack(crops), images.labels.repeat_interleave(count), images.classes, paths)


def main(out, data, steps=40, views=4):
    out.mkdir(parents=True, exist_ok=True)
    selection, test = photographs(data).split(0.5, seed=0)
    if not (out / "test").exists():
        write_image_folder(test, out / "test")
    with watcher() as progress:
        learned(
            load_model(MODEL), views_of(selection, views), steps=steps, own=8, others=8, starts="narrow",
            split_fraction=1, out=out / "search", resume=True, progress=progress,
        )  # fmt: skip
    freqkit([
        "evaluate", "--model", MODEL, "--dfm", str(out / "search" / "dfm.safetensors"), "--resize", "center-crop",
        "--on", f"photographs={out / 'test'},{CHANGES}", "--cross", "1", "--out", str(out / "evaluation"), "--resume",
    ])  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, default=HERE.parent.parent / "shared/data/imagenet-mini")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--views", type=int, default=4)
    main(**vars(parser.parse_args()))
