"""ImageSet: fitting parts, subsets, stratified splits."""

import numpy as np
import pytest
import torch

from freqkit.data import ImageSet
from freqkit.errors import UsageError


def make(n=12, classes=("a", "b"), **change):
    labels = torch.arange(n) % len(classes)
    parts = {
        "images": torch.arange(n * 3 * 4 * 4, dtype=torch.int64).remainder(251).to(torch.uint8).view(n, 3, 4, 4),
        "labels": labels,
        "classes": list(classes),
        "paths": [f"{classes[i]}/{n}" for n, i in enumerate(labels.tolist())],
        **change,
    }
    return ImageSet(**parts)


@pytest.mark.parametrize(
    "change, error, sentence",
    [
        ({"images": torch.zeros(12, 3, 4, 4)}, TypeError, "uint8"),
        ({"images": torch.zeros(12, 1, 4, 4, dtype=torch.uint8)}, ValueError, r"\[12, 1, 4, 4\]"),
        ({"labels": torch.zeros(11, dtype=torch.int64)}, ValueError, r"shape \[12\]"),
        ({"labels": torch.full((12,), 2)}, ValueError, "0..1; got 2..2"),
        ({"labels": torch.full((12,), -1)}, ValueError, "0..1; got -1..-1"),
        ({"paths": ["a/0"] * 12}, ValueError, "distinct"),
    ],
)
def test_parts_must_fit(change, error, sentence):
    with pytest.raises(error, match=sentence):
        make(**change)


def test_subset():
    whole = make()
    part = whole.subset([5, 0])
    assert torch.equal(part.images, whole.images[[5, 0]]) and part.labels.tolist() == [1, 0]
    assert part.paths == ["b/5", "a/0"] and part.classes == whole.classes
    assert part.fingerprint != whole.subset([0, 5]).fingerprint, "order is part of the question"
    assert whole.subset(torch.arange(12)).fingerprint == whole.fingerprint
    assert whole.subset(whole.labels == 1).labels.tolist() == [1] * 6
    assert len(whole.subset([])) == 0
    for wrong in ([12], [-1], [[0]], [0.5], torch.ones(3, dtype=torch.bool)):
        with pytest.raises((TypeError, ValueError)):
            whole.subset(wrong)


def test_split_is_stratified_and_independent_of_order():
    whole = make(103, ("a", "b", "c"))  # 35, 34, 34
    selection, rest = whole.split(0.25, seed=3)
    assert selection.counts.tolist() == [9, 9, 9] and len(selection) + len(rest) == 103
    assert set(selection.paths) | set(rest.paths) == set(whole.paths)
    assert selection.record["subset"] == {"fraction": 0.25, "seed": 3, "part": "selection"}
    order = torch.randperm(103, generator=torch.Generator().manual_seed(0))
    again, _ = whole.subset(order).split(0.25, seed=3)
    assert set(again.paths) == set(selection.paths)
    other, _ = whole.split(0.25, seed=4)
    assert set(other.paths) != set(selection.paths)
    larger, _ = whole.split(0.5, seed=3)
    assert set(selection.paths) < set(larger.paths)
    for fraction in (0, 1, -0.1, True, None):
        with pytest.raises(UsageError, match="fraction"):
            whole.split(fraction)
    with pytest.raises(UsageError, match="seed"):
        whole.split(0.5, seed="x")


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.9])
def test_published_split_is_scikit_learns(share):
    """Part and order, whatever the counts of the classes, also when one has no image."""
    from sklearn.model_selection import StratifiedShuffleSplit

    chance = np.random.default_rng(0)
    for seed in (42, 0, 7):
        labels = torch.from_numpy(np.sort(chance.choice([0, 1, 3, 4], 220, p=[0.1, 0.2, 0.3, 0.4])))
        for order in (np.arange(220), chance.permutation(220)):
            whole = make(220, ("a", "b", "none", "c", "d"), labels=labels[order])
            split = StratifiedShuffleSplit(1, random_state=seed, test_size=share)
            rest, drawn = next(split.split(np.zeros(220), whole.labels.numpy()))
            selection, others = whole.published_split(share, seed)
            assert selection.paths == [whole.paths[i] for i in drawn]
            assert others.paths == [whole.paths[i] for i in rest]
    assert selection.record["subset"] == {"fraction": share, "seed": seed, "order": "published", "part": "selection"}
    assert len(make(1000).published_split()[0]) == 50


def test_published_split_refused():
    whole = make(40)
    for share in (0, 1, 1.5, True, None, "x"):
        with pytest.raises(UsageError, match="share must be a number"):
            whole.published_split(share)
    for seed in (-1, 2**32, 1.0):
        with pytest.raises(UsageError, match="seed must be an integer"):
            whole.published_split(0.5, seed)
    with pytest.raises(UsageError, match=r"as there are classes, 2; a share of 0.02 of 40 images makes 1 and 39"):
        whole.published_split(0.02)
    with pytest.raises(UsageError, match="at least two images"):
        make(3).published_split(0.5)


def test_classes_of_one_name_are_refused():
    images = torch.zeros(3, 3, 2, 2, dtype=torch.uint8)
    with pytest.raises(ValueError, match="'crane' stands twice"):
        ImageSet(images, torch.tensor([0, 1, 2]), ["crane", "owl", "crane"], ["a", "b", "c"])
