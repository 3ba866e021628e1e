"""Augmentations by frequency: they filter the normalised batch in one fused pass, each image by its own mask."""

from pathlib import Path

import torch

import freqkit
from freqkit.data.augment import generator
from freqkit.errors import UsageError
from freqkit.training.pixels import PixelAugment


class _MapAugment:
    """What both have in common: maps of classes, a chance, DC kept or not."""

    def __init__(self, dfm, p, keep_dc):
        from freqkit.masks import load_dfm

        self.dfm = load_dfm(dfm) if isinstance(dfm, (str, Path)) else dfm
        if not hasattr(self.dfm, "masks") or not hasattr(self.dfm, "classes"):
            raise TypeError(f"{self.name}: dfm must be a DfmFile or the path of one; got {type(dfm).__name__}.")
        if isinstance(p, bool) or not isinstance(p, (int, float)) or not 0 <= p <= 1:
            raise UsageError(f"{self.name}: p must be a number in 0..1; got {p!r}.")
        self.p, self.keep_dc = float(p), bool(keep_dc)

    @property
    def record(self):
        from freqkit.masks import content_hash

        return {
            "augmentation": self.name,
            "p": self.p,
            "keep_dc": self.keep_dc,
            "classes": len(self.dfm.classes),
            "maps": content_hash(self.dfm.masks),
            "preset": self.dfm.preset,
        }

    def bind(self, train_set, *, seed, device):
        """Fit to a set: classes by name, masks on the device. A fresh copy, so that the object can be used again."""
        size = tuple(train_set.images.shape[2:])
        if tuple(self.dfm.masks.shape[1:]) != size:
            raise UsageError(
                f"{self.name}: the maps must be of the images' size {size}; got {tuple(self.dfm.masks.shape[1:])}."
            )
        strange = [name for name in self.dfm.classes if name not in train_set.classes]
        if strange:
            raise UsageError(f"{self.name}: every map's class must be one of the images'; got {strange[0]!r}.")
        bound = object.__new__(type(self))
        bound.__dict__.update(self.__dict__)
        bound.seed, bound.count = seed, len(train_set)
        bound.label_of = torch.tensor([train_set.classes.index(name) for name in self.dfm.classes])
        weights = self.weights(self.dfm.masks.to(torch.float32)).clone()
        if self.keep_dc:
            weights[:, size[0] // 2, size[1] // 2] = 1
        bound.bank = freqkit.masks.uncentred(weights).to(device)
        return bound

    def weights(self, maps):
        """The masks by which images are filtered, from the maps [M, H, W]."""
        return maps

    def start(self, epoch):
        """Draw for every image of the epoch: which map, and whether."""
        draw = generator(self.seed, self.name, epoch)
        self.drawn = torch.randint(len(self.label_of), (self.count,), generator=draw)
        self.happens = torch.rand(self.count, generator=draw) < self.p


class OtherClassMaps(_MapAugment):
    """DFM-X: with probability p, an image keeps only the dominant frequencies of another class.

    For each image a class j is drawn uniformly from those of the maps; if j is not the image's own, the image is
    filtered by the map of j with probability p. It teaches the network not to be content with a few frequencies,
    whichever they are.

    Args:
        dfm: `DfmFile` or its path.
        p: probability.
        keep_dc: the mean of each channel is always kept, as published.
        complement: filter by 1 - map instead.

    Source: Wang, Veldhuis, Strisciuglio, "DFM-X" (ICCV workshops 2023, p. 129).

    Example:
        >>> import torch
        >>> from freqkit.data import synthetic
        >>> from freqkit.masks import DfmFile
        >>> images = synthetic(1, images_per_class=2)
        >>> maps = DfmFile(torch.ones(4, 32, 32), images.classes)
        >>> bound = OtherClassMaps(maps, p=1.0).bind(images, seed=0, device="cpu")
        >>> bound.start(0)
        >>> bound.choose(images.labels, torch.arange(8)).shape
        torch.Size([8])
    """

    name = "other-class-maps"

    def __init__(self, dfm, p=0.3, *, keep_dc=True, complement=False):
        super().__init__(dfm, p, keep_dc)
        self.complement = bool(complement)

    @property
    def record(self):
        return {**super().record, "complement": self.complement}

    def weights(self, maps):
        return 1 - maps if self.complement else maps

    def choose(self, labels, positions):
        """Row of the bank for each image, -1: not filtered; int64 [b]."""
        drawn = self.drawn[positions]
        use = self.happens[positions] & (self.label_of[drawn] != labels)
        return torch.where(use, drawn, -1)


class ShortcutRemoval(_MapAugment):
    """The mirror of DFM-X: with probability p, an image loses the dominant frequencies of its own class.

    What is left is 1 - map (DC kept): the class must be told by something else. Images of classes without a map
    stay as they are.

    Args:
        dfm: `DfmFile` or its path.
        p: probability.
        keep_dc: keep the mean of each channel.

    Example:
        >>> import torch
        >>> from freqkit.masks import DfmFile
        >>> ShortcutRemoval(DfmFile(torch.ones(1, 8, 8), ["cat"]), p=0.5).record["augmentation"]
        'shortcut-removal'
    """

    name = "shortcut-removal"

    def __init__(self, dfm, p=0.5, *, keep_dc=True):
        super().__init__(dfm, p, keep_dc)

    def weights(self, maps):
        return 1 - maps

    def choose(self, labels, positions):
        """Row of the bank for each image, -1: not filtered; int64 [b]."""
        own = torch.full((int(max(labels.max(), self.label_of.max())) + 1,), -1)
        own[self.label_of] = torch.arange(len(self.label_of))
        return torch.where(self.happens[positions], own[labels], -1)


def normalised(model, x, labels, positions, augments):
    """`model.normalise(x)`, the chosen images filtered; several masks of one image multiply. What changes pixels
    (`PixelAugment`) comes before.

    Args:
        model: `Classifier`. x: float [b, 3, H, W] in [0, 1]. labels, positions: int64 [b] on the CPU.
        augments: bound augmentations.
    """
    for augment in augments:
        if isinstance(augment, PixelAugment):
            x = augment(x, positions)
    augments = [augment for augment in augments if not isinstance(augment, PixelAugment)]
    result = model.normalise(x)
    if not augments:
        return result
    rows = torch.stack([augment.choose(labels, positions) for augment in augments])
    some = (rows >= 0).any(0).nonzero().flatten()
    if not len(some):
        return result
    masks = torch.ones(len(some), *x.shape[2:], device=x.device)
    for augment, row in zip(augments, rows[:, some], strict=True):
        use = (row >= 0).nonzero().flatten()
        masks[use.to(x.device)] *= augment.bank[row[use].to(x.device)]
    chosen = some.to(x.device)
    spectrum = freqkit.spectrum(x[chosen], mean=model.mean, std=model.std)
    result[chosen] = freqkit.spectral_filter(spectrum, masks, pairing="each", dtype=result.dtype)
    return result
