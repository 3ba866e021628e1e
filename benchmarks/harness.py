"""Paired timings in one process: ours and a baseline take turns, so that a drifting machine drifts for both."""

import json
import os
import platform
import statistics
import time
from datetime import datetime, timezone

import torch

# "wall", or "cpu": this thread's processor time, which other processes on a busy machine disturb less; one thread only.
CLOCKS = {"wall": time.perf_counter, "cpu": time.thread_time}


def calls_for(function, seconds, clock):
    """How many calls fill `seconds`, from a short trial (which also warms up)."""
    function()
    start = clock()
    calls = 0
    while clock() - start < seconds / 2 or calls == 0:
        function()
        calls += 1
    return max(1, round(calls * seconds / max(clock() - start, 1e-9)))


def timed(function, calls, clock):
    start = clock()
    for _ in range(calls):
        function()
    return (clock() - start) / calls


def paired(ours, theirs, *, rounds=9, seconds=0.05, clock="wall"):
    """Time two functions in turn.

    Returns:
        dict with the medians in microseconds, the median of the per-round ratios theirs/ours and their quartiles.
    """
    clock = CLOCKS[clock]
    n_ours, n_theirs = calls_for(ours, seconds, clock), calls_for(theirs, seconds, clock)
    a, b = [], []
    for _ in range(rounds):
        a.append(timed(ours, n_ours, clock))
        b.append(timed(theirs, n_theirs, clock))
    ratios = sorted(y / x for x, y in zip(a, b, strict=True))
    return {
        "ours_us": statistics.median(a) * 1e6,
        "baseline_us": statistics.median(b) * 1e6,
        "ratio": statistics.median(ratios),
        "ratio_low": ratios[len(ratios) // 4],
        "ratio_high": ratios[-1 - len(ratios) // 4],
    }


def machine():
    """What the numbers were taken on."""
    import freqkit
    from freqkit.ops.extension import build_info

    model = platform.processor()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
        model = names[0] if names else model
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "cpu": model,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "blas": "mkl" if torch.backends.mkl.is_available() else "other",
        "freqkit": freqkit.__version__,
        "native": build_info(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def save(path, rows):
    """Write rows with the machine they were taken on."""
    from freqkit.results.files import write_json

    write_json(path, {"machine": machine(), "rows": rows})


def load(path):
    """Rows of an earlier run, keyed by what was measured."""
    with open(path) as file:
        return {key(row): row for row in json.load(file)["rows"]}


def key(row):
    return tuple(row[k] for k in ("name", "size", "dtype", "layout", "threads", "baseline"))
