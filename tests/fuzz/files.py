"""Damaged files of every format that freqkit reads, drawn at random: every reader answers with a value or one sentence.

    python tests/fuzz/files.py --files 20000 --seed 0

A file is drawn from (seed, number) alone. It fails when reading it ends with an exit code other than 0 and 2, raises
what is no `UsageError`, says nothing or the name of a Python type, steers the terminal, leaves an unfinished file,
takes more than 10 seconds of the processor (or 100 by the clock), or takes more than a gigabyte.

A format is a line of `formats`: what is copied into a fresh folder, which file of it is damaged, how its insides are
known (for damage that the format's own checks do not see), and who reads it.
"""

import argparse
import contextlib
import copy
import io
import json
import multiprocessing
import os
import pickle
import random
import re
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import zlib
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from freqkit.registry import MEASURES, module_of
from freqkit.text import printable
from tests.measures_at_hand import line_of, place_of

os.environ.setdefault("OMP_NUM_THREADS", "1")

SECONDS, BYTES = 10, 1 << 30
POINTER = (
    b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1\nsize 12345\n"
)
NAMES_OF_PYTHON = re.compile(
    r"\b((Key|Type|Value|Attribute|Index|UnicodeDecode|Overflow|Runtime|Recursion|Safetensor|JSONDecode|EOF|Assertion"
    r"|NotImplemented|ZeroDivision|Memory|OS|Lookup|Unpickling|FloatingPoint)Error|BadZipFile|NoneType|Traceback)\b"
)


class Format(NamedTuple):
    """What is damaged, and who reads it.

    `root`: folder or file that is copied. `file`: the damaged one in it ("": the root itself). `inside`: "json",
    "safetensors", "pickle", "torch", "csv", "yaml", "journal", "sqlite" or "bytes". `readers`: functions of
    (root, file); a share of the files goes to each.
    """

    root: Path
    file: str
    inside: str
    readers: tuple


# ---- samples --------------------------------------------------------------------------------------------------------


def make_samples(root):
    """Small whole files of every format, in the folder `root`."""
    import functools

    import numpy as np
    import torch

    from freqkit.cli import demo
    from freqkit.data import synthetic, write_image_folder
    from freqkit.masks import DfmFile, low_pass, save_dfm
    from freqkit.models import load_model, save_weights
    from freqkit.results.store import COLUMNS, Store

    for name, seed in (("images", 0), ("held", 5)):
        write_image_folder(synthetic(1, images_per_class=3, seed=seed), root / name)
    model = load_model("small_convnet", num_classes=4)
    save_weights(model, root / "weights.safetensors")
    state = model.network.state_dict()
    checkpoint = {"model": state, "epoch": 3, "optimizer": {"state": {0: {"step": 1}}, "param_groups": [{"lr": 0.1}]}}
    checkpoint["args"] = argparse.Namespace(root=Path("data"), lr=np.float64(0.1), kinds={"a"}, dtype=torch.float16)
    torch.save(checkpoint, root / "zip.pth")
    torch.save(checkpoint, root / "legacy.pth", _use_new_zipfile_serialization=False)
    names = ["C0", "C1", "C2", "C3"]
    save_dfm(root / "dfm.safetensors", DfmFile(torch.stack([low_pass(32, 6)] * 4), names))
    for protocol in (0, 2, 4, 5):
        with open(root / f"maps-{protocol}.pkl", "wb") as file:
            pickle.dump({i: [np.eye(8), np.ones((8, 8))] for i in range(3)}, file, protocol)
    row = dict.fromkeys(COLUMNS, "") | {"model": "m", "set": "s", "metric": "top-1", "value": 0.5, "n": 10}
    Store(root / "store.sqlite").add([row | {"class": str(i)} for i in range(200)], source="here")
    (root / "results-imagenet-a.csv").write_text(
        "model,top1,top1_err,top5,top5_err,param_count,img_size\n"
        + "".join(f"net{i},{50 + i},{50 - i},{80 + i},{20 - i},5.0,224\n" for i in range(5))
    )
    (root / "rn18_s6test1severity3fog.csv").write_text(
        ",Class_id,Org_acc,Org_DFM_acc,Corrupt_acc,Corrupt_DFM_acc\n"
        + "".join(f"{i},{i},0.5,0.25,{i / 8},0.125\n" for i in range(5))
    )
    (root / "benchmark.csv").write_text(
        "model,top1_acc/imagenet,shape-bias,metric/bandpass/LFC/0.30000000000000004\n"
        + "".join(f"net{i},{50 + i},0.{i + 1},0.{9 - i}\n" for i in range(5))
    )
    (root / "groups.json").write_text(json.dumps({"one": ["net0", "net1"], "two": ["net2", "net3", "net4"]}))
    (root / "bench").mkdir()
    (root / "bench" / "net.log").write_text("initial accuracy: 80.00%\nrobust accuracy: 30.50%\n")
    (root / "bench" / "Some2020.json").write_text(
        json.dumps({"dataset": "cifar10", "name": "Robust", "eps": "8/255", "clean_acc": "84.9", "autoattack_acc": 53})
    )
    (root / "edge_subject-01_session_1.csv").write_text(
        "subj,Session,trial,rt,object_response,category,condition,imagename\n"
        + "".join(
            f"subject-01,1,{i},0.5,cat,{'cat' if i else 'dog'},0,{i:04}_x_s01_0_cat_00_cat{i}.png\n" for i in range(5)
        )
    )
    demo.run = functools.partial(demo.run, training=8, search=2, fresh=2, epochs=1, candidates=(4, 4, 4, 4))
    net = f"--model small_convnet --weights {root}/weights.safetensors --batch-size 50"
    images = f"--data {root}/images"
    for place, words in {
        "hfss": f"search {net} {images} --searcher hfss --candidates 4 --stages 1-2 --top 1",
        "learned": f"search {net} {images} --searcher learned --steps 2",
        "evolve": f"search {net} {images} --searcher evolve --generations 1",
        "greedy": f"search {net} {images} --searcher greedy",
        "removal": f"dfm {net} {images} --patch 16 --levels 0.5 --level 0.5",
        "gradient": f"dfm {net} {images} --method gradient --patch 16 --levels 0.5 --level 0.5",
        "comparison": f"compare-searchers {net} {images} --held-out {root}/held --searchers learned,evolve"
        " --effort learned=1 --effort evolve=1 --per-class 2 --seeds 2",
        "evaluation": f"evaluate {net} --dfm {root}/dfm.safetensors --on planted={root}/images --num-classes 4"
        " --no-pictures",
        "training": f"train --model small_convnet {images} --epochs 2 --follow 1 --batch-size 8",
        "demo": "demo",
        "people": f"human-comparison --observers {root}/edge_subject-01_session_1.csv",
        **{
            file_of(name): f"{name} {line_of(name, net)}".format(images=f"{root}/images", dfm=f"{root}/dfm.safetensors")
            for name in MEASURES
        },
    }.items():
        code, text = command(*words.split(), "--out", root / place)
        if code:
            raise RuntimeError(f"the sample {place} could not be made ({code}): {text}")


