"""The gradient searcher against directional derivatives taken one removal at a time, in float64."""

import copy

import pytest
import torch
import torch.nn.functional as F

from freqkit.data import synthetic
from freqkit.errors import UsageError
from freqkit.masks import effective, uncentred
from freqkit.models import load_model
from freqkit.results import RemovalResult
from freqkit.search.gradient import estimate_removal, gradient
from freqkit.search.removal import removal, removal_masks


@pytest.fixture(scope="module")
def model():
    return load_model("small_convnet", num_classes=4, seed=3)


@pytest.fixture(scope="module")
def images():
    return synthetic(1, images_per_class=3, size=16).subset([7, 0, 10, 1, 5, 2, 11, 3])


def derivatives(model, images, patch):
    """Slope of the loss [K, n], and of every log-probability [K, n, L], along each removal."""
    network = copy.deepcopy(model.network).double()
    mean, std = (torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in (model.mean, model.std))
    x = ((images.images.double() / 255 - mean) / std).requires_grad_()
    logits = network(x)
    log_probability = logits.log_softmax(1)
    by_label = [torch.autograd.grad(log_probability[:, y].sum(), x, retain_graph=True)[0] for y in range(4)]
    slopes = []
    for mask in effective(removal_masks(images.images.shape[-2:], patch)).double():
        step = torch.fft.ifft2(torch.fft.fft2(x.detach()) * (uncentred(mask) - 1)).real
        slopes.append(torch.stack([(g * step).sum((1, 2, 3)) for g in by_label], 1))
    slopes = torch.stack(slopes)
    own = -slopes[:, torch.arange(len(images)), images.labels]
    fisher = (log_probability.exp() * slopes.square()).sum(2) / 2
    return own, fisher, F.cross_entropy(logits, images.labels, reduction="none").detach()


def class_means(each, images):
    return torch.stack([each[..., images.labels == c].mean(-1) for c in range(4)], -1).detach()


@pytest.mark.parametrize("patch", [1, 4])
def test_first_order_is_the_slope_along_each_removal(model, images, patch):
    own, _, loss = derivatives(model, images, patch)
    estimate = estimate_removal(model, images, patch=patch, draws=0, batch_size=5)
    expected = class_means(own, images)
    assert torch.allclose(estimate.first_order, expected, atol=1e-5 * float(expected.abs().max()), rtol=1e-3)
    assert torch.allclose(estimate.baseline, class_means(loss, images), atol=1e-5)
    assert estimate.fisher.abs().sum() == 0 and (estimate.forwards, estimate.backwards) == (8, 8)


@pytest.mark.parametrize("curvature", ["signs", "sampled"])
def test_draws_average_to_the_fisher_term(model, images, curvature):
    _, fisher, _ = derivatives(model, images, 4)
    expected = class_means(fisher, images)
    estimate = estimate_removal(model, images, patch=4, draws=400, curvature=curvature)
    # The standard error of a square's mean over 400 draws is at most 0.2 of it for heavy tails; sums over
    # bins less.
    assert torch.allclose(estimate.fisher.sum(0), expected.sum(0), rtol=0.2)
    assert torch.allclose(estimate.fisher, expected, rtol=0.6, atol=1e-3 * float(expected.max()))
    assert estimate.backwards == 401 * len(images)


def test_batches_do_not_matter(model, images):
    """An image's random vectors depend on its place in the set, not on the batch."""
    for curvature in ("signs", "sampled"):
        one, other = (
            estimate_removal(model, images, draws=2, curvature=curvature, batch_size=n).total for n in (3, 8)
        )
        assert torch.allclose(one, other, atol=1e-6 * float(one.abs().max()), rtol=1e-3)


def test_rescoring_everything_is_removal(model, images, tmp_path):
    how = {"patch": 2, "batch_size": 32}
    exact = removal(model, images, **how)
    result = gradient(model, images, rescore=1.0, draws=1, out=tmp_path / "run", **how)
    assert torch.allclose(result.loss, exact.loss, atol=1e-5) and torch.allclose(
        result.baseline, exact.baseline, atol=1e-5
    )
    candidates = len(exact.loss)
    assert result.forwards == (1 + candidates + 4) * len(images) and result.backwards == 2 * len(images)
    assert result.forward_equivalents == result.forwards + 4 * len(images)
    assert torch.equal(RemovalResult.load(tmp_path / "run").estimate, result.estimate)


def test_rescored_share_is_that_of_the_highest_estimates(model, images, tmp_path):
    how = {"patch": 2, "rescore": 0.25, "draws": 2, "batch_size": 16}
    result = gradient(model, images, **how)
    number = round(0.25 * len(result.loss))
    for c in range(4):
        chosen = set(result.loss[:, c].isfinite().nonzero().flatten().tolist())
        assert chosen == set(result.estimate[:, c].argsort(descending=True)[:number].tolist())
    exact = removal(model, images, patch=2, batch_size=16)
    known = result.loss.isfinite()
    assert torch.allclose(result.loss[known], exact.loss[known], atol=1e-5)
    # Everything that a DFM of 5 % can need is among them, and ranked by exact losses.
    for c, bins in enumerate(result.selected(0.05)):
        assert known[result.owner[bins], c].all()

    class Stop(Exception):
        pass

    class StopLate:
        left = 6

        def start(self, title, total, unit="forwards"):
            pass

        def advance(self, amount, **facts):
            self.left -= 1
            if self.left == 0:
                raise Stop

        def finish(self):
            pass

        def note(self, sentence):
            pass

    with pytest.raises(Stop):
        gradient(model, images, out=tmp_path / "run", progress=StopLate(), **how)
    resumed = gradient(model, images, out=tmp_path / "run", resume=True, **how)
    assert resumed.record["forwards_resumed"] > 0 and resumed.forwards == result.forwards
    for name in ("estimate", "baseline", "mask_loss", "tpr"):
        assert torch.equal(getattr(resumed, name), getattr(result, name))
    assert torch.equal(resumed.loss.nan_to_num(-1), result.loss.nan_to_num(-1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"draws": -1}, "draws must be an integer of at least 0"),
        ({"curvature": "x"}, "curvature must be one of signs, sampled"),
        ({"rescore": 2}, "rescore must be a number in 0..1"),
        ({"class_index": [0, 1, 2, 9]}, "class_index must give one logit"),
    ],
)
def test_errors(model, images, change, message):
    with pytest.raises(UsageError, match=message):
        gradient(model, images, **change)
