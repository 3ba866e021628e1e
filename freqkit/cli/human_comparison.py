"""`freqkit human-comparison`: networks on the 17 sets of the comparison with people."""

from pathlib import Path

import click

from freqkit.cli.app import app, command
from freqkit.cli.evaluate import loader_of
from freqkit.cli.options import ENGINE, GOING_ON, JSON, LOG, MODEL, RUN, asked, of_fields, options, scoring_of
from freqkit.cli.progress import watcher
from freqkit.cli.tables import number, percent, show_table
from freqkit.cli.voice import say, say_json
from freqkit.measures.human_comparison import NAME, Comparing

NOTES = 6  # that are said
COLUMNS = ("images", "accuracy", "OOD accuracy", "kappa")


@command(app, "human-comparison", leaves_records=True)
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="NAME",
    help="NAME, NAME=WEIGHTS, a wildcard, or @FILE of such lines; may be given several times.",
)
@options(MODEL[1:])
@click.option(
    "--data-dir",
    "--data",
    type=click.Path(exists=True, file_okay=False),
    metavar="ROOT",
    help="Folder that holds the sets.",
)
@click.option("--on", metavar="LIST", help="Which sets, as colour,edge.  [default: all that are there]")
@click.option("--relaxed", is_flag=True, help="Accept sets with missing conditions or other counts than published.")
@click.option(
    "--limit-per-class", type=click.IntRange(1), metavar="N", help="At most N images of each class and condition."
)
@click.option(
    "--observers",
    multiple=True,
    type=click.Path(exists=True),
    metavar="PATH",
    help="Raw data of people or other models: SET_*.csv, or a folder of them; may be given several times.",
)
@options(of_fields(Comparing), RUN, ENGINE)
@click.option("--out", type=click.Path(file_okay=False), metavar="DIR", help="Run directory.")
@options(GOING_ON)
@click.option(
    "--raw", type=click.Path(file_okay=False), metavar="DIR", help="Write the answers there as such raw data."
)
@options(LOG, JSON)
def human_comparison(models, data_dir, on, observers, out, raw, log_json, as_json, **flags):
    """Accuracy in sixteen categories, ood_mean, and whether networks err on the same images as people.

    \b
    freqkit human-comparison --model resnet50.a1_in1k --pretrained --data model-vs-human/datasets \\
                             --observers model-vs-human/raw-data --out runs/people
    """
    from freqkit.data import open_sets
    from freqkit.data.test_sets.known import place_of
    from freqkit.data.test_sets.model_vs_human import PREFIX, SETS
    from freqkit.engine.ranks import join
    from freqkit.errors import UsageError
    from freqkit.measures import human_comparison as measure
    from freqkit.models import model_names

    names = model_names(models, pretrained=flags["pretrained"]) if models else []
    if names and data_dir is None:
        raise UsageError("--data must be given, the folder that holds the sets.")
    if not names and data_dir is not None:
        raise UsageError("--model must be given, to be asked about the images of --data.")
    wanted = [word.strip() for word in on.split(",")] if on else None
    strange = [name for name in wanted or () if name not in SETS]
    if strange:
        raise UsageError(f"--on must list sets of model-vs-human ({', '.join(SETS)}); got {strange[0]!r}.")
    there = [] if data_dir is None else [name for name in SETS if wanted or place_of(PREFIX + name, data_dir)]
    there = [name for name in there if wanted is None or name in wanted]
    if data_dir is not None and not there:
        raise UsageError(f"--data must hold sets of model-vs-human (colour, edge, ...); {data_dir} holds none.")
    taken = {name: flags[name] for name in ("relaxed", "limit_per_class")}
    with join() as ranks, watcher(log=log_json) as progress:
        sets = open_sets([PREFIX + name for name in there], data_dir, seed=flags["seed"], **taken)
        load = loader_of(names, flags)
        result = measure(
            [(name, load(name, own)) for name, own in names], sets, observers, out=out, progress=progress,
            **{name: flags[name] for name in ("resume", "overwrite")}, **asked(flags, Comparing), **scoring_of(flags),
        )  # fmt: skip
    if ranks.first:
        if raw is not None:
            say(f"{len(result.write_raw(raw))} tables of raw data written to {raw}")
        _show(result, out, as_json)
    if result.record["failures"]:
        first = result.record["failures"][0]
        say(f"{len(result.record['failures'])} could not be asked, the first: {first['model']}: {first['error']}")
        raise click.exceptions.Exit(1)


def _show(result, out, as_json):
    from freqkit.measures.human_comparison.page import sentences
    from freqkit.report import save_figure

    if out is not None:
        save_figure(result.plot(), Path(out) / f"{NAME}.png")
    table = result.table()
    if as_json:
        say_json(
            {
                "table": table, "ood_mean": {name: result.ood_mean(r) for r, name in enumerate(result.makers)},
                "people": [result.makers[r] for r in result.people], "failures": result.record["failures"],
                "notes": result.record["notes"], "definition": result.definition,
                "forwards": result.record["forwards"],
            }
        )  # fmt: skip
        return
    for note in result.record["notes"][:NOTES]:
        say(f"Note: {note}.")
    show_table(
        [("model", "left"), ("set", "left"), *((name, "right") for name in COLUMNS)],
        [
            [row["model"], row["set"], str(row["images"]), percent(row["accuracy"]), percent(row["OOD accuracy"]),
             number(row["error consistency"], 2)]
            for row in table
        ],
        title="Right among sixteen categories; OOD: without control and hardest conditions",
        note="kappa: error consistency with people" if result.people else None,
    )  # fmt: skip
    for sentence in sentences(result):
        say(sentence)
    if out is not None:
        say(f"Everything is in {out}: {NAME}.safetensors, .csv, .png")