def file_of(name):
    """What a measure writes below the samples: a file, or the directory of its run."""
    return name if place_of(name) == "{out}" else f"{name}.safetensors"


def command(*arguments):
    """(exit code, stderr) of a command, in this process."""
    from freqkit.cli.app import app

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            app.main([str(one) for one in arguments])
            code = 0
        except SystemExit as error:
            code = error.code or 0
    return code, err.getvalue()


def formats(root):
    """Name -> Format, of the samples in `root`."""
    import click

    from freqkit.cli.app import app
    from freqkit.cli.records import read_config
    from freqkit.engine import Journal, RunDirectory, status
    from freqkit.errors import UsageError
    from freqkit.files.pickles import load_plain
    from freqkit.masks import import_pickle, load_dfm
    from freqkit.measures import read_raw
    from freqkit.measures.evaluation import EvaluationResult
    from freqkit.models import read_state_dict
    from freqkit.results import LearningCurves, load_result
    from freqkit.results.attack_logs import read_autoattack
    from freqkit.results.published import read_benchmark
    from freqkit.results.released import read_losses
    from freqkit.results.released_tables import read_evaluation
    from freqkit.results.store import Store, read_results, read_robustbench, read_timm
    from freqkit.search import Comparison

    def call(function):
        return lambda root, file: function(file)

    def of_root(function):
        return lambda root, file: function(root)

    def cli(*words):
        def read(run, file):
            return command(*(str(word).format(run=run, file=file, root=root) for word in words))

        read.slow = words[0] in ("search", "dfm", "train", "evaluate", "rates", "rerun")
        return read

    def journal(place, file):
        with Journal(file) as found:
            for key in list(found.keys()):
                found.get(key)

    def resumed(place, file):
        with RunDirectory(place, json.loads((root / "learned" / "run.json").read_text())["identity"], resume=True):
            pass

    def added(place, file):
        store = Store(file)
        store.patience = 1
        store.add([{"model": "new", "set": "s", "metric": "top-1", "value": 1.0}], source="there")
        store.rows(), store.runs()

    def config(*names):
        def read(place, file):
            context, group = None, app
            for name in names:
                group = group.get_command(context, name)
            try:
                return read_config(file, group)
            except click.UsageError as error:
                raise UsageError(error.message) from error

        return read

    report, look = cli("report", "{run}"), (cli("status", "{run}"), cli("watch", "--once", "{run}"))
    net = ("--model", "small_convnet", "--weights", "{root}/weights.safetensors", "--batch-size", "50")
    images = ("--data", "{root}/images")
    again = {
        "hfss": ("search", *net, *images, "--searcher", "hfss", "--candidates", "4", "--stages", "1-2", "--top", "1"),
        "learned": ("search", *net, *images, "--searcher", "learned", "--steps", "2"),
        "evolve": ("search", *net, *images, "--searcher", "evolve", "--generations", "1"),
        "greedy": ("search", *net, *images, "--searcher", "greedy"),
        "removal": ("dfm", *net, *images, "--patch", "16", "--levels", "0.5", "--level", "0.5"),
        "gradient": (
            "dfm",
            *net,
            *images,
            "--method",
            "gradient",
            "--patch",
            "16",
            "--levels",
            "0.5",
            "--level",
            "0.5",
        ),
        "evaluation": (
            "evaluate",
            *net,
            "--dfm",
            "{root}/dfm.safetensors",
            "--on",
            "planted={root}/images",
            "--num-classes",
            "4",
            "--no-pictures",
        ),
        "training": (
            "train",
            "--model",
            "small_convnet",
            *images,
            "--epochs",
            "2",
            "--follow",
            "1",
            "--batch-size",
            "8",
        ),
    }
    again = {name: cli(*words, "--out", "{run}", "--resume") for name, words in again.items()}
    found = {}
    for name in ("hfss", "learned", "removal", "gradient", "training", "evaluation"):
        load = {"training": of_root(status), "evaluation": of_root(EvaluationResult.load)}.get(
            name, of_root(load_result)
        )
        readers = (load, *look, report, cli("table", "{run}"), again[name])
        found[f"run.json, {name}"] = Format(root / name, "run.json", "json", readers)
    for name in again:
        if name != "training":
            readers = (journal, look[0], again[name])
            found[f"journal, {name}"] = Format(root / name, "journal.bin", "journal", readers)
    found["run.json, resumed"] = Format(root / "learned", "run.json", "json", (resumed,))
    found["stage"] = Format(
        root / "hfss", "stage-1.safetensors", "safetensors", (of_root(load_result), report, look[1], again["hfss"])
    )
    found["removal"] = Format(root / "removal", "removal.safetensors", "safetensors", (of_root(load_result), report))
    found["gradient"] = Format(root / "gradient", "removal.safetensors", "safetensors", (of_root(load_result), report))
    found["examples"] = Format(root / "demo", "examples.safetensors", "safetensors", (report,))
    found["demo"] = Format(root / "demo", "demo.json", "json", (report,))
    found["learning curves"] = Format(
        root / "training", "learning.safetensors", "safetensors", (call(LearningCurves.load), report)
    )
    found["learning table"] = Format(root / "training", "learning.csv", "csv", (report,))
    found["history"] = Format(root / "training", "history.csv", "csv", (report,))
    found["checkpoint"] = Format(root / "training", "checkpoint.safetensors", "safetensors", (again["training"],))
    found["comparison"] = Format(
        root / "comparison", "comparison.json", "json", (of_root(Comparison.load), report, cli("table", "{run}"))
    )
    found["results"] = Format(
        root / "evaluation", "results.csv", "csv", (call(read_results), report, cli("table", "{run}"))
    )
    found["published evaluation"] = Format(
        root / "rn18_s6test1severity3fog.csv",
        "",
        "csv",
        (call(read_evaluation), cli("table", "{file}", "--metric", "mean TPR")),
    )
    found["timm"] = Format(
        root / "results-imagenet-a.csv",
        "",
        "csv",
        (call(read_timm), cli("table", "{root}/evaluation", "--timm", "{file}")),
    )
    found["autoattack"] = Format(
        root / "bench" / "net.log",
        "",
        "bytes",
        (call(read_autoattack), cli("table", "{root}/evaluation", "--autoattack", "{file}")),
    )
    study = ("study", "--data", "{root}/benchmark.csv", "--resamples", "5")
    found["benchmark"] = Format(
        root / "benchmark.csv", "", "csv",
        (call(read_benchmark), cli("table", "{file}"), cli("study", "--data", "{file}", "--resamples", "5")),
    )  # fmt: skip
    found["groups"] = Format(
        root / "groups.json", "", "json", (cli(*study, "--groups", "{file}"), cli(*study, "--families", "{file}"))
    )  # fmt: skip
    found["robustbench"] = Format(
        root / "bench" / "Some2020.json",
        "",
        "json",
        (lambda run, file: read_robustbench([file]), cli("table", "{root}/evaluation", "--robustbench", "{file}")),
    )
    found["raw data of people"] = Format(
        root / "edge_subject-01_session_1.csv",
        "",
        "csv",
        (lambda run, file: read_raw([file]), cli("human-comparison", "--observers", "{file}")),
    )
    found["human comparison"] = Format(
        root / "people",
        "human-comparison.safetensors",
        "safetensors",
        (of_root(load_result), report, cli("table", "{run}")),
    )
    found["store"] = Format(
        root / "store.sqlite",
        "",
        "sqlite",
        (lambda run, file: Store(file).rows(), added, cli("table", "{file}", "--classes")),
    )
    found["maps"] = Format(
        root / "dfm.safetensors",
        "",
        "safetensors",
        (
            call(load_dfm),
            cli("masks", "show", "{file}"),
            cli("table", "{file}"),
            cli("rates", *net, *images, "--dfm", "{file}"),
        ),
    )
    for protocol in (0, 2, 4, 5):
        readers = (
            call(import_pickle),
            call(load_plain),
            call(read_losses),
            cli("masks", "import", "{file}", "--out", "{run}.safetensors"),
        )
        found[f"pickle {protocol}"] = Format(root / f"maps-{protocol}.pkl", "", "pickle", readers)
    for name, inside in (("weights.safetensors", "safetensors"), ("zip.pth", "torch"), ("legacy.pth", "pickle")):
        readers = (
            call(read_state_dict),
            cli(
                "search",
                "--model",
                "small_convnet",
                "--num-classes",
                "4",
                "--weights",
                "{file}",
                "--batch-size",
                "50",
                *images,
                "--searcher",
                "hfss",
                "--candidates",
                "2",
                "--stages",
                "1",
                "--top",
                "1",
            ),
        )
        found[name] = Format(root / name, "", inside, readers)
    found["run.yaml"] = Format(
        root / "training", "run.yaml", "yaml", (config("train"), cli("rerun", "{run}", "--out", "{run}/again"))
    )
    for name in MEASURES:
        module = module_of(MEASURES, name)
        readers = (call(getattr(module, module.__all__[0]).load), cli("report", "{file}"), cli("table", "{file}"))
        inside = "" if file_of(name).endswith(".safetensors") else f"{name}.safetensors"
        found[name] = Format(root / file_of(name), inside, "safetensors", readers)
    return found | _data_formats(root)


