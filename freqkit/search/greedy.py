"""Cull frequencies one after the other: what a class can lose stays lost.

The order is a spiral around DC, innermost first, as published: a pair {f, -f} is removed, and stays removed
when the number of correctly recognised images of the class falls by no more than `tolerance` from what it was
before. The result therefore depends on the order, and no two pairs can be tried at once; but the classes can:
each image is shown the trial mask of its own class, so that one forward per image tries a pair for every class.
Classes are culled in groups, as many as fill a batch with their images; ranks share the groups, pass by pass.

Source: Wang, Veldhuis, Brune, Strisciuglio, "DFM-X: Augmentation by leveraging prior knowledge of shortcut
learning", ICCV workshops 2023.
"""

from dataclasses import dataclass

import numpy as np
import torch

from freqkit.data import Images
from freqkit.engine import Silent, ranks
from freqkit.masks import pack
from freqkit.models import Network
from freqkit.options import Options, Running, Scoring, flat, option
from freqkit.results import SearchResult
from freqkit.search.cells import removal_cells
from freqkit.search.plan import Effort, Plan
from freqkit.search.run import SearchRun, budget
from freqkit.search.testing import Testing, again

ORDERS = ("inner-first", "outer-first")
TOLERATED = 0.006  # 6 of 1,000 images, as published
KEPT_EVERY = 10  # steps between entries of the journal
_SHOWN = "/0-1/0-"  # goes before the number of forwards, at the end of the key of such an entry


