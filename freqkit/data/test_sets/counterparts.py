"""Sets of counterpart classes, each scored as the class it stands for."""

import re
from pathlib import Path

import torch

from freqkit.data.class_lists import LISTS, read_lines, unfit
from freqkit.data.folder import left_out
from freqkit.data.test_set import KnownSet
from freqkit.data.test_sets.folders import folders_in, images_in
from freqkit.data.test_sets.sources import Files
from freqkit.errors import UsageError
from freqkit.files.reading import refuse, shown
from freqkit.text import composed, plain_line


def read_counterparts(known, folder, check):
    """Folders of counterpart classes, each scored as the class it stands for; images may lie deeper, by style."""
    name = known.name
    mapping = read_class_map(LISTS / f"{known.classes}.txt" if check.class_map is None else check.class_map)
    classes = list(dict.fromkeys(mapping.values()))

    def plain(text):
        return re.sub(r"[\s_-]+", " ", composed(text)).strip().lower()

    spelled = {plain(key): value for key, value in mapping.items()}
    if len(spelled) != len(mapping):
        raise UsageError(f"{name}: class_map names two counterparts that differ in spelling alone.")
    files, taken, others = [], {}, []
    for entry in folders_in(folder):
        own = spelled.get(plain(entry))
        if own is None:
            check.fault(f"folder {entry!r} is not in the class map")
            continue
        if own in taken:
            raise UsageError(f"{name}: class {own!r} stands twice, as {taken[own]!r} and {entry!r}.")
        taken[own] = entry
        deeper = [
            f"{style}/{file}"
            for style in folders_in(folder / entry)
            for file in images_in(folder / entry / style, others, others)
        ]
        images = [*images_in(folder / entry, others), *deeper]
        files += [(classes.index(own), f"{entry}/{file}") for file in images]
    check.missing(classes, taken, "counterpart classes")
    if not files:
        raise UsageError(f"{name}: {str(folder)!r} holds no image of a counterpart class.")
    check.notes += left_out(0, [], sorted(others))
    files.sort()
    source = Files(folder, [file for _, file in files])
    return [known.opened(source, torch.tensor([label for label, _ in files]), check.notes, classes=classes)]


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


KNOWN = (
    KnownSet(
        name="sct", title="imagenet-sct", classes="imagenet-sct", read=read_counterparts,
        places=("imagenet-sct", "ImageNet-SCT", "imagenet_sct"), example=("Tabby Cat/a.jpg", "fire truck/toon/a.jpg"),
        tree="`imagenet-sct/COUNTERPART/[STYLE/]`, scored as the class of `--class-map`",
        source="Wang et al., ICCV 2023",
    ),
)  # fmt: skip
