"""One profile of a model: what it takes from frequencies, by all measures, within a stated budget."""

import dataclasses
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from freqkit.data import Images, ImageSet
from freqkit.engine import Silent
from freqkit.engine.batches import calibrate
from freqkit.engine.entrance import asked_of, enter
from freqkit.engine.forward import Forward
from freqkit.engine.session import session
from freqkit.errors import UsageError
from freqkit.files.reading import parse_json
from freqkit.files.whole import write_json
from freqkit.measures.profile import budget as budgets
from freqkit.measures.profile.parts import PARTS, ROUNDS, Asked, ProfilePart, restored
from freqkit.measures.profile.result import ProfileResult
from freqkit.models import Network
from freqkit.options import Options, Running, Scoring, flat, option
from freqkit.results.result import versions

__all__ = ["ProfilePlan", "ProfileResult", "profile"]
FAULTS = (ValueError, ArithmeticError, RuntimeError)  # that end one part, and no more
QUICK, QUICK_LARGE, USUAL = "2m", "5m", "10m"
LARGE = 96  # pixels of a side, above which images count as large
BATCHES = (64, 16)  # of small images and of large ones, for a budget of forwards


@dataclass(frozen=True, kw_only=True)
class Profiling(Options):
    """What `profile` is asked."""

    budget: str | None = option(
        None, "for each model: a time (90s, 10m, 1h), or forwards=N, of which a backward is two; None: 10m, quick 2m",
        metavar="10m|forwards=N", help="for each model: a time, or forwards=N.  [default: 10m; 2m with --quick]",
    )  # fmt: skip
    quick: bool = option(
        False,
        "a budget of two minutes, of five where images have more than 96 pixels",
        switch=("quick", True),
        identity=False,
    )
    seed: int = option(0, "of the order of images, of noise and of the search", least=0)

    def check(self, owner):
        if self.quick and self.budget is not None:
            raise UsageError(f"{owner}: give budget or quick, not both.")
        text = self.budget if self.budget is not None else QUICK if self.quick else USUAL
        budgets.Budget.parse(text)
        return dataclasses.replace(self, budget=text)


@dataclass
class ProfilePlan:
    """What a profile would do.

    Attributes:
        models: a dict for each: name, batch_size, budget {amount, unit}, prices (of each unit, in the budget's), parts:
            a list of dicts name, title, images, cost (in the budget's unit), reason.
    """

    models: list

    def table(self) -> list[dict]:
        """A line for each model and part."""
        return [{"model": one["name"], **part, "unit": one["budget"]["unit"]} for one in self.models
                for part in one["parts"]]  # fmt: skip

    @property
    def seconds(self) -> float | None:
        """Of all parts; None of a budget in forwards."""
        lines = self.table()
        return None if any(line["unit"] != "seconds" for line in lines) else sum(line["cost"] for line in lines)


