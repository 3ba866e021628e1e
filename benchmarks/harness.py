"""Paired timings in one process: ours and a baseline take turns, so that a drifting machine drifts for both."""

import ctypes
import json
import os
import platform
import shutil
import statistics
import subprocess
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


class GpuTimer:
    """Seconds of a function on a GPU, between events on its stream.

    Args:
        flushed: before each call the L2 cache is overwritten, outside of what is timed; else calls follow one another.
        cuda: `torch.cuda`, or what stands in for it.
    """

    WARM_UP = 3

    def __init__(self, *, flushed, cuda=torch.cuda):
        self.flushed, self.cuda = flushed, cuda
        if flushed:
            size = cuda.get_device_properties().L2_cache_size
            self.filler = torch.empty(2 * size, dtype=torch.uint8, device="cuda" if cuda is torch.cuda else "cpu")

    def calls_for(self, function, seconds):
        for _ in range(self.WARM_UP):
            function()
        return max(1, min(1000, round(seconds / max(self.timed(function, 3), 1e-9))))

    def timed(self, function, calls):
        """Mean seconds of a call."""
        spans = []
        for _ in range(calls if self.flushed else 1):
            if self.flushed:
                self.filler.zero_()
            start, end = self.cuda.Event(enable_timing=True), self.cuda.Event(enable_timing=True)
            start.record()
            for _ in range(1 if self.flushed else calls):
                function()
            end.record()
            spans.append((start, end))
        self.cuda.synchronize()
        return sum(start.elapsed_time(end) for start, end in spans) / 1e3 / calls


class ProcessorTimer:
    """Seconds of a function by one of CLOCKS."""

    def __init__(self, clock):
        self.clock = CLOCKS[clock]

    def calls_for(self, function, seconds):
        return calls_for(function, seconds, self.clock)

    def timed(self, function, calls):
        return timed(function, calls, self.clock)


def paired(ours, theirs, *, rounds=9, seconds=0.05, clock="wall", timer=None):
    """Time two functions in turn.

    Args:
        clock: a name in CLOCKS, or give a `timer`.

    Returns:
        dict with the medians in microseconds, the median of the per-round ratios theirs/ours and their quartiles.
    """
    timer = timer or ProcessorTimer(clock)
    n_ours, n_theirs = timer.calls_for(ours, seconds), timer.calls_for(theirs, seconds)
    a, b = [], []
    for _ in range(rounds):
        a.append(timer.timed(ours, n_ours))
        b.append(timer.timed(theirs, n_theirs))
    ratios = sorted(y / x for x, y in zip(a, b, strict=True))
    return {
        "ours_us": statistics.median(a) * 1e6,
        "baseline_us": statistics.median(b) * 1e6,
        "ratio": statistics.median(ratios),
        "ratio_low": ratios[len(ratios) // 4],
        "ratio_high": ratios[-1 - len(ratios) // 4],
    }


_GPU_FIELDS = ("name", "driver_version", "clocks.sm", "clocks.max.sm", "clocks.mem", "power.draw", "temperature.gpu")


def gpu_state():
    """What `nvidia-smi` says of the first GPU now: clocks in MHz, watts, degrees; or why it says nothing."""
    if shutil.which("nvidia-smi") is None:
        return {"error": "nvidia-smi is not on PATH"}
    done = subprocess.run(
        ["nvidia-smi", f"--query-gpu={','.join(_GPU_FIELDS)}", "--format=csv,noheader,nounits"],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        return {"error": (done.stderr or done.stdout).strip()}
    values = [value.strip() for value in done.stdout.splitlines()[0].split(",")]
    return dict(zip(_GPU_FIELDS, values, strict=True))


def keep_freed_memory():
    """Make glibc serve large temporaries from memory it keeps: fresh pages at each call would cost torch, which copies
    its input, up to three times its transform. True where that is possible."""
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:
        return False
    m_trim_threshold, m_mmap_max = -1, -4
    return bool(libc.mallopt(m_mmap_max, 0) and libc.mallopt(m_trim_threshold, 2**31 - 1))


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
        "gpu": gpu_state() if torch.cuda.is_available() else None,
    }


def save(path, rows):
    """Write rows with the machine they were taken on."""
    from freqkit.files.whole import write_json

    write_json(path, {"machine": machine(), "rows": rows})


def load(path):
    """Rows of an earlier run, keyed by what was measured."""
    with open(path) as file:
        return {key(row): row for row in json.load(file)["rows"]}


def key(row):
    names = ("name", "size", "dtype", "layout", "threads", "baseline")
    return (*(row[k] for k in names), row.get("device", "cpu"), row.get("cache", "warm"))
