"""Decoded images with their labels, names and fingerprint."""

import hashlib
import math
import os

import torch

from freqkit.errors import UsageError


class ImageSet:
    """Labelled images in memory.

    Args:
        images: uint8 [n, 3, H, W], RGB.
        labels: int64 [n], positions in `classes`.
        classes: class names; label i is `classes[i]`.
        paths: one distinct name per image, `class/file`.
        record: JSON-ready facts of the origin; see `record`.
        truth: for synthetic sets, dict of class name -> bool [H, W], the planted bins, centred, partners
            included.

    Raises:
        TypeError, ValueError: for shapes, dtypes or labels that do not fit together.

    Example:
        >>> from freqkit.data import synthetic
        >>> images = synthetic(1, images_per_class=3)
        >>> len(images), images.images.shape, images.classes
        (12, torch.Size([12, 3, 32, 32]), ['C0', 'C1', 'C2', 'C3'])
        >>> images.subset([0, 5]).labels.tolist()
        [0, 1]
    """

    def __init__(self, images, labels, classes, paths, *, record=None, truth=None, digests=None):
        if not isinstance(images, torch.Tensor) or images.dtype != torch.uint8:
            raise TypeError(f"ImageSet: images must be a uint8 tensor; got {getattr(images, 'dtype', images)!r}.")
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"ImageSet: images must have shape [n, 3, H, W]; got {list(images.shape)}.")
        labels = torch.as_tensor(labels)
        if labels.dtype != torch.int64 or labels.shape != (len(images),):
            raise ValueError(
                f"ImageSet: labels must be int64 of shape [{len(images)}]; "
                f"got {labels.dtype} of shape {list(labels.shape)}."
            )
        if len(labels) and not (0 <= int(labels.min()) and int(labels.max()) < len(classes)):
            raise ValueError(
                f"ImageSet: labels must lie in 0..{len(classes) - 1}; got {int(labels.min())}..{int(labels.max())}."
            )
        if len(paths) != len(images) or len(set(paths)) != len(paths):
            raise ValueError(f"ImageSet: paths must be {len(images)} distinct names; got {len(set(paths))}.")
        self.images = images
        self.labels = labels
        self.classes = list(classes)
        self.paths = list(paths)
        self.truth = truth
        self._record = dict(record or {})
        self._digests = digests
        self._fingerprint = None

    def __len__(self):
        return len(self.images)

    def __repr__(self):
        height, width = self.images.shape[2:]
        return f"ImageSet({len(self)} images of {height}x{width}, {len(self.classes)} classes)"

    @property
    def counts(self):
        """Images per class, int64 [classes]."""
        return torch.bincount(self.labels, minlength=len(self.classes))

    @property
    def fingerprint(self):
        """SHA-256 (hex) over image size, class names and, image by image in order, its path, label and
        decoded pixels: two sets with one fingerprint put the same question to a model, however their files
        are compressed."""
        if self._fingerprint is None:
            size, labels = tuple(self.images.shape[2:]), self.labels.tolist()
            self._fingerprint = fingerprint(size, self.classes, self.paths, labels, self.digests)
        return self._fingerprint

    @property
    def digests(self):
        """`pixel_digest` of each image."""
        if self._digests is None:
            self._digests = [pixel_digest(image.numpy()) for image in self.images]
        return self._digests

    @property
    def record(self):
        """Facts for run.json: origin, counts per class, size and fingerprint."""
        return {
            **self._record,
            "images": len(self),
            "size": list(self.images.shape[2:]),
            "classes": len(self.classes),
            "images_per_class": _counts_record(self.classes, self.counts.tolist()),
            "fingerprint": self.fingerprint,
        }

    def subset(self, indices, *, note=None):
        """The images at `indices` (integers or a bool mask [n]), in that order; classes stay as they are."""
        indices = torch.as_tensor(indices)
        if indices.dtype == torch.bool:
            if indices.shape != (len(self),):
                raise ValueError(f"subset: a bool mask must have shape [{len(self)}]; got {list(indices.shape)}.")
            indices = indices.nonzero().flatten()
        elif indices.numel() == 0:
            indices = indices.to(torch.int64)
        elif indices.dtype.is_floating_point or indices.ndim != 1:
            raise TypeError(f"subset: indices must be a list of integers; got {indices.dtype} {list(indices.shape)}.")
        positions = indices.tolist()
        if positions and not (0 <= min(positions) and max(positions) < len(self)):
            raise ValueError(f"subset: indices must lie in 0..{len(self) - 1}; got {min(positions)}..{max(positions)}.")
        return ImageSet(
            self.images[indices],
            self.labels[indices],
            self.classes,
            [self.paths[i] for i in positions],
            record={**self._record, **({} if note is None else {"subset": note})},
            truth=self.truth,
            digests=None if self._digests is None else [self._digests[i] for i in positions],
        )

    def split(self, fraction, seed=0):
        """Two stratified parts: (selection, rest).

        Of a class of n images the selection has `max(1, floor(fraction*n + 1/2))`, chosen by a hash of
        (seed, path): an image's rank depends on nothing else, so file order and other classes do not
        matter. Both parts keep the original order.

        Args:
            fraction: share of the selection, 0 < fraction < 1.
            seed: integer.

        Example:
            >>> from freqkit.data import synthetic
            >>> selection, rest = synthetic(1, images_per_class=10).split(0.3, seed=1)
            >>> selection.counts.tolist(), rest.counts.tolist()
            ([3, 3, 3, 3], [7, 7, 7, 7])
        """
        chosen = torch.zeros(len(self), dtype=torch.bool)
        by_class = [[] for _ in self.classes]
        for position, label in enumerate(self.labels.tolist()):
            by_class[label].append(position)
        for positions in by_class:
            keep = split_names([self.paths[i] for i in positions], fraction, seed)
            chosen[[positions[i] for i in keep]] = True
        note = {"fraction": fraction, "seed": seed}
        return (
            self.subset(chosen, note={**note, "part": "selection"}),
            self.subset(~chosen, note={**note, "part": "rest"}),
        )


