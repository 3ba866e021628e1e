"""Adversarial training: the images it makes against a plain loop, and trainings that go on to the same bits."""

import pytest
import torch
from torch import nn

from freqkit.data import ImageSet, synthetic
from freqkit.engine import Attack
from freqkit.errors import UsageError
from freqkit.models import Classifier, load_model, state_sha256
from freqkit.training import Adversary, train

IMAGES = synthetic(1, images_per_class=6)


def plain(model, x, labels, eps, step, steps, norm):
    """x <- clip01(clip_eps(x + a way)), no random start, an image at a time."""
    model, made = model.eval(), []
    for image, label in zip(x, labels, strict=True):
        now = image.clone()
        for _ in range(steps):
            now.requires_grad_(True)
            loss = nn.functional.cross_entropy(model(now[None]), label[None])
            (slope,) = torch.autograd.grad(loss, now)
            way = slope.sign() if norm == "linf" else slope / slope.norm()
            delta = now.detach() + step * way - image
            delta = delta.clamp(-eps, eps) if norm == "linf" else delta * min(1.0, eps / float(delta.norm()))
            now = (image + delta).clamp(0, 1)
        made.append(now.detach())
    return torch.stack(made)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_images_are_those_of_a_plain_loop(norm):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 5, stride=3), nn.Tanh(), nn.Flatten(), nn.LazyLinear(4)).double()
    x = IMAGES.images.double() / 255
    network(x[:1])
    model = Classifier(network, mean=(0.4, 0.5, 0.4), std=(0.2, 0.3, 0.2), num_classes=4)
    text, eps, step = {"linf": ("pgd:eps=6:steps=5:step=2:restarts=0", 6 / 255, 2 / 255),
                       "l2": ("pgd-l2:eps=0.7:steps=5:step=0.3:restarts=0", 0.7, 0.3)}[norm]  # fmt: skip
    found = Adversary(text)(model, x, IMAGES.labels, torch.arange(len(x)), 0)
    expected = plain(model, x, IMAGES.labels, eps, step, 5, norm)
    assert (found - expected).abs().max() < 1e-7 and (found - x).abs().max() > 1e-3


def test_a_linear_network_is_moved_to_the_corner_of_the_ball():
    torch.manual_seed(1)
    linear = nn.Linear(3 * 8 * 8, 2)
    model = Classifier(nn.Sequential(nn.Flatten(), linear), mean=(0, 0, 0), std=(1, 1, 1), num_classes=2)
    x, labels = torch.full((4, 3, 8, 8), 0.5), torch.tensor([0, 1, 0, 1])
    found = Adversary("fgsm:eps=8")(model, x, labels, torch.arange(4), 0)
    away = (linear.weight[1] - linear.weight[0]).sign().view(3, 8, 8)
    for image, label in zip(found, labels, strict=True):
        assert torch.allclose(image - 0.5, 8 / 255 * (away if label == 0 else -away), atol=1e-6)


def test_every_image_stays_in_its_ball_and_random_starts_depend_on_epoch_and_image_alone():
    model, adversary = load_model("small_convnet", num_classes=4), Adversary("pgd:eps=8:steps=3:step=4")
    x, places = IMAGES.images.float() / 255, torch.arange(len(IMAGES))
    made = adversary(model, x, IMAGES.labels, places, 2)
    assert (made - x).abs().max() <= 8 / 255 + 1e-6 and made.min() >= 0 and made.max() <= 1
    some = torch.tensor([5, 3])
    assert torch.allclose(adversary(model, x[some], IMAGES.labels[some], some, 2), made[some], atol=1e-6)
    assert not torch.allclose(adversary(model, x, IMAGES.labels, places, 3), made, atol=1e-3)
    assert adversary.record["judged"] == "last" and Adversary(Attack("fgsm", eps=4)).passes == 2


def trained(**how):
    model = load_model("small_convnet", num_classes=4)
    return model, train(model, IMAGES, epochs=3, batch_size=8, lr=0.05, **how)


def test_no_radius_is_no_attack_and_a_stopped_training_goes_on(tmp_path):
    clean, _ = trained()
    assert state_sha256(trained(adversarial="pgd:eps=0")[0].network) == state_sha256(clean.network)
    text = "pgd:eps=8:steps=2"
    whole, history = trained(adversarial=text, out=tmp_path / "whole")
    assert state_sha256(whole.network) != state_sha256(clean.network)
    assert whole.record["trained"]["adversarial"]["steps"] == 2

    class Stop(BaseException):
        pass

    def stop(done, total):
        if done == 5:
            raise Stop

    with pytest.raises(Stop):
        trained(adversarial=text, out=tmp_path / "part", progress=stop)
    again, more = trained(adversarial=text, out=tmp_path / "part", resume=True)
    assert more["epochs"] == history["epochs"] and state_sha256(again.network) == state_sha256(whole.network)
    with pytest.raises(UsageError, match="adversarial"):
        trained(adversarial="pgd:eps=4:steps=2", out=tmp_path / "part", resume=True)


def test_a_plan_counts_the_attack():
    _, plan = trained(dry_run=True, adversarial="pgd:eps=8:steps=2")
    _, without = trained(dry_run=True)
    assert plan["forwards"] - without["forwards"] == 3 * 3 * len(IMAGES)
    assert plan["backwards"] - without["backwards"] == 3 * 2 * len(IMAGES)


def test_attacked_training_makes_a_sturdier_network():
    """A linear problem with one strong and many weak hints: without attacks the weak ones are learned, too."""
    chance = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 2
    x = torch.rand(400, 3, 16, 16, generator=chance) * 0.1 + 0.45
    sign = (labels * 2 - 1).view(-1, 1, 1).float()
    x[:, :, 0, 0] += 0.2 * sign[:, :, 0]
    x[:, :, 1:] += 0.01 * sign[:, None]
    images = ImageSet((x * 255).round().to(torch.uint8), labels, ["a", "b"], [f"{i}" for i in range(400)])

    def robust(**how):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(768, 2))
        model = Classifier(network, mean=(0.5,) * 3, std=(0.25,) * 3, num_classes=2)
        train(model, images, epochs=8, batch_size=50, lr=0.1, augment=(), **how)
        pixels = images.images.float() / 255
        moved = Adversary("pgd:eps=10:steps=5:step=4")(model, pixels, labels, torch.arange(400), 9)
        return (model(moved).argmax(1) == labels).float().mean().item()

    assert robust(adversarial="pgd:eps=10:steps=5:step=4") > robust() + 0.1


@pytest.mark.parametrize(
    "ask, words",
    [
        ("autoattack", "must be a pgd or fgsm attack"), ("pgd:band=own", "must not ask for maps"),
        ("pgd:restarts=3", "restarts 0 or 1; got 3"), (3, "must be a pgd or fgsm attack"),
    ],
)  # fmt: skip
def test_what_training_cannot_do_is_refused(ask, words):
    with pytest.raises(UsageError, match=words):
        Adversary(ask)
