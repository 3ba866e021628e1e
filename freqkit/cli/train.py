"""`freqkit train`: a small classifier, trained here."""

import json
from pathlib import Path

import click

from freqkit.cli.app import app, command, say
from freqkit.cli.options import DATA, JSON, MODEL, options, the_images, the_model
from freqkit.cli.progress import steps, watcher
from freqkit.cli.values import Device


@command(app, "train")
@options(MODEL, DATA)
@click.option("--epochs", type=click.IntRange(1), default=10, show_default=True)
@click.option("--batch-size", type=click.IntRange(1), default=64, show_default=True)
@click.option("--lr", type=click.FloatRange(0, min_open=True), default=0.01, show_default=True, help="Learning rate.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Weights and order of images.")
@click.option("--device", type=Device(), default="auto", show_default=True)
@click.option("--out", required=True, type=click.Path(dir_okay=False), metavar="FILE", help="Weights (safetensors).")
@click.option("--overwrite", is_flag=True, help="Replace FILE.")
@options(JSON)
def train(out, overwrite, epochs, batch_size, lr, seed, as_json, **flags):
    """Train a small classifier on a folder of images and keep its weights."""
    from freqkit.errors import UsageError
    from freqkit.models import save_weights
    from freqkit.training import train

    out = Path(out)
    if out.exists() and not overwrite:
        raise UsageError(f"--out must be a new file, or give --overwrite; {out} is there.")
    images = the_images(flags)
    model = the_model(flags, data=images, seed=seed)
    with watcher() as progress, steps(progress, "training") as advance:
        history = train(model, images, epochs=epochs, batch_size=batch_size, lr=lr, seed=seed, progress=advance)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_weights(model, out)
    if as_json:
        click.echo(json.dumps({"weights": str(out), "history": history, "model": model.record}, indent=2))
    else:
        accuracy = history["train"]["accuracy"]
        say(f"accuracy on the training images {100 * accuracy:.1f}%; weights written to {out}")