def split_names(names, fraction, seed):
    """Positions (ascending) of the selected share of one class's names."""
    number = isinstance(fraction, (int, float)) and not isinstance(fraction, bool)
    if not number or not 0 < fraction < 1:
        raise UsageError(f"split: fraction must be a number with 0 < fraction < 1; got {fraction!r}.")
    return first_by_hash(names, max(1, math.floor(fraction * len(names) + 0.5)), seed, "split")


def first_by_hash(names, count, seed, purpose):
    """Positions (ascending) of the `count` names with the smallest SHA-256 of (purpose, seed, name)."""
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise UsageError(f"{purpose}: seed must be an integer; got {seed!r}.")
    salt = f"{purpose} {seed} ".encode()
    keys = [(hashlib.sha256(salt + os.fsencode(name)).digest(), i) for i, name in enumerate(names)]
    return sorted(i for _, i in sorted(keys)[:count])


def fingerprint(size, classes, paths, labels, digests):
    """`ImageSet.fingerprint` of images of size (H, W) that may not be in memory, from their `pixel_digest`s."""
    digest = hashlib.sha256(f"freqkit.ImageSet 1 {[3, *size]}".encode())
    for name in classes:
        digest.update(b"\0class " + os.fsencode(name))
    for path, label, pixels in zip(paths, labels, digests, strict=True):
        digest.update(b"\0image " + os.fsencode(path) + f"\0{label}\0".encode() + pixels)
    return digest.hexdigest()


def pixel_digest(array):
    """SHA-256 of one image's uint8 pixels [3, H, W]."""
    return hashlib.sha256(array.tobytes()).digest()


def _counts_record(classes, counts):
    if len(classes) <= 50:
        return dict(zip(classes, counts, strict=True))
    return {"least": min(counts), "most": max(counts)}
