"""What was found, and how it is kept."""

from freqkit.results.scores import Scores
from freqkit.results.search_result import SearchResult, StageResult

__all__ = ["Scores", "SearchResult", "StageResult"]
