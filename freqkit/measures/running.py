"""What measures share that ask a network for long: a run that may stand in a directory, and goes on from there."""

from collections.abc import Callable, Sized
from pathlib import Path
from typing import Any, TypeVar

import torch

from freqkit.data import ImageSet
from freqkit.engine import Scorer, Silent, ranks
from freqkit.engine.entrance import asked_of
from freqkit.engine.forward import model_device
from freqkit.engine.session import Session, session
from freqkit.models import Classifier
from freqkit.options import Directory, Options, Scoring
from freqkit.results.result import Result, versions

Found = TypeVar("Found", bound=Result)


def run(
    name: str, model: Classifier, images: ImageSet, stimulus: Sized, own: Options, scoring: Scoring,
    running: Directory, work: Callable[[Scorer, dict, dict], Found], unit: str = "forwards",
) -> Found:  # fmt: skip
    """One run of a measure that shows one stimulus, or as many versions of every image as `stimulus` is long.

    Args:
        name: of the measure, and of its file in the directory.
        stimulus: what will be shown, of which the length alone is asked; `about`, if it has that, is part of what the
            run is.
        work: called with the scorer, the keywords of its `show` beside stimulus and accumulators, and the record of the
            result: what depends on no clock; gives the result.
        unit: of the work that the progress tells.
    """
    progress = running.progress or Silent()
    identity = {
        "measure": name, **own.identity(), **getattr(stimulus, "about", {}), **asked_of(model, images, scoring)
    }  # fmt: skip
    how = {"resume": running.resume, "overwrite": running.overwrite, "note": progress.note}
    with session(name, identity, running.out, **how) as one:
        scorer = _scorer(one, model, images, len(images) * len(stimulus), scoring, progress)
        record = {
            "model": dict(model.record), "data": dict(images.record), "forwards": scorer.forwards(len(stimulus)),
            "versions": versions(),
        }  # fmt: skip
        one.note_down(
            model=record["model"], data=record["data"], forwards_total=record["forwards"],
            device=str(scorer.forward.device), form=scorer.form["form"], batch_size=scorer.batch_size,
            ranks=ranks.current().facts(ranks.about_this_rank(scorer.forward.device)),
        )  # fmt: skip
        progress.start(name, record["forwards"], unit)
        try:
            result = work(scorer, {"progress": progress, "journal": one.journal, "check": one.check}, record)
        finally:
            progress.finish()
        one.note_down(forwards=record["forwards"], economies=scorer.economies())
        if one.path is not None:
            result.save(file_of(one.path, name))
    return result


def run_tiles(
    name: str, model: Classifier, images: ImageSet, total: tuple[int, str], own: Options, scoring: Scoring,
    running: Directory, work: Callable[[Callable, dict], Found], **more: Any,
) -> Found:  # fmt: skip
    """One run of a measure whose work is cut into tiles of its own; otherwise as `run`.

    Args:
        total: how much work there is, and its unit, for the progress.
        work: called with a function and the record of the result; gives the result. The function takes (tiles, compute,
            layout, arrays): the first three as `freqkit.engine.ranks.share` has them. It gives (what, found) of each
            tile, in order, to be put into the arrays (name -> numpy array), which are those of rank 0 on every rank
            once it is through.
        more: what else the result depends on, JSON-ready.
    """
    progress = running.progress or Silent()
    identity = {"measure": name, **own.identity(), **more, **asked_of(model, images, scoring)}
    how = {"resume": running.resume, "overwrite": running.overwrite, "note": progress.note}
    with session(name, identity, running.out, **how) as one:
        device = model_device(model) if scoring.device is None else torch.device(scoring.device)
        record = {"model": dict(model.record), "data": dict(images.record), "forwards": total[0],
                  "versions": versions()}  # fmt: skip
        one.note_down(
            model=record["model"], data=record["data"], forwards_total=total[0], device=str(device),
            ranks=ranks.current().facts(ranks.about_this_rank(device)),
        )  # fmt: skip
        progress.start(name, *total)

        def share(tiles, compute, layout, arrays):
            how = {"journal": one.journal, "progress": progress, "check": one.check, "layout": layout, "counted": True}
            for what, found, _ in ranks.share(tiles, compute, **how):
                yield what, found
            for name, agreed in ranks.current().agree_arrays(dict(arrays)).items():
                arrays[name][...] = agreed

        try:
            result = work(share, record)
        finally:
            progress.finish()
        one.note_down(forwards=record["forwards"])
        if one.path is not None:
            result.save(file_of(one.path, name))
    return result


def file_of(folder: str | Path, name: str) -> Path:
    """The result of a measure in the directory of its run."""
    return Path(folder) / f"{name}.safetensors"


def _scorer(one: Session, model, images, expected, scoring, progress):
    """Goes on as it began: a batch size that was measured is not measured again."""
    begun = {key: one.earlier[key] for key in ("batch_size", "form") if one.earlier.get(key) is not None}
    return Scorer(model, images, expected=expected, progress=progress, **{**vars(scoring), **begun})
