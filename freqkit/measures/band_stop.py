"""Band-stop test: which classes survive when bands of frequencies are removed, and what they are taken for.

Source: Wang, Veldhuis, Brune, Strisciuglio, ICCV 2023 (arXiv 2307.09829). Two of four bands are removed from every
test image, and

    Delta(i, j) = 100 (Pred_bandstop(i, j) - Pred_original(i, j)) / n_i

is the relative confusion matrix: the change, in percent of the n_i images of class i, of how many are called j.
"""

import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path

import torch

from freqkit.engine import Scorer
from freqkit.errors import UsageError
from freqkit.results.clean import CleanRates
from freqkit.results.files import RECORD
from freqkit.results.reading import COUNT, in_range, read_tensors

FORMAT = "freqkit-band-stop-1"
COLUMNS = ("removed", "class", "images", "clean TPR", "TPR", "change", "clean FPR", "FPR")


@dataclass
class BandStopResult:
    """Confusion matrices without a filter and with each choice of bands removed.

    Attributes:
        classes: C names, as the images have them.
        removed: P tuples of band numbers, from 1 (the lowest).
        edges: radii in cycles/image (of the shorter side) where bands 2, 3, ... begin.
        confusion: int64 [P + 1, C, L], counts [true, logit]; the first without a filter.
        class_index: int64 [C], the logit of each class.
        masks: float32 [P, H, W], centred: what was kept.
        definition, record: JSON-ready dicts.
    """

    classes: list
    removed: list
    edges: list
    confusion: torch.Tensor
    class_index: torch.Tensor
    masks: torch.Tensor
    definition: dict = field(default_factory=dict)
    record: dict = field(default_factory=dict)

    @property
    def counts(self):
        """int64 [C], images of each class."""
        return self.confusion[0].sum(1)

    @property
    def relative_confusion(self):
        """float64 [P, C, L], `100 (M_bandstop - M) / n_i`; NaN for a class without images."""
        return 100 * (self.confusion[1:] - self.confusion[0]).double() / self.counts[:, None]

    @property
    def tpr(self):
        """float64 [P + 1, C], share of each class's images that are recognised; the first without a filter."""
        return self._own / self.counts

    @property
    def fpr(self):
        """float64 [P + 1, C], share of the other images that are taken for the class."""
        taken = self.confusion.sum(1)[:, self.class_index].double()
        return (taken - self._own) / (self.counts.sum() - self.counts)

    @property
    def accuracy(self):
        """float64 [P + 1]."""
        return self._own.sum(1) / self.counts.sum()

    @property
    def clean(self):
        """`CleanRates` of the images without a filter."""
        return CleanRates.of_confusion(self.classes, self.confusion[0], self.class_index)

    @property
    def _own(self):
        return self.confusion[:, torch.arange(len(self.classes)), self.class_index].double()

    @property
    def names(self):
        """P strings, as "B1+B2"."""
        return ["+".join(f"B{band}" for band in bands) for bands in self.removed]

    def table(self):
        """One dict for each choice of bands and class: removed, class, images, clean TPR, TPR, change (percent points
        of TPR, the diagonal of the relative confusion matrix), clean FPR, FPR."""
        rows = []
        tpr, fpr, counts = self.tpr.tolist(), self.fpr.tolist(), self.counts.tolist()
        for p, name in enumerate(self.names, 1):
            for c, label in enumerate(self.classes):
                whole, left = tpr[0][c], tpr[p][c]
                values = (name, label, counts[c], whole, left, 100 * (left - whole), fpr[0][c], fpr[p][c])
                rows.append(dict(zip(COLUMNS, values, strict=True)))
        return rows

    def plot(self, *args, **kwargs):
        """The relative confusion matrices; see `freqkit.report.plot_band_stop`."""
        from freqkit.report import plot_band_stop

        return plot_band_stop(self, *args, **kwargs)

    def save(self, path):
        """Write one safetensors file, atomically, and beside it the table as .csv."""
        from freqkit.results.files import write_csv, write_safetensors

        path = Path(path)
        header = {
            name: json.dumps(getattr(self, name)) for name in ("classes", "removed", "edges", "definition", "record")
        }
        tensors = {name: getattr(self, name) for name in ("confusion", "class_index", "masks")}
        write_safetensors(path, tensors, {"format": FORMAT, **header})
        write_csv(path.with_suffix(".csv"), COLUMNS, self.table())

    @classmethod
    def load(cls, path):
        """Read what `save` wrote.

        Raises:
            UsageError: the file is no band-stop file.
        """
        facts = {
            "classes": [str], "removed": [[COUNT]], "edges": [float], "definition": dict, "record": RECORD,
        }  # fmt: skip
        tensors = {"confusion": "int64 all C L", "class_index": "int64 C", "masks": "any P H W"}
        tensors, about = read_tensors(
            path, "a band-stop file", format=FORMAT, tensors=tensors, facts=facts,
            sizes={"C": "classes", "P": "removed"},
        )  # fmt: skip
        confusion = tensors["confusion"]
        in_range(confusion, 0, 2**53, path, "confusion")
        in_range(tensors["class_index"], 0, confusion.shape[2] - 1, path, "class_index")
        images = confusion.sum(2)
        if len(confusion) != len(about["removed"]) + 1 or not (images == images[0]).all():
            raise UsageError(f"{path}: the tensor confusion must count the same images for each choice of bands.")
        about["removed"] = [tuple(bands) for bands in about["removed"]]
        return cls(**tensors, **about)


