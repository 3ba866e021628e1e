"""The directions of CONTRIBUTING.md: who imports whom, what stays inside functions, the stem rule."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "freqkit"
CSRC = ROOT / "csrc"

# Rooms by level: a room may import what stands on a lower one, and itself. There are no exceptions, not even
# inside functions. What must be found from below is named in freqkit/registry.py.
LEVELS = (
    {"errors", "text"},
    {"registry", "options", "statistics"},
    {"files", "ops", "reference"},
    {"masks"},
    {"data", "models", "report"},
    {"results"},
    {"engine"},
    {"search", "measures", "training"},
    {"cli"},
    {"__main__"},
)
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
# third-party package -> the rooms that may import it, inside functions only
LAZY = {
    "matplotlib": {"report"},
    "jinja2": {"report"},
    "timm": {"models"},
    "torchvision": {"data", "models"},
    "rich": {"cli"},
    "scipy": set(LEVEL) - {"ops", "reference"},
    "PIL": {"data", "report"},
}


def python_files():
    return sorted(PACKAGE.rglob("*.py"))


def room_of(path, root=ROOT):
    parts = path.relative_to(root / "freqkit").parts
    return parts[0] if len(parts) > 1 else parts[0].removesuffix(".py")


def imports(path, root=ROOT):
    """Every (module, line, at module level) that a file imports; `from freqkit import x` gives freqkit.x."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    inside = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            inside.update(id(child) for child in ast.walk(node) if child is not node)
        # `if TYPE_CHECKING:` costs nothing at run time
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            inside.update(id(child) for child in ast.walk(node))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield name.name, node.lineno, id(node) not in inside
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                base = path.relative_to(root).with_suffix("").parts[: -node.level]
                module = ".".join([*base, *([module] if module else [])])
            names = [f"{module}.{name.name}" for name in node.names] if module == "freqkit" else [module]
            for name in names:
                yield name, node.lineno, id(node) not in inside


