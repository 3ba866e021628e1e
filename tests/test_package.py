"""The package as others meet it: import, broken neighbours, symbols, wheel and sdist."""

import os
import re
import runpy
import shutil
import statistics
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "freqkit" / "_C.abi3.so"
built = pytest.mark.skipif(not LIBRARY.exists(), reason="freqkit/_C.abi3.so is not built (make build)")


def python(code, *, path=(), check=True):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*map(str, path), str(ROOT)])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd="/")
    assert not check or done.returncode == 0, done.stderr
    return done


@pytest.mark.measured
def test_import_is_light():
    """A fraction of the processor time of `import torch` (measured: 1/2,500), and nothing that a broken neighbour could
    break."""
    code = (
        "import sys, time\nbegan = time.process_time()\nimport torch\n"
        "before, middle = set(sys.modules), time.process_time()\nimport freqkit\n"
        "print((time.process_time() - middle) / (middle - began))\n"
        "print([name for name in set(sys.modules) - before if name.split('.')[0] != 'freqkit'])"
    )
    shares = []
    for _ in range(3):
        share, loaded = python(code).stdout.splitlines()
        shares.append(float(share))
    assert statistics.median(shares) < 0.1
    heavy = {"torchvision", "timm", "matplotlib", "scipy", "rich", "click", "jinja2", "PIL", "safetensors"}
    assert not heavy & {name.split(".")[0] for name in eval(loaded)}


def test_every_public_name_resolves():
    code = "import freqkit\nfor name in freqkit.__all__: getattr(freqkit, name)\nfreqkit.nonsense"
    done = python(code, check=False)
    assert done.stderr.strip().splitlines()[-1] == ("AttributeError: module 'freqkit' has no attribute 'nonsense'")


def test_every_public_name_of_every_room_resolves():
    """Names that stand with what they draw or read are found through the registry, and nothing holds them to it."""
    code = (
        "import freqkit, importlib\nfrom freqkit import registry\n"
        "for room in freqkit._MODULES:\n"
        "    room = getattr(freqkit, room)\n"
        "    for name in getattr(room, '__all__', ()): getattr(room, name)\n"
        "for module in registry.PAGES: importlib.import_module(module)\n"
    )
    assert python(code).returncode == 0


@pytest.fixture
def broken(tmp_path):
    """A folder with a torchvision and a timm that cannot be imported."""
    for name in ("torchvision", "timm"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    return tmp_path


@built
def test_works_with_broken_torchvision_and_timm(broken, tmp_path):
    code = f"""
import freqkit
from freqkit.data import load_images, synthetic, write_image_folder
write_image_folder(synthetic(images_per_class=2), {str(tmp_path / "images")!r})
images = load_images({str(tmp_path / "images")!r}, image_size=32)
model = freqkit.load_model("small_convnet", num_classes=4)
print(freqkit.hfss(model, images, candidates=4, top=1, stages=1, batch_size=32).masks.shape)
try:
    freqkit.load_model("resnet18")
except freqkit.errors.UsageError as error:
    print(error)
try:
    freqkit.training.train(model, images, recipe="iccv2023")
except freqkit.errors.UsageError as error:
    print(error)
print(len(freqkit.training.train(model, images, epochs=1)["epochs"]))
"""
    shape, sentence, training, epochs = python(code, path=[broken]).stdout.splitlines()
    assert shape == "torch.Size([4, 32, 32])"
    assert "timm" in sentence
    assert "nms does not exist" in sentence
    assert training.startswith("train: resized-crop of the recipe needs torchvision") and "nms" in training
    assert epochs == "1"


@built
def test_uses_the_stable_abi_only():
    """An at:: or c10:: symbol would tie the library to one torch version."""
    nm = shutil.which("nm")
    if nm is None:
        pytest.skip("nm (binutils) is not installed")
    listing = subprocess.run(
        [nm, "-D", "-C", "--undefined-only", LIBRARY], capture_output=True, text=True, check=True
    ).stdout
    undefined = [line.split(maxsplit=1)[-1] for line in listing.splitlines()]
    assert any(name.startswith(("aoti_torch_", "torch_")) for name in undefined)
    assert [name for name in undefined if re.search(r"\b(at|c10)::", name)] == []
    assert [name for name in undefined if name.startswith(("Py", "_Py"))] == []


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """A wheel and an sdist, from a copy of the tree that has the compiled library's build folder."""
    if not (ROOT / "build" / "native").exists():
        pytest.skip("build/native is not there (make build): the wheel would compile everything once more")
    out = tmp_path_factory.mktemp("dist")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = [
        sys.executable,
        "setup.py",
        "--quiet",
        "bdist_wheel",
        "--dist-dir",
        out,
        "--bdist-dir",
        out / "tree",
    ]
    for part in (command, [sys.executable, "setup.py", "--quiet", "sdist", "--dist-dir", out]):
        done = subprocess.run(part, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return out


@built
def test_wheel(distributions):
    (wheel,) = distributions.glob("*.whl")
    assert re.fullmatch(r"freqkit-[\d.]+-cp310-abi3-\w+\.whl", wheel.name)
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (entry,) = (name for name in names if name.endswith("entry_points.txt"))
        assert "freqkit = freqkit.cli:main" in archive.read(entry).decode()
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "freqkit").rglob("*.py*") if path.suffix != ".pyc"}
    assert sources | {"freqkit/_C.abi3.so", "freqkit/py.typed"} <= names
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.startswith("freqkit-")} == {"freqkit"}


