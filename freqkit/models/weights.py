"""State dicts: read without running code, matched key by key, written as safetensors."""

import hashlib
import warnings
import zipfile
from pathlib import Path

import torch

from freqkit.errors import UsageError
from freqkit.files.pickles import Mentioned, StoredTensor, read_checkpoint
from freqkit.files.reading import file_sha256, read_json, read_tensors, reading, shown
from freqkit.files.whole import atomic_write
from freqkit.text import plain_line

# Where training scripts put the weights inside a checkpoint.
ENTRIES = ("state_dict", "model", "model_state_dict", "model_state", "net", "network", "weights", "module")
# What wrappers and training modules put before each key.
PREFIXES = ("module.", "_orig_mod.", "model.", "network.", "net.", "backbone_model.", "backbone.", "_forward_module.")
# Weights of a Hugging Face folder: one file, or an index of several.
FOLDER = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
EXPORT = "in the program that made it, torch.save(net.state_dict(), 'weights.pth') writes what can be read"


class ModelWarning(UserWarning):
    """A model may not be what it was meant to be."""


def read_state_dict(path, *, entry=None):
    """Read tensors from a safetensors file, a torch checkpoint or a Hugging Face folder; no code in it is ever run.

    Args:
        path: a safetensors file, or a file of `torch.save` (a state dict, or a checkpoint of timm's `train.py`, of
            Lightning, ...; see `freqkit.files.pickles.read_checkpoint`), told apart by content; or a folder with
            `model.safetensors` or `pytorch_model.bin`, or several of these and their index.
        entry: name of the entry that holds the weights in a checkpoint of several, "ema.shadow" for one inside another.
            By default the file itself when it is a plain state dict, else the only one of `state_dict`, `model`,
            `model_state_dict`, ... An averaged copy (`state_dict_ema`, `model_ema`, ...) is used only when named here.

    Returns:
        (dict of key -> tensor on the CPU, facts): `facts` holds file, sha256, format, entry, other_entries. Tensors in
        a list or under numbers have the keys "0", "1", ...

    Raises:
        UsageError: no such file, not a weights file, Python objects besides tensors and harmless values (it names
            the type), no or several candidates.

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
    if path.is_dir():
        return _read_folder(path, entry)
    if not path.is_file():
        raise UsageError(f"weights: {str(path)!r} is not a file.")
    with reading(path, "weights: a safetensors file or a checkpoint of torch"), open(path, "rb") as file:
        head = file.read(265)
    facts = {"file": path.name, "sha256": file_sha256(path)}
    if head[8:9] == b"{":
        if entry is not None:
            raise UsageError(f"weights: {path.name!r} is a safetensors file and has no entries; got entry {entry!r}.")
        state, _ = read_tensors(path, "weights: a safetensors file")
        return state, {**facts, "format": "safetensors", "entry": None, "other_entries": []}

    if foreign := _foreign(path, head):
        raise UsageError(f"weights: {path.name!r} was refused: it is {foreign}.")
    try:
        chosen, name, others = _choose_entry(read_checkpoint(path), entry, path.name)
        state = {key: value.read() for key, value in chosen.items()}
    except NoWeights:
        raise
    except UsageError as error:
        reason = plain_line(_first_line(error).removeprefix(f"{path} is refused: "), 200)
        advice = "" if "torch.save(" in reason else f"; {EXPORT}"
        raise UsageError(f"weights: {path.name!r} was refused: {reason}{advice}.") from error
    return state, {**facts, "format": "torch", "entry": name, "other_entries": others}


def _foreign(path, head):
    """What a file of another program is, and the line that makes one of it that can be read; None of others."""
    name, saves = repr(path.name), "torch.save({k: torch.from_numpy(v) for k, v in %s}, 'weights.pth') writes %s"
    if head[:2] == b"PK":
        with reading(path, "weights: a checkpoint of torch", zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        if names and all(each.endswith(".npy") for each in names):
            return f"a file of numpy arrays; {saves % (f'numpy.load({name}).items()', 'it so that it can be read')}"
        if any(each.endswith("archive_format") for each in names):
            line = f"torch.save(torch.export.load({name}).state_dict, 'weights.pth')"
            return f"an exported program; {line} writes its weights"
    if path.suffix == ".onnx":
        arrays = f"((t.name, onnx.numpy_helper.to_array(t).copy()) for t in onnx.load({name}).graph.initializer)"
        return f"an ONNX model; {saves % (arrays, 'its tensors')}"
    if head[:4] == b"\x89HDF":
        return (
            f"an HDF5 file, as Keras writes; load it there, and {saves % ('YOUR_ARRAYS.items()', 'what can be read')}"
        )
    if path.suffix == ".msgpack":
        arrays = "flax.traverse_util.flatten_dict(flax.serialization.msgpack_restore(BYTES), sep='.').items()"
        return f"a file of Flax; {saves % (arrays, 'what can be read')}"
    if head[:4] == b"GGUF":
        return "a GGUF file, of language models that are quantised; give the weights that it was made of"
    if head.lstrip()[:1] == b"<":
        return "a web page, not the file that it leads to; fetch that"
    return "a tar archive; give a file that is in it" if head[257:262] == b"ustar" else None


def _read_folder(folder, entry):
    """The weights of a folder as Hugging Face's libraries write it."""
    name = next((name for name in FOLDER if (folder / name).is_file()), None)
    if name is None:
        there = sorted(each.name for each in folder.iterdir())
        said = f"what it holds is {_some(there)}" if there else "it is empty"
        advice = f"give one of its files, or a folder with one of {', '.join(FOLDER[::2])} or an index of several"
        if any(each.endswith(".distcp") for each in there):
            advice = "python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER FILE makes one file of it"
        raise UsageError(f"weights: {str(folder)!r} is not a file, and no folder of weights ({said}); {advice}.")
    if not name.endswith(".index.json"):
        state, facts = read_state_dict(folder / name, entry=entry)
        return state, {**facts, "file": f"{folder.resolve().name}/{name}"}
    index = read_json(folder / name, {"weight_map": {str: str}}, "weights: an index of files of weights")["weight_map"]
    state, parts = {}, sorted(set(index.values()))
    if strange := [part for part in parts if Path(part).name != part or not (folder / part).is_file()]:
        raise UsageError(f"weights: {name!r} of {str(folder)!r} names files that are not there: {_some(strange)}.")
    digest = hashlib.sha256()
    for part in parts:
        found, facts = read_state_dict(folder / part, entry=entry)
        digest.update(facts["sha256"].encode())
        state.update((key, value) for key, value in found.items() if index.get(key) == part)
    if lost := [key for key in index if key not in state]:
        raise UsageError(f"weights: the files of {str(folder)!r} lack what {name!r} promises: {_some(lost)}.")
    facts.update(file=f"{folder.resolve().name}/{name}", sha256=digest.hexdigest(), files=len(parts))
    return state, facts


