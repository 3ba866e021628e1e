"""How a file becomes a square of pixels, on record and in one place."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from freqkit.data.pictures import crop_side, fit, open_image, to_rgb
from freqkit.errors import UsageError

RESIZES = ("squash", "center-crop", "own", "own-squash")
INTERPOLATIONS = ("bilinear", "bicubic", "lanczos", "nearest", "box", "hamming")  # what timm names, by Pillow


@dataclass(frozen=True)
class Preprocessing:
    """Decode, resize, crop; the same for every set of an evaluation.

    Args:
        image_size: N, the side of the square output.
        resize: "squash": both sides to N; "center-crop": shorter side to `resized_side`, `N*256//224` when it is not
            given, then the middle N x N, black where it is larger; both bilinear, as `load_images` does; "own":
            shorter side to `resized_side` by `interpolation`, then the middle (a model's published transform, see
            `of_model`); "own-squash": both sides to `resized_side`, then the middle (timm's `crop_mode` squash).
        resized_side: for all but "squash". The released evaluation scripts of HFSS resize to 256 whatever N is and
            cut out N: `Preprocessing(N, "center-crop", 256)`. Away from 224 that is another part of the image, a
            sixteenth of its area and less at N = 64; the default keeps the part, 7/8 of the shorter side.
        interpolation: for "own" and "own-squash".

    Raises:
        UsageError: an argument does not fit.

    Example:
        >>> Preprocessing(224, "center-crop").side
        256
    """

    image_size: int
    resize: str = "squash"
    resized_side: int | None = None
    interpolation: str = "bilinear"

    def __post_init__(self):
        if isinstance(self.image_size, bool) or not isinstance(self.image_size, int) or self.image_size < 1:
            raise UsageError(f"preprocessing: image_size must be a positive integer; got {self.image_size!r}.")
        if self.resize not in RESIZES:
            raise UsageError(f"preprocessing: resize must be one of {', '.join(RESIZES)}; got {self.resize!r}.")
        if self.interpolation not in INTERPOLATIONS:
            raise UsageError(
                f"preprocessing: interpolation must be one of {', '.join(INTERPOLATIONS)}; got {self.interpolation!r}."
            )
        if self.resized_side is not None and (
            isinstance(self.resized_side, bool) or not isinstance(self.resized_side, int) or self.resized_side < 1
        ):
            raise UsageError(f"preprocessing: resized_side must be a positive integer; got {self.resized_side!r}.")
        if self.published and (self.resized_side is None or self.resized_side < self.image_size):
            raise UsageError(
                f"preprocessing: {self.resize!r} needs resized_side >= image_size={self.image_size}; got"
                f" {self.resized_side}."
            )

    @property
    def published(self):
        """Whether it is a transform that a model was published with."""
        return self.resize in ("own", "own-squash")

    @property
    def side(self):
        """Length of the shorter side before the crop; None for "squash"."""
        if self.resize == "center-crop" and self.resized_side is None:
            return crop_side(self.image_size)
        return None if self.resize == "squash" else self.resized_side

    @property
    def record(self):
        """Facts for run.json."""
        return asdict(self)

    @property
    def words(self):
        """What is done to an image, for the record and the page.

        Example:
            >>> Preprocessing(224, "own", 248, "bicubic").words
            'shorter side to 248 (bicubic), then the middle 224x224'
            >>> Preprocessing(32).words
            'both sides to 32, whatever the shape (bilinear)'
        """
        whole, middle = f"{self.image_size}x{self.image_size}", f"({self.method})"
        if self.resize == "squash":
            return f"both sides to {self.image_size}, whatever the shape {middle}"
        if self.side == self.image_size and self.resize == "own-squash":
            return f"both sides to {self.side}, whatever the shape {middle}"
        first = "both sides" if self.resize == "own-squash" else "shorter side"
        return f"{first} to {self.side} {middle}, then the middle {whole}"

    @property
    def method(self):
        """By which images are scaled."""
        return self.interpolation if self.published else "bilinear"

    def decode(self, source):
        """uint8 [3, N, N] of a file name or of the bytes of a file; errors are the decoder's own."""
        return self.fit(open_image(source)[0])

    def fit(self, image):
        """uint8 [3, N, N] of a Pillow image of any mode that `to_rgb` knows."""
        return np.ascontiguousarray(fit(to_rgb(image), self.image_size, self.resize, self.side, self.method))


@dataclass(frozen=True)
class Settled:
    """How the images of one set are brought to one size.

    Attributes:
        how: a `Preprocessing`; None: they stay as they are stored. size: (height, width) of all.
        words: for the record and the page. note: what a user should know of it, or None.
    """

    how: Preprocessing | None
    size: tuple[int, int]
    words: str
    note: str | None = None

    @property
    def facts(self):
        """For the record; what is as stored could be got by any `resize`."""
        facts = {"preprocessing": self.words}
        if self.how is None:
            return facts
        facts.update(resize=self.how.resize, interpolation=f"{self.how.method}, antialiased")
        return {**facts, **({} if self.how.side is None else {"resized_side": self.how.side})}

    def notes(self, smaller, count):
        """Sentences for the record of `count` images; `smaller`: (how many are smaller than the output, (height, width)
        of the smallest), or None."""
        found = [] if self.note is None else [self.note]
        if smaller:
            number, (height, width) = smaller
            found.append(
                f"{number} of {count} images are smaller than {min(self.size)} pixels (as {height}x{width}) and are"
                " enlarged"
            )
        return found


def settle(owner: str, resize: str, size: int | None, model: Any, sizes: Callable[[], set]) -> Settled:
    """How images get their size: as was asked; by "own" as the model was published with, where it says so.

    Where it does not, images of one size are taken as they are (squares are scaled as a whole where another size is
    wanted), and of others the shorter side is brought to `N*256//224` and the middle N x N cut out, as is usual for
    ImageNet.

    Args:
        owner: begins the sentence of what is missing. resize: "own", "squash" or "center-crop".
        size: N; None: the model's own, and without one the images', which must be equal.
        model: a `freqkit.models.Classifier`, or None.
        sizes: called when it matters; (height, width) of the images, one of each.

    Raises:
        UsageError: no size is known.
    """
    size = side_of(model) if size is None else size
    if resize != "own" and size is not None:
        how = Preprocessing(size, resize)
        return Settled(how, (size, size), f"{how.words}, as asked")
    if size is not None and (published := of_model(model, size)) is not None:
        return Settled(published, (size, size), f"{published.words}, as {model.name} was published")
    found = sorted(sizes()) or [(size or 1,) * 2]  # none can be read: that is for their reader to say
    if len(found) == 1:
        [(height, width)] = found
        if size is None or height == width == size:
            return Settled(None, (height, width), f"as stored, {height}x{width}")
        if height == width:
            how = Preprocessing(size, "own", size)
            return Settled(how, (size, size), f"all {height}x{width}, brought to {size}x{size} (bilinear)")
    if size is None:
        shown = " and ".join(f"{height}x{width}" for height, width in found[:2])
        raise UsageError(f"{owner}: image_size must be given for images of several sizes, such as {shown}.")
    how = Preprocessing(size, "center-crop")
    why = "no model is given whose transform could be taken"
    if model is not None:
        why = f"{getattr(model, 'name', 'the model')} does not say which transform it was published with"
    words = f"{how.words}, as is usual for ImageNet"
    return Settled(how, (size, size), words, f"{why}, so images get their {words}")


def side_of(model):
    """The model's own image side; None when it takes any, or is not square."""
    size = getattr(model, "input_size", None)
    return int(size[0]) if size is not None and size[0] == size[1] else None


def transform_of(model):
    """What a model says of how it was published, as `of_model` reads it: dict; {} when it says nothing."""
    config = getattr(model, "transform", None) or getattr(getattr(model, "network", None), "pretrained_cfg", None) or {}
    return {key: config.get(key) for key in ("crop_pct", "interpolation", "crop_mode") if config.get(key)}


def of_model(model, image_size):
    """The transform a model was published with, or None when the model does not say, or of no square crop.

    Args:
        model: a `freqkit.models.Classifier`; its `transform`, or its network's `pretrained_cfg` (timm) is read:
            `crop_pct` (side `floor(N / crop_pct)`), `interpolation`, and `crop_mode` ("center" or "squash").
        image_size: N.
    """
    config = transform_of(model)
    kinds = {None: "own", "center": "own", "squash": "own-squash"}
    kind = kinds.get(config.get("crop_mode"))
    if not config.get("crop_pct") or config.get("interpolation") not in INTERPOLATIONS or kind is None:
        return None
    side = max(image_size, math.floor(image_size / config["crop_pct"] + 1e-6))  # 224 / (224 / 232) may be below 232
    return Preprocessing(image_size, kind, side, config["interpolation"])
