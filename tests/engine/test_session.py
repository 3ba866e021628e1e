"""The one run loop: states, seconds, notes and what is refused."""

import json
import os
import signal
from contextlib import suppress
from types import SimpleNamespace

import pytest

from freqkit.engine.session import CannotResume, session
from freqkit.errors import Interrupted, UsageError


def written(folder):
    return json.loads((folder / "run.json").read_text())


@pytest.mark.parametrize(
    "error, status",
    [(None, "finished"), (ValueError("x"), "failed"), (KeyboardInterrupt(), "interrupted")],
    ids=["finished", "failed", "interrupted"],
)
def test_how_a_run_ends_is_on_record(error, status, tmp_path):
    with suppress(ValueError, KeyboardInterrupt), session("test", {"seed": 0}, tmp_path / "run") as run:
        run.note_down(forwards=3)
        assert written(tmp_path / "run")["status"] == "running"
        run.journal.put("a", loss=[1.0])
        if error is not None:
            raise error
    found = written(tmp_path / "run")
    assert (found["status"], found["forwards"], found["sessions"]) == (status, 3, 1)
    with session("test", {"seed": 0}, tmp_path / "run", resume=True) as run:
        assert run.earlier["status"] == status and list(run.journal.keys()) == ["a"]
    assert written(tmp_path / "run")["sessions"] == 2


def test_seconds_add_up_and_what_is_measured_goes_on_record(tmp_path, monkeypatch):
    clock = SimpleNamespace(monotonic=iter(range(100)).__next__, time=lambda: 0.0)
    monkeypatch.setattr("freqkit.engine.session.time", clock)
    for _ in range(2):
        with session("test", {}, tmp_path / "run", resume=True) as run:
            run.measured = lambda: {"counted": 7}
    assert written(tmp_path / "run")["seconds"] == 1 + 1 and written(tmp_path / "run")["counted"] == 7


def test_without_a_directory_nothing_is_written_and_signals_keep_their_meaning(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    with session("test", {}) as run:
        assert signal.getsignal(signal.SIGTERM) is before
        assert run.path is None and run.journal is None and run.earlier == {}
    assert run.record["status"] == "finished" and not list(tmp_path.iterdir())
    for how in ({"resume": True}, {"overwrite": True}):
        with pytest.raises(UsageError, match=r"^test: resume and overwrite need out, the directory of the run\.$"):
            with session("test", {}, **how):
                pass


def test_a_signal_ends_a_run_between_two_tiles(tmp_path):
    notes = []
    with pytest.raises(Interrupted):
        with session("test", {}, tmp_path / "run", note=notes.append) as run:
            run.check()
            os.kill(os.getpid(), signal.SIGTERM)
            run.journal.put("a", loss=[1.0])
            run.check()
    assert notes == [f"stopped; continue with resume in {tmp_path / 'run'}"]
    assert written(tmp_path / "run")["status"] == "interrupted"


def test_damaged_bytes_are_told(tmp_path):
    with session("test", {}, tmp_path / "run") as run:
        run.journal.put("a", loss=[1.0])
    with open(tmp_path / "run" / "journal.bin", "ab") as file:
        file.write(b"12345")
    notes = []
    with session("test", {}, tmp_path / "run", resume=True, note=notes.append):
        pass
    assert notes == [f"{tmp_path / 'run'}: dropped 5 damaged bytes at the journal's end."]


def test_a_run_that_cannot_be_resumed_is_left_as_it_was(tmp_path):
    with session("test", {}, tmp_path / "run") as run:
        run.note_down(forwards=3)
    before = written(tmp_path / "run")
    with pytest.raises(CannotResume):
        with session("test", {}, tmp_path / "run", resume=True) as run:
            run.note_down(forwards=0)
            raise CannotResume("other images")
    assert written(tmp_path / "run") == before
