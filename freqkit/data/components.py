"""Low- and high-frequency components of images, in the encodings that published work gives them.

Sources: Wang, Wu, Huang, Xing, CVPR 2020 (arXiv 1905.13545); Lin, Gao, Sang, IJCAI 2022 (arXiv 2205.03154).
"""

import os
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from freqkit.data.arrays import lines_of, names_for_lines
from freqkit.data.folder import fill_image_folder, new_folder
from freqkit.data.image_set import ImageSet
from freqkit.errors import UsageError
from freqkit.masks.shapes import disc
from freqkit.ops import spectral_filter, spectrum
from freqkit.registry import ENCODINGS

__all__ = ["ENCODINGS", "SIDES", "component_blocks", "components", "encode", "side_mask", "write_components"]

SIDES = ("low", "high")
BOUNDARIES = ("strict", "inclusive")
BLOCK = 1 << 22  # values of a block of images


def components(
    images: ImageSet | torch.Tensor | np.ndarray,
    r: float,
    side: str = "low",
    *,
    encoding: str = "raw",
    boundary: str = "strict",
) -> torch.Tensor:
    """The part of every image below a radius, or from it on.

    Of each channel, x_low = Re IDFT2(m DFT2(x)) with m = 1 where d < r, d the distance of a frequency from DC in
    cycles/image (`freqkit.masks.radius`), and x_high = x - x_low. DC belongs to the low part.

    Args:
        images: an `ImageSet`, uint8 [n, C, H, W] (taken as [0, 1]) or floats [n, C, H, W].
        r: radius of the split.
        side: "low" or "high".
        encoding: what is made of the component. "raw": nothing (the high part has both signs and mean 0);
            "maxnorm": each image over its largest value, where that is above 0; "minmax": each channel of each image
            to [0, 1] (one that is even becomes 0); "uint8wrap": 255 x, cut to an integer and taken modulo 256, as a
            plain cast of signed numbers does.
        boundary: "strict" (d < r is low) or "inclusive" (d <= r).

    Returns:
        float32 (float64 of float64) of the images' shape; uint8 for "uint8wrap".

    Raises:
        UsageError: a name that is none of these; a side that no frequency is in; images of another shape or dtype.

    Example:
        >>> x = torch.rand(2, 3, 9, 12)
        >>> low, high = (components(x, 3, side) for side in ("low", "high"))
        >>> bool((low + high - x).abs().max() < 1e-6), bool(high.mean().abs() < 1e-6)
        (True, True)
    """
    x = _pixels(images, "components")
    out = torch.empty(x.shape, dtype=torch.uint8 if encoding == "uint8wrap" else _floats(x.dtype))
    for _, _, part, made in component_blocks(x, [r], (side,), encoding=encoding, boundary=boundary):
        out[part] = made
    return out


