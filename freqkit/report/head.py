"""The head of a page for a notebook: verdict, main figure and table in one element that stands alone among others'."""

import io
import re

from freqkit.report.blocks import TEMPLATES, Cell, Drawing, Gallery, Panels, Table, environment
from freqkit.report.svg import data_uri, number

ROWS = 12  # of the table
MAPS = 4  # of a gallery that stands for the figure
PANELS = 2  # of small figures that do


def head(parts, line, columns, lines, plot):
    """One `<div>`: title, cautions, verdict, figure and table of the first part, or figure and table alone.

    Args:
        parts: list of `freqkit.report.blocks.Part`; a kind of result that has no page gives none.
        line: the result in one line, the title where there is no part.
        columns, lines: the result's table, shown where there is no part.
        plot: gives the matplotlib figure that is shown where the part has none.
    """
    part = min(parts, key=lambda part: part.order, default=None)
    blocks = [block for section in part.sections for block in section.blocks] if part else [_table(columns, lines)]
    table = next((block for block in blocks if isinstance(block, Table)), None)
    figure, picture = _figure(part, blocks), None
    if figure is None:
        picture = io.BytesIO()
        plot().savefig(picture, format="png", dpi=80)
    text = (
        environment()
        .get_template("head.html")
        .render(
            part=part,
            title=line if part is None else part.title,
            table=None if table is None else Table(table.columns, table.rows[:ROWS]),
            left=0 if table is None else max(0, len(table.rows) - ROWS),
            figure=figure,
            picture=None if picture is None else data_uri(picture.getvalue()),
            style=_style(),
            definitions={},
        )
    )
    # Places of the page, and what leads to them: they are not there, and a notebook holds many heads. In text of
    # others neither < nor " is left.
    return re.sub(r' id="[^"]*"|<a\b[^>]*>|</a>', "", text)


def _figure(part, blocks):
    """What stands beside the verdict, else the first figure of the sections."""
    if part and part.hero:
        return part.hero[0]
    for block in blocks:
        if isinstance(block, Gallery):
            return Gallery(block.shown[:MAPS], columns=MAPS)
        if isinstance(block, Panels):
            return Panels(block.drawings[:PANELS], wide=block.wide)
        if isinstance(block, Drawing):
            return block
    return None


def _table(columns, lines):
    numeric = [all(isinstance(line[name], (int, float, type(None))) for line in lines) for name in columns]
    headings = [(name, "right" if right else "left", None) for name, right in zip(columns, numeric, strict=True)]
    kinds = list(zip(columns, numeric, strict=True))
    rows = [[Cell(number(line[name]) if right else str(line[name])) for name, right in kinds] for line in lines]
    return Table(headings, rows)


def _style():
    """The page's styles, for what is inside the element alone."""
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    style = re.sub(r"@media print \{.*?\n\}\n|html \{[^}]*\}\n", "", style, flags=re.S)
    return ".freqkit {\n" + re.sub(r":root|(?<=\n)body", "&", style) + "}"
