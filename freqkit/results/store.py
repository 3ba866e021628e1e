"""Results of many runs in one file, only ever added to.

SQLite: in Python's standard library, one file, safe when several processes add at once, and asked with SQL. Triggers in
the file refuse updates and deletions; a run that is added again changes nothing.
"""

import csv
import hashlib
import json
import re
import sqlite3
from contextlib import closing, contextmanager
from datetime import datetime, timezone
from pathlib import Path

from freqkit.errors import UsageError
from freqkit.files.reading import fit, number_in, read_csv, read_json, read_text, reading, regular, shown
from freqkit.files.whole import of_cell
from freqkit.results.rows import COLUMNS, FIELDS, spell
from freqkit.text import plain_line

NUMBERS = ("value", "ci_low", "ci_high")
FORMAT = "freqkit-results-1"
_SCHEMA = f"""
PRAGMA application_id = 1718906481;
CREATE TABLE about (format TEXT NOT NULL);
INSERT INTO about VALUES ('{FORMAT}');
CREATE TABLE runs (run TEXT PRIMARY KEY, added TEXT NOT NULL, source TEXT NOT NULL, record TEXT NOT NULL);
CREATE TABLE results (
    run TEXT NOT NULL REFERENCES runs, model TEXT NOT NULL, "set" TEXT NOT NULL, condition TEXT NOT NULL,
    class TEXT NOT NULL, metric TEXT NOT NULL, value REAL, ci_low REAL, ci_high REAL, n INTEGER,
    definition TEXT NOT NULL
);
CREATE INDEX of_sets ON results (class, metric, "set", condition, model);
""" + "".join(
    f"CREATE TRIGGER {table}_{verb} BEFORE {verb.upper()} ON {table} "
    f"BEGIN SELECT RAISE(ABORT, 'results are only ever added to'); END;\n"
    for table in ("runs", "results")
    for verb in ("update", "delete")
)
_EXPECTED = "a store of results (SQLite)"
_ROW = {
    **dict.fromkeys(COLUMNS, str), **dict.fromkeys(NUMBERS, (float, None)), "n": (int, None),
}  # fmt: skip


def _objects(base, where="sql IS NOT NULL"):
    """{(kind, name, SQL)} of a data base."""
    return {*base.execute(f"SELECT type, name, sql FROM sqlite_master WHERE {where}")}


def _own():
    with closing(sqlite3.connect(":memory:")) as base:
        base.executescript(_SCHEMA)
        return _objects(base)


_OWN = _own()


