"""Example images before and after a class's map has filtered them, with what the model says of each."""

import math
from typing import NamedTuple

from freqkit.report import figures
from freqkit.text import shorten

FORMAT = "freqkit-examples-1"
GAIN = 6.0  # the most by which a faint filtered image is brightened for the eye


class Example(NamedTuple):
    """One image before and after filtering; the images are arrays `[3, H, W]`."""

    label: str
    before: object  # in [0, 1]
    after: object  # de-normalised, may leave [0, 1]
    predicted_before: str
    predicted_after: str


def examples_of(model, images, maps, classes, *, class_index=None, per_class=4, limit=12):
    """Filter the first images of each class with its class's map, and ask the model about both.

    Args:
        model: a `freqkit.models.Classifier`.
        images: a `freqkit.data.ImageSet`.
        maps: effective masks `[C, H, W]`, real, centred.
        classes: the C names of the maps, all of them among `images.classes`.
        class_index: the logit of each of `images.classes`; default: they are the logits.
        per_class: images per class: the first ones, never the best ones.
        limit: at most this many classes.

    Returns:
        list of Example, class by class.

    The filter acts on the normalised image, as the search does: y = Re IDFT2(m DFT2((x - mean)/std));
    the picture shows y·std + mean.
    """
    import torch

    from freqkit.engine.forward import model_device
    from freqkit.ops import spectral_filter, spectrum

    device = model_device(model)
    logit = range(len(images.classes)) if class_index is None else [int(i) for i in class_index]
    names = dict(zip(logit, images.classes, strict=True))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (model.mean, model.std))
    # the operator takes torch's layout, a map is centred
    masks = torch.fft.ifftshift(torch.as_tensor(maps, dtype=torch.float32), dim=(-2, -1))
    found, was_training = [], model.training
    model.eval()
    try:
        with torch.inference_mode():
            for place, label in list(enumerate(classes))[:limit]:
                chosen = (images.labels == images.classes.index(label)).nonzero().flatten()[:per_class]
                before = images.images[chosen].float() / 255
                after = spectral_filter(spectrum(before, mean=model.mean, std=model.std), masks[place : place + 1])[0]
                said = [
                    [names.get(i, f"logit {i}") for i in logits.argmax(1).tolist()]
                    for logits in (model(before.to(device)), model.network(after.to(device)))
                ]
                pixels = after * std + mean
                found += [
                    Example(label, before[i].numpy(), pixels[i].numpy(), said[0][i], said[1][i])
                    for i in range(len(chosen))
                ]
    finally:
        model.train(was_training)
    return found


def save_examples(path, examples):
    """Write examples as one safetensors file, atomically: images as uint8, filtered ones as float16."""
    import json

    import torch

    from freqkit.results.files import write_safetensors

    about = [[e.label, e.predicted_before, e.predicted_after] for e in examples]
    before = torch.stack([torch.as_tensor(e.before) for e in examples])
    after = torch.stack([torch.as_tensor(e.after) for e in examples])
    tensors = {"before": (before * 255).round().clamp(0, 255).to(torch.uint8), "after": after.to(torch.float16)}
    write_safetensors(path, tensors, {"format": FORMAT, "examples": json.dumps(about)})


def load_examples(path):
    """Read what `save_examples` wrote: a list of Example.

    Raises:
        UsageError: the file is no such file.
    """
    from freqkit.errors import UsageError
    from freqkit.results.reading import read_tensors

    tensors, about = read_tensors(
        path, "a file of example images", format=FORMAT,
        tensors={"before": "uint8 n 3 H W", "after": "float16 n 3 H W"},
        facts={"examples": [[str]]}, sizes={"n": "examples"},
    )  # fmt: skip
    if any(len(words) != 3 for words in about["examples"]):
        raise UsageError(f"{path}: each example must have three words: its class and what it was taken for.")
    if not tensors["after"].isfinite().all():
        raise UsageError(f"{path}: the tensor after must hold finite numbers.")
    before, after = tensors["before"].float() / 255, tensors["after"].float()
    return [
        Example(label, before[i].numpy(), after[i].numpy(), said, filtered)
        for i, (label, said, filtered) in enumerate(about["examples"])
    ]


def filtered_examples(examples, *, title=None):
    """Draw pairs of images, as they are and as the class's map leaves them, one class per row.

    Args:
        examples: list of Example.
        title: a line above.

    Returns:
        A matplotlib Figure. Under each image stands the predicted class: blue with a tick when it is the true
        one, vermilion with a cross when not. Filtered images are faint, so their deviation from their mean
        colour is raised by at most 6 times; the factor is written beside the prediction.

    Raises:
        ValueError: when there is nothing to show.
    """
    if not examples:
        raise ValueError("filtered_examples: examples must not be empty.")
    by_class = {}
    for example in examples:
        by_class.setdefault(example.label, []).append(example)
    pairs = max(len(group) for group in by_class.values())
    rows = len(by_class)
    figure = figures.new_figure(2.2 * pairs + 0.7, 1.36 * rows + 0.75)
    axes = figure.subplots(rows, 2 * pairs, squeeze=False)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
        for side in axis.spines.values():
            side.set_visible(False)
    for row, (label, group) in enumerate(by_class.items()):
        axes[row, 0].set_ylabel(shorten(label, 16), rotation=0, ha="right", va="center", fontsize=9, labelpad=8)
        for column, example in enumerate(group):
            shown, gain = brighten(example.after)
            _tile(axes[row, 2 * column], example.before, label, example.predicted_before, 1.0)
            _tile(axes[row, 2 * column + 1], shown, label, example.predicted_after, gain)
    for column in range(pairs):
        axes[0, 2 * column].set_title("image", fontsize=8.5, color=figures.FAINT)
        axes[0, 2 * column + 1].set_title("filtered", fontsize=8.5, color=figures.FAINT)
    figure.suptitle(title or "First images of each class, filtered with the map of their class", fontsize=10.5)
    figure.supxlabel(
        "Under each image the model's answer; ×n: contrast of the filtered image raised n times for the eye.",
        fontsize=8,
        color=figures.FAINT,
    )
    return figure


def brighten(after):
    """A faint filtered image with its deviation from the mean colour raised, and by what factor (1 to `GAIN`)."""
    import numpy as np

    after = np.asarray(after, dtype=np.float64)
    mean = after.mean(axis=(1, 2), keepdims=True)
    deviation = after - mean
    # the 99th percentile, so that one bright pixel does not keep the rest dark
    reach = np.percentile(np.abs(deviation), 99)
    gain = min(GAIN, 0.4 / reach) if reach > 0 else 1.0
    gain = max(1.0, gain)
    middle = np.clip(mean, 0.35, 0.65) if gain > 1 else mean
    return np.clip(middle + gain * deviation, 0, 1), gain


def _tile(axis, image, label, predicted, gain):
    import numpy as np

    right = predicted == label
    shown = np.clip(np.transpose(np.asarray(image, dtype=np.float64), (1, 2, 0)), 0, 1)
    if math.prod(shown.shape[:2]) <= 128 * 128:
        axis.imshow(shown, interpolation="nearest")
    else:
        axis.imshow(shown, interpolation="antialiased")
    text = f"{'✓' if right else '✗'} {shorten(predicted, 13)}"
    axis.set_xlabel(
        text + (f"  ×{gain:.1f}" if gain > 1.05 else ""),
        fontsize=7,
        labelpad=2,
        color=figures.BLUE if right else figures.VERMILION,
    )
