"""A classifier in the form in which the engine runs it."""

import contextlib
import copy
import time
import warnings

import torch

from freqkit.errors import UsageError
from freqkit.models import Classifier, as_classifier

DOMAINS = ("normalised", "pixels")
FORMS = ("auto", "eager", "folded", "compiled")
# Largest difference of a logit, as a share of the largest logit, that a faster form may make.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}
COMPILE_AFTER = 600.0  # seconds of forwards from which a minute of compiling is worth trying
MANY, SEVERAL = 16, 4  # images of a batch that is asked twice; how often half of a smaller one is
_AUTOCAST = (torch.bfloat16, torch.float16)


class Forward:
    """A frozen private copy of a classifier: eval mode, channels last, on one device; the caller's model is
    untouched.

    Args:
        model: a `freqkit.models.Classifier`.
        device: where it runs; None keeps the model's own device.
        dtype: None or torch.float32; torch.float64 (the whole network); torch.bfloat16 or torch.float16
            (autocast).
        domain: "normalised": input is (x - mean)/std and goes to `model.network`; "pixels": input is x in [0,
            1] and goes through the whole model.

    Calling it with images [N, 3, H, W] gives logits [N, L] of float64 on the device.
    """

    def __init__(self, model, *, device=None, dtype=None, domain="normalised"):
        dtype, model = _dtype(dtype), as_classifier(model, "score")
        if domain not in DOMAINS:
            raise ValueError(f"domain must be one of {', '.join(DOMAINS)}; got {domain!r}.")
        self.device = torch.device(device) if device is not None else model_device(model)
        self.dtype = dtype
        self.domain = domain
        self.mean, self.std = (tuple(model.mean), tuple(model.std)) if domain == "normalised" else (None, None)
        self.compute = torch.float64 if dtype is torch.float64 else torch.float32
        module = copy.deepcopy(model).eval().requires_grad_(False)
        module = module.to(device=self.device, memory_format=torch.channels_last)
        module = module.double() if dtype is torch.float64 else module.float()
        self.module = module.network if domain == "normalised" else module
        self.form = "eager"
        self.asked = False  # whether the first logits were looked at
        self.compares = False  # whether the first batch is asked twice, the second time by half
        self.rows = None  # when set, every batch is padded to so many images
        self.seconds = 0.0
        self.images = self.batches = 0

    def __call__(self, images):
        began = time.perf_counter()
        count = len(images)
        if self.rows is not None and count < self.rows:
            padded = images.new_zeros((self.rows, *images.shape[1:])).to(memory_format=torch.channels_last)
            padded[:count] = images
            images = padded
        # The half comes first: what hooks see last is the batch itself. Of few images it is asked several times: what
        # dropout leaves of a few logits may be the same by chance.
        times = (1 if len(images) >= MANY else SEVERAL) if self.compares and not self.asked else 0
        again = [self._run(self.module, images[: -(-len(images) // 2)]) for _ in range(times)]
        logits = self._run(self.module, images)
        if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or len(logits) != len(images):
            came = list(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
            raise TypeError(f"score: the model must return logits of shape [{len(images)}, classes]; got {came}.")
        if not self.asked:
            self.asked = True
            self._doubt(logits.double(), again)
        self.seconds += time.perf_counter() - began
        self.images += count
        self.batches += 1
        return logits[:count].double()

    @contextlib.contextmanager
    def padded(self, rows):
        """Inside, batches are padded to `rows` images (None: as they are), unless all are padded anyway."""
        before, self.rows = self.rows, rows if self.rows is None else self.rows
        try:
            yield
        finally:
            # Once memory has run out nothing is padded any more.
            self.rows = before if self.rows is not None else None

    def _run(self, module, images):
        autocast = self.dtype in _AUTOCAST
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, dtype=self.dtype if autocast else None, enabled=autocast),
        ):
            if isinstance(module, Classifier):
                own = next(
                    (each.dtype for each in module.network.parameters() if each.is_floating_point()), images.dtype
                )
                return module.network(normalised(images, module.mean, module.std).to(own))
            return module(images)

    def optimise(self, form, sample, *, expected=0, rows=None, note=warnings.warn):
        """Bring the network into a faster form that gives the same logits.

        Args:
            form: "eager": as it is; "folded": batch norms folded into convolutions; "compiled": folded, then
                `torch.compile` with frozen weights; "auto": folded, and compiled when `expected` forwards
                take longer than compiling pays for, and it turns out faster.
            sample: images [n, 3, H, W] on the device, on which logits are compared: they may differ from the
                eager ones by at most `TOLERANCE` of the largest logit.
            expected: forwards that are to come.
            rows: batch size for which it is compiled; smaller batches are padded to it from then on.
            note: called with a sentence when a form cannot be had; the next simpler one is then used.

        Returns:
            dict for the record: form, seconds per image of the forms timed, largest difference seen.
        """
        if form not in FORMS:
            raise ValueError(f"form must be one of {', '.join(FORMS)}; got {form!r}.")
        record = {"form": "eager"}
        if form == "eager":
            return record
        eager = self.module
        self.compares, self.asked = True, self.asked and self.compares
        try:
            reference = self(sample)
        except (torch.OutOfMemoryError, TypeError, UsageError):
            raise
        except Exception as error:
            raise RuntimeError(
                f"score: the model raised {type(error).__name__} on the first {len(sample)} images: {error}"
            ) from error
        if not torch.isfinite(reference).all():
            note("the network is run as it is, for its logits of the first images are not all finite.")
            return record
        folded = self._try("folding batch norms", lambda: _fold(eager), reference, sample, record, note)
        if folded is not None:
            self.module, self.form = folded, "folded"
        simple = self.module
        each = self._time(simple, sample) / len(sample)
        if form == "compiled" or (form == "auto" and expected * each > COMPILE_AFTER):
            rows = rows or len(sample)
            repeated = sample[torch.arange(rows, device=sample.device) % len(sample)].contiguous(
                memory_format=torch.channels_last
            )
            compiled = self._try(
                "compiling",
                lambda: torch.compile(simple, dynamic=False, options={"freezing": True}),
                self._run(eager, repeated).double(),
                repeated,
                record,
                note,
            )
            if compiled is not None:
                times = {"simple": self._time(simple, repeated), "compiled": self._time(compiled, repeated)}
                record["seconds_per_image"] = {k: v / rows for k, v in times.items()}
                if form == "compiled" or times["compiled"] < 0.97 * times["simple"]:
                    self.module, self.form, self.rows = compiled, "compiled", rows
        record["form"] = self.form
        return record

    def _doubt(self, logits, again):
        """Refuse what are no logits, or not those of an image alone; `again`: those of the first images, each time in a
        batch of their own."""
        if not torch.isfinite(logits).all():
            return  # the images are named where they are scored
        inside = (logits > 1e-6) & (logits < 1 - 1e-6)
        if (logits >= 0).all() and inside.any() and ((logits.sum(1) - 1).abs() < 1e-2).all() and logits.shape[1] > 1:
            raise UsageError(
                "score: the model must return logits; it returns probabilities (rows that sum to 1), of which a loss"
                " would take the softmax twice. Leave its last softmax out, or let it return their logarithm."
            )
        scale = logits.abs().max().clamp_min(1e-12)
        if not again:
            return
        change = float(torch.stack([(logits[: len(one)] - one.double()).abs().max() for one in again]).max() / scale)
        if not change <= 100 * TOLERANCE[self.dtype]:
            raise UsageError(
                f"score: the model gives the same images other logits in another batch (by {change:.1e} of the"
                " largest): dropout, or batch norms that take statistics of the batch, are at work in evaluation mode;"
                " switch them off in its forward."
            )

    def _try(self, what, make, reference, sample, record, note):
        """The module that `make` gives if its logits agree with the reference, else None and a note."""
        try:
            module = make()
            if module is None:
                return None
            logits = self._run(module, sample)
        except Exception as error:
            # Tracing and compiling run the user's code and the compiler's: anything may come.
            first = (str(error).splitlines() or [""])[0][:200]
            note(f"{what} failed ({type(error).__name__}: {first}); going on without.")
            return None
        scale = reference.abs().max().clamp_min(1e-12)
        difference = ((logits.double() - reference).abs().max() / scale).item()
        record[f"difference after {what}"] = difference
        if not difference <= TOLERANCE[self.dtype]:
            note(f"{what} changed a logit by {difference:.1e} of the largest; going on without.")
            return None
        return module

    def _time(self, module, images):
        took = []
        for _ in range(3):
            began = time.perf_counter()
            self._run(module, images).sum().item()
            took.append(time.perf_counter() - began)
        return min(took)


def normalised(x, mean, std):
    """(x - mean) / std of images [b, 3, H, W], three numbers each; in the memory format of x."""
    mean, std = (torch.tensor(each, device=x.device, dtype=x.dtype) for each in (mean, std))
    if x.is_contiguous() or not x.is_contiguous(memory_format=torch.channels_last):
        return (x - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    # A row of pixels at a time: numbers that change with every channel are met one by one, six times as slowly.
    rows = x.permute(0, 2, 3, 1).flatten(2)
    made = (rows - mean.repeat(x.shape[3])).div_(std.repeat(x.shape[3]))
    return made.unflatten(2, (x.shape[3], 3)).permute(0, 3, 1, 2)


def model_device(model):
    """Where a module's first parameter is; the CPU when it has none."""
    parameter = next(model.parameters(), None)
    return parameter.device if parameter is not None else torch.device("cpu")


def _fold(module):
    """A copy with each batch norm folded into the convolution before it; None when there is none."""
    if isinstance(module, Classifier):  # whose own forward looks at its input, which cannot be traced
        network = _fold(module.network)
        if network is None:
            return None
        made = copy.copy(module)
        made._modules = {**module._modules, "network": network}
        return made
    kinds = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.BatchNorm3d)
    if not any(isinstance(part, kinds) for part in module.modules()):
        return None
    from torch.fx.experimental.optimization import fuse

    if isinstance(module, Classifier):  # of which fx cannot follow the checks
        folded = copy.deepcopy(module)
        folded.network = _fold(module.network)
        return folded
    return fuse(module).to(memory_format=torch.channels_last)


def _dtype(dtype):
    if isinstance(dtype, str):
        named = getattr(torch, dtype, None)
        dtype = named if isinstance(named, torch.dtype) else dtype
    if dtype is None:
        return torch.float32
    if dtype not in (torch.float32, torch.float64, *_AUTOCAST):
        raise ValueError(f"dtype must be float32, float64, bfloat16 or float16; got {dtype}.")
    return dtype
