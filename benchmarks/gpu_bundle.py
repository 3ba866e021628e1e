"""One file that checks freqkit on a machine with a GPU and no network: `python gpu_check.py` (`make gpu-bundle`).

The file is a zip archive that Python runs: an unpacked wheel with CUDA kernels, pytest, the operators' tests and the
benchmarks. There must be torch and numpy for the Python that runs it; all else is in it. It unpacks itself into a
temporary folder, runs `benchmarks/gpu_check.py` there, and leaves gpu-check.json in the folder it was called in.
"""

import argparse
import sys
import zipfile
from pathlib import Path

from freqkit.files.whole import atomic_write

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("tests/__init__.py", "tests/conftest.py", "tests/tiny.py", "tests/tolerances.py", "tests/ops", "benchmarks")
MOST = 40 << 20  # bytes, what a device machine takes
WHEN = (1980, 1, 1, 0, 0, 0)  # of every member, so that the same parts give the same file
START = '''"""Unpacks this file and runs benchmarks/gpu_check.py of it; its flags are taken."""

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

try:
    import numpy
    import torch
except ImportError as error:
    raise SystemExit(f"gpu_check: torch and numpy must be there for {sys.executable}; {error}.")
if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 10):
    raise SystemExit(f"gpu_check: torch must be 2.10 or newer; {sys.executable} has {torch.__version__}.")
with tempfile.TemporaryDirectory() as folder:
    with zipfile.ZipFile(sys.argv[0]) as archive:
        archive.extractall(folder)
    flags = sys.argv[1:] if any(flag.startswith("--json") for flag in sys.argv[1:]) else [
        *sys.argv[1:], "--json", str(Path.cwd() / "gpu-check.json")]
    path = os.pathsep.join(filter(None, [str(Path(folder) / "lib"), os.environ.get("PYTHONPATH")]))
    check = [sys.executable, str(Path(folder) / "benchmarks" / "gpu_check.py"), *flags]
    raise SystemExit(subprocess.run(check, cwd=folder, env={**os.environ, "PYTHONPATH": path}).returncode)
'''


def members(wheels, root=ROOT):
    """(name in the archive, bytes) of everything, in order."""
    yield "__main__.py", START.encode()
    for wheel in sorted(wheels):
        with zipfile.ZipFile(wheel) as archive:
            for name in sorted(archive.namelist()):
                if not name.endswith("/"):
                    yield f"lib/{name}", archive.read(name)
    for part in PARTS:
        files = sorted((root / part).rglob("*")) if (root / part).is_dir() else [root / part]
        for file in files:
            if file.suffix in (".py", ".json", ".md") and "__pycache__" not in file.parts:
                yield file.relative_to(root).as_posix(), file.read_bytes()


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheels", nargs="+", type=Path, help="freqkit's wheel with CUDA, and those of pytest")
    parser.add_argument("--out", type=Path, default=Path("gpu_check.py"))
    given = parser.parse_args(arguments)
    with atomic_write(given.out) as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for name, data in members(given.wheels):
                archive.writestr(zipfile.ZipInfo(name, WHEN), data, zipfile.ZIP_DEFLATED)
        size = file.tell()
        if size > MOST:
            raise SystemExit(
                f"gpu-bundle: {size / 2**20:.1f} MiB, more than {MOST >> 20}; build for fewer architectures."
            )
    print(f"{given.out}: {size / 2**20:.1f} MiB; copy it to the machine and run: python {given.out.name}")


if __name__ == "__main__":
    sys.exit(main())
