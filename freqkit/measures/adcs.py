"""Average discrepancy of class spectra (ADCS): at which frequencies a class has more energy than the others.

Source: Wang, Veldhuis, Brune, Strisciuglio, "What do neural networks learn in image classification? A
frequency shortcut perspective", ICCV 2023 (arXiv 2307.09829).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from freqkit.data import Images, as_images
from freqkit.data.cache import has_read
from freqkit.engine import Progress, Silent, ranks
from freqkit.errors import UsageError
from freqkit.files.reading import in_range
from freqkit.files.whole import RECORD
from freqkit.measures.printed import Printed
from freqkit.models.classifier import channel_triple
from freqkit.models.normalisation import scale_fault
from freqkit.ops import spectrum
from freqkit.options import Options, flat, option
from freqkit.report import figures
from freqkit.report.blocks import Cell, Part, Section, Table
from freqkit.report.inline import drawing
from freqkit.report.pages import files_of, part
from freqkit.report.planes import index_of, on_axis, plane_maps
from freqkit.report.provenance import provenance_rows
from freqkit.report.sections import gallery
from freqkit.report.svg import signed
from freqkit.results import rows
from freqkit.results.result import Result, TensorFile, versions
from freqkit.text import shorten

__all__ = ["AdcsResult", "ClassSpectra", "adcs"]
PRESETS = ("default", "iccv2023")
CHANNELS = ("grey", "mean", "per")
# Weights of R, G, B in one map; the first are those of the published code.
WEIGHTS = {"grey": (0.2989, 0.5870, 0.1140), "mean": (1 / 3, 1 / 3, 1 / 3)}
# Of the ten ImageNet classes of the paper, in [0, 1].
PUBLISHED_MEAN, PUBLISHED_STD = (0.479838, 0.470448, 0.429404), (0.258143, 0.252662, 0.272406)
PUBLISHED_ZERO = 1.2e-11  # what the published code puts in place of an exact zero of an image's spectrum
FORMAT = "freqkit-adcs-1"
BANDS = 4  # radial bands of the table
FEW = 50  # images of a class below which its mean spectrum is that of these images
AT_ONCE = 2  # images transformed at once: what they take stays in the cache, and needs no fresh pages
CHUNK_NUMBERS = 1 << 19  # values ranked at once: they stay in the cache, temporaries below 20 MB


class ClassSpectra:
    """Sums of |DFT| per class, added up in one pass over the images.

    Args:
        classes: C names.
        size: (H, W).
        channel: "grey" or "mean": the channels' magnitudes become one weighted sum; "per": they stay three.
        mean, std: three numbers each; the spectra are those of (x - mean)/std. None: of x in [0, 1].
        dtype: torch.float32 or torch.float64, in which images are transformed. Sums are float64 in any case.
        zero: what is added for a frequency and channel that an image does not have at all, in place of 0.

    Attributes:
        sums: float64 [C, P, H//2+1, W], P = 3 for "per", else 1; DC at [0, 0]. The other rows follow by
            |X(-f)| = |X(f)|. For 1,000 classes at 224 and one channel these are 202 MB.
        counts: int64 [C], images seen.

    Example:
        >>> import torch
        >>> spectra = ClassSpectra(["a", "b"], (8, 8), channel="mean")
        >>> spectra.add(torch.full((2, 3, 8, 8), 255, dtype=torch.uint8), torch.tensor([0, 1]))
        >>> spectra.sums[:, 0, 0, 0].tolist(), spectra.counts.tolist()
        ([64.0, 64.0], [1, 1])
    """

    def __init__(self, classes, size, *, channel="grey", mean=None, std=None, dtype=torch.float32, zero=0.0):
        if channel not in CHANNELS:
            raise UsageError(f"adcs: channel must be one of {', '.join(CHANNELS)}; got {channel!r}.")
        if (mean is None) != (std is None):
            raise UsageError("adcs: mean and std must be given together; got only one of them.")
        if mean is not None:
            triples = (channel_triple(values, name, "adcs") for values, name in ((mean, "mean"), (std, "std")))
            if (fault := scale_fault(*triples)) is not None:
                raise UsageError(f"adcs: {fault}.")
        if dtype not in (torch.float32, torch.float64):
            raise UsageError(f"adcs: dtype must be torch.float32 or torch.float64; got {dtype}.")
        self.classes, self.size, self.channel = list(classes), tuple(size), channel
        self.mean, self.std, self.dtype, self.zero = mean, std, dtype, float(zero)
        if self.zero and channel != "per":
            raise UsageError(f"adcs: zero counts for single channels; give channel 'per', not {channel!r}.")
        height, width = self.size
        planes = 3 if channel == "per" else 1
        self.sums = torch.zeros(len(self.classes), planes, height // 2 + 1, width, dtype=torch.float64)
        self.counts = torch.zeros(len(self.classes), dtype=torch.int64)

    def add(self, images, labels):
        """Add images uint8 [n, 3, H, W] (or floats in [0, 1]) with labels int64 [n]."""
        if images.ndim != 4 or tuple(images.shape[1:]) != (3, *self.size):
            raise UsageError(
                f"adcs: images must have shape [n, 3, {self.size[0]}, {self.size[1]}]; got {list(images.shape)}."
            )
        if len(labels) != len(images):
            raise UsageError(f"adcs: {len(images)} images need as many labels; got {len(labels)}.")
        if len(labels) == 0:
            return
        if labels.min() < 0 or labels.max() >= len(self.classes):
            raise UsageError(
                f"adcs: labels must lie in 0..{len(self.classes) - 1}; got {int(labels.min())}..{int(labels.max())}."
            )
        if (labels[1:] < labels[:-1]).any():
            labels, order = labels.sort(stable=True)
            images = images[order]
        bounds = [0, *torch.bincount(labels, minlength=len(self.classes)).cumsum(0).tolist()]
        scale = 255 if images.dtype == torch.uint8 else 1
        mean, std = (None, [scale] * 3) if self.mean is None else (self.mean, self.std)
        if self.mean is not None:
            mean, std = ([scale * float(v) for v in values] for values in (mean, std))
        for label in labels.unique().tolist():
            own = images[bounds[label] : bounds[label + 1]]
            for some in own.chunk(-(-len(own) // AT_ONCE)):
                transformed = spectrum(some.to(self.dtype), mean=mean, std=std)
                if self.zero:
                    each = transformed.magnitude().double()
                    for image in each.masked_fill_(each == 0, self.zero):
                        self.sums[label] += image
                else:
                    self.sums[label] += transformed.magnitude(total=True, weights=WEIGHTS.get(self.channel))
        self.counts += torch.bincount(labels, minlength=len(self.classes))


@dataclass
class AdcsResult(Result):
    """ADCS maps of C classes.

    Attributes:
        maps: int16 (int32 from 32,000 classes on) [C, H, W], or [C, 3, H, W] for channel "per"; centred (DC
            at `[H//2, W//2]`). By the formula in -(C-1)..C-1; "iccv2023": -C..C-2.
        classes: C names.
        counts: int64 [C], images of each class.
        definition: dict: preset, channel, formula, layout, and the normalisation of the images.
        record: dict: images, fingerprint, versions, dtypes.
    """

    maps: torch.Tensor
    classes: list
    counts: torch.Tensor
    definition: dict
    record: dict = field(default_factory=dict)

    FILE = TensorFile(
        FORMAT, "an ADCS file", {"maps": "int16|int32 *", "counts": "int64 C"},
        {
            "classes": [str], "definition": dict.fromkeys(("channel", "preset", "formula", "energy"), str),
            "record": RECORD,
        },
        more={"layout": "centred"},
    )  # fmt: skip
    COLUMNS = ("class", "images", "mean", "least", "most", *(f"band {b + 1}" for b in range(BANDS)))
    CSV = False
    FIGURE = "plot_adcs"
    MAIN = ("highest", "mean")

    @property
    def share(self):
        """float32, `maps` as a share of the largest value C-1, to compare sets of different class counts."""
        return self.maps.float() / max(1, len(self.classes) - 1)

    def radial(self):
        """Mean of each class's map over rings of one cycle/image.

        Returns:
            (radius, values): float64 [R], ring r holds the bins with r - 1/2 <= |f| < r + 1/2 (for sides that
            differ see `freqkit.masks.radius`); float64 [C, R], or [C, 3, R].

        Example:
            >>> import torch
            >>> flat = AdcsResult(torch.ones(2, 8, 8, dtype=torch.int16), ["a", "b"], torch.ones(2), {})
            >>> flat.radial()[1].unique().tolist()
            [1.0]
        """
        from freqkit.masks import radius

        ring = (radius(tuple(self.maps.shape[-2:])) + 0.5).floor().long().flatten()
        rings = int(ring.max()) + 1
        values = torch.zeros(*self.maps.shape[:-2], rings, dtype=torch.float64)
        values.index_add_(-1, ring, self.maps.flatten(-2).double())
        return torch.arange(rings, dtype=torch.float64), values / torch.bincount(ring, minlength=rings)

    def cells(self):
        """One line per class: class, images, mean, least, most, and the mean over four radial bands of equal
        width up to half the shorter side, the last with the corners ("band 1" holds DC)."""
        from freqkit.masks import radius

        size = tuple(self.maps.shape[-2:])
        band = (radius(size) / (min(size) / 2 / BANDS)).long().clamp_max(BANDS - 1)
        planes = self.maps.double()
        bands = [[plane[..., band == b].mean().item() for plane in planes] for b in range(BANDS)]
        least, most = (pick(planes.flatten(1), 1).long() for pick in (torch.amin, torch.amax))
        return [self.classes, self.counts, [plane.mean().item() for plane in planes], least, most, *bands]

    def rows(self):
        """The mean of each map over rings of one cycle/image, and (radius None) over the plane."""
        about = rows.of_record(self.record, definition=self.definition.get("formula", ""))
        about["set"] = about["set"] or rows.of_record({"data": self.record})["set"]
        planes = self.maps.unsqueeze(1) if self.maps.ndim == 3 else self.maps
        radii, rings = self.radial()
        found = []
        for k, (plane, ring) in enumerate(zip(planes.unbind(1), rings.view(len(planes), -1, len(radii)).unbind(1),
                                              strict=True)):  # fmt: skip
            where = about if self.maps.ndim == 3 else {**about, "condition": f"channel {'RGB'[k]}"}
            found += rows.values(self.classes, "ADCS", plane.double().mean((1, 2)), self.counts, **where)
            for r, column in zip(radii.tolist(), ring.T, strict=True):
                found += rows.values(self.classes, "ADCS", column, self.counts, radius=r, **where)
        return found

    def cautions(self):
        """What speaks against reading the maps as statements of the classes: a list of sentences.

        The sign of a difference of means has no interval that the sums kept here could give: that would take the
        spread over images at every frequency. What can be said is how few images there are.
        """
        fewest = int(self.counts.min())
        if fewest >= FEW:
            return []
        return [
            f"These are ranks of means over as few as {fewest} image{'s' * (fewest != 1)} of a class, and no interval"
            " can be given: they describe these images. Other images of the classes may well give another order; take"
            f" {FEW} of each at least before concluding anything of the classes."
        ]

    @classmethod
    def checked(cls, values, path):
        maps, classes = values["maps"], len(values["classes"])
        shape = list(maps.shape)
        if len(shape) not in (3, 4) or shape[0] != classes or 0 in shape or shape[1:-2] not in ([], [3]):
            raise UsageError(f"{path}: maps must have shape [C, H, W] or [C, 3, H, W] with C={classes}; got {shape}.")
        in_range(maps, -classes, classes, path, "maps")
        in_range(values["counts"], 0, 2**53, path, "counts")
        return values


@dataclass(frozen=True, kw_only=True)
class Comparing(Options):
    """What `adcs` is asked."""

    classes: Sequence[str] | None = option(None, "C names, for batches", flag=False)
    preset: str = option("default", "default: the formula; iccv2023: the published code", choices=PRESETS)
    channel: str = option(
        "grey", "grey or mean: one map from the weighted sum of the channels' magnitudes; per: a map for each channel. "
        "iccv2023 is grey", choices=CHANNELS, help="one map from weighted or averaged channels, or one for each",
    )  # fmt: skip
    mean: Sequence[float] | None = option(
        None, "three numbers, normalisation before the transform; None: images in [0, 1]. It moves DC",
        metavar="R,G,B", kind="triple",
        help="normalise the images first.  [default: not at all]",
    )  # fmt: skip
    std: Sequence[float] | None = option(
        None,
        "three numbers; goes with `mean`, scales channels by 1/std",
        metavar="R,G,B",
        kind="triple",
        help="goes with --mean",
    )
    dtype: torch.dtype = option(
        torch.float32,
        "torch.float32 or torch.float64, of the transforms; sums and comparisons are float64",
        switch=("double", torch.float64),
        help="transform in float64",
    )
    batch_size: int = option(
        64, "images read at once, for an `ImageSet`, whose classes ranks share", least=1, must="a positive integer",
        flag=False,
    )  # fmt: skip

    def check(self, owner):
        if self.preset == "iccv2023" and self.channel != "grey":
            raise UsageError(f"{owner}: the published code knows channel 'grey' alone; got {self.channel!r}.")
        if self.preset == "iccv2023" and self.mean is None and self.std is None:
            return replace(self, mean=PUBLISHED_MEAN, std=PUBLISHED_STD)
        return self


@flat
def adcs(
    images: Images,
    own: Comparing,
    *,
    progress: Progress | None = None,
) -> AdcsResult:
    """At every frequency, how many classes have less energy than a class, minus how many have more.

    `ADCS_c(f) = sum over j != c of sign(E_c(f) - E_j(f))` with E_c(f) the mean of |DFT| over the images of
    class c, and sign(0) = 0. The classes are ranked at each frequency, which takes O(C log C) comparisons and
    not C².

    "iccv2023" is what the published code computes: sums in place of means (classes of more images win); exact
    zeros of every single image's spectrum replaced by 1.2e-11 before they are summed, so that of two classes
    without a frequency the one of more images has more of it (which values are exactly zero depends on the
    rounding of the transform; the published code transforms in float64); the difference of two spectra turned grey
    (0.2989, 0.5870, 0.1140) before its sign; -1 where that is not positive; and the class's comparison with
    itself included: without ties one less than the formula gives. Images are normalised by the paper's mean and
    std unless others are given.

    Args:
        images: what `freqkit.data.as_images` takes; or, with `classes`, an iterable of batches (uint8 [n, 3, H, W],
            int64 labels [n]), so that no more than a batch is ever in memory. Every class needs an image.
        progress: a `freqkit.engine.Progress`, for an `ImageSet`.

    Returns:
        `AdcsResult`. Memory: sums float64 [C, P, H//2+1, W] with P = 1 (3 for "per" and "iccv2023"), and maps
        int16; for 1,000 classes at 224 and P = 1 202 MB and 100 MB.

    Raises:
        UsageError: an argument does not fit, a class has no image, or there are fewer than two classes.

    Example:
        >>> from freqkit.data import synthetic
        >>> result = adcs(synthetic(1, images_per_class=5))
        >>> result.maps.shape, int(result.maps.max())
        (torch.Size([4, 32, 32]), 3)
    """
    published, classes = own.preset == "iccv2023", own.classes
    images = as_images(images, "adcs") if classes is None else images
    whole = hasattr(images, "images")
    if whole and classes is not None:
        raise UsageError("adcs: classes must be given with batches only; an image set has its own.")
    how = {"channel": "per" if published else own.channel, "mean": own.mean, "std": own.std, "dtype": own.dtype}
    if published:
        how["zero"] = PUBLISHED_ZERO
    if whole and len(images):
        spectra = _of_classes(images, own.batch_size, how, progress or Silent())
    else:
        spectra = None
        for pixels, labels in () if whole else images:
            spectra = spectra or ClassSpectra(classes, pixels.shape[-2:], **how)
            spectra.add(pixels, torch.as_tensor(labels))
    if spectra is None:
        raise UsageError("adcs: images must hold at least one image; got none.")
    return _compare(spectra, own.channel, own.preset, {} if not whole else dict(images.record))


SHARED = True  # ranks share its work
HELP = """At every frequency, how many classes have less energy than a class, minus how many have more.

Needs images alone, no model. --image-size must be given.

\b
freqkit adcs --data imagenet10/val --image-size 224 --out adcs.safetensors
"""


def printed(result: AdcsResult) -> Printed:
    """What `freqkit adcs` prints: the mean of every class's map, whole and in four bands."""
    rows, cautions = result.table(), result.cautions()
    bands = [name for name in rows[0] if name.startswith("band")]
    forms = {"class": "text", "images": "count", "mean": "number", "least": "count", "most": "count"}
    columns = [*forms.items(), *((name, "number") for name in bands)]
    return Printed(
        {"classes": rows, "cautions": cautions, "definition": result.definition, "record": result.record},
        columns,
        [[row[name] for name, _ in columns] for row in rows],
        "Classes with less energy at a frequency, minus classes with more: mean over the plane and four bands",
        "bands: quarters of half the image side, from low to high frequencies; the last with the corners",
        cautions=cautions,
    )


def _of_classes(images, batch_size, how, progress):
    """The spectra of an image set, class by class, so that ranks can share them and get the bits of one; the sums on
    rank 0 alone."""
    size = tuple(images.images.shape[-2:])
    spectra = ClassSpectra(images.classes, size, **how)
    spectra.counts += images.counts
    members = images.labels.argsort(stable=True).split(images.counts.tolist())

    def sums(label):
        own = ClassSpectra([images.classes[label]], size, **how)
        for some in members[label].split(batch_size):
            own.add(images.images[some], torch.zeros(len(some), dtype=torch.int64))
            has_read(images.images, some)
        return {"sums": own.sums[0].numpy()}

    tiles = [(f"class-{label}", len(own), label) for label, own in enumerate(members)]
    progress.start("spectra", len(images), "images")
    try:
        for label, found, _ in ranks.share(tiles, sums, journal=None, progress=progress, check=None):
            spectra.sums[label] = torch.from_numpy(np.array(found["sums"]))
    finally:
        progress.finish()
    return spectra


def _compare(spectra, channel, preset, data):
    published, classes = preset == "iccv2023", spectra.classes
    if len(classes) < 2:
        raise UsageError(f"adcs: at least two classes must be compared; got {classes}.")
    empty = [name for name, count in zip(classes, spectra.counts.tolist(), strict=True) if count == 0]
    if empty:
        raise UsageError(f"adcs: every class must have an image; none of {', '.join(empty[:5])}.")
    group = ranks.current()
    half = {"half": _half_maps(spectra, published)} if group.first else None
    half = np.array(group.agree_arrays(half)["half"])
    maps = centred_plane(torch.from_numpy(half), spectra.size[0])
    definition = {
        "quantity": "ADCS",
        "preset": preset,
        "formula": "2 #{j: E_c > E_j} - C" if published else "sum over j != c of sign(E_c - E_j), sign(0) = 0",
        "energy": f"{'sum' if published else 'mean'} of |DFT| over the class's images",
        "channel": channel,
        "weights": list(WEIGHTS[channel]) if channel in WEIGHTS else None,
        "mean": None if spectra.mean is None else [float(v) for v in spectra.mean],
        "std": None if spectra.std is None else [float(v) for v in spectra.std],
        "layout": "centred",
    }
    record = {
        "images": int(spectra.counts.sum()),
        "data": data,
        "transform_dtype": str(spectra.dtype).removeprefix("torch."),
        "sum_dtype": "float64",
        "versions": versions(),
    }
    return AdcsResult(maps if channel == "per" else maps[:, 0], classes, spectra.counts, definition, record)


def _half_maps(spectra, published):
    """Maps of the half plane that `ClassSpectra` keeps: integers [C, P, H//2+1, W]."""
    energy = spectra.sums.numpy()
    if published:
        energy = np.einsum("p,cphw->chw", WEIGHTS["grey"], energy)[:, None]
    else:
        energy = energy / spectra.counts.numpy()[:, None, None, None]
    return _ranked(energy.reshape(len(energy), -1), published).reshape(energy.shape)


def _ranked(energy, published):
    """Per column of float64 [C, bins]: below - above, (published) 2 below - C; integers of that shape."""
    classes, bins = energy.shape
    result = np.empty((classes, bins), np.int16 if classes < 32_000 else np.int32)
    step = max(1, CHUNK_NUMBERS // classes)
    low = np.int64((1 << max(1, (classes - 1).bit_length())) - 1)
    for start in range(0, bins, step):
        values = np.ascontiguousarray(energy[:, start : start + step].T)
        # Energies are not negative, so that their bits order as integers do. With the class in place of the lowest
        # bits one plain sort gives the order, which is several times as fast as sorting indices.
        keys = (values + 0.0).view(np.int64)  # + 0.0: minus zero is zero
        keys &= ~low
        keys |= np.arange(classes)
        keys.sort(axis=1)
        order = keys & low
        keys &= ~low
        ranked = np.empty(values.shape, result.dtype)
        place = 2 * np.arange(classes) - (classes if published else classes - 1)
        np.put_along_axis(ranked, order, np.broadcast_to(place.astype(result.dtype), order.shape), 1)
        close = (keys[:, 1:] == keys[:, :-1]).any(1)
        if close.any():
            ranked[close] = _ranked_with_ties(values[close], published)
        result[:, start : start + step] = ranked.T
    return result


def _ranked_with_ties(values, published):
    """The same for rows of [bins, C] in which some values may be equal."""
    classes = values.shape[1]
    order = np.argsort(values, axis=1)
    values = np.take_along_axis(values, order, 1)
    place = np.arange(classes, dtype=np.int32)
    new = values[:, 1:] != values[:, :-1]
    # Where a run of equal values begins and ends: all of it has as many below, and as many above.
    begin = np.zeros(values.shape, np.int32)
    begin[:, 1:] = np.where(new, place[1:], 0)
    begin = np.maximum.accumulate(begin, axis=1)
    end = np.full(values.shape, classes - 1, np.int32)
    end[:, :-1] = np.where(new, place[:-1], classes - 1)
    end = np.minimum.accumulate(end[:, ::-1], axis=1)[:, ::-1]
    value = 2 * begin - classes if published else begin + end - (classes - 1)
    ranked = np.empty(values.shape, np.int16 if classes < 32_000 else np.int32)
    np.put_along_axis(ranked, order, value.astype(ranked.dtype), 1)
    return ranked


def centred_plane(half, height):
    """The whole centred plane [..., H, W] of values equal at f and -f, from the rows 0..H//2 [..., H//2+1, W]
    in torch's layout.

    Example:
        >>> import torch
        >>> x = torch.rand(5, 6)
        >>> whole = torch.fft.fft2(x).abs()
        >>> torch.allclose(centred_plane(whole[:3], 5), torch.fft.fftshift(whole), atol=1e-5)
        True
    """
    width = half.shape[-1]
    rows, columns = torch.arange(height // 2 + 1, height), torch.arange(width)
    rest = half[..., height - rows, :][..., (-columns) % width]
    return torch.fft.fftshift(torch.cat([half, rest], -2), dim=(-2, -1))


def plot_adcs(result, ax=None, *, of=None, title=None):
    """The ADCS map of each class: blue where it has more energy than most classes, orange where less.

    Args:
        result: a `freqkit.measures.AdcsResult`; three channels are averaged.
        ax: a matplotlib axis for the map of one class; None: a figure of all classes.
        of: with `ax`, the class, by name or number; default the first.
        title: a line above the maps.

    Returns:
        A matplotlib Figure, or `ax`; colours from -(C-1) to C-1.
    """
    maps = result.maps.double()
    maps = maps.mean(1) if maps.ndim == 4 else maps
    top = len(result.classes) - 1
    label = "classes with less energy, minus classes with more"
    if ax is not None:
        index = index_of(result.classes, of)
        return on_axis(ax, maps[index], result.classes[index], limits=(-top, top), label=label, signed=True)
    title = title or "ADCS: where each class has more energy than the others"
    return plane_maps(maps, result.classes, limits=(-top, top), label=label, title=title)


def plot_radii(result, axis):
    """The maps averaged over rings of equal frequency, a line for each of the first classes, on a matplotlib axis."""
    radius, means = result.radial()
    means = means.mean(1) if means.ndim == 3 else means
    inside = radius <= min(result.maps.shape[-2:]) / 2
    for place, name in enumerate(result.classes[: figures.NAMED_LINES]):
        (line,) = axis.plot(radius[inside], means[place, inside], linewidth=1.5, label=shorten(name),
                            **figures.series(place))  # fmt: skip
        figures.note(line, name)
    axis.set_xlim(0, float(radius[inside][-1]))
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.set_xlabel("radius of the frequency (cycles/image)", fontsize=8.5)
    axis.set_ylabel("mean ADCS over the ring", fontsize=8.5)
    figures.plain_axes(axis)
    figures.name_lines(axis)


@part(files_of("freqkit-adcs-1"))
def adcs_part(path, record):
    """Class spectra compared."""
    result = AdcsResult.load(path)
    values = result.maps.double()
    values = (values.mean(1) if values.ndim == 4 else values).numpy()
    top = max(1, len(result.classes) - 1)
    rows = result.table()
    bands = [name for name in rows[0] if name.startswith("band")]
    maps = [
        (row["class"], f"mean {signed(row['mean'])}", f"ADCS of {row['class']}: blue where it has more energy than most"
         " classes, orange where less.", plane / top)
        for row, plane in zip(rows, values, strict=True)
    ]  # fmt: skip
    side = min(values.shape[-2:])
    strongest = max(rows, key=lambda row: row[bands[-1]])
    weakest = min(rows, key=lambda row: row[bands[-1]])
    low, high = max(rows, key=lambda row: row[bands[0]]), min(rows, key=lambda row: row[bands[0]])
    even = "all classes are even: none has more energy than the others."
    sentences = [
        f"At high frequencies (from {round(3 * side / 8)} cycles/image on) "
        + (f"{strongest['class']} has more energy than most classes (mean ADCS {signed(strongest[bands[-1]], 1)} of at"
           f" most {top:+d}), and {weakest['class']} less ({signed(weakest[bands[-1]], 1)})."
           if strongest[bands[-1]] > weakest[bands[-1]] else even),
        f"At low frequencies (below {round(side / 8)} cycles/image) "
        + (f"{low['class']} leads ({signed(low[bands[0]], 1)}) and {high['class']} comes last"
           f" ({signed(high[bands[0]], 1)})." if low[bands[0]] > high[bands[0]] else even),
        "This is a statement about the images alone: no model was asked.",
    ]  # fmt: skip
    cautions = result.cautions()
    if cautions:
        sentences = [f"In the few images at hand: {text[0].lower()}{text[1:]}" for text in sentences[:2]] + sentences[
            2:
        ]
    table = Table(
        [("class", "left", None), ("images", "right", None), ("mean", "right", "ADCS"), ("least", "right", None),
         ("most", "right", None), *((f"{name}", "right", "radial band") for name in bands)],
        [
            [Cell(row["class"], href=f"#adcs-{i}"), Cell.of(row["images"], f"{row['images']:,}"),
             Cell.of(row["mean"], signed(row["mean"])), Cell.of(row["least"], signed(row["least"], 0)),
             Cell.of(row["most"], signed(row["most"], 0)),
             *(Cell.of(row[name], signed(row[name])) for name in bands)]
            for i, row in enumerate(rows)
        ],
        search=True,
    )  # fmt: skip
    about = result.record
    return Part(
        "Where each class has more energy than the others",
        sentences,
        [(f"{len(rows):,}", "classes compared"), (f"{about.get('images', 0):,}", "images")],
        [("Quantity", f"ADCS, preset {result.definition['preset']}"), ("Formula", result.definition["formula"]),
         ("Energy", result.definition["energy"]), ("Channels", result.definition["channel"])],
        [
            Section("Classes", [table], "Bands are quarters of half the image side, from low to high frequencies; the"
                    " last holds the corners too. +k: more energy than k more classes than those that have more.",
                    key="adcs-classes"),
            Section("ADCS maps", [gallery(maps, tuple(values.shape[-2:]), "adcs", signed=True)],
                    "Each bin is one frequency. Blue: the class has more energy there than most classes; orange: less;"
                    f" blank: as many above as below. Full colour is ±{top}.", key="adcs"),
            Section("ADCS by radius", [drawing(lambda axis: plot_radii(result, axis), 8.2, 3.6,
                    "Mean ADCS of each class over rings of equal frequency.", narrow=4)],
                    "The maps averaged over rings: left the coarse structure of the images, right the finest."
                    + (f" The first {figures.NAMED_LINES} classes." if len(rows) > figures.NAMED_LINES else ""),
                    key="adcs-radius"),
        ],
        provenance_rows(about), cautions=cautions, order=30, subtitle="Class spectra",
    )  # fmt: skip
