"""The kernels compile for real devices, within their register budget."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
# The oldest and a recent architecture; `FREQKIT_TEST_ARCHS="75 80 86 89 90 100 120"` compiles them all.
ARCHS = os.environ.get("FREQKIT_TEST_ARCHS", "75 90").split()


def test_kernels_compile_without_spills(tmp_path):
    nvcc = shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")
    if nvcc is None:
        pytest.skip("nvcc is not installed: the device kernels are not compiled here")
    targets = [flag for arch in ARCHS for flag in ("-gencode", f"arch=compute_{arch},code=sm_{arch}")]
    command = [nvcc, "-std=c++20", "-O3", "--expt-relaxed-constexpr", "--threads=2", "-Werror=all-warnings", *targets]
    command += ["-Xptxas=-v,--warn-on-spills,--warning-as-error", "-c", HERE / "compile_all.cu", "-o", tmp_path / "all.o"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    log = done.stdout + done.stderr
    registers = [int(n) for n in re.findall(r"Used (\d+) registers", log)]
    assert len(registers) >= 20 * len(ARCHS), "every kernel must have been compiled"
    assert max(registers) <= 168, "register budgets are set by __launch_bounds__"
    assert set(re.findall(r"(\d+) bytes spill stores", log)) <= {"0"}
