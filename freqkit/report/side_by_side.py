"""Several runs on one page: models, seeds or searches side by side."""

from pathlib import Path

from freqkit.errors import UsageError
from freqkit.report import figures
from freqkit.report.blocks import Cell, Gallery, Map, Part, Section, Table, render
from freqkit.report.inline import drawing
from freqkit.report.pages import parts_of
from freqkit.report.provenance import duration
from freqkit.report.rates import scatter
from freqkit.report.readings import READINGS
from freqkit.report.svg import data_uri, percent, plane, plane_png, rate_bars
from freqkit.report.words import listed
from freqkit.text import shorten

SHOWN = 25  # classes whose maps are shown
CAUTIONS = 4  # that stand on the page
MARKS = "os^DvPX"  # of the runs
BARRED = 3  # runs up to which the table of classes has room for bars


def write_comparison(paths, out):
    """Write one page that compares runs class by class.

    Args:
        paths: two or more run directories (or files of `freqkit rates`).
        out: the HTML file to write; its folder must exist.

    Returns:
        Path of the page.

    Raises:
        UsageError: fewer than two, or one that holds no rates of classes.
    """
    from freqkit.files.whole import atomic_write

    if len(paths) < 2:
        raise UsageError(f"a comparison needs two runs or more; got {len(paths)}.")
    runs = []
    for path, name in zip(paths, _names(paths), strict=True):
        parts, record = parts_of(path)
        rated = sorted((part for part in parts if part.found), key=lambda part: part.order)
        if not rated:
            raise UsageError(f"{path}: holds no rates of classes to compare.")
        masks = next((part.masks for part in parts if part.masks is not None), None)
        runs.append((name, rated[0], masks, record or {}))
    page = render([_part(runs)], where=", ".join(run[0] for run in runs))
    out = Path(out)
    with atomic_write(out, "w") as file:
        file.write(page)
    return out


def _names(paths):
    """The last part of each path, with the folder before it where two are equal."""
    paths = [Path(path).resolve() for path in paths]
    short = [path.name for path in paths]
    return [path.name if short.count(path.name) == 1 else f"{path.parent.name}/{path.name}" for path in paths]


def _part(runs):
    by_run = [{one.name: one for one in part.found} for _, part, _, _ in runs]
    classes = list(dict.fromkeys(name for found in by_run for name in found))
    common = [name for name in classes if all(name in found for found in by_run)]

    def strength(name):
        return max((found[name].difference for found in by_run if name in found), default=-2)

    classes.sort(key=lambda name: -strength(name) if strength(name) == strength(name) else 2)
    sections = [_runs_table(runs, by_run), _class_table(runs, by_run, classes)]
    if all(masks is not None for _, _, masks, _ in runs):
        sections.append(_maps(runs, by_run, classes))
        agreement = _agreement(runs, common)
        if agreement:
            sections.append(agreement)
    return Part(
        f"{len(runs)} runs compared",
        _verdict(runs, by_run, common),
        [(f"{sum(one.word == 'shortcut' for one in found.values()):,}", f"shortcuts in {run[0]}")
         for run, found in zip(runs, by_run, strict=True)][:5],
        sections=sections, cautions=_cautions(runs), **_scatter(runs, by_run),
    )  # fmt: skip


def _cautions(runs):
    """What the runs' own pages warn of; what several say is said once, and first."""
    found = {}
    for name, part, _, _ in runs:
        for text in part.cautions:
            found.setdefault(text, []).append(name)
    order = sorted(found.items(), key=lambda one: -len(one[1]))
    said = [f"{'Every run' if len(names) == len(runs) else listed(names)}: {text}" for text, names in order]
    rest = len(said) - CAUTIONS
    return said[:CAUTIONS] + ([f"{rest} more cautions stand on the runs' own pages."] if rest > 0 else [])


def _mean(values):
    values = [value for value in values if value == value]
    return sum(values) / len(values) if values else float("nan")


