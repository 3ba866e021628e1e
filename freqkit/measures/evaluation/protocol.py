"""What an evaluation is: its checked arguments, the conditions of each set, the preprocessing, the classes."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from freqkit.data.class_lists import class_list
from freqkit.data.corruptions import check as check_corruption
from freqkit.data.preprocessing import Preprocessing, settle
from freqkit.data.test_set import TestSet, sizes_of
from freqkit.engine.attacks import Attack
from freqkit.errors import UsageError
from freqkit.masks import DfmFile, load_dfm
from freqkit.measures.evaluation.groups import THRESHOLDS
from freqkit.measures.evaluation.result import FORMAT
from freqkit.options import Options, option
from freqkit.results.result import versions

PRESETS = ("default", "cvpr2025", "cvpr2024")
SIDE = 224  # of the images of "cvpr2024", whatever a model was made for
CROSS = 0.2  # share of images that are asked through another class's map
ALL_PAIRS = 20_000  # pairs in distribution up to which all are asked
PAIRS = 100  # such pairs of every map in distribution: an FPR of 0 is then below 4 % with 95 % confidence


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


def parse_on(text, preset="default"):
    """Sets, attacks and generated corruptions of a list `imagenet,c,fgsm,pgd:eps=4,generated/fog/3`.

    `generated` is every corruption that can be made here at all severities; `generated/NAME` and `generated/NAME/S` are
    parts of it. Two attacks must differ in what runs under `preset`; see `Attack.under`.

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
        elif re.fullmatch(r"(fgsm|pgd)(-l2)?|(fgsm|pgd|autoattack)(-cvpr\d+)?|foolbox\.\w+", kind):
            attacks.append(Attack.parse(item))
        else:
            sets.append(item)
    if len(set(sets)) != len(sets) or len({a.under(preset).title for a in attacks}) != len(attacks):
        raise UsageError(f"--on must name everything once; got {text!r}.")
    return sets, attacks, generated


def preprocessing_for(test_set, model, image_size, resize, preset, asked=False):
    """The `Preprocessing` of a set: one for all sets, or with a published preset the published ones unless `resize` was
    asked for."""
    size = image_size or (model.input_size or (None,))[0]
    if size is None:
        found = sorted(sizes_of(test_set))
        if len(found) != 1 or found[0][0] != found[0][1]:
            raise UsageError("evaluate: image_size must be given, for neither the maps nor the model have one.")
        size = found[0][0]
    if preset == "cvpr2025" and not asked:
        squash = test_set.name in ("imagenet-c", "imagenet-c-bar", "imagenet-v2", "imagenet-sketch")
        return Preprocessing(size) if squash else Preprocessing(size, "center-crop", 256)  # whatever the size is
    if preset == "cvpr2024" and not asked:
        whole = test_set.sixteen or test_set.name in ("imagenet-c", "imagenet-c-bar")  # of 224 pixels as they are
        return Preprocessing(size) if whole else Preprocessing(size, "center-crop", 256)
    settled = settle("evaluate", resize, size, model, lambda: sizes_of(test_set))
    return settled.how or Preprocessing(size, "own", size)  # as stored


