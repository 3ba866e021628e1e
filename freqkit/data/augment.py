"""Training augmentations of uint8 images: what happens to an image depends on (seed, epoch, image) alone."""

import hashlib

import torch

from freqkit.errors import UsageError

# Those of torchvision draw from torch's generator, which is seeded for each image; crop and flip are drawn for
# the whole epoch at once, which is some ten times as fast.
POLICIES = ("crop", "pad", "flip", "resized-crop", "augmix", "autoaugment", "randaugment", "trivialaugment")
OWN = ("crop", "pad", "flip")
PADDING = 4


def key(*parts):
    """A seed of 63 bits from integers and strings.

    Example:
        >>> key(0, "flip", 3) == key(0, "flip", 3) != key(0, "flip", 4)
        True
    """
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") >> 1


def generator(*parts):
    return torch.Generator().manual_seed(key(*parts))


class Augment:
    """Augmentations of one epoch, in the order of their names.

    - "crop": 4 zero pixels around, then a random window of the old size;
    - "pad": 4 zero pixels around, which a later "resized-crop" brings back to the old size (ICCV 2023: "pad", "flip",
      "resized-crop");
    - "flip": left and right exchanged, half of the time;
    - "resized-crop": torchvision's `RandomResizedCrop` (8-100 % of the area, aspect 3/4-4/3). It changes what
      frequency a structure has;
    - "augmix", "autoaugment" (the CIFAR-10 policy up to 64 pixels, else ImageNet's), "randaugment" (2
      operations of magnitude 9), "trivialaugment": torchvision's, defaults.

    Args:
        names: some of `POLICIES`.
        count: images in the set.
        seed, epoch: integers.

    Calling it with uint8 images [b, 3, H, W] and their positions in the set gives uint8 [b, 3, H, W].

    Example:
        >>> import torch
        >>> images = torch.arange(2 * 3 * 8 * 8).remainder(256).to(torch.uint8).view(2, 3, 8, 8)
        >>> twice = [Augment(["crop", "flip"], 2, seed=0, epoch=1)(images, torch.tensor([0, 1])) for _ in range(2)]
        >>> torch.equal(*twice)
        True
    """

    def __init__(self, names, count, *, seed, epoch):
        self.names = check_policies(names)
        self.offset = torch.randint(0, 2 * PADDING + 1, (count, 2), generator=generator(seed, "crop", epoch))
        self.mirrored = torch.rand(count, generator=generator(seed, "flip", epoch)) < 0.5
        self.seeds = torch.randint(0, 2**62, (count,), generator=generator(seed, "augment", epoch)).tolist()
        self._made = {}

    def __call__(self, images, positions):
        size = images.shape[-2:]
        for number, name in enumerate(self.names):
            if name == "crop":
                images = _crop(images, self.offset[positions])
            elif name == "pad":
                images = torch.nn.functional.pad(images, (PADDING,) * 4)
            elif name == "flip":
                images = torch.where(self.mirrored[positions].view(-1, 1, 1, 1), images.flip(3), images)
            else:
                operation = self._policy(name, size)
                with torch.random.fork_rng(devices=[]):
                    done = []
                    for image, position in zip(images, positions.tolist(), strict=True):
                        torch.default_generator.manual_seed((self.seeds[position] + number) % 2**63)
                        done.append(operation(image))
                images = torch.stack(done)
        return images

    def _policy(self, name, size):
        if name not in self._made:
            v2 = torchvision_transforms(f"augment: {name} needs")
            if name == "resized-crop":
                made = v2.RandomResizedCrop(tuple(size), antialias=True)
            elif name == "autoaugment":
                policy = v2.AutoAugmentPolicy.CIFAR10 if max(size) <= 64 else v2.AutoAugmentPolicy.IMAGENET
                made = v2.AutoAugment(policy)
            else:
                made = {"augmix": v2.AugMix, "randaugment": v2.RandAugment, "trivialaugment": v2.TrivialAugmentWide}[
                    name
                ]()
            self._made[name] = made
        return self._made[name]


def torchvision_transforms(who):
    """torchvision's transforms; `who` begins the sentence when they cannot be imported."""
    try:
        from torchvision.transforms import v2
    except Exception as error:  # one that was made for another torch fails with RuntimeError or OSError
        raise UsageError(
            f"{who} torchvision, which could not be imported ({type(error).__name__}: "
            f"{str(error).partition(chr(10))[0]}); install the one that matches torch {torch.__version__}."
        ) from error
    return v2


def mix(images, labels, classes, *, mixup, cutmix):
    """torchvision's MixUp or CutMix of a batch, drawn from torch's generator.

    Args:
        images: float [b, C, H, W]. labels: int64 [b]. classes: number of logits.
        mixup, cutmix: parameters of the beta distribution, 0: off; with both, either with equal chance.

    Returns:
        images and labels; labels are shares [b, classes] if anything was mixed.

    Example:
        >>> import torch
        >>> x, y = mix(torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 2, 0]), 3, mixup=0.2, cutmix=1.0)
        >>> y.shape, y.sum(1).allclose(torch.ones(4))
        (torch.Size([4, 3]), True)
    """
    if len(images) < 2 or not (mixup or cutmix):
        return images, labels
    v2 = torchvision_transforms("mixup and cutmix need")
    ways = [v2.MixUp(alpha=mixup, num_classes=classes)] if mixup else []
    ways += [v2.CutMix(alpha=cutmix, num_classes=classes)] if cutmix else []
    way = ways[int(torch.randint(len(ways), (1,)))]
    return way(images, labels)


def check_policies(names):
    names = tuple(names)
    strange = [name for name in names if name not in POLICIES]
    if strange or len(set(names)) != len(names):
        raise UsageError(f"augment must be some of {', '.join(POLICIES)}, each once; got {', '.join(map(str, names))}.")
    if "pad" in names:
        later = names[names.index("pad") + 1 :]
        if "resized-crop" not in later or "crop" in later[: later.index("resized-crop")]:
            raise UsageError(
                "augment: 'pad' must be followed by 'resized-crop', which gives images their side again, with no "
                f"'crop' between; got {', '.join(names)}."
            )
    return names


def _crop(images, offset):
    height, width = images.shape[2:]
    padded = torch.nn.functional.pad(images, (PADDING,) * 4)
    rows = offset[:, :1] + torch.arange(height)
    columns = offset[:, 1:] + torch.arange(width)
    batch = torch.arange(len(images))
    # [b, H, W, 3] by indexing around the channels, then back
    return padded[batch[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()
