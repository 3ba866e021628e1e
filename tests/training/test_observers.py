"""Observers: they see every step, change nothing, and go on from a checkpoint to the same bits."""

import csv
import json
from types import SimpleNamespace

import pytest
import torch

from freqkit.data import synthetic
from freqkit.errors import UsageError
from freqkit.models import load_model, state_sha256
from freqkit.training import Follow, KeepWeights, Observer, train


class Gradients(Observer):
    """The sum of the gradients of the last layer, and how long it is after each epoch."""

    name, columns, facts = "gradients", ("length", "epochs_left"), {"steps_seen": int}

    def __init__(self):
        self.sum, self.steps, self.closed = torch.zeros(()), 0, 0

    def identity(self):
        return {"gradients": "of the head"}

    def after_step(self, run, loss, correct):
        self.sum = self.sum + run.model.network.head.weight.grad
        self.steps += 1
        assert run.step == self.steps and loss > 0 and 0 <= correct <= 8

    def after_epoch(self, run):
        assert len(run.history) == run.epoch - 1
        return {"length": -float(self.sum.norm()), "epochs_left": None if run.epoch == 3 else 3 - run.epoch}

    def save(self, run, out):
        (out / "gradients.txt").write_text(f"{run.history[-1]['length']}")

    def state(self):
        return {"sum": self.sum}, {"steps_seen": self.steps}

    def restore(self, run, tensors, facts, path):
        self.sum, self.steps = tensors["sum"], facts["steps_seen"]

    def result(self, run):
        return {"steps": self.steps, "sum": self.sum.sum().item()}

    def close(self):
        self.closed += 1


class Stopped(BaseException):
    """A kill, as far as the files are concerned."""


def run(out=None, *, observers=(), images=4, **how):
    model = load_model("small_convnet")
    train_set = synthetic(1, images_per_class=images)
    return model, train(model, train_set, epochs=3, batch_size=8, lr=0.05, out=out, observers=observers, **how)


def test_a_killed_run_gives_its_observers_what_they_had(tmp_path):
    def stop(done, total):
        if done == 5:  # in the third epoch
            raise Stopped

    mine = Gradients()
    model, history = run(tmp_path / "whole", observers=[mine], follow=1)
    with pytest.raises(Stopped):
        run(tmp_path / "cut", observers=[killed := Gradients()], follow=1, progress=stop)
    assert (mine.closed, killed.closed) == (1, 1)
    _, again = run(tmp_path / "cut", observers=[Gradients()], follow=1, resume=True)
    assert again == history and history["gradients"]["steps"] == 6
    for file in sorted((tmp_path / "whole").iterdir()):
        if file.name != "run.json":
            assert (tmp_path / "cut" / file.name).read_bytes() == file.read_bytes(), file.name
    record = json.loads((tmp_path / "whole" / "run.json").read_text())
    assert record["identity"]["gradients"] == "of the head" and record["identity"]["follow"] == [1, None]
    assert record["result"]["gradients"] == history["gradients"]
    alone, plain = run()
    assert state_sha256(alone.network) == state_sha256(model.network), "looking changes nothing"
    assert [{**entry, "length": 0, "epochs_left": 0} for entry in plain["epochs"]] == [
        {**entry, "length": 0, "epochs_left": 0} for entry in history["epochs"]
    ]
    rows = list(csv.DictReader((tmp_path / "whole" / "history.csv").open()))
    assert [row["epochs_left"] for row in rows] == ["2", "1", ""] and float(rows[2]["length"]) < 0
    with pytest.raises(UsageError, match="differs in gradients"):
        run(tmp_path / "whole", follow=1, resume=True)


def test_keywords_make_the_observers(tmp_path):
    run(tmp_path / "words", follow=2, follow_until=4, keep_every=2)
    follow = Follow(2, until=4)
    run(tmp_path / "objects", observers=[follow, KeepWeights(2)])
    names = sorted(file.name for file in (tmp_path / "words").iterdir())
    assert {"learning.safetensors", "learning.csv", "weights-0002.safetensors"} <= {*names}
    for name in names:
        if name != "run.json":
            assert (tmp_path / "words" / name).read_bytes() == (tmp_path / "objects" / name).read_bytes(), name
    assert follow.forwards(SimpleNamespace(total=6, watched=[0] * 5)) == 15, "no look after the last is planned"
    first = follow.moments
    run(observers=[follow])
    assert follow.moments == first == [0, 2, 4], "used again, it begins again"


def test_the_page_takes_any_number_of_an_observer(tmp_path):
    from freqkit.report import write_report

    run(tmp_path / "run", observers=[Gradients()])
    assert "Loss by epoch" in write_report(tmp_path / "run").read_text()


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"name": "model"}, "the name of an observer must be its own; 'model' is there twice"),
        ({"name": "learning"}, "'learning' is there twice"),
        ({"name": "a/b"}, "must be an identifier; got 'a/b'"),
        ({"columns": ("loss",)}, "the columns of an observer must be its own; 'loss'"),
        ({"facts": {"epoch": int}}, "the facts of an observer must be its own; 'epoch'"),
        ({"after_epoch": lambda run: {"length": 1.0}}, "must give its columns length, epochs_left; got length"),
        ({"after_epoch": lambda run: {"length": float("inf"), "epochs_left": 1}}, "numbers or None; length is inf"),
    ],
    ids=str,
)
def test_observers_that_do_not_fit_are_refused(change, sentence):
    observer = Gradients()
    observer.__dict__.update(change)
    with pytest.raises(UsageError, match=sentence):
        run(observers=[observer], follow=2)


def test_wrong_arguments():
    with pytest.raises(UsageError, match="every must be an integer of at least 1; got 0"):
        Follow(0)
    with pytest.raises(UsageError, match=r"observers must be of `freqkit\.training\.Observer`; got str"):
        run(observers=["follow"])
    with pytest.raises(UsageError, match="follow must be an integer of at least 1; got 0"):
        run(follow=0)
    with pytest.raises(UsageError, match="no setting 'folow'"):
        run(folow=3)
