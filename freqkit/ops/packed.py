"""The private layout of a spectrum: how many numbers a plane takes, and to and from the half plane."""

from functools import lru_cache

import torch

_LANES = [0, 0]


def learn_lanes():
    """Ask the native library, once it is loaded; the answer is a number by then where a compiler looks on."""
    _LANES[:] = torch.ops.freqkit.lanes(False), torch.ops.freqkit.lanes(True)


def lanes(dtype):
    """Rows that a vector of the instruction set in use holds side by side; a copy in half precision keeps float32's."""
    return _LANES[1 if dtype is torch.float64 else 0]  # torch.compile before 2.14 takes no bool as an index


def packed_size(device_type, dtype, h, w):
    """Real numbers per plane of a packed spectrum.

    CPU: rows ky < (H+1)//2 in groups of `lanes`, `[group][kx][re, im][lane]`, then for even H the row H/2,
    `[kx][re, im]`; padded to a multiple of 16.
    CUDA: `[ky <= H//2][kx][re, im]`.
    """
    if device_type != "cpu":
        return (h // 2 + 1) * w * 2
    count = lanes(dtype)
    groups = -(-((h + 1) // 2) // count)
    return -(-(groups * w * 2 * count + (2 * w if h % 2 == 0 else 0)) // 16) * 16


def unpack(packed, h, w):
    """Packed `[B, C, M]` -> real and imaginary part of the rows ky = 0 .. H//2, real `[B, C, H//2+1, W, 2]`."""
    b, c, _ = packed.shape
    if packed.device.type != "cpu":
        return packed.reshape(b, c, h // 2 + 1, w, 2)
    count, rows = lanes(packed.dtype), (h + 1) // 2
    groups = -(-rows // count)
    main = packed[..., : groups * w * 2 * count].reshape(b, c, groups, w, 2, count)
    main = main.permute(0, 1, 2, 5, 3, 4).reshape(b, c, groups * count, w, 2)[:, :, :rows]
    if h % 2 == 0:
        main = torch.cat([main, packed[..., groups * w * 2 * count :][..., : 2 * w].reshape(b, c, 1, w, 2)], dim=2)
    return main


def as_complex(pairs):
    """Real `[..., 2]`, anywhere in memory, as complex numbers. (`torch.view_as_complex` wants pairs at even places.)"""
    return torch.complex(pairs[..., 0], pairs[..., 1])


def pack(half, h, w):
    """The way back: real `[B, C, H//2+1, W, 2]` -> `[B, C, M]` in the layout of its device and of this machine."""
    b, c = half.shape[:2]
    if half.device.type != "cpu":
        return half.reshape(b, c, -1)
    count, rows = lanes(half.dtype), (h + 1) // 2
    groups = -(-rows // count)
    main = half.new_zeros(b, c, groups * count, w, 2)
    main[:, :, :rows] = half[:, :, :rows]
    main = main.view(b, c, groups, count, w, 2).permute(0, 1, 2, 4, 5, 3).reshape(b, c, groups * w * 2 * count)
    packed = half.new_zeros(b, c, packed_size("cpu", half.dtype, h, w))
    packed[..., : main.shape[-1]] = main
    if h % 2 == 0:
        packed[..., main.shape[-1] : main.shape[-1] + 2 * w] = half[:, :, rows].flatten(-2)
    return packed


def _partners(device, dtype, h, w):
    """Of each number of a plane the place of its partner -f in the rows 0 and H/2, elsewhere its own; and its sign."""
    with torch.inference_mode(False):
        size, count = packed_size(device.type, dtype, h, w), 1 if device.type != "cpu" else lanes(dtype)
        place, sign = torch.arange(size), torch.ones(size, dtype=dtype)
        kx = torch.arange(w)
        last = -(-((h + 1) // 2) // count) * w * 2 * count
        for first, step in [(0, count), (last, 1)][: 1 + (h % 2 == 0)]:
            for part in (0, 1):
                place[first + (2 * kx + part) * step] = first + (2 * (-kx % w) + part) * step
            sign[first + (2 * kx + 1) * step] = -1
        return place.to(device), sign.to(device)


_kept_partners = lru_cache(8)(_partners)


def hermitian(packed, h, w):
    """The spectrum of real images nearest to the numbers: a spectrum as it is, any other made symmetric in rows 0 and
    H/2, which stand for both halves. So that derivatives to the numbers of a spectrum are those of this map, too.
    """
    find = _partners if torch.compiler.is_compiling() else _kept_partners
    place, sign = find(packed.device, packed.dtype, h, w)
    return (packed + sign * packed[..., place]) * 0.5
