"""Masks and losses as the pickles of the two published repositories; their tables: `freqkit.results.released_tables`.

What their code reads, in words. HFSS (CVPR 2025), masks: a dict from the number of a class, 0 to C - 1 without a gap,
to its masks [N, N], best first, centred, as drawn; a search takes ten as parents, an evaluation the first. Its losses:
a dict from number to the list of the lowest loss so far, candidate by candidate. DFM (ICCV 2023), masks and losses: a
dict from number to one array [N, N].

A pickle written here holds a dict, lists, numbers and arrays of numpy, and is read by numpy 1 and 2.
"""

import pickle
import re
from pathlib import Path

import numpy as np

from freqkit.errors import UsageError
from freqkit.files.pickles import PlainArray, load_plain
from freqkit.files.reading import shown
from freqkit.files.whole import atomic_write

KINDS = ("hfss", "hfss-loss", "dfm", "dfm-loss")


def export_pickle(source, path, kind, *, stage=None, classes=None):
    """Write a pickle that the released code reads.

    Args:
        source: directory of a search or of `freqkit dfm`, a stage file, or a file of maps.
        path: the pickle.
        kind: "hfss": the masks of each class, best first, as drawn, of a stage of a search; of other sources the one
            map of each. "hfss-loss": the lowest loss so far in a stage. "dfm": the map of each class. "dfm-loss": of
            `freqkit dfm`, the loss of each class without each frequency.
        stage: which stage of a search; default the last.
        classes: the names in the order of their numbers; default the source's own order.

    Returns:
        dict of facts: classes, masks of each, size.

    Raises:
        UsageError: the source has not what is asked for, or `classes` does not name what it holds.

    Example:
        >>> import os, tempfile, torch
        >>> from freqkit.masks import DfmFile, save_dfm
        >>> folder = tempfile.mkdtemp()
        >>> save_dfm(f"{folder}/maps.safetensors", DfmFile(torch.ones(2, 4, 4), ["cat", "dog"]))
        >>> export_pickle(f"{folder}/maps.safetensors", f"{folder}/maps.pkl", "dfm")
        {'classes': 2, 'each': 1, 'size': [4, 4]}
    """
    if kind not in KINDS:
        raise UsageError(f"export_pickle: kind must be one of {', '.join(KINDS)}; got {kind!r}.")
    found = stage_of(source, stage)
    if kind == "hfss-loss":
        if found is None:
            raise UsageError(f"{source}: losses of candidates are those of a search with stages.")
        names, values = found.scores.classes, found.curve.T.tolist()
    elif kind == "dfm-loss":
        names, values = _removal_losses(source)
    elif kind == "hfss" and found is not None:
        names, values = found.scores.classes, _as_drawn(found)
    else:
        names, maps = maps_of(source, stage)
        values = [one[None] if kind == "hfss" else one for one in maps.float().numpy()]
        values = [list(one) for one in values] if kind == "hfss" else values
    numbered = dict(sorted((number, values[place]) for place, number in enumerate(_numbers(names, classes, source))))
    with atomic_write(path) as file:
        file.write(_pickled(numbered))
    one = next(iter(numbered.values()))
    size = list(np.shape(one)[-2:]) if kind != "hfss-loss" else None
    return {"classes": len(numbered), "each": len(one) if isinstance(one, list) else 1, "size": size}


def maps_of(source, stage=None):
    """(names, effective masks [C, H, W]) of a search, of one of its stages, of `freqkit dfm`, or of a file of maps."""
    dfm = dfm_of(source, stage)
    return dfm.classes, dfm.masks


def dfm_of(source, stage=None):
    """The `DfmFile` of a file of maps, a run directory or a stage file.

    Args:
        source: path.
        stage: of a search with stages, which; default the last.

    Raises:
        UsageError: it is none of these, or has no such stage.
    """
    from freqkit.files.whole import read_run
    from freqkit.results.dfm_files import load_dfm
    from freqkit.results.load import load_result
    from freqkit.results.search_result import SearchResult

    found = stage_of(source, stage)
    if found is not None:
        record = read_run(source) if Path(source).is_dir() else {}
        return SearchResult.from_stages([found], record).dfm()
    if Path(source).is_dir():
        result = load_result(source)
        if not hasattr(result, "dfm"):
            raise UsageError(f"{source}: must be a search; it is of another kind.")
        return result.dfm()
    return load_dfm(source)


