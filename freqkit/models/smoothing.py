"""Smoother kernels in the first layer of a network.

Source: Wang, Wu, Huang, Xing, CVPR 2020 (arXiv 1905.13545), section 6.
"""

import copy
from typing import TypeVar

import torch
from torch import nn
from torch.nn import functional as F

from freqkit.errors import UsageError
from freqkit.models.classifier import Classifier

__all__ = ["first_convolution", "smooth_kernels"]

Module = TypeVar("Module", bound=nn.Module)


def smooth_kernels(model: Module, rho: float, normalise: bool = False) -> Module:
    """A copy of a model with smoother kernels in its first convolution.

    Of every slice w [k, k] of the kernels, w' = w + rho (the sum of its eight neighbours); a neighbour outside of the
    kernel is the nearest weight inside. As published w' is not normalised: an even kernel grows by 1 + 8 rho, which
    mixes smoothing with a larger scale.

    Args:
        model: a `Classifier` (its record says that it was smoothed, and how) or any module with a `Conv2d`.
        rho: at least 0; 0 changes nothing.
        normalise: whether w' is divided by 1 + 8 rho, the control that smooths alone.

    Raises:
        UsageError: rho is negative or not finite; the model has no convolution over images.

    Example:
        >>> from freqkit.models import load_model
        >>> model = load_model("small_convnet", num_classes=4)
        >>> rough, smooth = (first_convolution(m)[1].weight for m in (model, smooth_kernels(model, 1, normalise=True)))
        >>> bool(smooth.std() < rough.std())
        True
    """
    if isinstance(rho, bool) or not isinstance(rho, (int, float)) or not 0 <= rho < float("inf"):
        raise UsageError(f"smooth_kernels: rho must be a finite number of at least 0; got {rho!r}.")
    model = copy.deepcopy(model)
    name, layer = first_convolution(model)
    with torch.no_grad():
        layer.weight.copy_(smoothed(layer.weight, float(rho), normalise))
    if isinstance(model, Classifier):
        model.note("smooth_kernels", {"layer": name, "rho": float(rho), "normalise": bool(normalise)})
    return model


def smoothed(kernels: torch.Tensor, rho: float, normalise: bool = False) -> torch.Tensor:
    """`smooth_kernels` of kernels [out, in, k, k].

    Example:
        >>> smoothed(torch.ones(1, 1, 3, 3), 0.5).unique().tolist()
        [5.0]
    """
    wide = F.pad(kernels, (1, 1, 1, 1), mode="replicate")
    height, width = kernels.shape[-2:]
    around = sum(wide[..., i : i + height, j : j + width] for i in range(3) for j in range(3) if (i, j) != (1, 1))
    made = kernels + rho * around
    return made / (1 + 8 * rho) if normalise else made


def first_convolution(model: nn.Module) -> tuple[str, nn.Conv2d]:
    """The name and module of a model's first `Conv2d`, in the order in which its modules stand.

    Raises:
        UsageError: there is none.
    """
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d):
            return name, layer
    raise UsageError(f"smooth_kernels: the model must have a Conv2d; {type(model).__name__} has none.")
