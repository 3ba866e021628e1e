"""Derivatives of any order, forward and reverse, and batching (`torch.vmap`) of the native operators.

All of them come from one trilinear form, `T(P, m, g) = <g, F(P, m)>` with the spectrum P, the masks m, and g of the
result's shape. The three operators are its partial derivatives:

    spectral_filter                     F(P, m) = dT/dg
    spectral_filter_backward_spectrum   dT/dP, of (g, m)
    spectral_filter_backward_mask       dT/dm, of (g, P)

so the transpose of each with respect to either argument is another of them, and its directional derivative is itself.
`spectrum` and `spectrum_backward` are linear and each other's transposes (`spectrum` is affine with a mean).

They are autograd kernels of the operators themselves, below the Python functions: what calls `torch.ops.freqkit` by
hand, a compiled graph or an exported program meets the same derivatives. `torch.library.register_autograd` would know
neither forward mode nor `torch.func`.
"""

import torch
from torch import Tensor
from torch._C._functorch import TransformType, is_functorch_wrapped_tensor
from torch._functorch.utils import enable_single_level_autograd_function
from torch.autograd import forward_ad
from torch.autograd.forward_ad import _set_fwd_grad_enabled
from torch.autograd.function import _SingleLevelFunction

from freqkit.ops.packed import hermitian

_C = torch._C


def live(tensor):
    """Whether a derivative or a batch hangs on the tensor, so that it must not be read or written as numbers."""
    if tensor.requires_grad and torch.is_grad_enabled():
        return True
    if torch.compiler.is_compiling():  # the operators themselves see the rest, when the graph is made
        return False
    if is_functorch_wrapped_tensor(tensor):
        return True
    return forward_ad._current_level >= 0 and forward_ad.unpack_dual(tensor).tangent is not None


def nothing_traces():
    """Whether tensors are numbers and nothing else: no compiler, no transform of `torch.func`, no forward mode."""
    return not (
        torch.compiler.is_compiling()
        or _C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
        or _C._len_torch_dispatch_stack()
    )


def _forward_mode():
    """Whether tangents may come: in a compiled `torch.func.jvp` the level of `forward_ad` does not tell."""
    if forward_ad._current_level >= 0:
        return True
    if not _C._are_functorch_transforms_active():
        return False
    return _C._functorch.peek_interpreter_stack().key() == TransformType.Jvp  # pyright: ignore[reportAttributeAccessIssue]


def _operator(name):
    return getattr(torch.ops.freqkit, name).default


