"""evaluate, table and doctor from the command line."""

import csv
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from freqkit.data import load_images
from freqkit.masks import DfmFile, low_pass, save_dfm
from tests.cli.conftest import sentence


@pytest.fixture(scope="module")
def dfm(tmp_path_factory):
    path = tmp_path_factory.mktemp("maps") / "dfm.safetensors"
    save_dfm(path, DfmFile(torch.stack([low_pass(32, 4 * k + 4) for k in range(4)]).float(), ["C0", "C1", "C2", "C3"]))
    return path


@pytest.fixture(scope="module")
def done(images_folder, weights, dfm, tmp_path_factory):
    """Two models, one of which cannot be loaded, on one set, corrupted and attacked; into a store."""
    from click.testing import CliRunner

    from freqkit.cli.app import app

    root = tmp_path_factory.mktemp("runs")
    args = [
        "evaluate", "--model", f"small_convnet={weights}", "--model", "cifar_resnet20=gone.pth", "--dfm", dfm,
        "--on", f"planted={images_folder},fgsm:eps=2,generated/contrast", "--num-classes", 4, "--out", root / "run",
        "--store", root / "s.sqlite",
    ]  # fmt: skip
    return root, CliRunner().invoke(app, list(map(str, args)))


def test_evaluate(done, images_folder):
    root, result = done
    assert result.exit_code == 1  # one model failed, and the other's results are kept
    assert "1 could not be evaluated, the first: weights: 'gone.pth' is not a file." in result.stderr
    names = sorted(path.name for path in (root / "run").iterdir())
    assert names == [
        "corruptions-small_convnet.png", "gallery-small_convnet.png", "groups-small_convnet.png", "journal.bin",
        "report.html", "results.csv", "run.json", "run.yaml", "scatter-small_convnet.png",
    ]  # fmt: skip
    for name in names:
        if name.endswith("png"):
            with Image.open(root / "run" / name) as picture:
                assert min(picture.size) > 250
    record = json.loads((root / "run" / "run.json").read_text())
    assert record["status"] == "finished"
    assert [each["model"] for each in record["failures"]] == ["cifar_resnet20"]
    rows = list(csv.DictReader(open(root / "run" / "results.csv")))
    [top] = [row for row in rows if row["metric"] == "top-1" and row["condition"] == "all"]
    assert int(top["n"]) == len(load_images(images_folder, image_size=32))


def test_maps_of_the_same_images_are_warned_of(run, images_folder, weights, tmp_path):
    images = load_images(images_folder, image_size=32)
    masks = torch.stack([low_pass(32, 4 * k + 4) for k in range(4)]).float()
    save_dfm(tmp_path / "dfm.safetensors", DfmFile(masks, images.classes, data_hash=images.fingerprint))
    result = run(
        "evaluate", "--model", f"small_convnet={weights}", "--num-classes", 4, "--dfm", tmp_path / "dfm.safetensors",
        "--on", f"planted={images_folder}", "--out", tmp_path / "run", "--no-pictures",
    )  # fmt: skip
    assert result.exit_code == 0
    assert f"Warning: the maps were selected on {len(images)} of the images of planted" in result.stderr
    assert f"selected on {len(images)} of the images of planted" in (tmp_path / "run" / "report.html").read_text()


def test_table(done, run, tmp_path):
    root, _ = done
    (tmp_path / "results-imagenet.csv").write_text("model,top1,top5\nresnet50.a1_in1k,80.2,95.1\n")
    result = run("table", root / "s.sqlite", "--format", "csv", "--timm", tmp_path / "results-imagenet.csv")
    lines = list(csv.DictReader(result.stdout.splitlines()))
    assert [line["model"] for line in lines] == ["small_convnet", "resnet50.a1_in1k"]
    assert lines[1]["imagenet all"] == "0.802"
    assert "planted generated contrast/3" in lines[0]
    text = run(
        "table", root / "run", "--metric", "filtered TPR", "--classes", "--rows", "class", "--format", "markdown"
    ).stdout
    assert text.splitlines()[0].startswith("| class | planted all |")
    assert len(text.splitlines()) == 6
    timm = run("table", root / "run", "--set", "planted", "--format", "timm").stdout.splitlines()
    assert timm[0] == "model,top1,top1_err,top5,top5_err"
    (tmp_path / "tv_resnet50.log").write_text("initial accuracy: 76.10%\nrobust accuracy after APGD-CE: 18.00%\n")
    robust = run("table", root / "run", "--autoattack", tmp_path / "tv_resnet50.log", "--set", "imagenet", "--json")
    assert json.loads(robust.stdout) == [
        {"model": "tv_resnet50", "imagenet clean": pytest.approx(0.761), "imagenet AA-apgd-ce": 0.18}
    ]
    result = run("table", root / "run", "--metric", "nonsense")
    assert result.exit_code == 2
    assert "no row fits; the metrics there are" in sentence(result)


