"""`freqkit rates`: how well each class is told apart through its own frequencies."""

import warnings
from pathlib import Path

import click

from freqkit.cli.app import app, command
from freqkit.cli.options import (
    DATA,
    ENGINE,
    ENGINE_KEYS,
    JSON,
    LOG,
    MODEL,
    PUBLISHED_ORDER,
    RUN,
    options,
    side_of,
    take_published_order,
    the_images,
    the_model,
)
from freqkit.cli.progress import watcher
from freqkit.cli.searchers import clean_facts, show_clean
from freqkit.cli.tables import percent, show_table
from freqkit.cli.values import ResultFile, resolve_device
from freqkit.cli.voice import say, say_json


@command(app, "rates", leaves_records=True)
@options(MODEL, DATA)
@click.option(
    "--dfm",
    required=True,
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE",
    help="Frequency maps: dfm.safetensors of a search, dfm-5.safetensors of `freqkit dfm`, or an import.",
)
@click.option("--rest", is_flag=True, help="Test on what --split-fraction leaves, not on the split itself.")
@options(PUBLISHED_ORDER)
@click.option(
    "--interval", type=click.Choice(["wilson", "bootstrap"]), default="wilson", show_default=True, help="Which."
)
@click.option("--confidence", type=click.FloatRange(0, 1, True, True), default=0.95, show_default=True)
@click.option("--resamples", type=click.IntRange(100), default=2000, show_default=True, help="Of the bootstrap.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the bootstrap.")
@click.option(
    "--out", type=ResultFile("rates.safetensors"), metavar="FILE", help="Write FILE (safetensors), .csv and .png."
)
@click.option("--overwrite", is_flag=True, help="Replace FILE.")
@options(RUN, ENGINE, LOG, JSON)
def rates(dfm, rest, interval, confidence, resamples, seed, out, overwrite, log_json, as_json, **flags):
    """Ask about every image through every class's map: TPR, FPR and their difference, with intervals.

    A high TPR alone is no shortcut: a model that calls everything that class has it, too. TPR - FPR is 0
        then.

    \b
    freqkit rates --model cifar_resnet20 --weights resnet20.safetensors --data cifar10/test \\
                  --split-fraction 0.5 --rest --dfm runs/dfm/dfm-5.safetensors
    """
    from freqkit.errors import UsageError
    from freqkit.measures import SelectedOnTestSet
    from freqkit.measures import rates as measure
    from freqkit.measures.rates import readings_of
    from freqkit.report.readings import READINGS, shortcuts_sentence

    context = click.get_current_context()
    take_published_order(context)
    flags = {name: context.params[name] for name in flags}
    fraction = flags["split_fraction"]
    if rest and (fraction is None or fraction >= 1):
        raise UsageError("--rest needs --split-fraction below 1: the share on which the maps were selected.")
    if out is not None:
        out = Path(out)
        if out.exists() and not overwrite:
            raise UsageError(f"--out must be a new file, or give --overwrite; {out} is there.")
        if not out.parent.is_dir():
            raise UsageError(f"--out must lie in a folder that is there; {out.parent} is not.")
    model = the_model(flags)
    whole = {**flags, "split_fraction": None, "published_order": False}
    images = the_images(whole if rest else flags, size=side_of(model))
    if rest:
        split = images.published_split if flags["published_order"] else images.split
        images = split(fraction, flags["data_seed"])[1]
    with watcher(log=log_json) as progress, warnings.catch_warnings():
        warnings.simplefilter("ignore", SelectedOnTestSet)  # said below, in the command line's words
        result = measure(
            model, images, dfm, interval=interval, confidence=confidence, resamples=resamples, seed=seed,
            batch_size=flags["batch_size"], device=resolve_device(flags["device"]), progress=progress,
            **{key: flags[key] for key in ENGINE_KEYS},
        )  # fmt: skip
    if result.selected_on_test_set:
        say(
            "Warning: these maps were selected on the very images they are tested on, so the rates are too good. "
            "Search with --split-fraction 0.5, and test with --split-fraction 0.5 --rest."
        )
    if out is not None:
        from freqkit.report import plot_rates, save_figure

        result.save(out)
        save_figure(plot_rates(result), out.with_suffix(".png"))
    found = readings_of(result)
    words = {one.name: READINGS[one.word] for one in found}
    rows = [{**row, "reading": words[row["class"]]} for row in result.table()]
    rows.sort(key=lambda row: -_number(row["TPR-FPR"]))
    if as_json:
        facts = {
            "clean": clean_facts(result.clean),
            "classes": rows,
            "definition": result.definition,
            "selected_on_test_set": result.selected_on_test_set,
            "forwards": result.record["forwards"],
        }
        say_json(facts)
        return
    show_clean(result.clean)
    show_table(
        [
            ("class", "left"),
            ("reading", "left"),
            *((name, "right") for name in ("clean TPR", "clean FPR")),
            *((name, "right") for name in ("TPR", "FPR", "TPR-FPR")),
            (f"{100 * confidence:g}% interval", "right"),
            *((name, "right") for name in ("still", "kept")),
        ],
        [
            [
                row["class"],
                row["reading"],
                *(percent(row[name]) for name in ("clean TPR", "clean FPR", "TPR", "FPR", "TPR-FPR")),
                f"{percent(row['TPR-FPR low'])} .. {percent(row['TPR-FPR high'])}",
                *(percent(row[name]) for name in ("still recognised", "coverage")),
            ]
            for row in rows[:30]
        ],
        title=f"{len(images)} images, each class seen only through its map",
        note="still: of the images that are recognised whole, those that are through the map, too"
        + (f"; {len(rows) - 30} more classes, --out writes all" if len(rows) > 30 else ""),
    )
    say(shortcuts_sentence(found))
    if out is not None:
        say(f"Everything is in {out}, {out.with_suffix('.csv').name} and {out.with_suffix('.png').name}")


def _number(value):
    return value if value == value else -2.0
