"""What a search would take, before it is run."""

from dataclasses import dataclass, field


@dataclass
class Plan:
    """What a search will do.

    Attributes:
        stages: one dict per stage: stage, cells (per side), cell (bins), candidates (drawn), distinct
            (effective masks that are scored; from stage 2 on for stand-in parents, since the real ones are
            not known yet), forwards.
        images: number of images; classes: number of classes that have images.
        batch_size: pairs (mask, image) per forward, calibrated when it was "auto".
        forwards: model forwards in all; with racing, at most.
        seconds: estimated wall time on this device, from a short calibration.
        memory: dict of bytes: images, spectra (cached), batch (filtered images of one forward), process
            (resident set of this process after the calibration, all of that included).
        record: batch-size timings and the time per forward.
    """

    stages: list
    images: int
    classes: int
    batch_size: int
    forwards: int
    seconds: float
    memory: dict
    record: dict = field(default_factory=dict)

    def table(self):
        """One dict per stage."""
        return [dict(stage) for stage in self.stages]
