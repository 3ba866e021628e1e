"""Runs searches on one to four ranks, kills and breaks ranks, and compares every byte with the single process.

Run by test_ranks.py in a process of its own: it forks the ranks. Prints one JSON object.
"""

import contextlib
import io
import json
import os
import signal
import socket
import sys
import time
import warnings
from pathlib import Path

import safetensors.torch
import scipy.special  # noqa: F401
import torch
import torch.distributed

from freqkit.cli.app import guarded
from freqkit.data import ImageSet, open_sets, synthetic
from freqkit.data.sixteen import CATEGORIES
from freqkit.engine import Scorer, ranks, status
from freqkit.engine.accumulators import ClassLoss, Logits, TakenFor
from freqkit.engine.stimuli import BandNoise, Corruption, Perturbation
from freqkit.measures import adcs, critical_band, human_comparison, pass_curves, shape_bias
from freqkit.models import load_model
from freqkit.search import evolve, gradient, greedy, hfss, learned, removal
from tests.measures.oracle import put
from tests.tiny import tiny_model

LINEAGES = ("classes.csv", "dfm.safetensors", "stage-1.safetensors")
HFSS = ("classes.csv", "dfm.safetensors", "stage-1.safetensors", "stage-2.safetensors")
REMOVAL = ("classes.csv", "removal.safetensors", "dfm-5.safetensors")


class Slow(torch.nn.Module):
    """Takes a moment for every batch, so that a rank can be caught at work; may raise on one rank."""

    def __init__(self, wait=0.0, broken=None):
        super().__init__()
        self.wait, self.broken, self.batches = wait, broken, 0

    def forward(self, x):
        self.batches += 1
        if self.broken is not None and os.environ.get("RANK") == str(self.broken) and self.batches > 5:
            raise ArithmeticError("a broken network")
        time.sleep(self.wait)
        return x


def model(**slow):
    return tiny_model(Slow(**slow), scale=30)


def searching(out, *, risk=0.0, stopping="never", resume=False, **slow):
    how = {"stages": 2, "candidates": 24, "top": 3, "batch_size": 8, "form": "eager"}
    hfss(
        model(**slow),
        synthetic(images_per_class=30),
        risk=risk,
        stopping=stopping,
        out=out,
        resume=resume,
        **how,
        split_fraction=1,
    )


def published(out):
    how = {"preset": "cvpr2025", "published_order": 0.5, "published_batch_size": 7, "seed": 42, "top": 3}
    hfss(
        model(),
        synthetic(images_per_class=12),
        stages=2,
        candidates=12,
        batch_size=8,
        form="eager",
        out=out,
        **how,
        split_fraction=1,
    )


def published_removal(out):
    how = {"preset": "dfm_v2023", "patch": 5, "published_batch_size": 7}
    removal(model(), synthetic(images_per_class=4), batch_size=16, out=out, **how, split_fraction=1)


def evolving(out, *, resume=False, **slow):
    how = {"generations": 2, "candidates": 5, "elite": 2, "batch_size": 8, "form": "eager"}
    evolve(model(**slow), synthetic(images_per_class=20), out=out, resume=resume, **how, split_fraction=1)


def learning(out, *, resume=False, **slow):
    """Masks of three entries of the journal each."""
    images = synthetic(images_per_class=4)
    learned(
        model(**slow),
        images,
        steps=25,
        own=2,
        others=2,
        batch_size=16,
        form="eager",
        out=out,
        resume=resume,
    )


def culling(out, *, resume=False, **slow):
    """Groups of one, one and two classes; then a second pass for some of them."""
    images = synthetic(images_per_class=8).subset([*range(20), *range(24, 28)])
    greedy(model(**slow), images, coverage=0.02, batch_size=8, form="eager", out=out, resume=resume, split_fraction=1)


def without_directory(out):
    """The result of a search that keeps no journal, on every rank."""
    result = hfss(
        model(), synthetic(images_per_class=6), stages=1, candidates=9, top=2, batch_size="auto", split_fraction=1
    )
    out.mkdir(exist_ok=True)
    (out / f"rank-{os.environ.get('RANK', 0)}.json").write_text(json.dumps(result.table()))


def spectra(out):
    """The maps of class spectra, as every rank has them."""
    out.mkdir(exist_ok=True)
    adcs(synthetic(images_per_class=5, seed=1)).save(out / f"{os.environ.get('RANK', 0)}.safetensors")


def showing(out):
    """What is kept of versions of images, as every rank has it."""
    images = synthetic(images_per_class=6)
    scorer, into = Scorer(model(), images, batch_size=7, form="eager"), [TakenFor(), ClassLoss(), Logits()]
    found = {}
    for name, stimulus in {
        "perturbation": Perturbation([[1, 2], [3, -4], [16, 16]], 4.0),
        "noise": BandNoise([(0, 0.0), (1, 0.16), (3, 0.08)]),
        "corruption": Corruption([("gaussian_noise", 2)], names=images.paths),
    }.items():
        record = scorer.show(stimulus, into)
        assert record["forwards"] == 24 * len(stimulus)
        found |= {f"{name} {one.name}": one.value for one in into}
    out.mkdir(exist_ok=True)
    safetensors.torch.save_file(found, out / f"{os.environ.get('RANK', 0)}.safetensors")


