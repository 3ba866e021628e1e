"""Amplitude against phase: against sums over waves, and networks that read one of the two alone."""

import numpy as np
import pytest
import torch
from torch import nn

from freqkit.data import ImageSet
from freqkit.engine import Scorer
from freqkit.engine.phases import VERSIONS, Recombination, donors
from freqkit.errors import UsageError
from freqkit.measures import AmplitudePhaseResult, amplitude_phase
from freqkit.models import Classifier

PLAIN = {"mean": (0.0,) * 3, "std": (1.0,) * 3}


def image_set(pixels, labels):
    names = [chr(97 + c) for c in range(int(labels.max()) + 1)]
    return ImageSet(pixels, labels, names, [f"{i}.png" for i in range(len(labels))])


def noise_images(size, count, classes=2, seed=0):
    pixels = torch.randint(0, 256, (count, 3, *size), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return image_set(pixels, torch.arange(count) % classes)


def matrices(size):
    return (np.exp(-2j * np.pi * np.outer(np.arange(n), np.arange(n)) / n) for n in size)


def plain_spectrum(x):
    rows, columns = matrices(x.shape[-2:])
    return rows @ x @ columns


def plain_inverse(spectrum):
    rows, columns = matrices(spectrum.shape[-2:])
    found = rows.conj() @ spectrum @ columns.conj() / (spectrum.shape[-2] * spectrum.shape[-1])
    assert abs(found.imag).max() < 1e-9
    return found.real


@pytest.mark.parametrize("size", [(8, 8), (7, 7), (9, 6), (6, 11)])
@pytest.mark.parametrize("domain", ["pixels", "normalised"])
def test_versions_are_those_of_sums_over_waves(size, domain):
    images = noise_images(size, 6, 3)
    mean, std = (0.6, 0.5, 0.4), (0.2, 0.3, 0.25)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * size[0] * size[1], 3))
    model = Classifier(network, mean=mean, std=std, num_classes=3)
    scorer = Scorer(model, images, batch_size=4, dtype="float64", domain=domain)
    others, classmates = donors(images.labels, 3)
    shown = Recombination(list(VERSIONS), others, classmates, seed=5).tile(scorer.spectra, slice(0, 8), slice(1, 5))
    made = shown.make(slice(0, 8), slice(0, 4)).view(8, 4, 3, *size).double().numpy()
    x = images.images.double().numpy() / 255
    if domain == "normalised":
        x = (x - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    spectra = plain_spectrum(x)
    for k, (amplitude, phase) in enumerate(VERSIONS.values()):
        for place, i in enumerate(range(1, 5)):
            donor = {"own": i, "other": int(others[i]), "classmate": int(classmates[i])}
            size_of = abs(spectra).mean(0) if amplitude == "mean" else abs(spectra[donor[amplitude]])
            if phase == "random":
                found = plain_spectrum(made[k, place])
                assert np.allclose(abs(found), size_of, atol=1e-9)
                turned = found / spectra[i]
                turned /= abs(turned)
                assert np.allclose(turned, turned[:1], atol=1e-6) and not np.allclose(turned[0], 1, atol=0.1)
                assert np.allclose(found[:, 0, 0], spectra[i, :, 0, 0])
                continue
            unit = np.ones_like(spectra[i]) if phase == "zero" else np.exp(1j * np.angle(spectra[donor[phase]]))
            assert np.allclose(made[k, place], plain_inverse(size_of * unit), atol=1e-9), (amplitude, phase)


def test_a_version_has_the_same_bits_in_any_batch():
    images = noise_images((8, 8), 6)
    model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), num_classes=2, **PLAIN)
    spectra = Scorer(model, images, batch_size=4, domain="pixels").spectra
    stimulus = Recombination(list(VERSIONS), *donors(images.labels, 0))
    whole = stimulus.tile(spectra, slice(0, 8), slice(0, 6)).make(slice(0, 8), slice(0, 6)).view(8, 6, 3, 8, 8)
    part = stimulus.tile(spectra, slice(3, 8), slice(2, 5)).make(slice(1, 4), slice(1, 3)).view(3, 2, 3, 8, 8)
    assert torch.equal(part, whole[4:7, 3:5])


class Energies(nn.Module):
    """Logits: the energy in the rows of two frequencies, that is amplitudes alone."""

    def forward(self, x):
        power = torch.fft.fft2(x.mean(1)).abs().square()
        return torch.stack([power[:, 2, :].sum(1), power[:, 5, :].sum(1)], 1)


