"""Every measure's and every flag's name has a definition."""

import importlib
import re
from pathlib import Path

import click
import torch

from freqkit.cli.app import COMMANDS, app
from freqkit.registry import MEASURES, module_of
from freqkit.report.terms import find_term, near_terms, terms


def commands(group=app, path=()):
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


FLAGS = {
    option.lstrip("-"): name
    for name, command in commands()
    for parameter in command.params if isinstance(parameter, click.Option)
    for option in [*parameter.opts, *parameter.secondary_opts]
    if option not in ("-b", "--no-pretrained")
}  # fmt: skip


def columns():
    """Columns of every CSV, and keys of the rows that --json prints."""
    from freqkit.measures.adcs import AdcsResult
    from freqkit.measures.evaluation.doctor import Finding
    from freqkit.results import removal_result, search_result, store
    from freqkit.training.schedules import HISTORY

    flat = AdcsResult(torch.ones(2, 8, 8, dtype=torch.int16), ["a", "b"], torch.ones(2), {})
    measures = [module_of(MEASURES, name) for name in MEASURES]
    modules = (search_result, removal_result, store, importlib.import_module("freqkit.search.compare"))
    modules = (*modules, *(module for module in measures if hasattr(module, "COLUMNS")))
    return sorted({name for module in modules for name in module.COLUMNS} | {*flat.table()[0], *HISTORY, "folder"}
                  | {*Finding.__annotations__, "full weight", "DC weight", "touched", "dc"})  # fmt: skip


def test_every_flag_is_explained():
    assert [f"--{flag} of freqkit {name}" for flag, name in FLAGS.items() if not find_term(flag)] == []


def test_every_column_is_explained():
    assert [name for name in columns() if not find_term(name)] == []


def test_no_term_is_defined_twice():
    """YAML would keep the last without a word."""
    import freqkit.report

    text = Path(freqkit.report.__file__).with_name("terms.yaml").read_text(encoding="utf-8")
    names = re.findall(r"^([^\s#][^:]*):", text, re.M)
    assert [name for name in set(names) if names.count(name) > 1] == []


def test_entries_are_whole():
    seen = {}
    for name, entry in terms().items():
        assert set(entry) <= {"short", "formula", "more", "source", "aliases", "see"}, name
        assert entry["short"].endswith("."), name
        assert all(find_term(other) and other in terms() for other in entry.get("see", [])), name
        for spelling in {name.lower(), *(str(alias).lower() for alias in entry.get("aliases", []))}:
            assert seen.setdefault(spelling, name) == name, f"{spelling} is {seen[spelling]} and {name}"


def test_misspellings_find_their_term():
    assert near_terms("covrage") == ["coverage"]
    assert "effective mask" in near_terms("effectve-mask")
    assert near_terms("xyzzyqwk") == []
    assert {"report", "explain", "rerun"} <= set(COMMANDS)
