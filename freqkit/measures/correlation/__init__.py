"""Do biases of many models tell how well they generalise? Composites, rank correlations, and how sure they are.

Source: Gavrikov and Keuper, "Can Biases in ImageNet Models Explain Generalization?", CVPR 2024 (composites, biases,
groups, Spearman's correlation with the plain p). Intervals, corrections and what relations hang on are added here.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from freqkit.errors import UsageError
from freqkit.files.reading import COUNT, read_json, shown
from freqkit.files.whole import RECORD, write_csv
from freqkit.measures.correlation import said
from freqkit.measures.correlation.checks import check_table
from freqkit.measures.correlation.quantities import (
    CLEAN,
    CORRECTIONS,
    SCORES,
    lines_of,
    members,
    quantities_of,
    ratios_of,
)
from freqkit.measures.correlation.relations import AMONG_BIASES, AMONG_SCORES, FIELDS, relations
from freqkit.options import Options, flat, option
from freqkit.results.result import Result, TensorFile, versions
from freqkit.results.rows import tidy

APART = {"AT": "adversarial_training"}
TOTAL, OTHERS, WITH_ADDED = "Total", "Other", "With added"
ADDED, UNGROUPED = "added", "ungrouped"  # in place of a category
ABOUT = {
    **{name: f"mean of {', '.join(parts)}, percent" for name, parts in SCORES.items()},
    CLEAN: "clean accuracy, percent", "mCE": "percent of AlexNet's errors, 15 corruptions",
    **{name: "mean of accuracy / clean accuracy, cut-offs .1 to .5" for name in ("LPP", "HPP")},
}  # fmt: skip
RELATION = {
    **dict.fromkeys(FIELDS, (float, None)), **dict.fromkeys(("bias", "score", "group"), str),
    **dict.fromkeys(("n", "families"), COUNT), "hangs_on": ([str], None),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Studying(Options):
    """What `study` is asked."""

    resamples: int = option(10_000, "how many the intervals stand on; 0: no intervals", least=0)
    confidence: float = option(0.95, "of the intervals", above=0, below=1)
    alpha: float = option(0.05, "a relation is called significant when its p is below", above=0, below=1)
    leave_out: int = option(
        3, "up to how many models are left out to see what a relation hangs on; every choice of them is tried, while "
        "there are at most 100,000", least=0, most=5,
    )  # fmt: skip
    seed: int = option(0, "of the resamples", least=0)
    mend: Sequence[str] = option(
        (), f"what is mended of the published values: some of {', '.join(CORRECTIONS)}", kind="names",
        metavar="NAME[,NAME...]", help="; ".join(f"{name}: {words}" for name, words in CORRECTIONS.items()),
    )  # fmt: skip

    def asked(self) -> dict:
        """Keywords of `relations`."""
        return {name: getattr(self, name) for name in ("resamples", "confidence", "alpha", "seed", "leave_out")}

    def check(self, owner):
        if isinstance(self.mend, str) or not set(self.mend) <= set(CORRECTIONS):
            raise UsageError(f"{owner}: mend must be some of {', '.join(CORRECTIONS)}; got {self.mend!r}.")
        return self


@dataclass
class StudyResult(Result):
    """What `study` found of M models.

    Attributes:
        models: names; those that were added come last, and are of the category "added".
        names: of Q quantities: the biases, the composites, "imagenet" (clean accuracy) and "mCE".
        quantities: float64 [M, Q]; accuracies in percent, mCE in percent of AlexNet's errors; NaN where unknown.
        ratios: float64 [M, 2, 11]; accuracy below low-pass and high-pass filters as shares of clean accuracy.
        categories: of each model. groups: name -> its models.
        correlations, biases: a dict for each relation of a bias and a score, and of two biases: `bias`, `score`,
            `group`, `rho`, `p`, `n`; `low`, `high`: interval over resampled models; `families`, `family_low`,
            `family_high`: how many, and over resampled families (None where there is one); `partial`, `partial_p`:
            clean accuracy held fixed; `bh`, `holm`: p corrected for all relations that were asked together;
            `without_low`, `without_high`: rho with any one model left out; `hangs_on`: the fewest models without which
            p is not below `alpha`, [] where no few do, None where it is not below anyway. None where undefined.
        checks: dicts verdict, what, found of `check_table`: whether a published table is what it says.
        notes: sentences: what is missing, left out or doubtful.
        definition: what was asked. record: of the run.
    """

    models: list
    names: list
    quantities: torch.Tensor
    ratios: torch.Tensor
    categories: list
    groups: dict
    correlations: list
    biases: list
    checks: list
    notes: list
    definition: dict = field(default_factory=dict)
    record: dict = field(default_factory=dict)

    FILE = TensorFile(
        "freqkit-study-1", "a file of `study`", {"quantities": "float64 M Q", "ratios": "float64 M 2 K"},
        {
            "models": [str], "names": [str], "categories": [str], "groups": {str: [str]},
            "correlations": [RELATION], "biases": [RELATION],
            "checks": [{"verdict": str, "what": str, "found": str}], "notes": [str],
            "definition": dict, "record": RECORD,
        },
        sizes={"M": "models", "Q": "names"},
    )  # fmt: skip
    COLUMNS, FIGURE = FIELDS, "plot_study"
    MAIN = ("lowest", "holm")

    def about(self) -> list[str]:
        """What it is of, in words."""
        return [f"{self.record['models']} models"]

    @property
    def added(self) -> list[str]:
        """Models that were added to the others."""
        return self.models[len(self.models) - self.record["added"] :]

    @property
    def published(self) -> list[dict]:
        """Those of `correlations` that count none of the added models."""
        return [one for one in self.correlations if one["group"] != WITH_ADDED]

    @property
    def composites(self) -> dict[str, dict[str, float | None]]:
        """Model -> name -> value, None where unknown."""
        return {
            model: dict(zip(self.names, map(_known, line), strict=True))
            for model, line in zip(self.models, self.quantities.tolist(), strict=True)
        }

    def table(self) -> list[dict]:
        """One dict for each relation."""
        return [{**one, "hangs_on": ", ".join(one["hangs_on"] or [])} for one in (*self.correlations, *self.biases)]

    def values_of(self, name: str) -> torch.Tensor:
        """float64 [M] of one quantity."""
        return self.quantities[:, self.names.index(name)]

    def rows(self) -> list[dict]:
        """Tidy rows: composites and biases of each model, and the relations, whose condition is the group."""
        found = []
        for model, line in self.composites.items():
            found += [
                tidy(model=model, condition="all", metric=name, value=value, definition=ABOUT.get(name, "bias"))
                for name, value in line.items()
            ]
        for one in (*self.correlations, *self.biases):
            where = {"condition": one["group"], "metric": f"Spearman of {one['bias']} and {one['score']}"}
            about = f"rank correlation over {one['n']} models"
            numbers = {"value": one["rho"], "low": one["low"], "high": one["high"], "n": one["n"]}
            found.append(tidy(**where, **numbers, definition=about))
        return found

    def save(self, path) -> None:
        """Write one safetensors file; beside it the relations as .csv and the models as -models.csv."""
        super().save(path)
        path = Path(path)
        lines = [{"model": model, "category": kind, **self.composites[model]}
                 for model, kind in zip(self.models, self.categories, strict=True)]  # fmt: skip
        write_csv(path.with_name(f"{path.stem}-models.csv"), ["model", "category", *self.names], lines)


@flat
def study(
    rows: Iterable[dict],
    own: Studying,
    *,
    groups: Mapping[str, Sequence[str]] | str | Path | None = None,
    apart: Mapping[str, str] | None = None,
    families: Mapping[str, Sequence[str]] | str | Path | None = None,
    added: Iterable[dict] = (),
) -> StudyResult:
    """Composites, biases, and which of them go together over many models.

    ID is the mean accuracy on ImageNet, -V2 (matched-frequency) and ReaL; Robustness on -A, -C and -C-bar; Concepts on
    -Sketch, -R and the 800 stylized images of the comparison with people; Adversarial is that under PGD, 40 steps
    within 0.5/255; in percent. LPP and HPP are the mean of accuracy / clean accuracy below low-pass and high-pass
    filters of cut-off .1 to .5. Relations are Spearman's, over the models of which both quantities are known.

    Args:
        rows: of any measures and models: of results (`result.rows()`), stores, `read_benchmark`, `read_timm` and such.
        groups: category -> names of models, or a JSON file of that; only these models count then.
        apart: group -> category of the models that are looked at by themselves, the rest being "Other"; default
            {"AT": "adversarial_training"} where there is such a category.
        families: the same form: models that are variants of one recipe, which intervals over families draw as one. A
            model in none is its own; default: the categories.
        added: rows of more models, which are shown among the others; relations count them in a group of their own.

    Returns:
        `StudyResult`.

    Raises:
        UsageError: there are no models, or no value of the study; a group that cannot be.

    Example:
        >>> values = {"shape-bias": [0.1, 0.2, 0.3, 0.5], "LPP": [0.6, 0.5, 0.7, 0.8]}
        >>> rows = [
        ...     {"model": f"m{place}", "set": "", "condition": "all", "class": "", "metric": metric, "value": value,
        ...      "definition": ""}
        ...     for metric, column in values.items() for place, value in enumerate(column)
        ... ]
        >>> found = study(rows, resamples=0)
        >>> [round(one["rho"], 2) for one in found.biases if one["n"]]
        [0.8]
    """
    groups, families = _named(groups, "groups"), _named(families, "families")
    rows = list(rows)
    known, others = lines_of(rows), lines_of(added)
    if not known.models:
        raise UsageError("study: rows must hold values of the study; none does (see `freqkit explain study`).")
    category, absent = members(groups or {}, known.models, "groups")
    counted = [model for model in known.models if groups is None or model in category]
    if not counted:
        raise UsageError("study: groups must name models of the rows; they name none of them.")
    quantities, lacking = quantities_of(known, own.mend)
    of_added, lacking_added = quantities_of(others, own.mend)
    marked = [f"{model} ({ADDED})" if model in known.models else model for model in others.models]
    places, models = [known.models.index(model) for model in counted], counted + marked
    values = {name: np.concatenate([quantities[name][places], of_added[name]]) for name in quantities}
    split = _split(counted, category, _apart(apart, groups))
    owner, unknown = (category, []) if families is None else members(families, counted, "families")
    owners = [owner.get(model, f"{model} alone") for model in models]
    found = relations(values, split, owners, AMONG_SCORES, **own.asked())
    if marked:
        split[WITH_ADDED] = list(range(len(models)))
        found += relations(values, {WITH_ADDED: split[WITH_ADDED]}, owners, AMONG_SCORES, **own.asked())
    between = relations(values, {TOTAL: split[TOTAL]}, owners, AMONG_BIASES, **own.asked())
    notes = [
        *said.absent(absent, "groups"), *said.absent(unknown, "families"), *said.left_out(known.models, counted),
        *said.twice(known.twice + others.twice), *said.missing(quantities, places, lacking, counted),
        *said.missing_of_added(of_added, others, marked, lacking_added), *said.one_family(split, owners),
        *said.fewer_left_out(split, own.leave_out),
        *said.degenerate_fits(values, models, own.mend), *said.unlike_published(others, marked, own.mend),
    ]  # fmt: skip
    return StudyResult(
        models, list(values), torch.from_numpy(np.stack(list(values.values()), 1)),
        torch.from_numpy(np.concatenate([ratios_of(known)[places], ratios_of(others)])),
        [category.get(model, UNGROUPED) for model in counted] + [ADDED] * len(marked),
        {name: [models[place] for place in part] for name, part in split.items()},
        [_plain(one, models) for one in found], [_plain(one, models) for one in between],
        [vars(one) for one in check_table(rows)], notes,
        own.identity(), {"versions": versions(), "models": len(counted), "added": len(marked)},
    )  # fmt: skip


def _named(given, name):
    """Groups of models, from a file where it is one."""
    if given is None or isinstance(given, Mapping):
        return given
    if not isinstance(given, (str, Path)):
        raise UsageError(f"study: {name} must be a dict or a JSON file; got {shown(given)}.")
    return read_json(given, {str: [str]}, "groups of models, lists of names (JSON)")


def _apart(apart, groups):
    """Group -> category, after checks."""
    if groups is None:
        if apart:
            raise UsageError("study: apart needs groups, whose categories it names.")
        return {}
    if apart is None:
        return {name: kind for name, kind in APART.items() if kind in groups}
    for name, kind in apart.items():
        if name in (TOTAL, OTHERS, WITH_ADDED) or kind not in groups:
            known = ", ".join(groups)
            raise UsageError(f"study: apart must be names of their own and some of {known}; got {name}={kind}.")
    return dict(apart)


def _split(counted, category, apart):
    """Group -> places of its models."""
    split = {TOTAL: list(range(len(counted)))}
    for name, kind in apart.items():
        split[name] = [place for place, model in enumerate(counted) if category[model] == kind]
    if apart:
        split[OTHERS] = [place for place, model in enumerate(counted) if category[model] not in apart.values()]
    return split


def _plain(relation, models):
    """A relation as JSON has it."""
    hanging = relation["hangs_on"]
    return {
        **{name: one if isinstance(one, (str, int)) else _known(one) for name, one in relation.items()
           if name != "hangs_on"},
        "hangs_on": None if not isinstance(hanging, list) else [models[place] for place in hanging],
    }  # fmt: skip


def _known(value):
    """A float, None where it is undefined."""
    return None if value is None or value != value else float(value)
