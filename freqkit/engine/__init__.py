"""(model, images, masks) -> scores."""

from freqkit.engine.journal import Interrupted, Journal
from freqkit.engine.progress import Progress, Silent
from freqkit.engine.projection import Costs, project
from freqkit.engine.run_directory import RunDirectory, status
from freqkit.engine.scores import Scorer, score
from freqkit.results.scores import Scores

__all__ = [
    "Costs",
    "Interrupted",
    "Journal",
    "Progress",
    "RunDirectory",
    "Scorer",
    "Scores",
    "Silent",
    "project",
    "score",
    "status",
]
