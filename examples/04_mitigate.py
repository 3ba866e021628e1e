"""Plant a shortcut, train against it in two ways, and see what each does on images where the shortcut is gone.

    python examples/04_mitigate.py [--seeds 3] [--images 250] [--epochs 8]

The training images of C2 carry a diagonal (k, k), k = 1, 3, ..., 15, which nothing else has; C2 could also be told
without it. A plain network, found out by `freqkit.search.gradient`, gives the maps; then it is trained again with
DFM-X (images filtered by other classes' maps) and with shortcut removal (images lose their own class's map).

Of each network: accuracy on images like the training's, on images without the diagonal, and on images that all carry
it; TPR and FPR of C2 seen only through the plain network's map. Mean and range over the seeds.
"""

import argparse

import torch

from freqkit import load_model
from freqkit.data import ImageSet, synthetic
from freqkit.measures import rates
from freqkit.search import gradient
from freqkit.training import OtherClassMaps, ShortcutRemoval, evaluate, train

CLASSES = ["C1", "C2", "C3"]
COLUMNS = ("accuracy", "without diagonal", "diagonal on all", "TPR of C2 through its map", "FPR")


def images_of(count, seed, planted):
    """Three classes of the synthetic set; the diagonal is added to every image of the classes in `planted`."""
    whole = synthetic(1, images_per_class=count, seed=seed)
    whole = whole.subset(whole.labels > 0)
    k = torch.arange(1, 16, 2).view(-1, 1, 1)
    wave = torch.cos(2 * torch.pi * k * (torch.arange(32).view(-1, 1) + torch.arange(32)) / 32).sum(0)
    chosen = torch.tensor([name in planted for name in CLASSES])[whole.labels - 1]
    pixels = whole.images + 12 * wave * chosen.view(-1, 1, 1, 1)
    return ImageSet(pixels.round().clamp(0, 255).to(torch.uint8), whole.labels - 1, CLASSES, whole.paths)


def main(seeds=3, images=250, epochs=8, test=100):
    found = {name: [] for name in ("plain", "DFM-X", "shortcut removal")}
    for seed in range(seeds):
        train_set = images_of(images, 4 * seed, ["C2"])
        fresh = {planted: images_of(test, 4 * seed + 1, planted) for planted in (("C2",), (), tuple(CLASSES))}
        maps = None
        for name, rows in found.items():
            spectral = {"plain": [], "DFM-X": [OtherClassMaps(maps, p=0.3)] if maps else []}
            spectral["shortcut removal"] = [ShortcutRemoval(maps, p=0.5)] if maps else []
            model = load_model("small_convnet", num_classes=3, seed=seed)
            train(model, train_set, epochs=epochs, lr=0.05, seed=seed, spectral=spectral[name])
            if maps is None:
                maps = gradient(model, images_of(30, 4 * seed + 2, ["C2"]), rescore=0.1).dfm(0.05)
            seen = rates(model, fresh["C2",], maps)
            accuracy = [evaluate(model, one)["accuracy"] for one in fresh.values()]
            rows.append([*accuracy, float(seen.tpr[1]), float(seen.fpr[1])])
    print(f"{'':<18}" + "".join(f"{name:>27}" for name in COLUMNS))
    for name, rows in found.items():
        cells = [(sum(column) / seeds, min(column), max(column)) for column in zip(*rows, strict=True)]
        print(f"{name:<18}" + "".join(f"{100 * m:>12.0f}% ({100 * a:3.0f} .. {100 * b:3.0f})" for m, a, b in cells))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("seeds", 3), ("images", 250), ("epochs", 8), ("test", 100)):
        parser.add_argument(f"--{name}", type=int, default=default)
    main(**vars(parser.parse_args()))
