"""`freqkit doctor`: are the test sets what they seem, and is the model asked as it should be?"""

import click

from freqkit.cli.app import app, command
from freqkit.cli.evaluate import SETS
from freqkit.cli.options import JSON, MODEL, MODEL_KEYS, load_quietly, options
from freqkit.cli.tables import show_table
from freqkit.cli.values import Device, resolve_device
from freqkit.cli.voice import say, say_json


@command(app, "doctor")
@options(SETS)
@click.option("--on", default="", metavar="LIST", help="Sets to check.  [default: every known set that is in ROOT]")
@click.option("--model", metavar="NAME", help="Also check this model.")
@options(MODEL[1:])
@click.option("--image-size", type=click.IntRange(1), metavar="N", help="Side in pixels.  [default: the model's own]")
@click.option("--resize", type=click.Choice(["own", "squash", "center-crop"]), default="own", show_default=True)
@click.option("--images", type=click.IntRange(1), default=500, show_default=True, help="Images for the accuracy.")
@click.option(
    "--published", type=click.Path(exists=True, dir_okay=False), metavar="CSV", help="timm's results-imagenet.csv."
)
@click.option("--device", type=Device(), default="auto", show_default=True)
@options(JSON)
def doctor(on, model, as_json, **flags):
    """Check layouts and counts below ROOT, and a model's transform, normalisation and clean accuracy.

    \b
    freqkit doctor --data-dir /data --model resnet50.a1_in1k --pretrained --published results-imagenet.csv
    """
    from freqkit.measures.evaluation.doctor import check_model, check_sets

    findings, sets = check_sets(
        [name.strip() for name in on.split(",") if name.strip()],
        flags["data_dir"],
        relaxed=flags["relaxed"],
        class_map=flags["class_map"],
    )
    if model:
        chosen = {key: flags[key] for key in MODEL_KEYS}
        classifier = load_quietly(model, device=resolve_device(flags["device"]), **chosen)
        asked = {name: flags[name] for name in ("image_size", "resize", "images", "published")}
        findings += check_model(classifier, sets, **asked)
    if as_json:
        say_json([vars(each) for each in findings])
    else:
        show_table(
            [("", "left"), ("what", "left"), ("found", "left")],
            [[each.verdict, each.what, each.found] for each in findings],
        )
    wrong = [each for each in findings if each.verdict == "wrong"]
    if wrong:
        say(f"{len(wrong)} of {len(findings)} checks failed.")
        raise click.exceptions.Exit(1)
