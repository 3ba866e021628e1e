"""The measure of docs/extending.md: its file and its line, put into a copy of the package, are a whole measure."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TRY = """
import json, sys
from pathlib import Path
from click.testing import CliRunner
import freqkit.measures
from freqkit.cli.app import app
from freqkit.cli.manual import pages
from freqkit.cli.stubs import stubs
from freqkit.data import synthetic, write_image_folder
from freqkit.report.terms import find_term
from freqkit.results.load import load_result

write_image_folder(synthetic(1, images_per_class=2), "images")
line = "coarse --model small_convnet --num-classes 4 --data images --radius 3 --out found.safetensors --json"
done = CliRunner().invoke(app, line.split())
assert done.exit_code == 0, done.stderr
facts = json.loads(done.stdout)
assert facts["definition"] == {"radius": 3.0} and len(facts["classes"]) == 4
for name in ("found.safetensors", "found.csv", "found.png", "found.yaml", "found.html"):
    assert Path(name).is_file(), name
result = load_result("found.safetensors")
assert isinstance(result, freqkit.measures.CoarseResult) and result.rows()[0]["radius"] == 3
assert result.plot().axes[0].get_xlabel().endswith("images)")
refused = CliRunner().invoke(app, ["coarse", "--model", "small_convnet", "--data", "images", "--radius", "-1"])
assert refused.exit_code == 2
assert "commands/coarse.md" in pages() and "Which classes low frequencies tell." in pages()["commands/README.md"]
assert "radius: float = 4.0" in stubs()["measures/__init__.pyi"]
assert find_term("--radius") and find_term("coarse")[1]["short"] == "Which classes low frequencies tell."
try:
    freqkit.measures.coarse(None, None, radius=0)
except ValueError as error:
    assert str(error) == "coarse: radius must be a number with 0 < radius; got 0."
"""


@pytest.fixture(scope="module")
def text():
    return (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")


def test_the_measure_of_the_documentation_is_one_file_and_one_line(text, tmp_path):
    code = re.search(r"```python\n(.*?)```", text, re.S)[1]
    line = re.search(r'```\n( +"coarse": .*?\n)```', text, re.S)[1]
    assert len([each for each in code.splitlines() if each.strip()]) <= 60
    shutil.copytree(ROOT / "freqkit", tmp_path / "freqkit", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "freqkit" / "measures" / "coarse.py").write_text(code, encoding="utf-8")
    registry = tmp_path / "freqkit" / "registry.py"
    registry.write_text(registry.read_text().replace("MEASURES = {\n", f"MEASURES = {{\n{line}", 1), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", TRY], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
