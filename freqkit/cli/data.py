"""`freqkit data`: image sets made here."""

from pathlib import Path

import click

from freqkit.cli.app import app, command
from freqkit.cli.options import JSON, options
from freqkit.cli.tables import show_table
from freqkit.cli.voice import say, say_json

SHOWN = 4  # frequencies of a class that the table spells out


@app.group("data")
def data():
    """List, check and make image sets."""


@command(data, "synthetic")
@click.option("--variant", type=click.IntRange(1, 4), default=1, show_default=True, help="Which band is special.")
@click.option("--images-per-class", type=click.IntRange(1), default=200, show_default=True)
@click.option("--size", type=click.IntRange(16), default=32, show_default=True, help="Side in pixels, even.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "--contrast", type=float, default=0.2, show_default=True, help="Standard deviation of the strongest channel."
)
@click.option("--amplitudes", type=(int, int), default=(1, 7), show_default=True, help="Least and largest, integers.")
@click.option("--bands", type=(float, float, float), metavar="R R R", help="Where B2, B3, B4 begin, cycles/image.")
@click.option(
    "--test-images-per-class", type=click.IntRange(1), metavar="N", help="Also a test set: DIR holds train and test."
)
@click.option("--test-seed", type=click.IntRange(0), metavar="N", help="Of the test set.  [default: seed + 1]")
@click.option(
    "--format", "kind", type=click.Choice(["folder", "npy"]), default="folder", show_default=True,
    help="folder: class/file.png; npy: the published arrays.",
)  # fmt: skip
@click.option("--out", required=True, type=click.Path(file_okay=False), metavar="DIR", help="A new or empty folder.")
@options(JSON)
def synthetic(variant, images_per_class, test_images_per_class, test_seed, kind, out, as_json, seed, bands, **flags):
    """Images with planted frequencies, and which they are: truth.safetensors and truth.json.

    \b
    freqkit data synthetic --variant 1 --images-per-class 200 --out planted
    """
    from freqkit.data import synthetic, write_npy, write_truth
    from freqkit.data.folder import fill_image_folder
    from freqkit.errors import UsageError
    from freqkit.files.whole import atomic_folder

    out = Path(out)
    if out.exists() and any(out.iterdir()):
        raise UsageError(f"--out must be a new or empty folder; {out} is not empty.")
    counts = {"train": (images_per_class, seed)}
    if test_images_per_class is not None:
        counts["test"] = (test_images_per_class, seed + 1 if test_seed is None else test_seed)
        if counts["test"][1] == seed:
            raise UsageError(f"--test-seed must differ from --seed, or the sets share images; both are {seed}.")
    sets = {
        part: synthetic(variant, images_per_class=count, seed=number, band_edges=bands, **flags)
        for part, (count, number) in counts.items()
    }
    with atomic_folder(out) as folder:
        for part, images in sets.items():
            if kind == "npy":
                write_npy(images, folder, part=part, name=f"_complex_special_{variant}_par")
            else:
                fill_image_folder(images, folder / part if len(sets) > 1 else folder)
        images = sets["train"]
        write_truth(images, folder)
    if as_json:
        facts = {"images": sum(map(len, sets.values())), "folder": str(out), **images.record}
        if "test" in sets:
            facts["test"] = sets["test"].record
        say_json(facts)
        return
    rows = []
    for name, bins in images.truth.items():
        planted = images.record["planted"][name]
        half = bins.nonzero()[: (int(bins.sum()) + 1) // 2]  # the partners say the same
        spelled = ", ".join(f"({-int(u)}, {-int(v)})" for u, v in (half - flags["size"] // 2).flip(0)[:SHOWN])
        more = ", ..." if len(half) > SHOWN else ""
        drawn = f"{planted['frequencies_least']}-{planted['frequencies_most']}"
        bands_of = ", ".join(f"B{b}" for b in planted["bands"])
        rows.append([name, bands_of, drawn, str(int(bins.sum())), spelled + more])
    show_table(
        [("class", "left"), ("bands", "left"), ("per image", "right"), ("planted bins", "right"), ("first", "left")],
        rows,
        title="Planted frequencies (vertical, horizontal) in cycles/image",
        note="C0: its special set, in every image; the others: all bins that may be drawn",
    )
    made = " and ".join(f"{len(part)} {name} images" if len(sets) > 1 else f"{len(part)} images"
                        for name, part in sets.items())  # fmt: skip
    say(f"{made} of {flags['size']}x{flags['size']} in 4 classes, and the truth files, written to {out}")
