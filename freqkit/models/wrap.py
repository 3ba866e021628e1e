"""Any network, or any function that gives logits, as a `Classifier`: what it does not say is inferred, or asked for."""

import functools
import hashlib
import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from freqkit.errors import UsageError
from freqkit.files.reading import read_json
from freqkit.models.classifier import Classifier, channel_triple
from freqkit.models.normalisation import (
    SIDES,
    begins_with_statistics,
    differ,
    evaluating,
    normalised_before_layers,
    numbers,
    own_normalisation,
    triple,
)
from freqkit.models.weights import digest_of, state_sha256

Network = nn.Module | Callable[[torch.Tensor], torch.Tensor]  # what `as_classifier` takes
# What holds the network that was meant, and the attribute under which.
HOLDERS = {
    "DataParallel": "module", "DistributedDataParallel": "module", "OptimizedModule": "_orig_mod",
    "AveragedModel": "module",
}  # fmt: skip
# Where a normalisation is from -> who says so.
SAYS = {
    "built-in": "freqkit", "timm": "timm's configuration of it", "factory": "the network that it made",
    "classifier": "the classifier that it made", "torchvision": "torchvision", "weights": "its weights",
    "processor": "the image processor beside it", "network": "the network", "study": "the study",
}  # fmt: skip
PIXELS = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
BY_NAME = "give class_index=[model.class_names.index(name) for name in images.classes]"
LARGEST = 1024  # side of images on which a network is tried
UNIDENTIFIED = "0" * 64  # stands for the state of a function that holds nothing and has no name
NOT_IDENTIFIED = (
    "a function in which nothing tells it from another one; give it a name, freqkit.wrap(function, name=...)"
)


def wrap(
    net: object,
    mean: Sequence[float] | torch.Tensor | None = None,
    std: Sequence[float] | torch.Tensor | None = None,
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    *,
    weights: object = None,
    input_size: tuple[int, int] | None = None,
    output: int | str | None = None,
    name: str | None = None,
) -> Classifier:
    """A `Classifier` of any network, or of any function that gives logits; every function of freqkit makes one unasked.

    What is not given is inferred: from timm's `pretrained_cfg`, from weights of torchvision, from the configuration and
    the image processor of a Hugging Face model, from `mean` and `std` that the network keeps for its users, and by
    asking it: whether it normalises its input itself, what it returns, and how many logits. Nothing is guessed; a
    sentence says what is missing. Networks inside `torch.compile`, `DataParallel` and the like are taken out.

    Args:
        net: an `nn.Module`, or a function of images [B, 3, H, W] that gives logits [B, classes], such as the zero-shot
            classifier of a CLIP. The network is shared, not copied, and neither its mode nor its device is changed.
            What a function holds stays where it is, and is asked in evaluation mode.
        mean, std: the normalisation, of pixels in [0, 1]: what comes before `net`. 0 and 1 for one that takes pixels.
        num_classes: number of logits.
        class_names: what the logits are called, in order.
        weights: the entry of a weights enum of torchvision that `net` was made with.
        input_size: (H, W) that `net` is made for.
        output: which part of what `net` returns the logits are, a number or a name, where it returns several.
        name: what to call it. When a run is resumed, a function is identified by it and by the networks and tensors
            that can be found in it; without a name by its code and numbers, too; where nothing is found, not at all.

    Returns:
        `Classifier`, whose record says where its normalisation is from.

    Raises:
        UsageError: something is missing, or contradicts the network.

    Example:
        >>> import freqkit, torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 4))
        >>> model = freqkit.wrap(net, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
        >>> model.num_classes, model(torch.rand(2, 3, 8, 8)).shape
        (4, torch.Size([2, 4]))
        >>> freqkit.wrap(lambda x: x.mean((2, 3)), mean=(0, 0, 0), std=(1, 1, 1), name="colours").num_classes
        3
    """
    return _wrapped("wrap", net, (mean, std), num_classes, class_names, weights, input_size, output, name)


