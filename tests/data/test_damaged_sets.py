"""Shards, arrays and packed files that are cut, lie about their size, or hold what they should not."""

import gzip
import io
import resource
import struct
import tarfile
import time

import numpy as np
import pytest
import torch
from PIL import Image

from freqkit.data import load_images, open_sets
from freqkit.data.idx import read_idx
from freqkit.data.npy_files import read_array
from freqkit.data.tar_members import members_of
from freqkit.errors import MissingFile, UsageError

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"


@pytest.fixture
def little():
    """A gigabyte more than now, and ten seconds: what is refused must not be made first."""
    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size + (1 << 30), before[1]))
    began = time.process_time()
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)
    assert time.process_time() - began < 10


def png(value=0, side=6):
    file = io.BytesIO()
    Image.fromarray(np.full((side, side, 3), value, np.uint8)).save(file, "png")
    return file.getvalue()


def entry(name, size=0, kind=tarfile.REGTYPE, link=""):
    found = tarfile.TarInfo(name)
    found.size, found.type, found.linkname = size, kind, link
    return found


def shard(path, count=3, form=tarfile.GNU_FORMAT, stem="x"):
    with tarfile.open(path, "w", format=form) as archive:
        for i in range(count):
            for suffix, data in (("png", png(10 * i)), ("cls", str(i).encode())):
                archive.addfile(entry(f"{stem}{i}.{suffix}", len(data)), io.BytesIO(data))


# ---- shards ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("form", "stem"), [(tarfile.GNU_FORMAT, "x"), (tarfile.GNU_FORMAT, "long" * 40),
                                            (tarfile.PAX_FORMAT, "naïve" * 30)])  # fmt: skip
def test_no_cut_loses_images_without_a_word(tmp_path, form, stem):
    """Every place in a small shard: refused, or all images."""
    folder = tmp_path / "set"
    path = folder / "a.tar"
    folder.mkdir()
    shard(path, form=form, stem=stem)
    data = path.read_bytes()
    end = max(member.offset + 512 for member in members_of(path))  # of the last member and its padding
    assert len(open_sets([f"mine={folder}"])[0]) == 3
    for cut in [*range(0, end + 1, 16), *range(511, end + 512, 512), *range(513, end + 512, 512), len(data) - 1]:
        path.write_bytes(data[:cut])
        if cut >= end + 512:
            assert len(open_sets([f"mine={folder}"])[0]) == 3
            continue
        with pytest.raises(UsageError, match=r"a\.tar") as caught:
            open_sets([f"mine={folder}"])
        assert str(caught.value).isprintable()
        try:
            [found] = open_sets([f"mine={folder}"], relaxed=True)
        except UsageError:
            continue
        assert len(found) < 3 or cut == end
        assert any("without the mark of an archive's end; it may be cut" in note for note in found.notes), cut


def test_a_damaged_head_is_noticed(tmp_path):
    """tarfile itself ends there without a word."""
    shard(tmp_path / "a.tar")
    data = (tmp_path / "a.tar").read_bytes()
    heads = [member.offset - 512 for member in members_of(tmp_path / "a.tar")]
    for head in heads:
        for change in (b"\xff" * 8, bytes(512)):
            spoilt = data[:head] + change + data[head + len(change) :]
            (tmp_path / "a.tar").write_bytes(spoilt)
            with pytest.raises(UsageError, match=r"a\.tar"):
                open_sets([f"mine={tmp_path}"], relaxed=True)


def test_two_archives_in_one_file(tmp_path):
    shard(tmp_path / "a.tar")
    data = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(data + data)
    with pytest.raises(UsageError, match="more follows the end of the archive"):
        open_sets([f"mine={tmp_path}"])


