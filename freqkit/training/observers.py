"""What looks on while a network trains: the order in which classes are learned, what it tells from low and from high
frequencies, weights that are kept, TensorBoard."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from freqkit.data.components import ENCODINGS, SIDES, component_blocks, side_mask
from freqkit.errors import UsageError
from freqkit.files.reading import COUNT
from freqkit.models.normalisation import evaluating
from freqkit.models.weights import save_weights
from freqkit.options import Options, option
from freqkit.results.learning_curves import LearningCurves
from freqkit.training.checkpoint import require
from freqkit.training.evaluate import count
from freqkit.training.run import FACTS, GROUPS, RESULT, Run
from freqkit.training.schedules import HISTORY

BATCH = 256  # images that an observer asks the network about at once


class Observer:
    """Called while a network trains; what derives from it overrides what it needs.

    It may ask the network and read its gradients, and leaves the network, its mode and the gradients as they are. All
    ranks call all but `save` at the same moments, so that they may share the work (`run.ranks`).

    Attributes:
        name: an identifier; the key of its tensors in the checkpoint and of its entry in the history.
        facts: name -> kind (`freqkit.files.reading.fit`) of what `state` gives beside tensors.
        columns: names of the numbers that `after_epoch` gives, in history.csv.

    Example:
        >>> from freqkit.data import synthetic
        >>> from freqkit.models import load_model
        >>> from freqkit.training import train
        >>> class Weights(Observer):
        ...     name, columns = "weights", ("norm",)
        ...     def after_epoch(self, run):
        ...         return {"norm": float(sum(p.detach().norm() for p in run.model.parameters()))}
        >>> history = train(
        ...     load_model("small_convnet"), synthetic(1, images_per_class=4), epochs=1, observers=[Weights()]
        ... )
        >>> history["epochs"][0]["norm"] > 1
        True
    """

    name: str = ""
    facts: dict = {}  # noqa: RUF012
    columns: tuple = ()

    def identity(self) -> dict:
        """Entries of the run's identity: everything that its state and its result depend on."""
        return {}

    def forwards(self, run: Run) -> int:
        """Images that it asks the network about in a whole training, for a plan."""
        return 0

    def started(self, run: Run) -> None:
        """Before the first step; in a resumed run after `restore`."""

    def after_step(self, run: Run, loss: float, correct: int) -> None:
        """After step `run.step` (from 1): mean loss and number of right answers of its batch."""

    def after_epoch(self, run: Run) -> dict:
        """After epoch `run.epoch` (from 1), when its validation images were asked: a number, or None, per column."""
        return {}

    def save(self, run: Run, out: Path) -> None:
        """After an epoch, in the first rank of a run with a directory: write files, before the checkpoint is."""

    def state(self) -> tuple[dict, dict]:
        """(tensors by name, JSON-ready facts) from which `restore` goes on to the same bits."""
        return {}, {}

    def restore(self, run: Run, tensors: dict, facts: dict, path: Path) -> None:
        """Take over what `state` gave, as the checkpoint at `path` has it; `facts` holds those of the run as well."""

    def result(self, run: Run) -> object:
        """JSON-ready entry of the history, under its name; None: no entry."""
        return None

    def close(self) -> None:
        """The training has ended, well or not."""


@dataclass(frozen=True, kw_only=True)
class _Moments(Options):
    every: int = option(1, least=1)
    until: int | None = option(None, least=1)


