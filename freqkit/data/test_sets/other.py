"""Any other set: an ImageFolder, a folder of webdataset shards, or a Hugging Face dataset."""

import re
from pathlib import Path

from freqkit.data.class_lists import MOST_CLASSES, order_note, unfit
from freqkit.data.test_set import KnownSet
from freqkit.data.test_sets.counterparts import read_counterparts
from freqkit.data.test_sets.folders import by_class, folders_in, number_below, read_folders, read_members, shards_in
from freqkit.data.test_sets.sources import hub_dataset
from freqkit.errors import UsageError
from freqkit.files.reading import shown
from freqkit.text import composed, plain_line


def read_other(place, check):
    """The one `TestSet` that lies at `place`, whatever it is."""
    name = check.name
    known = KnownSet(name=name, title=name, read=read_counterparts)
    if place.startswith("hf:"):
        source, texts, classes = hub_dataset(place[3:])
        index = {own: label for label, own in enumerate(classes)}
        return known.opened(*by_class(source, [index[composed(text)] for text in texts]), [], classes=classes)
    folder = Path(place)
    if not folder.is_dir():
        raise UsageError(f"{name}: {place!r} is not a folder.")
    if check.class_map is not None:
        [found] = read_counterparts(known, folder, check)
        return found
    classes = [composed(entry) for entry in folders_in(folder)]
    shards = [] if classes else shards_in(folder, check)
    if shards:
        source, texts = read_members(shards, check)
        classes, labels = _labels(source, texts, name)
        return known.opened(*by_class(source, labels), check.notes, classes=classes)
    if not classes:
        raise UsageError(f"{name}: {place!r} must hold one folder for each class, or tar shards; it has neither.")
    found = read_folders(known, folder, check, classes=classes)
    note = order_note(classes)
    check.notes += [note] if note else []
    return found


def _labels(source, texts, name):
    """(class names, labels) of what stands in the .cls of shards: numbers, or names."""
    if all(re.fullmatch("[0-9]+", text) for text in texts):
        labels = [number_below(text, MOST_CLASSES) for text in texts]
        if -1 in labels:
            came = shown(texts[labels.index(-1)])
            raise UsageError(f"{name}: numbers in .cls must lie below {MOST_CLASSES}; got {came}.")
        return [str(i) for i in range(max(labels) + 1)], labels
    texts = [composed(text) for text in texts]
    for text, (path, member, *_) in zip(texts, source.rows, strict=True):
        if unfit(text):
            raise UsageError(f"{path}: the label of {plain_line(member, 200)} {unfit(text)}; got {shown(text)}.")
    classes = sorted(set(texts))
    index = {own: label for label, own in enumerate(classes)}
    return classes, [index[text] for text in texts]
