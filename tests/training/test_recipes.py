"""Recipes as data, and that each of their parts does what its name says."""

import copy

import pytest
import torch
from torch import nn

from freqkit.data import synthetic
from freqkit.data.augment import Augment, mix
from freqkit.errors import UsageError
from freqkit.masks import DfmFile, disc, high_pass, uncentred
from freqkit.models import load_model, state_sha256
from freqkit.training import RECIPES, OtherClassMaps, ShortcutRemoval, recipe, train
from freqkit.training.schedules import Plateau, batches_of
from freqkit.training.spectral import normalised


@pytest.fixture(scope="module")
def small():
    return synthetic(1, images_per_class=10)


def test_the_published_recipe():
    published = recipe("iccv2023")
    assert (published.optimizer, published.lr, published.momentum, published.nesterov) == ("sgd", 0.01, 0.9, True)
    assert (published.weight_decay, published.batch_size, published.epochs) == (1e-4, 64, 200)
    assert (published.schedule, published.factor, published.patience) == ("plateau", 0.1, 10)
    assert published.augment == ("pad", "flip", "resized-crop") and published.val_fraction == 0.1
    for name in RECIPES:
        assert recipe(name, epochs=7).epochs == 7
    assert "patience" in published.record and "momentum" not in recipe("timm-like").record
    with pytest.raises(UsageError, match="one of plain, iccv2023"):
        recipe("iccv")
    with pytest.raises(UsageError, match="no setting 'epoch'"):
        recipe(epoch=3)


@pytest.mark.parametrize("name", list(RECIPES))
def test_every_recipe_trains_and_repeats(small, name):
    def run():
        model = load_model("small_convnet")
        history = train(model, small, recipe=recipe(name, epochs=2, batch_size=16, warmup=0), seed=3)
        return state_sha256(model.network), history

    first, history = run()
    assert run() == (first, history)
    assert (history["val"] is not None) == (name == "iccv2023")


def test_plateau_is_torchs():
    parameter = nn.Parameter(torch.zeros(1))
    stepper = torch.optim.SGD([parameter], lr=1.0)
    theirs, ours = torch.optim.lr_scheduler.ReduceLROnPlateau(stepper, factor=0.1, patience=2), Plateau(0.1, 2)
    for loss in (3, 2, 2, 1.9999, 2, 2, 2.5, 1, 1, 1, 1, 1, 1, 1, 0.5, 0.6, 0.6, 0.6):
        theirs.step(loss)
        ours.see(loss)
        assert ours.scale == pytest.approx(stepper.param_groups[0]["lr"], rel=1e-9)


