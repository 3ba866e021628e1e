"""Optimisers, Mix-up's share, dropout, BatchNorm at evaluation, components, shuffled labels."""

import pytest
import torch
from torch import nn

from freqkit.data import synthetic
from freqkit.data.components import components
from freqkit.errors import UsageError
from freqkit.models import load_model, state_sha256
from freqkit.models.normalisation import batch_statistics
from freqkit.training import evaluate, recipe, train
from freqkit.training.dropout import dropout
from freqkit.training.pixels import Component


@pytest.fixture(scope="module")
def small():
    return synthetic(1, images_per_class=6)


def run(small, **changes):
    model = load_model("small_convnet", seed=0)
    found = train(model, small, epochs=1, batch_size=8, lr=0.01, **changes)
    return state_sha256(model.network), found


def test_records_of_before_are_the_same():
    assert [*recipe().record] == [
        "epochs", "batch_size", "lr", "optimizer", "momentum", "nesterov", "weight_decay", "decay_norms", "schedule",
        "warmup", "label_smoothing", "clip", "ema", "precision", "augment", "mixup", "cutmix", "val_fraction",
    ]  # fmt: skip
    assert recipe(component="low", radius=4).record["encoding"] == "raw"


def test_each_changes_what_is_learned_and_repeats(small):
    ways = [
        {}, {"optimiser": "adam"}, {"optimiser": "adagrad"}, {"optimiser": "adadelta"}, {"optimiser": "rmsprop"},
        {"dropout": 0.5}, {"shuffle_labels": 1.0}, {"component": "low", "radius": 4}, {"mixup": 0.5},
        {"component": "high", "radius": 4, "encoding": "minmax"}, {"mixup": 0.5, "mixup_lambda": "cvpr2020"},
    ]  # fmt: skip
    found = [run(small, **way)[0] for way in ways]
    assert len({*found}) == len(ways)
    assert run(small, dropout=0.5)[0] == found[5]
    # evaluation alone
    weights, plain = run(small, bn_eval="batch")
    assert weights == found[0] and plain["train"]["loss"] != run(small)[1]["train"]["loss"]


@pytest.mark.parametrize("way,kind", [("adagrad", torch.optim.Adagrad), ("adadelta", torch.optim.Adadelta),
                                      ("rmsprop", torch.optim.RMSprop)])  # fmt: skip
def test_goes_on_to_the_same_bits(small, way, kind, tmp_path):
    def one(**more):
        model = load_model("small_convnet", seed=0)
        train(model, small, epochs=2, batch_size=8, optimizer=way, dropout=0.2, **more)
        return state_sha256(model.network)

    class Stop(Exception):
        pass

    def stop(done, total):
        if done == 5:
            raise Stop

    with pytest.raises(Stop):
        one(out=tmp_path / "run", progress=stop)
    assert one(out=tmp_path / "run", resume=True) == one()


def test_mixup_is_drawn_once_a_batch_from_beta_1_1():
    """The share's law: uniform with "cvpr2020", whatever alpha; Beta(1/2, 1/2) has variance 1/8, not 1/12."""
    from freqkit.data.augment import mix

    torch.manual_seed(0)
    labels = torch.tensor([0, 1, 2, 3])
    for way, variance in (("alpha", 1 / 8), ("cvpr2020", 1 / 12)):
        alpha, shares = recipe(mixup=0.5, mixup_lambda=way).mixup_alpha, []
        for _ in range(1500):
            x = torch.eye(4)[:, None, None, :].expand(4, 3, 2, 4).contiguous()
            mixed, share = mix(x, labels, 4, mixup=alpha, cutmix=0)
            own = share.diagonal()
            assert torch.allclose(own, own[:1].expand(4)), "one share a batch"
            for i in range(4):
                want = own[i] * x[i] + (1 - own[i]) * x[i - 1]
                assert torch.allclose(mixed[i], want, atol=1e-6)
            shares.append(float(own[0]))
        assert torch.tensor(shares).var().item() == pytest.approx(variance, rel=0.08)


