"""From a name and a weights file to a `Classifier`."""

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import nn

from freqkit.errors import UsageError
from freqkit.files.reading import read_json
from freqkit.models.classifier import Classifier, channel_triple
from freqkit.models.networks import BUILT_IN
from freqkit.models.of_timm import timm_package
from freqkit.models.study_zoo import PREFIX, opened, wanted
from freqkit.models.weights import load_state, read_state_dict
from freqkit.models.wrap import PIXELS, Found, Picked, examine, published
from freqkit.options import Options, flat, option

HUB = ["config.json", "*.safetensors", "pytorch_model*.bin", "*.index.json"]  # what is fetched of a Hugging Face model


@dataclass(frozen=True, kw_only=True)
class Loading(Options):
    """What `load_model` is asked."""

    weights: str | os.PathLike | None = option(
        None, "safetensors or torch checkpoint; see `freqkit.models.read_state_dict`"
    )
    weights_dir: str | os.PathLike | None = option(
        None, "of `study:NAME`: the folder that holds the files of weights, as their projects call them"
    )
    pretrained: bool = option(False, "fetch timm's published weights. Nothing is ever downloaded otherwise")
    num_classes: int | None = option(
        None, "number of logits; None: what the network is made for", least=1, must="a positive integer"
    )
    allow_missing: bool = option(False, "accept keys that the file lacks; they stay on record")
    allow_unexpected: bool = option(
        False, "accept keys beyond the network's; they stay on record. A tensor of another shape is left out only when "
        "both are allowed",
    )  # fmt: skip
    weights_entry: str | None = option(None, 'entry of a checkpoint that holds the weights, e.g. "state_dict_ema"')
    mean: Sequence[float] | None = option(
        None, "with `std`: override the normalisation of pixels in [0, 1]. Refused for a network that normalises "
        "itself, unless they are 0 and 1",
    )  # fmt: skip
    std: Sequence[float] | None = option(None, "goes with `mean`")
    seed: int = option(0, "for the random initial weights; the global generator is left as it was")
    device: str | torch.device = option("cpu", "where the model shall live")

    def check(self, owner):
        if (self.mean is None) != (self.std is None):
            raise UsageError(f"{owner}: mean and std must be given together; got only one of them.")
        if self.weights is not None and self.pretrained:
            raise UsageError(f"{owner}: give either weights or pretrained=True; got both.")
        if self.weights is not None and self.weights_dir is not None:
            raise UsageError(f"{owner}: give either weights or weights_dir; got both.")
        return self


@flat
def load_model(name: str, own: Loading) -> Classifier:
    """A classifier in evaluation mode: [0, 1] RGB in, logits out, normalisation inside and on record.

    Args:
        name: one of
            - a built-in: `cifar_resnet20/32/44/56/110`, `cifar_resnet18`, `small_convnet`;
            - a timm name, with or without pretrained tag (`resnet18.a1_in1k`); normalisation and input size
              come from the tag's configuration;
            - `local-dir:FOLDER` or `hf-hub:OWNER/NAME`: what timm keeps there, a `config.json` and its weights, which
              are read as `weights` are; nothing is fetched from the hub without `pretrained`;
            - `study:NAME`, a network of Gavrikov and Keuper, CVPR 2024, with its weights from `weights_dir` and the
              normalisation that it was studied with; see `freqkit models list --study`;
            - `package.module:factory` or `path/file.py:factory`: a function (or class) that returns an
              `nn.Module`, or a function that gives logits. It is called with `num_classes=` when that is given and it
              takes it.
              Normalisation is the module's own `mean` and `std` if it has them and leaves them to its users (it then
              takes *normalised* images), else none. Whether it uses them itself, or has other parts that normalise, is
              asked (`freqkit.models.normalisation.own_normalisation`): then it gets images in [0, 1].

    Returns:
        `Classifier` with `.network`, `.mean`, `.std`, `.num_classes`, `.input_size`, `.name`, `.record`.

    Raises:
        UsageError: unknown name (with near spellings), timm missing, weights that do not fit, a factory
            that fails.

    Example:
        >>> import torch
        >>> from freqkit import load_model
        >>> model = load_model("cifar_resnet20")
        >>> model(torch.rand(2, 3, 32, 32)).shape, model.input_size
        (torch.Size([2, 10]), (32, 32))
    """
    if not isinstance(name, str) or not name:
        raise UsageError(f"load_model: name must be a non-empty string; got {name!r}.")
    device, weights, pretrained = _device(own.device), own.weights, own.pretrained
    study, read = wanted(name) if name.startswith(PREFIX) else None, None
    if study is None and own.weights_dir is not None:
        raise UsageError(f"load_model: weights_dir is for the names study:NAME; got {name!r}.")
    if study is not None and pretrained:
        raise UsageError(f"load_model: {name!r} is read from weights_dir, nothing is fetched; leave pretrained out.")
    if weights is None and own.weights_entry is not None and not name.startswith(("local-dir:", "hf-hub:", PREFIX)):
        raise UsageError(f"load_model: weights_entry={own.weights_entry!r} needs weights; got none.")

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(own.seed)  # torch.manual_seed would touch CUDA's generators too
        if name in BUILT_IN:
            source, found = "built-in", _built_in(name, own.num_classes, pretrained)
        elif name.startswith(("local-dir:", "hf-hub:")):
            folder = _folder(name, pretrained)
            source, found, pretrained = "timm", _from_folder(name, folder, own.num_classes, weights), False
            weights = folder if weights is None else weights
        elif study is not None:
            source = "study"
            found, read = opened(study, own.num_classes, own.weights_dir, weights, own.weights_entry)
        elif ":" in name:
            source, found = "factory", _from_factory(name, own.num_classes, pretrained, own.mean is not None)
        else:
            source, found = "timm", _from_timm(name, own.num_classes, pretrained)
    found.name = name
    network = found.network.network if isinstance(found.network, Picked) else found.network

    record = {"source": source, "pretrained": pretrained, "weights": None}
    if study is None and weights is not None:
        read = read_state_dict(weights, entry=own.weights_entry)
    if read is not None:
        state, origin = read
        what = f"load_model: weights {origin['file']!r} for {name!r}"
        allowed = {"allow_missing": own.allow_missing, "allow_unexpected": own.allow_unexpected}
        fit = load_state(network, state, what=what, **allowed)
        record["weights"] = {**origin, **fit}
    if not pretrained and (read is None or record["weights"]["missing"] or record["weights"]["other_shape"]):
        record["initial_seed"] = own.seed
    record["torch"] = torch.__version__
    if found.normalisation == "factory":
        # Buffers come with the weights.
        found.mean, found.std = channel_triple(network.mean, "mean"), channel_triple(network.std, "std")
    given = None if own.mean is None else (channel_triple(own.mean, "mean"), channel_triple(own.std, "std"))
    found.settle("load_model", given)
    return found.classifier(record).to(device).eval()