@built
def test_sdist_can_build(distributions):
    (sdist,) = distributions.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    needed = [path for folder in ("csrc", "freqkit") for path in (ROOT / folder).rglob("*") if path.is_file()]
    needed = {str(path.relative_to(ROOT)) for path in needed if path.suffix not in {".so", ".pyc"}}
    assert needed | {"CMakeLists.txt", "setup.py", "pyproject.toml", "LICENSE", "README.md"} <= names
    assert not [name for name in names if name.endswith((".so", ".pyc"))]


@pytest.mark.parametrize(
    "value,said",
    [("on", "FREQKIT_CUDA=on, but no CUDA compiler"), ("maybe", "must be auto, on or off; got maybe")],
)
def test_a_build_with_cuda_that_cannot_be_says_so(tmp_path, value, said):
    tools = tmp_path / "tools"  # a PATH on which there is no nvcc
    tools.mkdir()
    for name in ("cmake", "ninja", "c++", "g++", "cc", "gcc", "ld", "as", "ar", "ranlib", "sh", "uname"):
        found = shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
        if found:
            (tools / name).symlink_to(found)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CUDA")}
    run = subprocess.run(
        ["cmake", "-S", str(ROOT), "-B", str(tmp_path / "build"), "-G", "Ninja", f"-DFREQKIT_CUDA={value}",
         f"-DTORCH_ROOT={Path(torch.__file__).parent}"],
        env={**environment, "PATH": str(tools)}, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode != 0
    assert said in " ".join(run.stderr.split())


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ("8.0;9.0+PTX", {"compute_80,code=[sm_80]", "compute_90,code=[compute_90,sm_90]"}),
        ("7.5 8.6", {"compute_75,code=[sm_75]", "compute_86,code=[sm_86]"}),
    ],
)
def test_the_architectures_asked_for_are_the_ones_compiled(tmp_path, wanted, code):
    run = _configured(tmp_path, wanted)
    assert run.returncode == 0, run.stderr
    rules = (tmp_path / "build" / "build.ninja").read_text()
    assert set(re.findall(r"generate-code=arch=([^ \"]+)", rules)) == code


def test_an_architecture_that_is_none_is_refused(tmp_path):
    run = _configured(tmp_path, "ampere")
    assert run.returncode != 0
    said = "TORCH_CUDA_ARCH_LIST must hold entries such as 8.0 or 9.0+PTX; got ampere"
    assert said in " ".join(run.stderr.split())


