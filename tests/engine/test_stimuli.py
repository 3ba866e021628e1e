"""What a model is shown: against plain float64 twins, the same bits in any batch, and what is kept of the outputs."""

import itertools
import math
from statistics import NormalDist

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from freqkit.data.corruptions import corrupt
from freqkit.engine import Journal, Scorer, status
from freqkit.engine.accumulators import Answers, ClassLoss, Logits, TakenFor
from freqkit.engine.session import session
from freqkit.engine.stimuli import BandNoise, Corruption, Filter, Perturbation, band_of, pyramid_height, white_noise
from freqkit.errors import UsageError
from tests.engine.small_world import Images, Listener, Small, random_masks

BINS = [[0, 0], [1, 2], [-1, 3], [4, 4], [0, 16]]
LEVELS = [(0, 0.0), (0, 0.16), (2, 0.16), (3, 0.5)]
KINDS = [("gaussian_noise", 3), ("contrast", 2)]
STIMULI = {
    "filter": Filter(random_masks(4, 32).float()),
    "perturbation": Perturbation(BINS, 4.0, seed=3),
    "band noise": BandNoise(LEVELS, seed=5),
    "corruption": Corruption(KINDS, seed=1),
}


class Wide(Small):
    """A network for any size, that is the same for an image in any batch."""

    def __init__(self):
        super().__init__()
        self.network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(48, 3))


def everything(scorer, stimulus):
    """float64 [K, n, 3, H, W], as the network takes it, in one piece."""
    count = len(scorer.labels)
    shown = stimulus.tile(scorer.spectra, slice(0, len(stimulus)), slice(0, count))
    return shown.make(slice(0, shown.versions), slice(0, count)).view(len(stimulus), count, 3, *scorer.size).double()


def normalised(pixels):
    mean, std = (torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in (Small.mean, Small.std))
    return (pixels.double() - mean) / std


# ---- plain twins


def filter_twin(images):
    x = torch.fft.fft2(normalised(images.images / 255.0))
    return torch.stack([torch.fft.ifft2(x * mask).real for mask in STIMULI["filter"].masks.double()])


def perturbation_twin(images, norm=4.0, seed=3):
    """The vectors through the inverse transform of two bins, signs a word at a time."""
    x, side = normalised(images.images / 255.0), images.images.shape[-1]
    made = []
    for i, j in BINS:
        plane = torch.zeros(side, side, dtype=torch.complex128)
        plane[i % side, j % side] += 1
        plane[-i % side, -j % side] += 1
        wave = torch.fft.ifft2(plane).real
        wave = norm * wave / wave.norm()
        raw = np.random.Philox(key=np.array([seed, i % side * side + j % side], np.uint64)).random_raw(len(x))
        signs = [[1 if int(word) >> c & 1 else -1 for c in range(3)] for word in raw]
        made.append(x + torch.tensor(signs)[..., None, None] * wave)
    return torch.stack(made)


def pyramid_levels(plane):
    """Every level at its own size, by full matrices of the taps."""

    def taps(side):
        matrix = np.zeros((side, side))
        for row, (offset, tap) in itertools.product(range(side), zip(range(-2, 3), (1, 4, 6, 4, 1), strict=True)):
            at = abs(row + offset)
            at = 2 * (side - 1) - at if at >= side else at
            matrix[row, at] += math.sqrt(2) * tap / 16
        return matrix

    levels, ups = [], []
    for _ in range(pyramid_height(plane.shape) - 1):
        smooth = [taps(side) for side in plane.shape]
        coarse = (smooth[0] @ plane @ smooth[1].T)[::2, ::2]
        up = [one @ np.eye(len(one))[:, ::2] for one in smooth]
        levels.append(plane - up[0] @ coarse @ up[1].T)
        ups.append(up)
        plane = coarse
    return [*levels, plane], ups


def whole_level(levels, ups, level):
    made = levels[level]
    for up in reversed(ups[:level]):
        made = up[0] @ made @ up[1].T
    return made


