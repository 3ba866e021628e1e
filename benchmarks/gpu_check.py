"""Everything that only a GPU can tell, in one command (`make gpu-check`) and one JSON file: the tests that need one,
the same under compute-sanitizer, and the benchmarks.

Exit code 0 when all of it passed, 1 when a part failed, 2 when there is no GPU to run it on.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import harness

ROOT = Path(__file__).resolve().parents[1]
TESTS = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/ops/test_on_gpu.py"]
TOOLS = ("memcheck", "racecheck", "synccheck", "initcheck")
STEMS = ("spectral_filter", "band_bank")


def obstacle():
    """Why the check cannot run, and what it would do where it can; None when it can."""
    from freqkit.ops.extension import build_info

    if not torch.cuda.is_available():
        return (
            "gpu-check: torch finds no GPU on this machine, so nothing was run. Where there is one, it runs "
            f"{TESTS[-1]}, the small ones of it under compute-sanitizer ({', '.join(TOOLS)}), then the benchmarks of "
            f"{' and '.join(STEMS)}, and writes all of it to one JSON file."
        )
    if not build_info()["cuda"]:
        return "gpu-check: freqkit was built without CUDA kernels; rebuild with FREQKIT_CUDA=on and nvcc on PATH."
    return None


def step(command):
    """Run a command; its exit code and the end of what it said."""
    print("$ " + " ".join(map(str, command)), flush=True)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    said = (done.stdout + done.stderr)[-4000:]
    print(said, flush=True)
    return {"command": [str(part) for part in command], "exit_code": done.returncode, "said": said}


def sanitize(run):
    """The small tests under every tool of compute-sanitizer; what is missing is said, and is no pass."""
    program = shutil.which("compute-sanitizer")
    if program is None:
        return {"passed": False, "said": "compute-sanitizer is not on PATH: memory and races were not checked"}
    options = ["--error-exitcode", "9", "--target-processes", "all"]
    steps = {tool: run([program, "--tool", tool, *options, *TESTS, "-k", "small"]) for tool in TOOLS}
    return {"passed": all(s["exit_code"] == 0 for s in steps.values()), "steps": steps}


def measure(run, rounds):
    """Rows of every benchmark that runs on a GPU."""
    steps, rows = {}, []
    with tempfile.TemporaryDirectory() as folder:
        for stem in STEMS:
            path = Path(folder) / f"{stem}.json"
            command = [sys.executable, "benchmarks/run.py", stem, "--device", "cuda"]
            steps[stem] = run([*command, "--rounds", str(rounds), "--json", path])
            if path.exists():
                rows += json.loads(path.read_text())["rows"]
    return {"passed": all(s["exit_code"] == 0 for s in steps.values()), "steps": steps, "rows": rows}


def main(argv=None, run=step):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", default="gpu-check.json", help="where the result is written")
    parser.add_argument("--rounds", type=int, default=51, help="rounds of each pair of timings; medians are reported")
    args = parser.parse_args(argv)
    if (why := obstacle()) is not None:
        print(why, file=sys.stderr)
        return 2
    from freqkit.files.whole import write_json

    report = {"before": harness.machine()}
    tests = run(TESTS)
    report["tests"] = {"passed": tests["exit_code"] == 0, **tests}
    report["sanitizer"] = sanitize(run)
    report["benchmarks"] = measure(run, args.rounds)
    report["after"] = harness.gpu_state()
    failed = [name for name in ("tests", "sanitizer", "benchmarks") if not report[name]["passed"]]
    report["passed"] = not failed
    write_json(args.json, report)
    print(f"gpu-check: {'passed' if not failed else 'FAILED: ' + ', '.join(failed)}; written to {args.json}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
