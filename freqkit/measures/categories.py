"""The sixteen categories as a model has them: shared by the measures that compare networks with people."""

from collections.abc import Callable

import torch

from freqkit.data import class_list
from freqkit.data.sixteen import CATEGORIES, MEMBERS, category_of, sixteen_way
from freqkit.errors import UsageError
from freqkit.models import Classifier

_OF_LOGIT = torch.tensor([-1 if category_of(i) is None else category_of(i) for i in range(1000)])


class Sixteen:
    """How a model answers in sixteen categories.

    Args:
        owner: begins the sentence of an error.
        model: of ImageNet's 1,000 classes (by their WordNet ids where its logits have such names, else in their
            order), or of the sixteen categories by name.

    Attributes:
        names: of the logits. logit: int64 [16], a logit of each category, for labels.

    Raises:
        UsageError: it has other classes.
    """

    def __init__(self, owner: str, model: Classifier):
        own, wnids, count = model.class_names or [], class_list("imagenet"), model.num_classes
        if count == 1000:
            self.names = list(own) if set(own) == set(wnids) else wnids
            self._order = None if self.names == wnids else torch.tensor([self.names.index(name) for name in wnids])
            first = torch.tensor([members[0] for members in MEMBERS.values()])
            self.logit = first if self._order is None else self._order[first]
        elif count == 16 and set(own) == set(CATEGORIES):
            self.names = list(own)
            self._order = self.logit = torch.tensor([self.names.index(name) for name in CATEGORIES])
        else:
            raise UsageError(
                f"{owner}: the model must have ImageNet's 1,000 classes, or 16 that are named {', '.join(CATEGORIES)};"
                f" {model.name} has {count}{f', as {own[0]!r}' if own else ''}."
            )

    @property
    def whole(self) -> bool:
        """Whether there are more classes than the sixteen."""
        return len(self.names) == 1000

    def decide(self, logits: torch.Tensor) -> torch.Tensor:
        """int64 [...] of logits [..., L], what `parted` takes apart."""
        logits = logits if self._order is None else logits[..., self._order]
        if not self.whole:
            return 18 * logits.argmax(-1) + 1
        return 17 * sixteen_way(logits).argmax(-1) + _OF_LOGIT[logits.argmax(-1)] + 1

    @staticmethod
    def parted(answers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """int64 [...] each: the category of the highest probability, and the category of the class whose logit is
        highest, -1 for a class of none."""
        return answers // 17, answers % 17 - 1

    def index(self, classes: list, refuse: Callable[[str], UsageError]) -> torch.Tensor:
        """int64 [C], the logits of classes that are called as they are; `refuse(name)` is raised for another."""
        strange = next((name for name in classes if name not in self.names), None)
        if strange is not None:
            raise refuse(strange)
        return torch.tensor([self.names.index(name) for name in classes])
