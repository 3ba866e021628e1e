"""`dfm`, `rates`, `adcs`."""

import json

import pytest
import torch
from PIL import Image

from tests.cli.conftest import sentence


@pytest.fixture
def net(weights):
    return ("--model", "small_convnet", "--num-classes", 4, "--weights", weights, "--batch-size", 64)


@pytest.mark.parametrize("method", ["removal", "gradient"])
def test_dfm_then_rates_on_the_rest(run, net, images_folder, tmp_path, method):
    from freqkit.masks import load_dfm
    from freqkit.results import RemovalResult

    out = tmp_path / "run"
    half = ("--data", images_folder, "--image-size", 32, "--split-fraction", 0.4)
    found = run("dfm", *net, *half, "--out", out, "--patch", 8, "--method", method, "--levels", "0.05,0.3", "--json")
    assert found.exit_code == 0, found.stderr
    facts = json.loads(found.stdout)
    assert [row["class"] for row in facts["classes"]] == ["C0", "C1", "C2", "C3"]
    assert (facts["backwards"] > 0) == (method == "gradient")
    names = {path.name for path in out.iterdir()}
    assert {"run.json", "dfm-5.safetensors", "dfm-30.safetensors", "dfms.png", "increase.png", "classes.csv"} <= names
    assert len(RemovalResult.load(out).loss) == 11 and len(load_dfm(out / "dfm-30.safetensors")) == 4

    file = ("--dfm", out / "dfm-5.safetensors")
    tested = run("rates", *net, *half, "--rest", *file, "--out", tmp_path / "rates.safetensors", "--json")
    facts = json.loads(tested.stdout)
    assert facts["selected_on_test_set"] is False and "too good" not in tested.stderr
    assert {row["images"] for row in facts["classes"]} == {3}
    assert {"rates.safetensors", "rates.csv", "rates.png"} <= {path.name for path in tmp_path.iterdir()}
    again = run("rates", *net, *half, *file)
    assert "too good" in again.stderr and "--rest" in again.stderr and "95% interval" in again.stdout


def test_dfm_table_and_resume(run, net, images_folder, tmp_path):
    call = ("dfm", *net, "--data", images_folder, "--image-size", 32, "--patch", 16, "--preset", "iccv2023")
    call = (*call, "--out", tmp_path / "run", "--level", 0.5, "--levels", 0.5)
    first = run(*call)
    assert "dominant 50% of the frequencies" in first.stdout and first.exit_code == 0
    assert "not empty" in sentence(run(*call))
    assert run(*call, "--resume").stdout == first.stdout
    assert run(*call, "--overwrite").stdout == first.stdout


def test_adcs(run, images_folder, tmp_path):
    from freqkit.data import load_images
    from freqkit.measures import AdcsResult, adcs

    call = ("adcs", "--data", images_folder, "--image-size", 32)
    facts = json.loads(run(*call, "--json", "--out", tmp_path / "a.safetensors").stdout)
    assert len(facts["classes"]) == 4 and facts["definition"]["preset"] == "default"
    expected = adcs(load_images(images_folder, image_size=32)).maps
    assert torch.equal(AdcsResult.load(tmp_path / "a.safetensors").maps, expected)
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    assert "band 4" in run(*call, "--preset", "iccv2023").stdout
    [caution] = facts["cautions"]
    assert "as few as 5 images of a class, and no interval" in caution
    assert run(*call).stdout.startswith(f"Caution: {caution}")


def test_errors(run, net, images_folder, tmp_path):
    data = ("--data", images_folder, "--image-size", 32)
    dfm = ("dfm", *net, *data, "--out", tmp_path / "run")
    several = tmp_path / "several"
    for name in ("a", "b"):
        (several / name).mkdir(parents=True)
        Image.new("RGB", (8, 8) if name == "a" else (16, 8)).save(several / name / "0.png")
    cases = [
        (("adcs", "--data", several), "--image-size must be given for images of several sizes, such as 8x8 and 8x16"),
        (("adcs", *data, "--mean", "1,2"), "three numbers"),
        ((*dfm, "--levels", "0.1,2"), "must lie in (0, 1]"),
        ((*dfm, "--patch", 5), "must be a multiple of 5"),
        ((*dfm, "--method", "gradient", "--preset", "iccv2023"), "is a way of removal"),
        ((*dfm, "--resume", "--overwrite"), "exclude each other"),
        ((*dfm, "--published-batch-size", 5), "needs --preset iccv2023 or dfm_v2023"),
    ]
    for call, message in cases:
        result = run(*call)
        assert result.exit_code == 2 and message in sentence(result), result.stderr
    (tmp_path / "x").write_bytes(b"no")
    result = run("rates", *net, *data, "--dfm", tmp_path / "x")
    assert result.exit_code == 2 and "not a safetensors file" in sentence(result)
    result = run("rates", *net, *data, "--dfm", tmp_path / "x", "--rest")
    assert "--rest needs --split-fraction" in sentence(result)


def test_rates_on_what_the_published_order_leaves(run, net, images_folder, tmp_path):
    """The search's images are its selection; the presets of ICCV 2023 read npy floats as published."""
    import numpy as np

    from freqkit.data import load_images

    data = ("--data", images_folder, "--image-size", 32, "--published-order", "--split-fraction", 0.4)
    how = ("--preset", "cvpr2025", "--candidates", 6, "--stages", 1)
    found = run("search", *net, *data, *how, "--out", tmp_path / "run")
    assert found.exit_code == 0, found.stderr
    tested = run("rates", *net, *data, "--rest", "--dfm", tmp_path / "run" / "dfm.safetensors", "--json")
    assert json.loads(tested.stdout)["selected_on_test_set"] is False, tested.stderr
    assert {row["images"] for row in json.loads(tested.stdout)["classes"]} == {3}

    images = load_images(images_folder, image_size=32)
    (tmp_path / "npy").mkdir()
    np.save(tmp_path / "npy" / "train_data.npy", (images.images.numpy() + np.float32(0.6)) / 256)
    np.save(tmp_path / "npy" / "train_label.npy", images.labels.numpy())
    call = ("dfm", *net, "--data", tmp_path / "npy", "--patch", 13, "--level", 0.5, "--levels", 0.5)
    ways = {"a": ("--preset", "iccv2023"), "b": ("--preset", "iccv2023", "--npy-floats", "round")}
    for name, way in ways.items():
        result = run(*call, *way, "--out", tmp_path / name)
        assert result.exit_code == 0, result.stderr
    read = {name: json.loads((tmp_path / name / "run.json").read_text())["data"] for name in ways}
    assert read["a"]["npy_floats"] == "published" and "npy_floats" not in read["b"]
    assert read["a"]["fingerprint"] != read["b"]["fingerprint"]
