"""Corrupted images: ImageNet-C and -C-bar as folders, CIFAR-10-C and -100-C as arrays."""

import re

import numpy as np
import torch

from freqkit.data.class_lists import shipped_lines
from freqkit.data.folder import few
from freqkit.data.npy_files import read_array, read_head
from freqkit.data.test_set import KnownSet
from freqkit.data.test_sets.folders import folders_in, read_folders
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


def _folders(known, folder, check):
    """corruption/severity/wnid; the corruption may lie in a folder of its category (noise, blur, ...)."""
    every, where = (*known.parts, *known.extras), {}
    for top in folders_in(folder):
        inside = {top: folder / top} if top in every else {sub: folder / top / sub for sub in folders_in(folder / top)}
        for corruption, place in inside.items():
            if corruption in every:
                if corruption in where:
                    raise UsageError(f"{known.name}: {corruption} stands twice, as {where[corruption]} and {place}.")
                where[corruption] = place
    if not where:
        raise UsageError(f"{known.name}: {str(folder)!r} holds no folder of a corruption (as {every[0]}).")
    check.missing([each for each in known.parts if check.wants(each)], where, "corruptions")
    sets = []
    for corruption in (each for each in every if each in where and check.wants(each)):
        present = folders_in(where[corruption])
        strange = [each for each in present if not re.fullmatch(r"[1-5]", each)]
        if strange:
            check.fault(f"{corruption}: severities are the folders 1...5; there is also {few(strange)}")
        absent = [str(s) for s in SEVERITIES if str(s) not in present and check.wants(f"{corruption}/{s}")]
        if absent:
            check.fault(f"{corruption}: severities {few(absent)} are missing")
        for severity in (str(s) for s in SEVERITIES if str(s) in present and check.wants(f"{corruption}/{s}")):
            sets.append(read_folders(known, where[corruption] / severity, check, f"{corruption}/{severity}"))
    return sets


def _arrays(known, folder, check):
    """<corruption>.npy of 5 x n images, severity 1 first, and labels.npy."""
    name, classes, every = known.name, known.names, (*known.parts, *known.extras)
    if not (folder / "labels.npy").is_file():
        raise UsageError(f"{name}: {str(folder)!r} must hold labels.npy.")
    labels = read_array(folder / "labels.npy", "an npy array of labels")
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
    where = {path.stem: path for path in sorted(folder.glob("*.npy")) if path.stem in every}
    if not where:
        raise UsageError(f"{name}: {str(folder)!r} holds no array of a corruption (as {every[0]}.npy).")
    check.missing(known.parts, where, "corruptions")
    if len(labels) != 50_000:
        check.fault(f"{len(labels)} labels instead of 50000")
    sets, n = [], len(labels) // 5
    for corruption in (each for each in every if each in where):
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
            sets.append(known.opened(source, own, list(check.notes), f"{corruption}/{s}"))
    return sets


KNOWN = (
    KnownSet(
        name="c", title="imagenet-c", per_class=50, parts=BENCHMARK, extras=EXTRA, read=_folders,
        places=("imagenet-c", "ImageNet-C", "imagenet_c", "ImageNetC"),
        example=("blur/defocus_blur/3/n01440764/a.png",),
        tree="`imagenet-c/[CATEGORY/]CORRUPTION/1...5/WNID`",
        source="Hendrycks and Dietterich, ICLR 2019: github.com/hendrycks/robustness",
    ),
    KnownSet(
        name="c-bar", title="imagenet-c-bar", per_class=50, parts=BAR, read=_folders,
        places=("imagenet-c-bar", "ImageNet-C-bar", "imagenet_c_bar"), example=("sparkles/2/n01440764/a.JPEG",),
        tree="`imagenet-c-bar/[CATEGORY/]CORRUPTION/1...5/WNID`",
        source="Mintun et al., NeurIPS 2021: github.com/facebookresearch/augmentation-corruption",
    ),
    *(
        KnownSet(
            name=f"cifar{n}-c", title=f"cifar{n}-c", classes=f"cifar{n}", parts=BENCHMARK, extras=EXTRA, read=_arrays,
            places=(f"CIFAR-{n}-C", f"cifar-{n}-c", f"cifar{n}-c"), example=("labels.npy", "fog.npy"),
            tree=f"`CIFAR-{n}-C/CORRUPTION.npy` of 5 severities, `labels.npy`",
            source=f"Hendrycks and Dietterich, ICLR 2019: zenodo.org/records/{record}",
        )
        for n, record in ((10, 2535967), (100, 3555552))
    ),
)  # fmt: skip
