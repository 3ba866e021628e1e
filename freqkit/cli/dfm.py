"""`freqkit dfm`: which frequencies a class cannot lose."""

import click

from freqkit.cli.app import app, command
from freqkit.cli.options import (
    DATA_OF_SEARCH,
    DTYPE,
    ENGINE,
    GOING_ON,
    JSON,
    LOG,
    MODEL,
    RUN,
    of_fields,
    options,
    scoring_of,
    the_model,
)
from freqkit.cli.progress import watcher
from freqkit.cli.searchers import found_by, images_of_search, kept_of, testing_of, write_and_show
from freqkit.search.gradient import Promising
from freqkit.search.removal import Levels, Removing
from freqkit.search.testing import Testing


@command(app, "dfm", leaves_records=True)
@options(MODEL, DATA_OF_SEARCH, of_fields(Testing))
@click.option("--out", required=True, type=click.Path(file_okay=False), metavar="DIR", help="Where the results go.")
@click.option(
    "--method",
    type=click.Choice(["removal", "gradient"]),
    default="removal",
    show_default=True,
    help="Measure every removal, or estimate all from gradients and measure the most promising.",
)
@options(
    of_fields(Removing, "preset", "patch"),
    of_fields(Levels, "levels", "level", "ties"),
    of_fields(Removing, "published_batch_size"),
    of_fields(
        Promising, "rescore", "draws", "seed", rescore="gradient: share of the removals to measure",
        draws="gradient: backwards for curvature", seed="gradient: of the curvature",
    ),
    RUN, DTYPE, GOING_ON, ENGINE, LOG, JSON,
)  # fmt: skip
def dfm(out, method, resume, overwrite, log_json, as_json, **flags):
    """Remove one frequency after the other, and see which classes suffer.

    Writes run.json, removal.safetensors (every loss), dfm-1.safetensors, dfm-5.safetensors, ... (the dominant
    frequency maps at each level, in percent), classes.csv, dfms.png, increase.png and report.html into DIR. A share
    of the images (--split-fraction) ranks, the others test; under a published preset all rank.

    \b
    freqkit dfm --model cifar_resnet20 --weights resnet20.safetensors \\
                --data cifar10/test --out runs/dfm
    """
    from click.core import ParameterSource

    from freqkit.engine.ranks import join
    from freqkit.errors import UsageError

    if resume and overwrite:
        raise UsageError("--resume and --overwrite exclude each other; give one of them.")
    source = click.get_current_context().get_parameter_source("published_batch_size")
    preset = flags["preset"]
    if preset == "default" and source is ParameterSource.COMMANDLINE:
        raise UsageError("--published-batch-size is of the published loss; it needs --preset iccv2023 or dfm_v2023.")
    if method == "gradient" and preset != "default":
        raise UsageError(f"--preset {preset} is a way of removal; give --method removal.")
    own = {"removal": ("preset", "published_batch_size"), "gradient": ("rescore", "draws", "seed")}[method]
    with join() as ranks:
        model = the_model(flags)
        images = images_of_search(flags, model=model, preset=preset)
        with watcher(log=log_json) as progress:
            result = found_by(method)(
                model, images, out=out, resume=resume, overwrite=overwrite, progress=progress, **scoring_of(flags),
                **testing_of(flags),
                **{name: flags[name] for name in ("patch", "levels", "level", "ties", *own)},
            )  # fmt: skip
        if ranks.first:
            share = f"{100 * flags['level']:g}% of the frequencies{kept_of(result, flags['level'])}"
            write_and_show(result, model, images, out, as_json, f"Each class seen only through its dominant {share}")
