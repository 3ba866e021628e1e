"""The report: what is on the page, that it is whole, and that it stays small."""

import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from freqkit.errors import UsageError
from freqkit.report import write_comparison, write_report
from freqkit.report.readings import readings
from freqkit.report.svg import percent, plane_png
from tests.report.conftest import AWKWARD, made_up


class Page(HTMLParser):
    """Tables, ids, pictures and links of a page, as a browser would see them."""

    def __init__(self, path):
        super().__init__()
        self.tables, self.ids, self.links, self.images, self.open, self.unnamed = [], [], [], [], [], 0
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)
        self.close()

    def handle_starttag(self, tag, attributes):
        about = dict(attributes)
        self.ids += [about["id"]] if "id" in about else []
        self.links += [about[key] for key in ("href", "src") if key in about]
        if tag == "img" or about.get("role") == "img":
            self.images.append(about.get("alt") or about.get("aria-label"))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.open.pop()

    def handle_data(self, data):
        if self.open:
            self.tables[-1][-1][-1] += data.strip()


@pytest.fixture(scope="module")
def page(searched):
    folder, _ = searched
    return Page(write_report(folder))


def test_the_table_holds_the_numbers_of_the_result(page, searched):
    _, result = searched
    head, *rows = page.tables[0]
    shown = {row[0]: dict(zip(head, row, strict=True)) for row in rows}
    assert set(shown) == set(result.classes)
    for row in result.table():
        found = shown[row["class"]]
        assert found["TPR"] == percent(row["TPR"])
        assert found["FPR"] == percent(row["FPR"])
        assert found["kept"] == percent(row["coverage"], 1)
        assert float(found["loss"]) == pytest.approx(row["loss"], rel=0.01)
    differences = [row["TPR-FPR"] for row in result.table()]
    assert [row[0] for row in rows] == [result.classes[i] for i in np.argsort(-np.array(differences), kind="stable")]


def test_needs_no_network_and_every_link_has_its_place(page):
    assert not re.search(r"https?://", page.text)
    assert "default-src 'none'" in page.text
    for link in page.links:
        assert link.startswith(("#", "data:")), link
        if link.startswith("#"):
            assert link[1:] in page.ids
    assert len(page.ids) == len(set(page.ids))


def test_every_picture_has_words(page):
    assert len(page.images) >= 5 + 2 * 5 + 2  # maps, examples before and after, scatter, curves
    assert all(page.images)
    assert page.text.count("How to read this") >= 4


def test_names_cannot_break_the_page(page):
    assert AWKWARD not in page.text
    assert AWKWARD in [row[0] for row in page.tables[0]]


def test_says_what_was_asked_and_what_it_cost(page):
    for words in ("a_model", "100 of pictures", "30, 30", "6,000", "12.5 s", "480 forwards/s", "abababab", "cdcdcdcd"):
        assert words in page.text, words


def test_a_pixel_of_a_map_is_its_bin():
    from PIL import Image

    plane = torch.zeros(8, 6)
    plane[5, 1], plane[2, 4] = 1, 0.5
    alpha = np.asarray(Image.open(io.BytesIO(plane_png(plane))).convert("RGBA"))[..., 3] / 255
    assert np.allclose(alpha, plane.numpy(), atol=0.01)
    signed = np.asarray(Image.open(io.BytesIO(plane_png(plane - 2 * plane.flip(0), signed=True))).convert("RGBA"))
    assert signed[5, 1, 3] == 255 and signed[5, 1, 2] > signed[5, 1, 0]  # blue above nought
    assert signed[2, 1, 3] == 255 and signed[2, 1, 0] > signed[2, 1, 2]  # orange below
    assert signed[0, 0, 3] == 0


def test_readings_by_hand():
    """One class per word, 50 images of it and 450 others."""
    names = ["sure", "always", "some", "never"]
    tpr, fpr = torch.tensor([0.98, 1.0, 0.4, 0.0]).double(), torch.tensor([0.0, 0.9, 0.1, 0.0]).double()
    counts = torch.full((4,), 50)
    found = readings(names, tpr, fpr, counts, counts * 9, torch.full((4,), 0.1))
    assert [one.word for one in found] == ["shortcut", "default", "weak", "none"]
    # Wilson's interval of 49 of 50, from a table
    assert found[0].tpr_interval == pytest.approx((0.8950, 0.9965), abs=1e-4)


def test_many_classes_keep_most_maps_back(tmp_path):
    made_up(90, directory=tmp_path / "run")
    many = Page(write_report(tmp_path / "run"))
    held = json.loads(re.search(r'class="held">(.*?)</script>', many.text, re.S)[1])
    maps = [key for key in many.ids if key.startswith("map-")]
    assert len(maps) == 40 and len(held) == 50
    assert {*maps, *(one[0] for one in held)} == {f"map-{i}" for i in range(90)}
    assert len(many.tables[0]) == 91
    assert len(many.text) < 1e6


