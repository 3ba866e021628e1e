"""What a model is shown: a block of images -> K versions of each image.

A stimulus has a length, the number of its versions, and makes some versions of some images when they are asked for, a
batch at a time. What it makes depends on the image (its number in the set), the version and the stimulus's seed alone:
it has the same bits in any batch, on any rank, within any memory.
"""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
import torch

from freqkit.data.components import encode
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
    """Images through masks: y[k] = after_k(Re IDFT2(m_k DFT2(x))), in the domain of the scorer.

    Args:
        masks: `BitMasks` or dense masks in torch's layout, K of them.
        after: a name in `ENCODINGS`, or one for each mask; those other than "raw" need a scorer of domain "pixels".
    """

    def __init__(self, masks: BitMasks | torch.Tensor, *, after: str | Sequence[str] = "raw"):
        self.masks = masks
        self.after = [after] * len(self) if isinstance(after, str) else list(after)
        if not {*self.after} <= {*ENCODINGS} or len(self.after) != len(self):
            names = ", ".join(ENCODINGS)
            raise UsageError(f"Filter: after must be one of {names}, or one for each of the masks; got {after!r}.")

    def __len__(self):
        return len(self.masks.bits if isinstance(self.masks, BitMasks) else self.masks)

    def tile(self, source, versions, images):
        masks, encoders = (
            pick(self.masks, versions, source.forward.device),
            [ENCODINGS[one] for one in self.after[versions]],
        )
        shown = filtered(masks, source.block(images.start, images.stop))
        if not any(encoders):
            return shown
        if source.forward.mean is not None:
            raise UsageError('Filter: what is done after the filter needs a scorer of domain="pixels".')

        def make(some, part):
            made = shown.make(some, part)
            for each, change in zip(made.unflatten(0, (-1, part.stop - part.start)), encoders[some], strict=True):
                if change is not None and (done := change(each)) is not each:
                    each.copy_(done)
            return made

        return replace(shown, make=make)


# What becomes of filtered pixels, whose range is no longer [0, 1], before the network sees them.
ENCODINGS: dict[str, Callable[[torch.Tensor], torch.Tensor] | None] = {
    "raw": None, "clip": lambda x: x.clamp_(0, 1),
    **{name: functools.partial(encode, encoding=name) for name in ("maxnorm", "minmax")},
    "uint8wrap": lambda x: encode(x, "uint8wrap").to(x.dtype) / 255,
}  # fmt: skip


class Perturbation:
    """Vectors of the real Fourier basis added to images: y[k] = x + s norm U_k, in the domain of the scorer.

    U_k is cos(2 pi (i h / H + j w / W)) on every channel, of L2 norm 1 over a plane; the signs s are drawn for each
    image, vector and channel. (f and -f have the same vector.)

    Args:
        bins: int64 [K, 2], (i, j) in cycles per image.
        norm: L2 norm of what is added to a channel, one for all or K.
        seed: of the signs; None: all are +1.
        clip: whether y is cut to [0, 1], for a scorer of domain "pixels".

    Source: Yin et al., NeurIPS 2019 (arXiv 1906.08988).
    """

    def __init__(self, bins: torch.Tensor, norm: float | Sequence[float], *, seed: int | None = 0, clip: bool = False):
        self.bins = torch.as_tensor(bins, dtype=torch.int64)
        if self.bins.ndim != 2 or self.bins.shape[1] != 2:
            raise UsageError(f"Perturbation: bins must have shape [K, 2]; got {list(self.bins.shape)}.")
        self.norm = torch.as_tensor(norm, dtype=torch.float64).expand(len(self.bins))
        self.seed, self.clip = seed, clip

    def __len__(self):
        return len(self.bins)

    def tile(self, source, versions, images):
        if self.clip and source.forward.mean is not None:
            raise UsageError('Perturbation: clip needs a scorer of domain="pixels".')
        numbers, size = range(images.start, images.stop), tuple(source.images.shape[-2:])
        basis = torch.stack([basis_vector(i, j, size) for i, j in self.bins[versions].tolist()])
        basis *= self.norm[versions, None, None]
        signs = self.signs(size, numbers, versions)
        device, kind = source.forward.device, source.forward.compute
        basis, signs = basis[:, None, None].to(device, kind), signs[..., None, None].to(device, kind)

        def make(some, part):
            x = source.inputs(source.pixels(source.images[images][part]))
            y = x + signs[some, part] * basis[some]
            y = y.clamp(0, 1) if self.clip else y
            return y.flatten(0, 1).contiguous(memory_format=torch.channels_last)

        return Shown(make, len(basis), len(numbers))

    def signs(self, size: tuple[int, int], numbers: range, versions: slice = slice(None)) -> torch.Tensor:
        """The sign of each vector, image and channel: float64 [k, b, 3], of images with these numbers."""
        bins = self.bins[versions]
        if self.seed is None:
            return torch.ones(len(bins), len(numbers), 3, dtype=torch.float64)
        streams = (bins[:, 0] % size[0] * size[1] + bins[:, 1] % size[1]).tolist()
        drawn = np.stack([counter_words(self.seed, stream, numbers.start, len(numbers)) for stream in streams])
        bits = drawn[..., None] >> np.arange(3, dtype=np.uint64) & np.uint64(1)
        return torch.from_numpy(bits.astype(np.float64) * 2 - 1)


