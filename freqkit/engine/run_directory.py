"""The folder of one run: refused, resumed or replaced, and never half-written."""

import contextlib
import json
import re
from pathlib import Path

from freqkit.engine import ranks
from freqkit.engine.journal import Journal
from freqkit.errors import UsageError
from freqkit.files.reading import reading
from freqkit.files.whole import read_run, write_json
from freqkit.models.wrap import NOT_IDENTIFIED, UNIDENTIFIED

# Every name that freqkit writes into a run directory; nothing else is ever removed.
_WRITTEN = (
    r"run\.json|stage-\d+\.safetensors|dfm(-[\d.]+)?\.safetensors|(removal|tested)\.safetensors"
    r"|classes\.csv|results\.csv|(dfms|filtered|curves|increase|summary)\.png|report\.html|run\.yaml"
    r"|examples\.safetensors"
    r"|(weights(-\d+)?|checkpoint|learning)\.safetensors|(history|learning)\.csv|(history|learning)\.png"
    r"|(groups|corruptions|scatter|gallery)-[\w.-]+\.png"
    r"|(pass-curves|critical-band|shape-bias|human-comparison)\.(safetensors|csv|png)"
    r"|profile\.(json|csv|png)"
)
_JOURNAL = r"journal(-\d+)?\.bin"
OWN_FILES = re.compile(rf"{_JOURNAL}|{_WRITTEN}|\.({_WRITTEN})\..*\.part")
FORMAT = "freqkit-run-1"


class RunDirectory:
    """Opens (and locks) the directory of a run; a context manager.

    With several ranks (`freqkit.engine.ranks`), every rank opens it and must see the same directory: rank 0 does what
    stands below and writes all results, the others append to a journal of their own. A run that the same torchrun
    began, before it started its processes again, is continued without being asked for.

    Args:
        path: created when absent, with its parents.
        identity: JSON-ready dict of everything that the results depend on; a resumed run must have the same.
        resume: continue what is there (or begin, when nothing is).
        overwrite: remove freqkit's own files first. Files that freqkit did not write stay.

    Attributes:
        journal: the run's `Journal`, or the part of it that this rank keeps.
        writes: whether this rank writes results.
        previous: run.json as found when resuming, else None.

    Raises:
        UsageError: the directory is not empty and neither `resume` nor `overwrite` is given; it holds files
            named like freqkit's that are not; another process works on it; the identity differs (the
            differing keys are named); it cannot be written.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp() + "/run"
        >>> with RunDirectory(folder, {"seed": 0}) as run:
        ...     run.write({"status": "finished"})
        >>> with RunDirectory(folder, {"seed": 1}, resume=True):
        ...     pass
        Traceback (most recent call last):
        ...
        freqkit.errors.UsageError: .../run: cannot resume, for the run differs in seed (there 0, now 1).
    """

    def __init__(self, path, identity, *, resume=False, overwrite=False):
        self.path = Path(path)
        self.identity = json.loads(json.dumps(identity))
        self.previous, self.restarted = None, False
        if resume and overwrite:
            raise UsageError("give either resume or overwrite, not both.")
        group = ranks.current()
        self.writes = group.first
        ranks.same_everywhere(self.identity, lambda theirs: differences(theirs, self.identity, "on rank 0", "here"))
        self.launchers = sorted({name for name in group.facts(group.launcher) if name})
        group.all_well(lambda: self._open(resume, overwrite) if group.first else None)
        self.previous, self.restarted = group.agree([self.previous, self.restarted])
        group.all_well(lambda: None if group.first else self._open_part(group.rank))

    def _open_part(self, rank):
        """The journal of a rank other than 0."""
        if not self.path.is_dir():
            raise UsageError(
                f"{self.path}: is not there for rank {rank}; the directory of a run must be shared by all machines."
            )
        self.journal = Journal(self.path / f"journal-{rank}.bin")

    def _open(self, resume, overwrite):
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            present = sorted(entry.name for entry in self.path.iterdir())
        except (OSError, NotADirectoryError) as error:
            raise UsageError(f"{self.path}: cannot be used as an output directory ({error.strerror}).") from error
        known = self._read(present)
        if known is not None and not {*known.get("launchers", ())}.isdisjoint(self.launchers):
            resume, overwrite, self.restarted = True, False, True
        if present and not (resume or overwrite):
            raise UsageError(
                f"{self.path}: the output directory is not empty ({', '.join(present[:3])}"
                f"{', ...' if len(present) > 3 else ''}); "
                "give resume to continue a run or overwrite to replace it."
            )
        if resume and known is not None:
            self._compare(known.get("identity", {}))
            self.previous = known
        try:
            self.journal = Journal(self.path / "journal.bin")
        except OSError as error:
            raise UsageError(f"{self.path}: cannot be written ({error.strerror}).") from error
        for name in present:
            # A killed run leaves the temporary file of the write it was in; killed while it replaced another, that
            # one's results without run.json.
            if _is_own(name) and (self.previous is None or name.endswith(".part")):
                (self.path / name).unlink()
        if self.previous is None:
            self.journal.clear()
        for part in sorted(self.path.glob("journal-*.bin")):
            if self.previous is not None:
                self.journal.absorb(part)
                self.journal.flush()
            part.unlink()
        if self.launchers and self.previous is None:
            # Or a restart would not know the run as its own before its first word.
            self.write({"status": "running"})

    def _read(self, present):
        """run.json, or None when there is none; refuses a directory whose look-alike files are not ours.

        A journal is there before anything else, and stays: with it they are.
        """
        if "run.json" in present:
            other = f"{self.path}: run.json there was not written by freqkit; choose another directory"
            try:
                known = read_run(self.path)
            except UsageError as error:
                raise UsageError(f"{other} ({str(error).removesuffix('.')}).") from error
            if known.get("format") != FORMAT:
                raise UsageError(f"{other}.")
            return known
        alike = [name for name in present if _is_own(name) and name[0] != "."]
        if alike and not Journal.is_one(self.path / "journal.bin"):
            raise UsageError(
                f"{self.path}: holds {alike[0]} but no run.json, so it was not written by freqkit; "
                "choose another directory."
            )
        return None

    def _compare(self, known):
        about = self.identity.get("model")
        if isinstance(about, dict) and about.get("state_sha256") == UNIDENTIFIED:
            raise UsageError(f"{self.path}: cannot resume, for the model is {NOT_IDENTIFIED}.")
        if known.get("device", "") is None:  # of a run begun before the model's own device was put on record
            known = {**known, "device": self.identity.get("device")}
        differing = differences(known, self.identity, "there", "now")
        if differing:
            raise UsageError(f"{self.path}: cannot resume, for the run differs in {differing}.")

    def write(self, record):
        """Write run.json: format, identity, and `record`. Only rank 0 does."""
        if self.writes:
            launched = {"launchers": self.launchers} if self.launchers else {}
            write_json(self.path / "run.json", {"format": FORMAT, "identity": self.identity, **launched, **record})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.journal.close()
        if not self.writes and not len(self.journal):
            self.journal.path.unlink(missing_ok=True)


