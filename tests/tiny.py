"""A network that is small enough for any test that needs some network."""

import torch

from freqkit.models import Classifier


def tiny_model(*before, scale=1):
    """Untrained: 4 classes from 32x32 pixels, the same weights every time; `before`: layers in front.

    `scale` is that of the last weights: at 1 an untrained network has nearly the same loss under all masks.
    """
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        *before, torch.nn.Conv2d(3, 6, 5, stride=3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(600, 4)
    )
    with torch.no_grad():
        network[-1].weight *= scale
    return Classifier(network, mean=(0.5,) * 3, std=(0.2,) * 3, num_classes=4)
