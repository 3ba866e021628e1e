"""Whole images are asked before anything is filtered: on record, in tables, on pages, in the first lines."""

import json

import pytest
import torch
from torch import nn

from freqkit.data import synthetic
from freqkit.engine import Journal
from freqkit.errors import UsageError
from freqkit.masks import DfmFile
from freqkit.models import Classifier, load_model
from freqkit.registry import MEASURES
from freqkit.report import write_report
from freqkit.results import load_result
from freqkit.results.clean import CleanRates
from freqkit.search import evolve, gradient, greedy, hfss, learned, removal
from freqkit.training import train
from tests.measures_at_hand import asks_of_images, small_result

SEARCHES = {
    "hfss": (hfss, {"stages": 2, "candidates": 6, "top": 2}),
    "hfss certain": (hfss, {"stages": 1, "candidates": 6, "top": 1, "stopping": "certain"}),
    "hfss racing": (hfss, {"stages": 2, "candidates": 6, "top": 1, "risk": 0.1}),
    "hfss elite": (hfss, {"stages": 2, "candidates": 6, "top": 2, "elitism": True}),
    "hfss published": (hfss, {"stages": 2, "candidates": 6, "top": 2, "preset": "cvpr2025"}),
    "learned": (learned, {"steps": 2, "own": 2, "others": 2}),
    "evolve": (evolve, {"generations": 2, "candidates": 4, "elite": 2}),
    "greedy": (greedy, {"tolerance": 1}),
    "gradient": (gradient, {"patch": 8, "rescore": 0.3}),
    "removal": (removal, {"patch": 8}),
    "removal published": (removal, {"patch": 8, "preset": "iccv2023", "published_batch_size": 5}),
}


@pytest.fixture(scope="module")
def model():
    found = load_model("small_convnet", num_classes=4, seed=0)
    train(found, synthetic(1, images_per_class=40, seed=0), epochs=2, batch_size=32, lr=0.05, seed=0)
    return found


@pytest.fixture(scope="module")
def images():
    return synthetic(1, images_per_class=6, seed=1).subset(list(range(17)))  # 6, 6, 5 and none


@torch.no_grad()
def answers(model, images, masks=None):
    """int64 [n]: of whole images, or of each image through the mask of its class, by float64 transforms."""
    x = model.normalise(images.images.float() / 255).double()
    if masks is not None:
        own = torch.fft.ifftshift(masks[images.labels].double(), dim=(-2, -1))
        x = torch.fft.ifft2(torch.fft.fft2(x) * own[:, None]).real
    return model.network(x.float()).argmax(1)


@pytest.mark.parametrize("name", SEARCHES)
def test_every_search_asks_whole_images_and_counts_what_is_still_recognised(model, images, tmp_path, name):
    search, how = SEARCHES[name]
    how = {**how, "batch_size": 8, "split_fraction": 1}
    result = search(model, images, out=tmp_path / "run", **how)
    whole = answers(model, images) == images.labels
    through = answers(model, images, torch.cat([result.masks, torch.zeros(1, 32, 32)])) == images.labels
    for c, row in enumerate(result.table()):
        own = images.labels == c
        assert row["clean TPR"] == pytest.approx(whole[own].double().mean().item())
        assert row["clean FPR"] == pytest.approx((answers(model, images)[~own] == c).double().mean().item())
        assert row["recognised whole"] == int(whole[own].sum())
        expected = None if not whole[own].any() else through[own & whole].double().mean().item()
        assert row["still recognised"] == (None if expected is None else pytest.approx(expected))
    clean = result.clean
    assert clean.accuracy == whole.double().mean().item() and clean.images == 17 and clean.logits == 4
    loaded = load_result(tmp_path / "run")
    assert loaded.table() == result.table() and loaded.clean.record == clean.record
    with Journal(tmp_path / "run" / "journal.bin") as journal:
        assert any(key.startswith("clean/0-1/") for key in journal.keys())
    page = write_report(tmp_path / "run").read_text()
    low = clean.interval[0]
    assert f"{100 * clean.accuracy:.1f}% of 17 are recognised (95% interval {100 * low:.1f}" in page
    assert "of the whole images recognised" in page and "clean TPR" in page
    if not (name.startswith("hfss") or name == "greedy"):
        assert search(model, images, dry_run=True, **how).forwards == result.forwards
    # A run of before whole images were asked loads, and says that it does not know.
    file = tmp_path / "run" / "run.json"
    record = json.loads(file.read_text())
    del record["clean"]
    file.write_text(json.dumps(record))
    old = load_result(tmp_path / "run")
    assert old.clean is None and {row["clean TPR"] for row in old.table()} == {None}
    assert "not known: the run did not ask the whole images" in write_report(tmp_path / "run").read_text()