def _is_own(name):
    """A file that freqkit writes, other than a journal."""
    return OWN_FILES.fullmatch(name) is not None and not re.fullmatch(_JOURNAL, name)


def differences(one, other, there, here):
    """`key (there ..., now ...)` for every entry in which two dicts differ."""
    return ", ".join(
        f"{key} ({there} {_short(one.get(key))}, {here} {_short(other.get(key))})"
        for key in sorted({*one, *other})
        if one.get(key) != other.get(key)
    )


def _short(value):
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def status(path):
    """What a live, dead or finished run has done so far, read without disturbing it.

    Returns:
        dict: search, status ("running", "finished", "interrupted", "failed", or "dead": it says running, but no
        process holds its journal), stage, stages_done, forwards_done (as journalled by all ranks), forwards_total
        (at most, where candidates are stopped), forwards_saved (as of the last stage: twins, and what stopping left
        out), rate (forwards
        per second of this session, None before any), seconds_left (at that rate, at most; None when unknown),
        seconds (as of the last stage), sessions, best (of the last stage, the class told apart best: class, tpr, fpr,
        loss), ranks (a list of host, pid, device, threads and, while it runs, forwards in its own journal); of a
        training also epochs_done and epochs_total.

    Raises:
        UsageError: the directory holds no run.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp() + "/run"
        >>> with RunDirectory(folder, {}) as run:
        ...     run.write({"status": "running", "forwards_total": 50})
        ...     run.journal.put("stage-1/0-2/0-5", loss=[1.0])
        >>> found = status(folder)
        >>> found["status"], found["forwards_done"], found["forwards_total"]
        ('dead', 10, 50)
    """
    path = Path(path)
    try:
        record = read_run(path)
        with reading(path / "journal.bin", "the journal of a run"):
            keys, held = Journal.peek(path / "journal.bin")
    except UsageError as error:
        raise UsageError(f"{path}: holds no readable freqkit run ({str(error).removesuffix('.')}).") from error
    if record.get("format") != FORMAT:
        raise UsageError(f"{path}: run.json there was not written by freqkit.")
    names = ("status", "stage", "stages_done", "forwards_total", "forwards_saved", "seconds", "sessions", "best")
    identity = record.get("identity", {})
    known = {"search": identity.get("search", identity.get("measure")), **{name: record.get(name) for name in names}}
    if record.get("kind") == "training":
        recipe = record.get("identity", {}).get("recipe", {})
        known.update(search="training", epochs_done=record.get("epochs_done", 0), epochs_total=recipe.get("epochs"))
    tiles, seen = dict(keys), (path / "journal.bin").stat().st_mtime
    known["ranks"] = [dict(rank) for rank in record.get("ranks") or ()]
    for part in path.glob("journal-*.bin"):
        with contextlib.suppress(FileNotFoundError):  # moved to journal.bin meanwhile
            own, _ = Journal.peek(part)
            seen = max(seen, part.stat().st_mtime)
            tiles.update(own)
            number = int(part.stem.partition("-")[2])
            if number < len(known["ranks"]):
                known["ranks"][number]["forwards"] = sum(own.values())
    known["forwards_done"] = sum(tiles.values())
    if known["status"] == "running" and not held:
        known["status"] = "dead"
    known["rate"] = known["seconds_left"] = None
    began, before = record.get("session_began"), record.get("forwards_before", 0)
    if began is not None and seen > began and known["forwards_done"] > before:
        known["rate"] = (known["forwards_done"] - before) / (seen - began)
        if known["forwards_total"] is not None:
            left = known["forwards_total"] - known["forwards_done"] - (known["forwards_saved"] or 0)
            known["seconds_left"] = 0.0 if known["status"] == "finished" else max(left, 0) / known["rate"]
    return known
