"""`freqkit table`: results of several runs side by side."""

import sys

import click

from freqkit.cli.app import app, command
from freqkit.cli.options import JSON, options
from freqkit.cli.tables import number, show_table
from freqkit.cli.voice import say, say_json, tell
from freqkit.text import printable


@command(app, "table")
@click.argument("sources", nargs=-1, required=True, type=click.Path(exists=True))
@click.option(
    "--rows",
    "lines",
    default="model",
    show_default=True,
    help="Columns that make a line, e.g. model,class or searcher,seed.",
)
@click.option("--columns", default="set,condition", show_default=True, help="Columns that make a column.")
@click.option("--metric", default="top-1", show_default=True, help="Which values; several as top-1,filtered top-1.")
@click.option("--model", "models", multiple=True, help="Only this model; may be repeated.")
@click.option("--set", "sets", multiple=True, help="Only this set; may be repeated.")
@click.option("--condition", "conditions", multiple=True, help="Only this condition; may be repeated.")
@click.option("--classes", "by_class", is_flag=True, help="Values of classes instead of those of whole sets.")
@click.option(
    "--format",
    "how",
    type=click.Choice(["table", "csv", "markdown", "timm", "json"]),
    default="table",
    show_default=True,
    help="timm: model, top1, top1_err, top5, top5_err of one --set.",
)
@click.option(
    "--timm",
    "timm_files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False),
    help="Also a results CSV of timm.",
)
@click.option(
    "--robustbench",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False),
    help="Also a model_info JSON of RobustBench.",
)
@click.option(
    "--autoattack",
    "attack_logs",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False),
    help="Also a log of AutoAttack, of the model that it is named after.",
)
@click.option("--store", type=click.Path(dir_okay=False), metavar="FILE", help="Add everything read to this store.")
@options(JSON)
def table(sources, how, as_json, **flags):
    """Pivot SOURCES: run directories and results of any measure, results.csv, stores (SQLite), published tables
    and CSVs of the released evaluation scripts.

    \b
    freqkit table runs/results.sqlite --metric "top-1,filtered top-1" --format markdown
    freqkit table runs/ood --set imagenet-a --condition "all, 200 logits" --format timm
    """
    from freqkit.errors import UsageError
    from freqkit.files.whole import write_rows
    from freqkit.results.attack_logs import read_autoattack
    from freqkit.results.load import rows_of
    from freqkit.results.rows import COLUMNS, NAMED, spell, unspell
    from freqkit.results.store import Store, markdown, pivot, read_robustbench, read_timm, timm_table

    how = "json" if as_json else how
    rows = []
    for source in sources:
        rows += rows_of(source)
    for path in flags["timm_files"]:
        rows += read_timm(path)
    rows += read_robustbench(flags["robustbench"])
    rows += [spell(row) for path in flags["attack_logs"] for row in read_autoattack(path)]
    if (store := flags["store"]) is not None:
        target = Store(store)
        read = [*sources, *(path for name in ("timm_files", "robustbench", "attack_logs") for path in flags[name])]
        added = target.add(rows, source=", ".join(map(str, read)))
        say(f"{added} rows added to {store}")
    for name in ("model", "set", "condition"):
        wanted = {*flags[f"{name}s"]}
        rows = [row for row in rows if not wanted or {row[name], spell(row, NAMED)[name]} & wanted]
    if how == "timm":
        sets, conditions = flags["sets"], flags["conditions"]
        if len(sets) != 1:
            raise UsageError("--format timm is of one set: give --set NAME.")
        names, found = timm_table(rows, sets[0], conditions[0] if conditions else "all")
    else:
        rows = [row for row in rows if (row["class"] != "") == flags["by_class"]]
        lines = [part.strip() for part in flags["lines"].split(",")]
        columns = [part.strip() for part in flags["columns"].split(",") if part.strip()]
        metric = [part.strip() for part in flags["metric"].split(",")]
        if own := {*lines, *columns} - {*COLUMNS}:  # what has a column of its own leaves the names
            rows = [{**unspell(row), **spell(row, own)} for row in rows]
        names, found = pivot(rows, lines=lines, columns=columns, metric=metric)
    if not found:
        known = sorted({row["metric"] for row in rows})
        raise UsageError(f"no row fits; the metrics there are {', '.join(known[:12]) or 'none'}.")
    if how == "json":
        say_json(found)
        return
    found = [{printable(name): printable(v) if isinstance(v, str) else v for name, v in row.items()} for row in found]
    names = [printable(name) for name in names]
    if how in ("csv", "timm"):
        write_rows(sys.stdout, names, found)
    elif how == "markdown":
        tell(markdown(names, found), keep="\n")
    else:
        texts = [
            [number(v) if isinstance(v, float) or v is None else str(v) for v in map(row.get, names)] for row in found
        ]
        show_table([(name, "left" if i == 0 else "right") for i, name in enumerate(names)], texts)
