"""The class losses of one mask as the released DFM code takes them, rewritten from its description.

For every class anew: a loader without worker processes over the image folder (decode, resize, to tensor, normalise),
and for each batch of 100 that holds the class the filter (complex 2-D transform, shift, product with the mask in
complex128, shift, inverse transform, real part), the model, and the mean cross-entropy of all rows after the logits
and labels of other classes' rows are set to 0. Batches without the class are decoded and left alone.
"""

import torch
import torch.nn.functional as F

BATCH = 100


@torch.no_grad()
def losses(network, folder, mask, *, size, mean, std, classes):
    """Loss of each of some classes for a centred mask float [H, W]; the index of the folder is read once."""
    from torchvision import datasets, transforms

    steps = [transforms.Resize((size, size)), transforms.ToTensor(), transforms.Normalize(mean, std)]
    loader = torch.utils.data.DataLoader(datasets.ImageFolder(folder, transforms.Compose(steps)), batch_size=BATCH)
    mask, result = mask.double(), []
    for c in classes:
        total = 0.0
        for images, labels in loader:
            own = labels == c
            if not own.any():
                continue
            spectrum = torch.fft.fftshift(torch.fft.fft2(images), dim=(-2, -1))
            spectrum = (spectrum * mask).to(torch.complex64)
            logits = network(torch.fft.ifft2(torch.fft.ifftshift(spectrum, dim=(-2, -1))).real)
            total += F.cross_entropy(logits * own[:, None], torch.where(own, labels, 0)).item()
        result.append(total)
    return result
