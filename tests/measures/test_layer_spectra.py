"""Spectra of layers, against a plain loop in numpy and against layers whose effect is known."""

import numpy as np
import pytest
import torch
from torch import nn

from freqkit.data import ImageSet
from freqkit.errors import UsageError
from freqkit.measures import layer_spectra
from freqkit.models import Classifier, load_model


def noise(count, size, seed=0):
    chance = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 3, *size), generator=chance, dtype=torch.uint8)
    return ImageSet(pixels, torch.arange(count) % 2, ["a", "b"], [f"{i}.png" for i in range(count)])


def network(*layers):
    model = Classifier(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(2)).double(),
                       mean=(0, 0, 0), std=(1, 1, 1), num_classes=2)  # fmt: skip
    model.network(torch.zeros(1, 3, 16, 16, dtype=torch.float64))
    return model


def plain(maps, line, window):
    """Of maps [n, C, h, w], an image, a channel and a frequency at a time: mean and spread over images."""
    channels, height, width = maps.shape[1:]
    hann = [0.5 - 0.5 * np.cos(2 * np.pi * np.arange(side) / (side - 1)) for side in (height, width)]
    rows, columns = (
        np.exp(-2j * np.pi * np.outer(np.arange(side), np.arange(side)) / side) for side in (height, width)
    )
    lines = []
    for image in maps:
        plane = np.zeros((height, width))
        for one in image:
            seen = one * np.outer(*hann) if window == "hann" else one
            plane += np.log(abs(rows @ seen @ columns) + 1e-12) / channels
        found, short = {}, min(height, width)
        for i in range(height):
            for j in range(width):
                u, v = (i + height // 2) % height - height // 2, (j + width // 2) % width - width // 2
                if line == "ring":
                    found.setdefault(int(np.floor(np.hypot(u * short / height, v * short / width))), []).append(
                        plane[i, j]
                    )
                elif i == j <= short // 2:
                    found[i] = [plane[i, j]]
        values = np.array([np.mean(found[k]) for k in sorted(found)])
        lines.append(values - values[0])
    return np.mean(lines, 0), np.std(lines, 0)


@pytest.mark.parametrize("window", ["none", "hann"])
@pytest.mark.parametrize("line", ["ring", "diagonal"])
@pytest.mark.parametrize("size", [(12, 12), (11, 11), (9, 14), (13, 10)])
def test_spectra_are_those_of_a_plain_loop(size, line, window):
    torch.manual_seed(0)
    model, images = network(nn.Conv2d(3, 5, 3, padding=1), nn.Tanh(), nn.Conv2d(5, 4, 3, stride=2)), noise(3, size)
    found = layer_spectra(model, images, layers=["1", "2"], line=line, window=window, dtype="float64", batch_size=2)
    maps = images.images.double() / 255
    for place, stop in enumerate((2, 3)):
        mean, spread = plain(model.network[:stop](maps).detach().numpy(), line, window)
        count = int(found.counts[place])
        assert count == len(mean) and found.trained[place, count:].isnan().all()
        assert np.allclose(found.trained[place, :count], mean, atol=1e-8)
        assert np.allclose(found.spread[place, :count], spread, atol=1e-6)
    one_by_one = layer_spectra(
        model, images, layers=["1", "2"], line=line, window=window, dtype="float64", batch_size=1
    )
    assert torch.allclose(found.trained, one_by_one.trained, equal_nan=True, rtol=0, atol=1e-9)


def test_a_known_blur_is_told_frequency_by_frequency():
    """A circular convolution multiplies the spectrum by the kernel's: its log is the difference of two layers."""
    blur = nn.Conv2d(3, 3, 3, padding=1, padding_mode="circular", groups=3, bias=False)
    kernel = torch.outer(torch.tensor([1.0, 2, 1]), torch.tensor([1.0, 2, 1])) / 16
    model = network(nn.Identity(), blur)
    with torch.no_grad():
        blur.weight.copy_(kernel.expand(3, 1, 3, 3))
    found = layer_spectra(model, noise(4, (16, 16)), layers=["0", "1"], line="diagonal", dtype="float64")
    k = torch.arange(8, dtype=torch.float64)
    gain = ((2 + 2 * torch.cos(2 * torch.pi * k / 16)) / 4).square()
    assert torch.allclose((found.trained[1] - found.trained[0])[:8], gain.log(), atol=1e-9)


def test_noise_is_flat_but_for_its_mean_and_weights_drawn_anew_are_the_same_for_a_seed():
    torch.manual_seed(0)
    model, images = network(nn.Conv2d(3, 8, 3, padding=1)), noise(4, (32, 32))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found, again = (layer_spectra(model, images, layers=["0"], seed=3) for _ in range(2))
    assert float(found.noise[0, 2:].std()) < 0.1
    assert torch.equal(found.untrained, again.untrained) and not torch.equal(found.untrained, found.trained)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_tokens_lie_on_the_grid_of_their_patches():
    class Patches(nn.Module):
        """Means of patches as tokens of 3 numbers, behind a class token and a register."""

        def forward(self, x):
            patches = nn.functional.avg_pool2d(x, 4).flatten(2).transpose(1, 2)
            return torch.cat([torch.full_like(patches[:, :2], 9.0), patches], 1)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches, self.pooled, self.head = Patches(), nn.AvgPool2d(4), nn.Linear(3, 2)

        def forward(self, x):
            self.pooled(x)
            return self.head(self.patches(x).mean(1))

    model = Classifier(Net().double(), mean=(0, 0, 0), std=(1, 1, 1), num_classes=2)
    found = layer_spectra(model, noise(3, (20, 20)), layers=["patches", "pooled"], dtype="float64")
    assert found.sizes.tolist() == [[5, 5], [5, 5]] and found.channels.tolist() == [3, 3]
    assert torch.allclose(found.trained[0], found.trained[1], atol=1e-12)
    with pytest.raises(UsageError, match="how many of the 27 tokens"):
        layer_spectra(model, noise(1, (20, 20)), layers=["patches"], tokens=1, dtype="float64")


def test_blocks_are_found_and_hooks_go_when_a_layer_fails():
    images = noise(2, (32, 32))
    assert layer_spectra(load_model("cifar_resnet20", num_classes=2), images).layers[0] == "layer1.0"
    model = network(nn.Conv2d(3, 4, 3))
    for layers, words in (
        (["4"], "layers must be names of modules"),
        (["3"], "must give maps"),
        (["0", "0"], "each once"),
    ):
        with pytest.raises(UsageError, match=words):
            layer_spectra(model, images, layers=layers)
    assert not any(module._forward_hooks for module in model.modules())
    with pytest.raises(UsageError, match="line must be one of ring, diagonal"):
        layer_spectra(model, images, line="square")


class Last(nn.Module):
    """Maps with their channels last."""

    def forward(self, x):
        return x.permute(0, 2, 3, 1)


class Mean(nn.Module):
    def forward(self, x):
        return x.mean((1, 2))


def test_channels_that_are_last_are_asked_for_or_told():
    made = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), Last(), Mean(), nn.Linear(5, 2)).double()
    model, images = Classifier(made, mean=(0, 0, 0), std=(1, 1, 1), num_classes=2), noise(3, (12, 12))
    with pytest.raises(UsageError, match=r"channels must be first or last, for the maps of '1' are \[3, 12, 12, 5\]"):
        layer_spectra(model, images, layers=["1"], dtype="float64")
    first = layer_spectra(model, images, layers=["0"], dtype="float64")
    for told in ({"channels": "last"}, {}):
        if not told:
            made.output_fmt = "NHWC"  # as timm's networks say it
        last = layer_spectra(model, images, layers=["1"], dtype="float64", **told)
        assert last.sizes.tolist() == [[12, 12]] and last.channels.tolist() == [5]
        assert torch.equal(last.trained, first.trained)


def test_what_the_untrained_control_keeps_is_said():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.gamma = nn.Parameter(torch.full((4, 1, 1), 3.0, dtype=torch.float64))

        def forward(self, x):
            return self.gamma * x

    model, images = network(nn.Conv2d(3, 4, 3), Scaled()), noise(2, (16, 16))
    found = layer_spectra(model, images, layers=["1"], dtype="float64")
    assert found.record["not_drawn_anew"] == ["1.gamma"]
    assert layer_spectra(network(nn.Conv2d(3, 4, 3)), images, layers=["0"]).record["not_drawn_anew"] == []
    from freqkit.measures.layer_spectra import printed

    assert "keeps 1 parameters as they were trained (1.gamma)" in printed(found).cautions[0]
