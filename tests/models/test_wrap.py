"""Any network, or any function that gives logits, where a model is taken: understood, or one sentence."""

import collections
import copy
import functools
import json
import types
import warnings

import pytest
import torch
from torch import nn

import freqkit
from freqkit.data import synthetic
from freqkit.errors import UsageError
from freqkit.models import Classifier, load_model, state_sha256
from freqkit.registry import MEASURES
from tests.measures_at_hand import asks_of_images, small_result

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HOW = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
ASKING = [name for name in MEASURES if asks_of_images(name)]


def net(classes=4, seed=0):
    torch.manual_seed(seed)
    layers = nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
    return nn.Sequential(*layers, nn.Dropout(0.5), nn.Linear(32, classes))


@pytest.fixture(scope="module")
def images():
    return synthetic(images_per_class=2, size=16)


def state(network):
    """All that must not change: weights, modes, devices, attributes, hooks."""
    modes = [(name, part.training, sorted(map(str, vars(part)))) for name, part in network.named_modules()]
    return state_sha256(network), modes, [p.requires_grad for p in network.parameters()]


# What is inferred


def test_a_network_of_timm_says_what_it_needs():
    timm = pytest.importorskip("timm", reason="timm is not installed")
    network = timm.create_model("mobilenetv3_small_050.lamb_in1k", num_classes=5)
    model, by_name = freqkit.wrap(network), load_model("mobilenetv3_small_050.lamb_in1k", num_classes=5)
    for part in ("mean", "std", "num_classes", "input_size", "name"):
        assert getattr(model, part) == getattr(by_name, part), part
    assert (model.record["normalisation"], model.record["tag"]) == ("timm", "lamb_in1k")
    assert state_sha256(model.network) == state_sha256(network)
    with pytest.warns(freqkit.models.NormalisationWarning, match="as given, while timm's configuration of it says"):
        assert freqkit.wrap(network, **HOW).mean == HOW["mean"]
    holder = nn.Module()
    holder.model, holder.forward = network, network.forward
    assert freqkit.wrap(holder).mean == model.mean, "a module around one network of timm"


def test_networks_and_weights_of_torchvision():
    models = pytest.importorskip("torchvision.models", reason="torchvision is not installed")
    network, weights = models.squeezenet1_1(), models.SqueezeNet1_1_Weights.DEFAULT
    model = freqkit.wrap(network, weights=weights)
    assert (model.mean, model.std, model.input_size) == (tuple(weights.transforms().mean), STD, (224, 224))
    assert model.class_names[:2] == ["tench", "goldfish"] and model.transform["crop_pct"] == 224 / 256
    assert freqkit.data.preprocessing.of_model(model, 224).side == 256
    assert freqkit.wrap(network).mean == MEAN, "all weights of an architecture have one normalisation"
    with pytest.raises(UsageError, match="which mean and std SqueezeNet was trained with is not known"):
        freqkit.wrap(models.squeezenet1_1(num_classes=7))
    with pytest.raises(UsageError, match="must be an entry of a weights enum of torchvision"):
        freqkit.wrap(network, weights="DEFAULT")


def test_networks_that_normalise_themselves_or_keep_numbers_for_their_users():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = net()
            self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))

        def forward(self, x):
            return self.body((x - self.mean) / 0.25)

    model = freqkit.wrap(Own())
    assert (model.mean, model.std, model.record["normalises_itself"]) == ((0,) * 3, (1,) * 3, ["mean"])
    with pytest.raises(UsageError, match=r"normalises its input itself .* applied twice"):
        freqkit.wrap(Own(), **HOW)
    left = net()
    left.mean, left.std = MEAN, STD
    assert freqkit.wrap(left).mean == MEAN
    left.mean = torch.zeros(64)
    assert freqkit.wrap(left, **HOW).mean == HOW["mean"], "something else of that name"
    with pytest.raises(UsageError, match="wrap: mean must be three finite numbers"):
        freqkit.wrap(left)


class Output(collections.OrderedDict):
    """As a ModelOutput of Hugging Face: names, and attributes of the same names."""

    __getattr__ = collections.OrderedDict.__getitem__


