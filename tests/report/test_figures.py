"""Figures: what is drawn where, no global state, whole files."""

import math

import numpy as np
import pytest
import torch

from freqkit import report
from freqkit.registry import MEASURES
from freqkit.text import shorten
from tests.measures_at_hand import small_result


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


# public dataclasses that are no results: settings, forecasts, and what a call hands on
NO_RESULTS = {"Attack", "Attacked", "Candidates", "Costs", "Plan", "Preprocessing", "Recipe", "Spectrum", "TestSet"}


@pytest.fixture(scope="module")
def results():
    """One small result of every kind, by the name of its class."""
    from freqkit.data import synthetic
    from freqkit.masks import DfmFile
    from freqkit.measures import EvaluationResult, study
    from freqkit.models import load_model
    from freqkit.results import LearningCurves
    from freqkit.search import Comparison, estimate_removal, hfss, removal
    from freqkit.search.compare import COLUMNS
    from freqkit.training import TrainingComparison
    from tests.results.made_up import human_comparison

    model, images = load_model("small_convnet"), synthetic(1, images_per_class=2)
    searched = hfss(model, images, candidates=4, stages=1, top=1, batch_size=8, split_fraction=1)
    dfm = DfmFile(searched.masks, searched.classes)
    groups = [{"model": "net", "set": "v2", "condition": "all", "class": "", "metric": f"AvgTPR {group}@{t}",
               "value": 0.5, "n": 2} for group in ("shortcut", "other") for t in (0.3, 0.5)]  # fmt: skip
    row = {**dict.fromkeys(COLUMNS, 0.5), "searcher": "greedy", "effort": 1, "seed": 0, "forward equivalents": 100}
    found = [
        searched, searched.stages[0], searched.stages[0].scores, dfm,
        *(small_result(name, model, images, dfm) for name in MEASURES),
        removal(model, images, patch=16, batch_size=8, split_fraction=1),
        estimate_removal(model, images, patch=16, batch_size=8),
        EvaluationResult(groups, []), human_comparison(),
        TrainingComparison(["base", "lr=0.1"], [{}, {"lr": 0.1}], ["train", "val"], torch.arange(2),
                           torch.ones(2, 2, 2).double() / 2, torch.tensor([8, 8]),
                           {"quantity": "", "confidence": 0.95}, {}),
        Comparison([row, {**row, "seed": 1}]),
        study([{**groups[0], "model": f"m{k}", "metric": "LPP", "value": k / 4, "definition": ""} for k in range(4)]),
        LearningCurves(images.classes, torch.tensor([0, 5]), torch.ones(2, 4, 4, dtype=torch.int64), {}),
    ]  # fmt: skip
    return {type(result).__name__: result for result in found}


def public_results():
    import dataclasses
    import importlib

    import freqkit

    for room in freqkit._MODULES:
        module = importlib.import_module(f"freqkit.{room}")
        for name in getattr(module, "__all__", ()):
            thing = getattr(module, name)
            if dataclasses.is_dataclass(thing) and room != "report":
                yield thing.__name__


KINDS = sorted({*public_results()} - NO_RESULTS)


@pytest.mark.parametrize("kind", KINDS)
def test_every_result_draws_itself_and_on_an_axis(results, kind, tmp_path):
    from matplotlib.figure import Figure

    result = results[kind]
    figure = result.plot()
    assert isinstance(figure, Figure)
    report.save_figure(figure, tmp_path / "x.svg")
    axis = Figure().subplots()
    assert result.plot(axis) is axis
    # every axis that holds data says what it measures, and in what: on itself or on its colour bar
    words = " ".join(f"{one.get_xlabel()} {one.get_ylabel()}" for one in axis.figure.axes)
    assert any(
        unit in words
        for unit in (
            "cycles/image",
            "nats",
            "of the images",
            "percent",
            "F1 (0 to 1)",
            "(−1 to 1)",
            "share of the plane",
        )
    ), words


