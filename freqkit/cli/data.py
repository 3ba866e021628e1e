"""`freqkit data`: image sets made here."""

import json
from pathlib import Path

import click

from freqkit.cli.app import app, command, say
from freqkit.cli.options import JSON, options


@app.group("data")
def data():
    """Make image sets."""


@command(data, "synthetic")
@click.option("--variant", type=click.IntRange(1, 4), default=1, show_default=True, help="Which band is special.")
@click.option("--images-per-class", type=click.IntRange(1), default=200, show_default=True)
@click.option("--size", type=click.IntRange(16), default=32, show_default=True, help="Side in pixels, even.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--out", required=True, type=click.Path(file_okay=False), metavar="DIR", help="A new or empty folder.")
@options(JSON)
def synthetic(variant, images_per_class, size, seed, out, as_json):
    """Images with planted frequencies: DIR/class/file.png, truth.safetensors and truth.json."""
    from freqkit.data import synthetic, write_image_folder
    from freqkit.errors import UsageError

    out = Path(out)
    if out.exists() and any(out.iterdir()):
        raise UsageError(f"--out must be a new or empty folder; {out} holds files.")
    images = synthetic(variant, images_per_class=images_per_class, size=size, seed=seed)
    out.mkdir(parents=True, exist_ok=True)
    # the truth lies beside the images, so that DIR stays an image folder
    write_image_folder(images, out)
    facts = {"images": len(images), "folder": str(out), **images.record}
    if as_json:
        click.echo(json.dumps(facts, indent=2))
    else:
        say(f"{len(images)} images of {size}x{size} in {len(images.classes)} classes written to {out}")
