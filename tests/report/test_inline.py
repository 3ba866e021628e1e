"""Charts in a page: matplotlib's figure, with the page's colours, text as text, and nothing obeyed."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from freqkit.report import figures, planes
from freqkit.report.inline import chart, drawing

HOSTILE = '</title><script>nothing.at.all</script>"\x1b[31m$\\frac{$'


def elements(svg, tag):
    return list(ElementTree.fromstring(svg).iter(tag))


def line(axis):
    (drawn,) = axis.plot([0, 5, 10], [0.01, 1, 100], "o", color=figures.ORANGE, label=HOSTILE)
    figures.note(drawn, ["one", HOSTILE, "three"], ["", "#map-1", ""])
    axis.set(xlim=(0, 10), ylim=(0.01, 100), yscale="log", xlabel=HOSTILE)
    figures.plain_axes(axis)
    figures.legend(axis)


def test_marks_stand_where_they_belong_and_say_what_is_noted():
    svg = chart(line, 4, 3, "words")
    first, middle, last = [e for e in elements(svg, "circle") if e.get("class") == "mark"][:3]
    for name in ("cx", "cy"):
        assert float(middle.get(name)) == pytest.approx((float(first.get(name)) + float(last.get(name))) / 2, abs=0.11)
    assert float(last.get("cy")) < float(first.get("cy"))
    assert first.find("title").text == "one" and "\\x1b[31m" in middle.find("title").text
    assert [(e.get("href"), len(e)) for e in elements(svg, "a")] == [("#map-1", 1)]


def test_text_is_text_and_never_markup():
    svg = chart(line, 4, 3, HOSTILE)
    words = [text.text for text in elements(svg, "text")]
    assert sum("<script>" in text and "\\x1b" in text and "$\\frac{$" in text for text in words) == 2  # label and key
    assert "<script" not in svg and "\x1b" not in svg
    assert ElementTree.fromstring(svg).get("aria-label").startswith("</title><script>")


def test_colours_are_those_of_the_page_and_nothing_has_an_id():
    svg = chart(line, 4, 3, "words")
    style = (figures.Path(figures.__file__).parent / "templates" / "style.css").read_text()
    used = set(re.findall(r"var\(--(\w+)\)", svg))
    assert {"c1", "soft"} <= used and all(f"--{name}:" in style for name in used)
    assert "#" not in svg.replace("#map-1", "") and " id=" not in svg and "<defs" not in svg
    assert svg == chart(line, 4, 3, "words")


def test_lines_end_at_the_frame():
    def draw(axis):
        axis.plot([0, 10], [-100, 100], color=figures.BLUE)
        axis.fill_between([0, 10], [-100, -100], [100, 100], color=figures.SKY)
        axis.fill_between([2, 5], [-100, -100], [100, 100], color=figures.GREEN, alpha=0.4, linewidth=0)
        axis.set(xlim=(0, 10), ylim=(-1, 1))

    svg = chart(draw, 4, 3, "words")
    for colour in ("c0", "c5", "c2"):
        paths = [e for e in elements(svg, "path") if f"var(--{colour})" in (e.get("stroke"), e.get("fill"))]
        heights = [float(y) for e in paths for y in re.findall(r"[-\d.]+ ([-\d.]+)", e.get("d"))]
        assert heights and min(heights) > 0 and max(heights) < 330


def test_squares_of_a_matrix():
    values = np.array([[50.0, -100.0], [0.0, np.nan]])

    def draw(axis):
        planes.matrix(axis, values, ["cat", HOSTILE], ["x", "y"], reach=100, shown=[["50", "−100"], ["", ""]],
                      words=lambda i, j: f"{i}, {j}")  # fmt: skip

    svg = chart(draw, 3, 3, "words")
    squares = [e for e in elements(svg, "rect")]
    assert [(e.get("class"), float(e.get("fill-opacity")), e.find("title").text) for e in squares] == [
        ("pos", 0.5, "0, 0"), ("neg", 1, "0, 1"), ("pos", 0, "1, 0"), ("pos", 0, "1, 1"),
    ]  # fmt: skip
    counts = {e.text: e.get("style") for e in elements(svg, "text") if e.get("class") == "count"}
    assert "--ink" in counts["50"] and "--paper" in counts["−100"]
    assert ["<script>" in e.find("title").text for e in elements(svg, "text") if e.find("title") is not None] == [True]


def test_a_broad_chart_is_drawn_for_narrow_screens_too():
    assert drawing(line, 4, 3, "words").svg.count("<svg") == 1
    assert re.findall(r'<svg class="([^"]*)"', drawing(line, 7, 3, "words").svg) == ["chart broad", "chart narrow"]


def test_names_of_lines_do_not_meet():
    def draw(axis):
        for name, end in (("a", 1.0), ("b", 1.0), ("c", 0.99), ("d", 0.0)):
            axis.plot([0, 1], [0.5, end], label=name)
        axis.set_ylim(0, 1)
        figures.name_lines(axis)

    texts = elements(chart(draw, 7, 3, "words"), "text")
    places = {e.text: float(e.get("y")) for e in texts if e.text in "abcd"}
    heights = sorted(places.values())
    assert len(places) == 4 and min(np.diff(heights)) > 11 and max(places, key=places.get) == "d"


def test_names_of_points_do_not_meet_marks_or_each_other():
    figure = figures.new_figure(4, 4)
    axis = figure.subplots()
    axis.set(xlim=(0, 1), ylim=(0, 1))
    figures.name_points(axis, [(0.5, 0.5, "first"), (0.5, 0.51, "under it"), (0.5, 0.49, "no room"), (0.1, 0.9, "far")])
    named = [text.get_text() for text in axis.texts]
    assert named[0] == "first" and "far" in named and len(named) <= 4
    boxes = [text.get_window_extent() for text in axis.texts]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
