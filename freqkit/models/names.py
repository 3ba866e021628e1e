"""Which models there are by name or wildcard, and what is known of one before it is loaded."""

import fnmatch
from pathlib import Path

from freqkit.errors import UsageError
from freqkit.files.reading import read_text
from freqkit.models.networks import BUILT_IN
from freqkit.models.of_timm import published_weights, timm_package
from freqkit.models.study_zoo import PREFIX, Wanted, opened, study_names, wanted


def model_names(given, *, pretrained=False):
    """Names for `load_model`, each with its weights file or None, in order, each once.

    Args:
        given: list of `NAME`, `NAME=WEIGHTS` (a file), a wildcard (`cifar_resnet*`, `resnet*.a1_in1k`; over the
            built-in names and timm's; `study:*` over the study's), or `@FILE`: a text file with such entries, one a
            line, `#` for comments.
        pretrained: wildcards go over timm's published weights instead of its architectures.

    Returns:
        list of (name, weights or None).

    Raises:
        UsageError: a wildcard fits nothing, a file is not there, timm is needed and missing, a name comes twice.

    Example:
        >>> model_names(["cifar_resnet[23]?", "small_convnet=w.safetensors"])
        [('cifar_resnet20', None), ('cifar_resnet32', None), ('small_convnet', 'w.safetensors')]
    """
    found = []
    for text in given:
        if text.startswith("@"):
            path = Path(text[1:])
            if not path.is_file():
                raise UsageError(f"models: {str(path)!r} is not a file of model names.")
            lines = read_text(path, "a list of model names, one a line (UTF-8)").split("\n")
            lines = [line.partition("#")[0].strip() for line in lines]
            found += model_names([line for line in lines if line], pretrained=pretrained)
        elif set("*?[") & set(text) and text.startswith(PREFIX):
            known = study_names(text.removeprefix(PREFIX))
            if not known:
                raise UsageError(f"models: no network of the study fits {text!r}.")
            found += [(f"{PREFIX}{name}", None) for name in known]
        elif set("*?[") & set(text) and ":" not in text:
            known = [name for name in BUILT_IN if fnmatch.fnmatch(name, text)]
            if not known:
                timm = timm_package("models:")
                known = timm.list_pretrained(text) if pretrained else timm.list_models(text)
            if not known:
                raise UsageError(f"models: no built-in and no timm name fits {text!r}.")
            found += [(name, None) for name in known]
        else:
            name, _, weights = text.partition("=")
            found.append((name, weights or None))
    names = [name for name, _ in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        raise UsageError(f"models: every model must be named once; {', '.join(twice[:4]) or 'none'} is not.")
    return found


def list_models(pattern="*", *, pretrained=False):
    """Names that `load_model` knows: built-ins first, then timm's.

    Args:
        pattern: with `*` and `?`; without either, every name that contains it.
        pretrained: only timm names with published weights, with their tags.

    Returns:
        list of str.

    Example:
        >>> list_models("cifar_resnet?0")
        ['cifar_resnet20']
    """
    pattern = pattern if any(sign in pattern for sign in "*?[") else f"*{pattern}*"
    found = [] if pretrained else fnmatch.filter(BUILT_IN, pattern)
    timm = timm_package("models:")
    known = timm.list_pretrained() if pretrained else timm.list_models()
    return found + fnmatch.filter(known, pattern)


def describe_model(name):
    """What is known of a model without making or fetching its weights.

    Returns:
        dict: name, source ("built-in", "timm" or "study"), num_classes, input_size, mean, std, parameters, weights
        (None, or a dict of where published weights come from and `here`, their path on this machine or None).

    Raises:
        UsageError: no model has the name.

    Example:
        >>> describe_model("cifar_resnet20")["parameters"]
        269722
    """
    import torch

    if name.startswith(PREFIX):
        return _of_study(wanted(name))
    if name in BUILT_IN:
        make, classes, (mean, std) = BUILT_IN[name]
        network = make(num_classes=classes)
        return {
            "name": name, "source": "built-in", "num_classes": classes, "input_size": [32, 32], "mean": list(mean),
            "std": list(std), "parameters": sum(p.numel() for p in network.parameters()), "weights": None,
        }  # fmt: skip
    timm = timm_package("models:")
    if not timm.is_model(name) or ("." in name and name not in timm.list_pretrained()):
        import difflib

        near = difflib.get_close_matches(name, [*BUILT_IN, *timm.list_models(), *timm.list_pretrained()], n=4)
        hint = f"; near spellings: {', '.join(near)}" if near else ""
        raise UsageError(f"models: {name!r} is neither a built-in nor a timm name{hint}.")
    config = timm.get_pretrained_cfg(name)
    with torch.device("meta"):
        network = timm.create_model(name, pretrained=False)
    weights = None
    if config.has_weights:
        place = published_weights(name)
        weights = {
            "from": f"{config.hf_hub_id} (Hugging Face)" if config.hf_hub_id else config.url,
            "licence": config.license,
            "here": None if place is None else str(place),
        }
    return {
        "name": name, "source": "timm", "num_classes": config.num_classes, "input_size": list(config.input_size[1:]),
        "mean": list(config.mean), "std": list(config.std),
        "parameters": sum(p.numel() for p in network.parameters()), "weights": weights,
    }  # fmt: skip


def _of_study(one):
    import torch

    with torch.device("meta"):
        found, _ = opened(Wanted(one.name, one.entry, trained=False))
    files = ", ".join(one.files)
    here = one.find(None)
    return {
        "name": f"{PREFIX}{one.name}", "source": "study", "num_classes": found.classes, "input_size": list(found.size),
        "mean": list(found.mean), "std": list(found.std),
        "parameters": sum(p.numel() for p in found.network.parameters()),
        "weights": {
            "from": f"{one.source} ({files})", "licence": None, "here": str(here[0]) if here and here[0] else None
        } if one.trained else None,
    }  # fmt: skip


def study_models(folder=None):
    """The networks of the study of Gavrikov and Keuper (CVPR 2024), and which of their files are there.

    Args:
        folder: that of the weights; None: only what timm keeps on this machine is looked for.

    Returns:
        list of dict: name, studied (one of the 48), architecture (None: neither timm nor torchvision has it), files
        (name -> path or None), source, here (whether it can be loaded).

    Example:
        >>> [one["files"] for one in study_models() if one["name"] == "resnet50_swav"]
        [{'swav_800ep_pretrain.pth.tar': None, 'swav_800ep_eval_linear.pth.tar': None}]
    """
    if folder is not None and not Path(folder).is_dir():
        raise UsageError(f"models: the folder of the study's weights must be one; {str(folder)!r} is not.")
    found = []
    for name in study_names():
        one = wanted(name)
        places = one.find(folder)
        found.append(
            {
                "name": name, "studied": one.entry.studied, "architecture": one.entry.architecture,
                "files": {file: None if at is None else str(at) for file, at in zip(one.files, places, strict=True)},
                "source": one.source, "here": one.entry.architecture is not None and None not in places,
            }
        )  # fmt: skip
    return found
