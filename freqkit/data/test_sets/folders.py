"""Folders of classes, folders of severities, and tar shards: what the readers of test sets share."""

import os
import re

import torch

from freqkit.data.class_lists import (
    check_files,
    sorted_folders,
)  # fmt: skip
from freqkit.data.folder import few, left_out
from freqkit.data.pictures import is_image, named_image
from freqkit.data.test_sets.sources import Files, Shards, read_shards
from freqkit.errors import UsageError
from freqkit.files.reading import shown
from freqkit.text import composed, plain_line

FULL = {"r": 30000, "a": 7500, "sketch": 50889}  # images of the whole published set


TITLES = {
    "imagenet": "imagenet", "v2": "imagenet-v2", "c": "imagenet-c", "c-bar": "imagenet-c-bar", "r": "imagenet-r",
    "a": "imagenet-a", "sketch": "imagenet-sketch", "stylized": "imagenet-stylized", "sct": "imagenet-sct",
}  # fmt: skip


class _Check:
    """Collects what differs from the published set: an error, or with `relaxed` a note."""

    def __init__(self, name, relaxed):
        self.name, self.relaxed, self.notes = name, relaxed, []

    def fault(self, sentence):
        if not self.relaxed:
            raise UsageError(f"{self.name}: {sentence} (relaxed accepts that, and says so on record).")
        self.notes.append(sentence)

    def note(self, *sentences):
        """What is worth knowing of a set, and no fault of it."""
        self.notes += sentences

    def notes_of(self, begin):
        """Notes since `begin`."""
        return list(self.notes[begin:])


def _folders(folder):
    """Names of the folders in a folder, hidden ones left out."""
    return sorted_folders(folder, "data")


def _images_in(folder, strange=None, nested=None):
    """Names of the image files in a folder; the other files' paths are added to `strange`, folders' to `nested`."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                kind = nested
            else:
                kind = found if is_image(entry.path) else strange
            if kind is not None:
                kind.append(entry.name if kind is found else f"{folder.name}/{entry.name}")
    check_files(found, f"data: {plain_line(str(folder))!r}")
    return sorted(found)


def _class_folders(folder, classes, check, *, key=composed, count=None, total=None, prefix=""):
    """(names of the files, labels) of folders named as classes, in the order of `classes`.

    key: from a folder's name to a class name; count: images that every class must have; total: of the whole set.
    """
    where, strange = {}, []
    for name in _folders(folder):
        try:
            own = key(name)
        except ValueError:
            own = None
        if own not in classes:
            strange.append(name)
        elif own in where:
            raise UsageError(
                f"{check.name}: class {own} stands twice in {str(folder)!r}, as {where[own]!r} and {name!r}."
            )
        else:
            where[own] = name
    if not where:
        shards = _shards(folder, check)
        if shards:
            return _shard_labels(shards, classes, check)
        raise UsageError(
            f"{check.name}: {str(folder)!r} holds no folder of a class (as {classes[0]!r}); "
            f"it holds {few(strange) if strange else 'no folders'}."
        )
    if strange:
        check.fault(f"{prefix}{len(strange)} folders are no class of the set: {few(strange)}")
    missing = [name for name in classes if name not in where]
    if missing:
        check.fault(f"{prefix}{len(missing)} of {len(classes)} classes are missing: {few(missing)}")
    files, labels, sizes, others, nested = [], [], {}, [], []
    for label, name in enumerate(classes):
        if name in where:
            own = _images_in(folder / where[name], others, nested)
            sizes[name] = len(own)
            files += [f"{where[name]}/{file}" for file in own]
            labels += [label] * len(own)
    beside = [entry.name for entry in os.scandir(folder) if not entry.is_dir() and not entry.name.startswith(".")]
    sentences = left_out(len(nested), sorted(filter(named_image, beside)), sorted(others))
    sentences += [f"{name} beside the class folders is left out" for name in sorted(beside) if _TAR.fullmatch(name)]
    check.note(*(f"{prefix}{sentence}" for sentence in sentences))
    empty = [name for name, n in sizes.items() if n == 0]
    if empty:
        check.fault(f"{prefix}{len(empty)} classes have no image: {few(empty)}")
    wrong = [f"{name} ({n})" for name, n in sizes.items() if count is not None and n not in (0, count)]
    if wrong:
        check.fault(f"{prefix}{len(wrong)} classes do not have {count} images: {few(wrong)}")
    if total is not None and len(files) != total:
        check.fault(f"{prefix}{len(files)} images instead of {total}")
    if not files:
        raise UsageError(f"{check.name}: {str(folder)!r} holds no image in its class folders.")
    return Files(folder, files), torch.tensor(labels)


_TAR = re.compile(r".+\.(tar|tgz|tar\.\w+)", re.IGNORECASE)


def _shards(folder, check):
    """The tar files of a folder, none of which may be compressed."""
    found = sorted(entry.name for entry in os.scandir(folder) if not entry.is_dir() and _TAR.fullmatch(entry.name))
    packed = [name for name in found if not name.lower().endswith(".tar")]
    if packed:
        raise UsageError(
            f"{check.name}: shards are read in place, so they must not be compressed; unpack {few(packed)} to .tar."
        )
    return [folder / name for name in found if not name.startswith(".")]


def _members(shards, check):
    """`read_shards`, with what was left out as a note."""
    members, texts, others = read_shards(shards, check.fault)
    if not members:
        raise UsageError(
            f"{check.name}: {few([path.name for path in shards])} must hold images with labels; none does."
        )
    if others:
        check.note(f"{len(others)} members of the shards are neither images nor labels and are left out: {few(others)}")
    return members, texts


def _number(text, least_too_many):
    """The number in 0...least_too_many - 1 that a text spells in ASCII digits, or -1."""
    return int(text) if re.fullmatch("[0-9]{1,9}", text) and int(text) < least_too_many else -1


def _shard_labels(shards, classes, check):
    """Images of webdataset shards, sorted by class."""
    members, texts = _members(shards, check)
    index = {name: label for label, name in enumerate(classes)}
    labels = [index.get(composed(text), _number(text, len(classes))) for text in texts]
    if -1 in labels:
        came = shown(texts[labels.index(-1)])
        raise UsageError(f"{check.name}: .cls must hold a class name or 0...{len(classes) - 1}; got {came}.")
    order = sorted(range(len(labels)), key=lambda i: (labels[i], members[i][0], members[i][1]))
    return Shards([members[i] for i in order]), torch.tensor([labels[i] for i in order])
