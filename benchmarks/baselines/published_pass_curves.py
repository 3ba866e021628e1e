"""Accuracy at every cut-off as the released scripts of the spectral bias take it, rewritten from its description.

For every cut-off anew: a loader without worker processes over the image folder (decode, shorter side to 256, centre
crop of 224, to tensor), in whose transform each image is filtered by itself (complex 2-D transform of the three
channels, shift, product with a half-open square, shift, inverse transform, real part, cut to [0, 1]); then the model,
which normalises, on batches.
"""

import torch

CUTOFFS = (0.01, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99)


class Square:
    """The filter of one image [C, H, W]."""

    def __init__(self, kind, cutoff):
        self.kind, self.share = kind, cutoff if kind == "low" else 1 - cutoff

    def __call__(self, x):
        height, width = x.shape[1:]
        radius = int(self.share * (height // 2))
        mask = torch.zeros_like(x) if self.kind == "low" else torch.ones_like(x)
        rows = slice(height // 2 - radius, height // 2 + radius)
        columns = slice(width // 2 - radius, width // 2 + radius)
        mask[:, rows, columns] = float(self.kind == "low")
        spectrum = torch.fft.fftshift(torch.fft.fft2(x)) * mask
        return torch.fft.ifft2(torch.fft.ifftshift(spectrum)).real.clip(0, 1)


@torch.no_grad()
def answers(model, folder, kind, cutoff, *, batch_size):
    """int64 [n], the logit that wins for each image of a folder of classes."""
    from torchvision import datasets, transforms

    steps = [transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(), Square(kind, cutoff)]
    images = datasets.ImageFolder(folder, transforms.Compose(steps))
    loader = torch.utils.data.DataLoader(images, batch_size=batch_size)
    return torch.cat([model(batch).argmax(1) for batch, _ in loader])
