"""DFM-filtered rates against a plain loop over masks; intervals against published examples and exact
counts."""

import csv
import math
import warnings

import numpy as np
import pytest
import torch

from freqkit.data import synthetic
from freqkit.errors import UsageError
from freqkit.masks import DfmFile, effective, low_pass, ring, save_dfm
from freqkit.measures.rates import RatesResult, SelectedOnTestSet, newcombe, rates, wilson
from freqkit.models import load_model
from freqkit.training import evaluate


@pytest.fixture(scope="module")
def model():
    from freqkit.training import train

    net = load_model("small_convnet", num_classes=4, seed=3)
    train(net, synthetic(1, images_per_class=40, size=16, seed=5), epochs=10, batch_size=16, lr=0.05)
    return net


@pytest.fixture(scope="module")
def images():
    whole = synthetic(1, images_per_class=12, size=16, seed=6)
    return whole.subset([i for i in torch.randperm(48, generator=torch.Generator().manual_seed(0)).tolist() if i > 3])


@pytest.fixture(scope="module")
def dfm():
    """Masks of three of the classes, out of order; one with half weights."""
    some = (torch.rand(16, 16, generator=torch.Generator().manual_seed(1)) < 0.4).float()
    masks = torch.stack([low_pass(16, 5), effective(some), ring(16, 3, 7)])
    return DfmFile(masks, ["C3", "C0", "C2"])


@torch.no_grad()
def confusion(model, images, mask):
    spectrum = torch.fft.fft2(model.normalise(images.images.double() / 255).double()) * torch.fft.ifftshift(mask)
    answers = model.network(torch.fft.ifft2(spectrum).real.float()).argmax(1)
    matrix = np.zeros((4, 4), int)
    for true, predicted in zip(images.labels.tolist(), answers.tolist(), strict=True):
        matrix[true, predicted] += 1
    return matrix


def test_rates_equal_a_plain_loop(model, images, dfm):
    result = rates(model, images, dfm, batch_size=20, null=0)
    clean = np.array(evaluate(model, images)["confusion"])
    assert np.array_equal(result.clean_confusion, clean)
    for m, name in enumerate(dfm.classes):
        c = images.classes.index(name)
        matrix = confusion(model, images, dfm.masks[m])
        assert np.array_equal(result.confusion[m], matrix)
        assert np.array_equal(result.own_row[m], matrix[c]) and np.array_equal(result.own_column[m], matrix[:, c])
        p, n = matrix[c].sum(), matrix.sum() - matrix[c].sum()
        assert (result.positives[m], result.negatives[m]) == (p, n)
        assert result.tpr[m] == matrix[c, c] / p and result.fpr[m] == (matrix[:, c].sum() - matrix[c, c]) / n
        assert result.clean_tp[m] == clean[c, c] and result.clean_fp[m] == clean[:, c].sum() - clean[c, c]
        assert np.allclose(result.relative_confusion()[m], 100 * (matrix - clean) / matrix.sum(1, keepdims=True))
    assert len({tuple(m.flatten().tolist()) for m in result.confusion}) == 3, "the masks should make a difference"
    assert result.record["forwards"] == 4 * len(images) and result.selected_on_test_set is None
    row = result.table()[1]
    assert row["class"] == "C0" and row["TPR low"] <= row["TPR"] <= row["TPR high"]
    assert row["coverage"] > 0.5 > row["power"]


def test_matrices_need_not_be_kept(model, images, dfm):
    whole, lean = (rates(model, images, dfm, batch_size=64, confusion=keep) for keep in (True, False))
    assert lean.confusion is None and torch.equal(lean.fp, whole.fp)
    with pytest.raises(UsageError, match="matrices were not kept"):
        lean.relative_confusion()


def test_warns_of_masks_selected_on_the_test_set(model, images, dfm, tmp_path):
    own = DfmFile(dfm.masks, dfm.classes, data_hash=images.fingerprint)
    save_dfm(tmp_path / "dfm.safetensors", own)
    with pytest.warns(SelectedOnTestSet, match="images.split"):
        result = rates(model, images, tmp_path / "dfm.safetensors", batch_size=64)
    assert result.selected_on_test_set is True
    selection, test = images.split(0.5, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other = DfmFile(dfm.masks, dfm.classes, data_hash=selection.fingerprint)
        assert rates(model, test, other, batch_size=64).selected_on_test_set is False


def test_wilson_holds_the_share_with_equal_tails():
    """Its limits solve (p - x)^2 = z^2 x (1 - x) / n, and hits = 0 or n touch the ends."""
    hits, trials = torch.tensor([0, 3, 10, 0]), torch.tensor([10, 10, 10, 0])
    limits = wilson(hits, trials, 0.9)
    z = 1.6448536269514722
    for x in limits[1]:
        assert (0.3 - x) ** 2 == pytest.approx(z * z * x * (1 - x) / 10)
    assert limits[0, 0] == 0 and limits[2, 1] == 1 and limits[3].isnan().all()
    assert limits[0, 1] == pytest.approx(z * z / (10 + z * z))


def test_newcombe_of_published_examples():
    """Table II of Newcombe (1998), method 10: 56/70 - 48/80, 9/10 - 3/10, 10/10 - 0/20."""
    a, m, b, n = torch.tensor([[56, 70, 48, 80], [9, 10, 3, 10], [10, 10, 0, 20]]).T
    expected = [[0.0524, 0.3339], [0.1705, 0.8090], [0.6791, 1.0]]
    assert np.allclose(newcombe(a, m, b, n), expected, atol=5e-5)


def test_bootstrap_agrees_with_binomial_spread(model, images, dfm):
    one, again = (rates(model, images, dfm, batch_size=64, interval="bootstrap", seed=4) for _ in range(2))
    assert torch.equal(one.difference_interval, again.difference_interval)
    for m in range(3):
        share, n = one.tpr[m].item(), one.positives[m].item()
        low, high = one.tpr_interval[m].tolist()
        assert low <= share <= high
        if 0.2 < share < 0.8:
            assert high - low == pytest.approx(2 * 1.96 * math.sqrt(share * (1 - share) / n), rel=0.35)


def test_save_and_load(model, images, dfm, tmp_path):
    result = rates(model, images, dfm, batch_size=64)
    result.save(tmp_path / "rates.safetensors")
    again = RatesResult.load(tmp_path / "rates.safetensors")
    assert again.table() == result.table() and torch.equal(again.confusion, result.confusion)
    assert (again.definition, again.record) == (result.definition, result.record)
    with open(tmp_path / "rates.csv") as file:
        assert [row["class"] for row in csv.DictReader(file)] == ["C3", "C0", "C2"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"interval": "x"}, "interval must be one of"),
        ({"confidence": 1.0}, "confidence must be"),
        ({"resamples": 5}, "resamples must be"),
        ({"dfm": DfmFile(torch.ones(1, 16, 16), ["zebra"])}, "one of the images'; got zebra"),
        ({"dfm": DfmFile(torch.ones(1, 8, 8), ["C0"])}, "must be of the images' size"),
    ],
)
def test_errors(model, images, dfm, change, message):
    with pytest.raises(UsageError, match=message):
        rates(model, images, **{"dfm": dfm, **change})
