"""`report`, `explain`, `rerun`, and `--config`."""

import json
import shutil

import pytest
import yaml

from tests.cli.conftest import sentence


@pytest.fixture(scope="module")
def searched(tmp_path_factory, images_folder, weights):
    """A finished run of `freqkit search`."""
    from click.testing import CliRunner

    from freqkit.cli.app import app

    out = tmp_path_factory.mktemp("searched") / "one"
    args = [
        "search", "--model", "small_convnet", "--weights", weights, "--data", images_folder, "--out", out,
        "--candidates", "5,7", "--stages", "1-2", "--top", "2", "--keep", "0.7", "--seed", "3",
    ]  # fmt: skip
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    assert result.exit_code == 0, result.stderr
    assert str(out / "report.html") in result.stderr
    return out


@pytest.fixture(scope="module")
def untested(tmp_path_factory, images_folder, weights):
    """A search that took all images, whose page advises commands made of its run.yaml."""
    from click.testing import CliRunner

    from freqkit.cli.app import app

    out = tmp_path_factory.mktemp("untested") / "one"
    args = ["search", "--model", "small_convnet", "--weights", weights, "--data", images_folder, "--out", out,
            "--candidates", "4", "--stages", "1", "--top", "1", "--split-fraction", "1"]  # fmt: skip
    assert CliRunner().invoke(app, [str(arg) for arg in args]).exit_code == 0
    return out


def test_a_search_leaves_a_report_and_its_flags(searched):
    text = (searched / "report.html").read_text()
    for words in ("Images before and after", "The search", "freqkit rerun one", "small_convnet"):
        assert words in text
    content = yaml.safe_load((searched / "run.yaml").read_text())
    record = json.loads((searched / "run.json").read_text())
    halves = record["data"]["images"], record["identity"]["test"]["images"]
    assert min(halves) > 0 and record["economies"]["images_decoded"] == sum(halves)
    assert content["command"] == "search"
    flags = content["flags"]
    assert (flags["candidates"], flags["stages"], flags["keep"], flags["seed"]) == ([5, 7], [1, 2], 0.7, 3)
    assert flags["preset"] == "default" and flags["batch-size"] == "auto"
    assert "out" not in flags and "json" not in flags


def test_rerun_gives_the_same_bytes(run, searched, tmp_path):
    result = run("rerun", searched, "--out", tmp_path / "again", "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["different"] == []
    files = {"stage-1.safetensors", "stage-2.safetensors", "dfm.safetensors", "classes.csv", "tested.safetensors"}
    assert set(found["same"]) == files
    # a result that differs is noticed
    (searched / "classes.csv").write_text((searched / "classes.csv").read_text().replace("C0", "C9"))
    result = run("rerun", searched, "--out", tmp_path / "again", "--overwrite")
    assert result.exit_code == 1
    assert "Other bytes" in result.stderr and "classes.csv" in result.stderr.splitlines()[-1]


def test_a_config_gives_flags_and_the_command_line_overrides_them(run, searched, tmp_path):
    config = searched / "run.yaml"
    result = run("search", "--config", config, "--seed", 4, "--out", tmp_path / "run", "--json")
    assert result.exit_code == 0, result.stderr
    identity = json.loads((tmp_path / "run" / "run.json").read_text())["identity"]
    assert (identity["seed"], identity["candidates"], identity["keep"]) == (4, [5, 7], 0.7)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("flags: {seeed: 3}", "'seeed' is no flag of `freqkit search`; did you mean 'seed'?"),
        ("command: dfm\nflags: {}", "is for `freqkit dfm`, not for `freqkit search`"),
        ("on: 1", "'on' is no flag"),
        ("- 1", "names and values was expected; its content is a list"),
        ("a: [", "is no YAML or JSON file"),
        ("keep: 7", "must lie in (0, 1]"),
        ('{"top": "many"}', "'many'"),
    ],
)
def test_bad_configs(run, tmp_path, text, says):
    file = tmp_path / "c.yaml"
    file.write_text(text)
    result = run("search", "--config", file, "--model", "small_convnet", "--data", tmp_path, "--out", tmp_path / "x")
    assert result.exit_code == 2
    assert says in sentence(result)


def test_report_rebuilds_and_compares(run, searched, tmp_path):
    before = (searched / "report.html").read_bytes()
    (searched / "report.html").unlink()
    result = run("report", searched, "--json")
    page = json.loads(result.stdout)["pages"][0]
    assert (searched / "report.html").read_bytes() == before and page["bytes"] == len(before)
    result = run("report", searched, searched, "--out", tmp_path / "both.html")
    assert result.exit_code == 0, result.stderr
    assert "2 runs compared" in (tmp_path / "both.html").read_text()
    result = run("report", tmp_path)
    assert result.exit_code == 2 and "holds no result" in sentence(result)
    result = run("report", searched, "--out", tmp_path / "no" / "x.html")
    assert result.exit_code == 2 and "folder" in sentence(result)


def test_explain(run):
    text = run("explain", "--FPR").stdout
    assert text.startswith("FPR: False positive rate") and "Formula: FPR = FP / N" in text and "ICCV 2023" in text
    assert json.loads(run("explain", "effective", "mask", "--json").stdout)["formula"].startswith("Re IDFT")
    assert "effective mask" in run("explain").stdout
    result = run("explain", "covrage")
    assert result.exit_code == 2
    assert sentence(result) == "freqkit: there is no term 'covrage'; did you mean 'coverage'?"


def test_rerun_needs_a_run_of_the_command_line(run, tmp_path):
    result = run("rerun", tmp_path, "--out", tmp_path / "x")
    assert result.exit_code == 2 and "holds no run.yaml" in sentence(result)


def test_random_weights_are_said(run, images_folder, tmp_path):
    flags = ["--data", images_folder, "--candidates", "4", "--stages", "1", "--top", "1", "--out", tmp_path / "run"]
    result = run("search", "--model", "small_convnet", *flags)
    assert result.exit_code == 0
    assert "small_convnet has random weights" in result.stderr
    assert "small_convnet has random weights" in (tmp_path / "run" / "report.html").read_text()
    (tmp_path / "net.py").write_text(
        "import torch\ndef make():\n    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 4))\n"
    )
    result = run("search", "--model", f"{tmp_path}/net.py:make", *flags[:-1], tmp_path / "other")
    assert result.exit_code == 0
    assert "as stored, 32x32" in (tmp_path / "other" / "report.html").read_text()


@pytest.mark.parametrize("text", ["flags: [\n", "- 1\n", "flags: 3\ncommand: search\n", "command: &a [*a]\n", ""])
def test_a_damaged_run_yaml_is_named(run, untested, tmp_path, text):
    run_directory = tmp_path / "run"
    shutil.copytree(untested, run_directory)
    (run_directory / "run.yaml").write_text(text)
    result = run("report", run_directory)
    assert result.exit_code == 2 and "run.yaml" in sentence(result)
