# Written by `make docs` from the code: signatures that are made from options (freqkit/options.py).
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from freqkit.data.image_set import ImageSet
from freqkit.engine.attacks import Attack
from freqkit.models.classifier import Classifier
from typing import Any
from typing import Literal
import os
import torch
import torch.nn.modules.module
import torch.utils.data.dataset
from freqkit.training.adversarial import Adversary as Adversary
from freqkit.training.pixels import BandPass as BandPass
from freqkit.training.pixels import DiffusionNoise as DiffusionNoise
from freqkit.training.observers import Follow as Follow
from freqkit.training.observers import KeepWeights as KeepWeights
from freqkit.training.observers import Observer as Observer
from freqkit.training.spectral import OtherClassMaps as OtherClassMaps
from freqkit.training.observers import PerRadius as PerRadius
RECIPES: Any
from freqkit.training.recipes import Recipe as Recipe
from freqkit.training.spectral import ShortcutRemoval as ShortcutRemoval
from freqkit.training.observers import TensorBoard as TensorBoard
from freqkit.training.comparison import TrainingComparison as TrainingComparison
from freqkit.training.evaluate import evaluate as evaluate
from freqkit.training.comparison import read_comparison as read_comparison
from freqkit.training.recipes import recipe as recipe
from freqkit.models.weights import save_weights as save_weights

def compare_training(
    plan: str | os.PathLike | Mapping,
    train_set: ImageSet | str | os.PathLike | tuple[Any, Any] | torch.utils.data.dataset.Dataset | Iterable[Any],
    *,
    val_set: ImageSet | str | os.PathLike | tuple[Any, Any] | torch.utils.data.dataset.Dataset | Iterable[Any] | None = None,
    model: str | Callable[[int], Classifier] = 'small_convnet',
    device: str | None = None,
    seeds: int | None = None,
    confidence: float = 0.95,
    out: str | os.PathLike | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Any = None,
) -> TrainingComparison: ...

def train(
    model: torch.nn.modules.module.Module | Callable[[torch.Tensor], torch.Tensor],
    train_set: ImageSet | str | os.PathLike | tuple[Any, Any] | torch.utils.data.dataset.Dataset | Iterable[Any],
    *,
    recipe: str | Recipe = 'plain',
    val_set: ImageSet | str | os.PathLike | tuple[Any, Any] | torch.utils.data.dataset.Dataset | Iterable[Any] | None = None,
    spectral: Sequence = (),
    observers: Sequence[Observer] = (),
    adversarial: Attack | str | None = None,
    seed: int = 0,
    device: Any = None,
    out: str | os.PathLike | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Any = None,
    dry_run: bool = False,
    follow: int | None = None,
    follow_until: int | None = None,
    keep_every: int | None = None,
    per_radius: Sequence[float] | None = None,
    component_encoding: Literal['raw', 'maxnorm', 'minmax', 'uint8wrap'] | None = None,
    tensorboard: bool = False,
    **changes: Any,
) -> dict: ...