def as_classifier(model: object, owner: str, images: object = None) -> Classifier:
    """The model itself when it is a classifier, else `wrap` of it; where models enter, this is called.

    Args:
        owner: begins the sentence of what is missing.
        images: what it will be asked about: the size of the images on which it is tried.
    """
    if all(hasattr(model, part) for part in ("network", "mean", "std", "num_classes")):
        return model
    shape = getattr(getattr(images, "images", None), "shape", ())
    return _wrapped(owner, model, likely=tuple(shape[-2:]) if len(shape) == 4 else None)


def check_order(owner, model, classes, advice):
    """Refuse classes that have the names of logits, and another order; where the logits have no names, do nothing."""
    names, classes = getattr(model, "class_names", None), list(classes)
    if names and names[: len(classes)] != classes and set(classes) <= set(names):
        place, other = next((i, name) for i, name in enumerate(names) if i >= len(classes) or name != classes[i])
        here = repr(classes[place]) if place < len(classes) else "none"
        raise UsageError(
            f"{owner}: the model's logits have another order than the images' classes (number {place} is {other!r} and"
            f" {here}); {advice}."
        )


def _wrapped(
    owner, net, scale=(None, None), num_classes=None, names=None, weights=None, size=None, output=None, name=None,
    likely=None,
):  # fmt: skip
    mean, std = scale
    if isinstance(net, Classifier):
        raise UsageError(
            f"{owner}: the network is a Classifier already; change its mean and std by making another one."
        )
    if (mean is None) != (std is None):
        raise UsageError(f"{owner}: mean and std must be given together; got only one of them.")
    found = examine(
        owner, net, weights=weights, classes=num_classes, size=size, output=output, name=name, likely=likely,
        told=mean is not None,
    )  # fmt: skip
    if found.fault and (found.size or likely):
        raise UsageError(f"{owner}: {found.name} could not be asked: {found.fault}.")
    given = None if mean is None else (channel_triple(mean, "mean", owner), channel_triple(std, "std", owner))
    if given is None and found.normalisation is None:
        its = "mean=processor.image_mean, std=processor.image_std" if hasattr(net, "config") else (
            "mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)"
        )  # fmt: skip
        raise UsageError(
            f"{owner}: which mean and std {found.name} was trained with is not known; say it by freqkit.wrap(net,"
            f" {its}) if these are its, or mean=(0, 0, 0), std=(1, 1, 1) if it takes pixels in [0, 1]."
        )
    if found.classes is None:
        raise UsageError(
            f"{owner}: the number of classes of {found.name} is not evident ({found.fault or 'no last linear layer'});"
            " give freqkit.wrap(net, num_classes=..., input_size=(H, W))."
        )
    if num_classes not in (None, found.classes):
        raise UsageError(f"{owner}: {found.name} gives {found.classes} logits; got num_classes={num_classes}.")
    found.settle(owner, given)
    if names is not None and len(names) != found.classes:
        raise UsageError(f"{owner}: class_names must name the {found.classes} logits; got {len(names)} names.")
    found.names = found.names if names is None else [str(each) for each in names]
    model = found.classifier({"source": "wrapped", "torch": torch.__version__})
    model.training = found.network.training
    return model


@dataclass
class Found:
    """What is known of a network.

    Attributes:
        network: it, or what makes a module that gives logits of it. name: what to call it.
        mean, std, normalisation: and where these are from, a key of `SAYS`, "the network's own", or None when unknown.
        inside: what the network itself normalises by.
        classes, names, size, transform: of its logits, and of the images that it was made for; None where unknown.
        facts: JSON-ready, for its record. doubts: sentences. fault: why it could not be tried.
    """

    network: nn.Module
    name: str
    mean: tuple = PIXELS[0]
    std: tuple = PIXELS[1]
    normalisation: str | None = None
    inside: list = field(default_factory=list)
    classes: int | None = None
    names: list | None = None
    size: tuple | None = None
    transform: dict | None = None
    facts: dict = field(default_factory=dict)
    doubts: list = field(default_factory=list)
    fault: str | None = None

    def settle(self, owner, given, how="as given"):
        """Take a normalisation, unless the network has its own; doubt it where it differs from what others say."""
        if given is None:
            return
        if self.inside and given != PIXELS:
            raise UsageError(
                f"{owner}: {self.name!r} normalises its input itself (by what it keeps as"
                f" {', '.join(self.inside[:3])}), so mean and std would be applied twice; leave them out."
            )
        if self.normalisation in SAYS and differ(given, (self.mean, self.std)):
            self.doubts.append(
                f"{self.name} gets images by mean {triple(given[0])} and std {triple(given[1])}, {how}, while"
                f" {SAYS[self.normalisation]} says mean {triple(self.mean)} and std {triple(self.std)}"
            )
        (self.mean, self.std), self.normalisation = given, "given"

    def classifier(self, record):
        names = self.names if self.names and len(self.names) == self.classes else None  # a head may have been replaced
        inside = {"normalises_itself": self.inside} if self.inside else {}
        return Classifier(
            self.network, mean=self.mean, std=self.std, num_classes=self.classes, input_size=self.size, name=self.name,
            class_names=names, transform=self.transform,
            record={**record, **self.facts, "normalisation": self.normalisation, **inside, "doubts": self.doubts},
        )  # fmt: skip