def _data_formats(root):
    """Formats of image sets and lists; their samples are made when they are first asked for."""
    from tests.fuzz.data_formats import FORMATS

    found = {}
    for name, (write, read) in FORMATS.items():
        folder = root / "data" / re.sub(r"\W+", "_", name)
        if not folder.exists():
            folder.mkdir(parents=True)
            write(folder)
        found[f"data: {name}"] = Format(folder, "*", "bytes", (lambda run, file, read=read: read(run),))
    return found


# ---- damage ---------------------------------------------------------------------------------------------------------


def damage(draw, data, inside, others):
    """(what was done, the damaged bytes, or None for a folder in the file's place)."""
    structured = {
        "json": _json,
        "safetensors": _safetensors,
        "pickle": _pickle,
        "torch": _torch,
        "csv": _csv,
        "yaml": _yaml,
        "journal": _journal,
    }.get(inside)
    if structured is not None and draw.random() < 0.55:
        return f"{inside} changed", structured(draw, data)
    what = draw.choice(
        [
            "cut",
            "cut",
            "bits",
            "bits",
            "zeroed",
            "swapped",
            "doubled",
            "random",
            "junk",
            "empty",
            "other",
            "pointer",
            "folder",
            "text",
        ]
    )
    size = len(data)
    a, b = sorted(draw.randrange(size + 1) for _ in range(2))
    a, b = (a, min(b, a + draw.choice([1, 8, 64, 4096]))) if draw.random() < 0.7 else (a, b)
    if what == "cut":
        return what, data[: draw.choice([a, size - 1 - draw.randrange(min(size, 9)), draw.randrange(min(size, 64))])]
    if what == "bits":
        changed = bytearray(data)
        near = min(size, draw.choice([32, 600, 10_000, size]))
        for _ in range(draw.choice([1, 1, 2, 8, 64])):
            changed[draw.randrange(near)] ^= 1 << draw.randrange(8)
        return what, bytes(changed)
    if what == "zeroed":
        return what, data[:a] + bytes(b - a) + data[b:]
    if what == "swapped":
        return what, data[:a] + data[b:] + data[a:b]
    if what == "doubled":
        return what, data[:b] + data[a:b] * draw.choice([1, 2, 50]) + data[b:]
    if what == "random":
        return what, data[:a] + draw.randbytes(b - a) + data[b:]
    if what == "junk":
        return what, data + draw.randbytes(draw.choice([1, 7, 8, 4096]))
    if what == "other":
        return what, draw.choice(others)
    if what == "pointer":
        return what, POINTER
    if what == "folder":
        return what, None
    if what == "text":
        return what, draw.choice(
            [
                b"[" * 100_000,
                b'{"a":' * 100_000,
                b"\xff\xfea\x00",
                b"\xef\xbb\xbf" + data,
                b"\x00" * 100,
                b"null",
                b"[]",
                b"{}",
                b'"a"',
                b"NaN",
                b"1e999",
                b"\x80\x04.",
                b"<html></html>",
                "é".encode("latin1") + data,
                b"\n",
                b"PK\x03\x04" + data,
                b"a: &a [1]\nb: [*a, *a]\n",
                b'{"a": 1, "a": 2}',
                b"1" * 10_000,
            ]
        )
    return what, b""


