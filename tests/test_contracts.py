"""What every measure and every searcher of the registry keeps to; their commands: `tests/cli/test_every_command.py`."""

import dataclasses
import inspect
import re

import pytest
import torch

from freqkit import measures, options, search
from freqkit.errors import UsageError
from freqkit.registry import MEASURES, PAGES, SEARCHERS, module_of, stem_of
from freqkit.search.testing import Testing
from tests.measures_at_hand import measure_of, small_result

UNITS = r"percent|%|cycles|share|rate|classes|images|nats|TPR"


@pytest.fixture(scope="module")
def world():
    from freqkit.data import synthetic
    from freqkit.masks import DfmFile
    from freqkit.models import load_model

    dfm = DfmFile(torch.ones(4, 32, 32), ["C0", "C1", "C2", "C3"])
    return load_model("small_convnet", num_classes=4), synthetic(1, images_per_class=2), dfm


@pytest.fixture(scope="module")
def results(world):
    return {name: small_result(name, *world) for name in MEASURES}


@pytest.mark.parametrize("name", MEASURES)
def test_a_measure_is_offered_and_its_options_check_themselves(name):
    measure, module = measure_of(name), module_of(MEASURES, name)
    assert getattr(measures, stem_of(MEASURES, name)) is measure and set(module.__all__) <= set(measures.__all__)
    assert all(issubclass(group, options.Options) for group in measure.groups)
    assert module.__name__ in PAGES and f"freqkit {name}" in module.HELP


@pytest.mark.parametrize("name", MEASURES)
def test_a_result_survives_a_round_trip(results, name, tmp_path):
    result = results[name]
    result.save(tmp_path / "found.safetensors")
    again = type(result).load(tmp_path / "found.safetensors")
    for field in dataclasses.fields(result):
        before, after = getattr(result, field.name), getattr(again, field.name)
        same = torch.equal(before.nan_to_num(7), after.nan_to_num(7)) if torch.is_tensor(before) else before == after
        assert same, field.name
    assert again.definition and again.record


@pytest.mark.parametrize("name", MEASURES)
def test_a_damaged_confidence_is_refused_when_it_is_read(results, name, tmp_path):
    """Intervals are made of it: 0 and 1 have none."""
    if "confidence" not in results[name].definition:
        pytest.skip("its intervals are stored, or it has none")
    for value in (0, 1, -0.5, 2, None, "0.95"):
        definition = {**results[name].definition, "confidence": value}
        results[name].FILE.write(tmp_path / "found.safetensors", {**vars(results[name]), "definition": definition})
        with pytest.raises(UsageError, match="confidence"):
            type(results[name]).load(tmp_path / "found.safetensors")


@pytest.mark.parametrize("name", MEASURES)
def test_a_result_is_drawn_with_units_and_printed(results, name):
    result = results[name]
    axis = result.plot().axes[0].figure.subplots()
    assert result.plot(axis) is axis
    figure = axis.figure
    words = " ".join(text.get_text() for text in figure.findobj(lambda part: hasattr(part, "get_text")))
    assert re.search(UNITS, words), words
    printed = module_of(MEASURES, name).printed(result)
    assert printed.facts and all(len(row) == len(printed.columns) for row in printed.rows)
    assert len(printed.rows) == len(getattr(result, "slices", result.classes))


@pytest.mark.parametrize("name", MEASURES)
def test_a_result_is_told_in_a_line_and_shown_in_a_notebook(results, name):
    line, shown = repr(results[name]), results[name]._repr_html_()
    assert "\n" not in line and len(line) < 160 and type(results[name]).__name__ in line
    assert (results[name].MAIN[1] or results[name].columns[-1]) in line and str(len(results[name].classes)) in shown
    assert shown.count("<div") == shown.count("</div>") and len(shown) < 60_000


@pytest.mark.parametrize("name", MEASURES)
def test_a_result_has_a_page(results, name, tmp_path):
    from freqkit.report import write_report

    results[name].save(tmp_path / "found.safetensors")
    text = write_report(tmp_path / "found.safetensors").read_text(encoding="utf-8")
    assert 'id="verdict"' in text and "Cost and provenance" in text


@pytest.mark.parametrize("name", SEARCHERS)
def test_a_searcher_is_offered_compared_and_shares_its_keywords(name):
    searcher = getattr(search, name)
    assert name in search.__all__ and searcher.groups[-3:] == (Testing, options.Scoring, options.Running)
    for effort in module_of(SEARCHERS, name).EFFORTS.values():
        asked = effort.asks(effort.tried[0], 0.05, 3, (32, 32))
        assert asked.keys() <= inspect.signature(searcher).parameters.keys()


def test_options_say_what_they_are():
    """Each has a sentence, for documentation and --help, and a default that its rule accepts."""
    functions = [*(getattr(search, name) for name in SEARCHERS), *map(measure_of, MEASURES), measures.evaluate]
    for function in functions:
        for group in function.groups:
            group.of(function.__name__)
            assert [name for name, field in group.fields().items() if not options.rule_of(field).says] == []
