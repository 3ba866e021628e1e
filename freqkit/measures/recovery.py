"""How much of a planted set of frequencies a map has found again."""

from typing import NamedTuple

from freqkit.results.rows import shares, tidy


class Recovery(NamedTuple):
    """Precision and recall of kept bins against planted bins."""

    kept: int  # bins with a weight above the threshold
    planted: int
    found: int  # planted bins among the kept
    bins: int  # H * W

    @property
    def precision(self):
        """found / kept; NaN when nothing is kept."""
        return self.found / self.kept if self.kept else float("nan")

    @property
    def recall(self):
        """found / planted; NaN when nothing is planted."""
        return self.found / self.planted if self.planted else float("nan")

    @property
    def chance_precision(self):
        """The precision that keeping bins blindly would have: planted / bins."""
        return self.planted / self.bins

    @property
    def chance_recall(self):
        """The recall that a blind choice of as many bins would have: kept / bins, the coverage."""
        return self.kept / self.bins

    @property
    def enrichment(self):
        """recall / chance_recall, which is also precision / chance_precision: 1 is blind."""
        return self.recall / self.chance_recall if self.kept else float("nan")

    def rows(self, **fields):
        """Tidy rows of precision and recall with Wilson's intervals, and of the enrichment; see
        `freqkit.results.rows`.

        Args:
            fields: of all rows: `class`, model, set.
        """
        label, fields = [fields.pop("class", "")], {"condition": "all", **fields}
        found = shares(label, "precision", [self.found], [self.kept], **fields)
        found += shares(label, "recall", [self.found], [self.planted], **fields)
        enrichment = tidy(**{"class": label[0]}, metric="enrichment", value=self.enrichment, n=self.planted, **fields)
        return [*found, enrichment]


def recovery(kept, planted, *, threshold=0.0):
    """Compare a map with known, planted frequencies.

    Args:
        kept: effective mask, real or bool `[H, W]`, centred; kept is a bin with a weight above `threshold`.
        planted: bool `[H, W]`, centred, partners included.
        threshold: a weight, 0 by default: any touched bin counts.

    Returns:
        Recovery.

    Raises:
        ValueError: when the shapes differ or are not `[H, W]`.

    Example:
        >>> import torch
        >>> planted = torch.zeros(8, 8, dtype=torch.bool)
        >>> planted[5, 5] = planted[3, 3] = True
        >>> kept = torch.zeros(8, 8)
        >>> kept[5, 5] = kept[3, 3] = kept[4, 4] = kept[0, 0] = 1
        >>> found = recovery(kept, planted)
        >>> found.precision, found.recall, found.enrichment
        (0.5, 1.0, 16.0)
    """
    import torch

    kept, planted = torch.as_tensor(kept), torch.as_tensor(planted)
    if kept.shape != planted.shape or kept.ndim != 2:
        raise ValueError(
            f"recovery: kept and planted must have one shape [H, W]; got {list(kept.shape)} and {list(planted.shape)}."
        )
    touched = kept > threshold if kept.dtype != torch.bool else kept
    planted = planted != 0
    return Recovery(int(touched.sum()), int(planted.sum()), int((touched & planted).sum()), kept.numel())
