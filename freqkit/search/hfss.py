"""Hierarchical frequency shortcut search: random cell masks, refined stage by stage."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from freqkit.data import Images
from freqkit.data.image_set import PUBLISHED_SEED, PUBLISHED_SHARE
from freqkit.engine import Silent
from freqkit.engine.entrance import enter
from freqkit.engine.session import CannotResume
from freqkit.errors import UsageError
from freqkit.masks import candidates as draw_candidates
from freqkit.masks import concat, select, set_dc, stage_cells, unique
from freqkit.models import Network
from freqkit.options import Options, Running, Scoring, flat, option
from freqkit.results import SearchResult, StageResult
from freqkit.results.search_result import unlike_published
from freqkit.search.parents import parents_of
from freqkit.search.plan import Effort, Plan
from freqkit.search.run import COST, SearchRun
from freqkit.search.testing import Testing, again

PRESETS = ("default", "cvpr2025")
STOPPING = ("never", "certain")
COMPILES = " A long search compiles the network, which may make it faster."
# What the released code takes when nothing is said. The paper keeps 0.6 of the cells.
PUBLISHED = {"candidates": 500, "keep": 0.8, "top": 10, "seed": 42, "published_batch_size": 4000}
USUAL = {"keep": 0.6, "seed": 0}


def _effort(effort, coverage, seed, size):
    """It has no budget: the last stage keeps about the coverage. Stopping changes its cost alone."""
    stages = len(stage_cells(size))
    return {"candidates": effort, "keep": coverage ** (1 / stages), "seed": seed, "stopping": "certain"}


EFFORTS = {"hfss": Effort("masks per stage", (50, 500), _effort, slow=True)}


@dataclass(frozen=True, kw_only=True)
class Hfss(Options):
    """What `hfss` draws, keeps and stops."""

    preset: str = option(
        "default", "default: distinct, exactly symmetric masks, per-class mean cross-entropy; cvpr2025: see above",
        choices=PRESETS, help="default: what is right; cvpr2025: as published, quirks included, with --keep 0.8 and "
        "--seed 42 unless given",
    )  # fmt: skip
    stages: int | Sequence[int] | None = option(
        None, "how many stages from the first, or their numbers 1, 2, ..., n; None: all that the size has",
        kind="stages", metavar="1-4", help="stages to run.  [default: all that the size has]",
    )  # fmt: skip
    candidates: int | Sequence[int] = option(
        500, "masks per stage, one number or one for each stage", kind="counts", metavar="N[,N...]",
        must="a positive integer, or one for each stage", least=1,
    )  # fmt: skip
    parents_from: str | os.PathLike | None = option(
        None, "masks inside which the first of later `stages` is drawn: the directory of a search, a stage file, a "
        "file of maps, or a published pickle. On record by a fingerprint", flag="parents", identity=False,
        metavar="FILE", help="begin at a later stage, inside these masks: a run's directory, stage-2.safetensors, "
        "maps, a published pickle",
    )  # fmt: skip
    keep: float | None = option(
        None, "share of the cells kept by a mask; None: 0.6, as in the paper, but with cvpr2025 0.8, as the released "
        "code has it", above=0, most=1, usual=USUAL["keep"], help="share of the cells that a mask keeps",
    )  # fmt: skip
    top: int = option(10, "masks per class that become parents", least=1, help="masks per class that go on")
    seed: int | None = option(
        None, "the same seed gives the same masks everywhere. None: 0, with cvpr2025 42", least=0, usual=USUAL["seed"],
        help="of the draws",
    )  # fmt: skip
    parents: str = option(
        "any", "any: a candidate's parent class is uniform over the classes; per_class: the classes take turns "
        "(default preset only)", choices=("any", "per_class"), must="'any' or 'per_class'", flag=False,
    )  # fmt: skip
    elitism: bool = option(
        False, "let the parents compete again in the next stage. Their scores are reused", flag=False
    )
    keep_dc: bool | None = option(
        None, "None: DC as drawn; True or False: in every mask, or in none", must="None, True or False", flag=False
    )
    risk: float = option(
        0.0, "0 scores every candidate on every image. Above 0, candidates race (`freqkit.engine.racing`): one stops "
        "being shown a class's images when it can no longer be among the class's `top`; each true member of the top is "
        "lost with at most this probability. FPR is then computed for the maps alone. Not with cvpr2025, whose loss "
        "weighs images unequally", least=0, below=1,
        help="above 0, drop losing masks early; the chance to lose a true winner",
    )  # fmt: skip
    stopping: str = option(
        "never", "never, or certain: a candidate stops being shown a class's images once its loss on those seen "
        "already exceeds what the class's `top` reaches in all (`freqkit.engine.certain`). The same masks go on with "
        "the same losses (but for the last bits of a network that rounds otherwise in other batches), and the maps are "
        "the same; FPR is then computed for the maps alone. Excludes `risk`", choices=STOPPING,
        help="certain: drop masks once they have surely lost; the same maps for fewer forwards",
    )  # fmt: skip
    published_batch_size: int = option(
        4000, "B of the cvpr2025 loss; images are taken in their order", least=1,
        help="cvpr2025: images per batch of the published loss",
    )  # fmt: skip
    published_order: bool | float | None = option(
        None, "None: `images` as they are. A share, or True for 0.05: that share of them, drawn and ordered as in the "
        "released code (`ImageSet.published_split`, seed 42). The order decides which images share a batch, and with "
        "it the cvpr2025 loss", flag=False, identity=False,
    )  # fmt: skip

    @property
    def published(self) -> bool:
        return self.preset == "cvpr2025"

    def check(self, owner):
        if self.parents == "per_class" and self.published:
            raise UsageError(f"{owner}: the published preset draws parents of any class; got parents='per_class'.")
        if self.elitism and self.parents_from is not None:
            raise UsageError(f"{owner}: elitism needs the scores of the parents; those of parents_from have none here.")
        if self.risk and self.published:
            raise UsageError(
                f"{owner}: the published loss weighs images unequally, so its candidates cannot race; "
                f"got risk={self.risk}."
            )
        if self.risk and self.stopping != "never":
            raise UsageError(f"{owner}: certain stopping takes no risk; give stopping or risk={self.risk}.")
        usual = PUBLISHED if self.published else USUAL
        given = {name: value for name in usual if (value := getattr(self, name)) is not None}
        return replace(self, **{**usual, **given})


@flat
def hfss(
    model: Network, images: Images, own: Hfss, testing: Testing, scoring: Scoring, running: Running
) -> SearchResult | Plan:
    """Find, for every class, the few frequencies by which a classifier still recognises it.

    Stage s splits the frequency plane into cells (`freqkit.masks.stage_cells`), draws random masks of them,
    scores each on all images for all classes at once, and keeps for each class the `top` of lowest loss; the
    next stage draws finer masks inside those. The map of a class is the best mask of the last stage.

    "default" draws distinct, exactly symmetric masks and takes per-class mean cross-entropy. "cvpr2025" is the
    published generator (duplicates stay, half-weight bins, `candidates // 3 * 3` masks, a third in a single-bin stage)
    and the published loss over batches j of B_j images, n_cj of class c with summed cross-entropy S_cj, and L logits,
    `L_c = sum over all j of [S_cj + (B_j - n_cj) ln L] / B_j` (`freqkit.engine.score`, "published-batches"; the code of
    the ICCV 2023 paper, of `removal`, leaves out batches without the class). Parents are drawn among all classes of the
    set, as published; the loss of one without images is the same for all masks, so that the first are its parents. With
    generator and loss come the `keep` and `seed` of the released code where none are given; its images are those of
    `published_order`, the share drawn and ordered as there (`ImageSet.published_split`, seed 42): the order decides
    which images share a batch, and with it the loss. What differs from the released code is noted and on record as
    "differs_from_published".

    Candidates that race (`risk`, `freqkit.engine.racing`) or are stopped with certainty (`freqkit.engine.certain`)
    are not shown all images of a class. With "certain" the same masks go on with the same losses (but for the last
    bits of a network that rounds otherwise in other batches), and the maps are the same. FPR is then computed for the
    maps alone. The two exclude one another, and "cvpr2025", whose loss weighs images unequally, excludes `risk`.

    Args:
        model: a `freqkit.models.Classifier`; copied, never changed.
        images: what `freqkit.data.as_images` takes; a share selects, the others test (`split_fraction`). Classes
            without images are left out.

    Returns:
        `freqkit.results.SearchResult`, or a `Plan`.

    Raises:
        UsageError, TypeError, ValueError: an argument does not fit, or `out` is refused.
        Interrupted: SIGINT or SIGTERM came; everything finished is in the journal.

    Source: Wang, Veldhuis, Strisciuglio, "Do ImageNet-trained models learn shortcuts?", CVPR 2025 (arXiv
        2503.03519).

    Example:
        >>> import torch
        >>> from freqkit.data import synthetic
        >>> from freqkit.models import Classifier
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 4))
        >>> model = Classifier(network, mean=(0.5,) * 3, std=(0.25,) * 3, num_classes=4)
        >>> result = hfss(model, synthetic(images_per_class=5), candidates=6, top=2, stages=2, batch_size=40)
        >>> result.masks.shape, [row["class"] for row in result.table()]
        (torch.Size([4, 32, 32]), ['C0', 'C1', 'C2', 'C3'])
    """
    model, images = enter("hfss", model, images, scoring.class_index)
    if own.published_order not in (None, False):
        share = own.published_order
        images, _ = images.published_split(PUBLISHED_SHARE if share is True else share)
    run = HfssRun(model, images, own, scoring, testing, running)
    if running.dry_run:
        return run.plan_of_stages()
    return run.execute(HfssRun.search, running, again(hfss, own, scoring, published_order=None))


class HfssRun(SearchRun):
    """One search stage by stage."""

    def __init__(self, model, images, options: Hfss, scoring: Scoring, testing: Testing, running: Running):
        self.options, self.stops = options, bool(options.risk) or options.stopping != "never"
        try:
            self.cells = stage_cells(tuple(images.images.shape[-2:]))
        except ValueError as error:
            raise UsageError(f"hfss: {error}") from error
        self.stages = _stages(options.stages, len(self.cells), options.parents_from)
        symmetry = "average" if options.published else "hermitian"
        self.given, given = None, {}
        if options.parents_from is not None:
            self.given, digest = parents_of(options.parents_from, images, self.stages[0], symmetry)
            given = {"parents_from": digest}
        self.numbers = _numbers(options.candidates, len(self.stages))
        self.reduction = {"reduction": "class-mean"}
        if options.published:
            batch = options.published_batch_size
            self.reduction = {"reduction": "published-batches", "published_batch_size": batch}
        identity = {
            **options.identity(),
            "stages": self.stages,
            "candidates": self.numbers,
            "risk": float(options.risk),
            **given,
        }
        # In the order in which run.json has always had them; scoring fills the first two.
        order = {"domain": None, "class_index": None, "reduction": None, "published_batch_size": None}
        del identity["published_batch_size"]
        published = options.published or options.published_order not in (None, False)
        super().__init__(
            "hfss", model, images, scoring, {**identity, **order, **self.reduction}, testing, running, published
        )
        self.progress = running.progress or Silent()
        self.differs = self._differs_from_published() if options.published else {}

    def _differs_from_published(self):
        """Settings other than the released code's: name -> {"here", "published"}."""
        about = self.images.record
        drawn = about.get("subset") or {}
        if "order" not in drawn:
            drawn = {
                "order": about.get("split_order"),
                "fraction": about.get("split_fraction"),
                "seed": about.get("seed"),
            }
        wanted = {"order": "published", "fraction": PUBLISHED_SHARE, "seed": PUBLISHED_SEED}
        own = f"{len(self.images.labels)} images in their order"
        if drawn["order"] == "published":
            own = f"{drawn['fraction']:g} of the images in published order, seed {drawn['seed']}"
        here = {
            "candidates": self.numbers[0] if len(set(self.numbers)) == 1 else self.numbers,
            **{name: getattr(self.options, name) for name in ("keep", "top", "seed", "published_batch_size")},
            "stages": self.stages, "elitism": self.options.elitism, "keep_dc": self.options.keep_dc,
            "domain": self.scoring.domain, "resize": about.get("resize", "squash"),
            "images": own if {name: drawn.get(name) for name in wanted} != wanted else None,
        }  # fmt: skip
        there = {
            **PUBLISHED, "stages": list(range(1, len(self.cells) + 1)), "elitism": False, "keep_dc": None,
            "domain": "normalised", "resize": "squash",
            "images": None if here["images"] is None else
            f"{PUBLISHED_SHARE:g} of the training images in published order, seed {PUBLISHED_SEED}",
        }  # fmt: skip
        return {name: {"here": here[name], "published": there[name]} for name in here if here[name] != there[name]}

    def tell_differences(self):
        """A note of what differs from the released code, to a watcher: without one it would be a warning, of what was
        asked for."""
        if self.differs and type(self.progress) is not Silent:
            self.progress.note(f"unlike the released code: {unlike_published(self.differs)}.")

    def scorer_as_begun(self, expected=None):
        """The score service; a resumed run keeps the batch size and the form of the network it began with. `expected`:
        forwards to come; None: all that there are."""
        kept = self.record.get("form")
        if kept is not None:
            self.scoring = replace(self.scoring, form=kept)
        scorer = super().scorer(expected=sum(self.numbers) * len(self.images) if expected is None else expected)
        if kept not in (None, scorer.form["form"]):
            raise CannotResume(f"hfss: cannot resume, for the run used the {kept} network, which cannot be had here.")
        return scorer

    def draw(self, place, previous):
        """Candidates of the stage at `place` in the list: (`BitMasks`, provenance)."""
        parents = None
        if previous is not None:
            rows = previous.ranks
            if self.options.published and len(rows) < len(self.images.classes):
                # All masks have one loss for a class without images, and ties go by the order of the masks.
                rows = torch.arange(rows.shape[1]).repeat(len(self.images.classes), 1)
                rows[self.searched] = previous.ranks
            parents = [select(previous.candidates, row) for row in rows]
        options = self.options
        extra = {} if options.published else {"parent_draw": options.parents}
        drawn = draw_candidates(
            self.stages[place], self.numbers[place], size=self.size, keep=options.keep, seed=options.seed,
            preset=options.preset, parents=parents, **extra,
        )  # fmt: skip
        if len(drawn) == 0:
            raise UsageError(
                f"hfss: stage {self.stages[place]} has no candidates for candidates={self.numbers[place]}"
                f"{' (the published generator makes triples)' if options.published else ''}."
            )
        masks = drawn.masks if options.keep_dc is None else set_dc(drawn.masks, options.keep_dc)
        return masks, drawn.provenance

    def stage(self, place, previous, scorer, progress):
        """Draw, score and rank one stage."""
        number, options = self.stages[place], self.options
        masks, provenance = self.draw(place, previous)
        born, elite = torch.full((len(masks.bits),), number), self.elite(previous)
        # Masks that were stopped for some class have no loss there to bring along: they compete anew.
        if self.stops and len(elite):
            masks = concat([masks, select(previous.candidates, elite)])
        if options.risk:
            how = {"ask": scorer.race, "top": options.top, "risk": float(options.risk), "seed": options.seed}
        elif self.stops:
            how = {"ask": scorer.certain, "top": options.top, **self.reduction}
        else:
            how = {"among": self.recognised, **self.reduction}
        scores = self.score(scorer, masks, f"stage-{number}", progress, **how).take_classes(self.searched)
        if len(elite):
            born = torch.cat([born, previous.born[elite]])
            if not self.stops:
                masks = concat([masks, select(previous.candidates, elite)])
                scores = scores.join(previous.scores.take(elite))
        if not options.published:
            # Forcing DC, or an elite that a new candidate equals, can make twins.
            first, _ = unique(masks)
            if len(first) < len(born):
                masks, scores, born = select(masks, first), scores.take(first), born[first]
        scores.record.update(provenance)
        return StageResult(number, masks, scores, scores.rank(options.top), born)

    def elite(self, previous):
        """Masks of the previous stage that compete again, int64."""
        if not self.options.elitism or previous is None:
            return torch.empty(0, dtype=torch.int64)
        return previous.ranks.unique()

    def rates(self, last, scorer, progress):
        """After candidates were stopped, ask about the maps of all classes on the images of all classes, for FPR."""
        best = last.ranks[:, 0].unique()
        progress.start("rates", scorer.forwards(len(best)))
        try:
            scores = self.best_scores(scorer, select(last.candidates, best), "rates", progress)
        finally:
            progress.finish()
        if scores.still is not None:
            last.scores.still = torch.zeros_like(last.scores.correct)
            last.scores.still[best] = scores.still
        last.scores.correct[best] = scores.correct
        last.scores.predicted[best] = scores.predicted
        if self.path is not None:
            last.save(self.path / f"stage-{last.number}.safetensors")

    def search(self, progress):
        """All stages, one after the other."""
        scorer, images = self.scorer_as_begun(), len(self.images)
        self._measure(scorer.forward)
        self.record.update(dict.fromkeys(COST, 0))
        self.tell_differences()
        self.note_down(
            forwards_total=(sum(self.numbers) + 1) * images, images=images, classes=len(self.searched),
            classes_without_images=len(self.images.classes) - len(self.searched), threads=torch.get_num_threads(),
            form=scorer.form["form"], form_record=scorer.form, stages_done=[], best=None,
            **({"differs_from_published": self.differs} if self.options.published else {}),
        )  # fmt: skip
        self.whole(scorer, progress)
        done = []
        for place, number in enumerate(self.stages):
            previous = done[-1] if done else self.given
            self.note_down(stage=number)
            again = len(self.elite(previous)) if self.stops else 0
            progress.start(f"stage {number}", scorer.forwards(self.numbers[place] + again))
            try:
                done.append(self.stage(place, previous, scorer, progress))
                best = best_class(done[-1])
                progress.advance(0, best=best)
            finally:
                progress.finish()
            if self.path is not None:
                done[-1].save(self.path / f"stage-{number}.safetensors")
            stages = [stage.number for stage in done]
            self.note_down(stages_done=stages, best=best, economies=self.economies(scorer))
        if self.stops:
            self.rates(done[-1], scorer, progress)
        still, best = done[-1].scores.still, done[-1].ranks[:, 0]
        self.still(None if still is None else still[best, torch.arange(len(best))])
        return SearchResult.from_stages(done, self.record)

    def _measure(self, forward):
        """Put the seconds in the model on record, on the CPU (elsewhere calls return before their end): of all
        sessions, as the run's seconds, or not at all, for a run that began elsewhere may not have measured them."""
        earlier, before = self.session.earlier, 0.0
        if earlier and not (earlier.get("seconds_of_all_sessions") or earlier.get("sessions", 1) == 1):
            before = None
        elif earlier:
            before = earlier.get("seconds_in_model")
        if forward.device.type == "cpu" and before is not None:
            self.session.measured = lambda: {
                "seconds_in_model": round(before + forward.seconds, 3), "seconds_of_all_sessions": True,
            }  # fmt: skip

    def plan_of_stages(self):
        """Count masks and forwards stage by stage, and time one batch."""
        import resource

        scorer = self.scorer_as_begun(expected=0)  # compiling takes longer than a plan may
        self.tell_differences()
        stages, previous = [], self.given
        for place, number in enumerate(self.stages):
            masks, _ = self.draw(place, previous)
            drawn = len(masks.bits)
            distinct = len(unique(masks)[0])
            if place == 0:
                each = scorer.seconds_per_forward(masks)
            stages.append(
                {
                    "stage": number,
                    "cells": self.cells[number - 1],
                    "cell": self.size[0] // self.cells[number - 1],
                    "candidates": drawn,
                    "distinct": distinct,
                    "forwards": scorer.forwards(distinct),
                    "tiles": scorer.tiles(distinct),
                }
            )
            # Any masks of this stage serve as stand-ins for the parents.
            ranks = torch.arange(min(self.options.top, drawn)).repeat(len(self.searched), 1)
            previous = StageResult(number, masks, None, ranks, None)
        whole = scorer.forwards(1)
        parts = [
            (f"stage {stage['stage']}", stage["forwards"], 0, stage["tiles"], each * stage["forwards"])
            for stage in stages
        ]
        parts.insert(0, ("whole images", whole, 0, scorer.tiles(1), each * whole))
        tests = [
            {"work": name, "forwards": shown, "backwards": 0, "seconds": seconds,
             "tiles": tiles if isinstance(tiles, int) else sum(tiles),
             "calls": [tiles] if isinstance(tiles, int) else tiles}
            for name, shown, _, tiles, seconds in self.test_parts(parts, each, groups=len(self.searched))
        ]  # fmt: skip
        remark = f"{whole:,} of the forwards show the whole images, before anything is filtered."
        if tests:
            remark += "".join(f" {part['work'].capitalize()}: {part['forwards']:,}." for part in tests)
        forwards = sum(part["forwards"] for part in [*stages, *tests]) + whole
        process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return Plan(
            stages,
            len(self.images.labels),
            len(self.searched),
            scorer.batch_size,
            forwards,
            each * forwards,
            {**scorer.memory(), "process": process},
            {
                "seconds_per_forward": each,
                "batch_size_timings": scorer.calibration,
                **({"differs_from_published": self.differs} if self.options.published else {}),
            },
            remark=remark + COMPILES * (self.scoring.form == "auto"),
            tests=tests,
            whole={"forwards": whole, "tiles": scorer.tiles(1)},
        )


