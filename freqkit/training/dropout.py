"""Dropout before the last layer of a network that has none of its own."""

from contextlib import contextmanager

import torch.nn.functional as F
from torch import nn

from freqkit.errors import UsageError


def last_linear(model):
    """The last linear layer that gives the logits.

    Raises:
        UsageError: there is none.
    """
    found = [part for part in model.network.modules()
             if isinstance(part, nn.Linear) and part.out_features == model.num_classes]  # fmt: skip
    if not found:
        raise UsageError(
            f"train: dropout needs a network with a linear layer of {model.num_classes} outputs, before which features "
            "are dropped; it has none."
        )
    return found[-1]


@contextmanager
def dropout(head, p):
    """Inside, features that enter `head` are 0 with probability p, the others divided by 1 - p."""
    if not p:
        yield
        return
    handle = head.register_forward_pre_hook(lambda _, given: (F.dropout(given[0], p), *given[1:]))
    try:
        yield
    finally:
        handle.remove()
