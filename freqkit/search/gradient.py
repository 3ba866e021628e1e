"""Estimate what removing every frequency costs every class from one forward and a few backwards per image.

Removing the pair {f, -f} changes an image by the direction d = -(X(f) e_f + X(-f) e_-f)/(H W), e_f the complex
wave of frequency f. To first order its loss grows by

    g . d = -2 Re(conj(X(f)) G(f)) / (H W)      (half of it where f = -f),

X and G the unnormalised DFTs of the image and of g = dL/dx, the product summed over channels: one backward gives
it for all frequencies. What is backpropagated is not the loss L but the log-odds against the label y,
m = log sum_{j != y} exp z_j - z_y, of which L = log(1 + exp m) and g = (1 - p_y) dm/dx: so the slope of
m is known to full precision for sure images, too. To second order, for the model's logits taken as linear:

- "odds" (default): L(m + dm) - L(m), exact in the log-odds. With draws, the curvature among the other labels is
  added, E[(d . u)²]/2 for u = J'v, J the Jacobian of the logits, and
  v = sqrt(1 - p_y) (sqrt(r) s - r (sqrt(r) . s)), r their probabilities among themselves, s random signs.
- "sampled": half the Fisher term E[(d . dlog p(y')/dx)²], y' drawn from the model's own probabilities p.
- "signs": the same term (which is also the Gauss-Newton one, J' (diag p - p p') J) with v = sqrt(p) s - p (sqrt(p)
  . s), E[v v'] = diag p - p p', in place of onehot(y') - p: less noise for as many backwards.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F

from freqkit.data import Images
from freqkit.data.cache import has_read
from freqkit.engine import Progress, ranks
from freqkit.engine.entrance import enter, logit_of_class
from freqkit.engine.forward import Forward
from freqkit.engine.stimuli import counter_words
from freqkit.errors import UsageError
from freqkit.files.reading import COUNT, in_range
from freqkit.masks import uncentred
from freqkit.models import Network
from freqkit.options import Options, Running, Scoring, flat, option
from freqkit.results import rows
from freqkit.results.removal_result import RemovalResult
from freqkit.results.result import Result, TensorFile
from freqkit.search.cells import removal_cells, removal_masks
from freqkit.search.plan import Effort, Plan
from freqkit.search.removal import MASKS_AT_ONCE, Levels, RemovalRun
from freqkit.search.testing import Testing, again

CURVATURES = ("odds", "sampled", "signs")


EFFORTS = {
    "gradient": Effort(
        "percent re-scored", (20,),
        lambda effort, coverage, seed, size: {
            "rescore": effort / 100, "levels": (coverage,), "level": coverage, "seed": seed,
        },
    )
}  # fmt: skip


@dataclass
class GradientEstimate(Result):
    """Estimated increase of each class's mean cross-entropy when a candidate is removed.

    Attributes:
        first_order: float64 [K, C], nats; NaN for classes without images.
        second_order: float64 [K, C], what curvature adds to it (see the module).
        total: first_order + second_order.
        baseline: float64 [C], mean cross-entropy of unfiltered images.
        owner: int64 [H, W], centred: the candidate of each bin.
        counts: int64 [C]. forwards, backwards: images that went through the model, and back.
        classes: C names.
    """

    first_order: torch.Tensor
    second_order: torch.Tensor
    baseline: torch.Tensor
    owner: torch.Tensor
    counts: torch.Tensor
    forwards: int
    backwards: int
    record: dict = field(default_factory=dict)
    classes: list = field(default_factory=list)

    FILE = TensorFile(
        "freqkit-estimate-1", "a file of estimated losses",
        {
            "first_order": "float64 K C", "second_order": "float64 K C", "baseline": "float64 C",
            "owner": "int64 H W", "counts": "int64 C",
        },
        {"classes": [str], "forwards": COUNT, "backwards": COUNT, "record": {"seed?": COUNT}},
    )  # fmt: skip
    COLUMNS = ("class", "images", "unfiltered loss", "largest increase")
    FIGURE = "plot_estimate"
    MAIN = ("highest", "largest increase")

    def cells(self):
        """One line per class: class, images, unfiltered loss, and the largest increase by any candidate."""
        return [self.classes, self.counts, self.baseline, self.total.max(0).values]

    def rows(self):
        about = {"condition": "all", "searcher": "gradient", "seed": self.record.get("seed")}
        found = rows.values(self.classes, "loss", self.baseline, self.counts, **about)
        return found + rows.values(self.classes, "largest increase", self.total.max(0).values, self.counts, **about)

    @classmethod
    def checked(cls, values, path):
        in_range(values["owner"], -1, len(values["first_order"]) - 1, path, "owner")
        in_range(values["counts"], 0, 2**53, path, "counts")
        return values

    @property
    def total(self):
        return self.first_order + self.second_order

    def maps(self):
        """`total` of each bin's candidate: float64 [C, H, W], centred, nats; NaN for bins without a candidate."""
        planes = self.total.T[:, self.owner.clamp_min(0)]
        return torch.where(self.owner >= 0, planes, torch.nan)


