"""Answers to images under K conditions: what the small parts of a profile keep."""

from dataclasses import dataclass, field

import torch

from freqkit.errors import UsageError
from freqkit.files.reading import in_range
from freqkit.files.whole import RECORD
from freqkit.results import rows
from freqkit.results.result import Result, TensorFile
from freqkit.statistics import wilson


@dataclass
class Answered(Result):
    """Which logit won.

    Attributes:
        classes: C names. conditions: K names, the first "all": whole images.
        edges: float64 [K, 2], the band of each in cycles/image; NaN where it is of none.
        answers: int32 [K, n]. labels: int64 [n]. class_index: int64 [C], the logit of each class.
        definition, record: JSON-ready dicts.
    """

    classes: list
    conditions: list
    edges: torch.Tensor
    answers: torch.Tensor
    labels: torch.Tensor
    class_index: torch.Tensor
    definition: dict = field(default_factory=dict)
    record: dict = field(default_factory=dict)

    FILE = TensorFile(
        "freqkit-profile-answers-1", "a file of a profile's answers",
        {"edges": "float64 K 2", "answers": "int32 K n", "labels": "int64 n", "class_index": "int64 C"},
        {"classes": [str], "conditions": [str], "definition": dict, "record": RECORD},
        {"C": "classes", "K": "conditions"},
    )  # fmt: skip
    COLUMNS = ("condition", "from", "to", "images", "accuracy", "accuracy low", "accuracy high")
    CSV = False

    @property
    def hits(self):
        """int64 [K], images that are recognised."""
        return (self.answers == self.class_index[self.labels]).sum(1)

    @property
    def accuracy(self):
        """float64 [K]."""
        return self.hits.double() / len(self.labels)

    @property
    def interval(self):
        """float64 [K, 2], Wilson's."""
        return wilson(self.hits, torch.full_like(self.hits, len(self.labels)))

    def cells(self):
        n = [len(self.labels)] * len(self.conditions)
        return [self.conditions, *self.edges.T, n, self.accuracy, *self.interval.T]

    def rows(self):
        found, about = [], rows.of_record(self.record, definition=self.definition.get("quantity", ""))
        for k, condition in enumerate(self.conditions):
            where = {**about, "condition": condition}
            if self.edges[k, 0] == self.edges[k, 0]:
                where["radius"] = float(self.edges[k, 0])
            found += rows.values([""], "accuracy", self.accuracy[k, None], [len(self.labels)], self.interval[k, None],
                                 **where)  # fmt: skip
        return found

    @classmethod
    def joined(cls, results):
        """One result of several of disjoint images."""
        first = results[0]
        return cls(
            first.classes, first.conditions, first.edges, torch.cat([one.answers for one in results], 1),
            torch.cat([one.labels for one in results]), first.class_index, first.definition, joined_record(results),
        )  # fmt: skip

    @classmethod
    def checked(cls, values, path):
        in_range(values["labels"], 0, len(values["classes"]) - 1, path, "labels")
        in_range(values["answers"], 0, 2**31 - 1, path, "answers")
        if not len(values["labels"]):
            raise UsageError(f"{path}: must hold the answers to one image at least.")
        return values


def joined_record(results):
    """The record of several results of disjoint images: their numbers summed, and no fingerprint of a part."""
    record = dict(results[0].record)
    for name in ("forwards", "backwards"):
        if name in record:
            record[name] = sum(one.record.get(name, 0) for one in results)
    data = {key: value for key, value in record.get("data", {}).items() if key != "fingerprint"}
    record["data"] = {**data, "images": sum(one.record["data"].get("images", 0) for one in results)}
    return record
