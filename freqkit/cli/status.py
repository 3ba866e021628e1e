"""`freqkit status`: how far a run is."""

import json

import click

from freqkit.cli.app import app, command
from freqkit.cli.options import JSON, options
from freqkit.cli.progress import amount, duration
from freqkit.cli.search import _plain
from freqkit.cli.tables import percent


@command(app, "status")
@click.argument("directory", type=click.Path(exists=True, file_okay=False))
@options(JSON)
def status(directory, as_json):
    """Read a live, dead or finished run without disturbing it.

    \b
    freqkit status runs/resnet20
    """
    from freqkit.engine import status as read

    known = read(directory)
    if as_json:
        click.echo(json.dumps(_plain(known), indent=2))
        return
    where = f", stage {known['stage']}" if known["stage"] is not None and known["status"] != "finished" else ""
    click.echo(f"{known['search'] or 'run'}: {known['status']}{where}")
    total = known["forwards_total"]
    done = f"forwards: {amount(known['forwards_done'])} done"
    if known["forwards_saved"]:
        done += f", {amount(known['forwards_saved'])} saved"
    click.echo(done + (f", of {amount(total)}" if total else ""))
    if known["rate"]:
        left = known["seconds_left"]
        at_most = f", at most {duration(left)} left" if left and known["status"] == "running" else ""
        click.echo(f"rate: {amount(known['rate'])} forwards/s{at_most}")
    if best := known["best"]:
        fpr = "" if best["fpr"] is None else f", FPR {percent(best['fpr'])}"
        click.echo(f"best class so far: {best['class']} (stage {best['stage']}, TPR {percent(best['tpr'])}{fpr})")
    if len(known["ranks"]) > 1:
        for number, rank in enumerate(known["ranks"]):
            own = f", {amount(rank['forwards'])} forwards not yet merged" if rank.get("forwards") else ""
            click.echo(f"rank {number}: {rank['host']}, process {rank['pid']}, {rank['device']}{own}")
    if known["status"] in ("dead", "interrupted", "failed"):
        click.echo("Nothing computed is lost: give the same command again with --resume.")
