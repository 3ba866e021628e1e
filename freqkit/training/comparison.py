"""Trainings that differ in one factor, each from several seeds: what it changes of accuracy, whole and by frequency.

After figures 4 to 6 of Wang, Wu, Huang, Xing, CVPR 2020 (arXiv 1905.13545): heuristics, batch sizes, optimisers.
"""

import inspect
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
import torch

from freqkit.data import Images, ImageSet, as_images
from freqkit.data.components import ENCODINGS
from freqkit.engine.progress import Silent
from freqkit.engine.session import session
from freqkit.errors import UsageError
from freqkit.files.reading import read_yaml
from freqkit.files.whole import RECORD
from freqkit.models import Classifier, load_model
from freqkit.options import Directory, Options, flat, option
from freqkit.report import figures
from freqkit.report.blocks import Cell, Drawing, Part, Section, Table
from freqkit.report.inline import drawing
from freqkit.report.pages import files_of, part
from freqkit.report.provenance import provenance_rows
from freqkit.report.svg import percent
from freqkit.results import rows
from freqkit.results.result import Result, TensorFile, versions
from freqkit.text import shorten
from freqkit.training.recipes import Recipe
from freqkit.training.train import train

__all__ = ["TrainingComparison", "compare_training", "read_comparison"]
FORMAT = "freqkit-compare-training-1"
FILE = "compare-training.safetensors"
RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.=,+-]{0,80}")
KEYS = {"recipe": str, "base": dict, "factors": dict, "variants": dict, "seeds": int, "radii": list, "encoding": str}
# keywords of `train` that a comparison sets itself, or that change nothing of what is learned
OURS = {
    "model", "train_set", "val_set", "recipe", "out", "resume", "overwrite", "dry_run", "progress", "seed", "device",
    "observers", "spectral", "per_radius", "component_encoding", "changes", "tensorboard", "follow_until", "follow",
    "keep_every",
}  # fmt: skip


def changeable() -> list[str]:
    """What may differ between runs: "model", the attributes of a `Recipe`, and keywords of `train` such as
    "adversarial".

    Example:
        >>> {"model", "batch_size", "optimizer", "adversarial"} <= {*changeable()}
        True
    """
    keywords = [name for name in inspect.signature(train).parameters if name not in OURS]
    return ["model", *(one.name for one in fields(Recipe)), *keywords]


