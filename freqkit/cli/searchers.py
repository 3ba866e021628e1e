"""`freqkit search --searcher ...` beside `hfss`, and `freqkit compare-searchers`."""

from pathlib import Path

import click

from freqkit.cli.app import app, command
from freqkit.cli.options import (
    DATA,
    ENGINE_KEYS,
    JSON,
    MODEL,
    RUN,
    options,
    set_defaults,
    side_of,
    take_published_order,
    the_images,
    the_model,
)
from freqkit.cli.progress import amount, duration, watcher
from freqkit.cli.tables import number, percent, show_table
from freqkit.cli.values import Share, resolve_device
from freqkit.cli.voice import say, say_json, tell

# searcher -> the flags of `freqkit search` that are its own
OWN_FLAGS = {
    "hfss": (
        "preset",
        "stages",
        "candidates",
        "keep",
        "top",
        "seed",
        "risk",
        "stopping",
        "published_batch_size",
        "published_order",
    ),
    "learned": ("coverage", "objective", "steps", "seed"),
    "evolve": ("coverage", "objective", "generations", "seed"),
    "greedy": ("coverage", "tolerance"),
    "gradient": ("coverage", "patch", "rescore", "seed"),
    "removal": ("coverage", "patch"),
}
DEFAULT = "learned"
SEARCHER = (
    click.option(
        "--searcher",
        type=click.Choice(list(OWN_FLAGS)),
        help="learned: by gradients; hfss: random masks, refined; evolve: by answers alone; greedy, gradient, removal:"
        " one frequency after the other.  [default: learned; hfss with --preset or another flag of hfss alone]",
    ),
    click.option(
        "--coverage", type=Share(), default=0.05, show_default=True, help="all but hfss: share of the bins to keep."
    ),
    click.option(
        "--objective",
        type=click.Choice(["tpr-fpr", "contrast", "class-loss"]),
        default="tpr-fpr",
        show_default=True,
        help="learned, evolve: what is sought; class-loss is the papers'.",
    ),
    click.option("--steps", type=click.IntRange(1), default=120, show_default=True, help="learned: gradient steps."),
    click.option("--generations", type=click.IntRange(1), default=12, show_default=True, help="evolve: how many."),
    click.option(
        "--tolerance", type=click.IntRange(0), help="greedy: images a removal may cost.  [default: 0.6% of the class]"
    ),
    click.option("--patch", type=click.IntRange(1), default=1, show_default=True, help="removal, gradient: bins."),
    click.option(
        "--rescore", type=click.FloatRange(0, 1), default=0.2, show_default=True, help="gradient: share to measure."
    ),
)


def choose_searcher(context):
    """The searcher asked for: by --searcher, else by a flag that is of hfss alone (a preset means the published
    method), else the default one.

    Raises:
        UsageError: a flag of another searcher was given, which would do nothing.
    """
    from click.core import ParameterSource

    from freqkit.errors import UsageError

    all_own = {name for names in OWN_FLAGS.values() for name in names}
    of_others = {name for searcher, names in OWN_FLAGS.items() if searcher != "hfss" for name in names}
    given = {
        name
        for name in all_own
        if context.get_parameter_source(name) in (ParameterSource.COMMANDLINE, ParameterSource.DEFAULT_MAP)
    }
    chosen = context.params["searcher"]
    if chosen is None:
        chosen = "hfss" if given & (set(OWN_FLAGS["hfss"]) - of_others) else DEFAULT
    for name in sorted(given - set(OWN_FLAGS[chosen])):
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            owners = [searcher for searcher, names in OWN_FLAGS.items() if name in names]
            raise UsageError(
                f"--{name.replace('_', '-')} is a flag of {' and '.join(owners)}; --searcher {chosen} has none."
            )
    context.params["searcher"] = chosen  # on record in run.yaml
    if "published_batch_size" in given and context.params["preset"] == "default":
        if context.get_parameter_source("published_batch_size") is ParameterSource.COMMANDLINE:
            raise UsageError("--published-batch-size is of the published loss; it needs --preset cvpr2025.")
    if chosen == "hfss" and context.params["preset"] == "cvpr2025":
        from freqkit.search.hfss import PUBLISHED

        set_defaults(context, PUBLISHED)
    take_published_order(context)
    return chosen


