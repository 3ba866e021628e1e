"""The networks of a study, `study:NAME`: what each is, which file its weights are in, and what its keys are called.

Of 48 ResNet-50s that differ in their training alone, and 22 more, by the names of its table. Their weights were
published by some twenty projects, each in a form of its own; they are read from a folder, and nothing is fetched.

Source: Gavrikov and Keuper, "Can Biases in ImageNet Models Explain Generalization?", CVPR 2024.
"""

import difflib
import fnmatch
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from freqkit.errors import UsageError
from freqkit.models.networks import IMAGENET
from freqkit.models.of_timm import published_weights, timm_package
from freqkit.models.weights import NoWeights, read_state_dict
from freqkit.models.wrap import PIXELS, Found

PREFIX, UNTRAINED = "study:", "_untrained"
SUFFIXES = (".safetensors", ".pth", ".pt", ".pth.tar", ".ckpt", ".bin")
# Entries of a checkpoint that hold the weights: what any file may have (None), and one inside another.
ENTRIES = (None, *(f"{outer}.online_backbone" for outer in ("state_dict", "model_state_dict")), "online_backbone")
# The study read the images of all of them alike: a shorter side of 256, then the middle.
SIDE, CROP = 224, {"crop_pct": 0.875, "interpolation": "bilinear"}


# ---- what becomes of keys: the state dicts of the files -> that of the network --------------------------------------


def plain(state):
    """Keys of the network, maybe behind `module.` of a parallel training."""
    return {key.removeprefix("module."): value for key, value in state.items()}


def robust(state):
    """The network inside a training by attacks: the attacker's copy of it and what normalises are left."""
    kept = {key: value for key, value in plain(state).items() if not key.startswith(("attacker.", "normalizer."))}
    return {key.removeprefix("model."): value for key, value in kept.items()}


def debiased(state):
    """Without the second batch norms, which were for images of conflicting shape and texture alone."""
    return {key: value for key, value in plain(state).items() if ".aux_bn." not in key}


def backbone_and(head):
    """Of two files: a network without its classifier, and a linear one, which becomes `head`."""

    def rule(backbone, linear):
        kept = {k: v for k, v in plain(backbone).items() if not k.startswith(("projection_head.", "prototypes."))}
        return kept | {re.sub("^linear[.]", f"{head}.", key): value for key, value in plain(linear).items()}

    return rule


_SIMCLR = {
    "net.0": "conv1", "net.1.0": "bn1", "net.2": "conv2", "net.3.0": "bn2", "net.4": "conv3", "net.5.0": "bn3",
    "projection.shortcut": "downsample.0", "projection.bn.0": "downsample.1",
}  # fmt: skip


def simclr(state):
    """Names of a port from TensorFlow: `net.2.blocks.0.net.1.0.weight` is `layer2.0.bn1.weight`."""

    def renamed(key):
        if stem := re.fullmatch(r"net\.0\.(?:(0)|1\.0)\.(\w+)", key):
            return f"{'conv1' if stem[1] else 'bn1'}.{stem[2]}"
        block = re.fullmatch(r"net\.([1-4])\.blocks\.(\d+)\.(.+)\.(\w+)", key)
        return f"layer{block[1]}.{block[2]}.{_SIMCLR.get(block[3], block[3])}.{block[4]}" if block else key

    return {renamed(key): value for key, value in state.items()}


