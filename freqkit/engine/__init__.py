"""(model, images, masks) -> scores."""

from freqkit.engine.journal import Interrupted, Journal
from freqkit.engine.progress import Progress, Silent
from freqkit.engine.scores import Scorer, Scores, score

__all__ = ["Interrupted", "Journal", "Progress", "Scorer", "Scores", "Silent", "score"]
