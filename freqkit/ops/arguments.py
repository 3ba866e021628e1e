"""What the operator asks of its arguments, each refusal one sentence that names the argument, the rule and what came.

The native side asks the same of sizes, dtypes, devices, strides and memory again (`csrc/common/checks.h`).
"""

import math
import operator
from collections.abc import Sequence

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from freqkit.ops import derivatives, packed

FLOATS = frozenset((torch.float32, torch.float64, torch.bfloat16, torch.float16))
COMPUTED = (torch.float32, torch.float64)  # what transforms are computed in
TAKEN = (*COMPUTED, torch.uint8)  # what the operator `spectrum` reads
_KINDS = {"average": 2, "hermitian": 3}  # the native mask kinds; 0 is a full dense mask, 1 a half-plane one
_LAYOUTS = (None, torch.contiguous_format, torch.channels_last)
_MOST_SIDE = 1 << 24  # positions in a row are 32-bit numbers
_MOST_BYTES = 1 << 47  # what a process can address
MOST_NUMBERS = _MOST_BYTES // 16  # of images to be transformed


def whole(value):
    """The value as an int, or None where it is no whole number (a bool is none, a numpy integer is one)."""
    if type(value) is int:
        return value
    if isinstance(value, (bool, Tensor)) or type(value).__name__ in ("bool", "bool_"):
        return None
    if isinstance(value, torch.SymInt):
        return value
    try:
        return operator.index(value)
    except TypeError:
        return None


def shown(value):
    """A value in a sentence: its type, and itself where that is short."""
    text = repr(value) if isinstance(value, (str, int, float, tuple, list, type(None), torch.dtype)) else ""
    return text if 0 < len(text) <= 60 and "\n" not in text else type(value).__name__


def plain(function, name, tensor):
    """Refuse what has no strides over numbers: sparse, mkldnn and nested tensors."""
    if tensor.layout is not torch.strided or tensor.is_nested:
        kind = "nested" if tensor.is_nested else tensor.layout
        raise TypeError(f"{function}: {name} must be a dense tensor (torch.strided); got a {kind} one.")


def fits(function, what, count, item):
    """Refuse sizes whose product no machine holds, before anything is copied or made.

    In a compiled graph, whose sizes may be symbols, the native side does so when it runs.
    """
    if not torch.compiler.is_compiling() and count * item > _MOST_BYTES:
        raise ValueError(f"{function}: {what} would take {count * item:.3g} bytes, more than can be addressed.")


def images(x):
    """Check images [B, C, H, W]."""
    if not isinstance(x, Tensor):
        raise TypeError(f"spectrum: x must be a tensor [B, C, H, W]; got {type(x).__name__}.")
    plain("spectrum", "x", x)
    if x.dtype is torch.uint8:
        if x.device.type not in ("cpu", "meta"):
            raise TypeError(
                f"spectrum: uint8 images are taken on the CPU alone; on {x.device.type} pass x.float() / 255."
            )
    elif not x.dtype.is_floating_point:
        raise TypeError(
            "spectrum: x must hold real floating-point images, or uint8 ones, which are read as x/255 (scale other "
            f"integers to [0, 1]); got {x.dtype}."
        )
    elif x.dtype not in FLOATS:
        raise TypeError(f"spectrum: x must be float32, float64, float16 or bfloat16; got {x.dtype}.")
    shape = x.shape
    if len(shape) != 4 or shape[2] < 1 or shape[3] < 1:
        raise ValueError(f"spectrum: x must have shape [B, C, H, W] with H, W >= 1; got {list(shape)}.")
    if not torch.compiler.is_compiling() and (shape[2] > _MOST_SIDE or shape[3] > _MOST_SIDE):
        raise ValueError(f"spectrum: H and W of x must be at most 2^24; got {list(shape)}.")
    fits("spectrum", f"the spectrum of x {list(shape)}", math.prod(shape), 16)


def _numbers(name, value):
    """Python floats of a number or of numbers in sequences or arrays."""
    if type(value) in (int, float):
        try:
            return [float(value)]
        except OverflowError:
            return [math.inf]
    if hasattr(value, "tolist") and not isinstance(value, Tensor):  # numpy
        return _numbers(name, value.tolist())
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [number for part in value for number in _numbers(name, part)]
    raise TypeError(f"spectrum: {name} must be a number or C numbers; got {shown(value)}.")