# ---- the networks ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """One network of the study.

    Attributes:
        architecture: timm's name, of timm's weights with their tag; `torchvision/NAME` is one of torchvision; None:
            neither has it.
        files: names under which its weights are published; {} stands for its own name, where that is left open.
        source: who published them, and where.
        rule: from their state dicts to that of the network. entries: where these are in a file, tried in this order.
        scale: (mean, std); None: as timm has it.
        studied: whether it is one of the 48.
        more: what timm is told besides the name.
    """

    architecture: str | None = "resnet50"
    files: tuple[str, ...] = ("{}.pth",)
    source: str = ""
    rule: Callable = plain
    entries: tuple = ENTRIES
    scale: tuple | None = IMAGENET
    studied: bool = True
    more: dict = field(default_factory=dict)


def _timm(architecture, studied=True):
    return Entry(architecture, (), scale=None, studied=studied)


def _drive(number, project, **how):
    return Entry(source=f"{project}, Google Drive {number}", **how)


_STYLIZED = "Geirhos et al., ICLR 2019: github.com/rgeirhos/texture-vs-shape"
_MOCO = "MoCo v3, dl.fbaipublicfiles.com/moco-v3"
_MADRY = "Salman et al., NeurIPS 2020: huggingface.co/madrylab/robust-imagenet-models"
_DINO, _SWAV = "DINO, dl.fbaipublicfiles.com/dino", "SwAV, dl.fbaipublicfiles.com/deepcluster"
_DEBIASED = "github.com/LiYingwei/ShapeTextureDebiasedTraining"
_AUTHORS = "the study's authors"
_NOWHERE = f"{_AUTHORS}, who published no file of it"
_EPS = {
    "l2": ("0", "0.01", "0.03", "0.05", "0.1", "0.25", "0.5", "1", "3", "5"),
    "linf": ("0.5", "1.0", "2.0", "4.0", "8.0"),
}  # fmt: skip

STUDY: dict[str, Entry] = {
    "tv_resnet50": _timm("resnet50.tv_in1k"),
    "tv2_resnet50": _timm("resnet50.tv2_in1k"),
    **{f"resnet50.{tag}_in1k": _timm(f"resnet50.{tag}_in1k") for tag in "a1 a1h a2 a3 b1k b2k c1 c2 d".split()},
    "resnet50_diffusionnoise_fixed_nonoise": Entry(
        files=("resnet50_diffusionnoise_nonorm_last.pth",), scale=PIXELS,
        source=f"{_AUTHORS}: huggingface.co/paulgavrikov/resnet50.in1k_diffusionnoise_90ep",
    ),
    "resnet50_prime": Entry(
        files=("ResNet50_ImageNet_PRIME_noJSD.ckpt",),
        source="PRIME, zenodo.org/records/5801872 (github.com/amodas/PRIME-augmentations)",
    ),
    "resnet50_deepaugment": _drive("1DPRElQnBG66nd7GUphVm1t-5NroL7t7k", "github.com/hendrycks/imagenet-r"),
    "resnet50_noisymix": _drive("1Na79fzPZ0Azg01h6kGn1Xu5NoWOElSuG", "github.com/erichson/NoisyMix"),
    "resnet50_deepaugment_augmix": _drive("1QKmc_p6-qDkh51WvsaS9HKFv8bX5jLnP", "github.com/hendrycks/imagenet-r"),
    "resnet50_pixmix_90ep": _drive("1_i45yvC88hos50QjkoD97OgbDGreKdp9", "github.com/andyzoujm/pixmix"),
    "resnet50_pixmix_180ep": _drive("1cgKYXDym3wgquf-4hwr_Ra3qje6GNHPH", "github.com/andyzoujm/pixmix"),
    "resnet50_augmix_180ep": _drive("1z-1V3rdFiwqSECz7Wkmn4VJVefJGJGiF", "github.com/google-research/augmix"),
    "resnet50_tsbias_tbias": _drive("1tFy2Q28rAqqreaS-27jifpyPzlohKDPH", _DEBIASED, rule=debiased),
    "resnet50_tsbias_sbias": _drive("1p0fZ9rU-J1v943tA7PlNMLuDXk_1Iy3K", _DEBIASED, rule=debiased),
    "resnet50_tsbias_debiased": _drive("1r-OSfTtrlFhB9GPiQXUE1h6cqosaBePw", _DEBIASED, rule=debiased),
    "resnet50_opticsaugment": _drive(
        "1y0MSlVfzZBKZQEiZF2FCOmsk-91miIHR", "github.com/PatMue/classification_robustness"
    ),
    "resnet50_trained_on_SIN": Entry(files=("resnet50_train_60_epochs-c8e5653e.pth.tar",), source=_STYLIZED),
    "resnet50_trained_on_SIN_and_IN_then_finetuned_on_IN": Entry(
        files=(
            "resnet50_finetune_60_epochs_lr_decay_after_30_start_resnet50_train_45_epochs_combined_IN_SF-"
            "ca06340c.pth.tar",
        ), source=_STYLIZED,
    ),
    "resnet50_trained_on_SIN_and_IN": Entry(
        files=("resnet50_train_45_epochs_combined_IN_SF-2a0d100e.pth.tar",), source=_STYLIZED
    ),
    "resnet50_frozen_random": _drive("1IT65JJauql-Jdw-0AjAhEGGApGMVx-VE", _AUTHORS),
    **{
        f"robust_resnet50_{norm}_eps{eps}": Entry(
            files=(f"resnet50_{norm}_eps{eps}.ckpt",), source=_MADRY, rule=robust, entries=("model", *ENTRIES)
        )
        for norm, sizes in _EPS.items() for eps in sizes
    },
    **{
        f"resnet50_moco_v3_{epochs}ep": Entry(files=(f"linear-{epochs}ep.pth.tar",), source=f"{_MOCO}/r-50-{epochs}ep")
        for epochs in (100, 300, 1000)
    },
    "resnet50_dino": Entry(
        files=("dino_resnet50_pretrain.pth", "dino_resnet50_linearweights.pth"),
        source=f"{_DINO}/dino_resnet50_pretrain", rule=backbone_and("fc"),
    ),
    "resnet50_swav": Entry(
        files=("swav_800ep_pretrain.pth.tar", "swav_800ep_eval_linear.pth.tar"), source=_SWAV, rule=backbone_and("fc")
    ),
    "resnet50_simclrv2": _drive(
        "1fDaMhujPnxo4SYOe4asPqCKQ3XB_sZvj", "SimCLRv2 by github.com/Separius/SimCLRv2-Pytorch", rule=simclr,
        entries=("resnet", *ENTRIES), scale=PIXELS,
    ),
    # The other 22.
    "vit_base_patch16_224.mae_in1k": Entry(
        "vit_base_patch16_224", ("mae_finetuned_vit_base.pth",), "MAE, dl.fbaipublicfiles.com/mae/finetune",
        studied=False, scale=None, more={"global_pool": "avg"},
    ),
    "vit_base_patch16_224.dino_in1k": Entry(
        "vit_base_patch16_224", ("dino_vitbase16_pretrain.pth", "checkpoint.pth.tar"),
        f"{_DINO}/dino_vitbase16_pretrain, and huggingface.co/paulgavrikov/in1k_head_for_vit_base_patch16_224.dino",
        rule=backbone_and("head"), studied=False,
    ),
    "vit_base_patch16_224.torchvision_deit": Entry(
        "torchvision/vit_b_16", ("vit_b_16-c867db91.pth",), "torchvision, download.pytorch.org/models", studied=False
    ),
    **{
        name: _timm(name, False)
        for name in (
            "vit_base_patch16_224.augreg_in1k", "vit_base_patch16_224.sam_in1k", "vit_base_patch32_224.augreg_in1k",
        )
    },
    **{
        name: _timm(tagged, False)
        for name, tagged in (
            ("ssl_resnet50", "resnet50.fb_ssl_yfcc100m_ft_in1k"), ("swsl_resnet50", "resnet50.fb_swsl_ig1b_ft_in1k"),
            ("resnet50_gn", "resnet50_gn.a1h_in1k"), ("resnet18", "resnet18.a1_in1k"), ("resnet34", "resnet34.a1_in1k"),
            ("resnet101", "resnet101.a1h_in1k"), ("resnet152", "resnet152.a1h_in1k"),
            ("resnetv2_50x1_bit_distilled", "resnetv2_50x1_bit.goog_distilled_in1k"),
            ("nf_resnet50", "nf_resnet50.ra2_in1k"), ("lambda_resnet50ts", "lambda_resnet50ts.a1h_in1k"),
        )
    },
    "resnet50_lpmix": Entry(source=_NOWHERE, studied=False),
    "resnet50_freqmix": Entry(source=_NOWHERE, studied=False),
    "resnet50_diffusionnoise": Entry(source=_NOWHERE, studied=False, scale=PIXELS),
    "resnet50_diffusionnoise_fixed": Entry(source=_NOWHERE, studied=False, scale=PIXELS),
    "vonenet_resnet50": Entry(None, (), "VOneNet, github.com/dicarlolab/vonenet", studied=False),
    "resnet50_untrained": Entry(files=(), studied=False),
}  # fmt: skip
YOURS = Entry(source="your own training of a ResNet-50")  # study:resnet50 --weights FILE
# The study's code and its table do not agree on a name.
ALIASES = {"resnet50_diffusionnoise_nonoise": "resnet50_diffusionnoise_fixed_nonoise"}


@dataclass(frozen=True)
class Wanted:
    """A network that was asked for by its name.

    Attributes:
        name: in the study. entry: what is known of it. trained: whether it has weights.
    """

    name: str
    entry: Entry
    trained: bool

    @property
    def of_timm(self):
        """What timm knows of its weights, where they are timm's."""
        if self.entry.files or not self.trained or self.entry.architecture is None:
            return None
        return _timm_package().get_pretrained_cfg(self.entry.architecture)

    @property
    def files(self):
        """Names under which its weights are published."""
        if config := self.of_timm:
            return [config.url.rpartition("/")[2] if (config.url or "").endswith(".pth") else "model.safetensors"]
        return [file.format(self.name) for file in self.entry.files if self.trained]

    @property
    def source(self):
        """Who published them, and where."""
        config = self.of_timm
        return f"timm, huggingface.co/{config.hf_hub_id}" if config else self.entry.source

    def find(self, folder):
        """Paths of its files below a folder (or None) and, of timm's own, on this machine; None for what is not there.

        A file stands in the folder, or in one of the network's name; a single one may bear the network's name.
        """
        files, config, found = self.files, self.of_timm, []
        for file in files:
            places = []
            if folder is not None:
                # What many projects call their file could be anybody's beside others.
                general = file in ("checkpoint.pth.tar", "model.safetensors")
                places = [Path(folder, self.name, file), *([] if general else [Path(folder, file)])]
                places += [Path(folder, self.name, "model.safetensors")] * (config is not None)
                places += [Path(folder, f"{self.name}{suffix}") for suffix in SUFFIXES if len(files) == 1]
            found.append(next((place for place in places if place.is_file()), None))
        if config is not None and found == [None]:
            found = [published_weights(self.entry.architecture)]
        return found


