"""Training: recipes as data, deterministic under a seed, resumable, with augmentations by frequency."""

from freqkit.models.weights import save_weights
from freqkit.training.adversarial import Adversary
from freqkit.training.comparison import TrainingComparison, compare_training, read_comparison
from freqkit.training.evaluate import evaluate
from freqkit.training.observers import Follow, KeepWeights, Observer, PerRadius, TensorBoard
from freqkit.training.pixels import BandPass, DiffusionNoise
from freqkit.training.recipes import RECIPES, Recipe, recipe
from freqkit.training.spectral import OtherClassMaps, ShortcutRemoval
from freqkit.training.train import train

__all__ = [
    "RECIPES",
    "Adversary",
    "BandPass",
    "DiffusionNoise",
    "Follow",
    "KeepWeights",
    "Observer",
    "OtherClassMaps",
    "PerRadius",
    "Recipe",
    "ShortcutRemoval",
    "TensorBoard",
    "TrainingComparison",
    "compare_training",
    "evaluate",
    "read_comparison",
    "recipe",
    "save_weights",
    "train",
]
