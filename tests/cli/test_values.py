"""What flags may be."""

import click
import pytest

from freqkit.cli.values import BatchSize, Counts, Device, Share, Stages, resolve_device
from freqkit.errors import UsageError


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Stages(), "1-4", [1, 2, 3, 4]),
        (Stages(), "2,3", [2, 3]),
        (Stages(), "1", [1]),
        (Stages(), "1-2, 4", [1, 2, 4]),
        (Counts(), "500", 500),
        (Counts(), "200,400, 800", [200, 400, 800]),
        (BatchSize(), "auto", "auto"),
        (BatchSize(), "64", 64),
        (Share(), "0.6", 0.6),
        (Share(), "1", 1.0),
        (Device(), "cuda:1", "cuda:1"),
    ],
)
def test_accepts(kind, text, value):
    assert kind.convert(text, None, None) == value


@pytest.mark.parametrize(
    ("kind", "text", "says"),
    [
        (Stages(), "4-1", "rise"),
        (Stages(), "0-2", "start at 1"),
        (Stages(), "1,1", "each stage once"),
        (Stages(), "all", "1-4 or 2,3"),
        (Stages(), "1--4", "1-4 or 2,3"),
        (Counts(), "0", ">= 1"),
        (Counts(), "1.5", ">= 1"),
        (Counts(), "200,,400", "one per stage"),
        (BatchSize(), "0", "auto or a number"),
        (BatchSize(), "big", "auto or a number"),
        (Share(), "0", "(0, 1]"),
        (Share(), "1.01", "(0, 1]"),
        (Share(), "nan", "(0, 1]"),
        (Share(), "half", "(0, 1]"),
        (Device(), "gpu", "cuda:N"),
    ],
)
def test_refuses_and_says_why(kind, text, says):
    with pytest.raises(click.BadParameter, match="got " + repr(text).replace(".", r"\.")) as error:
        kind.convert(text, None, None)
    assert says in str(error.value)


def test_a_gpu_that_is_not_there_is_an_error():
    with pytest.raises(UsageError, match="cuda:97"):
        resolve_device("cuda:97")
    assert resolve_device("cpu") == "cpu"
