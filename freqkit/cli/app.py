"""The group of all commands, and what becomes of an error: one sentence and an exit code."""

import difflib
import functools
import math
import os
import re
import shlex
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

import click

from freqkit import __version__
from freqkit.cli.records import config_option, recorded
from freqkit.cli.voice import say
from freqkit.errors import UsageError, environment_count, stopped_by_sigterm, torchrun
from freqkit.registry import MEASURES, module_of
from freqkit.text import plain_line

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
COMMANDS = {
    "search": ("freqkit.cli.search", "search", "Find the frequency shortcuts of a classifier."),
    "compare-searchers": ("freqkit.cli.searchers", "compare", "Searchers on equal terms, on images none saw."),
    "dfm": ("freqkit.cli.dfm", "dfm", "Rank frequencies by what removing them costs each class (DFM)."),
    **{name: ("freqkit.cli.measures", name, text) for name, (_, text) in MEASURES.items()},
    "profile": ("freqkit.cli.profile", "profile", "What a model takes from frequencies, within a budget, on one page."),
    "status": ("freqkit.cli.status", "status", "How far a run is, live or dead."),
    "demo": ("freqkit.cli.demo", "demo", "Plant a frequency shortcut, train on it, find it again."),
    "evaluate": ("freqkit.cli.evaluate", "evaluate", "Classes on every test set, whole, filtered and attacked."),
    "human-comparison": ("freqkit.cli.human_comparison", "human_comparison", "Networks and people on the same images."),
    "study": ("freqkit.cli.study", "study", "Do biases of many models tell how well they generalise?"),
    "doctor": ("freqkit.cli.doctor", "doctor", "Check test sets on disk, and a model's preprocessing."),
    "table": ("freqkit.cli.table", "table", "Tables of evaluations; imports timm and RobustBench."),
    "report": ("freqkit.cli.report", "report", "Make a run's page anew, or compare several runs on one."),
    "explain": ("freqkit.cli.explain", "explain", "Define a term, with its formula and source."),
    "rerun": ("freqkit.cli.rerun", "rerun", "Do a run again, to the same bytes."),
    "watch": ("freqkit.cli.watch", "watch", "Follow a running search, live."),
    "models": ("freqkit.cli.models", "models", "Which models there are, and what is known of one."),
    "info": ("freqkit.cli.info", "info", "Versions, what was built, what will run here."),
    "masks": ("freqkit.cli.masks", "masks", "Import and look at frequency maps."),
    "data": ("freqkit.cli.datasets", "data", "List, check and make image sets."),
    "train": ("freqkit.cli.train", "train", "Train a classifier."),
    "compare-training": (
        "freqkit.cli.compare_training",
        "compare",
        "Trainings that differ in one factor, from several seeds.",
    ),
    "completion": ("freqkit.cli.completion", "completion", "Completion of commands and flags for bash, zsh, fish."),
}
SHARED = ("search", "dfm", "train", "human-comparison")  # commands whose work several ranks share, beside such measures


def shared_commands():
    """The commands that torchrun may start."""
    measures = [name for name in MEASURES if getattr(module_of(MEASURES, name), "SHARED", False)]
    return [name for name in COMMANDS if name in (*SHARED, *measures)]


class App(click.Group):
    """Commands are imported when they are called; errors end as one sentence."""

    def list_commands(self, context):
        return list(COMMANDS)

    def get_command(self, context, name):
        if name not in COMMANDS:
            return None
        import importlib

        module, attribute, _ = COMMANDS[name]
        return getattr(importlib.import_module(module), attribute)

    def resolve_command(self, context, args):
        if args and args[0] in COMMANDS and environment_count("WORLD_SIZE", 1, 1) > 1:
            shared = shared_commands()
            if args[0] not in shared:
                words = f"torchrun can share {', '.join(shared)} among processes, not {args[0]}."
                raise click.UsageError(words, context)
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(COMMANDS)}."
            raise click.UsageError(f"there is no command {args[0]!r}; {hint}", context)
        torchrun()  # what is wrong with the environment is said before anything is read
        return super().resolve_command(context, args)

    def format_commands(self, context, formatter):
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])

    def main(self, args=None, prog_name=None, standalone_mode=True, **extra):
        if not standalone_mode:
            return super().main(args, prog_name, standalone_mode=False, **extra)
        args = list(sys.argv[1:] if args is None else args)
        sys.exit(guarded(lambda: super(App, self).main(args, "freqkit", standalone_mode=False, **extra), args))


