"""Augmentations by frequency of pixels in [0, 1], before they are normalised: random cut-offs, noise of a band."""

import re

import numpy as np
import torch

import freqkit
from freqkit.data.augment import generator, key
from freqkit.data.components import component_blocks, side_mask
from freqkit.errors import UsageError
from freqkit.masks.shapes import frequencies, named_band, radius
from freqkit.masks.symmetry import uncentred

PRESETS = ("default", "cvpr2024")
BAND = re.compile(r"|(?:low|high)-\d+(?:\.\d+)?|(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)")


class PixelAugment:
    """What both have in common: a chance, and draws that depend on (seed, epoch, image) alone."""

    name = ""

    def __init__(self, p):
        if isinstance(p, bool) or not isinstance(p, (int, float)) or not 0 <= p <= 1:
            raise UsageError(f"{self.name}: p must be a number in 0..1; got {p!r}.")
        self.p = float(p)

    @property
    def record(self):
        return {"augmentation": self.name, "p": self.p}

    def bind(self, train_set, *, seed, device):
        """Fit to a set. A fresh copy, so that the object can be used again."""
        bound = object.__new__(type(self))
        bound.__dict__.update(self.__dict__)
        bound.seed, bound.count, bound.device = seed, len(train_set), device
        bound.size = tuple(train_set.images.shape[2:])
        return bound

    def start(self, epoch):
        """Draw for every image of the epoch: whether, and a number in [0, 1)."""
        draw = generator(self.seed, self.name, epoch)
        self.epoch = epoch
        self.happens = torch.rand(self.count, generator=draw) < self.p
        self.drawn = torch.rand(self.count, generator=draw, dtype=torch.float64)

    def __call__(self, x, positions):
        """Float [b, 3, H, W], some of them changed. positions: int64 [b] on the CPU, the images' places in the set."""
        some = self.happens[positions].nonzero().flatten()
        if not len(some):
            return x
        result, places = x.clone(), some.to(x.device)
        result[places] = self.changed(x[places], positions[some]).to(x.dtype)
        return result

    def changed(self, x, positions):
        raise NotImplementedError