def test_colours_are_told_apart_without_red_and_green():
    """Each pair of the first five colours of lines differs as seen with deuteranopia and protanopia (Machado 2009)."""
    from itertools import combinations

    from matplotlib.colors import to_rgb

    from freqkit.report import figures

    simulations = {
        "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
        "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    }
    for name, matrix in simulations.items():
        seen = {c: np.asarray(matrix) @ np.asarray(to_rgb(c)) for c in figures.CYCLE[:5]}
        for one, other in combinations(seen, 2):
            assert np.abs(seen[one] - seen[other]).max() > 0.1, (name, one, other)


def test_one_class_is_chosen_by_name_or_number(results):
    from matplotlib.figure import Figure

    result = results["SearchResult"]
    axis = result.plot(Figure().subplots(), of="C2")
    assert np.array_equal(np.asarray(axis.images[0].get_array()), result.masks[2].numpy())
    assert axis.get_title(loc="left") == "C2"
    same = results["AdcsResult"].plot(Figure().subplots(), of=1)
    assert np.array_equal(np.asarray(same.images[0].get_array()), results["AdcsResult"].maps[1].numpy())
    estimate = results["GradientEstimate"]
    drawn = np.asarray(estimate.plot(Figure().subplots(), of="C1").images[0].get_array())
    owner = estimate.owner[20, 20]
    assert drawn[20, 20] == estimate.first_order[owner, 1] + estimate.second_order[owner, 1]
    stopped = results["BandStopResult"]
    drawn = np.asarray(stopped.plot(Figure().subplots(), of=stopped.names[2]).images[0].get_array())
    assert np.array_equal(drawn, stopped.relative_confusion[2].numpy())
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


HOSTILE = [r"$\frac{$", "$x^2$ and $", "a\\$b", "x\ny", "a\x1b[31m", "%s {0}", "n" * 300]


@pytest.mark.parametrize("settings", [{}, {"text.usetex": True}, {"axes.formatter.use_mathtext": True}], ids=str)
@pytest.mark.parametrize("own", [False, True], ids=["figure", "axis"])
def test_no_text_of_a_figure_is_parsed(tmp_path, settings, own):
    """Whatever the user's settings say, in our figures and on the user's axes."""
    import io

    import matplotlib
    from matplotlib.figure import Figure

    from freqkit.masks import DfmFile
    from tests.report.gallery import Case, measured

    case = Case(tmp_path, len(HOSTILE), names=HOSTILE)
    dfm = DfmFile(case.maps(), HOSTILE)
    losses = [np.abs(case.random(5, len(HOSTILE)).numpy())]
    drawings = {
        "dfm": lambda ax: report.plot_dfm(dfm, ax, title=HOSTILE[0]),
        "rates": lambda ax: report.plot_rates(measured(case), ax, title=HOSTILE[0]),
        "curves": lambda ax: report.search_curves(losses, HOSTILE, ax),
    }
    for name, draw in drawings.items():
        ax = None
        if own:
            ax = Figure().subplots()  # the user's, who may have TeX for all but our names
        with matplotlib.rc_context(settings):
            drawn = draw(ax)
            if own and "text.usetex" in settings:
                continue  # the user's numbers are drawn by the user's TeX
            (ax.figure if own else drawn).savefig(io.BytesIO())
        texts = [text.get_text() for text in drawn.findobj(matplotlib.text.Text)]
        assert any(r"$\frac{$" in text for text in texts), name
        assert not any("\x1b" in text for text in texts), name


def test_a_summary_says_which_maps_it_shows(tmp_path, monkeypatch):
    from freqkit.report import summary
    from tests.report.gallery import Case, searched

    searched(Case(tmp_path / "run", 10, names=[f"c{i}" for i in range(10)]), "learned")
    seen = []
    monkeypatch.setattr(summary.figures, "save_figure", lambda figure, path, **_: seen.append(figure))
    summary.write_summary(tmp_path / "run")
    words = " ".join(text.get_text() for axis in seen[0].axes for text in axis.texts)
    assert "the 8 of 10 classes of largest TPR − FPR" in words
    assert "all classes" in summary.maps_line(3, 3)
