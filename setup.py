"""Drives CMake: CMakeLists.txt is the one list of native sources."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import setuptools
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
# `FREQKIT_NATIVE=off`: a py3-none-any wheel without the native library, whose operator is plain torch.
NATIVE = os.environ.get("FREQKIT_NATIVE", "on")
if NATIVE not in ("on", "off"):
    raise SystemExit(f"FREQKIT_NATIVE must be on or off; got {NATIVE}")
if (
    int(setuptools.__version__.split(".")[0]) < 77
):  # older ones do not know the form of `license` and end in a traceback
    raise SystemExit(
        f"building freqkit needs setuptools >= 77, and this is {setuptools.__version__}: run "
        '`pip install "setuptools>=77" wheel "cmake>=3.24" ninja numpy`, then '
        "`pip install --no-build-isolation .`"
    )


class CMakeBuild(build_ext):
    """Configure and build `freqkit/_C.abi3.so` with CMake."""

    def build_extension(self, ext):
        try:
            import torch
        except ImportError as error:
            raise SystemExit(
                "building freqkit from source needs the torch it will run with; this build has none (pip isolates "
                "builds). Run:\n"
                '  pip install torch "setuptools>=77" wheel "cmake>=3.24" ninja numpy '
                "&& pip install --no-build-isolation <the same source>\n"
                "or, for the slower operator in plain torch, without a compiler:\n"
                "  FREQKIT_NATIVE=off pip install <the same source>"
            ) from error
        portable = os.environ.get("FREQKIT_PORTABLE", "OFF")
        # A folder of its own for wheels, so that `make wheel` and `make build` do not undo each other's work.
        build = ROOT / "build" / ("native" if portable == "OFF" else "portable")
        build.mkdir(parents=True, exist_ok=True)
        target = Path(self.get_ext_fullpath(ext.name)).resolve().parent
        cmake = [
            "cmake", "-S", str(ROOT), "-B", str(build), "-G", "Ninja",
            "-DCMAKE_BUILD_TYPE=Release",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-DTORCH_ROOT={Path(torch.__file__).parent}",
            f"-DFREQKIT_OUTPUT={target}",
            f"-DFREQKIT_CUDA={os.environ.get('FREQKIT_CUDA', 'auto')}",
            f"-DFREQKIT_CUDA_ARCHS={os.environ.get('TORCH_CUDA_ARCH_LIST', '')}",
            f"-DFREQKIT_PORTABLE={portable}",
        ]  # fmt: skip
        # The environment's own cmake and ninja before the system's, also when the environment is not activated.
        env = {**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
        for tool in ("cmake", "ninja"):
            if shutil.which(tool, path=env["PATH"]) is None:
                raise SystemExit(f"building freqkit needs {tool}: run `pip install {tool}`")
        if subprocess.run(cmake, check=False, env=env).returncode:
            raise SystemExit("configuring freqkit's native library failed; CMake's message stands above")
        jobs = os.environ.get("MAX_JOBS", str(os.cpu_count() or 1))
        subprocess.run(["cmake", "--build", str(build), "--target", "freqkit_C", "-j", jobs], check=True, env=env)


native = {
    "ext_modules": [Extension("freqkit._C", [], py_limited_api=True)],
    "cmdclass": {"build_ext": CMakeBuild},
    "options": {"bdist_wheel": {"py_limited_api": "cp310"}},
}
setup(**(native if NATIVE == "on" else {}))
