"""Several processes share a search: the same bytes as one, whoever dies."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import freqkit
from freqkit.data import load_images
from freqkit.engine import ranks, status
from freqkit.models import load_model
from freqkit.search import hfss

pytestmark = pytest.mark.alone

ROOT = Path(freqkit.__file__).resolve().parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    script = Path(__file__).with_name("rank_runs.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path_factory.mktemp("ranks"))],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_any_number_of_ranks_writes_the_same_bytes(found):
    runs = dict(found["compare"])
    assert runs.pop("no directory") == [True, True, True]
    assert runs.pop("certain is whole") == []
    assert runs.pop("adcs") == [True, True, True]
    assert runs.pop("shown") == [True, True, True]
    assert len(runs) == 34
    assert runs["certain-1"]["forwards"] < runs["hfss-1"]["forwards"]
    assert runs["greedy-1"]["passes"] == 2
    for name, run in runs.items():
        kind, size = name.rsplit("-", 1)
        assert run["differing"] == [], name
        assert run["ranks"] == int(size)
        assert run["forwards"] == runs[f"{kind}-1"]["forwards"] > 0
        assert run["journals"] == ["journal.bin"]


def test_a_killed_rank_takes_nothing_with_it(found):
    for victim, run in enumerate(found["killed"]):
        assert run["codes"] == [-signal.SIGKILL if rank == victim else 1 for rank in range(3)]
        assert run["status"] == "dead"
        first, second = run["scored"]
        assert 0 < first < second < run["forwards"]
        assert run["resumed"] == second
        assert run["differing"] == [] and run["journals"] == ["journal.bin"]


def test_lineages_go_on_with_another_number_of_ranks(found):
    for run in found["handed over"]:
        assert 0 < run["scored"] == run["resumed"] < run["forwards"]
        assert run["computed"] in (None, run["forwards"] - run["resumed"])
        assert run["done"] == run["forwards"] and run["differing"] == []


def test_one_failing_rank_ends_all_with_one_sentence(found):
    broken = found["fail"]["broken"]
    assert broken["codes"] == [1, 1, 1] and broken["differing"] == []
    # Without torchrun's agent, a rank that comes late may find nobody to ask who spoke.
    spoken = [line for line in broken["said"] if line.startswith("freqkit:") and "lost another rank" not in line]
    assert len(spoken) == 1
    assert spoken[0].startswith("freqkit: rank 1: RuntimeError: score: the model raised ArithmeticError")
    refused = found["fail"]["refused"]
    assert refused["codes"] == [2, 1, 1]
    assert len([line for line in refused["said"] if "the output directory is not empty" in line]) == 1
    uneven = found["fail"]["uneven"]
    assert uneven["codes"] == [1, 2]
    differs = "all ranks must be given the same; this one differs in risk (on rank 0 0.0, here 0.05)."
    assert f"freqkit: rank 1: {differs}" in uneven["said"]


@pytest.fixture
def command(cifar10_mini, resnet20_weights):
    """`command(out, ...)`: words of a search of a real network on real photographs."""
    arguments = [
        "--model", "cifar_resnet20", "--weights", str(resnet20_weights), "--data", str(cifar10_mini),
        "--limit-per-class", "4", "--stages", "1-2", "--candidates", "30", "--top", "3", "--batch-size", "16",
        "--split-fraction", "1",
    ]  # fmt: skip
    return lambda out, *more: ["-m", "freqkit", "search", *arguments, "--out", str(out), *more]


@pytest.fixture
def alone(cifar10_mini, resnet20_weights, one_thread):
    """`alone(out, ...)`: the search of `command` in this process."""
    model = load_model("cifar_resnet20", weights=resnet20_weights)
    images = load_images(cifar10_mini, image_size=32, limit_per_class=4)
    return lambda out, **how: hfss(model, images, stages=2, batch_size=16, out=out, **how, split_fraction=1)


def test_torchrun_starts_a_killed_search_again(tmp_path, alone, command):
    """The real network on real photographs, by the command line, one of two ranks killed at work."""
    alone(tmp_path / "one", candidates=30, top=3)
    out = tmp_path / "many"
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "2"]
    with open(tmp_path / "said", "w+") as said:
        job = subprocess.Popen([sys.executable, *torchrun, *command(out)], env=ENVIRONMENT, stdout=said, stderr=said)
        try:
            part, began = out / "journal-1.bin", time.monotonic()
            while not part.exists() or part.stat().st_size < 1500:
                assert job.poll() is None and time.monotonic() - began < 300, (tmp_path / "said").read_text()
                time.sleep(0.01)
            live = status(out)
            os.kill(live["ranks"][1]["pid"], signal.SIGKILL)
            assert job.wait(400) == 0, (tmp_path / "said").read_text()
        finally:
            job.kill()
    assert live["status"] == "running" and live["forwards_done"] > 0 and len(live["ranks"]) == 2
    for name in ("classes.csv", "dfm.safetensors", "stage-1.safetensors", "stage-2.safetensors"):
        assert (out / name).read_bytes() == (tmp_path / "one" / name).read_bytes(), name
    record = json.loads((out / "run.json").read_text())
    assert record["sessions"] == 2 and record["status"] == "finished"
    assert record["forwards_resumed"] >= live["forwards_done"]
    text = (tmp_path / "said").read_text()
    assert "started again by torchrun" in text and text.count("Each class seen only") == 1


def test_two_agents_share_a_search_as_two_machines_do(tmp_path, alone, command):
    """Two torchruns that meet at a port, as on two machines, a process each; both run on this one."""
    alone(tmp_path / "one", candidates=8, top=2, stopping="certain")
    with socket.create_server(("127.0.0.1", 0)) as server:
        meeting = f"127.0.0.1:{server.getsockname()[1]}"
    agents = [
        subprocess.Popen(
            [
                sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1",
                "--rdzv-backend", "c10d", "--rdzv-endpoint", meeting, "--rdzv-id", "test",
                *command(tmp_path / "two", "--candidates", "8", "--top", "2", "--stopping", "certain"),
            ],
            env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    try:
        said = [agent.communicate(timeout=300)[0] for agent in agents]
    finally:
        for agent in agents:
            agent.kill()
    assert [agent.returncode for agent in agents] == [0, 0], said
    for name in ("classes.csv", "dfm.safetensors", "stage-1.safetensors", "stage-2.safetensors"):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes(), name
    record = json.loads((tmp_path / "two" / "run.json").read_text())
    assert len(record["ranks"]) == 2 and record["forwards"] > 0 == record["forwards_resumed"]
    assert "".join(said).count("Each class seen only") == 1


def test_runs_cover_everything_once_and_shrink():
    for count in (0, 1, 7, 100, 12_500):
        for size in (1, 2, 3, 64, 1024):
            chunks = ranks.runs(count, size)
            assert [i for chunk in chunks for i in range(*chunk)] == list(range(count))
            lengths = [last - first for first, last in chunks]
            assert lengths == sorted(lengths, reverse=True)
            assert not lengths or lengths[0] <= max(1, -(-count // (2 * size)))


def test_other_commands_refuse_several_ranks():
    done = subprocess.run(
        [sys.executable, "-m", "freqkit", "rates", "--model", "x"],
        capture_output=True,
        text=True,
        env={**ENVIRONMENT, "RANK": "0", "WORLD_SIZE": "2"},
    )
    assert done.returncode == 2
    found = re.search(r"torchrun can share (.*) among processes, not rates\.", done.stderr)[1].split(", ")
    assert {"search", "dfm", "pass-curves", "fourier-heatmap", "triplets", "adcs", "train"} <= {*found}
    assert not {"rates", "band-stop", "layer-spectra", "table"} & {*found}
