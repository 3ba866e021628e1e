"""Rates of an evaluation, read as those of every other page."""

import math

from freqkit.report.readings import readings


def readings_of_evaluation(result, model, *, set=None, condition=None):
    """`Reading`s of one model of a `freqkit.measures.EvaluationResult`: of the classes that have a filtered TPR and,
    from images of other classes, a filtered FPR; [] where that was not asked.

    Args:
        result: the `EvaluationResult`. model: its name there.
        set, condition: where; default the in-distribution images.
    """
    if set is None:
        set, condition = result.base
    both = {"filtered TPR": {}, "filtered FPR": {}}
    for row in result.rows:
        place = (row["model"], row["set"], row["condition"])
        if row["class"] and place == (model, set, condition) and row["metric"] in both and row["value"] is not None:
            both[row["metric"]][row["class"]] = row["value"], row["n"]
    names = [name for name in both["filtered TPR"] if name in both["filtered FPR"]]
    (tpr, positives), (fpr, negatives) = (
        [[both[metric][name][k] for name in names] for k in (0, 1)] for metric in ("filtered TPR", "filtered FPR")
    )
    share = result.record.get("coverage", {})
    return readings(names, tpr, fpr, positives, negatives, [share.get(name, math.nan) for name in names])
