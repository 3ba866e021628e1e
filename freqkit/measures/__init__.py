"""One published quantity per file."""

from freqkit.engine.attacks import Attack, Attacked, attack
from freqkit.measures.adcs import AdcsResult, ClassSpectra, adcs
from freqkit.measures.band_stop import BandStopResult, band_stop
from freqkit.measures.evaluation import EvaluationResult, evaluate
from freqkit.measures.evaluation.groups import curves, mean_corruption_error
from freqkit.measures.rates import RatesResult, newcombe, rates, wilson
from freqkit.measures.recovery import Recovery, recovery
from freqkit.measures.selection import SelectedOnTestSet

__all__ = [
    "AdcsResult",
    "BandStopResult",
    "Attack",
    "Attacked",
    "ClassSpectra",
    "EvaluationResult",
    "RatesResult",
    "Recovery",
    "SelectedOnTestSet",
    "adcs",
    "band_stop",
    "attack",
    "curves",
    "evaluate",
    "mean_corruption_error",
    "newcombe",
    "rates",
    "recovery",
    "wilson",
]
