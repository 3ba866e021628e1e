"""From answers to rows: rates of classes and sets, groups by filtered TPR, errors on corruptions."""

import math
import re

import numpy as np
import torch

from freqkit.data.test_sets.corrupted import BENCHMARK, EXTRA, alexnet_errors
from freqkit.measures.evaluation.groups import curves, mean_corruption_error
from freqkit.measures.evaluation.work import cross_name
from freqkit.measures.rates import wilson
from freqkit.results.store import COLUMNS

PIXELS = ", filtered before normalised"  # in the condition of the in-distribution column of ImageNet-R's script


def averaged(condition, published):
    """Whether a corruption ("fog/3" or "fog") is one of those that means are taken of: with "cvpr2025" the four extra
    ones of ImageNet-C are none, so that its 15 are left.

    Example:
        >>> averaged("fog/3", True), averaged("spatter/3", True), averaged("spatter/3", False)
        (True, False, True)
    """
    return not (published and condition.partition("/")[0] in EXTRA)


class Rows:
    """All rows of one model.

    Args:
        model: a `OneModel`.
    """

    def __init__(self, model):
        self.model, self.settings = model, model.settings
        self.answers = {}  # (set, condition) -> (Work, Counts)
        self.found = []

    def take(self, work):
        """Count the answers of a finished `Work` and make its rows."""
        counts = Counts(work, len(self.model.names))
        self.answers[work.set_name, work.row_condition] = work, counts
        for scoring in work.scorings:
            self.found += self.scored(work, counts, scoring)
        if work.test_set.real is not None and not work.condition.corruption and not work.condition.attack:
            hits, known = counts.real()
            about = "answer is one of the labels of ReaL (Beyer et al., 2020); images without any are left out"
            self.found.append(self.share(work.set_name, work.row_condition, "", "ReaL top-1", hits, known, about))

    def all(self):
        """Rows of classes and sets, then of groups and corruptions."""
        return self.found + self.of_groups() + self.of_corruptions()

    def scored(self, work, counts, scoring):
        """Rows of one set, condition and way of scoring."""
        part, names = work.scorings[scoring], self.model.names
        name = work.set_name
        where = work.row_condition + ("" if part is None else f", {scoring}")
        logits = len(names) if part is None else len(part)
        about = f"largest of {logits} logits"
        if work.condition.corruption:
            about += "; generated, not the published images"
        if work.condition.attack:
            about += "; attacked images, those wrong before the attack count as wrong"
            if work.condition.attack.band:
                about += f"; {100 * counts.outside():.1f}% of the change's energy outside the band, from clipping"
        rows = []
        for which, prefix in (("clean", ""), ("filtered", "filtered ")):
            hits, trials, said = counts.of(which, scoring)
            if not trials.sum():
                continue
            words = about if which == "clean" else f"{about}; images filtered by their own class's map"
            if which == "filtered" and work.selected:
                words += f"; the maps were selected on {work.selected} of these {len(work.test_set)} images"
            present = np.flatnonzero(trials)
            labelled = [names[c] for c in present]
            rows += self.shares(name, where, labelled, f"{prefix}TPR", hits[present], trials[present], words)
            if which == "clean" and not work.condition.attack:
                others = f"{about}; share of the other classes' images recognised as the class"
                negatives = (trials.sum() - trials)[present]
                rows += self.shares(name, where, labelled, "FPR", (said - hits)[present], negatives, others)
            rows.append(self.share(name, where, "", f"{prefix}top-1", hits.sum(), trials.sum(), words))
            if which == "filtered":
                still, whole = counts.still(scoring)
                among = f"{words}, of those that are recognised unfiltered"
                known = np.flatnonzero(whole)
                labelled = [names[c] for c in known]
                rows += self.shares(
                    name, where, labelled, "filtered TPR of recognised", still[known], whole[known], among
                )
                rows.append(self.share(name, where, "", "filtered TPR of recognised", still.sum(), whole.sum(), among))
            if which == "clean" and counts.has_top and logits > 5:
                inside, number = counts.in_top(scoring)
                rows.append(self.share(name, where, "", "top-5", inside, number, words))
            mean = float((hits[present] / trials[present]).mean())
            words = f"unweighted mean over classes; {words}"
            rows.append(self.row(name, where, "", f"{prefix}mean TPR", mean, None, len(present), words))
        rows += self.crossed(work, counts, scoring, where, about)
        return rows if part is not None else rows + self.filtered_as_pixels(work, counts, where, about)

    def filtered_as_pixels(self, work, counts, where, about):
        """The in-distribution column of the published ImageNet-R script, of that set's classes."""
        hits, trials, _ = counts.of("pixels", "all")
        present = np.flatnonzero(trials)
        if not len(present):
            return []
        where, words = f"{where}{PIXELS}", f"{about}; pixels filtered by their own class's map, then normalised"
        if work.selected:
            words += f"; the maps were selected on {work.selected} of these {len(work.test_set)} images"
        labelled, name = [self.model.names[c] for c in present], work.set_name
        rows = self.shares(name, where, labelled, "filtered TPR", hits[present], trials[present], words)
        rows.append(self.share(name, where, "", "filtered top-1", hits.sum(), trials.sum(), words))
        mean = float((hits[present] / trials[present]).mean())
        about = f"unweighted mean over classes; {words}"
        return [*rows, self.row(name, where, "", "filtered mean TPR", mean, None, len(present), about)]

    def crossed(self, work, counts, scoring, where, about):
        """FPR through the maps, from images of other classes."""
        hits, trials = counts.crossed(scoring)
        if not trials.sum():
            return []
        words = f"{about}; images of other classes, drawn, filtered by this class's map and recognised as it"
        drawn = np.flatnonzero(trials)
        labelled = [self.model.names[c] for c in drawn]
        rows = self.shares(work.set_name, where, labelled, "filtered FPR", hits[drawn], trials[drawn], words)
        rows.append(self.share(work.set_name, where, "", "filtered FPR", hits.sum(), trials.sum(), words))
        return rows

    def of_groups(self):
        """AvgTPR of the classes of high filtered TPR and of the rest, grouped by the base set's filtered TPR."""
        settings = self.settings
        base = (
            None if settings.base is None else self.answers.get((settings.base.name, settings.base.condition or "all"))
        )
        if self.model.masks is None or base is None:
            return []
        work, counts = base
        warned = f"; the maps were selected on {work.selected} of its images" if work.selected else ""
        reference, as_pixels = ([counts.of(which, "all")[k] for k in (0, 1)] for which in ("filtered", "pixels"))
        gathered = {}  # (set, how it is averaged, scoring) -> list of (tpr, filtered tpr)
        if as_pixels[1].any():
            own = np.where(as_pixels[1] > 0, counts.rates("clean", "all"), np.nan)
            key = (work.set_name, f"{work.row_condition}{PIXELS}", "all")
            gathered[key] = [(torch.from_numpy(own), counts.rates("pixels", "all"))]
        for (name, condition), (each, counts) in self.answers.items():
            for scoring in each.scorings:
                one = each.test_set.condition == "" and not each.condition.corruption
                alone = one or each.condition.attack is not None
                if not alone and not averaged(condition, self.settings.published):
                    continue
                key = (name, condition if alone else "mean", scoring)
                pair = counts.rates("clean", scoring), counts.rates("filtered", scoring)
                gathered.setdefault(key, []).append(pair)
        rows = []
        for (name, condition, scoring), pairs in gathered.items():
            tpr, filtered = (torch.stack(column).nanmean(0) for column in zip(*pairs, strict=True))
            where = condition if condition != "mean" else f"mean of {len(pairs)} conditions"
            where += "" if scoring == "all" else f", {scoring}"
            pixels = as_pixels[1].any() and (PIXELS in condition or self.pixels_first(name))
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
                    for prefix, suffix in (("", ""), ("filtered ", "_filtered")):
                        value = float(getattr(found, group + suffix)[k])
                        metric = f"{prefix}AvgTPR {group}@{t:g}"
                        rows.append(self.row(name, where, "", metric, value, None, size, about))
        return rows

    def pixels_first(self, name):
        """Whether the set of this name is one whose pixels are filtered before they are normalised."""
        return any(self.settings.pixels_first(each) for each in self.settings.sets if each.name == name)

    def of_corruptions(self):
        """Mean error, CE and mCE of sets of corruptions."""
        errors = {}
        for (name, condition), (_, counts) in self.answers.items():
            match = re.fullmatch(r"(\w+)/([1-5])", condition)
            hits, trials, _ = counts.of("clean", "all")
            if match and trials.sum():
                errors.setdefault(name, {})[match[1], int(match[2])] = 1 - int(hits.sum()) / int(trials.sum())
        rows = []
        for name, found in errors.items():
            whole, each, _ = mean_corruption_error(found, alexnet_errors())
            taken = {key: error for key, error in found.items() if averaged(key[0], self.settings.published)}
            where = f"mean of {len(taken)} conditions"
            if taken:
                mean = math.fsum(taken.values()) / len(taken)
                about = "mean top-1 error, unweighted"
                rows.append(self.row(name, where, "", "mean error", mean, None, len(taken), about))
            if not name.startswith("imagenet") or name.endswith("bar"):
                continue  # AlexNet's errors are those on ImageNet-C
            note = " of generated images: not comparable with published values" if "generated" in name else ""
            about = f"percent of AlexNet's error on ImageNet-C, 5 severities{note}"
            rows += [self.row(name, corruption, "", "CE", value, None, 5, about) for corruption, value in each.items()]
            if whole is not None:
                rows.append(self.row(name, where, "", "mCE", whole, None, len(BENCHMARK), f"mean CE: {about}"))
        return rows

    def row(self, set_name, condition, label, metric, value, interval, n, definition):
        low, high = interval if interval is not None else (None, None)
        value = None if value is None or math.isnan(value) else value
        numbers = (value, None if value is None else low, None if value is None else high)
        return dict(
            zip(COLUMNS, (self.model.name, set_name, condition, label, metric, *numbers, n, definition), strict=True)
        )

    def share(self, set_name, condition, label, metric, hits, trials, definition):
        [row] = self.shares(set_name, condition, [label], metric, [int(hits)], [int(trials)], definition)
        return row

    def shares(self, set_name, condition, labels, metric, hits, trials, definition):
        """A row for each label: hits of trials with its interval; undefined without trials."""
        hits, trials = (np.asarray(v, np.int64) for v in (hits, trials))
        limits = wilson(torch.from_numpy(hits), torch.from_numpy(trials), self.settings.confidence).tolist()
        return [
            self.row(set_name, condition, label, metric, h / n if n else None, limit, n, definition)
            for label, h, n, limit in zip(labels, hits.tolist(), trials.tolist(), limits, strict=True)
        ]


