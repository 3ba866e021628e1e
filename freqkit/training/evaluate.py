"""Accuracy, precision, recall and F1 of a classifier on an `ImageSet`."""

from contextlib import nullcontext

import torch
import torch.nn.functional as F

from freqkit.data import Images
from freqkit.data.cache import has_read
from freqkit.engine.entrance import enter
from freqkit.errors import UsageError
from freqkit.models import Network
from freqkit.models.normalisation import batch_statistics, evaluating
from freqkit.models.wrap import check_order
from freqkit.results.confusion import Confusion


def evaluate(model: Network, images: Images, *, batch_size=256, device=None, ranks=None, bn_eval="running"):
    """Ask the model about every image once, in evaluation mode.

    Args:
        model: `Classifier`; its training flag is restored afterwards.
        images: what `freqkit.data.as_images` takes; label i is logit i.
        batch_size: images per forward.
        device: by default where the model is; the model is not moved.
        ranks: `freqkit.training.ranks.ProcessGroup` that share the images; every image is asked once, and all get the
            whole report.
        bn_eval: BatchNorm with "running" statistics or with those of each "batch", which then are of images in a fixed
            random order (images of one class would have statistics of their own).

    Returns:
        JSON-ready dict: `images`, `loss` (mean cross-entropy, nats), `accuracy`, `macro_f1` (mean over
        classes that have images), `classes`: name -> {`images`, `accuracy` (recall), `precision`, `f1`};
        None where undefined (no image of the class; precision when it was never predicted). `confusion`:
        [true][predicted] counts over all logits, rows only of the set's classes.

    Example:
        >>> from freqkit.data import synthetic
        >>> from freqkit.models import load_model
        >>> from freqkit.training import evaluate
        >>> report = evaluate(load_model("small_convnet"), synthetic(1, images_per_class=2))
        >>> report["images"], list(report["classes"])
        (8, ['C0', 'C1', 'C2', 'C3'])
    """
    model, images = enter("evaluate", model, images)
    check_fit(model, images, "evaluate")
    if bn_eval not in ("running", "batch"):
        raise UsageError(f"evaluate: bn_eval must be one of running, batch; got {bn_eval!r}.")
    confusion, loss = count(model, images, batch_size=batch_size, device=device, ranks=ranks, bn_eval=bn_eval)
    return {"loss": loss, **rates(confusion, images.classes)}


@torch.inference_mode()
def count(model, images, *, batch_size=256, device=None, ranks=None, bn_eval="running"):
    """(confusion int64 [C, L], mean cross-entropy) of all images."""
    device = model._mean.device if device is None else torch.device(device)
    confusion = torch.zeros(len(images.classes), model.num_classes, dtype=torch.int64)
    loss = torch.zeros((), dtype=torch.float64)
    mine = range(len(images)) if ranks is None else ranks.share(range(len(images)))
    by_batch = bn_eval == "batch"
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0)) if by_batch else None
    with evaluating(model), batch_statistics(model) if by_batch else nullcontext():
        for start in range(mine.start, mine.stop, batch_size):
            part = slice(start, min(start + batch_size, mine.stop))
            part = part if order is None else order[part]
            labels = images.labels[part]
            logits = model(to_input(images.images[part], device)).float().cpu()
            has_read(images.images[part])
            loss += float(F.cross_entropy(logits, labels, reduction="sum"))
            confusion += Confusion.count(labels, logits.argmax(1), *confusion.shape)
    if ranks is not None and ranks.world > 1:
        both = [confusion.to(device), loss.to(device)]
        confusion, loss = (ranks.add_(value).cpu() for value in both)
    return confusion, float(loss) / len(images)


def rates(confusion, classes):
    """Rates from counts [true][predicted], where class i is column i."""
    found = Confusion(confusion)
    columns = [found.counts, found.tpr, found.precision, found.f1]
    per_class = {
        name: dict(zip(("images", "accuracy", "precision", "f1"), (_defined(v.item()) for v in line), strict=True))
        for name, *line in zip(classes, *columns, strict=True)
    }
    f1 = [entry["f1"] for entry in per_class.values() if entry["f1"] is not None]
    return {
        "images": int(confusion.sum()),
        "accuracy": found.accuracy.item(),
        "macro_f1": sum(f1) / len(f1),
        "classes": per_class,
        "confusion": confusion.tolist(),
    }


def _defined(value):
    return None if value != value else value


def to_input(images, device):
    """uint8 [n, 3, H, W] -> float32 in [0, 1], channels_last, on the device."""
    return images.to(device).to(torch.float32, memory_format=torch.channels_last).div_(255)


def check_fit(model, images, caller):
    if len(images) == 0:
        raise UsageError(f"{caller}: the image set must hold images; it is empty.")
    if len(images.classes) > model.num_classes:
        raise UsageError(
            f"{caller}: the model must have a logit for each class; "
            f"the images have {len(images.classes)} classes, the model {model.num_classes}."
        )
    check_order(caller, model, images.classes, "load them with classes=model.class_names")
