"""The journal: whole records or none, whatever happened to the file's end."""

import os
import random
import resource
import signal

import numpy as np
import pytest

from freqkit.engine import Interrupted, Journal
from freqkit.engine.journal import finish_tile_on_signal
from freqkit.errors import UsageError


def fill(path, count=20):
    generator = np.random.default_rng(0)
    arrays = [{"loss": generator.random((3, i % 4)), "correct": generator.integers(0, 9, i)} for i in range(count)]
    ends = []
    with Journal(path) as journal:
        for i, each in enumerate(arrays):
            journal.put(f"stage/{i}", **each)
            ends.append(os.path.getsize(path))
    return arrays, ends


def same(a, b):
    return a.keys() == b.keys() and all(a[k].dtype == b[k].dtype and np.array_equal(a[k], b[k]) for k in a)


def test_records_come_back_bit_for_bit(tmp_path):
    arrays, _ = fill(tmp_path / "j")
    with Journal(tmp_path / "j") as journal:
        assert len(journal) == 20 and journal.dropped == 0
        assert all(same(journal.get(f"stage/{i}"), each) for i, each in enumerate(arrays))
        assert journal.get("stage/20") is None and "stage/3" in journal


def test_any_truncation_loses_only_the_records_behind_it(tmp_path):
    arrays, ends = fill(tmp_path / "j")
    whole = (tmp_path / "j").read_bytes()
    for size in sorted({0, 1, 5, *random.Random(1).sample(range(len(whole)), 60), *ends, *(e - 1 for e in ends)}):
        (tmp_path / "j").write_bytes(whole[:size])
        kept = sum(end <= size for end in ends)
        with Journal(tmp_path / "j") as journal:
            assert len(journal) == kept
            journal.put("more", x=np.arange(3))
        with Journal(tmp_path / "j") as journal:
            assert len(journal) == kept + 1 and journal.dropped == 0
            assert all(same(journal.get(f"stage/{i}"), arrays[i]) for i in range(kept))


def test_zeros_behind_the_last_record_are_cut(tmp_path):
    _, ends = fill(tmp_path / "j")
    with open(tmp_path / "j", "ab") as file:
        file.write(bytes(4096))
    with Journal(tmp_path / "j") as journal:
        assert len(journal) == 20 and journal.dropped == 4096
    assert os.path.getsize(tmp_path / "j") == ends[-1]


def test_any_flipped_bit_drops_that_record_and_what_follows(tmp_path):
    _, ends = fill(tmp_path / "j")
    whole = (tmp_path / "j").read_bytes()
    chance = random.Random(2)
    first = whole.index(b"\n") + 1
    for _ in range(60):
        at = chance.randrange(first, len(whole))
        damaged = bytearray(whole)
        damaged[at] ^= 1 << chance.randrange(8)
        (tmp_path / "j").write_bytes(damaged)
        with Journal(tmp_path / "j") as journal:
            assert len(journal) == sum(end <= at for end in ends)
            assert journal.dropped > 0


def test_a_foreign_file_is_refused_and_left_alone(tmp_path):
    (tmp_path / "j").write_text("my notes, quite long enough to be something else entirely")
    with pytest.raises(UsageError, match="no freqkit journal"):
        Journal(tmp_path / "j")
    assert (tmp_path / "j").read_text().startswith("my notes")


def test_a_second_holder_is_refused(tmp_path):
    with (
        Journal(tmp_path / "j"),
        pytest.raises(UsageError, match="another process is writing to this directory"),
    ):
        Journal(tmp_path / "j")
    Journal(tmp_path / "j").close()


def test_a_full_disk_leaves_the_earlier_records_whole(tmp_path):
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        journal, count = Journal(tmp_path / "j"), 0
        try:
            while count < 100:
                journal.put(str(count), x=np.full(30, count))
                count += 1
        except OSError as error:
            os._exit(count if "finished tiles are kept, resume continues" in str(error) else 0)
        os._exit(0)
    count = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert 0 < count < 100
    with Journal(tmp_path / "j") as journal:
        assert len(journal) == count and journal.dropped == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_raised_between_tiles_only(number):
    before = signal.getsignal(number)
    done = []
    with pytest.raises(Interrupted) as caught, finish_tile_on_signal() as check:
        check()
        os.kill(os.getpid(), number)
        done.append("tile")
        check()
        done.append("never")
    assert done == ["tile"] and caught.value.signal == number
    assert signal.getsignal(number) is before


def test_a_second_interrupt_stops_at_once():
    with pytest.raises(KeyboardInterrupt) as caught, finish_tile_on_signal():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
    assert not isinstance(caught.value, Interrupted)


def test_another_journals_records_are_taken_in_whole_and_once(tmp_path):
    arrays, ends = fill(tmp_path / "part")
    with Journal(tmp_path / "part") as part, Journal(tmp_path / "whole") as whole:
        whole.put("stage/7", **arrays[7])
        whole.put("own", x=[1])
        whole.append(part.records(), "a")
        whole.append(part.records(), "a")
        assert len(whole) == 21
        damaged = bytearray(part.records())
        damaged[len(damaged) // 2] ^= 1
        with pytest.raises(OSError, match="b arrived damaged"):
            whole.append(damaged, "b")
    (tmp_path / "part").write_bytes((tmp_path / "part").read_bytes()[: ends[4] + 3])
    with Journal(tmp_path / "other") as other:
        other.absorb(tmp_path / "part")
        assert len(other) == 5
    for name, count in (("whole", 20), ("other", 5)):
        with Journal(tmp_path / name) as journal:
            assert journal.dropped == 0
            assert all(same(journal.get(f"stage/{i}"), arrays[i]) for i in range(count))


def test_records_tell_their_forwards_or_their_keys_do(tmp_path):
    path, other = tmp_path / "journal.bin", tmp_path / "journal-1.bin"
    with Journal(path) as journal:
        journal.put("stage-1/0-2/0-5", loss=[1.0])
        journal.put("weights", sha=[1])
        journal.put("shown/0-3/0-4", forwards=7, loss=[1.0])
        journal.put("a key of any kind", forwards=5, loss=[1.0])
        wanted = {"stage-1/0-2/0-5": 10, "weights": 0, "shown/0-3/0-4": 7, "a key of any kind": 5}
        assert journal.forwards() == wanted
    assert Journal.peek(path) == (wanted, False)
    with Journal(other) as journal:
        journal.put("of another rank", forwards=4, loss=[1.0])
    with Journal(path) as journal:
        journal.absorb(other)
        assert sum(journal.forwards().values()) == 26
        journal.put("stage-1/0-2/5-10", loss=[1.0])
    # what searches write has the bytes it always had
    assert b'{"key":"stage-1/0-2/5-10","arrays":[["loss","<f8",[1]]]}\n' in path.read_bytes()
