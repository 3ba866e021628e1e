"""Adversarial attacks on whole and on filtered images, free or limited to a band of frequencies.

Fast gradient sign (Goodfellow et al., ICLR 2015, arXiv 1412.6572) and projected gradient descent (Madry et al., ICLR
2018, arXiv 1706.06083), in pixels: x in the model's own range, `|delta|` at most eps.
"""

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F

from freqkit.errors import UsageError
from freqkit.masks.shapes import named_band
from freqkit.ops import spectral_filter
from freqkit.options import Options, flat, option

KINDS = ("fgsm", "pgd", "autoattack")
NORMS = ("linf", "l2")
LOSSES = ("ce", "logit")
# What an option is that nobody gave.
DEFAULTS = {
    "eps": 4.0, "norm": "linf", "steps": 20, "step": None, "restarts": 1, "loss": "ce", "band": "", "refilter": False,
    "clamp": "widen", "seed": 0, "judged": "worst",
}  # fmt: skip
# By their names, the attacks of published evaluation scripts: the FGSM of Wang et al., CVPR 2025 (the paper says
# 4/255); the PGD of Gavrikov and Keuper, CVPR 2024, whose step of four times eps goes from corner to corner.
PUBLISHED = {
    "fgsm-cvpr2025": ("fgsm", {"eps": 8.0, "norm": "linf", "loss": "logit", "clamp": "clip"}),
    "pgd-cvpr2024": ("pgd", {"eps": 0.5, "norm": "linf", "steps": 40, "step": 2.0, "judged": "last"}),
    "fgsm-cvpr2024": ("fgsm", {"eps": 0.5, "norm": "linf"}),
    "autoattack-cvpr2024": ("autoattack", {"eps": 0.5, "norm": "linf"}),
}


