"""Errors that are the user's to mend, one sentence naming the argument, the rule and what came; and interruptions."""

import signal


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
