"""Files and folders that are whole or absent, whatever a killed process left."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import freqkit
from freqkit.data import load_images, synthetic, write_image_folder
from freqkit.files.whole import atomic_folder, atomic_write

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(freqkit.__file__).resolve().parents[1])}
WRITING = """
import sys
from freqkit.files.whole import {0}
with {0}(sys.argv[1]) as made:
    print("begun", flush=True)
    sys.stdin.read()
"""


def writer(what, path):
    """A process in the middle of writing."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITING.format(what), path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=ENVIRONMENT,
    )  # fmt: skip
    assert process.stdout.readline() == "begun\n"
    return process


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("what", ["atomic_write", "atomic_folder"])
def test_what_a_killed_writer_left_goes_and_what_a_live_one_has_stays(tmp_path, what):
    target = tmp_path / "found"
    killed, live = writer(what, target), writer(what, target)
    assert len(names(tmp_path)) == 2 and not target.exists()
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    (tmp_path / ".found.txt").write_text("another's")
    for make in (atomic_write, atomic_folder):
        with make(tmp_path / "found") as made:
            if make is atomic_folder:
                (made / "a").write_text("whole")
            else:
                made.write(b"whole")
        if make is atomic_write:
            (tmp_path / "found").unlink()
    assert len(names(tmp_path)) == 3  # the live one's, the other's, found
    assert (target / "a").read_text() == "whole"
    live.kill()
    live.communicate()
    with atomic_write(target.with_name("found2")) as file:
        file.write(b"1")
    assert {".found.txt", "found", "found2"} <= set(names(tmp_path))


def test_a_folder_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(OSError, match="full"), atomic_folder(tmp_path / "deep" / "images") as folder:
        (folder / "a").write_text("half")
        raise OSError("full")
    assert names(tmp_path / "deep") == []


def test_the_working_directory_stays_the_folder_that_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = os.stat(".").st_ino
    write_image_folder(synthetic(1, images_per_class=2), ".")
    assert os.stat(tmp_path).st_ino == before and names(tmp_path) == ["C0", "C1", "C2", "C3"]
    assert len(load_images(tmp_path, image_size=32)) == 8


def test_an_image_folder_has_the_rights_of_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        write_image_folder(synthetic(1, images_per_class=1), tmp_path / "images")
    finally:
        os.umask(old)
    assert (tmp_path / "images").stat().st_mode & 0o777 == 0o750
