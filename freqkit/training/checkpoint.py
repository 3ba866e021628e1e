"""The state of a training in one safetensors file: tensors, and in the header everything else as JSON."""

import json

import torch

from freqkit.errors import UsageError
from freqkit.results.files import write_safetensors

FORMAT = "freqkit-checkpoint-1"


def write_checkpoint(path, tensors, facts):
    """Write nested dicts of tensors (`{"model": {...}, ...}`) and JSON-ready facts, atomically.

    Numbers keep their bits: JSON writes a float so that reading gives the same double.
    """
    flat = {f"{group}/{name}": value for group, values in tensors.items() for name, value in values.items()}
    # Cloned: safetensors refuses tensors that share memory (tied weights).
    flat = {name: value.detach().cpu().contiguous().clone() for name, value in flat.items()}
    write_safetensors(path, flat, {"format": FORMAT, "facts": json.dumps(facts)})


def read_checkpoint(path):
    """(nested dicts of tensors, facts) of `write_checkpoint`.

    Raises:
        UsageError: the file is no checkpoint of freqkit.

    Example:
        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/c.safetensors"
        >>> write_checkpoint(path, {"model": {"w": torch.ones(2)}}, {"epoch": 3})
        >>> read_checkpoint(path)
        ({'model': {'w': tensor([1., 1.])}}, {'epoch': 3})
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            header = file.metadata() or {}
            if header.get("format") != FORMAT:
                raise UsageError(f"{path}: this is no checkpoint of freqkit.")
            tensors = {}
            for name in file.keys():
                group, _, key = name.partition("/")
                tensors.setdefault(group, {})[key] = file.get_tensor(name)
    except (SafetensorError, OSError) as error:
        raise UsageError(f"{path} is not a readable checkpoint: {error}") from error
    return tensors, json.loads(header["facts"])


def optimizer_state(optimizer):
    """State of a torch optimizer as (tensors by 'parameter.name', JSON-ready rest)."""
    tensors, rest = {}, {}
    for number, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{number}.{name}"] = value
            else:
                rest[f"{number}.{name}"] = value
    return tensors, rest


def restore_optimizer(optimizer, tensors, rest):
    """Put back what `optimizer_state` gave; learning rate and the like stay as they are."""
    state = {}
    for name, value in {**tensors, **rest}.items():
        number, _, key = name.partition(".")
        state.setdefault(int(number), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
