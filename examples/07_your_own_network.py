"""A network and a DataLoader of yours, and a zero-shot classifier in the manner of CLIP: what freqkit needs to know.

    python examples/07_your_own_network.py

Every function of freqkit takes an `nn.Module`, or a function of images that gives logits; and a DataLoader, a dataset,
arrays or a folder of labelled images. What it cannot know, it asks for in one sentence; `freqkit.wrap` is the place to
say it.
"""

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import freqkit
from freqkit.data import synthetic
from freqkit.training import train

MEAN, STD = (0.5, 0.5, 0.5), (0.2, 0.2, 0.2)


class Mine(nn.Module):
    """Any network: it takes normalised images, and returns what it likes."""

    def __init__(self, classes=4):
        super().__init__()
        layers = [nn.Conv2d(3, 16, 5, stride=2), nn.ReLU(), nn.Conv2d(16, 32, 5, stride=2), nn.ReLU()]
        self.body, self.head = nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten()), nn.Linear(32, classes)

    def forward(self, x):
        features = self.body(x)
        return {"features": features, "logits": self.head(features)}


def of_a_network(images, unseen):
    """Three lines: the network, the images (in [0, 1], not normalised), the question."""
    net = Mine()
    model = freqkit.wrap(net, mean=MEAN, std=STD, class_names=images.classes)
    train(model, images, epochs=4, batch_size=32, lr=0.05)  # `net` itself is trained
    loader = DataLoader(TensorDataset(unseen.images / 255, unseen.labels), batch_size=8)
    found = freqkit.learned(model, loader, steps=10)
    print(f"a network: {model.name} with {model.num_classes} logits, {100 * found.clean.accuracy:.0f}% of whole images")
    return net, found


def of_a_function(net, images, unseen):
    """A stand-in of CLIP: an image is of the class whose text lies nearest. Here the mean image speaks for the text."""
    normalise = freqkit.wrap(net, mean=MEAN, std=STD).normalise
    with torch.no_grad():
        features = F.normalize(net.body(normalise(images.images.float() / 255)), dim=1)
    texts = F.normalize(torch.stack([features[images.labels == c].mean(0) for c in range(4)]), dim=1)

    def zero_shot(x):  # with a real CLIP: 100 * normalize(clip.encode_image(x)) @ normalize(clip.encode_text(...)).T
        return 20 * F.normalize(net.body(x), dim=1) @ texts.T

    model = freqkit.wrap(zero_shot, mean=MEAN, std=STD, class_names=images.classes)
    found = freqkit.learned(model, unseen, steps=10)
    print(
        f"a function: {model.name} with {model.num_classes} logits, {100 * found.clean.accuracy:.0f}% of whole images"
    )
    return found


def main():
    images, unseen = synthetic(images_per_class=60), synthetic(images_per_class=6, seed=1)
    try:
        freqkit.learned(Mine(), unseen)
    except ValueError as error:
        print(f"what is missing is said: {error}")
    net, found = of_a_network(images, unseen)
    for row in found.table():
        print(f"  {row['class']}: TPR {100 * row['TPR']:3.0f}%, FPR {100 * row['FPR']:3.0f}% through its mask")
    of_a_function(net, images, unseen)


if __name__ == "__main__":
    main()
