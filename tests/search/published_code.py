"""The two published searches once more, from their description, in plain float64 numpy and loops.

Nothing here is shared with freqkit: not the transform, the masks, the loss, the order of the images, nor the network,
whose weights are handed over as arrays. DFM: Wang et al., ICCV 2023; HFSS: Wang et al., CVPR 2025.
"""

import math
import random

import numpy as np

CELLS = {16: (4, 8, 16), 32: (4, 8, 16, 32)}


class Network:
    """Two layers with a ReLU between, of normalised images."""

    def __init__(self, mean, std, first, first_bias, second, second_bias):
        self.mean, self.std = (np.array(value).reshape(3, 1, 1) for value in (mean, std))
        self.weights = first, first_bias, second, second_bias

    def normalised(self, pixels):
        """float64 [n, 3, H, W] of bytes."""
        return (pixels / 255.0 - self.mean) / self.std

    def logits(self, x):
        first, first_bias, second, second_bias = self.weights
        hidden = np.maximum(x.reshape(len(x), -1) @ first.T + first_bias, 0)
        return hidden @ second.T + second_bias


def spectra(x):
    return np.fft.fftshift(np.fft.fft2(x), axes=(-2, -1))


def filtered(spectrum, mask):
    """The real part of what is left through a centred mask [H, W]."""
    return np.fft.ifft2(np.fft.ifftshift(spectrum * mask, axes=(-2, -1))).real


def cross_entropy(logits, label):
    top = max(logits)
    return top + math.log(sum(math.exp(value - top) for value in logits)) - logits[label]


def batch_loss(logits, labels, c):
    """One batch's part of the loss of class c: other rows' logits and labels are set to 0, then the mean of all."""
    total = 0.0
    for row, label in zip(logits, labels, strict=True):
        total += cross_entropy(row, label) if label == c else cross_entropy(0 * row, 0)
    return total / len(labels)


def hfss_losses(logits, labels, batch):
    """[classes = logits]: every batch counts for every class."""
    batches = range(0, len(labels), batch)
    return [
        sum(batch_loss(logits[at : at + batch], labels[at : at + batch], c) for at in batches)
        for c in range(logits.shape[1])
    ]


def dfm_losses(logits, labels, batch):
    """[classes = logits]: only batches that hold an image of the class count."""
    losses = []
    for c in range(logits.shape[1]):
        total = 0.0
        for at in range(0, len(labels), batch):
            if (labels[at : at + batch] == c).sum() > 0:
                total += batch_loss(logits[at : at + batch], labels[at : at + batch], c)
        losses.append(total)
    return losses


def effective(mask):
    """What a mask does to real images: the mean of it and its point reflection through DC (even sides)."""
    n = len(mask)
    result = np.empty_like(mask, dtype=float)
    for h in range(n):
        for w in range(n):
            result[h, w] = (mask[h, w] + mask[-h % n, -w % n]) / 2
    return result


def rates(logits, labels, c):
    """TPR and FPR of class c."""
    called = logits.argmax(1) == c
    return called[labels == c].mean(), called[labels != c].mean()


# ---- HFSS ----------------------------------------------------------------------------------------------------


def hfss_masks(side, stage, number, keep, seed, parents):
    """Candidates of a stage, as drawn and mirrored. `parents`: for every class its masks of the stage before."""
    generator, parent_generator = random.Random(seed), np.random.RandomState(seed)
    g = CELLS[side][stage - 1]
    s = side // g

    def pick(n, k):
        seen = []
        while len(seen) < k:
            r = generator.randint(0, n - 1)
            if r not in seen:
                seen.append(r)
        return seen

    def aligned(share):
        cells = np.zeros((g, g))
        for r in pick(g * g // 2, int(share * (g * g // 2))):
            cells[r // g, r % g] = 1
        return np.kron(cells, np.ones((s, s)))

    def shifted(share):
        cells = np.zeros((g + 1, g + 1))
        for r in pick((g // 2 + 1) * (g + 1), int(share * ((g // 2 + 1) * (g + 1)))):
            cells[r // (g + 1), r % (g + 1)] = 1
        return np.kron(cells, np.ones((s, s)))[s // 2 : s // 2 + side, s // 2 : s // 2 + side]

    masks = []
    for _ in range(number // 3):
        parent = np.ones((side, side))
        if stage > 1:
            c = parent_generator.randint(0, len(parents))
            parent = parents[c][parent_generator.randint(0, len(parents[c]))]
        family = [aligned(keep)]
        if s > 1:
            family.append(shifted(keep))
            family.append(np.clip(aligned(keep / 2) + shifted(keep / 2), 0, 1))
        for mask in family:
            mask = mask * parent
            for h in range(side // 2):
                for w in range(side):
                    mask[side - 1 - h, side - 1 - w] = mask[h, w]
            masks.append(mask)
    return masks


def hfss(network, pixels, labels, *, numbers, keep, seed, top, batch):
    """Stage by stage a dict: masks, losses [K][C], ranks [C][top], logits [K, n, C]."""
    spectrum, stages, parents = spectra(network.normalised(pixels)), [], None
    for stage, number in enumerate(numbers, 1):
        masks = hfss_masks(pixels.shape[-1], stage, number, keep, seed, parents)
        logits = np.stack([network.logits(filtered(spectrum, mask)) for mask in masks])
        losses = [hfss_losses(each, labels, batch) for each in logits]
        classes = logits.shape[-1]
        ranks = [sorted(range(len(masks)), key=lambda k: (losses[k][c], k))[:top] for c in range(classes)]
        parents = [[masks[k] for k in row] for row in ranks]
        stages.append({"masks": masks, "losses": losses, "ranks": ranks, "logits": logits})
    return stages


# ---- DFM -----------------------------------------------------------------------------------------------------


def removal_places(side, patch):
    """For every candidate the blocks (row, column) that it removes, in the order of the loops."""
    places = []
    for r in range(int(side / patch)):
        for c in range(int(side / patch / 2) + 1):
            blocks = [(patch * r, patch * c)]
            if r > 0 and c > 0:
                blocks.append((side - patch * r, side - patch * c))
            places.append(blocks)
    return places


def removal_masks(side, patch, strip):
    masks = []
    for blocks in removal_places(side, patch):
        mask = np.ones((side, side))
        if strip:
            mask[:patch, int(side / 2 + patch) :] = 0
        for row, column in blocks:
            mask[row : row + patch, column : column + patch] = 0
        masks.append(mask)
    return masks


def dfm(network, pixels, labels, *, patch, strip, batch, shares):
    """baseline [C], maps [C, H, W] of losses, and for each share the thresholded maps [C, H, W]."""
    side = pixels.shape[-1]
    x = network.normalised(pixels)
    spectrum = spectra(x)
    baseline = dfm_losses(network.logits(x), labels, batch)
    maps = np.zeros((len(baseline), side, side))
    for mask, blocks in zip(removal_masks(side, patch, strip), removal_places(side, patch), strict=True):
        losses = dfm_losses(network.logits(filtered(spectrum, mask)), labels, batch)
        for row, column in blocks:
            maps[:, row : row + patch, column : column + patch] = np.array(losses)[:, None, None]
    chosen = {}
    for share in shares:
        k = int(share * side * side)
        chosen[share] = np.stack([plane >= sorted(plane.ravel())[-k] for plane in maps])
    return np.array(baseline), maps, chosen
