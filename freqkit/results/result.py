"""What every result can do: be written, read, drawn, shown as a table, and told as tidy rows."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from freqkit.files.reading import Number, fit, read_tensors
from freqkit.files.whole import write_csv, write_json, write_safetensors
from freqkit.results.rows import of_record as rows_of_record
from freqkit.text import printable, shorten


def versions(**more) -> dict:
    """Of freqkit and torch, for a record."""
    import freqkit

    return {"freqkit": freqkit.__version__, "torch": torch.__version__, **more}


def about_record(record: dict) -> list[str]:
    """Model and images of a record, in words.

    Example:
        >>> about_record({"model": {"name": "net"}, "data": {"images": 20, "root": "/data/pets"}})
        ['net', '20 images of pets']
    """
    known = rows_of_record(record)
    data = record.get("data")
    number = data.get("images") if isinstance(data, dict) else None
    name = Path(known["set"]).name
    return [known["model"], " of ".join(each for each in (f"{number:,} images" if number else "", name) if each)]


SURE = Number(math.nextafter(0, 1), math.nextafter(1, 0))  # how sure an interval may be


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
        facts = dict(facts)
        definition = facts.get("definition")
        if isinstance(definition, dict) and "confidence" in definition:  # of the intervals, which are made of it anew
            fit(definition["confidence"], SURE, path, "definition.confidence")
        return {**tensors, **{name: facts[name] for name in self.facts if name in facts}}


class Result:
    """Base of what measures, searches and trainings find: a dataclass of tensors and JSON.

    A class declares `FILE` (and `checked`), `COLUMNS` (and `cells`), `FIGURE`, `MAIN`, and has `rows`.
    """

    FILE: ClassVar[TensorFile]
    COLUMNS: ClassVar[tuple] = ()  # of the table
    CSV: ClassVar[bool] = True  # whether the table is written beside the file
    FIGURE: ClassVar[str]  # of `freqkit.report`
    MAIN: ClassVar[tuple] = ("highest", None)  # the number of `repr`: "highest" or "lowest" of a column; None: the last
    FOLDER: ClassVar[bool] = False  # whether `save` writes a directory

    def __init_subclass__(cls):
        super().__init_subclass__()
        cls.__repr__ = Result.__repr__  # in the class itself: a dataclass would write out its tensors

    def __repr__(self):
        """One line: class, model, images, and the main number."""
        known = [*self.about(), self.main()]
        return f"{type(self).__name__}({', '.join(printable(each) for each in known if each)})"

    def about(self) -> list[str]:
        """What was asked, in words: model and images, as far as they are on record."""
        return about_record(getattr(self, "record", {}))

    def main(self) -> str:
        """The main number in words, with what its line is of; empty when there is none."""
        word, column = self.MAIN[0], self.MAIN[1] or self.columns[-1]
        lines = [line for line in self.table() if line[column] is not None and line[column] == line[column]]
        if not lines:
            return ""
        best = (max if word == "highest" else min)(lines, key=lambda line: line[column])
        return f"{word} {column} {best[column]:.3g} ({self.columns[0]} {shorten(best[self.columns[0]])})"

    def _repr_html_(self):
        """For notebooks: the head of its page. Verdict, figure and main table, in one piece of HTML that needs no
        network and changes nothing around it."""
        from freqkit.report.head import head
        from freqkit.report.pages import parts_of

        with tempfile.TemporaryDirectory(prefix="freqkit-") as folder:
            path = Path(folder) if self.FOLDER else Path(folder) / "result.safetensors"
            self.save(path)
            if self.FOLDER and not (path / "run.json").is_file():
                write_json(path / "run.json", {"format": "freqkit-run-1", **getattr(self, "record", {})})
            parts, _ = parts_of(path)
        return head(parts, repr(self), self.columns, self.table(), self.plot)

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
