"""What the readers of image sets share: what is asked of them, what a layout is, which images are chosen."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from freqkit.data.image_set import SPLIT_ORDERS, ImageSet, first_by_hash, published_places, split_names
from freqkit.errors import UsageError

RESIZES = ("squash", "center-crop")
PARTS = ("train", "val", "test")
NPY_FLOATS = ("round", "published")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The arguments of `freqkit.data.load_images`, checked; `layout` and `part` are those that were found."""

    root: Path
    image_size: int | None
    resize: str
    layout: str
    part: str | None
    classes: list[str] | str | os.PathLike | None
    limit_per_class: int | None
    split_fraction: float | None
    split_order: str
    seed: int
    on_bad_image: str
    npy_floats: str
    workers: int | None
    progress: Callable[[int, int], object] | None

    def __post_init__(self):
        for name in ("image_size", "limit_per_class", "workers"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise UsageError(f"load_images: {name} must be a positive integer; got {value!r}.")
        self._one_of("resize", RESIZES)
        if self.on_bad_image not in ("error", "skip"):
            raise UsageError(f"load_images: on_bad_image must be 'error' or 'skip'; got {self.on_bad_image!r}.")
        self._one_of("npy_floats", NPY_FLOATS)
        self._one_of("split_order", SPLIT_ORDERS)
        if self.split_order == "published" and self.split_fraction is None:
            raise UsageError(
                "load_images: split_order='published' draws a share; give split_fraction (published: 0.05)."
            )
        self._one_of("part", (None, *PARTS))

    def _one_of(self, name, choices):
        if getattr(self, name) not in choices:
            known = ", ".join(choice for choice in choices if choice is not None)
            raise UsageError(f"load_images: {name} must be one of {known}; got {getattr(self, name)!r}.")

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
