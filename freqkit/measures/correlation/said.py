"""What a study has to say of its data: sentences, where something is missing, left out or not what it seems."""

import numpy as np

from freqkit.measures.correlation.quantities import BIASES, FITS, SCORES, degenerate
from freqkit.measures.correlation.relations import left_out_at_most
from freqkit.report.words import listed

NAMED = 5  # models that are named in a sentence


def twice(number):
    """Of values that came more than once."""
    return [f"{number:,} values came more than once and differ; the last counts."] if number else []


def absent(names, what):
    """Of models that groups or families name and no row has."""
    return [f"The {what} name models of which there is no row: {listed(names, NAMED)}."] if names else []


def left_out(models, counted):
    """Of models in no category."""
    names = [model for model in models if model not in set(counted)]
    return [f"{len(names)} models are in no category and are left out: {listed(names, NAMED)}."] if names else []


def missing(quantities, places, lacking, counted):
    """Of columns that no model has, and of models that lack some."""
    found = []
    for name in (*BIASES, *SCORES):
        unknown = [counted[k] for k in np.flatnonzero(np.isnan(quantities[name][places]))]
        if len(unknown) == len(counted):
            needs = f" (it needs {listed(list(SCORES[name]))})" if name in SCORES else ""
            found.append(f"{name} is known of no model{needs}: its correlations are undefined.")
        elif unknown:
            found.append(f"{name} is missing for {len(unknown)} of {len(counted)} models, which its correlations leave"
                         f" out: {listed(unknown, NAMED)}.")  # fmt: skip
    gathered = {}  # (score, columns that are missing) -> models
    for model in counted:
        for score, columns in lacking.get(model, {}).items():
            gathered.setdefault((score, tuple(columns)), []).append(model)
    for (score, columns), models in gathered.items():
        whose = "every model" if len(models) == len(counted) else listed(models, NAMED)
        found.append(f"{score} is the mean without {listed(list(columns))} for {whose}.")
    return found


def missing_of_added(values, lines, marked, lacking):
    """Of what an added model lacks."""
    found = []
    for place, (model, name) in enumerate(zip(lines.models, marked, strict=True)):
        unknown = [one for one in (*BIASES, *SCORES) if np.isnan(values[one][place])]
        if unknown:
            found.append(f"{name} has no {listed(unknown, 9)}: there it is not shown.")
        for score, columns in lacking.get(model, {}).items():
            found.append(f"{score} of {name} is the mean without {listed(columns)}, so not on the others' scale.")
    return found


def degenerate_fits(values, models, mend):
    """Of fits of the critical band that tell none."""
    if "fits" in mend:
        return ["Degenerate fits of the critical band count as undefined."]
    names = [models[k] for k in np.flatnonzero(degenerate(*(values[name] for name in FITS)))]
    if not names:
        return []
    return [f"{len(names)} fits of the critical band are degenerate and count as they stand: {listed(names, NAMED)};"
            " mend=fits leaves them out."]  # fmt: skip


def one_family(split, owners):
    """Of groups that are one family: what varies between recipes cannot be told there."""
    names = [name for name, part in split.items() if len({owners[place] for place in part}) == 1 < len(part)]
    if not names:
        return []
    return [f"The models of {listed(names)} are one family, so there is no interval over families there."]


def fewer_left_out(split, leave_out):
    """Of groups that are too large for every choice of so many models."""
    most = {name: left_out_at_most(len(part), leave_out) for name, part in split.items() if len(part) > 3 + leave_out}
    return [
        f"Of the {len(split[name])} models of {name} at most {one} are left out at once to see what relations hang on."
        for name, one in most.items() if one < leave_out
    ]  # fmt: skip


def unlike_published(lines, marked, mend):
    """Of values of added models that are something else than the published ones."""
    found = []
    for model, name in zip(lines.models, marked, strict=True):
        for about, columns in _gathered(lines.unlike, model).items():
            found.append(f"{listed(columns)} of {name}: {about}; the published ones are not (preset cvpr2024).")
    for column, words in (
        ("imagenet-real", "accuracy on ReaL, of all images; the published one is of the 326 of a last batch."),
        ("PGD-40/low", "accuracy under PGD, of all images; the published one divides by 50,048 (mend=pgd)."),
    ):
        own = ~np.isnan(lines.column(column)) & np.isnan(lines.column(f"{column} as published"))
        if own.any() and not (column == "PGD-40/low" and "pgd" in mend):
            names = [name for name, one in zip(marked, own, strict=True) if one]
            found.append(f"{listed(names, NAMED)}: {words}")
    return found


def _gathered(unlike, model):
    """What a model's columns are -> the columns."""
    found = {}
    for (owner, column), about in unlike.items():
        if owner == model:
            found.setdefault(about, []).append(column)
    return found
