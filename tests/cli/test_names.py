"""Names that something could obey: every command does its work, and shows them as they are."""

import ast
import io
import re
from pathlib import Path

import pytest

from freqkit.cli import progress, tables
from freqkit.cli.voice import say, tell
from freqkit.registry import MEASURES
from freqkit.text import printable, shorten
from tests.measures_at_hand import line_of, takes

NAMES = [
    r"$\frac{$",
    "[red]dog[bold]",
    "=cmd|' '!A0",
    "100%s {} {0}",
    "\u202egpj.exe",
    "<b>&amp;\"'",
    "a\\nb \u05d7\u05ea",
]
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
EVERYTHING = [*NAMES, "a\x1b[31mb", "x\ny", "\x9b31m", "t\tb", "[/]", "\udc80", "zero\u200bwidth", "\u2028", "n" * 1000]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """(folder of images, weights, maps) whose classes, and folder, have such names."""
    import torch

    from freqkit.data import synthetic
    from freqkit.masks import DfmFile, low_pass, save_dfm
    from freqkit.models import load_model, save_weights

    root = tmp_path_factory.mktemp("[red]$x$ {}")
    images = synthetic(1, images_per_class=4)
    for i in range(len(NAMES) - 4):
        more = synthetic(1, images_per_class=4, seed=1 + i)
        images.images = torch.cat([images.images, more.images[:4]])
        images.labels = torch.cat([images.labels, torch.full((4,), 4 + i)])
    for place, name in enumerate(NAMES):
        (root / "data" / name).mkdir(parents=True)
        from PIL import Image

        for i, image in enumerate(images.images[images.labels == place]):
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(root / "data" / name / f"{i}.png")
    save_weights(load_model("small_convnet", num_classes=len(NAMES), seed=3), root / "w.safetensors")
    maps = torch.stack([low_pass(32, 6)] * len(NAMES))
    save_dfm(root / "dfm.safetensors", DfmFile(maps, sorted(NAMES)))
    return root


NET = "--model small_convnet --weights {weights} --num-classes 7"
COMMANDS = {
    "search": "{model} --candidates 4 --stages 1 --top 1 --out {out}",
    "search --searcher learned": "{model} --steps 2 --out {out}",
    "dfm": "{model} --patch 16 --levels 0.5 --level 0.5 --out {out}",
    **{name: f"{line_of(name, NET)} --out {{out}}.safetensors" for name in MEASURES if "cues" not in takes(name)},
    "train": "--model small_convnet --data {data} --epochs 1 --follow 1 --batch-size 8 --out {out}",
    "evaluate": "--model small_convnet --weights {weights} --num-classes 7 --dfm {dfm} --on planted={data} --out {out}",
    "masks show": "{dfm} --out {out}.png",
    "data check": "{data}",
    "data list": "{data}",
}


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.filterwarnings("ignore:Glyph")  # a font without Hebrew
def test_commands_show_names_as_they_are(run, hostile, tmp_path, name):
    out = tmp_path / "[bold]$y$ %s"
    model = ["--model", "small_convnet", "--weights", hostile / "w.safetensors", "--num-classes", "7",
             "--data", hostile / "data"]  # fmt: skip
    places = {"out": out, "dfm": hostile / "dfm.safetensors", "data": hostile / "data",
              "weights": hostile / "w.safetensors", "images": hostile / "data"}  # fmt: skip
    words = []
    for word in COMMANDS[name].split():
        words += model if word == "{model}" else [word.format(**places)]
    result = run(*name.split(), *words)
    assert result.exit_code == 0, result.stderr
    printed = result.stdout + result.stderr
    assert not UNSEEN.search(printed)
    if name in {*MEASURES, "train", "masks show", "dfm"} - {
        "attribute",
        "slices",
        "layer-spectra",
    }:  # of answers, groups, layers
        shown = " ".join(printed.split())
        assert [one for one in NAMES if " ".join(printable(one).split()) not in shown] == []
    pages = [*tmp_path.rglob("*.html")]
    assert bool(pages) == (not name.startswith(("masks", "data")))
    for page in pages:
        assert not UNSEEN.search(page.read_text(encoding="utf-8"))
    if name == "search":
        cells = (out / "classes.csv").read_text(encoding="utf-8").splitlines()
        assert not [line for line in cells if line.lstrip('"')[:1] in set("=+@-\t")]
        for more in (["status", out], ["watch", out, "--once"], ["report", out]):
            result = run(*more)
            assert result.exit_code == 0 and not UNSEEN.search(result.stdout + result.stderr)
    if name == "evaluate":
        result = run("table", out, "--classes", "--rows", "class", "--columns", "metric", "--metric", "TPR")
        assert result.exit_code == 0 and "[red]dog[bold]" in result.stdout and not UNSEEN.search(result.stdout)
        result = run("table", out, "--classes", "--rows", "class", "--metric", "TPR", "--format", "csv")
        assert "\n\"'=cmd" in result.stdout or "\n'=cmd" in result.stdout


