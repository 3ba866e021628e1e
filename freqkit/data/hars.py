"""HARS: images with the high frequencies of their own class and the low ones of another.

Source: Lin, Gao, Sang, IJCAI 2022 (arXiv 2205.03154).
"""

import os

import numpy as np
import torch

from freqkit.data.any_images import Images, as_images
from freqkit.data.arrays import lines_of, names_for_lines
from freqkit.data.components import BLOCK, side_mask
from freqkit.data.folder import fill_image_folder, new_folder
from freqkit.data.image_set import ImageSet
from freqkit.errors import UsageError
from freqkit.ops import spectral_filter

__all__ = ["HarsSet", "donors_of", "hars", "write_hars"]

SCALES = ("channel", "none")


class HarsSet(ImageSet):
    """An `ImageSet` of `hars`.

    Attributes:
        donors: int64 [n], the image whose low frequencies each has: a permutation.
        donor_classes: int64 [C, C], how many images of each class (row) got those of each other (column).
    """

    def __init__(self, images, labels, classes, paths, *, donors, record):
        super().__init__(images, labels, classes, paths, record=record)
        self.donors = donors
        number = len(self.classes)
        pairs = torch.bincount(labels * number + labels[donors], minlength=number**2)
        self.donor_classes = pairs.view(number, number)


def hars(images: Images, r: float = 12, seed: int = 0, *, scale: str = "channel", boundary: str = "strict") -> HarsSet:
    """A training set whose labels go with the high frequencies alone.

    x*_i = IDFT2(high DFT2(x_i) + low DFT2(x_j)), where j = donors[i] is of another class, and every image is the donor
    of one. The label is that of x_i.

    Args:
        images: what `freqkit.data.as_images` takes.
        r: radius of the split, cycles/image; DC is in the low part. 12 in the paper, at 32 pixels.
        seed: of the donors, which are drawn by a permutation that is repaired by swaps until none is of its image's
            class. (The released code draws donors one by one, which often never ends.)
        scale: "channel": each channel of each image to 0...255, cut to integers, as published: it distorts colours and
            couples the contrast to the donor; "none": rounded, and clipped to 0...255.
        boundary: "strict" (d < r is low, as in the released code) or "inclusive".

    Returns:
        `HarsSet`; classes, paths and order are those of `images`.

    Raises:
        UsageError: there are fewer than two classes, more than half of the images are of one, or a side is empty.

    Example:
        >>> from freqkit.data import synthetic
        >>> made = hars(synthetic(1, images_per_class=5), r=8, seed=1)
        >>> bool((made.labels[made.donors] == made.labels).any()), sorted(made.donors.tolist()) == list(range(20))
        (False, True)
    """
    images = as_images(images, "hars")
    if scale not in SCALES:
        raise UsageError(f"hars: scale must be one of {', '.join(SCALES)}; got {scale!r}.")
    size = tuple(images.images.shape[-2:])
    side_mask(size, r, "high", boundary)
    low = side_mask(size, r, "low", boundary, layout="torch")[None]
    donors = donors_of(images.labels.numpy(), seed)
    made = torch.empty_like(images.images)
    step = max(1, BLOCK // max(1, images.images[:1].numel()))
    for start in range(0, len(images), step):
        part = slice(start, min(start + step, len(images)))
        own, donor = images.images[part].float(), images.images[donors[part]].float()
        # What is linear in two images is one filter of their difference.
        mixed = own + spectral_filter(donor - own, low)[0]
        if scale == "channel":
            least, most = mixed.amin((2, 3), keepdim=True), mixed.amax((2, 3), keepdim=True)
            # Where it was an image already, rounding must not cost a step.
            scaled = (mixed - least) / torch.where(most > least, most - least, 1) * 255
            made[part] = (scaled + 1e-3).clamp(0, 255).to(torch.uint8)
        else:
            made[part] = mixed.round().clamp(0, 255).to(torch.uint8)
    note = {"r": r, "seed": seed, "scale": scale, "boundary": boundary}
    record = {**{k: v for k, v in images.record.items() if k in ("root", "layout", "part")}, "hars": note}
    record["hars"]["of"] = images.fingerprint
    return HarsSet(
        made, images.labels, images.classes, images.paths, donors=torch.from_numpy(donors), record=record
    )  # fmt: skip


def donors_of(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """A permutation of images that gives none an image of its own class, int64 [n].

    A uniform permutation, whose images with a donor of their own class then swap donors with others at random. While
    no class has more than half of the images, a swap that mends one and spoils none exists.

    Raises:
        UsageError: one class has more than half of the images.

    Example:
        >>> donors_of(np.array([0, 1]), seed=5).tolist()
        [1, 0]
    """
    counts = np.bincount(labels)
    if len(labels) == 0 or 2 * counts.max() > len(labels):
        largest = int(counts.max()) if len(labels) else 0
        raise UsageError(
            f"hars: no class may have more than half of the images, or not every image finds a donor of another; "
            f"class {int(counts.argmax()) if len(labels) else 0} has {largest} of {len(labels)}."
        )
    chance = np.random.Generator(np.random.Philox(key=np.array([seed, 0], np.uint64)))
    donors = chance.permutation(len(labels)).astype(np.int64)
    for own in np.flatnonzero(labels[donors] == labels):
        kind = labels[own]
        while labels[donors[own]] == kind:
            other = int(chance.integers(len(labels)))
            if labels[other] != kind and labels[donors[other]] != kind:
                donors[[own, other]] = donors[[other, own]]
    return donors


def write_hars(made: HarsSet, root: str | os.PathLike, *, kind: str = "folder") -> None:
    """Write a set into a new or empty folder, with donors.npy (int64 [n]).

    Args:
        kind: "folder": `class/file.png`; "npy": the published `hybrid_high_{r}.npy`, uint8 [n, H, W, 3], with
            `train_label.npy` and classes.txt.
    """
    with new_folder(root, "hars") as folder:
        if kind == "npy":
            pixels = made.images.permute(0, 2, 3, 1).contiguous().numpy()
            np.save(folder / f"hybrid_high_{made.record['hars']['r']:g}.npy", pixels, allow_pickle=False)
            np.save(folder / "train_label.npy", made.labels.numpy(), allow_pickle=False)
            (folder / "classes.txt").write_text(lines_of(names_for_lines(made.classes, "hars")), "utf-8")
        else:
            fill_image_folder(made, folder)
        np.save(folder / "donors.npy", made.donors.numpy(), allow_pickle=False)
