"""Calls of the operator drawn at random: the right values, or one sentence, and no byte changed that is not its own.

    python tests/fuzz/operator_calls.py --calls 100000 --seed 0
    python tests/fuzz/operator_calls.py --seed 0 --only 4711        # one of them again

A call is drawn from (seed, number) alone. It fails when its values are not those of the float64 twin, when it changes
an input or a byte around `out`, when it raises what it should take or takes what it should refuse, when a refusal is
not one sentence of TypeError, ValueError or IndexError (or RuntimeError of an operator called by hand), and when it
kills the process. Calls are made in child processes, a block at a time: a crash costs one call, and has a number.

What is legal is decided here from the addresses of the elements, one by one, not by the rules of the operator.
"""

import argparse
import functools
import math
import mmap
import os
import pickle
import random
import re
import signal
import struct
import sys
import time
import traceback
from collections import Counter

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch

import freqkit
from freqkit.ops import band_bank, extension
from freqkit.ops.packed import packed_size
from freqkit.reference import spectral_filter as reference
from tests.tolerances import RELATIVE

BLOCK = 1000  # calls of one child process
SECONDS = 120  # of one call
FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
HALF_UNIT = {torch.float32: 2.0**-24, torch.float64: 2.0**-53, torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}
SMALLEST = {torch.float32: 1e-40, torch.float64: 1e-300, torch.float16: 2.0**-24, torch.bfloat16: 1e-38}
NATIVE = extension.build_info()["operator"] == "native"  # the transforms of torch round by the company they come in
INSIDES = re.compile(r"\.(cpp|h|cuh|py)\b|C\+\+|INTERNAL ASSERT|Exception raised|0x[0-9a-f]{4}")
REFUSALS = (TypeError, ValueError, IndexError)


class Fault(Exception):
    """What is wrong with a call."""


# ---- drawing --------------------------------------------------------------------------------------------------------


class Draw:
    """Everything about one call, from its seed and number; `notes` say what was drawn."""

    def __init__(self, seed, number):
        self.random = random.Random(f"{seed}/{number}")
        self.numbers = torch.Generator().manual_seed(self.random.getrandbits(60))
        self.notes = []
        self.kept = []  # (name, buffer, copy of its bytes, bytes that may change)
        self.faults = []  # why the call must be refused

    def chance(self, share):
        return self.random.random() < share

    def one(self, *choices):
        return self.random.choice(choices)

    def note(self, **facts):
        self.notes.append(" ".join(f"{name}={value}" for name, value in facts.items()))

    def sides(self):
        kind = self.random.random()
        if kind < 0.9:

            def side():
                return self.random.choice((1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15, 16, 17, 19, 20, 23, 24))
        elif kind < 0.995:

            def side():
                return self.random.choice((1, 2, 8, 25, 31, 32, 33, 48, 64))
        else:

            def side():
                return self.random.choice((32, 64, 97, 128, 224))

        height = side()
        return height, height if self.chance(0.3) else side()

    def count(self, most=4, none=0.02):
        return 0 if self.chance(none) else self.random.randint(1, most)

    def fill(self, count, dtype):
        """Numbers of a dtype; 1-D."""
        if dtype == torch.bool:
            return torch.rand(count, generator=self.numbers) < 0.5
        if dtype == torch.uint8:
            return torch.randint(0, 256, (count,), generator=self.numbers, dtype=dtype)
        if not dtype.is_floating_point:
            return torch.randint(-2, 4, (count,), generator=self.numbers, dtype=dtype)
        made = torch.float64 if dtype == torch.float64 else torch.float32
        values = torch.randn(count, generator=self.numbers, dtype=made)
        return values.to(dtype)

    def place(self, shape, *, writable=False):
        """(strides, offset, length of the buffer) in numbers: any order, steps, gaps; inputs may overlap themselves."""
        kind = self.random.random()
        dims = list(range(len(shape)))
        if kind < 0.3:
            order = dims  # contiguous
        elif kind < 0.45 and len(shape) >= 4:
            order = [*dims[:-3], dims[-2], dims[-1], dims[-3]]  # channels-last
        else:
            order = self.random.sample(dims, len(dims))
        plain = kind < 0.6
        strides, step = [0] * len(shape), 1
        for dim in reversed(order):
            if not plain:
                step *= self.one(1, 1, 2, 3)
                step += self.one(0, 0, 0, 1, 5)
            strides[dim] = step
            if shape[dim] == 1 and self.chance(0.2):
                strides[dim] = self.one(0, 1, 7, 10**6)  # means nothing
            step *= max(shape[dim], 1)
        if not writable and kind > 0.85:
            for dim in dims:
                if self.chance(0.4):
                    strides[dim] = self.one(0, 0, 1, 2)  # expanded, or windows that overlap
        offset = self.one(0, 0, 0, 1, 3, 16, 17)
        last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) if all(shape) else offset - 1
        return strides, offset, last + 1 + self.one(0, 0, 0, 1, 9)

    def view(self, name, shape, dtype):
        """A tensor of the shape in a buffer of its own, which must keep its bytes."""
        strides, offset, length = self.place(shape)
        buffer = self.fill(length, dtype)
        self.keep(name, buffer)
        self.note(**{name: f"{dtype}{list(shape)}", "strides": strides, "offset": offset})
        return buffer.as_strided(shape, strides, offset)

    def keep(self, name, buffer, own=None):
        self.kept.append((name, buffer, bytes_of(buffer).clone(), own))

    def unchanged(self):
        for name, buffer, before, own in self.kept:
            now = bytes_of(buffer)
            differ = now != before
            if own is not None:
                differ &= ~own
            if bool(differ.any()):
                raise Fault(f"{int(differ.sum())} bytes of {name} changed, the first at {int(differ.nonzero()[0])}")


def bytes_of(buffer):
    return buffer.detach().view(torch.uint8)


def places(tensor):
    """Addresses of the elements, in the order of the elements, by walking the strides."""
    found = np.zeros((), np.int64)
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        found = np.add.outer(found, np.arange(size, dtype=np.int64) * stride)
    return tensor.data_ptr() + found * tensor.element_size()


def touched(tensor):
    """Every byte address of the tensor's elements."""
    return np.unique(np.add.outer(places(tensor).ravel(), np.arange(tensor.element_size())).ravel())


def overlap(one, other):
    return len(np.intersect1d(touched(one), touched(other), assume_unique=True)) > 0


def lies_as(tensor, channels_last):
    """Whether the elements lie one after the other in this order."""
    found = places(tensor)
    found = np.moveaxis(found, -3, -1) if channels_last else found
    return found.size == 0 or bool((np.diff(found.ravel()) == tensor.element_size()).all())


