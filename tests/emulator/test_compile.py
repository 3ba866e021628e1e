"""The kernels compile for real devices, within their register budget."""

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from freqkit.files.whole import atomic_write

HERE = Path(__file__).resolve().parent
# The oldest and a recent architecture; `FREQKIT_TEST_ARCHS="75 80 86 89 90 100 120"` compiles them all.
ARCHS = os.environ.get("FREQKIT_TEST_ARCHS", "75 90").split()


def _fingerprint(nvcc, command):
    digest = hashlib.sha256(repr(command).encode())
    digest.update(subprocess.run([nvcc, "--version"], capture_output=True, check=True).stdout)
    for path in sorted([*(HERE.parent.parent / "csrc").rglob("*.h"), *(HERE.parent.parent / "csrc").rglob("*.cuh")]):
        digest.update(path.read_bytes())
    digest.update((HERE / "compile_all.cu").read_bytes())
    return digest.hexdigest()[:16]


def test_kernels_compile_without_spills(tmp_path):
    nvcc = shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")
    if nvcc is None:
        pytest.skip("nvcc is not installed: the device kernels are not compiled here")
    targets = [flag for arch in ARCHS for flag in ("-gencode", f"arch=compute_{arch},code=sm_{arch}")]
    command = ["-std=c++20", "-O3", "--expt-relaxed-constexpr", "--threads=2", "-Werror=all-warnings", *targets]
    command += ["-Xptxas=-v,--warn-on-spills,--warning-as-error", "-c", str(HERE / "compile_all.cu")]
    # The compiler's words are kept, so that unchanged kernels are not compiled again.
    kept = HERE.parent.parent / "build" / "emulator" / f"nvcc-{_fingerprint(nvcc, command)}.log"
    if not kept.exists():
        done = subprocess.run([nvcc, *command, "-o", tmp_path / "all.o"], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
        kept.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(kept, "w") as file:
            file.write(done.stdout + done.stderr)
    log = kept.read_text()
    registers = [int(n) for n in re.findall(r"Used (\d+) registers", log)]
    assert len(registers) >= 85 * len(ARCHS), "every kernel must have been compiled"
    assert max(registers) <= 168, "register budgets are set by __launch_bounds__"
    assert set(re.findall(r"(\d+) bytes spill stores", log)) == {"0"}
