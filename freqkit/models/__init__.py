"""Classifiers: [0, 1] RGB in, logits out, normalisation inside and on record."""

from freqkit.models.classifier import Classifier, NormalisationWarning
from freqkit.models.load import load_model
from freqkit.models.names import describe_model, list_models, model_names, published_weights, study_models
from freqkit.models.smoothing import smooth_kernels
from freqkit.models.weights import ModelWarning, read_state_dict, save_weights, state_sha256
from freqkit.models.wrap import Network, as_classifier, wrap

__all__ = [
    "Classifier",
    "ModelWarning",
    "Network",
    "NormalisationWarning",
    "as_classifier",
    "describe_model",
    "list_models",
    "load_model",
    "model_names",
    "published_weights",
    "read_state_dict",
    "save_weights",
    "smooth_kernels",
    "state_sha256",
    "study_models",
    "wrap",
]