def examine(owner, net, *, weights=None, classes=None, size=None, output=None, name=None, likely=None, told=False):
    """What is known of a network or a function, by what it carries and by asking it; see `Found`.

    Args:
        likely: size of images on which it is tried first. told: whether a mean and std are given. Others: see `wrap`.
    """
    net, facts = _taken_out(owner, net)
    known = published(owner, net, weights)
    found = Found(net, name or known.pop("name", None) or _called(net), facts=facts | known.pop("facts", {}))
    for key, value in known.items():
        setattr(found, key, value)
    found.size = size or found.size or height_width(getattr(net, "input_size", None))
    if not isinstance(net, nn.Module) or "eval" in vars(net):  # exported programs have modules without modes
        found.network = Function(net, name)
    found.network, asked, found.fault = _tried(owner, found, output, classes, likely)
    found.classes = _count(found, asked, classes)
    if found.normalisation is None and not isinstance(found.network, Function):
        _normalised(owner, found, net, size or likely or found.size, told)
    return found


# ---- what it carries ------------------------------------------------------------------------------------------------


def _taken_out(owner, net):
    """(the network itself, what it was taken out of)."""
    holders = []
    while isinstance(net, nn.Module) and (inside := HOLDERS.get(type(net).__name__)) and hasattr(net, inside):
        holders.append(type(net).__name__)
        net = getattr(net, inside)
    exported = type(net).__name__ == "ExportedProgram"
    if isinstance(net, type) or not callable(net) or exported:
        hint = "; give its module()" if exported else ""
        raise UsageError(
            f"{owner}: the model must be an nn.Module or a function of images that gives logits; got"
            f" {'the class ' + net.__name__ if isinstance(net, type) else 'a ' + type(net).__name__}{hint}."
        )
    if isinstance(net, nn.Module):
        if any("FullyShardedDataParallel" in type(part).__name__ for part in net.modules()):
            raise UsageError(f"{owner}: the network is cut into shards (FSDP); gather it, and give it whole.")
        if any(isinstance(p, nn.parameter.UninitializedTensorMixin) for p in net.parameters()):
            raise UsageError(f"{owner}: the network has lazy layers; show it one batch before it is given.")
        if any(p.is_meta for p in net.parameters()):
            raise UsageError(f"{owner}: the network has no weights (its parameters are on the device meta).")
    return net, {"taken_out_of": holders} if holders else {}


def published(owner, net, weights=None):
    """What those who published a network say of it: fields of `Found`."""
    if weights is not None:
        return _of_torchvision(owner, weights)
    config = getattr(net, "pretrained_cfg", None)
    if not isinstance(config, Mapping) and isinstance(net, nn.Module):  # a module around one network of timm
        inner = [
            part.pretrained_cfg for part in net.children() if isinstance(getattr(part, "pretrained_cfg", 0), Mapping)
        ]
        config = inner[0] if len(inner) == 1 and not own_normalisation(net) else None
    if isinstance(config, Mapping):
        if getattr(net, "num_classes", None) == 0:
            raise UsageError(
                f"{owner}: the network has no classifier (num_classes=0), so it gives features, no logits."
            )
        tag = config.get("tag") or None
        facts = {
            "architecture": config.get("architecture"), "tag": tag,
            "fixed_input_size": bool(config.get("fixed_input_size", False)),
        }  # fmt: skip
        names = config.get("label_names")
        return {
            "name": ".".join(filter(None, (facts["architecture"], tag))), "facts": facts, "normalisation": "timm",
            "mean": tuple(config["mean"]), "std": tuple(config["std"]), "names": list(names) if names else None,
            "size": tuple(config["input_size"][-2:]), "transform": transform_of(config),
        }  # fmt: skip
    config = getattr(net, "config", None)
    if getattr(config, "num_labels", None):
        return _of_hugging_face(config)
    return {}