def guarded(run, args):
    """Call `run`; give the exit code, after one sentence on stderr when it failed."""
    say = _one_voice()
    try:
        with stopped_by_sigterm():
            code = run()
        return code if isinstance(code, int) else OK
    except click.UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # a group called by itself; click below 8.2 shows its help
            say(error.ctx.get_help(), keep="\n")
            return USAGE
        where = error.ctx.command_path if error.ctx else "freqkit"
        say(f"{where}: {plain_line(error.format_message())}")
        say(f"`{where} --help` lists all options.")
        return USAGE
    except click.Abort as error:
        return _interrupted(args, error, say)
    except click.ClickException as error:
        say(f"freqkit: {plain_line(error.format_message())}")
        return error.exit_code
    except Exception as error:
        if "--debug" in args:
            say(traceback.format_exc().rstrip(), keep="\n")
        if isinstance(error, UsageError) or (isinstance(error, ValueError) and _raised_by_us(error)):
            say(f"freqkit: {plain_line(error)}")
            return USAGE
        if isinstance(error, OSError):
            unnamed = "" if error.filename or not error.errno else " (standard output, or a file that it does not name)"
            say(f"freqkit: {plain_line(error)}{unnamed}")
            return FAILED
        say(f"freqkit: {_name(error)}{plain_line(error) or 'no message'}")
        if not _of_ranks(error):
            more = "" if "--debug" in args else " Run it again with --debug for the traceback."
            say(f"This is a fault of freqkit.{more}")
        return FAILED


def _one_voice():
    """`say` for errors: of the ranks of one run the first that fails speaks, and says which it is."""
    rank = os.environ.get("RANK")
    try:
        size = torchrun()[1]
    except UsageError:
        return say  # which is then what there is to say
    if rank is None or size == 1:
        return say

    def speak(sentence):
        ranks = sys.modules.get("freqkit.engine.ranks")
        joined = ranks is not None and ranks.joined()
        if ranks.quiet() if joined else os.environ.get("LOCAL_RANK", "0") != "0":
            return
        say(sentence.replace("freqkit: ", f"freqkit: rank {rank}: ", 1) if joined else sentence)

    return speak


def _interrupted(args, error, say):
    if "--debug" in args:
        say("".join(traceback.format_exception(error)).rstrip(), keep="\n")
    say("freqkit: interrupted.")
    if (
        args[:1] in (["search"], ["dfm"], ["train"], ["compare-searchers"], ["evaluate"], ["profile"])
        and "--dry-run" not in args
    ):
        again = [arg for arg in args if arg not in ("--resume", "--overwrite")]
        again += [] if args[0] == "compare-searchers" else ["--resume"]
        kept = "The last finished epoch" if args[0] == "train" else "What was scored"
        say(f"{kept} is kept; go on with: freqkit {shlex.join(again)}")
    signal = getattr(error.__cause__, "signal", None)
    return 128 + signal if signal else INTERRUPTED


