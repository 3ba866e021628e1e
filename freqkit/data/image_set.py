"""Decoded images with their labels, names and fingerprint."""

import hashlib
import math
import os

import numpy as np
import torch

from freqkit.data.class_lists import of_logits
from freqkit.errors import UsageError

SPLIT_ORDERS = ("path", "published")
PUBLISHED_SHARE, PUBLISHED_SEED = 0.05, 42  # of the training images, in the released code of the search


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
        kept: `freqkit.data.cache.Kept`, of which `images` are, where they lie in a file; their parts do, too.

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

    def __init__(self, images, labels, classes, paths, *, record=None, truth=None, digests=None, kept=None):
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
        if len(set(classes)) != len(classes):
            twice = next(name for place, name in enumerate(classes) if name in classes[:place])
            raise UsageError(f"ImageSet: classes must be distinct names; {twice!r} stands twice.")
        if len(paths) != len(images) or len(set(paths)) != len(paths):
            raise ValueError(f"ImageSet: paths must be {len(images)} distinct names; got {len(set(paths))}.")
        self.images = images
        self.labels = labels
        self.classes = list(classes)
        self.paths = list(paths)
        self.truth = truth
        self._record = dict(record or {})
        self._digests, self._kept = digests, kept
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
        kept = None if self._kept is None else self._kept.take(positions)
        return ImageSet(
            self.images[indices] if kept is None else kept.images,
            self.labels[indices],
            self.classes,
            [self.paths[i] for i in positions],
            record={**self._record, **({} if note is None else {"subset": note})},
            truth=self.truth,
            digests=None if self._digests is None else [self._digests[i] for i in positions],
            kept=kept,
        )

    def as_logits(self, model):
        """The same images with all of ImageNet's classes (wnids), where theirs are some of them and the model has 1000
        logits; else the set itself."""
        names = of_logits(self.classes, model)
        if names is None:
            return self
        index = torch.tensor([names.index(name) for name in self.classes])
        note = f"its {len(index)} classes are some of ImageNet's {len(names)}, so a label is the logit of that name"
        notes = [*self._record.get("notes", ()), note]
        return ImageSet(
            self.images, index[self.labels], names, self.paths, truth=self.truth, digests=self._digests,
            kept=self._kept, record={**self._record, "notes": notes, "class_index": index.tolist()},
        )  # fmt: skip

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

    def shuffled(self, seed=0, share=1.0):
        """The same images with labels permuted among some of them: what can then be learned is learned by heart.

        How many images each class has stays the same. Of n images of C even classes about n share (C - 1)/C get a
        wrong label.

        Args:
            seed: integer of at least 0; who takes part, and the permutation, depend on it and on the number of images.
            share: how many of the images take part, 0 <= share <= 1: `round(share n)`.

        Example:
            >>> from freqkit.data import synthetic
            >>> images = synthetic(1, images_per_class=50)
            >>> changed = images.shuffled(seed=1, share=0.4)
            >>> torch.equal(changed.counts, images.counts), int((changed.labels != images.labels).sum()) <= 80
            (True, True)
        """
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= 1:
            raise UsageError(f"shuffled: share must be a number in 0..1; got {share!r}.")
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise UsageError(f"shuffled: seed must be an integer of at least 0; got {seed!r}.")
        chance = np.random.Generator(np.random.Philox(key=np.array([seed, 1], np.uint64)))
        some = np.sort(chance.permutation(len(self))[: round(share * len(self))])
        labels = self.labels.clone()
        labels[some] = self.labels[chance.permutation(some)]
        record = {**self._record, "shuffled": {"seed": seed, "share": share}}
        return ImageSet(
            self.images, labels, self.classes, self.paths, record=record, truth=self.truth, digests=self._digests
        )

    def published_split(self, share=PUBLISHED_SHARE, seed=PUBLISHED_SEED):
        """Two stratified parts in shuffled order, as the released HFSS code draws its images: (selection, rest).

        The selection is the test part of scikit-learn's `StratifiedShuffleSplit(1, test_size=share,
        random_state=seed)` over the images in their order, which the released code hands to its loader as it is:
        batches of the published loss are made of it. `ceil(share n)` images; how many of a class differs from its
        share of them by less than one. Classes are drawn one by one, so that it does not matter how they are mixed,
        but the order of the images of one class does. See `split` for a rule that depends on names alone.

        Args:
            share: share of the selection, 0 < share < 1. The released code takes 0.05 of the training images; the
                paper as many as the test set has.
            seed: integer, 0 <= seed < 2**32; 42 in the released code.

        Raises:
            UsageError: an argument is out of its range, a class has one image only, or a part would have
                fewer images than there are classes.

        Example:
            >>> from freqkit.data import synthetic
            >>> selection, rest = synthetic(1, images_per_class=10).published_split(0.3)
            >>> selection.counts.tolist(), selection.labels.tolist()
            ([3, 3, 3, 3], [2, 3, 1, 1, 3, 3, 0, 1, 0, 0, 2, 2])
        """
        places = published_places(self.labels.tolist(), share, seed)
        note = {"fraction": share, "seed": seed, "order": "published"}
        return tuple(
            self.subset(torch.from_numpy(some), note={**note, "part": part})
            for some, part in zip(places, ("selection", "rest"), strict=True)
        )


def published_places(labels, share, seed):
    """The positions of `ImageSet.published_split`: int64 arrays (selection, rest), in its order."""
    number = isinstance(share, (int, float)) and not isinstance(share, bool)
    if not number or not 0 < share < 1:
        raise UsageError(f"published order: the share must be a number with 0 < share < 1; got {share!r}.")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise UsageError(f"published order: the seed must be an integer in 0..2**32 - 1; got {seed!r}.")
    labels = np.asarray(labels, np.int64)
    members = [np.flatnonzero(labels == c) for c in np.unique(labels)]
    counts = np.array([len(own) for own in members])
    drawn = math.ceil(share * len(labels))
    kept = len(labels) - drawn
    if not len(labels) or counts.min() < 2:
        raise UsageError("published order: every class must have at least two images, of which one may be drawn.")
    if min(drawn, kept) < len(counts):
        raise UsageError(
            f"published order: both parts must have at least as many images as there are classes, {len(counts)}; a "
            f"share of {share} of {len(labels)} images makes {drawn} and {kept}."
        )
    # numpy keeps the stream of RandomState the same for ever.
    generator = np.random.RandomState(seed)
    of_rest = _shares(counts, kept, generator)
    of_selection = _shares(counts - of_rest, drawn, generator)
    selection, rest = [], []
    for own, first, then in zip(members, of_rest, of_selection, strict=True):
        shuffled = own[generator.permutation(len(own))]
        rest.append(shuffled[:first])
        selection.append(shuffled[first : first + then])
    rest = generator.permutation(np.concatenate(rest))
    return generator.permutation(np.concatenate(selection)), rest


def _shares(counts, total, generator):
    """`total` draws among classes of some counts, in proportion: whole parts first, the rest to the largest remainders,
    equal ones at random."""
    exact = counts / counts.sum() * total
    whole = np.floor(exact)
    missing = int(total - whole.sum())
    remainder = exact - whole
    for value in sorted(set(remainder.tolist()), reverse=True):
        if missing <= 0:
            break
        equal = np.flatnonzero(remainder == value)
        lucky = generator.choice(equal, size=min(len(equal), missing), replace=False)
        whole[lucky] += 1
        missing -= len(lucky)
    return whole.astype(np.int64)


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
