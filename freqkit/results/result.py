"""What every result can do: be written, read, drawn, shown as a table, and told as tidy rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from freqkit.files.reading import read_tensors
from freqkit.files.whole import write_csv, write_safetensors


def versions(**more) -> dict:
    """Of freqkit and torch, for a record."""
    import freqkit

    return {"freqkit": freqkit.__version__, "torch": torch.__version__, **more}


@dataclass(frozen=True)
class TensorFile:
    """How a kind of result stands in a safetensors file. Declared once, it is written and read.

    Attributes:
        format: its name, in the header.
        expected: what the file should be, in errors: "a rates file".
        tensors: name -> "dtype sizes"; facts: name -> kind, the entries of the header, as JSON; sizes: see
            `freqkit.files.reading.read_tensors`. A tensor whose name ends in "?" may be None, and is then not written.
        packed: "beside" or "within": the facts are one entry of the header, "freqkit", and where the format's name is.
        more: further entries of the header.
    """

    format: str
    expected: str
    tensors: dict
    facts: dict
    sizes: dict = field(default_factory=lambda: {"C": "classes"})
    packed: str = ""
    more: dict = field(default_factory=dict)

    def write(self, path, values: dict) -> None:
        """Write tensors and facts, atomically.

        Args:
            values: both by name; what else it holds is left out.
        """
        names = [name.rstrip("?") for name in self.tensors]
        tensors = {name: values[name] for name in names if values[name] is not None}
        facts = {name: values[name] for name in (each.rstrip("?") for each in self.facts)}
        named = {"format": self.format}
        if self.packed:
            packed = {**facts, **named} if self.packed == "within" else facts
            header = {"freqkit": json.dumps(packed, sort_keys=True), **(named if self.packed == "beside" else {})}
        else:
            header = {**named, **self.more, **{name: json.dumps(value) for name, value in facts.items()}}
        write_safetensors(path, tensors, header)

    def read(self, path) -> dict:
        """Tensors and facts by name.

        Raises:
            UsageError: the file is none of this kind.
        """
        tensors, facts = read_tensors(
            path, self.expected, format=self.format, tensors=self.tensors, facts=self.facts, sizes=self.sizes
        )
        return {**tensors, **{name: facts[name] for name in self.facts if name in facts}}


class Result:
    """Base of what measures, searches and trainings find: a dataclass of tensors and JSON.

    A class declares `FILE` (and `checked`), `COLUMNS` (and `cells`), `FIGURE`, and has `rows`.
    """

    FILE: ClassVar[TensorFile]
    COLUMNS: ClassVar[tuple] = ()  # of the table
    CSV: ClassVar[bool] = True  # whether the table is written beside the file
    FIGURE: ClassVar[str]  # of `freqkit.report`

    @property
    def columns(self) -> tuple:
        """Columns of the table."""
        return self.COLUMNS

    def cells(self) -> list:
        """The columns of the table: tensors or lists, one value for each line."""
        raise NotImplementedError

    def table(self) -> list[dict]:
        """One dict for each line, with the keys `columns`."""
        cells = [column.tolist() if isinstance(column, Tensor) else column for column in self.cells()]
        return [dict(zip(self.columns, line, strict=True)) for line in zip(*cells, strict=True)]

    def values(self) -> dict:
        """Tensors and facts of the file by name."""
        return vars(self)

    def rows(self) -> list[dict]:
        """Tidy rows, see `freqkit.results.rows`: one value each, every rate with its interval and the number of images
        that it is of."""
        raise NotImplementedError

    def plot(self, *args, **kwargs):
        """Draw it: the function of `freqkit.report` that `FIGURE` names, with its arguments."""
        from freqkit import report

        return getattr(report, self.FIGURE)(self, *args, **kwargs)

    def save(self, path) -> None:
        """Write one safetensors file, atomically, and beside it the table as .csv (of ADCS maps none)."""
        path = Path(path)
        self.FILE.write(path, self.values())
        if self.CSV:
            write_csv(path.with_suffix(".csv"), self.columns, self.table())

    @classmethod
    def load(cls, path):
        """Read what `save` wrote.

        Raises:
            UsageError: the file is none of this kind, or is damaged.
        """
        return cls(**cls.checked(cls.FILE.read(path), path))

    @classmethod
    def checked(cls, values: dict, path) -> dict:
        """What a file holds, after what its declaration cannot say was checked.

        Raises:
            UsageError: it does not fit.
        """
        return values


class Told(list):
    """Rows as their files spell them, a list; called, the tidy ones. Results that had the list `rows` before there was
    the method keep both.

    Args:
        rows: the list.
        told: function of it that gives the tidy rows.
    """

    def __init__(self, rows: Iterable[dict], told: Callable[[list], list[dict]]):
        super().__init__(rows)
        self._told = told

    def __call__(self) -> list[dict]:
        return self._told(self)
