"""One run: its directory if it has one, its journal, its seconds over all sessions, and how it ends."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from freqkit.engine.journal import Journal, finish_tile_on_signal
from freqkit.engine.run_directory import RunDirectory
from freqkit.errors import Interrupted, UsageError


class CannotResume(UsageError):
    """What the run began with is not what is there now: run.json is left as if it had not been tried."""


class Session:
    """A run between its beginning and its end; made by `session`.

    Attributes:
        record: what run.json says, for the run to fill.
        earlier: run.json of the sessions before this one; empty when the run begins.
        journal: of the run, or None without a directory.
        path: where this rank writes results; None for those that write none.
        check: raises `Interrupted` once the run was asked to stop; to be called between tiles.
        measured: called whenever the record is noted down; what it gives goes on record.
    """

    def __init__(self, identity: dict, directory: RunDirectory | None, check: Callable[[], None], began: float):
        self._directory, self._began, self.check = directory, began, check
        self.earlier: dict = (directory.previous if directory else None) or {}
        self.journal: Journal | None = directory.journal if directory else None
        self.path: Path | None = directory.path if directory and directory.writes else None
        self._before = self.earlier.get("seconds", 0.0)
        self.measured: Callable[[], dict] = dict
        self.record: dict = {
            "status": "running",
            "identity": identity,
            "sessions": self.earlier.get("sessions", 0) + 1,
            "session_began": time.time(),
            "forwards_before": sum(self.journal.forwards().values()) if directory else 0,
        }

    def note_down(self, status: str = "running", **changes: object) -> None:
        """Put a state and facts on record, and write run.json when there is a directory."""
        seconds = round(self._before + time.monotonic() - self._began, 3)
        self.record.update({**changes, **self.measured()}, status=status, seconds=seconds)
        if self._directory:
            self._directory.write({key: value for key, value in self.record.items() if key != "identity"})

    def _stopped(self, error, note):
        if self._directory is None:
            return
        # On a full disk this fails as well; the first error is the one to report.
        with contextlib.suppress(OSError):
            self.journal.flush()
            if isinstance(error, CannotResume) and self.earlier:
                same = ("format", "identity", "launchers")
                self._directory.write({key: value for key, value in self.earlier.items() if key not in same})
            else:
                self.note_down("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
        if isinstance(error, Interrupted):
            note(f"stopped; continue with resume in {self._directory.path}")


@contextlib.contextmanager
def session(
    owner: str,
    identity: dict,
    out: str | Path | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    note: Callable[[str], None] = lambda sentence: None,
    signals: bool | None = None,
) -> Iterator[Session]:
    """A run of `owner`: "running" inside, "finished" after it, "interrupted" or "failed" when it raises.

    Args:
        identity: what the results depend on, see `RunDirectory`.
        out: directory of the run; None: nothing is written, and nothing can be resumed.
        resume, overwrite: see `RunDirectory`.
        note: told what a user should know of the journal, a restart, an interruption.
        signals: whether SIGINT and SIGTERM end the run between two tiles; None: when it has a directory.

    Raises:
        UsageError: the directory is refused.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp() + "/run"
        >>> with session("example", {"seed": 0}, folder) as run:
        ...     run.note_down(forwards=3)
        >>> with session("example", {"seed": 0}, folder, resume=True) as run:
        ...     run.earlier["status"], run.earlier["forwards"], run.record["sessions"]
        ('finished', 3, 2)
    """
    began = time.monotonic()
    if out is None and (resume or overwrite):
        raise UsageError(f"{owner}: resume and overwrite need out, the directory of the run.")
    with contextlib.ExitStack() as stack:
        directory, check = None, lambda: None
        if out is not None:
            directory = stack.enter_context(RunDirectory(out, identity, resume=resume, overwrite=overwrite))
            if directory.restarted:
                note(f"{directory.path}: started again by torchrun, going on.")
            if directory.journal.dropped:
                note(f"{directory.path}: dropped {directory.journal.dropped} damaged bytes at the journal's end.")
        if signals or (signals is None and directory):
            check = stack.enter_context(finish_tile_on_signal())
        run = Session(identity, directory, check, began)
        try:
            yield run
            run.note_down("finished")
        except BaseException as error:
            run._stopped(error, note)
            raise