def band_stop(
    model,
    images,
    *,
    edges=None,
    remove=2,
    keep_dc=True,
    domain="normalised",
    class_index=None,
    batch_size="auto",
    device=None,
    dtype=None,
    memory=1 << 30,
    progress=None,
):
    """Ask the model about all images without a filter, and with every choice of bands removed.

    Band k holds the bins with edge_{k-1} <= r < edge_k, r the distance from DC in cycles/image (of the shorter side);
    the last reaches to the corner.

    Args:
        model: a `Classifier`. images: the test `ImageSet`.
        edges: rising radii where bands 2, 3, ... begin; default S/8, S/4, 3S/8 with S the shorter side: four bands, as
            those of `freqkit.data.synthetic`.
        remove: how many bands are removed at a time (all choices), or a list of tuples of band numbers from 1.
        keep_dc: the mean of each channel stays, also when the first band goes.
        domain, class_index, batch_size, device, dtype, memory: see `freqkit.engine.score`.
        progress: a `freqkit.engine.Progress`.

    Returns:
        `BandStopResult`; (P + 1) n forwards are on record.

    Raises:
        UsageError, TypeError, ValueError: an argument does not fit.

    Example:
        >>> from freqkit.data import synthetic
        >>> from freqkit.models import load_model
        >>> result = band_stop(load_model("small_convnet"), synthetic(images_per_class=2), batch_size=8)
        >>> result.names
        ['B1+B2', 'B1+B3', 'B1+B4', 'B2+B3', 'B2+B4', 'B3+B4']
        >>> tuple(result.relative_confusion.shape), float(result.relative_confusion.sum().abs()) < 1e-9
        ((6, 4, 4), True)
    """
    import freqkit
    from freqkit.masks import uncentred

    size = tuple(images.images.shape[-2:])
    edges = _edges(edges, size)
    removed = _choices(remove, len(edges) + 1)
    masks = stop_masks(size, edges, removed, keep_dc=keep_dc)
    scorer = Scorer(
        model, images, batch_size=batch_size, device=device, dtype=dtype, domain=domain, class_index=class_index,
        memory=memory, progress=progress,
    )  # fmt: skip
    classes, logits = len(scorer.classes), scorer.logits
    confusion = torch.zeros(len(removed) + 1, classes, logits, dtype=torch.int64)

    def count(names, where, answers):
        labels = scorer.labels[where.start : where.stop]
        for name, won in zip(names, answers, strict=True):
            found = torch.bincount(labels * logits + won, minlength=classes * logits)
            confusion[name] += found.view(classes, logits)

    everything = torch.cat([torch.ones(1, *size), uncentred(masks)])
    if progress is not None:
        progress.start("band-stop", scorer.forwards(len(everything)))
    try:
        scorer.answers(everything, count, progress=progress)
    finally:
        if progress is not None:
            progress.finish()
    definition = {
        "quantity": "relative confusion under band-stop filters",
        "edges": edges,
        "removed": [list(bands) for bands in removed],
        "keep_dc": bool(keep_dc),
        "domain": domain,
    }
    record = {
        "model": dict(model.record),
        "data": dict(images.record),
        "forwards": scorer.forwards(len(everything)),
        "versions": {"freqkit": freqkit.__version__, "torch": torch.__version__},
    }
    return BandStopResult(
        list(scorer.classes), removed, edges, confusion, torch.as_tensor(scorer.class_index).cpu().clone(), masks,
        definition, record,
    )  # fmt: skip


def stop_masks(size, edges, removed, *, keep_dc=True):
    """float32 [P, H, W], centred: 1 outside the bands of each tuple.

    Example:
        >>> masks = stop_masks((32, 32), [4, 8, 12], [(1, 2), (3, 4)], keep_dc=False)
        >>> bool((masks.sum(0) == 1).all())
        True
    """
    from freqkit.masks.shapes import radius

    r = radius(size)
    band = sum((r >= edge).to(torch.int64) for edge in edges) + 1
    masks = torch.stack([(~torch.isin(band, torch.tensor(bands))).to(torch.float32) for bands in removed])
    if keep_dc:
        masks[:, size[0] // 2, size[1] // 2] = 1
    return masks


def _edges(edges, size):
    shorter = min(size)
    if edges is None:
        return [shorter / 8, shorter / 4, 3 * shorter / 8]
    values = [float(edge) for edge in edges] if isinstance(edges, (list, tuple)) else []
    if not values or values[0] <= 0 or any(b <= a for a, b in itertools.pairwise(values)):
        raise UsageError(f"band_stop: edges must be rising positive radii; got {edges!r}.")
    if values[-1] > (size[0] ** 2 + size[1] ** 2) ** 0.5 / 2:
        raise UsageError(f"band_stop: edges must lie inside the plane of {size} images; got {values[-1]:g}.")
    return values


def _choices(remove, bands):
    if isinstance(remove, int) and not isinstance(remove, bool):
        if not 1 <= remove <= bands:
            raise UsageError(f"band_stop: remove must be 1..{bands}, the number of bands; got {remove}.")
        return list(itertools.combinations(range(1, bands + 1), remove))
    chosen = [tuple(one) if isinstance(one, (list, tuple)) else (one,) for one in remove or ()]
    good = all(type(b) is int and 1 <= b <= bands for one in chosen for b in one) and all(chosen)
    if not chosen or not good or len(set(chosen)) < len(chosen):
        raise UsageError(f"band_stop: remove must list distinct tuples of bands 1..{bands}; got {remove!r}.")
    return chosen
