"""Which layout a folder of images has, and the one way in: `load_images`."""

import os
from dataclasses import replace
from pathlib import Path

from freqkit.data import arrays, cifar, folder, idx
from freqkit.data.folder import few
from freqkit.data.image_set import ImageSet
from freqkit.data.reading import Asked, Reading
from freqkit.errors import UsageError
from freqkit.options import flat

LAYOUTS = {each.name: each for each in (folder.LAYOUT, cifar.BINARY, cifar.PYTHON, idx.LAYOUT, arrays.LAYOUT)}


@flat
def load_images(root: str | os.PathLike, own: Asked) -> ImageSet:
    """Read a set of labelled images into an `ImageSet`.

    Layouts of `root`, told apart by the names in it:

    - "folder": folders directly in it are classes, in sorted order; the files directly in them are images.
      Names that begin with a dot, files beside the class folders and folders inside them are left out, and
      counted on record; `notes` there says so of images and folders, and of numbered folders that sort as text
      (10 before 2). Or such a folder for each part: `train/class/file`, `test/class/file`.
    - "cifar-binary", "cifar-python": CIFAR-10 or CIFAR-100 as published. The python batches are pickles; they
      are read by a reader that knows plain values and number arrays, and runs nothing.
    - "idx": MNIST, Fashion-MNIST and their like, gzipped or not; grey becomes RGB.
    - "npy": `train_data*.npy` with `train_label*.npy` (and `test_...`): numbers [n, 3, H, W], [n, H, W, 3] or
      [n, H, W], uint8, or floating point in [0, 1] (`npy_floats`); or an array of objects [n], each such an image
      as torch tensor or array, which is read without running anything in it; integer labels; names of the
      classes in `classes.txt` if it is there.

    Decoding of files, as torchvision and timm do unless said otherwise: first frame of an animation; EXIF
    rotation ignored; grey and palette expanded; transparency dropped; CMYK by Pillow's plain formula. 16-bit
    grey keeps its high byte (Pillow alone would saturate it to white); 32-bit integer and floating-point
    images have no defined white and count as bad. The number of images per Pillow mode is on record.

    Args:
        root: the folder.

    Returns:
        `ImageSet`, 3*N*N bytes of memory per image.

    Raises:
        UsageError: no such folder, no layout or several fit, a class that is empty or not in `classes`.
        BadImageError: undecodable files.

    Example:
        >>> import tempfile, pathlib
        >>> from freqkit.data import load_images, synthetic, write_image_folder
        >>> root = pathlib.Path(tempfile.mkdtemp()) / "images"
        >>> write_image_folder(synthetic(1, images_per_class=2), root)
        >>> load_images(root, image_size=32)
        ImageSet(8 images of 32x32, 4 classes)
    """
    return read_images(Path(root), own).as_logits(own.model)


def read_images(root, own):
    """The `ImageSet` of `load_images`, whose classes are those that were found or given."""
    asked = Reading(root=root, **vars(own))
    layout, parts = find_layout(asked.root, own.layout)
    part, where = _the_part(asked.root, parts, own.part)
    return LAYOUTS[layout].read(replace(asked, layout=layout, part=part), where)


def parts_of(root, layout="auto"):
    """The parts ("train", "val", "test") that a folder of images holds; [] for a plain folder of class folders.

    Example:
        >>> import tempfile
        >>> from freqkit.data import synthetic, write_npy
        >>> root = tempfile.mkdtemp()
        >>> write_npy(synthetic(1, images_per_class=1), root, part="test")
        >>> parts_of(root)
        ['test']
    """
    return [part for part in find_layout(Path(root), layout)[1] if part is not None]


def find_layout(root, layout="auto"):
    """(layout, dict of part -> sources); part None: the folder is not divided."""
    if layout != "auto" and layout not in LAYOUTS:
        raise UsageError(f"load_images: layout must be auto or one of {', '.join(LAYOUTS)}; got {layout!r}.")
    if not root.is_dir():
        raise UsageError(f"load_images: root must be a folder of images; {str(root)!r} is not a folder.")
    tried = LAYOUTS if layout == "auto" else [layout]
    fitting = {name: parts for name in tried if (parts := LAYOUTS[name].find(root))}
    if len(fitting) > 1:
        raise UsageError(
            f"load_images: {str(root)!r} fits several layouts ({', '.join(fitting)}); name the right one (layout)."
        )
    if not fitting:
        present = sorted(entry.name for entry in root.iterdir() if not entry.name.startswith("."))
        shown = few(present) or "nothing"
        looks = "; ".join(f"{name}: {LAYOUTS[name].looks}" for name in tried)
        raise UsageError(
            f"load_images: root must hold one folder for each class or a published set; {str(root)!r} holds {shown}, "
            f"which fits no layout ({looks})."
        )
    return next(iter(fitting.items()))


def _the_part(root, parts, part):
    held = [name for name in parts if name is not None]
    if part is None:
        if len(held) > 1:
            raise UsageError(f"load_images: {str(root)!r} holds {' and '.join(held)}; say which (part).")
        return next(iter(parts.items()))
    if part not in parts:
        has = f"it holds {' and '.join(held)}" if held else "it is one undivided folder"
        raise UsageError(f"load_images: {str(root)!r} has no part {part!r}; {has}.")
    return part, parts[part]
