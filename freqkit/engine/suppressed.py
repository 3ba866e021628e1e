"""Images without their shape, texture or colour, as a stimulus."""

from collections.abc import Sequence

import numpy as np
import torch

from freqkit.engine.stimuli import Shown
from freqkit.errors import UsageError

# Kinds of a `Suppressed` -> what their parameters are.
SUPPRESSIONS = {"whole": (), "patches": (int,), "gaussian": (float,), "bilateral": (float, float), "grey": ()}


class Suppressed:
    """Images without their shape, their texture or their colour.

    "whole": as they are. "patches:G": the patches of a grid of G x G in random order, which leaves what lies within a
    patch and no shape beyond it (sides of floor(H/G) and floor(W/G) pixels; what is left of a side stays).
    "gaussian:S": smoothed by a Gaussian of S pixels, cut at 4 S, mirrored about the edge; "bilateral:S:R": each pixel
    the mean of those within 2 S, weighted by Gaussians of S pixels and of their colour's distance, R of [0, 1], which
    leaves edges and takes texture away. "grey": the luma of ITU-R 601, rounded. The order of patches comes from a
    counter (image, grid, seed).

    Args:
        kinds: K of these. seed: of the orders.

    Raises:
        UsageError: a kind is none.

    Source: Burgert et al., 2025 (arXiv 2509.20234), of the idea; Tomasi and Manduchi, ICCV 1998, of the filter.
    """

    def __init__(self, kinds: Sequence[str], *, seed: int = 0):
        self.kinds, self.seed = list(kinds), seed
        self.asked = [suppression(kind) for kind in self.kinds]

    def __len__(self):
        return len(self.kinds)

    def tile(self, source, versions, images):
        asked, side = self.asked[versions], min(source.images.shape[-2:])
        grids = [numbers[0] for name, numbers in asked if name == "patches"]
        if any(grid > side for grid in grids):
            raise UsageError(f"Suppressed: patches of images of {side} pixels: a grid of at most {side}; got {grids}.")

        def make(some, part):
            at, plain = range(images.start, images.stop)[part], source.images[images][part]
            made = []
            for name, numbers in asked[some]:
                changed = [self._changed(one.numpy(), i, name, numbers) for i, one in zip(at, plain, strict=True)]
                pixels = torch.from_numpy(np.stack(changed))
                bytes_ = pixels.dtype == torch.uint8
                made.append(
                    source.pixels(pixels) if bytes_ else pixels.to(source.forward.device, source.forward.compute)
                )
            return source.inputs(torch.cat(made)).contiguous(memory_format=torch.channels_last)

        return Shown(make, len(asked), images.stop - images.start)

    def _changed(self, image, number, name, numbers):
        """uint8, or float64 in [0, 1], [3, H, W]."""
        if name == "whole":
            return image
        if name == "grey":
            return np.broadcast_to(luma(image).astype(np.uint8), image.shape)
        if name == "patches":
            return self._shuffled(image, number, *numbers)
        return {"gaussian": smoothed, "bilateral": bilateral}[name](image / 255, *numbers)

    def _shuffled(self, image, number, grid):
        key = np.array([self.seed, number], np.uint64)
        chance = np.random.Generator(np.random.Philox(key=key, counter=np.array([0, 0, grid, 0], np.uint64)))
        height, width = (side // grid for side in image.shape[1:])
        order, made = chance.permutation(grid * grid), image.copy()
        for to, source in enumerate(order):
            (y, x), (v, u) = divmod(to, grid), divmod(int(source), grid)
            patch = image[:, v * height : (v + 1) * height, u * width : (u + 1) * width]
            made[:, y * height : (y + 1) * height, x * width : (x + 1) * width] = patch
        return made


def suppression(kind: str) -> tuple[str, tuple]:
    """(name, parameters) of what a `Suppressed` is asked.

    Example:
        >>> suppression("patches:4"), suppression("bilateral:2:0.2")
        (('patches', (4,)), ('bilateral', (2.0, 0.2)))
    """
    name, *texts = kind.split(":") if isinstance(kind, str) else [""]
    try:
        numbers = [read(text) for read, text in zip(SUPPRESSIONS[name], texts, strict=True)]
        fits = all(2 <= number < 1e4 if isinstance(number, int) else 0 < number <= 100 for number in numbers)
    except (KeyError, ValueError):
        fits, numbers = False, []
    if not fits:
        raise UsageError(
            "Suppressed: a kind must be whole, patches:G (G = 2, 3, ...), gaussian:S, bilateral:S:R (0 < S, R <= 100)"
            f" or grey; got {kind!r}."
        )
    return name, tuple(numbers)


def luma(image: np.ndarray) -> np.ndarray:
    """Grey values of uint8 [3, H, W] as PIL's "L" has them, int64 [H, W]."""
    red, green, blue = image.astype(np.int64)
    return (19595 * red + 38470 * green + 7471 * blue + (1 << 15)) >> 16


def smoothed(image: np.ndarray, deviation: float) -> np.ndarray:
    """float64 [3, H, W] through a Gaussian, cut at 4 standard deviations, mirrored about the edge."""
    reach = int(4 * deviation + 0.5)
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    taps /= taps.sum()
    for _ in range(2):
        rows = image.shape[1]
        wide = np.pad(image, ((0, 0), (reach, reach), (0, 0)), "symmetric")
        image = sum(tap * wide[:, i : i + rows] for i, tap in enumerate(taps)).swapaxes(1, 2)
    return image


def bilateral(image: np.ndarray, deviation: float, distance: float) -> np.ndarray:
    """float64 [3, H, W] through a bilateral filter of a square window, mirrored about the edge; see `Suppressed`."""
    reach, (height, width) = max(1, round(2 * deviation)), image.shape[1:]
    wide = np.pad(image, ((0, 0), (reach, reach), (reach, reach)), "symmetric")
    total, weights = np.zeros_like(image), np.zeros((height, width))
    for y in range(-reach, reach + 1):
        for x in range(-reach, reach + 1):
            other = wide[:, reach + y : reach + y + height, reach + x : reach + x + width]
            away = np.square(other - image).sum(0) / distance**2 + (y * y + x * x) / deviation**2
            weight = np.exp(-0.5 * away)
            total += weight * other
            weights += weight
    return total / weights
