"""A search killed at any instant continues to the same bytes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import freqkit


def test_sixty_kills_change_no_byte(tmp_path):
    script = Path(__file__).with_name("killed_runs.py")
    root = Path(freqkit.__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), "60"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    counts = json.loads(done.stdout)
    assert counts["kills"] >= 60 and counts["after the journal began"] == counts["kills"]
    assert {"none", "cut", "flip", "zeros"} <= set(counts["damage"])
