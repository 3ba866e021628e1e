"""What the searchers share: checked arguments, run directory, journalled scores, cost, result."""

import dataclasses

import numpy as np
import torch

from freqkit.data import Images
from freqkit.engine import Scorer, Silent, ranks
from freqkit.engine.entrance import asked_of, enter
from freqkit.engine.session import session
from freqkit.errors import UsageError
from freqkit.masks import pack, random_alike, uncentred
from freqkit.models import Network
from freqkit.options import Running, Scoring
from freqkit.results import RemovalResult, SearchResult, StageResult
from freqkit.results.clean import CleanRates
from freqkit.results.confusion import Confusion
from freqkit.results.result import versions
from freqkit.results.tested import Tested
from freqkit.search.cells import removal_cells
from freqkit.search.plan import Plan
from freqkit.search.testing import Parts, Testing, permuted

CLEAN = "clean"  # key of the whole images in the journal
# What scores tell of their cost.
COST = {"forwards", "forwards_saved", "forwards_saved_twins", "forwards_saved_racing", "forwards_saved_certain"}
# What a search goes on with as it began.
CARRIED = ("batch_size", "batch_size_timings", "form", "seconds_in_model", "seconds_of_all_sessions")


def masks_of(result):
    """The masks of a result as a scorer takes them, in the form in which the search scored them."""
    return uncentred(result.masks) if isinstance(result, RemovalResult) else result.bits


def predict_whole(score, scorer, classes=None):
    """What the model makes of whole images.

    Args:
        score: called with the mask of everything and `per_sample=True`; gives `Scores` of all classes of the set.
        scorer: the `Scorer` that it asks.
        classes: int64, those that the rates shall be of; None: those that have images.

    Returns:
        (scores, bool [n] which images are recognised, `CleanRates` of the classes that have images).
    """
    everything = pack(torch.ones(1, 1, 1), cell=scorer.size, size=scorer.size, symmetry="average")
    scores = score(everything, per_sample=True)
    predictions = scores.samples["answer"][0].long()
    confusion = Confusion.count(scorer.labels, predictions, len(scorer.classes), scorer.logits)
    clean = CleanRates.of_confusion(scorer.classes, confusion, scorer.class_index, kept=classes)
    return scores, predictions == scorer.class_index[scorer.labels], clean


