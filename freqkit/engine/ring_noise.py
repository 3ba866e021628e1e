"""Noise of one ring of frequencies on whole images."""

import math
from collections.abc import Sequence

import numpy as np
import torch

from freqkit.engine.stimuli import Shown, white_noise
from freqkit.masks import ring
from freqkit.masks.shapes import radius


def octaves(size: tuple[int, int]) -> list[tuple[float, float]]:
    """Rings of an octave each, (from, to) in cycles/image of the shorter side, from the finest down to 2 cycles/image;
    the first holds everything below, the last the corners.

    Example:
        >>> octaves((32, 32))
        [(0.0, 2.0), (2.0, 4.0), (4.0, 8.0), (8.0, 16.0), (16.0, 23.0)]
    """
    edges = [min(size) / 2]
    while edges[0] > 2:
        edges.insert(0, edges[0] / 2)
    return list(zip([0.0, *edges], [*edges, math.floor(float(radius(size).max())) + 1.0], strict=True))


class RingNoise:
    """Images, and images with noise of one ring: y[k] = x + n_k in pixels, for a scorer of domain "pixels".

    White noise is drawn for every channel from a counter (image, ring, seed), limited to the ring, and brought to the
    expected root mean square `deviation`, the same for every ring. Pixels are not cut to [0, 1], for that would put
    noise outside of the ring.

    Args:
        rings: K pairs (from, to), cycles/image; None: the image as it is.
        deviation: of the noise, in pixels of [0, 1]. seed: of the noise. first: number of the first image, by which
            noise is counted.
    """

    def __init__(
        self, rings: Sequence[tuple[float, float] | None], deviation: float = 0.1, *, seed: int = 0, first: int = 0
    ):
        self.rings, self.deviation, self.seed, self.first = list(rings), deviation, seed, first

    def __len__(self):
        return len(self.rings)

    def tile(self, source, versions, images):
        size, rings = tuple(source.images.shape[-2:]), self.rings[versions]
        masks = [None if one is None else ring(size, *one, layout="torch")[:, : size[1] // 2 + 1] for one in rings]
        power = [1.0 if one is None else float(ring(size, *one).mean()) for one in rings]

        def make(some, part):
            plain = source.pixels(source.images[images][part])
            seen = []
            for place in range(len(rings))[some]:
                mask = masks[place]
                if mask is None or not power[place]:
                    seen.append(source.inputs(plain))
                    continue
                numbers = range(images.start, images.stop)[part]
                drawn = np.stack([self._white(self.first + i, versions.start + place, size) for i in numbers])
                noise = torch.fft.irfft2(torch.fft.rfft2(torch.from_numpy(drawn).double()) * mask, s=size)
                noise = noise * (self.deviation / power[place] ** 0.5)
                seen.append(source.inputs(plain + noise.to(plain)))
            return torch.cat(seen).contiguous(memory_format=torch.channels_last)

        return Shown(make, len(rings), images.stop - images.start)

    def _white(self, image, ring, size):
        counter = np.array([0, 0, ring, 1], np.uint64)
        return white_noise(np.random.Philox(key=np.array([self.seed, image], np.uint64), counter=counter), (3, *size))
