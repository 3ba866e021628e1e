"""Corruptions of ImageNet-C made on the fly. They are *generated*: never the published images, never counted as them.

The severities are the published ones; the published trees were also stored as JPEG of quality 85, unlike these.
Corruptions that are simple and exact are computed on whole blocks of images; the others come from the package
`imagecorruptions` (pip install imagecorruptions-imaug). Noise is drawn anew for every image from (seed, name, severity,
image name), so the images do not depend on how they are batched.

Source: Hendrycks and Dietterich, ICLR 2019 (arXiv 1903.12261).
"""

import hashlib
import io
import threading

import numpy as np
import torch

from freqkit.data.test_sets.corrupted import BENCHMARK, EXTRA, SEVERITIES
from freqkit.errors import UsageError

PACKAGE = "imagecorruptions"
_LOCK = threading.Lock()  # the package draws from numpy's global generator


def corrupt(images, name, severity, names, *, seed=0):
    """Corrupt a block of images.

    Args:
        images: uint8 [n, 3, H, W].
        name: one of the 15 + 4 of ImageNet-C.
        severity: 1...5.
        names: n strings that tell the images apart; they and `seed` decide the noise.
        seed: integer.

    Returns:
        uint8 [n, 3, H, W]; values are cut to whole numbers as the published code does.

    Raises:
        UsageError: unknown name or severity, or one that needs a package that is not there.

    Example:
        >>> import torch
        >>> flat = torch.full((1, 3, 8, 8), 100, dtype=torch.uint8)
        >>> [corrupt(flat, name, 1, ["a"]).unique().tolist() for name in ("contrast", "brightness")]
        [[100], [125]]
    """
    check(name, severity)
    if not isinstance(images, torch.Tensor) or images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        came = f"{images.dtype} {list(images.shape)}" if isinstance(images, torch.Tensor) else type(images).__name__
        raise TypeError(f"corrupt: images must be uint8 [n, 3, H, W]; got {came}.")
    if len(names) != len(images):
        raise UsageError(f"corrupt: {len(images)} images need as many names; got {len(names)}.")
    level = severity - 1
    if name in _OURS:
        keys = [_key(seed, name, severity, each) for each in names]
        return _OURS[name](images, level, keys)
    return _by_package(images, name, severity, [_key(seed, name, severity, each) for each in names])


def check(name, severity=1):
    """Raise a `UsageError` when `corrupt` could not do it here."""
    if name not in (*BENCHMARK, *EXTRA):
        raise UsageError(f"corrupt: name must be one of {', '.join((*BENCHMARK, *EXTRA))}; got {name!r}.")
    if severity not in SEVERITIES:
        raise UsageError(f"corrupt: severity must be 1, 2, 3, 4 or 5; got {severity!r}.")
    if name not in _OURS:
        try:
            import imagecorruptions  # noqa: F401
        except ImportError as error:
            raise UsageError(
                f"generated {name} needs the package {PACKAGE} (pip install imagecorruptions-imaug); without it there "
                f"are {', '.join(_OURS)}."
            ) from error


def available():
    """Names that can be generated here: without the package those of this file, with it all 19."""
    try:
        import imagecorruptions  # noqa: F401
    except ImportError:
        return list(_OURS)
    return [*BENCHMARK, *EXTRA]


def _key(*parts):
    """A 63-bit number from anything."""
    return int.from_bytes(hashlib.sha256("\0".join(map(str, parts)).encode()).digest()[:8], "little") >> 1


def _by_package(images, name, severity, keys):
    from imagecorruptions import corrupt as apply

    done = torch.empty_like(images)
    for i, key in enumerate(keys):
        image = np.ascontiguousarray(images[i].permute(1, 2, 0).numpy())
        with _LOCK:
            state = np.random.get_state()  # noqa: NPY002
            try:
                np.random.seed(key % 2**32)  # noqa: NPY002
                result = apply(image, severity=severity, corruption_name=name)
            finally:
                np.random.set_state(state)  # noqa: NPY002
        done[i] = torch.from_numpy(np.ascontiguousarray(result.transpose(2, 0, 1)))
    return done


def _bytes(x):
    """[0, 1] to uint8, cut and not rounded, as the published code stores it."""
    return (x.clamp(0, 1) * 255).to(torch.uint8)


def _generators(keys):
    return [torch.Generator().manual_seed(key) for key in keys]


def _normal(images, keys):
    shape = images.shape[1:]
    return torch.stack([torch.randn(shape, generator=g, dtype=torch.float64) for g in _generators(keys)])


def gaussian_noise(images, level, keys):
    """x + N(0, c)."""
    scale = (0.08, 0.12, 0.18, 0.26, 0.38)[level]
    return _bytes(images.double() / 255 + scale * _normal(images, keys))


def speckle_noise(images, level, keys):
    """x + x N(0, c)."""
    scale = (0.15, 0.2, 0.35, 0.45, 0.6)[level]
    x = images.double() / 255
    return _bytes(x + x * scale * _normal(images, keys))


