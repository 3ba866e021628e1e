"""Bit masks and effective masks: packing, algebra, coverage, identity."""

import hashlib
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from freqkit.masks import (
    BitMasks,
    candidates,
    canonical,
    centred,
    complement,
    concat,
    content_hash,
    coverage,
    dc_weight,
    effective,
    hermitian,
    intersection,
    keeps_dc,
    pack,
    partner,
    refine,
    select,
    set_dc,
    to_dense,
    uncentred,
    union,
    unique,
    unpack,
)
from tests.masks import slow_masks
from tests.masks.slow_masks import few

FEW_MASKS = st.integers(1, 3)
SIZES = st.tuples(st.integers(1, 13), st.integers(1, 13))


@st.composite
def bit_masks(draw, count=FEW_MASKS, size=SIZES, symmetry=None, cell=None):
    height, width = draw(size)
    divisors = [[d for d in range(1, n + 1) if n % d == 0] for n in (height, width)]
    cell = cell or tuple(draw(st.sampled_from(d)) for d in divisors)
    shape = (draw(count), height // cell[0], width // cell[1])
    cells = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).random(shape) < draw(
        st.sampled_from([0.2, 0.5, 0.9])
    )
    symmetry = symmetry or draw(st.sampled_from(["average", "hermitian"]))
    return pack(cells, cell=cell, size=(height, width), symmetry=symmetry)


def slow(masks):
    return np.stack(
        [slow_masks.effective(slow_masks.bins_of(masks, k), masks.symmetry) for k in range(len(masks.bits))]
    )


@few
@given(bit_masks())
def test_effective_masks_follow_the_definition(masks):
    expected = slow(masks)
    dense = effective(masks)
    assert dense.dtype == torch.float32 and (dense.numpy() == expected).all()
    assert torch.equal(to_dense(masks, layout="torch"), uncentred(dense))
    assert torch.equal(effective(dense), dense)
    assert torch.equal(effective(uncentred(dense), layout="torch"), uncentred(dense))
    if masks.symmetry == "hermitian":
        assert set(np.unique(expected)) <= {0.0, 1.0}
        raw = torch.from_numpy(np.stack([slow_masks.bins_of(masks, k) for k in range(len(expected))])).float()
        assert torch.equal(hermitian(raw), dense)


@few
@given(SIZES, st.integers(0, 2**32 - 1))
def test_filtering_by_a_mask_equals_filtering_by_its_effective_mask(size, seed):
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(*size, generator=generator, dtype=torch.float64)
    mask = torch.randn(*size, generator=generator, dtype=torch.float64)
    transform = torch.fft.fft2(image)
    plain = torch.fft.ifft2(transform * uncentred(mask)).real
    by_effective = torch.fft.ifft2(transform * uncentred(effective(mask)))
    assert torch.allclose(plain, by_effective.real, atol=1e-12)
    assert by_effective.imag.abs().max() < 1e-12


