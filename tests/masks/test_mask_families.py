"""Candidates: the published generator bit for bit, and the counter-based default."""

import hashlib
import random
import time
import warnings
from itertools import combinations

import numpy as np
import pytest
import torch

from freqkit.masks import (
    FAMILIES,
    candidates,
    cells_of_stage,
    content_hash,
    coverage,
    dc_weight,
    effective,
    select,
    unpack,
)
from freqkit.masks import refine as refined
from freqkit.masks.draws import CounterDraws, PythonDraws, smallest
from tests.masks import slow_masks


def bins(masks):
    return unpack(refined(masks, (1, 1))).numpy().astype(np.uint8)


def as_parents(masks, classes, top):
    return [select(masks, slice(c * top, (c + 1) * top)) for c in range(classes)]


# ---- published ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "keep", "golden"),
    [(224, 0.6, "8eafcc4515caf7636123294d4d9d07ba"), (32, 0.8, "16846d0751846c27f801826465167108")],
)
def test_golden_hashes_of_the_published_generator(size, keep, golden):
    drawn = candidates(1, 30, size=size, keep=keep, seed=42, preset="cvpr2025")
    assert len(drawn) == 30 and drawn.family.tolist() == [0, 1, 2] * 10 and drawn.parent is None
    packed = b"".join(np.packbits(mask).tobytes() for mask in bins(drawn.masks))
    assert hashlib.sha256(packed).hexdigest()[:32] == golden


def test_first_published_mask():
    drawn = candidates(1, 3, size=224, keep=0.6, seed=42, preset="cvpr2025")
    first = bins(drawn.masks)[0]
    assert first[:112:56, ::56].tolist() == [[1, 1, 0, 1], [1, 0, 0, 0]]


@pytest.mark.parametrize(
    ("size", "stage", "keep", "seed"),
    [
        (32, 1, 0.6, 0),
        (32, 2, 0.6, 42),
        (32, 3, 0.8, 7),
        (32, 4, 0.6, 42),
        (28, 1, 0.5, 1),
        (64, 4, 0.3, 3),
        (6, 1, 1.0, 5),
    ],
)
def test_published_candidates_equal_a_step_by_step_generator(size, stage, keep, seed):
    g, _ = cells_of_stage(size, stage)
    parents = bins_parents = None
    if stage > 1:
        earlier = None
        for before in range(1, stage):
            made = candidates(before, 24, size=size, keep=0.8, seed=9, preset="cvpr2025", parents=earlier)
            earlier = as_parents(made.masks, 3, 8)
        parents = earlier
        bins_parents = [list(bins(part)) for part in parents]
    drawn = candidates(stage, 20, size=size, keep=keep, seed=seed, preset="cvpr2025", parents=parents, parent_seed=11)
    slow, origins = slow_masks.published(size, g, keep, 20, seed, bins_parents, 11)
    assert len(drawn) == len(slow) == (6 if size == g else 18)
    assert (bins(drawn.masks) == np.stack(slow)).all()
    if stage > 1:
        assert [tuple(pair) for pair in drawn.parent.tolist()] == origins


