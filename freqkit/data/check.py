"""What lies in a folder: image sets below it, and whether every image of one is whole."""

import os
import re
from pathlib import Path

from freqkit.data.class_lists import read_lines, sorted_folders
from freqkit.data.pictures import named_image
from freqkit.errors import UsageError
from freqkit.files.reading import file_sha256, shown
from freqkit.text import composed


def find_image_folders(root, *, depth=3):
    """Folders of class folders at or below `root`.

    Args:
        root: where to begin.
        depth: how many folders deep.

    Returns:
        list of dict: folder, classes, images; sorted by folder. A folder counts when two or more folders in it hold
        images directly.

    Raises:
        UsageError: no such folder; or a class folder has a name that is refused when images are read.
    """
    root = Path(root)
    if not root.is_dir():
        raise UsageError(f"data: {str(root)!r} is no folder.")
    found = []

    def look(folder, left):
        inside = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
        counts = [sum(named_image(name) and not name.startswith(".") for name in os.listdir(entry)) for entry in inside]
        if sum(count > 0 for count in counts) >= 2:
            sorted_folders(folder, "data")  # refuses names that no list of classes could hold
            found.append({"folder": str(folder), "classes": sum(c > 0 for c in counts), "images": sum(counts)})
        elif left:
            for entry in inside:
                look(entry, left - 1)

    look(root, depth)
    return found


def checksums(root):
    """SHA-256 of every file in the class folders of `root`: dict "class/file" -> hex."""
    root = Path(root)
    sums = {}
    for folder in sorted_folders(root, "data"):
        for file in sorted(os.listdir(root / folder)):
            path = root / folder / file
            if path.is_file() and not file.startswith("."):
                sums[f"{composed(folder)}/{composed(file)}"] = file_sha256(path)
    return sums


def as_sums(sums):
    """Text of `checksums`, one a line as sha256sum writes them.

    Raises:
        UsageError: the name of a file holds a line's end.
    """
    for name in sums:
        if "\n" in name or "\r" in name:
            raise UsageError(f"data: names of files must be on one line to be listed; got {shown(name)}.")
    return "".join(f"{value}  {name}\n" for name, value in sums.items())


def read_sums(path):
    """Dict name -> hex of a file that `as_sums` or sha256sum wrote.

    Raises:
        UsageError: it is no such list, or gives a file two sums.
    """
    sums, expected = {}, "lines of a SHA-256, two spaces and a name"
    for number, line in read_lines(path, expected):
        found = re.fullmatch(r"([0-9a-fA-F]{64}) [ *](.+)", line)
        if found is None:
            raise UsageError(f"{path}: {expected} were expected; line {number} is {shown(line)}.")
        name = composed(found[2].removeprefix("./"))
        if sums.setdefault(name, found[1].lower()) != found[1].lower():
            raise UsageError(f"{path}: every file must have one SHA-256; line {number} gives {shown(name)} another.")
    if not sums:
        raise UsageError(f"{path}: {expected} were expected; it holds none.")
    return sums
