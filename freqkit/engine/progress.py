"""What a long run tells whoever watches it."""

from typing import Protocol, runtime_checkable


@runtime_checkable
class Progress(Protocol):
    """The events of a long run; rate and time left are the watcher's arithmetic.

    A run calls `start` once per piece of work (a stage), `advance` after every tile, `finish` at its end,
    also when it ends by an exception, and `note` for a sentence that the user should see (a fallback, a
    resumed journal).
    """

    def start(self, title: str, total: int, unit: str = "forwards") -> None:
        """A piece of work of `total` units begins."""

    def advance(self, amount: int, **facts) -> None:
        """`amount` units are done; `facts` may hold `resumed=True` (read from the journal) or `saved=True`
        (not needed: the same effective mask is scored already)."""

    def finish(self) -> None:
        """The piece of work that began last is over."""

    def note(self, sentence: str) -> None:
        """Something worth a line happened."""


class Silent:
    """A watcher that does nothing but turn notes into Python warnings, so that none is lost.

    Example:
        >>> isinstance(Silent(), Progress)
        True
    """

    def start(self, title, total, unit="forwards"):
        pass

    def advance(self, amount, **facts):
        pass

    def finish(self):
        pass

    def note(self, sentence):
        import warnings

        warnings.warn(sentence, RuntimeWarning, stacklevel=3)
