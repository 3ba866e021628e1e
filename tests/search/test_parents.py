"""A search that begins at a later stage is the rest of one that began at the first."""

import json

import pytest
import torch

from freqkit.data import synthetic
from freqkit.errors import UsageError
from freqkit.models import load_model
from freqkit.results.released import export_pickle
from freqkit.search import hfss
from tests.cli.conftest import run  # noqa: F401

HOW = {"candidates": 9, "top": 2, "batch_size": 20, "form": "eager"}


@pytest.fixture(scope="module")
def world():
    return load_model("small_convnet", num_classes=4), synthetic(1, images_per_class=5)


@pytest.fixture(scope="module", params=["default", "cvpr2025"])
def halves(request, world, tmp_path_factory):
    """(preset, the whole search, the directory of its first stage, a pickle of that)."""
    folder, how = tmp_path_factory.mktemp("halves"), {**HOW, "preset": request.param}
    whole = hfss(*world, stages=3, **how)
    hfss(*world, stages=1, out=folder / "first", **how)
    export_pickle(folder / "first", folder / "stage1.pkl", "hfss")
    return request.param, whole, folder


@pytest.mark.parametrize("source", ["first", "first/stage-1.safetensors", "stage1.pkl"])
def test_later_stages_are_the_rest_of_the_whole_search(world, halves, source):
    preset, whole, folder = halves
    rest = hfss(*world, stages=[2, 3], parents_from=folder / source, preset=preset, **HOW)
    assert [stage.number for stage in rest.stages] == [2, 3]
    assert torch.equal(rest.masks, whole.masks) and torch.equal(rest.loss, whole.loss)
    assert rest.record["identity"]["parents_from"] and "parents_from" not in whole.record["identity"]


def test_maps_may_be_parents(world, halves):
    preset, _, folder = halves
    if preset == "cvpr2025":
        with pytest.raises(UsageError, match="weights 0 and 1 with the published preset"):
            hfss(*world, stages=[2], parents_from=folder / "first/dfm.safetensors", preset=preset, **HOW)
        return
    found = hfss(*world, stages=[2], parents_from=folder / "first/dfm.safetensors", parents="per_class", **HOW)
    outside = found.masks > hfss(*world, stages=1, **HOW).masks.amax(0)
    assert not outside.any(), "a mask left its parents"


def test_what_does_not_fit_is_said(world, halves, tmp_path):
    model, images = world
    _, _, folder = halves
    first = folder / "first"
    for sentence, source, how in (
        ("must be named, one after the other", first, {"stages": None}),
        ("that have parents are 2 to 4", first, {"stages": [1, 2]}),
        ("elitism needs the scores", first, {"stages": [2], "elitism": True}),
        ("is not there", tmp_path / "no", {"stages": [2]}),
        ("the stages there are 1; got 2", first, {"stages": [3]}),
    ):
        with pytest.raises(UsageError, match=sentence):
            hfss(model, images, parents_from=source, **{**HOW, **how})
    renamed = synthetic(1, images_per_class=5)
    renamed.classes[:] = ["C0", "C1", "C2", "owl"]
    with pytest.raises(UsageError, match=r"must have a mask for every class; .* has none of owl"):
        hfss(model, renamed, parents_from=first / "stage-1.safetensors", stages=[2], **HOW)


def test_the_command_line_runs_a_stage_and_rates_an_earlier_one(run, tmp_path):  # noqa: F811
    from freqkit.data import write_image_folder

    write_image_folder(synthetic(1, images_per_class=3), tmp_path / "images")
    about = ["--model", "small_convnet", "--num-classes", "4", "--data", tmp_path / "images", "-b", "12"]
    search = ["search", *about, "--searcher", "hfss", "--candidates", "6"]
    assert run(*search, "--stages", "1-2", "--out", tmp_path / "a").exit_code == 0
    later = run(*search, "--stages", "3", "--parents", tmp_path / "a", "--out", tmp_path / "b")
    assert later.exit_code == 0 and (tmp_path / "b/report.html").is_file()
    assert "parents: " in (tmp_path / "b/run.yaml").read_text()
    found = [run("rates", *about, "--dfm", tmp_path / "a", *more, "--json") for more in ([], ["--stage", 1])]
    last, first = (json.loads(each.stdout)["classes"] for each in found)
    assert max(row["coverage"] for row in last) < min(row["coverage"] for row in first)
    refused = run(*search, "--stages", "3", "--parents", tmp_path / "c", "--out", tmp_path / "d")
    assert refused.exit_code == 2 and "--parents must be a file or a run directory" in refused.stderr
