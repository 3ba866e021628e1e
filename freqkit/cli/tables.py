"""Tables on stdout."""

import math
import sys


def show_table(columns, rows, *, title=None, stream=None, note=None):
    """Print a rich table.

    Args:
        columns: list of (heading, "left" or "right").
        rows: list of lists of str; a row may be a (list, style) pair.
        title, note: lines above and below.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    stream = stream or sys.stdout
    # rich would cut columns at 80 when the output is a file or a pipe
    console = Console(file=stream, width=None if stream.isatty() else 200, highlight=False)
    if title:
        console.print(Text(title, style="italic"))
    table = Table(header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading, side in columns:
        table.add_column(heading, justify=side, no_wrap=side == "right")
    for row in rows:
        cells, style = row if isinstance(row, tuple) else (row, None)
        table.add_row(*(Text(cell) for cell in cells), style=style)
    console.print(table)
    if note:
        console.print(Text(note + "\n", style="dim"))


def percent(value, digits=1):
    """0.125 -> '12.5%'; None and NaN -> '-'."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{100 * value:.{digits}f}%"


def number(value, digits=3):
    """0.12345 -> '0.123'; None and NaN -> '-'."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:.{digits}f}"
