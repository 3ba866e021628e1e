"""Images by the energy of their frequency bands, in groups that are alike: profiles, and k-means by seed."""

import numpy as np
import torch

from freqkit.errors import UsageError
from freqkit.masks.shapes import radius

ROUNDS = 300  # of k-means, at most


def edges_of(size: tuple[int, int], bands: int) -> torch.Tensor:
    """float64 [bands + 1]: where bands begin and end, cycles/image: from 1 to the corner by equal factors; the first
    reaches down to DC, which belongs to none.

    Raises:
        UsageError: a band would hold no frequency.

    Example:
        >>> edges_of((32, 32), 4).round(decimals=2).tolist()
        [1.0, 2.0, 4.0, 8.0, 22.63]
    """
    corner, half = float(radius(size).max()), min(size) / 2
    edges = torch.tensor([max(1.0, half) ** (b / bands) for b in range(bands)] + [corner], dtype=torch.float64)
    counts = torch.bincount(band_of(size, edges).flatten() + 1, minlength=bands + 1)[1:]
    if bool((counts == 0).any()):
        raise UsageError(f"slices: bands must hold frequencies; {bands} are too many for images of {size}.")
    return edges


def band_of(size: tuple[int, int], edges: torch.Tensor) -> torch.Tensor:
    """int64 [H, W], centred: the band of each bin; -1 of DC."""
    distance = radius(size)
    found = torch.bucketize(distance, edges[1:-1], right=True)
    return torch.where(distance == 0, -1, found)


def band_energies(images: torch.Tensor, edges: torch.Tensor, block: int = 64) -> torch.Tensor:
    """float64 [n, bands]: log10 of the power of each band, in grey levels squared.

    Args:
        images: uint8 [n, 3, H, W]. edges: see `edges_of`.

    The power of a band is the sum of |X|^2 / (HW)^2 over its bins, mean over the channels, X the spectrum of the pixels
    in [0, 1], and what rounding to 1/255 adds to it on the mean, so that empty bands have a logarithm.
    """
    size = tuple(images.shape[-2:])
    band = torch.fft.ifftshift(band_of(size, edges)).flatten()
    inside, count = band >= 0, len(edges) - 1
    bins = torch.bincount(band[inside], minlength=count).double()
    rounding = bins / (12 * 255**2) / (size[0] * size[1])
    found = []
    for some in images.split(block):
        power = torch.fft.fft2(some.double() / 255).abs().square().mean(1).flatten(1) / (size[0] * size[1]) ** 2
        sums = torch.zeros(len(some), count, dtype=torch.float64).index_add_(1, band[inside], power[:, inside])
        found.append((sums + rounding).log10())
    return torch.cat(found)


def scaled(profiles: torch.Tensor) -> torch.Tensor:
    """Columns of mean 0 and standard deviation 1; of one value only, 0."""
    spread = profiles.std(0, unbiased=False)
    return (profiles - profiles.mean(0)) / torch.where(spread > 1e-9, spread, torch.inf)


def k_means(points: torch.Tensor, count: int, seed: int, restarts: int = 10) -> torch.Tensor:
    """The group of each point, int64 [n], of the least sum of squared distances to the groups' means found.

    Lloyd's rounds from centres drawn by k-means++, until nothing moves; the best of some beginnings. A group that would
    be empty takes the point that is farthest from its own mean.

    Args:
        points: float64 [n, D]. count: groups, at most n. seed: of the draws. restarts: beginnings.

    Source: Lloyd, IEEE Trans. Inf. Theory 28 (1982) 129; Arthur and Vassilvitskii, SODA 2007.

    Example:
        >>> k_means(torch.tensor([[0.0], [9.0], [0.5], [9.5]], dtype=torch.float64), 2, 0).tolist() in (
        ...     [0, 1, 0, 1], [1, 0, 1, 0])
        True
    """
    x, best, least = points.numpy(), None, np.inf
    for start in range(restarts):
        chance = np.random.Generator(np.random.Philox(key=np.array([seed, start], np.uint64)))
        own, inertia = _lloyd(x, _first_centres(x, count, chance))
        if inertia < least * (1 - 1e-12):
            best, least = own, inertia
    if best is None:  # nothing differs
        best = np.arange(len(x)) % count
    return torch.from_numpy(best)


def _first_centres(x, count, chance):
    """k-means++: each next centre a point drawn by its squared distance to the nearest one."""
    centres = [x[chance.integers(len(x))]]
    while len(centres) < count:
        far = _distances(x, np.array(centres)).min(1)
        total = far.sum()
        share = far / total if total > 0 else np.full(len(x), 1 / len(x))
        centres.append(
            x[np.searchsorted(share.cumsum(), chance.random() * share.sum(), side="right").clip(0, len(x) - 1)]
        )
    return np.array(centres)


def _lloyd(x, centres):
    own = None
    for _ in range(ROUNDS):
        distance = _distances(x, centres)
        new = distance.argmin(1)
        nearest = distance[np.arange(len(x)), new]
        for empty in np.flatnonzero(np.bincount(new, minlength=len(centres)) == 0):
            crowded = np.bincount(new, minlength=len(centres))[new] > 1
            far = int(np.where(crowded, nearest, -1).argmax())
            new[far], nearest[far] = empty, 0
        centres = np.array([x[new == k].mean(0) for k in range(len(centres))])
        if own is not None and (own == new).all():
            break
        own = new
    return own, float(((x - centres[own]) ** 2).sum())


def _distances(x, centres):
    """Squared, [n, k], point by centre."""
    return ((x[:, None] - centres[None]) ** 2).sum(2)


def ordered(own: torch.Tensor, energies: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
    """Groups numbered anew, by the mean of `centroid` over their images, rising."""
    middle = centroid(energies, edges)
    count = int(own.max()) + 1
    means = torch.zeros(count, dtype=torch.float64).index_add_(0, own, middle) / torch.bincount(own, minlength=count)
    return means.argsort(stable=True).argsort()[own]


def centroid(energies: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
    """float64 [n]: the mean of the bands' places weighted by their power: of each band the middle, cycles/image."""
    power = 10**energies
    low = torch.cat([torch.zeros(1, dtype=torch.float64), edges[1:-1]])
    return power @ ((low + edges[1:]) / 2) / power.sum(-1)
