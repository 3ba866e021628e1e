"""Images as people hold them (arrays, datasets, loaders, folders) as an `ImageSet`: what does not fit is refused."""

import itertools
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, SequentialSampler, TensorDataset

from freqkit.data.image_set import ImageSet
from freqkit.data.layouts import read_images
from freqkit.data.pictures import to_rgb
from freqkit.data.reading import Asked
from freqkit.errors import UsageError
from freqkit.text import plain_line

Images = ImageSet | str | os.PathLike | tuple[Any, Any] | Dataset | Iterable[Any]  # what `as_images` takes
# Of items that are mappings: columns of Hugging Face, and endings of the files of webdataset.
KEYS = ("image", "images", "img", "pixel_values", "jpg", "jpeg", "png", "webp"), ("label", "labels", "cls")
BLOCK = 64  # images that are converted at once
TRIED = 4  # images that are asked for twice, to see whether they are drawn at random


def as_images(
    source: Images,
    owner: str = "as_images",
    *,
    model: Any = None,
    class_index: Any = None,
    name: str = "images",
) -> ImageSet:
    """An `ImageSet` itself, or one of all that holds images and labels; where images enter, this is called.

    Images are kept as `load_images` keeps them, as bytes: floats are multiplied by 255 and rounded to the nearest,
    which is on record where it changes anything. Grey becomes RGB.

    Args:
        source: one of

            - (x, y) of tensors or arrays, or a `TensorDataset`: x [n, 3, H, W] or [n, 1, H, W] (or, where only that can
              be meant, [n, H, W, 3], [n, H, W, 1], [n, H, W]), uint8, or floats in [0, 1] that are not normalised; y
              integers [n];
            - a dataset of (image, label), as those of torchvision (with `classes`) or of Hugging Face (with a column
              `Image` and one `ClassLabel`), a `DataLoader`, or any other iterable that ends, of such pairs or of
              batches of them, or of dicts with one of `KEYS` each (webdataset after `.decode("pil")`). An image is one
              of Pillow, or an array as above. All is taken once, in its order; a
              warning says when it comes in another order or form each time;
            - a folder, as `load_images` reads it for the model.
        owner, name: begin the sentence of what does not fit.
        model: a `Classifier`. Where the images have no names of classes, label i is its logit i, called by its
            `class_names`, else "0", "1", ...
        class_index: then label i is the logit `class_index[i]`.

    Returns:
        `ImageSet`. Its paths are those that `load_images` gives the files of a torchvision `ImageFolder`, else numbers.

    Raises:
        UsageError: images or labels do not fit.

    Example:
        >>> import torch
        >>> x, y = torch.rand(6, 3, 8, 8), torch.tensor([0, 1, 2, 0, 1, 2])
        >>> as_images((x, y))
        ImageSet(6 images of 8x8, 3 classes)
        >>> as_images(((x - 0.5) / 0.25, y))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        freqkit.errors.UsageError: as_images: images must be uint8, or floats in [0, 1]; those of image 0 are ...
    """
    return named(gathered(source, owner, name, model), model, class_index)


@dataclass
class Gathered:
    """Images whose classes may have no names yet; `where` begins a sentence, `of_data` are names that they bring."""

    where: str
    images: torch.Tensor
    labels: torch.Tensor
    of_data: list | None
    files: list | None
    facts: dict


def gathered(source, owner, name="images", model=None):
    """`Gathered` of what `as_images` takes, or the `ImageSet` that it is or reads, for a `Classifier` or None."""
    if isinstance(getattr(source, "images", None), torch.Tensor):
        return source
    where = f"{owner}: {name}"
    if isinstance(source, (str, os.PathLike)):
        return _of_folder(where, source, model)
    _check_kind(where, source)
    loader = isinstance(source, DataLoader)
    dataset = source.dataset if loader else source
    inside, places = _taken_out(dataset)
    keys, classes = _columns(where, inside)
    notes, in_order = _order(where, source, keys)
    pile = _Pile(where)
    for number, item in enumerate(_items(where, source)):
        pile.add(*_pair(f"{where}: {'batch' if loader else 'item'} {number}", item, keys))
    if not pile.labels:
        raise UsageError(f"{where} must hold at least one image; got none.")
    images, labels = torch.cat(pile.blocks), torch.cat(pile.labels)
    if loader and hasattr(dataset, "__len__") and len(labels) != len(dataset):
        notes.append(f"the loader gives {len(labels)} images, and its dataset has {len(dataset)}")
    for note in notes:
        warnings.warn(f"{where}: {note}.", stacklevel=5)
    kind = "arrays" if isinstance(source, (tuple, list)) and _arrays(source) else type(dataset).__name__
    facts = {"source": f"{type(source).__name__} of {kind}" if loader else kind, "dtype": pile.dtype}
    if pile.rounded:
        facts["rounded_by"] = pile.rounded  # at most, in steps of 1/255
        notes.append(f"floats are rounded to steps of 1/255, by up to {pile.rounded:.3f} of one")
    if notes:
        facts["notes"] = notes
    files = getattr(inside, "samples", None) if in_order and classes else None
    if files:
        files = [files[i] for i in (range(len(files)) if places is None else places)]
    return Gathered(where, images, labels, classes, files, facts)


