"""What a pair of rates says of a class, in one word, by one rule for tables, figures and sentences."""

import math
from typing import NamedTuple

import torch

READINGS = {
    "shortcut": "shortcut",
    "default": "default answer",
    "weak": "told apart, weakly",
    "none": "not recognised",
}
CHANCE = 0.025  # of Fisher's test, one-sided as the lower end of a 95% interval is
RULE = (
    "shortcut: the interval of TPR − FPR lies above 50%; default answer: TPR is 50% or more, but so is FPR, or the"
    " interval of their difference reaches 0; told apart, weakly: the interval lies above 0, and so many of the class's"
    " images would not be called so by chance (Fisher's exact test, one-sided, 2.5%); not recognised: the rest."
)


class Reading(NamedTuple):
    """Rates of one class with their 95% intervals (low, high), and the word for them."""

    name: str
    tpr: float
    fpr: float
    tpr_interval: tuple
    fpr_interval: tuple
    difference_interval: tuple
    positives: int
    kept: float
    word: str

    @property
    def difference(self):
        return self.tpr - self.fpr


def word_for(tpr, fpr, low):
    """The reading of one class: a key of `READINGS`; `low` is the lower end of the interval of TPR - FPR.

    Example:
        >>> word_for(1.0, 0.0, 0.9), word_for(1.0, 0.9, 0.02), word_for(0.4, 0.1, 0.1), word_for(0.1, 0.1, -0.1)
        ('shortcut', 'default', 'weak', 'none')
    """
    if not all(math.isfinite(value) for value in (tpr, fpr, low)):
        return "none"
    if low > 0.5:
        return "shortcut"
    if tpr >= 0.5 and (fpr >= 0.5 or low <= 0):
        return "default"
    return "weak" if low > 0 else "none"


def by_chance(hits, trials, other_hits, other_trials):
    """Fisher's exact test, one-sided: how likely so many hits or more are among the first images when all that are
    called the class lie among both kinds at random.

    Example:
        >>> round(by_chance(1, 10, 0, 90), 6), by_chance(5, 10, 0, 90) < 1e-5
        (0.1, True)
    """
    called, images = hits + other_hits, trials + other_trials
    last = min(called, trials)
    whole = _choose(images, called)
    logs = [_choose(trials, k) + _choose(other_trials, called - k) - whole for k in range(hits, last + 1)]
    return min(1.0, math.fsum(map(math.exp, logs)))


def _choose(n, k):
    """The logarithm of n over k; minus infinity where there is no such choice."""
    if not 0 <= k <= n:
        return -math.inf
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def readings(names, tpr, fpr, positives, negatives, kept, *, intervals=None):
    """`Reading`s from rates and the numbers of images.

    Args:
        names: C class names.
        tpr, fpr: float64 [C].
        positives, negatives: int64 [C]; images of the class, and of the others.
        kept: float64 [C], share of the frequencies that the class's map keeps.
        intervals: optional three float64 [C, 2] (TPR, FPR, difference); default Wilson's and Newcombe's.
    """
    from freqkit.measures import newcombe, wilson

    if intervals is None:
        hits = (tpr * positives).round().nan_to_num(0).long()
        other = (fpr * negatives).round().nan_to_num(0).long()
        intervals = (
            wilson(hits, positives),
            wilson(other, negatives),
            newcombe(hits, positives, other, negatives),
        )
    first, second, third = (torch.as_tensor(interval).tolist() for interval in intervals)
    found = []
    for i, name in enumerate(names):
        t, f = float(tpr[i]), float(fpr[i])
        word = word_for(t, f, third[i][0])
        if word == "weak":
            p, n = int(positives[i]), int(negatives[i])
            if by_chance(round(t * p), p, round(f * n), n) > CHANCE:
                word = "none"
        limits = (tuple(first[i]), tuple(second[i]), tuple(third[i]))
        found.append(Reading(name, t, f, *limits, int(positives[i]), float(kept[i]), word))
    return found
