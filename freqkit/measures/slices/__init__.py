"""Slices: which images fail, by their spectrum; and how far features move when frequencies are removed.

Images are grouped by the energies of their frequency bands (no label and no network takes part in that), and each
group's error is set beside that of all others. The drift of a layer's features under low-pass, high-pass and band-pass
filters is the cosine between what it gives for the filtered and for the whole image.
"""

import math
import string
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from freqkit.data import Images
from freqkit.engine.accumulators import Answers
from freqkit.engine.drift import Cosine, FeatureRows
from freqkit.engine.entrance import enter
from freqkit.engine.features import Layer, penultimate
from freqkit.engine.stimuli import Filter
from freqkit.errors import UsageError
from freqkit.masks import high_pass, low_pass, ring, uncentred
from freqkit.measures.running import run
from freqkit.measures.slices.clusters import band_energies, edges_of, k_means, ordered, scaled
from freqkit.measures.slices.page import plot_slices as plot_slices
from freqkit.measures.slices.page import printed as printed
from freqkit.measures.slices.page import slices_part as slices_part
from freqkit.measures.slices.result import SlicesResult
from freqkit.models import Network
from freqkit.options import Directory, Options, Scoring, flat, option

__all__ = ["SlicesResult", "slices"]
SHARED = True  # ranks share its work
PROFILES = ("energy", "share")
SHOWN = 4  # pictures of each slice


