"""Four-class images with planted frequencies: what a frequency-shortcut search must find.

The structure was recovered from the printed tiles of Syn_B1 ... Syn_B4 in Wang, Veldhuis, Brune,
Strisciuglio, "What do neural networks learn in image classification? A frequency shortcut perspective"
(ICCV 2023): zero phases, integer amplitudes, one colour per image, and which class holds which band.
Distributions (how many frequencies, contrast, colours) are this module's own, and named below.
"""

import math
from pathlib import Path

import numpy as np
import torch

from freqkit.data.image_set import ImageSet
from freqkit.errors import UsageError
from freqkit.files.reading import read_tensors
from freqkit.files.whole import write_json, write_safetensors

CLASSES = ("C0", "C1", "C2", "C3")
# Fewest and most frequencies drawn per image, as seen in the published tiles (C0: beside its special set).
DRAWN = {"C0": (4, 11), "C1": (10, 12), "C2": (10, 14), "C3": (7, 9)}
AMPLITUDES = (1, 7)


def synthetic(
    variant=1, *, images_per_class=200, size=32, seed=0, contrast=0.2, amplitudes=AMPLITUDES, band_edges=None
):
    """Images `0.5 + colour * unit * sum_k a_k cos(2 pi (u_k y + v_k x) / size)`, clipped to [0, 1], as uint8.

    Bands of radius r = sqrt(u^2 + v^2) in cycles/image: B1 [0, size/8) without DC, B2 [size/8, size/4),
    B3 [size/4, 3 size/8), B4 [3 size/8, corner]; at size 32 the edges are 4, 8, 12 (`band_edges` sets others).
    With b = `variant`:

    - C0: every band except b, and always the special set, the odd diagonal (k, k), k = 1, 3, ... < size/2;
    - C1: every band except b;
    - C2: every band;
    - C3: only band b.

    Per image: C0 draws 4-11 frequencies, C1 10-12, C2 10-14, C3 7-9 (uniform; as evenly over the class's
    bands as can be, at random which band gets one more; without replacement; all of a band where it holds
    fewer). The special set is never drawn otherwise. Amplitudes a_k are integers 1..7 (`amplitudes`), uniform,
    for the special set too. The colour has its channels uniform in [0.4, 1], then the largest scaled to 1. The unit
    makes the standard deviation of that channel `contrast` before clipping.

    Image i of a class under a seed is the same bits whatever `images_per_class` is (Philox counters). Use
    another seed for a test set.

    Args:
        variant: 1..4, the band b.
        images_per_class: images of each of the four classes.
        size: even side, at least 16.
        seed: integer, 0 <= seed < 2**64.
        contrast: standard deviation of the strongest colour channel, of a range of 1.
        amplitudes: least and largest a_k, integers of at least 1.
        band_edges: three rising radii in cycles/image, where B2, B3 and B4 begin.

    Returns:
        `ImageSet`, classes C0..C3, with `.truth`: class -> bool [size, size], the planted bins (centred,
        partners included): the special set for C0, every bin that may be drawn for the others.
        `.record["planted"]` counts frequencies and clipped pixels.

    Raises:
        UsageError: for an argument out of its range.

    Example:
        >>> from freqkit.data import synthetic
        >>> images = synthetic(variant=1, images_per_class=2)
        >>> {name: int(bins.sum()) for name, bins in images.truth.items()}
        {'C0': 16, 'C1': 965, 'C2': 1007, 'C3': 42}
    """
    _check_integer(variant, "variant", 1, 4)
    _check_integer(images_per_class, "images_per_class", 1, 2**31)
    _check_integer(size, "size", 16, 4096)
    _check_integer(seed, "seed", 0, 2**64 - 1)
    if size % 2:
        raise UsageError(f"synthetic: size must be even; got {size}.")
    if not isinstance(contrast, (int, float)) or not 0 < contrast <= 1:
        raise UsageError(f"synthetic: contrast must be a number with 0 < contrast <= 1; got {contrast!r}.")

    least, most = _pair(amplitudes)
    edges = _edges(band_edges, size)
    frequencies, band_of, special = _grid(size, edges)
    allowed = {
        "C0": [b for b in (1, 2, 3, 4) if b != variant],
        "C1": [b for b in (1, 2, 3, 4) if b != variant],
        "C2": [1, 2, 3, 4],
        "C3": [variant],
    }
    pools = {b: np.flatnonzero((band_of == b) & ~special) for b in (1, 2, 3, 4)}
    for b, pool in pools.items():
        if not len(pool):
            raise UsageError(f"synthetic: every band must hold a frequency; band {b} of edges {edges} holds none.")
    cosine = np.cos(2 * np.pi * np.arange(size) / size)
    y, x = np.mgrid[:size, :size]

    images = np.empty((4 * images_per_class, 3, size, size), dtype=np.uint8)
    planted = {}
    for label, name in enumerate(CLASSES):
        numbers, clipped = [], 0
        for i in range(images_per_class):
            draw = _Draws(seed, variant, label, i)
            drawn = _choose(draw, [pools[b] for b in allowed[name]], *DRAWN[name])
            if name == "C0":
                drawn = np.concatenate([np.flatnonzero(special), drawn])
            numbers.append(len(drawn))
            amplitudes = least + np.array([draw.integer(most - least + 1) for _ in drawn], dtype=np.float64)
            wave = np.zeros((size, size))
            for (u, v), amplitude in zip(frequencies[drawn].tolist(), amplitudes, strict=True):
                wave += amplitude * cosine[(u * y + v * x) % size]
            colour = 0.4 + 0.6 * np.array([draw.uniform() for _ in range(3)])
            # The variance of the wave by Parseval, in integers: half of each squared amplitude, all of it
            # where cos is +-1.
            alone = ((2 * frequencies[drawn]) % size == 0).all(1)
            variance = float((amplitudes**2 * np.where(alone, 2, 1)).sum()) / 2
            colour *= contrast / (colour.max() * math.sqrt(variance))
            pixels = 0.5 + colour[:, None, None] * wave
            clipped += int(np.count_nonzero((pixels < 0) | (pixels > 1)))
            images[label * images_per_class + i] = np.rint(255 * pixels.clip(0, 1))
        planted[name] = {
            "bands": allowed[name],
            "special_frequencies": int(special.sum()) if name == "C0" else 0,
            "frequencies_least": min(numbers),
            "frequencies_most": max(numbers),
            "frequencies_mean": sum(numbers) / len(numbers),
            "clipped_share": clipped / (images_per_class * 3 * size * size),
        }

    truth = {
        name: _centred_bins(np.concatenate([pools[b] for b in allowed[name]]), frequencies, size) for name in CLASSES
    }
    truth["C0"] = _centred_bins(np.flatnonzero(special), frequencies, size)
    record = {
        "source": "synthetic",
        "variant": variant,
        "seed": seed,
        "contrast": contrast,
        "amplitudes": [least, most],
        "band_edges": [0, *edges],
        "planted": planted,
    }
    return ImageSet(
        torch.from_numpy(images),
        torch.arange(4).repeat_interleave(images_per_class),
        CLASSES,
        [f"{name}/{i:06d}.png" for name in CLASSES for i in range(images_per_class)],
        record=record,
        truth=truth,
    )


