"""`study:NAME`: every form of checkpoint that its projects published, made up from narrow networks of the same keys."""

import csv
import json

import pytest
import torch

pytest.importorskip("timm", reason="timm, which makes the study's networks, is not installed")

from freqkit.errors import UsageError
from freqkit.models import NormalisationWarning, list_models, load_model, model_names, study_models, study_zoo
from freqkit.models.study_zoo import STUDY, build, wanted

CLASSES = 5
REAL_BUILD = build


def narrow(entry, num_classes=None):
    """The entry's network, thin: the same keys but for the number of blocks."""
    import timm
    from timm.models.resnet import Bottleneck, ResNet
    from torchvision.models import VisionTransformer

    if entry.architecture.startswith("resnet50"):
        network = ResNet(Bottleneck, (1, 2, 1, 1), num_classes=CLASSES, channels=(4, 4, 4, 4))
        network.pretrained_cfg = timm.get_pretrained_cfg(entry.architecture).to_dict()
        return network
    if entry.architecture == "torchvision/vit_b_16":
        return VisionTransformer(224, 16, 1, 2, 8, 8, num_classes=CLASSES)
    more = dict(embed_dim=8, depth=1, num_heads=2) if "vit" in entry.architecture else {}
    return timm.create_model(entry.architecture, num_classes=CLASSES, **more, **entry.more)


@pytest.fixture(autouse=True)
def thin(monkeypatch):
    monkeypatch.setattr(study_zoo, "build", narrow)


@pytest.fixture
def made(tmp_path):
    """(name, what is put around the state dict) -> written as its first file; gives the trained network's state."""

    def make(name, around=lambda state: state, file=None, folder=tmp_path):
        torch.manual_seed(len(name))
        state = {
            key: torch.rand_like(v) if v.is_floating_point() else v
            for key, v in narrow(STUDY[name]).state_dict().items()
        }
        place = folder / (file or wanted(name).files[0])
        place.parent.mkdir(exist_ok=True)
        torch.save(around(state), place)
        return state

    return make


def loaded(name, folder, state, **how):
    """The network of the study, whose weights must be `state`."""
    model = load_model(f"study:{name}", weights_dir=folder, **how)
    own = model.network.state_dict()
    assert own.keys() == state.keys() and all(torch.equal(own[key], state[key]) for key in own)
    assert model.record["weights"]["missing"] == model.record["weights"]["unexpected"] == []
    return model


def parallel(state):
    return {f"module.{key}": value for key, value in state.items()}


def attacked(state):
    """A training by attacks has the network twice, and what normalises twice."""
    normal = {"new_mean": torch.zeros(3, 1, 1), "new_std": torch.ones(3, 1, 1)}
    return {
        "model": {
            **{f"module.normalizer.{key}": value for key, value in normal.items()},
            **{f"module.model.{key}": value for key, value in state.items()},
            **{f"module.attacker.normalize.{key}": value for key, value in normal.items()},
            **{f"module.attacker.model.{key}": value + 1 for key, value in state.items()},
        },
        "epoch": 90,
    }


def two_norms(state):
    aux = {
        f"{key.rpartition('.')[0]}.aux_bn.{key.rpartition('.')[2]}": value + 1
        for key, value in state.items()
        if ".running_" in f".{key}" or "bn" in key
    }
    return {"state_dict": parallel({**state, **aux}), "arch": "mixbn"}


def from_tensorflow(state):
    """The names of the port, and its projections first, as it keeps them."""
    unit = {"conv1": "net.0", "bn1": "net.1.0", "conv2": "net.2", "bn2": "net.3.0", "conv3": "net.4", "bn3": "net.5.0",
            "downsample.0": "projection.shortcut", "downsample.1": "projection.bn.0"}  # fmt: skip
    found = {}
    for key, value in state.items():
        stem, _, last = key.rpartition(".")
        if stem in ("conv1", "bn1"):
            found[f"net.0.{'0' if stem == 'conv1' else '1.0'}.{last}"] = value
        elif stem == "fc":
            found[key] = value
        else:
            layer, block, part = stem.split(".", 2)
            found[f"net.{layer.removeprefix('layer')}.blocks.{block}.{unit[part]}.{last}"] = value
    order = sorted(found, key=lambda key: (key.split(".")[:4], "projection" not in key))
    return {"resnet": {key: found[key] for key in order}, "head": {"layers.0.weight": torch.ones(2, 2)}}


