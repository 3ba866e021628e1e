"""All models over all sets: progress, faults, and what goes on record."""

import inspect
import warnings

import torch

from freqkit.data.pictures import decoding_pool
from freqkit.engine.session import CannotResume
from freqkit.errors import UsageError
from freqkit.files.whole import slug
from freqkit.measures.evaluation.passes import FAULTS, OneModel
from freqkit.measures.evaluation.result import EvaluationResult
from freqkit.measures.selection import SelectedOnTestSet
from freqkit.models import as_classifier


class Run:
    """All models over all sets."""

    def __init__(self, settings, session, progress, device, workers, failures):
        self.settings, self.session, self.progress, self.device = settings, session, progress, device
        self.pool, self.failures, self.rows = decoding_pool(workers), failures, []
        self.record, earlier = session.record, session.earlier
        self.record.update(
            models={}, failures=failures, forwards=0, backwards=0, decoded=0, forwards_resumed=0, selected_on={},
            notes=list(settings.notes), attacks={each.title: each.name for each in settings.attacks},
        )  # fmt: skip
        # As the seconds: what earlier sessions noted down. A run that began elsewhere may not have counted.
        counted = earlier.get("of_all_sessions")
        if counted is None and earlier.get("sessions", 0) <= 1:
            counted = {key: earlier.get(key, 0) for key in ("forwards", "backwards", "decoded")}
        if counted is not None:
            session.measured = lambda: {"of_all_sessions": {key: n + self.record[key] for key, n in counted.items()}}

    def all(self, models):
        with self.pool:
            for note in self.settings.notes:
                self.progress.note(note)
            self.session.note_down(forwards_total=self.expected() * len(models))
            for name, source in models:
                self.model(name, source)
            if not self.rows:
                what = "; ".join(f"{f['model'] or ''} {f['set']}: {f['error']}".strip() for f in self.failures[:3])
                raise UsageError(f"evaluate: nothing could be evaluated: {what}")
            result = EvaluationResult(self.rows, self.failures, self.record)
            if self.session.path is not None:
                result.save(self.session.path)
            return result

    def expected(self):
        """Forwards of one model, at most."""
        settings, total = self.settings, 0
        maps = 0 if settings.dfm is None else len(settings.dfm.classes)
        pixels_first = any(settings.pixels_first(one) for one in settings.sets)
        for one in settings.sets:
            passes = 2 if maps and not one.sixteen else 1
            present = min(maps, int((one.counts > 0).sum()))
            for condition in settings.conditions(one):
                if condition.attack is not None:
                    total += len(one) * passes * condition.attack.most_forwards
                    continue
                base = one is settings.base and condition.title == ""
                more = settings.share_crossed(len(one), present, base) if passes > 1 else 0
                total += len(one) * (passes + more + (base and maps > 0 and pixels_first))
        return round(total)

    def fault(self, model, test_set, condition, error):
        sentence = " ".join(str(error).split()) or type(error).__name__
        if not isinstance(error, (UsageError, FloatingPointError)):
            sentence = f"{type(error).__name__}: {sentence}"
        where = {"model": model, "set": test_set, "condition": condition, "error": sentence}
        self.failures.append(where)
        self.progress.note(f"failed: {' '.join(part for part in (model, test_set, condition) if part)}: {sentence}")

    def selected(self, title, count, images):
        """Say once for each set that its images are those of the selection, and put on record what is known."""
        known = self.record["selected_on"]
        if count and title not in known:
            warnings.warn(
                f"evaluate: the maps were selected on {count} of the {images} images of {title!r}, so its filtered "
                "rates are too good; search on one part (split_fraction) or another set.",
                SelectedOnTestSet,
                stacklevel=2,
            )
        known[title] = count

    def model(self, name, source):
        try:
            classifier = as_classifier(source() if loads_a_model(source) else source, "evaluate")
            one = OneModel(self, name, slug(name), classifier)
        except CannotResume:
            raise
        except FAULTS as error:
            self.fault(name, "", "", error)
            return
        self.record["models"][name] = {"record": dict(classifier.record), **one.facts}
        self.record.setdefault("coverage", {}).update(one.coverage())
        self.session.note_down(model=name)
        self.progress.start(name, self.expected())
        try:
            one.all()
        finally:
            self.progress.finish()
            self.rows += one.rows.all()
            for key in ("forwards", "backwards", "decoded", "forwards_resumed"):
                self.record[key] += one.counts[key]
            self.record["models"][name].update(one.facts, **one.counts)
            self.session.note_down()


def loads_a_model(source):
    """Whether it is a function that loads a model, and no model: it is called with nothing."""
    if isinstance(source, torch.nn.Module) or not callable(source):
        return False
    try:
        inspect.signature(source).bind()
    except (TypeError, ValueError):
        return False
    return True