class Store:
    """An append-only file of results.

    Args:
        path: the SQLite file; created when absent.

    Raises:
        UsageError: the file is something else.

    Example:
        >>> import tempfile
        >>> store = Store(tempfile.mkdtemp() + "/results.sqlite")
        >>> row = {"model": "m", "set": "imagenet", "metric": "top-1", "value": 0.5, "n": 10}
        >>> store.add([row], source="a test"), store.add([row], source="a test")
        (1, 0)
        >>> store.rows(metric="top-1")[0]["value"]
        0.5
    """

    patience = 60.0  # seconds that another process may take to add

    def __init__(self, path):
        self.path = Path(path)
        if not self.path.parent.is_dir():
            raise UsageError(f"store: {str(self.path.parent)!r} is not a folder.")
        new = not self.path.exists() or self.path.stat().st_size == 0
        if not new:
            regular(self.path, _EXPECTED)
            with reading(self.path, _EXPECTED):
                pass
        with self._asked() as base:
            if new:
                try:
                    base.executescript("BEGIN IMMEDIATE;" + _SCHEMA + "COMMIT;")
                except sqlite3.OperationalError as error:
                    if "already exists" not in str(error):  # another process made it meanwhile
                        raise
                    if base.in_transaction:
                        base.execute("ROLLBACK")
            row = base.execute("SELECT format FROM about LIMIT 1").fetchone()
            found = row[0] if row else None
            if found != FORMAT:
                what = f"is of format {shown(found, 40)}; this version reads {FORMAT!r}"
                raise UsageError(f"store: {str(self.path)!r} {what}.")
            if not _objects(base) >= _OWN or _objects(base, "type IN ('view', 'trigger')") - _OWN:
                raise UsageError(f"store: {str(self.path)!r} is no store of freqkit (other tables, views or triggers).")

    @contextmanager
    def _asked(self):
        """A connection, whose errors name the file."""
        try:
            with closing(sqlite3.connect(self.path, timeout=self.patience, isolation_level=None)) as base:
                base.execute("PRAGMA trusted_schema = OFF")  # the file's own SQL calls nothing
                yield base
        except (sqlite3.DatabaseError, OverflowError) as error:
            if isinstance(error, sqlite3.IntegrityError):
                raise
            name = getattr(error, "sqlite_errorname", "") or ""
            if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
                what = f"is locked by another process; it was waited for {self.patience:g} seconds"
            elif name.startswith(("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN")):
                what = f"cannot be read or written ({plain_line(error, 100)}); what was in it is kept"
            else:
                what = f"is no store of freqkit, or is damaged ({plain_line(error, 100)})"
            raise UsageError(f"store: {str(self.path)!r} {what}.") from error

    def add(self, rows, *, source, record=None):
        """Add rows (dicts of `COLUMNS`, or the tidy ones of any result), all or none; the same rows from the same
        source are added once.

        Args:
            source: where they come from, e.g. the run directory's name.
            record: JSON-ready facts of the run.

        Returns:
            How many rows were added.
        """
        values = [tuple(_clean(name, row.get(name)) for name in COLUMNS) for row in map(spell, rows)]
        text = json.dumps([source, values], sort_keys=True, allow_nan=False)
        run = hashlib.sha256(text.encode()).hexdigest()[:32]
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        with self._asked() as base:
            base.execute("BEGIN IMMEDIATE")
            try:
                if base.execute("SELECT 1 FROM runs WHERE run = ?", (run,)).fetchone():
                    base.execute("ROLLBACK")
                    return 0
                base.execute("INSERT INTO runs VALUES (?, ?, ?, ?)", (run, now, str(source), json.dumps(record or {})))
                base.executemany(
                    f"INSERT INTO results VALUES (?{', ?' * len(COLUMNS)})", [(run, *value) for value in values]
                )
                base.execute("COMMIT")
            except BaseException:
                if base.in_transaction:
                    base.execute("ROLLBACK")
                raise
        return len(values)

    def rows(self, **where):
        """Rows as dicts of `COLUMNS`, in the order in which they were added.

        Args:
            where: column = value, or a list of values; `class_` for class.
        """
        parts, values = [], []
        for name, wanted in where.items():
            name = name.rstrip("_")
            if name not in COLUMNS:
                raise UsageError(f"store: there is no column {name!r}; there are {', '.join(COLUMNS)}.")
            wanted = [wanted] if isinstance(wanted, (str, int, float)) else list(wanted)
            parts.append(f'"{name}" IN ({", ".join("?" * len(wanted))})')
            values += wanted
        columns = ", ".join(f'"{name}"' for name in COLUMNS)
        text = f"SELECT {columns} FROM results" + (" WHERE " + " AND ".join(parts) if parts else "") + " ORDER BY rowid"
        with self._asked() as base:
            found = [dict(zip(COLUMNS, row, strict=True)) for row in base.execute(text, values)]
        for place, row in enumerate(found, 1):
            fit(row, _ROW, f"store: {str(self.path)!r}, row {place}")
        return found

    def runs(self):
        """List of dicts run, added, source."""
        names = ("run", "added", "source")
        with self._asked() as base:
            rows = base.execute("SELECT run, added, source FROM runs ORDER BY rowid")
            found = [dict(zip(names, row, strict=True)) for row in rows]
        for place, row in enumerate(found, 1):
            fit(row, dict.fromkeys(names, str), f"store: {str(self.path)!r}, run {place}")
        return found


def _clean(name, value):
    if name in NUMBERS:
        return None if value in (None, "") or value != value else float(value)
    if name == "n":
        return None if value in (None, "") else int(value)
    return "" if value is None else str(value)


def read_results(path):
    """Rows of a results.csv, numbers as numbers, undefined values None.

    Raises:
        UsageError: the file has other columns.
    """
    expected = "results of an evaluation (CSV)"
    rows = read_csv(path, (), expected)
    head = tuple(rows[0][1]) if rows else tuple(next(csv.reader(read_text(path, expected).splitlines()), ()))
    if head != COLUMNS:
        raise UsageError(
            f"{path}: the columns must be {', '.join(COLUMNS)}; got {plain_line(', '.join(head), 200) or 'none'}."
        )
    return [{name: _read(name, row[name], path, line) for name in COLUMNS} for line, row in rows]


def _read(name, text, path, line):
    """A field of a results.csv; an undefined value is empty, or nan."""
    if name not in (*NUMBERS, "n"):
        return of_cell(text)
    if text in ("", "nan"):
        return None
    return number_in(text, path, f"line {line}, {name},", int if name == "n" else float)


def read_timm(path, set_name=None):
    """Rows of a results CSV of timm (`results-imagenet-a.csv`: model, top1, top5, ...).

    Args:
        set_name: of the set; default from the file's name.

    Raises:
        UsageError: the file has other columns.
    """
    path = Path(path)
    name = set_name or re.sub(r"^results-", "", path.stem)
    name = {
        "sketch": "imagenet-sketch", "imagenet-real": "imagenet", "inv2-matched-frequency": "imagenet-v2",
        "imagenetv2-matched-frequency": "imagenet-v2",
    }.get(name, name)  # fmt: skip
    condition = "matched-frequency" if name == "imagenet-v2" else "all"
    if name in ("imagenet-a", "imagenet-r"):
        condition = "all, 200 logits"  # timm scores these among the 200 classes
    rows = []
    for line, row in read_csv(path, ("model", "top1", "top5"), "a results CSV of timm"):
        size = f", {row['img_size']} px" if row.get("img_size") else ""
        for metric, column in (("top-1", "top1"), ("top-5", "top5")):
            if "real" in path.stem:
                metric = f"ReaL {metric}"
            value = number_in(row[column], path, f"line {line}, {column},")
            about = f"published by timm ({path.name}{size})"
            rows.append(published(row["model"], name, condition, metric, value / 100, about))
    return rows