FORMS = [
    ("resnet50_trained_on_SIN", lambda state: {"state_dict": parallel(state), "epoch": 60}),
    ("resnet50_prime", dict),
    ("resnet50_moco_v3_300ep", lambda state: {"epoch": 90, "arch": "resnet50", "state_dict": parallel(state)}),
    ("resnet50_noisymix", lambda state: {"model_state_dict": parallel(state), "epoch": 1}),
    ("resnet50_frozen_random", lambda state: {"online_backbone": state, "online_head": {"weight": torch.ones(2)}}),
    ("resnet50_pixmix_90ep", lambda state: {"model_state_dict": {"online_backbone": parallel(state), "x": {}}}),
    ("robust_resnet50_linf_eps4.0", attacked),
    ("resnet50_tsbias_debiased", two_norms),
    ("resnet50_simclrv2", from_tensorflow),
    ("resnet50_diffusionnoise_fixed_nonoise", lambda state: {"model": parallel(state), "optimizer": {}, "epoch": 89}),
    ("vit_base_patch16_224.mae_in1k", lambda state: {"model": state}),
    ("vit_base_patch16_224.torchvision_deit", dict),
    ("tv_resnet50", dict),
]  # fmt: skip


@pytest.mark.parametrize("name,around", FORMS, ids=[name for name, _ in FORMS])
def test_every_form_is_read(name, around, made, tmp_path):
    state = made(name, around)
    model = loaded(name, tmp_path, state)
    assert model.record["source"] == "study" and model.record["weights"]["file"] == wanted(name).files[0]
    assert model.record["weights"]["source"] == wanted(name).source and model.name == f"study:{name}"


@pytest.mark.parametrize(
    "name,fc", [("resnet50_dino", "fc"), ("resnet50_swav", "fc"), ("vit_base_patch16_224.dino_in1k", "head")]
)
def test_backbone_and_head_are_put_together(name, fc, made, tmp_path):
    backbone, head = wanted(name).files
    inside = (
        {"projection_head.0.weight": torch.ones(2, 2), "prototypes.weight": torch.ones(3, 2)} if "swav" in name else {}
    )
    state = made(name, lambda s: parallel({**{k: v for k, v in s.items() if k.split(".")[0] != fc}, **inside}))
    # The head's file has a name that anybody's may have, so it lies in a folder of the network's name.
    folder = tmp_path / name if head == "checkpoint.pth.tar" else tmp_path
    linear = lambda s: {"state_dict": {f"module.linear.{p}": s[f"{fc}.{p}"] for p in ("weight", "bias")}, "epoch": 3}  # noqa: E731
    made(name, linear, head, folder)
    model = loaded(name, tmp_path, state)
    assert model.record["weights"]["file"] == backbone and model.record["weights"]["head"]["file"] == head
    (folder / head).unlink()
    if folder != tmp_path:
        made(name, linear, head)  # beside the others it is not taken
    with pytest.raises(UsageError, match=f"wants '{head}' of .*; it is not in "):
        load_model(f"study:{name}", weights_dir=tmp_path)


def test_normalisation_is_that_of_the_study(made, tmp_path):
    imagenet, half = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), ((0.5,) * 3, (0.5,) * 3)
    for name, scale in {
        "resnet50_prime": imagenet, "robust_resnet50_l2_eps3": imagenet, "resnet50_simclrv2": ((0,) * 3, (1,) * 3),
        "resnet50_diffusionnoise_fixed_nonoise": ((0,) * 3, (1,) * 3), "vit_base_patch16_224.mae_in1k": half,
    }.items():  # fmt: skip
        around = dict(FORMS).get(name, attacked)
        made(name, around)
        model = load_model(f"study:{name}", weights_dir=tmp_path)
        assert (model.mean, model.std) == scale
        assert (model.input_size, model.transform["crop_pct"]) == ((224, 224), 0.875)
    with pytest.warns(NormalisationWarning, match="while the study says mean 0.5,0.5,0.5"):
        assert load_model(f"study:{name}", weights_dir=tmp_path, mean=(0.1,) * 3, std=(1,) * 3).mean == (0.1,) * 3


def test_keys_must_fit_but_for_what_the_rules_leave(made, tmp_path):
    """Wrong sets of keys passed silently where attacked networks were loaded loosely."""
    made("robust_resnet50_l2_eps1", lambda s: attacked({k: v for k, v in s.items() if k != "layer2.1.conv2.weight"}))
    with pytest.raises(UsageError, match=r"1 missing \(layer2.1.conv2.weight\)"):
        load_model("study:robust_resnet50_l2_eps1", weights_dir=tmp_path)
    made("resnet50_tsbias_sbias", lambda s: {"state_dict": {**s, "bn9.weight": torch.ones(1)}})
    with pytest.raises(UsageError, match=r"1 unexpected \(bn9.weight\)"):
        load_model("study:resnet50_tsbias_sbias", weights_dir=tmp_path)
    made(
        "resnet50_simclrv2",
        lambda s: {"resnet": {**from_tensorflow(s)["resnet"], "net.9.blocks.0.net.0.weight": torch.ones(1)}},
    )
    with pytest.raises(UsageError, match=r"1 unexpected \(net.9.blocks.0.net.0.weight\)"):
        load_model("study:resnet50_simclrv2", weights_dir=tmp_path)