class OfHuggingFace(nn.Module):
    def __init__(self, place=None, image_size=16):
        super().__init__()
        self.body = net()
        labels = {0: "cat", 1: "dog", 2: "owl", 3: "yak"}
        self.config = types.SimpleNamespace(
            num_labels=4, id2label=labels, image_size=image_size, _name_or_path=str(place or "")
        )

    def forward(self, pixel_values):
        return Output(loss=None, logits=self.body(pixel_values), hidden_states=(pixel_values,))


def test_networks_of_hugging_face(tmp_path, images):
    network = OfHuggingFace()
    with pytest.raises(UsageError, match=r"mean=processor.image_mean, std=processor.image_std\) if these"):
        freqkit.wrap(network)
    model = freqkit.wrap(network, **HOW)
    assert (model.class_names, model.input_size, model.num_classes) == (["cat", "dog", "owl", "yak"], (16, 16), 4)
    assert model.record["state_sha256"] == state_sha256(network), "as without what picks the logits"
    x = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(model.eval()(x), network.body.eval()((x - 0.5) / 0.25))
    says = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.2], "do_normalize": True}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(says))
    assert freqkit.wrap(OfHuggingFace(tmp_path)).mean == (0.5, 0.4, 0.3)
    found = freqkit.score(network_with(network, HOW), images, torch.ones(1, 16, 16), batch_size=8)
    plain = freqkit.score(freqkit.wrap(network.body, **HOW), images, torch.ones(1, 16, 16), batch_size=8)
    assert torch.equal(found.loss, plain.loss)


def network_with(network, how):
    """The network with mean and std for its users, so that it needs no words."""
    network.mean, network.std = how["mean"], how["std"]
    return network


class Returns(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.body, self.make = net(), make

    def forward(self, x):
        return self.make(self.body(x))


@pytest.mark.parametrize(
    "make, how",
    [
        (lambda z: (z, z[:, :3]), {"num_classes": 4}),
        (lambda z: (z[:, :1, None], z), {}),
        (lambda z: {"features": z[:, :2], "logits": z}, {}),
        (lambda z: {"out": z, "aux": 2 * z}, {"output": "out"}),
        (lambda z: [2 * z, z], {"output": 1}),
        (lambda z: collections.namedtuple("Outputs", "logits aux_logits")(z, 2 * z), {}),
    ],
)
def test_logits_among_other_outputs(make, how):
    model, x = freqkit.wrap(Returns(make), **HOW, **how).eval(), torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(model(x), model.network.network.body((x - 0.5) / 0.25))
    assert copy.deepcopy(model)(x).shape == (2, 4)


@pytest.mark.parametrize(
    "made, how, sentence",
    [
        (Returns(lambda z: (z, 2 * z)), {}, r"returns a tuple of \[2, 4\], \[2, 4\] for .* output="),
        (Returns(lambda z: {"a": z, "b": z}), {"output": "c"}, "has no output 'c'"),
        (Returns(lambda z: z[:, :, None]), {}, r"must return logits \[B, classes\]; got \[2, 4, 1\] for 2 images"),
        (Returns(lambda z: z.mean()), {}, r"must return logits \[B, classes\]; got \[\]"),
        (Returns(lambda z: "z"), {}, "it returns a str"),
        (Returns(lambda z: z[:, :1]), {}, "one number for each image; a logit for each class is needed"),
        (net(), {"num_classes": 5}, "gives 4 logits; got num_classes=5"),
        (net(), {"class_names": ["a"]}, "class_names must name the 4 logits; got 1 names"),
        (net(), {"std": None}, "mean and std must be given together"),
        (net(), {"mean": (123.7, 116.3, 103.5)}, r"in 0\.\.\.255"),
        (nn.Sequential(nn.Conv2d(3, 5, 8), nn.Flatten()), {}, "number of classes .*it gives more logits for larger"),
        (nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten()), {}, "not evident .* expected input.* to have 1 channels"),
        (
            nn.Conv2d(1, 4, 3),
            {"input_size": (8, 8)},
            "could not be asked: on images of 8x8 pixels it raised RuntimeError: ",
        ),
        (nn.Sequential(nn.LazyConv2d(4, 3)), {}, "has lazy layers; show it one batch"),
        (nn.Linear(3, 3, device="meta"), {}, "has no weights"),
        (nn.Linear, {}, "got the class Linear"),
        (None, {}, "must be an nn.Module or a function .* got a NoneType"),
        ("resnet18", {}, "got a str"),
    ],
)
def test_what_cannot_be_inferred_is_one_sentence(made, how, sentence):
    with pytest.raises(UsageError, match=rf"^(wrap|Classifier): .*{sentence}") as caught:
        freqkit.wrap(made, **{**HOW, **how})
    assert "\n" not in str(caught.value)