@flat
def profile(
    model: Network | Sequence[tuple[str, Network]], images: Images | Sequence[Images], own: Profiling,
    scoring: Scoring, running: Running, *, tell: Callable[[ProfilePlan], Any] | None = None,
    study: Sequence[dict] = (), clock: Callable[[], float] = time.monotonic, began: float | None = None,
) -> ProfileResult | ProfilePlan:  # fmt: skip
    """Ask a model everything that fits a budget, and put it side by side.

    First a plan is made: a few batches are timed (of a budget in forwards nothing is), the budget is dealt out among
    the parts, and each part gets as many images as its share can pay. Images are drawn in an order by class in turns.
    Parts take turns, too, a sixth of their images at a time; of a budget in time the plan is corrected once, after the
    first turn, by what that took, and what the time does not reach is left out ("stopped").

    Args:
        model: a `Classifier`, or a list of (name, model).
        images: what `freqkit.data.as_images` takes; or a list of such, one for each model.
        tell: called with the plan before the work.
        study: models to be shown beside, see `freqkit.measures.profile.result.of_study`.
        clock: seconds, by which a budget in time is kept. began: on it, when the first model's time began; None: now.

    Returns:
        `ProfileResult`: `.rows()`, `.verdict`, `.facts`; or with dry_run a `ProfilePlan`.

    Raises:
        UsageError, TypeError, ValueError: an argument does not fit.

    Example:
        >>> from freqkit.data import synthetic
        >>> from freqkit.models import load_model
        >>> net = load_model("small_convnet", num_classes=4)
        >>> found = profile(net, synthetic(1, images_per_class=4), budget="forwards=3000", batch_size=16)
        >>> [part["name"] for part in found.models[0]["parts"]][:2], found.rows()[0]["metric"]
        (['clean', 'pass-curves'], 'accuracy')
    """
    began = clock() if began is None else began
    models = list(model) if isinstance(model, (list, tuple)) else [("", model)]
    sets = list(images) if isinstance(images, (list, tuple)) and isinstance(model, (list, tuple)) else None
    if sets is not None and len(sets) != len(models):
        raise UsageError(f"profile: images must be one set, or one for each of {len(models)} models; got {len(sets)}.")
    entered = []
    for place, (name, one) in enumerate(models):
        network, own_images = enter("profile", one, images if sets is None else sets[place], scoring.class_index)
        if not len(own_images):
            raise UsageError("profile: images must hold at least one image; got none.")
        entered.append((name or network.name, network, own_images))
    names = [name for name, *_ in entered]
    if len({*names}) < len(names):
        raise UsageError(f"profile: models must have distinct names; got {', '.join(names)}.")
    progress = running.progress or Silent()
    if running.dry_run:
        return ProfilePlan([_Profile(name, network, some, own, scoring, progress, clock).planned()
                            for name, network, some in entered])  # fmt: skip
    identity = {
        "measure": "profile", **own.identity(), "parts": [part.name for part in PARTS],
        "models": [{"name": name, **asked_of(network, some, scoring)} for name, network, some in entered],
    }  # fmt: skip
    how = {"resume": running.resume, "overwrite": running.overwrite, "note": progress.note}
    with session("profile", identity, running.out, **how) as run:
        before = float(run.earlier.get("seconds", 0.0))
        if run.path is not None and not run.earlier:
            _clear(run.path, len(entered))
        each = []
        for place, (name, network, some) in enumerate(entered):
            folder = None if run.path is None else run.path / str(place + 1)
            each.append(_Profile(name, network, some, own, scoring, progress, clock, folder, run.check))
        plans = ProfilePlan([one.planned() for one in each])
        run.note_down(device=asked_of(entered[0][1], entered[0][2], scoring)["device"])
        if tell is not None:
            tell(plans)
        described, found = [], {}
        for place, one in enumerate(each):
            if place:  # its own time
                began = clock()
            elif before:  # of all sessions
                began = min(began, clock() - before)
            described.append({"name": one.name, "folder": str(place + 1), **one.all(began)})
            found.update({(str(place + 1), key): value for key, value in one.results.items()})
            run.note_down(seconds_of_parts={each.name: each.seconds for each in each[: place + 1]})
        definition = {
            "quantity": "profile",
            **own.identity(),
            "backward": "two forwards",
            "study": [dict(one) for one in study],
        }
        record = {"versions": versions(), "model": dict(entered[0][1].record), "data": dict(entered[0][2].record)}
        result = ProfileResult(described, found, definition, record)
        if run.path is not None:
            result.save(run.path)
    return result


def _clear(path, models):
    """What an earlier run, which is replaced, left below."""
    for place in range(models):
        for name in ("work", "parts"):
            shutil.rmtree(path / str(place + 1) / name, ignore_errors=True)
        (path / str(place + 1) / "plan.json").unlink(missing_ok=True)


def in_turns(images: ImageSet, seed: int) -> ImageSet:
    """The images in an order in which classes take turns, drawn within each."""
    generator, labels = np.random.default_rng([seed, len(images)]), images.labels.numpy()
    order = generator.permutation(len(labels))
    rank = np.empty(len(labels), np.int64)
    seen: dict = {}
    for place in order.tolist():
        rank[place] = seen.get(label := int(labels[place]), 0)
        seen[label] = rank[place] + 1
    turn = {place: at for at, place in enumerate(order.tolist())}
    return images.subset(sorted(range(len(labels)), key=lambda place: (rank[place], turn[place])))


