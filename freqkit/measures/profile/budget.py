"""What fits a budget: how many images each part gets, by its cost."""

import itertools
import re
import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from freqkit.errors import UsageError
from freqkit.measures.profile.parts import UNITS, ProfilePart

RESERVE = 0.06  # of a time budget, for reading results and drawing the page
PROBED = 0.05  # of a time budget, at most, for the timing of forwards


@dataclass(frozen=True)
class Budget:
    """Seconds, or forwards (a backward counts as two, see `UNITS`).

    Example:
        >>> Budget.parse("10m"), Budget.parse("forwards=5000")
        (Budget(amount=600.0, unit='seconds'), Budget(amount=5000.0, unit='forwards'))
    """

    amount: float
    unit: str

    @classmethod
    def parse(cls, text: object) -> "Budget":
        """From "90s", "10m", "1.5h", "forwards=N"; of a number seconds.

        Raises:
            UsageError: it is none of these.
        """
        if isinstance(text, (int, float)) and not isinstance(text, bool) and 0 < text < 1e9:
            return cls(float(text), "seconds")
        known = re.fullmatch(r"(forwards=)?(\d{1,12}(?:\.\d{1,6})?)(s|m|h)?", str(text).strip())
        if known and bool(known[1]) != bool(known[3]) and float(known[2]) > 0:
            scale = {"s": 1, "m": 60, "h": 3600, None: 1}[known[3]]
            return cls(float(known[2]) * scale, "forwards" if known[1] else "seconds")
        raise UsageError(f"profile: budget must be a time as 90s, 10m or 1h, or forwards=N; got {text!r}.")


@dataclass(frozen=True)
class Planned:
    """What a part gets: so many images, at a cost in the budget's unit; `reason`: why it gets none."""

    name: str
    images: int
    cost: float
    reason: str = ""


def costs(part: ProfilePart, images: int, prices: Mapping[str, float], facts: dict) -> float:
    """What a part of so many images costs, at prices of each unit."""
    return sum(prices[unit] * amount for unit, amount in part.cost(images, facts).items())


def plan(
    parts: Sequence[ProfilePart], amount: float, available: int, prices: Mapping[str, float], facts: dict,
    scale: Mapping[str, float] | None = None,
) -> list[Planned]:  # fmt: skip
    """How many images each part gets.

    The budget is dealt out by the parts' weights. A part that all images cost less gets them all, one that not even
    its least number of images fits is left out; what these leave is dealt out among the others.

    Args:
        amount: of the budget. available: images there are. prices: of each unit. facts: of the images.
        scale: part -> by how much it costs more than its prices say.
    """
    scale, found = scale or {}, {}
    open_ = [part for part in parts if not part.absent]
    found.update({part.name: Planned(part.name, 0, 0.0, part.absent) for part in parts if part.absent})

    def cost(part, images):
        return scale.get(part.name, 1.0) * costs(part, images, prices, facts)

    def affordable(part, share):
        low, high = 0, available
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if cost(part, middle) <= share else (low, middle - 1)
        return low

    left = amount
    while open_:
        weights = sum(part.weight for part in open_)
        shares = {part.name: left * part.weight / weights for part in open_}
        counts = {part.name: affordable(part, shares[part.name]) for part in open_}
        full = [part for part in open_ if counts[part.name] >= available]
        short = [part for part in open_ if counts[part.name] < min(part.least, available)]
        if full:
            settled = full
        elif short:
            # One at a time, the shortest of its need first: the others may then be had.
            settled = [max(short, key=lambda part: cost(part, min(part.least, available)) / shares[part.name])]
        else:
            settled = open_
        for part in settled:
            count = counts[part.name]
            if part in short:
                need = min(part.least, available)
                found[part.name] = Planned(
                    part.name, 0, 0.0, f"its share of the budget is less than its least, {need} images"
                )
                continue
            found[part.name] = Planned(part.name, count, cost(part, count))
            left -= cost(part, count)
        open_ = [part for part in open_ if part not in settled]
    return [found[part.name] for part in parts]


def chunks(images: int, rounds: int, least: int) -> list[tuple[int, int]]:
    """The pieces of so many images, of `least` at least each.

    Example:
        >>> chunks(10, 4, 4), chunks(3, 4, 8)
        ([(0, 5), (5, 10)], [(0, 3)])
    """
    pieces = max(1, min(rounds, images // max(1, least)))
    edges = [images * i // pieces for i in range(pieces + 1)]
    return list(itertools.pairwise(edges))


def prices_in_forwards() -> dict[str, float]:
    """Of a budget in forwards."""
    return dict(UNITS)


def measured_prices(model, images, scoring: dict, limit: float) -> dict[str, float]:
    """Seconds per image of each unit, by a few batches of each.

    Args:
        limit: seconds that it may take, about.
    """
    from freqkit.data.image_set import ImageSet
    from freqkit.engine import Scorer
    from freqkit.engine.accumulators import Answers
    from freqkit.engine.gradients import input_gradients
    from freqkit.engine.ring_noise import RingNoise
    from freqkit.engine.stimuli import BandNoise, Filter, pyramid_height
    from freqkit.options import Scoring

    size, batch = tuple(images.images.shape[-2:]), scoring["batch_size"]
    few: ImageSet = images.subset(range(min(len(images), max(8, batch // 4))))
    scorer = Scorer(model, few, **{**scoring, "domain": "pixels"})
    masks = (torch.rand(4, *size, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    levels = BandNoise.levels_of(size)[1:]
    noises = [levels[place * 4 + 1] for place in range(pyramid_height(size))][-4:] if min(size) >= 16 else None
    stimuli = {
        "plain": RingNoise([None] * 4), "filtered": Filter(masks),
        "noisy": RingNoise([(0.0, 4.0)] * 4) if noises is None else BandNoise(noises),
    }  # fmt: skip

    def once(work, amount):
        work()
        took, began = [], time.perf_counter()
        while not took or (time.perf_counter() - began < limit / 5 and len(took) < 5):
            start = time.perf_counter()
            work()
            took.append(time.perf_counter() - start)
        return sorted(took)[len(took) // 2] / amount

    found = {
        name: once(lambda one=stimulus: scorer.show(one, [Answers()]), len(few) * len(stimulus))
        for name, stimulus in stimuli.items()
    }
    how = Scoring(**{name: value for name, value in scoring.items() if name != "domain"})
    both = once(lambda: list(input_gradients("profile", model, few, how)), len(few))
    found["backward"] = max(both - found["plain"], found["plain"])
    return found


def cpu_seconds() -> float:
    """Seconds of processor time of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