def wanted(name: str) -> Wanted:
    """The network of `study:NAME`, or NAME.

    Raises:
        UsageError: the study has no such network; near spellings are given.

    Example:
        >>> wanted("study:resnet50_prime").files, wanted("resnet50_prime_untrained").files
        (['ResNet50_ImageNet_PRIME_noJSD.ckpt'], [])
    """
    name = name.removeprefix(PREFIX)
    name = ALIASES.get(name, name)
    base = name.removesuffix(UNTRAINED)
    entry = STUDY.get(name) or STUDY.get(base) or (YOURS if base == "resnet50" else None)
    if entry is None:
        near = difflib.get_close_matches(name, STUDY, n=4, cutoff=0.6)
        hint = f"; near spellings: {', '.join(near)}" if near else ""
        raise UsageError(f"load_model: the study has no network {name!r}{hint}.")
    return Wanted(name, entry, base == name)


def study_names(pattern: str = "*") -> list[str]:
    """Names of the study's networks, the 48 first.

    Example:
        >>> study_names("resnet50_moco*")
        ['resnet50_moco_v3_100ep', 'resnet50_moco_v3_300ep', 'resnet50_moco_v3_1000ep']
    """
    return fnmatch.filter(STUDY, pattern)


def build(entry: Entry, num_classes: int | None = None) -> torch.nn.Module:
    """The network of an entry, with random weights."""
    classes = {} if num_classes is None else {"num_classes": num_classes}
    package, _, name = (entry.architecture or "").rpartition("/")
    if package:
        from torchvision import models

        return getattr(models, name)(**classes)
    return _timm_package().create_model(entry.architecture, pretrained=False, **classes, **entry.more)


