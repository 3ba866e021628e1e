"""Calls of the operator drawn at random against its float64 twin: `python tests/fuzz/operator_calls.py --calls 100000`.

Every call has a seed of its own: what fails is run alone with `--only N` (and the same --seed). A call is right when it
gives the twin's numbers, or one sentence (TypeError, ValueError, IndexError) where and only where its arguments are
wrong; memory around `out` must be as it was. Exit code 1 after the first wrong one; a crash speaks for itself.
"""

import argparse
import math
import random
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import freqkit
from freqkit.reference import spectral_filter as reference
from tests.tolerances import RELATIVE, relative

REFUSALS = (TypeError, ValueError, IndexError)
SIDES = [1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 15, 16, 17, 20, 24, 31, 32, 33]
DTYPES = [torch.float32, torch.float32, torch.float64, torch.float16, torch.bfloat16]
SENTINEL = 7.25
WRONG = [None, "x", [], [1, 2], 1.5, float("nan"), True, 10**30, -1, {}, object(), b"x", 3j, np.zeros(2), (1, 2, 3)]


class Wrong(Exception):
    pass


def view(rng, shape, dtype):
    """A tensor of the shape with strides of some kind, and its kind."""
    kind = rng.choice(["whole", "whole", "sliced", "permuted", "offset", "expanded", "stepped", "windowed"])
    shape = tuple(shape)
    new = torch.randn if dtype.is_floating_point else lambda *s, dtype: torch.randint(-3, 4, s).to(dtype)
    if kind == "sliced":
        grown = [n + rng.randint(0, 2) for n in shape]
        begins = [rng.randint(0, g - n) for g, n in zip(grown, shape, strict=True)]
        return new(*grown, dtype=dtype)[tuple(slice(b, b + n) for b, n in zip(begins, shape, strict=True))]
    if kind == "permuted":
        order = rng.sample(range(len(shape)), len(shape))
        back = [order.index(i) for i in range(len(shape))]
        return new(*(shape[i] for i in order), dtype=dtype).permute(back)
    if kind == "offset":
        return new(math.prod(shape) + 3, dtype=dtype)[rng.randint(0, 3) :][: math.prod(shape)].view(shape)
    if kind == "expanded":
        return new(*(1 if rng.random() < 0.4 else n for n in shape), dtype=dtype).expand(shape)
    if kind == "stepped":
        dim = rng.randrange(len(shape))
        long = list(shape)
        long[dim] = shape[dim] * 2
        return new(*long, dtype=dtype)[(slice(None),) * dim + (slice(None, None, 2),)]
    if kind == "windowed":  # rows that overlap
        strides, reach = [rng.randint(1, 4) for _ in shape], 1
        reach += sum((max(n, 1) - 1) * s for n, s in zip(shape, strides, strict=True))
        return torch.as_strided(new(reach, dtype=dtype), shape, strides)
    return new(*shape, dtype=dtype)


