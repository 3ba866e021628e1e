"""Image files: which files are some, and the one way in which they are opened."""

import functools
import io
import os
import stat
import struct
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from freqkit.files.reading import POINTER
from freqkit.text import plain_line

# Formats of Pillow that start another program (EPS), only hand over to one, or unpack without a bound (FITS).
REFUSED = {"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG", "PDF", "FITS", "IPTC", "MCIDAS"}
MOST_PIXELS = 80_000_000  # a larger one is taken for a decompression bomb; 0.3 GiB of memory as RGB
MOST_BYTES = 256 << 20  # of an image file inside an archive, which is read as a whole
_LARGE = 1 << 24
_ONE_LARGE = threading.Lock()  # threads decode large images one after the other, or their memory adds up


@functools.cache
def suffixes():
    """Suffixes that name image files, lower case with the dot: those of the formats that are read."""
    from PIL import Image

    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind not in REFUSED)


@functools.cache
def _formats():
    from PIL import Image

    Image.init()
    return tuple(kind for kind in Image.ID if kind not in REFUSED)


def named_image(name):
    """Whether a file's name says that it is an image.

    Example:
        >>> named_image("a.JFIF"), named_image("b.tiff"), named_image("notes.txt"), named_image("n01440764_10026")
        (True, True, False, False)
    """
    return os.path.splitext(name)[1].lower() in suffixes()


def is_image(path):
    """Whether a file is an image: its name says so, or else its first bytes do."""
    if named_image(path):
        return True
    from PIL import Image

    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return False
        with open(path, "rb") as file, Image.open(file, formats=_formats()):
            return True
    except MemoryError:
        raise
    except Exception:
        # Pillow's readers raise much for what is no image, and every one of them says so.
        return False


def open_image(source):
    """The first frame of an image file as RGB, and how it was stored.

    Args:
        source: a path, or the bytes of a file.

    Returns:
        (Pillow image of mode RGB, Pillow mode of the file).

    Raises:
        ValueError: the file is none that is read, with a reason. Of damaged files Pillow raises OSError, SyntaxError,
            ValueError, EOFError, struct.error and more; `reason_of` has a line for all.
    """
    from PIL import Image, ImageFile

    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise ValueError("PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set, so truncated files would go unnoticed")
    if not isinstance(source, bytes) and not stat.S_ISREG(os.stat(source).st_mode):
        raise ValueError("not a regular file")
    with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as file:
        start = file.read(len(POINTER))
        if not start:
            raise ValueError("the file is empty")
        if start == POINTER:
            raise ValueError("a Git LFS pointer, not the image itself, which `git lfs pull` fetches")
        file.seek(0)
        with Image.open(file, formats=_formats()) as opened:
            mode, (width, height) = opened.mode, opened.size
            check_size(width, height)
            if width * height < _LARGE:
                opened.load()
                return to_rgb(opened), mode
            with _ONE_LARGE:
                opened.load()
                return to_rgb(opened), mode


def size_of(source):
    """(height, width) of an image file, or of the bytes of one, by its head; None where it has none that is read."""
    from PIL import Image

    try:
        if not isinstance(source, bytes) and not stat.S_ISREG(os.stat(source).st_mode):
            return None
        with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as file:
            with Image.open(file, formats=_formats()) as opened:
                return opened.size[::-1]
    except MemoryError:
        raise
    except Exception:
        return None  # what is wrong with it is said when it is decoded


def check_size(width, height):
    """Refuse more pixels than are read."""
    if width * height > MOST_PIXELS:
        raise ValueError(f"{width}x{height} pixels are more than the {MOST_PIXELS // 10**6} million that are read")


def to_rgb(image):
    """A Pillow image of any mode as RGB, 16 bits rounded down to 8; what has no defined white is refused."""
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        from PIL import Image

        high = (np.asarray(image) >> 8).astype(np.uint8)
        return Image.fromarray(high).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError(f"mode {image.mode} has no defined white")
    return image.convert("RGB")


def crop_side(size):
    """The shorter side before the middle `size` x `size` is cut out: 256 for 224, in proportion for others."""
    return size * 256 // 224


def fit(image, size, resize, side=None, interpolation="bilinear"):
    """A Pillow image as uint8 [3, size, size].

    Args:
        resize: "squash", or another to cut out the middle. side: the shorter side before that, if not `crop_side`; of
            "own-squash" both sides.
    """
    from PIL import Image

    method = getattr(Image.Resampling, interpolation.upper())
    if resize == "squash":
        image = image.resize((size, size), method)
    else:
        width, height = image.size
        side = side or crop_side(size)
        short = min(width, height)
        width, height = (side * (each if resize != "own-squash" else short) // short for each in (width, height))
        check_size(width, height)  # a line of pixels would become a very long one
        image = image.resize((width, height), method)
        # Where a side is shorter than the crop, torchvision puts black around, the odd pixel last.
        left, top = (round((side - size) / 2) if side >= size else -((size - side) // 2) for side in (width, height))
        image = image.crop((left, top, left + size, top + size))
    return np.asarray(image).transpose(2, 0, 1)


def reason_of(error):
    """Why a file could not be decoded, in a line."""
    if type(error).__name__ == "UnidentifiedImageError":
        return "not an image"
    spoken = (OSError, ValueError, SyntaxError, EOFError, struct.error)
    if isinstance(error, spoken) or type(error).__name__ == "DecompressionBombError":
        return plain_line(error, 200).rstrip(".") or "damaged"
    return "damaged"  # what else a decoder raises speaks of its own insides


def decoding_pool(workers=None):
    """Threads that decode; default as many as there are processors for this process, at most 8."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return ThreadPoolExecutor(workers or min(8, available))