class BandPass(PixelAugment):
    """With probability p, an image keeps only frequencies below a random cut-off.

    The cut-off is drawn for each image and epoch from 10 % to 90 % of half the image side. It teaches the network to do
    without fine structure, whichever scale that has.

    Args:
        p: probability.
        preset: "default": a disc; nothing is clipped. "cvpr2024": the block of whole rows and columns from -r to r - 1,
            cut-offs drawn from 0 to 100 % and clipped to 10 and 90 %, pixels clipped to [0, 1]. The published script
            does it to normalised images; here it is done to pixels, for which its clipping is meant.

    Source: Gavrikov and Keuper, "Can Biases in ImageNet Models Explain Generalization?", CVPR 2024.

    Example:
        >>> import torch
        >>> from freqkit.data import synthetic
        >>> images = synthetic(1, images_per_class=2)
        >>> bound = BandPass(p=1.0).bind(images, seed=0, device="cpu")
        >>> bound.start(0)
        >>> x = images.images / 255
        >>> torch.allclose(bound(x, torch.arange(8)).mean((2, 3)), x.mean((2, 3)), atol=1e-6)
        True
    """

    name = "band-pass"

    def __init__(self, p=0.5, *, preset="default"):
        super().__init__(p)
        if preset not in PRESETS:
            raise UsageError(f"{self.name}: preset must be one of {', '.join(PRESETS)}; got {preset!r}.")
        self.preset = preset

    @property
    def record(self):
        return {**super().record, "preset": self.preset}

    @property
    def cutoffs(self):
        """float64 [n], the share of half the side that each image keeps."""
        return self.drawn.clamp(0.1, 0.9) if self.preset == "cvpr2024" else 0.1 + 0.8 * self.drawn

    def changed(self, x, positions):
        cutoffs = self.cutoffs[positions].view(-1, 1, 1)
        if self.preset == "cvpr2024":
            kept = torch.ones((), dtype=torch.bool)
            for side, frequency in zip(self.size, frequencies(self.size), strict=True):
                reach = (cutoffs * (side // 2)).floor()
                kept = kept & (frequency >= -reach) & (frequency < reach)
        else:
            kept = radius(self.size) < cutoffs * min(self.size) / 2
        masks = uncentred(kept.float()).to(x.device)
        found = freqkit.spectral_filter(x.contiguous(), masks, pairing="each")
        return found.clamp(0, 1) if self.preset == "cvpr2024" else found


class DiffusionNoise(PixelAugment):
    """With probability p, an image becomes a x + sqrt(1 - a^2) e: the more noise, the less is left of it.

    a is the root of a number drawn from [0, 1), e Gaussian noise of variance 1 in every pixel and channel, white or of
    a band of frequencies. (The published script has sqrt(1 - a^a), of another variance, and trains without it.)

    Args:
        p: probability.
        band: "" white; "low-R", "high-R", "A-B": of frequencies |f| < R, >= R, A <= |f| < B in cycles/image.

    Source: Gavrikov and Keuper, "Can Biases in ImageNet Models Explain Generalization?", CVPR 2024.

    Example:
        >>> DiffusionNoise(p=0.5, band="low-8").record["band"]
        'low-8'
    """

    name = "diffusion-noise"

    def __init__(self, p=0.5, *, band=""):
        super().__init__(p)
        found = BAND.fullmatch(band) if isinstance(band, str) else None
        if found is None or (found[1] and float(found[1]) >= float(found[2])):
            raise UsageError(f"{self.name}: band must be low-R, high-R or A-B, or empty; got {band!r}.")
        self.band = band

    @property
    def record(self):
        return {**super().record, "band": self.band}

    def bind(self, train_set, *, seed, device):
        bound = super().bind(train_set, seed=seed, device=device)
        bound.mask, bound.scale = None, 1.0
        if self.band:
            plane = named_band(self.band, bound.size, layout="torch")
            if not plane.any():
                raise UsageError(f"{self.name}: band {self.band} holds no frequency of images of {bound.size}.")
            # A share of the bins keeps as large a share of the variance.
            bound.mask, bound.scale = plane.to(device), (plane.numel() / float(plane.sum())) ** 0.5
        return bound

    def changed(self, x, positions):
        noise = torch.from_numpy(np.stack([self._white(position) for position in positions.tolist()])).to(x)
        if self.mask is not None:
            masks = self.mask.expand(len(noise), -1, -1)
            noise = freqkit.spectral_filter(noise, masks, pairing="each") * self.scale
        left = self.drawn[positions].sqrt().view(-1, 1, 1, 1)
        return left.to(x) * x + (1 - left**2).sqrt().to(x) * noise

    def _white(self, position):
        """float64 [3, H, W], from a counter of its own."""
        words = np.array([key(self.seed, self.name, self.epoch), position], np.uint64)
        return np.random.Generator(np.random.Philox(key=words)).standard_normal((3, *self.size))


class Component(PixelAugment):
    """Every image keeps only its low or its high frequencies; see `freqkit.data.components`.

    Args:
        side: "low" or "high". radius: of the split, cycles/image. encoding: what is made of the component.

    Source: Wang, Wu, Huang, Xing, CVPR 2020 (arXiv 1905.13545), table 1.
    """

    name = "component"

    def __init__(self, side, radius, encoding="raw"):
        super().__init__(1.0)
        self.side, self.radius, self.encoding = side, radius, encoding

    @property
    def record(self):
        return {**super().record, "side": self.side, "radius": self.radius, "encoding": self.encoding}

    def bind(self, train_set, *, seed, device):
        bound = super().bind(train_set, seed=seed, device=device)
        side_mask(bound.size, self.radius, self.side)
        return bound

    def start(self, epoch):
        """Nothing is drawn."""

    def __call__(self, x, positions):
        found = torch.empty_like(x)
        for _, _, part, made in component_blocks(x, [self.radius], (self.side,), encoding=self.encoding):
            found[part] = made.to(x) / 255 if self.encoding == "uint8wrap" else made.to(x)
        return found
