"""`models`, `data list`, `data check`, `watch`, and timm's spellings of flags."""

import json
import shutil
from types import SimpleNamespace

import pytest

from tests.cli.conftest import sentence


def test_models_are_listed_by_wildcard(run):
    assert run("models", "list", "cifar_resnet?8").stdout.split() == ["cifar_resnet18"]
    names = run("models", "list", "resnet18*").stdout.split()
    assert "resnet18" in names and all(name.startswith("resnet18") for name in names)
    assert "resnet18.a1_in1k" in json.loads(run("models", "list", "resnet18", "--pretrained", "--json").stdout)
    result = run("models", "list", "no_such_*")
    assert (result.exit_code, result.stdout) == (1, "")


def test_a_model_is_described_and_nothing_is_fetched(run, monkeypatch, tmp_path):
    import huggingface_hub

    def fetch(*args, **kwargs):
        raise AssertionError("asked the network")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    facts = json.loads(run("models", "show", "resnet18.a1_in1k", "--json").stdout)
    assert facts["parameters"] == 11_689_512  # as published
    assert (facts["num_classes"], facts["input_size"]) == (1000, [224, 224])
    assert facts["weights"]["here"] is None
    assert "none published" in run("models", "show", "cifar_resnet20").stdout
    result = run("models", "show", "resnet81")
    assert result.exit_code == 2 and "resnet18" in sentence(result)
    result = run("models", "show", "small_convnet", "--download")
    assert result.exit_code == 2 and "no published weights" in sentence(result)
    result = run("search", "--model", "resnet18.a1_in1k", "--pretrained", "--data", tmp_path, "--out", tmp_path / "x")
    assert result.exit_code == 2
    assert sentence(result).endswith("are not on this machine; give --download.")


def test_the_networks_of_the_study(run, images_folder, tmp_path):
    (tmp_path / "weights").mkdir()
    found = json.loads(run("models", "list", "--study", "--weights-dir", tmp_path / "weights", "--json").stdout)
    assert (len(found), sum(one["studied"] for one in found)) == (70, 48)
    [swav] = [one for one in found if one["name"] == "resnet50_swav"]
    assert not swav["here"]
    assert list(swav["files"]) == ["swav_800ep_pretrain.pth.tar", "swav_800ep_eval_linear.pth.tar"]
    result = run("models", "list", "--study", "moco")
    assert "linear-300ep.pth.tar" in result.stdout and "3 networks, 0 of them here" in result.stderr
    assert "--weights-dir goes with --study" in sentence(run("models", "list", "--weights-dir", tmp_path))
    facts = json.loads(run("models", "show", "study:resnet50_simclrv2", "--json").stdout)
    assert (facts["source"], facts["parameters"], facts["mean"]) == ("study", 25_557_032, [0.0, 0.0, 0.0])
    assert "nothing is fetched" in sentence(run("models", "show", "study:resnet50_simclrv2", "--download"))
    result = run(
        "evaluate", "--model", "study:resnet50_untrained", "--model", "study:resnet50_prime",
        "--model", "small_convnet", "--weights-dir", tmp_path / "weights", "--on", f"n={images_folder}",
        "--image-size", 32, "--no-pictures", "--json", "--classes", classes(tmp_path), "--out", tmp_path / "run",
    )  # fmt: skip
    failures = {one["model"]: one["error"] for one in json.loads(result.stdout)["failures"]}
    assert result.exit_code == 1 and "study:resnet50_untrained" not in failures
    assert "wants 'ResNet50_ImageNet_PRIME_noJSD.ckpt'" in failures["study:resnet50_prime"]
    assert "weights_dir" not in failures["small_convnet"]  # which has other classes


def classes(folder):
    names = [f"C{i}" for i in range(1000)]
    (folder / "classes.txt").write_text("\n".join(names))
    return folder / "classes.txt"