def test_no_normalisation_is_guessed(images):
    for ask in (freqkit.wrap, lambda network: freqkit.score(network, images, torch.ones(1, 16, 16))):
        with pytest.raises(
            UsageError, match=r"(wrap|score): which mean and std Sequential was .* freqkit.wrap\(net, mean"
        ):
            ask(net())
    with pytest.raises(UsageError, match="which mean and std a function was trained with"):
        freqkit.wrap(lambda x: x.mean((2, 3)))


# Holders, modes, types, devices


def test_what_holds_a_network_is_taken_off():
    network = net()
    for holder in (nn.DataParallel(network), torch.compile(network), nn.DataParallel(torch.compile(network))):
        model = freqkit.wrap(holder, **HOW)
        assert model.network is network and model.record["state_sha256"] == state_sha256(network)
    averaged = torch.optim.swa_utils.AveragedModel(network)
    assert freqkit.wrap(averaged, **HOW).network is averaged.module


def test_exported_and_scripted_networks():
    network, x = net().eval(), torch.rand(2, 3, 16, 16)
    exported = torch.export.export(network, (x,))
    with pytest.raises(UsageError, match=r"got a ExportedProgram; give its module\(\)"):
        freqkit.wrap(exported, **HOW)
    for program in (exported.module(), torch.jit.trace(network, x), torch.jit.script(network)):
        model = freqkit.wrap(program, **HOW, input_size=(16, 16))
        torch.testing.assert_close(model(x), network((x - 0.5) / 0.25))
        assert len(model.record["state_sha256"]) == 64 and copy.deepcopy(model)(x).shape == (2, 4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_networks_of_other_types_are_asked_in_float32(images, dtype):
    network = network_with(net().to(dtype), HOW)
    found = freqkit.score(network, images, torch.ones(1, 16, 16), batch_size=8)
    same = freqkit.score(network_with(copy.deepcopy(network).float(), HOW), images, torch.ones(1, 16, 16), batch_size=8)
    assert torch.equal(found.loss, same.loss) and next(network.parameters()).dtype == dtype
    report = freqkit.training.evaluate(network, images)
    assert report["images"] == len(images)


def test_quantised_networks(images):
    layers = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 4))
    one, two = (torch.ao.quantization.quantize_dynamic(layers, {nn.Linear}) for _ in range(2))
    model = freqkit.wrap(one, **HOW, input_size=(16, 16))
    assert model.record["state_sha256"] == freqkit.wrap(two, **HOW, input_size=(16, 16)).record["state_sha256"]
    found = freqkit.score(model, images, torch.ones(1, 16, 16), batch_size=8)
    plain = freqkit.score(freqkit.wrap(layers, **HOW), images, torch.ones(1, 16, 16), batch_size=8)
    torch.testing.assert_close(found.loss, plain.loss, atol=0.05, rtol=0.05)
    with torch.no_grad():
        layers[1].weight.add_(1)
    other = torch.ao.quantization.quantize_dynamic(layers, {nn.Linear})
    assert model.record["state_sha256"] != freqkit.wrap(other, **HOW, input_size=(16, 16)).record["state_sha256"]


# Every entry


