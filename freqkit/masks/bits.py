"""Bit masks: packing, selecting, joining, and set algebra. The type itself is `freqkit.ops.BitMasks`."""

import math

import numpy as np
import torch
from torch import Tensor

from freqkit.ops.spectral_filter import BitMasks

CHUNK_BINS = 1 << 23  # bins unpacked at once: keeps temporaries in the tens of megabytes, whatever K is


def pack(cells, *, cell, size, symmetry):
    """`BitMasks` from a boolean array of cells.

    Args:
        cells: bool or 0/1 tensor or array `[K, H/ch, W/cw]`, centred.
        cell, size, symmetry: see `freqkit.ops.BitMasks`.

    Returns:
        `BitMasks` on the CPU.

    Raises:
        TypeError, ValueError: the parts do not fit together.

    Example:
        >>> import torch
        >>> pack(torch.ones(1, 4, 4), cell=(2, 2), size=(8, 8), symmetry="hermitian").bits.tolist()
        [[[15], [15], [15], [15]]]
    """
    cells = cells.cpu().numpy() if isinstance(cells, Tensor) else np.asarray(cells)
    if cells.ndim != 3:
        raise ValueError(f"pack: cells must have shape [K, H/ch, W/cw]; got {list(cells.shape)}.")
    if cells.shape[2] != size[1] // cell[1]:
        raise ValueError(f"pack: cells must have {size[1] // cell[1]} columns for cell {cell}; got {cells.shape[2]}.")
    return check_bits(BitMasks(torch.from_numpy(_pack_rows(cells)), tuple(cell), tuple(size), symmetry), "pack")


