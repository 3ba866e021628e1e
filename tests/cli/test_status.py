"""A run seen from outside: `freqkit status`, --log-json, what run.json says was saved."""

import itertools
import json

import pytest

from tests.cli.conftest import sentence


@pytest.fixture(scope="module")
def finished(tmp_path_factory, images_folder, weights):
    """A raced run with its log: (folder, log lines, run.json)."""
    from click.testing import CliRunner

    from freqkit.cli.app import app

    out = tmp_path_factory.mktemp("runs") / "one"
    log = out.with_suffix(".log")
    args = [
        "search", "--model", "small_convnet", "--weights", weights, "--data", images_folder, "--out", out,
        "--candidates", "60", "--stages", "1-2", "--top", "2", "--batch-size", "50", "--risk", "0.05",
        "--memory", "100kB", "--form", "folded", "--split-fraction", "1", "--null", "0", "--log-json", log, "--json",
    ]  # fmt: skip
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    assert result.exit_code == 0, result.stderr
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return out, lines, json.loads((out / "run.json").read_text())


def test_status_of_a_finished_run(finished, run):
    out, _, record = finished
    known = json.loads(run("status", out, "--json").stdout)
    assert known["status"] == "finished" and known["search"] == "hfss" and known["stages_done"] == [1, 2]
    assert known["forwards_done"] == record["forwards"] and known["seconds_left"] == 0
    assert known["best"]["class"] in ("C0", "C1", "C2", "C3") and known["best"]["stage"] == 2
    text = run("status", out).stdout
    assert text.startswith("hfss: finished\n") and f"best class so far: {known['best']['class']} (stage 2" in text
    assert "--resume" not in text


def test_status_of_a_dead_run(finished, run, tmp_path):
    out, _, record = finished
    (tmp_path / "journal.bin").write_bytes((out / "journal.bin").read_bytes()[:4000])
    (tmp_path / "run.json").write_text(json.dumps({**record, "status": "running", "stages_done": [], "stage": 1}))
    before = sorted((path.name, path.read_bytes()) for path in tmp_path.iterdir())
    known = json.loads(run("status", tmp_path, "--json").stdout)
    assert known["status"] == "dead" and 0 < known["forwards_done"] < record["forwards"]
    text = run("status", tmp_path).stdout
    assert text.startswith("hfss: dead, stage 1") and "again with --resume" in text
    assert sorted((path.name, path.read_bytes()) for path in tmp_path.iterdir()) == before


def test_status_of_no_run_is_one_sentence(run, tmp_path):
    result = run("status", tmp_path)
    assert result.exit_code == 2
    assert "holds no readable freqkit run" in sentence(result)


def test_the_log_has_every_event(finished):
    _, lines, record = finished
    titles = [line["title"] for line in lines if line["event"] == "start"]
    assert titles == ["whole images", "stage 1", "stage 2", "rates"]
    ends = [line for line in lines if line["event"] == "finish"]
    assert all(line["done"] == line["total"] for line in ends)
    assert sum(line["saved"] for line in ends) == record["forwards_saved"]
    assert ends[2]["best"] == record["best"]
    assert all(line["time"] <= after["time"] for line, after in itertools.pairwise(lines))


def test_run_json_records_what_each_economy_saved(finished):
    _, _, record = finished
    drawn = (1 + 2 * 60) * 20  # the whole images, then two stages
    assert record["forwards_saved"] == record["forwards_saved_twins"] + record["forwards_saved_racing"]
    economies = record["economies"]
    assert economies["images_decoded"] == 20 and economies["form"] == "folded"
    assert economies["forwards"] <= drawn and 0 < economies["batch_fill"] <= 1
    assert economies["spectra"] == "recomputed" and economies["form_difference"] < 1e-4
    assert record["ranks"][0]["device"] == "cpu"


@pytest.mark.parametrize("size", ["0", "1 TB of it", "-1"])
def test_a_memory_that_is_no_size_is_refused(run, images_folder, tmp_path, size):
    result = run("search", "--model", "small_convnet", "--data", images_folder, "--out", tmp_path, "--memory", size)
    assert result.exit_code == 2 and "must be a size such as 512MiB" in sentence(result)


@pytest.mark.measured
def test_a_dry_run_projects_many_ranks(run, images_folder, weights):
    how = [
        "search", "--model", "small_convnet", "--weights", weights, "--data", images_folder, "--stages", "1",
        "--candidates", "70", "--batch-size", "2", "--dry-run",
    ]  # fmt: skip
    one = json.loads(run(*how, "--json").stdout)
    four = json.loads(run(*how, "--ranks", "4", "--json").stdout)
    assert one["projected_seconds"] == pytest.approx(one["seconds"])
    assert 0.25 * four["seconds"] < four["projected_seconds"] < 0.7 * four["seconds"] and four["efficiency"] < 1
    assert "4 ranks as fast as this one: about" in run(*how, "--ranks", "4").stdout
    refused = run(*how[:-1], "--ranks", "4", "--out", "x")
    assert refused.exit_code == 2 and "torchrun starts the processes" in sentence(refused)


def test_status_and_watch_of_a_training_and_of_a_comparison(run, images_folder, tmp_path):
    flags = ("--model", "small_convnet", "--data", images_folder, "--epochs", 2, "--batch-size", 8)
    assert run("train", *flags, "--out", tmp_path / "all" / "net").exit_code == 0
    assert run("status", tmp_path / "all" / "net").stdout == "training: finished\nepochs: 2 of 2\n"
    assert run("watch", tmp_path / "all" / "net", "--once").stdout == "finished, epochs: 2 of 2\n"
    # a folder of runs, as compare-searchers writes it, shows the newest
    result = run("status", tmp_path / "all")
    assert "holds 1 run; the newest is net:" in result.stderr and "epochs: 2 of 2" in result.stdout