def _tensor_of(name, value, x):
    plain("spectrum", name, value)
    if value.dtype.is_complex or value.dtype == torch.bool or value.is_quantized:
        raise TypeError(f"spectrum: {name} must hold real numbers; got {value.dtype}.")
    if value.device.type == "meta" and x.device.type != "meta":
        raise ValueError(f"spectrum: {name} must be on a device with numbers, as x is; got {value.device}.")
    return value.to(device=x.device, dtype=_computed(x)).flatten()


def _computed(x):
    return torch.float32 if x.dtype is torch.uint8 else x.dtype


def _readable(tensor):
    return not (
        torch.compiler.is_compiling()
        or tensor.device.type == "meta"
        or isinstance(tensor, FakeTensor)
        or torch._C._functorch.is_batchedtensor(tensor)  # pyright: ignore[reportAttributeAccessIssue]
    )


def per_channel(name, value, channels, x):
    """mean or std as C numbers of x's dtype (float32 for uint8) on its device, or None; whether a derivative or a batch
    hangs on them."""
    if value is None:
        return None, False
    if isinstance(value, (list, tuple)) and any(isinstance(part, Tensor) for part in value):
        parts = []
        for part in value:
            if not isinstance(part, Tensor):
                part = torch.tensor(_numbers(name, part), dtype=torch.float64)
            parts.append(_tensor_of(name, part, x))
        value = torch.cat(parts)
    follows, wrong = False, None
    if isinstance(value, Tensor):
        value = _tensor_of(name, value, x)
        follows = torch.compiler.is_compiling() or derivatives.live(value)
        if _readable(value):
            good = value.isfinite() & (value > 0) if name == "std" else value.isfinite()
            wrong = None if bool(good.all()) else value.tolist()
    else:
        numbers, limits = _numbers(name, value), torch.finfo(_computed(x))
        least = limits.tiny if name == "std" else -limits.max
        wrong = None if all(least <= number <= limits.max for number in numbers) else numbers
        value = torch.tensor(numbers, dtype=_computed(x), device=x.device)
    count = value.numel()
    if count != 1 and count != channels:  # torch.compile before 2.14 finds no symbolic size in a tuple
        raise ValueError(f"spectrum: {name} must hold 1 or C={channels} numbers; got {count}.")
    if wrong is not None:
        raise ValueError(f"spectrum: {name} must be {'positive and ' if name == 'std' else ''}finite; got {wrong}.")
    return value.expand(channels).contiguous(), follows


def spectrum(found):
    """Check a Spectrum that may have been made by hand."""
    numbers, h, w = found.packed, found.height, found.width
    if not isinstance(numbers, Tensor):
        raise TypeError(f"spectral_filter: Spectrum.packed must be a tensor [B, C, M]; got {type(numbers).__name__}.")
    if numbers.layout is not torch.strided or numbers.is_nested:
        plain("spectral_filter", "Spectrum.packed", numbers)
    if numbers.dtype not in COMPUTED:
        raise TypeError(f"spectral_filter: Spectrum.packed must be float32 or float64; got {numbers.dtype}.")
    if type(h) is not int or type(w) is not int or not (1 <= h <= _MOST_SIDE and 1 <= w <= _MOST_SIDE):
        sides(h, w)
    shape = numbers.shape
    if len(shape) != 3 or shape[2] != packed.packed_size(numbers.device.type, numbers.dtype, h, w):
        count = packed.packed_size(numbers.device.type, numbers.dtype, h, w)
        raise ValueError(
            f"spectral_filter: Spectrum.packed must have shape [B, C, {count}] for H={h}, W={w} on this machine; "
            f"got {list(shape)}."
        )


def sides(h, w):
    """Check height and width of a Spectrum."""
    for name, side in (("height", h), ("width", w)):
        if whole(side) is None:
            raise TypeError(f"spectral_filter: Spectrum.{name} must be a whole number; got {shown(side)}.")
        if side < 1 or side > _MOST_SIDE:
            raise ValueError(f"spectral_filter: Spectrum.{name} must be between 1 and 2^24; got {side}.")


