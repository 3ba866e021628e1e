"""Which normalisation a network does itself, and numbers that cannot be a mean and std of pixels in [0, 1]."""

import math
import re
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

# Names under which networks keep the mean of the pixels that they subtract themselves, and what goes with it.
MEANS = (
    "mean", "_mean", "means", "mu", "pixel_mean", "_pixel_mean", "image_mean", "img_mean", "rgb_mean", "channel_mean",
    "channel_means", "norm_mean", "normalize_mean", "input_mean", "data_mean", "dataset_mean", "imagenet_mean",
)  # fmt: skip
ACTS = re.compile(r"normali[sz]|standardi[sz]|preproc|whiten", re.IGNORECASE)  # in names of what acts on pixels
SHIFT = 0.125  # by which a mean is changed to see whether logits change, of its largest value
SIDES = (64, 32, 224, 28, 299)  # of the images shown, tried in turn where the network does not say its own


def own_normalisation(network, input_size=None):
    """What the network itself does to pixels: the means that it keeps and uses, and parts that normalise images.

    It is asked, not read. Each buffer or attribute that is called a mean of pixels is changed for a moment, and each
    part without parameters that is called a normalisation, and gets images, is passed over: it matters when the logits
    change. Where nothing of such a name is there, nothing is asked, and no forward takes place. Modules inside
    torchvision's `Compose` are asked as well. The network is left as it was.

    Args:
        network: a module that takes images [B, 3, H, W].
        input_size: (H, W), or None for one that takes any.

    Returns:
        list of str, paths such as "mean" or "0.pixel_mean", in the order of the modules.

    Example:
        >>> class Own(nn.Sequential):
        ...     mean, std = (0.5, 0.4, 0.3), (0.2, 0.2, 0.2)
        ...     def forward(self, x):
        ...         mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (self.mean, self.std))
        ...         return super().forward((x - mean) / std)
        >>> layers = nn.Flatten(), nn.Linear(3 * 8 * 8, 4)
        >>> own_normalisation(Own(*layers), (8, 8)), own_normalisation(nn.Sequential(*layers), (8, 8))
        (['mean'], [])
    """
    parts = list(_parts(network))
    kept = [(path, part, name) for path, part in parts for name in _means(part)]
    acting = [
        (path, part) for path, part in parts
        if part is not network and isinstance(part, nn.Module) and next(part.parameters(), None) is None
        and not isinstance(part, torch.jit.ScriptModule)
        and ACTS.search(f"{path.rpartition('.')[2]} {type(part).__name__}")
    ]  # fmt: skip
    if not (kept or acting):
        return []
    with _asked(network) as answer:
        x, before = next(
            ((x, found) for x in _images(network, input_size) if (found := answer(x)) is not None), (None, None)
        )
        again = None if x is None else answer(x)
        if again is None or not torch.equal(before, again):
            return []  # it cannot be asked; whoever uses it is told why

        def changes(context):
            with context:
                after = answer(x)
            return after is None or not torch.equal(before, after)

        found = [f"{path}.{name}".lstrip(".") for path, part, name in kept if changes(_shifted(part, name))]
        seen = {path.rpartition(".")[0] for path in found}
        found += [path for path, part in acting if path not in seen and changes(_passed_over(part, x.shape))]
    return found


def _parts(network):
    """(path, object) of all modules, and of what stands in lists of transforms that are no modules."""
    for path, module in network.named_modules():
        yield path, module
        for name, value in vars(module).items():
            inside = getattr(value, "transforms", None)
            if not isinstance(value, nn.Module) and isinstance(inside, (list, tuple)):
                yield from ((f"{path}.{name}.{i}".lstrip("."), part) for i, part in enumerate(inside))


def _means(part):
    """Names of buffers and attributes that hold a mean of pixels: three numbers, or one with a std beside it."""
    for name in MEANS:
        size = numbers(getattr(part, name, None))
        spread = [name.replace("means", "stds").replace("mean", "std").replace("mu", "sigma"), "std", "sigma"]
        if size == 3 or (size == 1 and any(numbers(getattr(part, other, None)) for other in spread)):
            yield name


def numbers(value):
    """How many numbers a value is, when it is one or three, else 0."""
    if isinstance(value, (torch.Tensor, np.ndarray)):
        count = int(np.prod(value.shape))
        return count if count in (1, 3) and "float" in str(value.dtype) else 0
    if isinstance(value, (list, tuple)):
        good = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in value)
        return len(value) if good and len(value) in (1, 3) else 0
    return int(isinstance(value, float))


