"""The operators in plain torch, for installations without the native library: the same schemas and results, slower.

A packed spectrum is here `[ky <= H//2][kx][re, im]`, padded to 16 numbers: the native CPU layout with one lane. So the
layers above (`Spectrum`, gradients, shapes) are the same code for both. Registered by `freqkit.ops.extension` when
there is no native library, or when `FREQKIT_OPERATOR=plain` asks for it.

One promise of the native operators is not kept: torch's transforms may round an image differently in a larger batch
or by another number of threads, so a mask and an image may have other last bits in other company.
"""

import json

import torch

from freqkit.ops import arguments
from freqkit.ops.packed import as_complex

FULL, HALF, AVERAGE, HERMITIAN = range(4)  # the native kinds of masks
CHUNK_BYTES = 16 << 20  # of filtered spectra at a time
SCHEMAS = (
    "lanes(bool is_double) -> int",
    "build_info() -> str",
    "spectrum(Tensor x, Tensor? mean, Tensor? std) -> Tensor",
    "spectrum_backward(Tensor grad, int height, int width, Tensor? std) -> Tensor",
    "spectral_filter(Tensor packed, int height, int width, Tensor mask, int kind, int[] cell, bool paired, "
    "ScalarType dtype, bool channels_last) -> Tensor",
    "spectral_filter_out(Tensor packed, int height, int width, Tensor mask, int kind, int[] cell, bool paired, "
    "bool channels_last, Tensor(a!) out) -> ()",
    "spectral_filter_backward_spectrum(Tensor grad, int height, int width, Tensor mask, int kind, int[] cell, "
    "bool paired, ScalarType dtype) -> Tensor",
    "spectral_filter_backward_mask(Tensor grad, Tensor packed, int height, int width, int kind, bool paired) -> Tensor",
    "band_bank(Tensor packed, int height, int width, Tensor mask, int kind, int[] cell, ScalarType dtype, "
    "bool channels_last) -> Tensor",
    "band_bank_out(Tensor packed, int height, int width, Tensor mask, int kind, int[] cell, bool channels_last, "
    "Tensor(a!) out) -> ()",
    "band_bank_sum_out(Tensor bank, Tensor mask, Tensor cells, Tensor(a!) out) -> ()",
)
_library = None


def register():
    """Define the operators and their bodies; once."""
    global _library
    _library = torch.library.Library("freqkit", "DEF")
    bodies = {
        "lanes": lambda is_double: 1,
        "build_info": lambda: json.dumps(INFO),
        "spectrum": spectrum,
        "spectrum_backward": spectrum_backward,
        "spectral_filter": spectral_filter,
        "spectral_filter_out": spectral_filter_out,
        "spectral_filter_backward_spectrum": backward_spectrum,
        "spectral_filter_backward_mask": backward_mask,
        "band_bank_sum_out": band_bank_sum_out,
    }
    for schema in SCHEMAS:
        _library.define(schema)
    for name, body in bodies.items():
        if name in ("lanes", "build_info"):
            _library.impl(name, body, "CompositeExplicitAutograd")
        else:
            for key in ("CPU", "CUDA"):
                _library.impl(name, body, key)


INFO = {
    "operator": "plain torch",
    "simd": None,
    "simd_built": [],
    "lanes": {"float32": 1, "float64": 1},
    "cuda": False,
    "cuda_archs": "",
    "cuda_version": None,
    "compiler": None,
    "torch_target": None,
}


# ---- transforms -----------------------------------------------------------------------------------------------------


