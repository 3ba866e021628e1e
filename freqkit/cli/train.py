"""`freqkit train`: any classifier, on any set that freqkit reads."""

from contextlib import nullcontext
from pathlib import Path

import click

from freqkit.cli.app import app, command
from freqkit.cli.options import DATA, JSON, MODEL, options, the_images, the_model
from freqkit.cli.progress import amount, duration, steps, watcher
from freqkit.cli.records import first_rank
from freqkit.cli.tables import number, percent, show_table
from freqkit.cli.values import Device, numbers_of, resolve_device
from freqkit.cli.voice import say, say_json, tell
from freqkit.registry import ENCODINGS

CHANGES = (
    click.option("--epochs", type=click.IntRange(1)),
    click.option("--batch-size", type=click.IntRange(1), help="Divided among the ranks."),
    click.option("--lr", type=click.FloatRange(0, min_open=True), help="Peak learning rate."),
    click.option("--optimizer", "--optimiser", "optimizer",
                 type=click.Choice(["sgd", "adam", "adamw", "adagrad", "adadelta", "rmsprop"]),
                 help="sgd: with Nesterov's momentum."),
    click.option("--weight-decay", type=click.FloatRange(0)),
    click.option("--schedule", type=click.Choice(["cosine", "step", "plateau", "none"])),
    click.option("--warmup", type=click.FloatRange(0), metavar="EPOCHS"),
    click.option("--label-smoothing", type=click.FloatRange(0, 1, max_open=True)),
    click.option("--clip", type=click.FloatRange(0, min_open=True), help="Largest norm of the gradient."),
    click.option("--ema", type=click.FloatRange(0, 1, True, True), help="Average the weights with this decay."),
    click.option("--precision", type=click.Choice(["float32", "bfloat16", "float16"])),
    click.option(
        "--augment", metavar="NAME[,NAME...]",
        help="crop, pad, flip, resized-crop, augmix, autoaugment, randaugment, trivialaugment, or none.",
    ),
    click.option("--mixup", type=click.FloatRange(0), metavar="ALPHA"),
    click.option("--mixup-lambda", type=click.Choice(["alpha", "cvpr2020"]),
                 help="From Beta(ALPHA, ALPHA), or from Beta(1, 1) as published code does.  [default: alpha]"),
    click.option("--dropout", type=click.FloatRange(0, 1, max_open=True), help="Of features before the last layer."),
    click.option("--bn-eval", type=click.Choice(["running", "batch"]),
                 help="Statistics of BatchNorm at evaluation.  [default: running]"),
    click.option("--component", type=click.Choice(["low", "high"]), help="Train on these frequencies alone."),
    click.option("--radius", type=click.FloatRange(0), metavar="R", help="Where --component splits, cycles/image."),
    click.option("--encoding", type=click.Choice(ENCODINGS), help="How that component is shown.  [default: raw]"),
    click.option("--shuffle-labels", type=click.FloatRange(0, 1), metavar="SHARE",
                 help="Permute the labels of this share of the training images."),
    click.option("--cutmix", type=click.FloatRange(0), metavar="ALPHA"),
)  # fmt: skip