def _images(network, input_size):
    """Random images, of each size that is worth a try."""
    like = next(network.parameters(), torch.empty(0))
    for size in [input_size] if input_size else [(side, side) for side in SIDES]:
        x = torch.rand((2, 3, *size), generator=torch.Generator().manual_seed(0))
        yield x.to(like.device, like.dtype if like.dtype.is_floating_point else torch.float32)


@contextmanager
def evaluating(*networks):
    """Inside, networks are in evaluation mode; the mode of each of their parts comes back."""
    modes = [(part, part.training) for network in networks for part in network.modules()]
    for part, _ in modes:
        part.training = False
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


@contextmanager
def batch_statistics(*networks):
    """Inside, BatchNorm takes mean and variance of each batch, also in evaluation mode, and keeps nothing of them."""
    parts = [part for network in networks for part in network.modules()]
    norms = [part for part in parts if isinstance(part, torch.nn.modules.batchnorm._BatchNorm)]

    def of_batch(norm):
        def forward(x):
            return torch.nn.functional.batch_norm(x, None, None, norm.weight, norm.bias, True, 0.0, norm.eps)

        return forward

    before = [norm.__dict__.get("forward") for norm in norms]
    for norm in norms:
        norm.forward = of_batch(norm)
    try:
        yield
    finally:
        for norm, forward in zip(norms, before, strict=True):
            if forward is None:
                norm.__dict__.pop("forward", None)
            else:
                norm.forward = forward


@contextmanager
def _asked(network):
    """A function of images that gives logits, or None where the network fails; its mode comes back."""

    def answer(x):
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                found = network(x.clone())
        except Exception:
            # It may want images of another size, or fail for a reason of its own, which whoever uses it is told.
            return None
        return found if isinstance(found, torch.Tensor) else None

    with evaluating(network):
        yield answer


@contextmanager
def _shifted(part, name):
    """Inside, a mean that the part keeps is another one."""
    value = getattr(part, name)
    if isinstance(value, torch.Tensor):
        before = value.detach().clone()
        with torch.no_grad():
            value.add_(SHIFT * max(1.0, float(before.abs().max())))
        try:
            yield
        finally:
            with torch.no_grad():
                value.copy_(before)
        return
    own = name in vars(part)
    if isinstance(value, (list, tuple)):
        other = type(value)(v + SHIFT * max(1.0, *map(abs, value)) for v in value)
    else:
        other = value + SHIFT * max(1.0, float(np.abs(value).max()))
    try:
        setattr(part, name, other)
    except (AttributeError, TypeError):
        yield  # a property without a setter: what it is made of is asked by itself
        return
    try:
        yield
    finally:
        setattr(part, name, value) if own else delattr(part, name)


@contextmanager
def _passed_over(part, shape):
    """Inside, a module that is given images of this shape gives them back."""

    def hook(module, inputs, output):
        same = inputs and isinstance(inputs[0], torch.Tensor) and inputs[0].shape == shape
        return inputs[0] if same else None

    handle = part.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def begins_with_statistics(network):
    """What the first layer is when it can only be there to normalise pixels in [0, 1], in words, else None.

    A batch norm of three channels whose running statistics are those of such pixels, or a convolution of each channel
    by itself that subtracts a mean and divides by a std.

    Example:
        >>> first = nn.BatchNorm2d(3)
        >>> begins_with_statistics(nn.Sequential(first)) is None
        True
        >>> _ = first.running_mean.fill_(0.45), first.running_var.fill_(0.05)
        >>> begins_with_statistics(nn.Sequential(first))
        'a batch norm whose statistics are those of pixels in [0, 1]'
    """
    first = next((module for module in network.modules() if next(module.children(), None) is None), None)
    if isinstance(first, nn.BatchNorm2d) and first.num_features == 3 and first.running_mean is not None:
        if _of_pixels(first.running_mean, first.running_var.sqrt()):
            return "a batch norm whose statistics are those of pixels in [0, 1]"
    if isinstance(first, nn.Conv2d) and first.kernel_size == (1, 1) and first.weight.shape[0] == first.groups == 3:
        scale = first.weight.detach().flatten()
        if first.bias is not None and _of_pixels(-first.bias.detach() / scale, 1 / scale):
            return "a convolution that subtracts a mean of pixels from each channel and divides by a std"
    return None


