"""`freqkit data list` and `freqkit data check`: image sets that are there."""

import fnmatch
import os
import time
from pathlib import Path

import click

import freqkit.cli.derived  # noqa: F401  (more commands of `data`)
from freqkit.cli.app import command
from freqkit.cli.data import data
from freqkit.cli.options import JSON, options
from freqkit.cli.tables import show_table
from freqkit.cli.voice import say, say_json, tell


@command(data, "list")
@click.argument("root", default=None, required=False, type=click.Path(exists=True, file_okay=False))
@click.option("--match", default="*", metavar="PATTERN", help="Only folders whose path matches, with * and ?.")
@options(JSON)
def list_(root, match, as_json):
    """List image sets (DIR/class/file) in ROOT; by default in $FREQKIT_DATA, else here. Nothing is fetched.

    \b
    freqkit data list ~/datasets --match '*cifar*'
    """
    from freqkit.data.check import find_image_folders

    root = root or os.environ.get("FREQKIT_DATA") or "."
    pattern = match if any(sign in match for sign in "*?[") else f"*{match}*"
    found = [one for one in find_image_folders(root) if fnmatch.fnmatch(one["folder"], pattern)]
    if as_json:
        say_json(found)
    elif found:
        show_table(
            [("folder", "left"), ("classes", "right"), ("images", "right")],
            [[one["folder"], f"{one['classes']:,}", f"{one['images']:,}"] for one in found],
        )
    else:
        say(f"No folder of class folders with images in {root}.")
    return 0 if found else 1


@command(data, "cache")
@click.option(
    "--cache", type=click.Path(file_okay=False), metavar="DIR", help="Where it is.  [default: as of searches]"
)
@click.option("--clear", is_flag=True, help="Remove all that no process uses.")
@options(JSON)
def cache(cache, clear, as_json):
    """List the decoded images that are kept for later runs, or remove them; what is gone is decoded again.

    \b
    freqkit data cache
    freqkit data cache --clear
    """
    from freqkit.data.cache import cache_of

    kept = cache_of(cache or "auto")
    if kept is None:
        say("Nothing is kept: FREQKIT_CACHE is none.")
        return
    if clear:
        removed, used = kept.clear()
        if as_json:
            say_json({"folder": str(kept.folder), "removed": removed, "in_use": used})
        else:
            say(f"{removed} removed from {kept.folder}" + (f", {used} in use" if used else ""))
        return
    rows = kept.table()
    if as_json:
        say_json({"folder": str(kept.folder), "room": kept.room() if kept.folder.is_dir() else None, "kept": rows})
    elif not rows:
        say(f"Nothing is kept in {kept.folder}.")
    else:
        show_table(
            [("images of", "left"), *((name, "right") for name in ("images", "size", "MiB", "last used"))],
            [
                [row["about"], f"{row['images']:,}", "x".join(map(str, row["size"])), f"{row['bytes'] / 2**20:.0f}",
                 time.strftime("%Y-%m-%d %H:%M", time.localtime(row["used"]))]
                for row in rows
            ],
            title=f"{kept.folder}: {kept.used() / 2**20:,.0f} of {kept.room() / 2**20:,.0f} MiB",
        )  # fmt: skip


@command(data, "check")
@click.argument("folder", type=click.Path(exists=True, file_okay=False))
@click.option("--write-sums", type=click.Path(dir_okay=False), metavar="FILE", help="Write SHA-256 of every file.")
@click.option("--sums", type=click.Path(exists=True, dir_okay=False), metavar="FILE", help="Compare with such a FILE.")
@options(JSON)
def check(folder, write_sums, sums, as_json):
    """Decode every image of an image set, and say what is in it. Ends with 1 when something is wrong.

    \b
    freqkit data check imagenet10/val
    freqkit data check imagenet10/val --sums imagenet10.sha256
    """
    from freqkit.data import load_images
    from freqkit.data.check import as_sums, checksums, read_sums
    from freqkit.files.whole import atomic_write

    images = load_images(folder, image_size=32, resize="squash", on_bad_image="skip")
    record = images.record
    bad = record.get("bad_image_names", [])
    counts = images.counts.tolist()
    facts = {
        "folder": str(folder),
        "images": len(images),
        "classes": len(images.classes),
        "least": min(counts),
        "most": max(counts),
        "modes": record.get("modes"),
        "bad": bad,
        "notes": record.get("notes", []),
        "fingerprint at 32x32": images.fingerprint,
    }
    if write_sums:
        with atomic_write(Path(write_sums), "w") as file:
            file.write(as_sums(checksums(folder)))
    if sums:
        wanted, there = read_sums(sums), checksums(folder)
        facts["changed"] = sorted(name for name in wanted if name in there and there[name] != wanted[name])
        facts["missing"] = sorted(name for name in wanted if name not in there)
        facts["unknown"] = sorted(name for name in there if name not in wanted)
    wrong = bool(bad or facts.get("changed") or facts.get("missing") or facts.get("unknown"))
    if as_json:
        say_json(facts)
    else:
        balance = f"{min(counts)} each" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)} each"
        tell(f"{len(images):,} images of {len(images.classes)} classes, {balance}")
        for name in ("bad", "changed", "missing", "unknown"):
            if facts.get(name):
                more = ", ..." if len(facts[name]) > 5 else ""
                tell(f"{len(facts[name])} {name}: {', '.join(facts[name][:5])}{more}")
        for note in facts["notes"]:
            say(f"Note: {note}.")
        if not wrong:
            tell("every image is whole" + (", every checksum fits" if sums else ""))
    return 1 if wrong else 0