def transform_of(config):
    """The transform that timm's configuration names, when it names one."""
    keys = "crop_pct", "interpolation"
    if not all(config.get(key) for key in keys):
        return None
    mode = config.get("crop_mode")
    return {key: config[key] for key in keys} | ({"crop_mode": mode} if mode not in (None, "center") else {})


def _of_torchvision(owner, weights):
    transforms, meta = getattr(weights, "transforms", None), getattr(weights, "meta", None)
    if not callable(transforms) or not hasattr(made := transforms(), "mean"):
        raise UsageError(
            f"{owner}: weights must be an entry of a weights enum of torchvision, such as ResNet50_Weights.DEFAULT; got"
            f" {weights!r}."
        )
    side, shorter = made.crop_size[-1], made.resize_size[-1]
    names = (meta or {}).get("categories")
    return {
        "mean": tuple(made.mean), "std": tuple(made.std), "size": (side, side), "normalisation": "weights",
        "names": list(names) if names else None, "facts": {"published_weights": str(weights)},
        "transform": {"crop_pct": side / shorter, "interpolation": made.interpolation.value},
    }  # fmt: skip


def _of_hugging_face(config):
    side, names = getattr(config, "image_size", None), getattr(config, "id2label", None) or {}
    labels = [names.get(i) for i in range(config.num_labels)]
    found = {
        "classes": int(config.num_labels),
        "names": labels if all(labels) and not str(labels[0]).startswith("LABEL_") else None,
        "size": height_width(side),
    }
    place = str(getattr(config, "_name_or_path", None) or "")
    processor = Path(place) / "preprocessor_config.json"
    if place and processor.is_file():
        says = read_json(processor, dict, "the configuration of an image processor")
        if says.get("do_normalize", True) and says.get("image_mean") and says.get("image_std"):
            mean, std = (channel_triple(says[key], key, "wrap") for key in ("image_mean", "image_std"))
            found.update(mean=mean, std=std, normalisation="processor")
    return {**found, "name": place.rstrip("/").rpartition("/")[2] or None}


def _of_architecture(net):
    """The mean and std of all weights that torchvision publishes for an architecture of its own, or None."""
    module = type(net).__module__
    if not module.startswith("torchvision.models."):
        return None
    from torchvision import models

    names = [name for name in models.list_models(models) if models.get_model_builder(name).__module__ == module]
    transforms = [entry.transforms() for name in names for entry in models.get_model_weights(name)]
    found = {(tuple(each.mean), tuple(each.std)) for each in transforms}
    return found.pop() if len(found) == 1 else None


def _called(net):
    while isinstance(net, functools.partial):
        net = net.func
    name = type(net).__name__ if isinstance(net, nn.Module) else getattr(net, "__name__", type(net).__name__)
    return "a function" if name == "<lambda>" else name


def height_width(size):
    if isinstance(size, int):
        return (size, size)
    if isinstance(size, (tuple, list)) and len(size) in (2, 3) and all(isinstance(n, int) for n in size):
        return tuple(size[-2:])
    return None


# ---- what it answers ------------------------------------------------------------------------------------------------


