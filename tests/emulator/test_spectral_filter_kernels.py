"""The device kernels against float64 numpy, run by the emulator."""

import numpy as np
import pytest

ORDERS = ("forward", "reverse", "shuffled")
DENSE, HALF, AVERAGE, HERMITIAN = range(4)
KINDS = {"dense": DENSE, "half": HALF, "average": AVERAGE, "hermitian": HERMITIAN}
SIZES = [
    (1, 1),
    (2, 2),
    (1, 7),
    (7, 1),
    (3, 5),
    (8, 8),
    (16, 12),
    (28, 28),
    (31, 31),
    (33, 32),
    (48, 30),
    (97, 64),
    (64, 97),
]
TOLERANCE = {"f32": 4e-7, "f64": 1e-15}


def tolerance(kind):
    return TOLERANCE[kind]


def partner(a):
    """a(-f) over the last two axes, uncentred."""
    return np.roll(a[..., ::-1, ::-1], (1, 1), axis=(-2, -1))


def effective(full):
    return (full + partner(full)) / 2


def full_of_half(half, width):
    """Half plane [K, H, W//2+1] -> [K, H, W]."""
    full = np.zeros((*half.shape[:2], width))
    full[..., : half.shape[2]] = half
    mirrored = partner(full)
    full[..., half.shape[2] :] = mirrored[..., half.shape[2] :]
    return full


def pack_cells(cells):
    return np.packbits(cells.astype(np.uint8), axis=-1, bitorder="little")


