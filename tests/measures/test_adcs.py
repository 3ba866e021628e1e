"""ADCS against plain double loops over classes, in float64."""

import numpy as np
import pytest
import torch

from freqkit.data import ImageSet, synthetic
from freqkit.errors import UsageError
from freqkit.measures.adcs import PUBLISHED_MEAN, PUBLISHED_STD, AdcsResult, adcs

GREY = np.array([0.2989, 0.5870, 0.1140])


def noise(counts, size=(12, 10), seed=0):
    """Random images whose classes differ, so that rounding cannot turn a sign."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    images = generator.integers(0, 256, (len(labels), 3, *size), dtype=np.uint8)
    labels = labels[generator.permutation(len(labels))]
    return ImageSet(
        torch.from_numpy(images),
        torch.from_numpy(labels),
        [f"c{i}" for i in range(len(counts))],
        [f"x/{i}" for i in range(len(labels))],
    )


def magnitudes(images, mean=(0, 0, 0), std=(1, 1, 1)):
    """|DFT| float64 [n, 3, H, W], centred."""
    x = images.images.numpy() / 255
    x = (x - np.array(mean)[:, None, None]) / np.array(std)[:, None, None]
    return np.fft.fftshift(np.abs(np.fft.fft2(x)), axes=(-2, -1))


def by_formula(images, combine, **normalisation):
    each = combine(magnitudes(images, **normalisation))
    energy = [each[images.labels.numpy() == c].mean(0) for c in range(len(images.classes))]
    return np.stack([sum(np.sign(e - other) for other in energy) for e in energy])


def by_published_code(images, mean=PUBLISHED_MEAN, std=PUBLISHED_STD):
    """Zeros of each image replaced, sums, grey of the difference, -1 on ties, the class itself included."""
    energy = [np.zeros(images.images.shape[1:]) for _ in images.classes]
    for plane, label in zip(magnitudes(images, mean, std), images.labels.tolist(), strict=True):
        energy[label] += np.where(plane == 0, 1.2e-11, plane)
    maps = []
    for e in energy:
        total = 0
        for other in energy:
            grey = np.tensordot(GREY, e - other, (0, 0))
            total = total + np.where(grey > 0, 1, -1)
        maps.append(total)
    return np.stack(maps)


@pytest.mark.parametrize("size", [(12, 10), (9, 7)])
def test_formula_equals_double_loop(size):
    images = noise([3, 5, 2, 4, 1], size)
    grey = by_formula(images, lambda e: np.tensordot(e, GREY, (1, 0)))
    mean = by_formula(images, lambda e: e.mean(1))
    per = by_formula(images, lambda e: e)
    exact = {"dtype": torch.float64, "batch_size": 4}
    assert np.array_equal(adcs(images, **exact).maps.numpy(), grey)
    assert np.array_equal(adcs(images, channel="mean", **exact).maps.numpy(), mean)
    assert np.array_equal(adcs(images, channel="per", **exact).maps.numpy(), per)
    assert (adcs(images).maps.numpy() != grey).mean() < 0.01  # float32 transforms: near ties may turn


def test_normalisation_is_that_of_the_argument():
    images = noise([3, 3, 3])
    how = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.25)}
    expected = by_formula(images, lambda e: np.tensordot(e, GREY, (1, 0)), **how)
    assert np.array_equal(adcs(images, dtype=torch.float64, **how).maps.numpy(), expected)


def test_published_code_with_unequal_counts():
    images = noise([3, 5, 2, 4])
    result = adcs(images, preset="iccv2023", dtype=torch.float64)
    assert np.array_equal(result.maps.numpy(), by_published_code(images))


def test_code_is_formula_minus_one_without_ties():
    images = noise([4] * 6)
    how = {"mean": PUBLISHED_MEAN, "std": PUBLISHED_STD, "dtype": torch.float64}
    formula, code = adcs(images, **how).maps, adcs(images, preset="iccv2023", dtype=torch.float64).maps
    assert torch.equal(code, formula - 1)
    assert formula.abs().max() == 5 and (formula.sum(0) == 0).all()
    # With equal counts and no ties, the classes hold the ranks -5, -3, ..., 5 at every frequency.
    assert torch.equal(formula.sort(0).values[:, 0, 0], torch.arange(-5, 6, 2, dtype=torch.int16))


def test_ties():
    """Two classes with the same images, one that is flat: sign(0) = 0, and -1 in the published code."""
    some = noise([1]).images
    flat = torch.zeros_like(some)
    images = ImageSet(torch.cat([some, some, flat]), torch.arange(3), ["a", "b", "flat"], ["a/0", "b/0", "f/0"])
    maps = adcs(images, dtype=torch.float64).maps
    assert maps.flatten(1).T.unique(dim=0).tolist() == [[1, 1, -2]]
    published = adcs(images, preset="iccv2023", mean=(0, 0, 0), std=(1, 1, 1), dtype=torch.float64).maps
    assert published.flatten(1).T.unique(dim=0).tolist() == [[-1, -1, -3]]


def test_zeros_are_replaced_in_every_image():
    """Images of nothing but DC: of classes with 1, 2 and 3 of them the larger has more of all else, in the published
    code alone; and classes of which one image has a wave that the others lack."""
    flat = torch.full((6, 3, 8, 8), 128, dtype=torch.uint8)
    flat[[1, 3]] = 64  # DC differs
    images = ImageSet(flat, torch.tensor([0, 1, 1, 2, 2, 2]), ["a", "b", "c"], [f"x/{i}" for i in range(6)])
    how = {"mean": (0.0,) * 3, "std": (1.0,) * 3, "dtype": torch.float64}
    maps = adcs(images, preset="iccv2023", **how).maps
    assert maps[:, 0, 0].tolist() == [-3, -1, 1]
    assert np.array_equal(maps, by_published_code(images, (0, 0, 0), (1, 1, 1)))
    formula = adcs(images, **how).maps
    assert formula[:, 0, 0].tolist() == [0, 0, 0]
    stripes = flat.clone()
    stripes[[0, 4], :, :, ::2] = 0
    images = ImageSet(stripes, images.labels, images.classes, images.paths)
    maps = adcs(images, preset="iccv2023", batch_size=1, **how).maps
    assert np.array_equal(maps, by_published_code(images, (0, 0, 0), (1, 1, 1)))
    batches = [(images.images[i : i + 1], images.labels[i : i + 1]) for i in (5, 0, 3, 1, 2, 4)]
    assert torch.equal(adcs(batches, classes=images.classes, preset="iccv2023", **how).maps, maps)


@pytest.mark.parametrize("preset", ["default", "iccv2023"])
def test_every_column_of_the_table(preset):
    images = noise([3, 5, 2], (12, 12))
    how = {"mean": PUBLISHED_MEAN, "std": PUBLISHED_STD}
    expected = by_published_code(images)
    if preset == "default":
        expected = by_formula(images, lambda e: np.tensordot(e, GREY, (1, 0)), **how)
    radius = np.hypot(*np.mgrid[-6:6, -6:6])
    for c, row in enumerate(adcs(images, preset=preset, dtype=torch.float64, **how).table()):
        plane = expected[c]
        bands = [plane[(radius >= 1.5 * b) & ((radius < 1.5 * (b + 1)) | (b == 3))].mean() for b in range(4)]
        want = [f"c{c}", [3, 5, 2][c], plane.mean(), plane.min(), plane.max(), *bands]
        assert list(row) == ["class", "images", "mean", "least", "most", *(f"band {b}" for b in (1, 2, 3, 4))]
        assert list(row.values())[:2] == want[:2] and list(row.values())[2:] == pytest.approx(want[2:])


def test_batches_give_what_an_image_set_gives():
    images = noise([3, 4, 2])
    batches = ((images.images[i : i + 2], images.labels[i : i + 2]) for i in range(0, len(images), 2))
    whole = adcs(images, dtype=torch.float64)
    assert torch.equal(adcs(batches, classes=images.classes, dtype=torch.float64).maps, whole.maps)
    assert whole.record["data"]["fingerprint"] == images.fingerprint


def test_planted_band_stands_out():
    images = synthetic(2, images_per_class=20)
    result = adcs(images)
    radius, rings = result.radial()
    c3 = rings[images.classes.index("C3")]
    assert c3[(radius > 4) & (radius < 8)].min() > 1 > c3[(radius > 9) & (radius < 15)].max()
    # With 20 images not every planted bin is in every class; those of C0's diagonal are in each of its
    # images.
    assert (result.maps[0][images.truth["C0"]] == 3).all()


def test_radial_means_and_table():
    result = adcs(noise([2, 2, 2], (8, 8)))
    radius, rings = result.radial()
    u, v = np.mgrid[-4:4, -4:4]
    ring = np.floor(np.hypot(u, v) + 0.5)
    expected = [[plane.numpy()[ring == r].mean() for r in radius] for plane in result.maps]
    assert np.allclose(rings, expected)
    row = result.table()[1]
    assert row["class"] == "c1" and row["images"] == 2
    assert row["band 2"] == pytest.approx(result.maps[1].numpy()[(np.hypot(u, v) >= 1) & (np.hypot(u, v) < 2)].mean())


def test_save_and_load(tmp_path):
    result = adcs(noise([2, 2, 2]))
    result.save(tmp_path / "adcs.safetensors")
    again = AdcsResult.load(tmp_path / "adcs.safetensors")
    assert torch.equal(again.maps, result.maps) and torch.equal(again.counts, result.counts)
    assert (again.classes, again.definition, again.record) == (
        result.classes,
        result.definition,
        result.record,
    )
    (tmp_path / "other").write_bytes(b"no")
    with pytest.raises(UsageError, match="not a safetensors file"):
        AdcsResult.load(tmp_path / "other")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channel": "red"}, "channel must be one of grey, mean, per"),
        ({"preset": "x"}, "preset must be one of"),
        ({"preset": "iccv2023", "channel": "per"}, "knows channel 'grey' alone"),
        ({"mean": (0, 0, 0)}, "mean and std must be given together"),
        ({"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}, r"not in 0\.\.\.255"),
        ({"mean": (0.5, 0.5), "std": (1, 1)}, "adcs: mean must be three finite numbers"),
        ({"batch_size": 0}, "batch_size must be a positive integer"),
    ],
)
def test_errors(change, message):
    with pytest.raises(UsageError, match=message):
        adcs(noise([1, 1]), **change)


def test_a_class_without_images_is_refused():
    images = noise([1, 1])
    alone = ImageSet(images.images, torch.zeros(2, dtype=torch.int64), images.classes, images.paths)
    with pytest.raises(UsageError, match="every class must have an image; none of c1"):
        adcs(alone)
