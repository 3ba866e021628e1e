"""In which order does a network learn its classes? F1 of each over the first iterations, over several seeds.

    python examples/03_follow_learning.py [FOLDER] [--variants 1 4] [--seeds 3] [--until 80]

Class C3 of Syn_B1 has only low frequencies, that of Syn_B4 only the highest; the other classes are mixtures. A network
that preferred low frequencies as such would learn C3 late in Syn_B4. Pictures go into FOLDER.
"""

import argparse
import tempfile
from pathlib import Path

from freqkit import load_model
from freqkit.data import synthetic
from freqkit.report import learning_curves, save_figure
from freqkit.results import LearningCurves
from freqkit.training import train


def followed(variant, seed, folder, *, until, images):
    """Learning curves of one training."""
    train_set, val_set = (synthetic(variant, images_per_class=n, seed=2 * seed + i) for i, n in enumerate((images, 50)))
    epochs = -(-until * 64 // len(train_set))
    train(
        load_model("small_convnet", seed=seed), train_set, val_set=val_set, epochs=epochs, lr=0.05, seed=seed,
        follow=5, follow_until=until, out=folder, overwrite=True,
    )  # fmt: skip
    return LearningCurves.load(folder / "learning.safetensors")


def main(folder=None, *, variants=(1, 4), seeds=3, until=80, images=200):
    folder = Path(folder or tempfile.mkdtemp())
    found = {}
    for variant in variants:
        runs = [
            followed(variant, seed, folder / f"B{variant}-{seed}", until=until, images=images) for seed in range(seeds)
        ]
        print(f"Syn_B{variant}: iteration from which F1 stays at 0.9 or more (each seed)")
        learned = [run.learned_at(0.9) for run in runs]
        for name in runs[0].classes:
            print(f"  {name}: " + ", ".join(str(one[name] or "later") for one in learned))
        save_figure(learning_curves(runs, title=f"Syn_B{variant}"), folder / f"learning-B{variant}.png")
        found[variant] = learned
    print(f"pictures are in {folder}")
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--variants", type=int, nargs="+", default=[1, 4], choices=[1, 2, 3, 4])
    for name, default in (("seeds", 3), ("until", 80), ("images", 200)):
        parser.add_argument(f"--{name}", type=int, default=default)
    main(**vars(parser.parse_args()))
