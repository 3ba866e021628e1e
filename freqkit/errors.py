"""Errors that are the user's to mend: one sentence naming the argument, the rule and what came."""


class UsageError(ValueError):
    """Bad input from the user; the command line prints it as one sentence and exits with code 2."""


class BadImageError(UsageError):
    """A file in an image folder could not be decoded."""
