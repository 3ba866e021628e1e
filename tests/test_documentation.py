"""The pages in docs/ are those that the code writes, and no link in them is broken."""

import re
from pathlib import Path

import pytest
import yaml

from freqkit.cli.manual import pages
from freqkit.cli.stubs import stubs

ROOT = Path(__file__).resolve().parents[1]
WRITTEN = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "benchmarks" / "README.md"])


def test_pages_of_commands_and_terms_are_current():
    made = pages()
    old = [name for name, text in made.items() if not (ROOT / "docs" / name).is_file()
           or (ROOT / "docs" / name).read_text(encoding="utf-8") != text]  # fmt: skip
    assert old == [], "run `make docs`"
    there = {f"commands/{path.name}" for path in (ROOT / "docs" / "commands").iterdir()}
    assert there == {name for name in made if name.startswith("commands/")}


def test_stub_files_are_current():
    made = stubs()
    there = {str(path.relative_to(ROOT / "freqkit")): path for path in (ROOT / "freqkit").rglob("*.pyi")}
    assert there.keys() == made.keys()
    assert [name for name, path in there.items() if path.read_text(encoding="utf-8") != made[name]] == [], "`make docs`"


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
    missing = [link for link in links if not link.startswith(("http", "mailto:")) and not (path.parent / link).exists()]
    assert missing == []


def test_every_page_is_linked():
    overview = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in (ROOT / "docs").glob("*.md") if f"({path.name})" not in overview] == ["README.md"]


def test_commands_named_in_the_documentation_exist():
    from freqkit.cli.app import COMMANDS

    for path in WRITTEN:
        for name in re.findall(r"`freqkit ([a-z][a-z-]*)", path.read_text(encoding="utf-8")):
            assert name in COMMANDS, f"{path.name}: freqkit {name}"


def test_citation_is_the_version():
    import freqkit

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == freqkit.__version__
    assert {"authors", "message", "title"} <= set(citation)
