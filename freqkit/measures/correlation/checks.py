"""Is a published table what it says it is: are rates whole numbers of images, and means those of their columns?"""

import numpy as np

from freqkit.data.test_sets.corrupted import BENCHMARK
from freqkit.measures.correlation.quantities import FITS, degenerate, lines_of
from freqkit.measures.evaluation.doctor import Finding
from freqkit.report.svg import number
from freqkit.report.words import listed
from freqkit.results.published import CUTOFFS, LEAVES, PUBLISHED, ratio_column

NEAR = 1e-4  # of a whole number
COUNTED = (  # column, images for one percent, what it is of
    ("imagenet", 500, "50,000 images"),
    ("imagenet-v2", 100, "10,000 images"),
    ("imagenet-a", 75, "7,500 images"),
    ("imagenet-r", 300, "30,000 images"),
    ("imagenet-sketch", 508.89, "50,889 images"),
    ("cue-conflict", 12.8, "1,280 images"),
    ("stylized", 8, "800 images"),
)
REAL, REAL_LAST = 468.37, 3.26  # images with labels of ReaL, and those of the last batch of 512
WHOLE, BATCHES = 500, 500.48  # images of the validation set, and of its batches of 128 if all were whole


def check_table(rows) -> list[Finding]:
    """What holds in a table of models, what does not, and what is to be known of it.

    Args:
        rows: see `study`; those of a table as published are checked, others are not of such sets, or of part of them.

    Returns:
        `Finding`s: "good", "wrong", or "note"; columns that are not there are not checked.
    """
    lines = lines_of(row for row in rows if (row["definition"] or "").startswith(PUBLISHED))
    found = [_whole(lines, name, images, of) for name, images, of in COUNTED]
    for title, name in (("imagenet-c", "imagenet-c"), ("imagenet-c-bar", "imagenet-cbar")):
        found += [_leaves(lines, title), _mean(lines, title, name)]
    found += [_ratios(lines), _real(lines), _pgd(lines), _extra(lines), *_fits(lines)]
    return [one for one in found if one is not None]


def _off(counts):
    """How far numbers are from whole ones."""
    return np.abs(counts - np.rint(counts))


def _judged(what, models, off, good, bad):
    """A finding of how far values [..., M] are off; None where none is known."""
    known = ~np.isnan(off)
    if not known.any():
        return None
    wrong = np.where(known, off, 0) >= NEAR
    if not wrong.any():
        return Finding("good", what, f"{good} ({int(known.sum()):,} values).")
    names = [model for model, one in zip(models, wrong.reshape(-1, len(models)).any(0), strict=True) if one]
    return Finding("wrong", what, f"{bad} in {int(wrong.sum()):,} of {int(known.sum()):,} values: {listed(names)}.")


def _whole(lines, name, images, of):
    off = _off(lines.column(name) * images)
    return _judged(name, lines.models, off, f"whole numbers of {of}", f"no whole number of {of}")


def _leaves(lines, title):
    off = _off(np.stack([lines.column(name) for name in LEAVES[title]]) * WHOLE)
    what = f"{title}, {len(LEAVES[title])} conditions"
    return _judged(what, lines.models, off, "whole numbers of 50,000 images", "no whole number of 50,000 images")


def _mean(lines, title, name):
    off = np.abs(lines.column(name) - np.mean([lines.column(leaf) for leaf in LEAVES[title]], axis=0))
    return _judged(
        f"{name}, mean", lines.models, off, "the means of their conditions", "not the mean of the conditions"
    )


def _ratios(lines):
    """Accuracy below a filter is that share of clean accuracy, and a whole number of images."""
    names = [ratio_column(side, cutoff) for side in ("LFC", "HFC") for cutoff in CUTOFFS]
    off = _off(np.stack([lines.column(name) for name in names]) * lines.column("imagenet") * WHOLE)
    what = "low-pass and high-pass ratios"
    return _judged(what, lines.models, off, "times clean accuracy, whole numbers of 50,000 images",
                   "times clean accuracy, no whole number of 50,000 images")  # fmt: skip


def _real(lines):
    """Published accuracies on ReaL are of the last batch alone."""
    values, what = lines.column("imagenet-real as published"), "imagenet-real"
    values = values[~np.isnan(values)]
    if not len(values):
        return None
    if (_off(values * REAL) < NEAR).all():
        return Finding("good", what, f"whole numbers of the 46,837 images that have labels ({len(values)} values).")
    if (_off(values * REAL_LAST) < NEAR).all():
        words = (
            "all {} values are whole numbers of 326 images: they are of the last batch, 7 classes, not of the 46,837"
        )
        words += " images that have labels; a third of ID rests on them."
        return Finding("note", what, words.format(len(values)))
    return _judged(what, lines.models, _off(lines.column("imagenet-real as published") * REAL_LAST), "",
                   "no whole number of 46,837 images, nor of the 326 of the last batch,")  # fmt: skip


def _pgd(lines):
    """Published accuracies under PGD are divided by the images of whole batches."""
    values, what = lines.column("PGD-40/low as published"), "PGD-40/low"
    known = ~np.isnan(values)
    if not known.any():
        return None
    if (_off((values * WHOLE)[known]) < NEAR).all():
        return Finding("good", what, f"whole numbers of 50,000 images ({int(known.sum())} values).")
    if (_off(((100 - values) * BATCHES)[known]) < NEAR).all():
        words = (
            f"all {int(known.sum())} values divide by 50,048 images, whole batches of 128, where there are 50,000: up"
        )
        words += " to 0.1 points too high; --mend pgd mends that."
        return Finding("note", what, words)
    return _judged(what, lines.models, _off((100 - values) * BATCHES), "",
                   "no whole number of 50,000 images, nor of 50,048,")  # fmt: skip


def _extra(lines):
    """The mean over ImageNet-C has four corruptions that are none of the benchmark."""
    leaves = LEAVES["imagenet-c"]
    benchmark = np.mean([lines.column(name) for name, (kind, _) in leaves.items() if kind in BENCHMARK], axis=0)
    apart = np.abs(lines.column("imagenet-c") - benchmark)
    if np.isnan(apart).all() or np.nanmax(apart) < NEAR:
        return None
    words = f"the mean is over 19 corruptions; over the 15 of the benchmark it differs by up to {np.nanmax(apart):.2f}"
    return Finding("note", "imagenet-c, extra corruptions", f"{words} points; --mend c15 takes these.")


def _fits(lines):
    """Fits of the critical band take few values, and some tell no band."""
    found = []
    for names in (FITS, ("bw", "cf", "pns")):
        fits = np.stack([lines.column(name) for name in names])
        known = ~np.isnan(fits).any(0)
        if not known.any():
            continue
        which = degenerate(*fits) & known
        distinct = len({tuple(number(value, 6) for value in fit) for fit in fits[:, known].T.tolist()})
        words = f"{distinct} different fits among {int(known.sum())} models, for each comes of 7 whole numbers"
        if which.any():
            few = [model for model, one in zip(lines.models, which, strict=True) if one]
            words += f"; {len(few)} of them tell no band: {listed(few)}"
        found.append(Finding("note", ", ".join(names), f"{words}."))
    return found