def named(found, model=None, class_index=None):
    """The `ImageSet` of `Gathered` images, its classes called as `as_images` says."""
    if not isinstance(found, Gathered):
        return found.as_logits(model) if isinstance(found, ImageSet) and class_index is None else found
    least, most = int(found.labels.min()), int(found.labels.max())
    logits, classes, whose = getattr(model, "num_classes", None), found.of_data, "classes of the dataset"
    if classes is None:
        own = list(getattr(model, "class_names", None) or [])
        index = range(most + 1 if logits is None else logits)
        whose = "labels that there are" if logits is None else "logits of the model"
        if class_index is not None:
            index, whose = [int(i) for i in class_index], "entries of class_index"
        fits = own and all(0 <= i < len(own) for i in index)
        classes = _distinct([own[i] for i in index]) if fits else [str(i) for i in range(len(index))]
    if least < 0:
        raise UsageError(f"{found.where} must have labels that are not negative; got {least}..{most}.")
    if most >= len(classes):
        raise UsageError(
            f"{found.where} must have labels in 0..{len(classes) - 1}, for the {len(classes)} {whose}; got"
            f" {least}..{most}."
        )
    if len(classes) < 2:
        raise UsageError(f"{found.where} must be of at least two classes; all {len(found.labels)} have label {least}.")
    if logits is not None and len(classes) > logits:
        raise UsageError(
            f"{found.where} must be of no more classes than the model has logits, {logits}; got {len(classes)}."
        )
    paths = _paths(found, classes)
    made = ImageSet(found.images, found.labels, classes, paths, record=found.facts)
    return made if class_index is not None else made.as_logits(model)


def _of_folder(where, path, model):
    size = getattr(model, "input_size", None)
    if size is not None and size[0] != size[1]:
        raise UsageError(f"{where} in a folder become squares, and the model takes {tuple(size)}; give arrays.")
    return read_images(Path(path), Asked.of("load_images", model=model))


def _distinct(names):
    times = Counter(names)
    return [f"{name} ({i})" if times[name] > 1 else name for i, name in enumerate(names)]


def _paths(found, classes):
    """`class/file` where the files are known, else `class/number`, as of arrays in a file."""
    called, files = [classes[label].replace("/", "_") for label in found.labels.tolist()], found.files or []
    paths = [PurePath(file) for file, _ in files[: len(called)]]
    if [path.parent.name for path in paths] == called and len(set(paths)) == len(paths):
        return [f"{name}/{path.name}" for name, path in zip(called, paths, strict=True)]
    return [f"{name}/{i:06d}.png" for i, name in enumerate(called)]


# ---- what a source says of itself -----------------------------------------------------------------------------------


def _check_kind(where, source):
    held = hasattr(source, "__iter__") or _by_place(source)
    if isinstance(source, Mapping) or hasattr(source, "dtype") or not held:
        hint = f" of {', '.join(map(str, source))}: give one" if isinstance(source, Mapping) else ""
        raise UsageError(
            f"{where} must be an ImageSet, (x, y) of arrays, a dataset or DataLoader of (image, label), or a folder;"
            f" got a {type(source).__name__}{hint}."
        )


def _by_place(source):
    return hasattr(source, "__getitem__") and hasattr(source, "__len__") and not isinstance(source, IterableDataset)


def _arrays(values):
    held = len(values) == 2 and hasattr(values[0], "shape")
    return held and (hasattr(values[1], "shape") or isinstance(values[1], list))


def _taken_out(dataset):
    """(the dataset that subsets are of, the places that they take; None: all)."""
    places = None
    while hasattr(dataset, "dataset") and hasattr(dataset, "indices"):
        places = list(dataset.indices) if places is None else [dataset.indices[i] for i in places]
        dataset = dataset.dataset
    return dataset, places