@pytest.mark.parametrize("n", [1, 2, 3, 8, 15, 100, 6272, 6441])
def test_python_draws_follow_randint(n):
    draws, stream = PythonDraws(123), random.Random(123)
    for count in [0, 1, n // 3, (n + 1) // 2, n - 1, n] * 2:
        seen = set()
        while len(seen) < count:
            seen.add(stream.randint(0, n - 1))
        assert set(np.flatnonzero(draws.distinct(n, count)).tolist()) == seen


def test_closed_form_of_the_published_effective_mask():
    for size, stage in ((32, 1), (32, 2), (64, 1)):
        parents = [candidates(1, 30, size=size, preset="cvpr2025").masks] if stage > 1 else None
        masks = candidates(stage, 30, size=size, preset="cvpr2025", parents=parents).masks
        raw = torch.from_numpy(bins(masks)).float()
        closed = (raw + raw.roll((1, 1), (-2, -1))) / 2
        assert torch.equal(effective(masks), closed)
        assert torch.equal(dc_weight(masks), raw[:, size // 2 - 1, size // 2 - 1].double())


# Shares after random lineages: mean, touched, full, power, DC kept; those of a search without selection.
LINEAGES = {
    (224, 0.6): {
        1: (0.521, 0.533, 0.510, 0.515, 0.52),
        3: (0.163, 0.180, 0.146, 0.155, 0.17),
        6: (0.030, 0.047, 0.014, 0.022, 0.04),
    },
    (32, 0.6): {
        1: (0.520, 0.593, 0.446, 0.483, 0.52),
        3: (0.165, 0.253, 0.077, 0.121, 0.15),
        4: (0.098, 0.168, 0.028, 0.063, 0.08),
    },
    (224, 0.8): {6: (0.160, 0.220, 0.100, 0.130, 0.15)},
}


@pytest.mark.parametrize(("size", "keep"), LINEAGES)
def test_coverage_of_random_lineages(size, keep):
    expected, parents = LINEAGES[size, keep], None
    for stage in range(1, max(expected) + 1):
        drawn = candidates(stage, 1800, size=size, keep=keep, seed=stage, preset="cvpr2025", parents=parents)
        # One class with every mask as a parent: a lineage without selection.
        parents = [drawn.masks]
        if stage in expected:
            shares = coverage(drawn.masks)
            for share, wanted in zip(
                (shares.mean, shares.touched, shares.full, shares.power), expected[stage], strict=False
            ):
                assert abs(share.mean().item() - wanted) < 0.005 + 0.0005  # the table itself is rounded
            assert abs((shares.dc > 0).double().mean().item() - expected[stage][4]) < 0.04


def test_published_means_per_family():
    drawn = candidates(1, 3000, size=224, keep=0.6, seed=1, preset="cvpr2025")
    means = coverage(drawn.masks).mean
    for family, wanted in enumerate((0.50, 0.60, 0.455)):
        assert abs(means[drawn.family == family].mean().item() - wanted) < 0.01


def test_the_last_published_stage_of_single_bins_makes_a_third():
    parents = [candidates(1, 30, size=32, preset="cvpr2025").masks]
    drawn = candidates(4, 500, size=32, preset="cvpr2025", parents=parents)
    assert len(drawn) == 166 and drawn.family.unique().tolist() == [0]


# ---- default -----------------------------------------------------------------------------------------------


def slow_default(size, stage, seed, keep, i, attempt=0, parents=None, per_class=False):
    """One candidate of the default preset, from the description of its counter-based draw."""
    g, side = cells_of_stage(size, stage)
    names = FAMILIES if side > 1 else FAMILIES[:1]
    top, other = g * g // 2, (g // 2 + 1) * (g + 1) if side > 1 else 0
    blocks = -(-(2 + top + other) // 8)
    key = np.array([seed, stage + attempt * 2**32], np.uint64)
    generator = np.random.Philox(key=key, counter=[i * blocks, 0, 0, 0])
    words = []
    for word in generator.random_raw(blocks * 4).tolist():
        words += [word % 2**32, word >> 32]

    def cells(keys, shape, share):
        count = max(1, int(share * len(keys)))
        chosen = np.zeros(len(keys), np.uint8)
        chosen[sorted(range(len(keys)), key=lambda j: keys[j])[:count]] = 1
        return chosen.reshape(shape)

    def aligned(share):
        return slow_masks.spread(cells(words[2 : 2 + top], (g // 2, g), share), side, 0, size)

    def shifted(share):
        keys = words[2 + top : 2 + top + other]
        return slow_masks.spread(cells(keys, (g // 2 + 1, g + 1), share), side, side // 2, size)

    family = names[(i + attempt // 4) % len(names)]
    if family == "union":
        mask = np.maximum(aligned(keep / 2), shifted(keep / 2))
    else:
        mask = aligned(keep) if family == "aligned" else shifted(keep)
    mask = slow_masks.turned(mask)
    if parents is not None:
        c = i // 3 % len(parents) if per_class else words[0] * len(parents) >> 32
        rank = words[1] * len(parents[c]) >> 32
        return mask * parents[c][rank], FAMILIES.index(family), (c, rank)
    return mask, FAMILIES.index(family), None


@pytest.mark.parametrize(
    ("size", "stage", "draw"),
    [
        (32, 1, "any"),
        (32, 2, "any"),
        (32, 3, "per_class"),
        (32, 4, "any"),
        (28, 1, "any"),
        (64, 4, "per_class"),
    ],
)
def test_default_candidates_equal_their_description(size, stage, draw):
    parents = bins_parents = None
    if stage > 1:
        made = candidates(1, 15, size=size, keep=0.9, seed=4)
        parents = [select(made.masks, slice(0, 4)), select(made.masks, slice(4, 15))]
        bins_parents = [list(bins(part)) for part in parents]
    drawn = candidates(stage, 40, size=size, keep=0.6, seed=2**63 + 5, parents=parents, parent_draw=draw)
    raw, seen = bins(drawn.masks), set()
    for i in range(40):
        for attempt in range(240):
            mask, family, origin = slow_default(
                size, stage, 2**63 + 5, 0.6, i, attempt, bins_parents, draw == "per_class"
            )
            identity = slow_masks.effective(mask, "hermitian").tobytes()
            if identity not in seen:
                break
        seen.add(identity)
        assert (raw[i] == mask).all() and drawn.family[i] == family
        if stage > 1:
            assert tuple(drawn.parent[i].tolist()) == origin


def test_default_masks_are_binary_symmetric_and_distinct():
    parents = before = None
    for stage in range(1, 5):
        drawn = candidates(stage, 500, size=32, seed=1, parents=parents)
        assert len(drawn) == 500 and drawn.index.tolist() == list(range(500))
        dense = effective(drawn.masks)
        assert set(dense.unique().tolist()) <= {0.0, 1.0}
        for k in (0, 1, 2, 499):
            slow = slow_masks.effective(slow_masks.bins_of(drawn.masks, k), "hermitian")
            assert (dense[k].numpy() == slow).all()
            assert (slow == slow_masks.effective(slow)).all()
        assert len(set(content_hash(drawn.masks))) == 500
        if stage > 1:
            origins = torch.stack([before[c * 10 + r] for c, r in drawn.parent.tolist()])
            assert (dense <= origins).all()
        parents, before = as_parents(drawn.masks, 50, 10), dense


@pytest.mark.parametrize(("size", "stage"), [(32, 1), (32, 3), (32, 4)])
def test_a_candidate_does_not_depend_on_how_many_are_drawn(size, stage):
    parents = as_parents(candidates(1, 20, size=size, seed=8).masks, 2, 10) if stage > 1 else None
    few, many = (candidates(stage, n, size=size, seed=3, parents=parents) for n in (37, 400))
    assert torch.equal(few.masks.bits, many.masks.bits[:37])
    assert torch.equal(few.family, many.family[:37])
    other = candidates(stage, 37, size=size, seed=4, parents=parents)
    assert not torch.equal(few.masks.bits, other.masks.bits)


def test_default_families_cycle():
    assert candidates(1, 60, size=224, seed=0).family[:9].tolist() == [0, 1, 2] * 3
    last = candidates(4, 60, size=32, seed=0, parents=[candidates(1, 5, size=32).masks])
    assert len(last) == 60 and last.family.unique().tolist() == [0]


def test_default_bits_are_the_same_on_every_machine():
    first = candidates(1, 100, size=224, seed=2024)
    second = candidates(4, 50, size=224, seed=2024, parents=as_parents(first.masks, 10, 10))
    digests = [hashlib.sha256("".join(content_hash(made.masks)).encode()).hexdigest()[:16] for made in (first, second)]
    assert digests == ["8c06bd71400dc2c8", "bda66b72c181c038"]


def test_all_masks_of_a_small_space_are_found_and_the_lack_is_said():
    # Single bins on 4 x 4: the 8 cells of the top half, 4 drawn; of row 0 only columns 0..2 count, and the
    # lower half of the plane follows, so that masks that differ in the last cell of row 0 alone coincide.
    everything = set()
    for chosen in combinations(range(8), 4):
        top = np.zeros(8, np.uint8)
        top[list(chosen)] = 1
        mask = slow_masks.turned(np.concatenate([top.reshape(2, 4), np.zeros((2, 4), np.uint8)]))
        everything.add(slow_masks.effective(mask, "hermitian").tobytes())
    with pytest.warns(UserWarning, match=f"gave {len(everything)} distinct masks, not the 1000 asked for"):
        drawn = candidates(1, 1000, size=4, keep=0.5, seed=0)
    assert {mask.astype(np.float64).tobytes() for mask in effective(drawn.masks).numpy()} == everything
    assert drawn.provenance["returned"] == len(drawn) == len(everything)
    assert "missing" in drawn.provenance


def test_stage_one_falls_back_to_other_families_when_one_is_used_up():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = candidates(1, 600, size=32, seed=0)
    counts = drawn.family.bincount().tolist()
    assert sum(counts) == 600 and 60 <= counts[0] <= 70  # C(8, 4) = 70 aligned masks exist
    assert len(set(content_hash(drawn.masks))) == 600


def test_a_used_up_class_does_not_stop_the_others():
    made = candidates(1, 10, size=32, seed=0)
    empty = select(made.masks, 0)._replace(bits=torch.zeros_like(made.masks.bits[:1]))
    with pytest.warns(UserWarning, match="distinct masks"):
        drawn = candidates(2, 60, size=32, seed=0, parents=[empty, made.masks], parent_draw="per_class")
    classes = drawn.parent[:, 0]
    assert (classes == 0).sum() == 1 and (classes == 1).sum() == 30
    assert torch.equal(drawn.index // 3 % 2, classes)


def test_counter_draws_are_addressable_in_any_order():
    draws = CounterDraws(9, 2, 30)
    whole = draws.rows(np.arange(5000), 0)
    for some in ([0], [4999], [3, 4, 5, 900], [17, 4000]):
        assert (draws.rows(some, 0) == whole[some]).all()
    assert not (draws.rows([5], 1) == whole[5]).any()


def test_choice_of_smallest_keys_is_exact_even_with_equal_keys():
    keys = np.array([[5, 1, 1, 1, 0], [2, 2, 2, 2, 2], [4, 3, 2, 1, 0]], np.uint32)
    assert smallest(keys, 2).astype(int).tolist() == [[0, 1, 0, 0, 1], [1, 1, 0, 0, 0], [0, 0, 0, 1, 1]]


@pytest.mark.measured
def test_five_thousand_candidates_take_ten_times_as_long_as_five_hundred():
    """No candidate is compared with all others: that would be a hundred times."""
    parents = as_parents(candidates(1, 100, size=224, seed=1).masks, 10, 10)
    for preset, parents_of in (
        ("default", parents),
        ("cvpr2025", [p._replace(symmetry="average") for p in parents]),
    ):
        took = {}
        for count in (498, 4998) * 3:
            started = time.process_time()
            assert len(candidates(6, count, size=224, seed=1, preset=preset, parents=parents_of)) == count
            took.setdefault(count, []).append(time.process_time() - started)
        assert min(took[4998]) < 40 * min(took[498]), took


def test_no_candidates():
    assert candidates(1, 0, size=32).masks.bits.shape == (0, 8, 1)
    assert len(candidates(1, 2, size=32, preset="cvpr2025")) == 0


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"n": -1}, ValueError, "n must be at least 0"),
        ({"n": 2.0}, TypeError, "n must be an int"),
        ({"keep": 0}, ValueError, "keep"),
        ({"keep": 1.1}, ValueError, "keep"),
        ({"keep": "0.6"}, TypeError, "keep"),
        ({"seed": -1}, ValueError, "seed"),
        ({"seed": 2**64}, ValueError, "seed"),
        ({"preset": "cvpr"}, ValueError, "preset"),
        ({"parent_draw": "best"}, ValueError, "parent_draw"),
        ({"parent_seed": 1}, ValueError, "parent_seed"),
        ({"preset": "cvpr2025", "parent_draw": "per_class"}, ValueError, "any class"),
        ({"preset": "cvpr2025", "parent_seed": 2**32}, ValueError, "parent_seed"),
        ({"stage": 2}, TypeError, "parents must be a list"),
        ({"stage": 2, "parents": []}, ValueError, "at least one class"),
        ({"stage": 9}, ValueError, "stage"),
    ],
)
def test_bad_arguments_are_named(change, error, words):
    arguments = {"stage": 1, "n": 3, "size": 32, **change}
    with pytest.raises(error, match=words):
        candidates(arguments.pop("stage"), arguments.pop("n"), **arguments)


def test_bad_parents_are_named():
    good = candidates(1, 3, size=32).masks
    for parents, words in (
        (good, "list"),
        ([good, select(good, slice(0, 0))], "class 1 has none"),
        ([good._replace(symmetry="average")], "symmetry 'hermitian'"),
        ([candidates(1, 3, size=64).masks], r"size \(32, 32\)"),
        ([good, good._replace(symmetry="average")], "share"),
        ([torch.ones(3, 32, 32)], "BitMasks"),
    ):
        with pytest.raises((TypeError, ValueError), match=words):
            candidates(2, 3, size=32, parents=parents)
