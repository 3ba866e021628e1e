"""Which frequency pairs carry the answer of each of some images: integrated gradients, and smallest sets.

A set of pairs S "keeps" the answer a of an image when the network answers a for the image filtered to S alone, and
"removes" it when it answers otherwise for the image without S. Both are searched alike. With d(m), the log-odds of a
for the image whose pairs have the weights m:

1. The attribution of a pair is its weight's derivative of d, integrated along the path from the empty to the full
   spectrum: the mean of dd/dm at m = alpha, alpha the middles of equal steps. The sum over all pairs is d(1) - d(0) up
   to the error of that sum.
2. Of the pairs ranked by it, bisection finds how many of the first suffice.
3. Rounds of projected gradient steps under a budget of k pairs: a running mean of dd/dm (each of a root mean square of
   1) at the sets tried so far, begun with the attribution, ranks the pairs, and the k first are the next set. When it
   suffices, k falls by a factor; after some rounds that do not, it rises half the way to the smallest set that did.

An answer that wins or loses by less than `CLEAR` of the largest logit counts as neither, so that rounding, which
depends on the form of the network and on an image's company in its batch, decides nothing.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch

from freqkit.engine import Scorer
from freqkit.engine.gradients import MaskGradients, log_odds
from freqkit.masks import canonical, hermitian, uncentred
from freqkit.ops import Spectrum

KEEP, REMOVE = "keep", "remove"
CLEAR = 1e-4
MEMORY = 0.9  # of the running mean of gradients
FALL = 0.85  # of the budget, after a set that suffices
PATIENCE = 4  # rounds without one, after which it rises
WIDEST = 0.25  # of all pairs, the largest first budget


class Pairs:
    """The pairs (f, -f) of a frequency plane, P of them; a bin that is its own partner is one, too.

    Attributes:
        owner: int64 [H, W], centred: the pair of each bin. area: float64 [P], its bins, 1 or 2.
    """

    def __init__(self, size: tuple[int, int]):
        half = canonical(*size)
        number = torch.zeros(size, dtype=torch.float64)
        number[half] = torch.arange(int(half.sum()), dtype=torch.float64)
        self.owner = hermitian(number).long()
        self.area = torch.bincount(self.owner.flatten()).double()
        self._torch = uncentred(self.owner)

    def __len__(self):
        return len(self.area)

    def masks(self, sets: torch.Tensor) -> torch.Tensor:
        """float32 [b, H, W] in torch's layout, of values [b, P]."""
        return sets.float()[:, self._torch]

    def sums(self, planes: torch.Tensor) -> torch.Tensor:
        """float64 [b, P]: sums over the bins of each pair, of planes [b, H, W] in torch's layout."""
        found = torch.zeros(len(planes), len(self), dtype=torch.float64)
        return found.index_add_(1, self._torch.flatten(), planes.flatten(1).double())

    def share(self, sets: torch.Tensor) -> torch.Tensor:
        """float64 [b]: share of all bins in sets, bool [b, P]."""
        return sets.double() @ (self.area / self.area.sum())


class Found(NamedTuple):
    """Of b images; the last axis of sets is that of the pairs.

    Attributes:
        answers: int64 [b], the logit that wins for the whole image. clean: float64 [b], its probability there.
        odds: float64 [b, 2], its log-odds for the empty and the whole image.
        attribution: float64 [b, P].
        sets: bool [2, b, P], the smallest found that keep and that remove the answer.
        ranked: how many of the first pairs by attribution do, int64 [2, b]; -1 where no number of them does.
        there: bool [2, b], whether a set was found.
        curves: float64 [2, b, T], the probability of the answer once the first pairs are inserted into the empty
            spectrum, and once they are deleted from the full one; those of the set come first.
        power: float64 [2, b, T], the share of the image's power in these pairs.
        asked: forwards and backwards.
    """

    answers: torch.Tensor
    clean: torch.Tensor
    odds: torch.Tensor
    attribution: torch.Tensor
    sets: torch.Tensor
    ranked: torch.Tensor
    there: torch.Tensor
    curves: torch.Tensor
    power: torch.Tensor
    asked: tuple[int, int]


