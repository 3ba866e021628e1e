"""`freqkit demo`: a shortcut whose frequencies are known, and how much of it the search finds again."""

import time
from pathlib import Path

import click

from freqkit.cli.app import app, command
from freqkit.cli.options import JSON, RUN, options
from freqkit.cli.progress import duration, steps, watcher
from freqkit.cli.searchers import show_clean
from freqkit.cli.tables import number, percent, show_table
from freqkit.cli.values import resolve_device
from freqkit.cli.voice import say, say_json

TRAINING, SEARCH, FRESH = 400, 40, 250  # images per class, each set drawn under a seed of its own
EPOCHS = 12
CANDIDATES = (150, 250, 400, 600)
TITLE = "Frequencies by which each class is still recognised; orange: planted in C0"


@command(app, "demo", leaves_records=True)
@click.option(
    "--out", default="demo", show_default=True, type=click.Path(file_okay=False), metavar="DIR", help="Where it goes."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Images, weights and masks.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier demo in DIR.")
@options(RUN, JSON)
def demo(out, seed, overwrite, device, batch_size, as_json):
    """Plant a frequency shortcut, train a small network on it, and find the planted frequencies.

    Class C0 of the synthetic images always holds the diagonal frequencies (k, k), k = 1, 3, ..., 15. The
    network is free to use them; the search is not told. Takes a few minutes on two cores.

    \b
    freqkit demo --out demo
    """
    with watcher() as progress:
        found = run(
            Path(out), seed=seed, overwrite=overwrite, device=resolve_device(device), batch_size=batch_size,
            progress=progress,
        )  # fmt: skip
    if as_json:
        say_json(found)
        return
    show(found)
    say(f"The pictures and all files are in {Path(out)}/ ({duration(found['seconds'])}).")


def run(
    out,
    *,
    seed=0,
    overwrite=False,
    progress=None,
    training=TRAINING,
    search=SEARCH,
    fresh=FRESH,
    epochs=EPOCHS,
    candidates=CANDIDATES,
    **how,
):
    """Do what `freqkit demo` does; returns its table as JSON values.

    Args:
        out: folder for the run of the search, the weights and `demo.json`.
        seed: of images, weights and masks.
        training, search, fresh: images per class to train on, to search on, and to report rates on.
        how: device and batch size of search and rates.
    """
    import torch

    from freqkit.data import synthetic
    from freqkit.engine import Silent, score
    from freqkit.errors import UsageError
    from freqkit.files.whole import write_json
    from freqkit.measures import recovery
    from freqkit.models import load_model, save_weights
    from freqkit.report import write_pictures
    from freqkit.results.clean import CleanRates
    from freqkit.search import hfss
    from freqkit.training import evaluate, train

    out = Path(out)
    if out.exists() and any(out.iterdir()) and not overwrite:
        raise UsageError(f"--out must be a new or empty folder, or give --overwrite; {out} is not empty.")
    began = time.monotonic()
    progress = progress or Silent()
    sets = [synthetic(1, images_per_class=n, seed=3 * seed + i) for i, n in enumerate((training, search, fresh))]
    model = load_model("small_convnet", num_classes=4, seed=seed, device=how.get("device", "cpu"))
    with steps(progress, "training") as advance:
        train(model, sets[0], epochs=epochs, batch_size=64, lr=0.05, seed=seed, progress=advance)
    result = hfss(
        model, sets[1], candidates=list(candidates), seed=seed, out=out, overwrite=overwrite, progress=progress,
        split_fraction=1, **how,
    )  # fmt: skip
    save_weights(model, out / "weights.safetensors")
    truth = sets[0].truth
    write_pictures(result, model, sets[1], out, planted={"C0": truth["C0"]}, title=TITLE)
    # Rates on images that neither training nor search has seen.
    clean = evaluate(model, sets[2])
    whole = CleanRates.of_confusion(
        sets[2].classes, torch.tensor(clean["confusion"]), torch.arange(len(sets[2].classes))
    )
    dense = result.masks.roll((-(result.masks.shape[1] // 2), -(result.masks.shape[2] // 2)), (1, 2))
    unseen = score(model, sets[2], dense, **how)
    rows = []
    for i, (name, row) in enumerate(zip(result.classes, result.table(), strict=True)):
        best = recovery(result.masks[i], truth[name])
        rows.append(
            {
                "class": name,
                "loss": float(unseen.loss[i, i]),
                "tpr": float(unseen.tpr[i, i]),
                "fpr": float(unseen.fpr[i, i]),
                "images": int(unseen.counts[i]),
                "others": int(unseen.counts.sum() - unseen.counts[i]),
                "clean tpr": clean["classes"][name]["accuracy"],
                "coverage": row["coverage"],
                "planted": best.planted,
                "kept": best.kept,
                "found": best.found,
                "precision": best.precision,
                "recall": best.recall,
                "chance precision": best.chance_precision,
                "enrichment": best.enrichment,
            }
        )
    found = {
        "classes": rows,
        "accuracy": clean["accuracy"],
        "clean": whole.record,
        "forwards": result.forwards,
        "seconds": round(time.monotonic() - began, 1),
        "seed": seed,
    }
    write_json(out / "demo.json", found)
    return found


def show(found):
    """Print what was found, class by class, and the recovery of the planted shortcut."""
    from freqkit.results.clean import CleanRates

    show_clean(CleanRates.of_record(found, *([row[key] for row in found["classes"]] for key in ("class", "images"))))
    show_table(
        [("class", "left"), *((name, "right") for name in ("TPR", "filtered TPR", "FPR", "loss", "kept"))],
        [
            [
                row["class"],
                percent(row["clean tpr"]),
                percent(row["tpr"]),
                percent(row["fpr"]),
                number(row["loss"]),
                percent(row["coverage"]),
            ]
            for row in found["classes"]
        ],
        title="What the network recognises of each class, all other frequencies removed (unseen images)",
    )
    row = found["classes"][0]
    recall = f"{row['found']} of {row['planted']} = {percent(row['recall'])}"
    precision = f"{row['found']} of {row['kept']} = {percent(row['precision'])}"
    highest = min(row["planted"], row["kept"]) / row["kept"]
    show_table(
        [("shortcut of C0", "left"), *((name, "right") for name in ("found", "by chance", "at best"))],
        [
            ["recall: planted bins that are kept", recall, percent(row["coverage"]), "100.0%"],
            [
                "precision: kept bins that are planted",
                precision,
                percent(row["chance precision"]),
                percent(highest),
            ],
            [
                "times better than chance",
                f"{row['enrichment']:.1f}",
                "1.0",
                f"{highest / row['chance precision']:.1f}",
            ],
        ],
        title="Is it the planted one, the diagonal (k, k), k = 1, 3, ..., 15?",
        note="by chance: any mask of as many bins; at best: all planted bins in a mask of as many bins",
    )
