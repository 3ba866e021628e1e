"""What people have their weights in, each loaded to the same bits, or refused in one right sentence.

| | kind | what becomes of it |
|---|---|---|
| 1 | safetensors file | loaded |
| 2 | state dict of `torch.save`, its newer and its older form, under wrappers' prefixes | loaded |
| 3 | checkpoint of timm's `train.py` (`args`, optimizer, `state_dict`, `state_dict_ema`) | loaded |
| 4 | averaged weights, of timm and of torchvision's references (`model_ema` with a counter) | loaded when named |
| 5 | checkpoint of Lightning 2 (hyper-parameters, callbacks, paths, numpy numbers) | loaded |
| 6 | checkpoint of Lightning 1, as the two published repositories write (callbacks under types, other parts) | loaded |
| 7 | Hugging Face folder, one file | loaded |
| 8 | Hugging Face folder, several files and their index | loaded |
| 9 | folder of timm with its configuration (`local-dir:`) | loaded, architecture and normalisation with it |
| 10 | numbered map, or a list, of parameters | loaded in order when all shapes fit, which is said |
| 11 | name on the hub (`hf-hub:`) | never fetched unasked: one sentence |
| 12 | whole module | refused; its type is named, and the line that writes its weights |
| 13 | TorchScript program | refused, with that line |
| 14 | folder of a distributed checkpoint, folder of other things | refused, with what makes a file of it |
| 15 | file that would run something | refused; what it would run is named, and nothing runs |
| 16 | file that is cut off, or claims what it has not | refused |
| 17 | ONNX, numpy, HDF5, Flax, GGUF, exported program, tar, web page | refused by its kind, with a line to make one |
| 18 | checkpoint of DeepSpeed (`module`) | loaded |
"""

import argparse
import collections
import datetime
import functools
import json
import os
import pathlib
import pickle
import sys
import tarfile
import types
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from freqkit.errors import UsageError
from freqkit.files.pickles import read_checkpoint
from freqkit.models import ModelWarning, load_model, read_state_dict, state_sha256


@pytest.fixture(scope="module")
def trained():
    model = load_model("small_convnet", seed=11)
    return model, {key: value.clone() for key, value in model.network.state_dict().items()}


def prefixed(state, prefix):
    return {f"{prefix}{key}": value for key, value in state.items()}


def averaged(state):
    return {key: value + 1 if value.is_floating_point() else value.clone() for key, value in state.items()}


def of_timm(state):
    args = argparse.Namespace(
        model="small", lr=0.1, data_dir=pathlib.Path("data"), dtype=torch.float16, mean=[0.5], img_size=None
    )
    momentum = {0: {"momentum_buffer": torch.zeros(3)}}
    return {
        "epoch": 3, "arch": "small", "state_dict": state, "optimizer": {"state": momentum, "param_groups": [{"lr": 1}]},
        "version": 2, "args": args, "metric": np.float64(71.2), "state_dict_ema": averaged(state),
    }  # fmt: skip


def of_lightning(state):
    hyper = argparse.Namespace(
        lr=np.float32(0.1), root=pathlib.PurePosixPath("/data"), kinds={"a", "b"}, began=datetime.datetime(2024, 1, 2),
        optimizer=functools.partial(torch.optim.SGD, lr=0.1), device=torch.device("cpu"), shape=torch.Size([3]),
    )  # fmt: skip
    checkpoint = {"monitor": "val", "best_model_score": torch.tensor(0.5), "dirpath": "x", "best_k_models": {}}
    return {
        "epoch": 9, "global_step": 70, "pytorch-lightning_version": "2.2.0", "state_dict": prefixed(state, "model."),
        "loops": {"fit_loop": collections.OrderedDict(x=1)}, "callbacks": {"ModelCheckpoint{'mode': 'x'}": checkpoint},
        "optimizer_states": [{"state": {}, "param_groups": [{"lr": 0.1}]}], "hparams_name": "kwargs",
        "lr_schedulers": [{"best": np.float64(0.3), "mode": "min", "counts": collections.defaultdict(int, a=1)}],
        "hyper_parameters": hyper, "rng": np.random.default_rng(0).integers(9, size=5),
    }  # fmt: skip


