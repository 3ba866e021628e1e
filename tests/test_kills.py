"""Every long command, killed at random moments, goes on to the same bytes (tests/kills.py; `make kills` kills more)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    "only",
    [
        "train,train-2-ranks,evaluate,compare-searchers",
        "learned,greedy,dfm-gradient,dfm-2-ranks",
        "rates,adcs,demo,synthetic,synthetic-npy",
    ],
)
def test_killed_commands_change_no_byte(only):
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "kills.py", "--kills", "8", "--only", only], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, timeout=1800,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)["kills"] == 8
