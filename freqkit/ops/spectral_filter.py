"""Filter images by frequency masks: y[k,b] = Re IDFT2(m_k * DFT2(x[b]))."""

import copy
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from freqkit.ops import arguments, band_bank, derivatives, extension
from freqkit.ops.packed import as_complex, hermitian, lanes, learn_lanes, pack, packed_size, unpack


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


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The real 2-D transform of a batch of images, kept in the operator's private layout. Made by `spectrum`.

    Indexed by images, and by channels after a comma, as a tensor `[B, C, ...]` is; what comes is a Spectrum of the
    images (and channels) named, also of one: `spectra[0]` has shape `(1, C, H, W)`. Iteration gives the images one by
    one. Saved (`torch.save`, `pickle`), it leaves the private layout and is right on any machine and device;
    `torch.load(..., weights_only=True)` reads it, and `BitMasks`, once `freqkit.ops` has been imported.

    Attributes:
        packed: `[B, C, M]` real tensor; its order is private and differs between devices and machines.
        height, width: H and W in pixels.

    Example:
        >>> import torch, freqkit
        >>> spectra = freqkit.spectrum(torch.rand(4, 3, 8, 8))
        >>> spectra[1:3].shape, spectra[-1].shape, spectra[torch.tensor([0, 3]), 1].shape, len(list(spectra))
        (torch.Size([2, 3, 8, 8]), torch.Size([1, 3, 8, 8]), torch.Size([2, 1, 8, 8]), 4)
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

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index):
        """The spectra of some images, `[images]`, and of some channels, `[images, channels]`.

        Args:
            index: an integer (also numpy's, or a tensor's without dimensions), a slice, a list or 1-D tensor or array
                of integers, or a boolean one with an entry per image; or a tuple of one or two of these, of which one
                at most is a list, tensor or array. `...` is every image.

        Raises:
            IndexError: out of range, a mask of another length, or too many indices. TypeError: no index.
        """
        parts = index if isinstance(index, tuple) else (index,)
        if len(parts) > 2:
            raise IndexError(f"Spectrum: at most images and channels can be indexed; got {len(parts)} indices.")
        packed = self.packed
        several = 0
        for dim, part in enumerate(parts):
            if part is Ellipsis and len(parts) == 1:
                continue
            place = _places(part, dim, packed.shape[dim])
            several += isinstance(place, Tensor)
            packed = packed[(slice(None),) * dim + (place,)]
        if several > 1:
            raise IndexError(
                "Spectrum: images and channels cannot both be lists or tensors; index one after the other."
            )
        return Spectrum(packed, self.height, self.width)

    def __copy__(self):
        return Spectrum(self.packed, self.height, self.width)

    def __deepcopy__(self, memo):
        return Spectrum(copy.deepcopy(self.packed, memo), self.height, self.width)

    def __reduce__(self):
        arguments.sides(self.height, self.width)
        half = unpack(self.packed.detach(), self.height, self.width).contiguous()
        return _spectrum_of_half, (half, self.height, self.width, self.packed.requires_grad)

    def dense(self):
        """The spectrum as `torch.fft.rfft2` gives it: complex `[B, C, H, W//2+1]`, DC at [0, 0], unnormalised."""
        h, w, packed = self.height, self.width, _numbers(self)
        half = as_complex(unpack(packed, h, w))  # [B, C, H//2+1, W]
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
        h, w, packed = self.height, self.width, _numbers(self)
        if self.device.type != "cpu":
            half = unpack(packed, h, w)
            value = _length(half[..., 0], half[..., 1])
            return _total(value, weights) if total else value
        count, rows = lanes(self.dtype), (h + 1) // 2
        groups = -(-rows // count)
        numbers = groups * w * 2 * count
        main = packed[..., :numbers].unflatten(-1, (groups, w, 2, count))
        value = _length(main[..., 0, :], main[..., 1, :])
        last = packed[..., numbers : numbers + 2 * w].unflatten(-1, (w, 2)) if h % 2 == 0 else None
        last = None if last is None else _length(last[..., 0], last[..., 1])
        if total:
            value = _total(value, weights)
            last = None if last is None else _total(last, weights)
        value = value.movedim(-1, -2).flatten(-3, -2)[..., :rows, :]
        return value if last is None else torch.cat([value, last[..., None, :]], dim=-2)


def _numbers(spectra):
    """The packed numbers, checked; where derivatives are taken, as a map of any numbers."""
    arguments.spectrum(spectra)
    packed = spectra.packed
    if (packed.requires_grad or not derivatives.nothing_traces()) and derivatives.live(packed):
        return hermitian(packed, spectra.height, spectra.width)
    return packed


def _places(index, dim, size):
    """What to index a tensor's dimension with so that it stays: a slice, or a 1-D tensor of integers or booleans."""
    what = ("image", "channel")[dim]
    if isinstance(index, Tensor) and index.dim() == 0 and not index.dtype.is_floating_point:
        if index.dtype == torch.bool or index.dtype.is_complex:
            raise TypeError(f"Spectrum: {what}s are named by integers, slices or masks; got a {index.dtype} scalar.")
        index = int(index)
    place = arguments.whole(index)
    if place is not None:
        if not -size <= place < size:
            raise IndexError(f"Spectrum: {what} {place} is out of range; there are {size}.")
        place += size if place < 0 else 0
        return slice(place, place + 1)
    if isinstance(index, slice):
        parts = (index.start, index.stop, index.step)
        if not all(part is None or arguments.whole(part) is not None for part in parts):
            raise TypeError(f"Spectrum: a slice of {what}s needs whole numbers; got {arguments.shown(parts)}.")
        if index.step is not None and arguments.whole(index.step) < 1:  # pyright: ignore[reportOptionalOperand]
            raise ValueError(f"Spectrum: the step of a slice must be positive; got {index.step}.")
        return index
    if not isinstance(index, Tensor):
        arrays = isinstance(index, (list, range)) or hasattr(index, "__array__")
        if not arrays or type(index).__name__ in ("bool", "bool_"):
            raise TypeError(f"Spectrum: {what}s are named by integers, slices or masks; got {arguments.shown(index)}.")
        try:
            found = torch.as_tensor(list(index) if isinstance(index, range) else index)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            raise TypeError(
                f"Spectrum: {what}s are named by integers, slices or masks; got {arguments.shown(index)}."
            ) from None
        index = found.long() if found.numel() == 0 else found
    if index.dim() != 1:
        raise IndexError(f"Spectrum: a list or tensor of {what}s must have one dimension; got {list(index.shape)}.")
    if index.dtype == torch.bool:
        if len(index) != size:
            raise IndexError(f"Spectrum: a mask needs an entry for each of {size} {what}s; got {len(index)}.")
    elif index.dtype.is_floating_point or index.dtype.is_complex:
        raise IndexError(f"Spectrum: {what}s are named by integers or booleans; got {index.dtype}.")
    else:
        index = index.long()
        if index.device.type == "cpu" and not torch.compiler.is_compiling() and not derivatives.live(index):
            wrong = index[(index < -size) | (index >= size)]
            if len(wrong):
                raise IndexError(f"Spectrum: {what} {int(wrong[0])} is out of range; there are {size}.")
    return index


def _spectrum_of_half(half, height, width, requires_grad):
    """A saved Spectrum in the layout of the device it was loaded to and of this machine."""
    extension.require()
    arguments.sides(height, width)
    if not isinstance(half, Tensor) or half.dim() != 5 or half.shape[2:] != (height // 2 + 1, width, 2):
        raise ValueError(
            f"Spectrum: a saved spectrum of {height} x {width} must hold [B, C, {height // 2 + 1}, {width}, 2]; "
            f"got {list(getattr(half, 'shape', ()))}."
        )
    return Spectrum(pack(half, height, width).requires_grad_(bool(requires_grad)), height, width)


def spectrum(x, *, mean=None, std=None):
    """Transform real images once, to filter them many times.

    Args:
        x: real images `[B, C, H, W]`, any strides, float32 or float64 (float16 and bfloat16 are computed in float32);
            on the CPU also uint8, read as x/255 in float32, a plane at a time and without a float copy of the images.
        mean, std: per-channel floats (C of them, or one for all): the spectrum is that of `(x - mean)/std`, of
            `(x/255 - mean)/std` for uint8 images.

    Returns:
        A `Spectrum` on x's device. Derivatives as of `spectral_filter`: to x, and to mean and std where they are
        tensors that ask for one (then `(x - mean)/std` is taken by torch first). uint8 images have none.

    Raises:
        TypeError: x is not a dense real floating or uint8 tensor, uint8 on another device than the CPU, or mean/std are
            no numbers.
        ValueError: x is not `[B, C, H, W]` with H, W in 1 .. 2^24, or mean/std do not fit C, are not finite, or std is
            not positive.

    Example:
        >>> import torch, freqkit
        >>> x = torch.rand(2, 3, 16, 12)
        >>> torch.allclose(freqkit.spectrum(x).dense(), torch.fft.rfft2(x), atol=1e-4)
        True
    """
    extension.require()
    if mean is None and std is None and (packed := _transformed(x)) is not None:
        return Spectrum(packed, x.shape[2], x.shape[3])
    arguments.images(x)
    if x.dtype not in arguments.TAKEN:
        x = x.float()
    _, channels, h, w = x.shape
    if mean is not None or std is not None:
        mean, mean_follows = arguments.per_channel("mean", mean, channels, x)
        std, std_follows = arguments.per_channel("std", std, channels, x)
        if mean_follows or std_follows:
            x = x / 255 if x.dtype is torch.uint8 else x
            x = x if mean is None else x - mean[:, None, None]
            x = x if std is None else x / std[:, None, None]
            mean = std = None
    if derivatives.nothing_traces() and not (x.requires_grad and torch.is_grad_enabled()):
        with _below_autograd():
            return Spectrum(_spectrum(x, mean, std), h, w)
    return Spectrum(torch.ops.freqkit.spectrum(x, mean, std), h, w)


def spectral_filter(x, masks, *, pairing="all", out=None, dtype=None, memory_format=None, method="auto"):
    """Filter real images by frequency masks: `y[k, b] = Re IDFT2(m_k * DFT2(x[b]))`.

    For real images this equals `IDFT2(m_eff * X)` with the effective mask `m_eff(f) = (m(f) + m(-f))/2`, which is what
    is computed; any real mask is legal. The forward DFT is unnormalised, the inverse carries 1/(HW).

    Args:
        x: images `[B, C, H, W]` (uint8 as x/255, on the CPU) or their `Spectrum` (transform once, filter often).
        masks: real `[K, H, W]`, or the half plane `[K, H, W//2+1]` as `torch.fft.rfft2` orders it (the mirrored columns
            implied), both with DC at [0, 0]; or `BitMasks`. Boolean and integer masks are read as 0/1 and numbers.
        pairing: `"all"`: every mask with every image; `"each"`: mask i with image i (K = B).
        out: tensor to write into, of the result's shape, contiguous or channels_last without gaps or overlaps, in no
            memory that x or masks lie in; its dtype decides the output's.
        dtype: output type: float32, float64, bfloat16 or float16; default the compute type of x.
        memory_format: `torch.contiguous_format` (default) or `torch.channels_last` (each image channels-last).
        method: `"fft"`: one inverse transform per mask and image. `"bank"`: for `BitMasks` and pairing "all", the image
            of each free cell of the grid once per image, then sums of these. `"auto"` (default): whichever is expected
            to be faster, from the number of masks and of free cells alone (`freqkit.ops.band_bank.choose`): on the CPU
            the bank from 18 masks on 8 cells, 40 on 16, 91 on 28, 326 on 49, and transforms otherwise. The two round
            differently; either gives a mask and an image the same bits in whatever company they come.

    Returns:
        `[K, B, C, H, W]` for "all", `[B, C, H, W]` for "each". Derivatives to x and to dense masks: of any order, in
        reverse and forward mode (`torch.autograd.forward_ad`), under the transforms of `torch.func` (`grad`, `vjp`,
        `jvp`, `jacrev`, `jacfwd`, `hessian`, `vmap` over images, masks or both), `torch.compile` and `torch.export`. An
        empty batch stays in the graph, with zero gradients. `out=` records none, and refuses what asks for one.

    Raises:
        TypeError, ValueError: one sentence naming the argument, the rule and what came. NaN or infinity in a mask is an
            error on the CPU; on CUDA it is not looked for (that would wait for the device) and spreads into the output.

    Notes:
        What is not finite: a NaN or infinity in an image makes every pixel of that image's channel NaN or infinite, for
        each mask that is not all off; other channels, images and masks keep their bits. A mask that is all off gives
        zeros of anything (on the CPU). A bin of weight 0 may still be multiplied, which matters to no finite image.

        Skipped on the CPU: groups of 4 to 16 rows `ky` of the half plane that are all off, and masks that are all off.
        Low-pass masks save more where their bins lie next to frequency 0, on up to about a quarter of a side either
        way (at sizes with a measured cut, among them 32, 64, 96, 128, 224, 256 and 384): columns that are off are
        neither read nor multiplied, and zeros are not transformed. Against `FREQKIT_SKIP_ZEROS=off`, which skips
        nothing, that rounds otherwise: by at most 2e-7 (float32) or 4e-16 (float64) of the result's norm.
        Bit masks that are equal are computed once in a call and copied ("all") or prepared once ("each"), and an all-on
        mask is not expanded; the result has the same bits as without.

        Memory on the CPU beyond input and result, whatever K and B are: 4 MiB (or one mask, if that is more) and 48
        bytes per mask for each call, and for each thread, kept between calls, at most
        `itemsize * (P*(H + 2*L + 1)*(W + 2*L + 4) + (2*P + 8)*L*(max(H, W) + 2*L + 64))` bytes: 0.5 MB at 224. L is the
        number of lanes (4, 8 or 16 for float32, half of it for float64: `lanes` of the build info), P is 3 for a
        channels-last result of three channels, else 1. Dense masks of another dtype than the spectrum, and masks or
        spectra that are not contiguous, are copied whole.

        A result of more than 6 MiB is written past the caches.

        The bank, a filtered image per free cell, is made for as many images at a time as fit 16 MiB, at least one; on
        the CPU a thread keeps that memory. Gradients take the transforms under either method, which takes at most
        16,384 free cells.

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
    if type(pairing) is not str or pairing not in ("all", "each"):
        raise ValueError(f"spectral_filter: pairing must be 'all' or 'each'; got {arguments.shown(pairing)}.")
    if type(method) is not str or method not in ("auto", "fft", "bank"):
        raise ValueError(f"spectral_filter: method must be 'auto', 'fft' or 'bank'; got {arguments.shown(method)}.")
    if type(masks) is Tensor and dtype is None and memory_format is None and method != "bank":
        y = _filtered(x, masks, pairing == "each", out)
        if y is None and out is None and type(x) is Tensor:
            y = _tracked(x, masks, pairing == "each")
        if y is not None:
            return y
    if isinstance(x, Spectrum):
        packed, h, w = _numbers(x), x.height, x.width
    elif isinstance(x, Tensor):
        transformed = spectrum(x)
        packed, h, w = transformed.packed, transformed.height, transformed.width
    else:
        raise TypeError(f"spectral_filter: x must be a tensor [B, C, H, W] or a Spectrum; got {type(x).__name__}.")
    batch, channels, _ = packed.shape
    mask, kind, cell, count = arguments.masks(masks, h, w, packed, BitMasks)
    paired = pairing == "each"
    bank_fits = kind > 1 and not paired
    if method == "bank" and not bank_fits:
        raise ValueError(
            "spectral_filter: method='bank' needs BitMasks and pairing='all'; "
            f"got {type(masks).__name__} and pairing={pairing!r}."
        )
    if bank_fits and method != "fft":
        cells = band_bank.cell_count((h, w), cell, masks.symmetry)  # pyright: ignore[reportAttributeAccessIssue]
        if method == "auto":
            method = band_bank.choose(cells, count, packed.device.type)
        elif cells > band_bank.MOST_CELLS:
            raise ValueError(
                f"spectral_filter: method='bank' takes at most {band_bank.MOST_CELLS} free cells; got {cells}."
            )
    if paired and count != batch:
        raise ValueError(
            f"spectral_filter: pairing='each' needs as many masks as images; got {count} masks and {batch} images."
        )
    shape = (batch, channels, h, w) if paired else (count, batch, channels, h, w)
    dtype, channels_last = arguments.output(out, dtype, memory_format, shape, packed)
    if out is not None:
        _write(x, masks, packed, h, w, mask, kind, cell, paired, channels_last, out, method)
        return out
    if method == "bank":
        return torch.ops.freqkit.band_bank(packed, h, w, mask, kind, cell, dtype, channels_last)
    tracked = (packed.requires_grad or mask.requires_grad) and torch.is_grad_enabled()
    if derivatives.nothing_traces() and not tracked:
        with _below_autograd():
            return _filter(packed, h, w, mask, kind, cell, paired, dtype, channels_last)
    return torch.ops.freqkit.spectral_filter(packed, h, w, mask, kind, cell, paired, dtype, channels_last)


# ---- plain tensors on the CPU ---------------------------------------------------------------------------------------
# The native side asks everything of them but what it cannot see, which is asked here. What it refuses, and all that is
# not plain, takes the way above, which checks first and says what is wrong in the caller's words.


def _transformed(x):
    """The packed numbers of plain images, or None."""
    if type(x) is not Tensor or not _native or not derivatives.nothing_traces():  # a compiler sees no further
        return None
    if not x.is_cpu or x.dtype not in arguments.TAKEN or x.numel() > arguments.MOST_NUMBERS:
        return None
    if x.requires_grad and torch.is_grad_enabled():
        return None
    try:
        with _below_autograd():
            return _spectrum(x, None, None)
    except Exception:
        return None


def _filtered(x, masks, paired, out):
    """The result for plain dense masks, and images or a spectrum that lie as the native side takes them, or None."""
    if type(x) is Spectrum:
        packed, h, w = x.packed, x.height, x.width
        if type(packed) is not Tensor or not _native or not derivatives.nothing_traces():
            return None
        if type(h) is not int or type(w) is not int or not packed.is_cpu or not packed.is_contiguous():
            return None
    else:
        packed = _transformed(x)
        if packed is None:
            return None
        h, w = x.shape[2:]
    if masks.dtype is not packed.dtype or not masks.is_cpu or not masks.is_contiguous():
        return None
    if (packed.requires_grad or masks.requires_grad) and torch.is_grad_enabled():
        return None
    try:
        kind = int(masks.shape[2] != w)
        if out is None:
            with _below_autograd():
                return _filter(packed, h, w, masks, kind, _ONE, paired, packed.dtype, False)
        if type(out) is not Tensor or not out.is_cpu or not out.is_contiguous() or out.is_neg():
            return None
        if (out.requires_grad and torch.is_grad_enabled()) or (type(x) is Tensor and not arguments.far(out, x)):
            return None
        with _below_autograd():
            _filter_out(packed, h, w, masks, kind, _ONE, paired, False, out)
        return out
    except Exception:
        return None


class _OfImages(torch.autograd.Function):
    """Transform and filter as one step of the graph. The operators' own two steps, each a Python kernel that
    redispatches, take 0.15 ms more forwards and backwards: half of the work itself on a batch of small images."""

    @staticmethod
    def forward(ctx, x, masks, kind, paired):  # pyright: ignore[reportIncompatibleMethodOverride]
        h, w = x.shape[2:]
        with _below_autograd():
            packed = _spectrum(x, None, None)
            y = _filter(packed, h, w, masks, kind, _ONE, paired, packed.dtype, False)
        of_images, of_masks = ctx.needs_input_grad[:2]
        ctx.save_for_backward(x if of_masks else None, masks if of_images else None, packed if of_masks else None)
        ctx.options = h, w, kind, paired, x.dtype
        ctx.set_materialize_grads(False)
        return y

    @staticmethod
    def backward(ctx, g):  # pyright: ignore[reportIncompatibleMethodOverride]
        if g is None:
            return None, None, None, None
        x, masks, packed = ctx.saved_tensors
        if torch.is_grad_enabled() or not derivatives.nothing_traces():  # the operators have further derivatives
            packed = None if packed is None else torch.ops.freqkit.spectrum(x, None, None)
            return (*_OfImages.gradients(ctx, g, masks, packed), None, None)
        with _below_autograd():
            return (*_OfImages.gradients(ctx, g, masks, packed), None, None)

    @staticmethod
    def gradients(ctx, g, masks, packed):
        h, w, kind, paired, dtype = ctx.options
        native, g, of_images, of_masks = torch.ops.freqkit, g.contiguous(), None, None
        if masks is not None:
            numbers = native.spectral_filter_backward_spectrum(g, h, w, masks, kind, _ONE, paired, dtype)
            of_images = native.spectrum_backward(numbers, h, w, None)
        if packed is not None:
            of_masks = native.spectral_filter_backward_mask(g, packed, h, w, kind, paired)
        return of_images, of_masks


def _tracked(x, masks, paired):
    """The result for plain images and dense masks of which a gradient is asked in reverse mode, or None."""
    if not _native or not derivatives.nothing_traces() or not torch.is_grad_enabled():
        return None
    try:
        if not (x.requires_grad or masks.requires_grad) or not x.is_cpu or x.dtype not in arguments.COMPUTED:
            return None
        if x.numel() == 0 or x.numel() > arguments.MOST_NUMBERS or x.dim() != 4 or masks.dim() != 3:
            return None
        if masks.dtype is not x.dtype or not masks.is_cpu or not masks.is_contiguous():
            return None
        return _OfImages.apply(x, masks, int(masks.shape[2] != x.shape[3]), paired)
    except Exception:
        return None


def _write(x, masks, packed, h, w, mask, kind, cell, paired, channels_last, out, method):
    given = masks.bits if isinstance(masks, BitMasks) else masks
    from_images = isinstance(x, Tensor)
    quick = derivatives.nothing_traces()
    if not quick or (torch.is_grad_enabled() and (out.requires_grad or packed.requires_grad or given.requires_grad)):
        arguments.no_derivatives(out, (("x", packed), ("masks", given)))
    if 0 in out.shape:
        return
    # What the native side takes as it is, it looks at itself; it does not see what was copied on the way.
    if from_images:
        arguments.apart(out, "x", x)
    if given is not mask or not given.is_contiguous():
        arguments.apart(out, "masks", given)
    if not from_images and (method == "bank" or not packed.is_contiguous()):
        arguments.apart(out, "the spectrum", packed)
    if method == "bank":
        torch.ops.freqkit.band_bank_out(packed, h, w, mask, kind, cell, channels_last, out)
    elif quick:
        with _below_autograd():
            _filter_out(packed, h, w, mask, kind, cell, paired, channels_last, out)
    else:
        torch.ops.freqkit.spectral_filter_out(packed, h, w, mask, kind, cell, paired, channels_last, out)


def _total(value, weights):
    """Sum over images, and weighted over channels, in float64: [B, C, ...] -> [C or 1, ...]."""
    value = value.sum(0, dtype=torch.float64)
    if weights is None:
        return value
    weights = torch.as_tensor(weights, dtype=torch.float64, device=value.device)
    return (weights @ value.flatten(1)).view(1, *value.shape[1:])


def _length(real, imaginary):
    squares = (real * real).addcmul_(imaginary, imaginary)
    return squares.sqrt() if squares.requires_grad else squares.sqrt_()


# ---- registration ---------------------------------------------------------------------------------------------------


def _together(name, *tensors):
    """A shape is asked for where one tensor has no numbers; then none may have any."""
    devices = sorted({str(tensor.device) for tensor in tensors if tensor is not None})
    if len(devices) > 1:
        raise ValueError(f"freqkit::{name}: all tensors must lie on the same device; got {' and '.join(devices)}.")


def _register():
    library = torch.library

    @library.register_fake("freqkit::spectrum")
    def _(x, mean, std):
        _together("spectrum", x, mean, std)
        b, c, h, w = x.shape
        dtype = torch.float32 if x.dtype == torch.uint8 else x.dtype
        return x.new_empty(b, c, packed_size(x.device.type, dtype, h, w), dtype=dtype)

    @library.register_fake("freqkit::spectrum_backward")
    def _(grad, height, width, std):
        _together("spectrum_backward", grad, std)
        return grad.new_empty(*grad.shape[:2], height, width)

    @library.register_fake("freqkit::spectral_filter")
    def _(packed, height, width, mask, kind, cell, paired, dtype, channels_last):
        _together("spectral_filter", packed, mask)
        b, c = packed.shape[:2]
        lead = (b,) if paired else (mask.shape[0], b)
        if channels_last:
            return packed.new_empty(*lead, height, width, c, dtype=dtype).movedim(-1, -3)
        return packed.new_empty(*lead, c, height, width, dtype=dtype)

    @library.register_fake("freqkit::spectral_filter_out")
    def _(packed, height, width, mask, kind, cell, paired, channels_last, out):
        _together("spectral_filter_out", packed, mask, out)
        return None

    @library.register_fake("freqkit::spectral_filter_backward_spectrum")
    def _(grad, height, width, mask, kind, cell, paired, dtype):
        _together("spectral_filter_backward_spectrum", grad, mask)
        b, c = grad.shape[-4:-2]
        return grad.new_empty(b, c, packed_size(grad.device.type, dtype, height, width), dtype=dtype)

    @library.register_fake("freqkit::spectral_filter_backward_mask")
    def _(grad, packed, height, width, kind, paired):
        _together("spectral_filter_backward_mask", grad, packed)
        k = grad.shape[0]
        return packed.new_empty(k, height, width if kind == 0 else width // 2 + 1)

    torch.serialization.add_safe_globals([_spectrum_of_half, BitMasks])
    torch.utils._pytree.register_pytree_node(  # pyright: ignore[reportAttributeAccessIssue]
        Spectrum,
        lambda s: ([s.packed], (s.height, s.width)),
        lambda parts, size: Spectrum(*parts, *size),
        serialized_type_name="freqkit.Spectrum",
        to_dumpable_context=list,
        from_dumpable_context=tuple,
    )


_below_autograd = torch._C._AutoDispatchBelowAutograd
_native, _ONE = False, (1, 1)

if extension.load():
    learn_lanes()
    _register()
    band_bank.register()
    _LIBRARY = torch.library.Library("freqkit", "FRAGMENT")  # what it registers lasts as long as it does
    derivatives.register(_LIBRARY)
    # Looking an overload up takes 0.2 us.
    _spectrum = torch.ops.freqkit.spectrum.default
    _filter = torch.ops.freqkit.spectral_filter.default
    _filter_out = torch.ops.freqkit.spectral_filter_out.default
    _native = extension.build_info()["operator"] == "native"
