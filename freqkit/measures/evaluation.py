"""How shortcut classes and the others fare on every test set, whole and seen through their frequency maps.

Source: Wang, Veldhuis, Strisciuglio, "Do ImageNet-trained models learn shortcuts?", CVPR 2025 (arXiv 2503.03519).
Class c's images are filtered with class c's map alone, `y = Re IDFT2(m_c DFT2(x))`: one more forward per image.
"""

import hashlib
import math
import re
import time
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from freqkit.data.corruptions import check as check_corruption
from freqkit.data.corruptions import corrupt
from freqkit.data.preprocessing import Preprocessing, of_model
from freqkit.data.published_sets import (
    BENCHMARK,
    Reader,
    TestSet,
    alexnet_errors,
    class_list,
    decoding_pool,
    refuse_bad,
)
from freqkit.engine import Interrupted, RunDirectory, Silent
from freqkit.engine.forward import Forward
from freqkit.engine.journal import finish_tile_on_signal
from freqkit.errors import UsageError
from freqkit.measures.attacks import Attack, attack
from freqkit.measures.groups import THRESHOLDS, curves, mean_corruption_error
from freqkit.measures.rates import wilson
from freqkit.ops import spectral_filter, spectrum
from freqkit.results.files import slug
from freqkit.results.store import COLUMNS

PRESETS = ("default", "cvpr2025")
FORMAT = "freqkit-evaluation-1"
BLOCK = 256  # images decoded, computed and journalled as one
UNREADABLE, NO_MASK = -2, -1  # in place of an answer
FAULTS = (ValueError, TypeError, ArithmeticError, RuntimeError, OSError, ImportError)


@dataclass
class Condition:
    """What is done to the images of a set before the model is asked.

    Attributes:
        title: in the table; "" for the images as they are.
        corruption, severity: a generated corruption, or None.
        attack: an `Attack`, or None.
    """

    title: str = ""
    corruption: str | None = None
    severity: int | None = None
    attack: Attack | None = None


@dataclass
class EvaluationResult:
    """Rates of several models on several sets.

    Attributes:
        rows: list of dicts with the keys `COLUMNS`: one value each, in the order models, sets, conditions. `class` is
            "" for values of a whole set; `value` None where it is undefined (an empty group).
        failures: list of dicts model, set, condition, error: what could not be evaluated, and why.
        record: what run.json holds.
    """

    rows: list
    failures: list
    record: dict = field(default_factory=dict)

    def value(self, metric, *, model=None, set=None, condition=None, **more):
        """The value of the only row that fits; a `UsageError` when none or several do."""
        wanted = {"metric": metric, "model": model, "set": set, "condition": condition, **more}
        more.setdefault("class", "")
        wanted.update(more)
        found = [row for row in self.rows if all(v is None or row[k] == v for k, v in wanted.items())]
        if len(found) != 1:
            raise UsageError(f"value: exactly one row must fit {wanted}; {len(found)} do.")
        return found[0]["value"]

    def rates(self, metric, *, model, set, condition):
        """dict class -> value."""
        keys = {"metric": metric, "model": model, "set": set, "condition": condition}
        return {r["class"]: r["value"] for r in self.rows if r["class"] and all(r[k] == v for k, v in keys.items())}

    def table(self):
        """The rows of whole sets (no classes)."""
        return [row for row in self.rows if row["class"] == ""]

    def save(self, directory):
        """Write results.csv (atomically)."""
        from freqkit.results.files import write_csv

        write_csv(Path(directory) / "results.csv", COLUMNS, self.rows)

    @classmethod
    def load(cls, directory):
        """Read the directory of an evaluation.

        Raises:
            UsageError: it is none, or has not finished.
        """
        from freqkit.results.files import read_run
        from freqkit.results.store import read_results

        record = read_run(directory)
        path = Path(directory) / "results.csv"
        if (
            record.get("status") != "finished"
            or record.get("identity", {}).get("evaluation") != FORMAT
            or not path.is_file()
        ):
            raise UsageError(f"{directory}: holds no finished evaluation.")
        return cls(read_results(path), record.get("failures", []), record)

    def plot(self, *args, **kwargs):
        """AvgTPR curves; see `freqkit.report.plot_groups`."""
        from freqkit.report import plot_groups

        return plot_groups(self, *args, **kwargs)


def parse_on(text):
    """Sets, attacks and generated corruptions of a list `imagenet,c,fgsm,pgd:eps=4,generated/fog/3`.

    `generated` is every corruption that can be made here at all severities; `generated/NAME` and `generated/NAME/S` are
    parts of it.

    Returns:
        (set names, list of `Attack`, list of (corruption, severity)).

    Example:
        >>> parse_on("imagenet,fgsm:eps=8,generated/contrast/5")[2]
        [('contrast', 5)]
    """
    from freqkit.data.corruptions import available

    sets, attacks, generated = [], [], []
    for item in (part.strip() for part in text.split(",")):
        if not item:
            continue
        kind = item.partition(":")[0]
        if item.partition("/")[0] == "generated":
            _, _, rest = item.partition("/")
            name, _, severity = rest.partition("/")
            if severity and not severity.isdecimal():
                raise UsageError(f"{item}: a severity is 1, 2, 3, 4 or 5.")
            for each in [name] if name else available():
                for level in [int(severity)] if severity else range(1, 6):
                    if (each, level) not in generated:
                        check_corruption(each, level)
                        generated.append((each, level))
        elif re.fullmatch(r"(fgsm|pgd)(-l2)?|autoattack|foolbox\.\w+", kind):
            attacks.append(Attack.parse(item))
        else:
            sets.append(item)
    if len(set(sets)) != len(sets) or len({a.title for a in attacks}) != len(attacks):
        raise UsageError(f"--on must name everything once; got {text!r}.")
    return sets, attacks, generated