def test_averaged_weights(small):
    model, twin = load_model("small_convnet"), load_model("small_convnet")
    train(model, small, epochs=1, batch_size=16, lr=0.05, schedule="none", ema=0.3, seed=2)
    mean = copy.deepcopy(twin.network.state_dict())
    twin.train()
    stepper = torch.optim.SGD(twin.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
    for step, batch in enumerate(batches_of(40, 16, 2, 0)):
        loss = nn.functional.cross_entropy(twin(small.images[batch].float() / 255), small.labels[batch])
        stepper.zero_grad()
        loss.backward()
        stepper.step()
        decay = min(0.3, (1 + step) / (10 + step))
        for name, value in twin.network.state_dict().items():
            mean[name] = decay * mean[name] + (1 - decay) * value
    for name in ("head.weight", "features.1.running_var"):
        torch.testing.assert_close(model.network.state_dict()[name], mean[name], atol=1e-4, rtol=1e-3)


def test_norms_are_not_decayed(small):
    still = load_model("small_convnet")
    before = {name: p.detach().clone() for name, p in still.network.named_parameters()}
    train(
        still,
        small,
        epochs=1,
        batch_size=40,
        lr=1e-12,
        weight_decay=1e10,
        schedule="none",
        decay_norms=False,
        momentum=0,
    )
    for name, p in still.network.named_parameters():
        kept = torch.allclose(p.detach(), before[name], rtol=1e-4, atol=1e-6)
        assert kept == (p.ndim <= 1), name


# --- augmentation


def test_an_image_is_augmented_by_its_number_alone(small):
    names = ("crop", "flip", "randaugment", "augmix", "resized-crop", "autoaugment", "trivialaugment")
    whole = Augment(names, 40, seed=1, epoch=2)(small.images, torch.arange(40))
    before = torch.random.get_rng_state()
    some = torch.tensor([31, 4, 17])
    assert torch.equal(Augment(names, 40, seed=1, epoch=2)(small.images[some], some), whole[some])
    assert torch.equal(torch.random.get_rng_state(), before)
    assert whole.shape == small.images.shape and whole.dtype == torch.uint8
    assert not torch.equal(Augment(names, 40, seed=1, epoch=3)(small.images, torch.arange(40)), whole)


def test_crop_and_flip():
    image = torch.arange(3 * 8 * 8).remainder(256).to(torch.uint8).view(1, 3, 8, 8).expand(400, -1, -1, -1)
    cropped = Augment(["crop"], 400, seed=0, epoch=0)
    padded = nn.functional.pad(image[0], (4,) * 4)
    windows = {padded[:, i : i + 8, j : j + 8].numpy().tobytes() for i in range(9) for j in range(9)}
    got = [one.numpy().tobytes() for one in cropped(image, torch.arange(400))]
    assert set(got) <= windows and len(set(got)) > 70, "all 81 windows, and nothing else"
    flipped = Augment(["flip"], 400, seed=0, epoch=0)(image, torch.arange(400))
    turned = (flipped == image.flip(3)).flatten(1).all(1)
    assert ((flipped == image).flatten(1).all(1) ^ turned).all() and 150 < int(turned.sum()) < 250


def test_the_published_order_of_augmentations():
    """Padded, flipped, and of that a random window at the old size: the pixels of a window of the padded image."""
    from torchvision.transforms import v2

    images = (torch.arange(6 * 3 * 16 * 16) * 7919 % 251).to(torch.uint8).view(6, 3, 16, 16)
    augment = Augment(recipe("iccv2023").augment, 6, seed=3, epoch=1)
    got = augment(images, torch.arange(6))
    assert got.shape == images.shape and got.dtype == torch.uint8
    for i, image in enumerate(images):
        padded = nn.functional.pad(image, (4,) * 4)
        padded = padded.flip(2) if augment.mirrored[i] else padded
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed((augment.seeds[i] + 2) % 2**63)
            assert torch.equal(got[i], v2.RandomResizedCrop((16, 16), antialias=True)(padded))
    for names in (("pad",), ("pad", "flip"), ("resized-crop", "pad"), ("pad", "crop", "resized-crop")):
        with pytest.raises(UsageError, match="'pad' must be followed by 'resized-crop'"):
            recipe(augment=names)


def test_mix_keeps_shares():
    x, labels = torch.rand(6, 3, 8, 8), torch.tensor([0, 1, 2, 3, 0, 1])
    mixed, shares = mix(x, labels, 4, mixup=0.5, cutmix=0)
    partner = nn.functional.one_hot(labels.roll(1), 4).float()
    share = (shares - partner)[0, 0]  # image 0: its own label's share
    torch.testing.assert_close(mixed, share * x + (1 - share) * x.roll(1, 0))
    assert mix(x, labels, 4, mixup=0, cutmix=0)[1] is labels
    with pytest.raises(UsageError, match="augment must be some of"):
        recipe(augment=("crop", "crop"))


def test_filtered_by_another_class(small):
    """DFM-X against a plain loop over images with torch's complex transforms."""
    model = load_model("small_convnet")
    masks = torch.stack([disc(32, 3), disc(32, 6), high_pass(32, 5), 0.5 * disc(32, 9)])
    augment = OtherClassMaps(DfmFile(masks, small.classes), p=0.8).bind(small, seed=4, device="cpu")
    augment.start(1)
    some = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    x, labels = small.images[some].float() / 255, small.labels[some]
    got = normalised(model, x, labels, some, [augment])
    changed = 0
    for i, position in enumerate(some.tolist()):
        expected = model.normalise(x[i : i + 1])[0].double()
        j = int(augment.drawn[position])
        if augment.happens[position] and j != int(labels[i]):
            mask = masks[j].double().clone()
            mask[16, 16] = 1
            expected = torch.fft.ifft2(torch.fft.fft2(expected) * uncentred(mask[None])[0]).real
            changed += 1
        torch.testing.assert_close(got[i].double(), expected, atol=1e-5, rtol=1e-4)
    assert 12 < changed < 36, "0.8 * 3/4 of 40"
    augment.start(2)
    assert not torch.equal(normalised(model, x, labels, some, [augment]), got)


def test_own_shortcut_removed_and_both_at_once(small):
    model = load_model("small_convnet")
    maps = DfmFile(disc(32, 4)[None], ["C2"])
    removal = ShortcutRemoval(maps, p=1.0).bind(small, seed=0, device="cpu")
    other = OtherClassMaps(DfmFile(disc(32, 8)[None], ["C0"]), p=1.0).bind(small, seed=0, device="cpu")
    for augment in (removal, other):
        augment.start(0)
    everyone = torch.arange(40)
    x = small.images.float() / 255
    got = torch.fft.fftshift(torch.fft.fft2(normalised(model, x, small.labels, everyone, [removal, other])), dim=(2, 3))
    whole = torch.fft.fftshift(torch.fft.fft2(model.normalise(x)), dim=(2, 3))
    inner, outer = disc(32, 4).clone(), disc(32, 8)
    inner[16, 16] = 0
    for name, mask in (("C0", torch.ones(32, 32)), ("C1", outer), ("C2", outer * (1 - inner)), ("C3", outer)):
        rows = small.labels == small.classes.index(name)
        torch.testing.assert_close(got[rows], whole[rows] * mask, atol=2e-3, rtol=1e-3)


def test_spectral_augmentations_in_training(small):
    def run(*spectral):
        model = load_model("small_convnet")
        train(model, small, epochs=1, batch_size=16, lr=0.05, spectral=spectral)
        return state_sha256(model.network), model.record["trained"]["spectral"]

    everything = DfmFile(torch.ones(4, 32, 32), small.classes)
    half = DfmFile(disc(32, 5).expand(4, -1, -1).clone(), small.classes)
    assert run()[0] != run(OtherClassMaps(half, p=0.5))[0]
    assert run(OtherClassMaps(half, p=0.0))[0] == run()[0]
    assert run(ShortcutRemoval(half, p=0.5))[1][0]["p"] == 0.5
    with pytest.raises(UsageError, match="images' size"):
        run(OtherClassMaps(DfmFile(torch.ones(4, 16, 16), small.classes)))
    with pytest.raises(UsageError, match="got 'cat'"):
        run(OtherClassMaps(DfmFile(torch.ones(1, 32, 32), ["cat"])))
    with pytest.raises(UsageError, match="p must be a number in 0"):
        OtherClassMaps(everything, p=2)
