"""What removing frequencies one by one tells: a loss per candidate and class, and the dominant
frequencies."""

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from freqkit.errors import UsageError
from freqkit.files.reading import Number, in_range, shown
from freqkit.files.whole import read_run, write_csv, write_json
from freqkit.results.clean import CLEAN_COLUMNS, clean_columns
from freqkit.results.result import TensorFile
from freqkit.results.searched import Searched
from freqkit.results.tested import Tested

TIES = ("include", "exclude")
COLUMNS = (
    "class", "loss", "TPR", "FPR", "TPR-FPR", "coverage", "full", "power", "DC", "images", "unfiltered loss",
    *CLEAN_COLUMNS,
)  # fmt: skip
FORMAT = "freqkit-removal-1"


@dataclass
class RemovalResult(Searched):
    """Losses of C classes when each of K sets of bins ("candidates": a pair f, -f, or a cell) is removed.

    Attributes:
        classes: C names, those that have images.
        counts: int64 [C], search images of each class.
        owner: int64 [H, W], centred: the candidate whose score a bin has, -1 where no candidate has it.
        loss: float64 [K, C], class loss with the candidate removed; NaN where it was not scored. The mean over the
            class's images, or the published loss of a published preset (`freqkit.search.removal`).
        baseline: float64 [C], the same of unfiltered images.
        estimate: float64 [K, C], estimated increase of the loss (searcher "gradient"), or None.
        levels: shares of the H W bins at which dominant frequency maps (DFMs) are made.
        level: the one of them whose masks are `masks`.
        ties: "include" or "exclude", see `selected`.
        mask_loss, tpr, fpr: float64 [C], of each class's mask at `level` on the search images; the loss as in
            `loss`.
        tested: `freqkit.results.tested.Tested`, what held-out images say, and random masks; None without a test.
        record: what run.json holds: configuration, versions, fingerprints, and the cost.
        forwards, backwards: images that went through the model, and back.
        forward_equivalents: forwards + 2 backwards.
        seconds: wall time, over all sessions of a resumed run.
    """

    classes: list
    counts: torch.Tensor
    owner: torch.Tensor
    loss: torch.Tensor
    baseline: torch.Tensor
    estimate: torch.Tensor | None = None
    levels: tuple = (0.01, 0.05, 0.1, 0.2)
    level: float = 0.05
    ties: str = "include"
    mask_loss: torch.Tensor | None = None
    tpr: torch.Tensor | None = None
    fpr: torch.Tensor | None = None
    record: dict = field(default_factory=dict)
    tested: Tested | None = None

    FILE = TensorFile(
        FORMAT, "a file of a removal search",
        {
            "counts": "int64 C", "owner": "int64 H W", "loss": "float64 K C", "baseline": "float64 C",
            "mask_loss": "float64 C", "tpr": "float64 C", "fpr": "float64 C", "estimate?": "float64 K C",
        },
        {"classes": [str], "levels": [Number(1e-9, 1)], "level": Number(1e-9, 1), "ties": str},
        packed="beside",
    )  # fmt: skip
    COLUMNS = COLUMNS
    FIGURE = "plot_removal"

    @property
    def selection_loss(self):
        return self.mask_loss

    @property
    def masks(self):
        """float32 [C, H, W], the effective masks at `level`, centred."""
        return self.dfm(self.level).masks

    @property
    def increase(self):
        """float64 [K, C], by how much the class loss grows with the candidate removed: exact where scored,
        else the estimate, else NaN."""
        exact = self.loss - self.baseline
        return exact if self.estimate is None else torch.where(exact.isnan(), self.estimate, exact)

    def maps(self, which="loss", classes=None):
        """One value per bin: float64 [C, H, W], centred.

        Args:
            which: "loss", "increase" or "estimate". Bins without a candidate have 0 in "loss", as in the
                published files, and NaN in the others; bins not scored have NaN.
            classes: numbers of some of the classes; default all.
        """
        values = {"loss": self.loss, "increase": self.increase, "estimate": self.estimate}.get(which)
        if values is None:
            raise UsageError(f"maps: which must be 'loss', 'increase' or (with estimates) 'estimate'; got {which!r}.")
        if classes is not None:
            values = values[:, classes]
        planes = values.T[:, self.owner.clamp_min(0)]
        return torch.where(self.owner >= 0, planes, 0.0 if which == "loss" else math.nan)

    def selected(self, share, *, ties=None, classes=None):
        """The dominant bins: those whose removal costs the class most. Bool [C, H, W], centred, as
        thresholded (`dfm` makes them symmetric).

        k = int(share H W) bins are asked for. With ties="include" all bins at least as high as the k-th
        highest are kept, so that there may be more than k: a candidate's bins come together. With "exclude"
        those that tie across that line are all left out, so that there may be fewer. Exact scores go before
        estimates, whatever their values.

        Args:
            share: 0 < share <= 1.
            ties: "include" or "exclude"; default the result's.
            classes: numbers of some of the classes; default all.

        Raises:
            UsageError: the share is out of its range or so small that k is 0; `ties` is neither.

        Example:
            >>> import torch
            >>> owner = torch.tensor([[0, 1], [2, 3]])
            >>> loss = torch.tensor([[3.0], [1.0], [2.0], [2.0]], dtype=torch.float64)
            >>> result = RemovalResult(["a"], torch.ones(1), owner, loss, torch.zeros(1))
            >>> result.selected(0.5).int().tolist(), result.selected(0.5, ties="exclude").int().tolist()
            ([[[1, 0], [1, 1]]], [[[1, 0], [0, 0]]])
        """
        ties = self.ties if ties is None else ties
        if ties not in TIES:
            raise UsageError(f"selected: ties must be 'include' or 'exclude'; got {ties!r}.")
        wanted = bins_of(share, self.owner.shape)
        increase = self.increase.numpy()
        scored = ~torch.isnan(self.loss).numpy()
        some = range(len(self.classes)) if classes is None else classes
        area = np.bincount(self.owner[self.owner >= 0].numpy(), minlength=len(increase))
        kept = np.zeros((len(some), len(increase) + 1), bool)  # the last is for bins without a candidate
        for row, c in enumerate(some):
            known = np.flatnonzero(~np.isnan(increase[:, c]) & (area > 0))
            order = known[np.lexsort((-increase[known, c], ~scored[known, c]))]
            below = np.cumsum(area[order])
            last = min(int(np.searchsorted(below, wanted)), len(order) - 1)
            value, exact = increase[order[last], c], scored[order[last], c]
            tied = (increase[order, c] == value) & (scored[order, c] == exact)
            first, end = np.flatnonzero(tied)[[0, -1]]
            if wanted > below[-1] and ties == "include" and (self.owner < 0).any():
                kept[row] = True  # bins without a candidate have 0, as in `maps`, and now tie at the line
            elif ties == "exclude" and below[end] > wanted:
                kept[row, order[:first]] = True
            else:
                kept[row, order[: end + 1]] = True
        return torch.from_numpy(kept)[:, self.owner]

    def dfm(self, share=None):
        """The dominant frequency maps at a share of the bins, default `level`, as a `freqkit.masks.DfmFile`:
        the effective masks of `selected`."""
        from freqkit.masks import dfm_of_run, effective

        share = self.level if share is None else share
        identity = self.record.get("identity", {})
        extra = {"search": identity.get("search", "removal"), "share": share, "ties": self.ties}
        return dfm_of_run(effective(self.selected(share).float()), self.classes, self.record, extra=extra)

    def cells(self):
        """One line per class, of its mask at `level`: class, loss, TPR, FPR, TPR-FPR, coverage, full, power,
        DC, images, unfiltered loss; of whole images clean TPR, clean FPR, and of those recognised whole how many there
        are and the share still recognised. Rates and loss are of held-out images where there are such, the unfiltered
        loss is not; with a test also TPR-FPR where the map was selected, the highest of the class's random masks, p."""
        share = self.dfm(self.level).coverage
        *rates, counts = self.rated(self.mask_loss)
        return [
            self.classes, *rates, share.touched, share.full, share.power, share.dc, counts, self.baseline,
            *clean_columns(self.clean, len(self.classes)), *self.of_test(),
        ]  # fmt: skip

    def save(self, directory):
        """Write run.json, removal.safetensors, classes.csv, and for each level dfm-PERCENT.safetensors, each
        atomically."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        self.save_test(directory)
        self.save_summary(directory)
        write_json(directory / "run.json", {"format": "freqkit-run-1", **self.record})

    def save_summary(self, directory):
        """Write everything but run.json."""
        from freqkit.masks import save_dfm

        directory = Path(directory)
        self.FILE.write(directory / "removal.safetensors", vars(self))
        for level in self.levels:
            save_dfm(directory / dfm_name(level), self.dfm(level))
        write_csv(directory / "classes.csv", self.columns, self.table())

    @classmethod
    def load(cls, directory):
        """Read the directory of a finished search.

        Raises:
            UsageError: it is none, or the search has not finished.
        """
        directory = Path(directory)
        record = read_run(directory)
        path = directory / "removal.safetensors"
        if record.get("status") != "finished" or not path.is_file():
            raise UsageError(f"{directory}: holds no finished removal or gradient search.")
        values = cls.checked(cls.FILE.read(path), path)
        return cls(**values, record=record, tested=cls.load_test(directory, record, values["classes"]))

    @classmethod
    def checked(cls, values, path):
        in_range(values["counts"], 0, 2**53, path, "counts")
        in_range(values["owner"], -1, len(values["loss"]) - 1, path, "owner")
        for name in ("tpr", "fpr"):
            in_range(values[name][~values[name].isnan()], 0, 1, path, name)
        if values["ties"] not in TIES:
            raise UsageError(f"{path}: ties must be 'include' or 'exclude'; got {shown(values['ties'], 20)}.")
        ranked = ~cls(["?"], *(values[name] for name in ("counts", "owner", "loss", "baseline")),
                      values.get("estimate")).increase.isnan()  # fmt: skip
        if not (values["owner"] >= 0).any() or not ranked[values["owner"].unique().clamp_min(0)].any(0).all():
            raise UsageError(f"{path}: no candidate has a loss in one of the classes.")
        return values


def bins_of(share, size):
    """int(share H W), the number of bins that a share asks for; at least one."""
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share <= 1:
        raise UsageError(f"a share of the bins must be a number with 0 < share <= 1; got {share!r}.")
    # 0.29 * 100 is 28.999999999999996: rounding must not cost a bin.
    wanted = int(share * size[0] * size[1] + 1e-9)
    if wanted < 1:
        raise UsageError(f"a share of {share} is less than one of the {size[0] * size[1]} bins.")
    return wanted


def dfm_name(level):
    """File of the DFMs at a level.

    Example:
        >>> dfm_name(0.05)
        'dfm-5.safetensors'
    """
    return f"dfm-{100 * level:.10g}.safetensors"
