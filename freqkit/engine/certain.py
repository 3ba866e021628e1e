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

import numpy as np

from freqkit.engine import racing

FIRST_LOOK = 12  # images, or a quarter of the class's: before there is a bound
SHARE = 0.5  # smaller: fewer forwards, more rounds
LEAST = 1 / 32  # of the images, at least so many in a round: rounds cost a message to all ranks
MARGIN = 1e-9  # of the bound; sums of a million float64 losses differ by less


class Proof:
    """One class's candidates: what has been seen of whom, who is open still.

    Args:
        label: the class. members: int64 [n], its images. candidates: how many.

    Attributes:
        losses: float64 [candidates, n], NaN where not seen. hits: int64 [candidates], right answers seen.
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

    def see(self, candidates, places, losses, correct):
        """Take the losses and right answers of pairs of a candidate and a place in `members`."""
        if not (losses >= 0).all():
            raise ValueError(f"certain stopping: losses must not be negative or NaN; got {losses.min()}.")
        self.losses[candidates, places] = losses
        np.add.at(self.hits, candidates, correct)

    def ask(self, top, add, margin=MARGIN, floor=0.0):
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
        (bool [candidates] completed, number of losses looked at). See `Proof` for an example.
    """
    losses = np.asarray(losses, np.float64)
    proof = Proof(0, np.arange(losses.shape[1]), len(losses))
    while True:
        asked, _ = proof.ask(top, lambda whole: whole.sum(1))
        if not asked.any():
            return proof.complete, int((~np.isnan(proof.losses)).sum())
        who, where = np.nonzero(asked)
        proof.see(who, where, losses[who, where], np.zeros(len(who), bool))
