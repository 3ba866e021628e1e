"""Where the pixels of a test set come from: files, arrays, tar shards, a Hugging Face dataset."""

import copy
import os
from pathlib import Path

import numpy as np

from freqkit.data.class_lists import check_files, check_names
from freqkit.data.npy_files import read_array
from freqkit.data.pictures import MOST_BYTES, named_image
from freqkit.data.tar_members import members_of
from freqkit.errors import UsageError
from freqkit.files.reading import shown
from freqkit.text import plain_line

_LABEL = 4096  # bytes of a .cls


class Source:
    """Images that lie somewhere; each of `rows` says where one does."""

    def __init__(self, rows):
        self.rows = list(rows)

    def __len__(self):
        return len(self.rows)

    def name(self, i):
        return self.rows[i]

    def take(self, places):
        taken = copy.copy(self)
        taken.rows = [self.rows[i] for i in places]
        return taken


class Files(Source):
    """Image files below a folder.

    Args:
        root: the folder. names: paths below it, with "/".
    """

    def __init__(self, root, names):
        super().__init__(names)
        self.root = Path(root)

    def read(self, i, preprocessing):
        """uint8 [3, N, N]."""
        return preprocessing.decode(os.path.join(self.root, self.rows[i]))


class Arrays(Source):
    """Images in a uint8 array [n, H, W, 3] on disk, as CIFAR-10-C holds them; never read as a whole.

    Args:
        path: the .npy file. first, last: the range of rows.
    """

    def __init__(self, path, first, last):
        super().__init__(range(first, last))
        self.path, self.array = Path(path), read_array(path)

    def name(self, i):
        return f"{self.path.name}[{self.rows[i]}]"

    def read(self, i, preprocessing):
        from PIL import Image

        return preprocessing.fit(Image.fromarray(np.ascontiguousarray(self.array[self.rows[i]])))


class Shards(Source):
    """Members of tar files, as webdataset writes them; each is read by its offset, nothing is unpacked.

    Args:
        members: list of (path of the tar, name, offset, bytes).
    """

    def __init__(self, members):
        super().__init__(members)
        self._open = {}

    def name(self, i):
        return f"{Path(self.rows[i][0]).name}/{self.rows[i][1]}"

    def read(self, i, preprocessing):
        path, _, offset, length = self.rows[i]
        if length > MOST_BYTES:
            raise ValueError(f"its {length} bytes are more than the {MOST_BYTES >> 20} MiB that are read")
        handle = self._open.get(path)
        if handle is None:
            handle = self._open.setdefault(path, open(path, "rb", buffering=0))
        return preprocessing.decode(os.pread(handle.fileno(), length, offset))


class HubRows(Source):
    """Rows of a Hugging Face `datasets.Dataset` with an image column."""

    def __init__(self, dataset, column):
        super().__init__(range(len(dataset)))
        self.dataset, self.column = dataset, column

    def name(self, i):
        return f"row {self.rows[i]}"

    def read(self, i, preprocessing):
        stored = self.dataset[self.rows[i]][self.column]
        if isinstance(stored, dict):  # the file, as `hub_dataset` asks for it: opened like any other
            return preprocessing.decode(stored["bytes"] if stored.get("bytes") is not None else stored["path"])
        return preprocessing.fit(stored)


def read_shards(paths, fault=None):
    """Images and labels of webdataset shards: a sample is `KEY.jpg` (or another image) beside `KEY.cls`.

    Args:
        paths: of the tar files.
        fault: called with a sentence when members are left out that are neither, or links; or when a shard has no
            end-of-archive mark, so that members may be missing. Default: the latter is an error.

    Returns:
        (list of (path, name, offset, bytes), list of the samples' `.cls` texts).

    Raises:
        UsageError: a shard is no tar file, damaged or cut, an image has no `.cls`, a `.cls` no image, or a sample two
            of either.
    """
    members, labels, others = [], [], []
    for path in sorted(map(str, paths)):
        images, classes = {}, {}
        for member in members_of(path, fault):
            folder, _, base = member.name.rpartition("/")
            key, _, extension = base.partition(".")
            key = f"{folder}/{key}" if folder else key
            label = extension == "cls"
            if not label and not named_image(base):
                others += [] if member.folder else [member.name]
                continue
            check_files([member.name], path)
            where = f"{path}: {plain_line(member.name, 200)}"
            if not member.regular:
                raise UsageError(f"{where}: only plain files are read from a shard; it is {member.kind}.")
            if key in (classes if label else images):
                raise UsageError(f"{path}: sample {shown(key)} has two {'labels' if label else 'images'}.")
            if not label:
                images[key] = (path, member.name, member.offset, member.size)
                continue
            if member.size > _LABEL:
                raise UsageError(f"{where}: a class name or number was expected; it has {member.size} bytes.")
            try:
                classes[key] = member.read().decode().strip()
            except UnicodeDecodeError as error:
                raise UsageError(f"{where}: a class name or number was expected; it is no UTF-8 text.") from error
        for some, rest, words in ((images, classes, "images have no .cls"), (classes, images, ".cls have no image")):
            missing = [key for key in some if key not in rest]
            if missing:
                raise UsageError(f"{path}: {len(missing)} {words} beside them (the first: {shown(missing[0])}).")
        members += images.values()
        labels += [classes[key] for key in images]
    return members, labels, others


def hub_dataset(name):
    """(HubRows, labels as class names, class names) of `datasets.load_dataset`; `name` is `PATH` or `PATH:SPLIT`.

    Raises:
        UsageError: `datasets` is not installed, the dataset has no image and label columns, rows without a label, or
            two classes of one name.
    """
    try:
        import datasets
    except ImportError as error:
        raise UsageError("a Hugging Face dataset needs the package datasets: pip install datasets.") from error
    path, _, split = name.partition(":")
    data = datasets.load_from_disk(path) if Path(path).is_dir() else datasets.load_dataset(path, split=split or "test")
    image = next((key for key, kind in data.features.items() if type(kind).__name__ == "Image"), None)
    label = next((key for key, kind in data.features.items() if type(kind).__name__ == "ClassLabel"), None)
    if image is None or label is None:
        raise UsageError(
            f"{name}: the dataset must have an Image and a ClassLabel column; it has {list(data.features)}."
        )
    names = check_names(list(data.features[label].names), name)
    labels = list(data[label])
    without = sum(not isinstance(i, int) or not 0 <= i < len(names) for i in labels)
    if without:
        raise UsageError(f"{name}: every row must have a label; {without} of {len(labels)} have none (a test split?).")
    if hasattr(data, "cast_column"):
        # The files themselves: `datasets` would turn images by their EXIF, and cut 16 bits at 255.
        data = data.cast_column(image, datasets.Image(decode=False))
    return HubRows(data, image), [names[i] for i in labels], names
