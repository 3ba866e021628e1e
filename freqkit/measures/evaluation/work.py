"""One condition of one set for one model: which images, which logits count, and the answers so far."""

import hashlib

import numpy as np
import torch

from freqkit.data.image_set import pixel_digest
from freqkit.data.sixteen import CATEGORIES, sixteen_way
from freqkit.errors import UsageError
from freqkit.results.rows import place_of

UNREADABLE, NO_MASK = -2, -1  # in place of an answer


def cross_name(k):
    """Of the answers of a round of pairs."""
    return f"cross{k or ''}"


class Work:
    """The answers of a model to a set under a condition.

    Args:
        model: a `OneModel`.
        test_set: the images that it is asked about. logits: int64 [n], the logit of each image's class (or the place
            of its category among the sixteen).
        base: whether these are the in-distribution images.

    Attributes:
        sixteen: whether the answer is one of the sixteen categories. classes: the names of what is answered.
    """

    def __init__(self, model, test_set, logits, condition, base):
        self.model, self.test_set, self.logits, self.condition = model, test_set, logits, condition
        self.settings, self.error, self.held = model.settings, None, {}
        self.sixteen = test_set.sixteen and model.names != list(CATEGORIES)
        self.classes = list(CATEGORIES) if self.sixteen else model.names
        if self.sixteen and condition.attack:
            raise UsageError(f"{test_set.title}: an attack needs images of the model's own classes, not of categories.")
        self.set_name = f"{test_set.name} generated" if condition.corruption else test_set.name
        self.row_condition = condition.title or test_set.condition or "all"
        self.row_condition += ", 16 categories" if self.sixteen else ""
        self.place = {"set": self.set_name, **place_of(self.row_condition)}  # fields of its rows
        self.key = f"{model.slug}/{self.set_name}/{self.row_condition}".replace(" ", "_")
        self.scorings = self._scorings(base)
        self.plain_base = base and condition.title == ""
        self.cross, self.pixels = self._cross(), self._pixels()
        # Whether these are the images on which the maps were selected is told by their pixels.
        self.digested = (
            self.masked
            and self.settings.dfm.data_hash is not None
            and not condition.title
            and "/" not in test_set.condition
        )
        self.selected = None  # how many of the images the maps were selected on; None: not known

    def _scorings(self, base):
        """Ways of scoring: all logits (None), and those of a known part of the classes, by whose they are ("": the
        set's own)."""
        found = {None: None}
        if self.condition.attack or self.sixteen:
            return found
        own = self.test_set.subset
        parts = [own] if own else []
        if base:
            parts += [each.subset for each in self.settings.sets if each.subset]
        for part in parts:
            places = sorted(self.model.logit[name] for name in part if name in self.model.logit)
            if 1 < len(places) < len(self.model.names):
                name = next(each.name for each in self.settings.sets if each.subset is part)
                found["" if part is own else name] = torch.tensor(places)
        return found

    def _cross(self):
        """Rounds of int64 [n]: of some images the logit of *another* class, through whose map they are also asked;
        else -1. Every round has other maps."""
        drawn, model = [torch.full((len(self.logits),), -1)], self.model
        masked = [] if not self.masked else [k for k in self.logits.unique().tolist() if model.of_logit[k] >= 0]
        share = self.settings.share_crossed(len(self.logits), len(masked), self.plain_base)
        wanted = int(share * len(self.logits) + 1e-9)
        if wanted < 1 or len(masked) < 2 or self.condition.attack:
            return drawn
        salt = f"cross {self.settings.seed} ".encode()
        keys = [
            hashlib.sha256(salt + self.test_set.source.name(i).encode("utf-8", "surrogateescape")).digest()
            for i in range(len(self.logits))
        ]
        rounds = max(1, int(share))
        drawn, wanted = [drawn[0].clone() for _ in range(rounds)], min(wanted, len(self.logits))
        place = {logit: k for k, logit in enumerate(masked)}
        for i in sorted(range(len(keys)), key=lambda i: keys[i])[:wanted]:
            own = place.get(int(self.logits[i]))
            others = len(masked) - (own is not None)
            first = int.from_bytes(keys[i][-8:], "little")
            for k, each in enumerate(drawn):
                pick = (first + k) % others
                each[i] = masked[pick + (own is not None and pick >= own)]
        return drawn

    def _pixels(self):
        """int64 [n]: with "cvpr2025" the logit of the in-distribution images of ImageNet-R's classes, which are also
        filtered before they are normalised, as the images of ImageNet-R are; else -1."""
        wanted = torch.full((len(self.logits),), -1)
        first = [each for each in self.settings.sets if self.settings.pixels_first(each)]
        if not first or not self.masked or not self.plain_base or self.settings.pixels_first(self.test_set):
            return wanted
        names = {name for each in first for name in each.subset or each.classes}
        own = torch.tensor([name in names for name in self.model.names])[self.logits]
        return torch.where(own & (self.model.of_logit[self.logits] >= 0), self.logits, wanted)

    @property
    def masked(self):
        """Whether images are also seen through maps."""
        return self.model.masks is not None and not self.sixteen

    @property
    def own(self):
        """int64 [n], the logit through whose map an image is seen, if there is one; of categories -1."""
        return torch.full_like(self.logits, -1) if self.sixteen else self.logits

    @property
    def passes(self):
        return 2 if self.masked else 1

    def names(self, first, last):
        return [self.test_set.source.name(i) for i in range(first, last)]

    # ---- the journal

    def name(self, first, last):
        return f"{self.key}/0-{self.passes}/{first}-{last}"

    def recall(self, first, last):
        """What the journal has of these images, or None."""
        journal = self.model.journal
        if journal is None:
            return None
        rows = (len(self.scorings), last - first)
        layout = {"clean answer": ("i", rows)}
        if not self.condition.attack:
            layout = {which: ("i", rows) for which in self.empty(0)}
        if self.digested:
            layout["digest"] = ("i", (last - first, 32))
        found = journal.get(self.name(first, last), layout)
        for which, values in (found or {}).items():
            if "answer" in which and (values.dtype.kind == "f" or values.max(initial=0) >= len(self.model.names)):
                name = self.name(first, last)
                raise UsageError(f"{journal.path}: the record {name!r} holds answers that are no logits of the model.")
        return found

    def keep(self, first, last, found):
        """Take answers, and write them to the journal unless it has the same (else the newer ones count)."""
        if self.model.journal is not None:
            known = self.recall(first, last)
            same = known is not None and known.keys() == found.keys()
            if not same or any(not np.array_equal(known[name], found[name], equal_nan=True) for name in found):
                self.model.journal.put(self.name(first, last), **found)
        self.held[first] = found

    # ---- answers

    def empty(self, count):
        """No answers yet to `count` unattacked images."""
        rows = len(self.scorings)
        found = {
            "clean answer": np.full((rows, count), NO_MASK, np.int32),
            "in top 5": np.zeros((rows, count), np.uint8),
        }
        if self.masked:
            found["filtered answer"] = np.full((rows, count), NO_MASK, np.int32)
            for k in range(len(self.cross)):
                found[f"{cross_name(k)} answer"] = np.full((rows, count), NO_MASK, np.int32)
            if (self.pixels >= 0).any():
                found["pixels answer"] = np.full((rows, count), NO_MASK, np.int32)
        return found

    def fill(self, found, which, first, places, logits):
        """Put what logits [b, L] say of the images first + places (int64 [b]) into `found`."""
        finite = torch.isfinite(logits).all(1).cpu()
        if not finite.all():
            name = self.test_set.source.name(first + int(places[~finite][0]))
            raise FloatingPointError(f"the model gave a NaN or infinite logit for image {name}.")
        at = places.numpy()
        found[f"{which} answer"][:, at] = self._winners(logits)
        if which == "clean":
            found["in top 5"][:, at] = self._in_top(logits, self.logits[first + places])

    def _winners(self, logits):
        """Winning logit by each way of scoring, int32 [scorings, b]; the winning category of the sixteen."""
        if self.sixteen:
            logits = sixteen_way(logits)
        found = []
        for part in self.scorings.values():
            found.append((logits.argmax(1) if part is None else part[logits[:, part].argmax(1).cpu()]).cpu().numpy())
        return np.stack(found).astype(np.int32)

    def _in_top(self, logits, own):
        """Whether fewer than five logits exceed the true one, uint8 [scorings, b]."""
        if self.sixteen:
            logits = sixteen_way(logits)
        found = []
        for part in self.scorings.values():
            values = logits if part is None else logits[:, part]
            true = logits.gather(1, own.to(logits.device)[:, None])
            found.append(((values > true).sum(1) < 5).cpu().numpy())
        return np.stack(found).astype(np.uint8)

    def mark(self, found, pixels, bad):
        """Strike the answers to images that could not be read; keep the pixels' digests where they are wanted."""
        for name, values in found.items():
            if "answer" in name:
                values[..., bad] = UNREADABLE
        if self.digested:
            digests = [np.frombuffer(pixel_digest(image), np.uint8) for image in pixels.numpy()]
            found["digest"] = np.stack(digests)

    def collect(self):
        """All blocks together: arrays [scorings, n]."""
        blocks = [self.held[first] for first in sorted(self.held)]
        stacked = {"outside": np.stack, "digest": np.concatenate}
        data = {
            name: stacked.get(name, lambda parts: np.concatenate(parts, axis=-1))([block[name] for block in blocks])
            for name in blocks[0]
        }
        self.held = {}
        return data
