"""Files of dominant frequency maps (DFMs): one effective mask per class, with where it comes from."""

import json
import shlex
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from freqkit import __version__
from freqkit.errors import MissingFile, UsageError
from freqkit.files.reading import COUNT, Number, fit, parse_json, read_tensors, shown
from freqkit.files.whole import write_safetensors
from freqkit.masks.symmetry import coverage, effective, partner
from freqkit.report import planes
from freqkit.report.dfms import dfm_maps, one_dfm
from freqkit.results import rows
from freqkit.results.result import Result
from freqkit.text import composed, plain_line

FORMAT = "freqkit-dfm-1"
READING = ("resize", "resized_side", "limit_per_class", "split_fraction", "seed", "subset")  # of an image set's record
_IMAGES = {  # `DfmFile.images`
    "image_size?": ([range(1, 1 << 16)], COUNT, None), "resize?": (str, None), "resized_side?": (COUNT, None),
    "limit_per_class?": (COUNT, None), "split_fraction?": (Number(0, 1), None), "seed?": (COUNT, None),
}  # fmt: skip


@dataclass
class DfmFile(Result):
    """Dominant frequency maps, one per class.

    Attributes:
        masks: float32 `[C, H, W]`, effective masks with weights in [0, 1], centred (DC at `[H//2, W//2]`).
        classes: C names.
        preset: which rules made them ("default", "cvpr2025", "imported", ...).
        stage: stage of the search they come from, or None.
        seed: seed of the search, or None.
        model_hash, data_hash: fingerprints of the weights and of the images, or None.
        extra: whatever else belongs on record; must be JSON.
        freqkit_version: the version that wrote the file.
        images: dict, how the images of the search were read and chosen (`image_size`, `resize`, `limit_per_class`,
            `split_fraction`, `seed`, `subset`, as far as they apply); {} in files that do not tell.
    """

    masks: Tensor
    classes: list
    preset: str = "default"
    stage: int | None = None
    seed: int | None = None
    model_hash: str | None = None
    data_hash: str | None = None
    extra: dict = field(default_factory=dict)
    freqkit_version: str = __version__
    images: dict = field(default_factory=dict)

    COLUMNS = ("class", "coverage", "full", "power", "DC")
    FIGURE = "plot_dfm"
    MAIN = ("highest", "coverage")

    def __len__(self):
        return len(self.classes)

    @property
    def coverage(self):
        """`freqkit.masks.Coverage` of the masks, float64 `[C]` each."""
        return coverage(self.masks)

    def __getitem__(self, name):
        """The mask `[H, W]` of one class, by name or number."""
        if isinstance(name, str):
            if name not in self.classes:
                raise KeyError(f"class {name!r} is not in the file; it holds {self.classes[:10]}")
            name = self.classes.index(name)
        return self.masks[name]

    def about(self):
        return [self.preset, f"{len(self)} maps of {self.masks.shape[1]}x{self.masks.shape[2]}"]

    def cells(self):
        """One line per class: class, share of bins touched and at full weight, mean of m², weight of DC."""
        share = self.coverage
        return [self.classes, share.touched, share.full, share.power, share.dc]

    def rows(self):
        searcher = self.extra.get("search")
        about = {"condition": "all", "searcher": searcher if isinstance(searcher, str) else None}
        about |= {"seed": self.seed, "step": self.stage}
        named = zip(self.columns[1:], self.cells()[1:], strict=True)
        return [row for metric, values in named for row in rows.values(self.classes, metric, values, **about)]

    def save(self, path):
        """`save_dfm` of it."""
        save_dfm(path, self)

    @classmethod
    def load(cls, path):
        """`load_dfm` of a file."""
        return load_dfm(path)


def dfm_of_run(masks, classes, record, **facts):
    """A `DfmFile` of what a run found, with what the run's record (run.json) says of it.

    Args:
        masks, classes: as in `DfmFile`.
        record: dict; of it `identity` (preset, seed, model, data) and `data` are read, all optional.
        facts: further attributes of the file.

    Example:
        >>> data = {"fingerprint": "ab", "size": [8, 8], "resize": "squash", "images": 2}
        >>> dfm = dfm_of_run(torch.ones(1, 8, 8), ["cat"], {"identity": {"seed": 3, "data": data}, "data": data})
        >>> dfm.seed, dfm.data_hash, dfm.images
        (3, 'ab', {'image_size': [8, 8], 'resize': 'squash'})
    """
    identity, data = record.get("identity", {}), record.get("data", {})
    chosen = data.get("limit_per_class") is not None or data.get("split_fraction") is not None
    keys = [key for key in READING if chosen or key != "seed"]
    images = {"image_size": data.get("size"), **{key: data.get(key) for key in keys}}
    return DfmFile(
        masks,
        classes,
        preset=identity.get("preset", "default"),
        seed=identity.get("seed"),
        model_hash=identity.get("model", {}).get("state_sha256"),
        data_hash=identity.get("data", {}).get("fingerprint"),
        images={key: value for key, value in images.items() if value is not None},
        **facts,
    )


