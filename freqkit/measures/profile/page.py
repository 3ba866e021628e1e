"""What a profile puts on the page: the verdict, a figure for each part, and other models beside it."""

from freqkit.errors import UsageError
from freqkit.measures.profile.parts import PARTS, part_of
from freqkit.measures.profile.result import MAIN, NAME, ProfileResult, references
from freqkit.report import figures
from freqkit.report.blocks import Cell, Part, Section, Table, Text
from freqkit.report.inline import drawing
from freqkit.report.pages import named, part
from freqkit.report.svg import number, percent
from freqkit.report.words import span

ROWS = 16  # of a part's table
SHARES = {"recognised", "LPP", "HPP", "after PGD"}  # of MAIN, written as percent
FIGURE = (6.6, 3.3)


def plot_profile(result, ax=None, *, of=None, title=None):
    """The figure of one part of the first model; by default its pass curves, or the first part that has a figure.

    Args:
        result: a `ProfileResult`. ax: a matplotlib axis; None: a figure of its own. of: the part. title: a line above.

    Returns:
        A matplotlib Figure, or `ax`.
    """
    drawn = {name: one for (folder, name), one in result.found.items()
             if folder == result.models[0]["folder"] and part_of(name).draw is not None}  # fmt: skip
    if of is not None and of not in drawn:
        raise UsageError(f"plot_profile: of must be one of {', '.join(drawn)}; got {of!r}.")
    axis = figures.new_figure(*FIGURE).subplots() if ax is None else ax
    name = of or ("pass-curves" if "pass-curves" in drawn else next(iter(drawn), None))
    if name in drawn:
        part_of(name).draw(drawn[name], axis)
    if title:
        axis.set_title(title, fontsize=9.5, loc="left")
    return figures.literal(axis.figure if ax is None else axis)


def _said(heading, row):
    """A number of MAIN with its interval, as a cell."""
    if row is None or row["value"] is None:
        return Cell.of(None, "–")
    value, low, high = row["value"], row["low"], row["high"]
    if heading in SHARES:
        return Cell.of(value, percent(value) if low is None else f"{percent(value)} ({span((low, high))})")
    return Cell.of(value, number(value) if low is None else f"{number(value)} ({number(low)} to {number(high)})")


def beside(result, others):
    """The table of the profile's models and others'."""
    lines = []
    for one in result.models:
        cells = [
            _said(heading, result.value(one, name, metric, condition)) for heading, name, metric, condition in MAIN
        ]
        lines.append([Cell(one["name"]), Cell("here"), *cells])
    for one in others:
        cells = [
            _said(heading, dict(zip(("value", "low", "high"), one["numbers"].get(heading, (None,) * 3), strict=True)))
            for heading, *_ in MAIN
        ]
        lines.append([Cell(one["name"]), Cell(one.get("what") or "reference"), *cells])
    return Table(
        [("model", "left", None), ("from", "left", None), *((heading, "right", None) for heading, *_ in MAIN)], lines,
        search=len(lines) > 8,
    )  # fmt: skip


def _table(rows):
    """The tidy rows of a part."""
    kept = rows[:ROWS]
    lines = []
    for row in kept:
        place = " ".join(str(word) for word in (row["class"], row.get("filter") or "", row["condition"]) if word)
        where = " ".join(f"{name} {row[name]:g}" for name in ("cutoff", "radius") if row.get(name) is not None)
        limits = "–" if row["low"] is None else f"{row['low']:.3g} to {row['high']:.3g}"
        lines.append([
            Cell(row["metric"]), Cell(place), Cell(where),
            Cell.of(row["value"], "undefined" if row["value"] is None else f"{row['value']:.3g}"), Cell(limits),
            Cell.of(row["n"], "" if row["n"] is None else f"{row['n']:,}"),
        ])  # fmt: skip
    return Table([("number", "left", None), ("of", "left", None), ("where", "left", None), ("value", "right", None),
                  ("95% interval", "left", None), ("images", "right", None)], lines)  # fmt: skip


def _section(result, one, about):
    """One part of one model."""
    known, found = part_of(about["name"]), result.found.get((one["folder"], about["name"]))
    several = len(result.models) > 1
    title = f"{about['title']}: {one['name']}" if several else about["title"]
    says = known.says if known is not None else ""
    if about["state"] == "skipped":
        return Section(title, [Text(f"Not asked: {about['reason']}.")], says, key=f"{about['name']}-{one['folder']}")
    blocks: list = [Text(about["sentence"])]
    if found is not None and known is not None and known.draw is not None:
        blocks.append(drawing(lambda axis: known.draw(found, axis), *FIGURE, about["sentence"]))
    more = len(about["numbers"]) - ROWS
    if not several:
        blocks.append(_table(about["numbers"]))
    words = f"{says} Of {about['images']:,} images; {about['forwards']:,} forwards"
    words += f" and {about['backwards']:,} backwards." if about["backwards"] else "."
    if about["reason"]:
        words += f" Stopped: {about['reason']}."
    if not several and more > 0:
        words += f" {more} more numbers stand in profile.csv."
    return Section(title, blocks, words, key=f"{about['name']}-{one['folder']}")


@part(named(NAME))
def profile_part(path, record):
    """A profile."""
    result = ProfileResult.load(path)
    first, others = result.models[0], [*references(), *result.definition.get("study", [])]
    headings = [(heading, result.value(first, name, metric, condition)) for heading, name, metric, condition in MAIN]
    large = [(_said(heading, row).text.partition(" (")[0], heading) for heading, row in headings
             if row is not None and row["value"] is not None] if len(result.models) == 1 else []  # fmt: skip
    names = [one.name for one in PARTS]
    compared = Section(
        "Beside other models", [beside(result, others)],
        "Shares, cycles/image and octaves, with 95% intervals. LPP and HPP: the mean share of the accuracy that "
        "low- and high-pass filters leave; here discs that keep DC, in the study half-open squares, cut to [0, 1]. "
        "Numbers of other images or filters tell orders, not digits.", key="beside",
    )  # fmt: skip
    sections = [
        *(
            _section(result, one, about)
            for name in names
            for one in result.models
            for about in one["parts"]
            if about["name"] == name
        ),
    ]
    sections.insert(0 if len(result.models) > 1 else len(sections), compared)  # fmt: skip
    asked = [("Models", ", ".join(one["name"] for one in result.models)),
             ("Budget", f"{first['plan']['budget']['amount']:g} {first['plan']['budget']['unit']} for each model"),
             ("Images", f"{first['record'].get('data', {}).get('images', '')}")]  # fmt: skip
    cost = [(about["title"], f"{about['state']}: {about['images']:,} images, {about['forwards']:,} forwards, "
             f"{about['backwards']:,} backwards") for about in first["parts"]]  # fmt: skip
    title = f"What {first['name']} takes from frequencies" if len(result.models) == 1 else "Profiles beside each other"
    hero = []
    if len(result.models) == 1 and any(
        folder == first["folder"] and part_of(name).draw for folder, name in result.found
    ):
        hero = [drawing(lambda axis: plot_profile(result, axis), 7.2, 3.6, "Pass curves.", narrow=3.4)]
    return Part(
        title, result.verdict or ["Nothing fitted the budget."], large[:4], asked, sections, cost,
        [("freqkit", str(result.record.get("versions", {}).get("freqkit", "")))], hero=hero,
        hero_how="Recognised when only low, only high or only a band of frequencies is left.", order=1,
        subtitle="Profile",
    )  # fmt: skip
