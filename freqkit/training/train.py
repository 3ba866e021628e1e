"""Train a classifier on images in memory: recipes, checkpoints, several processes."""

import copy
import math
import time
from contextlib import nullcontext
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from freqkit.data.augment import Augment, key, mix
from freqkit.errors import UsageError
from freqkit.files.reading import COUNT
from freqkit.models.weights import save_weights
from freqkit.results.learning_curves import LearningCurves
from freqkit.results.result import versions
from freqkit.training.checkpoint import (
    optimizer_state,
    read_checkpoint,
    restore_network,
    restore_optimizer,
    write_checkpoint,
)
from freqkit.training.evaluate import check_fit, count, evaluate, to_input
from freqkit.training.ranks import own_device
from freqkit.training.ranks import ranks as process_group
from freqkit.training.recipes import recipe as make_recipe
from freqkit.training.spectral import normalised

HISTORY = ("epoch", "lr", "loss", "accuracy", "val_loss", "val_accuracy")
# What a checkpoint must hold beside tensors; a kind of freqkit.files.reading.fit
_FACTS = {
    "epoch": COUNT, "step": COUNT, "history": [dict.fromkeys(HISTORY, (float, None))],
    "val": ({"loss": float, "accuracy": float}, None), "optimizer": {str: (float, bool, None)},
    "plateau": {"scale": float, "best": (float, None), "bad": COUNT}, "scaler": ({str: float}, None),
    "moments": [COUNT],
}  # fmt: skip


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
        state = _Training(model, train_set, val_set, chosen, spectral, follow, follow_until, seed, device, ranks)
        if out is None:
            return state.run(progress)
        return _run_in(state, Path(out), resume, overwrite, keep_every, tensorboard, progress)


