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


def test_what_cannot_be_ends_with_one_sentence(tmp_path, run):
    head = "model,shape-bias,top1_acc/imagenet,top1_acc/imagenet-a\n"
    for name, lines in {"good": "a,.1,70,8\nb,.2,75,12\nc,.3,80,4\n", "twice": "a,.1,70,8\na,.2,75,4\n",
                        "text": "a,much,70,8\n", "bent": "a,.1,70.0001,8\n"}.items():  # fmt: skip
        (tmp_path / f"{name}.csv").write_text(head + lines)
    result = run("study", "--data", tmp_path / "good.csv", "--json")
    assert result.exit_code == 0 and len(json.loads(result.stdout)["correlations"]) == 24
    assert "Adversarial is known of no model (it needs PGD-40/low)" in result.stderr
    for name, words in (("twice", "'a' is in lines 2 and 3"), ("text", "line 2, shape-bias, must be a finite number")):
        result = run("study", "--data", tmp_path / f"{name}.csv")
        assert result.exit_code == 2 and words in result.stderr and len(result.stderr.splitlines()) == 1
    for flags, words in (
        (("--apart", "AT"), "--apart must look like AT=adversarial_training"), (("--mend", "all"), "some of pgd"),
        (("--apart", "AT=robust"), "apart needs groups"), (("--confidence", "1"), "is not in the range"),
    ):  # fmt: skip
        result = run("study", "--data", tmp_path / "good.csv", *flags)
        assert result.exit_code == 2 and words in result.stderr
    result = run("study", "--data", tmp_path / "bent.csv", "--check", "--json")
    assert result.exit_code == 1 and "1 of 2 checks failed" in result.stderr
    assert [one["what"] for one in json.loads(result.stdout) if one["verdict"] == "wrong"] == ["imagenet"]
