"""Accuracy on components after each epoch, against a plain loop; flags, page and plan."""

import csv
import math
from types import SimpleNamespace

import pytest
import torch

from freqkit.data import components, synthetic, write_image_folder
from freqkit.data.components import ENCODINGS
from freqkit.errors import UsageError
from freqkit.models import load_model, state_sha256
from freqkit.training import PerRadius, Recipe, train


def trained(**how):
    model = load_model("small_convnet", num_classes=4)
    images = synthetic(1, images_per_class=8)
    settings = {"epochs": 2, "batch_size": 16, "lr": 0.05, "val_set": synthetic(1, images_per_class=5, seed=3), **how}
    return model, train(model, images, **settings), images, settings["val_set"]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_accuracy_is_that_of_asking_about_each_component(encoding):
    model, history, images, val = trained(observers=[PerRadius((3, 6.5), encoding=encoding)])
    last = history["epochs"][-1]
    for part, asked in (("train", images), ("val", val)):
        for side in ("low", "high"):
            for r in (3, 6.5):
                x = components(asked, r, side, encoding=encoding)
                x = x / 255 if x.dtype == torch.uint8 else x
                with torch.inference_mode():
                    right = (model.eval()(x).argmax(1) == asked.labels).double().mean().item()
                assert math.isclose(last[f"{part}_{side}_{r:g}"], right, abs_tol=1.1 / len(asked)), (part, side, r)
    assert len(last) == 6 + 8


def test_looking_on_changes_nothing_and_a_stopped_training_goes_on(tmp_path):
    plain, _, _, _ = trained()
    watched, history, _, _ = trained(per_radius=(4, 8), out=tmp_path / "whole")
    assert state_sha256(plain.network) == state_sha256(watched.network)

    class Stop(BaseException):
        pass

    def stop(done, total):
        if done == 3:
            raise Stop

    with pytest.raises(Stop):
        trained(per_radius=(4, 8), out=tmp_path / "part", progress=stop)
    _, again, _, _ = trained(per_radius=(4, 8), out=tmp_path / "part", resume=True)
    assert again["epochs"] == history["epochs"]
    assert (tmp_path / "part" / "history.csv").read_bytes() == (tmp_path / "whole" / "history.csv").read_bytes()
    with pytest.raises(UsageError, match="per_radius"):
        trained(per_radius=(4, 9), out=tmp_path / "part", resume=True)


def test_ranks_share_the_images_and_add_up():
    """Three ranks, one after the other: what each counts adds up to what one counts."""
    model, images = load_model("small_convnet", num_classes=4), synthetic(1, images_per_class=7)

    def ask(rank, world):
        share = lambda n: n[len(n) * rank // world : len(n) * (rank + 1) // world]  # noqa: E731
        ranks = SimpleNamespace(world=1, share=share)
        run = SimpleNamespace(evaluated=model, ranks=ranks, device=torch.device("cpu"), recipe=Recipe())
        return PerRadius((4, 8)).recognised(run, images)

    parts, whole = [ask(rank, 3) for rank in range(3)], ask(0, 1)
    assert {key: sum(part[key] for part in parts) for key in whole} == whole


def test_every_second_epoch_without_validation_images_and_a_plan():
    _, history, _, _ = trained(val_set=None, observers=[PerRadius((4,), every=2)])
    first, second = history["epochs"]
    assert first["train_low_4"] is None and 0 <= second["train_low_4"] <= 1 and second["val_low_4"] is None
    _, plan, images, val = trained(dry_run=True, per_radius=(4, 8))
    _, without, _, _ = trained(dry_run=True)
    assert plan["forwards"] - without["forwards"] == 2 * 4 * (len(images) + len(val))


@pytest.mark.parametrize(
    "how, words",
    [
        (dict(radii=()), "distinct numbers, one at least"), (dict(radii=(4, 4.0)), "distinct numbers"),
        (dict(encoding="jpeg"), "got 'jpeg'"), (dict(every=0), "every must be"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(how, words):
    with pytest.raises(UsageError, match=words):
        PerRadius(**how)


def test_sides_without_frequencies_and_lone_encodings_are_refused():
    with pytest.raises(UsageError, match="frequency on the high side"):
        trained(per_radius=(40,))
    with pytest.raises(UsageError, match="component_encoding needs per_radius"):
        trained(component_encoding="raw")


def test_a_command_puts_curves_on_the_page(tmp_path):
    from click.testing import CliRunner

    from freqkit.cli.app import app

    write_image_folder(synthetic(1, images_per_class=4), tmp_path / "images")
    flags = ["--model", "small_convnet", "--data", tmp_path / "images", "--image-size", "32", "--epochs", "2",
             "--val-fraction", "0.5", "--per-radius", "4,8", "--out", tmp_path / "run"]  # fmt: skip
    result = CliRunner().invoke(app, ["train", *map(str, flags)])
    assert result.exit_code == 0, result.output
    with open(tmp_path / "run" / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 and {"train_low_4", "val_high_8"} <= rows[0].keys()
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "Accuracy by radius, validation images" in page and "Accuracy by radius, training images" in page