def full_of_cells(cells, cell, kind):
    """Cells [K, rows, columns], centred -> effective mask [K, H, W], uncentred; from the definition, bin by bin."""
    centred = np.kron(cells.astype(float), np.ones((1, *cell)))
    _, h, w = centred.shape
    out = np.zeros_like(centred)
    for i in range(h):
        for j in range(w):
            pi, pj = (2 * (h // 2) - i) % h, (2 * (w // 2) - j) % w
            if kind == AVERAGE:
                out[:, i, j] = (centred[:, i, j] + centred[:, pi, pj]) / 2
            else:
                self_paired = pi == i
                canonical = j <= w // 2 if self_paired else i < h // 2
                out[:, i, j] = centred[:, i, j] if canonical else centred[:, pi, pj]
    return np.fft.ifftshift(out, axes=(-2, -1))


def make_masks(rng, kind, count, h, w, real):
    """The mask array as handed to the kernel, the cell, and the effective mask in float64."""
    if kind == DENSE:
        mask = rng.normal(size=(count, h, w)).astype(real)
        return mask, (1, 1), effective(mask.astype(np.float64))
    if kind == HALF:
        mask = rng.normal(size=(count, h, w // 2 + 1)).astype(real)
        return mask, (1, 1), effective(full_of_half(mask.astype(np.float64), w))
    cell = (2 if h % 2 == 0 else 1, 4 if w % 4 == 0 else 1)
    cells = rng.random((count, h // cell[0], w // cell[1])) < 0.5
    return pack_cells(cells), cell, full_of_cells(cells, cell, kind)


def packed_spectrum(x, dtype):
    """float64 images [..., H, W] -> half plane along H, rounded to the compute type."""
    return np.ascontiguousarray(np.fft.fft2(x)[..., : x.shape[-2] // 2 + 1, :].astype(dtype))


def relative(got, expected):
    return np.linalg.norm((got - expected).ravel()) / max(np.linalg.norm(expected.ravel()), 1e-30)


def from_bits(a, name):
    if name == "float16":
        return a.view(np.float16).astype(np.float64)
    return (a.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def run_inverse(
    emulator,
    real,
    x,
    mask,
    kind,
    cell,
    *,
    paired=False,
    out="float32",
    channels_last=False,
    divisor=None,
    weighted=True,
    **options,
):
    b, c, h, w = x.shape
    spectrum = packed_spectrum(x, np.complex64 if real == "f32" else np.complex128).reshape(b * c, h // 2 + 1, w)
    flat = getattr(emulator, f"inverse_{real}")(
        spectrum, h, w, c, mask, kind, cell, paired, divisor, out, channels_last, weighted, options
    )
    if out in ("float16", "bfloat16"):
        flat = from_bits(flat, out)
    lead = -1
    if channels_last:
        y = flat.reshape(lead, h, w, c).transpose(0, 3, 1, 2)
    else:
        y = flat.reshape(lead, c, h, w)
    return y.astype(np.float64) if paired else y.reshape(-1, b, c, h, w).astype(np.float64)


@pytest.fixture(params=ORDERS)
def order(request, emulator):
    emulator.configure(order=request.param, seed=7)
    yield request.param
    emulator.configure()


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
def test_inverse_of_every_mask_kind(emulator, size, order):
    h, w = size
    rng = np.random.default_rng(h * 1000 + w)
    x = rng.normal(size=(2, 2, h, w))
    for name, kind in KINDS.items():
        for real in ("f32", "f64") if kind in (DENSE, AVERAGE) else ("f32",):
            mask, cell, m_eff = make_masks(rng, kind, 3, h, w, np.float32 if real == "f32" else np.float64)
            expected = np.fft.ifft2(m_eff[:, None, None] * np.fft.fft2(x)).real
            got = run_inverse(emulator, real, x, mask, kind, cell, out="float32" if real == "f32" else "float64")
            assert relative(got, expected) <= tolerance(real), (name, real)


@pytest.mark.parametrize(
    "size",
    [
        (96, 96),
        (128, 128),
        (225, 20),
        (20, 225),
        (224, 224),
        (299, 16),
        (16, 299),
        (256, 30),
        (288, 32),
        (32, 320),
        (384, 16),
        (16, 384),
        (383, 8),
        (8, 383),
    ],
    ids=lambda s: f"{s[0]}x{s[1]}",
)
def test_inverse_of_large_sizes(emulator, size):
    emulator.configure()
    h, w = size
    rng = np.random.default_rng(h)
    x = rng.normal(size=(1, 1, h, w))
    mask, cell, m_eff = make_masks(rng, DENSE, 1, h, w, np.float32)
    got = run_inverse(emulator, "f32", x, mask, DENSE, cell)
    assert relative(got, np.fft.ifft2(m_eff[:, None, None] * np.fft.fft2(x)).real) <= 3e-7


@pytest.mark.parametrize("out", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("size", [(12, 10), (9, 7)], ids=["even", "odd"])
def test_output_types_layouts_and_pairing(emulator, out, channels_last, size):
    emulator.configure(order="shuffled", seed=3)
    h, w = size
    rng = np.random.default_rng(5)
    x = rng.normal(size=(3, 3, h, w))
    mask, cell, m_eff = make_masks(rng, HALF, 3, h, w, np.float32)
    step = {"float32": 4e-7, "float64": 4e-7, "float16": 4e-4, "bfloat16": 3e-3}[out]
    every = np.fft.ifft2(m_eff[:, None, None] * np.fft.fft2(x)).real
    got = run_inverse(emulator, "f32", x, mask, HALF, cell, out=out, channels_last=channels_last)
    assert got.shape == every.shape and relative(got, every) <= step
    each = np.stack([every[i, i] for i in range(3)])
    got = run_inverse(emulator, "f32", x, mask, HALF, cell, paired=True, out=out, channels_last=channels_last)
    assert got.shape == each.shape and relative(got, each) <= step


@pytest.mark.parametrize(
    "options",
    [{"scratch": 1}, {"scratch": 20000}, {"shared": 3000}, {"shared": 64}, {"shared": 64, "scratch": 9000}],
    ids=["one-plane", "chunks", "few-lanes", "wide", "wide-chunks"],
)
def test_chunks_and_work_memory_change_nothing(emulator, options):
    emulator.configure(order="reverse")
    rng = np.random.default_rng(6)
    for h, w in ((22, 26), (30, 27)):
        x = rng.normal(size=(2, 3, h, w))
        mask, cell, m_eff = make_masks(rng, DENSE, 3, h, w, np.float32)
        got = run_inverse(emulator, "f32", x, mask, DENSE, cell, **options)
        plain = run_inverse(emulator, "f32", x, mask, DENSE, cell)
        assert (got == plain).all()
        assert relative(got, np.fft.ifft2(m_eff[:, None, None] * np.fft.fft2(x)).real) <= 4e-7


def test_masked_out_bins_are_never_read(emulator):
    emulator.configure()
    spectrum = np.full((1, 5, 8), np.nan + 1j * np.nan, dtype=np.complex64)
    spectrum[0, 0, 0] = 64
    mask = np.zeros((1, 8, 8), dtype=np.float32)
    mask[0, 0, 0] = 1
    y = emulator.inverse_f32(spectrum, 8, 8, 1, mask, DENSE, (1, 1), False, None, "float32", False, True, {})
    assert (y == 1).all()


def forward(
    emulator,
    real,
    x,
    *,
    in_type,
    channels_last=False,
    mean=None,
    divisor=None,
    sum="spectrum",
    masks=1,
    mask=None,
    kind=-1,
    cell=(1, 1),
    paired=False,
    other=None,
    images=None,
    **options,
):
    c, h, w = x.shape[-3:]
    stored = np.moveaxis(x, -3, -1) if channels_last else x
    if in_type == "float16":
        stored = stored.astype(np.float16)
    elif in_type == "bfloat16":
        stored = (stored.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    else:
        stored = stored.astype(in_type)
    return getattr(emulator, f"forward_{real}")(
        np.ascontiguousarray(stored),
        in_type,
        h,
        w,
        c,
        channels_last,
        mean,
        divisor,
        sum,
        masks,
        images if images is not None else int(np.prod(x.shape[:-2])) // (1 if paired else masks),
        mask,
        kind,
        cell,
        paired,
        other,
        options,
    )


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
def test_spectrum(emulator, size, order):
    h, w = size
    rng = np.random.default_rng(h)
    x = rng.normal(size=(2, 3, h, w)) + 1
    mean, std = np.array([1.0, 0.5, 2.0]), np.array([0.5, 2.0, 1.5])
    for real, dtype in (("f32", np.float32), ("f64", np.float64)):
        xr = x.astype(dtype).astype(np.float64)
        expected = packed_spectrum((xr - mean[:, None, None]) / std[:, None, None], np.complex128).reshape(6, -1, w)
        got = forward(
            emulator, real, x, in_type=np.dtype(dtype).name, mean=mean.astype(dtype), divisor=std.astype(dtype)
        )
        assert relative(got, expected) <= tolerance(real)
    got = forward(emulator, "f32", x, in_type="float32", channels_last=True)
    assert relative(got, packed_spectrum(x, np.complex128).reshape(6, -1, w)) <= tolerance("f32")


def row_weights(h):
    ky = np.arange(h // 2 + 1)
    return np.where((ky == 0) | (2 * ky == h), 1.0, 2.0)[:, None]


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (6, 8), (7, 9), (12, 11)], ids=lambda s: f"{s[0]}x{s[1]}")
@pytest.mark.parametrize("paired", [False, True])
def test_gradients_are_transposes(emulator, size, paired, order):
    """Every gradient against the transpose of the float64 map it belongs to."""
    h, w = size
    half = h // 2 + 1
    rng = np.random.default_rng(11)
    b, c, k = 3, 2, 3
    x = rng.normal(size=(b, c, h, w))
    spectrum = packed_spectrum(x, np.complex128).reshape(b * c, half, w)
    gradient = rng.normal(size=(b, c, h, w) if paired else (k, b, c, h, w))
    transformed = np.fft.fft2(gradient)[..., :half, :]
    options = {"scratch": 2000}
    for name, kind in KINDS.items():
        mask, cell, m_eff = make_masks(rng, kind, k, h, w, np.float64)
        m = m_eff[:, :half]
        if paired:
            expected = (row_weights(h) / (h * w)) * m[:, None] * transformed
        else:
            expected = ((row_weights(h) / (h * w)) * m[:, None, None] * transformed).sum(0)
        got = forward(
            emulator,
            "f64",
            gradient,
            in_type="float64",
            sum="spectrum_gradient",
            masks=k,
            mask=mask,
            kind=kind,
            cell=cell,
            paired=paired,
            images=b * c,
            **options,
        )
        assert relative(got, expected.reshape(b * c, half, w)) <= 1e-14, name
    # y is linear in the mask: its gradient is the inner product of each mask bin's image with the incoming gradient.
    for kind, columns in ((DENSE, w), (HALF, w // 2 + 1)):
        full = np.fft.fft2(x)
        inner = (full * np.conj(np.fft.fft2(gradient))).real / (h * w)
        inner = inner.sum(1) if paired else inner.sum((1, 2))
        expected = inner if kind == DENSE else inner[..., :columns].copy()
        if kind == HALF:
            for column in range(columns):
                if column != (w - column) % w:
                    expected[..., column] *= 2
        got = forward(
            emulator,
            "f64",
            gradient,
            in_type="float64",
            sum="mask_gradient",
            masks=k,
            kind=kind,
            paired=paired,
            other=spectrum,
            images=b * c,
            **options,
        )
        assert relative(got, expected) <= 1e-14
    # The transpose of `spectrum`: Re sum over the half plane, all weights one.
    g = rng.normal(size=(b * c, half, w)) + 1j * rng.normal(size=(b * c, half, w))
    std = np.array([0.5, 2.0])
    got = emulator.inverse_f64(g, h, w, c, None, -1, (1, 1), False, std, "float64", False, False, {}).reshape(
        b, c, h, w
    )
    padded = np.zeros((b * c, h, w), dtype=complex)
    padded[:, :half] = g
    expected = np.fft.ifft2(padded).real * h * w / np.tile(std, b)[:, None, None]
    assert relative(got, expected.reshape(b, c, h, w)) <= 1e-14


@pytest.mark.parametrize("in_type", ["float16", "bfloat16"])
def test_gradients_arrive_in_half_precision(emulator, in_type):
    emulator.configure()
    gradient = np.random.default_rng(2).integers(-8, 8, size=(1, 2, 6, 10)).astype(np.float64)
    got = forward(emulator, "f32", gradient, in_type=in_type)
    assert relative(got, packed_spectrum(gradient, np.complex128).reshape(2, 4, 10)) <= 4e-7