class Block:
    """Some images of a scorer's set, each of which may be asked about through a mask of its own."""

    def __init__(self, scorer: Scorer, ask: MaskGradients, pairs: Pairs, images: range, check: Callable | None):
        self.scorer, self.ask, self.pairs, self.check = scorer, ask, pairs, check
        self.images = torch.arange(images.start, images.stop)
        self.spectra: Spectrum = scorer.spectra.near(self.images)
        self.forwards, self.before = 0, ask.asked
        whole = self.logits(torch.ones(len(images), len(pairs), dtype=torch.bool))
        self.answers = whole.argmax(1)
        self.whole = whole

    def logits(self, sets, some=None):
        """Of some images (places in the block), float64 [b, L], through sets [b, P]."""
        images = self.images if some is None else self.images[some]
        self.forwards += len(images)
        masks = self.pairs.masks(sets)
        return self.scorer.predictions_each(masks, torch.arange(len(images)), images, check=self.check, logits=True)[2]

    def gradients(self, weights, some=None):
        """(logits, d odds / d weights float64 [b, P]) at weights [b, P]."""
        answers = self.answers if some is None else self.answers[some]
        spectra = self.spectra if some is None else self.spectra[some]
        logits, planes = self.ask(spectra, self.pairs.masks(weights), answers)
        if self.check is not None:
            self.check()
        return logits, self.pairs.sums(planes)

    def suffices(self, kind, logits, some):
        """bool [b]: whether logits of some images are those of a set that keeps or removes the answer."""
        target = self.answers[some][:, None]
        lead = logits.gather(1, target)[:, 0] - logits.scatter(1, target, -torch.inf).amax(1)
        clear = CLEAR * logits.abs().amax(1)
        return lead > clear if kind == KEEP else lead < -clear

    def probability(self, logits):
        """float64 [b], of the answers."""
        return logits.softmax(1).gather(1, self.answers[:, None])[:, 0]


def seen(kind, sets):
    """What is left of the spectrum, bool, of sets that keep or remove."""
    return sets if kind == KEEP else ~sets


def first(order, count):
    """bool [b, P]: the first of each row of an order int64 [b, P]."""
    return places(order) < count[:, None]


def places(order):
    """int64 [b, P]: where each pair stands in an order."""
    return torch.empty_like(order).scatter_(1, order, torch.arange(order.shape[1]).expand_as(order))


def ranked(values):
    """Pairs by falling values, int64 [b, P]; ties by their number."""
    return values.argsort(dim=1, descending=True, stable=True)


def integrated(block: Block, steps: int) -> torch.Tensor:
    """Attributions, float64 [b, P]."""
    total = torch.zeros(len(block.images), len(block.pairs), dtype=torch.float64)
    for step in range(steps):
        total += block.gradients(torch.full(total.shape, (step + 0.5) / steps))[1]
    return total / steps


def bisected(block: Block, kind: str, order: torch.Tensor) -> torch.Tensor:
    """How many of the first pairs suffice, int64 [b]: one more than a number that does not; -1: not even all."""
    count, every = len(block.images), len(block.pairs)

    def holds(number, some):
        sets = first(order[some], number[some])
        return block.suffices(kind, block.logits(seen(kind, sets), some), some)

    everything = torch.arange(count)
    end = 0 if kind == KEEP else every  # all pairs keep, and none removes
    done = holds(torch.full((count,), end), everything)
    low, high = torch.zeros(count, dtype=torch.int64), torch.full((count,), every)
    if kind == KEEP:
        high[done] = 0
    else:
        low[~done] = every
    while len(some := (high - low > 1).nonzero().flatten()):
        middle = (low + high) // 2
        done = holds(middle, some)
        high[some[done]], low[some[~done]] = middle[some[done]], middle[some[~done]]
    return torch.where((kind == REMOVE) & (low == every), -1, high)