def calls(images, tmp_path):
    from freqkit import search, training
    from freqkit.engine import Scorer
    from freqkit.engine.examples import examples_of
    from freqkit.masks import DfmFile

    everything, small = torch.ones(1, 16, 16), {"batch_size": 8}
    maps = DfmFile(torch.ones(4, 16, 16), list(images.classes))
    others = synthetic(images_per_class=2, size=16, seed=1)
    return {
        "score": lambda m: freqkit.score(m, images, everything, **small).loss,
        "Scorer": lambda m: Scorer(m, images, **small).score(everything).loss,
        "hfss": lambda m: search.hfss(m, images, candidates=3, top=1, stages=1, **small).masks,
        "learned": lambda m: search.learned(m, images, steps=1, **small).masks,
        "evolve": lambda m: search.evolve(m, images, generations=1, candidates=2, elite=1, **small).masks,
        "greedy": lambda m: search.greedy(m, images, **small).masks,
        "removal": lambda m: search.removal(m, images, patch=8, **small).loss,
        "gradient": lambda m: search.gradient(m, images, patch=8, rescore=0.5, **small).masks,
        "estimate_removal": lambda m: search.estimate_removal(m, images, patch=8).total,
        "compare_searchers": lambda m: torch.tensor(
            [len(search.compare_searchers(
                m, images, others, searchers=["removal"], efforts={"removal": [8]}, per_class=1, seeds=1, **small
            ).rows)]
        ),
        **{name: functools.partial(_values, name, images, maps) for name in ASKING},
        "evaluate": lambda m: torch.tensor(training.evaluate(m, images)["confusion"]),
        "examples_of": lambda m: torch.from_numpy(examples_of(m, images, maps.masks, maps.classes)[0].after),
    }  # fmt: skip


def _values(measure, images, maps, model):
    """Every number that a measure finds."""
    rows = small_result(measure, model, images, maps).rows()
    return torch.tensor([float("nan") if row["value"] is None else row["value"] for row in rows])


@pytest.mark.parametrize("name", [
    "score", "Scorer", "hfss", "learned", "evolve", "greedy", "removal", "gradient", "estimate_removal",
    "compare_searchers", *ASKING, "evaluate", "examples_of",
])  # fmt: skip
def test_every_entry_takes_a_network_as_it_takes_a_classifier(images, tmp_path, name):
    network = network_with(net(), HOW)
    network[0].eval()  # a mode of its own
    before, call = state(network), calls(images, tmp_path)[name]
    found = call(network)
    assert state(network) == before, "the network was changed"
    same = call(Classifier(copy.deepcopy(network), num_classes=4, name="Sequential", **HOW))
    assert torch.equal(torch.as_tensor(found).nan_to_num(), torch.as_tensor(same).nan_to_num())
    with pytest.raises(UsageError, match=r"^[\w-]+: which mean and std Sequential was trained with is not known"):
        call(net())


def test_evaluation_doctor_and_training_take_networks(tmp_path, images):
    from freqkit.data import open_sets, write_image_folder
    from freqkit.masks import DfmFile
    from freqkit.measures import evaluate
    from freqkit.measures.evaluation.doctor import check_model
    from freqkit.training import train

    network = network_with(net(), HOW)
    write_image_folder(images, tmp_path / "mine")
    sets = open_sets([f"mine={tmp_path / 'mine'}"])
    maps, x = DfmFile(torch.ones(4, 16, 16), list(images.classes)), torch.rand(2, 3, 16, 16)
    model = freqkit.wrap(network)
    both = [("net", network), ("made", lambda: network), ("asked", freqkit.wrap(lambda x: model.network(x), **HOW))]
    found = evaluate(both, sets, maps, image_size=16, batch_size=4)
    assert found.value("top-1", model="net", set="mine") == found.value("top-1", model="asked", set="mine")
    assert check_model(network, sets, image_size=16, images=8)
    before = state_sha256(network)
    train(network, images, epochs=1, batch_size=8, lr=0.1)
    assert state_sha256(network) != before, "a network is trained in place"
    with pytest.raises(UsageError, match="require gradients"):
        train(freqkit.wrap(zero_shot()[0], **HOW), images, epochs=1)
    assert network(x).shape == (2, 4)


def test_logits_that_have_names_are_asked_in_their_order(images):
    names, ones = list(images.classes), torch.ones(1, 16, 16)
    for wrong in (names[::-1], [names[0], "else", *names[1:]]):
        model = freqkit.wrap(net(len(wrong)), **HOW, class_names=wrong)
        with pytest.raises(UsageError, match=r"another order than the images' classes \(number .* give class_index="):
            freqkit.score(model, images, ones, batch_size=8)
        with pytest.raises(UsageError, match=r"another order .* load them with classes=model\.class_names"):
            freqkit.training.evaluate(model, images)
        index = [model.class_names.index(name) for name in names]
        assert freqkit.score(model, images, ones, batch_size=8, class_index=index).counts.sum() == len(images)
    model = freqkit.wrap(net(), **HOW, class_names=["other", "names", "than", "these"])
    assert freqkit.score(model, images, ones, batch_size=8).counts.sum() == len(images)