class _Profile:
    """One model's profile."""

    def __init__(self, name, model, images, own, scoring, progress, clock, folder=None, check=lambda: None):
        self.name, self.model, self.images, self.own, self.progress = name, model, images, own, progress
        self.clock, self.folder, self.check = clock, folder, check
        self.scoring = dict(vars(scoring))
        large = max(images.images.shape[-2:]) > LARGE
        self.budget = budgets.Budget.parse(QUICK_LARGE if own.quick and large else own.budget)
        self.facts = {"size": tuple(images.images.shape[-2:]), "classes": len(images.labels.unique())}
        self.results, self.seconds, self.reasons = {}, {}, {}
        self.plan: dict = {}

    def planned(self):
        """The plan: read where the run goes on, made otherwise, and written down."""
        file = None if self.folder is None else self.folder / "plan.json"
        if file is not None and file.is_file():
            self.plan = parse_json(file.read_text(encoding="utf-8"), file)
        else:
            self._make_plan()
            self._write()
        self.scoring["batch_size"] = self.plan["batch_size"]
        return {"name": self.name, **self.plan}

    def _make_plan(self):
        began, timed = self.clock(), self.budget.unit == "seconds"
        if self.scoring["batch_size"] == "auto":
            self.scoring["batch_size"] = BATCHES[max(self.facts["size"]) > LARGE]
            if timed:
                how = {name: self.scoring[name] for name in ("device", "dtype")}
                forward = Forward(self.model, **how)
                limit = budgets.PROBED / 2 * self.budget.amount
                shape = tuple(self.images.images.shape[1:])
                self.scoring["batch_size"] = calibrate(forward, shape, limit=len(self.images), seconds=limit)[0]
        prices, amount = budgets.prices_in_forwards(), self.budget.amount
        if timed:
            limit = budgets.PROBED / 2 * amount
            prices = budgets.measured_prices(self.model, self.images, self.scoring, limit)
            amount = amount * (1 - budgets.RESERVE) - (self.clock() - began)
        parts = budgets.plan(PARTS, amount, len(self.images), prices, self.facts)
        self.plan = {
            "budget": dataclasses.asdict(self.budget), "batch_size": self.scoring["batch_size"], "prices": prices,
            "corrected": not timed,  # by what the first turn took
            "parts": [{"name": part.name, "title": part.title, "images": one.images, "cost": one.cost,
                       "reason": one.reason, "pieces": self._pieces(part, one.images)}
                      for part, one in zip(PARTS, parts, strict=True)],
        }  # fmt: skip

    def _pieces(self, part, images, done=0):
        """Where the pieces of a part begin and end, after those that are done."""
        if images <= done:
            return []
        if part.joined is None:
            return [[0, images]]
        rounds = ROUNDS - bool(done)
        return [[done + low, done + high] for low, high in budgets.chunks(images - done, rounds, part.least)]

    def _write(self):
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self.folder / "plan.json", self.plan)

    def all(self, began):
        """Everything that is planned; what the profile says of it."""
        timed = self.budget.unit == "seconds"
        deadline = began + self.budget.amount * (1 - budgets.RESERVE) if timed else float("inf")
        ordered, done = in_turns(self.images, self.own.seed), {part.name: [] for part in PARTS}
        for turn in range(ROUNDS):
            if turn == 1 and not self.plan["corrected"]:
                self._correct(deadline - began)
            for part in sorted(PARTS, key=self._price):  # cheap ones first: the time may be up within a turn
                pieces = self._planned(part)["pieces"]
                if turn < len(pieces) and part.name not in self.reasons:
                    self._piece(part, ordered, *pieces[turn], done[part.name], deadline)
        return self._described(done)

    def _price(self, part):
        planned = self._planned(part)
        return planned.get("cost", 0.0) / max(len(planned["pieces"]), 1)

    def _planned(self, part):
        return next((one for one in self.plan["parts"] if one["name"] == part.name), {"pieces": [], "images": 0})

    def _piece(self, part: ProfilePart, ordered, low, high, done, deadline):
        """One piece of a part, unless the time is up; a file of its own when it is finished."""
        file = None if self.folder is None else self.folder / "work" / f"{part.name}-{low}-{high}.safetensors"
        self.check()
        if file is not None and file.is_file():
            done.append(restored(part, file))
            return
        now, planned = self.clock(), self._planned(part)
        expected = planned["cost"] * (high - low) / max(planned["images"], 1)
        if now > deadline or (done and now + 0.75 * expected > deadline):
            return
        if not done and now + expected > deadline:  # a piece cannot stop: fewer images from the start
            images = int(high * (deadline - now) / expected)
            if images < part.least:
                return
            planned["pieces"] = [[low, images]]
            self._write()
            self._piece(part, ordered, low, images, done, float("inf"))
            return
        folder = None if file is None else self.folder / "work" / part.name
        how = Asked(self.model, self.scoring, self.own.seed, self.progress, folder, self.check)
        try:
            result = part.run(how, ordered.subset(range(low, high)), low)
        except FAULTS as error:
            self.reasons[part.name] = " ".join(str(error).split()) or type(error).__name__
            return
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            result.FILE.write(file, result.values())
        self.seconds[part.name] = self.seconds.get(part.name, 0.0) + self.clock() - now
        done.append(result)

    def _correct(self, amount):
        """The plan of what is left, by what the first turn took; of a run that goes on, as far as it was seen."""
        scale, spent = {}, dict(self.seconds)
        for part in PARTS:
            pieces, planned = self._planned(part)["pieces"], self._planned(part)
            if part.name in spent and pieces:
                low, high = pieces[0]
                expected = planned["cost"] * (high - low) / planned["images"]
                scale[part.name] = spent[part.name] / max(expected, 1e-9)
        found = budgets.plan(PARTS, amount, len(self.images), self.plan["prices"], self.facts, scale)
        for part, one in zip(PARTS, found, strict=True):
            planned = self._planned(part)
            if part.joined is None or not planned["pieces"]:
                continue
            first = planned["pieces"][0]
            images = max(first[1], one.images)
            planned.update(images=images, pieces=[first, *self._pieces(part, images, first[1])],
                           cost=scale.get(part.name, 1.0) * budgets.costs(part, images, self.plan["prices"],
                                                                          self.facts))  # fmt: skip
        self.plan["corrected"] = True
        self._write()

    def _described(self, done):
        parts = []
        for part in PARTS:
            planned, results = self._planned(part), done[part.name]
            about = {"name": part.name, "title": part.title, "state": "skipped", "images": 0,
                     "planned": planned["images"], "forwards": 0, "backwards": 0, "sentence": "",
                     "numbers": []}  # fmt: skip
            reason = part.absent or self.reasons.get(part.name) or planned.get("reason", "")
            if results:
                result = results[0] if len(results) == 1 or part.joined is None else part.joined(results)
                self.results[part.name] = result
                images = sum(high - low for low, high in planned["pieces"][: len(results)])
                stopped = images < planned["images"]
                reason = f"the time was up after {images} of {planned['images']} images" if stopped else ""
                about |= {
                    "state": "stopped" if stopped else "finished", "images": images,
                    "forwards": int(result.record.get("forwards") or 0) if hasattr(result, "record") else 0,
                    "backwards": int(result.record.get("backwards") or 0) if hasattr(result, "record") else 0,
                    "sentence": part.verdict(result),
                    "numbers": [{**row, "model": self.name, "definition": row["definition"] or part.says}
                                for row in part.numbers(result)],
                }  # fmt: skip
            elif not reason:
                reason = "the time was up"
            parts.append({**about, "reason": reason})
        plan = {key: value for key, value in self.plan.items() if key != "parts"}
        record = {"model": dict(self.model.record), "data": dict(self.images.record)}
        return {"record": record, "plan": plan, "parts": parts}
