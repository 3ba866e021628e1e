"""Every kind of page at three sizes and with names of every sort, looked at by a browser."""

import html
import json
import re
import shlex
import time
from pathlib import Path

import click
import pytest

from freqkit.cli.app import COMMANDS, app
from freqkit.report.sections import GALLERY
from freqkit.report.terms import find_term
from tests.report.browser import CHROMIUM, Browser
from tests.report.gallery import HOSTILE, KINDS, LONG, make

LOOKS = (Path(__file__).parent / "looks.js").read_text(encoding="utf-8")
CASES = {  # classes, names, images of a class, side, model
    "three": (3, "plain", 50, 224, "cifar_resnet20"),
    "ten, long names, one image": (10, "long", 1, 32, LONG),
    "hostile": (len(HOSTILE), "hostile", 50, 32, HOSTILE[2]),
    "many": (40, "plain", 50, 32, "cifar_resnet20"),
    "many images": (12, "joined", 1300, 32, "cifar_resnet20"),
}
with_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def browser():
    with Browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """(kind, case) -> page, each made when it is asked for first."""
    made, root = {}, tmp_path_factory.mktemp("gallery")

    def page(kind, case):
        if (kind, case) not in made:
            classes, names, images, size, model = CASES[case]
            folder = root / f"{kind}-{len(made)}"
            made[kind, case] = make(kind, folder, classes, names=names, images=images, size=size, model=model)
        return made[kind, case]

    return page


EVERY = pytest.mark.parametrize("case", CASES)
KIND = pytest.mark.parametrize("kind", KINDS)


@with_browser
@EVERY
@KIND
@pytest.mark.filterwarnings("ignore:Glyph")  # a font without cats
def test_it_looks_right(browser, pages, kind, case):
    """Nothing cut, hidden, broken, over something else, too faint or too wide; no complaint, nothing run."""
    page, found = pages(kind, case), []
    for width, dark in ((1280, False), (400, False), (1280, True), (400, True)):
        browser.open(page, width=width, dark=dark)
        found += [f"{width}: {fault}" for fault in browser.run(LOOKS) + browser.complaints()]
    assert found == []


@KIND
@pytest.mark.filterwarnings("ignore:Glyph")
def test_names_stand_on_the_page_as_they_are(pages, kind):
    text = pages(kind, "hostile").read_text(encoding="utf-8")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u200b\u2066-\u2069]", text)
    assert "<script>nothing" not in text and text.count("</script>") == len(re.findall("<script", text))
    if kind in ("demo", "evaluation", "searchers", "shape_bias", "slices"):  # these have other classes, none, or some
        return
    shown = html.unescape(text.replace("\\u003c", "<"))
    names = ["a\\x1b[31mred", "\\u202egpj.exe", "zero\\u200bwidth", *HOSTILE[:12]]
    assert [name for name in names if name not in shown] == []


@with_browser
def test_the_check_itself_sees_faults(browser, tmp_path):
    page = tmp_path / "bad.html"
    page.write_text(
        "<!doctype html><body style='background:#fff'><main><p style='color:#ccc'>faint</p>"
        "<p style='width:20px;overflow-wrap:anywhere'>automobile</p><div style='width:1500px'>wide</div>"
        "<svg width=100 height=50><text x=10 y=20>one</text><text x=12 y=22>two</text><text x=90 y=40>outside</text>"
        "<path class=mark d='M20 15h9v9h-9Z'/></svg>"
    )
    browser.open(page)
    found = " ".join(browser.run(LOOKS))
    for words in ("px wide", "contrast", "broken word", "text over text", "mark over", 'cut: "outside"'):
        assert words in found, (words, found)


def commands_in(text):
    """Every command that a page shows."""
    return [html.unescape(words) for words in re.findall(r"<code>(freqkit [^<]*)</code>", text)]


@KIND
def test_every_command_on_a_page_is_whole(pages, kind, tmp_path, monkeypatch):
    """Parsed by the commands themselves, with the files that they name in place."""
    page = pages(kind, "three")
    text = page.read_text(encoding="utf-8")
    shown = commands_in(text)
    bare = re.sub(r"(?s)<(script|style|pre|code)\b.*?</\1>|<header>.*?</header>|<title>.*?</title>", "", text)
    bare = re.sub(r"<[^>]*>", " ", bare)  # and what is said when something is pointed at is no advice
    assert shown and [name for name in COMMANDS if f"freqkit {name}" in bare] == []
    monkeypatch.setattr("freqkit.cli.values.Folder.convert", lambda self, value, *_: value)
    monkeypatch.setattr(click.Path, "convert", lambda self, value, *_: value)
    for line in shown:
        program, name, *rest = shlex.split(line)
        assert program == "freqkit" and name in COMMANDS, line
        app.get_command(click.Context(app), name).make_context(name, list(rest))
        if name == "explain" and rest:
            assert find_term(" ".join(rest))
        if name == "rerun":
            assert (page.parent.parent / rest[0] / "run.yaml").is_file()


