"""What was found, and how it is kept."""

from freqkit.results.learning_curves import LearningCurves
from freqkit.results.load import load_result
from freqkit.results.removal_result import RemovalResult
from freqkit.results.scores import Scores
from freqkit.results.search_result import SearchResult, StageResult

__all__ = ["LearningCurves", "RemovalResult", "Scores", "SearchResult", "StageResult", "load_result"]