def test_an_unfinished_search_says_so(tmp_path):
    made_up(3, directory=tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    record.update(status="interrupted", stages_done=[1])
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    text = write_report(tmp_path / "run").read_text()
    assert "has not finished (interrupted): this is stage 1 of 2" in text
    record.update(stages_done=[])
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    with pytest.raises(UsageError, match="its run is interrupted and has finished no stage yet"):
        write_report(tmp_path / "run")


def test_measures_have_pages(tmp_path):
    from freqkit.data import synthetic
    from freqkit.masks import DfmFile, hermitian
    from freqkit.measures import adcs, rates
    from freqkit.models import load_model

    images = synthetic(1, images_per_class=4)
    adcs(images).save(tmp_path / "adcs.safetensors")
    dfm = DfmFile(hermitian((torch.rand(4, 32, 32) < 0.3).float()), images.classes)
    rates(load_model("small_convnet"), images, dfm).save(tmp_path / "rates.safetensors")
    text = write_report(tmp_path / "adcs.safetensors").read_text()
    assert "no model was asked" in text and "ADCS by radius" in text
    text = write_report(tmp_path / "rates.safetensors").read_text()
    assert "On the test images" not in text and "is taken for" in text and "not known on which images" in text
    # a directory shows everything that it holds
    both = write_report(tmp_path).read_text()
    assert "ADCS by radius" in both and "On the test images" in both


def test_removal_has_a_page(tmp_path):
    from freqkit.data import synthetic
    from freqkit.models import load_model
    from freqkit.search import removal

    removal(
        load_model("small_convnet"), synthetic(1, images_per_class=2), patch=8, out=tmp_path / "run", split_fraction=1
    )
    page = Page(write_report(tmp_path / "run"))
    assert {"dfm", "cost", "map-0", "cost-3"} <= set(page.ids)
    assert "unfiltered loss" in page.tables[0][0]


def test_runs_are_compared(tmp_path, searched):
    folder, result = searched
    other = made_up(5, directory=tmp_path / "other", names=result.classes, seed=4)
    page = Page(write_comparison([folder, tmp_path / "other"], tmp_path / "both.html"))
    head, *rows = page.tables[1]
    assert [cell for cell in head if cell] == ["class", "run", "TPR − FPR", "other", "TPR − FPR", "range"]
    one = {row["class"]: row["TPR-FPR"] for row in result.table()}
    two = {row["class"]: row["TPR-FPR"] for row in other.table()}
    for name, _, first, _, second, span in rows:
        assert (first, second) == (percent(one[name]), percent(two[name]))
        assert span == percent(abs(one[name] - two[name]))
    kept = [run.masks > 0 for run in (result, other)]
    common = ((kept[0] & kept[1]).sum((1, 2)) / (kept[0] | kept[1]).sum((1, 2))).mean()
    assert page.tables[2][1][1] == percent(float(common), 1)
    with pytest.raises(UsageError, match="two runs or more"):
        write_comparison([folder], tmp_path / "x.html")
    with pytest.raises(UsageError, match="holds no result"):
        write_report(tmp_path)


def test_a_training_has_a_page(tmp_path):
    (tmp_path / "run.json").write_text(
        json.dumps({"kind": "training", "status": "finished", "seconds": 3.0, "model": {"name": "net"}})
    )
    (tmp_path / "history.csv").write_text(
        "epoch,lr,loss,accuracy,val_loss,val_accuracy\n1,0.1,2,0.4,1.5,0.5\n2,0.1,1,0.7,1.2,0.6\n3,0.1,0.5,0.9,1.4,0.58\n"
    )
    (tmp_path / "learning.csv").write_text(
        "step,accuracy,cat,dog\n0,0.1,0,0\n10,0.5,0.85,0.2\n20,0.6,0.9,0.7\n30,0.7,0.95,0.81\n"
    )
    text = write_report(tmp_path).read_text()
    assert "After 3 epochs the validation accuracy is 58.0%" in text
    assert "best epoch was 2 (60.0%)" in text and "90.0%: 32.0 percent points more" in text
    assert "cat from iteration 10, dog from iteration 30" in text


def test_a_comparison_of_searchers_has_a_page(tmp_path):
    """Rows by hand; one search kept its folder, from which the maps come."""
    from freqkit.search import Comparison
    from freqkit.search.compare import COLUMNS

    def row(searcher, effort, seed, rate, cost, loss):
        return {**dict.fromkeys(COLUMNS, 0.05), "searcher": searcher, "effort": effort, "seed": seed, "forwards": cost,
                "backwards": 0, "forward equivalents": cost, "seconds": 60.0, "TPR-FPR": rate,
                "loss": loss}  # fmt: skip

    rows = [row("learned", 120, 0, 0.16, 2000, 3.8), row("learned", 120, 1, 0.20, 2000, 3.6),
            row("hfss", 50, 0, 0.17, 6000, 2.4), row("hfss", 50, 1, 0.11, 6000, 2.2)]  # fmt: skip
    facts = {"runs": 5, "coverage": 0.1, "effort": {"learned": "steps", "hfss": "masks per stage"}}
    Comparison(rows, facts).save(tmp_path)
    assert Comparison.load(tmp_path).rows == rows
    made_up(5, directory=tmp_path / "hfss-50-seed0")
    page = Page(write_report(tmp_path))
    for words in (
        "learned (120 steps) has the best masks: mean TPR − FPR 18.0% ± 2.8% over 2 seeds, for 2,000",
        "hfss (50 masks per stage) follows with 14.0% ± 4.2% over 2 seeds, for 6,000",
        "learned is ahead in 1 of 2 seeds, by -1.0 to 9.0 percent points",
        "The lowest class loss has hfss (50 masks per stage): 2.3 nats",
        "4 of 5 searches are done", "Not all keep the share that was asked for (10.0%)",
    ):  # fmt: skip
        assert words in page.text, words
    head, first, second = page.tables[0]
    assert [first[0], second[0]] == ["learned", "hfss"]
    assert dict(zip(head, first, strict=True))["TPR − FPR ± sd"] == "18.0% ± 2.8%"
    assert "map-0-0" in page.ids and len(page.tables[1]) == 5


def test_every_module_of_pages_is_used(page):
    from freqkit.report.pages import MAKERS

    assert {make.__name__ for _, make in MAKERS} >= {
        "search_part", "removal_part", "rates_part", "adcs_part", "demo_part", "training_part", "comparison_part",
    }  # fmt: skip


def test_a_summary_is_one_small_picture(tmp_path, searched):
    from PIL import Image

    from freqkit.report import write_summary

    folder, _ = searched
    path = write_summary(folder, out=tmp_path / "summary.png")
    assert path.stat().st_size < 300_000
    width, height = Image.open(path).size
    assert 800 < width < height < 1600
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "history.csv").write_text("epoch,lr,loss,accuracy,val_loss,val_accuracy\n1,0.1,2,0.4,,\n")
    assert write_summary(tmp_path) is None


