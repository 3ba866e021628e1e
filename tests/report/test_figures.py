"""Figures: what is drawn where, no global state, whole files."""

import math

import numpy as np
import pytest
import torch

from freqkit import report
from freqkit.report.figures import shorten


def maps(count, size=8):
    """Distinct maps with one kept pair each."""
    planes = np.zeros((count, size, size))
    for i in range(count):
        planes[i, size // 2 + 1, size // 2 + 1 + i % 2] = planes[i, size // 2 - 1, size // 2 - 1 - i % 2] = 1
    return planes


def headings(figure):
    return [axis.get_title(loc="left") for axis in figure.axes if axis.get_title(loc="left")]


def test_a_bin_is_drawn_at_its_frequency():
    plane = torch.zeros(1, 8, 6)
    plane[0, 4 + 2, 3 + 1] = 1  # +2 cycles/image downwards, +1 to the right
    figure = report.dfm_maps(plane, ["x"])
    picture = figure.axes[0].images[0]
    left, right, bottom, top = picture.get_extent()
    assert (left, right, bottom, top) == (-3.5, 2.5, 3.5, -4.5)
    row, column = np.argwhere(np.asarray(picture.get_array()))[0]
    assert top + row + 0.5 == 2
    assert left + column + 0.5 == 1


@pytest.mark.parametrize("size", [(1, 1), (7, 7), (2, 9), (32, 48)])
def test_any_size_draws(tmp_path, size):
    figure = report.dfm_maps(torch.ones(2, *size), ["a", "b"])
    assert len(headings(figure)) == 2
    report.save_figure(figure, tmp_path / "x.png", dpi=40)
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_headings_hold_names_and_rates():
    rates = [{"loss": 0.5, "tpr": 0.9, "fpr": 0.02}, {"loss": float("nan"), "tpr": 1.0, "fpr": None}]
    assert headings(report.dfm_maps(maps(2), ["cat", "dog"], rates=rates)) == [
        "cat\nloss 0.50  TPR 90%  FPR 2%",
        "dog\nTPR 100%",
    ]


def test_many_classes_show_the_strongest_and_say_so():
    rates = [{"loss": 1.0, "tpr": i / 60, "fpr": 0.0} for i in range(60)]
    figure = report.dfm_maps(maps(60), [f"class {i}" for i in range(60)], rates=rates, limit=6)
    assert [text.split("\n")[0] for text in headings(figure)] == [f"class {i}" for i in range(54, 60)]
    assert "6 of 60 classes" in figure.get_suptitle()


def test_planted_bins_are_outlined():
    planted = torch.zeros(8, 8, dtype=torch.bool)
    planted[5, 5] = planted[3, 3] = True
    figure = report.dfm_maps(maps(2), ["a", "b"], planted={"a": planted})
    outlined = [len(axis.collections[0].get_paths()) for axis in figure.axes[:2] if axis.collections]
    assert outlined == [2]


def test_bad_shapes_are_one_sentence():
    with pytest.raises(ValueError, match=r"\[C, H, W\] with C=3"):
        report.dfm_maps(maps(2), ["a", "b", "c"])
    with pytest.raises(ValueError, match="rates must have one entry"):
        report.dfm_maps(maps(2), ["a", "b"], rates=[{}])
    with pytest.raises(ValueError, match=r"planted\['a'\]"):
        report.dfm_maps(maps(1), ["a"], planted={"a": torch.ones(3, 3)})
    with pytest.raises(ValueError, match="C=2"):
        report.search_curves([np.ones((4, 3))], ["a", "b"])
    with pytest.raises(ValueError, match="empty"):
        report.filtered_examples([])


def test_curves_are_the_running_best_of_each_stage():
    losses = [np.array([[3.0, 1.0], [2.0, 5.0]]), np.array([[4.0, math.nan], [1.0, 2.0]])]
    axis = report.search_curves(losses, ["a", "b"], stages=[2, 3]).axes[0]
    lines = [(list(line.get_xdata()), list(line.get_ydata())) for line in axis.lines if len(line.get_xdata()) == 2]
    drawn = [line for line in lines if line[0] in ([1, 2], [3, 4])]
    assert drawn == [
        ([1, 2], [3.0, 2.0]),
        ([1, 2], [1.0, 1.0]),
        ([3, 4], [4.0, 1.0]),
        ([3, 4], [math.inf, 2.0]),
    ]
    assert [text.get_text() for text in axis.texts] == ["stage 2", "stage 3"]


def test_curves_of_many_classes_are_summed_up(tmp_path):
    rng = np.random.default_rng(0)
    figure = report.search_curves([rng.random((20, 30))], [str(i) for i in range(30)])
    assert "median of 30 classes" in figure.axes[0].get_legend().get_texts()[0].get_text()
    report.save_figure(figure, tmp_path / "x.png", dpi=40)


def example(label, said, after=None):
    image = np.full((3, 8, 8), 0.5)
    return report.Example(label, image, image if after is None else after, label, said)


def test_examples_mark_right_and_wrong():
    figure = report.filtered_examples([example("cat", "cat"), example("cat", "dog"), example("dog", "dog")])
    labels = [axis.get_xlabel() for axis in figure.axes]
    assert labels[:4] == ["✓ cat", "✓ cat", "✓ cat", "✗ dog"]
    assert figure.axes[1].xaxis.label.get_color() != figure.axes[3].xaxis.label.get_color()


def test_faint_images_are_brightened_and_the_factor_is_written():
    wave = 0.5 + 0.1 * np.cos(2 * np.pi * np.arange(8) / 8)[None, None, :] * np.ones((3, 8, 1))
    figure = report.filtered_examples([example("cat", "cat", wave)])
    assert figure.axes[1].get_xlabel() == "✓ cat  ×4.0"
    shown = np.asarray(figure.axes[1].images[0].get_array())
    assert shown.max() == pytest.approx(0.9)


def test_examples_are_filtered_as_the_search_filters():
    """Against plain float64 torch: normalise, full complex transform, mask, inverse, denormalise."""
    from freqkit.data import synthetic
    from freqkit.models import load_model

    torch.manual_seed(0)
    images, model = synthetic(1, images_per_class=3), load_model("small_convnet")
    masks = (torch.rand(4, 32, 32) < 0.3).float()
    found = report.examples_of(model, images, masks[[3, 1]], ["C3", "C1"], per_class=2)
    assert [item.label for item in found] == ["C3", "C3", "C1", "C1"]
    x = images.images[images.labels == 1][1].double() / 255
    mean, std = (torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in (model.mean, model.std))
    spectrum = torch.fft.fft2((x - mean) / std) * torch.fft.ifftshift(masks[1].double())
    after = torch.fft.ifft2(spectrum).real
    assert np.allclose(found[3].before, x.numpy())
    assert np.allclose(found[3].after, (after * std + mean).numpy(), atol=1e-5)
    with torch.no_grad():
        assert found[3].predicted_after == images.classes[model.network(after[None].float()).argmax().item()]
        assert found[3].predicted_before == images.classes[model(x[None].float()).argmax().item()]


def test_no_global_state_and_same_bytes(tmp_path):
    import matplotlib

    before, backend = dict(matplotlib.rcParams), matplotlib.get_backend(auto_select=False)
    for name in ("a.png", "b.png"):
        report.save_figure(report.dfm_maps(maps(2), ["a", "b"]), tmp_path / name, dpi=40)
    assert dict(matplotlib.rcParams) == before
    assert matplotlib.get_backend(auto_select=False) == backend
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.png"
    path.write_bytes(b"old")
    figure = report.dfm_maps(maps(1), ["a"])
    monkeypatch.setattr(figure, "savefig", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        report.save_figure(figure, path)
    assert path.read_bytes() == b"old"


def test_long_names_are_cut_in_the_middle():
    assert shorten("short") == "short"
    assert shorten("a very long class name of a dog", 11) == "a ver…a dog"
    assert len(shorten("x" * 99)) == 22


@pytest.fixture(scope="module")
def results():
    """One small result of every kind."""
    from freqkit.data import synthetic
    from freqkit.masks import DfmFile
    from freqkit.measures import adcs, rates
    from freqkit.models import load_model
    from freqkit.search import hfss, removal

    model, images = load_model("small_convnet"), synthetic(1, images_per_class=2)
    searched = hfss(model, images, candidates=4, stages=1, top=1, batch_size=8)
    removed = removal(model, images, patch=16, batch_size=8)
    tested = rates(model, images, DfmFile(searched.masks, searched.classes))
    found = {"search": searched, "stage": searched.stages[0], "scores": searched.stages[0].scores,
             "removal": removed, "rates": tested, "adcs": adcs(images)}  # fmt: skip
    return found


@pytest.mark.parametrize("kind", ["search", "stage", "scores", "removal", "rates", "adcs"])
def test_every_result_draws_itself_and_on_an_axis(results, kind):
    from matplotlib.figure import Figure

    result = results[kind]
    assert isinstance(result.plot(), Figure)
    axis = Figure().subplots()
    assert result.plot(axis) is axis
    # every axis that holds data says what it measures, and in what
    words = f"{axis.get_xlabel()} {axis.get_ylabel()}"
    assert any(unit in words for unit in ("cycles/image", "nats", "share of the images")), words


def test_one_class_is_chosen_by_name_or_number(results):
    from matplotlib.figure import Figure

    result = results["search"]
    axis = result.plot(Figure().subplots(), of="C2")
    assert np.array_equal(np.asarray(axis.images[0].get_array()), result.masks[2].numpy())
    assert axis.get_title(loc="left") == "C2"
    same = results["adcs"].plot(Figure().subplots(), of=1)
    assert np.array_equal(np.asarray(same.images[0].get_array()), results["adcs"].maps[1].numpy())
    strongest = result.plot(Figure().subplots()).get_title(loc="left")
    assert strongest == result.classes[int(result.tpr_minus_fpr.argmax())]
    with pytest.raises(ValueError, match="of must be one of the classes C0"):
        result.plot(Figure().subplots(), of="C9")
    with pytest.raises(ValueError, match=r"0\.\.3"):
        result.plot(Figure().subplots(), of=4)


def test_svg_and_png_by_the_name(tmp_path):
    for name in ("a.svg", "b.svg", "a.png"):
        report.save_figure(figure := report.dfm_maps(maps(1), ["a"]), tmp_path / name, dpi=40)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert b"<svg" in (tmp_path / "a.svg").read_bytes()
    with pytest.raises(ValueError, match=r"\.png or \.svg"):
        report.save_figure(figure, tmp_path / "a.bmp")
