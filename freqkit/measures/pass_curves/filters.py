"""The filters of pass curves: what is asked, as masks."""

import math

import torch

from freqkit.errors import UsageError
from freqkit.masks import high_pass, low_pass, ring, uncentred
from freqkit.masks.symmetry import effective
from freqkit.ops import spectral_filter


def square_filter(x: torch.Tensor, kind: str, cutoff: float) -> torch.Tensor:
    """Low-pass or high-pass by a half-open square of the DFT plane, cut to [0, 1].

    With r = int(q min(H, W)/2), q = cutoff for "low" and 1 - cutoff for "high", the rows and columns [-r, r) are kept
    by "low" and removed (with DC) by "high": a larger cutoff always keeps more. The square is not symmetric, so that of
    its rim the real part keeps half.

    Args:
        x: real [..., H, W] in [0, 1]. kind: "low" or "high". cutoff: 0 < cutoff < 1.

    Returns:
        Of the shape and dtype of x.

    Raises:
        UsageError: an argument does not fit.

    Source: Gavrikov and Keuper, CVPR 2024.

    Example:
        >>> x = torch.rand(3, 16, 16, dtype=torch.float64)
        >>> bool((square_filter(x, "low", 0.1) == 0).all()), torch.allclose(square_filter(x, "high", 0.9), x)
        (True, True)
    """
    if kind not in ("low", "high"):
        raise UsageError(f'square_filter: kind must be "low" or "high"; got {kind!r}.')
    if not isinstance(cutoff, (int, float)) or isinstance(cutoff, bool) or not 0 < cutoff < 1:
        raise UsageError(f"square_filter: cutoff must be a number with 0 < cutoff < 1; got {cutoff!r}.")
    if not torch.is_tensor(x) or not x.is_floating_point() or x.ndim < 2:
        raise UsageError("square_filter: x must be a real tensor [..., H, W].")
    mask = uncentred(_square(tuple(x.shape[-2:]), kind, cutoff)[1])
    planes = x.reshape(1, -1, *x.shape[-2:])
    return spectral_filter(planes, mask[None].to(x.device))[0].clamp(0, 1).view(x.shape).to(x.dtype)


def conditions_of(asked, size):
    """Filters, cut-offs, edges and masks [K + 1, H, W] in torch's layout, the first of everything."""
    half, filters, cutoffs, edges, masks = min(size) / 2, [], [], [], [torch.ones(size)]
    inclusive = asked["boundary"] == "inclusive"
    radii = asked["radii"] or [cutoff * half for cutoff in asked["cutoffs"]]
    shares = asked["cutoffs"] or [one / half for one in radii]
    dc = torch.zeros(size)
    dc[size[0] // 2, size[1] // 2] = 1
    for kind in asked["filters"]:
        for place, (share, limit) in enumerate(zip(shares, radii, strict=True)):
            after = radii[place + 1 : place + 2]
            if kind == "band" and not after:
                continue
            if asked["shape"] == "square":
                limits, mask = _square(size, kind, share, *shares[place + 1 : place + 2])
            elif kind == "low":
                limits, mask = (0, limit), low_pass(size, limit, inclusive=inclusive)
            elif kind == "high":
                limits, mask = (limit, math.inf), high_pass(size, limit, inclusive=not inclusive)
            else:
                limits = (limit, after[0])
                mask = ring(size, *limits, inner_inclusive=not inclusive, outer_inclusive=inclusive)
            masks.append(uncentred(torch.maximum(mask, dc) if asked["dc"] == "keep" else mask))
            filters.append(kind)
            cutoffs.append(share)
            edges.append(limits)
    return filters, cutoffs, edges, torch.stack(masks)


def _square(size, kind, cutoff, upper=None):
    """Limits in cycles/image, and the mask, float32 [H, W] centred, of a filter of half-open squares."""

    def block(share):
        radius, (h, w) = int(share * (min(size) // 2)), size
        inside = torch.zeros(h, w)
        inside[h // 2 - radius : h // 2 + radius, w // 2 - radius : w // 2 + radius] = 1
        return radius, inside

    if kind == "low":
        radius, inside = block(cutoff)
        return (0, radius), inside
    if kind == "high":
        radius, inside = block(1 - cutoff)
        return (radius, math.inf), 1 - inside
    (inner, hole), (outer, inside) = block(cutoff), block(upper)
    return (inner, outer), inside - hole


def distinct_of(masks, encoding):
    """Which masks are to be shown, and for each mask its place among them. The first is shown as it comes; others that
    keep everything are the same where the encoding leaves pixels in [0, 1] alone."""
    keys, place, shown = {}, [], []
    same = encoding in ("raw", "clip", "uint8wrap")
    for k, mask in enumerate(effective(masks, layout="torch")):
        key = "whole" if k == 0 or (same and bool((mask == 1).all())) else mask.numpy().tobytes()
        if key not in keys:
            keys[key] = len(shown)
            shown.append(k)
        place.append(keys[key])
    return shown, place
