"""What a recipe asks of each step: the batches, the learning rate and the optimizer."""

import math

import torch

from freqkit.errors import UsageError

KINDS = {
    "adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "adagrad": torch.optim.Adagrad,
    "adadelta": torch.optim.Adadelta, "rmsprop": torch.optim.RMSprop,
}  # fmt: skip
HISTORY = ("epoch", "lr", "loss", "accuracy", "val_loss", "val_accuracy")  # of every epoch


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


def batches_of(count, batch_size, seed, epoch, least=2):
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
    batches = list(torch.randperm(count, generator=generator).split(batch_size))
    if len(batches) > 1 and len(batches[-1]) < least:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def rate_at(step, total, warm, recipe):
    """Share of the peak learning rate at a step 0 <= step < total."""
    if step < warm:
        return (step + 1) / (warm + 1)
    done = (step - warm) / max(total - warm, 1)
    if recipe.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    if recipe.schedule == "step":
        return recipe.factor ** ((done >= 0.5) + (done >= 0.75))
    return 1.0


def optimizer_of(model, recipe):
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
    return KINDS[recipe.optimizer](groups, lr=recipe.lr)
