"""`freqkit profile`: all measures of a model on one page, within a budget."""

import time
from pathlib import Path

import click

from freqkit.cli.app import app, command
from freqkit.cli.options import (
    DATA,
    ENGINE,
    GOING_ON,
    JSON,
    LOG,
    MODEL,
    RUN,
    asked,
    of_fields,
    options,
    scoring_of,
    the_images,
    the_model,
)
from freqkit.cli.plans import DRY_RUN, say_cost, show_work
from freqkit.cli.progress import amount, duration, watcher
from freqkit.cli.tables import show_table
from freqkit.cli.voice import say, say_json
from freqkit.measures.profile import Profiling


@command(app, "profile", leaves_records=True)
@click.option(
    "--model",
    "models",
    required=True,
    multiple=True,
    metavar="NAME",
    help="As of other commands, or NAME=WEIGHTS; may be given several times.",
)
@options(MODEL[1:], DATA, of_fields(Profiling))
@click.option(
    "--study",
    type=click.Path(exists=True, dir_okay=False),
    metavar="CSV",
    help="benchmark.csv of the study of 48 models, shown beside this one.",
)
@click.option("--out", type=click.Path(file_okay=False), metavar="DIR", help="Where the profile shall stand.")
@options(GOING_ON, DRY_RUN, RUN, ENGINE, LOG, JSON)
def profile(models, study, out, resume, overwrite, dry_run, log_json, as_json, **flags):
    """What a model takes from frequencies: as many measures as fit a budget, on one page.

    DIR gets profile.json (every number, its interval and its definition), profile.csv (the same as tidy rows), the
    plan and the results of each part, and a page.

    \b
    freqkit profile --model cifar_resnet20 --weights resnet20.safetensors --data cifar10/test --quick --out runs/profile
    """  # fmt: skip
    from freqkit.measures.profile import profile as measure
    from freqkit.measures.profile.result import of_study

    began, settings = time.monotonic(), asked(flags, Profiling)
    rows = [] if study is None else of_study(study)
    with watcher(log=log_json) as progress:
        given = []
        for name in models:
            network, _, weights = name.partition("=")
            own = {**flags, "model": network, **({"weights": weights} if weights else {})}
            one = the_model(own)
            given.append((one.name if len(models) == 1 else name, one, the_images(own, model=one)))
        named, sets = [(name, one) for name, one, _ in given], [some for *_, some in given]
        where = {} if dry_run else {"out": out, "resume": resume, "overwrite": overwrite}
        result = measure(
            named, sets, dry_run=dry_run, progress=progress, study=rows, began=began,
            tell=None if as_json else (lambda plan: _show_plan(plan)), **settings, **where, **scoring_of(flags),
        )  # fmt: skip
    if dry_run:
        _show_dry(result, len(sets[0]), len(sets[0].classes), as_json)
        return
    if as_json:
        say_json(result.facts)
        return
    show_table(
        [("model", "left"), ("part", "left"), ("images", "right"), ("state", "left")],
        [[one["name"], part["title"], str(part["images"]), part["reason"] or part["state"]] for one in result.models
         for part in one["parts"]],
        title="What was asked",
    )  # fmt: skip
    for sentence in result.verdict:
        say(sentence)
    if out is not None:
        say(f"Everything is in {Path(out)}: profile.json, profile.csv, plans and parts below")


def _cost(line):
    return duration(line["cost"]) if line["unit"] == "seconds" else f"{amount(line['cost'])} forwards"


def _show_plan(plan):
    show_table(
        [("model", "left"), ("part", "left"), ("images", "right"), ("cost", "right")],
        [[line["model"], line["title"], str(line["images"]), line["reason"] or _cost(line)] for line in plan.table()],
        title="What fits the budget",
    )  # fmt: skip


def _show_dry(plan, images, classes, as_json):
    """The plan as a cost: of a budget in forwards, at no known speed."""
    lines = plan.table()
    if plan.seconds is None:
        if as_json:
            say_json({"work": lines, "images": images, "classes": classes, "forwards": sum(x["cost"] for x in lines)})
        else:
            _show_plan(plan)
        return
    if as_json:
        work = [{"work": line["title"], "amount": line["images"], "unit": "images", "seconds": line["cost"], **line}
                for line in lines]  # fmt: skip
        show_work(work, images, classes, True)
        return
    _show_plan(plan)
    say_cost(images, classes, plan.seconds)