@pytest.mark.parametrize("size", [2**33, 2**40, 2**62, 2**63, 2**80, -1, -1024])
def test_members_of_absurd_size(tmp_path, little, size):
    header = bytearray(entry("x.png").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = (size % 2**96).to_bytes(12, "big")
    header[124] = 0x80 if size >= 0 else 0xFF
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    (tmp_path / "a.tar").write_bytes(header + bytes(2048))
    with pytest.raises(UsageError, match=r"a\.tar"):
        open_sets([f"mine={tmp_path}"], relaxed=True)


def test_a_size_ahead_of_a_member(tmp_path, little):
    for size in ("1" * 5000, "-5", "1e3", str(2**60), "٣"):
        with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as archive:
            one = entry("x.png", 4)
            one.pax_headers = {"size": size}
            archive.addfile(one, io.BytesIO(b"abcd"))
        with pytest.raises(UsageError, match=r"a\.tar"):
            open_sets([f"mine={tmp_path}"], relaxed=True)


@pytest.mark.parametrize("name", ["../../up", "/root/absolute", "a/../../b", "C:\\x"])
def test_nothing_is_unpacked(tmp_path, name):
    """Names lead nowhere: members are read in place."""
    folder = tmp_path / "in" / "set"
    folder.mkdir(parents=True)
    with tarfile.open(folder / "a.tar", "w") as archive:
        for suffix, data in (("png", png(7)), ("cls", b"cat")):
            archive.addfile(entry(f"{name}.{suffix}", len(data)), io.BytesIO(data))
    [found] = open_sets([f"mine={folder}"])
    assert len(found) == 1 and found.classes == ["cat"]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.tar", "in", "set"]


@pytest.mark.parametrize(
    ("kind", "words"),
    [(tarfile.SYMTYPE, "a symbolic link"), (tarfile.LNKTYPE, "a hard link"), (tarfile.FIFOTYPE, "a pipe"),
     (tarfile.CHRTYPE, "a device")],
)  # fmt: skip
def test_links_and_devices_are_refused(tmp_path, kind, words):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.addfile(entry("x.png", 0, kind, "/etc/passwd"))
        archive.addfile(entry("x.cls", 1), io.BytesIO(b"0"))
    with pytest.raises(UsageError, match=f"only plain files are read from a shard; it is {words}"):
        open_sets([f"mine={tmp_path}"])


def test_sparse_files_are_refused(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        one = entry("x.png", 512)
        one.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(2**40)}
        archive.addfile(one, io.BytesIO(bytes(512)))
    with pytest.raises(UsageError, match="is a sparse file"):
        open_sets([f"mine={tmp_path}"])
    header = bytearray(entry("x.png", 0, tarfile.GNUTYPE_SPARSE).tobuf(tarfile.GNU_FORMAT))
    (tmp_path / "a.tar").write_bytes(header + bytes(1024))
    with pytest.raises(UsageError, match="it is a sparse file"):
        open_sets([f"mine={tmp_path}"])


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz", "a.tar.xz", "a.TAR.GZ"])
def test_packed_shards_are_refused(tmp_path, name):
    shard(tmp_path / "b.tar")
    (tmp_path / name).write_bytes(gzip.compress((tmp_path / "b.tar").read_bytes()))
    with pytest.raises(UsageError, match=r"they must not be compressed; unpack a\."):
        open_sets([f"mine={tmp_path}"])
    (tmp_path / name).rename(tmp_path / "a.tar")
    with pytest.raises(UsageError, match=r"a\.tar: .*it is compressed \(gzip\)"):
        open_sets([f"mine={tmp_path}"])


def test_samples_that_do_not_fit(tmp_path):
    def write(*members):
        with tarfile.open(tmp_path / "a.tar", "w") as archive:
            for name, data in members:
                archive.addfile(entry(name, len(data)), io.BytesIO(data))

    for members, words in (
        ([("x.png", png())], "1 images have no .cls beside them"),
        ([("x.png", png()), ("x.cls", b"0"), ("y.cls", b"0")], r"1 \.cls have no image beside them"),
        ([("x.png", png()), ("x.jpg", png()), ("x.cls", b"0")], "sample 'x' has two images"),
        ([("x.png", png()), ("x.cls", b"0"), ("x.cls", b"1")], "sample 'x' has two labels"),
        ([("x.png", png()), ("x.cls", b"0" * 10_000)], "it has 10000 bytes"),
        ([("x.png", png()), ("x.cls", b"\xff\xfe")], "it is no UTF-8 text"),
        ([("x.png", png()), ("x.cls", str(2**26).encode())], "numbers in .cls must lie below 100000"),
        ([("x.png", png()), ("x.cls", b"9" * 4000)], "numbers in .cls must lie below 100000"),
        ([("x.png", png()), ("x.cls", b"a\nb")], "must hold no control character"),
        ([("x.png", png()), ("x.cls", b"")], "must not be empty"),
        ([("\udce9.png", png()), ("\udce9.cls", b"0")], "must be UTF-8"),
        ([("readme.md", b"x")], "must hold images with labels; none does"),
    ):
        write(*members)
        with pytest.raises(UsageError, match=words) as caught:
            open_sets([f"mine={tmp_path}"])
        assert str(caught.value).isprintable() and len(str(caught.value)) < 500
    write(("x.JFIF", png()), ("x.cls", b" cat\n"), ("x.json", b"{}"), ("notes.txt", b""))
    [found] = open_sets([f"mine={tmp_path}"])
    assert len(found) == 1 and found.classes == ["cat"]
    assert found.notes == ["2 members of the shards are neither images nor labels and are left out: x.json, notes.txt"]


# ---- npy ------------------------------------------------------------------------------------------------------------


def head(dtype="|u1", shape=(3, 8, 8), version=(1, 0), order=False, text=None):
    words = (text or f"{{'descr': {dtype!r}, 'fortran_order': {order}, 'shape': {shape}, }}").encode()
    words += b" " * (-(len(words) + 11) % 64) + b"\n"
    length = len(words).to_bytes(2 if version == (1, 0) else 4, "little")
    return b"\x93NUMPY" + bytes(version) + length + words


def npz():
    file = io.BytesIO()
    np.savez(file, a=np.zeros(3))
    return file.getvalue()


NO_NPY = {
    "empty": (b"", "it is empty"),
    "pointer": (POINTER, "Git LFS pointer"),
    "npz": (npz(), "it is a zip archive, such as numpy.savez"),
    "pickle": (b"\x80\x04].", "it is a pickle"),
    "magic alone": (b"\x93NUMPY", "npy version"),
    "cut head": (head()[:40], "its head is damaged or cut short"),
    "cut": (head() + bytes(191), "192 bytes, and 191 follow"),
    "longer": (head() + bytes(193), "192 bytes, and 193 follow"),
    "2 to the 40": (head(shape=(2**40,)), "1099511627776 bytes, and 0 follow"),
    "2 to the 47": (head(dtype="<f8", shape=(2**47, 2**47, 2**47)), "and 0 follow"),
    "beyond": (head(shape=(2**70, 0)), "its head says shape"),
    "negative": (head(shape=(-3, 8)), "its head says shape"),
    "truth": (head(shape=(True, 8)), "its head says shape"),
    "9 sides": (head(shape=(1,) * 9), "describes no array"),
    "a call": (head(text="{'descr': __import__('os').system('true'), 'fortran_order': False, 'shape': (3,)}"),
               "describes no array"),
    "deep": (head(text="(" * 3000 + ")" * 3000), "describes no array"),
    "columns": (head(dtype=[("a", "<f8")]), "a table of several columns"),
    "text": (head(dtype="<U9"), "no plain numbers"),
    "dates": (head(dtype="<M8[s]"), "no plain numbers"),
    "long head": (b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + b" " * 99, "its head is damaged or cut short"),
    "version 9": (head(version=(9, 0)), "it is of npy version 9.0"),
    "page": (b"<!DOCTYPE html><html></html>", "it is a page of HTML"),
}  # fmt: skip


@pytest.mark.parametrize("kind", NO_NPY)
@pytest.mark.parametrize("which", ["train_label.npy", "train_data.npy"])
def test_what_is_no_npy(tmp_path, little, kind, which):
    data, words = NO_NPY[kind]
    np.save(tmp_path / "train_data.npy", np.zeros((3, 8, 8), np.uint8))
    np.save(tmp_path / "train_label.npy", np.arange(3))
    (tmp_path / which).write_bytes(data)
    with pytest.raises(UsageError, match=rf"{which}: .*plain npy array of \w+ was expected; .*{words}") as caught:
        load_images(tmp_path)
    assert len(str(caught.value)) < 400 and "allow_pickle" not in str(caught.value)


@pytest.mark.parametrize("kind", ["empty", "pointer", "npz", "cut", "2 to the 40"])
def test_labels_of_cifar_c(tmp_path, run_command, kind):
    """A zero-byte labels.npy ended as if Ctrl-C had been pressed."""
    np.save(tmp_path / "labels.npy", np.arange(5))
    np.save(tmp_path / "fog.npy", np.zeros((5, 8, 8, 3), np.uint8))
    assert len(open_sets([f"cifar10-c={tmp_path}"], relaxed=True)) == 5
    for name in ("labels.npy", "fog.npy"):
        good = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(NO_NPY[kind][0])
        code, text = run_command("evaluate", "--model", "small_convnet", "--num-classes", "10", "--relaxed", "--on",
                                 f"cifar10-c={tmp_path}", "--out", tmp_path / "out")  # fmt: skip
        assert code == 2 and name in text and NO_NPY[kind][1].split(",")[0] in text and "interrupted" not in text
        (tmp_path / name).write_bytes(good)


@pytest.fixture
def run_command():
    from click.testing import CliRunner

    from freqkit.cli.app import app

    def call(*words):
        result = CliRunner().invoke(app, [str(word) for word in words])
        return result.exit_code, " ".join(result.stderr.split())

    return call


@pytest.mark.parametrize("dtype", ["<i8", ">i4", "|u1", "<u8", "<f8", ">f4"])
def test_labels_of_every_kind(tmp_path, dtype):
    np.save(tmp_path / "train_data.npy", np.asfortranarray(np.arange(3 * 8 * 8).reshape(3, 8, 8).astype(np.uint8)))
    np.save(tmp_path / "train_label.npy", np.array([2, 0, 1], dtype))
    found = load_images(tmp_path)
    assert found.labels.tolist() == [0, 1, 2] and found.labels.dtype == torch.int64
    assert found.images[:, 0].reshape(3, 64).tolist() == np.arange(192).reshape(3, 64)[[1, 2, 0]].tolist()


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.array([0, 1, 2**26]), "train_label.npy: labels must lie below 100000; got 67108864"),
        (np.array([0, 1, 2**63], np.uint64), "labels must lie below 100000"),
        (np.array([0, 1, -1]), "labels must not be negative; got -1"),
        (np.array([0, 1, 1.5]), "labels must be integers"),
        (np.array([0, 1, np.nan]), "labels must be integers"),
        (np.array([0, 1, np.inf]), "labels must be integers"),
        (np.array([0, 1, 1e30]), "labels must be integers"),
        (np.array([True, False, True]), "labels must be integers"),
        (np.array([0, 1]), "one for each of 3 images"),
        (np.zeros((3, 1), int), r"of shape \[3, 1\]"),
        (np.array(["a", "b", "c"]), "no plain numbers"),
    ],
)
def test_labels_are_refused(tmp_path, little, labels, words):
    np.save(tmp_path / "train_data.npy", np.zeros((3, 8, 8), np.uint8))
    np.save(tmp_path / "train_label.npy", labels)
    with pytest.raises(UsageError, match=words):
        load_images(tmp_path)


