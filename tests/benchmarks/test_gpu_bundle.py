"""The one file that is taken to a machine with a GPU."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from benchmarks import gpu_bundle

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """As a wheel of this checkout would be, whatever is built."""
    path = tmp_path_factory.mktemp("wheel") / "freqkit-0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted((ROOT / "freqkit").rglob("*.py")):
            archive.write(file, file.relative_to(ROOT).as_posix())
    return path


def test_it_unpacks_itself_and_checks(wheel, tmp_path):
    out = tmp_path / "gpu_check.py"
    gpu_bundle.main([str(wheel), "--out", str(out)])
    done = subprocess.run([sys.executable, out.name], cwd=tmp_path, capture_output=True, text=True, check=False)
    if torch.cuda.is_available():
        pytest.skip("a GPU is here: `make gpu-check` says more")
    assert done.returncode == 2 and "torch finds no GPU" in done.stderr
    assert all(part in done.stderr for part in ("tests/ops/test_on_gpu.py", "racecheck", "band_bank", "one JSON"))
    names = zipfile.ZipFile(out).namelist()
    assert "tests/ops/test_on_gpu.py" in names and "benchmarks/run.py" in names
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gpu_check.py"]


def test_the_same_parts_give_the_same_file(wheel, tmp_path):
    for name in "ab":
        gpu_bundle.main([str(wheel), "--out", str(tmp_path / name)])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_too_much_is_refused(wheel, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_bundle, "MOST", 1000)
    with pytest.raises(SystemExit, match="fewer architectures"):
        gpu_bundle.main([str(wheel), "--out", str(tmp_path / "big")])
    assert list(tmp_path.iterdir()) == []
