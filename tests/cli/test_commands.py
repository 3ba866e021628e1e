"""`info`, `masks`, `data`, `train`."""

import json
import pickle

import numpy as np
import pytest
import torch

from freqkit.registry import MEASURES
from tests.cli.conftest import sentence
from tests.measures_at_hand import takes

# --- info


def test_info_says_what_is_there(run):
    result = run("info", "--json")
    assert result.exit_code == 0
    facts = json.loads(result.stdout)
    assert set(facts) == {"versions", "built", "here", "threads"}
    assert facts["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert facts["threads"]["torch"] == torch.get_num_threads()
    assert facts["built"]["library"] is True
    assert facts["here"]["spectral_filter on cpu"].startswith("yes")
    assert facts["here"]["spectral_filter on cuda"].split(":")[0] == ("yes" if _gpu_runs(facts) else "no")


def _gpu_runs(facts):
    return torch.cuda.is_available() and bool(facts["built"]["cuda"])


def test_info_for_people(run):
    text = run("info").stdout
    for word in ("versions:", "built:", "here:", "threads:", "torch", "simd"):
        assert word in text


def test_info_without_the_library_says_so(run, monkeypatch):
    from freqkit.ops import extension

    def missing():
        raise ImportError("the native library is not built; run `make build`")

    monkeypatch.setattr(extension, "build_info", missing)
    facts = json.loads(run("info", "--json").stdout)
    assert facts["built"] == {"library": False, "why": "the native library is not built; run `make build`"}
    assert "cannot run" in facts["here"]["spectral_filter"]


# --- masks


@pytest.fixture
def published(tmp_path):
    """A pickle as published: class -> list of masks, best first."""
    rng = np.random.default_rng(0)
    maps = {i: [(rng.random((8, 8)) < 0.3).astype(float) for _ in range(2)] for i in range(3)}
    path = tmp_path / "dfm.pkl"
    path.write_bytes(pickle.dumps(maps))
    return path, maps


def test_import_and_show(run, published, tmp_path):
    from freqkit.masks import load_dfm

    path, maps = published
    out = tmp_path / "dfm.safetensors"
    assert run("masks", "import", path, "--out", out).exit_code == 0
    dfm = load_dfm(out)
    mirrored = np.roll(maps[1][0][::-1, ::-1], (1, 1), (0, 1))
    assert np.array_equal(dfm["1"].numpy(), (maps[1][0] + mirrored) / 2)

    facts = json.loads(run("masks", "show", out, "--json").stdout)
    assert [row["class"] for row in facts["classes"]] == ["0", "1", "2"]
    assert facts["classes"][1]["touched"] == ((maps[1][0] + mirrored) > 0).mean()
    table = run("masks", "show", out, "--out", tmp_path / "maps.png")
    assert "3 maps of 8x8, preset imported" in table.stdout
    assert (tmp_path / "maps.png").read_bytes()[:4] == b"\x89PNG"


def test_import_with_names_and_rank(run, published, tmp_path):
    from freqkit.masks import load_dfm

    path, _ = published
    names = tmp_path / "names.txt"
    names.write_text("cat\ndog\n\nfrog\n")
    out = tmp_path / "b.safetensors"
    result = run("masks", "import", path, "--out", out, "--classes", names, "--rank", "1", "--json")
    assert json.loads(result.stdout)["extra"]["rank"] == 1
    assert load_dfm(out).classes == ["cat", "dog", "frog"]
    result = run("masks", "import", path, "--out", out)
    assert result.exit_code == 2
    assert "--overwrite" in sentence(result)
    assert run("masks", "import", path, "--out", out, "--overwrite").exit_code == 0
    result = run("masks", "import", path, "--out", tmp_path / "c", "--rank", "7")
    assert result.exit_code == 2
    assert "rank 7" in sentence(result)


def test_maps_are_exported_for_the_published_code(run, published, tmp_path):
    path, _ = published
    assert run("masks", "import", path, "--out", tmp_path / "a.safetensors").exit_code == 0
    source = ("masks", "export", tmp_path / "a.safetensors", "--format", "dfm")
    facts = json.loads(run(*source, "--out", tmp_path / "b.pkl", "--json").stdout)
    assert facts["classes"] == 3 and list(pickle.loads((tmp_path / "b.pkl").read_bytes())) == [0, 1, 2]
    for more, words in (
        (["--out", tmp_path / "b.npy"], "--out must end in .pkl"),
        (["--out", tmp_path / "b.pkl"], "or give --overwrite"),
        (["--out", tmp_path / "c.pkl", "--format", "hfss-loss"], "those of a search with stages"),
        (["--out", tmp_path / "c", "--format", "csv"], "--format csv is of a run of freqkit evaluate"),
    ):
        refused = run(*source, *more)
        assert refused.exit_code == 2 and words in sentence(refused)
    path.write_bytes(pickle.dumps({0: 5 * np.arange(16.0).reshape(4, 4)}))
    assert "give a level (--level 0.05)" in sentence(run("masks", "import", path, "--out", tmp_path / "d"))
    kept = run("masks", "import", path, "--out", tmp_path / "d", "--level", "0.25", "--json")
    assert json.loads(kept.stdout)["extra"]["share"] == 0.25


def test_a_pickle_with_code_is_refused_and_not_run(run, tmp_path):
    marker = tmp_path / "ran"

    class Attack:
        def __reduce__(self):
            return (open, (str(marker), "w"))

    path = tmp_path / "bad.pkl"
    path.write_bytes(pickle.dumps({0: Attack()}))
    result = run("masks", "import", path, "--out", tmp_path / "x.safetensors")
    assert result.exit_code == 2
    assert not marker.exists()
    assert not (tmp_path / "x.safetensors").exists()


def test_show_refuses_what_is_no_map_file(run, published, weights):
    path, _ = published
    result = run("masks", "show", path)
    assert result.exit_code == 2
    assert "freqkit masks import" in sentence(result)
    assert run("masks", "show", weights).exit_code == 2
    assert run("masks", "show", "/nowhere").exit_code == 2


def test_output_folders_must_be_there(run, published, tmp_path):
    path, _ = published
    result = run("masks", "import", path, "--out", tmp_path / "no" / "x.safetensors")
    assert result.exit_code == 2
    assert "folder" in sentence(result)


# --- data


def test_synthetic_folder_holds_images_and_truth(run, tmp_path):
    from safetensors.torch import load_file

    from freqkit.data import load_images, synthetic

    out = tmp_path / "planted"
    flags = ["--variant", "2", "--images-per-class", "3", "--size", "16", "--seed", "9"]
    result = run("data", "synthetic", *flags, "--out", out, "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["images"] == 12
    made, read = synthetic(2, images_per_class=3, size=16, seed=9), load_images(out, image_size=16)
    assert torch.equal(made.images, read.images)
    assert made.classes == read.classes
    truth = load_file(out / "truth.safetensors")
    frequencies = json.loads((out / "truth.json").read_text())["planted frequencies"]
    for name, bins in made.truth.items():
        assert torch.equal(truth[name].bool(), bins)
        assert len(frequencies[name]) == bins.sum()
    # the diagonal (k, k), k odd, with its partners
    assert sorted(frequencies["C0"]) == [[k, k] for k in (-7, -5, -3, -1, 1, 3, 5, 7)]


def test_synthetic_arrays_and_a_test_set(run, tmp_path):
    from freqkit.data import load_images, parts_of, synthetic

    flags = ["--images-per-class", "2", "--test-images-per-class", "1", "--seed", "5", "--amplitudes", "2", "4"]
    result = run("data", "synthetic", *flags, "--format", "npy", "--out", tmp_path / "a")
    assert result.exit_code == 0 and "(1, 1), (3, 3)" in result.stdout
    assert run("data", "synthetic", *flags, "--out", tmp_path / "b").exit_code == 0
    made = synthetic(1, images_per_class=1, seed=6, amplitudes=(2, 4))
    for folder in (tmp_path / "a", tmp_path / "b"):
        assert parts_of(folder) == ["train", "test"] and (folder / "truth.safetensors").is_file()
        assert torch.equal(load_images(folder, image_size=32, part="test").images, made.images)
    assert (tmp_path / "a" / "train_data_complex_special_1_par.npy").is_file()
    result = run("data", "synthetic", *flags, "--test-seed", "5", "--out", tmp_path / "c")
    assert result.exit_code == 2 and "--test-seed must differ" in sentence(result)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--variant", "5"], "1<=x<=4"),
        (["--images-per-class", "0"], "x>=1"),
        (["--size", "17"], "even"),
        (["--seed", "-1"], "x>=0"),
    ],
)
def test_synthetic_bad_flags(run, tmp_path, flags, says):
    result = run("data", "synthetic", "--out", tmp_path / "x", *flags)
    assert result.exit_code == 2
    assert says in sentence(result)