def _differentiable(library, name, linear, transpose, constants=()):
    """Register the derivatives of an operator.

    Args:
        linear: positions of the arguments in which it is linear, each for itself.
        transpose: `(arguments, like, needs, cotangent) -> {position: gradient}` for the positions with `needs`; an
            argument that only others' gradients need may be None, `like` holds the (dtype, shape) of each.
        constants: positions of tensors that have no derivative here.
    """
    op = _operator(name)

    def below(keyset, *args):
        with _C._AutoDispatchBelowAutograd():
            return op.redispatch(keyset & _C._after_autograd_keyset, *args)

    class Derivative(_SingleLevelFunction):
        @staticmethod
        def forward(keyset, *args):
            if not _C._are_functorch_transforms_active():
                return below(keyset, *args)
            # An autograd function switches derivatives off; the transforms outside of this one still want theirs.
            with torch.enable_grad(), _set_fwd_grad_enabled(True):
                return below(keyset, *args)

        @staticmethod
        def setup_context(ctx, inputs, output):
            args, needs = inputs[1:], ctx.needs_input_grad[1:]
            forward = _forward_mode()
            kept = [
                args[i] if i not in linear or forward or any(needs[j] for j in linear if j != i) else None
                for i in (*linear, *constants)
            ]
            ctx.save_for_backward(*kept)
            if forward:
                ctx.save_for_forward(*kept)
            ctx.like = [(arg.dtype, arg.shape) if isinstance(arg, Tensor) else None for arg in args]
            ctx.arguments = [None if isinstance(arg, Tensor) else arg for arg in args]
            ctx.set_materialize_grads(False)

        @staticmethod
        def arguments_of(ctx):
            args = list(ctx.arguments)
            for i, tensor in zip((*linear, *constants), ctx.saved_tensors, strict=True):
                args[i] = tensor
            return args

        @staticmethod
        def backward(ctx, cotangent):  # pyright: ignore[reportIncompatibleMethodOverride]
            result = [None] * (len(ctx.arguments) + 1)
            if cotangent is not None:
                needs = ctx.needs_input_grad[1:]
                args = Derivative.arguments_of(ctx)
                for i, gradient in transpose(args, ctx.like, needs, cotangent).items():
                    result[i + 1] = gradient
            return tuple(result)

        @staticmethod
        def jvp(ctx, _, *tangents):  # pyright: ignore[reportIncompatibleMethodOverride]
            args = Derivative.arguments_of(ctx)
            if name == "spectrum":
                args[1] = None  # the mean
            total = None
            # Values without this level's tangents, but with those of the levels outside of it.
            with _set_fwd_grad_enabled(True):
                args = [forward_ad.unpack_dual(arg, level=0).primal if isinstance(arg, Tensor) else arg for arg in args]
                for i in linear:
                    if tangents[i] is not None:
                        part = op(*args[:i], tangents[i], *args[i + 1 :])
                        total = part if total is None else total + part
            return total

    Derivative.__name__ = Derivative.__qualname__ = f"freqkit_{name}"

    def kernel(keyset, *args):
        tracked = _C.is_grad_enabled() and _C._any_requires_grad(*args)
        if not tracked and not _forward_mode():
            return below(keyset, *args)
        for i in constants:
            if args[i] is not None and live(args[i]):
                raise ValueError(f"freqkit::{name}: argument {i} has no derivative here; it must not require one.")
        if not _C._are_functorch_transforms_active():
            return Derivative.apply(keyset, *args)  # pyright: ignore[reportAttributeAccessIssue]
        with enable_single_level_autograd_function():  # the kernel is called once for each level of torch.func
            return Derivative.apply(keyset, *args)  # pyright: ignore[reportAttributeAccessIssue]

    library.impl(name, kernel, "Autograd", with_keyset=True)


def _not_differentiable(library, name):
    op = _operator(name)

    def kernel(keyset, *args):
        if any(isinstance(arg, Tensor) and live(arg) for arg in args):
            raise ValueError(f"freqkit::{name}: out= records no derivative; no argument may ask for one.")
        with _C._AutoDispatchBelowAutograd():
            return op.redispatch(keyset & _C._after_autograd_keyset, *args)

    def batched(info, in_dims, *args):
        raise ValueError(f"freqkit::{name}: out= cannot be batched by vmap.")

    library.impl(name, kernel, "Autograd", with_keyset=True)
    torch.library.register_vmap(f"freqkit::{name}", batched, lib=library)


# ---- transposes -----------------------------------------------------------------------------------------------------


def _of_spectrum(args, like, needs, cotangent):
    height, width = like[0][1][2:]
    return {0: torch.ops.freqkit.spectrum_backward(cotangent.contiguous(), height, width, args[2])}


def _of_spectrum_backward(args, like, needs, cotangent):
    return {0: torch.ops.freqkit.spectrum(cotangent, None, args[3])}


def _of_filter(args, like, needs, cotangent):
    packed, h, w, mask, kind, cell, paired = args[:7]
    native, cotangent = torch.ops.freqkit, cotangent.contiguous()
    result = {}
    if needs[0]:
        result[0] = native.spectral_filter_backward_spectrum(cotangent, h, w, mask, kind, cell, paired, like[0][0])
    if needs[3]:
        result[3] = native.spectral_filter_backward_mask(cotangent, packed, h, w, kind, paired)
    return result


