"""The evaluation of one corruption and severity as the released CVPR 2025 code does it, rewritten from its description.

For every class: twice over the class's in-distribution images (accuracy clean, and through the class's map), twice over
its corrupted images. Each of the four passes lists the whole tree anew, keeps the class's files, decodes, resizes,
normalises, and (for the map) takes the complex transform of every batch of 32. The in-distribution columns do not
depend on the corruption and are computed again for each of the 75 settings. Kept as described, slow parts included.
"""

import torch


def accuracy(network, folder, label, mask, *, size, mean, std, batch_size=32):
    """Share of one class's images that are recognised, through `mask` (centred) or, with None, as they are."""
    from torchvision import datasets, transforms

    steps = [transforms.Resize((size, size)), transforms.ToTensor(), transforms.Normalize(mean, std)]
    images = datasets.ImageFolder(folder, transforms.Compose(steps))
    own = [i for i, target in enumerate(images.targets) if target == label]
    hits = 0
    for batch, labels in torch.utils.data.DataLoader(torch.utils.data.Subset(images, own), batch_size=batch_size):
        if mask is not None:
            spectrum = torch.fft.fftshift(torch.fft.fft2(batch), dim=(-2, -1))
            batch = torch.fft.ifft2(torch.fft.ifftshift(spectrum * mask, dim=(-2, -1))).real.float()
        hits += int((network(batch).argmax(1) == labels).sum())
    return hits / len(own)


@torch.no_grad()
def setting(network, in_distribution, corrupted, masks, **how):
    """Rows [C][4] of one corruption and severity: accuracy in distribution clean and filtered, corrupted clean and
    filtered; masks float [C, H, W], centred."""
    rows = []
    for label, mask in enumerate(masks):
        places = ((in_distribution, None), (in_distribution, mask), (corrupted, None), (corrupted, mask))
        rows.append([accuracy(network, folder, label, own, **how) for folder, own in places])
    return rows
