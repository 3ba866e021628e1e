"""Decoded images that are kept: the same bits, decoded once, whatever happens to processes, files and the disk."""

import errno
import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import freqkit
from freqkit.data import cache as caches
from freqkit.data import folder as reader
from freqkit.data import load_images
from freqkit.data.cache import Cache, CacheWarning

ROOT = Path(freqkit.__file__).resolve().parents[1]


def paint(path, seed, size=(24, 20)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)


@pytest.fixture
def root(tmp_path):
    for i in range(10):
        paint(tmp_path / "set" / "ab"[i % 2] / f"{i}.bmp", i)
    return tmp_path / "set"


@pytest.fixture
def decoded(monkeypatch):
    """Names of the files that are decoded."""
    names, real = [], reader.open_image

    def counted(path):
        names.append(os.path.basename(path))
        return real(path)

    monkeypatch.setattr(reader, "open_image", counted)
    return names


def load(root, kept, **how):
    return load_images(root, **{"image_size": 16, "cache": kept, **how})


def same(one, other):
    assert torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)
    assert (one.paths, one.record) == (other.paths, other.record)


@pytest.mark.parametrize("how", [{}, {"image_size": None}, {"resize": "squash"}, {"on_bad_image": "skip"}], ids=str)
def test_equal_bits_and_decoded_once(root, tmp_path, decoded, how):
    if "on_bad_image" in how:
        (root / "a" / "2.bmp").write_bytes(b"BM, but no image")
        (root / "b" / "5.bmp").write_bytes(b"")
    plain = load(root, None, **how)
    decoded.clear()
    first = load(root, tmp_path / "kept", **how)
    assert len(decoded) == 10
    second = load(root, tmp_path / "kept", **how)
    assert len(decoded) == 10  # none again
    same(plain, first)
    same(plain, second)
    digests = [caches.hashlib.sha256(image.numpy().tobytes()).digest() for image in second.images]
    assert digests == second.digests  # as they are read from the file, too
    for part, other in zip(plain.split(0.4), second.split(0.4), strict=True):
        same(part, other)
    same(plain.subset([1, 2, 3]), second.subset([1, 2, 3]))
    assert load(root, tmp_path / "kept", **{**how, "limit_per_class": 2}).counts.tolist() == [2, 2]


def test_what_is_written_into_them_stays_in_the_process(root, tmp_path, decoded):
    images = load(root, tmp_path / "kept")
    before = images.images.clone()
    images.images[0] = 7
    assert torch.equal(load(root, tmp_path / "kept").images, before) and len(decoded) == 10


