"""A classifier in the form in which the engine runs it."""

import copy
import time

import torch

DOMAINS = ("normalised", "pixels")
_AUTOCAST = (torch.bfloat16, torch.float16)


class Forward:
    """A frozen private copy of a classifier: eval mode, channels last, on one device; the caller's model is
    untouched.

    Args:
        model: a `freqkit.models.Classifier`.
        device: where it runs; None keeps the model's own device.
        dtype: None or torch.float32; torch.float64 (the whole network); torch.bfloat16 or torch.float16
            (autocast).
        domain: "normalised": input is (x - mean)/std and goes to `model.network`; "pixels": input is x in [0,
            1] and goes through the whole model.

    Calling it with images [N, 3, H, W] gives logits [N, L] of float64 on the device.
    """

    def __init__(self, model, *, device=None, dtype=None, domain="normalised"):
        dtype = _dtype(dtype)
        if domain not in DOMAINS:
            raise ValueError(f"domain must be one of {', '.join(DOMAINS)}; got {domain!r}.")
        parameter = next(model.parameters(), None)
        self.device = (
            torch.device(device)
            if device is not None
            else (parameter.device if parameter is not None else torch.device("cpu"))
        )
        self.dtype = dtype
        self.domain = domain
        self.mean, self.std = (
            (tuple(model.mean), tuple(model.std)) if domain == "normalised" else (None, None)
        )
        self.compute = torch.float64 if dtype is torch.float64 else torch.float32
        module = copy.deepcopy(model).eval().requires_grad_(False)
        module = module.to(device=self.device, memory_format=torch.channels_last)
        if dtype is torch.float64:
            module = module.double()
        self.module = module.network if domain == "normalised" else module
        self.seconds = 0.0
        self.images = 0

    def __call__(self, images):
        began = time.perf_counter()
        autocast = self.dtype in _AUTOCAST
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, dtype=self.dtype if autocast else None, enabled=autocast),
        ):
            logits = self.module(images)
        if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or len(logits) != len(images):
            came = list(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
            raise TypeError(
                f"score: the model must return logits of shape [{len(images)}, classes]; got {came}."
            )
        self.seconds += time.perf_counter() - began
        self.images += len(images)
        return logits.double()


def _dtype(dtype):
    if isinstance(dtype, str):
        named = getattr(torch, dtype, None)
        dtype = named if isinstance(named, torch.dtype) else dtype
    if dtype is None:
        return torch.float32
    if dtype not in (torch.float32, torch.float64, *_AUTOCAST):
        raise ValueError(f"dtype must be float32, float64, bfloat16 or float16; got {dtype}.")
    return dtype