@pytest.fixture
def lightning(monkeypatch):
    """Stands for the package where a file is written; it is gone when the file is read."""
    module = types.ModuleType("pytorch_lightning.callbacks.model_checkpoint")
    module.ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": module.__name__})
    data = types.ModuleType("pytorch_lightning.utilities.parsing")
    data.AttributeDict = type("AttributeDict", (dict,), {"__module__": data.__name__})
    with monkeypatch.context() as patch:
        for name in ("pytorch_lightning", "pytorch_lightning.callbacks", "pytorch_lightning.utilities"):
            patch.setitem(sys.modules, name, types.ModuleType(name))
        for each in (module, data):
            patch.setitem(sys.modules, each.__name__, each)
        yield module.ModelCheckpoint, data.AttributeDict
    for name in [name for name in sys.modules if name.startswith("pytorch_lightning")]:
        del sys.modules[name]


def loaded(trained, path, **how):
    found = load_model("small_convnet", weights=path, **how)
    assert state_sha256(found.network) == state_sha256(trained[0].network)
    return found.record["weights"]


@pytest.mark.parametrize("old", [False, True], ids=["zip", "older"])
def test_state_dicts_and_what_scripts_put_around_them(tmp_path, trained, old):
    state, path = trained[1], tmp_path / "w.pth"

    def save(what):
        torch.save(what, path, _use_new_zipfile_serialization=not old)

    for prefix in ("", "_orig_mod.", "module.", "model.", "net.", "backbone_model.", "model._orig_mod.module."):
        save(prefixed(state, prefix))
        assert loaded(trained, path)["prefix_stripped"] == prefix
    for make, entry in ((of_timm, ["state_dict_ema"]), (of_lightning, ["hyper_parameters"])):
        save(make(state))
        assert set(entry) <= set(loaded(trained, path)["other_entries"])
    save(of_timm(state))
    found = load_model("small_convnet", weights=path, weights_entry="state_dict_ema")
    torch.testing.assert_close(found.network.head.bias, averaged(state)["head.bias"])


def test_averaged_copies_of_torchvision_and_nested_entries(tmp_path, trained):
    state, path = trained[1], tmp_path / "model_9.pth"
    counted = {"n_averaged": torch.tensor(5), **prefixed(state, "module.")}
    torch.save({"model": averaged(state), "model_ema": counted, "args": argparse.Namespace(lr=1)}, path)
    assert loaded(trained, path, weights_entry="model_ema")["entry"] == "model_ema"
    torch.save({"ema": {"shadow": state}, "epoch": 1}, path)
    assert loaded(trained, path, weights_entry="ema.shadow")["entry"] == "ema.shadow"
    with pytest.raises(UsageError, match="no state dict under entry 'ema'; its entries are ema, epoch"):
        load_model("small_convnet", weights=path, weights_entry="ema")


def test_checkpoints_of_older_lightning_beside_other_parts(tmp_path, trained, lightning):
    checkpoint_type, settings = lightning
    state, path = trained[1], tmp_path / "epoch=9.ckpt"
    held = {"criterion.weight": torch.ones(4), **prefixed(state, "backbone_model.")}
    torch.save(
        {
            "state_dict": held, "hyper_parameters": settings(lr=0.1, backbone="resnet18"), "epoch": 9,
            "callbacks": {checkpoint_type: {"best_model_path": pathlib.PosixPath("a.ckpt")}}, "native_amp": None,
        },
        path,
    )  # fmt: skip
    for name in [name for name in sys.modules if name.startswith("pytorch_lightning")]:
        del sys.modules[name]
    with pytest.raises(UsageError, match=r"1 unexpected \(criterion.weight\)"):
        load_model("small_convnet", weights=path)
    facts = loaded(trained, path, allow_unexpected=True)
    assert (facts["prefix_stripped"], facts["unexpected"]) == ("backbone_model.", ["criterion.weight"])
    assert not any(name.startswith("pytorch_lightning") for name in sys.modules), "nothing of the file is imported"


