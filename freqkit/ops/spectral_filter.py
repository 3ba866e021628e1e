"""Filter images by frequency masks: y[k,b] = Re IDFT2(m_k * DFT2(x[b]))."""

import re
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from freqkit.ops import band_bank, extension

_OUTPUT_DTYPES = frozenset((torch.float32, torch.float64, torch.bfloat16, torch.float16))
_NOT_FINITE = re.compile(r"spectral_filter: masks must be finite; mask \d+ holds NaN or infinity\.")
_SYMMETRIES = {
    "average": 2,
    "hermitian": 3,
}  # the native mask kinds; 0 is a full dense mask, 1 a half-plane one


class BitMasks(NamedTuple):
    """Binary masks as bits on a grid of equal cells, centred (DC at bin `(H//2, W//2)`).

    Attributes:
        bits: uint8 `[K, H/ch, ceil(W/cw/8)]`; cell `8*i+j` of a row is bit `j` (least significant first) of byte `i`.
        cell: `(ch, cw)`, the size of a cell in bins; divides `size`.
        size: `(H, W)`.
        symmetry: how the effective mask is formed. `"average"`: `(m(f) + m(-f))/2`, which is what filtering a real
            image by any mask amounts to. `"hermitian"`: the canonical half of the bins as drawn, copied to their
            partners, so that the mask stays binary. Canonical (centred) are the rows `h < H//2` other than row 0 of
            an even H, and the bins `w <= W//2` of the self-paired rows.

    Example:
        >>> import torch, freqkit
        >>> left = freqkit.BitMasks(torch.tensor([[[1], [1]]], dtype=torch.uint8), (4, 4), (8, 8), "average")
        >>> freqkit.spectral_filter(torch.ones(1, 3, 8, 8), left).shape
        torch.Size([1, 1, 3, 8, 8])
    """

    bits: Tensor
    cell: tuple
    size: tuple
    symmetry: str


