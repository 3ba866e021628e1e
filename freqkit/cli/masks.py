"""`freqkit masks`: frequency maps from files."""

import json
from pathlib import Path

import click

from freqkit.cli.app import app, command, say
from freqkit.cli.options import JSON, options
from freqkit.cli.tables import percent, show_table


@app.group("masks")
def masks():
    """Import and look at frequency maps."""
