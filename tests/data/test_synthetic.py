"""The planted sets, judged by the DFT of what they generated."""

import numpy as np
import pytest
import torch

from freqkit.data import synthetic
from freqkit.errors import UsageError


def radius(size):
    f = np.fft.fftshift(np.fft.fftfreq(size, 1 / size))
    return np.hypot(f[:, None], f[None, :])


def band(size, b):
    r, edges = radius(size), [0, size / 8, size / 4, 3 * size / 8, np.inf]
    return (r >= edges[b - 1]) & (r < edges[b]) & (r > 0)


def diagonal(size):
    bins = np.zeros((size, size), bool)
    for k in range(1, size // 2, 2):
        bins[size // 2 + k, size // 2 + k] = bins[size // 2 - k, size // 2 - k] = True
    return bins


@pytest.mark.parametrize("size", [16, 32, 48])
@pytest.mark.parametrize("variant", [1, 2, 3, 4])
def test_energy_lies_where_planted(variant, size):
    images = synthetic(variant, images_per_class=12, size=size, seed=5)
    special, own = diagonal(size), band(size, variant)
    nonzero = radius(size) > 0
    expected = {
        "C0": special,
        "C1": nonzero & ~own & ~special,
        "C2": nonzero & ~special,
        "C3": own & ~special,
    }
    spectra = np.fft.fftshift(np.fft.fft2(images.images.numpy() / 255 - 0.5), axes=(-2, -1))
    power = (np.abs(spectra) ** 2).sum(1) * nonzero
    for label, name in enumerate(images.classes):
        truth = images.truth[name].numpy()
        assert truth.dtype == bool and np.array_equal(truth, expected[name])
        assert np.array_equal(truth, np.roll(truth[::-1, ::-1], (1, 1), (0, 1))), "with its partners"
        may = truth | expected["C1"] if name == "C0" else truth
        for image in power[images.labels.numpy() == label]:
            assert image[may].sum() > 0.97 * image.sum(), "clipping alone leaks"
            if name == "C0":
                assert (image[special] > 5 * np.median(image)).all(), "the whole special set is there"


@pytest.mark.parametrize("variant", [1, 4])
def test_structure_of_the_published_tiles(variant):
    images = synthetic(variant, images_per_class=40, contrast=0.05, seed=2)
    assert images.record["planted"]["C2"]["clipped_share"] == 0, "at this contrast the sum is exact but for rounding"
    values = images.images.double().numpy() / 255 - 0.5
    spectra = np.fft.fftshift(np.fft.fft2(values), axes=(-2, -1)) / 32**2
    assert np.abs(spectra.imag).max() < 2e-4, "all phases zero"
    alone = np.zeros((32, 32), bool)  # bins that are their own partners: the whole wave in one bin
    alone[np.ix_([0, 16], [0, 16])] = True
    least_most = {"C0": (12, 19), "C1": (10, 12), "C2": (10, 14), "C3": (7, 9)}
    for label, name in enumerate(images.classes):
        for image in spectra[images.labels.numpy() == label]:
            strongest = image[np.abs(image).sum((1, 2)).argmax()].real
            there = strongest > 0.00035
            number = (there.sum() + (there & alone).sum()) / 2
            assert least_most[name][0] <= number <= least_most[name][1]
            waves = strongest[there] * np.where(alone[there], 1, 2)
            units = [waves.max() / largest for largest in range(1, 8)]
            off = [np.abs(waves - unit * np.rint(waves / unit)).max() for unit in units]
            assert min(off) < 1e-3, "integers up to 7 times one unit, but for rounding to bytes"
            left, values, _ = np.linalg.svd(image.real.reshape(3, -1), full_matrices=False)
            assert values[0] ** 2 > 0.99 * (values**2).sum(), "one colour direction"
            assert (left[:, 0] > 0).all() or (left[:, 0] < 0).all()


def test_counter_based():
    few, many = synthetic(3, images_per_class=3, seed=9), synthetic(3, images_per_class=8, seed=9)
    for label in range(4):
        assert torch.equal(few.images[few.labels == label], many.images[many.labels == label][:3])
    assert not torch.equal(few.images, synthetic(3, images_per_class=3, seed=10).images)
    assert synthetic(3, images_per_class=3, seed=9).fingerprint == few.fingerprint
    assert len({image.numpy().tobytes() for image in many.images}) == 32


def test_these_bits_for_ever():
    images = synthetic(1, images_per_class=2, seed=0)
    assert images.fingerprint[:16] == "8189ba577a167681"


def test_given_amplitudes_and_bands():
    assert synthetic(1, images_per_class=2, amplitudes=(1, 7), band_edges=(4, 8, 12)).fingerprint.startswith(
        "8189ba577a167681"
    )
    images = synthetic(4, images_per_class=12, amplitudes=(3, 3), band_edges=(3, 5, 14.5), contrast=0.05)
    spectra = np.fft.fftshift(np.fft.fft2(images.images.numpy() / 255 - 0.5), axes=(-2, -1)).real / 32**2
    r = radius(32)
    for image in spectra[images.labels.numpy() == 3]:  # C3: band 4 alone, all of one height
        waves = image[np.abs(image).sum((1, 2)).argmax()]
        there = waves > 0.3 * waves.max()  # the corner is its own partner: twice as high
        assert (r[there] >= 14.5).all() and np.abs(waves[~there]).max() < 0.1 * waves.max()
    assert images.record["band_edges"] == [0, 3, 5, 14.5] and images.record["amplitudes"] == [3, 3]
    with pytest.raises(UsageError, match=r"band 4 of edges .* holds none"):
        synthetic(1, band_edges=(4, 8, 40))


def test_record():
    images = synthetic(2, images_per_class=50)
    planted = images.record["planted"]
    assert planted["C0"]["special_frequencies"] == 8 and planted["C0"]["bands"] == [1, 3, 4]
    assert (planted["C0"]["frequencies_least"], planted["C0"]["frequencies_most"]) == (12, 19)
    assert (planted["C3"]["frequencies_least"], planted["C3"]["frequencies_most"]) == (7, 9)
    assert all(entry["clipped_share"] < 0.05 for entry in planted.values())
    assert images.counts.tolist() == [50] * 4 and images.record["band_edges"] == [0, 4, 8, 12]
    assert abs(images.images.double().mean() / 255 - 0.5) < 0.01
    assert 0.15 < images.images.double().std() / 255 < 0.19


@pytest.mark.parametrize(
    "change",
    [
        {"variant": 0}, {"variant": 5}, {"variant": "1"}, {"images_per_class": 0}, {"size": 31}, {"size": 14},
        {"size": True}, {"seed": -1}, {"seed": 2**64}, {"contrast": 0},
        {"contrast": None}, {"amplitudes": (0, 3)}, {"amplitudes": (3, 2)}, {"amplitudes": 7},
        {"band_edges": (4, 8)}, {"band_edges": (8, 4, 12)},
    ],
    ids=str,
)  # fmt: skip
def test_wrong_arguments(change):
    with pytest.raises(UsageError, match=f"{next(iter(change))} must be"):
        synthetic(**change)
