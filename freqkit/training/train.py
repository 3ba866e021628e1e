"""Train a classifier on images in memory: recipes, checkpoints, several processes."""

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from freqkit.data import Images, as_images
from freqkit.data.augment import OWN, Augment, torchvision_transforms
from freqkit.data.components import ENCODINGS
from freqkit.engine.attacks import Attack
from freqkit.engine.entrance import enter
from freqkit.errors import UsageError
from freqkit.models import Network
from freqkit.options import Running, flat, option
from freqkit.training.adversarial import Adversary
from freqkit.training.evaluate import check_fit, evaluate
from freqkit.training.observers import Follow, KeepWeights, Observer, PerRadius, TensorBoard, checked
from freqkit.training.ranks import own_device
from freqkit.training.ranks import ranks as process_group
from freqkit.training.recipes import Recipe
from freqkit.training.recipes import recipe as make_recipe
from freqkit.training.run import Run, run_in
from freqkit.training.schedules import batches_of


@dataclass(frozen=True, kw_only=True)
class TrainingRun(Running):
    """Where a training stands, how it goes on, and what is often asked to look on."""

    progress: Any = option(None, "called as `progress(done_steps, total_steps)` after each step", identity=False)
    follow: int | None = option(None, "the observer `Follow`, which looks after every so many iterations", least=1)
    follow_until: int | None = option(None, "its last iteration", least=1)
    keep_every: int | None = option(None, "the observer `KeepWeights`, of every so many epochs", least=1)
    per_radius: Sequence[float] | None = option(None, "radii of the observer `PerRadius`, cycles/image")
    component_encoding: str | None = option(None, "its encoding", choices=ENCODINGS)
    tensorboard: bool = option(False, "the observer `TensorBoard`, in `out`/tensorboard; needs that package")

    def observers(self) -> list[Observer]:
        """Those that the keywords stand for.

        Raises:
            UsageError: keywords need others.
        """
        if self.follow_until is not None and self.follow is None:
            raise UsageError("train: follow_until needs follow, the number of iterations between two looks.")
        if self.component_encoding is not None and self.per_radius is None:
            raise UsageError("train: component_encoding needs per_radius, the radii at which components are shown.")
        for name in ("keep_every", "tensorboard"):
            if getattr(self, name) and self.out is None:
                raise UsageError(f"train: {name} needs out, the folder of the run.")
        return [
            *([] if self.keep_every is None else [KeepWeights(self.keep_every)]),
            *([] if self.follow is None else [Follow(self.follow, self.follow_until)]),
            *(
                []
                if self.per_radius is None
                else [PerRadius(self.per_radius, encoding=self.component_encoding or "raw")]
            ),
            *([TensorBoard()] if self.tensorboard else []),
        ]