def test_what_is_refused(run, images_folder, tmp_path):
    for args, said in (
        (["--on", "imagenet"], "no set could be opened: imagenet: --data-dir must be given"),
        (["--on", "nonsense"], "'nonsense' is no known set"),
        (["--on", f"a={images_folder},pgd:steps=0"], "steps must be an integer of at least 1"),
        (["--on", f"mine={images_folder},fgsm:band=own"], "needs frequency maps"),
    ):
        result = run("evaluate", "--model", "small_convnet", "--out", tmp_path / "out", "--image-size", 32, *args)
        assert result.exit_code == 2, result.stderr
        assert said in sentence(result)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_doctor(run, images_folder, weights, tmp_path):
    result = run("doctor", "--on", f"planted={images_folder}", "--model", "small_convnet", "--weights", weights,
                 "--num-classes", 4, "--images", 20, "--json")  # fmt: skip
    found = {each["what"]: each for each in json.loads(result.stdout)}
    assert found[f"planted={images_folder}"]["found"] == "20 images of 4 classes"
    assert "mean 0.5/0.5/0.5" in found["normalisation"]["found"]
    assert "of 20 images" in found["top-1, transform used"]["found"]
    root = tmp_path / "data"
    (root / "imagenet-r" / "n01443537").mkdir(parents=True)
    result = run("doctor", "--data-dir", root)
    assert result.exit_code == 1
    assert "199 of 200 classes are missing" in result.stdout
    assert "the whole has 200 classes, 30000 images" in result.stdout
    assert "1 of 1 checks failed." in result.stderr


def test_doubts_of_a_normalisation_are_said(run, images_folder, weights, tmp_path):
    """In their own words, first on stdout, in --json, on the page, and by doctor; never as a warning of Python's."""
    bgr = ("--mean", "0.406,0.456,0.485", "--std", "0.225,0.224,0.229", "--num-classes", 4)
    model = ("--model", "small_convnet", "--weights", weights, *bgr)
    call = ("evaluate", *model, "--on", f"planted={images_folder}", "--image-size", 32, "--no-pictures")
    result = run(*call, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.stderr
    assert "NormalisationWarning" not in result.stderr
    said = "Caution: small_convnet gets images by mean 0.406,0.456,0.485"
    assert result.stdout.splitlines()[1].startswith(said) and said in result.stderr
    page = (tmp_path / "run" / "report.html").read_text()
    assert "small_convnet gets images by mean 0.406" in page and "the numbers may be in the order B, G, R" in page
    doubts = json.loads(run(*call, "--out", tmp_path / "two", "--json").stdout)["doubts"]["small_convnet"]
    assert len(doubts) == 2
    found = json.loads(run("doctor", *call[1:9], *call[9:13], "--image-size", 32, "--json").stdout)
    assert [f"{doubt}." for doubt in doubts] == [one["found"] for one in found if one["what"] == "normalisation, doubt"]
    assert {one["verdict"] for one in found if one["what"].startswith("normalisation, doubt")} == {"note"}


def test_work_is_that_of_all_sessions(run, images_folder, weights, dfm, tmp_path):
    """A finished run that is resumed asks nothing, and its page still shows what was asked in its seconds."""
    call = ("evaluate", "--model", "small_convnet", "--weights", weights, "--num-classes", 4, "--dfm", dfm,
            "--on", f"planted={images_folder},fgsm", "--no-pictures", "--out", tmp_path / "run")  # fmt: skip
    first = run(*call, "--json")
    assert first.exit_code == 0, first.stderr
    first = json.loads(first.stdout)
    done = first["of_all_sessions"]
    assert done["forwards"] == first["forwards"] > 0 < done["backwards"]
    again = json.loads(run(*call, "--resume", "--json").stdout)
    assert again["forwards"] == 0 and again["of_all_sessions"] == done
    page = (tmp_path / "run" / "report.html").read_text()
    assert f"{done['forwards']:,}" in page and f"{done['backwards']:,}" in page and "Speed" in page
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    del record["of_all_sessions"]  # as runs of before left it: the work of the last session alone
    (tmp_path / "run" / "run.json").write_text(json.dumps({**record, "forwards": 5}))
    assert run("report", tmp_path / "run").exit_code == 0
    assert "Speed" not in (tmp_path / "run" / "report.html").read_text()


def test_several_models_by_wildcard_and_file(tmp_path):
    from freqkit.errors import UsageError
    from freqkit.models import model_names

    (tmp_path / "models.txt").write_text("# mine\ncifar_resnet20=w.pth  # trained\nsmall_*\n")
    assert model_names([f"@{tmp_path / 'models.txt'}"]) == [("cifar_resnet20", "w.pth"), ("small_convnet", None)]
    with pytest.raises(UsageError, match="every model must be named once; small_convnet is not"):
        model_names(["small_convnet", "small_*"])
    with pytest.raises(UsageError, match="no built-in and no timm name fits 'zzz\\*'"):
        model_names(["zzz*"])
    assert Path(tmp_path / "models.txt").is_file()
