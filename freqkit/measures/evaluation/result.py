"""What an evaluation found: tidy rows, failures, and the record of the run."""

from dataclasses import dataclass, field
from pathlib import Path

import torch

from freqkit.errors import UsageError
from freqkit.files.whole import read_run, write_csv
from freqkit.results.clean import CleanRates
from freqkit.results.result import Result, Told
from freqkit.results.rows import COLUMNS, place_of, spell, unspell
from freqkit.results.store import read_results

FORMAT = "freqkit-evaluation-1"


@dataclass
class EvaluationResult(Result):
    """Rates of several models on several sets.

    Attributes:
        rows: list of dicts with the keys `COLUMNS`: one value each, in the order models, sets, conditions. `class` is
            "" for values of a whole set; `value` None where it is undefined (an empty group). Called, `rows()` gives
            them tidy, see `freqkit.results.rows`.
        failures: list of dicts model, set, condition, error: what could not be evaluated, and why.
        record: what run.json holds.
    """

    rows: list = field()  # type: ignore[assignment]
    failures: list = field()
    record: dict = field(default_factory=dict)

    COLUMNS = COLUMNS
    FIGURE = "plot_groups"
    FOLDER = True

    def __post_init__(self):
        self.rows = Told(map(spell, self.rows), lambda rows: [unspell(row) for row in rows])

    def about(self):
        return [", ".join(dict.fromkeys(row[name] for row in self.rows)) for name in ("model", "set")]

    def main(self):
        whole = [row for row in self.table() if row["metric"] == "top-1" and row["value"] is not None]
        return f"top-1 {whole[0]['value']:.3g} ({whole[0]['set']} {whole[0]['condition']})" if whole else ""

    @property
    def base(self):
        """(set, condition) of the in-distribution images, as rows name them; ("", "") for none."""
        identity = self.record.get("identity", {})
        for one in identity.get("sets", []):
            if f"{one['set']} {one['condition']}".strip() == identity.get("base"):
                return one["set"], one["condition"] or "all"
        return "", ""

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
        own = [row for row in self.rows if row["model"] == model and place_of(row["condition"])["part"] is None]
        whole = [row for row in own if row["metric"] == "top-1" and row["n"]]
        base = self.base
        there = [row for row in whole if (row["set"], row["condition"]) == base] or whole
        logits = unspell(there[0])["logits"] if there else None
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
            torch.tensor(hits) + torch.tensor(wrong), list(zip(names, hits, strict=True)), logits,
        )  # fmt: skip

    def groups(self, model, others=True):
        """AvgTPR of a model: (set, condition) -> (group, filtered) -> list of (threshold, mean TPR or None, classes),
        by threshold; without `others` those among the logits of another set's classes are left out."""
        found = {}
        for row in self.table():
            fields = unspell(row)
            if row["model"] != model or fields["metric"] != "AvgTPR" or (fields["part"] and not others):
                continue
            lines = found.setdefault((row["set"], row["condition"]), {})
            point = (fields["threshold"], row["value"], row["n"])
            lines.setdefault((fields["group"], bool(fields["filter"])), []).append(point)
        for lines in found.values():
            for points in lines.values():
                points.sort(key=lambda point: point[0])
        return found

    def table(self):
        """The rows of whole sets (no classes)."""
        return [row for row in self.rows if row["class"] == ""]

    def save(self, directory):
        """Write results.csv (atomically)."""
        write_csv(Path(directory) / "results.csv", COLUMNS, self.rows)

    @classmethod
    def load(cls, directory):
        """Read the directory of an evaluation.

        Raises:
            UsageError: it is none, or has not finished.
        """
        record = read_run(directory)
        path = Path(directory) / "results.csv"
        if (
            record.get("status") != "finished"
            or record.get("identity", {}).get("evaluation") != FORMAT
            or not path.is_file()
        ):
            raise UsageError(f"{directory}: holds no finished evaluation.")
        return cls(read_results(path), record.get("failures", []), record)
