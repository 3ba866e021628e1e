"""One reader per format: what is damaged gets a sentence, before anything large is made of it."""

import json
import os
import pickle
import resource
import signal
import struct
import subprocess
import sys
import time
import zlib

import numpy as np
import pytest
import torch

from freqkit.errors import MissingFile, UsageError, stopped_by_sigterm, torchrun
from freqkit.files import whole
from freqkit.files.pickles import load_plain
from freqkit.files.reading import Row, fit, parse_json, read_csv, read_json, read_text, read_yaml, shown
from freqkit.files.whole import atomic_write

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n"


def written(folder, data, name="file"):
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, "nested more than 40 deep"),
        ('{"a": NaN}', "no finite number"),
        ('{"a": 1e999}', "no finite number"),
        ('{"a": ' + "9" * 5000 + "}", "more than 64 bits"),
        ('{"a": 1, "a": 2}', "'a' twice"),
        ('"\\ud800"', "surrogate"),
        ("{", "line 1, column 2"),
    ],
)
def test_json_is_read_strictly(text, words):
    with pytest.raises(UsageError, match=words):
        parse_json(text, "here")


def test_json_files_name_the_file_and_the_place(tmp_path):
    with pytest.raises(UsageError, match=r"file: a\.b\[1\] must be a whole number; got 'x'"):
        read_json(written(tmp_path, '{"a": {"b": [1, "x"]}}'), {"a": {"b": [int]}})
    with pytest.raises(UsageError, match="must be an object; got a list"):
        read_json(written(tmp_path, "[]"))
    with pytest.raises(MissingFile) as caught:
        read_json(tmp_path / "absent")
    assert isinstance(caught.value, FileNotFoundError)
    for data, words in ((b"", "empty"), (POINTER, "Git LFS pointer"), (b"\xff\xfe{\0", "UTF-16"), (b"\xe9", "UTF-8")):
        with pytest.raises(UsageError, match=words):
            read_json(written(tmp_path, data))
    with pytest.raises(UsageError, match="folder"):
        read_json(tmp_path)
    assert read_text(written(tmp_path, b"\xef\xbb\xbfa")) == "a"
    with pytest.raises(UsageError, match="16 MiB"):
        read_text("/dev/zero")


def test_kinds():
    assert fit({"n": 3, "x": None}, {"n": range(5), "x?": (float, None), "y?": str}, "f")
    for value, kind, words in (
        (True, int, "must be a whole number; got True"),
        (7, range(5), r"in 0\.\.4"),
        ({"a": 1}, {str: str}, "a must be a text"),
        ({}, {"a": str}, "a is missing"),
        ([["a", {}]], [Row(str, int)], r"\[0\] must be a list of a text, a whole number"),
        ([["a"]], [Row(str, int)], "must be a list of"),
        ("ab", (Row(str, str), None), "must be a list of a text, a text or null"),
    ):
        with pytest.raises(UsageError, match=words):
            fit(value, kind, "f")


def test_no_kind_of_a_run_is_left_open():
    """A list or an object of anything passes, and a page stumbles over what is in it."""

    def loose(kind, where):
        if kind in (list, dict) or isinstance(kind, list | tuple):
            if kind in (list, dict):
                yield where
            else:
                for one in kind:
                    yield from loose(one, where)
        elif isinstance(kind, Row):
            for one in kind.kinds:
                yield from loose(one, where)
        elif isinstance(kind, dict):
            for name, one in kind.items():
                yield from loose(one, f"{where} {name}".strip() if isinstance(name, str) else where)

    kinds = {"run": whole._RUN, "training": whole._TRAINING, "evaluation": whole._EVALUATION, "file": whole.RECORD}
    found = {place.split(" ", 1)[1] for name, kind in kinds.items() for place in loose(kind, name)}
    # what stands in "subset" is shown as it is, name by name
    assert {place for place in found if not place.endswith("subset?")} == set()