def cueing(out):
    """Cue-conflict images, and the same as ordinary ones."""
    images = synthetic(images_per_class=12)
    paths = [f"{CATEGORIES[i % 16]}/{CATEGORIES[i % 16]}{i}-{CATEGORIES[i % 7]}1.png" for i in range(len(images))]
    cues = ImageSet(images.images, torch.arange(len(images)) % 16, list(CATEGORIES), paths)
    images.classes = ["n01440764", "n01443537", "n01484850", "n01491361"]
    net = load_model("small_convnet", num_classes=1000)
    shape_bias(net, cues, ordinary=images, suppress=["patches:4", "grey"], batch_size=7, out=out)


def comparing(out):
    """Two sets of the comparison with people, on disk beside `out`."""
    sets = open_sets(["human-edge", "human-colour"], out.parent / "mvh", relaxed=True)
    net = load_model("small_convnet", num_classes=1000)
    human_comparison([("net", net), ("again", net)], sets, batch_size=3, image_size=32, out=out)


def write_sets(root):
    for i in range(20):
        put(root / "edge" / CATEGORIES[i % 16] / f"{CATEGORIES[i % 16]}{i}.png", 50 * i)
        put(root / "colour" / "dnn" / "session-1" / f"{i:04}_x_dnn_bw_{CATEGORIES[i % 16]}_10_n1_{i}.png", 40 * i)