def component_blocks(
    images: ImageSet | torch.Tensor | np.ndarray,
    radii: Sequence[float],
    sides: Sequence[str] = SIDES,
    *,
    encoding: str = "raw",
    boundary: str = "strict",
) -> Iterator[tuple[float, str, slice, torch.Tensor]]:
    """The components of `components` at several radii, some images at a time, with one transform of each image.

    Yields:
        (r, side, images, component): `images` the slice of the set that `component` is of.

    Example:
        >>> found = component_blocks(torch.rand(2, 3, 8, 8), [2, 3], ["high"])
        >>> [(r, side, tuple(made.shape)) for r, side, _, made in found]
        [(2, 'high', (2, 3, 8, 8)), (3, 'high', (2, 3, 8, 8))]
    """
    x = _pixels(images, "components")
    size = tuple(x.shape[-2:])
    for side in sides:
        for r in radii:
            side_mask(size, r, side, boundary)
    if encoding not in ENCODINGS:
        raise UsageError(f"components: encoding must be one of {', '.join(ENCODINGS)}; got {encoding!r}.")
    low = torch.stack([side_mask(size, r, "low", boundary, layout="torch", empty=True) for r in radii])
    step = max(1, BLOCK // max(1, x[:1].numel()))
    for start in range(0, len(x), step):
        part = slice(start, min(start + step, len(x)))
        block = x[part].float().div_(255) if x.dtype == torch.uint8 else x[part].to(_floats(x.dtype))
        transformed = spectrum(block)
        for r, mask in zip(radii, low.to(block.dtype), strict=True):
            below = spectral_filter(transformed, mask[None])[0]
            for side in sides:
                yield r, side, part, encode(below if side == "low" else block - below, encoding)


def side_mask(
    size: tuple[int, int],
    r: float,
    side: str,
    boundary: str = "strict",
    *,
    layout: str = "centred",
    empty: bool = False,
) -> torch.Tensor:
    """The frequencies of a side, float32 [H, W] of 0 and 1.

    Args:
        size, r, side, boundary: see `components`. layout: see `freqkit.masks.disc`.
        empty: whether a side without a frequency is let through.

    Raises:
        UsageError: an argument does not fit, or no frequency is on the side.

    Example:
        >>> int(side_mask((32, 32), 12, "low").sum()), int(side_mask((32, 32), 12, "low", "inclusive").sum())
        (437, 441)
    """
    for name, value, known in (("side", side, SIDES), ("boundary", boundary, BOUNDARIES)):
        if value not in known:
            raise UsageError(f"components: {name} must be one of {', '.join(known)}; got {value!r}.")
    if isinstance(r, bool) or not isinstance(r, (int, float)) or not 0 <= r < float("inf"):
        raise UsageError(f"components: r must be a number of cycles/image from 0 on; got {r!r}.")
    mask = disc(size, float(r), inclusive=boundary == "inclusive", layout=layout)
    mask = mask if side == "low" else 1 - mask
    if not empty and not mask.any():
        far = float(max(size) ** 2 + min(size) ** 2) ** 0.5 / 2
        raise UsageError(
            f"components: there must be a frequency on the {side} side; at r = {r} of {size[0]}x{size[1]} pixels "
            f"there is none (r = 0 leaves nothing below, and no frequency is farther than {far:.1f})."
        )
    return mask


def encode(component: torch.Tensor, encoding: str) -> torch.Tensor:
    """A component [n, C, H, W] in one of `ENCODINGS`; see `components`.

    Example:
        >>> encode(torch.tensor([[[[-0.5, 0.25]]]]), "minmax").flatten().tolist()
        [0.0, 1.0]
        >>> encode(torch.tensor([[[[-1 / 255, 2 / 255]]]]), "uint8wrap").flatten().tolist()
        [255, 2]
    """
    if encoding == "maxnorm":
        largest = component.amax((1, 2, 3), keepdim=True)
        return component / torch.where(largest > 0, largest, 1)
    if encoding == "minmax":
        least, most = component.amin((2, 3), keepdim=True), component.amax((2, 3), keepdim=True)
        return (component - least) / torch.where(most > least, most - least, 1)
    if encoding == "uint8wrap":
        levels, whole = 255 * component, (255 * component).round()
        # What the transform's rounding took from a whole number is no part of it.
        return torch.where((levels - whole).abs() < 2**-10, whole, levels.trunc()).remainder(256).to(torch.uint8)
    return component


def _floats(dtype):
    return torch.float64 if dtype == torch.float64 else torch.float32


def _pixels(images, owner):
    x = images.images if isinstance(images, ImageSet) else torch.as_tensor(images)
    if x.ndim != 4 or not x.numel() or not (x.dtype == torch.uint8 or x.is_floating_point()):
        raise UsageError(
            f"{owner}: images must be an ImageSet, or uint8 or floats [n, C, H, W] with n of 1 at least; got {x.dtype} "
            f"{list(x.shape)}."
        )
    return x


def write_components(
    images: ImageSet,
    root: str | os.PathLike,
    radii: Sequence[float],
    sides: Sequence[str] = SIDES,
    *,
    encoding: str = "raw",
    boundary: str = "strict",
    kind: str = "npy",
    part: str = "train",
) -> list[dict]:
    """Write components into a new or empty folder, a block of images at a time.

    "npy": `{part}_data_{side}_{r}.npy`, [n, H, W, 3], float32 in the scale of [0, 1] or (of "uint8wrap") uint8, with
    `{part}_label.npy` and classes.txt. "folder": `{side}_{r}/class/file.png`, values rounded and clipped to bytes.

    Returns:
        For each component its name, the number of frequencies that it keeps and (of folders) the share of values that
        were clipped.

    Raises:
        UsageError: see `components`; the folder is not empty; the signed high side as pictures.
    """
    if kind == "folder" and "high" in sides and encoding in ("raw", "maxnorm"):
        raise UsageError(
            f"components: pictures of the high side need encoding minmax or uint8wrap, for half of its values are "
            f"below 0; got {encoding}."
        )
    facts = {
        (r, side): {"name": f"{side}_{r:g}", "frequencies": int(side_mask(_size(images), r, side, boundary).sum()),
                    "clipped": 0.0}
        for r in radii for side in sides
    }  # fmt: skip
    count, (height, width) = len(images), _size(images)
    with new_folder(root, "components") as folder:
        targets = {}
        if kind == "npy":
            kept = np.uint8 if encoding == "uint8wrap" else np.float32
            for key, one in facts.items():
                name, shape = f"{part}_data_{one['name']}.npy", (count, height, width, 3)
                targets[key] = np.lib.format.open_memmap(folder / name, "w+", kept, shape)
            np.save(folder / f"{part}_label.npy", images.labels.numpy(), allow_pickle=False)
            (folder / "classes.txt").write_text(lines_of(names_for_lines(images.classes, "components")), "utf-8")
        for r, side, some, made in component_blocks(images, radii, sides, encoding=encoding, boundary=boundary):
            if kind == "npy":
                targets[r, side][some] = made.permute(0, 2, 3, 1).numpy()
                continue
            if made.dtype != torch.uint8:
                wild = ((made < 0) | (made > 1)).double().mean().item()
                facts[r, side]["clipped"] += wild * (some.stop - some.start) / count
                made = (made * 255).round().clamp(0, 255).to(torch.uint8)
            block = ImageSet(made, images.labels[some], images.classes, images.paths[some])
            fill_image_folder(block, folder / facts[r, side]["name"])
        for target in targets.values():
            target.flush()
    return list(facts.values())


def _size(images):
    return tuple(images.images.shape[-2:])
