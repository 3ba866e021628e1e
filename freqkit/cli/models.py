"""`freqkit models`: which models there are."""

import click

from freqkit.cli.app import app, command
from freqkit.cli.options import JSON, options
from freqkit.cli.voice import say, say_json, tell


@app.group("models")
def models():
    """Which models there are, and what is known of one."""


@command(models, "list")
@click.argument("pattern", default="*")
@click.option("--pretrained", is_flag=True, help="Only names with published weights, with their tags.")
@options(JSON)
def list_(pattern, pretrained, as_json):
    """List built-in and timm names that match PATTERN (with * and ?, or a part of the name).

    \b
    freqkit models list 'resnet*'
    freqkit models list vit_small --pretrained
    """
    from freqkit.models import list_models

    found = list_models(pattern, pretrained=pretrained)
    if as_json:
        say_json(found)
        return
    for name in found:
        tell(name)
    say(f"{len(found)} models")
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
    from freqkit.models import describe_model, load_model
    from freqkit.models.weights import file_sha256

    facts = describe_model(name)
    weights = facts["weights"]
    if download and weights is None:
        raise UsageError(f"--download: there are no published weights of {name!r}.")
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
    here = weights["here"] or "not on this machine; --download fetches them"
    tell(f"{'here':12}  {here}")
    if weights.get("sha256"):
        tell(f"{'SHA-256':12}  {weights['sha256']}")
