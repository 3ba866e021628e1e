"""The disc start of `learned`."""

import math

import pytest

from freqkit.data import synthetic
from freqkit.models import load_model
from freqkit.search.cells import removal_cells
from freqkit.search.learned import disc_scores, learned


@pytest.mark.parametrize("size", [(32, 32), (17, 23), (24, 40)])
def test_disc_scores_against_a_plain_loop(size):
    _, owner = removal_cells(size, 1)
    scores = disc_scores(owner, 0.05)
    height, width = size
    for i in range(height):
        for j in range(width):
            f = math.sqrt(((i - height // 2) / height) ** 2 + ((j - width // 2) / width) ** 2)
            assert float(scores[owner[i, j]]) == pytest.approx(1.2 - 1.2 * f / math.sqrt(0.05 / math.pi), abs=1e-5)


def test_a_disc_start_is_asked_for_by_name_and_repeats():
    model, images = load_model("small_convnet", num_classes=4), synthetic(images_per_class=3)
    how = dict(starts="disc", steps=2, batch_size=16, split_fraction=1)
    first, second = learned(model, images, **how), learned(model, images, **how)
    assert (first.masks == second.masks).all()
    assert bool((first.power <= 0.05).all())
