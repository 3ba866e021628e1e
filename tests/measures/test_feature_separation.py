"""Feature separation, against a plain float64 loop and networks whose features are known."""

import math

import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from freqkit.data import ImageSet, synthetic
from freqkit.errors import Interrupted, UsageError
from freqkit.measures import feature_separation
from freqkit.models import Classifier, load_model
from tests.measures.test_triplets import plain_part


@pytest.mark.parametrize("size", [(16, 16), (11, 13)])
def test_variances_are_those_of_a_plain_loop(size):
    chance = torch.Generator().manual_seed(3)
    pixels = torch.randint(0, 256, (13, 3, *size), generator=chance, dtype=torch.uint8)
    labels = torch.tensor([0, 1, 2, 0, 0, 2, 1, 0, 2, 2, 0, 1, 0])  # classes of different sizes; none of the last
    images = ImageSet(pixels, labels, ["a", "b", "c", "d"], [str(i) for i in range(13)])
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3, 2), nn.Tanh(), nn.Flatten(), nn.LazyLinear(5), nn.Tanh(), nn.Linear(5, 4)
    )
    network(torch.zeros(1, 3, *size))
    model = Classifier(network, mean=(0.4, 0.4, 0.3), std=(0.2, 0.3, 0.2), num_classes=4)
    found = feature_separation(model, images, radii=[2, 4], dtype="float64", batch_size=4)
    network = model.network.double().eval()
    for k, name in enumerate(found.names):
        features, right = [], 0
        for image, label in zip(pixels.double().numpy() / 255, labels, strict=True):
            part = image if name == "whole" else plain_part(image, float(name.split()[1]), name.split()[0])
            mean, std = (torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in (model.mean, model.std))
            x = ((torch.from_numpy(part) - mean) / std)[None]
            features.append(network[:5](x)[0].detach())
            right += int(network(x).argmax()) == int(label)
        middles = [
            torch.stack([f for f, own in zip(features, labels, strict=True) if own == c]).mean(0) for c in range(3)
        ]
        grand = sum(middles) / 3
        between = sum(float((m - grand) @ (m - grand)) for m in middles) / 3
        within = 0.0
        for c in range(3):
            mine = [f for f, own in zip(features, labels, strict=True) if own == c]
            within += sum(float((f - middles[c]) @ (f - middles[c])) for f in mine) / len(mine) / 3
        assert float(found.between[k]) == pytest.approx(between, rel=1e-8), name
        assert float(found.within[k]) == pytest.approx(within, rel=1e-8), name
        assert float(found.fisher[k]) == pytest.approx(between / within, rel=1e-8)
        assert float(found.accuracy[k]) == pytest.approx(right / 13)
    assert found.distances[:, 3].isnan().all() and found.spreads[:, 3].isnan().all()


class Waves(nn.Module):
    """Features are the inner products with waves of 2 and 6 cycles, logits those with fixed weights."""

    def __init__(self, size=16):
        super().__init__()
        at = torch.arange(size) / size
        self.waves = nn.Parameter(torch.stack([torch.cos(2 * torch.pi * f * at) for f in (2, 6)]))
        self.head = nn.Linear(2, 2)

    def forward(self, x):
        return self.head(torch.einsum("bhw,kw->bk", x.mean(1), self.waves))


def test_classes_that_differ_in_a_wave_are_apart_where_it_is_left():
    at = torch.arange(16) / 16
    made = [0.5 + 0.25 * torch.cos(2 * torch.pi * f * at) for f in (2, 6, 2, 6)]
    pixels = (torch.stack(made)[:, None, None].expand(-1, 3, 16, 16) * 255).round().to(torch.uint8).contiguous()
    images = ImageSet(pixels, torch.tensor([0, 1, 0, 1]), ["two", "six"], list("abcd"))
    model = Classifier(Waves(), mean=(0, 0, 0), std=(1, 1, 1), num_classes=2)
    found = feature_separation(model, images, radii=[1, 4, 8], batch_size=4)
    between = dict(zip(found.names, found.between.tolist(), strict=True))
    # a wave of amplitude 1/4 has the inner product 16 * 16 / 8 = 32 with its own; the means are 32/2 from the middle
    assert between["whole"] == pytest.approx(2 * 16**2, rel=4e-2) and between["low 1"] == pytest.approx(0, abs=1e-3)
    # below 4 the class "six" has no feature left: 32 between two means
    assert between["low 4"] == pytest.approx(16**2, rel=4e-2) and between["high 4"] == pytest.approx(16**2, rel=4e-2)
    assert between["high 1"] == pytest.approx(between["whole"], rel=1e-3)
    assert found.within.abs().max() < 1e-3 and (found.fisher.isnan() | (found.fisher > 1e4) | (found.between < 1)).all()


def test_correlations_are_spearmans_over_the_components():
    model, images = load_model("small_convnet", num_classes=4, seed=4), synthetic(1, images_per_class=9)
    found = feature_separation(model, images, radii=[2, 4, 6, 8, 12], batch_size=16)
    for quantity, values in (("between", found.between), ("Fisher ratio", found.fisher)):
        for side, (value, low, high) in found.correlations[quantity].items():
            at = [k for k, one in enumerate(found.sides) if one != "whole" and side in ("all", one)]
            plain = spearmanr(values[at], found.accuracy[at]).statistic
            assert (value is None and math.isnan(plain)) or value == pytest.approx(plain), (quantity, side)
            assert value is None or low is None or low <= value <= high
    few = feature_separation(model, images, radii=[4], batch_size=16)
    assert few.correlations["between"] == {side: [None] * 3 for side in ("all", "low", "high")}


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(tmp_path):
    from tests.engine.small_world import Watcher

    model, images = load_model("small_convnet", num_classes=4, seed=2), synthetic(1, images_per_class=40)

    class Stops(Watcher):
        def advance(self, amount, **facts):
            super().advance(amount, **facts)
            if self.done > 150:
                raise Interrupted(2)

    asked = {"radii": [4, 8], "batch_size": 16, "layer": "head"}
    feature_separation(model, images, **asked, out=tmp_path / "whole")
    with pytest.raises(Interrupted):
        feature_separation(model, images, **asked, out=tmp_path / "run", progress=Stops())
    feature_separation(model, images, **asked, out=tmp_path / "run", resume=True)
    one, other = (tmp_path / name / "feature-separation.safetensors" for name in ("whole", "run"))
    assert one.read_bytes() == other.read_bytes()


def test_bad_arguments_are_refused():
    model, images = load_model("small_convnet", num_classes=4), synthetic(1, images_per_class=1)
    for asked, words in (
        ({"radii": [4, 4]}, "radii must rise"), ({"radii": [4, 40]}, "must be a frequency on the high side"),
        ({"layer": "none"}, "must be names of modules"), ({"form": "folded"}, "form must be auto or eager"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=words):
            feature_separation(model, images, batch_size=4, **asked)
