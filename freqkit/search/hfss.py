"""Hierarchical frequency shortcut search: random cell masks, refined stage by stage."""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from freqkit import masks as mask_room
from freqkit.data import ImageSet
from freqkit.data.image_set import PUBLISHED_SEED, PUBLISHED_SHARE
from freqkit.engine import RunDirectory, Scorer, Silent, ranks
from freqkit.engine.forward import model_device
from freqkit.engine.journal import Interrupted, finish_tile_on_signal
from freqkit.engine.run_directory import forwards_in
from freqkit.errors import UsageError
from freqkit.models import Classifier
from freqkit.options import Options, Running, Scoring, flat, option
from freqkit.results import SearchResult, StageResult
from freqkit.results.result import versions
from freqkit.results.search_result import unlike_published
from freqkit.search.plan import Effort, Plan
from freqkit.search.run import CLEAN, ask_whole

PRESETS = ("default", "cvpr2025")
STOPPING = ("never", "certain")
# What the released code takes when nothing is said. The paper keeps 0.6 of the cells.
PUBLISHED = {"candidates": 500, "keep": 0.8, "top": 10, "seed": 42, "published_batch_size": 4000}
USUAL = {"keep": 0.6, "seed": 0}
SAVED = (
    "forwards", "forwards_saved", "forwards_saved_twins", "forwards_saved_racing", "forwards_saved_certain",
)  # fmt: skip


def _effort(effort, coverage, seed, size):
    """It has no budget: the last stage keeps about the coverage. Stopping changes its cost alone."""
    stages = len(mask_room.stage_cells(size))
    return {"candidates": effort, "keep": coverage ** (1 / stages), "seed": seed, "stopping": "certain"}


EFFORTS = {"hfss": Effort("masks per stage", (50, 500), _effort, slow=True)}


@dataclass(frozen=True, kw_only=True)
class Hierarchical(Options):
    """What `hfss` is asked."""

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
        "it the cvpr2025 loss", flag=False,
    )  # fmt: skip


