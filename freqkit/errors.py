"""Errors that are the user's to mend, one sentence naming the argument, the rule and what came; and interruptions."""

import os
import signal
import threading
from contextlib import contextmanager


class UsageError(ValueError):
    """Bad input from the user; the command line prints it as one sentence and exits with code 2."""


class BadImageError(UsageError):
    """A file in an image folder could not be decoded."""


class MissingFile(UsageError, FileNotFoundError):
    """A file that was named is not there; a FileNotFoundError as well."""


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop (`.signal`), finished its tile and wrote it down."""

    def __init__(self, number, kept="after writing the last finished tile"):
        self.signal = number
        super().__init__(f"stopped by {signal.Signals(number).name} {kept}".rstrip())


@contextmanager
def stopped_by_sigterm():
    """SIGTERM raises `Interrupted` inside the block, so that files are put away and states written.

    Outside the main thread, where Python allows no handlers, and where another handler is at work, it keeps its
    meaning.

    Example:
        >>> with stopped_by_sigterm():
        ...     pass
    """
    own = threading.current_thread() is threading.main_thread()
    if not own or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def stop(number, frame):
        raise Interrupted(number, "")

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def environment_count(name, least, default=None):
    """A whole number from the environment, such as torchrun's WORLD_SIZE.

    Raises:
        UsageError: it is set, and is no whole number of at least `least`.

    Example:
        >>> environment_count("FREQKIT_NO_SUCH_NAME", 0, 7)
        7
    """
    text = os.environ.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdecimal() or len(text) > 9 or int(text) < least:
        shown = ascii(text if len(text) <= 40 else text[:40] + "...")
        raise UsageError(f"{name} in the environment must be a whole number of at least {least}; got {shown}.")
    return int(text)


def torchrun():
    """(rank, number of ranks, rank on this machine) as torchrun's environment has them; (0, 1, 0) without it.

    Raises:
        UsageError: RANK, WORLD_SIZE, LOCAL_RANK or MASTER_PORT is no number, the rank is none of the ranks, or there
            are several ranks and MASTER_ADDR or MASTER_PORT is missing.

    Example:
        >>> torchrun()
        (0, 1, 0)
    """
    size = environment_count("WORLD_SIZE", 1, 1)
    rank = environment_count("RANK", 0, 0)
    local = environment_count("LOCAL_RANK", 0, 0)
    port = environment_count("MASTER_PORT", 0)
    if rank >= size:
        raise UsageError(f"RANK={rank} in the environment must be less than WORLD_SIZE={size}.")
    if size > 1:
        given = {"RANK": os.environ.get("RANK"), "MASTER_ADDR": os.environ.get("MASTER_ADDR"), "MASTER_PORT": port}
        missing = [name for name, value in given.items() if value in (None, "")]
        if missing:
            raise UsageError(
                f"WORLD_SIZE={size} in the environment needs {', '.join(missing)} as well, which torchrun sets; "
                "without torchrun unset WORLD_SIZE."
            )
    if port is not None and port > 65535:
        raise UsageError(f"MASTER_PORT={port} in the environment must be at most 65535.")
    return rank, size, local