class NoWeights(UsageError):
    """A file could be read, and where its weights are is not clear."""


def _choose_entry(loaded, entry, file):
    """(state dict, the entry that holds it or None, the others)."""
    if (state := _as_state(loaded)) is not None and entry is None:
        return state, None, []
    if not isinstance(loaded, dict):
        what = f"a {loaded}" if isinstance(loaded, Mentioned) else shown(loaded)
        raise NoWeights(f"weights: {file!r} must hold a dict of tensors; it holds {what}; {EXPORT}.")
    if entry is not None:
        found = loaded if entry not in loaded else loaded[entry]
        for part in () if entry in loaded else entry.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        state = _as_state(found)
        if state is None:
            raise NoWeights(
                f"weights: {file!r} has no state dict under entry {entry!r}; its entries are {_entries(loaded)}."
            )
        return state, entry, [str(key) for key in loaded if key != entry]
    found = {name: state for name in ENTRIES if name in loaded and (state := _as_state(loaded[name])) is not None}
    if len(found) == 1:
        [(name, state)] = found.items()
        return state, name, [str(key) for key in loaded if key != name]
    what = f"several candidate entries ({_some(found)})" if found else f"only the entries {_entries(loaded)}"
    raise NoWeights(f"weights: {file!r} has {what}; name the one that holds the weights (entry).")


def _entries(loaded):
    """Their names, with the type of those that are something else than values."""
    return _some(f"{key} (a {value})" if isinstance(value, Mentioned) else key for key, value in loaded.items())


def _as_state(value):
    """A dict of names and stored tensors, when a value is that: also under numbers, or in a list; else None."""
    if isinstance(value, (list, tuple)):
        value = dict(enumerate(value))
    if not isinstance(value, dict) or not value or not all(isinstance(item, StoredTensor) for item in value.values()):
        return None
    if not all(isinstance(key, str) or type(key) is int for key in value):
        return None
    return {str(key): item for key, item in value.items()}