def save_dfm(path, dfm):
    """Write a `DfmFile` as safetensors, atomically.

    The file holds one tensor, "masks", and the other attributes as JSON strings in the header, with the
    coverage of each class, the layout ("centred") and the format name, so that any safetensors reader can use
    it.

    Args:
        path: file to write; its folder must exist.
        dfm: `DfmFile`.

    Raises:
        UsageError: the masks are not `[C, H, W]`, not finite, outside [0, 1], not symmetric, or do not fit
            the classes.

    Example:
        >>> import os, tempfile, torch
        >>> file = os.path.join(tempfile.mkdtemp(), "dfm.safetensors")
        >>> save_dfm(file, DfmFile(torch.ones(2, 4, 4), ["cat", "dog"], stage=1, seed=0))
        >>> load_dfm(file).classes
        ['cat', 'dog']
    """
    _check(dfm, f"save_dfm to {path}")
    shares = dfm.coverage
    metadata = {
        "format": FORMAT,
        "layout": "centred",
        "freqkit_version": __version__,
        "classes": list(dfm.classes),
        "preset": dfm.preset,
        "stage": dfm.stage,
        "seed": dfm.seed,
        "model_hash": dfm.model_hash,
        "data_hash": dfm.data_hash,
        "coverage": {name: values.tolist() for name, values in shares._asdict().items()},
        "extra": dfm.extra,
        "images": dfm.images or None,
    }
    header = {
        name: value if isinstance(value, str) else json.dumps(value, allow_nan=False)
        for name, value in metadata.items()
        if value is not None
    }
    write_safetensors(path, {"masks": dfm.masks.to(torch.float32)}, header)


def load_dfm(path):
    """Read a `DfmFile`, and check it.

    Raises:
        FileNotFoundError: there is no such file.
        UsageError: it is not a DFM file, or what it holds breaks the rules of `save_dfm`.

    Example:
        See `save_dfm`.
    """
    path = Path(path)
    if not path.is_file() and not path.is_dir():
        raise MissingFile(f"there is no DFM file {path}")
    words = shlex.join(["freqkit", "masks", "import", str(path), "--out", str(path.with_suffix(".safetensors"))])
    hint = f" (a published pickle? {words} reads it)" if path.suffix in (".pkl", ".pickle") else ""
    tensors, header = read_tensors(path, "a DFM file", hint=hint)
    if header.get("format") != FORMAT or "masks" not in tensors:
        raise UsageError(
            f"{path} must be of format {FORMAT!r} with a tensor 'masks'; got {shown(header.get('format'), 40)} with "
            f"{plain_line(', '.join(sorted(tensors)), 80)}."
        )
    if header.get("layout") != "centred":
        raise UsageError(f"{path} must have layout 'centred'; got {shown(header.get('layout'), 40)}.")
    masks = tensors["masks"]
    values = {
        name: parse_json(header[name], f"{path} has a damaged header, {name}")
        for name in ("classes", "stage", "seed", "extra", "images")
        if name in header
    }
    fit(values.get("images", {}), _IMAGES, path, "images in its header")
    dfm = DfmFile(
        masks,
        values.get("classes"),
        header.get("preset", "default"),
        values.get("stage"),
        values.get("seed"),
        header.get("model_hash"),
        header.get("data_hash"),
        values.get("extra", {}),
        header.get("freqkit_version", "unknown"),
        values.get("images", {}),
    )
    if isinstance(dfm.classes, list) and all(isinstance(name, str) for name in dfm.classes):
        # As class folders are read, however a file system spells them: maps and images shall meet.
        dfm.classes = [composed(name) for name in dfm.classes]
    _check(dfm, str(path))
    return dfm


