"""`freqkit evaluate`: models on test sets, as they are, through their frequency maps, corrupted, attacked."""

import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from freqkit.cli.app import app, command
from freqkit.cli.options import JSON, MODEL, MODEL_KEYS, load_quietly, of_fields, options, remarks
from freqkit.cli.plans import DRY_RUN, Timed, show_work
from freqkit.cli.progress import watcher
from freqkit.cli.searchers import clean_facts, show_clean
from freqkit.cli.tables import percent, show_table
from freqkit.cli.values import Classes, Device, resolve_device
from freqkit.cli.voice import say, say_json, tell
from freqkit.errors import UsageError
from freqkit.files.whole import slug
from freqkit.measures.evaluation.protocol import Evaluating
from freqkit.registry import TEST_SETS
from freqkit.text import called

NOTES = 6  # how many notes of sets are said
SETS = (
    click.option(
        "--data-dir",
        type=click.Path(exists=True, file_okay=False),
        metavar="ROOT",
        help="Folder that holds the sets.",
    ),
    click.option("--relaxed", is_flag=True, help="Accept trees with missing classes or other counts than published."),
    click.option(
        "--class-map",
        type=click.Path(exists=True, dir_okay=False),
        metavar="FILE",
        help="Lines `counterpart = class`, for sct and other sets of counterpart classes.",
    ),
    click.option("--limit-per-class", type=click.IntRange(1), metavar="N", help="At most N images of each class."),
)