def test_a_file_may_have_the_networks_name(made, tmp_path):
    state = made("resnet50_prime", parallel, "resnet50_prime.pth.tar")
    loaded("resnet50_prime", tmp_path, state)
    (tmp_path / "resnet50_prime.pth.tar").rename(tmp_path / "mine.ckpt")
    model = load_model("study:resnet50_prime", weights=tmp_path / "mine.ckpt")
    assert torch.equal(model.network.state_dict()["fc.bias"], state["fc.bias"])
    own = load_model("study:resnet50", weights=tmp_path / "mine.ckpt")
    assert own.record["state_sha256"] == model.record["state_sha256"] and own.name == "study:resnet50"
    state = made("resnet50_augmix_180ep", parallel, "resnet50_augmix_180ep.pth", tmp_path / "resnet50_augmix_180ep")
    loaded("resnet50_augmix_180ep", tmp_path, state)


def test_untrained_networks_follow_the_seed():
    one, two, other = (load_model("study:resnet50_untrained", seed=seed) for seed in (0, 0, 1))
    assert one.record["state_sha256"] == two.record["state_sha256"] != other.record["state_sha256"]
    assert one.record["weights"] is None and one.record["initial_seed"] == 0
    assert load_model("study:resnet50_prime_untrained").record["weights"] is None


@pytest.mark.parametrize(
    "name,how,words",
    [
        (
            "study:resnet50_prime",
            {},
            "wants 'ResNet50_ImageNet_PRIME_noJSD.ckpt' (or resnet50_prime.pth) of PRIME, zenodo",
        ),
        ("study:resnet50_lpmix", {}, "of the study's authors, who published no file of it; give the folder"),
        (
            "study:vonenet_resnet50",
            {},
            "is of VOneNet, github.com/dicarlolab/vonenet, and in neither timm nor torchvision",
        ),
        (
            "study:resnet50_pixmix",
            {},
            "the study has no network 'resnet50_pixmix'; near spellings: resnet50_lpmix, resnet50_pixmix_90ep",
        ),
        ("study:resnet50_prime", {"pretrained": True}, "nothing is fetched; leave pretrained out"),
        ("small_convnet", {"weights_dir": "."}, "weights_dir is for the names study:NAME; got 'small_convnet'"),
        ("study:resnet50_prime", {"weights_dir": ".", "weights": "x"}, "give either weights or weights_dir; got both"),
    ],
)
def test_sentences(name, how, words):
    with pytest.raises(UsageError) as caught:
        load_model(name, **how)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_nothing_is_fetched(monkeypatch, tmp_path):
    import huggingface_hub

    def fetch(*args, **kwargs):
        raise AssertionError("asked the network")

    for owner, name in ((torch.hub, "load_state_dict_from_url"), (huggingface_hub, "hf_hub_download")):
        monkeypatch.setattr(owner, name, fetch)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    for name in ("tv_resnet50", "resnet50.a1_in1k", "resnet50_gn", "vit_base_patch16_224.sam_in1k"):
        with pytest.raises(UsageError, match=r"of timm, huggingface\.co/timm/"):
            load_model(f"study:{name}", weights_dir=tmp_path)


def test_what_is_there_is_listed(made, tmp_path):
    made("resnet50_prime")
    made("resnet50_dino")
    found = {one["name"]: one for one in study_models(tmp_path)}
    assert (len(found), sum(one["studied"] for one in found.values())) == (70, 48)
    here = {name for name, one in found.items() if one["here"]}
    assert here & {"resnet50_prime", "resnet50_dino", "resnet50_untrained", "vonenet_resnet50"} == {
        "resnet50_prime", "resnet50_untrained",
    }  # fmt: skip
    assert list(found["resnet50_dino"]["files"].values())[1] is None
    assert model_names(["study:robust_resnet50_linf*"])[0] == ("study:robust_resnet50_linf_eps0.5", None)
    with pytest.raises(UsageError, match="no network of the study fits 'study:vgg"):
        model_names(["study:vgg*"])
    assert list_models("cifar_resnet20")  # others are where they were


def test_the_names_are_those_of_the_table(shared_data):
    with open(shared_data("biases-study", "benchmark.csv")) as file:
        assert {row["model"] for row in csv.DictReader(file)} == set(STUDY)
    groups = json.loads(shared_data("biases-study", "r50_categories.json").read_text())
    assert {name for names in groups.values() for name in names} == {n for n, one in STUDY.items() if one.studied}


def test_rules_fit_the_whole_network():
    """The real ResNet-50, whose keys are all there, on a device that holds nothing."""
    with torch.device("meta"):
        state = REAL_BUILD(STUDY["resnet50_prime"]).state_dict()
    assert study_zoo.simclr(from_tensorflow(state)["resnet"]).keys() == state.keys()
    assert study_zoo.debiased(two_norms(state)["state_dict"]).keys() == state.keys()
    assert study_zoo.robust(attacked(state)["model"]).keys() == state.keys()
