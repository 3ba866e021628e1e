"""What a command prints of a measure's result."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Printed:
    """What `printed(result)` in a measure's file gives.

    Attributes:
        facts: what --json prints, beside the whole images.
        columns: (heading, form) of each; form: "text", "count", "%", "0%" (no decimals) or "number".
        rows: the values of each row; a pair is shown as an interval.
        title, note: lines above and below the table.
        last: a row of its own below the others.
        cautions: sentences before the table. verdict: one after it.
    """

    facts: dict
    columns: Sequence[tuple[str, str]]
    rows: Sequence[Sequence[Any]]
    title: str
    note: str | None = None
    last: Sequence[Any] | None = None
    cautions: Sequence[str] = ()
    verdict: str | None = None