def test_a_summary_cuts_the_verdict_but_no_caution():
    from freqkit.report.blocks import Part
    from freqkit.report.summary import LINES, _text

    words = _text(Part("", [f"Sentence {i}." for i in range(40)], cautions=["Only ten images."])).splitlines()
    assert words[0] == "Sentence 0." and words[-1] == "Caution: Only ten images." and len(words) <= LINES


def test_an_evaluation_has_a_page(tmp_path):
    """Rows by hand: two models on two sets, and groups of the first."""
    from freqkit.measures.evaluation import COLUMNS, FORMAT, EvaluationResult

    blank = dict.fromkeys(COLUMNS, "")

    def row(model, place, metric, value, n=100):
        return {**blank, "model": model, "set": place, "condition": "all", "metric": metric, "value": value, "n": n,
                "ci_low": max(value - 0.05, 0), "ci_high": min(value + 0.05, 1)}  # fmt: skip

    rows = [row("net", "v2", "top-1", 0.5), row("net", "clean", "top-1", 0.8), row("other", "clean", "top-1", 0.7)]
    for t in (0.1, 0.5, 0.9):
        rows += [row("net", "v2", f"AvgTPR shortcut@{t}", 0.6, 7), row("net", "v2", f"AvgTPR other@{t}", 0.4, 93)]
    (tmp_path / "run.json").write_text(
        json.dumps(
            {
                "status": "finished",
                "identity": {
                    "evaluation": FORMAT,
                    "preset": "default",
                    "sets": [],
                    "base": None,
                    "attacks": [],
                    "generated": [],
                    "dfm": None,
                    "image_size": 32,
                    "resize": "squash",
                },
                "failures": [],
            }
        )
    )
    EvaluationResult(rows, []).save(tmp_path)
    page = Page(write_report(tmp_path))
    assert page.tables[0][0] == ["set and condition", "net", "other"]
    assert page.tables[0][1] == ["v2", "50.0% (45.0%–55.0%)", "–"]
    assert page.tables[0][2] == ["clean", "80.0% (75.0%–85.0%)", "70.0% (65.0%–75.0%)"]
    assert "7 have a high filtered TPR" in page.text and "the 93 others: 60.0% against 40.0% on v2." in page.text
    assert "net names 80.0% (75.0%–85.0%) of the images rightly on clean, 50.0% (45.0%–55.0%) on v2" in page.text