class _Training:
    """A training between two of its steps."""

    def __init__(self, model, train_set, val_set, recipe, spectral, follow, follow_until, seed, device, ranks):
        self.model, self.train_set, self.val_set = model, train_set, val_set
        self.recipe, self.seed, self.device, self.ranks = recipe, seed, device, ranks
        self.follow, self.follow_until = follow, follow_until
        self.initial = dict(model.record)
        model.to(device, memory_format=torch.channels_last)
        self.optimizer = _optimizer(model, recipe)
        self.parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        self.spectral = [augment.bind(train_set, seed=seed, device=device) for augment in spectral]
        self.ema = None if recipe.ema is None else copy.deepcopy(model).eval().requires_grad_(False)
        self.scaler = torch.amp.GradScaler(device.type) if recipe.precision == "float16" else None
        self.plateau = Plateau(recipe.factor, recipe.patience)
        self.least = 2 * ranks.world
        if len(train_set) < ranks.world:
            raise UsageError(f"train: there must be an image for each of {ranks.world} ranks; got {len(train_set)}.")
        self.per_epoch = len(_batches(len(train_set), recipe.batch_size, seed, 0, self.least))
        self.total = recipe.epochs * self.per_epoch
        self.epoch = self.step = 0
        self.history, self.val = [], None
        self.moments, self.confusions = [], []
        ranks.copy_(value for value in model.state_dict().values())

    @property
    def evaluated(self):
        return self.model if self.ema is None else self.ema

    @property
    def identity(self):
        """Everything that the result depends on."""
        return {
            "recipe": self.recipe.record,
            "spectral": [augment.record for augment in self.spectral],
            "seed": self.seed,
            "model": self.initial,
            "train": self.train_set.fingerprint,
            "val": None if self.val_set is None else self.val_set.fingerprint,
            "follow": [self.follow, self.follow_until],
            "ranks": self.ranks.world,
        }

    def run(self, progress=None, after_epoch=None):
        """All epochs that are left; calls `after_epoch()` after each."""
        self.look()
        while self.epoch < self.recipe.epochs:
            self.train_epoch(progress)
            if after_epoch is not None:
                after_epoch()
        return self.finish()

    def train_epoch(self, progress=None):
        recipe, epoch = self.recipe, self.epoch
        augment = Augment(recipe.augment, len(self.train_set), seed=self.seed, epoch=epoch)
        for spectral in self.spectral:
            spectral.start(epoch)
        self.model.train()
        seen = correct = 0
        loss_sum = 0.0
        cuda = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda):
            for batch in _batches(len(self.train_set), recipe.batch_size, self.seed, epoch, self.least):
                rate = recipe.lr * _factor(self.step, self.total, recipe.warmup * self.per_epoch, recipe)
                rate *= self.plateau.scale if recipe.schedule == "plateau" else 1
                for group in self.optimizer.param_groups:
                    group["lr"] = rate
                loss, hits = self.train_step(batch, augment)
                if not math.isfinite(loss):
                    raise RuntimeError(
                        f"train: the loss became {loss} in epoch {epoch + 1}, step {self.step + 1} of {self.total}; "
                        f"a lower learning rate than {recipe.lr} or a warm-up may help."
                    )
                self.step += 1
                seen, correct, loss_sum = seen + len(batch), correct + hits, loss_sum + loss * len(batch)
                self.look()
                if progress is not None:
                    progress(self.step, self.total)
        self.average_buffers()
        self.val = None
        if self.val_set is not None:
            self.val = evaluate(self.evaluated, self.val_set, ranks=self.ranks)
            self.plateau.see(self.val["loss"])
        self.epoch += 1
        values = (None, None) if self.val is None else (self.val["loss"], self.val["accuracy"])
        self.history.append(
            dict(zip(HISTORY, (self.epoch, rate, loss_sum / seen, correct / seen, *values), strict=True))
        )

    def train_step(self, batch, augment):
        """(mean loss, number of right answers) of the whole batch; this rank works on its share."""
        torch.default_generator.manual_seed(key(self.seed, "step", self.step, self.ranks.rank))
        if self.device.type == "cuda":
            torch.cuda.manual_seed(key(self.seed, "step", self.step, self.ranks.rank))
        mine = self.ranks.share(batch)
        labels = self.train_set.labels[mine]
        x = to_input(augment(self.train_set.images[mine], mine), self.device)
        x = normalised(self.model, x, labels, mine, self.spectral)
        labels = labels.to(self.device)
        x, target = mix(x, labels, self.model.num_classes, mixup=self.recipe.mixup, cutmix=self.recipe.cutmix)
        half = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(self.recipe.precision)
        with torch.autocast(self.device.type, dtype=half) if half else nullcontext():
            logits = self.model.network(x)
        logits = logits.float()
        if logits.ndim != 2 or logits.shape[1] != self.model.num_classes:
            raise UsageError(
                f"train: the network must return [batch, {self.model.num_classes}]; got {list(logits.shape)}."
            )
        # The mean over the whole batch, of which this rank adds its part.
        loss = F.cross_entropy(logits, target, label_smoothing=self.recipe.label_smoothing, reduction="sum")
        loss = loss / len(batch)
        self.optimizer.zero_grad(set_to_none=True)
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()
        heavier = target.argmax(1) if target.ndim == 2 else target
        facts = torch.stack([loss.detach(), (logits.argmax(1) == heavier).sum().float()])
        self.add_gradients(facts)
        value, hits = facts.tolist()
        if math.isfinite(value):
            self.update()
        return value, int(hits)

    def add_gradients(self, facts):
        """Sum gradients and facts over the ranks, in one message."""
        if self.ranks.world == 1:
            return
        for parameter in self.parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        flat = torch.cat([*(parameter.grad.flatten() for parameter in self.parameters), facts])
        self.ranks.add_(flat)
        start = 0
        for parameter in self.parameters:
            size = parameter.numel()
            parameter.grad.copy_(flat[start : start + size].view_as(parameter.grad))
            start += size
        facts.copy_(flat[start:])

    def update(self):
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        if self.recipe.clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip)
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        if self.ema is not None:
            decay = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
            with torch.no_grad():
                now = self.model.network.state_dict()
                for name, mean in self.ema.network.state_dict().items():
                    if mean.is_floating_point():
                        mean.lerp_(now[name].to(mean.dtype), 1 - decay)
                    else:
                        mean.copy_(now[name])

    def average_buffers(self):
        """Running statistics of BatchNorm: the mean over the ranks."""
        if self.ranks.world == 1:
            return
        for module in filter(None, (self.model, self.ema)):
            for buffer in module.network.buffers():
                if buffer.is_floating_point():
                    self.ranks.add_(buffer).div_(self.ranks.world)

    def look(self):
        """A moment of the learning curves, when it is due."""
        due = self.follow is not None and self.step % self.follow == 0
        if not due or self.step in self.moments or (self.follow_until is not None and self.step > self.follow_until):
            return
        self.average_buffers()
        images = self.train_set if self.val_set is None else self.val_set
        confusion, _ = count(self.model, images, ranks=self.ranks)
        self.moments.append(self.step)
        self.confusions.append(confusion)

    def asked_shape(self):
        """[C, L] of the confusion matrices that `follow` counts."""
        images = self.train_set if self.val_set is None else self.val_set
        return len(images.classes), self.model.num_classes

    @property
    def learning(self):
        """`LearningCurves`, or None."""
        if self.follow is None:
            return None
        images = self.train_set if self.val_set is None else self.val_set
        definition = {
            "quantity": "F1 of each class after so many iterations",
            "images": "training" if self.val_set is None else "validation",
            "every": self.follow,
            "until": self.follow_until,
        }
        record = {"recipe": self.recipe.record, "seed": self.seed, "model": self.initial, "data": images.record}
        return LearningCurves(
            list(images.classes), torch.tensor(self.moments), torch.stack(self.confusions), definition, record
        )

    def state(self):
        """(tensors, facts) from which `restore` goes on to the same bits."""
        tensors, rest = optimizer_state(self.optimizer)
        groups = {"model": self.model.network.state_dict(), "optimizer": tensors}
        if self.ema is not None:
            groups["ema"] = self.ema.network.state_dict()
        if self.confusions:
            groups["learning"] = {"confusion": torch.stack(self.confusions)}
        facts = {
            "epoch": self.epoch,
            "step": self.step,
            "history": self.history,
            "val": self.val,
            "optimizer": rest,
            "plateau": self.plateau.state,
            "scaler": None if self.scaler is None else self.scaler.state_dict(),
            "moments": self.moments,
        }
        return groups, facts

    def restore(self, path):
        """Go on from the checkpoint at `path`, which must be one of this very training."""
        groups, facts = read_checkpoint(path, _FACTS)
        epoch, confusion = facts["epoch"], groups.get("learning", {}).get("confusion")
        looks = 0 if self.follow is None else len(facts["moments"])
        fits = {
            "the state of a model": "model" in groups and ("ema" in groups) == (self.ema is not None),
            f"the steps and the history of {epoch} epochs": facts["step"] == epoch * self.per_epoch
            and len(facts["history"]) == epoch <= self.recipe.epochs,
            "the state of a gradient scaler": (facts["scaler"] is None) == (self.scaler is None),
            f"confusion matrices of {looks} moments": looks == len(facts["moments"])
            and (confusion is None) == (looks == 0)
            and (confusion is None or (confusion.dtype == torch.int64 and confusion.shape[1:] == self.asked_shape()))
            and (confusion is None or len(confusion) == looks),
            "what the validation images gave": (facts["val"] is None) == (self.val_set is None or epoch == 0),
        }
        for what, right in fits.items():
            if not right:
                raise UsageError(f"{path}: must hold {what}, as this training would; it does not.")
        restore_network(self.model.network, groups["model"], path)
        if self.ema is not None:
            restore_network(self.ema.network, groups["ema"], path)
        restore_optimizer(self.optimizer, groups.get("optimizer", {}), facts["optimizer"], path)
        self.plateau.state = facts["plateau"]
        if self.scaler is not None:
            self.scaler.load_state_dict(facts["scaler"])
        self.epoch, self.step, self.history, self.val = (facts[n] for n in ("epoch", "step", "history", "val"))
        self.moments = facts["moments"]
        self.confusions = list(groups["learning"]["confusion"]) if "learning" in groups else []

    def finish(self):
        if self.ema is not None:
            self.model.network.load_state_dict(self.ema.network.state_dict())
        self.model.eval()
        report = evaluate(self.model, self.train_set, ranks=self.ranks)
        self.model.note(
            "trained",
            {
                **self.recipe.record,
                "seed": self.seed,
                "spectral": [augment.record for augment in self.spectral],
                "ranks": self.ranks.world,
                "train_fingerprint": self.train_set.fingerprint,
                "train_accuracy": report["accuracy"],
                "val_accuracy": None if self.val is None else self.val["accuracy"],
            },
        )
        result = {
            "recipe": {**self.recipe.record, "seed": self.seed},
            "epochs": self.history,
            "train": report,
            "val": self.val,
        }
        if (learning := self.learning) is not None:
            result["learning"] = {
                "steps": self.moments,
                "f1": [[None if value != value else value for value in row] for row in learning.f1.tolist()],
                "learned_at": learning.learned_at(),
            }
        return result


