"""Published test sets as people have them on disk: recognised, checked, and read image by image.

A set is known by a short name (`imagenet`, `v2`, `c`, `c-bar`, `r`, `a`, `sketch`, `stylized`, `sct`, `cifar10-c`,
`cifar100-c`); any other name must come with its place (`NAME=PATH`): an ImageFolder, a folder of webdataset shards, or
`hf:DATASET`.
"""

import csv
import difflib
import hashlib
import io
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from freqkit.data.cifar import CIFAR10
from freqkit.data.class_lists import (
    LISTS,
    MOST_CLASSES,
    check_files,
    class_list,
    order_note,
    read_lines,
    shipped_lines,
    sorted_folders,
    unfit,
)  # fmt: skip
from freqkit.data.folder import few, left_out
from freqkit.data.image_set import first_by_hash
from freqkit.data.npy_files import read_array, read_head
from freqkit.data.pictures import is_image, named_image, reason_of
from freqkit.data.published_sources import Arrays, Files, Shards, hub_dataset, read_shards
from freqkit.errors import BadImageError, UsageError
from freqkit.files.reading import read_json, refuse, shown
from freqkit.text import composed, plain_line

BENCHMARK = (
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "snow",
    "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression",
)  # fmt: skip
EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
BAR = (
    "blue_noise_sample", "brownish_noise", "caustic_refraction", "checkerboard_cutout", "cocentric_sine_waves",
    "inverse_sparkles", "perlin_noise", "plasma_noise", "single_frequency_greyscale", "sparkles",
)  # fmt: skip
SEVERITIES = (1, 2, 3, 4, 5)
V2 = {
    "matched-frequency": r"imagenet-?v2-?matched-?frequency.*",
    "threshold-0.7": r"imagenet-?v2-?threshold-?0\.?7.*",
    "top-images": r"imagenet-?v2-?top-?images.*",
}

# name -> folders below the root in which the set is looked for, the first that is there
PLACES = {
    "imagenet": (
        "imagenet/val", "imagenet-1k/val", "ILSVRC2012/val", "ILSVRC/Data/CLS-LOC/val", "imagenet-val", "val",
        "imagenet",
    ),
    "v2": ("imagenet-v2", "imagenetv2", "ImageNetV2", "."),
    "c": ("imagenet-c", "ImageNet-C", "imagenet_c", "ImageNetC"),
    "c-bar": ("imagenet-c-bar", "ImageNet-C-bar", "imagenet_c_bar"),
    "r": ("imagenet-r", "ImageNet-R", "imagenet_r"),
    "a": ("imagenet-a", "ImageNet-A", "imagenet_a"),
    "sketch": ("imagenet-sketch", "ImageNet-Sketch", "imagenet_sketch", "sketch"),
    "stylized": ("stylized-imagenet/val", "imagenet-stylized/val", "Stylized-ImageNet/val", "stylized-imagenet"),
    "sct": ("imagenet-sct", "ImageNet-SCT", "imagenet_sct"),
    "cifar10-c": ("CIFAR-10-C", "cifar-10-c", "cifar10-c"),
    "cifar100-c": ("CIFAR-100-C", "cifar-100-c", "cifar100-c"),
}  # fmt: skip
FULL = {"r": 30000, "a": 7500, "sketch": 50889}  # images of the whole published set
TITLES = {
    "imagenet": "imagenet", "v2": "imagenet-v2", "c": "imagenet-c", "c-bar": "imagenet-c-bar", "r": "imagenet-r",
    "a": "imagenet-a", "sketch": "imagenet-sketch", "stylized": "imagenet-stylized", "sct": "imagenet-sct",
}  # fmt: skip


