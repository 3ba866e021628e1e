"""Components, HARS and shuffled labels, against plain numpy."""

import sys

import numpy as np
import pytest
import torch

from freqkit.data import components, hars, synthetic
from freqkit.data.components import component_blocks, encode, side_mask
from freqkit.data.hars import donors_of
from freqkit.errors import UsageError


def plain(x, r, side, inclusive=False):
    """A radial split by numpy's complex transform of one plane after the other, float64."""
    out = np.empty(x.shape)
    for at in np.ndindex(x.shape[:2]):
        plane = x[at].astype(np.float64)
        height, width = plane.shape
        short = min(height, width)
        rows = (np.arange(height) - height // 2)[:, None] * short / height
        columns = (np.arange(width) - width // 2)[None] * short / width
        d = np.sqrt(rows**2 + columns**2)
        low = d <= r if inclusive else d < r
        whole = np.fft.fftshift(np.fft.fft2(plane))
        out[at] = np.fft.ifft2(np.fft.ifftshift(whole * (low if side == "low" else ~low))).real
    return out


@pytest.mark.parametrize("size", [(8, 8), (9, 9), (13, 7), (32, 32), (10, 15)])
@pytest.mark.parametrize("boundary", ["strict", "inclusive"])
def test_components_are_those_of_a_plain_split(size, boundary):
    x = torch.rand(3, 3, *size, generator=torch.Generator().manual_seed(1))
    for r in (1, 2.5, 3):
        both = [components(x, r, side, boundary=boundary) for side in ("low", "high")]
        for side, found in zip(("low", "high"), both, strict=True):
            expected = plain(x.numpy(), r, side, boundary == "inclusive")
            assert found.dtype == torch.float32 and np.abs(found.numpy() - expected).max() < 2e-6
        assert (both[0] + both[1] - x).abs().max() < 1e-6
        assert both[1].mean((2, 3)).abs().max() < 1e-6


def test_sides_have_the_published_numbers_of_frequencies():
    counts = {4: (45, 49), 6: (109, 113), 8: (193, 197), 10: (305, 317), 12: (437, 441), 14: (609, 613), 16: (793, 795),
              18: (927, 927), 20: (995, 999)}  # fmt: skip
    for r, both in counts.items():
        assert tuple(int(side_mask((32, 32), r, "low", b).sum()) for b in ("strict", "inclusive")) == both
    assert [int(side_mask((28, 28), r, "low").sum()) for r in (4, 8, 12, 14, 16)] == [45, 193, 437, 609, 719]


def test_many_radii_are_the_same_as_one_at_a_time_in_blocks(monkeypatch):
    monkeypatch.setattr(sys.modules["freqkit.data.components"], "BLOCK", 3 * 64 * 2)
    x = (torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(2)) * 255).to(torch.uint8)
    for r, side, part, made in component_blocks(x, [2, 3], encoding="maxnorm"):
        assert torch.equal(made, components(x, r, side, encoding="maxnorm")[part])
    assert (components(x, 2) + components(x, 2, "high") - x / 255).abs().max() < 1e-6


def test_encodings_are_the_published_ones():
    x = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    raw = plain(x.numpy(), 2, "high")
    highest = components(x, 2, "high", encoding="maxnorm").numpy()
    assert np.allclose(highest, raw / raw.max((1, 2, 3), keepdims=True), atol=1e-5) and highest.min() < 0
    spread = raw.max((2, 3), keepdims=True) - raw.min((2, 3), keepdims=True)
    found = components(x, 2, "high", encoding="minmax").numpy()
    assert np.allclose(found, (raw - raw.min((2, 3), keepdims=True)) / spread, atol=1e-5)
    wrapped = components(x, 2, "high", encoding="uint8wrap")
    expected = np.trunc(raw * 255).astype(np.int64) % 256
    near = np.abs(raw * 255 - np.round(raw * 255)) < 2**-9  # rounding of the transform decides
    assert wrapped.dtype == torch.uint8 and near.mean() < 0.02
    assert np.array_equal(wrapped.numpy()[~near], expected[~near])
    even = torch.full((1, 1, 4, 4), -0.5)
    assert encode(even, "maxnorm").eq(-0.5).all() and encode(even, "minmax").eq(0).all()


@pytest.mark.parametrize(
    "ask, words",
    [
        (dict(r=0), "a frequency on the low side"), (dict(r=40, side="high"), "farther than 11.3"),
        (dict(r=-1), "got -1"), (dict(r=2, side="middle"), "low, high; got 'middle'"),
        (dict(r=2, encoding="jpeg"), "got 'jpeg'"), (dict(r=2, boundary="soft"), "got 'soft'"),
    ],
)  # fmt: skip
def test_what_cannot_be_split_is_refused(ask, words):
    with pytest.raises(UsageError) as error:
        components(torch.rand(1, 3, 16, 16), **{"side": "low", **ask})
    assert words in str(error.value)


def test_hars_is_what_its_formula_says():
    images = synthetic(1, images_per_class=6, seed=4)
    made = hars(images, r=8, seed=3)
    labels, donors = images.labels.numpy(), made.donors.numpy()
    assert sorted(donors) == list(range(24)) and not (labels == labels[donors]).any()
    assert torch.equal(made.labels, images.labels) and made.paths == images.paths
    assert made.donor_classes.sum(1).tolist() == [6] * 4 and made.donor_classes.diagonal().tolist() == [0] * 4
    x = images.images.numpy().astype(np.float64)
    mixed = plain(x[donors], 8, "low") + plain(x, 8, "high")
    assert np.allclose(mixed.mean((2, 3)), x[donors].mean((2, 3)))  # DC is the donor's
    least, most = mixed.min((2, 3), keepdims=True), mixed.max((2, 3), keepdims=True)
    expected = np.floor((mixed - least) / (most - least) * 255)
    assert np.abs(made.images.numpy() - expected).max() <= 1 and (made.images.numpy() != expected).mean() < 1e-2
    whole = hars(images, r=8, seed=3, scale="none").images.numpy()
    assert np.abs(whole - mixed.round().clip(0, 255)).max() <= 1
    assert not torch.equal(hars(images, r=8, seed=4).donors, made.donors)
    assert torch.equal(hars(images, r=8, seed=3).images, made.images)


def test_donors_always_end_and_are_refused_where_there_are_none():
    chance = np.random.default_rng(0)
    for trial in range(300):
        sizes = chance.integers(1, 9, size=int(chance.integers(2, 6)))
        labels = chance.permutation(np.repeat(np.arange(len(sizes)), sizes))
        if 2 * sizes.max() > sizes.sum():
            with pytest.raises(UsageError, match="more than half"):
                donors_of(labels, trial)
            continue
        donors = donors_of(labels, trial)
        assert sorted(donors) == list(range(len(labels))) and not (labels[donors] == labels).any()
    assert donors_of(np.array([0, 1]), 7).tolist() == [1, 0]


def test_donors_are_even():
    """Over many seeds every image of another class is equally often the donor."""
    labels = np.array([0, 0, 1, 1, 2, 2])
    found = np.stack([donors_of(labels, seed) for seed in range(3000)])
    for own in range(6):
        counts = np.bincount(found[:, own], minlength=6)
        others = np.flatnonzero(labels != labels[own])
        assert counts[labels == labels[own]].sum() == 0 and np.abs(counts[others] / 3000 - 0.25).max() < 0.04


def test_shuffled_labels_keep_the_histogram_and_agree_by_chance():
    images = synthetic(1, images_per_class=250)
    changed = images.shuffled(seed=5)
    assert torch.equal(changed.counts, images.counts) and changed.images is images.images
    agree = (changed.labels == images.labels).double().mean().item()
    assert abs(agree - 0.25) < 4 * (0.25 * 0.75 / 1000) ** 0.5
    part = images.shuffled(seed=5, share=0.4)
    assert torch.equal(part.counts, images.counts)
    assert abs((part.labels != images.labels).double().mean().item() - 0.3) < 0.05
    assert torch.equal(images.shuffled(1, 0).labels, images.labels)
    assert changed.fingerprint != images.fingerprint != part.fingerprint
    assert changed.record["shuffled"] == {"seed": 5, "share": 1.0}
    with pytest.raises(UsageError, match=r"share must be a number in 0\.\.1; got 2"):
        images.shuffled(share=2)