def read_robustbench(paths):
    """Rows of RobustBench's model_info JSON files (clean_acc, autoattack_acc, corruptions_acc, ...).

    Raises:
        UsageError: a file is no such JSON.
    """
    rows = []
    for path in map(Path, paths):
        kind = {"dataset": str, "name?": (str, None), "eps?": (str, float, None)}
        expected = "a model_info JSON of RobustBench"
        try:
            found = read_json(path, kind, expected)
        except UsageError as error:
            raise UsageError(f"{path}: is no {expected[2:]} ({str(error).removeprefix(f'{path}: ')})") from error
        data, name = found["dataset"], path.stem
        norm = next((part.lower() for part in path.parts if part in ("Linf", "L2")), "linf")
        eps = f" eps {found['eps']}" if found.get("eps") else ""
        about = f"published by RobustBench ({found.get('name') or name})"
        for key, condition, metric, scale in (
            ("clean_acc", "all", "top-1", 100),
            ("autoattack_acc", f"autoattack {norm}{eps}", "top-1", 100),
            ("reported", f"as reported {norm}{eps}", "top-1", 100),
            ("external", f"external {norm}{eps}", "top-1", 100),
            ("corruptions_acc", "corruptions", "mean top-1", 100),
            ("corruptions_mce", "corruptions", "mCE", 1),
        ):
            if found.get(key) not in (None, "", "-"):
                value = number_in(found[key], path, key) / scale
                rows.append(published(name, data, condition, metric, value, about))
    return rows


def published(*values):
    """A row of a whole set, of which nothing is known but the value."""
    names = ("model", "set", "condition", "metric", "value", "definition")
    return {**dict.fromkeys(COLUMNS), "class": "", **dict(zip(names, values, strict=True))}


def pivot(rows, *, lines="model", columns=("set", "condition"), metric="top-1"):
    """One line per value of `lines`, one column per value of `columns`.

    Args:
        rows: of whole sets (class ""); of several that fall into one cell the last counts, as the newest.
        lines, columns: names of columns, or of fields that the rows have, or tuples of them.
        metric: which one, or a list; several become columns.

    Returns:
        (list of column names, list of dicts with "" + those names).

    Example:
        >>> row = {"model": "m", "set": "a", "condition": "all", "metric": "top-1", "value": 0.5}
        >>> pivot([row]) == (["model", "a all"], [{"model": "m", "a all": 0.5}])
        True
    """
    lines = (lines,) if isinstance(lines, str) else tuple(lines)
    columns = (columns,) if isinstance(columns, str) else tuple(columns)
    metrics = [metric] if isinstance(metric, str) else list(metric)
    for name in (*lines, *columns):
        if name not in (*COLUMNS, *FIELDS):
            known = ", ".join(dict.fromkeys((*COLUMNS, *FIELDS)))
            raise UsageError(f"pivot: there is no column {name!r}; there are {known}.")
    heads, table = [], {}
    for row in rows:
        if row["metric"] not in metrics:
            continue
        head = " ".join(str(row[name]) for name in columns if row[name] not in ("", None))
        head = f"{head} {row['metric']}".strip() if len(metrics) > 1 else head
        if head not in heads:
            heads.append(head)
        line = table.setdefault(
            tuple(row[name] for name in lines), dict(zip(lines, (row[n] for n in lines), strict=True))
        )
        line[head] = row["value"]
    return [*lines, *heads], [{**dict.fromkeys(heads), **line} for line in table.values()]


def timm_table(rows, set_name, condition="all"):
    """(columns, rows) as timm's results CSVs: model, top1, top1_err, top5, top5_err in percent."""
    own = {}
    for row in rows:
        if (
            row["set"] == set_name
            and row["condition"] == condition
            and row["class"] == ""
            and row["metric"] in ("top-1", "top-5")
        ):
            own.setdefault(row["model"], {})[row["metric"]] = row["value"]
    found = []
    for model, values in own.items():
        line = {"model": model}
        for metric, name in (("top-1", "top1"), ("top-5", "top5")):
            value = values.get(metric)
            line[name] = None if value is None else round(100 * value, 3)
            line[f"{name}_err"] = None if value is None else round(100 - 100 * value, 3)
        found.append(line)
    found.sort(key=lambda line: -(line["top1"] or 0))
    return ["model", "top1", "top1_err", "top5", "top5_err"], found


def markdown(columns, rows, digits=3):
    """A Markdown table; undefined values are a dash."""

    def cell(value):
        if value is None:
            return "–"
        return f"{value:.{digits}f}" if isinstance(value, float) else str(value).replace("|", "\\|")

    lines = ["| " + " | ".join(map(cell, columns)) + " |", "|" + " --- |" * len(columns)]
    return "\n".join([*lines, *("| " + " | ".join(cell(row.get(name)) for name in columns) + " |" for row in rows)])