def test_arrays_are_mapped(tmp_path, little):
    """A file larger than the memory can be opened."""
    with open(tmp_path / "a.npy", "wb") as file:
        file.write(head(shape=(1 << 28,)))
        file.truncate(len(head(shape=(1 << 28,))) + (1 << 28))
    assert read_array(tmp_path / "a.npy")[-1] == 0
    with pytest.raises(MissingFile):
        read_array(tmp_path / "b.npy")


def objects(tail):
    return head(dtype="|O") + tail


def test_objects_that_grow_when_they_are_looked_at(tmp_path, little):
    """A tuple of a tuple twice, sixty times over: 2**60 items to hash, compare or print, in 300 bytes."""
    doubled = b")" + b"".join(b"q\x00h\x00\x86" for _ in range(60))
    np.save(tmp_path / "train_data.npy", np.zeros((3, 8, 8), np.uint8))
    for tail in (
        b"\x80\x02cnumpy\ndtype\n" + doubled + b"\x85R.",
        b"\x80\x02cnumpy._core.multiarray\n_reconstruct\n" + doubled + b"\x85R.",
        b"\x80\x02cnumpy._core.multiarray\n_reconstruct\n)R(K\x01" + doubled + b"cnumpy\ndtype\nX\x02\0\0\0O8\x85R"
        b"\x89]tb.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n" + doubled + b"K\x00))tR.",
        b"\x80\x02" + doubled + b".",
        b"\x80\x02ca\x1b[2J\nb\n.",
    ):
        (tmp_path / "train_label.npy").write_bytes(objects(tail))
        with pytest.raises(UsageError, match=r"train_label\.npy") as caught:
            load_images(tmp_path)
        assert str(caught.value).isprintable() and len(str(caught.value)) < 400


