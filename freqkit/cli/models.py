"""`freqkit models`: which models there are."""

import fnmatch

import click

from freqkit.cli.app import app, command
from freqkit.cli.options import JSON, options
from freqkit.cli.tables import show_table
from freqkit.cli.voice import say, say_json, tell


@app.group("models")
def models():
    """Which models there are, and what is known of one."""


@command(models, "list")
@click.argument("pattern", default="*")
@click.option("--pretrained", is_flag=True, help="Only names with published weights, with their tags.")
@click.option("--study", is_flag=True, help="The networks of a study (study:NAME), their files, and which are here.")
@click.option(
    "--weights-dir", type=click.Path(exists=True, file_okay=False), metavar="DIR", help="Folder of their weights."
)
@options(JSON)
def list_(pattern, pretrained, study, weights_dir, as_json):
    """List built-in and timm names that match PATTERN (with * and ?, or a part of the name).

    --study: the 48 networks of Gavrikov and Keuper (CVPR 2024), and 22 more of their table.

    \b
    freqkit models list 'resnet*'
    freqkit models list vit_small --pretrained
    freqkit models list --study --weights-dir weights
    """
    from freqkit.errors import UsageError
    from freqkit.models import list_models, study_models

    if study:
        return _study(study_models(weights_dir), pattern, as_json)
    if weights_dir is not None:
        raise UsageError("--weights-dir goes with --study.")

    found = list_models(pattern, pretrained=pretrained)
    if as_json:
        say_json(found)
        return
    for name in found:
        tell(name)
    say(f"{len(found)} models")
    return 0 if found else 1


def _study(found, pattern, as_json):
    pattern = pattern if set("*?[") & set(pattern) else f"*{pattern}*"
    found = [one for one in found if fnmatch.fnmatch(one["name"], pattern)]
    if as_json:
        say_json(found)
        return None
    columns = [("study:", "left"), ("of the 48", "left"), ("here", "left"), ("files", "left"), ("from", "left")]
    show_table(
        columns,
        [
            [
                one["name"], "yes" if one["studied"] else "no", "yes" if one["here"] else "no",
                ", ".join(one["files"]), one["source"],
            ]
            for one in found
        ],
    )  # fmt: skip
    say(f"{len(found)} networks, {sum(one['here'] for one in found)} of them here")
    return 0 if found else 1


@command(models, "show")
@click.argument("name")
@click.option("--download", is_flag=True, help="Fetch the published weights when they are not on this machine.")
@options(JSON)
def show(name, download, as_json):
    """Say what a model is and whether its published weights are on this machine, without making it.

    \b
    freqkit models show resnet50.a1_in1k
    """
    from freqkit.errors import UsageError
    from freqkit.files.reading import file_sha256
    from freqkit.models import describe_model, load_model

    facts = describe_model(name)
    weights = facts["weights"]
    if download and weights is None:
        raise UsageError(f"--download: there are no published weights of {name!r}.")
    if download and facts["source"] == "study":
        raise UsageError("--download: of the study's networks nothing is fetched; give --weights-dir.")
    if download and weights["here"] is None:
        load_model(name, pretrained=True)
        facts = describe_model(name)
        weights = facts["weights"]
    if weights is not None and weights["here"]:
        weights["sha256"] = file_sha256(weights["here"])
    if as_json:
        say_json(facts)
        return
    for key in ("name", "source", "num_classes", "input_size", "mean", "std"):
        value = facts[key]
        words = ", ".join(f"{v:g}" for v in value) if isinstance(value, list) else value
        tell(f"{key.replace('_', ' '):12}  {words}")
    tell(f"{'parameters':12}  {facts['parameters']:,}")
    if weights is None:
        tell(f"{'weights':12}  none published; give --weights FILE")
        return
    tell(f"{'weights':12}  {weights['from']}, licence {weights['licence'] or 'not stated'}")
    away = "in the folder that is given as --weights-dir" if facts["source"] == "study" else "--download fetches them"
    here = weights["here"] or f"not on this machine; {away}"
    tell(f"{'here':12}  {here}")
    if weights.get("sha256"):
        tell(f"{'SHA-256':12}  {weights['sha256']}")