def ascended(block: Block, kind: str, begin: torch.Tensor, best: torch.Tensor, there: torch.Tensor, rounds: int):
    """Smaller sets, by rounds of projected gradient steps.

    Args:
        begin: float64 [b, P], attributions. best: bool [b, P], sets that suffice where `there` (bool [b]) says so.

    Returns:
        (sets, there), as `best` and `there`.
    """
    count, every = len(block.images), len(block.pairs)
    best, there = best.clone(), there.clone()
    smallest = torch.where(there, best.sum(1), every + 1).double()
    score = _scaled(begin)
    budget = (FALL * smallest).clamp_max(WIDEST * every)
    failed = torch.zeros(count)
    for _ in range(rounds):
        some = (smallest > 1).nonzero().flatten()  # none is left to try below one pair: the empty set was tried
        if not len(some):
            break
        least = (smallest[some] - 1).clamp_min(1)
        budget[some] = torch.minimum(budget[some], least).clamp_min(1)
        sets = first(ranked(score[some]), budget[some].round().long())
        logits, gradient = block.gradients(seen(kind, sets), some)
        done = block.suffices(kind, logits, some)
        size = sets.sum(1).double()
        score[some] = MEMORY * score[some] + (1 - MEMORY) * _scaled(gradient)
        hit = some[done]
        best[hit], there[hit], smallest[hit] = sets[done], True, size[done]
        failed[some] = torch.where(done, 0.0, failed[some] + 1)
        budget[hit] = FALL * smallest[hit]
        up = some[failed[some] >= PATIENCE]
        budget[up] = (budget[up] + smallest[up].clamp_max(every)) / 2
        failed[up] = 0
    return best, there


def _scaled(values):
    """Rows of a root mean square of 1."""
    return values / values.square().mean(1, keepdim=True).sqrt().clamp_min(1e-300)


def numbers(pairs: Pairs, points: int) -> list[int]:
    """How many pairs each point of a curve has: none, then rising by a factor to all.

    Example:
        >>> numbers(Pairs((4, 4)), 4)
        [0, 1, 2, 5, 10]
    """
    every = len(pairs)
    return [0, *sorted({round(every ** (i / max(1, points - 1))) for i in range(points)})]


def attributed(block: Block, power: torch.Tensor, steps: int, rounds: int, points: int) -> Found:
    """Everything of a block; `power`: float64 [b, P], of each pair."""
    count, pairs = len(block.images), block.pairs
    attribution = integrated(block, steps)
    order = ranked(attribution)
    empty = block.logits(torch.zeros(count, len(pairs), dtype=torch.bool))
    sets, numbers_, there, curves, shares = [], [], [], [], []
    at = numbers(pairs, points)
    for kind in (KEEP, REMOVE):
        number = bisected(block, kind, order)
        best, found = first(order, number.clamp_min(0)), number >= 0
        best, found = _held(block, kind, *ascended(block, kind, attribution, best, found, rounds))
        # Those of the set first, each part by attribution.
        final = ranked((places(order).neg() + len(pairs) * best.long()).double())
        line, power_line = [], []
        for k in at:
            some = first(final, torch.full((count,), k))
            if k in (0, len(pairs)):
                logits = block.whole if (k == 0) == (kind == REMOVE) else empty
            else:
                logits = block.logits(seen(kind, some))
            line.append(block.probability(logits))
            power_line.append((power * some).sum(1) / power.sum(1).clamp_min(1e-300))
        for values, value in ((sets, best), (numbers_, number), (there, found)):
            values.append(value)
        curves.append(torch.stack(line, 1))
        shares.append(torch.stack(power_line, 1))
    asked = block.ask.asked - block.before
    odds = torch.stack([log_odds(empty, block.answers), log_odds(block.whole, block.answers)], 1)
    return Found(
        block.answers, block.probability(block.whole), odds, attribution, torch.stack(sets), torch.stack(numbers_),
        torch.stack(there), torch.stack(curves), torch.stack(shares), (block.forwards + asked, asked),
    )  # fmt: skip


def _held(block, kind, sets, there):
    """The sets once more by the scorer itself; where it does not agree there is none but the widest."""
    some = there.nonzero().flatten()
    if len(some):
        good = block.suffices(kind, block.logits(seen(kind, sets[some]), some), some)
        bad = some[~good]
        there[bad] = kind == KEEP
        sets[bad] = True
    sets[~there] = False
    return sets, there
