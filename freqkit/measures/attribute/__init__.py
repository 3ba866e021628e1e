"""Attribution: which frequencies carry the answer to each image, one by one.

For every image: the smallest sets of frequency pairs found that keep the network's answer (all else removed) and that
remove it; the contribution of every frequency, by gradients integrated from the empty to the full spectrum; and the
answer's probability as frequencies are inserted and deleted in their order. See `freqkit.measures.attribute.sets`.

Sources: Sundararajan, Taly and Yan, ICML 2017 (integrated gradients); Petsiuk, Das and Saenko, BMVC 2018 (insertion and
deletion); the question is that of Liu et al. (arXiv 2411.18343, 2504.02016).
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from freqkit.data import Images
from freqkit.engine import ranks
from freqkit.engine.entrance import enter
from freqkit.engine.forward import model_device
from freqkit.engine.gradients import MaskGradients
from freqkit.errors import UsageError
from freqkit.measures.attribute.page import attribute_part as attribute_part
from freqkit.measures.attribute.page import plot_attribute as plot_attribute
from freqkit.measures.attribute.page import printed as printed
from freqkit.measures.attribute.result import AttributeResult
from freqkit.measures.attribute.sets import CLEAR, Block, Pairs, attributed, numbers
from freqkit.measures.running import run
from freqkit.models import Network
from freqkit.ops import spectral_filter
from freqkit.options import Directory, Options, Scoring, flat, option

__all__ = ["AttributeResult", "attribute"]
SHARED = True  # ranks share its work
PIXELS = {"cpu": 1 << 17}  # of the images that are worked on at once, where that is left open; see FAST
FAST = 1 << 22  # on other devices, which need fuller batches


@dataclass(frozen=True, kw_only=True)
class Attributing(Options):
    """What `attribute` is asked."""

    steps: int = option(16, "points of the path from the empty to the full spectrum, a gradient each", least=1)
    rounds: int = option(
        40, "gradients by which each of the two sets is made smaller; 0: the first by attribution, as many as it takes",
        least=0,
    )  # fmt: skip
    points: int = option(16, "points of the insertion and deletion curves, at rising numbers of frequencies", least=2)
    shown: int = option(8, "pictures that are kept, of the first images", least=0)
    quantile: float = option(
        0.8, "the share of the images of which the frequencies that they need are told", above=0, most=1,
        help="of which share of the images the needed frequencies are told",
    )  # fmt: skip
    confidence: float = option(0.95, "how sure the intervals are", above=0, below=1)
    resamples: int = option(1000, "redrawings of the images for intervals", least=100)
    seed: int = option(0, "of the redrawings", least=0)

    def most(self, pairs: int) -> int:
        """Forward-equivalents that an image takes at most; a backward counts two."""
        bisections = 2 * (2 + math.ceil(math.log2(max(2, pairs))))
        return 3 * self.steps + 2 + bisections + 2 * (3 * self.rounds + 1 + self.points)


@flat
def attribute(
    model: Network, images: Images | torch.Tensor | np.ndarray, own: Attributing, scoring: Scoring, running: Directory
) -> AttributeResult:
    """Find, image by image, the frequencies that carry the network's answer.

    Frequencies are pairs (f, -f) of the plane, all channels together; what is removed is set to 0 in the domain
    `scoring.domain`: of the normalised tensor to the mean of the training images, of pixels to black. The answer is the
    logit that wins for the whole image, right or wrong. The sets are the smallest that were found, upper bounds of the
    smallest there are; each was tried on the network.

    Args:
        model: a `Classifier`, or what `freqkit.models.as_classifier` takes.
        images: what `freqkit.data.as_images` takes; or images without labels, [3, H, W] or [n, 3, H, W], uint8 or
            floats in [0, 1].

    Returns:
        `AttributeResult`: `.keeps`, `.removes`, `.attribution` [n, H, W], centred; `.insertion`, `.deletion` [n, T].

    Raises:
        UsageError, TypeError, ValueError: an argument does not fit.
        FloatingPointError: a logit, or its derivative, is NaN or infinite.

    Example:
        >>> from freqkit.data import synthetic
        >>> from freqkit.models import load_model
        >>> model, images = load_model("small_convnet", num_classes=4), synthetic(images_per_class=1)
        >>> found = attribute(model, images.images[0], rounds=2, steps=2, points=4)
        >>> found.keeps.shape, found.attribution.shape, found.insertion.shape
        (torch.Size([1, 32, 32]), torch.Size([1, 32, 32]), torch.Size([1, 5]))
    """
    bare = _without_labels(images)
    model, images = enter("attribute", model, images if bare is None else bare, scoring.class_index)
    if not len(images):
        raise UsageError("attribute: images must hold at least one image; got none.")
    size = tuple(images.images.shape[-2:])
    pairs = Pairs(size)
    definition = {
        "quantity": "smallest sets found of frequency pairs that keep the answer, and that remove it",
        "domain": scoring.domain, "clear": CLEAR, **own.identity(),
    }  # fmt: skip
    each = own.most(len(pairs))
    device = model_device(model) if scoring.device is None else torch.device(scoring.device)
    step = max(1, PIXELS.get(device.type, FAST) // math.prod(size))
    step = step if scoring.batch_size == "auto" else int(scoring.batch_size)
    # A compiled network would pad these small batches.
    scoring = replace(scoring, batch_size=step, form="folded" if scoring.form == "auto" else scoring.form)

    def work(scorer, how, record):
        ask, at = MaskGradients(model, scoring), numbers(pairs, own.points)
        tiles = [(f"images-{first}-{min(first + step, last)}", each * (min(first + step, last) - first),
                  (first, min(first + step, last)))
                 for begin, last in scorer.tiling.blocks() for first in range(begin, last, step)]  # fmt: skip

        def compute(tile):
            block = Block(scorer, ask, pairs, range(*tile), how["check"])
            inputs = scorer.spectra.inputs(scorer.spectra.pixels(scorer.images.images[slice(*tile)]))
            plane = torch.fft.fft2(inputs.double()).abs().square().sum(1)
            found = attributed(block, pairs.sums(plane.cpu()), own.steps, own.rounds, own.points)
            return {name: _array(name, value) for name, value in found._asdict().items()}

        def layout(tile):
            b, many, points = tile[1] - tile[0], len(pairs), len(at)
            return {
                "answers": ("i", (b,)), "clean": ("f", (b,)), "odds": ("f", (b, 2)), "attribution": ("f", (b, many)),
                "sets": ("i", (2, b, many)), "ranked": ("i", (2, b)), "there": ("i", (2, b)),
                "curves": ("f", (2, b, points)), "power": ("f", (2, b, points)), "asked": ("i", (2,)),
            }  # fmt: skip

        parts = [arrays for _, arrays, _ in ranks.share(tiles, compute, layout=layout, **how)]
        joined = {name: np.concatenate([part[name] for part in parts], axis) for name, axis in
                  (("answers", 0), ("clean", 0), ("odds", 0), ("attribution", 0), ("sets", 1), ("ranked", 1),
                   ("there", 1), ("curves", 1), ("power", 1))} if parts else {}  # fmt: skip
        asked = np.sum([part["asked"] for part in parts], 0) if parts else np.zeros(2, np.int64)
        joined = {name: torch.from_numpy(np.array(value)) for name, value in
                  ranks.current().agree_arrays({**joined, "asked": asked}).items()}  # fmt: skip
        forwards, backwards = joined.pop("asked").tolist()
        record |= {"forwards": forwards, "backwards": backwards, "logits": scorer.logits}
        return _result(joined, scorer, pairs, own, definition, record, bare is not None)

    return run("attribute", model, images, range(each), own, scoring, running, work, unit="forward-equivalents at most")


def _array(name, value):
    if name == "asked":
        return np.array(value)
    if name in ("attribution", "curves", "power"):
        return value.numpy().astype(np.float32)
    return value.numpy().astype(np.int8) if name in ("sets", "there") else value.numpy()


def _result(found, scorer, pairs, own, definition, record, bare):
    """The result of all images, from what was found of their pairs."""
    owner, area = pairs.owner, pairs.area
    labels = torch.as_tensor(scorer.class_index).cpu()[scorer.labels]
    logits, answers = found["answers"].unique(return_inverse=True)
    sets = found["sets"].to(torch.uint8)[..., owner]
    ranked = _shares_of(found, pairs)
    seen, many = scorer.spectra, min(own.shown, len(answers))
    pictures = scorer.images.images[:many].clone()
    views = [_left(seen, pictures, mask) for mask in (sets[0, :many], 1 - sets[1, :many])]
    return AttributeResult(
        _names_of(logits.tolist(), scorer), _names(scorer.images, len(answers), bare), answers, logits,
        torch.full_like(labels, -1) if bare else labels, found["clean"], found["odds"],
        (found["attribution"].double() / area)[:, owner].float(), sets[0].contiguous(), sets[1].contiguous(),
        found["there"][1].to(torch.uint8), ranked, torch.tensor(numbers(pairs, own.points)),
        *(found[name][kind].contiguous() for name in ("curves", "power") for kind in range(2)),
        pictures, *views, definition, record,
    )  # fmt: skip


def _shares_of(found, pairs):
    """float64 [n, 2]: the shares of bins in the first pairs by attribution."""
    order = found["attribution"].double().argsort(dim=1, descending=True, stable=True)
    total = torch.nn.functional.pad(pairs.area[order].cumsum(1), (1, 0)) / pairs.area.sum()
    number = found["ranked"].T
    return torch.where(number < 0, math.nan, total.gather(1, number.clamp_min(0)))


def _left(spectra, pictures, masks):
    """What masks [m, H, W], centred, leave of pictures, as pixels: float32 [m, 3, H, W]."""
    if not len(pictures):
        return torch.zeros(pictures.shape)
    weights = torch.fft.ifftshift(masks.float(), (-2, -1))
    x = spectra.inputs(spectra.pixels(pictures))
    made = spectral_filter(x.float().contiguous(), weights.to(x.device), pairing="each")
    if spectra.forward.mean is not None:
        mean, std = (made.new_tensor(one).view(3, 1, 1) for one in (spectra.forward.mean, spectra.forward.std))
        made = made * std + mean
    return made.cpu().contiguous()


def _names_of(logits, scorer):
    """Names of logits: of the images' classes, else of the model's, else numbers."""
    of_set = dict(zip(torch.as_tensor(scorer.class_index).tolist(), scorer.classes, strict=True))
    found = [of_set.get(logit, f"logit {logit}") for logit in logits]
    return found if len({*found}) == len(found) else [f"{name} ({i})" for name, i in zip(found, logits, strict=True)]


def _names(images, count, bare):
    paths = None if bare else getattr(images, "paths", None)
    return list(paths or [f"image {i}" for i in range(count)])


def _without_labels(images: Any):
    """(x, y) of bare images, y all 0; None of what brings labels."""
    if not hasattr(images, "shape") or not hasattr(images, "dtype"):
        return None
    shape = tuple(images.shape)
    if len(shape) not in (3, 4) or shape[-3] not in (1, 3):
        raise UsageError(f"attribute: images must have shape [3, H, W] or [n, 3, H, W]; got {list(shape)}.")
    x = images if len(shape) == 4 else images[None]
    return x, torch.zeros(len(x), dtype=torch.int64)


HELP = """Find, image by image, the frequencies that carry the network's answer.