@dataclass
class TestSet:
    """Labelled images of one set under one condition, not read yet.

    Attributes:
        name: of the set, as in tables ("imagenet-c").
        condition: which part ("gaussian_noise/3", "matched-frequency", ""; never what is computed on the fly).
        classes: class names; label i is `classes[i]`.
        labels: int64 [n].
        source: what reads image i: `len()`, `.name(i)`, `.read(i, preprocessing)`.
        subset: class names that the set is made of when these are a known part of ImageNet (ImageNet-R, -A), whose
            logits alone are also scored; else None.
        notes: what differs from the published set (allowed by `relaxed`), what was left out, how classes are ordered.
        real: per image, tuple of the labels (positions among the ImageNet classes) that ReaL gives it, or None.
        official: False for what was generated here.
    """

    __test__ = False  # no pytest class

    name: str
    condition: str
    classes: list
    labels: torch.Tensor
    source: object
    subset: list | None = None
    notes: list = field(default_factory=list)
    real: list | None = None
    official: bool = True

    def __len__(self):
        return len(self.labels)

    @property
    def title(self):
        return f"{self.name} {self.condition}".strip()

    @property
    def counts(self):
        """int64 [classes]."""
        return torch.bincount(self.labels, minlength=len(self.classes))

    @property
    def record(self):
        """Facts for run.json. The fingerprint is over names, labels and classes; pixels are not read for it."""
        counts = self.counts
        digest = hashlib.sha256(json.dumps([self.name, self.condition, list(self.classes)]).encode())
        for i, label in enumerate(self.labels.tolist()):
            digest.update(os.fsencode(self.source.name(i)) + f"\0{label}\0".encode())
        return {
            "set": self.name,
            "condition": self.condition,
            "images": len(self),
            "classes": int((counts > 0).sum()),
            "least_per_class": int(counts[counts > 0].min()) if len(self) else 0,
            "most_per_class": int(counts.max()) if len(self) else 0,
            "official": self.official,
            "notes": list(self.notes),
            "names_sha256": digest.hexdigest(),
        }

    def limited(self, limit, seed=0):
        """At most `limit` images of each class, chosen by a hash of (seed, name), in the set's order."""
        if limit is None:
            return self
        keep = []
        for label in self.labels.unique().tolist():
            own = (self.labels == label).nonzero().flatten().tolist()
            keep += [own[k] for k in first_by_hash([self.source.name(i) for i in own], limit, seed, "limit")]
        return self.take(sorted(keep), f"at most {limit} images of each class (seed {seed})")

    def take(self, places, note=None):
        """The images at `places` (list of int)."""
        real = None if self.real is None else [self.real[i] for i in places]
        notes = [*self.notes, *([note] if note else [])]
        return TestSet(
            self.name, self.condition, self.classes, self.labels[places], self.source.take(places), self.subset,
            notes, real, self.official,
        )  # fmt: skip


