"""Random masks that are like given ones."""

import pytest
import torch

from freqkit.masks import effective, hermitian, low_pass, partner, random_alike


def spread(size, share, seed=0, symmetry="hermitian", cell=1):
    draw = torch.rand(size[0] // cell, size[1] // cell, generator=torch.Generator().manual_seed(seed)) < share
    mask = draw.repeat_interleave(cell, 0).repeat_interleave(cell, 1).float()
    return hermitian(mask) if symmetry == "hermitian" else (mask + partner(mask)) / 2


@pytest.mark.parametrize("size", [(16, 16), (15, 9), (12, 20)])
@pytest.mark.parametrize("symmetry", ["hermitian", "average"])
def test_they_keep_as_many_bins_and_are_symmetric_alike(size, symmetry):
    maps = torch.stack([spread(size, share, seed, symmetry) for seed, share in enumerate((0.1, 0.3, 0.9))])
    found = random_alike(maps, 25, seed=3)
    drawn = effective(found.masks)
    assert found.masks.symmetry == symmetry and torch.equal(drawn, partner(drawn))
    for c in range(3):
        own = drawn[found.index[:, c]]
        assert ((own > 0).sum((1, 2)) - (maps[c] > 0).sum()).abs().max() <= 1  # to half a pair
        assert len({one.numpy().tobytes() for one in own}) == 25 and not (own == maps[c]).flatten(1).all(1).any()
    assert set(drawn.unique().tolist()) <= ({0.0, 1.0} if symmetry == "hermitian" else {0.0, 0.5, 1.0})


def test_a_draw_depends_on_seed_bins_and_number_alone():
    one, two = spread((16, 16), 0.1, 1), spread((16, 16), 0.4, 2)
    alone, both = random_alike(one[None], 20), random_alike(torch.stack([two, one]), 30)
    first, second = effective(alone.masks)[alone.index[:, 0]], effective(both.masks)[both.index[:20, 1]]
    assert torch.equal(first, second)
    assert not torch.equal(first, effective(random_alike(one[None], 20, seed=1).masks))


def test_every_pair_is_drawn_as_often_and_maps_of_one_size_share_draws():
    maps = torch.stack([spread((12, 12), 0.2, 5)] * 4)
    found = random_alike(maps, 2000)
    assert len(found.masks.bits) == 2000 and all(len(set(line)) == 4 for line in found.index.tolist())
    share = effective(found.masks).mean(0)
    assert (share - maps[0].mean()).abs().max() < 5 * (0.2 * 0.8 / 2000) ** 0.5


def test_cells_are_those_of_the_maps():
    maps = torch.stack([spread((16, 16), 0.4, seed, cell=4) for seed in range(3)])
    assert random_alike(maps, 19).masks.cell == (4, 4)
    assert random_alike(torch.stack([*maps, low_pass((16, 16), 3).float()]), 19).masks.cell == (1, 1)
    assert random_alike(maps, 0).masks is None and random_alike(torch.ones(1, 8, 8), 19).masks.cell == (4, 4)
