import pytest

from freqkit.models import load_model


@pytest.fixture(scope="module")
def model():
    """An untrained network of four classes."""
    return load_model("small_convnet", num_classes=4, seed=3)