@flat
def train(
    model: Network,
    train_set: Images,
    where: TrainingRun,
    *,
    recipe: str | Recipe = "plain",
    val_set: Images | None = None,
    spectral: Sequence = (),
    observers: Sequence[Observer] = (),
    adversarial: Attack | str | None = None,
    seed: int = 0,
    device: Any = None,
    **changes: Any,
) -> dict:
    """Train in place; the same bits on CPUs of one kind for the same arguments, thread count and number of ranks.

    Each epoch goes once through the images in an order drawn from (seed, epoch); a last batch too small for
    BatchNorm (one image per rank) joins the one before it. What is drawn for an image depends on (seed, epoch,
    image), what is drawn inside the network on (seed, step, rank): nothing depends on a generator's past, so
    a resumed run needs none of it. (A network that draws from Python's or numpy's generators does not repeat.)

    Under `torchrun` the ranks share every batch, gradients are summed, and every image counts once, also in
    evaluation. The result is that of one process but for rounding, for BatchNorm, whose statistics are those
    of each rank's share (running ones are averaged before they are used), and for MixUp, CutMix and dropout,
    which are drawn within the share.

    A run directory (`out`) holds run.json, weights.safetensors, history.csv, checkpoint.safetensors (the whole
    state after the last finished epoch, replaced atomically), with `keep_every` weights-0005.safetensors ...,
    and learning.safetensors and .csv with `follow`.

    Args:
        model: `Classifier`, trained in place and left in evaluation mode.
        train_set, val_set: what `freqkit.data.as_images` takes, with the same classes; read once, so that
            augmentation belongs to the recipe. `val_set` is evaluated after every epoch.
        recipe: name of one in `freqkit.training.RECIPES`, or a `Recipe`.
        spectral: augmentations by frequency: of pixels (`BandPass`, `DiffusionNoise`), then, after normalisation,
            `OtherClassMaps` and `ShortcutRemoval`.
        adversarial: an attack of every training image (`freqkit.training.Adversary`), as "pgd:eps=8:steps=7:step=2".
        observers: what looks on (`freqkit.training.Observer`): it may tell what it saw, and changes nothing.
        seed: integer >= 0, for the order of images, all augmentations and dropout.
        device: moves the model there first; default where it is.
        changes: any attribute of the `Recipe`, as `epochs=5, lr=0.1`.

    Returns:
        JSON-ready dict: `recipe`; `epochs`: list of {`epoch` (from 1), `lr` (of its last step), `loss`,
        `accuracy` (running, on training batches, against the label of the larger share), `val_loss`,
        `val_accuracy`}; `train` and `val`: `evaluate`'s reports of the trained model (`val` None without a
        val_set); and what each observer gives under its name, as `learning`: with `follow`, {`steps`,
        `f1` [T][C], `learned_at`}. With `dry_run`:
        {`images`, `steps_per_epoch`, `steps`, `forwards`, `backwards`, `seconds`, `parameters`, `recipe`}.

    Raises:
        UsageError: for an argument out of its range, or classes that do not fit.
        RuntimeError: the loss is no longer finite.

    Example:
        >>> from freqkit.data import synthetic
        >>> from freqkit.models import load_model
        >>> from freqkit.training import train
        >>> model = load_model("small_convnet")
        >>> history = train(model, synthetic(1, images_per_class=8), epochs=2, batch_size=16, lr=0.1)
        >>> [entry["epoch"] for entry in history["epochs"]]
        [1, 2]
    """
    chosen = make_recipe(recipe, **changes)
    mixed = [name for name in ("mixup", "cutmix") if getattr(chosen, name)]
    if theirs := [name for name in chosen.augment if name not in OWN] + mixed:
        torchvision_transforms(f"train: {', '.join(theirs)} of the recipe needs")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise UsageError(f"train: seed must be an integer >= 0; got {seed!r}.")
    observers = checked([*where.observers(), *observers])
    adversary = None if adversarial is None else Adversary(adversarial)
    model, train_set = enter("train", model, train_set, name="train_set")
    if val_set is not None:
        val_set = as_images(val_set, "train", model=model, name="val_set")
    if val_set is None and chosen.val_fraction:
        val_set, train_set = train_set.split(chosen.val_fraction, seed)
    if chosen.shuffle_labels:
        train_set = train_set.shuffled(seed, chosen.shuffle_labels)
    if chosen.component is not None and adversary is not None:
        raise UsageError("train: component and adversarial exclude each other; give one of them.")
    check_fit(model, train_set, "train")
    if val_set is not None:
        check_fit(model, val_set, "train")
        if val_set.classes != train_set.classes:
            raise UsageError(
                f"train: val_set must have the classes of train_set; got {val_set.classes[:4]} for "
                f"{train_set.classes[:4]}."
            )
    if chosen.schedule == "plateau" and val_set is None:
        raise UsageError("train: schedule='plateau' needs a val_set, or val_fraction above 0.")
    device = own_device(model._mean.device if device is None else device)
    if chosen.precision == "float16" and device.type != "cuda":
        raise UsageError(f"train: precision='float16' needs a CUDA device; got {device} (bfloat16 works there).")
    with process_group(device) as ranks:
        if where.dry_run:
            model = copy.deepcopy(model)
        run = Run(model, train_set, val_set, chosen, spectral, observers, seed, device, ranks, adversary)
        if where.dry_run:
            return _plan(run)
        return run_in(run, where)


def _plan(run, budget=2.0):
    """What it costs, from a few steps of a run that goes no further."""
    recipe, images, device = run.recipe, run.train_set, run.device
    augment = Augment(recipe.augment, len(images), seed=run.seed, epoch=0)
    for one in run.spectral:
        one.start(0)
    for group in run.optimizer.param_groups:
        group["lr"] = 0.0
    run.model.train()
    batch = batches_of(len(images), recipe.batch_size, run.seed, 0, run.least)[0]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        run.train_step(batch, augment)
        step_seconds = _seconds(lambda: run.train_step(batch, augment), device, budget)
    looks = sum(observer.forwards(run) for observer in run.observers)
    per_epoch = 0 if run.val_set is None else len(run.val_set)
    backwards, passes = recipe.epochs * len(images), 0 if run.adversary is None else run.adversary.passes
    attacked = backwards * passes
    forwards = recipe.epochs * (len(images) + per_epoch) + len(images) + looks + attacked
    some = images.subset(batch)
    each = _seconds(lambda: evaluate(run.model, some), device, budget / 4) / len(some)
    others = forwards - attacked - recipe.epochs * len(images)
    return {
        "images": len(images),
        "val_images": per_epoch,
        "steps_per_epoch": run.per_epoch,
        "steps": run.total,
        "forwards": forwards,
        "backwards": backwards * max(1, passes),  # an attack's last look goes forward alone
        "seconds": run.total * step_seconds + others * each / run.ranks.world,
        "parameters": sum(parameter.numel() for parameter in run.model.network.parameters()),
        "ranks": run.ranks.world,
        "recipe": recipe.record,
    }


def _seconds(work, device, budget):
    times, began = [], time.perf_counter()
    while not times or (time.perf_counter() - began < budget and len(times) < 20):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2]
