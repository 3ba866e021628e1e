"""Searchers side by side: one model, the same images to select on, the same other images to judge on."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from freqkit.data import Images, as_images
from freqkit.engine import Progress, Scorer, Silent
from freqkit.engine.entrance import enter
from freqkit.errors import UsageError
from freqkit.files.reading import COUNT, SECONDS, Number, read_json
from freqkit.files.whole import CLEAN, DATA, MODEL, write_csv, write_json
from freqkit.masks import coverage as coverage_of
from freqkit.masks import uncentred
from freqkit.models import Network
from freqkit.options import Options, flat, option
from freqkit.registry import SEARCHERS, module_of
from freqkit.results import rows as tidy_rows
from freqkit.results.clean import CleanRates
from freqkit.results.result import Result, Told, about_record
from freqkit.search.plan import efforts
from freqkit.search.run import predict_whole

COLUMNS = (
    "searcher", "effort", "seed", "forwards", "backwards", "forward equivalents", "seconds", "power", "touched",
    "selection loss", "selection TPR-FPR", "loss", "TPR", "FPR", "TPR-FPR",
)  # fmt: skip
EFFORTS = efforts()


@dataclass(frozen=True, kw_only=True)
class Comparing(Options):
    """What `compare_searchers` is asked."""

    searchers: Sequence[str] = option(
        tuple(EFFORTS),
        "some of those that are the default",
        kind="names",
        metavar="NAME[,NAME...]",
        help="some of them.  [default: all]",
    )
    efforts: dict[str, Sequence[int]] | None = option(
        None, "searcher -> efforts to try in place of the default ones (`Effort`)", flag=False
    )
    per_class: int = option(30, "selection images of each class", least=1, help="images to select on")
    coverage: float = option(0.05, "share of the bins to keep", above=0, most=1)
    seeds: int = option(5, "how many", least=1, help="draws of images, and runs")
    slow_seeds: int | None = option(
        None, "how many for hfss, removal and greedy, which cost many times more; None: as many", least=1,
        help="of hfss, removal, greedy.  [default: as many]",
    )  # fmt: skip

    def check(self, owner):
        names = list(self.searchers)
        if not names or not set(names) <= set(EFFORTS):
            raise UsageError(f"{owner}: searchers must be some of {', '.join(EFFORTS)}; got {names}.")
        return self


@dataclass
class Comparison(Result):
    """What `compare_searchers` measured.

    Attributes:
        rows: list of dicts with the keys `COLUMNS`, one per run: rates and losses without "selection" are those of
            the held-out images; all are means over the classes. power: mean of m_eff², touched: share of bins with
            m_eff > 0.
        facts: model, images, coverage, seeds, what effort counts, what whole held-out images say.
    """

    rows: list = field()  # type: ignore[assignment]
    facts: dict = field(default_factory=dict)

    FIGURE = "plot_comparison"
    FOLDER = True
    MAIN = ("highest", "TPR-FPR")

    def __post_init__(self):
        self.rows = Told(self.rows, self._told)

    def _told(self, runs):
        """Tidy rows of runs: means over the classes of what held-out and selection images say, and the cost."""
        about = tidy_rows.of_record({"model": self.facts.get("model"), "data": self.facts.get("held out")})
        found = [] if self.clean is None else tidy_rows.rates(self.clean.classes, self.clean, **about)
        for run in runs:
            where = {**about, **{name: run[name] for name in ("searcher", "effort", "seed")}}
            through = {**where, "filter": "map", "definition": "mean over the classes, each through its own map"}
            chosen = {**through, "condition": "images of the selection"}
            for metric, name, place in (
                *((f"mean {name}", name, through) for name in ("loss", "TPR", "FPR", "TPR-FPR")),
                *((f"mean {name}", f"selection {name}", chosen) for name in ("loss", "TPR-FPR")),
                *((f"mean {name}", key, where) for name, key in (("power", "power"), ("coverage", "touched"))),
                *((name, name, where) for name in ("forwards", "backwards", "forward equivalents", "seconds")),
            ):
                found.append(tidy_rows.tidy(metric=metric, value=float(run[name]), **place))
        return found

    @property
    def clean(self):
        """`freqkit.results.clean.CleanRates` of the held-out images; None of a comparison that did not ask them."""
        known = self.facts.get("clean") or {}
        return CleanRates.of_record(self.facts, known.get("classes"), known.get("counts"))

    def table(self):
        """One dict per searcher and effort: means over the seeds, and "seeds", "loss sd", "TPR-FPR sd" (NaN for one
        seed)."""
        groups = {}
        for row in self.rows:
            groups.setdefault((row["searcher"], row["effort"]), []).append(row)
        table = []
        for (searcher, effort), rows in groups.items():
            mean = {
                name: sum(row[name] for row in rows) / len(rows) for name in COLUMNS if isinstance(rows[0][name], float)
            }
            spread = {
                f"{name} sd": torch.tensor([row[name] for row in rows]).std().item() if len(rows) > 1 else float("nan")
                for name in ("loss", "TPR-FPR")
            }
            cost = sum(row["forward equivalents"] for row in rows) / len(rows)
            table.append(
                {
                    "searcher": searcher,
                    "effort": effort,
                    "seeds": len(rows),
                    "forward equivalents": cost,
                    **mean,
                    **spread,
                }
            )
        return table

    def about(self):
        return about_record({"model": self.facts.get("model"), "data": self.facts.get("held out")})

    @property
    def columns(self):
        return tuple(self.table()[0]) if self.rows else ()

    def save(self, directory):
        """Write comparison.csv (every run) and comparison.json (facts and means), atomically."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        write_csv(directory / "comparison.csv", COLUMNS, self.rows)
        write_json(directory / "comparison.json", {**self.facts, "means": self.table(), "rows": self.rows})

    @classmethod
    def load(cls, directory):
        """Read what `save` wrote."""
        path = Path(directory) / "comparison.json"
        measured = COLUMNS[COLUMNS.index("seconds") :]
        rates = ("TPR", "FPR", "power", "touched")
        row = {
            "searcher": str, **dict.fromkeys(("effort", "seed", "forwards", "backwards"), COUNT),
            "forward equivalents": SECONDS, **dict.fromkeys(measured, (float, None)),
            **dict.fromkeys(rates, (Number(0, 1), None)), "seconds": SECONDS,
        }  # fmt: skip
        facts = {
            "pool?": DATA, "held out?": DATA, "model?": MODEL, "effort?": {str: str}, "coverage?": (Number(0, 1), None),
            "clean?": CLEAN,
            **dict.fromkeys(("seeds?", "slow seeds?", "runs?", "selection images per class?"), (COUNT, None)),
        }  # fmt: skip
        found = read_json(path, {"rows": [row], **facts}, "a comparison of searchers")
        if found.get("pool") and not {"held out", "coverage", "seeds", "slow seeds"} <= {*found}:
            raise UsageError(f"{path}: held out, coverage, seeds or slow seeds is missing.")
        rows = [
            {
                key: math.nan if value is None else float(value) if key in measured else value
                for key, value in row.items()
            }
            for row in found.pop("rows")
        ]
        return cls(rows, {key: value for key, value in found.items() if key != "means"})


