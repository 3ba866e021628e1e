"""A few random images, a small network, and watchers."""

import torch
from torch import nn

from freqkit.engine import Silent

CLASSES = ["ant", "bee", "cow"]


class Images:
    def __init__(self, n, side=8, seed=0, classes=CLASSES):
        generator = torch.Generator().manual_seed(seed)
        self.images = torch.randint(0, 256, (n, 3, side, side), dtype=torch.uint8, generator=generator)
        self.labels = torch.randint(0, len(classes), (n,), generator=generator)
        self.labels[: len(classes)] = torch.arange(len(classes))
        self.classes = list(classes)
        self.paths = [f"{i}.png" for i in range(n)]
        self.fingerprint = f"test-{n}-{seed}"


class Small(nn.Module):
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    name, input_size = "small", None

    def __init__(self, logits=3):
        super().__init__()
        torch.manual_seed(1)
        self.num_classes = logits
        self.network = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(32, logits),
        )
        with torch.no_grad():
            self.network[-1].weight *= 4

    def forward(self, x):
        mean, std = (torch.tensor(v).view(1, 3, 1, 1).to(x.dtype) for v in (self.mean, self.std))
        return self.network((x - mean) / std)


def random_masks(k, side=8, seed=0):
    return (torch.rand(k, side, side, generator=torch.Generator().manual_seed(seed)) < 0.4).double()


class Watcher(Silent):
    def __init__(self):
        self.events = []

    def start(self, title, total, unit="forwards"):
        self.total, self.done = total, 0
        self.events.append("start")

    def advance(self, amount, **facts):
        self.done += amount

    def finish(self):
        self.events.append("finish")


class Listener(Silent):
    def __init__(self):
        self.notes = []

    def note(self, sentence):
        self.notes.append(sentence)