def test_synthetic_refuses_a_folder_with_files(run, tmp_path):
    (tmp_path / "mine.txt").write_text("keep me")
    result = run("data", "synthetic", "--out", tmp_path, "--images-per-class", "1")
    assert result.exit_code == 2
    assert "empty" in sentence(result)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


# --- train


def test_train_keeps_a_run(run, images_folder, tmp_path):
    from freqkit.models import load_model
    from freqkit.results import LearningCurves

    out = tmp_path / "new" / "run"
    flags = [
        "--model", "small_convnet", "--data", images_folder, "--epochs", "2", "--batch-size", "8", "--follow", "2",
        "--val", images_folder, "--augment", "crop,flip", "--keep-every", "1",
    ]  # fmt: skip
    result = run("train", *flags, "--out", out, "--json")
    assert result.exit_code == 0, result.stderr
    assert len(json.loads(result.stdout)["history"]["epochs"]) == 2
    assert "training: " in result.stderr
    load_model("small_convnet", num_classes=4, weights=out / "weights.safetensors")
    record = json.loads((out / "run.json").read_text())
    assert record["status"] == "finished" and record["identity"]["recipe"]["augment"] == ["crop", "flip"]
    assert LearningCurves.load(out / "learning.safetensors").steps.tolist() == [0, 2, 4, 6]
    names = {path.name for path in out.iterdir()}
    assert {"weights-0001.safetensors", "history.csv", "history.png", "learning.csv", "learning.png"} <= names
    again = run("train", *flags, "--out", out)
    assert again.exit_code == 2 and "overwrite" in sentence(again)
    again = run("train", *flags, "--out", out, "--resume", "--epochs", "3")
    assert again.exit_code == 2 and "differs in recipe" in sentence(again)
    again = run("train", *flags, "--out", out, "--overwrite", "--recipe", "timm-like", "--warmup", "0", "--cutmix", "0")
    assert again.exit_code == 0 and "Validation images" in again.stdout
    plan = json.loads(run("train", *flags, "--dry-run", "--json").stdout)
    assert plan["steps"] == 6 and plan["backwards"] == 40 and plan["forwards"] == 40 + 40 + 20 + 4 * 20


