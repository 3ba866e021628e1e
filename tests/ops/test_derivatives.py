"""Derivatives of any order, forward mode and batching of the operator, against a float64 twin made of torch's own."""

import itertools

import pytest
import torch
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

import freqkit
from tests.ops.test_spectral_filter import SIZES, ident

f = freqkit.spectral_filter


def twin(x, m, pairing="all"):
    """Complex transforms of torch, of which it knows every derivative."""
    h, w = x.shape[-2:]
    if m.shape[-1] != w:
        rest = m[..., -torch.arange(h) % h, :][..., -torch.arange(w // 2 + 1, w) % w]
        m = torch.cat([m, rest], -1)
    m = m[:, None] if pairing == "each" else m[:, None, None]
    return torch.fft.ifft2(torch.fft.fft2(x) * m).real


def draw(h, w, *lead, seed=0, channels=2):
    torch.manual_seed(seed)
    return (
        torch.randn(*lead, 2, channels, h, w, dtype=torch.float64),
        torch.randn(*lead, 2, h, w, dtype=torch.float64),
    )


def close(ours, theirs, tolerance=1e-11):
    ours, theirs = torch.utils._pytree.tree_leaves(ours), torch.utils._pytree.tree_leaves(theirs)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        assert (a - b).abs().max() <= tolerance * max(1.0, b.abs().max().item()) if a.numel() else True


@pytest.mark.parametrize("size", SIZES, ids=ident)
def test_first_second_and_forward_derivatives_at_every_size(size):
    h, w = size
    (x, m), (tx, tm) = draw(h, w, channels=1), draw(h, w, seed=1, channels=1)
    half = m[..., : w // 2 + 1].clone()
    for masks, tangent, pairing in ((m, tm, "all"), (half, tm[..., : w // 2 + 1].clone(), "each")):

        def both(filtered, masks=masks, tangent=tangent, pairing=pairing):
            def loss(x, m):
                return filtered(x, m, pairing=pairing).pow(3).sum()

            first, second = jvp(grad(loss, (0, 1)), (x, masks), (tx, tangent))  # forward over reverse
            a, b = x.clone().requires_grad_(), masks.clone().requires_grad_()
            gradients = torch.autograd.grad(loss(a, b), (a, b), create_graph=True)
            again = torch.autograd.grad(gradients, (a, b), (tx, tangent))  # reverse over reverse
            forward = jvp(lambda x, m: filtered(x, m, pairing=pairing), (x, masks), (tx, tangent))
            return first, second, [g.detach() for g in gradients], again, forward

        close(both(f), both(twin))


@pytest.mark.parametrize("pairing", ["all", "each"])
@pytest.mark.parametrize("half", [False, True], ids=["full", "half-plane"])
@pytest.mark.parametrize("size", [(5, 6), (6, 4), (1, 3), (4, 1)], ids=ident)
def test_gradcheck_in_every_mode(size, half, pairing):
    x, m = draw(*size)
    m = m[..., : size[1] // 2 + 1].clone() if half else m
    inputs = (x[:, :1].clone().requires_grad_(), m.requires_grad_())

    def call(x, m):
        return f(x, m, pairing=pairing, memory_format=torch.channels_last)

    assert gradcheck(call, inputs, check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=True)
    assert gradgradcheck(call, inputs, check_fwd_over_rev=True, check_rev_over_rev=True, check_batched_grad=True)


@pytest.mark.parametrize("pairing", ["all", "each"])
def test_every_transform_over_every_other(pairing):
    x, m = draw(3, 4)

    def transforms(filtered):
        def one(x, m):
            return filtered(x, m, pairing=pairing)

        def loss(x, m):
            return one(x, m).pow(3).sum()

        both = (0, 1)
        yield hessian(loss, both)(x, m)
        yield jacrev(jacrev(loss, both), both)(x, m)
        yield jacfwd(jacfwd(loss, both), both)(x, m)
        yield jacrev(jacfwd(loss, both), both)(x, m)
        yield vjp(one, x, m)[1](one(x, m))
        yield grad(lambda x: jvp(lambda m: one(x, m), (m,), (m * 2,))[1].pow(2).sum())(x)
        yield jvp(lambda x: jvp(lambda x: one(x, m).pow(3), (x,), (x + 1,))[1], (x,), (x * 2,))
        yield grad(lambda x: grad(lambda x: grad(loss)(x, m).pow(2).sum())(x).pow(2).sum())(x)

    for ours, theirs in zip(transforms(f), transforms(twin), strict=True):
        close(ours, theirs)


DIMS = [(0, None), (None, 0), (0, 0), (1, 2), (-1, 1), (2, -1)]


@pytest.mark.parametrize("pairing", ["all", "each"])
@pytest.mark.parametrize("half", [False, True], ids=["full", "half-plane"])
@pytest.mark.parametrize("dims", DIMS, ids=str)
def test_vmap_over_images_and_masks(dims, half, pairing):
    x, m = draw(5, 6, 3)
    m = m[..., :4].clone() if half else m
    x = x[0] if dims[0] is None else x.movedim(0, dims[0])
    m = m[0] if dims[1] is None else m.movedim(0, dims[1])

    def transforms(filtered):
        def one(x, m):
            return filtered(x, m, pairing=pairing)

        def loss(x, m):
            return one(x, m).pow(3).sum()

        yield vmap(one, dims)(x, m)
        yield vmap(grad(loss, (0, 1)), dims)(x, m)
        yield grad(lambda x, m: vmap(one, dims)(x, m).pow(3).sum(), (0, 1))(x, m)
        yield vmap(lambda x, m: jvp(grad(loss, (0, 1)), (x, m), (x * 2, m + 1)), dims)(x, m)

    for ours, theirs in zip(transforms(f), transforms(twin), strict=True):
        close(ours, theirs)


def test_nested_vmap_gives_the_bits_of_the_calls():
    x, m = draw(8, 6, 3)
    x, m = x.float(), m.float()
    table = vmap(vmap(f, (None, 0)), (0, None))(x, m)
    for i, k in itertools.product(range(3), range(3)):
        assert torch.equal(table[i, k], f(x[i], m[k]))


@pytest.mark.parametrize("method", ["fft", "bank"])
def test_bit_masks(method):
    bits = torch.tensor([[[1], [1], [2]], [[3], [0], [1]]], dtype=torch.uint8)
    masks = freqkit.BitMasks(bits, (2, 3), (6, 6), "average")
    x = draw(6, 6)[0].requires_grad_()

    def call(x):
        return f(x, masks, method=method).pow(3)

    assert gradcheck(call, (x,), check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=True)
    assert gradgradcheck(call, (x,), check_fwd_over_rev=True)
    x = x.detach()
    stacked = vmap(lambda x, bits: f(x, masks._replace(bits=bits), method=method))
    y = stacked(torch.stack([x, 2 * x]), torch.stack([bits, bits.flip(0)]))
    close(y, torch.stack([f(x, masks, method=method), 2 * f(x, masks, method=method).flip(0)]))


@pytest.mark.parametrize("size", [(5, 6), (6, 4), (8, 1)], ids=ident)
def test_what_is_read_from_a_spectrum(size):
    x, m = draw(*size, channels=1)
    packed = torch.randn_like(freqkit.spectrum(x).packed).requires_grad_()
    reads = [
        lambda s: torch.view_as_real(s.dense()),
        lambda s: s.magnitude() + 1,
        lambda s: s.magnitude(total=True, weights=[2.0]),
        lambda s: f(s, m),
        lambda s: f(s[1, :1], m),
    ]
    for read in reads:
        assert gradcheck(lambda x, read=read: read(freqkit.spectrum(x)), (x.requires_grad_(),), check_forward_ad=True)
        assert gradgradcheck(lambda x, read=read: read(freqkit.spectrum(x)), (x,))

        # Any numbers: the map to the nearest spectrum comes first.
        def of_numbers(packed, read=read):
            return read(freqkit.Spectrum(packed, *size))

        assert gradcheck(of_numbers, (packed,), check_forward_ad=True) and gradgradcheck(of_numbers, (packed,))


def test_mean_and_std_have_derivatives():
    x, m = draw(5, 6)
    mean, std = torch.randn(2, dtype=torch.float64), torch.rand(2, dtype=torch.float64) + 0.5

    def ours(x, mean, std):
        return f(freqkit.spectrum(x, mean=mean, std=std), m)

    def theirs(x, mean, std):
        return twin((x - mean[:, None, None]) / std[:, None, None], m)

    inputs = tuple(t.clone().requires_grad_() for t in (x, mean, std))
    assert gradcheck(ours, inputs, check_forward_ad=True) and gradgradcheck(ours, inputs)
    close(jvp(ours, (x, mean, std), (x, std, mean)), jvp(theirs, (x, mean, std), (x, std, mean)))
    each = (torch.stack([mean, -mean]), torch.stack([std, std + 1]))
    close(vmap(ours, (None, 0, 0))(x, *each), vmap(theirs, (None, 0, 0))(x, *each))
    listed = [torch.tensor(0.5, dtype=torch.float64, requires_grad=True), 0.25]
    (g,) = torch.autograd.grad(freqkit.spectrum(x, mean=listed).packed.sum(), listed[:1])
    assert g != 0


def test_dual_numbers_low_precision_and_no_grad():
    (x, m), (tx, tm) = draw(8, 6), draw(8, 6, seed=1)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x, tx)
        close(forward_ad.unpack_dual(f(dual, forward_ad.make_dual(m, tm))).tangent, twin(tx, m) + twin(x, tm))
        with torch.no_grad():
            close(forward_ad.unpack_dual(f(dual, m)).tangent, twin(tx, m))
        low = f(dual.float(), m, dtype=torch.bfloat16, memory_format=torch.channels_last)
        tangent = forward_ad.unpack_dual(low).tangent
        assert tangent.dtype == torch.bfloat16 and (tangent.double() - twin(tx, m)).norm() < 3e-3 * twin(tx, m).norm()
        with pytest.raises(ValueError, match="out= does not record gradients, and x asks"):
            f(dual, m, out=torch.empty(2, *x.shape, dtype=x.dtype))
    a = x.float().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (g,) = torch.autograd.grad(f(a.bfloat16(), m).pow(2).sum(), a, create_graph=True)
        (again,) = torch.autograd.grad(g.pow(2).sum(), a)
    assert again.isfinite().all() and again.any()


@pytest.mark.parametrize("who", ["x", "masks", "out", "spectrum"])
def test_out_refuses_whoever_asks_for_a_gradient(who):
    x, m = draw(4, 6)
    out = torch.empty(2, *x.shape, dtype=x.dtype)
    {"x": x, "masks": m, "out": out, "spectrum": x}[who].requires_grad_()
    source = freqkit.spectrum(x) if who == "spectrum" else x
    with pytest.raises(ValueError, match="does not record gradients"):
        f(source, m, out=out)
    with pytest.raises(ValueError, match="records no derivative"):
        packed = freqkit.spectrum(x).packed
        torch.ops.freqkit.spectral_filter_out(packed, 4, 6, m, 0, [1, 1], False, False, out)
    with torch.no_grad():
        assert f(source, m, out=out) is out
    with pytest.raises(ValueError, match=r"batched by vmap|does not record"):
        vmap(lambda x: f(x, m.detach(), out=out.detach()))(x[None])


@pytest.mark.parametrize("empty", ["images", "masks", "channels"])
@pytest.mark.parametrize("dynamic", [None, False, True], ids=["eager", "compiled", "dynamic"])
def test_an_empty_batch_stays_in_the_graph(empty, dynamic):
    x, m = draw(4, 6)
    x = x[:0] if empty == "images" else x[:, :0] if empty == "channels" else x
    m = m[:0] if empty == "masks" else m
    mean = torch.zeros(x.shape[1], dtype=torch.float64).requires_grad_()
    x, m = x.clone().requires_grad_(), m.clone().requires_grad_()

    def call(x, m, mean):
        return f(freqkit.spectrum(x, mean=mean), m, pairing="all").sum()

    run = call if dynamic is None else torch.compile(call, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    if dynamic:
        full = [t.detach().requires_grad_() for t in draw(4, 6)]
        run(*full, torch.zeros(2, dtype=torch.float64, requires_grad=True)).backward()
    run(x, m, mean).backward()
    for tensor in (x, m, mean):
        assert tensor.grad is not None and tensor.grad.shape == tensor.shape and not tensor.grad.any()


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiled_and_exported(dynamic):
    x, m = draw(5, 6)

    def compiled(function):
        return torch.compile(function, fullgraph=True, backend="aot_eager", dynamic=dynamic)

    def loss(x, m):
        return f(x, m).pow(3).sum()

    close(compiled(lambda x: grad(loss)(x, m))(x), grad(loss)(x, m))
    close(compiled(lambda x: jvp(lambda x: f(x, m), (x,), (x * 2,)))(x), (f(x, m), 2 * f(x, m)))
    close(compiled(lambda x: vmap(lambda x: f(x, m))(x))(torch.stack([x, 2 * x])), torch.stack([f(x, m), 2 * f(x, m)]))
    close(compiled(lambda s, m: f(s, m))(freqkit.spectrum(x), m), f(x, m))
    normal = {"mean": [0.1, 0.2], "std": [1.0, 2.0]}
    close(compiled(lambda x: f(freqkit.spectrum(x, **normal), m))(x), f(freqkit.spectrum(x, **normal), m))
    with pytest.raises(ValueError, match=r"^spectral_filter: masks must be finite; mask 1 holds NaN or infinity\.$"):
        compiled(f)(x, torch.stack([m[0], m[1] * float("nan")]))

    class Module(torch.nn.Module):
        def forward(self, x, m):
            return f(x, m)

    shapes = {"x": {0: torch.export.Dim("batch", min=0)}, "m": None} if dynamic else None
    program = torch.export.export(Module(), (x, m), dynamic_shapes=shapes).module()
    close(program(x, m), f(x, m))
    if dynamic:
        close(program(torch.cat([x, x]), m), f(torch.cat([x, x]), m))
        assert program(x[:0], m).shape == (2, 0, 2, 5, 6)
