"""Certain stopping: a candidate that has already lost is shown no more of a class's images; nothing is risked.

Cross-entropy is never negative, so the sum over the images seen is a lower bound of the sum over all. Once it exceeds
the final sum of the class's `top`-th best *completed* candidate, the candidate is out, whatever the rest may be. No
statistics: the answer is that of scoring everything.

The bound holds in any order of images, so those on which it rises fastest come first. All candidates are shown a few
images; the `top` best so far are completed, which gives the bound and tells how hard each image is (the mean square
root of the completed losses: the mean itself would follow a few outliers). Then every candidate still open asks for its
hardest images not seen yet, as many as it is expected to need for `SHARE` of what is missing to the bound.

The comparison leaves a margin that neither the order of summation in float64 nor ties can cross: a candidate whose
final sum equals the bound is always completed.
"""

import itertools
import math

import numpy as np
import torch

from freqkit.engine import racing, ranks
from freqkit.engine.batches import BATCHES_PER_TILE, sums
from freqkit.engine.stimuli import filtered
from freqkit.masks.bits import pick

FIRST_LOOK = 12  # images, or a quarter of the class's: before there is a bound
SHARE = 0.5  # smaller: fewer forwards, more rounds
LEAST = 1 / 32  # of the images, at least so many in a round: rounds cost a message to all ranks
ROUGH = 1e-3  # of a loss: more than rounding changes it where it depends on the rest of the batch
MARGIN = 1e-9  # of the bound; sums of a million float64 losses differ by less


