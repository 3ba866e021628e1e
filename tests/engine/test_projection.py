"""The projection against a plain simulation in small steps."""

import pytest

from freqkit.engine import Costs, project
from freqkit.engine.ranks import runs

FREE = Costs(claim=0, latency=0, bandwidth=1e15, merge=1e15, record=0, result=0, spread=0)


def by_steps(tiles, ranks, step=0.01):
    """Seconds until all tiles of one second are done; every rank takes the next run when it is idle."""
    queue, busy, now = runs(tiles, ranks), [0.0] * ranks, 0.0
    while queue or any(left > 1e-9 for left in busy):
        for rank in range(ranks):
            if busy[rank] <= 1e-9 and queue:
                first, last = queue.pop(0)
                busy[rank] = last - first
        busy = [max(left - step, 0) for left in busy]
        now += step
    return now


@pytest.mark.parametrize(("tiles", "ranks"), [(1, 3), (10, 3), (37, 4), (100, 7), (64, 64), (65, 64)])
def test_free_sharing_is_the_schedule_alone(tiles, ranks):
    found = project([(tiles, 1.0)], ranks, FREE)
    assert found["seconds"] == pytest.approx(by_steps(tiles, ranks), abs=0.02)
    assert found["efficiency"] == pytest.approx(tiles / ranks / found["seconds"])


def test_the_lost_time_is_named():
    assert project([(1000, 0.01)], 8, Costs(claim=0.01, spread=0))["lost_to"] == "claims"
    assert project([(1000, 1.0)], 8, Costs(record=10**8, spread=0))["lost_to"] == "gathering"
    assert project([(80, 1.0)], 8, Costs(start=30.0, spread=0))["lost_to"] == "what every rank repeats"
    for ranks in (2, 16, 128):
        found = project([(500, 0.2)] * 3, ranks)
        parts = sum(value for name, value in found.items() if name not in ("seconds", "efficiency", "lost_to"))
        assert parts + 3 * 500 * 0.2 / ranks == pytest.approx(found["seconds"], rel=0.02)


def test_one_rank_shares_nothing():
    assert project([(10, 1.0), (5, 2.0)], 1)["seconds"] == pytest.approx(20.0)
