"""Progress on stderr: a rich bar with rate and time left on a terminal, plain lines elsewhere."""

import os
import sys
import time
from collections import deque
from contextlib import contextmanager

from freqkit.text import called


class Pace:
    """How fast the work goes; what was read from a journal counts as done, but not as speed."""

    def __init__(self, total, clock=time.monotonic, window=30.0):
        self.total, self.done, self.computed, self.saved, self.best = total, 0, 0, 0, None
        self.clock, self.began, self.window = clock, clock(), window
        self.seen = deque([(self.began, 0)])  # (time, computed), the last `window` seconds and one before

    def advance(self, amount, resumed=False, saved=False, best=None):
        now = self.clock()
        self.done += amount
        self.best = best or self.best
        if saved:
            self.saved += amount
        if resumed or saved:
            if resumed and not self.computed:
                self.began, self.seen = now, deque([(now, 0)])
            return
        self.computed += amount
        self.seen.append((now, self.computed))
        while len(self.seen) > 2 and self.seen[1][0] < now - self.window:
            self.seen.popleft()

    @property
    def rate(self):
        """Units per second over the last `window` seconds, None before the first."""
        then, before = self.seen[0]
        seconds = self.clock() - then
        return (self.computed - before) / seconds if self.computed > before and seconds > 0 else None

    @property
    def mean_rate(self):
        """Units per second since the beginning, None before the first."""
        seconds = self.clock() - self.began
        return self.computed / seconds if self.computed and seconds > 0 else None

    @property
    def left(self):
        """Seconds left, None when unknown."""
        rate = self.rate
        return max(self.total - self.done, 0) / rate if rate else None

    def words(self, unit):
        rate = f"{amount(self.rate)} {unit}/s" if self.rate else f"{unit}/s unknown"
        return f"{rate}, {duration(self.left)} left" if self.left is not None else rate

    def extras(self):
        """`, 12k saved, best so far ship (TPR 80%)`; nothing when there is nothing to say."""
        words = f", {amount(self.saved)} saved" if self.saved else ""
        if self.best:
            words += f", best {self.best['class']} (TPR {100 * self.best['tpr']:.0f}%)"
        return words


def amount(value):
    """1234567 -> '1.2M', 45321 -> '45k', 12.3 -> '12'."""
    if value >= 999_500:
        return f"{value / 1e6:.1f}M"
    if value >= 9_999.5:
        return f"{value / 1e3:.0f}k"
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def duration(seconds):
    """3725 -> '1 h 02 min', 75 -> '1 min 15 s', 4.2 -> '4 s'."""
    seconds = round(seconds)
    if seconds >= 3600:
        return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
    if seconds >= 60:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds} s"


def _facts(facts):
    return {name: facts[name] for name in ("resumed", "saved", "best") if name in facts}


class Lines:
    """Plain lines, at most one every `every` seconds and one at the end of each piece of work."""

    began = staticmethod(lambda: None)  # called when a piece of work starts

    def __init__(self, stream=None, every=10.0, clock=time.monotonic):
        self.stream, self.every, self.clock = stream, every, clock
        self.pace, self.title, self.unit, self.spoke = None, "", "", 0.0

    def start(self, title, total, unit="forwards"):
        self.began()
        self.title, self.unit = title, unit
        self.pace, self.spoke = Pace(total, self.clock), self.clock()
        self._say(f"{title}: {amount(total)} {unit}")

    def advance(self, amount, **facts):
        self.pace.advance(amount, **_facts(facts))
        if self.clock() - self.spoke >= self.every:
            self.spoke = self.clock()
            self._report()

    def finish(self):
        if self.pace is not None:
            seconds = self.clock() - self.pace.began
            rate = f", {amount(self.pace.mean_rate)} {self.unit}/s" if self.pace.mean_rate else ""
            short = self.pace.done < self.pace.total
            self._say(
                f"{self.title}: {'stopped at' if short else 'done,'} {amount(self.pace.done)}"
                f" {self.unit} in {duration(seconds)}{rate}{self.pace.extras()}"
            )
            self.pace = None

    def note(self, sentence):
        self._say(sentence)

    def _report(self):
        share = 100 * self.pace.done / self.pace.total if self.pace.total else 100
        self._say(f"{self.title}: {share:.0f}%, {self.pace.words(self.unit)}{self.pace.extras()}")

    def _say(self, line):
        print(called(line), file=self.stream or sys.stderr, flush=True)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        return False


class Bar:
    """A rich bar: title, bar, share, rate, time left."""

    began = staticmethod(lambda: None)

    def __init__(self, console):
        from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn

        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[words]}", style="dim", markup=False),
            console=console,
        )
        self.task, self.pace, self.unit = None, None, ""

    def start(self, title, total, unit="forwards"):
        self.began()
        self.pace, self.unit = Pace(total), unit
        self.task = self.progress.add_task(called(title), total=total, words="")

    def advance(self, amount, **facts):
        self.pace.advance(amount, **_facts(facts))
        self.progress.update(self.task, completed=self.pace.done, words=self._words(self.pace.words(self.unit)))

    def finish(self):
        if self.task is not None:
            seconds = duration(self.pace.clock() - self.pace.began)
            rate = f"{amount(self.pace.mean_rate)} {self.unit}/s, " if self.pace.mean_rate else ""
            self.progress.update(self.task, words=self._words(rate + seconds))
            self.progress.stop_task(self.task)
            self.task = None

    def _words(self, words):
        return called(words + self.pace.extras())

    def note(self, sentence):
        from rich.text import Text

        self.progress.console.print(Text(called(sentence)))

    def __enter__(self):
        self.progress.start()
        return self

    def __exit__(self, *exception):
        self.progress.stop()
        return False


class Notes(Lines):
    """What a rank other than 0 shows: notes alone, with its number."""

    def __init__(self, rank, stream=None):
        super().__init__(stream)
        self.rank = rank

    def start(self, title, total, unit="forwards"):
        pass

    def advance(self, amount, **facts):
        pass

    def finish(self):
        pass

    def note(self, sentence):
        self._say(f"rank {self.rank}: {sentence}")


def watcher(stream=None, log=None):
    """A context manager that is a Progress for the engine: `Bar` on a terminal, else `Lines`; told to `log`, too.

    When work starts, the command that runs notes its flags in the run directory.
    """
    from freqkit.cli.records import note_start

    stream = stream or sys.stderr
    rank = os.environ.get("RANK", "0")
    if rank != "0":
        shown = Notes(rank, stream)
    elif stream.isatty():
        from rich.console import Console

        shown = Bar(Console(file=stream))
    else:
        shown = Lines(stream)
    shown.began = note_start
    if log is None:
        return shown
    from freqkit.cli.logs import Log

    return Log(log, shown, int(rank))


@contextmanager
def steps(progress, title, unit="steps"):
    """A `progress(done, total)` callback that shows one piece of work on a `Bar` or `Lines`."""
    seen = 0

    def advance(done, total):
        nonlocal seen
        if not seen:
            progress.start(title, total, unit)
        progress.advance(done - seen)
        seen = done

    try:
        yield advance
    finally:
        if seen:
            progress.finish()