def _of_backward_spectrum(args, like, needs, cotangent):
    grad, h, w, mask, kind, cell, paired, _ = args
    native, cotangent = torch.ops.freqkit, hermitian(cotangent, h, w)
    result = {}
    if needs[0]:
        result[0] = native.spectral_filter(cotangent, h, w, mask, kind, cell, paired, like[0][0], False)
    if needs[3]:
        result[3] = native.spectral_filter_backward_mask(grad, cotangent, h, w, kind, paired)
    return result


def _of_backward_mask(args, like, needs, cotangent):
    grad, packed, h, w, kind, paired = args
    native = torch.ops.freqkit
    result = {}
    if needs[0]:
        result[0] = native.spectral_filter(packed, h, w, cotangent, kind, [1, 1], paired, like[0][0], False)
    if needs[1]:
        result[1] = native.spectral_filter_backward_spectrum(grad, h, w, cotangent, kind, [1, 1], paired, like[1][0])
    return result


def _of_bank(args, like, needs, cotangent):  # the operator is the same whichever way it was computed
    _, h, w, mask, kind, cell = args[:6]
    return {
        0: torch.ops.freqkit.spectral_filter_backward_spectrum(
            cotangent.contiguous(), h, w, mask, kind, cell, False, like[0][0]
        )
    }


# ---- batching -------------------------------------------------------------------------------------------------------
#
# A batch becomes more images, more masks, or more channels of the same call wherever that is the same sum. What is left
# becomes pairs: masks [V*K] with spectra [V*K, B*C, M], whose spectra are repeated for each of K masks and whose sums
# over K are taken afterwards.


def _front(tensor, dim, size):
    return tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


def _pairs_of_spectra(packed, masks, paired):
    if paired:
        return packed.flatten(0, 1)
    return packed.flatten(1, 2)[:, None].expand(-1, masks, -1, -1).flatten(0, 1)


def _pairs_of_results(result, paired):  # [V, B, C, H, W] or [V, K, B, C, H, W]
    return result.flatten(0, 1) if paired else result.flatten(2, 3).flatten(0, 1)


def _batched_spectrum(info, in_dims, x, mean, std):
    v = info.batch_size
    x = _front(x, in_dims[0], v)  # [V, B, C, H, W]
    if in_dims[1] is not None or in_dims[2] is not None:
        x = x / 255 if x.dtype == torch.uint8 else x
        if mean is not None:
            x = x - _front(mean, in_dims[1], v)[:, None, :, None, None]
        if std is not None:
            x = x / _front(std, in_dims[2], v)[:, None, :, None, None]
        mean = std = None
    packed = torch.ops.freqkit.spectrum(x.flatten(0, 1), mean, std)
    return packed.unflatten(0, x.shape[:2]), 0


def _batched_spectrum_backward(info, in_dims, grad, height, width, std):
    v = info.batch_size
    grad = _front(grad, in_dims[0], v)
    divisor = None
    if in_dims[3] is not None:
        std, divisor = None, std.movedim(in_dims[3], 0)
    images = torch.ops.freqkit.spectrum_backward(grad.flatten(0, 1), height, width, std).unflatten(0, grad.shape[:2])
    return images if divisor is None else images / divisor[:, None, :, None, None], 0


def _batched_filter(info, in_dims, packed, h, w, mask, kind, cell, paired, dtype, channels_last):
    v = info.batch_size
    if in_dims[3] is None:
        packed = packed.movedim(in_dims[0], 0)
        if paired:
            packed = packed.movedim(0, 1)
        at = 1 if paired else 0
        result = torch.ops.freqkit.spectral_filter(
            packed.flatten(at, at + 1), h, w, mask, kind, cell, paired, dtype, channels_last
        )
        return result.unflatten(1, packed.shape[at : at + 2]), 1
    mask = mask.movedim(in_dims[3], 0)
    lead = mask.shape[:2]
    if in_dims[0] is None and not paired:
        result = torch.ops.freqkit.spectral_filter(
            packed, h, w, mask.flatten(0, 1), kind, cell, False, dtype, channels_last
        )
        return result.unflatten(0, lead), 0
    packed = _front(packed, in_dims[0], v)
    result = torch.ops.freqkit.spectral_filter(
        _pairs_of_spectra(packed, lead[1], paired), h, w, mask.flatten(0, 1), kind, cell, True, dtype, channels_last
    ).unflatten(0, lead)
    return result if paired else result.unflatten(2, packed.shape[1:3]), 0