def test_image_sets_are_found_and_checked(run, images_folder, tmp_path):
    found = json.loads(run("data", "list", images_folder.parent, "--json").stdout)
    assert found == [{"folder": str(images_folder), "classes": 4, "images": 20}]
    assert run("data", "list", images_folder.parent, "--match", "nothing").exit_code == 1
    result = run("data", "check", images_folder, "--write-sums", tmp_path / "sums")
    assert result.exit_code == 0
    assert "20 images of 4 classes, 5 each" in result.stdout and "every image is whole" in result.stdout
    copy = tmp_path / "copy"
    shutil.copytree(images_folder, copy)
    assert "every checksum fits" in run("data", "check", copy, "--sums", tmp_path / "sums").stdout
    files = sorted((copy / "C1").iterdir())
    files[0].write_bytes(b"no image")
    files[1].unlink()
    result = run("data", "check", copy, "--sums", tmp_path / "sums", "--json")
    facts = json.loads(result.stdout)
    assert result.exit_code == 1
    assert facts["bad"] == facts["changed"] == [f"C1/{files[0].name}"]
    assert facts["missing"] == [f"C1/{files[1].name}"]


def test_a_misspelled_folder_gets_a_suggestion(run, images_folder, tmp_path):
    result = run("search", "--model", "small_convnet", "--data-dir", images_folder.parent / "plantd", "--out", tmp_path)
    assert result.exit_code == 2
    assert f"Did you mean '{images_folder}'?" in sentence(result)


def test_timm_spellings_are_the_same_flags(run, images_folder, weights, tmp_path):
    flags = ["--candidates", "4", "--stages", "1", "--top", "1"]
    ours = ["--weights", weights, "--data", images_folder, "--image-size", 32, "--batch-size", 10]
    timms = ["--checkpoint", weights, "--data-dir", images_folder, "--img-size", 32, "-b", 10]
    for name, spelled in (("ours", ours), ("timms", timms)):
        result = run("search", "--model", "small_convnet", *spelled, *flags, "--out", tmp_path / name)
        assert result.exit_code == 0, result.stderr
    for file in ("stage-1.safetensors", "run.yaml"):
        assert (tmp_path / "ours" / file).read_bytes() == (tmp_path / "timms" / file).read_bytes()


@pytest.fixture
def live(tmp_path):
    """A run of two stages that is held open as by its process: (folder, its RunDirectory)."""
    from freqkit.engine import RunDirectory

    with RunDirectory(tmp_path / "run", {"search": "hfss"}) as directory:
        directory.write({"status": "running", "stage": 1, "stages_done": [], "forwards_total": 100, "seconds": 1.0})
        directory.journal.put("stage-1/0-2/0-10", loss=[1.0])
        yield tmp_path / "run", directory


def test_watch_follows_a_run_to_its_end(run, live, monkeypatch):
    folder, directory = live
    assert run("watch", folder, "--once").stdout == "running, stage 1: 20 of 100 forwards (20%)\n"

    def go_on(seconds):  # while the command waits for its next look
        assert seconds == 0.1
        directory.journal.put("stage-1/2-4/0-10", loss=[1.0])
        directory.journal.flush()
        directory.write({"status": "finished", "stage": 1, "stages_done": [], "forwards_total": 100, "seconds": 2.0})

    monkeypatch.setattr("freqkit.cli.watch.time", SimpleNamespace(sleep=go_on))
    lines = run("watch", folder, "--every", 0.1).stdout.splitlines()
    assert lines[0] == "running, stage 1: 20 of 100 forwards (20%)"
    assert len(lines) == 2 and lines[1].startswith("finished, stage 1: 40 of 100 forwards (40%)")
    assert json.loads(run("watch", folder, "--json").stdout)["forwards_done"] == 40


def test_the_live_view_shows_rate_and_best_classes(live):
    from rich.console import Console

    from freqkit.cli.watch import Look, _view

    folder, directory = live
    now = [0.0]
    look = Look(folder, clock=lambda: now[0])
    look()
    directory.journal.put("stage-1/2-4/0-10", loss=[1.0])
    now[0] = 10.0
    found = look()
    assert (found["rate"], found["seconds_left"]) == (2.0, 30.0)
    found.update(best=[{"class": "cat", "loss": 0.5, "TPR": 0.9, "FPR": 0.1}], stages_done=[1])
    console = Console(width=100)
    with console.capture() as capture:
        console.print(_view(found))
    text = capture.get()
    assert "2 forwards/s, 30 s left" in text and "cat" in text and "90.0%" in text


def test_watch_refuses_what_is_no_run(run, tmp_path):
    result = run("watch", tmp_path)
    assert result.exit_code == 2 and "holds no readable freqkit run" in sentence(result)
