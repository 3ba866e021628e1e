"""Train a network by a recipe, resumably, then find out which frequencies it stands on.

    python examples/02_train_and_find.py [FOLDER] [--data DIR --part train --test-part test] [--epochs 8]

Without --data, on synthetic images with planted frequencies; else on any set that freqkit reads (class folders, CIFAR
batches, idx.gz, npy). FOLDER keeps the run: killed and started again, it goes on where it was. Then every frequency is
removed once (estimated by gradients, the most promising measured), the top 5 % of each class are its map, and the rates
through the maps are those of images that neither training nor ranking has seen.
"""

import argparse
import tempfile
from pathlib import Path

from freqkit import load_images, load_model
from freqkit.data import synthetic
from freqkit.masks import save_dfm
from freqkit.measures import band_stop, rates, recovery
from freqkit.report import plot_band_stop, plot_history, save_figure
from freqkit.search import gradient
from freqkit.training import train


def main(folder=None, *, data=None, part=None, test_part="test", epochs=8, images=200, model="small_convnet", size=32):
    folder = Path(folder or tempfile.mkdtemp())
    if data is None:
        train_set, test_set = (synthetic(1, images_per_class=n, seed=s) for n, s in ((images, 0), (images // 2, 1)))
    else:
        train_set = load_images(data, image_size=size, part=part, limit_per_class=images)
        test_set = load_images(data, image_size=size, part=test_part, limit_per_class=images // 2)
    network = load_model(model, num_classes=len(train_set.classes))
    history = train(
        network, train_set, val_set=test_set, recipe="plain", epochs=epochs, lr=0.05, augment=("flip",) if data else (),
        out=folder / "run", resume=True,
    )  # fmt: skip
    print(f"accuracy on test images: {100 * history['val']['accuracy']:.1f}%, run in {folder / 'run'}")
    save_figure(plot_history(history), folder / "history.png")

    selection, rest = test_set.split(0.3, seed=0)
    ranked = gradient(network, selection, rescore=0.1, split_fraction=1)  # `rest` tests
    maps = ranked.dfm(0.05)
    save_dfm(folder / "dfm.safetensors", maps)
    for row in rates(network, rest, maps).table():
        print(
            f"{row['class']:<12} TPR {100 * row['TPR']:3.0f}%  FPR {100 * row['FPR']:3.0f}%  through"
            f" {100 * row['coverage']:.1f}% of the frequencies (whole images: {100 * row['clean TPR']:3.0f}%)"
        )
    stopped = band_stop(network, rest)
    worst = int(stopped.accuracy[1:].argmin())
    print(f"without {stopped.names[worst]} the accuracy falls to {100 * float(stopped.accuracy[1 + worst]):.0f}%")
    save_figure(plot_band_stop(stopped), folder / "band_stop.png")
    found = None
    if test_set.truth is not None:
        found = recovery(maps.masks[0], test_set.truth["C0"])
        print(f"planted bins of C0 in its map: {found.found} of {found.planted}, by chance {found.chance_recall:.0%}")
    return history, found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--data")
    parser.add_argument("--part")
    parser.add_argument("--test-part", default="test")
    parser.add_argument("--model", default="small_convnet")
    for name, default in (("epochs", 8), ("images", 200), ("size", 32)):
        parser.add_argument(f"--{name}", type=int, default=default)
    main(**vars(parser.parse_args()))
