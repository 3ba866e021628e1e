"""The state of a training in one safetensors file: tensors, and in the header everything else as JSON."""

import json

import torch

from freqkit.errors import UsageError
from freqkit.files.reading import read_tensors, shown
from freqkit.files.whole import write_safetensors

FORMAT = "freqkit-checkpoint-1"


def write_checkpoint(path, tensors, facts):
    """Write nested dicts of tensors (`{"model": {...}, ...}`) and JSON-ready facts, atomically.

    Numbers keep their bits: JSON writes a float so that reading gives the same double.
    """
    flat = {f"{group}/{name}": value for group, values in tensors.items() for name, value in values.items()}
    # Cloned: safetensors refuses tensors that share memory (tied weights).
    flat = {name: value.detach().cpu().contiguous().clone() for name, value in flat.items()}
    write_safetensors(path, flat, {"format": FORMAT, "facts": json.dumps(facts)})


def read_checkpoint(path, facts=dict):
    """(nested dicts of tensors, facts) of `write_checkpoint`.

    Args:
        facts: the kind that they must be of, see `freqkit.files.reading.fit`.

    Raises:
        UsageError: the file is no checkpoint of freqkit.

    Example:
        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/c.safetensors"
        >>> write_checkpoint(path, {"model": {"w": torch.ones(2)}}, {"epoch": 3})
        >>> read_checkpoint(path)
        ({'model': {'w': tensor([1., 1.])}}, {'epoch': 3})
    """
    flat, about = read_tensors(path, "a checkpoint of a training", format=FORMAT, facts={"facts": facts})
    tensors = {}
    for name, value in flat.items():
        group, _, key = name.partition("/")
        tensors.setdefault(group, {})[key] = value
    return tensors, about["facts"]


def require(path, what, right):
    """Refuse a checkpoint that does not hold `what`.

    Raises:
        UsageError: it is not `right`.
    """
    if not right:
        raise UsageError(f"{path}: must hold {what}, as this training would; it does not.")


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


def restore_optimizer(optimizer, tensors, rest, path="the checkpoint"):
    """Put back what `optimizer_state` gave; learning rate and the like stay as they are.

    Raises:
        UsageError: what was given is not of this optimizer's parameters (`path` names the file).
    """
    own = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state = {}
    for name, value in {**tensors, **rest}.items():
        number, _, key = name.partition(".")
        if not number.isdecimal() or len(number) > 9 or int(number) >= len(own) or not key:
            raise UsageError(f"{path}: the optimizer's state names {shown(name, 40)}, which this optimizer has not.")
        if isinstance(value, torch.Tensor) and value.shape not in (own[int(number)].shape, torch.Size([])):
            raise UsageError(
                f"{path}: the optimizer's state {shown(name, 40)} must have shape {list(own[int(number)].shape)}; "
                f"got {list(value.shape)}."
            )
        state.setdefault(int(number), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def restore_network(network, tensors, path):
    """Load a state that must have the network's own names, shapes and dtypes.

    Raises:
        UsageError: it has others.
    """
    own = network.state_dict()
    for name in sorted({*own, *tensors}):
        if name not in tensors or name not in own:
            raise UsageError(f"{path}: {shown(name, 60)} is {'missing' if name in own else 'not of this network'}.")
        one, other = own[name], tensors[name]
        if one.shape != other.shape or one.dtype != other.dtype:
            raise UsageError(
                f"{path}: {shown(name, 60)} must be {one.dtype} {list(one.shape)}; got {other.dtype} "
                f"{list(other.shape)}.".replace("torch.", "")
            )
    network.load_state_dict(tensors)