def _columns(where, dataset):
    """(keys under which items hold images and labels, names of the classes or None)."""
    features = getattr(dataset, "features", None)
    if isinstance(features, Mapping):
        of_kind = {
            kind: [key for key, feature in features.items() if type(feature).__name__ == kind]
            for kind in ("Image", "ClassLabel")
        }
        if any(len(found) != 1 for found in of_kind.values()):
            has = ", ".join(f"{key} {type(feature).__name__}" for key, feature in features.items())
            raise UsageError(
                f"{where} must have one column Image and one ClassLabel (see select_columns, cast_column); got {has}."
            )
        (image,), (label,) = of_kind.values()
        keys = tuple({own, *usual} for own, usual in zip((image, label), KEYS, strict=True))
        return keys, _distinct([str(name) for name in features[label].names])
    classes = getattr(dataset, "classes", None)
    if not isinstance(classes, (list, tuple)) or not classes or getattr(dataset, "target_transform", None) is not None:
        return KEYS, None  # labels that are changed have other names
    # torchvision's ImageNet has several names for a class
    return KEYS, _distinct([str(one[0] if isinstance(one, tuple) else one) for one in classes])


def _order(where, source, keys):
    """(sentences about what differs when the source is asked again, whether its order is that of its dataset)."""
    loader = isinstance(source, DataLoader)
    dataset, notes, in_order = source.dataset if loader else source, [], True
    fixed = isinstance(dataset, (TensorDataset, list, tuple)) or not _by_place(dataset)
    probed = () if fixed else range(min(TRIED, len(dataset)))
    again = "; a run that is resumed needs the same images (their fingerprint decides)"
    if loader and not isinstance(dataset, IterableDataset):
        sampler = getattr(source.batch_sampler, "sampler", source.batch_sampler or source.sampler)
        in_order = isinstance(sampler, SequentialSampler)
        if not in_order:
            notes.append(f"the loader takes them by a {type(sampler).__name__}, in an order that may be drawn{again}")
        probed = () if source.worker_init_fn else probed
    with torch.random.fork_rng(devices=[]):
        for i in probed:
            what = f"{where}: item {i}"
            with _reading(what):
                twice = [_pair(what, dataset[i], keys)[0] for _ in range(2)]
            if not isinstance(twice[0], (list, tuple)) and not torch.equal(*map(_Pile(where).pixels, twice)):
                notes.append(f"the dataset draws its images at random (augmentation), and each is taken once{again}")
                break
    return notes, in_order


# ---- image by image -------------------------------------------------------------------------------------------------


@contextmanager
def _reading(what):
    """A sentence of whatever a dataset raises: it is the user's own code."""
    try:
        yield
    except (UsageError, MemoryError):
        raise
    except Exception as error:
        told = plain_line(error, 300).rstrip(".")
        raise UsageError(f"{what} cannot be read ({type(error).__name__}: {told}).") from error


def _items(where, source):
    """Pairs of images and labels, one by one or in batches, as they come."""
    pair = source.tensors if isinstance(source, TensorDataset) else source
    if isinstance(pair, (tuple, list)) and _arrays(pair):
        x, y = pair[0], pair[1] if hasattr(pair[1], "shape") else np.asarray(pair[1])
        if not x.shape or not y.shape or x.shape[0] != y.shape[0]:
            raise UsageError(f"{where} must have a label each; got shapes {list(x.shape)} and {list(y.shape)}.")
        yield from ((x[i : i + BLOCK], y[i : i + BLOCK]) for i in range(0, x.shape[0], BLOCK))
        return
    kind, end = "batch" if isinstance(source, DataLoader) else "item", object()
    items = (source[i] for i in range(len(source))) if _by_place(source) else None
    for number in itertools.count():
        with _reading(f"{where}: {kind} {number}"):
            items = iter(source) if items is None else items
            item = next(items, end)
        if item is end:
            return
        yield item


def _pair(what, item, keys):
    """(image, label) of an item, or of a batch."""
    if isinstance(item, Mapping):
        found = [[key for key in some if key in item] for some in keys]
        if any(len(each) != 1 for each in found):
            raise UsageError(
                f"{what} must hold one image and one label, as {' or '.join(sorted(keys[0]))}, and"
                f" {' or '.join(sorted(keys[1]))}; got {', '.join(map(str, item))}."
            )
        return tuple(item[key] for (key,) in found)
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        got = f"{len(item)} parts" if isinstance(item, (tuple, list)) else f"a {type(item).__name__}"
        raise UsageError(f"{what} must be (image, label); got {got}.")
    return item


