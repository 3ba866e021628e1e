"""`freqkit status`: how far a run is."""

from pathlib import Path

import click

from freqkit.cli.app import app, command
from freqkit.cli.options import JSON, options
from freqkit.cli.progress import amount, duration
from freqkit.cli.tables import percent
from freqkit.cli.voice import say, say_json, tell


def newest_run(folder):
    """The folder itself, or of a comparison the search in it that was written to last."""
    folder = Path(folder)
    inside = [] if (folder / "run.json").is_file() else [file.parent for file in folder.glob("*/run.json")]
    if not inside:
        return folder
    newest = max(inside, key=lambda one: max(file.stat().st_mtime for file in one.iterdir()))
    say(f"{folder} holds {len(inside)} run{'s' if len(inside) > 1 else ''}; the newest is {newest.name}:")
    return newest


def epochs(known):
    """How far a training is."""
    return f"epochs: {known['epochs_done']} of {known['epochs_total']}"


@command(app, "status")
@click.argument("directory", type=click.Path(exists=True, file_okay=False))
@options(JSON)
def status(directory, as_json):
    """Read a live, dead or finished run without disturbing it; of a comparison its newest search.

    \b
    freqkit status runs/resnet20
    """
    from freqkit.engine import status as read

    place = newest_run(directory)
    known = read(place)
    if as_json:
        say_json(known)
        return
    where = f", stage {known['stage']}" if known["stage"] is not None and known["status"] != "finished" else ""
    tell(f"{known['search'] or 'run'}: {known['status']}{where}")
    if "epochs_done" in known:
        tell(epochs(known))
    else:
        _forwards(known)
    if known["status"] in ("dead", "interrupted", "failed"):
        again = " with --resume" if place == Path(directory) else ""  # a comparison goes on by itself
        tell(f"Nothing computed is lost: give the same command again{again}.")


def _forwards(known):
    """How far a search is."""
    total = known["forwards_total"]
    done = f"forwards: {amount(known['forwards_done'])} done"
    if known["forwards_saved"]:
        done += f", {amount(known['forwards_saved'])} saved"
    tell(done + (f", of {amount(total)}" if total else ""))
    if known["rate"]:
        left = known["seconds_left"]
        at_most = f", at most {duration(left)} left" if left and known["status"] == "running" else ""
        tell(f"rate: {amount(known['rate'])} forwards/s{at_most}")
    if best := known["best"]:
        fpr = "" if best["fpr"] is None else f", FPR {percent(best['fpr'])}"
        tell(f"best class so far: {best['class']} (stage {best['stage']}, TPR {percent(best['tpr'])}{fpr})")
    if len(known["ranks"]) > 1:
        for number, rank in enumerate(known["ranks"]):
            own = f", {amount(rank['forwards'])} forwards not yet merged" if rank.get("forwards") else ""
            tell(f"rank {number}: {rank['host']}, process {rank['pid']}, {rank['device']}{own}")