def masks(value, h, w, like, bit_masks):
    """(tensor, native kind, cell, number of masks) of dense masks or `bit_masks`, a BitMasks class."""
    if isinstance(value, bit_masks):
        return _bits(value, h, w, like)
    if not isinstance(value, Tensor):
        raise TypeError(f"spectral_filter: masks must be a real tensor or BitMasks; got {type(value).__name__}.")
    same_dtype = value.dtype is like.dtype
    if value.layout is not torch.strided or value.is_nested:
        plain("spectral_filter", "masks", value)
    if not same_dtype and (value.dtype.is_complex or value.is_quantized):
        raise TypeError(f"spectral_filter: masks must be real; got {value.dtype}.")
    shape = value.shape
    if len(shape) != 3 or shape[1] != h or (shape[2] != w and shape[2] != w // 2 + 1):
        raise ValueError(
            f"spectral_filter: masks must have shape [K, H, W] or [K, H, W//2+1] with H={h}, W={w}; got {list(shape)}."
        )
    if value.device != like.device:
        raise ValueError(f"spectral_filter: masks must be on the images' device {like.device}; got {value.device}.")
    if not same_dtype or not value.is_contiguous():  # a copy is made
        fits("spectral_filter", f"masks {list(shape)}", math.prod(shape), like.element_size())
    return value if same_dtype else value.to(like.dtype), int(shape[2] != w), (1, 1), shape[0]


def _pair(name, value):
    try:
        pair = tuple(whole(side) for side in value)
    except TypeError:
        pair = ()
    if len(pair) != 2 or None in pair:
        raise TypeError(f"spectral_filter: BitMasks.{name} must be two whole numbers; got {shown(value)}.")
    return pair


def _bits(value, h, w, like):
    bits, cell, size, symmetry = value
    size, cell = _pair("size", size), _pair("cell", cell)
    if size != (h, w):
        raise ValueError(f"spectral_filter: BitMasks.size must be the images' ({h}, {w}); got {size}.")
    if not isinstance(symmetry, str) or symmetry not in _KINDS:
        raise ValueError(f"spectral_filter: BitMasks.symmetry must be 'average' or 'hermitian'; got {shown(symmetry)}.")
    ch, cw = cell
    if ch < 1 or cw < 1 or h % ch or w % cw:  # pyright: ignore[reportOptionalOperand]
        raise ValueError(f"spectral_filter: BitMasks.cell must divide the size ({h}, {w}); got {cell}.")
    expected = (h // ch, -(-(w // cw) // 8))
    if not isinstance(bits, Tensor) or bits.dtype != torch.uint8:
        raise TypeError(
            f"spectral_filter: BitMasks.bits must be a uint8 tensor; got {getattr(bits, 'dtype', type(bits).__name__)}."
        )
    plain("spectral_filter", "BitMasks.bits", bits)
    if bits.dim() != 3 or tuple(bits.shape[1:]) != expected:
        raise ValueError(
            f"spectral_filter: BitMasks.bits must have shape [K, {expected[0]}, {expected[1]}]; got {list(bits.shape)}."
        )
    if bits.device != like.device:
        raise ValueError(f"spectral_filter: masks must be on the images' device {like.device}; got {bits.device}.")
    if not bits.is_contiguous():
        fits("spectral_filter", f"masks {list(bits.shape)}", math.prod(bits.shape), 1)
    return bits, _KINDS[symmetry], cell, bits.shape[0]


# ---- where the result goes ------------------------------------------------------------------------------------------


def output(out, dtype, memory_format, shape, like):
    """(dtype, channels_last) of the result."""
    if memory_format is not None and (
        not isinstance(memory_format, torch.memory_format) or memory_format not in _LAYOUTS
    ):
        raise ValueError(
            "spectral_filter: memory_format must be torch.contiguous_format or torch.channels_last; "
            f"got {memory_format if isinstance(memory_format, torch.memory_format) else shown(memory_format)}."
        )
    if dtype is not None and (not isinstance(dtype, torch.dtype) or dtype not in FLOATS):
        raise TypeError(f"spectral_filter: dtype must be float32, float64, bfloat16 or float16; got {shown(dtype)}.")
    if out is None:
        dtype = like.dtype if dtype is None else dtype
        return dtype, memory_format is torch.channels_last
    if not isinstance(out, Tensor):
        raise TypeError(f"spectral_filter: out must be a tensor of shape {list(shape)}; got {type(out).__name__}.")
    if out.layout is not torch.strided or out.is_nested:
        plain("spectral_filter", "out", out)
    if out.shape != shape:
        raise ValueError(f"spectral_filter: out must have shape {list(shape)}; got {list(out.shape)}.")
    held = out.dtype
    if held not in FLOATS or (dtype is not None and held != dtype):
        raise TypeError(f"spectral_filter: out must be of the output dtype {dtype or 'float'}; got {held}.")
    if out.device != like.device:
        raise ValueError(f"spectral_filter: out must be on the images' device {like.device}; got {out.device}.")
    if not torch.compiler.is_compiling() and out.is_neg():
        raise ValueError("spectral_filter: out must not be a view that negates (torch.imag of a conjugate).")
    contiguous = out.is_contiguous()
    if contiguous and memory_format is not torch.channels_last:
        return held, False
    if memory_format is torch.contiguous_format or not _is_channels_last(out):
        raise ValueError(
            "spectral_filter: out must be contiguous or channels_last (as memory_format says), each image after the "
            f"other without gaps or overlaps; got strides {out.stride()} for shape {list(out.shape)}."
        )
    return held, True


def _is_channels_last(out):
    """Whether every image is channels-last and follows the one before; strides of size-1 dimensions mean nothing."""
    *lead, c, h, w = out.shape
    if out.numel() == 0:
        return True
    expected, step = [1, w * c, c], c * h * w
    for size in reversed(lead):
        expected.insert(0, step)
        step *= size
    return all(n == 1 or s == e for n, s, e in zip(out.shape, out.stride(), expected, strict=True))


def apart(out, name, tensor):
    """Refuse an `out` (without gaps) in whose memory an element of the tensor lies."""
    if (
        torch.compiler.is_compiling()
        or out.numel() == 0
        or tensor.numel() == 0
        or isinstance(out, FakeTensor)
        or isinstance(tensor, FakeTensor)
    ):
        return
    if out.device != tensor.device or out.device.type == "meta":
        return
    first, item = out.data_ptr(), tensor.element_size()
    end = first + out.numel() * out.element_size()
    steps = sorted(
        ((s * item, n) for s, n in zip(tensor.stride(), tensor.shape, strict=True) if n > 1 and s > 0), reverse=True
    )
    if _touches(tensor.data_ptr(), steps, item, first, end):
        raise ValueError(f"spectral_filter: out must not share memory with {name}.")


def far(out, tensor):
    """Whether plain tensors without gaps lie apart; False also where only a closer look (`apart`) can tell."""
    first, at = out.data_ptr(), tensor.data_ptr()
    return tensor.is_contiguous() and (at >= first + out.nbytes or first >= at + tensor.nbytes)


def _touches(at, steps, item, first, end):
    last = at + sum(step * (count - 1) for step, count in steps) + item
    if last <= first or at >= end:
        return False
    if not steps or (at >= first and at < end):
        return True
    (step, count), rest = steps[0], steps[1:]
    reach = last - at - step * (count - 1)  # bytes that one of the `count` parts spans
    low = max(0, -(-(first - at - reach + 1) // step))
    high = min(count - 1, (end - 1 - at) // step)
    return any(_touches(at + i * step, rest, item, first, end) for i in range(low, high + 1))


def no_derivatives(out, tensors):
    """Refuse out= where a derivative or a batch would be lost."""
    for name, tensor in (("out", out), *tensors):
        if isinstance(tensor, Tensor) and derivatives.live(tensor):
            raise ValueError(
                f"spectral_filter: out= does not record gradients, and {name} asks for one (or is batched by vmap); "
                "call it without out, or under torch.no_grad()."
            )
