"""Effective masks: what a mask amounts to on real images, how much of the plane it touches, and its identity.

For a real image X(-f) = conj X(f), so that `Re IDFT(m X) = IDFT(m_eff X)` with `m_eff(f) = (m(f) + m(-f))/2`.
Every function here speaks of m_eff. Dense masks are centred (DC at `[H//2, W//2]`) unless `layout="torch"`
(DC at `[0, 0]`) is given; `BitMasks` are always centred.
"""

import hashlib
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from freqkit.masks.bits import BitMasks, check_bits, chunks, refine

LAYOUTS = ("centred", "torch")


def centred(masks):
    """torch's layout (DC at [0, 0]) to centred (DC at `[H//2, W//2]`); last two axes only.

    Example:
        >>> import torch
        >>> centred(torch.tensor([[1, 2, 3]])).tolist()
        [[3, 1, 2]]
    """
    return torch.fft.fftshift(masks, dim=(-2, -1))


def uncentred(masks):
    """Centred layout to torch's; last two axes only. Inverse of `centred`, for odd sizes too.

    Example:
        >>> import torch
        >>> uncentred(centred(torch.arange(5)[None])).tolist()
        [[0, 1, 2, 3, 4]]
    """
    return torch.fft.ifftshift(masks, dim=(-2, -1))


def partner(masks):
    """The value of each bin's partner, m(-f), of centred dense masks `[..., H, W]`.

    Example:
        >>> import torch
        >>> partner(torch.arange(4.0)[None]).tolist()    # DC is column 2; column 0 is its own partner
        [[0.0, 3.0, 2.0, 1.0]]
    """
    h, w = masks.shape[-2:]
    return torch.roll(masks.flip(-2, -1), (1 - h % 2, 1 - w % 2), (-2, -1))


