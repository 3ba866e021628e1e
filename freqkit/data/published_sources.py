"""Where the pixels of a test set come from: files, arrays, tar shards, a Hugging Face dataset."""

import os
import tarfile
from pathlib import Path

import numpy as np

from freqkit.errors import UsageError

IMAGES = (".jpeg", ".jpg", ".png", ".bmp", ".ppm", ".pgm", ".webp", ".tif", ".tiff", ".gif")


class Files:
    """Image files below a folder.

    Args:
        root: the folder. names: paths below it, with "/".
    """

    def __init__(self, root, names):
        self.root, self.names = Path(root), list(names)

    def __len__(self):
        return len(self.names)

    def name(self, i):
        return self.names[i]

    def read(self, i, preprocessing):
        """uint8 [3, N, N]."""
        return preprocessing.decode(os.path.join(self.root, self.names[i]))

    def take(self, places):
        return Files(self.root, [self.names[i] for i in places])


class Arrays:
    """Images in a uint8 array [n, H, W, 3] on disk, as CIFAR-10-C holds them; never read as a whole.

    Args:
        path: the .npy file. first, last: the range of rows. rows: or which of them.
    """

    def __init__(self, path, first, last, rows=None):
        self.path = Path(path)
        self.rows = list(range(first, last)) if rows is None else list(rows)
        self.array = np.load(self.path, mmap_mode="r", allow_pickle=False)

    def __len__(self):
        return len(self.rows)

    def name(self, i):
        return f"{self.path.name}[{self.rows[i]}]"

    def read(self, i, preprocessing):
        from PIL import Image

        return preprocessing.fit(Image.fromarray(np.ascontiguousarray(self.array[self.rows[i]])))

    def take(self, places):
        return Arrays(self.path, 0, 0, [self.rows[i] for i in places])


class Shards:
    """Members of tar files, as webdataset writes them; each is read by its offset, nothing is unpacked.

    Args:
        members: list of (path of the tar, name, offset, bytes).
    """

    def __init__(self, members):
        self.members = list(members)
        self._open = {}

    def __len__(self):
        return len(self.members)

    def name(self, i):
        return f"{Path(self.members[i][0]).name}/{self.members[i][1]}"

    def read(self, i, preprocessing):
        path, _, offset, length = self.members[i]
        handle = self._open.get(path)
        if handle is None:
            handle = self._open.setdefault(path, open(path, "rb", buffering=0))
        return preprocessing.decode(os.pread(handle.fileno(), length, offset))

    def take(self, places):
        return Shards([self.members[i] for i in places])


class HubRows:
    """Rows of a Hugging Face `datasets.Dataset` with an image column."""

    def __init__(self, dataset, column, rows=None):
        self.dataset, self.column = dataset, column
        self.rows = list(range(len(dataset))) if rows is None else list(rows)

    def __len__(self):
        return len(self.rows)

    def name(self, i):
        return f"row {self.rows[i]}"

    def read(self, i, preprocessing):
        return preprocessing.fit(self.dataset[self.rows[i]][self.column].convert("RGB"))

    def take(self, places):
        return HubRows(self.dataset, self.column, [self.rows[i] for i in places])


def read_shards(paths):
    """Images and labels of webdataset shards: a sample is `KEY.jpg` (or another image) beside `KEY.cls`.

    Returns:
        (list of (path, name, offset, bytes), list of the samples' `.cls` texts).

    Raises:
        UsageError: a shard is no tar file, or a sample has no `.cls`.
    """
    members, labels = [], []
    for path in sorted(map(str, paths)):
        try:
            with tarfile.open(path, "r:") as archive:
                images, classes = {}, {}
                for member in archive:
                    if not member.isfile():
                        continue
                    folder, _, base = member.name.rpartition("/")
                    key, _, extension = base.partition(".")
                    key = f"{folder}/{key}" if folder else key
                    if extension == "cls":
                        classes[key] = archive.extractfile(member).read().decode().strip()
                    elif "." + extension.rpartition(".")[2].lower() in IMAGES:
                        if key in images:
                            raise UsageError(f"{path}: sample {key!r} has two images.")
                        images[key] = (path, member.name, member.offset_data, member.size)
        except (tarfile.TarError, UnicodeDecodeError) as error:
            raise UsageError(f"{path}: this is no readable tar shard ({error}).") from error
        missing = [key for key in images if key not in classes]
        if missing:
            raise UsageError(f"{path}: {len(missing)} images have no .cls beside them (the first: {missing[0]!r}).")
        members += images.values()
        labels += [classes[key] for key in images]
    return members, labels


def hub_dataset(name):
    """(HubRows, labels as class names, class names) of `datasets.load_dataset`; `name` is `PATH` or `PATH:SPLIT`.

    Raises:
        UsageError: `datasets` is not installed, or the dataset has no image and label columns.
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
    names = list(data.features[label].names)
    return HubRows(data, image), [names[i] for i in data[label]], names
