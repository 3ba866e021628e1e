"""Images that say what shall be answered, whole and without their mean, and a network that answers so."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from freqkit.models import Classifier

SIDE = 8
WAVE = (-1.0) ** np.arange(SIDE)  # along a row: the Nyquist frequency


def picture(whole, filtered):
    """uint8 [H, W, 3] that the oracle calls logit `whole`, and `filtered` once its mean is gone.

    Digits of `whole` are the means of R, G, B (30 + 20 d), those of `filtered` the sizes of a wave (3 + 3 d).
    """
    image = np.zeros((SIDE, SIDE, 3))
    for channel in range(3):
        mean = 30 + 20 * (whole // 10**channel % 10)
        image[:, :, channel] = mean + (3 + 3 * (filtered // 10**channel % 10)) * WAVE
    return image.astype(np.uint8)


def put(path, whole, filtered=None):
    """Write a picture as a PNG, whatever the file is called."""
    from PIL import Image

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(whole, whole if filtered is None else filtered)).save(path, format="PNG")


class Oracle(nn.Module):
    """Reads the picture; the logit after the answer's is second."""

    def __init__(self, logits, wrong_width=0, nan_at=None):
        super().__init__()
        self.num_classes, self.input_size = logits, (SIDE, SIDE)
        self.width, self.nan_at = wrong_width or logits, nan_at
        self.register_buffer("wave", torch.tensor(WAVE, dtype=torch.float32))
        self.asked = 0

    def forward(self, x):
        self.asked += len(x)
        x = x * 255
        mean, wave = x.mean((2, 3)), (x * self.wave).mean((2, 3)).abs()
        whole = (mean.abs() > 10).any(1, keepdim=True)
        digits = torch.where(whole, (mean - 30) / 20, (wave - 3) / 3).round().long().clamp(0, 9)
        answer = digits[:, 0] + 10 * digits[:, 1] + 100 * digits[:, 2]
        logits = torch.zeros(len(x), self.width)
        rows = torch.arange(len(x))
        logits[rows, (answer + 1) % self.width] = 1.0
        logits[rows, answer % self.width] = 2.0
        if self.nan_at is not None:
            logits[answer == self.nan_at] = float("nan")
        return logits + 0 * x.sum((1, 2, 3))[:, None]


def oracle(logits=1000, **how):
    return Classifier(
        Oracle(logits, **how), mean=(0.0,) * 3, std=(1.0,) * 3, num_classes=logits, input_size=(SIDE, SIDE)
    )


def make(num_classes=4):
    """A factory for the command line."""
    return Oracle(num_classes)


def no_mean():
    """The mask that removes the mean and nothing else, centred."""
    mask = torch.ones(SIDE, SIDE)
    mask[SIDE // 2, SIDE // 2] = 0
    return mask
