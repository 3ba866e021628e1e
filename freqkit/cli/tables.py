"""Tables on stdout."""

import io
import math
import sys

from freqkit.text import called, printable


def show_table(columns, rows, *, title=None, stream=None, note=None):
    """Print a rich table.

    Args:
        columns: list of (heading, "left" or "right").
        rows: list of lists of str; a row may be a (list, style) pair.
        title, note: lines above and below.

    On a terminal columns fit its width; elsewhere nothing is cut, wrapped or padded. No text is read as markup.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    stream = stream or sys.stdout
    table = Table(header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading, side in columns:
        table.add_column(Text(printable(heading)), justify=side, no_wrap=side == "right")
    for row in rows:
        cells, style = row if isinstance(row, tuple) else (row, None)
        table.add_row(*(Text(called(cell)) for cell in cells), style=style)
    lines = [Text(called(title), style="italic")] if title else []
    lines += [table, *([Text(called(note) + "\n", style="dim")] if note else [])]
    if stream.isatty():
        console = Console(file=stream, highlight=False)
        for line in lines:
            console.print(line)
        return
    console = Console(file=io.StringIO(), width=1 << 20, highlight=False)
    width = max(console.measure(line).maximum for line in lines)  # rich fills lines up to the width of a table
    for line in lines:
        console.print(line, width=width)
    text = console.file.getvalue()
    stream.write("".join(f"{line.rstrip()}\n" for line in text.splitlines()))


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