def test_printable():
    names = ("x\ny", "a\x1b[31mb", "\u202egpj", "\udc80", "\x9b", "\u2028", "a\u200cb")
    shown = ["x\\ny", "a\\x1b[31mb", "\\u202egpj", "\\udc80", "\\x9b", "\\u2028", "a\\u200cb"]
    assert [printable(name) for name in names] == shown
    for name in ("naïve", "猫", "חתול", "\U0001f469\u200d\U0001f680", "می\u200cخواهم", "a\\nb", "$x$", " a "):
        assert printable(name) == name
    assert printable("a\nb\t", keep="\n") == "a\nb\\t"
    assert shorten("a\nb") == "a\\nb"


@pytest.mark.parametrize("name", EVERYTHING)
def test_what_is_printed_is_seen(capsys, name):
    tables.show_table([(name, "left"), ("x", "right")], [[name, "1"], ([name, "2"], "bold")], title=name, note=name)
    say(name)
    tell(name)
    lines = progress.Lines()
    lines.start(name, 2)
    lines.advance(1, best={"class": name, "tpr": 0.5})
    lines.note(name)
    lines.finish()
    printed = "".join(capsys.readouterr())
    assert not UNSEEN.search(printed) and printed.count(printable(name)) == 11
    assert all(line == line.rstrip() for line in printed.splitlines()) or name != name.rstrip()


@pytest.mark.parametrize("name", EVERYTHING)
def test_what_a_terminal_gets(name):
    from rich.console import Console

    stream = io.StringIO()
    bar = progress.Bar(Console(file=stream, force_terminal=True, width=4000, color_system=None))
    with bar:
        bar.start(name, 2)
        bar.advance(1, best={"class": name, "tpr": 0.5})
        bar.note(name)
        bar.finish()
    text = re.sub("\x1b\\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    assert not UNSEEN.search(text.replace("\r", "")) and printable(name) in text

    from freqkit.cli.watch import _view

    stream = io.StringIO()
    row = {"class": name, "loss": 0.1, "TPR": 0.5, "FPR": 0.1}
    found = {"status": "running", "forwards_done": 1, "forwards_total": 2, "rate": None, "best": [row],
             "stages_done": [1]}  # fmt: skip
    Console(file=stream, width=4000).print(_view(found))
    assert not UNSEEN.search(stream.getvalue()) and printable(name) in stream.getvalue()


def test_all_that_is_printed_goes_through_say_and_tell():
    """A command that prints by itself fails here; voice.py says how to print."""
    folder = Path(progress.__file__).parent
    found = []
    for file in sorted(folder.glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("click.echo", "print", "click.secho"):
                found.append(file.name)
    # the script of a shell, the plain lines (printable), the generator of docs
    assert sorted(set(found)) == ["completion.py", "manual.py", "progress.py", "voice.py"]


def test_names_of_cells_come_back():
    from freqkit.files.whole import as_cell, of_cell

    for name in (*EVERYTHING, "'=1", "''", "-1", "+", "'", "@x", "\t=1", "'s Gravenhage", ""):
        cell = as_cell(name)
        assert of_cell(cell) == name and cell[:1] not in ("=", "+", "-", "@", "\t", "\r")
    assert as_cell(-1.5) == -1.5


def test_a_results_csv_with_formulas_comes_back(tmp_path):
    from freqkit.measures.evaluation import COLUMNS, EvaluationResult
    from freqkit.results.store import read_results

    row = {**dict.fromkeys(COLUMNS, ""), "model": "=net", "set": "@s", "class": "-1", "metric": "TPR", "value": -0.5}
    EvaluationResult([row], []).save(tmp_path)
    assert ",-0.5" in (tmp_path / "results.csv").read_text() and "'=net" in (tmp_path / "results.csv").read_text()
    (back,) = read_results(tmp_path / "results.csv")
    assert (back["model"], back["set"], back["class"], back["value"]) == ("=net", "@s", "-1", -0.5)


@pytest.mark.parametrize("group", [(), ("models",), ("data",), ("masks",)])
def test_a_group_alone_prints_its_help_in_lines(run, group):
    result = run(*group)
    assert result.exit_code == 2
    assert result.stderr == run(*group, "--help").stdout and result.stderr.count("\n") > 5


def test_out_takes_a_file_or_a_folder(run, hostile, tmp_path):
    args = ["adcs", "--data", hostile / "data", "--image-size", "32", "--out"]
    folder = tmp_path / "there"
    folder.mkdir()
    assert run(*args, folder).exit_code == 0
    assert {"adcs.safetensors", "adcs.png", "adcs.html", "adcs.yaml"} <= {path.name for path in folder.iterdir()}
    assert run(*args, f"{folder}/", "--overwrite").exit_code == 0
    assert run(*args, tmp_path / "bare").exit_code == 0
    assert (tmp_path / "bare.safetensors").is_file() and not (tmp_path / "bare").exists()
    for wrong, words in (
        (f"{tmp_path}/new/", "folder that is there"),
        (tmp_path / "x.csv", "must end in .safetensors"),
    ):
        result = run(*args, wrong)
        assert result.exit_code == 2 and words in result.stderr
    assert not (tmp_path / "new").exists() and not (tmp_path / "x.csv").exists()


def test_a_table_in_a_pipe_is_not_padded_nor_cut(capsys):
    tables.show_table([("a", "left"), ("b", "left")], [["x", "y" * 500], ["z", "short"]])
    lines = capsys.readouterr().out.splitlines()
    assert "y" * 500 in lines[3] or "y" * 500 in " ".join(lines)
    assert all(line == line.rstrip() for line in lines)
