"""One published quantity per file."""

from freqkit.measures.adcs import AdcsResult, ClassSpectra, adcs
from freqkit.measures.band_stop import BandStopResult, band_stop
from freqkit.measures.rates import RatesResult, SelectedOnTestSet, newcombe, rates, wilson
from freqkit.measures.recovery import Recovery, recovery

__all__ = [
    "AdcsResult",
    "BandStopResult",
    "ClassSpectra",
    "RatesResult",
    "Recovery",
    "SelectedOnTestSet",
    "adcs",
    "band_stop",
    "newcombe",
    "rates",
    "recovery",
    "wilson",
]
