"""`freqkit search --searcher ...` and `freqkit compare-searchers`, from flags to files."""

import json

import pytest

from freqkit.results import load_result
from tests.cli.conftest import sentence


@pytest.fixture
def flags(images_folder, weights):
    return ["--model", "small_convnet", "--weights", weights, "--data", images_folder, "--batch-size", "50"]


@pytest.mark.parametrize(
    ("searcher", "more", "pictures"),
    [
        ("learned", ["--steps", "2", "--objective", "contrast"], ("dfms.png", "filtered.png")),
        ("gradient", ["--patch", "8", "--rescore", "0.1"], ("dfms.png", "increase.png")),
    ],
)
def test_every_searcher_writes_the_same_kind_of_directory(run, flags, tmp_path, searcher, more, pictures):
    out = tmp_path / "run"
    result = run("search", *flags, "--searcher", searcher, *more, "--coverage", "0.1", "--out", out, "--json")
    assert result.exit_code == 0, result.stderr
    printed = json.loads(result.stdout)
    assert printed["forward_equivalents"] == printed["forwards"] + 2 * printed["backwards"] > printed["forwards"]
    found = load_result(out)
    assert [row["TPR"] for row in found.table()] == pytest.approx([row["TPR"] for row in printed["classes"]])
    assert found.record["identity"]["search"] == searcher
    for name in (*pictures, "run.json", "classes.csv"):
        assert (out / name).stat().st_size > 0
    assert not (out / "curves.png").exists()


def test_flags_of_another_searcher_are_refused(run, flags, tmp_path):
    for given, owner in ((["--candidates", "5"], "hfss"), (["--risk", "0.1"], "hfss"), (["--patch", "2"], "gradient")):
        result = run("search", *flags, "--searcher", "learned", *given, "--out", tmp_path / "run")
        assert result.exit_code == 2 and f"{given[0]} is a flag of {owner}" in sentence(result)
    result = run("search", *flags, "--preset", "cvpr2025", "--steps", "5", "--out", tmp_path / "run")
    assert result.exit_code == 2 and "--steps is a flag of learned" in sentence(result)


def test_the_default_is_learned_and_a_preset_means_the_published_method(run, flags, tmp_path):
    """What is chosen stands in run.yaml, so that it is the same when done again."""
    (tmp_path / "preset.yaml").write_text("preset: cvpr2025\n")
    for given, chosen in (
        ([], "learned"),
        (["--steps", "3", "--seed", "1"], "learned"),
        (["--preset", "cvpr2025"], "hfss"),
        (["--config", str(tmp_path / "preset.yaml")], "hfss"),
        (["--candidates", "9", "--stages", "1"], "hfss"),
        (["--searcher", "hfss"], "hfss"),
    ):
        result = run("search", *flags, *given, "--dry-run", "--json")
        assert result.exit_code == 0, result.stderr
        parts = json.loads(result.stdout)["stages"]
        assert ("work" in parts[0]) == (chosen == "learned"), given
    out = tmp_path / "run"
    assert run("search", *flags, "--steps", "2", "--out", out).exit_code == 0
    assert "searcher: learned" in (out / "run.yaml").read_text()


@pytest.mark.parametrize(
    ("searcher", "more", "forwards", "backwards"),
    [
        # 20 images of 4 classes, 514 pairs; every search shows the whole images once
        ("learned", ["--steps", "3"], 40 + 2 * 4 * 3 * (5 + 15) + 2 * 4 * 20 + 2 * 20, 3 * 20 + 2 * 4 * 3 * (5 + 15)),
        ("evolve", ["--generations", "2"], 40 + (2 * (16 + 8) + 4) * 20 + 4 * 20, 3 * 20),
        ("greedy", [], 515 * 20 + 4 * 20, 0),
        ("gradient", ["--rescore", "0.1"], 40 + 51 * 20 + 4 * 20, 3 * 20),
        ("removal", ["--patch", "8"], 12 * 20 + 4 * 20, 0),
    ],
)
def test_a_dry_run_tells_the_cost_of_every_searcher(run, flags, tmp_path, searcher, more, forwards, backwards):
    how = ["search", *flags, "--searcher", searcher, *more, "--split-fraction", 1]
    plan = json.loads(run(*how, "--dry-run", "--json").stdout)
    assert (plan["forwards"], plan["backwards"]) == (forwards, backwards)
    assert plan["seconds"] == pytest.approx(sum(part["seconds"] for part in plan["stages"])) and plan["seconds"] > 0
    assert (plan["remark"] is not None) == (searcher == "greedy")
    if searcher != "greedy":  # which passes as often as it must
        done = json.loads(run(*how, "--out", tmp_path / "run", "--json").stdout)
        assert (done["forwards"], done["backwards"]) == (forwards, backwards)
    many = run(*how, "--dry-run", "--ranks", "2")
    assert many.exit_code == 0 and "2 ranks as fast as this one" in many.stdout
    if searcher == "evolve":  # masks of a generation by their own images, then by others: later ones wait for earlier
        asked = plan["stages"][2]  # after the whole images and the ranking
        assert asked["calls"] == [16, 8, 16, 12] and asked["tiles"] == 52


def test_compare_searchers(run, flags, tmp_path, images_folder):
    from freqkit.data import load_images, write_image_folder

    images = load_images(images_folder, image_size=32)
    other = images.subset(range(len(images)))
    other.images[:] = 255 - other.images
    held = tmp_path / "held"
    write_image_folder(other, held / "test")
    write_image_folder(other, held / "train")
    out = tmp_path / "compared"
    args = [
        "compare-searchers", *flags, "--held-out", held, "--held-out-part", "test", "--out", out,
        "--searchers", "learned,gradient", "--effort", "learned=1,2", "--effort", "gradient=1",
        "--per-class", "2", "--seeds", "1",
    ]  # fmt: skip
    result = run(*args)
    assert result.exit_code == 0, result.stderr
    assert "learned" in result.stdout and "gradient" in result.stdout
    names = {path.name for path in out.iterdir()}
    assert {"comparison.csv", "comparison.json", "comparison.png", "report.html", "learned-2-seed0"} <= names
    # What the whole held-out images say comes first, on stdout and on the page, before any mask.
    clean = json.loads((out / "comparison.json").read_text())["clean"]
    assert sum(clean["counts"]) == len(other) and sum(clean["correct"]) / len(other) < 0.5
    caution = f"Caution: Whole images are recognised in {100 * sum(clean['correct']) / len(other):.1f}% only"
    assert result.stdout.startswith("Whole images, before anything is filtered: ") and caution in result.stdout
    page = (out / "report.html").read_text()
    assert 0 < page.find(caution.removeprefix("Caution: ")) < page.find("<svg")
    again = run("rerun", out, "--out", tmp_path / "again")
    assert again.exit_code == 0 and "comparison.csv" in again.stderr.splitlines()[-1], again.stderr
    result = run(*args[:-6], "--effort", "learned:3")
    assert result.exit_code == 2 and "--effort must look like learned=40,120" in sentence(result)
