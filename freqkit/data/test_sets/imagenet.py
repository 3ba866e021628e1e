"""ImageNet in its many trees, and sets of the same classes."""

import csv
import io
import re
from pathlib import Path

import torch

from freqkit.data.class_lists import (
    class_list,
    read_lines,
)  # fmt: skip
from freqkit.data.folder import few
from freqkit.data.test_set import TestSet
from freqkit.data.test_sets.folders import (
    FULL,
    TITLES,
    _class_folders,
    _folders,
    _images_in,
    _number,
)
from freqkit.data.test_sets.sources import Files
from freqkit.errors import UsageError
from freqkit.files.reading import read_json, shown

V2 = {
    "matched-frequency": r"imagenet-?v2-?matched-?frequency.*",
    "threshold-0.7": r"imagenet-?v2-?threshold-?0\.?7.*",
    "top-images": r"imagenet-?v2-?top-?images.*",
}


def _imagenet(name, folder, check):
    classes = class_list("imagenet")
    flat = [file for file in _images_in(folder) if re.fullmatch(r"ILSVRC2012_val_\d{8}\.\w+", file)]
    if flat and not [entry for entry in _folders(folder) if entry in set(classes)]:
        source, labels = _flat(folder, flat, classes, check)
    else:
        source, labels = _class_folders(folder, classes, check, count=50)
    real = _real(folder, source, check)
    return [TestSet(TITLES[name], "", classes, labels, source, notes=check.notes, real=real)]


def _flat(folder, files, classes, check):
    """ILSVRC2012_val_00000001.JPEG ... in one folder, with a map beside it or above."""
    index = {wnid: label for label, wnid in enumerate(classes)}
    names = ("LOC_val_solution.csv", "val.txt", "val_map.txt", "imagenet_2012_validation_synset_labels.txt")
    places = [parent / name for parent in (folder, *folder.resolve().parents[:4]) for name in names]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise UsageError(
            f"{check.name}: {str(folder)!r} holds the images in one folder, so a map is needed beside it: "
            f"one of {', '.join(names)}."
        )
    expected = "a map from image to class, one a line"
    lines = read_lines(path, expected)
    if path.suffix == ".csv":
        rows = [(number, next(csv.reader(io.StringIO(line)))) for number, line in lines[1:]]
        pairs = [(number, row[0], row[1].split()[0]) for number, row in rows if len(row) > 1 and row[1].strip()]
    elif all(" " not in line for _, line in lines):  # one id per image, in the order of the images
        pairs = [(number, f"ILSVRC2012_val_{i + 1:08d}", line) for i, (number, line) in enumerate(lines)]
    else:
        pairs = [(number, Path(line.split()[0]).stem, line.split()[-1]) for number, line in lines]
    label_of = {}
    for number, stem, text in pairs:
        if label_of.setdefault(stem, text) != text:
            raise UsageError(
                f"{check.name}: {path.name} must give every image one class; line {number} gives {shown(stem)} another."
            )
    known = {}
    for stem, text in label_of.items():
        if text in index:
            known[stem] = index[text]
        elif " " in lines[0][1] and _number(text, len(classes)) >= 0:
            known[stem] = int(text)  # caffe's val.txt counts in the order of the ids
        else:
            raise UsageError(
                f"{check.name}: {path.name} must give a WordNet id, or a number 0...999 in their order, for every "
                f"image; got {shown(text)} (the development kit's own numbers are in another order)."
            )
    without = [file for file in files if Path(file).stem not in known]
    if without:
        raise UsageError(f"{check.name}: {path.name} says nothing of {len(without)} images ({few(without)}).")
    if len(files) != 50_000:
        check.fault(f"{len(files)} images instead of 50000")
    order = sorted(files, key=lambda file: (known[Path(file).stem], file))
    return Files(folder, order), torch.tensor([known[Path(file).stem] for file in order])


def _real(folder, source, check):
    """Labels of ReaL (Beyer et al., 2020) from a real.json near the images: a list by image number."""
    path = next((p / "real.json" for p in (folder, *folder.resolve().parents[:2]) if (p / "real.json").is_file()), None)
    if path is None:
        return None
    try:
        lists = read_json(path, [[int]])
    except UsageError as error:
        raise UsageError(
            f"{check.name}: {path.name} must be a list with a list of class numbers for every image ({error})"
        ) from error
    if any(not 0 <= label < 1000 for labels in lists for label in labels):
        raise UsageError(f"{check.name}: {path.name} must hold class numbers 0...999.")
    if len(lists) != 50_000:
        check.fault(f"{path.name} has {len(lists)} entries instead of 50000")
    real = []
    for i in range(len(source)):
        number = re.fullmatch(r"ILSVRC2012_val_(\d{8})\.\w+", source.name(i).rpartition("/")[2])
        place = int(number[1]) - 1 if number else len(lists)
        if not 0 <= place < len(lists):
            check.fault(f"{path.name} cannot be used, for image {source.name(i)!r} has no number in it")
            return None
        real.append(tuple(lists[place]))
    return real


def _v2_folders(folder):
    """condition -> folder of ImageNet-v2."""
    found = {}
    for name in _folders(folder):
        for condition, pattern in V2.items():
            if re.fullmatch(pattern, name.lower()):
                if condition in found:
                    raise UsageError(f"v2: {condition} stands twice, as {found[condition].name!r} and {name!r}.")
                found[condition] = folder / name
    return found


def _v2(name, folder, check):
    classes, found, sets = class_list("imagenet"), _v2_folders(folder), []
    if not found and _folders(folder):
        found = {"": folder}
    missing = [condition for condition in V2 if condition not in found]
    if missing and "" not in found:
        check.fault(f"the parts {few(missing)} are missing")

    def numbered(text):
        # Folders are 0...999: as text they sort 0, 1, 10, 100, ..., and every label would be another class.
        if _number(text, len(classes)) < 0:
            raise ValueError(text)
        return classes[int(text)]

    for condition in sorted(found):
        begin, where = len(check.notes), found[condition]
        wnids = any(entry in set(classes) for entry in _folders(where))
        how = {} if wnids else {"key": numbered}
        source, labels = _class_folders(where, classes, check, count=10, prefix=f"{condition}: ", **how)
        sets.append(
            TestSet(TITLES[name], condition, classes, labels, source, notes=check.notes_of(begin) or list(check.notes))
        )
    return sets


def _part(name, folder, check):
    """ImageNet-R and -A: 200 of the 1000 classes."""
    own = class_list(f"imagenet-{name}")
    source, labels = _class_folders(folder, own, check, total=FULL[name])
    return [TestSet(TITLES[name], "", own, labels, source, subset=own, notes=check.notes)]


def _plain(name, folder, check):
    """One folder per ImageNet class."""
    if name == "sketch" and (folder / "sketch").is_dir():
        folder = folder / "sketch"
    count = 50 if name == "stylized" else None
    source, labels = _class_folders(folder, class_list("imagenet"), check, count=count, total=FULL.get(name))
    return [TestSet(TITLES[name], "", class_list("imagenet"), labels, source, notes=check.notes)]