def _raised_by_us(error):
    """Whether the innermost frame is freqkit's own: then it is a check of ours that speaks."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return frame is not None and frame.tb_frame.f_globals.get("__name__", "").split(".")[0] == "freqkit"


def _name(error):
    return "" if _of_ranks(error) else f"{type(error).__name__}: "


def _of_ranks(error):
    """Whether another process failed, of which a traceback here would tell nothing."""
    ranks = sys.modules.get("freqkit.engine.ranks")
    return ranks is not None and isinstance(error, ranks.RankLost)


def spelled_as_flags(function):
    """The command, whose errors name flags where the library names its arguments."""

    @functools.wraps(function)
    def run(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except UsageError as error:
            raise UsageError(in_flags(str(error), click.get_current_context().command)) from error
        except EOFError as error:
            # click takes it for Ctrl-D at a question; there is none, so a reader of ours let it through.
            raise RuntimeError(f"a file ends too soon ({error})") from error

    return run


def _checking_flags(function):
    """The command, which finds out before its work whether its numbers are some, and its outputs can be written."""

    @functools.wraps(function)
    def run(*args, **kwargs):
        context = click.get_current_context()
        for parameter in context.command.params:
            kind, value = parameter.type, context.params.get(parameter.name)
            given = value if isinstance(value, (list, tuple)) else [value]
            if any(isinstance(part, float) and not math.isfinite(part) for part in given):
                raise UsageError(f"{max(parameter.opts, key=len)} must be a finite number; got {value}.")
            if not context.params.get("dry_run"):
                output = isinstance(parameter, click.Option) and isinstance(kind, click.Path) and not kind.exists
                if output and value is not None and parameter.name != "log_json":  # which may be a pipe
                    check_writable(value, max(parameter.opts, key=len), folder=kind.dir_okay)
        return function(*args, **kwargs)

    return run


def check_writable(path, flag, folder=False):
    """Refuse a file, or a folder to be made, that cannot be written.

    Raises:
        UsageError: it lies in no folder, is something else, or a file cannot be made there.
    """
    path = Path(path)
    try:
        if path.exists() and not (path.is_dir() if folder else path.is_file()):
            raise UsageError(f"{flag} must be {'a folder' if folder else 'a file'}; {path} is something else.")
        place = path
        while not place.exists() and (folder or place == path):
            place = place.parent
        place = place if folder or place != path else place.parent
        if not place.is_dir():
            raise UsageError(f"{flag} must lie in a folder that is there; {place} is not.")
        with tempfile.TemporaryFile(dir=place, prefix=f".{path.name[:80]}.", suffix=".part"):
            pass
    except OSError as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{flag} must be a place that can be written; {path}: {error.strerror}.") from error


def in_flags(text, command):
    """`num_classes=4` -> `--num-classes 4`, of the arguments that are flags of the command."""
    flags = {p.name: max(p.opts, key=len) for p in command.params if isinstance(p, click.Option)}
    names = "|".join(name for name in flags if "_" in name) or "as_json"
    text = re.sub(r"^load_\w+: ", "", text)
    text = re.sub(
        rf"\b({names})\b(?:=('\w+'|\d+))?",
        lambda found: " ".join([flags[found[1]], *([found[2].strip("'")] if found[2] else [])]),
        text,
    )
    return text.replace("give resume to", "give --resume to").replace("or overwrite to", "or --overwrite to")


def command(group, *args, leaves_records=False, **kwargs):
    """A command of `group` with --debug, which also may stand behind the command's name, and with --config.

    With `leaves_records` it writes run.yaml and an HTML report beside what it puts into `--out`.
    """

    def wrap(function):
        option = click.option("--debug", is_flag=True, expose_value=False, help="Show tracebacks of errors.")
        function = spelled_as_flags(_checking_flags(function))
        function = config_option(option(recorded(function) if leaves_records else function))
        return group.command(*args, **kwargs)(function)

    return wrap


@click.group(cls=App, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="freqkit", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, expose_value=False, help="Show tracebacks of errors.")
def app():
    """Find, measure and understand frequency shortcuts in image classifiers."""


def main(args=None):
    """Run the command line; ends the process with 0, 1 (failed), 2 (bad input) or 130 (interrupted)."""
    # Threads that wait spinning steal the processor from the one they wait for when other work shares the machine:
    # a search was seen to take three times as long. Read by the OpenMP library when torch is loaded, which is later.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if "RANK" in os.environ:
        # Or a rank that loses another prints pages of stack frames before its one sentence.
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    quiet_others()
    app.main(args)


OTHERS = r"(torch|torchvision|timm|lightning|pytorch_lightning|networkx|triton|sympy|onnx)\b"


def quiet_others():
    """What other packages log and warn of is no line of a command's: what matters of it, the library says itself.
    `TORCH_LOGS`, `PYTHONWARNINGS` and `--debug` bring it back."""
    if not os.environ.get("TORCH_LOGS"):  # torch cannot be imported where it is empty
        os.environ["TORCH_LOGS"] = "-all"  # errors alone
    if not sys.warnoptions and "--debug" not in sys.argv:
        warnings.filterwarnings("ignore", module=OTHERS)
        warnings.filterwarnings("ignore", message=r"(?s).*Triggered internally at")  # torch, in the caller's name
