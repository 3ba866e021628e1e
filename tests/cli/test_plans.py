"""Every long command tells its cost before it is run, and writes nothing; stderr has its own lines alone."""

import json
import os
import re
import subprocess
import sys

import pytest

from freqkit.cli.app import COMMANDS, app
from freqkit.cli.plans import Timed
from freqkit.registry import MEASURES, SEARCHERS
from tests.measures_at_hand import line_of

NET = "--model small_convnet --weights {weights} --num-classes 4"
LINES = {
    **{f"search {name}": f"search {NET} --data {{images}} --searcher {name}" for name in SEARCHERS},
    "dfm": f"dfm {NET} --data {{images}}",
    "dfm gradient": f"dfm {NET} --data {{images}} --method gradient",
    **{name: f"{name} {line_of(name, NET)}" for name in MEASURES},
    "compare-searchers": f"compare-searchers {NET} --data {{images}} --held-out {{held}} --searchers learned,evolve"
    " --per-class 2 -b 8",
    "train": "train --model small_convnet --data {images} --epochs 2 --batch-size 8",
    "evaluate": f"evaluate {NET} --on mine={{images}} --dfm {{dfm}} --image-size 32",
    "demo": "demo",
    "profile": f"profile {NET} --data {{images}} --budget 20s -b 8",
}  # fmt: skip
LONG = {line.split()[0] for line in LINES.values()}


@pytest.fixture(scope="module")
def places(images_folder, held, weights, tmp_path_factory):
    import torch

    from freqkit.masks import DfmFile, save_dfm

    dfm = tmp_path_factory.mktemp("maps") / "dfm.safetensors"
    save_dfm(dfm, DfmFile(torch.ones(4, 32, 32), ["C0", "C1", "C2", "C3"]))
    return {"images": images_folder, "held": held, "weights": weights, "dfm": dfm}


def test_every_long_command_has_a_dry_run():
    flagged = {name for name in COMMANDS
               if any(one.name == "dry_run" for one in getattr(app.get_command(None, name), "params", []))}  # fmt: skip
    assert flagged >= LONG >= {*MEASURES, "search", "dfm", "train", "evaluate", "compare-searchers", "demo",
                               "profile"}  # fmt: skip


@pytest.mark.parametrize("name", LINES)
def test_a_dry_run_tells_the_cost_of_a_class_and_writes_nothing(run, places, name, tmp_path, monkeypatch):
    monkeypatch.setattr("freqkit.cli.demo.TRAINING", 8)
    monkeypatch.setattr("freqkit.cli.demo.SEARCH", 4)
    monkeypatch.chdir(tmp_path)
    line = LINES[name].format(**places).split()
    done = run(*line, "--dry-run", "--json")
    assert done.exit_code == 0, done.stderr
    facts = json.loads(done.stdout)
    each = facts["seconds"] / facts.get("classes", 4)
    assert facts["seconds_per_class"] == pytest.approx(each) and each > 0
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("name", ["search hfss", "rates", "train"])
def test_the_cost_is_told_in_words(run, places, name):
    words = run(*LINES[name].format(**places).split(), "--dry-run").stdout
    assert re.search(r"about .* at the speed just measured, .* (a|for each) class", words)


def test_the_speed_is_that_of_what_was_done():
    with Timed(budget=0.05) as timed:
        timed.start("work", 10_000)
        for _ in range(10_000):
            import time

            time.sleep(0.01)
            timed.advance(10)
        raise AssertionError("it went on")
    assert timed.total == 10_000 and 5 < timed.seconds < 50


NOISE = re.compile(r"(?m)^[WEI]\d{4} |site-packages|\.py:\d+|warnings\.warn")


def test_nothing_but_the_commands_own_lines_is_on_stderr(places, tmp_path):
    """A network that warns, compiled: torch, and whoever else, has nothing to say there."""
    (tmp_path / "net.py").write_text(
        "import logging, warnings, torch\nfrom freqkit.models import load_model\n\n\ndef make():\n"
        "    logging.getLogger('torch._dynamo').warning('a line of torch')\n"
        "    warnings.warn_explicit('a line of timm', UserWarning, 'x.py', 1, module='timm.models.x')\n"
        "    warnings.warn('of a kernel (Triggered internally at x.cpp:1.)')\n"
        "    return load_model('small_convnet', num_classes=4).network\n"
    )
    line = f"search --model {tmp_path}/net.py:make --mean 0.5,0.5,0.5 --std 0.25,0.25,0.25 --data {places['images']}"
    line += f" --searcher hfss --candidates 6 --stages 1 --form compiled -b 8 --out {tmp_path}/run --num-classes 4"
    done = subprocess.run([sys.executable, "-m", "freqkit", *line.split()], capture_output=True, text=True,
                          env={**os.environ, "TORCH_LOGS": ""})  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not NOISE.search(done.stderr) and "a line of" not in done.stderr and "of a kernel" not in done.stderr
    assert not re.search(NOISE, done.stdout)
