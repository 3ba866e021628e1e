"""One published quantity per file."""

from freqkit.measures.recovery import Recovery, recovery

__all__ = ["Recovery", "recovery"]
