"""What the readers of image sets share: what is asked of them, what a layout is, which images are chosen."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freqkit.data.image_set import SPLIT_ORDERS, ImageSet, first_by_hash, published_places, split_names
from freqkit.data.preprocessing import settle
from freqkit.errors import UsageError
from freqkit.options import Options, option

RESIZES = ("own", "squash", "center-crop")
PARTS = ("train", "val", "test")
NPY_FLOATS = ("round", "published")


@dataclass(frozen=True, kw_only=True)
class Asked(Options):
    """What `load_images` is asked."""

    image_size: int | None = option(
        None, "N, the side of the square output; None: the model's own, else as stored, and images of several sizes "
        "need it", least=1, must="a positive integer",
    )  # fmt: skip
    resize: str = option(
        "own", "own: as `model` was published (timm's and torchvision's names of it); where it does not say, images of "
        "one size as they are, else as center-crop; squash: both sides to N whatever the shape; center-crop: shorter "
        "side to `N*256//224`, the longer in proportion rounded down, then the middle N x N (torchvision's `Resize`, "
        "`CenterCrop`). The latter two bilinear with antialiasing. Arrays that are N x N already stay as they are",
        choices=RESIZES,
    )  # fmt: skip
    model: Any = option(None, "the `Classifier` that the images are for, which names its size and its transform")
    layout: str = option("auto", "one of the above, or auto")
    part: str | None = option(None, "train, val or test, where root holds several", choices=PARTS)
    classes: Sequence[str] | str | os.PathLike | None = option(
        None, "names in the order of the model's logits, a list that comes with freqkit (imagenet, imagenet-a, "
        "imagenet-r, cifar10, cifar100), or a text file with one on each line, for images of only some of a model's "
        "classes. Not needed where all folders are ImageNet's (wnids) and `model` has 1000 logits. Every class found "
        "must be among them, and no name may stand twice; names are compared in Unicode's composed form (NFC). Where "
        "the layout knows no names (npy, idx), the names of labels 0, 1, ... None: the folders, sorted; the published "
        "names",
    )  # fmt: skip
    limit_per_class: int | None = option(
        None, "at most so many images of each class, chosen by a hash of (seed, path)", least=1,
        must="a positive integer",
    )  # fmt: skip
    split_fraction: float | None = option(None, "then this share of each class, by the rule of `ImageSet.split`")
    split_order: str = option(
        "path", "path: that rule, in the original order; published: by the rule and in the shuffled order of "
        "`ImageSet.published_split`, as the published search draws its images", choices=SPLIT_ORDERS,
    )  # fmt: skip
    seed: int = option(0, "for both choices")
    on_bad_image: str = option(
        "error", "error: files that cannot be decoded are all counted, then one error names the first; skip: they are "
        "left out and their names put on record", choices=("error", "skip"), must="'error' or 'skip'",
    )  # fmt: skip
    npy_floats: str = option(
        "round", "how floats of the npy layout become bytes. round: to the nearest, and values outside [0, 1] are "
        "refused; published: as the loader of the ICCV 2023 code does, clipped to [0, 1], times 255 in their own "
        "precision and rounded down, half a step of 255 darker on average", choices=NPY_FLOATS,
    )  # fmt: skip
    cache: str | os.PathLike | None = option(
        "auto", "folder that keeps decoded images, for later runs and for other processes on this machine, which share "
        "its memory. auto: the environment's FREQKIT_CACHE, else `freqkit/images` in the user's cache folder, for sets "
        "that take 8 MiB and more when they are decoded; none: nowhere. Kept are images of files, not arrays"
    )  # fmt: skip
    cache_budget: int | None = option(
        None, "bytes that it may hold, and never more than half of what the disk has free; what was used longest ago "
        "goes first. None: 20 GiB", least=0, must="a number of bytes that is not negative",
    )  # fmt: skip
    workers: int | None = option(
        None, "threads; None: the number of usable cores, at most 8. They do not change the result", least=1,
        must="a positive integer",
    )  # fmt: skip
    progress: Callable[[int, int], object] | None = option(None, "called as `progress(done, total)` from this thread")

    def check(self, owner):
        if self.split_order == "published" and self.split_fraction is None:
            raise UsageError(f"{owner}: split_order='published' draws a share; give split_fraction (published: 0.05).")
        return self


@dataclass(frozen=True, kw_only=True)
class Reading(Asked):
    """The same of the folder `root`; `layout` and `part` are those that were found."""

    root: Path

    def settled(self, sizes):
        """How images of `sizes()` are brought to one size: `freqkit.data.preprocessing.Settled`."""
        return settle("load_images", self.resize, self.image_size, self.model, sizes)

    @property
    def choice(self):
        """Facts for the record: by what the images were chosen."""
        facts = {"limit_per_class": self.limit_per_class, "split_fraction": self.split_fraction, "seed": self.seed}
        return facts if self.split_order == "path" else {**facts, "split_order": self.split_order}

    def chosen(self, files, labels, classes):
        """See `choose`."""
        return choose(files, labels, classes, self.limit_per_class, self.split_fraction, self.seed, self.split_order)


@dataclass(frozen=True)
class Layout:
    """One way in which labelled images lie in a folder; it stands beside its reader, and in `layouts.LAYOUTS`.

    Attributes:
        name: as `load_images` takes it. looks: what it looks like, for errors.
        find: function folder -> dict of part ("train", ...; None: undivided) -> where it lies; empty when the folder
            has another layout.
        read: function (what is asked, where the part lies) -> `ImageSet`.
    """

    name: str
    looks: str
    find: Callable[[Path], dict]
    read: Callable[[Reading, object], ImageSet]


def choose(files, labels, classes, limit_per_class, split_fraction, seed, split_order="path"):
    """Positions of the images to read: class by class, by the two rules that depend on names alone; or drawn and
    ordered as published."""
    groups = [[] for _ in range(classes)]
    for i, label in enumerate(labels):
        groups[label].append(i)
    chosen = []
    for group in groups:
        if limit_per_class is not None:
            keep = first_by_hash([files[i] for i in group], limit_per_class, seed, "limit")
            group = [group[i] for i in keep]
        if split_fraction is not None and split_order == "path" and group:
            group = [group[i] for i in split_names([files[i] for i in group], split_fraction, seed)]
        chosen += group
    if split_fraction is not None and split_order == "published":
        selection, _ = published_places([labels[i] for i in chosen], split_fraction, seed)
        chosen = [chosen[i] for i in selection.tolist()]
    return chosen
