"""Decoded images in files: python -m benchmarks.kept_images --counts 2000,40000 --side 64 --memory 64

Makes folders of so many images, and for each of them runs a search twice in processes of their own: seconds until the
images are there, images that were decoded, and the most private memory (`Private_Clean` and `Private_Dirty` of
/proc/self/smaps_rollup) while the search runs. With --without the same without the cache.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = """
import json, sys, threading, time
import torch
from freqkit import hfss, load_images
from freqkit.data import folder as reader
from freqkit.models import load_model
root, kept, memory = sys.argv[1], sys.argv[2], int(sys.argv[3]) << 20
torch.set_num_threads(1)
peak, over, decoded, real = 0, threading.Event(), [], reader.open_image
reader.open_image = lambda path: (decoded.append(1), real(path))[1]

def watch():
    global peak
    while not over.wait(0.1):
        with open("/proc/self/smaps_rollup") as file:
            peak = max(peak, sum(int(line.split()[1]) for line in file if line.startswith("Private_")))

model = load_model("small_convnet", num_classes=2)
threading.Thread(target=watch, daemon=True).start()
began = time.perf_counter()
images = load_images(root, cache=kept)
seconds = time.perf_counter() - began
half, rest = images.split(0.5)
found = hfss(model, half, candidates=2, top=1, stages=1, memory=memory, batch_size=64)
over.set()
print(json.dumps([seconds, len(decoded), peak / 1024, len(found.classes)]))
"""


def make(root, count, side):
    """Images of noise in two classes."""
    from PIL import Image

    noise = np.random.default_rng(0)
    for name in "ab":
        (root / name).mkdir(parents=True)
    for i in range(count):
        pixels = noise.integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "ab"[i % 2] / f"{i}.bmp")


def run(root, kept, memory):
    env = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1", "PYTHONPATH": str(ROOT)}
    call = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(root), str(kept), str(memory)]
    done = subprocess.run(call, stdout=subprocess.PIPE, text=True, check=True, env=env)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", default="2000,40000")
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--memory", type=int, default=64, help="MiB for spectra")
    parser.add_argument("--without", action="store_true", help="also without the cache")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for count in map(int, args.counts.split(",")):
            root = Path(folder) / str(count)
            make(root, count, args.side)
            places = [Path(folder) / "kept"] * 2 + ["none"] * args.without
            for name, place in zip(("first", "second", "without"), places, strict=False):
                seconds, decoded, peak, _ = run(root, place, args.memory)
                print(f"{count:6d} images, {name:7s} {seconds:6.2f} s, {decoded:5d} decoded, {peak:5.0f} MiB private",
                      flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
