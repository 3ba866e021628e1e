"""`freqkit data components` and `freqkit data hars`: image sets made of another's frequencies."""

import click

from freqkit.cli.app import command
from freqkit.cli.data import data
from freqkit.cli.options import DATA, JSON, options, the_images
from freqkit.cli.tables import show_table
from freqkit.cli.values import numbers_of
from freqkit.cli.voice import say, say_json
from freqkit.registry import ENCODINGS

OUT = (click.option("--out", required=True, type=click.Path(file_okay=False), metavar="DIR",
                    help="A new or empty folder."),)  # fmt: skip
BOUNDARY = (click.option("--boundary", type=click.Choice(["strict", "inclusive"]), default="strict", show_default=True,
                         help="Whether a frequency at the radius itself is high (strict) or low."),)  # fmt: skip


@command(data, "components")
@options(DATA)
@click.option("--radius", required=True, metavar="R,R,...", help="Radii of the split, cycles/image.")
@click.option("--side", type=click.Choice(["low", "high", "both"]), default="both", show_default=True)
@click.option(
    "--encoding", type=click.Choice(ENCODINGS), default="raw", show_default=True,
    help="raw: signed floats; maxnorm: over the image's largest value; minmax: each channel to 0...1; uint8wrap: "
    "a plain cast.",
)  # fmt: skip
@options(BOUNDARY)
@click.option(
    "--format", "kind", type=click.Choice(["npy", "folder"]), default="npy", show_default=True,
    help="npy: the published names, one array for each radius and side; folder: DIR/low_4/class/file.png.",
)  # fmt: skip
@options(OUT, JSON)
def components(radius, side, encoding, boundary, kind, out, as_json, **flags):
    """The low and the high frequencies of images, apart.

    \b
    freqkit data components --data cifar10/test --radius 4,8,12,16 --out components
    """
    from freqkit.data.components import SIDES, write_components

    radii = [int(r) if r == int(r) else r for r in numbers_of(radius, "--radius")]
    images = the_images(flags)
    facts = write_components(
        images, out, radii, SIDES if side == "both" else (side,), encoding=encoding, boundary=boundary, kind=kind,
        part=flags["part"] or "images",
    )  # fmt: skip
    if as_json:
        say_json({"images": len(images), "folder": str(out), "components": facts})
        return
    rows = [[one["name"], f"{one['frequencies']:,}", f"{one['clipped']:.2%}" if kind == "folder" else "-"]
            for one in facts]  # fmt: skip
    show_table(
        [("component", "left"), ("frequencies kept", "right"), ("pixels clipped", "right")], rows,
        title=f"{len(images)} images, {encoding}, written to {out}",
    )  # fmt: skip


@command(data, "hars")
@options(DATA)
@click.option("--radius", type=click.FloatRange(0, min_open=True), default=12, show_default=True,
              help="Of the split, cycles/image; 12 as published is for 32 pixels.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Draws the donors.")
@click.option("--scale", type=click.Choice(["channel", "none"]), default="channel", show_default=True,
              help="channel: each channel to 0...255, as published; none: clipped.")  # fmt: skip
@options(BOUNDARY)
@click.option("--format", "kind", type=click.Choice(["folder", "npy"]), default="folder", show_default=True,
              help="folder: class/file.png; npy: hybrid_high_R.npy and its labels, as published.")  # fmt: skip
@options(OUT, JSON)
def hars(radius, seed, scale, boundary, kind, out, as_json, **flags):
    """High frequencies of each image with the low ones of an image of another class (HARS).

    \b
    freqkit data hars --data cifar10/train --radius 12 --out hybrid
    """
    from freqkit.data import hars
    from freqkit.data.hars import write_hars

    made = hars(
        the_images(flags), int(radius) if radius == int(radius) else radius, seed, scale=scale, boundary=boundary
    )
    write_hars(made, out, kind=kind)
    if as_json:
        say_json({"images": len(made), "folder": str(out), "classes": made.classes, **made.record["hars"],
                  "donor_classes": made.donor_classes.tolist()})  # fmt: skip
        return
    if len(made.classes) <= 12:
        rows = [[name, *map(str, row)] for name, row in zip(made.classes, made.donor_classes.tolist(), strict=True)]
        show_table(
            [("high frequencies of", "left"), *((name, "right") for name in made.classes)], rows,
            title="Low frequencies of: how many images of each class",
        )  # fmt: skip
    say(f"{len(made)} images with low frequencies of another class, and donors.npy, written to {out}")