def shot_noise(images, level, keys):
    """Poisson(c x) / c."""
    photons = (60, 25, 12, 5, 3)[level]
    rate = images.double() / 255 * photons
    drawn = torch.stack([torch.poisson(own, generator=g) for own, g in zip(rate, _generators(keys), strict=True)])
    return _bytes(drawn / photons)


def impulse_noise(images, level, keys):
    """A share c of all values becomes 0 or 1, each with probability one half."""
    amount = (0.03, 0.06, 0.09, 0.17, 0.27)[level]
    x = images.double() / 255
    for own, generator in zip(x, _generators(keys), strict=True):
        hit = torch.rand(own.shape, generator=generator, dtype=torch.float64) < amount
        salt = torch.rand(own.shape, generator=generator, dtype=torch.float64) < 0.5
        own[hit] = salt[hit].double()
    return _bytes(x)


def contrast(images, level, keys):
    """(x - mean) c + mean, mean over the pixels of each channel."""
    factor = (0.4, 0.3, 0.2, 0.1, 0.05)[level]
    x = images.double() / 255
    mean = x.mean((2, 3), keepdim=True)
    # A flat image must stay as it is: rounding may not cost it a grey level.
    return _bytes(((x - mean) * factor + mean).mul(255).add(1e-9).div(255))


def brightness(images, level, keys):
    """V + c in HSV."""
    shift = (0.1, 0.2, 0.3, 0.4, 0.5)[level]
    return _bytes(_with_hsv(images, lambda h, s, v: (h, s, (v + shift).clamp(0, 1))))


def saturate(images, level, keys):
    """c S + d in HSV."""
    factor, shift = ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2))[level]
    return _bytes(_with_hsv(images, lambda h, s, v: (h, (s * factor + shift).clamp(0, 1), v)))


def _with_hsv(images, change):
    """RGB of what `change(h, s, v)` makes of images; hue in [0, 1), 0 where there is no colour, as in scikit-image."""
    x = images.double() / 255
    red, green, blue = x.unbind(1)
    value, spread = x.amax(1), x.amax(1) - x.amin(1)
    safe = spread.clamp_min(1e-300)
    hue = torch.where(red == value, (green - blue) / safe, torch.zeros_like(red))
    hue = torch.where(green == value, 2 + (blue - red) / safe, hue)
    hue = torch.where(blue == value, 4 + (red - green) / safe, hue)
    hue = torch.where(spread == 0, 0.0, (hue / 6) % 1)
    saturation = torch.where(spread == 0, 0.0, spread / value.clamp_min(1e-300))
    hue, saturation, value = change(hue, saturation, value)
    sector = (hue * 6).floor()
    f = hue * 6 - sector
    p, q, t = value * (1 - saturation), value * (1 - f * saturation), value * (1 - (1 - f) * saturation)
    choices = torch.stack(
        [
            torch.stack(three, 1)
            for three in ((value, t, p), (q, value, p), (p, value, t), (p, q, value), (t, p, value), (value, p, q))
        ]
    )  # [6, n, 3, H, W]
    index = (sector.long() % 6)[None, :, None].expand(1, -1, 3, -1, -1)
    return choices.gather(0, index)[0]


def gaussian_blur(images, level, keys):
    """Gaussian of sigma c pixels, cut at 4 sigma, edges repeated."""
    sigma = (1, 2, 3, 4, 6)[level]
    radius = int(4 * sigma + 0.5)
    weight = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, dtype=torch.float64) / sigma) ** 2)
    weight = (weight / weight.sum()).view(1, 1, -1, 1)
    x = (images.double() / 255).flatten(0, 1)[:, None]
    for kernel, side in ((weight, (0, 0, radius, radius)), (weight.mT, (radius, radius, 0, 0))):
        x = torch.nn.functional.conv2d(torch.nn.functional.pad(x, side, mode="replicate"), kernel)
    return _bytes(x.view(images.shape))


def pixelate(images, level, keys):
    """Shrunk to a share c of the side with a box filter, then enlarged with one, by Pillow."""
    from PIL import Image

    share = (0.6, 0.5, 0.4, 0.3, 0.25)[level]
    height, width = images.shape[2:]

    def one(image):
        small = image.resize((int(width * share), int(height * share)), Image.Resampling.BOX)
        return small.resize((width, height), Image.Resampling.BOX)

    return _by_pillow(images, one)


def jpeg_compression(images, level, keys):
    """Stored as JPEG of quality c by Pillow, and read again."""
    from PIL import Image

    quality = (25, 18, 15, 10, 7)[level]

    def one(image):
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file)

    return _by_pillow(images, one)


def _by_pillow(images, change):
    from PIL import Image

    done = torch.empty_like(images)
    for i, image in enumerate(images):
        changed = change(Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).numpy())))
        done[i] = torch.from_numpy(np.ascontiguousarray(np.asarray(changed).transpose(2, 0, 1)))
    return done


_OURS = {
    each.__name__: each
    for each in (
        gaussian_noise, shot_noise, impulse_noise, speckle_noise, brightness, contrast, saturate, gaussian_blur,
        pixelate, jpeg_compression,
    )
}  # fmt: skip
