"""Every example runs, and says what it should."""

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


def test_every_example_is_run_here():
    assert [path.name for path in EXAMPLES] == ["01_find_shortcuts.py"]
