"""Band-stop test against plain filters and counts, and on a network that reads one band alone."""

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from freqkit.cli.app import app
from freqkit.data import synthetic, write_image_folder
from freqkit.errors import UsageError
from freqkit.measures import BandStopResult, band_stop
from freqkit.measures.band_stop import stop_masks
from freqkit.models import Classifier, load_model
from freqkit.report import plot_band_stop, write_report
from freqkit.report.svg import percent
from tests.cli.conftest import sentence
from tests.report.test_html import Page


@pytest.fixture(scope="module")
def images():
    return synthetic(1, images_per_class=5)


def band_of(size):
    f = np.fft.fftfreq(size, 1 / size)
    r = np.hypot(f[:, None], f[None])
    return 1 + (r >= size / 8) + (r >= size / 4) + (r >= 3 * size / 8)


def test_against_plain_filters(images):
    model = load_model("small_convnet", seed=1)
    result = band_stop(model, images, batch_size=7)
    assert result.removed == [(1, 2), (1, 3), (1, 4), (2, 3), (2, 4), (3, 4)]
    x = model.normalise(images.images.double() / 255).numpy()
    for p, bands in enumerate([(), *result.removed]):
        keep = ~np.isin(band_of(32), bands)
        keep[0, 0] = True
        y = torch.from_numpy(np.fft.ifft2(np.fft.fft2(x) * keep).real).float()
        with torch.inference_mode():
            won = model.network(y).argmax(1)
        for c in range(4):
            expected = torch.bincount(won[images.labels == c], minlength=4)
            assert result.confusion[p, c].tolist() == expected.tolist()
            if p:
                before = result.confusion[0, c]
                assert result.relative_confusion[p - 1, c].tolist() == (100 * (expected - before) / 5).tolist()
    row = result.table()[9]
    assert (row["removed"], row["class"], row["images"]) == ("B1+B4", "C1", 5)
    assert row["change"] == pytest.approx(float(result.relative_confusion[2, 1, 1]))
    assert row["FPR"] == pytest.approx(float(result.confusion[3, [0, 2, 3], 1].sum()) / 15)


class OneBand(nn.Module):
    """Says C3 when there is energy in band 1, else C1."""

    def forward(self, x):
        inside = torch.from_numpy(band_of(32) == 1)
        inside[0, 0] = False
        power = torch.fft.fft2(x.double()).abs().square()
        share = (power * inside).sum((1, 2, 3)) / power[:, :, 1:].sum((1, 2, 3)).clamp(min=1e-9)
        return torch.stack([share * 0 - 1, 0.5 - share, share * 0 - 1, share - 0.5], 1).float()


def test_a_network_that_reads_one_band(images):
    model = Classifier(OneBand(), mean=(0.5,) * 3, std=(1.0,) * 3, num_classes=4)
    result = band_stop(model, images)
    assert result.tpr[0].tolist() == [0, 1, 0, 1] or result.tpr[0, 3] == 1
    for p, bands in enumerate(result.removed, 1):
        assert result.tpr[p, 3] == (0 if 1 in bands else 1), "C3 stands on band 1 alone"
    assert (result.relative_confusion.sum(2).abs() < 1e-9).all(), "what one gains another loses"


def test_masks_divide_the_plane():
    singles = stop_masks((24, 32), [3, 6, 9], [(1,), (2,), (3,), (4,)], keep_dc=False)
    assert (singles.sum(0) == 3).all()
    assert (stop_masks((24, 32), [3, 6, 9], [(1,)], keep_dc=True)[0] - singles[0]).nonzero().tolist() == [[12, 16]]


def test_save_load_plot(images, tmp_path):
    result = band_stop(load_model("small_convnet"), images, edges=[6], remove=[1, 2])
    result.save(tmp_path / "b.safetensors")
    again = BandStopResult.load(tmp_path / "b.safetensors")
    assert again.table() == result.table() and again.removed == [(1,), (2,)] and again.definition == result.definition
    assert (tmp_path / "b.csv").read_text().startswith("removed,class,images,clean TPR,TPR,change")
    assert plot_band_stop(again).axes
    assert plot_band_stop(again, limit=2).axes
    with pytest.raises(UsageError, match="no band-stop file"):
        from freqkit.files.whole import write_safetensors

        write_safetensors(tmp_path / "x.safetensors", {"a": torch.ones(1)}, {})
        BandStopResult.load(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"edges": [4, 4]}, "rising positive radii"),
        ({"edges": []}, "rising positive radii"),
        ({"edges": [40]}, "inside the plane"),
        ({"remove": 5}, r"remove must be 1\.\.4"),
        ({"remove": [(1, 7)]}, r"tuples of bands 1\.\.4"),
        ({"remove": []}, "distinct tuples"),
    ],
    ids=str,
)
def test_wrong_arguments(images, change, sentence):
    with pytest.raises(UsageError, match=sentence):
        band_stop(load_model("small_convnet"), images, **change)


def test_the_command(tmp_path):
    def run(*arguments):
        return CliRunner().invoke(app, [str(one) for one in arguments])

    write_image_folder(synthetic(1, images_per_class=5), tmp_path / "images")
    out = tmp_path / "b.safetensors"
    flags = ["--model", "small_convnet", "--num-classes", "4", "--data", tmp_path / "images"]
    result = run("band-stop", *flags, "--out", out)
    assert result.exit_code == 0 and "-B1+B2" in result.stdout
    assert out.with_suffix(".png").is_file() and out.with_suffix(".csv").is_file()
    facts = json.loads(run("band-stop", *flags, "--edges", "8", "--remove", "1", "--json").stdout)
    assert set(facts["accuracy"]) == {"all", "B1", "B2"} and facts["forwards"] == 60
    result = run("band-stop", *flags, "--edges", "8,x")
    assert result.exit_code == 2 and "--edges must be numbers" in sentence(result)


def test_the_table_of_the_page(tmp_path):
    stopped = band_stop(load_model("small_convnet"), synthetic(1, images_per_class=4))
    stopped.save(tmp_path / "stop.safetensors")
    page = Page(write_report(tmp_path / "stop.safetensors"))
    assert page.tables[0][-1] == ["all", *(percent(value, 1) for value in stopped.accuracy.tolist())]
