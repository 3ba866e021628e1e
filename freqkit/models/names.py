"""Which models a list of names, wildcards and files stands for."""

import fnmatch
from pathlib import Path

from freqkit.errors import UsageError
from freqkit.models.networks import BUILT_IN


def model_names(given, *, pretrained=False):
    """Names for `load_model`, each with its weights file or None, in order, each once.

    Args:
        given: list of `NAME`, `NAME=WEIGHTS` (a file), a wildcard (`cifar_resnet*`, `resnet*.a1_in1k`; over the
            built-in names and timm's), or `@FILE`: a text file with such entries, one a line, `#` for comments.
        pretrained: wildcards go over timm's published weights instead of its architectures.

    Returns:
        list of (name, weights or None).

    Raises:
        UsageError: a wildcard fits nothing, a file is not there, timm is needed and missing, a name comes twice.

    Example:
        >>> model_names(["cifar_resnet[23]*", "small_convnet=w.safetensors"])
        [('cifar_resnet20', None), ('cifar_resnet32', None), ('small_convnet', 'w.safetensors')]
    """
    found = []
    for text in given:
        if text.startswith("@"):
            path = Path(text[1:])
            if not path.is_file():
                raise UsageError(f"models: {str(path)!r} is not a file of model names.")
            lines = [line.partition("#")[0].strip() for line in path.read_text("utf-8").splitlines()]
            found += model_names([line for line in lines if line], pretrained=pretrained)
        elif set("*?[") & set(text) and ":" not in text:
            known = [name for name in BUILT_IN if fnmatch.fnmatch(name, text)] or _timm(text, pretrained)
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


def _timm(pattern, pretrained):
    try:
        import timm
    except Exception as error:
        # Not only ImportError: a torchvision made for another torch fails with RuntimeError or OSError.
        raise UsageError(f"models: {pattern!r} is no built-in, and timm could not be imported ({error}).") from error
    return timm.list_pretrained(pattern) if pretrained else timm.list_models(pattern)
