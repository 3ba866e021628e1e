"""What all commands have in common."""

import functools
import html
import json
import re
import shlex

import click
import pytest
from click.testing import CliRunner

from freqkit.cli.app import app
from freqkit.data.test_sets.known import known_set
from freqkit.registry import MEASURES
from tests.fuzz.data_formats import write_example
from tests.measures_at_hand import line_of, place_of


def commands(group=app, path=()):
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


EVERY = dict(commands())
NAMES = sorted(EVERY)


@pytest.mark.parametrize("name", NAMES, ids=" ".join)
def test_help_shows_an_example(run, name):
    text = run(*name, "--help").stdout
    assert f"freqkit {' '.join(name)}" in text.split("Options:")[0].split("\n", 1)[1]


def test_every_command_speaks_json_and_takes_a_config():
    flags = {name: {o for p in command.params for o in p.opts} for name, command in EVERY.items()}
    assert [name for name, known in flags.items() if "--json" not in known] == [("completion",)]
    assert [name for name, known in flags.items() if not {"--config", "--debug"} <= known] == []


@pytest.mark.parametrize("name", [name for name in NAMES if name != ("explain",)], ids=" ".join)  # it takes any word
def test_a_misspelled_flag_gets_a_suggestion(run, name):
    wrong = "--debg"
    result = run(*name, wrong)
    assert result.exit_code == 2
    assert "--debug" in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(run, shell):
    assert "_FREQKIT_COMPLETE" in run("completion", shell).stdout


def test_completion_completes():
    words = {"COMP_WORDS": "freqkit se", "COMP_CWORD": "1", "_FREQKIT_COMPLETE": "bash_complete"}
    assert "plain,search" in CliRunner().invoke(app, [], env=words).stdout
    words = {"COMP_WORDS": "freqkit search --cand", "COMP_CWORD": "2", "_FREQKIT_COMPLETE": "bash_complete"}
    assert "plain,--candidates" in CliRunner().invoke(app, [], env=words).stdout


# commands with --out that write something else than results
NO_RESULTS = {
    ("report",),
    ("rerun",),
    *(
        (group, name)
        for group, names in (("masks", ("import", "show", "export")), ("data", ("synthetic", "components", "hars")))
        for name in names
    ),
}
WRITERS = [name for name, command in EVERY.items() if any("--out" in p.opts for p in command.params)]
MODEL = "--model small_convnet --weights {weights} --batch-size 50"
SMALL = {
    ("search",): f"{MODEL} --data {{images}} --candidates 4 --stages 1 --top 1 --out {{out}}",
    (
        "compare-searchers",
    ): f"{MODEL} --data {{images}} --held-out {{held}} --searchers learned,evolve --effort learned=1"
    " --effort evolve=1 --per-class 2 --seeds 2 --out {out}",
    ("dfm",): f"{MODEL} --data {{images}} --patch 16 --levels 0.5 --level 0.5 --out {{out}}",
    **{(name,): line_of(name, MODEL) + f" --out {place_of(name)}" for name in MEASURES},
    ("profile",): f"{MODEL} --num-classes 4 --data {{images}} --budget forwards=300 --out {{out}}",
    ("evaluate",): f"{MODEL} --dfm {{dfm}} --on planted={{images}} --num-classes 4 --no-pictures --out {{out}}",
    ("human-comparison",): "--model small_convnet --num-classes 1000 --image-size 32 --batch-size 8 --data-dir {people}"
    " --relaxed --out {out}",
    ("train",): "--model small_convnet --data {images} --epochs 1 --follow 1 --batch-size 8 --out {out}",
    ("compare-training",): "--runs {plan} --data {images} --out {out}",
    ("demo",): "--out {out}",
    ("study",): "--data {table} --resamples 10 --out {out}",
}


@pytest.mark.parametrize("name", sorted(set(WRITERS) - NO_RESULTS), ids=" ".join)
def test_every_command_that_writes_results_leaves_a_page(
    run, name, images_folder, weights, held, tmp_path, monkeypatch
):
    """A new command that writes results fails here until it has a line above, and a page."""
    import torch

    from freqkit.cli import demo
    from freqkit.masks import DfmFile, low_pass, save_dfm

    if name == ("demo",):
        tiny = {"training": 8, "search": 2, "fresh": 2, "epochs": 1, "candidates": (4, 4, 4, 4)}
        monkeypatch.setattr(demo, "run", functools.partial(demo.run, **tiny))
    save_dfm(tmp_path / "dfm.safetensors", DfmFile(torch.stack([low_pass(32, 6)] * 4), ["C0", "C1", "C2", "C3"]))
    (tmp_path / "table.csv").write_text("model,shape-bias,top1_acc/imagenet\na,0.1,70\nb,0.2,75\nc,0.4,72\nd,0.5,80\n")
    (tmp_path / "plan.yaml").write_text("base: {epochs: 1}\nfactors: {lr: [0.1]}\nseeds: 1\n")
    places = {"images": images_folder, "weights": weights, "held": held, "out": tmp_path / "run",
              "plan": tmp_path / "plan.yaml",
              "dfm": tmp_path / "dfm.safetensors", "file": tmp_path / "found.safetensors",
              "table": tmp_path / "table.csv", "people": tmp_path}  # fmt: skip
    write_example(known_set("human-cue-conflict"), tmp_path / "cue-conflict")
    result = run(*name, *SMALL[name].format(**places).split(), "--json")
    assert result.exit_code == 0, result.stderr
    json.loads(result.stdout)
    folder = tmp_path / "run"
    page = folder / "report.html" if folder.is_dir() else tmp_path / "found.html"
    text = page.read_text()
    assert str(page) in result.stderr
    assert 'id="verdict"' in text and "How to read this" in text and "Cost and provenance" in text
    assert "What was asked" in text or name == ("demo",)
    for record in tmp_path.rglob("run.json"):  # also those of the searches that a comparison holds
        assert (record.parent / "report.html").is_file()
    assert ("run.yaml" if folder.is_dir() else "found.yaml") in {path.name for path in page.parent.iterdir()}


@pytest.mark.parametrize(
    "share, advised", [("0.4", {"rerun", "explain"}), ("1", {"search", "rates", "rerun", "explain"})]
)
def test_what_a_page_advises_is_done_as_it_stands(run, images_folder, weights, tmp_path, monkeypatch, share, advised):
    """The commands of a search's page, run from the folder that holds the run, whose name has a blank. A search that
    tested itself has nothing more to be tested on."""
    monkeypatch.chdir(tmp_path)
    places = {"images": images_folder, "weights": weights, "out": "run"}
    line = SMALL["search",].format(**places).removesuffix("run")
    assert run("search", *line.split(), tmp_path / "a run", "--split-fraction", share).exit_code == 0
    text = (tmp_path / "a run" / "report.html").read_text()
    shown = [html.unescape(words) for words in re.findall(r"<code>(freqkit [^<]*)</code>", text)]
    assert {line.split()[1] for line in shown} == advised
    for line in shown:
        result = run(*shlex.split(line)[1:])
        assert result.exit_code == 0, (line, result.stderr)
