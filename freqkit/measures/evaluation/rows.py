"""From answers to rows: rates of classes and sets, groups by filtered TPR, errors on corruptions."""

import math

import numpy as np
import torch

from freqkit.data.test_sets.corrupted import BENCHMARK, EXTRA, alexnet_errors
from freqkit.measures.evaluation.groups import curves, mean_corruption_error
from freqkit.measures.evaluation.work import cross_name
from freqkit.results.confusion import Counts as Tally
from freqkit.results.rows import place_of, shares, tidy

REAL_BATCH, ATTACK_BATCH = 512, 128  # of the published scripts of "cvpr2024"


def averaged(condition, published):
    """Whether a corruption ("fog/3" or "fog") is one of those that means are taken of: with "cvpr2025" the four extra
    ones of ImageNet-C are none, so that its 15 are left.

    Example:
        >>> averaged("fog/3", True), averaged("spatter/3", True), averaged("spatter/3", False)
        (True, False, True)
    """
    return not (published and place_of(condition)["condition"] in EXTRA)


class Rows:
    """All rows of one model, tidy ones (`freqkit.results.rows`).

    Args:
        model: a `OneModel`.
    """

    def __init__(self, model):
        self.model, self.settings = model, model.settings
        self.answers = {}  # (set, condition) -> (Work, Counts)
        self.found = []

    def take(self, work):
        """Count the answers of a finished `Work` and make its rows."""
        counts = Counts(work, len(work.classes))
        self.answers[work.set_name, work.row_condition] = work, counts
        for scoring in work.scorings:
            self.found += self.scored(work, counts, scoring)
        if work.test_set.real is not None and not work.condition.corruption and not work.condition.attack:
            hits, known = counts.real()
            about = "answer is one of the labels of ReaL (Beyer et al., 2020); images without any are left out"
            self.found += self.shares([""], "ReaL top-1", [hits], [known], **work.place, definition=about)
            if self.settings.study:
                images = len(work.test_set) % REAL_BATCH or REAL_BATCH
                hits, known = counts.real(images)
                about += f"; of the last {images} images alone, the batch that the published script keeps"
                published = {**work.place, "definition": about}
                self.found += self.shares([""], "ReaL top-1 as published", [hits], [known], **published)

    def all(self):
        """Rows of classes and sets, then of groups and corruptions."""
        return self.found + self.of_groups() + self.of_corruptions()

    def scored(self, work, counts, scoring):
        """Rows of one set, condition and way of scoring."""
        part, names = work.scorings[scoring], work.classes
        logits = len(names) if part is None else len(part)
        where = {**work.place, "logits": logits, "part": scoring}
        about = f"largest of {logits} logits"
        if work.sixteen:
            about = f"largest of {logits} categories, by the mean softmax probability of each one's classes"
        if work.condition.corruption:
            about += "; generated, not the published images"
        if work.condition.attack:
            about += "; attacked images, those wrong before the attack count as wrong"
            if work.condition.attack.band:
                about += f"; {100 * counts.outside():.1f}% of the change's energy outside the band, from clipping"
        rows = []
        for which, through in (("clean", None), ("filtered", "map")):
            tally = counts.of(which, scoring)
            if not tally.counts.sum():
                continue
            words = about if which == "clean" else self.filtered(work, about)
            kept = {**where, "filter": through, "definition": words}
            present = tally.counts.nonzero().flatten()
            labelled = [names[c] for c in present]
            rows += self.shares(labelled, "TPR", tally.correct[present], tally.counts[present], **kept)
            if which == "clean" and not work.condition.attack:
                others = {**kept, "definition": f"{about}; share of the other classes' images recognised as the class"}
                wrong = (tally.called - tally.correct)[present]
                rows += self.shares(labelled, "FPR", wrong, tally.others[present], **others)
            rows += self.shares([""], "top-1", [tally.correct.sum()], [tally.counts.sum()], **kept)
            if which == "filtered":
                still, whole = counts.still(scoring)
                among = {**kept, "definition": f"{words}, of those that are recognised unfiltered"}
                rows += self.by_class("TPR of recognised", still, whole, **among)
            if work.condition.attack and self.settings.study:
                rows += self.over_full_batches(tally, kept)
            if which == "clean" and counts.has_top and logits > 5 and not work.sixteen:
                inside, number = counts.in_top(scoring)
                rows += self.shares([""], "top-5", [inside], [number], **kept)
            rows.append(self.mean_tpr(tally, **kept))
        drawn, pairs = counts.crossed(scoring)
        if pairs.sum():
            words = f"{about}; images of other classes, drawn, filtered by this class's map and recognised as it"
            rows += self.by_class("FPR", drawn, pairs, **{**where, "filter": "map", "definition": words})
        return rows if part is not None else rows + self.filtered_as_pixels(work, counts, where, about)

    def over_full_batches(self, tally, where):
        """Accuracy under an attack as the published script divides: by the images of as many full batches."""
        right, images = int(tally.correct.sum()), int(tally.counts.sum())
        whole = -(-images // ATTACK_BATCH) * ATTACK_BATCH
        words = "the wrong ones are taken from this many images, those of full batches, as in the published script"
        published = {**where, "definition": f"{where['definition']}; {words}"}
        return self.shares([""], "top-1 as published", [whole - images + right], [whole], **published)

    def filtered(self, work, about, how="images filtered by their own class's map"):
        """The definition of a rate through maps, and whether they were selected on these images."""
        words = f"{about}; {how}"
        if work.selected:
            words += f"; the maps were selected on {work.selected} of these {len(work.test_set)} images"
        return words

    def filtered_as_pixels(self, work, counts, where, about):
        """The in-distribution column of the published ImageNet-R script, of that set's classes."""
        tally = counts.of("pixels", None)
        if not tally.counts.sum():
            return []
        words = self.filtered(work, about, "pixels filtered by their own class's map, then normalised")
        where = {**where, "domain": "pixels", "filter": "map", "definition": words}
        rows = self.by_class("TPR", tally.correct, tally.counts, whole="top-1", **where)
        return [*rows, self.mean_tpr(tally, **where)]

    def mean_tpr(self, tally, **where):
        """The unweighted mean over the classes that have images."""
        tpr = tally.tpr[tally.counts > 0]
        words = f"unweighted mean over classes; {where['definition']}"
        return self.row("mean TPR", float(tpr.numpy().mean()), len(tpr), **{**where, "definition": words})

    def of_groups(self):
        """AvgTPR of the classes of high filtered TPR and of the rest, grouped by the base set's filtered TPR."""
        settings = self.settings
        base = (
            None if settings.base is None else self.answers.get((settings.base.name, settings.base.condition or "all"))
        )
        if self.model.masks is None or base is None or base[0].sixteen:
            return []
        work, counts = base
        warned = f"; the maps were selected on {work.selected} of its images" if work.selected else ""
        reference, as_pixels = (
            [tally.correct, tally.counts] for tally in (counts.of(which, None) for which in ("filtered", "pixels"))
        )
        gathered = {}  # (set, condition, part, domain) -> (fields, list of (tpr, filtered tpr))
        if as_pixels[1].any():
            own = counts.of("clean", None).tpr.where(as_pixels[1] > 0, torch.nan)
            pair = own, counts.of("pixels", None).tpr
            place = {**work.place, "domain": "pixels", "part": None}
            gathered[work.set_name, work.row_condition, None, "pixels"] = place, [pair]
        for (name, condition), (each, counts) in self.answers.items():
            for scoring in each.scorings if not each.sixteen else ():
                one = each.test_set.condition == "" and not each.condition.corruption
                alone = one or each.condition.attack is not None
                if not alone and not averaged(condition, self.settings.published):
                    continue
                part = each.scorings[scoring]
                place = {**each.place, "part": scoring, "logits": None if part is None else len(part)}
                key = (name, condition if alone else "mean", scoring, place["domain"])
                pair = counts.of("clean", scoring).tpr, counts.of("filtered", scoring).tpr
                gathered.setdefault(key, (place, []))[1].append(pair)
        rows = []
        for (name, condition, _, domain), (place, pairs) in gathered.items():
            tpr, filtered = (torch.stack(column).nanmean(0) for column in zip(*pairs, strict=True))
            if condition == "mean":
                place = {**place, "condition": f"mean of {len(pairs)} conditions", "severity": None}
            pixels = as_pixels[1].any() and (domain == "pixels" or self.pixels_first(name))
            empty = 0.0 if settings.published else math.nan
            by = as_pixels if pixels else reference
            found = curves(by, tpr, filtered, thresholds=settings.thresholds, empty=empty)
            about = (
                f"unweighted mean over the classes whose filtered TPR on {settings.base.title} is > t (shortcut) or "
                f"not (other){', of pixels filtered before they are normalised' if pixels else ''}; "
                f"an empty group is {'0' if settings.published else 'undefined'}{warned}"
            )
            for k, t in enumerate(settings.thresholds):
                for group in ("shortcut", "other"):
                    size = int(getattr(found, f"{group}_size")[k])
                    more = {**place, "group": group, "threshold": t, "definition": about}
                    for through, suffix in ((None, ""), ("map", "_filtered")):
                        value = float(getattr(found, group + suffix)[k])
                        rows.append(self.row("AvgTPR", value, size, **more, filter=through))
        return rows

    def pixels_first(self, name):
        """Whether the set of this name is one whose pixels are filtered before they are normalised."""
        return any(self.settings.pixels_first(each) for each in self.settings.sets if each.name == name)

    def of_corruptions(self):
        """Mean error, CE and mCE of sets of corruptions."""
        errors = {}
        for (name, _), (work, counts) in self.answers.items():
            tally, place = counts.of("clean", None), work.place
            if place["severity"] and place["part"] is None and not work.sixteen and tally.counts.sum():
                error = 1 - int(tally.correct.sum()) / int(tally.counts.sum())
                errors.setdefault(name, {})[place["condition"], place["severity"]] = error
        rows = []
        for name, found in errors.items():
            whole, each, _ = mean_corruption_error(found, alexnet_errors())
            taken = {key: error for key, error in found.items() if averaged(key[0], self.settings.published)}
            where = {"set": name, "condition": f"mean of {len(taken)} conditions"}
            if taken:
                mean = math.fsum(taken.values()) / len(taken)
                about = "mean top-1 error, unweighted"
                rows.append(self.row("mean error", mean, len(taken), **where, definition=about))
            if self.settings.study:
                rows += self.means(name, found)
            if not name.startswith("imagenet") or name.endswith("bar"):
                continue  # AlexNet's errors are those on ImageNet-C
            note = " of generated images: not comparable with published values" if "generated" in name else ""
            about = f"percent of AlexNet's error on ImageNet-C, 5 severities{note}"
            rows += [
                self.row("CE", value, 5, set=name, condition=corruption, definition=about)
                for corruption, value in each.items()
            ]
            if whole is not None:
                rows.append(self.row("mCE", whole, len(BENCHMARK), **where, definition=f"mean CE: {about}"))
        return rows

    def means(self, name, errors):
        """Mean accuracy as the published script takes it, over all conditions that are there, and over the 15
        corruptions of the benchmark where the four extra ones are among them."""
        benchmark = {key: error for key, error in errors.items() if averaged(key[0], True)}
        also = "; also of the four extra corruptions, as published" if len(benchmark) < len(errors) else ""
        kinds = [(errors, also)] + [(benchmark, "; of the 15 corruptions of the benchmark")] * bool(benchmark and also)
        return [
            self.row(
                "mean top-1", 1 - math.fsum(some.values()) / len(some), len(some), set=name,
                condition=f"mean of {len(some)} conditions", definition=f"mean top-1, unweighted{words}",
            )
            for some, words in kinds
        ]  # fmt: skip

    def row(self, metric, value, n, **fields):
        return tidy(model=self.model.name, metric=metric, value=value, n=n, **fields)

    def shares(self, labels, metric, hits, trials, **fields):
        """A row for each label: hits of trials with its interval."""
        return shares(labels, metric, hits, trials, self.settings.confidence, model=self.model.name, **fields)

    def by_class(self, metric, hits, trials, *, whole=None, **fields):
        """Rows of the classes that have trials, and of all together, whose metric may be called otherwise."""
        there = trials.nonzero().flatten()
        labelled = [self.model.names[c] for c in there]  # seen through maps: never categories
        rows = self.shares(labelled, metric, hits[there], trials[there], **fields)
        return rows + self.shares([""], whole or metric, [hits.sum()], [trials.sum()], **fields)


class Counts:
    """Answers of one `Work`, counted by class: int64 [L], one number for each logit's class."""

    def __init__(self, work, size):
        data = work.collect()
        self.size, self.labels, self.through = size, work.logits.numpy(), [each.numpy() for each in work.cross]
        self.scorings = {name: None if part is None else part.numpy() for name, part in work.scorings.items()}
        self.row = {name: k for k, name in enumerate(self.scorings)}
        self.answers = {key.partition(" ")[0]: values for key, values in data.items() if key.endswith("answer")}
        self.top, self.leaks = data.get("in top 5"), data.get("outside")
        self.truth = work.test_set.real

    @property
    def has_top(self):
        return self.top is not None

    def _kept(self, which, scoring, labels):
        """(answers [n], which of them count: readable, with a map if one is needed, of a scored class)."""
        answers = self.answers[which][self.row[scoring]].astype(np.int64)
        keep = answers >= 0
        if self.scorings[scoring] is not None:
            keep &= np.isin(labels, self.scorings[scoring])
        return answers, keep

    def tally(self, *images):
        """int64 [L]: how many of some images, given by the logits of their classes, each logit's class has."""
        return [torch.from_numpy(np.bincount(each, minlength=self.size)) for each in images]

    def of(self, which, scoring):
        """`Tally` of the images that were asked, by class."""
        if which not in self.answers:
            return Tally(*(torch.zeros(self.size, dtype=torch.int64) for _ in range(3)))
        answers, keep = self._kept(which, scoring, self.labels)
        answers, labels = answers[keep], self.labels[keep]
        return Tally(*self.tally(labels, labels[answers == labels], answers))

    def still(self, scoring):
        """(images recognised whole and through their class's map, images recognised whole) of each class, of those
        that have a map."""
        through, there = self._kept("filtered", scoring, self.labels)
        whole, known = self._kept("clean", scoring, self.labels)
        first = there & known & (whole == self.labels)
        return self.tally(self.labels[first & (through == self.labels)], self.labels[first])

    def crossed(self, scoring):
        """(images of other classes taken for the class through its map, images asked through it) of each class."""
        found = self.tally(*[np.zeros(0, np.int64)] * 2)
        for k, of_round in enumerate(self.through):
            if cross_name(k) not in self.answers:
                continue
            answers, keep = self._kept(cross_name(k), scoring, of_round)
            keep &= self._kept("clean", scoring, self.labels)[1]  # an image of no scored class has no right answer
            answers, through = answers[keep], of_round[keep]
            found = [sum(both) for both in zip(found, self.tally(through[answers == through], through), strict=True)]
        return found

    def in_top(self, scoring):
        """(images whose class is among the five largest logits, images)."""
        _, keep = self._kept("clean", scoring, self.labels)
        inside = self.top[self.row[scoring]][keep]
        return inside.sum(), len(inside)

    def outside(self):
        """Mean share of an attack's change outside its band."""
        return 0.0 if np.isnan(self.leaks).all() else np.nanmean(self.leaks)

    def real(self, last=0):
        """(images whose answer is one of ReaL's labels, images that have any), of the `last` images, 0: of all."""
        answers, first = self.answers["clean"][0], max(0, len(self.truth) - last) if last else 0
        known = [i for i, labels in enumerate(self.truth) if i >= first and labels and answers[i] >= 0]
        return sum(int(answers[i]) in self.truth[i] for i in known), len(known)
