"""What may happen to a run's folder."""

import json
import os

import pytest

from freqkit.engine import RunDirectory
from freqkit.errors import UsageError

IDENTITY = {"seed": 0, "model": {"state_sha256": "abc"}}


def begin(path, **how):
    with RunDirectory(path, IDENTITY, **how) as run:
        run.write({"status": "running"})
        run.journal.put("a", x=[1])


def test_a_used_directory_is_refused_without_resume_or_overwrite(tmp_path):
    begin(tmp_path / "deep" / "run")
    with pytest.raises(UsageError, match=r"not empty \(journal.bin, run.json\); give resume .* or overwrite"):
        begin(tmp_path / "deep" / "run")


def test_resume_keeps_the_journal_and_overwrite_clears_it(tmp_path):
    begin(tmp_path)
    with RunDirectory(tmp_path, IDENTITY, resume=True) as run:
        assert len(run.journal) == 1 and run.previous["status"] == "running"
    with RunDirectory(tmp_path, {"seed": 9}, overwrite=True) as run:
        assert len(run.journal) == 0 and run.previous is None
        assert not (tmp_path / "run.json").exists()


def test_resume_of_nothing_begins(tmp_path):
    with RunDirectory(tmp_path / "new", IDENTITY, resume=True) as run:
        assert run.previous is None


def test_a_differing_identity_is_named(tmp_path):
    begin(tmp_path)
    with pytest.raises(UsageError, match=r"differs in model \(.*abc.*now .*xyz.*\), seed \(there 0, now 1\)"):
        RunDirectory(tmp_path, {"seed": 1, "model": {"state_sha256": "xyz"}}, resume=True)


def test_overwrite_removes_only_its_own_files(tmp_path):
    begin(tmp_path)
    for name in ("stage-1.safetensors", "dfm.safetensors", "classes.csv", "dfms.png", "report.html"):
        (tmp_path / name).write_text("old")
    (tmp_path / "thesis.tex").write_text("mine")
    (tmp_path / "stage-1.safetensors.bak").write_text("mine")
    with RunDirectory(tmp_path, IDENTITY, overwrite=True):
        left = sorted(entry.name for entry in tmp_path.iterdir())
    assert left == ["journal.bin", "stage-1.safetensors.bak", "thesis.tex"]


@pytest.mark.parametrize("how", ["resume", "overwrite"])
def test_files_of_others_are_never_taken_for_ours(tmp_path, how):
    (tmp_path / "run.json").write_text(json.dumps({"job": 7}))
    with pytest.raises(UsageError, match=r"run\.json there was not written by freqkit"):
        RunDirectory(tmp_path, IDENTITY, **{how: True})
    (tmp_path / "run.json").rename(tmp_path / "classes.csv")
    with pytest.raises(UsageError, match=r"holds classes\.csv but no run\.json"):
        RunDirectory(tmp_path, IDENTITY, **{how: True})
    assert (tmp_path / "classes.csv").read_text() == '{"job": 7}'


def test_two_at_once_are_refused_and_nothing_is_touched(tmp_path):
    begin(tmp_path)
    with RunDirectory(tmp_path, IDENTITY, resume=True) as run:
        with pytest.raises(UsageError, match="another process"):
            RunDirectory(tmp_path, IDENTITY, overwrite=True)
        assert (tmp_path / "run.json").exists() and len(run.journal) == 1


def test_a_path_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="file: cannot be used as an output directory"):
        RunDirectory(tmp_path / "file", IDENTITY)
    with pytest.raises(UsageError, match="cannot be used as an output directory"):
        RunDirectory("/proc/nothing/here", IDENTITY)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_directory_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="cannot be written"):
        RunDirectory(tmp_path, IDENTITY)


@pytest.mark.parametrize("how", ["resume", "overwrite"])
def test_a_run_killed_while_it_replaced_another_is_begun_anew(tmp_path, how):
    """Its run.json is gone, results of the other are not: the journal tells that they are freqkit's."""
    begin(tmp_path)
    (tmp_path / "stage-3.safetensors").write_text("of the other")
    (tmp_path / "run.yaml").write_text("of the other")
    (tmp_path / "run.json").unlink()
    with RunDirectory(tmp_path, {"seed": 9}, **{how: True}) as run:
        assert run.previous is None and len(run.journal) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["journal.bin"]


def test_results_beside_another_kind_of_journal_are_not_ours(tmp_path):
    (tmp_path / "journal.bin").write_bytes(b"dear diary")
    (tmp_path / "run.yaml").write_text("mine")
    with pytest.raises(UsageError, match=r"holds run\.yaml but no run\.json"):
        RunDirectory(tmp_path, IDENTITY, overwrite=True)
    assert (tmp_path / "run.yaml").read_text() == "mine"
