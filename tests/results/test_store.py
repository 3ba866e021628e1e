"""The store only grows; tables, and the formats of others."""

import json
import sqlite3
import threading

import pytest

from freqkit.errors import UsageError
from freqkit.files.whole import write_csv
from freqkit.results.store import (
    COLUMNS,
    Store,
    markdown,
    pivot,
    read_results,
    read_robustbench,
    read_timm,
    timm_table,
)  # fmt: skip


def row(model, value, name="imagenet", metric="top-1", **more):
    return {**dict.fromkeys(COLUMNS), "model": model, "set": name, "condition": "all", "class": "", "metric": metric,
            "value": value, "n": 10, "definition": "d", **more}  # fmt: skip


def test_results_are_only_added(tmp_path):
    store = Store(tmp_path / "r.sqlite")
    assert store.add([row("a", 0.5), row("b", None)], source="one", record={"seed": 0}) == 2
    assert store.add([row("a", 0.5), row("b", None)], source="one") == 0  # a resumed run adds nothing twice
    assert store.add([row("a", 0.6)], source="two") == 1
    assert [r["value"] for r in Store(tmp_path / "r.sqlite").rows(model="a")] == [0.5, 0.6]
    assert store.rows(model="b")[0]["value"] is None
    assert [r["source"] for r in store.runs()] == ["one", "two"]
    base = sqlite3.connect(store.path)
    for text in ("UPDATE results SET value = 1", "DELETE FROM results", "DELETE FROM runs"):
        with pytest.raises(sqlite3.IntegrityError, match="only ever added to"):
            base.execute(text)
    with pytest.raises(UsageError, match="there is no column 'modell'"):
        store.rows(modell="a")
    (tmp_path / "x.sqlite").write_bytes(b"not a database, but long enough to look at")
    with pytest.raises(UsageError, match="is no store of freqkit"):
        Store(tmp_path / "x.sqlite")


def test_several_writers(tmp_path):
    path = tmp_path / "r.sqlite"

    def add(k):
        Store(path).add([row(f"m{k}", k / 10)], source=f"run {k}")

    threads = [threading.Thread(target=add, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(Store(path).rows()) == 6


def test_a_half_added_run_is_none(tmp_path):
    store = Store(tmp_path / "r.sqlite")
    with pytest.raises(ValueError):
        store.add([row("a", 0.5), row("b", "much")], source="one")
    assert store.rows() == []


def test_tables(tmp_path):
    rows = [row("a", 0.5), row("b", None), row("a", 0.7, "r"), row("a", 0.9, metric="top-5"), row("a", 0.55)]
    names, lines = pivot(rows)
    assert names == ["model", "imagenet all", "r all"]
    assert lines == [
        {"model": "a", "imagenet all": 0.55, "r all": 0.7},  # the newest counts
        {"model": "b", "imagenet all": None, "r all": None},
    ]
    assert markdown(names, lines).splitlines()[2:] == ["| a | 0.550 | 0.700 |", "| b | – | – |"]
    assert timm_table(rows, "imagenet")[1][0] == {
        "model": "a", "top1": 55.0, "top1_err": 45.0, "top5": 90.0, "top5_err": 10.0,
    }  # fmt: skip
    write_csv(tmp_path / "results.csv", COLUMNS, rows)
    assert read_results(tmp_path / "results.csv") == rows
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UsageError, match="the columns must be model, set"):
        read_results(tmp_path / "other.csv")


def test_imports(tmp_path):
    path = tmp_path / "results-imagenet-a.csv"
    path.write_text(
        "model,top1,top1_err,top5,top5_err,param_count,img_size\nbeit.x,88.227,11.773,97.093,2.907,305.08,448\n"
    )
    found = read_timm(path)
    assert [(r["set"], r["condition"], r["metric"], r["value"]) for r in found] == [
        ("imagenet-a", "all, 200 logits", "top-1", pytest.approx(0.88227)),
        ("imagenet-a", "all, 200 logits", "top-5", pytest.approx(0.97093)),
    ]
    assert "448 px" in found[0]["definition"]
    folder = tmp_path / "cifar10" / "Linf"
    folder.mkdir(parents=True)
    (folder / "Some2020Robust.json").write_text(
        json.dumps(
            {"dataset": "cifar10", "name": "Robust", "eps": "8/255", "clean_acc": "84.92", "autoattack_acc": "53.08"}
        )
    )
    found = read_robustbench([folder / "Some2020Robust.json"])
    assert [(r["model"], r["condition"], round(r["value"], 4)) for r in found] == [
        ("Some2020Robust", "all", 0.8492), ("Some2020Robust", "autoattack linf eps 8/255", 0.5308),
    ]  # fmt: skip
    (folder / "bad.json").write_text("[]")
    with pytest.raises(UsageError, match="is no model_info JSON"):
        read_robustbench([folder / "bad.json"])
