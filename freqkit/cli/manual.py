"""One page of Markdown per command, one of all terms, one of the known test sets, and the stub files: `make docs`.

python -m freqkit.cli.manual docs
"""

import sys
from pathlib import Path

import click

from freqkit.cli.app import COMMANDS, app


def pages():
    """File name below docs/ -> text, of every command, of the terms and of the known test sets.

    Example:
        >>> "--candidates" in pages()["commands/search.md"]
        True
    """
    made = {"commands/README.md": _index(), "terms.md": _terms(), "known-sets.md": _known_sets()}
    context = click.Context(app, info_name="freqkit")
    for name in app.list_commands(context):
        command = app.get_command(context, name)
        made[f"commands/{name}.md"] = _page(command, context, name)
    return made


def _index():
    lines = ["# Commands", "", "Written by `make docs` from the code; `freqkit COMMAND --help` says the same.", ""]
    lines += ["| command | what it does |", "|---|---|"]
    lines += [f"| [{name}]({name}.md) | {text} |" for name, (_, _, text) in COMMANDS.items()]
    lines += [
        "",
        "Results go to stdout, all else to stderr. Exit codes: 0 done; 1 failed, or something checked is wrong;",
    ]
    lines += ["2 bad input, said in one sentence; 130 interrupted, with the command that goes on."]
    return "\n".join(lines) + "\n"


def _page(command, parent, name):
    context = click.Context(command, info_name=name, parent=parent)
    if isinstance(command, click.Group):
        parts = [_page(command.get_command(context, one), context, one) for one in command.list_commands(context)]
        return f"# freqkit {name}\n\n{_text(command)}\n\n" + "\n".join(part.replace("# ", "## ", 1) for part in parts)
    lines = [f"# {context.command_path}", "", _text(command), "", "```", f"{_usage(command, context)}", "```", ""]
    lines += ["| flag | value | default | |", "|---|---|---|---|"]
    for parameter in command.get_params(context):
        if isinstance(parameter, click.Option) and "--help" not in parameter.opts:
            lines.append(_row(parameter))
    return "\n".join(lines) + "\n"


def _usage(command, context):
    return " ".join([context.command_path, *command.collect_usage_pieces(context)])


def _text(command):
    """The help with its examples as code."""
    import inspect

    blocks = inspect.cleandoc(command.help or "").split("\n\n")
    out = []
    for block in blocks:
        if block.startswith("\b"):
            out.append("```\n" + block.lstrip("\b").strip("\n") + "\n```")
        else:
            out.append(" ".join(block.split()))
    return "\n\n".join(out)


def _row(option):
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    choices = getattr(option.type, "choices", None)
    value = option.metavar or ("|".join(choices) if choices else option.type.name)
    value = "" if option.is_flag else value
    shown = option.to_info_dict().get("default")
    known = isinstance(shown, (str, int, float)) and not isinstance(shown, bool) and str(shown) != "Sentinel.UNSET"
    default = "needed" if option.required else f"`{shown}`" if known and not option.is_flag else ""
    cells = (names, f"`{value}`" if value else "", default, " ".join((option.help or "").split()))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _known_sets():
    from freqkit.data.test_sets.known import known_set
    from freqkit.registry import TEST_SETS

    lines = ["# Known test sets", "", "Written by `make docs` from the code; [test sets](test-sets.md) says more.", ""]
    lines += ["| `--on` | layout | checked | published by | looked for in |", "|---|---|---|---|---|"]
    for known in map(known_set, TEST_SETS):
        places = ", ".join(f"`{place}`" for place in known.places)
        lines.append(f"| `{known.name}` | {known.tree} | {known.whole} | {known.source} | {places} |")
    return "\n".join(lines) + "\n"


def _terms():
    from freqkit.report.terms import terms

    lines = [
        "# Terms",
        "",
        "Written by `make docs` from `freqkit/report/terms.yaml`; `freqkit explain TERM` says the same.",
    ]
    for name, entry in terms().items():
        lines += ["", f"**{name}**: {entry['short']}"]
        if entry.get("formula"):
            lines += ["", f"    {entry['formula']}"]
        if entry.get("more"):
            lines += ["", entry["more"]]
        if entry.get("source"):
            lines += ["", f"Source: {entry['source']}"]
    return "\n".join(lines) + "\n"


def write(folder):
    """Write all pages below a folder, and the stubs beside the code; returns their paths."""
    from freqkit.cli.stubs import stubs
    from freqkit.files.whole import atomic_write

    paths, package = [], Path(__file__).parents[1]
    written = {Path(folder) / name: text for name, text in pages().items()}
    for path, text in {**written, **{package / name: text for name, text in stubs().items()}}.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, "w") as file:
            file.write(text)
        paths.append(path)
    return paths


if __name__ == "__main__":
    print(f"{len(write(sys.argv[1]))} files written")
