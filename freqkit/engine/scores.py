"""What a classifier makes of images filtered by masks: per mask and class, loss and counts."""

import itertools
import math
import time

import numpy as np
import torch
import torch.nn.functional as F

from freqkit.engine import certain, racing, ranks
from freqkit.engine.batches import BATCHES_PER_TILE, calibrate, tiling
from freqkit.engine.forward import Forward
from freqkit.engine.progress import Silent
from freqkit.errors import UsageError
from freqkit.masks import select, unique
from freqkit.models import as_classifier
from freqkit.models.wrap import BY_NAME, check_order
from freqkit.ops import BitMasks, Spectrum, spectral_filter, spectrum
from freqkit.results import Scores

# The two published ones: of the CVPR 2025 code over all batches, of the ICCV 2023 code over those that hold the class.
REDUCTIONS = ("class-mean", "published-batches", "published-batches-of-class")
SPECTRA = ("float32", "float16")
NOT_KNOWN = -(1 << 40)  # more than there are images: of tiles that were journalled before this was counted
ROUGH = 1e-3  # of a loss: more than rounding changes it where it depends on the company in the batch


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

    def __init__(
        self,
        model,
        images,
        *,
        batch_size="auto",
        device=None,
        dtype=None,
        domain="normalised",
        class_index=None,
        memory=1 << 30,
        form="auto",
        spectra="float32",
        expected=0,
        progress=None,
    ):
        if spectra not in SPECTRA:
            raise UsageError(f"score: spectra must be one of {', '.join(SPECTRA)}; got {spectra!r}.")
        if isinstance(memory, bool) or not isinstance(memory, int) or memory < 1:
            raise UsageError(f"score: memory must be a positive number of bytes; got {memory!r}.")
        self.progress = progress or Silent()
        self.pairs_limit = None
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
        model = as_classifier(model, "score", images)
        if class_index is None:
            check_order("score", model, self.classes, BY_NAME)
        self.logits = int(model.num_classes)
        self.class_index = self._class_index(class_index)
        self.forward = Forward(model, device=device, dtype=dtype, domain=domain)
        self.forward.compares = True
        self.calibration = None
        if batch_size == "auto":
            shape, limit = tuple(images.images.shape[1:]), 64 * len(self.labels)
            batch_size, timings = ranks.on_first(lambda: calibrate(self.forward, shape, limit=limit))
            self.calibration = {str(size): each for size, each in timings.items()}
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise UsageError(f'score: batch_size must be "auto" or a positive integer; got {batch_size!r}.')
        self.batch_size = batch_size
        self.memory_limit = memory
        self.transforms = 0
        self._spectrum_bytes = one = self._transform(images.images[:1]).nbytes
        self.tiling = tiling(len(self.labels), batch_size, max_block=max(1, memory // one))
        self._half = spectra == "float16" and self.forward.compute is torch.float32
        if self._half:
            self._spectrum_bytes //= 2
        self._keep = len(self.labels) * self._spectrum_bytes <= memory
        self._half = self._half and self._keep
        self._spectra, self._wide = {}, (None, None)
        self._race_held = torch.empty(0, dtype=torch.int64), None
        self._company = {}
        sample = self._pixels(images.images[: min(32, self.tiling.block)])
        if domain == "normalised":
            mean, std = (torch.tensor(v, device=sample.device).view(1, 3, 1, 1) for v in (model.mean, model.std))
            sample = (sample - mean.to(sample.dtype)) / std.to(sample.dtype)
        sample = sample.contiguous(memory_format=torch.channels_last)
        rows = self.tiling.part * self.tiling.group

        def optimise(form):
            return self.forward.optimise(form, sample, expected=expected, rows=rows, note=self.progress.note)

        def follow(decided):
            if optimise(decided["form"])["form"] != decided["form"]:
                raise RuntimeError(f"the {decided['form']} network of rank 0 cannot be had on every rank.")

        self.form = ranks.on_first(lambda: optimise(form), follow)
        # Only what scores masks counts as work.
        self.transforms = self.forward.images = self.forward.batches = 0
        self.forward.seconds = 0.0

    def _class_index(self, given):
        if given is None:
            if len(self.classes) != self.logits:
                raise UsageError(
                    f"score: the model has {self.logits} logits but the images have {len(self.classes)} "
                    "classes; give class_index, the logit of each class."
                )
            return torch.arange(self.logits)
        index = torch.as_tensor(given, dtype=torch.int64)
        if index.shape != (len(self.classes),) or index.min() < 0 or index.max() >= self.logits:
            raise UsageError(
                f"score: class_index must give one logit in 0...{self.logits - 1} for each of the "
                f"{len(self.classes)} classes; got {index.tolist()[:8]}{'...' if index.numel() > 8 else ''}."
            )
        if len(index.unique()) != len(index):
            raise UsageError("score: class_index must not name a logit twice.")
        return index

    def _spectrum(self, first, last):
        held = self._held(first, last)
        if not self._half:
            return held
        if self._wide[0] != (first, last):
            self._wide = None, None  # before the next one is made
            self._wide = (first, last), self._widen(held)
        return self._wide[1]

    def _held(self, first, last):
        """A block's spectra as they are kept."""
        if (first, last) not in self._spectra:
            if not self._keep:
                self._spectra.clear()
            made = self._transform(self.images.images[first:last])
            self._spectra[first, last] = self._narrow(made) if self._half else made
        return self._spectra[first, last]

    def _spectra_of(self, images):
        """Spectra of images int64 [n], in their order; an image may come more than once."""
        distinct, back = images.unique(return_inverse=True)
        if not self._keep:
            return self._transform(self.images.images[distinct])[back.to(self.forward.device)]
        parts = []
        for first, last in self.tiling.blocks():
            inside = distinct[(distinct >= first) & (distinct < last)] - first
            if len(inside):
                parts.append(self._held(first, last)[inside.to(self.forward.device)])
        packed = torch.cat([part.packed for part in parts]) if len(parts) > 1 else parts[0].packed
        found = Spectrum(packed, parts[0].height, parts[0].width)
        return (self._widen(found) if self._half else found)[back.to(self.forward.device)]

    def _widen(self, held):
        wide = held.packed.float().mul_(math.sqrt(held.height * held.width))
        return Spectrum(wide, held.height, held.width)

    def _narrow(self, made):
        # As the orthonormal transform has it: unscaled, the mean of a large image is beyond float16.
        scale = 1 / math.sqrt(made.height * made.width)
        return Spectrum((made.packed * scale).half(), made.height, made.width)

    def _transform(self, images):
        self.transforms += len(images)
        return spectrum(self._pixels(images), mean=self.forward.mean, std=self.forward.std)

    def _pixels(self, images):
        return images.to(self.forward.device).to(self.forward.compute).div_(255)

    def memory(self):
        """Bytes of the decoded images, of the spectra held at once, and of one batch's filtered images."""
        images = self.images.images
        held = len(self.labels) if self._keep else self.tiling.block
        real = torch.empty(0, dtype=self.forward.compute).element_size()
        return {
            "images": images.numel(),
            "spectra": held * self._spectrum_bytes,
            "batch": self.tiling.part * self.tiling.group * images[0].numel() * real,
        }

    def economies(self):
        """What was saved so far, by all ranks together, as plain JSON values for run.json.

        images_decoded (once each), transforms (forward transforms of images), forwards (images that went through the
        model), batches, batch_fill (mean share of the batch size), spectra (how they are kept), spectra_bytes, form,
        form_difference (largest change of a logit, as a share of the largest; None when nothing was changed).
        """
        own = [self.transforms, self.forward.images, self.forward.batches]
        transforms, forwards, batches = map(sum, zip(*ranks.current().facts(own), strict=True))
        differences = [value for name, value in self.form.items() if name.startswith("difference")]
        kept = f"kept in {'float16' if self._half else str(self.forward.compute).removeprefix('torch.')}"
        return {
            "images_decoded": len(self.labels),
            "transforms": transforms,
            "forwards": forwards,
            "batches": batches,
            "batch_fill": forwards / (batches * self.batch_size) if batches else None,
            "spectra": kept if self._keep else "recomputed",
            "spectra_bytes": self.memory()["spectra"],
            "form": self.form["form"],
            "form_difference": max(differences, default=None),
        }

    def seconds_per_forward(self, masks):
        """Wall time per (mask, image) pair, filter and sums included: the best of three runs of one batch."""
        masks = _take(masks, 0, self.tiling.group, "cpu")
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
            per_sample: also return every single loss and answer, see `Scores.samples`.
            among: bool [n], the images that are recognised whole: `Scores.still` then counts those of them that are
                recognised through the masks (None when tiles of the journal do not tell).
        """
        drawn = self._check_masks(masks)
        masks, names, inverse = self._distinct(masks)
        total = len(names)
        weights, offset = self._reduction(reduction, published_batch_size)
        progress = progress or self.progress
        samples = None
        if per_sample:
            samples = {
                "loss": np.empty((total, len(self.labels)), np.float32),
                "answer": np.empty((total, len(self.labels)), np.int32),
            }
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
            return self._tile(masks, names, *tile, weights, per_sample, among)

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

        for (low, high, first, last), sums, known in ranks.share(
            tiles, compute, journal=journal, progress=progress, check=check, layout=layout
        ):
            if per_sample:
                for what, values in samples.items():
                    values[low:high, first:last] = sums[f"each {what}"]
            present = self._present(first, last)
            loss[low:high, present] += sums["loss"]
            correct[low:high, present] += sums["correct"]
            predicted[low:high] += sums["predicted"]
            if among is not None:
                still[low:high, present] += sums.get("still", NOT_KNOWN)
            resumed += (high - low) * (last - first) * known
        resumed, (loss, correct, predicted, still), samples = _agreed(
            resumed, (loss, correct, predicted, still), samples
        )
        if reduction == "class-mean":
            with np.errstate(invalid="ignore"):
                loss = loss / self.counts.numpy()
        else:
            loss = loss + offset
        if total < drawn:
            progress.advance(self.forwards(drawn - total), saved=True)
        record = self._record(drawn, total, self.forwards(total), resumed)
        scores = self._scores(loss, correct, predicted, inverse, reduction, record, samples)
        if among is not None and (still >= 0).all():
            scores.still = torch.from_numpy(still if inverse is None else still[inverse.numpy()])
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
            found.append(self.answers_each(masks, assignment[block], block, progress=progress, check=check))
        loss, answers = (torch.cat(parts)[None] for parts in zip(*found, strict=True))
        loss = loss.numpy()
        with np.errstate(invalid="ignore"):
            mean = _sums(self.labels, loss, classes, np.float64) / self.counts.numpy()
        return self._scores(
            mean,
            _sums(self.labels, (answers == self.class_index[self.labels]).numpy(), classes, np.int64),
            _sums(column[answers], None, classes + 1, np.int64)[:, :classes],
            None,
            "class-mean",
            self._record(1, 1, images, 0),
            {"loss": loss.astype(np.float32), "answer": answers.int().numpy()} if per_sample else None,
        )

    def answers_each(self, masks, assignment, images, *, progress=None, check=None):
        """What the model makes of some images, each filtered by a mask of its own: one forward per image.

        Not collective: ranks may ask for different images.

        Args:
            masks: `BitMasks` or dense masks. assignment: int64 [n], the mask of each image.
            images: int64 [n], ascending.
            progress: told of every batch. check: None, or called after every batch; may raise.

        Returns:
            (losses, answers): float64 [n], cross-entropies; int64 [n], the logits that won.
        """
        losses, answers = torch.empty(len(images), dtype=torch.float64), torch.empty(len(images), dtype=torch.int64)
        for begin in range(0, len(images), self.batch_size):
            part = slice(begin, begin + self.batch_size)
            some, which = images[part], assignment[part]
            own = _pick(masks, which, self.forward.device)
            loss, answers[part] = self._ask(
                own, self._spectra_near(some), self.labels[some], which, some, len(some), "each"
            )
            losses[part] = torch.from_numpy(loss[0])
            if progress is not None:
                progress.advance(len(some))
            if check is not None:
                check()
        return losses, answers

    def _spectra_near(self, images):
        """Spectra of images int64 [n], ascending: of neighbours in a block, a view of what is held."""
        low, high = int(images[0]), int(images[-1]) + 1
        first, last = next(block for block in self.tiling.blocks() if low < block[1])
        if high - low == len(images) and high <= last:
            return self._spectrum(first, last)[low - first : high - first]
        return self._race_spectrum(images)

    def race(self, masks, *, top, risk, seed=0, progress=None, journal=None, key="race", check=None):
        """Find, for each class, the `top` masks of lowest loss without showing every mask every image.

        See `freqkit.engine.racing`. A mask that was dropped for a class has loss infinity there and no
        counts; the others have the loss and the correct answers of all the class's images, as `score` gives
        them up to rounding (their batches differ). Nothing is known of images of other classes: `predicted`
        is -1 and `fpr` NaN.

        Args:
            top: masks wanted per class.
            risk: probability, 0 < risk < 1, with which one of them may be lost.
            seed: of the order in which images are shown.
            masks, progress, journal, key, check: see `score`.
        """
        drawn = self._check_masks(masks)
        if not isinstance(risk, float) or not 0 < risk < 1:
            raise UsageError(f"race: risk must be a number with 0 < risk < 1; got {risk!r}.")
        masks, names, inverse = self._distinct(masks)
        progress = progress or self.progress
        total, classes = len(names), len(self.classes)
        loss = np.full((total, classes), math.inf)
        correct = np.zeros((total, classes), dtype=np.int64)
        done = resumed = 0
        loss[:, self.counts.numpy() == 0] = math.nan
        for heats in self._heats(total, seed):
            while heats:
                # One look at every class, so that there are tiles enough for all ranks.
                tiles = [
                    (f"{key}/{heat.label}/{b}-{e}/{low}-{high}", (high - low) * (e - b), (heat, low, high, b, e, size))
                    for heat in heats
                    for low, high, b, e, size in self._pieces(len(heat.alive), *heat.next)
                ]

                def compute(tile):
                    heat, low, high, begin, end, size = tile
                    some, members = heat.alive[low:high], heat.members[begin:end]
                    return self._race_tile(masks, names, some, members, heat.label, size)

                def layout(tile):
                    _, low, high, begin, end, _ = tile
                    number = high - low
                    return {
                        "each": ("f", (number, end - begin)),
                        "loss": ("f", (number,)),
                        "correct": ("i", (number,)),
                    }

                for (heat, low, high, begin, end, _), found, known in ranks.share(
                    tiles, compute, journal=journal, progress=progress, check=check, layout=layout
                ):
                    heat.see(low, high, begin, end, found)
                    done += (high - low) * (end - begin)
                    resumed += (high - low) * (end - begin) * known
                saved = self._drop(heats, top, risk)
                if saved:
                    progress.advance(saved, saved=True)
                for heat in heats:
                    if heat.over:
                        loss[heat.alive, heat.label] = heat.sums / len(heat.members)
                        correct[heat.alive, heat.label] = heat.hits
                heats = [heat for heat in heats if not heat.over]
        (done, resumed), (loss, correct), _ = _agreed([done, resumed], (loss, correct), None)
        record = self._record(drawn, total, done, resumed)
        if total < drawn:
            progress.advance(self.forwards(drawn - total), saved=True)
        return self._scores(loss, correct, np.full_like(correct, -1), inverse, "class-mean", record)

    def _heats(self, masks, seed):
        """Races of some classes at a time, so that the losses they remember keep to the stated memory."""
        heats, held = [], 0
        for label in self.counts.nonzero().flatten().tolist():
            need = 4 * masks * int(self.counts[label])
            if heats and held + need > self.memory_limit:
                yield heats
                heats, held = [], 0
            members = (self.labels == label).nonzero().flatten()
            members = members[torch.from_numpy(racing.order(len(members), seed, label))]
            heats.append(racing.Heat(label, members, masks))
            held += need
        if heats:
            yield heats

    def _drop(self, heats, top, risk):
        """Let every class's race have its look, on rank 0; how many forwards that saves."""
        keep = {}
        if ranks.current().first:
            keep = {str(heat.label): heat.look(top, risk) for heat in heats}
        keep = ranks.current().agree_arrays(keep)
        return sum(heat.drop(keep[str(heat.label)]) for heat in heats)

    def _pieces(self, masks, first, last):
        """Tiles over `masks` x images first...last - 1: (low, high) and (begin, end), and the images of a batch."""
        plan = tiling(last - first, self.tiling.part * self.tiling.group, max_block=self.tiling.block)
        for begin, end in plan.blocks():
            for low, high in plan.groups(masks):
                yield low, high, first + begin, first + end, plan.part

    def _race_tile(self, masks, names, some, members, label, size):
        """Some masks, images of one class: float32 losses [k, b], their sums, correct answers [k]."""
        chosen = _pick(masks, torch.from_numpy(some), self.forward.device)
        spectra = self._race_spectrum(members)
        loss, answers = self._ask(chosen, spectra, self.labels[members], names[some], members, size)
        return {
            "each": loss.astype(np.float32),
            "loss": _sums(np.zeros(len(members), np.int64), loss, 1, np.float64)[:, 0],
            "correct": (answers == self.class_index[label]).sum(1).numpy(),
        }

    def _race_spectrum(self, members):
        """Spectra of some images; the last asked for are kept, for many masks follow one another on them."""
        held, spectra = self._race_held
        if not torch.equal(held, members):
            spectra = self._spectra_of(members)
            self._race_held = members, spectra
        return spectra

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
        others have the loss and the correct answers of all the class's images, with the bits of `score`. Nothing is
        known of images of other classes: `predicted` is -1 and `fpr` NaN.

        The bits are those of `score` because an image's logits do not depend on its company in the batch, which is
        tried for every size of batch that either uses. Where they do depend on it (a note says so, and `exact` in the
        record is False), candidates are stopped only a thousandth of the loss beyond the bound, and losses agree with
        those of `score` up to rounding.

        Args:
            top: masks wanted per class.
            masks, reduction, published_batch_size, progress, journal, key, check: see `score`.
        """
        drawn = self._check_masks(masks)
        masks, names, inverse = self._distinct(masks)
        weights, offset = self._reduction(reduction, published_batch_size)
        progress = progress or self.progress
        if isinstance(top, bool) or not isinstance(top, int) or top < 1:
            raise UsageError(f"certain: top must be a positive integer; got {top!r}.")
        total, classes = len(names), len(self.classes)
        exact = self._same_in_any_company(total, progress)
        margin = certain.MARGIN if exact else ROUGH
        loss = np.full((total, classes), math.inf)
        correct = np.zeros((total, classes), dtype=np.int64)
        done = resumed = 0

        def ask(pairs):
            return self._pairs(masks, names, *pairs, weights)

        def layout(pairs):
            return {"loss": ("f", (len(pairs[0]),)), "correct": ("i", (len(pairs[0]),))}

        for group, proofs in enumerate(self._proofs(total)):
            for turn in itertools.count(1):
                asked, saved = self._asked(proofs, top, margin, offset)
                if saved:
                    progress.advance(saved, saved=True)
                if not len(asked["mask"]):
                    break
                tiles = self._cut(asked, f"{key}/{group}/{turn}")
                for (who, images), values, known in ranks.share(
                    tiles, ask, journal=journal, progress=progress, check=check, layout=layout
                ):
                    done += len(who)
                    resumed += len(who) * known
                    for proof in proofs:
                        own = (self.labels[images] == proof.label).numpy()
                        places = np.searchsorted(proof.members, images[own])
                        proof.see(who[own], places, values["loss"][own], values["correct"][own])
            if ranks.current().first:
                for proof in proofs:
                    whole = proof.complete
                    loss[whole, proof.label] = self._added(proof.losses[whole], proof.members)
                    correct[whole, proof.label] = proof.hits[whole]
        (done, resumed), (loss, correct), _ = _agreed([done, resumed], (loss, correct), None)
        if reduction == "class-mean":
            loss = loss / np.maximum(self.counts.numpy(), 1)
            loss[:, self.counts.numpy() == 0] = math.nan
        else:
            loss[:, self.counts.numpy() == 0] = 0.0
            loss = loss + offset
        record = {**self._record(drawn, total, done, resumed, "certain"), "exact": exact}
        if total < drawn:
            progress.advance(self.forwards(drawn - total), saved=True)
        return self._scores(loss, correct, np.full_like(correct, -1), inverse, reduction, record)

    def _proofs(self, masks):
        """The classes' proofs, some at a time, so that the losses they remember keep to the stated memory."""
        proofs, held = [], 0
        for label in self.counts.nonzero().flatten().tolist():
            need = 8 * masks * int(self.counts[label])
            if proofs and held + need > self.memory_limit:
                yield proofs
                proofs, held = [], 0
            members = (self.labels == label).nonzero().flatten().numpy()
            # Other ranks than the first hold no losses: they are told what to look at.
            proofs.append(certain.Proof(label, members, masks if ranks.current().first else 0))
            held += need
        if proofs:
            yield proofs

    def _asked(self, proofs, top, margin, offset):
        """What to look at next, on every rank: pairs {"mask", "image"}, int64, and the forwards that are saved."""
        arrays = None
        if ranks.current().first:
            masks, images, saved = [], [], 0
            for proof in proofs:
                floor = 0.0 if offset is None else float(offset[proof.label])
                asked, out = proof.ask(top, lambda losses, of=proof: self._added(losses, of.members), margin, floor)
                place, mask = np.nonzero(asked.T)  # image by image, so that few need a spectrum at a time
                masks.append(mask)
                images.append(proof.members[place])
                saved += out
            arrays = {"mask": np.concatenate(masks), "image": np.concatenate(images), "saved": np.array([saved])}
        arrays = ranks.current().agree_arrays(arrays)
        return arrays, int(arrays.pop("saved")[0])

    def _cut(self, pairs, key):
        """Tiles of pairs of a mask and an image, for `ranks.share`."""
        count, step = len(pairs["mask"]), BATCHES_PER_TILE * self.tiling.part * self.tiling.group
        spans = [(at, min(at + step, count)) for at in range(0, count, step)]
        return [(f"{key}/0-1/{a}-{b}", b - a, (pairs["mask"][a:b], pairs["image"][a:b])) for a, b in spans]

    def _pairs(self, masks, names, some, images, weights):
        """Pairs of a mask and an image: float64 losses (weighted) and right answers, [pairs]."""
        size, losses, right = self.tiling.part * self.tiling.group, [], []
        for begin in range(0, len(some), size):
            who, where = (torch.from_numpy(value[begin : begin + size]) for value in (some, images))
            chosen = _pick(masks, who, self.forward.device)
            labels = self.labels[where]
            rows = next(rows for rows in self._ladder() if rows >= len(who))
            with self.forward.padded(None if self.pairs_limit else rows):
                loss, answers = self._ask(
                    chosen, self._spectra_of(where), labels, names[who.numpy()], where, size, "each"
                )
            losses.append(loss[0] if weights is None else loss[0] * weights[where.numpy()])
            right.append((answers[0] == self.class_index[labels]).numpy())
        return {"loss": np.concatenate(losses), "correct": np.concatenate(right)}

    def _ladder(self):
        """Sizes of the batches of `certain`: a batch is padded to the next, so that all have been tried."""
        size = self.tiling.part * self.tiling.group
        return [*(rows for rows in (8, 16, 32, 64, 128, 256, 512, 1024, 2048) if rows < size), size]

    def _added(self, losses, members):
        """Sums [k] of losses [k, n] of some images, in order, added as `score` does: within blocks, then these."""
        sums = np.zeros(len(losses))
        for first, last in self.tiling.blocks():
            inside = losses[:, slice(*np.searchsorted(members, (first, last)))]
            if inside.shape[1]:
                sums += _sums(np.zeros(inside.shape[1], np.int64), inside, 1, np.float64)[:, 0]
        return sums

    def _same_in_any_company(self, masks, progress):
        """Whether an image's logits have the same bits in every batch that `score` and `certain` make of the masks."""
        groups, blocks = self.tiling.groups(masks), self.tiling.blocks()
        parts = {end - begin for block in blocks for begin, end in self.tiling.parts(*block)}
        sizes = frozenset((high - low) * part for low, high in groups for part in parts)
        if sizes not in self._company:
            # On all ranks, for they may be different machines.
            found = ranks.current().facts(self._try_company(sizes))
            self._company[sizes] = all(found)
            if not all(found):
                progress.note(
                    f"the network gives an image other last bits in other company on {self.forward.device}: losses will"
                    " agree with those of scoring everything up to rounding."
                )
        return self._company[sizes]

    def _try_company(self, sizes):
        rows, generator = self.tiling.part * self.tiling.group, torch.Generator().manual_seed(0)
        shape = (rows, *self.images.images.shape[1:])
        images = torch.randn(shape, generator=generator, dtype=self.forward.compute)
        images = images.to(self.forward.device, memory_format=torch.channels_last)
        before = self.forward.images, self.forward.batches, self.forward.seconds
        want, same = self.forward(images), True
        for size in sorted({*self._ladder(), *sizes}):
            some = torch.randperm(rows, generator=generator)[:size].to(images.device)
            logits = self.forward(images[some].contiguous(memory_format=torch.channels_last))
            same = same and torch.equal(logits, want[some])
        self.forward.images, self.forward.batches, self.forward.seconds = before
        return same

    def _distinct(self, masks):
        """Masks without effective twins, the number under which each was given, and how to get all back."""
        drawn = self._check_masks(masks)
        if isinstance(masks, BitMasks):
            indices, inverse = unique(masks)
            if len(indices) < drawn:
                return select(masks, indices), indices.numpy(), inverse
        return masks, np.arange(drawn), None

    def _record(self, drawn, distinct, forwards, resumed, stopping="racing"):
        stopped = {"racing": 0, "certain": 0, stopping: self.forwards(distinct) - forwards}
        return {
            "batch_size": self.batch_size,
            "form": self.form["form"],
            "forwards": forwards,
            "forwards_resumed": resumed,
            "forwards_saved": self.forwards(drawn) - forwards,
            "forwards_saved_twins": self.forwards(drawn - distinct),
            "forwards_saved_racing": stopped["racing"],
            "forwards_saved_certain": stopped["certain"],
        }

    def _scores(self, loss, correct, predicted, inverse, reduction, record, samples=None):
        tensors = [torch.from_numpy(value) for value in (loss, correct, predicted)]
        if inverse is not None:
            tensors = [value[inverse] for value in tensors]
        if samples is not None:
            samples = {name: torch.from_numpy(value) for name, value in samples.items()}
            if inverse is not None:
                samples = {name: value[inverse] for name, value in samples.items()}
        return Scores(*tensors, self.counts, self.classes, reduction, record, samples=samples)

    def answers(self, masks, take, *, progress=None):
        """Which logit won, for every mask and image, handed over tile by tile.

        Args:
            masks: as in `score`; none is left out, equal or not.
            take: called as `take(range of masks, range of images, answers)`, answers int64 [k, b].
            progress: a `freqkit.engine.Progress`.
        """
        names = np.arange(self._check_masks(masks))
        progress = progress or self.progress
        for first, last in self.tiling.blocks():
            for low, high in self.tiling.groups(len(names)):
                some = _take(masks, low, high, self.forward.device)
                spectra, labels, where = self._spectrum(first, last), self.labels[first:last], range(first, last)
                _, won = self._ask(some, spectra, labels, names[low:high], where, self.tiling.part)
                take(range(low, high), where, won)
                progress.advance((high - low) * (last - first))

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
        some = _take(masks, low, high, self.forward.device)
        labels, classes = self.labels[first:last], len(self.classes)
        loss, answers = self._ask(
            some, self._spectrum(first, last), labels, names[low:high], range(first, last), self.tiling.part
        )
        weighted = loss if weights is None else loss * weights[first:last]
        column = self._columns()
        each = {"each loss": loss.astype(np.float32), "each answer": answers.int().numpy()} if per_sample else {}
        present, right = self._present(first, last), (answers == self.class_index[labels]).numpy()
        if among is not None:
            both = right & among[first:last].numpy()
            each["still"] = _sums(labels, both, classes, np.int32)[:, present]
        return {
            **each,
            "loss": _sums(labels, weighted, classes, np.float64)[:, present],
            "correct": _sums(labels, right, classes, np.int32)[:, present],
            "predicted": _sums(column[answers], None, classes + 1, np.int32)[:, :classes],
        }

    def _present(self, first, last):
        """The classes of images first...last - 1: of a thousand, a block of sorted images holds a few dozen."""
        return self.labels[first:last].unique().numpy()

    def _columns(self):
        """Class of each logit, int64 [L]; one past the last class for logits that are no class."""
        column = torch.full((self.logits,), len(self.classes))
        column[self.class_index] = torch.arange(len(self.classes))
        return column

    def _ask(self, masks, spectra, labels, mask_names, image_names, size, pairing="all"):
        """Losses (float64) and answers (int64), [k, b] on the CPU, of every mask with every image."""
        targets = self.class_index[labels].to(self.forward.device)
        done = []
        for begin in range(0, len(spectra), size):
            end = min(begin + size, len(spectra))
            part = spectra if end - begin == len(spectra) else spectra[begin:end]
            try:
                done.append(self._batch(masks, part, targets[begin:end], pairing))
            except (torch.OutOfMemoryError, TypeError, UsageError):
                raise
            except Exception as error:
                raise RuntimeError(
                    f"score: the model raised {type(error).__name__} on masks {_span(mask_names)}, "
                    f"images {_span(image_names[begin:end])}: {error}"
                ) from error
        loss = torch.cat([each for each, _ in done], 1).cpu().numpy()
        if not np.isfinite(loss).all():
            mask, image = (int(i) for i in np.argwhere(~np.isfinite(loss))[0])
            mask = mask_names[image if pairing == "each" else mask]
            mask, image = int(mask), int(image_names[image])
            paths = getattr(self.images, "paths", None)
            raise FloatingPointError(
                "score: the model gave a NaN or infinite logit "
                f"for mask {mask} and image {image}{f' ({paths[image]})' if paths else ''}."
            )
        return loss, torch.cat([answers for _, answers in done], 1).cpu()

    def _batch(self, masks, spectra, targets, pairing):
        """One forward: losses and answers [k, b] on the device. In halves once memory has run out."""
        images = len(spectra)
        number = 1 if pairing == "each" else len(masks.bits if isinstance(masks, BitMasks) else masks)
        if self.pairs_limit is not None and number * images > max(1, self.pairs_limit):
            half, axis = (images // 2, 1) if images > 1 else (number // 2, 0)
            cuts = ((0, half), (half, images if axis else number))
            parts = [
                self._batch(
                    masks if axis and pairing == "all" else _take(masks, a, b, self.forward.device),
                    spectra[a:b] if axis else spectra,
                    targets[a:b] if axis else targets,
                    pairing,
                )
                for a, b in cuts
            ]
            return tuple(torch.cat(both, axis) for both in zip(*parts, strict=True))
        try:
            # Always by transforms: a mask must give the same bits in whatever batch it comes.
            filtered = spectral_filter(spectra, masks, pairing=pairing, memory_format=torch.channels_last, method="fft")
            logits = self.forward(filtered if pairing == "each" else filtered.flatten(0, 1))
        except torch.OutOfMemoryError:
            if number * images == 1:
                raise
            self.pairs_limit = number * images // 2
            self.forward.rows = None
            if self.forward.device.type == "cuda":
                torch.cuda.empty_cache()
            self.progress.note(
                f"{self.forward.device} ran out of memory with a batch of {number * images} images: going on "
                f"with at most {self.pairs_limit}. Last bits may differ from a run that never did so."
            )
            return self._batch(masks, spectra, targets, pairing)
        if logits.shape[1] != self.logits:
            raise UsageError(f"score: the model must return its {self.logits} logits; got {logits.shape[1]}.")
        each = F.cross_entropy(logits, targets.repeat(number), reduction="none")
        # An infinite logit of another class would leave the loss finite.
        each = torch.where(torch.isfinite(logits.sum(1)), each, math.nan)
        return each.view(number, images), logits.argmax(1).view(number, images)


def score(
    model,
    images,
    masks,
    *,
    batch_size="auto",
    device=None,
    dtype=None,
    domain="normalised",
    reduction="class-mean",
    published_batch_size=None,
    class_index=None,
    progress=None,
    memory=1 << 30,
    form="auto",
    spectra="float32",
):
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
        images: a `freqkit.data.ImageSet` of n images, C classes.
        masks: `BitMasks` of K masks, or real dense masks in torch's layout, [K, H, W] or [K, H, W//2+1].
        batch_size: pairs of (mask, image) per forward, or "auto": the fastest in a short calibration, on
            record.
        device: where to compute; None: where the model is.
        dtype: None or float32, float64, or bfloat16/float16 (autocast of the model).
        domain: "normalised" filters (x - mean)/std, as the papers do; "pixels" filters x in [0, 1].
        reduction: "class-mean" (NaN for a class without images), or a published one (needs `published_batch_size`).
        class_index: C logit indices, one per class; None: class c is logit c.
        progress: a `freqkit.engine.Progress`.
        memory: bytes that kept spectra may take; when they need more, they are computed anew for every use, and only
            one block of images is held. That changes how images are cut into tiles, and so last bits.
        spectra: "float32" keeps them as computed; "float16" in half the memory (11 bits of every coefficient).
        form: the network's form, "auto", "eager", "folded" or "compiled"; see `Forward.optimise`.

    Returns:
        Scores.

    Raises:
        UsageError, TypeError, ValueError: an argument does not fit; FloatingPointError: a logit is NaN or
            infinite (mask and image are named).

    Source: Wang et al., CVPR 2025 (arXiv 2503.03519) and ICCV 2023 (arXiv 2307.09829), and their released code.

    Example: see `Scorer`.
    """
    scorer = Scorer(
        model,
        images,
        batch_size=batch_size,
        device=device,
        dtype=dtype,
        domain=domain,
        class_index=class_index,
        memory=memory,
        form=form,
        spectra=spectra,
        expected=len(images.images) * len(masks.bits if isinstance(masks, BitMasks) else masks),
        progress=progress,
    )
    progress = scorer.progress
    progress.start("score", scorer.forwards(scorer._check_masks(masks)))
    try:
        return scorer.score(masks, reduction=reduction, published_batch_size=published_batch_size, progress=progress)
    finally:
        progress.finish()


def _agreed(count, arrays, samples):
    """What rank 0 added up, on every rank."""
    group = ranks.current()
    if group.size == 1:
        return count, arrays, samples
    whole = {str(i): value for i, value in enumerate(arrays)} | (samples or {})
    whole = group.agree_arrays(whole)
    arrays = tuple(whole.pop(str(i)) for i in range(len(arrays)))
    return group.agree(count), arrays, whole if samples is not None else None


def _take(masks, low, high, device):
    if isinstance(masks, BitMasks):
        return masks._replace(bits=masks.bits[low:high].to(device))
    return masks[low:high].to(device)


def _pick(masks, indices, device):
    if isinstance(masks, BitMasks):
        return masks._replace(bits=masks.bits[indices].to(device))
    return masks[indices].to(device)


def _span(names):
    return f"{int(names[0])}...{int(names[-1])}"


def _sums(column, values, columns, dtype):
    """Sums [k, columns] of values [k, n] by column [n] or [k, n], added in order of n; counts for None."""
    column = np.asarray(column)
    masks = len(column if values is None else values)
    flat = (np.arange(masks)[:, None] * columns + column).ravel()
    weights = None if values is None else values.ravel()
    return np.bincount(flat, weights=weights, minlength=masks * columns).astype(dtype).reshape(masks, columns)
