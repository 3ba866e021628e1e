"""Filter by masks on a coarse grid without a transform per mask: sums of the images of its cells.

A mask on a grid of cells acts as `y = sum_c bit_c x_c`, with `x_c` the image filtered by cell c alone: the effective
mask is linear in the bits, under both symmetries. The *bank* of the P images `x_c` costs P transforms per image; then a
mask costs P/4 additions per pixel (`csrc/band_bank/band_bank.h`).
"""

import math
import threading
from functools import cache

import torch

from freqkit.ops import arguments

# A bank is made for as many images at a time as fit these bytes, at least one. On the CPU each thread keeps the memory
# for its next call: fresh pages cost a quarter of the bank.
BANK_BYTES = 16 << 20
_kept = threading.local()

# (share, fixed, per_cell): K masks on P free cells cost share*P + (fixed + per_cell*P)*K, against K by transforms; the
# unit is one filtering by transform. Measured on the CPU and predicted on CUDA (benchmarks/README.md).
_COSTS = {"cpu": (1.05, 0.2, 0.008), "cuda": (1.0, 0.25, 0.024)}
_BEST_CELLS = 64  # beyond these the tables leave the first-level cache
MOST_CELLS = 1 << 14  # rows of the tables are numbered in 16 bits
_GAIN = 0.75  # the bank is taken where it is expected to need at most this share of the time


def choose(cells, masks, device_type):
    """The method expected to be faster, from shapes alone: "bank" or "fft".

    Args:
        cells: free cells P of the masks' grid, `cell_count`.
        masks: K, the masks of one call.
        device_type: "cpu" or "cuda".

    Example:
        >>> [min(k for k in range(2000) if choose(cells, k, "cpu") == "bank") for cells in (8, 16, 28, 49, 64)]
        [18, 40, 91, 326, 1769]
        >>> choose(65, 10**6, "cpu")
        'fft'
    """
    if cells > _BEST_CELLS or device_type not in _COSTS:
        return "fft"
    share, fixed, per_cell = _COSTS[device_type]
    return "bank" if share * cells + (fixed + per_cell * cells) * masks <= _GAIN * masks else "fft"


