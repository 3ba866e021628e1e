import pytest
from click.testing import CliRunner

from freqkit.cli.app import app


@pytest.fixture(scope="session")
def images_folder(tmp_path_factory):
    """A folder of 4 classes, 5 images of 32x32 each."""
    from freqkit.data import synthetic, write_image_folder

    folder = tmp_path_factory.mktemp("images") / "planted"
    write_image_folder(synthetic(1, images_per_class=5), folder)
    return folder


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """Untrained weights of a small network with 4 classes."""
    from freqkit.models import load_model, save_weights

    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_weights(load_model("small_convnet", num_classes=4, seed=3), path)
    return path


@pytest.fixture(scope="session")
def held(tmp_path_factory):
    """Other images of the same classes."""
    from freqkit.data import synthetic, write_image_folder

    folder = tmp_path_factory.mktemp("held") / "out"
    write_image_folder(synthetic(1, images_per_class=3, seed=5), folder)
    return folder


@pytest.fixture
def run():
    """Call the command line; what comes back has .exit_code, .stdout, .stderr."""

    def call(*args):
        result = CliRunner().invoke(app, [str(arg) for arg in args])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


def sentence(result):
    """The first line on stderr: the error. There never is a traceback."""
    assert "Traceback" not in result.stderr
    return result.stderr.splitlines()[0]