def decoding_pool(workers=None):
    """Threads that decode; default as many as there are processors for this process, at most 8."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return ThreadPoolExecutor(workers or min(8, available))


class Reader:
    """Decodes images with a few threads; the next block while the caller works on the last.

    Args:
        preprocessing: a `Preprocessing`.
        pool: an executor of threads to share; default an own one of as many threads as there are processors, at most 8.
            Threads do not change the result.

    Attributes:
        decoded: how many images were decoded so far.
    """

    def __init__(self, preprocessing, pool=None):
        self.preprocessing, self.decoded = preprocessing, 0
        self._pool, self._own = pool or decoding_pool(), pool is None

    def start(self, test_set, first, last):
        """Begin decoding images first...last - 1; the result goes to `finish`."""
        return [self._pool.submit(self._read, test_set.source, i) for i in range(first, last)]

    def finish(self, started):
        """(uint8 [b, 3, N, N], list of (position in the block, reason) of images that cannot be decoded)."""
        size, bad = self.preprocessing.image_size, []
        pixels = torch.zeros(len(started), 3, size, size, dtype=torch.uint8)
        for place, future in enumerate(started):
            image, reason = future.result()
            self.decoded += reason is None
            if reason is None:
                pixels[place] = torch.from_numpy(image)
            else:
                bad.append((place, reason))
        return pixels, bad

    def _read(self, source, i):
        try:
            return source.read(i, self.preprocessing), None
        except MemoryError:
            raise
        except Exception as error:
            # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and more for damaged files; every
            # one ends on record or in the caller's error, by name.
            return None, reason_of(error)

    def close(self):
        if self._own:
            self._pool.shutdown(cancel_futures=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def alexnet_errors():
    """Dict corruption -> top-1 error of AlexNet, the reference of mCE."""
    return {name: float(value) for name, value in (line.split() for line in shipped_lines("alexnet-c"))}


def open_sets(names, root=None, *, relaxed=False, class_map=None, limit_per_class=None, seed=0, on_fault=None):
    """Find, recognise and check test sets.

    Args:
        names: list of set names (see the module), or `NAME=PATH`; `c:gaussian_noise,fog:3` style parts are
            `c/gaussian_noise` or `c/gaussian_noise/3`.
        root: the folder that holds them (`--data-dir`).
        relaxed: missing classes, folders that are no class, and other counts than published become notes of the set
            instead of errors.
        class_map: for "sct" and other counterpart sets: dict counterpart class -> class of the model, or a file of
            lines `counterpart = class`; default the published one.
        limit_per_class, seed: see `TestSet.limited`.
        on_fault: None: the first fault is raised; else called as `on_fault(name, error)`, and the others are opened.

    Returns:
        list of `TestSet`.

    Raises:
        UsageError: a set is not there, or not what its name says; one sentence.

    Example:
        >>> import tempfile, pathlib
        >>> from freqkit.data import synthetic, write_image_folder
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> write_image_folder(synthetic(1, images_per_class=2), root / "mine")
        >>> [found] = open_sets([f"planted={root / 'mine'}"])
        >>> found.title, len(found), found.classes
        ('planted', 8, ['C0', 'C1', 'C2', 'C3'])
    """
    found = []
    for name in names:
        try:
            sets = _open_one(name, root, relaxed, class_map)
        except (UsageError, OSError) as error:
            if on_fault is None:
                raise
            on_fault(name, error)
            continue
        found += [each.limited(limit_per_class, seed) for each in sets]
    return found


def _open_one(text, root, relaxed, class_map):
    name, _, place = text.partition("=")
    name, *part = name.split("/")
    check = _Check(name, relaxed)
    if name not in PLACES:
        if not place:
            near = difflib.get_close_matches(name, PLACES, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"{name!r} is no known set ({', '.join(PLACES)}); give any other as NAME=PATH.{hint}")
        return [_other(name, place, check, class_map)]
    if place:
        folder = Path(place)
        if not folder.is_dir():
            raise UsageError(f"{name}: {place!r} is not a folder.")
    else:
        folder = _find(name, root)
    reader = {
        "imagenet": _imagenet, "v2": _v2, "c": _corrupted, "c-bar": _corrupted, "r": _part, "a": _part,
        "sketch": _plain, "stylized": _plain, "sct": _counterparts, "cifar10-c": _cifar, "cifar100-c": _cifar,
    }[name]  # fmt: skip
    sets = reader(name, folder, check, class_map) if reader is _counterparts else reader(name, folder, check)
    if part:
        wanted = "/".join(part)
        sets = [each for each in sets if each.condition == wanted or each.condition.startswith(wanted + "/")]
        if not sets:
            raise UsageError(f"{name}: has no part {wanted!r}.")
    return sets


def place_of(name, root):
    """Where a known set lies below `root`, or None."""
    try:
        return _find(name, root)
    except UsageError:
        return None


def _find(name, root):
    if root is None:
        raise UsageError(f"{name}: data_dir must be given, the folder that holds the sets.")
    root = Path(root)
    if not root.is_dir():
        raise UsageError(f"data_dir must be a folder; {str(root)!r} is not.")
    for place in PLACES[name]:
        folder = root / place
        if folder.is_dir() and (name != "v2" or _v2_folders(folder)):
            return folder
    raise UsageError(f"{name}: not found in {str(root)!r}; looked for {', '.join(PLACES[name])}.")


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


# ---- the layouts ----------------------------------------------------------------------------------------------------


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


def _corrupted(name, folder, check):
    """corruption/severity/wnid; the corruption may lie in a folder of its category (noise, blur, ...)."""
    classes = class_list("imagenet")
    known = BAR if name == "c-bar" else (*BENCHMARK, *EXTRA)
    where = {}
    for top in _folders(folder):
        inside = {top: folder / top} if top in known else {sub: folder / top / sub for sub in _folders(folder / top)}
        for corruption, place in inside.items():
            if corruption in known:
                if corruption in where:
                    raise UsageError(f"{name}: {corruption} stands twice, as {where[corruption]} and {place}.")
                where[corruption] = place
    if not where:
        raise UsageError(f"{name}: {str(folder)!r} holds no folder of a corruption (as {known[0]}).")
    needed = BAR if name == "c-bar" else BENCHMARK
    missing = [corruption for corruption in needed if corruption not in where]
    if missing:
        check.fault(f"{len(missing)} of {len(needed)} corruptions are missing: {few(missing)}")
    sets = []
    for corruption in (each for each in known if each in where):
        present = _folders(where[corruption])
        strange = [each for each in present if not re.fullmatch(r"[1-5]", each)]
        if strange:
            check.fault(f"{corruption}: severities are the folders 1...5; there is also {few(strange)}")
        absent = [str(s) for s in SEVERITIES if str(s) not in present]
        if absent:
            check.fault(f"{corruption}: severities {few(absent)} are missing")
        for severity in (s for s in SEVERITIES if str(s) in present):
            begin, condition = len(check.notes), f"{corruption}/{severity}"
            source, labels = _class_folders(
                where[corruption] / str(severity), classes, check, count=50, prefix=f"{condition}: "
            )
            sets.append(TestSet(TITLES[name], condition, classes, labels, source, notes=check.notes_of(begin)))
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


def _cifar(name, folder, check):
    """<corruption>.npy of 5 x n images, severity 1 first, and labels.npy."""
    known = (*BENCHMARK, *EXTRA)
    if not (folder / "labels.npy").is_file():
        raise UsageError(f"{name}: {str(folder)!r} must hold labels.npy.")
    labels = read_array(folder / "labels.npy", "an npy array of labels")
    classes = list(CIFAR10) if name == "cifar10-c" else class_list("cifar100")
    if (
        labels.ndim != 1
        or not np.issubdtype(labels.dtype, np.integer)
        or not len(labels)
        or labels.min() < 0
        or labels.max() >= len(classes)
    ):
        raise UsageError(
            f"{name}: labels.npy must hold integers 0...{len(classes) - 1} in one row; "
            f"got {labels.dtype} {list(labels.shape)}."
        )
    where = {path.stem: path for path in sorted(folder.glob("*.npy")) if path.stem in known}
    if not where:
        raise UsageError(f"{name}: {str(folder)!r} holds no array of a corruption (as {known[0]}.npy).")
    missing = [each for each in BENCHMARK if each not in where]
    if missing:
        check.fault(f"{len(missing)} of {len(BENCHMARK)} corruptions are missing: {few(missing)}")
    if len(labels) != 50_000:
        check.fault(f"{len(labels)} labels instead of 50000")
    sets, n = [], len(labels) // 5
    for corruption in (each for each in known if each in where):
        dtype, shape, *_ = read_head(where[corruption], "an npy array of images")
        good = dtype == np.uint8 and len(shape) == 4 and shape[-1] == 3 and 0 not in shape
        if not good or shape[0] != len(labels) or len(labels) % 5:
            raise UsageError(
                f"{name}: {corruption}.npy must be uint8 [{len(labels)}, H, W, 3], five severities one after the "
                f"other; got {'objects' if dtype is None else dtype} {list(shape)}."
            )
        for s in SEVERITIES:
            own = torch.from_numpy(labels[(s - 1) * n : s * n].astype(np.int64))
            source = Arrays(where[corruption], (s - 1) * n, s * n)
            sets.append(TestSet(name, f"{corruption}/{s}", classes, own, source, notes=list(check.notes)))
    return sets


def _other(name, place, check, class_map):
    """Any ImageFolder, folder of shards, or Hugging Face dataset."""
    if place.startswith("hf:"):
        source, texts, classes = hub_dataset(place[3:])
        index = {own: label for label, own in enumerate(classes)}
        labels = [index[composed(text)] for text in texts]
        order = sorted(range(len(labels)), key=lambda i: (labels[i], i))
        return TestSet(name, "", classes, torch.tensor([labels[i] for i in order]), source.take(order))
    folder = Path(place)
    if not folder.is_dir():
        raise UsageError(f"{name}: {place!r} is not a folder.")
    if class_map is not None:
        [found] = _counterparts(name, folder, check, class_map)
        return found
    classes = [composed(entry) for entry in _folders(folder)]
    shards = [] if classes else _shards(folder, check)
    if shards:
        members, texts = _members(shards, check)
        if all(re.fullmatch("[0-9]+", text) for text in texts):
            labels = [_number(text, MOST_CLASSES) for text in texts]
            if -1 in labels:
                came = shown(texts[labels.index(-1)])
                raise UsageError(f"{name}: numbers in .cls must lie below {MOST_CLASSES}; got {came}.")
            classes = [str(i) for i in range(max(labels) + 1)]
        else:
            texts = [composed(text) for text in texts]
            for text, (path, member, *_) in zip(texts, members, strict=True):
                if unfit(text):
                    raise UsageError(
                        f"{path}: the label of {plain_line(member, 200)} {unfit(text)}; got {shown(text)}."
                    )
            classes = sorted(set(texts))
            index = {own: label for label, own in enumerate(classes)}
            labels = [index[text] for text in texts]
        order = sorted(range(len(labels)), key=lambda i: (labels[i], members[i][0], members[i][1]))
        source = Shards([members[i] for i in order])
        return TestSet(name, "", classes, torch.tensor([labels[i] for i in order]), source, notes=check.notes)
    if not classes:
        raise UsageError(f"{name}: {place!r} must hold one folder for each class, or tar shards; it has neither.")
    source, labels = _class_folders(folder, classes, check)
    note = order_note(classes)
    check.note(*([note] if note else []))
    return TestSet(name, "", classes, labels, source, notes=check.notes)


def refuse_bad(test_set, bad, first):
    """A `BadImageError` that names the first of some images that cannot be decoded."""
    place, reason = bad[0]
    raise BadImageError(
        f"{test_set.title}: {plain_line(test_set.source.name(first + place), 200)} cannot be decoded ({reason}); "
        "mend or remove it, or leave such images out with on_bad_image='skip'."
    )
