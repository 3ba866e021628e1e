"""Images rebuilt from their singular values, and several stimuli shown as one."""

from collections.abc import Sequence

import torch

from freqkit.engine.stimuli import ENCODINGS, Shown, Stimulus
from freqkit.errors import UsageError


class SingularValues:
    """Two versions of each image: every channel from its k leading singular values, and what is left of it.

    x = U S V', y[0] = the sum of the k largest s_i u_i v_i', y[1] = x - y[0], in pixels; the control of a split by
    frequency that knows no frequency.

    Args:
        rank: k, at least 1 and below the shorter side.
        after: a name in `freqkit.engine.stimuli.ENCODINGS`.
    """

    def __init__(self, rank: int, *, after: str = "raw"):
        self.rank, self.encode = rank, ENCODINGS[after]

    def __len__(self):
        return 2

    def tile(self, source, versions, images):
        if source.forward.mean is not None:
            raise UsageError('SingularValues: singular values are of pixels, and need a scorer of domain="pixels".')
        kept = range(2)[versions]

        def make(some, part):
            # In double precision on the CPU, a plane at a time: the same bits on every machine that has them.
            pixels = source.images[images][part].double() / 255
            u, s, v = torch.linalg.svd(pixels, full_matrices=False)
            low = (u[..., : self.rank] * s[..., None, : self.rank]) @ v[..., : self.rank, :]
            made = [(pixels - low if which else low).to(source.forward.device, source.forward.compute)
                    for which in kept[some]]  # fmt: skip
            made = torch.cat(made if self.encode is None else [self.encode(one) for one in made])
            return made.contiguous(memory_format=torch.channels_last)

        return Shown(make, len(kept), images.stop - images.start)


class Joined:
    """The versions of several stimuli, one after the other."""

    def __init__(self, stimuli: Sequence[Stimulus]):
        self.stimuli = list(stimuli)

    def __len__(self):
        return sum(map(len, self.stimuli))

    def tile(self, source, versions, images):
        first, parts = 0, []
        for one in self.stimuli:
            own = _overlap(versions, first, first + len(one))
            if own is not None:
                parts.append(one.tile(source, own, images))
            first += len(one)

        def make(some, part):
            made, begin = [], 0
            for one in parts:
                own = _overlap(some, begin, begin + one.versions)
                if own is not None:
                    made.append(one.make(own, part))
                begin += one.versions
            made = made[0] if len(made) == 1 else torch.cat(made)
            return made.contiguous(memory_format=torch.channels_last)

        return Shown(make, versions.stop - versions.start, images.stop - images.start)


def _overlap(asked, first, last):
    """The part of a range that lies in first...last - 1, counted from `first`; None: nothing does."""
    begin, end = max(asked.start, first), min(asked.stop, last)
    return slice(begin - first, end - first) if begin < end else None