class Follow(Observer):
    """`LearningCurves`: confusion matrices on the validation images (without any, on the training images).

    Args:
        every: iterations between two looks; the first is before training.
        until: no look after this iteration; None: to the end.

    Raises:
        UsageError: these are no positive integers.
    """

    name = "learning"
    facts = {"moments": [COUNT]}  # noqa: RUF012

    def __init__(self, every: int, until: int | None = None):
        _Moments.of("Follow", every=every, until=until)
        self.every, self.until = every, until
        self.moments, self.confusions = [], []

    def identity(self):
        return {"follow": [self.every, self.until]}

    def forwards(self, run):
        last = run.total if self.until is None else min(run.total, self.until)
        return (last // self.every + 1) * len(run.watched)

    def started(self, run):
        if run.step == 0:
            self.moments, self.confusions = [], []
        self.look(run)

    def after_step(self, run, loss, correct):
        self.look(run)

    def look(self, run: Run) -> None:
        """A moment of the curves, when it is due."""
        due = run.step % self.every == 0 and run.step not in self.moments
        if not due or (self.until is not None and run.step > self.until):
            return
        run.average_buffers()
        confusion, _ = count(run.model, run.watched, ranks=run.ranks, **run.asking)
        self.moments.append(run.step)
        self.confusions.append(confusion)

    def curves(self, run: Run) -> LearningCurves:
        definition = {
            "quantity": "F1 of each class after so many iterations",
            "images": "training" if run.val_set is None else "validation",
            "every": self.every,
            "until": self.until,
        }
        record = {"recipe": run.recipe.record, "seed": run.seed, "model": run.initial, "data": run.watched.record}
        moments, confusions = torch.tensor(self.moments), torch.stack(self.confusions)
        return LearningCurves(list(run.watched.classes), moments, confusions, definition, record)

    def save(self, run, out):
        self.curves(run).save(out / "learning.safetensors")

    def state(self):
        return {"confusion": torch.stack(self.confusions)}, {"moments": self.moments}

    def restore(self, run, tensors, facts, path):
        shape = (len(facts["moments"]), len(run.watched.classes), run.model.num_classes)
        confusion = tensors.get("confusion", torch.empty(0))
        fits = confusion.dtype == torch.int64 and confusion.shape == shape
        require(path, f"confusion matrices of {len(facts['moments'])} moments", fits)
        self.moments, self.confusions = facts["moments"], list(confusion)

    def result(self, run):
        curves = self.curves(run)
        return {
            "steps": self.moments,
            "f1": [[None if value != value else value for value in row] for row in curves.f1.tolist()],
            "learned_at": curves.learned_at(),
        }


class PerRadius(Observer):
    """Accuracy on the low and on the high frequencies of the images, at several radii, after each epoch.

    Columns are `train_low_4`, `val_high_8` and so on: shares of the training images and of the validation images that
    get their label when the network sees that component alone (`freqkit.data.components`). Every image is transformed
    once in an epoch.

    Args:
        radii: of the splits, cycles/image.
        encoding, boundary: see `freqkit.data.components`; published curves have "maxnorm".
        every: epochs between two looks.

    Raises:
        UsageError: an argument does not fit; when the training starts, a side without frequencies.

    Source: Wang, Wu, Huang, Xing, CVPR 2020 (arXiv 1905.13545), figures 3 to 6.
    """

    name = "per_radius"

    def __init__(
        self,
        radii: Sequence[float] = (4, 8, 12, 16),
        *,
        encoding: str = "raw",
        boundary: str = "strict",
        every: int = 1,
    ):
        _Moments.of("PerRadius", every=every)
        if encoding not in ENCODINGS:
            raise UsageError(f"PerRadius: encoding must be one of {', '.join(ENCODINGS)}; got {encoding!r}.")
        self.radii, self.encoding, self.boundary, self.every = [*radii], encoding, boundary, every
        if not self.radii or len({f"{r:g}" for r in self.radii}) < len(self.radii):
            raise UsageError(f"PerRadius: radii must be distinct numbers, one at least; got {list(radii)}.")
        self.columns = tuple(
            f"{part}_{side}_{r:g}" for part in ("train", "val") for side in SIDES for r in self.radii
        )  # fmt: skip

    def identity(self):
        return {"per_radius": [self.radii, self.encoding, self.boundary, self.every]}

    def forwards(self, run):
        images = len(run.train_set) + (0 if run.val_set is None else len(run.val_set))
        return run.recipe.epochs // self.every * images * len(SIDES) * len(self.radii)

    def started(self, run):
        for r in self.radii:
            for side in SIDES:
                side_mask(tuple(run.train_set.images.shape[-2:]), r, side, self.boundary)

    def after_epoch(self, run):
        found = dict.fromkeys(self.columns)
        for part, images in (("train", run.train_set), ("val", run.val_set)):
            if images is not None and run.epoch % self.every == 0:
                right = self.recognised(run, images)
                found.update({f"{part}_{key}": value / len(images) for key, value in right.items()})
        return found

    @torch.inference_mode()
    def recognised(self, run: Run, images) -> dict:
        """How many images get their label by each component: `low_4` and so on."""
        mine, model = run.ranks.share(range(len(images))), run.evaluated
        pixels, labels = (values[mine.start : mine.stop] for values in (images.images, images.labels))
        if run.recipe.bn_eval == "batch":  # a batch of one class would have statistics of its own
            order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
            pixels, labels = pixels[order], labels[order]
        right = {f"{side}_{r:g}": 0 for side in SIDES for r in self.radii}
        with evaluating(model):
            how = {"encoding": self.encoding, "boundary": self.boundary}
            for r, side, some, made in component_blocks(pixels, self.radii, **how) if len(mine) else ():
                made = made.float() / 255 if made.dtype == torch.uint8 else made
                for block, own in zip(made.split(BATCH), labels[some].split(BATCH), strict=True):
                    x = block.to(run.device, memory_format=torch.channels_last)
                    right[f"{side}_{r:g}"] += int((model(x).argmax(1).cpu() == own).sum())
        if run.ranks.world > 1:
            counts = run.ranks.add_(torch.tensor(list(right.values()), dtype=torch.float64, device=run.device))
            right = dict(zip(right, counts.round().long().tolist(), strict=True))
        return right


class KeepWeights(Observer):
    """The evaluated weights of every `every`-th epoch, as weights-0005.safetensors in the run's directory."""

    name = "kept"

    def __init__(self, every: int = 1):
        _Moments.of("KeepWeights", every=every)
        self.every = every

    def save(self, run, out):
        if run.epoch % self.every == 0:
            save_weights(run.evaluated, out / f"weights-{run.epoch:04d}.safetensors")


class TensorBoard(Observer):
    """The numbers of every epoch as event files, in the folder tensorboard of the run's directory.

    Raises:
        UsageError: the package tensorboard is not there.
    """

    name = "tensorboard"

    def __init__(self):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UsageError(
                "train: tensorboard=True needs the package tensorboard (pip install tensorboard)."
            ) from error
        self.writer, self.log = SummaryWriter, None

    def save(self, run, out):
        if self.log is None:
            self.log = self.writer(str(out / "tensorboard"))
        for name, value in run.history[-1].items():
            if name != "epoch" and value is not None:
                self.log.add_scalar(name, value, run.epoch)

    def close(self):
        if self.log is not None:
            self.log.close()
            self.log = None


def checked(observers: Iterable[Observer]) -> list[Observer]:
    """The observers, whose names are their own.

    Raises:
        UsageError: one is no observer, or has a name of the run or of another.
    """
    observers = list(observers)
    for observer in observers:
        if not isinstance(observer, Observer):
            raise UsageError(f"train: observers must be of `freqkit.training.Observer`; got {type(observer).__name__}.")
        if not observer.name.isidentifier():
            raise UsageError(f"train: the name of an observer must be an identifier; got {observer.name!r}.")
    for what, taken, more in (
        ("name", (*GROUPS, *RESULT), [[observer.name] for observer in observers]),
        ("facts", FACTS.keys() - {"moments"}, [observer.facts for observer in observers]),
        ("columns", HISTORY, [observer.columns for observer in observers]),
    ):
        names = [*taken, *(name for own in more for name in own)]
        if twice := [name for name in names if names.count(name) > 1]:
            raise UsageError(f"train: the {what} of an observer must be its own; {twice[0]!r} is there twice.")
    return observers