@command(app, "evaluate", leaves_records=True)
@click.option(
    "--model",
    "models",
    required=True,
    multiple=True,
    metavar="NAME",
    help="NAME, NAME=WEIGHTS, a wildcard, or @FILE of such lines; may be given several times.",
)
@options(MODEL[1:])
@click.option(
    "--dfm", type=click.Path(exists=True, dir_okay=False), metavar="FILE", help="Frequency maps of the classes."
)
@click.option(
    "--on",
    required=True,
    metavar="LIST",
    help=f"{', '.join(TEST_SETS)}, NAME=PATH; fgsm, pgd, pgd-l2 (pgd:eps=4:steps=20:band=low-16), "
    "fgsm-cvpr2025, pgd-cvpr2024; generated, generated/fog/3.",
)
@options(SETS)
@options(of_fields(Evaluating, "base", "preset", "image_size", "resize"))
@click.option(
    "--classes", type=Classes(), metavar="LIST", help="Names of the logits: imagenet, ..., or a file, one a line."
)
@options(of_fields(Evaluating, "cross", "on_bad_image"))
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of noise and draws.")
@click.option("--device", type=Device(), default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@options(of_fields(Evaluating, "batch_size"))
@click.option("--out", type=click.Path(file_okay=False), metavar="DIR", help="Run directory.")
@options(DRY_RUN)
@click.option("--resume", is_flag=True, help="Continue what is in DIR.")
@click.option("--overwrite", is_flag=True, help="Replace what is in DIR.")
@click.option(
    "--store", type=click.Path(dir_okay=False), metavar="FILE", help="Also add the results to this store (SQLite)."
)
@click.option("--pictures/--no-pictures", default=True, show_default=True, help="Write the figures.")
@options(JSON)
def evaluate(models, on, out, dry_run, store, pictures, as_json, **flags):
    """TPR and FPR of classes, clean and through their maps, on every set; DIR/results.csv, run.json, figures.

    A class has a shortcut when TPR and FPR say so, as in `freqkit rates`; AvgTPR compares the classes of high
        filtered TPR with the others, as in the paper.

    \b
    freqkit evaluate --model resnet50.a1_in1k --pretrained --dfm runs/hfss/dfm.safetensors \\
                     --on imagenet,v2,c,r,sketch,fgsm --data-dir /data --out runs/ood
    freqkit evaluate --preset cvpr2024 --model study:resnet50_prime --weights-dir weights --data-dir /data \\
                     --on imagenet,v2/matched-frequency,c,c-bar,a,r,sketch,pgd --out runs/study
    """
    from freqkit.data import open_sets
    from freqkit.data.class_lists import class_names
    from freqkit.measures import SelectedOnTestSet
    from freqkit.measures import evaluate as measure
    from freqkit.measures.evaluation import parse_on
    from freqkit.measures.evaluation.readings import readings_of_evaluation
    from freqkit.models import model_names
    from freqkit.report.readings import READINGS, shortcuts_sentence
    from freqkit.results.store import Store

    if out is None and not dry_run:
        raise UsageError("--out must be given, or --dry-run.")
    names = model_names(models, pretrained=flags["pretrained"])
    loader = loader_of(names, flags)
    device, dfm, seed = resolve_device(flags["device"]), flags["dfm"], flags["seed"]
    if store is not None and not dry_run:
        store = Store(store)
    sets, attacks, generated = parse_on(on, flags["preset"])
    failures = []

    def fault(name, error):
        if isinstance(error, UsageError) and "is no known set" in str(error):
            raise error
        failures.append({"model": "", "set": name, "condition": "", "error": " ".join(str(error).split())})

    found = open_sets(
        sets,
        flags["data_dir"],
        seed=seed,
        on_fault=fault,
        **{name: flags[name] for name in ("relaxed", "class_map", "limit_per_class")},
    )
    if not found:
        raise UsageError(f"no set could be opened: {failures[0]['error'] if failures else 'none is given'}")
    _say_notes(found)
    classes = None if flags["classes"] is None else class_names(flags["classes"], "evaluate")
    if flags["resume"] and flags["resize"] is None and not dry_run:
        flags["resize"] = _resize_as_begun(out, flags["preset"])
    taken = ("base", "preset", "image_size", "resize", "on_bad_image", "cross", "batch_size", "resume", "overwrite")
    settings = {"attacks": attacks, "generated": generated, "classes": classes, "seed": seed, "device": device}
    settings |= {name: flags[name] for name in taken}
    if dry_run:
        _plan([(name, loader(name, own)) for name, own in names], found, dfm, settings, as_json)
        return
    with watcher() as progress, warnings.catch_warnings():
        warnings.simplefilter("ignore", SelectedOnTestSet)  # said below, in the command line's words
        for each in failures:
            progress.note(f"failed: {each['set']}: {each['error']}")
        result = measure(
            [(name, loader(name, own)) for name, own in names], found, dfm, out=out, progress=progress,
            failures=failures, **settings,
        )  # fmt: skip
    for title, count in result.record["selected_on"].items():
        if count:
            say(
                f"Warning: the maps were selected on {count} of the images of {title}, so its filtered rates and the "
                "groups made of them are too good. Search with --split-fraction, or on another set."
            )
    if pictures:
        _pictures(result, out, names, loader, found, dfm)
    if store is not None:
        added = store.add(result.rows, source=Path(out).name, record=result.record.get("identity"))
        say(f"{added} rows added to {store.path}")
    found = {name: readings_of_evaluation(result, name) for name, _ in names}
    models = dict.fromkeys(row["model"] for row in result.rows)
    if as_json:
        readings = {
            name: {one.name: {"reading": READINGS[one.word], "TPR": one.tpr, "FPR": one.fpr,
                              "images": one.positives, "pairs": one.negatives} for one in each}
            for name, each in found.items() if each
        }  # fmt: skip
        facts = {
            "clean": {model: clean_facts(result.clean(model)) for model in models},
            "doubts": {model: doubts for model in models if (doubts := _doubts(result, model))},
            "table": result.table(), "readings": readings, "failures": result.failures,
            "forwards": result.record["forwards"], "of_all_sessions": result.record.get("of_all_sessions"),
        }  # fmt: skip
        say_json(facts)
    else:
        for model in models:
            tell(f"{model}:")
            for doubt in _doubts(result, model):
                tell(f"Caution: {doubt}.")
            show_clean(result.clean(model))
        _show(result)
        for name, each in found.items():
            if each:
                few = min(one.negatives for one in each)
                say(f"{name}: {called(shortcuts_sentence(each))} FPR from {few} or more images of other classes each.")
        say(f"Everything is in {out}: results.csv, run.json{', figures' if pictures else ''}")
    if result.failures:
        say(f"{len(result.failures)} could not be evaluated, the first: {result.failures[0]['error']}")
        raise click.exceptions.Exit(1)


def _resize_as_begun(out, preset):
    """How images get their size in a run that is resumed; None: as usual."""
    from freqkit.files.whole import read_run

    begun = read_run(out).get("identity", {}) if (Path(out) / "run.json").is_file() else {}
    return None if preset != "default" else begun.get("resize")


def _plan(models, sets, dfm, settings, as_json):
    """Time a few seconds of each model; what they write is thrown away."""
    from freqkit.measures import SelectedOnTestSet
    from freqkit.measures import evaluate as measure

    rows = []
    settings = {**settings, "resume": False, "overwrite": False}
    for name, load in models:
        with TemporaryDirectory(prefix="freqkit-") as folder, warnings.catch_warnings(), Timed() as timed:
            warnings.simplefilter("ignore", SelectedOnTestSet)
            measure([(name, load)], sets, dfm, out=Path(folder) / "run", progress=timed, **settings)
        rows.append({"work": name, "amount": timed.total, "unit": timed.unit, "seconds": timed.seconds})
    classes = len({name for each in sets for name in each.classes})
    show_work(rows, sum(len(each.labels) for each in sets), classes, as_json)


def loader_of(names, flags):
    """What makes of a name and its weights a function that loads the model, as the flags `MODEL` say.

    A model is loaded when its turn comes: one at a time in memory, and its failure is its own.
    """
    if flags["weights"] and (len(names) > 1 or names[0][1]):
        raise UsageError("--weights is for one model; give several as --model NAME=WEIGHTS.")
    shared = {key: flags[key] for key in MODEL_KEYS if key != "weights"}
    device, told = resolve_device(flags["device"]), {}

    def loader(name, weights):
        published = flags.get("download") if name.startswith("hf-hub:") else ":" not in name
        known = {**shared, "pretrained": shared["pretrained"] and published and not weights}
        known["weights_dir"] = shared["weights_dir"] if name.startswith("study:") and not weights else None

        def load():
            model = load_quietly(name, weights=weights or flags["weights"], device=device, **known)
            if name not in told:  # figures load it again
                told[name] = remarks(model)
                for sentence in told[name]:
                    say(sentence)
            return model

        return load

    return loader


def _doubts(result, model):
    """What speaks against the normalisation in which the model was asked."""
    return result.record["models"].get(model, {}).get("record", {}).get("doubts") or []


def _say_notes(sets):
    """Say what is to be known of the sets; of many conditions the first notes, all stand on the page and on record."""
    notes = list(dict.fromkeys(f"{each.title}: {note}" for each in sets for note in each.notes))
    for note in notes[:NOTES]:
        say(f"Note: {note}.")
    if len(notes) > NOTES:
        say(f"{len(notes) - NOTES} more notes of sets are on record (run.json).")


def _pictures(result, out, names, loader, sets, dfm):
    """The figures of every model; the gallery is of the in-distribution set."""
    from freqkit.masks import load_dfm
    from freqkit.measures.evaluation import preprocessing_for
    from freqkit.report import plot_gallery, save_figure, write_evaluation

    write_evaluation(result, out)
    identity = result.record["identity"]
    base = next((each for each in sets if each.title == identity["base"]), None)
    if dfm is None or base is None:
        return
    maps = load_dfm(dfm)
    for name, weights in names:
        try:
            rates = result.rates("filtered TPR", model=name, set=base.name, condition=base.condition or "all")
            if not rates or not set(rates) & set(maps.classes):
                continue
            model = loader(name, weights)()
            asked = "resize" in identity.get("asked", ())
            how = preprocessing_for(
                base, model, *(identity[key] for key in ("image_size", "resize", "preset")), asked=asked
            )
            figure = plot_gallery(result, model, base, maps, preprocessing=how, name=name)
        except ValueError as error:
            say(f"No gallery of {name}: {error}")
            continue
        save_figure(figure, Path(out) / f"gallery-{slug(name)}.png")


def _show(result):
    """One line per model, set and condition; conditions of corruption are averaged, with "cvpr2025" the 15 of the
    benchmark."""
    from freqkit.measures.evaluation import averaged
    from freqkit.results.rows import place_of

    lines = {}
    published = result.record["identity"]["preset"] == "cvpr2025"
    for row in result.table():
        where, place = row["condition"], place_of(row["condition"])
        if place["severity"] and place["part"] is None:
            if not averaged(where, published):
                continue
            where = "mean of its conditions"
        line = lines.setdefault((row["model"], row["set"], where), {})
        line.setdefault(row["metric"], []).append(row)
    wanted = ("top-1", "mean TPR", "filtered mean TPR", "filtered FPR")
    rows = []
    for (model, name, where), metrics in lines.items():
        if "top-1" not in metrics:
            continue
        cells = [_mean(metrics.get(metric)) for metric in wanted]
        images = sum(row["n"] for row in metrics["top-1"])
        rows.append([model, name, where, str(images), *(percent(cell) for cell in cells)])
    columns = [("model", "left"), ("set", "left"), ("condition", "left"), ("images", "right")]
    show_table([*columns, *((name, "right") for name in wanted)], rows)


def _mean(rows):
    values = [row["value"] for row in rows or () if row["value"] is not None]
    return sum(values) / len(values) if values else None