def test_batch_statistics_against_a_loop(small):
    model = load_model("small_convnet", seed=0)
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    got = evaluate(model, small, batch_size=7, bn_eval="batch")
    after = model.network.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    order = torch.randperm(24, generator=torch.Generator().manual_seed(0))
    loss, right = 0.0, 0
    for some in order.split(7):
        x = ((small.images[some].double() / 255) - 0.5) / 0.25
        for part in model.network.features:
            if isinstance(part, nn.BatchNorm2d):
                mean = x.mean((0, 2, 3), keepdim=True)
                x = (x - mean) / ((x - mean) ** 2).mean((0, 2, 3), keepdim=True).add(part.eps).sqrt()
                x = x * part.weight.double().view(1, -1, 1, 1) + part.bias.double().view(1, -1, 1, 1)
            elif isinstance(part, nn.Conv2d):
                x = nn.functional.conv2d(x, part.weight.double(), padding=1)
            else:
                x = part(x)
        logits = x.mean((2, 3)) @ model.network.head.weight.double().T + model.network.head.bias.double()
        own = small.labels[some]
        loss -= float(logits.log_softmax(1)[torch.arange(len(own)), own].sum().detach())
        right += int((logits.argmax(1) == own).sum())
    assert got["loss"] == pytest.approx(loss / 24, rel=1e-5) and got["accuracy"] == pytest.approx(right / 24)


def test_whoever_looks_sees_the_same_statistics(small):
    model = load_model("small_convnet", seed=0)
    looks = {"per_radius": [0.5], "follow": 3}
    found = train(model, small, epochs=1, batch_size=8, lr=0.05, bn_eval="batch", **looks)
    confusion = torch.tensor(evaluate(model, small, batch_size=8, bn_eval="batch")["confusion"])
    own = confusion.diagonal().double()
    f1 = 2 * own / (confusion.sum(0) + confusion.sum(1))
    assert found["learning"]["steps"] == [0, 3] and found["learning"]["f1"][-1] == pytest.approx(f1.tolist())
    assert found["train"]["confusion"] == confusion.tolist()
    # inside one another, and gone afterwards
    with batch_statistics(model):
        with batch_statistics(model):
            pass
        assert "forward" in model.network.features[1].__dict__
    assert "forward" not in model.network.features[1].__dict__


def test_dropout_is_of_features_and_of_training_alone():
    head = nn.Linear(400, 2)
    seen = []
    head.register_forward_hook(lambda _, given, out: seen.append(given[0]))
    with dropout(head, 0.25):
        head(torch.ones(50, 400))
    head(torch.ones(1, 400))
    assert {*seen[0].unique().tolist()} == {0.0, torch.tensor(1 / 0.75).item()}
    assert float((seen[0] == 0).float().mean()) == pytest.approx(0.25, abs=0.02) and torch.all(seen[1] == 1)


@pytest.mark.parametrize("encoding", ["raw", "maxnorm", "minmax", "uint8wrap"])
def test_component_is_that_of_the_data(small, encoding):
    bound = Component("high", 5, encoding).bind(small, seed=0, device="cpu")
    some = torch.tensor([3, 11, 8])
    want = components(small.images[some], 5, "high", encoding=encoding)
    want = want.float() / 255 if encoding == "uint8wrap" else want
    torch.testing.assert_close(bound(small.images[some].float() / 255, some), want, atol=1e-6, rtol=0)


def test_the_plain_resnet():
    torch.manual_seed(0)
    model = load_model("cifar_resnet32_plain")
    net = model.network
    convs = [part for part in net.modules() if isinstance(part, nn.Conv2d)]
    assert len(convs) == 31 and all(conv.bias is None for conv in convs)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in net.modules())
    x = torch.rand(2, 3, 32, 32)
    # without biases the body is homogeneous
    assert torch.allclose(net(3 * x), 3 * net(x), rtol=1e-4, atol=1e-5) and not net.linear.bias.any()
    assert net(torch.rand(2, 3, 27, 33)).shape == (2, 10)


@pytest.mark.parametrize("changes,words", [
    ({"optimiser": "lbfgs"}, "optimizer must be one of sgd, adam"), ({"dropout": 1.0}, "dropout must lie in 0..1"),
    ({"bn_eval": "both"}, "bn_eval must be one of running, batch; got 'both'"),
    ({"component": "low"}, "component and radius need each other"), ({"encoding": "minmax"}, "needs component"),
    ({"component": "mid", "radius": 3}, "component must be one of None, low, high; got 'mid'"),
    ({"mixup_lambda": "cvpr2020"}, "needs mixup above 0"), ({"shuffle_labels": 2}, "shuffle_labels must lie in 0..1"),
    ({"optimiser": "sgd", "optimizer": "adam"}, "are one setting"),
])  # fmt: skip
def test_sentences(changes, words):
    with pytest.raises(UsageError) as caught:
        recipe(**changes)
    assert words in str(caught.value)
