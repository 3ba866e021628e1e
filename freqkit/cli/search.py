"""`freqkit search`: the frequency shortcuts of a classifier."""

import re
from dataclasses import replace

import click
from click.core import ParameterSource

from freqkit.cli.app import app, command
from freqkit.cli.options import (
    DATA_OF_SEARCH,
    DTYPE,
    ENGINE,
    GOING_ON,
    JSON,
    LOG,
    MODEL,
    PUBLISHED_ORDER,
    RUN,
    asked,
    of_field,
    of_fields,
    options,
    scoring_of,
    set_defaults,
    take_published_order,
    the_model,
)
from freqkit.cli.plans import show_plan
from freqkit.cli.progress import watcher
from freqkit.cli.searchers import found_by, images_of_search, kept_of, testing_of, write_and_show
from freqkit.errors import UsageError
from freqkit.options import rule_of
from freqkit.registry import SEARCHERS, module_of
from freqkit.search.plan import Budget
from freqkit.search.removal import Levels
from freqkit.search.testing import Testing

DEFAULT, PUBLISHED_METHOD = "learned", "hfss"
OF_IMAGES = {PUBLISHED_METHOD: {"published_order"}}  # flags of a searcher that say how its images are read


def _own(searcher):
    """The fields of a searcher that have a flag: name -> the group that holds it."""
    groups = found_by(searcher).groups[:-3]  # behind its own stand `Testing`, `Scoring` and `Running`
    found = {name: group for group in groups for name, field in group.fields().items() if rule_of(field).flag}
    return {**found, "coverage": Budget} if Levels in groups else found  # what ranks all keeps a share at each level


OWN = {searcher: _own(searcher) for searcher in SEARCHERS}


def _flags_of_searchers():
    owners = {}
    for searcher, own in OWN.items():
        for name, group in own.items():
            owners.setdefault(name, {})[searcher] = group
    for name, groups in owners.items():
        rules = [rule_of(group.fields()[name]) for group in groups.values()]
        choices = tuple(dict.fromkeys(one for rule in rules for one in rule.choices or ())) or None
        words = rules[0].help or rules[0].says
        words = f"{', '.join(groups)}{', ' if re.match(r'[a-z0-9]+: ', words) else ': '}{words}"
        yield of_field(next(iter(groups.values())), name, replace(rules[0], choices=choices, help=words))


SEARCHER = (
    click.option(
        "--searcher",
        type=click.Choice(list(SEARCHERS)),
        help="; ".join(f"{name}: {words}" for name, (_, words) in SEARCHERS.items())
        + f".  [default: {DEFAULT}; {PUBLISHED_METHOD} with --preset or another flag of {PUBLISHED_METHOD} alone]",
    ),
    *_flags_of_searchers(),
)


def choose_searcher(context):
    """The searcher asked for: by --searcher, else by a flag that is of hfss alone (a preset means the published
    method), else the default one.

    Raises:
        UsageError: a flag of another searcher was given, which would do nothing.
    """
    own = {name: set(fields) | OF_IMAGES.get(name, set()) for name, fields in OWN.items()}
    given = {
        name
        for name in set().union(*own.values())
        if context.get_parameter_source(name) in (ParameterSource.COMMANDLINE, ParameterSource.DEFAULT_MAP)
    }
    chosen = context.params["searcher"]
    if chosen is None:
        of_others = set().union(*(names for name, names in own.items() if name != PUBLISHED_METHOD))
        chosen = PUBLISHED_METHOD if given & (own[PUBLISHED_METHOD] - of_others) else DEFAULT
    for name in sorted(given - own[chosen]):
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            owners = sorted(searcher for searcher, names in own.items() if name in names)
            raise UsageError(
                f"--{name.replace('_', '-')} is a flag of {' and '.join(owners)}; --searcher {chosen} has none."
            )
    context.params["searcher"] = chosen  # on record in run.yaml
    if "published_batch_size" in given and context.params["preset"] == "default":
        if context.get_parameter_source("published_batch_size") is ParameterSource.COMMANDLINE:
            raise UsageError("--published-batch-size is of the published loss; it needs --preset cvpr2025.")
    if chosen == PUBLISHED_METHOD and context.params["preset"] == "cvpr2025":
        set_defaults(context, module_of(SEARCHERS, chosen).PUBLISHED)
    take_published_order(context)
    return chosen


@command(app, "search", leaves_records=True)
@options(MODEL, DATA_OF_SEARCH, of_fields(Testing))
@click.option("--out", type=click.Path(file_okay=False), metavar="DIR", help="Where the results shall stand.")
@options(PUBLISHED_ORDER, SEARCHER, RUN, DTYPE, GOING_ON)
@click.option("--dry-run", is_flag=True, help="Only say how much work it is, after a short calibration.")
@click.option(
    "--ranks", "project", type=click.IntRange(1), default=1, show_default=True, metavar="G",
    help="--dry-run: project the time for G GPUs (processes of torchrun), each as fast as this one.",
)  # fmt: skip
@options(ENGINE, LOG, JSON)
def search(out, resume, overwrite, dry_run, project, log_json, as_json, **flags):
    """Find, for every class, the few frequencies by which a classifier still recognises it.

    Writes report.html, run.json, dfm.safetensors, classes.csv, every stage's scores and pictures (dfms.png,
    filtered.png, curves.png) into DIR.

    \b
    freqkit search --model cifar_resnet20 --weights resnet20.safetensors \\
                   --data cifar10/test --out runs/resnet20
    """
    from freqkit.engine.ranks import join

    if resume and overwrite:
        raise UsageError("--resume and --overwrite exclude each other; give one of them.")
    if project > 1 and not dry_run:
        raise UsageError("--ranks projects a --dry-run; torchrun starts the processes of a real one.")
    if out is None and not dry_run:
        raise UsageError("--out must be given, or --dry-run.")
    context = click.get_current_context()
    searcher = choose_searcher(context)
    flags = {name: context.params[name] for name in flags}  # a preset sets some that were not given
    with join() as ranks:
        model = the_model(flags)
        images = images_of_search(flags, model=model, preset=flags["preset"])
        if len(images.classes) != model.num_classes:
            raise UsageError(
                f"--data must hold the classes of the model: it has {len(images.classes)} folders, the model"
                f" {model.num_classes} logits; give --classes LIST (the name of each logit) or --num-classes."
            )
        settings, share = {**scoring_of(flags), **testing_of(flags)}, None
        for group in dict.fromkeys(OWN[searcher].values()):
            settings.update({name: value for name, value in asked(flags, group).items() if name in OWN[searcher]})
        if "coverage" in OWN[searcher]:
            share = flags["coverage"]
            if OWN[searcher]["coverage"] is Budget and Levels in found_by(searcher).groups:
                settings.update(levels=(settings.pop("coverage"),), level=share)
        run = found_by(searcher)
        with watcher(log=None if dry_run else log_json) as progress:
            if dry_run:
                plan = run(model, images, dry_run=True, progress=progress, **settings)
                if ranks.first:
                    show_plan(plan, as_json, project)
                return
            result = run(model, images, out=out, resume=resume, overwrite=overwrite, progress=progress, **settings)
        if ranks.first:
            words = "the frequencies that serve it best"
            if share is not None:
                words = f"{100 * share:g}% of the frequencies{kept_of(result, share)}"
            write_and_show(result, model, images, out, as_json, f"Each class seen only through {words}")
