"""Ranks that were started by hand: whoever is killed, and whenever, the others end soon and say one sentence.

Run as a program it forks the ranks, kills some, and prints how the others ended.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KILLED = [(where, victim) for where in ("before", "between", "at work") for victim in (0, 1)]


def be_a_rank(where, here):
    """Join the others, wait for them many times, and stand still at a place."""
    import torch.distributed as dist

    from freqkit.cli.app import guarded
    from freqkit.engine import lifeline, ranks

    lifeline.JOINING, lifeline.GRACE = 4 if where in ("before", "waits") else 300, 1

    def stand_still(*_, seconds=600, **__):
        os.write(here, b"!")
        time.sleep(seconds)

    def work():
        if where == "before":
            stand_still()
        if where == "between":  # the others have come, and wait for its address
            dist.init_process_group = stand_still
        with ranks.join() as group:
            for i in range(20):
                assert group.agree(i) == i
                if where in ("at work", "slow") and i == 10:
                    stand_still(seconds=600 if where == "at work" else 0.5)

    return guarded(work, ["search"])


def start(places):
    """[(process, end of a pipe that tells where it stands, end of a pipe with what it says)] of the ranks."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    started = []
    for rank, where in enumerate(places):
        stands, here = os.pipe()
        heard, says = os.pipe()
        child = os.fork()
        if child == 0:
            about = {"RANK": rank, "WORLD_SIZE": len(places), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            os.environ.update({name: str(value) for name, value in about.items()})
            os.dup2(says, 2)
            os._exit(be_a_rank(where, here))
        os.close(here)
        os.close(says)
        started.append((child, stands, heard))
    return started


def end(rank):
    """[exit code, sentences]"""
    child, _, heard = rank
    with os.fdopen(heard, errors="replace") as file:
        said = [line for line in file.read().splitlines() if "freqkit:" in line]
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said]


def killed(where, victim):
    still = "waits" if where == "before" else ""
    started = start([where if rank == victim else still for rank in (0, 1)])
    assert os.read(started[victim][1], 1) == b"!"
    time.sleep(1)  # the other waits for it
    os.kill(started[victim][0], signal.SIGKILL)
    began = time.monotonic()
    code, said = end(started[1 - victim])
    return [code, said, time.monotonic() - began]


def missing():
    started = start(["waits", "waits", "before"])
    found = [end(rank) for rank in started[:2]]
    os.kill(started[2][0], signal.SIGKILL)
    return found


def slow():
    started = start(["", "slow"])
    assert os.read(started[1][1], 1) == b"!"
    os.kill(started[1][0], signal.SIGSTOP)
    time.sleep(4)  # four times what a dead one is waited for
    waits = os.waitpid(started[0][0], os.WNOHANG) == (0, 0)
    os.kill(started[1][0], signal.SIGCONT)
    return [waits, *(end(rank) for rank in started)]


def strangers():
    """Whom rank 0 takes for rank 1."""
    import torch.distributed as dist

    from freqkit.engine.lifeline import Lifeline

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    class Store:
        """Sends strangers before it tells where the door is."""

        def set(self, key, value):
            door, token = value.split("/")
            for word in (b"", b"hello", token.encode() + b"/7", token.encode() + b"/0"):
                with socket.create_connection(("127.0.0.1", int(door))) as stranger:
                    stranger.sendall(word)
            self.fellow = os.fork()
            if self.fellow == 0:
                store = dist.TCPStore("127.0.0.1", port, 2, is_master=False, wait_for_workers=False)
                Lifeline(store, 1, 2, "127.0.0.1", lambda: None).close(True)
                os._exit(0)
            self.real = dist.TCPStore("127.0.0.1", port, 2, is_master=True, wait_for_workers=False)
            self.real.set(key, value)

    door = Store()
    first = Lifeline(door, 0, 2, "127.0.0.1", lambda: None)
    fellows = list(first.fellows)
    first.close(True)
    return [fellows, os.waitpid(door.fellow, 0)[1]]


@pytest.fixture(scope="module")
def found():
    about = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "FATAL"}
    done = subprocess.run(
        [sys.executable, __file__], capture_output=True, text=True, env={**os.environ, **about}, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize(("where", "victim"), KILLED)
def test_a_rank_does_not_wait_for_a_killed_one(found, where, victim):
    code, said, seconds = found["killed"][KILLED.index((where, victim))]
    assert code == 1 and len(said) == 1 and seconds < 60
    expected = {
        ("before", 1): "rank 0 of 2 could not reach the others: rank 1 of 2 has not come within 4 seconds",
        ("before", 0): "rank 1 of 2 could not reach the others:",
        ("between", 0): "rank 1 ",  # torch is told by its store, or the thread speaks
    }.get((where, victim), f"rank {1 - victim} lost ")
    assert expected in said[0]


def test_rank_0_alone_says_who_has_not_come(found):
    (one, first), (other, second) = found["missing"]
    assert one == other == 1 and second == []
    assert len(first) == 1 and "rank 2 of 3 has not come within 4 seconds" in first[0]


def test_a_rank_that_lives_is_waited_for_however_long_it_is_silent(found):
    assert found["slow"] == [True, [0, []], [0, []]]


def test_a_stranger_at_the_door_is_no_rank(found):
    assert found["strangers"] == [[1], 0]


if __name__ == "__main__":
    import torch.distributed  # noqa: F401 - what every child would import anew

    import freqkit.cli.app
    import freqkit.engine  # noqa: F401

    print(
        json.dumps(
            {"killed": [killed(*one) for one in KILLED], "missing": missing(), "slow": slow(), "strangers": strangers()}
        )
    )
