"""Kills every long command at random moments, goes on, and compares every byte with an undisturbed run.

    python tests/kills.py --kills 1000 [--seed 0] [--only evaluate,train] [--folder DIR]

A moment is drawn by the clock (SIGKILL, SIGTERM or SIGINT) or among all the times at which the command makes, renames
or removes a file (SIGKILL, half of them with the temporary file cut, as a kill within a write leaves it). Commands that
cannot resume must leave no partial file, and give the same bytes when they are run again.

This process imports everything and computes nothing; each run is a fork of it, so that a kill costs a moment.

What is compared: every name below the output, and every byte but
- clocks and counts of sessions in JSON (`MEASURED`): they say how long it took, how often it was begun, and what the
  last session did itself (an evaluation counts its forwards so); whether the seconds of all sessions are known, which a
  session that was killed before it said its own leaves open (`UNKNOWN`); and the order of keys;
- the order of records in a journal, which is the order of the work, and in greedy's how many forwards were not the
  session's own: its records must be the same;
- report.html and summary.png, which show these clocks: both are made anew after the clocks are taken out.
Prints one JSON object.
"""

import argparse
import contextlib
import difflib
import functools
import importlib
import io
import json
import os
import pickle
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

# Said before any library of threads is loaded: a process that has started some must not fork.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1", TORCH_CPP_LOG_LEVEL="ERROR")

import torch

from freqkit.cli.app import app
from freqkit.registry import MEASURES, module_of
from tests.measures_at_hand import line_of, place_of

MEASURED = {
    "seconds", "seconds_in_model", "session_began", "sessions", "forwards_resumed", "forwards_before", "economies",
    "ranks", "decoded", "seconds_of_parts",
}  # fmt: skip
UNKNOWN = {"seconds_in_model", "seconds_of_all_sessions"}
OF_A_SESSION = MEASURED | {"forwards", "backwards", "form"}  # in run.json of an evaluation
LIMIT = 300  # seconds that any single run may take: a bound on hanging, not on speed
GRACE = 20  # seconds that ranks get which have lost another
MODEL = "--model small_convnet --weights {weights} --num-classes 4"
BATCH = "--batch-size 16"
RESUME, OVERWRITE, AGAIN = ("--resume",), ("--overwrite",), ()
NEW = None  # only into a folder that is not there yet


class Case:
    """A command, how it is gone on with, and how many ranks share it."""

    def __init__(self, words, again=RESUME, ranks=1):
        self.words, self.again, self.ranks = words, again, ranks


def searching(searcher, more, **how):
    return Case(
        f"search {MODEL} {BATCH} --data {{images}} --searcher {searcher} {more} --form eager --out {{out}}", **how
    )


def training(more, **how):
    return Case(f"train --model small_convnet --data {{images}} --batch-size 8 {more} --out {{out}}", **how)


def measuring(name, **how):
    return Case(f"{name} {line_of(name, f'{MODEL} {BATCH}')} --out {place_of(name)}", **how)