ODD = [
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**63,
    -(2**63),
    2**64,
    10**30,
    1.5,
    -0.5,
    1e308,
    -1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    "a\x1b[2Jb",
    "\ud800",
    "é\u2028",
    "$\\frac{$",
    "<b>",
    "1",
    [],
    [[]],
    [0],
    [None],
    {},
    {"a": 1},
    [1, 2, 3],
    ["x"],
    "x" * 3000,
    {"": None},
]


def _odd_value(draw, value):
    """`value` with one of its parts, or itself, replaced, left out, doubled or renamed."""
    places = []

    def walk(node, path):
        places.append(path)
        if isinstance(node, dict):
            for key, item in node.items():
                walk(item, (*path, key))
        elif isinstance(node, list):
            for i, item in enumerate(node[:20]):
                walk(item, (*path, i))

    walk(value, ())
    path = draw.choice(places)
    if not path:
        return copy.deepcopy(draw.choice(ODD))
    node = value
    for key in path[:-1]:
        node = node[key]
    key, how = path[-1], draw.random()
    if how < 0.7:
        node[key] = copy.deepcopy(draw.choice(ODD))
    elif how < 0.8:
        del node[key]
    elif how < 0.9 and isinstance(node, list):
        node.insert(key, node[key])
    elif isinstance(node, dict):
        node[draw.choice([f"{key}2", "", "a\nb", key.upper() if isinstance(key, str) else "k"])] = node.pop(key)
    else:
        node.append(copy.deepcopy(draw.choice(ODD)))
    return value


