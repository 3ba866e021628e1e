"""Numbers and sentences of pages that say what they are of."""

import json
import os
import signal

import pytest
import torch
import yaml

from freqkit.data import synthetic
from freqkit.engine import Interrupted, Silent
from freqkit.measures import adcs
from freqkit.models import load_model
from freqkit.report import advice, write_report
from freqkit.report.provenance import cost_rows
from freqkit.report.readings import by_chance, readings
from freqkit.report.words import more_than_asked, same_maps, verdict
from freqkit.results.clean import CleanRates
from freqkit.search import hfss, learned, removal


def one(hits, images, other, others, kept=0.05):
    rates = torch.tensor([[hits / images], [other / others]], dtype=torch.float64)
    counts = torch.tensor([[images], [others]])
    return readings(["owl"], *rates, *counts, torch.tensor([kept]))


def test_one_of_ten_is_not_more_often_than_by_chance():
    assert by_chance(1, 10, 0, 90) == pytest.approx(0.1) and by_chance(0, 10, 3, 90) == pytest.approx(1)
    few = one(1, 10, 0, 90)
    assert few[0].word == "none" and few[0].difference_interval[0] > 0
    words = " ".join(verdict(few, tested=True))
    assert "more often than by chance" not in words and "1 of 10, TPR 95% interval 2%–40%" in words
    many = one(10, 100, 0, 900)
    assert many[0].word == "weak" and "by chance (Fisher's exact test, 2.5%)" in " ".join(verdict(many, tested=True))
    assert "chosen on these very images" in " ".join(verdict(many))


class StopAfter(Silent):
    def __init__(self, left):
        self.left = left

    def advance(self, amount, **facts):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGTERM)


def test_seconds_in_the_model_are_those_of_all_sessions(tmp_path):
    model, images = load_model("cifar_resnet20", num_classes=4), synthetic(images_per_class=6)
    how = {"stages": 1, "candidates": 30, "top": 2, "batch_size": 24, "out": tmp_path / "run"}
    with pytest.raises(Interrupted):
        hfss(model, images, progress=StopAfter(28), **how, split_fraction=1)
    first = json.loads((tmp_path / "run" / "run.json").read_text())
    record = hfss(model, images, resume=True, **how, split_fraction=1).record
    assert first["seconds_in_model"] <= record["seconds_in_model"] <= record["seconds"]
    assert record["seconds_in_model"] > 0.5 * first["seconds_in_model"] and record["sessions"] == 2
    assert dict(cost_rows(record))["In the model"]
    del record["seconds_of_all_sessions"]  # of before: seconds of the last session alone
    assert "In the model" not in dict(cost_rows(record))


def test_speed_counts_backwards(tmp_path):
    model, images = load_model("small_convnet", num_classes=4), synthetic(images_per_class=3)
    result = learned(model, images, steps=2, batch_size=16, out=tmp_path / "run", split_fraction=1)
    rows = dict(cost_rows({**result.record, "seconds": 2.0}))
    assert rows["Forward-equivalents"].startswith(f"{result.forward_equivalents:,}")
    assert rows["Speed"] == f"{result.forward_equivalents / 2:,.0f} forward-equivalents/s"
    assert "masks tried" not in write_report(tmp_path / "run").read_text()


def test_patches_say_what_they_keep(tmp_path):
    model, images = load_model("small_convnet", num_classes=4), synthetic(images_per_class=3)
    result = removal(model, images, patch=8, batch_size=16, out=tmp_path / "run", split_fraction=1)
    kept = [row["coverage"] for row in result.table()]
    assert min(kept) > 0.055
    assert (
        f"5.0% of the frequencies were asked for, {100 * min(kept):.1f}%" in write_report(tmp_path / "run").read_text()
    )
    assert more_than_asked(0.05, one(5, 10, 1, 90, kept=0.051)) == []


def test_equal_maps_are_named():
    masks = torch.zeros(4, 8, 8)
    masks[1:3, 4, 4] = 1
    masks[3, 4, 3] = 1
    [sentence] = same_maps(["a", "b", "c", "d"], masks)
    assert sentence.startswith("The same map, bin by bin, was found for b and c:")
    assert same_maps(["a", "b"], masks[:2]) == []


def test_class_spectra_of_few_images_conclude_nothing(tmp_path):
    for number, said in ((6, True), (60, False)):
        adcs(synthetic(images_per_class=number)).save(tmp_path / "adcs.safetensors")
        page = write_report(tmp_path / "adcs.safetensors").read_text()
        assert (f"as few as {number} images of a class, and no interval" in page) == said
        assert ("In the few images at hand" in page) == said


def test_chance_of_one_name_is_a_plain_number():
    one = CleanRates(["a"], torch.tensor([4]), torch.tensor([4]), torch.tensor([4]), [("a", 4)], 1)
    assert "would give 100%" in one.sentence()


def test_advice_reads_the_images_as_the_search_did(tmp_path):
    """Every digit of a mean, and the order that decides which images a share takes."""
    assert "0.4798381,0.5" in advice.command("rates", mean=[0.4798381, 0.5])
    flags = {"model": "m", "data": "d", "split-fraction": 0.05, "published-order": True, "npy-floats": "published"}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({"command": "search", "flags": flags}))
    [(_, line)] = advice.test_of(tmp_path, "dfm.safetensors")
    assert "--published-order" in line and "--npy-floats published" in line and "--rest" in line


def test_a_published_search_says_how_it_differs(tmp_path):
    model, images = load_model("small_convnet", num_classes=4), synthetic(images_per_class=3)
    hfss(
        model,
        images,
        preset="cvpr2025",
        stages=1,
        candidates=6,
        top=2,
        batch_size=12,
        out=tmp_path / "run",
        split_fraction=1,
    )
    page = write_report(tmp_path / "run").read_text()
    assert "Unlike the released code" in page and "candidates 6 (there: 500)" in page
    assert "keep 0" not in page.partition("Unlike the released code")[2].partition("</d")[0]
    hfss(model, images, stages=1, candidates=6, top=2, batch_size=12, out=tmp_path / "ours", split_fraction=1)
    assert "Unlike the released code" not in write_report(tmp_path / "ours").read_text()