def _built_in(name, num_classes, pretrained):
    if pretrained:
        raise UsageError(f"load_model: the built-in {name!r} has no published weights to fetch; give weights=FILE.")
    make, classes, (mean, std) = BUILT_IN[name]
    classes = num_classes or classes
    network = make(num_classes=classes)
    return Found(network, name, mean, std, normalisation="built-in", classes=classes, size=(32, 32))


def _from_timm(name, num_classes, pretrained):
    timm = timm_package(f"load_model: {name!r} is no built-in ({', '.join(BUILT_IN)}) and")
    known = timm.is_model(name)
    if known and "." in name:
        known = name in timm.list_pretrained()
    if not known:
        names = [*BUILT_IN, *timm.list_models(), *timm.list_pretrained()]
        near = difflib.get_close_matches(name, names, n=4, cutoff=0.6)
        hint = f"; near spellings: {', '.join(near)}" if near else ""
        raise UsageError(
            f"load_model: name must be a built-in, a timm name, or module:factory; {name!r} is none of them{hint}."
        )
    published = timm.get_pretrained_cfg(name).num_classes
    if num_classes is None and not published:
        raise UsageError(f"load_model: {name!r} was published without a classifier; give num_classes to put one on it.")
    if pretrained and num_classes not in (None, published):
        raise UsageError(
            f"load_model: the published weights of {name!r} have {published} classes; got "
            f"num_classes={num_classes}, whose head would be random."
        )
    try:
        network = timm.create_model(
            name, pretrained=pretrained, **({} if num_classes is None else {"num_classes": num_classes})
        )
    except Exception as error:
        doing = "fetch the published weights of" if pretrained else "build"
        raise UsageError(f"load_model: timm could not {doing} {name!r} ({type(error).__name__}: {error}).") from error
    return _of_timm(network, timm)


def _of_timm(network, timm):
    known = published("load_model", network)
    known["facts"]["timm"] = timm.__version__
    return Found(network, classes=network.num_classes, **known)


def _folder(name, pretrained):
    """Where the files of a name of timm's are that is no name of an architecture."""
    kind, _, place = name.partition(":")
    if kind == "local-dir":
        if not Path(place, "config.json").is_file():
            raise UsageError(f"load_model: {name!r} must be a folder with a config.json; {place!r} is none.")
        return Path(place)
    from huggingface_hub import snapshot_download

    owner, _, revision = place.partition("@")
    try:
        return Path(
            snapshot_download(owner, revision=revision or None, allow_patterns=HUB, local_files_only=not pretrained)
        )
    except Exception as error:  # of the network, of the hub, of the name
        first = (str(error).strip().splitlines() or [""])[0]
        advice = "" if pretrained else ": it is not on this machine; pretrained=True fetches it (a command: --download)"
        raise UsageError(f"load_model: {name!r} could not be had ({type(error).__name__}: {first}){advice}.") from error