def evaluate(
    models,
    sets,
    dfm=None,
    *,
    attacks=(),
    generated=(),
    base=None,
    preset="default",
    image_size=None,
    resize="squash",
    classes=None,
    cross=0.2,
    thresholds=THRESHOLDS,
    confidence=0.95,
    on_bad_image="error",
    bounds=(0.0, 1.0),
    seed=0,
    batch_size=64,
    device=None,
    dtype=None,
    form="folded",
    workers=None,
    out=None,
    resume=False,
    overwrite=False,
    progress=None,
    failures=(),
):
    """Ask every model about every image: as it is, through its class's map, corrupted, attacked.

    Every image is decoded once per model, whatever is asked about it. A fault (a damaged image, a NaN logit, a missing
    package) ends the set and condition in which it occurs, is recorded, and nothing else.

    Metrics per class: "TPR" and "FPR" (share of the class's, and of the other classes' images recognised as the class);
    "filtered TPR": the class's images through its own map; "filtered FPR": images of *other* classes through this
    class's map, from a share `cross` of the images with a map drawn for each (a model that says c to anything filtered
    has it high, too). Of whole sets: "top-1", "top-5", "mean TPR" (unweighted mean over classes), their filtered
    twins, "AvgTPR shortcut@t", "AvgTPR other@t" (see `freqkit.measures.groups`), "mean error", "CE" and "mCE" on
    corruptions, "ReaL top-1". On sets of a known part of ImageNet's classes all is given twice: among all logits, and
    (condition "... 200 logits") among those of the part alone.

    "cvpr2025" follows the published scripts: squash on ImageNet-C, -v2, -Sketch and centre crop elsewhere; on
    ImageNet-R filtering before normalisation; no FPR; FGSM of 8/255 on the raw logit, clipped; an empty group counts 0.
    Its scripts took the *training* folder as the in-distribution set (give it as `imagenet=PATH`; the paper says val).

    Args:
        models: list of (name, `Classifier` or a function that loads one, called when its turn comes).
        sets: list of `TestSet`, see `freqkit.data.open_sets`.
        dfm: a `DfmFile` or its path; None: only unfiltered images.
        attacks: list of `Attack`; generated: list of (corruption, severity): of the images of `base`.
        base: name of the in-distribution set, by whose filtered TPR classes are grouped; default "imagenet" if there,
            else the first set of a single condition.
        preset: "default" or "cvpr2025".
        image_size: N; default that of the maps, else the model's. resize: "squash", "center-crop" or "own", see
            `Preprocessing`; one for all sets, and it should be that of the search.
        classes: names in the order of the model's logits; default: ImageNet's for 1000 logits, else the maps' or the
            base set's when there are as many.
        cross: share of images that are also asked through another class's map, 0...1.
        thresholds, confidence: of groups, and of Wilson's intervals.
        on_bad_image: "error": the set fails; "skip": the image is left out, and named on record.
        bounds: range of pixels of attacks.
        seed: of draws (cross, noise).
        batch_size, device, dtype, form: see `freqkit.engine.score`; dtype of attacks is float32.
        out, resume, overwrite: a run directory; a killed run resumes to the same bytes.
        progress: a `freqkit.engine.Progress`.
        failures: failures known before (a set that could not be opened), for the record.

    Returns:
        `EvaluationResult`.

    Raises:
        UsageError: arguments that do not fit; or nothing could be evaluated at all.

    Example:
        >>> import tempfile, pathlib, torch
        >>> from freqkit.data import open_sets, synthetic, write_image_folder
        >>> from freqkit.masks import DfmFile
        >>> from freqkit.models import load_model
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> write_image_folder(synthetic(1, images_per_class=3), root / "mine")
        >>> maps = DfmFile(torch.ones(4, 32, 32), ["C0", "C1", "C2", "C3"])
        >>> sets = open_sets([f"mine={root / 'mine'}"])
        >>> found = evaluate([("small", load_model("small_convnet"))], sets, maps, image_size=32)
        >>> found.value("top-1", set="mine") == found.value("filtered top-1", set="mine")
        True
    """
    settings = _Settings(
        sets, dfm, attacks, generated, base, preset, image_size, resize, classes, cross, thresholds, confidence,
        on_bad_image, bounds, seed, batch_size, dtype, form,
    )  # fmt: skip
    models = list(models)
    names = [name for name, _ in models]
    if not models or len(set(names)) != len(names):
        raise UsageError(f"evaluate: models must be distinct names with their classifiers; got {names}.")
    progress = progress or Silent()
    identity = {**settings.identity, "models": names}
    with _directory(out, identity, resume, overwrite) as directory:
        run = _Run(settings, identity, directory, progress, device, workers, list(failures))
        return run.all(models)


def _directory(out, identity, resume, overwrite):
    """The run directory, or nothing."""
    if out is None:
        if resume or overwrite:
            raise UsageError("evaluate: resume and overwrite need out, the run directory.")
        return nullcontext(None)
    return RunDirectory(out, identity, resume=resume, overwrite=overwrite)


