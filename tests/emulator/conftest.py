"""Builds the emulator once per session, into build/emulator."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILD = ROOT / "build" / "emulator"


def _tool(name):
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else shutil.which(name)


def _build(*targets):
    for module in ("pybind11",):
        pytest.importorskip(module, reason=f"the kernel emulator needs {module}")
    cmake, ninja = _tool("cmake"), _tool("ninja")
    if cmake is None or ninja is None:
        pytest.skip("the kernel emulator needs cmake and ninja")
    configure = [cmake, "-S", HERE, "-B", BUILD, "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"]
    configure.append(f"-DPython_EXECUTABLE={sys.executable}")
    jobs = os.environ.get("MAX_JOBS", str(os.cpu_count() or 1))
    for command in (configure, [cmake, "--build", BUILD, "-j", jobs, "--target", *targets]):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]


@pytest.fixture(scope="session")
def emulator():
    """The `freqkit_emulator` module, in its plain state."""
    _build("freqkit_emulator")
    sys.path.insert(0, str(BUILD))
    import freqkit_emulator

    freqkit_emulator.configure()
    return freqkit_emulator


@pytest.fixture(scope="session")
def sanitized():
    """`sanitized(sanitizer, case, order)` -> the finished program."""
    _build("emulator_address", "emulator_thread")

    def run(sanitizer, case, order="forward"):
        environment = os.environ | {"TSAN_OPTIONS": "exitcode=66", "ASAN_OPTIONS": "exitcode=67:detect_leaks=0"}
        return subprocess.run(
            [BUILD / f"emulator_{sanitizer}", case, order], capture_output=True, text=True, env=environment, timeout=300
        )

    return run
