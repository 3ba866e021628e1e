"""The sixteen everyday categories of the comparison with people, as groups of the 1,000 classes of ImageNet.

Source: Geirhos et al., NeurIPS 2018 (arXiv 1808.08750) and NeurIPS 2021 (arXiv 2106.07411).
"""

import torch

from freqkit.errors import UsageError

__all__ = ["CATEGORIES", "MEMBERS", "category_of", "sixteen_way"]

_RANGES = {
    "airplane": "404",
    "bear": "294-297",
    "bicycle": "444 671",
    "bird": "8 10-16 18-20 22-24 80-83 87-96 98-100 127-133 135-145",
    "boat": "472 554 625 814 914",
    "bottle": "440 720 737 898-899 901 907",
    "car": "436 511 817",
    "cat": "281-286",
    "chair": "423 559 765 857",
    "clock": "409 530 892",
    "dog": "152-191 193-203 205-226 228-241 243-250 252-257 259 261-263 265-268",
    "elephant": "385-386",
    "keyboard": "508 878",
    "knife": "499",
    "oven": "766",
    "truck": "555 569 656 675 717 734 864 867",
}


def _numbers(ranges: str) -> tuple[int, ...]:
    ends = (part.split("-") for part in ranges.split())
    return tuple(number for part in ends for number in range(int(part[0]), int(part[-1]) + 1))


# Category -> the logits of an ImageNet model that belong to it, in the order of the shipped list `sixteen`.
MEMBERS: dict[str, tuple[int, ...]] = {name: _numbers(ranges) for name, ranges in _RANGES.items()}
CATEGORIES: tuple[str, ...] = tuple(MEMBERS)


def sixteen_way(logits: torch.Tensor) -> torch.Tensor:
    """Logits of the 1,000 classes as probabilities of the sixteen categories.

    The mean softmax probability of a category's classes, not divided by their sum: the largest is the answer.

    Args:
        logits: [..., 1000], in the order of ImageNet's classes.

    Returns:
        float64 [..., 16], in the order of `CATEGORIES`.

    Raises:
        UsageError: if there are not 1,000 logits.

    Example:
        >>> logits = torch.zeros(1000)
        >>> logits[[281, 499]] = torch.tensor([9.0, 8.0])
        >>> CATEGORIES[sixteen_way(logits).argmax()]
        'knife'
    """
    if not logits.ndim or logits.shape[-1] != 1000:
        raise UsageError(
            f"sixteen_way: logits must be [..., 1000], one for each class of ImageNet; got {list(logits.shape)}."
        )
    chances = logits.double().softmax(-1)
    return torch.stack([chances[..., list(members)].mean(-1) for members in MEMBERS.values()], -1)


def category_of(index: int) -> int | None:
    """The category (its place in `CATEGORIES`) of a class of ImageNet; None when it belongs to none.

    Example:
        >>> CATEGORIES[category_of(766)], category_of(0)
        ('oven', None)
    """
    return next((place for place, members in enumerate(MEMBERS.values()) if index in members), None)