def _odd_json(draw, text):
    value = json.loads(text)
    for _ in range(draw.choice([1, 1, 1, 2, 4])):
        value = _odd_value(draw, value)
    return json.dumps(value)


def _json(draw, data):
    return _odd_json(draw, data).encode()


def _safetensors(draw, data):
    length = int.from_bytes(data[:8], "little")
    head, body = json.loads(data[8 : 8 + length]), bytearray(data[8 + length :])
    what = draw.random()
    if what < 0.35 and head.get("__metadata__"):
        about = head["__metadata__"]
        key = draw.choice(sorted(about))
        how = draw.random()
        if how < 0.1:
            del about[key]
        elif how < 0.25:
            about[key] = draw.choice(["", "{", "[]", "null", "x", "[" * 5000, "1e999", "NaN", '"\\ud800"', 5])
        else:
            try:
                about[key] = _odd_json(draw, about[key])
            except ValueError:
                about[key] = draw.choice(["", "x", "{}"])
    elif what < 0.75:
        tensors = [name for name in head if name != "__metadata__"]
        name = draw.choice(tensors)
        one, how = head[name], draw.choice("dtype shape offsets drop rename any values values values".split())
        if how == "dtype":
            one["dtype"] = draw.choice(
                "F64 F32 F16 BF16 I64 I32 I16 I8 U8 U16 U32 U64 BOOL F8_E4M3 F8_E8M0 F4 C64 X".split()
            )
        elif how == "shape":
            one["shape"] = draw.choice(
                [
                    [],
                    one["shape"][::-1],
                    [*one["shape"], 1],
                    [1, *one["shape"]],
                    [0],
                    [2**40, 2**40],
                    [2**63],
                    one["shape"][1:],
                    [-1],
                ]
            )
        elif how == "offsets":
            one["data_offsets"] = draw.choice([[0, 8], one["data_offsets"][::-1], [0, 2**62], [-1, 3], [0], []])
        elif how == "drop":
            del head[name]
        elif how == "rename":
            head[draw.choice(["x", "", "a/b", "é", f"{name}2"])] = head.pop(name)
        elif how == "any":
            head[name] = copy.deepcopy(draw.choice(ODD))
        else:
            start, end = one["data_offsets"]
            size = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "I16": 2}.get(one["dtype"], 1)
            if end > start:
                at = start + draw.randrange((end - start) // size) * size
                bad = struct.pack("<d", draw.choice([float("nan"), float("inf"), 1e308, -1.0, 2.0, -1e308]))
                if one["dtype"][0] in "IUB":
                    bad = struct.pack("<q", draw.choice([-1, 2**62, -(2**62), 7, 2**31, 255]))
                many = draw.choice([1, 1, (end - at) // size])
                body[at : at + size * many] = bad[:size] * many
    else:
        return len(text := _odd_json(draw, json.dumps(head)).encode()).to_bytes(8, "little") + text + body
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    size = draw.choice([len(text)] * 12 + [len(text) + 1, 2**40, 2**63, 0, 1])
    return size.to_bytes(8, "little") + text + bytes(body)


def _pickle(draw, data):
    if draw.random() < 0.25:
        return draw.choice(
            [
                b"Nr\xff\xff\xff\x0f0N.",
                b"\x8b\xff\xff\xff\x7f.",
                b"}(N" + b"2\x86" * 60 + b"I1\nu.",
                b"]" * 50_000 + b"a" * 49_999 + b".",
                b"(" * 50_000 + b"t" * 49_999 + b".",
                b"B\xff\xff\xff\xff.",
                b"\x96" + b"\xff" * 8 + b".",
                b"cos\nsystem\n(S'true'\ntR.",
                b"I" + b"9" * 5000 + b"\n.",
                b"}(" + b"N" + b"2\x86" * 40 + b"2d.",
                b"\x80\x04\x8f(N" + b"2\x86" * 60 + b"\x91.",
                b"}q\x00h\x00h\x00s.",
                b"]q\x00h\x00a.",
                b"}q\x00I0\nh\x00s.",
                b"c__builtin__\nbytearray\n(L99999999999L\ntR.",
                b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\xff.",
                b"F1e999\n.",
                b"\x80\xff.",
                b"P1\n.",
                b"NQ.",
            ]
        )
    changed = bytearray(data)
    codes = (
        b"(.0123FIJKLMNPQRSTUVXabcdeghijlopqrstu)]}"
        b"\x80\x81\x82\x85\x86\x87\x88\x8a\x8b\x8c\x8d\x8e\x8f\x90\x93\x94\x95\x96BCG"
    )
    for _ in range(draw.choice([1, 1, 2, 5])):
        at, how = draw.randrange(len(changed)), draw.random()
        if how < 0.5:
            changed[at] = draw.choice(codes)
        elif how < 0.75:
            changed[at:at] = bytes([draw.choice(codes)])
        elif how < 0.9:
            changed[at:at] = draw.choice(
                [b"q\xff", b"r\xff\xff\xff\x7f", b"h\x00", b"\x86\x94", b"(t", b"(d", b"2", b"0"]
            )
        else:
            del changed[at : at + draw.choice([1, 2, 9])]
    return bytes(changed)


def _torch(draw, data):
    """A checkpoint, whole as an archive, with another stream or other records."""
    import zipfile

    made = io.BytesIO()
    how = draw.random()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(made, "w") as new:
        for record in old.infolist():
            content = old.read(record)
            if record.filename.endswith("data.pkl") and how < 0.7:
                content = _pickle(draw, content)
            elif how > 0.7 and draw.random() < 0.2:
                content = draw.choice([b"", content[:3], content + b"x", content * 3])
            elif how > 0.9 and draw.random() < 0.2:
                continue
            new.writestr(record.filename, content, compress_type=8 if how > 0.97 else 0)
    return made.getvalue()


def _csv(draw, data):
    lines = [line.split(",") for line in data.decode().splitlines()]
    for _ in range(draw.choice([1, 1, 3])):
        line = draw.choice(lines[: draw.choice([1, len(lines)])])
        how, at = draw.random(), draw.randrange(len(line)) if line else 0
        if how < 0.7 and line:
            line[at] = draw.choice(
                [
                    "",
                    "x",
                    "nan",
                    "inf",
                    "-1",
                    "1e999",
                    "1_0",
                    "9" * 400,
                    '"',
                    "a\x1b[2J",
                    "\0",
                    "0x10",
                    "é",
                    "1e308",
                    "y" * 140_000,
                    " 1 ",
                    "٣",
                ]
            )
        elif how < 0.85 and line:
            del line[at]
        else:
            line.insert(at, "1")
    text = "\n".join(",".join(line) for line in lines) + "\n"
    return text.encode(draw.choice(["utf-8", "utf-8", "utf-8", "utf-16", "utf-8-sig", "latin1"]), "replace")


def _yaml(draw, data):
    import yaml

    if draw.random() < 0.3:
        return draw.choice(
            [
                b"a: &a [x,x,x]\nb: &b [*a,*a,*a]\nc: &c [*b,*b,*b]\nflags: *c\n",
                b"flags:\n\tx: 1\n",
                b"- a\n",
                b"flags: 5\n",
                b"command: train\nflags: [a]\n",
                b"command: [a]\n",
                b"flags: {seed: 2001-99-99}\n",
                b"? [a]\n: 1\n",
                b"flags: {seed: !!python/object/apply:os.system [true]}\n",
                b"a: !!set {x}\n",
                b"flags: {seed: 2001-01-01}\n",
                b"flags: {<<: {seed: 1}}\n",
                b"a: 1\na: 2\n",
                b"command: train\n",
                b"command: demo\nflags: {}\n",
                b"command: nothing\nflags: {}\n",
                b"flags: {seed: 0x" + b"f" * 5000 + b"}\n",
                b"{" * 500,
                b"%YAML 9.9\n---\na: 1\n",
                b"command: rerun\nflags: {}\n",
                b"command: train\nflags: {1: 2}\n",
                b"--- a\n--- b\n",
            ]
        )
    value = yaml.safe_load(data)
    value = _odd_value(draw, value)
    return yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "surrogatepass")


def _journal(draw, data):
    """Records whose checksum is right and whose content is not."""
    at = data.index(b"\n") + 1
    made, frames = bytearray(data[:at]), []
    while at + 8 <= len(data):
        length, _ = struct.unpack_from("<II", data, at)
        frames.append(data[at + 8 : at + 8 + length])
        at += 8 + length
    chosen = draw.randrange(len(frames))
    for i, payload in enumerate(frames):
        if i == chosen:
            line, _, body = payload.partition(b"\n")
            how = draw.random()
            if how < 0.5:
                payload = _odd_json(draw, line).encode("utf-8", "replace") + b"\n" + body
            elif how < 0.7:
                payload = line + b"\n" + draw.choice([b"", body[:3], body + b"x", body * 2])
            elif how < 0.8:
                payload = draw.choice([b"x", b"\n", b"{}\n", b"[]\n", b"\xff\n", b'{"key":"a"', b'{"key":"a"\n'])
            else:  # a record under the key of another
                payload = line.replace(
                    json.loads(line)["key"].encode(), json.loads(frames[0].partition(b"\n")[0])["key"].encode()
                )
                payload += b"\n" + body
        made += struct.pack("<II", len(payload), zlib.crc32(payload)) + payload
    return bytes(made)


# ---- one file -------------------------------------------------------------------------------------------------------


def judged(found, name, draw, work, others):
    """Damage a file of the format `name` and have it read; None, or (what was done, what went wrong)."""
    one = found[name]
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    place = work / one.root.name
    (shutil.copytree if one.root.is_dir() else shutil.copy)(one.root, place)
    file = place / one.file if one.file not in ("", "*") else place
    if one.file == "*":
        inside = sorted(path for path in place.rglob("*") if path.is_file())
        file = draw.choice(inside)
    what, data = damage(draw, file.read_bytes(), one.inside, others)
    file.unlink()
    file.mkdir() if data is None else file.write_bytes(data)
    # Commands that ask a model are rarer: they take a hundred times as long as a reader alone.
    weights = [0.1 if getattr(reader, "slow", False) else 1 for reader in one.readers]
    reader = draw.choices(range(len(weights)), weights)[0]
    wrong = _read(one.readers[reader], place, file)
    parts = [path.name for path in work.rglob("*.part")]
    if wrong is None and parts:
        wrong = f"left {parts[0]}"
    return None if wrong is None else (f"{what}, reader {reader}", wrong)


def _read(reader, place, file):
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            result = reader(place, file)
    except (ValueError, TypeError, OSError) as error:
        from freqkit.errors import UsageError

        text = str(error)
        if not isinstance(error, UsageError):
            return f"raised {_where(error)}"
    except BaseException as error:
        return f"raised {_where(error)}"
    else:
        if not isinstance(result, tuple) or len(result) != 2 or not isinstance(result[1], str):
            return None
        code, text = result
        if code == 1 and "Other bytes than" in text:
            return None  # what `rerun` says of another result
        if code not in (0, 2):
            return f"exit {code}: {text[-400:]}"
        if code == 0:
            return None
    if len(text.strip()) < 10:
        return f"said {text!r}"
    if (found := NAMES_OF_PYTHON.search(text)) is not None:
        return f"named {found[0]}: {text[-400:]}"
    if printable(text, keep="\n\t") != text:
        return f"steers the terminal: {text[-400:]!r}"
    return None


def _where(error):
    lines = traceback.format_exception(error)
    frames = [line.strip().splitlines()[0] for line in lines if "freqkit/" in line and line.strip().startswith("File")]
    return f"{type(error).__name__}: {str(error)[:200]} at {frames[-1] if frames else '?'}"


def _peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM"))


def _worker(pipe, root, seed, only):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import torch

    torch.set_num_threads(1)
    found = formats(Path(root))
    names = [name for name in found if not only or re.search(only, name)]
    whole = [next(path for path in sorted(one.root.rglob("*")) if path.is_file()) if one.file == "*" else one.root
             for one in found.values()]  # fmt: skip
    others = [path.read_bytes()[:100_000] for path in whole if path.is_file()]
    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + 4 * BYTES, resource.RLIM_INFINITY))
    work = Path(tempfile.mkdtemp(dir=root, prefix="work"))
    pipe.send(names)
    while (number := pipe.recv()) is not None:
        draw = random.Random(f"{seed}/{number}")
        name = names[draw.randrange(len(names))]
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
        before = _peak()
        wrong = judged(found, name, draw, work / "case", others)
        if wrong is None and _peak() - before > BYTES:
            wrong = ("?", f"took {(_peak() - before) >> 20} MiB")
        pipe.send((number, name, wrong))