def _grid(size, edges):
    """One (u, v) of each conjugate pair except DC, its band 1..4, and whether it is on the odd diagonal."""
    half = size // 2
    u, v = np.mgrid[-half:half, -half:half].reshape(2, -1)
    # Of a pair of indices modulo size keep the first in row-major order.
    index = (u + half) * size + (v + half)
    partner = ((-u + half) % size) * size + ((-v + half) % size)
    keep = (index <= partner) & ((u != 0) | (v != 0))
    u, v = u[keep], v[keep]
    # Squares are compared, so that no rounding of a root decides at an edge.
    band = sum((u * u + v * v >= edge * edge).astype(int) for edge in edges) + 1
    special = (u == v) & (u % 2 == 1) & (np.abs(u) < half)
    return np.stack([u, v], axis=1), band, special


def _choose(draw, pools, least, most):
    """Positions of least..most frequencies, spread over the pools as evenly as can be."""
    share, more = divmod(least + draw.integer(most - least + 1), len(pools))
    lucky = set(draw.order(len(pools))[:more])
    chosen = []
    for i, pool in enumerate(pools):
        chosen.append(pool[draw.order(len(pool))[: share + (i in lucky)]])
    return np.concatenate(chosen)


def _centred_bins(positions, frequencies, size):
    bins = torch.zeros((size, size), dtype=torch.bool)
    for u, v in frequencies[positions].tolist():
        bins[(size // 2 + u) % size, (size // 2 + v) % size] = True
        bins[(size // 2 - u) % size, (size // 2 - v) % size] = True
    return bins


class _Draws:
    """Random numbers of one image, from raw Philox blocks: numpy keeps those the same for ever, its
    distributions not."""

    def __init__(self, seed, variant, label, image):
        self.bits = np.random.Philox(counter=[0, image, label, variant], key=[seed, 0])

    def uniform(self):
        return float(self.bits.random_raw() >> 11) * 2.0**-53

    def integer(self, count):
        """Uniform in 0..count-1."""
        return int(self.uniform() * count)

    def order(self, count):
        return np.argsort(self.bits.random_raw(count), kind="stable")


def write_truth(image_set, folder):
    """Write the planted bins of a synthetic set: `truth.safetensors` (class -> uint8 [H, W], centred) and
    `truth.json` (the frequencies in cycles/image, and how the images were made).

    Example:
        >>> import tempfile
        >>> folder, images = tempfile.mkdtemp(), synthetic(1, images_per_class=1)
        >>> write_truth(images, folder)
        >>> bool((read_truth(folder)["C0"] == images.truth["C0"]).all())
        True
    """
    folder = Path(folder)
    bins = {name: kept.to(torch.uint8) for name, kept in image_set.truth.items()}
    write_safetensors(folder / "truth.safetensors", bins, {"layout": "centred"})
    frequencies = {
        name: (kept.nonzero() - kept.new_tensor(kept.shape, dtype=int) // 2).tolist()
        for name, kept in image_set.truth.items()
    }
    record = {"layout": "centred", "planted frequencies": frequencies, "images": image_set.record}
    write_json(folder / "truth.json", record)


def read_truth(folder):
    """class -> bool [H, W], the planted bins that `write_truth` wrote into a folder.

    Raises:
        UsageError: the folder holds no readable truth.safetensors.
    """
    path = Path(folder) / "truth.safetensors"
    bins, _ = read_tensors(path, "the planted bins of a synthetic set (truth.safetensors)")
    if not bins or any(
        b.dtype != torch.uint8 or b.ndim != 2 or (b.numel() and int(b.max()) > 1) for b in bins.values()
    ):
        raise UsageError(f"{path}: every class must have bins of 0 and 1, uint8 [H, W]; they are damaged.")
    return {name: b.bool() for name, b in bins.items()}


def _pair(amplitudes):
    values = list(amplitudes) if isinstance(amplitudes, (list, tuple)) else []
    whole = len(values) == 2 and all(isinstance(v, int) and not isinstance(v, bool) for v in values)
    if not whole or not 1 <= values[0] <= values[1]:
        raise UsageError(f"synthetic: amplitudes must be two integers 1 <= least <= largest; got {amplitudes!r}.")
    return values


def _edges(band_edges, size):
    if band_edges is None:
        return [size / 8, size / 4, 3 * size / 8]
    values = list(band_edges) if isinstance(band_edges, (list, tuple)) else []
    numbers = len(values) == 3 and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)
    if not numbers or not 0 < values[0] < values[1] < values[2]:
        raise UsageError(f"synthetic: band_edges must be three rising positive radii; got {band_edges!r}.")
    return [float(value) for value in values]


def _check_integer(value, name, least, most):
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise UsageError(f"synthetic: {name} must be an integer in {least}..{most}; got {value!r}.")
