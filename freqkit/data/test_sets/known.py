"""Published test sets as people have them on disk: recognised, checked, and read image by image.

A set is known by a short name (`imagenet`, `v2`, `c`, `c-bar`, `r`, `a`, `sketch`, `stylized`, `sct`, `cifar10-c`,
`cifar100-c`); any other name must come with its place (`NAME=PATH`): an ImageFolder, a folder of webdataset shards, or
`hf:DATASET`.
"""

import difflib
from pathlib import Path

from freqkit.data.test_sets.corrupted import _cifar, _corrupted
from freqkit.data.test_sets.counterparts import _counterparts
from freqkit.data.test_sets.folders import _Check
from freqkit.data.test_sets.imagenet import _imagenet, _part, _plain, _v2, _v2_folders
from freqkit.data.test_sets.other import _other
from freqkit.errors import UsageError

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


# ---- the layouts ----------------------------------------------------------------------------------------------------
