"""What a classifier makes of images filtered by masks: per mask and class, loss and counts."""

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from freqkit.data import Images
from freqkit.engine import certain, racing, ranks
from freqkit.engine.accumulators import Accumulator, Outputs
from freqkit.engine.batches import calibrate, sums, tiling
from freqkit.engine.entrance import enter, logit_of_class
from freqkit.engine.features import network_of, tapped
from freqkit.engine.forward import Forward
from freqkit.engine.journal import Journal
from freqkit.engine.progress import Progress, Silent
from freqkit.engine.spectra import Spectra
from freqkit.engine.stimuli import Filter, Stimulus, filtered
from freqkit.errors import UsageError
from freqkit.masks import select, unique
from freqkit.masks.bits import pick
from freqkit.models import Network
from freqkit.models.wrap import BY_NAME, check_order
from freqkit.ops import BitMasks
from freqkit.options import Scoring, flat
from freqkit.results import Scores

# The two published ones: of the CVPR 2025 code over all batches, of the ICCV 2023 code over those that hold the class.
REDUCTIONS = ("class-mean", "published-batches", "published-batches-of-class")
NOT_KNOWN = -(1 << 40)  # more than there are images: of tiles that were journalled before this was counted


class Distinct(NamedTuple):
    """Masks without effective twins: `names`, the number under which each was first given; `inverse`, which of them
    each given mask is (None: they are the same); `drawn`, how many were given."""

    masks: Any
    names: np.ndarray
    inverse: torch.Tensor | None
    drawn: int

    def as_given(self, values):
        """A tensor of an array [distinct, ...], for every mask that was given."""
        return torch.from_numpy(values if self.inverse is None else values[self.inverse.numpy()])


class Call(NamedTuple):
    """One call of the scorer: how its tiles are named, told, kept and stopped."""

    key: str
    progress: Any
    journal: Any
    check: Any

    def share(self, tiles, compute, layout, counted=False):
        """See `freqkit.engine.ranks.share`."""
        how = {"journal": self.journal, "progress": self.progress, "check": self.check, "counted": counted}
        return ranks.share(tiles, compute, layout=layout, **how)