def _run_in(state, out, resume, overwrite, keep_every, tensorboard, progress):
    """The training in a run directory, which the first rank writes."""
    from freqkit.engine.journal import finish_tile_on_signal
    from freqkit.engine.run_directory import RunDirectory
    from freqkit.files.whole import write_csv

    first = state.ranks.first
    checkpoint = out / "checkpoint.safetensors"
    with RunDirectory(out, state.identity, resume=resume, overwrite=overwrite) if first else nullcontext() as run:
        state.ranks.wait()
        if resume and checkpoint.is_file():
            state.restore(checkpoint)
        log = _tensorboard(out) if tensorboard and first else None
        began, facts = time.monotonic(), _facts(state)
        before = (run.previous or {}).get("seconds", 0) if first else 0

        def write(status, **more):
            if first:
                seconds = round(before + time.monotonic() - began, 3)
                run.write({"status": status, **facts, "epochs_done": state.epoch, "seconds": seconds, **more})

        def after_epoch():
            if first:
                # The checkpoint comes last: what a run killed before it has written, the resumed one writes again.
                if keep_every is not None and state.epoch % keep_every == 0:
                    save_weights(state.evaluated, out / f"weights-{state.epoch:04d}.safetensors")
                write_csv(out / "history.csv", HISTORY, state.history)
                for name in HISTORY[1:] if log is not None else ():
                    if state.history[-1][name] is not None:
                        log.add_scalar(name, state.history[-1][name], state.epoch)
                if state.follow is not None:
                    state.learning.save(out / "learning.safetensors")
                write_checkpoint(checkpoint, *state.state())
            write("running")
            state.ranks.wait()

        try:
            write("running")
            with finish_tile_on_signal() as check:

                def after_step(done, total):
                    if progress is not None:
                        progress(done, total)
                    check()

                result = state.run(after_step, after_epoch)
            if first:
                save_weights(state.model, out / "weights.safetensors")
            write(
                "finished", result={name: result[name] for name in result if name != "epochs"}, model=state.model.record
            )
        except BaseException as error:
            write("interrupted" if isinstance(error, KeyboardInterrupt) else "failed", error=str(error))
            raise
        finally:
            if log is not None:
                log.close()
        state.ranks.wait()
    return result