def test_nothing_of_a_file_steers_the_terminal_or_is_looked_into():
    doubled = ()
    for _ in range(80):
        doubled = (doubled, doubled)
    assert shown(doubled) == "a tuple"
    assert "\x1b" not in shown("a\x1b[2J") and len(shown("x" * 10_000)) < 100


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: &a [x]\nb: &b [*a, *a]\n", "refers to a list"),
        ("a: 1\na: 2\n", "'a' twice"),
        ("a:\n\tb: 1\n", "none, or damaged"),
        ("a: 2001-99-99\n", "none, or damaged"),
        ("a: 2001-01-01\n", "quotation marks"),
        ("a: !!python/object/apply:os.system [true]\n", "none, or damaged"),
        ("- a\n", "content is a list"),
        ("a: " + "[" * 1000, "nested"),
        ("a: 0x" + "f" * 100, "64 bits"),
    ],
)
def test_yaml(tmp_path, text, words):
    with pytest.raises(UsageError, match=words):
        read_yaml(written(tmp_path, text))


def test_csv(tmp_path):
    assert read_csv(written(tmp_path, "a,b\n1,2\n"), ("a",)) == [(2, {"a": "1", "b": "2"})]
    for text, words in (
        ("b\n1\n", "columns a"),
        ("a,b\n1\n", "line 2 has 1 fields"),
        ("a\n\0\n", "NUL"),
        ("a,a\n", "columns a"),
    ):
        with pytest.raises(UsageError, match=words):
            read_csv(written(tmp_path, text), ("a",))