class Scorer:
    """Scores masks on one model and one image set; what does not depend on the masks is prepared once.

    Args, errors: see `score`. Additionally:
        expected: forwards that are to come, by which "auto" decides whether to compile.
        memory: bytes that cached spectra may take; when the set's spectra need more, each block of images is
            transformed anew for every call and only one block is held.

    Example:
        >>> import torch
        >>> from types import SimpleNamespace
        >>> class Classifier(torch.nn.Module):
        ...     mean, std, num_classes = (0.5,) * 3, (0.5,) * 3, 2
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 2))
        >>> images = SimpleNamespace(
        ...     images=torch.zeros(4, 3, 8, 8, dtype=torch.uint8),
        ...     labels=torch.tensor([0, 0, 1, 1]),
        ...     classes=["a", "b"],
        ... )
        >>> scorer = Scorer(Classifier(), images, batch_size=16)
        >>> scorer.score(torch.ones(1, 8, 8)).counts.tolist()
        [2, 2]
    """

    @flat(owner="score")
    def __init__(self, model, images, *, expected: int = 0, progress: Progress | None = None, scoring: Scoring):
        self.progress = progress or Silent()
        self.pairs_limit = None
        model, images = enter("score", model, images, scoring.class_index)
        self.images = images
        self.classes = list(images.classes)
        self.labels = torch.as_tensor(images.labels, dtype=torch.int64).cpu()
        self.size = tuple(images.images.shape[-2:])
        if len(self.labels) == 0:
            raise UsageError("score: images must hold at least one image; got none.")
        if len(self.labels) != len(images.images):
            raise UsageError(f"score: {len(images.images)} images need as many labels; got {len(self.labels)}.")
        if self.labels.min() < 0 or self.labels.max() >= len(self.classes):
            raise UsageError(
                f"score: labels must lie in 0...{len(self.classes) - 1}; got {self.labels.min()}...{self.labels.max()}."
            )
        self.counts = torch.bincount(self.labels, minlength=len(self.classes))
        if scoring.class_index is None:
            check_order("score", model, self.classes, BY_NAME)
        self.logits = int(model.num_classes)
        self.class_index = logit_of_class("score", scoring.class_index, len(self.classes), self.logits)
        self.forward = Forward(model, device=scoring.device, dtype=scoring.dtype, domain=scoring.domain)
        self.forward.compares = True
        self.calibration = None
        batch_size, memory = scoring.batch_size, scoring.memory
        if batch_size == "auto":
            shape, limit = tuple(images.images.shape[1:]), 64 * len(self.labels)
            batch_size, timings = ranks.on_first(lambda: calibrate(self.forward, shape, limit=limit))
            self.calibration = {str(size): each for size, each in timings.items()}
        self.batch_size = batch_size
        self.memory_limit = memory
        self.spectra = Spectra(images.images, self.forward, memory, scoring.spectra)
        self.tiling = tiling(len(self.labels), batch_size, max_block=self.spectra.most)
        self.spectra.blocks = self.tiling.blocks()
        self.invariance = certain.BatchInvariance(self.forward, self.tiling, images.images.shape[1:])
        sample = self.spectra.inputs(self.spectra.pixels(images.images[: min(32, self.tiling.block)]))
        sample = sample.contiguous(memory_format=torch.channels_last)
        rows = self.tiling.part * self.tiling.group

        def optimise(form):
            return self.forward.optimise(form, sample, expected=expected, rows=rows, note=self.progress.note)

        def follow(decided):
            if optimise(decided["form"])["form"] != decided["form"]:
                raise RuntimeError(f"the {decided['form']} network of rank 0 cannot be had on every rank.")

        self.form = ranks.on_first(lambda: optimise(scoring.form), follow)
        # Only what scores masks counts as work.
        self.spectra.transforms = self.forward.images = self.forward.batches = 0
        self.forward.seconds = 0.0

    def memory(self):
        """Bytes of the decoded images, of the spectra held at once, and of one batch's filtered images."""
        images = self.images.images
        real = torch.empty(0, dtype=self.forward.compute).element_size()
        return {
            "images": images.numel(),
            "spectra": self.spectra.bytes(),
            "batch": self.tiling.part * self.tiling.group * images[0].numel() * real,
        }

    def economies(self):
        """What was saved so far, by all ranks together, as plain JSON values for run.json.

        images_decoded (once each), transforms (forward transforms of images), forwards (images that went through the
        model), batches, batch_fill (mean share of the batch size), spectra (how they are kept), spectra_bytes, form,
        form_difference (largest change of a logit, as a share of the largest; None when nothing was changed).
        """
        own = [self.spectra.transforms, self.forward.images, self.forward.batches]
        transforms, forwards, batches = map(sum, zip(*ranks.current().facts(own), strict=True))
        differences = [value for name, value in self.form.items() if name.startswith("difference")]
        kept = f"kept in {'float16' if self.spectra.half else str(self.forward.compute).removeprefix('torch.')}"
        return {
            "images_decoded": len(self.labels),
            "transforms": transforms,
            "forwards": forwards,
            "batches": batches,
            "batch_fill": forwards / (batches * self.batch_size) if batches else None,
            "spectra": kept if self.spectra.keep else "recomputed",
            "spectra_bytes": self.memory()["spectra"],
            "form": self.form["form"],
            "form_difference": max(differences, default=None),
        }

    def seconds_per_forward(self, masks):
        """Wall time per (mask, image) pair, filter and sums included: the best of three runs of one batch."""
        masks = pick(masks, slice(0, self.tiling.group), "cpu")
        number, last = self._check_masks(masks), self.tiling.part
        took = []
        for _ in range(3):
            began = time.perf_counter()
            self._tile(masks, range(number), 0, number, 0, last, None)
            took.append(time.perf_counter() - began)
        return min(took) / (number * last)

    def forwards(self, masks):
        """Number of forwards (one per mask and image) that scoring `masks` masks takes."""
        return masks * len(self.labels)

    def tiles(self, masks):
        """Number of tiles that scoring `masks` distinct masks takes."""
        return len(self.tiling.blocks()) * len(self.tiling.groups(masks))

    def score(
        self,
        masks,
        *,
        reduction="class-mean",
        published_batch_size=None,
        progress=None,
        journal=None,
        key="scores",
        check=None,
        per_sample=False,
        among=None,
    ):
        """Score masks on all images; see `freqkit.engine.score` for masks, reductions and errors.

        Args:
            journal: a `freqkit.engine.Journal`; tiles found in it are read instead of computed, others are
                appended.
            key: names this call in the journal; two calls of a run need different keys.
            check: called after every tile; may raise to stop the run.
            per_sample: also return every single loss and prediction, see `Scores.samples`.
            among: bool [n], the images that are recognised whole: `Scores.still` then counts those of them that are
                recognised through the masks (None when tiles of the journal do not tell).
        """
        some = self._distinct(masks)
        total = len(some.names)
        weights, offset = self._reduction(reduction, published_batch_size)
        progress = progress or self.progress
        kinds = {"loss": np.float32, "answer": np.int32} if per_sample else {}
        samples = {name: np.empty((total, len(self.labels)), kind) for name, kind in kinds.items()}
        classes = len(self.classes)
        loss = np.zeros((total, classes))
        correct, predicted, still = (np.zeros((total, classes), dtype=np.int64) for _ in range(3))
        groups, resumed = self.tiling.groups(total), 0
        tiles = [
            (f"{key}/{low}-{high}/{first}-{last}", (high - low) * (last - first), (low, high, first, last))
            for first, last in self.tiling.blocks()
            for low, high in groups
        ]

        def compute(tile):
            return self._tile(some.masks, some.names, *tile, weights, per_sample, among)

        def layout(tile):
            low, high, first, last = tile
            number, present = high - low, len(self._present(first, last))
            each = {"each loss": ("f", (number, last - first)), "each answer": ("i", (number, last - first))}
            return {
                **(each if per_sample else {}),
                "loss": ("f", (number, present)),
                "correct": ("i", (number, present)),
                "predicted": ("i", (number, classes)),
            }

        for (low, high, first, last), found, is_resumed in ranks.share(
            tiles, compute, journal=journal, progress=progress, check=check, layout=layout
        ):
            for what, values in samples.items():
                values[low:high, first:last] = found[f"each {what}"]
            present = self._present(first, last)
            loss[low:high, present] += found["loss"]
            correct[low:high, present] += found["correct"]
            predicted[low:high] += found["predicted"]
            if among is not None:
                still[low:high, present] += found.get("still", NOT_KNOWN)
            resumed += (high - low) * (last - first) * is_resumed
        own = {"loss": loss, "correct": correct, "predicted": predicted, "still": still, "resumed": np.array([resumed])}
        agreed = ranks.current().agree_arrays({**own, **{f"each {name}": each for name, each in samples.items()}})
        loss, correct, predicted, still, resumed = (agreed.pop(name) for name in own)
        samples = {name.removeprefix("each "): each for name, each in agreed.items()}
        if reduction == "class-mean":
            with np.errstate(invalid="ignore"):
                loss = loss / self.counts.numpy()
        else:
            loss = loss + offset
        if total < some.drawn:
            progress.advance(self.forwards(some.drawn - total), saved=True)
        record = self._record(some, self.forwards(total), int(resumed[0]))
        scores = self._scores(loss, correct, predicted, some, reduction, record, samples)
        if among is not None and (still >= 0).all():
            scores.still = some.as_given(still)
        return scores

    def score_each(self, masks, assignment=None, *, per_sample=False, progress=None, check=None):
        """Filter each image by a mask of its own: one forward per image.

        Args:
            masks: `BitMasks` or dense masks, K of them; twins are not looked for.
            assignment: int64 [n], the mask of each image; None: mask i for image i (K = n).
            per_sample, progress, check: see `score`.

        Returns:
            Scores with K = 1: per class the mean loss and the counts over the images, each under its own mask.
        """
        number, images = self._check_masks(masks), len(self.labels)
        if assignment is None:
            assignment = torch.arange(images)
        assignment = torch.as_tensor(assignment, dtype=torch.int64)
        if assignment.shape != (images,) or assignment.min() < 0 or assignment.max() >= number:
            raise UsageError(
                f"score: each of the {images} images needs one of the {number} masks; "
                f"got {list(assignment.shape)} indices in {assignment.min()}...{assignment.max()}."
            )
        progress = progress or self.progress
        classes, column = len(self.classes), self._columns()
        found = []
        for first, last in self.tiling.blocks():
            block = torch.arange(first, last)
            found.append(self.predictions_each(masks, assignment[block], block, progress=progress, check=check))
        loss, predictions = (torch.cat(parts)[None] for parts in zip(*found, strict=True))
        loss = loss.numpy()
        with np.errstate(invalid="ignore"):
            mean = sums(self.labels, loss, classes, np.float64) / self.counts.numpy()
        correct = sums(self.labels, (predictions == self.class_index[self.labels]).numpy(), classes, np.int64)
        predicted = sums(column[predictions], None, classes + 1, np.int64)[:, :classes]
        samples = {"loss": loss.astype(np.float32), "answer": predictions.int().numpy()} if per_sample else None
        one = Distinct(None, np.arange(1), None, 1)
        return self._scores(mean, correct, predicted, one, "class-mean", self._record(one, images, 0), samples)

    def predictions_each(self, masks, assignment, images, *, progress=None, check=None):
        """What the model makes of some images, each filtered by a mask of its own: one forward per image.

        Not collective: ranks may ask for different images.

        Args:
            masks: `BitMasks` or dense masks. assignment: int64 [n], the mask of each image.
            images: int64 [n], ascending.
            progress: told of every batch. check: None, or called after every batch; may raise.

        Returns:
            (losses, predictions): float64 [n], cross-entropies; int64 [n], the logits that won.
        """
        losses, predictions = torch.empty(len(images), dtype=torch.float64), torch.empty(len(images), dtype=torch.int64)
        for begin in range(0, len(images), self.batch_size):
            part = slice(begin, begin + self.batch_size)
            some, which = images[part], assignment[part]
            own = pick(masks, which, self.forward.device)
            shown = filtered(own, self.spectra.near(some), "each")
            loss, predictions[part] = self.predict(shown, self.labels[some], which, some, len(some))
            losses[part] = torch.from_numpy(loss[0])
            if progress is not None:
                progress.advance(len(some))
            if check is not None:
                check()
        return losses, predictions

    def race(self, masks, *, top, risk, seed=0, progress=None, journal=None, key="race", check=None):
        """Find, for each class, the `top` masks of lowest loss without showing every mask every image.

        See `freqkit.engine.racing`. A mask that was dropped for a class has loss infinity there and no
        counts; the others have the loss and the correct predictions of all the class's images, as `score` gives
        them up to rounding (their batches differ). Nothing is known of images of other classes: `predicted`
        is -1 and `fpr` NaN.

        Args:
            top: masks wanted per class.
            risk: probability, 0 < risk < 1, with which one of them may be lost.
            seed: of the order in which images are shown.
            masks, progress, journal, key, check: see `score`.
        """
        if not isinstance(risk, float) or not 0 < risk < 1:
            raise UsageError(f"race: risk must be a number with 0 < risk < 1; got {risk!r}.")
        call, some = Call(key, progress or self.progress, journal, check), self._distinct(masks)
        loss, correct, done, resumed = racing.race_masks(self, some, call, top, risk, seed)
        record = self._record(some, done, resumed)
        return self._of_stopped(loss, correct, some, call, "class-mean", record)

    def certain(
        self,
        masks,
        *,
        top,
        reduction="class-mean",
        published_batch_size=None,
        progress=None,
        journal=None,
        key="certain",
        check=None,
    ):
        """Find, for each class, the `top` masks of lowest loss as scoring everything would, with fewer forwards.

        See `freqkit.engine.certain`. A mask that was stopped for a class has loss infinity there and no counts; the
        others have the loss and the correct predictions of all the class's images, with the bits of `score`. Nothing is
        known of images of other classes: `predicted` is -1 and `fpr` NaN.

        The bits are those of `score` because an image's logits do not depend on its company in the batch, which is
        tried for every size of batch that either uses. Where they do depend on it (a note says so, and `exact` in the
        record is False), candidates are stopped only a thousandth of the loss beyond the bound, and losses agree with
        those of `score` up to rounding.

        Args:
            top: masks wanted per class.
            masks, reduction, published_batch_size, progress, journal, key, check: see `score`.
        """
        if isinstance(top, bool) or not isinstance(top, int) or top < 1:
            raise UsageError(f"certain: top must be a positive integer; got {top!r}.")
        weights, offset = self._reduction(reduction, published_batch_size)
        call, some = Call(key, progress or self.progress, journal, check), self._distinct(masks)
        exact = self.invariance.holds(len(some.names), call.progress)
        loss, correct, done, resumed = certain.prove_masks(self, some, call, top, exact, weights, offset)
        if reduction == "class-mean":
            loss = loss / np.maximum(self.counts.numpy(), 1)
            loss[:, self.counts.numpy() == 0] = math.nan
        else:
            loss[:, self.counts.numpy() == 0] = 0.0
            loss = loss + offset
        record = {**self._record(some, done, resumed, "certain"), "exact": exact}
        return self._of_stopped(loss, correct, some, call, reduction, record)

    def _distinct(self, masks):
        """`Distinct` of masks."""
        drawn = self._check_masks(masks)
        if isinstance(masks, BitMasks):
            indices, inverse = unique(masks)
            if len(indices) < drawn:
                return Distinct(select(masks, indices), indices.numpy(), inverse, drawn)
        return Distinct(masks, np.arange(drawn), None, drawn)

    def _record(self, some, forwards, resumed, stopping="racing"):
        distinct = self.forwards(len(some.names))
        stopped = {"racing": 0, "certain": 0, stopping: distinct - forwards}
        return {
            "batch_size": self.batch_size,
            "form": self.form["form"],
            "forwards": forwards,
            "forwards_resumed": resumed,
            "forwards_saved": self.forwards(some.drawn) - forwards,
            "forwards_saved_twins": self.forwards(some.drawn) - distinct,
            "forwards_saved_racing": stopped["racing"],
            "forwards_saved_certain": stopped["certain"],
        }

    def _of_stopped(self, loss, correct, some, call, reduction, record):
        """`Scores` of masks that were not shown all images."""
        if record["forwards_saved_twins"]:
            call.progress.advance(record["forwards_saved_twins"], saved=True)
        return self._scores(loss, correct, np.full_like(correct, -1), some, reduction, record)

    def _scores(self, loss, correct, predicted, some, reduction, record, samples=None):
        loss, correct, predicted = map(some.as_given, (loss, correct, predicted))
        samples = {name: some.as_given(each) for name, each in samples.items()} if samples else None
        return Scores(loss, correct, predicted, self.counts, self.classes, reduction, record, samples=samples)

    def show(
        self, stimulus: Stimulus, into: Sequence[Accumulator], *, key: str = "shown", progress: Progress | None = None,
        journal: Journal | None = None, check: Callable[[], None] | None = None, images: range | None = None,
    ) -> dict:  # fmt: skip
        """Show every version of every image to the model.

        Args:
            stimulus: what makes the versions, see `freqkit.engine.stimuli`.
            into: what is kept of the outputs, see `freqkit.engine.accumulators`; each has its `value` afterwards.
            key, progress, journal, check: see `score`.
            images: the images that are shown, one after the other; None: all.

        Returns:
            dict: batch_size, form, forwards, forwards_resumed.
        """
        call, versions, resumed = Call(key, progress or self.progress, journal, check), len(stimulus), 0
        start = 0 if images is None else images.start
        plan = self.tiling if images is None else tiling(len(images), self.batch_size, max_block=self.tiling.block)
        logits = any(one.wants_logits for one in into)
        taps = [tap for one in into for tap in one.taps]
        for one in into:
            one.begin(self, versions)
        tiles = [
            (
                f"{key}/images-{first}-{last}/versions-{low}-{high}",
                (high - low) * (last - first),
                (low, high, first, last),
            )
            for first, last in ((start + a, start + b) for a, b in plan.blocks())
            for low, high in plan.groups(versions)
        ]

        def compute(tile):
            low, high, first, last = tile
            shown, where = stimulus.tile(self.spectra, slice(low, high), slice(first, last)), range(first, last)
            found = self.predict(
                shown, self.labels[first:last], range(low, high), where, plan.part, logits=logits, taps=taps
            )
            loss, predicted, *rest = found
            rest, made = [one.numpy() for one in rest], {}
            logged = rest.pop(0) if logits else None
            for one in into:
                own, rest = rest[: len(one.taps)], rest[len(one.taps) :]
                made[one.name] = one.keep(Outputs(loss, predicted.numpy(), logged, tuple(own)), where)
            return made

        def layout(tile):
            low, high, first, last = tile
            return {one.name: one.layout(high - low, range(first, last)) for one in into}

        for (low, high, first, last), found, is_resumed in call.share(tiles, compute, layout, counted=True):
            for one in into:
                one.add(found[one.name], slice(low, high), range(first, last))
            resumed += (high - low) * (last - first) * is_resumed
        agreed = ranks.current().agree_arrays({"": np.array([resumed]), **{one.name: one.sums for one in into}})
        for one in into:
            one.end(agreed[one.name])
        resumed = int(agreed[""][0])
        return {
            "batch_size": self.batch_size, "form": self.form["form"], "forwards": versions * plan.images,
            "forwards_resumed": resumed,
        }  # fmt: skip

    def predictions(self, masks, take, *, progress=None):
        """Which logit won, for every mask and image, handed over tile by tile.

        Args:
            masks: as in `score`; none is left out, equal or not.
            take: called as `take(range of masks, range of images, predictions)`, predictions int64 [k, b].
            progress: a `freqkit.engine.Progress`.
        """
        names, stimulus = np.arange(self._check_masks(masks)), Filter(masks)
        progress = progress or self.progress
        for first, last in self.tiling.blocks():
            for low, high in self.tiling.groups(len(names)):
                shown, where = stimulus.tile(self.spectra, slice(low, high), slice(first, last)), range(first, last)
                _, won = self.predict(shown, self.labels[first:last], names[low:high], where, self.tiling.part)
                take(range(low, high), where, won)
                progress.advance((high - low) * (last - first))

    # As they were called in 0.1.0; kept for one version.
    answers, answers_each = predictions, predictions_each

    def _check_masks(self, masks):
        if isinstance(masks, BitMasks):
            if tuple(masks.size) != self.size:
                raise UsageError(f"score: masks must be of the images' size {self.size}; got {tuple(masks.size)}.")
            return len(masks.bits)
        if not isinstance(masks, torch.Tensor):
            raise TypeError(f"score: masks must be BitMasks or a tensor [K, H, W]; got {type(masks).__name__}.")
        if masks.ndim != 3 or tuple(masks.shape[1:]) not in (
            self.size,
            (self.size[0], self.size[1] // 2 + 1),
        ):
            height, width = self.size
            raise UsageError(
                f"score: masks must have shape [K, H, W] or [K, H, W//2+1] with H={height}, W={width}; "
                f"got {list(masks.shape)}."
            )
        return len(masks)

    def _reduction(self, reduction, batch):
        """Weight of each image's cross-entropy, and what is added per class."""
        if reduction not in REDUCTIONS:
            raise ValueError(f"score: reduction must be one of {', '.join(REDUCTIONS)}; got {reduction!r}.")
        if reduction == "class-mean":
            return None, None
        if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
            raise UsageError(f"score: published_batch_size must be a positive integer with {reduction}; got {batch!r}.")
        images, classes = len(self.labels), len(self.classes)
        number = torch.arange(images) // batch
        sizes = torch.bincount(number)
        own = torch.bincount(number * classes + self.labels, minlength=len(sizes) * classes).view(-1, classes)
        offset = (sizes[:, None] - own).double() * math.log(self.logits) / sizes[:, None]
        if reduction == "published-batches-of-class":
            offset[own == 0] = 0.0
        offset = offset.sum(0)
        return (1 / sizes.double())[number].numpy(), offset.numpy()

    def _tile(self, masks, names, low, high, first, last, weights, per_sample=False, among=None):
        """Sums of one tile: float64 loss (weighted) and int32 correct, of the classes present, and int32 predicted."""
        labels, classes = self.labels[first:last], len(self.classes)
        shown = Filter(masks).tile(self.spectra, slice(low, high), slice(first, last))
        loss, predictions = self.predict(shown, labels, names[low:high], range(first, last), self.tiling.part)
        weighted = loss if weights is None else loss * weights[first:last]
        column = self._columns()
        each = {"each loss": loss.astype(np.float32), "each answer": predictions.int().numpy()} if per_sample else {}
        present, right = self._present(first, last), (predictions == self.class_index[labels]).numpy()
        if among is not None:
            both = right & among[first:last].numpy()
            each["still"] = sums(labels, both, classes, np.int32)[:, present]
        return {
            **each,
            "loss": sums(labels, weighted, classes, np.float64)[:, present],
            "correct": sums(labels, right, classes, np.int32)[:, present],
            "predicted": sums(column[predictions], None, classes + 1, np.int32)[:, :classes],
        }

    def _present(self, first, last):
        """The classes of images first...last - 1: of a thousand, a block of sorted images holds a few dozen."""
        return self.labels[first:last].unique().numpy()

    def _columns(self):
        """Class of each logit, int64 [L]; one past the last class for logits that are no class."""
        column = torch.full((self.logits,), len(self.classes))
        column[self.class_index] = torch.arange(len(self.classes))
        return column

    def tapped_shapes(self, taps):
        """The shape of what each of some `freqkit.engine.features.Tap`s makes of an image, as tuples.

        Raises:
            UsageError: the scorer's form is another than "eager", which has other layers; a layer is not there.
        """
        if self.form["form"] != "eager":
            raise UsageError(f'score: layers are looked at in form="eager" alone; got {self.form["form"]!r}.')
        sample = self.spectra.inputs(self.spectra.pixels(self.images.images[:1]))
        with tapped(network_of(self.forward), taps) as take:
            self.forward._run(self.forward.module, sample.contiguous(memory_format=torch.channels_last))
            return [tuple(one.shape[1:]) for one in take()]

    def predict(self, shown, labels, names, images, size, logits=False, taps=()):
        """What the model makes of all that is `Shown`.

        Args:
            labels, names, images: of the images their labels, of the versions and of the images the numbers.
            size: images of a batch.
            taps: `freqkit.engine.features.Tap`s.

        Returns:
            (losses float64, winning logits int64), [k, b] on the CPU; with `logits` also these, float64 [k, b, L]; then
            what each tap made, [k, b, ...].
        """
        with tapped(network_of(self.forward), taps) if taps else contextlib.nullcontext(list) as take:
            return self._predict(shown, labels, names, images, size, logits, take)

    def _predict(self, shown, labels, names, images, size, logits, take):
        targets = self.class_index[labels].to(self.forward.device)
        done = []
        for begin in range(0, shown.images, size):
            part = slice(begin, min(begin + size, shown.images))
            try:
                done.append(self._batch(shown, slice(0, shown.versions), part, targets, logits, take))
            except (torch.OutOfMemoryError, TypeError, UsageError):
                raise
            except Exception as error:
                raise RuntimeError(
                    f"score: the model raised {type(error).__name__} on {shown.what}s {_span(names)}, "
                    f"images {_span(images[part])}: {error}"
                ) from error
        loss, *rest = (torch.cat(parts, 1).cpu() for parts in zip(*done, strict=True))
        loss = loss.numpy()
        if not np.isfinite(loss).all():
            version, image = (int(i) for i in np.argwhere(~np.isfinite(loss))[0])
            version, image = int(names[image if shown.each else version]), int(images[image])
            paths = getattr(self.images, "paths", None)
            raise FloatingPointError(
                "score: the model gave a NaN or infinite logit "
                f"for {shown.what} {version} and image {image}{f' ({paths[image]})' if paths else ''}."
            )
        return loss, *rest

    def _batch(self, shown, versions, images, targets, with_logits, take=list):
        """One forward: what `predict` gives, on the device. In halves once memory has run out."""
        number, count = versions.stop - versions.start, images.stop - images.start
        if self.pairs_limit is not None and number * count > max(1, self.pairs_limit):
            axis, whole = (1, images) if count > 1 else (0, versions)
            middle = whole.start + (count if axis else number) // 2
            halves = slice(whole.start, middle), slice(middle, whole.stop)
            pairs = [(versions, half) if axis else (half, images) for half in halves]
            parts = [self._batch(shown, *pair, targets, with_logits, take) for pair in pairs]
            return tuple(torch.cat(both, axis) for both in zip(*parts, strict=True))
        try:
            logits = self.forward(shown.make(versions, images))
        except torch.OutOfMemoryError:
            if number * count == 1:
                raise
            self.pairs_limit = number * count // 2
            self.forward.rows = None
            if self.forward.device.type == "cuda":
                torch.cuda.empty_cache()
            self.progress.note(
                f"{self.forward.device} ran out of memory with a batch of {number * count} images: going on "
                f"with at most {self.pairs_limit}. Last bits may differ from a run that never did so."
            )
            return self._batch(shown, versions, images, targets, with_logits, take)
        if logits.shape[1] != self.logits:
            raise UsageError(f"score: the model must return its {self.logits} logits; got {logits.shape[1]}.")
        each = F.cross_entropy(logits, targets[images].repeat(number), reduction="none")
        # An infinite logit of another class would leave the loss finite.
        each = torch.where(torch.isfinite(logits.sum(1)), each, math.nan)
        found = each.view(number, count), logits.argmax(1).view(number, count)
        logged = (logits.view(number, count, -1),) if with_logits else ()
        return (*found, *logged, *(one.unflatten(0, (number, count)) for one in take()))


@flat
def score(
    model: Network, images: Images, masks: BitMasks | torch.Tensor, *, reduction: str = "class-mean",
    published_batch_size: int | None = None, progress: Progress | None = None, scoring: Scoring,
) -> Scores:  # fmt: skip
    """Filter every image by every mask, ask the model, and sum per mask and class.

    `y[k, b] = Re IDFT2(m_k DFT2(x[b]))`, losses from per-image cross-entropies, summed in float64 in a fixed
    order: the same call gives the same bits on the same machine.

    The released code takes the mean over a whole batch after the logits and labels of other classes' images are set
    to 0, so that each of those adds ln L (L logits), and sums that over consecutive batches j of the images in their
    given order. With S_cj the summed cross-entropy of the n_cj images of class c among the B_j of batch j:

    - "published-batches", the HFSS code (CVPR 2025): `L_c = sum_j [S_cj + (B_j - n_cj) ln L] / B_j` over all batches;
      a class without images has `ln L` for every batch, whatever the mask;
    - "published-batches-of-class", the DFM code (ICCV 2023), which leaves out batches without the class: the same sum
      over the batches with n_cj > 0; a class without images has 0.

    Args:
        model: a `freqkit.models.Classifier` ([0, 1] RGB in, logits out); copied, never changed.
        images: what `freqkit.data.as_images` takes: n images, C classes.
        masks: `BitMasks` of K masks, or real dense masks in torch's layout, [K, H, W] or [K, H, W//2+1].
        reduction: "class-mean" (NaN for a class without images), or a published one (needs `published_batch_size`).
        progress: a `freqkit.engine.Progress`.

    Returns:
        Scores.

    Raises:
        UsageError, TypeError, ValueError: an argument does not fit; FloatingPointError: a logit is NaN or
            infinite (mask and image are named).

    Source: Wang et al., CVPR 2025 (arXiv 2503.03519) and ICCV 2023 (arXiv 2307.09829), and their released code.

    Example: see `Scorer`.
    """
    model, images = enter("score", model, images, scoring.class_index)
    expected = len(images.images) * len(masks.bits if isinstance(masks, BitMasks) else masks)
    scorer = Scorer(model, images, expected=expected, progress=progress, **vars(scoring))
    progress = scorer.progress
    progress.start("score", scorer.forwards(scorer._check_masks(masks)))
    try:
        return scorer.score(masks, reduction=reduction, published_batch_size=published_batch_size, progress=progress)
    finally:
        progress.finish()


def _span(names):
    return f"{int(names[0])}...{int(names[-1])}"
