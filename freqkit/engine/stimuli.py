"""What a model is shown: a block of images -> K versions of each image.

A stimulus has a length, the number of its versions, and makes some versions of some images when they are asked for, a
batch at a time. What it makes depends on the image (its number in the set), the version and the stimulus's seed alone:
it has the same bits in any batch, on any rank, within any memory.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from freqkit.data.corruptions import check, corrupt
from freqkit.engine.spectra import Spectra
from freqkit.errors import UsageError
from freqkit.masks.bits import pick
from freqkit.ops import BitMasks, Spectrum, spectral_filter


@dataclass(frozen=True)
class Shown:
    """Versions of images, made when they are asked for.

    Attributes:
        make: called with a range of versions and one of images (slices); gives what the network takes, [k b, C, H, W],
            all images of a version and then the next version's.
        versions, images: how many there are. each: every image has a version of its own, so that `versions` is 1.
        what: a version in words.
    """

    make: Callable[[slice, slice], torch.Tensor]
    versions: int
    images: int
    each: bool = False
    what: str = "version"


class Stimulus(Protocol):
    """What `freqkit.engine.Scorer.show` shows; see the module."""

    def __len__(self) -> int: ...

    def tile(self, source: Spectra, versions: slice, images: slice) -> Shown:
        """Some versions of a block of the images; `source` has their spectra and pixels, and the model's input."""


def filtered(masks: BitMasks | torch.Tensor, spectra: Spectrum, pairing: str = "all") -> Shown:
    """Spectra seen through masks, which are on their device: every one, or (pairing "each") a mask for each image."""
    each = pairing == "each"
    count, number = len(spectra), len(masks.bits if isinstance(masks, BitMasks) else masks)

    def some(values, part, all_of_them):
        return values if part.stop - part.start == all_of_them else pick(values, part, spectra.device)

    def make(versions, images):
        chosen = some(masks, images if each else versions, number)
        seen = spectra if images.stop - images.start == count else spectra[images]
        # Always by transforms: a mask must give the same bits in whatever batch it comes.
        made = spectral_filter(seen, chosen, pairing=pairing, memory_format=torch.channels_last, method="fft")
        return made if each else made.flatten(0, 1)

    return Shown(make, 1 if each else number, count, each, "mask")


class Filter:
    """Images through masks: y[k] = Re IDFT2(m_k DFT2(x)), in the domain of the scorer.

    Args:
        masks: `BitMasks` or dense masks in torch's layout, K of them.
    """

    def __init__(self, masks: BitMasks | torch.Tensor):
        self.masks = masks

    def __len__(self):
        return len(self.masks.bits if isinstance(self.masks, BitMasks) else self.masks)

    def tile(self, source, versions, images):
        return filtered(pick(self.masks, versions, source.forward.device), source.block(images.start, images.stop))


class Perturbation:
    """Vectors of the real Fourier basis added to images: y[k] = x + s norm U_k, in the domain of the scorer.

    U_k is cos(2 pi (i h / H + j w / W)) on every channel, of L2 norm 1 over a plane; the signs s are drawn for each
    image, vector and channel. (f and -f have the same vector.)

    Args:
        bins: int64 [K, 2], (i, j) in cycles per image.
        norm: L2 norm of what is added to a channel.
        seed: of the signs; None: all are +1.
        clip: whether y is cut to [0, 1], for a scorer of domain "pixels".

    Source: Yin et al., NeurIPS 2019 (arXiv 1906.08988).
    """

    def __init__(self, bins: torch.Tensor, norm: float, *, seed: int | None = 0, clip: bool = False):
        self.bins = torch.as_tensor(bins, dtype=torch.int64)
        if self.bins.ndim != 2 or self.bins.shape[1] != 2:
            raise UsageError(f"Perturbation: bins must have shape [K, 2]; got {list(self.bins.shape)}.")
        self.norm, self.seed, self.clip = norm, seed, clip

    def __len__(self):
        return len(self.bins)

    def tile(self, source, versions, images):
        if self.clip and source.forward.mean is not None:
            raise UsageError('Perturbation: clip needs a scorer of domain="pixels".')
        numbers, size = range(images.start, images.stop), tuple(source.images.shape[-2:])
        basis = torch.stack([basis_vector(i, j, size) for i, j in self.bins[versions].tolist()]) * self.norm
        signs = torch.stack([self._signs(bin, size, numbers) for bin in self.bins[versions].tolist()])
        device, kind = source.forward.device, source.forward.compute
        basis, signs = basis[:, None, None].to(device, kind), signs[..., None, None].to(device, kind)

        def make(some, part):
            x = source.inputs(source.pixels(source.images[images][part]))
            y = x + signs[some, part] * basis[some]
            y = y.clamp(0, 1) if self.clip else y
            return y.flatten(0, 1).contiguous(memory_format=torch.channels_last)

        return Shown(make, len(basis), len(numbers))

    def _signs(self, bin, size, numbers):
        """float64 [b, 3]."""
        if self.seed is None:
            return torch.ones(len(numbers), 3, dtype=torch.float64)
        stream = bin[0] % size[0] * size[1] + bin[1] % size[1]
        drawn = counter_words(self.seed, stream, numbers.start, len(numbers))[:, None] >> np.arange(3, dtype=np.uint64)
        return torch.from_numpy((drawn & np.uint64(1)).astype(np.float64) * 2 - 1)


