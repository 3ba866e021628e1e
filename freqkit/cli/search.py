"""`freqkit search`: the frequency shortcuts of a classifier."""

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
    the_images,
    the_model,
)
from freqkit.cli.progress import amount, duration, watcher
from freqkit.cli.searchers import (
    OWN_FLAGS,
    SEARCHER,
    choose_searcher,
    cost_of,
    facts_of,
    run_searcher,
    show_classes,
)
from freqkit.cli.tables import percent, show_table
from freqkit.cli.values import Counts, Risk, Share, Stages, resolve_device
from freqkit.cli.voice import say, say_json, tell


@command(app, "search", leaves_records=True)
@options(MODEL, DATA)
@click.option("--out", type=click.Path(file_okay=False), metavar="DIR", help="Where the results shall stand.")
@click.option(
    "--preset",
    type=click.Choice(["default", "cvpr2025"]),
    default="default",
    show_default=True,
    help="default: what is right; cvpr2025: as published, quirks included, with --keep 0.8 and --seed 42 unless given.",
)
@click.option(
    "--published-batch-size", type=click.IntRange(1), default=4000, show_default=True,
    help="cvpr2025: images per batch of the published loss.",
)  # fmt: skip
@options(PUBLISHED_ORDER)
@click.option("--stages", type=Stages(), metavar="1-4", help="Stages to run.  [default: all that the size has]")
@click.option(
    "--candidates",
    type=Counts(),
    default="500",
    show_default=True,
    metavar="N[,N...]",
    help="Masks per stage, one number or one for each stage.",
)
@click.option("--keep", type=Share(), default=0.6, show_default=True, help="Share of the cells that a mask keeps.")
@click.option("--top", type=click.IntRange(1), default=10, show_default=True, help="Masks per class that go on.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Draws the masks.")
@click.option(
    "--risk",
    type=Risk(),
    default=0.0,
    show_default=True,
    help="Above 0, drop losing masks early; the chance to lose a true winner.",
)
@click.option(
    "--stopping",
    type=click.Choice(["never", "certain"]),
    default="never",
    show_default=True,
    help="certain: drop masks once they have surely lost; the same maps for fewer forwards.",
)
@options(SEARCHER)
@options(RUN)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float64", "bfloat16", "float16"]),
    default="float32",
    show_default=True,
    help="What the network computes in.",
)
@click.option("--resume", is_flag=True, help="Continue the run in DIR; its result is the uninterrupted one's.")
@click.option("--overwrite", is_flag=True, help="Replace the run in DIR.")
@click.option("--dry-run", is_flag=True, help="Only say how much work it is, after a short calibration.")
@click.option(
    "--ranks", "project", type=click.IntRange(1), default=1, show_default=True, metavar="G",
    help="--dry-run: project the time for G GPUs (processes of torchrun), each as fast as this one.",
)  # fmt: skip
@options(ENGINE, LOG, JSON)
def search(out, resume, overwrite, dry_run, project, log_json, as_json, **flags):
    """Find, for every class, the few frequencies by which a classifier still recognises it.

    Writes report.html, run.json, dfm.safetensors, classes.csv, every stage's scores and pictures (dfms.png,
    filtered.png, curves.png) into DIR.

    \b
    freqkit search --model cifar_resnet20 --weights resnet20.safetensors \\
                   --data cifar10/test --out runs/resnet20
    """
    from freqkit.engine.ranks import join
    from freqkit.errors import UsageError
    from freqkit.search import hfss

    if resume and overwrite:
        raise UsageError("--resume and --overwrite exclude each other; give one of them.")
    if project > 1 and not dry_run:
        raise UsageError("--ranks projects a --dry-run; torchrun starts the processes of a real one.")
    if out is None and not dry_run:
        raise UsageError("--out must be given, or --dry-run.")
    context = click.get_current_context()
    searcher = choose_searcher(context)
    flags = {name: context.params[name] for name in flags}  # a preset sets some that were not given
    with join() as ranks:
        model = the_model(flags)
        images = the_images(flags, size=side_of(model))
        if len(images.classes) != model.num_classes:
            raise UsageError(
                f"--data must hold the classes of the model: it has {len(images.classes)} folders, the model"
                f" {model.num_classes} logits; give --classes FILE (the name of each logit) or --num-classes."
            )
        if searcher != "hfss":
            run_searcher(
                searcher, model, images, context.params, ranks,
                lambda plan: _show_plan(plan, as_json, project),
            )  # fmt: skip
            return
        settings = {
            **{key: flags[key] for key in OWN_FLAGS["hfss"] if key != "published_order"},
            "batch_size": flags["batch_size"],
            "device": resolve_device(flags["device"]),
            "dtype": flags["dtype"],
            **{key: flags[key] for key in ENGINE_KEYS},
        }
        if dry_run:
            with watcher() as progress:
                plan = hfss(model, images, dry_run=True, progress=progress, **settings)
            if ranks.first:
                _show_plan(plan, as_json, project)
            return
        from freqkit.report import write_pictures

        with watcher(log=log_json) as progress:
            result = hfss(model, images, out=out, resume=resume, overwrite=overwrite, progress=progress, **settings)
        if not ranks.first:
            return
        pictures = write_pictures(result, model, images, out)
        if as_json:
            facts = {**facts_of(result, out), "pictures": [str(path) for path in pictures]}
            say_json(facts)
            return
        show_classes(result, title="Each class seen only through the frequencies that serve it best")
        say(f"{cost_of(result)}; everything is in {Path(out)}/")


def _show_plan(plan, as_json, ranks):
    projected = plan.projected(ranks)
    if as_json:
        facts = {
            "stages": plan.table(),
            "images": plan.images,
            "classes": plan.classes,
            "batch_size": plan.batch_size,
            "forwards": plan.forwards,
            "backwards": plan.backwards,
            "remark": plan.remark,
            "seconds": plan.seconds,
            "ranks": ranks,
            "projected_seconds": projected["seconds"],
            "efficiency": projected["efficiency"],
            "memory": plan.memory,
            "record": plan.record,
        }
        say_json(facts)
        return
    if "work" in plan.stages[0]:
        columns = [("work", "left"), *((name, "right") for name in ("forwards", "backwards", "time"))]
        rows = [
            [part["work"], amount(part["forwards"]), amount(part["backwards"]), duration(part["seconds"])]
            for part in plan.table()
        ]
    else:
        columns = [(name, "right") for name in ("stage", "cell", "masks", "distinct", "forwards")]
        rows = [
            [
                str(stage["stage"]),
                f"{stage['cell']} bins",
                str(stage["candidates"]),
                str(stage["distinct"]),
                amount(stage["forwards"]),
            ]
            for stage in plan.table()
        ]
    show_table(columns, rows, title="What the search would do", note=plan.remark)
    memory = ", ".join(f"{name} {size / 2**20:.0f} MiB" for name, size in plan.memory.items())
    tell(f"{plan.images} images of {plan.classes} classes, batches of {plan.batch_size}")
    tell(f"memory: {memory}")
    backwards = f", {amount(plan.backwards)} backwards" if plan.backwards else ""
    about = f"about {duration(plan.seconds)} at the speed just measured"
    tell(f"{amount(plan.forwards)} forwards{backwards}, {about}")
    if ranks > 1:
        tell(
            f"{ranks} ranks as fast as this one: about {duration(projected['seconds'])}, "
            f"{percent(projected['efficiency'], 0)} of them at work (most of the rest: {projected['lost_to']})"
        )