def test_train_on_arrays_against_shortcuts(run, tmp_path):
    from freqkit.data import synthetic, write_npy
    from freqkit.masks import DfmFile, disc, save_dfm

    for part, seed in (("train", 0), ("test", 1)):
        write_npy(synthetic(3, images_per_class=4, seed=seed), tmp_path / "set", part=part)
    maps = tmp_path / "dfm.safetensors"
    save_dfm(maps, DfmFile(disc(32, 6).expand(4, -1, -1).clone(), ["C0", "C1", "C2", "C3"]))
    flags = ["--model", "small_convnet", "--data", tmp_path / "set", "--val-part", "test", "--epochs", "1"]
    flags += ["--dfm-augment", maps, "--p", "0.4", "--remove-shortcuts", maps, "--out", tmp_path / "run"]
    result = run("train", *flags, "--precision", "bfloat16", "--ema", "0.9")
    assert result.exit_code == 0 and "Validation images" in result.stdout
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    names = [(one["augmentation"], one["p"]) for one in record["identity"]["spectral"]]
    assert names == [("other-class-maps", 0.4), ("shortcut-removal", 0.5)]
    assert record["data"]["train"]["part"] == "train" and record["data"]["val"]["part"] == "test"
    result = run("train", *flags, "--overwrite", "--image-size", "16")
    assert result.exit_code == 2 and "maps must be of the images' size" in sentence(result)


