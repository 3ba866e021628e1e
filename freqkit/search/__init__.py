"""Which masks to try."""

from freqkit.registry import SEARCHERS, module_of
from freqkit.search.cells import removal_cells, removal_masks
from freqkit.search.compare import Comparison, compare_searchers
from freqkit.search.gradient import GradientEstimate, estimate_removal
from freqkit.search.plan import Plan

__all__ = [
    "Comparison",
    "GradientEstimate",
    "Plan",
    "compare_searchers",
    "estimate_removal",
    "removal_cells",
    "removal_masks",
]
for _name in SEARCHERS:  # the function has the name of its module, and comes last
    globals()[_name] = getattr(module_of(SEARCHERS, _name), _name)
    __all__ += [_name]
