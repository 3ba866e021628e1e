"""`freqkit adcs`: the spectra of classes compared."""

from pathlib import Path

import click

from freqkit.cli.app import app, command
from freqkit.cli.options import DATA, JSON, options, the_images
from freqkit.cli.progress import watcher
from freqkit.cli.tables import number, show_table
from freqkit.cli.values import ResultFile, Triple
from freqkit.cli.voice import say, say_json, tell


@command(app, "adcs", leaves_records=True)
@options(DATA)
@click.option(
    "--preset",
    type=click.Choice(["default", "iccv2023"]),
    default="default",
    show_default=True,
    help="default: the formula; iccv2023: the published code.",
)
@click.option(
    "--channel",
    type=click.Choice(["grey", "mean", "per"]),
    default="grey",
    show_default=True,
    help="One map from weighted or averaged channels, or one for each.",
)
@click.option("--mean", type=Triple(), metavar="R,G,B", help="Normalise the images first.  [default: not at all]")
@click.option("--std", type=Triple(), metavar="R,G,B")
@click.option("--double", is_flag=True, help="Transform in float64.")
@click.option("--out", type=ResultFile("adcs.safetensors"), metavar="FILE", help="Write FILE (safetensors) and .png.")
@click.option("--overwrite", is_flag=True, help="Replace FILE.")
@options(JSON)
def adcs(preset, channel, mean, std, double, out, overwrite, as_json, **flags):
    """At every frequency, how many classes have less energy than a class, minus how many have more.

    Needs images alone, no model. --image-size must be given.

    \b
    freqkit adcs --data imagenet10/val --image-size 224 --out adcs.safetensors
    """
    import torch

    from freqkit.engine.ranks import join
    from freqkit.errors import UsageError
    from freqkit.measures import adcs as measure

    if flags["image_size"] is None:
        raise UsageError("--image-size must be given: there is no model whose size could be taken.")
    if out is not None:
        out = Path(out)
        if out.exists() and not overwrite:
            raise UsageError(f"--out must be a new file, or give --overwrite; {out} is there.")
        if not out.parent.is_dir():
            raise UsageError(f"--out must lie in a folder that is there; {out.parent} is not.")
    with join() as ranks:
        images = the_images(flags, preset=preset)
        with watcher() as progress:
            result = measure(
                images, channel=channel, preset=preset, mean=mean, std=std,
                dtype=torch.float64 if double else torch.float32, progress=progress,
            )  # fmt: skip
    if not ranks.first:
        return
    if out is not None:
        from freqkit.report import plot_adcs, save_figure

        result.save(out)
        save_figure(plot_adcs(result), out.with_suffix(".png"))
    rows = result.table()
    if as_json:
        say_json(
            {"classes": rows, "cautions": result.cautions(), "definition": result.definition, "record": result.record}
        )
        return
    for caution in result.cautions():
        tell(f"Caution: {caution}")
    bands = [name for name in rows[0] if name.startswith("band")]
    show_table(
        [("class", "left"), *((name, "right") for name in ("images", "mean", "least", "most", *bands))],
        [
            [
                row["class"],
                str(row["images"]),
                number(row["mean"], 2),
                str(row["least"]),
                str(row["most"]),
                *(number(row[name], 2) for name in bands),
            ]
            for row in rows[:30]
        ],
        title="Classes with less energy at a frequency, minus classes with more: mean over the plane and four bands",
        note="bands: quarters of half the image side, from low to high frequencies; the last with the corners",
    )
    if out is not None:
        say(f"Maps are in {out}, a picture in {out.with_suffix('.png').name}")
