# Written by `make docs` from the code: signatures that are made from options (freqkit/options.py).
from collections.abc import Sequence
from typing import Any
import os
import torch
from freqkit.models.classifier import Classifier as Classifier
from freqkit.models.weights import ModelWarning as ModelWarning
Network: Any
from freqkit.models.classifier import NormalisationWarning as NormalisationWarning
from freqkit.models.wrap import as_classifier as as_classifier
from freqkit.models.names import describe_model as describe_model
from freqkit.models.names import list_models as list_models
from freqkit.models.names import model_names as model_names
from freqkit.models.of_timm import published_weights as published_weights
from freqkit.models.weights import read_state_dict as read_state_dict
from freqkit.models.weights import save_weights as save_weights
from freqkit.models.smoothing import smooth_kernels as smooth_kernels
from freqkit.models.weights import state_sha256 as state_sha256
from freqkit.models.names import study_models as study_models
from freqkit.models.wrap import wrap as wrap

def load_model(
    name: str,
    *,
    weights: str | os.PathLike | None = None,
    weights_dir: str | os.PathLike | None = None,
    pretrained: bool = False,
    num_classes: int | None = None,
    allow_missing: bool = False,
    allow_unexpected: bool = False,
    weights_entry: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    seed: int = 0,
    device: str | torch.device = 'cpu',
) -> Classifier: ...