SHARED = [name for name in MEASURES if getattr(module_of(MEASURES, name), "SHARED", False)]  # by ranks
CASES = {
    "hfss": searching("hfss", "--candidates 24 --stages 1-2 --top 3"),
    "hfss-risk": searching("hfss", "--candidates 24 --stages 1-2 --top 3 --risk 0.05"),
    "hfss-certain": searching("hfss", "--candidates 24 --stages 1-2 --top 3 --stopping certain"),
    "hfss-published": searching("hfss", "--candidates 12 --stages 1-2 --top 3 --preset cvpr2025"),
    "hfss-2-ranks": searching("hfss", "--candidates 24 --stages 1-2 --top 3", ranks=2),
    "learned": searching("learned", "--steps 4"),
    "evolve": searching("evolve", "--generations 2"),
    "greedy": searching("greedy", "--coverage 0.4"),
    "search-gradient": searching("gradient", "--patch 8"),
    "search-removal": searching("removal", "--patch 8"),
    "dfm": Case(f"dfm {MODEL} {BATCH} --data {{images}} --patch 8 --form eager --out {{out}}"),
    "dfm-published": Case(
        f"dfm {MODEL} {BATCH} --data {{images}} --patch 8 --preset iccv2023 --form eager --out {{out}}"
    ),
    "dfm-gradient": Case(
        f"dfm {MODEL} {BATCH} --data {{images}} --patch 8 --method gradient --form eager --out {{out}}"
    ),
    "dfm-2-ranks": Case(f"dfm {MODEL} {BATCH} --data {{images}} --patch 8 --form eager --out {{out}}", ranks=2),
    "evaluate": Case(
        f"evaluate {MODEL} {BATCH} --dfm {{dfm}} --out {{out}}"
        " --on planted={images},other={held},fgsm,pgd:eps=2:steps=3,generated/contrast/3,generated/gaussian_noise/2"
    ),
    "evaluate-2-models": Case(
        f"evaluate --model small_convnet={{weights}} --model {{other}}:make --num-classes 4 {BATCH}"
        " --dfm {dfm} --on planted={images},fgsm:eps=2 --out {out}"
    ),
    "train": training(
        "--val {held} --epochs 4 --ema 0.9 --augment crop,flip --follow 2 --keep-every 2 --schedule plateau --mixup 0.2"
    ),
    "train-mixed": training(
        "--val-fraction 0.3 --epochs 3 --optimizer adamw --lr 0.01 --schedule step --warmup 1 --cutmix 1"
        " --precision bfloat16 --clip 1 --label-smoothing 0.1 --keep-every 1 --dfm-augment {dfm}"
        " --remove-shortcuts {dfm}"
    ),
    "train-2-ranks": training("--val {held} --epochs 3 --ema 0.9 --augment flip --follow 3 --keep-every 1", ranks=2),
    "compare-searchers": Case(
        f"compare-searchers {MODEL} {BATCH} --data {{images}} --held-out {{held}} --searchers learned,evolve,hfss"
        " --effort learned=2 --effort evolve=1 --effort hfss=6 --per-class 3 --seeds 2 --coverage 0.2 --out {out}",
        again=AGAIN,
    ),
    **{name: measuring(name, again=RESUME if place_of(name) == "{out}" else OVERWRITE) for name in MEASURES},
    **{f"{name}-2-ranks": measuring(name, ranks=2) for name in SHARED},
    "adcs-2-ranks": Case("adcs --data {images} --image-size 32 --out {file}", again=OVERWRITE, ranks=2),
    "profile": Case(f"profile {MODEL} {BATCH} --data {{images}} --form eager --budget forwards=4000 --out {{out}}"),
    "demo": Case(f"demo {BATCH} --out {{out}}", again=OVERWRITE),
    "synthetic": Case("data synthetic --images-per-class 12 --test-images-per-class 6 --out {out}", again=NEW),
    "synthetic-npy": Case("data synthetic --images-per-class 12 --format npy --out {out}", again=NEW),
}  # fmt: skip

OTHER = """
import torch

def make():
    torch.manual_seed(1)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 6, 5, stride=3), torch.nn.Flatten(), torch.nn.Linear(600, 4))
    network.mean, network.std = [0.5] * 3, [0.2] * 3
    return network
"""


def prepare(folder):
    """What the commands read; in a child, for it computes."""
    from freqkit.data import synthetic, write_image_folder
    from freqkit.masks import DfmFile, low_pass, save_dfm
    from freqkit.models import load_model, save_weights

    write_image_folder(synthetic(1, images_per_class=6), folder / "images")
    write_image_folder(synthetic(1, images_per_class=3, seed=5), folder / "held")
    model = load_model("small_convnet", num_classes=4)
    with torch.no_grad():  # untrained, it has nearly the same loss under all masks
        model.network.head.weight *= 30
    save_weights(model, folder / "weights.safetensors")
    (folder / "other.py").write_text(OTHER)
    save_dfm(
        folder / "dfm.safetensors",
        DfmFile(torch.stack([low_pass(32, 4 + k) for k in range(4)]), [f"C{k}" for k in range(4)]),
    )


