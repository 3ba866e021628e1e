"""`freqkit band-stop`: which classes survive when bands of frequencies are removed."""

from pathlib import Path

import click

from freqkit.cli.app import app, command
from freqkit.cli.options import DATA, JSON, MODEL, RUN, options, side_of, the_images, the_model
from freqkit.cli.progress import watcher
from freqkit.cli.searchers import clean_facts, show_clean
from freqkit.cli.tables import percent, show_table
from freqkit.cli.values import ResultFile, resolve_device
from freqkit.cli.voice import say, say_json


@command(app, "band-stop", leaves_records=True)
@options(MODEL, DATA)
@click.option("--edges", metavar="R,R,...", help="Where bands 2, 3, ... begin, cycles/image.  [default: N/8,N/4,3N/8]")
@click.option("--remove", type=click.IntRange(1), default=2, show_default=True, help="Bands removed at a time.")
@click.option("--remove-dc", is_flag=True, help="Band 1 takes the mean of the image with it.")
@click.option(
    "--out", type=ResultFile("band-stop.safetensors"), metavar="FILE", help="Write FILE (safetensors), .csv and .png."
)
@click.option("--overwrite", is_flag=True, help="Replace FILE.")
@options(RUN, JSON)
def band_stop(edges, remove, remove_dc, out, overwrite, as_json, **flags):
    """Remove every choice of two (of four) frequency bands from all images, and count what they are taken for.

    \b
    freqkit band-stop --model cifar_resnet20 --weights resnet20.safetensors \\
                      --data cifar10/test --out stop.safetensors
    """
    from freqkit.errors import UsageError
    from freqkit.measures import band_stop as measure

    if edges is not None:
        try:
            edges = [float(part) for part in edges.split(",")]
        except ValueError:
            raise UsageError(f"--edges must be numbers as 4,8,12; got {edges!r}.") from None
    if out is not None:
        out = Path(out)
        if out.exists() and not overwrite:
            raise UsageError(f"--out must be a new file, or give --overwrite; {out} is there.")
        if not out.parent.is_dir():
            raise UsageError(f"--out must lie in a folder that is there; {out.parent} is not.")
    model = the_model(flags)
    images = the_images(flags, size=side_of(model))
    with watcher() as progress:
        result = measure(
            model, images, edges=edges, remove=remove, keep_dc=not remove_dc, batch_size=flags["batch_size"],
            device=resolve_device(flags["device"]), progress=progress,
        )  # fmt: skip
    if out is not None:
        from freqkit.report import plot_band_stop, save_figure

        result.save(out)
        save_figure(plot_band_stop(result), out.with_suffix(".png"))
    if as_json:
        facts = {
            "clean": clean_facts(result.clean),
            "accuracy": dict(zip(["all", *result.names], result.accuracy.tolist(), strict=True)),
            "classes": result.classes,
            "relative_confusion": dict(zip(result.names, result.relative_confusion.tolist(), strict=True)),
            "definition": result.definition,
            "forwards": result.record["forwards"],
        }
        say_json(facts)
        return
    show_clean(result.clean)
    shown = result.classes[:30]
    show_table(
        [("class", "left"), ("clean TPR", "right"), *((f"-{name}", "right") for name in result.names)],
        [[name, *(percent(value, 0) for value in result.tpr[:, c].tolist())] for c, name in enumerate(shown)]
        + [(["all", *(percent(value, 0) for value in result.accuracy.tolist())], "bold")],
        title=f"{len(images)} images: share recognised when bands are removed",
        note=f"{len(result.classes) - 30} more classes; --out writes all" if len(result.classes) > 30 else None,
    )
    if out is not None:
        say(f"Everything is in {out}, {out.with_suffix('.csv').name} and {out.with_suffix('.png').name}")
