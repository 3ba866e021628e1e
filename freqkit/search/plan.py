"""What a search would take, before it is run."""

from dataclasses import dataclass, field


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

    def projected(self, ranks):
        """The time on `ranks` processes that share the search (`freqkit.engine.project`), each as fast as this one.

        Where candidates are stopped, and for the stages after the first, the numbers of masks are those of
        `forwards`: at most.
        """
        from freqkit.engine.projection import Costs, project

        each = self.record["seconds_per_forward"]
        calls = [
            (tiles, stage.get("seconds", stage["forwards"] * each) / stage["tiles"])
            for stage in [*([self.whole] if self.whole else []), *self.stages]
            for tiles in stage.get("calls", [stage["tiles"]])
        ]
        return project(calls, ranks, Costs(record=200 + 24 * self.classes, result=24 * self.classes * 500))

    def table(self):
        """One dict per stage."""
        return [dict(stage) for stage in self.stages]
