"""`freqkit watch`: a running search, live."""

import json
import sys
import time

import click

from freqkit.cli.app import app, command
from freqkit.cli.options import JSON, options
from freqkit.cli.progress import Pace, amount, duration
from freqkit.cli.status import epochs, newest_run
from freqkit.cli.tables import percent
from freqkit.cli.voice import tell
from freqkit.text import called, printable


@command(app, "watch")
@click.argument("run", metavar="DIR", type=click.Path(exists=True, file_okay=False))
@click.option("--every", type=click.FloatRange(0.1), default=2.0, show_default=True, help="Seconds between looks.")
@click.option("--once", is_flag=True, help="Look once and end.")
@options(JSON)
def watch(run, every, once, as_json):
    """Follow a search in DIR until it ends, also one that runs elsewhere; nothing of it is disturbed.

    What was done is read from the journal, so all ranks of a shared run count. On a terminal the view is
    refreshed in place, elsewhere a line is printed when something has changed. --json prints one object per look.

    \b
    freqkit watch runs/resnet20
    """
    look = Look(newest_run(run))
    if as_json or once or not sys.stdout.isatty():
        last = None
        while True:
            found = look()
            line = json.dumps(found) if as_json else _line(found)
            if line != last:
                tell(line)
                last = line
            if once or found["status"] != "running":
                return
            time.sleep(every)
    from rich.console import Console
    from rich.live import Live

    console = Console()
    with Live(_view(look()), console=console, refresh_per_second=4) as live:
        while True:
            found = look()
            live.update(_view(found))
            if found["status"] != "running":
                return
            time.sleep(every)


class Look:
    """What a run has done by now, with the rate since the first look and the classes of the last finished stage."""

    def __init__(self, folder, clock=time.monotonic):
        self.folder, self.clock, self.pace, self.stages = folder, clock, None, {}

    def __call__(self):
        from freqkit.engine.run_directory import status

        found = status(self.folder)
        done, total = found["forwards_done"], found.get("forwards_total")
        if self.pace is None:
            self.pace = Pace(total or done, self.clock)
            self.pace.advance(done, True)
        elif done > self.pace.done:
            self.pace.advance(done - self.pace.done)
        found["rate"] = self.pace.rate or found.get("rate")
        left = max((total or done) - done - (found.get("forwards_saved") or 0), 0)
        found["seconds_left"] = left / found["rate"] if found["rate"] and found["status"] == "running" else None
        found["best"] = self._best(found.get("stages_done") or [])
        return found

    def _best(self, done):
        """The classes of the last finished stage, strongest first."""
        if not done:
            return []
        number = done[-1]
        if number not in self.stages:
            path = self.folder / f"stage-{number}.safetensors"
            if not path.is_file():
                return []
            from freqkit.report.words import or_last
            from freqkit.results import StageResult

            scores, ranks = (stage := StageResult.load(path)).scores, stage.ranks[:, 0].tolist()
            rows = [
                {"class": name, "loss": float(scores.loss[best, i]), "TPR": float(scores.tpr[best, i]),
                 "FPR": float(scores.fpr[best, i])}
                for i, (name, best) in enumerate(zip(scores.classes, ranks, strict=True))
            ]  # fmt: skip
            rows.sort(key=lambda row: -or_last(row["TPR"] - row["FPR"]))
            self.stages[number] = [{k: None if v != v else v for k, v in row.items()} for row in rows[:12]]
        return self.stages[number]


def _line(found):
    total = found.get("forwards_total")
    if "epochs_done" in found:
        return f"{found['status']}, {epochs(found)}"
    words = f"{found['status']}, stage {found.get('stage') or '-'}: {amount(found['forwards_done'])}"
    words += f" of {amount(total)} forwards" if total else " forwards"
    if total:
        words += f" ({percent(min(found['forwards_done'] / total, 1), 0)})"
    if found["rate"] and found["status"] == "running":
        words += f", {amount(found['rate'])} forwards/s, {duration(found['seconds_left'])} left"
    if found["best"]:
        best = found["best"][0]
        words += f"; best: {best['class']}, TPR {percent(best['TPR'], 0)}, FPR {percent(best['FPR'], 0)}"
    return words


def _view(found):
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    if "epochs_done" in found:
        return Group(Text(_line(found)), ProgressBar(found["epochs_total"] or 1, found["epochs_done"], width=60))
    total = found.get("forwards_total") or found["forwards_done"] or 1
    line = printable(_line({**found, "best": []}))
    parts = [Text(line), ProgressBar(total, min(found["forwards_done"], total), width=60)]
    for number, rank in enumerate(found.get("ranks") or []):
        line = f"rank {number}: {rank.get('host')}, {amount(rank.get('forwards') or 0)} not yet merged"
        parts.append(Text(printable(line)))
    if found["best"]:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name, side in (("class", "left"), ("loss", "right"), ("TPR", "right"), ("FPR", "right")):
            table.add_column(name, justify=side)
        for row in found["best"]:
            loss = "-" if row["loss"] is None else f"{row['loss']:.3f}"
            table.add_row(Text(called(row["class"])), loss, percent(row["TPR"]), percent(row["FPR"]))
        parts += [Text(f"best masks of stage {found['stages_done'][-1]}", style="italic"), table]
    return Group(*parts)