def opened(one: Wanted, num_classes=None, folder=None, weights=None, weights_entry=None):
    """(`Found` of the network with random weights, what `read_weights` gives of it or None).

    Raises:
        UsageError: neither timm nor torchvision has it, or its files are not there.
    """
    entry = one.entry
    if entry.architecture is None:
        raise UsageError(
            f"load_model: {PREFIX}{one.name} is of {entry.source}, and in neither timm nor torchvision; give a function"
            " that makes it, as file.py:function."
        )
    read = read_weights(one, folder, weights, weights_entry) if one.trained else None
    network = build(entry, num_classes)
    config = getattr(network, "pretrained_cfg", {})
    mean, std = entry.scale or (tuple(config["mean"]), tuple(config["std"]))
    facts = {"architecture": entry.architecture, "study": one.name}
    found = Found(network, one.name, mean, std, normalisation="study", classes=num_classes or 1000, facts=facts)
    found.size, found.transform = (SIDE, SIDE), CROP
    return found, read


def read_weights(one: Wanted, folder=None, weights=None, entry=None):
    """(state dict of the network, facts for the record).

    Args:
        folder: where its files are. weights: one file (of a network that has one) instead.
        entry: of a checkpoint that holds the weights, where it is not one of the usual.

    Raises:
        UsageError: a file is not there; the sentence says which, and from which project it is.
    """
    paths = [Path(weights)] if weights is not None and len(one.files) == 1 else one.find(folder)
    missing = [file for file, path in zip(one.files, paths, strict=True) if path is None]
    if missing:
        alone = f" (or {one.name}{SUFFIXES[1]})" if len(paths) == 1 and one.files[0] != f"{one.name}.pth" else ""
        where = "give the folder that holds it (weights_dir)" if folder is None else f"it is not in {str(folder)!r}"
        raise UsageError(
            f"load_model: {PREFIX}{one.name} wants {' and '.join(map(repr, missing))}{alone} of {one.source}; {where}."
        )
    read = [_read(path, one.entry.entries if entry is None else (entry,)) for path in paths]
    facts = dict(read[0][1])
    if len(read) > 1:
        facts["head"] = read[1][1]
    return one.entry.rule(*(state for state, _ in read)), {**facts, "source": one.source}


def _read(path, entries):
    """The state dict of a file, under the first of some entries that it has."""
    first = None
    for entry in entries:
        try:
            return read_state_dict(path, entry=entry)
        except NoWeights as error:
            first = first or error
    raise first


def _timm_package():
    return timm_package("load_model: the study's networks are made by timm, and")
