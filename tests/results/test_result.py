"""What holds of every result: the bytes of its files, the way back, tidy rows, its table and its figure."""

import hashlib
import json
import math
import re
from collections import Counter
from html.parser import HTMLParser

import pytest
import torch

from freqkit.files.reading import read_csv
from freqkit.files.whole import as_cell
from freqkit.registry import RESULTS, measured, result_class
from freqkit.results import load_result
from freqkit.results.confusion import Confusion
from freqkit.results.load import results_of
from freqkit.results.result import Result, versions
from freqkit.results.rows import COLUMNS, FIELDS, TEXTS, spell, unspell
from freqkit.results.store import Store, pivot
from tests.results import made_up

# Of the files that `made_up.save_all` writes, by the code before results had a common base: sha256, 16 digits. (Since
# then rates.csv has two columns more, of random masks.)
BYTES = {
    "adcs-per.safetensors": "d2890df933b38c67",
    "adcs.safetensors": "62b6c16a249bfcca",
    "comparison/comparison.csv": "5603760497cec01a",
    "comparison/comparison.json": "77fd56a003680e48",
    "evaluation/results.csv": "21494eeed572100b",
    "gradient/classes.csv": "190592336b417642",
    "gradient/dfm-10.safetensors": "6baf660ce2f048e5",
    "gradient/dfm-5.safetensors": "9fe71015beeb9410",
    "gradient/removal.safetensors": "16094acf261a7431",
    "gradient/run.json": "c8a0a79bfd7b73ff",
    "learning.csv": "b49ac67662ed5d42",
    "learning.safetensors": "f3f241e6bbefe7e1",
    "maps.safetensors": "8e1c4ad85dd9f5d0",
    "rates.csv": "c4e2c7f2d127c404",
    "rates.safetensors": "22726779902c6107",
    "removal/classes.csv": "9848a918e39b9e24",
    "removal/dfm-10.safetensors": "ec6585e79bca4eb7",
    "removal/dfm-5.safetensors": "a7c227f7e8fa1277",
    "removal/removal.safetensors": "25a39347168d5237",
    "removal/run.json": "d85a094604cdd50b",
    "search/classes.csv": "545dbd71f2918ec4",
    "search/dfm.safetensors": "8ef429a01339dc1f",
    "search/run.json": "2ce4e044b3e3a1f6",
    "search/stage-1.safetensors": "09423632158a1fbd",
    "search/stage-2.safetensors": "e0e4b89823ee2bad",
    "stop.csv": "6d62f7c1ebc0eea9",
    "stop.safetensors": "a0550985812a2565",
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("freqkit.results.dfm_files.__version__", "0.1.0")
        made_up.save_all(folder)
    return folder


def test_files_keep_their_bytes(saved):
    found = {
        str(path.relative_to(saved)): hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        for path in sorted(saved.rglob("*")) if path.is_file()
    }  # fmt: skip
    assert found == BYTES


SHARES = {"TPR", "FPR", "TPR of recognised", "top-1"}  # metrics that are counts of images


@pytest.fixture(params=made_up.KINDS)
def kind(request):
    return request.param


@pytest.fixture
def result(kind):
    return made_up.KINDS[kind]()


def same(one, other):
    """Equal, tensors and NaN as well."""
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one.nan_to_num(-99), other.nan_to_num(-99))
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return {*one} == {*other} and all(same(value, other[name]) for name, value in one.items())
    if hasattr(one, "__dict__"):
        return type(one) is type(other) and same(vars(one), vars(other))
    return one == other or (one != one and other != other)