def test_a_search_says_how_to_test_its_maps(pages):
    page = pages("hfss", "three")
    shown = " ".join(commands_in(page.read_text(encoding="utf-8")))
    assert "freqkit rates --model cifar_resnet20" in shown and "--split-fraction 0.5" in shown and "--rest" in shown
    assert str(page.parent / "dfm.safetensors") in shown
    flags = {"model": "a b.py:make", "data": "/d", "mean": [0.5, 0.5, 0.5], "pretrained": False}
    (page.parent / "run.yaml").write_text(json.dumps({"command": "search", "flags": flags}))
    from freqkit.report.advice import test_of

    (_, search), (_, test) = test_of(page.parent, "dfm.safetensors")
    assert search.startswith("freqkit search --config") and "--split-fraction 0.5" in search
    assert "--model 'a b.py:make' --mean 0.5,0.5,0.5 --data /d --split-fraction 0.5" in test
    assert test_of(page, "dfm.safetensors") == []


@KIND
def test_every_heading_of_every_table_is_a_term(pages, kind):
    from freqkit.report.blocks import Table
    from freqkit.report.pages import parts_of

    page = pages(kind, "three")
    if kind == "compare":
        assert find_term("run") and find_term("range") and find_term("against chance")
        return
    place = page.parent if page.name == "report.html" else page.with_suffix(".safetensors")
    tables = [block for part in parts_of(place)[0] for section in part.sections for block in section.blocks
              if isinstance(block, Table)]  # fmt: skip
    columns = {(heading, term) for table in tables for heading, _, term in table.columns}
    assert [heading for heading, term in columns if not find_term(term or heading)] == []
    assert [term for _, term in columns if term and not find_term(term)] == []


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"demo", "searchers"}))
def test_a_thousand_classes(tmp_path, kind):
    """Time is bounded with room: an idle processor needs a tenth."""
    began = time.process_time()
    page = make(kind, tmp_path / kind, 1000)
    assert time.process_time() - began < 60
    assert page.stat().st_size < 5e6


def test_a_thousand_noisy_maps_of_large_images(tmp_path):
    """Those that wait in the page are drawn coarser, and say so; those that are shown at once are whole."""
    page = make("adcs", tmp_path / "run", 1000, size=224)
    assert page.stat().st_size < 5e6
    assert page.read_text(encoding="utf-8").count("drawn coarser") == 1000 - GALLERY


def test_even_classes_have_no_first_and_no_last(tmp_path):
    import torch

    from freqkit.measures import AdcsResult
    from freqkit.report import write_report

    about = {"preset": "default", "formula": "", "energy": "", "channel": "grey"}
    result = AdcsResult(torch.zeros(2, 8, 8, dtype=torch.int16), ["cat", "dog"], torch.tensor([60, 60]), about)
    result.save(tmp_path / "adcs.safetensors")
    text = write_report(tmp_path / "adcs.safetensors").read_text(encoding="utf-8")
    assert text.count("all classes are even") == 2 and "comes last (" not in text


def test_one_image_is_no_default_answer(tmp_path):
    text = html.unescape(make("rates", tmp_path / "run", 3, images=1).read_text(encoding="utf-8"))
    assert "airplane: recognised, but on so few images the interval of TPR − FPR reaches 0 (airplane: 1 of 1" in text
    assert "automobile: recognised, but so is much else" in text


def test_a_comparison_warns_of_what_its_runs_warn_of(tmp_path):
    text = make("compare", tmp_path / "run", 3).read_text(encoding="utf-8")
    first, _, rest = text.partition('<dl class="figures">')
    assert "Every run: The maps were chosen on the very images" in first
    assert "clean accuracy" in rest and rest.count(">90.0%</td>") == 5


@pytest.mark.parametrize(
    "images, words",
    [(1, "A class has one image: its TPR is 0% or 100%."), (3, "steps of 33.3%"), (20, "steps of 5%"), (100, "")],
)
def test_steps_of_rates(tmp_path, images, words):
    text = make("band_stop", tmp_path / "run", 3, images=images).read_text(encoding="utf-8")
    assert words in text and "e+0" not in text
