"""Logs of AutoAttack as it writes them, whole and broken off."""

import pytest

from freqkit.errors import UsageError
from freqkit.results.attack_logs import read_autoattack
from freqkit.results.store import Store

WHOLE = """setting parameters for standard version
using standard version including apgd-ce, apgd-t, fab-t, square.
initial accuracy: 76.15%
apgd-ce - 1/381 - 12 out of 100 successfully perturbed
robust accuracy after APGD-CE: 18.31% (total time 600.0 s)
apgd-t - 1/92 - 9 out of 100 successfully perturbed
robust accuracy after APGD-T: 15.20% (total time 1097.7 s)
robust accuracy after FAB-T: 15.20% (total time 3000.1 s)
robust accuracy after SQUARE: 15.18% (total time 4000 s)
max Linf perturbation: 0.00196, nan in tensor: 0, max: 1.00000, min: 0.00000
robust accuracy: 15.18%
"""


def test_a_log_is_read_into_a_store(tmp_path):
    log = tmp_path / "resnet50_prime.log"
    log.write_text(WHOLE)
    rows = read_autoattack(log)
    assert [(row["condition"], round(row["value"], 4)) for row in rows] == [
        ("clean", 0.7615), ("AA-apgd-ce", 0.1831), ("AA-apgd-ce+apgd-t", 0.152), ("AA-apgd-ce+apgd-t+fab-t", 0.152),
        ("AA-apgd-ce+apgd-t+fab-t+square", 0.1518), ("AA-robust", 0.1518),
    ]  # fmt: skip
    assert {(row["model"], row["set"], row["metric"], row["n"]) for row in rows} == {
        ("resnet50_prime", "imagenet", "top-1", None)
    }
    assert "Linf" in rows[0]["definition"]
    store = Store(tmp_path / "s.sqlite")
    assert store.add(rows, source=str(log)) == 6 and store.rows(condition="AA-robust")[0]["value"] == 0.1518
    log.write_text("\n".join(WHOLE.splitlines()[:7]))  # killed
    assert [row["condition"] for row in read_autoattack(log)] == ["clean", "AA-apgd-ce", "AA-apgd-ce+apgd-t"]


@pytest.mark.parametrize(
    "text,words",
    [
        ("", "a log of AutoAttack was expected; it is empty"),
        ("robust accuracy: 3.00%\n", "it has no line `initial accuracy: ...%` before others"),
        (WHOLE * 2, "must be of one run; it holds several"),
        (
            WHOLE.replace("15.20%", "95.20%", 1),
            "an attack cannot raise the accuracy; robust accuracy after APGD-T is 95.20%",
        ),
        (WHOLE.replace("76.15%", "761.5%"), "an attack cannot raise the accuracy; initial accuracy is 761.5%"),
    ],
)
def test_sentences(tmp_path, text, words):
    log = tmp_path / "net.log"
    log.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_autoattack(log)
    assert words in str(caught.value) and str(caught.value).startswith(str(log))
