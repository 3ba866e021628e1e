"""Image folders `class/file`, read with Pillow, decoded once."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from freqkit.data.cache import cache_of, in_memory, key_of, of_root
from freqkit.data.class_lists import check_files, class_names, order_note, sorted_folders, unfit
from freqkit.data.image_set import ImageSet, pixel_digest
from freqkit.data.pictures import decoding_pool, named_image, open_image, reason_of, size_of
from freqkit.data.preprocessing import side_of, transform_of
from freqkit.data.reading import PARTS, Layout
from freqkit.errors import BadImageError, UsageError
from freqkit.files.reading import shown
from freqkit.files.whole import atomic_folder
from freqkit.text import composed, plain_line

NAMED = 5  # how many bad files a message names
CHUNK = 256


def find(root):
    """part -> folder of class folders."""
    folders = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not folders:
        return {}
    if set(folders) <= set(PARTS) and all(_only_folders(root / name) for name in folders):
        return {name: root / name for name in PARTS if name in folders}
    return {None: root}


def _only_folders(folder):
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    return bool(entries) and all(entry.is_dir() for entry in entries)


def read(asked, root):
    """The `ImageSet` of the folders directly in `root`, which are classes."""
    files, labels, names, listing, notes = _list(root, asked.classes)

    chosen = asked.chosen(files, labels, len(names))
    files = [files[i] for i in chosen]
    labels = torch.tensor([labels[i] for i in chosen], dtype=torch.int64)

    decoder = _Decoder(root, files, asked)
    kept = decoder.kept()
    settled, bad, modes = decoder.settled(kept.facts["sizes"]), kept.facts["bad"], kept.facts["modes"]
    if bad:
        missing = {name for name, _ in bad}
        good = [i for i, name in enumerate(files) if name not in missing]
        before, labels, files = labels, labels[good], [files[i] for i in good]
        emptied = sorted(set(before.tolist()) - set(labels.tolist()))
        if emptied:
            raise BadImageError(
                f"load_images: no image of class {names[emptied[0]]!r} can be decoded "
                f"({len(emptied)} such classes; {len(bad)} bad files: {_shown(bad)})."
            )

    record = {
        "source": "folder",
        "root": plain_line(root.resolve().name),
        **settled.facts,
        **asked.choice,
        **listing,
        "modes": dict(sorted(modes.items())),
        "on_bad_image": asked.on_bad_image,
        "bad_images": len(bad),
        "bad_image_names": [plain_line(name) for name, _ in bad],
    }
    if bad:
        notes.append(f"{len(bad)} files cannot be decoded and are left out: {few([name for name, _ in bad])}")
    notes += settled.notes(kept.facts["smaller"], len(files))
    if notes:
        record["notes"] = notes
    return ImageSet(kept.images, labels, names, files, record=record, digests=kept.digests, kept=kept)


LAYOUT = Layout("folder", "class folders that hold images, or train/ and test/ with class folders", find, read)


def _list(root, classes):
    """Relative paths, labels, class names, what was left out, and sentences about what a reader should know."""
    folders = sorted_folders(root, "load_images")
    found = [composed(name) for name in folders]
    names = found if classes is None else class_names(classes)
    strange = sorted(set(found) - set(names))
    if strange:
        raise UsageError(
            f"load_images: every folder must be one of the {len(names)} given classes; "
            f"{len(strange)} are not ({few(strange)})."
        )
    label_of = {name: label for label, name in enumerate(names)}
    files, labels, empty, hidden, nested = [], [], [], 0, 0
    for folder, name in zip(folders, found, strict=True):
        inside = sorted(os.scandir(os.path.join(root, folder)), key=lambda entry: entry.name)
        kept = [entry.name for entry in inside if not entry.name.startswith(".") and not entry.is_dir()]
        check_files(kept, f"load_images: {name}")
        hidden += sum(entry.name.startswith(".") for entry in inside)
        deeper = sum(entry.is_dir() and not entry.name.startswith(".") for entry in inside)
        nested += deeper
        if not kept:
            empty.append(f"{name} ({deeper} folders inside)" if deeper else name)
        files += [f"{folder}/{file}" for file in kept]
        labels += [label_of[name]] * len(kept)
    if empty:
        raise UsageError(
            "load_images: every class folder must hold images directly; "
            f"{len(empty)} of {len(folders)} under {str(root)!r} hold none ({few(empty)})."
        )
    entries = list(os.scandir(root))
    beside = [entry.name for entry in entries if not entry.is_dir() and not entry.name.startswith(".")]
    listing = {
        "files": len(files),
        "classes_given": classes is not None,
        "classes_absent": len(names) - len(folders),
        "ignored_hidden": hidden + sum(entry.name.startswith(".") for entry in entries),
        "ignored_folders": nested,
        "ignored_beside": len(beside),
    }
    notes = [order_note(found)] if classes is None and order_note(found) else []
    notes += left_out(nested, sorted(name for name in beside if named_image(name)))
    return files, labels, names, listing, notes


def left_out(nested, beside, strange=()):
    """Sentences about what was left out of a folder of class folders.

    Args:
        nested: how many folders inside class folders. beside: names of images beside these. strange: names of files in
            class folders that are no images.
    """
    found = []
    if nested:
        found.append(f"{nested} folders inside class folders are left out")
    if beside:
        found.append(f"{len(beside)} images beside the class folders are left out: {few(beside)}")
    if strange:
        found.append(f"{len(strange)} files in class folders are no images and are left out: {few(strange)}")
    return found


def few(names):
    """The first names of many, for a message."""
    return ", ".join(plain_line(name, 200) for name in names[:NAMED]) + (", ..." if len(names) > NAMED else "")


class _Decoder:
    """Decodes files below a folder, or finds them decoded: `kept`.

    Its facts: "sizes", (height, width) of the images, one of each, where it mattered, else None; "modes", images per
    Pillow mode; "bad", [[file, reason]]; "smaller", [how many are smaller than the output, (height, width) of the
    smallest] or None.
    """

    def __init__(self, root, files, asked):
        self.root, self.files, self.asked, self.sizes = root, files, asked, None

    def kept(self):
        """`Kept` images and their facts."""
        asked = self.asked
        cache = cache_of(asked.cache, asked.cache_budget)
        if cache is None:
            return in_memory(*self.work())
        how = [asked.resize, asked.image_size, side_of(asked.model), transform_of(asked.model)]
        try:
            key = key_of([how, asked.on_bad_image], self.root, self.files)
        except OSError:
            return in_memory(*self.work())  # what is wrong with a file is said when it is decoded
        found = cache.kept(key, of_root(self.root), self.work)
        if asked.progress is not None and found.key is not None:
            asked.progress(len(self.files), len(self.files))
        return found

    def settled(self, sizes=None):
        """How images are brought to one size; `sizes`: as they were found before."""
        return self.asked.settled(self.heads if sizes is None else lambda: {tuple(size) for size in sizes})

    def heads(self):
        """(height, width) of the images, one of each: the heads of files are read until two differ."""
        found = set()
        with decoding_pool(self.asked.workers) as pool:
            for start in range(0, len(self.files), CHUNK):
                paths = [os.path.join(self.root, file) for file in self.files[start : start + CHUNK]]
                found |= set(pool.map(size_of, paths)) - {None}
                if len(found) > 1:
                    break
        self.sizes = sorted(found)
        return found

    def work(self):
        """(how many images, their size, what decodes them into a `Sink`)."""
        settled = self.settled()
        return len(self.files), settled.size, lambda sink: self.fill(sink, settled.how)

    def fill(self, sink, how):
        modes, bad, digests, smaller = Counter(), [], [], []
        asked, shape = self.asked, (3, *sink.size)

        def decode(i):
            try:
                image, mode = open_image(os.path.join(self.root, self.files[i]))
                pixels = np.asarray(image).transpose(2, 0, 1) if how is None else how.fit(image)
                if pixels.shape != shape:
                    raise ValueError(f"{image.size[0]}x{image.size[1]} pixels, and others {shape[2]}x{shape[1]}")
            except MemoryError:
                raise
            except Exception as error:
                # Pillow's decoders raise OSError, SyntaxError, ValueError, EOFError, struct.error and more for
                # damaged files; every one ends on record or in the caller's error, by name.
                return None, None, reason_of(error)
            pixels = np.ascontiguousarray(pixels)
            sink.put(i, pixels)
            if min(image.size) < min(shape[1:]):
                smaller.append(image.size[::-1])
            return mode, pixel_digest(pixels), None

        with decoding_pool(asked.workers) as pool:
            for start in range(0, len(self.files), CHUNK):
                chunk = range(start, min(start + CHUNK, len(self.files)))
                for i, (mode, digest, reason) in zip(chunk, pool.map(decode, chunk), strict=True):
                    if reason is None:
                        modes[mode] += 1
                        digests.append(digest)
                    else:
                        bad.append([self.files[i], reason])
                    if asked.progress is not None:
                        asked.progress(i + 1, len(self.files))
        if bad and asked.on_bad_image == "error":
            raise BadImageError(
                f"load_images: {len(bad)} of {len(self.files)} files under {str(self.root)!r} cannot be decoded: "
                f"{_shown(bad)}. Mend or remove them, or leave them out with on_bad_image='skip'."
            )
        if bad:
            missing = {name for name, _ in bad}
            sink.keep([i for i, name in enumerate(self.files) if name not in missing])
        facts = {"sizes": self.sizes, "modes": modes, "bad": bad}
        return digests, {**facts, "smaller": [len(smaller), min(smaller, key=min)] if smaller else None}


def _shown(bad):
    more = f", and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
    return "; ".join(f"{plain_line(name, 200)} ({reason})" for name, reason in bad[:NAMED]) + more


def write_image_folder(image_set, root):
    """Write an `ImageSet` as PNG files `root/class/file.png`; `load_images` reads the same pixels back.

    The folder is there with all its images, or not at all.

    Args:
        image_set: the images; a path that does not end in `.png` gets it appended.
        root: a folder that does not exist yet, or is empty.

    Raises:
        UsageError: root is not empty, paths are not of the form `class/file`, or a name of these is none that
            `load_images` would read.
    """
    with new_folder(root, "write_image_folder") as folder:
        fill_image_folder(image_set, folder)


def new_folder(root, owner):
    """`freqkit.files.whole.atomic_folder` of a path where nothing is yet, or an empty folder."""
    root = Path(root)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise UsageError(f"{owner}: root must be a new or empty folder; {str(root)!r} is not.")
    return atomic_folder(root)


def fill_image_folder(image_set, root):
    """What `write_image_folder` puts into the empty folder `root`, file by file."""
    from PIL import Image

    targets = [path if path.lower().endswith(".png") else path + ".png" for path in image_set.paths]
    for target, label in zip(targets, image_set.labels.tolist(), strict=True):
        parts = target.split("/")
        if len(parts) != 2 or composed(parts[0]) != composed(image_set.classes[label]) or unfit(parts[0]):
            raise UsageError(f"write_image_folder: paths must be 'class/file'; got {shown(target)}.")
        if parts[0].startswith(".") or parts[1].startswith(".") or "\0" in target:
            raise UsageError(
                f"write_image_folder: names must not begin with a dot, which hides them; got {shown(target)}."
            )
        if max(len(os.fsencode(part)) for part in parts) > 255:
            raise UsageError(f"write_image_folder: names must fit into 255 bytes; got {shown(target)}.")
    if len(set(targets)) != len(targets):
        raise UsageError("write_image_folder: paths must stay distinct with .png appended; they do not.")
    for name in sorted({target.split("/")[0] for target in targets}):
        (root / name).mkdir(parents=True, exist_ok=True)
    for image, target in zip(image_set.images, targets, strict=True):
        with open(root / target, "xb") as file:
            Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(file, format="PNG")
            file.flush()
            os.fsync(file.fileno())