def test_two_networks_in_one_file_are_not_mixed_up(tmp_path, trained):
    state, path = trained[1], tmp_path / "two.safetensors"
    save_file({**prefixed(averaged(state), "teacher."), **prefixed(state, "student.")}, path)
    with pytest.raises(UsageError, match=r"the network's keys under student\., teacher\.; write one of them"):
        load_model("small_convnet", weights=path, allow_unexpected=True)
    save_file({**prefixed(averaged(state), "ema."), **prefixed(state, "model.")}, path)
    assert loaded(trained, path, allow_unexpected=True)["prefix_stripped"] == "model."


def test_hugging_face_folders(tmp_path, trained):
    state = trained[1]
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["ViTForImageClassification"]}))
    save_file(state, tmp_path / "model.safetensors")
    assert loaded(trained, tmp_path)["file"] == f"{tmp_path.name}/model.safetensors"
    with pytest.raises(UsageError, match="no architecture of timm, but 'ViTForImageClassification'; load it with"):
        load_model(f"local-dir:{tmp_path}")
    (tmp_path / "model.safetensors").unlink()
    keys = list(state)
    index = {key: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, key in enumerate(keys)}
    for part in set(index.values()):
        save_file({key: state[key] for key in keys if index[key] == part}, tmp_path / part)
    place = tmp_path / "model.safetensors.index.json"
    place.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": index}))
    assert loaded(trained, tmp_path)["files"] == 2
    for wrong, sentence in (
        ("../w.safetensors", "files that are not there: ../w.safetensors"),
        (index[keys[1]], "lack"),
    ):
        place.write_text(json.dumps({"weight_map": {**index, keys[0]: wrong}}))
        with pytest.raises(UsageError, match=sentence):
            load_model("small_convnet", weights=tmp_path)
    place.unlink()
    with pytest.raises(UsageError, match=r"no folder of weights \(what it holds is config.json, model-00001"):
        load_model("small_convnet", weights=tmp_path)
    (tmp_path / "__0_0.distcp").write_bytes(b"")
    with pytest.raises(UsageError, match="dcp_to_torch FOLDER FILE makes one file of it"):
        read_state_dict(tmp_path)


def test_folders_of_timm_bring_architecture_and_normalisation(tmp_path):
    timm = pytest.importorskip("timm", reason="timm is not installed")
    network = timm.create_model("mobilenetv3_small_050", num_classes=7)
    says = {
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.2, 0.2],
        "input_size": [3, 96, 96],
        "crop_pct": 1.0,
        "num_classes": 7,
    }
    config = {"architecture": "mobilenetv3_small_050", "num_classes": 7, "pretrained_cfg": says}
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    model = load_model(f"local-dir:{tmp_path}")
    assert (model.mean, model.input_size, model.num_classes) == ((0.5, 0.4, 0.3), (96, 96), 7)
    assert state_sha256(model.network) == state_sha256(network) and model.record["weights"]["missing"] == []
    with pytest.raises(UsageError, match="have 7 classes; got num_classes=5"):
        load_model(f"local-dir:{tmp_path}", num_classes=5)
    with pytest.raises(UsageError, match=r"must be a folder with a config\.json"):
        load_model("local-dir:nowhere")
    config["model_args"] = {"checkpoint_path": str(tmp_path / "trap.pth")}  # timm would open that file
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert load_model(f"local-dir:{tmp_path}").num_classes == 7
    with pytest.raises(UsageError, match="has no entries"):  # it is asked of the folder's own weights
        load_model(f"local-dir:{tmp_path}", weights_entry="state_dict_ema")


def test_the_hub_is_left_alone(monkeypatch):
    hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    asked = []

    def fetch(name, **how):
        asked.append((name, how))
        raise OSError("no such place")

    monkeypatch.setattr(hub, "snapshot_download", fetch)
    with pytest.raises(UsageError, match="it is not on this machine; pretrained=True fetches it"):
        load_model("hf-hub:someone/net@v2")
    with pytest.raises(UsageError, match=r"'hf-hub:someone/net' could not be had \(OSError: no such place\)\.$"):
        load_model("hf-hub:someone/net", pretrained=True)
    assert [how["local_files_only"] for _, how in asked] == [True, False]
    assert asked[0][0] == "someone/net" and asked[0][1]["revision"] == "v2"


