"""Published mask pickles: which class has which masks."""

from pathlib import Path

import numpy as np

from freqkit.errors import UsageError
from freqkit.files.pickles import PlainArray, load_plain
from freqkit.files.reading import shown

_WORDS = {
    int: "int", float: "float", str: "string", bytes: "bytes", bool: "bool", list: "list", tuple: "tuple",
    dict: "dict", type(None): "None", PlainArray: "array",
}  # fmt: skip


def read_pickle(path):
    """Masks of a published pickle: a dict from class to one mask or a list of masks.

    Args:
        path: a pickle file, any protocol, written by numpy 1 or 2. Keys: ints, numpy ints or strings. Values:
            real arrays or torch tensors `[H, W]` or `[n, H, W]`, or lists of `[H, W]` ones, all of one H and W.

    Returns:
        dict from class (int or str; ints ascending, strings in file order) to float32 array `[n, H, W]`, as
        stored.

    Raises:
        UsageError: the file holds anything else. Nothing in it is executed.
        FileNotFoundError: there is no such file.

    Example:
        >>> import os, pickle, tempfile, numpy as np
        >>> file = os.path.join(tempfile.mkdtemp(), "dfm.pkl")
        >>> with open(file, "wb") as f:
        ...     pickle.dump({1: np.ones((4, 4)), 0: [np.zeros((4, 4)), np.ones((4, 4))]}, f)
        >>> {k: v.shape for k, v in read_pickle(file).items()}
        {0: (2, 4, 4), 1: (1, 4, 4)}
    """
    content = load_plain(path, tensors=True)
    if not isinstance(content, dict) or not content:
        kind = "an empty dict" if isinstance(content, dict) else _describe([content])
        raise UsageError(f"{path} must hold a dict from class to mask or list of masks; got {kind}.")
    # One array may stand in many places, so that a small file describes more than any memory holds.
    parts = [item for value in content.values() for item in (value if isinstance(value, (list, tuple)) else [value])]
    arrays = [part.array for part in parts if isinstance(part, PlainArray) and part.array is not None]
    if sum(array.size for array in arrays) > max(4 * Path(path).stat().st_size, 1 << 24):
        raise UsageError(f"{path}: holds the same masks again and again, more than four times what the file has.")
    masks = {_class(key, path): _masks(value, key, path) for key, value in content.items()}
    sizes = sorted({value.shape[1:] for value in masks.values()})
    if len(sizes) > 1:
        raise UsageError(f"{path} must hold masks of one size; got {sizes}.")
    kinds = {type(key) for key in masks}
    if len(kinds) > 1 or len(masks) != len(content):
        some = ", ".join(map(shown, list(content)[:5]))
        raise UsageError(f"{path} must name each class once, all by ints or all by strings; got {some}.")
    return dict(sorted(masks.items())) if kinds == {int} else masks


def _class(key, path):
    if isinstance(key, bool) or not isinstance(key, (int, str)):
        raise UsageError(f"{path}: a class must be an int or a string; got {shown(key)}.")
    return key


def _masks(value, key, path):
    items = list(value) if isinstance(value, (list, tuple)) else [value]
    arrays = [item.array if isinstance(item, PlainArray) else None for item in items]
    if not arrays or any(array is None for array in arrays):
        raise UsageError(f"{path}: class {shown(key)} must hold an array or a list of arrays; got {_describe(items)}.")
    if len(arrays) == 1 and arrays[0].ndim == 3:
        stacked = arrays[0]
    elif all(array.ndim == 2 and array.shape == arrays[0].shape for array in arrays):
        stacked = np.stack(arrays)
    else:
        raise UsageError(
            f"{path}: class {shown(key)} must hold masks [H, W] of one size; got {[a.shape for a in arrays][:5]}."
        )
    with np.errstate(over="ignore"):
        stacked = np.ascontiguousarray(stacked, dtype=np.float32)
    if 0 in stacked.shape or not np.isfinite(stacked).all():
        raise UsageError(f"{path}: class {shown(key)} must hold finite, non-empty masks; got shape {stacked.shape}.")
    return stacked


def _describe(items):
    return ", ".join(_WORDS.get(type(item), "something else") for item in items[:3]) or "an empty list"