def _free_columns(size, cell, hermitian):
    """Of each row of cells how many, from the left, take part in the effective mask."""
    (h, w), (ch, cw) = size, cell
    rows, columns = h // ch, w // cw
    if not hermitian:
        return [columns] * rows
    free = []
    for row in range(rows):
        first, end = row * ch, (row + 1) * ch
        if max(first, 1 - h % 2) < min(end, h // 2):  # holds rows of bins that are canonical throughout
            free.append(columns)
        elif first <= h // 2 < end or (first == 0 and h % 2 == 0):  # only their left half is: its own partner's row
            free.append(w // 2 // cw + 1)
        else:
            free.append(0)
    return free


def cell_count(size, cell, symmetry):
    """Free cells of a grid: those whose bit changes the effective mask.

    All of them under "average", for a cell's mirror is shifted by a bin against its partner; under "hermitian" those
    that hold a canonical bin (`freqkit.BitMasks`), about half.

    Example:
        >>> cell_count((224, 224), (56, 56), "average"), cell_count((224, 224), (56, 56), "hermitian")
        (16, 11)
    """
    return sum(_free_columns(size, cell, symmetry == "hermitian"))


@cache
def _grid(size, cell, hermitian, device):
    """Bits `[P, rows, bytes]` of masks with one free cell each, and the number `[P]` of that bit in a mask."""
    cells = [(r, c) for r, count in enumerate(_free_columns(size, cell, hermitian)) for c in range(count)]
    row_bytes = -(-(size[1] // cell[1]) // 8)
    alone = torch.zeros(len(cells), size[0] // cell[0], row_bytes, dtype=torch.uint8)
    for i, (row, column) in enumerate(cells):
        alone[i, row, column // 8] = 1 << (column % 8)
    numbers = torch.tensor([8 * row_bytes * row + column for row, column in cells], dtype=torch.int32)
    return alone.to(device), numbers.to(device)


def _bank_memory(count, like):
    if like.device.type != "cpu" or count * like.element_size() > BANK_BYTES:
        return like.new_empty(count)
    kept = getattr(_kept, "memory", None)
    if kept is None or kept.numel() < count * like.element_size():
        with torch.inference_mode(False):
            kept = _kept.memory = torch.empty(count * like.element_size(), dtype=torch.uint8)
    return kept[: count * like.element_size()].view(like.dtype)


def _check(packed, height, width, mask, kind, cell):
    """What the native side cannot see, for it is handed a bank and single cells."""
    name = "freqkit::band_bank"
    arguments.sides(height, width)
    if kind not in (2, 3):
        raise ValueError(f"{name}: kind must be 2 or 3; got {kind}.")
    if len(cell) != 2 or min(cell) < 1 or height % cell[0] or width % cell[1]:
        raise ValueError(
            f"{name}: cell must be two numbers that divide the size ({height}, {width}); got {list(cell)}."
        )
    expected = (height // cell[0], -(-(width // cell[1]) // 8))
    if mask.dtype != torch.uint8 or mask.dim() != 3 or tuple(mask.shape[1:]) != expected:
        raise ValueError(f"{name}: masks must be uint8 [K, {expected[0]}, {expected[1]}]; got {list(mask.shape)}.")
    if packed.dtype not in arguments.COMPUTED or packed.dim() != 3:
        raise ValueError(f"{name}: packed must be a float32 or float64 spectrum [B, C, M]; got {list(packed.shape)}.")
    if packed.device != mask.device:
        raise ValueError(f"{name}: masks must be on the spectrum's device {packed.device}; got {mask.device}.")
    cells = cell_count((height, width), tuple(cell), "hermitian" if kind == 3 else "average")
    if cells > MOST_CELLS:
        raise ValueError(f"{name}: at most {MOST_CELLS} free cells; these masks have {cells}.")


def _into(packed, height, width, mask, kind, cell, channels_last, out):
    native = torch.ops.freqkit
    batch, channels = packed.shape[:2]
    if out.numel() == 0:
        return
    # They are kept for calls outside of inference mode.
    with torch.inference_mode(False):
        alone, numbers = _grid((height, width), tuple(cell), kind == 3, packed.device)
    count = len(numbers)
    image = channels * height * width
    step = min(max(1, BANK_BYTES // (count * image * packed.element_size())), batch)
    memory = _bank_memory(count * step * image, packed)
    shape = (height, width, channels) if channels_last else (channels, height, width)
    for first in range(0, batch, step):
        some = packed[first : first + step]
        bank = memory[: count * len(some) * image].view(count, len(some), *shape)
        images = bank.movedim(-1, -3) if channels_last else bank
        native.spectral_filter_out(some, height, width, alone, kind, cell, False, channels_last, images)
        native.band_bank_sum_out(bank, mask, numbers, out[:, first : first + step])


def register():
    """The operator's bodies and shapes; called once, when the native library is loaded."""
    library = torch.library

    @library.impl("freqkit::band_bank_out", ("cpu", "cuda"))
    def _(packed, height, width, mask, kind, cell, channels_last, out):
        _check(packed, height, width, mask, kind, cell)
        shape = (mask.shape[0], *packed.shape[:2], height, width)
        memory_format = torch.channels_last if channels_last else torch.contiguous_format
        arguments.output(out, None, memory_format, shape, packed)
        arguments.apart(out, "the spectrum", packed)
        _into(packed.contiguous(), height, width, mask, kind, cell, channels_last, out)

    @library.impl("freqkit::band_bank", ("cpu", "cuda"))
    def _(packed, height, width, mask, kind, cell, dtype, channels_last):
        _check(packed, height, width, mask, kind, cell)
        shape = (mask.shape[0], *packed.shape[:2], height, width)
        arguments.fits("spectral_filter", f"a result {list(shape)}", math.prod(shape), dtype.itemsize)
        out = _empty(packed, height, width, mask, dtype, channels_last)
        _into(packed.contiguous(), height, width, mask, kind, cell, channels_last, out)
        return out

    @library.register_fake("freqkit::band_bank")
    def _(packed, height, width, mask, kind, cell, dtype, channels_last):
        return _empty(packed, height, width, mask, dtype, channels_last)

    @library.register_fake("freqkit::band_bank_out")
    def _(packed, height, width, mask, kind, cell, channels_last, out):
        return None

    @library.register_fake("freqkit::band_bank_sum_out")
    def _(bank, mask, cells, out):
        return None


def _empty(packed, height, width, mask, dtype, channels_last):
    lead = (mask.shape[0], packed.shape[0])
    channels = packed.shape[1]
    if channels_last:
        return packed.new_empty(*lead, height, width, channels, dtype=dtype).movedim(-1, -3)
    return packed.new_empty(*lead, channels, height, width, dtype=dtype)