class Bounds:
    """One class's candidates: what has been seen of whom, who is open still.

    Args:
        label: the class. members: int64 [n], its images. candidates: how many.

    Attributes:
        losses: float64 [candidates, n], NaN where not seen. hits: int64 [candidates], right predictions seen.
        open: bool [candidates], neither complete nor out.

    Example:
        >>> losses = np.random.default_rng(0).gamma(1, 1, (30, 64)) * np.linspace(1, 4, 30)[:, None]
        >>> kept, looked = prove(losses, 3)
        >>> bool(kept[np.argsort(losses.sum(1))[:3]].all()), looked < 0.7 * losses.size
        (True, True)
    """

    def __init__(self, label, members, candidates):
        self.label, self.members = label, members
        self.losses = np.full((candidates, len(members)), np.nan)
        self.hits = np.zeros(candidates, np.int64)
        self.open = np.ones(candidates, bool)
        self.turn = 0

    @property
    def complete(self):
        """bool [candidates]: seen with all images."""
        return ~np.isnan(self.losses).any(1)

    def observe(self, candidates, indices, losses, correct):
        """Take the losses and right predictions of pairs of a candidate and an index in `members`."""
        if not (losses >= 0).all():
            raise ValueError(f"certain stopping: losses must not be negative or NaN; got {losses.min()}.")
        self.losses[candidates, indices] = losses
        np.add.at(self.hits, candidates, correct)

    def wanted(self, top, add, margin=MARGIN, floor=0.0):
        """What to look at next.

        Args:
            top: how many candidates are wanted.
            add: final sums [k] of losses [k, n], in the order in which scoring everything adds them.
            margin: share of the bound by which a sum must exceed it.
            floor: what is added to every sum afterwards; makes the margin no smaller than its rounding.

        Returns:
            (bool [candidates, n] pairs to look at, forwards saved by those now out). Nothing to look at: it is over.
        """
        count, images = self.losses.shape
        unseen, self.turn = np.isnan(self.losses), self.turn + 1
        if self.turn == 1:
            if count > top:
                first = min(FIRST_LOOK, -(-images // 4))
                unseen[:, racing.order(images, 0, self.label)[first:]] = False
            return unseen, 0
        self.open &= unseen.any(1)
        sums = np.nansum(self.losses, 1)
        if self.turn == 2:
            leaders = np.zeros(count, bool)
            leaders[np.argsort(sums, kind="stable")[:top]] = True
            return unseen & leaders[:, None], 0
        complete = self.complete
        bound = np.sort(add(self.losses[complete]))[min(top, complete.sum()) - 1]
        bound += margin * (bound + abs(floor)) + np.finfo(float).tiny
        out = self.open & (sums > bound)
        self.open &= ~out
        asked = np.zeros_like(unseen)
        if self.open.any():
            asked[self.open] = self._hardest(unseen[self.open], bound - sums[self.open], complete)
        return asked, int(unseen[out].sum())

    def _hardest(self, unseen, missing, complete):
        """Of the unseen images of the open candidates, the hardest: bool [open, n]."""
        images = unseen.shape[1]
        hard = np.sqrt(self.losses[complete]).mean(0)
        hard += 0.05 * hard.mean() + 1e-9  # an image easy for the completed ones may be hard for others
        order = np.argsort(-hard, kind="stable")
        unseen, hard = unseen[:, order], hard[order]
        seen = np.nansum(self.losses[self.open], 1) / np.where(unseen, 0.0, hard).sum(1)
        expected = np.where(unseen, hard * seen[:, None], 0.0)
        before = np.cumsum(expected, 1) - expected
        wanted = before <= SHARE * missing[:, None]
        wanted |= np.cumsum(unseen, 1) <= max(1, int(LEAST * images))
        result = np.zeros_like(unseen)
        result[:, order] = unseen & wanted
        return result


def prove(losses, top):
    """Stop with certainty over known losses, to see what it would have asked for.

    Args:
        losses: float [candidates, n] of one class, none negative.
        top: how many are wanted.

    Returns:
        (bool [candidates] completed, number of losses looked at). See `Bounds` for an example.
    """
    losses = np.asarray(losses, np.float64)
    one = Bounds(0, np.arange(losses.shape[1]), len(losses))
    while True:
        asked, _ = one.wanted(top, lambda whole: whole.sum(1))
        if not asked.any():
            return one.complete, int((~np.isnan(one.losses)).sum())
        who, where = np.nonzero(asked)
        one.observe(who, where, losses[who, where], np.zeros(len(who), bool))


def prove_masks(scorer, masks, call, top, exact, weights, offset):
    """The bounds of `freqkit.engine.Scorer.certain`, on every rank.

    Args:
        scorer: a `Scorer`. masks: `Distinct` ones. call: the `Call`.
        exact: whether an image has the same logits in any batch.
        weights, offset: of the reduction, see `Scorer.score`; None for the mean.

    Returns:
        (float64 [K, C] sums of losses, infinite where stopped; int64 [K, C] right predictions; forwards; those from the
        journal).
    """
    total, classes = len(masks.names), len(scorer.classes)
    margin = MARGIN if exact else ROUGH
    loss = np.full((total, classes), math.inf)
    correct = np.zeros((total, classes), dtype=np.int64)
    done = resumed = 0

    def predict(pairs):
        return _pairs(scorer, masks, *pairs, weights)

    def layout(pairs):
        return {"loss": ("f", (len(pairs[0]),)), "correct": ("i", (len(pairs[0]),))}

    for group, bounds in enumerate(_bounds(scorer, total)):
        for turn in itertools.count(1):
            asked, saved = _asked(scorer, bounds, top, margin, offset)
            if saved:
                call.progress.advance(saved, saved=True)
            if not len(asked["mask"]):
                break
            tiles = _cut(scorer.tiling, asked, f"{call.key}/{group}/{turn}")
            for (who, images), values, is_resumed in call.share(tiles, predict, layout):
                done += len(who)
                resumed += len(who) * is_resumed
                for one in bounds:
                    own = (scorer.labels[images] == one.label).numpy()
                    indices = np.searchsorted(one.members, images[own])
                    one.observe(who[own], indices, values["loss"][own], values["correct"][own])
        if ranks.current().first:
            for one in bounds:
                whole = one.complete
                loss[whole, one.label] = _added(scorer.tiling, one.losses[whole], one.members)
                correct[whole, one.label] = one.hits[whole]
    found = {"loss": loss, "correct": correct, "counted": np.array([done, resumed])}
    found = ranks.current().agree_arrays(found)
    return found["loss"], found["correct"], *found["counted"].tolist()


def _bounds(scorer, masks):
    """The classes' bounds, some at a time, so that the losses they remember keep to the stated memory."""
    bounds, held = [], 0
    for label in scorer.counts.nonzero().flatten().tolist():
        need = 8 * masks * int(scorer.counts[label])
        if bounds and held + need > scorer.memory_limit:
            yield bounds
            bounds, held = [], 0
        members = (scorer.labels == label).nonzero().flatten().numpy()
        # Other ranks than the first hold no losses: they are told what to look at.
        bounds.append(Bounds(label, members, masks if ranks.current().first else 0))
        held += need
    if bounds:
        yield bounds


def _asked(scorer, bounds, top, margin, offset):
    """What to look at next, on every rank: pairs {"mask", "image"}, int64, and the forwards that are saved."""
    arrays = None
    if ranks.current().first:
        masks, images, saved = [], [], 0
        for one in bounds:
            floor = 0.0 if offset is None else float(offset[one.label])
            asked, out = one.wanted(
                top, lambda losses, of=one: _added(scorer.tiling, losses, of.members), margin, floor
            )
            index, mask = np.nonzero(asked.T)  # image by image, so that few need a spectrum at a time
            masks.append(mask)
            images.append(one.members[index])
            saved += out
        arrays = {"mask": np.concatenate(masks), "image": np.concatenate(images), "saved": np.array([saved])}
    arrays = ranks.current().agree_arrays(arrays)
    return arrays, int(arrays.pop("saved")[0])


def _cut(tiling, pairs, key):
    """Tiles of pairs of a mask and an image, for `ranks.share`."""
    count, step = len(pairs["mask"]), BATCHES_PER_TILE * tiling.part * tiling.group
    spans = [(at, min(at + step, count)) for at in range(0, count, step)]
    return [(f"{key}/0-1/{a}-{b}", b - a, (pairs["mask"][a:b], pairs["image"][a:b])) for a, b in spans]


def _pairs(scorer, masks, some, images, weights):
    """Pairs of a mask and an image: float64 losses (weighted) and right predictions, [pairs]."""
    size, losses, right = scorer.tiling.part * scorer.tiling.group, [], []
    for begin in range(0, len(some), size):
        who, where = (torch.from_numpy(value[begin : begin + size]) for value in (some, images))
        chosen = pick(masks.masks, who, scorer.forward.device)
        labels, names = scorer.labels[where], masks.names[who.numpy()]
        rows = next(rows for rows in _ladder(scorer.tiling) if rows >= len(who))
        with scorer.forward.padded(None if scorer.pairs_limit else rows):
            shown = filtered(chosen, scorer.spectra.of(where), "each")
            loss, predictions = scorer.predict(shown, labels, names, where, size)
        losses.append(loss[0] if weights is None else loss[0] * weights[where.numpy()])
        right.append((predictions[0] == scorer.class_index[labels]).numpy())
    return {"loss": np.concatenate(losses), "correct": np.concatenate(right)}


def _ladder(tiling):
    """Sizes of the batches of pairs: a batch is padded to the next, so that all have been tried."""
    size = tiling.part * tiling.group
    return [*(rows for rows in (8, 16, 32, 64, 128, 256, 512, 1024, 2048) if rows < size), size]


def _added(tiling, losses, members):
    """Sums [k] of losses [k, n] of some images, in order, added as `Scorer.score` does: within blocks, then these."""
    total = np.zeros(len(losses))
    for first, last in tiling.blocks():
        inside = losses[:, slice(*np.searchsorted(members, (first, last)))]
        if inside.shape[1]:
            total += sums(np.zeros(inside.shape[1], np.int64), inside, 1, np.float64)[:, 0]
    return total


class BatchInvariance:
    """Whether a network gives an image the same bits in every batch that scoring and proving make."""

    def __init__(self, forward, tiling, shape):
        self.forward, self.tiling, self.shape, self._found = forward, tiling, shape, {}

    def holds(self, masks, progress):
        """For the batches of so many masks; tried once for each set of sizes."""
        groups, blocks = self.tiling.groups(masks), self.tiling.blocks()
        parts = {end - begin for block in blocks for begin, end in self.tiling.parts(*block)}
        sizes = frozenset((high - low) * part for low, high in groups for part in parts)
        if sizes not in self._found:
            # On all ranks, for they may be different machines.
            found = ranks.current().facts(self._try(sizes))
            self._found[sizes] = all(found)
            if not all(found):
                progress.note(
                    "the network gives an image other last bits in other company on "
                    f"{self.forward.device}: losses will agree with those of scoring everything up to rounding."
                )
        return self._found[sizes]

    def _try(self, sizes):
        forward, rows = self.forward, self.tiling.part * self.tiling.group
        generator = torch.Generator().manual_seed(0)
        images = torch.randn((rows, *self.shape), generator=generator, dtype=forward.compute)
        images = images.to(forward.device, memory_format=torch.channels_last)
        before = forward.images, forward.batches, forward.seconds
        want, same = forward(images), True
        for size in sorted({*_ladder(self.tiling), *sizes}):
            some = torch.randperm(rows, generator=generator)[:size].to(images.device)
            logits = forward(images[some].contiguous(memory_format=torch.channels_last))
            same = same and torch.equal(logits, want[some])
        forward.images, forward.batches, forward.seconds = before
        return same