@dataclass(frozen=True)
class Attack:
    """What is done to an image.

    An option that is None has its default, and only such an option is another one under a preset: `asked` names those
    that were given, also with the default's value, and they stand whatever the preset (see `under`).

    Args:
        kind: "fgsm" (one step of length eps), "pgd"; with a package of that name "autoattack", or "foolbox.CLASS".
        eps: largest change: for linf in units of 1/255, for l2 the length of the change of pixels in [0, 1]; default 4.
        norm: "linf" (default) or "l2".
        steps, step: of pgd; 20 steps, step in the units of eps, default 2.5 eps / steps.
        restarts: pgd runs from so many random starts in the ball (default 1); 0: one run that starts at the image
            itself.
        loss: what is raised: "ce" (default): the cross-entropy; "logit": minus the true class's logit, whose gradient
            is that of the negative log-likelihood taken of raw logits, as the published FGSM evaluation does.
        band: "" (default) free; "own": the change is limited to the frequencies of the class's mask; "low-R", "high-R"
            or "A-B": to frequencies |f| < R, >= R, A <= |f| < B in cycles/image.
        refilter: with a mask, attack the image *before* the filter, through the filter; default: filter first, attack
            the filtered image, and do not filter again.
        clamp: with a mask and no refilter: "widen" (default): the range of pixels is widened to hold the filtered
            image, so that eps = 0 changes nothing; "clip": clipped to the model's range, as the published code does,
            which alone changes filtered images.
        seed: of random starts, default 0.
        judged: of pgd. "worst" (default): an image stops as soon as it is no longer recognised; "last": every image
            goes all steps, and the last iterate (of each start) alone counts, as published code does.

    Attributes:
        asked: names of the options that were given.

    Raises:
        UsageError: an argument does not fit.

    Example:
        >>> Attack.parse("pgd:eps=4:steps=10").title
        'pgd linf 4/255, 10 steps, restarts 1'
        >>> Attack.parse("fgsm").under("cvpr2025").title, Attack.parse("fgsm:eps=4").under("cvpr2025").title
        ('fgsm linf 8/255, loss logit, clipped', 'fgsm linf 4/255, loss logit, clipped')
        >>> Attack.parse("fgsm:eps=8:band=low-16").title
        'fgsm linf 8/255, band low-16'
    """

    kind: str = "fgsm"
    eps: float | None = None
    norm: str | None = None
    steps: int | None = None
    step: float | None = None
    restarts: int | None = None
    loss: str | None = None
    band: str | None = None
    refilter: bool | None = None
    clamp: str | None = None
    seed: int | None = None
    judged: str | None = None
    asked: tuple = field(init=False, compare=False, repr=False, default=())

    def __post_init__(self):
        object.__setattr__(self, "asked", tuple(name for name in DEFAULTS if getattr(self, name) is not None))
        for name, value in DEFAULTS.items():
            if name not in self.asked:
                object.__setattr__(self, name, value)
        if not isinstance(self.kind, str) or not isinstance(self.band, str):
            raise UsageError(f"attack: kind and band must be strings; got {self.kind!r} and {self.band!r}.")
        if not isinstance(self.refilter, bool):
            raise UsageError(f"attack: refilter must be True or False; got {self.refilter!r}.")
        if self.kind not in KINDS and not re.fullmatch(r"foolbox\.\w+", self.kind):
            raise UsageError(f"attack: kind must be one of {', '.join(KINDS)} or foolbox.CLASS; got {self.kind!r}.")
        for name, value, allowed in (
            ("norm", self.norm, NORMS),
            ("loss", self.loss, LOSSES),
            ("clamp", self.clamp, ("widen", "clip")),
            ("judged", self.judged, ("worst", "last")),
        ):
            if value not in allowed:
                raise UsageError(f"attack: {name} must be one of {', '.join(allowed)}; got {value!r}.")
        for name in ("eps", "step"):
            value = getattr(self, name)
            if value is not None and (
                isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf
            ):
                raise UsageError(f"attack: {name} must be a number of at least 0; got {value!r}.")
        for name, least in (("steps", 1), ("restarts", 0), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise UsageError(f"attack: {name} must be an integer of at least {least}; got {value!r}.")
        if (
            self.band
            and self.band != "own"
            and not re.fullmatch(r"(low|high)-\d+(\.\d+)?|\d+(\.\d+)?-\d+(\.\d+)?", self.band)
        ):
            raise UsageError(f"attack: band must be own, low-R, high-R or A-B; got {self.band!r}.")
        if self.kind not in ("fgsm", "pgd") and (self.band or self.refilter):
            raise UsageError(f"attack: {self.kind} knows neither band nor refilter.")

    @classmethod
    def parse(cls, text):
        """From `kind:name=value:...`; `pgd-l2` and `fgsm-l2` stand for norm=l2, with eps 0.5 unless given, and
        `fgsm-cvpr2025`, `pgd-cvpr2024` and the like for the published ones, whatever the preset, but for what is given.
        `eps=4/255` is a length of pixels in [0, 1]: within linf it is `eps=4`."""
        kind, *parts = text.split(":")
        given, said, fractions = {"kind": kind}, set(), set()
        if kind.endswith("-l2"):
            given.update(kind=kind[:-3], norm="l2")
        elif kind in PUBLISHED:
            given.update(PUBLISHED[kind][1], kind=PUBLISHED[kind][0])
        for part in parts:
            name, _, value = part.partition("=")
            if name not in DEFAULTS:
                raise UsageError(f"attack {text!r}: {name!r} is none of {', '.join(DEFAULTS)}.")
            if name in said:
                raise UsageError(f"attack {text!r}: {name} must be given once.")
            if kind.startswith("fgsm") and name in ("steps", "step", "restarts", "judged"):
                raise UsageError(f"attack {text!r}: {name} is of pgd; fgsm is one step of length eps.")
            if kind.endswith("-l2") and name == "norm" and value != "l2":
                raise UsageError(f"attack {text!r}: {kind} is one within l2; {kind[:-3]} is the other.")
            said.add(name)
            try:
                if name in ("steps", "restarts", "seed"):
                    given[name] = int(value)
                elif name in ("eps", "step"):
                    given[name] = float(value.removesuffix("/255"))
                    if value.endswith("/255"):
                        fractions.add(name)
                else:
                    given[name] = (
                        {"yes": True, "true": True, "no": False, "false": False}[value.lower()]
                        if name == "refilter"
                        else value
                    )
            except (ValueError, KeyError) as error:
                raise UsageError(f"attack {text!r}: {value!r} is no value of {name}.") from error
        if given.get("norm") == "l2":
            if kind in PUBLISHED:
                raise UsageError(f"attack {text!r}: {kind} is one within linf; {given['kind']}-l2 is the other.")
            given.setdefault("eps", 0.5)
            given.update({name: given[name] / 255 for name in fractions})
        return cls(**given)

    def under(self, preset):
        """The attack that a preset makes of this one: what was not asked for is as the preset's script has it.

        Known are those of `PUBLISHED`, within linf; every other attack is what it is.
        """
        kind, published = PUBLISHED.get(f"{self.kind}-{preset}", (None, {}))
        if kind is None or self.norm != published["norm"]:
            return self
        return replace(self, **{name: value for name, value in published.items() if name not in self.asked})

    @property
    def name(self):
        """The name under which it is published ("fgsm-cvpr2025"), or its kind."""
        for name, (kind, published) in PUBLISHED.items():
            if self == Attack(kind, **published):
                return name
        return self.kind

    @property
    def options(self):
        """dict of kind and all options, JSON-ready."""
        found = {"kind": self.kind, **{name: getattr(self, name) for name in DEFAULTS}}
        if self.judged == DEFAULTS["judged"]:
            del found["judged"]  # runs that were begun before there was a choice go on
        return found

    @property
    def radius(self):
        """eps in pixels of [0, 1]."""
        return self.eps / 255 if self.norm == "linf" else float(self.eps)

    @property
    def stride(self):
        """Length of a step in pixels of [0, 1]."""
        if self.kind == "fgsm":
            return self.radius
        if self.step is None:
            return 2.5 * self.radius / self.steps
        return self.step / 255 if self.norm == "linf" else float(self.step)

    @property
    def most_forwards(self):
        """Forwards per image at most; 1 for attacks of other packages, of which it is not known."""
        return {"fgsm": 2, "pgd": max(1, self.restarts) * (self.steps + 1)}.get(self.kind, 1)

    @property
    def title(self):
        """All that tells it from other attacks, in words."""
        words = [f"{self.kind} {self.norm} {self.eps:g}{'/255' if self.norm == 'linf' else ''}"]
        if self.kind == "pgd":
            step = "" if self.step is None else f" of {self.step:g}"
            words.append(f"{self.steps} steps{step}")
            words.append(f"restarts {self.restarts}")
        if self.judged != "worst":
            words.append(f"{self.judged} iterate")
        if self.loss != "ce":
            words.append(f"loss {self.loss}")
        if self.band:
            words.append(f"band {self.band}")
        if self.refilter:
            words.append("through the filter")
        if self.clamp != "widen":
            words.append("clipped")
        return ", ".join(words)

    def band_mask(self, size):
        """float32 [H, W//2+1], the band in torch's layout, or None for "" and "own"."""
        if self.band in ("", "own"):
            return None
        return named_band(self.band, size, layout="torch")[:, : size[1] // 2 + 1].contiguous()


@dataclass
class Attacked:
    """What an attack found for n images.

    Attributes:
        answers: int64 [n], the logit that wins on the worst image found; the clean answer where the image was not
            changed.
        images: [n, 3, H, W], that image in pixels.
        forwards, backwards: images that went through the model, and back.
        outside: mean share of the change's energy outside the band (what clipping to the pixel range put there); NaN
            for free attacks.
    """

    answers: torch.Tensor
    images: torch.Tensor
    forwards: int
    backwards: int
    outside: float


@dataclass(frozen=True, kw_only=True)
class Attacking(Options):
    """What `attack` may do to pixels."""

    bounds: tuple[float, float] = option((0.0, 1.0), "the model's range of pixels")
    batch_size: int = option(64, "images per forward", least=1)


@flat
def attack(
    network: torch.nn.Module, pixels: torch.Tensor, targets: torch.Tensor, spec: Attack, *, mean: Sequence[float],
    std: Sequence[float], answers: torch.Tensor, keys: Sequence[str], masks: torch.Tensor | None = None, own: Attacking,
) -> Attacked:  # fmt: skip
    """Attack images that are recognised; the others are wrong already and stay as they are.

    Every image stops by itself as soon as it is no longer recognised; of those that never are lost the iterate of the
    highest loss is kept. (`spec.judged="last"`: none stops, and the last iterate is what is found.)

    Args:
        network: maps normalised images [b, 3, H, W] to logits [b, L], differentiable.
        pixels: float [n, 3, H, W] in `bounds`. With `masks` and `spec.refilter` unset these are the filtered images.
        targets: int64 [n], the true logit.
        spec: an `Attack`.
        mean, std: normalisation, three numbers each.
        answers: int64 [n], what the network says without an attack.
        keys: n strings that decide the random starts.
        masks: float [n, H, W//2+1] in torch's layout, for band="own" and refilter; else None.

    Returns:
        `Attacked`.

    Raises:
        UsageError: a package is missing, or masks are.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 2))
        >>> x = torch.rand(4, 3, 4, 4)
        >>> said = net((x - 0.5) / 0.5).argmax(1)
        >>> free = attack(net, x, said, Attack(eps=0), mean=(0.5,) * 3, std=(0.5,) * 3, answers=said, keys="abcd")
        >>> bool((free.answers == said).all()), bool((free.images == x).all())
        (True, True)
    """
    if (spec.band == "own" or spec.refilter) and masks is None:
        raise UsageError(f"attack {spec.title}: needs the masks of the images' classes.")
    if spec.kind not in ("fgsm", "pgd"):
        return _foreign(network, pixels, targets, spec, mean, std, answers, own.bounds, own.batch_size)
    runner = _Runner(network, spec, mean, std, pixels, own.bounds)
    result = Attacked(answers.clone(), pixels.clone(), 0, 0, math.nan)
    todo = (answers == targets).nonzero().flatten()
    outside = []
    if spec.radius > 0:
        for some in todo.split(own.batch_size):
            mask = None if masks is None else masks[some]
            found, images, leak = runner.run(pixels[some], targets[some], [keys[i] for i in some.tolist()], mask)
            result.answers[some], result.images[some] = found, images
            outside += leak
    result.forwards, result.backwards = runner.forwards, runner.backwards
    if spec.band:
        result.outside = sum(outside) / len(outside) if outside else 0.0
    return result


class _Runner:
    """One attack on batches of recognised images."""

    def __init__(self, network, spec, mean, std, pixels, bounds):
        self.network, self.spec, self.bounds = network, spec, bounds
        self.mean, self.std = (
            torch.tensor(v, dtype=pixels.dtype, device=pixels.device).view(1, 3, 1, 1) for v in (mean, std)
        )
        band = spec.band_mask(tuple(pixels.shape[-2:]))
        self.band = None if band is None else band.to(pixels)
        self.forwards = self.backwards = 0

    def run(self, x, targets, keys, masks):
        spec, count = self.spec, len(x)
        answers, best = targets.clone(), x.clone()
        highest = torch.full((count,), -math.inf, dtype=torch.float64, device=x.device)
        open_ = torch.ones(count, dtype=torch.bool, device=x.device)
        steps = 1 if spec.kind == "fgsm" else spec.steps
        for restart in range(max(1, spec.restarts if spec.kind == "pgd" else 1)):
            alive = open_.nonzero().flatten()
            delta = self.start(x[alive], [keys[i] for i in alive.tolist()], restart, _some(masks, alive))
            for step in range(steps + 1):
                if len(alive) == 0:
                    break
                own, mask = x[alive], _some(masks, alive)
                grow = step < steps
                loss, logits, gradient = self.look(own + delta, targets[alive], mask, grow)
                said = logits.argmax(1)
                changed = (delta != 0).flatten(1).any(1)
                if grow and spec.judged == "last":
                    changed[:] = False  # not looked at yet
                lost = (said != targets[alive]) & changed
                better = changed & (lost | (loss > highest[alive]))
                highest[alive[better]] = loss[better]
                best[alive[better]] = (own + delta)[better]
                answers[alive[lost]] = said[lost]
                open_[alive[lost]] = False
                stay = ~lost
                if not grow:
                    break
                delta = self.step(own[stay], delta[stay], gradient[stay], _some(mask, stay))
                alive = alive[stay]
        return answers, best, self.leak(best - x, masks)

    def look(self, images, targets, masks, gradient):
        """Loss (float64), logits, gradient of the loss."""
        spec = self.spec
        with torch.enable_grad():
            images = images.detach().requires_grad_(gradient)
            z = (images - self.mean) / self.std
            if spec.refilter:
                z = spectral_filter(z, masks, pairing="each")
            logits = self.network(z.contiguous(memory_format=torch.channels_last))
            if spec.loss == "ce":
                loss = F.cross_entropy(logits, targets, reduction="none")
            else:
                loss = -logits.gather(1, targets[:, None])[:, 0]
            self.forwards += len(images)
            if not torch.isfinite(logits).all():
                raise FloatingPointError(f"attack {spec.title}: the model gave a NaN or infinite logit.")
            if not gradient:
                return loss.detach().double(), logits.detach(), None
            (slope,) = torch.autograd.grad(loss.sum(), images)
        self.backwards += len(images)
        return loss.detach().double(), logits.detach(), slope

    def start(self, x, keys, restart, masks):
        spec = self.spec
        if spec.kind == "fgsm" or spec.restarts == 0:
            return torch.zeros_like(x)
        drawn = []
        for key in keys:
            number = hashlib.sha256(f"{spec.seed} {restart} {key}".encode()).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(number[:8], "little") >> 1)
            if spec.norm == "linf":
                drawn.append(torch.rand(x.shape[1:], generator=generator) * 2 - 1)
            else:
                point = torch.randn(x.shape[1:], generator=generator)
                share = torch.rand((), generator=generator).item() ** (1 / point.numel())
                drawn.append(point / point.norm() * share)
        delta = torch.stack(drawn).to(x) * spec.radius if drawn else torch.zeros_like(x)
        return self.project(x, self.limit(delta, masks))

    def step(self, x, delta, gradient, masks):
        spec = self.spec
        if spec.norm == "linf":
            way = self.limit(gradient.sign(), masks)
            if spec.band:
                way = way / _largest(way).clamp_min(1e-30)
        else:
            way = self.limit(gradient, masks)
            way = way / _length(way).clamp_min(1e-30)
        return self.project(x, delta + spec.stride * way)

    def limit(self, delta, masks):
        """The part of a change that lies in the band, by one fused pass."""
        if not self.spec.band:
            return delta
        own = masks if self.spec.band == "own" else self.band.expand(len(delta), -1, -1)
        return spectral_filter(delta, own.to(delta), pairing="each")

    def project(self, x, delta):
        """Back into the ball (within the band by shrinking as a whole), then into the range of pixels."""
        spec, radius = self.spec, self.spec.radius
        if spec.norm == "l2" or spec.band:
            size = _length(delta) if spec.norm == "l2" else _largest(delta)
            delta = delta * (radius / size.clamp_min(1e-30)).clamp_max(1.0)
        else:
            delta = delta.clamp(-radius, radius)
        low, high = self.bounds
        if spec.clamp == "widen":
            low, high = x.clamp_max(low), x.clamp_min(high)
            return torch.minimum(torch.maximum(x + delta, low), high) - x
        return (x + delta).clamp(low, high) - x

    def leak(self, delta, masks):
        """Share of each change's energy outside the band, for changed images."""
        if not self.spec.band:
            return []
        changed = (delta != 0).flatten(1).any(1)
        inside = self.limit(delta[changed], _some(masks, changed))
        return ((delta[changed] - inside).square().sum((1, 2, 3)) / delta[changed].square().sum((1, 2, 3))).tolist()


def _some(values, index):
    return None if values is None else values[index]


def _length(delta):
    return delta.flatten(1).norm(dim=1).view(-1, 1, 1, 1)


def _largest(delta):
    return delta.flatten(1).abs().amax(1).view(-1, 1, 1, 1)


def _foreign(network, pixels, targets, spec, mean, std, answers, bounds, batch_size):
    """AutoAttack or one of foolbox's attacks on the recognised images."""
    network = _Pixels(network, mean, std, pixels)
    result = Attacked(answers.clone(), pixels.clone(), 0, 0, math.nan)
    todo = (answers == targets).nonzero().flatten()
    radius = spec.radius
    for some in todo.split(batch_size):
        x, y = pixels[some], targets[some]
        if spec.kind == "autoattack":
            images = _autoattack(network, x, y, spec, batch_size)
        else:
            try:
                import foolbox
            except ImportError as error:
                raise UsageError(f"attack {spec.kind} needs the package foolbox: pip install foolbox.") from error
            maker = getattr(foolbox.attacks, spec.kind.partition(".")[2], None)
            if maker is None:
                raise UsageError(f"attack: foolbox.attacks has no {spec.kind.partition('.')[2]!r}.")
            wrapped = foolbox.PyTorchModel(network, bounds=bounds, device=x.device)
            _, images, _ = maker()(wrapped, x, y, epsilons=radius)
        size = _largest(images - x) if spec.norm == "linf" else _length(images - x)
        if (size.flatten() > radius * 1.001 + 1e-6).any():
            raise UsageError(
                f"attack {spec.kind}: it left the {spec.norm} ball of {spec.eps:g}; choose the norm it works in."
            )
        result.images[some] = images
        with torch.no_grad():
            said = network(images).argmax(1)
        same = (images == x).flatten(1).all(1)
        result.answers[some] = torch.where(same, answers[some], said)
    result.forwards, result.backwards = network.forwards, network.forwards
    return result


def _autoattack(network, x, y, spec, batch_size):
    """Images that the standard version of AutoAttack (Croce and Hein, ICML 2020) found."""
    how = {"norm": {"linf": "Linf", "l2": "L2"}[spec.norm], "eps": spec.radius, "version": "standard"}
    how.update(seed=spec.seed, device=str(x.device))
    try:
        from autoattack import AutoAttack
    except ImportError:
        try:
            from pyautoattack import AutoAttack  # its authors' code as a package of the index
        except ImportError as error:
            raise UsageError(
                "attack autoattack needs the package autoattack (pip install git+https://github.com/fra31/auto-attack) "
                "or pyautoattack (pip install pyautoattack)."
            ) from error
        images, _ = AutoAttack(network, **how).run_standard_evaluation(x, y, batch_size=batch_size)
        return images
    return AutoAttack(network, verbose=False, **how).run_standard_evaluation(x, y, bs=batch_size)


class _Pixels(torch.nn.Module):
    """The network as one that takes pixels, counting images."""

    def __init__(self, network, mean, std, like):
        super().__init__()
        self.network, self.forwards = network, 0
        self.mean, self.std = (
            torch.tensor(v, dtype=like.dtype, device=like.device).view(1, 3, 1, 1) for v in (mean, std)
        )
        self.eval()

    def forward(self, x):
        self.forwards += len(x)
        return self.network((x - self.mean) / self.std)
