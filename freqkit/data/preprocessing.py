"""How a file becomes a square of pixels, on record and in one place."""

import math
from dataclasses import asdict, dataclass

import numpy as np

from freqkit.data.pictures import crop_side, fit, open_image, to_rgb
from freqkit.errors import UsageError

RESIZES = ("squash", "center-crop", "own")
INTERPOLATIONS = ("bilinear", "bicubic")


@dataclass(frozen=True)
class Preprocessing:
    """Decode, resize, crop; the same for every set of an evaluation.

    Args:
        image_size: N, the side of the square output.
        resize: "squash": both sides to N; "center-crop": shorter side to `resized_side`, `N*256//224` when it is not
            given, then the middle N x N, black where it is larger; both bilinear, as `load_images` does; "own":
            shorter side to `resized_side` by `interpolation`, then the middle (a model's published transform, see
            `of_model`).
        resized_side: for "own" and "center-crop". The released evaluation scripts of HFSS resize to 256 whatever N is
            and cut out N: `Preprocessing(N, "center-crop", 256)`. Away from 224 that is another part of the image, a
            sixteenth of its area and less at N = 64; the default keeps the part, 7/8 of the shorter side.
        interpolation: for "own".

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
        if self.resize == "own" and (self.resized_side is None or self.resized_side < self.image_size):
            raise UsageError(
                f"preprocessing: 'own' needs resized_side >= image_size={self.image_size}; got {self.resized_side}."
            )

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

    def decode(self, source):
        """uint8 [3, N, N] of a file name or of the bytes of a file; errors are the decoder's own."""
        return self.fit(open_image(source)[0])

    def fit(self, image):
        """uint8 [3, N, N] of a Pillow image of any mode that `to_rgb` knows."""
        interpolation = self.interpolation if self.resize == "own" else "bilinear"
        return np.ascontiguousarray(fit(to_rgb(image), self.image_size, self.resize, self.side, interpolation))


def of_model(model, image_size):
    """The transform a timm model was published with, or None when the model does not say.

    Args:
        model: a `freqkit.models.Classifier`; its network's `pretrained_cfg` (timm) is read: `crop_pct` (shorter side
            `floor(N / crop_pct)`), `interpolation`.
        image_size: N.
    """
    config = getattr(model, "transform", None) or getattr(model.network, "pretrained_cfg", None) or {}
    if not config.get("crop_pct") or config.get("interpolation") not in INTERPOLATIONS:
        return None
    side = max(image_size, math.floor(image_size / config["crop_pct"]))
    return Preprocessing(image_size, "own", side, config["interpolation"])