@dataclass
class TrainingComparison(Result):
    """What R trainings came to, each from S seeds.

    Attributes:
        runs: R names, the first of which is "base". changes: R dicts, what each changes.
        metrics: M names: "train" and "val" (accuracy on whole images), and "train low 4", "val high 8", ...
        seeds: int64 [S].
        accuracies: float64 [R, S, M], after the last epoch; NaN where there is no validation set.
        sizes: int64 [M], the images that each is of.
        definition, record: JSON-ready dicts.
    """

    runs: list
    changes: list
    metrics: list
    seeds: torch.Tensor
    accuracies: torch.Tensor
    sizes: torch.Tensor
    definition: dict = field(default_factory=dict)
    record: dict = field(default_factory=dict)

    FILE = TensorFile(
        FORMAT, "a file of `compare-training`",
        {"seeds": "int64 S", "accuracies": "float64 R S M", "sizes": "int64 M"},
        {"runs": [str], "changes": [dict], "metrics": [str], "record": RECORD,
         "definition": {"quantity": str, "confidence": float}},
        {"R": "runs", "M": "metrics"},
    )  # fmt: skip
    COLUMNS = ("run", "metric", "images", "seeds", "mean", "spread", "lowest", "highest", "difference",
               "difference low", "difference high")  # fmt: skip
    FIGURE = "plot_training_comparison"
    MAIN = ("highest", "mean")

    @property
    def mean(self):
        """float64 [R, M], over the seeds."""
        return self.accuracies.mean(1)

    @property
    def spread(self):
        """float64 [R, M], the standard deviation over the seeds (of S - 1); NaN of one seed."""
        return self.accuracies.std(1) if len(self.seeds) > 1 else torch.full_like(self.mean, torch.nan)

    @property
    def differences(self):
        """float64 [R, M, 3]: the mean difference to "base" with the same seed, and its t interval over seeds."""
        from scipy.special import stdtrit

        apart, n = self.accuracies - self.accuracies[:1], len(self.seeds)
        middle, half = apart.mean(1), torch.full_like(self.mean, torch.nan)
        if n > 1:
            half = apart.std(1) / n**0.5 * float(stdtrit(n - 1, (1 + self.definition["confidence"]) / 2))
        return torch.stack([middle, middle - half, middle + half], 2)

    def cells(self):
        """One line for each run and metric."""
        found, apart = [], self.differences
        for r, run in enumerate(self.runs):
            for m, metric in enumerate(self.metrics):
                one = self.accuracies[r, :, m]
                if one.isnan().all():
                    continue
                difference = [None] * 3 if r == 0 else apart[r, m].tolist()
                numbers = [float(self.mean[r, m]), float(self.spread[r, m]), float(one.min()), float(one.max())]
                numbers = [value if value == value else None for value in (*numbers, *difference)]
                found.append([run, metric, int(self.sizes[m]), len(self.seeds), *numbers])
        return [list(column) for column in zip(*found, strict=True)]

    def rows(self):
        """Accuracy of every run and seed, with its radius and side."""
        found, about = [], rows.of_record(self.record, definition=self.definition["quantity"])
        for r, run in enumerate(self.runs):
            for m, metric in enumerate(self.metrics):
                images, *component = metric.split(" ")
                where = {**about, "condition": f"{run} on {images}"}
                if component:
                    where.update(filter=component[0], radius=float(component[1]))
                for seed, value in zip(self.seeds.tolist(), self.accuracies[r, :, m].tolist(), strict=True):
                    if value == value:
                        found.append(rows.tidy(metric="top-1", value=value, n=int(self.sizes[m]), seed=seed, **where))
        return found

    @classmethod
    def checked(cls, values, path):
        if values["runs"][:1] != ["base"] or not len(values["seeds"]) or len(values["changes"]) != len(values["runs"]):
            raise UsageError(f"{path}: runs must begin with base, have their changes, and seeds.")
        found = values["accuracies"]
        if not ((found >= 0) & (found <= 1) | found.isnan()).all():
            raise UsageError(f"{path}: the tensor accuracies must hold shares.")
        for name in values["metrics"]:
            if not re.fullmatch(r"(train|val)( (low|high) \d{1,9}(\.\d{1,9})?)?", name):
                raise UsageError(f"{path}: metrics must be as train, val or val low 4; got {name!r}.")
        return values


@dataclass(frozen=True, kw_only=True)
class Comparing(Options):
    """What `compare_training` is asked beside the file."""

    seeds: int | None = option(None, "how many, 0 ... N - 1; None: as the file says, else 3", least=1, metavar="N")
    confidence: float = option(0.95, "how sure the intervals are", above=0, below=1)


def read_comparison(source: str | os.PathLike | Mapping) -> dict:
    """What is compared: a YAML file, or what one holds.

    Keys: `recipe` (name), `base` (changes of it that all runs share), `factors` (name -> values, each a run that
    differs from the base in that alone), `variants` (name -> changes, each a run), `seeds`, `radii` (cycles/image)
    and `encoding` of components.

    Returns:
        dict: recipe, base, runs (name -> changes, "base" first), seeds, radii, encoding.

    Raises:
        UsageError: it is no such file; a key or a factor that is not known; two runs of one name.

    Example:
        >>> read_comparison({"base": {"epochs": 2}, "factors": {"batch_size": [20, 500]}})["runs"]
        {'base': {}, 'batch_size=20': {'batch_size': 20}, 'batch_size=500': {'batch_size': 500}}
    """
    where = "compare_training" if isinstance(source, Mapping) else str(source)
    given = dict(source) if isinstance(source, Mapping) else read_yaml(source, "a YAML file of trainings")
    for key, value in given.items():
        if key not in KEYS:
            raise UsageError(f"{where}: keys must be some of {', '.join(KEYS)}; got {key!r}.")
        if not isinstance(value, KEYS[key]) or isinstance(value, bool):
            raise UsageError(f"{where}: {key} must be {KEYS[key].__name__}; got {value!r}.")
    runs = {"base": {}}

    def add(name, changes):
        if not isinstance(changes, Mapping):
            raise UsageError(f"{where}: a variant must name its changes; {name!r} has {changes!r}.")
        strange = [key for key in changes if key not in changeable()]
        if strange:
            raise UsageError(f"{where}: there is no {strange[0]!r} to change; there are {', '.join(changeable())}.")
        if not RUN.fullmatch(str(name)) or str(name) in runs:
            raise UsageError(
                f"{where}: names of runs must differ and have letters, digits and . _ = , + - alone; got {name!r}."
            )
        runs[str(name)] = {key: list(value) if isinstance(value, tuple) else value for key, value in changes.items()}

    base = given.get("base", {})
    for key, values in given.get("factors", {}).items():
        if not isinstance(values, (list, tuple)) or not values:
            raise UsageError(f"{where}: the factor {key} must have a list of values; got {values!r}.")
        for value in values:
            if value != base.get(key):
                text = "+".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
                add(f"{key}={re.sub(r'[^A-Za-z0-9_.,+-]', '-', text) or 'none'}", {key: value})
    for name, changes in given.get("variants", {}).items():
        add(name, changes)
    strange = [key for key in base if key not in changeable()]
    if strange:
        raise UsageError(f"{where}: there is no {strange[0]!r} to set; there are {', '.join(changeable())}.")
    radii = given.get("radii", [])
    if not all(isinstance(r, (int, float)) and not isinstance(r, bool) and r > 0 for r in radii):
        raise UsageError(f"{where}: radii must be numbers above 0; got {radii!r}.")
    if given.get("encoding", "raw") not in ENCODINGS:
        raise UsageError(f"{where}: encoding must be one of {', '.join(ENCODINGS)}; got {given['encoding']!r}.")
    if given.get("seeds", 3) < 1:
        raise UsageError(f"{where}: seeds must be at least 1; got {given['seeds']}.")
    return {"recipe": given.get("recipe", "plain"), "base": dict(base), "runs": runs, "seeds": given.get("seeds", 3),
            "radii": [float(r) for r in radii], "encoding": given.get("encoding", "raw")}  # fmt: skip


