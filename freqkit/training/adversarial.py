"""Adversarial training: every batch is attacked before the network learns from it."""

from dataclasses import replace

import torch

from freqkit.engine.attacks import Attack, attack
from freqkit.errors import UsageError
from freqkit.models import Classifier
from freqkit.models.normalisation import evaluating


class Adversary:
    """Attacks of training images, of a pgd or fgsm `Attack`; the last iterate is what the network learns from.

    x <- clip(x_0 + project(x + a way - x_0)), as often as the attack has steps: way is the sign of the loss's gradient
    within linf, its direction within l2. The network is asked in evaluation mode; its statistics stay as they are.

    Args:
        spec: an `Attack`, or its text, as "pgd:eps=8:steps=7:step=2" or "pgd-l2:eps=0.5"; restarts=0 starts at the
            image, else at a random point of the ball, which depends on (seed, epoch, image).

    Source: Madry et al., ICLR 2018 (arXiv 1706.06083).

    Raises:
        UsageError: it is no pgd or fgsm, or is filtered by maps.

    Example:
        >>> from freqkit.data import synthetic
        >>> from freqkit.models import load_model
        >>> images = synthetic(1, images_per_class=1)
        >>> x, adversary = images.images / 255, Adversary("pgd:eps=8:steps=2")
        >>> moved = adversary(load_model("small_convnet", num_classes=4), x, images.labels, torch.arange(4), 0)
        >>> bool(0 < (moved - x).abs().max() <= 8 / 255 + 1e-6)
        True
    """

    def __init__(self, spec: Attack | str):
        spec = Attack.parse(spec) if isinstance(spec, str) else spec
        if not isinstance(spec, Attack) or spec.kind not in ("pgd", "fgsm"):
            kind = getattr(spec, "kind", spec)
            raise UsageError(f"train: adversarial must be a pgd or fgsm attack, as pgd:eps=8:steps=7; got {kind!r}.")
        if spec.band == "own" or spec.refilter:
            raise UsageError(
                "train: adversarial must not ask for maps (band=own, refilter), which training has none of."
            )
        if spec.restarts > 1:
            raise UsageError(f"train: adversarial must have restarts 0 or 1; got {spec.restarts}.")
        self.spec = replace(spec, judged="last")

    @property
    def record(self) -> dict:
        return self.spec.options

    @property
    def passes(self) -> int:
        """Forwards of an image that the attack takes, of which all but the last go back, too."""
        return 0 if self.spec.radius == 0 else 1 + (1 if self.spec.kind == "fgsm" else self.spec.steps)

    def __call__(
        self, model: Classifier, x: torch.Tensor, labels: torch.Tensor, positions: torch.Tensor, epoch: int
    ) -> torch.Tensor:
        """Images float [b, 3, H, W] in [0, 1], attacked. labels: int64 [b]; positions: int64 [b], in the set."""
        keys = [f"{epoch} {place}" for place in torch.as_tensor(positions).tolist()]
        labels = labels.to(x.device)
        with evaluating(model):
            found = attack(
                model.network, x, labels, self.spec, mean=model.mean, std=model.std, answers=labels, keys=keys,
                batch_size=max(1, len(x)),
            )  # fmt: skip
        return found.images
