"""How commands read images: as the model was published by default, as a run began when it goes on, decoded once."""

import json

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """Two images of each of four classes, of two sizes."""
    root, noise = tmp_path_factory.mktemp("several"), np.random.default_rng(0)
    for k in range(4):
        for i, size in enumerate([(60, 40), (40, 52)]):
            path = root / f"C{k}" / f"{i}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(noise.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
    return root


@pytest.fixture
def call(several, weights):
    return ["search", "--model", "small_convnet", "--weights", weights, "--num-classes", "4", "--data", several,
            "--batch-size", "8", "--steps", "1"]  # fmt: skip


def data(out):
    return json.loads((out / "run.json").read_text())["data"]


def test_own_is_the_default_and_squashing_goes_on(run, call, tmp_path):
    own, old = tmp_path / "own", tmp_path / "old"
    result = run(*call, "--out", own)
    assert result.exit_code == 0, result.stderr
    words = "shorter side to 36 (bilinear), then the middle 32x32, as is usual for ImageNet"
    assert f"so images get their {words}" in " ".join(result.stderr.split())
    assert data(own)["preprocessing"] == words and words in (own / "report.html").read_text()
    assert "resize: own" in (own / "run.yaml").read_text()

    assert run(*call, "--resize", "squash", "--out", old).exit_code == 0
    assert data(old)["fingerprint"] != data(own)["fingerprint"]
    result = run(*call, "--out", old, "--resume")  # as an older version began it, by its default
    assert result.exit_code == 0, result.stderr
    assert "Note: images are read with --resize squash, as when this run began." in result.stderr
    assert data(old)["preprocessing"].startswith("both sides to 32, whatever the shape")
    result = run(*call, "--resize", "own", "--out", old, "--resume")
    assert result.exit_code == 2 and "the run differs in data" in result.stderr


def test_presets_keep_the_published_way(run, call, tmp_path):
    out = tmp_path / "run"
    hfss = ["--preset", "cvpr2025", "--candidates", "4", "--stages", "1", "--top", "1"]
    assert run(*call[:-2], *hfss, "--out", out).exit_code == 0
    assert data(out)["resize"] == "squash" and "resize: squash" in (out / "run.yaml").read_text()


def test_an_evaluation_goes_on_as_it_began(run, call, several, weights, tmp_path):
    out = tmp_path / "run"
    evaluate = ["evaluate", *call[1:7], "--on", f"mine={several}", "--out", out, "--no-pictures"]
    assert run(*evaluate, "--resize", "squash").exit_code == 0
    assert run(*evaluate, "--resume").exit_code == 0  # which an older version asked for by default
    identity = json.loads((out / "run.json").read_text())["identity"]
    assert identity["resize"] == "squash"
    assert run(*evaluate, "--overwrite").exit_code == 0
    record = json.loads((out / "run.json").read_text())
    words = "shorter side to 36 (bilinear), then the middle 32x32"
    assert (record["identity"]["resize"], record["models"]["small_convnet"]["preprocessing"]) == ("own", [words])
    assert words in (out / "report.html").read_text()


def test_decoded_once_and_listed(run, call, tmp_path, monkeypatch):
    from freqkit.data import folder

    names, real = [], folder.open_image
    monkeypatch.setattr(folder, "open_image", lambda path: (names.append(path), real(path))[1])
    kept = tmp_path / "kept"
    first = run(*call, "--cache", kept, "--out", tmp_path / "a", "--json")
    second = run(*call, "--cache", kept, "--out", tmp_path / "b", "--json")
    assert len(names) == 8 and json.loads(first.stdout)["classes"] == json.loads(second.stdout)["classes"]
    assert str(kept) not in (tmp_path / "a" / "run.yaml").read_text()
    listed = json.loads(run("data", "cache", "--cache", kept, "--json").stdout)
    assert [(row["images"], row["size"]) for row in listed["kept"]] == [(8, [32, 32])]
    assert "1 removed" in run("data", "cache", "--cache", kept, "--clear").stderr
    assert "Nothing is kept" in run("data", "cache", "--cache", kept).stderr
    assert run(*call, "--cache", kept, "--no-cache", "--out", tmp_path / "c").exit_code == 0
    assert len(names) == 16 and "Nothing is kept" in run("data", "cache", "--cache", kept).stderr
    result = run(*call, "--cache", kept, "--cache-budget", "1kB", "--out", tmp_path / "d")
    assert result.exit_code == 0 and "Note: decoded images are not kept in" in result.stderr


def test_lists_of_classes_by_name(run, call, weights, tmp_path):
    result = run(*call, "--classes", "cifar10", "--out", tmp_path / "run")
    assert result.exit_code == 2 and "every folder must be one of the 10 given classes" in result.stderr
    result = run(*call, "--classes", "cifar11", "--out", tmp_path / "run")
    assert result.exit_code == 2 and "'cifar11' does not exist" in result.stderr
