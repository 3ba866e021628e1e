"""`freqkit compare-training`: one factor changed at a time, several seeds, one page."""

from pathlib import Path

import click

from freqkit.cli.app import app, command
from freqkit.cli.options import DATA, GOING_ON, JSON, LOG, asked, of_fields, options, the_images
from freqkit.cli.progress import watcher
from freqkit.cli.tables import show_table
from freqkit.cli.values import Device, resolve_device
from freqkit.cli.voice import say, say_json
from freqkit.training.comparison import Comparing


@command(app, "compare-training", leaves_records=True)
@click.option(
    "--runs", "plan", required=True, type=click.Path(exists=True, dir_okay=False), metavar="FILE",
    help="YAML: recipe, base, factors, variants, seeds, radii, encoding.",
)  # fmt: skip
@click.option("--model", default="small_convnet", show_default=True, help="The network of the base, untrained.")
@options(DATA)
@click.option("--val", type=click.Path(exists=True, file_okay=False), metavar="DIR", help="Validation images.")
@click.option("--val-part", type=click.Choice(["train", "val", "test"]), help="The part of --val, or of --data.")
@options(of_fields(Comparing))
@click.option("--device", type=Device(), default="auto", show_default=True)
@click.option("--out", type=click.Path(file_okay=False), metavar="DIR", help="Where the trainings shall stand.")
@options(GOING_ON, LOG)
@click.option("--dry-run", is_flag=True, help="Only say which trainings there are.")
@options(JSON)
def compare(plan, model, val, val_part, device, out, resume, overwrite, log_json, dry_run, as_json, **flags):
    """Train a network in several ways that differ in one factor each, and compare accuracies over seeds.

    FILE says what: `factors` are lists of values, `variants` named sets of changes, of any setting of a recipe, of
    `model` and of `adversarial`; with `radii` low and high parts are tested, too. DIR gets every training under runs/,
    compare-training.safetensors, .csv, .png and a page. A training that was killed goes on, to the same bits.

    \b
    freqkit compare-training --runs heuristics.yaml --data cifar10 --val-part test --out runs/heuristics
    """
    from freqkit.data import parts_of
    from freqkit.errors import UsageError
    from freqkit.training import compare_training, read_comparison
    from freqkit.training.comparison import FILE

    settings = asked(flags, Comparing)
    found = read_comparison(plan)
    if out is None and not dry_run:
        raise UsageError("--out must be given, or --dry-run.")
    if flags["part"] is None and "train" in parts_of(flags["data"], flags["layout"]):
        flags["part"] = "train"
    images = the_images({**flags, "image_size": flags["image_size"] or _side(model)})
    seeds = settings["seeds"] or found["seeds"]
    if dry_run:
        _show_plan(found, seeds, images, model, as_json)
        return
    held_out = None
    if val is not None or val_part is not None:
        elsewhere = {"data": val or flags["data"], "layout": flags["layout"] if val is None else "auto"}
        held_out = the_images(
            {**flags, **elsewhere, "part": val_part, "classes": images.classes, "limit_per_class": None,
             "split_fraction": None, "image_size": images.images.shape[-1], "data_seed": 0},
        )  # fmt: skip
    with watcher(log=log_json) as progress:
        result = compare_training(
            plan, images, val_set=held_out, model=model, device=resolve_device(device), out=out,
            resume=resume, overwrite=overwrite, progress=progress, **settings,
        )  # fmt: skip
    from freqkit.report import save_figure, write_report

    save_figure(result.plot(), Path(out) / "compare-training.png")
    for one in sorted(Path(out).glob("runs/*/*/run.json")):
        write_report(one.parent)
    if as_json:
        say_json({"trainings": result.table(), "definition": result.definition})
        return
    from freqkit.training.comparison import _main

    names = _main(result)
    places = [result.metrics.index(name) for name in names]
    lines = [
        [run, *(_cell(float(result.mean[r, m]), float(result.spread[r, m])) for m in places)]
        for r, run in enumerate(result.runs)
    ]
    show_table([("run", "left"), *((name, "right") for name in names)], lines,
               title=f"Accuracy (%), mean and standard deviation over {len(result.seeds)} seeds")  # fmt: skip
    say(f"Everything is in {Path(out) / FILE} and beside it")


def _cell(mean, spread):
    return f"{100 * mean:.1f}" + ("" if spread != spread else f" ± {100 * spread:.1f}")


def _side(model):
    from freqkit.models.networks import BUILT_IN

    return 32 if model in BUILT_IN else None


def _show_plan(found, seeds, images, model, as_json):
    """The trainings, and how many seconds they take at the speed of a few steps of each."""
    from freqkit.models import load_model
    from freqkit.training import train

    each = {}
    for name, changes in found["runs"].items():
        settings = {**found["base"], **changes}
        network = load_model(settings.pop("model", model), num_classes=len(images.classes))
        if isinstance(settings.get("augment"), list):
            settings["augment"] = tuple(settings["augment"])
        each[name] = seeds * train(network, images, recipe=found["recipe"], dry_run=True, **settings)["seconds"]
    total = sum(each.values())
    if as_json:
        say_json({"trainings": len(each) * seeds, "runs": each, "seconds": total,
                  "classes": len(images.classes), "seconds_per_class": total / len(images.classes)})  # fmt: skip
        return
    for name, seconds in each.items():
        say(f"{name}: {seeds} trainings, about {seconds:.0f} s")
    say(f"all: {len(each) * seeds} trainings, about {total:.0f} s, {total / len(images.classes):.0f} s for each class")