def _batched_backward_spectrum(info, in_dims, grad, h, w, mask, kind, cell, paired, dtype):
    v = info.batch_size
    op = torch.ops.freqkit.spectral_filter_backward_spectrum
    if in_dims[3] is None:
        grad = grad.movedim(in_dims[0], 1)  # [K, V, B, C, H, W], or [B, V, C, H, W]
        result = op(grad.flatten(1, 2), h, w, mask, kind, cell, paired, dtype)
        at = 1 if paired else 0
        return result.unflatten(at, grad.shape[1:3]), at
    grad, mask = _front(grad, in_dims[0], v), mask.movedim(in_dims[3], 0)
    result = op(_pairs_of_results(grad, paired), h, w, mask.flatten(0, 1), kind, cell, True, dtype)
    result = result.unflatten(0, mask.shape[:2])
    return result if paired else result.sum(1).unflatten(1, grad.shape[2:4]), 0


def _batched_backward_mask(info, in_dims, grad, packed, h, w, kind, paired):
    v = info.batch_size
    op = torch.ops.freqkit.spectral_filter_backward_mask
    grad = _front(grad, in_dims[0], v)
    if in_dims[1] is None and not paired:
        return op(grad.flatten(0, 1), packed, h, w, kind, False).unflatten(0, grad.shape[:2]), 0
    packed = _pairs_of_spectra(_front(packed, in_dims[1], v), grad.shape[1], paired)
    return op(_pairs_of_results(grad, paired), packed, h, w, kind, True).unflatten(0, grad.shape[:2]), 0


def _batched_bank(info, in_dims, packed, h, w, mask, kind, cell, dtype, channels_last):
    op = torch.ops.freqkit.band_bank
    if in_dims[3] is None:
        packed = packed.movedim(in_dims[0], 0)
        result = op(packed.flatten(0, 1), h, w, mask, kind, cell, dtype, channels_last)
        return result.unflatten(1, packed.shape[:2]), 1
    mask = mask.movedim(in_dims[3], 0)
    if in_dims[0] is None:
        result = op(packed, h, w, mask.flatten(0, 1), kind, cell, dtype, channels_last)
        return result.unflatten(0, mask.shape[:2]), 0
    each = zip(packed.movedim(in_dims[0], 0), mask, strict=True)
    return torch.stack([op(one, h, w, its, kind, cell, dtype, channels_last) for one, its in each]), 0


def register(library):
    """All of the above; called once, when the native library is loaded and every operator has its shapes."""
    for name, linear, constants, transpose, batched in (
        ("spectrum", (0,), (1, 2), _of_spectrum, _batched_spectrum),
        ("spectrum_backward", (0,), (3,), _of_spectrum_backward, _batched_spectrum_backward),
        ("spectral_filter", (0, 3), (), _of_filter, _batched_filter),
        ("spectral_filter_backward_spectrum", (0, 3), (), _of_backward_spectrum, _batched_backward_spectrum),
        ("spectral_filter_backward_mask", (0, 1), (), _of_backward_mask, _batched_backward_mask),
        ("band_bank", (0,), (3,), _of_bank, _batched_bank),
    ):
        _differentiable(library, name, linear, transpose, constants)
        torch.library.register_vmap(f"freqkit::{name}", batched, lib=library)
    for name in ("spectral_filter_out", "band_bank_out", "band_bank_sum_out"):
        _not_differentiable(library, name)
