"""What a command leaves beside its results: run.yaml, with which it can be done again, and the page that shows them."""

import difflib
import functools
import shlex
from pathlib import Path

import click

from freqkit.errors import UsageError, torchrun

# Flags that say where and how to write, not what to compute.
_NOT_KEPT = {"out", "overwrite", "resume", "dry_run", "as_json", "config", "debug"}


def config_option(function):
    """`--config FILE`: values of flags that are not given on the command line."""
    return click.option(
        "--config",
        type=click.Path(exists=True, dir_okay=False),
        metavar="FILE",
        is_eager=True,
        expose_value=False,
        callback=_use_config,
        help="Take the flags that are not given here from FILE (YAML or JSON), such as a run's run.yaml.",
    )(function)


def _use_config(context, parameter, file):
    if file is None:
        return
    context.default_map = {**(context.default_map or {}), **read_config(file, context.command)}


def read_config(file, command):
    """The flags in a config file as values of a command's parameters.

    Raises:
        click.UsageError: the file is no mapping, is for another command, or has a name that is no flag.
    """
    from freqkit.files.reading import fit, read_yaml, shown

    try:
        content = fit(read_yaml(file), {"command?": (str, None)}, file)
        flags = fit(content.get("flags") or {}, dict, file, "flags")
        plain = (str, int, float, bool, None)
        fit(flags if "flags" in content else content, {str: (*plain, [plain])}, file)
    except UsageError as error:
        reason = str(error).removeprefix(f"{file}: ").removesuffix(".")
        raise click.UsageError(
            f"--config: {file} is no YAML or JSON file, or must hold names of flags and their values ({reason})."
        ) from error
    meant = content.get("command")
    if "flags" in content:
        if meant is not None and meant != command.name:
            other = shown(meant)[1:-1]
            raise click.UsageError(f"--config: {file} is for `freqkit {other}`, not for `freqkit {command.name}`.")
        content = flags
    known = flag_names(command)
    parameters = {parameter.name: parameter for parameter in command.params}
    values = {}
    for name, value in content.items():
        name = "on" if name is True else name  # YAML reads a bare `on` as true
        wanted = str(name).lstrip("-").replace("_", "-")
        if wanted not in known:
            near = difflib.get_close_matches(wanted, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise click.UsageError(f"--config: {file}: {shown(name, 40)} is no flag of `freqkit {command.name}`{hint}")
        if value is not None:
            values[known[wanted]] = _as_typed(value, parameters[known[wanted]], f"--config: {file}: {shown(name, 40)}")
    return values


def _as_typed(value, parameter, where):
    """A value of a config file as it would come from the command line, so that it is checked alike."""
    if parameter.is_flag:
        if not isinstance(value, bool):
            raise click.UsageError(f"{where} must be true or false; got {_shown(value)}.")
        return value
    parts = value if isinstance(value, list) else [value]
    if any(isinstance(part, bool) or part is None for part in parts):
        raise click.UsageError(f"{where} must be a number or a text; got {_shown(value)}.")
    parts = [str(part) for part in parts]
    return tuple(parts) if parameter.multiple or parameter.nargs != 1 else ",".join(parts)


def _shown(value):
    from freqkit.files.reading import shown

    return shown(value, 40)


def flag_names(command):
    """Flag without dashes -> name of the parameter."""
    return {
        spelling.lstrip("-"): parameter.name
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for spelling in parameter.opts
    }


def flags_of(context):
    """What a command was called with, flag by flag, as plain values that YAML can hold."""
    kept = {}
    for parameter in context.command.params:
        value = context.params.get(parameter.name)
        if not isinstance(parameter, click.Option) or parameter.name in _NOT_KEPT or value is None:
            continue
        if isinstance(parameter.type, click.Path):
            paths = [str(Path(each).resolve()) for each in (value if parameter.multiple else [value])]
            value = paths if parameter.multiple else paths[0]
        flag = next(spelling for spelling in parameter.opts if spelling.startswith("--")).lstrip("-")
        kept[flag] = list(value) if isinstance(value, (list, tuple)) else value
    return kept


def write_config(context, path):
    """Write run.yaml of the command that runs."""
    import yaml

    from freqkit import __version__
    from freqkit.files.whole import atomic_write

    name = context.command_path.split(" ", 1)[-1]
    again = shlex.join(["freqkit", *name.split(), "--config", path.name, "--out", "NEW"])
    head = f"# in this folder does this again: {again}\n"
    content = {"command": name, "freqkit": __version__, "flags": flags_of(context)}
    with atomic_write(path, "w") as file:
        file.write(head + yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def config_path(out):
    """run.yaml of a run directory, or FILE.yaml of a result file."""
    out = Path(out)
    return out / "run.yaml" if out.is_dir() else out.with_suffix(".yaml")


def first_rank():
    """Whether this process writes: of several that torchrun started, only the first does."""
    return torchrun()[0] == 0


def note_start(context=None):
    """Write run.yaml when the work begins, so that a killed run has it, too; does nothing outside such a command."""
    context = context or click.get_current_context(silent=True)
    if context is None or not context.meta.get("freqkit.recorded") or not first_rank():
        return
    out = context.params.get("out")
    if out is not None and Path(out).is_dir():
        write_config(context, config_path(out))


def recorded(function):
    """A command with `--out` that leaves run.yaml and a report there."""

    @functools.wraps(function)
    def run(*args, **kwargs):
        context = click.get_current_context()
        context.meta["freqkit.recorded"] = True
        out = None if context.params.get("dry_run") else context.params.get("out")
        try:
            done = function(*args, **kwargs)
        except click.exceptions.Exit:
            # one model of several has failed; the results of the others are there
            if out is not None and _finished(out):
                leave_records(context, Path(out))
            raise
        if out is not None and Path(out).exists():
            leave_records(context, Path(out))
        return done

    return run


def _finished(out):
    from freqkit.files.whole import read_run

    return (Path(out) / "run.json").is_file() and read_run(out).get("status") == "finished"


def leave_records(context, out):
    """run.yaml, report.html and summary.png of a finished command."""
    from freqkit.cli.voice import say
    from freqkit.report import write_report, write_summary
    from freqkit.report.pages import parts_of

    if not first_rank():
        return
    write_config(context, config_path(out))
    content = parts_of(out)
    if not content[0]:  # nothing that a page could show
        return
    page = write_report(out, content=content)
    if out.is_dir():
        write_summary(out, content=content)
    say(f"To look at: {page}")
