"""`freqkit search`, from flags to files."""

import csv
import json

import pytest
import torch

from tests.cli.conftest import sentence


@pytest.fixture
def flags(images_folder, weights):
    """A search that takes a second."""
    return [
        "search", "--model", "small_convnet", "--weights", weights, "--data", images_folder,
        "--candidates", "5", "--stages", "1-2", "--top", "2", "--batch-size", "50", "--device", "cpu",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory, images_folder, weights):
    """A finished run: (its folder, what was printed as JSON)."""
    from click.testing import CliRunner

    from freqkit.cli.app import app

    out = tmp_path_factory.mktemp("runs") / "one"
    args = [
        "search", "--model", "small_convnet", "--weights", weights, "--data", images_folder, "--out", out,
        "--candidates", "5,7", "--stages", "1-2", "--top", "2", "--batch-size", "50", "--keep", "0.7",
        "--seed", "11", "--json",
    ]  # fmt: skip
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    assert result.exit_code == 0, result.stderr
    return out, json.loads(result.stdout)


def test_writes_every_promised_file(finished):
    out, _ = finished
    promised = {
        "run.json", "dfm.safetensors", "classes.csv", "dfms.png", "filtered.png", "curves.png",
        "stage-1.safetensors", "stage-2.safetensors",
    }  # fmt: skip
    assert promised <= {path.name for path in out.iterdir()}
    for name in ("dfms.png", "filtered.png", "curves.png"):
        assert (out / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert not list(out.glob(".*.part"))


def test_flags_reach_the_search(finished):
    out, _ = finished
    identity = json.loads((out / "run.json").read_text())["identity"]
    assert identity["stages"] == [1, 2]
    assert identity["candidates"] == [5, 7]
    assert (identity["keep"], identity["top"], identity["seed"]) == (0.7, 2, 11)
    assert identity["batch_size"] == 50
    assert identity["preset"] == "default"


def test_json_csv_and_maps_agree(finished):
    from freqkit.masks import load_dfm

    out, printed = finished
    with open(out / "classes.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == [row["class"] for row in printed["classes"]]
    for row, told in zip(rows, printed["classes"], strict=True):
        assert float(row["loss"]) == told["loss"]
        assert float(row["TPR-FPR"]) == pytest.approx(told["TPR"] - told["FPR"])
    dfm = load_dfm(out / "dfm.safetensors")
    assert dfm.classes == [row["class"] for row in rows]
    touched = (dfm.masks > 0).double().mean((1, 2))
    assert touched.tolist() == pytest.approx([row["coverage"] for row in printed["classes"]])


def test_the_command_does_what_the_function_does(finished, images_folder, weights):
    from freqkit import hfss, load_images, load_model

    _, printed = finished
    model, images = load_model("small_convnet", weights=weights), load_images(images_folder, image_size=32)
    result = hfss(model, images, candidates=[5, 7], stages=2, top=2, batch_size=50, keep=0.7, seed=11)
    assert [row["loss"] for row in result.table()] == [row["loss"] for row in printed["classes"]]


def test_prints_a_table_on_stdout_and_progress_on_stderr(run, flags, tmp_path):
    result = run(*flags, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.stderr
    for word in ("C0", "C3", "TPR", "FPR", "loss"):
        assert word in result.stdout
    assert "stage 1: " in result.stderr
    assert "stage" not in result.stdout.splitlines()[0]


def test_a_second_run_into_the_folder_is_refused(run, flags, tmp_path):
    assert run(*flags, "--out", tmp_path).exit_code == 0
    result = run(*flags, "--out", tmp_path)
    assert result.exit_code == 2
    assert "not empty" in sentence(result)
    before = (tmp_path / "dfm.safetensors").read_bytes()
    for flag in ("--resume", "--overwrite"):
        assert run(*flags, "--out", tmp_path, flag).exit_code == 0
        assert (tmp_path / "dfm.safetensors").read_bytes() == before
    result = run(*flags, "--out", tmp_path, "--seed", "5", "--resume")
    assert result.exit_code == 2
    assert "seed" in sentence(result)
    result = run(*flags, "--out", tmp_path, "--resume", "--overwrite")
    assert result.exit_code == 2
    assert "exclude each other" in sentence(result)


def test_dry_run_writes_nothing_and_counts(run, flags, tmp_path):
    out = tmp_path / "none"
    flags += ["--split-fraction", 1]
    result = run(*flags, "--dry-run", "--out", out, "--json")
    assert result.exit_code == 0, result.stderr
    plan = json.loads(result.stdout)
    assert not out.exists()
    assert plan["images"] == 20
    assert plan["forwards"] == (1 + sum(stage["distinct"] for stage in plan["stages"])) * 20
    assert plan["remark"].startswith("20 of the forwards show the whole images")
    assert plan["seconds"] > 0
    assert plan["memory"]["images"] == 20 * 3 * 32 * 32
    result = run(*flags, "--dry-run")
    assert "forwards, about" in result.stdout


def test_a_subset_of_the_classes(run, flags, images_folder, tmp_path):
    """Folders of some classes, and a file that names them all."""
    names = tmp_path / "names.txt"
    names.write_text("C0\nC1\nC2\nC3\n")
    folder = tmp_path / "some"
    folder.mkdir()
    for name in ("C1", "C3"):
        (folder / name).symlink_to(images_folder / name)
    flags[flags.index("--data") + 1] = folder
    result = run(*flags, "--out", tmp_path / "run", "--classes", names, "--json")
    assert result.exit_code == 0, result.stderr
    assert [row["class"] for row in json.loads(result.stdout)["classes"]] == ["C1", "C3"]
    result = run(*flags, "--out", tmp_path / "other")
    assert result.exit_code == 2
    assert "--classes" in sentence(result)


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        (["--keep", "1.5"], "(0, 1]"),
        (["--risk", "1"], "[0, 1)"),
        (["--risk", "0.01", "--preset", "cvpr2025"], "risk"),
        (["--stages", "4-1"], "rise"),
        (["--stages", "2,3"], "begin at 1"),
        (["--stages", "1-9"], "not exceed"),
        (["--candidates", "none"], ">= 1"),
        (["--candidates", "5,6,7"], "2 stages"),
        (["--top", "0"], "x>=1"),
        (["--seed", "-1"], "x>=0"),
        (["--preset", "cvpr2024"], "cvpr2025"),
        (["--batch-size", "0"], "auto or a number"),
        (["--device", "tpu"], "cuda:N"),
        (["--device", "cuda:97"], "cuda:97"),
        (["--dtype", "int8"], "float32"),
        (["--image-size", "0"], "x>=1"),
        (["--image-size", "31"], "31"),
        (["--data", "/nowhere/at/all"], "/nowhere/at/all"),
        (["--weights", "/nowhere.pt"], "/nowhere.pt"),
        (["--model", "resnet1"], "resnet18"),
        (["--num-classes", "3"], "3"),
        (["--limit-per-class", "0"], "x>=1"),
        (["--split-fraction", "2"], "(0, 1]"),
        (["--resize", "stretch"], "squash"),
        (["--on-bad-image", "ignore"], "skip"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_flags(run, flags, tmp_path, extra, says):
    result = run(*flags, "--out", tmp_path / "run", *extra)
    assert result.exit_code == 2, result.stderr
    assert says in sentence(result)
    assert result.stdout == ""
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.parametrize("missing", ["--model", "--data", "--out"])
def test_missing_flags(run, flags, tmp_path, missing):
    flags += ["--out", tmp_path / "run"]
    place = flags.index(missing)
    result = run(*flags[:place], *flags[place + 2 :])
    assert result.exit_code == 2
    assert missing in sentence(result)


def test_bad_images_are_an_error_or_skipped(run, flags, tmp_path, images_folder):
    import shutil

    folder = tmp_path / "images"
    shutil.copytree(images_folder, folder)
    (folder / "C1" / "broken.png").write_bytes(b"no image at all")
    flags[flags.index("--data") + 1] = folder
    result = run(*flags, "--out", tmp_path / "a")
    assert result.exit_code == 2
    assert "broken.png" in sentence(result)
    result = run(*flags, "--out", tmp_path / "a", "--on-bad-image", "skip")
    assert result.exit_code == 0
    record = json.loads((tmp_path / "a" / "run.json").read_text())["data"]
    assert record["bad_image_names"] == ["C1/broken.png"]


def test_interrupted_and_resumed(run, flags, tmp_path, monkeypatch):
    """Ctrl-C in stage 2 ends with 130 and the way on; the resumed run equals an undisturbed one."""
    import freqkit.engine.stimuli as stimuli

    assert run(*flags, "--out", tmp_path / "whole").exit_code == 0
    original, calls = stimuli.spectral_filter, []

    def interrupt(*args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    monkeypatch.setattr(stimuli, "spectral_filter", interrupt)
    result = run(*flags, "--out", tmp_path / "cut")
    monkeypatch.undo()
    assert result.exit_code == 130
    assert "--resume" in result.stderr.splitlines()[-1]
    assert json.loads((tmp_path / "cut" / "run.json").read_text())["status"] == "interrupted"
    assert run(*flags, "--out", tmp_path / "cut", "--resume").exit_code == 0
    for name in ("dfm.safetensors", "classes.csv"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_published_preset(run, flags, tmp_path):
    result = run(*flags, "--out", tmp_path / "run", "--preset", "cvpr2025", "--candidates", "6", "--json")
    assert result.exit_code == 0, result.stderr
    from freqkit.masks import load_dfm

    dfm = load_dfm(tmp_path / "run" / "dfm.safetensors")
    assert dfm.preset == "cvpr2025"
    assert torch.isin(dfm.masks, torch.tensor([0.0, 0.5, 1.0])).all()


def test_the_preset_sets_what_the_released_code_takes(run, flags, tmp_path):
    """Unless it is given; what differs is said, on record, and done again by rerun."""
    out = tmp_path / "run"
    call = [*flags, "--preset", "cvpr2025", "--candidates", "9", "--published-order", "--split-fraction", "0.5"]
    result = run(*call, "--published-batch-size", "4", "--out", out, "--json")
    assert result.exit_code == 0, result.stderr
    assert "unlike the released code: candidates 9 (there: 500)" in result.stderr
    assert "published_batch_size 4 (there: 4000)" in result.stderr and "keep" not in result.stderr
    record = json.loads((out / "run.json").read_text())
    identity = record["identity"]
    assert (identity["keep"], identity["seed"], identity["published_batch_size"]) == (0.8, 42, 4)
    assert set(record["differs_from_published"]) == {"candidates", "top", "published_batch_size", "stages", "images"}
    assert {"split_fraction": 0.5, "seed": 42, "split_order": "published"}.items() <= record["data"].items()

    from freqkit import hfss, load_images, load_model

    model = load_model("small_convnet", weights=flags[4])
    pool = load_images(flags[6], image_size=32)
    how = {"preset": "cvpr2025", "stages": 2, "top": 2, "batch_size": 50, "keep": 0.8, "seed": 42}
    same = hfss(model, pool, candidates=9, published_batch_size=4, published_order=0.5, dtype="float32", **how)
    assert [row["loss"] for row in same.table()] == [row["loss"] for row in json.loads(result.stdout)["classes"]]
    assert identity["data"]["fingerprint"] == pool.published_split(0.5)[0].fingerprint

    done = run("rerun", out, "--out", tmp_path / "again")
    assert done.exit_code == 0, done.stderr
    assert "published-order: true" in (tmp_path / "again" / "run.yaml").read_text()
    assert run(*call, "--published-batch-size", "4", "--out", out, "--resume").exit_code == 0
    result = run(*call, "--published-batch-size", "5", "--out", out, "--resume")
    assert result.exit_code == 2 and "--published-batch-size (there 4, now 5)" in sentence(result)
    plan = run(*call, "--keep", "0.5", "--seed", "0", "--dry-run", "--json")
    assert plan.exit_code == 0 and json.loads(plan.stdout)["images"] == 10
    assert "keep 0.5 (there: 0.8)" in plan.stderr and "seed 0 (there: 42)" in plan.stderr


def test_published_flags_that_do_not_fit(run, flags, tmp_path):
    result = run(*flags, "--published-batch-size", "4", "--out", tmp_path / "run")
    assert result.exit_code == 2 and "needs --preset cvpr2025" in sentence(result)
    result = run(*flags, "--published-order", "--out", tmp_path / "run")  # 0.05 of 20 images of 4 classes
    assert result.exit_code == 2 and "a share of 0.05 of 20 images makes 1 and 19" in sentence(result)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("flag", "value"), [("risk", 0.01), ("stopping", "certain")])
def test_stopping_losers_early(run, flags, tmp_path, flag, value):
    result = run(*flags, "--out", tmp_path / "run", f"--{flag}", value, "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads((tmp_path / "run" / "run.json").read_text())["identity"][flag] == value
    assert (tmp_path / "run" / "curves.png").exists()
