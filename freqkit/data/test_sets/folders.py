"""Folders of classes, folders of severities, and tar shards: what the readers of test sets share."""

import os
import re

import torch

from freqkit.data.class_lists import check_files, sorted_folders
from freqkit.data.folder import few, left_out
from freqkit.data.pictures import is_image, named_image
from freqkit.data.test_sets.sources import Files, Shards, read_shards
from freqkit.errors import UsageError
from freqkit.files.reading import shown
from freqkit.text import composed, plain_line

_TAR = re.compile(r".+\.(tar|tgz|tar\.\w+)", re.IGNORECASE)


def folders_in(folder):
    """Names of the folders in a folder, hidden ones left out."""
    return sorted_folders(folder, "data")


def images_in(folder, strange=None, nested=None):
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


def read_folders(known, folder, check, condition=None, *, classes=None, key=composed):
    """The `TestSet` of folders named as classes, or of shards, in the order of the classes.

    Args:
        condition: which part of the set this is, if it has parts.
        classes: their names; default the known ones. key: from a folder's name to a class name.
    """
    begin, classes = len(check.notes), known.names if classes is None else classes
    prefix = "" if condition is None else f"{condition}: "
    source, labels = _class_folders(known, folder, check, classes, key, prefix)
    notes = check.notes if condition is None else check.notes[begin:]
    return known.opened(source, labels, notes, condition or "", classes)


def one_folder_for_each_class(known, folder, check):
    """What reads a set without parts: `KnownSet.read`."""
    return [read_folders(known, folder, check)]


def _class_folders(known, folder, check, classes, key, prefix):
    """(source, labels) of folders of classes or of shards; every sentence about them begins with `prefix`."""
    where, strange = {}, []
    for name in folders_in(folder):
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
        shards = shards_in(folder, check)
        if shards:
            return _shard_labels(shards, classes, check)
        raise UsageError(
            f"{check.name}: {str(folder)!r} holds no folder of a class (as {classes[0]!r}); "
            f"it holds {few(strange) if strange else 'no folders'}."
        )
    check.some(strange, "folders are no class of the set", prefix)
    check.missing(classes, where, "classes", prefix)
    files, labels, sizes, others, nested = [], [], {}, [], []
    for label, name in enumerate(classes):
        if name in where:
            own = images_in(folder / where[name], others, nested)
            sizes[name] = len(own)
            files += [f"{where[name]}/{file}" for file in own]
            labels += [label] * len(own)
    beside = [entry.name for entry in os.scandir(folder) if not entry.is_dir() and not entry.name.startswith(".")]
    sentences = left_out(len(nested), sorted(filter(named_image, beside)), sorted(others))
    sentences += [f"{name} beside the class folders is left out" for name in sorted(beside) if _TAR.fullmatch(name)]
    check.notes += [f"{prefix}{sentence}" for sentence in sentences]
    check.some([name for name, n in sizes.items() if n == 0], "classes have no image", prefix)
    wrong = [f"{name} ({n})" for name, n in sizes.items() if n not in (0, known.per_class or n)]
    check.some(wrong, f"classes do not have {known.per_class} images", prefix)
    if known.images not in (None, len(files)):
        check.fault(f"{prefix}{len(files)} images instead of {known.images}")
    if not files:
        raise UsageError(f"{check.name}: {str(folder)!r} holds no image in its class folders.")
    return Files(folder, files), torch.tensor(labels)


def shards_in(folder, check):
    """The tar files of a folder, none of which may be compressed."""
    found = sorted(entry.name for entry in os.scandir(folder) if not entry.is_dir() and _TAR.fullmatch(entry.name))
    packed = [name for name in found if not name.lower().endswith(".tar")]
    if packed:
        raise UsageError(
            f"{check.name}: shards are read in place, so they must not be compressed; unpack {few(packed)} to .tar."
        )
    return [folder / name for name in found if not name.startswith(".")]


def read_members(shards, check):
    """(`Shards`, texts of their labels), with what was left out as a note."""
    members, texts, others = read_shards(shards, check.fault)
    if not members:
        raise UsageError(
            f"{check.name}: {few([path.name for path in shards])} must hold images with labels; none does."
        )
    if others:
        check.notes.append(
            f"{len(others)} members of the shards are neither images nor labels and are left out: {few(others)}"
        )
    return Shards(members), texts


def by_class(source, labels):
    """(source, labels int64 [n]) sorted by class, then by where the images lie."""
    order = sorted(range(len(labels)), key=lambda i: (labels[i], source.rows[i]))
    return source.take(order), torch.tensor([labels[i] for i in order])


def number_below(text, bound):
    """The number in 0...bound - 1 that a text spells in ASCII digits, or -1."""
    return int(text) if re.fullmatch("[0-9]{1,9}", text) and int(text) < bound else -1


def _shard_labels(shards, classes, check):
    """Images of webdataset shards, sorted by class."""
    source, texts = read_members(shards, check)
    index = {name: label for label, name in enumerate(classes)}
    labels = [index.get(composed(text), number_below(text, len(classes))) for text in texts]
    if -1 in labels:
        came = shown(texts[labels.index(-1)])
        raise UsageError(f"{check.name}: .cls must hold a class name or 0...{len(classes) - 1}; got {came}.")
    return by_class(source, labels)