The smallest sets of frequencies found that keep the answer (all else removed) and that remove it, what each frequency
contributes, and the answer's probability as frequencies are inserted and deleted. DIR gets attribute.safetensors, .csv,
.png, a page.

\b
freqkit attribute --model cifar_resnet20 --weights resnet20.safetensors \\
                  --data cifar10/test --limit-per-class 5 --out runs/attributed
"""
TERMS = {
    "attribute": {
        "short": "Which frequencies carry the answer to one image: the smallest sets found that keep and remove it.",
        "formula": "attribution of f = mean over alpha of d odds / d m_f at m = alpha; odds = z_a - log sum of exp z_j",
        "more": "Sets are found by gradients under a budget and tried on the network: upper bounds of the smallest. "
        "The answer is that of the whole image, right or wrong; what is removed is set to 0 in the chosen domain.",
        "source": "Sundararajan, Taly, Yan, ICML 2017; Petsiuk, Das, Saenko, BMVC 2018; Liu et al., arXiv 2504.02016",
        "aliases": ["attribution", "keeps", "removes", "insertion", "deletion", "insertion by power",
                    "deletion by power", "answer", "rounds", "points", "shown", "quantile", "frequencies that keep",
                    "frequencies that remove", "answer kept"],
    }
}  # fmt: skip
