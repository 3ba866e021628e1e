"""The command line: a command parses, calls one library function, prints or writes."""

from freqkit.cli.app import main

__all__ = ["main"]
