"""Cull frequencies one after the other: what a class can lose stays lost.

The order is a spiral around DC, innermost first, as published: a pair {f, -f} is removed, and stays removed
when the number of correctly recognised images of the class falls by no more than `tolerance` from what it was
before. The result therefore depends on the order, and no two pairs can be tried at once; but the classes can:
each image is shown the trial mask of its own class, so that one forward per image tries a pair for every class.

Source: Wang, Veldhuis, Brune, Strisciuglio, "DFM-X: Augmentation by leveraging prior knowledge of shortcut
learning", ICCV workshops 2023.
"""

import numpy as np
import torch

from freqkit import masks as mask_room
from freqkit.search.removal import removal_cells
from freqkit.search.run import SearchRun, budget, one_of, whole_number

ORDERS = ("inner-first", "outer-first")
TOLERATED = 0.006  # 6 of 1,000 images, as published


def greedy(
    model,
    images,
    *,
    tolerance=None,
    coverage=None,
    order="inner-first",
    passes=20,
    domain="normalised",
    class_index=None,
    batch_size="auto",
    device=None,
    dtype=None,
    memory=1 << 30,
    form="auto",
    spectra="float32",
    out=None,
    resume=False,
    overwrite=False,
    progress=None,
    dry_run=False,
):
    """Remove every frequency that a class can do without, in a fixed order; see the module.

    Args:
        model: a `Classifier`; copied, never changed. images: an `ImageSet`; report rates on another one.
        tolerance: correct images that one removal may cost; None: 0.6 % of the class's images, rounded down
            (published: 6 of 1,000).
        coverage: None: one pass, and what is left is the map, as published. Else a share of the bins: a class
            that keeps more after a pass goes through another one with twice the tolerance (1 after 0), until
            it keeps no more.
        order: "inner-first" or "outer-first".
        passes: with `coverage`, at most so many; a class that then keeps more than `coverage` is an error.
        domain, class_index, batch_size, device, dtype, memory, form, spectra: see `freqkit.engine.score`.
        out, resume, overwrite, progress, dry_run: see `freqkit.search.hfss`.

    Returns:
        `freqkit.results.SearchResult` of one stage: each class's mask, scored exactly on all images.

    Raises:
        UsageError, TypeError, ValueError: an argument does not fit, or `out` is refused.
        RuntimeError: `coverage` was not reached within `passes`.
        Interrupted: SIGINT or SIGTERM came; what was finished is in the journal.

    Example:
        >>> from freqkit.data import synthetic
        >>> from freqkit.models import load_model
        >>> model = load_model("small_convnet", num_classes=4)
        >>> result = greedy(model, synthetic(images_per_class=2, size=16), batch_size=16)
        >>> len(result.masks), result.forwards <= 8 * (130 + 1 + 4)    # 130 pairs, the whole plane, 4 masks at the end
        (4, True)
    """
    one_of("greedy", "order", order, ORDERS)
    whole_number("greedy", "passes", passes, 1)
    if tolerance is not None:
        whole_number("greedy", "tolerance", tolerance, 0)
    size = tuple(images.images.shape[-2:])
    bins = None if coverage is None else budget("greedy", coverage, size)
    run = SearchRun(
        "greedy", model, images, domain=domain, class_index=class_index, batch_size=batch_size, device=device,
        dtype=dtype, memory=memory, form=form, spectra=spectra,
        identity={"tolerance": tolerance, "coverage": coverage, "order": order, "passes": passes},
    )  # fmt: skip

    def work(run, progress):
        scorer = run.scorer()
        _, owner = removal_cells(run.size, 1)
        area = torch.bincount(owner.flatten())
        place = torch.full((len(images.classes),), -1)
        place[run.searched] = torch.arange(len(run.searched))
        label, classes = place[images.labels], len(run.searched)
        counts = torch.bincount(label, minlength=classes)
        allowed = (TOLERATED * counts).long() if tolerance is None else torch.full((classes,), tolerance)
        kept = torch.ones(classes, len(area), dtype=torch.bool)

        def correct(masks, key):
            found = run.journal.get(key) if run.journal is not None else None
            known = found is not None
            if not known:
                bits = mask_room.pack(masks[:, owner], cell=(1, 1), size=run.size, symmetry="hermitian")
                scores = scorer.score_each(bits, label, check=run.check)
                found = {"correct": scores.correct[0, run.searched].numpy()}
                if run.journal is not None:
                    run.journal.put(key, **found)
            run.record["forwards"] += len(images)
            run.record["forwards_resumed"] += len(images) * known
            progress.advance(len(images), resumed=known)
            return torch.from_numpy(np.array(found["correct"]))

        spiral = _spiral(owner, order)
        progress.start("culling", (len(spiral) + 1) * len(images), "forwards")
        try:
            reference = correct(kept, f"whole/0-1/0-{len(images)}")
            for number in range(passes):
                for step, pair in enumerate(spiral.tolist()):
                    trial = kept.clone()
                    trial[:, pair] = False
                    # In a later pass a class stops where its budget is reached; the last pair is not removed.
                    open_ = kept[:, pair] & trial.any(1)
                    if bins is not None:
                        open_ &= (kept * area).sum(1) > bins
                    if not open_.any():
                        continue
                    now = correct(
                        torch.where(open_[:, None], trial, kept), f"pass-{number}/{step}-{step + 1}/0-{len(images)}"
                    )
                    lost = open_ & (reference - now <= allowed)
                    kept[lost, pair] = False
                    reference = torch.where(lost, now, reference)
                if bins is None or ((kept * area).sum(1) <= bins).all():
                    break
                allowed = torch.where((kept * area).sum(1) > bins, (2 * allowed).clamp_min(1), allowed)
            else:
                raise RuntimeError(
                    f"greedy: {int(((kept * area).sum(1) > bins).sum())} classes keep more than coverage {coverage} "
                    f"after {passes} passes; allow more passes or a larger tolerance."
                )
            run.record["passes"] = number + 1
            run.record["tolerances"] = allowed.tolist()
        finally:
            progress.finish()
        return run.lineages(scorer, kept[:, None], owner, progress)

    if dry_run:
        scorer, masks = run.scorer(), len(run.searched)
        pairs = int(removal_cells(size, 1)[1].max()) + 1
        remark = None
        if bins is not None:
            remark = (
                "One pass is counted; until the coverage is reached, up to "
                f"{passes} follow, each with as many forwards at most."
            )
        return run.plan(
            scorer,
            [
                ("culling", (pairs + 1) * len(images), 0, 1, None),
                ("exact scores", scorer.forwards(masks), 0, scorer.tiles(masks), None),
            ],
            remark,
        )
    return run.execute(work, out, resume, overwrite, progress)


def _spiral(owner, order):
    """Pairs int64 [K] by the square ring of their bin around DC, and by angle within a ring."""
    height, width = owner.shape
    y = torch.arange(height)[:, None] - height // 2
    x = torch.arange(width) - width // 2
    ring = torch.maximum(y.abs(), x.abs()).expand(height, width)
    angle = torch.atan2(y.double().expand(height, width), x.double().expand(height, width))
    bins = np.lexsort((angle.flatten().numpy(), ring.flatten().numpy()))
    pairs = owner.flatten().numpy()[bins]
    _, first = np.unique(pairs, return_index=True)
    inner = torch.from_numpy(pairs[np.sort(first)])
    return inner if order == "inner-first" else inner.flip(0)
