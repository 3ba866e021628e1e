"""Logs of AutoAttack as rows."""

import re
from pathlib import Path

from freqkit.errors import UsageError
from freqkit.files.reading import read_text
from freqkit.results.rows import tidy

_EXPECTED = "a log of AutoAttack"
_NUMBER = r"(\d{1,3}(?:\.\d+)?)%"
_LINE = re.compile(rf"^\s*(initial accuracy|robust accuracy(?: after ([\w-]{{1,40}}))?): {_NUMBER}", re.M)
_NORM = re.compile(r"^max (L\w+) perturbation: ", re.M)


def read_autoattack(path) -> list[dict]:
    """Tidy rows of a log of AutoAttack (Croce and Hein, ICML 2020), of the model that its file is named after.

    Conditions are "clean", "AA-" with the attacks so far ("AA-apgd-ce+apgd-t"), and "AA-robust"; of a log that breaks
    off those that are there. How many images there were, and which, a log does not say: n is unknown.

    Raises:
        UsageError: it is no such log, holds several runs, or an attack is said to have raised the accuracy.

    Example:
        >>> import pathlib, tempfile
        >>> log = pathlib.Path(tempfile.mkdtemp()) / "resnet50.log"
        >>> _ = log.write_text("initial accuracy: 80.00%\\nrobust accuracy after APGD-CE: 30.50% (total time 9.1 s)\\n")
        >>> [(row["model"], row["condition"], row["value"]) for row in read_autoattack(log)]
        [('resnet50', 'clean', 0.8), ('resnet50', 'AA-apgd-ce', 0.305)]
    """
    path = Path(path)
    text = read_text(path, _EXPECTED)
    found = _LINE.findall(text)
    if not found or found[0][0] != "initial accuracy":
        raise UsageError(f"{path}: {_EXPECTED} was expected; it has no line `initial accuracy: ...%` before others.")
    if sum(what == "initial accuracy" for what, _, _ in found) > 1:
        raise UsageError(f"{path}: {_EXPECTED} must be of one run; it holds several.")
    norm = _NORM.search(text)
    about = f"published ({path.name}), AutoAttack{f' {norm[1]}' if norm else ''}, share of all images"
    rows, attacks, last = [], [], 100.0
    for what, attack, number in found:
        value = float(number)
        if value > last:
            raise UsageError(
                f"{path}: an attack cannot raise the accuracy; {what} is {number}% where it was {last:g}%."
            )
        attacks += [attack.lower()] if attack else []
        condition = "clean" if what == "initial accuracy" else f"AA-{'+'.join(attacks)}" if attack else "AA-robust"
        rows.append(
            tidy(
                model=path.stem, set="imagenet", condition=condition, metric="top-1", value=value / 100,
                definition=about,
            )
        )  # fmt: skip
        last = value
    return rows
