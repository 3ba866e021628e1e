"""What a profile found, of one model or several."""

import csv
import json
from dataclasses import dataclass, field
from pathlib import Path

from freqkit.errors import UsageError
from freqkit.files.reading import fit, parse_json, reading
from freqkit.files.whole import write_csv, write_json
from freqkit.measures.profile.parts import part_of, restored
from freqkit.results.result import Result

FORMAT, NAME = "freqkit-profile-1", "profile.json"
_PART = {"name": str, "title": str, "state": str, "reason": str, "images": int, "planned": int, "forwards": int,
         "backwards": int, "sentence": str, "numbers": [dict]}  # fmt: skip
SHAPE = {
    "format": str, "definition": dict, "versions": dict,
    "models": [{"name": str, "folder": str, "record": dict, "plan": dict, "parts": [_PART]}],
}  # fmt: skip
# What is shown beside other models, by metric and the row's condition or filter: (heading, part, metric, condition).
MAIN = (
    ("recognised", "clean", "accuracy", "all"),
    ("LPP", "pass-curves", "LPP", None),
    ("HPP", "pass-curves", "HPP", None),
    ("band centre", "critical-band", "cf_norm", None),
    ("band width", "critical-band", "bw_norm", None),
    ("gradient centre", "gradient-spectrum", "gradient centre", None),
    ("after PGD", "attacks", "accuracy", "pgd free"),
)


@dataclass
class ProfileResult(Result):
    """Profiles of M models.

    Attributes:
        models: a dict for each: name; folder, where its parts stand; record (model, data); plan; parts: a list of dicts
            name, title, state ("finished", "stopped" with fewer images than planned, or "skipped"), reason (of what was
            skipped), images, planned, forwards, backwards, sentence, numbers (tidy rows).
        found: (folder, part) -> the part's own result, as far as there is one.
        definition, record: JSON-ready dicts.
    """

    models: list
    found: dict = field(default_factory=dict, repr=False)
    definition: dict = field(default_factory=dict)
    record: dict = field(default_factory=dict)

    COLUMNS = ("model", "part", "state", "images", "what was found")
    MAIN = ("highest", "images")
    FOLDER, FIGURE = True, "plot_profile"

    def about(self):
        return [one["name"] for one in self.models]

    def main(self):
        return ""

    def cells(self):
        lines = [(one["name"], part["title"], part["state"], part["images"], part["sentence"] or part["reason"])
                 for one in self.models for part in one["parts"]]  # fmt: skip
        return [list(column) for column in zip(*lines, strict=True)] if lines else [[] for _ in self.COLUMNS]

    def rows(self):
        return [row for one in self.models for part in one["parts"] for row in part["numbers"]]

    def value(self, model: dict, part: str, metric: str, condition: str | None) -> dict | None:
        """The row of a model's number; None where there is none."""
        rows = (row for each in model["parts"] if each["name"] == part for row in each["numbers"])
        return next((row for row in rows if row["metric"] == metric and condition in (None, row["condition"])), None)

    @property
    def verdict(self) -> list[str]:
        """The sentences of all parts of the first model, or of each model the first."""
        if len(self.models) == 1:
            return [part["sentence"] for part in self.models[0]["parts"] if part["sentence"]]
        return [f"{one['name']}: {next((p['sentence'] for p in one['parts'] if p['sentence']), 'nothing was asked.')}"
                for one in self.models]  # fmt: skip

    @property
    def facts(self) -> dict:
        """Everything as one JSON-ready dict."""
        return {"format": FORMAT, "definition": self.definition, "versions": self.record.get("versions", {}),
                "models": self.models}  # fmt: skip

    def save(self, path):
        """Write the folder: profile.json, profile.csv (tidy rows), and each part's own file."""
        path = Path(path)
        for (folder, name), result in self.found.items():
            place = path / folder / "parts"
            place.mkdir(parents=True, exist_ok=True)
            result.FILE.write(place / f"{name}.safetensors", result.values())
        columns = list(dict.fromkeys(key for row in self.rows() for key in row))
        write_csv(path / "profile.csv", columns, self.rows())
        write_json(path / NAME, self.facts)

    @classmethod
    def load(cls, path):
        """Read what `save` wrote.

        Raises:
            UsageError: it is none.
        """
        path = Path(path)
        file = path / NAME if path.is_dir() else path
        with reading(file, "a profile"):
            text = file.read_text(encoding="utf-8")
        facts: dict = fit(parse_json(text, file), SHAPE, file)
        if facts["format"] != FORMAT:
            raise UsageError(f"{file}: is of the format {facts['format']}; must be {FORMAT}.")
        found = {}
        for one in facts["models"]:
            if Path(one["folder"]).name != one["folder"] or one["folder"] in ("", ".", ".."):
                raise UsageError(f"{file}: folder must be a name; got {one['folder']!r}.")
            for part in one["parts"]:
                place = file.parent / one["folder"] / "parts" / f"{Path(part['name']).name}.safetensors"
                if place.is_file() and (known := part_of(part["name"])) is not None:
                    found[one["folder"], part["name"]] = restored(known, place)
        return cls(facts["models"], found, facts["definition"], {"versions": facts["versions"]})


def references() -> list[dict]:
    """Profiles that come with freqkit: name, images, and MAIN's numbers [value, low, high]."""
    file = Path(__file__).parent / "references.json"
    return json.loads(file.read_text(encoding="utf-8"))["models"] if file.is_file() else []


SHARES = ("0.1", "0.2", "0.3", "0.4", "0.5")  # cut-offs of LPP and HPP


def of_study(path) -> list[dict]:
    """The models of the published study's benchmark.csv: their LPP and HPP (preset "cvpr2024") and critical bands.

    Raises:
        UsageError: it is no such table.
    """
    with reading(path, "the study's table"), open(path, newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    if not lines or not {"model", "metric/criticalband/cf_norm"} <= {*lines[0]}:
        raise UsageError(f"profile: study must be the study's table, with model and metric/criticalband/...; {path} is"
                         " none.")  # fmt: skip

    def found(line, columns):
        try:
            values = [float(line[name]) for name in columns]
        except (ValueError, TypeError):  # a place that is empty
            return [None, None, None]
        return [sum(values) / len(values), None, None]

    sides = {
        heading: [name for name in lines[0] if name.startswith(f"metric/bandpass/{side}/")
                  and any(abs(float(name.rpartition("/")[2]) - float(share)) < 1e-6 for share in SHARES)]
        for heading, side in (("LPP", "LFC"), ("HPP", "HFC"))
    }  # fmt: skip
    columns = {**{heading: names for heading, names in sides.items() if len(names) == len(SHARES)},
               "band centre": ["metric/criticalband/cf_norm"],
               "band width": ["metric/criticalband/bw_norm"]}  # fmt: skip
    return [{"name": line["model"], "what": "CVPR 2024",
             "numbers": {heading: found(line, names) for heading, names in columns.items()}}
            for line in lines]  # fmt: skip
