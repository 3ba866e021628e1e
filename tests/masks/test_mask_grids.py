"""Stage tables and cell counts."""

import pytest

from freqkit.masks import cells_drawn, cells_of_stage, families_of, stage_cells
from freqkit.masks.grids import rule_cells

PUBLISHED = {
    224: [(4, 56), (8, 28), (16, 14), (28, 8), (56, 4), (112, 2)],
    128: [(4, 32), (8, 16), (16, 8), (32, 4), (64, 2), (128, 1)],
    64: [(4, 16), (8, 8), (16, 4), (32, 2), (64, 1)],
    32: [(4, 8), (8, 4), (16, 2), (32, 1)],
}


@pytest.mark.parametrize("size", PUBLISHED)
def test_published_tables_and_the_general_rule_agree(size):
    table = [cells_of_stage(size, stage) for stage in range(1, len(PUBLISHED[size]) + 1)]
    assert table == PUBLISHED[size]
    assert rule_cells(size) == stage_cells(size) == tuple(g for g, _ in table)


@pytest.mark.parametrize("size", range(2, 400, 2))
def test_every_even_size_has_a_legal_table(size):
    table = stage_cells((size, size))
    assert table and list(table) == sorted(set(table))
    assert all(g % 2 == 0 and size % g == 0 for g in table)
    if size > 128 and size % 4 == 0:
        assert size // table[-1] >= 2


def test_cells_drawn_at_sixty_percent():
    expected = {
        4: (4, 9, (2, 4)),
        8: (19, 27, (9, 13)),
        16: (76, 91, (38, 45)),
        28: (235, 261, (117, 130)),
        56: (940, 991, (470, 495)),
        112: (3763, 3864, (1881, 1932)),
    }
    for g, counts in expected.items():
        assert tuple(cells_drawn(g, 0.6).values()) == counts
    assert cells_drawn(32, 0.6)["aligned"] == 307


def test_single_bins_have_no_shifted_grid():
    assert families_of(1) == ("aligned",)
    assert families_of(2) == families_of(7) == ("aligned", "shifted", "union")


@pytest.mark.parametrize(
    ("size", "stage", "error", "words"),
    [
        (33, 1, ValueError, "even"),
        ((32, 64), 1, ValueError, "square"),
        (0, 1, ValueError, "at least 2"),
        (32.0, 1, TypeError, "int"),
        (32, 5, ValueError, r"1\.\.4 for size 32; got 5"),
        (32, 0, ValueError, "got 0"),
        (32, True, TypeError, "stage"),
    ],
)
def test_bad_sizes_and_stages_are_named(size, stage, error, words):
    with pytest.raises(error, match=words):
        cells_of_stage(size, stage)
