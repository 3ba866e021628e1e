"""Training: that it learns, repeats, reports and refuses."""

import json

import pytest
import torch
from torch import nn

from freqkit.data import synthetic
from freqkit.errors import UsageError
from freqkit.models import Classifier, load_model, state_sha256
from freqkit.training import evaluate, recipe, save_weights, train
from freqkit.training.evaluate import rates
from freqkit.training.schedules import batches_of, rate_at

SMALL = {"epochs": 2, "batch_size": 16, "lr": 0.1}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def small():
    return synthetic(1, images_per_class=10)


@pytest.mark.measured
def test_the_small_network_learns_the_planted_set(tmp_path):
    train_set = synthetic(1, images_per_class=300, seed=0)
    test_set = synthetic(1, images_per_class=100, seed=1)
    model = load_model("small_convnet")
    history = train(model, train_set, val_set=test_set, epochs=10, batch_size=64, lr=0.1, follow=40, follow_until=40)
    # What has one band alone is learned within the first iterations (Wang et al., ICCV 2023).
    assert history["learning"]["steps"] == [0, 40] and history["learning"]["f1"][1][3] > 0.9
    assert history["val"]["accuracy"] > 0.95 and not model.training
    assert history["val"]["classes"]["C3"]["f1"] > 0.97 and history["val"]["classes"]["C0"]["f1"] > 0.95
    save_weights(model, tmp_path / "net.safetensors")
    again = load_model("small_convnet", weights=tmp_path / "net.safetensors")
    assert evaluate(again, test_set)["confusion"] == history["val"]["confusion"]
    json.dumps([history, model.record], allow_nan=False)


def test_repeats_bit_for_bit(small):
    def run(**change):
        model = load_model("small_convnet", seed=change.pop("init", 0))
        model.network.head = nn.Sequential(nn.Dropout(0.5), model.network.head)
        history = train(model, small, **{**SMALL, **change})
        return state_sha256(model.network), history

    before = torch.random.get_rng_state()
    first, history = run()
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(3)
    assert run() == (first, history)
    assert run(seed=1)[0] != first and run(init=1)[0] != first


def test_matches_a_plain_loop(small):
    model, twin = load_model("small_convnet"), load_model("small_convnet")
    history = train(model, small, epochs=2, batch_size=16, lr=0.05, label_smoothing=0.1, warmup=1, seed=7)
    twin.train()
    stepper = torch.optim.SGD(twin.parameters(), lr=1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    losses = []
    # 40 images: three steps an epoch; one epoch of warm-up, then half a cosine.
    rates = [0.05 * share for share in (0.25, 0.5, 0.75, 1, 0.75, 0.25)]
    for step, batch in enumerate(batches_of(40, 16, 7, 0) + batches_of(40, 16, 7, 1)):
        stepper.param_groups[0]["lr"] = rates[step]
        logits = twin(small.images[batch].float() / 255)
        loss = nn.functional.cross_entropy(logits, small.labels[batch], label_smoothing=0.1)
        stepper.zero_grad()
        loss.backward()
        stepper.step()
        losses.append(loss.item() * len(batch))
    assert history["epochs"][1]["loss"] == pytest.approx(sum(losses[3:]) / 40, rel=1e-3)
    for mine, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-3, rtol=1e-2)


def test_batches_cover_every_image_once_and_none_is_alone():
    for count, size in ((40, 16), (33, 16), (17, 16), (1, 16), (5, 1), (64, 64)):
        batches = batches_of(count, size, 0, 0)
        assert sorted(torch.cat(batches).tolist()) == list(range(count))
        assert size == 1 or count == 1 or min(map(len, batches)) > 1
    assert not torch.equal(torch.cat(batches_of(40, 16, 0, 0)), torch.cat(batches_of(40, 16, 0, 1)))


def test_schedules():
    constant, stepped, waved = (recipe(schedule=name) for name in ("none", "step", "cosine"))
    assert [rate_at(s, 4, 0, constant) for s in range(4)] == [1] * 4
    assert [rate_at(s, 8, 0, stepped) for s in range(8)] == pytest.approx([1] * 4 + [0.1] * 2 + [0.01] * 2)
    cosine = [rate_at(s, 10, 0, waved) for s in range(10)]
    assert cosine[0] == 1 and cosine == sorted(cosine, reverse=True) and 0 < cosine[-1] < 0.05


