"""The demo, on a budget of seconds."""

import json

import pytest

from freqkit.cli import demo
from freqkit.report import write_report
from tests.cli.conftest import sentence

# Five seeds gave recalls of 0.625 to 0.875, and 4.7 to 8.0 times as many as by chance.
SMALL = {"training": 200, "search": 10, "fresh": 20, "epochs": 8, "candidates": (80, 130, 200, 250)}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "demo"
    return out, demo.run(out, batch_size=256, **SMALL)


@pytest.mark.measured
def test_finds_more_of_the_planted_frequencies_than_chance(found):
    """Even this small search keeps planted bins at least three times as often as a blind mask would."""
    _, table = found
    shortcut = table["classes"][0]
    assert shortcut["class"] == "C0"
    assert shortcut["planted"] == 16
    assert shortcut["recall"] >= 0.5
    assert shortcut["enrichment"] >= 3
    assert shortcut["precision"] == shortcut["found"] / shortcut["kept"]


@pytest.mark.measured
def test_reports_rates_on_unseen_images(found):
    _, table = found
    assert table["accuracy"] > 0.6
    for row in table["classes"]:
        assert 0 <= row["tpr"] <= 1
        assert 0 <= row["fpr"] <= 1
        assert 0 < row["coverage"] < 0.6


def test_writes_pictures_and_files(found):
    out, table = found
    names = {path.name for path in out.iterdir()}
    assert {"dfms.png", "filtered.png", "curves.png", "demo.json", "weights.safetensors", "run.json"} <= names
    assert json.loads((out / "demo.json").read_text()) == table


def test_prints_precision_and_recall(found, capsys):
    out, table = found
    demo.show(table)
    text = capsys.readouterr().out
    whole = f"Whole images, before anything is filtered: {100 * table['accuracy']:.1f}% of 80 are recognised"
    assert text.startswith(whole) and whole in write_report(out).read_text()
    shortcut = table["classes"][0]
    assert f"{shortcut['found']} of 16" in text
    assert f"{shortcut['found']} of {shortcut['kept']}" in text
    for word in ("recall", "precision", "by chance", "C3", "FPR"):
        assert word in text


def test_the_command_refuses_a_full_folder_at_once(run, tmp_path):
    (tmp_path / "mine.txt").write_text("keep me")
    result = run("demo", "--out", tmp_path)
    assert result.exit_code == 2
    assert "not empty" in sentence(result)
    assert "training" not in result.stderr


def test_a_network_that_knows_nothing_is_said_first(found, capsys, tmp_path):
    _, table = found
    guessed = {**table["clean"], "correct": [5, 4, 5, 6], "called": [20] * 4}
    demo.show({**table, "clean": guessed})
    assert "Caution: Whole images are recognised in 25.0% only" in capsys.readouterr().out.splitlines()[1]
    (tmp_path / "demo.json").write_text(json.dumps({**table, "clean": guessed}))
    page = write_report(tmp_path).read_text()
    assert "Whole images are recognised in 25.0% only" in page.partition("<table")[0]
