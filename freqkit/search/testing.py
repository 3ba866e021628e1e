"""Every search tests itself: a part of the images selects, the rest is measured, and random masks stand beside.

Three things that a map is measured by, all on the images that did not select it:

- its rates;
- the rates of random masks of as many bins, the same cells and symmetry (`freqkit.masks.random_alike`): what any such
  mask comes to;
- on request, what the same search finds when the labels of all images are permuted, within each part: what a search
  comes to when there is nothing to find.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from freqkit.data import ImageSet
from freqkit.errors import UsageError
from freqkit.files.whole import read_run
from freqkit.options import Options, Running, option
from freqkit.report.readings import enough

SELECTING, DRAWS = 0.5, 20  # the usual share of images that selects, and the usual number of random masks


@dataclass(frozen=True, kw_only=True)
class Testing(Options):
    """How a search is tested."""

    split_fraction: float | None = option(
        None, "share of each class's images, drawn by `split_seed`, that selects; the others test. 1: all select, and "
        "nothing is tested. None: 0.5; 1 under a published preset, and where a run goes on that was begun so", above=0,
        most=1, identity=False, help="share of each class's images, drawn by --data-seed, that selects; the others "
        "test.  [default: 0.5; 1 under a published preset]",
    )  # fmt: skip
    split_seed: int = option(0, "of the split and of the random masks", identity=False, flag=False)
    null: int | None = option(
        None, "random masks beside each class's map (`freqkit.masks.random_alike`), 19 at least, or 0. None: 20 where "
        "images are held out, else 0", least=0, identity=False, help="random masks beside each class's map, 19 or "
        "more, or 0.  [default: 20; 0 with --split-fraction 1]",
    )  # fmt: skip
    null_labels: int = option(
        0, "how many times the search is done again with permuted labels, each as costly as itself", least=0,
        identity=False, help="searches again with permuted labels, so many times",
    )  # fmt: skip

    def check(self, owner):
        enough(owner, self.null)
        if self.split_fraction == 1 and self.null_labels:
            raise UsageError(f"{owner}: null_labels needs held-out images; give split_fraction below 1.")
        return self


class Parts:
    """Which images select, and which test.

    Attributes:
        selection: `ImageSet`. held_out: one, or None.
        null, permuted: how many random masks, and searches with permuted labels. seed: of the split.
        fraction: share that selects.
    """

    def __init__(self, images: ImageSet, asked: Testing, running: Running, published: bool):
        earlier = _earlier(running)
        fraction = asked.split_fraction
        if fraction is None:
            fraction = 1 if published or (earlier is not None and "test" not in earlier) else SELECTING
        self.selection, self.held_out, self.seed, self.fraction = images, None, asked.split_seed, fraction
        if fraction < 1:
            self.selection, held_out = images.split(fraction, asked.split_seed)
            begun = {} if earlier is None or "test" in earlier else earlier.get("data", {})
            # A run of the share alone was begun when a share was all that was read.
            if len(held_out) and begun.get("fingerprint") != self.selection.fingerprint:
                self.held_out = held_out
        draws = DRAWS if self.held_out is not None else 0
        self.null = draws if asked.null is None else asked.null
        self.permuted = asked.null_labels if self.held_out is not None else 0

    def identity(self):
        """What of it a result depends on; {} for a search without any, as searches were before there was one."""
        if self.held_out is None and not self.null:
            return {}
        facts: dict[str, object] = {"null": self.null, "null_labels": self.permuted, "seed": self.seed}
        if self.held_out is not None:
            facts |= {"split_fraction": self.fraction, "images": len(self.held_out)}
            facts["fingerprint"] = self.held_out.fingerprint
        return {"test": facts}

    @property
    def measured(self):
        """The images on which random masks are asked."""
        return self.selection if self.held_out is None else self.held_out


def _earlier(running):
    """Identity of the run that is to go on, or None."""
    if not running.resume or running.out is None or not (Path(running.out) / "run.json").is_file():
        return None
    return read_run(running.out).get("identity", {})


def permuted(images: ImageSet, seed: int, number: int) -> ImageSet:
    """The same images, whose labels are dealt out anew: as many of each class."""
    import numpy as np

    order = torch.from_numpy(np.random.default_rng([seed, number, len(images)]).permutation(len(images)))
    record = {name: value for name, value in dict(images.record).items() if name != "fingerprint"}
    record["source"] = f"{record.get('source') or record.get('root') or 'images'}, labels permuted ({number})"
    return ImageSet(
        images.images, images.labels[order], images.classes, images.paths, record=record, digests=images.digests
    )


def again(search: Callable, *groups: Options, **changes) -> Callable:
    """The same search of other images, without a test of its own: called with (model, images, **where)."""
    own = {name: value for group in groups for name, value in vars(replace(group)).items()}
    return lambda model, images, **where: search(
        model, images, **{**own, "split_fraction": 1, "null": 0, **changes, **where}
    )
