"""Corrupted images: ImageNet-C and -C-bar as folders, CIFAR-10-C and -100-C as arrays."""

import re

import numpy as np
import torch

from freqkit.data.cifar import CIFAR10
from freqkit.data.class_lists import (
    class_list,
    shipped_lines,
)  # fmt: skip
from freqkit.data.folder import few
from freqkit.data.npy_files import read_array, read_head
from freqkit.data.test_set import TestSet
from freqkit.data.test_sets.folders import TITLES, _class_folders, _folders
from freqkit.data.test_sets.sources import Arrays
from freqkit.errors import UsageError

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


def alexnet_errors():
    """Dict corruption -> top-1 error of AlexNet, the reference of mCE."""
    return {name: float(value) for name, value in (line.split() for line in shipped_lines("alexnet-c"))}


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