@dataclass(frozen=True, kw_only=True)
class Evaluating(Options):
    """What `evaluate` is asked."""

    attacks: Sequence[Attack] = option((), "of the images of `base`", flag=False)
    generated: Sequence[tuple[str, int]] = option((), "(corruption, severity): of the images of `base`", flag=False)
    base: str | None = option(
        None, "name of the in-distribution set, by whose filtered TPR classes are grouped; None: imagenet if there, "
        "else the first set of a single condition", metavar="NAME",
        help="in-distribution set.  [default: imagenet, else the first]",
    )  # fmt: skip
    preset: str = option("default", "default, cvpr2025 or cvpr2024, see above", choices=PRESETS, help="")
    image_size: int | None = option(
        None, "side in pixels; None: that of the maps, else with cvpr2024 224, else the model's", least=1, metavar="N",
        help="side in pixels.  [default: the maps']",
    )  # fmt: skip
    resize: str | None = option(
        None, "squash, center-crop or own, see `Preprocessing`; one for all sets. None: the preset's, or that of the "
        "search, as the maps' file records it, else own; another one than the search's is noted on record",
        choices=("own", "squash", "center-crop"),
        help="own: as the model was published, see `freqkit search`.  [default: as in the search, else own]",
    )  # fmt: skip
    classes: Sequence[str] | None = option(
        None, "names in the order of the model's logits; None: ImageNet's for 1000 logits, else the maps' or the base "
        "set's when there are as many", flag=False,
    )  # fmt: skip
    cross: float | None = option(
        None, "share of images that are also asked through another class's map. None: 0.2, and in distribution every "
        "image through every other map where these are at most 20,000 pairs, so that FPR is that of `rates`, else as "
        "many as give each class 100 on average, at most one map for each image (with fewer than 10 images a class 0.2 "
        "there, too); 0 with cvpr2025", least=0, most=1, must="a number in 0...1",
        help="share of images asked through another class's map, for FPR.  [default: 0.2; in distribution all, to "
        "20,000 pairs]",
    )  # fmt: skip
    thresholds: Sequence[float] = option(THRESHOLDS, "of groups", flag=False)
    confidence: float = option(0.95, "of Wilson's intervals", least=0, most=1, must="a number in 0...1", flag=False)
    on_bad_image: str = option(
        "error", "error: the set fails; skip: the image is left out, and named on record", choices=("error", "skip"),
        must="'error' or 'skip'", help="",
    )  # fmt: skip
    bounds: tuple[float, float] = option((0.0, 1.0), "range of pixels of attacks", flag=False)
    seed: int = option(0, "of draws (cross, noise)", help="of noise and draws")
    batch_size: int = option(
        32, "images per forward; 32 is what a CPU is fastest with, a GPU wants more. Small sets share batches", least=1,
        must="a positive integer", help="images per forward",
    )  # fmt: skip
    dtype: str | torch.dtype | None = option(None, "what networks compute in; of attacks it is float32", flag=False)
    form: str = option("folded", "of the network, see `freqkit.engine.score`", flag=False)


