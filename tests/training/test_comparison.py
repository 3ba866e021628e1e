"""Trainings compared: against trainings done by hand, resumed, refused."""

import math

import pytest
import torch
from scipy import stats

from freqkit.data import synthetic
from freqkit.errors import Interrupted, UsageError
from freqkit.models import load_model
from freqkit.training import TrainingComparison, compare_training, read_comparison, train
from tests.engine.small_world import Watcher

PLAN = {
    "base": {"epochs": 2, "batch_size": 8, "lr": 0.05}, "seeds": 2, "radii": [4],
    "factors": {"batch_size": [6, 8], "optimizer": ["adam"]},
    "variants": {"attacked": {"adversarial": "fgsm:eps=2", "epochs": 1},
                 "named": {"model": "small_convnet", "epochs": 1}},
}  # fmt: skip


@pytest.fixture(scope="module")
def sets():
    return synthetic(1, images_per_class=3), synthetic(1, images_per_class=2, seed=9)


def test_values_are_those_of_trainings_by_hand(sets, tmp_path):
    found = compare_training(PLAN, sets[0], val_set=sets[1], out=tmp_path / "run")
    assert found.runs == ["base", "batch_size=6", "optimizer=adam", "attacked", "named"]
    for r, changes in enumerate(found.changes):
        for seed in range(2):
            settings = {**PLAN["base"], **changes}
            model = load_model(settings.pop("model", "small_convnet"), num_classes=4, seed=seed)
            history = train(model, sets[0], val_set=sets[1], seed=seed, per_radius=[4], **settings)
            last = history["epochs"][-1]
            plain = [history["train"]["accuracy"], history["val"]["accuracy"], last["train_low_4"],
                     last["train_high_4"], last["val_low_4"], last["val_high_4"]]  # fmt: skip
            assert found.accuracies[r, seed].tolist() == plain, (r, seed)
    assert found.metrics == ["train", "val", "train low 4", "train high 4", "val low 4", "val high 4"]
    again = TrainingComparison.load(tmp_path / "run" / "compare-training.safetensors")
    assert torch.equal(again.accuracies, found.accuracies) and again.changes == found.changes
    assert len(found.rows()) == 5 * 2 * 6 and {row["seed"] for row in found.rows()} == {0, 1}


def test_differences_are_paired_t_intervals():
    values = torch.rand(3, 5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = TrainingComparison(["base", "a", "b"], [{}] * 3, ["train", "val"], torch.arange(5), values,
                               torch.tensor([10, 10]), {"quantity": "", "confidence": 0.9}, {})  # fmt: skip
    for r in (1, 2):
        apart = (values[r, :, 1] - values[0, :, 1]).numpy()
        low, high = stats.ttest_1samp(apart, 0).confidence_interval(0.9)
        assert found.differences[r, 1].tolist() == pytest.approx([apart.mean(), low, high])
    assert float(found.spread[0, 0]) == pytest.approx(values[0, :, 0].numpy().std(ddof=1))
    single = TrainingComparison(["base"], [{}], ["train", "val"], torch.arange(1), values[:1, :1],
                                torch.tensor([10, 10]), {"quantity": "", "confidence": 0.9}, {})  # fmt: skip
    assert math.isnan(single.spread[0, 0]) and single.table()[0]["spread"] is None


def test_a_comparison_that_was_stopped_goes_on_to_the_same_bits(sets, tmp_path):
    class Stops(Watcher):
        def advance(self, amount, **facts):
            super().advance(amount, **facts)
            if self.done == 3:
                raise Interrupted(2)

    plan = {**PLAN, "base": {"epochs": 1}, "variants": {}, "radii": []}
    compare_training(plan, sets[0], out=tmp_path / "whole")
    with pytest.raises(Interrupted):
        compare_training(plan, sets[0], out=tmp_path / "run", progress=Stops())
    began = (tmp_path / "run" / "runs" / "base" / "seed-0" / "run.json").read_bytes()
    compare_training(plan, sets[0], out=tmp_path / "run", resume=True)
    one, other = (tmp_path / name / "compare-training.safetensors" for name in ("whole", "run"))
    assert one.read_bytes() == other.read_bytes()
    assert (tmp_path / "run" / "runs" / "base" / "seed-0" / "run.json").read_bytes() == began  # not done again
    with pytest.raises(UsageError, match="cannot resume"):
        compare_training({**plan, "base": {"epochs": 3}}, sets[0], out=tmp_path / "run", resume=True)


def test_bad_plans_are_refused(sets, tmp_path):
    for plan, words in (
        ({"factor": {}}, "keys must be some of"), ({"factors": {"lr": 0.1}}, "must have a list of values"),
        ({"factors": {"learning": [1]}}, "there is no 'learning' to change"),
        ({"base": {"seed": 1}}, "no 'seed' to set"),
        ({"variants": {"base": {}}}, "names of runs must differ"), ({"variants": {"a/b": {}}}, "names of runs"),
        ({"radii": [0]}, "radii must be numbers above 0"), ({"encoding": "jpeg"}, "encoding must be one of"),
        ({"seeds": 0}, "seeds must be at least 1"), ({"variants": {"a": 3}}, "must name its changes"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=words):
            read_comparison(plan)
    (tmp_path / "plan.yaml").write_text("factors: {batch_size: [20, 100]}\nbase: {batch_size: 100}\n")
    assert [*read_comparison(tmp_path / "plan.yaml")["runs"]] == ["base", "batch_size=20"]
    with pytest.raises(UsageError, match="batch_size must be an integer"):
        compare_training({"factors": {"batch_size": [0.5]}, "base": {"epochs": 1}, "seeds": 1}, sets[0])