@few
@given(SIZES)
def test_partner_and_canonical_half(size):
    h, w = size
    grid = torch.arange(h * w).reshape(h, w)
    other = partner(grid)
    for row in range(h):
        for column in range(w):
            assert other[row, column] == grid[slow_masks.partner_of(row, column, h, w)]
    half = canonical(h, w)
    assert (half | partner(half)).all()
    assert torch.equal(half & partner(half), other == grid)  # in both halves: the self-paired bins alone
    x = torch.rand(2, 3, h, w)
    assert torch.equal(uncentred(centred(x)), x) and centred(grid)[h // 2, w // 2] == 0


@few
@given(bit_masks(), st.data())
def test_packing_selecting_refining_joining(masks, data):
    bins = [slow_masks.bins_of(masks, k) for k in range(len(masks.bits))]
    again = pack(unpack(masks), cell=masks.cell, size=masks.size, symmetry=masks.symmetry)
    assert torch.equal(again.bits, masks.bits)
    fine = tuple(data.draw(st.sampled_from([d for d in range(1, c + 1) if c % d == 0])) for c in masks.cell)
    refined = refine(masks, fine)
    assert refined.cell == fine
    for k, expected in enumerate(bins):
        assert (slow_masks.bins_of(refined, k) == expected).all()
        assert (slow_masks.bins_of(select(masks, k), 0) == expected).all()
    other = data.draw(bit_masks(size=st.just(masks.size), symmetry=masks.symmetry))
    joined = concat([masks, other])
    assert joined.cell == tuple(math.gcd(a, b) for a, b in zip(masks.cell, other.cell, strict=True))
    assert (effective(joined).numpy() == np.concatenate([slow(masks), slow(other)])).all()
    assert torch.equal(select(joined, slice(len(bins), None)).bits, refine(other, joined.cell).bits)
    assert torch.equal(select(joined, [1, 0]).bits, joined.bits[[1, 0]])
    keep = torch.arange(len(joined.bits)) % 2 == 0
    assert torch.equal(select(joined, keep).bits, joined.bits[::2])


@few
@given(bit_masks(count=st.just(2)), st.data())
def test_set_algebra(a, data):
    b = data.draw(bit_masks(count=st.just(2), size=st.just(a.size), symmetry=a.symmetry))
    raw = [np.stack([slow_masks.bins_of(m, k) for k in range(2)]) for m in (a, b)]
    for combined, expected in ((union(a, b), raw[0] | raw[1]), (intersection(a, b), raw[0] & raw[1])):
        assert (np.stack([slow_masks.bins_of(combined, k) for k in range(2)]) == expected).all()
    assert torch.equal(effective(complement(a)), 1 - effective(a))
    assert torch.equal(complement(complement(a)).bits, a.bits)
    de_morgan = complement(intersection(complement(a), complement(b)))
    assert torch.equal(de_morgan.bits, union(a, b).bits)
    if a.symmetry == "hermitian":
        assert torch.equal(effective(union(a, b)), union(effective(a), effective(b)))
        assert torch.equal(effective(intersection(a, b)), intersection(effective(a), effective(b)))
    one = select(b, 0)
    assert torch.equal(intersection(a, one).bits, intersection(a, concat([one, one])).bits)


@few
@given(bit_masks())
def test_coverage_and_dc(masks):
    dense = slow(masks)
    for shares in (
        coverage(masks),
        coverage(effective(masks)),
        coverage(to_dense(masks, layout="torch"), layout="torch"),
    ):
        assert shares.touched.dtype == torch.float64
        assert np.allclose(shares.touched, (dense > 0).mean((1, 2)))
        assert np.allclose(shares.full, (dense == 1).mean((1, 2)))
        assert np.allclose(shares.power, (dense**2).mean((1, 2)))
        assert np.allclose(shares.mean, dense.mean((1, 2)))
        centre = dense[:, masks.size[0] // 2, masks.size[1] // 2]
        assert (shares.dc.numpy() == centre).all()
    assert (dc_weight(masks).numpy() == centre).all() and (keeps_dc(masks).numpy() == (centre > 0)).all()
    for keep in (True, False):
        changed = dense.copy()
        changed[:, masks.size[0] // 2, masks.size[1] // 2] = keep
        assert (effective(set_dc(masks, keep)).numpy() == changed).all()
        assert (set_dc(effective(masks), keep).numpy() == changed).all()


def test_isolated_cells_of_the_published_mirror():
    """A cell and its off-by-one image: 1x1 -> two half bins; 2x2 -> one full bin and six half bins, twice."""
    for side, full, half in ((1, 0, 2), (2, 1, 6)):
        mask = np.zeros((32, 32), np.uint8)
        mask[6 : 6 + side, 9 : 9 + side] = 1
        weights = effective(torch.from_numpy(slow_masks.turned(mask)))
        # The cell and its mirror image are two such patterns, at f and at -f.
        assert (weights == 1).sum() == 2 * full and (weights == 0.5).sum() == 2 * half


@few
@given(bit_masks(count=st.just(3)), st.data())
def test_hash_is_the_identity_of_the_effective_mask(masks, data):
    dense = effective(masks)
    hashes = content_hash(masks)
    assert all(len(digest) == 64 and int(digest, 16) >= 0 for digest in hashes)
    fine = tuple(data.draw(st.sampled_from([d for d in range(1, c + 1) if c % d == 0])) for c in masks.cell)
    other_symmetry = pack(dense > 0.5, cell=(1, 1), size=masks.size, symmetry="average")
    assert content_hash(refine(masks, fine)) == hashes
    assert content_hash(dense) == content_hash(dense.double()) == hashes
    assert content_hash(uncentred(dense), layout="torch") == hashes
    raw = torch.from_numpy(np.stack([slow_masks.bins_of(masks, k) for k in range(3)]))
    if masks.symmetry == "average":
        assert content_hash(raw) == hashes  # as drawn, or as it acts: the same mask
    elif not (dense == 0.5).any():
        assert content_hash(other_symmetry) == hashes
    for i in range(3):
        for j in range(3):
            assert (hashes[i] == hashes[j]) == torch.equal(dense[i], dense[j])
    row, column = (data.draw(st.integers(0, n - 1)) for n in masks.size)
    changed = dense.clone()
    changed[0, row, column] += 1
    assert content_hash(changed)[0] != hashes[0]


def test_hash_of_real_weights():
    a = torch.rand(2, 7, 8)
    b = effective(a)
    assert content_hash(a) == content_hash(b) and len(set(content_hash(a))) == 2
    zero = torch.zeros(1, 4, 4)
    assert content_hash(zero) == content_hash(-zero) == content_hash(torch.zeros(1, 4, 4, dtype=torch.bool))
    assert content_hash(torch.zeros(1, 4, 6)) != content_hash(torch.zeros(1, 6, 4))
    tenth = torch.full((1, 4, 4), 0.1)
    assert content_hash(tenth) == content_hash(tenth.double().float()) != content_hash(zero)


def test_hash_of_a_known_mask_is_fixed():
    mask = torch.zeros(4, 6)
    mask[1, 2] = 1  # m_eff is ½ at (1, 2) and (3, 4); rows 0..2 are hashed
    touched, full = bytes([0, 0b100, 0]), bytes(3)
    expected = hashlib.sha256(b"freqkit mask 1 4 6 halves\n" + touched + full).hexdigest()
    assert content_hash(mask) == [expected]
    mask[1, 2] = 0.5
    weights = np.array([0, 0, 0, 0, 0, 0, 0, 0, 0.25] + [0] * 9, "<f4").tobytes()
    assert content_hash(mask) == [hashlib.sha256(b"freqkit mask 1 4 6 float32\n" + weights).hexdigest()]


@few
@given(bit_masks(count=st.integers(1, 12), size=st.just((3, 4)), cell=(3, 2)))
def test_unique(masks):
    indices, inverse = unique(masks)
    dense = effective(masks)
    assert torch.equal(dense[indices[inverse]], dense)
    assert len({plane.numpy().tobytes() for plane in dense}) == len(indices)
    assert indices.tolist() == sorted(indices.tolist())
    assert all((inverse[:k] != inverse[k]).all() for k in indices.tolist())


def test_dense_algebra_and_types():
    a, b = torch.rand(3, 5, 5), torch.rand(3, 5, 5)
    assert torch.equal(union(a, b), torch.maximum(a, b)) and torch.equal(intersection(a, b), torch.minimum(a, b))
    assert effective(torch.ones(4, 4, dtype=torch.int64)).dtype == torch.float32
    assert effective(torch.ones(4, 4, dtype=torch.float64)).dtype == torch.float64
    assert effective(torch.ones(2, 3, 4, 4)).shape == (2, 3, 4, 4)
    assert coverage(torch.ones(4, 4)).touched.tolist() == [1.0]


def test_no_masks():
    empty = BitMasks(torch.empty(0, 4, 1, dtype=torch.uint8), (2, 2), (8, 8), "hermitian")
    assert effective(empty).shape == (0, 8, 8) and content_hash(empty) == []
    assert coverage(empty).power.shape == (0,) and unique(empty)[0].shape == (0,)
    assert refine(empty, (1, 1)).bits.shape == (0, 8, 1)
    assert content_hash(torch.zeros(0, 4, 4)) == []


def test_many_masks_are_handled_in_pieces():
    masks = candidates(3, 400, size=224, seed=0, parents=[candidates(1, 5, size=224).masks]).masks
    some = select(masks, [0, 170, 399])
    assert torch.equal(effective(masks)[[0, 170, 399]], effective(some))
    assert [content_hash(masks)[k] for k in (0, 170, 399)] == content_hash(some)
    assert torch.equal(coverage(masks).power[[0, 170, 399]], coverage(some).power)


def test_bad_masks_are_named():
    good = pack(torch.ones(1, 4, 4), cell=(2, 2), size=(8, 8), symmetry="average")
    for bad, error, words in (
        (good._replace(symmetry="none"), ValueError, "symmetry"),
        (good._replace(cell=(3, 2)), ValueError, "cell must divide"),
        (good._replace(cell=(0, 2)), ValueError, "cell must divide"),
        (good._replace(bits=good.bits.int()), TypeError, "uint8"),
        (good._replace(bits=good.bits[0]), ValueError, "shape"),
        (good._replace(bits=good.bits[:, :2]), ValueError, r"\[K, 4, 1\]; got \[1, 2, 1\]"),
    ):
        for function in (effective, coverage, content_hash, unpack, hermitian, complement, dc_weight):
            with pytest.raises(error, match=words):
                function(bad)
    for function in (effective, coverage, content_hash, hermitian):
        with pytest.raises(TypeError, match="BitMasks or a real tensor"):
            function("mask")
        with pytest.raises(TypeError, match="complex"):
            function(torch.ones(4, 4, dtype=torch.complex64))
        with pytest.raises(ValueError, match="finite"):
            function(torch.full((4, 4), math.nan))
        with pytest.raises(ValueError, match="shape"):
            function(torch.ones(4))
    with pytest.raises(ValueError, match="layout"):
        effective(torch.ones(4, 4), layout="fft")
    with pytest.raises(TypeError, match="both"):
        union(good, torch.ones(8, 8))
    with pytest.raises(ValueError, match="share"):
        concat([good, good._replace(symmetry="hermitian")])
    with pytest.raises(ValueError, match="K must agree"):
        union(select(good, [0, 0]), select(good, [0, 0, 0]))
    with pytest.raises(ValueError, match="at least one"):
        concat([])
    with pytest.raises(ValueError, match="divide"):
        refine(good, (4, 4))


def test_the_operator_reads_bits_as_these_helpers_do():
    from freqkit.ops import extension

    if not extension.load():
        pytest.skip("the native extension is not built")
    import freqkit

    for size, stage, preset in (
        (32, 1, "default"),
        (32, 2, "cvpr2025"),
        (28, 1, "cvpr2025"),
        (64, 4, "default"),
    ):
        symmetry = "average" if preset == "cvpr2025" else "hermitian"
        parents = [candidates(1, 9, size=size).masks._replace(symmetry=symmetry)]
        masks = candidates(stage, 9, size=size, seed=1, preset=preset, parents=parents).masks
        x = torch.rand(2, 3, size, size, dtype=torch.float64)
        by_bits = freqkit.spectral_filter(x, masks)
        by_values = freqkit.spectral_filter(x, to_dense(masks, layout="torch"))
        assert torch.allclose(by_bits, by_values, atol=1e-12)