class Settings:
    """What one evaluation comes to.

    `asked` holds the names of the arguments among resize and cross that the caller gave: a preset leaves them alone,
    whatever their values.
    """

    def __init__(self, sets: Sequence[TestSet], dfm: DfmFile | str | Path | None, own: Evaluating):
        preset, image_size, resize, cross, attacks = own.preset, own.image_size, own.resize, own.cross, own.attacks
        if dfm is not None and not isinstance(dfm, DfmFile):
            dfm = load_dfm(dfm)
        self.sets = list(sets)
        if not self.sets or not all(isinstance(each, TestSet) for each in self.sets):
            raise UsageError("evaluate: sets must hold at least one TestSet (see freqkit.data.open_sets).")
        titles = [each.title for each in self.sets]
        if len(set(titles)) != len(titles):
            raise UsageError(f"evaluate: every set and condition must be given once; got {titles}.")
        self.preset, self.published, self.dfm = preset, preset == "cvpr2025", dfm
        self.study = preset == "cvpr2024"
        self.base = self._base(own.base)
        if (attacks or own.generated) and self.base is None:
            raise UsageError("evaluate: attacks and generated corruptions need a base set, the one they are made of.")
        self.asked = tuple(name for name in ("resize", "cross") if getattr(own, name) is not None)
        self.attacks = [each.under(preset) for each in attacks]
        titles = [each.title for each in self.attacks]
        if len(set(titles)) != len(titles):
            raise UsageError(f"evaluate: every attack must be given once; under preset {preset!r} they are {titles}.")
        self.generated = list(own.generated)
        if image_size is None and dfm is not None:
            height, width = dfm.masks.shape[1:]
            image_size = height if height == width else None
        elif image_size is None and self.study:
            image_size = SIDE
        read = {} if dfm is None else dfm.images
        self.image_size = image_size
        self.notes = [
            f"under preset {preset} what was not asked of an attack is as published: {given.title!r} runs as"
            f" {each.name}, {each.title!r}"
            for given, each in zip(attacks, self.attacks, strict=True)
            if given != each
        ]
        self.notes += [
            f"{each.title}: eps is in units of 1/255, so this changes pixels by less than they are rounded; for"
            f" {each.eps:g} of pixels in [0, 1] give eps={255 * each.eps:.3g}"
            for each in self.attacks
            if each.norm == "linf" and 0 < each.eps < 0.5
        ]
        if dfm is not None and any(map(self.pixels_first, self.sets)):
            self.notes.append(
                f"under preset {preset} the classes of ImageNet-R are grouped, as by the published script, by the"
                " filtered TPR of in-distribution images whose pixels are filtered before they are normalised, as those"
                " of ImageNet-R are; the classes of all other sets by that of normalised images"
            )
        published = (self.published or self.study) and "resize" not in self.asked
        self.resize = resize or _of_search(read) or ("squash" if published else "own")
        if self.resize != (_of_search(read) or self.resize) and not published:
            self.notes.append(
                f"the maps were searched on images read with resize={read['resize']}, and are evaluated on images read "
                f"with resize={self.resize}"
            )
        if dfm is not None and tuple(dfm.masks.shape[1:]) != (image_size, image_size):
            raise UsageError(
                f"evaluate: the maps must be of the images' size {image_size}; got {list(dfm.masks.shape[1:])}."
            )
        if dfm is None and any(each.band == "own" or each.refilter for each in self.attacks):
            raise UsageError("evaluate: an attack with band=own or refilter needs frequency maps (dfm).")
        self.classes = None if own.classes is None else [str(name) for name in own.classes]
        none = dfm is None or (self.published and "cross" not in self.asked)
        self.cross = 0.0 if none else None if cross is None else float(cross)
        self.thresholds, self.confidence = tuple(own.thresholds), float(own.confidence)
        self.on_bad_image, self.bounds, self.seed = own.on_bad_image, tuple(own.bounds), own.seed
        self.batch_size, self.dtype, self.form = own.batch_size, own.dtype, own.form
        self.identity = {
            "evaluation": FORMAT,
            "preset": preset,
            "sets": [each.record for each in self.sets],
            "base": None if self.base is None else self.base.title,
            "attacks": [each.options for each in self.attacks],
            "generated": [list(each) for each in self.generated],
            "image_size": image_size,
            "resize": self.resize,
            "classes": self.classes,
            "dfm": None if dfm is None else _dfm_hash(dfm),
            "cross": self.cross,
            "thresholds": list(self.thresholds),
            "confidence": self.confidence,
            "on_bad_image": own.on_bad_image,
            "bounds": list(self.bounds),
            "seed": own.seed,
            "batch_size": own.batch_size,
            "dtype": None if own.dtype is None else str(own.dtype).removeprefix("torch."),
            "form": own.form,
            "versions": versions(),
        }
        if (self.published or self.study) and self.asked:  # else the preset's own values are what runs
            self.identity["asked"] = sorted(self.asked)

    def _base(self, base):
        if base is not None:
            found = [each for each in self.sets if base in (each.name, each.title)]
            if len(found) != 1:
                raise UsageError(f"evaluate: base must be one of the sets; {base!r} fits {len(found)}.")
            return found[0]
        plain = [each for each in self.sets if each.condition == ""]
        return next((each for each in plain if each.name == "imagenet"), plain[0] if plain else None)

    def preprocessing(self, test_set, model):
        asked = "resize" in self.asked
        return preprocessing_for(test_set, model, self.image_size, self.resize, self.preset, asked)

    def pixels_first(self, test_set):
        """Whether pixels of a set are filtered before they are normalised, as the published ImageNet-R script does."""
        return self.published and test_set.name == "imagenet-r"

    def share_crossed(self, images, maps, base):
        """Pairs of an image and another class's map that are asked, for each image of a set.

        Unless it was asked for: `CROSS`. Of the in-distribution images, on whose rates the readings of classes stand,
        every image through every other map where that is at most `ALL_PAIRS`, as `freqkit.measures.rates` does; else
        as many as give every map `PAIRS` on average, at most one for each image. With fewer than 10 images a class no
        reading is certain anyway.
        """
        if self.cross is not None:
            return self.cross
        if not base or not images >= 10 * maps > 10:
            return CROSS
        if images * (maps - 1) <= ALL_PAIRS:
            return maps - 1
        return min(1.0, max(CROSS, PAIRS * maps / images))

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
            ("the model's", getattr(model, "class_names", None)),
        )
        if self.classes is not None and len(self.classes) != logits:
            raise UsageError(f"evaluate: classes must name the model's {logits} logits; got {len(self.classes)}.")
        for _, names in choices:
            if names is not None and len(names) == logits:
                return names
        raise UsageError(f"evaluate: which class each of the model's {logits} logits is must be told by classes.")

    def maps(self, names):
        """(half-plane masks [M, H, W//2+1], the map of each logit or -1), for the class names of a model."""
        from freqkit.masks import effective, uncentred

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
        # Of a map made by hand that is not symmetric half a plane would tell another story than the whole does.
        return uncentred(effective(self.dfm.masks))[..., : width // 2 + 1].contiguous().float(), of_logit


def _of_search(read):
    """How the images of a search were brought to their size, as one may ask for it again; None: as they were stored."""
    return {"own-squash": "own"}.get(read.get("resize"), read.get("resize"))


def _dfm_hash(dfm):
    digest = hashlib.sha256(repr([list(dfm.masks.shape), list(dfm.classes)]).encode())
    digest.update(dfm.masks.float().contiguous().numpy().tobytes())
    return digest.hexdigest()