def test_numbered_weights_are_taken_in_order(tmp_path, trained):
    state, path = trained[1], tmp_path / "numbered.pth"
    values = [value for key, value in state.items() if not key.endswith("num_batches_tracked")]
    for what in (dict(enumerate(values)), values, {"state_dict": {str(i): value for i, value in enumerate(values)}}):
        torch.save(what, path)
        with pytest.warns(ModelWarning, match="numbers and no names, and were taken as the network's"):
            assert "in order" in loaded(trained, path)["note"]
    torch.save(values[:-1], path)
    with pytest.raises(UsageError, match="unexpected"):
        load_model("small_convnet", weights=path)


def test_what_is_more_than_weights_is_refused_by_its_name(tmp_path, trained):
    line = r"torch.save\(net.state_dict\(\), 'weights.pth'\)"
    torch.save(trained[0], tmp_path / "whole.pth")
    with pytest.raises(UsageError, match=f"holds freqkit.models.classifier.Classifier, not only tensors.*{line}"):
        read_state_dict(tmp_path / "whole.pth")
    torch.save(nn.Sequential(nn.Linear(2, 2)), tmp_path / "plain.pth")
    with pytest.raises(UsageError, match=f"it holds a torch.nn.modules.container.Sequential; .*{line}"):
        read_state_dict(tmp_path / "plain.pth")
    torch.save({"model": nn.Linear(2, 2), "epoch": 1}, tmp_path / "inside.pth")
    with pytest.raises(UsageError, match=r"only the entries model \(a torch.nn.modules.linear.Linear\), epoch"):
        read_state_dict(tmp_path / "inside.pth")
    torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "program.pt"))
    with pytest.raises(
        UsageError, match=r"TorchScript program; torch.save\(torch.jit.load\('program.pt'\).state_dict\(\)"
    ):
        read_state_dict(tmp_path / "program.pt")


class Runs:
    """A pickle that makes a folder when it is read by pickle."""

    def __init__(self, function, *arguments):
        self.made = function, arguments

    def __reduce__(self):
        return self.made


@pytest.mark.parametrize("place", ["args", "state_dict", "key"])
def test_nothing_is_run(tmp_path, trained, place):
    sprung = tmp_path / "sprung"
    for function, arguments, name in (
        (os.system, (f"mkdir {sprung}",), "posix.system"),
        (os.mkdir, (str(sprung),), "posix.mkdir"),
        (eval, (f"__import__('os').mkdir({str(sprung)!r})",), "(builtins|__builtin__).eval"),
        (getattr, (pathlib.Path(sprung), "mkdir"), "(builtins|__builtin__).getattr"),
        (functools.partial(os.mkdir, str(sprung)), (), "posix.mkdir"),
        (np.load, ("x", None, True), "numpy.*load"),
    ):
        trap = Runs(function, *arguments)
        held = {"state_dict": trained[1], **({trap: 1} if place == "key" else {place: trap})}
        for old in (False, True):
            path = tmp_path / "trap.ckpt"
            torch.save(held, path, _use_new_zipfile_serialization=not old)
            with pytest.raises(UsageError, match=rf"'trap.ckpt' was refused: it holds {name}"):
                read_state_dict(path)
    assert not sprung.exists()
    for harmless in (torch.optim.SGD, argparse.Namespace, pathlib.Path):  # named, called, and never made
        path.write_bytes(path.read_bytes())
        torch.save({"state_dict": trained[1], "args": Runs(harmless, str(sprung))}, path)
        assert isinstance(repr(read_checkpoint(path)["args"]), str)
    assert not sprung.exists()


