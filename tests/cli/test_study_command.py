"""`freqkit study`: what it prints, writes and refuses."""

import json


def test_the_command_prints_what_others_rely_on(shared_data, tmp_path, run):
    table, categories = (shared_data("biases-study", name) for name in ("benchmark.csv", "r50_categories.json"))
    result = run(
        "study", "--data", table, "--groups", categories, "--resamples", 100, "--json", "--out", tmp_path / "s"
    )
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert len(told["correlations"]) == 72 and len(told["biases"]) == 15 and len(told["composites"]) == 48
    assert {"bias", "score", "group", "rho", "p", "n"} <= told["correlations"][0].keys()
    there = {path.name for path in (tmp_path / "s").iterdir()}
    assert there >= {
        "study.safetensors",
        "study.csv",
        "study-models.csv",
        "report.html",
        "run.yaml",
        "correlations.png",
    }
    assert "22 models are in no category" in result.stderr
    assert json.loads(run("study", "--config", tmp_path / "s" / "run.yaml", "--json").stdout) == told
    assert run("study", "--data", table, "--check").exit_code == 0
    wrong = run("study", "--data", table, "--out", tmp_path / "s")
    assert wrong.exit_code == 2 and "give --overwrite" in wrong.stderr