@flat(owner="compare-searchers")
def compare_searchers(
    model: Network,
    pool: Images,
    held_out: Images,
    own: Comparing,
    *,
    batch_size: int | str = "auto",
    device: str | torch.device | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Run searchers on equal terms, and judge their masks on images that none of them saw.

    For each seed `per_class` images of each class are drawn from the pool; every searcher selects on these, with that
    seed for its own draws. `hfss` has no budget: it gets keep = coverage^(1/stages), so that its last stage keeps about
    `coverage` (what it keeps is in the rows), and certain stopping, which changes its cost alone. The others keep at
    most `coverage` of the bins; "removal" and "gradient" may keep a tied pair more.

    Args:
        model: a `Classifier`. pool, held_out: what `freqkit.data.as_images` takes, with the same classes.
        batch_size, device: see `freqkit.engine.score`.
        out: directory for a run directory of every search (finished ones are read, so that a stopped comparison goes
            on), comparison.csv and comparison.json.
        progress: a `freqkit.engine.Progress`.

    Returns:
        `Comparison`.

    Raises:
        UsageError: an argument does not fit, or the held-out images are those of the pool.

    Example:
        >>> from freqkit.data import synthetic
        >>> from freqkit.models import load_model
        >>> model = load_model("small_convnet", num_classes=4)
        >>> found = compare_searchers(
        ...     model, synthetic(images_per_class=4), synthetic(images_per_class=4, seed=1), searchers=["learned"],
        ...     efforts={"learned": [1, 2]}, per_class=2, seeds=1, batch_size=16,
        ... )
        >>> [(row["searcher"], row["effort"], row["backwards"]) for row in found.rows]
        [('learned', 1, 88), ('learned', 2, 152)]
    """
    model, held_out = enter("compare-searchers", model, held_out, name="held_out")
    pool = as_images(pool, "compare-searchers", model=model, name="pool")
    if list(pool.classes) != list(held_out.classes):
        raise UsageError("compare-searchers: held_out must have the classes of the pool.")
    if pool.fingerprint == held_out.fingerprint:
        raise UsageError("compare-searchers: held_out must be other images than the pool; they are the same.")
    if int(pool.counts.min()) < 1 or int(held_out.counts.min()) < 1:
        raise UsageError("compare-searchers: every class needs images in the pool and held out.")
    progress = progress or Silent()
    judge = Scorer(model, held_out, batch_size=batch_size, device=device)
    # "auto" stays "auto": what it comes to is timed, and a search that goes on keeps what it began with.
    how = {"batch_size": batch_size, "device": device, "progress": progress}
    runs = [
        (seed, name, effort)
        for seed in range(own.seeds)
        for name in own.searchers if not EFFORTS[name][1].slow or own.slow_seeds is None or seed < own.slow_seeds
        for effort in (own.efforts or {}).get(name, EFFORTS[name][1].tried)
    ]  # fmt: skip
    facts = {
        "model": dict(model.record),
        "pool": dict(pool.record),
        "held out": dict(held_out.record),
        "selection images per class": own.per_class,
        "coverage": own.coverage,
        "seeds": own.seeds,
        "slow seeds": own.seeds if own.slow_seeds is None else own.slow_seeds,
        "effort": {name: EFFORTS[name][1].counts for name in own.searchers},
        "runs": len(runs),
    }
    whole = _whole(judge, progress)
    facts["clean"] = {**whole.record, "classes": whole.classes, "counts": whole.counts.tolist()}
    found, drawn = Comparison([], facts), None
    for seed, name, effort in runs:
        if drawn is None or drawn[0] != seed:
            drawn = seed, _drawn(pool, own.per_class, seed)
        where = {} if out is None else {"out": Path(out) / f"{name}-{effort}-seed{seed}", "resume": True}
        searcher, tried = EFFORTS[name]
        search = getattr(module_of(SEARCHERS, searcher), searcher)
        asked = tried.asks(effort, own.coverage, seed, tuple(pool.images.shape[-2:]))
        result = search(model, drawn[1], **asked, **how, **where, split_fraction=1)  # held-out images judge
        found.rows.append(_judged(name, effort, seed, result, judge, progress))
        if out is not None:
            found.save(out)
    return found


def _whole(judge, progress):
    """`CleanRates` of the held-out images, before any search."""
    progress.start("whole held-out images", judge.forwards(1))
    try:
        _, _, clean = predict_whole(lambda masks, **more: judge.score(masks, progress=progress, **more), judge)
    finally:
        progress.finish()
    for caution in clean.cautions():
        progress.note(f"Caution: {caution}")
    return clean


def _drawn(pool, per_class, seed):
    """The first of each class in an order drawn by the seed."""
    generator = torch.Generator().manual_seed(seed)
    chosen = []
    for label in range(len(pool.classes)):
        members = (pool.labels == label).nonzero().flatten()
        chosen.append(members[torch.randperm(len(members), generator=generator)[:per_class]])
    return pool.subset(torch.cat(chosen))


def _judged(name, effort, seed, result, judge, progress):
    share = coverage_of(result.masks)
    progress.start("held-out images", judge.forwards(len(result.masks)))
    try:
        scores = judge.score(uncentred(result.masks).contiguous(), progress=progress)
    finally:
        progress.finish()
    table = result.table()
    mean = {name: float(getattr(scores, key).diagonal().mean()) for name, key in (("loss", "loss"), ("TPR", "tpr"))}
    mean["FPR"] = float(scores.fpr.diagonal().mean())
    return {
        "searcher": name, "effort": effort, "seed": seed, "forwards": result.forwards, "backwards": result.backwards,
        "forward equivalents": result.forwards + 2 * result.backwards, "seconds": float(result.seconds),
        "power": float(share.power.mean()), "touched": float(share.touched.mean()),
        "selection loss": sum(row["loss"] for row in table) / len(table),
        "selection TPR-FPR": sum(row["TPR-FPR"] for row in table) / len(table),
        **mean, "TPR-FPR": mean["TPR"] - mean["FPR"],
    }  # fmt: skip
