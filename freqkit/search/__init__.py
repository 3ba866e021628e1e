"""Which masks to try."""

from freqkit.search.hfss import hfss
from freqkit.search.plan import Plan

__all__ = ["Plan", "hfss"]
