"""The pass of one model over all sets: every image decoded once, every question about it asked, block by block."""

import hashlib
import json
import math
import re
from dataclasses import dataclass, replace

import numpy as np
import torch

from freqkit.data.class_lists import class_list
from freqkit.data.corruptions import check as check_corruption
from freqkit.data.corruptions import corrupt
from freqkit.data.test_set import Reader, TestSet, refuse_bad
from freqkit.engine.attacks import attack
from freqkit.engine.forward import Forward
from freqkit.engine.session import CannotResume
from freqkit.errors import UsageError
from freqkit.measures.evaluation.reading import Fingerprinted, rows
from freqkit.measures.evaluation.rows import Rows
from freqkit.measures.evaluation.work import NO_MASK, UNREADABLE, Work, cross_name
from freqkit.measures.selection import selected_places
from freqkit.models.wrap import NOT_IDENTIFIED, UNIDENTIFIED
from freqkit.ops import spectral_filter, spectrum

BLOCK = 256  # images decoded, computed and journalled as one
FAULTS = (ValueError, TypeError, ArithmeticError, RuntimeError, OSError, ImportError)


@dataclass
class OneSet:
    """A set as one model is asked about it: the images of classes that it knows, and the work on each condition."""

    test_set: TestSet
    reader: Reader
    pixels_first: bool  # filter pixels and normalise afterwards, as the published ImageNet-R script does
    works: list

    def fits(self, other):
        """Whether images of both may go through the model together."""
        return self.reader.preprocessing == other.reader.preprocessing and self.pixels_first == other.pixels_first


@dataclass
class Started:
    """What was begun for a part: the works to do, and the images being decoded for them, or else (a journal's answers
    to all) their digests being taken."""

    works: list
    decoding: list | None = None
    checking: list | None = None


@dataclass
class ImagePart:
    """Images first...last - 1 of a set."""

    one: OneSet
    first: int
    last: int

    def __len__(self):
        return self.last - self.first

    @property
    def live(self):
        return [work for work in self.one.works if work.error is None]

    @property
    def ends(self):
        """Whether the set is done with these."""
        return self.last == len(self.one.test_set)


