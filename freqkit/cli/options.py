"""Flags that several commands share, and what they make."""

import functools
import re
import warnings
from dataclasses import replace

import click

from freqkit.cli.values import (
    KINDS,
    BatchSize,
    Classes,
    Device,
    Folder,
    Memory,
    Risk,
    Share,
    Triple,
    numbers_of,
    resolve_device,
)
from freqkit.cli.voice import say
from freqkit.errors import torchrun
from freqkit.options import Scoring, hints_of, kinds_of, rule_of

MODEL = (
    click.option(
        "--model",
        required=True,
        metavar="NAME",
        help="A built-in (cifar_resnet20, ...), a timm name (also hf-hub:, local-dir:), study:NAME, module:factory or "
        "file.py:factory.",
    ),
    click.option(
        "--weights",
        "--checkpoint",
        type=click.Path(exists=True),
        metavar="FILE",
        help="safetensors, a checkpoint of torch, timm or Lightning (nothing in it is run), or a Hugging Face folder.",
    ),
    click.option(
        "--weights-dir",
        type=click.Path(exists=True, file_okay=False),
        metavar="DIR",
        help="Folder of the weights of study:NAME, as their projects call the files.",
    ),
    click.option("--weights-entry", metavar="NAME", help="The entry of a checkpoint that holds the weights."),
    click.option("--pretrained/--no-pretrained", help="timm's published weights."),
    click.option("--download", is_flag=True, help="Fetch them when they are not on this machine."),
    click.option("--mean", type=Triple(), metavar="R,G,B", help="Normalise images so.  [default: the model's own]"),
    click.option("--std", type=Triple(), metavar="R,G,B", help="Goes with --mean."),
    click.option("--num-classes", type=click.IntRange(1), metavar="N", help="Logits, when the name leaves it open."),
    click.option("--allow-missing", is_flag=True, help="Accept keys that the weights file lacks."),
    click.option("--allow-unexpected", is_flag=True, help="Accept keys that the network does not have."),
    click.option(
        "--smooth-kernels", type=click.FloatRange(0), metavar="RHO",
        help="Add RHO times its eight neighbours to every weight of the first convolution.",
    ),
    click.option("--normalise-kernels", is_flag=True, help="Divide smoothed kernels by 1 + 8 RHO."),
)  # fmt: skip
SPLIT_FRACTION = click.option(
    "--split-fraction", type=Share(), metavar="SHARE", help="A random share of each class, by --data-seed."
)
DATA = (
    click.option(
        "--data",
        "--data-dir",
        required=True,
        type=Folder(),
        metavar="DIR",
        help="DIR/class/file, CIFAR batches, MNIST's idx files, or npy arrays.",
    ),
    click.option("--part", type=click.Choice(["train", "val", "test"]), help="Which, when DIR holds several."),
    click.option(
        "--layout",
        type=click.Choice(["auto", "folder", "cifar-binary", "cifar-python", "idx", "npy"]),
        default="auto",
        show_default=True,
        help="How DIR is laid out, when its names leave that open.",
    ),
    click.option(
        "--image-size",
        "--img-size",
        type=click.IntRange(1),
        metavar="N",
        help="Side in pixels.  [default: the model's own, else as stored]",
    ),
    click.option(
        "--resize",
        type=click.Choice(["own", "squash", "center-crop"]),
        help="own: as the model was published; where it does not say, images of one size as they are, else as"
        " center-crop.  [default: own; squash under published presets]",
    ),
    click.option(
        "--classes",
        type=Classes(),
        metavar="LIST",
        help="Names of all the model's classes in order, when DIR holds only some: imagenet, imagenet-a, imagenet-r,"
        " cifar10, cifar100, or a file with one a line. Some of ImageNet's (wnids) are known unasked.",
    ),
    click.option("--limit-per-class", type=click.IntRange(1), metavar="N", help="At most N images of each class."),
    SPLIT_FRACTION,
    click.option("--data-seed", type=click.IntRange(0), default=0, show_default=True, help="Draws the split."),
    click.option(
        "--npy-floats",
        type=click.Choice(["round", "published"]),
        help="npy floats to bytes: rounded, or clipped to [0, 1] and rounded down.  [default: round; published under"
        " iccv2023 and dfm_v2023]",
    ),
    click.option(
        "--on-bad-image",
        type=click.Choice(["error", "skip"]),
        default="error",
        show_default=True,
        help="What to do with a file that is no image.",
    ),
    click.option(
        "--cache",
        type=click.Path(file_okay=False),
        metavar="DIR",
        help="Keep decoded images in DIR, for later runs and for all processes of this machine.  [default:"
        " $FREQKIT_CACHE, else the user's cache folder]",
    ),
    click.option("--no-cache", is_flag=True, help="Decode images into the memory of every process, and keep nothing."),
    click.option(
        "--cache-budget",
        type=Memory(),
        metavar="SIZE",
        help="What DIR may hold, at most half of what the disk has free; the oldest go first.  [default: 20GiB]",
    ),
)
DATA_OF_SEARCH = tuple(one for one in DATA if one is not SPLIT_FRACTION)  # a search says itself what a share is for
RUN = (
    click.option("--device", type=Device(), default="auto", show_default=True, help="auto, cpu, cuda or cuda:N."),
    click.option("-b", "--batch-size", type=BatchSize(), default="auto", show_default=True, help="Images per forward."),
)
PUBLISHED_ORDER = (
    click.option(
        "--published-order", is_flag=True,
        help="Take and order the images as the released HFSS code: a stratified share (--split-fraction, there 0.05), "
        "shuffled (--data-seed, there 42).",
    ),
)  # fmt: skip
ENGINE_KEYS = ("memory", "form", "spectra")
DTYPE = (
    click.option(
        "--dtype",
        type=click.Choice(["float32", "float64", "bfloat16", "float16"]),
        default="float32",
        show_default=True,
        help="What the network computes in.",
    ),
)
GOING_ON = (
    click.option("--resume", is_flag=True, help="Continue the run in DIR; its result is the uninterrupted one's."),
    click.option("--overwrite", is_flag=True, help="Replace the run in DIR."),
)
LOG = (
    click.option(
        "--log-json",
        type=click.Path(dir_okay=False),
        metavar="FILE",
        help="Append one JSON object per event to FILE.",
    ),
)
JSON = (click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout, nothing else."),)
MODEL_KEYS = (
    "weights", "weights_dir", "weights_entry", "pretrained", "mean", "std", "num_classes", "allow_missing",
    "allow_unexpected", "smooth_kernels", "normalise_kernels",
)  # fmt: skip


def options(*groups):
    """A decorator that gives a command the flags of `groups`, in their order."""
    flat = [option for group in groups for option in group]
    return lambda function: functools.reduce(lambda f, option: option(f), reversed(flat), function)


def of_fields(group, *names, **said):
    """The flags of fields of an `Options`: their spelling, type, default and help.

    Args:
        names: of the fields; none: all that have a flag.
        said: field -> what its --help says in place of its own.
    """
    rules = {name: rule_of(field) for name, field in group.fields().items()}
    return tuple(
        of_field(group, name, replace(rules[name], help=said[name]) if name in said else rules[name])
        for name in names or [name for name, rule in rules.items() if rule.flag]
    )


def of_field(group, name, rule):
    """The flag of one field, by a rule that may be another than the field's own."""
    field, hint = group.fields()[name], hints_of(group)[name]
    text = sentence(rule.says if rule.help is None else rule.help)
    if rule.switch:
        return click.option(f"--{rule.switch[0]}", is_flag=True, help=text)
    default = field.default if rule.usual is None else rule.usual
    shown = {"default": default, "show_default": True} if default is not None else {}
    if rule.kind == "names":
        shown = {}  # all there are
    elif rule.kind == "counts":
        shown["default"] = str(default)
    elif rule.kind == "shares":
        shown["default"] = ",".join(f"{one:g}" for one in default)
    flag = f"--{rule.flag if isinstance(rule.flag, str) else field.name.replace('_', '-')}"
    return click.option(flag, field.name, type=_type(rule, kinds_of(hint)), metavar=rule.metavar, help=text, **shown)


def _type(rule, kinds):
    if rule.kind is not None:
        return KINDS[rule.kind]()
    if rule.choices is not None:
        return click.Choice([one for one in rule.choices if isinstance(one, str)])
    if float in kinds and (rule.above, rule.most) == (0, 1):
        return Share()
    if float in kinds and (rule.least, rule.below) == (0, 1):
        return Risk()
    if float in kinds or int in kinds:
        low = rule.least if rule.above is None else rule.above
        high = rule.most if rule.below is None else rule.below
        if float in kinds:
            return click.FloatRange(low, high, min_open=rule.above is not None, max_open=rule.below is not None)
        return click.INT if low is None and high is None else click.IntRange(low, high)
    return click.STRING


def sentence(text):
    """A clause as --help shows it; one that begins with a name and a colon stays as it is.

    Example:
        >>> sentence("masks per stage"), sentence("certain: the same maps"), sentence("of these.  [default: all]")
        ('Masks per stage.', 'certain: the same maps.', 'Of these.  [default: all]')
    """
    if not text:
        return None
    if not re.match(r"[\w-]+(, [\w-]+)*: ", text):
        text = text[0].upper() + text[1:]
    return text if text.endswith(("]", ".")) else f"{text}."


def asked(flags, group):
    """What flags made by `of_fields` say: field -> value."""
    found = {}
    for name, field in group.fields().items():
        rule = rule_of(field)
        if rule.switch:
            switch, value = rule.switch
            found[name] = value if flags[switch.replace("-", "_")] else field.default
        elif name in flags and rule.flag:
            flag = f"--{name.replace('_', '-')}"
            found[name] = numbers_of(flags[name], flag) if rule.kind == "numbers" else flags[name]
            if rule.kind == "names":
                found[name] = field.default if flags[name] is None else [one.strip() for one in flags[name].split(",")]
    return found


ENGINE = of_fields(Scoring, *ENGINE_KEYS)


def the_model(flags, *, data=None, seed=0):
    """Load the model that the flags name; with `data`, it gets as many logits as the data has classes."""
    chosen = {key: flags[key] for key in MODEL_KEYS if key in flags}
    if chosen.get("num_classes") is None and data is not None:
        chosen["num_classes"] = len(data.classes)
    if chosen.get("pretrained") and not flags.get("download"):
        _must_be_here(flags["model"])
        chosen["pretrained"] = not flags["model"].startswith("hf-hub:")  # else the hub would be asked
    model = load_quietly(flags["model"], seed=seed, device=resolve_device(flags["device"]), **chosen)
    for sentence in remarks(model, trains=data is not None):
        say(sentence)
    return model


def load_quietly(name, *, smooth_kernels=None, normalise_kernels=False, **how):
    """`freqkit.models.load_model`, and `smooth_kernels` where it is asked for; what it doubts is said by `remarks`, in
    the command line's words."""
    from freqkit.errors import UsageError
    from freqkit.models import ModelWarning, load_model
    from freqkit.models import smooth_kernels as smoothed

    if normalise_kernels and smooth_kernels is None:
        raise UsageError("--normalise-kernels goes with --smooth-kernels RHO; it was given alone.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ModelWarning)
        model = load_model(name, **how)
    return model if smooth_kernels is None else smoothed(model, smooth_kernels, normalise_kernels)


def remarks(model, *, trains=False):
    """What whoever asks a model should know of it: a list of sentences. `trains`: a network to be trained need not have
    weights."""
    name, record = model.name, model.record
    found = [f"Caution: {doubt}." for doubt in model.doubts]
    if inside := record.get("normalises_itself"):
        found.append(
            f"Note: {name} normalises images itself (by what it keeps as {', '.join(inside[:3])}), so it gets them in"
            " [0, 1] as they are."
        )
    if note := (record.get("weights") or {}).get("note"):
        found.append(f"Note: {record['weights']['file']}: {note}.")
    # a factory may have loaded its own
    if not trains and record.get("weights") is None and not record.get("pretrained") and ":" not in name:
        found.append(f"Note: {name} has random weights; give --weights FILE or --pretrained.")
    if not trains and record.get("normalisation") == "none":
        found.append(
            f"Note: {name} names no mean and std, so it gets images in [0, 1] as they are; if it was trained on"
            " normalised ones, give --mean and --std."
        )
    return found


def _must_be_here(name):
    """Refuse to fetch published weights unless that was asked for."""
    from freqkit.errors import UsageError
    from freqkit.models import list_models, published_weights

    # a name that timm does not know is load_model's to complain of
    if name in list_models(name) + list_models(name, pretrained=True) and published_weights(name) is None:
        raise UsageError(f"--pretrained: the published weights of {name!r} are not on this machine; give --download.")


def scoring_of(flags):
    """What the flags `RUN`, `ENGINE` and `DTYPE` say of how a model is asked."""
    names = [name for name in ("batch_size", "dtype", *ENGINE_KEYS) if name in flags]
    return {**{name: flags[name] for name in names}, "device": resolve_device(flags["device"])}


def take_published_order(context):
    """With --published-order, the share and seed of the released code where none are given."""
    from freqkit.data.image_set import PUBLISHED_SEED, PUBLISHED_SHARE

    if context.params["published_order"]:
        set_defaults(context, {"split_fraction": PUBLISHED_SHARE, "data_seed": PUBLISHED_SEED})


def set_defaults(context, values):
    """Give flags values unless they were given; what is chosen stands in run.yaml."""
    from click.core import ParameterSource

    for name, value in values.items():
        if context.get_parameter_source(name) is ParameterSource.DEFAULT:
            context.params[name] = value


def npy_floats(flags, preset):
    """How npy floats become bytes: as the flag says, else as the preset or recipe has it."""
    return flags["npy_floats"] or ("published" if preset in ("iccv2023", "dfm_v2023") else "round")


def resize_of(flags, preset):
    """How images get their size: as the flag says, else as the run that is resumed began, else as the preset or recipe
    has it. What is chosen stands in run.yaml."""
    usual = "squash" if preset in ("cvpr2025", "iccv2023", "dfm_v2023") else "own"
    begun = None if flags["resize"] else _as_begun()
    if begun not in (None, usual) and torchrun()[0] == 0:
        say(f"Note: images are read with --resize {begun}, as when this run began.")
    chosen = flags["resize"] or begun or usual
    context = click.get_current_context(silent=True)
    if context is not None and "resize" in context.params:
        context.params["resize"] = chosen
    return chosen


def _as_begun():
    """The `resize` in run.yaml of a run that is resumed, or None."""
    from freqkit.cli.records import config_path
    from freqkit.files.reading import fit, read_yaml

    context = click.get_current_context(silent=True)
    asked = {} if context is None else context.params
    if not asked.get("resume") or asked.get("out") is None or not (file := config_path(asked["out"])).is_file():
        return None
    begun = fit(read_yaml(file), {"flags?": ({"resize?": (str, None)}, None)}, file)
    return (begun.get("flags") or {}).get("resize")


def the_images(flags, *, model=None, preset=None, **how):
    """Read the images that the flags name, for a model if there is one, as the `preset` (or recipe) reads them; `how`:
    what is asked otherwise."""
    from freqkit.data import load_images
    from freqkit.data.cache import CacheWarning

    asked = {
        "image_size": flags["image_size"],
        "resize": resize_of(flags, preset),
        "model": model,
        "layout": flags["layout"],
        "part": flags["part"],
        "classes": flags["classes"],
        "limit_per_class": flags["limit_per_class"],
        "split_fraction": flags["split_fraction"],
        "split_order": "published" if flags.get("published_order") else "path",
        "seed": flags["data_seed"],
        "npy_floats": npy_floats(flags, preset),
        "on_bad_image": flags["on_bad_image"],
        "cache": None if flags["no_cache"] else flags["cache"] or "auto",
        "cache_budget": flags["cache_budget"],
    }
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", CacheWarning)
        images = load_images(flags["data"], **{**asked, **how})
    for one in said:
        if torchrun()[0] == 0:
            say(f"Note: {one.message}")
    say_notes(images)
    return images


def say_notes(images):
    """Say what the record of a set of images notes: what was left out, and how classes are ordered."""
    if torchrun()[0] == 0:
        for note in images.record.get("notes", []):
            say(f"Note: {note}.")