class SearchRun:
    """One search.

    Args:
        name: of the searcher. scoring: how the model is asked.
        identity: what beside the arguments here the result depends on, JSON-ready.
        testing, running: which of the images select, and which test (`Parts`); None: all select.
        published: whether a published preset is searched by, which takes all images.

    Attributes:
        images: those that select. parts: `Parts`.
        searched: numbers of the classes that have images; classes, counts: their names, int64 numbers of images.
        label: int64 [n], of each image the place of its class in `searched`.
        record: becomes run.json. journal: of the run directory, or None.
        path: where results are written; None for nowhere.
        recognised: bool [n], the images that are recognised whole; None before `whole` asked.
    """

    def __init__(
        self, name: str, model: Network, images: Images, scoring: Scoring, identity: dict,
        testing: Testing | None = None, running: Running | None = None, published: bool = False,
    ):  # fmt: skip
        model, images = enter(name, model, images, scoring.class_index)
        testing = testing or Testing(split_fraction=1)
        self.parts = Parts(images, testing, running or Running(), published)
        images = self.parts.selection
        self.name, self.model, self.images, self.scoring = name, model, images, scoring
        self.size = tuple(images.images.shape[-2:])
        self.progress = Silent()
        counts = torch.bincount(images.labels, minlength=len(images.classes))
        self.searched = counts.nonzero().flatten().tolist()
        self.counts = counts[self.searched]
        place = torch.zeros_like(counts)
        place[self.searched] = torch.arange(len(self.searched))
        self.label = place[images.labels]
        self.classes = [images.classes[c] for c in self.searched]
        self.identity = {
            "search": name,
            **identity,
            **asked_of(model, images, scoring),
            **self.parts.identity(),
        }
        self.record = {
            "model": dict(model.record), "data": dict(images.record),
            "forwards": 0, "backwards": 0, "forwards_resumed": 0, "forwards_saved": 0, "seconds": 0.0,
        }  # fmt: skip
        self.session = self.journal = self.path = self.recognised = None

    def note_down(self, **changes):
        """Put facts on record, in run.json when there is one."""
        self.session.note_down(**changes)

    def check(self):
        """Raises when the run is asked to stop; set while a run directory is open."""

    def scorer(self, images=None, expected=0):
        """A `Scorer` on all images or some; the first calibrates the batch size for all that follow."""
        scoring = dataclasses.replace(self.scoring, batch_size=self.record.get("batch_size") or self.scoring.batch_size)
        images = self.images if images is None else images
        scorer = Scorer(self.model, images, **vars(scoring), expected=expected, progress=self.progress)
        self.record["batch_size"] = scorer.batch_size
        if scorer.calibration:
            self.record["batch_size_timings"] = scorer.calibration
        self.record.setdefault("device", str(scorer.forward.device))
        self.record.setdefault("ranks", ranks.current().facts(ranks.about_this_rank(scorer.forward.device)))
        return scorer

    def whole(self, scorer, progress, **how):
        """Scores (K = 1) of the images before anything is filtered; what they say of the network goes on record."""
        progress.start("whole images", len(self.images), "forwards")
        try:
            scores, self.recognised, clean = predict_whole(
                lambda masks, **more: self.score(scorer, masks, CLEAN, progress, **more, **how), scorer
            )
        finally:
            progress.finish()
        self.note_down(clean=clean.record)
        for caution in clean.cautions():
            progress.note(f"Caution: {caution}")
        return scores

    def whole_part(self, scorer):
        """The row of a `plan` for `whole`."""
        return "whole images", len(self.images), 0, scorer.tiles(1), None

    def best_scores(self, scorer, masks, key, progress, **how):
        """Scores of the masks that are the result, over the searched classes; they know what is still recognised."""
        return self.score(scorer, masks, key, progress, among=self.recognised, **how).take_classes(self.searched)

    def still(self, counts):
        """Put on record how many images int64 [C] are recognised whole and through their class's map (or None)."""
        self.record["clean"]["still"] = None if counts is None else counts.tolist()

    def score(self, scorer, masks, key, progress, ask=None, **how):
        """Scores over all classes of the set, with their cost on record; `ask`: the scorer's way, None for `score`."""
        self.record["form"] = scorer.form["form"]
        ask = ask or scorer.score
        scores = ask(masks, progress=progress, journal=self.journal, key=key, check=self.check, **how)
        # Left out of the scores, whose file shall not depend on interruptions.
        self.record["forwards_resumed"] += scores.record.pop("forwards_resumed")
        for name in self.record.keys() & COST:
            self.record[name] += scores.record[name]
        return scores

    def predict(self, scorer, masks, owner, assignment, key, progress):
        """Show every image the masks of its class in `assignment`, one after the other; ranks share them.

        Args:
            scorer: on all images. masks: bool [C, K, pairs], K of each searched class. owner: as in `lineages`.
            assignment: int64 [n], a searched class for each image. key: of the journal's entries.

        Returns:
            float64 [C, K] each: how many images a mask of a class made the model call that class, and the sum of the
            images' losses (by their true labels).
        """
        classes, number, _ = masks.shape
        logit = scorer.class_index[torch.tensor(self.searched)]
        tiles = [
            (f"{key}/{k}-{k + 1}/{first}-{last}", last - first, (k, first, last))
            for first, last in scorer.tiling.blocks()
            for k in range(number)
        ]

        def show(tile):
            k, first, last = tile
            present, own = assignment[first:last].unique(return_inverse=True)
            kept = masks[present, k][:, owner]
            bits = pack(kept, cell=(1, 1), size=self.size, symmetry="hermitian")
            losses, predictions = scorer.predictions_each(bits, own, torch.arange(first, last), check=self.check)
            called = (predictions == logit[assignment[first:last]]).double()
            return {name: torch.bincount(own, each).numpy() for name, each in (("called", called), ("loss", losses))}

        def layout(tile):
            present = len(assignment[tile[1] : tile[2]].unique())
            return {"called": ("f", (present,)), "loss": ("f", (present,))}

        sums = {name: np.zeros((classes, number)) for name in ("called", "loss")}
        resumed = 0
        for (k, first, last), found, is_resumed in ranks.share(
            tiles, show, journal=self.journal, progress=progress, check=self.check, layout=layout
        ):
            present = assignment[first:last].unique().numpy()
            for name, values in sums.items():
                values[present, k] += found[name]
            resumed += (last - first) * is_resumed
        sums = ranks.current().agree_arrays({**sums, "resumed": np.array([resumed])})
        self.record["forwards"] += number * len(assignment)
        self.record["forwards_resumed"] += int(sums["resumed"][0])
        return torch.from_numpy(sums["called"]), torch.from_numpy(sums["loss"])

    def plan(self, scorer, parts, remark=None):
        """The `Plan` of a search whose work is `parts`.

        Args:
            parts: list of (name, forwards, backwards, tiles, seconds); tiles: of one call that ranks share, or a list
                of those of calls that follow one another; seconds None: at the speed of scoring masks that keep every
                second pair, a backward counting two forwards.
        """
        import resource

        _, owner = removal_cells(self.size, 1)
        every_second = (torch.arange(int(owner.max()) + 1) % 2 == 0)[None, owner].expand(scorer.tiling.group, -1, -1)
        each = scorer.seconds_per_forward(pack(every_second, cell=(1, 1), size=self.size, symmetry="hermitian"))
        parts = [
            (name, forwards, backwards, tiles, each * (forwards + 2 * backwards) if seconds is None else seconds)
            for name, forwards, backwards, tiles, seconds in parts
        ]
        parts += self.test_parts(parts, each, groups=1)
        rows = [
            {
                "work": name, "forwards": forwards, "backwards": backwards,
                "tiles": tiles if isinstance(tiles, int) else sum(tiles),
                "calls": [tiles] if isinstance(tiles, int) else tiles,
                "seconds": seconds,
            }
            for name, forwards, backwards, tiles, seconds in parts
        ]  # fmt: skip
        forwards, backwards, seconds = (sum(row[name] for row in rows) for name in ("forwards", "backwards", "seconds"))
        process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return Plan(
            rows, len(self.images), len(self.searched), scorer.batch_size, forwards, seconds,
            {**scorer.memory(), "process": process},
            {"seconds_per_forward": each, "batch_size_timings": scorer.calibration},
            backwards, remark,
        )  # fmt: skip

    def test_parts(self, parts, each, groups):
        """What follows a search whose own work is `parts` (as those of `plan`, with seconds): the parts of its test.

        Args:
            each: seconds of a forward.
            groups: how many sets of random masks are drawn, one for all maps that keep as many bins.
        """
        asked = self.parts
        if not asked.identity():
            return []
        scorer, masks = self.scorer(asked.measured), len(self.searched)
        rows = [
            (name, scorer.forwards(number), 0, scorer.tiles(number), each * scorer.forwards(number))
            for name, number in (
                ("whole held-out images", 1), ("held-out images", masks), ("random masks", groups * asked.null),
            ) if number
        ]  # fmt: skip
        if asked.permuted:
            tiles = [one for part in parts for one in ([part[3]] if isinstance(part[3], int) else part[3])]
            forwards, backwards, seconds = (asked.permuted * sum(part[place] for part in parts) for place in (1, 2, 4))
            shown = asked.permuted * scorer.forwards(masks)
            again = (forwards + shown, backwards, asked.permuted * [*tiles, scorer.tiles(masks)])
            rows.append(("searches with permuted labels", *again, seconds + each * shown))
        return rows

    def execute(self, work, running: Running, again=None):
        """Run `work(self, progress)`, in the directory `running.out` if there is one, and test what it finds.

        Args:
            again: the same search of other images, without a test (`freqkit.search.testing.again`).
        """
        self.progress = progress = running.progress or Silent()
        how = {"resume": running.resume, "overwrite": running.overwrite, "note": progress.note}
        with session(self.name, self.identity, running.out, **how) as run:
            carried = {key: run.earlier[key] for key in CARRIED if run.earlier.get(key) is not None}
            run.record.update({**self.record, **carried})
            self.session, self.record, self.journal, self.path = run, run.record, run.journal, run.path
            self.check = run.check
            self.note_down()
            if untested := self.untested():
                progress.note(untested)
            result = work(self, progress)
            if self.parts.identity():
                result.tested = self.test(result, running, again)
            if self.path is not None:
                result.save_test(self.path)
                result.save_summary(self.path)
        return result

    def untested(self):
        """A sentence about classes without an image that could be held out; "" when there are none."""
        if self.parts.fraction == 1:
            return ""
        there = torch.zeros_like(self.counts)
        if self.parts.held_out is not None:
            there = self.parts.held_out.counts[self.searched]
        names = [name for name, count in zip(self.classes, there.tolist(), strict=True) if count == 0]
        if not names:
            return ""
        words = f"{', '.join(names[:5])}{f' and {len(names) - 5} more' if len(names) > 5 else ''}"
        return f"Not tested, for of so few images none can be held out: {words}."

    def test(self, result, running, again):
        """`Tested` of a result: its maps, random masks beside them, and searches with permuted labels."""
        parts, progress, form = self.parts, self.progress, self.record.get("form")
        held = parts.measured
        scorer, keep = self.scorer(held), torch.tensor(self.searched)
        progress.start("whole held-out images", len(held), "forwards")
        try:
            _, recognised, clean = predict_whole(
                lambda masks, **more: self.score(scorer, masks, "tested/whole", progress, **more), scorer, keep
            )
        finally:
            progress.finish()
        own = torch.arange(len(keep))

        def rates(scorer, masks, key, title, **how):
            progress.start(title, scorer.forwards(len(getattr(masks, "bits", masks))))
            try:
                return self.score(scorer, masks, key, progress, **how).take_classes(keep)
            finally:
                progress.finish()

        found = rates(scorer, masks_of(result), "tested/maps", "held-out images", among=recognised)
        alike = random_alike(result.masks, parts.null, parts.seed)
        null = {name: torch.zeros(parts.null, len(keep), dtype=torch.int64) for name in ("correct", "predicted")}
        if alike.masks is not None:
            scores = rates(scorer, alike.masks, "tested/random", "random masks")
            null = {name: getattr(scores, name)[alike.index, own] for name in null}
        others = {name: torch.zeros(parts.permuted, len(keep), dtype=torch.int64) for name in null}
        for number in range(parts.permuted):
            where = {"progress": progress}
            if running.out is not None:
                fresh = running.overwrite and not self.session.earlier
                where |= {"out": f"{running.out}/permuted-{number + 1}", "overwrite": fresh, "resume": not fresh}
            searched = again(self.model, permuted(self.images, parts.seed, number + 1), **where)
            self.record["forwards"] += searched.forwards
            self.record["backwards"] += searched.backwards
            scorer_of_it = self.scorer(permuted(held, parts.seed, number + 1))
            scores = rates(scorer_of_it, masks_of(searched), f"tested/permuted-{number + 1}", "permuted labels")
            for name, values in others.items():
                values[number] = getattr(scores, name)[own, own]
        self.record["form"] = form  # the search's: a resumed one keeps it
        return Tested(
            list(self.classes), found.counts, *(getattr(found, name)[own, own] for name in (
                "loss", "correct", "predicted")), clean.correct, clean.called,
            torch.zeros_like(found.counts) if found.still is None else found.still[own, own],
            null["correct"], null["predicted"], others["correct"], others["predicted"],
            [list(pair) for pair in clean.mostly], clean.logits,
            {"model": dict(self.model.record), "data": dict(held.record), "images": len(held),
             "held_out": parts.held_out is not None, "versions": versions()},
        )  # fmt: skip

    def economies(self, scorer):
        """`Scorer.economies`, with the images that were decoded to be held out."""
        held = 0 if self.parts.held_out is None else len(self.parts.held_out)
        found = scorer.economies()
        return {**found, "images_decoded": found["images_decoded"] + held}

    def lineages(self, scorer, kept, owner, progress, value=None):
        """The `SearchResult` of the masks that each searched class has come to, of which it takes the best.

        Args:
            scorer: on all images.
            kept: bool [C, S, K], which pairs of bins the S masks of each class keep.
            owner: int64 [H, W], centred, the pair of each bin.
            value: of `Scores`, float64 [S C, C], what is best when highest; needed for S > 1.
        """
        classes, each = kept.shape[:2]
        bits = pack(kept.flatten(0, 1)[:, owner], cell=(1, 1), size=self.size, symmetry="hermitian")
        progress.start("exact scores", scorer.forwards(classes * each))
        try:
            scores = self.best_scores(scorer, bits, "stage-1", progress)
        finally:
            progress.finish()
        self.note_down(economies=self.economies(scorer))
        order = torch.arange(classes * each).view(classes, each)
        if each > 1:
            own = value(scores).gather(0, order.T).T
            order = order.gather(1, own.sort(dim=1, descending=True, stable=True).indices)
        stage = StageResult(1, bits, scores, order, torch.ones(classes * each, dtype=torch.int64))
        self.still(None if scores.still is None else scores.still[order[:, 0], torch.arange(classes)])
        self.record["stages_done"] = [1]
        if self.path is not None:
            stage.save(self.path / "stage-1.safetensors")
        return SearchResult.from_stages([stage], self.record)


def fill(scores, area, bins):
    """The highest scores whose areas together are at most `bins`; ties go to the lower index.

    Args:
        scores: real [..., K]. area: int64 [K], bins of each.

    Returns:
        bool [..., K].

    Example:
        >>> fill(torch.tensor([0.1, 0.9, 0.5]), torch.tensor([1, 2, 2]), 4).tolist()
        [False, True, True]
    """
    order = torch.sort(scores, dim=-1, descending=True, stable=True).indices
    inside = area[order].cumsum(-1) <= bins
    return torch.zeros_like(inside).scatter_(-1, order, inside)


def budget(searcher, coverage, size):
    """The bins that a share of the plane allows; a pair must fit."""
    from freqkit.results.removal_result import bins_of

    bins = bins_of(coverage, size)
    if bins < 2:
        raise UsageError(f"{searcher}: coverage {coverage} keeps {bins} of {size[0] * size[1]} bins, less than a pair.")
    return bins