class OneModel:
    """One model over all sets."""

    def __init__(self, run, name, slug, classifier):
        self.run, self.settings, self.name, self.slug, self.classifier = run, run.settings, name, slug, classifier
        self.journal = run.session.journal
        self.names = self.settings.class_names(classifier)
        self.logit = {each: i for i, each in enumerate(self.names)}
        if len(self.logit) != len(self.names):
            raise UsageError("evaluate: the model's classes must have distinct names.")
        self.masks, self.of_logit = self.settings.maps(self.names)
        self.forward = Forward(classifier, device=run.device, dtype=self.settings.dtype, domain="normalised")
        self.facts, self.counts = {}, {"forwards": 0, "backwards": 0, "decoded": 0, "forwards_resumed": 0}
        self.optimised = False
        self.rows = Rows(self)
        self.remember()

    def remember(self):
        """A resumed run must ask the same weights, in the same layers, normalised in the same way."""
        if self.journal is None:
            return
        key, model = f"{self.slug}/weights/0-0/0-0", self.classifier
        state = model.record["state_sha256"]
        layers = re.sub(r"0x[0-9a-fA-F]+", "", repr(model.network))  # no addresses
        parts = {
            "weights": state,
            "layers": hashlib.sha256(layers.encode("utf-8", "replace")).hexdigest(),
            "normalisation or size": hashlib.sha256(
                json.dumps([model.mean, model.std, model.num_classes, model.input_size]).encode()
            ).hexdigest(),
        }
        fields = {"weights": "sha256", "layers": "layers", "normalisation or size": "how"}
        known = self.journal.get(key, {"sha256": ("i", (32,))})
        if known is None:
            now = {fields[what]: np.frombuffer(bytes.fromhex(digest), np.uint8) for what, digest in parts.items()}
            self.journal.put(key, **now)
            return
        if state == UNIDENTIFIED:
            raise CannotResume(f"evaluate: cannot resume, for {self.name} is {NOT_IDENTIFIED}.")
        for what, digest in parts.items():
            there = known.get(fields[what])  # an older version kept the weights' alone
            if there is not None and there.tobytes().hex() != digest:
                raise CannotResume(
                    f"evaluate: cannot resume, for {self.name} has other {what} than when the run began."
                )

    def compare(self, part, digests):
        """The images of a part must be those that the journal's answers are of."""
        key = self.read_key(part)
        known = self.journal.get(key, {"digest": ("i", digests.shape)})
        if known is None:
            self.journal.put(key, digest=digests)
            return
        other = np.flatnonzero((known["digest"] != digests).any(1))
        if len(other):
            one, names = part.one.test_set, [part.one.test_set.source.name(part.first + int(i)) for i in other[:3]]
            raise CannotResume(
                f"evaluate: cannot resume, for {len(other)} of the images {part.first}...{part.last - 1} of {one.title}"
                f" are not those that were read when the run began ({', '.join(names)}{', ...' * (len(other) > 3)}); "
                "put them back, or evaluate into another directory."
            )

    def read_key(self, part):
        """Of the journal's entry that tells which images were read; its first range says that they are no forwards."""
        where = part.one.test_set.title.replace(" ", "_")
        return f"{self.slug}/read/{where}/0-0/{part.first}-{part.last}"

    def coverage(self):
        """dict class -> share of the frequencies that its map keeps."""
        if self.masks is None:
            return {}
        share, own = self.settings.dfm.coverage.touched.tolist(), self.of_logit.tolist()
        return {name: share[k] for name, k in zip(self.names, own, strict=True) if k >= 0}

    # ---- sets and blocks

    def all(self):
        """Go through all sets; the images of the next block are decoded while the model works on this one."""
        blocks = self.blocks()
        block, started = next(blocks, None), None
        while block is not None:
            started = started or self.start(block)
            following = next(blocks, None)
            ahead = None if following is None else self.start(following)
            self.do(block, started)
            for part in block:
                if part.ends:
                    self.finish(part.one)
            self.run.session.check()
            block, started = following, ahead

    def blocks(self):
        """Lists of `ImagePart`, at most BLOCK images each. Small sets share one: the model is asked in full batches."""
        shared = []
        for test_set in self.settings.sets:
            one = self.prepared(test_set)
            if one is None:
                continue
            count = len(one.test_set)
            small = len(one.works) == 1 and count < BLOCK
            if shared and not (small and shared[0].one.fits(one) and sum(map(len, shared)) + count <= BLOCK):
                yield shared
                shared = []
            if small:
                shared.append(ImagePart(one, 0, count))
                continue
            for at in range(0, count, BLOCK):
                yield [ImagePart(one, at, min(at + BLOCK, count))]
        if shared:
            yield shared

    def prepared(self, test_set):
        """A set with the work on it, or None when nothing can be done."""
        settings, run = self.settings, self.run
        try:
            known, logits = self.known(test_set)
            if self.journal is not None:
                known = replace(known, source=Fingerprinted(known.source))
            how = settings.preprocessing(known, self.classifier)
            reader = Reader(how, pool=run.pool)
        except FAULTS as error:
            run.fault(self.name, test_set.name, test_set.condition, error)
            return None
        works = []
        for condition in settings.conditions(test_set):
            try:
                if condition.corruption:
                    check_corruption(condition.corruption, condition.severity)
                works.append(Work(self, known, logits, condition, test_set is settings.base))
            except FAULTS as error:
                run.fault(self.name, known.name, condition.title or known.condition, error)
        words = self.facts.setdefault("preprocessing", [])
        words += [how.words] * (how.words not in words)
        pixels_first = settings.pixels_first(known)
        return OneSet(known, reader, pixels_first, works) if works else None

    def known(self, test_set):
        """The images whose class is one of the model's, and the logit of each; of sixteen categories all, and the
        category's place."""
        if test_set.sixteen and not set(test_set.classes) & set(self.names):
            if self.names != class_list("imagenet"):
                raise UsageError(
                    f"{test_set.title}: its 16 categories are groups of the 1,000 classes of ImageNet; the model has"
                    f" {len(self.names)} others (as {self.names[0]!r}), or these in another order."
                )
            return test_set, test_set.labels
        of_class = torch.tensor([self.logit.get(name, -1) for name in test_set.classes])
        logits = of_class[test_set.labels]
        inside = (logits >= 0).nonzero().flatten().tolist()
        if not inside:
            raise UsageError(
                f"{test_set.title}: none of its classes (as {test_set.classes[0]!r}) is one of the model's "
                f"(as {self.names[0]!r}); give classes, the names of the logits, or a class map."
            )
        if len(inside) < len(logits):
            note = f"only the {len(inside)} images of classes that the model knows"
            test_set, logits = test_set.take(inside, note), logits[inside]
        return test_set, logits

    def start(self, block):
        """`Started` of each part: what the journal has is not done again, but its images are compared."""
        trusted = [self.journal is not None and self.read_key(part) in self.journal for part in block]
        found = [
            [work.recall(part.first, part.last) if known else None for work in part.live]
            for part, known in zip(block, trusted, strict=True)
        ]
        if len(block) > 1 and not all(each is not None for one in found for each in one):
            found = [[None] * len(one) for one in found]  # the batches of a resumed run are those of a whole one
        started = []
        for part, answers in zip(block, found, strict=True):
            todo, one = [], part.one
            for work, answer in zip(part.live, answers, strict=True):
                if answer is None:
                    todo.append(work)
                    continue
                work.held[part.first] = answer
                amount = len(part) * work.passes
                self.counts["forwards_resumed"] += amount
                self.run.progress.advance(amount, resumed=True)
            if todo:
                started.append(Started(todo, decoding=one.reader.start(one.test_set, part.first, part.last)))
            else:
                places = range(part.first, part.last) if answers else ()
                started.append(
                    Started(todo, checking=[self.run.pool.submit(one.test_set.source.digest, i) for i in places])
                )
        return started

    def do(self, block, started):
        """All that is to be done on the images of a block."""
        whole = []  # parts, one work each, that go through the model together
        for part, begun in zip(block, started, strict=True):
            if begun.checking:
                self.compare(part, rows(future.result() for future in begun.checking))
            works = [work for work in begun.works if work.error is None]
            if not works:
                continue
            pixels, bad = part.one.reader.finish(begun.decoding)
            self.counts["decoded"] += len(pixels) - len(bad)
            digests = None if self.journal is None else part.one.test_set.source.digests(part.first, part.last)
            if bad and self.settings.on_bad_image == "error":
                try:
                    refuse_bad(part.one.test_set, bad, part.first)
                except UsageError as error:
                    self.fail(part.one.works, error)
                    continue
            if digests is not None:
                self.compare(part, digests)
            places = [place for place, _ in bad]
            if len(block) > 1:
                whole.append((part, works[0], pixels, places))
                continue
            for work in works:
                self.answer([(part, work, pixels, places)])
        if whole:
            self.answer(whole)

    def answer(self, items):
        """Answers to the images of parts with one work each; after a fault each part by itself, for it is one's."""
        before = self.counts["forwards"]
        try:
            if items[0][1].condition.attack is None:
                found = self.plain(items)
            else:
                [(part, work, pixels, _)] = items
                found = [self.attacked(part, work, pixels)]
        except torch.OutOfMemoryError:
            raise
        except FAULTS as error:
            if len(items) == 1:
                self.fail([items[0][1]], error)
            else:
                for item in items:
                    self.answer([item])
            return
        for (part, work, pixels, bad), answers in zip(items, found, strict=True):
            work.mark(answers, pixels, bad)
            work.keep(part.first, part.last, answers)
        spent = self.counts["forwards"] - before
        self.run.progress.advance(spent)
        for part, work, _, _ in items:
            if work.condition.attack is not None:  # images that stopped early, or were wrong before
                most = len(part) * work.passes * work.condition.attack.most_forwards
                self.run.progress.advance(max(0, most - spent), saved=True)

    def fail(self, works, error):
        """Record a fault once; what stands on the failed answers fails with it."""
        first = True
        for work in works:
            if work.error is None:
                work.error = error
                if first:
                    where = work.condition.title or work.test_set.condition
                    self.run.fault(self.name, work.set_name, where, error)
                first = False

    def finish(self, one):
        """Rows of a set whose images are done; conditions made of its images share what is known of them."""
        selected = None
        for work in one.works:
            if work.error is None:
                if work.digested:
                    selected = self.selected(work)
                work.selected = selected
                self.rows.take(work)
        one.works.clear()

    def selected(self, work):
        """How many of the images are those that the maps were selected on; said once for each set."""
        test_set, dfm, size = work.test_set, self.settings.dfm, self.settings.dfm.masks.shape[1:]
        digests = [row.tobytes() for first in sorted(work.held) for row in work.held[first]["digest"]]
        names = work.names(0, len(test_set))
        found = selected_places(dfm, tuple(size), test_set.classes, names, test_set.labels.tolist(), digests)
        self.run.selected(test_set.title, len(found), len(test_set))
        return len(found)

    # ---- questions

    def plain(self, items):
        """Answers to images as they are, through their class's map, and of some through another's."""
        parts, works, pixels, _ = zip(*items, strict=True)
        condition, spans, at = works[0].condition, [], 0
        for part in parts:
            spans.append((at, at + len(part)))
            at += len(part)
        pixels = pixels[0] if len(pixels) == 1 else torch.cat(pixels)
        if condition.corruption:
            names = works[0].names(parts[0].first, parts[0].last)
            pixels = corrupt(pixels, condition.corruption, condition.severity, names, seed=self.settings.seed)
        through = {"filtered": [w.own for w in works], "pixels": [w.pixels for w in works]}
        for k in range(max(len(w.cross) for w in works)):
            through[cross_name(k)] = [
                w.cross[k] if k < len(w.cross) else torch.full((len(w.logits),), -1) for w in works
            ]
        wanted = {
            which: torch.cat([values[p.first : p.last] for p, values in zip(parts, each, strict=True)])
            for which, each in through.items()
        }
        found = [work.empty(len(part)) for part, work in zip(parts, works, strict=True)]
        for which, places, logits in self.asked(pixels, wanted, parts[0].one.pixels_first):
            for part, work, answers, (low, high) in zip(parts, works, found, spans, strict=True):
                inside = (places >= low) & (places < high)
                if inside.any():
                    some = logits if inside.all() else logits[inside.to(logits.device)]
                    work.fill(answers, which, part.first, places[inside] - low, some)
        return found

    def asked(self, pixels, wanted, pixels_first):
        """Yields ("clean" or a key of `wanted`, places int64 [b], logits [b, L]) until every image is asked.

        `wanted` holds int64 [n] each: through which logit's map, -1 for none. Those of "pixels" are filtered before
        they are normalised, the others as `pixels_first` says.
        """
        for low in range(0, len(pixels), self.settings.batch_size):
            high = min(low + self.settings.batch_size, len(pixels))
            x = pixels[low:high].to(self.forward.device).to(self.forward.compute).div_(255)
            yield "clean", torch.arange(low, high), self.ask(self.normalised(x))
            if self.masks is None:
                continue
            transformed = {}
            for which, through in wanted.items():
                first = pixels_first or which == "pixels"
                through = through[low:high]
                index = torch.where(through >= 0, self.of_logit[through.clamp_min(0)], -1)
                some = (index >= 0).nonzero().flatten()
                if len(some) == 0:
                    continue
                if first not in transformed:
                    transformed[first] = self.transform(x, first)
                chosen = transformed[first] if len(some) == len(index) else transformed[first][some]
                yield which, low + some, self.ask(self.filter(chosen, self.masks[index[some]], first))

    def transform(self, x, pixels_first):
        return spectrum(x) if pixels_first else spectrum(x, mean=self.forward.mean, std=self.forward.std)

    def filter(self, transformed, masks, pixels_first):
        """Normalised filtered images."""
        masks = masks.to(self.forward.device)
        filtered = spectral_filter(transformed, masks, pairing="each", memory_format=torch.channels_last)
        return self.normalised(filtered) if pixels_first else filtered

    def attacked(self, part, work, pixels):
        """Answers to attacked images, whole and (with maps) filtered."""
        spec, first, last = work.condition.attack, part.first, part.last
        [start] = [each for each in part.one.works if each.condition.title == ""]
        if start.error is not None:
            raise UsageError("its unattacked images could not be evaluated.")
        clean = start.held[first]
        keys = work.names(first, last)
        device, own = self.forward.device, work.logits[first:last]
        x = pixels.to(device).float().div_(255)
        how = {
            "mean": self.classifier.mean, "std": self.classifier.std, "bounds": self.settings.bounds,
            "batch_size": self.settings.batch_size,
        }  # fmt: skip
        index = None if self.masks is None else self.of_logit[own]
        masks = None if index is None else self.masks[index.clamp_min(0)]
        answers = torch.from_numpy(clean["clean answer"][0].astype(np.int64))
        readable = answers != UNREADABLE
        whole = readable if spec.band != "own" else readable & (index >= 0)
        found = {"clean answer": np.full((1, len(own)), NO_MASK, np.int32)}
        leaks = []
        free = replace(spec, refilter=False)
        passes = [("clean answer", x, free, whole, answers)]
        if masks is not None:
            found["filtered answer"] = np.full((1, len(own)), NO_MASK, np.int32)
            before = torch.from_numpy(clean["filtered answer"][0].astype(np.int64))
            there = readable & (index >= 0)
            images = x
            if not spec.refilter:
                mean, std = (
                    torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (self.classifier.mean, self.classifier.std)
                )
                images = torch.zeros_like(x)
                before_mean = part.one.pixels_first
                for some in there.nonzero().flatten().split(self.settings.batch_size):
                    images[some] = (
                        self.filter(self.transform(x[some], before_mean), masks[some], before_mean) * std + mean
                    )
            passes.append(("filtered answer", images, spec, there, before))
        for name, images, one, use, said in passes:
            some = use.nonzero().flatten()
            if len(some) == 0:
                continue
            result = attack(
                self.network, images[some], own[some].to(device), one, answers=said[some].to(device),
                keys=[keys[i] for i in some.tolist()], masks=None if masks is None else masks[some].to(device), **how,
            )  # fmt: skip
            self.counts["forwards"] += result.forwards
            self.counts["backwards"] += result.backwards
            found[name][0, some.numpy()] = result.answers.cpu().numpy()
            leaks.append(result.outside)
        found["outside"] = np.array(leaks + [math.nan] * (2 - len(leaks)))
        return found

    # ---- the network

    def ask(self, batch):
        """Logits float64 [b, L] of normalised images."""
        if not self.optimised:
            self.optimised = True
            # Noise, not the first images: a resumed run begins with others and must come to the same form.
            noise = torch.randn((8, *batch.shape[1:]), generator=torch.Generator().manual_seed(0), dtype=batch.dtype)
            sample = noise.to(batch.device, memory_format=torch.channels_last)
            self.facts["form"] = self.forward.optimise(self.settings.form, sample, note=self.run.progress.note)
        logits = self.called(self.forward, batch.contiguous(memory_format=torch.channels_last))
        self.counts["forwards"] += len(batch)
        return logits

    def called(self, network, batch):
        """What the network makes of a batch; whatever the user's code raises ends this condition alone."""
        try:
            logits = network(batch)
        except (torch.OutOfMemoryError, *FAULTS):
            raise
        except Exception as error:
            raise RuntimeError(f"the model raised {type(error).__name__}: {error}") from error
        if logits.shape[1] != len(self.names):
            raise UsageError(
                f"evaluate: the model must give {len(self.names)} logits as it says; it gave {logits.shape[1]}."
            )
        return logits

    def normalised(self, x):
        mean, std = (
            torch.tensor(v, dtype=x.dtype, device=x.device).view(1, 3, 1, 1)
            for v in (self.forward.mean, self.forward.std)
        )
        return (x - mean) / std

    def network(self, z):
        """Logits with gradients, for attacks, which are stopped between two steps: the block is begun anew."""
        self.run.session.check()
        return self.called(self.forward.module, z)
