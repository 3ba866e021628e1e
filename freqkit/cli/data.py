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
    import torch

    from freqkit.data import synthetic, write_image_folder
    from freqkit.results.files import atomic_write, write_json

    out = Path(out)
    images = synthetic(variant, images_per_class=images_per_class, size=size, seed=seed)
    write_image_folder(images, out)
    with atomic_write(out / "truth.safetensors") as file:
        from safetensors.torch import save

        file.write(save({name: bins.to(torch.uint8) for name, bins in images.truth.items()}))
    truth = {"layout": "centred", "planted frequencies": _frequencies(images.truth), "images": images.record}
    write_json(out / "truth.json", truth)
    facts = {"images": len(images), "folder": str(out), **images.record}
    if as_json:
        click.echo(json.dumps(facts, indent=2))
    else:
        say(f"{len(images)} images of {size}x{size} in {len(images.classes)} classes written to {out}")


def _frequencies(truth):
    """class -> list of planted [vertical, horizontal] frequencies in cycles/image, partners included."""
    return {
        name: (bins.nonzero() - bins.new_tensor(bins.shape, dtype=int) // 2).tolist() for name, bins in truth.items()
    }