def test_a_plan_counts_the_whole_images(model, images):
    how = {"stages": 1, "candidates": 6, "batch_size": 8}
    plan = hfss(model, images, dry_run=True, **how, split_fraction=1)
    assert (
        plan.forwards == hfss(model, images, **how, split_fraction=1).forwards == 17 * (1 + plan.stages[0]["distinct"])
    )
    assert greedy(model, images, dry_run=True, batch_size=8, split_fraction=1).stages[0]["forwards"] == 17


def clean(confusion, index=None):
    table = torch.tensor(confusion)
    names = [f"class {i}" for i in range(len(table))]
    return CleanRates.of_confusion(names, table, torch.arange(len(table)) if index is None else index)


def test_near_chance_is_a_caution():
    good = clean([[18, 2], [1, 19]])
    assert not good.near_chance and good.cautions() == []
    guesses = clean([[11, 9], [9, 11]])
    assert guesses.near_chance and "55.0% only (22 of 40, 95% interval 39.8–69.3%)" in guesses.cautions()[0]
    # 18% of ten classes, as of a network whose images are normalised twice, is near chance; 79% are not.
    eighteen = torch.full((10, 10), 9)
    eighteen[:, 0] += 10
    assert clean((eighteen + 9 * torch.eye(10, dtype=torch.int64)).tolist()).near_chance
    right = torch.eye(10, dtype=torch.int64) * 77 + 2
    assert not clean(right.tolist()).near_chance
    # A constant answer on an unbalanced set has high accuracy, and a mean over classes that is chance.
    constant = clean([[90, 0], [10, 0]])
    assert constant.accuracy == 0.9 and constant.near_chance
    assert "recognised of class 1 (clean TPR 0)" in constant.cautions()[-1]
    # Few images prove nothing.
    assert clean([[2, 0], [1, 2]]).near_chance and not clean([[9, 0], [0, 9]]).near_chance


def test_classes_in_another_order_are_named():
    shifted = clean([[1, 9, 0], [0, 1, 9], [9, 0, 1]])
    assert "Most images of class 0 are called class 1, most of class 1 are called class 2" in shifted.cautions()[1]
    single = clean([[1, 0, 0], [0, 0, 1], [0, 1, 0]])  # an image of each class, two confused
    assert not any("the order of the classes" in caution for caution in single.cautions())
    two = clean([[20, 0, 0], [0, 2, 18], [0, 18, 2]])
    assert [c for c in two.cautions() if "order of the classes" in c] and two.swapped() == [
        ("class 1", "class 2"), ("class 2", "class 1"),
    ]  # fmt: skip
    assert clean([[10, 0], [9, 1]]).swapped() == []  # a default answer is no order
    beyond = CleanRates.of_confusion(["a", "b"], torch.tensor([[0, 0, 9], [0, 9, 0]]), torch.tensor([0, 1]))
    assert beyond.mostly[0] == ("logit 2", 9)


