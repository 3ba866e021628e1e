"""What a pair of rates says of a class, in one word, by one rule for tables, figures and sentences.

This is the one place that says what a shortcut is: TPR and FPR through the class's map, and how sure they are. Pages,
comparisons, the command line and the demonstration ask here. The groups of `freqkit.measures.evaluation.groups` are
the paper's, by filtered TPR alone, and are called so.
"""

import math
from typing import NamedTuple

import torch

from freqkit.errors import UsageError

READINGS = {
    "shortcut": "shortcut",
    "random": "no better than random",
    "default": "default answer",
    "weak": "told apart, weakly",
    "unsure": "not surely told apart",
    "none": "not recognised",
    "untested": "not tested",
}
CHANCE = 0.025  # of Fisher's test, one-sided as the lower end of a 95% interval is
LEVEL = 0.05  # of p, corrected for the number of classes
FEWEST = 19  # draws with which p can be so low
MEANINGS = {  # of the readings
    "shortcut": "the interval of TPR − FPR lies above 50%, and no random mask of as many frequencies (where such were"
    " asked) tells the class apart as well, with p at most 5%, corrected over the classes",
    "random": "the interval lies above 50%, but random masks reach it, too",
    "default": "TPR is 50% or more, but so is FPR",
    "weak": "the interval lies above 0, and so many of the class's images would not be called so by chance"
    " (Fisher's exact test, one-sided, 2.5%)",
    "unsure": "TPR is 50% or more, but of so few images this may be chance",
    "untested": "no image of the class was held out",
    "none": "the rest",
}
CONFIDENCE = 0.95  # of the interval that the word stands on


class Reading(NamedTuple):
    """Rates of one class with their 95% intervals (low, high), and the word for them.

    `positives` and `negatives` are the images of the class, and of the others, that the rates are of. Of what the map
    is measured against (`draws` random masks; searches with permuted labels): `p` and `p_permuted`, corrected over the
    classes, `random` and `permuted`, the highest TPR - FPR of the class's own; None where none were asked.
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
    p: float | None = None
    random: float | None = None
    draws: int = 0
    p_permuted: float | None = None
    permuted: float | None = None

    @property
    def difference(self):
        return self.tpr - self.fpr


class Against(NamedTuple):
    """What C maps are measured against: `p` float64 [C], by counting, corrected over the classes; `highest` float64
    [C], the highest TPR - FPR of each class's own draws; `reached` bool [C], whether these, or as many lines as p
    forgives, come up to the map."""

    p: torch.Tensor
    highest: torch.Tensor
    reached: torch.Tensor


def against(difference, draws):
    """How TPR - FPR of C maps compare with draws that know nothing.

    The rate of a class is compared with the highest of all classes, draw by draw: p = (1 + draws whose highest comes up
    to it) / (1 + draws). So p is corrected for the number of classes: where all maps are random, the chance that one
    has p <= .05 is 5% at most, whatever the classes have in common.

    Source: Westfall and Young, "Resampling-based multiple testing", 1993 (the maximum over tests).

    Args:
        difference: float64 [C]. draws: float64 [N, C], a draw of each class in every line; NaN: not known.

    Example:
        >>> found = against([0.9, 0.5], torch.tensor([[0.1, 0.6], [0.4, 0.2], [0.3, 0.3]], dtype=torch.float64))
        >>> found.p.tolist(), found.highest.tolist()
        ([0.25, 0.5], [0.4, 0.6])
    """
    difference = torch.as_tensor(difference, dtype=torch.float64)
    draws = torch.as_tensor(draws, dtype=torch.float64).nan_to_num(nan=-math.inf)
    comes_up = draws.amax(1)[:, None] >= difference
    p = (1 + comes_up.sum(0)).double() / (1 + len(draws))
    highest = draws.amax(0)
    return Against(p, highest, (highest >= difference) | (p > LEVEL))


def enough(owner, null):
    """Refuses a number of random masks with which no p could be 5%."""
    if null is not None and 0 < null < FEWEST:
        raise UsageError(
            f"{owner}: null must be 0 or at least {FEWEST}, for with fewer random masks no p can be 5%; got {null}."
        )


def word_for(tpr, fpr, low, reached=False):
    """The reading of one class: a key of `READINGS`; `low` is the lower end of the interval of TPR - FPR, `reached`
    whether what knows nothing comes up to it.

    Example:
        >>> word_for(1.0, 0.0, 0.9), word_for(1.0, 0.9, 0.02), word_for(0.4, 0.1, 0.1), word_for(0.1, 0.1, -0.1)
        ('shortcut', 'default', 'weak', 'none')
        >>> word_for(1.0, 0.3, -0.2)  # one image
        'unsure'
    """
    if not all(math.isfinite(value) for value in (tpr, fpr, low)):
        return "none"
    if low > 0.5:
        return "random" if reached else "shortcut"
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


def readings(names, tpr, fpr, positives, negatives, kept, random=None, permuted=None):
    """`Reading`s from rates and the numbers of images.

    Args:
        names: C class names.
        tpr, fpr: float64 [C].
        positives, negatives: int64 [C]; images of the class, and of the others.
        kept: float64 [C], share of the frequencies that the class's map keeps.
        random: float64 [N, C], TPR - FPR through random masks of as many frequencies, a draw for each class in every
            line; None: not asked.
        permuted: float64 [L, C], the same of searches with permuted labels.

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
    own, other_labels = (None if draws is None or not len(draws) else against(tpr - fpr, draws)
                         for draws in (random, permuted))  # fmt: skip
    found = []
    for i, name in enumerate(names):
        t, f = float(tpr[i]), float(fpr[i])
        three = [tuple(each[i]) for each in limits]
        reached = own is not None and bool(own.reached[i])
        reached |= other_labels is not None and float(other_labels.highest.max()) >= t - f
        word, p, n = word_for(t, f, three[2][0], reached), int(positives[i]), int(negatives[i])
        if word == "weak" and by_chance(int(hits[i]), p, int(other[i]), n) > CHANCE:
            word = "unsure" if t >= 0.5 else "none"
        word = word if p else "untested"  # no rate, then, and no draw of it
        known = [*_of(own, i), 0 if own is None else len(random), *_of(other_labels, i)]
        found.append(Reading(name, t, f, *three, p, float(kept[i]), word, n, *known))
    return found


def _of(compared, i):
    """p and the highest of class i; None where they are not known."""
    if compared is None or not math.isfinite(highest := float(compared.highest[i])):
        return None, None
    return float(compared.p[i]), highest


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
    draws = max((one.draws for one in found), default=0)
    rule = "95% interval of TPR - FPR above 50%" + f", and above all {draws} random masks" * bool(draws)
    return f"{words}{where} ({rule}){': ' + shown if own else ''}."
