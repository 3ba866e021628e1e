"""Every heading of the tables that commands print, and every key of the rows that --json prints, can be looked up."""

import functools
import json
import re

import pytest

from freqkit.data.test_sets.known import known_set
from freqkit.report.terms import find_term
from tests.cli.test_every_command import EVERY, SMALL
from tests.fuzz.data_formats import write_example

SMALL = {
    **SMALL,
    ("search", "plan"): SMALL["search",] + " --dry-run",
    ("masks", "show"): "{dfm}",
    ("data", "synthetic"): "--out {out}",
    ("data", "list"): "{root}",
    ("data", "cache"): "--cache {kept}",
    ("doctor",): "--on planted={images} --model small_convnet",
    ("models", "list"): "",
    ("models", "show"): "small_convnet",
    ("info",): "",
    ("explain",): "",
    ("status",): "{searched}",
    ("watch",): "{searched} --once",
    ("table",): "{evaluated}",
    ("report",): "{searched}",
}
# these print no rows: what they do is a file, or another command's
NO_ROWS = {("completion",), ("rerun",), ("masks", "import"), ("masks", "export"), ("data", "check"),
           ("data", "components"), ("data", "hars")}  # fmt: skip
# what everybody calls so, and the names of the classes and sets that are asked here
PLAIN = {
    "name", "class", "classes", "images", "file", "model", "device", "seconds", "size", "set", "sets", "source",
    "short", "status", "stage", "path", "planted", "planted all", "C0", "C1", "C2", "C3", "kind", "what", "step",
    "images of", "last used", "used", "about", "MiB", "models", "bias", "score", "low",
    "bytes", "page", "host", "pid", "threads", "", "image", "count", "from", "to", "logits", "title", "record", "state",
    "sentence", "reason", "numbers", "parts", "plan", "planned",
    "highest", "lowest", "train",
}  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory, images_folder, weights):
    """A search, an evaluation and a file of maps, made once."""
    import torch
    from click.testing import CliRunner

    from freqkit.cli.app import app
    from freqkit.data import load_images
    from freqkit.masks import DfmFile, low_pass, save_dfm

    folder = tmp_path_factory.mktemp("finished")
    places = {"root": images_folder.parent, "images": images_folder, "weights": weights}
    places["kept"] = folder / "kept"
    load_images(images_folder, cache=places["kept"])
    places["dfm"] = folder / "dfm.safetensors"
    places["table"], places["people"] = folder / "table.csv", folder / "people"
    places["table"].write_text("model,shape-bias,top1_acc/imagenet\na,0.1,70\nb,0.2,75\nc,0.4,72\nd,0.5,80\n")
    write_example(known_set("human-cue-conflict"), places["people"] / "cue-conflict")
    places["plan"] = folder / "plan.yaml"
    places["plan"].write_text("base: {epochs: 1}\nfactors: {lr: [0.1]}\nseeds: 1\n")
    save_dfm(places["dfm"], DfmFile(torch.stack([low_pass(32, 6)] * 4), ["C0", "C1", "C2", "C3"]))
    for name, word in (("search", "searched"), ("evaluate", "evaluated")):
        places[word] = folder / word
        line = SMALL[name,].format(**places, out=places[word])
        assert CliRunner().invoke(app, [name, *line.split()]).exit_code == 0
    return places


def rows_in(found):
    """The dicts that stand in lists, at any depth."""
    if isinstance(found, dict):
        for value in found.values():
            yield from rows_in(value)
    elif isinstance(found, list):
        for value in found:
            if isinstance(value, dict):
                yield value
            yield from rows_in(value)


def test_every_command_is_asked():
    assert set(EVERY) - NO_ROWS == set(SMALL) - {("search", "plan")}


@pytest.mark.parametrize("name", sorted(SMALL), ids=" ".join)
def test_headings_and_keys_are_terms(run, name, finished, held, tmp_path, monkeypatch):
    from rich.table import Table

    from freqkit.cli import demo

    if name == ("demo",):
        tiny = {"training": 8, "search": 2, "fresh": 2, "epochs": 1, "candidates": (4, 4, 4, 4)}
        monkeypatch.setattr(demo, "run", functools.partial(demo.run, **tiny))
    headings, add = [], Table.add_column

    def noted(self, head, **more):
        headings.append(str(head))
        return add(self, head, **more)

    monkeypatch.setattr(Table, "add_column", noted)
    words = name[:1] if name == ("search", "plan") else name
    for number, flags in enumerate(([], ["--json"])):
        places = {
            **finished,
            "held": held,
            "out": tmp_path / f"run{number}",
            "file": tmp_path / f"{number}.safetensors",
        }
        result = run(*words, *SMALL[name].format(**places).split(), *flags)
        assert result.exit_code == 0, result.stderr
    # bands that are removed or stay, with their cut-offs, strengths of noise, and kernels that are smoothed
    seen = r"-B\d(\+B\d)*|(low |high |band )?[\d.]+|no noise|rho [\d.]+(, \w+)?"
    headings = [word for word in headings if not re.fullmatch(seen, word)]
    keys = {key for row in rows_in(json.loads(result.stdout)) for key in row}
    left = [word for word in sorted({*headings, *keys}) if word not in PLAIN and not find_term(word)]
    assert not left, left
