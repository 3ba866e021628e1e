"""Example images before and after a class's map has filtered them, with what the model says of each."""

import math
from pathlib import Path
from typing import NamedTuple

from freqkit.report import figures
from freqkit.report.blocks import Pairs, Section
from freqkit.report.svg import photo_uri
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


def save_examples(path, examples):
    """Write examples as one safetensors file, atomically: images as uint8, filtered ones as float16."""
    import json

    import torch

    from freqkit.files.whole import write_safetensors

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
    from freqkit.files.reading import read_tensors

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


def examples_section(path):
    """Images before and after, when the run kept them."""
    from freqkit.report.examples import load_examples

    path = Path(path)
    file = (path if path.is_dir() else path.parent) / "examples.safetensors"
    if not file.exists():
        return []
    from freqkit.report.examples import brighten

    by_class = {}
    for example in load_examples(file):
        after, gain = brighten(example.after)
        by_class.setdefault(example.label, []).append(
            {
                "before": photo_uri(example.before),
                "after": photo_uri(after),
                "said_before": example.predicted_before,
                "said_after": example.predicted_after + (f" ×{gain:.1f}" if gain > 1.05 else ""),
                "right_before": example.predicted_before == example.label,
                "right_after": example.predicted_after == example.label,
            }
        )
    return [
        Section(
            "Images before and after",
            [Pairs(list(by_class.items()))],
            "The first images of each class (not the best): as they are, and with only the frequencies of the class's"
            " map. Under each the model's answer, ✓ when it is the true class. ×n: the contrast of a faint filtered"
            " image is raised n times for the eye, not for the model.",
            key="examples",
        )
    ]