@flat
def compare_training(
    plan: str | os.PathLike | Mapping, train_set: Images, own: Comparing, running: Directory, *,
    val_set: Images | None = None, model: str | Callable[[int], Classifier] = "small_convnet",
    device: str | None = None,
) -> TrainingComparison:  # fmt: skip
    """Train a network in several ways that differ in one factor each, from several seeds, and compare accuracies.

    With `out`, every training has its own directory, `out`/runs/NAME/seed-S; what was finished is not trained again,
    and what was killed goes on from its last epoch, to the same bits.

    Args:
        plan: what `read_comparison` takes.
        train_set, val_set: what `freqkit.data.as_images` takes, with the same classes.
        model: of the base: a name of `load_model`, or a function of a seed that gives a `Classifier`.
        device: where networks are trained.

    Returns:
        `TrainingComparison`.

    Raises:
        UsageError: an argument does not fit.

    Example:
        >>> from freqkit.data import synthetic
        >>> plan = {"base": {"epochs": 1}, "factors": {"batch_size": [4, 8]}, "radii": [4], "seeds": 2}
        >>> found = compare_training(plan, synthetic(1, images_per_class=4))
        >>> found.runs, found.accuracies.shape
        (['base', 'batch_size=4', 'batch_size=8'], torch.Size([3, 2, 6]))
    """
    asked = read_comparison(plan)
    train_set = as_images(train_set, "compare_training", name="train_set")
    val_set = None if val_set is None else as_images(val_set, "compare_training", name="val_set")
    if callable(model) and any("model" in changes for changes in [asked["base"], *asked["runs"].values()]):
        raise UsageError("compare_training: where runs name models, model must be a name, too; got a function.")
    seeds = list(range(own.seeds or asked["seeds"]))
    metrics = ["train", "val"]
    metrics += [f"{place} {side} {r:g}" for place in metrics for side in ("low", "high") for r in asked["radii"]]
    progress = running.progress or Silent()
    named = model if isinstance(model, str) else getattr(model, "__qualname__", type(model).__name__)
    data = {"fingerprint": train_set.fingerprint, "val": None if val_set is None else val_set.fingerprint}
    settled = {key: asked[key] for key in ("runs", "recipe", "base", "radii", "encoding")}
    identity = {"comparison": settled, "seeds": seeds, "model_name": named, "device": str(device), "data": data,
                "versions": versions()}  # fmt: skip
    how = {"resume": running.resume, "overwrite": running.overwrite, "note": progress.note}
    values = torch.full((len(asked["runs"]), len(seeds), len(metrics)), torch.nan, dtype=torch.float64)
    out = None if running.out is None else Path(running.out)
    with session("compare-training", identity, out, **how) as one:
        one.note_down(kind="compare-training", trainings=values[..., 0].numel())
        progress.start("trainings", values[..., 0].numel(), "trainings")
        try:
            for r, (name, changes) in enumerate(asked["runs"].items()):
                for s, seed in enumerate(seeds):
                    key = f"{name}/seed-{seed}"
                    kept = None if one.journal is None else one.journal.get(key, {"values": ("f", (len(metrics),))})
                    if kept is None:
                        folder = None if out is None else out / "runs" / name / f"seed-{seed}"
                        settings = {**asked["base"], **changes}
                        network = _network(settings.pop("model", model), train_set, seed, device)
                        history = _trained(network, train_set, val_set, folder, asked, settings, seed, one)
                        found = np.array([history.get(metric, np.nan) for metric in metrics])
                        if one.journal is not None:
                            one.journal.put(key, forwards=0, values=found)
                    else:
                        found = kept["values"]
                    values[r, s] = torch.from_numpy(found.copy())
                    progress.advance(1, resumed=kept is not None)
                    one.check()
        finally:
            progress.finish()
        record = {"model": {"name": named}, "data": dict(train_set.record), "versions": versions(),
                  "val": None if val_set is None else dict(val_set.record)}  # fmt: skip
        definition = {
            "quantity": f"accuracy after training, components {asked['encoding']}", "confidence": own.confidence,
            **{key: asked[key] for key in ("recipe", "base", "radii", "encoding")},
        }  # fmt: skip
        sizes = [
            len(train_set) if metric.startswith("train") or val_set is None else len(val_set) for metric in metrics
        ]
        result = TrainingComparison(
            list(asked["runs"]), list(asked["runs"].values()), metrics, torch.tensor(seeds), values,
            torch.tensor(sizes), definition, record,
        )  # fmt: skip
        if one.path is not None:
            result.save(one.path / FILE)
    return result


