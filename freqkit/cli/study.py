"""`freqkit study`: do biases of many models tell how well they generalise?"""

from pathlib import Path

import click

from freqkit.cli.app import app, command
from freqkit.cli.options import JSON, asked, of_fields, options
from freqkit.cli.tables import number, show_table
from freqkit.cli.voice import say, say_json, tell
from freqkit.measures.correlation import Studying

FILE = "study.safetensors"
TABLE = click.Path(exists=True)
GROUPS = click.Path(exists=True, dir_okay=False)


@command(app, "study", leaves_records=True)
@click.option(
    "--data", "sources", required=True, multiple=True, type=TABLE, metavar="TABLE",
    help="A table of models as published (benchmark.csv), a store, results of any measure, a results CSV of timm, a"
    " model_info JSON of RobustBench; may be given several times.",
)  # fmt: skip
@click.option(
    "--groups", type=GROUPS, metavar="FILE", help="JSON, category -> names of models: these count, and are coloured so."
)
@click.option(
    "--apart", multiple=True, metavar="NAME=CATEGORY",
    help="A category that is looked at by itself, beside all and the rest; may be given several times."
    "  [default: AT=adversarial_training where there is one]",
)  # fmt: skip
@click.option(
    "--families", type=GROUPS, metavar="FILE",
    help="JSON, family -> names of models that are variants of one recipe.  [default: the categories]",
)  # fmt: skip
@click.option(
    "--add", "added", multiple=True, type=TABLE, metavar="STORE",
    help="Your models, as --data: shown among the others, marked; may be given several times.",
)  # fmt: skip
@options(of_fields(Studying))
@click.option("--check", is_flag=True, help="Only check whether the published table is what it says.")
@click.option(
    "--out", type=click.Path(file_okay=False), metavar="DIR", help="Write results, figures and the page here."
)
@click.option("--overwrite", is_flag=True, help="Replace what is in DIR.")
@options(JSON)
def study(sources, groups, apart, families, added, check, out, overwrite, as_json, **flags):
    """Which biases go with which scores over many models, how sure that is, and on which models it hangs.

    Writes study.safetensors, study.csv (the relations), study-models.csv, figures and the page into DIR. --json prints
        correlations, biases and composites.

    \b
    freqkit study --data benchmark.csv --groups r50_categories.json --add runs/results.sqlite --out runs/study
    """
    from freqkit.errors import UsageError
    from freqkit.measures import study as measure
    from freqkit.measures.correlation.checks import check_table
    from freqkit.results.load import rows_of

    if out is not None and (Path(out) / FILE).exists() and not overwrite:
        raise UsageError(f"--out must be a new folder, or give --overwrite; {Path(out) / FILE} is there.")
    rows = [row for source in sources for row in rows_of(source)]
    if check:
        _check(check_table(rows), as_json)
        return
    settings = asked(flags, Studying)
    settings["mend"] = tuple(name.strip() for name in (flags["mend"] or "").split(",") if name.strip())
    result = measure(
        rows, groups=groups, apart=_pairs(apart), families=families,
        added=[row for source in added for row in rows_of(source)], **settings,
    )  # fmt: skip
    result.record["sources"] = [Path(source).name for source in (*sources, *added)]
    if out is not None:
        from freqkit.measures.correlation.figures import write_study

        Path(out).mkdir(parents=True, exist_ok=True)
        result.save(Path(out) / FILE)
        write_study(result, out)
    for note in result.notes:
        say(f"Note: {note}")
    if as_json:
        say_json({
            "correlations": result.correlations, "biases": result.biases, "composites": result.composites,
            "groups": result.groups, "added": result.added, "notes": result.notes, "checks": result.checks,
            "definition": result.definition,
        })  # fmt: skip
        return
    _show(result)
    if out is not None:
        say(f"Everything is in {Path(out)}/")


def _pairs(texts):
    """Name -> category of `NAME=CATEGORY`; None of none."""
    from freqkit.errors import UsageError

    found = {}
    for text in texts:
        name, equals, category = text.partition("=")
        if not (name and equals and category):
            raise UsageError(f"--apart must look like AT=adversarial_training; got {text!r}.")
        found[name] = category
    return found or None


def _check(findings, as_json):
    """Print findings; 1 is the exit code when one is wrong."""
    from freqkit.errors import UsageError

    if not findings:
        raise UsageError("--check is of tables as published; --data holds none.")
    if as_json:
        say_json([vars(one) for one in findings])
    else:
        columns = [("", "left"), ("what", "left"), ("found", "left")]
        show_table(columns, [[one.verdict, one.what, one.found] for one in findings])
    wrong = sum(one.verdict == "wrong" for one in findings)
    if wrong:
        say(f"{wrong} of {len(findings)} checks failed.")
        raise click.exceptions.Exit(1)


def _show(result):
    """Correlations of each bias, a column for each score and group, and the verdict."""
    from freqkit.measures.correlation.page import verdict
    from freqkit.measures.correlation.quantities import BIASES, SCORES

    level = result.definition["alpha"]
    found = {(one["bias"], one["score"], one["group"]): one for one in result.correlations}
    rows = []
    for bias in BIASES:
        for group in result.groups:
            cells = [found[bias, score, group] for score in SCORES]
            rows.append([bias, group, str(cells[0]["n"]), *(_rho(one, level) for one in cells)])
    columns = [("bias", "left"), ("group", "left"), ("models", "right"), *((score, "right") for score in SCORES)]
    title = f"Spearman's rho; in brackets: p {level:g} or more"
    show_table(columns, rows, title=title)
    for sentence in verdict(result):
        tell(sentence)


def _rho(one, level):
    text = number(one["rho"], 4)
    return f"({text})" if one["p"] is not None and one["p"] >= level else text