@command(app, "train", leaves_records=True)
@options(MODEL, DATA)
@click.option(
    "--recipe", type=click.Choice(["plain", "iccv2023", "cifar", "timm-like"]), default="plain", show_default=True,
    help="What the flags below are when they are not given.",
)  # fmt: skip
@options(CHANGES)
@click.option("--val", type=click.Path(exists=True, file_okay=False), metavar="DIR", help="Validation images.")
@click.option("--val-part", type=click.Choice(["train", "val", "test"]), help="The part of --val, or of --data.")
@click.option("--val-fraction", type=click.FloatRange(0, 1, max_open=True), help="Set this share of --data aside.")
@click.option(
    "--dfm-augment", type=click.Path(exists=True, dir_okay=False), metavar="FILE",
    help="DFM-X: filter images by other classes' maps.",
)  # fmt: skip
@click.option("--p", type=click.FloatRange(0, 1), default=0.3, show_default=True, help="Chance of --dfm-augment.")
@click.option(
    "--remove-shortcuts", type=click.Path(exists=True, dir_okay=False), metavar="FILE",
    help="Remove the frequencies of their own class's map from images.",
)  # fmt: skip
@click.option(
    "--remove-p", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="Chance of --remove-shortcuts."
)
@click.option(
    "--bandpass-augment", type=click.FloatRange(0, 1), metavar="P",
    help="Chance that an image keeps only frequencies below a random cut-off.",
)  # fmt: skip
@click.option(
    "--noise-augment", type=click.FloatRange(0, 1), metavar="P",
    help="Chance that an image is mixed with Gaussian noise, a x + sqrt(1 - a^2) e.",
)  # fmt: skip
@click.option("--noise-band", default="", metavar="BAND", help="Of that noise: low-R, high-R or A-B.  [default: white]")
@click.option(
    "--adversarial-training", "adversarial", metavar="ATTACK",
    help="Learn from attacked images: pgd:eps=8:steps=7:step=2 (eps in 1/255), pgd-l2:eps=0.5, fgsm:eps=8.",
)  # fmt: skip
@click.option("--follow", type=click.IntRange(1), metavar="N", help="Learning-order curves: F1 every N iterations.")
@click.option("--follow-until", type=click.IntRange(1), metavar="N", help="Only up to iteration N.")
@click.option("--per-radius", metavar="R,R,...", help="After each epoch, accuracy on low and high frequencies alone.")
@click.option("--component-encoding", type=click.Choice(ENCODINGS),
              help="How these are shown; see `freqkit data components`.  [default: raw]")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Weights, order, augmentations.")