def named_modules(path):
    """Every (module, line) that a file names in a string to import it when it is asked for."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.JoinedStr) and node.values and isinstance(node.values[0], ast.Constant):
            node = node.values[0]
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found = re.match(r"freqkit\.[a-z_]+(\.[a-z_]+)*\.?$", node.value)
            if found:
                yield node.value.rstrip("."), node.lineno


def breaches(path, root=ROOT):
    room = room_of(path, root)
    named = () if room in ("registry", "__init__") else named_modules(path)
    for module, line, top in [*imports(path, root), *((module, line, False) for module, line in named)]:
        where = f"{path.relative_to(root)}:{line}"
        parts = module.split(".")
        if parts[0] == "freqkit" and len(parts) > 1 and room != "__init__":
            target = parts[1]
            if target in LEVEL and target != room and LEVEL[target] >= LEVEL[room]:
                yield f"{where}: {room} may not import {target}"
            if target not in LEVEL and target.startswith("_C") and room != "ops":
                yield f"{where}: only ops may touch the extension"
        elif parts[0] in LAZY:
            if room not in LAZY[parts[0]]:
                yield f"{where}: {room} may not import {parts[0]}"
            if top:
                yield f"{where}: {parts[0]} belongs inside the function that needs it"
        elif parts[0] == "click" and room != "cli":
            yield f"{where}: only cli imports click"


def test_every_room_is_known():
    assert {room_of(path) for path in python_files()} <= set(LEVEL) | {"__init__"}


@pytest.mark.parametrize("path", python_files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_import_directions(path):
    assert list(breaches(path)) == []


def test_the_check_itself_sees_breaches(tmp_path):
    file = tmp_path / "freqkit" / "masks" / "bad.py"
    file.parent.mkdir(parents=True)
    file.write_text(
        "import matplotlib\nfrom freqkit import engine\nfrom ..search import x\ndef f():\n    import click\n"
        "    import freqkit.results\nLATER = {'x': 'freqkit.measures.rates'}\n"
    )
    found = " ".join(breaches(file, tmp_path))
    rooms = ("engine", "search", "results", "measures")
    for part in ("not import matplotlib", "belongs inside", "click", *(f"import {room}" for room in rooms)):
        assert part in found


def test_no_circles():
    """No module comes back to itself through what it imports, inside functions as well."""
    modules = {}
    for path in python_files():
        parts = path.relative_to(ROOT).with_suffix("").parts
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    graph = {}
    for name, path in modules.items():
        graph[name] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                graph[name] |= {one.name for one in node.names}
            elif isinstance(node, ast.ImportFrom):
                inner = {f"{node.module}.{one.name}" for one in node.names} & modules.keys()
                graph[name] |= inner or {node.module}
        graph[name] = (graph[name] & modules.keys()) - {name}
    while True:  # what imports nothing that is left cannot stand in a circle
        ends = {name for name, targets in graph.items() if not targets & graph.keys()}
        if not ends:
            break
        graph = {name: targets for name, targets in graph.items() if name not in ends}
    assert sorted(graph) == []


def test_only_tests_and_benchmarks_use_the_reference():
    users = [p for p in python_files() if room_of(p) != "reference" and "freqkit.reference" in p.read_text()]
    assert users == []


# --- C++

NATIVE = sorted(p for p in CSRC.rglob("*") if p.suffix in {".h", ".cuh", ".cpp", ".cu"})
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)
SHARED = {"common", "fft"}
TORCH_FILES = {"ops.cpp", "common/torch.h", "common/checks.h"}  # beside every <stem>_cpu.cpp and <stem>_cuda.cu


def stems():
    return sorted({p.relative_to(CSRC).parts[0] for p in NATIVE if p.parent != CSRC} - SHARED)


def included(path):
    """What a file includes from csrc/, as a path inside csrc/, and everything else as written."""
    for name in INCLUDE.findall(path.read_text(encoding="utf-8")):
        for base in (path.parent, CSRC):
            if (base / name).is_file():
                yield (base / name).resolve().relative_to(CSRC).as_posix()
                break
        else:
            yield name


@pytest.mark.skipif(not NATIVE, reason="csrc/ holds no source yet")
def test_native_includes():
    wrong = []
    for path in NATIVE:
        here = path.relative_to(CSRC)
        for name in included(path):
            own, room = name.split("/")[0], here.parts[0]
            if name.startswith(("ATen/", "c10/")):
                wrong.append(f"{here}: {name} is not part of the stable ABI")
            elif name.startswith("torch/"):
                if not here.name.endswith(("_cpu.cpp", "_cuda.cu")) and str(here) not in TORCH_FILES:
                    wrong.append(f"{here}: {name} is for the operator files, see TORCH_FILES")
            elif name in TORCH_FILES and path.suffix in {".h", ".cuh"} and str(here) not in TORCH_FILES:
                wrong.append(f"{here}: a header that kernels see may not include {name}")
            elif own in stems() and own != room and str(here) != "ops.cpp":
                wrong.append(f"{here}: stems do not include each other ({name})")
            elif room == "common" and own == "fft":
                wrong.append(f"{here}: common does not include fft ({name})")
            elif room in SHARED and own in stems():
                wrong.append(f"{here}: shared code does not know a stem ({name})")
            elif path.suffix == ".h" and name.endswith(".cuh"):
                wrong.append(f"{here}: formulas do not include kernels ({name})")
    assert wrong == []


@pytest.mark.skipif(not NATIVE, reason="csrc/ holds no source yet")
def test_kernels_hold_no_launch():
    kernels = [p for p in NATIVE if p.suffix in {".cuh", ".h"} and str(p.relative_to(CSRC)) not in TORCH_FILES]
    assert [p.name for p in kernels if re.search(r"\w\s*<<<[^;]*>>>\s*\(", p.read_text())] == []


@pytest.mark.parametrize("stem", stems())
def test_stem_rule(stem):
    need = [
        CSRC / stem / f"{stem}.h",
        CSRC / stem / f"{stem}.cuh",
        CSRC / stem / f"{stem}_cpu.cpp",
        CSRC / stem / f"{stem}_cuda.cu",
        PACKAGE / "ops" / f"{stem}.py",
        PACKAGE / "reference" / f"{stem}.py",
    ]
    missing = [str(p.relative_to(ROOT)) for p in need if not p.exists()]
    assert missing == []
    assert list((ROOT / "tests").rglob(f"test_{stem}*.py")), f"no tests/**/test_{stem}.py"
    assert any(stem in p.read_text(encoding="utf-8") for p in (ROOT / "benchmarks").glob("*.py"))


def test_the_kinds_of_masks_are_numbered_alike_on_both_sides():
    from freqkit.ops import arguments

    text = (CSRC / "spectral_filter" / "mask_kind.h").read_text(encoding="utf-8")
    kinds = {name: int(number) for name, number in re.findall(r"k(\w+) = (-?\d+)", text)}
    symmetries = {name.removeprefix("Bits").lower(): number for name, number in kinds.items() if "Bits" in name}
    assert symmetries == arguments._KINDS
    assert (kinds["Full"], kinds["Half"]) == (0, 1)  # int(half plane) in freqkit.ops.arguments


def test_every_folder_of_tests_is_a_package():
    """Their modules are imported by their whole names: two in different folders may be called alike."""
    folders = {path.parent for path in (ROOT / "tests").rglob("*.py")}
    assert [str(folder) for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []


def test_absent_data_skip_with_one_reason_or_fail(shared_data, tmp_path, monkeypatch):
    from tests import conftest

    monkeypatch.setattr(conftest, "DATA", tmp_path)
    monkeypatch.delenv("FREQKIT_REQUIRE_DATA", raising=False)
    for part in ("cifar10-mini", "weights"):
        with pytest.raises(pytest.skip.Exception, match=conftest.ABSENT):
            shared_data(part)
    monkeypatch.setenv("FREQKIT_REQUIRE_DATA", "1")
    with pytest.raises(pytest.fail.Exception, match="weights"):
        shared_data("weights")
