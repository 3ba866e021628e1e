"""State dicts: read without running code, matched key by key, written as safetensors."""

import hashlib
import pickle
from pathlib import Path

import torch

from freqkit.errors import UsageError
from freqkit.files.pickles import check_checkpoint
from freqkit.files.reading import read_tensors, reading, shown
from freqkit.files.whole import atomic_write
from freqkit.text import plain_line

# Where training scripts put the weights inside a checkpoint, and what wrappers put before each key.
ENTRIES = ("state_dict", "model", "model_state_dict", "model_state", "net", "network", "weights")
PREFIXES = ("module.", "_orig_mod.", "model.", "network.")


def read_state_dict(path, *, entry=None):
    """Read tensors from a safetensors file or a torch checkpoint; no code in the file is ever run.

    Args:
        path: a safetensors file, or a file of `torch.save` (opened with `weights_only=True`); told apart by
        content.
        entry: name of the entry that holds the weights in a checkpoint of several. By default the file itself
            when it is a plain state dict, else the only one of `state_dict`, `model`, `model_state_dict`,
            ... An averaged copy (`state_dict_ema`, `model_ema`, ...) is used only when named here.

    Returns:
        (dict of key -> tensor on the CPU, facts): `facts` holds file, sha256, format, entry, other_entries.

    Raises:
        UsageError: no such file, not a weights file, Python objects besides tensors, no or several
            candidates.

    Example:
        >>> import tempfile, pathlib, torch
        >>> from freqkit.models import read_state_dict
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "w.pth"
        >>> torch.save({"epoch": 3, "state_dict": {"weight": torch.zeros(2)}}, path)
        >>> state, facts = read_state_dict(path)
        >>> list(state), facts["entry"]
        (['weight'], 'state_dict')
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"weights: {str(path)!r} is not a file.")
    with reading(path, "weights: a safetensors file or a checkpoint of torch"), open(path, "rb") as file:
        head = file.read(9)
    facts = {"file": path.name, "sha256": file_sha256(path)}
    if head[8:9] == b"{":
        if entry is not None:
            raise UsageError(f"weights: {path.name!r} is a safetensors file and has no entries; got entry {entry!r}.")
        state, _ = read_tensors(path, "weights: a safetensors file")
        return state, {**facts, "format": "safetensors", "entry": None, "other_entries": []}

    try:
        check_checkpoint(path)
    except UsageError as error:
        raise UsageError(
            f"weights: {path.name!r} was refused because it is not a plain file of tensors "
            f"({_first_line(error)}); save its state dict alone, best as safetensors."
        ) from error
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # torch's advice, to switch its checks off, is not ours
        raise UsageError(
            f"weights: {path.name!r} was refused because it holds other things than tensors and plain values; "
            "save its state dict alone, best as safetensors."
        ) from error
    except Exception as error:
        # torch reports a damaged archive as RuntimeError, EOFError, OSError or KeyError according to where
        # it broke.
        raise UsageError(
            f"weights: {path.name!r} is not a readable weights file ({plain_line(_first_line(error), 200)})."
        ) from error
    state, chosen, others = _choose_entry(loaded, entry, path.name)
    return state, {**facts, "format": "torch", "entry": chosen, "other_entries": others}


def _choose_entry(loaded, entry, file):
    if not isinstance(loaded, dict):
        raise UsageError(f"weights: {file!r} must hold a dict of tensors; it holds {shown(loaded)}.")
    if entry is not None:
        if entry not in loaded or not _is_state_dict(loaded[entry]):
            raise UsageError(
                f"weights: {file!r} has no state dict under entry {entry!r}; its entries are {_some(loaded)}."
            )
        return dict(loaded[entry]), entry, [str(key) for key in loaded if key != entry]
    if _is_state_dict(loaded):
        return dict(loaded), None, []
    found = [name for name in ENTRIES if name in loaded and _is_state_dict(loaded[name])]
    if len(found) == 1:
        return dict(loaded[found[0]]), found[0], [str(key) for key in loaded if key != found[0]]
    what = f"several candidate entries ({_some(found)})" if found else f"only the entries {_some(loaded)}"
    raise UsageError(f"weights: {file!r} has {what}; name the one that holds the weights (entry).")


def _is_state_dict(value):
    return (
        isinstance(value, dict)
        and len(value) > 0
        and all(isinstance(key, str) and _is_plain_tensor(item) for key, item in value.items())
    )


def _is_plain_tensor(value):
    return (
        isinstance(value, torch.Tensor)
        and value.layout == torch.strided
        and not value.is_quantized
        and value.device.type == "cpu"
    )


def load_state(network, state, *, allow_missing=False, allow_unexpected=False, what="weights"):
    """Copy `state` into `network`, every key accounted for.

    A prefix that every key carries and the network does not know (`module.`, `_orig_mod.`, `model.`,
    `network.`) is stripped. A tensor of another shape counts as unexpected *and* missing: it is left out
    only when both are allowed. BatchNorm's `num_batches_tracked` may be absent, as in files of torch <
    0.4.1: it does not act on the logits.

    Returns:
        dict of facts: prefix_stripped, missing, unexpected, other_shape (lists of keys).
    """
    own = network.state_dict()
    stripped = ""
    while True:
        prefix = next((p for p in PREFIXES if state and all(key.startswith(p) for key in state)), None)
        if prefix is None or any(key.startswith(prefix) for key in own):
            break
        state = {key.removeprefix(prefix): value for key, value in state.items()}
        stripped += prefix

    shapes = [key for key in own if key in state and own[key].shape != state[key].shape]
    missing = [key for key in own if key not in state and not key.endswith(".num_batches_tracked")]
    unexpected = [key for key in state if key not in own]
    problems = []
    if missing and not allow_missing:
        problems.append(f"{len(missing)} missing ({_some(missing)})")
    if unexpected and not allow_unexpected:
        problems.append(f"{len(unexpected)} unexpected ({_some(unexpected)})")
    if shapes and not (allow_missing and allow_unexpected):
        shown = [f"{key} {list(state[key].shape)} for {list(own[key].shape)}" for key in shapes[:3]]
        more = ", ..." if len(shapes) > 3 else ""
        problems.append(f"{len(shapes)} of another shape ({', '.join(shown)}{more})")
    if problems:
        heads = {(len(state[key]), len(own[key])) for key in shapes if state[key].ndim and own[key].ndim}
        hint = ""
        if len(heads) == 1 and not missing and not unexpected:
            logits = next(iter(heads))[0]
            hint = f"If the file is of a network with {logits} logits, give num_classes={logits}. "
        raise UsageError(
            f"{what}: the keys do not fit the network's {len(own)}: {'; '.join(problems)}. {hint}"
            "Allow them explicitly (allow_missing, allow_unexpected) if that is meant."
        )
    fitting = {key: value for key, value in state.items() if key in own and key not in shapes}
    if not fitting:
        raise UsageError(f"{what}: not one key fits the network; the file has {_some(state)}.")
    network.load_state_dict(fitting, strict=False)
    return {
        "prefix_stripped": stripped,
        "missing": missing,
        "unexpected": unexpected,
        "other_shape": shapes,
    }


def save_weights(model, path):
    """Write the network's state dict as safetensors, atomically.

    Args:
        model: a `Classifier` (its `.network` is written: normalisation is not part of it) or any module.
        path: file to write; its folder must exist.

    Example:
        >>> import tempfile, pathlib
        >>> from freqkit.models import load_model, save_weights
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "small.safetensors"
        >>> save_weights(load_model("small_convnet", num_classes=4), path)
        >>> load_model("small_convnet", num_classes=4, weights=path).record["weights"]["file"]
        'small.safetensors'
    """
    from safetensors.torch import save

    network = getattr(model, "network", model)
    # Cloned: safetensors refuses tensors that share memory (tied weights).
    state = {key: value.detach().cpu().contiguous().clone() for key, value in network.state_dict().items()}
    with atomic_write(path) as file:
        file.write(save(state, metadata={"format": "pt"}))


def state_sha256(network):
    """SHA-256 over keys (sorted), dtypes, shapes and bytes of a module's state dict."""
    digest = hashlib.sha256()
    for key, value in sorted(network.state_dict().items()):
        value = value.detach().cpu().contiguous()
        digest.update(f"{key}|{value.dtype}|{tuple(value.shape)}|".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def file_sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _some(keys, limit=4):
    keys = list(keys)
    return ", ".join(plain_line(key, 60) for key in keys[:limit]) + (", ..." if len(keys) > limit else "")


def _first_line(error):
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
