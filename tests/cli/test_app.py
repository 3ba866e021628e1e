"""Exit codes, sentences, suggestions."""

import os
import signal
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from freqkit.cli import app as module
from freqkit.cli.app import COMMANDS, App, command
from freqkit.errors import UsageError
from tests.cli.conftest import sentence


@pytest.fixture
def failing():
    """A command line with one command that raises what it is given."""

    @click.group(cls=App)
    def root():
        pass

    def make(error):
        @command(root, "search")
        def fail():
            raise error

        root.get_command = lambda context, name: fail
        return lambda *args: CliRunner().invoke(root, ["search", *args])

    return make


def test_help_lists_every_command(run):
    result = run("--help")
    assert result.exit_code == 0
    for name in COMMANDS:
        assert name in result.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(run, name):
    result = run(name, "--help")
    assert result.exit_code == 0
    assert "--help" in result.stdout


def test_commands_that_speak_of_torchrun_let_it_start_them(run):
    speaking = {name for name in COMMANDS if "torchrun --n" in run(name, "--help").stdout}
    assert {"train"} <= speaking <= set(module.SHARED)


def test_version(run):
    from freqkit import __version__

    assert run("--version").stdout == f"freqkit {__version__}\n"


@pytest.mark.parametrize(("typed", "meant"), [("serach", "search"), ("inf", "info"), ("tain", "train")])
def test_unknown_command_suggests(run, typed, meant):
    result = run(typed)
    assert result.exit_code == 2
    assert sentence(result) == f"freqkit: there is no command {typed!r}; did you mean {meant!r}?"


def test_unknown_command_without_a_near_one_lists_all(run):
    result = run("xyzzy")
    assert result.exit_code == 2
    assert all(name in sentence(result) for name in COMMANDS)


def test_unknown_flag_suggests(run):
    result = run("info", "--jsn")
    assert result.exit_code == 2
    assert "--json" in sentence(result)
    assert result.stdout == ""


def test_bad_input_is_one_sentence_and_2(failing):
    result = failing(UsageError("x must be\n  small; got 9."))()
    assert (result.exit_code, result.stderr) == (2, "freqkit: x must be small; got 9.\n")


def test_value_error_of_ours_is_2_and_of_others_1(failing):
    from freqkit.measures import recovery

    @click.group(cls=App)
    def root():
        pass

    @command(root, "search")
    def fail():
        recovery([1.0], [1.0])  # a check of freqkit's own speaks

    root.get_command = lambda context, name: fail
    result = CliRunner().invoke(root, ["search"])
    assert result.exit_code == 2
    assert "must have one shape" in sentence(result)
    result = failing(ValueError("a bug"))()
    assert result.exit_code == 1
    assert sentence(result) == "freqkit: ValueError: a bug"


def test_failure_is_1_and_debug_shows_the_traceback(failing):
    fail = failing(RuntimeError("the disk melted"))
    result = fail()
    assert result.exit_code == 1
    assert sentence(result) == "freqkit: RuntimeError: the disk melted"
    assert "--debug" in result.stderr
    result = fail("--debug")
    assert result.exit_code == 1
    assert "Traceback" in result.stderr
    assert "the disk melted" in result.stderr


def test_os_errors_speak_for_themselves(failing):
    result = failing(FileNotFoundError(2, "No such file or directory", "x.png"))()
    assert result.exit_code == 1
    assert sentence(result) == "freqkit: [Errno 2] No such file or directory: 'x.png'"


def test_interrupt_is_130_and_says_how_to_go_on(failing):
    result = failing(KeyboardInterrupt())()
    assert result.exit_code == 130
    assert "freqkit search --resume" in result.stderr


def test_sigterm_is_143(failing):
    from freqkit.engine import Interrupted

    assert failing(Interrupted(signal.SIGTERM))().exit_code == 128 + signal.SIGTERM


def test_resume_hint_keeps_the_arguments():
    text = []
    original = module.say
    module.say = text.append
    try:
        code = module.guarded(_abort, ["search", "--out", "my run", "--overwrite"])
    finally:
        module.say = original
    assert code == 130
    assert text[-1].endswith("freqkit search --out 'my run' --resume")


def _abort():
    raise click.Abort from KeyboardInterrupt()


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom freqkit.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print([name for name in ('torch', 'numpy', 'rich', 'matplotlib', 'timm') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_python_dash_m_runs_the_same_program():
    done = subprocess.run([sys.executable, "-m", "freqkit", "nonsense"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "there is no command 'nonsense'" in done.stderr


def test_waiting_threads_do_not_spin_unless_asked(monkeypatch):
    from freqkit.cli import app, main

    seen = []
    monkeypatch.setattr(app.app, "main", lambda args: seen.append(os.environ["OMP_WAIT_POLICY"]))
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    main([])
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    main([])
    assert seen == ["PASSIVE", "ACTIVE"]
