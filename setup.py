"""Drives CMake: CMakeLists.txt is the one list of native sources."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import setuptools
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
# `FREQKIT_NATIVE=off`: a py3-none-any wheel without the native library, whose operator is plain torch.
NATIVE = os.environ.get("FREQKIT_NATIVE", "on")
if NATIVE not in ("on", "off"):
    raise SystemExit(f"FREQKIT_NATIVE must be on or off; got {NATIVE}")
if int(setuptools.__version__.split(".")[0]) < 77:  # older ones end in a traceback at the form of `license`
    raise SystemExit(
        f"building freqkit needs setuptools >= 77, and this is {setuptools.__version__}. Run:\n"
        '  pip install torch "setuptools>=77" wheel "cmake>=3.24" ninja '
        "&& pip install --no-build-isolation <the same source>"
    )


def torch_root():
    """Folder of the torch to build against: headers and stubs of its stable ABI; it is not imported.

    pip hides the environment's packages from an isolated build, but runs its Python, whose paths lead there.
    """
    spec = importlib.util.find_spec("torch")
    root = Path(spec.origin).parent if spec and spec.origin else Path(sysconfig.get_path("platlib")) / "torch"
    version = root / "version.py"
    if not version.is_file():
        found = f"there is none in {sys.prefix}"
    else:
        version = re.search(r"__version__ = ['\"]((\d+)\.(\d+)[^'\"]*)", version.read_text())
        if (int(version[2]), int(version[3])) >= (2, 10):
            return root
        found = f"{root} is {version[1]}"
    raise SystemExit(
        f"building freqkit from source needs torch >= 2.10 where it is installed, and {found}. Run:\n"
        '  pip install "torch>=2.10" "setuptools>=77" wheel "cmake>=3.24" ninja '
        "&& pip install --no-build-isolation <the same source>\n"
        "or, for the slower operator in plain torch, without a compiler:\n"
        "  FREQKIT_NATIVE=off pip install <the same source>"
    )


# pip asks for a wheel's metadata first: whoever lacks torch is told before gigabytes are fetched and files copied.
if NATIVE == "on" and {"dist_info", "editable_wheel", "bdist_wheel"} & set(sys.argv):
    torch_root()


class CMakeBuild(build_ext):
    """Configure and build `freqkit/_C.abi3.so` with CMake."""

    def build_extension(self, ext):
        root = torch_root()
        cuda, portable = os.environ.get("FREQKIT_CUDA", "auto"), os.environ.get("FREQKIT_PORTABLE", "OFF")
        # Wheels have folders of their own: `make wheel` and `make build` would compile all of it again by turns.
        build = ROOT / "build" / ("native" if portable == "OFF" else f"portable-cuda-{cuda}")
        build.mkdir(parents=True, exist_ok=True)
        target = Path(self.get_ext_fullpath(ext.name)).resolve().parent
        cmake = [
            "cmake", "-S", str(ROOT), "-B", str(build), "-G", "Ninja",
            "-DCMAKE_BUILD_TYPE=Release",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-DTORCH_ROOT={root}",
            f"-DFREQKIT_OUTPUT={target}",
            f"-DFREQKIT_CUDA={cuda}",
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
