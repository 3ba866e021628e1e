"""Racing: a candidate that can no longer be among a class's best is shown no more of that class's images.

The images of a class are shown in random order, without replacement, a few at first and half as many again at
each *look*. At a look a candidate is dropped when every one of the `top` candidates of lowest mean so far
beats it in a paired one-sided Student test on the images both have seen, with the finite-population factor 1
- t/N.

Why none is lost: of a true member k of the best `top`, fewer than `top` candidates are better. So one of
those that must beat it is truly no better, and the test errs about that pair. There are at most as many such
pairs as candidates still in the race, so each test is made at level risk / (looks * candidates in the race),
and over all looks k is lost with probability at most `risk`: as far as Student's approximation holds, which
the tests try on real and on heavy-tailed losses. Without the number of candidates in it the level fails:
among thousands of near-equal candidates the leaders at an early look are the lucky ones, and up to a tenth of
the true members were lost at risk 0.01.
"""

import math

import numpy as np
import torch

from freqkit.engine import ranks
from freqkit.engine.batches import sums, tiling
from freqkit.engine.stimuli import filtered
from freqkit.masks.bits import pick

FIRST_LOOK = 24  # below this, means of losses are too far from normal
GROWTH = 1.5


def looks(images):
    """How many images have been seen at each look; the last is all of them.

    Example:
        >>> looks(100)
        [24, 36, 54, 81, 100]
        >>> looks(30)
        [24, 30]
    """
    seen, at = [], float(FIRST_LOOK)
    # A look just before the end could save nothing worth its share of the risk.
    while at < 0.9 * images or (not seen and at < images):
        seen.append(int(at))
        at *= GROWTH
    return [*seen, images]


def order(images, seed, label):
    """The random order in which a class's images are shown: int64 [images], the same on every machine."""
    keys = np.random.Philox(key=np.array([seed, label], np.uint64)).random_raw(images)
    return np.argsort(keys, kind="stable")


def survivors(losses, population, top, level):
    """Which candidates may still be among the `top` of lowest mean loss.

    Args:
        losses: float [K, t], the losses of K candidates on the same t images.
        population: N >= t, the number of images that there are.
        top: how many are wanted.
        level: probability of error of one test.

    Returns:
        bool [K].

    Example:
        >>> losses = np.random.default_rng(0).normal(size=(3, 50)) + [[0.0], [0.1], [5.0]]
        >>> survivors(losses, 1000, 1, 0.01).tolist()
        [True, True, False]
    """
    from scipy.special import stdtrit

    count, seen = losses.shape
    if count <= top or seen < 2:
        return np.ones(count, bool)
    losses = losses.astype(np.float64)
    means = losses.mean(1)
    best = np.argsort(means, kind="stable")[:top]
    factor = -stdtrit(seen - 1, level) * np.sqrt((1 - seen / population) / seen)
    beaten = np.ones(count, bool)
    for j in best:
        difference = losses[beaten] - losses[j]
        beaten[beaten] = difference.mean(1) > factor * difference.std(1, ddof=1)
    beaten[best] = False
    return ~beaten


def level(risk, schedule, alive):
    """Probability of error that one test may have.

    Example:
        >>> level(0.01, [24, 36, 40], 50)
        0.0001
    """
    return risk / max(1, len(schedule) - 1) / alive


class Race:
    """The race of one class: who is still in it, and what has been observed of whom.

    Attributes:
        alive: int64, the candidates still in the race; sums, hits, observed: what is known of each of them.
        next: the images of the next look, as a range of `members`.
    """

    def __init__(self, label, members, candidates):
        self.label, self.members = label, members
        self.schedule, self.at = looks(len(members)), 0
        self.alive = np.arange(candidates)
        self.observed = None
        self.sums, self.hits = np.zeros(candidates), np.zeros(candidates, dtype=np.int64)

    @property
    def next(self):
        return (self.schedule[self.at - 1] if self.at else 0), self.schedule[self.at]

    @property
    def over(self):
        return self.at == len(self.schedule)

    def observe(self, low, high, begin, end, found):
        """Remember a tile: candidates `alive[low:high]` on images begin...end - 1."""
        if self.observed is None:
            self.observed = np.empty((len(self.alive), 0), np.float32)
        if self.observed.shape[1] < end:
            more = np.empty((len(self.alive), self.next[1] - self.observed.shape[1]), np.float32)
            self.observed = np.concatenate([self.observed, more], 1)
        self.observed[low:high, begin:end] = found["each"]
        self.sums[low:high] += found["loss"]
        self.hits[low:high] += found["correct"]

    def look(self, top, risk):
        """Who stays in the race, bool [alive]."""
        if self.at + 1 == len(self.schedule):
            return np.ones(len(self.alive), bool)
        share = level(risk, self.schedule, len(self.alive))
        return survivors(self.observed, len(self.members), top, share)

    def drop(self, keep):
        """Let the others go; how many forwards that saves."""
        saved = int((~keep).sum()) * (len(self.members) - self.schedule[self.at])
        if saved:
            self.alive, self.sums, self.hits = self.alive[keep], self.sums[keep], self.hits[keep]
            self.observed = None if self.observed is None else self.observed[keep]
        self.at += 1
        return saved


