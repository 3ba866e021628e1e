"""The evaluation of candidate masks as the released HFSS code does it, rewritten from its description.

For every candidate anew: a loader over the image folder, whose index is read again (decode, resize, to tensor,
normalise, and the filter, image by image: complex 2-D transform, shift, product with the mask in complex128, shift,
inverse transform, real part), the model, and a Python loop over the classes, each of which joins a [B, 1] column as
often as there are logits, multiplies the logits by it, takes the mean cross-entropy and copies one number to the host.
Kept as it is described, slow parts included, and not made slower: no worker processes unless asked for (the code starts
four per candidate), batches of 100 rather than 4,000 (which the cache would not hold).
"""

import torch
import torch.nn.functional as F


class Filter:
    """The last step of the transforms: one image [3, H, W] through one mask."""

    def __init__(self, mask):
        self.mask = mask.double()

    def __call__(self, image):
        spectrum = torch.fft.fftshift(torch.fft.fft2(image), dim=(-2, -1))
        spectrum = (spectrum * self.mask).to(torch.complex64)
        return torch.fft.ifft2(torch.fft.ifftshift(spectrum, dim=(-2, -1))).real


def loader(folder, mask, size, mean, std, batch_size, workers):
    from torchvision import datasets, transforms

    steps = [
        transforms.Resize((size, size)),
        transforms.ToTensor(),
        transforms.Normalize(mean, std),
        Filter(mask),
    ]
    images = datasets.ImageFolder(folder, transforms.Compose(steps))
    return torch.utils.data.DataLoader(images, batch_size=batch_size, num_workers=workers)


@torch.no_grad()
def losses(model, folder, masks, *, size, mean, std, classes, batch_size=100, workers=0):
    """Losses [K][C] of centred masks float [K, H, W]; `model` takes normalised images."""
    result = []
    for mask in masks:
        totals = [0.0] * classes
        for images, labels in loader(folder, mask, size, mean, std, batch_size, workers):
            logits = model(images)
            for c in range(classes):
                own = (labels == c).float()[:, None]
                columns = torch.cat([own] * logits.shape[1], 1)
                totals[c] += F.cross_entropy(logits * columns, labels * own[:, 0].long()).item()
        result.append(totals)
    return result
