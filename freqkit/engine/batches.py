"""How (mask, image) pairs are cut into tiles and batches."""

import time
from dataclasses import dataclass

import numpy as np
import torch

# A tile is what is computed, journalled and interrupted as one: long enough that its record is small beside
# it, short enough that little is lost.
BATCHES_PER_TILE = 8
_SIZES = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)


@dataclass(frozen=True)
class Tiling:
    """`images` in blocks, `masks` in groups; a tile is a block times a group, cut into batches of `group *
    part` pairs.

    A pure function of the three numbers it is made from, so that a tile always has the same batches.
    """

    images: int
    batch_size: int
    block: int  # images of a tile
    part: int  # images of a batch
    group: int  # masks of a tile and of a batch

    def blocks(self):
        """[(first, last + 1), ...] over the images."""
        return [(at, min(at + self.block, self.images)) for at in range(0, self.images, self.block)]

    def parts(self, first, last):
        return [(at, min(at + self.part, last)) for at in range(first, last, self.part)]

    def groups(self, masks):
        return [(at, min(at + self.group, masks)) for at in range(0, masks, self.group)]


def tiling(images, batch_size, *, max_block=None):
    """Choose block, part and group so that batches are as full as `batch_size` allows.

    Example:
        >>> tiling(1000, 256)
        Tiling(images=1000, batch_size=256, block=1000, part=250, group=1)
        >>> tiling(40, 256)
        Tiling(images=40, batch_size=256, block=40, part=40, group=6)
    """
    block = min(images, BATCHES_PER_TILE * batch_size, max_block or images)
    block = -(-images // -(-images // block))  # as even as possible
    part, group, best = 1, 1, 0
    for pieces in range(-(-block // batch_size), block + 1):
        size = -(-block // pieces)
        fill = size * (batch_size // size)
        if fill > best:
            part, group, best = size, batch_size // size, fill
        if best >= 0.9 * batch_size or size == 1:
            break
    return Tiling(images, batch_size, block, part, group)


def calibrate(forward, image_shape, *, limit, seconds=5.0):
    """Time one batch of each size, and take the smallest whose time per image is within 3 % of the best.

    Args:
        forward: a `freqkit.engine.forward.Forward`.
        image_shape: (channels, height, width).
        limit: the largest size worth trying (number of pairs there are).
        seconds: stop trying larger sizes after this long.

    Returns:
        (batch size, {size: seconds per image}).
    """
    timings, began = {}, time.perf_counter()
    generator = torch.Generator().manual_seed(0)
    for size in _SIZES:
        if timings and size > limit:
            break
        images = torch.randn((size, *image_shape), generator=generator, dtype=forward.compute).to(
            forward.device, memory_format=torch.channels_last
        )
        try:
            forward(images)  # warm-up: allocations, algorithm choice
            took = []
            # The least of several: other work on the machine only ever adds.
            while len(took) < 2 or (sum(took) < 0.25 and len(took) < 20):
                start = time.perf_counter()
                forward(images).sum().item()
                took.append(time.perf_counter() - start)
        except torch.OutOfMemoryError:
            break
        timings[size] = min(took) / size
        spent = time.perf_counter() - began
        if spent + 6 * min(took) > seconds or timings[size] > 1.25 * min(timings.values()):
            break
    if not timings:
        raise MemoryError(f"score: the model does not fit a batch of {_SIZES[0]} images on {forward.device}.")
    fastest = min(timings.values())
    return next(size for size, each in timings.items() if each <= 1.03 * fastest), timings


def sums(column, values, columns, dtype):
    """Sums [k, columns] of values [k, n] by column [n] or [k, n], added in order of n; counts for None."""
    column = np.asarray(column)
    masks = len(column if values is None else values)
    flat = (np.arange(masks)[:, None] * columns + column).ravel()
    weights = None if values is None else values.ravel()
    return np.bincount(flat, weights=weights, minlength=masks * columns).astype(dtype).reshape(masks, columns)