def race(losses, top, risk):
    """Race over known losses, to see what racing would have done.

    Args:
        losses: float [K, N], of one class, images in the order of showing.
        top, risk: see the module.

    Returns:
        (bool [K] kept, number of losses looked at).

    Example:
        >>> losses = np.random.default_rng(0).normal(size=(50, 400)) + np.linspace(0, 3, 50)[:, None]
        >>> kept, looked = race(losses, 3, 0.01)
        >>> bool(kept[:3].all()), looked < 0.6 * losses.size
        (True, True)
    """
    alive, before, looked = np.arange(len(losses)), 0, 0
    schedule = looks(losses.shape[1])
    for observed in schedule:
        looked += len(alive) * (observed - before)
        before = observed
        if observed < losses.shape[1]:
            share = level(risk, schedule, len(alive))
            alive = alive[survivors(losses[alive, :observed], losses.shape[1], top, share)]
    kept = np.zeros(len(losses), bool)
    kept[alive] = True
    return kept, looked


def race_masks(scorer, masks, call, top, risk, seed):
    """The race of `freqkit.engine.Scorer.race`, on every rank.

    Args:
        scorer: a `Scorer`. masks: `Distinct` ones. call: the `Call`.

    Returns:
        (float64 [K, C] losses, infinite where stopped; int64 [K, C] right predictions; forwards; those that were
        resumed).
    """
    total, classes = len(masks.names), len(scorer.classes)
    loss = np.full((total, classes), math.inf)
    correct = np.zeros((total, classes), dtype=np.int64)
    done = resumed = 0
    loss[:, scorer.counts.numpy() == 0] = math.nan

    def compute(tile):
        return _tile(scorer, masks, *tile)

    def layout(tile):
        _, low, high, begin, end, _ = tile
        number = high - low
        return {"each": ("f", (number, end - begin)), "loss": ("f", (number,)), "correct": ("i", (number,))}

    for races in _races(scorer, total, seed):
        while races:
            # One look at every class, so that there are tiles enough for all ranks.
            tiles = [
                (f"{call.key}/{one.label}/{b}-{e}/{low}-{high}", (high - low) * (e - b), (one, low, high, b, e, size))
                for one in races
                for low, high, b, e, size in _pieces(scorer.tiling, len(one.alive), *one.next)
            ]
            for (one, low, high, begin, end, _), found, is_resumed in call.share(tiles, compute, layout):
                one.observe(low, high, begin, end, found)
                done += (high - low) * (end - begin)
                resumed += (high - low) * (end - begin) * is_resumed
            saved = _drop(races, top, risk)
            if saved:
                call.progress.advance(saved, saved=True)
            for one in races:
                if one.over:
                    loss[one.alive, one.label] = one.sums / len(one.members)
                    correct[one.alive, one.label] = one.hits
            races = [one for one in races if not one.over]
    found = {"loss": loss, "correct": correct, "counted": np.array([done, resumed])}
    found = ranks.current().agree_arrays(found)
    return found["loss"], found["correct"], *found["counted"].tolist()


def _races(scorer, masks, seed):
    """Races of some classes at a time, so that the losses they remember keep to the stated memory."""
    races, held = [], 0
    for label in scorer.counts.nonzero().flatten().tolist():
        need = 4 * masks * int(scorer.counts[label])
        if races and held + need > scorer.memory_limit:
            yield races
            races, held = [], 0
        members = (scorer.labels == label).nonzero().flatten()
        members = members[torch.from_numpy(order(len(members), seed, label))]
        races.append(Race(label, members, masks))
        held += need
    if races:
        yield races


def _drop(races, top, risk):
    """Let every class's race have its look, on rank 0; how many forwards that saves."""
    keep = {}
    if ranks.current().first:
        keep = {str(one.label): one.look(top, risk) for one in races}
    keep = ranks.current().agree_arrays(keep)
    return sum(one.drop(keep[str(one.label)]) for one in races)


def _pieces(whole, masks, first, last):
    """Tiles over `masks` x images first...last - 1: (low, high) and (begin, end), and the images of a batch."""
    plan = tiling(last - first, whole.part * whole.group, max_block=whole.block)
    for begin, end in plan.blocks():
        for low, high in plan.groups(masks):
            yield low, high, first + begin, first + end, plan.part


def _tile(scorer, masks, one, low, high, begin, end, size):
    """Some masks, images of one class: float32 losses [k, b], their sums, right predictions [k]."""
    some, members = one.alive[low:high], one.members[begin:end]
    chosen = pick(masks.masks, torch.from_numpy(some), scorer.forward.device)
    shown = filtered(chosen, scorer.spectra.again(members))
    loss, predictions = scorer.predict(shown, scorer.labels[members], masks.names[some], members, size)
    return {
        "each": loss.astype(np.float32),
        "loss": sums(np.zeros(len(members), np.int64), loss, 1, np.float64)[:, 0],
        "correct": (predictions == scorer.class_index[one.label]).sum(1).numpy(),
    }
