"""What a pair of rates says of a class, in one word, by one rule for tables, figures and sentences.

This is the one place that says what a shortcut is: TPR and FPR through the class's map, and how sure they are. Pages,
comparisons, the command line and the demonstration ask here. The groups of `freqkit.measures.evaluation.groups` are
the paper's, by filtered TPR alone, and are called so.
"""

import math
from typing import NamedTuple

import torch

READINGS = {
    "shortcut": "shortcut",
    "default": "default answer",
    "weak": "told apart, weakly",
    "unsure": "not surely told apart",
    "none": "not recognised",
}
CHANCE = 0.025  # of Fisher's test, one-sided as the lower end of a 95% interval is
RULE = (
    "shortcut: the interval of TPR − FPR lies above 50%; default answer: TPR is 50% or more, but so is FPR;"
    " told apart, weakly: the interval lies above 0, and so many of the class's images would not be called so by chance"
    " (Fisher's exact test, one-sided, 2.5%); not surely told apart: TPR is 50% or more, but of so few images this may"
    " be chance; not recognised: the rest."
)
CONFIDENCE = 0.95  # of the interval that the word stands on


class Reading(NamedTuple):
    """Rates of one class with their 95% intervals (low, high), and the word for them.

    `positives` and `negatives` are the images of the class, and of the others, that the rates are of.
    """

    name: str
    tpr: float
    fpr: float
    tpr_interval: tuple
    fpr_interval: tuple
    difference_interval: tuple
    positives: int
    kept: float
    word: str
    negatives: int = 0

    @property
    def difference(self):
        return self.tpr - self.fpr


def word_for(tpr, fpr, low):
    """The reading of one class: a key of `READINGS`; `low` is the lower end of the interval of TPR - FPR.

    Example:
        >>> word_for(1.0, 0.0, 0.9), word_for(1.0, 0.9, 0.02), word_for(0.4, 0.1, 0.1), word_for(0.1, 0.1, -0.1)
        ('shortcut', 'default', 'weak', 'none')
        >>> word_for(1.0, 0.3, -0.2)  # one image
        'unsure'
    """
    if not all(math.isfinite(value) for value in (tpr, fpr, low)):
        return "none"
    if low > 0.5:
        return "shortcut"
    if tpr >= 0.5 and fpr >= 0.5:
        return "default"
    return "weak" if low > 0 else "unsure" if tpr >= 0.5 else "none"


def by_chance(hits, trials, other_hits, other_trials):
    """Fisher's exact test, one-sided: how likely so many hits or more are among the first images when all that are
    called the class lie among both kinds at random.

    Example:
        >>> round(by_chance(1, 10, 0, 90), 6), by_chance(5, 10, 0, 90) < 1e-5
        (0.1, True)
    """
    from scipy.stats import hypergeom

    return float(hypergeom.sf(hits - 1, trials + other_trials, hits + other_hits, trials))


def readings(names, tpr, fpr, positives, negatives, kept):
    """`Reading`s from rates and the numbers of images.

    Args:
        names: C class names.
        tpr, fpr: float64 [C].
        positives, negatives: int64 [C]; images of the class, and of the others.
        kept: float64 [C], share of the frequencies that the class's map keeps.

    The intervals are Wilson's of the rates and Newcombe's of their difference, at 95%, whatever intervals a result has
    beside them: one class has one reading.
    """
    from freqkit.statistics import newcombe, wilson

    tpr, fpr = (torch.as_tensor(v, dtype=torch.float64) for v in (tpr, fpr))
    positives, negatives = (torch.as_tensor(v, dtype=torch.int64) for v in (positives, negatives))
    hits = (tpr * positives).round().nan_to_num(0).long()
    other = (fpr * negatives).round().nan_to_num(0).long()
    limits = (
        wilson(hits, positives, CONFIDENCE),
        wilson(other, negatives, CONFIDENCE),
        newcombe(hits, positives, other, negatives, CONFIDENCE),
    )
    limits = [interval.tolist() for interval in limits]
    found = []
    for i, name in enumerate(names):
        t, f = float(tpr[i]), float(fpr[i])
        three = [tuple(each[i]) for each in limits]
        word, p, n = word_for(t, f, three[2][0]), int(positives[i]), int(negatives[i])
        if word == "weak" and by_chance(int(hits[i]), p, int(other[i]), n) > CHANCE:
            word = "unsure" if t >= 0.5 else "none"
        found.append(Reading(name, t, f, *three, p, float(kept[i]), word, n))
    return found


def shortcuts_sentence(found, where=""):
    """How many classes have a shortcut, and which, in one sentence for the command line.

    Example:
        >>> shortcuts_sentence(readings(["cat", "dog"], [1.0, 1.0], [0.0, 0.9], [50, 50], [50, 50], [0.1, 0.1]))
        '1 of 2 classes has a shortcut (95% interval of TPR - FPR above 50%): cat.'
    """
    own = sorted((one for one in found if one.word == "shortcut"), key=lambda one: -one.difference)
    words = f"{len(own)} of {len(found)} classes {'has' if len(own) == 1 else 'have'} a shortcut"
    words = words if own else f"No class of {len(found)} has a shortcut"
    shown = ", ".join(one.name for one in own[:8]) + (f" and {len(own) - 8} more" if len(own) > 8 else "")
    return f"{words}{where} (95% interval of TPR - FPR above 50%){': ' + shown if own else ''}."