def test_files_of_other_programs_are_told_by_their_name(tmp_path, trained):
    state = trained[1]
    np.savez(tmp_path / "net.npz", **{key: value.numpy() for key, value in state.items()})
    torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.ones(1, 2),)), tmp_path / "net.pt2")
    with tarfile.open(tmp_path / "old.tar", "w") as archive:
        archive.add(tmp_path / "net.npz", "net.npz")
    for name, raw in (("net.onnx", b"\x08\x07\x12\x07pytorch"), ("net.h5", b"\x89HDF\r\n\x1a\n"),
                      ("net.gguf", b"GGUF\3"),
                      ("net.msgpack", b"\x81\xa6params"), ("net.pth", b"\n<!DOCTYPE html>")):  # fmt: skip
        (tmp_path / name).write_bytes(raw + bytes(300))
    for name, words in (
        ("net.npz", r"numpy arrays; torch.save\(\{.*numpy.load\('net.npz'\).items\(\)\}, 'weights.pth'\) writes"),
        ("net.pt2", r"an exported program; torch.save\(torch.export.load\('net.pt2'\).state_dict, 'weights.pth'\)"),
        ("net.onnx", r"an ONNX model; torch.save\(.*onnx.load\('net.onnx'\).graph.initializer"),
        ("net.h5", "an HDF5 file, as Keras writes; load it there"), ("net.msgpack", "a file of Flax; torch.save"),
        ("net.gguf", "a GGUF file"), ("old.tar", "a tar archive; give a file that is in it"),
        ("net.pth", "a web page, not the file that it leads to"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=f"^weights: '{name}' was refused: it is .*{words}"):
            read_state_dict(tmp_path / name)
    torch.save({"module": state, "ds_version": "0.14"}, tmp_path / "mp_rank_00_model_states.pt")
    assert loaded(trained, tmp_path / "mp_rank_00_model_states.pt")["entry"] == "module"
    made = {key: torch.from_numpy(value) for key, value in np.load(tmp_path / "net.npz").items()}  # that line
    torch.save(made, tmp_path / "weights.pth")
    loaded(trained, tmp_path / "weights.pth")


def test_claims_are_checked(tmp_path, trained):
    whole, cut = tmp_path / "whole.pth", tmp_path / "cut.pth"
    torch.save(trained[1], whole, _use_new_zipfile_serialization=False)
    cut.write_bytes(whole.read_bytes()[:-40])
    with pytest.raises(UsageError, match="cut off"):
        read_state_dict(cut)
    torch.save({"a": torch.zeros(8)}, whole)
    with zipfile.ZipFile(whole) as one, zipfile.ZipFile(cut, "w") as other:
        for record in one.infolist():
            data = one.read(record)
            other.writestr(record.filename, data[:16] if "/data/" in record.filename else data)
    with pytest.raises(UsageError, match="a storage that the file does not hold"):
        read_state_dict(cut)
    cut.write_bytes(pickle.dumps({"a": 1}, protocol=2))
    with pytest.raises(UsageError, match=r"does not begin as one of torch\.save"):
        read_state_dict(cut)


@pytest.mark.parametrize("old", [False, True], ids=["zip", "older"])
def test_tensors_come_as_torch_reads_them(tmp_path, old):
    kinds = [torch.float64, torch.float16, torch.bfloat16, torch.complex64, torch.int16, torch.bool]
    kinds += [] if old else [torch.float8_e4m3fn, torch.uint16]  # torch writes these in the newer form alone
    base = torch.arange(24.0).view(4, 6)
    state = {str(kind): (10 * torch.rand(3, 4)).to(kind) for kind in kinds}
    state |= {
        "view": base[1:3, ::2], "turned": base.t(), "none": torch.empty(0, 3), "one": torch.tensor(3.0), "base": base,
        "parameter": nn.Parameter(base), "spread": torch.ones(1).expand(5),
    }  # fmt: skip
    torch.save(state, tmp_path / "w.pth", _use_new_zipfile_serialization=not old)
    found, _ = read_state_dict(tmp_path / "w.pth")
    there = torch.load(tmp_path / "w.pth", weights_only=True)
    for key, value in there.items():
        assert found[key].dtype == value.dtype and found[key].stride() == value.stride()
        one, other = (tensor.detach().reshape(-1).clone().view(torch.uint8) for tensor in (found[key], value))
        assert torch.equal(one, other), key
    assert found["view"].untyped_storage().data_ptr() == found["base"].untyped_storage().data_ptr()