@pytest.mark.parametrize("way", ["in place", "renamed", "at once"])
def test_an_image_replaced_under_its_name_is_noticed(root, tmp_path, decoded, monkeypatch, way):
    """Of the same number of bytes and with the old modification time; at once: before the clock of the disk ticks."""
    path, fresh = root / "a" / "2.bmp", caches.FRESH
    monkeypatch.setattr(caches, "FRESH", fresh if way == "at once" else -1)
    before, there = load(root, tmp_path / "kept"), path.stat()
    if way == "renamed":
        paint(tmp_path / "other.bmp", 99)
        os.replace(tmp_path / "other.bmp", path)
    else:
        paint(path, 99)
    os.utime(path, ns=(there.st_atime_ns, there.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (there.st_size, there.st_mtime_ns)
    after = load(root, tmp_path / "kept")
    assert len(decoded) == 20 and before.fingerprint != after.fingerprint
    same(after, load(root, None))


def test_another_way_of_reading_is_another_set(root, tmp_path, decoded):
    for how in ({}, {"resize": "squash"}, {"image_size": 12}, {"on_bad_image": "skip"}):
        load(root, tmp_path / "kept", **how)
    assert len(decoded) == 40 and len(Cache(tmp_path / "kept").files()) == 4


# ---- other processes ------------------------------------------------------------------------------------------------

SCRIPT = """
import json, os, signal, sys, time
from freqkit.data import folder, load_images
root, kept, kill, wait = sys.argv[1:]
count, real = [], folder.open_image
def counted(path):
    count.append(path)
    if len(count) == int(kill):
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(float(wait))
    return real(path)
folder.open_image = counted
images = load_images(root, image_size=16, cache=kept, workers=1)
maps = {line.split()[-1] for line in open("/proc/self/maps") if line.endswith(".images\\n")}
print(json.dumps([len(count), images.fingerprint, sorted(maps)]))
"""


def process(root, kept, kill=0, wait=0.0):
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    arguments = [sys.executable, "-c", SCRIPT, str(root), str(kept), str(kill), str(wait)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=env)


def test_two_writers_decode_once(root, tmp_path):
    """The second waits for the first, and both read one file."""
    time.sleep(2.2)  # files that were just written are known by their content, older ones by their times
    both = [process(root, tmp_path / "kept", wait=0.1) for _ in range(2)]
    counts, prints, maps = zip(*(json.loads(each.communicate(timeout=120)[0]) for each in both), strict=True)
    assert sorted(counts) == [0, 10] and set(prints) == {load(root, None).fingerprint}
    assert maps[0] == maps[1] == [str(path) for path in Cache(tmp_path / "kept").files()]


def test_a_kill_while_writing_leaves_nothing_that_is_read(root, tmp_path, decoded):
    killed = process(root, tmp_path / "kept", kill=7)
    assert killed.wait(120) == -9
    kept = Cache(tmp_path / "kept")
    assert kept.files() == [] and any(path.name.endswith(".part") for path in kept.folder.iterdir())
    same(load(root, kept.folder), load(root, None))
    assert len(kept.files()) == 1 and not list(kept.folder.glob("*.part")) + list(kept.folder.glob(".*.part"))


@pytest.mark.parametrize("damage", ["cut", "tail", "head", "empty"])
def test_a_damaged_file_is_made_again(root, tmp_path, decoded, damage):
    load(root, tmp_path / "kept")
    [path] = Cache(tmp_path / "kept").files()
    data = bytearray(path.read_bytes())
    if damage in ("tail", "head"):
        data[-1 if damage == "tail" else -70] ^= 1
    path.write_bytes({"cut": data[100:], "empty": b""}.get(damage, data))
    same(load(root, tmp_path / "kept"), load(root, None))
    load(root, tmp_path / "kept")
    assert len(decoded) == 30  # once, once again, once without


# ---- room -----------------------------------------------------------------------------------------------------------


def fill_with(value):
    def fill(sink):
        sink.put(0, np.full((3, 100, 100), value, np.uint8))
        return [bytes(32)], {}

    return lambda: (1, (100, 100), fill)


def key(value):
    return f"{value:040x}"


def test_the_oldest_goes_and_never_one_in_use(tmp_path):
    kept = Cache(tmp_path, budget=100_000)  # three of 30 kB
    used = kept.kept(key(0), "set 0", fill_with(0))
    for value in (1, 2):
        kept.kept(key(value), f"set {value}", fill_with(value))
    for value in range(3):
        os.utime(tmp_path / f"{key(value)}.images", (1000 + value,) * 2)
    kept.find(key(1))  # used last now
    kept.kept(key(3), "set 3", fill_with(3))
    assert [row["about"] for row in kept.table()] == ["set 3", "set 1", "set 0"]  # 0 is in use, 2 the oldest other
    assert used.images.unique().tolist() == [0] and kept.used() <= 100_000
    os.utime(tmp_path / f"{key(0)}.images", (1, 1))
    assert kept.clear() == (2, 1)
    del used
    assert kept.clear() == (1, 0)


def test_what_has_no_room_is_decoded_into_memory(tmp_path, monkeypatch):
    kept = Cache(tmp_path, budget=100_000)
    kept.kept(key(0), "small", fill_with(0))
    big = (1, (200, 300), lambda sink: (sink.put(0, np.full((3, 200, 300), 5, np.uint8)), ([bytes(32)], {}))[1])
    with pytest.warns(CacheWarning, match=r"not kept in .*, for it has no room for 0 MiB .* into its own memory"):
        found = kept.kept(key(1), "big", lambda: big)
    assert found.key is None and found.images.unique().tolist() == [5]
    assert len(kept.files()) == 1  # nothing went for what cannot fit
    free = shutil._ntuple_diskusage(10**9, 10**9, 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    assert Cache(tmp_path).room() == (1000 + kept.used()) // 2  # half of what the disk has free without it


@pytest.mark.parametrize("call", ["posix_fallocate", "pwrite", "fsync"])
def test_a_full_disk_is_said_and_decoded_into_memory(root, tmp_path, decoded, monkeypatch, call):
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    plain = load(root, None)
    monkeypatch.setattr(os, call, full)
    with pytest.warns(CacheWarning, match="cannot be written .No space left on device"):
        found = load(root, tmp_path / "kept")
    same(found, plain)
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["room.lock"]


def test_a_file_system_without_locks_and_reservations(root, tmp_path, monkeypatch):
    def cannot(*arguments):
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(fcntl, "flock", cannot)
    monkeypatch.setattr(os, "posix_fallocate", cannot)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same(load(root, tmp_path / "kept"), load(root, None))
    assert Cache(tmp_path / "kept").clear() == (0, 1)  # who uses it is not known


def test_where_they_are(root, tmp_path, decoded, monkeypatch):
    """By default in the user's cache folder, from `LEAST` bytes on."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    load_images(root, image_size=16)
    assert not (tmp_path / "home").exists()  # 7 kB are no set to keep
    monkeypatch.setattr(caches, "LEAST", 1000)
    load_images(root, image_size=16)
    load_images(root, image_size=16)
    assert len(decoded) == 20 and len(Cache(tmp_path / "home" / "freqkit" / "images").files()) == 1
    monkeypatch.setenv("FREQKIT_CACHE", "none")
    load_images(root, image_size=16)
    assert len(decoded) == 30
    monkeypatch.setenv("FREQKIT_CACHE", str(tmp_path / "elsewhere"))
    load_images(root, image_size=16)
    assert len(Cache(tmp_path / "elsewhere").files()) == 1


# ---- memory ---------------------------------------------------------------------------------------------------------


def resident(path):
    """kB of a file that stand among the memory of this process."""
    inside, found = False, 0
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if not line.split()[0].endswith(":"):
            inside = line.endswith(str(path))
        elif inside and line.startswith("Rss"):
            found += int(line.split()[1])
    return found


def test_pages_that_were_read_are_let_go_and_written_ones_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(caches, "LARGE", 1 << 20)
    count, side = 200, 64

    def fill(sink):
        for i in range(count):
            sink.put(i, np.full((3, side, side), i, np.uint8))
        return [bytes(32)] * count, {}

    kept = Cache(tmp_path).kept(key(1), "made", lambda: (count, (side, side), fill))
    [path] = Cache(tmp_path).files()
    assert kept.images.sum(dtype=torch.int64) == 3 * side * side * sum(range(count))
    assert resident(path) > 2000
    caches.has_read(torch.zeros(1000, 3, 64, 64))  # lies elsewhere
    assert resident(path) > 2000
    caches.has_read(kept.images[100:])
    assert resident(path) < 1400
    caches.has_read(kept.images, torch.arange(0, 200, 5))
    assert resident(path) < 500
    assert [int(image.unique()) for image in kept.images[[0, 99, 199]]] == [0, 99, 199]
    kept.images[7] = 255
    caches.has_read(kept.images)
    assert kept.images[7].unique().tolist() == [255] and kept.images[8].unique().tolist() == [8]


SEARCH = """
import json, sys, torch
from freqkit.data import ImageSet, cache
from freqkit.data.cache import Cache
from freqkit.engine import Silent
from freqkit.models import load_model
kept, count, side = sys.argv[1], int(sys.argv[2]), 32
cache.LARGE = 1 << 20

def fill(sink):
    for i in range(count):
        sink.put(i, torch.full((3, side, side), i % 251, dtype=torch.uint8).numpy())
    return [i.to_bytes(32, "big") for i in range(count)], {}

found = Cache(kept).kept(f"{count:040x}", "made", lambda: (count, (side, side), fill))
labels = torch.arange(count) % 2
images = ImageSet(found.images, labels, ["a", "b"], [f"{'ab'[i % 2]}/{i}" for i in range(count)], digests=found.digests,
                  kept=found)
half, rest = images.split(0.5)
torch.set_num_threads(1)

class Highest(Silent):
    value = 0
    def advance(self, amount, **facts):
        text = open("/proc/self/smaps_rollup").read()
        now = sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Private_"))
        self.value = max(self.value, now / 1024)

seen, model = Highest(), load_model("small_convnet", num_classes=2)
from freqkit.engine import Scorer
from freqkit.masks import candidates
scorer = Scorer(model, half, batch_size=64, memory=4 << 20, form="folded")
scorer.score(candidates(1, 2, size=side).masks, progress=seen)
maps = [line.split()[-1] for line in open("/proc/self/maps") if line.endswith(".images\\n")]
print(json.dumps([seen.value, sorted(set(maps))]))
"""


@pytest.mark.measured
def test_private_memory_does_not_grow_with_the_set(tmp_path):
    """8 times the images, 37 MB instead of 5; the parts of them lie in files, too."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "MALLOC_ARENA_MAX": "1"}
    found = []
    for count in (1500, 12_000):
        script = [sys.executable, "-c", SEARCH, str(tmp_path), str(count)]
        done = subprocess.run(script, capture_output=True, text=True, env=env, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]
        found.append(json.loads(done.stdout.splitlines()[-1]))
    (few, _), (many, maps) = found
    assert len(maps) == 3  # whole, half and rest
    assert many < 1.1 * few, (few, many)
