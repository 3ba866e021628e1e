"""The images of all sets, and one model that is asked about them."""

import dataclasses

import torch

from freqkit.data import ImageSet, Preprocessing
from freqkit.data.sixteen import CATEGORIES
from freqkit.data.test_set import Reader, refuse_bad
from freqkit.data.test_sets.model_vs_human import FOLDERS, SETS, image_key
from freqkit.engine import Scorer, ranks
from freqkit.engine.accumulators import Answers
from freqkit.engine.session import CannotResume
from freqkit.engine.suppressed import Suppressed
from freqkit.errors import UsageError
from freqkit.files.reading import shown
from freqkit.files.whole import slug
from freqkit.measures.categories import Sixteen
from freqkit.measures.evaluation.run import loads_a_model
from freqkit.measures.human_comparison.result import NO_ANSWER, NOT_SEEN, HumanComparisonResult
from freqkit.models import as_classifier
from freqkit.models.wrap import NOT_IDENTIFIED, UNIDENTIFIED
from freqkit.report.words import listed


class AllImages:
    """All images of all sets, or those of the tables when there are no sets."""

    def __init__(self, sets, tables):
        self.sets, self.notes = {}, []
        self.names, self.labels, self.place, self.conditions, self.at = [], [], [], [], {}
        for each in sets:
            self.sets.setdefault(each.name, []).append(each)
        for name in SETS:
            for each in self.sets.get(name, ()):
                for i, label in enumerate(each.labels.tolist()):
                    self._add(name, each.condition, each.source.name(i), label)
        left = 0
        for name, _, trials in tables:
            for trial in trials:
                known = (name, image_key(trial["imagename"])) in self.at
                if not sets and not known:
                    condition = "" if name in FOLDERS else trial["condition"]
                    self._add(name, condition, trial["imagename"], CATEGORIES.index(trial["category"]))
                left += bool(sets) and not known
        if left:
            self.notes.append(f"{left} trials of the observers are of images that are not there and are left out")

    def _add(self, name, condition, image, label):
        if [name, condition] not in self.conditions:
            self.conditions.append([name, condition])
        key = (name, image_key(image))
        if key in self.at:
            raise UsageError(f"{name}: every image must be there once; {shown(image)} is the same as another.")
        self.at[key] = len(self.names)
        path = image if "/" in image else f"{CATEGORIES[label]}/{image}"
        self.names.append(f"{name}/{path}")
        self.labels.append(label)
        self.place.append(self.conditions.index([name, condition]))


class OneModel:
    """One model over all sets."""

    def __init__(self, run, name, source, own, scoring, progress):
        model = source() if loads_a_model(source) else source
        self.run, self.progress = run, progress
        self.model = as_classifier(model, "human_comparison")
        self.sixteen, size = Sixteen("human_comparison", self.model), self.model.input_size
        self.size = own.image_size or (size[0] if size else 224)
        state = self.model.record["state_sha256"]
        if state == UNIDENTIFIED and run.earlier:
            raise CannotResume(f"human_comparison: cannot resume, for {name} is {NOT_IDENTIFIED}.")
        begun = (run.earlier.get("models") or {}).get(name, {})
        self.scoring = dataclasses.replace(
            scoring, class_index=self.sixteen.logit, batch_size=begun.get("batch_size", scoring.batch_size),
            form=begun.get("form", scoring.form),
        )  # fmt: skip
        self.name, self.key = name, f"{slug(name)}/{state[:16]}"

    def all(self, images):
        """int64 [N], its answers."""
        answers = []
        self.progress.start(self.name, sum(len(each) for sets in images.sets.values() for each in sets))
        try:
            for name in SETS:
                if name in images.sets:
                    answers.append(self._set(name, images.sets[name]))
        finally:
            self.progress.finish()
        return torch.cat(answers)

    def _set(self, name, sets):
        pixels, labels, paths = [], torch.cat([each.labels for each in sets]), []
        with Reader(Preprocessing(self.size)) as reader:
            for each in sets:
                found, bad = reader.finish(reader.start(each, 0, len(each)))
                if bad:
                    refuse_bad(each, bad, 0)
                pixels.append(found)
                paths += [f"{each.condition}/{each.source.name(i)}" for i in range(len(each))]
        images = ImageSet(torch.cat(pixels), labels, list(CATEGORIES), paths)
        scorer = Scorer(self.model, images, progress=self.progress, **vars(self.scoring))
        # Its first set decides how a model is asked, also after an interruption.
        self.scoring = dataclasses.replace(self.scoring, batch_size=scorer.batch_size, form=scorer.form["form"])
        about = {**self.model.record, "batch_size": scorer.batch_size, "form": scorer.form["form"], "size": self.size}
        self.run.record["models"][self.name] = about
        self.run.note_down(
            device=str(scorer.forward.device), ranks=ranks.current().facts(ranks.about_this_rank(scorer.forward.device))
        )
        into = Answers(self.sixteen.decide)
        key = f"{self.key}/{name}-{images.fingerprint[:16]}"
        scorer.show(Suppressed(["whole"]), [into], key=key, journal=self.run.journal, check=self.run.check)
        return self.sixteen.parted(into.value[0])[0]


def gathered(images, asked, tables, definition):
    """The result, without its record."""
    labels, makers, count = torch.tensor(images.labels), list(asked), len(images.names)
    makers += [name for name in dict.fromkeys(maker for _, maker, _ in tables) if name not in asked]
    twice = {maker for _, maker, _ in tables} & set(asked)
    if twice:
        raise UsageError(f"human_comparison: {listed(sorted(twice))} stand in the tables, too; give another name.")
    responses = torch.full((len(makers), count), NOT_SEEN)
    for name, own in asked.items():
        responses[makers.index(name)] = own
    for name, maker, trials in tables:
        own = responses[makers.index(maker)]
        for trial in trials:
            at = images.at.get((name, image_key(trial["imagename"])))
            if at is None:
                continue
            if own[at] != NOT_SEEN or CATEGORIES[images.labels[at]] != trial["category"]:
                what = "stands twice" if own[at] != NOT_SEEN else f"is called {trial['category']}, elsewhere otherwise"
                raise UsageError(f"{trial['file']}: the image {shown(trial['imagename'])} of {maker} {what}.")
            answer = trial["object_response"]
            own[at] = NO_ANSWER if answer == "na" else CATEGORIES.index(answer)
    place = torch.tensor(images.place)
    return HumanComparisonResult(
        makers, len(asked), images.names, labels, place, images.conditions, responses, definition, {}
    )
