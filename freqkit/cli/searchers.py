"""What commands say of any search, and `freqkit compare-searchers`."""

from pathlib import Path

import click

from freqkit.cli.app import app, command
from freqkit.cli.options import DATA, JSON, MODEL, RUN, asked, of_fields, options, the_images, the_model
from freqkit.cli.progress import amount, duration, watcher
from freqkit.cli.tables import number, percent, show_table
from freqkit.cli.values import resolve_device
from freqkit.cli.voice import say, say_json, tell
from freqkit.registry import SEARCHERS, module_of
from freqkit.search.compare import EFFORTS, Comparing
from freqkit.text import called


def found_by(searcher):
    """The function of a searcher."""
    return getattr(module_of(SEARCHERS, searcher), searcher)


def testing_of(flags):
    """How the flags of a search say that it is tested; in published order the share is what is searched, all of it."""
    share = 1 if flags.get("published_order") else flags["split_fraction"]
    return {"split_fraction": share, "split_seed": flags["data_seed"], "null": flags["null"],
            "null_labels": flags["null_labels"]}  # fmt: skip


def images_of_search(flags, **how):
    """All images that the flags name, of which a search selects with a share; in published order that share alone."""
    return the_images(flags if flags.get("published_order") else {**flags, "split_fraction": None}, **how)


def write_and_show(result, model, images, out, as_json, title):
    """Write the pictures of any search's result, and print it. The pictures are of held-out images where each class has
    some."""
    held = result.record.get("identity", {}).get("test", {}).get("split_fraction")
    if result.held_out is not None and int(result.held_out.counts.min()):
        _, images = images.split(held, result.record["identity"]["test"]["seed"])
    from freqkit.report import examples_of, plot_removal, save_examples, save_figure, write_pictures
    from freqkit.results import RemovalResult

    if isinstance(result, RemovalResult):
        out = Path(out)
        pictures = [out / "dfms.png", out / "increase.png"]
        for path, which in zip(pictures, ("masks", "increase"), strict=True):
            save_figure(plot_removal(result, which=which), path)
        save_examples(out / "examples.safetensors", examples_of(model, images, result.masks, result.classes))
    else:
        pictures = write_pictures(result, model, images, out)
    if as_json:
        say_json({**facts_of(result, out), "pictures": [str(path) for path in pictures]})
        return
    if result.held_out is not None:
        title += f"; {int(result.held_out.counts.sum()):,} images that were held out"
    show_classes(result, title=title)
    say(f"{cost_of(result)}; everything is in {Path(out)}/")


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
    from freqkit.report.readings import shortcuts_sentence
    from freqkit.report.words import or_last, p_words, same_maps
    from freqkit.search.pages import readings_of_search, where_of

    rows = sorted(result.table(), key=lambda row: -or_last(row["TPR-FPR"]))
    extra = "stage" if "stage" in rows[0] else "unfiltered loss"
    show_clean(result.clean)
    for caution in same_maps(result.classes, result.masks):
        tell(f"Caution: {caution}")
    compared = result.tested is not None and len(result.tested.null) > 0
    columns = {
        "clean TPR": ("clean TPR", percent), "loss": ("loss", number),
        **{name: (name, percent) for name in ("TPR", "FPR", "TPR-FPR")},
        **({"random": ("random masks", percent), "p": ("p", p_words)} if compared else {}),
        **({"selected": ("selection TPR-FPR", percent)} if result.held_out is not None else {}),
        "still": ("still recognised", percent), "kept": ("coverage", percent),
    }  # fmt: skip
    if result.tested is None:
        columns |= {"power": ("power", percent), extra: (extra, str if extra == "stage" else number)}
    notes = ["still: of the images that are recognised whole, those that are through the map, too"]
    if compared:
        notes.insert(0, f"random: the highest TPR-FPR of {len(result.tested.null)} random masks of as many frequencies")
    if result.held_out is not None:
        notes.insert(0, "selected: TPR-FPR on the images that selected the maps")
    if len(rows) > limit:
        notes.append(f"{len(rows) - limit} more classes in classes.csv")
    show_table(
        [("class", "left"), *((name, "right") for name in columns)],
        [[row["class"], *(say_it(row[key]) for key, say_it in columns.values())] for row in rows[:limit]],
        title=title,
        note="; ".join(notes),
    )
    say(called(shortcuts_sentence(readings_of_search(result), f" {where_of(result)[1]}")))


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
@options(of_fields(Comparing, "searchers"))
@click.option(
    "--effort", "efforts", multiple=True, metavar="NAME=N[,N...]",
    help=f"Efforts of a searcher: {', '.join(f'{name} {one.counts}' for name, (_, one) in EFFORTS.items())}. May be"
    " repeated.",
)  # fmt: skip
@options(of_fields(Comparing, "per_class", "coverage", "seeds", "slow_seeds"))
@options(RUN, JSON)
def compare(out, held_out, held_out_part, efforts, as_json, **flags):
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
    pool = the_images(flags, model=model)
    of_held = {
        "data": held_out,
        "part": held_out_part,
        "layout": "auto",
        "limit_per_class": None,
        "split_fraction": None,
    }
    held = the_images({**flags, **of_held}, model=model)
    settings = asked(flags, Comparing)
    with watcher() as progress:
        found = compare_searchers(
            model, pool, held, efforts=tried, batch_size=flags["batch_size"],
            device=resolve_device(flags["device"]), out=out, progress=progress, **settings,
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
