"""Gradients of a model's answers with respect to its images, and to the weights of their frequencies."""

from collections.abc import Callable, Iterator

import torch
from torch.nn import functional as F

from freqkit.data.image_set import ImageSet
from freqkit.engine.entrance import logit_of_class
from freqkit.engine.forward import Forward
from freqkit.engine.progress import Progress
from freqkit.models import Classifier
from freqkit.ops import Spectrum, spectral_filter
from freqkit.options import Scoring

BATCH = 64  # images at once, where that is left open


def losses(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of each image, float64 [b]."""
    return F.cross_entropy(logits.double(), label, reduction="none")


def margins(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """The logit of the class minus the highest other, float64 [b]: positive where the image is recognised."""
    logits = logits.double()
    others = logits.scatter(1, label[:, None], -torch.inf)
    return logits.gather(1, label[:, None])[:, 0] - others.amax(1)


def input_gradients(
    owner: str, model: Classifier, images: ImageSet, scoring: Scoring, progress: Progress | None = None,
    of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = losses, *,
    within: slice | None = None, forward: Forward | None = None,
) -> Iterator[tuple[slice, torch.Tensor, torch.Tensor]]:  # fmt: skip
    """The gradient of every image's loss with respect to its pixels in [0, 1], before normalisation.

    Args:
        owner: begins the sentence of an error. scoring: class_index, batch_size, device and dtype count.
        progress: advanced by the images of each batch.
        within: only these images; batches begin at its first.
        forward: of the model, in the domain "pixels", so that many calls share one; None: one is made.
        of: a function of (logits [b, L], label [b]) that gives what is derived, [b]: `losses` or `margins`.

    Yields:
        (images, gradient [b, 3, H, W], value float64 [b]): of a slice of the set, on the model's device; the model in
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
        value = of(forward.module(x), label)
        (gradient,) = torch.autograd.grad(value.sum(), x)
        if not torch.isfinite(gradient).all():
            at = int((~torch.isfinite(gradient)).flatten(1).any(1).nonzero()[0]) + start
            raise FloatingPointError(f"{owner}: the gradient of image {images.paths[at]} is NaN or infinite.")
        if progress is not None:
            progress.advance(part.stop - part.start)
        yield part, gradient, value.detach()


class MaskGradients:
    """The log-odds of an answer as a function of the weights with which an image's frequencies are seen.

    d = z_a - log sum_{j != a} exp z_j, of logits z for the image y = Re IDFT2(m DFT2(x)) and an answer a. Every image
    has a mask and an answer of its own.

    Args:
        model: a `freqkit.models.Classifier`; copied.
        scoring: device, dtype (float64: the whole network; else float32) and domain count.

    Attributes:
        forward: the network that is asked. asked: how many images went forwards and backwards.
    """

    def __init__(self, model: Classifier, scoring: Scoring):
        double = scoring.dtype in (torch.float64, "float64", "torch.float64")
        dtype = torch.float64 if double else None
        self.forward = Forward(model, device=scoring.device, dtype=dtype, domain=scoring.domain)
        self.asked = 0
        self._tried = False

    def __call__(
        self, spectra: Spectrum, masks: torch.Tensor, answers: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Ask about b images, with a forward and a backward each.

        Args:
            spectra: of the images. masks: real [b, H, W], in torch's layout. answers: int64 [b], logits.

        Returns:
            (logits float64 [b, L], the derivative of the odds by the masks [b, H, W], of the masks' kind), on the CPU.

        Raises:
            FloatingPointError: a logit or a derivative is NaN or infinite.
        """
        device, kind = self.forward.device, self.forward.compute
        weights = masks.to(device, kind).clone().requires_grad_()
        seen = spectral_filter(spectra, weights, pairing="each", memory_format=torch.channels_last, method="fft")
        if not self._tried:
            self._tried = True
            self.forward.optimise("folded", seen.detach())
        logits = self.forward.module(seen).double()
        (gradient,) = torch.autograd.grad(log_odds(logits, answers.to(device)).sum(), weights)
        if not torch.isfinite(logits).all() or not torch.isfinite(gradient).all():
            raise FloatingPointError("attribute: a logit, or its derivative by a frequency, is NaN or infinite.")
        self.asked += len(masks)
        return logits.detach().cpu(), gradient.cpu()


def log_odds(logits: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
    """z_a - log sum_{j != a} exp z_j of logits [b, L] and answers int64 [b]: [b]."""
    target = answers[:, None]
    return logits.gather(1, target)[:, 0] - logits.scatter(1, target, -torch.inf).logsumexp(1)


def batch_of(scoring: Scoring) -> int:
    """Images of a batch."""
    return BATCH if scoring.batch_size == "auto" else int(scoring.batch_size)