def _verdict(runs, by_run, common):
    counts = [(sum(one.word == "shortcut" for one in found.values()), len(found), run[0])
              for run, found in zip(runs, by_run, strict=True)]  # fmt: skip
    sentences = [
        "Classes with a shortcut: " + ", ".join(f"{name} {count:,} of {total:,}" for count, total, name in counts) + "."
    ]
    means = sorted(((_mean(one.difference for one in found.values()), run[0])
                    for run, found in zip(runs, by_run, strict=True)), reverse=True)  # fmt: skip
    sentences.append(f"Mean TPR − FPR: {', '.join(f'{name} {percent(value)}' for value, name in means)}.")
    shared = [name for name in common if all(found[name].word == "shortcut" for found in by_run)]
    if shared:
        sentences.append(f"{listed(shared)}: a shortcut in every run.")
    apart = [
        name for name in common
        if min(found[name].difference_interval[1] for found in by_run)
        < max(found[name].difference_interval[0] for found in by_run)
    ]  # fmt: skip
    if apart:
        sentences.append(
            f"{listed(apart)}: the runs differ by more than their 95% intervals (each interval by itself; among"
            f" {len(common):,} classes some may do so by chance)."
        )
    elif common:
        sentences.append("In no class do the 95% intervals of two runs lie apart.")
    return sentences


def _runs_table(runs, by_run):
    columns = [("run", "left", None), ("model", "left", "model"), ("shortcuts", "right", "frequency shortcut"),
               ("clean accuracy", "right", "clean accuracy"),
               ("mean TPR", "right", "TPR"), ("mean FPR", "right", "FPR"), ("mean TPR − FPR", "right", "TPR-FPR"),
               ("mean kept", "right", "coverage"),
               ("forwards", "right", "forward"), ("time", "right", None)]  # fmt: skip
    rows = []
    for (name, part, _, record), found in zip(runs, by_run, strict=True):
        whole = None if part.clean is None else part.clean.accuracy
        ones = list(found.values())
        values = [_mean(getattr(one, key) for one in ones) for key in ("tpr", "fpr", "difference", "kept")]
        shortcuts = sum(one.word == "shortcut" for one in ones)
        seconds, forwards = record.get("seconds"), record.get("forwards")
        rows.append(
            [
                Cell(name),
                Cell(record.get("model", {}).get("name", "–")),
                Cell.of(shortcuts, f"{shortcuts:,} of {len(ones):,}"),
                *(Cell.of(value, percent(value, 1)) for value in (whole, *values)),
                Cell.of(forwards, "–" if forwards is None else f"{forwards:,}"),
                Cell.of(seconds, "–" if seconds is None else duration(seconds)),
            ]
        )
    how = (
        "One line per run; means are over its classes. Clean accuracy: the whole images that are recognised, before"
        " anything is filtered."
    )
    return Section("Runs", [Table(columns, rows)], how, key="runs")


def _class_table(runs, by_run, classes):
    columns = [("class", "left", None)]
    bars = len(runs) <= BARRED
    for run in runs:
        columns += [(run[0], "left", "TPR-FPR"), ("TPR − FPR", "right", "TPR-FPR")] if bars else [
            (run[0], "right", "TPR-FPR")]  # fmt: skip
    columns.append(("range", "right", None))
    rows = []
    for name in classes:
        row, values = [Cell(name, href=f"#map-{classes.index(name)}-0")], []
        for found in by_run:
            one = found.get(name)
            if one is None:
                row += [Cell("–"), Cell.of(None, "–")] if bars else [Cell.of(None, "–")]
                continue
            values.append(one.difference)
            if bars:
                drawn = rate_bars(one.tpr, one.fpr, one.tpr_interval, one.fpr_interval)
                row.append(Cell.of(one.difference, "", svg=drawn))
            row.append(Cell.of(one.difference, percent(one.difference), kind=f"r-{one.word}"))
        spread = max(values) - min(values) if len(values) > 1 else None
        rows.append([*row, Cell.of(spread, percent(spread))])
    drawn = "TPR (blue) and FPR (orange) with 95% intervals, and TPR − FPR" if bars else "TPR − FPR"
    how = (
        f"{drawn} of each class through its own map in each run; the number is coloured by its reading"
        f" ({', '.join(READINGS.values())}). Range: highest minus lowest."
    )
    return Section("Classes", [Table(columns, rows, search=True)], how, key="classes")