@click.option("--device", type=Device(), default="auto", show_default=True)
@click.option("--out", type=click.Path(file_okay=False), metavar="DIR", help="Where the run shall stand.")
@click.option("--keep-every", type=click.IntRange(1), metavar="N", help="Keep the weights of every Nth epoch.")
@click.option("--tensorboard", is_flag=True, help="Also write event files (needs the package tensorboard).")
@click.option("--resume", is_flag=True, help="Continue the run in DIR; its result is the uninterrupted one's.")
@click.option("--overwrite", is_flag=True, help="Replace the run in DIR.")
@click.option("--dry-run", is_flag=True, help="Only say how much work it is, after a few steps.")
@options(JSON)
def train(out, val, val_part, augment, dry_run, as_json, **flags):
    """Train a classifier and keep its weights, its history and everything that it depends on.

    Writes run.json, weights.safetensors, history.csv, history.png and checkpoint.safetensors into DIR, with --follow
    learning.safetensors, .csv and .png. Without --part, --data's train part is taken where there are several.
    torchrun starts several processes that share every batch.

    \b
    freqkit train --model cifar_resnet20 --data cifar-10-batches-py --recipe cifar --val-part test --out runs/r20
    torchrun --nproc-per-node 4 -m freqkit train ...
    """
    from freqkit.data import parts_of
    from freqkit.errors import UsageError
    from freqkit.training import BandPass, DiffusionNoise, OtherClassMaps, ShortcutRemoval
    from freqkit.training import train as train_model

    if out is None and not dry_run:
        raise UsageError("--out must be given, or --dry-run.")
    recipe, seed, follow = flags["recipe"], flags["seed"], flags["follow"]
    if flags["resume"] and flags["overwrite"]:
        raise UsageError("--resume and --overwrite exclude each other; give one of them.")
    first = first_rank()
    changes = {name: flags[name] for name in _names(CHANGES) if flags.get(name) is not None}
    if augment is not None:
        changes["augment"] = () if augment == "none" else tuple(part.strip() for part in augment.split(","))
    if flags["val_fraction"] is not None:
        changes["val_fraction"] = flags["val_fraction"]
    if flags["part"] is None and "train" in parts_of(flags["data"], flags["layout"]):
        flags["part"] = "train"
    # The model is made for the classes of the images, so its side has to be known before it is made.
    images = the_images({**flags, "image_size": flags["image_size"] or _own_side(flags["model"])}, preset=recipe)
    model = the_model(flags, data=images, seed=seed)
    held_out = None
    if val is not None or val_part is not None:
        elsewhere = {"data": val or flags["data"], "layout": flags["layout"] if val is None else "auto"}
        held_out = the_images(
            {**flags, **elsewhere, "part": val_part, "classes": images.classes, "limit_per_class": None,
             "split_fraction": None, "image_size": images.images.shape[-1], "data_seed": 0},
            preset=recipe,
        )  # fmt: skip
    spectral = [OtherClassMaps(flags["dfm_augment"], flags["p"])] if flags["dfm_augment"] else []
    if flags["remove_shortcuts"]:
        spectral.append(ShortcutRemoval(flags["remove_shortcuts"], flags["remove_p"]))
    if flags["noise_band"] and flags["noise_augment"] is None:
        raise UsageError("--noise-band is of --noise-augment P; give that, too.")
    if flags["bandpass_augment"] is not None:
        spectral.append(BandPass(flags["bandpass_augment"]))
    if flags["noise_augment"] is not None:
        spectral.append(DiffusionNoise(flags["noise_augment"], band=flags["noise_band"]))
    settings = {
        "recipe": recipe, "val_set": held_out, "spectral": spectral, "follow": follow,
        "follow_until": flags["follow_until"], "per_radius": numbers_of(flags["per_radius"], "--per-radius"),
        "component_encoding": flags["component_encoding"], "adversarial": flags["adversarial"],
        "seed": seed, "device": resolve_device(flags["device"]), **changes,
    }  # fmt: skip
    if dry_run:
        plan = train_model(model, images, dry_run=True, **settings)
        plan["seconds_per_class"] = plan["seconds"] / len(images.classes)
        if first:
            _show_plan(plan, as_json)
        return
    with watcher() if first else nullcontext() as progress, steps(progress, "training") as advance:
        history = train_model(
            model, images, out=out, progress=advance if first else None, **settings,
            **{name: flags[name] for name in ("resume", "overwrite", "keep_every", "tensorboard")},
        )  # fmt: skip
    if not first:
        return
    pictures = _draw(history, out, follow)
    if as_json:
        weights = str(Path(out) / "weights.safetensors")
        facts = {"weights": weights, "history": history, "model": model.record, "pictures": pictures}
        say_json(facts)
        return
    report = history["val"] or history["train"]
    show_table(
        [("class", "left"), *((name, "right") for name in ("images", "accuracy", "precision", "F1"))],
        [
            [name, str(row["images"]), percent(row["accuracy"]), percent(row["precision"]), number(row["f1"])]
            for name, row in list(report["classes"].items())[:30]
        ],
        title=f"{'Validation' if history['val'] else 'Training'} images: accuracy {percent(report['accuracy'])}",
    )
    if history.get("learning"):
        learned = history["learning"]["learned_at"]
        order = sorted((name for name in learned if learned[name] is not None), key=lambda name: learned[name])
        named = ", ".join(f"{name} {learned[name]}" for name in order[:20]) or "none"
        say(f"F1 of 0.8 and more from iteration: {named}; not yet: {len(learned) - len(order)} classes")
    say(f"accuracy on the training images {percent(history['train']['accuracy'])}; everything is in {out}/")


def _names(group):
    """Parameter names of click options."""
    probe = click.Command("probe")
    for option in group:
        option(probe)
    return [parameter.name for parameter in probe.params]


def _own_side(name):
    from freqkit.models.networks import BUILT_IN

    return 32 if name in BUILT_IN else None


def _draw(history, out, follow):
    from freqkit.report import plot_history, save_figure
    from freqkit.results import LearningCurves

    out = Path(out)
    save_figure(plot_history(history), out / "history.png")
    pictures = [str(out / "history.png")]
    if follow:
        save_figure(LearningCurves.load(out / "learning.safetensors").plot(), out / "learning.png")
        pictures.append(str(out / "learning.png"))
    return pictures


def _show_plan(plan, as_json):
    if as_json:
        say_json(plan)
        return
    tell(
        f"{plan['images']} training and {plan['val_images']} validation images, {plan['recipe']['epochs']} epochs of "
        f"{plan['steps_per_epoch']} steps, {amount(plan['parameters'])} parameters, {plan['ranks']} process(es)"
    )
    tell(
        f"{amount(plan['forwards'])} forwards and {amount(plan['backwards'])} backwards, about "
        f"{duration(plan['seconds'])} at the speed just measured, {duration(plan['seconds_per_class'])} for each class"
    )
