"""Run a benchmark: python benchmarks/run.py spectral_filter [--sizes 32 224] [--json FILE] [--against FILE]

Every entry is checked against the float64 reference before it is timed; a red check prints no number and exits with 1.
Ratios are baseline time over ours: above 1 we are faster. Losses are printed like wins.

On a GPU (--device cuda) each pair is timed by events, with the L2 cache as the last call left it ("warm") and with it
overwritten before each call ("flushed"); entries get more masks, so that they fill the device.
"""

import argparse
import dataclasses
import importlib
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import harness

GPU_MASKS = 16  # times as many masks as on the CPU


def for_gpu(entry):
    if getattr(entry, "pairing", "all") == "each":
        return dataclasses.replace(entry, images=entry.images * GPU_MASKS, masks=entry.masks * GPU_MASKS)
    return dataclasses.replace(entry, masks=entry.masks * GPU_MASKS)


def timers(device, clock):
    """{state of the cache: timer}."""
    if device == "cpu":
        return {"warm": harness.ProcessorTimer(clock)}
    return {"warm": harness.GpuTimer(flushed=False), "flushed": harness.GpuTimer(flushed=True)}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stem", help="what to measure: spectral_filter, band_bank, adcs")
    parser.add_argument("--sizes", type=int, nargs="*", help="image sides")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--names", nargs="*", help="only entries of these names")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.05, help="per side and round")
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu: this thread's processor time (one thread only)",
    )
    parser.add_argument("--baselines", nargs="*", help="only these baselines")
    parser.add_argument("--json", help="write rows here")
    parser.add_argument("--against", help="rows of an earlier run: flags ratios that fell by more than 5 %%")
    args = parser.parse_args(argv)
    if args.clock == "cpu" and args.threads != 1:
        parser.error("--clock cpu counts one thread; use it with --threads 1")
    if args.device == "cuda" and not torch.cuda.is_available():
        print("run.py: --device cuda, but torch finds no GPU here.", file=sys.stderr)
        return 2
    torch.set_num_threads(args.threads)
    if not harness.keep_freed_memory():
        print("this C library has no mallopt: temporaries may cost fresh pages")
    module = importlib.import_module(f"benchmarks.{args.stem}")
    earlier = harness.load(args.against) if args.against else {}
    rows, red = [], 0
    print(
        f"{'entry':<18}{'size':>8} {'out':<24}{'baseline':<14}{'ours us':>10}{'theirs us':>11}{'ratio':>7}  quartiles"
    )
    for entry in module.entries(args.sizes, args.threads):
        if args.names and entry.name not in args.names:
            continue
        if args.device == "cpu":
            ours, baselines, check = module.prepare(entry)
        else:
            entry = for_gpu(entry)
            ours, baselines, check = module.prepare(entry, device=args.device)
        size = "x".join(map(str, entry.size))
        layout = "channels_last" if entry.channels_last else "contiguous"
        dtype = str(entry.dtype).removeprefix("torch.")
        if not check():
            print(f"{entry.name:<18}{size:>8} {dtype} RED: disagrees with the reference, not timed")
            red += 1
            continue
        for baseline, theirs in baselines.items():
            if args.baselines and baseline not in args.baselines:
                continue
            if theirs is None:
                print(f"{entry.name:<18}{size:>8} {dtype + ' ' + layout:<24.23}{baseline:<14} not installed")
                continue
            for cache, timer in timers(args.device, args.clock).items():
                row = {
                    "name": entry.name, "size": size, "dtype": dtype, "layout": layout, "threads": args.threads,
                    "device": args.device, "cache": cache, "clock": args.clock if args.device == "cpu" else "events",
                    "images": entry.images, "masks": entry.masks, "baseline": baseline,
                    **harness.paired(ours, theirs, rounds=args.rounds, seconds=args.seconds, timer=timer),
                }  # fmt: skip
                rows.append(row)
                before = earlier.get(harness.key(row))
                note = "  L2 flushed" if cache == "flushed" else ""
                if before and row["ratio"] < 0.95 * before["ratio"]:
                    note += f"  SLOWER than {before['ratio']:.2f}"
                print(
                    f"{entry.name:<18}{size:>8} {dtype + ' ' + layout:<24.23}{baseline:<14}{row['ours_us']:>10.1f}"
                    f"{row['baseline_us']:>11.1f}{row['ratio']:>7.2f}  "
                    f"{row['ratio_low']:.2f}-{row['ratio_high']:.2f}{note}",
                    flush=True,
                )
    if args.json:
        harness.save(args.json, rows)
    if args.device == "cuda":
        print(f"GPU: {harness.gpu_state()}")
    print(f"load average {harness.machine()['load']:.2f}; {len(rows)} rows, {red} red")
    return 1 if red else 0


if __name__ == "__main__":
    sys.exit(main())
