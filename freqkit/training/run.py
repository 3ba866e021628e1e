"""One training: its steps, the state from which it goes on, and its directory."""

import copy
import math
from contextlib import nullcontext
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from freqkit.data.augment import Augment, key, mix
from freqkit.data.cache import has_read
from freqkit.errors import UsageError
from freqkit.files.reading import COUNT
from freqkit.models.normalisation import batch_statistics
from freqkit.models.weights import save_weights
from freqkit.results.result import versions
from freqkit.training.checkpoint import (
    optimizer_state,
    read_checkpoint,
    require,
    restore_network,
    restore_optimizer,
    write_checkpoint,
)
from freqkit.training.dropout import dropout, last_linear
from freqkit.training.evaluate import evaluate, to_input
from freqkit.training.pixels import Component
from freqkit.training.schedules import HISTORY, Plateau, batches_of, optimizer_of, rate_at
from freqkit.training.spectral import normalised

# What a checkpoint must hold beside tensors; a kind of freqkit.files.reading.fit
FACTS = {
    "epoch": COUNT, "step": COUNT, "history": [dict.fromkeys(HISTORY, (float, None))],
    "val": ({"loss": float, "accuracy": float}, None), "optimizer": {str: (float, bool, None)},
    "plateau": {"scale": float, "best": (float, None), "bad": COUNT}, "scaler": ({str: float}, None),
    "moments": [COUNT],
}  # fmt: skip
# Names that the run has for itself: of tensors in a checkpoint, and in the result.
GROUPS, RESULT = ("model", "optimizer", "ema"), ("recipe", "epochs", "train", "val")


