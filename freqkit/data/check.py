"""What lies in a folder: image sets below it, and whether every image of one is whole."""

import hashlib
import os
from pathlib import Path

from freqkit.errors import UsageError

IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff"}


def find_image_folders(root, *, depth=3):
    """Folders of class folders at or below `root`.

    Args:
        root: where to begin.
        depth: how many folders deep.

    Returns:
        list of dict: folder, classes, images; sorted by folder. A folder counts when two or more folders in it hold
        images directly.

    Raises:
        UsageError: no such folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise UsageError(f"data: {str(root)!r} is no folder.")
    found = []

    def look(folder, left):
        inside = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
        counts = [sum(Path(name).suffix.lower() in IMAGES for name in os.listdir(entry)) for entry in inside]
        if sum(count > 0 for count in counts) >= 2:
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
    for folder in sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")):
        for file in sorted(entry for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith(".")):
            sums[f"{folder.name}/{file.name}"] = hashlib.sha256(file.read_bytes()).hexdigest()
    return sums
