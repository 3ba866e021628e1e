"""What a search would take, before it is run."""

from collections.abc import Callable
from dataclasses import dataclass, field

from freqkit.options import Options, option
from freqkit.registry import SEARCHERS, module_of


@dataclass(frozen=True, kw_only=True)
class Budget(Options):
    """Of searchers that keep a share of the bins."""

    coverage: float = option(
        0.05, "share of the bins that a mask may keep. Masks are binary, so it is their power, too", above=0, most=1,
        help="share of the bins to keep",
    )  # fmt: skip


@dataclass(frozen=True)
class Effort:
    """How `compare_searchers` runs a searcher; its module has some under `EFFORTS`, each under a name of its own.

    Attributes:
        counts: what an effort is a number of.
        tried: efforts that are tried when none are asked for.
        asks: called with (effort, coverage, seed, (H, W)); gives the keywords of the searcher.
        slow: it costs many times more than the others, and may be run for fewer seeds.
        words: its method, where it is another than the searcher's own.
    """

    counts: str
    tried: tuple[int, ...]
    asks: Callable[[int, float, int, tuple[int, int]], dict]
    slow: bool = False
    words: str | None = None


def efforts() -> dict[str, tuple[str, Effort]]:
    """Name in a comparison -> (searcher, `Effort`)."""
    modules = {name: module_of(SEARCHERS, name) for name in SEARCHERS}
    return {key: (name, effort) for name, module in modules.items() for key, effort in module.EFFORTS.items()}


def method_of(name: str) -> str:
    """The method of a searcher, or of an entry of a comparison, in words; the name itself where it is not known."""
    if name in SEARCHERS:
        return SEARCHERS[name][1]
    _, effort = efforts().get(name, (None, None))
    return name if effort is None else effort.words or name


@dataclass
class Plan:
    """What a search will do.

    Attributes:
        stages: of `hfss` one dict per stage: stage, cells (per side), cell (bins), candidates (drawn), distinct
            (effective masks that are scored; from stage 2 on for stand-in parents, since the real ones are
            not known yet), forwards, tiles (what ranks share). Of the other searchers one dict per part of the work:
            work (its name), forwards, backwards, tiles, calls (that follow one another: the tiles of each), seconds.
        images: number of images; classes: number of classes that have images.
        batch_size: pairs (mask, image) per forward, calibrated when it was "auto".
        forwards: model forwards in all; where candidates are stopped, at most.
        backwards: images that go back through the model.
        seconds: estimated wall time on this device, from a short calibration.
        memory: dict of bytes: images, spectra (cached), batch (filtered images of one forward), process
            (resident set of this process after the calibration, all of that included).
        record: batch-size timings and the time per forward.
        remark: what the numbers leave open, a sentence, or None.
        whole: of `hfss`, forwards and tiles of the whole images, which are no stage; None where they are a part.
        tests: of `hfss`, one dict per part of its test, which is no stage: work, forwards, backwards, seconds, calls.
    """

    stages: list
    images: int
    classes: int
    batch_size: int
    forwards: int
    seconds: float
    memory: dict
    record: dict = field(default_factory=dict)
    backwards: int = 0
    remark: str | None = None
    whole: dict | None = None
    tests: list = field(default_factory=list)

    def projected(self, ranks):
        """The time on `ranks` processes that share the search (`freqkit.engine.project`), each as fast as this one.

        Where candidates are stopped, and for the stages after the first, the numbers of masks are those of
        `forwards`: at most.
        """
        from freqkit.engine.projection import Costs, project

        each = self.record["seconds_per_forward"]
        calls = [
            (tiles, stage.get("seconds", stage["forwards"] * each) / stage["tiles"])
            for stage in [*([self.whole] if self.whole else []), *self.stages, *self.tests]
            for tiles in stage.get("calls", [stage["tiles"]])
        ]
        return project(calls, ranks, Costs(record=200 + 24 * self.classes, result=24 * self.classes * 500))

    def table(self):
        """One dict per stage."""
        return [dict(stage) for stage in self.stages]
