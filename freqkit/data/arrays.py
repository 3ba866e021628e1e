"""Image sets that lie in arrays: the published npy layout, and what all array readers share."""

import io
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from freqkit.data.class_lists import MOST_CLASSES, check_names, class_names, read_names
from freqkit.data.image_set import ImageSet
from freqkit.data.npy_files import read_array
from freqkit.data.object_arrays import load_object_array
from freqkit.data.reading import PARTS, Layout
from freqkit.errors import UsageError
from freqkit.files.reading import shown
from freqkit.files.whole import atomic_write


@dataclass
class Packed:
    """A set as it lies in its file.

    Attributes:
        images: uint8 [n, H, W] or [n, H, W, 3].
        labels: integers [n].
        classes: name of each label, or None when the files do not say.
        label_file: name of the file that holds the labels, for errors.
        facts: for the record.
    """

    images: np.ndarray
    labels: np.ndarray
    classes: list | None
    label_file: str
    facts: dict = field(default_factory=dict)


def of_arrays(name, looks, find, read):
    """The `Layout` of sets that `read(asked, where)` gives as a `Packed`."""
    return Layout(name, looks, find, lambda asked, where: to_image_set(read(asked, where), asked))


def to_image_set(packed, asked):
    """An `ImageSet` of the chosen images of a `Packed`, brought to the size that is asked for."""
    given = None if asked.classes is None else class_names(asked.classes)
    part = asked.part
    labels, who = np.asarray(packed.labels), f"load_images: {packed.label_file}: "
    if labels.ndim != 1 or len(labels) != len(packed.images) or labels.dtype.kind not in "iu":
        raise UsageError(
            f"{who}labels must be integers, one for each of {len(packed.images)} images; "
            f"got {labels.dtype} of shape {list(labels.shape)}."
        )
    if not len(labels):
        raise UsageError(f"{who}the set must hold images; it is empty.")
    if labels.min() < 0:
        raise UsageError(f"{who}labels must not be negative; got {labels.min()}.")
    if labels.max() >= MOST_CLASSES:
        raise UsageError(f"{who}labels must lie below {MOST_CLASSES}; got {labels.max()}.")
    if 0 in packed.images.shape:
        raise UsageError(f"load_images: images must hold pixels; got shape {list(packed.images.shape)}.")
    own = packed.classes
    if own is None:
        own = given if given is not None else [str(i) for i in range(int(labels.max()) + 1)]
    if labels.max() >= len(own):
        raise UsageError(f"{who}there must be a name for every label; got {len(own)} for 0..{labels.max()}.")
    names = own if given is None else given
    place_of = {name: i for i, name in enumerate(names)}
    strange = [own[i] for i in np.unique(labels) if own[i] not in place_of]
    if strange:
        raise UsageError(
            f"load_images: every class must be one of the {len(names)} given; {len(strange)} are not "
            f"(as {shown(strange[0])})."
        )
    place = np.array([place_of.get(name, -1) for name in own])
    labels = place[labels]
    stem = f"{part}-" if part else ""
    paths = [f"{names[label].replace('/', '_')}/{stem}{i:06d}.png" for i, label in enumerate(labels.tolist())]
    chosen = asked.chosen(paths, labels.tolist(), len(names))
    height, width = packed.images.shape[1:3]
    settled = asked.settled(lambda: {(height, width)})
    if (height, width) == settled.size:
        settled = replace(settled, how=None, words=f"as stored, {height}x{width}", note=None)
    images = np.empty((len(chosen), 3, *settled.size), np.uint8)
    for row, i in enumerate(chosen):
        image = packed.images[i]
        images[row] = _channels_first(image) if settled.how is None else _resized(image, settled.how)
        if asked.progress is not None:
            asked.progress(row + 1, len(chosen))
    facts = {**packed.facts, "source": asked.layout, "root": asked.root.resolve().name, "part": part}
    facts["stored_size"] = [height, width]
    facts |= settled.facts
    smaller = (len(chosen), (height, width)) if min(height, width) < min(settled.size) else None
    if notes := settled.notes(smaller, len(chosen)):
        facts["notes"] = notes
    return ImageSet(
        torch.from_numpy(images), torch.from_numpy(labels[chosen].astype(np.int64)), names,
        [paths[i] for i in chosen], record={**facts, **asked.choice, "classes_given": given is not None},
    )  # fmt: skip


def _channels_first(image):
    return image[None] if image.ndim == 2 else image.transpose(2, 0, 1)


def _resized(image, how):
    from PIL import Image

    try:
        return how.fit(Image.fromarray(np.ascontiguousarray(image)).convert("RGB"))
    except ValueError as error:
        raise UsageError(f"load_images: images cannot be resized: {error}.") from error


# --- npy


def find(root):
    """part -> (data file, label file) of the published npy layout."""
    parts = {}
    for part in PARTS:
        data = sorted(path for path in root.glob(f"{part}_data*.npy"))
        if not data:
            continue
        if len(data) > 1:
            raise UsageError(
                f"load_images: {str(root)!r} must hold one {part}_data*.npy; got {', '.join(p.name for p in data[:3])}."
            )
        rest = data[0].name.removeprefix(f"{part}_data")
        near = [root / f"{part}_{word}{rest}" for word in ("label", "labels")]
        found = [path for path in near if path.is_file()]
        if len(found) > 1:
            raise UsageError(
                f"load_images: {data[0].name} must have one file of labels; got {near[0].name} and _labels."
            )
        if not found:
            raise UsageError(f"load_images: {data[0].name} needs its labels beside it, {near[0].name}; there are none.")
        parts[part] = (data[0], found[0])
    return parts