def _tried(owner, found, output, expected, likely):
    """(a module that gives logits, how many it gave: None when that depends on the size, why it could not be tried)."""
    network, sure = found.network, [size for size in (likely, found.size) if size and max(size) <= LARGEST]
    like = next(network.parameters(), torch.empty(0))
    dtype = like.dtype if like.dtype.is_floating_point else torch.float32
    counts, fault = [], None
    for size in sure or [(side, side) for side in SIDES]:
        x = torch.rand((2, 3, *size), generator=torch.Generator().manual_seed(0)).to(like.device, dtype)
        try:
            with evaluating(network), torch.no_grad(), torch.random.fork_rng(devices=[]):
                answer = network(x)
        except UsageError:
            raise
        except Exception as error:
            # The user's own code: it may want another size, or fail for a reason of its own.
            fault = fault or f"on images of {size[0]}x{size[1]} pixels it raised {type(error).__name__}: {error}"
            continue
        if not counts:
            output = _which(owner, found.name, answer, output, expected)
            network = network if output is None else Picked(network, output)
        logits = answer if isinstance(answer, torch.Tensor) or output is None else _picked(answer, output)
        if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or len(logits) != 2:
            raise UsageError(
                f"{owner}: {found.name} must return logits [B, classes]; got {_shape(logits)} for 2 images."
            )
        counts.append(logits.shape[1])
        if sure or len(counts) == 2:
            break
    if not counts:
        return (
            (network if output is None else Picked(network, output)),
            None,
            " ".join((fault or "").split())[:300].rstrip("."),
        )
    if len(set(counts)) > 1:
        return network, None, "it gives more logits for larger images"
    if counts[0] == 1:
        raise UsageError(
            f"{owner}: {found.name} gives one number for each image; a logit for each class is needed: give a function"
            " that returns torch.cat([-z / 2, z / 2], 1) of it."
        )
    return network, counts[0], None


def _which(owner, name, answer, output, expected):
    """Under which number or name the logits are in what a network returns; None when it returns nothing else."""
    if isinstance(answer, torch.Tensor):
        return None
    if output is not None:
        if _picked(answer, output) is None:
            raise UsageError(f"{owner}: {name} returns {_shape(answer)}, which has no output {output!r}.")
        return output
    if isinstance(_picked(answer, "logits"), torch.Tensor):
        return "logits"
    parts = (
        answer.items()
        if isinstance(answer, Mapping)
        else enumerate(answer if isinstance(answer, (tuple, list)) else ())
    )
    fitting = {key: part for key, part in parts if isinstance(part, torch.Tensor) and part.ndim == 2 and len(part) == 2}
    several = len(fitting) > 1
    if several:
        fitting = {key: part for key, part in fitting.items() if part.shape[1] == expected}
    if len(fitting) != 1:
        advice = ": say which of these are the logits by freqkit.wrap(net, output=...)" if several else ""
        raise UsageError(
            f"{owner}: {name} must return logits [B, classes]; it returns {_shape(answer)} for 2 images{advice}."
        )
    return next(iter(fitting))


def _picked(answer, output):
    if isinstance(output, str) and not isinstance(answer, Mapping):
        return getattr(answer, output, None)
    try:
        return answer[output]
    except (KeyError, IndexError, TypeError):
        return None


def _shape(answer):
    if isinstance(answer, torch.Tensor):
        return str(list(answer.shape))
    if isinstance(answer, Mapping):
        return f"a {type(answer).__name__} of {', '.join(f'{key} {_shape(part)}' for key, part in answer.items())}"
    if isinstance(answer, (tuple, list)):
        return f"a {type(answer).__name__} of {', '.join(map(_shape, answer))}"
    return f"a {type(answer).__name__}"


def _count(found, asked, expected):
    """How many logits there are: as it was seen, else as the network says, or its last linear layer has."""
    says = found.classes or getattr(found.network, "num_classes", None)
    linear = [part.out_features for part in found.network.modules() if isinstance(part, nn.Linear)]
    return asked or (says if isinstance(says, int) and says else linear[-1] if linear else expected)


def _normalised(owner, found, net, size, told):
    """What the network does to pixels itself, or leaves to its users."""
    own = [getattr(net, key, None) for key in ("mean", "std")]
    keeps = all(value is not None and not callable(value) for value in own)
    if keeps and told:  # what else may be called so
        keeps = all(numbers(value) == 3 for value in own)
    asked = found.network, size
    found.inside = own_normalisation(*asked)
    if found.inside or begins_with_statistics(found.network) or normalised_before_layers(*asked):
        found.normalisation = "the network's own"
    elif keeps:
        found.mean, found.std = (channel_triple(v, k, owner) for k, v in zip(("mean", "std"), own, strict=True))
        found.normalisation = "network"
    elif found.classes == 1000 and (published := _of_architecture(net)):
        found.mean, found.std = published
        found.normalisation = "torchvision"


