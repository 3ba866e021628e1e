"""Find a frequency shortcut whose frequencies are known, through the library.

    python examples/01_find_shortcuts.py [FOLDER]

Class C0 of the synthetic images always holds the diagonal frequencies (k, k), k = 1, 3, ..., 15. A small
network is trained on them; `hfss` then looks for the few frequencies by which each class is still recognised.
The budget is tiny (half a minute); `freqkit demo` does the same with a larger one. Pictures go into FOLDER.
"""

import sys
from pathlib import Path

import freqkit
from freqkit.data import synthetic
from freqkit.measures import recovery
from freqkit.training import train


def main(folder=None):
    images = synthetic(variant=1, images_per_class=200, seed=0)
    model = freqkit.load_model("small_convnet", num_classes=4)
    history = train(model, images, epochs=6, batch_size=64, lr=0.05)
    print(f"accuracy on the training images: {100 * history['train']['accuracy']:.1f}%")

    # Search on images that the training has not seen: half of them select, the rates are those of the others.
    unseen = synthetic(variant=1, images_per_class=12, seed=1)
    result = freqkit.hfss(model, unseen, candidates=[60, 100, 150, 200], batch_size=256)
    for row in result.table():
        print(
            f"{row['class']}: keeps {100 * row['coverage']:4.1f}% of the frequencies,"
            f" TPR {100 * row['TPR']:3.0f}%, FPR {100 * row['FPR']:3.0f}%, loss {row['loss']:.3f}"
        )

    # A shortcut: recognised by few frequencies (TPR high), and not merely always answered (FPR low).
    found = recovery(result.masks[result.classes.index("C0")], images.truth["C0"])
    print(
        f"planted bins of C0 found: {found.found} of {found.planted} (recall {100 * found.recall:.0f}%,"
        f" a blind mask of {found.kept} bins: {100 * found.chance_recall:.0f}%)"
    )

    # The map is an ordinary mask: filter an image with it.
    x = unseen.images[:1].float() / 255
    mask = freqkit.masks.uncentred(result.masks[:1])
    filtered = freqkit.spectral_filter(freqkit.spectrum(x, mean=model.mean, std=model.std), mask)
    print(f"filtered image: {list(filtered.shape)} (mask, image, channel, height, width)")

    if folder:
        from freqkit.report import write_pictures

        Path(folder).mkdir(parents=True, exist_ok=True)
        for path in write_pictures(result, model, unseen, folder, planted={"C0": images.truth["C0"]}):
            print(f"wrote {path}")
    return found


if __name__ == "__main__":
    main(*sys.argv[1:2])
