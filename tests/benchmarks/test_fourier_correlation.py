"""The published rankings that attribution is compared with, told again by single coefficients."""

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.baselines import fourier_correlation as told


def network(size):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.LazyLinear(3)).double()


@pytest.mark.parametrize("size", [(8, 8), (7, 6)])
def test_scores_are_those_of_a_plain_loop(size):
    net = network(size)
    x = torch.randn(2, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    scores, rate = told.fast_fourier_correlation(net, x, 2, rate=0.5), 0.5
    for i, image in enumerate(x):
        answer, moved = net(image[None]).argmax(1), image[None].clone()
        for _ in range(2):
            moved = moved.detach().requires_grad_()
            nn.functional.cross_entropy(net(moved), answer).backward()
            moved = moved - rate * moved.grad
        before, after = np.fft.fft2(image.numpy()), np.fft.fft2(moved[0].detach().numpy())
        plain = 2 * (after.conj() * before).real / abs(before) - abs(before)
        assert np.allclose(scores[i], plain)


def test_gradient_times_spectrum_is_what_a_removal_costs_to_first_order():
    size = (6, 5)
    net = network(size)
    x = torch.randn(1, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    scores = told.gradient_times_spectrum(net, x)

    def odds(image):
        z = net(image)[0].detach()
        answer = int(net(x)[0].argmax())
        return float(z[answer] - torch.cat([z[:answer], z[answer + 1 :]]).logsumexp(0))

    for u, v in ((0, 0), (1, 2), (3, 0)):
        ends, step = [], 1e-5
        for sign in (1, -1):
            spectrum = torch.fft.fft2(x)
            for place in {(u, v), (-u % 6, -v % 5)}:
                spectrum[..., place[0], place[1]] *= 1 + sign * step
            ends.append(odds(torch.fft.ifft2(spectrum).real))
        pair = {(u, v), (-u % 6, -v % 5)}
        plain = sum(float(scores[0, :, a, b].sum()) for a, b in pair) / (size[0] * size[1])
        assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(plain, rel=1e-5)
    paired = told.of_pairs(scores)
    assert paired.shape == (1, 1, *size)
    assert float(paired[0, 0, 1, 2]) == pytest.approx(float(scores[0, :, 1, 2].sum() + scores[0, :, 5, 3].sum()) / 2)


def test_the_least_that_keeps():
    scores = torch.tensor([[[[4.0, 1.0], [3.0, 2.0]]]])
    assert told.first(scores, 0.5).tolist() == [[[[True, False], [True, False]]]]
    assert told.first(scores, 0.0).sum() == 0 and told.first(scores, 1.0).all()
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).double()
    with torch.no_grad():
        net[1].bias.copy_(torch.tensor([0.0, 0.1]))
        net[1].weight.copy_(torch.tensor([[1.0, 1, 1, 1], [0.9, 0.9, 0.9, 0.9]]))  # reads the mean alone
    x = torch.ones(1, 1, 2, 2, dtype=torch.float64) + torch.tensor([[0.0, 0.5], [0.0, 0.5]], dtype=torch.float64)
    best = torch.zeros(1, 1, 2, 2, dtype=torch.float64)
    best[0, 0, 0, 0] = 1
    assert told.least_that_keep(net, x, best, [0.25, 0.5, 1.0]).tolist() == [0.25]
    assert told.least_that_keep(net, x, -best, [0.25, 0.5, 1.0]).tolist() == [1.0]
