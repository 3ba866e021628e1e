"""Smoothing of first kernels, against a plain correlation."""

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate
from torch import nn

from freqkit.errors import UsageError
from freqkit.models import load_model
from freqkit.models.smoothing import first_convolution, smooth_kernels, smoothed


@pytest.mark.parametrize("size", [(1, 1), (3, 3), (5, 5), (4, 7)])
@pytest.mark.parametrize("rho", [0.0, 0.25, 1.0])
def test_a_kernel_is_correlated_with_the_stencil(size, rho):
    kernels = torch.randn(5, 3, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    stencil = np.full((3, 3), rho)
    stencil[1, 1] = 1
    for normalise in (False, True):
        found = smoothed(kernels, rho, normalise).numpy()
        for at in np.ndindex(5, 3):
            expected = correlate(kernels[at].numpy(), stencil, mode="nearest") / (1 + 8 * rho if normalise else 1)
            assert np.abs(found[at] - expected).max() < 1e-12
    order = torch.randperm(5, generator=torch.Generator().manual_seed(1))
    assert torch.equal(smoothed(kernels[order], rho), smoothed(kernels, rho)[order])  # over space alone


def test_a_copy_is_smoothed_in_its_first_layer_and_says_so():
    model = load_model("cifar_resnet20", num_classes=10)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    made = smooth_kernels(model, 0.5)
    name, layer = first_convolution(made)
    assert torch.allclose(layer.weight, smoothed(before[f"{name}.weight"], 0.5))
    for key, value in made.state_dict().items():
        assert torch.equal(value, before[key]) == (key != f"{name}.weight")
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert made.record["smooth_kernels"] == {"layer": name, "rho": 0.5, "normalise": False}
    assert made.record["state_sha256"] != model.record["state_sha256"] and "smooth_kernels" not in model.record
    same = smooth_kernels(model, 0)
    assert all(torch.equal(value, before[key]) for key, value in same.state_dict().items())


def test_what_cannot_be_smoothed_is_refused():
    for rho in (-1, float("nan"), float("inf"), "1", True):
        with pytest.raises(UsageError, match="rho must be a finite number of at least 0"):
            smooth_kernels(nn.Conv2d(1, 1, 3), rho)
    with pytest.raises(UsageError, match="must have a Conv2d; Linear has none"):
        smooth_kernels(nn.Linear(2, 2), 1)


def test_a_command_asks_the_smoothed_model(tmp_path):
    from click.testing import CliRunner

    from freqkit.cli.app import app
    from freqkit.data import synthetic, write_image_folder
    from freqkit.measures import PassCurvesResult, pass_curves

    images = synthetic(1, images_per_class=3)
    write_image_folder(images, tmp_path / "images")
    flags = ["pass-curves", "--model", "small_convnet", "--num-classes", "4", "--data", str(tmp_path / "images"),
             "--image-size", "32", "--batch-size", "8"]  # fmt: skip
    result = CliRunner().invoke(app, [*flags, "--smooth-kernels", "0.5", "--out", str(tmp_path / "a")])
    assert result.exit_code == 0, result.output
    found = PassCurvesResult.load(tmp_path / "a" / "pass-curves.safetensors")
    model = smooth_kernels(load_model("small_convnet", num_classes=4), 0.5)
    assert torch.equal(found.answers, pass_curves(model, images, batch_size=8).answers)
    assert found.record["model"]["smooth_kernels"]["rho"] == 0.5
    assert "kernels" in (tmp_path / "a" / "report.html").read_text()
    assert CliRunner().invoke(app, [*flags, "--normalise-kernels"]).exit_code == 2
