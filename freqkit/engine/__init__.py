"""(model, images, masks) -> scores."""

import importlib

from freqkit.engine.entrance import enter
from freqkit.engine.journal import Interrupted, Journal
from freqkit.engine.progress import Progress, Silent
from freqkit.engine.projection import Costs, project
from freqkit.engine.run_directory import RunDirectory, status
from freqkit.engine.scores import Scorer, score
from freqkit.results.scores import Scores

_LATER = {"Attack": "attacks", "Attacked": "attacks", "attack": "attacks"}  # imported when they are asked for

__all__ = [
    "Attack",
    "Attacked",
    "Costs",
    "Interrupted",
    "Journal",
    "Progress",
    "RunDirectory",
    "Scorer",
    "Scores",
    "Silent",
    "attack",
    "enter",
    "project",
    "score",
    "status",
]


def __getattr__(name):
    if name in _LATER:
        return getattr(importlib.import_module(f"freqkit.engine.{_LATER[name]}"), name)
    raise AttributeError(f"module 'freqkit.engine' has no attribute {name!r}")