class Counts:
    """Answers of one `Work`, counted by class. All arrays are int64 [L], one number for each logit's class."""

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

    def of(self, which, scoring):
        """(images recognised, images, images taken for the class) of each class."""
        if which not in self.answers:
            return (np.zeros(self.size, np.int64),) * 3
        answers, keep = self._kept(which, scoring, self.labels)
        answers, labels = answers[keep], self.labels[keep]
        return tuple(np.bincount(v, minlength=self.size) for v in (labels[answers == labels], labels, answers))

    def still(self, scoring):
        """(images recognised whole and through their class's map, images recognised whole) of each class, of those
        that have a map."""
        through, there = self._kept("filtered", scoring, self.labels)
        whole, known = self._kept("clean", scoring, self.labels)
        first = there & known & (whole == self.labels)
        return tuple(
            np.bincount(self.labels[v], minlength=self.size) for v in (first & (through == self.labels), first)
        )

    def rates(self, which, scoring):
        """float64 [L]: TPR of each logit's class; NaN without images (or map)."""
        hits, trials, _ = self.of(which, scoring)
        return torch.from_numpy(np.divide(hits, trials, out=np.full(self.size, np.nan), where=trials > 0))

    def crossed(self, scoring):
        """(images of other classes taken for the class through its map, images asked through it) of each class."""
        found = [np.zeros(self.size, np.int64), np.zeros(self.size, np.int64)]
        for k, of_round in enumerate(self.through):
            if cross_name(k) not in self.answers:
                continue
            answers, keep = self._kept(cross_name(k), scoring, of_round)
            keep &= self._kept("clean", scoring, self.labels)[1]  # an image of no scored class has no right answer
            answers, through = answers[keep], of_round[keep]
            found[0] += np.bincount(through[answers == through], minlength=self.size)
            found[1] += np.bincount(through, minlength=self.size)
        return tuple(found)

    def in_top(self, scoring):
        """(images whose class is among the five largest logits, images)."""
        _, keep = self._kept("clean", scoring, self.labels)
        inside = self.top[self.row[scoring]][keep]
        return inside.sum(), len(inside)

    def outside(self):
        """Mean share of an attack's change outside its band."""
        return 0.0 if np.isnan(self.leaks).all() else np.nanmean(self.leaks)

    def real(self):
        """(images whose answer is one of ReaL's labels, images that have any)."""
        answers = self.answers["clean"][0]
        known = [i for i, labels in enumerate(self.truth) if labels and answers[i] >= 0]
        return sum(int(answers[i]) in self.truth[i] for i in known), len(known)
