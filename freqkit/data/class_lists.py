"""Class names and other short lists that come with freqkit; each file names its source."""

import functools
from pathlib import Path

LISTS = Path(__file__).with_name("lists")


def class_list(name):
    """Class names of a shipped list: "imagenet", "imagenet-r", "imagenet-a", "cifar100".

    Example:
        >>> len(class_list("imagenet")), class_list("imagenet-r")[0]
        (1000, 'n01443537')
    """
    return list(shipped_lines(name))


@functools.cache
def shipped_lines(name):
    """Lines of a shipped file but its comments, as a tuple."""
    text = (LISTS / f"{name}.txt").read_text("utf-8")
    return tuple(line for line in text.splitlines() if line and not line.startswith("#"))
