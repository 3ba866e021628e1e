"""Training small and plain: a recipe in one function, deterministic under a seed."""

from freqkit.models.weights import save_weights
from freqkit.training.evaluate import evaluate
from freqkit.training.train import train

__all__ = ["evaluate", "save_weights", "train"]
