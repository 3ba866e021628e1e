"""Classifiers: [0, 1] RGB in, logits out, normalisation inside and on record."""

from freqkit.models.classifier import Classifier
from freqkit.models.load import load_model
from freqkit.models.names import model_names
from freqkit.models.weights import read_state_dict, save_weights, state_sha256

__all__ = ["Classifier", "load_model", "model_names", "read_state_dict", "save_weights", "state_sha256"]