class BandNoise:
    """Grey images of low contrast in noise of an octave band, for the critical band of recognition.

    An image's grey values g in [0, 1] become I = (g - mean(g)) contrast + mean. White noise of a standard deviation is
    split into the levels of a Laplacian pyramid, of which one is kept, at the root mean square of the finest. Where
    I + noise leaves [0, 1] the pixel becomes `guard` or 1 - `guard`, or its noise is drawn again where that would need
    an image outside of [0, 1]. The noise is drawn from a counter (image, band, standard deviation, seed).

    Args:
        levels: K pairs (band, standard deviation); band 0 is the coarsest, band None the image as it is, in colour. See
            `levels_of`.
        seed, contrast, mean, guard: as above.

    Source: Solomon and Pelli, Nature 1994; Subramanian et al., NeurIPS 2023 (arXiv 2309.13190).
    """

    def __init__(
        self, levels: Sequence[tuple[int | None, float]], *, seed: int = 0, contrast: float = 0.2, mean: float = 0.449,
        guard: float = 0.1,
    ):  # fmt: skip
        self.levels = [(None if band is None else int(band), float(deviation)) for band, deviation in levels]
        self.seed, self.contrast, self.mean, self.guard = seed, contrast, mean, guard
        self.about = {"noise": 2}  # how random words become noise: a run goes on under the same alone
        self._last = (None,), torch.empty(0)  # see `_plain`

    @staticmethod
    def levels_of(size: tuple[int, int], deviations: Sequence[float] = (0.02, 0.04, 0.08, 0.16)) -> list:
        """No noise once, and every band of a size with every standard deviation."""
        return [(0, 0.0), *((band, sd) for band in range(pyramid_height(size)) for sd in deviations)]

    def __len__(self):
        return len(self.levels)

    def tile(self, source, versions, images):
        size, levels = tuple(source.images.shape[-2:]), self.levels[versions]
        if any(band is not None and not 0 <= band < pyramid_height(size) for band, _ in levels):
            raise UsageError(f"BandNoise: a band must be in 0...{pyramid_height(size) - 1} at this size.")

        def make(some, part):
            at, device, seen = range(images.start, images.stop)[part], source.forward.device, []
            for band, deviation in levels[some]:
                if band is None:
                    seen.append(source.inputs(source.pixels(source.images[images][part])))
                else:
                    made = self._noisy(self._plain(source, images)[part], at, band, deviation)
                    seen.append(source.grey_inputs(made.to(device)))
            seen = seen[0] if len(seen) == 1 else torch.cat(seen)
            return seen.contiguous(memory_format=torch.channels_last)

        return Shown(make, len(levels), images.stop - images.start)

    def _plain(self, source, images):
        """I of a block of images, on the CPU; the last is kept, for many versions follow one another on it."""
        kept, *key = self._last[0]
        if kept is not source.images or key != [images, source.forward.compute]:
            red, green, blue = source.images[images].to(torch.int32).unbind(1)
            grey = ((19595 * red + 38470 * green + 7471 * blue + (1 << 15)) >> 16).double() / 255  # as PIL's "L"
            plain = (grey - grey.mean((1, 2), keepdim=True)) * self.contrast + self.mean
            self._last = (source.images, images, source.forward.compute), plain.to(source.forward.compute)
        return self._last[1]

    def _noisy(self, plain, images, band, deviation):
        """Images [b, H, W] with noise of one band and standard deviation."""
        if deviation == 0:
            return plain
        made, counter = (
            torch.empty_like(plain),
            np.array([0, 0, band, np.float64(deviation).view(np.uint64)], np.uint64),
        )
        for number, y, still in zip(images, made, plain, strict=True):
            counted = np.random.Philox(key=np.array([self.seed, number], np.uint64), counter=counter)
            kept, strength = _band(white_noise(counted, y.shape), band)
            strength *= deviation
            least, most = torch.add(still, torch.from_numpy(kept), alpha=strength, out=y).aminmax()
            if least < 0 or most > 1:
                self._mend(y, still, kept, strength, np.random.Generator(counted), deviation)
        return made

    def _mend(self, y, plain, kept, strength, chance, deviation):
        """Bring the pixels of one plane that left [0, 1] back into it; its noise is `kept` times `strength`."""
        y, plain, kept = y.view(-1).numpy(), plain.reshape(-1).numpy(), kept.reshape(-1)
        at = np.flatnonzero((y < 0) | (y > 1))
        target = np.where(y[at] < 0, self.guard, 1 - self.guard)
        image = target - strength * kept[at]
        y[at] = target
        for place in at[(image < 0) | (image > 1)].tolist():
            while not 0 <= (value := float(plain[place]) + chance.standard_normal() * deviation) <= 1:
                pass
            y[place] = value


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