@dataclass(frozen=True)
class Spectrum:
    """The real 2-D transform of a batch of images, kept in the operator's private layout. Made by `spectrum`.

    Attributes:
        packed: `[B, C, M]` real tensor; its order is private and differs between devices and machines.
        height, width: H and W in pixels.
    """

    packed: Tensor
    height: int
    width: int

    @property
    def shape(self):
        """`(B, C, H, W)`."""
        return torch.Size((*self.packed.shape[:2], self.height, self.width))

    @property
    def dtype(self):
        """float32 or float64: what the transforms are computed in."""
        return self.packed.dtype

    @property
    def device(self):
        """Where the spectrum lives."""
        return self.packed.device

    @property
    def nbytes(self):
        """Bytes held."""
        return self.packed.numel() * self.packed.element_size()

    def __len__(self):
        return self.packed.shape[0]

    def __getitem__(self, images):
        """The spectra of some images: a slice, or a tensor or list of indices."""
        if isinstance(images, int):
            images = slice(images, images + 1) if images != -1 else slice(-1, None)
        return Spectrum(self.packed[images], self.height, self.width)

    def dense(self):
        """The spectrum as `torch.fft.rfft2` gives it: complex `[B, C, H, W//2+1]`, DC at [0, 0], unnormalised."""
        half = _unpack(self.packed, self.height, self.width)  # [B, C, H//2+1, W]
        h, w = self.height, self.width
        rest = torch.arange(h // 2 + 1, h, device=self.device)  # rows given by symmetry: X[ky, kx] = conj X[-ky, -kx]
        kx = torch.arange(w // 2 + 1, device=self.device)
        mirrored = half[:, :, h - rest][..., (w - kx) % w].conj()
        return torch.cat([half[..., : w // 2 + 1], mirrored], dim=2)

    def magnitude(self, *, total=False, weights=None):
        """|X| of the rows ky = 0 .. H//2: real `[B, C, H//2+1, W]`, kx as `torch.fft.fft2` orders it. The other rows
        follow by |X(-f)| = |X(f)|.

        With `total`, float64 `[C, H//2+1, W]`: summed over the images, which is faster than summing afterwards. With
        `weights` (C numbers) too, `[1, H//2+1, W]`: the weighted sum over the channels of that.

        Example:
            >>> import torch, freqkit
            >>> x = torch.rand(2, 3, 6, 5)
            >>> torch.allclose(freqkit.spectrum(x).magnitude(), torch.fft.fft2(x).abs()[..., :4, :], atol=1e-4)
            True
        """
        h, w = self.height, self.width
        if self.device.type != "cpu":
            value = _unpack(self.packed, h, w).abs()
            return _total(value, weights) if total else value
        lanes, rows = _lanes(self.dtype), (h + 1) // 2
        groups = -(-rows // lanes)
        count = groups * w * 2 * lanes
        main = self.packed[..., :count].unflatten(-1, (groups, w, 2, lanes))
        value = _length(main[..., 0, :], main[..., 1, :])
        last = self.packed[..., count : count + 2 * w].unflatten(-1, (w, 2)) if h % 2 == 0 else None
        last = None if last is None else _length(last[..., 0], last[..., 1])
        if total:
            value = _total(value, weights)
            last = None if last is None else _total(last, weights)
        value = value.movedim(-1, -2).flatten(-3, -2)[..., :rows, :]
        return value if last is None else torch.cat([value, last[..., None, :]], dim=-2)


def spectrum(x, *, mean=None, std=None):
    """Transform real images once, to filter them many times.

    Args:
        x: real images `[B, C, H, W]`, any strides, float32 or float64 (float16 and bfloat16 are computed in float32).
        mean, std: per-channel floats (C of them, or one for all): the spectrum is that of `(x - mean)/std`.

    Returns:
        A `Spectrum` on x's device. Gradients flow to x.

    Raises:
        TypeError: x is not a real floating tensor.
        ValueError: x is not `[B, C, H, W]` with H, W >= 1, or mean/std do not fit C.

    Example:
        >>> import torch, freqkit
        >>> x = torch.rand(2, 3, 16, 12)
        >>> torch.allclose(freqkit.spectrum(x).dense(), torch.fft.rfft2(x), atol=1e-4)
        True
    """
    extension.require()
    _check_images(x)
    if x.dtype in (torch.float16, torch.bfloat16):
        x = x.float()
    channels = x.shape[1]
    mean = _per_channel("mean", mean, channels, x)
    std = _per_channel("std", std, channels, x)
    if std is not None and not torch.compiler.is_compiling() and not (std > 0).all():
        raise ValueError(f"spectrum: std must be positive; got {std.tolist()}.")
    if 0 in x.shape[:2]:
        empty = x.new_empty(x.shape[0], channels, packed_size(x.device.type, x.dtype, x.shape[2], x.shape[3]))
        return Spectrum(empty, x.shape[2], x.shape[3])
    return Spectrum(torch.ops.freqkit.spectrum(x, mean, std), x.shape[2], x.shape[3])


def spectral_filter(x, masks, *, pairing="all", out=None, dtype=None, memory_format=None, method="auto"):
    """Filter real images by frequency masks: `y[k, b] = Re IDFT2(m_k * DFT2(x[b]))`.

    For real images this equals `IDFT2(m_eff * X)` with the effective mask `m_eff(f) = (m(f) + m(-f))/2`, which is what
    is computed; any real mask is legal. The forward DFT is unnormalised, the inverse carries 1/(HW).

    Args:
        x: images `[B, C, H, W]` or their `Spectrum` (transform once, filter often).
        masks: real `[K, H, W]`, or the half plane `[K, H, W//2+1]` as `torch.fft.rfft2` orders it (the mirrored columns
            implied), both with DC at [0, 0]; or `BitMasks`. Boolean and integer masks are read as 0/1 and numbers.
        pairing: `"all"`: every mask with every image; `"each"`: mask i with image i (K = B).
        out: tensor to write into, of the result's shape, contiguous or channels_last; its dtype decides the output's.
        dtype: output type: float32, float64, bfloat16 or float16; default the compute type of x.
        memory_format: `torch.contiguous_format` (default) or `torch.channels_last` (each image channels-last).
        method: `"fft"`: one inverse transform per mask and image. `"bank"`: for `BitMasks` and pairing "all", the image
            of each free cell of the grid once per image, then sums of these. `"auto"` (default): whichever is expected
            to be faster, from the number of masks and of free cells alone (`freqkit.ops.band_bank.choose`): on the CPU
            the bank from 18 masks on 8 cells, 40 on 16, 91 on 28, 326 on 49, and transforms otherwise. The two round
            differently; either gives a mask and an image the same bits in whatever company they come.

    Returns:
        `[K, B, C, H, W]` for "all", `[B, C, H, W]` for "each". Gradients flow to x and to dense masks.

    Raises:
        TypeError, ValueError: one sentence naming the argument, the rule and what came. NaN or infinity in a mask is an
            error on the CPU; on CUDA it is not looked for (that would wait for the device) and spreads into the output.

    Notes:
        What is not finite: a NaN or infinity in an image makes every pixel of that image's channel NaN or infinite, for
        each mask that is not all off; other channels, images and masks keep their bits. A mask that is all off gives
        zeros of anything (on the CPU). A bin of weight 0 may still be multiplied, which matters to no finite image.

        Skipped on the CPU: groups of 4 to 16 rows `ky` of the half plane that are all off, and masks that are all off.
        Bit masks that are equal are computed once in a call and copied ("all") or prepared once ("each"), and an all-on
        mask is not expanded; the result has the same bits as without. Columns that are off save nothing.

        Memory on the CPU beyond input and result, whatever K and B are: 4 MiB (or one mask, if that is more) and 48
        bytes per mask for each call, and for each thread, kept between calls, at most
        `itemsize * (P*(H + 2*L + 1)*(W + 2*L + 4) + (2*P + 8)*L*(max(H, W) + 2*L + 64))` bytes: 0.5 MB at 224. L is the
        number of lanes (4, 8 or 16 for float32, half of it for float64: `lanes` of the build info), P is 3 for a
        channels-last result of three channels, else 1. Dense masks of another dtype than the spectrum, and masks or
        spectra that are not contiguous, are copied whole.

        A result of more than 6 MiB is written past the caches.

        The bank, a filtered image per free cell, is made for as many images at a time as fit 16 MiB, at least one; on
        the CPU a thread keeps that memory. Gradients take the transforms under either method.

    Example:
        >>> import torch, freqkit
        >>> x = torch.rand(2, 3, 32, 32)
        >>> lowpass = torch.zeros(1, 32, 32)
        >>> lowpass[0, 0, 0] = 1                     # keep the mean alone
        >>> y = freqkit.spectral_filter(x, lowpass)
        >>> torch.allclose(y[0], x.mean((-2, -1), keepdim=True).expand_as(x), atol=1e-5)
        True
    """
    extension.require()
    if pairing not in ("all", "each"):
        raise ValueError(f"spectral_filter: pairing must be 'all' or 'each'; got {pairing!r}.")
    if not isinstance(x, Spectrum) and not isinstance(x, Tensor):
        raise TypeError(f"spectral_filter: x must be a tensor [B, C, H, W] or a Spectrum; got {type(x).__name__}.")
    if method not in ("auto", "fft", "bank"):
        raise ValueError(f"spectral_filter: method must be 'auto', 'fft' or 'bank'; got {method!r}.")
    transformed = x if isinstance(x, Spectrum) else spectrum(x)
    packed, h, w = transformed.packed, transformed.height, transformed.width
    batch, channels, _ = packed.shape
    mask, kind, cell, count = _mask_arguments(masks, h, w, packed)
    bank_fits = kind > 1 and pairing == "all"
    if method == "bank" and not bank_fits:
        raise ValueError(
            "spectral_filter: method='bank' needs BitMasks and pairing='all'; "
            f"got {type(masks).__name__} and pairing={pairing!r}."
        )
    if bank_fits and method == "auto":
        cells = band_bank.cell_count((h, w), cell, masks.symmetry)
        method = band_bank.choose(cells, count, packed.device.type)
    paired = pairing == "each"
    if paired and count != batch:
        raise ValueError(
            f"spectral_filter: pairing='each' needs as many masks as images; got {count} masks and {batch} images."
        )
    shape = (batch, channels, h, w) if paired else (count, batch, channels, h, w)
    dtype, channels_last = _output_format(out, dtype, memory_format, shape, packed)
    if 0 in shape:
        return torch.empty(shape, dtype=dtype, device=packed.device) if out is None else out
    if method == "bank":
        if out is None:
            return torch.ops.freqkit.band_bank(packed, h, w, mask, kind, cell, dtype, channels_last)
        torch.ops.freqkit.band_bank_out(packed, h, w, mask, kind, cell, channels_last, out)
        return out
    try:
        if out is None:
            return torch.ops.freqkit.spectral_filter.default(
                packed, h, w, mask, kind, cell, paired, dtype, channels_last
            )
        _filter_out(packed, h, w, mask, kind, cell, paired, channels_last, out)
        return out
    except RuntimeError as error:  # the one check of values that the native side makes
        found = _NOT_FINITE.search(str(error))
        if found is None:
            raise
        raise ValueError(found[0]) from None


# ---- arguments ------------------------------------------------------------------------------------------------------


def _check_images(x):
    if not isinstance(x, Tensor):
        raise TypeError(f"spectrum: x must be a tensor [B, C, H, W]; got {type(x).__name__}.")
    if not x.dtype.is_floating_point:
        raise TypeError(f"spectrum: x must hold real floating-point images (scale integers to [0, 1]); got {x.dtype}.")
    if x.dtype not in _OUTPUT_DTYPES:
        raise TypeError(f"spectrum: x must be float32, float64, float16 or bfloat16; got {x.dtype}.")
    if x.dim() != 4 or x.shape[2] < 1 or x.shape[3] < 1:
        raise ValueError(f"spectrum: x must have shape [B, C, H, W] with H, W >= 1; got {list(x.shape)}.")


def _per_channel(name, value, channels, x):
    if value is None:
        return None
    value = torch.as_tensor(value, dtype=x.dtype, device=x.device).detach().flatten()
    if value.numel() == 1:
        value = value.expand(channels)
    if value.numel() != channels:
        raise ValueError(f"spectrum: {name} must hold 1 or C={channels} numbers; got {value.numel()}.")
    return value.contiguous()


def _mask_arguments(masks, h, w, packed):
    if isinstance(masks, BitMasks):
        return _bit_mask_arguments(masks, h, w, packed)
    if not isinstance(masks, Tensor):
        raise TypeError(f"spectral_filter: masks must be a real tensor or BitMasks; got {type(masks).__name__}.")
    same_dtype = masks.dtype is packed.dtype
    if not same_dtype and masks.dtype.is_complex:
        raise TypeError(f"spectral_filter: masks must be real; got {masks.dtype}.")
    shape = masks.shape
    if len(shape) != 3 or shape[1] != h or shape[2] not in (w, w // 2 + 1):
        raise ValueError(
            f"spectral_filter: masks must have shape [K, H, W] or [K, H, W//2+1] with H={h}, W={w}; "
            f"got {list(masks.shape)}."
        )
    if masks.device != packed.device:
        raise ValueError(f"spectral_filter: masks must be on the images' device {packed.device}; got {masks.device}.")
    return masks if same_dtype else masks.to(packed.dtype), int(shape[2] != w), (1, 1), shape[0]


def _bit_mask_arguments(masks, h, w, packed):
    bits, cell, size, symmetry = masks
    if tuple(size) != (h, w):
        raise ValueError(f"spectral_filter: BitMasks.size must be the images' ({h}, {w}); got {tuple(size)}.")
    if symmetry not in _SYMMETRIES:
        raise ValueError(f"spectral_filter: BitMasks.symmetry must be 'average' or 'hermitian'; got {symmetry!r}.")
    ch, cw = cell
    if ch < 1 or cw < 1 or h % ch or w % cw:
        raise ValueError(f"spectral_filter: BitMasks.cell must divide the size ({h}, {w}); got {tuple(cell)}.")
    expected = (h // ch, -(-(w // cw) // 8))
    if not isinstance(bits, Tensor) or bits.dtype != torch.uint8:
        raise TypeError(
            f"spectral_filter: BitMasks.bits must be a uint8 tensor; got {getattr(bits, 'dtype', type(bits))}."
        )
    if bits.dim() != 3 or tuple(bits.shape[1:]) != expected:
        raise ValueError(
            f"spectral_filter: BitMasks.bits must have shape [K, {expected[0]}, {expected[1]}]; got {list(bits.shape)}."
        )
    if bits.device != packed.device:
        raise ValueError(f"spectral_filter: masks must be on the images' device {packed.device}; got {bits.device}.")
    return bits, _SYMMETRIES[symmetry], (int(ch), int(cw)), bits.shape[0]


def _output_format(out, dtype, memory_format, shape, packed):
    if memory_format is not None and memory_format not in (torch.contiguous_format, torch.channels_last):
        raise ValueError(
            "spectral_filter: memory_format must be torch.contiguous_format or torch.channels_last; "
            f"got {memory_format}."
        )
    if out is None:
        dtype = packed.dtype if dtype is None else dtype
        if dtype not in _OUTPUT_DTYPES:
            raise TypeError(f"spectral_filter: dtype must be float32, float64, bfloat16 or float16; got {dtype}.")
        return dtype, memory_format == torch.channels_last
    if not isinstance(out, Tensor) or out.shape != shape:
        raise ValueError(f"spectral_filter: out must have shape {list(shape)}; got {list(getattr(out, 'shape', ()))}.")
    held = out.dtype
    if held not in _OUTPUT_DTYPES or (dtype is not None and held != dtype):
        raise TypeError(f"spectral_filter: out must be of the output dtype {dtype or 'float'}; got {held}.")
    if out.device != packed.device:
        raise ValueError(f"spectral_filter: out must be on the images' device {packed.device}; got {out.device}.")
    if torch.is_grad_enabled() and (out.requires_grad or packed.requires_grad):
        raise ValueError(
            "spectral_filter: out= does not record gradients; call it without out, or under torch.no_grad()."
        )
    contiguous = out.is_contiguous()
    if contiguous and (memory_format is None or memory_format == torch.contiguous_format):  # the common case: no view
        return held, False
    images = out.reshape(-1, *out.shape[-3:]) if contiguous else out.flatten(0, -4)
    last = images.is_contiguous(memory_format=torch.channels_last)
    if memory_format is None:
        channels_last = not contiguous
    else:
        channels_last = memory_format == torch.channels_last
    if not (last if channels_last else contiguous):
        raise ValueError(
            "spectral_filter: out must be contiguous or channels_last (as memory_format says); "
            f"got strides {out.stride()}."
        )
    return held, channels_last


# ---- the private layout ---------------------------------------------------------------------------------------------


@cache
def _lanes(dtype):
    return torch.ops.freqkit.lanes(dtype == torch.float64)


def packed_size(device_type, dtype, h, w):
    """Real numbers per plane of a packed spectrum.

    CPU: rows ky < (H+1)//2 in groups of `lanes`, `[group][kx][re, im][lane]`, then for even H the row H/2,
    `[kx][re, im]`; padded to a multiple of 16.
    CUDA: `[ky <= H//2][kx][re, im]`.
    """
    if device_type != "cpu":
        return (h // 2 + 1) * w * 2
    lanes = _lanes(dtype)
    groups = -(-((h + 1) // 2) // lanes)
    return -(-(groups * w * 2 * lanes + (2 * w if h % 2 == 0 else 0)) // 16) * 16


def _total(value, weights):
    """Sum over images, and weighted over channels, in float64: [B, C, ...] -> [C or 1, ...]."""
    value = value.sum(0, dtype=torch.float64)
    if weights is None:
        return value
    weights = torch.as_tensor(weights, dtype=torch.float64, device=value.device)
    return (weights @ value.flatten(1)).view(1, *value.shape[1:])


def _length(real, imaginary):
    return (real * real).addcmul_(imaginary, imaginary).sqrt_()


def _unpack(packed, h, w):
    """Packed `[B, C, M]` -> complex half plane `[B, C, H//2+1, W]`."""
    b, c, _ = packed.shape
    if packed.device.type != "cpu":
        return torch.view_as_complex(packed.reshape(b, c, h // 2 + 1, w, 2))
    lanes, rows = _lanes(packed.dtype), (h + 1) // 2
    groups = -(-rows // lanes)
    main = packed[..., : groups * w * 2 * lanes].reshape(b, c, groups, w, 2, lanes)
    main = main.permute(0, 1, 2, 5, 3, 4).reshape(b, c, groups * lanes, w, 2)[:, :, :rows]
    if h % 2 == 0:
        main = torch.cat([main, packed[..., groups * w * 2 * lanes :][..., : 2 * w].reshape(b, c, 1, w, 2)], dim=2)
    return torch.view_as_complex(main.contiguous())


# ---- registration ---------------------------------------------------------------------------------------------------


def _register():
    library = torch.library

    @library.register_fake("freqkit::spectrum")
    def _(x, mean, std):
        b, c, h, w = x.shape
        return x.new_empty(b, c, packed_size(x.device.type, x.dtype, h, w))

    @library.register_fake("freqkit::spectrum_backward")
    def _(grad, height, width, std):
        return grad.new_empty(*grad.shape[:2], height, width)

    @library.register_fake("freqkit::spectral_filter")
    def _(packed, height, width, mask, kind, cell, paired, dtype, channels_last):
        b, c = packed.shape[:2]
        lead = (b,) if paired else (mask.shape[0], b)
        if channels_last:
            return packed.new_empty(*lead, height, width, c, dtype=dtype).movedim(-1, -3)
        return packed.new_empty(*lead, c, height, width, dtype=dtype)

    @library.register_fake("freqkit::spectral_filter_out")
    def _(packed, height, width, mask, kind, cell, paired, channels_last, out):
        return None

    @library.register_fake("freqkit::spectral_filter_backward_spectrum")
    def _(grad, height, width, mask, kind, cell, paired, dtype):
        b, c = grad.shape[-4:-2]
        return grad.new_empty(b, c, packed_size(grad.device.type, dtype, height, width), dtype=dtype)

    @library.register_fake("freqkit::spectral_filter_backward_mask")
    def _(grad, packed, height, width, kind, paired):
        k = grad.shape[0]
        return packed.new_empty(k, height, width if kind == 0 else width // 2 + 1)

    def spectrum_context(ctx, inputs, output):
        x, _, std = inputs
        ctx.size, ctx.std = x.shape[2:], std

    def spectrum_backward(ctx, grad):
        gx = torch.ops.freqkit.spectrum_backward(grad.contiguous(), *ctx.size, ctx.std)
        return gx, None, None

    library.register_autograd("freqkit::spectrum", spectrum_backward, setup_context=spectrum_context)

    def filter_context(ctx, inputs, output):
        packed, height, width, mask, kind, cell, paired, _, _ = inputs
        ctx.save_for_backward(packed if ctx.needs_input_grad[3] else None, mask)
        ctx.arguments = (height, width, kind, cell, paired, packed.dtype)

    def filter_backward(ctx, grad):
        packed, mask = ctx.saved_tensors
        height, width, kind, cell, paired, dtype = ctx.arguments
        g_packed = g_mask = None
        grad = grad.contiguous()
        if ctx.needs_input_grad[0]:
            g_packed = torch.ops.freqkit.spectral_filter_backward_spectrum(
                grad, height, width, mask, kind, cell, paired, dtype
            )
        if ctx.needs_input_grad[3]:
            g_mask = torch.ops.freqkit.spectral_filter_backward_mask(grad, packed, height, width, kind, paired)
        return g_packed, None, None, g_mask, None, None, None, None, None

    library.register_autograd("freqkit::spectral_filter", filter_backward, setup_context=filter_context)


if extension.load_if_built():
    _register()
    _filter_out = torch.ops.freqkit.spectral_filter_out.default  # looking it up takes 0.2 us
    band_bank.register()