def canonical(height, width):
    """Bool `[H, W]`, centred: one bin of each pair (f, -f), and every self-paired bin.

    Rows `h < H//2` other than row 0 of an even H; and the bins `w <= W//2` of the self-paired rows.

    Example:
        >>> int(canonical(4, 4).sum())      # (16 + 4 self-paired) / 2
        10
    """
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    self_paired = (rows == height // 2) | ((rows == 0) & (height % 2 == 0))
    return torch.where(self_paired, columns <= width // 2, rows < height // 2)


def effective(masks, *, layout="centred"):
    """The effective masks `m_eff(f) = (m(f) + m(-f))/2`.

    Args:
        masks: `BitMasks` (K of them), or real dense masks `[..., H, W]` in `layout`.
        layout: of dense input and of the result: "centred" or "torch".

    Returns:
        For `BitMasks` float32 `[K, H, W]` with values 0, ½, 1 ("hermitian": 0, 1), on their device. For dense
        masks the same shape; float64 stays float64, all else becomes float32.

    Raises:
        TypeError, ValueError: the masks are neither, are complex, or hold NaN or infinity.

    Example:
        >>> import torch
        >>> m = torch.zeros(4, 4); m[1, 1] = 1
        >>> effective(m).tolist()
        [[0.0, 0.0, 0.0, 0.0], [0.0, 0.5, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.5]]
    """
    _check_layout(layout, "effective")
    if isinstance(masks, BitMasks):
        check_bits(masks, "effective")
        result = torch.empty(masks.bits.shape[0], *masks.size, dtype=torch.float32)
        for part in chunks(masks, masks.bits.shape[0]):
            torch.mul(torch.from_numpy(_halves(masks, part)), 0.5, out=result[part])
        return _laid_out(result, layout).to(masks.bits.device)
    masks = _dense(masks, "effective")
    if layout == "torch":
        return uncentred(effective(centred(masks)))
    return (masks + partner(masks)) / 2


def to_dense(masks, *, layout="centred"):
    """Dense effective masks of `BitMasks`, float32 `[K, H, W]`: they filter as the bits do.

    `layout="torch"` is what `freqkit.spectral_filter` takes; "centred" is what DFM files hold.

    Example:
        >>> import torch
        >>> from freqkit.masks import pack
        >>> m = pack(torch.ones(1, 2, 2), cell=(2, 2), size=(4, 4), symmetry="average")
        >>> to_dense(m, layout="torch").shape
        torch.Size([1, 4, 4])
    """
    check_bits(masks, "to_dense")
    return effective(masks, layout=layout)


def hermitian(masks):
    """Exactly symmetric masks: the canonical half of the bins, copied to the partners (see `canonical`).

    Args:
        masks: `BitMasks`, or real dense centred masks `[..., H, W]`.

    Returns:
        The same kind; binary masks stay binary.

    Example:
        >>> import torch
        >>> m = torch.zeros(4, 4); m[1, 1] = 1
        >>> hermitian(m)[3, 3].item()
        1.0
    """
    if isinstance(masks, BitMasks):
        return check_bits(masks, "hermitian")._replace(symmetry="hermitian")
    masks = _dense(masks, "hermitian")
    return torch.where(canonical(*masks.shape[-2:]).to(masks.device), masks, partner(masks))


def set_dc(masks, keep=True):
    """The same masks with the DC bin kept (or dropped); `BitMasks` are refined to single-bin cells for it.

    Example:
        >>> import torch
        >>> bool(keeps_dc(set_dc(torch.zeros(1, 8, 8))))
        True
    """
    if isinstance(masks, BitMasks):
        fine = refine(masks, (1, 1))
        row, (byte, bit) = masks.size[0] // 2, divmod(masks.size[1] // 2, 8)
        bits = fine.bits.clone()
        if keep:
            bits[:, row, byte] |= 1 << bit
        else:
            bits[:, row, byte] &= 255 - (1 << bit)
        return fine._replace(bits=bits)
    masks = _dense(masks, "set_dc").clone()
    masks[..., masks.shape[-2] // 2, masks.shape[-1] // 2] = float(keep)
    return masks


def dc_weight(masks, *, layout="centred"):
    """Weight of the mean colour, m_eff at DC: float64 `[K]` on the CPU (one dense `[H, W]` mask: K = 1).

    Example:
        >>> import torch
        >>> dc_weight(torch.full((2, 3, 3), 0.25)).tolist()
        [0.25, 0.25]
    """
    if isinstance(masks, BitMasks):
        check_bits(masks, "dc_weight")
        row, (byte, bit) = (
            masks.size[0] // 2 // masks.cell[0],
            divmod(masks.size[1] // 2 // masks.cell[1], 8),
        )
        return (masks.bits[:, row, byte] >> bit & 1).double().cpu()
    masks = _planes(masks, layout, "dc_weight")
    return masks[:, masks.shape[1] // 2, masks.shape[2] // 2].double().cpu()


def keeps_dc(masks, *, layout="centred"):
    """Whether the mean colour survives at all (any weight but 0): bool `[K]`.

    Example:
        >>> import torch
        >>> keeps_dc(torch.zeros(1, 4, 4)).tolist()
        [False]
    """
    return dc_weight(masks, layout=layout) != 0


class Coverage(NamedTuple):
    """Shares of the H*W bins, float64 `[K]` each; all of the effective mask.

    Attributes:
        touched: share of bins with m_eff != 0.
        full: share of bins with m_eff == 1.
        power: sum(m_eff²)/(H W), the share of a white image's power that passes.
        mean: mean of m_eff, which is also the mean of the mask as drawn ("average") or as mirrored
            ("hermitian").
        dc: weight of the DC bin.
    """

    touched: Tensor
    full: Tensor
    power: Tensor
    mean: Tensor
    dc: Tensor


def coverage(masks, *, layout="centred"):
    """How much of the frequency plane the effective masks cover; see `Coverage`.

    Args:
        masks: `BitMasks`, or real dense masks `[K, H, W]` or `[H, W]` in `layout`.

    Example:
        >>> import torch
        >>> m = torch.zeros(8, 8); m[2:4, 2:4] = 1      # an isolated 2x2 cell whose mirror is empty
        >>> c = coverage(m)
        >>> c.touched.item() * 64, c.full.item() * 64, c.power.item() * 64
        (8.0, 0.0, 2.0)
    """
    if isinstance(masks, BitMasks):
        check_bits(masks, "coverage")
        counts = []
        for part in chunks(masks, masks.bits.shape[0]):
            halves = _halves(masks, part)
            counts.append([np.count_nonzero(halves, axis=(1, 2)), np.count_nonzero(halves == 2, axis=(1, 2))])
        shares = np.concatenate(counts, axis=1) if counts else np.zeros((2, 0))
        touched, full = torch.from_numpy(shares).double() / (masks.size[0] * masks.size[1])
        half = touched - full
        return Coverage(touched, full, full + half / 4, full + half / 2, dc_weight(masks))
    planes = effective(_planes(masks, layout, "coverage")).double().cpu()
    return Coverage(
        (planes != 0).double().mean((1, 2)),
        (planes == 1).double().mean((1, 2)),
        planes.square().mean((1, 2)),
        planes.mean((1, 2)),
        dc_weight(planes),
    )


def content_hash(masks, *, layout="centred"):
    """Identity of each effective mask: list of K sha256 hex strings.

    Two masks have the same hash exactly when they filter real images alike: bits or dense, whatever the
    cells, the layout or the half on which they were drawn. Hashed are `"freqkit mask 1 {H} {W} {form}\\n"`
    and the rows 0..H//2 of the centred effective mask (the others follow by symmetry): form "halves" when all
    its values are 0, ½, 1 (bits of m_eff > 0, then bits of m_eff == 1, least significant first, each row
    padded to bytes), else "float32" (little endian). Dense masks are compared in float32. 5,000
    bit masks at 224 take about a third of a second.

    Args:
        masks: `BitMasks`, or real dense masks `[K, H, W]` or `[H, W]` in `layout`.

    Example:
        >>> import torch
        >>> from freqkit.masks import pack
        >>> bits = pack(torch.eye(2)[None], cell=(2, 2), size=(4, 4), symmetry="average")
        >>> content_hash(bits) == content_hash(to_dense(bits))
        True
    """
    if isinstance(masks, BitMasks):
        check_bits(masks, "content_hash")
        (h, w), digests = masks.size, []
        head = f"freqkit mask 1 {h} {w} halves\n".encode()
        for part in chunks(masks, masks.bits.shape[0]):
            halves = _halves(masks, part, rows=h // 2 + 1)
            touched, full = _bits_of(halves != 0), _bits_of(halves == 2)
            digests += [
                hashlib.sha256(head + t.tobytes() + f.tobytes()).hexdigest() for t, f in zip(touched, full, strict=True)
            ]
        return digests
    planes = effective(_planes(masks, layout, "content_hash")).to(torch.float32).cpu()
    h, w = planes.shape[1:]
    return [_dense_digest(plane, h, w) for plane in planes[:, : h // 2 + 1].contiguous().numpy()]


def unique(masks, *, layout="centred"):
    """Distinct effective masks.

    Returns:
        (indices, inverse): int64 `[U]`, the first mask of each kind in order of appearance, and int64 `[K]`,
        so that mask k equals mask `indices[inverse[k]]`.

    Example:
        >>> import torch
        >>> a, b = torch.zeros(4, 4), torch.ones(4, 4)
        >>> [t.tolist() for t in unique(torch.stack([b, a, b]))]
        [[0, 1], [0, 1, 0]]
    """
    seen, indices, inverse = {}, [], []
    for k, digest in enumerate(content_hash(masks, layout=layout)):
        if digest not in seen:
            seen[digest] = len(indices)
            indices.append(k)
        inverse.append(seen[digest])
    return torch.tensor(indices, dtype=torch.int64), torch.tensor(inverse, dtype=torch.int64)


def _halves(masks, part, rows=None):
    """2 * m_eff of some masks, uint8 `[k, rows, W]`, centred; `rows` counts from the top, default all."""
    (h, w), (ch, cw) = masks.size, masks.cell
    rows = h if rows is None else rows
    cells = np.unpackbits(masks.bits[part].cpu().numpy(), axis=-1, bitorder="little", count=w // cw)
    bins = cells.repeat(cw, axis=2) if cw > 1 else cells
    row = np.arange(rows)
    # Index by cell row, so that tall cells are never spread out for the half that is not looked at.
    drawn, mirror = bins[:, row // ch], bins[:, (2 * (h // 2) - row) % h // ch]
    other = np.empty_like(mirror)
    if w % 2:
        other[:] = mirror[:, :, ::-1]
    else:
        other[:, :, 0], other[:, :, 1:] = mirror[:, :, 0], mirror[:, :, :0:-1]
    if masks.symmetry == "average":
        return np.add(drawn, other, out=other)
    keep = canonical(h, w).numpy()[:rows]
    np.copyto(other, drawn, where=keep)
    return np.left_shift(other, 1, out=other)


def _dense_digest(plane, h, w):
    twice = plane * 2
    if np.isin(twice, (0, 1, 2)).all():
        payload = _bits_of(plane != 0).tobytes() + _bits_of(plane == 1).tobytes()
        form = "halves"
    else:
        payload, form = (plane + 0.0).astype("<f4").tobytes(), "float32"  # + 0.0: minus zero is zero
    return hashlib.sha256(f"freqkit mask 1 {h} {w} {form}\n".encode() + payload).hexdigest()


def _bits_of(flags):
    return np.packbits(flags, axis=-1, bitorder="little")


def _dense(masks, name):
    if not isinstance(masks, Tensor) or masks.is_complex():
        raise TypeError(f"{name}: masks must be BitMasks or a real tensor; got {getattr(masks, 'dtype', type(masks))}.")
    if masks.dim() < 2 or 0 in masks.shape[-2:]:
        raise ValueError(f"{name}: dense masks must have shape [..., H, W] with H, W >= 1; got {list(masks.shape)}.")
    masks = masks if masks.dtype == torch.float64 else masks.float()
    if not torch.isfinite(masks).all():
        raise ValueError(f"{name}: masks must be finite; got NaN or infinity.")
    return masks


def _planes(masks, layout, name):
    """Dense masks as centred `[K, H, W]`."""
    _check_layout(layout, name)
    masks = _dense(masks, name)
    if masks.dim() > 3:
        raise ValueError(f"{name}: dense masks must have shape [K, H, W] or [H, W]; got {list(masks.shape)}.")
    masks = masks[None] if masks.dim() == 2 else masks
    return centred(masks) if layout == "torch" else masks


def _laid_out(masks, layout):
    return uncentred(masks) if layout == "torch" else masks


def _check_layout(layout, name):
    if layout not in LAYOUTS:
        raise ValueError(f"{name}: layout must be 'centred' or 'torch'; got {layout!r}.")
