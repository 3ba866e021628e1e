"""Racing loses no more than it may, and asks far less."""

import itertools
import math

import numpy as np
import pytest
import torch

from freqkit.engine import Journal, Scorer, racing
from freqkit.errors import UsageError
from tests.engine.small_world import Images, Small, Watcher, random_masks


def test_looks_end_with_all_images():
    for images in (1, 2, 23, 24, 25, 100, 1000, 50_000):
        seen = racing.looks(images)
        assert seen[-1] == images and all(a < b for a, b in itertools.pairwise(seen))
    assert len(racing.looks(1000)) == 10


def test_order_is_a_fixed_permutation():
    assert racing.order(9, 3, 1).tolist() == racing.order(9, 3, 1).tolist() != racing.order(9, 3, 2).tolist()
    assert sorted(racing.order(1000, 0, 0).tolist()) == list(range(1000))


@pytest.mark.parametrize("tail", ["normal", "lognormal", "two points"])
@pytest.mark.measured
@pytest.mark.parametrize("images", [100, 1000])
def test_members_of_the_top_are_lost_less_often_than_the_risk(tail, images):
    """Candidates close together, heavy-tailed losses that share the difficulty of the image."""
    chance, risk, top = np.random.default_rng(0), 0.05, 10
    lost = members = looked = total = 0
    for _ in range(60 if images == 100 else 20):
        difficulty = chance.gamma(1.0, 1.0, images)
        noise = {
            "normal": lambda: chance.normal(0, 0.6, (120, images)),
            "lognormal": lambda: chance.lognormal(-1, 1.0, (120, images)),
            "two points": lambda: 6.0 * (chance.random((120, images)) < 0.05),
        }[tail]()
        losses = difficulty * chance.normal(1, 0.1, (120, 1)) + noise + chance.exponential(0.15, (120, 1))
        kept, seen = racing.race(losses, top, risk)
        truth = np.argsort(losses.mean(1), kind="stable")[:top]
        lost, members = lost + int((~kept[truth]).sum()), members + top
        looked, total = looked + seen, total + losses.size
    assert lost / members <= risk
    assert looked < (0.9 if images == 100 else 0.7) * total


@pytest.mark.measured
def test_members_of_the_top_are_kept_on_real_losses(cifar10_mini, resnet20_weights):
    """Photographs, a trained network, candidates of stage 1: two hundred random orders of showing."""
    from freqkit.data import load_images
    from freqkit.masks import candidates
    from freqkit.models import load_model

    model = load_model("cifar_resnet20", weights=resnet20_weights)
    images = load_images(cifar10_mini, image_size=32)
    images = images.subset((images.labels == 1) | (images.labels == 8))
    scorer = Scorer(model, images, batch_size=100)
    losses = scorer.score(candidates(1, 30, size=32).masks, per_sample=True).samples["loss"].numpy()
    chance, top, lost, looked, total = np.random.default_rng(0), 3, 0, 0, 0
    for label in (1, 8):
        own = losses[:, images.labels.numpy() == label]
        truth = np.argsort(own.astype(np.float64).mean(1), kind="stable")[:top]
        for _ in range(100):
            kept, seen = racing.race(own[:, chance.permutation(own.shape[1])], top, 0.01)
            lost, looked, total = lost + int((~kept[truth]).sum()), looked + seen, total + own.size
    assert lost <= 0.01 * 200 * top
    assert looked < 0.7 * total


def test_twins_of_a_top_member_are_kept():
    losses = np.random.default_rng(1).random((6, 200))
    losses[3] = losses[0]
    losses[1:3] += 1
    kept, _ = racing.race(losses, 1, 0.01)
    assert kept[0] == kept[3]


def fields(scores):
    return scores.loss, scores.correct


def test_a_race_agrees_with_scoring_everything(tmp_path):
    model, images, masks = Small(), Images(160), random_masks(40).float()
    scorer = Scorer(model, images, batch_size=32)
    whole, watcher = scorer.score(masks), Watcher()
    watcher.start("", 0)
    with Journal(tmp_path / "j") as journal:
        raced = scorer.race(masks, top=3, risk=0.01, progress=watcher, journal=journal)
    assert watcher.done == 40 * 160
    assert torch.equal(raced.rank(3), whole.rank(3))
    kept = raced.loss.isfinite()
    assert 9 <= kept.sum() < 120
    torch.testing.assert_close(raced.loss[kept], whole.loss[kept], atol=1e-6, rtol=1e-6)
    assert torch.equal(raced.correct[kept], whole.correct[kept])
    assert raced.fpr.isnan().all() and raced.tpr[~kept].isnan().all() and raced.tpr[kept].isfinite().all()
    record = raced.record
    assert record["forwards"] + record["forwards_saved"] == 40 * 160 and record["forwards"] < 0.9 * 40 * 160
    with Journal(tmp_path / "j") as journal:
        again = scorer.race(masks, top=3, risk=0.01, journal=journal)
    assert again.record["forwards_resumed"] == again.record["forwards"] == record["forwards"]
    assert all(torch.equal(a, b) for a, b in zip(fields(raced), fields(again), strict=True))


def test_a_small_class_is_scored_whole():
    scorer = Scorer(Small(), Images(30), batch_size=32)
    raced = scorer.race(random_masks(8).float(), top=2, risk=0.01)
    assert raced.loss.isfinite().all() and raced.record["forwards_saved"] == 0


@pytest.mark.parametrize("risk", [0, 1.0, -0.5, math.nan, "0.1"])
def test_a_risk_out_of_range_is_refused(risk):
    with pytest.raises(UsageError, match="risk must be a number with 0 < risk < 1"):
        Scorer(Small(), Images(9), batch_size=8).race(random_masks(2).float(), top=1, risk=risk)
