"""A run's events as lines of JSON, for whatever reads logs."""

import json
import time
from datetime import datetime, timezone


class Log:
    """Appends one JSON object per event to a file, and passes all on to another watcher.

    Fields: time (UTC, ISO 8601), event ("start", "advance", "finish", "note"), rank; with "start" title, total, unit;
    with "advance" and "finish" title, done, saved, resumed, total, best; with "note" sentence. "advance" comes once
    every `every` seconds at most. Several ranks may append to one file: a line is one write.
    """

    def __init__(self, path, shown, rank=0, every=1.0):
        from freqkit.errors import UsageError

        self.shown, self.rank, self.every, self.spoke = shown, rank, every, 0.0
        self.state = None
        try:
            self.file = open(path, "ab", buffering=0)
        except OSError as error:
            raise UsageError(f"--log-json must name a file that can be written; {path}: {error.strerror}.") from error

    def _write(self, event, **fields):
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        line = {"time": now, "event": event, "rank": self.rank, **fields}
        try:
            self.file.write(json.dumps(line).encode() + b"\n")
        except OSError as error:
            raise OSError(error.errno, error.strerror, self.file.name) from error

    def start(self, title, total, unit="forwards"):
        self.state = {"title": title, "done": 0, "saved": 0, "resumed": 0, "total": total, "best": None}
        self._write("start", title=title, total=total, unit=unit)
        self.shown.start(title, total, unit)

    def advance(self, amount, **facts):
        state = self.state
        state["done"] += amount
        for name in ("saved", "resumed"):
            state[name] += amount if facts.get(name) else 0
        state["best"] = facts.get("best") or state["best"]
        if time.monotonic() - self.spoke >= self.every:
            self.spoke = time.monotonic()
            self._write("advance", **state)
        self.shown.advance(amount, **facts)

    def finish(self):
        if self.state is not None:
            self._write("finish", **self.state)
            self.state = None
        self.shown.finish()

    def note(self, sentence):
        self._write("note", sentence=sentence)
        self.shown.note(sentence)

    def __enter__(self):
        self.shown.__enter__()
        return self

    def __exit__(self, *exception):
        self.file.close()
        return self.shown.__exit__(*exception)
