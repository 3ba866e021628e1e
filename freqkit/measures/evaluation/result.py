"""What an evaluation found: tidy rows, failures, and the record of the run."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import torch

from freqkit.errors import UsageError
from freqkit.results.clean import CleanRates
from freqkit.results.store import COLUMNS

FORMAT = "freqkit-evaluation-1"


@dataclass
class EvaluationResult:
    """Rates of several models on several sets.

    Attributes:
        rows: list of dicts with the keys `COLUMNS`: one value each, in the order models, sets, conditions. `class` is
            "" for values of a whole set; `value` None where it is undefined (an empty group).
        failures: list of dicts model, set, condition, error: what could not be evaluated, and why.
        record: what run.json holds.
    """

    rows: list
    failures: list
    record: dict = field(default_factory=dict)

    def value(self, metric, *, model=None, set=None, condition=None, **more):
        """The value of the only row that fits; a `UsageError` when none or several do."""
        wanted = {"metric": metric, "model": model, "set": set, "condition": condition, **more}
        more.setdefault("class", "")
        wanted.update(more)
        found = [row for row in self.rows if all(v is None or row[k] == v for k, v in wanted.items())]
        if len(found) != 1:
            raise UsageError(f"value: exactly one row must fit {wanted}; {len(found)} do.")
        return found[0]["value"]

    def rates(self, metric, *, model, set, condition):
        """dict class -> value."""
        keys = {"metric": metric, "model": model, "set": set, "condition": condition}
        return {r["class"]: r["value"] for r in self.rows if r["class"] and all(r[k] == v for k, v in keys.items())}

    def clean(self, model):
        """`freqkit.results.clean.CleanRates` of a model on the whole images of the in-distribution set, else of the
        first set; None when it answered neither."""
        base = (self.record.get("identity", {}).get("base") or "").partition(" ")
        own = [row for row in self.rows if row["model"] == model and "logits" not in row["condition"]]
        whole = [row for row in own if row["metric"] == "top-1" and row["n"]]
        there = [row for row in whole if (row["set"], row["condition"]) == (base[0], base[2] or "all")] or whole
        logits = re.search(r"largest of (\d+) logits", there[0]["definition"]) if there else None
        if logits is None:
            return None
        place = {name: there[0][name] for name in ("set", "condition")}
        own = [row for row in own if row["class"] and row["n"] and all(row[name] == place[name] for name in place)]
        right, other = ({row["class"]: row for row in own if row["metric"] == metric} for metric in ("TPR", "FPR"))
        names = list(right)
        hits = [round(right[name]["value"] * right[name]["n"]) for name in names]
        wrong = [round(other[name]["value"] * other[name]["n"]) if name in other else 0 for name in names]
        return CleanRates(
            names, torch.tensor([right[name]["n"] for name in names]), torch.tensor(hits),
            torch.tensor(hits) + torch.tensor(wrong), list(zip(names, hits, strict=True)),
            int(logits[1]),
        )  # fmt: skip

    def table(self):
        """The rows of whole sets (no classes)."""
        return [row for row in self.rows if row["class"] == ""]

    def save(self, directory):
        """Write results.csv (atomically)."""
        from freqkit.files.whole import write_csv

        write_csv(Path(directory) / "results.csv", COLUMNS, self.rows)

    @classmethod
    def load(cls, directory):
        """Read the directory of an evaluation.

        Raises:
            UsageError: it is none, or has not finished.
        """
        from freqkit.files.whole import read_run
        from freqkit.results.store import read_results

        record = read_run(directory)
        path = Path(directory) / "results.csv"
        if (
            record.get("status") != "finished"
            or record.get("identity", {}).get("evaluation") != FORMAT
            or not path.is_file()
        ):
            raise UsageError(f"{directory}: holds no finished evaluation.")
        return cls(read_results(path), record.get("failures", []), record)

    def plot(self, *args, **kwargs):
        """AvgTPR curves; see `freqkit.report.plot_groups`."""
        from freqkit.report import plot_groups

        return plot_groups(self, *args, **kwargs)
