"""Drives CMake: CMakeLists.txt is the one list of native sources."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent


class CMakeBuild(build_ext):
    """Configure and build `freqkit/_C.abi3.so` with CMake."""

    def build_extension(self, ext):
        try:
            import torch
        except ImportError as error:
            raise SystemExit(
                "building freqkit needs torch in this environment: run "
                "`pip install torch` first, then `pip install --no-build-isolation .`"
            ) from error
        sanitize = os.environ.get("FREQKIT_SANITIZE", "")
        build = ROOT / "build" / ("native" if not sanitize else f"native-{sanitize.replace(',', '-')}")
        build.mkdir(parents=True, exist_ok=True)
        beside = Path(self.get_ext_fullpath(ext.name)).resolve().parent
        target = Path(os.environ.get("FREQKIT_OUTPUT", beside)).resolve()
        cmake = [
            "cmake", "-S", str(ROOT), "-B", str(build), "-G", "Ninja",
            "-DCMAKE_BUILD_TYPE=Release",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-DTORCH_ROOT={Path(torch.__file__).parent}",
            f"-DFREQKIT_OUTPUT={target}",
            f"-DFREQKIT_SANITIZE={sanitize}",
            f"-DFREQKIT_CUDA={os.environ.get('FREQKIT_CUDA', 'auto')}",
            f"-DFREQKIT_CUDA_ARCHS={os.environ.get('TORCH_CUDA_ARCH_LIST', '')}",
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


setup(
    ext_modules=[Extension("freqkit._C", [], py_limited_api=True)],
    cmdclass={"build_ext": CMakeBuild},
    options={"bdist_wheel": {"py_limited_api": "cp310"}},
)
