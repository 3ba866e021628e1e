"""Which masks to try."""

from freqkit.search.cells import removal_cells, removal_masks
from freqkit.search.compare import Comparison, compare_searchers
from freqkit.search.evolve import evolve
from freqkit.search.gradient import GradientEstimate, estimate_removal, gradient
from freqkit.search.greedy import greedy
from freqkit.search.hfss import hfss
from freqkit.search.learned import learned
from freqkit.search.plan import Plan
from freqkit.search.removal import removal

__all__ = [
    "Comparison",
    "GradientEstimate",
    "Plan",
    "compare_searchers",
    "estimate_removal",
    "evolve",
    "gradient",
    "greedy",
    "hfss",
    "learned",
    "removal",
    "removal_cells",
    "removal_masks",
]