def _half_plane(x):
    """Real `[..., H, W]` -> complex `[..., H//2+1, W]`: rows ky = 0 .. H//2, unnormalised."""
    if x.numel() == 0:  # which MKL refuses
        return x.new_zeros(*x.shape[:-2], x.shape[-2] // 2 + 1, x.shape[-1], dtype=x.dtype.to_complex())
    return torch.fft.fft(torch.fft.rfft(x, dim=-2), dim=-1)


def _packed(half):
    """Complex `[..., H//2+1, W]` -> real, padded as on this device."""
    flat = torch.view_as_real(half).flatten(-3)
    return torch.nn.functional.pad(flat, (0, _size(half.device, *half.shape[-2:]) - flat.shape[-1]))


def _size(device, rows, width):
    """Numbers of a packed plane (`freqkit.ops.spectral_filter.packed_size`)."""
    return -(-rows * width * 2 // 16) * 16 if device.type == "cpu" else rows * width * 2


def _unpacked(packed, height, width):
    rows = height // 2 + 1
    used = packed[..., : rows * width * 2]
    return as_complex(used.reshape(*packed.shape[:-1], rows, width, 2))


def _counts(height, like):
    """How many bins a row of the half plane stands for: `[H//2+1, 1]`, 1 for rows 0 and H/2, else 2."""
    counts = torch.full((height // 2 + 1, 1), 2, dtype=like.dtype, device=like.device)
    counts[0] = 1
    if height % 2 == 0:
        counts[-1] = 1
    return counts


def _check_packed(packed, height, width):
    if packed.dim() != 3 or packed.shape[2] != _size(packed.device, height // 2 + 1, width):
        raise RuntimeError("freqkit::spectral_filter: packed does not fit the image size")


def spectrum(x, mean, std):
    """Packed spectrum `[B, C, M]` of `(x - mean)/std`; of `(x/255 - mean)/std` for uint8 images."""
    if x.dtype == torch.uint8:
        x = x / 255
    if mean is not None:
        x = x - mean[:, None, None]
    if std is not None:
        x = x / std[:, None, None]
    return _packed(_half_plane(x))


def spectrum_backward(grad, height, width, std):
    """The transpose of `spectrum` as a real-linear map."""
    if grad.numel() == 0:
        return grad.new_zeros(*grad.shape[:2], height, width)
    half = _unpacked(grad, height, width)
    half = half * (1 / _counts(height, grad))
    x = torch.fft.irfft(torch.fft.ifft(half, dim=-1, norm="forward"), n=height, dim=-2, norm="forward").contiguous()
    return x if std is None else x / std[:, None, None]


# ---- masks ----------------------------------------------------------------------------------------------------------


def _mirrored(plane):
    """m(-f) of full planes, DC at [0, 0]."""
    return plane.flip(-2, -1).roll((1, 1), (-2, -1))


def _full_plane(half, width):
    """Complete half-plane columns by m(-f) = m(f)."""
    rest = torch.arange(width // 2 + 1, width, device=half.device)
    mirrored = half.flip(-2).roll(1, -2)[..., width - rest]
    return torch.cat([half, mirrored], dim=-1)


def _effective(mask, kind, cell, height, width, dtype):
    """m_eff of rows ky = 0 .. H//2: `[K, H//2+1, W]`."""
    if kind in (FULL, HALF):
        if mask.dtype != dtype:
            raise RuntimeError("freqkit: dense masks must have the spectrum's dtype")
        if tuple(mask.shape[1:]) != (height, width if kind == FULL else width // 2 + 1):
            raise RuntimeError("freqkit: dense masks do not fit the image size")
        full = mask if kind == FULL else _full_plane(mask, width)
    else:
        ch, cw = cell
        if mask.dtype != torch.uint8 or ch < 1 or cw < 1 or mask.shape[1] * ch != height or height % ch or width % cw:
            raise RuntimeError("freqkit: bit masks do not fit the image size")
        shifts = torch.arange(8, dtype=torch.uint8, device=mask.device)
        bits = ((mask[..., None] >> shifts) & 1).flatten(-2)[..., : width // cw]
        full = bits.repeat_interleave(ch, -2).repeat_interleave(cw, -1).to(dtype)
        if kind == HERMITIAN:
            row, column = (torch.arange(n, device=mask.device) for n in (height, width))
            paired = (row == height // 2) | ((row == 0) & (height % 2 == 0))
            canonical = torch.where(paired[:, None], column[None] <= width // 2, row[:, None] < height // 2)
            canonical = canonical.roll((-(height // 2), -(width // 2)), (0, 1))
        full = full.roll((-(height // 2), -(width // 2)), (-2, -1))
        if kind == HERMITIAN:
            return torch.where(canonical, full, _mirrored(full))[..., : height // 2 + 1, :]  # pyright: ignore[reportPossiblyUnboundVariable]
    return ((full + _mirrored(full)) / 2)[..., : height // 2 + 1, :]


def _check_finite(mask, kind):
    if kind in (FULL, HALF) and mask.device.type == "cpu":
        bad = ~torch.isfinite(mask).flatten(1).all(1)
        if bad.any():
            first = int(bad.nonzero()[0])
            raise ValueError(f"spectral_filter: masks must be finite; mask {first} holds NaN or infinity.")


# ---- the filter -----------------------------------------------------------------------------------------------------


def spectral_filter(packed, height, width, mask, kind, cell, paired, dtype, channels_last):
    """Filtered images `[K, B, C, H, W]`, or `[B, C, H, W]` when paired."""
    lead = (packed.shape[0],) if paired else (mask.shape[0], packed.shape[0])
    channels = packed.shape[1]
    if channels_last:
        out = packed.new_empty(*lead, height, width, channels, dtype=dtype).movedim(-1, -3)
    else:
        out = packed.new_empty(*lead, channels, height, width, dtype=dtype)
    spectral_filter_out(packed, height, width, mask, kind, cell, paired, channels_last, out)
    return out


def spectral_filter_out(packed, height, width, mask, kind, cell, paired, channels_last, out):
    """The same into `out`."""
    _check_packed(packed, height, width)
    if paired and mask.shape[0] != packed.shape[0]:
        raise RuntimeError("freqkit::spectral_filter: paired filtering needs as many masks as images")
    shape = (*((packed.shape[0],) if paired else (mask.shape[0], packed.shape[0])), packed.shape[1], height, width)
    if tuple(out.shape) != shape:
        raise RuntimeError("freqkit::spectral_filter: out does not fit the result")
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    arguments.output(out, None, memory_format, shape, packed)
    arguments.apart(out, "the spectrum", packed)
    arguments.apart(out, "masks", mask)
    if out.numel() == 0:
        return
    _check_finite(mask, kind)
    half = _unpacked(packed, height, width)
    plane_bytes = half[0].numel() * half.element_size()
    step = max(1, CHUNK_BYTES // plane_bytes)
    for k in range(0, mask.shape[0], step if paired else 1):
        if paired:
            weights = _effective(mask[k : k + step], kind, cell, height, width, packed.dtype)
            out[k : k + step] = _inverse(half[k : k + step], weights[:, None], height)
            continue
        weights = _effective(mask[k : k + 1], kind, cell, height, width, packed.dtype)
        for b in range(0, half.shape[0], step):
            out[k, b : b + step] = _inverse(half[b : b + step], weights, height)


def _inverse(half, weights, height):
    filtered = torch.where(weights == 0, 0, half * weights)  # a bin that is off gives nothing of anything
    return torch.fft.irfft(torch.fft.ifft(filtered, dim=-1), n=height, dim=-2)


# ---- transposes -----------------------------------------------------------------------------------------------------


def backward_spectrum(grad, height, width, mask, kind, cell, paired, dtype):
    """With respect to the packed spectrum: the sum over masks of m_k times the transform of the gradient."""
    grad = grad.to(dtype)
    weights = _effective(mask, kind, cell, height, width, dtype) * (_counts(height, grad) / (height * width))
    if paired:
        return _packed(_half_plane(grad) * weights[:, None])
    total = torch.zeros(*grad.shape[1:3], height // 2 + 1, width, dtype=grad.dtype.to_complex(), device=grad.device)
    for one, weight in zip(grad, weights, strict=True):
        total += _half_plane(one) * weight
    return _packed(total)


def backward_mask(grad, packed, height, width, kind, paired):
    """With respect to dense masks: `[K, H, W]` or `[K, H, W//2+1]`."""
    if kind not in (FULL, HALF):
        raise RuntimeError("freqkit: only dense masks have gradients")
    half = _unpacked(packed, height, width)
    grad = grad.to(packed.dtype)
    pairs = zip(grad, half, strict=True) if paired else ((one, half) for one in grad)
    rows = [(_half_plane(one).conj() * z).real.flatten(0, -3).sum(0) / (height * width) for one, z in pairs]
    if not rows:
        rows = packed.new_zeros(0, height // 2 + 1, width)
    else:
        rows = torch.stack(rows)
    rest = torch.arange(height // 2 + 1, height, device=rows.device)
    columns = -torch.arange(width, device=rows.device) % width
    full = torch.cat([rows, rows[:, height - rest][..., columns]], dim=-2)
    full = (full + _mirrored(full)) / 2
    if kind == FULL:
        return full.contiguous()
    result = full[..., : width // 2 + 1].clone()
    result[..., 1 : (width + 1) // 2] *= 2  # these columns stand for their mirrors, too
    return result


def band_bank_sum_out(bank, mask, cells, out):
    """bank `[P, ...]`, bits `[K, rows, bytes]` of which `cells` names P -> out `[K, ...]`.

    A mask's part of `out` lies in memory as a cell's part of the bank does, without gaps, whatever its dimensions are.
    """
    count, elements, dense = len(mask), bank[0].numel(), 1
    for stride, size in sorted((s, n) for s, n in zip(out.stride()[1:], out.shape[1:], strict=True) if n > 1):
        dense = dense * size if stride == dense else -1
    if out.shape[:1] != (count,) or out.numel() != count * elements or (out.numel() and dense != elements):
        raise ValueError("freqkit::band_bank_sum_out: out must hold the masks' results, each without gaps.")
    for name, tensor in (("the bank", bank), ("masks", mask), ("cells", cells)):
        arguments.apart(out, name, tensor)
    if out.numel() == 0:
        return
    shifts = torch.arange(8, dtype=torch.uint8, device=mask.device)
    bits = ((mask.flatten(1)[..., None] >> shifts) & 1).flatten(1)[:, cells.long()].bool()
    bank = bank.flatten(1)
    out = out.as_strided((count, elements), (out.stride(0) if count > 1 else elements, 1))
    step = max(1, CHUNK_BYTES // (elements * bank.element_size()))
    for k in range(0, count, step):
        some = bits[k : k + step, :, None]
        total = torch.zeros(len(some), elements, dtype=bank.dtype, device=bank.device)
        for cell, image in enumerate(bank):  # in this order, and elementwise: a mask has the same bits in any company
            total += torch.where(some[:, cell], image, 0)  # a cell that is off gives nothing of anything
        out[k : k + step].copy_(total)
