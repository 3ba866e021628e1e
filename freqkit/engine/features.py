"""What the layers of a network give: hooks that go again whatever happens, and features of images, batch by batch."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import nn

from freqkit.data.image_set import ImageSet
from freqkit.engine.forward import Forward
from freqkit.engine.progress import Progress
from freqkit.errors import UsageError
from freqkit.models import Classifier
from freqkit.options import Scoring

BATCH = 64  # images at once, where that is left open


class Layer(NamedTuple):
    """A place in a network.

    Attributes:
        name: of a module, as `named_modules` has it. side: "output" or "input" of that module.
    """

    name: str
    side: str = "output"


class Tap(NamedTuple):
    """A place, and what is made there of each batch: from [n, ...] to [n, ...]."""

    layer: Layer
    reduce: Callable[[torch.Tensor], torch.Tensor] = lambda features: features


@contextlib.contextmanager
def hooked(network: nn.Module, layers: Sequence[str | Layer]) -> Iterator[dict[str, torch.Tensor]]:
    """Inside, what the layers gave in the network's last forward, by name.

    Args:
        network: the module that is called.
        layers: names of its modules (their outputs), or `Layer`s.

    Yields:
        dict: empty until the network is called, and emptied at the beginning of each call. Tensors are as the network
        has them: on its device, within its graph.

    Raises:
        UsageError: there is no module of a name; in a call, a layer ran more than once or gave no tensor.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> with hooked(net, ["1"]) as seen:
        ...     _ = net(torch.zeros(5, 4))
        >>> seen["1"].shape, len(net[1]._forward_hooks)
        (torch.Size([5, 3]), 0)
    """
    places, known, seen = [_layer(one) for one in layers], dict(network.named_modules()), {}
    for place in places:
        if place.name not in known or place.side not in ("output", "input"):
            near = ", ".join(name for name in list(known)[:6] if name)
            raise UsageError(f"features: layers must be names of modules ({near}, ...); got {place.name!r}.")
    if len({place.name for place in places}) < len(places):
        raise UsageError(f"features: a layer must be named once; got {[place.name for place in places]}.")

    def keep(name, value):
        if name in seen:
            raise UsageError(f"features: a layer must run once in a forward; {name!r} runs more often.")
        if not isinstance(value, torch.Tensor):
            raise UsageError(f"features: a layer must give a tensor; {name!r} gives {type(value).__name__}.")
        seen[name] = value

    with contextlib.ExitStack() as stack:

        def held(handle):
            stack.callback(handle.remove)

        held(network.register_forward_pre_hook(lambda module, given: seen.clear(), prepend=True))
        for name, side in places:
            if side == "output":
                held(known[name].register_forward_hook(lambda module, given, got, name=name: keep(name, got)))
            else:
                held(
                    known[name].register_forward_pre_hook(
                        lambda module, given, name=name: keep(name, given[0] if given else None)
                    )
                )
        yield seen


def penultimate(network: nn.Module) -> Layer:
    """What goes into the last linear layer of a network.

    Raises:
        UsageError: it has none.

    Example:
        >>> penultimate(nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)))
        Layer(name='3', side='input')
    """
    found = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not found:
        raise UsageError(
            f"features: the network must have a linear layer, or the layer must be named; {type(network).__name__} "
            "has none."
        )
    return Layer(found[-1], "input")


@contextlib.contextmanager
def tapped(network: nn.Module, taps: Sequence[Tap]) -> Iterator[Callable[[], list[torch.Tensor]]]:
    """Inside, a function that gives what each tap makes of the network's last forward.

    Raises:
        UsageError: see `hooked`; a layer did not run.
    """
    with hooked(network, list(dict.fromkeys(tap.layer for tap in taps))) as seen:

        def take():
            for tap in taps:
                if tap.layer.name not in seen:
                    raise UsageError(f"features: a layer must run in a forward; {tap.layer.name!r} does not.")
            return [tap.reduce(seen[tap.layer.name]) for tap in taps]

        yield take


def features(
    owner: str,
    model: Classifier,
    images: ImageSet,
    layers: Sequence[str | Layer],
    scoring: Scoring,
    progress: Progress | None = None,
) -> Iterator[tuple[slice, dict[str, torch.Tensor]]]:
    """What layers give for all images as they are. (Of versions of images: an accumulator with `taps`.)

    Args:
        owner: begins the sentence of an error.
        layers: names of modules of `model.network`, or `Layer`s.
        scoring: batch_size, device and dtype count.
        progress: advanced by the images of each batch.

    Yields:
        (images, {name: [b, ...]}): of a slice of the set, on the model's device; the model in evaluation mode.

    Raises:
        UsageError: see `hooked`; a layer did not run.
        FloatingPointError: a feature is NaN or infinite; the image is named.
    """
    forward = Forward(model, device=scoring.device, dtype=scoring.dtype, domain="pixels")
    step = BATCH if scoring.batch_size == "auto" else int(scoring.batch_size)
    places = [_layer(one) for one in layers]
    with tapped(network_of(forward), [Tap(place) for place in places]) as take:
        for start in range(0, len(images), step):
            part = slice(start, min(start + step, len(images)))
            x = images.images[part].to(forward.device).to(forward.compute).div_(255)
            forward(x.contiguous(memory_format=torch.channels_last))
            found = {place.name: made for place, made in zip(places, take(), strict=True)}
            for name, made in found.items():
                if not torch.isfinite(made).all():
                    at = int((~torch.isfinite(made)).flatten(1).any(1).nonzero()[0]) + start
                    raise FloatingPointError(
                        f"{owner}: what layer {name!r} gives for image {images.paths[at]} is NaN or infinite."
                    )
            if progress is not None:
                progress.advance(part.stop - part.start)
            yield part, found


def network_of(forward: Forward) -> nn.Module:
    """The network within the module that a `Forward` runs."""
    module = forward.module
    return module.network if isinstance(module, Classifier) else module


def _layer(one):
    return Layer(one) if isinstance(one, str) else Layer(*one)
