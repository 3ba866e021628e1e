"""What DFM-X and shortcut removal do on real images: a small network on Fashion-MNIST, generated corruptions.

    python benchmarks/mitigation.py --data DIR [--images 400] [--epochs 5] [--seeds 2] [--test 1000] [--json FILE]

DIR holds the idx files of Fashion-MNIST. A plain network gives the maps (gradient ranking, 5 % of the bins, 30 images
per class that no network is trained on); then it is trained again with images filtered by other classes' maps, and with
images that lose their own class's map. Of each: accuracy on test images and under the corruptions that need no
package, severity 3; mean TPR and FPR of the classes through the plain network's maps and through its own.
"""

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import harness
from freqkit.data import ImageSet, load_images
from freqkit.data.corruptions import _OURS, corrupt
from freqkit.measures import rates
from freqkit.models import load_model
from freqkit.search import gradient
from freqkit.training import OtherClassMaps, ShortcutRemoval, evaluate, train

PER_CLASS = 30  # images to select maps on
WAYS = {
    "plain": lambda maps: [],
    "DFM-X": lambda maps: [OtherClassMaps(maps, p=0.3)],
    "shortcut removal": lambda maps: [ShortcutRemoval(maps, p=0.5)],
}


def divided(pool, counts, seed):
    """Sets of counts[0], counts[1], ... images of each class, none of them twice."""
    generator = torch.Generator().manual_seed(seed)
    chosen = [[] for _ in counts]
    for label in range(len(pool.classes)):
        members = (pool.labels == label).nonzero().flatten()
        parts = members[torch.randperm(len(members), generator=generator)[: sum(counts)]].split(list(counts))
        for one, part in zip(chosen, parts, strict=True):
            one.append(part)
    return [pool.subset(torch.cat(parts)) for parts in chosen]


def corrupted(images):
    """The set under each corruption that is made here."""
    for name in _OURS:
        pixels = corrupt(images.images, name, 3, images.paths)
        yield ImageSet(pixels, images.labels, images.classes, images.paths)


def mean_rates(model, images, maps):
    found = rates(model, images, maps, null=0)
    return float(found.tpr.mean()), float(found.fpr.mean())


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    for name, default in (("images", 400), ("epochs", 5), ("seeds", 2), ("test", 1000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json", help="write rows here")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    pool = load_images(args.data, image_size=32, part="train", limit_per_class=args.images + 2 * PER_CLASS)
    tested = load_images(args.data, image_size=32, part="test", limit_per_class=args.test // 10)
    rows = []
    print(f"{'seed':>4} {'training':<18}{'accuracy':>9}{'corrupted':>10}{'TPR':>6}{'FPR':>6}{'own TPR':>9}{'FPR':>6}")
    for seed in range(args.seeds):
        trained, selected = divided(pool, (args.images, PER_CLASS), seed)
        maps = None
        for name, way in WAYS.items():
            model = load_model("small_convnet", num_classes=10, seed=seed)
            spectral = way(maps)
            train(model, trained, epochs=args.epochs, batch_size=64, lr=0.05, seed=seed, spectral=spectral)
            own = gradient(model, selected, rescore=0.1, batch_size=128).dfm(0.05)
            maps = maps or own
            under = [evaluate(model, one)["accuracy"] for one in corrupted(tested)]
            row = {
                "seed": seed, "training": name, "accuracy": evaluate(model, tested)["accuracy"],
                "corrupted": sum(under) / len(under), "plain maps": mean_rates(model, tested, maps),
                "own maps": mean_rates(model, tested, own),
            }  # fmt: skip
            rows.append(row)
            print(
                f"{seed:>4} {name:<18}{row['accuracy']:>9.3f}{row['corrupted']:>10.3f}"
                f"{row['plain maps'][0]:>6.2f}{row['plain maps'][1]:>6.2f}"
                f"{row['own maps'][0]:>9.2f}{row['own maps'][1]:>6.2f}",
                flush=True,
            )
    if args.json:
        from freqkit.files.whole import write_json

        write_json(args.json, {"machine": harness.machine(), "settings": vars(args), "rows": rows})


if __name__ == "__main__":
    main()