EFFORTS = {
    "greedy": Effort(
        "images lost per removal", (0,),
        lambda effort, coverage, seed, size: {"tolerance": effort, "coverage": coverage}, slow=True,
    )
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Culling(Options):
    """What `greedy` is asked."""

    tolerance: int | None = option(
        None, "correct images that one removal may cost; None: 0.6 % of the class's images, rounded down (published: "
        "6 of 1,000)", least=0, help="images a removal may cost.  [default: 0.6% of the class]",
    )  # fmt: skip
    coverage: float | None = option(
        None, "None: one pass, and what is left is the map, as published. Else a share of the bins: a class that keeps "
        "more after a pass goes through another one with twice the tolerance (1 after 0), until it keeps no more",
        above=0, most=1, usual=0.05,
        help="share of the bins to keep",
    )  # fmt: skip
    order: str = option("inner-first", "of the frequencies", choices=ORDERS, flag=False)
    passes: int = option(
        20, "with `coverage`, at most so many; a class that then keeps more than `coverage` is an error", least=1,
        flag=False,
    )  # fmt: skip


@flat
def greedy(
    model: Network, images: Images, own: Culling, testing: Testing, scoring: Scoring, running: Running
) -> SearchResult | Plan:
    """Remove every frequency that a class can do without, in a fixed order; see the module.

    Args:
        model: a `Classifier`; copied, never changed.
        images: what `freqkit.data.as_images` takes; a share selects, the others test (`split_fraction`).

    Returns:
        `freqkit.results.SearchResult` of one stage: each class's mask, scored exactly on the images that
        select; `tested` has its rates on the others.

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
    run = SearchRun("greedy", model, images, scoring, own.identity(), testing, running)
    images, bins = run.images, None if own.coverage is None else budget("greedy", own.coverage, run.size)

    def work(run, progress):
        scorer = run.scorer()
        culling = _Culling(run, scorer, own.order, bins)
        classes, area = len(run.searched), culling.area
        allowed = torch.full((classes,), own.tolerance or 0)
        if own.tolerance is None:
            allowed = (TOLERATED * run.counts).long()
        kept, over = torch.ones(classes, len(area), dtype=torch.bool), torch.ones(classes, dtype=torch.bool)
        reference = run.whole(scorer, progress).correct[0, run.searched]
        for number in range(own.passes):
            progress.start(f"culling, pass {number + 1}", len(area) * int(run.counts[over].sum()), "forwards")
            try:
                kept, reference = culling.cull(number, over, kept, reference, allowed, progress)
            finally:
                progress.finish()
            if bins is not None:
                over = (kept * area).sum(1) > bins
            if bins is None or not over.any():
                break
            allowed = torch.where(over, (2 * allowed).clamp_min(1), allowed)
        else:
            raise RuntimeError(
                f"greedy: {int(over.sum())} classes keep more than coverage {own.coverage} "
                f"after {own.passes} passes; allow more passes or a larger tolerance."
            )
        run.record["passes"] = number + 1
        run.record["tolerances"] = allowed.tolist()
        return run.lineages(scorer, kept[:, None], culling.owner, progress)

    if running.dry_run:
        scorer, masks = run.scorer(), len(run.searched)
        culling = _Culling(run, scorer, own.order, bins)
        groups = culling.groups(torch.ones(masks, dtype=torch.bool))
        remark = None
        if bins is not None:
            remark = (
                "One pass is counted; until the coverage is reached, up to "
                f"{own.passes} follow, each with as many forwards at most."
            )
        return run.plan(
            scorer,
            [
                run.whole_part(scorer),
                ("culling", len(culling.area) * len(images), 0, len(groups), None),
                ("exact scores", scorer.forwards(masks), 0, scorer.tiles(masks), None),
            ],
            remark,
        )
    return run.execute(work, running, again(greedy, own, scoring))


class _Culling:
    """Goes through the pairs once for some classes."""

    def __init__(self, run, scorer, order, bins):
        self.run, self.scorer, self.bins = run, scorer, bins
        _, self.owner = removal_cells(run.size, 1)
        self.area = torch.bincount(self.owner.flatten())
        self.spiral = _spiral(self.owner, order).tolist()
        steps = len(self.spiral)
        self.chunks = [(i, min(i + KEPT_EVERY, steps)) for i in range(0, steps, KEPT_EVERY)]

    def groups(self, over):
        """Neighbours among the classes bool [C] that are `over`, while their images fit a batch: list of int64 [G]."""
        groups, room = [], 0
        for c in over.nonzero().flatten().tolist():
            count = int(self.run.counts[c])
            if count > room:
                groups.append([])
                room = max(self.scorer.batch_size, count)
            groups[-1].append(c)
            room -= count
        return [torch.tensor(group) for group in groups]

    def cull(self, number, over, kept, reference, allowed, progress):
        """A pass for the classes that are `over`: what all keep afterwards, bool [C, K], and recognise, int64 [C]."""
        run, alone = self.run, ranks.current().size == 1
        journalled = set() if run.journal is None else set(run.journal.keys())
        tiles = []
        for group in self.groups(over):
            name = f"pass-{number}/class-{run.searched[group[0]]}"
            # What a process does alone it tells as it goes.
            telling = alone and name not in journalled
            tiles.append((name, 0 if telling else len(self.spiral) * int(run.counts[group].sum()), (name, group)))
        parts = sorted(name for name in journalled if name.startswith(f"pass-{number}/") and _SHOWN in name)
        sizes = {name: len(group) for name, _, (_, group) in tiles}

        def layout_of_part(name):
            tile, _, steps = name.partition(_SHOWN)[0].rpartition("/")
            first, last = map(int, steps.split("-"))
            return {"correct": ("i", (last - first, sizes.get(tile, 0)))}

        parts = [name for name in parts if name.partition(_SHOWN)[0].rpartition("/")[0] in sizes]
        earlier = ranks.resumed(run.journal, parts, layout_of_part)
        earlier = {name.partition(_SHOWN)[0]: found for name, found in earlier.items()}
        shared = ranks.share(
            tiles,
            lambda tile: self._cull(*tile, kept, reference, allowed, earlier, progress if alone else Silent()),
            journal=run.journal, progress=progress, check=run.check,
            layout=lambda tile: {
                "kept": ("i", (len(tile[1]), len(self.spiral))), "reference": ("i", (len(tile[1]),)),
                "cost": ("i", (2,)),
            },
        )  # fmt: skip
        found = {"kept": kept.numpy().copy(), "reference": reference.numpy().copy()}
        shown = resumed = 0
        for (_, group), arrays, is_resumed in shared:
            for name, values in found.items():
                values[group.numpy()] = arrays[name]
            cost = arrays["cost"].tolist()
            shown, resumed = shown + cost[0], resumed + cost[0 if is_resumed else 1]
        found = ranks.current().agree_arrays({**found, "cost": np.array([shown, resumed])})
        for name, amount in zip(("forwards", "forwards_resumed"), found["cost"].tolist(), strict=True):
            run.record[name] += amount
        return torch.from_numpy(found["kept"]), torch.from_numpy(found["reference"])

    def _cull(self, name, group, kept, reference, allowed, earlier, progress):
        """A pass for one group; what was counted is put into this rank's journal, or found in `earlier`."""
        run, kept, reference, allowed = self.run, kept[group], reference[group], allowed[group]
        members = torch.isin(self.run.label, group).nonzero().flatten()
        own = torch.searchsorted(group, self.run.label[members])
        shown = resumed = 0
        for first, last in self.chunks:
            key, before = f"{name}/{first}-{last}", shown
            is_resumed = key in earlier
            # Of each step, the correct images of every class that was tried.
            correct = torch.full((last - first, len(group)), -1)
            if is_resumed:
                correct.copy_(torch.from_numpy(np.array(earlier[key]["correct"])))
            for pair, now in zip(self.spiral[first:last], correct, strict=True):
                trial = kept.clone()
                trial[:, pair] = False
                # In a later pass a class stops where its budget is reached; the last pair is not removed.
                tried = kept[:, pair] & trial.any(1)
                if self.bins is not None:
                    tried &= (kept * self.area).sum(1) > self.bins
                if not tried.any():
                    continue
                asked = tried[own]
                if not is_resumed:
                    bits = pack(trial[:, self.owner], cell=(1, 1), size=run.size, symmetry="hermitian")
                    _, predictions = self.scorer.predictions_each(bits, own[asked], members[asked], check=run.check)
                    right = predictions == self.scorer.class_index[run.images.labels[members[asked]]]
                    now[tried] = torch.bincount(own[asked], right, len(group)).long()[tried]
                shown += int(asked.sum())
                resumed += int(asked.sum()) * is_resumed
                progress.advance(int(asked.sum()), resumed=is_resumed)
                lost = tried & (reference - now <= allowed)
                kept[lost, pair] = False
                reference = torch.where(lost, now, reference)
            if shown > before and not is_resumed and run.journal is not None:
                run.journal.put(f"{key}{_SHOWN}{shown - before}", correct=correct)
        return {"kept": kept.numpy(), "reference": reference.numpy(), "cost": np.array([shown, resumed])}


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
