"""Parents of a search that begins at a later stage: masks of another run, a file of maps, a published pickle."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch

from freqkit.errors import UsageError
from freqkit.masks import concat, effective, pack, select
from freqkit.results import StageResult
from freqkit.results.mask_pickles import read_pickle
from freqkit.results.released import dfm_of, stage_of


def parents_of(source: str | Path, images, stage: int, symmetry: str) -> tuple[StageResult, str]:
    """What stands for the stage before the first one, and a fingerprint of its masks.

    Args:
        source: directory of a search (its stage `stage` - 1), a stage file, a file of maps (one parent for each class),
            or a published pickle, whose numbers count the classes of the images.
        images: those that will be searched.
        stage: the first that will be run.
        symmetry: "hermitian" or "average" (the published masks), see `freqkit.ops.BitMasks`. Masks of the other kind
            are taken by the bins that they touch; as "average" they must be binary.

    Returns:
        (`StageResult` without scores, str)

    Raises:
        UsageError: the source is none of these, or has no masks for a class, or they are of another size.
    """
    size = tuple(images.images.shape[-2:])
    present = torch.bincount(images.labels, minlength=len(images.classes)).nonzero().flatten().tolist()
    searched = [images.classes[c] for c in present]
    path = Path(source)
    if not path.exists():
        raise UsageError(f"hfss: parents_from must be a file or a run directory; {path} is not there.")
    found = stage_of(path, stage - 1 if path.is_dir() else None)
    if path.suffix in (".pkl", ".pickle"):
        content = read_pickle(path)
        keys = list(content)
        names = [images.classes[key] if key in range(len(images.classes)) else str(key) for key in keys]
        each = min(map(len, content.values()))
        drawn = torch.stack([torch.from_numpy(content[key][:each]) for key in keys])
    elif found is not None and found.candidates.symmetry == symmetry:
        names, drawn = list(found.scores.classes), None
    elif found is not None:
        names = list(found.scores.classes)
        drawn = torch.stack([effective(select(found.candidates, row)) for row in found.ranks])
    else:
        dfm = dfm_of(path)
        names, drawn = list(dfm.classes), dfm.masks[:, None]
    missing = [name for name in searched if name not in names]
    if missing:
        raise UsageError(f"hfss: parents_from must have a mask for every class; {path} has none of {_few(missing)}.")
    order = [names.index(name) for name in searched]
    if drawn is None:
        masks = concat([select(found.candidates, found.ranks[place]) for place in order])
        each = found.ranks.shape[1]
    else:
        masks, each = _packed(drawn[order], path, symmetry), drawn.shape[1]
    if tuple(masks.size) != size:
        raise UsageError(f"hfss: parents_from must hold masks of the images' size {size}; got {tuple(masks.size)}.")
    ranks = torch.arange(len(searched) * each).view(len(searched), each)
    digest = hashlib.sha256(repr((masks.cell, masks.size, masks.symmetry, searched, each)).encode())
    digest.update(masks.bits.contiguous().numpy().tobytes())
    scores, born = None, torch.full((len(searched) * each,), stage - 1)
    return StageResult(stage - 1, masks, scores, ranks, born), digest.hexdigest()


def _packed(drawn, path, symmetry):
    """`BitMasks` of single bins, of masks [C, n, H, W] with weights in [0, 1]."""
    masks = drawn.flatten(0, 1)
    if symmetry == "hermitian":
        masks = effective(masks) > 0
    elif not ((masks == 0) | (masks == 1)).all():
        raise UsageError(
            f"hfss: parents_from must hold masks of weights 0 and 1 with the published preset; {path} has others (the "
            "stage file of that search holds its masks as drawn)."
        )
    return pack(masks.bool(), cell=(1, 1), size=tuple(masks.shape[1:]), symmetry=symmetry)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5])
