"""The evaluation of candidate masks as the released HFSS code does it, rewritten from its description.

For every candidate anew: a loader over the image folder (decode, resize, to tensor, normalise), the complex 2-D
transform of each batch, the centred mask, the inverse, the real part, the model, and a Python loop over the classes in
which the rows of other classes are multiplied by nought and labelled 0. Kept as it is described, slow parts included.
"""

import torch
import torch.nn.functional as F


def loader(folder, size, mean, std, batch_size, workers):
    from torchvision import datasets, transforms

    steps = [
        transforms.Resize((size, size)),
        transforms.ToTensor(),
        transforms.Normalize(mean, std),
    ]
    images = datasets.ImageFolder(folder, transforms.Compose(steps))
    return torch.utils.data.DataLoader(images, batch_size=batch_size, num_workers=workers)


@torch.no_grad()
def losses(model, folder, masks, *, size, mean, std, classes, batch_size=100, workers=0):
    """Losses [K][C] of centred masks float [K, H, W]; `model` takes normalised images."""
    result = []
    for mask in masks:
        totals = [0.0] * classes
        for images, labels in loader(folder, size, mean, std, batch_size, workers):
            spectrum = torch.fft.fftshift(torch.fft.fft2(images), dim=(-2, -1))
            filtered = torch.fft.ifft2(torch.fft.ifftshift(spectrum * mask, dim=(-2, -1))).real.float()
            logits = model(filtered)
            for c in range(classes):
                own = (labels == c).float()[:, None]
                totals[c] += F.cross_entropy(logits * own, labels * own[:, 0].long()).item()
        result.append(totals)
    return result