def _spent(process):
    """Seconds of processor time of a process: other work on the machine is not its fault. Waiting counts a tenth."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") + time.monotonic() / 10


class Workers:
    """Processes that read damaged files; one that hangs or dies is replaced, and the file it read is to blame."""

    def __init__(self, root, seed, only, count):
        self.arguments, self.count = (str(root), seed, only), count
        self.context = multiprocessing.get_context("fork")

    def run(self, numbers):
        """Yields (number, format, None or what went wrong)."""
        numbers, live = iter(numbers), []
        for _ in range(self.count):
            self._start(live)
        while live:
            for slot in list(live):
                process, pipe, number, since = slot
                if pipe.poll(0.002):
                    try:
                        answer = pipe.recv()
                    except EOFError:
                        answer = None
                    if isinstance(answer, list):
                        self.names = answer
                    elif answer is not None:
                        yield answer
                    else:
                        yield number, "?", ("?", f"the process died ({process.exitcode})")
                        live.remove(slot)
                        self._start(live)
                        continue
                elif number is not None and _spent(process.pid) - since > SECONDS:
                    process.kill()
                    yield number, "?", ("?", f"took more than {SECONDS} seconds")
                    live.remove(slot)
                    self._start(live)
                    continue
                else:
                    continue
                slot[2], slot[3] = next(numbers, None), _spent(process.pid)
                pipe.send(slot[2])
                if slot[2] is None:
                    process.join()
                    live.remove(slot)

    def _start(self, live):
        ours, theirs = self.context.Pipe()
        process = self.context.Process(target=_worker, args=(theirs, *self.arguments), daemon=True)
        process.start()
        theirs.close()
        live.append([process, ours, None, 0.0])


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first file")
    parser.add_argument("--only", help="a regular expression of formats")
    parser.add_argument("--data", action="store_true", help="image sets and lists alone")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--samples", type=Path, help="a folder with samples of an earlier call, or for them")
    given = parser.parse_args(arguments)
    if given.data:
        given.only = "^data: " if given.only is None else f"^data: .*(?:{given.only})"
    with contextlib.ExitStack() as stack:
        root = given.samples or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        root = root.resolve()
        root.mkdir(exist_ok=True)
        if not given.data and not (root / "adcs.safetensors").exists():
            make_samples(root)
        began, done, wrong = time.monotonic(), Counter(), []
        workers = Workers(root, given.seed, given.only, given.workers)
        for number, name, fault in workers.run(range(given.first, given.first + given.files)):
            done[name] += 1
            if fault is not None:
                wrong.append(number)
                print(f"{number} {name}: {fault[0]}: {fault[1]}", flush=True)
            if sum(done.values()) % 1000 == 0:
                print(f"... {sum(done.values())} files, {len(wrong)} wrong", flush=True)
    total = sum(done.values())
    print(f"{total} damaged files of {len(done)} formats, {len(wrong)} wrong, {time.monotonic() - began:.0f} s")
    return 1 if wrong or total != given.files else 0


if __name__ == "__main__":
    sys.exit(main())