@dataclass(frozen=True, kw_only=True)
class Estimating(Options):
    """What an estimate is asked."""

    patch: int = option(
        1, "bins per side of what is removed at once, as in `removal` with its default preset", least=1,
        must="a positive integer", help="bins per side removed at once",
    )  # fmt: skip
    draws: int = option(
        2, "backwards per image for curvature, beside the one for the gradient; 0: none (odds then has its own, the "
        "others have none)", least=0, flag=False, help="backwards for curvature",
    )  # fmt: skip
    curvature: str = option(
        "odds", "see the module; an image's random vectors depend on `seed`, the draw and its place in the set alone",
        choices=CURVATURES, flag=False,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Estimated(Estimating):
    """What `estimate_removal` is asked."""

    seed: int = option(0, "of the random vectors", least=0)
    batch_size: int = option(64, "images per forward; results differ in float32 rounding only", least=1)


@flat(owner="gradient")
def estimate_removal(
    model: Network,
    images: Images,
    own: Estimated,
    *,
    domain: str = "normalised",
    class_index: Sequence[int] | torch.Tensor | None = None,
    device: str | torch.device | None = None,
    progress: Progress | None = None,
    check: Callable[[], None] = lambda: None,
) -> GradientEstimate:
    """First- and second-order estimate of what `freqkit.search.removal` measures; see the module.

    Args:
        model: a `Classifier`; copied, never changed. images: what `freqkit.data.as_images` takes.
        domain, class_index, device: see `freqkit.engine.score`.
        progress: a `freqkit.engine.Progress`.
        check: called after every batch; may raise.

    Returns:
        `GradientEstimate`. Networks run in float32, with batch norms folded; sums over images are float64.

    Raises:
        UsageError: an argument does not fit.
        FloatingPointError: a logit or a gradient is NaN or infinite.

    Example:
        >>> from freqkit.data import synthetic
        >>> from freqkit.models import load_model
        >>> model = load_model("small_convnet", num_classes=4)
        >>> estimate = estimate_removal(model, synthetic(images_per_class=2), draws=2)
        >>> estimate.total.shape, estimate.forwards, estimate.backwards
        (torch.Size([514, 4]), 8, 24)
    """
    model, images = enter("gradient", model, images, class_index)
    how = {"domain": domain, "class_index": class_index, "device": device}
    estimator, draws, batch_size = _Estimator(model, images, own, progress, **how), own.draws, own.batch_size
    classes, labels = len(images.classes), images.labels
    sums = torch.zeros(2, classes, estimator.candidates, dtype=torch.float64)
    losses = torch.zeros(classes, dtype=torch.float64)
    if progress is not None:
        progress.start("gradients", len(images) * (3 + 2 * draws), "forward-equivalents")
    try:
        for start in range(0, len(images), batch_size):
            part = slice(start, min(start + batch_size, len(images)))
            first, second, loss = estimator(part)
            label = labels[part]
            sums[0].index_add_(0, label, first.cpu())
            sums[1].index_add_(0, label, second.cpu())
            losses.index_add_(0, label, loss.cpu())
            if progress is not None:
                progress.advance(len(label) * (3 + 2 * draws))
            check()
    finally:
        if progress is not None:
            progress.finish()
    counts = images.counts
    first, second = (value.T / counts for value in sums)
    return GradientEstimate(
        first, second, losses / counts, estimator.owner, counts, len(images), len(images) * (1 + draws),
        {"draws": draws, "curvature": own.curvature, "seed": own.seed, "batch_size": batch_size,
        "form": estimator.forward.form}, list(images.classes),
    )  # fmt: skip


class _Estimator:
    """Estimates of `estimate_removal` image by image."""

    def __init__(self, model, images, own, progress, *, domain, class_index, device):
        cells, self.owner = removal_cells(tuple(images.images.shape[-2:]), own.patch)
        classes = len(images.classes)
        index = logit_of_class("gradient", class_index, classes, int(model.num_classes))
        if model.num_classes < 2:
            raise UsageError(f"gradient: the model must have two logits at least; got {model.num_classes}.")
        if len(images) == 0:
            raise UsageError("gradient: images must hold at least one image; got none.")
        self.images, self.index, self.candidates = images, index, len(cells)
        self.draws, self.curvature, self.seed, self.domain = own.draws, own.curvature, own.seed, domain
        self.forward = Forward(model, device=device, domain=domain)
        self.pool = _Pool(self.owner, len(cells), self.forward.device)
        note = _ignore if progress is None else progress.note
        self.forward.optimise("folded", self._input(slice(0, 32)), note=note)

    def _input(self, part):
        x = self.images.images[part].to(self.forward.device).float().div_(255)
        has_read(self.images.images[part])
        if self.domain == "normalised":
            mean, std = (x.new_tensor(v).view(1, 3, 1, 1) for v in (self.forward.mean, self.forward.std))
            x = (x - mean) / std
        return x.to(memory_format=torch.channels_last)

    def __call__(self, part):
        """Of images `part` (a slice) first and second order, float64 [b, K], and their losses, float64 [b]."""
        x = self._input(part).requires_grad_()
        logits = self.forward.module(x)
        label = self.index[self.images.labels[part]].to(self.forward.device)
        odds, others = _log_odds(logits.detach().double(), label)
        slope = others - F.one_hot(label, logits.shape[1])
        (gradient,) = torch.autograd.grad(logits, x, slope.to(logits.dtype), retain_graph=self.draws > 0)
        transformed = torch.fft.rfft2(x.detach())
        change = self.pool(transformed, gradient).double()
        loss, error = F.softplus(odds), torch.sigmoid(odds)  # error: 1 - p of the label
        first = error[:, None] * change
        second = torch.zeros_like(first)
        if self.curvature == "odds":
            second = F.softplus(odds[:, None] + change) - loss[:, None] - first
            covariance = others, error
        else:
            covariance = logits.detach().double().softmax(1), torch.ones_like(error)
        for draw in range(self.draws):
            v = _vectors(self.curvature, *covariance, self.seed, draw, part).to(logits.dtype)
            (gradient,) = torch.autograd.grad(logits, x, v, retain_graph=draw < self.draws - 1)
            second += self.pool(transformed, gradient).double().square() / (2 * self.draws)
        if not torch.isfinite(first.sum() + second.sum() + loss.sum()):
            raise FloatingPointError(
                f"gradient: a logit or gradient is NaN or infinite among images {part.start}...{part.stop - 1}."
            )
        return first, second, loss


class _Pool:
    """Transforms of images and gradients [b, 3, H, W//2+1] -> directional derivatives [b, K] along each
    removal."""

    def __init__(self, owner, candidates, device):
        height, width = owner.shape
        half = width // 2 + 1
        # Columns 1 to (W-1)//2 stand for their partners too; the self-paired ones hold both of a pair.
        weight = torch.full((half,), 2.0)
        weight[0] = 1.0
        if width % 2 == 0:
            weight[-1] = 1.0
        self.weight = (-weight / (height * width)).to(device)
        self.owner = uncentred(owner)[:, :half].flatten().to(device)
        self.candidates = candidates

    def __call__(self, transformed, gradient):
        g = torch.fft.rfft2(gradient)
        each = (transformed.real * g.real + transformed.imag * g.imag).sum(1) * self.weight
        pooled = each.new_zeros(len(each), self.candidates)
        return pooled.index_add_(1, self.owner, each.flatten(1))


def _log_odds(logits, label):
    """Against the label, float64 [b], and the probabilities [b, L] of the other labels among themselves."""
    own = F.one_hot(label, logits.shape[1]).bool()
    rest = logits.masked_fill(own, -torch.inf)
    return rest.logsumexp(1) - logits[own], rest.softmax(1)


def _vectors(curvature, probability, weight, seed, draw, part):
    """float64 [b, L] with E[v v'] = weight (diag p - p p'); of each image its own, whatever the batch."""
    count, logits = probability.shape
    if curvature != "sampled":
        words = -(-logits // 64)
        raw = counter_words(seed, draw, part.start * words, count * words).view(np.uint8)
        bits = np.unpackbits(raw, bitorder="little").reshape(count, words * 64)[:, :logits]
        signs = torch.from_numpy(bits.astype(np.float64) * 2 - 1).to(probability.device)
        root = probability.sqrt()
        vector = root * signs - probability * (root * signs).sum(1, keepdim=True)
        return weight.sqrt()[:, None] * vector
    uniform = (counter_words(seed, draw, part.start, count) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    uniform = torch.from_numpy(uniform).to(probability.device)
    drawn = (probability.cumsum(1) < uniform[:, None]).sum(1).clamp_max(logits - 1)
    return F.one_hot(drawn, logits) - probability


def _ignore(sentence):
    import warnings

    warnings.warn(sentence, RuntimeWarning, stacklevel=3)


@dataclass(frozen=True, kw_only=True)
class Promising(Estimating):
    """What `gradient` is asked."""

    rescore: float = option(
        0.2, "share of the candidates that is measured, 0 (estimates only) to 1 (as `removal`)", least=0, most=1,
        must="a number in 0..1", help="share to measure",
    )  # fmt: skip
    seed: int = option(0, "of the random vectors", least=0, help="of the curvature")
    gradient_batch: int = option(64, "images per forward and backward of the estimate", least=1, flag=False)


@flat
def gradient(
    model: Network,
    images: Images,
    own: Promising,
    ordered: Levels,
    testing: Testing,
    scoring: Scoring,
    running: Running,
) -> RemovalResult | Plan:
    """Dominant frequencies from gradients: rank all by an estimate, measure only the most promising exactly.

    Of each class the share `rescore` of the candidates of highest estimate is removed for real, from that
    class's own images, so that the exact part costs that share of `removal`. What is scored exactly goes
    before what is only estimated; beyond it the estimate decides.

    Args:
        model: a `Classifier`.
        images: what `freqkit.data.as_images` takes; a share selects, the others test (`split_fraction`).

    Returns:
        `freqkit.results.removal_result.RemovalResult` with `estimate`, and NaN in `loss` where not scored.

    Raises:
        As `removal`.

    Example:
        >>> from freqkit.data import synthetic
        >>> from freqkit.models import load_model
        >>> model = load_model("small_convnet", num_classes=4)
        >>> result = gradient(model, synthetic(images_per_class=2), rescore=0.05, batch_size=64)
        >>> int(result.loss.isfinite().sum(0)[0]), result.backwards
        (26, 12)
    """
    patch, draws = own.patch, own.draws
    identity = {"preset": "default", **own.identity()}
    run = RemovalRun("gradient", model, images, ordered, scoring, identity, testing, running)
    images = run.images

    def work(run, progress):
        _, owner = removal_cells(run.size, patch)
        run.whole(run.scorer(), progress)
        key = f"gradient/0-1/0-{len(images)}"
        classes = len(images.classes)
        layout = {"total": ("f", (int(owner.max()) + 1, classes)), "baseline": ("f", (classes,))}
        kept = run.journal.get(key, layout) if run.journal is not None else None
        if kept is None:
            estimate = estimate_removal(
                run.model, images, patch=patch, draws=draws, curvature=own.curvature, seed=own.seed,
                domain=scoring.domain, class_index=scoring.class_index, batch_size=own.gradient_batch,
                device=scoring.device, progress=progress, check=run.check,
            )  # fmt: skip
            kept = {"total": estimate.total.numpy(), "baseline": estimate.baseline.numpy()}
            if run.journal is not None:
                run.journal.put(key, **kept)
        kept = ranks.current().agree_arrays(kept)
        run.record["forwards"] += len(images)
        run.record["backwards"] += len(images) * (1 + draws)
        total, baseline = (torch.from_numpy(np.array(kept[name])) for name in ("total", "baseline"))
        loss = torch.full_like(total, torch.nan)
        number = round(own.rescore * len(total))
        if number:
            progress.start("removal of the most promising", number * len(images))
            try:
                for c in run.searched:
                    chosen = torch.sort(total[:, c], descending=True, stable=True).indices[:number].sort().values
                    scorer = run.scorer(images.subset(images.labels == c))
                    for start in range(0, number, MASKS_AT_ONCE):
                        some = chosen[start : start + MASKS_AT_ONCE]
                        masks = removal_masks(run.size, patch, index=some)
                        loss[some, c] = run.score(scorer, masks, f"removal/{c}/{start}", progress).loss[:, c]
            finally:
                progress.finish()
        return run.result(run.scorer(), owner, loss, baseline, total, progress)

    if running.dry_run:
        scorer, classes = run.scorer(), len(run.searched)
        number = round(own.rescore * len(removal_cells(run.size, patch)[0]))
        parts = [
            ("ranking by gradients", len(images), (1 + draws) * len(images), 1, None),
            ("exact scores", scorer.forwards(classes), 0, scorer.tiles(classes), None),
        ]
        if number:
            tiles = classes * -(-number // MASKS_AT_ONCE)
            parts.insert(1, ("removal of the most promising", number * len(images), 0, tiles, None))
        return run.plan(scorer, [run.whole_part(scorer), *parts])
    return run.execute(work, running, again(gradient, own, ordered, scoring))


def ranking(run, progress):
    """How promising every pair is to every class of a `SearchRun`, by gradients: float64 [K, classes], centred ranks of
    standard deviation 1. Ranks share blocks of images; the cost goes on record, the journal keeps them."""
    images, draws = run.images, 2
    how = {name: getattr(run.scoring, name) for name in ("domain", "class_index", "device")}
    asked = Estimated(patch=1, draws=draws, curvature="odds", seed=0)
    estimator = _Estimator(run.model, images, asked, progress, **how)
    tiles = [
        (f"ranking/0-1/{part.start}-{part.stop}", (3 + 2 * draws) * (part.stop - part.start), part)
        for part in ranking_parts(images)
    ]

    def estimate(part):
        present, own = images.labels[part].unique(return_inverse=True)
        first, second, _ = estimator(part)
        sums = torch.zeros(len(present), estimator.candidates, dtype=torch.float64)
        return {"sums": sums.index_add_(0, own, (first + second).cpu()).numpy()}

    sums, resumed = np.zeros((len(images.classes), estimator.candidates)), 0
    progress.start("gradients", sum(amount for _, amount, _ in tiles), "forward-equivalents")
    try:
        for part, found, is_resumed in ranks.share(
            tiles, estimate, journal=run.journal, progress=progress, check=run.check,
            layout=lambda part: {"sums": ("f", (len(images.labels[part].unique()), estimator.candidates))},
        ):  # fmt: skip
            sums[images.labels[part].unique().numpy()] += found["sums"]
            resumed += (part.stop - part.start) * is_resumed
    finally:
        progress.finish()
    found = ranks.current().agree_arrays({"sums": sums, "resumed": np.array([resumed])})
    run.record["forwards"] += len(images)
    run.record["forwards_resumed"] += int(found["resumed"][0])
    run.record["backwards"] += (1 + draws) * len(images)
    total = torch.from_numpy(found["sums"]).T / images.counts
    place = total.argsort(0).argsort(0).double()
    return (place - place.mean(0)) / place.std(0)


def ranking_parts(images):
    """The blocks of images, slices, that `ranking` makes tiles of."""
    return [slice(i, min(i + 64, len(images))) for i in range(0, len(images), 64)]