def _configured(tmp_path, archs):
    if shutil.which("nvcc") is None:
        pytest.skip("nvcc is not on PATH")
    return subprocess.run(
        ["cmake", "-S", str(ROOT), "-B", str(tmp_path / "build"), "-G", "Ninja", "-DFREQKIT_CUDA=on",
         f"-DFREQKIT_CUDA_ARCHS={archs}", f"-DTORCH_ROOT={Path(torch.__file__).parent}"],
        capture_output=True, text=True,
        env={**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])},
    )  # fmt: skip


def test_the_build_hands_on_its_environment(monkeypatch, tmp_path):
    """MAX_JOBS, TORCH_CUDA_ARCH_LIST and FREQKIT_CUDA reach CMake."""
    import setuptools

    kept, commands = {}, []
    monkeypatch.setattr(setuptools, "setup", lambda **options: kept.update(options))
    module = runpy.run_path(str(ROOT / "setup.py"))
    command = kept["cmdclass"]["build_ext"](setuptools.Distribution())
    command.get_ext_fullpath = lambda name: str(tmp_path / "_C.abi3.so")
    for name, value in (("MAX_JOBS", "3"), ("TORCH_CUDA_ARCH_LIST", "8.0"), ("FREQKIT_CUDA", "off")):
        monkeypatch.setenv(name, value)

    def run(arguments, **options):
        commands.append(arguments)
        return subprocess.CompletedProcess(arguments, 0)

    monkeypatch.setattr(module["subprocess"], "run", run)
    command.build_extension(kept["ext_modules"][0])
    configure, build = commands
    assert "-DFREQKIT_CUDA_ARCHS=8.0" in configure and "-DFREQKIT_CUDA=off" in configure
    assert build[-2:] == ["-j", "3"]


@pytest.mark.parametrize("version", ["2.14.1+cu130", "2.9.1", None])
def test_a_build_takes_the_torch_of_its_environment(monkeypatch, tmp_path, version):
    """Also from within pip's isolation, which hides it; asked first of all, before files are fetched."""
    import setuptools

    if version is not None:
        (tmp_path / "torch").mkdir()
        (tmp_path / "torch" / "version.py").write_text(f"__all__ = []\n__version__ = '{version}'\n")
    monkeypatch.setattr(setuptools, "setup", lambda **options: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["setup.py", "dist_info"])
    if version == "2.14.1+cu130":
        assert runpy.run_path(str(ROOT / "setup.py"))["torch_root"]() == tmp_path / "torch"
        return
    found = f"{tmp_path / 'torch'} is 2.9.1" if version else f"there is none in {sys.prefix}"
    with pytest.raises(SystemExit, match=re.escape(found)) as refused:
        runpy.run_path(str(ROOT / "setup.py"))
    assert "pip install --no-build-isolation" in str(refused.value)
    monkeypatch.setattr(sys, "argv", ["setup.py", "sdist"])  # an archive needs no torch
    runpy.run_path(str(ROOT / "setup.py"))


def test_setuptools_too_old_is_said(monkeypatch):
    import setuptools

    monkeypatch.setattr(setuptools, "__version__", "68.2.0")
    with pytest.raises(SystemExit, match=r"needs setuptools >= 77, and this is 68\.2\.0"):
        runpy.run_path(str(ROOT / "setup.py"))


def make_list(name):
    """The words of a list in the Makefile."""
    text = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    return re.search(rf"^{name} := (.*)$", text, re.MULTILINE)[1].split()


def test_quick_asks_every_room():
    """`make quick` names files that are there, of every room that has tests; what it leaves out is named here."""
    names = make_list("QUICK")
    assert [name for name in names if not (ROOT / "tests" / name).is_file()] == []
    rooms = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    slow_or_outside = {"benchmarks", "emulator", "examples", "fuzz"}
    assert rooms - {Path(name).parent.name for name in names} == slow_or_outside


def test_the_halves_of_the_tests_are_there():
    """A name that is no room or file of tests would end the first half before it begins."""
    assert [name for name in make_list("HALF") if not (ROOT / "tests" / name).exists()] == []
