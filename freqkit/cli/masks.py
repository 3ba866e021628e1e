"""`freqkit masks`: frequency maps in files."""

from pathlib import Path

import click

from freqkit.cli.app import app, command
from freqkit.cli.options import JSON, options
from freqkit.cli.tables import percent, show_table
from freqkit.cli.values import ResultFile
from freqkit.cli.voice import say, say_json


@app.group("masks")
def masks():
    """Import and look at frequency maps."""


@command(masks, "import")
@click.argument("pickle", type=click.Path(exists=True, dir_okay=False))
@click.option("--out", required=True, type=ResultFile("dfm.safetensors"), metavar="FILE", help="safetensors to write.")
@click.option(
    "--classes",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE",
    help="Names of the pickle's classes in its order, one a line.  [default: its own keys]",
)
@click.option("--rank", type=click.IntRange(0), default=0, show_default=True, help="Which mask of a list; 0: the best.")
@click.option("--overwrite", is_flag=True, help="Replace FILE.")
@options(JSON)
def import_(pickle, out, classes, rank, overwrite, as_json):
    """Read published maps (a pickle: dict class -> array or list of arrays); nothing in it is run.

    \b
    freqkit masks import published.pkl --out dfm.safetensors
    """
    from freqkit.data.class_lists import read_names
    from freqkit.errors import UsageError
    from freqkit.masks import import_pickle, save_dfm

    out = Path(out)
    if out.exists() and not overwrite:
        raise UsageError(f"--out must be a new file, or give --overwrite; {out} is there.")
    if not out.parent.is_dir():
        raise UsageError(f"--out must lie in a folder that is there; {out.parent} is not.")
    names = None
    if classes:
        names = read_names(classes)
    dfm = import_pickle(pickle, classes=names, rank=rank)
    save_dfm(out, dfm)
    if as_json:
        say_json({"out": str(out), **_facts(dfm)})
    else:
        say(f"{len(dfm)} maps of {dfm.masks.shape[1]}x{dfm.masks.shape[2]} written to {out}")


@command(masks, "show")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option("--out", type=ResultFile("dfms.png", ".png", ".svg"), metavar="PNG", help="Draw the maps, too.")
@options(JSON)
def show(file, out, as_json):
    """Which frequencies a file's maps keep: coverage per class, and a picture.

    \b
    freqkit masks show dfm.safetensors --out dfm.png
    """
    from freqkit.masks import load_dfm

    dfm = load_dfm(file)
    if out:
        from freqkit.errors import UsageError
        from freqkit.report import dfm_maps, save_figure

        if not Path(out).parent.is_dir():
            raise UsageError(f"--out must lie in a folder that is there; {Path(out).parent} is not.")
        save_figure(dfm_maps(dfm.masks, dfm.classes, title=Path(file).name), out)
    facts = _facts(dfm)
    if as_json:
        say_json(facts)
        return
    show_table(
        [("class", "left"), *((name, "right") for name in ("kept", "full weight", "power", "DC weight"))],
        [
            [
                row["class"],
                percent(row["touched"]),
                percent(row["full"]),
                percent(row["power"]),
                f"{row['dc']:g}",
            ]
            for row in facts["classes"]
        ],
        title=f"{len(dfm)} maps of {facts['size'][0]}x{facts['size'][1]}, preset {dfm.preset}",
        note="kept: share of bins with a weight above 0; power: mean squared weight",
    )


def _facts(dfm):
    shares = {name: values.tolist() for name, values in dfm.coverage._asdict().items()}
    return {
        "size": list(dfm.masks.shape[1:]),
        "preset": dfm.preset,
        "stage": dfm.stage,
        "seed": dfm.seed,
        "model_hash": dfm.model_hash,
        "data_hash": dfm.data_hash,
        "extra": dfm.extra,
        "classes": [
            {"class": name, **{share: values[place] for share, values in shares.items()}}
            for place, name in enumerate(dfm.classes)
        ],
    }