def _network(model: str | Callable[[int], Classifier], images: ImageSet, seed, device) -> Classifier:
    """The untrained network of a seed."""
    if not isinstance(model, str):
        return model(seed)
    made = load_model(model, num_classes=len(images.classes), seed=seed)
    return made if device is None else made.to(device)


def _trained(network, train_set, val_set, folder, asked, settings, seed, one):
    """Train, or go on; metric -> accuracy after the last epoch."""
    keywords = {"recipe": asked["recipe"], "val_set": val_set, "seed": seed, **settings}
    if isinstance(keywords.get("augment"), list):
        keywords["augment"] = tuple(keywords["augment"])
    if asked["radii"]:
        keywords.update(per_radius=asked["radii"], component_encoding=asked["encoding"])
    if folder is not None:
        # What another session of this comparison left there goes on; what an older one left is not of it.
        goes_on = bool(one.earlier) and (folder / "run.json").is_file()
        keywords.update(out=folder, resume=goes_on, overwrite=not goes_on and folder.is_dir())
    history = train(network, train_set, **keywords)
    last = history["epochs"][-1]
    found = {"train": history["train"]["accuracy"]}
    if history["val"]:
        found["val"] = history["val"]["accuracy"]
    for place in ("train", "val"):
        for side in ("low", "high"):
            for r in asked["radii"]:
                value = last.get(f"{place}_{side}_{r:g}")
                found[f"{place} {side} {r:g}"] = np.nan if value is None else value
    return found


def plot_training_comparison(result, ax=None, *, of=None, title=None):
    """Every seed's accuracy and their mean, run by run.

    Args:
        result: a `TrainingComparison`.
        ax: a matplotlib axis; None: a figure with a panel for each metric that is known, eight at most.
        of: with `ax`, a metric; default "val" where there is a validation set, else "train".
        title: a line above.

    Returns:
        A matplotlib Figure, or `ax`.
    """
    known = [name for m, name in enumerate(result.metrics) if not result.accuracies[..., m].isnan().all()]
    if ax is not None:
        of = of or ("val" if "val" in known else "train")
        if of not in known:
            raise UsageError(f"plot_training_comparison: of must be one of {', '.join(known)}; got {of!r}.")
        _dots(ax, result, of)
        return figures.literal(ax)
    shown = _main(result)[:8]
    figure = figures.new_figure(3.2 * len(shown), 1.2 + 0.32 * len(result.runs))
    for axis, name in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        _dots(axis, result, name)
    figure.suptitle(title or "Trainings compared, a dot for each seed", fontsize=9.5)
    return figures.literal(figure)


def _main(result):
    """The metrics of the validation images, of the training images where there are none."""
    place = "val" if not result.accuracies[..., result.metrics.index("val")].isnan().all() else "train"
    return [name for name in result.metrics if name.split()[0] == place]