def draw_masks(rng, count, h, w):
    """Masks, and their dense float64 twin."""
    kind = rng.choice(["full", "full", "half", "average", "hermitian"])
    if kind in ("full", "half"):
        dtype = rng.choice([*DTYPES, torch.bool, torch.int64, torch.uint8])
        masks = view(rng, (count, h, w if kind == "full" else w // 2 + 1), dtype)
        if rng.random() < 0.1 and count and masks.dtype.is_floating_point:
            masks = masks.clone()
            masks[rng.randrange(count)] = rng.choice([0.0, 1.0])
        return masks, masks.double()
    ch, cw = (rng.choice([d for d in range(1, n + 1) if n % d == 0]) for n in (h, w))
    bits = view(rng, (count, h // ch, -(-(w // cw) // 8)), torch.uint8)
    if rng.random() < 0.2:
        bits = bits.clone().fill_(rng.choice([0, 255, 5]))
    masks = freqkit.BitMasks(bits, rng.choice([tuple, list])((ch, cw)), (h, w), kind)
    return masks, reference.bit_masks(masks)


def draw_out(rng, shape, dtype, channels_last):
    """An out, the memory that holds it, and whether its strides are good."""
    *lead, c, h, w = shape
    n, pad = math.prod(shape), rng.choice([0, 1, 16, 33])
    memory = torch.full((pad + 4 * n + 64,), SENTINEL, dtype=dtype)
    inside = memory[pad : pad + n]
    layout = rng.choice(["as asked", "as asked", "stepped", "expanded", "permuted", "gaps", "windowed"])
    if layout == "as asked":
        out = inside.view(*lead, h, w, c).movedim(-1, -3) if channels_last else inside.view(shape)
        if rng.random() < 0.2 and 1 in shape:  # strides of dimensions of size one mean nothing
            steps = [s if n > 1 else rng.randint(0, 99) for s, n in zip(out.stride(), shape, strict=True)]
            out = torch.as_strided(out, shape, steps)
        return out, memory
    dim = rng.randrange(len(shape))
    if layout == "stepped":
        long = list(shape)
        long[dim] *= 2
        return memory[pad : pad + 2 * n].view(long)[(slice(None),) * dim + (slice(None, None, 2),)], memory
    if layout == "expanded":
        return memory[pad : pad + 1].view([1] * len(shape)).expand(shape), memory
    if layout == "permuted":
        order = rng.sample(range(len(shape)), len(shape))
        back = [order.index(i) for i in range(len(shape))]
        return inside.view([shape[i] for i in order]).permute(back), memory
    if layout == "gaps":
        row = n // max(shape[0], 1)
        return torch.as_strided(memory, shape, [row + 1, *inside.view(shape).stride()[1:]], pad), memory
    return torch.as_strided(memory, shape, [rng.randint(0, 2) for _ in shape], pad), memory


def whole(out):
    """By definition: whether no two elements share memory and the memory has no gaps, in one of the two orders."""
    places = torch.zeros(1, dtype=torch.int64)
    for n, s in zip(out.shape, out.stride(), strict=True):
        places = (places[:, None] + torch.arange(n) * s).flatten()
    places = places.view(out.shape)
    wanted = torch.arange(out.numel())
    contiguous = torch.equal(places.flatten(), wanted)
    return contiguous, torch.equal(places.movedim(-3, -1).flatten(), wanted)


def refused(action, why):
    try:
        action()
    except REFUSALS as error:
        said = str(error)
        if "\n" in said or ".cpp" in said or "INTERNAL" in said or not said.endswith((".", "under torch.no_grad()")):
            raise Wrong(f"not one sentence for {why}: {said}") from None
        return
    raise Wrong(f"accepted: {why}")


def one_filter(rng):
    h, w = rng.choice(SIDES), rng.choice(SIDES)
    batch, channels = rng.choice([0, 1, 1, 2, 3, 5]), rng.choice([0, 1, 1, 2, 3, 3, 4])
    pairing = rng.choice(["all", "all", "each"])
    count = batch if pairing == "each" and rng.random() < 0.95 else rng.choice([0, 1, 2, 3, 5, 20])
    dtype = rng.choice(DTYPES)
    x = view(rng, (batch, channels, h, w), dtype)
    masks, dense = draw_masks(rng, count, h, w)
    bits = isinstance(masks, freqkit.BitMasks)
    images, mean, std = x.double(), None, None
    source = x
    if rng.random() < 0.3:
        mean = rng.choice([None, 0.3, [rng.uniform(-1, 1) for _ in range(channels)]])
        std = rng.choice([None, 0.7, torch.rand(channels) + 0.5])
        for value, step in ((mean, torch.sub), (std, torch.div)):
            if value is not None:
                value = torch.as_tensor(value, dtype=torch.float64).flatten().expand(channels)
                images = step(images, value[:, None, None])
        source = freqkit.spectrum(x, mean=mean, std=std)
    elif rng.random() < 0.3:
        source = freqkit.spectrum(x)
    if isinstance(source, freqkit.Spectrum) and rng.random() < 0.3:
        source, picked = index(rng, source, images)
        images, batch = picked, len(picked)
    options = {"pairing": pairing}
    asked = rng.choice([None, *DTYPES])
    if asked is not None:
        options["dtype"] = asked
    layout = rng.choice([None, None, torch.contiguous_format, torch.channels_last])
    if layout is not None:
        options["memory_format"] = layout
    method = rng.choice(["auto", "auto", "fft", "bank"])
    if method == "bank" and not (bits and pairing == "all") and rng.random() < 0.8:
        method = "auto"
    if method != "auto":
        options["method"] = method
    wrong = []
    if pairing == "each" and count != batch:
        wrong.append("another number of masks")
    if method == "bank" and (not bits or pairing == "each"):
        wrong.append("the bank without a grid or with pairs")
    compute = torch.float64 if dtype == torch.float64 else torch.float32
    expected_dtype = asked or compute
    shape = (batch, images.shape[1], h, w) if pairing == "each" else (count, batch, images.shape[1], h, w)
    out = memory = before = None
    if rng.random() < 0.4:
        out, memory = draw_out(rng, shape, expected_dtype, layout is torch.channels_last or rng.random() < 0.3)
        options["out"] = out
        good = whole(out)
        if out.numel() and not (any(good) if layout is None else good[1] if layout is torch.channels_last else good[0]):
            wrong.append(f"out with strides {out.stride()} of {list(out.shape)}")
        if rng.random() < 0.15 and not wrong and out.numel():  # a mask in the memory of out
            if not bits and expected_dtype in (torch.float32, torch.float64) and count:
                length = math.prod(masks.shape)
                if length <= memory.numel():
                    start = rng.choice([0, memory.numel() - length, rng.randint(0, memory.numel() - length)])
                    shared = memory[start : start + length].view(masks.shape)
                    shared.fill_(1)
                    first, end = out.storage_offset(), out.storage_offset() + out.numel()
                    if start < end and first < start + length:
                        wrong.append("masks in the memory of out")
                    masks, dense = shared, torch.ones(masks.shape, dtype=torch.float64)
        before = memory.clone()
    if wrong:
        refused(lambda: freqkit.spectral_filter(source, masks, **options), " and ".join(wrong))
        if memory is not None and not torch.equal(memory, before):
            raise Wrong("a refused call wrote to out")
        return "refused"
    y = freqkit.spectral_filter(source, masks, **options)
    if y.shape != shape or y.dtype != expected_dtype or (out is not None and y is not out):
        raise Wrong(f"shape {list(y.shape)} and {y.dtype} where {list(shape)} and {expected_dtype} were asked for")
    expected = torch.zeros(shape, dtype=torch.float64)
    if 0 not in shape:
        expected = reference.spectral_filter(images, dense, pairing)
    bound = max(RELATIVE[expected_dtype], 4e-7 if compute == torch.float32 else 3e-14) * 4
    # What is nearly cancelled is judged beside what it was made from; half precision overflows and underflows.
    scale = (dense.abs().amax() * images.norm() if 0 not in shape else torch.tensor(0.0)).item() + 1e-300
    if expected_dtype == torch.float16 and 0 not in shape and expected.abs().max() > 6e4:
        return "overflow"
    error = (y.double() - expected).norm().item()
    tiny = 1e-7 * math.sqrt(max(y.numel(), 1)) if expected_dtype == torch.float16 else 0
    if not error <= bound * max(expected.norm().item(), scale * 0.1 if 0 not in shape else 0) + tiny:
        raise Wrong(f"error {error:.3g} of {expected.norm().item():.3g}, relative {relative(y, expected):.3g}")
    if out is not None:
        touched = torch.zeros(memory.numel(), dtype=torch.bool)
        first = out.storage_offset()
        touched[first : first + out.numel()] = True
        if not torch.equal(memory[~touched], before[~touched]):
            raise Wrong("memory around out was written")
    return "compared"


def index(rng, spectra, images):
    """A Spectrum indexed somehow, and the images that must be left."""
    n = len(spectra)
    kinds = ["slice", "int", "numpy", "scalar", "list", "tensor", "mask", "iterate", "beyond", "pair", "copy"]
    kind = rng.choice(kinds)
    if kind == "slice":
        part = slice(rng.choice([None, -n, 0, 1, 99]), rng.choice([None, -1, n, 2]), rng.choice([None, 1, 2]))
        return spectra[part], images[part]
    if kind in ("beyond", "iterate") or n == 0:
        refused(lambda: spectra[rng.choice([n, -n - 1, n + 5, [n], torch.tensor([n])])], "an index beyond the end")
        parts = list(spectra)
        if len(parts) != n or any(p.shape != (1, *images.shape[1:]) for p in parts):
            raise Wrong("iteration")
        return spectra, images
    place = rng.randrange(-n, n)
    if kind in ("int", "numpy", "scalar"):
        convert = {"int": int, "numpy": np.int64, "scalar": torch.tensor}[kind]
        return spectra[convert(place)], images[[place]]
    if kind == "mask":
        chosen = torch.rand(n) < 0.5
        return spectra[rng.choice([lambda m: m, lambda m: m.tolist(), lambda m: m.numpy()])(chosen)], images[chosen]
    if kind == "pair" and images.shape[1]:
        channel = rng.randrange(images.shape[1])
        return spectra[place, channel], images[[place]][:, [channel]]
    if kind == "copy":
        import copy
        import io

        if rng.random() < 0.5:
            return copy.deepcopy(spectra), images
        file = io.BytesIO()
        torch.save(spectra, file)
        file.seek(0)
        return torch.load(file, weights_only=True), images
    places = [rng.randrange(-n, n) for _ in range(rng.randint(0, 4))]
    return spectra[places if kind == "list" else torch.tensor(places, dtype=torch.int64)], images[places]


def one_refusal(rng):
    """A good call with one argument of a wrong kind."""
    x, masks = torch.randn(2, 3, 8, 6), torch.rand(2, 8, 6)
    bits = freqkit.BitMasks(torch.zeros(2, 4, 1, dtype=torch.uint8), (2, 2), (8, 6), "average")
    spectra = freqkit.spectrum(x)
    bad = rng.choice(WRONG)
    filtered = freqkit.spectral_filter
    tensors = [
        x.to_sparse(), x.to_mkldnn(), x.to("meta"), x.to(torch.complex64), x.int(), x[0, ..., :3], x[:, :, :0],
        torch.zeros(1, 1, 1, 1).expand(1, 1, 1, 2**32 + rng.randint(1, 9)),
        torch.zeros(1).expand(2**40, 2**10, 8, 6),
        torch.quantize_per_tensor(x, 0.1, 0, torch.quint8),
    ]  # fmt: skip
    odd = rng.choice(tensors)
    packed = rng.choice([spectra.packed[..., 1:], spectra.packed[0], spectra.packed.half(), odd, bad])
    case = rng.choice(
        [
            ("masks", lambda: filtered(x, bad)),
            ("x", lambda: filtered(bad, masks)),
            ("x", lambda: freqkit.spectrum(bad)),
            ("odd masks", lambda: filtered(x, odd)),
            ("Spectrum.packed", lambda: filtered(freqkit.Spectrum(packed, 8, 6), masks)),
            ("Spectrum.height", lambda: filtered(freqkit.Spectrum(spectra.packed, bad, 6), masks)),
            ("Spectrum dense", lambda: freqkit.Spectrum(spectra.packed, 40, bad).dense()),
            ("bits", lambda: filtered(x, bits._replace(bits=rng.choice([bad, odd, masks, bits.bits[:, 1:]])))),
            ("cell", lambda: filtered(x, bits._replace(cell=bad))),
            ("size", lambda: filtered(x, bits._replace(size=bad))),
            ("symmetry", lambda: filtered(x, bits._replace(symmetry=bad))),
            ("pairing", lambda: filtered(x, masks, pairing=bad)),
            ("method", lambda: filtered(x, masks, method=bad)),
            ("index", lambda: spectra[rng.choice(["x", 1.5, True, 10**30, -9, object(), 3j, (1, 2, 3), [[0]], None])]),
        ]
        + ([("out", lambda: filtered(x, masks, out=bad))] if bad is not None else [])
        + ([("dtype", lambda: filtered(x, masks, dtype=bad))] if bad is not None else [])
        + ([("memory_format", lambda: filtered(x, masks, memory_format=bad))] if bad is not None else [])
        + [("std", lambda: freqkit.spectrum(x, std=rng.choice(["x", [], True, -1, float("nan"), 0, {}, 3j, [1, 2]])))]
    )
    refused(case[1], f"{case[0]} (bad {bad!r:.40}, odd {odd.dtype} {odd.layout} {list(odd.shape)})")
    return "refused"


def one_native(rng):
    """The operators by hand: sizes that do not fit must be refused, and never read or write elsewhere."""
    native = torch.ops.freqkit
    h, w = rng.choice(SIDES), rng.choice(SIDES)
    packed = freqkit.spectrum(torch.randn(2, 3, h, w)).packed
    bits = rng.random() < 0.4
    mask = torch.zeros(2, h, -(-w // 8), dtype=torch.uint8) if bits else torch.rand(2, h, w)
    args = [packed, h, w, mask, rng.choice([2, 3]) if bits else 0, [1, 1], False]
    grad = torch.randn(2, 2, 3, h, w)
    spoil = rng.choice(["height", "width", "mask", "kind", "cell", "paired", "packed", "out", "grad"])
    out = torch.empty(2, 2, 3, h, w)
    if spoil in ("height", "width"):
        at = 1 if spoil == "height" else 2
        args[at] = rng.choice([0, -1, args[at] + 64, 2**31 + args[at], 2**40])
    elif spoil == "mask":
        args[3] = rng.choice([mask[:, :-1], mask[0], mask[..., :-1], torch.rand(2, h + 1, w).double(), mask.to("meta")])
    elif spoil == "kind":
        args[4] = rng.choice([-1, 4, 2**32, 1 if w > 1 or bits else 7])
        if args[4] == 1 and w // 2 + 1 == w:
            args[4] = 5
    elif spoil == "cell":
        args[4], args[5] = rng.choice([2, 3]), rng.choice([[0, 1], [], [1], [2**40, 1], [h + 1, 1], [-1, -1]])
        args[3] = torch.zeros(2, h, -(-w // 8), dtype=torch.uint8)
    elif spoil == "paired":
        args[3], args[6] = torch.cat([mask, mask]), True
    elif spoil == "packed":
        args[0] = rng.choice([packed[..., :-1], packed[0], packed.half(), packed.double()[..., :-1]])
    elif spoil == "grad":
        bad = rng.choice([grad[..., :-1], grad[0], grad[:1], grad.int(), grad[:, :1]])
        if bad.shape[1:2] == (1,) and bad.dim() == 5:  # one image: a good gradient to the spectrum, not to the mask
            refused(lambda: native.spectral_filter_backward_mask(bad, packed, h, w, 0, False), "grad of another batch")
        else:
            back = native.spectral_filter_backward_spectrum
            refused(lambda: back(bad, h, w, args[3], args[4], [1, 1], False, packed.dtype), "grad")
        return "refused"
    else:
        bad = rng.choice(
            [out[..., :-1], out[0], out[:, :1], out[:, :, :1], torch.empty(1).expand(2, 2, 3, h, w), out.int(),
             torch.empty(4, 2, 3, h, w)[::2], out.to("meta"), torch.empty(2, 2, 3, h + 1, w)[..., :-1, :]]
        )  # fmt: skip
        refused(lambda: native.spectral_filter_out(*args, False, bad), f"out {list(bad.shape)} {bad.stride()}")
        return "refused"
    refused_natively(lambda: native.spectral_filter_out(*args, False, out), spoil)
    refused_natively(lambda: native.spectral_filter(*args, torch.float32, rng.random() < 0.5), spoil)
    return "refused"


def refused_natively(action, why):
    """By any error: torch's own where a device has no kernel."""
    try:
        action()
    except (*REFUSALS, RuntimeError):
        return
    raise Wrong(f"accepted by hand: {why}")


def one(seed, number):
    """Draw and run call `number` of a seed."""
    rng = random.Random(f"{seed}:{number}")
    torch.manual_seed(rng.getrandbits(40))
    kind = rng.choices([one_filter, one_refusal, one_native], [10, 1, 1])[0]
    return kind(rng)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="run this call alone")
    given = parser.parse_args(arguments)
    numbers = range(given.calls) if given.only is None else [given.only]
    found, began = {}, time.monotonic()
    for number in numbers:
        try:
            what = one(given.seed, number)
        except Exception as error:
            print(f"call {number} of seed {given.seed}: {type(error).__name__}: {error}")
            print(f"alone: python tests/fuzz/operator_calls.py --seed {given.seed} --only {number}")
            if given.only is not None:
                raise
            return 1
        found[what] = found.get(what, 0) + 1
        if number % 5000 == 4999:
            print(f"{number + 1} calls, {found}, {time.monotonic() - began:.0f} s", flush=True)
    print(f"{len(numbers)} calls, none wrong: {found}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