def start(work, size):
    """Fork `size` ranks that run `work`; their process numbers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    children = []
    for rank in range(size):
        child = os.fork()
        if child == 0:
            if size > 1:
                os.environ.update(
                    RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1",
                    MASTER_PORT=str(port),
                )  # fmt: skip
            warnings.simplefilter("ignore")
            os._exit(guarded(lambda: inside(work), ["search"]))
        children.append(child)
    return children


def inside(work):
    with ranks.join():
        work()


def finish(children):
    """Exit codes, negative for signals."""
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def differing(a, b, names):
    return [name for name in names if (a / name).read_bytes() != (b / name).read_bytes()]


def record(out):
    return json.loads((out / "run.json").read_text())


def compare(folder):
    """Each kind of search by 1, 2, 3 and 4 ranks."""
    kinds = {
        "hfss": (searching, HFSS),
        "race": (lambda out: searching(out, risk=0.05), HFSS),
        "certain": (lambda out: searching(out, stopping="certain"), HFSS),
        "removal": (
            lambda out: removal(
                model(), synthetic(images_per_class=6), patch=4, batch_size=16, out=out, split_fraction=1
            ),
            REMOVAL,
        ),
        "published": (published, HFSS[:3]),
        "published removal": (published_removal, REMOVAL),
        "gradient": (
            lambda out: gradient(
                model(), synthetic(images_per_class=4), patch=4, batch_size=16, out=out, split_fraction=1
            ),
            REMOVAL,
        ),
        "learned": (learning, (*LINEAGES, "tested.safetensors")),
        "evolve": (evolving, LINEAGES),
        "greedy": (culling, LINEAGES),
        **{
            measure.__name__.replace("_", "-"): (
                lambda out, measure=measure: measure(model(), synthetic(images_per_class=6), batch_size=7, out=out),
                [f"{measure.__name__.replace('_', '-')}.{kind}" for kind in ("safetensors", "csv")],
            )
            for measure in (pass_curves, critical_band)
        },
    }
    write_sets(folder / "mvh")
    for kind, work in {"shape-bias": cueing, "human-comparison": comparing}.items():
        kinds[kind] = work, [f"{kind}.safetensors", f"{kind}.csv"]
    found = {}
    for kind, (work, names) in kinds.items():
        for size in (1, 2, 3, 4) if names is HFSS else (1, 3):
            out = folder / f"{kind}-{size}"
            codes = finish(start(lambda w=work, o=out: w(o), size))
            assert codes == [0] * size, (kind, size, codes)
            found[f"{kind}-{size}"] = {
                "differing": differing(folder / f"{kind}-1", out, names),
                "ranks": len(record(out)["ranks"]),
                "forwards": record(out)["forwards"],
                "passes": record(out).get("passes"),
                "journals": sorted(path.name for path in out.glob("journal*")),
            }
    # What one rank finds with certainty is what scoring everything finds.
    found["certain is whole"] = differing(folder / "hfss-1", folder / "certain-3", HFSS[:2])
    assert finish(start(lambda: without_directory(folder / "none"), 1)) == [0]
    alone = (folder / "none" / "rank-0.json").read_text()
    assert finish(start(lambda: without_directory(folder / "none"), 3)) == [0] * 3
    found["no directory"] = [(folder / "none" / f"rank-{rank}.json").read_text() == alone for rank in range(3)]
    assert finish(start(lambda: spectra(folder / "adcs-1"), 1)) == [0]
    assert finish(start(lambda: spectra(folder / "adcs-3"), 3)) == [0] * 3
    one = (folder / "adcs-1" / "0.safetensors").read_bytes()
    assert finish(start(lambda: showing(folder / "shown-1"), 1)) == [0]
    assert finish(start(lambda: showing(folder / "shown-3"), 3)) == [0] * 3
    shown = safetensors.torch.load_file(folder / "shown-1" / "0.safetensors")
    found["shown"] = [
        all(torch.equal(value, shown[name]) for name, value in safetensors.torch.load_file(path).items())
        for path in sorted((folder / "shown-3").iterdir())
    ]
    found["adcs"] = [(folder / "adcs-3" / f"{rank}.safetensors").read_bytes() == one for rank in range(3)]
    return found


def wait_for(path, size, child):
    began = time.monotonic()
    while not path.exists() or path.stat().st_size < size:
        assert time.monotonic() - began < 300, path
        assert os.waitpid(child, os.WNOHANG) == (0, 0)
        time.sleep(0.005)


def kill(folder, victim):
    """Kill one of three ranks at work; go on with two, then with one."""
    out = folder / f"killed-{victim}"
    children = start(lambda: searching(out, wait=0.01), 3)
    wait_for(out / (f"journal-{victim}.bin" if victim else "journal.bin"), 2500, children[victim])
    os.kill(children[victim], signal.SIGKILL)
    codes = finish(children)
    scored = status(out)["forwards_done"]
    # Two ranks go on and are both killed, so that theirs must be found by the last.
    children = start(lambda: searching(out, wait=0.01, resume=True), 2)
    while status(out)["forwards_done"] < scored + 300:
        assert os.waitpid(children[0], os.WNOHANG) == (0, 0), "the ranks were done before they could be killed"
        time.sleep(0.02)
    for child in children:
        os.kill(child, signal.SIGKILL)
    finish(children)
    seen = status(out)
    assert finish(start(lambda: searching(out, resume=True), 1)) == [0]
    return {
        "codes": codes, "scored": [scored, seen["forwards_done"]], "status": seen["status"],
        "resumed": record(out)["forwards_resumed"], "forwards": record(out)["forwards"],
        "differing": differing(folder / "hfss-1", out, HFSS), "journals": [path.name for path in out.glob("journal*")],
    }  # fmt: skip


def hand_over(folder, kind, work, enough):
    """Kill one process at work, then two ranks; three finish."""
    out, scored = folder / f"killed-{kind}", 0
    for size in (1, 2):
        children = start(lambda: work(out, wait=0.002, resume=True), size)
        wait_for(out / "run.json", 1, children[0])
        while status(out)["forwards_done"] < scored + enough:
            assert os.waitpid(children[0], os.WNOHANG) == (0, 0)
            time.sleep(0.005)
        for child in children:
            os.kill(child, signal.SIGKILL)
        finish(children)
        scored = status(out)["forwards_done"]
    assert finish(start(lambda: work(out, resume=True), 3)) == [0] * 3
    return {
        "scored": scored, "resumed": record(out)["forwards_resumed"], "forwards": record(out)["forwards"],
        # The steps of `learned` are not the scorer's.
        "computed": None if kind == "learned" else record(out)["economies"]["forwards"],
        "done": status(out)["forwards_done"],
        "differing": differing(folder / f"{kind}-1", out, LINEAGES),
    }  # fmt: skip


def speak(work, size, log):
    """Exit codes of ranks that fail, and all that they say."""
    saved = os.dup(2)
    with open(log, "w+b") as file:
        os.dup2(file.fileno(), 2)
        try:
            codes = finish(start(work, size))
        finally:
            os.dup2(saved, 2)
            os.close(saved)
    return {"codes": codes, "said": [line for line in log.read_text().splitlines() if "gloo" not in line.lower()]}


def fail(folder):
    """One rank's network raises; another time rank 0 refuses the directory; then the ranks differ in a setting."""
    out = folder / "broken"
    broken = speak(lambda: searching(out, wait=0.001, broken=1), 3, folder / "broken.txt")
    assert finish(start(lambda: searching(out, resume=True), 2)) == [0, 0]
    broken["differing"] = differing(folder / "hfss-1", out, HFSS)
    refused = speak(lambda: searching(out), 3, folder / "refused.txt")
    uneven = speak(
        lambda: searching(folder / "uneven", risk=0.05 if os.environ["RANK"] == "1" else 0.0),
        2,
        folder / "uneven.txt",
    )
    return {"broken": broken, "refused": refused, "uneven": uneven}


def main(folder):
    torch.set_num_threads(1)
    folder = Path(folder)
    found = {
        "compare": compare(folder),
        "killed": [kill(folder, victim) for victim in (0, 1)],
        "handed over": [
            hand_over(folder, kind, work, enough)
            for kind, work, enough in (("learned", learning, 150), ("evolve", evolving, 400), ("greedy", culling, 1500))
        ],
        "fail": fail(folder),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    with contextlib.redirect_stdout(io.StringIO()) as said:
        main(sys.argv[1])
    print(said.getvalue())
