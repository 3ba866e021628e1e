"""Thresholds of bands, and the band that they speak of."""

import functools
import math
from collections.abc import Sequence

import torch

from freqkit.errors import UsageError


def critical_band_fit(
    thresholds: Sequence[int], *, levels: int = 4, base: float = 1.75
) -> tuple[float, float, float] | None:
    """The band that thresholds t_f of bands f = 0, 1, ... speak of.

    A exp(-(f - mu)^2 / 2 s^2) is fitted to t_f by least squares with 0 <= A <= levels, from A = 1, mu = 0, s = 1. Then
    BW = 2 sqrt(ln 4) s octaves (the full width at half maximum), CF = base 2^mu cycles/image, PNS = 2^(A - levels).

    Args:
        thresholds: whole numbers in 0...levels, one for each of three bands at least: how many of the strongest noises
            are too much.
        levels: standard deviations of the noise. base: nominal centre of band 0 in cycles/image, 1.75 at 224 pixels.

    Returns:
        (BW, CF, PNS); None where they are not determined: thresholds that are all equal, or a fit that is flat, or
        narrower than a band.

    Raises:
        UsageError: an argument does not fit.

    Source: Subramanian et al., NeurIPS 2023 (arXiv 2309.13190).

    Example:
        >>> [round(value, 6) for value in critical_band_fit([0, 1, 2, 3, 4, 4, 4])]
        [5.666261, 54.677255, 1.0]
        >>> critical_band_fit([4] * 7)
    """
    given = thresholds.tolist() if torch.is_tensor(thresholds) else list(thresholds)
    if len(given) < 3 or not all(isinstance(t, int) and not isinstance(t, bool) and 0 <= t <= levels for t in given):
        raise UsageError(
            f"critical_band_fit: thresholds must be at least three whole numbers in 0...{levels}; got {given}."
        )
    found = bell_of(tuple(given), levels)
    if found is None:
        return None
    height, place, width = found
    return 2 * math.sqrt(math.log(4)) * width, base * 2**place, 2 ** (height - levels)


@functools.lru_cache(4096)
def bell_of(thresholds, levels):
    """(A, mu, s), or None."""
    import warnings

    import numpy as np
    from scipy.optimize import curve_fit

    if len({*thresholds}) == 1:
        return None

    def bell(f, height, place, width):
        return height * np.exp(-((f - place) ** 2) / (2 * width**2))

    f, bounds = np.arange(len(thresholds)), ([0, -np.inf, -np.inf], [levels, np.inf, np.inf])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of covariances, which are not asked for
        try:
            (height, place, width), _ = curve_fit(bell, f, thresholds, p0=(1, 0, 1), bounds=bounds)
        except RuntimeError:
            return None
    # Where another width, say, would do as well, the slopes along the three numbers hang together.
    away = (f - place) / width
    slopes = np.exp(-(away**2) / 2)[:, None] * np.stack([np.ones(len(f)), away / width, away**2 / width], 1)
    strengths = np.linalg.svd(slopes, compute_uv=False)
    if not height > 0 or not strengths[-1] > 1e-6 * strengths[0]:
        return None
    return float(height), float(place), abs(float(width))


def noise_thresholds(accuracy: torch.Tensor, limit: float) -> list[int]:
    """How many of the strongest noises must go in each band until the accuracy exceeds a limit.

    Args:
        accuracy: float64 [D + 1, B], without noise and with rising noise.

    Returns:
        B numbers in 0...D; D, too, where not even images without noise exceed it.
    """
    passes, last = (accuracy > limit).flip(0), len(accuracy) - 1
    return torch.where(passes.any(0), passes.int().argmax(0), last).tolist()