def import_pickle(path, *, classes=None, rank=0, level=None):
    """A `DfmFile` from a published pickle: dict class -> centred mask, or list of them, best first.

    Published masks are not symmetric; what is kept is their effective mask, which filters real images alike.
    Nothing in the file is executed (see `freqkit.masks.read_pickle`).

    Args:
        path: the pickle.
        classes: names in the order of the file's classes, or a dict from its keys to names; default: its keys
            as strings.
        rank: which mask of a list, 0 for the best.
        level: of a pickle of losses without each frequency: the share of the bins to keep, those of largest loss, ties
            included, as the released code does. None: the pickle holds masks.

    Returns:
        `DfmFile` with preset "imported"; `extra` records the file name, the rank, the keys, and whether
        the masks were symmetric as stored.

    Raises:
        UsageError: the file holds anything but masks with weights in [0, 1], or `classes` or `rank` do not
            fit.

    Example:
        >>> import os, pickle, tempfile, numpy as np
        >>> file = os.path.join(tempfile.mkdtemp(), "dfm.pkl")
        >>> with open(file, "wb") as f:
        ...     pickle.dump({0: np.eye(4), 1: np.ones((4, 4))}, f)
        >>> import_pickle(file, classes=["cat", "dog"]).classes
        ['cat', 'dog']
    """
    from freqkit.results.mask_pickles import read_pickle

    content = read_pickle(path)
    if classes is None:
        names = [str(key) for key in content]
    elif isinstance(classes, dict):
        absent = [key for key in content if key not in classes]
        if absent:
            raise UsageError(f"import_pickle: classes must name every class of {path}; missing {absent[:5]}.")
        names = [str(classes[key]) for key in content]
    else:
        names = [str(name) for name in classes]
        if len(names) != len(content):
            raise UsageError(f"import_pickle: classes must hold {len(content)} names for {path}; got {len(names)}.")
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 0:
        raise UsageError(f"import_pickle: rank must be an int of at least 0; got {rank!r}.")
    short = [key for key, masks in content.items() if len(masks) <= rank]
    if short:
        raise UsageError(f"import_pickle: rank {rank} must exist for every class of {path}; missing for {short[:5]}.")
    stored = torch.stack([torch.from_numpy(masks[rank]) for masks in content.values()])
    if level is None and not ((stored >= 0) & (stored <= 1)).all():
        raise UsageError(
            f"import_pickle of {path}: masks must have weights in [0, 1]; if these are losses, give a level (--level"
            " 0.05), the share of the bins to keep."
        )
    if level is not None:
        from freqkit.results.removal_result import bins_of

        flat = stored.flatten(1)
        stored = (flat >= flat.topk(bins_of(level, stored.shape[1:])).values[:, -1:]).view(stored.shape).float()
    extra = {"source": Path(path).name, "rank": rank, "keys": list(content)} | ({"share": level} if level else {})
    extra["symmetric_as_stored"] = bool((stored == partner(stored)).all())
    dfm = DfmFile(effective(stored), names, preset="imported", extra=extra)
    _check(dfm, f"import_pickle of {path}")
    return dfm


def _check(dfm, name):
    masks, classes = dfm.masks, dfm.classes
    if not isinstance(masks, Tensor) or not masks.is_floating_point():
        raise UsageError(f"{name}: masks must be a float tensor; got {getattr(masks, 'dtype', shown(masks))}.")
    if masks.dim() != 3 or 0 in masks.shape:
        raise UsageError(f"{name}: masks must have shape [C, H, W], none of them 0; got {list(masks.shape)}.")
    if not isinstance(classes, (list, tuple)) or not all(isinstance(item, str) for item in classes):
        raise UsageError(f"{name}: classes must be a list of strings; got {_kind(classes)}.")
    if len(classes) != masks.shape[0] or len(set(classes)) != len(classes):
        raise UsageError(
            f"{name}: classes must name each of the {masks.shape[0]} masks once; "
            f"got {len(classes)} names, {len(set(classes))} of them distinct."
        )
    if not torch.isfinite(masks).all() or masks.min() < 0 or masks.max() > 1:
        raise UsageError(f"{name}: masks must have finite weights in [0, 1].")
    if not torch.equal(masks, partner(masks)):
        raise UsageError(
            f"{name}: masks must be effective masks, equal at f and -f; apply freqkit.masks.effective first."
        )
    for label, value in (("stage", dfm.stage), ("seed", dfm.seed)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise UsageError(f"{name}: {label} must be an int or None; got {shown(value)}.")
    for label, value in (
        ("preset", dfm.preset),
        ("model_hash", dfm.model_hash),
        ("data_hash", dfm.data_hash),
    ):
        if not isinstance(value, str) and not (value is None and label != "preset"):
            raise UsageError(f"{name}: {label} must be a string; got {shown(value)}.")
    for label, value in (("extra", dfm.extra), ("images", dfm.images)):
        if not isinstance(value, dict):
            raise UsageError(f"{name}: {label} must be a dict; got {type(value).__name__}.")


def _kind(classes):
    if not isinstance(classes, (list, tuple)):
        return shown(classes)
    return "a list with " + next(shown(item) for item in classes if not isinstance(item, str))


def plot_dfm(dfm, ax=None, *, of=None, planted=None, title=None):
    """The maps of a file, with the share of the frequencies that each keeps.

    Args:
        dfm: a `freqkit.masks.DfmFile`.
        ax: a matplotlib axis for the map of one class; None: a figure of all classes.
        of: with `ax`, the class, by name or number; default the first.
        planted: optional dict class name -> bool `[H, W]`, centred: known bins to outline.
        title: a line above the maps.

    Returns:
        A matplotlib Figure, or `ax`.
    """
    if ax is not None:
        index = planes.index_of(dfm.classes, of)
        return one_dfm(ax, dfm.masks[index], dfm.classes[index], planted=planted)
    kept = dfm.coverage.touched.tolist()
    words = f"{100 * min(kept):.1f} to {100 * max(kept):.1f}% of the frequencies kept" if kept else None
    return dfm_maps(dfm.masks, dfm.classes, planted=planted, title=title or words)
