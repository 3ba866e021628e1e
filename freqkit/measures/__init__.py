"""One published quantity per file."""

from freqkit.measures.adcs import AdcsResult, ClassSpectra, adcs
from freqkit.measures.rates import RatesResult, SelectedOnTestSet, newcombe, rates, wilson
from freqkit.measures.recovery import Recovery, recovery

__all__ = [
    "AdcsResult",
    "ClassSpectra",
    "RatesResult",
    "Recovery",
    "SelectedOnTestSet",
    "adcs",
    "newcombe",
    "rates",
    "recovery",
    "wilson",
]
