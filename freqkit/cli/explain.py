"""`freqkit explain`: what a term means."""

import textwrap

import click

from freqkit.cli.app import app, command
from freqkit.cli.options import JSON, options
from freqkit.cli.voice import say_json, tell


@command(app, "explain", context_settings={"ignore_unknown_options": True})
@click.argument("term", nargs=-1)
@options(JSON)
def explain(term, as_json):
    """Define TERM with its formula and source; without a term, list all.

    \b
    freqkit explain FPR
    freqkit explain effective mask
    """
    from freqkit.errors import UsageError
    from freqkit.report.terms import find_term, near_terms, terms

    word = " ".join(term)
    if not word:
        if as_json:
            say_json(terms())
            return
        width = max(len(name) for name in terms())
        for name, entry in terms().items():
            tell(textwrap.fill(
                entry["short"], 100, initial_indent=name.ljust(width + 2), subsequent_indent=" " * (width + 2)
            ), keep="\n")  # fmt: skip
        return
    found = find_term(word)
    if found is None:
        near = near_terms(word)
        hint = f"did you mean {' or '.join(repr(name) for name in near)}?" if near else "`freqkit explain` lists all."
        raise UsageError(f"there is no term {word!r}; {hint}")
    name, entry = found
    if as_json:
        say_json({"term": name, **entry})
        return
    tell(f"{name}: {entry['short']}" if name.lower() not in entry["short"][: len(name) + 2].lower() else entry["short"])
    for title, key in (("Formula", "formula"), (None, "more"), ("Source", "source")):
        if entry.get(key):
            text = entry[key] if title is None else f"{title}: {entry[key]}"
            tell("\n" + textwrap.fill(text, 100), keep="\n")
    if entry.get("see"):
        tell(f"\nSee also: {', '.join(entry['see'])}", keep="\n")
