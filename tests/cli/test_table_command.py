"""`freqkit table` of the results of every measure."""

import json

import pytest

from tests.results import made_up


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    made_up.save_all(folder)
    return folder


def lines(result):
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_results_of_several_measures_side_by_side(run, saved):
    whole = run(
        "table", saved / "rates.safetensors", saved / "stop.safetensors", saved / "learning.safetensors", "--json"
    )
    assert lines(whole) == [{"model": "net", "all": pytest.approx(5 / 12), "without B1": 0.25,
                             "without B1+B3": pytest.approx(1 / 3), "all; step=0": pytest.approx(5 / 12),
                             "all; step=10": pytest.approx(1 / 3)}]  # fmt: skip
    folder = run("table", saved, "--classes", "--metric", "filtered TPR", "--rows", "class", "--json")
    assert [line["all"] for line in lines(folder)] == [0.8, 0.0, 0.0]  # the rates that lie there


def test_a_field_with_a_column_of_its_own_leaves_the_names(run, saved):
    found = run(
        "table",
        saved / "evaluation",
        "--metric",
        "filtered AvgTPR",
        "--rows",
        "group",
        "--columns",
        "threshold",
        "--json",
    )
    assert lines(found) == [{"group": "shortcut", "0.5": pytest.approx(1 / 3)}]
    found = run("table", saved / "evaluation", "--rows", "severity", "--columns", "set,condition", "--json")
    assert {"severity": 3, "imagenet all": None, "imagenet-c fog": 0.25} in lines(found)
    found = run(
        "table",
        saved / "adcs.safetensors",
        "--classes",
        "--metric",
        "ADCS",
        "--rows",
        "class",
        "--columns",
        "radius",
        "--json",
    )
    assert [len(line) for line in lines(found)] == [1 + 1 + 7] * 3  # the class, the whole plane, rings 0..6


def test_searches_and_a_store(run, saved, tmp_path):
    flags = ("--classes", "--metric", "filtered FPR", "--rows", "searcher,class", "--columns", "metric", "--json")
    sources = (saved / "search", saved / "gradient")
    direct = lines(run("table", *sources, *flags, "--store", tmp_path / "all.sqlite"))
    assert [(line["searcher"], line["class"]) for line in direct] == [
        (name, label) for name in ("hfss", "gradient") for label in made_up.CLASSES
    ]  # fmt: skip
    assert lines(run("table", tmp_path / "all.sqlite", *flags)) == direct
    picked = run("table", *sources, "--condition", "all", "--rows", "searcher", "--columns", "seed", "--json")
    assert [line["searcher"] for line in lines(picked)] == ["hfss", "gradient"]


def test_what_is_no_result_ends_with_a_sentence(run, saved, tmp_path):
    for source, words in (
        (saved / "removal" / "removal.safetensors", "a file of a result must be of format"),
        (tmp_path, "run.json of a run of freqkit was expected"),
    ):
        result = run("table", source)
        assert result.exit_code == 2 and words in result.stderr
    result = run("table", saved / "rates.safetensors", "--rows", "colour")
    assert result.exit_code == 2 and "there is no column 'colour'" in result.stderr