def test_every_result_comes_back_as_it_was_written(kind, result, tmp_path):
    path = tmp_path / "result"
    if kind in ("search", "gradient", "removal", "evaluation", "comparison"):
        path.mkdir()
    else:
        path = path.with_suffix(".safetensors")
    result.save(path)
    if kind == "evaluation":
        (path / "run.json").write_text(json.dumps(result.record))
    back = type(result).load(path)
    if kind in ("gradient", "removal"):
        assert back.record.pop("format") == "freqkit-run-1"
    for name, value in vars(result).items():
        if name != "freqkit_version":  # of a file's writer
            assert same(list(value) if name == "rows" else value, getattr(back, name)), name
    assert type(load_result(path)) is type(result)
    if (table := path.with_suffix(".csv")).exists():
        head = [as_cell(name) for name in result.columns]
        assert [*read_csv(table, ())[0][1]] == head


def test_rows_are_tidy(kind, result):
    rows = result.rows()
    assert rows
    for row in rows:
        assert tuple(row) == FIELDS
        assert all(isinstance(row[name], str) for name in TEXTS) and row["metric"]
        numbers = {name: row[name] for name in ("value", "low", "high", "threshold", "radius")}
        assert all(v is None or (isinstance(v, (int, float)) and math.isfinite(v)) for v in numbers.values()), row
        whole = (row[name] for name in ("n", "severity", "logits", "effort", "seed", "step"))
        assert all(v is None or type(v) is int for v in whole), row
        if row["metric"] in SHARES and row["value"] is not None:
            assert 0 <= row["low"] <= row["value"] <= row["high"] <= 1 and row["n"] > 0, row
        if row["low"] is not None:
            assert row["low"] <= row["value"] <= row["high"]
    places = [tuple(row[name] for name in FIELDS if name not in ("value", "low", "high", "n", "definition"))
              for row in rows]  # fmt: skip
    assert len(set(places)) == len(places)  # nothing but fields tells rows apart
    spelled = [spell(row) for row in rows]
    assert [unspell(row) for row in spelled] == rows and all(tuple(row) == COLUMNS for row in spelled)


def test_tables_have_the_columns_that_they_name(kind, result):
    table = result.table()
    assert table and all(tuple(line) == tuple(result.columns) for line in table)


def test_every_result_draws_itself(kind, result):
    from matplotlib.figure import Figure

    assert isinstance(result, Result) and isinstance(result.plot(), Figure)


def test_every_result_shows_the_head_of_its_page(kind, result):
    line, shown = repr(result), Head.of(result._repr_html_())
    assert line.startswith(f"{type(result).__name__}(") and len(line) < 160 and "\n" not in line
    assert len(shown.text) < 60_000 and shown.tags["div"] and shown.tags["h3"] and shown.tags["tr"] > 1
    assert shown.tags["svg"] + shown.tags["img"] >= 1, "no figure"
    assert not shown.tags.keys() & {"script", "link", "iframe", "html", "body"} and "http" not in shown.text
    assert not shown.names & {"id", "onerror", "onclick"} and "a" not in shown.tags, (
        "it leads nowhere, and runs nothing"
    )
    style = re.search("<style>(.*?)</style>", shown.text, re.S)[1]
    assert style.count("{") == style.count("}") and not re.search(r"(?m)^(body|html)\b|:root", style)


def test_names_of_many_hostile_classes_stay_text_in_a_notebook():
    from tests.report.conftest import made_up as search_of
    from tests.report.gallery import names_of

    result = search_of(300, names=names_of(300, "hostile"))
    shown = Head.of(result._repr_html_())
    assert not shown.tags.keys() & {"script", "b"} and len(shown.text) < 150_000
    assert "288 more lines" in shown.text and repr(result).isprintable()