def _scatter(runs, by_run):
    """The scatter of all runs, a colour and a mark for each: keywords of `Part`."""
    groups = [
        (shorten(name), (MARKS[place % len(MARKS)], figures.CYCLE[place % len(figures.CYCLE)], True),
         [(one, f"{one.name} ({name})", "") for one in found.values()])
        for place, ((name, *_), found) in enumerate(zip(runs, by_run, strict=True))
    ]  # fmt: skip
    alt = f"TPR against FPR of the classes of {len(runs)} runs."
    how = (
        "One mark per class and run. Top left: recognised, and only when it is there. Names stand where there is room;"
        " point at a mark for its class and run."
    )
    hero = drawing(lambda axis: scatter(axis, groups), 4.6, 4.5 + 0.1 * len(runs), alt, narrow=3.25 + 0.15 * len(runs))
    return {"hero": [hero], "hero_how": how}


def _maps(runs, by_run, classes):
    maps = []
    for place, name in enumerate(classes[:SHOWN]):
        for column, ((label, part, masks, _), found) in enumerate(zip(runs, by_run, strict=True)):
            names = [one.name for one in part.found]
            if name not in names or len(masks) != len(names):
                continue
            one, values = found[name], masks[names.index(name)]
            facts = f"{shorten(label)}: TPR {percent(one.tpr)}, FPR {percent(one.fpr)}, keeps {percent(one.kept, 1)}"
            alt = f"Map of {name} in {label}: keeps {percent(one.kept, 1)} of the frequencies."
            drawn = plane(tuple(values.shape), alt, href=data_uri(plane_png(values)))
            maps.append(Map(name, facts, alt, f"map-{place}-{column}", drawn))
    how = "Class by class, the maps of all runs beside each other; blue frequencies are kept."
    if len(classes) > SHOWN:
        how += f" The {SHOWN} classes of largest TPR − FPR."
    return Section("Maps side by side", [Gallery(maps, columns=len(runs) * max(1, 4 // len(runs)))], how, key="maps")


def _agreement(runs, common):
    """How much the maps of one class in two runs have in common, against chance."""
    shapes = {tuple(masks.shape[1:]) for _, _, masks, _ in runs}
    if len(shapes) > 1 or not common:
        return None
    rows = []
    for i in range(len(runs)):
        for j in range(i + 1, len(runs)):
            shares, times = [], []
            for name in common:
                kept = []
                for _, part, masks, _ in (runs[i], runs[j]):
                    kept.append(masks[[one.name for one in part.found].index(name)] > 0)
                both, either = int((kept[0] & kept[1]).sum()), int((kept[0] | kept[1]).sum())
                chance = int(kept[0].sum()) * int(kept[1].sum()) / kept[0].numel()
                if either:
                    shares.append(both / either)
                if chance:
                    times.append(both / chance)
            rows.append([Cell(f"{runs[i][0]} and {runs[j][0]}"), Cell.of(_mean(shares), percent(_mean(shares), 1)),
                         Cell.of(_mean(times), f"{_mean(times):.2f}×"),
                         Cell.of(len(common), str(len(common)))])  # fmt: skip
    columns = [("runs", "left", None), ("bins in common (of either)", "right", None),
               ("against chance", "right", None),
               ("classes", "right", None)]  # fmt: skip
    how = (
        "Bins that both maps of a class keep, as a share of those that either keeps, and against what two blind maps of"
        " these sizes would share (1× is chance); means over the classes that all runs have."
    )
    return Section("Do the maps agree?", [Table(columns, rows)], how, key="agreement")