def test_progress_adamw_and_frozen_parts(small):
    model = load_model("small_convnet")
    for parameter in model.network.features.parameters():
        parameter.requires_grad_(False)
    frozen = model.network.features[0].weight.clone()
    calls = []
    train(
        model, small, **{**SMALL, "lr": 1e-2}, optimizer="adamw", schedule="none",
        progress=lambda done, total: calls.append((done, total)),
    )  # fmt: skip
    assert calls == [(i, 6) for i in range(1, 7)]
    assert torch.equal(model.network.features[0].weight, frozen)
    assert model.record["trained"]["optimizer"] == "adamw" and "momentum" not in model.record["trained"]
    assert model.record["trained"]["train_fingerprint"] == small.fingerprint


def test_rates_from_counts():
    report = rates(torch.tensor([[3, 1, 0], [2, 4, 0], [0, 0, 0]]), ["a", "b", "c"])
    assert report["accuracy"] == 0.7
    assert report["classes"]["a"] == {"images": 4, "accuracy": 0.75, "precision": 0.6, "f1": 2 * 3 / 9}
    assert report["classes"]["c"] == {"images": 0, "accuracy": None, "precision": None, "f1": None}
    assert report["macro_f1"] == pytest.approx((6 / 9 + 8 / 11) / 2)


def test_evaluate_agrees_with_a_plain_count(small):
    model = load_model("small_convnet", num_classes=6, seed=3).train()
    report = evaluate(model, small, batch_size=7)
    assert model.training, "the flag is put back"
    model.eval()
    with torch.inference_mode():
        logits = model(small.images.float() / 255)
    assert report["loss"] == pytest.approx(float(nn.functional.cross_entropy(logits, small.labels)), rel=1e-5)
    for true in range(4):
        row = torch.bincount(logits.argmax(1)[small.labels == true], minlength=6)
        assert report["confusion"][true] == row.tolist()


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"epochs": 0}, "epochs must be an integer >= 1; got 0"),
        ({"batch_size": 1.5}, "batch_size must be an integer"),
        ({"lr": float("nan")}, "lr must be a positive number"),
        ({"lr": 0}, "lr must be a positive number"),
        ({"optimizer": "lion"}, "optimizer must be one of sgd, adam, adamw, adagrad, adadelta, rmsprop; got 'lion'"),
        ({"schedule": "linear"}, "schedule must be one of"),
        ({"warmup": 3}, "warmup must lie in 0..epochs"),
        ({"label_smoothing": 1}, "label_smoothing"),
        ({"weight_decay": -1}, "weight_decay"),
        ({"seed": -1}, "seed must be an integer >= 0"),
    ],
    ids=str,
)
def test_wrong_arguments(small, change, sentence):
    with pytest.raises(UsageError, match=sentence):
        train(load_model("small_convnet"), small, **{**SMALL, **change})


def test_sets_that_do_not_fit(small):
    with pytest.raises(UsageError, match="4 classes, the model 3"):
        train(load_model("small_convnet", num_classes=3), small, **SMALL)
    with pytest.raises(UsageError, match="it is empty"):
        train(load_model("small_convnet"), small.subset([]), **SMALL)
    other = synthetic(1, images_per_class=1)
    other.classes = ["w", "x", "y", "z"]
    with pytest.raises(UsageError, match="val_set must have the classes of train_set"):
        train(load_model("small_convnet"), small, val_set=other, **SMALL)
    fixed = Classifier(nn.Flatten(), mean=(0,) * 3, std=(1,) * 3, num_classes=3072)
    with pytest.raises(UsageError, match="require gradients"):
        train(fixed, small, **SMALL)


def test_divergence_is_an_error(small):
    with pytest.raises(RuntimeError, match=r"loss became (nan|inf) in epoch"):
        train(load_model("small_convnet"), small, epochs=20, batch_size=16, lr=1e30)
