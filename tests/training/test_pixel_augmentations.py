"""Random cut-offs and noise of a band against plain loops over images in float64."""

import math

import numpy as np
import pytest
import torch

from freqkit.data import as_images, synthetic
from freqkit.errors import UsageError
from freqkit.models import load_model
from freqkit.models.weights import state_sha256
from freqkit.training import BandPass, DiffusionNoise, train
from freqkit.training.spectral import normalised


def some_images(size, count=30, seed=0):
    rng = np.random.default_rng(seed)
    pixels = torch.from_numpy(rng.integers(0, 256, (count, 3, *size), dtype=np.uint8))
    return as_images((pixels, torch.arange(count) % 2), "test")


def bound(augment, images, seed=3, epoch=2):
    found = augment.bind(images, seed=seed, device="cpu")
    found.start(epoch)
    return found


def low_passed(plane, keep):
    """`keep(u, v)` of signed frequencies says which stay; one plane, one DFT sum written with numpy's."""
    h, w = plane.shape
    spectrum = np.fft.fft2(plane)
    for i in range(h):
        for j in range(w):
            u, v = (i + h // 2) % h - h // 2, (j + w // 2) % w - w // 2
            if not keep(u, v):
                spectrum[i, j] = 0
    return np.fft.ifft2(spectrum).real


@pytest.mark.parametrize("size", [(12, 12), (9, 14), (11, 7)])
@pytest.mark.parametrize("preset", ["default", "cvpr2024"])
def test_random_cutoffs(size, preset):
    images = some_images(size)
    augment = bound(BandPass(p=0.5, preset=preset), images)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    x = images.images[order].float() / 255
    got, changed, clipped = augment(x, order), 0, 0
    h, w = size
    for i, position in enumerate(order.tolist()):
        if not augment.happens[position]:
            assert torch.equal(got[i], x[i])
            continue
        changed += 1
        draw = float(augment.drawn[position])
        for channel in range(3):
            plane = x[i, channel].double().numpy()
            if preset == "cvpr2024":
                cut = min(0.9, max(0.1, draw))
                rows, columns = int(cut * (h // 2)), int(cut * (w // 2))
                want = low_passed(plane, lambda u, v, r=rows, c=columns: -r <= u < r and -c <= v < c)
                clipped += ((want < 0) | (want > 1)).sum()
                want = want.clip(0, 1)
            else:
                reach, side = (0.1 + 0.8 * draw) * min(size) / 2, min(size)
                want = low_passed(plane, lambda u, v, r=reach, s=side: math.hypot(u * s / h, v * s / w) < r)
                assert abs(want.mean() - plane.mean()) < 1e-12
            assert np.abs(got[i, channel].double().numpy() - want).max() < 2e-6
    assert 6 < changed < 24
    assert preset == "default" or clipped  # that it clips is seen


@pytest.mark.parametrize("band,inside", [("", lambda r: True), ("low-3", lambda r: r < 3), ("high-2", lambda r: r >= 2),
                                         ("1.5-4", lambda r: 1.5 <= r < 4)])  # fmt: skip
def test_noise_of_a_band(band, inside):
    size, count = (10, 10), 400
    images = some_images(size, count)
    augment = bound(DiffusionNoise(p=1.0, band=band), images)
    x = images.images.double() / 255
    everyone = torch.arange(count)
    left = augment.drawn.sqrt().view(-1, 1, 1, 1)
    noise = (augment(x, everyone) - left * x) / (1 - left**2).sqrt()
    # variance 1, whatever the band, and nothing outside of it
    assert float(noise.var()) == pytest.approx(1, abs=0.03) and abs(float(noise.mean())) < 0.02
    power = np.abs(np.fft.fft2(noise.numpy())) ** 2
    radii = [[math.hypot((i + 5) % 10 - 5, (j + 5) % 10 - 5) for j in range(10)] for i in range(10)]
    share = np.array([[inside(r) for r in row] for row in radii])
    assert power[..., ~share].max(initial=0) < 1e-6
    mean = power[..., share].mean((0, 1))
    assert mean.min() > 0.8 * mean.mean() and mean.max() < 1.25 * mean.mean()
    # of a x + s e with a = sqrt(U) the mean of a^2 is 1/2: as much noise as image is left
    assert float((left**2).mean()) == pytest.approx(0.5, abs=0.05)
    # sqrt(1 - a^2), not sqrt(1 - a^a)
    one = bound(DiffusionNoise(p=1.0), images)
    one.drawn[:] = 0.36
    got = one(torch.zeros_like(x), everyone)
    assert float(got.std()) == pytest.approx(0.8, abs=0.01)


def test_what_is_drawn_belongs_to_the_image():
    images = some_images((8, 8))
    x = images.images.float() / 255
    for make in (lambda: BandPass(0.7), lambda: DiffusionNoise(0.7, band="low-3")):
        augment = bound(make(), images)
        whole = augment(x, torch.arange(30))
        for part in (torch.tensor([7]), torch.tensor([29, 3, 11])):
            assert torch.equal(bound(make(), images)(x[part], part), whole[part])
        assert not torch.equal(bound(make(), images, epoch=3)(x, torch.arange(30)), whole)
        assert not torch.equal(bound(make(), images, seed=4)(x, torch.arange(30)), whole)
        assert torch.equal(x, images.images.float() / 255)  # the images are left as they are
        assert torch.equal(bound(type(augment)(0.0), images)(x, torch.arange(30)), x)


def test_pixels_come_before_the_normalisation():
    images = some_images((32, 32), 8)
    model, x = load_model("small_convnet"), images.images.float() / 255
    augment = bound(BandPass(1.0, preset="cvpr2024"), images)
    got = normalised(model, x, images.labels, torch.arange(8), [augment])
    want = model.normalise(augment(x, torch.arange(8)))
    assert torch.equal(got, want) and got.min() < -1  # what is clipped are pixels


def test_in_training():
    small = synthetic(1, images_per_class=6)

    def run(*spectral):
        model = load_model("small_convnet")
        train(model, small, epochs=1, batch_size=8, lr=0.05, spectral=spectral)
        return state_sha256(model.network), model.record["trained"]["spectral"]

    plain, low, noise = run(), run(BandPass()), run(DiffusionNoise(band="high-4"))
    assert len({plain[0], low[0], noise[0]}) == 3
    assert low[1] == [{"augmentation": "band-pass", "p": 0.5, "preset": "default"}]
    assert noise[1] == [{"augmentation": "diffusion-noise", "p": 0.5, "band": "high-4"}]
    assert run(BandPass())[0] == low[0]


@pytest.mark.parametrize(
    "make,words",
    [
        (lambda: BandPass(1.5), "band-pass: p must be a number in 0..1; got 1.5"),
        (lambda: BandPass(preset="iccv2023"), "preset must be one of default, cvpr2024; got 'iccv2023'"),
        (lambda: DiffusionNoise(band="middle"), "band must be low-R, high-R or A-B, or empty; got 'middle'"),
        (lambda: DiffusionNoise(band="5-3"), "band must be low-R, high-R or A-B, or empty; got '5-3'"),
        (lambda: bound(DiffusionNoise(band="high-99"), some_images((8, 8))), "holds no frequency of images of"),
    ],
)  # fmt: skip
def test_sentences(make, words):
    with pytest.raises(UsageError) as caught:
        make()
    assert words in str(caught.value)
