"""The memory of a search does not grow with its images."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import freqkit

ROOT = Path(freqkit.__file__).resolve().parents[1]
SCRIPT = """
import torch
from benchmarks.economies import peak
torch.set_num_threads(1)
peak((500,), memory=4 << 20, batch_size=64)
print(peak((500, 6000), memory=4 << 20, batch_size=64), peak((500, 6000), memory=1 << 30, batch_size=64), sep="|")
"""


# Blocks that are given back at once, in one heap: what the allocator keeps for later is chance.
ALLOCATOR = {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}


@pytest.mark.measured
def test_private_memory_is_flat_within_the_budget():
    """12 times the images; their spectra would take 78 MB, for which the second pair has room and the first has not:
    with room for 4 MB the process grows by a fraction of what it grows by with room for all (measured: a fortieth)."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True, text=True, cwd=ROOT, env={**os.environ, **ALLOCATOR}, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    flat, kept = (json.loads(part) for part in done.stdout.splitlines()[-1].split("|"))
    assert 4 * (flat[1] - flat[0]) < kept[1] - kept[0], (flat, kept)
