"""The folder of one run: refused, resumed or replaced, and never half-written."""

import json
import re
from pathlib import Path

from freqkit.engine.journal import Journal
from freqkit.errors import UsageError
from freqkit.results.files import write_json

# Every name that freqkit writes into a run directory; nothing else is ever removed.
_WRITTEN = (
    r"run\.json|stage-\d+\.safetensors|dfm(-[\d.]+)?\.safetensors|removal\.safetensors"
    r"|classes\.csv|(dfms|filtered|curves|increase)\.png|report\.html"
    r"|(weights(-\d+)?|checkpoint|learning)\.safetensors|(history|learning)\.csv|(history|learning)\.png"
)
OWN_FILES = re.compile(rf"journal\.bin|{_WRITTEN}|\.({_WRITTEN})\..*\.part")
FORMAT = "freqkit-run-1"


class RunDirectory:
    """Opens (and locks) the directory of a run; a context manager.

    Args:
        path: created when absent, with its parents.
        identity: JSON-ready dict of everything that the results depend on; a resumed run must have the same.
        resume: continue what is there (or begin, when nothing is).
        overwrite: remove freqkit's own files first. Files that freqkit did not write stay.

    Attributes:
        journal: the run's `Journal`.
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
        self.previous = None
        if resume and overwrite:
            raise UsageError("give either resume or overwrite, not both.")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            present = sorted(entry.name for entry in self.path.iterdir())
        except (OSError, NotADirectoryError) as error:
            raise UsageError(f"{self.path}: cannot be used as an output directory ({error.strerror}).") from error
        known = self._read(present)
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
            # A killed run leaves the temporary file of the write it was in.
            unfinished = name.endswith(".part")
            if OWN_FILES.fullmatch(name) and name != "journal.bin" and (overwrite or unfinished):
                (self.path / name).unlink()
        if self.previous is None:
            self.journal.clear()

    def _read(self, present):
        """run.json, or None when there is none; refuses a directory whose look-alike files are not ours."""
        if "run.json" in present:
            try:
                known = json.loads((self.path / "run.json").read_text(encoding="utf-8"))
            except (ValueError, OSError):
                known = None
            if not isinstance(known, dict) or known.get("format") != FORMAT:
                raise UsageError(f"{self.path}: run.json there was not written by freqkit; choose another directory.")
            return known
        alike = [name for name in present if OWN_FILES.fullmatch(name) and name != "journal.bin" and name[0] != "."]
        if alike:
            raise UsageError(
                f"{self.path}: holds {alike[0]} but no run.json, so it was not written by freqkit; "
                "choose another directory."
            )
        return None

    def _compare(self, known):
        differing = [
            f"{key} (there {_short(known.get(key))}, now {_short(self.identity.get(key))})"
            for key in sorted({*known, *self.identity})
            if known.get(key) != self.identity.get(key)
        ]
        if differing:
            raise UsageError(f"{self.path}: cannot resume, for the run differs in {', '.join(differing)}.")

    def write(self, record):
        """Write run.json: format, identity, and `record`."""
        write_json(self.path / "run.json", {"format": FORMAT, "identity": self.identity, **record})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.journal.close()


def _short(value):
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def status(path):
    """What a live, dead or finished run has done so far, read without disturbing it.

    Returns:
        dict: status ("running", "finished", "interrupted", "failed", or "dead": it says running, but no process holds
        its journal), stage, stages_done, forwards_done (of the current stage and those before, as journalled),
        forwards_total (at most, with racing), seconds (as of the last stage), sessions.

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
        record = json.loads((path / "run.json").read_text(encoding="utf-8"))
        keys, held = Journal.peek(path / "journal.bin")
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: holds no readable freqkit run.") from error
    known = {
        key: record.get(key) for key in ("status", "stage", "stages_done", "forwards_total", "seconds", "sessions")
    }
    if known["status"] == "running" and not held:
        known["status"] = "dead"
    known["forwards_done"] = sum(_pairs(key) for key in keys)
    return known


def _pairs(key):
    """Forwards of a tile, from the two ranges that end its key."""
    product = 1
    for part in key.split("/")[-2:]:
        first, last = part.split("-")
        product *= int(last) - int(first)
    return product
