"""How commands speak: sentences on stderr, results on stdout, nothing in them obeyed."""

import json

import click

from freqkit.files.whole import finite
from freqkit.text import called, printable


def say(sentence, *, keep=""):
    """A line for the reader, on stderr: stdout belongs to results. `keep`: see `printable`."""
    click.echo(printable(sentence, keep=keep), err=True)


def tell(line, *, keep=""):
    """A line of a result, on stdout. `keep`: see `called`."""
    click.echo(called(line, keep=keep))


def say_json(value):
    """What `--json` prints, on stdout; NaN and infinity, which JSON has not, as null."""
    click.echo(json.dumps(finite(value), indent=2))
