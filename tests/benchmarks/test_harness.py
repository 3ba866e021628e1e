"""The harness and the GPU check, with stand-ins for what this machine may lack."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmarks import gpu_check, harness, run

ROOT = Path(__file__).resolve().parents[2]


class FakeCuda:
    """A device whose clock only its work moves; events lie on its stream."""

    def __init__(self):
        self.now, self.synchronized, self.flushes = 0.0, 0, 0

    def work(self, milliseconds):
        self.now += milliseconds

    def Event(self, *, enable_timing):
        assert enable_timing
        event = SimpleNamespace(at=None)
        event.record = lambda: setattr(event, "at", self.now)

        def elapsed_time(end):
            assert self.synchronized, "events are read after the device has finished"
            return end.at - event.at

        event.elapsed_time = elapsed_time
        return event

    def synchronize(self):
        self.synchronized += 1

    def get_device_properties(self):
        return SimpleNamespace(L2_cache_size=1000)


@pytest.mark.parametrize("flushed", [False, True])
def test_events_time_the_function_and_not_the_flush(flushed):
    cuda = FakeCuda()
    timer = harness.GpuTimer(flushed=flushed, cuda=cuda)
    if flushed:
        assert timer.filler.numel() >= 2 * 1000

        def zero_():
            cuda.work(100)
            cuda.flushes += 1

        timer.filler = SimpleNamespace(zero_=zero_)
    calls = []

    def ours():
        calls.append(cuda.flushes)
        cuda.work(2)

    assert timer.timed(ours, 5) == pytest.approx(2e-3)
    assert calls == ([1, 2, 3, 4, 5] if flushed else [0] * 5)
    row = harness.paired(ours, lambda: cuda.work(5), rounds=3, seconds=0.02, timer=timer)
    assert (row["ours_us"], row["baseline_us"], row["ratio"]) == pytest.approx((2000, 5000, 2.5))
    assert timer.calls_for(ours, 0.02) == 10 and timer.calls_for(lambda: None, 0.02) == 1000


def test_a_slow_round_does_not_move_the_median():
    cuda = FakeCuda()
    slow = iter([0] * 8 + [1000] + [0] * 1000)
    row = harness.paired(
        lambda: cuda.work(1 + next(slow)), lambda: cuda.work(4), rounds=5, seconds=1e-3,
        timer=harness.GpuTimer(flushed=False, cuda=cuda),
    )  # fmt: skip
    assert row["ours_us"] == pytest.approx(1000) and row["ratio"] == pytest.approx(4)


def test_gpu_state_says_what_nvidia_smi_says(monkeypatch):
    monkeypatch.setattr(harness.shutil, "which", lambda name: None)
    assert harness.gpu_state() == {"error": "nvidia-smi is not on PATH"}
    monkeypatch.setattr(harness.shutil, "which", lambda name: "/bin/" + name)
    answer = SimpleNamespace(returncode=0, stdout="NVIDIA H100, 580.1, 1755, 1980, 2619, 310.5, 41\n", stderr="")
    monkeypatch.setattr(harness.subprocess, "run", lambda command, **options: answer)
    state = harness.gpu_state()
    assert state["name"] == "NVIDIA H100" and state["clocks.sm"] == "1755" and state["temperature.gpu"] == "41"
    answer.returncode, answer.stdout, answer.stderr = 9, "", "no devices were found\n"
    assert harness.gpu_state() == {"error": "no devices were found"}


def test_rows_of_devices_and_caches_are_told_apart():
    row = {
        "name": "filter",
        "size": "8x8",
        "dtype": "float32",
        "layout": "contiguous",
        "threads": 1,
        "baseline": "fair",
    }
    kinds = (("cpu", "warm"), ("cuda", "warm"), ("cuda", "flushed"))
    keys = {harness.key(row | {"device": device, "cache": cache}) for device, cache in kinds}
    assert len(keys) == 3 and harness.key(row) in keys, "rows of earlier files are those of a CPU"


def test_entries_grow_for_a_gpu():
    from benchmarks import band_bank, spectral_filter

    for module in (spectral_filter, band_bank):
        for entry in module.entries([32]):
            grown = run.for_gpu(entry)
            assert grown.masks == run.GPU_MASKS * entry.masks
            assert grown.images == entry.images or (entry.pairing == "each" and grown.images == grown.masks)


@pytest.mark.parametrize("stem,name", [("band_bank", "bank of 8 x64"), ("spectral_filter", "filter-each")])
def test_a_benchmark_runs_and_writes_its_rows(stem, name, tmp_path):
    path = tmp_path / "rows.json"
    before = torch.get_num_threads()
    try:
        arguments = [stem, "--sizes", "32", "--names", name, "--rounds", "1", "--seconds", "0.001", "--json", str(path)]
        assert run.main(arguments) == 0
    finally:
        torch.set_num_threads(before)
    rows = json.loads(path.read_text())["rows"]
    assert rows and all(row["device"] == "cpu" and row["cache"] == "warm" and row["ratio"] > 0 for row in rows)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_the_check_says_so():
    done = subprocess.run([sys.executable, "benchmarks/gpu_check.py"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    said = "gpu-check: torch finds no GPU on this machine, so nothing was run. Where there is one, it runs "
    assert done.stderr.startswith(said) and len(done.stderr.strip().splitlines()) == 1
    assert run.main(["spectral_filter", "--device", "cuda"]) == 2


@pytest.mark.parametrize("fails", [None, "tests", "sanitizer", "benchmarks", "no sanitizer"])
def test_the_check_runs_every_part_and_passes_only_whole(monkeypatch, tmp_path, fails):
    monkeypatch.setattr(gpu_check, "obstacle", lambda: None)
    monkeypatch.setattr(harness, "gpu_state", lambda: {"name": "a GPU"})
    program = None if fails == "no sanitizer" else "/bin/compute-sanitizer"
    monkeypatch.setattr(gpu_check.shutil, "which", lambda name: program)
    seen = []

    def step(command):
        words = " ".join(map(str, command))
        part = "sanitizer" if "compute-sanitizer" in words else "benchmarks" if "run.py" in words else "tests"
        seen.append(part)
        if part == "benchmarks":
            Path(command[-1]).write_text(json.dumps({"rows": [{"name": words.split("run.py ")[1].split()[0]}]}))
        return {"command": [], "exit_code": int(part == fails), "said": ""}

    path = tmp_path / "check.json"
    assert gpu_check.main(["--json", str(path)], run=step) == (1 if fails else 0)
    report = json.loads(path.read_text())
    assert report["passed"] == (fails is None)
    failed = {"no sanitizer": "sanitizer"}.get(fails, fails)
    assert [name for name in ("tests", "sanitizer", "benchmarks") if not report[name]["passed"]] == (
        [failed] if failed else []
    )
    assert [row["name"] for row in report["benchmarks"]["rows"]] == list(gpu_check.STEMS)
    assert set(seen) == {"tests", "benchmarks"} | ({"sanitizer"} if program else set())