def load_state(network, state, *, allow_missing=False, allow_unexpected=False, what="weights"):
    """Copy `state` into `network`, every key accounted for.

    A prefix that every key carries and the network does not know (`module.`, `_orig_mod.`, `model.`, ...) is stripped;
    so is one under which the file has all of the network's keys, beside others. Numbered tensors (`"0"`, `"1"`, ...)
    are taken in the network's order when their number and shapes are its own; a `ModelWarning` and `note` say so. A
    tensor of another shape counts as unexpected *and* missing: it is left out only when both are allowed. BatchNorm's
    `num_batches_tracked` may be absent, as in files of torch < 0.4.1: it does not act on the logits.

    Returns:
        dict of facts: prefix_stripped, missing, unexpected, other_shape (lists of keys).
    """
    own = network.state_dict()
    state, stripped = _without_prefix(state, own)
    state, note = _in_order(network, state, own)
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
    if note:
        warnings.warn(f"{what}: {note}.", ModelWarning, stacklevel=2)
    fitting = {key: value for key, value in state.items() if key in own and key not in shapes}
    if not fitting:
        raise UsageError(f"{what}: not one key fits the network; the file has {_some(state)}.")
    network.load_state_dict(fitting, strict=False)
    return {
        "prefix_stripped": stripped,
        **({"note": note} if note else {}),
        "missing": missing,
        "unexpected": unexpected,
        "other_shape": shapes,
    }


def _without_prefix(state, own):
    """(the state with keys as the network's, what was taken from them)."""
    stripped = ""
    if "n_averaged" in state and all(key.startswith("module.") for key in state if key != "n_averaged"):
        state = {key: value for key, value in state.items() if key != "n_averaged"}  # of torch's AveragedModel
    while True:
        prefix = next((p for p in PREFIXES if state and all(key.startswith(p) for key in state)), None)
        if prefix is None or any(key.startswith(prefix) for key in own):
            break
        state = {key.removeprefix(prefix): value for key, value in state.items()}
        stripped += prefix
    needed = [key for key in own if not key.endswith(".num_batches_tracked")]
    if not needed or any(key in state for key in needed):
        return state, stripped
    first = needed[0]
    prefixes = [key.removesuffix(first) for key in state if key.endswith(f".{first}")]
    whole = [prefix for prefix in prefixes if all(f"{prefix}{key}" in state for key in needed)]
    whole = [prefix for prefix in whole if prefix in PREFIXES] or whole
    if len(whole) > 1:
        raise UsageError(f"weights: the file has the network's keys under {_some(whole)}; write one of them to a file.")
    if not whole:
        return state, stripped
    [prefix] = whole
    return {key.removeprefix(prefix): value for key, value in state.items()}, stripped + prefix


def _in_order(network, state, own):
    """(the state under the network's keys, if it has numbers for names and fits in order; a sentence that says so)."""
    if not all(key.isdecimal() for key in state) or any(key in own for key in state):
        return state, None
    values = [state[key] for key in sorted(state, key=int)]
    orders = {
        "entries": list(own), "entries but counters": [key for key in own if not key.endswith("num_batches_tracked")],
        "parameters": [key for key, _ in network.named_parameters()],
    }  # fmt: skip
    for what, keys in orders.items():
        if len(keys) == len(values) and all(own[k].shape == v.shape for k, v in zip(keys, values, strict=True)):
            note = f"its tensors have numbers and no names, and were taken as the network's {len(keys)} {what} in order"
            return dict(zip(keys, values, strict=True)), note
    return state, None


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
    """SHA-256 over keys (sorted), dtypes, shapes and bytes of a module's state dict, or what it says of itself."""
    if hasattr(network, "state_sha256"):
        return network.state_sha256()
    digest = hashlib.sha256()
    for key, value in sorted(network.state_dict().items()):
        digest_of(value, digest, key)
    return digest.hexdigest()


def digest_of(value, digest, key=""):
    """Add what a state holds to a digest: tensors, and what quantised layers keep beside them."""
    if isinstance(value, (tuple, list)):
        for part in value:
            digest_of(part, digest, key)
    elif not isinstance(value, torch.Tensor):
        digest.update(f"{key}|{value!r}|".encode())
    else:
        kept, value = value, value.detach().cpu()
        value = (value.int_repr() if value.is_quantized else value).contiguous()
        digest.update(f"{key}|{kept.dtype}|{tuple(kept.shape)}|".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy())
        if kept.is_quantized:
            scales = kept.qscheme() in (torch.per_channel_affine, torch.per_channel_affine_float_qparams)
            digest.update(
                repr(kept.q_per_channel_scales() if scales else (kept.q_scale(), kept.q_zero_point())).encode()
            )


def _some(keys, limit=4):
    keys = list(keys)
    return ", ".join(plain_line(key, 60) for key in keys[:limit]) + (", ..." if len(keys) > limit else "")


def _first_line(error):
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