class BandNoise:
    """Grey images of low contrast in noise of an octave band, for the critical band of recognition.

    An image's grey values g in [0, 1] become I = (g - mean(g)) contrast + mean. White noise of a standard deviation is
    split into the levels of a Laplacian pyramid, of which one is kept, at the root mean square of the finest. Where
    I + noise leaves [0, 1] the pixel becomes `guard` or 1 - `guard`, or its noise is drawn again where that would need
    an image outside of [0, 1]. The noise is drawn from a counter (image, band, standard deviation, seed).

    Args:
        levels: K pairs (band, standard deviation); band 0 is the coarsest. See `levels_of`.
        seed, contrast, mean, guard: as above.

    Source: Solomon and Pelli, Nature 1994; Subramanian et al., NeurIPS 2023 (arXiv 2309.13190).
    """

    def __init__(
        self, levels: Sequence[tuple[int, float]], *, seed: int = 0, contrast: float = 0.2, mean: float = 0.449,
        guard: float = 0.1,
    ):  # fmt: skip
        self.levels = [(int(band), float(deviation)) for band, deviation in levels]
        self.seed, self.contrast, self.mean, self.guard = seed, contrast, mean, guard

    @staticmethod
    def levels_of(size: tuple[int, int], deviations: Sequence[float] = (0.02, 0.04, 0.08, 0.16)) -> list:
        """No noise once, and every band of a size with every standard deviation."""
        return [(0, 0.0), *((band, sd) for band in range(pyramid_height(size)) for sd in deviations)]

    def __len__(self):
        return len(self.levels)

    def tile(self, source, versions, images):
        size, levels = tuple(source.images.shape[-2:]), self.levels[versions]
        if any(not 0 <= band < pyramid_height(size) for band, _ in levels):
            raise UsageError(f"BandNoise: a band must be in 0...{pyramid_height(size) - 1} at this size.")

        def make(some, part):
            at = range(images.start, images.stop)[part]
            grey = [self._grey(source.images[i].numpy()) for i in at]
            made = [self._noisy(plane, i, *level) for level in levels[some] for i, plane in zip(at, grey, strict=True)]
            pixels = torch.from_numpy(np.stack(made)).to(source.forward.device, source.forward.compute)
            pixels = pixels[:, None].expand(-1, 3, -1, -1)
            return source.inputs(pixels).contiguous(memory_format=torch.channels_last)

        return Shown(make, len(levels), images.stop - images.start)

    def _grey(self, image):
        red, green, blue = image.astype(np.int64)
        grey = ((19595 * red + 38470 * green + 7471 * blue + (1 << 15)) >> 16) / 255  # as PIL's "L"
        return (grey - grey.mean()) * self.contrast + self.mean

    def _noisy(self, plane, image, band, deviation):
        if deviation == 0:
            return plane
        counter = np.array([0, 0, band, np.float64(deviation).view(np.uint64)], np.uint64)
        chance = np.random.Generator(np.random.Philox(key=np.array([self.seed, image], np.uint64), counter=counter))
        noise = band_of(chance.standard_normal(plane.shape) * deviation, band)
        y = plane + noise
        low, high = y < 0, y > 1
        y[low], y[high] = self.guard, 1 - self.guard
        again = (low & (self.guard - noise > 1)) | (high & (1 - self.guard - noise < 0))
        for at in np.flatnonzero(again):
            while not 0 <= (value := plane.flat[at] + chance.standard_normal() * deviation) <= 1:
                pass
            y.flat[at] = value
        return y


