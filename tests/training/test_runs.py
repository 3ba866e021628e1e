"""Runs: killed and resumed, shared by processes, followed, planned."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from freqkit.data import synthetic
from freqkit.errors import UsageError
from freqkit.files.reading import file_sha256
from freqkit.models import load_model, state_sha256
from freqkit.results import LearningCurves
from freqkit.training import evaluate, recipe, train
from tests.training import processes

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


pytestmark = pytest.mark.usefixtures("one_thread")


def start(*words, **environment):
    command = [sys.executable, Path(__file__).with_name("processes.py"), *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**ENVIRONMENT, **environment})


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_killed_run_goes_on_to_the_same_bits(tmp_path, optimizer):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    process = start("kill", killed, optimizer)
    processes.everything_with_state(whole, optimizer)
    for line in process.stdout:
        if int(line) == 11:  # two steps into the fourth epoch
            process.send_signal(signal.SIGKILL)
            break
    assert process.wait() == -signal.SIGKILL
    assert json.loads((killed / "run.json").read_text())["epochs_done"] == 3
    processes.everything_with_state(killed, optimizer, resume=True)
    for name in ("weights.safetensors", "weights-0004.safetensors", "checkpoint.safetensors", "history.csv",
                 "learning.safetensors"):  # fmt: skip
        assert file_sha256(killed / name) == file_sha256(whole / name), name
    one, other = (json.loads((out / "run.json").read_text()) for out in (whole, killed))
    assert one["result"] == other["result"] and one["identity"] == other["identity"]
    assert other["status"] == "finished" and other["epochs_done"] == 6


@pytest.mark.alone
def test_two_processes_share_the_images(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    where = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    files = [tmp_path / f"rank{rank}.json" for rank in (0, 1)]
    ranks = [start("rank", tmp_path, files[i], RANK=str(i), LOCAL_RANK=str(i), **where) for i in (0, 1)]
    alone = json.loads(json.dumps(processes.shared(tmp_path / "alone")))
    assert [process.wait(timeout=600) for process in ranks] == [0, 0]
    (both, again), others = (json.loads(file.read_text()) for file in files)
    assert both["weights"] == others[0]["weights"] == again["weights"], "the same bits on all ranks, every time"
    for mine, theirs in zip(alone["weights"], both["weights"], strict=True):
        torch.testing.assert_close(torch.tensor(mine), torch.tensor(theirs), atol=1e-5, rtol=1e-4)
    # 3 epochs x 36 images; validation of 28 after each, looks at 28 after 0, 2, ... 8 steps, the 36 at the end
    assert alone["asked"] == [108, 3 * 28 + 5 * 28 + 36]
    assert [a + b for a, b in zip(both["asked"], others[0]["asked"], strict=True)] == alone["asked"]
    for name in ("train", "val"):
        assert sum(map(sum, both[name]["confusion"])) == both[name]["images"] == {"train": 36, "val": 28}[name]
        assert both[name] == others[0][name]
    assert both["val"]["loss"] == pytest.approx(alone["val"]["loss"], rel=1e-4)
    mine, theirs = ([entry["accuracy"] for entry in one["epochs"]] for one in (both, alone))
    assert mine == pytest.approx(theirs, abs=0.03)


def test_following_sees_the_network_as_it_is(tmp_path):
    images = synthetic(1, images_per_class=10)
    plain, followed = load_model("small_convnet"), load_model("small_convnet")
    train(plain, images, epochs=2, batch_size=16, lr=0.1)
    history = train(followed, images, epochs=2, batch_size=16, lr=0.1, follow=1, follow_until=4, out=tmp_path / "run")
    assert state_sha256(plain.network) == state_sha256(followed.network), "looking changes nothing"
    curves = LearningCurves.load(tmp_path / "run" / "learning.safetensors")
    assert curves.steps.tolist() == [0, 1, 2, 3, 4] == history["learning"]["steps"]
    assert (curves.confusion.sum(2) == 10).all()
    one = load_model("small_convnet")
    assert evaluate(one, images)["confusion"] == curves.confusion[0].tolist()
    last = [entry["f1"] for entry in evaluate(one, images)["classes"].values()]
    assert curves.f1[0].tolist() == pytest.approx(last)


def test_learned_at():
    wrong, right = [[0, 4], [4, 0]], [[4, 0], [0, 4]]
    half = [[4, 0], [2, 2]]  # F1 of a: 8/10, of b: 4/6
    curves = LearningCurves(["a", "b"], torch.tensor([0, 5, 10, 15]), torch.tensor([wrong, right, half, half]))
    assert curves.learned_at(0.8) == {"a": 5, "b": None}
    assert curves.learned_at(0.6) == {"a": 5, "b": 5}
    assert curves.table()[2] == {"step": 10, "accuracy": 0.75, "a": pytest.approx(0.8), "b": pytest.approx(2 / 3)}


@pytest.mark.measured
def test_dry_run_counts_what_a_run_does():
    images, held_out = synthetic(1, images_per_class=10), synthetic(1, images_per_class=3, seed=1)
    model = load_model("small_convnet")
    before, asked = state_sha256(model.network), []
    plan = train(
        model, images, val_set=held_out, recipe=recipe("cifar", epochs=2, batch_size=16), follow=3, dry_run=True
    )
    assert state_sha256(model.network) == before and plan["seconds"] > 0
    model.network.register_forward_hook(lambda module, inputs, output: asked.append(len(output)))
    began = time.process_time()
    train(model, images, val_set=held_out, recipe=recipe("cifar", epochs=2, batch_size=16), follow=3)
    # Processor time: what other processes take slows the plan's steps, but is not counted twice.
    assert time.process_time() - began < 100 * plan["seconds"] + 1
    assert sum(asked) == plan["forwards"] and plan["steps"] == 6 and plan["backwards"] == 80


def test_run_directories_are_not_mixed_up(tmp_path):
    images = synthetic(1, images_per_class=3)

    def run(**change):
        return train(load_model("small_convnet"), images, out=tmp_path / "run", epochs=1, **change)

    run()
    for change, sentence in (
        ({}, "not empty"),
        ({"resume": True, "lr": 0.5}, "differs in recipe"),
        ({"resume": True, "seed": 1}, "differs in seed"),
    ):
        with pytest.raises(UsageError, match=sentence):
            run(**change)
    first = (tmp_path / "run" / "weights.safetensors").read_bytes()
    again = run(resume=True)
    assert (tmp_path / "run" / "weights.safetensors").read_bytes() == first and len(again["epochs"]) == 1
    run(overwrite=True, seed=1)
    assert (tmp_path / "run" / "weights.safetensors").read_bytes() != first
    with pytest.raises(UsageError, match="follow_until needs follow"):
        run(overwrite=True, follow_until=3)
    with pytest.raises(UsageError, match="keep_every needs out"):
        train(load_model("small_convnet"), images, epochs=1, keep_every=1)


def test_tensorboard_is_asked_for_by_name(tmp_path):
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        with pytest.raises(UsageError, match="pip install tensorboard"):
            train(
                load_model("small_convnet"),
                synthetic(1, images_per_class=2),
                epochs=1,
                out=tmp_path / "a",
                tensorboard=True,
            )
    else:
        train(
            load_model("small_convnet"),
            synthetic(1, images_per_class=2),
            epochs=1,
            out=tmp_path / "a",
            tensorboard=True,
        )
        assert list((tmp_path / "a" / "tensorboard").iterdir())


class Stopped(BaseException):
    """A kill, as far as the files are concerned."""


@pytest.mark.parametrize("epoch", [2, 4])
def test_killed_around_a_checkpoint_the_run_still_gets_all_its_files(tmp_path, monkeypatch, epoch):
    """The moments before and after the checkpoint of an epoch whose weights are kept, and of the last."""

    def run(out, **how):
        return train(
            load_model("small_convnet"), synthetic(1, images_per_class=4), epochs=4, batch_size=8, follow=2,
            keep_every=2, out=out, **how,
        )  # fmt: skip

    run(tmp_path / "whole")
    original = sys.modules["freqkit.training.run"].write_checkpoint
    for moment in ("before", "after"):

        def stopping(path, tensors, facts, moment=moment):
            if moment == "after":
                original(path, tensors, facts)
            if facts["epoch"] == epoch:
                raise Stopped
            if moment == "before":
                original(path, tensors, facts)

        monkeypatch.setattr(sys.modules["freqkit.training.run"], "write_checkpoint", stopping)
        with pytest.raises(Stopped):
            run(tmp_path / moment)
        monkeypatch.setattr(sys.modules["freqkit.training.run"], "write_checkpoint", original)
        run(tmp_path / moment, resume=True)
        for file in sorted((tmp_path / "whole").iterdir()):
            if file.name not in ("run.json", "journal.bin"):
                assert (tmp_path / moment / file.name).read_bytes() == file.read_bytes(), (moment, file.name)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_step_and_says_interrupted(tmp_path, number):
    from freqkit.engine import Interrupted

    def progress(done, total):
        if done == 3:
            os.kill(os.getpid(), number)

    how = {"epochs": 3, "batch_size": 8, "out": tmp_path / "run"}
    with pytest.raises(Interrupted) as stopped:
        train(load_model("small_convnet"), synthetic(1, images_per_class=4), progress=progress, **how)
    assert stopped.value.signal == number
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "interrupted"
    train(load_model("small_convnet"), synthetic(1, images_per_class=4), resume=True, **how)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "finished"