class _Pile:
    """Images that have come, as bytes: `blocks` uint8 [n, 3, H, W], `labels` int64 [n]."""

    def __init__(self, where):
        self.where, self.blocks, self.labels = where, [], []
        self.count, self.rounded, self.dtype, self.last, self.size = 0, 0.0, None, None, None

    def refuse(self, rule):
        raise UsageError(f"{self.where} must {rule}.")

    def add(self, images, labels):
        if isinstance(images, (list, tuple)):  # a batch of what cannot be stacked
            if len(images) != len(labels):
                self.refuse(f"have a label each; got {len(images)} and {len(labels)}")
            for one in zip(images, labels, strict=True):
                self.add(*one)
            return
        images, labels = self.pixels(images), self.as_labels(labels)
        if labels.ndim == 0:
            images, labels = images[None], labels[None]
        if labels.shape != images.shape[:1]:
            self.refuse(f"have one label each; got labels {list(labels.shape)} for images {list(images.shape)}")
        for some in self.channels_first(images).split(BLOCK):
            self.blocks.append(
                (self.as_bytes(some) if some.is_floating_point() else some)
                .expand(-1, 3, -1, -1)
                .clone(memory_format=torch.contiguous_format)
            )
            self.count += len(some)
        self.labels.append(labels.long())

    def pixels(self, image):
        """A tensor of an image, or of several."""
        if hasattr(image, "convert") and hasattr(image, "mode"):  # Pillow's
            with _reading(f"{self.where}: image {self.count}"):
                image = np.asarray(to_rgb(image)).transpose(2, 0, 1)
        if isinstance(image, bytes):
            self.refuse('be decoded, as by .decode("pil") of webdataset; got the bytes of a file')
        image = self.tensor(image, "be uint8, or floats in [0, 1]")
        if image.dtype != torch.uint8 and not image.is_floating_point():
            self.refuse(f"be uint8, or floats in [0, 1]; got {image.dtype}")
        dtype = str(image.dtype).removeprefix("torch.")
        if self.dtype not in (None, dtype):
            self.refuse(f"have one type; got {dtype} after {self.dtype}")
        self.dtype = dtype
        return image

    def as_labels(self, labels):
        labels = self.tensor(labels, "have integers as labels")
        if labels.dtype == torch.bool or labels.is_floating_point() or labels.is_complex():
            self.refuse(f"have integers as labels; got {labels.dtype}")
        return labels

    def tensor(self, values, rule):
        if isinstance(values, torch.Tensor):
            return values.detach().cpu()
        array = np.asarray(values)
        if array.dtype.kind not in "buif" or array.dtype.itemsize > 8:
            self.refuse(f"{rule}; got {array.dtype if hasattr(values, 'dtype') else plain_line(repr(values), 60)}")
        return torch.from_numpy(np.array(array, array.dtype.newbyteorder("="), order="C"))

    def channels_first(self, images):
        """[n, 1 or 3, H, W]; the first images decide for all."""
        images = images[:, None] if images.ndim == 3 else images
        if images.ndim != 4 or 0 in images.shape[1:]:
            self.refuse(f"have shape [n, 3, H, W], each [3, H, W]; got {list(images.shape)}")
        if self.last is None:
            self.last = images.shape[1] not in (1, 3) and images.shape[3] in (1, 3)
        images = images.permute(0, 3, 1, 2) if self.last else images
        if images.shape[1] not in (1, 3):
            self.refuse(f"have 3 channels (RGB) or 1, as [n, 3, H, W]; got {images.shape[1]} in {list(images.shape)}")
        size = tuple(images.shape[2:])
        if self.size not in (None, size):
            self.refuse(
                f"be of equal size (add Resize((H, W)) to the dataset's transform); image {self.count} has"
                f" {size[0]}x{size[1]}, those before {self.size[0]}x{self.size[1]}"
            )
        self.size = size
        return images

    def as_bytes(self, images):
        least, most = images.flatten(1).amin(1), images.flatten(1).amax(1)
        bad = ~((least >= 0) & (most <= 1))  # also NaN
        if bad.any():
            i = int(bad.nonzero()[0])
            advice = "no NaN may be among them"
            if not images[i].isnan().any():
                advice = (
                    "images that were normalised: give mean= and std= of freqkit.wrap, and images in [0, 1]"
                    if least[i] < 0 else "divide by their largest possible value, or give uint8"
                )  # fmt: skip
            self.refuse(
                f"be uint8, or floats in [0, 1]; those of image {self.count + i} are in {float(least[i]):.4g}.."
                f"{float(most[i]):.4g} ({advice})"
            )
        exact = 255 * images.double()
        found = exact.round()
        change = float((exact - found).abs().max())
        if change > 255 * torch.finfo(images.dtype).eps:  # else they were bytes before
            self.rounded = max(self.rounded, change)
        return found.to(torch.uint8)
