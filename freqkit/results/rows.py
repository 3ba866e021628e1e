"""Tidy rows: one value each, and everything that tells it from others in a field of its own.

Tables of evaluations (results.csv, stores) have ten columns, and spell further fields inside names: "fog/3", "all, 200
logits", "filtered AvgTPR shortcut@0.5". `spell` and `unspell` are the one place where that is written and read.
"""

from __future__ import annotations

import functools
import math
import re

import torch
from torch import Tensor

from freqkit.statistics import wilson

COLUMNS = ("model", "set", "condition", "class", "metric", "value", "ci_low", "ci_high", "n", "definition")
TEXTS = ("model", "set", "condition", "class", "metric", "definition")  # "" where they do not apply
# Fields that most rows have not, None there. filter: "map" where images are seen through their class's map, "low",
# "high" or "band" where through that pass; domain: "pixels" where they are filtered before they are normalised; logits,
# part: how many logits are compared, and whose ("": those of the set's classes) when not all; group, threshold: of
# classes; radius: cycles/image; cutoff: a share of half the side, as its measure counts it; step: iterations of a
# training, the stage of a search.
SPELLED = ("filter", "domain", "logits", "part", "group", "threshold", "severity")
NAMED = ("radius", "cutoff", "searcher", "effort", "seed", "step")
FIELDS = (*TEXTS[:-1], *SPELLED, *NAMED, "value", "low", "high", "n", "definition")
# Of fields; the others are whole numbers.
_KINDS = {"radius": float, "cutoff": float, "threshold": float, "searcher": str, "group": str, "filter": str}
_PIXELS = ", filtered before normalised"
_NUMBER = r"\d{1,15}(?:\.\d+)?(?:e[+-]?\d{1,2})?"
_METRIC = re.compile(rf"(?P<filter>filtered )?(?P<metric>.+?)(?: (?P<group>\w+)@(?P<threshold>{_NUMBER}))?", re.S)
_FIELD = rf"(?:effort|seed|step)=\d{{1,15}}|(?:radius|cutoff|threshold)={_NUMBER}|(?:searcher|group|filter)=[^;]*"
_CONDITION = re.compile(
    r"(?:(?P<corruption>\w+)/(?P<severity>[1-5])|(?P<condition>.*?))"
    rf"(?P<domain>{_PIXELS})?(?:, (?P<logits>\d{{1,15}}) logits(?: of (?P<part>[^;]+))?)?"
    rf"(?P<named>(?:; (?:{_FIELD}))*)",
    re.S,
)
_LOGITS = re.compile(r"largest of (\d{1,15}) logits")


def tidy(**fields) -> dict:
    """A tidy row of `FIELDS`; what is no finite number is None, and without a value there is no interval.

    Example:
        >>> row = tidy(model="m", metric="TPR", value=0.5, low=0.2, high=0.8, n=10, radius=3.0)
        >>> row["class"], row["radius"], row["severity"]
        ('', 3.0, None)
    """
    row = {**dict.fromkeys(FIELDS), **dict.fromkeys(TEXTS, ""), **fields}
    known = row["value"] is not None and math.isfinite(row["value"])
    for name in ("value", "low", "high"):
        if not known or row[name] is None or not math.isfinite(row[name]):
            row[name] = None
    return row


def shares(labels, metric, hits, trials, confidence=0.95, **fields) -> list[dict]:
    """A row for each label: hits of trials with Wilson's interval; undefined without trials.

    Args:
        labels: names of classes, "" for a whole set. hits, trials: as many whole numbers.
        fields: the other fields of all rows, see `tidy`.
    """
    hits, trials = (torch.as_tensor(values, dtype=torch.int64) for values in (hits, trials))
    found = [h / n if n else None for h, n in zip(hits.tolist(), trials.tolist(), strict=True)]
    return values(labels, metric, found, trials, wilson(hits, trials, confidence), **fields)


def values(labels, metric, found, counts=None, interval=None, **fields) -> list[dict]:
    """A row for each label of values without an interval, or with the given one (float64 [C, 2])."""
    found = found.tolist() if isinstance(found, Tensor) else found
    counts = [None] * len(found) if counts is None else torch.as_tensor(counts).tolist()
    limits = [(None, None)] * len(found) if interval is None else interval.tolist()
    return [
        tidy(**{"class": label}, metric=metric, value=value, low=low, high=high, n=n, **fields)
        for label, value, n, (low, high) in zip(labels, found, counts, limits, strict=True)
    ]