def run_searcher(name, model, images, flags, ranks, show_plan):
    """What `freqkit search` does for a searcher that is not hfss; `flags` are the values of all its options."""
    from freqkit import search as searchers
    from freqkit.report import examples_of, plot_removal, save_examples, save_figure, write_pictures

    settings = {key: flags[key] for key in OWN_FLAGS[name]}
    if name in ("gradient", "removal"):
        share = settings.pop("coverage")
        settings.update(levels=(share,), level=share)
    settings.update(
        batch_size=flags["batch_size"], device=resolve_device(flags["device"]), dtype=flags["dtype"],
        **{key: flags[key] for key in ENGINE_KEYS},
    )  # fmt: skip
    search = getattr(searchers, name)
    if flags["dry_run"]:
        plan = search(model, images, dry_run=True, **settings)
        if ranks.first:
            show_plan(plan)
        return
    out = Path(flags["out"])
    with watcher(log=flags["log_json"]) as progress:
        result = search(
            model, images, out=out, resume=flags["resume"], overwrite=flags["overwrite"], progress=progress, **settings
        )
    if not ranks.first:
        return
    if name in ("gradient", "removal"):
        save_figure(plot_removal(result), out / "dfms.png")
        save_figure(plot_removal(result, which="increase"), out / "increase.png")
        save_examples(out / "examples.safetensors", examples_of(model, images, result.masks, result.classes))
    else:
        write_pictures(result, model, images, out)
    if flags["as_json"]:
        say_json(facts_of(result, out))
        return
    share = f"{100 * flags['coverage']:g}% of the frequencies{kept_of(result, flags['coverage'])}"
    show_classes(result, title=f"Each class seen only through {share}")
    say(f"{cost_of(result)}; everything is in {out}/")


def facts_of(result, out):
    """What --json prints of any search."""
    names = ("forwards", "backwards", "forward_equivalents", "seconds")
    from freqkit.report.readings import READINGS
    from freqkit.report.words import same_maps
    from freqkit.search.pages import readings_of_search

    found = readings_of_search(result)
    rows = [{**row, "reading": READINGS[one.word]} for row, one in zip(result.table(), found, strict=True)]
    return {
        "out": str(out), "clean": clean_facts(result.clean), "same_maps": same_maps(result.classes, result.masks),
        "classes": rows, **{name: getattr(result, name) for name in names},
    }  # fmt: skip


def clean_facts(clean):
    """What --json prints of the whole images; None where they were not asked."""
    if clean is None:
        return None
    names = ("accuracy", "interval", "images", "chance", "near_chance")
    return {**{name: getattr(clean, name) for name in names}, "cautions": clean.cautions()}


def show_clean(clean):
    """The first lines of a command's output: what the network makes of whole images, and what that speaks against."""
    tell("Whole images were not asked: clean accuracy is not known." if clean is None else clean.sentence())
    for caution in [] if clean is None else clean.cautions():
        tell(f"Caution: {caution}")


def kept_of(result, asked):
    """ "" where the maps of a result keep about the share asked for, else what they keep: cells and ties come whole."""
    kept = sorted(row["coverage"] for row in result.table())
    if kept[0] > 0.9 * asked and kept[-1] < 1.1 * asked:
        return ""
    low, high = (percent(value) for value in (kept[0], kept[-1]))
    return f" ({low if low == high else f'{low} to {high}'} kept)"


def cost_of(result):
    """A sentence about the cost of any search."""
    cost = f"{amount(result.forwards)} forwards"
    if result.backwards:
        cost += f", {amount(result.backwards)} backwards"
    return f"{cost} in {duration(result.seconds)}"


def show_classes(result, *, title, limit=30):
    """Print the classes of any search's result, best TPR - FPR first."""
    rows = sorted(result.table(), key=lambda row: -row["TPR-FPR"])
    extra = "stage" if "stage" in rows[0] else "unfiltered loss"
    from freqkit.report.readings import shortcuts_sentence
    from freqkit.report.words import same_maps
    from freqkit.search.pages import readings_of_search

    show_clean(result.clean)
    for caution in same_maps(result.classes, result.masks):
        tell(f"Caution: {caution}")
    names = ("clean TPR", "loss", "TPR", "FPR", "TPR-FPR", "still", "kept", "power", extra)
    show_table(
        [("class", "left"), *((name, "right") for name in names)],
        [
            [
                row["class"],
                percent(row["clean TPR"]),
                number(row["loss"]),
                *(percent(row[name]) for name in ("TPR", "FPR", "TPR-FPR", "still recognised", "coverage", "power")),
                str(row[extra]) if extra == "stage" else number(row[extra]),
            ]
            for row in rows[:limit]
        ],
        title=title,
        note="still: of the images that are recognised whole, those that are through the map, too"
        + (f"; {len(rows) - limit} more classes in classes.csv" if len(rows) > limit else ""),
    )
    say(shortcuts_sentence(readings_of_search(result), " on the images that were searched"))


