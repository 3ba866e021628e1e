"""Where a result may be written, what a Spectrum is as a container, and what a call says to wrong arguments."""

import copy
import io
import os
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch

import freqkit
from freqkit.ops import packed as layout
from freqkit.reference import spectral_filter as reference
from tests.tolerances import relative

f = freqkit.spectral_filter
X = torch.randn(2, 3, 8, 6)
M = torch.rand(2, 8, 6)
BITS = freqkit.BitMasks(torch.full((2, 4, 1), 5, dtype=torch.uint8), (2, 2), (8, 6), "average")


# ---- out ------------------------------------------------------------------------------------------------------------


def test_an_expanded_out_of_4000_masks_is_refused():
    out = torch.empty(1, 2, 1, 64, 64).expand(4000, 2, 1, 64, 64)
    with pytest.raises(ValueError, match=r"out must be contiguous or channels_last.*strides \(0, "):
        f(torch.rand(2, 1, 64, 64), torch.ones(4000, 64, 64), out=out)


@pytest.mark.parametrize("shape", [(3, 2, 1, 8, 8), (3, 2, 3, 1, 1), (3, 2, 3, 8, 6), (3, 2, 1, 1, 1)], ids=str)
@pytest.mark.parametrize("memory_format", [None, torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("method", ["fft", "bank"])
def test_rows_between_a_stepped_out_are_left_alone(shape, memory_format, method):
    k, b, c, h, w = shape
    masks = freqkit.BitMasks(torch.ones(k, 1, 1, dtype=torch.uint8), (h, w), (h, w), "average")
    x = torch.randn(b, c, h, w)
    for dim in range(5):
        memory = torch.full([n * 2 if i == dim else n for i, n in enumerate(shape)], 7.0)
        out = memory[(slice(None),) * dim + (slice(None, None, 2),)]
        good = out.is_contiguous() or out.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
        if shape[dim] > 1 and memory.numel() > 1 and not good:
            with pytest.raises(ValueError, match="out must be contiguous or channels_last"):
                f(x, masks, out=out, memory_format=memory_format, method=method)
            assert (memory == 7).all()


def test_strides_of_size_one_dimensions_mean_nothing():
    memory = torch.full((400,), 7.0)
    out = memory.as_strided((2, 1, 1, 8, 6), (48, 5, 7, 6, 1), 3)
    for memory_format in (None, torch.contiguous_format, torch.channels_last):
        assert f(X[:1, :1], M, out=out, memory_format=memory_format) is out
        assert relative(out, reference.spectral_filter(X[:1, :1], M)) < 3e-7
        assert (memory[:3] == 7).all() and (memory[99:] == 7).all()


def test_out_shares_memory_with_nothing_it_is_made_from():
    numbers = 2 * 2 * 3 * 8 * 6
    memory = torch.ones(2 * numbers + 1300)
    out = memory[:numbers].view(2, 2, 3, 8, 6)
    x = memory[numbers - 10 :][: X.numel()].view(X.shape)
    masks = memory[numbers - 1 :][: M.numel()].view(M.shape)
    packed = freqkit.spectrum(X).packed
    spectra = freqkit.Spectrum(memory[: packed.numel()].view(packed.shape), 8, 6)
    bits = BITS._replace(bits=memory.view(torch.uint8)[:8].view(2, 4, 1))
    cases = [("x", x, M), ("masks", X, masks), ("the spectrum", spectra, M), ("masks", X, bits)]
    cases += [("masks", X, memory[::2][: M.numel()].view(M.shape)), ("masks", X, masks.view(torch.int32))]
    for name, source, given in cases:
        before = memory.clone()
        with pytest.raises(ValueError, match=f"out must not share memory with {name}"):
            f(source, given, out=out)
        assert torch.equal(memory, before)
    with pytest.raises(ValueError, match="out must not share memory with the spectrum"):
        f(spectra, BITS, out=out, method="bank")
    beside = memory[numbers : numbers + M.numel()].view(M.shape)
    assert relative(f(X, beside, out=out), reference.spectral_filter(X, torch.ones(2, 8, 6))) < 3e-7
    woven = torch.ones(2 * numbers)  # every other number from the end of out on
    assert f(X, woven[numbers::2][: M.numel()].view(M.shape), out=woven[:numbers].view(out.shape)).isfinite().all()


def test_sizes_beyond_32_bits_are_refused_not_truncated():
    one = torch.zeros(1, 1, 1, 1)
    for shape in ((1, 1, 1, 2**32 + 4), (1, 1, 2**32 + 4, 1), (1, 1, 2**24 + 1, 1), (2**40, 2**10, 8, 6)):
        with pytest.raises(ValueError, match=r"at most 2\^24|more than can be addressed"):
            freqkit.spectrum(one.expand(shape))
    with pytest.raises(ValueError, match="more than can be addressed"):
        f(X, torch.ones(1).expand(2**44, 8, 6))
    packed = freqkit.spectrum(X).packed
    for height, width in ((2**32 + 8, 6), (8, 2**32 + 6), (-8, 6), (0, 6), (8, 2**62)):
        with pytest.raises(ValueError, match="H and W must be between 1 and 2"):
            torch.ops.freqkit.spectral_filter(packed, height, width, M, 0, [1, 1], False, torch.float32, False)


def test_the_native_side_refuses_what_does_not_fit():
    native, packed, grad = torch.ops.freqkit, freqkit.spectrum(X).packed, torch.zeros(2, 2, 3, 8, 6)
    out = torch.full((2, 2, 3, 8, 6), 7.0)
    bank, cells = torch.zeros(4, 2, 3, 8, 6), torch.arange(4, dtype=torch.int32)
    good = (packed, 8, 6, M, 0, [1, 1], False)

    def change(at, value):
        return (*good[:at], value, *good[at + 1 :])

    bits = torch.zeros(2, 8, 1, dtype=torch.uint8)
    calls = [
        lambda: native.spectral_filter_out(*good, False, torch.empty(1).expand(2, 2, 3, 8, 6)),
        lambda: native.spectral_filter_out(*good, False, torch.empty(4, 2, 3, 8, 6)[::2]),
        lambda: native.spectral_filter_out(*good, True, out),
        lambda: native.spectral_filter_out(*good, False, out[:1]),
        lambda: native.spectral_filter_out(*good, False, out.int()),
        lambda: native.spectral_filter_out(*good, False, out.to("meta")),
        lambda: native.spectral_filter_out(*change(3, out.view(-1)[:96].view(2, 8, 6)), False, out),
        lambda: native.spectral_filter_out(*change(0, packed[..., :-16]), False, out),
        lambda: native.spectral_filter_out(*change(3, M[:, :7]), False, out),
        lambda: native.spectral_filter_out(*change(3, M.double()), False, out),
        lambda: native.spectral_filter_out(*change(4, 7), False, out),
        lambda: native.spectral_filter_out(*change(4, -1), False, out),
        lambda: native.spectral_filter_out(packed, 8, 6, bits, 2, [0, 1], False, False, out),
        lambda: native.spectral_filter_out(packed, 8, 6, bits, 2, [2**33, 1], False, False, out),
        lambda: native.spectral_filter_out(packed, 8, 6, bits, 2, [], False, False, out),
        lambda: native.spectral_filter_out(packed, 8, 6, torch.cat([M, M]), 0, [1, 1], True, False, out[0]),
        lambda: native.spectral_filter_backward_spectrum(grad[..., :5], 8, 6, M, 0, [1, 1], False, torch.float32),
        lambda: native.spectral_filter_backward_spectrum(grad[:1], 8, 6, M, 0, [1, 1], False, torch.float32),
        lambda: native.spectral_filter_backward_mask(grad[:, :1], packed, 8, 6, 0, False),
        lambda: native.spectral_filter_backward_mask(grad, packed[:, :1], 8, 6, 0, False),
        lambda: native.spectral_filter_backward_mask(grad, packed, 8, 6, 2, False),
        lambda: native.spectrum_backward(packed[..., 1:], 8, 6, None),
        lambda: native.spectrum_backward(packed, 8, 6, torch.ones(2)),
        lambda: native.spectrum(X, torch.ones(3).double(), None),
        lambda: native.spectrum(X, torch.ones(3), torch.ones(4)),
        lambda: native.spectrum(X[0], None, None),
        lambda: native.band_bank_sum_out(bank, bits, cells, torch.empty(1).expand(2, 2, 3, 8, 6)),
        lambda: native.band_bank_sum_out(bank, bits, cells + 64, out),
        lambda: native.band_bank_sum_out(bank, bits, cells - 1, out),
        lambda: native.band_bank_sum_out(bank, bits, cells[:3], out),
        lambda: native.band_bank_sum_out(bank, bits, cells, bank[:2]),
        lambda: native.band_bank(packed, 8, 6, bits, 2, [3, 1], torch.float32, False),
        lambda: native.band_bank(packed, 8, 6, bits[:, :4], 2, [1, 1], torch.float32, False),
        lambda: native.band_bank_out(packed, 8, 6, bits, 2, [1, 1], False, out[:, :1]),
        lambda: native.band_bank_out(packed, 8, 6, bits, 2, [1, 1], False, torch.empty(4, 2, 3, 8, 6)[::2]),
    ]
    for number, call in enumerate(calls):
        with pytest.raises(ValueError) as caught:
            call()
            pytest.fail(f"call {number} was accepted")
        assert "\n" not in str(caught.value) and ".cpp" not in str(caught.value)
    assert (out == 7).all()


def test_the_bank_numbers_its_cells_in_16_bits():
    bits = freqkit.BitMasks(torch.zeros(1, 1, 2049, dtype=torch.uint8), (1, 1), (1, 16391), "average")
    with pytest.raises(ValueError, match="at most 16384 free cells; got 16391"):
        f(torch.zeros(1, 1, 1, 16391), bits, method="bank")


# ---- a Spectrum as a container --------------------------------------------------------------------------------------


def test_a_spectrum_ends_and_is_indexed_as_a_tensor():
    x = torch.randn(3, 2, 5, 4)
    spectra = freqkit.spectrum(x)
    parts = list(spectra)
    assert len(parts) == len(spectra) == 3 and all(p.shape == (1, 2, 5, 4) for p in parts)
    assert all(torch.equal(p.packed[0], spectra.packed[i]) for i, p in enumerate(parts))
    for place in (1, -2, np.int64(1), np.uint8(1), torch.tensor(1), torch.tensor(-2, dtype=torch.int32)):
        assert torch.equal(spectra[place].packed, spectra.packed[1:2])
    for places in ([2, 0], (slice(None),), slice(0, 2), torch.tensor([2, -1]), np.array([0, 1]), [True, False, True],
                   torch.tensor([True, False, False]), np.array([False] * 3), [], range(2), ...):  # fmt: skip
        expected = spectra.packed[list(places) if isinstance(places, range) else places]
        assert torch.equal(spectra[places].packed, expected) and spectra[places].shape[1:] == x.shape[1:]
    assert torch.equal(spectra[1, -1].packed, spectra.packed[1:2, 1:2])
    assert torch.equal(spectra[:, [1, 0]].packed, spectra.packed[:, [1, 0]])
    masks = torch.rand(2, 5, 4)
    assert torch.equal(f(spectra[[2, 0], 1], masks), f(x, masks)[:, [2, 0], 1:])


@pytest.mark.parametrize(
    "error,place",
    [(IndexError, p) for p in (3, -4, [3], torch.tensor([-4]), np.int64(9), torch.tensor(3), 10**30, (0, 2), (0, 0, 0),
                               [True], torch.tensor([True] * 4), [[0]], torch.tensor([0.5]), ([0], [0]))]
    + [(TypeError, p) for p in ("x", True, np.True_, 1.5, None, object(), slice("a"), torch.tensor(True), ["x"], {0})]
    + [(ValueError, slice(None, None, -1)), (ValueError, slice(None, None, 0))],
    ids=repr,
)  # fmt: skip
def test_what_is_no_index_is_one_sentence(error, place):
    with pytest.raises(error, match=r"^Spectrum: .*\.$"):
        freqkit.spectrum(torch.zeros(3, 2, 5, 4))[place]


@pytest.mark.parametrize("size", [(5, 4), (6, 7), (1, 1), (2, 3), (33, 20)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_saved_and_copied(size, dtype):
    spectra = freqkit.spectrum(torch.randn(2, 3, *size, dtype=dtype))
    masks = freqkit.BitMasks(torch.ones(1, 1, 1, dtype=torch.uint8), size, size, "hermitian")
    file = io.BytesIO()
    torch.save({"spectra": spectra, "masks": masks}, file)
    file.seek(0)
    read = torch.load(file, weights_only=True)
    assert isinstance(read["masks"], freqkit.BitMasks) and read["masks"][1:] == masks[1:]
    for other in (read["spectra"], pickle.loads(pickle.dumps(spectra)), copy.deepcopy(spectra), copy.copy(spectra)):
        assert isinstance(other, freqkit.Spectrum) and other.shape == spectra.shape
        assert torch.equal(f(other, masks), f(spectra, masks)) and torch.equal(other.dense(), spectra.dense())


def test_a_spectrum_saved_on_another_machine_is_right(tmp_path):
    code = (
        "import sys, torch, freqkit\n"
        "torch.manual_seed(1)\n"
        "x = torch.randn(2, 3, 12, 9)\n"
        "masks = freqkit.BitMasks(torch.tensor([[[1], [2]]], dtype=torch.uint8), (6, 3), (12, 9), 'average')\n"
        "if sys.argv[1] == 'save':\n"
        "    torch.save((freqkit.spectrum(x), masks), sys.argv[2])\n"
        "else:\n"
        "    spectra, read = torch.load(sys.argv[2], weights_only=True)\n"
        "    expected = torch.fft.rfft2(x)\n"
        "    assert (spectra.dense() - expected).abs().max() < 1e-4\n"
        "    y, expected = (freqkit.spectral_filter(s, m) for s, m in ((spectra, read), (x, masks)))\n"
        "    assert torch.allclose(y, expected, atol=1e-5)\n"
    )
    for level, what in (("baseline", "save"), ("", "load")):  # other lanes, where the processor has more
        environment = {k: v for k, v in os.environ.items() if k != "FREQKIT_SIMD"}
        command = [sys.executable, "-c", code, what, tmp_path / "s.pt"]
        environment |= {"FREQKIT_SIMD": level} if level else {}
        run = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr


def test_a_saved_spectrum_with_other_sizes_is_refused():
    from freqkit.ops.spectral_filter import _spectrum_of_half

    half = layout.unpack(freqkit.spectrum(X).packed, 8, 6)
    for arguments in ((half, 9, 7), (half, 2**40, 6), (half, "8", 6), (half[..., 0], 8, 6), (None, 8, 6)):
        with pytest.raises((TypeError, ValueError)):
            _spectrum_of_half(*arguments, False)


# ---- sentences ------------------------------------------------------------------------------------------------------


def odd_tensors():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "sparse": X.to_sparse(),
            "mkldnn": X.to_mkldnn(),
            "nested": torch.nested.nested_tensor([X[0], X[0]]),
            "jagged": torch.nested.nested_tensor([X[0, 0], X[0, 0, :3]], layout=torch.jagged),
            "quantised": torch.quantize_per_tensor(X, 0.1, 0, torch.quint8),
            "complex": X.to(torch.complex64),
        }


@pytest.mark.parametrize("kind", odd_tensors())
@pytest.mark.parametrize(
    "call",
    [
        lambda t: freqkit.spectrum(t),
        lambda t: freqkit.spectrum(X, mean=t),
        lambda t: freqkit.spectrum(X, std=t),
        lambda t: f(t, M),
        lambda t: f(X, t),
        lambda t: f(X, M, out=t),
        lambda t: f(X, BITS._replace(bits=t)),
        lambda t: f(freqkit.Spectrum(t, 8, 6), M),
        lambda t: freqkit.Spectrum(t, 8, 6).dense(),
        lambda t: freqkit.Spectrum(t, 8, 6).magnitude(),
    ],
)
def test_tensors_without_plain_numbers(call, kind):
    with pytest.raises((TypeError, ValueError)) as caught:
        call(odd_tensors()[kind])
    said = str(caught.value)
    assert "\n" not in said and ".cpp" not in said and said.startswith(("spectrum: ", "spectral_filter: ", "Spectrum"))


SPECTRUM = freqkit.spectrum(X)
WRONG = [[], "x", {}, 1.5, 12, None, (1, 2, 3), (2.0, 2), (True, 2), 10**30, object(), np.ones(2)]


@pytest.mark.parametrize("bad", WRONG, ids=repr)
@pytest.mark.parametrize(
    "call",
    [
        lambda bad: f(X, BITS._replace(cell=bad)),
        lambda bad: f(X, BITS._replace(size=bad)),
        lambda bad: f(X, BITS._replace(symmetry=bad)),
        lambda bad: f(X, BITS._replace(bits=bad)),
        lambda bad: f(X, M, pairing=bad),
        lambda bad: f(X, M, method=bad),
        lambda bad: f(X, bad),
        lambda bad: f(bad, M),
        lambda bad: f(X, M, dtype=bad if bad is not None else "x"),
        lambda bad: f(X, M, memory_format=bad if bad is not None else "x"),
        lambda bad: f(X, M, out=bad if bad is not None else "x"),
        lambda bad: f(freqkit.Spectrum(bad, 8, 6), M),
        lambda bad: f(freqkit.Spectrum(SPECTRUM.packed, bad, 6), M),
        lambda bad: freqkit.Spectrum(SPECTRUM.packed, 8, bad).dense(),
        lambda bad: freqkit.spectrum(X, std=["x", bad]),
    ],
)
def test_every_argument_with_every_wrong_kind(call, bad):
    with pytest.raises((TypeError, ValueError)) as caught:
        call(bad)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(("spectrum: ", "spectral_filter: "))


def test_meta_tensors_have_shapes():
    spectra = freqkit.spectrum(X.to("meta"), mean=[0.1, 0.2, 0.3], std=torch.tensor(0.5))
    assert spectra.shape == X.shape and f(spectra, M.to("meta")).shape == (2, *X.shape)
    with pytest.raises(ValueError, match="mean must be on a device with numbers"):
        freqkit.spectrum(X, mean=torch.zeros(3, device="meta"))


@pytest.mark.parametrize(
    "bad,words",
    [(float("nan"), "finite"), (float("inf"), "finite"), (True, "a number or C numbers"), ("0.5", "a number or C"),
     (10**400, "finite"), ([0.5, 0.5], "1 or C=3 numbers; got 2"), ([], "got 0"), (1e300, "finite"), (1j, "number"),
     (torch.tensor([1.0, 2.0, float("nan")]), "finite"), (torch.tensor(True), "real numbers; got torch.bool")],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize("name", ["mean", "std"])
def test_normalisation_that_is_no_number(name, bad, words):
    with pytest.raises((TypeError, ValueError), match=f"^spectrum: {name} must .*{words}"):
        freqkit.spectrum(X, **{name: bad})


def test_a_subclass_is_a_tensor():
    class Mine(torch.Tensor):
        pass

    y = f(X.as_subclass(Mine), M.as_subclass(Mine))
    assert torch.equal(y.as_subclass(torch.Tensor), f(X, M))


def test_plain_calls_go_to_the_native_checks_and_refusals_to_these(monkeypatch):
    """The quick way gives the same bits, and hands back whatever the native side does not see or refuses."""
    if freqkit.ops.extension.build_info()["operator"] != "native":
        pytest.skip("the operator is not the native one")
    module, spectra, out = sys.modules["freqkit.ops.spectral_filter"], freqkit.spectrum(X), torch.empty(2, *X.shape)
    calls = (lambda **how: f(X, M, **how), lambda **how: f(spectra, M, **how))
    plain = [call(dtype=torch.float32) for call in calls]
    with monkeypatch.context() as patched:  # none of the checks in Python
        for name in ("images", "spectrum", "masks", "output", "apart"):
            patched.setattr(freqkit.ops.arguments, name, None)
        for call, expected in zip(calls, plain, strict=True):
            assert torch.equal(call(), expected) and call(out=out) is out and torch.equal(out, expected)
    held = torch.zeros(2 * X.numel() + 7)
    inside = held[7:].view(2, *X.shape)
    packed = spectra.packed
    buffer = torch.zeros(2 * max(packed.numel(), out.numel()))
    stepped = buffer[: 2 * packed.numel()].view(*packed.shape, 2)[..., 0].copy_(packed)
    wrong = [
        lambda: f(inside[0], M, out=inside),
        lambda: f(X, M, out=torch._neg_view(out)),
        lambda: f(X, M, out=out.clone().requires_grad_()),
        lambda: f(X.clone().requires_grad_(), M, out=out),
        lambda: f(freqkit.Spectrum(packed, True, X.shape[3]), M),
        lambda: f(freqkit.Spectrum(packed, X.shape[2] + 40, X.shape[3]), M),
        lambda: f(X, M[:, :-1]),
        lambda: f(X, M[0]),
        lambda: f(X, M * float("nan")),
        lambda: f(X, M, pairing="each") if len(X) != len(M) else f(X, M[:1], pairing="each"),
        lambda: f(X, M.to("meta")),
        lambda: f(X, M, out=out.to("meta")),
        lambda: f(X, M, out=out[0]),
        lambda: f(torch.zeros(1, 1, 1, 1).expand(2**21, 2**21, 2, 2), torch.ones(1, 2, 2)),
        lambda: f(freqkit.Spectrum(stepped, *X.shape[2:]), M, out=buffer[: out.numel()].view(out.shape)),
    ]
    for call in wrong:
        said = []
        for quick in (True, False):
            with monkeypatch.context() as patched, pytest.raises((TypeError, ValueError)) as caught:
                patched.setattr(module, "_native", quick)
                call()
            said.append(f"{caught.type.__name__}: {caught.value}")
        assert said[0] == said[1] and "freqkit::" not in said[0]