def white_noise(counted: np.random.Philox, shape: tuple[int, ...]) -> np.ndarray:
    """Normal numbers of a variance of 1, float32: a + b and a - b of quantiles a and b that 16 bits each choose.

    Five times as fast as a ziggurat, and nothing in it is rounded otherwise on another machine. Sum and difference of
    two normal numbers are independent. The fourth moment is 2.9996, the largest number 5.9.
    """
    count = math.prod(shape)
    half = -(-count // 2)
    chosen = counted.random_raw(-(-half // 2)).view(np.uint16)
    one, other = (_quantiles().take(chosen[start : start + half], mode="wrap") for start in (0, half))
    made = np.empty(2 * half, np.float32)
    np.add(one, other, out=made[:half])
    np.subtract(one, other, out=made[half:])
    return made[:count].reshape(shape)


@functools.cache
def _quantiles():
    """65,536 quantiles of the normal distribution, of a variance of 1/2: float32."""
    values = torch.special.ndtri((torch.arange(1 << 16, dtype=torch.float64) + 0.5) / (1 << 16)).numpy()
    return (values / np.sqrt(2 * np.square(values).mean())).astype(np.float32)


def band_of(plane: torch.Tensor, band: int) -> torch.Tensor:
    """What level `band` of the Laplacian pyramid (0: the coarsest) leaves of a plane [H, W], at the root mean square of
    the finest level."""
    kept, strength = _band(plane.numpy(), band)
    return torch.from_numpy(kept).mul_(strength)


def _band(plane, band):
    """The same as numpy arrays: what is left, and what it is to be multiplied by."""
    size, steps = plane.shape, _steps(plane.shape, torch.from_numpy(plane[:0]).dtype)
    level = len(steps) - band
    coarse = _smaller(plane)
    finest = np.subtract(plane, _larger(coarse, size))
    if level == 0:
        return finest, 1.0
    if level == 1:
        kept = coarse if level == len(steps) else coarse - _larger(_smaller(coarse), coarse.shape)
        kept = _larger(kept, size)
    else:  # the planes are so small that products with matrices take less than many small sums
        kept = _through(steps[level - 1].from_first, coarse)
        if level < len(steps):
            kept = kept - _through(steps[level].up, _through(steps[level].down, kept))
        kept = _through(steps[level - 1].to_whole, kept)
    return kept, _strength(finest) / _strength(kept)


def band_power(size: tuple[int, int], band: int) -> np.ndarray:
    """What power noise of a band has at each frequency, on the mean: float64 [H, W] in torch's layout.

    A band is a difference of two maps W -> A W B' of white noise, whose transforms' rows say all.
    """
    steps = _steps(size, torch.float64)
    level = len(steps) - band
    pairs = (
        [_of_level(steps, level, size), _of_level(steps, level + 1, size)] if band else [_of_level(steps, level, size)]
    )
    spectra = [[np.fft.fft(matrix, axis=0) for matrix in pair] for pair in pairs]
    power = 0.0
    for i, one in enumerate(spectra):
        for j, other in enumerate(spectra):
            rows, columns = ((a * b.conj()).sum(1) for a, b in zip(one, other, strict=True))
            power = power + (1 if i == j else -1) * np.outer(rows, columns).real
    return power


def _of_level(steps, level, size):
    """White noise to a level's smooth image at the whole size: float64 matrices for rows and columns."""
    if level == 0:
        return [np.eye(side) for side in size]
    step, first = steps[level - 1], steps[0].down
    return [(u @ f @ d).numpy() for u, f, d in zip(step.to_whole, step.from_first, first, strict=True)]


def _strength(plane):
    """Root mean square."""
    return math.sqrt(float(np.dot(plane.ravel(), plane.ravel())) / plane.size)


def _smaller(plane):
    """Smoothed, every other row and column of it: the taps (1, 4, 6, 4, 1) sqrt(2)/16, mirrored at the middle of the
    pixels of the edge. Both axes together are whole numbers over 128."""
    return _halved(_halved(plane).T).T * plane.dtype.type(1 / 128)


def _larger(plane, size):
    """Zeros between the rows and columns, which are then smoothed alike, to `size`."""
    plane = plane * plane.dtype.type(1 / 128)
    wide = np.empty((len(plane), size[1]), plane.dtype)
    whole = np.empty(size, plane.dtype)
    _doubled(plane.T, wide.T)
    _doubled(wide, whole)
    return whole


def _halved(x):
    """Rows of x [n, ...], smoothed by (1, 4, 6, 4, 1); every other one."""
    even, odd = x[::2], x[1::2]
    made = even * x.dtype.type(6)
    made[1:-1] += even[:-2] + even[2:]
    near = odd[:-1] + odd[1:]
    near *= 4
    made[1 : len(odd)] += near
    made[0] += 2 * even[1] + 8 * odd[0]
    if len(even) == len(odd):  # the last row is an odd one, and mirrors the last even one
        made[-1] += even[-2] + even[-1]
    else:
        made[-1] += 2 * even[-2] + 8 * odd[-1]
    return made


def _doubled(x, out):
    """Rows of x [m, ...] and zeros between them, smoothed by (1, 4, 6, 4, 1): [2 m or 2 m - 1, ...], into `out`."""
    even, odd = out[::2], out[1::2]
    np.multiply(x, x.dtype.type(6), out=even)
    even[1:-1] += x[:-2] + x[2:]
    even[0] += 2 * x[1]
    between = odd[: len(x) - 1]
    np.add(x[:-1], x[1:], out=between)
    between *= 4
    if len(even) == len(odd):
        even[-1] += x[-2] + x[-1]
        np.multiply(x[-1], 8, out=odd[-1])
    else:
        even[-1] += 2 * x[-2]


def _through(pair, plane):
    """A matrix along the rows' axis and one along the columns'."""
    return (pair[0] @ torch.from_numpy(plane) @ pair[1].T).numpy()


class _Step(NamedTuple):
    """A step of the pyramid, from level k to k + 1, as pairs of matrices for rows and columns: `down` and `up` between
    the two; `from_first`: from level 1 to k + 1; `to_whole`: from k + 1 to 0."""

    down: list
    up: list
    from_first: list
    to_whole: list


@functools.cache
def _steps(size, dtype):
    """All steps at a size. A product with a matrix is as fast as sums of shifted planes, and short."""
    steps, first, whole = [], None, None
    for _ in range(pyramid_height(size) - 1):
        smooth = [_smoothing(side) for side in size]
        down, up = [one[::2] for one in smooth], [one[:, ::2] for one in smooth]
        first = [np.eye(len(one)) for one in down] if first is None else _products(down, first)
        whole = up if whole is None else _products(whole, up)
        steps.append(
            _Step(*([torch.from_numpy(each.copy()).to(dtype) for each in pair] for pair in (down, up, first, whole)))
        )
        size = tuple(len(one) for one in down)
    return steps


def _products(left, right):
    return [one @ other for one, other in zip(left, right, strict=True)]


def _smoothing(side):
    """The taps (1, 4, 6, 4, 1) sqrt(2)/16, mirrored at the middle of the pixels of the edge: float64 [side, side]."""
    padded = np.pad(np.eye(side), ((2, 2), (0, 0)), "reflect")
    return math.sqrt(2) / 16 * sum(tap * padded[i : i + side] for i, tap in enumerate((1, 4, 6, 4, 1)))