def test_measures_say_the_same_of_whole_images(model, images, tmp_path):
    masks = (torch.rand(4, 32, 32, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    dfm = DfmFile(((masks + masks.flip(1, 2).roll((1, 1), (1, 2))) / 2), list(images.classes))
    asked = [small_result(name, model, images, dfm) for name in MEASURES if asks_of_images(name)]
    asked = [result for result in asked if hasattr(result, "clean")]  # the others show no whole image
    found = next(result for result in asked if hasattr(result, "still"))
    assert len(asked) > 1 and all(found.clean.correct.equal(result.clean.correct) for result in asked)
    whole, through = answers(model, images) == images.labels, answers(model, images, dfm.masks) == images.labels
    for c in range(3):
        own = images.labels == c
        assert found.still[c] == (own & whole & through).sum() and found.clean.correct[c] == (own & whole).sum()
    found.save(tmp_path / "rates.safetensors")
    again = type(found).load(tmp_path / "rates.safetensors")
    assert again.clean.record == found.clean.record and torch.equal(again.still, found.still)
    page = write_report(tmp_path / "rates.safetensors").read_text()
    assert "Whole images, before anything is filtered" in page and "still recognised" in page
    for result in asked:
        result.save(tmp_path / "asked.safetensors")
        assert "Clean accuracy" in write_report(tmp_path / "asked.safetensors").read_text()
    again.class_index = again.still = None  # as in files of before
    assert again.clean is None and again.table()[0]["still recognised"] is None


def test_a_blind_network_is_said_first(run_cli, tmp_path):
    """On the page and on stdout, before any table."""
    result, out = run_cli
    lines = result.stdout.splitlines()
    assert lines[0].startswith("Whole images, before anything is filtered: 25.0% of 12 are recognised")
    assert lines[1].startswith("Caution: Whole images are recognised in 25.0% only (3 of 12")
    assert lines[2].startswith("Caution: Not one whole image is recognised of")
    assert "Caution: The same map, bin by bin, was found for C0, C1, C2 and C3" in result.stdout
    page = (out / "report.html").read_text()
    assert page.index("not surely more, so nothing below need be the network") < page.index("The model saw each class")
    assert page.index("Whole images are recognised in 25.0% only") < page.index("The model saw each class")
    assert "The same map, bin by bin, was found for C0, C1, C2 and C3" in page


@pytest.fixture
def run_cli(tmp_path):
    from click.testing import CliRunner

    from freqkit.cli.app import app
    from freqkit.data import write_image_folder

    write_image_folder(synthetic(images_per_class=3), tmp_path / "images")
    (tmp_path / "blind_network.py").write_text(
        "import torch\n"
        "class Blind(torch.nn.Module):\n"
        "    num_classes = 4\n"
        "    def forward(self, x):\n"
        "        return torch.tensor([[0.0, 3.0, 1.0, 2.0]]).repeat(len(x), 1) + 0 * x.sum((1, 2, 3))[:, None]\n"
    )
    out = tmp_path / "run"
    arguments = ["dfm", "--model", f"{tmp_path}/blind_network.py:Blind", "--data", tmp_path / "images"]
    arguments += ["--image-size", 32, "--patch", 8, "-b", 8, "--out", out, "--level", 0.1, "--levels", 0.1]
    arguments += ["--split-fraction", 1]
    result = CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    return result, out


def test_labels_fewer_than_logits(images):
    """Some classes of a network that knows more: chance is among all its names."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 50))
    model = Classifier(network, mean=(0.5,) * 3, std=(0.25,) * 3, num_classes=50)
    result = removal(model, images, patch=16, batch_size=8, class_index=[3, 30, 7, 9], split_fraction=1)
    assert result.clean.chance == 1 / 50 and result.clean.logits == 50


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"called": [1]}, "clean.called must hold one of each of the 2 classes; got 1"),
        ({"mostly": []}, "clean.mostly must hold one"),
        ({"still": [1, 1, 1]}, "clean.still must hold one"),
        ({"correct": [9, 0]}, "more images as recognised than there are"),
        ({"still": [0, 2]}, "more images as recognised"),
    ],
)
def test_a_record_that_does_not_fit_its_classes(change, words):
    record = {"correct": [2, 1], "called": [3, 1], "mostly": [["a", 2], ["b", 1]], "logits": 2, "still": [1, 1]}
    assert CleanRates.of_record({"clean": record}, ["a", "b"], [2, 2]).correct.tolist() == [2, 1]
    with pytest.raises(UsageError, match=words):
        CleanRates.of_record({"clean": {**record, **change}}, ["a", "b"], [2, 2])
