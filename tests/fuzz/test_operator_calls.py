"""A small share of `make fuzz`, and that it sees what is wrong."""

import pytest
import torch

import freqkit
from tests.fuzz import operator_calls


def test_random_calls():
    assert operator_calls.main(["--calls", "1500", "--seed", "1"]) == 0


def test_a_wrong_number_and_a_write_outside_are_seen(monkeypatch, capsys):
    right = freqkit.spectral_filter
    monkeypatch.setattr(freqkit, "spectral_filter", lambda *a, **k: right(*a, **k).mul_(1.001))
    assert operator_calls.main(["--calls", "300"]) == 1
    assert "alone: python tests/fuzz/operator_calls.py --seed 0 --only " in capsys.readouterr().out

    def outside(*arguments, out=None, **options):
        y = right(*arguments, out=out, **options)
        if out is not None and out.numel():
            torch.as_strided(out, (out.untyped_storage().nbytes() // out.element_size(),), (1,), 0)[-1] = 0
        return y

    monkeypatch.setattr(freqkit, "spectral_filter", outside)
    assert operator_calls.main(["--calls", "300"]) == 1
    assert "memory around out was written" in capsys.readouterr().out


def test_a_call_alone_is_the_call_of_the_run():
    assert operator_calls.one(3, 17) == operator_calls.one(3, 17)
    with pytest.raises(operator_calls.Wrong, match="accepted"):
        operator_calls.refused(lambda: None, "anything")
