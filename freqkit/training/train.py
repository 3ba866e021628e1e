"""Train a classifier on images in memory."""

import math

import torch
import torch.nn.functional as F

from freqkit.errors import UsageError
from freqkit.training.evaluate import check_fit, evaluate, to_input

OPTIMIZERS = ("sgd", "adamw")
SCHEDULES = ("cosine", "step", "none")


def train(
    model,
    train_set,
    *,
    val_set=None,
    epochs,
    batch_size,
    lr,
    optimizer="sgd",
    momentum=0.9,
    nesterov=True,
    weight_decay=5e-4,
    schedule="cosine",
    warmup=0.0,
    label_smoothing=0.0,
    seed=0,
    device=None,
    progress=None,
):
    """Train in place, without augmentation; the same bits on one CPU for the same arguments and thread count.

    Each epoch goes once through the images in an order drawn from (seed, epoch); a last batch of one image
    joins the batch before it, because BatchNorm cannot normalise one. The recipe and its result go on the
    model's record.

    Args:
        model: `Classifier`, trained in place and left in evaluation mode.
        train_set, val_set: `ImageSet`s with the same classes. `val_set` is evaluated after every epoch.
        epochs, batch_size: positive integers.
        lr: peak learning rate.
        optimizer: "sgd" (`momentum`, `nesterov`) or "adamw".
        weight_decay: on every parameter.
        schedule: after the warm-up, over the steps that are left: "cosine" to 0; "step": x0.1 at 1/2 and
            again at 3/4; "none".
        warmup: epochs (may be a fraction) of linear warm-up.
        label_smoothing: 0 <= value < 1.
        seed: integer, for the order of images and for dropout.
        device: moves the model there first; default where it is.
        progress: called as `progress(done_steps, total_steps)` after each step.

    Returns:
        JSON-ready dict: `recipe`; `epochs`: list of {`epoch` (from 1), `lr` (of its last step), `loss`,
        `accuracy` (running, on training batches), `val_loss`, `val_accuracy`}; `train` and `val`:
        `evaluate`'s reports of the trained model (`val` None without a val_set).

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
    _check(epochs, batch_size, lr, optimizer, schedule, warmup, label_smoothing, weight_decay, seed)
    check_fit(model, train_set, "train")
    if val_set is not None:
        check_fit(model, val_set, "train")
        if val_set.classes != train_set.classes:
            raise UsageError(
                f"train: val_set must have the classes of train_set; got {val_set.classes[:4]} for "
                f"{train_set.classes[:4]}."
            )
    recipe = {
        "epochs": epochs, "batch_size": batch_size, "lr": lr, "optimizer": optimizer,
        **({"momentum": momentum, "nesterov": nesterov} if optimizer == "sgd" else {}),
        "weight_decay": weight_decay, "schedule": schedule, "warmup": warmup,
        "label_smoothing": label_smoothing, "seed": seed,
    }  # fmt: skip
    device = model._mean.device if device is None else torch.device(device)
    model.to(device, memory_format=torch.channels_last)
    stepper = _optimizer(model, optimizer, lr, momentum, nesterov, weight_decay)
    per_epoch = len(_batches(len(train_set), batch_size, seed, 0))
    total = epochs * per_epoch

    history, step = [], 0
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            torch.cuda.manual_seed(seed)
        for epoch in range(epochs):
            model.train()
            seen = correct = 0
            loss_sum = 0.0
            for batch in _batches(len(train_set), batch_size, seed, epoch):
                rate = lr * _factor(step, total, warmup * per_epoch, schedule)
                for group in stepper.param_groups:
                    group["lr"] = rate
                labels = train_set.labels[batch].to(device)
                logits = model(to_input(train_set.images[batch], device))
                loss = F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
                value = loss.item()
                if not math.isfinite(value):
                    raise RuntimeError(
                        f"train: the loss became {value} in epoch {epoch + 1}, step {step + 1} of {total}; "
                        f"a lower learning rate than {lr} or a warm-up may help."
                    )
                stepper.zero_grad(set_to_none=True)
                loss.backward()
                stepper.step()
                step += 1
                seen += len(batch)
                loss_sum += value * len(batch)
                correct += int((logits.argmax(1) == labels).sum())
                if progress is not None:
                    progress(step, total)
            entry = {"epoch": epoch + 1, "lr": rate, "loss": loss_sum / seen, "accuracy": correct / seen}
            val = None if val_set is None else evaluate(model, val_set)
            entry["val_loss"] = None if val is None else val["loss"]
            entry["val_accuracy"] = None if val is None else val["accuracy"]
            history.append(entry)
    model.eval()
    report = evaluate(model, train_set)
    model.note(
        "trained",
        {
            **recipe,
            "train_fingerprint": train_set.fingerprint,
            "train_accuracy": report["accuracy"],
            "val_accuracy": None if val is None else val["accuracy"],
        },
    )
    return {"recipe": recipe, "epochs": history, "train": report, "val": val}


def _batches(count, batch_size, seed, epoch):
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
    batches = list(torch.randperm(count, generator=generator).split(batch_size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def _factor(step, total, warm, schedule):
    """Share of the peak learning rate at a step 0 <= step < total."""
    if step < warm:
        return (step + 1) / (warm + 1)
    done = (step - warm) / max(total - warm, 1)
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    if schedule == "step":
        return 1.0 if done < 0.5 else 0.1 if done < 0.75 else 0.01
    return 1.0


def _optimizer(model, name, lr, momentum, nesterov, weight_decay):
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise UsageError("train: the model must have parameters that require gradients; it has none.")
    if name == "adamw":
        return torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay)
    return torch.optim.SGD(
        parameters,
        lr=lr,
        momentum=momentum,
        nesterov=nesterov and momentum > 0,
        weight_decay=weight_decay,
    )


def _check(epochs, batch_size, lr, optimizer, schedule, warmup, label_smoothing, weight_decay, seed):
    for name, value, least in (("epochs", epochs, 1), ("batch_size", batch_size, 1), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise UsageError(f"train: {name} must be an integer >= {least}; got {value!r}.")
    if not (isinstance(lr, (int, float)) and math.isfinite(lr) and lr > 0):
        raise UsageError(f"train: lr must be a positive number; got {lr!r}.")
    if optimizer not in OPTIMIZERS:
        raise UsageError(f"train: optimizer must be one of {', '.join(OPTIMIZERS)}; got {optimizer!r}.")
    if schedule not in SCHEDULES:
        raise UsageError(f"train: schedule must be one of {', '.join(SCHEDULES)}; got {schedule!r}.")
    if not 0 <= warmup <= epochs:
        raise UsageError(f"train: warmup must lie in 0..epochs ({epochs}); got {warmup!r}.")
    if not 0 <= label_smoothing < 1:
        raise UsageError(f"train: label_smoothing must lie in 0 <= value < 1; got {label_smoothing!r}.")
    if not weight_decay >= 0:
        raise UsageError(f"train: weight_decay must not be negative; got {weight_decay!r}.")
