"""The sixteen categories: their members, and the decision by mean probabilities."""

import numpy as np
import pytest
import torch

from freqkit.data import class_list
from freqkit.data.sixteen import CATEGORIES, MEMBERS, category_of, sixteen_way
from freqkit.errors import UsageError


def test_the_207_members_are_the_published_ones():
    everything = [index for members in MEMBERS.values() for index in members]
    assert len(everything) == len(set(everything)) == 207
    assert {name: len(members) for name, members in MEMBERS.items()} == {
        "airplane": 1, "bear": 4, "bicycle": 2, "bird": 49, "boat": 5, "bottle": 7, "car": 3, "cat": 6, "chair": 4,
        "clock": 3, "dog": 109, "elephant": 2, "keyboard": 2, "knife": 1, "oven": 1, "truck": 8,
    }  # fmt: skip
    assert list(CATEGORIES) == sorted(CATEGORIES) == class_list("sixteen")
    assert [category_of(index) for index in range(1000)].count(None) == 1000 - 207


def test_decisions_are_those_of_a_plain_loop():
    logits = torch.randn(7, 3, 1000, generator=torch.Generator().manual_seed(0)) * 5
    found = sixteen_way(logits)
    for place in np.ndindex(7, 3):
        row = logits[place].numpy().astype(np.float64)
        chance = np.exp(row - row.max()) / np.exp(row - row.max()).sum()
        for number, name in enumerate(CATEGORIES):
            assert found[place][number].item() == pytest.approx(
                sum(chance[i] for i in MEMBERS[name]) / len(MEMBERS[name])
            )


def test_another_number_of_logits_is_refused():
    with pytest.raises(UsageError, match=r"1000.*\[4, 10\]"):
        sixteen_way(torch.zeros(4, 10))
