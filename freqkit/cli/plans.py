"""What a long command would cost, before it is run: `--dry-run`."""

import time

import click

from freqkit.cli.progress import amount, duration
from freqkit.cli.tables import percent, show_table
from freqkit.cli.voice import say, say_json, tell

BUDGET = 3.0  # seconds of work that are timed
DRY_RUN = (
    click.option("--dry-run", is_flag=True, help="Only say how much work it is, after a few seconds of it."),
)  # fmt: skip


class Enough(BaseException):
    """The work was timed: nothing of it is kept."""


class Timed:
    """A watcher that lets work go on for a few seconds.

    Example:
        >>> with Timed() as timed:
        ...     timed.start("rates", 1000)
        ...     for _ in range(10):
        ...         timed.advance(100)
        ...     timed.finish()
        >>> timed.total, timed.unit, timed.seconds > 0
        (1000, 'forwards', True)
    """

    def __init__(self, budget=BUDGET):
        self.budget, self.total, self.unit = budget, 0, "forwards"
        self.began = self.first = None
        self.done, self.before = 0, 0

    def start(self, title, total, unit="forwards"):
        self.total, self.unit, self.began = total, unit, time.perf_counter()

    def advance(self, amount, **facts):
        now = time.perf_counter()
        self.done += amount
        self.last = now
        if self.first is None:  # the first tile warms up
            self.first, self.before = now, self.done
        elif now - self.began > self.budget:
            raise Enough

    def finish(self):
        pass

    def note(self, sentence):
        say(sentence)

    @property
    def seconds(self):
        """Of all the work, at the speed of what was done of it."""
        if not self.done:
            return float("nan")
        if self.done > self.before:
            return self.total * (self.last - self.first) / (self.done - self.before)
        return self.total * (self.last - self.began) / self.done

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        return isinstance(error, Enough)


def show_work(rows, images, classes, as_json):
    """Print the work of a command.

    Args:
        rows: dicts work (its name), amount, unit, seconds.
    """
    seconds = sum(row["seconds"] for row in rows)
    if as_json:
        facts = {"images": images, "classes": classes, "seconds": seconds, "seconds_per_class": seconds / classes}
        say_json({"work": rows, **facts})
        return
    show_table(
        [("work", "left"), ("how much", "right"), ("time", "right")],
        [[row["work"], f"{amount(row['amount'])} {row['unit']}", duration(row["seconds"])] for row in rows],
        title="What it would do",
    )
    say_cost(images, classes, seconds)


def say_cost(images, classes, seconds):
    """The last line of a plan."""
    each = f"{duration(seconds / classes)} for each class"
    tell(f"{images:,} images of {classes:,} classes: about {duration(seconds)} at the speed just measured, {each}")


def show_plan(plan, as_json, ranks=1):
    """Print the `Plan` of a search; `ranks`: processes that would share it."""
    projected = plan.projected(ranks)
    if as_json:
        facts = {
            "stages": plan.table(),
            "images": plan.images,
            "classes": plan.classes,
            "batch_size": plan.batch_size,
            "forwards": plan.forwards,
            "backwards": plan.backwards,
            "remark": plan.remark,
            "seconds": plan.seconds,
            "seconds_per_class": plan.seconds / plan.classes,
            "ranks": ranks,
            "projected_seconds": projected["seconds"],
            "efficiency": projected["efficiency"],
            "memory": plan.memory,
            "record": plan.record,
        }
        say_json(facts)
        return
    if "work" in plan.stages[0]:
        columns = [("work", "left"), *((name, "right") for name in ("forwards", "backwards", "time"))]
        rows = [
            [part["work"], amount(part["forwards"]), amount(part["backwards"]), duration(part["seconds"])]
            for part in plan.table()
        ]
    else:
        columns = [(name, "right") for name in ("stage", "cell", "masks", "distinct", "forwards")]
        rows = [
            [
                str(stage["stage"]),
                f"{stage['cell']} bins",
                str(stage["candidates"]),
                str(stage["distinct"]),
                amount(stage["forwards"]),
            ]
            for stage in plan.table()
        ]
    show_table(columns, rows, title="What the search would do", note=plan.remark)
    memory = ", ".join(f"{name} {size / 2**20:.0f} MiB" for name, size in plan.memory.items())
    tell(f"{plan.images} images of {plan.classes} classes, batches of {plan.batch_size}")
    tell(f"memory: {memory}")
    backwards = f", {amount(plan.backwards)} backwards" if plan.backwards else ""
    about = f"about {duration(plan.seconds)} at the speed just measured"
    tell(
        f"{amount(plan.forwards)} forwards{backwards}, {about}, {duration(plan.seconds / plan.classes)} for each class"
    )
    if ranks > 1:
        tell(
            f"{ranks} ranks as fast as this one: about {duration(projected['seconds'])}, "
            f"{percent(projected['efficiency'], 0)} of them at work (most of the rest: {projected['lost_to']})"
        )