@dataclass(frozen=True, kw_only=True)
class Slicing(Options):
    """What `slices` is asked."""

    clusters: int = option(6, "slices", least=2, most=26)
    bands: int = option(6, "frequency bands of a profile, from 1 cycle/image to the corner by equal factors", least=2)
    profile: str = option(
        "energy", "what images are grouped by: energy: the logarithm of each band's power; share: the same over all "
        "bands' power, so that contrast does not count", choices=PROFILES,
    )  # fmt: skip
    drift: bool = option(True, "whether features are looked at through filters", switch=("no-drift", False),
                         help="do not look at features through filters")  # fmt: skip
    layer: str | None = option(
        None, "the module whose output is looked at; None: what goes into the last linear layer", metavar="NAME",
        help="module whose features are looked at.  [default: what goes into the last linear layer]",
    )  # fmt: skip
    radii: Sequence[float] | None = option(
        None, "rising radii in cycles/image where filters begin and end; None: an eighth, a quarter, half and three "
        "quarters of half the shorter side", metavar="R,R,...", kind="numbers",
        help="where filters begin and end, cycles/image.  [default: N/16, N/8, N/4, 3N/8]",
    )  # fmt: skip
    restarts: int = option(10, "beginnings of the grouping, of which the best stays", least=1)
    confidence: float = option(0.95, "how sure the intervals are", above=0, below=1)
    resamples: int = option(1000, "redrawings of the images for the intervals of the drift", least=100)
    seed: int = option(0, "of the grouping and of the redrawings", least=0)

    def filters(self, size: tuple[int, int]) -> tuple[list, torch.Tensor, torch.Tensor]:
        """(names, limits [K, 2], masks [K + 1, H, W] in torch's layout, the first of everything); DC always stays."""
        half = min(size) / 2
        radii = [half / 8, half / 4, half / 2, 3 * half / 4] if self.radii is None else list(self.radii)
        good = all(isinstance(one, (int, float)) and not isinstance(one, bool) and one > 0 for one in radii)
        if not radii or not good or sorted({*radii}) != radii:
            raise UsageError(f"slices: radii must be rising numbers above 0; got {self.radii!r}.")
        limits = [(0.0, radius) for radius in radii] + [(radius, math.inf) for radius in radii]
        limits += list(zip(radii, [*radii[1:], math.inf], strict=True))[:-1]
        names = ["low"] * len(radii) + ["high"] * len(radii) + ["band"] * (len(radii) - 1)
        masks = [torch.ones(size)]
        for name, (inner, outer) in zip(names, limits, strict=True):
            mask = low_pass(size, outer) if name == "low" else high_pass(size, inner)
            mask = ring(size, inner, outer) if name == "band" else mask
            mask[size[0] // 2, size[1] // 2] = 1
            masks.append(uncentred(mask))
        if not self.drift:
            return [], torch.zeros(0, 2, dtype=torch.float64), torch.stack(masks[:1])
        return names, torch.tensor(limits, dtype=torch.float64), torch.stack(masks)


@flat
def slices(model: Network, images: Images, own: Slicing, scoring: Scoring, running: Directory) -> SlicesResult:
    """Group images by their spectra, and set each group's error beside that of the others.

    The profile of an image is log10 of the power of each of its bands, mean over the channels of the pixels in [0, 1];
    columns are brought to one spread, and k-means (k-means++, seeded, the best of some beginnings) groups them. The
    network has no part in that, so that the tests of the groups' errors are honest; they are corrected for their number
    by Holm's rule. What filters keep: low-pass r < radius, high-pass r >= radius, bands between two radii; the mean
    colour stays. The network is looked at as it is (form "eager") where features are asked for.

    Args:
        model: a `Classifier`. images: at least as many as `clusters`, as `freqkit.data.as_images` takes them.

    Returns:
        `SlicesResult`; (K + 1) n forwards with drift and one more pass for the whole images' features.

    Raises:
        UsageError, TypeError, ValueError: an argument does not fit; the network has no linear layer and none is named.

    Example:
        >>> from freqkit.data import synthetic
        >>> from freqkit.models import load_model
        >>> model, images = load_model("small_convnet", num_classes=4), synthetic(images_per_class=3)
        >>> found = slices(model, images, clusters=3, radii=[4, 8])
        >>> found.slices, found.names
        (['A', 'B', 'C'], ['low, below 4', 'low, below 8', 'high, from 4', 'high, from 8', 'band, 4 to 8'])
    """
    model, images = enter("slices", model, images, scoring.class_index)
    if len(images) < own.clusters:
        raise UsageError(f"slices: clusters must be at most the number of images, {len(images)}; got {own.clusters}.")
    size = tuple(images.images.shape[-2:])
    edges = edges_of(size, own.bands)
    filters, limits, masks = own.filters(size)
    layer = None
    if own.drift:
        layer = penultimate(model.network) if own.layer is None else Layer(own.layer)
        scoring = replace(scoring, form="eager")
    definition = {
        "quantity": "groups of images by the energies of their frequency bands", **own.identity(),
        "layer": None if layer is None else f"{layer.side} of {layer.name or 'the network'}",
        "radii": sorted({r for pair in limits.tolist() for r in pair if 0 < r < math.inf}),
    }  # fmt: skip

    def work(scorer, how, record):
        whole, rows = Answers(), [FeatureRows(layer)] if layer is not None else []
        scorer.show(Filter(masks[:1]), [whole, *rows], key="whole", **how)
        through = Answers(), (Cosine(layer, rows[0].value[0]) if layer is not None else None)
        if through[1] is not None:
            scorer.show(Filter(masks[1:]), list(through), key="filtered", **how)
        n, none = len(images), torch.zeros(0, len(images), dtype=torch.float64)
        cosine = none if through[1] is None else through[1].value
        seen = none.int() if through[1] is None else through[0].value.int()
        energies = band_energies(images.images, edges)
        profile = energies if own.profile == "energy" else energies - (10**energies).sum(1, keepdim=True).log10()
        points = scaled(profile)
        groups = ordered(k_means(points, own.clusters, own.seed, own.restarts), energies, edges)
        examples = _examples(points, groups, own.clusters, min(SHOWN, n))
        pictures = images.images[examples.clamp_min(0)] * (examples >= 0)[..., None, None, None].to(torch.uint8)
        return SlicesResult(
            list(scorer.classes), list(string.ascii_uppercase[: own.clusters]), edges, energies, groups,
            whole.value[0].int(), scorer.labels.clone(), torch.as_tensor(scorer.class_index).cpu().clone(), filters,
            limits, cosine, seen, examples, pictures, definition, {**record, "logits": scorer.logits},
        )  # fmt: skip

    return run("slices", model, images, masks, own, scoring, running, work)


def _examples(points, groups, count, shown):
    """int64 [count, shown]: the images nearest to the mean of their group; -1 where there are fewer."""
    found = torch.full((count, shown), -1)
    for k in range(count):
        members = (groups == k).nonzero().flatten()
        far = (points[members] - points[members].mean(0)).square().sum(1)
        near = members[far.argsort(stable=True)][:shown]
        found[k, : len(near)] = near
    return found


HELP = """Group images by their spectra: which fail, and how far features move when frequencies are removed.

Errors of groups of images with like band energies, beside those of all others, with intervals and corrected p; and the
cosine of features under low-pass, high-pass and band-pass filters. DIR gets slices.safetensors, .csv, .png, a page.

\b
freqkit slices --model cifar_resnet20 --weights resnet20.safetensors --data cifar10/test --clusters 8 --out runs/slices
"""
TERMS = {
    "slices": {
        "short": "Groups of images with like spectra, and the error of each beside that of all other images.",
        "formula": "profile = log10 of the power of each band, columns of one spread; k-means",
        "more": "expected: the error that the slice's classes alone would give. p: Fisher's exact test of the slice "
        "against all others, by Holm's rule for all slices. Mean frequency: by power, cycles/image.",
        "source": "Lloyd 1982; Arthur and Vassilvitskii, SODA 2007 (k-means++); Holm, Scand. J. Stat. 6 (1979) 65",
        "aliases": ["slice", "clusters", "mean frequency", "expected", "restarts",
                    "error difference", "difference low", "difference high"],
    },
    "drift": {
        "short": "How far a layer's features move when frequencies are removed from the images.",
        "formula": "cosine of the features of the filtered and of the whole image, mean over images",
        "more": "1: not at all. Of an unlike pair of images it is seldom 0: features of many networks are positive.",
        "aliases": ["cosine", "no-drift"],
        "see": ["slices"],
    },
}  # fmt: skip
