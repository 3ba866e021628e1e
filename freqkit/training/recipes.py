"""Recipes: everything that training depends on besides the model, the images and the seed."""

import math
from dataclasses import asdict, dataclass, fields, replace

from freqkit.data.augment import check_policies
from freqkit.data.components import SIDES
from freqkit.errors import UsageError
from freqkit.registry import ENCODINGS

OPTIMIZERS = ("sgd", "adam", "adamw", "adagrad", "adadelta", "rmsprop")
LAMBDAS = ("alpha", "cvpr2020")
STATISTICS = ("running", "batch")
# Settings that a record holds only where they are not these, so that runs begun without them go on.
LATER = {
    "mixup_lambda": "alpha", "dropout": 0.0, "bn_eval": "running", "component": None, "radius": None,
    "encoding": "raw", "shuffle_labels": 0.0,
}  # fmt: skip
SCHEDULES = ("cosine", "step", "plateau", "none")
PRECISIONS = ("float32", "bfloat16", "float16")


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        epochs, batch_size: positive integers; a batch is divided among the ranks.
        lr: peak learning rate.
        optimizer: "sgd" (`momentum`, `nesterov`), "adam", "adamw", "adagrad", "adadelta" or "rmsprop" (torch's other
            defaults); `recipe` and `train` take `optimiser`, too.
        weight_decay: on every parameter, or with `decay_norms=False` not on those of one dimension (biases,
            norms).
        schedule: after the warm-up, over the steps that are left: "cosine" to 0; "step": x `factor` at 1/2 and
            again at 3/4; "plateau": x `factor` after more than `patience` epochs in which the validation loss
            did not fall by 0.01 % of the best; "none".
        warmup: epochs (may be a fraction) of linear warm-up.
        label_smoothing: 0 <= value < 1.
        clip: largest norm of the gradient, or None.
        ema: decay of the averaged weights, or None; the averaged ones are evaluated and kept. The decay rises
            as min(ema, (1 + t)/(10 + t)).
        precision: "float32"; "bfloat16" or "float16" (CUDA only, with loss scaling): autocast.
        augment: names, see `freqkit.data.augment.Augment`.
        mixup, cutmix: parameters of their beta distributions, 0: off.
        val_fraction: share of each class set aside for validation when no validation set is given, 0: none.
        mixup_lambda: "alpha": the share of the first image is drawn from Beta(mixup, mixup), once a batch;
            "cvpr2020": from Beta(1, 1) whatever `mixup` is, as the code of arXiv 1905.13545 does (its text: 0.5).
        dropout: 0 <= value < 1, chance that a feature before the last linear layer is 0 in training.
        bn_eval: of BatchNorm at evaluation: "running" statistics, or those of the "batch" (`batch_size` images in a
            fixed random order; with ranks, of each one's), as the code of arXiv 1905.13545 does.
        component, radius, encoding: train on the "low" or "high" frequencies alone, split at `radius` cycles/image
            (`freqkit.data.components`); after the other augmentations. Evaluation is of whole images.
        shuffle_labels: share of the training images among which labels are permuted (`ImageSet.shuffled`, by the
            seed); those of validation stay.

    Example:
        >>> from freqkit.training import recipe
        >>> recipe("cifar", epochs=30).augment
        ('crop', 'flip')
    """

    epochs: int = 10
    batch_size: int = 64
    lr: float = 0.01
    optimizer: str = "sgd"
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    decay_norms: bool = True
    schedule: str = "cosine"
    factor: float = 0.1
    patience: int = 10
    warmup: float = 0.0
    label_smoothing: float = 0.0
    clip: float | None = None
    ema: float | None = None
    precision: str = "float32"
    augment: tuple = ()
    mixup: float = 0.0
    cutmix: float = 0.0
    val_fraction: float = 0.0
    mixup_lambda: str = "alpha"
    dropout: float = 0.0
    bn_eval: str = "running"
    component: str | None = None
    radius: float | None = None
    encoding: str = "raw"
    shuffle_labels: float = 0.0

    def __post_init__(self):
        object.__setattr__(self, "augment", check_policies(self.augment))
        for name, least in (("epochs", 1), ("batch_size", 1), ("patience", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise UsageError(f"train: {name} must be an integer >= {least}; got {value!r}.")
        if not (_is_number(self.lr) and self.lr > 0):
            raise UsageError(f"train: lr must be a positive number; got {self.lr!r}.")
        for name, known in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES), ("precision", PRECISIONS),
                            ("mixup_lambda", LAMBDAS), ("bn_eval", STATISTICS), ("encoding", ENCODINGS),
                            ("component", (None, *SIDES))):  # fmt: skip
            if getattr(self, name) not in known:
                raise UsageError(
                    f"train: {name} must be one of {', '.join(map(str, known))}; got {getattr(self, name)!r}."
                )
        ranges = (
            ("momentum", 0, 1, False), ("factor", 0, 1, False), ("warmup", 0, self.epochs, True),
            ("label_smoothing", 0, 1, False), ("val_fraction", 0, 1, False), ("weight_decay", 0, math.inf, False),
            ("mixup", 0, math.inf, False), ("cutmix", 0, math.inf, False), ("dropout", 0, 1, False),
            ("shuffle_labels", 0, 1, True),
        )  # fmt: skip
        for name, low, high, closed in ranges:
            value = getattr(self, name)
            if not _is_number(value) or not (low <= value < high or (closed and value == high)):
                rule = "epochs" if name == "warmup" else f"{high:g}"
                raise UsageError(
                    f"train: {name} must lie in {low}..{rule} ({high:g}{'' if closed else ' excluded'}); got {value!r}."
                )
        if self.mixup_lambda != "alpha" and not self.mixup:
            raise UsageError(f"train: mixup_lambda={self.mixup_lambda!r} needs mixup above 0; got {self.mixup!r}.")
        if (self.component is None) != (self.radius is None):
            raise UsageError(
                f"train: component and radius need each other; got component={self.component!r}, "
                f"radius={self.radius!r}."
            )
        if self.component is None and self.encoding != "raw":
            raise UsageError(f"train: encoding={self.encoding!r} needs component and radius; they are not given.")
        if self.clip is not None and not (_is_number(self.clip) and self.clip > 0):
            raise UsageError(f"train: clip must be a positive number or None; got {self.clip!r}.")
        if self.ema is not None and not (_is_number(self.ema) and 0 < self.ema < 1):
            raise UsageError(f"train: ema must be a number with 0 < ema < 1, or None; got {self.ema!r}.")

    @property
    def mixup_alpha(self):
        """Both parameters of the beta distribution of Mix-up."""
        return 1.0 if self.mixup and self.mixup_lambda == "cvpr2020" else self.mixup

    @property
    def record(self):
        """JSON-ready dict of what has an effect."""
        values = asdict(self)
        values["augment"] = list(self.augment)
        without = [name for name, value in LATER.items() if values[name] == value]
        if self.component is not None:
            without = [name for name in without if name != "encoding"]
        if self.optimizer != "sgd":
            without += ["momentum", "nesterov"]
        if self.schedule != "plateau":
            without += ["patience"]
        if self.schedule not in ("step", "plateau"):
            without += ["factor"]
        return {name: value for name, value in values.items() if name not in without}


# iccv2023: Wang et al., ICCV 2023. In the published order: padded by 4, flipped, and of that a window of random size
# and place brought to the old side. Photographs are so treated at their own size there, here once they have the
# network's. The published 90/10 split is unseeded and its validation images are augmented; here it is drawn by
# --seed's hash, stratified, and not augmented.
# timm-like: the usual ingredients of timm's recipes for training from scratch, for one machine.
RECIPES = {
    "plain": Recipe(),
    "iccv2023": Recipe(
        epochs=200, batch_size=64, lr=0.01, weight_decay=1e-4, schedule="plateau", factor=0.1, patience=10,
        augment=("pad", "flip", "resized-crop"), val_fraction=0.1,
    ),
    "cifar": Recipe(epochs=200, batch_size=128, lr=0.1, weight_decay=5e-4, warmup=1.0, augment=("crop", "flip")),
    "timm-like": Recipe(
        epochs=300, batch_size=256, lr=1e-3, optimizer="adamw", weight_decay=0.05, decay_norms=False, warmup=5.0,
        label_smoothing=0.1, clip=1.0, ema=0.9998, augment=("resized-crop", "flip", "randaugment"), mixup=0.2,
        cutmix=1.0,
    ),
}  # fmt: skip


def recipe(name: str | Recipe = "plain", **changes: object) -> Recipe:
    """One of `RECIPES`, or a `Recipe`, with changes.

    Raises:
        UsageError: no such recipe, no such attribute, or a value out of its range.

    Example:
        >>> recipe("iccv2023", epochs=2).patience
        10
    """
    if isinstance(name, Recipe):
        chosen = name
    elif name in RECIPES:
        chosen = RECIPES[name]
    else:
        raise UsageError(f"train: recipe must be a Recipe or one of {', '.join(RECIPES)}; got {name!r}.")
    if "optimiser" in changes:
        if "optimizer" in changes:
            raise UsageError("train: optimiser and optimizer are one setting; give one of them.")
        changes["optimizer"] = changes.pop("optimiser")
    known = [field.name for field in fields(Recipe)]
    strange = [key for key in changes if key not in known]
    if strange:
        raise UsageError(f"train: there is no setting {strange[0]!r}; a recipe has {', '.join(known)}.")
    return replace(chosen, **changes)
