"""Images whose amplitudes, or phases, are another image's, the set's mean, or none: a stimulus."""

from collections.abc import Sequence

import numpy as np
import torch

from freqkit.engine.stimuli import Shown, white_noise
from freqkit.errors import UsageError

# Kind of a version -> (whose amplitude, whose phase): of the image itself, a donor, the mean of the set, 0, or random.
VERSIONS = {
    "whole": ("own", "own"),
    "other amplitude": ("other", "own"),
    "other phase": ("own", "other"),
    "classmate's amplitude": ("classmate", "own"),
    "classmate's phase": ("own", "classmate"),
    "mean amplitude": ("mean", "own"),
    "zero phase": ("own", "zero"),
    "random phase": ("own", "random"),
}
SMALL = 1e-12  # of the largest coefficient: below it there is no phase, and 0 stands in its place


class Recombination:
    """Every image with the amplitude |X| of one image and the phase X/|X| of another: x = IDFT2(|A| P/|P|).

    Each channel by itself, DC as a part of the amplitude, in the domain of the scorer. "mean": the mean amplitude of
    all images. "zero": every phase 0. "random": to the phase of each coefficient of the image one of white noise is
    added, the same in all channels, DC left alone; it is drawn from a counter (image, seed).

    Args:
        kinds: K names of `VERSIONS`.
        others, classmates: int64 [n], the donor of each image; -1 for none, whose version is then the image itself.
        seed: of random phases.
    """

    def __init__(self, kinds: Sequence[str], others: torch.Tensor, classmates: torch.Tensor, *, seed: int = 0):
        self.kinds, self.seed = list(kinds), seed
        self.donors = {"other": others.tolist(), "classmate": classmates.tolist()}
        if wrong := {*self.kinds} - {*VERSIONS}:
            names = ", ".join(VERSIONS)
            raise UsageError(f"Recombination: kinds must be some of {names}; got {', '.join(map(str, wrong))}.")
        self._mean = (None, None)

    def __len__(self):
        return len(self.kinds)

    def tile(self, source, versions, images):
        numbers, kinds = range(images.start, images.stop), self.kinds[versions]

        def make(some, part):
            made = [self._made(source, kind, i) for kind in kinds[some] for i in numbers[part]]
            seen = torch.stack(made).to(source.forward.device, source.forward.compute)
            return seen.contiguous(memory_format=torch.channels_last)

        return Shown(make, len(kinds), len(numbers))

    def _made(self, source, kind, i):
        """One version of one image: each is made by itself, so that its bits do not depend on the others."""
        amplitude, phase = VERSIONS[kind]
        x = self._input(source, i)
        if (amplitude, phase) == ("own", "own"):
            return x
        own = spectrum_of(x)
        parts = []
        for whose in (amplitude, phase):
            donor = self.donors[whose][i] if whose in self.donors else None
            if donor is not None and donor < 0:
                return x
            parts.append(own if donor is None else spectrum_of(self._input(source, donor)))
        size = self._mean_amplitude(source) if amplitude == "mean" else parts[0].abs()
        unit = torch.ones_like(own) if phase == "zero" else units(parts[1])
        if phase == "random":
            noise = white_noise(np.random.Philox(key=np.array([self.seed, i], np.uint64)), x.shape[1:])
            turned = units(spectrum_of(torch.from_numpy(noise)))
            turned[0, 0] = 1
            unit = unit * turned
        return torch.fft.irfft2(size * unit, s=x.shape[1:]).to(x.dtype)

    def _input(self, source, i):
        """[3, H, W], as the network takes it, on the CPU."""
        return source.inputs(source.pixels(source.images[i : i + 1]))[0].cpu()

    def _mean_amplitude(self, source):
        if self._mean[0] is not source.images:
            total = sum(spectrum_of(self._input(source, i)).abs() for i in range(len(source.images)))
            self._mean = source.images, total / len(source.images)
        return self._mean[1]


def spectrum_of(x: torch.Tensor) -> torch.Tensor:
    """complex128 [..., H, W//2+1] of real [..., H, W]."""
    return torch.fft.rfft2(x.double())


def units(spectrum: torch.Tensor) -> torch.Tensor:
    """X/|X|, and 1 where |X| is nothing beside the largest of the plane."""
    size = spectrum.abs()
    there = size > SMALL * size.amax((-2, -1), keepdim=True)
    return torch.where(there, spectrum / torch.where(there, size, 1), torch.ones_like(spectrum))


def donors(labels: torch.Tensor, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A donor of another class, and one of the same class, for each image.

    Others: a random permutation, every image the donor of one, mended where a class meets itself; where a class has
    more than half of the images there is none, and donors are drawn with repetition. Classmates: every class around a
    random circle; -1 for the only image of a class.

    Args:
        labels: int64 [n]. seed: of the draws.

    Returns:
        (others, classmates): int64 [n] each.

    Raises:
        UsageError: all images are of one class.

    Example:
        >>> labels = torch.tensor([0, 0, 1, 1, 2])
        >>> others, classmates = donors(labels, 0)
        >>> bool((labels[others] != labels).all()), sorted(others.tolist()), classmates.tolist()
        (True, [0, 1, 2, 3, 4], [1, 0, 3, 2, -1])
    """
    kinds, count = labels.numpy(), len(labels)
    if len(np.unique(kinds)) < 2:
        raise UsageError("amplitude_phase: images must be of two classes at least, for donors of another class.")
    chance = np.random.Generator(np.random.Philox(key=np.array([seed, 2], np.uint64)))
    if 2 * np.bincount(kinds).max() <= count:
        others = chance.permutation(count)
        while len(wrong := np.flatnonzero(kinds[others] == kinds)):
            i, own = wrong[0], kinds[wrong[0]]
            fits = np.flatnonzero((kinds != own) & (kinds[others] != own))
            j = chance.choice(fits)
            others[i], others[j] = others[j], others[i]
    else:
        others = np.array([chance.choice(np.flatnonzero(kinds != own)) for own in kinds])
    classmates = np.full(count, -1)
    for own in np.unique(kinds):
        circle = chance.permutation(np.flatnonzero(kinds == own))
        if len(circle) > 1:
            classmates[circle] = np.roll(circle, -1)
    return torch.from_numpy(others), torch.from_numpy(classmates)
