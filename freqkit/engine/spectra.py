"""Transforms of an image set, block by block, kept within a stated memory."""

import math

import torch

from freqkit.data.cache import has_read
from freqkit.engine.forward import normalised
from freqkit.ops import Spectrum, spectrum


class Spectra:
    """The spectra of a set of images; what fits the memory is transformed once.

    Args:
        images: uint8 [n, C, H, W].
        forward: a `freqkit.engine.forward.Forward`, whose device, numbers and normalisation they have.
        memory: bytes that kept spectra may take; when all need more, each block is transformed anew for every use and
            only one block is held.
        kept: "float32": as they are computed; "float16": in half the memory.

    Attributes:
        most: images that a block may have. keep: whether all spectra are kept. half: whether in half the memory.
        blocks: [(first, last + 1), ...] of the images, set once they are known.
        transforms: how many images were transformed.
    """

    def __init__(self, images, forward, memory, kept):
        self.images, self.forward, self.blocks, self.transforms = images, forward, [], 0
        self.bytes_each = self.transform(images[:1]).nbytes
        self.most = max(1, memory // self.bytes_each)
        self.half = kept == "float16" and forward.compute is torch.float32
        if self.half:
            self.bytes_each //= 2
        self.keep = len(images) * self.bytes_each <= memory
        self.half = self.half and self.keep
        self.held, self._wide = {}, (None, None)
        self._last = torch.empty(0, dtype=torch.int64), None

    def block(self, first, last):
        """Spectra of the images first...last - 1, one of the `blocks`."""
        held = self._block_as_kept(first, last)
        if not self.half:
            return held
        if self._wide[0] != (first, last):
            self._wide = None, None  # before the next one is made
            self._wide = (first, last), self._widen(held)
        return self._wide[1]

    def of(self, images):
        """Spectra of images int64 [n], in their order; an image may come more than once."""
        distinct, back = images.unique(return_inverse=True)
        if not self.keep:
            some = self.transform(self.images[distinct])[back.to(self.forward.device)]
            has_read(self.images, distinct)
            return some
        parts = []
        for first, last in self.blocks:
            inside = distinct[(distinct >= first) & (distinct < last)] - first
            if len(inside):
                parts.append(self._block_as_kept(first, last)[inside.to(self.forward.device)])
        packed = torch.cat([part.packed for part in parts]) if len(parts) > 1 else parts[0].packed
        found = Spectrum(packed, parts[0].height, parts[0].width)
        return (self._widen(found) if self.half else found)[back.to(self.forward.device)]

    def again(self, images):
        """As `of`; the last asked for are kept, for many masks follow one another on them."""
        held, spectra = self._last
        if not torch.equal(held, images):
            spectra = self.of(images)
            self._last = images, spectra
        return spectra

    def near(self, images):
        """Spectra of images int64 [n], ascending: of neighbours in a block, a view of what is held."""
        low, high = int(images[0]), int(images[-1]) + 1
        first, last = next(block for block in self.blocks if low < block[1])
        if high - low == len(images) and high <= last:
            return self.block(first, last)[low - first : high - first]
        return self.again(images)

    def pixels(self, images):
        """uint8 images as numbers in [0, 1], on the device."""
        made = images.to(self.forward.device).to(self.forward.compute).div_(255)
        has_read(images)
        return made

    def inputs(self, pixels):
        """Pixels in [0, 1] as the network takes them."""
        if self.forward.mean is None:
            return pixels
        return normalised(pixels, self.forward.mean, self.forward.std)

    def grey_inputs(self, planes):
        """The same of grey images [b, H, W]: [b, 3, H, W], in channels-last memory."""
        made = planes.new_empty(*planes.shape, 3)
        mean, std = self.forward.mean or (0,) * 3, self.forward.std or (1,) * 3
        for plane, pixels in zip(planes, made, strict=True):  # which stays in the caches meanwhile
            for channel in range(3):
                shift = plane.new_tensor(-mean[channel] / std[channel])
                torch.add(shift, plane, alpha=1 / std[channel], out=pixels[..., channel])
        return made.permute(0, 3, 1, 2)

    def transform(self, images):
        self.transforms += len(images)
        return spectrum(self.pixels(images), mean=self.forward.mean, std=self.forward.std)

    def bytes(self):
        """Held at once."""
        held = len(self.images) if self.keep else max((last - first for first, last in self.blocks), default=0)
        return held * self.bytes_each

    def _block_as_kept(self, first, last):
        if (first, last) not in self.held:
            if not self.keep:
                self.held.clear()
            made = self.transform(self.images[first:last])
            self.held[first, last] = self._narrow(made) if self.half else made
        return self.held[first, last]

    def _widen(self, held):
        wide = held.packed.float().mul_(math.sqrt(held.height * held.width))
        return Spectrum(wide, held.height, held.width)

    def _narrow(self, made):
        # As the orthonormal transform has it: unscaled, the mean of a large image is beyond float16.
        scale = 1 / math.sqrt(made.height * made.width)
        return Spectrum((made.packed * scale).half(), made.height, made.width)