def normalised_before_layers(network, input_size=None):
    """How the network changes images before the first of its layers that has parameters, in words, when that is a shift
    and a scale of each channel, else None.

    It is shown images once, and the input of that layer is compared with them: it does not matter where the network
    keeps its mean (a constant in its `forward`, a configuration, a function). A scale alone (255) is no normalisation.

    Example:
        >>> class Own(nn.Sequential):
        ...     def forward(self, x):
        ...         return super().forward((x - 0.5) / 0.25)
        >>> layers = nn.Flatten(), nn.Linear(3 * 8 * 8, 4)
        >>> normalised_before_layers(Own(nn.Conv2d(3, 3, 1), *layers), (8, 8))
        'arithmetic before its first layer, 4 x - 2 in the first channel'
        >>> normalised_before_layers(nn.Sequential(nn.Conv2d(3, 3, 1), *layers), (8, 8)) is None
        True
    """
    given = []

    def hook(module, inputs):
        given.append(inputs[0] if inputs and isinstance(inputs[0], torch.Tensor) else None)

    layers = [
        part for part in network.modules()
        if next(part.parameters(recurse=False), None) is not None and not isinstance(part, torch.jit.ScriptModule)
    ]  # fmt: skip
    handles = [part.register_forward_pre_hook(hook) for part in layers]
    try:
        with _asked(network) as answer:
            for x in _images(network, input_size):
                given.clear()
                if answer(x) is not None:
                    break
            else:
                return None  # it cannot be asked; whoever uses it is told why
    finally:
        for handle in handles:
            handle.remove()
    first = given[0] if given else None
    if first is None or first.shape != x.shape:
        return None
    x, first = (value.detach().double().transpose(0, 1).flatten(1) for value in (x, first))
    spread = x - x.mean(1, keepdim=True)
    scale = (spread * first).sum(1) / (spread * spread).sum(1)
    shift = first.mean(1) - scale * x.mean(1)
    left = (first - scale[:, None] * x - shift[:, None]).abs().amax()
    if not left < 1e-3 * scale.abs().amin() or shift.abs().amax() < 1e-2 * scale.abs().amin():
        return None
    a, b = float(scale[0]), float(shift[0])
    return f"arithmetic before its first layer, {a:.3g} x {'-' if b < 0 else '+'} {abs(b):.3g} in the first channel"


def _of_pixels(mean, std):
    return bool(((mean > 0.2) & (mean < 0.8) & (std > 0.08) & (std <= 0.5)).all())


def scale_fault(mean, std):
    """One sentence when `mean` and `std` cannot be those of pixels in [0, 1], else None.

    Example:
        >>> scale_fault((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)).partition(": ")[2]
        'divided by 255 they are mean 0.485,0.456,0.406 and std 0.229,0.224,0.225'
        >>> scale_fault((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)) is None
        True
    """
    got = f"got mean {_shown(mean)} and std {_shown(std)}"
    if max(map(abs, mean)) > 1 or max(std) > 20:
        right = f"mean {_shown(v / 255 for v in mean)} and std {_shown(v / 255 for v in std)}"
        if max(map(abs, mean)) <= 1 and any(mean):
            right = f"mean {_shown(mean)} and std {_shown(v / 255 for v in std)}"
        return f"mean and std must be those of pixels in [0, 1], not in 0...255; {got}: divided by 255 they are {right}"
    if max(std) > 1:
        return (
            f"std must not exceed 1, for pixels in [0, 1] vary less; {got}: if they are reciprocals, std is"
            f" {_shown(1 / v for v in std)}"
        )
    return None


def doubts(mean, std):
    """Sentences about numbers that may be right, and often are not.

    Example:
        >>> doubts((0.485, 0.456, 0.406), (0.0524, 0.0502, 0.0506))
        ['std 0.0524,0.0502,0.0506 looks like variances; their roots are 0.2289,0.2241,0.2249']
        >>> doubts((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        []
    """
    found = []
    if max(std) < 0.12 and all(0.15 < math.sqrt(v) < 0.36 for v in std):
        found.append(f"std {_shown(std)} looks like variances; their roots are {_shown(math.sqrt(v) for v in std)}")
    if tuple(mean) == tuple(std) and len(set(mean)) > 1:
        found.append(f"mean and std are the same numbers, {_shown(mean)}: one may have been given twice")
    if mean[0] < mean[1] < mean[2] and mean[2] - mean[0] > 0.05:
        found.append(
            f"mean {_shown(mean)} rises from red to blue, while that of photographs falls: the numbers may be in the"
            " order B, G, R; freqkit's images are R, G, B"
        )
    return found


def differ(one, other):
    """Whether two pairs of mean and std differ by more than rounding."""
    return any(abs(a - b) > 0.01 for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True))


def triple(values):
    return ",".join(f"{value:.4g}" for value in values)


def _shown(values):
    return ",".join(f"{round(v, 4):g}" for v in values)
