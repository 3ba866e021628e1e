"""The gradient searcher against directional derivatives taken one removal at a time, in float64."""

import copy

import pytest
import torch
import torch.nn.functional as F

from freqkit.data import synthetic
from freqkit.engine import Silent
from freqkit.errors import UsageError
from freqkit.masks import effective, uncentred
from freqkit.options import Scoring
from freqkit.results import RemovalResult
from freqkit.search import removal, removal_masks
from freqkit.search.gradient import estimate_removal, gradient, ranking
from freqkit.search.run import SearchRun


@pytest.fixture(scope="module")
def images():
    return synthetic(1, images_per_class=3, size=16).subset([7, 0, 10, 1, 5, 2, 11, 3])


def derivatives(model, images, patch):
    """Slopes of every logit [K, n, L] along each removal, and the logits [n, L], in float64."""
    network = copy.deepcopy(model.network).double()
    mean, std = (torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in (model.mean, model.std))
    x = ((images.images.double() / 255 - mean) / std).requires_grad_()
    logits = network(x)
    by_logit = [torch.autograd.grad(logits[:, y].sum(), x, retain_graph=True)[0] for y in range(4)]
    slopes = []
    for mask in effective(removal_masks(images.images.shape[-2:], patch)).double():
        step = torch.fft.ifft2(torch.fft.fft2(x.detach()) * (uncentred(mask) - 1)).real
        slopes.append(torch.stack([(g * step).sum((1, 2, 3)) for g in by_logit], 1))
    return torch.stack(slopes), logits.detach()


def class_means(each, images):
    return torch.stack([each[..., images.labels == c].mean(-1) for c in range(4)], -1)