def best_class(stage):
    """Of a stage's best masks, the class told apart best: its name, TPR, FPR (None after a race) and loss."""
    scores, classes = stage.scores, torch.arange(len(stage.ranks))
    loss, tpr, fpr = (value[stage.ranks[:, 0], classes] for value in (scores.loss, scores.tpr, scores.fpr))
    worth = (tpr - fpr.nan_to_num(0.0)).nan_to_num(-2.0)
    best = int(torch.argmax(worth - 1e-9 * loss.nan_to_num(0.0)))
    false = float(fpr[best])
    return {
        "stage": stage.number, "class": scores.classes[best], "tpr": float(tpr[best]),
        "fpr": None if false != false else false, "loss": float(loss[best]),
    }  # fmt: skip


def _stages(stages, available, parents):
    """1, 2, ..., n as a list; with parents, the stages after one."""
    if parents is not None:
        return _later_stages(stages, available)
    if stages is None:
        return list(range(1, available + 1))
    if isinstance(stages, int) and not isinstance(stages, bool):
        numbers = list(range(1, stages + 1))
    elif isinstance(stages, Sequence) and not isinstance(stages, str):
        numbers = list(stages)
    else:
        raise UsageError(f"hfss: stages must be a number of stages or the list 1, 2, ..., n; got {stages!r}.")
    if not numbers or numbers != list(range(1, len(numbers) + 1)) or len(numbers) > available:
        raise UsageError(
            f"hfss: stages must begin at 1, follow one another and not exceed {available} at this size; got {stages!r}."
        )
    return numbers


def _later_stages(stages, available):
    numbers = [stages] if isinstance(stages, int) and not isinstance(stages, bool) else stages
    whole = isinstance(numbers, Sequence) and bool(numbers) and all(type(number) is int for number in numbers)
    if not whole or list(numbers) != list(range(numbers[0], numbers[0] + len(numbers))):
        raise UsageError(
            f"hfss: with parents_from, stages must be named, one after the other, as [2, 3]; got {stages!r}."
        )
    if numbers[0] < 2 or numbers[-1] > available:
        raise UsageError(f"hfss: stages that have parents are 2 to {available} at this size; got {list(numbers)}.")
    return list(numbers)


def _numbers(candidates, stages):
    numbers = [candidates] * stages if isinstance(candidates, int) else list(candidates)
    if len(numbers) != stages or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in numbers):
        raise UsageError(
            f"hfss: candidates must be a positive integer, or one for each of the {stages} stages; got {candidates!r}."
        )
    return numbers