def test_a_network_that_reads_amplitudes_follows_them_alone():
    """Classes differ by the amplitude alone: phases are those of noise."""
    size, count = (16, 13), 12
    labels = torch.arange(count) % 2
    noise = torch.randn(count, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    spectra = torch.fft.fft2(noise)
    gain = torch.full((count, *size), 0.3, dtype=torch.float64)
    for i, label in enumerate(labels.tolist()):
        row = (2, 5)[label]
        gain[i, [row, size[0] - row]] = 3.0
    x = torch.fft.ifft2(spectra / spectra.abs() * gain * 14).real * 0.25 + 0.5
    pixels = (x.clamp(0, 1) * 255).round().to(torch.uint8)[:, None].expand(-1, 3, -1, -1).contiguous()
    found = amplitude_phase(Classifier(Energies(), num_classes=2, **PLAIN), image_set(pixels, labels))
    shares, _ = found.shares()
    at = {kind: k for k, kind in enumerate(found.kinds)}
    assert shares[:, at["whole"], 0].tolist() == [1.0, 1.0]
    assert shares[:, at["other amplitude"], 0].tolist() == [0.0, 1.0]
    assert shares[:, at["other phase"], 0].tolist() == [0.0, 1.0]
    assert shares[:, at["classmate's phase"], 0].tolist() == [1.0, 1.0]
    for kind in ("zero phase", "random phase"):
        assert float(shares[1, at[kind], 0]) == 1.0 and shares[0, at[kind], 0].isnan()
    assert found.by_phase()[0] == 0.0 and found.by_phase()[3] == 2 * count
    assert float(shares[0, at["mean amplitude"], 0]) <= 0.75  # all are alike


class Turned(nn.Module):
    """Logits: the inner products with a cosine and with its opposite, so that amplitudes change no sign."""

    def forward(self, x):
        wave = torch.cos(2 * torch.pi * 3 * torch.arange(x.shape[3], dtype=x.dtype) / x.shape[3])
        read = (x.mean((1, 2)) * wave).sum(1)
        return torch.stack([read, -read], 1)


def test_a_network_that_reads_phases_follows_them_alone():
    size, count = (9, 16), 10
    labels = torch.arange(count) % 2
    wave = torch.cos(2 * torch.pi * 3 * torch.arange(16, dtype=torch.float64) / 16)
    amplitude = torch.linspace(0.1, 0.3, count, dtype=torch.float64)
    x = 0.5 + (1 - 2 * labels.double())[:, None, None] * amplitude[:, None, None] * wave
    pixels = (x.expand(-1, 9, -1) * 255).round().to(torch.uint8)[:, None].expand(-1, 3, -1, -1).contiguous()
    assert pixels.shape[2:] == size
    found = amplitude_phase(Classifier(Turned(), num_classes=2, **PLAIN), image_set(pixels, labels), dtype="float64")
    shares, _ = found.shares()
    at = {kind: k for k, kind in enumerate(found.kinds)}
    for kind in ("other amplitude", "other phase"):
        assert shares[:, at[kind], 0].tolist() == [1.0, 0.0]
    assert float(shares[0, at["mean amplitude"], 0]) == 1.0 and float(shares[1, at["zero phase"], 0]) == 0.5
    value, low, high, n = found.by_phase()
    assert (value, n) == (1.0, 2 * count) and low < value <= high


def test_tallies_are_those_of_a_plain_loop():
    images = noise_images((8, 8), 9, 4)
    labels = images.labels.clone()
    labels[8] = 3
    labels[7] = 0  # class d has one image more, and of class d then two
    images = ImageSet(images.images, labels, images.classes, images.paths)
    torch.manual_seed(0)
    model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(192, 6)), num_classes=6, **PLAIN)
    found = amplitude_phase(model, images, class_index=[5, 0, 3, 2])
    hits, trials = found.tallies()
    index = [5, 0, 3, 2]
    for k, (amplitude, phase) in enumerate(VERSIONS.values()):
        for place, whose in enumerate((phase, amplitude)):
            for group in range(5):
                right = seen = 0
                for i in range(9):
                    if group and int(labels[i]) != group - 1:
                        continue
                    given = {"own": i, "other": int(found.others[i]), "classmate": int(found.classmates[i])}
                    if whose not in given or -1 in (given.get(amplitude), given.get(phase)):
                        continue
                    seen += 1
                    right += int(found.answers[k, i]) == index[int(labels[given[whose]])]
                assert (int(hits[place, k, group]), int(trials[place, k, group])) == (right, seen)


@pytest.mark.parametrize("counts", [(5, 5), (1, 1), (3, 1, 2), (6, 1), (4, 4, 1, 9)])
def test_donors_are_of_another_class_and_of_the_same(counts):
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    for seed in range(5):
        others, classmates = donors(labels, seed)
        assert (labels[others] != labels).all()
        if 2 * max(counts) <= sum(counts):
            assert sorted(others.tolist()) == list(range(len(labels)))
        for i, mate in enumerate(classmates.tolist()):
            alone = counts[int(labels[i])] == 1
            assert mate == -1 if alone else (mate != i and labels[mate] == labels[i])
    assert torch.equal(donors(labels, 2)[0], donors(labels, 2)[0])


def test_bad_questions_are_refused_in_a_sentence(tmp_path):
    model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), num_classes=2, **PLAIN)
    images = noise_images((8, 8), 4)
    one_class = ImageSet(images.images, torch.zeros(4, dtype=torch.int64), ["a", "b"], images.paths)
    with pytest.raises(UsageError, match="images must be of two classes at least"):
        amplitude_phase(model, one_class)
    with pytest.raises(UsageError, match="kinds must be some of whole"):
        Recombination(["upside down"], *donors(images.labels, 0))
    found = amplitude_phase(model, images, seed=1)
    found.kinds[2] = "unknown"
    found.FILE.write(tmp_path / "a.safetensors", vars(found))
    with pytest.raises(UsageError, match="kinds must be some of"):
        AmplitudePhaseResult.load(tmp_path / "a.safetensors")