# ---- idx ------------------------------------------------------------------------------------------------------------


def idx(shape, data=b"", kind=8, packed=False):
    raw = struct.pack(f">BBBB{len(shape)}I", 0, 0, kind, len(shape), *shape) + data
    return gzip.compress(raw, mtime=0) if packed else raw


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("2 to the 40", "it is damaged"), ("2 to the 96", "it is damaged"), ("short", "it is damaged"),
        ("long", "it is damaged"), ("empty", "it is empty"), ("head", "its head is cut short"), ("floats", "it begins"),
        ("pointer", "Git LFS pointer"), ("no dimensions", "it begins"),
    ],
)  # fmt: skip
def test_idx_is_refused(tmp_path, little, packed, data, words):
    raw = {
        "2 to the 40": idx((2**14, 2**13, 2**13)), "2 to the 96": idx((2**32 - 1,) * 3), "short": idx((2, 3), b"12345"),
        "long": idx((2, 3), b"1234567"), "head": idx((2, 3))[:9], "floats": idx((2,), b"12345678", 13),
        "no dimensions": b"\0\0\x08\0", "empty": b"", "pointer": POINTER,
    }[data]  # fmt: skip
    file = tmp_path / ("a.gz" if packed else "a")
    file.write_bytes(gzip.compress(raw) if packed and data not in ("empty", "pointer") else raw)
    with pytest.raises(UsageError, match=words):
        read_idx(file)
    whole = idx((2, 3), b"123456", packed=packed)
    file.write_bytes(whole)
    assert read_idx(file).tolist() == [[49, 50, 51], [52, 53, 54]]