class Run:
    """A training between two of its steps."""

    def __init__(
        self, model, train_set, val_set, recipe, spectral, observers, seed, device, ranks, adversary=None
    ):  # fmt: skip
        self.adversary = adversary
        self.model, self.train_set, self.val_set = model, train_set, val_set
        self.recipe, self.seed, self.device, self.ranks = recipe, seed, device, ranks
        self.observers = list(observers)
        self.initial = dict(model.record)
        model.to(device, memory_format=torch.channels_last)
        self.optimizer = optimizer_of(model, recipe)
        self.parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        self.spectral = [augment.bind(train_set, seed=seed, device=device) for augment in spectral]
        self.pixels = []
        if recipe.component is not None:
            only = Component(recipe.component, recipe.radius, recipe.encoding)
            self.pixels = [only.bind(train_set, seed=seed, device=device)]
        self.head = last_linear(model) if recipe.dropout else None
        self.ema = None if recipe.ema is None else copy.deepcopy(model).eval().requires_grad_(False)
        self.scaler = torch.amp.GradScaler(device.type) if recipe.precision == "float16" else None
        self.plateau = Plateau(recipe.factor, recipe.patience)
        self.least = 2 * ranks.world
        if len(train_set) < ranks.world:
            raise UsageError(f"train: there must be an image for each of {ranks.world} ranks; got {len(train_set)}.")
        self.per_epoch = len(batches_of(len(train_set), recipe.batch_size, seed, 0, self.least))
        self.total = recipe.epochs * self.per_epoch
        self.epoch = self.step = 0
        self.history, self.val = [], None
        ranks.copy_(value for value in model.state_dict().values())

    @property
    def evaluated(self):
        return self.model if self.ema is None else self.ema

    @property
    def watched(self):
        """The images of which observers tell how well they are known: those of validation, if any."""
        return self.train_set if self.val_set is None else self.val_set

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
            "follow": [None, None],
            "ranks": self.ranks.world,
            **({} if self.adversary is None else {"adversarial": self.adversary.record}),
            **{name: value for observer in self.observers for name, value in observer.identity().items()},
        }

    def run(self, progress=None, after_epoch=None):
        """All epochs that are left; calls `after_epoch()` after each."""
        try:
            for observer in self.observers:
                observer.started(self)
            while self.epoch < self.recipe.epochs:
                self.train_epoch(progress)
                if after_epoch is not None:
                    after_epoch()
            return self.finish()
        finally:
            for observer in self.observers:
                observer.close()

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
            for batch in batches_of(len(self.train_set), recipe.batch_size, self.seed, epoch, self.least):
                rate = recipe.lr * rate_at(self.step, self.total, recipe.warmup * self.per_epoch, recipe)
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
                with self.looking():
                    for observer in self.observers:
                        observer.after_step(self, loss, hits)
                if progress is not None:
                    progress(self.step, self.total)
        self.average_buffers()
        self.val = None
        if self.val_set is not None:
            self.val = self.evaluate(self.evaluated, self.val_set)
            self.plateau.see(self.val["loss"])
        self.epoch += 1
        values = (None, None) if self.val is None else (self.val["loss"], self.val["accuracy"])
        entry = dict(zip(HISTORY, (self.epoch, rate, loss_sum / seen, correct / seen, *values), strict=True))
        with self.looking():
            for observer in self.observers:
                entry.update(_numbers(observer, observer.after_epoch(self)))
        self.history.append(entry)

    def looking(self):
        """Inside, BatchNorm has the statistics that the recipe gives it at evaluation."""
        by_batch = self.recipe.bn_eval == "batch"
        return batch_statistics(*filter(None, (self.model, self.ema))) if by_batch else nullcontext()

    @property
    def asking(self):
        """Keywords of `evaluate` for the statistics of BatchNorm."""
        by_batch = self.recipe.bn_eval == "batch"
        return {"batch_size": self.recipe.batch_size, "bn_eval": "batch"} if by_batch else {}

    def evaluate(self, model, images):
        return evaluate(model, images, ranks=self.ranks, **self.asking)

    def train_step(self, batch, augment):
        """(mean loss, number of right answers) of the whole batch; this rank works on its share."""
        torch.default_generator.manual_seed(key(self.seed, "step", self.step, self.ranks.rank))
        if self.device.type == "cuda":
            torch.cuda.manual_seed(key(self.seed, "step", self.step, self.ranks.rank))
        mine = self.ranks.share(batch)
        labels = self.train_set.labels[mine]
        x = to_input(augment(self.train_set.images[mine], mine), self.device)
        if self.adversary is not None:
            x = self.adversary(self.model, x, labels, mine, self.epoch)
        has_read(self.train_set.images, mine)
        x = normalised(self.model, x, labels, mine, [*self.spectral, *self.pixels])
        labels = labels.to(self.device)
        x, target = mix(x, labels, self.model.num_classes, mixup=self.recipe.mixup_alpha, cutmix=self.recipe.cutmix)
        half = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(self.recipe.precision)
        with torch.autocast(self.device.type, dtype=half) if half else nullcontext():
            with dropout(self.head, self.recipe.dropout):
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

    def state(self):
        """(tensors, facts) from which `restore` goes on to the same bits."""
        tensors, rest = optimizer_state(self.optimizer)
        groups = {"model": self.model.network.state_dict(), "optimizer": tensors}
        if self.ema is not None:
            groups["ema"] = self.ema.network.state_dict()
        facts = {
            "epoch": self.epoch,
            "step": self.step,
            "history": self.history,
            "val": self.val,
            "optimizer": rest,
            "plateau": self.plateau.state,
            "scaler": None if self.scaler is None else self.scaler.state_dict(),
            "moments": [],  # of `Follow`
        }
        for observer in self.observers:
            tensors, more = observer.state()
            if tensors:
                groups[observer.name] = tensors
            facts.update(more)
        return groups, facts

    def restore(self, path):
        """Go on from the checkpoint at `path`, which must be one of this very training."""
        kinds = {**FACTS, "history": [dict.fromkeys(self.columns, (float, None))]}
        for observer in self.observers:
            kinds.update(observer.facts)
        groups, facts = read_checkpoint(path, kinds)
        epoch, observed = facts["epoch"], [observer.name for observer in self.observers]
        fits = {
            "the state of a model": "model" in groups and ("ema" in groups) == (self.ema is not None),
            f"the steps and the history of {epoch} epochs": facts["step"] == epoch * self.per_epoch
            and len(facts["history"]) == epoch <= self.recipe.epochs,
            "the state of a gradient scaler": (facts["scaler"] is None) == (self.scaler is None),
            f"the state of these observers alone: {', '.join(observed) or 'none'}": {*groups} <= {*GROUPS, *observed},
            "what the validation images gave": (facts["val"] is None) == (self.val_set is None or epoch == 0),
        }
        for what, right in fits.items():
            require(path, what, right)
        restore_network(self.model.network, groups["model"], path)
        if self.ema is not None:
            restore_network(self.ema.network, groups["ema"], path)
        restore_optimizer(self.optimizer, groups.get("optimizer", {}), facts["optimizer"], path)
        self.plateau.state = facts["plateau"]
        if self.scaler is not None:
            self.scaler.load_state_dict(facts["scaler"])
        self.epoch, self.step, self.history, self.val = (facts[n] for n in ("epoch", "step", "history", "val"))
        for observer in self.observers:
            observer.restore(self, groups.get(observer.name, {}), facts, path)

    @property
    def columns(self):
        """Columns of history.csv."""
        return (*HISTORY, *(name for observer in self.observers for name in observer.columns))

    def finish(self):
        if self.ema is not None:
            self.model.network.load_state_dict(self.ema.network.state_dict())
        self.model.eval()
        report = self.evaluate(self.model, self.train_set)
        self.model.note(
            "trained",
            {
                **self.recipe.record,
                "seed": self.seed,
                "spectral": [augment.record for augment in self.spectral],
                "ranks": self.ranks.world,
                **({} if self.adversary is None else {"adversarial": self.adversary.record}),
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
        for observer in self.observers:
            if (found := observer.result(self)) is not None:
                result[observer.name] = found
        return result


def run_in(state, where):
    """The training in its run directory if it has one (`TrainingRun`), which the first rank writes."""
    from freqkit.engine.session import CannotResume, session
    from freqkit.files.whole import write_csv

    first, out = state.ranks.first, where.out and Path(where.out)
    how = {"resume": where.resume, "overwrite": where.overwrite} if first else {}
    with session("train", state.identity, out if first else None, signals=out is not None, **how) as run:
        state.ranks.wait()
        if out and where.resume and (out / "checkpoint.safetensors").is_file():
            try:
                state.restore(out / "checkpoint.safetensors")
            except UsageError as error:
                raise CannotResume(str(error)) from error
        run.record.update(_facts(state))

        def after_epoch():
            if run.path is not None:
                # The checkpoint comes last: what a run killed before it has written, the resumed one writes again.
                for observer in state.observers:
                    observer.save(state, out)
                write_csv(out / "history.csv", state.columns, state.history)
                write_checkpoint(out / "checkpoint.safetensors", *state.state())
            run.note_down(epochs_done=state.epoch)
            state.ranks.wait()

        def after_step(done, total):
            if where.progress is not None:
                where.progress(done, total)
            run.check()

        try:
            run.note_down(epochs_done=state.epoch)
            result = state.run(after_step, after_epoch)
            if run.path is not None:
                save_weights(state.model, out / "weights.safetensors")
        except BaseException as error:
            run.record["error"] = str(error)
            raise
        run.record.update(result={name: result[name] for name in result if name != "epochs"}, model=state.model.record)
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


def _numbers(observer, found):
    """What an observer gave for its columns."""
    if found.keys() != {*observer.columns}:
        raise UsageError(
            f"train: {observer.name}.after_epoch must give its columns {', '.join(observer.columns) or '(none)'}; "
            f"got {', '.join(found) or 'none'}."
        )
    for name, value in found.items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if value is not None and not number:
            raise UsageError(f"train: {observer.name}.after_epoch must give numbers or None; {name} is {value!r}.")
    return found