def close(value, expected, rtol=1e-3):
    return torch.allclose(value, expected, rtol=rtol, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("patch", [1, 4])
def test_first_order_is_the_slope_along_each_removal(model, images, patch):
    slopes, logits = derivatives(model, images, patch)
    error = logits.softmax(1) - F.one_hot(images.labels, 4)
    expected = class_means((slopes * error).sum(2), images)
    loss = F.cross_entropy(logits, images.labels, reduction="none")
    for curvature in ("odds", "signs"):
        estimate = estimate_removal(model, images, patch=patch, draws=0, curvature=curvature, batch_size=5)
        assert close(estimate.first_order, expected)
        assert torch.allclose(estimate.baseline, class_means(loss, images), atol=1e-5)
        assert (estimate.forwards, estimate.backwards) == (8, 8)
        assert (estimate.second_order.abs().sum() == 0) == (curvature == "signs")


def test_log_odds_are_exact_for_logits_that_move_together(model, images):
    """Without draws: log-odds linear, the others' shares among themselves fixed."""
    slopes, logits = derivatives(model, images, 4)
    expected = []
    for i, label in enumerate(images.labels.tolist()):
        others = [j for j in range(4) if j != label]
        share = logits[i, others].softmax(0)
        step = (slopes[:, i, others] * share).sum(1) - slopes[:, i, label]
        odds = logits[i, others].logsumexp(0) - logits[i, label]
        expected.append(torch.log1p((odds + step).exp()) - torch.log1p(odds.exp()))
    estimate = estimate_removal(model, images, patch=4, draws=0)
    assert close(estimate.total, class_means(torch.stack(expected, 1), images))


@pytest.mark.parametrize("curvature", ["odds", "signs", "sampled"])
def test_draws_average_to_the_curvature(model, images, curvature):
    slopes, logits = derivatives(model, images, 4)
    p = logits.softmax(1)
    expected = 0
    if curvature == "odds":
        expected = estimate_removal(model, images, patch=4, draws=0).second_order
        p = p * (1 - F.one_hot(images.labels, 4))  # the labels but the own
    weight = p.sum(1)
    p = p / weight[:, None]
    variance = (p * slopes.square()).sum(2) - (p * slopes).sum(2).square()
    drawn = class_means(weight * variance / 2, images)
    estimate = estimate_removal(model, images, patch=4, draws=400, curvature=curvature)
    # Squares have heavy tails: their mean over 400 draws may be a fifth off, in sums over bins less.
    found = estimate.second_order - expected
    assert torch.allclose(found.sum(0), drawn.sum(0), rtol=0.2)
    assert torch.allclose(found, drawn, rtol=0.6, atol=1e-3 * float(drawn.max()))
    assert estimate.backwards == 401 * len(images)


def test_batches_do_not_matter(model, images):
    """An image's random vectors depend on its place in the set, not on the batch."""
    for curvature in ("odds", "signs", "sampled"):
        one, other = (estimate_removal(model, images, draws=2, curvature=curvature, batch_size=n).total for n in (3, 8))
        assert torch.allclose(one, other, atol=1e-6 * float(one.abs().max()), rtol=1e-3)


def test_rescoring_everything_is_removal(model, images, tmp_path):
    how = {"patch": 2, "batch_size": 32}
    exact = removal(model, images, **how, split_fraction=1)
    result = gradient(model, images, rescore=1.0, draws=1, out=tmp_path / "run", **how, split_fraction=1)
    assert torch.allclose(result.loss, exact.loss, atol=1e-5) and torch.allclose(
        result.baseline, exact.baseline, atol=1e-5
    )
    candidates = len(exact.loss)
    assert result.forwards == (1 + 1 + candidates + 4) * len(images) and result.backwards == 2 * len(images)
    assert result.forward_equivalents == result.forwards + 4 * len(images)
    assert torch.equal(RemovalResult.load(tmp_path / "run").estimate, result.estimate)


def test_rescored_share_is_that_of_the_highest_estimates(model, images, tmp_path):
    how = {"patch": 2, "rescore": 0.25, "draws": 2, "batch_size": 16}
    result = gradient(model, images, **how, split_fraction=1)
    number = round(0.25 * len(result.loss))
    for c in range(4):
        chosen = set(result.loss[:, c].isfinite().nonzero().flatten().tolist())
        assert chosen == set(result.estimate[:, c].argsort(descending=True)[:number].tolist())
    exact = removal(model, images, patch=2, batch_size=16, split_fraction=1)
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
        gradient(model, images, out=tmp_path / "run", progress=StopLate(), **how, split_fraction=1)
    resumed = gradient(model, images, out=tmp_path / "run", resume=True, **how, split_fraction=1)
    assert resumed.record["forwards_resumed"] > 0 and resumed.forwards == result.forwards
    for name in ("estimate", "baseline", "mask_loss", "tpr"):
        assert torch.equal(getattr(resumed, name), getattr(result, name))
    assert torch.equal(resumed.loss.nan_to_num(-1), result.loss.nan_to_num(-1))


def test_the_ranking_in_tiles_is_the_order_of_the_estimate(model):
    order = torch.randperm(75, generator=torch.Generator().manual_seed(0))
    images = synthetic(1, images_per_class=25, size=16).subset(order.tolist())
    run = SearchRun("learned", model, images, Scoring(batch_size=16), {})
    found, total = ranking(run, Silent()), estimate_removal(model, images).total
    assert run.record["forwards"] == 75 and run.record["backwards"] == 3 * 75
    assert torch.equal(found[:, :3].argsort(0), total[:, :3].argsort(0)) and total[:, 3].isnan().all()
    assert found.mean(0).abs().max() < 1e-12 and (found.std(0) - 1).abs().max() < 1e-12


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"draws": -1}, "draws must be an integer of at least 0"),
        ({"curvature": "x"}, "curvature must be one of odds, sampled, signs"),
        ({"rescore": 2}, "rescore must be a number in 0..1"),
        ({"class_index": [0, 1, 2, 9]}, "class_index must give one logit"),
        ({"class_index": [0, 1, 2, 2]}, "class_index must not name a logit twice"),
    ],
)
def test_errors(model, images, change, message):
    with pytest.raises(UsageError, match=message):
        gradient(model, images, **change, split_fraction=1)
