"""Where scaling ends: python -m benchmarks.scale [--rate 25000] [--candidates 500 5000] [--json FILE]

Simulates a search of ImageNet-1k (1,000 classes, 50,000 images, six stages at 224 px) on 1 to 1,024 ranks with
`freqkit.engine.project`. Measured on this machine: drawing and ranking the masks of a stage (what every rank repeats),
the journal, merging records, a claim at the store, a message between two processes. Stated: how many images per second
the model of one rank takes (--rate; none was measured on a GPU), and the network (--latency, --bandwidth), which on a
cluster is not the loopback of this machine. What one process does alone is measured in processor time.
"""

import argparse
import multiprocessing
import os
import socket
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import harness

RANKS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
LOST = ("waiting for the last tile", "claims", "gathering", "what every rank repeats")
CLASSES, IMAGES, SIDE, STAGES = 1000, 50_000, 224, 6


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=25_000, help="images per second and rank, filter included")
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--candidates", type=int, nargs="+", default=(500, 5000))
    parser.add_argument("--latency", type=float, default=50e-6, help="seconds of a message between machines")
    parser.add_argument("--bandwidth", type=float, default=1e9, help="bytes per second into and out of rank 0")
    parser.add_argument("--json")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)

    from freqkit.engine import Costs, project
    from freqkit.engine.batches import tiling

    plan = tiling(IMAGES, args.batch_size)
    record, merge = journal_costs(plan)
    claim, latency = message_costs()
    print(
        f"measured here: claim {claim * 1e6:.0f} us of the store's time, message {latency * 1e6:.0f} us; a record "
        f"{record} bytes, merged at {merge / 1e6:.0f} MB/s"
    )
    print(
        f"stated: {args.rate:g} images/s per rank, latency {args.latency * 1e6:.0f} us, {args.bandwidth / 1e9:g} GB/s; "
        f"batches of {args.batch_size}, tiles of {plan.block} images x {plan.group} mask"
    )
    rows = []
    for number in args.candidates:
        repeated = stage_costs(number)
        tiles = len(plan.blocks()) * len(plan.groups(number))
        seconds = plan.block * plan.group / args.rate
        costs = Costs(
            claim=claim, latency=args.latency, bandwidth=args.bandwidth, merge=merge, record=record,
            result=24 * number * CLASSES, start=repeated,
        )  # fmt: skip
        print(
            f"\n{number} candidates per stage: {STAGES * number * IMAGES / 1e6:.0f} M forwards, {tiles} tiles of "
            f"{seconds * 1e3:.0f} ms a stage; {repeated:.2f} s a stage repeated by every rank (measured)"
        )
        print(f"{'ranks':>6} {'time':>10} {'speed-up':>9} {'at work':>8}  lost: last tile / claims / gather / repeated")
        one, end = None, None
        for ranks in RANKS:
            found = project([(tiles, seconds)] * STAGES, ranks, costs)
            one = one or found["seconds"]
            if found["efficiency"] < 0.5 and end is None:
                end = ranks, found["lost_to"]
            print(
                f"{ranks:6d} {clock(found['seconds']):>10} {one / found['seconds']:9.1f} {found['efficiency']:8.0%}  "
                + " / ".join(f"{found[name]:.1f} s" for name in LOST)
            )
            rows.append({"candidates": number, "ranks": ranks, **found})
        if end:
            print(f"scaling ends (half of the time at work) at {end[0]} ranks: {end[1]}")
        else:
            print(f"more than half of the time at work up to {RANKS[-1]} ranks")
    if args.json:
        parameters = {"claim": claim, "record": record, "merge": merge, "rate": args.rate}
        harness.save(args.json, [parameters, *rows])
    return 0


def journal_costs(plan):
    """(bytes of a tile's record, bytes per second at which rank 0 checks, appends, reads and adds up records)."""
    from freqkit.engine import Journal

    present = -(-plan.block * CLASSES // IMAGES)
    loss = np.random.default_rng(0).random((plan.group, present))
    tile = {
        "loss": loss, "correct": np.ones((plan.group, present), np.int32),
        "predicted": np.ones((plan.group, CLASSES), np.int32),
    }  # fmt: skip
    tiles = 2000
    with tempfile.TemporaryDirectory() as folder, Journal(folder + "/a") as part, Journal(folder + "/b") as whole:
        for i in range(tiles):
            part.put(f"stage-1/{i}-{i + 1}/0-{plan.block}", **tile)
        records = part.records()
        sums = np.zeros((tiles, CLASSES))
        began = time.process_time()
        whole.append(records, "")
        whole.flush()
        for i in range(tiles):
            found = whole.get(f"stage-1/{i}-{i + 1}/0-{plan.block}")
            sums[i, np.arange(present)] += found["loss"][0]
            sums[i] += found["predicted"][0]
        took = time.process_time() - began
    return len(records) // tiles, len(records) / took


def stage_costs(number):
    """Seconds that drawing a stage's masks (the last, finest one), finding twins and ranking take on every rank."""
    from freqkit.masks import candidates, select, unique

    began = time.process_time()
    drawn = candidates(1, number, size=SIDE).masks
    first = time.process_time() - began
    few = [select(drawn, torch.arange(10))] * CLASSES
    began = time.process_time()
    second = candidates(2, number, size=SIDE, parents=few).masks
    unique(second)
    torch.sort(torch.rand(number, CLASSES, dtype=torch.float64), dim=0, stable=True)
    return max(first, time.process_time() - began)


def client(port, seconds, result):
    import torch.distributed as dist

    store = dist.TCPStore("127.0.0.1", port, is_master=False, wait_for_workers=False)
    count, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        store.add("claim", 1)
        count += 1
    result.put(count)


def message_costs(seconds=1.0):
    """(seconds of the store's time per claim, with two clients at once; seconds of one exchange by one client)."""
    import torch.distributed as dist

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    store = dist.TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False)
    context = multiprocessing.get_context("spawn")
    counts = {}
    for clients in (1, 2):
        results = context.Queue()
        started = [context.Process(target=client, args=(port, seconds, results)) for _ in range(clients)]
        for process in started:
            process.start()
        counts[clients] = sum(results.get() for _ in started)
        for process in started:
            process.join()
    del store
    return seconds / max(counts.values()), seconds / counts[1] / 2


def clock(seconds):
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


if __name__ == "__main__":
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    sys.exit(main())
