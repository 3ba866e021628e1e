"""How long tiles take when several ranks share them: a simulation of `freqkit.engine.ranks`."""

import heapq
import math
from dataclasses import dataclass

from freqkit.engine.ranks import runs


@dataclass(frozen=True)
class Costs:
    """What sharing costs, in seconds and bytes per second.

    Attributes:
        claim: the store's time to serve one claim; claims queue.
        latency: of one message between ranks.
        bandwidth: of what rank 0 receives and sends.
        merge: at which rank 0 checks, journals and adds up what it received.
        record: bytes of a tile's record.
        result: bytes of a call's result, which rank 0 sends to all.
        start: before the first tile of a call, on every rank alike (drawing masks, ranking).
        spread: how much longer or shorter a tile takes than the mean, as a standard deviation in shares of it.
    """

    claim: float = 60e-6
    latency: float = 50e-6
    bandwidth: float = 1e9
    merge: float = 5e8
    record: int = 10_000
    result: int = 1_000_000
    start: float = 0.0
    spread: float = 0.05


def project(calls, ranks, costs=Costs()):
    """Simulate calls that follow one another, each with its tiles shared among `ranks`.

    Args:
        calls: list of (number of tiles, seconds per tile).
        ranks: processes, equally fast.
        costs: `Costs`.

    Returns:
        dict: seconds; efficiency (the ranks' share of time spent on tiles); and the ranks' mean seconds lost to
        "waiting for the last tile", "claims", "gathering" and "what every rank repeats", with `lost_to`, the largest.

    Example:
        >>> found = project([(100, 1.0)], 4, Costs(spread=0.0))
        >>> round(found["seconds"], 1), round(found["efficiency"], 2)
        (25.0, 1.0)
        >>> project([(9, 1.0)], 4, Costs(spread=0.0))["lost_to"]
        'waiting for the last tile'
    """
    lost = dict.fromkeys(("waiting for the last tile", "claims", "gathering", "what every rank repeats"), 0.0)
    seconds = work = 0.0
    for call, (tiles, each) in enumerate(calls):
        work += tiles * each
        seconds += costs.start
        lost["what every rank repeats"] += costs.start
        if ranks == 1:
            seconds += tiles * each
            continue
        free, served, last, waited = [(0.0, rank) for rank in range(ranks)], 0.0, 0.0, 0.0
        for number, (first, end) in enumerate(runs(tiles, ranks)):
            now, rank = heapq.heappop(free)
            served = max(now + costs.latency, served) + costs.claim
            waited += served + costs.latency - now
            # A fixed spread, so that a projection is the same every time.
            slower = 1 + costs.spread * math.sqrt(2 / (end - first)) * math.sin(12.9898 * (number + 1) + 78.233 * call)
            finish = served + costs.latency + (end - first) * each * slower
            last = max(last, finish)
            heapq.heappush(free, (finish, rank))
        received = tiles * costs.record * (ranks - 1) / ranks
        gather = received / costs.bandwidth + tiles * costs.record / costs.merge + 3 * ranks * costs.latency
        gather += math.ceil(math.log2(ranks)) * (costs.result / costs.bandwidth + 4 * costs.latency)
        lost["claims"] += waited / ranks
        lost["waiting for the last tile"] += last - tiles * each / ranks - waited / ranks
        lost["gathering"] += gather
        seconds += last + gather
    lost = {name: max(value, 0.0) for name, value in lost.items()}
    efficiency = work / (ranks * seconds) if seconds else 1.0
    return {"seconds": seconds, "efficiency": efficiency, **lost, "lost_to": max(lost, key=lost.get)}