@command(app, "compare-searchers", leaves_records=True)
@options(MODEL, DATA)
@click.option(
    "--held-out", required=True, type=click.Path(exists=True, file_okay=False), metavar="DIR",
    help="Images that no searcher sees, laid out as those of --data may be; rates and losses are theirs.",
)  # fmt: skip
@click.option(
    "--held-out-part", type=click.Choice(["train", "val", "test"]), help="Which, when that DIR holds several."
)
@click.option("--out", required=True, type=click.Path(file_okay=False), metavar="DIR", help="Where the results go.")
@click.option("--searchers", metavar="NAME[,NAME...]", help="Some of them.  [default: all]")
@click.option(
    "--effort", "efforts", multiple=True, metavar="NAME=N[,N...]",
    help="Efforts of a searcher: hfss masks per stage, evolve generations, learned steps. May be repeated.",
)  # fmt: skip
@click.option("--per-class", type=click.IntRange(1), default=30, show_default=True, help="Images to select on.")
@click.option("--coverage", type=Share(), default=0.05, show_default=True, help="Share of the bins to keep.")
@click.option("--seeds", type=click.IntRange(1), default=5, show_default=True, help="Draws of images, and runs.")
@click.option("--slow-seeds", type=click.IntRange(1), help="Of hfss, removal, greedy.  [default: as many]")
@options(RUN, JSON)
def compare(out, held_out, held_out_part, searchers, efforts, per_class, coverage, seeds, slow_seeds, as_json, **flags):
    """Searchers on equal terms: same model, same images to select on, same other images to judge on.

    Writes comparison.csv (every run), comparison.json (means and spread), comparison.png (held-out TPR - FPR and class
    loss against the cost), report.html, and a folder with a page of its own for every search into DIR. The same command
    goes on where it was stopped.

    \b
    freqkit compare-searchers --model cifar_resnet20 --weights resnet20.safetensors \\
            --data cifar10/train --held-out cifar10/test --slow-seeds 1 --out runs/compared
    """
    from freqkit.errors import UsageError
    from freqkit.report import plot_comparison, save_figure, write_report
    from freqkit.search import compare_searchers

    tried = {}
    for text in efforts:
        name, _, counts = text.partition("=")
        parts = counts.split(",")
        if not name or not all(part.strip().isdecimal() for part in parts):
            raise UsageError(f"--effort must look like learned=40,120; got {text!r}.")
        tried[name.strip()] = tuple(int(part) for part in parts)
    model = the_model(flags)
    side = side_of(model)
    pool = the_images(flags, size=side)
    of_held = {
        "data": held_out,
        "part": held_out_part,
        "layout": "auto",
        "limit_per_class": None,
        "split_fraction": None,
    }
    held = the_images({**flags, **of_held}, size=side)
    settings = {} if searchers is None else {"searchers": [name.strip() for name in searchers.split(",")]}
    with watcher() as progress:
        found = compare_searchers(
            model, pool, held, efforts=tried, per_class=per_class, coverage=coverage, seeds=seeds,
            slow_seeds=slow_seeds, batch_size=flags["batch_size"], device=resolve_device(flags["device"]), out=out,
            progress=progress, **settings,
        )  # fmt: skip
    save_figure(plot_comparison(found), Path(out) / "comparison.png")
    for row in found.rows:
        write_report(Path(out) / f"{row['searcher']}-{row['effort']}-seed{row['seed']}")
    rows = found.table()
    if as_json:
        say_json({"out": str(out), "clean": clean_facts(found.clean), "means": rows, "rows": found.rows})
        return
    show_clean(found.clean)
    show_table(
        [
            ("searcher", "left"),
            *((name, "right") for name in ("effort", "seeds", "forward equivalents", "power", "touched")),
            *((name, "right") for name in ("TPR", "FPR", "TPR-FPR", "sd", "loss", "loss sd")),
        ],
        [
            [
                row["searcher"], str(row["effort"]), str(row["seeds"]), amount(row["forward equivalents"]),
                *(percent(row[name]) for name in ("power", "touched", "TPR", "FPR", "TPR-FPR", "TPR-FPR sd")),
                number(row["loss"]), number(row["loss sd"]),
            ]
            for row in rows
        ],
        title=f"{len(held)} held-out images, each class seen only through its mask; means over classes and seeds",
    )  # fmt: skip
    say(f"Everything is in {Path(out)}/")
