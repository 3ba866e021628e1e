"""Entries for ADCS maps, against loops over pairs of classes; run directly, it measures 1,000 classes at 224.

    python benchmarks/run.py adcs --rounds 3
    python benchmarks/adcs.py [--classes 1000] [--images 10] [--size 224] [--json FILE]

The second prints ours as measured and the published loop as projected from a sample of its images and pairs: whole, it
would take half an hour.
"""

import argparse
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import harness
from freqkit.measures.adcs import PUBLISHED_MEAN, PUBLISHED_STD, PUBLISHED_ZERO, WEIGHTS, _ranked, adcs


@dataclass
class Entry:
    name: str
    size: tuple
    images: int  # per class
    masks: int  # classes, under the harness's name
    dtype: torch.dtype = torch.float64
    channels_last: bool = False


def entries(sizes=None, threads=1):
    for n in sizes or [32, 224]:
        yield Entry("adcs-whole", (n, n), images=4, masks=10)
        for classes in (10, 100):
            yield Entry("adcs-maps", (n, n), images=0, masks=classes)


def prepare(entry):
    """Whole: images to maps, published preset. Maps: from class spectra (grey for us, colour for the loop)."""
    generator = np.random.default_rng(0)
    if entry.name == "adcs-maps":
        spectra = generator.gamma(2, size=(entry.masks, 3, *entry.size))
        grey = np.einsum("p,cphw->chw", WEIGHTS["grey"], spectra).reshape(entry.masks, -1)
        half = np.ascontiguousarray(grey[:, : entry.size[0] * (entry.size[1] // 2 + 1)])

        def ours():
            return _ranked(half, published=True)

        def check():
            return np.array_equal(_ranked(grey, published=True).reshape(-1, *entry.size), published_maps(spectra))

        return ours, {"pair-loop": lambda: published_maps(spectra), "class-loop": lambda: class_loop(grey)}, check
    count = entry.images * entry.masks
    images = torch.from_numpy(generator.integers(0, 256, (count, 3, *entry.size), dtype=np.uint8))
    labels = torch.arange(count) % entry.masks
    names = [f"c{i}" for i in range(entry.masks)]

    def ours():
        return adcs([(images, labels)], classes=names, preset="iccv2023").maps

    def theirs():
        return published_maps(published_spectra(images, labels, entry.masks))

    def check():
        return (ours().numpy() != theirs()).mean() < 2e-3  # float32 transforms: near ties may turn

    return ours, {"published": theirs}, check


def published_spectra(images, labels, classes):
    """Sums of |DFT| image by image, in float32 as published."""
    sums = torch.zeros(classes, *images.shape[1:])
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (PUBLISHED_MEAN, PUBLISHED_STD))
    for image, label in zip(images, labels.tolist(), strict=True):
        x = (image.float() / 255 - mean) / std
        sums[label] += torch.fft.fftshift(torch.fft.fft2(x), dim=(-2, -1)).abs()
    sums[sums == 0] = PUBLISHED_ZERO
    return sums.double().numpy()


def published_maps(spectra, some=None):
    """A loop over pairs: difference in colour, grey, sign, sum."""
    maps = []
    for c in range(len(spectra)) if some is None else some:
        total = np.zeros(spectra.shape[2:], np.int64)
        for other in spectra:
            difference = spectra[c] - other
            red, green, blue = WEIGHTS["grey"]
            grey = red * difference[0] + green * difference[1] + blue * difference[2]
            total += np.where(grey > 0, 1, -1)
        maps.append(total)
    return np.stack(maps)


def class_loop(grey):
    """What one would write with arrays: one class against all, already grey."""
    return np.stack([np.where(one > grey, 1, -1).sum(0) for one in grey])


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--images", type=int, default=10, help="per class")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--json")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    count = args.classes * args.images
    generator = np.random.default_rng(0)
    pool = torch.from_numpy(generator.integers(0, 256, (256, 3, args.size, args.size), dtype=np.uint8))
    names = [str(c) for c in range(args.classes)]

    def batches():
        for start in range(0, count, 8 * args.images):
            number = torch.arange(start, min(start + 8 * args.images, count))
            # No two images alike: shifted copies would have the same magnitudes.
            yield pool[number % 256] ^ (number // 256).to(torch.uint8)[:, None, None, None], number // args.images

    clock = time.thread_time  # other processes disturb it less
    began = clock()
    for _ in batches():
        pass
    making = clock() - began
    began = clock()
    result = adcs(batches(), classes=names)
    ours = clock() - began - making
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    assert (result.maps.long().sum(0) == 0).all(), "ranks must cancel over the classes"
    began = clock()
    published_spectra(pool[:32], torch.zeros(32, dtype=torch.int64), 1)
    each = (clock() - began) / 32
    spectra = generator.gamma(2, size=(40, 3, args.size, args.size))
    published_maps(spectra, [0])
    began = clock()
    published_maps(spectra, [0, 1])
    pair = (clock() - began) / 80
    theirs = each * count + pair * args.classes**2
    row = {
        "name": "adcs-1000", "classes": args.classes, "images": count, "size": args.size, "ours_s": ours,
        "published_s_projected": theirs, "published_image_s": each, "published_pair_s": pair, "ratio": theirs / ours,
        "peak_rss_mb": peak,
    }  # fmt: skip
    for key, value in row.items():
        print(f"{key:<24}{value:.6g}" if isinstance(value, float) else f"{key:<24}{value}")
    if args.json:
        from freqkit.files.whole import write_json

        write_json(args.json, {"machine": harness.machine(), "rows": [row]})


if __name__ == "__main__":
    main()
