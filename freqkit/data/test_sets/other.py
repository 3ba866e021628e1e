"""Any other set: an ImageFolder, a folder of webdataset shards, or a Hugging Face dataset."""

import re
from pathlib import Path

import torch

from freqkit.data.class_lists import (
    MOST_CLASSES,
    order_note,
    unfit,
)  # fmt: skip
from freqkit.data.test_set import TestSet
from freqkit.data.test_sets.counterparts import _counterparts
from freqkit.data.test_sets.folders import _class_folders, _folders, _members, _number, _shards
from freqkit.data.test_sets.sources import Shards, hub_dataset
from freqkit.errors import UsageError
from freqkit.files.reading import shown
from freqkit.text import composed, plain_line


def _other(name, place, check, class_map):
    """Any ImageFolder, folder of shards, or Hugging Face dataset."""
    if place.startswith("hf:"):
        source, texts, classes = hub_dataset(place[3:])
        index = {own: label for label, own in enumerate(classes)}
        labels = [index[composed(text)] for text in texts]
        order = sorted(range(len(labels)), key=lambda i: (labels[i], i))
        return TestSet(name, "", classes, torch.tensor([labels[i] for i in order]), source.take(order))
    folder = Path(place)
    if not folder.is_dir():
        raise UsageError(f"{name}: {place!r} is not a folder.")
    if class_map is not None:
        [found] = _counterparts(name, folder, check, class_map)
        return found
    classes = [composed(entry) for entry in _folders(folder)]
    shards = [] if classes else _shards(folder, check)
    if shards:
        members, texts = _members(shards, check)
        if all(re.fullmatch("[0-9]+", text) for text in texts):
            labels = [_number(text, MOST_CLASSES) for text in texts]
            if -1 in labels:
                came = shown(texts[labels.index(-1)])
                raise UsageError(f"{name}: numbers in .cls must lie below {MOST_CLASSES}; got {came}.")
            classes = [str(i) for i in range(max(labels) + 1)]
        else:
            texts = [composed(text) for text in texts]
            for text, (path, member, *_) in zip(texts, members, strict=True):
                if unfit(text):
                    raise UsageError(
                        f"{path}: the label of {plain_line(member, 200)} {unfit(text)}; got {shown(text)}."
                    )
            classes = sorted(set(texts))
            index = {own: label for label, own in enumerate(classes)}
            labels = [index[text] for text in texts]
        order = sorted(range(len(labels)), key=lambda i: (labels[i], members[i][0], members[i][1]))
        source = Shards([members[i] for i in order])
        return TestSet(name, "", classes, torch.tensor([labels[i] for i in order]), source, notes=check.notes)
    if not classes:
        raise UsageError(f"{name}: {place!r} must hold one folder for each class, or tar shards; it has neither.")
    source, labels = _class_folders(folder, classes, check)
    note = order_note(classes)
    check.note(*([note] if note else []))
    return TestSet(name, "", classes, labels, source, notes=check.notes)
