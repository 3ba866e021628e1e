"""`freqkit report`: the page of a run, or of several runs side by side."""

from pathlib import Path

import click

from freqkit.cli.app import app, check_writable, command
from freqkit.cli.options import JSON, options
from freqkit.cli.values import ResultFile
from freqkit.cli.voice import say, say_json


@command(app, "report")
@click.argument("runs", nargs=-1, required=True, metavar="DIR...", type=click.Path(exists=True))
@click.option(
    "--out", type=ResultFile("report.html", ".html", ".htm"), metavar="FILE", help="The HTML file.  [default: in DIR]"
)
@options(JSON)
def report(runs, out, as_json):
    """Write report.html of each run directory anew, or with several and --out compare them on one page.

    DIR may also be a result file of `freqkit rates` or `freqkit adcs`. The page is one file that needs no network.

    \b
    freqkit report runs/resnet20
    freqkit report runs/resnet20 runs/vit --out compare.html
    """
    from freqkit.report import write_comparison, write_report

    for run in runs if out is None else ():
        check_writable(Path(run) / "report.html" if Path(run).is_dir() else Path(run).with_suffix(".html"), "DIR")
    if len(runs) > 1 and out is not None:
        pages = [write_comparison(runs, out)]
    else:
        pages = [write_report(run, out=out) for run in runs]
    if as_json:
        say_json({"pages": [{"page": str(page), "bytes": page.stat().st_size} for page in pages]})
        return
    for page in pages:
        say(f"To look at: {page}")