@pytest.mark.parametrize(
    "stream",
    [
        b"Nr\xff\xff\xff\x0f0N.",  # a place in the memo that reserves two gigabytes
        b"\x8b\xff\xff\xff\x7f.",
        b"B\xff\xff\xff\xff.",
        b"}(N" + b"2\x86" * 100 + b"I1\nu.",  # a key that takes 2**100 steps to hash
        b"I" + b"9" * 5000 + b"\n.",
    ],
)
def test_pickles_reserve_and_hash_nothing(tmp_path, stream):
    path, before, began = (
        written(tmp_path, stream),
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        time.monotonic(),
    )
    with pytest.raises(UsageError, match="file"):
        load_plain(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_of_every_protocol(tmp_path, protocol):
    value = {"a": [1, -5, 2**40, True, None, 1.5, "ü\n\\", b"xy", (1,), (1, 2), (1, 2, 3), {}, "q\"'"], 3: ()}
    assert load_plain(written(tmp_path, pickle.dumps(value, protocol))) == value
    found = load_plain(written(tmp_path, pickle.dumps(np.arange(6).reshape(2, 3), protocol)))
    assert found.array.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_small_pickle_cannot_describe_more_than_it_holds(tmp_path):
    from freqkit.masks import read_pickle

    with pytest.raises(UsageError, match="again and again"):
        read_pickle(written(tmp_path, pickle.dumps({0: [np.ones((64, 64))] * 100_000}, 4)))


def test_checkpoints_are_looked_through_before_torch_believes_them(tmp_path):
    from freqkit.models import read_state_dict

    with pytest.raises(UsageError, match="Git LFS pointer") as caught:
        read_state_dict(written(tmp_path, POINTER))
    assert "weights_only" not in str(caught.value)
    torch.save({"w": torch.ones(77)}, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    data = (tmp_path / "w.pth").read_bytes()
    assert data.count(b"KM") == 2  # numbers of the storage, and of the tensor
    larger = data.replace(b"KM", b"J\xff\xff\xff\x7f")
    with pytest.raises(UsageError, match="claims a storage that the file does not hold"):
        read_state_dict(written(tmp_path, larger))
    import argparse

    torch.save({"model": {"w": torch.ones(1)}, "args": argparse.Namespace()}, tmp_path / "n.pth")
    assert read_state_dict(tmp_path / "n.pth")[0].keys() == {"w"}  # a harmless type, made of nothing
    torch.save({"model": {"w": torch.ones(1)}, "args": os.getcwd}, tmp_path / "n.pth")
    with pytest.raises(UsageError, match=r"posix\.getcwd.*torch\.save"):
        read_state_dict(tmp_path / "n.pth")


def test_a_journal_with_right_checksums_over_nonsense(tmp_path):
    from freqkit.engine import Journal

    def journal(payload):
        frame = struct.pack("<II", len(payload), zlib.crc32(payload))
        return written(tmp_path, b'{"format": "freqkit-journal-1"}\n' + frame + payload, "journal.bin")

    for payload in (b"x", b"{}\n", b"\xff\n"):
        with pytest.raises(UsageError, match=r"journal\.bin: a record"):
            Journal(journal(payload))
    for arrays in ([["a", "|O", [1]]], [["a", "<f8", [2**40]]], [["a", "<f8", "x"]]):
        head = json.dumps({"key": "k", "arrays": arrays}, separators=(",", ":")).encode()
        with Journal(journal(head + b"\n12345678")) as found, pytest.raises(UsageError, match=r"journal\.bin"):
            found.get("k")
    head = b'{"key":"k","arrays":[["a","<f8",[1]]]}\n12345678'
    with Journal(journal(head)) as found:
        assert found.get("k", {"a": ("f", (1,))})["a"].shape == (1,)
        with pytest.raises(UsageError, match="was not written by this run"):
            found.get("k", {"a": ("f", (2,))})


def test_a_store_that_is_damaged_later(tmp_path):
    from freqkit.results.store import Store

    store = Store(tmp_path / "s.sqlite")
    store.add([{"model": "m" * 200, "metric": "top-1", "value": i / 7} for i in range(2000)], source="here")
    data = bytearray(store.path.read_bytes())
    data[8192:] = os.urandom(len(data) - 8192)
    store.path.write_bytes(data)
    with pytest.raises(UsageError, match=r"s\.sqlite.* is no store of freqkit, or is damaged"):
        Store(store.path).rows()


def test_writing_names_the_file_and_leaves_nothing(tmp_path):
    with pytest.raises(UsageError, match="no ordinary file"), atomic_write("/dev/full"):
        pass
    with pytest.raises(OSError, match=r"No space left on device; what was there before is kept.*file"):
        with atomic_write(written(tmp_path, "before")):
            raise OSError(28, "No space left on device")
    assert (tmp_path / "file").read_text() == "before" and os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize(
    "variables",
    [
        "WORLD_SIZE=x",
        "RANK=x",
        "RANK=1",
        "WORLD_SIZE=2",
        "WORLD_SIZE=2 RANK=0",
        "LOCAL_RANK=x",
        "MASTER_PORT=x",
        "WORLD_SIZE=0",
    ],
)
def test_the_environment_of_torchrun(monkeypatch, variables):
    for part in variables.split():
        monkeypatch.setenv(*part.split("="))
    with pytest.raises(UsageError, match=variables.partition("=")[0]):
        torchrun()


@pytest.mark.parametrize("variable", ["WORLD_SIZE", "RANK", "FREQKIT_SIMD"])
def test_info_says_what_is_wrong_with_the_environment(variable):
    done = subprocess.run(
        [sys.executable, "-m", "freqkit", "info"], env={**os.environ, variable: "bogus"}, capture_output=True, text=True
    )
    assert done.returncode == 2 and variable in done.stderr and "bogus" in done.stderr
    assert "Error" not in done.stderr


def test_sigterm_in_a_training_leaves_its_state(tmp_path):
    from freqkit.data import synthetic
    from freqkit.engine import Interrupted
    from freqkit.models import load_model
    from freqkit.training import train

    def stop(done, total):
        if done == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        train(load_model("small_convnet"), synthetic(images_per_class=8), epochs=2, batch_size=16, out=tmp_path / "run",
              progress=stop)  # fmt: skip
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "interrupted"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    with stopped_by_sigterm():
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
