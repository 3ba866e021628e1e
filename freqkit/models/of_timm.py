"""The package timm, which has most networks, and where it keeps weights on this machine."""

from pathlib import Path

import torch

from freqkit.errors import UsageError


def timm_package(who):
    """The module timm; `who` begins the sentence when it cannot be imported."""
    try:
        import timm
    except Exception as error:
        # Not only ImportError: a torchvision made for another torch fails with RuntimeError or OSError.
        raise UsageError(
            f"{who} timm, which knows the other names, could not be imported ({type(error).__name__}: "
            f"{str(error).partition(chr(10))[0]}); install timm and a torchvision that matches torch "
            f"{torch.__version__}."
        ) from error
    return timm


def published_weights(name):
    """Path of timm's published weights of a model on this machine, or None; nothing is fetched."""
    config = timm_package("models:").get_pretrained_cfg(name)
    if config is None:
        return None
    if config.file and Path(config.file).is_file():
        return Path(config.file)
    if config.hf_hub_id:
        from huggingface_hub import try_to_load_from_cache

        names = [config.hf_hub_filename] if config.hf_hub_filename else ["model.safetensors", "pytorch_model.bin"]
        for file in names:
            place = try_to_load_from_cache(config.hf_hub_id, file)
            if isinstance(place, str):
                return Path(place)
    if config.url:
        place = Path(torch.hub.get_dir()) / "checkpoints" / config.url.rpartition("/")[2]
        if place.is_file():
            return place
    return None
