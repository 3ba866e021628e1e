"""One class has one reading, whichever command looks at it."""

import csv
import json

import pytest
import torch

from freqkit.data import load_images, synthetic, write_image_folder
from freqkit.masks import DfmFile, low_pass, save_dfm
from freqkit.measures import evaluate, rates
from freqkit.measures.evaluation.readings import readings_of_evaluation
from freqkit.measures.rates import readings_of
from freqkit.models import load_model
from freqkit.report import write_report
from freqkit.report.readings import READINGS, readings, shortcuts_sentence
from tests.report.test_html import Page


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A network that was never trained: through coarse maps it calls most things one class, of high TPR and FPR."""
    root = tmp_path_factory.mktemp("readings")
    write_image_folder(synthetic(1, images_per_class=40), root / "mine")
    model = load_model("small_convnet", num_classes=4, seed=5)
    maps = DfmFile(torch.stack([low_pass(32, 2)] * 4).float(), ["C0", "C1", "C2", "C3"])
    return root, model, maps


def test_evaluate_and_rates_say_the_same(world):
    from freqkit.data import open_sets

    root, model, maps = world
    one = rates(model, load_images(root / "mine", image_size=32), maps, null=0)  # of which `evaluate` asks none
    two = evaluate([("m", model)], open_sets([f"mine={root / 'mine'}"]), maps, image_size=32, out=root / "run")
    first, second = readings_of(one), readings_of_evaluation(two, "m")
    assert {r.name: (r.word, r.tpr, r.positives) for r in first} == {
        r.name: (r.word, r.tpr, r.positives) for r in second
    }
    high = [r for r in first if r.tpr > 0.5]
    assert high and not [r for r in first if r.word == "shortcut"]  # by TPR alone it would be one
    assert [r.word for r in high] == ["default"] * len(high)
    assert (
        shortcuts_sentence(first)
        == shortcuts_sentence(second)
        == ("No class of 4 has a shortcut (95% interval of TPR - FPR above 50%).")
    )
    # So few images are all asked through every other map: the very numbers of `rates`.
    assert {r.name: (r.fpr, r.negatives, r.difference_interval) for r in first} == {
        r.name: (r.fpr, r.negatives, r.difference_interval) for r in second
    }
    page = Page(write_report(root / "run"))
    assert "No class has a clear shortcut on the test images" in page.text
    assert "0 of 4" not in page.text or "have a shortcut" in page.text
    assert not any(f"{k} has a shortcut" in page.text or f"{k} have a shortcut" in page.text for k in range(1, 5))
    assert "have a high filtered TPR" in page.text or "has a high filtered TPR" in page.text
    assert "It is not known on which images these maps were selected" in page.text
    head = next(table[0] for table in page.tables if "reading" in table[0])
    assert {"class", "reading", "TPR", "FPR", "TPR − FPR, 95% interval", "clean TPR", "pairs"} <= set(head)
    table = next(table for table in page.tables if "reading" in table[0])
    told = {row[0]: row[1] for row in table[1:]}
    assert told == {r.name: READINGS[r.word] for r in first}


def test_without_fpr_nothing_is_said_of_shortcuts(world, tmp_path):
    from freqkit.data import open_sets

    root, model, maps = world
    sets = open_sets([f"mine={root / 'mine'}"])
    found = evaluate([("m", model)], sets, maps, image_size=32, out=tmp_path / "run", preset="cvpr2025")
    assert readings_of_evaluation(found, "m") == []
    page = Page(write_report(tmp_path / "run"))
    assert "there is no FPR and nothing is said of shortcuts" in page.text
    assert "squash on ImageNet-C, -v2 and -Sketch, else center-crop" in page.text
    few = evaluate([("m", model)], sets, maps, image_size=32, out=tmp_path / "few", cross=0.1)
    least = min(one.negatives for one in readings_of_evaluation(few, "m"))
    assert f"as few as {least} images of other classes" in Page(write_report(tmp_path / "few")).text


def test_a_reading_does_not_hang_on_the_intervals_of_a_result(world, tmp_path):
    root, model, maps = world
    images = load_images(root / "mine", image_size=32)
    words = [
        [r.word for r in readings_of(rates(model, images, maps, **how))]
        for how in ({}, {"confidence": 0.5}, {"interval": "bootstrap", "resamples": 100})
    ]
    assert words[0] == words[1] == words[2]
    result = rates(model, images, maps, confidence=0.5)
    result.save(tmp_path / "r.safetensors")
    page = Page(write_report(tmp_path / "r.safetensors", out=tmp_path / "r.html"))
    head = next(table[0] for table in page.tables if "reading" in table[0])
    assert "50% wilson, from" in head and "TPR − FPR, 95% interval" in head  # short, or it would be cut
    assert "50% wilson: the interval of TPR − FPR that was asked for" in page.text


def test_the_command_line_says_it(world, run_command, tmp_path):
    root, model, maps = world
    from freqkit.models import save_weights

    save_weights(model, tmp_path / "w.safetensors")
    save_dfm(tmp_path / "dfm.safetensors", maps)
    about = ["--weights", tmp_path / "w.safetensors", "--num-classes", 4, "--dfm", tmp_path / "dfm.safetensors"]
    first = run_command("rates", "--model", "small_convnet", "--data", root / "mine", *about, "--json")
    second = run_command("evaluate", "--model", "small_convnet", *about, "--on", f"mine={root / 'mine'}",
                         "--out", tmp_path / "run", "--json", "--no-pictures")  # fmt: skip
    one = {row["class"]: row["reading"] for row in json.loads(first.stdout)["classes"]}
    two = {name: row["reading"] for name, row in json.loads(second.stdout)["readings"]["small_convnet"].items()}
    assert one == two and READINGS["shortcut"] not in one.values()
    text = run_command("evaluate", "--model", "small_convnet", *about, "--on", f"mine={root / 'mine'},fgsm:eps=4",
                       "--preset", "cvpr2025", "--cross", 0.2, "--out", tmp_path / "two")  # fmt: skip
    assert "small_convnet: No class of 4 has a shortcut" in text.stderr + text.stdout
    rows = list(csv.DictReader(open(tmp_path / "two" / "results.csv")))
    assert "fgsm linf 4/255, loss logit, clipped" in {row["condition"] for row in rows}
    assert "fgsm linf 4/255, loss logit, clipped" in Page(tmp_path / "two" / "report.html").text


def test_searches_rates_and_evaluations_of_the_same_images_use_the_same_words(world, run_command, tmp_path):
    from freqkit.models import save_weights

    root, model, _ = world
    save_weights(model, tmp_path / "w.safetensors")
    about = ["--model", "small_convnet", "--weights", tmp_path / "w.safetensors", "--num-classes", 4]
    data = ["--data", root / "mine", "--image-size", 32]
    for name, searched, maps in (
        ("dfm", ("dfm", "--patch", 4), "dfm-5.safetensors"),
        ("search", ("search", "--steps", 2), "dfm.safetensors"),
    ):
        out = tmp_path / name
        searched = (*searched, "--split-fraction", 1)
        found = [run_command(*searched, *about, *data, "--out", out, "--json"),
                 run_command("rates", *about, *data, "--dfm", out / maps, "--json")]  # fmt: skip
        words = [{row["class"]: row["reading"] for row in json.loads(one.stdout)["classes"]} for one in found]
        third = run_command("evaluate", *about, "--dfm", out / maps, "--on", f"mine={root / 'mine'}", "--image-size",
                            32, "--out", tmp_path / f"{name}-evaluated", "--json", "--no-pictures")  # fmt: skip
        readings = json.loads(third.stdout)["readings"]["small_convnet"]
        assert words[0] == words[1] == {name: row["reading"] for name, row in readings.items()}
        table = next(table for table in Page(out / "report.html").tables if "reading" in table[0])
        assert {row[0]: row[table[0].index("reading")] for row in table[1:]} == words[0]
        said = run_command(*searched, *about, *data, "--out", tmp_path / f"{name}-said").stderr
        count = list(words[0].values()).count(READINGS["shortcut"])
        assert (f"{count} of 4 class" if count else "No class of 4 has a shortcut on the images") in said


@pytest.fixture
def run_command():
    from click.testing import CliRunner

    from freqkit.cli.app import app

    def run(*args):
        result = CliRunner().invoke(app, list(map(str, args)))
        assert result.exit_code == 0, result.stderr
        return result

    return run


def test_boundaries_of_the_rule():
    found = readings(list("abcd"), [1.0, 1.0, 0.6, 0.0], [0.0, 0.5, 0.55, 0.0], [20] * 4, [20] * 4, [0.1] * 4)
    assert [one.word for one in found] == ["shortcut", "default", "default", "none"]
    assert found[0].negatives == 20