def test_gzip_of_idx_cut_anywhere(tmp_path):
    data = np.random.default_rng(0).integers(0, 256, 60, dtype=np.uint8).tobytes()
    whole = idx((3, 4, 5), data, packed=True)
    for cut in range(len(whole)):
        (tmp_path / "a.gz").write_bytes(whole[:cut])
        with pytest.raises(UsageError, match=r"a\.gz"):
            read_idx(tmp_path / "a.gz")


def test_a_gzip_bomb(tmp_path, little):
    """Zeros packed to a thousandth: the head asks for few of them, or for more than can be there."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1, mtime=0) as file:
        file.write(struct.pack(">BBBBI", 0, 0, 8, 1, 10))
        for _ in range(200):
            file.write(bytes(1 << 20))
    (tmp_path / "a.gz").write_bytes(packed.getvalue())
    with pytest.raises(UsageError, match="it holds more"):
        read_idx(tmp_path / "a.gz")
    (tmp_path / "b.gz").write_bytes(idx((2**31,), packed=True))
    with pytest.raises(UsageError, match="its head says 2147483648 bytes"):
        read_idx(tmp_path / "b.gz")


# ---- CIFAR ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"", "it is empty"), (POINTER, "Git LFS pointer"), (bytes(3072), "records of 3073 bytes"),
     (b"\xff" + bytes(3072), "a name for every label")],
)  # fmt: skip
def test_cifar_batches(tmp_path, data, words):
    (tmp_path / "data_batch_1.bin").write_bytes(data)
    with pytest.raises(UsageError, match=words):
        load_images(tmp_path)


def test_cifar_names(tmp_path):
    (tmp_path / "data_batch_1.bin").write_bytes(bytes(3073))
    (tmp_path / "batches.meta.txt").write_bytes(b"\xef\xbb\xbf" + b"".join(b"n%d\r\n" % i for i in range(10)) + b"\r\n")
    assert load_images(tmp_path).classes == [f"n{i}" for i in range(10)]
    (tmp_path / "batches.meta.txt").write_text("cat\n" * 10)
    with pytest.raises(UsageError, match="'cat' stands twice"):
        load_images(tmp_path)
    (tmp_path / "batches.meta.txt").write_text("cat\nowl\n")
    with pytest.raises(UsageError, match=r"batches\.meta\.txt must hold 10 names of classes; got 2"):
        load_images(tmp_path)