# Functions


def zero_shot(scale=10.0, seed=0):
    """A stand-in of CLIP's two towers, and the function that makes a classifier of them."""
    torch.manual_seed(seed)
    tower = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5)
    )
    texts = nn.functional.normalize(torch.randn(4, 8), dim=1)

    def logits(x):
        return scale * nn.functional.normalize(tower(x), dim=1) @ texts.T

    return logits, tower


def test_functions_are_asked_like_networks(images):
    function, tower = zero_shot()
    before = state(tower)
    model = freqkit.wrap(function, **HOW, class_names=images.classes)
    assert model.num_classes == 4 and model.name == "logits" and model.class_names == list(images.classes)
    one, two = (freqkit.score(model, images, torch.ones(2, 16, 16), batch_size=size) for size in (8, 4))
    torch.testing.assert_close(one.loss, two.loss)  # the tower's dropout is off
    assert state(tower) == before
    found = freqkit.learned(model, images, steps=1, batch_size=8)
    assert found.masks is not None

    def frozen(x):
        with torch.no_grad():
            return function(x)

    with pytest.raises(UsageError, match="gives no gradients"):
        freqkit.learned(freqkit.wrap(frozen, **HOW), images, steps=1, batch_size=8)
    with pytest.raises(UsageError, match="computes in its own type; float64 needs a network"):
        freqkit.score(model, images, torch.ones(1, 16, 16), dtype="float64")
    arrays = freqkit.wrap(lambda x: function(x).detach().numpy(), **HOW)
    torch.testing.assert_close(freqkit.score(arrays, images, torch.ones(2, 16, 16), batch_size=8).loss, one.loss)


def test_a_function_is_identified_by_what_it_holds():
    def sha(function, **how):
        return freqkit.wrap(function, **HOW, **how).record["state_sha256"]

    (one, tower), (same, _), (other, _), (scaled, _) = zero_shot(), zero_shot(), zero_shot(seed=1), zero_shot(scale=5.0)
    assert sha(one) == sha(same) != sha(other) and sha(one) != sha(scaled)
    assert len({sha(one), sha(lambda x: one(x)), sha(lambda x: 2 * one(x))}) == 3
    assert sha(functools.partial(one)) == sha(one)
    before = sha(one)
    with torch.no_grad():
        tower[0].bias.add_(1)
    assert sha(one) != before

    class Clip:
        def __init__(self, tower):
            self.tower = tower

        def __call__(self, x):
            return self.tower(x)

    assert sha(Clip(tower)) == sha(Clip(copy.deepcopy(tower))) != sha(Clip(net(8)))
    assert sha(Clip(tower).__call__) != "0" * 64
    plain, others = (lambda x: x.mean((2, 3))), (lambda x: x.amax((2, 3)))
    assert sha(plain) == sha(others) == "0" * 64, "nothing is known of them"
    assert sha(plain, name="a") != sha(plain, name="b") and "0" * 64 not in (sha(plain, name="a"),)
    assert sha(same, name="a") == sha(scaled, name="a") != sha(other, name="a"), "a name stands for code and numbers"


def test_a_function_without_a_name_cannot_be_resumed(tmp_path):
    images = synthetic(images_per_class=1, size=16).subset([0, 1, 2])
    images.classes = images.classes[:3]
    how = {"candidates": 3, "top": 1, "stages": 1, "batch_size": 8, "out": tmp_path / "run"}

    def search(name, **more):
        return freqkit.hfss(freqkit.wrap(colours, mean=(0,) * 3, std=(1,) * 3, name=name), images, **how, **more)

    search(None)
    with pytest.raises(UsageError, match=r"cannot resume, for the model is a function in which nothing .* name=\.\.\."):
        search(None, resume=True)
    search("colours", overwrite=True)
    assert search("colours", resume=True) is not None
    with pytest.raises(UsageError, match="cannot resume, for the run differs in model"):
        search("others", resume=True)


def colours(x):
    return x.mean((2, 3))


def test_wrapping_is_silent_where_nothing_is_wrong(images):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = freqkit.wrap(net(), **HOW)
    assert model.training and model.record["source"] == "wrapped" and json.dumps(model.record)
    with pytest.raises(UsageError, match="is a Classifier already"):
        freqkit.wrap(model)
