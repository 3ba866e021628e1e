"""ImageNet in its many trees, and sets of the same classes."""

import csv
import io
import re
from pathlib import Path

import torch

from freqkit.data.class_lists import read_lines
from freqkit.data.folder import few
from freqkit.data.test_set import KnownSet
from freqkit.data.test_sets.folders import (
    folders_in,
    images_in,
    number_below,
    one_folder_for_each_class,
    read_folders,
)
from freqkit.data.test_sets.model_vs_human import has_sessions
from freqkit.data.test_sets.sources import Files
from freqkit.errors import UsageError
from freqkit.files.reading import read_json, shown
from freqkit.text import composed

V2 = {
    "matched-frequency": r"imagenet-?v2-?matched-?frequency.*",
    "threshold-0.7": r"imagenet-?v2-?threshold-?0\.?7.*",
    "top-images": r"imagenet-?v2-?top-?images.*",
}


def _imagenet(known, folder, check):
    classes = known.names
    flat = [file for file in images_in(folder) if re.fullmatch(r"ILSVRC2012_val_\d{8}\.\w+", file)]
    if flat and not [entry for entry in folders_in(folder) if entry in classes]:
        found = known.opened(*_flat(folder, flat, classes, check), check.notes)
    else:
        found = read_folders(known, folder, check)
    found.real = _real(folder, found.source, check)
    return [found]


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
        elif " " in lines[0][1] and number_below(text, len(classes)) >= 0:
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


def _v2_parts(folder):
    """condition -> folder of ImageNet-v2."""
    found = {}
    for name in folders_in(folder):
        for condition, pattern in V2.items():
            if re.fullmatch(pattern, name.lower()):
                if condition in found:
                    raise UsageError(f"v2: {condition} stands twice, as {found[condition].name!r} and {name!r}.")
                found[condition] = folder / name
    return found


def _v2(known, folder, check):
    classes, found, sets = known.names, _v2_parts(folder), []
    if not found and folders_in(folder):
        found = {"": folder}
    missing = [condition for condition in V2 if condition not in found and check.wants(condition)]
    if missing and "" not in found:
        check.fault(f"the parts {few(missing)} are missing")

    def numbered(text):
        # Folders are 0...999: as text they sort 0, 1, 10, 100, ..., and every label would be another class.
        if number_below(text, len(classes)) < 0:
            raise ValueError(text)
        return classes[int(text)]

    for condition in filter(check.wants, sorted(found)):
        wnids = any(entry in classes for entry in folders_in(found[condition]))
        sets.append(read_folders(known, found[condition], check, condition, key=composed if wnids else numbered))
        sets[-1].notes = sets[-1].notes or list(check.notes)
    return sets


def _sketch(known, folder, check):
    inner = folder / "sketch"
    return one_folder_for_each_class(known, inner if inner.is_dir() else folder, check)


KNOWN = (
    KnownSet(
        name="imagenet", title="imagenet", per_class=50, read=_imagenet, example=("n01440764/a.JPEG",),
        places=(
            "imagenet/val", "imagenet-1k/val", "ILSVRC2012/val", "ILSVRC/Data/CLS-LOC/val", "imagenet-val", "val",
            "imagenet",
        ),
        tree="`imagenet/val/WNID/*.JPEG`, or flat beside `LOC_val_solution.csv`, `val.txt` or a list of ids; ReaL "
        "(Beyer et al., 2020) with `real.json`",
        source="validation images of ILSVRC 2012, Russakovsky et al., IJCV 2015: image-net.org",
    ),
    KnownSet(
        name="v2", title="imagenet-v2", per_class=10, parts=tuple(V2), read=_v2, holds=_v2_parts,
        places=("imagenet-v2", "imagenetv2", "ImageNetV2", "."),
        example=("imagenetv2-matched-frequency-format-val/10/a.jpeg",),
        tree="`imagenetv2-{matched-frequency,threshold0.7,top-images}*/0...999` (sorted as numbers)",
        source="Recht et al., ICML 2019: github.com/modestyachts/ImageNetV2",
    ),
    KnownSet(
        name="r", title="imagenet-r", classes="imagenet-r", subset=True, images=30000, read=one_folder_for_each_class,
        places=("imagenet-r", "ImageNet-R", "imagenet_r"), example=("n01443537/art_0.jpg",),
        tree="`imagenet-r/WNID`, scored among all logits and among their own 200",
        source="Hendrycks et al., ICCV 2021: github.com/hendrycks/imagenet-r",
    ),
    KnownSet(
        name="a", title="imagenet-a", classes="imagenet-a", subset=True, images=7500, read=one_folder_for_each_class,
        places=("imagenet-a", "ImageNet-A", "imagenet_a"), example=("n01498041/a.jpg",),
        tree="`imagenet-a/WNID`, scored among all logits and among their own 200",
        source="Hendrycks et al., CVPR 2021: github.com/hendrycks/natural-adv-examples",
    ),
    KnownSet(
        name="sketch", title="imagenet-sketch", images=50889, read=_sketch,
        places=("imagenet-sketch", "ImageNet-Sketch", "imagenet_sketch", "sketch"),
        example=("sketch/n01440764/a.JPEG",), holds=lambda folder: not has_sessions(folder),
        tree="`imagenet-sketch/[sketch/]WNID`",
        source="Wang et al., NeurIPS 2019: github.com/HaohanWang/ImageNet-Sketch",
    ),
    KnownSet(
        name="stylized", title="imagenet-stylized", per_class=50, read=one_folder_for_each_class,
        places=("stylized-imagenet/val", "imagenet-stylized/val", "Stylized-ImageNet/val", "stylized-imagenet"),
        example=("n01440764/a.png",),
        tree="`stylized-imagenet/val/WNID`",
        source="Geirhos et al., ICLR 2019, made from ImageNet: github.com/rgeirhos/Stylized-ImageNet",
    ),
)  # fmt: skip