@flat
def hfss(
    model: Classifier, images: ImageSet, own: Hierarchical, scoring: Scoring, running: Running
) -> SearchResult | Plan:
    """Find, for every class, the few frequencies by which a classifier still recognises it.

    Stage s splits the frequency plane into cells (`freqkit.masks.stage_cells`), draws random masks of them,
    scores each on all images for all classes at once, and keeps for each class the `top` of lowest loss; the
    next stage draws finer masks inside those. The map of a class is the best mask of the last stage.

    Args:
        model: a `freqkit.models.Classifier`; copied, never changed.
        images: a `freqkit.data.ImageSet`. Classes without images are left out.
        preset: "default": distinct, exactly symmetric masks, per-class mean cross-entropy. "cvpr2025": the
            published generator (duplicates stay, half-weight bins, `candidates // 3 * 3` masks, a third in a
            single-bin stage) and the published loss over batches j of B_j images, n_cj of class c with summed
            cross-entropy S_cj, and L logits, `L_c = sum over all j of [S_cj + (B_j - n_cj) ln L] / B_j`
            (`freqkit.engine.score`, "published-batches"; the code of the ICCV 2023 paper, of `removal`, leaves out
            batches without the class). Parents are drawn among all classes of the set, as published; the loss
            of one without images is the same for all masks, so that the first are its parents. With generator and loss
            come the `keep` and `seed` of the released code where none are given; its images are those of
            `published_order`. What differs from it is noted and on record as "differs_from_published".

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
    progress = running.progress or Silent()
    began = time.monotonic()
    if own.published_order is not None and own.published_order is not False:
        images, _ = images.published_split(PUBLISHED_SHARE if own.published_order is True else own.published_order)
    asked = {name: value for name, value in vars(own).items() if name != "published_order"}
    search = _Search(model, images, **asked, **vars(scoring), progress=progress)
    if running.dry_run:
        return search.plan()
    out, resume, overwrite = running.out, running.resume, running.overwrite
    if out is None:
        if resume or overwrite:
            raise UsageError("hfss: resume and overwrite need out, the directory of the run.")
        return search.run(None, progress, began, lambda: None)
    with RunDirectory(out, search.identity, resume=resume, overwrite=overwrite) as directory:
        if directory.restarted:
            progress.note(f"{directory.path}: started again by torchrun, going on.")
        if directory.journal.dropped:
            progress.note(f"{directory.path}: dropped {directory.journal.dropped} damaged bytes at the journal's end.")
        with finish_tile_on_signal() as check:
            return search.run(directory, progress, began, check)


class _Search:
    """The checked arguments of one search."""

    def __init__(
        self, model, images, preset, stages, candidates, keep, top, seed, parents, elitism, keep_dc, risk, stopping,
        domain, class_index, published_batch_size, batch_size, device, dtype, memory, form, spectra, progress,
    ):  # fmt: skip
        if preset not in PRESETS:
            raise UsageError(f"hfss: preset must be one of {', '.join(PRESETS)}; got {preset!r}.")
        usual = PUBLISHED if preset == "cvpr2025" else USUAL
        keep, seed = (usual[name] if value is None else value for name, value in (("keep", keep), ("seed", seed)))
        if parents not in ("any", "per_class"):
            raise UsageError(f"hfss: parents must be 'any' or 'per_class'; got {parents!r}.")
        if parents == "per_class" and preset == "cvpr2025":
            raise UsageError("hfss: the published preset draws parents of any class; got parents='per_class'.")
        if keep_dc not in (None, True, False):
            raise UsageError(f"hfss: keep_dc must be None, True or False; got {keep_dc!r}.")
        for name, value, least in (
            ("top", top, 1),
            ("seed", seed, 0),
            ("published_batch_size", published_batch_size, 1),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise UsageError(f"hfss: {name} must be an integer of at least {least}; got {value!r}.")
        if not isinstance(keep, (int, float)) or isinstance(keep, bool) or not 0 < keep <= 1:
            raise UsageError(f"hfss: keep must be a number with 0 < keep <= 1; got {keep!r}.")
        if isinstance(risk, bool) or not isinstance(risk, (int, float)) or not 0 <= risk < 1:
            raise UsageError(f"hfss: risk must be a number with 0 <= risk < 1; got {risk!r}.")
        if risk and preset == "cvpr2025":
            raise UsageError(
                f"hfss: the published loss weighs images unequally, so its candidates cannot race; got risk={risk}."
            )
        if stopping not in STOPPING:
            raise UsageError(f"hfss: stopping must be one of {', '.join(STOPPING)}; got {stopping!r}.")
        if risk and stopping != "never":
            raise UsageError(f"hfss: certain stopping takes no risk; give stopping or risk={risk}.")
        self.model, self.images, self.progress, self.risk = model, images, progress, float(risk)
        self.stopping, self.stops = stopping, bool(risk) or stopping != "never"
        self.size = tuple(images.images.shape[-2:])
        try:
            self.cells = mask_room.stage_cells(self.size)
        except ValueError as error:
            raise UsageError(f"hfss: {error}") from error
        self.stages = _stages(stages, len(self.cells))
        self.numbers = _numbers(candidates, len(self.stages))
        self.preset, self.keep, self.top, self.seed = preset, keep, top, seed
        self.parents, self.elitism, self.keep_dc = parents, bool(elitism), keep_dc
        self.published = preset == "cvpr2025"
        self.published_batch_size = published_batch_size
        self.scoring = {
            "batch_size": batch_size,
            "device": device,
            "dtype": dtype,
            "domain": domain,
            "class_index": class_index,
            "memory": memory,
            "form": form,
            "spectra": spectra,
        }
        counts = torch.bincount(torch.as_tensor(images.labels), minlength=len(images.classes))
        self.resumed, self.recognised = 0, None
        self.searched = counts.nonzero().flatten().tolist()
        self.identity = {
            "search": "hfss",
            "preset": preset,
            "stages": self.stages,
            "candidates": self.numbers,
            "keep": keep,
            "top": top,
            "seed": seed,
            "parents": parents,
            "elitism": self.elitism,
            "keep_dc": keep_dc,
            "risk": self.risk,
            "stopping": stopping,
            "domain": domain,
            "class_index": None if class_index is None else [int(i) for i in class_index],
            "reduction": "published-batches" if self.published else "class-mean",
            "published_batch_size": published_batch_size if self.published else None,
            "batch_size": batch_size,
            "dtype": None if dtype is None else str(dtype).removeprefix("torch."),
            "device": (torch.device(device) if device is not None else model_device(model)).type,
            "memory": memory,
            "form": form,
            "spectra": spectra,
            # What the answer depends on, and not where the files lay.
            "model": {key: model.record.get(key) for key in ("name", "state_sha256", "mean", "std", "num_classes")},
            "data": {"fingerprint": images.fingerprint, "images": len(images.labels)},
            "versions": versions(),
        }
        self.differs = self._differs_from_published() if self.published else {}

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
            "keep": self.keep, "top": self.top, "seed": self.seed, "published_batch_size": self.published_batch_size,
            "stages": self.stages, "elitism": self.elitism, "keep_dc": self.keep_dc,
            "domain": self.scoring["domain"], "resize": about.get("resize", "squash"),
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

    def scorer(self, earlier):
        """The score service; a resumed run keeps the batch size and the form of the network it began with."""
        kept = {key: earlier[key] for key in ("batch_size", "form") if key in earlier}
        expected = sum(self.numbers) * len(self.images.labels)
        scorer = Scorer(self.model, self.images, **{**self.scoring, **kept}, expected=expected, progress=self.progress)
        if "form" in kept and scorer.form["form"] != kept["form"]:
            raise UsageError(
                f"hfss: cannot resume, for the run used the {kept['form']} network, which cannot be had here."
            )
        return scorer

    def draw(self, place, previous):
        """Candidates of the stage at `place` in the list: (`BitMasks`, provenance)."""
        parents = None
        if previous is not None:
            rows = previous.ranks
            if self.published and len(rows) < len(self.images.classes):
                # All masks have one loss for a class without images, and ties go by the order of the masks.
                rows = torch.arange(rows.shape[1]).repeat(len(self.images.classes), 1)
                rows[self.searched] = previous.ranks
            parents = [mask_room.select(previous.candidates, row) for row in rows]
        extra = {} if self.published else {"parent_draw": self.parents}
        drawn = mask_room.candidates(
            self.stages[place],
            self.numbers[place],
            size=self.size,
            keep=self.keep,
            seed=self.seed,
            preset=self.preset,
            parents=parents,
            **extra,
        )
        if len(drawn) == 0:
            raise UsageError(
                f"hfss: stage {self.stages[place]} has no candidates for candidates={self.numbers[place]}"
                f"{' (the published generator makes triples)' if self.published else ''}."
            )
        masks = drawn.masks if self.keep_dc is None else mask_room.set_dc(drawn.masks, self.keep_dc)
        return masks, drawn.provenance

    def stage(self, place, previous, scorer, **how):
        """Draw, score and rank one stage."""
        number = self.stages[place]
        masks, provenance = self.draw(place, previous)
        born, elite = torch.full((len(masks.bits),), number), self.elite(previous)
        # Masks that were stopped for some class have no loss there to bring along: they compete anew.
        if self.stops and len(elite):
            masks = mask_room.concat([masks, mask_room.select(previous.candidates, elite)])
        how["key"] = f"stage-{number}"
        if self.published:
            how.update(reduction="published-batches", published_batch_size=self.published_batch_size)
        if self.risk:
            scores = scorer.race(masks, top=self.top, risk=self.risk, seed=self.seed, **how)
        elif self.stops:
            scores = scorer.certain(masks, top=self.top, **how)
        else:
            scores = scorer.score(masks, among=self.recognised, **how)
        scores = scores.take_classes(self.searched)
        self.resumed += scores.record.pop("forwards_resumed")
        if len(elite):
            born = torch.cat([born, previous.born[elite]])
            if not self.stops:
                masks = mask_room.concat([masks, mask_room.select(previous.candidates, elite)])
                scores = scores.join(previous.scores.take(elite))
        if not self.published:
            # Forcing DC, or an elite that a new candidate equals, can make twins.
            first, _ = mask_room.unique(masks)
            if len(first) < len(born):
                masks, scores, born = mask_room.select(masks, first), scores.take(first), born[first]
        scores.record.update(provenance)
        return StageResult(number, masks, scores, scores.rank(self.top), born)

    def elite(self, previous):
        """Masks of the previous stage that compete again, int64."""
        if not self.elitism or previous is None:
            return torch.empty(0, dtype=torch.int64)
        return previous.ranks.unique()

    def whole(self, scorer, record, directory, progress, check):
        """Ask about the images before anything is filtered; what they say of the network goes on record."""
        journal = directory.journal if directory else None
        progress.start("whole images", scorer.forwards(1))
        try:
            scores, self.recognised, clean = ask_whole(
                lambda masks, **more: scorer.score(
                    masks, key=CLEAN, progress=progress, journal=journal, check=check, **more
                ),
                scorer,
            )
        finally:
            progress.finish()
        self.resumed += scores.record["forwards_resumed"]
        record["forwards"] += scores.record["forwards"]
        record.update(forwards_resumed=self.resumed, clean=clean.record)
        for caution in clean.cautions():
            progress.note(f"Caution: {caution}")

    def rates(self, last, scorer, record, directory, progress, check):
        """After candidates were stopped, ask about the maps of all classes on the images of all classes, for FPR."""
        best = last.ranks[:, 0].unique()
        progress.start("rates", scorer.forwards(len(best)))
        try:
            scores = scorer.score(
                mask_room.select(last.candidates, best),
                key="rates",
                progress=progress,
                journal=directory.journal if directory else None,
                check=check,
                among=self.recognised,
            )
        finally:
            progress.finish()
        self.resumed += scores.record["forwards_resumed"]
        record["forwards"] += scores.record["forwards"]
        record["forwards_resumed"] = self.resumed
        scores = scores.take_classes(self.searched)
        if scores.still is not None:
            last.scores.still = torch.zeros_like(last.scores.correct)
            last.scores.still[best] = scores.still
        last.scores.correct[best] = scores.correct
        last.scores.predicted[best] = scores.predicted
        if directory and directory.writes:
            last.save(directory.path / f"stage-{last.number}.safetensors")

    def run(self, directory, progress, began, check):
        earlier = (directory.previous or {}) if directory else {}
        scorer = self.scorer(earlier)
        record = {
            "status": "running",
            "identity": self.identity,
            "model": dict(self.model.record),
            "data": dict(self.images.record),
            "forwards_total": (sum(self.numbers) + 1) * len(self.images.labels),
            "classes": len(self.searched),
            "classes_without_images": len(self.images.classes) - len(self.searched),
            **({"differs_from_published": self.differs} if self.published else {}),
            "images": len(self.images.labels),
            "batch_size": scorer.batch_size,
            "batch_size_timings": earlier.get("batch_size_timings", scorer.calibration),
            "form": scorer.form["form"],
            "form_record": scorer.form,
            "device": str(scorer.forward.device),
            "threads": torch.get_num_threads(),
            "ranks": ranks.current().facts(ranks.about_this_rank(scorer.forward.device)),
            "session_began": time.time(),
            "forwards_before": forwards_in(directory.journal) if directory else 0,
            "stages_done": [],
            "best": None,
            "forwards": 0,
            "forwards_resumed": 0,
            "forwards_saved": 0,
            "forwards_saved_twins": 0,
            "forwards_saved_racing": 0,
            "forwards_saved_certain": 0,
            "seconds": 0.0,
            "sessions": earlier.get("sessions", 0) + 1,
        }
        # Of all sessions, both or neither: a run that began elsewhere may not have measured the second.
        before, in_model = earlier.get("seconds", 0.0), 0.0
        if earlier and not (earlier.get("seconds_of_all_sessions") or earlier.get("sessions", 1) == 1):
            in_model = None
        elif earlier:
            in_model = earlier.get("seconds_in_model")

        def note_down(**changes):
            record.update(changes, seconds=round(before + time.monotonic() - began, 3))
            if scorer.forward.device.type == "cpu" and in_model is not None:  # elsewhere calls return before the end
                record["seconds_in_model"] = round(in_model + scorer.forward.seconds, 3)
                record["seconds_of_all_sessions"] = True
            if directory:
                directory.write({key: value for key, value in record.items() if key != "identity"})

        self.tell_differences()
        done, current = [], None
        try:
            note_down()
            self.whole(scorer, record, directory, progress, check)
            note_down()
            for place, number in enumerate(self.stages):
                previous = done[-1] if done else None
                note_down(stage=number)
                again = len(self.elite(previous)) if self.stops else 0
                progress.start(f"stage {number}", scorer.forwards(self.numbers[place] + again))
                try:
                    current = self.stage(
                        place,
                        previous,
                        scorer,
                        progress=progress,
                        journal=directory.journal if directory else None,
                        check=check,
                    )
                    progress.advance(0, best=best_class(current))
                finally:
                    progress.finish()
                done.append(current)
                for name in SAVED:
                    record[name] += current.scores.record[name]
                record["forwards_resumed"] = self.resumed
                if directory and directory.writes:
                    current.save(directory.path / f"stage-{number}.safetensors")
                note_down(
                    stages_done=[stage.number for stage in done],
                    best=best_class(current),
                    economies=scorer.economies(),
                )
            if self.stops:
                self.rates(done[-1], scorer, record, directory, progress, check)
            still, best = done[-1].scores.still, done[-1].ranks[:, 0]
            record["clean"]["still"] = None if still is None else still[best, torch.arange(len(best))].tolist()
            result = SearchResult.from_stages(done, record)
            if directory and directory.writes:
                result.save_summary(directory.path)
            note_down(status="finished")
            return result
        except BaseException as error:
            if directory:
                # On a full disk this fails as well; the first error is the one to report.
                with contextlib.suppress(OSError):
                    directory.journal.flush()
                    note_down(status="interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
                if isinstance(error, Interrupted):
                    progress.note(f"stopped; continue with resume in {directory.path}")
            raise

    def plan(self):
        """Count masks and forwards stage by stage, and time one batch."""
        import resource

        scorer = self.scorer({})
        self.tell_differences()
        stages, previous = [], None
        for place, number in enumerate(self.stages):
            masks, _ = self.draw(place, previous)
            drawn = len(masks.bits)
            distinct = len(mask_room.unique(masks)[0])
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
            ranks = torch.arange(min(self.top, drawn)).repeat(len(self.searched), 1)
            previous = StageResult(number, masks, None, ranks, None)
        whole = scorer.forwards(1)
        forwards = sum(stage["forwards"] for stage in stages) + whole
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
                **({"differs_from_published": self.differs} if self.published else {}),
            },
            remark=f"{whole:,} of the forwards show the whole images, before anything is filtered.",
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


def _stages(stages, available):
    """1, 2, ..., n as a list."""
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


def _numbers(candidates, stages):
    numbers = [candidates] * stages if isinstance(candidates, int) else list(candidates)
    if len(numbers) != stages or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in numbers):
        raise UsageError(
            f"hfss: candidates must be a positive integer, or one for each of the {stages} stages; got {candidates!r}."
        )
    return numbers