def warm():
    """Import what any of the commands would, and make the demonstration small."""
    import pkgutil

    import freqkit
    from freqkit.cli import demo

    for module in pkgutil.walk_packages(freqkit.__path__, "freqkit."):
        if not module.name.endswith(("__main__", "._C")):
            importlib.import_module(module.name)
    for name in (
        "matplotlib.backends.backend_agg", "matplotlib.pyplot", "safetensors.torch", "scipy.special", "scipy.ndimage",
        "torch.distributed", "PIL.PngImagePlugin", "yaml", "jinja2", "rich.progress",
    ):  # fmt: skip
        importlib.import_module(name)
    tiny = {"training": 8, "search": 2, "fresh": 2, "epochs": 1, "candidates": (4, 4, 4, 4)}
    demo.run = functools.partial(demo.run, **tiny)


class FileEvents:
    """Counts what is done to files below a folder; kills its process at one of these moments."""

    NAMES = frozenset({"open", "os.rename", "os.remove", "os.mkdir", "os.chmod", "os.rmdir"})

    def __init__(self, folder, kill_at, cut):
        self.folder, self.kill_at, self.cut, self.count = str(folder), kill_at, cut, 0
        self.process = os.getpid()
        sys.addaudithook(self)

    def __call__(self, event, args):
        if event not in self.NAMES or not isinstance(args[0], (str, Path)) or os.getpid() != self.process:
            return
        if not str(args[0]).startswith(self.folder):
            return
        if event == "open" and not (args[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        self.count += 1
        if self.count == self.kill_at:
            if self.cut and str(args[0]).endswith(".part") and os.path.isfile(args[0]):
                os.truncate(args[0], os.path.getsize(args[0]) // 2)
            os.kill(self.process, signal.SIGKILL)


def start(case, where, shared, again=(), kill_at=0, cut=False):
    """Fork the ranks of a command; their process numbers."""
    files = {name: shared / f"{name}.safetensors" for name in ("weights", "dfm")}
    out = where / "out"
    words = case.words.format(
        out=out / "run",
        file=out / "found.safetensors",
        images=shared / "images",
        held=shared / "held",
        other=shared / "other.py",
        **files,
    )
    port = 0
    if case.ranks > 1:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
    children = []
    for rank in range(case.ranks):
        child = os.fork()
        if child == 0:
            code = 70
            try:
                with open(where / f"said-{rank}.txt", "ab", buffering=0) as said:
                    os.dup2(said.fileno(), 1)
                    os.dup2(said.fileno(), 2)
                if case.ranks > 1:
                    os.environ.update(
                        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(case.ranks), MASTER_ADDR="127.0.0.1",
                        MASTER_PORT=str(port),
                    )  # fmt: skip
                warnings.simplefilter("ignore")
                events = FileEvents(out, kill_at if rank == 0 else 0, cut)
                try:
                    app.main([*words.split(), *again])
                except SystemExit as done:
                    code = done.code
                sys.stdout.flush()
                sys.stderr.flush()
                if rank == 0:
                    (where / "events").write_text(str(events.count))
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        children.append(child)
    return children


def finish(children):
    """Exit codes, negative for signals; a child that hangs is killed, and its code is None.

    Ranks that are left when one was killed are killed a little later, as torchrun does: before they have met they would
    wait for it for minutes.
    """
    codes, began = {}, time.monotonic()
    lost = None
    while len(codes) < len(children):
        for child in children:
            if child not in codes:
                found, status = os.waitpid(child, os.WNOHANG)
                if found:
                    codes[child] = os.waitstatus_to_exitcode(status)
                    if codes[child] == -signal.SIGKILL and lost is None:
                        lost = time.monotonic()
                elif lost is not None and time.monotonic() - lost > GRACE:
                    os.kill(child, signal.SIGKILL)
                elif time.monotonic() - began > LIMIT:
                    os.kill(child, signal.SIGKILL)
                    os.waitpid(child, 0)
                    codes[child] = None
        time.sleep(0.002)
    return [codes[child] for child in children]


def essence(value, names):
    """JSON without clocks and counts of sessions: numbers become 0, the rest is left out."""
    if isinstance(value, dict):
        numbers = {key for key in (names & {*value}) - UNKNOWN if isinstance(value[key], (int, float))}
        kept = {key: item for key, item in value.items() if key in numbers or key not in names | UNKNOWN}
        return {key: 0 * item if key in numbers else essence(item, names) for key, item in kept.items()}
    return [essence(item, names) for item in value] if isinstance(value, list) else value


def records(path):
    """The records of a journal, whatever their order."""
    from freqkit.engine.journal import Journal

    with Journal(path) as journal:
        found = {}
        for key in journal.keys():
            arrays = journal.get(key)
            if "cost" in arrays:  # forwards, and those of earlier sessions
                arrays["cost"] = arrays["cost"][:1]
            found[key] = {name: (str(array.dtype), array.shape, array.tobytes()) for name, array in arrays.items()}
    return found


def compared(folder):
    """name -> what must be equal, of everything below a folder that a finished command left; in a child."""
    from freqkit.report import write_report, write_summary

    found = {}
    for path in sorted(folder.rglob("*.json")):
        if path.name in ("run.json", "comparison.json", "demo.json"):
            content = json.loads(path.read_text())
            of_evaluation = "evaluation" in content.get("identity", {})
            path.write_text(json.dumps(essence(content, OF_A_SESSION if of_evaluation else MEASURED), sort_keys=True))
    for path in sorted(folder.rglob("comparison.csv")):
        lines = [line.split(",") for line in path.read_text().splitlines()]
        clocks = {at for at, name in enumerate(lines[0]) if name in MEASURED}
        rows = (["0" if at in clocks else value for at, value in enumerate(line)] for line in lines[1:])
        path.write_text("\n".join(map(",".join, [lines[0], *rows])))
    for page in sorted(folder.rglob("report.html")):
        with contextlib.redirect_stderr(io.StringIO()):
            write_report(page.parent)
            if (page.parent / "summary.png").exists():
                write_summary(page.parent)
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir():
            found[name] = "folder"
        elif path.name.startswith("journal"):
            found[name] = records(path)
        elif path.suffix == ".html":
            found[name] = path.read_text().replace(str(folder), "").encode()
        else:
            found[name] = path.read_bytes()
    return found


def in_child(work):
    """What `work()` gives, computed in a fork."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            warnings.simplefilter("ignore")
            os.close(read)
            data = pickle.dumps(work())
            with os.fdopen(write, "wb") as pipe:
                pipe.write(data)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        data = pipe.read()
    assert os.waitpid(child, 0)[1] == 0, "a child failed; its traceback is above"
    return pickle.loads(data)


def new(folder):
    """A place for a run: its output goes into `out`."""
    (folder / "out").mkdir(parents=True)
    return folder


def said(where):
    """The end of what a run told, for a failure's message."""
    return "".join(path.read_text(errors="replace") for path in sorted(where.glob("said-*.txt")))[-1500:]


class Killer:
    """One command: its undisturbed run, and runs that are killed.

    Attributes:
        kills: number of runs that ended by a kill, by kind.
        whole: what the undisturbed run left.
    """

    def __init__(self, name, folder, shared, chance):
        self.name, self.case, self.shared, self.chance = name, CASES[name], shared, chance
        self.folder, self.runs, self.kills = new(folder / name / "whole").parent, 0, {}
        began = time.monotonic()
        self.run_to_end(self.folder / "whole", ())
        self.took = time.monotonic() - began
        self.events = int((self.folder / "whole" / "events").read_text())
        self.whole = in_child(lambda: compared(self.folder / "whole" / "out"))

    def run_to_end(self, where, again):
        codes = finish(start(self.case, where, self.shared, again))
        assert codes == [0] * self.case.ranks, f"{where}: exit {codes}: {said(where)}"

    def kill(self, where):
        """Begin, or go on, and kill; whether it was still at work."""
        how = self.chance.choice(["clock", "clock", "file", "cut", "TERM", "INT"])
        by_file = how in ("file", "cut")
        record = where / "out" / "run" / "run.json"
        before = record.read_bytes() if record.exists() else None
        at = self.chance.randint(1, self.events) if by_file else 0
        children = start(self.case, where, self.shared, self.case.again or (), at, how == "cut")
        if not by_file:
            time.sleep(self.chance.uniform(0, self.took))
            number = {"TERM": signal.SIGTERM, "INT": signal.SIGINT}.get(how, signal.SIGKILL)
            for child in (
                children
                if number != signal.SIGKILL
                else self.chance.sample(children, self.chance.randint(1, len(children)))
            ):
                os.kill(child, number)
        codes = finish(children)
        assert None not in codes, f"{where}: hangs after {how}: {said(where)}"
        if codes == [0] * len(codes):
            return False
        # A rank that loses another ends with 1 and a sentence.
        may = {"TERM": {143, -signal.SIGTERM, 0}, "INT": {130, 0}}.get(how, {-signal.SIGKILL, 0}) | (
            {1} if len(codes) > 1 else set()
        )
        assert set(codes) <= may, f"{where}: {how} gave exit {codes}: {said(where)}"
        # Stopped before it opened the directory, a session leaves there what the one before it left.
        if {130, 143} & set(codes) and record.exists() and record.read_bytes() != before:
            status = json.loads(record.read_text())["status"]
            assert status != "running", f"{where}: {how}, exit {codes}, and run.json says {status}"
        self.kills[how] = self.kills.get(how, 0) + 1
        if self.case.again != RESUME:
            self.check_whole_or_absent(where / "out")
        return True

    def check_whole_or_absent(self, out):
        """What stands there under its own name has all its bytes, though the command did not end."""
        left = {str(path.relative_to(out)): path for path in out.rglob("*") if path.is_file()}
        for name, path in left.items():
            same = self.whole.get(name)
            if isinstance(same, bytes) and not name.endswith((".html", "summary.png", ".json", "comparison.csv")):
                assert path.read_bytes() == same, f"{name} is partial after a kill"

    def lines_of(self, names, found):
        """The lines in which JSON differs."""
        lines = []
        for name in names:
            if name.endswith(".json") and name in found and name in self.whole:
                texts = [json.dumps(json.loads(one[name]), indent=1).splitlines() for one in (self.whole, found)]
                lines += difflib.unified_diff(*texts, "undisturbed", "killed", n=0, lineterm="")
        return "".join(f"\n    {line}" for line in lines[:40])

    def round(self, most):
        """Up to three kills of one run, then its end; the number of kills."""
        where, done = new(self.folder / f"cut-{self.runs}"), 0
        self.runs += 1
        while done < min(most, 3) and self.kill(where):
            done += 1
            if self.case.again is NEW and (where / "out" / "run").exists():
                break
        # What cannot be begun again, for it is there, was killed after its work.
        if self.case.again is not NEW or not (where / "out" / "run").exists():
            self.run_to_end(where, self.case.again or ())
        found = in_child(lambda: compared(where / "out"))
        differing = sorted(name for name in {*found, *self.whole} if found.get(name) != self.whole.get(name))
        assert not differing, f"{where}: differ: {', '.join(differing)}{self.lines_of(differing, found)}"
        shutil.rmtree(where)
        return done


def kill_all(folder, kills, seed=0, only=None, tell=lambda line: None):
    """Kill the commands in turn until there were so many kills; counts by command and kind."""
    torch.set_num_threads(1)
    warm()
    shared = folder / "shared"
    shared.mkdir(parents=True)
    in_child(lambda: prepare(shared))
    names = [name for name in CASES if only is None or name in only]
    killers, failed = {}, {}
    faults, done = [], 0
    while done < kills and names:
        for name in list(names):
            try:
                if name not in killers:
                    killers[name] = Killer(name, folder, shared, random.Random(f"{seed} {name}"))
                now = killers[name].round(kills - done)
            except AssertionError as fault:
                faults.append(f"{name}: {fault}")
                tell(f"FAULT {fault}")
                now = 0
                failed[name] = failed.get(name, 0) + 1
                if name not in killers or failed[name] == 3:
                    names.remove(name)
            done += now
            tell(f"{done} kills; {name}: {killers[name].kills if name in killers else '-'}")
            if done >= kills:
                break
    return {
        "kills": done,
        "commands": {name: killer.kills for name, killer in killers.items()},
        "runs": sum(killer.runs for killer in killers.values()),
        "faults": faults,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="draws the moments")
    parser.add_argument("--only", help="names of commands, with commas")
    parser.add_argument("--folder", type=Path, help="keep what failed there; new or empty")
    args = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = args.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        found = kill_all(
            folder, args.kills, args.seed, args.only and args.only.split(","),
            lambda line: print(line, file=sys.stderr, flush=True),
        )  # fmt: skip
    print(json.dumps(found, indent=2))
    return 1 if found["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
