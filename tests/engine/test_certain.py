"""Certain stopping: the answer of scoring everything, bit for bit, for fewer forwards."""

import numpy as np
import pytest
import torch
from torch import nn

from freqkit.engine import Journal, Scorer, certain
from freqkit.errors import UsageError
from freqkit.masks import candidates
from tests.engine.small_world import Images, Listener, Small, Watcher, random_masks


@pytest.mark.parametrize("kind", ["gamma", "rare and large", "ties", "zeros", "few"])
def test_the_top_is_never_lost(kind):
    chance, top = np.random.default_rng(0), 5
    for _ in range(40):
        images, count = int(chance.integers(1, 60)), int(chance.integers(1, 40))
        losses = {
            "gamma": lambda n, k: chance.gamma(0.5, 1, (k, n)) * chance.uniform(0.5, 2, (k, 1)),
            "rare and large": lambda n, k: 9.0 * (chance.random((k, n)) < 0.05) + 1e-9 * chance.random((k, n)),
            "ties": lambda n, k: chance.integers(0, 2, (k, n)) * 0.1,
            "zeros": lambda n, k: np.zeros((k, n)),
            "few": lambda n, k: chance.gamma(1, 1, (min(k, top), n)),
        }[kind](images, count)
        kept, looked = certain.prove(losses, top)
        sums = np.cumsum(losses, 1)[:, -1]  # added in another order than the proof does
        # Also whoever equals the last of the top: ties go by the order of the candidates.
        assert kept[sums <= np.sort(sums)[min(top, len(sums)) - 1]].all()
        assert looked <= losses.size


@pytest.mark.measured
def test_far_fewer_losses_are_looked_at():
    chance = np.random.default_rng(0)
    losses = chance.gamma(0.5, 1, (1, 200)) * chance.uniform(0.5, 2, (100, 1)) * chance.gamma(4, 0.25, (100, 200))
    assert certain.prove(losses, 5)[1] < 0.4 * losses.size


def test_negative_losses_are_refused():
    with pytest.raises(ValueError, match=r"losses must not be negative or NaN; got -1\.0"):
        certain.prove(-np.ones((3, 4)), 1)


def uneven_masks(count):
    """The later, the larger the images, and with them the losses."""
    return random_masks(count).float() * torch.linspace(1, 8, count).view(-1, 1, 1)


CASES = {
    "dense": {},
    "packed with small classes": {"n": 30, "batch_size": 100},
    "spectra computed anew": {"memory": 20_000},
    "spectra in float16": {"spectra": "float16"},
    "published loss": {"reduction": "published-batches", "published_batch_size": 7},
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_bits_are_those_of_scoring_everything(case, tmp_path):
    case = {"n": 160, "batch_size": 32, **case}
    how = {name: case.pop(name) for name in ("reduction", "published_batch_size") if name in case}
    images, watcher = Images(case.pop("n"), classes=["ant", "bee", "cow", "nobody"]), Watcher()
    masks = uneven_masks(40)
    images.labels[images.labels == 3] = 0
    total = 40 * len(images.labels)
    scorer = Scorer(Small(logits=4), images, **case)
    whole = scorer.score(masks, **how)
    watcher.start("", 0)
    with Journal(tmp_path / "j") as journal:
        found = scorer.certain(masks, top=3, progress=watcher, journal=journal, **how)
    assert found.record["exact"]
    assert watcher.done == total
    assert torch.equal(found.rank(3)[:3], whole.rank(3)[:3])
    kept = found.loss.isfinite()
    assert torch.equal(found.loss[kept], whole.loss[kept]) and torch.equal(found.correct[kept], whole.correct[kept])
    assert torch.equal(found.loss[:, 3], whole.loss[:, 3]) or found.loss[:, 3].isnan().all()
    assert found.fpr.isnan().all()
    record = found.record
    assert record["forwards"] + record["forwards_saved_certain"] == total
    assert record["forwards"] < 0.9 * total
    with Journal(tmp_path / "j") as journal:
        again = scorer.certain(masks, top=3, journal=journal, **how)
    assert again.record["forwards_resumed"] == again.record["forwards"] == record["forwards"]
    assert torch.equal(found.loss.nan_to_num(-1), again.loss.nan_to_num(-1)) and torch.equal(
        found.correct, again.correct
    )


def test_twins_are_asked_about_once():
    images, bits = Images(90, side=16), candidates(1, 30, size=16).masks
    twins = bits._replace(bits=bits.bits.repeat(2, 1, 1))
    scorer = Scorer(Small(), images, batch_size=32)
    whole, found = scorer.score(twins), scorer.certain(twins, top=4)
    for label, row in enumerate(whole.rank(4)):
        assert torch.equal(found.loss[row, label], whole.loss[row, label])
    assert found.record["forwards_saved_twins"] >= 30 * 90 > found.record["forwards"]


class Company(nn.Module):
    """Logits that depend, a little, on the size of the batch."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x) * (1 + 1e-7 * len(x))


def test_a_network_that_minds_its_company_is_named():
    model, images, masks, heard = Small(), Images(100), uneven_masks(30), Listener()
    model.network = Company(model.network)
    scorer = Scorer(model, images, batch_size=30, form="eager", progress=heard)
    whole, found = scorer.score(masks), scorer.certain(masks, top=3)
    assert found.record["exact"] is False
    assert len(heard.notes) == 1 and "other last bits in other company on cpu" in heard.notes[0]
    assert torch.equal(found.rank(3), whole.rank(3))
    kept = found.loss.isfinite()
    torch.testing.assert_close(found.loss[kept], whole.loss[kept], atol=1e-4, rtol=1e-4)


def test_bad_arguments():
    scorer = Scorer(Small(), Images(9), batch_size=8)
    with pytest.raises(UsageError, match="top must be a positive integer; got 0"):
        scorer.certain(random_masks(2).float(), top=0)
