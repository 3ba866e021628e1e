"""Layers that are looked at: hooks that go again, and features of versions of images against plain forwards."""

import pytest
import torch
from torch import nn

from freqkit.data import synthetic
from freqkit.engine import Scorer
from freqkit.engine.accumulators import Answers, FeatureSums, Logits
from freqkit.engine.features import Layer, features, hooked, penultimate
from freqkit.engine.stimuli import Filter
from freqkit.errors import UsageError
from freqkit.masks import low_pass
from freqkit.models import Classifier, load_model
from freqkit.options import Scoring
from tests.engine.small_world import Images, Small, random_masks


def small():
    plain = Small()
    return Classifier(plain.network, mean=(0.6, 0.5, 0.4), std=plain.std, num_classes=3)


def hooks_of(network):
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in network.modules())


def test_hooks_see_the_last_forward_and_go_whatever_happens():
    network, x = Small().network.eval(), torch.rand(5, 3, 8, 8)
    with hooked(network, ["0", Layer("6", "input")]) as seen:
        network(torch.rand(2, 3, 8, 8))
        logits = network(x)
    assert torch.equal(seen["0"], network[0](x)) and torch.equal(network[6](seen["6"]), logits)
    assert hooks_of(network) == 0
    with pytest.raises(RuntimeError), hooked(network, ["0"]):
        network(torch.rand(2, 7))
    assert hooks_of(network) == 0
    with pytest.raises(UsageError, match="layers must be names of modules"), hooked(network, ["0", "none"]):
        pass
    assert hooks_of(network) == 0


def test_layers_that_run_twice_or_never_are_refused():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.act, self.fc = nn.ReLU(), nn.Linear(3 * 64, 3)

        def forward(self, x):
            return self.fc(self.act(self.act(x).flatten(1)))

    twice = Twice()
    with pytest.raises(UsageError, match="'act' runs more often"), hooked(twice, ["act"]):
        twice(torch.zeros(1, 3, 8, 8))
    assert hooks_of(twice) == 0
    model = load_model("small_convnet", num_classes=4)
    images = synthetic(1, images_per_class=1)
    model.network.idle = nn.ReLU()
    with pytest.raises(UsageError, match="'idle' does not"):
        next(features("test", model, images, ["idle"], Scoring()))


def test_the_penultimate_features_lead_to_the_logits():
    model, images = load_model("small_convnet", num_classes=4, seed=1).eval(), synthetic(1, images_per_class=3)
    place = penultimate(model.network)
    last = dict(model.network.named_modules())[place.name]
    found = [made[place.name] for _, made in features("test", model, images, [place], Scoring(batch_size=5))]
    with torch.inference_mode():
        assert torch.allclose(last(torch.cat(found)), model(images.images.float() / 255), atol=1e-5)
    with pytest.raises(UsageError, match="must have a linear layer"):
        penultimate(nn.Sequential(nn.Conv2d(3, 4, 1)))


@pytest.mark.parametrize("batch_size", [3, 7, 64])
def test_sums_of_features_are_those_of_plain_forwards(batch_size):
    model, images = small(), Images(17)
    masks = torch.cat([torch.ones(1, 8, 8), torch.fft.ifftshift(low_pass(8, 3.0))[None], random_masks(3).float()])
    scorer = Scorer(model, images, batch_size=batch_size, form="eager", dtype="float64", domain="pixels")
    sums, answers, logits = FeatureSums(penultimate(model.network)), Answers(), Logits()
    scorer.show(Filter(masks), [answers, sums, logits])
    network = model.network.double().eval()
    x = images.images.double() / 255
    symmetric = torch.stack([(m + m.flip(0, 1).roll((1, 1), (0, 1))) / 2 for m in masks.double()])
    for k, mask in enumerate(symmetric):
        y = torch.fft.ifft2(torch.fft.fft2(x) * mask).real
        mean, std = (torch.tensor(v).double().view(1, 3, 1, 1) for v in (model.mean, model.std))
        f = network[:6]((y - mean) / std).detach()
        assert torch.equal(answers.value[k], network[6](f).argmax(1))
        assert torch.allclose(logits.value[k].double(), network[6](f), atol=1e-5)
        for c in range(3):
            own = f[images.labels == c]
            assert torch.allclose(sums.value[k, c, :-1], own.sum(0), atol=1e-6)
            assert float(sums.value[k, c, -1]) == pytest.approx(float(own.square().sum()), rel=1e-6)


def test_other_forms_have_other_layers():
    model, images = small(), Images(9)
    scorer = Scorer(model, images, batch_size=4, form="folded")
    with pytest.raises(UsageError, match="eager"):
        scorer.show(Filter(random_masks(2)), [FeatureSums(penultimate(model.network))])
