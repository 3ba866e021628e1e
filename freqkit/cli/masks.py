"""`freqkit masks`: frequency maps in files."""

from pathlib import Path

import click

from freqkit.cli.app import app, command
from freqkit.cli.options import JSON, options
from freqkit.cli.tables import percent, show_table
from freqkit.cli.values import ResultFile, Share
from freqkit.cli.voice import say, say_json
from freqkit.results.released import KINDS


@app.group("masks")
def masks():
    """Import, export and look at frequency maps."""


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
@click.option(
    "--level",
    type=Share(),
    metavar="SHARE",
    help="The pickle holds losses of removed frequencies: keep this share of the bins, those of largest loss.",
)
@click.option("--overwrite", is_flag=True, help="Replace FILE.")
@options(JSON)
def import_(pickle, out, classes, rank, level, overwrite, as_json):
    """Read published maps (a pickle: dict class -> array or tensor, or list of them); nothing in it is run.

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
    dfm = import_pickle(pickle, classes=names, rank=rank, level=level)
    save_dfm(out, dfm)
    if as_json:
        say_json({"out": str(out), **_facts(dfm)})
    else:
        say(f"{len(dfm)} maps of {dfm.masks.shape[1]}x{dfm.masks.shape[2]} written to {out}")


@command(masks, "export")
@click.argument("source", type=click.Path(exists=True))
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Pickle to write; of csv a new folder.",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice([*KINDS, "csv"]),
    default="hfss",
    show_default=True,
    help="hfss: masks of each class, best first, of a search; hfss-loss: its lowest losses; dfm: one map of each class;"
    " dfm-loss: losses of `freqkit dfm`; csv: accuracies of `freqkit evaluate`.",
)
@click.option("--stage", type=click.IntRange(1), metavar="N", help="Of a search with stages.  [default: the last]")
@click.option(
    "--classes",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE",
    help="Names of the classes in the order of their numbers, one a line.  [default: that of SOURCE]",
)
@click.option("--overwrite", is_flag=True, help="Replace FILE.")
@options(JSON)
def export(source, out, kind, stage, classes, overwrite, as_json):
    """Write what the code of the two papers reads, from a run's directory or a file of maps.

    \b
    freqkit masks export runs/mine --out DFM/stage4.pkl
    freqkit masks export runs/dfm/dfm-5.safetensors --format dfm --out DFMs/resnet18_DFM_5.pkl
    freqkit masks export runs/ood --format csv --out published
    """
    from freqkit.data.class_lists import read_names
    from freqkit.errors import UsageError
    from freqkit.results import load_result
    from freqkit.results.released import export_pickle
    from freqkit.results.released_tables import export_evaluation

    names, out = read_names(classes) if classes else None, Path(out)
    if out.exists() and not overwrite:
        raise UsageError(f"--out must be new, or give --overwrite; {out} is there.")
    if kind == "csv":
        result = load_result(source)
        if not hasattr(result, "rates"):
            raise UsageError(f"{source}: --format csv is of a run of freqkit evaluate.")
        facts = {"files": [str(path) for path in export_evaluation(result, out, classes=names)]}
        words = f"{len(facts['files'])} files"
    else:
        if out.suffix != ".pkl":
            raise UsageError(f"--out must end in .pkl, as the published code has it; got {out.name}.")
        if not out.parent.is_dir():
            raise UsageError(f"--out must lie in a folder that is there; {out.parent} is not.")
        facts = export_pickle(source, out, kind, stage=stage, classes=names)
        what = "losses" if "loss" in kind else "masks"
        words = f"{what} of {facts['classes']} classes, {facts['each']:,} each"
    if as_json:
        say_json({"out": str(out), **facts})
    else:
        say(f"{words}, written to {out}")


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
