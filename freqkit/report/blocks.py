"""One offline HTML file that shows what a run directory holds.

A page is a list of parts, one for each kind of result found there; `pages.py` says how a kind becomes a part, and a
new kind is one more function there. The file needs no network: pictures, styles and the small script are inside, and
a content security policy forbids the browser to fetch anything.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

from freqkit.text import called, printable, shorten

TEMPLATES = Path(__file__).parent / "templates"


@dataclass
class Cell:
    """What a table shows in one place, and what it sorts by: the text, or with `sortable` the number `value`, of which
    None (unknown) comes last."""

    text: str = ""
    value: float | None = None
    sortable: bool = False
    href: str = ""
    svg: str = ""
    kind: str = ""  # a CSS class

    @classmethod
    def of(cls, value, text, **more):
        """A cell that shows `text` and sorts by the number `value`; NaN and infinity count as unknown."""
        known = value is not None and value == value and abs(value) != float("inf")
        return cls(text, value if known else None, True, **more)


@dataclass
class Table:
    """Rows of `Cell`s. Columns are (heading, "left" or "right", term of `freqkit explain` or None)."""

    columns: list
    rows: list
    search: bool = False
    kind: str = "table"

    @property
    def letters(self):
        """Letters of the longest word in the first column, for which it gets room; longer ones are broken."""
        return min(16, max((len(word) for row in self.rows for word in row[0].text.split()), default=0))


@dataclass
class Map:
    """One frequency plane: `svg` whole, or `png` (bytes) to be put into the gallery's empty frame when asked for."""

    name: str
    facts: str
    alt: str
    key: str
    svg: str = ""
    png: bytes = b""


@dataclass
class Gallery:
    """Maps, of which those without `svg` are drawn by the script when their class is asked for."""

    maps: list
    frame: str = ""  # an empty plane of the same size
    columns: int = 0  # 0: as many as fit
    kind: str = "gallery"

    @property
    def shown(self):
        return [one for one in self.maps if one.svg]

    @property
    def held_back(self):
        from freqkit.report.svg import data_uri

        return [[m.key, m.name, m.facts, m.alt, data_uri(m.png)] for m in self.maps if not m.svg]


@dataclass
class Pairs:
    """Images before and after, class by class: rows of (class, [dict before, after, said_before, said_after, ...])."""

    rows: list
    kind: str = "pairs"


@dataclass
class Drawing:
    """A finished figure: inline SVG (`freqkit.report.inline`)."""

    svg: str
    kind: str = "drawing"


@dataclass
class Panels:
    """Small figures side by side, (heading, inline SVG) each; `wide`: pixels that each needs at least; `least`: and
    that it gets, so that fewer may stand in a row."""

    drawings: list
    wide: int = 0
    least: int = 310
    kind: str = "panels"


@dataclass
class Facts:
    """Names and values, two columns of words."""

    rows: list
    kind: str = "facts"


@dataclass
class Text:
    """A paragraph, or preformatted lines that are folded away under `title`."""

    words: str
    title: str = ""
    kind: str = "text"


@dataclass
class Section:
    """A heading, what is under it, one line on how to read it, and (word, meaning) of what it says, folded away."""

    title: str
    blocks: list
    how: str = ""
    key: str = ""
    words: list = field(default_factory=list)


@dataclass
class Part:
    """What one kind of result puts on a page.

    Attributes:
        title: of the page when this part comes first.
        verdict: sentences; what was found, with numbers.
        figures: list of (number, what it counts) shown large.
        asked: `Facts` rows: what was asked.
        sections: list of `Section`.
        cost, provenance: `Facts` rows.
        cautions: sentences that the reader must see.
        advice: (words, command) of what to do next; the commands are whole (`freqkit.report.advice`).
        hero, hero_how: blocks that stand beside the verdict, and how to read them.
        found, masks, clean: `Reading`s of C classes, their maps [C, H, W] and the `CleanRates` of the whole images,
            for comparisons of runs; or None.
        subtitle: heading of the verdict beside other parts, when it is not the title.
        order: parts are shown in this order.
    """

    title: str
    verdict: list
    figures: list = field(default_factory=list)
    asked: list = field(default_factory=list)
    sections: list = field(default_factory=list)
    cost: list = field(default_factory=list)
    provenance: list = field(default_factory=list)
    cautions: list = field(default_factory=list)
    advice: list = field(default_factory=list)
    hero: list = field(default_factory=list)
    hero_how: str = ""
    subtitle: str = ""
    found: list | None = None
    masks: object = None
    clean: object = None
    order: int = 50


def render(parts, *, where, record=None, again=None):
    """The page of some parts as one str of HTML.

    Args:
        parts: list of `Part`, at least one.
        where: name of the run.
        record: JSON-ready dict that is shown folded away, whole.
        again: the command that reproduces the run.
    """
    from freqkit import __version__

    parts = sorted(parts, key=lambda part: part.order)
    sections, taken = [], set()
    for part in parts:
        for section in part.sections:
            key = section.key or "".join(c if c.isalnum() else "-" for c in section.title.lower()).strip("-")
            while key in taken:
                key += "-2"
            taken.add(key)
            section.key = key
            sections.append(section)
    return (
        environment()
        .get_template("report.html")
        .render(
            parts=parts,
            title=parts[0].title,
            where=where,
            sections=sections,
            asked=[(part.subtitle or part.title, part.asked) for part in parts if part.asked],
            made=[(part.subtitle or part.title, part.cost + part.provenance) for part in parts if part.cost],
            record=None if record is None else json.dumps(record, indent=2, ensure_ascii=False),
            again=again,
            version=__version__,
            style=(TEMPLATES / "style.css").read_text(encoding="utf-8"),
            script=(TEMPLATES / "report.js").read_text(encoding="utf-8"),
            definitions=_definitions(),
        )
    )


def environment():
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup, escape

    def shown(value):
        """What `{{ }}` puts on the page: text is made printable (and then escaped), our own markup is left alone."""
        return called(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    def data(value):
        """Lists of strings for the script."""
        value = [[called(one) for one in row] for row in value]
        # inside <script> nothing may end the element
        return Markup(json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"))

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, finalize=shown,
    )  # fmt: skip
    environment.filters["whole"] = Markup  # our own SVG, style and script; everything else is escaped
    environment.filters["lines"] = lambda text: escape(printable(text, keep="\n"))
    environment.filters["short"] = shorten
    environment.filters["data"] = data
    return environment


def _definitions():
    """Short definitions, shown when a heading of a table is pointed at."""
    from freqkit.report.terms import terms

    return {name: entry["short"] for name, entry in terms().items()}