def test_train_with_other_pixels(run, images_folder, tmp_path):
    flags = ["--model", "small_convnet", "--data", images_folder, "--epochs", "1", "--out", tmp_path / "run"]
    flags += ["--bandpass-augment", "0.5", "--noise-augment", "0.25", "--noise-band", "4-8"]
    assert run("train", *flags).exit_code == 0
    assert json.loads((tmp_path / "run" / "run.json").read_text())["identity"]["spectral"] == [
        {"augmentation": "band-pass", "p": 0.5, "preset": "default"},
        {"augmentation": "diffusion-noise", "p": 0.25, "band": "4-8"},
    ]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--epochs", "0"], "x>=1"),
        (["--lr", "0"], "x>0"),
        (["--batch-size", "auto"], "auto"),
        (["--model", "small_convnt"], "small_convnet"),
        (["--augment", "flop"], "augment must be some of crop, pad, flip"),
        (["--schedule", "plateau"], "needs a val_set"),
        (["--val-part", "test"], "has no part 'test'"),
        (["--noise-band", "low-3"], "is of --noise-augment P"),
        (["--noise-augment", "0.5", "--noise-band", "3"], "band must be low-R, high-R or A-B"),
    ],
)
def test_train_bad_flags(run, images_folder, tmp_path, flags, says):
    base = [
        "--model",
        "small_convnet",
        "--data",
        images_folder,
        "--image-size",
        "32",
        "--out",
        tmp_path / "w",
    ]
    result = run("train", *base, *flags)
    assert result.exit_code == 2
    assert says in sentence(result)
    assert not (tmp_path / "w").exists()


def test_errors_of_model_and_images_name_the_flags(run, images_folder, weights, tmp_path):
    from freqkit.data import synthetic, write_image_folder

    out = ("--out", tmp_path / "run")
    result = run("search", "--model", "small_convnet", "--num-classes", 7, "--weights", weights,
                 "--data", images_folder, *out)  # fmt: skip
    assert result.exit_code == 2
    assert "with 4 logits, give --num-classes 4. " in sentence(result)
    assert "(--allow-missing, --allow-unexpected)" in sentence(result)
    write_image_folder(synthetic(1, images_per_class=1), tmp_path / "set")
    (tmp_path / "set" / "C0" / "notes.txt").write_text("no image")
    flags = ("search", "--model", "small_convnet", "--weights", weights, "--data", tmp_path / "set", *out)
    assert "leave them out with --on-bad-image skip." in sentence(run(*flags))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    flags = ("search", "--model", "small_convnet", "--weights", weights, "--data", images_folder)
    said = sentence(run(*flags, "--out", tmp_path / "full"))
    assert "give --resume to continue a run or --overwrite to replace it" in said
    result = run("evaluate", "--model", "small_convnet", "--on", "imagnet", "--data-dir", tmp_path, *out)
    assert sentence(result).endswith("Did you mean 'imagenet'?")


def test_a_factory_without_normalisation_is_said_and_can_be_given_one(run, images_folder, tmp_path):
    (tmp_path / "net.py").write_text(
        "import torch\ndef make():\n    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 4))\n"
    )
    measure = next(name for name in MEASURES if {"model"} == {"model", "dfm"} & takes(name))
    flags = [measure, "--model", f"{tmp_path}/net.py:make", "--data", images_folder, "--image-size", "32", "--json"]
    plain = run(*flags)
    assert "names no mean and std" in plain.stderr
    given = run(*flags, "--mean", "0.5,0.4,0.3", "--std", "0.2,0.2,0.2")
    assert "names no mean" not in given.stderr and given.exit_code == 0
    assert run(*flags, "--mean", "0,0,0", "--std", "1,1,1").stdout == plain.stdout
    result = run(*flags, "--mean", "0.5,0.4,0.3")
    assert result.exit_code == 2 and "mean and std must be given together" in sentence(result)
