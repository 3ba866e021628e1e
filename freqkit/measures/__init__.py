"""One published quantity per file."""

from freqkit.engine.attacks import Attack, Attacked, attack
from freqkit.measures.correlation import StudyResult, study
from freqkit.measures.evaluation import EvaluationResult, evaluate
from freqkit.measures.evaluation.groups import curves, mean_corruption_error
from freqkit.measures.human_comparison import (
    HumanComparisonResult,
    error_consistency,
    human_comparison,
    read_raw,
)
from freqkit.measures.recovery import Recovery, recovery
from freqkit.measures.selection import SelectedOnTestSet
from freqkit.registry import MEASURES, module_of
from freqkit.statistics import newcombe, wilson

__all__ = [
    "Attack",
    "Attacked",
    "EvaluationResult",
    "HumanComparisonResult",
    "Recovery",
    "SelectedOnTestSet",
    "StudyResult",
    "attack",
    "curves",
    "error_consistency",
    "evaluate",
    "human_comparison",
    "mean_corruption_error",
    "newcombe",
    "read_raw",
    "recovery",
    "study",
    "wilson",
]
for _measure in MEASURES:  # the function has the name of its module, and comes last
    _module = module_of(MEASURES, _measure)
    globals().update({_name: getattr(_module, _name) for _name in _module.__all__})
    __all__ += _module.__all__