def band_noise_twin(images, seed=5):
    made = []
    for band, deviation in LEVELS:
        for number, image in enumerate(images.images):
            grey = np.asarray(Image.fromarray(image.permute(1, 2, 0).numpy()).convert("L")) / 255
            plain = (grey - grey.mean()) * 0.2 + 0.449
            counted = np.random.Philox(
                key=np.array([seed, number], np.uint64),
                counter=np.array([0, 0, band, np.float64(deviation).view(np.uint64)], np.uint64),
            )
            bits, chance = iter(()), np.random.Generator(counted)
            if deviation:
                bits = iter(np.array(counted.random_raw(plain.size // 4)).view(np.uint16).tolist())
            normal = [NormalDist().inv_cdf((k + 0.5) / 65536) / math.sqrt(2) for k in bits]
            one, other = normal[: len(normal) // 2], normal[len(normal) // 2 :]
            white = [a + b for a, b in zip(one, other, strict=True)] + [a - b for a, b in zip(one, other, strict=True)]
            white = np.array(white).reshape(plain.shape) if deviation else plain
            noise = np.zeros_like(plain)
            if deviation:
                levels, ups = pyramid_levels(white * deviation)
                noise, finest = whole_level(levels, ups, len(levels) - 1 - band), levels[0]
                noise = noise * np.sqrt((finest**2).mean() / (noise**2).mean())
            for at in np.ndindex(plain.shape):
                image_value, value = plain[at], plain[at] + noise[at]
                if value < 0 or value > 1:
                    value = 0.1 if value < 0 else 0.9
                    if not 0 <= value - noise[at] <= 1:  # the image cannot make up for it
                        value = -1
                while not 0 <= value <= 1:
                    value = image_value + chance.standard_normal() * deviation
                plain[at] = value
            made.append(normalised(torch.from_numpy(plain).expand(3, -1, -1)))
    return torch.stack(made).view(len(LEVELS), len(images.images), 3, *images.images.shape[-2:])


def corruption_twin(images):
    names = [str(i) for i in range(len(images.images))]
    return torch.stack([normalised(corrupt(images.images, *kind, names, seed=1) / 255.0) for kind in KINDS])


TWINS = {
    "filter": filter_twin, "perturbation": perturbation_twin, "band noise": band_noise_twin,
    "corruption": corruption_twin,
}  # fmt: skip


@pytest.mark.parametrize("name", STIMULI)
def test_what_is_shown_is_that_of_a_plain_twin(name):
    images = Images(5, side=32)
    made = everything(Scorer(Wide(), images, batch_size=8), STIMULI[name])
    torch.testing.assert_close(made, TWINS[name](images), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("name", STIMULI)
def test_the_same_bits_in_any_batch_and_any_memory(name):
    """Also what ranks share are tiles, which may be computed anywhere and in any order."""
    images, stimulus = Images(20, side=32), STIMULI[name]
    whole = everything(Scorer(Wide(), images, batch_size=64), stimulus)
    for batch_size, memory in ((3, 1 << 30), (7, 1), (64, 40_000)):
        scorer, made = Scorer(Wide(), images, batch_size=batch_size, memory=memory), torch.zeros_like(whole)
        tiles = list(itertools.product(scorer.tiling.blocks(), scorer.tiling.groups(len(stimulus))))
        for (first, last), (low, high) in reversed(tiles):
            shown = stimulus.tile(scorer.spectra, slice(low, high), slice(first, last))
            for k, i in itertools.product(range(high - low), range(0, last - first, 2)):
                part = slice(i, min(i + 2, last - first))
                made[low + k, first + i : first + part.stop] = shown.make(slice(k, k + 1), part)
        assert torch.equal(made, whole), (batch_size, memory)


def test_signs_and_vectors_of_a_perturbation():
    images, plus = Images(9, side=32), Perturbation(BINS, 2.0, seed=None)
    scorer = Scorer(Wide(), images, batch_size=8, domain="pixels", dtype="float64")
    added = everything(scorer, plus) - images.images.double() / 255
    torch.testing.assert_close(added.flatten(3).norm(dim=3), torch.full((5, 9, 3), 2.0, dtype=torch.float64))
    signed = (everything(scorer, Perturbation(BINS, 2.0)) - images.images.double() / 255) / added
    assert set(signed.nan_to_num(1).round(decimals=6).unique().tolist()) == {-1.0, 1.0}
    cut = everything(scorer, Perturbation(BINS, 40.0, clip=True))
    assert 0 == cut.min() and cut.max() == 1
    with pytest.raises(UsageError, match="clip needs a scorer of domain"):
        everything(Scorer(Wide(), images, batch_size=8), Perturbation(BINS, 4.0, clip=True))


@pytest.mark.parametrize("size", [(32, 32), (224, 224), (17, 16), (37, 53), (65, 98), (131, 64)], ids=str)
def test_bands_of_noise_have_the_strength_of_the_finest(size):
    plane = np.random.default_rng(0).standard_normal(size)
    parts = [band_of(torch.from_numpy(plane), band).numpy() for band in range(pyramid_height(plane.shape))]
    strength = [float(np.sqrt((part**2).mean() / (plane**2).mean())) for part in parts]
    assert strength == pytest.approx([0.9426] * len(parts), abs=5e-3 if min(size) > 31 else 3e-2)
    levels, ups = pyramid_levels(plane)
    whole = [whole_level(levels, ups, level) for level in range(len(levels))]
    assert np.abs(sum(whole) - plane).max() < 1e-12
    for part, twin in zip(parts, reversed(whole), strict=True):
        twin = twin * np.sqrt((whole[0] ** 2).mean() / (twin**2).mean())
        assert np.abs(part - twin).max() < 1e-12


def test_white_noise_is_normal_and_white():
    drawn = np.stack([white_noise(np.random.Philox(key=np.uint64(k)), (64, 65)) for k in range(200)]).astype(float)
    flat = drawn.reshape(200, -1)
    assert flat.mean() == pytest.approx(0, abs=4 / np.sqrt(flat.size))
    assert [(flat**n).mean() for n in (2, 4)] == pytest.approx([1, 3], rel=0.01)
    whole = np.sort(flat, None)[:: flat.size // 1000]
    assert np.abs(np.arange(len(whole)) / len(whole) - [NormalDist().cdf(x) for x in whole]).max() < 3e-3
    # Numbers of a pair, half a plane apart, are a + b and a - b: neither they nor their squares hang together.
    one, other = flat[:, : 64 * 65 // 2], flat[:, 64 * 65 // 2 :]
    assert np.abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 6e-3
    assert np.abs(np.corrcoef(one.ravel() ** 2, other.ravel() ** 2)[0, 1]) < 6e-3
    assert len(white_noise(np.random.Philox(key=np.uint64(1)), (5, 5)).ravel()) == 25


def test_noise_that_leaves_the_range_is_mended():
    images = Images(3, side=32)
    scorer = Scorer(Wide(), images, batch_size=8, domain="pixels", dtype="float64")
    made = everything(scorer, BandNoise([(3, 3.0), (3, 0.3), (0, 0.0)]))
    assert 0 <= made.min() and made.max() <= 1
    assert (made[1] == 0.1).any() and (made[1] == 0.9).any() and (made[:, :, 0] == made[:, :, 1]).all()
    assert made[2].mean((-2, -1)) == pytest.approx(torch.full((3, 3), 0.449, dtype=torch.float64), abs=1e-12)
    assert len(BandNoise.levels_of((224, 224))) == 29 and len(BandNoise.levels_of((32, 32))) == 17
    with pytest.raises(UsageError, match=r"band must be in 0\.\.\.3"):
        everything(scorer, BandNoise([(4, 0.1)]))


@pytest.mark.parametrize("name", STIMULI)
def test_what_is_kept_of_the_outputs(name):
    images, stimulus = Images(20, side=32), STIMULI[name]
    model, scorer = Wide(), Scorer(Wide(), images, batch_size=6, form="eager", class_index=[2, 0, 1])
    counts, loss, logits = TakenFor(), ClassLoss(), Logits()
    record = scorer.show(stimulus, [counts, loss, logits])
    assert record["forwards"] == 20 * len(stimulus) == scorer.economies()["forwards"]
    made = everything(Scorer(Wide(), images, batch_size=64), stimulus)
    with torch.no_grad():
        wanted = model.network.double()(made.flatten(0, 1)).view(len(stimulus), 20, 3)
    torch.testing.assert_close(logits.value.double(), wanted, atol=1e-4, rtol=1e-4)
    targets = torch.tensor([2, 0, 1])[images.labels]
    for k, one in enumerate(logits.value.double()):
        each = F.cross_entropy(one, targets, reduction="none")
        for c in range(3):
            assert loss.value[k, c] == pytest.approx(float(each[images.labels == c].mean()), rel=1e-12)
            assert counts.value[k, c].tolist() == one.argmax(1)[images.labels == c].bincount(minlength=3).tolist()


def test_filters_are_shown_as_they_are_scored():
    images, masks = Images(20), random_masks(7).float()
    scorer, loss, counts = Scorer(Small(), images, batch_size=9), ClassLoss(), TakenFor()
    scorer.show(Filter(masks), [loss, counts])
    scores = scorer.score(masks)
    assert torch.equal(loss.value, scores.loss)
    assert torch.equal(counts.value.diagonal(dim1=1, dim2=2), scores.correct)
    assert torch.equal(counts.value.sum(1), scores.predicted)


class Stopped(Exception):
    pass


def test_a_stopped_run_goes_on_and_its_forwards_are_those_that_were_made(tmp_path):
    images, stimulus = Images(20, side=32), STIMULI["perturbation"]
    whole = Logits()
    Scorer(Wide(), images, batch_size=2).show(stimulus, [whole])

    def stop(left=[3]):  # noqa: B006
        left[0] -= 1
        if left[0] == 0:
            raise Stopped

    with pytest.raises(Stopped), session("test", {}, tmp_path / "run") as run:
        Scorer(Wide(), images, batch_size=2).show(stimulus, [Logits()], journal=run.journal, check=stop)
    done = status(tmp_path / "run")["forwards_done"]
    assert 0 < done < 100
    with session("test", {}, tmp_path / "run", resume=True) as run:
        assert run.record["forwards_before"] == done
        again = Logits()
        record = Scorer(Wide(), images, batch_size=2).show(stimulus, [again], journal=run.journal)
    assert record["forwards_resumed"] == done and status(tmp_path / "run")["forwards_done"] == 100
    assert torch.equal(again.value, whole.value)
    with Journal(tmp_path / "run" / "journal.bin") as journal, pytest.raises(UsageError, match="must hold loss"):
        Scorer(Wide(), images, batch_size=2).show(stimulus, [ClassLoss()], journal=journal)


def test_where_memory_runs_out_batches_are_halved():
    class Narrow(Wide):
        def __init__(self):
            super().__init__()
            self.network.register_forward_pre_hook(self.refuse)

        @staticmethod
        def refuse(module, given):
            if len(given[0]) > 3:
                raise torch.OutOfMemoryError("no")

    images, heard, found, whole = Images(10, side=32), Listener(), Logits(), Logits()
    scorer = Scorer(Narrow(), images, batch_size=3, form="eager", progress=heard)
    scorer.tiling = Scorer(Wide(), images, batch_size=20).tiling
    scorer.spectra.blocks = scorer.tiling.blocks()
    scorer.show(STIMULI["band noise"], [found])
    Scorer(Wide(), images, batch_size=3, form="eager").show(STIMULI["band noise"], [whole])
    assert "ran out of memory with a batch" in heard.notes[0]
    torch.testing.assert_close(found.value, whole.value, atol=1e-6, rtol=1e-6)


def test_bad_arguments():
    with pytest.raises(UsageError, match=r"bins must have shape \[K, 2\]"):
        Perturbation(torch.zeros(3), 1.0)
    with pytest.raises(UsageError, match="name must be one of"):
        Corruption([("rain", 1)])


def test_answers_of_single_images_and_encoded_pixels():
    images, stimulus = Images(20, side=32), STIMULI["filter"]
    scorer = Scorer(Wide(), images, batch_size=6, form="eager")
    answers, others, logits = Answers(), Answers(lambda values: values.argmin(-1)), Logits()
    scorer.show(stimulus, [answers, logits, others])
    assert torch.equal(answers.value, logits.value.argmax(2)) and torch.equal(others.value, logits.value.argmin(2))
    pixels, masks = Scorer(Wide(), images, batch_size=6, domain="pixels"), stimulus.masks
    plain = everything(pixels, Filter(masks))
    names = ["minmax", "raw", "clip", "maxnorm"]
    made = everything(pixels, Filter(masks, after=names))
    least, most = plain[0].amin((2, 3), keepdim=True), plain[0].amax((2, 3), keepdim=True)
    torch.testing.assert_close(made[0], (plain[0] - least) / (most - least), atol=1e-6, rtol=1e-6)
    assert torch.equal(made[1], plain[1]) and torch.equal(made[2], plain[2].clamp(0, 1))
    torch.testing.assert_close(made[3], plain[3] / plain[3].amax((1, 2, 3), keepdim=True), atol=1e-6, rtol=1e-6)
    black = everything(pixels, Filter(masks * 0, after="maxnorm"))
    assert torch.equal(black, torch.zeros_like(black))  # and no 0/0
    for after in ("png", ["raw"], ["clip"] * 5):
        with pytest.raises(UsageError, match="after must be one of raw, clip, maxnorm, minmax, uint8wrap, or one for"):
            Filter(masks, after=after)
    with pytest.raises(UsageError, match='needs a scorer of domain="pixels"'):
        everything(scorer, Filter(masks, after="clip"))


def test_clean_images_stand_beside_those_in_noise():
    images = Images(3, side=32)
    scorer = Scorer(Wide(), images, batch_size=8)
    made = everything(scorer, BandNoise([(None, 0.0), (1, 0.08)]))
    torch.testing.assert_close(made[0], normalised(images.images / 255.0), atol=2e-6, rtol=1e-6)
    assert not torch.allclose(made[1, :, 0], made[0, :, 0], atol=0.1)