# ---- what makes a module that gives logits of it --------------------------------------------------------------------


class Picked(nn.Module):
    """A network that returns more than its logits, of which the rest is left."""

    def __init__(self, network, output):
        super().__init__()
        self.network, self.output = network, output
        self.training = network.training

    def forward(self, x):
        answer = self.network(x)
        return answer if isinstance(answer, torch.Tensor) else _picked(answer, self.output)

    def state_sha256(self):
        return state_sha256(self.network)


class Function(nn.Module):
    """A function that gives logits, as a module without parameters: what it holds stays where it is, as it is, and a
    copy is the function itself."""

    def __init__(self, function, name=None):
        super().__init__()
        self.function = (function,)  # in a tuple: a module would be registered
        held = list(_held(getattr(function, "_torchdynamo_orig_callable", function), 5, set()))
        self.state = [part for part in held if isinstance(part, (nn.Module, torch.Tensor, np.ndarray))]
        self.rest = [part for part in held if isinstance(part, (int, float, str, types.CodeType))]
        self.networks = [part for part in self.state if isinstance(part, nn.Module)]
        self.name = name

    def forward(self, x):
        if x.dtype is torch.float64:
            raise UsageError("the model is a function, which computes in its own type; float64 needs a network.")
        place = next((p for part in self.networks for p in part.parameters() if p.is_floating_point()), x)
        with evaluating(*self.networks):
            answer = self.function[0](x.to(place.device, place.dtype))
        if torch.is_grad_enabled() and x.requires_grad and not getattr(answer, "requires_grad", True):
            raise UsageError(
                "the model is a function that gives no gradients, which this needs; leave torch.no_grad out of it, or"
                " take a search that asks for none (hfss, evolve, greedy, removal)."
            )
        answer = torch.from_numpy(answer) if isinstance(answer, np.ndarray) else answer
        return answer.to(x.device) if isinstance(answer, torch.Tensor) else answer

    def __deepcopy__(self, memo):
        return self

    def state_sha256(self):
        if not self.state and self.name is None:
            return UNIDENTIFIED
        digest = hashlib.sha256(f"{self.name}".encode())
        for part in self.state:
            if isinstance(part, nn.Module):
                digest.update(state_sha256(part).encode())
            else:
                digest_of(torch.as_tensor(part), digest)
        for part in self.rest if self.name is None else ():
            digest.update(_code(part) if isinstance(part, types.CodeType) else repr(part).encode())
        return digest.hexdigest()


def _held(value, depth, seen):
    """Networks, tensors, arrays, numbers, text and code that a function uses."""
    if isinstance(value, (int, float, str)):
        yield value
    if depth == 0 or id(value) in seen or isinstance(value, (int, float, str, type, types.ModuleType)):
        return
    seen.add(id(value))
    if isinstance(value, (nn.Module, torch.Tensor, np.ndarray)):
        yield value
        return
    parts = ()
    if isinstance(value, types.FunctionType):
        yield value.__code__
        used = inspect.getclosurevars(value)
        parts = [*used.nonlocals.values(), *used.globals.values(), *(value.__defaults__ or ())]
        parts += (value.__kwdefaults__ or {}).values()
    elif isinstance(value, types.MethodType):
        parts = value.__self__, value.__func__
    elif isinstance(value, functools.partial):
        parts = value.func, *value.args, *value.keywords.values()
    elif isinstance(value, Mapping):
        parts = value.values()
    elif isinstance(value, (list, tuple)):
        parts = value
    elif hasattr(value, "__dict__"):
        parts = *vars(value).values(), getattr(type(value), "__call__", None)  # noqa: B004
    for part in parts:
        yield from _held(part, depth - 1, seen)


def _code(code):
    """Bytes of what a function does: not where it stands."""
    parts = [code.co_code, repr(code.co_names).encode()]
    for constant in code.co_consts:
        parts.append(_code(constant) if isinstance(constant, types.CodeType) else repr(constant).encode())
    return b"|".join(parts)