def _from_folder(name, folder, num_classes, weights):
    """A network of timm by its config.json; nothing of a folder is run."""
    timm = timm_package(f"load_model: {name!r} is of timm, and")
    config = read_json(folder / "config.json", dict, "a configuration of timm")
    if not isinstance(config.get("architecture"), str):
        kind = config.get("architectures") or [config.get("model_type")]
        raise UsageError(
            f"load_model: the config.json of {name!r} names no architecture of timm, but {kind[0]!r}; load it with its"
            " own library in a function, and give that as file.py:function, or the network to freqkit.wrap."
        )
    says, arguments = config.get("pretrained_cfg", config), config.get("model_args") or {}
    classes = config.get("num_classes", says.get("num_classes"))
    if num_classes not in (None, classes) and weights is None:
        raise UsageError(f"load_model: the weights of {name!r} have {classes} classes; got num_classes={num_classes}.")
    allowed = {each.name for each in fields(timm.models.PretrainedCfg)} - {"state_dict", "file", "url", "hf_hub_id"}
    taken = inspect.signature(timm.create_model).parameters
    try:
        network = timm.create_model(
            config["architecture"], pretrained_cfg={key: value for key, value in says.items() if key in allowed},
            num_classes=num_classes or classes, **{key: v for key, v in arguments.items() if key not in taken},
        )  # fmt: skip
    except Exception as error:
        raise UsageError(f"load_model: timm could not build {name!r} ({type(error).__name__}: {error}).") from error
    return _of_timm(network, timm)


def _from_factory(name, num_classes, pretrained, told):
    if pretrained:
        raise UsageError(f"load_model: pretrained=True is for timm names; {name!r} is a factory.")
    place, _, attribute = name.rpartition(":")
    facts = {}
    with _importable(Path(place).parent if place.endswith(".py") else Path.cwd()):
        if place.endswith(".py"):
            module = _module_from_file(name, Path(place))
            facts["factory_sha256"] = hashlib.sha256(Path(place).read_bytes()).hexdigest()
        else:
            try:
                module = importlib.import_module(place)
            except Exception as error:
                raise UsageError(
                    f"load_model: module {place!r} of {name!r} could not be imported ({type(error).__name__}: {error})."
                ) from error
        factory = getattr(module, attribute, None)
        if not callable(factory) or isinstance(factory, nn.Module):
            defined = [key for key, value in vars(module).items() if callable(value) and key[0] != "_"]
            near = difflib.get_close_matches(attribute, defined, n=3)
            hint = f"; near spellings: {', '.join(near)}" if near else ""
            raise UsageError(
                f"load_model: {place!r} must define a function {attribute!r} that returns an nn.Module; "
                f"it defines {'no such name' if factory is None else 'a ' + type(factory).__name__}{hint}."
            )
        keywords = {}
        if num_classes is not None and _takes(factory, "num_classes"):
            keywords["num_classes"] = num_classes
        try:
            network = factory(**keywords)
        except Exception as error:
            raise UsageError(f"load_model: factory {name!r} failed ({type(error).__name__}: {error}).") from error
    if not callable(network):
        raise UsageError(
            f"load_model: factory {name!r} must return an nn.Module; it returned a {type(network).__name__}"
            " (a function that gives logits is taken, too)."
        )
    if isinstance(network, Classifier):
        found = Found(
            network.network, name, network.mean, network.std, normalisation="classifier", classes=network.num_classes,
            size=network.input_size, facts={**network._record, **facts},
        )  # fmt: skip
    else:
        found = examine("load_model", network, name=name, classes=num_classes, told=told)
        found.facts.update(facts)
        if found.normalisation == "network":
            found.normalisation = "factory"
        elif found.normalisation != "the network's own":
            found.settle("load_model", PIXELS, "as no mean and std are given")
            found.normalisation = "none"
    if found.classes is None:
        raise UsageError(
            f"load_model: the number of classes of {name!r} is not evident (no num_classes attribute, "
            f"no Linear layer); give num_classes."
        )
    if num_classes not in (None, found.classes):
        raise UsageError(
            f"load_model: {name!r} made a network of {found.classes} classes; got num_classes={num_classes}."
        )
    return found


def _takes(factory, keyword):
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(p.name == keyword or p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)


def _module_from_file(name, path):
    if not path.is_file():
        raise UsageError(f"load_model: {str(path)!r} of {name!r} is not a file.")
    path = path.resolve()
    key = "freqkit_factory_" + hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    spec = importlib.util.spec_from_file_location(key, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[key] = module  # dataclasses and pickling look their module up here
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[key]
        raise UsageError(
            f"load_model: {path.name!r} of {name!r} could not be run ({type(error).__name__}: {error})."
        ) from error
    return module


@contextmanager
def _importable(folder):
    """Let the factory import what lies beside it, as `python file.py` would."""
    entry = str(folder.resolve())
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        sys.path.remove(entry)


def _device(device):
    try:
        device = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise UsageError(
            f"load_model: device must be a torch device such as 'cpu' or 'cuda:0'; got {device!r}."
        ) from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"load_model: device {str(device)!r} is not there; this machine has "
            f"{torch.cuda.device_count()} CUDA devices."
        )
    return device
