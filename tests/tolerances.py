"""One place for what counts as equal."""

import torch

# Relative L2 error against the float64 reference.
RELATIVE = {
    torch.float32: 3e-7,
    torch.float64: 1e-14,
    torch.bfloat16: 1.8e-3,  # rounding of the output: 2^-9 over sqrt(3) on average
    torch.float16: 2.5e-4,
}


def relative(y, expected):
    """||y - expected|| / ||expected||, in float64; 0 where both are empty or zero."""
    y, expected = y.double(), expected.double()
    scale = expected.norm().item()
    error = (y - expected).norm().item()
    return error if scale == 0 else error / scale