def _facts(state):
    import platform

    val = None if state.val_set is None else state.val_set.record
    return {
        "kind": "training",
        "data": {"train": state.train_set.record, "val": val},
        "device": str(state.device),
        "threads": torch.get_num_threads(),
        "versions": versions(python=platform.python_version()),
    }


def _tensorboard(out):
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError("train: tensorboard=True needs the package tensorboard (pip install tensorboard).") from error
    return SummaryWriter(str(out / "tensorboard"))


def _plan(model, train_set, val_set, recipe, spectral, follow, seed, device, ranks, budget=2.0):
    """What it costs, from a few steps on a copy of the model."""
    state = _Training(model, train_set, val_set, recipe, spectral, None, None, seed, device, ranks)
    augment = Augment(recipe.augment, len(train_set), seed=seed, epoch=0)
    for one in state.spectral:
        one.start(0)
    for group in state.optimizer.param_groups:
        group["lr"] = 0.0
    model.train()
    batch = _batches(len(train_set), recipe.batch_size, seed, 0, state.least)[0]
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


class Plateau:
    """ReduceLROnPlateau of torch (mode "min", threshold 1e-4 relative, no cooldown) as a factor."""

    def __init__(self, factor, patience):
        self.factor, self.patience = factor, patience
        self.state = {"scale": 1.0, "best": None, "bad": 0}

    @property
    def scale(self):
        return self.state["scale"]

    def see(self, loss):
        best, bad, scale = self.state["best"], self.state["bad"], self.state["scale"]
        if best is None or loss < best * (1 - 1e-4):
            best, bad = loss, 0
        else:
            bad += 1
        if bad > self.patience:
            scale, bad = scale * self.factor, 0
        self.state = {"scale": scale, "best": best, "bad": bad}


def _batches(count, batch_size, seed, epoch, least=2):
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
    batches = list(torch.randperm(count, generator=generator).split(batch_size))
    if len(batches) > 1 and len(batches[-1]) < least:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def _factor(step, total, warm, recipe):
    """Share of the peak learning rate at a step 0 <= step < total."""
    if step < warm:
        return (step + 1) / (warm + 1)
    done = (step - warm) / max(total - warm, 1)
    if recipe.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    if recipe.schedule == "step":
        return recipe.factor ** ((done >= 0.5) + (done >= 0.75))
    return 1.0


def _optimizer(model, recipe):
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise UsageError("train: the model must have parameters that require gradients; it has none.")
    groups = [{"params": parameters, "weight_decay": recipe.weight_decay}]
    if not recipe.decay_norms:
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
    if recipe.optimizer == "sgd":
        nesterov = recipe.nesterov and recipe.momentum > 0
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=nesterov)
    kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=recipe.lr)


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