class Head(HTMLParser):
    """Counts what stands in a piece of HTML, and asks that it is closed."""

    def __init__(self):
        super().__init__()
        self.tags, self.names, self.open = Counter(), set(), []

    @classmethod
    def of(cls, text):
        found = cls()
        found.text = text
        found.feed(text)
        found.close()
        assert found.open == []
        return found

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.names |= {name for name, _ in attrs}
        if tag not in ("img", "input", "br", "circle", "path", "rect", "line"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if self.open and self.open[-1] == tag:
            self.open.pop()


def test_every_class_is_registered():
    classes = {result_class(name) for name in RESULTS} | {*measured()}
    assert {type(make()) for make in made_up.KINDS.values()} - classes == {
        type(made_up.search()), type(made_up.removal())  # folders, told by their searcher
    }  # fmt: skip
    assert result_class("freqkit-nothing-1") is None


def test_a_store_and_a_table_take_rows_of_every_measure(saved, tmp_path):
    store = Store(tmp_path / "all.sqlite")
    for name, make in made_up.KINDS.items():
        rows = make().rows()
        assert store.add(rows, source=name) == len(rows)
    assert {unspell(row)["searcher"] for row in store.rows()} >= {"learned", "hfss", "gradient", None}
    rows = [{**unspell(row), **spell(row, ["searcher", "seed"])} for row in store.rows()]
    names, lines = pivot(rows, lines=("searcher", "seed"), columns="condition", metric="filtered mean TPR-FPR")
    assert names == ["searcher", "seed", "all; effort=4", "images of the selection; effort=4"]
    assert [(line["searcher"], line["seed"]) for line in lines] == [("learned", 0), ("learned", 1), ("greedy", 0)]
    assert [type(one).__name__ for one in results_of(saved)] == [
        "AdcsResult", "AdcsResult", "RatesResult", "BandStopResult",
    ]  # fmt: skip
    assert [type(one).__name__ for one in results_of(saved / "gradient")] == ["RemovalResult"]


@pytest.mark.parametrize(
    "condition",
    ["all", "", "fog/3", "fog/3, 20 logits", "all, 200 logits of imagenet-r, x", "all, filtered before normalised",
     "mean of 3 conditions, 200 logits", "as reported linf eps 8/255", "pgd (eps 4); step=x", "a; seed=1; step=2"],
)  # fmt: skip
@pytest.mark.parametrize("metric", ["top-1", "filtered AvgTPR shortcut@0.5", "other@1e-05", "a b@e", "ReaL top-1", ""])
def test_what_files_spell_is_read_and_written_alike(condition, metric):
    row = {**dict.fromkeys(COLUMNS, ""), "condition": condition, "metric": metric, "value": 0.5, "n": 2}
    row |= {"ci_low": None, "ci_high": 1.0}
    assert spell(unspell(row)) == row


def test_the_rates_of_counts():
    """Against plain loops over the images."""
    labels, answers = torch.tensor([0, 0, 0, 1, 1, 2]), torch.tensor([1, 1, 3, 0, 0, 1])
    index = torch.tensor([1, 0, 2])  # the logit of each class
    found = Confusion(Confusion.count(labels, answers, 4, 5), torch.tensor([1, 0, 2, 4]))
    for c in range(3):
        own, said = labels == c, answers == index[c]
        assert found.tpr[c] == said[own].double().mean()
        assert found.fpr[c] == said[~own].double().mean()
        hits = int((own & said).sum())
        assert same(found.precision[c].item(), hits / int(said.sum()) if said.any() else math.nan)
        assert found.f1[c].item() == 2 * hits / int(own.sum() + said.sum())
        assert all((low <= value).all() and (value <= high).all() for (low, high), value in zip(
            (limits[c] for limits in found.intervals()), (found.tpr[c], found.fpr[c], found.tpr[c] - found.fpr[c]),
            strict=True))  # fmt: skip
    assert found.tpr[3].isnan() and found.f1[3].isnan()
    assert found.accuracy == (index[labels] == answers).double().mean()
    assert found.change(2 * found.matrix)[0].tolist() == pytest.approx([0, 200 / 3, 0, 100 / 3, 0])


def test_versions_are_those_that_run():
    import freqkit

    assert versions(python="3") == {"freqkit": freqkit.__version__, "torch": torch.__version__, "python": "3"}
