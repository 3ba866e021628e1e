"""What all commands have in common."""

import click
import pytest
from click.testing import CliRunner

from freqkit.cli.app import app


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
