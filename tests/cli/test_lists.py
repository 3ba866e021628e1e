"""Lists of names: one reader for all of them, and no two labels become one."""

import shutil
import unicodedata

import numpy as np
import pytest
import torch

from freqkit.data import class_list, load_images, open_sets, synthetic, write_image_folder, write_npy
from freqkit.data.check import as_sums, checksums, read_sums
from freqkit.data.class_lists import order_note, read_lines, read_names
from freqkit.data.test_sets.counterparts import read_class_map
from freqkit.errors import MissingFile, UsageError
from freqkit.masks import DfmFile, load_dfm, low_pass, save_dfm

GOOD = {
    "plain": b"cat\nowl\n",
    "no last end": b"cat\nowl",
    "CRLF": b"cat\r\nowl\r\n",
    "CR": b"cat\rowl\r",
    "mark": b"\xef\xbb\xbfcat\nowl\n",
    "blanks": b"\n  cat \n\t\n\nowl\t\n\n",
}
BAD = {
    "two": (b"cat\ncat\nowl\n", r"'cat' stands twice, as line 1 and as line 2"),
    "two spellings": ("é\ne\u0301\n".encode(), r"stands twice, as line 1 and as line 2"),
    "Latin-1": ("cat\nété\n".encode("latin1"), r"it is no UTF-8 text \(byte 4\)"),
    "UTF-16": ("cat\nowl\n".encode("utf-16"), "it is UTF-16, no UTF-8; save it as UTF-8"),
    "UTF-16 without mark": ("cat\nowl\n".encode("utf-16-le"), "it is no text"),
    "empty": (b"", "it is empty"),
    "blank": (b"\n \n\t\n", "it holds no name"),
    "mark alone": (b"\xef\xbb\xbf", "it holds no name"),
    "mark within": ("cat\n\ufeffowl\n".encode(), "must hold no byte-order mark; line 2 is"),
    "escape": (b"cat\n\x1b[2Jowl\n", r"must hold no control character; line 2 is '\\x1b\[2Jowl'"),
    "NEL": ("a\x85b\nowl\n".encode(), r"must hold no control character; line 1 is 'a\\x85b'"),
    "long": (b"cat\n" + b"x" * 5000, "must have at most 1000 characters; line 2 is"),
    "longer": (b"x" * 100_000, "line 1 has 100000 characters"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n", "Git LFS pointer"),
    "picture": (b"\x89PNG\r\n\x1a\n\0\0\0", "it is no UTF-8 text"),
}


@pytest.mark.parametrize("kind", GOOD)
def test_names_are_read(tmp_path, kind):
    (tmp_path / "names.txt").write_bytes(GOOD[kind])
    assert read_names(tmp_path / "names.txt") == ["cat", "owl"]


def test_separators_of_unicode_end_no_line(tmp_path):
    names = ["a\u2028b", "c\u2029d", "naïve owl", "猫", "a\\nb", "$\\frac{$"]
    (tmp_path / "names.txt").write_text("".join(f"{name}\n" for name in names), "utf-8")
    assert read_names(tmp_path / "names.txt") == names


@pytest.mark.parametrize("kind", BAD)
def test_names_are_refused(tmp_path, kind):
    data, sentence = BAD[kind]
    (tmp_path / "names.txt").write_bytes(data)
    with pytest.raises(UsageError, match=rf"(?s)names\.txt.*{sentence}") as caught:
        read_names(tmp_path / "names.txt")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400


def test_a_list_that_is_not_there(tmp_path):
    with pytest.raises(MissingFile, match="there is no such file"):
        read_names(tmp_path / "no.txt")
    with pytest.raises(UsageError, match="it is a folder"):
        read_names(tmp_path)


def two(root):
    np.save(root / "train_data.npy", np.zeros((3, 8, 8), np.uint8))
    np.save(root / "train_label.npy", np.arange(3))


@pytest.mark.parametrize("kind", BAD)
def test_every_command_reads_lists_so(tmp_path, run, kind, maps):
    """`classes.txt` of an npy set, --classes of three commands, a class map, checksums."""
    bad = tmp_path / "bad.txt"
    bad.write_bytes(BAD[kind][0])
    (tmp_path / "npy").mkdir()
    two(tmp_path / "npy")
    shutil.copy(bad, tmp_path / "npy" / "classes.txt")
    write_image_folder(synthetic(1, images_per_class=1), tmp_path / "set")
    calls = [
        ["adcs", "--data", tmp_path / "npy", "--image-size", "8", "--out", tmp_path / "a.safetensors"],
        ["adcs", "--data", tmp_path / "set", "--image-size", "8", "--classes", bad, "--out", tmp_path / "a"],
        ["masks", "import", maps, "--classes", bad, "--out", tmp_path / "m.safetensors"],
        ["evaluate", "--model", "small_convnet", "--num-classes", "4", "--on", f"mine={tmp_path / 'set'}",
         "--classes", bad, "--out", tmp_path / "e"],
    ]  # fmt: skip
    if not kind.startswith(("two", "mark within", "NEL", "escape", "long")):
        calls += [
            ["evaluate", "--model", "small_convnet", "--num-classes", "4", "--on", f"sct={tmp_path / 'set'}",
             "--class-map", bad, "--out", tmp_path / "e"],
            ["data", "check", tmp_path / "set", "--sums", bad],
        ]  # fmt: skip
    for call in calls:
        result = run(*call)
        assert result.exit_code == 2, (call, result.stderr)
        assert (".txt" in result.stderr) and "Error" not in result.stderr.replace("Error:", "")
        assert not (tmp_path / "e").exists() and not list(tmp_path.glob("*.safetensors"))


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    import pickle

    file = tmp_path_factory.mktemp("maps") / "maps.pkl"
    file.write_bytes(pickle.dumps({i: np.ones((8, 8)) for i in range(2)}))
    return file


def test_masks_import_takes_a_list_with_a_mark(tmp_path, run, maps):
    (tmp_path / "names.txt").write_bytes(b"\xef\xbb\xbfcat\r\nowl\r\n")
    out = tmp_path / "m.safetensors"
    assert run("masks", "import", maps, "--classes", tmp_path / "names.txt", "--out", out).exit_code == 0
    assert load_dfm(out).classes == ["cat", "owl"]


def test_maps_of_decomposed_names_meet_their_images(tmp_path, run, weights):
    images = synthetic(1, images_per_class=2)
    write_image_folder(images, tmp_path / "set")
    (tmp_path / "set" / "C1").rename(tmp_path / "set" / "cafe\u0301")
    names = ["C0", "cafe\u0301", "C2", "C3"]
    save_dfm(tmp_path / "dfm.safetensors", DfmFile(torch.stack([low_pass(32, 6)] * 4), names))
    assert load_dfm(tmp_path / "dfm.safetensors").classes == ["C0", "café", "C2", "C3"]
    model = ["--model", "small_convnet", "--weights", weights, "--num-classes", "4"]
    maps = tmp_path / "dfm.safetensors"
    result = run("rates", *model, "--data", tmp_path / "set", "--dfm", maps, "--out", tmp_path / "r.safetensors")
    assert result.exit_code == 0, result.stderr


def test_a_class_that_stands_twice_merges_no_labels(tmp_path):
    two(tmp_path)
    (tmp_path / "classes.txt").write_text("cat\ncat\nowl\n")
    with pytest.raises(UsageError, match=r"classes.txt: classes must be distinct names; 'cat' stands twice"):
        load_images(tmp_path)
    (tmp_path / "classes.txt").write_text("cat\ndog\nowl\n")
    assert load_images(tmp_path).labels.tolist() == [0, 1, 2]
    with pytest.raises(UsageError, match="stands twice"):
        load_images(tmp_path, classes=["cat", "dog", "owl", "cat"])


def test_shipped_lists_hold_every_name_once():
    for name, count in (("imagenet", 1000), ("imagenet-r", 200), ("imagenet-a", 200), ("cifar100", 100)):
        assert len(set(class_list(name))) == count


def test_names_in_either_spelling_are_one(tmp_path):
    """macOS writes folders decomposed, editors lists composed."""
    images = synthetic(1, images_per_class=1)
    write_image_folder(images, tmp_path / "set")
    for old, new in (("C0", "cafe\u0301"), ("C1", "naïve")):
        (tmp_path / "set" / old).rename(tmp_path / "set" / new)
    names = ["C2", "café", "C3", unicodedata.normalize("NFD", "naïve")]
    found = load_images(tmp_path / "set", image_size=32, classes=names)
    assert found.classes == ["C2", "café", "C3", "naïve"] and sorted(found.labels.tolist()) == [0, 1, 2, 3]
    assert load_images(tmp_path / "set", image_size=32).classes == ["C2", "C3", "café", "naïve"]
    [opened] = open_sets([f"mine={tmp_path / 'set'}"])
    assert opened.classes == ["C2", "C3", "café", "naïve"]
    (tmp_path / "set" / "café").mkdir()
    for read in (lambda: load_images(tmp_path / "set", image_size=32), lambda: open_sets([f"mine={tmp_path / 'set'}"])):
        with pytest.raises(UsageError, match="stands twice"):
            read()


@pytest.mark.parametrize("name", ["a\nb", "a\rb", "a\x85b", "a\x1b[0m", "\ud800", "", " ", "x" * 2000])
def test_names_that_no_line_holds_are_not_written(tmp_path, name):
    images = synthetic(1, images_per_class=1)
    images.classes[1] = name
    with pytest.raises(UsageError, match="write_npy: the name of a class must"):
        write_npy(images, tmp_path / "npy")
    assert not (tmp_path / "npy").exists() or not list((tmp_path / "npy").iterdir())
    images.paths = [f"{images.classes[label]}/{i}.png" for i, label in enumerate(images.labels.tolist())]
    with pytest.raises((UsageError, ValueError)):
        write_image_folder(images, tmp_path / "set")
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("name", ["a\u2028b", "a\\nb", "é", "=x", "a b", "猫", "#1", "'", '"'])
def test_names_survive_a_round_trip(tmp_path, name):
    images = synthetic(1, images_per_class=2)
    images.classes[1] = name
    images.paths = [f"{images.classes[label]}/{i}.png" for i, label in enumerate(images.labels.tolist())]
    write_npy(images, tmp_path / "npy")
    back = load_images(tmp_path / "npy")
    assert back.classes == images.classes and torch.equal(back.labels, images.labels)
    write_image_folder(images, tmp_path / "set")
    back = load_images(tmp_path / "set", image_size=32, classes=images.classes)
    assert sorted(back.labels.tolist()) == sorted(images.labels.tolist()) and back.classes == images.classes


def test_a_folder_of_such_a_name_is_refused(tmp_path, run):
    write_image_folder(synthetic(1, images_per_class=1), tmp_path / "set")
    for name, words in (("a\nb", "must hold no control character"), ("a\x85b", "must hold no control character")):
        (tmp_path / "set" / "C0").rename(tmp_path / "set" / name)
        for read in (
            lambda: load_images(tmp_path / "set", image_size=8),
            lambda: open_sets([f"mine={tmp_path / 'set'}"]),
        ):
            with pytest.raises(UsageError, match=words) as caught:
                read()
            assert str(caught.value).isprintable()
        (tmp_path / "set" / name).rename(tmp_path / "set" / "C0")


@pytest.mark.parametrize("which", ["folder", "file"])
def test_names_that_are_not_utf8_are_refused(tmp_path, run, weights, which):
    write_image_folder(synthetic(1, images_per_class=2), tmp_path / "set")
    inside = tmp_path / "set" / "C0"
    if which == "folder":
        inside.rename(tmp_path / "set" / "\udce9t\udce9")
    else:
        next(iter(inside.iterdir())).rename(inside / "\udce9.png")
    model = ["--model", "small_convnet", "--weights", weights, "--num-classes", "4"]
    data = tmp_path / "set"
    for call in (
        ["search", *model, "--data", data, "--candidates", "2", "--stages", "1", "--top", "1", "--out", tmp_path / "o"],
        ["adcs", "--data", data, "--image-size", "16", "--out", tmp_path / "o"],
        ["data", "check", data],
        ["evaluate", *model, "--on", f"mine={data}", "--out", tmp_path / "o"],
    ):
        result = run(*call)
        assert result.exit_code == 2 and "must be UTF-8" in result.stderr, (call, result.stderr)
        assert "\\udce9" in result.stderr and not (tmp_path / "o").exists()


def test_numbered_folders_are_noted(tmp_path, run, weights):
    """As text 10 comes before 2: label 2 would be folder 10."""
    images = synthetic(1, images_per_class=3)
    images.classes = [str(i) for i in range(12)]
    images.labels = torch.arange(12)
    images.paths = [f"{i}/a.png" for i in range(12)]
    write_image_folder(images, tmp_path / "set")
    found = load_images(tmp_path / "set", image_size=32)
    words = "numbered class folders are sorted as text (0, 1, 10, 11, 2, ...), so label 2 is folder '10'"
    [note] = found.record["notes"]
    assert found.classes[2] == "10" and words in note and "--classes FILE" in note
    assert load_images(tmp_path / "set", image_size=32, classes=images.classes).record.get("notes") is None
    assert words in open_sets([f"mine={tmp_path / 'set'}"])[0].notes[0]
    result = run("adcs", "--data", tmp_path / "set", "--image-size", "32", "--out", tmp_path / "a.safetensors")
    assert result.exit_code == 0 and words in " ".join(result.stderr.split())
    assert words in " ".join(run("data", "check", tmp_path / "set").stderr.split())
    result = run("doctor", "--on", f"mine={tmp_path / 'set'}")
    assert "sorted as text" in " ".join((result.stdout + result.stderr).split()), result.stdout + result.stderr
    # the remedy
    (tmp_path / "names.txt").write_text("".join(f"{i}\n" for i in range(12)))
    again = load_images(tmp_path / "set", image_size=32, classes=tmp_path / "names.txt")
    assert again.classes[2] == "2" and again.paths[2] == "2/a.png" and found.paths[2] == "10/a.png"
    assert [again.classes[label] for label in again.labels] == [path.split("/")[0] for path in again.paths]


def test_when_folders_are_numbers():
    assert order_note([str(i) for i in range(10)]) is None
    assert order_note(["00", "01", "10"]) is None
    assert order_note(["class1", "class10", "class2"]) is not None
    assert order_note(["n01440764", "n01443537"]) is None
    assert order_note([]) is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("sedan car\n", r"line 1 is 'sedan car'"),
        ("a = b\nsedan =\n", r"line 2 is 'sedan ='"),
        ("a = b\na = c\n", "'a' stands twice"),
        ("a = b\nc = b\n", "every class must have one counterpart"),
        ("# nothing\n", "it names no counterpart"),
        ("e\u0301 = b\né = c\n", "stands twice"),
    ],
)
def test_class_maps(tmp_path, text, sentence):
    file = tmp_path / "map.txt"
    file.write_text(text, "utf-8")
    with pytest.raises(UsageError, match=sentence):
        read_class_map(file)
    file.write_bytes(b"\xef\xbb\xbf# a comment\r\n sedan = car \r\n\r\nferry boat = ship")
    assert read_class_map(file) == {"sedan": "car", "ferry boat": "ship"}


def test_sums(tmp_path, run):
    write_image_folder(synthetic(1, images_per_class=1), tmp_path / "set")
    (tmp_path / "set" / "C0").rename(tmp_path / "set" / "a\u2028e\u0301")
    assert run("data", "check", tmp_path / "set", "--write-sums", tmp_path / "sums").exit_code == 0
    there = checksums(tmp_path / "set")
    assert read_sums(tmp_path / "sums") == there and len(there) == 4
    (tmp_path / "sums").write_bytes(b"\xef\xbb\xbf" + as_sums(there).replace("\n", "\r\n").encode())
    assert run("data", "check", tmp_path / "set", "--sums", tmp_path / "sums").exit_code == 0
    (tmp_path / "sums").write_text(f"{'0' * 64}  a\n{'1' * 64}  a\n")
    with pytest.raises(UsageError, match="line 2 gives 'a' another"):
        read_sums(tmp_path / "sums")
    with pytest.raises(UsageError, match="must be on one line"):
        as_sums({"a\nb": "0" * 64})


def test_lines_have_numbers(tmp_path):
    (tmp_path / "a").write_bytes(b"\n x\r\n\ny\n")
    assert read_lines(tmp_path / "a") == [(2, "x"), (4, "y")]