def read(asked, source):
    """A `Packed` of the published npy layout."""
    floats = asked.npy_floats
    images, labels = (
        read_array(path, f"a plain npy array of {what}", objects=load_object_array)
        for path, what in zip(source, ("images", "labels"), strict=True)
    )
    if labels.dtype.kind == "f" and (labels == np.floor(labels)).all() and (abs(labels) < 2**31).all():
        labels = labels.astype(np.int64)  # as the published loader makes integers of them
    names = asked.root / "classes.txt"
    classes = read_names(names) if names.is_file() else None
    facts = {"file": source[0].name, "dtype": str(images.dtype)}
    if floats == "published" and images.dtype.kind == "f":
        facts["npy_floats"] = floats
    return Packed(_as_bytes(images, source[0], floats), labels, classes, source[1].name, facts)


LAYOUT = of_arrays("npy", "train_data*.npy with train_label*.npy", find, read)


def _as_bytes(images, path, floats):
    """uint8 [n, H, W] or [n, H, W, 3]; `floats` says how numbers in [0, 1] become bytes."""
    if images.ndim == 4 and (images.shape[1] == 3) == (images.shape[3] == 3):
        raise UsageError(
            f"load_images: {path.name} must have shape [n, 3, H, W], [n, H, W, 3] or [n, H, W], with one reading; "
            f"got {list(images.shape)}."
        )
    if images.ndim == 4 and images.shape[1] == 3:
        images = images.transpose(0, 2, 3, 1)
    elif images.ndim not in (3, 4):
        raise UsageError(f"load_images: {path.name} must have shape [n, 3, H, W]; got {list(images.shape)}.")
    if len(images) and 0 in images.shape:
        raise UsageError(f"load_images: {path.name} must hold pixels; got shape {list(images.shape)}.")
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind != "f":
        raise UsageError(f"load_images: {path.name} must hold uint8, or floats in [0, 1]; got {images.dtype}.")
    result = np.empty(images.shape, np.uint8)
    for i, image in enumerate(images):  # one at a time: the file may be larger than the memory
        least, most = float(image.min()), float(image.max())
        if floats == "published" and least == least and most == most:
            # In the type that the numbers have, and rounded down, as the published loader does.
            result[i] = image.clip(0, 1) * image.dtype.type(255)
            continue
        if not (0 <= least and most <= 1):
            raise UsageError(
                f"load_images: {path.name} must hold floats in [0, 1]; image {i} has values {least:g}..{most:g}"
                + (" (npy_floats='published' clips them)." if least == least and most == most else ".")
            )
        result[i] = np.rint(255 * image.astype(np.float64))
    return result


def write_npy(image_set, root, *, part="train", name=""):
    """Write an `ImageSet` in the published npy layout; `load_images` reads the same pixels back.

    `root/{part}_data{name}.npy`: float32 [n, 3, H, W] in [0, 1]; `root/{part}_label{name}.npy`: int64 [n];
    `root/classes.txt`: the names.

    Args:
        image_set: the images.
        root: folder, created when absent.
        part: "train", "val" or "test".
        name: what follows, as in the published `_complex_special_1_par`.

    Raises:
        UsageError: such a file is there already, or a `classes.txt` of other names; a name of a class is none that a
            line can hold.

    Example:
        >>> import tempfile
        >>> from freqkit.data import load_images, synthetic
        >>> root, images = tempfile.mkdtemp(), synthetic(2, images_per_class=2)
        >>> write_npy(images, root, name="_complex_special_2_par")
        >>> bool((load_images(root).images == images.images).all())
        True
    """
    root, names = Path(root), names_for_lines(image_set.classes, "write_npy")
    if part not in PARTS:
        raise UsageError(f"write_npy: part must be one of {', '.join(PARTS)}; got {part!r}.")
    root.mkdir(parents=True, exist_ok=True)
    if any(root.glob(f"{part}_data*.npy")):
        raise UsageError(f"write_npy: {str(root)!r} must not hold a {part}_data*.npy yet; it does.")
    known = root / "classes.txt"
    if known.is_file() and read_names(known) != names:
        raise UsageError(
            f"write_npy: {str(known)!r} must hold the same names, for it is of all parts; it holds others."
        )
    with atomic_write(root / "classes.txt", "w") as target:
        target.write(lines_of(names))
    values = image_set.images.numpy().astype(np.float32) / np.float32(255)
    # The data last: their name is what refuses a second writing, and nothing may be missing then.
    for file, array in ((f"{part}_label{name}.npy", image_set.labels.numpy()), (f"{part}_data{name}.npy", values)):
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        with atomic_write(root / file) as target:
            target.write(buffer.getbuffer())


def lines_of(names):
    """The text of a classes.txt."""
    return "".join(f"{name}\n" for name in names)


def names_for_lines(classes, owner):
    """Names of classes, every one of which comes back from a line of its own."""
    names = check_names(classes, owner)
    for name in names:
        if name != name.strip(" \t"):
            raise UsageError(f"{owner}: names of classes must not begin or end with blanks; got {shown(name)}.")
    return names