def rates(labels, tally, confidence=0.95, **fields) -> list[dict]:
    """Rows of a `freqkit.results.confusion.Tally` of C classes: TPR and FPR of each, top-1 of all."""
    correct, called = tally.correct, tally.called
    return [
        *shares(labels, "TPR", correct, tally.counts, confidence, **fields),
        *shares(labels, "FPR", called - correct, tally.others, confidence, **fields),
        *shares([""], "top-1", correct.sum()[None], tally.counts.sum()[None], confidence, **fields),
    ]


def of_record(record, **fields) -> dict:
    """The fields that a record tells: model and set."""

    def text(part, *names):
        about = record.get(part) if isinstance(record.get(part), dict) else {}
        return next((about[name] for name in names if isinstance(about.get(name), str)), "")

    return {"model": text("model", "name"), "set": text("data", "root", "source"), "condition": "all", **fields}


def spell(row, without=()) -> dict:
    """A row of `COLUMNS`, as files have it; one that is so already stays as it is. The names are spelled `without` some
    fields.

    Example:
        >>> row = tidy(condition="fog", severity=3, metric="AvgTPR", filter="map", group="other", threshold=0.5)
        >>> spell(row)["condition"], spell(row)["metric"]
        ('fog/3', 'filtered AvgTPR other@0.5')
    """
    if without:
        row = {**unspell(row), **{name: None for name in without if name in (*SPELLED, *NAMED)}}
    if "low" not in row:
        return row
    both = row["group"] is not None and row["threshold"] is not None
    group = f" {row['group']}@{row['threshold']:g}" if both else ""
    named = NAMED if both else (*NAMED, "group", "threshold")
    through_map = row["filter"] == "map"
    named = named if through_map else (*named, "filter")
    condition = row["condition"] + ("" if row["severity"] is None else f"/{row['severity']}")
    condition += _PIXELS if row["domain"] == "pixels" else ""
    if row["part"] is not None and row["logits"] is not None:
        condition += f", {row['logits']} logits" + (f" of {row['part']}" if row["part"] else "")
    condition += "".join(f"; {name}={row[name]}" for name in named if row[name] is not None)
    metric = f"{'filtered ' if through_map else ''}{row['metric']}{group}"
    more = {"condition": condition, "metric": metric, "ci_low": row["low"], "ci_high": row["high"]}
    return {name: more.get(name, row.get(name)) for name in COLUMNS}


def unspell(row) -> dict:
    """The tidy row of one of `COLUMNS`.

    Example:
        >>> row = {"metric": "filtered top-1", "condition": "all, 200 logits of imagenet-r", "value": 0.5}
        >>> found = unspell(row)
        >>> [found[name] for name in ("metric", "filter", "condition", "logits", "part")]
        ['top-1', 'map', 'all', 200, 'imagenet-r']
    """
    if "low" in row:
        return row
    fields = {name: row.get(name) for name in ("model", "set", "class", "definition", "value", "n")}
    fields |= {"low": row.get("ci_low"), "high": row.get("ci_high")}
    fields |= {**_metric_of(row.get("metric") or ""), **place_of(row.get("condition") or "")}
    if fields["logits"] is None:
        fields["logits"] = _logits_of(row.get("definition") or "")
    return tidy(**{name: value for name, value in fields.items() if value is not None or name not in TEXTS})


@functools.lru_cache(4096)
def place_of(condition) -> dict:
    """The fields that the name of a condition spells.

    Example:
        >>> {name: value for name, value in place_of("fog/3, 200 logits").items() if value is not None}
        {'condition': 'fog', 'severity': 3, 'logits': 200, 'part': ''}
    """
    found = _CONDITION.fullmatch(condition)
    fields = {
        "condition": found["condition"] if found["corruption"] is None else found["corruption"],
        "severity": found["severity"] and int(found["severity"]),
        "domain": found["domain"] and "pixels",
        "logits": found["logits"] and int(found["logits"]),
        "part": found["logits"] and (found["part"] or ""),
    }
    for name, text in (one.split("=", 1) for one in found["named"].split("; ")[1:]):
        fields[name] = _KINDS.get(name, int)(text)
    return fields


@functools.lru_cache(4096)
def _metric_of(metric):
    found = _METRIC.fullmatch(metric)
    if found is None:
        return {}
    threshold = found["threshold"] and {"group": found["group"], "threshold": float(found["threshold"])}
    return {"metric": found["metric"], "filter": found["filter"] and "map", **(threshold or {})}


@functools.lru_cache(4096)
def _logits_of(definition):
    found = _LOGITS.search(definition)
    return found and int(found[1])