def preprocessing_for(test_set, model, image_size, resize, preset):
    """The `Preprocessing` of a set: one for all sets, or with "cvpr2025" the published ones."""
    size = image_size or (model.input_size or (None,))[0]
    if size is None:
        raise UsageError("evaluate: image_size must be given, for neither the maps nor the model have one.")
    if preset == "cvpr2025":
        squash = test_set.name in ("imagenet-c", "imagenet-c-bar", "imagenet-v2", "imagenet-sketch")
        return Preprocessing(size, "squash" if squash else "center-crop")
    if resize == "own":
        own = of_model(model, size)
        if own is None:
            raise UsageError(f"evaluate: {model.name!r} does not say which transform it was published with.")
        return own
    return Preprocessing(size, resize)


class _Settings:
    """The checked arguments of one evaluation."""

    def __init__(
        self, sets, dfm, attacks, generated, base, preset, image_size, resize, classes, cross, thresholds, confidence,
        on_bad_image, bounds, seed, batch_size, dtype, form,
    ):  # fmt: skip
        from freqkit.masks import DfmFile, load_dfm

        if preset not in PRESETS:
            raise UsageError(f"evaluate: preset must be one of {', '.join(PRESETS)}; got {preset!r}.")
        if on_bad_image not in ("error", "skip"):
            raise UsageError(f"evaluate: on_bad_image must be 'error' or 'skip'; got {on_bad_image!r}.")
        for name, value in (("cross", cross), ("confidence", confidence)):
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
                raise UsageError(f"evaluate: {name} must be a number in 0...1; got {value!r}.")
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise UsageError(f"evaluate: batch_size must be a positive integer; got {batch_size!r}.")
        if not isinstance(seed, int) or isinstance(seed, bool):
            raise UsageError(f"evaluate: seed must be an integer; got {seed!r}.")
        if dfm is not None and not isinstance(dfm, DfmFile):
            dfm = load_dfm(dfm)
        self.sets = list(sets)
        if not self.sets or not all(isinstance(each, TestSet) for each in self.sets):
            raise UsageError("evaluate: sets must hold at least one TestSet (see freqkit.data.open_sets).")
        titles = [each.title for each in self.sets]
        if len(set(titles)) != len(titles):
            raise UsageError(f"evaluate: every set and condition must be given once; got {titles}.")
        self.preset, self.published, self.dfm = preset, preset == "cvpr2025", dfm
        self.base = self._base(base)
        if (attacks or generated) and self.base is None:
            raise UsageError("evaluate: attacks and generated corruptions need a base set, the one they are made of.")
        self.attacks = list(attacks)
        if self.published:
            self.attacks = [
                replace(each, eps=8.0, loss="logit", clamp="clip") if each == Attack("fgsm") else each
                for each in self.attacks
            ]
        self.generated = list(generated)
        if image_size is None and dfm is not None:
            height, width = dfm.masks.shape[1:]
            image_size = height if height == width else None
        self.image_size, self.resize = image_size, resize
        if dfm is not None and tuple(dfm.masks.shape[1:]) != (image_size, image_size):
            raise UsageError(
                f"evaluate: the maps must be of the images' size {image_size}; got {list(dfm.masks.shape[1:])}."
            )
        if dfm is None and any(each.band == "own" or each.refilter for each in self.attacks):
            raise UsageError("evaluate: an attack with band=own or refilter needs frequency maps (dfm).")
        self.classes = None if classes is None else [str(name) for name in classes]
        self.cross = 0.0 if self.published or dfm is None else float(cross)
        self.thresholds, self.confidence = tuple(thresholds), float(confidence)
        self.on_bad_image, self.bounds, self.seed = on_bad_image, tuple(bounds), seed
        self.batch_size, self.dtype, self.form = batch_size, dtype, form
        self.identity = {
            "evaluation": FORMAT,
            "preset": preset,
            "sets": [each.record for each in self.sets],
            "base": None if self.base is None else self.base.title,
            "attacks": [vars(each) for each in self.attacks],
            "generated": [list(each) for each in self.generated],
            "image_size": image_size,
            "resize": resize,
            "classes": self.classes,
            "dfm": None if dfm is None else _dfm_hash(dfm),
            "cross": self.cross,
            "thresholds": list(self.thresholds),
            "confidence": self.confidence,
            "on_bad_image": on_bad_image,
            "bounds": list(self.bounds),
            "seed": seed,
            "batch_size": batch_size,
            "dtype": None if dtype is None else str(dtype).removeprefix("torch."),
            "form": form,
            "versions": _versions(),
        }

    def _base(self, base):
        if base is not None:
            found = [each for each in self.sets if base in (each.name, each.title)]
            if len(found) != 1:
                raise UsageError(f"evaluate: base must be one of the sets; {base!r} fits {len(found)}.")
            return found[0]
        plain = [each for each in self.sets if each.condition == ""]
        return next((each for each in plain if each.name == "imagenet"), plain[0] if plain else None)

    def preprocessing(self, test_set, model):
        return preprocessing_for(test_set, model, self.image_size, self.resize, self.preset)

    def conditions(self, test_set):
        """The conditions of one set: as it is, and on the base set corrupted and attacked."""
        found = [Condition()]
        if test_set is self.base:
            found += [Condition(f"{name}/{s}", name, s) for name, s in self.generated]
            found += [Condition(each.title, attack=each) for each in self.attacks]
        return found

    def class_names(self, model):
        """Names in the order of the logits."""
        logits = model.num_classes
        choices = (
            ("classes", self.classes),
            ("ImageNet's", class_list("imagenet") if logits == 1000 else None),
            ("the maps'", None if self.dfm is None else list(self.dfm.classes)),
            ("the base set's", None if self.base is None else list(self.base.classes)),
        )
        if self.classes is not None and len(self.classes) != logits:
            raise UsageError(f"evaluate: classes must name the model's {logits} logits; got {len(self.classes)}.")
        for _, names in choices:
            if names is not None and len(names) == logits:
                return names
        raise UsageError(f"evaluate: which class each of the model's {logits} logits is must be told by classes.")

    def maps(self, names):
        """(half-plane masks [M, H, W//2+1], the map of each logit or -1), for the class names of a model."""
        from freqkit.masks import uncentred

        if self.dfm is None:
            return None, None
        own = list(self.dfm.classes)
        if not set(own) & set(names) and all(name.isdecimal() and int(name) < len(names) for name in own):
            own = [names[int(name)] for name in own]  # published files number the logits
        strange = [name for name in own if name not in names]
        if strange:
            raise UsageError(
                f"evaluate: every map's class must be one of the model's; {len(strange)} are not "
                f"({', '.join(strange[:4])})."
            )
        place = {name: i for i, name in enumerate(own)}
        of_logit = torch.tensor([place.get(name, -1) for name in names])
        width = self.dfm.masks.shape[2]
        return uncentred(self.dfm.masks)[..., : width // 2 + 1].contiguous().float(), of_logit


class _Run:
    """All models over all sets."""

    def __init__(self, settings, identity, directory, progress, device, workers, failures):
        self.settings, self.directory, self.progress, self.device = settings, directory, progress, device
        self.pool, self.failures, self.rows = decoding_pool(workers), failures, []
        self.began = time.monotonic()
        previous = (directory.previous if directory else None) or {}
        self.before, self.sessions = previous.get("seconds", 0.0), previous.get("sessions", 0) + 1
        self.record = {
            "status": "running", "identity": identity, "models": {}, "failures": failures, "forwards": 0,
            "backwards": 0, "decoded": 0, "forwards_resumed": 0, "sessions": self.sessions,
        }  # fmt: skip

    def note_down(self, **changes):
        self.record.update(changes, seconds=round(self.before + time.monotonic() - self.began, 3))
        if self.directory:
            self.directory.write({key: value for key, value in self.record.items() if key != "identity"})

    def all(self, models):
        with self.pool, finish_tile_on_signal() as check:
            self.check = check
            self.note_down(forwards_total=self.expected() * len(models))
            try:
                for name, source in models:
                    self.model(name, source)
                result = EvaluationResult(self.rows, self.failures, self.record)
                if not self.rows:
                    what = "; ".join(f"{f['model'] or ''} {f['set']}: {f['error']}".strip() for f in self.failures[:3])
                    raise UsageError(f"evaluate: nothing could be evaluated: {what}")
                if self.directory:
                    result.save(self.directory.path)
                self.note_down(status="finished")
                return result
            except BaseException as error:
                self.note_down(status="interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
                if isinstance(error, Interrupted) and self.directory:
                    self.progress.note(f"stopped; continue with resume in {self.directory.path}")
                raise

    def expected(self):
        """Forwards of one model, at most."""
        settings, total = self.settings, 0
        plain, passes = (1, 1) if settings.dfm is None else (2 + settings.cross, 2)
        for one in settings.sets:
            for condition in settings.conditions(one):
                attack = condition.attack
                total += len(one) * (plain if attack is None else passes * attack.most_forwards)
        return round(total)

    def fault(self, model, test_set, condition, error):
        sentence = " ".join(str(error).split()) or type(error).__name__
        if not isinstance(error, (UsageError, FloatingPointError)):
            sentence = f"{type(error).__name__}: {sentence}"
        where = {"model": model, "set": test_set, "condition": condition, "error": sentence}
        self.failures.append(where)
        self.progress.note(f"failed: {' '.join(part for part in (model, test_set, condition) if part)}: {sentence}")

    def model(self, name, source):
        try:
            classifier = source() if callable(source) and not isinstance(source, torch.nn.Module) else source
            one = _OneModel(self, name, slug(name), classifier)
        except FAULTS as error:
            self.fault(name, "", "", error)
            return
        self.record["models"][name] = {"record": dict(classifier.record), **one.facts}
        self.note_down(model=name)
        self.progress.start(name, self.expected())
        try:
            for test_set in self.settings.sets:
                one.set(test_set)
        finally:
            self.progress.finish()
            self.rows += one.finish()
            for key in ("forwards", "backwards", "decoded", "forwards_resumed"):
                self.record[key] += one.counts[key]
            self.record["models"][name].update(one.facts, **one.counts)
            self.note_down()


class _OneModel:
    """One model over all sets: what it answers, and the rows that come of it."""

    def __init__(self, run, name, slug, classifier):
        self.run, self.settings, self.name, self.slug, self.classifier = run, run.settings, name, slug, classifier
        self.journal = run.directory.journal if run.directory else None
        self.names = self.settings.class_names(classifier)
        self.logit = {each: i for i, each in enumerate(self.names)}
        if len(self.logit) != len(self.names):
            raise UsageError("evaluate: the model's classes must have distinct names.")
        self.masks, self.of_logit = self.settings.maps(self.names)
        self.forward = Forward(classifier, device=run.device, dtype=self.settings.dtype, domain="normalised")
        self.facts, self.counts = {}, {"forwards": 0, "backwards": 0, "decoded": 0, "forwards_resumed": 0}
        self.optimised = False
        self.answers = {}  # (set title, condition title) -> dict of arrays
        self.rows = []
        self.remember()

    def remember(self):
        """A resumed run must ask the same weights."""
        if self.journal is None:
            return
        key = f"{self.slug}/weights/0-0/0-0"
        now = self.classifier.record["state_sha256"]
        known = self.journal.get(key)
        if known is None:
            self.journal.put(key, sha256=np.frombuffer(bytes.fromhex(now), np.uint8))
        elif known["sha256"].tobytes().hex() != now:
            raise UsageError(f"evaluate: cannot resume, for {self.name} has other weights than when the run began.")

    # ---- one set

    def set(self, test_set):
        settings, run = self.settings, self.run
        try:
            test_set, logits = self.known(test_set)
            reader = Reader(settings.preprocessing(test_set, self.classifier), pool=run.pool)
        except FAULTS as error:
            run.fault(self.name, test_set.name, test_set.condition, error)
            return
        work = []
        for condition in settings.conditions(self.original):
            try:
                if condition.corruption:
                    check_corruption(condition.corruption, condition.severity)
                work.append(_Work(self, test_set, logits, condition))
            except FAULTS as error:
                run.fault(self.name, test_set.name, condition.title or test_set.condition, error)
        self.live = work
        self.blocks(test_set, reader, work)
        self.counts["decoded"] += reader.decoded
        for each in work:
            if each.error is None:
                self.take(each)

    def known(self, test_set):
        """The images whose class is one of the model's, and the logit of each."""
        self.original = test_set
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

    def blocks(self, test_set, reader, work):
        """Decode block by block, each once, and do all the work on it that the journal does not have."""
        ranges = [(at, min(at + BLOCK, len(test_set))) for at in range(0, len(test_set), BLOCK)]
        todo = [[each for each in work if not each.known(*span)] for span in ranges]
        pending = None
        for place, (first, last) in enumerate(ranges):
            live = [each for each in todo[place] if each.error is None]
            if live:
                started = pending or reader.start(test_set, first, last)
                pixels, bad = reader.finish(started)
                ahead = place + 1 < len(ranges) and any(each.error is None for each in todo[place + 1])
                pending = reader.start(test_set, *ranges[place + 1]) if ahead else None
                if bad and self.settings.on_bad_image == "error":
                    try:
                        refuse_bad(test_set, bad, first)
                    except UsageError as error:
                        self.fail(work, error)
                        return
                for each in live:
                    self.guarded(each, first, last, pixels, [b for b, _ in bad])
            self.run.check()
            if all(each.error is not None for each in work):
                return

    def guarded(self, work, first, last, pixels, bad):
        try:
            work.do(first, last, pixels, bad)
        except torch.OutOfMemoryError:
            raise
        except FAULTS as error:
            self.fail([work], error)

    def fail(self, work, error):
        """Record a fault once; what stands on the failed answers fails with it."""
        first = True
        for each in work:
            if each.error is None:
                each.error = error
                if first:
                    where = each.condition.title or each.test_set.condition
                    self.run.fault(self.name, each.set_name, where, error)
                first = False

    # ---- the model

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
        """Logits with gradients, for attacks."""
        return self.called(self.forward.module, z)

    # ---- rows

    def take(self, work):
        data = work.collect()
        self.answers[work.set_name, work.row_condition] = (work, data)
        self.rows += work.rows(data)

    def finish(self):
        """All rows of this model: of classes and sets, then of groups and corruptions."""
        return self.rows + self.of_groups() + self.of_corruptions()

    def row(self, set_name, condition, label, metric, value, interval, n, definition):
        low, high = interval if interval is not None else (None, None)
        value = None if value is None or math.isnan(value) else value
        numbers = (value, None if value is None else low, None if value is None else high)
        return dict(zip(COLUMNS, (self.name, set_name, condition, label, metric, *numbers, n, definition), strict=True))

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

    def of_groups(self):
        """AvgTPR of shortcut classes and the rest, grouped by the base set's filtered TPR."""
        settings = self.settings
        base = (
            None if settings.base is None else self.answers.get((settings.base.name, settings.base.condition or "all"))
        )
        if self.masks is None or base is None:
            return []
        work, data = base
        reference = work.class_rates(data, "filtered", "all")
        gathered = {}  # (set, how it is averaged, scoring) -> list of (tpr, filtered tpr)
        for (name, condition), (each, arrays) in self.answers.items():
            for scoring in each.scorings:
                one = each.test_set.condition == "" and not each.condition.corruption
                alone = one or each.condition.attack is not None
                key = (name, condition if alone else "mean", scoring)
                pair = each.class_rates(arrays, "clean", scoring), each.class_rates(arrays, "filtered", scoring)
                gathered.setdefault(key, []).append(pair)
        rows = []
        for (name, condition, scoring), pairs in gathered.items():
            tpr, filtered = (torch.stack(column).nanmean(0) for column in zip(*pairs, strict=True))
            where = condition if condition != "mean" else f"mean of {len(pairs)} conditions"
            where += "" if scoring == "all" else f", {scoring}"
            found = curves(
                reference, tpr, filtered, thresholds=settings.thresholds, empty=0.0 if settings.published else math.nan
            )
            about = (
                f"unweighted mean over the classes whose filtered TPR on {settings.base.title} is > t (shortcut) or "
                f"not (other); an empty group is {'0' if settings.published else 'undefined'}"
            )
            for k, t in enumerate(settings.thresholds):
                for group in ("shortcut", "other"):
                    size = int(getattr(found, f"{group}_size")[k])
                    for prefix, suffix in (("", ""), ("filtered ", "_filtered")):
                        value = float(getattr(found, group + suffix)[k])
                        metric = f"{prefix}AvgTPR {group}@{t:g}"
                        rows.append(self.row(name, where, "", metric, value, None, size, about))
        return rows

    def of_corruptions(self):
        """Mean error, CE and mCE of sets of corruptions."""
        errors = {}
        for (name, condition), (each, arrays) in self.answers.items():
            match = re.fullmatch(r"(\w+)/([1-5])", condition)
            if match:
                hits, trials = each.hits(arrays, "clean", "all")
                errors.setdefault(name, {})[match[1], int(match[2])] = 1 - hits / trials
        rows = []
        for name, found in errors.items():
            whole, each, mean = mean_corruption_error(found, alexnet_errors())
            where = f"mean of {len(found)} conditions"
            rows.append(self.row(name, where, "", "mean error", mean, None, len(found), "mean top-1 error, unweighted"))
            if not name.startswith("imagenet") or name.endswith("bar"):
                continue  # AlexNet's errors are those on ImageNet-C
            note = " of generated images: not comparable with published values" if "generated" in name else ""
            about = f"percent of AlexNet's error on ImageNet-C, 5 severities{note}"
            rows += [self.row(name, corruption, "", "CE", value, None, 5, about) for corruption, value in each.items()]
            if whole is not None:
                rows.append(self.row(name, where, "", "mCE", whole, None, len(BENCHMARK), f"mean CE: {about}"))
        return rows


class _Work:
    """One condition of one set for one model."""

    def __init__(self, model, test_set, logits, condition):
        self.model, self.test_set, self.logits, self.condition = model, test_set, logits, condition
        self.settings, self.error = model.settings, None
        self.set_name = f"{test_set.name} generated" if condition.corruption else test_set.name
        self.row_condition = condition.title or test_set.condition or "all"
        self.key = f"{model.slug}/{self.set_name}/{self.row_condition}".replace(" ", "_")
        self.scorings = {"all": None}
        parts = [test_set.subset] if test_set.subset else []
        if model.original is model.settings.base:
            parts += [each.subset for each in model.settings.sets if each.subset]
        if not condition.attack:
            for part in parts:
                own = sorted(model.logit[name] for name in part if name in model.logit)
                if 1 < len(own) < len(model.names):
                    word = "own" if part is test_set.subset else self._part_name(part)
                    self.scorings[f"{len(own)} logits{'' if word == 'own' else f' of {word}'}"] = torch.tensor(own)
        self.cross = self._cross()
        self.held = {}

    def _part_name(self, part):
        return next(each.name for each in self.settings.sets if each.subset is part)

    def _cross(self):
        """int64 [n]: of some images the logit of *another* class, through whose map they are also asked; else -1."""
        drawn = torch.full((len(self.logits),), -1)
        masked = (
            []
            if self.model.masks is None
            else [k for k in self.logits.unique().tolist() if self.model.of_logit[k] >= 0]
        )
        wanted = int(self.settings.cross * len(self.logits) + 1e-9)
        if wanted < 1 or len(masked) < 2 or self.condition.attack:
            return drawn
        keys = []
        for i in range(len(self.logits)):
            text = f"cross {self.settings.seed} ".encode() + self.test_set.source.name(i).encode(
                "utf-8", "surrogateescape"
            )
            keys.append(hashlib.sha256(text).digest())
        place = {logit: k for k, logit in enumerate(masked)}
        for i in sorted(range(len(keys)), key=lambda i: keys[i])[:wanted]:
            own = place.get(int(self.logits[i]))
            others = len(masked) - (own is not None)
            pick = int.from_bytes(keys[i][-8:], "little") % others
            drawn[i] = masked[pick + (own is not None and pick >= own)]
        return drawn

    # ---- computing

    @property
    def passes(self):
        return 1 if self.model.masks is None else 2

    def name(self, first, last):
        return f"{self.key}/0-{self.passes}/{first}-{last}"

    def known(self, first, last):
        """Whether the journal has these images; then they are taken from it."""
        journal = self.model.journal
        found = journal.get(self.name(first, last)) if journal else None
        if found is not None:
            self.held[first] = found
            amount = (last - first) * self.passes
            self.model.counts["forwards_resumed"] += amount
            self.model.run.progress.advance(amount, resumed=True)
        return found is not None

    def do(self, first, last, pixels, bad):
        before = self.model.counts["forwards"]
        if self.condition.attack is None:
            found = self.plain(first, last, pixels)
        else:
            found = self.attacked(first, last, pixels)
        for place in bad:
            for name, values in found.items():
                if "answer" in name:
                    values[..., place] = UNREADABLE
        if self.model.journal:
            self.model.journal.put(self.name(first, last), **found)
        self.held[first] = found
        spent = self.model.counts["forwards"] - before
        self.model.run.progress.advance(spent)
        if self.condition.attack is not None:  # images that stopped early, or were wrong before
            most = (last - first) * self.passes * self.condition.attack.most_forwards
            self.model.run.progress.advance(max(0, most - spent), saved=True)

    def names(self, first, last):
        return [self.test_set.source.name(i) for i in range(first, last)]

    def plain(self, first, last, pixels):
        """Answers to images as they are, through their class's map, and of some through another's."""
        model, condition = self.model, self.condition
        if condition.corruption:
            pixels = corrupt(
                pixels, condition.corruption, condition.severity, self.names(first, last), seed=self.settings.seed
            )
        count, rows = last - first, len(self.scorings)
        found = {
            "clean answer": np.full((rows, count), NO_MASK, np.int32),
            "in top 5": np.zeros((rows, count), np.uint8),
        }
        if model.masks is not None:
            found["filtered answer"] = np.full((rows, count), NO_MASK, np.int32)
            found["cross answer"] = np.full((rows, count), NO_MASK, np.int32)
        for low in range(0, count, self.settings.batch_size):
            high = min(low + self.settings.batch_size, count)
            own = self.logits[first + low : first + high]
            x = pixels[low:high].to(model.forward.device).to(model.forward.compute).div_(255)
            logits = self.asked(model.normalised(x), first + low)
            found["clean answer"][:, low:high] = self.winners(logits)
            found["in top 5"][:, low:high] = self.in_top(logits, own)
            if model.masks is None:
                continue
            transformed = None
            for name, wanted in (("filtered answer", own), ("cross answer", self.cross[first + low : first + high])):
                index = torch.where(wanted >= 0, model.of_logit[wanted.clamp_min(0)], -1)
                some = (index >= 0).nonzero().flatten()
                if len(some) == 0:
                    continue
                if transformed is None:
                    transformed = self.transform(x)
                whole = len(some) == len(index)
                filtered = self.filter(transformed if whole else transformed[some], model.masks[index[some]])
                found[name][:, low + some.numpy()] = self.winners(self.asked(filtered, first + low, some))
        return found

    def pixels_first(self):
        """The published ImageNet-R script filters pixels and normalises afterwards."""
        return self.settings.published and self.test_set.name == "imagenet-r"

    def transform(self, x):
        model = self.model
        if self.pixels_first():
            return spectrum(x)
        return spectrum(x, mean=model.forward.mean, std=model.forward.std)

    def filter(self, transformed, masks):
        """Normalised filtered images."""
        masks = masks.to(self.model.forward.device)
        filtered = spectral_filter(transformed, masks, pairing="each", memory_format=torch.channels_last)
        return self.model.normalised(filtered) if self.pixels_first() else filtered

    def asked(self, batch, offset, some=None):
        logits = self.model.ask(batch)
        finite = torch.isfinite(logits).all(1)
        if not finite.all():
            place = int((~finite).nonzero()[0])
            place = offset + (place if some is None else int(some[place]))
            raise FloatingPointError(
                f"the model gave a NaN or infinite logit for image {self.test_set.source.name(place)}."
            )
        return logits

    def winners(self, logits):
        """Winning logit by each way of scoring, int32 [scorings, b]."""
        found = []
        for part in self.scorings.values():
            found.append((logits.argmax(1) if part is None else part[logits[:, part].argmax(1).cpu()]).cpu().numpy())
        return np.stack(found).astype(np.int32)

    def in_top(self, logits, own):
        """Whether fewer than five logits exceed the true one, uint8 [scorings, b]."""
        found = []
        for part in self.scorings.values():
            values = logits if part is None else logits[:, part]
            true = logits.gather(1, own.to(logits.device)[:, None])
            found.append(((values > true).sum(1) < 5).cpu().numpy())
        return np.stack(found).astype(np.uint8)

    def attacked(self, first, last, pixels):
        """Answers to attacked images, whole and (with maps) filtered."""
        model, spec = self.model, self.condition.attack
        [start] = [each for each in model.live if each.condition.title == ""]
        if start.error is not None:
            raise UsageError("its unattacked images could not be evaluated.")
        clean = start.held[first]
        keys = self.names(first, last)
        device, own = model.forward.device, self.logits[first:last]
        x = pixels.to(device).float().div_(255)
        how = {
            "mean": model.classifier.mean, "std": model.classifier.std, "bounds": self.settings.bounds,
            "batch_size": self.settings.batch_size,
        }  # fmt: skip
        index = None if model.masks is None else model.of_logit[own]
        masks = None if index is None else model.masks[index.clamp_min(0)]
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
                    torch.tensor(v, device=device).view(1, 3, 1, 1)
                    for v in (model.classifier.mean, model.classifier.std)
                )
                images = torch.zeros_like(x)
                for some in there.nonzero().flatten().split(self.settings.batch_size):
                    images[some] = self.filter(self.transform(x[some]), masks[some]) * std + mean
            passes.append(("filtered answer", images, spec, there, before))
        for name, images, one, use, said in passes:
            some = use.nonzero().flatten()
            if len(some) == 0:
                continue
            result = attack(
                model.network, images[some], own[some].to(device), one, answers=said[some].to(device),
                keys=[keys[i] for i in some.tolist()], masks=None if masks is None else masks[some].to(device), **how,
            )  # fmt: skip
            model.counts["forwards"] += result.forwards
            model.counts["backwards"] += result.backwards
            found[name][0, some.numpy()] = result.answers.cpu().numpy()
            leaks.append(result.outside)
        found["outside"] = np.array(leaks + [math.nan] * (2 - len(leaks)))
        return found

    # ---- counting

    def collect(self):
        """All blocks together: arrays [scorings, n]."""
        blocks = [self.held[first] for first in sorted(self.held)]
        names = [name for name in blocks[0] if name != "outside"]
        data = {name: np.concatenate([block[name] for block in blocks], axis=-1) for name in names}
        if "outside" in blocks[0]:
            data["outside"] = np.stack([block["outside"] for block in blocks])
        self.held = {}
        return data

    def class_rates(self, data, which, scoring):
        """float64 [L]: TPR of each logit's class; NaN without images (or map)."""
        hits, trials = self.per_class(data, which, scoring)
        return torch.from_numpy(np.divide(hits, trials, out=np.full(len(hits), np.nan), where=trials > 0))

    def _answers(self, data, which, scoring):
        """(answers, labels) of the images that count: readable, with a map if one is needed, and of a scored class."""
        found = data.get(f"{which} answer")
        if found is None:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        answers, labels = found[list(self.scorings).index(scoring)].astype(np.int64), self.logits.numpy()
        keep = answers >= 0
        if self.scorings[scoring] is not None:
            keep &= np.isin(labels, self.scorings[scoring].numpy())
        return answers[keep], labels[keep]

    def per_class(self, data, which, scoring):
        answers, labels = self._answers(data, which, scoring)
        size = len(self.model.names)
        return np.bincount(labels[answers == labels], minlength=size), np.bincount(labels, minlength=size)

    def hits(self, data, which, scoring):
        answers, labels = self._answers(data, which, scoring)
        return int((answers == labels).sum()), len(labels)

    def rows(self, data):
        found = []
        for scoring in self.scorings:
            found += self.scored(data, scoring)
        if self.test_set.real is not None and not self.condition.corruption and not self.condition.attack:
            answers = data["clean answer"][0]
            known = [i for i, labels in enumerate(self.test_set.real) if labels and answers[i] >= 0]
            hits = sum(int(answers[i]) in self.test_set.real[i] for i in known)
            about = "answer is one of the labels of ReaL (Beyer et al., 2020); images without any are left out"
            found.append(self.model.share(self.set_name, self.row_condition, "", "ReaL top-1", hits, len(known), about))
        return found

    def scored(self, data, scoring):
        model, part = self.model, self.scorings[scoring]
        where = self.row_condition + ("" if part is None else f", {scoring}")
        logits = len(model.names) if part is None else len(part)
        about = f"largest of {logits} logits"
        if self.condition.corruption:
            about += "; generated, not the published images"
        if self.condition.attack:
            about += "; attacked images, those wrong before the attack count as wrong"
            if self.condition.attack.band:
                outside = np.nanmean(data["outside"]) if not np.isnan(data["outside"]).all() else 0.0
                about += f"; {100 * outside:.2g}% of the change's energy outside the band, from clipping"
        rows, size = [], len(model.names)
        for which, prefix in (("clean", ""), ("filtered", "filtered ")):
            answers, labels = self._answers(data, which, scoring)
            if len(labels) == 0:
                continue
            hits, trials = self.per_class(data, which, scoring)
            said = np.bincount(answers, minlength=size)
            words = about if which == "clean" else f"{about}; images filtered by their own class's map"
            present = np.flatnonzero(trials)
            labelled = [model.names[c] for c in present]
            each = model.shares(
                self.set_name, where, labelled, f"{prefix}TPR", hits[present], trials[present], words
            )  # fmt: skip
            if which == "clean" and not self.condition.attack:
                each += model.shares(
                    self.set_name, where, labelled, "FPR", (said - hits)[present], (len(labels) - trials)[present],
                    f"{about}; share of the other classes' images recognised as the class",
                )  # fmt: skip
            rows += each
            rates = hits[present] / trials[present]
            name = self.set_name
            rows.append(model.share(name, where, "", f"{prefix}top-1", hits.sum(), trials.sum(), words))
            if which == "clean" and "in top 5" in data and logits > 5:
                keep = self._kept(data, scoring)
                inside = data["in top 5"][list(self.scorings).index(scoring)][keep]
                rows.append(model.share(name, where, "", "top-5", inside.sum(), len(inside), words))
            rows.append(
                model.row(
                    name,
                    where,
                    "",
                    f"{prefix}mean TPR",
                    float(rates.mean()),
                    None,
                    len(present),
                    f"unweighted mean over classes; {words}",
                )
            )
        return rows + self.crossed(data, scoring, where, about)

    def _kept(self, data, scoring):
        answers, labels = data["clean answer"][list(self.scorings).index(scoring)], self.logits.numpy()
        keep = answers >= 0
        if self.scorings[scoring] is not None:
            keep &= np.isin(labels, self.scorings[scoring].numpy())
        return keep

    def crossed(self, data, scoring, where, about):
        """FPR through the maps, from images of other classes."""
        found = data.get("cross answer")
        if found is None or not (found >= 0).any():
            return []
        answers, through = found[list(self.scorings).index(scoring)].astype(np.int64), self.cross.numpy()
        keep = answers >= 0
        if self.scorings[scoring] is not None:
            keep &= np.isin(through, self.scorings[scoring].numpy())
        answers, through = answers[keep], through[keep]
        model, size = self.model, len(self.model.names)
        hits, trials = np.bincount(through[answers == through], minlength=size), np.bincount(through, minlength=size)
        words = f"{about}; images of other classes, drawn, filtered by this class's map and recognised as it"
        drawn = np.flatnonzero(trials)
        labelled = [model.names[c] for c in drawn]
        rows = model.shares(self.set_name, where, labelled, "filtered FPR", hits[drawn], trials[drawn], words)
        rows.append(model.share(self.set_name, where, "", "filtered FPR", hits.sum(), trials.sum(), words))
        return rows


def _dfm_hash(dfm):
    digest = hashlib.sha256(repr([list(dfm.masks.shape), list(dfm.classes)]).encode())
    digest.update(dfm.masks.float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _versions():
    import freqkit

    return {"freqkit": freqkit.__version__, "torch": torch.__version__}