def _dots(axis, result, metric):
    m = result.metrics.index(metric)
    for r, run in enumerate(result.runs):
        colour = figures.INK if r == 0 else figures.CYCLE[0]
        values = 100 * result.accuracies[r, :, m]
        line = axis.plot(values, [r] * len(values), "o", markersize=3.5, alpha=0.55, color=colour)
        words = [f"{run}, seed {seed}: {value:.1f} %" for seed, value in
                 zip(result.seeds.tolist(), values.tolist(), strict=True)]  # fmt: skip
        figures.note(line[0], words)
        axis.plot([float(values.mean())] * 2, [r - 0.3, r + 0.3], color=colour, linewidth=1.6)
    axis.axvline(100 * float(result.mean[0, m]), color=figures.RULE, linewidth=0.8)
    axis.set_yticks(range(len(result.runs)), [shorten(name, 22) for name in result.runs])
    axis.set_ylim(len(result.runs) - 0.5, -0.5)
    axis.set_xlabel(f"recognised, {metric} (percent)")
    figures.plain_axes(axis, grid="x")


@part(files_of(FORMAT))
def training_comparison_part(path, record):
    """Trainings that differ in one factor."""
    result = TrainingComparison.load(path)
    about = result.record
    apart, shown = result.differences, _main(result)
    at = [result.metrics.index(name) for name in shown]
    sentences = [f"{len(result.runs)} trainings from {len(result.seeds)} seeds each."]
    m = at[0]
    sure = [(r, apart[r, m].tolist()) for r in range(1, len(result.runs))]
    differ = [(r, one) for r, one in sure if one[1] > 0 or one[2] < 0]
    for r, (middle, low, high) in sorted(differ, key=lambda each: -abs(each[1][0]))[:4]:
        words = f"{100 * middle:+.1f} points of {shown[0]} accuracy ({100 * low:+.1f} … {100 * high:+.1f})"
        sentences.append(f"{result.runs[r]}: {words}.")
    if not differ:
        sentences.append(f"No change of {shown[0]} accuracy is clear at {percent(result.definition['confidence'])}.")
    lines = []
    for r, run in enumerate(result.runs):
        cells = [Cell(run), Cell(", ".join(f"{key} {json.dumps(value)}" for key, value in result.changes[r].items()))]
        for place in at:
            value, spread = float(result.mean[r, place]), float(result.spread[r, place])
            more = "" if spread != spread else f" ± {100 * spread:.1f}"
            cells.append(Cell.of(value, f"{100 * value:.1f}{more}"))
        lines.append(cells)
    table = Table([("run", "left", None), ("changed", "left", None), *((name, "right", None) for name in shown)], lines)
    changes = Table(
        [("run", "left", None), *((name, "right", "compare-training") for name in shown)],
        [[Cell(run), *(Cell.of(float(apart[r, place, 0]), _change(apart[r, place])) for place in at)]
         for r, run in enumerate(result.runs) if r],
    )  # fmt: skip
    high = 0.9 + 0.32 * len(result.runs)
    charts: list = [
        Drawing(drawing(lambda axis, name=name: _dots(axis, result, name), 4.1, high, f"Accuracy, {name}.").svg)
        for name in shown[:9]
    ]
    sections = [
        Section("Accuracy", [table], "Mean and standard deviation over seeds, in percent.", key="trainings-accuracy"),
        Section("Differences to the base", [changes], "In points, of runs from the same seed; in brackets the t "
                "interval over seeds. Many are looked at: one in twenty is outside by chance.",
                key="trainings-differences"),
        Section("Seeds", charts, "A dot for each seed, a line for their mean.", key="trainings-seeds"),
    ]  # fmt: skip
    asked = [("Base", json.dumps(result.definition.get("base", {}))), ("Recipe", str(result.definition.get("recipe"))),
             ("Network", str(about.get("model", {}).get("name", "")))]  # fmt: skip
    return Part(
        "Trainings compared", sentences,
        [(str(len(result.runs)), "trainings"), (str(len(result.seeds)), "seeds of each")],
        asked, sections, [("Trainings", str(len(result.runs) * len(result.seeds)))], provenance_rows(about), order=36,
    )  # fmt: skip


def _change(values):
    middle, low, high = (100 * value for value in values.tolist())
    return f"{middle:+.1f}" + ("" if low != low else f" ({low:+.1f} … {high:+.1f})")
