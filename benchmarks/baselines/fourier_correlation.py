"""Rankings of an image's frequencies by a gradient, as they are published: what `freqkit.attribute` is compared with.

Fast Fourier Correlation (Liu et al., arXiv 2504.02016, 2411.18343), told in our own words from the papers and the
released code: the normalised image x is moved by some steps of plain gradient descent on the cross-entropy of the
network's own answer, at a rate of 1000; with X and X' the spectra before and after, a coefficient's score is
2 Re(conj(X') X) / |X| - |X|, and the highest are kept, each coefficient of each channel for itself.

Gradient x spectrum: Re(conj(G) X), G the spectrum of the gradient of the answer's log-odds at the whole image: what the
removal of a coefficient costs to first order.
"""

import torch
import torch.nn.functional as F

RATE = 1000.0


def fast_fourier_correlation(network, x, steps, rate=RATE):
    """Scores [b, C, H, W], DC first, of normalised images [b, C, H, W]."""
    with torch.no_grad():
        answers = network(x).argmax(1)
    moved = x.clone()
    for _ in range(steps):
        moved = moved.detach().requires_grad_()
        # the released code takes the mean over the batch; here every image is a batch of its own
        (gradient,) = torch.autograd.grad(F.cross_entropy(network(moved), answers, reduction="sum"), moved)
        moved = moved - rate * gradient
    before, after = torch.fft.fft2(x), torch.fft.fft2(moved.detach())
    size = before.abs()
    return 2 * (after.conj() * before).real / size.clamp_min(1e-12) - size


def gradient_times_spectrum(network, x):
    """The same by the gradient of the log-odds of the answer."""
    x = x.clone().requires_grad_()
    logits = network(x)
    answers = logits.argmax(1)[:, None]
    rest = logits.scatter(1, answers, -torch.inf).logsumexp(1)
    (gradient,) = torch.autograd.grad((logits.gather(1, answers)[:, 0] - rest).sum(), x)
    return (torch.fft.fft2(gradient).conj() * torch.fft.fft2(x.detach())).real


def of_pairs(scores):
    """One score for each frequency and its mirror image, of all channels: [b, 1, H, W]."""
    plane = scores.sum(1, keepdim=True)
    return (plane + plane.flip(-2, -1).roll((1, 1), (-2, -1))) / 2


def first(scores, share):
    """The highest share of coefficients: bool, as scores; ties by their place."""
    flat = scores.flatten(1)
    order = flat.argsort(dim=1, descending=True, stable=True)
    kept = torch.zeros_like(flat, dtype=torch.bool)
    return kept.scatter_(1, order[:, : round(share * flat.shape[1])], True).view_as(scores)


def least_that_keep(network, x, scores, shares):
    """float64 [b]: the least of the shares tried of which the first coefficients keep the answer."""
    with torch.no_grad():
        answers = network(x).argmax(1)
        spectra, least = torch.fft.fft2(x), torch.ones(len(x), dtype=torch.float64)
        for share in sorted(shares, reverse=True):
            left = torch.fft.ifft2(spectra * first(scores, share)).real
            least[network(left).argmax(1) == answers] = share
    return least