class Corruption:
    """Generated corruptions (`freqkit.data.corruptions`) of the pixels.

    Args:
        kinds: K pairs (name, severity).
        names: of the images, which with the seed decide the noise; None: their numbers.
    """

    def __init__(self, kinds: Sequence[tuple[str, int]], *, names: Sequence[str] | None = None, seed: int = 0):
        self.kinds, self.names, self.seed = list(kinds), names, seed
        for kind in self.kinds:
            check(*kind)

    def __len__(self):
        return len(self.kinds)

    def tile(self, source, versions, images):
        names, kinds = [str(i) for i in range(len(source.images))] if self.names is None else self.names, self.kinds
        kinds = kinds[versions]

        def make(some, part):
            plain, own = source.images[images][part], names[images][part]
            made = torch.cat([corrupt(plain, *kind, own, seed=self.seed) for kind in kinds[some]])
            return source.inputs(source.pixels(made)).contiguous(memory_format=torch.channels_last)

        return Shown(make, len(kinds), images.stop - images.start)


def basis_vector(i: int, j: int, size: tuple[int, int]) -> torch.Tensor:
    """cos(2 pi (i h / H + j w / W)), of L2 norm 1, float64 [H, W]."""
    rows, columns = ((n * torch.arange(side)) % side / side for n, side in zip((i, j), size, strict=True))
    wave = torch.cos(2 * torch.pi * (rows.double()[:, None] + columns.double()))
    return wave / wave.square().sum().sqrt()


def counter_words(seed: int, stream: int, start: int, count: int) -> np.ndarray:
    """Numbers start...start + count - 1 of the stream of (seed, stream), uint64, the same on every machine."""
    generator = np.random.Philox(key=np.array([seed, stream], np.uint64))
    generator.advance(start // 4)  # a step of Philox gives four numbers
    return generator.random_raw(start % 4 + count)[start % 4 :]


def pyramid_height(size: tuple[int, int]) -> int:
    """Levels of the Laplacian pyramid: halvings while a side is not below 5, and the rest.

    Example:
        >>> [pyramid_height((side, side)) for side in (32, 64, 128, 224, 256)]
        [4, 5, 6, 7, 7]
    """
    height, side = 1, min(size)
    while side >= 5:
        height, side = height + 1, side // 2
    return height


def band_of(plane: np.ndarray, band: int) -> np.ndarray:
    """What level `band` of the Laplacian pyramid (0: the coarsest) leaves of a plane, at the root mean square of the
    finest level."""
    (kept, coarse), sizes, last = _split(plane), [plane.shape], pyramid_height(plane.shape) - 1
    strength = np.sqrt(np.square(kept).mean())
    for level in range(1, last - band + 1):
        sizes.append(coarse.shape)
        kept, coarse = _split(coarse) if level < last else (coarse, coarse)
    for size in reversed(sizes[:-1]):
        kept = _doubled(kept, size)
    return kept * (strength / np.sqrt(np.square(kept).mean()))


def _split(plane):
    """A level of the pyramid, and what goes on to the next."""
    coarse = _smoothed(plane)[::2, ::2]
    return plane - _doubled(coarse, plane.shape), coarse


_TAPS = np.sqrt(2) * np.array([1, 4, 6, 4, 1]) / 16


def _smoothed(plane):
    """Through the taps along both axes, mirrored at the middle of the pixels of the edge."""
    for _ in range(2):
        rows = len(plane)
        wide = np.pad(plane, ((2, 2), (0, 0)), "reflect")
        plane = sum(tap * wide[i : i + rows] for i, tap in enumerate(_TAPS)).T
    return plane


def _doubled(plane, size):
    wide = np.zeros(size)
    wide[::2, ::2] = plane
    return _smoothed(wide)
