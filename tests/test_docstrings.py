"""The examples in docstrings and in the README run."""

import doctest
import importlib
import inspect
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


class Finder(doctest.DocTestFinder):
    """Finds the examples of decorated functions (`freqkit.options.flat`) too: their globals are the decorator's."""

    def _from_module(self, module, object):
        return super()._from_module(module, inspect.unwrap(object) if inspect.isfunction(object) else object)


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    module, runner = importlib.import_module(name), doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for test in Finder().find(module, module.__name__):
        runner.run(test)
    assert runner.summarize().failed == 0


def test_there_are_examples():
    attempted = sum(
        doctest.testmod(importlib.import_module(name)).attempted for name in ("freqkit.ops.spectral_filter",)
    )
    assert attempted >= 6
    module = importlib.import_module("freqkit.search.evolve")  # a decorated function
    assert [test.name for test in Finder().find(module) if test.examples] == ["freqkit.search.evolve.evolve"]


def test_the_two_lines_of_the_readme():
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 3))
    net.mean, net.std = (0.5,) * 3, (0.25,) * 3
    loader = DataLoader(TensorDataset(torch.rand(9, 3, 8, 8), torch.arange(9) % 3), 4)
    (block,) = [
        block
        for block in re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
        if "loader" in block
    ]
    assert len(block.split("\n\n")) == len(block.strip().split("\n\n")) == 2  # the import, and one call
    names = {"net": net, "loader": loader}
    exec(block, names)
    assert names["result"].masks.shape == (3, 8, 8)


def test_the_operator_example_of_the_readme():
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    first, loop = [block for block in blocks if "spectral_filter" in block]
    names = {}
    exec(first, names)
    assert names["y"].shape == (16, 8, 3, 224, 224)
    exec(loop, names)
    assert names["logits_of_mask"].grad.abs().sum() > 0
    assert all(weight.grad is not None for weight in names["model"].parameters())
