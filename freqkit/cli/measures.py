"""The commands of all measures, by the registry: flags from a measure's options, the table from its `printed`."""

import functools
import inspect
import warnings
from pathlib import Path

import click

from freqkit.cli.app import app, command
from freqkit.cli.options import (
    DATA,
    ENGINE,
    GOING_ON,
    JSON,
    LOG,
    MODEL,
    PUBLISHED_ORDER,
    RUN,
    asked,
    of_fields,
    options,
    scoring_of,
    set_defaults,
    take_published_order,
    the_images,
    the_model,
)
from freqkit.cli.progress import watcher
from freqkit.cli.searchers import clean_facts, show_clean
from freqkit.cli.tables import number, percent, show_table
from freqkit.cli.values import ResultFile
from freqkit.cli.voice import say, say_json, tell
from freqkit.errors import UsageError
from freqkit.measures.running import file_of
from freqkit.options import Directory
from freqkit.registry import MEASURES, module_of, stem_of
from freqkit.report.words import p_words
from freqkit.text import called

LIMIT = 30  # rows that are printed
FORMS = {
    "text": str, "count": str, "%": percent, "0%": functools.partial(percent, digits=0),
    "number": functools.partial(number, digits=2), "p": p_words,
}  # fmt: skip
MAPS = (
    click.option(
        "--dfm",
        required=True,
        type=click.Path(exists=True),
        metavar="FILE",
        help="Frequency maps: dfm.safetensors of a search, dfm-5.safetensors of `freqkit dfm`, an import, or the "
        "directory of a run.",
    ),
    click.option("--stage", type=click.IntRange(1), metavar="N", help="Of a search with stages: the maps of stage N."),
    click.option("--rest", is_flag=True, help="Test on what --split-fraction leaves, not on the split itself."),
    *PUBLISHED_ORDER,
)


@functools.cache
def __getattr__(name):
    """The command of a measure."""
    if name not in MEASURES:
        raise AttributeError(name)
    module = module_of(MEASURES, name)
    measure = getattr(module, stem_of(MEASURES, name))
    own, takes = measure.groups[0], inspect.signature(measure).parameters
    asks, filters, goes_on = "model" in takes, "dfm" in takes, runs_in_a_directory(name)
    if goes_on:
        folder = click.Path(file_okay=False)
        out = (click.option("--out", type=folder, metavar="DIR", help="Where the results shall stand."), *GOING_ON)
    else:
        file = ResultFile(f"{name}.safetensors")
        out = (
            click.option("--out", type=file, metavar="FILE", help="Write FILE (safetensors), .png and maybe .csv."),
            click.option("--overwrite", is_flag=True, help="Replace FILE."),
        )
    presets = getattr(module, "OF_IMAGES", {})

    @command(app, name, leaves_records=True, help=module.HELP)
    @options(MODEL * asks, DATA, MAPS * filters, of_fields(own), out, (*RUN, *ENGINE) * asks, LOG, JSON)
    def run(out, overwrite, log_json, as_json, resume=False, **flags):
        from freqkit.engine.ranks import join
        from freqkit.results.released import dfm_of

        context = click.get_current_context()
        if flags.get("preset") in presets:
            set_defaults(context, presets[flags["preset"]])
            flags = {name: context.params[name] for name in flags}
        if filters:
            take_published_order(context)
            flags = {name: context.params[name] for name in flags}
            fraction = flags["split_fraction"]
            if flags["rest"] and (fraction is None or fraction >= 1):
                raise UsageError("--rest needs --split-fraction below 1: the share on which the maps were selected.")
        settings = asked(flags, own)
        if goes_on:
            settings.update(out=out, resume=resume, overwrite=overwrite)
        else:
            out = None if out is None else _new(out, overwrite)
        with join() as ranks, watcher(log=log_json) as progress:
            given = [the_model(flags)] if asks else []
            given.append(_images(flags, *given))
            if asks:
                settings.update(scoring_of(flags))
            if filters:
                given.append(dfm_of(flags["dfm"], flags["stage"]))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", _selected())  # said below, in the command line's words
                result = measure(*given, progress=progress, **settings)
        if ranks.first:
            if out is not None and goes_on:
                out = file_of(out, name)
            elif out is not None:
                result.save(out)
            _show(result, module.printed(result), out, as_json)

    return run


def runs_in_a_directory(name):
    """Whether a measure's `out` is the directory of a run that can go on, and no file."""
    return Directory in getattr(module_of(MEASURES, name), stem_of(MEASURES, name)).groups


def _selected():
    from freqkit.measures import SelectedOnTestSet

    return SelectedOnTestSet


def _new(out, overwrite):
    """The path of a file that is to be written."""
    out = Path(out)
    if out.exists() and not overwrite:
        raise UsageError(f"--out must be a new file, or give --overwrite; {out} is there.")
    if not out.parent.is_dir():
        raise UsageError(f"--out must lie in a folder that is there; {out.parent} is not.")
    return out


def _images(flags, model=None):
    """The images, or with --rest those that the selection leaves."""
    preset = flags.get("preset")
    if not flags.get("rest"):
        return the_images(flags, model=model, preset=preset)
    whole = the_images({**flags, "split_fraction": None, "published_order": False}, model=model, preset=preset)
    split = whole.published_split if flags["published_order"] else whole.split
    return split(flags["split_fraction"], flags["data_seed"])[1]


def _show(result, printed, out, as_json):
    """Draw and print what was found; `out`: its file, or None."""
    if getattr(result, "selected_on_test_set", None):
        say(
            "Warning: these maps were selected on the very images they are tested on, so the rates are too good. "
            "Search with --split-fraction 0.5, and test with --split-fraction 0.5 --rest."
        )
    if out is not None:
        from freqkit.report import save_figure

        save_figure(result.plot(), out.with_suffix(".png"))
    asks = hasattr(result, "clean")
    if as_json:
        say_json({**({"clean": clean_facts(result.clean)} if asks else {}), **printed.facts})
        return
    if asks:
        show_clean(result.clean)
    for caution in printed.cautions:
        tell(f"Caution: {caution}")
    more = len(printed.rows) - LIMIT
    notes = [printed.note, f"{more} more classes, --out writes all" if more > 0 else None]
    rows = [_cells(row, printed.columns) for row in printed.rows[:LIMIT]]
    if printed.last is not None:
        rows.append((_cells(printed.last, printed.columns), "bold"))
    show_table(
        [(heading, "left" if form == "text" else "right") for heading, form in printed.columns],
        rows,
        title=printed.title,
        note="; ".join(filter(None, notes)) or None,
    )
    if printed.verdict:
        say(called(printed.verdict))
    if out is not None:
        beside = [path.name for path in (out.with_suffix(".csv"), out.with_suffix(".png")) if path.is_file()]
        say(f"Everything is in {' and '.join([', '.join([str(out), *beside[:-1]]), *beside[-1:]])}")


def _cells(row, columns):
    return [
        " .. ".join(FORMS[form](one) for one in (value if isinstance(value, tuple) else (value,)))
        for value, (_, form) in zip(row, columns, strict=True)
    ]
