"""The disc start of `learned`."""

import math

import pytest

from freqkit.data import synthetic
from freqkit.models import load_model
from freqkit.search.cells import removal_cells
from freqkit.search.learned import _Learner, disc_scores, learned


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


def test_a_disc_start_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    model, images = load_model("small_convnet", num_classes=4), synthetic(images_per_class=3)
    how = dict(starts="disc", steps=12, batch_size=16, split_fraction=1)
    whole, step = learned(model, images, **how), _Learner._step

    def stops(self, state, number, *rest):
        if number == 11:
            raise RuntimeError("stopped here")
        return step(self, state, number, *rest)

    monkeypatch.setattr(_Learner, "_step", stops)
    with pytest.raises(RuntimeError, match="stopped here"):
        learned(model, images, out=tmp_path / "run", **how)
    monkeypatch.setattr(_Learner, "_step", step)
    resumed = learned(model, images, out=tmp_path / "run", resume=True, **how)
    assert (resumed.masks == whole.masks).all()
    assert resumed.record["forwards_resumed"] > 0
