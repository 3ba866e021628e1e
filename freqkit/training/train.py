"""Train a classifier on images in memory: recipes, checkpoints, several processes."""

import copy
import time
from pathlib import Path

import torch

from freqkit.data.augment import Augment
from freqkit.errors import UsageError
from freqkit.training.evaluate import check_fit, evaluate
from freqkit.training.ranks import own_device
from freqkit.training.ranks import ranks as process_group
from freqkit.training.recipes import recipe as make_recipe
from freqkit.training.run import Run, run_in
from freqkit.training.schedules import batches_of


def train(
    model,
    train_set,
    *,
    recipe="plain",
    val_set=None,
    spectral=(),
    follow=None,
    follow_until=None,
    seed=0,
    device=None,
    out=None,
    resume=False,
    overwrite=False,
    keep_every=None,
    tensorboard=False,
    dry_run=False,
    progress=None,
    **changes,
):
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
        train_set, val_set: `ImageSet`s with the same classes. `val_set` is evaluated after every epoch.
        recipe: name of one in `freqkit.training.RECIPES`, or a `Recipe`.
        spectral: augmentations by frequency (`OtherClassMaps`, `ShortcutRemoval`), after normalisation.
        follow: count the confusion matrix on val_set (without one, on train_set) after every so many
            iterations, and before the first; up to iteration `follow_until` if given.
        seed: integer >= 0, for the order of images, all augmentations and dropout.
        device: moves the model there first; default where it is.
        out: a new or empty folder, or None.
        resume: go on from the checkpoint in `out`, to the bits of an uninterrupted run (or begin).
        overwrite: replace the run in `out`.
        keep_every: also keep the weights after every so many epochs.
        tensorboard: also write event files into `out`/tensorboard; needs the package tensorboard.
        dry_run: train nothing; time a few steps on a copy and say what it would cost.
        progress: called as `progress(done_steps, total_steps)` after each step.
        changes: any attribute of the `Recipe`, as `epochs=5, lr=0.1`.

    Returns:
        JSON-ready dict: `recipe`; `epochs`: list of {`epoch` (from 1), `lr` (of its last step), `loss`,
        `accuracy` (running, on training batches, against the label of the larger share), `val_loss`,
        `val_accuracy`}; `train` and `val`: `evaluate`'s reports of the trained model (`val` None without a
        val_set); `learning`: with `follow`, {`steps`, `f1` [T][C], `learned_at`}. With `dry_run`:
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
    _check(seed, follow, follow_until, keep_every, tensorboard, out, resume)
    if val_set is None and chosen.val_fraction:
        val_set, train_set = train_set.split(chosen.val_fraction, seed)
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
        if dry_run:
            return _plan(copy.deepcopy(model), train_set, val_set, chosen, spectral, follow, seed, device, ranks)
        state = Run(model, train_set, val_set, chosen, spectral, follow, follow_until, seed, device, ranks)
        if out is None:
            return state.run(progress)
        return run_in(state, Path(out), resume, overwrite, keep_every, tensorboard, progress)


def _plan(model, train_set, val_set, recipe, spectral, follow, seed, device, ranks, budget=2.0):
    """What it costs, from a few steps on a copy of the model."""
    state = Run(model, train_set, val_set, recipe, spectral, None, None, seed, device, ranks)
    augment = Augment(recipe.augment, len(train_set), seed=seed, epoch=0)
    for one in state.spectral:
        one.start(0)
    for group in state.optimizer.param_groups:
        group["lr"] = 0.0
    model.train()
    batch = batches_of(len(train_set), recipe.batch_size, seed, 0, state.least)[0]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        state.train_step(batch, augment)
        step_seconds = _seconds(lambda: state.train_step(batch, augment), device, budget)
    asked = (len(train_set) if val_set is None else len(val_set)) if follow else 0
    looks = 0 if follow is None else state.total // follow + 1
    per_epoch = 0 if val_set is None else len(val_set)
    forwards = recipe.epochs * (len(train_set) + per_epoch) + len(train_set) + looks * asked
    some = train_set.subset(batch)
    each = _seconds(lambda: evaluate(model, some), device, budget / 4) / len(some)
    others = forwards - recipe.epochs * len(train_set)
    return {
        "images": len(train_set),
        "val_images": per_epoch,
        "steps_per_epoch": state.per_epoch,
        "steps": state.total,
        "forwards": forwards,
        "backwards": recipe.epochs * len(train_set),
        "seconds": state.total * step_seconds + others * each / ranks.world,
        "parameters": sum(parameter.numel() for parameter in model.network.parameters()),
        "ranks": ranks.world,
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


def _check(seed, follow, follow_until, keep_every, tensorboard, out, resume):
    integers = (
        ("seed", seed, 0),
        ("follow", follow, 1),
        ("follow_until", follow_until, 1),
        ("keep_every", keep_every, 1),
    )
    for name, value, least in integers:
        if value is None and name != "seed":
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise UsageError(f"train: {name} must be an integer >= {least}; got {value!r}.")
    if follow_until is not None and follow is None:
        raise UsageError("train: follow_until needs follow, the number of iterations between two looks.")
    for name, value in (("keep_every", keep_every), ("tensorboard", tensorboard), ("resume", resume)):
        if value and out is None:
            raise UsageError(f"train: {name} needs out, the folder of the run.")
