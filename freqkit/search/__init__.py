"""Which masks to try."""

from freqkit.search.gradient import GradientEstimate, estimate_removal, gradient
from freqkit.search.hfss import hfss
from freqkit.search.plan import Plan
from freqkit.search.removal import removal, removal_cells, removal_masks

__all__ = [
    "GradientEstimate",
    "Plan",
    "estimate_removal",
    "gradient",
    "hfss",
    "removal",
    "removal_cells",
    "removal_masks",
]
