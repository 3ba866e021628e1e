"""Sets of counterpart classes, each scored as the class it stands for."""

import re
from pathlib import Path

import torch

from freqkit.data.class_lists import (
    LISTS,
    read_lines,
    unfit,
)  # fmt: skip
from freqkit.data.folder import few, left_out
from freqkit.data.test_set import TestSet
from freqkit.data.test_sets.folders import TITLES, _folders, _images_in
from freqkit.data.test_sets.sources import Files
from freqkit.errors import UsageError
from freqkit.files.reading import refuse, shown
from freqkit.text import composed, plain_line


def _counterparts(name, folder, check, class_map):
    """Folders of counterpart classes, each scored as the class it stands for; images may lie deeper, by style."""
    mapping = read_class_map(LISTS / "imagenet-sct.txt" if class_map is None else class_map)
    classes = list(dict.fromkeys(mapping.values()))

    def plain(text):
        return re.sub(r"[\s_-]+", " ", composed(text)).strip().lower()

    spelled = {plain(key): value for key, value in mapping.items()}
    if len(spelled) != len(mapping):
        raise UsageError(f"{name}: class_map names two counterparts that differ in spelling alone.")
    files, labels, taken, others = [], [], {}, []
    for entry in _folders(folder):
        own = spelled.get(plain(entry))
        if own is None:
            check.fault(f"folder {entry!r} is not in the class map")
            continue
        if own in taken:
            raise UsageError(f"{name}: class {own!r} stands twice, as {taken[own]!r} and {entry!r}.")
        taken[own] = entry
        deeper = [
            f"{style}/{file}"
            for style in _folders(folder / entry)
            for file in _images_in(folder / entry / style, others, others)
        ]
        images = [*_images_in(folder / entry, others), *deeper]
        files += [(classes.index(own), f"{entry}/{file}") for file in images]
    missing = [each for each in classes if each not in taken]
    if missing:
        check.fault(f"{len(missing)} of {len(classes)} counterpart classes are missing: {few(missing)}")
    if not files:
        raise UsageError(f"{name}: {str(folder)!r} holds no image of a counterpart class.")
    check.note(*left_out(0, [], sorted(others)))
    files.sort()
    labels = torch.tensor([label for label, _ in files])
    return [
        TestSet(TITLES.get(name, name), "", classes, labels, Files(folder, [f for _, f in files]), notes=check.notes)
    ]


def read_class_map(given):
    """Dict counterpart -> class, from a dict or a file of lines `counterpart = class`."""
    if isinstance(given, dict):
        mapping = {composed(str(key)): composed(str(value)) for key, value in given.items()}
    else:
        path = Path(given)
        if not path.is_file():
            raise UsageError(f"class_map: {plain_line(str(path))!r} is not a file.")
        lines = [(number, line) for number, line in read_lines(path, "a class map") if line[0] != "#"]
        mapping = {}
        for number, line in lines:
            left, _, right = (composed(part.strip(" \t")) for part in line.partition("="))
            if not left or not right or "=" in right or unfit(left) or unfit(right):
                raise UsageError(
                    f"class_map: every line of {path.name} must be `counterpart = class`; "
                    f"line {number} is {shown(line)}."
                )
            if left in mapping:
                raise UsageError(
                    f"class_map: {path.name} must name every counterpart once; {shown(left)} stands twice."
                )
            mapping[left] = right
        if not mapping:
            refuse(path, "a class map", "it names no counterpart")
    if len(set(mapping.values())) != len(mapping) or not mapping:
        raise UsageError("class_map: every class must have one counterpart.")
    return mapping