def unpack(masks):
    """The cells of `BitMasks` as drawn, before any symmetry: bool `[K, H/ch, W/cw]`, on the CPU.

    Example:
        >>> import torch
        >>> m = pack(torch.eye(4)[None], cell=(2, 2), size=(8, 8), symmetry="average")
        >>> bool((unpack(m)[0] == torch.eye(4).bool()).all())
        True
    """
    check_bits(masks, "unpack")
    return torch.from_numpy(_unpack_rows(masks.bits.cpu().numpy(), masks.size[1] // masks.cell[1])).bool()


def select(masks, index):
    """Some of the masks: `index` is an int (K stays, as 1), a slice, or a list or tensor of ints or bools.

    Example:
        >>> import torch
        >>> m = pack(torch.rand(5, 4, 4) > 0.5, cell=(2, 2), size=(8, 8), symmetry="average")
        >>> select(m, [3, 0]).bits.shape[0], select(m, 2).bits.shape[0]
        (2, 1)
    """
    check_bits(masks, "select")
    if isinstance(index, (int, np.integer)) and not isinstance(index, bool):
        index = [int(index)]
    elif not isinstance(index, slice):
        index = torch.as_tensor(index, device=masks.bits.device)
        index = index if index.dtype == torch.bool else index.long()
    return masks._replace(bits=masks.bits[index])


def pick(masks, index, device):
    """Some of `BitMasks` or dense masks, by a slice or a tensor of indices, on a device."""
    if isinstance(masks, BitMasks):
        return masks._replace(bits=masks.bits[index].to(device))
    return masks[index].to(device)


def concat(parts):
    """Join `BitMasks` of one image size and symmetry; differing cells are refined to their common grid.

    Example:
        >>> import torch
        >>> a = pack(torch.ones(1, 2, 2), cell=(6, 6), size=(12, 12), symmetry="average")
        >>> b = pack(torch.ones(2, 3, 3), cell=(4, 4), size=(12, 12), symmetry="average")
        >>> joined = concat([a, b])
        >>> joined.cell, joined.bits.shape[0]
        ((2, 2), 3)
    """
    parts = list(parts)
    if not parts:
        raise ValueError("concat: parts must hold at least one BitMasks; got none.")
    cell = common_cell(parts, "concat")
    return parts[0]._replace(bits=torch.cat([refine(part, cell).bits for part in parts]), cell=cell)


def refine(masks, cell):
    """The same masks on smaller cells, which must divide the present ones.

    Example:
        >>> import torch
        >>> m = pack(torch.eye(2)[None], cell=(4, 4), size=(8, 8), symmetry="average")
        >>> refine(m, (2, 2)).bits.tolist()
        [[[3], [3], [12], [12]]]
    """
    check_bits(masks, "refine")
    cell = tuple(cell)
    if cell == tuple(masks.cell):
        return masks
    if min(cell) < 1 or masks.cell[0] % cell[0] or masks.cell[1] % cell[1]:
        raise ValueError(f"refine: cell must divide the present cell {tuple(masks.cell)}; got {cell}.")
    rows, columns = masks.cell[0] // cell[0], masks.cell[1] // cell[1]
    wide = masks.bits
    if columns > 1:
        width = masks.size[1] // masks.cell[1]
        bits = masks.bits.cpu().numpy()
        parts = [
            _pack_rows(_unpack_rows(bits[part], width).repeat(columns, axis=2)) for part in chunks(masks, len(bits))
        ]
        if parts:
            wide = torch.from_numpy(np.concatenate(parts)).to(masks.bits.device)
        else:
            wide = masks.bits.new_empty(0, masks.bits.shape[1], -(-width * columns // 8))
    return masks._replace(bits=wide.repeat_interleave(rows, dim=1), cell=cell)


def union(a, b):
    """Bins kept by either mask. `BitMasks`: OR of the bits; dense: the larger value.

    `BitMasks` are combined as drawn, on their common grid. With symmetry "hermitian" that is the union of the
    effective masks; with "average" it need not be (half-weight bins), as in the published stages. K must
    agree, or be 1 on one side.

    Example:
        >>> import torch
        >>> union(torch.tensor([0.0, 0.5]), torch.tensor([1.0, 0.0])).tolist()
        [1.0, 0.5]
    """
    return _combine(a, b, torch.bitwise_or, torch.maximum, "union")


def intersection(a, b):
    """Bins kept by both masks. `BitMasks`: AND of the bits as drawn (see `union`); dense: the smaller value.

    Example:
        >>> import torch
        >>> intersection(torch.tensor([0.0, 0.5]), torch.tensor([1.0, 1.0])).tolist()
        [0.0, 0.5]
    """
    return _combine(a, b, torch.bitwise_and, torch.minimum, "intersection")


def complement(masks):
    """What the masks remove: bits inverted, or `1 - m`; the effective mask becomes 1 - m_eff in every case.

    Example:
        >>> import torch
        >>> complement(torch.tensor([0.0, 0.5, 1.0])).tolist()
        [1.0, 0.5, 0.0]
    """
    if not isinstance(masks, BitMasks):
        return 1 - _as_dense(masks, "complement")
    check_bits(masks, "complement")
    columns = masks.size[1] // masks.cell[1]
    valid = torch.from_numpy(_pack_rows(np.ones((1, 1, columns), bool))).to(masks.bits.device)
    return masks._replace(bits=~masks.bits & valid)


def common_cell(parts, name):
    """Cell of the coarsest grid that holds all of the given `BitMasks`; they must share size and symmetry."""
    for part in parts:
        check_bits(part, name)
    sizes, symmetries = {tuple(part.size) for part in parts}, {part.symmetry for part in parts}
    if len(sizes) > 1 or len(symmetries) > 1:
        raise ValueError(f"{name}: masks must share size and symmetry; got {sorted(sizes)} and {sorted(symmetries)}.")
    return tuple(math.gcd(*(int(part.cell[axis]) for part in parts)) for axis in (0, 1))


def check_bits(masks, name):
    """Raise one clear sentence unless `masks` is a well-formed `BitMasks`; return it."""
    if not isinstance(masks, BitMasks):
        raise TypeError(f"{name}: masks must be BitMasks; got {type(masks).__name__}.")
    bits, cell, size, symmetry = masks
    if symmetry not in ("average", "hermitian"):
        raise ValueError(f"{name}: symmetry must be 'average' or 'hermitian'; got {symmetry!r}.")
    for axis in (0, 1):
        if size[axis] < 1 or cell[axis] < 1 or size[axis] % cell[axis]:
            raise ValueError(f"{name}: cell must divide the size {tuple(size)}; got {tuple(cell)}.")
    rows, columns = size[0] // cell[0], size[1] // cell[1]
    if not isinstance(bits, Tensor) or bits.dtype != torch.uint8:
        raise TypeError(f"{name}: bits must be a uint8 tensor; got {getattr(bits, 'dtype', type(bits).__name__)}.")
    if bits.dim() != 3 or tuple(bits.shape[1:]) != (rows, -(-columns // 8)):
        raise ValueError(f"{name}: bits must have shape [K, {rows}, {-(-columns // 8)}]; got {list(bits.shape)}.")
    return masks


def chunks(masks, count):
    """Slices over K that keep the unpacked bins within CHUNK_BINS."""
    step = max(1, CHUNK_BINS // (masks.size[0] * masks.size[1]))
    return [slice(start, start + step) for start in range(0, count, step)]


def _combine(a, b, on_bits, on_values, name):
    if isinstance(a, BitMasks) != isinstance(b, BitMasks):
        raise TypeError(
            f"{name}: both masks must be BitMasks or both dense; got {type(a).__name__}, {type(b).__name__}."
        )
    if not isinstance(a, BitMasks):
        return on_values(_as_dense(a, name), _as_dense(b, name))
    cell = common_cell([a, b], name)
    a, b = refine(a, cell), refine(b, cell)
    if a.bits.shape[0] != b.bits.shape[0] and 1 not in (a.bits.shape[0], b.bits.shape[0]):
        raise ValueError(f"{name}: K must agree or be 1; got {a.bits.shape[0]} and {b.bits.shape[0]}.")
    return a._replace(bits=on_bits(a.bits, b.bits))


def _as_dense(masks, name):
    if not isinstance(masks, Tensor) or masks.is_complex():
        raise TypeError(f"{name}: masks must be BitMasks or a real tensor; got {getattr(masks, 'dtype', type(masks))}.")
    return masks if masks.is_floating_point() else masks.float()


def _pack_rows(cells):
    return np.packbits(cells.astype(bool, copy=False), axis=-1, bitorder="little")


def _unpack_rows(bits, columns):
    return np.unpackbits(bits, axis=-1, bitorder="little", count=columns)