# ---- masks ----------------------------------------------------------------------------------------------------------


@functools.lru_cache(512)
def cells_of(size, cell, symmetry):
    """The two numbers of cells `[H, W]`, uncentred, whose bits' mean is the effective mask."""
    (h, w), (ch, cw) = size, cell
    row, column = np.mgrid[:h, :w]
    partner = (2 * (h // 2) - row) % h, (2 * (w // 2) - column) % w
    wide = 8 * -(-(w // cw) // 8)
    here, there = row // ch * wide + column // cw, partner[0] // ch * wide + partner[1] // cw
    if symmetry == "hermitian":
        paired = (row == h // 2) | ((h % 2 == 0) & (row == 0))
        canonical = np.where(paired, column <= w // 2, row < h // 2)
        here = there = np.where(canonical, here, there)
    shift = -(h // 2), -(w // 2)
    return tuple(torch.from_numpy(np.roll(cells, shift, (0, 1)).copy()) for cells in (here, there))


def weights_of_bits(masks):
    """As `reference.bit_masks`, without a loop over bins."""
    here, there = cells_of(masks.size, masks.cell, masks.symmetry)
    bits = np.unpackbits(np.ascontiguousarray(masks.bits.numpy()), axis=-1, bitorder="little")
    bits = torch.from_numpy(bits.reshape(len(bits), bits.shape[1] * bits.shape[2])).double()
    return (bits[:, here] + bits[:, there]) / 2


def whole_plane(masks, width):
    """As `reference.full_plane`, without a loop over bins."""
    height, have = masks.shape[1:]
    if have == width:
        return masks
    row, column = -torch.arange(height) % height, width - torch.arange(have, width)
    return torch.cat([masks, masks[:, row][:, :, column]], dim=-1)


def draw_masks(draw, h, w, count, dtype):
    """(masks to hand over, their dense weights in the compute dtype as float64 `[K, H, W]`, storage)."""
    if draw.chance(0.35):
        return draw_bits(draw, h, w, count)
    half = draw.chance(0.4)
    shape = (count, h, w // 2 + 1 if half else w)
    kind = draw.one(dtype, dtype, dtype, dtype, *FLOATS, torch.bool, torch.uint8, torch.int64, torch.int16)
    masks = draw.view("masks", shape, kind)
    if count and masks.numel() and draw.chance(0.15):
        base = draw.kept[-1][1]
        base.fill_(draw.one(0, 1))
        refresh(draw)
    elif kind.is_floating_point and masks.numel() and draw.chance(0.02):
        masks[draw.random.randrange(count)][-1, -1] = draw.one(float("nan"), float("inf"), -float("inf"))
        refresh(draw)
        draw.faults.append("masks are not finite")
    return masks, whole_plane(masks.to(dtype).double(), w), masks


def refresh(draw):
    name, buffer, _, own = draw.kept.pop()
    draw.keep(name, buffer, own)


def draw_bits(draw, h, w, count):
    def divisor(n):
        return draw.random.choice([d for d in range(1, n + 1) if n % d == 0])

    cell = divisor(h), divisor(w)
    if draw.chance(0.3):
        cell = max(d for d in range(1, h + 1) if h % d == 0 and (d < h or h == 1)), divisor(w)
    if draw.chance(0.1):
        count *= draw.one(8, 40)  # as many as the bank is chosen for
    symmetry = draw.one("average", "hermitian")
    bits = draw.view("bits", (count, h // cell[0], -(-(w // cell[1]) // 8)), torch.uint8)
    kind = draw.random.random()
    if kind < 0.15:
        draw.kept[-1][1].fill_(draw.one(0, 255, 1))
        refresh(draw)
    elif kind < 0.25 and count > 1 and len(np.unique(places(bits))) == bits.numel():
        bits[-1] = bits[0].clone()
        refresh(draw)
    draw.note(cell=cell, symmetry=symmetry)
    as_numpy = draw.chance(0.1)
    given = freqkit.BitMasks(
        bits,
        tuple(np.int64(c) for c in cell) if as_numpy else list(cell) if draw.chance(0.1) else cell,
        (h, w),
        symmetry,
    )
    return given, weights_of_bits(freqkit.BitMasks(bits, cell, (h, w), symmetry)), bits


# ---- calls ----------------------------------------------------------------------------------------------------------


def draw_images(draw, *, none=0.02):
    h, w = draw.sides()
    big = h * w > 2500
    x = draw.view("x", (draw.count(2 if big else 4, none), draw.count(3, none), h, w), draw.one(torch.float32, *FLOATS))
    kind = draw.random.random()
    if kind < 0.06 and x.numel():
        at = tuple(draw.random.randrange(n) for n in x.shape)
        x[at] = draw.one(float("nan"), float("inf"), -float("inf"))
        refresh(draw)
    elif kind < 0.1:
        draw.kept[-1][1].fill_(draw.one(0, 1))
        refresh(draw)
    elif kind < 0.2 and x.dtype != torch.float16:
        draw.kept[-1][1].mul_(draw.one(1e-6, 1e6, 255))
        refresh(draw)
    return x


def draw_values(draw, name, channels, dtype):
    """(what is handed over as mean or std, its C numbers in the compute dtype as float64)."""
    if draw.chance(0.3):
        return None, None
    several = draw.chance(0.7)
    count = channels if several else 1
    numbers = [draw.random.uniform(0.1, 3) if name == "std" else draw.random.uniform(-1, 1) for _ in range(count)]
    kind = draw.one("list", "tuple", "tensor", "tensors", "numpy", "strided")
    kept = torch.float64 if draw.chance(0.5) else torch.float32
    if draw.chance(0.03):
        wrong = draw.one("count", "nan", "zero", "bool", "complex", "text")
        if wrong == "count" or not numbers:
            numbers = [1.0] * (channels + draw.one(1, 2) + (channels == 0))
        elif wrong == "zero" and name == "std":
            numbers[-1] = draw.one(0.0, -1.0)
        elif wrong == "complex":
            draw.faults.append(f"{name} complex")
            return torch.ones(1, dtype=torch.complex64), None
        elif wrong == "text":
            draw.faults.append(f"{name} text")
            return draw.one("0.5", object(), [None], [True], True, {1: 2}), None
        else:
            numbers[-1] = draw.one(float("nan"), float("inf"), 1e400)
        draw.faults.append(f"{name} {wrong}")
        return numbers, None
    if kind in ("tensor", "tensors", "numpy", "strided"):
        numbers = torch.tensor(numbers, dtype=kept).tolist()
    exact = torch.tensor(numbers, dtype=torch.float64).to(dtype).double().expand(channels)
    if not several and kind in ("list", "tuple") and draw.chance(0.5):
        return numbers[0], exact
    made = {
        "list": lambda: numbers,
        "tuple": lambda: tuple(numbers),
        "tensor": lambda: torch.tensor(numbers, dtype=kept).reshape(
            draw.one((-1,), (1, -1, 1, 1)) if numbers else (-1,)
        ),
        "tensors": lambda: [torch.tensor(number, dtype=kept) for number in numbers],
        "numpy": lambda: torch.tensor(numbers, dtype=kept).numpy(),
        "strided": lambda: torch.tensor([n for number in numbers for n in (number, 7.0)], dtype=kept)[::2],
    }
    return made[kind](), exact


def normal(x, mean, std, dtype):
    """(x - mean)/std in float64, and the size of what is rounded `[B, C]`."""
    values = x.detach().to(dtype).double()
    size = values.flatten(2).norm(dim=-1)
    if mean is not None:
        values = values - mean[:, None, None]
        size = size + mean.abs() * (x.shape[2] * x.shape[3]) ** 0.5
    if std is not None:
        values, size = values / std[:, None, None], size / std
    return values, size


def close(what, y, expected, bound, dtype):
    """Refuse planes (the last two dimensions) that are further from the expected than rounding explains.

    `bound`: the error of the computation by plane; the output's rounding is added.
    """
    y, bound = y.detach().double(), torch.as_tensor(bound)
    if dtype == torch.float16:  # what it cannot hold is infinite
        beyond = y.isinf() & (y.sign() == expected.sign()) & (expected.abs() + bound[..., None, None] >= 65504)
        y = torch.where(beyond, expected, y)
    error = (y - expected).flatten(-2).norm(dim=-1)
    pixels = (expected.shape[-1] * expected.shape[-2]) ** 0.5
    allowed = bound + HALF_UNIT[dtype] * expected.flatten(-2).norm(dim=-1) + SMALLEST[dtype] * pixels
    wrong = ~(error <= allowed)
    if bool(wrong.any()):
        at = tuple(wrong.nonzero()[0].tolist())
        raise Fault(
            f"{what}: {int(wrong.sum())} of {wrong.numel()} planes are wrong; {list(at)} by {float(error[at]):.3g}, "
            f"where {float(allowed.expand_as(error)[at]):.3g} is rounding"
        )


def compute_dtype(x):
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def called(draw, function, hand=False):
    """The result, or None where it was refused as it should be."""
    try:
        result = function()
    except Exception as error:
        text = str(error)
        allowed = (*REFUSALS, RuntimeError) if hand else REFUSALS
        kind = type(error)
        if not isinstance(error, allowed):
            raise Fault(f"raises {kind.__name__}: {text.splitlines()[0] if text else ''}") from error
        if "\n" in text.strip() or INSIDES.search(text) or not text.strip():
            raise Fault(f"no plain sentence, {kind.__name__}: {text!r}") from error
        if not draw.faults:
            raise Fault(f"refused, {kind.__name__}: {text}") from error
        return None
    if draw.faults and not all(fault.startswith("?") for fault in draw.faults):
        raise Fault(f"taken, in spite of: {'; '.join(draw.faults)}")
    return result


def draw_out(draw, shape, dtype, others, asked, format_):
    """`out` in a buffer of its own or in that of an input, and why it is to be refused, if it is.

    others: tensors that must not be touched. asked: the dtype argument.
    """
    kind = draw.one("whole", "whole", "channels_last", "any", "any", "every second", "expanded", "transposed", "shape",
                    "dtype", "shared", "shared", "none")  # fmt: skip
    draw.note(out=kind)
    if kind == "none":
        draw.faults.append("out is no tensor or not here")
        return draw.one(
            [1.0], "out", torch.empty(shape, dtype=dtype, device="meta"), np.zeros(shape, np.float32),
            torch.empty(shape, dtype=torch.float32).to_sparse(),
        )  # fmt: skip
    if kind == "shape":
        shape = list(shape)
        at = draw.random.randrange(len(shape))
        shape[at] += draw.one(1, -1) if shape[at] else 1
        if draw.chance(0.2):
            shape = draw.one(shape[1:], [1, *shape])
        draw.faults.append("shape of out")
    if kind == "dtype":
        dtype = draw.one(torch.int32, torch.complex64, torch.bool, *FLOATS)
    dims = list(range(len(shape)))
    order = dims
    if kind == "channels_last" and len(dims) >= 3:
        order = [*dims[:-3], dims[-2], dims[-1], dims[-3]]
    elif kind in ("any", "transposed"):
        order = draw.random.sample(dims, len(dims))
    strides, step = [0] * len(dims), 1
    for dim in reversed(order):
        if kind == "every second" and dim == order[0]:
            step *= 2
        if kind == "any" and draw.chance(0.1):
            step += draw.one(1, 2, -1) if step > 1 else 1
        strides[dim] = step
        if shape[dim] == 1 and draw.chance(0.3):
            strides[dim] = draw.one(0, 1, 5, 10**6)
        step *= max(shape[dim], 1)
    if kind == "expanded":
        strides[draw.random.randrange(len(dims))] = 0
    offset = draw.one(0, 1, 7, 16, 64)
    last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) if all(shape) else offset - 1
    if kind == "shared" and others:
        return share(draw, shape, strides, last - offset + 1, dtype, draw.random.choice(others), asked, format_)
    buffer = draw.fill(last + 1 + draw.one(0, 0, 5), dtype if dtype != torch.complex64 else torch.float32).to(dtype)
    out = buffer.as_strided(shape, strides, offset)
    judge(draw, out, asked, format_)
    own = torch.zeros(buffer.numel() * buffer.element_size(), dtype=torch.bool)
    if not draw.faults:
        own[torch.from_numpy(touched(out) - buffer.data_ptr())] = True
    draw.keep("out", buffer, own)
    return out


def share(draw, shape, strides, length, dtype, other, asked, format_):
    """`out` in the storage of an input, at any place: beside it, between its elements, or on them."""
    name = next(i for i, (_, buffer, _, _) in enumerate(draw.kept) if buffer.data_ptr() == base_of(other))
    held = other.untyped_storage().nbytes()
    item = torch.empty((), dtype=dtype).element_size()
    room = held // item - length
    if room < 0:
        draw.note(share="no room")
        out = torch.zeros(max(length, 1), dtype=dtype).as_strided(shape, strides, 0)
        judge(draw, out, asked, format_)
        return out
    whole = torch.empty(0, dtype=dtype).set_(other.untyped_storage(), 0, (held // item,), (1,))
    offset = draw.random.choice((0, room, draw.random.randint(0, room)))
    draw.note(share=f"{draw.kept[name][0]}+{offset}")
    out = whole.as_strided(shape, strides, offset)
    judge(draw, out, asked, format_)
    if out.numel() and overlap(out, other):
        draw.faults.append("out shares memory")
    if not draw.faults:
        own = torch.zeros(held, dtype=torch.bool)
        own[torch.from_numpy(touched(out) - base_of(other))] = True
        kept = draw.kept[name]
        draw.kept[name] = (*kept[:3], own)
    return out


def base_of(tensor):
    return tensor.untyped_storage().data_ptr()


def judge(draw, out, asked, format_):
    if out.dtype not in FLOATS or (asked is not None and out.dtype != asked):
        draw.faults.append(f"dtype of out {out.dtype}")
    if out.dim() < 4:
        return
    plain, last = lies_as(out, False), lies_as(out, True)
    fits = {None: plain or last, torch.contiguous_format: plain, torch.channels_last: last}
    if not fits.get(format_, True):
        draw.faults.append(f"strides of out {out.stride()}")


def filtering(draw):
    """`spectral_filter` of images or a Spectrum."""
    x = draw_images(draw)
    b, c, h, w = x.shape
    dtype = compute_dtype(x)
    big = h * w > 2500
    each = draw.chance(0.35)
    masks, weights, storage = draw_masks(draw, h, w, b if each else draw.count(2 if big else 4), dtype)
    if each and len(weights) != b:
        draw.faults.append("K != B")
    bits = isinstance(masks, freqkit.BitMasks)
    method = draw.one("auto", "fft", "bank") if bits and not each else draw.one("auto", "auto", "fft")
    if draw.chance(0.01):
        method = "bank"
    if method == "bank" and (each or not bits):
        draw.faults.append("bank")
    mean = std = None
    given, others = x, [x, storage]
    grads = draw.chance(0.15)
    mode = draw.one("grad", "grad", "no_grad", "inference")
    live = grads and mode == "grad"
    x_live = live and draw.chance(0.7)
    masks_live = live and not bits and masks.dtype.is_floating_point and draw.chance(0.7)
    if x_live:
        given = x.detach().requires_grad_()
    if masks_live:
        masks = masks.detach().requires_grad_()
    spectrum = draw.chance(0.35)
    packed_view = None
    if spectrum:
        before = len(draw.faults)
        mean_given, mean = draw_values(draw, "mean", c, dtype)
        std_given, std = draw_values(draw, "std", c, dtype)
        values_faults, draw.faults = draw.faults[before:], draw.faults[:before]
        leaf = given
        later, draw.faults = draw.faults, values_faults
        given = called(draw, lambda: freqkit.spectrum(leaf, mean=mean_given, std=std_given))
        draw.faults = later
        if given is None:
            return "spectrum refused"
        if not x_live and draw.chance(0.4):  # numbers anywhere in memory
            strides, offset, length = draw.place(given.packed.shape, writable=True)
            buffer = draw.fill(length, dtype)
            packed_view = buffer.as_strided(given.packed.shape, strides, offset)
            if given.packed.numel():
                packed_view.copy_(given.packed)
            draw.keep("packed", buffer)
            draw.note(packed=strides)
            given = freqkit.Spectrum(packed_view, h, w)
            others = [packed_view, storage]
        else:
            others = [storage]
    if draw.chance(0.03):
        given, masks = spoil(draw, given, masks)
    format_ = draw.one(None, None, torch.contiguous_format, torch.channels_last)
    asked = draw.one(None, None, *FLOATS)
    if draw.chance(0.02):
        format_ = draw.one(torch.preserve_format, torch.channels_last_3d, "channels_last", 3)
        draw.faults.append("memory_format")
    if draw.chance(0.02):
        asked = draw.one(torch.int32, torch.complex64, "float32", np.float32, torch.bool)
        draw.faults.append("dtype")
    shape = (b, c, h, w) if each else (len(weights), b, c, h, w)
    out = None
    if draw.chance(0.4):
        held = asked if asked in FLOATS else draw.one(*FLOATS)
        if (x_live or masks_live) and mode == "grad":
            draw.faults.append("out= with gradients")
        out = draw_out(draw, shape, held, others, asked, format_)
    words = {"pairing": "each"} if each else draw.one({}, {"pairing": "all"})
    if draw.chance(0.01):
        words = {"pairing": draw.one("both", None, 3, ["all"])}
        draw.faults.append("pairing")
    threads = draw.one(2, 3) if draw.chance(0.04) else 1
    draw.note(method=method, mode=mode, dtype=asked, format=format_, threads=threads, live=(x_live, masks_live))
    if not all(shape):  # nothing is computed, so nothing need be looked at
        draw.faults = ["?" + fault if "not finite" in fault else fault for fault in draw.faults]

    def call():
        return freqkit.spectral_filter(
            given, masks, out=out, dtype=asked, memory_format=format_, method=method, **words
        )

    torch.set_num_threads(threads)
    try:
        if mode == "no_grad":
            with torch.no_grad():
                y = called(draw, call)
        elif mode == "inference":
            with torch.inference_mode():
                y = called(draw, call)
        else:
            y = called(draw, call)
    finally:
        torch.set_num_threads(1)
    draw.unchanged()
    if y is None:
        return "filter refused"
    if out is not None and y is not out:
        raise Fault("out is not what is returned")
    wanted = out.dtype if out is not None else asked or dtype
    if y.dtype != wanted or y.shape != shape:
        raise Fault(f"{y.dtype}{list(y.shape)} instead of {wanted}{list(shape)}")
    if out is None and not lies_as(y, format_ is torch.channels_last):
        raise Fault(f"strides {y.stride()}")
    if not y.numel():
        return "empty filter"
    images, size = normal(x, mean, std, dtype)
    summed = cells_summed(masks, method, len(weights)) if bits and not each else 0
    check_filtered(y, images, size, weights, "each" if each else "all", dtype, wanted, storage, summed)
    if x_live or masks_live:
        check_gradients(
            draw, y, leaf if spectrum else given, masks, images, weights, each, std, x_live, masks_live, dtype
        )
    elif out is None and NATIVE and draw.chance(0.1) and method != "auto" and not each:
        company(draw, y, given, masks, asked, format_, method)
    return "filter with out" if out is not None else "filter with gradients" if live else "filter"


def cells_summed(masks, method, count):
    """Of how many cells the images are added for a mask; 0 by transforms."""
    cells = band_bank.cell_count(masks.size, tuple(int(side) for side in masks.cell), masks.symmetry)
    bank = method == "bank" or (method == "auto" and band_bank.choose(cells, count, "cpu") == "bank")
    return cells if bank else 0


def rounding_of_sums(dtype, cells):
    """What adding up the images of cells, four at a time, may round off, in shares of the image's norm.

    Each of the cells/4 sums on the way is the image under a part of the mask, so its norm is at most the image's
    (Parseval), and it is rounded by half a unit at most. A plane has more pixels than sums, and signs fall by chance:
    squares add up, and the whole grows with the root of the number. (All of one sign, it would grow in proportion.)
    A rounding is 0.43 half units on average (root of the mean square, over numbers of any size); a whole one is
    allowed, for pixels that are alike round alike.
    """
    return HALF_UNIT[dtype] * math.ceil(cells / 4) ** 0.5


def check_filtered(y, images, size, weights, pairing, dtype, wanted, storage, summed):
    whole = images.isfinite().flatten(2).all(-1)  # [B, C]
    sound = whole[..., None, None]
    expected = reference.spectral_filter(torch.where(sound, images, 0.0), weights, pairing)
    largest = weights.abs().flatten(1).amax(-1)
    shape = (-1, 1) if pairing == "each" else (-1, 1, 1)
    share = RELATIVE[dtype] + rounding_of_sums(dtype, summed)
    bound = share * torch.where(whole, size, 0.0) * largest.reshape(shape)
    good = y.detach().double()
    if not bool(whole.all()):
        good = torch.where(sound, good, 0.0)
        broken = y.detach()[..., ~whole, :, :] if pairing == "all" else y.detach()
        if pairing == "all":
            on = (weights > 0).flatten(1).any(-1) & (weights >= 0).flatten(1).all(-1)
            off = storage.flatten(1).eq(0).all(-1)
            if bool(broken[on].isfinite().any()):
                raise Fault("a pixel of an image that is not finite is finite")
            if bool((broken[off] != 0).any()):
                raise Fault("a mask that is all off does not give zeros")
        expected = torch.where(sound, expected, 0.0)
    close("values", good, expected, bound, wanted)


def check_gradients(draw, y, leaf, masks, images, weights, each, std, x_live, masks_live, dtype):
    if not bool(images.isfinite().all()):
        return
    strides, offset, length = draw.place(y.shape)
    cotangent = draw.fill(length, y.dtype).as_strided(y.shape, strides, offset)
    wants = [tensor for tensor, live in ((leaf, x_live), (masks, masks_live)) if live]
    if y.requires_grad is False:
        raise Fault("the result asks for no gradient")
    found = list(torch.autograd.grad(y, wants, cotangent))
    g = cotangent.double()
    _b, _c, _h, w = images.shape
    tolerance = 3 * RELATIVE[dtype]
    norm = g.flatten(-2).norm(dim=-1)
    if x_live:
        gradient = found.pop(0)
        plain = images.clone().requires_grad_()
        (expected,) = torch.autograd.grad(plain_filter(plain, weights, each), plain, g)
        largest = weights.abs().flatten(1).amax(-1)
        size = norm * largest.reshape((-1, 1) if each else (-1, 1, 1))
        size = size if each else size.sum(0)
        if std is not None:
            expected, size = expected / std[:, None, None], size / std
        if gradient.dtype != leaf.dtype or gradient.shape != leaf.shape:
            raise Fault(f"gradient {gradient.dtype}{list(gradient.shape)}")
        close("gradient of x", gradient, expected, tolerance * size, leaf.dtype)
    if masks_live:
        gradient = found.pop(0)
        plain = torch.zeros(masks.shape, dtype=torch.float64, requires_grad=True)
        (expected,) = torch.autograd.grad(plain_filter(images, whole_plane(plain, w), each), plain, g)
        size = images.flatten(2).norm(dim=-1) * norm
        size = size.sum(-1) if each else size.sum((-1, -2))
        if gradient.dtype != masks.dtype or gradient.shape != masks.shape:
            raise Fault(f"gradient {gradient.dtype}{list(gradient.shape)}")
        close("gradient of masks", gradient, expected, 2 * tolerance * size, masks.dtype)


def plain_filter(x, weights, each):
    transform = torch.fft.fft2(x)
    return torch.fft.ifft2(transform * weights[:, None] if each else transform * weights[:, None, None]).real


def company(draw, y, given, masks, asked, format_, method):
    """A mask and an image have the same bits in any company."""
    k, b = draw.random.randrange(y.shape[0]), draw.random.randrange(y.shape[1])
    mask = masks._replace(bits=masks.bits[k : k + 1]) if isinstance(masks, freqkit.BitMasks) else masks[k : k + 1]
    alone = freqkit.spectral_filter(given[b : b + 1], mask, dtype=asked, memory_format=format_, method=method)
    if not torch.equal(bits_of(alone[0, 0]), bits_of(y[k, b])):
        raise Fault(f"mask {k} and image {b} have other bits alone")


def bits_of(tensor):
    tensor = tensor.detach().contiguous()
    return torch.where(tensor.isnan(), torch.zeros_like(tensor), tensor).contiguous().view(torch.uint8)


def spoil(draw, given, masks):
    """Images or masks that are none."""
    draw.faults.append("wrong x or masks")
    if draw.chance(0.5):
        wrong = draw.one("numpy", "int", "three", "complex", "sparse", "none", "quantised", "nested")
        draw.note(spoilt=f"x {wrong}")
        like = torch.rand(2, 3, 4, 4)
        given = {
            "numpy": lambda: np.zeros((1, 1, 4, 4), np.float32),
            "int": lambda: like.to(draw.one(torch.int64, torch.uint8, torch.bool)),
            "three": lambda: draw.one(like[0], like[None], like[..., 0:0], like[0, 0, 0, 0]),
            "complex": lambda: like.to(torch.complex64),
            "sparse": lambda: like.to_sparse(),
            "none": lambda: draw.one(None, 3, "x", [like]),
            "quantised": lambda: torch.quantize_per_tensor(like, 0.1, 0, torch.qint8),
            "nested": lambda: torch.nested.nested_tensor([like[0], like[1]]),
        }[wrong]()
        return given, masks
    if isinstance(masks, freqkit.BitMasks):
        wrong = draw.one("bits", "dtype", "cell", "size", "symmetry", "dim", "meta")
        draw.note(spoilt=f"BitMasks {wrong}")
        bits = masks.bits
        changed = {
            "bits": lambda: {
                "bits": draw.one(None, [[1]], bits.numpy(), bits[0:0, :, :0], bits.transpose(1, 2)[..., None])
            },
            "dtype": lambda: {"bits": bits.to(draw.one(torch.int8, torch.bool, torch.float32))},
            "cell": lambda: {
                "cell": draw.one(None, 1, (0, 1), (1,), (-1, 1), (10**6, 1), "ab", (1.0, 1.0), (True, True), (1, 2**70))
            },
            "size": lambda: {"size": draw.one(None, 12, (7919, 3), (4.0, 4.0), [], (masks.size[0] + 1, masks.size[1]))},
            "symmetry": lambda: {"symmetry": draw.one(None, "none", [], 3, ("average",))},
            "dim": lambda: {"bits": draw.one(bits[None], bits.flatten(), torch.zeros((), dtype=torch.uint8))},
            "meta": lambda: {"bits": bits.to("meta")},
        }[wrong]()
        return given, masks._replace(**changed)
    wrong = draw.one("shape", "complex", "numpy", "sparse", "meta", "dim")
    draw.note(spoilt=f"masks {wrong}")
    still = masks.detach()
    h, w = still.shape[1:]
    return given, {
        "shape": lambda: draw.one(torch.ones(1, h + 1, w), torch.ones(1, h, 4 * w + 3), torch.ones(1, h, 0)),
        "complex": lambda: still.to(torch.complex64),
        "numpy": lambda: draw.one(None, 1.0, [[1.0]], np.ones((1, h, w), np.float32)),
        "sparse": lambda: still.to_sparse(),
        "meta": lambda: still.to("meta"),
        "dim": lambda: draw.one(still[None], still.reshape(-1), torch.ones(())),
    }[wrong]()


def transforming(draw):
    """`spectrum`, `dense` and `magnitude`."""
    x = draw_images(draw)
    _b, c, h, w = x.shape
    dtype = compute_dtype(x)
    mean_given, mean = draw_values(draw, "mean", c, dtype)
    std_given, std = draw_values(draw, "std", c, dtype)
    found = called(draw, lambda: freqkit.spectrum(x, mean=mean_given, std=std_given))
    draw.unchanged()
    if found is None:
        return "spectrum refused"
    if found.shape != x.shape or found.dtype != dtype:
        raise Fault(f"{found.dtype}{found.shape}")
    images, size = normal(x, mean, std, dtype)
    whole = images.isfinite().flatten(2).all(-1)
    dense, magnitude = found.dense(), found.magnitude()
    if bool(torch.view_as_real(dense)[~whole].flatten(1).isfinite().all(-1).any()):
        raise Fault("the spectrum of an image that is not finite is finite")
    images = torch.where(whole[..., None, None], images, 0.0)
    size = torch.where(whole, size, 0.0) * (h * w) ** 0.5
    if not x.numel():
        return "empty spectrum"
    transform = torch.fft.fft2(images)
    expected = torch.where(whole[..., None, None], transform[..., : w // 2 + 1], 0)
    for part in ("real", "imag"):
        got = torch.where(whole[..., None, None], getattr(dense, part).double(), 0.0)
        close(f"dense.{part}", got, getattr(expected, part), RELATIVE[dtype] * size, dtype)
    got = torch.where(whole[..., None, None], magnitude.double(), 0.0)
    expected = transform[..., : h // 2 + 1, :].abs()
    close("magnitude", got, expected, 2 * RELATIVE[dtype] * size, dtype)
    if draw.chance(0.3) and bool(whole.all()):
        total = found.magnitude(total=True)
        close("total", total, expected.sum(0), 2 * RELATIVE[dtype] * size.sum(0), dtype)
    draw.unchanged()
    return "spectrum"


def draw_index(draw, size, several):
    """(an index, the places it names or None where it is wrong)."""
    kind = draw.one("int", "numpy", "tensor", "slice", "list", "array", "mask", "range", "wrong")
    if several and kind in ("list", "array", "mask", "range"):
        kind = "slice"
    places = list(range(size))
    number = draw.random.randint(-size - 1, size)
    named = [number % size] if size and -size <= number < size else None
    some = [draw.random.randint(-size, size - 1) for _ in range(draw.random.randint(0, 5))] if size else []
    if draw.chance(0.05):
        some.append(draw.one(size, -size - 1, 10**9))
    good = [i % size for i in some] if all(-size <= i < size for i in some) else None
    if kind == "int":
        return number, named
    if kind == "numpy":
        return draw.one(np.int64, np.int32, np.int8)(number), named
    if kind == "tensor":
        return torch.tensor(number, dtype=draw.one(torch.int64, torch.int32, torch.int8)), named
    if kind == "slice":

        def end():
            return draw.one(None, draw.random.randint(-size - 2, size + 2))

        part = slice(end(), end(), draw.one(None, None, 1, 2, 3))
        if draw.chance(0.05):
            return draw.one(slice(None, None, -1), slice(None, None, 0), slice("a", None), slice(0.5, None)), None
        return part, places[part]
    if kind in ("list", "range"):
        if kind == "range":
            part = range(draw.random.randint(0, size))
            return part, list(part)
        return some, good
    if kind == "array":
        made = draw.one(np.int64, np.int32)
        return draw.one(np.array(some, made), torch.tensor(some, dtype=torch.int64)), good
    if kind == "mask":
        length = size if not draw.chance(0.1) else size + 1
        mask = [draw.chance(0.5) for _ in range(length)]
        named = [i for i in places if mask[i]] if length == size else None
        if not mask:
            named = []
        return draw.one(torch.tensor(mask, dtype=torch.bool), np.array(mask, bool), list(mask)), named
    return draw.one("a", 1.0, None, {}, [[0]], ["a"], torch.zeros(2, 2, dtype=torch.int64), torch.tensor(0.5), True,
                    [0.5], object(), 2**70, torch.tensor(1j)), None  # fmt: skip


def indexing(draw):
    """A Spectrum is indexed as a tensor."""
    b, c = draw.count(5, 0.05), draw.count(3, 0.05)
    h, w = draw.random.randint(1, 9), draw.random.randint(1, 9)
    found = freqkit.spectrum(draw.view("x", (b, c, h, w), draw.one(torch.float32, torch.float64)))
    if draw.chance(0.1):
        parts = list(found)
        if len(parts) != b or any(not torch.equal(p.packed, found.packed[i : i + 1]) for i, p in enumerate(parts)):
            raise Fault("iteration")
        return "index"
    first, rows = draw_index(draw, b, False)
    index, columns = first, list(range(c))
    if draw.chance(0.4):
        several = isinstance(first, (list, range, np.ndarray)) or (isinstance(first, torch.Tensor) and first.dim() > 0)
        second, columns = draw_index(draw, c, several)
        index = first, second
    if draw.chance(0.02):
        index, rows = (first, 0, 0), None
    if rows is None or columns is None:
        draw.faults.append("index")
    draw.note(index=repr(index))
    part = called(draw, lambda: found[index])
    draw.unchanged()
    if part is None:
        return "index refused"
    expected = found.packed[rows][:, columns] if rows or b else found.packed[:0][:, columns]
    if part.shape != (len(rows), len(columns), h, w) or not torch.equal(part.packed, expected):
        raise Fault(f"{tuple(part.shape)} for places {rows}, {columns}")
    return "index"


def by_hand(draw):
    """A Spectrum made by hand, that is wrong."""
    h, w = draw.random.randint(1, 12), draw.random.randint(1, 12)
    dtype = draw.one(torch.float32, torch.float64)
    count = packed_size("cpu", dtype, h, w)
    packed = torch.randn(2, 3, count, dtype=dtype, generator=draw.numbers)
    wrong = draw.one("count", "dim", "dtype", "side", "whole", "none", "sparse")
    draw.note(wrong=wrong)
    if wrong == "count":
        packed = draw.one(packed[..., : count - 1], torch.cat([packed, packed], -1), packed[..., :0])
    elif wrong == "dim":
        packed = draw.one(packed[0], packed[None], packed.flatten())
    elif wrong == "dtype":
        packed = packed.to(draw.one(torch.float16, torch.int32, torch.complex64, torch.bool))
    elif wrong == "side":
        h, w = draw.one((0, w), (h, 0), (-h, w), (h, 2**31), (2**63, w), (2**40, 2**40), (h + 16, w), (h, w + 16))
    elif wrong == "whole":
        h, w = draw.one((1.5, w), (h, None), ("8", w), (h, True), (float(h), w))
    elif wrong == "none":
        packed = draw.one(None, packed.numpy(), [1.0])
    else:
        packed = packed.to_sparse()
    fits = all(type(n) is int and 0 < n < 100 for n in (h, w)) and packed_size("cpu", dtype, h, w) == count
    draw.faults.append("?" + wrong if wrong == "side" and fits else wrong)  # another size with as many numbers
    made = freqkit.Spectrum(packed, h, w)
    sides = [n if type(n) is int and 0 < n < 100 else 4 for n in (h, w)]
    masks = torch.ones(2, *sides)
    out = torch.zeros(2, 2, 3, *sides)
    called(draw, draw.one(
        made.dense, made.magnitude, lambda: freqkit.spectral_filter(made, masks),
        lambda: freqkit.spectral_filter(made, masks, pairing="each"),
        lambda: freqkit.spectral_filter(made, masks, out=out),
    ))  # fmt: skip
    return "hand-made refused"


def operators(draw):
    """torch.ops.freqkit called by hand with one thing wrong: a sentence, or a result, and no foreign byte."""
    ops = torch.ops.freqkit
    h, w = draw.random.randint(1, 12), draw.random.randint(1, 12)
    b, c, k = draw.count(3), draw.count(3), draw.count(3)
    dtype = draw.one(torch.float32, torch.float64)
    paired = draw.chance(0.4)
    kind = draw.random.randint(0, 3)
    k = b if paired else k

    def divisor(n):
        return draw.random.choice([d for d in range(1, n + 1) if n % d == 0])

    cell = [divisor(h), divisor(w)] if kind > 1 else [1, 1]
    mask_shape = (
        [k, h, w if kind == 0 else w // 2 + 1] if kind < 2 else [k, h // cell[0], -(-(w // cell[1]) // 8)]
    )  # fmt: skip
    mask_dtype = dtype if kind < 2 else torch.uint8
    packed_shape = [b, c, packed_size("cpu", dtype, h, w)]
    out_shape = [b, c, h, w] if paired else [k, b, c, h, w]
    out_dtype = draw.one(*FLOATS)
    last = draw.chance(0.4)
    x_shape, bank_count = [b, c, h, w], draw.random.randint(1, 9)
    bank_shape, cells_count = [bank_count, b, c, h, w], bank_count
    limit = 8 * mask_shape[1] * mask_shape[2]

    def number():
        return draw.random.choice((-1, 0, 1, 2, 7, 13, 2**24, 2**31, 2**33, 2**62, -(2**40)))

    wrong = draw.one("none", "mask", "packed", "out", "h", "w", "kind", "cell", "paired", "dtype", "x", "bank", "cells",
                     "mask_dtype", "values")  # fmt: skip

    def change(shape):
        at = draw.random.randrange(len(shape))
        shape[at] = draw.one(0, 1, max(shape[at] - 1, 0), shape[at] + 1, 2 * shape[at])
        if draw.chance(0.15):
            shape[:] = draw.one(shape[1:], [1, *shape], [])

    for name, shape in (("mask", mask_shape), ("packed", packed_shape), ("out", out_shape), ("x", x_shape),
                        ("bank", bank_shape)):  # fmt: skip
        if wrong == name:
            change(shape)
    height, width = (number() if wrong == "h" else h), (number() if wrong == "w" else w)
    if wrong == "kind":
        kind = draw.one(-1, 0, 1, 2, 3, 4, 2**40)
    if wrong == "cell":
        cell = draw.one([], [1], [0, 0], [number(), 1], [1, number()], [2, 2, 2], [-1, -1])
    if wrong == "paired":
        paired = not paired
    if wrong == "dtype":
        out_dtype = draw.one(torch.int64, torch.bool, torch.complex64, torch.uint8)
    if wrong == "mask_dtype":
        mask_dtype = draw.one(torch.float64, torch.float32, torch.uint8, torch.bool, torch.float16)
    if wrong == "cells":
        cells_count = draw.one(0, bank_count + 1, bank_count - 1)
    packed = draw.view("packed", packed_shape, dtype)
    mask = draw.view("masks", mask_shape, mask_dtype)
    x = draw.view("x", x_shape, draw.one(*FLOATS) if wrong == "dtype" else dtype)
    values = None
    if draw.chance(0.5):
        count = c if wrong != "values" else draw.one(0, c + 1, 1)
        values = draw.view("values", [count], dtype).abs() + 0.5
    name = draw.one("spectrum", "spectrum_backward", "spectral_filter", "spectral_filter_out", "spectral_filter_out",
                    "spectral_filter_backward_spectrum", "spectral_filter_backward_mask", "band_bank", "band_bank_out",
                    "band_bank_sum_out", "band_bank_sum_out")  # fmt: skip
    draw.note(op=name, wrong=wrong, h=height, w=width, kind=kind, cell=cell, paired=paired, last=last, out=out_shape)
    draw.faults.append("?by hand")
    strides, offset, length = draw.place(out_shape, writable=not draw.chance(0.2))
    if draw.chance(0.6):
        order = list(range(len(out_shape)))
        if last and len(order) > 3:
            order = [*order[:-3], order[-2], order[-1], order[-3]]
        strides, step = [0] * len(order), 1
        for dim in reversed(order):
            strides[dim] = step
            step *= max(out_shape[dim], 1)
        length = offset + (step if all(out_shape) else 0)
    made = torch.float32 if out_dtype == torch.complex64 else out_dtype
    buffer = draw.fill(length, made).to(out_dtype)
    out = buffer.as_strided(out_shape, strides, offset)
    own = torch.zeros(buffer.numel() * buffer.element_size(), dtype=torch.bool)
    if out.numel():
        own[torch.from_numpy(touched(out) - buffer.data_ptr())] = True
    draw.keep("out", buffer, own)
    bank = draw.view("bank", bank_shape, dtype)
    bank = bank if wrong == "bank" and draw.chance(0.3) else bank.contiguous()
    high = limit + (draw.chance(0.2))
    cells = torch.randint(-int(draw.chance(0.1)), max(high, 1), (cells_count,), generator=draw.numbers)
    cells = cells.to(torch.int64 if wrong == "cells" and draw.chance(0.3) else torch.int32)
    call = {
        "spectrum": lambda: ops.spectrum(x, values, values),
        "spectrum_backward": lambda: ops.spectrum_backward(packed, height, width, values),
        "spectral_filter": lambda: ops.spectral_filter(
            packed, height, width, mask, kind, cell, paired, out_dtype, last),
        "spectral_filter_out": lambda: ops.spectral_filter_out(
            packed, height, width, mask, kind, cell, paired, last, out),
        "spectral_filter_backward_spectrum": lambda: ops.spectral_filter_backward_spectrum(
            out, height, width, mask, kind, cell, paired, dtype),
        "spectral_filter_backward_mask": lambda: ops.spectral_filter_backward_mask(
            out, packed, height, width, kind, paired),
        "band_bank": lambda: ops.band_bank(packed, height, width, mask, kind, cell, out_dtype, last),
        "band_bank_out": lambda: ops.band_bank_out(packed, height, width, mask, kind, cell, last, out),
        "band_bank_sum_out": lambda: ops.band_bank_sum_out(bank, mask, cells, out),
    }[name]  # fmt: skip
    y = called(draw, call, hand=True)
    draw.unchanged()
    return "operator by hand" if y is not None or name.endswith("_out") else "operator refused"


SCENES = ((filtering, 70), (transforming, 10), (indexing, 8), (by_hand, 4), (operators, 8))


def make(seed, number):
    """(kind of call, fault or None, what was drawn)."""
    draw = Draw(seed, number)
    scene = draw.random.choices([scene for scene, _ in SCENES], [share for _, share in SCENES])[0]
    draw.note(scene=scene.__name__)
    try:
        return scene(draw), None, draw.notes
    except Fault as fault:
        return scene.__name__, str(fault), draw.notes
    except Exception:
        return scene.__name__, traceback.format_exc(limit=-6), draw.notes


# ---- processes ------------------------------------------------------------------------------------------------------


def block(seed, first, end):
    """Calls first .. end-1 in a child: (number, kind, fault, notes) of each that failed, and counts of the kinds."""
    shared = mmap.mmap(-1, 8)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.close(read)
            counts, failed = Counter(), []
            for number in range(first, end):
                shared[:8] = struct.pack("q", number)
                signal.alarm(SECONDS)
                kind, fault, notes = make(seed, number)
                counts[kind] += 1
                if fault is not None:
                    failed.append((number, kind, fault, notes))
            signal.alarm(0)
            with os.fdopen(write, "wb") as file:
                pickle.dump((counts, failed), file)
            code = 0
        finally:
            os._exit(code)
    os.close(write)
    with os.fdopen(read, "rb") as file:
        text = file.read()
    status = os.waitpid(child, 0)[1]
    died = struct.unpack("q", shared[:8])[0] if status else None
    counts, failed = pickle.loads(text) if status == 0 else (Counter(), [])
    return counts, failed, died, os.waitstatus_to_exitcode(status)


def run(seed, first, calls, show=print):
    """(counts by kind, [(number, fault)]) of calls first .. first+calls-1."""
    total, wrong, at, end = Counter(), [], first, first + calls
    while at < end:
        stop = min(at + BLOCK, end)
        counts, failed, died, code = block(seed, at, stop)
        if died is not None:  # what came before it, again, for its counts
            if died > at:
                before, failed, again, _ = block(seed, at, died)
                counts = before if again is None else Counter({"lost with a crash": died - at})
            what = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            failed = [*failed, (died, "crash", f"the process died ({what})", [])]
            counts["crash"] += 1
            stop = died + 1
        total += counts
        for number, kind, fault, notes in failed:
            wrong.append((number, fault))
            show(f"{number} {kind}: {fault}\n    " + "\n    ".join(notes))
        at = stop
        if (at - first) % 10000 < BLOCK:
            show(f"... {at - first} calls, {len(wrong)} wrong")
    return total, wrong


def operator():
    """Which operator is called: the library's file and instruction set, or plain torch."""
    info = extension.build_info()
    return f"{extension.LIBRARY}, {info['simd']}" if info["operator"] == "native" else info["operator"]


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first call")
    parser.add_argument("--only", type=int, help="this call alone, in this process")
    given = parser.parse_args(arguments)
    if given.only is not None:
        kind, fault, notes = make(given.seed, given.only)
        print(f"{given.only} {kind}: {fault or 'right'}\n    " + "\n    ".join(notes))
        return int(fault is not None)
    began = time.monotonic()
    total, wrong = run(given.seed, given.first, given.calls, functools.partial(print, flush=True))
    for kind, count in sorted(total.items()):
        print(f"{kind:28}{count:9}")
    took = time.monotonic() - began
    print(f"{sum(total.values())} calls of the operator, {len(wrong)} wrong, {took:.0f} s ({operator()})")
    return int(bool(wrong) or sum(total.values()) != given.calls)


if __name__ == "__main__":
    sys.exit(main())
