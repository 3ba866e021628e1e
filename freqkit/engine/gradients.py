"""Gradients of a model's loss with respect to its images."""

from collections.abc import Iterator

import torch
from torch.nn import functional as F

from freqkit.data.image_set import ImageSet
from freqkit.engine.entrance import logit_of_class
from freqkit.engine.forward import Forward
from freqkit.engine.progress import Progress
from freqkit.models import Classifier
from freqkit.options import Scoring

BATCH = 64  # images at once, where that is left open


def input_gradients(
    owner: str,
    model: Classifier,
    images: ImageSet,
    scoring: Scoring,
    progress: Progress | None = None,
    *,
    within: slice | None = None,
    forward: Forward | None = None,
) -> Iterator[tuple[slice, torch.Tensor, torch.Tensor]]:
    """The gradient of every image's cross-entropy with respect to its pixels in [0, 1], before normalisation.

    Args:
        owner: begins the sentence of an error. scoring: class_index, batch_size, device and dtype count.
        progress: advanced by the images of each batch.
        within: only these images; batches begin at its first.
        forward: of the model, in the domain "pixels", so that many calls share one; None: one is made.

    Yields:
        (images, gradient [b, 3, H, W], loss float64 [b]): of a slice of the set, on the model's device; the model in
        evaluation mode.

    Raises:
        UsageError: class_index does not fit.
        FloatingPointError: a gradient is NaN or infinite; the images are named.
    """
    forward = forward or Forward(model, device=scoring.device, dtype=scoring.dtype, domain="pixels")
    index = logit_of_class(owner, scoring.class_index, len(images.classes), model.num_classes)
    step = batch_of(scoring)
    begin, end, _ = (within or slice(None)).indices(len(images))
    for start in range(begin, end, step):
        part = slice(start, min(start + step, end))
        x = images.images[part].to(forward.device).to(forward.compute).div_(255)
        x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
        label = index[images.labels[part]].to(forward.device)
        loss = F.cross_entropy(forward.module(x).double(), label, reduction="none")
        (gradient,) = torch.autograd.grad(loss.sum(), x)
        if not torch.isfinite(gradient).all():
            at = int((~torch.isfinite(gradient)).flatten(1).any(1).nonzero()[0]) + start
            raise FloatingPointError(f"{owner}: the gradient of image {images.paths[at]} is NaN or infinite.")
        if progress is not None:
            progress.advance(part.stop - part.start)
        yield part, gradient, loss.detach()


def batch_of(scoring: Scoring) -> int:
    """Images of a batch."""
    return BATCH if scoring.batch_size == "auto" else int(scoring.batch_size)
