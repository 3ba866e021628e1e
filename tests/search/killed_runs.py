"""Kills searches at random points of their journals, damages the tails of these, resumes, and compares every byte.

Run by test_kill.py in a process of its own: it forks, which none may do after it computed on several threads.
Prints one JSON object.
"""

import json
import os
import random
import signal
import sys
import time
import warnings
from pathlib import Path

import safetensors.torch  # noqa: F401 - what every child would import anew
import scipy.special  # noqa: F401
import torch

from freqkit.data import synthetic
from freqkit.search import evolve, greedy, hfss
from tests.tiny import tiny_model

FILES = ("classes.csv", "dfm.safetensors", "stage-1.safetensors", "stage-2.safetensors", "tested.safetensors")
HFSS = {"stages": 2, "candidates": 40, "top": 3}
SEARCHES = {
    "racing": (hfss, 8, {**HFSS, "risk": 0.05}),
    "certain": (hfss, 8, {**HFSS, "stopping": "certain"}),
    "evolve": (evolve, 6, {"generations": 2}),
    "greedy": (greedy, 3, {}),
}


def search(out, find, per_class, how):
    images = synthetic(images_per_class=per_class)
    find(tiny_model(), images, batch_size=8, out=out, resume=True, **how)


def start(out, search_by):
    child = os.fork()
    if child == 0:
        warnings.simplefilter("ignore")
        try:
            search(out, *search_by)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return child


def damage(journal, chance):
    """What a crash may do to the end of a file that was being written."""
    data = bytearray(journal.read_bytes())
    if len(data) < 200:
        return None
    kind = chance.choice(["none", "cut", "flip", "zeros"])
    if kind == "cut":
        del data[-chance.randrange(1, 150) :]
    elif kind == "flip":
        data[-chance.randrange(1, 150)] ^= 1 << chance.randrange(8)
    elif kind == "zeros":
        data[-chance.randrange(1, 150) :] = bytes(chance.randrange(1, 150))
    journal.write_bytes(data)
    return kind


def size(path):
    return path.stat().st_size if path.exists() else 0


def kill_at(child, journal, length):
    """Kill when the journal, which may have been there, has grown to a length; its wait status."""
    begun = size(journal)
    while size(journal) < max(length, begun + 1):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        time.sleep(0.0005)
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def main(folder, kills):
    torch.set_num_threads(1)
    folder, chance = Path(folder), random.Random(0)
    for name, search_by in SEARCHES.items():
        assert os.waitpid(start(folder / name, search_by), 0)[1] == 0
    done, runs, kinds, inside = 0, 0, {}, 0
    while done < kills:
        cut, (name, search_by) = folder / f"cut-{runs}", list(SEARCHES.items())[runs % len(SEARCHES)]
        runs += 1
        for _ in range(4):
            child = start(cut, search_by)
            # A point of the whole journal, not of the clock: on a busy machine the work is anywhere.
            status = kill_at(child, cut / "journal.bin", chance.uniform(0, size(folder / name / "journal.bin")))
            assert status in (0, signal.SIGKILL), status
            done += status == signal.SIGKILL
            if (cut / "journal.bin").exists():
                inside += status == signal.SIGKILL
                kind = damage(cut / "journal.bin", chance)
                kinds[kind] = kinds.get(kind, 0) + 1
        assert os.waitpid(start(cut, search_by), 0)[1] == 0
        files = [file for file in FILES if (folder / name / file).exists()]
        differing = [file for file in files if (cut / file).read_bytes() != (folder / name / file).read_bytes()]
        assert not differing, f"run {runs - 1}: {differing}"
        assert not list(cut.glob(".*"))
    print(json.dumps({"kills": done, "after the journal began": inside, "runs": runs, "damage": kinds}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
