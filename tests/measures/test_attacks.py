"""Attacks against foolbox, against plain formulas, and what each of them promises."""

import math

import pytest
import torch
from torch import nn

from freqkit.errors import UsageError
from freqkit.measures import Attack, attack

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
SIDE = 8


@pytest.fixture(scope="module")
def world():
    """A small network, 24 images in [0.05, 0.95], its answers."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.Tanh(), nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(72, 5)
        )
    network.requires_grad_(False)
    network[-1].weight *= 6
    x = torch.rand(24, 3, SIDE, SIDE, generator=generator) * 0.9 + 0.05
    return network, x, ask(network, x).argmax(1)


def ask(network, x):
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    return network((x - mean) / std)


def run(world, spec, *, x=None, targets=None, masks=None, answers=None, **more):
    network, own, said = world
    x = own if x is None else x
    targets = said if targets is None else targets
    answers = said if answers is None else answers
    keys = [str(i) for i in range(len(x))]
    return attack(network, x, targets, spec, mean=MEAN, std=STD, answers=answers, keys=keys, masks=masks, **more)


def gradient(network, x, targets, loss="ce"):
    x = x.clone().requires_grad_()
    logits = ask(network, x)
    value = (
        nn.functional.cross_entropy(logits, targets, reduction="sum")
        if loss == "ce"
        else -logits.gather(1, targets[:, None]).sum()
    )
    return torch.autograd.grad(value, x)[0]


@pytest.mark.parametrize(
    "text,name,options",
    [
        ("fgsm:eps=6", "LinfFastGradientAttack", {}),
        ("fgsm-l2:eps=0.4", "L2FastGradientAttack", {}),
        (
            "pgd:eps=6:steps=7:restarts=0",
            "LinfPGD",
            {"steps": 7, "random_start": False, "abs_stepsize": 2.5 * 6 / 255 / 7},
        ),
        (
            "pgd-l2:eps=0.4:steps=7:restarts=0",
            "L2PGD",
            {"steps": 7, "random_start": False, "abs_stepsize": 2.5 * 0.4 / 7},
        ),
    ],
)
def test_as_foolbox_does_it(world, text, name, options):
    foolbox = pytest.importorskip("foolbox", reason="foolbox is not installed")
    network, x, said = world
    spec = Attack.parse(text)
    found = run(world, spec)

    class Pixels(nn.Module):
        def forward(self, x):
            return ask(network, x)

    model = foolbox.PyTorchModel(Pixels().eval(), bounds=(0, 1), device="cpu")
    _, theirs, lost = getattr(foolbox.attacks, name)(**options)(model, x, said, epsilons=spec.radius)
    if spec.kind == "fgsm":
        assert torch.allclose(found.images, theirs, atol=2e-6)
        assert torch.equal(found.answers != said, lost)
        assert 0 < lost.sum() < len(x)
        return
    # Ours stops at the first success and keeps the best iterate, foolbox takes the last: ours is never weaker.
    assert ((found.answers != said) >= lost).all()
    kept = found.answers == said
    ours, last = (
        nn.functional.cross_entropy(ask(network, v[kept]), said[kept], reduction="none") for v in (found.images, theirs)
    )
    assert (ours >= last - 1e-5).all()


def test_published_fgsm_by_its_formula(world):
    """x + eps sign(grad of -z_y), clamped to [0, 1]; filtered images leave the range and are clamped, too."""
    network, x, _ = world
    filtered = (x - 0.5) * 1.4 + 0.5  # beyond [0, 1] in places
    said = ask(network, filtered).argmax(1)
    found = run(world, Attack(eps=8, loss="logit", clamp="clip"), x=filtered, targets=said, answers=said)
    want = (filtered + 8 / 255 * gradient(network, filtered, said, "logit").sign()).clamp(0, 1)
    assert torch.allclose(found.images, want, atol=1e-6)
    ours = run(world, Attack(eps=8, loss="logit"), x=filtered, targets=said, answers=said)
    assert (ours.images - filtered).abs().max() <= 8 / 255 + 1e-6
    assert (found.images - filtered).abs().max() > 8 / 255 + 0.01  # the clamp alone moves pixels


def test_only_recognised_images_are_attacked(world):
    _, x, said = world
    targets = said.clone()
    targets[::2] = (said[::2] + 1) % 5
    found = run(world, Attack(eps=8), targets=targets)
    assert torch.equal(found.images[::2], x[::2])
    assert torch.equal(found.answers[::2], said[::2])
    assert found.backwards == 12


def test_nothing_is_nothing(world):
    _, x, said = world
    masks = torch.ones(len(x), SIDE, SIDE // 2 + 1)
    for spec in (
        Attack(eps=0),
        Attack("pgd", eps=0),
        Attack("pgd", eps=0, norm="l2", band="own"),
        Attack(eps=0, refilter=True),
    ):
        found = run(world, spec, masks=masks)
        assert torch.equal(found.images, x)
        assert torch.equal(found.answers, said)


@pytest.mark.parametrize("norm,eps", [("linf", 4.0), ("l2", 0.3)])
def test_the_ball_and_the_range(world, norm, eps):
    _, x, said = world
    spec = Attack("pgd", eps=eps, norm=norm, steps=8, restarts=3)
    found = run(world, spec)
    delta = found.images - x
    size = delta.abs().amax((1, 2, 3)) if norm == "linf" else delta.flatten(1).norm(dim=1)
    assert (size <= spec.radius * (1 + 1e-4) + 1e-6).all()
    assert found.images.min() >= 0
    assert found.images.max() <= 1
    again = run(world, spec, batch_size=5)
    assert torch.equal(found.answers, again.answers)  # random starts belong to the image, not to the batch
    one = run(world, Attack("pgd", eps=eps, norm=norm, steps=8, restarts=1))
    assert ((found.answers != said) >= (one.answers != said)).all()
    steps = 8 * 3 * len(x)
    assert found.backwards < steps  # lost images stop by themselves


def test_a_band_limited_change_stays_in_its_band(world):
    _, x, _ = world
    inner = (x - 0.5) * 0.5 + 0.5  # far from 0 and 1: nothing is clipped
    for text in ("fgsm:eps=8:band=low-2.5", "pgd:eps=8:steps=5:band=2-3", "pgd-l2:eps=0.5:steps=5:band=high-2"):
        spec = Attack.parse(text)
        found = run(
            world, spec, x=inner, answers=ask(world[0], inner).argmax(1), targets=ask(world[0], inner).argmax(1)
        )
        delta = (found.images - inner).double()
        share = torch.fft.rfft2(delta).abs().amax((0, 1)) * (1 - spec.band_mask((SIDE, SIDE)).double())
        assert share.max() < 1e-4 * torch.fft.rfft2(delta).abs().max()
        assert found.outside < 1e-6
        size = delta.abs().amax((1, 2, 3)) if spec.norm == "linf" else delta.flatten(1).norm(dim=1)
        assert (size <= spec.radius * (1 + 1e-4) + 1e-6).all()
        if spec.kind == "fgsm":
            assert torch.allclose(size, torch.full_like(size, spec.radius), rtol=1e-4)  # the step is used up
    own = torch.zeros(len(x), SIDE, SIDE // 2 + 1)
    own[:, 0, 0] = 1
    found = run(
        world,
        Attack(eps=4, band="own"),
        x=inner,
        masks=own,
        answers=ask(world[0], inner).argmax(1),
        targets=ask(world[0], inner).argmax(1),
    )
    delta = found.images - inner
    assert (delta - delta.mean((2, 3), keepdim=True)).abs().max() < 1e-6  # only the mean may move
    clipped = run(world, Attack.parse("fgsm:eps=60:band=low-2.5"))
    assert clipped.outside > 0.001  # said, not hidden


def test_through_the_filter(world):
    """refilter: the gradient is that of network and filter together, by plain torch.fft."""
    network, x, _ = world
    mask = torch.zeros(SIDE, SIDE)
    mask[0, 0] = mask[0, 1] = mask[0, -1] = mask[2, 0] = mask[-2, 0] = 1
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))

    def through(x):
        return network(torch.fft.ifft2(torch.fft.fft2((x - mean) / std) * mask).real)

    said = through(x).argmax(1)
    leaf = x.clone().requires_grad_()
    nn.functional.cross_entropy(through(leaf), said, reduction="sum").backward()
    want = (x + 4 / 255 * leaf.grad.sign()).clamp(0, 1)
    masks = mask[:, : SIDE // 2 + 1].expand(len(x), -1, -1)
    found = run(world, Attack(refilter=True), masks=masks, targets=said, answers=said)
    close = (found.images - want).abs() < 1e-5
    assert close.float().mean() > 0.999  # a gradient of nought may take either sign
    assert torch.equal(found.answers, through(found.images).argmax(1))


def test_packages_that_are_missing_and_there(world, monkeypatch):
    modules = __import__("sys").modules
    monkeypatch.setitem(modules, "autoattack", None)
    monkeypatch.setitem(modules, "pyautoattack", None)
    with pytest.raises(UsageError, match="needs the package autoattack"):
        run(world, Attack("autoattack"))
    monkeypatch.setitem(modules, "foolbox", None)
    with pytest.raises(UsageError, match=r"attack foolbox.LinfPGD needs the package foolbox: pip install foolbox"):
        run(world, Attack("foolbox.LinfPGD"))


def test_autoattack_as_an_engine(world, monkeypatch):
    """Either package is asked for its standard version, with the ball and the seed; its images are what counts."""
    import types

    _, x, _ = world
    asked = []

    class Engine:
        def __init__(self, network, **how):
            asked.append(how)
            self.eps = how["eps"]

        def run_standard_evaluation(self, x, y, **how):
            asked.append(how)
            images = (x + self.eps).clamp(0, 1)
            return images if "bs" in how else (images, y)  # as the two packages do

    monkeypatch.setitem(__import__("sys").modules, "pyautoattack", types.SimpleNamespace(AutoAttack=Engine))
    monkeypatch.setitem(__import__("sys").modules, "autoattack", None)
    found = run(world, Attack("autoattack", eps=8.0, seed=5))
    want = {"norm": "Linf", "eps": 8 / 255, "version": "standard", "seed": 5, "device": "cpu"}
    assert asked[:2] == [want, {"batch_size": 64}]
    assert torch.equal(found.answers, ask(world[0], (x + 8 / 255).clamp(0, 1)).argmax(1))
    monkeypatch.setitem(__import__("sys").modules, "autoattack", types.SimpleNamespace(AutoAttack=Engine))
    run(world, Attack("autoattack", eps=8.0, seed=5))
    assert asked[2:] == [{**want, "verbose": False}, {"bs": 64}]


def test_foolbox_as_an_engine(world):
    pytest.importorskip("foolbox", reason="foolbox is not installed")
    found = run(world, Attack("foolbox.LinfDeepFoolAttack", eps=8.0))
    assert (found.images - world[1]).abs().max() <= 8 / 255 * 1.001 + 1e-6
    assert (found.answers != world[2]).any()
    with pytest.raises(UsageError, match=r"foolbox.attacks has no 'Nothing'"):
        run(world, Attack("foolbox.Nothing"))
    with pytest.raises(UsageError, match="it left the l2 ball"):
        run(world, Attack("foolbox.LinfFastGradientAttack", eps=0.1, norm="l2"))


@pytest.mark.parametrize(
    "text,said",
    [
        ("bim", "kind must be one of fgsm, pgd, autoattack"),
        ("pgd:eps=-1", "eps must be a number of at least 0; got -1.0"),
        ("pgd:steps=0", "steps must be an integer of at least 1; got 0"),
        ("pgd:steps=many", "'many' is no value of steps"),
        ("pgd:radius=3", "'radius' is none of eps, norm"),
        ("fgsm:band=middle", "band must be own, low-R, high-R or A-B"),
        ("autoattack:band=own", "autoattack knows neither band nor refilter"),
    ],
)
def test_faults(text, said):
    with pytest.raises(UsageError, match=said):
        Attack.parse(text)


def test_masks_are_needed(world):
    with pytest.raises(UsageError, match="needs the masks of the images' classes"):
        run(world, Attack(band="own"))
    assert math.isnan(run(world, Attack(eps=1)).outside)


def test_lengths_written_as_fractions_and_options_that_would_do_nothing():
    assert Attack.parse("fgsm:eps=4/255") == Attack.parse("fgsm:eps=4")
    assert Attack.parse("fgsm:eps=4/255").under("cvpr2025").eps == 4
    assert Attack.parse("pgd:eps=8/255:step=2/255").stride == 2 / 255
    assert Attack.parse("pgd-l2:eps=128/255").radius == 128 / 255
    for text, words in (
        ("fgsm:steps=20", "steps is of pgd"), ("fgsm-cvpr2025:restarts=1", "restarts is of pgd"),
        ("fgsm:eps=4:eps=8", "eps must be given once"), ("pgd-l2:norm=linf", "pgd-l2 is one within l2"),
        ("fgsm:eps=4/25", "'4/25' is no value of eps"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=words):
            Attack.parse(text)
