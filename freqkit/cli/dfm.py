"""`freqkit dfm`: which frequencies a class cannot lose."""

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
    RUN,
    options,
    side_of,
    the_images,
    the_model,
)
from freqkit.cli.progress import watcher
from freqkit.cli.searchers import cost_of, facts_of, kept_of, show_classes
from freqkit.cli.values import Share, resolve_device
from freqkit.cli.voice import say, say_json


class Shares(click.ParamType):
    """`0.01,0.05` -> (0.01, 0.05)."""

    name = "share[,share...]"

    def convert(self, value, param, ctx):
        if isinstance(value, tuple):
            return value
        return tuple(Share().convert(part, param, ctx) for part in value.split(","))


@command(app, "dfm", leaves_records=True)
@options(MODEL, DATA)
@click.option("--out", required=True, type=click.Path(file_okay=False), metavar="DIR", help="Where the results go.")
@click.option(
    "--method",
    type=click.Choice(["removal", "gradient"]),
    default="removal",
    show_default=True,
    help="Measure every removal, or estimate all from gradients and measure the most promising.",
)
@click.option(
    "--preset",
    type=click.Choice(["default", "iccv2023", "dfm_v2023"]),
    default="default",
    show_default=True,
    help="default: what is right; the others: as published, with and without the strip of 2023.",
)
@click.option("--patch", type=click.IntRange(1), default=1, show_default=True, help="Bins per side removed at once.")
@click.option(
    "--levels", type=Shares(), default="0.01,0.05,0.1,0.2", show_default=True, help="Shares of the bins to keep."
)
@click.option("--level", type=Share(), default=0.05, show_default=True, help="The one that is asked and shown.")
@click.option(
    "--ties",
    type=click.Choice(["include", "exclude"]),
    default="include",
    show_default=True,
    help="Bins as high as the last one: keep all (as published) or none.",
)
@click.option(
    "--published-batch-size", type=click.IntRange(1), default=100, show_default=True, help="Of the published loss."
)
@click.option(
    "--rescore", type=float, default=0.2, show_default=True, help="gradient: share of the removals to measure."
)
@click.option(
    "--draws", type=click.IntRange(0), default=2, show_default=True, help="gradient: backwards for curvature."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="gradient: of the curvature.")
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
@options(ENGINE, LOG, JSON)
def dfm(
    out, method, preset, patch, levels, level, ties, published_batch_size, rescore, draws, seed, resume, overwrite,
    log_json, as_json, **flags,
):  # fmt: skip
    """Remove one frequency after the other, and see which classes suffer.

    Writes run.json, removal.safetensors (every loss), dfm-1.safetensors, dfm-5.safetensors, ... (the dominant
    frequency maps at each level, in percent), classes.csv, dfms.png, increase.png and report.html into DIR. Test
    the maps on other images than these: select with --split-fraction, test with `freqkit rates --rest`.

    \b
    freqkit dfm --model cifar_resnet20 --weights resnet20.safetensors \\
                --data cifar10/test --split-fraction 0.5 --out runs/dfm
    """
    from click.core import ParameterSource

    from freqkit.engine.ranks import join
    from freqkit.errors import UsageError
    from freqkit.report import examples_of, plot_removal, save_examples, save_figure
    from freqkit.search import gradient, removal

    if resume and overwrite:
        raise UsageError("--resume and --overwrite exclude each other; give one of them.")
    source = click.get_current_context().get_parameter_source("published_batch_size")
    if preset == "default" and source is ParameterSource.COMMANDLINE:
        raise UsageError("--published-batch-size is of the published loss; it needs --preset iccv2023 or dfm_v2023.")
    if method == "gradient" and preset != "default":
        raise UsageError(f"--preset {preset} is a way of removal; give --method removal.")
    with join() as ranks:
        model = the_model(flags)
        images = the_images(flags, size=side_of(model), preset=preset)
        how = {
            "patch": patch, "levels": levels, "level": level, "ties": ties, "batch_size": flags["batch_size"],
            "device": resolve_device(flags["device"]), "dtype": flags["dtype"], "out": out, "resume": resume,
            "overwrite": overwrite, **{key: flags[key] for key in ENGINE_KEYS},
        }  # fmt: skip
        with watcher(log=log_json) as progress:
            if method == "removal":
                result = removal(
                    model, images, preset=preset, published_batch_size=published_batch_size, progress=progress, **how
                )
            else:
                result = gradient(model, images, rescore=rescore, draws=draws, seed=seed, progress=progress, **how)
        if not ranks.first:
            return
        out = Path(out)
        save_figure(plot_removal(result), out / "dfms.png")
        save_figure(plot_removal(result, which="increase"), out / "increase.png")
        save_examples(out / "examples.safetensors", examples_of(model, images, result.masks, result.classes))
        if as_json:
            say_json(facts_of(result, out))
            return
        share = f"{100 * level:g}% of the frequencies{kept_of(result, level)}"
        show_classes(result, title=f"Each class seen only through its dominant {share}")
        say(f"{cost_of(result)}; everything is in {out}/")