def stage_of(source, number=None):
    """A `StageResult` of a run directory (default the last) or a stage file; None where there are none.

    Raises:
        UsageError: there is no such stage.
    """
    from freqkit.results.search_result import StageResult

    source = Path(source)
    if source.is_dir():
        there = sorted(int(each.stem.removeprefix("stage-")) for each in source.glob("stage-*.safetensors"))
        if number is not None and number not in there:
            raise UsageError(f"{source}: the stages there are {', '.join(map(str, there)) or 'none'}; got {number}.")
        return StageResult.load(source / f"stage-{number or there[-1]}.safetensors") if there else None
    found = None
    if re.fullmatch(r"stage-\d+\.safetensors", source.name):
        found = StageResult.load(source)
    if number is not None and (found is None or found.number != number):
        raise UsageError(f"{source}: must hold stage {number}; it does not.")
    return found


def _as_drawn(stage):
    """For each class its masks float32 [H, W], best first, before they are made symmetric."""
    from freqkit.masks import effective, select, unpack

    masks, cell = select(stage.candidates, stage.ranks.flatten()), stage.candidates.cell
    if stage.candidates.symmetry == "hermitian":
        dense = effective(masks)
    else:
        dense = unpack(masks).repeat_interleave(cell[0], 1).repeat_interleave(cell[1], 2)
    dense = dense.float().numpy().reshape(*stage.ranks.shape, *stage.candidates.size)
    return [list(of_class) for of_class in dense]


def _removal_losses(source):
    from freqkit.results.load import load_result

    result = load_result(source)
    if not hasattr(result, "maps") or not hasattr(result, "owner"):
        raise UsageError(f"{source}: losses of removed frequencies are those of freqkit dfm.")
    losses = result.maps("loss").float().numpy()
    if np.isnan(losses).any():
        raise UsageError(f"{source}: some frequencies were estimated, not removed: they have no loss.")
    return result.classes, list(losses)


def _numbers(names, classes, source):
    """The number of each name, which together are 0 to C - 1, as the released code counts."""
    if classes is None:
        return list(range(len(names)))
    strange = [name for name in names if name not in classes]
    missing = [name for name in classes if name not in names]
    for which, words in ((strange, "does not name"), (missing, "names what is not there,")):
        if which:
            raise UsageError(f"{source}: classes must name each class once; it {words} {', '.join(which[:5])}.")
    return [classes.index(name) for name in names]


def _pickled(content):
    """Protocol 3, in which a function is a line of text: numpy 2 names one as numpy 1 does not know it."""
    own = f"c{np.ndarray.__reduce__(np.zeros(0))[0].__module__}\n_reconstruct\n".encode()
    return pickle.dumps(content, protocol=3).replace(own, b"cnumpy.core.multiarray\n_reconstruct\n", 1)


def read_losses(path):
    """Losses of a published pickle: of removed frequencies, or the lowest so far of candidates.

    Returns:
        dict from class (int or str) to a float64 array, [H, W] or [K].

    Raises:
        UsageError: the file holds anything else. Nothing in it is run.

    Example:
        >>> import os, pickle, tempfile, torch
        >>> file = os.path.join(tempfile.mkdtemp(), "loss.pkl")
        >>> with open(file, "wb") as f:
        ...     pickle.dump({0: [torch.tensor(2.0), torch.tensor(1.5)]}, f)
        >>> read_losses(file)[0].tolist()
        [2.0, 1.5]
    """
    content = load_plain(path, tensors=True)
    if not isinstance(content, dict) or not content:
        raise UsageError(f"{path} must hold a dict from class to losses; it does not.")
    found = {}
    for key, value in content.items():
        items = value if isinstance(value, (list, tuple)) else [value]
        items = [item.array if isinstance(item, PlainArray) else item for item in items]
        numbers = all(isinstance(item, (int, float, np.ndarray)) and not isinstance(item, bool) for item in items)
        if not items or not numbers or len({np.shape(item) for item in items}) > 1:
            raise UsageError(f"{path}: class {shown(key)} must hold losses, one array or a list of numbers.")
        with np.errstate(invalid="ignore"):
            array = np.asarray(items if isinstance(value, (list, tuple)) else items[0], dtype=np.float64)
        if array.ndim not in (1, 2) or not np.isfinite(array).all():
            raise UsageError(f"{path}: class {shown(key)} must hold finite losses [H, W] or [K]; got {array.shape}.")
        found[key] = array
    return found
