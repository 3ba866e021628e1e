"""What networks and people answered, and all that follows from it."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from freqkit.data.sixteen import CATEGORIES
from freqkit.data.test_sets.model_vs_human import CONDITIONS, SETS, cues_of
from freqkit.errors import UsageError
from freqkit.files.reading import COUNT, in_range
from freqkit.files.whole import RECORD, slug, write_csv
from freqkit.measures.human_comparison.kappa import kappas_of, mean_of
from freqkit.measures.human_comparison.tables import HEAD
from freqkit.results import rows
from freqkit.results.result import Result, TensorFile
from freqkit.statistics import wilson

FORMAT = "freqkit-human-comparison-1"
NOT_SEEN, NO_ANSWER = -2, -1
COLUMNS = (
    "model", "set", "images", "accuracy", "accuracy low", "accuracy high", "OOD accuracy", "error consistency",
    "error consistency low", "error consistency high",
)  # fmt: skip


@dataclass
class HumanComparisonResult(Result):
    """What networks and people answer to the same images, in sixteen categories.

    Attributes:
        makers: R names: of the networks that were asked, then of those whose answers were read from tables; people are
            called subject-1, ... there.
        asked: how many of them were asked here.
        names: N names of images. labels: int64 [N], their categories. place: int64 [N], of each its entry in
            `conditions`.
        conditions: list of [set, condition] ("" of a set without).
        responses: int64 [R, N], categories; -1 where no answer was given, -2 where an image was not seen.
        definition, record: JSON-ready dicts.
    """

    makers: list
    asked: int
    names: list
    labels: torch.Tensor
    place: torch.Tensor
    conditions: list
    responses: torch.Tensor
    definition: dict = field(default_factory=dict)
    record: dict = field(default_factory=dict)

    FILE = TensorFile(
        FORMAT, "a file of `human-comparison`",
        {"labels": "int64 N", "place": "int64 N", "responses": "int64 R N"},
        {
            "makers": [str], "asked": COUNT, "names": [str], "conditions": [[str]], "record": RECORD,
            "definition": {"confidence": float, "resamples": COUNT, "seed": COUNT},
        },
        {"N": "names", "R": "makers"},
    )  # fmt: skip
    COLUMNS, FIGURE = COLUMNS, "plot_human_comparison"

    @property
    def sets(self):
        """Names of the sets, in the published order."""
        there = {name for name, _ in self.conditions}
        return [name for name in SETS if name in there]

    @property
    def people(self):
        """Places of people in `makers`."""
        return [r for r, name in enumerate(self.makers) if name.startswith("subject-") and r >= self.asked]

    @property
    def networks(self):
        """Places of all others in `makers`."""
        return [r for r in range(len(self.makers)) if r not in self.people]

    @property
    def confidence(self):
        """Of the intervals."""
        return self.definition.get("confidence", 0.95)

    def among(self, name, kept=False, condition=None):
        """bool [N], the images of a set; `kept`: without its control and hardest conditions; or of one condition."""
        dropped = CONDITIONS.get(name, ((), ()))[1] if kept else ()
        wanted = [
            i for i, (own, other) in enumerate(self.conditions)
            if own == name and other not in dropped and condition in (None, other)
        ]  # fmt: skip
        return torch.isin(self.place, torch.tensor(wanted, dtype=torch.int64))

    def counts(self, maker, images):
        """(right, seen) of the images bool [N] that a maker saw."""
        seen = images & (self.responses[maker] != NOT_SEEN)
        return int((seen & (self.responses[maker] == self.labels)).sum()), int(seen.sum())

    def ood_mean(self, maker):
        """Mean over the 17 sets of accuracy without control and hardest conditions; None unless it saw all sets."""
        found = [self.counts(maker, self.among(name, kept=True)) for name in SETS]
        return sum(hits / n for hits, n in found) / len(SETS) if all(n for _, n in found) else None

    def ood_interval(self, maker):
        """(low, high) of `ood_mean`: the images redrawn within every condition."""
        total = 0.0
        for name in SETS:
            chance = self._chance(f"ood {self.makers[maker]}", name)
            kept = [condition for own, condition in self.conditions if own == name]
            dropped = CONDITIONS.get(name, ((), ()))[1]
            drawn, n = 0, 0
            for condition in kept:
                if condition not in dropped:
                    hits, count = self.counts(maker, self.among(name, condition=condition))
                    drawn, n = drawn + chance.binomial(count, hits / count if count else 0.0, self._draws), n + count
            total = total + drawn / n if n else np.full(self._draws, np.nan)
        return self._limits(total / len(SETS))

    def shape_bias(self, maker):
        """(S, T) on the cue-conflict images, see `freqkit.measures.shape_bias`; (0, 0) without them."""
        s = t = 0
        for i in self.among("cue-conflict").nonzero().flatten().tolist():
            shape, texture = cues_of(self.names[i])
            answer = int(self.responses[maker, i])
            s, t = s + (answer == shape != texture), t + (answer == texture != shape)
        return s, t

    def consistency(self, name, makers, others):
        """Error consistency on a set without its control and hardest conditions: kappa within each condition, the mean
        over conditions and, of several others, over them; the interval by redrawing the images within conditions, and
        the others.

        Args:
            name: of the set. makers: places in `makers`. others: their places; a maker is not compared with itself.

        Returns:
            dict place -> (value, low, high, images); value None where it is undefined or they share no image.
        """
        pairs = [(r, other) for r in makers for other in others if other != r]
        found = self.pairs(name, pairs)
        return {r: self._over(found, [k for k, (one, _) in enumerate(pairs) if one == r], name) for r in makers}

    def pairs(self, name, pairs, draws=True):
        """Of pairs of places on a set: kappa float64 [P], redrawn [B, P], images that both saw [P]."""
        images = self.among(name, kept=True).nonzero().flatten()
        seen = (self.responses[:, images] != NOT_SEEN).numpy()
        correct = (self.responses[:, images] == self.labels[images]).numpy() & seen
        plain, drawn, chance = [], [], self._chance("images", name)
        for condition in self.place[images].unique().tolist():
            some = (self.place[images] == condition).numpy()
            n = int(some.sum())
            plain.append(kappas_of(correct[:, some], seen[:, some], pairs, np.ones((1, n)))[0])
            if draws:
                weights = chance.multinomial(n, np.full(n, 1 / n), self._draws).astype(float)
                drawn.append(kappas_of(correct[:, some], seen[:, some], pairs, weights))
        shared = np.array([(seen[a] & seen[b]).sum() for a, b in pairs], int)
        if not plain:
            return np.full(len(pairs), np.nan), np.full((1, len(pairs)), np.nan), shared
        return mean_of(np.stack(plain), 0), mean_of(np.stack(drawn), 0) if draws else None, shared

    def _over(self, found, own, name):
        """(value, low, high, images) over some of the pairs of `_pairs`."""
        plain, drawn, shared = found
        images = int(shared[own].max()) if own else 0
        own = [k for k in own if not np.isnan(plain[k])]
        if not own:
            return None, None, None, images
        again = drawn[:, own]
        if len(own) > 1:
            which = self._chance("others", name).integers(len(own), size=again.shape)
            again = np.take_along_axis(again, which, 1)
        return float(plain[own].mean()), *self._limits(mean_of(again, 1)), images

    @property
    def _draws(self):
        return self.definition.get("resamples", 1000)

    def _chance(self, what, name):
        """Random numbers of their own for each question and set, wherever it stands."""
        stream = int.from_bytes(hashlib.blake2b(f"{what}/{name}".encode(), digest_size=8).digest(), "little")
        return np.random.Generator(np.random.Philox(key=np.array([self.definition.get("seed", 0), stream], np.uint64)))

    def _limits(self, drawn):
        drawn = drawn[~np.isnan(drawn)]
        tails = [50 * (1 - self.confidence), 50 * (1 + self.confidence)]
        return tuple(float(v) for v in np.percentile(drawn, tails)) if len(drawn) else (None, None)

    def cells(self):
        """One line for each that answered and each set it saw: images, accuracy with its interval, accuracy without
        control and hardest conditions, and error consistency with people (all others of them) with its interval."""
        lines = []
        for name in self.sets:
            kappas = self.consistency(name, range(len(self.makers)), self.people)
            for r, maker in enumerate(self.makers):
                hits, n = self.counts(r, self.among(name))
                if n:
                    low, high = wilson(torch.tensor([hits]), torch.tensor([n]), self.confidence)[0].tolist()
                    right, kept = self.counts(r, self.among(name, kept=True))
                    lines.append([maker, name, n, hits / n, low, high, right / kept if kept else None, *kappas[r][:3]])
        order = {name: r for r, name in enumerate(self.makers)}
        lines.sort(key=lambda line: order[line[0]])
        return [list(column) for column in zip(*lines, strict=True)] or [[] for _ in COLUMNS]

    def rows(self):
        found = []
        for r, maker in enumerate(self.makers):
            for name in self.sets:
                about = {"model": maker, "set": name, "definition": "right among 16 categories"}
                for condition in ("all", *(other for own, other in self.conditions if own == name and other)):
                    hits, n = self.counts(r, self.among(name, condition=None if condition == "all" else condition))
                    if n:
                        where = {**about, "condition": condition}
                        found += rows.shares([""], "accuracy", [hits], [n], self.confidence, **where)
                hits, n = self.counts(r, self.among(name, kept=True))
                words = {**about, "condition": "all", "definition": "without control and hardest conditions"}
                found += rows.shares([""], "OOD accuracy", [hits], [n], self.confidence, **words) if n else []
            if (value := self.ood_mean(r)) is not None:
                low, high = self.ood_interval(r)
                how = {"condition": "all", "definition": "mean of OOD accuracy over the 17 sets"}
                n = int((self.responses[r] != NOT_SEEN).sum())
                found.append(rows.tidy(model=maker, set="model-vs-human", metric="ood_mean", value=value, low=low,
                                       high=high, n=n, **how))  # fmt: skip
            s, t = self.shape_bias(r)
            if s + t:
                how = {"definition": "S / (S + T) of conflicting images, 16 categories", "condition": "all"}
                found += rows.shares([""], "shape-bias", [s], [s + t], self.confidence, model=maker, set="cue-conflict",
                                     **how)  # fmt: skip
        return found + self._consistency_rows()

    def _consistency_rows(self):
        found, everyone, networks = [], range(len(self.makers)), self.networks
        pairs = [(r, other) for other in networks for r in networks if r != other]
        pairs += [(r, other) for r in everyone for other in self.people if r != other]
        groups = [(r, self.makers[other], [k]) for k, (r, other) in enumerate(pairs) if other in networks]
        groups += [(r, "people", [k for k, (one, other) in enumerate(pairs) if one == r and other in self.people])
                   for r in everyone if self.people]  # fmt: skip
        words = "kappa of being right on the same images, mean over conditions without control and hardest"
        for name in self.sets:
            kappas = self.pairs(name, pairs)
            for r, other, own in groups:
                value, low, high, n = self._over(kappas, own, name)
                found += [
                    rows.tidy(model=self.makers[r], set=name, condition=f"with {other}", metric="error consistency",
                              value=value, low=low, high=high, n=n, definition=words)
                ] * bool(n)  # fmt: skip
        return found

    def write_raw(self, folder):
        """Write the answers as published raw data, SET/SET_MAKER_session-1.csv in a folder, of those asked here.

        Returns:
            list of the paths.
        """
        written = []
        for name in self.sets:
            images = self.among(name).nonzero().flatten().tolist()
            for maker, responses in zip(self.makers[: self.asked], self.responses, strict=False):
                table = [
                    dict(zip(HEAD, (maker, 1, trial, "NaN", _word(int(responses[i])), CATEGORIES[int(self.labels[i])],
                                    self.conditions[int(self.place[i])][1] or "NaN", self.names[i].rpartition("/")[2]),
                             strict=True))
                    for trial, i in enumerate(images, 1)
                ]  # fmt: skip
                path = Path(folder) / name / f"{name}_{slug(maker)}_session-1.csv"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_csv(path, HEAD, table)
                written.append(path)
        return written

    @classmethod
    def checked(cls, values, path):
        in_range(values["labels"], 0, len(CATEGORIES) - 1, path, "labels")
        in_range(values["place"], 0, len(values["conditions"]) - 1, path, "place")
        in_range(values["responses"], NOT_SEEN, len(CATEGORIES) - 1, path, "responses")
        fits = all(len(each) == 2 and each[0] in SETS for each in values["conditions"])
        if not fits or values["asked"] > len(values["makers"]):
            raise UsageError(f"{path}: conditions must be pairs of a set of model-vs-human and a condition.")
        return values


def _word(answer):
    return "na" if answer < 0 else CATEGORIES[answer]
