"""What tests of several rooms share: data beside the repository, one thread."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import pytest
import torch

# Decoded images of tests are no one's to keep.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="freqkit-cache-")
os.environ.pop("FREQKIT_CACHE", None)
atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)
DATA = Path(
    os.environ.get("FREQKIT_SHARED_DATA")
    or os.environ.get("FREQKIT_DATA")
    or Path(__file__).resolve().parents[2] / "shared" / "data"
)
ABSENT = "no shared data in ../shared/data, nor where FREQKIT_SHARED_DATA says"


@pytest.fixture(scope="session")
def shared_data():
    """`shared_data("cifar10-mini", "test")`: a folder or a file of the shared images and weights.

    Where it is absent the test is skipped, or, with FREQKIT_REQUIRE_DATA=1, it fails.
    """

    def find(*parts):
        path = DATA.joinpath(*parts)
        if not path.exists():
            if os.environ.get("FREQKIT_REQUIRE_DATA") == "1":
                pytest.fail(f"{ABSENT}: {'/'.join(parts)}", pytrace=False)
            pytest.skip(ABSENT)
        return path

    return find


@pytest.fixture(scope="session")
def cifar10_mini(shared_data):
    """Folder of 1,000 test images of CIFAR-10."""
    return shared_data("cifar10-mini", "test")


@pytest.fixture(scope="session")
def resnet20_weights(shared_data):
    """File of the trained weights of `cifar_resnet20`."""
    return shared_data("weights", "cifar10-resnet20.safetensors")


@pytest.fixture
def one_thread():
    """torch works on one thread, so that results do not depend on the machine's processors."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
