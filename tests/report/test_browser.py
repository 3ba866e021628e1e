"""The report in a real browser."""

import pytest

from freqkit.report import write_report
from tests.report.browser import CHROMIUM, Browser
from tests.report.conftest import made_up

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)")


@pytest.fixture(scope="module")
def browser():
    with Browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def page(searched):
    return write_report(searched[0])


FIRST = "[...document.querySelectorAll('#classes tbody tr:not([hidden]) td:first-child')].map(e => e.textContent)"


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_loads_without_complaints_and_fits(browser, page, width, dark):
    browser.open(page, width=width, dark=dark)
    assert browser.complaints() == []
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run("document.images.length") == 10
    assert browser.run("[...document.images].every(i => i.complete && i.naturalWidth == 16)")
    planes = "[...document.querySelectorAll('svg.plane image')]"
    assert browser.run(f"{planes}.length") == 5
    decoded = f"Promise.all({planes}.map(i => {{const p = new Image(); p.src = i.href.baseVal; return p.decode()}}))"
    assert len(browser.run(f"{decoded}.then(all => all.map(String))")) == 5
    ink, paper = browser.run("[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]")
    assert (brightness(ink) > brightness(paper)) == dark


def brightness(colour):
    return sum(float(part) for part in colour.strip("rgba()").split(",")[:3])


def test_tables_sort_by_mouse_and_keyboard(browser, page, searched):
    browser.open(page)
    rows = {row["class"]: row for row in searched[1].table()}
    button = "[...document.querySelectorAll('#classes th button')].find(b => b.textContent == 'kept')"
    browser.run(f"{button}.click()")
    assert browser.run(FIRST) == sorted(rows, key=lambda name: -rows[name]["coverage"])
    browser.run(f"{button}.focus()")
    browser.press("Enter", "\r")
    assert browser.run(FIRST) == sorted(rows, key=lambda name: rows[name]["coverage"])
    assert browser.run(f"{button}.parentElement.ariaSort") == "ascending"


def test_a_class_is_found_and_its_map_drawn_when_asked_for(browser, tmp_path):
    made_up(60, directory=tmp_path / "run")
    browser.open(write_report(tmp_path / "run"))
    assert browser.run("document.querySelectorAll('.gallery figure').length") == 40
    browser.run("document.querySelector('#classes input').value = '042'")
    browser.run("document.querySelector('#classes input').dispatchEvent(new Event('input'))")
    assert browser.run(FIRST) == ["class 042"]
    last = browser.run("[...document.querySelectorAll('#classes tbody a')].pop().getAttribute('href')")
    assert browser.run(f"document.querySelector('{last}')") is None
    browser.run("[...document.querySelectorAll('#classes tbody a')].pop().click()")
    browser.run("new Promise(done => setTimeout(done, 100))")
    assert browser.run(f"document.querySelector('{last} image').getAttribute('href').startsWith('data:image/png')")
    browser.run("document.querySelector('[data-more]').click()")
    assert browser.run("document.querySelectorAll('.gallery figure').length") == 60
    assert browser.run("document.querySelector('[data-more]')") is None
    assert browser.complaints() == []


@pytest.mark.parametrize("width", [1280, 400])
def test_comparisons_and_panels_fit(browser, tmp_path, width):
    """A comparison of searchers, and a band-stop with its matrices in panels; names of lines move to a legend."""
    from freqkit.data import synthetic
    from freqkit.measures import band_stop
    from freqkit.models import load_model
    from freqkit.search import Comparison
    from freqkit.search.compare import COLUMNS

    row = {**dict.fromkeys(COLUMNS, 0.3), "seed": 0, "forwards": 500, "backwards": 0, "seconds": 2.0}
    rows = [{**row, "searcher": name, "effort": n, "forward equivalents": 500 * n}
            for name in ("learned", "hfss", "removal") for n in (1, 4)]  # fmt: skip
    Comparison(rows, {}).save(tmp_path)
    band_stop(load_model("small_convnet"), synthetic(1, images_per_class=2)).save(tmp_path / "stop.safetensors")
    (tmp_path / "history.csv").write_text("epoch,lr,loss,accuracy\n1,0.1,2,0.4\n2,0.1,1,0.6\n")
    browser.open(write_report(tmp_path), width=width)
    assert browser.complaints() == []
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run("document.querySelectorAll('#searchers tbody tr').length") == 6
    marks = "[...document.querySelectorAll('.hero svg .mark')].filter(e => e.checkVisibility())"
    assert browser.run(f"{marks}.length") == 6 + 3  # and in the key
    tops = browser.run("[...document.querySelectorAll('.panels figure')].map(f => f.getBoundingClientRect().top)")
    assert len(tops) == 6 and (len(set(tops)) < 6) == (width > 400)
    shown = "[...document.querySelectorAll('#accuracy svg')].filter(e => e.checkVisibility())"
    assert browser.run(f"{shown}.length") == 1
    assert browser.run(f"{shown}[0].getBoundingClientRect().width") <= width
    assert browser.run(f"{shown}[0].classList.contains('narrow')") == (width == 400)


def test_the_keyboard_reaches_everything(browser, page):
    browser.open(page)
    browser.press("Tab")
    assert browser.run("document.activeElement.className") == "skip"
    stops = "document.querySelectorAll('a[href], button, input, summary, [tabindex=\"0\"]').length"
    assert browser.run(stops) == browser.run(
        "[...document.querySelectorAll('a, button, input, summary, .scroll')].filter(e => e.tabIndex == 0).length"
    )


def test_it_prints(browser, page, tmp_path):
    browser.open(page)
    browser.pdf(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")


def test_the_check_itself_sees_complaints(browser, tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text("<img src='http://localhost:9/x.png'><script>console.error('no'); nothing.at.all</script>")
    browser.open(bad)
    found = " ".join(browser.complaints())
    assert "asked for http://localhost:9/x.png" in found and "'no'" in found and "Uncaught" in found
