"""The examples in docstrings and in the README run."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import freqkit

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(freqkit.__path__, "freqkit.")
    if not module.name.endswith(("__main__", "_C"))
)
README = Path(__file__).resolve().parents[1] / "README.md"


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0


def test_there_are_examples():
    attempted = sum(
        doctest.testmod(importlib.import_module(name)).attempted for name in ("freqkit.ops.spectral_filter",)
    )
    assert attempted >= 6


def test_the_operator_example_of_the_readme():
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    first, loop = [block for block in blocks if "spectral_filter" in block]
    names = {}
    exec(first, names)
    assert names["y"].shape == (16, 8, 3, 224, 224)
    exec(loop, names)
    assert names["logits_of_mask"].grad.abs().sum() > 0
    assert all(weight.grad is not None for weight in names["model"].parameters())
